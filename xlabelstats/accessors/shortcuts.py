"""``.labels`` of an image: one statistic of the pixels of every label."""

from __future__ import annotations

import xarray as xr

from xlabelstats.accessors.docs import documented
from xlabelstats.accessors.statistics import StatisticsCalls
from xlabelstats.accessors.types import Labels, Mask, Per
from xlabelstats.rows import alone


class ShortcutCalls(StatisticsCalls):
    """The calls of `LabelsAccessor` that give one statistic."""

    @documented(StatisticsCalls.aggregate)
    def mean(
        self,
        mask: Mask,
        *,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        skipna: bool | None = None,
        weights: Mask | None = None,
        align: str | None = None,
    ) -> xr.DataArray:
        """Mean of the pixels of every label; see `aggregate`.

        Returns
        -------
        DataArray
            Dims ``(label, *other)``, float64; lazy for dask input.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 1, 1], [2, 2, 2]], dims=("y", "x"))
        >>> image = xr.DataArray([[9, 1, 3], [4, 5, 9]], dims=("y", "x"))
        >>> image.labels.mean(mask).values.tolist()
        [2.0, 6.0]
        """
        return alone(
            self.aggregate(
                mask, "mean", labels=labels, background=background, per=per, skipna=skipna, weights=weights, align=align
            ),
            "mean",
        )

    @documented(StatisticsCalls.aggregate)
    def sum(
        self,
        mask: Mask,
        *,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        skipna: bool | None = None,
        weights: Mask | None = None,
        align: str | None = None,
    ) -> xr.DataArray:
        """Sum of the pixels of every label; see `aggregate`.

        Returns
        -------
        DataArray
            Dims ``(label, *other)``, float64; lazy for dask input.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 1, 1], [2, 2, 2]], dims=("y", "x"))
        >>> image = xr.DataArray([[9, 1, 3], [4, 5, 9]], dims=("y", "x"))
        >>> image.labels.sum(mask).values.tolist()
        [4.0, 18.0]
        """
        return self.aggregate(
            mask, "sum", labels=labels, background=background, per=per, skipna=skipna, weights=weights, align=align
        )["sum"]

    @documented(StatisticsCalls.aggregate)
    def var(
        self,
        mask: Mask,
        *,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        ddof: int = 0,
        skipna: bool | None = None,
        weights: Mask | None = None,
        align: str | None = None,
    ) -> xr.DataArray:
        """Variance of the pixels of every label; see `aggregate`.

        Returns
        -------
        DataArray
            Dims ``(label, *other)``, float64; lazy for dask input.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 1, 1], [2, 2, 2]], dims=("y", "x"))
        >>> image = xr.DataArray([[9, 1, 3], [4, 5, 9]], dims=("y", "x"))
        >>> image.labels.var(mask, ddof=1).values.tolist()
        [2.0, 7.0]
        """
        return alone(
            self.aggregate(
                mask,
                "var",
                labels=labels,
                background=background,
                per=per,
                ddof=ddof,
                skipna=skipna,
                weights=weights,
                align=align,
            ),
            "var",
        )

    @documented(StatisticsCalls.aggregate)
    def std(
        self,
        mask: Mask,
        *,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        ddof: int = 0,
        skipna: bool | None = None,
        weights: Mask | None = None,
        align: str | None = None,
    ) -> xr.DataArray:
        """Standard deviation of the pixels of every label; see `aggregate`.

        Returns
        -------
        DataArray
            Dims ``(label, *other)``, float64; lazy for dask input.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 1, 1], [2, 2, 2]], dims=("y", "x"))
        >>> image = xr.DataArray([[9, 1, 3], [4, 5, 9]], dims=("y", "x"))
        >>> image.labels.std(mask).values.round(3).tolist()
        [1.0, 2.16]
        """
        return alone(
            self.aggregate(
                mask,
                "std",
                labels=labels,
                background=background,
                per=per,
                ddof=ddof,
                skipna=skipna,
                weights=weights,
                align=align,
            ),
            "std",
        )

    @documented(StatisticsCalls.aggregate)
    def skew(
        self,
        mask: Mask,
        *,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        skipna: bool | None = None,
        align: str | None = None,
    ) -> xr.DataArray:
        """Skewness of the pixels of every label; see `aggregate`.

        Returns
        -------
        DataArray
            Dims ``(label, *other)``, float64; lazy for dask input.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 1, 1], [2, 2, 2]], dims=("y", "x"))
        >>> image = xr.DataArray([[9, 1, 3], [4, 5, 9]], dims=("y", "x"))
        >>> image.labels.skew(mask).values.round(3).tolist()
        [0.0, 0.595]
        """
        return alone(
            self.aggregate(mask, "skew", labels=labels, background=background, per=per, skipna=skipna, align=align),
            "skew",
        )

    @documented(StatisticsCalls.aggregate)
    def kurtosis(
        self,
        mask: Mask,
        *,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        skipna: bool | None = None,
        align: str | None = None,
    ) -> xr.DataArray:
        """Excess kurtosis (a normal distribution has 0) of the pixels of every label; see `aggregate`.

        Returns
        -------
        DataArray
            Dims ``(label, *other)``, float64; lazy for dask input.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 1, 1], [2, 2, 2]], dims=("y", "x"))
        >>> image = xr.DataArray([[9, 1, 3], [4, 5, 9]], dims=("y", "x"))
        >>> image.labels.kurtosis(mask).values.round(3).tolist()
        [-2.0, -1.5]
        """
        return alone(
            self.aggregate(mask, "kurtosis", labels=labels, background=background, per=per, skipna=skipna, align=align),
            "kurtosis",
        )

    @documented(StatisticsCalls.aggregate)
    def min(
        self,
        mask: Mask,
        *,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        skipna: bool | None = None,
        align: str | None = None,
    ) -> xr.DataArray:
        """Smallest pixel of every label; see `aggregate`.

        Returns
        -------
        DataArray
            Dims ``(label, *other)``, in the image's dtype, float64 if ``labels`` are given; lazy for dask input.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 1, 1], [2, 2, 2]], dims=("y", "x"))
        >>> image = xr.DataArray([[9, 1, 3], [4, 5, 9]], dims=("y", "x"))
        >>> image.labels.min(mask).values.tolist()
        [1, 4]
        """
        return self.aggregate(mask, "min", labels=labels, background=background, per=per, skipna=skipna, align=align)[
            "min"
        ]

    @documented(StatisticsCalls.aggregate)
    def max(
        self,
        mask: Mask,
        *,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        skipna: bool | None = None,
        align: str | None = None,
    ) -> xr.DataArray:
        """Largest pixel of every label; see `aggregate`.

        Returns
        -------
        DataArray
            Dims ``(label, *other)``, in the image's dtype, float64 if ``labels`` are given; lazy for dask input.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 1, 1], [2, 2, 2]], dims=("y", "x"))
        >>> image = xr.DataArray([[9, 1, 3], [4, 5, 9]], dims=("y", "x"))
        >>> image.labels.max(mask).values.tolist()
        [3, 9]
        """
        return self.aggregate(mask, "max", labels=labels, background=background, per=per, skipna=skipna, align=align)[
            "max"
        ]
