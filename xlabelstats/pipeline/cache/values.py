"""Names, attributes and plain results as JSON, and tables as Parquet, which come back as they were or are refused."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd


def _to_npy(array: Any) -> str:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return base64.b64encode(file.getvalue()).decode()


def _to_iso(time: datetime) -> str:
    text = time.isoformat()
    if repr(datetime.fromisoformat(text)) != repr(time):
        raise ValueError("a named time zone, or a time that occurs twice")
    return text


def _from_npy(text: str) -> np.ndarray:
    return np.load(io.BytesIO(base64.b64decode(text)))


# Types that JSON has no word for: what is written for them, under their name, and what makes them of it.
KINDS: dict[type, tuple[Any, Any]] = {
    tuple: (list, tuple),
    dict: (lambda value: list(map(list, value.items())), dict),
    complex: (str, complex),
    bytes: (bytes.hex, bytes.fromhex),
    date: (date.isoformat, date.fromisoformat),
    datetime: (_to_iso, datetime.fromisoformat),
    np.ndarray: (_to_npy, _from_npy),
    np.generic: (_to_npy, lambda text: _from_npy(text)[()]),
}


def encode(value: Any, what: str) -> Any:
    """A value as JSON can hold it; ``what`` names it in the complaint about one that is no such value."""
    if type(value) is list:
        return [encode(each, what) for each in value]
    kind = np.generic if isinstance(value, np.generic) else type(value)
    # Raised for arrays of objects, halves of characters, and numbers of thousands of digits.
    with suppress(ValueError):
        if value is None or kind in (bool, int, float, str):
            str(value).encode()
            return value
        if kind in KINDS:
            return {kind.__name__: encode(KINDS[kind][0](value), what)}
    raise TypeError(
        f"{what} holds a value of type {type(value).__name__}, which cannot be stored; numbers (to 4300 digits), "
        "Unicode text, dates (no named zones), arrays (masked: .filled(value)), and lists, tuples, dicts of them can"
    )


def decode(value: Any) -> Any:
    """The value that `encode` made JSON of."""
    if isinstance(value, list):
        return [decode(each) for each in value]
    if not isinstance(value, dict):
        return value
    ((name, content),) = value.items()
    return next(back for kind, (_, back) in KINDS.items() if kind.__name__ == name)(decode(content))


def to_parquet(table: pd.DataFrame) -> tuple[bytes, dict[str, Any]]:
    """A table as Parquet if it comes back equal, and what is needed to read it beside that."""
    try:
        # Of columns Parquet forgets categories that have no rows, and some units of time.
        dtypes = {
            name: (dtype.categories.tolist(), dtype.ordered) if isinstance(dtype, pd.CategoricalDtype) else str(dtype)
            for name, dtype in table.dtypes.items()
        }
        about = {"attrs": encode(table.attrs, "the attrs"), "dtypes": encode(dtypes, "a dtype of the columns")}
        # Pandas itself takes fewer kinds of attrs.
        bare = table.copy(deep=False)
        bare.attrs = {}
        content = bare.to_parquet(engine="pyarrow")
        pd.testing.assert_frame_equal(from_parquet(content, about), table, check_exact=True)
    # Pyarrow's errors are of these kinds too.
    except (AssertionError, TypeError, ValueError, NotImplementedError) as error:
        hint = "make columns and index numbers or text with .astype(), names of columns text with .rename(columns=str)"
        raise TypeError(f"Parquet cannot keep all of the result: {error}; {hint}") from error
    return content, about


def from_parquet(content: bytes, about: Mapping[str, Any]) -> pd.DataFrame:
    """The table that `to_parquet` was given."""
    table = pd.read_parquet(io.BytesIO(content), engine="pyarrow")
    for name, dtype in decode(about["dtypes"]).items():
        if name in table:
            table[name] = table[name].astype(dtype if isinstance(dtype, str) else pd.CategoricalDtype(*dtype))
    table.attrs = decode(about["attrs"])
    return table
