"""Every touch of what dask keeps private, and most of what xarray and Python do, each with what it relies on.

How xarray wraps a stored array is known to ``patches/sources.py`` alone.

The tests of this file name the versions at which each reliance was last true.
"""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np

from xlabelstats.engine.runs import check_shape
from xlabelstats.options import compute

T = TypeVar("T")
Key = Hashable
Graph = dict[Key, Any]

# What `dask.config` may call a scheduler that runs on one thread.
ONE_THREAD = ("synchronous", "sync", "single-threaded")


def array_of_tasks(
    name: str, graph: Graph, chunks: Sequence[Sequence[int]], dependencies: Collection[Any], meta: Any = None
) -> Any:
    """A dask array whose block ``index`` is the task ``(name, *index)`` of a graph; without ``meta`` one of objects.

    Relies on `HighLevelGraph.from_collections`, and on `dask.array.Array` taking such a graph.
    """
    import dask.array as da
    from dask.highlevelgraph import HighLevelGraph

    layers = HighLevelGraph.from_collections(name, graph, dependencies=dependencies)
    return da.Array(
        layers, name, tuple(map(tuple, chunks)), meta=np.empty((0,) * len(chunks), object) if meta is None else meta
    )


def delayed_tasks(name: str, graph: Graph, keys: Sequence[Key], dependencies: Collection[Any]) -> list[Any]:
    """Some tasks of a graph as delayed values.

    Relies on `dask.delayed.Delayed` taking a key, a graph, and the name of the layer that the key is in.
    """
    from dask.delayed import Delayed
    from dask.highlevelgraph import HighLevelGraph

    layers = HighLevelGraph.from_collections(name, graph, dependencies=dependencies)
    return [Delayed(key, layers, layer=name) for key in keys]


def in_one_layer(arrays: Sequence[Any], sources: Collection[Any]) -> Any:
    """What stands for many dask arrays as a dependency: all their tasks in one layer, but for those of ``sources``.

    dask goes through all tasks of a graph for each of its layers, so thousands of layers take it minutes.

    Relies on `HighLevelGraph.layers` and ``dependencies``, on layers being mappings from keys to tasks, and on
    `from_collections` asking a dependency for no more than its graph and its ``name``.
    """
    import dask.array as da
    from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

    layers: dict[str, Any] = {}
    dependencies: dict[str, set[str]] = {}
    for source in sources:
        graph = source.__dask_graph__()
        layers |= graph.layers
        dependencies |= graph.dependencies
    name = f"together-{token_of_names(arrays)}"
    tasks: Graph = {}
    needed: set[str] = set()
    seen: set[str] = set(layers)
    for array in arrays:
        graph = array.__dask_graph__()
        for each, layer in graph.layers.items():
            if each not in seen:
                seen.add(each)
                tasks |= layer
                needed |= graph.dependencies[each] & layers.keys()
    graph = HighLevelGraph(layers | {name: MaterializedLayer(tasks)}, dependencies | {name: needed})
    return da.Array(graph, name, ((0,),), meta=np.empty(0, object))


def token_of_names(arrays: Sequence[Any]) -> str:
    """A token of the names of dask arrays, which tell what these hold."""
    from dask.base import tokenize

    return tokenize([array.name for array in arrays])


def as_task(value: T) -> tuple[Callable[[T], T], T]:
    """A task that gives a value, in place of the value itself in a graph that has one for every block.

    Relies on what dask's scheduler of threads does: for every task that it plans it goes through all values that a
    graph holds.
    """
    return _same, value


def _same(value: T) -> T:
    return value


def block_keys(array: Any) -> np.ndarray:
    """The keys of a dask array's blocks, as an object array of their shape.

    Relies on a block's key being ``(name, *index)``, as dask documents.
    """
    keys = np.empty(array.numblocks, object)
    for index in np.ndindex(*array.numblocks):
        keys[index] = (array.name, *index)
    return keys


def is_stored(array: Any) -> bool:
    """Whether the blocks of a dask array are read from storage, or memory, and only cut, joined, turned or cast."""
    return bool(_layers_of_blocks(array))


def _layers_of_blocks(array: Any) -> list[str]:
    """The layers by which blocks come from storage into no more than one block of the array each; the last one first.

    There are none if blocks are computed, or go into several.

    Relies on the functions of `dask.array.core` by which blocks are read, on the layer's ``task.func``, on the names
    that dask gives to the other layers, and on the ``dependencies`` of their tasks.
    """
    from dask.array import core

    graph, name = array.__dask_graph__(), array.name
    layers: list[str] = []
    while True:
        layer, below = graph.layers[name], graph.dependencies[name]
        layers.append(name)
        if getattr(getattr(layer, "task", None), "func", None) in (
            core.getter,
            core.getter_nofancy,
            core.getter_inline,
        ):
            return layers
        if len(below) != 1 or not name.startswith(("rechunk-merge-", "getitem-", "transpose-", "astype-")):
            return []
        tasks = list(layer.values())
        blocks = [block for task in tasks for block in getattr(task, "dependencies", ())]
        if not blocks or len({*blocks}) < len(blocks) or not all(hasattr(task, "substitute") for task in tasks):
            return []
        (name,) = below


