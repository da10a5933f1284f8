"""xarray objects that are no images, and the coordinates of images, as plain Zarr."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import dask.array as da
import xarray as xr
from xarray.indexes import PandasMultiIndex

from xlabelstats.inputs import is_dask
from xlabelstats.pipeline.cache.arrays import Source, aligned, as_dask, codec, renamed, storage_chunks
from xlabelstats.pipeline.cache.folders import zarr_store
from xlabelstats.pipeline.cache.values import decode, encode
from xlabelstats.store import beyond_specification, is_key, write_out

if TYPE_CHECKING:
    from upath import UPath


def write_dataset(
    dataset: xr.Dataset, folder: UPath, *, chunks: Any = None, compressor: Any = "auto"
) -> dict[str, Any]:
    """Write a dataset; what is given back, beside what Zarr holds, is needed to read it.

    Attributes stay out of the store, where some of them would be taken for how values are to be decoded.
    """
    for index in dataset.xindexes.values():
        if isinstance(index, PandasMultiIndex):
            raise TypeError(
                f"the coordinate {index.dim!r} of the result is a MultiIndex, which cannot be stored; make plain "
                f"coordinates of its levels with .reset_index({index.dim!r})"
            )
    # Names that no folder can have, such as "Ki67/DAPI", and those of the arrays in the store in their place.
    odd = [name for name in dataset.variables if isinstance(name, str) and not is_key(name)]
    free = (key for i in itertools.count() if (key := f"variable {i}") not in dataset.variables)
    keys: dict[Hashable, str] = dict(zip(odd, free, strict=False))
    about = {
        "keys": keys,
        "attrs": {
            name: encode(each.attrs, f"the attrs of {name!r}") for name, each in _named(dataset.variables).items()
        },
        "own": encode(dataset.attrs, "the attrs of the result"),
        "coords": list(map(str, dataset.coords)),
        "dtypes": {
            name: each.dtype.str for name, each in _named(dataset.variables).items() if each.dtype.kind in "UmMO"
        },
        "chunks": {name: each.chunks for name, each in _named(dataset.variables).items() if is_dask(each.data)},
    }
    plain = dataset.drop_attrs(deep=True).drop_encoding()
    encoding: dict[Hashable, dict[str, Any]] = {}
    for name, variable in plain.variables.items():
        if not is_dask(variable.data):
            continue
        asked = (
            {dim: size for dim, size in chunks.items() if dim in variable.dims}
            if isinstance(chunks, Mapping)
            else chunks
        )
        sizes = storage_chunks(as_dask(variable.data), variable.dims, asked)
        plain = plain.assign({name: variable.copy(data=aligned(variable.data, sizes))})
        encoding[keys.get(name, name)] = {"chunks": sizes}
        if compressor != "auto":
            encoding[keys.get(name, name)]["compressors"] = codec(compressor, 3)
    with beyond_specification():
        # Which variables are coordinates is told beside the store.
        warnings.filterwarnings("ignore", ".*has a space in its name")
        tasks = plain.rename(keys).to_zarr(
            zarr_store(folder, read_only=False),
            mode="w-",
            consolidated=False,
            zarr_format=3,
            write_empty_chunks=True,
            encoding=encoding,
            compute=False,
        )
    write_out(tasks)
    return about


def read_dataset(folder: UPath, about: Mapping[str, Any], source: Source) -> xr.Dataset:
    """Read a dataset: lazy are those variables that were."""
    with beyond_specification():
        found = xr.open_dataset(
            zarr_store(folder, read_only=True), engine="zarr", chunks={}, consolidated=False, decode_timedelta=True
        )
        found = found.drop_encoding().rename({key: name for name, key in about.get("keys", {}).items()})
        variables = {name: _read(name, each, about, source) for name, each in found.variables.items()}
    coords = {name: variables.pop(name) for name in about["coords"]}
    return xr.Dataset(variables, coords=coords, attrs=decode(about["own"]))


def _read(name: Hashable, variable: xr.Variable, about: Mapping[str, Any], source: Source) -> xr.Variable:
    known = str(name)
    variable = variable.copy(deep=False)
    variable.attrs = decode(about["attrs"].get(known, {}))
    chunks = about["chunks"].get(known)
    if chunks is None:
        variable = variable.load()
    if known in about["dtypes"] and variable.dtype.str != about["dtypes"][known]:
        variable = variable.astype(about["dtypes"][known])
    if chunks is not None:
        data = da.asarray(variable.data).rechunk(tuple(map(tuple, chunks)))
        variable.data = renamed(data, source.array_name(known))
    return variable


def _named(variables: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): variable for name, variable in variables.items()}
