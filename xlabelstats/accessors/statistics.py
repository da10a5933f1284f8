"""``.labels`` of an image: statistics of the pixels of every label."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import xarray as xr

from xlabelstats.accessors.docs import documented
from xlabelstats.accessors.quantiles import QuantileCalls
from xlabelstats.accessors.types import Labels, Mask
from xlabelstats.catalogue import DEFAULT_STATISTICS, STATISTICS
from xlabelstats.catalogue.flox_aggregations import MORE_STATISTICS
from xlabelstats.multiscale import as_array
from xlabelstats.names import describe

if TYPE_CHECKING:
    from flox import Aggregation


class StatisticsCalls(QuantileCalls):
    """The calls of `LabelsAccessor` that measure the pixels of every label."""

    @describe(statistics=STATISTICS, more=MORE_STATISTICS)
    def aggregate(
        self,
        mask: Mask,
        stats: str | Aggregation | Iterable[str | Aggregation] = DEFAULT_STATISTICS,
        *,
        labels: Labels = None,
        background: bool = False,
        ddof: int = 0,
        skipna: bool | None = None,
        engine: str = "fused",
    ) -> xr.Dataset:
        """Measure the pixels of every label: any number of statistics in one pass over the image.

        Parameters
        ----------
        mask : DataArray of integers
            The label of every pixel.  Its dims are a subset of the image's, its sizes and
            coordinates the same; where only one of the two has coordinates, they are the other's
            too.  Chunks may differ.
        stats : str, flox.Aggregation, or iterable of these
            Any of the statistics below; by default all but ``std`` and ``valid``.  An Aggregation gives a variable of
            its name.
        labels : int or sequence of int, optional
            Measure these labels, in this order, without looking first which there are.  A label that
            does not occur gets count 0, sum 0 and NaN elsewhere, so ``min`` and ``max`` are float64.
        background : bool, default False
            Measure label 0 too.  Does not matter when ``labels`` are given.
        ddof : int, default 0
            Delta degrees of freedom of ``var`` and ``std``: they divide by ``valid - ddof``.
        skipna : bool, optional
            Leave NaN pixels out (the default) or let them make the label's statistics NaN.
        engine : {"fused", "flox"}, default "fused"
            What runs the statistics that merge across blocks: one read of the image for all of them, or
            flox's own map-reduce for each.  The numbers agree but for rounding.

        Returns
        -------
        Dataset
            One variable per statistic, dims ``(label, *other)``, ``other`` being the image's dims that
            the mask lacks; ``count`` is ``(label,)``.  Sorted by label unless ``labels`` are given.
            ``count`` and ``valid`` are int64, ``min`` and ``max`` have the image's dtype, the others are
            float64.  For dask input the result is lazy; without ``labels`` the mask alone is read
            at once, to learn which labels there are.

        Warns
        -----
        UserWarning
            The mask has a time dim, so that labels are measured over all times; it is bool, or has only the values 0
            and 255, and has several components, which are one label; its labels lie among each other as grey values do,
            so that image and mask may be swapped, which is not looked into if ``labels`` are given; or a percentile
            such as ``p0.95`` is asked for, which is less than the first.

        Raises
        ------
        TypeError
            The mask does not hold integers, or the image no numbers.
        ValueError
            Dims, sizes or coordinates do not match, the dim ``label`` is taken, a statistic or engine is
            unknown, flox cannot run an Aggregation, or ``labels`` repeat.

        Notes
        -----
        The statistics are:

        {statistics}

        Beside these there are:

        {more}

        ``median``, ``mode`` and percentiles, such as ``p95``, bring all pixels of an object to one block, or count the
        pixels of every value where an image in blocks has eight bits and this takes little memory.  The others
        of the second list, and Aggregations, are run by flox, whatever the engine.

        Sums and moments are collected in float64, moments about the mean of each block, and merged
        pairwise across blocks [1]_ [2]_, so that a large mean costs no precision.  A sum of integers is
        exact up to 2**53.

        References
        ----------
        .. [1] T. F. Chan, G. H. Golub, R. J. LeVeque (1979). Updating formulae and a pairwise algorithm
           for computing sample variances. Stanford STAN-CS-79-773.
        .. [2] P. Pebay (2008). Formulas for robust, one-pass parallel computation of covariances and
           arbitrary-order statistical moments. Sandia SAND2008-6212.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 1, 1], [2, 2, 2]], dims=("y", "x"))
        >>> image = xr.DataArray([[9, 1, 3], [4, 5, 6]], dims=("y", "x"), name="DAPI")
        >>> result = image.labels.aggregate(mask, ("count", "mean", "max"))
        >>> result.labels.to_dataframe()
               count  mean  max
        label
        1          2   2.0    3
        2          3   5.0    6
        """
        from xlabelstats.labels.aggregate import aggregate

        return aggregate(
            self._array,
            as_array(mask),
            stats,
            labels=labels,
            background=background,
            ddof=ddof,
            skipna=skipna,
            engine=engine,
        )

    @documented(aggregate)
    def mean(
        self, mask: Mask, *, labels: Labels = None, background: bool = False, skipna: bool | None = None
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
        return self.aggregate(mask, "mean", labels=labels, background=background, skipna=skipna)["mean"]

    @documented(aggregate)
    def sum(
        self, mask: Mask, *, labels: Labels = None, background: bool = False, skipna: bool | None = None
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
        return self.aggregate(mask, "sum", labels=labels, background=background, skipna=skipna)["sum"]

    @documented(aggregate)
    def var(
        self,
        mask: Mask,
        *,
        labels: Labels = None,
        background: bool = False,
        ddof: int = 0,
        skipna: bool | None = None,
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
        return self.aggregate(mask, "var", labels=labels, background=background, ddof=ddof, skipna=skipna)["var"]

    @documented(aggregate)
    def std(
        self,
        mask: Mask,
        *,
        labels: Labels = None,
        background: bool = False,
        ddof: int = 0,
        skipna: bool | None = None,
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
        return self.aggregate(mask, "std", labels=labels, background=background, ddof=ddof, skipna=skipna)["std"]

    @documented(aggregate)
    def skew(
        self, mask: Mask, *, labels: Labels = None, background: bool = False, skipna: bool | None = None
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
        return self.aggregate(mask, "skew", labels=labels, background=background, skipna=skipna)["skew"]

    @documented(aggregate)
    def kurtosis(
        self, mask: Mask, *, labels: Labels = None, background: bool = False, skipna: bool | None = None
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
        return self.aggregate(mask, "kurtosis", labels=labels, background=background, skipna=skipna)["kurtosis"]

    @documented(aggregate)
    def min(
        self, mask: Mask, *, labels: Labels = None, background: bool = False, skipna: bool | None = None
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
        return self.aggregate(mask, "min", labels=labels, background=background, skipna=skipna)["min"]

    @documented(aggregate)
    def max(
        self, mask: Mask, *, labels: Labels = None, background: bool = False, skipna: bool | None = None
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
        return self.aggregate(mask, "max", labels=labels, background=background, skipna=skipna)["max"]
