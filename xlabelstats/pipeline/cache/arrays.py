"""Arrays in Zarr: chunks that no two tasks share, compressors, and names that say where an array was stored."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import dask.array as da
import numcodecs  # type: ignore[import-untyped]
import numpy as np
import xarray as xr
import zarr
from pandas.api.types import infer_dtype
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec
from zarr.dtype import parse_dtype

from xlabelstats.engine.merge_tree import uniform
from xlabelstats.inputs import is_dask
from xlabelstats.names import check_known
from xlabelstats.store import beyond_specification, write_out

# Codecs end at 2 GiB.
LARGEST_CHUNK_BYTES = 2**29

# Compressors in Zarr 3 and 2, all their settings, and the shuffles of Blosc as Zarr 2 numbers them: -1 is by dtype.
CODECS = {
    "blosc": (BloscCodec, numcodecs.Blosc),
    "gzip": (GzipCodec, numcodecs.GZip),
    "zstd": (ZstdCodec, numcodecs.Zstd),
}
SETTINGS = ("cname", "clevel", "shuffle", "blocksize", "level", "checksum")
SHUFFLES = ("noshuffle", "shuffle", "bitshuffle", None)

# What stands for objects, which are text, and for True and False, which OME-Zarr has not.
STORED_AS: dict[Any, Any] = {np.dtype(object): np.dtypes.StringDType(), np.dtype(bool): np.dtype("u1")}

STORED = re.compile(r"(?:original-)?stored-([^@]+)@([0-9a-f]{16})@([0-9a-f]{8})(?:@.*)?")


@dataclass(frozen=True)
class Source:
    """The entry of a cache that an array is read from, and which computation of it: another may come out otherwise."""

    path: str
    key: str
    made: str = field(default="", compare=False)

    def array_name(self, variable: str) -> str:
        """The name of the dask array, the same in every process, by which what is computed from it is known."""
        return f"stored-{self.path}@{self.key}@{self.made}@{variable}"


def sources_of(array: Any) -> list[Source]:
    """The entries of a cache that a dask array is computed from, the nearest alone: those read, not what they hold."""
    matches = (STORED.fullmatch(str(layer)) for layer in getattr(array.__dask_graph__(), "layers", {}))
    return list(dict.fromkeys(Source(*match.groups()) for match in matches if match))


def renamed(array: Any, name: str | None, function: Callable[..., Any] = lambda block: block, *args: Any) -> Any:
    """The same dask array under another name, whose blocks go through a function that keeps their values."""
    # Older versions of dask add to the names that map_blocks is given.
    axes, rest = tuple(range(array.ndim)), [part for value in args for part in (value, None)]
    return da.blockwise(function, axes, array, axes, *rest, name=name, dtype=array.dtype, meta=array._meta)


def check_storable(array: Any, what: str) -> None:
    """Complain about an array that would not come back from Zarr as it was."""
    kept, hint = False, "make it numbers or text with .astype(), a MultiIndex coordinates with .reset_index()"
    masked = isinstance(getattr(array, "_meta", array), np.ma.MaskedArray)
    if masked:
        hint = "its mask would be lost; fill it with .filled(value), of dask with da.ma.filled(array, value)"
    elif np.isnan(array.shape).any():
        hint = "the sizes of its chunks are not known; end the step with .compute_chunk_sizes()"
    elif array.dtype == object:
        kept = is_dask(array) or infer_dtype(np.ravel(array), skipna=False) in ("string", "empty")
    else:
        with suppress(TypeError, ValueError):
            kept = parse_dtype(array.dtype, zarr_format=3).to_native_dtype() == array.dtype
    if not kept:
        raise TypeError(
            f"{what} is a{' masked' if masked else 'n'} array of {array.dtype}, which cannot be stored; {hint}"
        )


def checked(block: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A block, if it is of the kind that dask was told, and can be stored."""
    if block.dtype.kind != dtype.kind or not np.can_cast(block.dtype, dtype):
        raise TypeError(f"the result has a block of {block.dtype}, but dask was told {dtype}; correct dtype= or meta=")
    check_storable(block, "the result")
    return block


def words_of(compressor: Any) -> Any:
    """A compressor as JSON: None, "auto" for zarr's own choice, or name and settings as Zarr 2 has them."""
    if compressor is None or compressor == "auto" or isinstance(compressor, list):
        return compressor
    if isinstance(compressor, str):
        check_known([compressor], CODECS, "compressor")
        return [compressor, {}]
    for name, classes in CODECS.items():
        if isinstance(compressor, classes):
            values = {each: getattr(compressor, each) for each in SETTINGS if hasattr(compressor, each)}
            settings = {each: getattr(value, "value", value) for each, value in values.items()}
            if not isinstance(settings.get("shuffle", 0), int):
                settings["shuffle"] = -1 if settings["shuffle"] is None else SHUFFLES.index(settings["shuffle"])
            return [name, settings]
    known = ", ".join(map(repr, CODECS))
    raise ValueError(f"the compressor {compressor!r} is none of {known}, by name, of zarr.codecs or of numcodecs")


def _codec_of(words: Any, zarr_format: int) -> Any:
    if words is None or words == "auto":
        return words
    name, settings = words
    if zarr_format == 3 and "shuffle" in settings:
        settings = settings | {"shuffle": SHUFFLES[settings["shuffle"]]}
    return CODECS[name][3 - zarr_format](**settings)


def _chunks_of(array: Any, dims: tuple[Any, ...], chunks: Mapping[str, int]) -> tuple[int, ...]:
    """The chunks an array is stored in: those asked for, else its own made uniform, and halved while too large."""
    own = [chunks.get(dim, max(sizes)) for dim, sizes in zip(dims, uniform(array).chunks, strict=True)]
    while math.prod(own) * array.dtype.itemsize > LARGEST_CHUNK_BYTES:
        longest = own.index(max(own))
        own[longest] = math.ceil(own[longest] / 2)
    return tuple(max(1, min(sizes)) for sizes in zip(own, array.shape, strict=True))


def write(group: zarr.Group, variables: Mapping[Any, xr.Variable], chunks: Mapping[str, int], compressor: Any) -> None:
    """Write variables to arrays of a Zarr group, in the chunks asked for; a chunk that is not there later was lost."""
    zarr_format = group.metadata.zarr_format
    arrays, targets = [], []
    for name, variable in variables.items():
        array = variable.to_base_variable().chunk().data
        array = array.astype(STORED_AS.get(array.dtype, array.dtype))
        with beyond_specification():
            target = group.create_array(
                name,
                shape=array.shape,
                dtype=array.dtype,
                chunks=_chunks_of(array, variable.dims, chunks),
                compressors=_codec_of(compressor, zarr_format),
                chunk_key_encoding={"name": "default" if zarr_format == 3 else "v2", "separator": "/"},
                dimension_names=list(map(str, variable.dims)) if zarr_format == 3 else None,
                config={"write_empty_chunks": True},
            )
        # No two tasks write to one stored chunk.
        sizes = zip(array.chunks, target.chunks, strict=True)
        arrays.append(array.rechunk(tuple(max(size, max(own) // size * size) for own, size in sizes)))
        targets.append(target)
    write_out(da.store(arrays, targets, lock=False, compute=False))
