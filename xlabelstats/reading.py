"""Pixels from a store, such that an error says which of them could not be read."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

Box = tuple[slice, ...]


def pixels_of_store(array: xr.DataArray, what: str) -> Any:
    """The data of an image or a mask.  What fails in reading it, now or when dask does, names the chunk.

    dask arrays made of a store hold it in their graph; there it is replaced by a `Source`, under the same key.
    """
    if array.chunks is not None:
        return with_sources(array.data, what)
    try:
        return array.data
    except Exception as error:
        chunks = array.encoding.get("chunks")
        where = str(array.encoding.get("source") or repr(array.name))
        explain(error, what, where, array.shape, chunks, lambda box: array[box].data)
        raise


def with_sources(array: Any, what: str) -> Any:
    """A dask array, the same but that the stores it reads from say what could not be read of them."""
    import dask.array as da
    from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

    graph = array.__dask_graph__() if hasattr(array, "__dask_graph__") else None
    if not isinstance(graph, HighLevelGraph):
        return array
    found = {}
    for name, layer in graph.layers.items():
        # dask holds what `from_array` and `from_zarr` read from in a layer of its own, of one key.
        held = (
            layer.mapping.get(name) if isinstance(layer, MaterializedLayer) and name.startswith("original-") else None
        )
        if hasattr(held, "__getitem__") and hasattr(held, "shape") and not isinstance(held, np.ndarray | Source):
            found[name] = MaterializedLayer({name: Source(held, what)})
    if not found:
        return array
    layers = HighLevelGraph({**graph.layers, **found}, graph.dependencies)
    return da.Array(layers, array.name, array.chunks, meta=array._meta)


class Source:
    """An array in a store, read as it is, but that errors name the chunk."""

    def __init__(self, array: Any, what: str) -> None:
        self.array, self.what = array, what
        self.shape, self.dtype, self.ndim = tuple(array.shape), array.dtype, len(array.shape)

    def __getitem__(self, key: Any) -> Any:
        try:
            return self._read(key)
        except Exception as error:
            box = key if isinstance(key, tuple) and all(isinstance(along, slice) for along in key) else None
            where, chunks = _described(self.array)
            explain(error, self.what, where, self.shape, chunks, self._read, box)
            raise

    def _read(self, key: Any) -> Any:
        found = self.array[key]
        # xarray's arrays are read when they are asked for their numbers, no sooner.
        return found.get_duck_array() if hasattr(found, "get_duck_array") else found


def explain(
    error: Exception,
    what: str,
    where: str,
    shape: Sequence[int],
    chunks: Sequence[int] | None,
    read: Callable[[Any], Any],
    box: Box | None = None,
) -> None:
    """Add to an error in reading a box of pixels the first of the stored chunks that cannot be read by itself."""
    box = tuple(slice(0, n) for n in shape) if box is None else box
    place = f"pixels {_text(box)}"
    if chunks is not None and len(chunks) == len(shape) == len(box):
        for index, piece in _pieces(box, shape, chunks):
            try:
                read(piece)
            except Exception:
                place = f"chunk {index}, pixels {_text(piece)},"
                break
    error.add_note(
        f"raised in reading the {what}: {place} of {where} cannot be read. "
        f"Write that chunk anew, or choose pixels without it: {what}.isel(...)"
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


def _described(array: Any) -> tuple[str, Sequence[int] | None]:
    """Where an array is stored, and its chunks, if what lies under it says so."""
    shape = tuple(array.shape)
    while (
        not hasattr(array, "chunks") and (inner := getattr(array, "array", getattr(array, "_array", None))) is not None
    ):
        array = inner
    chunks = getattr(array, "chunks", None)
    place = getattr(array, "store_path", None) or getattr(getattr(array, "file", None), "filename", None)
    # A view of a part of it has other pixels.
    same = tuple(getattr(array, "shape", ())) == shape
    return str(place or type(array).__name__), chunks if same else None


def _text(box: Box) -> str:
    return "[" + ", ".join(f"{part.start}:{part.stop}" for part in box) + "]"
