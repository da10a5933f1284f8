"""Regions: boxes of pixels in which the objects of one block lie whole, and how their pixels get there.

A block owns the objects whose centre lies in it.  To its own pixels it adds those that its objects
need of other blocks.  Blocks hand these out as copies, so that none has to stay in memory until all
its neighbours have been dealt with.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from xlabelstats.blocks import Graph, as_task
from xlabelstats.instances import Objects
from xlabelstats.kernels import kernels_for
from xlabelstats.runs import Array, check_shape

# What a region costs beside its pixels, counted in pixels: its tasks, and finding its labels.
REGION_COST = 2**18

# The blocks of larger arrays in storage are read again rather than kept for later.
KEPT_BYTES = 2**28

Block = tuple[int, ...]
Box = tuple[Any, ...]


@dataclass(frozen=True)
class Region:
    """A box of pixels in which some objects of one block lie whole.

    Attributes
    ----------
    home : tuple of int
        The block.
    low, high : tuple of int
        The box, half-open.
    rows : array of int
        Which of the objects, in the order of their labels.
    apart : bool
        Whether it is for one object that reaches further than its block's others.
    """

    home: Block
    low: tuple[int, ...]
    high: tuple[int, ...]
    rows: np.ndarray
    apart: bool


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

    block: Block
    source: Box
    target: Box
    copy: int | None


@dataclass(frozen=True)
class Owned:
    """What is known of the objects of a region, and the position of the region's first pixel."""

    low: tuple[int, ...]
    objects: Any

    def __sizeof__(self) -> int:
        return self.objects.__sizeof__()


@dataclass(frozen=True)
class Job:
    """A function, with all that it holds, such as a model: one object that all tasks refer to."""

    function: Callable[..., Any]


def find_regions(
    objects: Objects, low: np.ndarray, high: np.ndarray, chunks: Sequence[Sequence[int]]
) -> list[list[Region]]:
    """For every block that owns objects, in the order of blocks, the regions in which these lie whole.

    The owner of an object is the block that its centre lies in.  A block's objects share one region,
    but for those that would make it so large that it is cheaper to bring them in by themselves.

    Parameters
    ----------
    objects : Objects
    low, high : array (object, axis)
        The box of pixels that each needs.
    chunks : chunks of the mask
    """
    if not objects.ids.size:
        return []
    ends = [np.cumsum(sizes) for sizes in chunks]
    numblocks = [len(sizes) for sizes in chunks]
    index = [np.searchsorted(end, centre, side="right") for end, centre in zip(ends, objects.centre.T, strict=True)]
    block = np.ravel_multi_index(index, numblocks)
    order = np.argsort(block, kind="stable")
    owners, first = np.unique(block[order], return_index=True)
    found = []
    for owner, rows in zip(owners, np.split(order, first[1:]), strict=True):
        home = tuple(int(i) for i in np.unravel_index(owner, numblocks))
        end = np.array([e[i] for e, i in zip(ends, home, strict=True)])
        start = end - [sizes[i] for sizes, i in zip(chunks, home, strict=True)]
        found.append(_regions_of(home, rows, low[rows], high[rows], start, end))
    return found


def _regions_of(
    home: Block, rows: np.ndarray, low: np.ndarray, high: np.ndarray, start: np.ndarray, end: np.ndarray
) -> list[Region]:
    """The regions of one block's objects: one they share, and one for each that is cheaper apart."""
    beyond = np.maximum(start - low, high - end).clip(min=0).max(axis=1)
    near = np.argsort(beyond, kind="stable")
    shared_low = np.minimum.accumulate(low[near])
    shared_high = np.maximum.accumulate(high[near])
    shared = np.prod(shared_high - shared_low, axis=1, dtype=np.float64)
    alone = np.prod(high - low, axis=1, dtype=np.float64)[near] + REGION_COST
    # Element k is what it costs if the k + 1 objects that reach least far share a region.
    cost = shared + (alone.sum() - np.cumsum(alone))
    k = int(np.argmin(cost))
    together, apart = np.sort(near[: k + 1]), np.sort(near[k + 1 :])
    first = Region(home, tuple(shared_low[k].tolist()), tuple(shared_high[k].tolist()), rows[together], False)
    return [
        first,
        *(Region(home, tuple(low[i].tolist()), tuple(high[i].tolist()), rows[i : i + 1], True) for i in apart),
    ]


class Plan:
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
        self._whole = background
        ends = [np.cumsum(sizes) for sizes in chunks]
        starts = [end - sizes for end, sizes in zip(ends, chunks, strict=True)]
        self.copies: dict[Block, list[Box]] = {}
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
            begin = [a + along.start for a, along in zip(region.low, target, strict=True)]
            stop = [a + along.stop for a, along in zip(region.low, target, strict=True)]
            if not (self._whole or ((first < stop) & (last > begin)).all(axis=1).any()):
                # A corner of the region that none of its objects reaches into.
                continue
            copy = None
            taken = np.prod([along.stop - along.start for along in source])
            size = np.prod([end[i] - start[i] for start, end, i in zip(starts, ends, block, strict=True)])
            if block != region.home and not region.apart and 2 * taken <= size:
                boxes = self.copies.setdefault(block, [])
                copy = len(boxes)
                boxes.append(_within(source))
            parts.append(Part(block, source, target, copy))
        return parts


