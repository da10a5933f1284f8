"""Arrays in Zarr: chunks that no two tasks share, compressors, and names that say where an array was stored."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numcodecs  # type: ignore[import-untyped]
import numpy as np
import xarray as xr
import zarr
from xarray.indexes import PandasMultiIndex
from zarr.codecs import BloscCodec
from zarr.dtype import parse_dtype

from xlabelstats.engine.merge_tree import uniform
from xlabelstats.inputs import is_dask
from xlabelstats.names import check_known
from xlabelstats.pipeline.cache.folders import zarr_store
from xlabelstats.pipeline.cache.values import as_text, decode, encode, from_text
from xlabelstats.store import beyond_specification, is_key, write_out

if TYPE_CHECKING:
    from upath import UPath

# Chunks of arrays that have none, and the largest that are stored by default: codecs end at 2 GiB.
CHUNK_BYTES = 2**24
LARGEST_CHUNK_BYTES = 2**29

# The compressors that both versions of Zarr have, and the shuffles of Blosc as Zarr 2 numbers them from 0.
COMPRESSORS = ("blosc", "gzip", "zstd")
SHUFFLES = ("noshuffle", "shuffle", "bitshuffle")

STORED = re.compile(r"(?:original-)?stored-([^@]+)@([0-9a-f]{16})@([0-9a-f]{8})(?:@.*)?")


@dataclass(frozen=True)
class Source:
    """The entry of a cache that an array is read from.

    Attributes
    ----------
    path, key : str
    made : str
        Which computation the entry is of: one that was cleared may come out otherwise the next time, and so may one
        in another cache.
    """

    path: str
    key: str
    made: str = field(default="", compare=False)

    def array_name(self, variable: Hashable = None) -> str:
        """The name of the dask array, the same in every process, by which what is computed from it is known."""
        return f"stored-{self.path}@{self.key}@{self.made}" + ("" if variable is None else f"@{variable!r}")


def sources_of(array: Any) -> list[Source]:
    """The entries of a cache that a dask array is computed from, the nearest alone: those read, not what they hold."""
    matches = (STORED.fullmatch(str(layer)) for layer in getattr(array.__dask_graph__(), "layers", {}))
    return list(dict.fromkeys(Source(*match.groups()) for match in matches if match))


def check_storable(array: Any, what: str) -> None:
    """Complain about an array that Zarr cannot hold as it is."""
    kind, hint = "an array", "make it numbers or text with .astype()"
    if isinstance(getattr(array, "_meta", array), np.ma.MaskedArray):
        kind = "a masked array"
        hint = "its mask would be lost; fill it with .filled(value), of dask with da.ma.filled(array, value)"
    elif array.dtype == object:
        for each in () if is_dask(array) else np.asarray(array).ravel().tolist():
            as_text(each, what)
        return
    elif isinstance(array.dtype, np.dtype):
        with suppress(TypeError, ValueError):
            native = array.dtype.newbyteorder("=")
            if parse_dtype(native, zarr_format=3).to_native_dtype() == native:
                return
    raise TypeError(f"{what} is {kind} of {array.dtype}, which cannot be stored; {hint}")


def as_dask(array: Any) -> Any:
    """An array as a dask array in the byte order of the machine; of a numpy array, a copy in chunks."""
    import dask.array as da

    # Zarr knows no other byte order.
    if is_dask(array):
        if any(math.isnan(size) for sizes in array.chunks for size in sizes):
            raise ValueError(
                "the sizes of the result's chunks are not known, so it cannot be stored; end the step with "
                ".compute_chunk_sizes()"
            )
        return array.astype(array.dtype.newbyteorder("="))
    values = np.array(array, array.dtype.newbyteorder("="))
    size = np.dtype("V64") if values.dtype == object else values.dtype
    return da.from_array(values, chunks=da.core.normalize_chunks("auto", values.shape, limit=CHUNK_BYTES, dtype=size))


def renamed(array: Any, name: str) -> Any:
    """The same dask array under another name."""
    import dask.array as da

    axes = tuple(range(array.ndim))
    return da.blockwise(_same, axes, array, axes, name=name, dtype=array.dtype, meta=array._meta)


def _same(block: Any) -> Any:
    return block


def storage_chunks(array: Any, dims: Sequence[Hashable], chunks: Any) -> tuple[int, ...]:
    """The chunks an array is stored in: those asked for, else its own made uniform, and halved while too large."""
    listed = isinstance(chunks, tuple | list)
    sizes = chunks.values() if isinstance(chunks, Mapping) else chunks if listed else [chunks]
    for size in () if chunks is None else sizes:
        if isinstance(size, bool) or not isinstance(size, int | np.integer):
            raise TypeError(
                f"chunks is a number of pixels, one per dim, or a mapping from dims to them, not {chunks!r}"
            )
        if size < 1:
            raise ValueError(f"chunks are of at least one pixel, not {chunks!r}")
    own = [max(1, *sizes) for sizes in uniform(array).chunks]
    if isinstance(chunks, Mapping):
        check_known(map(str, chunks), map(str, dims), "dim")
        own = [int(chunks.get(dim, size)) for dim, size in zip(dims, own, strict=True)]
    elif chunks is not None:
        if listed and len(chunks) != len(dims):
            raise ValueError(f"chunks has {len(chunks)} sizes for the {len(dims)} dims {tuple(dims)}")
        own = [int(size) for size in (chunks if listed else [chunks] * len(dims))]
    while chunks is None and math.prod(own) * array.dtype.itemsize > LARGEST_CHUNK_BYTES:
        longest = own.index(max(own))
        own[longest] = math.ceil(own[longest] / 2)
    return tuple(min(size, max(1, whole)) for size, whole in zip(own, array.shape, strict=True))


def words_of(compressor: Any, zarr_format: int) -> Any:
    """A compressor as a version of Zarr writes it down; None, and "auto" for zarr's own choice, as they are."""
    words = compressor
    if compressor in (None, "auto"):
        return compressor
    if isinstance(compressor, str):
        check_known([compressor], COMPRESSORS, "compressor")
        words = {"id": compressor}
    elif isinstance(compressor, BloscCodec):
        settings = {name: getattr(compressor, name) for name in ("typesize", "cname", "clevel", "shuffle", "blocksize")}
        # What was left open depends on the dtype.
        settings |= dict.fromkeys(getattr(compressor, "_tunable_attrs", ()))
        words = {"name": "blosc", "configuration": {name: getattr(v, "value", v) for name, v in settings.items()}}
    elif hasattr(compressor, "to_dict") or hasattr(compressor, "get_config"):
        words = compressor.to_dict() if hasattr(compressor, "to_dict") else compressor.get_config()
    own, codecs = ("id", "numcodecs.Blosc(), Zstd(), GZip()")
    if zarr_format == 3:
        own, codecs = ("name", "zarr.codecs.BloscCodec(), ZstdCodec(), GzipCodec()")
    if isinstance(words, dict) and own in words:
        return words
    if not isinstance(words, dict) or words.get("id", words.get("name")) not in COMPRESSORS:
        raise ValueError(
            f"the compressor {compressor!r} is none of Zarr {zarr_format}, nor is there one like it; give "
            f"{', '.join(map(repr, COMPRESSORS))}, {codecs}, or None"
        )
    if zarr_format == 2:
        settings = {name: each for name, each in words["configuration"].items() if each is not None}
        return {"id": words["name"], **settings, **_shuffle(settings, SHUFFLES.index)}
    settings = {name: each for name, each in words.items() if name != "id"}
    # In Zarr 2 a negative number leaves it to the dtype.
    shuffle = _shuffle(settings, lambda number: SHUFFLES[number] if number >= 0 else None)
    return {"name": words["id"], "configuration": settings | shuffle}


