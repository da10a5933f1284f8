"""Pixels from a store, such that an error says which of them could not be read."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import xarray as xr

from xlabelstats.engine.dask_internals import held_data, with_other_sources

Box = tuple[slice, ...]

# Chunks that are read one by one in search of one that cannot be read.
MOST_PIECES = 1000


def pixels_of_store(array: xr.DataArray, what: str) -> Any:
    """The data of an image or a mask.  What fails in reading it, now or when dask does, names the chunk.

    dask arrays made of a store hold it in their graph; there it is replaced by a `Reader`, under the same key.
    """
    if array.chunks is not None:
        return with_sources(array.data, what)
    try:
        return array.data
    except Exception as error:
        explain(error, what, held_data(array), array.shape, lambda box: array[box].data)
        raise


def with_sources(array: Any, what: str) -> Any:
    """A dask array, the same but that the stores it reads from say what could not be read of them."""
    return with_other_sources(array, lambda source: None if isinstance(source, Reader) else Reader(source, what))


class Reader:
    """An array in a store, read as it is, but that errors name the chunk."""

    def __init__(self, array: Any, what: str) -> None:
        self.array, self.what = array, what
        self.shape, self.dtype, self.ndim = tuple(array.shape), array.dtype, len(array.shape)

    def __getitem__(self, key: Any) -> Any:
        try:
            return self._read(key)
        except Exception as error:
            box = key if isinstance(key, tuple) and all(isinstance(along, slice) for along in key) else None
            explain(error, self.what, self.array, self.shape, self._read, box)
            raise

    def __sizeof__(self) -> int:
        from dask.sizeof import sizeof

        return sizeof(self.array)

    def _read(self, key: Any) -> Any:
        found = self.array[key]
        # xarray's arrays are read when they are asked for their numbers, no sooner.
        return found.get_duck_array() if hasattr(found, "get_duck_array") else found


def explain(
    error: Exception, what: str, array: Any, shape: Sequence[int], read: Callable[[Any], Any], box: Box | None = None
) -> None:
    """Add to an error in reading a box of pixels the first of the stored chunks that cannot be read by itself."""
    if isinstance(error, MemoryError):
        return
    box = tuple(slice(0, n) for n in shape) if box is None else box
    where, place, advice = type(array).__name__, f"pixels {_text(box)}", "Try again, or"
    # Whatever goes wrong in explaining an error must not take its place.
    with contextlib.suppress(Exception):
        where, chunks = _origin_of(array)
        for index, piece in itertools.islice(_pieces(box, shape, chunks), MOST_PIECES) if chunks else ():
            try:
                read(piece)
            except Exception:
                place, advice = f"chunk {index}, pixels {_text(piece)},", "Write that chunk anew, or"
                break
    error.add_note(
        f"raised in reading the {what}: {place} of {where} cannot be read. "
        f"{advice} choose pixels without it: {what}.isel(...)"
    )


def _pieces(box: Box, shape: Sequence[int], chunks: Sequence[int]) -> Any:
    """The index of every chunk that a box touches, and the part of the box that lies in it."""
    along = []
    for part, n, size in zip(box, shape, chunks, strict=True):
        start, stop, _ = part.indices(n)
        along.append(
            [
                (i, slice(max(start, i * size), min(stop, i * size + size)))
                for i in range(start // size, -(-stop // size))
            ]
        )
    for place in itertools.product(*along):
        yield tuple(i for i, _ in place), tuple(part for _, part in place)


def _origin_of(array: Any) -> tuple[str, Sequence[int] | None]:
    """Where an array is stored, and its chunks, if what lies under it says so."""
    shape, whole = tuple(array.shape), True
    while (
        not hasattr(array, "chunks") and (inner := getattr(array, "array", getattr(array, "_array", None))) is not None
    ):
        # xarray keeps what was chosen of an array, or that it was transposed, as a key: its chunks lie otherwise then.
        key = getattr(getattr(array, "key", None), "tuple", ())
        whole = whole and all(isinstance(along, slice) and along == slice(None) for along in key)
        array = inner
    chunks = getattr(array, "chunks", None)
    place = getattr(array, "store_path", None) or getattr(getattr(array, "file", None), "filename", None)
    same = whole and tuple(getattr(array, "shape", ())) == shape
    regular = isinstance(chunks, tuple) and all(isinstance(size, int) and size > 0 for size in chunks)
    return str(place or type(array).__name__), chunks if same and regular else None


def _text(box: Box) -> str:
    return "[" + ", ".join(f"{part.start}:{part.stop}" for part in box) + "]"