class Supply:
    """The pixels (*other, *shared) of a dask array as a plan has regions get them.

    What a task gets for a region is what the keys of its parts hold: a block, or the copies that a
    block hands out.
    """

    def __init__(self, array: Any, plan: Plan) -> None:
        import dask.array as da
        from dask.highlevelgraph import HighLevelGraph

        self.plan = plan
        self._stored = array.nbytes > KEPT_BYTES and _is_stored(array)
        self._readings: dict[int, Any] = {0: array}
        shared = len(plan.parts[0][0].block)
        self.other_chunks = array.chunks[: array.ndim - shared]
        source = self.reading(-1)
        name = f"copies-{uuid.uuid4().hex}"
        graph: Graph = {}
        for index in np.ndindex(*map(len, self.other_chunks)):
            for block, boxes in plan.copies.items():
                graph[(name, *index, *block)] = (partial(_copy, boxes=boxes), (source.name, *index, *block))
        layers = HighLevelGraph.from_collections(name, graph, dependencies=[source])
        self._copies = da.Array(layers, name, array.chunks, meta=np.empty((0,) * array.ndim, object))

    def reading(self, i: int) -> Any:
        """The array, or if it is stored a twin of it whose blocks are read for purpose ``i`` alone."""
        from dask.graph_manipulation import clone

        if not self._stored:
            return self._readings[0]
        if i not in self._readings:
            self._readings[i] = clone(self._readings[0], seed=i)
        return self._readings[i]

    def keys(self, region: int, other: Block = (), reading: int = 0) -> list[Any]:
        """The keys of the parts of a region, in a block of the other dims."""
        whole = self.reading(reading).name
        return [
            (whole if part.copy is None else self._copies.name, *other, *part.block) for part in self.plan.parts[region]
        ]

    @property
    def dependencies(self) -> list[Any]:
        """All that `keys` has referred to so far."""
        return [self._copies, *self._readings.values()]


def _is_stored(array: Any) -> bool:
    """Whether the blocks of a dask array are read from storage, or memory, without any computation."""
    from dask.array import core

    layer = array.__dask_graph__().layers[array.name]
    function = getattr(getattr(layer, "task", None), "func", None)
    return function in (core.getter, core.getter_nofancy, core.getter_inline)


def _copy(block: Array, *, boxes: Sequence[Box]) -> list[Array]:
    xp = kernels_for(block).xp
    return [xp.array(xp.asarray(block)[box], order="C") for box in boxes]


def pieces(parts: Sequence[Part], held: Sequence[Any], low: Sequence[int]) -> list[tuple[Block, Array]]:
    """What the keys of a region that begins at ``low`` hold: arrays, with the position of their first pixel.

    Together they hold every pixel that its objects need, once, and some beyond.
    """
    found = []
    for part, block in zip(parts, held, strict=True):
        first = [a + target.start for a, target in zip(low, part.target, strict=True)]
        if part.copy is None:
            first = [a - source.start for a, source in zip(first, part.source, strict=True)]
        found.append((tuple(first), _array(block if part.copy is None else block[part.copy])))
    return found


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


def share_out(objects: Any, regions: Sequence[Region]) -> Any:
    """A dask array (region,) of objects: what is known of the objects of every region, `Owned`."""
    import dask.array as da
    from dask.highlevelgraph import HighLevelGraph

    name = f"objects-{uuid.uuid4().hex}"
    graph: Graph = {
        (name, r): as_task(Owned(region.low, objects.take(region.rows))) for r, region in enumerate(regions)
    }
    layers = HighLevelGraph.from_collections(name, graph)
    return da.Array(layers, name, ((1,) * len(regions),), meta=np.empty(0, object))


def map_regions(
    function: Callable[..., Any], mask: Any, image: Any, objects: Objects, low: np.ndarray, high: np.ndarray
) -> Any:
    """A dask array (*other, region) of objects: ``function(mask, image, low, objects)`` of every region.

    What ``low`` and ``high`` (object, axis) say that an object needs lies whole in its region; the function gets the
    position of the region's first pixel and the objects that it is for.  Without an image it gets None
    for it, and there is one task per region.
    """
    import dask.array as da
    from dask.highlevelgraph import HighLevelGraph

    regions = [region for found in find_regions(objects, low, high, mask.chunks) for region in found]
    plan = Plan(regions, low, high, mask.chunks, background=bool((objects.ids == 0).any()))
    owned, labels = share_out(objects, regions), Supply(mask, plan)
    pixels = labels if image is None else Supply(image, plan)
    token = uuid.uuid4().hex
    name = f"measure-{token}"
    job = (f"job-{token}", 0)
    graph: Graph = {job: Job(function)}
    for i, index in enumerate(np.ndindex(*map(len, pixels.other_chunks))):
        for r, region in enumerate(regions):
            shape = tuple(b - a for a, b in zip(region.low, region.high, strict=True))
            call = partial(_measure, parts=plan.parts[r], shape=shape)
            read = [labels.keys(r, reading=i)] + ([] if image is None else [pixels.keys(r, index)])
            graph[(name, *index, r)] = (call, job, (owned.name, r), *read)
    dependencies = [owned, *labels.dependencies, *pixels.dependencies]
    layers = HighLevelGraph.from_collections(name, graph, dependencies=dependencies)
    chunks = (*pixels.other_chunks, (1,) * len(regions))
    return da.Array(layers, name, chunks, meta=np.empty((0,) * len(chunks), object))


def _measure(
    job: Job,
    owned: Owned,
    mask: list[Any],
    image: list[Any] | None = None,
    *,
    parts: Sequence[Part],
    shape: tuple[int, ...],
) -> Any:
    labels = join(parts, mask, shape)
    pixels = None if image is None else join(parts, image, shape)
    return job.function(labels, pixels, owned.low, owned.objects)
