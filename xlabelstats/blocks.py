"""Per-label tables of many blocks, merged into one per range of labels by a tree of dask tasks."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Self, TypeVar

import numpy as np

from xlabelstats.kernels import kernels_for
from xlabelstats.runs import check_shape

# Labels per chunk of a result, and tables per merge.
LABELS_PER_CHUNK = 2**16
FAN_IN = 16

T = TypeVar("T")
Key = Hashable
Graph = dict[Key, Any]


@dataclass(frozen=True)
class Rows:
    """Labels and what is known of them: a base of dataclasses of arrays whose first axis is ``label``.

    Attributes
    ----------
    ids : array (label,)
        Sorted labels.
    count : array (label,) of int64
        Pixels per label.
    """

    ids: Any
    count: Any

    def on_host(self) -> Self:
        """The same in main memory."""
        return type(self)(*(kernels_for(self.ids).to_host(getattr(self, field.name)) for field in fields(self)))

    def between(self, low: Any, high: Any) -> Self:
        """The rows of the labels from ``low`` up to, and without, ``high``; None is no bound."""
        xp = kernels_for(self.ids).xp
        first = 0 if low is None else int(xp.searchsorted(self.ids, xp.asarray(low)))
        last = None if high is None else int(xp.searchsorted(self.ids, xp.asarray(high)))
        return type(self)(*(getattr(self, field.name)[first:last] for field in fields(self)))

    def __sizeof__(self) -> int:
        return sum(getattr(self, field.name).nbytes for field in fields(self))


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
                    call = partial(_merge_range, merge=merge, low=edges[low], high=edges[high])
                    graph[key] = (call, section[i : i + FAN_IN])
                    merged.append(key)
                new_spans.append((low, high))
                new_sections.append(merged)
        spans, sections = new_spans, new_sections
        level += 1
    return graph, sections


def _merge_range(tables: Sequence[Any], merge: Callable[..., Any], low: Any, high: Any) -> Any:
    if low is not None or high is not None:
        tables = [table.between(low, high) for table in tables]
    return merge(tables)


def as_task(value: T) -> tuple[Callable[[T], T], T]:
    """A task that gives a value, in place of the value itself in a graph that has one for every block.

    For every task that it plans, dask's scheduler of threads goes through all values that a graph holds.
    """
    return _same, value


def _same(value: T) -> T:
    return value


def block_keys(array: Any) -> np.ndarray:
    """The keys of a dask array's blocks, as an object array of their shape."""
    keys = np.empty(array.numblocks, object)
    for index in np.ndindex(*array.numblocks):
        keys[index] = (array.name, *index)
    return keys


def map_blocks(function: Callable[..., Any], mask: Any, image: Any = None, **options: Any) -> Any:
    """A dask array with an object, ``function(mask, offset)``, in place of every block of a mask.

    ``offset`` is the position of the block's first pixel.  With an image (*other, *shared) it is
    ``function(mask, offset, image)`` for every block of the image.  Options that are arrays are held
    by the graph once, and all tasks refer to them.
    """
    import dask.array as da
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    whole = mask if image is None else image
    other = whole.ndim - mask.ndim
    name = f"{function.__name__}-{tokenize(mask, image, function, options)}"
    starts = [np.cumsum((0, *chunks)).tolist() for chunks in mask.chunks]
    held = {option: (f"{option}-{name}", 0) for option, value in options.items() if isinstance(value, np.ndarray)}
    call = partial(function, **{option: value for option, value in options.items() if option not in held})
    graph: Graph = {key: options[option] for option, key in held.items()}
    for index in np.ndindex(*whole.numblocks):
        shared = index[other:]
        offset = tuple(start[i] for start, i in zip(starts, shared, strict=True))
        shape = tuple(sizes[i] for sizes, i in zip(mask.chunks, shared, strict=True))
        blocks = [(mask.name, *shared)] + ([] if image is None else [(image.name, *index)])
        graph[(name, *index)] = (partial(_call, call, offset, shape, tuple(held)), blocks, list(held.values()))
    layers = HighLevelGraph.from_collections(name, graph, dependencies=[mask] if image is None else [mask, image])
    return da.Array(layers, name, whole.chunks, meta=np.empty((0,) * whole.ndim, object))


def _call(
    function: Callable[..., T],
    offset: tuple[int, ...],
    shape: tuple[int, ...],
    options: Sequence[str],
    blocks: list[Any],
    arrays: list[Any],
) -> T:
    mask, *image = blocks
    check_shape(mask.shape, shape)
    return function(mask, offset, *image, **dict(zip(options, arrays, strict=True)))


