"""Results as layers of napari."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from xlabelstats.extras import need
from xlabelstats.pipeline.cache.images import grid_of, is_image, looks_like_labels
from xlabelstats.pipeline.cache.results import named
from xlabelstats.pipeline.points import find_axes

CHANNEL = "c"

# Under which the metadata of a layer names the step that it shows.
MARK = "xlabelstats_step"


def open_viewer(viewer: Any) -> Any:
    """The viewer that was given, or a new window for True."""
    if viewer is None or viewer is False:
        return None
    if viewer is True:
        napari = need("napari", "viewer", "showing results")
        try:
            # Without it napari makes a viewer that has no window, and says nothing.
            import_module("napari.qt")
        except ImportError as error:
            raise ImportError(
                "viewer=True opens a window of napari, which needs Qt, and Qt cannot be loaded here: "
                "pip install 'napari[all]'"
            ) from error
        return napari.Viewer()
    lacking = [name for name in ("add_image", "add_labels", "add_points") if not hasattr(viewer, name)]
    if lacking:
        raise TypeError(
            f"a viewer is a napari.Viewer, or True for a new one; {type(viewer).__name__} has no {lacking[0]}"
        )
    return viewer


def show(
    viewer: Any,
    step: str,
    result: Any,
    pyramid: Callable[[], list[Any]],
    is_label: bool | None,
    layer: Mapping[str, Any],
) -> None:
    """Add a result to a viewer, in place of the layers that the step had there; what is no picture is left out."""
    options: dict[str, Any] = {"name": step}
    if isinstance(result, pd.DataFrame):
        dims = find_axes(result)
        if dims and set(dims) <= set(result.columns):
            _replace(viewer, step, viewer.add_points, result[dims].to_numpy(np.float64), {**options, **layer})
        return
    if not isinstance(result, xr.DataArray | da.Array) or not is_image(image := named(result)):
        return
    labels = looks_like_labels(image.dtype) if is_label is None else is_label
    origin, spacing = grid_of(image)
    levels = pyramid()
    drawn = [dim for dim in image.dims if labels or dim != CHANNEL]
    if len(drawn) < image.ndim:
        names = image[CHANNEL].values if CHANNEL in image.coords else range(image.sizes[CHANNEL])
        options = {"channel_axis": image.dims.index(CHANNEL), "name": [f"{step} {name}" for name in names]}
    axes = [image.dims.index(dim) for dim in drawn]
    options |= {"multiscale": len(levels) > 1, "scale": spacing[axes], "translate": origin[axes]}
    add = viewer.add_labels if labels else viewer.add_image
    _replace(viewer, step, add, levels if len(levels) > 1 else levels[0], {**options, **layer})


def _replace(viewer: Any, step: str, add: Callable[..., Any], data: Any, options: Mapping[str, Any]) -> None:
    """Add layers, and when that went well remove those that an earlier run of the step left."""
    layers: Any = getattr(viewer, "layers", [])
    former = [layer for layer in layers if layer.metadata.get(MARK) == step]
    add(data, **{**options, "metadata": {MARK: step, **options.get("metadata", {})}})
    for layer in former:
        layers.remove(layer)
    if former:
        # Beside the former layers napari gave the new ones other names.
        added = [layer for layer in layers if layer.metadata.get(MARK) == step]
        names = [options["name"]] * len(added) if isinstance(options["name"], str) else options["name"]
        for layer, name in zip(added, names, strict=True):
            layer.name = name
