"""Results as tables: one row per label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xlabelstats.align import LABEL, is_dask
from xlabelstats.options import compute

if TYPE_CHECKING:
    import pandas as pd


def to_dataframe(result: xr.Dataset, instance_key: str = LABEL) -> pd.DataFrame:
    """A wide table of a result; see `LabelsAccessor.to_dataframe`."""
    import pandas as pd

    without = [name for name, variable in result.items() if LABEL not in variable.dims]
    if LABEL not in result.dims or without:
        what = f"variable {without[0]!r} has" if without else "this has"
        raise ValueError(f"{what} no dim {LABEL!r}, so there are no rows; a result of .labels.aggregate has one")
    if any(is_dask(variable.data) for variable in result.values()):
        result = compute(result)
    columns: dict[str, Any] = {}
    for name, variable in result.items():
        variable = variable.transpose(LABEL, ...)
        keys = [_elements(variable, str(dim)) for dim in variable.dims[1:]]
        values = variable.to_numpy()
        for index in np.ndindex(*variable.shape[1:]):
            column = "_".join([str(name), *(key[i] for key, i in zip(keys, index, strict=True))])
            if column in columns:
                raise ValueError(
                    f"two columns would be named {column!r}; rename a variable or make the coordinates unique"
                )
            columns[column] = values[(slice(None), *index)]
    ids = result[LABEL].to_numpy() if LABEL in result.coords else np.arange(result.sizes[LABEL])
    return pd.DataFrame(columns, index=pd.Index(ids, name=instance_key))


def _elements(variable: xr.DataArray, dim: str) -> list[str]:
    """The names of a dim's elements: its coordinate, or their numbers where it has none."""
    return [
        str(value) for value in (variable[dim].to_numpy() if dim in variable.coords else range(variable.sizes[dim]))
    ]
