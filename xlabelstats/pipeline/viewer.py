"""Results as layers of napari."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd

from xlabelstats.extras import need
from xlabelstats.pipeline.cache.images import grid_of, is_image, looks_like_labels
from xlabelstats.pipeline.cache.results import named
from xlabelstats.pipeline.points import find_axes

MARK = "xlabelstats_step"  # in the metadata of a layer: the step that it shows


def open_viewer(viewer: Any) -> Any:
    """The viewer that was given, or a new window for True."""
    if viewer is True:
        napari = need("napari", "viewer", "showing results")
        try:
            import_module("napari.qt")  # without it napari makes a viewer that has no window, and says nothing
        except ImportError as error:
            raise ImportError("viewer=True opens a window, which needs Qt: pip install 'napari[all]'") from error
        return napari.Viewer()
    if viewer and not hasattr(viewer, "add_image"):
        raise TypeError(f"a viewer is a napari.Viewer, or True for a new one; {type(viewer).__name__} has no add_image")
    return viewer or None


def show(viewer: Any, step: str, result: Any, pyramid: Callable, is_label: bool | None, layer: Mapping) -> None:
    """Add a result to a viewer, in place of the layers that the step had there; what is no picture is left out."""
    options: dict[str, Any] = {"name": step}
    if isinstance(result, pd.DataFrame) and (dims := [dim for dim in find_axes(result) if dim in result]):
        add, data = viewer.add_points, result[dims].to_numpy(np.float64)
    elif hasattr(result, "dtype") and is_image(image := named(result)):
        labels = looks_like_labels(image.dtype) if is_label is None else is_label
        channel = [axis for axis, dim in enumerate(image.dims) if dim == "c" and not labels]
        if channel:
            options |= {"channel_axis": channel[0], "name": [f"{step} {name}" for name in image["c"].values]}
        origin, spacing = (np.delete(each, channel) for each in grid_of(image))
        levels = pyramid()
        options |= {"multiscale": len(levels) > 1, "scale": spacing, "translate": origin}
        add, data = viewer.add_labels if labels else viewer.add_image, levels if len(levels) > 1 else levels[0]
    else:
        return
    options |= {**layer, "metadata": {MARK: step, **layer.get("metadata", {})}}
    mark = options["metadata"][MARK]
    layers: Any = getattr(viewer, "layers", [])
    former = [each for each in layers if each.metadata.get(MARK) == mark]
    add(data, **options)
    for each in former:
        layers.remove(each)
    for each in layers:
        if each.metadata.get(MARK) == mark:
            each.name = each.name.removesuffix(" [1]")  # of napari, as the former layer had the name
