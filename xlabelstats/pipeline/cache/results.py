"""Results of every kind a step may have, to a folder and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr
import zarr

from xlabelstats.encoding import without_encoding
from xlabelstats.inputs import is_dask
from xlabelstats.pipeline.cache.arrays import Source, check_storable, checked, renamed, write
from xlabelstats.pipeline.cache.folders import AGAIN, write_durably, zarr_store
from xlabelstats.pipeline.cache.images import Layout, in_order, is_image, write_image
from xlabelstats.pipeline.cache.values import decode, encode, from_parquet, to_parquet
from xlabelstats.pipeline.steps import NAMELESS, from_blocks
from xlabelstats.store import NAMELESS as MAIN
from xlabelstats.store import is_key

if TYPE_CHECKING:
    from upath import UPath

# Where pixels, tables and all other arrays are.
PIXELS, TABLE, STORES = "image.ome.zarr", "table.parquet", {"image": "coords.zarr"}

# The settings that there are for results of a kind.
SETTINGS: dict[str, tuple[str, ...]] = dict.fromkeys(("array", "dataset"), ("chunks", "compressor"))
SETTINGS["image"] = ("multiscale", "chunks", "compressor", "ome_version", "is_label")

# Of a value as JSON: all are read to tell what is stored.
LARGEST_VALUE = 2**21

ARRAYS = (xr.DataArray, xr.Dataset, np.ndarray, da.Array)


def prepared(result: Any, step: str) -> Any:
    """A result with lazy arrays throughout, or a complaint that it cannot be kept."""
    what = f"the result of the step {step}"
    result = from_blocks(result)
    if isinstance(result, np.ndarray | da.Array):
        # Xarray would fill what is masked, and make seconds of days.
        check_storable(result, what)
        if isinstance(result, np.ndarray):
            result = da.from_array(result.copy(), chunks=-1 if result.dtype.hasobject else "auto")
    if isinstance(result, ARRAYS):
        return _like(result, _lazy(_dataset_of(result), what))
    if isinstance(result, pd.DataFrame):
        for name, column in result.items():
            if column.dtype == object:
                check_storable(column.to_numpy(), f"the column {name!r} of {what}")
        numbers = {name: dtype for name, dtype in result.dtypes.items() if isinstance(dtype, np.dtype)}
        return result.astype({name: d.newbyteorder("=") for name, d in numbers.items() if not d.isnative})
    try:
        words = encode(result, "it")
        size = len(json.dumps(words))
        if result is None or size > LARGEST_VALUE:
            raise TypeError("the step returned None" if result is None else f"it is a value of {size / 2**20:.1f} MiB")
    except TypeError as error:
        hint = "return numbers and text, or an array, xarray object or pandas table, one a step: several are a Dataset"
        raise TypeError(f"{what} cannot be kept: {error}; {hint}") from None
    return decode(words)


def _dataset_of(result: Any) -> xr.Dataset:
    return result if isinstance(result, xr.Dataset) else named(result).to_dataset(name=MAIN)


def _like(result: Any, data: xr.Dataset) -> Any:
    """A Dataset as what it was made of."""
    if isinstance(result, xr.Dataset):
        return data
    return data[MAIN].rename(result.name) if isinstance(result, xr.DataArray) else data[MAIN].data


def _lazy(data: xr.Dataset, what: str) -> xr.Dataset:
    """A Dataset with lazy variables, in the byte order of the machine; coordinates in memory stay there."""
    data = without_encoding(data)
    for name in [*data.dims, *data.variables]:
        # A "/" is a folder in another.
        if not isinstance(name, str) or not all(map(is_key, name.split("/"))):
            raise ValueError(f"{what} has the name {name!r}, which Zarr cannot hold; .rename() it")
        within = [other for other in data.variables if name in data.variables and str(other).startswith(f"{name}/")]
        if within:
            raise ValueError(f"{what} has the names {name!r} and {within[0]!r}, and Zarr holds one; .rename() it")
    sizes = {dim: own for name in data.data_vars for dim, own in data.variables[name].chunksizes.items()}
    for name, variable in data.variables.items():
        check_storable(variable.data, what if name == MAIN else f"{name!r} in {what}")
        if is_dask(variable.data):
            variable = variable.copy(data=renamed(variable.data, None, checked, variable.dtype))
        elif name in data.data_vars:
            # Dask cannot tell how large objects are.
            by_size = not sizes and not variable.dtype.hasobject
            variable = variable.chunk("auto" if by_size else {dim: sizes[dim] for dim in variable.dims if dim in sizes})
        data[name] = variable if variable.dtype.isnative else variable.astype(variable.dtype.newbyteorder("="))
    return data


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


def check_layout(kind: str, layout: Layout, step: str) -> None:
    """Complain about settings that a result of this kind has no use for."""
    for name in layout.given:
        if name not in (*SETTINGS.get(kind, ()), "is_label"):
            what = {"array": "an array that is no image", "value": "a plain value"}.get(kind, f"a {kind}")
            raise ValueError(f"the result of the step {step} is {what}, for which there is no {name}; leave it out")


def write_result(result: Any, folder: UPath, layout: Layout, name: str, of: str | None = None) -> dict[str, Any]:
    """Write a prepared result; what is given back is needed to read it.

    ``of`` is the path from its pixels to those of the image that it was made from, if it is kept.
    """
    kind = kind_of(result)
    layout = layout.of_image(result.dtype) if kind == "image" else layout
    about: dict[str, Any] = {"kind": kind, "layout": {each: getattr(layout, each) for each in SETTINGS.get(kind, ())}}
    if kind == "value":
        return {**about, "value": encode(result, "the result")}
    if kind == "table":
        content, about["table"] = to_parquet(result)
        write_durably(folder / TABLE, content)
        return about
    data = _dataset_of(result)
    about["bare"], about["coords"] = isinstance(result, da.Array), list(data.coords)
    about["name"] = encode(result.name if isinstance(result, xr.DataArray) else None, "the name of the result")
    about["attrs"] = encode(data.attrs, "the attrs of the result")
    about["variables"] = {
        key: {
            "dims": each.dims,
            "chunks": each.chunks,
            "dtype": str(each.dtype) if each.dtype.kind in "bO" else None,
            "attrs": encode(each.attrs, f"the attrs of {'the result' if key == MAIN else repr(key)}"),
        }
        for key, each in data.variables.items()
    }
    chunks = layout.chunks_of(data.dims if kind == "dataset" else data[MAIN].dims)
    create = partial(zarr.open_group, zarr_store(folder, read_only=False), mode="w-")
    group = create(path=STORES.get(kind, f"{kind}.zarr"), zarr_format=3)
    if kind == "image":
        write(group, data.drop_vars(MAIN).variables, {}, "auto")
        pixels = create(path=PIXELS, zarr_format=2 if layout.ome_version == "0.4" else 3)
        about["levels"] = write_image(data[MAIN], pixels, layout, name, of)
    else:
        write(group, data.variables, chunks, layout.compressor)
    return about


def read_result(folder: UPath, about: Mapping[str, Any], source: Source) -> Any:
    """Read a result as the step gave it, its arrays lazily."""
    if about["kind"] == "value":
        return decode(about["value"])
    if about["kind"] == "table":
        if not (folder / TABLE).exists():
            raise FileNotFoundError(f"{folder / TABLE} was removed; {AGAIN}")
        return from_parquet((folder / TABLE).read_bytes(), about["table"])
    variables, store = {}, zarr_store(folder, read_only=True)
    for name, each in about["variables"].items():
        is_pixels = about["kind"] == "image" and name == MAIN
        path = f"{PIXELS}/0" if is_pixels else f"{STORES.get(about['kind'], about['kind'] + '.zarr')}/{name}"
        stored = zarr.open_array(store, path=path, mode="r")
        own, dims = source.array_name(name), in_order(each["dims"]) if is_pixels else each["dims"]
        # The same entry may be stored anew in other chunks, so what is read has the attempt in its name.
        data = np.asarray(stored[...]) if each["chunks"] is None else da.from_zarr(stored, name=f"{own}@{folder.name}")
        variable = xr.Variable(dims, data, decode(each["attrs"])).transpose(*each["dims"])
        variables[name] = variable.astype(each["dtype"] or data.dtype)
        if each["chunks"] is not None:
            variables[name].data = renamed(variables[name].data.rechunk(tuple(map(tuple, each["chunks"]))), own)
    data = xr.Dataset(variables, attrs=decode(about["attrs"])).set_coords(about["coords"])
    if about["kind"] == "dataset":
        return data
    return data[MAIN].data if about["bare"] else data[MAIN].rename(decode(about["name"]))


def read_pyramid(folder: UPath, about: Mapping[str, Any], result: Any) -> list[Any]:
    """The levels of a stored image, with the dims in the order of the image."""
    image, store = named(result), zarr_store(folder, read_only=True)
    paths = [f"{PIXELS}/{level}" for level in range(1, about["levels"])]
    arrays = [da.from_zarr(zarr.open_array(store, path=path, mode="r")) for path in paths]
    levels = [xr.Variable(in_order(image.dims), each).transpose(*image.dims) for each in arrays]
    return [image.data, *(level.astype(image.dtype).data for level in levels)]


def in_memory(result: Any, source: Source) -> Any:
    """A prepared result computed, its arrays kept by dask under the names that stored ones have."""
    if not isinstance(result, ARRAYS):
        return result.copy() if isinstance(result, pd.DataFrame) else result
    data = _dataset_of(result).persist()
    for name, each in data.variables.items():
        if is_dask(each.data):
            # What works in place works on copies.
            data[name] = each.copy(data=renamed(each.data, source.array_name(str(name)), np.copy))
    return _like(result, data)
