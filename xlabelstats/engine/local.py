"""numpy arrays cut into blocks, and the threads of this process that work on them."""

from __future__ import annotations

import itertools
import math
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from xlabelstats.engine.dask_internals import inside_a_task, wants_one_thread

T = TypeVar("T")

# From this many pixels on a numpy mask is cut into stretches of about so many.
CUT_PIXELS = 2_000_000
STRETCH_PIXELS = 2**19


def stretches(shape: Sequence[int], pixels: int = STRETCH_PIXELS) -> list[slice]:
    """Stretches of lines (the last axis) of an array, of about so many pixels, in order; one for a small array.

    They depend on the shape alone, so that results do not depend on the machine.
    """
    width = shape[-1] if shape else 1
    lines = math.prod(shape[:-1])
    if math.prod(shape) < CUT_PIXELS * pixels / STRETCH_PIXELS or lines < 2:
        return [slice(0, lines)]
    number = min(lines, math.ceil(lines * width / pixels))
    edges = np.linspace(0, lines, number + 1).astype(int).tolist()
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def works_alone() -> bool:
    """Whether `map_locally` works on the calling thread alone: inside a task of dask, or where dask has no other."""
    return inside_a_task() or wants_one_thread()


def map_locally(function: Callable[[Any], T], items: Sequence[Any]) -> list[T]:
    """What a function makes of every item, in order, on as many threads as dask has in this process.

    On the calling thread for a single item, and where it `works_alone`.  Nothing is sent to a cluster.
    """
    if len(items) < 2 or works_alone():
        return [function(item) for item in items]
    from dask import config, system
    from dask.callbacks import Callback

    if Callback.active:
        # Bars of progress are told of dask's tasks alone; what else listens may keep their results by key.
        from dask.threaded import get

        name = f"piece-{uuid.uuid4().hex}"
        graph = {(name, i): (function, item) for i, item in enumerate(items)}
        return list(get(graph, list(graph)))
    with ThreadPoolExecutor(min(config.get("num_workers", None) or system.CPU_COUNT, len(items))) as pool:
        try:
            return list(pool.map(function, items))
        except BaseException:
            # Also when interrupted before all are under way.
            pool.shutdown(cancel_futures=True)
            raise
