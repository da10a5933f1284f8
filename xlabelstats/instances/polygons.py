"""The outlines of objects as polygons."""

from __future__ import annotations

import math
import threading
from collections.abc import Hashable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xlabelstats.engine.dask_internals import block_values
from xlabelstats.engine.local import map_locally, stretches
from xlabelstats.engine.ownership import Region, find_regions, map_regions
from xlabelstats.engine.reduction import WholeBlock
from xlabelstats.extras import need
from xlabelstats.grid import Grid, check_units, pixel_grid, regular_grid
from xlabelstats.inputs import check_is_mask, check_on_host
from xlabelstats.labels.per import apart
from xlabelstats.labels.subject import Objects, WholeSubject, find_whole
from xlabelstats.names import LABEL
from xlabelstats.rows import names_of_rows

if TYPE_CHECKING:
    import geopandas

EXTRA = "polygons"

# Rasterio changes the filters of warnings for a moment, which are those of all threads.
_FILTERING = threading.Lock()

# The labels of some objects, and the outline of each.
Outlines = tuple[np.ndarray, np.ndarray]


def polygons(
    mask: xr.DataArray,
    tolerance: float = 0,
    *,
    units: str = "coords",
    labels: Any = None,
    background: bool = False,
    per: Any = None,
) -> geopandas.GeoDataFrame:
    """The outline of every object in a table; see `InstancesAccessor.polygons`."""
    package = need("geopandas", EXTRA, "polygons")
    need("rasterio.features", EXTRA, "polygons")
    check_on_host("mask.instances.polygons", mask=mask)
    check_units(units)
    found = outlines(
        mask, tolerance=checked_tolerance(tolerance), units=units, labels=labels, background=background, per=per
    )
    table = package.GeoDataFrame(geometry=found.to_numpy(), index=names_of_rows(found))
    table.attrs.update(found.attrs)
    return table


def checked_tolerance(tolerance: Any) -> float:
    """How far an outline may be moved, or a complaint."""
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float | np.integer | np.floating):
        raise TypeError(f"tolerance is a number, how far outlines may be moved, not {tolerance!r}; 0 keeps them exact")
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"tolerance is 0 or a positive number, not {tolerance!r}; 0 keeps outlines exact")
    return float(tolerance)


@apart()
def outlines(mask: xr.DataArray, *, tolerance: float, units: str, labels: Any, background: bool) -> xr.DataArray:
    """The outline of every label, None for one that does not occur; dims (label,)."""
    check_is_mask(mask)
    mask = mask.transpose(*_vertical_and_horizontal(mask))
    grid = pixel_grid(2) if units == "pixel" else regular_grid(mask, "for polygons in pixels give units='pixel'")
    subject = find_whole(None, mask, labels, background)
    geometry = np.full(subject.selection.ids.size, None, object)
    for ids, shapes in _of_regions(subject, partial(_outlines, grid=grid, tolerance=tolerance)):
        geometry[np.searchsorted(subject.selection.ids, ids.astype(subject.selection.ids.dtype))] = shapes
    rows = subject.selection.rows
    return xr.DataArray(
        geometry if rows is None else geometry[rows],
        dims=LABEL,
        coords={LABEL: subject.selection.labels},
        attrs={"units": grid.units} if grid.units else {},
    )


def _vertical_and_horizontal(mask: xr.DataArray) -> tuple[Hashable, ...]:
    """The dims of a mask along y and x: those of these names, else the first and the last."""
    if mask.ndim != 2:
        others = [dim for dim in mask.dims if dim not in ("y", "x")][: max(mask.ndim - 2, 0)]
        one, every = dict.fromkeys(others, 0), others[0] if len(others) == 1 else others
        advice = f"; take one plane of it, mask.isel({one}), or outline each: polygons(per={every!r})" if others else ""
        raise ValueError(f"polygons are outlines in 2-D masks, and this mask has the dims {tuple(mask.dims)}{advice}")
    first, last = mask.dims
    return (last, first) if first == "x" or last == "y" else (first, last)


def _of_regions(subject: WholeSubject, function: Any) -> list[Outlines]:
    """What a function makes of the objects of all regions of the mask."""
    objects, mask = subject.objects, subject.mask
    if not objects.ids.size:
        return []
    if subject.lazy:
        return block_values(map_regions(function, mask, None, objects, objects.low, objects.high))
    pieces = stretches(mask.shape)
    edges = np.linspace(0, mask.shape[0], min(len(pieces), mask.shape[0]) + 1).astype(int)
    by_block = find_regions(objects, objects.low, objects.high, [np.diff(edges).tolist(), [mask.shape[1]]])

    def of_region(region: Region) -> Outlines:
        return function(mask[tuple(map(slice, region.low, region.high))], None, region.low, objects.take(region.rows))

    return map_locally(of_region, [region for regions in by_block for region in regions])


def _outlines(
    mask: np.ndarray, image: None, low: tuple[int, ...], objects: Objects, *, grid: Grid, tolerance: float
) -> Outlines:
    """The outlines of the objects of a region that begins at ``low``."""
    import shapely
    from rasterio import Affine
    from rasterio.features import shapes

    codes = _coded(WholeBlock(mask, None, low, objects))
    parts, rows = [], []
    # A pixel reaches half a step to either side of its position.
    place = Affine.translation(low[1] - 0.5, low[0] - 0.5)
    with _FILTERING:
        # Pixels that touch at a corner alone are of two parts: as one, the outline would touch itself.
        drawn = list(shapes(codes, mask=codes > 0, connectivity=4, transform=place))
    for outline, code in drawn:
        shell, *holes = outline["coordinates"]
        parts.append(shapely.Polygon(np.array(shell), list(map(np.array, holes))))
        rows.append(int(code) - 1)
    order = np.argsort(rows, kind="stable")
    ordered, row = np.array(parts, object)[order], np.array(rows)[order]
    step, first = grid.step[::-1], grid.origin[::-1]
    ordered = shapely.transform(ordered, lambda corners: first + corners * step)
    found = shapely.multipolygons(ordered, indices=row)
    alone = np.bincount(row) == 1
    found[alone] = ordered[alone[row]]
    # GDAL promises no order of parts and points, and it must not depend on the region.
    found = shapely.normalize(found)
    return objects.ids, simplified(found, tolerance) if tolerance else found


def _coded(block: WholeBlock) -> np.ndarray:
    """The row of every pixel's object, counted from 1, and 0 where there is none of the objects."""
    codes, starts, lengths, _ = block.runs
    change = np.zeros(math.prod(block.shape) + 1, np.int32)
    # A run may begin where another ends.
    change[starts] += (codes + 1).astype(np.int32)
    change[starts + lengths] -= (codes + 1).astype(np.int32)
    return np.cumsum(change, dtype=np.int32, out=change)[:-1].reshape(block.shape)


def simplified(found: np.ndarray, tolerance: float) -> np.ndarray:
    """Outlines with fewer points, near the exact ones."""
    import shapely

    return shapely.normalize(shapely.simplify(found, tolerance, preserve_topology=True))
