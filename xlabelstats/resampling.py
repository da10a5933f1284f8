"""Masks on another grid than the image: each pixel of the image takes the label of the nearest pixel of the mask."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from itertools import pairwise, product
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import check_units_match, coords_differ, rounding_of
from xlabelstats.cautions import caution
from xlabelstats.engine.dask_internals import Graph, Key, array_of_tasks
from xlabelstats.inputs import check_image, check_is_mask, data_of, is_dask
from xlabelstats.kernels import kernels_for

METHODS = (None, "nearest")

# The index of a pixel that lies beyond the mask.
OUTSIDE = -1


def resampled(
    image: Any, mask: xr.DataArray, align: str | None, names: tuple[str, str] = ("image", "mask")
) -> xr.DataArray:
    """The mask on the grid of an image, or of a Dataset of images, if ``align`` asks for it; lazy if either is.

    Every pixel of the image gets the label of the mask's pixel nearest to it by coordinates, of two as near the one of
    the smaller index, and 0 where it lies more than half a pixel of the mask beyond the outermost of these.  The image
    may be a mask too; ``names`` are what the two are called in complaints.
    """
    check_method(align, image is not None, names)
    if align is None:
        return mask
    check_is_mask(mask, image)
    if isinstance(image, xr.DataArray):
        check_image(image)
    # A dim that the image lacks is complained about where the two are matched.
    indexes = {dim: _nearest(dim, image, mask, names) for dim in mask.dims if dim in image.dims}
    moved = {dim: index for dim, index in indexes.items() if index is not None}
    if not moved:
        return mask
    data = data_of(mask, names[1])
    chunks: dict[Hashable, Any] = {}
    for array in image.values() if isinstance(image, xr.Dataset) else (image,):
        chunks = {**array.chunksizes, **chunks}
    every = [moved.get(dim) for dim in mask.dims]
    if is_dask(data) or chunks:
        data = _lazily_taken(data, every, [chunks.get(dim) for dim in mask.dims])
    else:
        data = _taken(data, [np.arange(n) if i is None else i for i, n in zip(every, data.shape, strict=True)])
    # What belongs to the mask as a whole stays; along the dims that were moved the image has the coordinates.
    coords = {name: coord.variable for name, coord in mask.coords.items() if not {*coord.dims} & {*moved}}
    for dim in moved:
        coords[dim] = image[dim].variable.copy(deep=False)
        coords[dim].attrs = {**mask[dim].attrs, **image[dim].attrs}
    return xr.DataArray(data, coords, mask.dims, mask.name, mask.attrs)


def check_method(align: Any, with_image: bool, names: tuple[str, str] = ("image", "mask")) -> None:
    """Complain about an ``align`` that there is not, or that has no image."""
    if align not in METHODS:
        one, other = names if names != ("image", "mask") else ("the image", "a mask")
        raise ValueError(
            f"align is 'nearest', for {other} on another grid than {one}, or None for one on the same, not {align!r}"
        )
    if align is not None and not with_image:
        raise ValueError("align='nearest' brings a mask to the grid of an image, and there is none; leave it out")


def _nearest(dim: Hashable, image: Any, mask: xr.DataArray, names: tuple[str, str]) -> np.ndarray | None:
    """The index of the nearest pixel of the mask for every one of the image along a dim; None if they are the same."""
    one, other = names
    sides = {one: image, other: mask}
    without = [side for side, array in sides.items() if dim not in array.indexes]
    if without:
        if len(without) == 2 and image.sizes[dim] == mask.sizes[dim]:
            return None
        where = " and in the ".join(without)
        raise ValueError(
            f"align='nearest' needs coordinates, and along {dim!r} there are none in the {where}; "
            f"{dim!r} is {image.sizes[dim]} in the {one} and {mask.sizes[dim]} in the {other}. Give them: "
            f"{without[0]}.assign_coords({{{dim!r}: ...}})"
        )
    check_units_match(dim, image, mask, one, other)
    ours, theirs = image.indexes[dim], mask.indexes[dim]
    if len(ours) == len(theirs) and not coords_differ(ours, theirs).any():
        return None
    x, values = (_numbers(dim, array, side) for side, array in sides.items())
    if x.dtype.kind == "M" or values.dtype.kind == "M":
        if x.dtype.kind != values.dtype.kind:
            raise ValueError(
                f"the coordinates along {dim!r} are {ours.dtype} in the {one} and {theirs.dtype} in the {other}; "
                "convert one of them"
            )
        # As differences, so that float64 holds them exactly.
        start = values[:1] if values.size else x[:1]
        x, values = ((each - start).astype("timedelta64[ns]").astype(np.float64) for each in (x, values))
    index = nearest_index(x, values)
    if x.size and values.size and (index == OUTSIDE).all():
        caution(
            f"no pixel of the {one} lies in the {other} along {dim!r}: the {one} reaches from {ours[0]} to {ours[-1]}, "
            f"the {other} from {theirs[0]} to {theirs[-1]}; are they in the same units?"
        )
    return index


def _numbers(dim: Hashable, array: Any, side: str) -> np.ndarray:
    """The coordinates along a dim, numbers or times."""
    values = np.asarray(array.indexes[dim])
    if values.dtype.kind not in "iufM":
        raise ValueError(
            f"align='nearest' needs numbers or times as coordinates; along {dim!r} the {side} has {values.dtype}"
        )
    lost = np.flatnonzero(~np.isfinite(values))
    if lost.size:
        raise ValueError(
            f"the coordinate {dim!r} of the {side} is {values[lost[0]]} at index {lost[0]}, and has no nearest pixel; "
            "give it a number there"
        )
    return values


def nearest_index(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """For every ``x`` the index of the nearest of ``values``, the smaller of a tie; `OUTSIDE` for those beyond.

    Beyond is more than half the distance to the neighbour from the smallest or largest value; a single value reaches
    as far as those of ``x`` are apart, half to each side.
    """
    if not values.size or not x.size:
        return np.full(x.size, OUTSIDE)
    # The rounding is that of the dtypes that they had.
    rounding = partial(rounding_of, x, values)
    x, values = x.astype(np.float64), values.astype(np.float64)
    # The first of equal values; their order does not matter.
    ordered, first = np.unique(values, return_index=True)
    right = np.clip(np.searchsorted(ordered, x), 1 if ordered.size > 1 else 0, ordered.size - 1)
    left = np.maximum(right - 1, 0)
    below, above = x - ordered[left], ordered[right] - x
    gap = ordered[right] - ordered[left]
    # Of coordinates that were computed a tie is one up to rounding.
    tie = np.abs(below - above) <= rounding(spacing=gap)
    chosen = np.where(below < above, first[left], first[right])
    chosen[tie] = np.minimum(first[left], first[right])[tie]
    if ordered.size > 1:
        low, high = ordered[1] - ordered[0], ordered[-1] - ordered[-2]
    else:
        spread = np.unique(x)
        low = high = np.diff(spread).min() if spread.size > 1 else 0.0
    least = ordered[0] - low / 2 - rounding(spacing=low or abs(ordered[0]) or 1.0)
    most = ordered[-1] + high / 2 + rounding(spacing=high or abs(ordered[0]) or 1.0)
    return np.where((x < least) | (x > most), OUTSIDE, chosen)


def _taken(data: Any, indexes: Sequence[np.ndarray]) -> Any:
    """The elements of an array at the product of indexes, one array for each axis; 0 where one is `OUTSIDE`."""
    xp = kernels_for(data).xp
    if not data.size:
        return xp.zeros([index.size for index in indexes], data.dtype)
    # Axes that become shorter come first, then the last, whose pixels lie next to each other.
    for axis in sorted(range(data.ndim), key=lambda a: (indexes[a].size > data.shape[a], -a)):
        index = indexes[axis]
        outside = index == OUTSIDE
        if index.size and not outside.any() and (np.diff(index) == 1).all():
            data = data[(slice(None),) * axis + (slice(index[0], index[-1] + 1),)]
            continue
        data = xp.take(data, xp.asarray(np.where(outside, 0, index)), axis=axis)
        if outside.any():
            data[(slice(None),) * axis + (xp.asarray(np.flatnonzero(outside)),)] = 0
    return data


def _lazily_taken(data: Any, indexes: Sequence[np.ndarray | None], chunks: Sequence[Any]) -> Any:
    """The same as a dask array: a task per chunk, which gets of every block of the mask that it needs those pixels.

    ``indexes`` are None along axes that stay as they are, ``chunks`` where the image is in memory.
    """
    import dask.array as da
    from dask.base import tokenize

    if not is_dask(data):
        # Under a new name: hashing all of it would take longer than measuring it.
        data = da.from_array(data, chunks="auto", name=False)
    shape = [n if index is None else index.size for index, n in zip(indexes, data.shape, strict=True)]
    known = [
        sizes or (own if index is None else "auto")
        for index, sizes, own in zip(indexes, chunks, data.chunks, strict=True)
    ]
    chunks = da.core.normalize_chunks(known, shape, dtype=data.dtype)
    whole = [np.arange(n) if index is None else index for index, n in zip(indexes, shape, strict=True)]
    token = tokenize(data, indexes, chunks)
    name, pieces = f"nearest-{token}", f"nearest-pieces-{token}"
    spans = [list(pairwise(np.cumsum((0, *sizes)).tolist())) for sizes in chunks]
    edges = [np.cumsum((0, *sizes)) for sizes in data.chunks]
    # Of every axis the blocks of the mask that each chunk needs, and where these begin and end.
    needed = [
        [[(i, tuple(edge[i : i + 2].tolist())) for i in _blocks_of(index[slice(*span)], edge)] for span in along]
        for index, edge, along in zip(whole, edges, spans, strict=True)
    ]
    # The indexes are held once, and each task looks at its part of them.
    held = [(f"nearest-index-{token}", axis) for axis in range(data.ndim)]
    graph: Graph = dict(zip(held, whole, strict=True))
    like = data._meta
    for block in product(*map(range, map(len, chunks))):
        span = tuple(along[i] for along, i in zip(spans, block, strict=True))
        keys: list[Key] = []
        bounds = []
        for sources in product(*(blocks[i] for blocks, i in zip(needed, block, strict=True))):
            place, bound = zip(*sources, strict=True)
            keys.append((data.name, *place))
            bounds.append(bound)
        if len(keys) > 1:
            for i, (key, bound) in enumerate(zip(keys, bounds, strict=True)):
                graph[(pieces, *block, i)] = (partial(_piece, spans=span, bound=bound), key, held)
            keys = [(pieces, *block, i) for i in range(len(keys))]
        graph[(name, *block)] = (partial(_joined, spans=span, bounds=bounds, like=like), keys, held)
    return array_of_tasks(name, graph, chunks, [data], like)


def _blocks_of(index: np.ndarray, edges: np.ndarray) -> list[int]:
    """The blocks, which have these edges, that some indexes lie in."""
    return np.unique(np.searchsorted(edges, index[index != OUTSIDE], side="right") - 1).tolist()


def _within(index: np.ndarray, span: tuple[int, int], bound: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels of a chunk come from one block of the mask, along an axis, and their indexes in it."""
    part = index[slice(*span)]
    where = np.flatnonzero((part >= bound[0]) & (part < bound[1]))
    return where, part[where] - bound[0]


