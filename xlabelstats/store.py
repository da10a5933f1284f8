"""Results written to Zarr stores, and opened from them as they were."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import xarray as xr

from xlabelstats.encoding import DECODING, variables_of
from xlabelstats.engine.dask_internals import held_data
from xlabelstats.engine.merge_tree import uniform
from xlabelstats.inputs import is_dask, is_sparse
from xlabelstats.kernels import on_device
from xlabelstats.options import compute_each
from xlabelstats.placement import MARKS, PLACING, put_in_place, scratch_beside, target_of, told_when_full

# Held by a thread while it filters warnings.
_FILTERING = threading.RLock()

T = TypeVar("T", xr.DataArray, xr.Dataset)

# The name under which xarray stores an array that has none, or that of one of its coordinates.
NAMELESS = "__xarray_dataarray_variable__"


def to_zarr(result: T, path: str | os.PathLike[str], *, overwrite: bool = False) -> T:
    """Write a result to a Zarr store, block by block and atomically: the store is complete or absent.

    ``result.to_zarr(path)`` of xarray writes the same; but if it is interrupted, it leaves a store that opens as if it
    were complete.

    Parameters
    ----------
    result : Dataset or DataArray
        Such as ``image.instances.windows(mask, 64)``; what is lazy is computed while it is written.
    path : str or PathLike
        A folder on a local or mounted disk.
    overwrite : bool, default False
        Whether to replace a Zarr store that is there already.  It stays as it is until the new one is complete.
        Everything in it is removed then, so do not write over the store that the image or the mask is in.

    Returns
    -------
    Dataset or DataArray
        The result, lazy, as it is read from the store.

    Raises
    ------
    FileExistsError
        Something exists at ``path`` already, and ``overwrite`` is False, or it is not a Zarr store.
    OSError
        The disk is full.  Nothing is left of the new store.  An old one that it should replace stays as it was.
    ValueError
        ``path`` is a URL, or a variable has a name that no folder can have, such as "Ki67/DAPI".
    TypeError
        ``result`` is neither a Dataset nor a DataArray, is on the GPU, or is sparse.

    Notes
    -----
    ``xr.open_zarr(path)`` opens the store again, lazily; if it holds one DataArray, ``xr.open_dataarray(path,
    engine="zarr", chunks={})``.  xarray then reads numbers as times if their ``units`` are "seconds" or "days since
    2000-01-01"; ``decode_times=False, decode_timedelta=False`` prevents this.  The result that is returned here keeps
    them as numbers.

    A variable with an ``.encoding`` is stored with this encoding, as in xarray: data from a store stays packed as it
    was.  No result of this package has an encoding.  If you put new numbers in such a variable, as by
    ``.copy(data=...)``, drop the encoding first: ``.drop_encoding()``.

    The store is written to a folder beside ``path`` whose name ends in ``.partial``, and renamed at the end.  If a run
    is killed, the next run that writes to ``path`` removes the unfinished files.  If several threads or processes
    replace one store at the same time, the store of the last one stays.

    If writing fails, or is interrupted, running tasks are finished before the files are removed.  This is not possible
    for tasks of a `dask.distributed` cluster, or of your own pool: what they still write stays in that folder until the
    next write to ``path``.

    Examples
    --------
    >>> import tempfile
    >>> import xarray as xr
    >>> import xlabelstats
    >>> mask = xr.DataArray([[0, 7, 7, 7], [2, 2, 2, 0]], dims=("y", "x")).chunk(2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     stored = xlabelstats.to_zarr(mask.instances.windows(3), folder + "/windows.zarr")
    ...     print(dict(stored["mask"].sizes))
    {'label': 2, 'y': 3, 'x': 3}
    """
    if not isinstance(result, xr.DataArray | xr.Dataset):
        raise TypeError(f"to_zarr writes a Dataset or a DataArray, not {type(result).__name__}")
    variables = variables_of(result)
    _check_keys(result)
    for variable in variables.values():
        if on_device(held_data(variable)):
            raise TypeError(
                "to_zarr writes from main memory, and the result is on the GPU (CuPy); move it there: "
                "result.as_numpy(), or lazily result.cupy.as_numpy() with cupy-xarray"
            )
        if is_sparse(held_data(variable)):
            raise TypeError(
                "Zarr cannot hold sparse arrays, such as counts of points by category; write them with their zeros: "
                "to_zarr(result.as_numpy(), path), or as a table: result.labels.to_anndata(...)"
            )
    target = target_of(path, overwrite, ", or with result.to_zarr(path), which an interruption leaves half-written")
    with told_when_full([target], result.nbytes), scratch_beside([target]) as (partial,):
        with beyond_specification():
            tasks = _with_uniform_chunks(result).to_zarr(as_store(partial), mode="w-", consolidated=True, compute=False)
        write_out(tasks)
        with PLACING:
            put_in_place(partial, target, overwrite)
            return _open_as_given(target, result, variables)


def _check_keys(result: xr.DataArray | xr.Dataset) -> None:
    """Complain about a variable that xarray would not find again under its name."""
    of_array = isinstance(result, xr.DataArray)
    for name in (*([result.name] if of_array else result.data_vars), *result.coords):
        if isinstance(name, str) and not is_key(name):
            new = re.sub(r"\W+", "_", name)[:80].strip("_") or "variable"
            change = repr(new) if of_array and name == result.name else repr({name: new})
            raise ValueError(
                f"a Zarr store cannot hold a variable named {name!r}, since no folder can have that name; "
                f"rename it first: result.rename({change})"
            )


def is_key(name: str) -> bool:
    """Whether a variable of a name is one folder in a Zarr store, and not several or none."""
    return 0 < len(name.encode()) < 256 and not set(name) & set("/\\\0") and name not in (".", "..", *MARKS)


def _open_as_given(target: Path, result: T, variables: Mapping[Any, xr.Variable]) -> T:
    """The store of a result, opened such that numbers whose attributes look like those of packed ones or times stay."""
    if isinstance(result, xr.DataArray):
        variables = {result.name: variables[None], NAMELESS: variables[None], **variables}
    opener: Any = xr.open_dataset if isinstance(result, xr.Dataset) else xr.open_dataarray
    with beyond_specification():
        return opener(
            as_store(target),
            engine="zarr",
            chunks={},
            mask_and_scale={name: DECODING.isdisjoint(each.attrs) for name, each in variables.items()},
            decode_times={name: each.dtype.kind in "MO" for name, each in variables.items()},
            decode_timedelta={name: each.dtype.kind == "m" for name, each in variables.items()},
        )


def as_store(path: Path) -> Any:
    """A path as xarray and zarr take it whole: newer versions of zarr cut one at a "#"."""
    from zarr.storage import LocalStore

    return LocalStore(path) if "#" in str(path) else path


@contextlib.contextmanager
def beyond_specification() -> Iterator[None]:
    """No warnings that strings, such as names of channels, and metadata in one place are not in Zarr's specification.

    Python keeps the filters of warnings for all threads, hence the lock.
    """
    with _FILTERING, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*(does not have a Zarr V3|not part in the Zarr format 3) specification")
        yield


def write_out(tasks: Any) -> None:
    """Compute what writes, a dask collection or a tuple of them, as `dask.array.store` gives.

    Where that fails, no thread of dask's own goes on writing to what is then removed.
    """
    import dask.threaded
    from dask.base import get_scheduler
    from dask.system import CPU_COUNT

    tasks = tasks if isinstance(tasks, tuple) else (tasks,)
    if get_scheduler(collections=tasks) is not dask.threaded.get or dask.config.get("pool", None) is not None:
        compute_each(tasks)
        return
    with ThreadPoolExecutor(dask.config.get("num_workers", None) or CPU_COUNT) as pool:
        dask.compute(*tasks, pool=pool)


def _with_uniform_chunks(result: T) -> T:
    """The result with chunks as Zarr wants them, which those of sorted windows, for one, are not."""
    if isinstance(result, xr.DataArray):
        return _with_uniform_chunks(result.to_dataset(name=NAMELESS))[NAMELESS].rename(result.name)
    lazy = {name: variable.copy() for name, variable in result.variables.items() if is_dask(variable.data)}
    for variable in lazy.values():
        variable.data = uniform(variable.data)
        # What is said of the store that it was read from is not true of the one it is written to.
        variable.encoding = {
            key: value
            for key, value in variable.encoding.items()
            if key not in ("chunks", "shards", "preferred_chunks")
        }
    return result.assign(lazy)
