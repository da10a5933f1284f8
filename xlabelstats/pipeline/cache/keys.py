"""What a key covers: the step, its parameters, and its inputs."""

from __future__ import annotations

import hashlib
import os
import reprlib
from collections.abc import Mapping, Set
from dataclasses import dataclass
from enum import Enum
from functools import partial
from operator import itemgetter
from types import FunctionType, MethodType
from typing import Any

import dask
import numpy as np
import pandas as pd
import xarray as xr
import zarr
from dask.base import is_dask_collection, normalize_token, tokenize
from fsspec.implementations.local import LocalFileSystem
from zarr.storage import LocalStore

from xlabelstats.engine.dask_internals import stored_arrays
from xlabelstats.names import check_known
from xlabelstats.pipeline.cache.arrays import STORED, Source, sources_of
from xlabelstats.pipeline.cache.identity import Step, code_of, declared, identity_of, is_code, name_of

DIGITS = 16
SHOWN = 80
SCALARS = (type(None), bool, int, float, complex, str, bytes)


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
        if step.parameters is not None:
            check_known(kwargs, step.parameters, "argument")
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
    return is_dask_collection(value) or (isinstance(value, np.ndarray) and value.ndim > 0)


class Tokens:
    """Tokens of values that are the same in every process.

    Those of dask are, but for mappings and sets, whose order it takes from hashes of text, and what holds them.
    """

    def __init__(self, ignored: type) -> None:
        self._ignored = ignored
        self._open: list[int] = []
        self._codes: dict[tuple[type, int | str | None], str] = {}

    def __call__(self, value: Any, what: str) -> str:
        """The token of a value; ``what`` names it in complaints."""
        if isinstance(value, self._ignored):
            value = None
        if id(value) in self._open:
            return f"within itself, {self._open.index(id(value))}"
        self._open.append(id(value))
        try:
            return digest(type(value).__name__, *self._parts(value, what))
        finally:
            self._open.pop()

    def _parts(self, value: Any, what: str) -> list[str]:
        if type(value) in SCALARS:
            return [repr(value)]
        if isinstance(value, xr.DataArray):
            return [repr(value.name), self({"": value.variable, **_by_name(value.coords)}, what)]
        if isinstance(value, xr.Dataset):
            return [self(_by_name(value.variables), what), self(value.attrs, what), *sorted(map(repr, value.coords))]
        if isinstance(value, xr.Variable):
            return [repr(value.dims), self(value.attrs, f"the attrs of {what}"), self(_data(value), what)]
        if isinstance(value, pd.DataFrame | pd.Series | pd.Index):
            return [*self._table_parts(value, what), self(getattr(value, "attrs", {}), f"the attrs of {what}")]
        if isinstance(value, Mapping):
            return sorted(f"{self(key, what)}:{self(each, what)}" for key, each in value.items())
        if isinstance(value, Set):
            return sorted(self(each, what) for each in value)
        if isinstance(value, list | tuple):
            return [self(each, what) for each in value]
        if isinstance(value, zarr.Array | zarr.Group):
            return [*(f"{node.store_path} {node.metadata!r}" for node in _nodes(value)), repr(files_of(value))]
        if isinstance(value, np.ma.MaskedArray):
            return [self(value.data, what), self(np.ma.getmaskarray(value), what), repr(value.fill_value)]
        if isinstance(value, np.ndarray) and value.dtype.hasobject:
            return [repr(value.dtype), repr(value.shape), *(self(each, what) for each in value.ravel().tolist())]
        if type(value) in (np.ndarray, np.memmap):
            return [repr(value.dtype), repr(value.shape), _hash(value)]
        if hasattr(value, "__dask_tokenize__"):
            files = [repr(sorted(files_of(value).items()))] if is_dask_collection(value) else []
            return [_of_dask(value, what), *files]
        if isinstance(value, Enum):
            return [name_of(type(value)), repr(value.name), self(value.value, what)]
        if isinstance(value, FunctionType | MethodType | partial) or (is_code(value) and hasattr(value, "__wrapped__")):
            return [identity_of(value, self)]
        if normalize_token.dispatch(type(value)) is normalize_token.dispatch(object) and not is_code(value):
            return self._object_parts(value, what)
        return [_of_dask(value, what)]

    def _table_parts(self, table: Any, what: str) -> list[str]:
        if isinstance(table, pd.DataFrame):
            columns = [self._column(column, f"the column {name!r} of {what}") for name, column in table.items()]
            return [*map(repr, table.columns), repr(list(table.columns.names)), *columns, self(table.index, what)]
        if isinstance(table, pd.MultiIndex):
            levels = [table.get_level_values(i) for i in range(table.nlevels)]
            return [repr(list(table.names)), *(self._column(level, what) for level in levels)]
        own = [repr(table.name), self._column(table, what)]
        return own if isinstance(table, pd.Index) else [*own, self(table.index, what)]

    def _column(self, column: Any, what: str) -> str:
        """The token of the values; pandas' own hashes take 1 for "1", and None for NaN."""
        if isinstance(column.dtype, pd.CategoricalDtype):
            kinds = pd.Categorical(column)
            return digest(repr(kinds.ordered), self(kinds.categories, what), _hash(kinds.codes))
        if column.dtype == object and pd.api.types.infer_dtype(column, skipna=False) != "string":
            return self(list(column), what)
        return digest(str(column.dtype), _hash(pd.util.hash_pandas_object(column, index=False).to_numpy()))

    def _object_parts(self, value: Any, what: str) -> list[str]:
        state = _state(value)
        code = [self._code(value)] if callable(value) or state is not None else []
        if state is None:
            return [*code, _of_dask(value, what)]
        return [*code, self(state, f"something in {what.removeprefix('something in ')}")]

    def _code(self, value: Any) -> str:
        known = (type(value), declared(value))
        if known not in self._codes:
            self._codes[known] = digest(name_of(type(value)), code_of(value))
        return self._codes[known]