def _piece(
    block: Any,
    indexes: Sequence[np.ndarray],
    *,
    spans: Sequence[tuple[int, int]],
    bound: Sequence[tuple[int, int]],
) -> Any:
    """The pixels of a chunk that come from one block of the mask."""
    piece = _taken(block, [_within(*each)[1] for each in zip(indexes, spans, bound, strict=True)])
    # A view would keep all of the block in memory.
    return piece.copy() if piece.size < block.size and getattr(piece, "base", None) is not None else piece


def _joined(
    pieces: Sequence[Any],
    indexes: Sequence[np.ndarray],
    *,
    spans: Sequence[tuple[int, int]],
    bounds: Sequence[Sequence[tuple[int, int]]],
    like: Any,
) -> Any:
    """A chunk put together of such pieces, or of one block of the mask."""
    shape = tuple(b - a for a, b in spans)
    if len(bounds) == 1:
        # A single block comes as it is.
        pieces = [_piece(pieces[0], indexes, spans=spans, bound=bounds[0])]
    if len(pieces) == 1 and pieces[0].shape == shape:
        return pieces[0]
    xp = kernels_for(like).xp
    out = xp.zeros(shape, like.dtype)
    for piece, bound in zip(pieces, bounds, strict=True):
        where = [_within(*each)[0] for each in zip(indexes, spans, bound, strict=True)]
        if all(each.size and each[-1] - each[0] == each.size - 1 for each in where):
            out[tuple(slice(int(each[0]), int(each[-1]) + 1) for each in where)] = piece
        else:
            out[np.ix_(*where) if xp is np else xp.ix_(*map(xp.asarray, where))] = piece
    return out
