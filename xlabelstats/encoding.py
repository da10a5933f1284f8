"""How an array was stored, which says nothing of what is computed from it."""

from __future__ import annotations

from typing import Any, TypeVar

import xarray as xr

T = TypeVar("T", bound=xr.DataArray | xr.Dataset)

# Attributes by which numbers in a store are decoded, and all that are about the numbers as they are stored.
DECODING = frozenset({"_FillValue", "missing_value", "scale_factor", "add_offset", "_Unsigned"})
STORAGE = DECODING | {"dtype", "valid_min", "valid_max", "valid_range", "actual_range"}


def without_encoding(result: T) -> T:
    """The result, and its coordinates, without how an input was stored: xarray would store it so, and read it so."""
    # Not .drop_encoding(), with which older versions of xarray copy the numbers too.
    bare: Any = result.copy(deep=False)
    bare.encoding = {}
    for variable in variables_of(bare).values():
        variable.encoding = {}
        variable.attrs = {name: value for name, value in variable.attrs.items() if name not in STORAGE}
    return bare


def variables_of(array: xr.DataArray | xr.Dataset) -> dict[object, xr.Variable]:
    """The variables of a Dataset, or of a DataArray with its coordinates, itself under None."""
    if isinstance(array, xr.Dataset):
        return dict(array.variables)
    return {None: array.variable, **{name: coord.variable for name, coord in array.coords.items()}}
