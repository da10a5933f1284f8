"""``.instances`` of a Dataset: signatures and docs of the calls, each passed on to the module that does it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xlabelstats.accessors.arguments import handing_on
from xlabelstats.accessors.dataset_polygons import PolygonDatasetCalls
from xlabelstats.accessors.docs import of_every_image, of_its_mask
from xlabelstats.accessors.instances import InstancesAccessor
from xlabelstats.accessors.object_quantiles import DECILES
from xlabelstats.accessors.types import Labels, Mask, Per, Size
from xlabelstats.catalogue import OBJECT_PROPERTIES
from xlabelstats.variables import per_variable, properties_per_variable, split

if TYPE_CHECKING:
    from xlabelstats.accessors.plots import WindowPlots


@xr.register_dataset_accessor("instances")
class InstancesDatasetAccessor(PolygonDatasetCalls):
    """Work that needs all pixels of an object at once, of every image of a Dataset: ``dataset.instances``.

    The calls of `InstancesAccessor`, with the mask first: a DataArray or the name of a variable.  They give a Dataset,
    with a variable ``{result}_{variable}`` for each image: ``median_DAPI``; what depends only on the mask appears once.
    ``windows.instances.plot`` draws the windows that a Dataset holds.
    """

    _of = xr.Dataset

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    @property
    def plot(self) -> WindowPlots:
        """Pictures of windows: ``windows.instances.plot.gallery()``."""
        from xlabelstats.accessors.plots import WindowPlots

        return WindowPlots(self._dataset)

    @of_every_image(InstancesAccessor.windows)
    def windows(
        self,
        mask: Mask | Hashable,
        size: Size = None,
        *,
        labels: Labels = None,
        per: Per = None,
        remove_background: bool = True,
        batch_size: int | None = None,
        align: str | None = None,
    ) -> xr.Dataset:
        """Cut a window of one size round every object, from every image of the Dataset.

        Returns
        -------
        Dataset
            ``image_{variable}`` for every variable of numbers that has the dims of the mask, and one ``mask``, as
            `InstancesAccessor.windows` gives them.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> field = xr.Dataset({"cells": ("x", [0, 1, 1, 2]), "DAPI": ("x", [9.0, 1.0, 3.0, 4.0])})
        >>> windows = field.instances.windows("cells", 3)
        >>> windows["image_DAPI"].sel(label=1).values
        array([1., 3., 0.])
        """
        return per_variable(
            self._dataset,
            mask,
            "instances.windows",
            size,
            once=("mask",),
            labels=labels,
            per=per,
            remove_background=remove_background,
            batch_size=batch_size,
            align=align,
        )

    @of_every_image(InstancesAccessor.statistics)
    @handing_on("fn", "fn_kwargs")
    def statistics(
        self,
        mask: Mask | Hashable,
        fn: Callable[..., Any],
        *,
        dims: Mapping[str, Any] | None = None,
        size: Size = None,
        fn_kwargs: Mapping[str, Any] | None = None,
        dtype: Any = np.float32,
        batch_size: int | None = None,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        align: str | None = None,
    ) -> xr.Dataset:
        """Call a function of your own with every object, in every image of the Dataset.

        Parameters
        ----------
        fn : callable
            It gets the pixels of one object in one image, ``(channel, pixel)`` in the image's dtype and order, and
            returns ``(channel, n)``.  Channels are the image's other dims, flattened; without any there is one channel,
            and ``(n,)`` is taken too.

        Returns
        -------
        Dataset
            ``statistics_{variable}`` for every variable of numbers that has the dims of the mask, as
            `InstancesAccessor.statistics` gives it.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> field = xr.Dataset({"cells": ("x", [0, 1, 1, 2]), "DAPI": ("x", [9.0, 1.0, 3.0, 4.0])})
        >>> ranges = field.instances.statistics("cells", lambda pixels: pixels.max(1) - pixels.min(1))
        >>> ranges["statistics_DAPI"].values.tolist()
        [2.0, 0.0]
        """
        return per_variable(
            self._dataset,
            mask,
            "instances.statistics",
            fn,
            dims=dims,
            size=size,
            fn_kwargs=fn_kwargs,
            dtype=dtype,
            batch_size=batch_size,
            labels=labels,
            background=background,
            per=per,
            align=align,
        )

    @of_every_image(InstancesAccessor.quantiles, "quantiles")
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
        """Quantiles of the pixels of every object, all of them, in every image of the Dataset."""
        return per_variable(
            self._dataset,
            mask,
            "instances.quantiles",
            q,
            method=method,
            skipna=skipna,
            labels=labels,
            background=background,
            per=per,
            align=align,
        )

    @of_every_image(InstancesAccessor.median, "median")
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
        """Median of the pixels of every object, in every image of the Dataset."""
        return per_variable(
            self._dataset,
            mask,
            "instances.median",
            skipna=skipna,
            labels=labels,
            background=background,
            per=per,
            align=align,
        )

    @of_every_image(InstancesAccessor.featurize)
    @handing_on("model", "model_kwargs")
    def featurize(
        self,
        mask: Mask | Hashable,
        model: Callable[..., Any],
        *,
        size: Size,
        n_features: int,
        labels: Labels = None,
        per: Per = None,
        remove_background: bool = True,
        model_kwargs: Mapping[str, Any] | None = None,
        batch_size: int | None = None,
        dtype: Any = np.float32,
        align: str | None = None,
    ) -> xr.Dataset:
        """Turn the window of every object into features by a model, batch by batch, for every image of the Dataset.

        Parameters
        ----------
        model : callable
            Gets windows ``(b, channel, *window)`` of one image at a time, in its dtype, and returns
            ``(b, n_features)``.  Channels are the image's other dims, flattened; without any there is one channel.
            dask calls it from several threads.

        Returns
        -------
        Dataset
            ``features_{variable}`` for every variable of numbers that has the dims of the mask, as
            `InstancesAccessor.featurize` gives it.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> field = xr.Dataset({"cells": ("x", [0, 1, 1, 2]), "DAPI": ("x", [9.0, 1.0, 3.0, 4.0])})
        >>> features = field.instances.featurize("cells", lambda b: b.max(axis=2), size=3, n_features=1)
        >>> features["features_DAPI"].values.tolist()
        [[3.0], [4.0]]
        """
        return per_variable(
            self._dataset,
            mask,
            "instances.featurize",
            model,
            size=size,
            n_features=n_features,
            labels=labels,
            per=per,
            remove_background=remove_background,
            model_kwargs=model_kwargs,
            batch_size=batch_size,
            dtype=dtype,
            align=align,
        )

    @of_every_image(InstancesAccessor.regionprops)
    def regionprops(
        self,
        mask: Mask | Hashable,
        properties: str | Iterable[str] = tuple(OBJECT_PROPERTIES),
        *,
        spacing: Any = None,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        align: str | None = None,
    ) -> xr.Dataset:
        """Region properties that need all pixels of an object at once, such as ``solidity``.

        Parameters
        ----------
        properties : str or iterable of str
            As `InstancesAccessor.regionprops` lists them, and those of `LabelsAccessor.regionprops`.  By default all of
            the former, which needs a 2-D mask.

        Returns
        -------
        Dataset
            Properties of the mask under their names, and ``{property}_{variable}`` of every variable of numbers that
            has its dims, as `InstancesAccessor.regionprops` gives them.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> field = xr.Dataset({"cells": (("y", "x"), [[7, 7, 7], [7, 0, 7], [7, 7, 7]])})
        >>> field.instances.regionprops("cells", "area_filled")["area_filled"].item()
        9.0
        """
        return properties_per_variable(
            self._dataset,
            mask,
            properties,
            "instances.regionprops",
            spacing=spacing,
            labels=labels,
            background=background,
            per=per,
            align=align,
        )

    @of_its_mask(InstancesAccessor.radii_and_axes)
    def radii_and_axes(
        self,
        mask: Mask | Hashable,
        *,
        units: str = "coords",
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
    ) -> xr.Dataset:
        """Radii and principal axes of every label of a mask of the Dataset, exact for objects of any size.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> field = xr.Dataset({"cells": (("y", "x"), [[7, 7, 7, 7], [7, 7, 7, 7]])})
        >>> field.instances.radii_and_axes("cells")["radius"].values.round(3)
        array([[1.195, 0.535]])
        """
        mask = split(self._dataset, mask)[1]
        return mask.instances.radii_and_axes(units=units, labels=labels, background=background, per=per)
