"""Blocks of a dask mask with the pixels around them, for what looks at the neighbours of pixels."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from xlabelstats.engine.dask_internals import Graph, array_of_tasks
from xlabelstats.engine.ownership import Job, Region
from xlabelstats.engine.region_pixels import Part, Routes, Supply, join
from xlabelstats.engine.runs import Surroundings, check_shape


def map_surroundings(function: Callable[..., Any], mask: Any, halo: int | Sequence[int], meta: Any = None) -> Any:
    """A dask array with ``function(block, surroundings)`` in place of every block of a mask.

    The surroundings reach ``halo`` pixels around the block, one number or one per axis, as far as the mask does.
    Blocks may be smaller than the halo.  The graph holds the function once.  The function gives an object, or with
    ``meta``, an empty array of the kind, pixels for those of the block.
    """
    from dask.base import tokenize

    reach = np.broadcast_to(halo, mask.ndim).tolist()
    ends = [np.cumsum(sizes) for sizes in mask.chunks]
    regions, places = [], []
    # Pixels are named by what they come from, so that they count as the same wherever they are asked for again.
    token = uuid.uuid4().hex if meta is None else tokenize(mask, function, reach)
    name, job = f"surroundings-{token}", (f"job-{token}", 0)
    graph: Graph = {job: Job(function)}
    for home in np.ndindex(*mask.numblocks):
        shape = tuple(sizes[i] for sizes, i in zip(mask.chunks, home, strict=True))
        if not all(shape):
            # A block without pixels needs none around it.
            graph[(name, *home)] = (partial(_without_pixels, shape=shape), job, (mask.name, *home))
            continue
        first = tuple(int(each[i]) - n for each, i, n in zip(ends, home, shape, strict=True))
        low = tuple(max(a - by, 0) for a, by in zip(first, reach, strict=True))
        high = tuple(min(a + n + by, size) for a, n, size, by in zip(first, shape, mask.shape, reach, strict=True))
        regions.append(Region(home, low, high, np.empty(0, int), False))
        places.append((tuple(a - b for a, b in zip(first, low, strict=True)), shape))
    if not regions:
        return array_of_tasks(name, graph, mask.chunks, [mask], meta)
    nowhere = np.empty((0, mask.ndim), int)
    # Every pixel matters, as if the background were an object.
    routes = Routes(regions, nowhere, nowhere, mask.chunks, background=True)
    supply = Supply(mask, routes)
    for r, (region, (start, shape)) in enumerate(zip(regions, places, strict=True)):
        own = next(i for i, part in enumerate(routes.parts[r]) if part.block == region.home)
        extent = tuple(b - a for a, b in zip(region.low, region.high, strict=True))
        call = partial(_surrounded, parts=routes.parts[r], own=own, extent=extent, start=start, shape=shape)
        graph[(name, *region.home)] = (call, job, supply.keys(r))
    return array_of_tasks(name, graph, mask.chunks, supply.dependencies, meta)


def _surrounded(
    job: Job,
    held: list[Any],
    *,
    parts: Sequence[Part],
    own: int,
    extent: tuple[int, ...],
    start: tuple[int, ...],
    shape: tuple[int, ...],
) -> Any:
    check_shape(held[own].shape, shape)
    return job.function(held[own], Surroundings(join(parts, held, extent), start))


def _without_pixels(job: Job, block: Any, *, shape: tuple[int, ...]) -> Any:
    check_shape(block.shape, shape)
    return job.function(block, Surroundings(block, (0,) * len(shape)))
