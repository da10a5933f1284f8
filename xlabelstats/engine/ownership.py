"""Regions: boxes of pixels in which the objects of one block lie whole, and how their pixels get there.

A block owns the objects whose centre lies in it.  To its own pixels it adds those that its objects
need of other blocks.  Blocks hand these out as copies, so that none has to stay in memory until all
its neighbours have been dealt with.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from xlabelstats.engine.dask_internals import Graph, array_of_tasks
from xlabelstats.engine.region_pixels import BlockIndex, Part, Routes, Supply, join

if TYPE_CHECKING:
    from xlabelstats.labels.subject import Objects

# What a region costs beside its pixels, counted in pixels: its tasks, and finding its labels.
REGION_COST = 2**18


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

    home: BlockIndex
    low: tuple[int, ...]
    high: tuple[int, ...]
    rows: np.ndarray
    apart: bool


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
    by_block = []
    for owner, rows in zip(owners, np.split(order, first[1:]), strict=True):
        home = tuple(int(i) for i in np.unravel_index(owner, numblocks))
        end = np.array([e[i] for e, i in zip(ends, home, strict=True)])
        start = end - [sizes[i] for sizes, i in zip(chunks, home, strict=True)]
        by_block.append(_regions_of(home, rows, low[rows], high[rows], start, end))
    return by_block


def _regions_of(
    home: BlockIndex, rows: np.ndarray, low: np.ndarray, high: np.ndarray, start: np.ndarray, end: np.ndarray
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


def map_regions(
    function: Callable[..., Any],
    mask: Any,
    image: Any,
    objects: Objects,
    low: np.ndarray,
    high: np.ndarray,
    *,
    tells_first: bool = False,
    batch: int = 0,
) -> Any:
    """A dask array (*other, region) of objects: ``function(mask, image, low, objects)`` of every region.

    What ``low`` and ``high`` (object, axis) say that an object needs lies whole in its region; the function gets the
    position of the region's first pixel and the objects that it is for.  Without an image it gets None
    for it, and there is one task per region.  With ``tells_first`` it gets whether it is the first for a region, as
    ``first=``.  What belongs to one ``batch`` of objects shares no reading of a large stored array with another.
    """
    regions = [region for of_block in find_regions(objects, low, high, mask.chunks) for region in of_block]
    # Not tasks of their own: dask would begin with all of these, and so with regions that are far apart.
    owned = [objects.take(region.rows) for region in regions]
    routes = Routes(regions, low, high, mask.chunks, background=bool((objects.ids == 0).any()))
    labels = Supply(mask, routes, batch)
    pixels = labels if image is None else Supply(image, routes, batch)
    token = uuid.uuid4().hex
    name = f"measure-{token}"
    job = (f"job-{token}", 0)
    graph: Graph = {job: Job(function)}
    for i, index in enumerate(np.ndindex(*map(len, pixels.other_chunks))):
        for r, region in enumerate(regions):
            shape = tuple(b - a for a, b in zip(region.low, region.high, strict=True))
            first = {"first": i == 0} if tells_first else {}
            call = partial(
                _measure, low=region.low, objects=owned[r], parts=routes.parts[r], shape=shape, options=first
            )
            read = [labels.keys(r, reading=i)] + ([] if image is None else [pixels.keys(r, index)])
            graph[(name, *index, r)] = (call, job, *read)
    dependencies = [*labels.dependencies, *pixels.dependencies]
    return array_of_tasks(name, graph, (*pixels.other_chunks, (1,) * len(regions)), dependencies)


def _measure(
    job: Job,
    mask: list[Any],
    image: list[Any] | None = None,
    *,
    low: tuple[int, ...],
    objects: Any,
    parts: Sequence[Part],
    shape: tuple[int, ...],
    options: Mapping[str, bool],
) -> Any:
    labels = join(parts, mask, shape)
    pixels = None if image is None else join(parts, image, shape)
    return job.function(labels, pixels, low, objects, **options)
