"""Tables of points in space: a row per object or blob, with its position in pixels and in coordinate units."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xlabelstats.align import ROUNDING
from xlabelstats.grid import coordinate, regular_grid
from xlabelstats.names import letter_of

# Positions are taken to be moved if they are off by this part of a pixel.
MOVED = 0.01


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
        return self.units != "pixel" or self.step != 1.0 or self.origin != 0.0


def points_table(ids: np.ndarray, pixels: np.ndarray, image: xr.DataArray, columns: Mapping[str, Any]) -> pd.DataFrame:
    """The table of points that lie at ``pixels`` (point, axis) of an image.

    Its index ``label`` is the ids.  It has the columns ``id``; for every dim the coordinate, named as the dim, and the
    index, named ``{dim}_pixel``; those given; and, the same in every row, how positions are to be read, so that rows
    say it wherever they go: ``{dim}_size``, the pixels of the image; along dims with coordinates ``{dim}_origin``,
    that of the first pixel, and ``{dim}_step``, from a pixel to the next, NaN if not evenly spaced; and
    ``{dim}_units``, if they have units, "pixel" without coordinates.
    """
    axes = [str(dim) for dim in image.dims]
    places = {
        axis: at_pixels(image, dim, pixels[:, i]) for i, (axis, dim) in enumerate(zip(axes, image.dims, strict=True))
    }
    along = list(zip(axes, axes_along(image).values(), image.dims, strict=True))
    data: dict[str, Any] = {f"{axis}_pixel": pixels[:, i] for i, axis in enumerate(axes)}
    data |= columns
    data |= {f"{axis}_size": np.full(len(ids), read.size) for axis, read, _ in along}
    for axis, read, dim in along:
        if dim in image.indexes:
            data[f"{axis}_origin"] = np.full(len(ids), read.origin)
            data[f"{axis}_step"] = np.full(len(ids), np.nan if read.step is None else read.step)
    data |= {
        f"{axis}_units": pd.Categorical.from_codes(np.zeros(len(ids), np.int8), pd.Index([read.units]))
        for axis, read, _ in along
        if read.units
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
    known = [axis for axis in axes if not sized or letter_of(axis)]
    return [axis for axis in axes if f"{axis}_size" in names or (axis in names and axis in known)]


def axes_of(table: pd.DataFrame) -> list[str]:
    """The axes in which the points of a table lie, or a complaint that it is no such table."""
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"a table of points is a pandas.DataFrame, not {type(table).__name__}")
    axes = find_axes(table)
    if "axes" in table.attrs and not any(f"{axis}_size" in table for axis in axes):
        raise ValueError(
            "the table describes its positions in its attrs, in place of columns such as 'y_size'; "
            "make it again: centroids(instances)"
        )
    if not axes or not set(axes) <= set(table):
        raise ValueError(
            f"the table has the columns {[str(name) for name in table]}; a table of points has 'id', and for every "
            "axis its coordinate and index, such as 'y' and 'y_pixel', as centroids(instances) makes it"
        )
    return axes


def axes_along(points: pd.DataFrame | xr.DataArray, placed: Iterable[Hashable] = ()) -> dict[str, Axis]:
    """How positions along each axis are to be read: of a table that has rows, or of the image they lie in.

    Along dims that are ``placed`` coordinates alone tell where points lie, so that a table may be of several images.
    """
    if isinstance(points, xr.DataArray):
        return {str(dim): Axis(points.sizes[dim], units_along(points, dim), *_line(points, dim)) for dim in points.dims}
    by_coords = set(map(str, placed))
    return {axis: _axis_of(points, axis, axis in by_coords) for axis in axes_of(points)}


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
    values = coordinate(image, dim)
    if values is None:
        return 0.0, 1.0
    try:
        grid = regular_grid(image[dim], "")
    except ValueError:
        return float(values[0]), None
    return float(grid.origin[0]), float(grid.step[0])


def _axis_of(table: pd.DataFrame, axis: str, by_coords: bool) -> Axis:
    """How the positions of a table along an axis are to be read, by its columns."""
    said = _same_in_all(table, f"{axis}_units")
    places, pixels = (table[name].to_numpy(np.float64) for name in (axis, f"{axis}_pixel"))
    # Numbers for units, such as 1, come from a file that has no types.
    units = "" if said is None else str(said)
    has_coords = f"{axis}_step" in table
    if not has_coords and units != "pixel":
        # Columns were left out, or the table is of the user's own making.
        has_coords = bool((places != pixels)[np.isfinite(places)].any())
        units = units if has_coords or units else "pixel"
    if by_coords:
        sized = f"{axis}_size" in table
        return Axis(int(table[f"{axis}_size"].max()) if sized else None, units, *((np.nan, None) if has_coords else ()))
    size, origin, step = (_same_in_all(table, f"{axis}_{name}") for name in ("size", "origin", "step"))
    size = None if size is None else int(size)
    if not has_coords:
        return Axis(size, units)
    if origin is None or step is None:
        return Axis(size, units, np.nan, None)
    shifts = places - (origin + step * pixels)
    shifts = shifts[np.isfinite(shifts)]
    # Positions that were moved one by one, as by a registration, no longer say where the pixels lie; rounded ones do.
    if not shifts.size or np.ptp(shifts) >= MOVED * abs(step):
        return Axis(size, units, np.nan, None)
    shift = float(np.median(shifts))
    return Axis(size, units, float(origin) + (shift if abs(shift) >= MOVED * abs(step) else 0.0), float(step))


def _same_in_all(table: pd.DataFrame, name: str) -> Any:
    """What a column says that is the same in all rows, but for rounding; None if it says nothing or is not there."""
    if name not in table:
        return None
    values = table[name].drop_duplicates()
    first = None if values.isna().all() else values.iloc[0]
    if len(values) == 1 or (name.endswith("_step") and np.ptp(values) <= ROUNDING * abs(values).max()):
        return first
    raise ValueError(
        f"the column {name!r} of the table holds {values.tolist()[:3]}, but all points must "
        "lie in one image; choose the rows of one, or bring the images to one grid before"
    )
