"""Cells per region of an atlas, whose grid may be coarser than that of the image they were found in."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xlabelstats.engine.dask_internals import Graph, array_of_tasks
from xlabelstats.grid import Grid, coordinate, regular_grid
from xlabelstats.hierarchy import Hierarchy, as_hierarchy
from xlabelstats.inputs import check_chunks, check_mask, is_dask
from xlabelstats.options import compute
from xlabelstats.pipeline.centroids import as_table
from xlabelstats.pipeline.counts import cells_of
from xlabelstats.pipeline.points import Axis, axes_along, axes_of, positions, shape_of, units_along
from xlabelstats.pipeline.steps import check_space, named, step
from xlabelstats.units import spelt_out


@step(1)
def density_by_region(
    counted: Any,
    atlas: Any,
    names: Mapping[int, str] | pd.Series | None = None,
    hierarchy: Mapping[int, int] | pd.Series | pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Count the cells in every region of an atlas, and how densely they lie.

    Parameters
    ----------
    counted : pandas.DataFrame, or DataArray, numpy or dask array
        A table of counts or centroids; an instance mask, of integers; or an image of counts, of floats, as `count_map`
        or `scaled_intensity` makes it.  A row of a table counts as its ``cells``, or as one without this column; an
        instance counts as one.
    atlas : DataArray, numpy or dask array of integers
        The id of the region that every pixel belongs to, 0 outside, with the same dims.  Evenly spaced, on any
        grid.
    names : mapping of int to str, or pandas.Series, optional
        The names of regions by id.
    hierarchy : mapping, pandas.Series or pandas.DataFrame, optional
        Which region lies in which: a mapping or Series from child to parent, or a table as atlases have it, with the
        columns ``id`` and ``structure_id_path`` (``"/997/8/567/"``, or a list of ids).  Every region then has all cells
        and all pixels of the regions in it too, and regions without own pixels have rows.  So add up ``cells`` only
        over the rows of one level, not over all rows.

    Returns
    -------
    pandas.DataFrame
        A row per region of the atlas, sorted: ``region``, its id; ``name``, if names were given, "" for one without;
        ``cells``; ``volume``, in coordinate units, or pixels without coordinates; and ``density``, cells per volume.
        The attrs are ``outside``, the cells that lie in no region, and ``units``, those of ``volume`` and ``density``,
        or "" if the atlas has none.  With a hierarchy there are the columns ``depth``, 0 for a region that lies in no
        other, and ``name`` and ``acronym``, if its table has these and no ``names`` were given.

    Warns
    -----
    UserWarning
        More cells lie outside than in regions.

    Raises
    ------
    TypeError
        The atlas does not hold integers, or ``names`` or ``hierarchy`` is of another type.
    ValueError
        The dims differ; only one side has coordinates, or the units differ; neither has any and the shapes differ; the
        coordinates of the atlas are not evenly spaced; or the hierarchy goes round in a circle, or two of its paths
        differ.

    Notes
    -----
    A cell lies in the region of the atlas pixel nearest to its centroid, and outside if it is beyond the faces of the
    outermost pixels.  In an image of counts, all cells of one pixel lie in the region at its centre, so its pixels
    should not be larger than those of the atlas.  Everything is computed now, a lazy atlas or image block by block.

    Examples
    --------
    >>> import xarray as xr
    >>> from xlabelstats.pipeline import density_by_region
    >>> instances = xr.DataArray([[1, 0, 2, 0, 3, 3]], dims=("y", "x"), coords={"y": [0.0], "x": range(6)})
    >>> atlas = xr.DataArray([[10, 10, 20]], dims=("y", "x"), coords={"y": [0.0], "x": [0.5, 2.5, 4.5]})
    >>> density_by_region(instances, atlas, names={10: "cortex", 20: "striatum"})
       region      name  cells  volume  density
    0      10    cortex    2.0     4.0      0.5
    1      20  striatum    1.0     2.0      0.5
    >>> density_by_region(instances, atlas, hierarchy={10: 5, 20: 5})[["region", "depth", "cells", "volume"]]
       region  depth  cells  volume
    0       5      0    3.0     6.0
    1      10      1    2.0     4.0
    2      20      1    1.0     2.0
    """
    regions = check_mask(named(atlas, "atlas"))
    check_space(regions, "atlas")
    grid = regular_grid(regions, "bring it to an even grid: atlas.reindex(..., method='nearest')")
    name_of = None if names is None else _names(names)
    tree = None if hierarchy is None else as_hierarchy(hierarchy)
    found = _sums_of(counted, regions, grid)
    if found.outside > found.cells.sum():
        warnings.warn(
            f"{found.outside:g} of {found.outside + found.cells.sum():g} cells lie in no region; do the coordinates of "
            "the atlas say where its pixels lie in the image that was counted?",
            stacklevel=2,
        )
    columns: dict[str, Any] = {}
    if tree is not None:
        found = _with_parents(found, tree)
        columns = tree.coords(found.ids)
    if name_of is not None:
        columns = {"name": [name_of.get(int(region), "") for region in found.ids]} | {
            what: values for what, values in columns.items() if what == "depth"
        }
    volume = found.pixels * math.prod(grid.spacing.tolist())
    measured = {"cells": found.cells, "volume": volume, "density": found.cells / volume}
    table = pd.DataFrame({"region": found.ids, **columns, **measured})
    powers = {"volume": regions.ndim, "density": -regions.ndim}
    units = {name: grid.units_of(power).get("units", "") for name, power in powers.items()}
    table.attrs = {"outside": found.outside, "units": units}
    return table


