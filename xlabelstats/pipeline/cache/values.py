"""Numbers, text and containers of them as JSON, and tables as Parquet, from which they come back with their types."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from xlabelstats.extras import need
from xlabelstats.pipeline.cache.folders import write_durably

if TYPE_CHECKING:
    from upath import UPath

# The key of a mapping that stands for what JSON has no word for, and the first letter of text that stands for no text.
KIND, NO_TEXT = "__kind__", "\0"

# Types that JSON has no word for, how they become text, and what makes them of it.
IN_WORDS: dict[str, tuple[Any, Any, Any]] = {
    "complex": (complex, str, complex),
    "bytes": (bytes, bytes.hex, bytes.fromhex),
    "decimal": (Decimal, str, Decimal),
    **{each.__name__: (each, each.isoformat, each.fromisoformat) for each in (date, time, datetime)},
}

FILE = "table.parquet"

# What a cell may not hold: of such values a table has no content to be known by.
NESTED = (list, tuple, dict, set, np.ndarray)


def encode(value: Any, what: str) -> Any:
    """A value as JSON can hold it; ``what`` names it in the complaint about one that is no such value."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) in (list, tuple):
        parts = [encode(each, what) for each in value]
        return parts if type(value) is list else {KIND: "tuple", "content": parts}
    if isinstance(value, Mapping):
        if all(type(key) is str for key in value) and KIND not in value:
            return {key: encode(each, what) for key, each in value.items()}
        return {KIND: "mapping", "content": [[encode(key, what), encode(value[key], what)] for key in value]}
    if (isinstance(value, np.generic) or type(value) is np.ndarray) and not value.dtype.hasobject:
        file = io.BytesIO()
        np.save(file, value, allow_pickle=False)
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        return {KIND: kind, "content": base64.b64encode(file.getvalue()).decode()}
    for kind, (each, to_text, _) in IN_WORDS.items():
        if type(value) is each:
            return {KIND: kind, "content": to_text(value)}
    hint = "fill it with .filled(value); " if isinstance(value, np.ma.MaskedArray) else ""
    of = f" of {value.dtype}" if isinstance(value, np.ndarray) else ""
    raise TypeError(
        f"{what} holds a value of type {type(value).__name__}{of}, which cannot be stored; {hint}numbers, text, dates, "
        "arrays, and lists, tuples and dicts of them can"
    )


def decode(value: Any) -> Any:
    """The value that `encode` made JSON of."""
    if isinstance(value, list):
        return [decode(each) for each in value]
    if not isinstance(value, dict):
        return value
    if KIND not in value:
        return {key: decode(each) for key, each in value.items()}
    kind, content = value[KIND], value["content"]
    if kind in IN_WORDS:
        return IN_WORDS[kind][2](content)
    if kind in ("tuple", "mapping"):
        return tuple(decode(content)) if kind == "tuple" else dict(map(decode, content))
    array = np.load(io.BytesIO(base64.b64decode(content)))
    return array if kind == "array" else array[()]


def as_text(value: Any, what: str) -> str:
    """A value of an array or a column of objects as text; text is itself."""
    return value if type(value) is str and value[:1] != NO_TEXT else NO_TEXT + json.dumps(encode(value, what))


def from_text(text: str) -> Any:
    """The value that `as_text` made text of."""
    return decode(json.loads(text[1:])) if text[:1] == NO_TEXT else text


def storable(table: pd.DataFrame, step: str) -> pd.DataFrame:
    """A table in the byte order of the machine, or a complaint about its columns."""
    try:
        kept = _columns(_of_columns(table.columns))
    except (TypeError, ValueError):
        kept = None
    if kept is None or not kept.equals(table.columns) or kept.dtype != table.columns.dtype:
        raise TypeError(
            f"the names of the columns of the table that the step {step} returned cannot be stored, since they are of "
            f"{table.columns.dtype}: {list(table.columns[:3])}; make them text with .rename(columns=str)"
        )
    table = table.copy(deep=False)
    for place, (name, dtype) in enumerate(table.dtypes.items()):
        if dtype.kind == "O" and isinstance(dtype, np.dtype):
            held = next((each for each in table.iloc[:, place] if isinstance(each, NESTED)), None)
            if held is not None:
                raise TypeError(
                    f"the column {name!r} of the table that the step {step} returned holds values of type "
                    f"{type(held).__name__}; give each of their parts a row, with .explode({name!r}), or a column"
                )
        elif isinstance(dtype, np.dtype) and not dtype.isnative:
            table.isetitem(place, table.iloc[:, place].to_numpy().astype(dtype.newbyteorder("=")))
    return table


def _of_columns(columns: pd.Index) -> dict[str, Any]:
    names = [encode(each, "a name") for each in columns.tolist()]
    return {"values": names, "names": encode(list(columns.names), "a name"), "dtype": str(columns.dtype)}


