"""Results of every kind a step may have, to a folder and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from xlabelstats.encoding import without_encoding
from xlabelstats.inputs import is_dask
from xlabelstats.pipeline.cache.arrays import Source, as_dask, renamed, words_of
from xlabelstats.pipeline.cache.datasets import read_dataset, write_dataset
from xlabelstats.pipeline.cache.images import Layout, is_image, read_image, read_levels, write_image
from xlabelstats.pipeline.cache.tables import read_table, storable, write_table
from xlabelstats.pipeline.cache.values import decode, encode
from xlabelstats.pipeline.steps import NAMELESS

if TYPE_CHECKING:
    from upath import UPath

STORES = {"array": "array.zarr", "dataset": "dataset.zarr"}

# The one variable of the dataset that holds an array.
VARIABLE = "result"

# Of the arrays in a value: they are kept as text.
LARGEST_VALUE = 2**20


def prepared(result: Any, step: str) -> Any:
    """A result with lazy arrays throughout, or a complaint that it cannot be kept."""
    if isinstance(result, xr.Dataset | xr.DataArray):
        result = without_encoding(result)
    if isinstance(result, xr.Dataset):
        lazy = {
            name: each.variable.copy(data=as_dask(each.data))
            for name, each in result.data_vars.items()
            if _numeric(each)
        }
        return result.assign(lazy)
    if isinstance(result, xr.DataArray):
        return result.copy(data=as_dask(result.data)) if _numeric(result) else result
    if isinstance(result, np.ndarray | da.Array):
        if result.dtype.hasobject:
            raise TypeError(
                f"the result of the step {step} is an array of {result.dtype}, which cannot be stored; make it numbers "
                "or text with .astype(), or return a pandas table"
            )
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


def _bytes_of_arrays(value: Any) -> int:
    """The bytes of the arrays in lists, tuples and mappings."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    held = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return sum(map(_bytes_of_arrays, held))


def _numeric(array: Any) -> bool:
    return array.dtype.kind in "biufc" or is_dask(array.data)


def kind_of(result: Any) -> str:
    """What kind of result it is: image, array, dataset, table or value."""
    if isinstance(result, pd.DataFrame):
        return "table"
    if isinstance(result, xr.Dataset):
        return "dataset"
    if isinstance(result, xr.DataArray | da.Array):
        return "image" if is_image(named(result)) else "array"
    return "value"


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
        settings += [
            name for name, usual in (("chunks", None), ("compressor", "auto")) if getattr(layout, name) != usual
        ]
    if settings:
        what = {"array": "an array that is no image of t, c, z, y and x", "value": "a plain value"}.get(
            kind, f"a {kind}"
        )
        raise ValueError(f"the result of the step {step} is {what}, for which there is no {settings[0]}; leave it out")


def asked_of(layout: Layout) -> dict[str, str]:
    """The settings for arrays that are no images, in words."""
    return {"chunks": repr(layout.chunks), "compressor": repr(words_of(layout.compressor))}


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
        about["attrs"] = encode(result.attrs, "the attrs of the result")
        about["table"] = write_table(result, folder)
    elif kind == "image":
        about["image"] = write_image(named(result), folder, layout, name)
    elif kind == "value":
        about["value"] = encode(result, "the result")
    else:
        dataset = result if kind == "dataset" else _as_dataset(named(result))
        about["name"] = encode(
            getattr(result, "name", None) if kind == "array" and not about["bare"] else None, "the name"
        )
        place = folder / STORES[kind]
        about["dataset"] = write_dataset(dataset, place, chunks=layout.chunks, compressor=layout.compressor)
        about["asked"] = asked_of(layout)
    return about


def read_result(folder: UPath, about: Mapping[str, Any], source: Source) -> Any:
    """Read a result as the step gave it, its arrays lazily."""
    kind = about["kind"]
    if kind == "value":
        return decode(about["value"])
    if kind == "table":
        return read_table(folder, about["table"], decode(about["attrs"]))
    if kind == "image":
        image = read_image(folder, about["image"], source)
        return image.data if about["bare"] else image
    dataset = read_dataset(folder / STORES[kind], about["dataset"], source)
    if kind == "dataset":
        return dataset
    array = dataset[VARIABLE].rename(decode(about["name"]))
    return array.data if about["bare"] else array


def read_pyramid(folder: UPath, about: Mapping[str, Any], result: Any) -> list[Any]:
    """The levels of a stored image."""
    return read_levels(folder, about["image"], named(result))


def in_memory(result: Any, source: Source) -> Any:
    """A prepared result computed, its arrays kept by dask under the names that stored ones have."""
    if isinstance(result, xr.DataArray):
        return result.copy(data=_kept(result.data, source.array_name())) if is_dask(result.data) else result
    if isinstance(result, xr.Dataset):
        lazy = {name: each for name, each in result.variables.items() if is_dask(each.data)}
        return result.assign({n: v.copy(data=_kept(v.data, source.array_name(str(n)))) for n, v in lazy.items()})
    if isinstance(result, da.Array):
        return _kept(result, source.array_name())
    return result.copy() if isinstance(result, pd.DataFrame) else result


def _kept(array: Any, name: str) -> Any:
    return renamed(array.persist(), name)


def _as_dataset(array: xr.DataArray) -> xr.Dataset:
    if VARIABLE in array.coords:
        raise ValueError(f"the result has a coordinate {VARIABLE!r}; rename it")
    return array.rename(VARIABLE).to_dataset()
