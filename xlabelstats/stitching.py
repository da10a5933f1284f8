"""One mask of labels that were made tile by tile."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import rounding_of
from xlabelstats.encoding import without_encoding
from xlabelstats.grid import coordinate
from xlabelstats.inputs import check_is_mask, check_on_host, data_of, is_dask
from xlabelstats.multiscale import as_array


def stitch(tiles: Sequence[Any], offsets: Sequence[Sequence[int]], *, iou: float = 0.5) -> Any:
    """Join the masks of overlapping tiles of an image to one mask.

    Every tile has its own labels, as segmenters give them.  Two labels of two tiles are one object if they agree in the
    overlap of the two tiles.

    Parameters
    ----------
    tiles : sequence of DataArray, numpy or dask array of integers
        The labels of every tile, 0 for the background, all with the same dims in the same order.
    offsets : sequence of sequences of int
        For every tile the position of its first pixel, in pixels along each dim, 0 or more.
    iou : float, default 0.5
        Labels of two tiles are joined if the intersection of their pixels is at least this fraction of their union.
        Only pixels within the overlap of the two tiles count.  If one of the two labels is cut there by the edge of its
        tile, and the other is not, the intersection is compared with the pixels of the cut label alone, because it may
        hold only a small part of the object.

    Returns
    -------
    DataArray or dask array
        The mask, lazy: a DataArray if the tiles are, with their name, their attributes and their coordinates along the
        dims.  Unevenly spaced coordinates are left out, unless every tile spans the whole dim.  It begins at position 0
        and ends where the last tile does; pixels that no tile covers are 0.  The ids are 1 to n, in the order of the
        tiles, and within a tile in the order of its ids; int32, or int64 if there are more than 2**31 - 1.

    Warns
    -----
    UserWarning
        Objects have no pixel in the mask, because objects of other tiles cover all of their pixels.

    Raises
    ------
    TypeError
        A tile does not hold integers, or is not an array, or is on the GPU; only some tiles have names; or an offset is
        not a whole number.
    ValueError
        There is no tile, or not one offset for each; the dims of tiles differ; an offset is negative; ``iou`` is not
        above 0 and at most 1; or the coordinates of the tiles do not agree with the offsets.

    Notes
    -----
    Joining goes on from tile to tile: if a label agrees with one of the next tile, and that with one of a third, all
    three are one object.  Tiles that only touch have no pixels in common, and nothing is joined.  Overlaps as wide as
    the largest object make sure that every object is whole in some tile.

    If several tiles have an object at a pixel, the label comes from the tile whose nearest edge is farthest from the
    pixel; edges at the border of the mask do not count.  If two are equally far, the earlier tile is taken.  So the
    border of an object comes from the tile that saw more around it.  An object that only one tile has is kept, unless
    others cover it.

    All tiles are read immediately, block by block, to find their labels and which of them agree, and again when the
    mask is computed.  The result is the same for any chunks of the tiles.

    Examples
    --------
    >>> import numpy as np
    >>> import xlabelstats
    >>> left = np.array([[1, 1, 0, 2, 2]])
    >>> right = np.array([[7, 7, 7, 0, 3]])
    >>> xlabelstats.stitch([left, right], [(0, 0), (0, 3)]).compute()
    array([[1, 1, 0, 2, 2, 2, 0, 3]], dtype=int32)
    """
    from xlabelstats.labels.stitch import joined_tiles

    arrays, positions, like = _checked(tiles, offsets, iou)
    mask = joined_tiles(arrays, positions, float(iou))
    if like is None:
        return mask
    return xr.DataArray(mask, dims=like.dims, coords=like.coords, attrs=like.attrs, name=like.name)


def _checked(tiles: Any, offsets: Any, iou: Any) -> tuple[list[Any], np.ndarray, xr.DataArray | None]:
    """The arrays of tiles, their offsets, and a DataArray without pixels that the mask is like, if they have names."""
    if isinstance(tiles, xr.DataTree | xr.Dataset) or not hasattr(tiles, "__len__"):
        raise TypeError(f"tiles are a list of arrays, not {type(tiles).__name__}")
    given = [as_array(tile) for tile in tiles]
    if not given:
        raise ValueError("there are no tiles to join")
    if isinstance(iou, bool) or not isinstance(iou, float | int | np.number):
        raise TypeError(f"iou is a number, not {iou!r}")
    if not 0 < iou <= 1:
        raise ValueError(f"iou is above 0 and at most 1, not {iou!r}")
    named = [isinstance(tile, xr.DataArray) for tile in given]
    if any(named) and not all(named):
        raise TypeError(
            f"tile {named.index(False)} is not a DataArray, but others are; give DataArrays for all or none"
        )
    arrays = [tile if isinstance(tile, xr.DataArray) else _with_names(tile, i) for i, tile in enumerate(given)]
    for i, array in enumerate(arrays):
        if array.dtype == bool:
            raise TypeError(
                f"tile {i} holds bool, not labels; number its objects: xlabelstats.pipeline.connected_components(tile)"
            )
        check_on_host("stitch", tile=array)
        check_is_mask(array)
        if array.dims != arrays[0].dims:
            raise ValueError(f"tile {i} has the dims {array.dims}, and tile 0 {arrays[0].dims}; transpose it")
    positions = _positions(offsets, arrays)
    data = [data_of(array, "tile") for array in arrays]
    return data, positions, _named_as(arrays, positions) if all(named) else None


def _with_names(tile: Any, i: int) -> xr.DataArray:
    if not (isinstance(tile, np.ndarray) or is_dask(tile) or hasattr(tile, "__cuda_array_interface__")):
        raise TypeError(f"tile {i} is {type(tile).__name__}; a tile is a DataArray, a numpy array or a dask array")
    return xr.DataArray(tile)


def _positions(offsets: Any, arrays: Sequence[xr.DataArray]) -> np.ndarray:
    """The offsets (tile, axis), checked."""
    ndim = arrays[0].ndim
    rows = list(offsets) if hasattr(offsets, "__len__") else []
    if len(rows) != len(arrays):
        raise ValueError(f"there are {len(arrays)} tiles and {len(rows)} offsets; give the first pixel of each tile")
    for i, row in enumerate(rows):
        size = len(row) if hasattr(row, "__len__") and not isinstance(row, str) else None
        if size != ndim:
            raise ValueError(f"the offset of tile {i} is {row!r}; it has one number for each dim {arrays[0].dims}")
        for number in row:
            if not _is_whole(number):
                raise TypeError(f"the offset of tile {i} is {row!r}; offsets are whole numbers of pixels")
            if number < 0:
                raise ValueError(f"the offset of tile {i} is {row!r}; the mask begins at 0, so no offset is negative")
    return np.array([[int(number) for number in row] for row in rows], np.int64).reshape(len(rows), ndim)


def _is_whole(number: Any) -> bool:
    if isinstance(number, float | np.floating):
        return bool(number.is_integer())
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def _named_as(arrays: Sequence[xr.DataArray], positions: np.ndarray) -> xr.DataArray:
    """A DataArray with the coordinates, the name and the attributes of the mask, which holds nothing."""
    first = arrays[0]
    shape = (positions + [array.shape for array in arrays]).max(axis=0)
    coords: dict[Hashable, Any] = {}
    for axis, dim in enumerate(first.dims):
        indexes = [array.indexes[dim] for array in arrays if dim in array.indexes and array.sizes[dim]]
        if not indexes:
            continue
        if all(index.size == shape[axis] and index.equals(indexes[0]) for index in indexes):
            # Every tile that has coordinates spans the dim: they may be names or times, and uneven.
            coords[dim] = next(array[dim].variable for array in arrays if dim in array.indexes and array.sizes[dim])
            continue
        along = [(int(start), coordinate(array, dim)) for start, array in zip(positions[:, axis], arrays, strict=True)]
        known = [(start, values) for start, values in along if values is not None and values.size]
        ends = [(start + i, values[i]) for start, values in known for i in (0, values.size - 1)]
        (low, first_value), (high, last_value) = (pick(ends, key=lambda end: end[0]) for pick in (min, max))
        step = (last_value - first_value) / (high - low) if high > low else 0.0
        rounding = max(1e-3 * abs(step), rounding_of(*indexes, spacing=abs(step)))
        if not all(_is_even(values, rounding) for _, values in known) or (step == 0 and shape[axis] > 1):
            continue
        whole = first_value + step * (np.arange(shape[axis]) - low)
        off = [float(np.abs(values - whole[begin : begin + values.size]).max()) for begin, values in known]
        if max(off) > rounding:
            raise ValueError(_how_they_differ(dim, along))
        # The numbers that tiles have, rather than those of the formula, which may differ by rounding.
        for begin, held in reversed(known):
            whole[begin : begin + held.size] = held
        dtype = np.result_type(*(array[dim].dtype for array in arrays if dim in array.indexes))
        attrs = next(array[dim].attrs for array in arrays if dim in array.indexes)
        coords[dim] = (dim, whole.astype(dtype), attrs)
    nothing = np.broadcast_to(np.zeros((), np.int8), tuple(shape.tolist()))
    return without_encoding(xr.DataArray(nothing, dims=first.dims, coords=coords, name=first.name, attrs=first.attrs))


def _how_they_differ(dim: Hashable, along: Sequence[tuple[int, np.ndarray | None]]) -> str:
    """A complaint about the coordinates of tiles along a dim, of which one is not where the others say."""
    known = [(i, begin, held) for i, (begin, held) in enumerate(along) if held is not None and held.size]
    steps = {i: float(np.diff(held).mean()) for i, _, held in known if held.size > 1}
    first, start, values = known[0]
    step = steps.get(first, next(iter(steps.values()), 1.0))
    places = [(i, begin, values[0] + step * (begin - start), held[0]) for i, begin, held in known]
    i, begin, place, at = max(places, key=lambda each: abs(each[2] - each[3]))
    drop = f"drop the coordinates: tile.drop_vars({dim!r})"
    if abs(place - at) > abs(step) * 1e-3:
        return (
            f"the coordinates along {dim!r} do not agree with the offsets: counted from tile {first}, tile {i} begins "
            f"at {place:g} by its offset of {begin}, and at {at:g} by its coordinate; correct one of the two, or {drop}"
        )
    other = max(steps, key=lambda each: abs(steps[each] - step))
    return (
        f"the coordinates along {dim!r} are {step:g} apart in tile {first} and {steps[other]:g} in tile "
        f"{other}; bring the tiles to one grid, or {drop}"
    )


def _is_even(values: np.ndarray, rounding: float) -> bool:
    """Whether coordinates are evenly spaced, but for rounding."""
    steps = np.diff(values)
    return bool((np.abs(steps - steps.mean()) <= 2 * rounding).all()) if steps.size else True
