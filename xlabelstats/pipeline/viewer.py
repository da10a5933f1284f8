"""Results as layers of napari."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xlabelstats.extras import need
from xlabelstats.pipeline.cache.images import grids_of, is_image, looks_like_labels
from xlabelstats.pipeline.cache.results import named
from xlabelstats.pipeline.points import find_axes
from xlabelstats.units import UNITS, spelt_out

MARK = "xlabelstats_step"  # in the metadata of a layer: the step that it shows


def open_viewer(viewer: Any) -> Any:
    """The viewer that was given, or a new window for True."""
    if viewer is True:
        napari = need("napari", "viewer", "showing results")
        try:
            import_module("napari.qt")  # without it napari makes a viewer that has no window, and says nothing
        except ImportError as error:
            raise ImportError("a window of napari needs Qt: pip install 'napari[all]'") from error
        return napari.Viewer()
    if viewer and not hasattr(viewer, "add_image"):
        raise TypeError(f"a viewer is a napari.Viewer, or True for a new one; {type(viewer).__name__} has no add_image")
    return viewer or None


def placement(image: xr.DataArray, dims: Iterable[Hashable] | None = None) -> dict[str, Any]:
    """Where napari puts the pixels of an image, and in which units: by the coordinates along its dims, or some of them.

    In pixels where there are no coordinates, or none that are evenly spaced numbers.
    """
    grids = grids_of(image, image.dims if dims is None else dims)
    return {
        "scale": [float(grid.step[0]) for grid in grids],
        "translate": [float(grid.origin[0]) for grid in grids],
        "units": tuple(unit_of(grid.units) for grid in grids),
    }


def unit_of(units: str) -> str:
    """Units of coordinates as napari takes them; those that it may not know are its default, pixels."""
    return name if (name := spelt_out(units)) in UNITS else "pixel"


def _units_said(table: pd.DataFrame, dim: str) -> str:
    """The units of the positions in a table along a dim, as its first row says them."""
    said = table[f"{dim}_units"].tolist() if f"{dim}_units" in table else []
    return str(said[0]) if said else ""


def show(viewer: Any, step: str, result: Any, pyramid: Callable, is_label: bool | None, layer: Mapping) -> None:
    """Add a result to a viewer, in place of the layers that the step had there; what is no picture is left out."""
    options: dict[str, Any] = {"name": step}
    if isinstance(result, pd.DataFrame) and (dims := [dim for dim in find_axes(result) if dim in result]):
        add, data = viewer.add_points, result[dims].to_numpy(np.float64)
        options["units"] = tuple(unit_of(_units_said(result, dim)) for dim in dims)
    elif hasattr(result, "dtype") and is_image(image := named(result)):
        labels = looks_like_labels(image.dtype) if is_label is None else is_label
        along = [dim for dim in image.dims if dim != "c" or labels]
        if len(along) < image.ndim:
            names = [f"{step} {name}" for name in image["c"].values]
            options |= {"channel_axis": image.dims.index("c"), "name": names}
        levels = pyramid()
        options |= {"multiscale": len(levels) > 1, **placement(image, along)}
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
