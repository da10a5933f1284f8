"""What a key covers: the step, its parameters, and its inputs; the same in every process on one version of Python."""

from __future__ import annotations

import copyreg
import hashlib
import os
import re
import reprlib
import threading
import warnings
from collections.abc import Callable, Mapping, Set
from contextlib import suppress
from contextvars import ContextVar
from functools import cache, partial
from types import FunctionType, MappingProxyType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
import xarray as xr
import zarr
from dask.base import is_dask_collection, tokenize
from dask.highlevelgraph import MaterializedLayer
from fsspec.implementations.local import LocalFileSystem
from numpy.random import SeedSequence
from zarr.storage import MemoryStore, ZipStore

from xlabelstats.engine.dask_internals import stored_arrays
from xlabelstats.names import check_known
from xlabelstats.pipeline.cache.arrays import STORED, Source, sources_of
from xlabelstats.pipeline.cache.code import Step, content_of_code, name_of, object_of, package_of, unknown

DIGITS = 16
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = 80
METADATA = ("zarr.json", ".zarray", ".zgroup")
DATA = (xr.DataArray, xr.Dataset, pd.DataFrame, pd.Series, zarr.Array, zarr.Group)

# Values that their repr tells apart, alone and in lists.
SCALARS = {type(None), bool, int, float, complex, str, bytes, type(pd.NA)}

