"""How regions of pixels get what other blocks hold: which parts of which blocks, handed out as copies or whole."""

from __future__ import annotations

import itertools
import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from xlabelstats.engine.dask_internals import Graph, array_of_tasks, is_stored, read_apart
from xlabelstats.engine.runs import Array, check_shape
from xlabelstats.kernels import kernels_for

if TYPE_CHECKING:
    from xlabelstats.engine.ownership import Region

# The blocks of larger arrays in storage are read again rather than kept for later.
KEPT_BYTES = 2**28

BlockIndex = tuple[int, ...]
Box = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """What a region gets of one block.

    Attributes
    ----------
    block : tuple of int
    source : tuple of slices
        The pixels of the block.
    target : tuple of slices
        Where they lie in the region.
    copy : int or None
        Which of the copies that the block hands out it is; None if it is the block itself.
    """

    block: BlockIndex
    source: Box
    target: Box
    copy: int | None


class Routes:
    """Which blocks the regions get their pixels from, the same for a mask and all images over it.

    Parameters
    ----------
    regions : list of Region
    low, high : array (object, axis)
        The box of pixels that each object needs.
    chunks : chunks of the mask
    background : bool
        Whether label 0 is one of the objects.  Where no object needs pixels they are left out, and read as 0.

    Attributes
    ----------
    parts : list of lists of Part
        For every region.
    copies : mapping of block to boxes
        What each block hands out to others.
    """

    def __init__(
        self,
        regions: Sequence[Region],
        low: np.ndarray,
        high: np.ndarray,
        chunks: Sequence[Sequence[int]],
        background: bool = False,
    ) -> None:
        self._background, self._chunks = background, chunks
        ends = [np.cumsum(sizes) for sizes in chunks]
        starts = [end - sizes for end, sizes in zip(ends, chunks, strict=True)]
        self.copies: dict[BlockIndex, list[Box]] = {}
        self.parts = [self._parts(region, low[region.rows], high[region.rows], starts, ends) for region in regions]

    def _parts(
        self,
        region: Region,
        first: np.ndarray,
        last: np.ndarray,
        starts: Sequence[np.ndarray],
        ends: Sequence[np.ndarray],
    ) -> list[Part]:
        along = [
            [
                (
                    i,
                    slice(max(low - int(start[i]), 0), min(high, int(end[i])) - int(start[i])),
                    slice(max(int(start[i]) - low, 0), min(high, int(end[i])) - low),
                )
                for i in range(np.searchsorted(end, low, side="right"), np.searchsorted(start, high, side="left"))
                if end[i] > start[i]
            ]
            for start, end, low, high in zip(starts, ends, region.low, region.high, strict=True)
        ]
        parts = []
        for place in itertools.product(*along):
            block, source, target = (tuple(each) for each in zip(*place, strict=True))
            if not self._background:
                begin = [a + along.start for a, along in zip(region.low, target, strict=True)]
                stop = [a + along.stop for a, along in zip(region.low, target, strict=True)]
                if not ((first < stop) & (last > begin)).all(axis=1).any():
                    # A corner of the region that none of its objects reaches into.
                    continue
            copy = None
            taken = math.prod(along.stop - along.start for along in source)
            size = math.prod(int(sizes[i]) for sizes, i in zip(self._chunks, block, strict=True))
            if block != region.home and not region.apart and 2 * taken <= size:
                boxes = self.copies.setdefault(block, [])
                copy = len(boxes)
                boxes.append(_within(source))
            parts.append(Part(block, source, target, copy))
        return parts


class Supply:
    """The pixels (*other, *shared) of a dask array as routes have regions get them.

    What a task gets for a region is what the keys of its parts hold: a block, or the copies that a
    block hands out.  Of several batches of regions none shares a reading with another.
    """

    def __init__(self, array: Any, routes: Routes, batch: int = 0) -> None:
        self.routes = routes
        self._stored = is_read_again(array)
        self._batch = batch
        self._readings: dict[int, Any] = {0: read_apart(array, (batch, 0)) if batch and self._stored else array}
        shared = len(routes.parts[0][0].block)
        self.other_chunks = array.chunks[: array.ndim - shared]
        source = self.reading(-1)
        name = f"copies-{uuid.uuid4().hex}"
        graph: Graph = {}
        for index in np.ndindex(*map(len, self.other_chunks)):
            for block, boxes in routes.copies.items():
                place = (*index, *block)
                shape = tuple(int(sizes[i]) for sizes, i in zip(array.chunks, place, strict=True))
                graph[(name, *place)] = (partial(_copy, boxes=boxes, shape=shape), (source.name, *place))
        self._copies = array_of_tasks(name, graph, array.chunks, [source])

    def reading(self, i: int) -> Any:
        """The array, or if it is stored a twin of it whose blocks are read for purpose ``i`` alone."""
        if not self._stored:
            return self._readings[0]
        if i not in self._readings:
            self._readings[i] = read_apart(self._readings[0], (self._batch, i))
        return self._readings[i]

    def keys(self, region: int, other: BlockIndex = (), reading: int = 0) -> list[Any]:
        """The keys of the parts of a region, in a block of the other dims."""
        source = self.reading(reading).name
        return [
            (source if part.copy is None else self._copies.name, *other, *part.block)
            for part in self.routes.parts[region]
        ]

    @property
    def dependencies(self) -> list[Any]:
        """All that `keys` has referred to so far."""
        return [self._copies, *self._readings.values()]


def is_read_again(array: Any) -> bool:
    """Whether the blocks of an array are read from storage for each purpose, rather than kept."""
    return bool(array.nbytes > KEPT_BYTES and is_stored(array))


def _copy(block: Array, *, boxes: Sequence[Box], shape: tuple[int, ...]) -> list[Array]:
    check_shape(block.shape, shape)
    xp = kernels_for(block).xp
    return [xp.array(xp.asarray(block)[box], order="C") for box in boxes]


def pieces(parts: Sequence[Part], held: Sequence[Any], low: Sequence[int]) -> list[tuple[BlockIndex, Array]]:
    """What the keys of a region that begins at ``low`` hold: arrays, with the position of their first pixel.

    Together they hold every pixel that its objects need, once, and some beyond.
    """
    arrays = []
    for part, block in zip(parts, held, strict=True):
        first = [a + target.start for a, target in zip(low, part.target, strict=True)]
        if part.copy is None:
            first = [a - source.start for a, source in zip(first, part.source, strict=True)]
        arrays.append((tuple(first), _array(block if part.copy is None else block[part.copy])))
    return arrays


def join(parts: Sequence[Part], held: Sequence[Any], shape: tuple[int, ...]) -> Array:
    """The pixels (*other, *shape) of a region in one array, 0 where no object needs them; a view of a single block."""
    found = [
        _array(block)[_within(part.source)] if part.copy is None else block[part.copy]
        for part, block in zip(parts, held, strict=True)
    ]
    for part, piece in zip(parts, found, strict=True):
        check_shape(piece.shape[piece.ndim - len(shape) :], tuple(along.stop - along.start for along in part.source))
    if found[0].shape[found[0].ndim - len(shape) :] == shape:
        return found[0]
    region = kernels_for(found[0]).xp.zeros((*found[0].shape[: found[0].ndim - len(shape)], *shape), found[0].dtype)
    for part, piece in zip(parts, found, strict=True):
        region[_within(part.target)] = piece
    return region


def _array(block: Any) -> Array:
    return kernels_for(block).xp.asarray(block)


def _within(box: Box) -> Box:
    """An index of the last dims, whatever the number of others."""
    return (..., *box)
