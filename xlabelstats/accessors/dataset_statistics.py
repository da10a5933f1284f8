"""``.labels`` of a Dataset: statistics of every image that it holds."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any

import xarray as xr

from xlabelstats.accessors.docs import of_every_image
from xlabelstats.accessors.instances import DECILES
from xlabelstats.accessors.labels import LabelsAccessor
from xlabelstats.accessors.tables import TableCalls
from xlabelstats.accessors.types import Labels, Mask, Per
from xlabelstats.catalogue import DEFAULT_STATISTICS
from xlabelstats.variables import per_variable

if TYPE_CHECKING:
    from flox import Aggregation


class StatisticsDatasetCalls(TableCalls):
    """The calls of `LabelsDatasetAccessor` that measure the pixels of every label in every image."""

    @of_every_image(LabelsAccessor.aggregate)
    def aggregate(
        self,
        mask: Mask | Hashable,
        stats: str | Aggregation | Iterable[str | Aggregation] = DEFAULT_STATISTICS,
        *,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        ddof: int = 0,
        skipna: bool | None = None,
        engine: str = "fused",
    ) -> xr.Dataset:
        """Measure the pixels of every label in every image of the Dataset.

        Parameters
        ----------
        stats : str, flox.Aggregation, or iterable of these
            As `LabelsAccessor.aggregate` lists them; by default all but ``std`` and ``valid``.

        Returns
        -------
        Dataset
            Variables ``{stat}_{variable}``, and one ``count``, as `LabelsAccessor.aggregate` gives them.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> field = xr.Dataset({"cells": ("x", [0, 1, 1, 2]), "DAPI": ("x", [9.0, 1.0, 3.0, 4.0])})
        >>> field.labels.aggregate("cells", ("count", "mean")).labels.to_dataframe()
               count  mean_DAPI
        label
        1          2        2.0
        2          1        4.0
        """
        # An iterator would be empty after the first image.
        stats = list(stats) if isinstance(stats, Iterable) and not isinstance(stats, str) else stats
        return per_variable(
            self._dataset,
            mask,
            "labels.aggregate",
            stats,
            once=("count",),
            labels=labels,
            background=background,
            per=per,
            ddof=ddof,
            skipna=skipna,
            engine=engine,
        )

    @of_every_image(LabelsAccessor.mean, "mean")
    def mean(
        self,
        mask: Mask | Hashable,
        *,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        skipna: bool | None = None,
    ) -> xr.Dataset:
        """Mean of the pixels of every label, in every image of the Dataset."""
        return per_variable(
            self._dataset, mask, "labels.mean", labels=labels, background=background, per=per, skipna=skipna
        )

    @of_every_image(LabelsAccessor.sum, "sum")
    def sum(
        self,
        mask: Mask | Hashable,
        *,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        skipna: bool | None = None,
    ) -> xr.Dataset:
        """Sum of the pixels of every label, in every image of the Dataset."""
        return per_variable(
            self._dataset, mask, "labels.sum", labels=labels, background=background, per=per, skipna=skipna
        )

    @of_every_image(LabelsAccessor.var, "var")
    def var(
        self,
        mask: Mask | Hashable,
        *,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        ddof: int = 0,
        skipna: bool | None = None,
    ) -> xr.Dataset:
        """Variance of the pixels of every label, in every image of the Dataset."""
        return per_variable(
            self._dataset, mask, "labels.var", labels=labels, background=background, per=per, ddof=ddof, skipna=skipna
        )

    @of_every_image(LabelsAccessor.std, "std")
    def std(
        self,
        mask: Mask | Hashable,
        *,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        ddof: int = 0,
        skipna: bool | None = None,
    ) -> xr.Dataset:
        """Standard deviation of the pixels of every label, in every image of the Dataset."""
        return per_variable(
            self._dataset, mask, "labels.std", labels=labels, background=background, per=per, ddof=ddof, skipna=skipna
        )

    @of_every_image(LabelsAccessor.skew, "skew")
    def skew(
        self,
        mask: Mask | Hashable,
        *,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        skipna: bool | None = None,
    ) -> xr.Dataset:
        """Skewness of the pixels of every label, in every image of the Dataset."""
        return per_variable(
            self._dataset, mask, "labels.skew", labels=labels, background=background, per=per, skipna=skipna
        )

    @of_every_image(LabelsAccessor.kurtosis, "kurtosis")
    def kurtosis(
        self,
        mask: Mask | Hashable,
        *,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        skipna: bool | None = None,
    ) -> xr.Dataset:
        """Excess kurtosis of the pixels of every label, in every image of the Dataset."""
        return per_variable(
            self._dataset, mask, "labels.kurtosis", labels=labels, background=background, per=per, skipna=skipna
        )

    @of_every_image(LabelsAccessor.min, "min")
    def min(
        self,
        mask: Mask | Hashable,
        *,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        skipna: bool | None = None,
    ) -> xr.Dataset:
        """Smallest pixel of every label, in every image of the Dataset."""
        return per_variable(
            self._dataset, mask, "labels.min", labels=labels, background=background, per=per, skipna=skipna
        )

    @of_every_image(LabelsAccessor.max, "max")
    def max(
        self,
        mask: Mask | Hashable,
        *,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        skipna: bool | None = None,
    ) -> xr.Dataset:
        """Largest pixel of every label, in every image of the Dataset."""
        return per_variable(
            self._dataset, mask, "labels.max", labels=labels, background=background, per=per, skipna=skipna
        )

    @of_every_image(LabelsAccessor.median, "median")
    def median(
        self,
        mask: Mask | Hashable,
        *,
        skipna: bool | None = None,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
    ) -> xr.Dataset:
        """Median of the pixels of every label, in every image of the Dataset."""
        return per_variable(
            self._dataset, mask, "labels.median", skipna=skipna, labels=labels, background=background, per=per
        )

    @of_every_image(LabelsAccessor.quantile)
    def quantile(
        self,
        mask: Mask | Hashable,
        q: Any,
        *,
        method: str = "linear",
        skipna: bool | None = None,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
    ) -> xr.Dataset:
        """One quantile of the pixels of every label, or several, in every image of the Dataset.

        Returns
        -------
        Dataset
            A variable for every variable of numbers that has the dims of the mask, named ``{name}_{variable}``, where
            ``name`` is that of the result of `LabelsAccessor.quantile`.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> field = xr.Dataset({"cells": ("x", [0, 1, 1, 2]), "DAPI": ("x", [9.0, 1.0, 3.0, 4.0])})
        >>> list(field.labels.quantile("cells", [0.25, 0.75]))
        ['quantiles_DAPI']
        """
        return per_variable(
            self._dataset,
            mask,
            "labels.quantile",
            q,
            method=method,
            skipna=skipna,
            labels=labels,
            background=background,
            per=per,
        )

    @of_every_image(LabelsAccessor.quantiles, "quantiles")
    def quantiles(
        self,
        mask: Mask | Hashable,
        q: Any = DECILES,
        *,
        method: str = "linear",
        skipna: bool | None = None,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
    ) -> xr.Dataset:
        """Quantiles of the pixels of every label, in every image of the Dataset."""
        return per_variable(
            self._dataset,
            mask,
            "labels.quantiles",
            q,
            method=method,
            skipna=skipna,
            labels=labels,
            background=background,
            per=per,
        )