def _shuffle(settings: Mapping[str, Any], other: Callable[[Any], Any]) -> dict[str, Any]:
    return {"shuffle": other(settings["shuffle"])} if "shuffle" in settings else {}


def create(
    group: zarr.Group, path: str, array: Any, dims: Sequence[Hashable], chunks: Sequence[int], compressor: Any
) -> Any:
    """A Zarr array like a dask array in which every chunk is written, so that one that is not there was lost."""
    v3 = group.metadata.zarr_format == 3
    words = words_of(compressor, group.metadata.zarr_format)
    return group.create_array(
        path,
        shape=array.shape,
        dtype=array.dtype,
        chunks=tuple(chunks),
        compressors=numcodecs.get_codec(dict(words)) if isinstance(words, dict) and not v3 else words,
        chunk_key_encoding={"name": "default" if v3 else "v2", "separator": "/"},
        dimension_names=list(map(str, dims)) if v3 else None,
        config={"write_empty_chunks": True},
    )


def write(arrays: Sequence[Any], targets: Sequence[zarr.Array]) -> None:
    """Write dask arrays, in multiples of the chunks they are stored in, so that no two tasks write to one of these."""
    import dask.array as da

    aligned = []
    for array, target in zip(arrays, targets, strict=True):
        near = (
            max(size, max(own, default=0) // size * size) for own, size in zip(array.chunks, target.chunks, strict=True)
        )
        aligned.append(array.rechunk(tuple(near)))
    write_out(da.store(aligned, list(targets), lock=False, compute=False))


def open_array(stored: zarr.Array, chunks: Any, dtype: str | None, name: str, attempt: str) -> Any:
    """A stored array as a dask array of the given chunks, dtype and name, read by chunks as they are stored."""
    import dask.array as da

    # The same entry may be stored anew in other chunks, so what is read has the attempt in its name.
    array = da.from_zarr(stored, name=f"{name}@{attempt}")
    return renamed(_cast(array, dtype).rechunk(chunks), name)


def _cast(array: Any, dtype: str | None) -> Any:
    """What was stored in a dtype that Zarr has, in its own."""
    if dtype is None or dtype != "object":
        return array if dtype is None else array.astype(dtype)
    if not is_dask(array):
        return _each(array, object, from_text)
    return array.map_blocks(_each, object, from_text, dtype=object, meta=np.empty((0,) * array.ndim, object))


def _each(block: np.ndarray, dtype: Any, function: Any, *arguments: str) -> np.ndarray:
    """The values that a function makes of those of a block."""
    made = np.empty(block.size, dtype)
    for i, value in enumerate(np.asarray(block).ravel().tolist()):
        made[i] = function(value, *arguments)
    return made.reshape(block.shape)


def write_variables(
    variables: Mapping[Any, xr.Variable], coords: Any, folder: UPath, chunks: Any, compressor: Any
) -> list[dict[str, Any]]:
    """Write variables of an xarray object, its own, if it is an array, under None; ``coords`` are its coordinates.

    What is given back, beside what Zarr holds, is needed to read them.  Attributes stay out of the store, where some
    of them would be taken for how values are to be decoded.
    """
    for index in coords.xindexes.values():
        if isinstance(index, PandasMultiIndex):
            raise TypeError(
                f"the coordinate {index.dim!r} of the result is a MultiIndex, which cannot be stored; make plain "
                f"coordinates of its levels with .reset_index({index.dim!r})"
            )
    if not variables:
        return []
    if isinstance(chunks, Mapping):
        check_known(map(str, chunks), {str(dim) for each in variables.values() for dim in each.dims}, "dim")
    about: list[dict[str, Any]] = []
    plans: list[tuple[Any, ...]] = []
    taken: list[Hashable] = []
    for name, variable in variables.items():
        what = "the result" if name is None else repr(name)
        lazy, array, own = is_dask(variable.data), as_dask(variable.data), chunks
        if isinstance(chunks, Mapping):
            own = {dim: size for dim, size in chunks.items() if dim in variable.dims}
        sizes = storage_chunks(array, variable.dims, own if lazy else None)
        if array.dtype == object:
            text = np.dtypes.StringDType()
            array = array.map_blocks(_each, text, as_text, what, dtype=text, meta=np.empty((0,) * array.ndim, text))
        key = "result" if name is None else name
        if not isinstance(key, str) or not is_key(key) or key in taken:
            # Names that no folder can have, such as "Ki67/DAPI".
            key = next(free for i in itertools.count() if (free := f"variable {i}") not in {*variables, *taken})
        taken.append(key)
        plans.append((key, array, variable.dims, sizes))
        about.append(
            {
                "key": key,
                "name": encode(name, f"the name of {what}"),
                "dims": encode(variable.dims, f"the dims of {what}"),
                "attrs": encode(variable.attrs, f"the attrs of {what}"),
                "chunks": variable.chunks if lazy else None,
                "dtype": "object" if variable.dtype == object else None,
            }
        )
    with beyond_specification():
        group = zarr.open_group(zarr_store(folder, read_only=False), mode="w-", zarr_format=3)
        targets = [create(group, key, array, dims, sizes, compressor) for key, array, dims, sizes in plans]
    write([array for _, array, *_ in plans], targets)
    return about


def read_variables(folder: UPath, about: Sequence[Mapping[str, Any]], source: Source) -> dict[Any, xr.Variable]:
    """Read variables by name: lazy are those that were."""
    variables = {}
    group: Any = zarr.open_group(zarr_store(folder, read_only=True), mode="r") if about else {}
    for each in about:
        stored, name, chunks = group[each["key"]], decode(each["name"]), each["chunks"]
        if chunks is None:
            data = _cast(np.asarray(stored[...]), each["dtype"])
        else:
            chunks = tuple(map(tuple, chunks))
            data = open_array(stored, chunks, each["dtype"], source.array_name(name), folder.parent.name)
        variables[name] = xr.Variable(decode(each["dims"]), data, decode(each["attrs"]))
    return variables
