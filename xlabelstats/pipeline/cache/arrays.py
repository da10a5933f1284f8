"""dask arrays in Zarr: chunks that no two tasks share, compressors, and names that say where an array was stored."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
import zarr

from xlabelstats.engine.merge_tree import uniform
from xlabelstats.names import check_known
from xlabelstats.store import write_out

# Chunks of arrays that have none, and the largest that are stored by default: codecs end at 2 GiB.
CHUNK_BYTES = 2**24
LARGEST_CHUNK_BYTES = 2**29

COMPRESSORS = ("blosc", "gzip", "zstd")

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

    def array_name(self, variable: str = "") -> str:
        """The name of the dask array, the same in every process, by which what is computed from it is known."""
        return f"stored-{self.path}@{self.key}@{self.made}" + (f"@{variable}" if variable else "")


def sources_of(array: Any) -> list[Source]:
    """The entries of a cache that a dask array is computed from, the nearest alone: those read, not what they hold."""
    matches = (STORED.fullmatch(str(layer)) for layer in array.__dask_graph__().layers)
    return list(dict.fromkeys(Source(*match.groups()) for match in matches if match))


def as_dask(array: Any) -> Any:
    """An array as a dask array in the byte order of the machine; of a numpy array, a copy in chunks."""
    import dask.array as da

    if isinstance(array, da.Array):
        if any(math.isnan(size) for sizes in array.chunks for size in sizes):
            raise ValueError(
                "the sizes of the result's chunks are not known, so it cannot be stored; end the step with "
                ".compute_chunk_sizes()"
            )
        # Zarr knows no other byte order.
        return array.astype(array.dtype.newbyteorder("="))
    values = np.array(array, array.dtype.newbyteorder("="))
    chunks = da.core.normalize_chunks("auto", values.shape, limit=CHUNK_BYTES, dtype=values.dtype)
    return da.from_array(values, chunks=chunks)


def renamed(array: Any, name: str) -> Any:
    """The same dask array under another name."""
    import dask.array as da

    axes = tuple(range(array.ndim))
    return da.blockwise(_same, axes, array, axes, name=name, dtype=array.dtype, meta=array._meta)


def _same(block: Any) -> Any:
    return block


def check_chunk_option(chunks: Any, dims: Sequence[Hashable]) -> None:
    """Complain about chunks that are no sizes of these dims."""
    sizes = chunks.values() if isinstance(chunks, Mapping) else chunks if isinstance(chunks, tuple | list) else [chunks]
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, int | np.integer):
            raise TypeError(
                f"chunks is a number of pixels, one per dim, or a mapping from dims to them, not {chunks!r}"
            )
        if size < 1:
            raise ValueError(f"chunks are of at least one pixel, not {chunks!r}")
    if isinstance(chunks, Mapping):
        check_known(map(str, chunks), map(str, dims), "dim")
    elif isinstance(chunks, tuple | list) and len(chunks) != len(dims):
        raise ValueError(f"chunks has {len(chunks)} sizes for the {len(dims)} dims {tuple(dims)}")


def storage_chunks(array: Any, dims: Sequence[Hashable], chunks: Any) -> tuple[int, ...]:
    """The chunks an array is stored in: those asked for, else its own made uniform, and halved while too large."""
    own = [max(1, *sizes) for sizes in uniform(array).chunks]
    if isinstance(chunks, Mapping):
        own = [int(chunks.get(dim, size)) for dim, size in zip(dims, own, strict=True)]
    elif isinstance(chunks, tuple | list):
        own = [int(size) for size in chunks]
    elif chunks is not None:
        own = [int(chunks)] * array.ndim
    while chunks is None and math.prod(own) * array.dtype.itemsize > LARGEST_CHUNK_BYTES:
        longest = own.index(max(own))
        own[longest] = math.ceil(own[longest] / 2)
    return tuple(min(size, max(1, whole)) for size, whole in zip(own, array.shape, strict=True))


def codec(compressor: Any, zarr_format: int) -> Any:
    """A compressor as zarr takes it; one of a name has its usual settings."""
    if isinstance(compressor, str) and compressor != "auto":
        check_known([compressor], COMPRESSORS, "compressor")
        compressor = {"name": compressor, "configuration": {}} if zarr_format == 3 else {"id": compressor}
    if zarr_format == 2 and isinstance(compressor, dict):
        return import_module("numcodecs").get_codec(compressor)
    return compressor


def words_of(compressor: Any) -> Any:
    """A compressor in words that JSON can hold, from which `codec` makes it again."""
    if hasattr(compressor, "to_dict"):
        return compressor.to_dict()
    return compressor.get_config() if hasattr(compressor, "get_config") else compressor


def create(
    group: zarr.Group, path: str, array: Any, dims: Sequence[str], chunks: Sequence[int], compressor: Any
) -> Any:
    """A Zarr array like a dask array in which every chunk is written, so that one that is not there was lost."""
    v3 = group.metadata.zarr_format == 3
    return group.create_array(
        path,
        shape=array.shape,
        dtype=array.dtype,
        chunks=tuple(chunks),
        compressors=codec(compressor, group.metadata.zarr_format),
        chunk_key_encoding={"name": "default" if v3 else "v2", "separator": "/"},
        dimension_names=list(dims) if v3 else None,
        config={"write_empty_chunks": True},
    )


def write(array: Any, target: zarr.Array) -> None:
    """Write a dask array so that no two tasks write to one chunk of the target."""
    import dask.array as da

    write_out(da.store(aligned(array, target.chunks), target, lock=False, compute=False))


def aligned(array: Any, chunks: Sequence[int]) -> Any:
    """A dask array in multiples of the chunks it is stored in, near to its own."""
    own = [max(sizes, default=0) for sizes in array.chunks]
    return array.rechunk(tuple(max(size, largest // size * size) for largest, size in zip(own, chunks, strict=True)))


def open_array(store: Any, path: str, chunks: Any, dtype: str, name: str, attempt: str) -> Any:
    """A stored array as a dask array of the given chunks, dtype and name, read by chunks as they are stored."""
    import dask.array as da

    stored = zarr.open_array(store=store, path=path, mode="r")
    # The same entry may be stored anew in other chunks, so what is read has the attempt in its name.
    found = da.from_zarr(stored, name=f"{name}@{attempt}")
    return renamed(found.rechunk(chunks).astype(dtype), name)