def is_in_memory(array: Any) -> bool:
    """Whether the blocks of a dask array are parts of an array in memory.

    Relies on the graph then holding the blocks themselves, or `as_task` of them.
    """
    graph = array.__dask_graph__()
    layer = graph.layers[array.name]
    if graph.dependencies[array.name] or hasattr(layer, "task"):
        return False
    # Tasks, and keys of others, have no shape.
    return all(hasattr(block, "shape") and hasattr(block, "dtype") for block in map(_held, layer.values()))


def _held(value: Any) -> Any:
    """A block in a graph, as it is or within a task."""
    return value[1] if type(value) is tuple and value[0] is _same else value


def read_apart(array: Any, seed: Any) -> Any:
    """A twin of a stored dask array whose blocks are tasks of their own, while both read from one source.

    With a source each, dask would begin with all blocks of the source that comes last, and keep them.

    Relies on `clone` leaving the layers of the collections to omit as they are, and on ``substitute`` of tasks, since
    `clone` does not rename what the tasks of layers that are no `Blockwise` depend on.
    """
    import dask.array as da
    from dask.base import tokenize
    from dask.graph_manipulation import clone
    from dask.highlevelgraph import HighLevelGraph

    graph = array.__dask_graph__()
    *changes, read = _layers_of_blocks(array)

    def part_of_graph(names: Iterable[str]) -> HighLevelGraph:
        return HighLevelGraph({name: graph.layers[name] for name in names}, {n: graph.dependencies[n] for n in names})

    def blocks_of(graph: HighLevelGraph, name: str) -> da.Array:
        return da.Array(graph, name, array.chunks, meta=array._meta)

    sources = [name for name in graph.layers if name not in {*changes, read}]
    stored = blocks_of(part_of_graph([*sources, read]), read)
    omit = da.Array(part_of_graph(sources), sources[0], ((0,),), meta=np.empty(0, object)) if sources else None
    twin = clone(stored, omit=omit, seed=seed)
    for change in changes[::-1]:
        name = f"{change}-{tokenize(seed)}"
        tasks = {}
        for key, task in graph.layers[change].items():
            renamed = {block: (twin.name, *block[1:]) for block in task.dependencies}
            tasks[(name, *key[1:])] = task.substitute(renamed, key=(name, *key[1:]))
        twin = blocks_of(HighLevelGraph.from_collections(name, tasks, [twin]), name)
    return twin


def inside_a_task() -> bool:
    """Whether this runs within a task of dask, or in another process that works for this one.

    Relies on the names that `concurrent.futures` and `distributed` give the threads of their pools.
    """
    name = threading.current_thread().name
    in_pool = name.startswith("ThreadPoolExecutor") or "Dask-" in name
    return in_pool or multiprocessing.parent_process() is not None


def wants_one_thread() -> bool:
    """Whether dask is set to run on one thread, or on a pool of the user's, without importing dask.

    Relies on `dask.config.get("scheduler")` holding the name or the function of a scheduler that was chosen.
    """
    dask = sys.modules.get("dask")
    if dask is None or not hasattr(dask, "config"):
        return False
    scheduler = dask.config.get("scheduler", None)
    if isinstance(scheduler, str):
        return scheduler.lower() in ONE_THREAD
    one = getattr(scheduler, "__name__", "") == "get_sync" or dask.config.get("num_workers", None) == 1
    # The threads of a pool of the user's may be those that wait here, which have any name.
    return one or dask.config.get("pool", None) is not None


def computes_here(array: Any) -> bool:
    """Whether dask is set to compute an array in this process, so that its tasks share what lies in memory.

    Relies on `dask.base.get_scheduler`, and on the functions that are the schedulers of threads and of one thread.
    """
    from dask import local, threaded
    from dask.base import get_scheduler

    return get_scheduler(collections=[array]) in (threaded.get, local.get_sync)


def map_mask_blocks(function: Callable[..., Any], mask: Any, **options: Any) -> Any:
    """A dask array with an object, ``function(block, offset, **options)``, in place of every block of a mask.

    ``offset`` is the position of the block's first pixel.  The graph holds the options once.
    """
    from dask.base import tokenize

    token = tokenize(mask, function, options)
    name, held = f"{function.__name__}-{token}", (f"options-{token}", 0)
    graph: Graph = {held: (partial(dict, options),)}
    for index, place in _places(mask):
        graph[(name, *index)] = (partial(_call_on_block, function, **place), (mask.name, *index), held)
    return array_of_tasks(name, graph, mask.chunks, [mask])


