"""What all steps share: arrays with and without names, their spatial dims, and a step's version."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from xlabelstats.encoding import without_encoding
from xlabelstats.engine.merge_tree import uniform
from xlabelstats.inputs import check_on_host, is_dask

F = TypeVar("F", bound=Callable)
Array = TypeVar("Array", bound=Any)

# Dims that lie in space, and the dims of an array without names, by their number.
SPACE = ("z", "y", "x")
NAMELESS = {1: ("x",), 2: ("y", "x"), 3: SPACE, 4: ("c", *SPACE), 5: ("t", "c", *SPACE)}


# The version of a class, which may have a version of its own that means something else.
OF_CLASS = "_version_of_step"


def step(version: int) -> Callable[[F], F]:
    """Declare the version of a step, which is part of the key of its results; raise it when results change."""
    if callable(version):
        raise TypeError("a step declares its version: write @step(1) above the function, not @step")

    def decorate(function: F) -> F:
        setattr(function, OF_CLASS if isinstance(function, type) else "version", version)
        return function

    return decorate


def from_blocks(array: Any) -> Any:
    """An array in blocks that can give itself as a dask array, as that; anything else as it is."""
    return array.as_dask_array() if hasattr(type(array), "as_dask_array") else array


def named(array: Any, what: str = "image") -> xr.DataArray:
    """An array as a DataArray; the dims of one without names are taken to be the last of t, c, z, y, x."""
    array = from_blocks(array)
    check_on_host("a step", **{what.split()[0]: array})
    if isinstance(array, xr.DataArray):
        return array
    if isinstance(array, xr.Dataset) or not (isinstance(array, np.ndarray) or is_dask(array)):
        raise TypeError(f"the {what} must be a DataArray, a numpy array or a dask array, not {type(array).__name__}")
    if array.ndim not in NAMELESS:
        raise ValueError(f"the {what} has {array.ndim} dims; name them: xr.DataArray({what}, dims=(...))")
    return xr.DataArray(array, dims=NAMELESS[array.ndim], name=what)


def like(given: Array, result: xr.DataArray) -> Array:
    """The result as what was given: with names, or a bare array."""
    result = finished(result)
    return result if isinstance(given, xr.DataArray) else result.data  # type: ignore[return-value]


def finished(result: xr.DataArray) -> xr.DataArray:
    """The result of a step as Zarr can hold it: in uniform chunks, and without how the image was stored."""
    result = without_encoding(result)
    return result.copy(data=uniform(result.data)) if is_dask(result.data) else result


def space_of(array: xr.DataArray, what: str = "image") -> tuple[Hashable, ...]:
    """The dims of an array that lie in space: those named z, y and x, or all if it has none of these."""
    found = tuple(dim for dim in array.dims if dim in SPACE)
    if found:
        return found
    if not array.dims:
        raise ValueError(f"the {what} needs at least one dim in space; this one is a single number")
    if array.ndim > 3:
        raise ValueError(
            f"the {what} has the dims {tuple(array.dims)}, of which none is z, y or x; rename those in space: .rename"
        )
    return array.dims


def check_space(array: xr.DataArray, what: str) -> None:
    """Complain about dims that do not lie in space, such as channels."""
    other = [dim for dim in array.dims if dim not in space_of(array, what)]
    if other:
        raise ValueError(f"the {what} has the dim {other[0]!r}, which is not in space; select one: .isel({other[0]}=0)")


def per_dim(value: Any, dims: tuple[Hashable, ...], what: str) -> tuple[float, ...]:
    """A number per dim, from one for all of them or a mapping, which needs not name all; 0 is for those left out."""
    if isinstance(value, Mapping):
        unknown = [dim for dim in value if dim not in dims]
        if unknown:
            raise ValueError(f"{what} is given for {unknown[0]!r}, but the dims in space are {tuple(dims)}")
        values = [value.get(dim, 0) for dim in dims]
    else:
        values = [value] * len(dims)
    for number in values:
        if isinstance(number, bool) or not isinstance(number, int | float | np.integer | np.floating):
            raise TypeError(f"{what} is a number, or a mapping from dims to numbers, not {value!r}")
        if not (np.isfinite(number) and number >= 0):
            raise ValueError(f"{what} is 0 or more, not {value!r}")
    return tuple(values)


def check_size(value: Any, what: str) -> None:
    """Complain about what is no number of pixels."""
    check_number(value, what)
    if value < 0:
        raise ValueError(f"{what} is 0 or more, not {value!r}")


def check_number(value: Any, what: str) -> None:
    """Complain about what is no finite number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{what} is a number, not {value!r}")
    if not np.isfinite(float(value)):
        raise ValueError(f"{what} is finite, not {value!r}")


def check_positive(value: Any, what: str) -> None:
    """Complain about what is no number above 0."""
    check_number(value, what)
    if value <= 0:
        raise ValueError(f"{what} is positive, not {value!r}")
