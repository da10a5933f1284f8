"""Per-label tables of many blocks, merged into one per range of labels by a tree of dask tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import numpy as np

# Labels per chunk of a result, and tables per merge.
LABELS_PER_CHUNK = 2**16
FAN_IN = 16

T = TypeVar("T")
Key = Hashable
Graph = dict[Key, Any]


def label_chunks(n: int) -> tuple[int, ...]:
    """The chunks along ``label`` of a result with n labels, of equal size but for the last."""
    if n == 0:
        return (0,)
    return tuple(min(LABELS_PER_CHUNK, n - first) for first in range(0, n, LABELS_PER_CHUNK))


def merge_by_range(
    name: str,
    keys: Sequence[Key],
    bounds: Sequence[Any],
    merge: Callable[[Sequence[T]], T],
    select: Callable[[T, Any, Any], T] | None = None,
) -> tuple[Graph, list[list[Key]]]:
    """Build the tasks that merge the tables under ``keys`` to a few tables per range of labels.

    Range ``i`` goes from ``bounds[i - 1]`` to ``bounds[i]``; the outermost are open.  At every level of
    the tree each task merges `FAN_IN` neighbouring tables, and the ranges are split `FAN_IN`-fold,
    until there is one range per task: so a table stays about as large as one block's, and no task
    holds all labels.  The last merge of each range is left to the caller.

    Parameters
    ----------
    name : str
        First part of the new tasks' keys.
    keys : sequence of keys
        The blocks' tables, neighbours in space next to each other.
    bounds : sequence
        The lowest label of every range but the first; none for a single range.
    merge : callable (tables) -> table
    select : callable (table, low, high) -> table, optional
        The rows from ``low`` up to, and without, ``high``; None is no bound.  Needed with bounds.

    Returns
    -------
    dict
        The tasks.
    list of lists of keys
        For every range the tables that hold its labels and no others, at most `FAN_IN`.
    """
    ranges = len(bounds) + 1
    edges = [None, *bounds, None]
    graph: Graph = {}
    # sections[i] holds the keys of the tables that cover the labels of the ranges spans[i].
    spans, sections = [(0, ranges)], [list(keys)]
    level = 0
    while len(spans) < ranges or len(sections[0]) > FAN_IN:
        new_spans: list[tuple[int, int]] = []
        new_sections: list[list[Key]] = []
        for (first, last), section in zip(spans, sections, strict=True):
            step = math.ceil((last - first) / FAN_IN)
            for low in range(first, last, step):
                high = min(low + step, last)
                merged: list[Key] = []
                for i in range(0, len(section), FAN_IN):
                    key = (name, level, low, i // FAN_IN)
                    graph[key] = (_merge_range, section[i : i + FAN_IN], merge, select, edges[low], edges[high])
                    merged.append(key)
                new_spans.append((low, high))
                new_sections.append(merged)
        spans, sections = new_spans, new_sections
        level += 1
    return graph, sections


def _merge_range(tables: Sequence[T], merge: Callable, select: Callable | None, low: Any, high: Any) -> T:
    if select is not None and (low is not None or high is not None):
        tables = [select(table, low, high) for table in tables]
    return merge(tables)


def block_keys(name: str, numblocks: Sequence[int]) -> np.ndarray:
    """The keys of a dask array's blocks, as an object array of their shape."""
    keys = np.empty(tuple(numblocks), object)
    for index in np.ndindex(*numblocks):
        keys[index] = (name, *index)
    return keys