def _state(value: Any) -> list[Any] | None:
    """What pickle keeps of a plain object; None of one that is made anew by other means."""
    kind = type(value)
    if kind is object or kind.__reduce__ is not object.__reduce__ or kind.__reduce_ex__ is not object.__reduce_ex__:
        return None
    try:
        _, arguments, state, items, pairs = value.__reduce_ex__(4)
    except Exception:
        # Whatever a class raises that is not to be pickled: dask says so too.
        return None
    return [*arguments[1:], state, list(items or ()), list(pairs or ())]


def _hash(array: np.ndarray[Any, Any]) -> str:
    """Of the values in their order, however they lie in memory."""
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view("u1").data).hexdigest()


def _of_dask(value: Any, what: str) -> str:
    try:
        with dask.config.set({"tokenize.ensure-deterministic": True}):
            return tokenize(value)
    except RuntimeError as error:
        kind = type(value).__name__
        article = "an" if kind[0] in "AEIOUaeiou" else "a"
        raise TypeError(
            f"{what} is {article} {kind}, of which cannot be told whether it is the same the next time; pass a "
            "number, a path or an array from which the step makes it, or give its class a method __dask_tokenize__"
        ) from error


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
    """The metadata files of the local Zarr arrays and groups that a value is read from, and when they were written."""
    if isinstance(value, zarr.Array | zarr.Group):
        folders = [folder for folder in map(_local_folder, _nodes(value)) if folder]
        paths = [f"{folder}/{name}" for folder in folders for name in ("zarr.json", ".zarray", ".zgroup")]
        return {path: written(path) for path in paths if os.path.exists(path)}
    found: dict[str, int] = {}
    for array in arrays_of(value):
        for name, stored in stored_arrays(array, zarr.Array):
            if not STORED.fullmatch(name):
                found |= files_of(stored)
    return found


def _nodes(stored: zarr.Array | zarr.Group) -> list[Any]:
    """An array, or a group and all that is in it."""
    members = stored.members(max_depth=None) if isinstance(stored, zarr.Group) else ()
    return [stored, *(node for _, node in sorted(members, key=itemgetter(0)))]


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
