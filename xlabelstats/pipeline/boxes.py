"""Cells per box of a volume: of objects by where they lie, of an image by its intensity."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xlabelstats.inputs import check_image, is_dask
from xlabelstats.options import compute
from xlabelstats.pipeline.centroids import as_table
from xlabelstats.pipeline.counts import cells_of
from xlabelstats.pipeline.points import Axis, at_pixels, axes_along, axes_of, positions, shape_of, units_along
from xlabelstats.pipeline.steps import check_number, finished, named, per_dim, space_of, step
from xlabelstats.units import spelt_out

Box = float | Mapping[Hashable, float]


@step(1)
def count_map(objects: Any, box: Box | None = None, *, like: Any = None) -> xr.DataArray:
    """Count the cells in every box of a volume.

    Parameters
    ----------
    objects : pandas.DataFrame, or DataArray, numpy or dask array of integers
        A table of counts or centroids, or the instance mask itself.  Each object counts for its ``cells``, or for one
        if the table has no such column.
    box : int or mapping of dim to int, optional
        Size of a box in pixels.  Along a dim that a mapping leaves out, a box reaches through the volume.
        By default each chunk of the instances, or of ``like``, is a box; a numpy array is one chunk.
    like : DataArray, numpy or dask array, optional
        The volume that the objects of a table lie in, its image or mask, of which only the shape and coordinates are
        read.  By default they are taken from the table, which must have rows and come from `centroids` or `blobs`.

    Returns
    -------
    DataArray of float64
        Dims as the volume, one pixel per box; the last box along a dim may be smaller.  The coordinates are those of
        the boxes' centres; where the volume has none, pixel positions with the ``units`` "pixel".  The attrs ``box``
        and ``shape`` are the sizes in pixels, by dim, of a box and of the volume.

    Raises
    ------
    TypeError
        The box is not a number, or an instance mask does not hold integers.
    ValueError
        A box is not whole pixels, the chunks differ in size, the coordinates are not evenly spaced, or the table does
        not say how large the volume is, has points beyond it, or lies in other dims than ``like``.

    Notes
    -----
    An object belongs to the box in which its centroid lies.  A centroid on the face between two boxes belongs to the
    later one.  The result is in memory, with 8 bytes per box.

    Examples
    --------
    >>> import numpy as np
    >>> from xlabelstats.pipeline import count_map
    >>> count_map(np.array([[1, 1, 0, 0, 2], [0, 3, 0, 0, 0]]), {"x": 2})
    <xarray.DataArray 'cells' (y: 1, x: 3)> Size: 24B
    array([[2., 0., 1.]])
    Coordinates:
      * y        (y) float64 8B 0.5
      * x        (x) float64 24B 0.5 2.5 4.0
    Attributes:
        long_name:  cells per box
        box:        {'y': 2, 'x': 2}
        shape:      {'y': 2, 'x': 5}
    """
    table = as_table(objects)
    if like is None and len(table) == 0 and objects is table:
        raise ValueError(
            "a table without rows does not say how large the volume is; give the image or mask that it is of: like=mask"
        )
    volume = objects if like is None else like
    along = axes_along(volume if volume is table else named(volume))
    axes, shape = tuple(along), shape_of(along)
    if sorted(axes_of(table)) != sorted(axes):
        raise ValueError(f"the table has points in {axes_of(table)}, and like the dims {list(axes)}; rename these")
    _check_like(along, axes_along(named(objects) if table is not objects else table) if len(table) else {})
    boxes = _box_of(_chunk_of(volume) if box is None else box, axes, shape)
    grid = _boxes_along(shape, boxes)
    index = _pixels_of(table, axes, shape) // np.array(boxes)
    flat = np.ravel_multi_index(tuple(index.T), grid)
    cells = np.bincount(flat, cells_of(table), math.prod(grid)).reshape(grid)
    coords = _coords_of(along, _centres(shape, boxes))
    return xr.DataArray(cells, dims=axes, coords=coords, name="cells", attrs=_about(axes, boxes, shape))


@step(1)
def scaled_intensity(image: Any, minimum: float = 0.0, scale: float = 1.0, box: Box | None = None) -> xr.DataArray:
    """Estimate cells from brightness: the sum of the pixels above a minimum, times a scale.

    Parameters
    ----------
    image : DataArray, numpy or dask array
        Any numbers.  Dims that are not in space, such as channels, are kept.
    minimum : float, default 0.0
        Pixels strictly above it are summed, NaN is left out.
    scale : float, default 1.0
        Cells per unit of the sum.
    box : int or mapping of dim to int, optional
        Size of a box in pixels, as in `count_map`.  By default the whole volume is one box, and the result lacks its
        dims.

    Returns
    -------
    DataArray of float64
        One pixel per box, as `count_map` gives them; lazy for a dask image.

    Raises
    ------
    TypeError
        The image holds no numbers, or a parameter is not a number.
    ValueError
        A parameter is not finite, or a box is not whole pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from xlabelstats.pipeline import scaled_intensity
    >>> image = np.array([[1, 5, 0, 3], [9, 0, 2, 2]])
    >>> scaled_intensity(image, minimum=1, scale=0.5, box=2).values
    array([[7. , 3.5]])
    >>> scaled_intensity(image, minimum=1, scale=0.5).item()
    10.5
    """
    import dask.array as da

    check_number(minimum, "minimum")
    check_number(scale, "scale")
    whole = named(image)
    check_image(whole)
    space = space_of(whole)
    shape = tuple(whole.sizes[dim] for dim in space)
    boxes = _box_of({} if box is None else box, space, shape)
    # Blocks bound the memory that is needed beside the image.
    blocks = whole if is_dask(whole.data) else whole.copy(data=da.from_array(np.asarray(whole.data), name=False))
    along = dict(zip(space, boxes, strict=True))
    found = _sum_boxes(blocks.where(blocks > minimum, 0).data, [along.get(dim, 1) for dim in whole.dims]) * float(scale)
    kept = {name: coord for name, coord in whole.coords.items() if not set(coord.dims) & set(space)}
    sums = xr.DataArray(found if is_dask(whole.data) else compute(found), dims=whole.dims, coords=kept)
    if box is None:
        return finished(sums.sum(space, skipna=False).rename("cells"))
    # xarray cannot index a dim whose name is no string.
    centres = [(dim, at) for dim, at in zip(space, _centres(shape, boxes), strict=True) if isinstance(dim, str)]
    coords = {dim: (dim, at_pixels(whole, dim, at), _units(units_along(whole, dim))) for dim, at in centres}
    return finished(sums.assign_coords(coords).assign_attrs(_about(map(str, space), boxes, shape)).rename("cells"))


def _check_like(volume: Mapping[str, Axis], said: Mapping[str, Axis]) -> None:
    """Complain if objects say that they lie in another volume than they are mapped on."""
    for name, axis in said.items():
        size, units = volume[name].size, volume[name].units
        if axis.size not in (None, size):
            raise ValueError(f"along {name!r} the objects lie in a volume of {axis.size} pixels, and like has {size}")
        if axis.size is not None and axis.units and units and spelt_out(axis.units) != spelt_out(units):
            raise ValueError(f"along {name!r} the objects have positions in {axis.units!r}, and like in {units!r}")


def _sum_boxes(image: Any, boxes: Sequence[int]) -> Any:
    """The sums of a dask array's boxes, about as many of them in a chunk as one of the array holds."""
    starts = [np.arange(0, extent, size) for extent, size in zip(image.shape, boxes, strict=True)]
    # A box that chunks cut is summed in pieces first: so no task holds more than a chunk, whatever its size.
    chunked = [np.cumsum((0, *sizes[:-1])) for sizes in image.chunks]
    cuts = [np.union1d(at, ends[ends < n]) for at, ends, n in zip(starts, chunked, image.shape, strict=True)]
    pieces = _add_up(image, cuts)
    first = [np.searchsorted(cut, at) for cut, at in zip(cuts, starts, strict=True)]
    together = []
    for piece, n, sizes, size in zip(first, pieces.shape, image.chunks, boxes, strict=True):
        every = max(1, max(sizes) // size)
        together.append(tuple(np.diff([0, *piece[every::every], n]).tolist()))
    return _add_up(pieces.rechunk(tuple(together)), first)


def _add_up(array: Any, starts: Sequence[np.ndarray]) -> Any:
    """The sums of a dask array's parts, of which none reaches into another chunk, by where they start."""
    edges = [np.cumsum((0, *sizes)) for sizes in array.chunks]
    chunks = [np.diff(np.searchsorted(at, edge)).tolist() for at, edge in zip(starts, edges, strict=True)]
    meta = np.empty((0,) * array.ndim)
    return array.map_blocks(_add_block, starts=starts, chunks=tuple(map(tuple, chunks)), dtype=meta.dtype, meta=meta)


def _add_block(block: np.ndarray, starts: Sequence[np.ndarray], block_info: Any = None) -> np.ndarray:
    for axis, (at, (low, high)) in enumerate(zip(starts, block_info[0]["array-location"], strict=True)):
        here = at[(at >= low) & (at < high)] - low
        if here.size < high - low:
            block = np.add.reduceat(block, here, axis=axis, dtype=np.float64)
    return block.astype(np.float64, copy=False)


def _box_of(box: Any, dims: tuple[Hashable, ...], shape: Sequence[int]) -> tuple[int, ...]:
    """The size of a box along every dim, no larger than the volume."""
    sizes = per_dim(box, dims, "box")
    given = [dim not in box if isinstance(box, Mapping) else False for dim in dims]
    for size, whole in zip(sizes, given, strict=True):
        if not whole and (size < 1 or size != int(size)):
            raise ValueError(f"a box is a whole number of pixels, at least 1 along every dim, not {box!r}")
    return tuple(
        max(1, extent if whole else min(int(size), extent))
        for size, whole, extent in zip(sizes, given, shape, strict=True)
    )


def _chunk_of(volume: Any) -> Mapping[Hashable, float]:
    """The size of the chunks along every dim, of which the last may be smaller."""
    if isinstance(volume, pd.DataFrame):
        raise ValueError(
            "a table has no chunks to count in; give the size of a box in pixels, such as count_map(table, 64), or the "
            "image or mask that the table is of: like=mask"
        )
    array = named(volume)
    for dim, sizes in array.chunksizes.items():
        if len({*sizes[:-1], max(sizes)}) > 1:
            raise ValueError(
                f"the chunks along {dim!r} differ in size, {tuple(sizes)}, so counts per chunk cannot be compared; "
                f"give the size of a box in pixels, such as {{{dim!r}: {max(sizes)}}}, or make the chunks equal: "
                f".chunk({{{dim!r}: {max(sizes)}}})"
            )
    return {dim: sizes[0] for dim, sizes in array.chunksizes.items() if sizes[0]}


def _boxes_along(shape: Sequence[int], boxes: Sequence[int]) -> tuple[int, ...]:
    return tuple(math.ceil(extent / size) for extent, size in zip(shape, boxes, strict=True))


def _centres(shape: Sequence[int], boxes: Sequence[int]) -> list[np.ndarray]:
    """The middle of every box along each axis, in pixels."""
    found = []
    for extent, size in zip(shape, boxes, strict=True):
        first = np.arange(0, extent, size)
        found.append((first + np.minimum(first + size, extent) - 1) / 2)
    return found


def _coords_of(axes: Mapping[str, Axis], centres: Sequence[np.ndarray]) -> dict[str, Any]:
    """Coordinates of positions in pixels."""
    coords = {}
    for (name, axis), centre in zip(axes.items(), centres, strict=True):
        if axis.step is None:
            raise ValueError(
                f"the coordinates along {name!r} are not evenly spaced, so boxes of as many pixels differ in "
                f"size; for a map in pixels drop them from the instances: .drop_vars({name!r}). If the positions of a "
                "table were moved, give the image that its pixels are of: like=image"
            )
        coords[name] = (name, axis.origin + axis.step * centre, _units(axis.units))
    return coords


def _pixels_of(table: pd.DataFrame, axes: Sequence[str], shape: Sequence[int]) -> np.ndarray:
    """The pixels (point, axis) in which the points of a table lie, or a complaint about one beyond the volume."""
    at = np.floor(table[[f"{axis}_pixel" for axis in axes]].to_numpy(np.float64) + 0.5)
    beyond = ~((at >= 0) & (at < np.array(shape))).all(axis=1)
    if beyond.any():
        row = int(np.argmax(beyond))
        raise ValueError(
            f"the table has a point at pixel {positions(table, 'pixel')[row].tolist()}, beyond the volume of shape "
            f"{tuple(shape)}; its positions are of another image"
        )
    return at.astype(np.int64)


def _units(units: str) -> dict[str, str]:
    return {"units": units} if units else {}


def _about(dims: Iterable[str], boxes: Sequence[int], shape: Sequence[int]) -> dict[str, Any]:
    dims = tuple(dims)
    return {
        "long_name": "cells per box",
        "box": dict(zip(dims, boxes, strict=True)),
        "shape": dict(zip(dims, shape, strict=True)),
    }
