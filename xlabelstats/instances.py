"""Which block owns which object, and the pixels that bring each object whole to its owner."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import align, check_mask, check_taken, is_dask
from xlabelstats.blocks import Graph, Rows
from xlabelstats.scan import LabelTable, Wanted, choose_labels, label_table

# What a region costs beside its pixels, counted in pixels: its tasks, and finding its labels.
REGION_COST = 2**18


@dataclass(frozen=True)
class Objects(Rows):
    """The objects of a mask and where they lie, in pixels.

    Attributes
    ----------
    low, high : array (object, axis) of int64
        Bounding box, half-open.
    centre : array (object, axis) of int64
        The pixel nearest to the centroid; the even one of two.
    """

    low: np.ndarray
    high: np.ndarray
    centre: np.ndarray


@dataclass(frozen=True)
class Region:
    """A box of pixels in which some objects of one block lie whole.

    Attributes
    ----------
    low, high : tuple of int
        The box, half-open.
    rows : array of int
        Which of the objects, in the order of their labels.
    """

    low: tuple[int, ...]
    high: tuple[int, ...]
    rows: np.ndarray


@dataclass(frozen=True)
class Subject:
    """A mask, with or without an image over it, and the objects to be looked at one by one.

    Attributes
    ----------
    mask : array (*shared)
        numpy or dask, with the mask's order of dims.
    image : array (*other, *shared) or None
        Of the same kind, with the same chunks along the shared dims.
    other, shared : tuple of dims
        The image's own dims, and the mask's.
    coords : dict
        The coordinates of the other dims.
    wanted : Wanted
        The labels of the result.
    objects : Objects
        Those of them that the mask has.
    """

    mask: Any
    image: Any
    other: tuple[Hashable, ...]
    shared: tuple[Hashable, ...]
    coords: dict[Hashable, Any]
    wanted: Wanted
    objects: Objects

    @property
    def lazy(self) -> bool:
        """Whether the arrays are dask arrays."""
        return is_dask(self.mask)

    @property
    def other_shape(self) -> tuple[int, ...]:
        """The sizes of the image's own dims."""
        return () if self.image is None else self.image.shape[: len(self.other)]


def find_subject(
    image: xr.DataArray | None,
    mask: xr.DataArray,
    labels: Any = None,
    background: bool = False,
    taken: Iterable[str] = (),
) -> Subject:
    """Match image and mask and find the objects; ``taken`` are the names that the result needs."""
    mask = check_mask(mask)
    if image is None:
        wanted, objects = find_objects(mask, labels, background)
        pixels = mask.data if is_dask(mask.data) else np.asarray(mask.data)
        return Subject(pixels, None, (), mask.dims, {}, wanted, objects)
    pair = align(image, mask, mask_order=True)
    check_taken(image, pair.other, taken)
    coords = {name: coord for name, coord in image.coords.items() if set(coord.dims) <= set(pair.other)}
    # The labels come from the mask as the caller holds it, for which a scan may be remembered.
    wanted, objects = find_objects(mask, labels, background)
    return Subject(pair.mask, pair.image, pair.other, pair.shared, coords, wanted, objects)


def find_objects(mask: xr.DataArray, labels: Any = None, background: bool = False) -> tuple[Wanted, Objects]:
    """The labels of a result, and those of them that there are; a dask mask is scanned now if it was not before."""
    if labels is None:
        table = label_table(mask, background=background)
        return Wanted(table.ids, False, background), _objects(table)
    wanted = choose_labels(mask, labels, background)
    table = label_table(mask, background=wanted.background)
    objects = _objects(table)
    return wanted, take(objects, np.isin(table.ids.astype(wanted.ids.dtype), wanted.ids))


def take(objects: Objects, rows: Any) -> Objects:
    """Some of the objects."""
    return Objects(objects.ids[rows], objects.count[rows], objects.low[rows], objects.high[rows], objects.centre[rows])


def _objects(table: LabelTable) -> Objects:
    # A sum of positions is a whole number.  Rounding it first makes the centre the same for any chunks.
    count = table.count[:, None]
    total = np.rint(table.offset * count).astype(np.int64)
    below = total // count
    rest = 2 * (total - below * count)
    centre = table.origin + below
    centre += (rest > count) | ((rest == count) & (centre % 2 == 1))
    return Objects(table.ids, table.count, table.low, table.high, centre)


def regions(objects: Objects, low: np.ndarray, high: np.ndarray, chunks: Sequence[Sequence[int]]) -> list[list[Region]]:
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
    ends = [np.cumsum(sizes) for sizes in chunks]
    index = [np.searchsorted(end, centre, side="right") for end, centre in zip(ends, objects.centre.T, strict=True)]
    block = np.ravel_multi_index(index, [len(sizes) for sizes in chunks]) if index else np.zeros(0, np.intp)
    order = np.argsort(block, kind="stable")
    owners, first = np.unique(block[order], return_index=True)
    found = []
    for owner, rows in zip(owners, np.split(order, first[1:]), strict=True):
        at = np.unravel_index(owner, [len(sizes) for sizes in chunks])
        end = np.array([e[i] for e, i in zip(ends, at, strict=True)])
        start = end - [sizes[i] for sizes, i in zip(chunks, at, strict=True)]
        found.append(_regions_of(rows, low[rows], high[rows], start, end))
    return found


