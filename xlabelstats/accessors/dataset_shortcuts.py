"""``.labels`` of a Dataset: one statistic of the pixels of every label, in every image."""

from __future__ import annotations

from collections.abc import Hashable

import xarray as xr

from xlabelstats.accessors.docs import of_every_image
from xlabelstats.accessors.labels import LabelsAccessor
from xlabelstats.accessors.layers import LayerDatasetCalls
from xlabelstats.accessors.types import Labels, Mask, Per
from xlabelstats.variables import per_variable


class ShortcutDatasetCalls(LayerDatasetCalls):
    """The calls of `LabelsDatasetAccessor` that give one statistic."""

    @of_every_image(LabelsAccessor.mean, "mean")
    def mean(
        self,
        mask: Mask | Hashable,
        *,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        skipna: bool | None = None,
        weights: Mask | Hashable | None = None,
        align: str | None = None,
    ) -> xr.Dataset:
        """Mean of the pixels of every label, in every image of the Dataset.

        Parameters
        ----------
        weights : name of a variable, or DataArray, optional
            The weight of every pixel, as in `LabelsAccessor.aggregate`.
        """
        return per_variable(
            self._dataset,
            mask,
            "labels.mean",
            labels=labels,
            background=background,
            per=per,
            skipna=skipna,
            weights=weights,
            align=align,
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
        weights: Mask | Hashable | None = None,
        align: str | None = None,
    ) -> xr.Dataset:
        """Sum of the pixels of every label, in every image of the Dataset.

        Parameters
        ----------
        weights : name of a variable, or DataArray, optional
            The weight of every pixel, as in `LabelsAccessor.aggregate`.
        """
        return per_variable(
            self._dataset,
            mask,
            "labels.sum",
            labels=labels,
            background=background,
            per=per,
            skipna=skipna,
            weights=weights,
            align=align,
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
        weights: Mask | Hashable | None = None,
        align: str | None = None,
    ) -> xr.Dataset:
        """Variance of the pixels of every label, in every image of the Dataset.

        Parameters
        ----------
        weights : name of a variable, or DataArray, optional
            The weight of every pixel, as in `LabelsAccessor.aggregate`.
        """
        return per_variable(
            self._dataset,
            mask,
            "labels.var",
            labels=labels,
            background=background,
            per=per,
            ddof=ddof,
            skipna=skipna,
            weights=weights,
            align=align,
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
        weights: Mask | Hashable | None = None,
        align: str | None = None,
    ) -> xr.Dataset:
        """Standard deviation of the pixels of every label, in every image of the Dataset.

        Parameters
        ----------
        weights : name of a variable, or DataArray, optional
            The weight of every pixel, as in `LabelsAccessor.aggregate`.
        """
        return per_variable(
            self._dataset,
            mask,
            "labels.std",
            labels=labels,
            background=background,
            per=per,
            ddof=ddof,
            skipna=skipna,
            weights=weights,
            align=align,
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
        align: str | None = None,
    ) -> xr.Dataset:
        """Skewness of the pixels of every label, in every image of the Dataset."""
        return per_variable(
            self._dataset,
            mask,
            "labels.skew",
            labels=labels,
            background=background,
            per=per,
            skipna=skipna,
            align=align,
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
        align: str | None = None,
    ) -> xr.Dataset:
        """Excess kurtosis of the pixels of every label, in every image of the Dataset."""
        return per_variable(
            self._dataset,
            mask,
            "labels.kurtosis",
            labels=labels,
            background=background,
            per=per,
            skipna=skipna,
            align=align,
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
        align: str | None = None,
    ) -> xr.Dataset:
        """Smallest pixel of every label, in every image of the Dataset."""
        return per_variable(
            self._dataset, mask, "labels.min", labels=labels, background=background, per=per, skipna=skipna, align=align
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
        align: str | None = None,
    ) -> xr.Dataset:
        """Largest pixel of every label, in every image of the Dataset."""
        return per_variable(
            self._dataset, mask, "labels.max", labels=labels, background=background, per=per, skipna=skipna, align=align
        )
