"""Tables of points in space: a row per object or blob, with its position in pixels and in coordinate units."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xlabelstats.grid import coordinate, regular_grid


def points_table(ids: np.ndarray, pixels: np.ndarray, image: xr.DataArray, columns: Mapping[str, Any]) -> pd.DataFrame:
    """The table of points that lie at ``pixels`` (point, axis) of an image.

    Its index ``label`` is the ids.  It has the columns ``id``; for every dim the coordinate, named as the dim, and the
    index, named ``{dim}_pixel``; and those given.  Its attrs say what they refer to: ``axes``, and per axis ``shape``
    and ``units``, and ``origin`` and ``step``, the coordinate of the first pixel and how far it is to the next, None
    where they are not evenly spaced.
    """
    axes = [str(dim) for dim in image.dims]
    taken = [axis for axis in axes if axis in ("id", *columns)]
    if taken:
        raise ValueError(f"{taken[0]!r}, a dim, is the name of a column of the table; rename it with .rename")
    data: dict[str, Any] = {"id": ids}
    data |= {
        axis: at_pixels(image, dim, pixels[:, i]) for i, (axis, dim) in enumerate(zip(axes, image.dims, strict=True))
    }
    data |= {f"{axis}_pixel": pixels[:, i] for i, axis in enumerate(axes)}
    # By label, as other tables are, so that a column can be painted on the mask.
    table = pd.DataFrame(data | dict(columns)).set_index(pd.Index(ids, name="label"))
    origin, step = zip(*(_line(image, dim) for dim in image.dims), strict=True)
    table.attrs = {
        "axes": axes,
        "shape": list(image.shape),
        "units": [units_along(image, dim) for dim in image.dims],
        "origin": list(origin),
        "step": list(step),
    }
    return table


def axes_of(table: pd.DataFrame) -> list[str]:
    """The axes in which the points of a table lie, or a complaint that it is no such table."""
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"a table of points is a pandas.DataFrame, not {type(table).__name__}")
    names = [str(name) for name in table]
    axes = table.attrs.get("axes") or [name.removesuffix("_pixel") for name in names if name.endswith("_pixel")]
    lacking = [axis for axis in axes if axis not in table or f"{axis}_pixel" not in table]
    if not axes or lacking:
        raise ValueError(
            f"the table has the columns {names}; a table of points has 'id', and for every axis its coordinate "
            "and index, such as 'y' and 'y_pixel', as centroids(instances) makes it"
        )
    return list(axes)


def shape_of(table: pd.DataFrame) -> tuple[int, ...]:
    """The shape of the image in which the points of a table lie."""
    axes = axes_of(table)
    shape = table.attrs.get("shape")
    if shape is None:
        raise ValueError(
            "the table does not say how large the image is; its attrs, which a merge or a file other than "
            f"Parquet loses, hold it: table.attrs = {{'axes': {axes}, 'shape': [...]}}"
        )
    return tuple(shape)


def positions(table: pd.DataFrame, units: str = "coords") -> np.ndarray:
    """The positions (point, axis), in coordinate units or pixels."""
    suffix = "_pixel" if units == "pixel" else ""
    return table[[f"{axis}{suffix}" for axis in axes_of(table)]].to_numpy(np.float64)


def at_pixels(image: xr.DataArray, dim: Hashable, pixels: np.ndarray) -> np.ndarray:
    """Coordinates at positions in pixels, between those of the nearest two; the positions if there are none."""
    values = coordinate(image, dim)
    if values is None or not values.size:
        return pixels
    return np.interp(pixels, np.arange(values.size), values)


def units_along(image: xr.DataArray, dim: Hashable) -> str:
    """The units of the positions along a dim: those of its coordinates, "pixel" if there are none."""
    return str(image[dim].attrs.get("units", "")) if dim in image.indexes else "pixel"


def in_coords(table: pd.DataFrame, axis: str) -> bool:
    """Whether the positions of a table along an axis are coordinates, and not just pixels."""
    place = axes_of(table).index(axis)
    line = [table.attrs.get(name, (usual,) * (place + 1))[place] for name, usual in (("origin", 0.0), ("step", 1.0))]
    return table.attrs.get("units", ("pixel",) * (place + 1))[place] != "pixel" or line != [0.0, 1.0]


def _line(image: xr.DataArray, dim: Hashable) -> tuple[float, float | None]:
    """The coordinate of the first pixel along a dim, and the step to the next, None if there is no such step."""
    if dim not in image.indexes:
        return 0.0, 1.0
    try:
        grid = regular_grid(image[dim], "")
    except ValueError:
        return float(image.indexes[dim][0]), None
    return float(grid.origin[0]), float(grid.step[0])
