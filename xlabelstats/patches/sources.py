"""Arrays that any process can read a box from: no more than the box, and without waiting for another process."""

from __future__ import annotations

import os
import pickle
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends.common import BackendArray
from xarray.backends.zarr import ZarrArrayWrapper
from xarray.core import indexing
from zarr.storage import FsspecStore, LocalStore

from xlabelstats.engine.dask_internals import held_data, what_it_reads
from xlabelstats.extras import need
from xlabelstats.inputs import is_dask


def as_source(array: Any) -> Any:
    """An array-like that can be pickled, and sliced by slices, or along one dim by an array of increasing indices."""
    if isinstance(array, xr.Variable):
        if array.chunks is not None:
            return as_source(array.data)
        # One that was opened lazily reads what it is sliced by; its .data would be all of it.
        held = held_data(array)
        return held if isinstance(held, np.ndarray) else _in_zarr(held, array)
    if isinstance(array, indexing.ImplicitToExplicitIndexingAdapter):
        return _in_zarr(array, array)
    if is_dask(array):
        read = what_it_reads(array)
        return DaskSource(array) if read is None else as_source(read)
    if type(array).__module__.split(".")[0] == "h5py":
        return Hdf5Source(array)
    return array


def place_of(source: Any) -> str | None:
    """Where what `as_source` gave is stored, as ``file#/name``; None for a part, for what is computed, or in memory."""
    if isinstance(source, Hdf5Source):
        return f"{source._path}#{source._name}"
    if isinstance(source, xr.Variable | indexing.ImplicitToExplicitIndexingAdapter):
        lazy = held_data(source) if isinstance(source, xr.Variable) else source
        while hasattr(lazy, "array") and not isinstance(lazy, BackendArray):
            if any(map(_cuts, getattr(getattr(lazy, "key", None), "tuple", ()))):
                return None
            lazy = lazy.array
        if isinstance(lazy, ZarrArrayWrapper):
            return place_of(lazy.get_array())
        file = getattr(getattr(lazy, "datastore", None), "_filename", None)
        return f"{file}#/{lazy.variable_name}" if isinstance(file, str) and hasattr(lazy, "variable_name") else None
    store = getattr(source, "store", None)
    if isinstance(store, LocalStore):
        path = os.path.abspath(store.root)
    elif isinstance(store, FsspecStore):
        path = store.fs.unstrip_protocol(store.path)
    else:
        return None
    return f"{path}#/{source.path}" if source.path else path


class DaskSource:
    """A dask array, of which the blocks of a box are computed by the process and thread that asks for it."""

    def __init__(self, array: Any) -> None:
        if any(size != size for size in array.shape):
            raise ValueError("the chunks of the image have unknown sizes; compute them first: .compute_chunk_sizes()")
        self._array = array
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, key: tuple[Any, ...]) -> Any:
        # Threads of dask do not survive a fork.  A progress bar for every patch would say nothing: no callbacks.
        return self._array[key].compute(scheduler="synchronous", callbacks=())

    def __reduce__(self) -> tuple[Any, ...]:
        # Graphs may hold what only cloudpickle can pickle, such as lambdas.
        from cloudpickle import dumps

        return _dask_source, (dumps(self._array),)


class Hdf5Source:
    """An HDF5 data set, which every process opens for itself."""

    def __init__(self, dataset: Any) -> None:
        self.shape, self.dtype = dataset.shape, dataset.dtype
        self._path, self._name = os.path.abspath(dataset.file.filename), dataset.name
        self._process, self._dataset = os.getpid(), dataset

    def __getitem__(self, key: tuple[Any, ...]) -> np.ndarray:
        # A data set whose file was closed is False.
        if self._process != os.getpid() or not self._dataset:
            self._open()
        return self._dataset[key]

    def _open(self) -> None:
        h5py = need("h5py", "hdf5", "reading HDF5")
        if self._dataset and self._dataset.file.mode == "r":
            # HDF5 would not open it anew, but share the file, and where it is in it, with the parent process.
            self._dataset.file.close()
        self._process, self._dataset = os.getpid(), h5py.File(self._path, "r")[self._name]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_process": None, "_dataset": None}


def _dask_source(pickled: bytes) -> DaskSource:
    return DaskSource(pickle.loads(pickled))


def _cuts(part: Any) -> bool:
    """Whether the part of an index along a dim takes less than all; lists of positions come as arrays."""
    return not isinstance(part, slice) or part != slice(None)


def _in_zarr(lazy: Any, otherwise: Any) -> Any:
    """The Zarr array that xarray opened lazily, if it is neither decoded nor indexed.

    Every patch read through xarray would take a twentieth of a millisecond more.
    """
    wrappers = (indexing.ImplicitToExplicitIndexingAdapter, indexing.MemoryCachedArray, indexing.CopyOnWriteArray)
    while isinstance(lazy, (*wrappers, indexing.LazilyIndexedArray)):
        if isinstance(lazy, indexing.LazilyIndexedArray) and any(map(_cuts, lazy.key.tuple)):
            return otherwise
        lazy = lazy.array
    stored = lazy.get_array() if isinstance(lazy, ZarrArrayWrapper) else None
    same = (getattr(stored, "shape", None), getattr(stored, "dtype", None)) == (otherwise.shape, otherwise.dtype)
    return stored if same else otherwise