def calls_on_blocks(function: Callable[..., T], mask: Any, **options: Any) -> list[Callable[[], T]]:
    """The calls that `map_mask_blocks` makes tasks of, for a mask `is_in_memory`, in the order of its blocks."""
    blocks = mask.__dask_graph__().layers[mask.name]
    return [
        partial(_call_on_block, function, _held(blocks[(mask.name, *index)]), options, **place)
        for index, place in _places(mask)
    ]


def _places(array: Any) -> Iterator[tuple[tuple[int, ...], dict[str, tuple[int, ...]]]]:
    """The index of every block of a dask array, the position of its first pixel and its shape."""
    starts = [np.cumsum((0, *sizes)).tolist() for sizes in array.chunks]
    for index in np.ndindex(*array.numblocks):
        offset = tuple(start[i] for start, i in zip(starts, index, strict=True))
        shape = tuple(sizes[i] for sizes, i in zip(array.chunks, index, strict=True))
        yield index, {"offset": offset, "shape": shape}


def _call_on_block(
    function: Callable[..., Any], block: Any, options: Any, *, offset: tuple[int, ...], shape: tuple[int, ...]
) -> Any:
    check_shape(block.shape, shape)
    return function(block, offset, **options)


def block_values(objects: Any) -> list[Any]:
    """The objects of a dask array of objects, computed now, in the order of its blocks."""
    name = f"block-values-{objects.name}"
    (values,) = delayed_tasks(name, {name: (list, block_keys(objects).ravel().tolist())}, [name], [objects])
    return compute(values)


def held_data(array: Any) -> Any:
    """What a DataArray or Variable holds, without reading it: its ``.data`` would, if it was opened lazily.

    Relies on `xarray.Variable._data`.
    """
    return getattr(array, "variable", array)._data


def with_other_sources(array: Any, replace: Callable[[Any], Any]) -> Any:
    """A dask array that reads from what ``replace`` gives for every stored array that it reads from, unless None.

    Relies on `from_array` and `from_zarr` of dask holding what they read from in a `MaterializedLayer` of one key,
    ``original-...``.  Blocks in memory become tasks, see `as_task`.
    """
    import dask.array as da
    from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

    graph = array.__dask_graph__() if hasattr(array, "__dask_graph__") else None
    if not isinstance(graph, HighLevelGraph):
        return array
    layers: dict[str, Any] = {}
    for name, layer in graph.layers.items():
        if not isinstance(layer, MaterializedLayer):
            continue
        if len(layer) > 1 and {*map(type, layer.values())} == {np.ndarray}:
            layers[name] = MaterializedLayer({key: as_task(block) for key, block in layer.items()})
            continue
        source = layer.mapping.get(name) if name.startswith("original-") else None
        if hasattr(source, "__getitem__") and hasattr(source, "shape") and not isinstance(source, np.ndarray):
            other = replace(source)
            if other is not None:
                layers[name] = MaterializedLayer({name: other})
    if not layers:
        return array
    graph = HighLevelGraph({**graph.layers, **layers}, graph.dependencies)
    return da.Array(graph, array.name, array.chunks, meta=array._meta)


def what_it_reads(array: Any) -> Any:
    """The array-like that a dask array reads block by block, if that is all it does, else None.

    Relies on the layers that `from_array` and `from_zarr` make, and on the tasks of the first.
    """
    from dask.array.core import getter, getter_nofancy
    from dask.blockwise import Blockwise

    origin = f"original-{array.name}"
    layers = getattr(array.dask, "layers", {})
    if set(layers) != {array.name, origin} or not isinstance(layers[array.name], Blockwise):
        return None
    first = (array.name, *(0,) * array.ndim)
    task = dict(array.dask.cull({first}))[first]
    if getattr(task, "func", None) not in (getter, getter_nofancy):
        return None
    if task.kwargs.get("lock") or not task.kwargs.get("asarray", True):
        return None
    read = layers[origin][origin]
    same = (getattr(read, "shape", None), getattr(read, "dtype", None)) == (array.shape, array.dtype)
    return read if same else None


def stored_arrays(array: Any, kind: type) -> list[tuple[str, Any]]:
    """The arrays of a type, such as `zarr.Array`, that a dask array reads from, with their keys.

    Relies on the layers of `from_array` and `from_zarr`, and on those that an optimisation made of several.
    """
    from dask.highlevelgraph import MaterializedLayer

    layers = [layer for layer in array.__dask_graph__().layers.values() if isinstance(layer, MaterializedLayer)]
    names = [(layer, key) for layer in layers for key in layer if isinstance(key, str) and key.startswith("original-")]
    held = [(key, getattr(layer[key], "value", layer[key])) for layer, key in names]
    return [(key, source) for key, source in held if isinstance(source, kind)]


def is_opened_lazily(array: Any) -> bool:
    """Whether a DataArray was opened by xarray and not read yet, and is no dask array.

    Relies on `xarray.core.indexing.ExplicitlyIndexed`, and on `xarray.Variable._in_memory`.
    """
    from xarray.core import indexing

    return not array.variable._in_memory and isinstance(array.variable._data, indexing.ExplicitlyIndexed)
