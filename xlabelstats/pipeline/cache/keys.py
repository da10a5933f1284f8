"""What a key covers: the step, its parameters, and its inputs."""

from __future__ import annotations

import hashlib
import os
import reprlib
from collections.abc import Mapping, Set
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import Any

import dask
import numpy as np
import pandas as pd
import xarray as xr
import zarr
from dask.base import is_dask_collection, tokenize
from fsspec.implementations.local import LocalFileSystem
from zarr.storage import LocalStore

from xlabelstats.pipeline.cache.arrays import STORED, Source, sources_of
from xlabelstats.pipeline.cache.identity import Step, identity_of, step_of

DIGITS = 16
SHOWN = 80


@dataclass(frozen=True)
class Input:
    """An array or table that a step was given.

    Attributes
    ----------
    argument : str
    token : str
    sources : list of Source
        The entries of the cache that it was made from.
    files : mapping of str to int
        The metadata files of local Zarr arrays that it is read from, and when they were written.
    """

    argument: str
    token: str
    sources: list[Source]
    files: Mapping[str, int]


@dataclass(frozen=True)
class Call:
    """A step with its arguments.

    Attributes
    ----------
    step : Step
    parameters : mapping of str to str
        Those arguments that are no inputs, in readable form.
    inputs : list of Input
    settings : str
        A token of the step and its parameters.
    key : str
        A token of it all.
    """

    step: Step
    parameters: Mapping[str, str]
    inputs: list[Input]
    settings: str
    key: str


def call_of(
    function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], ignored: type, tables: Mapping[str, Source]
) -> Call:
    """Bind the arguments of a step, and find its key.

    Arguments of the type ``ignored`` count as None; ``tables`` tells the entries whose tables have which tokens.
    """
    token_of = Tokens(ignored)
    step = step_of(function, token_of)
    arguments = bind(step, (*step.args, *args), {**step.kwargs, **kwargs})
    parameters, inputs, tokens = {}, [], {}
    for name, value in arguments.items():
        tokens[name] = token_of(value, f"the argument {name!r}")
        if is_input(value):
            own = tables.get(tokens[name])
            found = Input(name, tokens[name], [own] if own else all_sources(value), files_of(value))
            inputs.append(found)
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
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{step.name} cannot be called so: {error}") from None
    bound.apply_defaults()
    arguments: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind is kind.VAR_POSITIONAL:
            arguments |= {f"{name}[{i}]": each for i, each in enumerate(value)}
        elif kind is kind.VAR_KEYWORD:
            arguments |= dict(sorted(value.items()))
        else:
            arguments[name] = value
    return arguments


def is_input(value: Any) -> bool:
    """Whether an argument is data, and not a parameter."""
    if isinstance(value, xr.DataArray | xr.Dataset | pd.DataFrame | pd.Series | zarr.Array | zarr.Group):
        return True
    return is_dask_collection(value) or (isinstance(value, np.ndarray) and value.ndim > 0)


class Tokens:
    """Tokens of values that are the same in every process.

    Those of dask are, but for mappings, whose order it takes from hashes of text, and so for the attrs of arrays.
    """

    def __init__(self, ignored: type) -> None:
        self._ignored = ignored

    def __call__(self, value: Any, what: str) -> str:
        """The token of a value; ``what`` names it in complaints."""
        if isinstance(value, self._ignored):
            value = None
        return digest(type(value).__name__, *self._parts(value, what))

    def _parts(self, value: Any, what: str) -> list[str]:
        if isinstance(value, xr.DataArray):
            return [repr(value.name), self({"": value.variable, **_by_name(value.coords)}, what)]
        if isinstance(value, xr.Dataset):
            return [self(_by_name(value.variables), what), self(value.attrs, what), *sorted(map(repr, value.coords))]
        if isinstance(value, xr.Variable):
            return [repr(value.dims), self(value.attrs, f"the attrs of {what}"), self(_data(value), what)]
        if isinstance(value, pd.DataFrame | pd.Series | pd.Index):
            return _table_parts(value, self(getattr(value, "attrs", {}), f"the attrs of {what}"))
        if isinstance(value, Mapping):
            return sorted(f"{self(key, what)}:{self(each, what)}" for key, each in value.items())
        if isinstance(value, Set):
            return sorted(self(each, what) for each in value)
        if type(value) in (list, tuple):
            return [self(each, what) for each in value]
        if isinstance(value, zarr.Array | zarr.Group):
            return [str(value.store_path), repr(value.metadata), repr(files_of(value))]
        if isinstance(value, np.ndarray) and value.dtype.hasobject:
            return [repr(value.shape), *(self(each, what) for each in value.ravel().tolist())]
        if isinstance(value, FunctionType | MethodType) and not hasattr(value, "__dask_tokenize__"):
            return [identity_of(value, self)]
        if is_dask_collection(value):
            return [_of_dask(value, what), repr(sorted(files_of(value).items()))]
        return [_of_dask(value, what)]


