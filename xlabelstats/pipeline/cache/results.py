"""Results of every kind a step may have, to a folder and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from xlabelstats.encoding import variables_of, without_encoding
from xlabelstats.inputs import is_dask
from xlabelstats.pipeline.cache.arrays import (
    Source,
    as_dask,
    check_storable,
    read_variables,
    renamed,
    words_of,
    write_variables,
)
from xlabelstats.pipeline.cache.images import Layout, is_image, read_image, read_levels, write_image
from xlabelstats.pipeline.cache.values import decode, encode, read_table, storable, write_table
from xlabelstats.pipeline.steps import NAMELESS

if TYPE_CHECKING:
    from upath import UPath

# Where the variables are; of an image, its coordinates.
STORES = {"array": "array.zarr", "dataset": "dataset.zarr", "image": "coords.zarr"}

# Of the arrays in a value: they are kept as text.
LARGEST_VALUE = 2**20


def prepared(result: Any, step: str) -> Any:
    """A result with lazy arrays throughout, or a complaint that it cannot be kept."""
    if isinstance(result, xr.Dataset | xr.DataArray):
        result = without_encoding(result)
        lazy = {}
        # What is made lazy gets the chunks of what was lazy before.
        variables = sorted(variables_of(result).items(), key=lambda named: not is_dask(named[1].data))
        chunks: dict[Any, Any] = {}
        for name, variable in variables:
            what = f"the result of the step {step}" if name is None else f"{name!r} in the result of the step {step}"
            check_storable(variable.data, what)
            if name not in result.coords or is_dask(variable.data):
                data = as_dask(variable.data)
                if not is_dask(variable.data):
                    data = data.rechunk({axis: chunks[dim] for axis, dim in enumerate(variable.dims) if dim in chunks})
                chunks |= dict(zip(variable.dims, data.chunks, strict=True))
                lazy[name] = variable.copy(data=data)
        return _with(result, lazy)
    if isinstance(result, np.ndarray | da.Array):
        if result.dtype == object:
            raise TypeError(
                f"the result of the step {step} is an array of object, which cannot be stored; make it numbers or text "
                "with .astype(), or return a pandas table"
            )
        check_storable(result, f"the result of the step {step}")
        return as_dask(result)
    if isinstance(result, pd.DataFrame):
        return storable(result, step)
    if result is None:
        raise TypeError(f"the step {step} returned None, so there is nothing to keep; let it return its result")
    if _bytes_of_arrays(result) > LARGEST_VALUE:
        raise TypeError(
            f"the result of the step {step} cannot be kept: it is a {type(result).__name__} with arrays of "
            f"{_bytes_of_arrays(result) / 2**20:.1f} MiB; return large arrays one a step, or in an xarray Dataset"
        )
    try:
        return decode(encode(result, "it"))
    except TypeError as error:
        raise TypeError(
            f"the result of the step {step} cannot be kept: {error}; so can arrays, xarray objects and pandas tables, "
            "one a step: several arrays are one Dataset, or several steps"
        ) from None


def _with(result: Any, variables: dict[Any, xr.Variable]) -> Any:
    """An xarray object with these of its variables in their place; that of an array itself has the name None."""
    if isinstance(result, xr.Dataset):
        return result.assign(variables)
    return result.copy(data=variables.pop(None).data).assign_coords(variables)


def _bytes_of_arrays(value: Any) -> int:
    """The bytes of the arrays in lists, tuples and mappings."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    held = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return sum(map(_bytes_of_arrays, held))


def kind_of(result: Any) -> str:
    """What kind of result it is: image, array, dataset, table or value."""
    if isinstance(result, xr.DataArray | da.Array):
        return "image" if is_image(named(result)) else "array"
    return "table" if isinstance(result, pd.DataFrame) else "dataset" if isinstance(result, xr.Dataset) else "value"


def named(array: Any) -> xr.DataArray:
    """An array with dims: one without is taken to be an image if it has two dims or more."""
    if isinstance(array, xr.DataArray):
        return array
    dims = NAMELESS[array.ndim] if 2 <= array.ndim <= max(NAMELESS) else [f"dim_{i}" for i in range(array.ndim)]
    # Left to itself, xarray would name it after the dask array.
    return xr.DataArray(array, dims=dims).rename(None)


