"""pandas tables as Parquet."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pandas.api.types import is_object_dtype

from xlabelstats.extras import need
from xlabelstats.pipeline.cache.folders import write_durably

if TYPE_CHECKING:
    from upath import UPath

FILE = "table.parquet"

# What a cell may not hold: of such values a table has no content to be known by.
NESTED = (list, tuple, dict, set, np.ndarray)


def storable(table: pd.DataFrame, step: str) -> pd.DataFrame:
    """A table in the byte order of the machine, or a complaint about a column of lists."""
    native = {}
    for place, (name, dtype) in enumerate(table.dtypes.items()):
        if is_object_dtype(dtype):
            held = next((each for each in table.iloc[:, place] if isinstance(each, NESTED)), None)
            if held is not None:
                raise TypeError(
                    f"the column {name!r} of the table that the step {step} returned holds values of type "
                    f"{type(held).__name__}; give each of their parts a row, with .explode({name!r}), or a column"
                )
        elif isinstance(dtype, np.dtype) and not dtype.isnative:
            native[name] = dtype.newbyteorder("=")
    return table.astype(native) if native else table


def write_table(table: pd.DataFrame, folder: UPath) -> dict[str, Any]:
    """Write a table; what is given back, beside what Parquet holds, is needed to read it.

    Its attrs go with it as far as JSON can say them, for those who read the file elsewhere.
    """
    need("pyarrow", "pipeline", "storing tables")
    table = table.copy(deep=False)
    try:
        json.dumps(table.attrs)
    except (TypeError, ValueError):
        table.attrs = {}
    content = io.BytesIO()
    try:
        table.to_parquet(content, engine="pyarrow")
    except Exception as error:
        raise TypeError(f"the table cannot be stored as Parquet: {error}") from error
    write_durably(folder / FILE, content.getvalue())
    return {"dtypes": [_numpy_name(dtype) for dtype in table.dtypes], "index": _numpy_name(table.index.dtype)}


def _numpy_name(dtype: Any) -> str | None:
    """The name of a dtype that Parquet may change: one of numpy, or of times with a zone."""
    return str(dtype) if isinstance(dtype, np.dtype | pd.DatetimeTZDtype) else None


def read_table(folder: UPath, about: Mapping[str, Any], attrs: dict[Any, Any]) -> pd.DataFrame:
    """Read a table with the dtypes that it had."""
    need("pyarrow", "pipeline", "reading stored tables")
    table = pd.read_parquet(io.BytesIO((folder / FILE).read_bytes()), engine="pyarrow")
    now = [_numpy_name(dtype) for dtype in table.dtypes]
    others = zip(table.columns, now, about["dtypes"], strict=True)
    table = table.astype({name: dtype for name, found, dtype in others if dtype not in (None, found)})
    if about["index"] not in (None, _numpy_name(table.index.dtype)):
        table.index = table.index.astype(about["index"])
    table.attrs = attrs
    return table