def gather(objects: Any) -> list[Any]:
    """The objects of a dask array of objects, computed now, in the order of its blocks."""
    from dask.delayed import Delayed
    from dask.highlevelgraph import HighLevelGraph

    from xlabelstats.options import compute

    name = f"gather-{objects.name}"
    layers = HighLevelGraph.from_collections(
        name, {name: (list, block_keys(objects).ravel().tolist())}, dependencies=[objects]
    )
    return compute(Delayed(name, layers))


@dataclass(frozen=True)
class Column:
    """What a result of `columns_of` looks like: (label, *other, *shape), or (label, *shape) without ``per_other``."""

    dtype: Any
    per_other: bool = True
    shape: tuple[int, ...] = ()


def columns_of(
    tables: Any,
    ids: np.ndarray,
    ndim: int,
    merge: Callable[[Sequence[T]], T],
    settle: Callable[[Sequence[T], tuple[int, ...], Any], Mapping[str, Any]],
    columns: Mapping[str, Column],
    order: np.ndarray | None = None,
    *,
    like: Any,
) -> dict[str, Any]:
    """Merge block tables by label range, and give what is settled from them as lazy arrays.

    Parameters
    ----------
    tables : dask array of objects
        One table per block; its last ``ndim`` dims are those of the mask.
    ids : array (label,)
        The sorted labels of the result.
    ndim : int
        The number of dims of the mask.
    merge : callable
        As in `merge_by_range`.
    settle : callable (tables, other_shape, ids) -> mapping of arrays
        The results of one range of labels from the tables that hold them.
    columns : mapping of name to Column
        What comes of it.
    order : array (label,), optional
        The rows in the order in which they are wanted.  All are then settled by one task, since a
        row may go anywhere.
    like : dask array
        The mask; the results come in the type of its blocks, numpy or CuPy.

    Returns
    -------
    dict
        A dask array for every column, in uniform chunks, along ``label`` of `LABELS_PER_CHUNK`.
    """
    import dask.array as da
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    other = tables.ndim - ndim
    keys = block_keys(tables)
    rows = label_chunks(ids.size) if order is None else (ids.size,)
    edges = np.cumsum((0, *rows))
    token = tokenize(tables, ids, settle, columns, order)
    base = f"settle-{token}"
    layer: Graph = {(f"ids-{token}", j): ids[edges[j] : edges[j + 1]] for j in range(len(rows))}
    layer |= {} if order is None else {(f"order-{token}", 0): order}
    for index in np.ndindex(*tables.numblocks[:other]):
        shape = tuple(tables.chunks[axis][i] for axis, i in enumerate(index))
        name = "-".join(map(str, ("merge", token, *index)))
        bounds = [ids[edge] for edge in edges[1:-1]]
        merges, ranges = merge_by_range(name, keys[index].ravel().tolist(), bounds, merge)
        layer |= merges
        for j, last in enumerate(ranges):
            wanted = [(f"ids-{token}", j)] + ([] if order is None else [(f"order-{token}", 0)])
            layer[(base, j, *index)] = (partial(_settle, settle, shape), last, wanted)
    graph = HighLevelGraph.from_collections(base, layer, dependencies=[tables])

    arrays = {}
    for column, spec in columns.items():
        name = f"{column}-{token}"
        own = tables.chunks[:other] if spec.per_other else ()
        # What does not vary along the other dims is read from their first chunk.
        first = () if spec.per_other else (0,) * other
        tail = (0,) * len(spec.shape)
        items = {
            (name, *block, *tail): (operator.itemgetter(column), (base, *block, *first))
            for block in np.ndindex(len(rows), *map(len, own))
        }
        layers = HighLevelGraph(graph.layers | {name: items}, graph.dependencies | {name: {base}})
        chunks = (rows, *own, *((n,) for n in spec.shape))
        meta = kernels_for(like).xp.empty((0,) * len(chunks), spec.dtype)
        array = da.Array(layers, name, chunks, meta=meta)
        arrays[column] = uniform(array.rechunk({0: label_chunks(ids.size)}))
    return arrays


def _settle(
    settle: Callable[..., Mapping[str, Any]], shape: tuple[int, ...], tables: list[Any], wanted: list[np.ndarray]
) -> Mapping[str, Any]:
    ids, *order = wanted
    settled = settle(tables, shape, kernels_for(tables[0].ids).xp.asarray(ids))
    return take_rows(settled, order[0]) if order else settled


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