def bytes_of(result: Any) -> int:
    """The bytes that a result takes in memory."""
    if hasattr(result, "nbytes"):
        return int(result.nbytes)
    return int(result.memory_usage(deep=True).sum()) if hasattr(result, "memory_usage") else len(repr(result))


def check_layout(kind: str, layout: Layout, step: str) -> None:
    """Complain about settings that a result of this kind has no use for."""
    settings = list(layout.asked) if kind != "image" else []
    if kind in ("table", "value"):
        usual = {"chunks": None, "compressor": "auto"}
        settings += [name for name, each in usual.items() if getattr(layout, name) != each]
    if settings:
        what = {"array": "an array that is no image of t, c, z, y and x", "value": "a plain value"}
        raise ValueError(
            f"the result of the step {step} is {what.get(kind, f'a {kind}')}, for which there is no {settings[0]}; "
            "leave it out"
        )


def asked_of(layout: Layout) -> dict[str, str]:
    """The settings for arrays that are no images, in words."""
    return {"chunks": repr(layout.chunks), "compressor": repr(words_of(layout.compressor, 3))}


def differs(about: Mapping[str, Any], layout: Layout, result: Any) -> bool:
    """Whether a result is stored in another layout than asked for."""
    if about["kind"] == "image":
        return layout.differs(about["image"], named(result))
    usual = asked_of(Layout())
    return any(about["asked"][name] != each for name, each in asked_of(layout).items() if each != usual[name])


def write_result(result: Any, folder: UPath, layout: Layout, name: str) -> dict[str, Any]:
    """Write a prepared result; what is given back is needed to read it."""
    kind = kind_of(result)
    about: dict[str, Any] = {"kind": kind, "bare": isinstance(result, da.Array)}
    if kind == "table":
        return {**about, "table": write_table(result, folder)}
    if kind == "value":
        return {**about, "value": encode(result, "the result")}
    found = result if kind == "dataset" else named(result)
    about["name"] = encode(found.name if isinstance(found, xr.DataArray) else None, "the name of the result")
    about["attrs"] = encode(found.attrs, "the attrs of the result")
    about["coords"] = [encode(each, "the name of a coordinate") for each in found.coords]
    variables, chunks, compressor = variables_of(found), layout.chunks, layout.compressor
    if kind == "image":
        del variables[None]
        chunks, compressor = None, "auto"
    about["variables"] = write_variables(variables, found, folder / STORES[kind], chunks, compressor)
    if kind == "image":
        about["image"] = write_image(found, folder, layout, name)
    else:
        about["asked"] = asked_of(layout)
    return about


def read_result(folder: UPath, about: Mapping[str, Any], source: Source) -> Any:
    """Read a result as the step gave it, its arrays lazily."""
    kind = about["kind"]
    if kind == "value":
        return decode(about["value"])
    if kind == "table":
        return read_table(folder, about["table"])
    variables = read_variables(folder / STORES[kind], about["variables"], source)
    attrs = decode(about["attrs"])
    if kind == "dataset":
        coords = {name: variables.pop(name) for name in decode(about["coords"])}
        return xr.Dataset(variables, coords=coords, attrs=attrs)
    own = read_image(folder, about["image"], source) if kind == "image" else variables.pop(None)
    array = xr.DataArray(own.data, dims=own.dims, coords=variables, attrs=attrs)
    return array.data if about["bare"] else array.rename(decode(about["name"]))


def read_pyramid(folder: UPath, about: Mapping[str, Any], result: Any) -> list[Any]:
    """The levels of a stored image."""
    return read_levels(folder, about["image"], named(result))


def in_memory(result: Any, source: Source) -> Any:
    """A prepared result computed, its arrays kept by dask under the names that stored ones have."""
    if isinstance(result, xr.DataArray | xr.Dataset):
        lazy = {name: each for name, each in variables_of(result).items() if is_dask(each.data)}
        kept = dask.persist(*(each.data for each in lazy.values()))
        for name, data in zip(lazy, kept, strict=True):
            lazy[name] = lazy[name].copy(data=renamed(data, source.array_name(name)))
        return _with(result, lazy)
    if isinstance(result, da.Array):
        return renamed(result.persist(), source.array_name())
    return result.copy() if isinstance(result, pd.DataFrame) else result
