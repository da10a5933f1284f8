"""``.labels`` of a Dataset: statistics of every image that it holds."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any

import xarray as xr

from xlabelstats.accessors.dataset_shortcuts import ShortcutDatasetCalls
from xlabelstats.accessors.docs import of_every_image
from xlabelstats.accessors.labels import LabelsAccessor
from xlabelstats.accessors.object_quantiles import DECILES
from xlabelstats.accessors.types import Labels, Mask, Per
from xlabelstats.variables import per_variable

if TYPE_CHECKING:
    from flox import Aggregation


class StatisticsDatasetCalls(ShortcutDatasetCalls):
    """The calls of `LabelsDatasetAccessor` that measure the pixels of every label in every image."""

    @of_every_image(LabelsAccessor.aggregate)
    def aggregate(
        self,
        mask: Mask | Hashable,
        stats: str | Aggregation | Iterable[str | Aggregation] | None = None,
        *,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        ddof: int = 0,
        skipna: bool | None = None,
        engine: str = "fused",
        weights: Mask | Hashable | None = None,
        align: str | None = None,
    ) -> xr.Dataset:
        """Measure the pixels of every label in every image of the Dataset.

        Parameters
        ----------
        stats : str, flox.Aggregation, or iterable of these
            As `LabelsAccessor.aggregate` lists them; by default all but ``std`` and ``valid``.
        weights : name of a variable, or DataArray, optional
            The weight of every pixel, as in `LabelsAccessor.aggregate`.

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
            weights=weights,
            align=align,
        )

    @of_every_image(LabelsAccessor.correlation)
    def correlation(
        self,
        mask: Mask | Hashable,
        dim: Hashable = "c",
        stats: str | Iterable[str] = ("pearson",),
        *,
        threshold: float | None = None,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        skipna: bool | None = None,
        align: str | None = None,
    ) -> xr.Dataset:
        """Compare every pair of channels of every image of the Dataset within every label.

        Channels of one image are compared, not one image with another; images without ``dim`` are left out.

        Returns
        -------
        Dataset
            Variables ``{statistic}_{variable}`` as `LabelsAccessor.correlation` gives them.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> image = (("c", "x"), [[9, 1, 2, 3], [9, 2, 4, 6]])
        >>> field = xr.Dataset({"cells": ("x", [0, 1, 1, 1]), "stain": image})
        >>> field.labels.correlation("cells", stats="slope").labels.to_dataframe()
               slope_stain_0_0  slope_stain_0_1  slope_stain_1_0  slope_stain_1_1
        label
        1                  1.0              2.0              0.5              1.0
        """
        # An iterator would be empty after the first image.
        stats = list(stats) if isinstance(stats, Iterable) and not isinstance(stats, str) else stats
        return per_variable(
            self._dataset,
            mask,
            "labels.correlation",
            dim,
            stats,
            along=(dim,),
            threshold=threshold,
            labels=labels,
            background=background,
            per=per,
            skipna=skipna,
            align=align,
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
        align: str | None = None,
    ) -> xr.Dataset:
        """Median of the pixels of every label, in every image of the Dataset."""
        return per_variable(
            self._dataset,
            mask,
            "labels.median",
            skipna=skipna,
            labels=labels,
            background=background,
            per=per,
            align=align,
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
        align: str | None = None,
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
            align=align,
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
        align: str | None = None,
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
            align=align,
        )

    @of_every_image(LabelsAccessor.histogram)
    def histogram(
        self,
        mask: Mask | Hashable,
        bins: Any,
        *,
        range: tuple[float, float] | None = None,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        skipna: bool | None = None,
        align: str | None = None,
    ) -> xr.Dataset:
        """Histogram of the pixels of every label, in every image of the Dataset, with the same bins for all.

        Returns
        -------
        Dataset
            A variable ``histogram_{variable}`` for every variable of numbers that has the dims of the mask, as
            `LabelsAccessor.histogram` gives it.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> field = xr.Dataset({"cells": ("x", [0, 1, 1, 2]), "DAPI": ("x", [9.0, 1.0, 3.0, 4.0])})
        >>> field.labels.histogram("cells", 2, range=(0, 4))["histogram_DAPI"].values
        array([[1, 1],
               [0, 1]])
        """
        return per_variable(
            self._dataset,
            mask,
            "labels.histogram",
            bins,
            range=range,
            labels=labels,
            background=background,
            per=per,
            skipna=skipna,
            align=align,
        )
