"""pandas tables as Parquet."""

from __future__ import annotations

import io
import json
from typing import Any

import pandas as pd

from xlabelstats.extras import need
from xlabelstats.pipeline.cache.folders import Folder

FILE = "table.parquet"


def write_table(table: pd.DataFrame, folder: Folder) -> None:
    """Write a table; its attrs go with it as far as JSON can say them, for those who read the file elsewhere."""
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
    folder.write(FILE, content.getvalue())


def read_table(folder: Folder, attrs: dict[Any, Any]) -> pd.DataFrame:
    """Read a table."""
    need("pyarrow", "pipeline", "reading stored tables")
    table = pd.read_parquet(io.BytesIO(folder.read(FILE)), engine="pyarrow")
    table.attrs = attrs
    return table