# Names that dask makes up, in which a UUID has its hyphens.
MADE_UP = re.compile(r".*[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def step_of(function: Any) -> Step:
    """A step, with a token of what it does."""
    if not callable(function):
        raise TypeError(
            f"a step is a function, which {type(function).__name__} is not; give the function and its arguments apart: "
            "run('smooth', gaussian, image, sigma=1)"
        )
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    while isinstance(function, partial):
        args, kwargs, function = function.args + args, {**function.keywords, **kwargs}, function.func
    name = name_of(function)
    return Step(function, args, kwargs, name, token(function, f"the step {name}"))


def current(name: str) -> str | None:
    """The identity of the function of this name in a module that is loaded; None if it cannot be told."""
    # To import it here could start a script that has no guard.
    function = object_of(name)
    with suppress(TypeError):
        return token(function, name) if isinstance(function, FunctionType) else None
    return None


class Unkeyed:
    """What counts as None in a key, such as a cache that a step runs other steps in."""


class Wrapped:
    """What counts in a key as the plain value that it holds, such as an array that can be awaited."""

    __slots__ = ()

    @property
    def plain(self) -> Any:
        """The value without what was added to it."""
        raise NotImplementedError


def call_of(
    step: Step, args: tuple[Any, ...], kwargs: Mapping[str, Any], tables: Mapping[str, Source]
) -> tuple[str, dict[str, Any]]:
    """The key of a call, and what a marker says of it; ``tables`` has the entries of tables by token."""
    arguments = bind(step, (*step.args, *args), {**step.kwargs, **kwargs})
    tokens = {name: token(value, f"the argument {name!r}") for name, value in arguments.items()}
    parameters: dict[str, str] = {}
    inputs: list[dict[str, Any]] = []
    for name, value in arguments.items():
        lazy = is_lazy(value)
        if lazy or isinstance(value, DATA) or (isinstance(value, np.ndarray) and value.ndim > 0):
            known = tables.get(tokens[name])
            sources = [known] if known else sources_of(value) if lazy else []
            files = files_of(value)
            inputs.append({"argument": name, "token": tokens[name], "sources": sources, "files": files})
            if lazy and has_made_up_name(value):
                warn_of_made_up_name(step.name, name)
        elif not (isinstance(value, Unkeyed) or is_viewer(value)):
            parameters[name] = value.__qualname__ if isinstance(value, FunctionType | MethodType) else SHORT.repr(value)
    settings, key = (digest(step.identity, *(f"{n}={tokens[n]}" for n in names)) for names in (parameters, tokens))
    told = {"step": step.name, "plain": isinstance(step.call, FunctionType), "identity": step.identity}
    return key, {**told, "parameters": parameters, "settings": settings, "inputs": inputs}


def bind(step: Step, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by name, with defaults, as the step gets them."""
    try:
        check_known(kwargs, kwargs if step.parameters is None else step.parameters, "argument")
        bound = step.signature.bind(*args, **kwargs)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{step.name} cannot be called like this: {error}") from None
    bound.apply_defaults()
    arguments: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = step.signature.parameters[name].kind
        several = dict(enumerate(value)) if kind is kind.VAR_POSITIONAL else value
        split = kind in (kind.VAR_POSITIONAL, kind.VAR_KEYWORD)
        arguments |= {f"{name}[{key!r}]": each for key, each in several.items()} if split else {name: value}
    return arguments


def is_lazy(value: Any) -> bool:
    """Whether a value holds dask arrays; not one that answers for every attribute."""
    return hasattr(type(value), "__dask_graph__") and is_dask_collection(value)


def is_viewer(value: Any) -> bool:
    """Whether this is a viewer, which shows results and changes none."""
    return hasattr(type(value), "add_image") and hasattr(type(value), "add_labels")


def has_made_up_name(value: Any) -> bool:
    """Whether an array is named otherwise in each process: by a UUID, or by a seed of the operating system's."""
    layers = getattr(value.__dask_graph__(), "layers", {})
    # What is read from a cache is named after the attempt that wrote it, but known by the entry.
    made_up = any(MADE_UP.fullmatch(str(name)) for name in layers if not STORED.fullmatch(str(name)))
    first = (next(iter(layer.values()), None) for layer in layers.values() if isinstance(layer, MaterializedLayer))
    seeds = [seed.entropy for task in first for seed in getattr(task, "args", ()) if isinstance(seed, SeedSequence)]
    # Nobody types a seed of more than 64 bits.
    return made_up or any(isinstance(seed, int) and seed >> 64 for seed in seeds)


@cache
def warn_of_made_up_name(step: str, argument: str) -> None:
    """Say once what is stored in vain."""
    warnings.warn(
        f"the array {argument!r} that {step} gets has a new name in each process, so each computes the step again "
        "and stores one more result; seed its random numbers, make it by delayed(..., pure=True) or "
        "from_array(..., name=...), or store it first",
        stacklevel=5,
    )


def token(value: Any, what: str) -> str:
    """The token of what a value holds and code does, the same in every process; ``what`` names it in complaints."""
    try:
        return _token(value, what, (), {})
    except RecursionError:
        raise unknown(f"{what} holds too deeply nested objects, so") from None


def _token(value: Any, what: str, around: tuple[int, ...], met: dict[int, tuple[int, Any]]) -> str:
    """The token of a value in others ``around`` it; those ``met`` are kept, so that no other gets their id."""
    value = None if isinstance(value, Unkeyed) or is_viewer(value) else value
    value = value.plain if isinstance(value, Wrapped) else value
    kind = type(value)
    if kind in SCALARS or (kind in (list, tuple) and set(map(type, value)) <= SCALARS):
        return digest(kind.__name__, repr(value))
    if id(value) in met:
        return f"met before, {met[id(value)][0]}"
    if id(value) in around:
        return f"within itself, {around.index(id(value))}"
    around = (*around, id(value))
    within = f"something in {what.removeprefix('something in ')}"
    if isinstance(value, set | frozenset) or (isinstance(value, Set) and package_of(kind.__module__)):
        # They come in any order, so none may depend on those before it.
        own = [_token(each, within, around, dict(met)) for each in (*_own_class(value), getattr(value, "__dict__", 0))]
        return digest(kind.__name__, *own, *sorted(_token(each, within, around, dict(met)) for each in value))
    parts: Any = content_of_code(value)
    parts = _content(value, what) if parts is None else parts
    if isinstance(parts, dict):
        met[id(value)] = len(met), value
    pairs = parts.items() if isinstance(parts, dict) else [("", part) for part in parts]
    return digest(kind.__name__, *(words + _token(part, words or within, around, met) for words, part in pairs))


def _own_class(value: Any) -> list[type]:
    """The class of a value, if it is of the user's own code."""
    return [] if package_of(type(value).__module__) else [type(value)]


def _content(value: Any, what: str) -> Any:
    """What a value is made of; of an object with a state, which may hold itself, under words for it."""
    known = (maker for kinds, maker in CONTENTS if isinstance(value, kinds))
    maker = EXACT.get(type(value)) or next(known, None)
    try:
        if maker:
            return [*_own_class(value), *maker(value)]
        if hasattr(type(value), "__dask_tokenize__"):
            return [name_of(type(value)), *_own_class(value), value.__dask_tokenize__(), files_of(value)]
        reducer = copyreg.dispatch_table.get(type(value))
        made = reducer(value) if reducer else value.__reduce_ex__(4)
    except Exception as error:
        # Whatever a class raises that is not to be pickled.
        article = "an" if type(value).__name__[0] in "AEIOUaeiou" else "a"
        raise unknown(f"{what} is {article} {type(value).__name__}, and") from error
    if isinstance(made, str):
        return [type(value), made]
    parts = [*made[:3], *(list(each or ()) for each in made[3:5])]
    return {"": parts} if any(each is not None for each in made[2:3]) else parts


def _of_array(array: Any) -> list[Any]:
    # The token of dask is that of the values as they lie in memory.
    values = np.ascontiguousarray(array).ravel()
    return [repr(array.dtype), array.shape, values.tolist() if values.dtype.hasobject else tokenize(values.view("u1"))]


def _of_column(column: Any) -> list[Any]:
    hashes = pd.util.hash_pandas_object(pd.Series(column), index=False).to_numpy()
    kinds = [getattr(column.dtype, name, None) for name in ("categories", "ordered")]
    return [str(column.dtype), *kinds, hashes]


def _of_zarr(value: zarr.Array | zarr.Group) -> list[Any]:
    nodes = _nodes(value)
    held = [each[...] for each in nodes if isinstance(each, zarr.Array) and isinstance(each.store, MemoryStore)]
    return [[f"{each.store_path} {each.metadata!r}" for each in nodes], files_of(value), held]


EXACT: dict[type, Callable[[Any], Any]] = {list: list, tuple: list, np.ndarray: _of_array, np.memmap: _of_array}
EXACT |= {dict: dict.items, MappingProxyType: MappingProxyType.items}
CONTENTS: list[tuple[Any, Callable[[Any], Any]]] = [
    (np.generic, _of_array),
    (np.ma.MaskedArray, lambda array: [array.data, np.ma.getmaskarray(array), repr(array.fill_value)]),
    (xr.DataArray, lambda array: [array.name, array.variable, array.coords.variables.items()]),
    (xr.Dataset, lambda data: [data.attrs, [*data.data_vars], {*data.coords}, data.variables.items()]),
    (xr.Variable, lambda variable: [variable.dims, variable.attrs, variable.data]),
    (xr.DataTree, lambda tree: [(node.path, node.to_dataset(inherit=False)) for node in tree.subtree]),
    (pd.DataFrame, lambda table: [table.columns, table.index, table.attrs, *(each.array for _, each in table.items())]),
    (pd.Series, lambda series: [series.name, series.index, series.attrs, series.array]),
    (pd.arrays.NumpyExtensionArray, lambda column: [column.to_numpy()]),
    (pd.api.extensions.ExtensionArray, _of_column),
    (zarr.Array | zarr.Group, _of_zarr),
    # Of locks and the like it is no matter what they hold, and what is held weakly may be gone at any moment.
    (type(threading.Lock()) | type(threading.RLock()) | ContextVar | WeakKeyDictionary, lambda value: []),
]


def _nodes(value: Any) -> list[Any]:
    """The Zarr arrays and groups that a value is, holds or is computed from."""
    if isinstance(value, zarr.Array | zarr.Group):
        members = value.members(max_depth=None) if isinstance(value, zarr.Group) else ()
        return [value, *(member for _, member in sorted(members))]
    stored = stored_arrays(value, zarr.Array) if is_lazy(value) else []
    return [array for name, array in stored if not STORED.fullmatch(name)]


def files_of(value: Any) -> dict[str, int]:
    """The metadata files of the local Zarr arrays and groups that a value is read from, and when they were written."""
    paths: list[str] = []
    for node in _nodes(value):
        fs = getattr(node.store, "fs", None)
        local = isinstance(getattr(fs, "sync_fs", fs), LocalFileSystem)
        root = node.store.path if local else getattr(node.store, "root", None)
        paths += [os.path.join(os.path.abspath(root), node.path, name) for name in METADATA if root]
        paths += [os.path.abspath(str(node.store.path))] if isinstance(node.store, ZipStore) else []
    return {path: written(path) for path in paths if os.path.exists(path)}


def written(path: str) -> int:
    """When a file was written last, 0 if it is gone."""
    return os.stat(path).st_mtime_ns if os.path.exists(path) else 0


def digest(*parts: str) -> str:
    """The hexadecimal digits of a key."""
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:DIGITS]
