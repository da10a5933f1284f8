"""What a key covers: the step, its parameters, and its inputs.

Keys are the same in every process on one version of Python; another version may write other bytecode, and then
computes a step without a ``version`` anew.
"""

from __future__ import annotations

import copyreg
import hashlib
import os
import re
import reprlib
import warnings
from collections import defaultdict
from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from types import FunctionType, MethodType, ModuleType
from typing import Any

import dask
import numpy as np
import pandas as pd
import xarray as xr
import zarr
from dask.base import is_dask_collection, normalize_token, tokenize
from dask.highlevelgraph import MaterializedLayer
from fsspec.implementations.local import LocalFileSystem
from numpy.random import SeedSequence
from zarr.storage import LocalStore, MemoryStore

from xlabelstats.engine.dask_internals import stored_arrays
from xlabelstats.names import check_known
from xlabelstats.pipeline.cache.arrays import STORED, Source, sources_of
from xlabelstats.pipeline.cache.code import Step, content_of_code, declared, name_of, package_of

DIGITS = 16
SHOWN = 80
SCALARS = (type(None), bool, int, float, complex, str, bytes)

# Names that dask makes up, in which a UUID has its hyphens.
MADE_UP = re.compile(r".*[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Input:
    """An array or table that a step was given: its entries of the cache, and the files it is read from, with times."""

    argument: str
    token: str
    sources: list[Source]
    files: Mapping[str, int]


@dataclass(frozen=True)
class Call:
    """A step with its arguments: parameters in readable form; a token of step and parameters; a token of it all."""

    step: Step
    parameters: Mapping[str, str]
    inputs: list[Input]
    settings: str
    key: str


def call_of(
    step: Step, args: tuple[Any, ...], kwargs: Mapping[str, Any], ignored: type, tables: Mapping[str, Source]
) -> Call:
    """Bind the arguments of a step, and find its key.

    Arguments of the type ``ignored`` count as None; ``tables`` tells the entries whose tables have which tokens.
    """
    token_of = Tokens(ignored)
    arguments = bind(step, (*step.args, *args), {**step.kwargs, **kwargs})
    parameters, inputs, tokens = {}, [], {}
    for name, value in arguments.items():
        tokens[name] = token_of(value, f"the argument {name!r}")
        if is_input(value):
            known = tables.get(tokens[name])
            arrays = arrays_of(value)
            sources = [known] if known else list(dict.fromkeys(each for array in arrays for each in sources_of(array)))
            inputs.append(Input(name, tokens[name], sources, files_of(value)))
            if any(map(has_made_up_name, arrays)):
                warn_of_made_up_name(step.name, name)
        elif not isinstance(value, ignored):
            parameters[name] = shown(value)
    settings = digest(step.identity, *(f"{name}={tokens[name]}" for name in parameters))
    key = digest(step.identity, *(f"{name}={token}" for name, token in tokens.items()))
    return Call(step, parameters, inputs, settings, key)


def bind(step: Step, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by name, with defaults, as the step gets them."""
    signature = step.signature
    if signature is None:
        return {**{str(i): value for i, value in enumerate(args)}, **dict(sorted(kwargs.items()))}
    try:
        check_known(kwargs, kwargs if step.parameters is None else step.parameters, "argument")
        bound = signature.bind(*args, **kwargs)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{step.name} cannot be called so: {error}") from None
    bound.apply_defaults()
    arguments: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind is kind.VAR_POSITIONAL:
            arguments |= {f"{name}[{i}]": each for i, each in enumerate(value)}
        elif kind is kind.VAR_KEYWORD:
            # A keyword may have the name of a parameter that is given by position alone.
            arguments |= {f"**{k}" if k in signature.parameters else k: each for k, each in sorted(value.items())}
        else:
            arguments[name] = value
    return arguments


def is_input(value: Any) -> bool:
    """Whether an argument is data, and not a parameter."""
    if isinstance(value, xr.DataArray | xr.Dataset | pd.DataFrame | pd.Series | zarr.Array | zarr.Group):
        return True
    lazy = hasattr(type(value), "__dask_graph__") and is_dask_collection(value)
    return lazy or (isinstance(value, np.ndarray) and value.ndim > 0)


def has_made_up_name(array: Any) -> bool:
    """Whether an array is named otherwise in each process: by a UUID, or by a seed of the operating system's."""
    layers = getattr(array.__dask_graph__(), "layers", {})
    first = (next(iter(layer.values()), None) for layer in layers.values() if isinstance(layer, MaterializedLayer))
    seeds = [seed.entropy for task in first for seed in getattr(task, "args", ()) if isinstance(seed, SeedSequence)]
    # What is read from a cache is named after the attempt that wrote it, but known by the entry.
    names = [name for name in map(str, layers) if not STORED.fullmatch(name)]
    # Nobody types a seed of more than 64 bits.
    return any(map(MADE_UP.fullmatch, names)) or any(isinstance(s, int) and s >> 64 for s in seeds)


@cache
def warn_of_made_up_name(step: str, argument: str) -> None:
    """Say once what is stored in vain."""
    warnings.warn(
        f"the array {argument!r} that {step} gets has a new name in each process, so that each computes the step anew "
        "and stores one more result; seed its random numbers, make it by delayed(..., pure=True) or "
        "from_array(..., name=...), or store it first",
        stacklevel=5,
    )


class Tokens:
    """Tokens that are the same in every process: those of dask, but of code, and of what holds code or has no order."""

    def __init__(self, ignored: type) -> None:
        self._ignored = ignored
        self._open: list[int] = []
        # Code and objects that were met before, which are kept so that no other gets their id.
        self._met: dict[int, tuple[int, Any]] = {}

    def __call__(self, value: Any, what: str) -> str:
        """The token of a value; ``what`` names it in complaints."""
        if isinstance(value, self._ignored):
            value = None
        if type(value) in SCALARS:
            return digest(type(value).__name__, repr(value))
        if id(value) in self._met:
            return f"met before, {self._met[id(value)][0]}"
        if id(value) in self._open:
            return f"within itself, {self._open.index(id(value))}"
        self._open.append(id(value))
        try:
            parts = self._parts(value, what)
            return digest(type(value).__name__, *(p if isinstance(p, str) else self(p, what) for p in parts))
        finally:
            self._open.pop()
            if not self._open:
                self._met.clear()

    def _alone(self, value: Any, what: str) -> str:
        """The token of one of several without order, whichever of them was met before."""
        met, self._met = self._met, dict(self._met)
        try:
            return self(value, what)
        finally:
            self._met = met

    def _parts(self, value: Any, what: str) -> list[Any]:
        """Tokens, and values of which tokens are to be made."""
        if isinstance(value, xr.DataArray):
            return [repr(value.name), value.variable, _by_name(value.coords)]
        if isinstance(value, xr.Dataset):
            return [_by_name(value.variables), value.attrs, set(value.coords)]
        if isinstance(value, pd.DataFrame | pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
            return self._table_parts(value, what)
        if isinstance(value, zarr.Array | zarr.Group):
            return [*(part for node in _nodes(value) for part in _of_node(node)), files_of(value)]
        if isinstance(value, xr.DataTree):
            return [part for node in value.subtree for part in (node.path, node.to_dataset(inherit=False))]
        if isinstance(value, xr.Variable):
            data = value.data if is_dask_collection(value) else np.asarray(value.data)
            return [repr(value.dims), self(value.attrs, f"the attrs of {what}"), data]
        if hasattr(type(value), "__dask_tokenize__"):
            return [_of_dask(value, what), files_of(value) if is_dask_collection(value) else {}]
        if isinstance(value, Mapping | Set | list | tuple):
            own = package_of(type(value).__module__) is None
            parts = [type(value), getattr(value, "__dict__", None)] if own else []
            if isinstance(value, defaultdict):
                parts.append(value.default_factory)
            if isinstance(value, Set):
                return [*parts, *sorted(self._alone(each, what) for each in value)]
            if isinstance(value, Mapping):
                pairs = sorted(((self._alone(key, what), each) for key, each in value.items()), key=itemgetter(0))
                return [*parts, *(f"{key}:{self(each, what)}" for key, each in pairs)]
            return [*parts, *(self(each, what) for each in value)]
        if isinstance(value, np.ma.MaskedArray):
            return [value.data, np.ma.getmaskarray(value), repr(value.fill_value)]
        if isinstance(value, np.ndarray) and value.dtype.hasobject:
            return [repr(value.dtype), value.shape, value.ravel().tolist()]
        if type(value) in (np.ndarray, np.memmap):
            # The token of dask is that of the values as they lie in memory.
            return [repr(value.dtype), repr(value.shape), _of_dask(np.asarray(value, order="C"), what)]
        if isinstance(value, ModuleType):
            return [value.__name__, package_of(value.__name__) or ""]
        content = content_of_code(value)
        known = normalize_token.dispatch(type(value)) is not normalize_token.dispatch(object)
        if known and package_of(type(value).__module__) and not (callable(value) or isinstance(value, np.ndarray)):
            return [_of_dask(value, what)]
        self._met[id(value)] = len(self._met), value
        if content is None:
            return self._object_parts(value, what)
        return [part for name in sorted(content) for part in (name, self(content[name], name))]

    def _table_parts(self, table: Any, what: str) -> list[Any]:
        attrs = self(getattr(table, "attrs", {}), f"the attrs of {what}")
        if isinstance(table, pd.DataFrame):
            columns = [self(column.array, f"the column {name!r} of {what}") for name, column in table.items()]
            return [[*table.columns], [*table.columns.names], *columns, table.index, attrs]
        if isinstance(table, pd.MultiIndex):
            return [[*table.names], *(table.get_level_values(i).array for i in range(table.nlevels))]
        if isinstance(table, pd.Series | pd.Index):
            return [repr(table.name), table.array, getattr(table, "index", None), attrs]
        if isinstance(table, pd.Categorical):
            return [table.ordered, table.categories, table.codes]
        column = pd.Series(table, dtype="object" if str(table.dtype) == "object" else None, copy=False)
        # Hashes of pandas take 1 for "1", and None for NaN.
        if column.dtype == object and pd.api.types.infer_dtype(column, skipna=False) != "string":
            return [list(column)]
        return [str(column.dtype), pd.util.hash_pandas_object(column, index=False).to_numpy()]

    def _object_parts(self, value: Any, what: str) -> list[Any]:
        """Of an object, what pickle makes it of; of one that pickle does not take, its version."""
        try:
            reducer = copyreg.dispatch_table.get(type(value))
            made = reducer(value) if reducer else value.__reduce_ex__(4)
        except Exception:
            # Whatever a class raises that is not to be pickled: dask says so too.
            number = declared(value)
            return [_of_dask(value, what) if number is None else f"{name_of(type(value))} {number!r}"]
        if isinstance(made, str):
            return [name_of(type(value)), made]
        parts = [*made[:3], *(list(each or ()) for each in made[3:5])]
        return [self(each, f"something in {what.removeprefix('something in ')}") for each in parts]


def _of_node(node: zarr.Array | zarr.Group) -> list[Any]:
    """What tells a Zarr array or group from others: where it is, or, in memory, what it holds."""
    if not isinstance(node.store_path.store, MemoryStore):
        return [f"{node.store_path} {node.metadata!r}"]
    return [f"{node.path} {node.metadata!r}", *([np.asarray(node[...])] if isinstance(node, zarr.Array) else [])]


def _of_dask(value: Any, what: str) -> str:
    try:
        with dask.config.set({"tokenize.ensure-deterministic": True}):
            return tokenize(value.__dask_tokenize__() if hasattr(type(value), "__dask_tokenize__") else value)
    except RuntimeError as error:
        kind = type(value).__name__
        article = "an" if kind[0] in "AEIOUaeiou" else "a"
        raise TypeError(
            f"{what} is {article} {kind}, of which cannot be told whether it is the same the next time; pass a "
            "number, a path or an array from which the step makes it, give its class a method __dask_tokenize__, or "
            "declare a version for the function that uses it: @xlabelstats.pipeline.step(version=1)"
        ) from error


def _by_name(variables: Mapping[Any, Any]) -> dict[str, Any]:
    return {repr(name): getattr(each, "variable", each) for name, each in variables.items()}


def arrays_of(value: Any) -> list[Any]:
    """The lazy arrays that an input holds."""
    if isinstance(value, xr.Dataset):
        return [each.data for each in value.variables.values() if is_dask_collection(each)]
    if isinstance(value, xr.DataArray):
        return [each.data for each in (value.variable, *(c.variable for c in value.coords.values())) if each.chunks]
    return [value] if is_dask_collection(value) else []


def files_of(value: Any) -> dict[str, int]:
    """The metadata files of the local Zarr arrays and groups that a value is read from, and when they were written."""
    if isinstance(value, zarr.Array | zarr.Group):
        folders = [folder for folder in map(_local_folder, _nodes(value)) if folder]
        paths = [f"{folder}/{name}" for folder in folders for name in ("zarr.json", ".zarray", ".zgroup")]
        return {path: written(path) for path in paths if os.path.exists(path)}
    arrays = [each for array in arrays_of(value) for each in stored_arrays(array, zarr.Array)]
    return {path: when for name, each in arrays if not STORED.fullmatch(name) for path, when in files_of(each).items()}


def _nodes(stored: zarr.Array | zarr.Group) -> list[Any]:
    """An array, or a group and all that is in it."""
    members = stored.members(max_depth=None) if isinstance(stored, zarr.Group) else ()
    return [stored, *(node for _, node in sorted(members, key=itemgetter(0)))]


def _local_folder(stored: zarr.Array | zarr.Group) -> str | None:
    """The folder of a Zarr array or group if it is on a local disk."""
    store: Any = stored.store_path.store
    fs = getattr(store, "fs", None)
    local = isinstance(getattr(fs, "sync_fs", fs), LocalFileSystem)
    root = os.path.abspath(store.root) if isinstance(store, LocalStore) else store.path if local else None
    return None if root is None else os.path.join(root, stored.store_path.path).rstrip("/")


def written(path: str) -> int:
    """When a file was written last, 0 if it is gone."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def shown(value: Any) -> str:
    """A value in few words."""
    if isinstance(value, FunctionType | MethodType):
        return value.__qualname__
    short = reprlib.Repr()
    short.maxstring = short.maxother = SHOWN
    return short.repr(value)


def digest(*parts: str) -> str:
    """The hexadecimal digits of a key."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:DIGITS]
