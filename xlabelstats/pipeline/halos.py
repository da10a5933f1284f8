"""Functions of blocks that come with pixels of their neighbours, or mirrored ones beyond the border."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from xlabelstats.engine.ownership import Job
from xlabelstats.inputs import is_dask


@dataclass(frozen=True)
class Place:
    """Where a block's own pixels lie.

    Attributes
    ----------
    core : tuple of slices
        In the array that the block's task gets, which has pixels of its neighbours too.
    first : tuple of int
        The position of the first of them in the image.
    at_border : list of (bool, bool)
        Along each axis, whether the array begins and ends at the border of the image.
    """

    core: tuple[slice, ...]
    first: tuple[int, ...]
    at_border: list[tuple[bool, bool]]


@dataclass(frozen=True)
class Halo:
    """Blocks that overlap: the chunks without, and by how many pixels they reach into their neighbours."""

    chunks: tuple[tuple[int, ...], ...]
    depth: tuple[int, ...]

    def place(self, block: Sequence[int]) -> Place:
        """Where the pixels of a block lie."""
        before = [by if i else 0 for by, i in zip(self.depth, block, strict=True)]
        core = tuple(slice(a, a + sizes[i]) for a, sizes, i in zip(before, self.chunks, block, strict=True))
        first = tuple(sum(sizes[:i]) for sizes, i in zip(self.chunks, block, strict=True))
        ends = [(i == 0, i == len(sizes) - 1) for sizes, i in zip(self.chunks, block, strict=True)]
        return Place(core, first, ends)


def over_blocks(
    function: Callable[[np.ndarray, Place], Any],
    pixels: Any,
    depth: Sequence[int],
    dtype: Any,
    *,
    over: int = 0,
) -> Any:
    """``function(block, place)`` of every block of an array and ``depth`` pixels around it, as far as there are any.

    It returns the block's own pixels, without the first ``over`` dims, which must not be chunked.  It is held by the
    graph once, and the result is named after what it holds.
    """
    if not is_dask(pixels):
        chunks = tuple((size,) for size in pixels.shape[over:])
        return function(np.asarray(pixels), Halo(chunks, tuple(depth[over:])).place((0,) * len(chunks)))
    merged, halo = merge_chunks(pixels, depth, over)
    found = _lazily(function, merged, halo, over, halo.chunks, np.dtype(dtype))
    return found.rechunk(pixels.chunks[over:])


def objects_of_blocks(function: Callable[[np.ndarray, Place], Any], pixels: Any, depth: Sequence[int]) -> list[Any]:
    """What ``function(block, place)`` gives for every block, as in `over_blocks` but any object, computed now."""
    from xlabelstats.engine.dask_internals import block_values

    if not is_dask(pixels):
        return [over_blocks(function, pixels, depth, object)]
    merged, halo = merge_chunks(pixels, depth, 0)
    ones = tuple((1,) * len(sizes) for sizes in halo.chunks)
    return block_values(_lazily(function, merged, halo, 0, ones, np.dtype(object)))


def merge_chunks(pixels: Any, depth: Sequence[int], over: int) -> tuple[Any, Halo]:
    """A dask array whose chunks are no smaller than the overlap, and how they overlap after the first dims."""
    from dask.array.overlap import ensure_minimum_chunksize

    chunks, needed = [], []
    for size, sizes, by in zip(pixels.shape, pixels.chunks, depth, strict=True):
        # All pixels along a dim leave none to get from a neighbour.
        whole = by >= size
        chunks.append((size,) if whole else ensure_minimum_chunksize(max(by, 1), sizes))
        needed.append(0 if whole else by)
    return pixels.rechunk(tuple(chunks)), Halo(tuple(chunks[over:]), tuple(needed[over:]))


def _lazily(function: Callable[..., Any], pixels: Any, halo: Halo, over: int, chunks: Any, dtype: np.dtype) -> Any:
    import dask.array as da
    from dask.delayed import delayed

    return da.map_overlap(
        _call,
        pixels,
        depth=(*(0 for _ in range(over)), *halo.depth),
        boundary="none",
        trim=False,
        allow_rechunk=False,
        drop_axis=list(range(over)),
        chunks=chunks,
        meta=np.empty((0,) * len(chunks), dtype),
        job=delayed(Job(partial(_place, function=function, halo=halo)), pure=True, traverse=False),
    )


def _call(block: np.ndarray, *, job: Job, block_id: tuple[int, ...]) -> Any:
    return job.function(np.asarray(block), block_id)


def _place(block: np.ndarray, block_id: tuple[int, ...], *, function: Callable[..., Any], halo: Halo) -> Any:
    return function(block, halo.place(block_id))


def mirror(block: np.ndarray, place: Place, depth: Sequence[int]) -> tuple[np.ndarray, tuple[slice, ...]]:
    """A block with the image mirrored beyond its border, and where the own pixels lie then, along the last dims."""
    widths = [tuple(by if end else 0 for end in ends) for by, ends in zip(depth, place.at_border, strict=True)]
    core = tuple(
        slice(own.start + before, own.stop + before) for own, (before, _) in zip(place.core, widths, strict=True)
    )
    if not any(map(any, widths)):
        return block, core
    other = [(0, 0)] * (block.ndim - len(widths))
    return np.pad(block, [*other, *widths], mode="symmetric"), core