@dataclass(frozen=True)
class Sums:
    """What lies in every region of an atlas.

    Attributes
    ----------
    ids : array (region,)
    cells : array (region,) of float64
    pixels : array (region,) of int64
        Of the atlas.
    outside : float
        Cells that lie in no region.
    """

    ids: np.ndarray
    cells: np.ndarray
    pixels: np.ndarray
    outside: float


def _with_parents(sums: Sums, tree: Hierarchy) -> Sums:
    """What lies in every region or below it."""
    number, holders = tree.members(sums.ids)
    ids, group = np.unique(holders, return_inverse=True)
    cells, pixels = np.zeros(ids.size), np.zeros(ids.size, np.int64)
    np.add.at(cells, group, sums.cells[number])
    np.add.at(pixels, group, sums.pixels[number])
    return Sums(ids, cells, pixels, sums.outside)


def _sums_of(counted: Any, atlas: xr.DataArray, grid: Grid) -> Sums:
    if isinstance(counted, pd.DataFrame):
        return _sums_of_points(
            as_table(counted), axes_along(counted, atlas.indexes) if len(counted) else {}, atlas, grid
        )
    array = named(counted, "image or mask that was counted")
    check_chunks(array, "image")
    if array.dtype.kind == "f":
        return _sums_of_image(array, atlas, grid)
    return _sums_of_points(as_table(array), axes_along(array), atlas, grid)


def _sums_of_points(table: pd.DataFrame, along: Mapping[str, Axis], atlas: xr.DataArray, grid: Grid) -> Sums:
    """Cells put into an image on the grid of the atlas; ``along`` is how their positions are to be read."""
    axes = axes_of(table)
    _check_dims(axes, atlas)
    bare = {name: axis for name, axis in along.items() if name not in map(str, atlas.indexes)}
    shape_of(bare)
    for name, axis in along.items():
        _check_axis(name, axis.in_coords, axis.units, axis.size, atlas)
    order = [axes.index(str(dim)) for dim in atlas.dims]
    pixels = _nearest(positions(table)[:, order], grid.origin, grid.step)
    here = ((pixels >= 0) & (pixels < atlas.shape)).all(axis=1)
    cells = cells_of(table)
    image = xr.DataArray(_points_image(pixels[here].astype(np.int64), cells[here], atlas), dims=atlas.dims)
    found = compute(image.labels.aggregate(atlas, ("sum", "count"), background=True))
    in_region = found["label"].values != 0
    outside = cells[~here].sum() + found["sum"].values[~in_region].sum()
    ids, sums, count = (found[name].values[in_region] for name in ("label", "sum", "count"))
    return Sums(ids, sums, count, float(outside))


def _sums_of_image(image: xr.DataArray, atlas: xr.DataArray, grid: Grid) -> Sums:
    """The atlas brought to the grid of an image of counts: one region for each pixel."""
    _check_dims([str(dim) for dim in image.dims], atlas)
    extents = image.attrs.get("shape")
    extents = extents if isinstance(extents, Mapping) else {}
    index, inside = {}, []
    for axis, dim in enumerate(atlas.dims):
        values, units = coordinate(image, dim), units_along(image, dim)
        extent = extents.get(str(dim), image.sizes[dim])
        # The boxes of a volume without coordinates have pixels of it for coordinates.
        among_pixels = values is None or (
            units == "pixel" and str(dim) in extents and values.min() >= 0 and values.max() < extent
        )
        _check_axis(str(dim), not among_pixels, units, extent, atlas)
        at = np.arange(image.sizes[dim]) if values is None else values
        pixels = _nearest(at, grid.origin[axis], grid.step[axis])
        last = atlas.sizes[dim] - 1
        index[dim] = np.clip(pixels, 0, last).astype(np.int64)
        inside.append(xr.DataArray((pixels >= 0) & (pixels <= last), dims=[dim]))
    bare = atlas.drop_vars(list(atlas.coords)).isel(index)
    for along in inside:
        bare = bare.where(along, 0)
    count = _now(atlas.labels.count())
    ids = count["label"].values
    labels = np.concatenate([np.zeros(1, ids.dtype), ids])
    sums = _now(image.drop_vars(list(image.coords)).labels.sum(bare, labels=labels, skipna=False)).values
    return Sums(ids, sums[1:], count.values, float(sums[0]))


