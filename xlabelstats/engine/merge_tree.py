"""Tables of many blocks, merged into one per range of labels by a tree of dask tasks, and columns made of them."""

from __future__ import annotations

import itertools
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from xlabelstats.engine.dask_internals import Graph, Key, array_of_tasks, block_keys, in_one_layer, token_of_names
from xlabelstats.kernels import kernels_for

# Labels per chunk of a result, and tables per merge.
LABELS_PER_CHUNK = 2**16
FAN_IN = 16

T = TypeVar("T")


def label_chunks(n: int) -> tuple[int, ...]:
    """The chunks along ``label`` of a result with n labels, of equal size but for the last."""
    if n == 0:
        return (0,)
    return tuple(min(LABELS_PER_CHUNK, n - first) for first in range(0, n, LABELS_PER_CHUNK))


def merge_by_range(
    name: str,
    keys: Sequence[Key],
    bounds: Sequence[Any],
    merge: Callable[[Sequence[T]], T] | Key,
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
    merge : callable (tables) -> table, or the key of a `Finish`

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
                    # What is no table goes in a partial: dask would look a bound or a name up as a key.
                    call = partial(_merge_range, low=edges[low], high=edges[high])
                    graph[key] = (call, merge, section[i : i + FAN_IN])
                    merged.append(key)
                new_spans.append((low, high))
                new_sections.append(merged)
        spans, sections = new_spans, new_sections
        level += 1
    return graph, sections


def _merge_range(merge: Any, tables: Sequence[Any], *, low: Any, high: Any) -> Any:
    if low is not None or high is not None:
        tables = [table.between(low, high) for table in tables]
    return merge.merge(tables) if isinstance(merge, Finish) else merge(tables)


class Finish(ABC):
    """From the tables of a range of labels to columns."""

    @abstractmethod
    def merge(self, tables: Sequence[Any]) -> Any:
        """One table of several."""

    @abstractmethod
    def __call__(self, tables: Sequence[Any], other: tuple[int, ...], ids: Any) -> Mapping[str, Any]:
        """The columns of the sorted ``ids``; ``other`` are the sizes of the image's own dims in the tables."""


@dataclass(frozen=True)
class Column:
    """What a column looks like: (label, *other, *shape), or (label, *shape) without ``per_other``."""

    dtype: Any
    per_other: bool = True
    shape: tuple[int, ...] = ()


def lazy_columns(
    tables: Any,
    ids: np.ndarray,
    ndim: int,
    finish: Finish,
    columns: Mapping[str, Column],
    rows: np.ndarray | None = None,
    *,
    like: Any,
) -> dict[str, Any]:
    """Merge block tables by label range, and give what is computed from them as lazy arrays.

    Parameters
    ----------
    tables : dask array of objects
        One table per block; its last ``ndim`` dims are those of the mask.
    ids : array (label,)
        The sorted labels of the result.
    ndim : int
        The number of dims of the mask.
    finish : Finish
        How tables are merged, and what comes of them: one object of the graph.
    columns : mapping of name to Column
        What comes of it.
    rows : array (label,), optional
        The rows in the order in which they are wanted.  All are then finished by one task, since a
        row may go anywhere.
    like : dask array
        The mask; the results come in the type of its blocks, numpy or CuPy.

    Returns
    -------
    dict
        A dask array for every column, in uniform chunks, along ``label`` of `LABELS_PER_CHUNK`.
    """
    from dask.base import tokenize

    other = tables.ndim - ndim
    keys = block_keys(tables)
    sizes = label_chunks(ids.size) if rows is None else (ids.size,)
    edges = np.cumsum((0, *sizes))
    token = tokenize(tables, ids, finish, columns, rows)
    base = f"finish-{token}"
    finishing = (f"finishing-{token}", 0)
    layer: Graph = {(f"ids-{token}", j): ids[edges[j] : edges[j + 1]] for j in range(len(sizes))}
    layer |= {finishing: finish} | ({} if rows is None else {(f"rows-{token}", 0): rows})
    bounds = [ids[edge] for edge in edges[1:-1]]
    for index in np.ndindex(*tables.numblocks[:other]):
        shape = tuple(tables.chunks[axis][i] for axis, i in enumerate(index))
        name = "-".join(map(str, ("merge", token, *index)))
        merges, ranges = merge_by_range(name, keys[index].ravel().tolist(), bounds, finishing)
        layer |= merges
        for j, last in enumerate(ranges):
            arrays = [(f"ids-{token}", j)] + ([] if rows is None else [(f"rows-{token}", 0)])
            layer[(base, j, *index)] = (partial(_finish_range, shape), finishing, last, arrays)
    finished = array_of_tasks(base, layer, (sizes, *tables.chunks[:other]), [tables])

    results = {}
    for column, spec in columns.items():
        name = f"column-{column}-{token}"
        beside = tables.chunks[:other] if spec.per_other else ()
        # What does not vary along the other dims is read from their first chunk.
        first = () if spec.per_other else (0,) * other
        tail = (0,) * len(spec.shape)
        items: Graph = {
            (name, *block, *tail): (operator.itemgetter(column), (base, *block, *first))
            for block in np.ndindex(len(sizes), *map(len, beside))
        }
        chunks = (sizes, *beside, *((n,) for n in spec.shape))
        meta = kernels_for(like).xp.empty((0,) * len(chunks), spec.dtype)
        array = array_of_tasks(name, items, chunks, [finished], meta)
        results[column] = uniform(array.rechunk({0: label_chunks(ids.size)}))
    return results


def _finish_range(
    shape: tuple[int, ...], finish: Finish, tables: list[Any], arrays: list[np.ndarray]
) -> Mapping[str, Any]:
    ids, *rows = arrays
    results = finish(tables, shape, kernels_for(tables[0].ids).xp.asarray(ids))
    return take_rows(results, rows[0]) if rows else results


def take_rows(arrays: Mapping[str, Any], rows: np.ndarray) -> dict[str, Any]:
    """The given rows of arrays."""
    return {name: array[kernels_for(array).xp.asarray(rows)] for name, array in arrays.items()}


def filled(shape: tuple[int, ...], value: Any, dtype: np.dtype, *, like: Any, chunks: Any = -1) -> Any:
    """A dask array of one value, if not otherwise said in one chunk, of the type of another's blocks."""
    import dask.array as da

    array = da.full(shape, value, dtype=dtype, chunks=chunks)
    xp = kernels_for(like).xp
    return array if xp is np else array.map_blocks(xp.asarray, meta=xp.empty((0,) * len(shape), dtype))


def uniform(array: Any) -> Any:
    """A dask array whose chunks are equal along every dim but for a smaller last one, as Zarr wants them."""
    ragged = {
        axis: max(chunks)
        for axis, chunks in enumerate(array.chunks)
        if len(chunks) > 1 and (len(set(chunks[:-1])) > 1 or not 0 < chunks[-1] <= chunks[0])
    }
    return array.rechunk(ragged) if ragged else array


def concatenated(columns: Mapping[Any, Sequence[Any]], rows: int, sources: Collection[Any]) -> dict[Any, Any]:
    """For each column its dask arrays put together along their first dim, in chunks of so many rows.

    ``sources`` are arrays whose layers are kept as they are; all else becomes one layer.
    """
    columns = {name: [_chunked_as(arrays[0], array) for array in arrays] for name, arrays in columns.items()}
    graph = in_one_layer([array for arrays in columns.values() for array in arrays], sources)
    return {name: _concatenation(arrays, rows, graph) for name, arrays in columns.items()}


def _chunked_as(one: Any, other: Any) -> Any:
    """A dask array with the chunks of another along all dims but the first."""
    chunks = dict(enumerate(one.chunks[1:], 1))
    return other if other.chunks[1:] == one.chunks[1:] else other.rechunk(chunks)


def _concatenation(arrays: Sequence[Any], rows: int, graph_of_all: Any) -> Any:
    blocks = [(array.name, j, size) for array in arrays for j, size in enumerate(array.chunks[0]) if size]
    if not blocks:
        return arrays[0]
    starts = np.cumsum([0, *(size for _, _, size in blocks)])
    name = f"concatenate-{token_of_names(arrays)}-{rows}"
    edges = [*range(0, int(starts[-1]), rows), int(starts[-1])]
    graph: Graph = {}
    for i, (low, high) in enumerate(itertools.pairwise(edges)):
        some = range(int(np.searchsorted(starts, low, side="right")) - 1, int(np.searchsorted(starts, high)))
        cuts = [slice(max(low - int(starts[k]), 0), min(high - int(starts[k]), blocks[k][2])) for k in some]
        for index in np.ndindex(*arrays[0].numblocks[1:]):
            keys = [(*blocks[k][:2], *index) for k in some]
            graph[(name, i, *index)] = (partial(_concatenate, cuts=cuts), keys)
    chunks = (tuple(np.diff(edges).tolist()), *arrays[0].chunks[1:])
    return array_of_tasks(name, graph, chunks, [graph_of_all], arrays[0]._meta)


def _concatenate(parts: list[Any], *, cuts: list[slice]) -> Any:
    return kernels_for(parts[0]).xp.concatenate([part[cut] for part, cut in zip(parts, cuts, strict=True)])
