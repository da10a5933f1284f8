"""Tables of points in space: a row per object or blob, with its position in pixels and in coordinate units."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xlabelstats.grid import coordinate, regular_grid


@dataclass(frozen=True)
class Axis:
    """How positions along an axis are to be read.

    Attributes
    ----------
    size : int or None
        Pixels of the image, None if a table does not say.
    units : str
        Those of the coordinates, "" if they do not say; "pixel" without coordinates.
    origin : float
        The coordinate of the first pixel.
    step : float or None
        From a pixel to the next, None if the coordinates are not evenly spaced or the origin is not known.
    """

    size: int | None
    units: str
    origin: float = 0.0
    step: float | None = 1.0

    @property
    def in_coords(self) -> bool:
        """Whether positions are coordinates, and not just pixels."""
        # The origin of a table is a difference, which rounds.
        return self.units != "pixel" or self.step != 1.0 or abs(self.origin) > 1e-6


def points_table(ids: np.ndarray, pixels: np.ndarray, image: xr.DataArray, columns: Mapping[str, Any]) -> pd.DataFrame:
    """The table of points that lie at ``pixels`` (point, axis) of an image.

    Its index ``label`` is the ids.  It has the columns ``id``; for every dim the coordinate, named as the dim, and the
    index, named ``{dim}_pixel``; those given; and, the same in every row, how positions are to be read, so that rows
    say it wherever they go: ``{dim}_size``, the pixels of the image, and along dims with coordinates ``{dim}_step``,
    from a pixel to the next, NaN if not evenly spaced, and ``{dim}_units`` if they have units.
    """
    axes = [str(dim) for dim in image.dims]
    places = {
        axis: at_pixels(image, dim, pixels[:, i]) for i, (axis, dim) in enumerate(zip(axes, image.dims, strict=True))
    }
    along = list(zip(axes, axes_along(image).values(), image.dims, strict=True))
    data: dict[str, Any] = {f"{axis}_pixel": pixels[:, i] for i, axis in enumerate(axes)}
    data |= columns
    data |= {f"{axis}_size": np.full(len(ids), read.size) for axis, read, _ in along}
    data |= {
        f"{axis}_step": np.full(len(ids), np.nan if read.step is None else read.step)
        for axis, read, dim in along
        if dim in image.indexes
    }
    data |= {
        f"{axis}_units": pd.Categorical.from_codes(np.zeros(len(ids), np.int8), pd.Index([read.units]))
        for axis, read, dim in along
        if dim in image.indexes and read.units
    }
    taken = [axis for axis in axes if axis in ("id", *data)]
    if taken:
        raise ValueError(f"{taken[0]!r}, a dim, is the name of a column of the table; rename it with .rename")
    # By label, as other tables are, so that a column can be painted on the mask.
    return pd.DataFrame({"id": ids} | places | data).set_index(pd.Index(ids, name="label"))


def find_axes(table: pd.DataFrame) -> list[str]:
    """The axes in which the points of a table lie, none if it has no positions."""
    names = [str(name) for name in table]
    axes = [name.removesuffix("_pixel") for name in names if name.endswith("_pixel")]
    # A table that was merged with others may have columns such as "perimeter_pixel".
    sized = any(f"{axis}_size" in names for axis in axes)
    return [axis for axis in axes if not sized or axis in names or f"{axis}_size" in names]


def axes_of(table: pd.DataFrame) -> list[str]:
    """The axes in which the points of a table lie, or a complaint that it is no such table."""
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"a table of points is a pandas.DataFrame, not {type(table).__name__}")
    axes = find_axes(table)
    if "axes" in table.attrs and not any(f"{axis}_size" in table for axis in axes):
        raise ValueError(
            "the table says in its attrs how its positions are to be read, which columns such as 'y_size' now say; "
            "make it anew: centroids(instances)"
        )
    if not axes or not set(axes) <= set(table):
        raise ValueError(
            f"the table has the columns {[str(name) for name in table]}; a table of points has 'id', and for every "
            "axis its coordinate and index, such as 'y' and 'y_pixel', as centroids(instances) makes it"
        )
    return axes


def axes_along(points: pd.DataFrame | xr.DataArray) -> dict[str, Axis]:
    """How positions along each axis are to be read: of a table that has rows, or of the image they lie in."""
    if isinstance(points, xr.DataArray):
        return {str(dim): Axis(points.sizes[dim], units_along(points, dim), *_line(points, dim)) for dim in points.dims}
    return {axis: _axis_of(points, axis) for axis in axes_of(points)}


def shape_of(axes: Mapping[str, Axis]) -> tuple[int, ...]:
    """The shape of the image, or a complaint that a table does not say it."""
    sizes = {name: axis.size for name, axis in axes.items()}
    unsaid = [name for name, size in sizes.items() if size is None]
    if unsaid:
        columns = ", ".join(f"{name}_size=..." for name in unsaid)
        raise ValueError(
            "the table does not say how large the image is in which its points lie; add its pixels along each axis, "
            f"as centroids(instances) does: table.assign({columns})"
        )
    return tuple(size for size in sizes.values() if size is not None)


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


def _line(image: xr.DataArray, dim: Hashable) -> tuple[float, float | None]:
    """The coordinate of the first pixel along a dim, and the step to the next, None if there is no such step."""
    if dim not in image.indexes:
        return 0.0, 1.0
    try:
        grid = regular_grid(image[dim], "")
    except ValueError:
        return float(image.indexes[dim][0]), None
    return float(grid.origin[0]), float(grid.step[0])


def _axis_of(table: pd.DataFrame, axis: str) -> Axis:
    """How the positions of a table along an axis are to be read, by its columns."""
    size, step, units = (_same_in_all(table, f"{axis}_{name}") for name in ("size", "step", "units"))
    size = None if size is None else int(size)
    if f"{axis}_step" not in table:
        return Axis(size, units or "pixel")
    if step is None:
        return Axis(size, units or "", np.nan, None)
    origins = table[axis].to_numpy(np.float64) - table[f"{axis}_pixel"].to_numpy(np.float64) * step
    origins = origins[np.isfinite(origins)]
    # Positions that were moved, as by a registration, no longer say where the pixels lie; rounded ones do.
    even = origins.size > 0 and np.ptp(origins) < 0.01 * abs(step)
    return Axis(size, units or "", float(np.median(origins)) if even else np.nan, float(step) if even else None)


def _same_in_all(table: pd.DataFrame, name: str) -> Any:
    """What a column says that is the same in all rows; None if it says nothing or is not there."""
    if name not in table:
        return None
    values = table[name].drop_duplicates()
    if len(values) > 1:
        raise ValueError(
            f"the column {name!r} of the table holds {values.tolist()[:3]}, but points that are looked at together "
            "lie in one image; choose the rows of one, or bring the images to one grid before"
        )
    return None if values.isna().all() else values.iloc[0]