def _of_dask(value: Any, what: str) -> str:
    try:
        with dask.config.set({"tokenize.ensure-deterministic": True}):
            return tokenize(value)
    except RuntimeError as error:
        raise TypeError(
            f"{what} is a {type(value).__name__}, of which cannot be told whether it is the same the next time; pass a "
            "number, a path or an array from which the step makes it, or give its class a method __dask_tokenize__"
        ) from error


def _table_parts(table: Any, attrs: str) -> list[str]:
    hashed = pd.util.hash_pandas_object(table, index=not isinstance(table, pd.Index)).to_numpy()
    columns = table.dtypes.items() if isinstance(table, pd.DataFrame) else [(table.name, table.dtype)]
    names = [f"{name!r}:{dtype}" for name, dtype in columns]
    index = [] if isinstance(table, pd.Index) else [repr(list(table.index.names)), str(table.index.dtype)]
    return [hashlib.sha256(hashed.tobytes()).hexdigest(), *names, *index, attrs]


def _by_name(variables: Mapping[Any, Any]) -> dict[str, Any]:
    return {repr(name): getattr(each, "variable", each) for name, each in variables.items()}


def _data(variable: xr.Variable) -> Any:
    return variable.data if is_dask_collection(variable) else np.asarray(variable.data)


def arrays_of(value: Any) -> list[Any]:
    """The lazy arrays that an input holds."""
    if isinstance(value, xr.Dataset):
        return [each.data for each in value.variables.values() if is_dask_collection(each)]
    if isinstance(value, xr.DataArray):
        return [each.data for each in (value.variable, *(c.variable for c in value.coords.values())) if each.chunks]
    return [value] if is_dask_collection(value) else []


def all_sources(value: Any) -> list[Source]:
    """The entries of a cache that an input is read from."""
    return list(dict.fromkeys(source for array in arrays_of(value) for source in sources_of(array)))


def files_of(value: Any) -> dict[str, int]:
    """The metadata files of the local Zarr arrays that a value is read from, and when they were written."""
    if isinstance(value, zarr.Array | zarr.Group):
        folder = _local_folder(value)
        names = ("zarr.json", ".zarray", ".zgroup") if folder else ()
        return {f"{folder}/{name}": written(f"{folder}/{name}") for name in names if os.path.exists(f"{folder}/{name}")}
    found: dict[str, int] = {}
    for array in arrays_of(value):
        for name, layer in array.__dask_graph__().layers.items():
            if not str(name).startswith("original-") or STORED.fullmatch(str(name)):
                continue
            for held in layer.values():
                held = getattr(held, "value", held)
                if isinstance(held, zarr.Array):
                    found |= files_of(held)
    return found


def _local_folder(stored: zarr.Array | zarr.Group) -> str | None:
    """The folder of a Zarr array or group if it is on a local disk."""
    store: Any = stored.store_path.store
    fs = getattr(store, "fs", None)
    if isinstance(store, LocalStore):
        root = os.path.abspath(store.root)
    elif isinstance(getattr(fs, "sync_fs", fs), LocalFileSystem):
        root = store.path
    else:
        return None
    return os.path.join(root, stored.store_path.path).rstrip("/")


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
