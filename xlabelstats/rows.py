"""The rows of results: a label each, or with ``per=`` a label at a position."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from xlabelstats.names import LABEL, OBJECT

# The attribute of labels that names the dims along which they were measured apart.
PER = "per"

# Coordinates, a number each, by which statistics are merged later: what variances are divided by, and whether NaN
# pixels may have been left out.
DDOF = "ddof"
SKIPNA = "skipna"

if TYPE_CHECKING:
    import pandas as pd


def alone(result: xr.Dataset, name: str) -> xr.DataArray:
    """A statistic that is not merged by itself, without what a result says for those that are merged with it."""
    return result[name].drop_vars([one for one in (DDOF, SKIPNA) if one in result.coords])


def rows_of(result: xr.Dataset | xr.DataArray) -> str:
    """The dim of the rows of a result."""
    return OBJECT if OBJECT in result.dims else LABEL


def positions_of(result: xr.Dataset | xr.DataArray) -> dict[Hashable, np.ndarray]:
    """Where the objects of the rows are, by the names of dims; nothing if a row is a label.

    The coordinate of the labels says which dims these are; without that, all coordinates along the rows are taken.
    """
    if rows_of(result) == LABEL or LABEL not in result.coords:
        return {}
    along = [name for name, coord in result.coords.items() if coord.dims == (OBJECT,) and name not in (LABEL, OBJECT)]
    # As text, since not every file has attributes that are lists.
    said = result[LABEL].attrs.get(PER)
    named = [name for name in along if str(name) in str(said).split(", ")]
    return {name: result[name].to_numpy() for name in named or along}


def how_to_one_position(result: xr.Dataset | xr.DataArray) -> str:
    """How to get a row per label of a result that has one per label and position."""
    dim, places = next(iter(positions_of(result).items()), ("t", np.array([0])))
    place = next(iter(places.tolist() if places.dtype.kind in "iufU" else places), 0)
    return f"result.isel({OBJECT}=(result[{dim!r}] == {place!r}).values).swap_dims({OBJECT}={LABEL!r})"


def ids_of(result: xr.Dataset | xr.DataArray) -> np.ndarray:
    """The labels of the rows, their numbers where there are none."""
    if LABEL not in result.coords:
        return np.arange(result.sizes[rows_of(result)])
    ids = result[LABEL].to_numpy()
    # pandas looks nothing up in numbers of another byte order than the machine's.
    return np.asarray(ids, ids.dtype.newbyteorder("="))


def names_of_rows(result: xr.Dataset | xr.DataArray, label: str = LABEL) -> pd.Index:
    """What tells the rows apart: labels, or positions and labels."""
    import pandas as pd

    positions = positions_of(result)
    if not positions:
        return pd.Index(ids_of(result), name=label)
    return pd.MultiIndex.from_arrays([*positions.values(), ids_of(result)], names=[*positions, label])