def _regions_of(
    rows: np.ndarray, low: np.ndarray, high: np.ndarray, start: np.ndarray, end: np.ndarray
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
    boxes = [(shared_low[k], shared_high[k], together)] + [(low[i], high[i], np.array([i])) for i in apart]
    return [Region(tuple(a.tolist()), tuple(b.tolist()), rows[members]) for a, b, members in boxes]


def gather(array: Any, boxes: Sequence[Region]) -> Any:
    """A dask array (*other, region) of objects: the pixels (*other, *shared) of every region of an array.

    What a region needs of each block is copied into one array, which holds no pixel that is not needed.
    """
    import dask.array as da
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    shared = len(boxes[0].low)
    other = array.ndim - shared
    name = f"gather-{tokenize(array, np.array([(box.low, box.high) for box in boxes]))}"
    ends = [np.cumsum(sizes) for sizes in array.chunks[other:]]
    starts = [end - sizes for end, sizes in zip(ends, array.chunks[other:], strict=True)]
    graph: Graph = {}
    for r, box in enumerate(boxes):
        parts = [
            _parts(start, end, low, high) for start, end, low, high in zip(starts, ends, box.low, box.high, strict=True)
        ]
        places = [
            ((..., *(source for _, source, _ in part)), (..., *(target for _, _, target in part)))
            for part in itertools.product(*parts)
        ]
        indices = list(itertools.product(*([i for i, _, _ in part] for part in parts)))
        shape = tuple(b - a for a, b in zip(box.low, box.high, strict=True))
        call = partial(_assemble, shape=shape, places=places)
        for index in np.ndindex(*array.numblocks[:other]):
            graph[(name, *index, r)] = (call, [(array.name, *index, *at) for at in indices])
    layers = HighLevelGraph.from_collections(name, graph, dependencies=[array])
    chunks = (*array.chunks[:other], (1,) * len(boxes))
    return da.Array(layers, name, chunks, meta=np.empty((0,) * len(chunks), object))


def _parts(start: np.ndarray, end: np.ndarray, low: int, high: int) -> list[tuple[int, slice, slice]]:
    """The blocks along one axis that a range of pixels crosses: index, pixels in the block, pixels in the range."""
    return [
        (
            i,
            slice(max(low - int(start[i]), 0), min(high, int(end[i])) - int(start[i])),
            slice(max(int(start[i]) - low, 0), min(high, int(end[i])) - low),
        )
        for i in range(np.searchsorted(end, low, side="right"), np.searchsorted(start, high, side="left"))
        if end[i] > start[i]
    ]


def _assemble(
    blocks: list[np.ndarray], *, shape: tuple[int, ...], places: list[tuple[tuple[Any, ...], tuple[Any, ...]]]
) -> np.ndarray:
    if len(blocks) == 1:
        return np.asarray(blocks[0])[places[0][0]]
    first = np.asarray(blocks[0])
    region = np.empty((*first.shape[: first.ndim - len(shape)], *shape), first.dtype)
    for block, (source, target) in zip(blocks, places, strict=True):
        region[target] = np.asarray(block)[source]
    return region


@dataclass(frozen=True)
class Job:
    """A function of regions and its options, such as a model: one object that all tasks refer to."""

    function: Callable[..., Any]
    options: dict[str, Any]


@dataclass(frozen=True)
class Owned:
    """The objects of a region, and the position of the region's first pixel."""

    low: tuple[int, ...]
    objects: Objects

    def __sizeof__(self) -> int:
        return self.objects.__sizeof__()


def share_out(objects: Objects, boxes: Sequence[Region]) -> Any:
    """A dask array (region,) of objects: what is known of the objects of every region, `Owned`."""
    import dask.array as da
    from dask.highlevelgraph import HighLevelGraph

    name = f"objects-{uuid.uuid4().hex}"
    graph: Graph = {(name, r): Owned(box.low, take(objects, box.rows)) for r, box in enumerate(boxes)}
    layers = HighLevelGraph.from_collections(name, graph)
    return da.Array(layers, name, ((1,) * len(boxes),), meta=np.empty(0, object))


def map_regions(
    function: Callable[..., Any],
    mask: Any,
    image: Any,
    objects: Objects,
    boxes: Sequence[Region],
    **options: Any,
) -> Any:
    """A dask array (*other, region) of objects: ``function(mask, image, low, objects)`` of every region.

    ``low`` is the position of the region's first pixel, ``objects`` are those that lie whole in it.
    Without an image the function gets None for it, and there is one task per region.
    """
    import dask.array as da
    from dask.highlevelgraph import HighLevelGraph

    owned, labels = share_out(objects, boxes), gather(mask, boxes)
    pixels = labels if image is None else gather(image, boxes)
    token = uuid.uuid4().hex
    name = f"measure-{token}"
    job = (f"job-{token}", 0)
    graph: Graph = {job: Job(function, options)}
    for *index, r in np.ndindex(*pixels.numblocks):
        read = [(labels.name, r)] + ([] if image is None else [(pixels.name, *index, r)])
        graph[(name, *index, r)] = (_run, job, read, (owned.name, r))
    layers = HighLevelGraph.from_collections(name, graph, dependencies=[owned, labels, pixels])
    return da.Array(layers, name, pixels.chunks, meta=np.empty((0,) * pixels.ndim, object))


def _run(job: Job, read: list[np.ndarray], owned: Owned) -> Any:
    mask, image = read if len(read) == 2 else (read[0], None)
    return job.function(mask, image, owned.low, owned.objects, **job.options)
