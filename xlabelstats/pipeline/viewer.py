"""Results as layers of napari."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from xlabelstats.extras import need
from xlabelstats.pipeline.cache.images import grid_of, is_image
from xlabelstats.pipeline.cache.levels import looks_like_labels
from xlabelstats.pipeline.cache.results import named
from xlabelstats.pipeline.points import find_axes

CHANNEL = "c"

# Under which the metadata of a layer names the step that it shows.
MARK = "xlabelstats_step"


def open_viewer(viewer: Any) -> Any:
    """The viewer that was given, or a new window for True."""
    if viewer is True:
        return need("napari", "viewer", "showing results").Viewer()
    if viewer is None or viewer is False:
        return None
    lacking = [name for name in ("add_image", "add_labels", "add_points") if not hasattr(viewer, name)]
    if lacking:
        raise TypeError(
            f"a viewer is a napari.Viewer, or True for a new one; {type(viewer).__name__} has no {lacking[0]}"
        )
    return viewer


def show(
    viewer: Any,
    name: str,
    result: Any,
    pyramid: Callable[[], list[Any]],
    is_label: bool | None,
    layer: Mapping[str, Any],
) -> None:
    """Add a result to a viewer, in place of the layers it had there under this name; what is no picture is left out."""
    if isinstance(result, pd.DataFrame):
        points = points_of(result)
        if points is not None:
            _remove(viewer, name)
            viewer.add_points(points, **{"name": name, **_known_as(name, layer)})
        return
    if not (isinstance(result, xr.DataArray | da.Array)):
        return
    image = named(result)
    if not is_image(image):
        return
    _remove(viewer, name)
    origin, step = grid_of(image)
    labels = looks_like_labels(image.dtype) if is_label is None else is_label
    levels = pyramid()
    options: dict[str, Any] = {"name": name, "multiscale": len(levels) > 1}
    axes = list(range(image.ndim))
    if CHANNEL in image.dims and not labels:
        channel = image.dims.index(CHANNEL)
        axes.remove(channel)
        names = image[CHANNEL].values if CHANNEL in image.coords else range(image.sizes[CHANNEL])
        options |= {"channel_axis": channel, "name": [f"{name} {each}" for each in names]}
    options |= {"scale": step[axes], "translate": origin[axes]}
    add = viewer.add_labels if labels else viewer.add_image
    add(levels if len(levels) > 1 else levels[0], **{**options, **_known_as(name, layer)})


def points_of(table: pd.DataFrame) -> np.ndarray | None:
    """The positions (point, axis) in coordinate units that a table of points has; None if it has none."""
    axes = find_axes(table)
    if not axes or not set(axes) <= set(table.columns):
        return None
    return table[axes].to_numpy(np.float64)


def _known_as(name: str, layer: Mapping[str, Any]) -> dict[str, Any]:
    return {**layer, "metadata": {MARK: name, **layer.get("metadata", {})}}


def _remove(viewer: Any, name: str) -> None:
    """Remove the layers that an earlier run under this name left, channels too."""
    layers: Any = getattr(viewer, "layers", [])
    for layer in list(layers):
        if layer.metadata.get(MARK) == name:
            layers.remove(layer)