def _nearest(at: np.ndarray, origin: Any, step: Any) -> np.ndarray:
    """The number of the nearest pixel of a grid that goes on for ever; of two, the later one."""
    return np.floor((at - origin) / step + 0.5)


def _now(result: xr.DataArray) -> xr.DataArray:
    return compute(result) if is_dask(result.data) else result


def _points_image(pixels: np.ndarray, cells: np.ndarray, atlas: xr.DataArray) -> Any:
    """A dask array on the grid of an atlas that holds the cells at the pixels (point, axis), made block by block."""
    import dask.array as da
    from dask.base import tokenize

    # Blocks of an atlas in memory bound the size of the image, which there is beside it.
    chunks = atlas.chunks or da.core.normalize_chunks("auto", atlas.shape, dtype=np.float64)
    edges = [np.cumsum((0, *sizes)) for sizes in chunks]
    block = [np.searchsorted(at, pixels[:, axis], "right") - 1 for axis, at in enumerate(edges)]
    offset = np.stack([at[of_point] for at, of_point in zip(edges, block, strict=True)], axis=1)
    numblocks = tuple(map(len, chunks))
    flat = np.ravel_multi_index(block, numblocks)
    order = np.argsort(flat, kind="stable")
    bounds = np.searchsorted(flat[order], np.arange(math.prod(numblocks) + 1))
    name = f"cells-{tokenize(pixels, cells, chunks)}"
    graph: Graph = {}
    for i, index in enumerate(np.ndindex(*numblocks)):
        rows = order[bounds[i] : bounds[i + 1]]
        shape = tuple(sizes[j] for sizes, j in zip(chunks, index, strict=True))
        graph[(name, *index)] = (partial(_scatter, shape=shape), pixels[rows] - offset[rows], cells[rows])
    return array_of_tasks(name, graph, chunks, [], np.empty((0,) * len(chunks)))


def _scatter(pixels: np.ndarray, cells: np.ndarray, *, shape: Sequence[int]) -> np.ndarray:
    image = np.zeros(shape)
    np.add.at(image, tuple(pixels.T), cells)
    return image


def _names(names: Any) -> dict[int, str]:
    """The names of regions by id."""
    if not isinstance(names, Mapping | pd.Series):
        raise TypeError(
            f"names are a mapping from region id to name, or a pandas Series, not {type(names).__name__}; "
            "of a table: table.set_index('id')['name']"
        )
    found = {}
    for region, name in names.items():
        if isinstance(region, bool) or not isinstance(region, int | np.integer):
            raise TypeError(f"names have region ids as keys, whole numbers, not {region!r}")
        found[int(region)] = str(name)
    return found


def _check_dims(axes: Sequence[str], atlas: xr.DataArray) -> None:
    if set(axes) != {str(dim) for dim in atlas.dims}:
        raise ValueError(
            f"what was counted lies in the dims {tuple(axes)} and the atlas in {tuple(atlas.dims)}; rename dims with "
            ".rename, or select one element of a dim that the other lacks: .isel"
        )


def _check_axis(axis: str, in_coords: bool, units: str, extent: int | None, atlas: xr.DataArray) -> None:
    """Complain if positions along an axis, coordinates or pixels, cannot be found in the atlas."""
    dim = next(dim for dim in atlas.dims if str(dim) == axis)
    theirs = units_along(atlas, dim)
    if dim not in atlas.indexes and in_coords:
        raise ValueError(
            f"what was counted has coordinates along {axis!r} and the atlas has none; say where its pixels lie: "
            f"atlas.assign_coords({axis}=...)"
        )
    if dim not in atlas.indexes and extent != atlas.sizes[dim]:
        raise ValueError(
            f"along {axis!r} the image is {extent} pixels and the atlas {atlas.sizes[dim]}, and there are no "
            f"coordinates to match them by; give both their own: .assign_coords({axis}=...)"
        )
    if dim in atlas.indexes and not in_coords and theirs != "pixel":
        raise ValueError(
            f"the atlas has coordinates along {axis!r} and what was counted has none; say where its pixels lie, "
            f"before they are counted: .assign_coords({axis}=...)"
        )
    if units and theirs and spelt_out(units) != spelt_out(theirs):
        raise ValueError(
            f"along {axis!r} the positions are in {units!r} and the atlas in {theirs!r}; convert the coordinates of "
            "one of them, or if the units are the same, write them in the same way in .attrs['units']"
        )