def _columns(about: Mapping[str, Any]) -> pd.Index:
    names, values = decode(about["names"]), decode(about["values"])
    if len(names) > 1:
        return pd.MultiIndex.from_tuples(values, names=names)
    return pd.Index(values, dtype=about["dtype"], name=names[0], tupleize_cols=False)


def write_table(table: pd.DataFrame, folder: UPath) -> dict[str, Any]:
    """Write a table; what is given back, beside what Parquet holds, is needed to read it.

    Values of columns of objects that are no text are written as JSON.
    """
    need("pyarrow", "pipeline", "storing tables")
    index = table.index
    ranged = [index.start, index.stop, index.step] if isinstance(index, pd.RangeIndex) else None
    levels = [] if ranged else [index.get_level_values(level) for level in range(index.nlevels)]
    parts: list[Any] = [*levels, *(table.iloc[:, place] for place in range(table.shape[1]))]
    keys = [str(part.name) for part in parts]
    keys = keys if len(set(keys)) == len(keys) else [f"{i} {key}" for i, key in enumerate(keys)]
    about = {
        "attrs": encode(table.attrs, "the attrs of the result"),
        "columns": _of_columns(table.columns),
        "index": encode(list(index.names), "the name of the index of the result"),
        "range": ranged,
        "dtypes": [_of_dtype(part.dtype) for part in parts],
    }
    plain = pd.DataFrame(dict(zip(keys, map(_plain, parts), strict=True)))
    # For those who read the file elsewhere.
    plain.attrs = about["attrs"]
    if 0 < len(levels) < len(parts):
        plain = plain.set_index(keys[: len(levels)])
        plain.index.names = [None if level.name is None else key for level, key in zip(levels, keys, strict=False)]
    try:
        content = _parquet_of(plain)
        kept = _parts(_parquet_of(plain.iloc[:2]), about["dtypes"])
        same = [k.equals(pd.Series(part.array[:2], dtype=part.dtype)) for k, part in zip(kept, parts, strict=True)]
        lost = [part for part, each in zip(parts, same, strict=True) if not each]
        problems = [f"the column {part.name!r}, of {part.dtype}" for part in lost]
    except Exception as error:
        # Of kinds of its own.
        problems = [f"the table, of {', '.join(sorted(set(map(str, plain.dtypes))))}: {error}"]
    if problems:
        raise TypeError(
            f"Parquet cannot keep all of the result: {problems[0]}; make its columns numbers or text with .astype()"
        )
    write_durably(folder / FILE, content)
    return about


def _of_dtype(dtype: Any) -> Any:
    """A dtype in words; of categories they are said too, since Parquet forgets those of no rows."""
    if isinstance(dtype, pd.CategoricalDtype):
        with suppress(TypeError):
            return {"categories": _of_columns(dtype.categories), "ordered": dtype.ordered}
    return str(dtype)


def _plain(part: Any) -> Any:
    """A column, or a level of the index, as Parquet can hold it."""
    if part.dtype == object:
        return [as_text(each, f"the column {part.name!r} of the result") for each in part]
    return np.asarray(part) if isinstance(part.dtype, pd.SparseDtype) else part.array


def _parquet_of(table: pd.DataFrame) -> bytes:
    content = io.BytesIO()
    table.to_parquet(content, engine="pyarrow")
    return content.getvalue()


def _parts(content: bytes, dtypes: list[Any]) -> list[pd.Series]:
    """The index and the columns of a table, with the dtypes that they had."""
    table = pd.read_parquet(io.BytesIO(content), engine="pyarrow")
    ranged = len(dtypes) == table.shape[1]
    columns = [each for _, each in table.reset_index(drop=ranged).items()]
    for place, dtype in enumerate(dtypes):
        if dtype == "object":
            columns[place] = pd.Series([from_text(each) for each in columns[place]], dtype=object)
        elif isinstance(dtype, dict):
            kinds = pd.CategoricalDtype(_columns(dtype["categories"]), dtype["ordered"])
            columns[place] = columns[place].astype(kinds)
        elif str(columns[place].dtype) != dtype:
            columns[place] = columns[place].astype(dtype)
    return columns


def read_table(folder: UPath, about: Mapping[str, Any]) -> pd.DataFrame:
    """Read a table as it was."""
    need("pyarrow", "pipeline", "reading stored tables")
    parts = _parts((folder / FILE).read_bytes(), about["dtypes"])
    names = decode(about["index"])
    index: pd.Index
    if about["range"] is not None:
        index = pd.RangeIndex(*about["range"]).rename(names[0])
    else:
        levels, parts = parts[: len(names)], parts[len(names) :]
        index = pd.Index(levels[0].array, dtype=levels[0].dtype, name=names[0])
        index = pd.MultiIndex.from_arrays(levels, names=names) if len(names) > 1 else index
    table = pd.DataFrame({place: part.array for place, part in enumerate(parts)}, index=index)
    table.columns, table.attrs = _columns(about["columns"]), decode(about["attrs"])
    return table
