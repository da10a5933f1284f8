"""``.labels`` of a Dataset: signatures and docs of the calls, each passed on to the module that does it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xlabelstats.accessors.arguments import of_measures
from xlabelstats.accessors.dataset_statistics import StatisticsDatasetCalls
from xlabelstats.accessors.docs import of_every_image, of_its_mask
from xlabelstats.accessors.labels import LabelsAccessor
from xlabelstats.accessors.regions import REGION_PROPERTIES
from xlabelstats.accessors.types import Labels, Mask, Per
from xlabelstats.variables import measures_per_variable, properties_per_variable, split, variable

if TYPE_CHECKING:
    from xlabelstats.accessors.plots import TablePlots


@xr.register_dataset_accessor("labels")
class LabelsDatasetAccessor(StatisticsDatasetCalls):
    """Measurements of every image of a Dataset, and tables of results, reached as ``dataset.labels``.

    The calls of `LabelsAccessor`, with the mask first: a DataArray or the name of a variable.  Those that measure
    images give a Dataset, with a variable ``{result}_{variable}`` for each: ``mean_DAPI``.  Those that read only the
    mask give the same as on the mask itself.
    """

    @property
    def plot(self) -> TablePlots:
        """Pictures of results: ``result.labels.plot.scatter("count", "mean")``."""
        from xlabelstats.accessors.plots import TablePlots

        return TablePlots(self._dataset)

    @of_its_mask(LabelsAccessor.ids)
    def ids(self, mask: Mask | Hashable, background: bool = False) -> np.ndarray:
        """The labels of a mask of the Dataset, sorted; computed immediately.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> xr.Dataset({"cells": ("x", [0, 7, 7, 2])}).labels.ids("cells")
        array([2, 7])
        """
        return self._mask(mask).labels.ids(background)

    @of_its_mask(LabelsAccessor.count)
    def count(
        self, mask: Mask | Hashable, *, labels: Labels = None, background: bool = False, per: Per = None
    ) -> xr.DataArray:
        """Pixels per label of a mask of the Dataset.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> xr.Dataset({"cells": ("x", [0, 7, 7, 2])}).labels.count("cells").values
        array([1, 2])
        """
        return self._mask(mask).labels.count(labels=labels, background=background, per=per)

    @of_its_mask(LabelsAccessor.scan)
    def scan(self, mask: Mask | Hashable, *, background: bool = False) -> xr.Dataset:
        """The label table of a mask of the Dataset: where every label lies and how it spreads, in one pass.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> table = xr.Dataset({"cells": ("x", [0, 7, 7, 2])}).labels.scan("cells")
        >>> table["centroid"].sel(label=7).values
        array([1.5])
        """
        return self._mask(mask).labels.scan(background=background)

    @of_its_mask(LabelsAccessor.center_of_mass)
    def center_of_mass(
        self,
        mask: Mask | Hashable,
        weights: Mask | Hashable | None = None,
        *,
        units: str = "coords",
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        align: str | None = None,
    ) -> xr.DataArray:
        """Mean position of the pixels of every label of a mask, plain or weighted by an image.

        Parameters
        ----------
        weights : name of a variable, or DataArray, optional
            An image that weighs the pixels, in one pass over it; its other dims are kept.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> field = xr.Dataset({"cells": ("x", [0, 7, 7, 2]), "DAPI": ("x", [9, 1, 3, 4])}, coords={"x": [0, 2, 4, 6]})
        >>> field.labels.center_of_mass("cells", "DAPI").sel(label=7).values
        array([3.5])
        """
        image = None if weights is None else variable(self._dataset, weights, "weights")
        options = {"units": units, "labels": labels, "background": background, "per": per, "align": align}
        return self._mask(mask).labels.center_of_mass(image, **options)

    @of_every_image(LabelsAccessor.measure)
    @of_measures
    def measure(
        self,
        mask: Mask | Hashable,
        measures: Any = None,
        *,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        skipna: bool | None = None,
        ddof: int = 0,
        spacing: Any = None,
        units: str = "coords",
        weights: Mask | Hashable | None = None,
        align: str | None = None,
        shells: float | Iterable[float] | None = None,
        side: str = "outside",
    ) -> xr.Dataset:
        """Measure every label: statistics and quantiles of every image of the Dataset, and the shape of the mask.

        Parameters
        ----------
        measures : str, tuple, `Measure`, or sequence of these
            As for `LabelsAccessor.measure`.
        weights : name of a variable, or DataArray, optional
            The weight of every pixel, as in `LabelsAccessor.measure`.

        Returns
        -------
        Dataset
            Measures of the mask appear once, under their names; those of an image are ``{measure}_{variable}``, for
            every variable of numbers that has the dims of the mask.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> field = xr.Dataset({"cells": (("y", "x"), [[0, 7, 7]]), "DAPI": (("y", "x"), [[9, 1, 3]])})
        >>> field.labels.measure("cells", ("area", "mean", "p50")).labels.to_dataframe()
               area  mean_DAPI  p50_DAPI
        label
        7       2.0        2.0       2.0
        """
        if measures is None and weights is None:
            raise TypeError(
                "which measures? The mask, or its name, comes first, then their names: "
                'dataset.labels.measure("cells", ("mean", "area")); xlabelstats.measures() lists them'
            )
        return measures_per_variable(
            self._dataset,
            mask,
            measures,
            labels=labels,
            background=background,
            per=per,
            skipna=skipna,
            ddof=ddof,
            spacing=spacing,
            units=units,
            weights=weights,
            align=align,
            shells=shells,
            side=side,
        )

    @of_every_image(LabelsAccessor.regionprops)
    def regionprops(
        self,
        mask: Mask | Hashable,
        properties: str | Iterable[str] = REGION_PROPERTIES,
        *,
        spacing: Any = None,
        units: str = "coords",
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        align: str | None = None,
    ) -> xr.Dataset:
        """Region properties of every label, those that need an image for every image of the Dataset.

        Parameters
        ----------
        properties : str or iterable of str, default area, bbox and centroid
            As `LabelsAccessor.regionprops` lists them.

        Returns
        -------
        Dataset
            Properties of the mask under their names, and ``{property}_{variable}`` of every variable of numbers that
            has its dims, as `LabelsAccessor.regionprops` gives them.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> field = xr.Dataset({"cells": (("y", "x"), [[0, 7, 7]]), "DAPI": (("y", "x"), [[9, 1, 3]])})
        >>> field.labels.regionprops("cells", ("area", "intensity_mean")).labels.to_dataframe()
               area  intensity_mean_DAPI
        label
        7       2.0                  2.0
        """
        return properties_per_variable(
            self._dataset,
            mask,
            properties,
            "labels.regionprops",
            spacing=spacing,
            units=units,
            labels=labels,
            background=background,
            per=per,
            align=align,
        )

    @of_its_mask(LabelsAccessor.paint)
    def paint(self, mask: Mask | Hashable, values: Any, fill_value: Any = None) -> xr.DataArray:
        """An image like a mask of the Dataset in which every pixel has the value of its label.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> xr.Dataset({"cells": ("x", [0, 7, 7, 2])}).labels.paint("cells", {7: 1.5, 2: 3.0}).values
        array([nan, 1.5, 1.5, 3. ])
        """
        return self._mask(mask).labels.paint(values, fill_value)

    def _mask(self, mask: Any) -> xr.DataArray:
        return split(self._dataset, mask)[1]
