"""Results written to disk, atomically: a store is complete or absent."""

from __future__ import annotations

import contextlib
import errno
import glob
import math
import os
import platform
import re
import shutil
import threading
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import xarray as xr

from xlabelstats.align import is_dask
from xlabelstats.encoding import DECODING, variables_of
from xlabelstats.engine.dask_internals import held_data
from xlabelstats.engine.merge_tree import uniform
from xlabelstats.kernels import on_device
from xlabelstats.options import compute_each

# Held by a thread while it puts a store in its place and opens it, and while it filters warnings.
PLACING, _FILTERING = threading.RLock(), threading.RLock()

# Seconds after which the last file of a failed write should be written.
LATE = 0.1

T = TypeVar("T", xr.DataArray, xr.Dataset)

# The name under which xarray stores an array that has none, or that of one of its coordinates.
NAMELESS = "__xarray_dataarray_variable__"

# Files of which a Zarr group or array has at least one, in either version of the format.
MARKS = ("zarr.json", ".zgroup", ".zarray")

# What systems say when nothing more can be written, and what can be done about it.
FULL = {
    errno.ENOSPC: ("the disk is full", "free some space, or write to another disk"),
    errno.EDQUOT: ("the quota of the disk is used up", "free some space, or write to another disk"),
    errno.EFBIG: (
        "a file would be larger than the system allows",
        "make chunks smaller, as by .chunk(), or raise the limit (ulimit -f)",
    ),
}


def to_zarr(result: T, path: str | os.PathLike[str], *, overwrite: bool = False) -> T:
    """Write a result to a Zarr store, block by block and atomically: the store is complete or absent.

    ``result.to_zarr(path)`` of xarray writes the same; but if it is interrupted, it leaves a store that opens as if it
    were complete.

    Parameters
    ----------
    result : Dataset or DataArray
        Such as ``image.instances.windows(mask, 64)``; what is lazy is computed on the way.
    path : str or PathLike
        A folder on a local or mounted disk.
    overwrite : bool, default False
        Whether to replace a Zarr store that is there already.  It stays as it is until the new one is complete.  All
        else in it is removed too, so do not write over the store that the image or the mask is in.

    Returns
    -------
    Dataset or DataArray
        The result, lazy, as it is read from the store.

    Raises
    ------
    FileExistsError
        There is something at ``path`` already, and ``overwrite`` is False, or it is no Zarr store.
    OSError
        The disk is full.  Nothing is left of the store, and one that was to be replaced stays as it was.
    ValueError
        ``path`` is a URL, or a variable has a name that no folder can have, such as "Ki67/DAPI".
    TypeError
        ``result`` is neither a Dataset nor a DataArray.

    Notes
    -----
    ``xr.open_zarr(path)`` opens the store again, lazily; of an array,
    ``xr.open_dataarray(path, engine="zarr", chunks={})``.  xarray then takes numbers for times whose ``units`` are
    "seconds" or "days since 2000-01-01", unless it is told ``decode_times=False, decode_timedelta=False``.  What is
    returned here keeps them as numbers.

    A variable with an ``.encoding`` is stored by it, as by xarray: data that was opened from a store, and is written as
    it is, stays packed as it was.  No result of this package has one.  If you put new numbers in such a variable, as by
    ``.copy(data=...)``, drop it first: ``.drop_encoding()``.

    The store is written to a folder beside ``path`` whose name ends in ``.partial``, and renamed at the end.
    What a killed run left of it is removed by the next one to write to ``path``.  If several threads or processes
    replace one store at the same time, the last one stays.

    If writing fails, or is interrupted, the tasks that run are waited for, so that nothing writes on to what is then
    removed.  Those of a `dask.distributed` cluster, or of a pool of your own, cannot be: what they still write stays
    in that folder until the next write to ``path``.

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
    _check_names(result)
    for variable in variables.values():
        if on_device(held_data(variable)):
            raise TypeError(
                "to_zarr writes from main memory, and the result is on the GPU (CuPy); move it there: "
                "result.as_numpy(), or block by block result.map_blocks(lambda block: block.as_numpy())"
            )
    target = target_of(path, overwrite, ", or with result.to_zarr(path), which an interruption leaves half-written")
    with told_when_full([target], result.nbytes), scratch_beside([target]) as (partial,):
        with beyond_specification():
            tasks = _with_uniform_chunks(result).to_zarr(as_store(partial), mode="w-", consolidated=True, compute=False)
        write_out(tasks)
        with PLACING:
            put_in_place(partial, target, overwrite)
            return _open_as_given(target, result, variables)


def _check_names(result: xr.DataArray | xr.Dataset) -> None:
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


def target_of(path: str | os.PathLike[str], overwrite: bool, or_else: str = "") -> Path:
    """The folder that a path means, tidied up, or a complaint if nothing can be written there."""
    if isinstance(os.fspath(path), bytes):
        raise TypeError(f"path is a str or a Path, not bytes: {path!r}")
    if "://" in os.fspath(path):
        raise ValueError(
            f"{os.fspath(path)} is a URL, and only folders can be renamed at once; write to a local folder{or_else}"
        )
    target = Path(os.path.realpath(Path(path).expanduser()))
    with PLACING:
        tidy(target)
        check_free(target, overwrite)
    return target


def check_free(target: Path, overwrite: bool) -> None:
    """Complain about what is at the target already, unless it is a store that may be replaced."""
    if not target.exists():
        return
    if not overwrite:
        raise FileExistsError(
            errno.EEXIST,
            "there is something already, which overwrite=True would replace if it is a Zarr store",
            str(target),
        )
    try:
        # Looked at once, since another process may put another store there at any moment.
        content = set(os.listdir(target))
    except FileNotFoundError:
        return
    except NotADirectoryError:
        content = {""}
    if content and content.isdisjoint(MARKS):
        raise FileExistsError(errno.EEXIST, "this is no Zarr store, and is not overwritten", str(target))


def put_in_place(partial: Path, target: Path, overwrite: bool) -> None:
    """Rename what was written.  The store that it replaces is kept until then, under another name."""
    if not any((partial / mark).exists() for mark in MARKS):
        raise RuntimeError(f"something removed {partial} while it was written")
    while True:
        # Someone may have written here meanwhile.
        check_free(target, overwrite)
        replaced = beside(target, "replaced")
        try:
            if overwrite:
                with contextlib.suppress(FileNotFoundError):
                    target.rename(replaced)
            partial.rename(target)
            return
        except OSError as error:
            # Another process may have been faster; of those that may replace the others, the last one wins.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        finally:
            if replaced.exists() and not target.exists():
                # Another process may be faster here, too.
                with contextlib.suppress(OSError):
                    replaced.rename(target)
            _retire(replaced)


@contextlib.contextmanager
def scratch_beside(targets: Sequence[Path]) -> Iterator[list[Path]]:
    """A path beside each target, removed at the end; by the next write to the target if this process is killed.

    So are the folders made for them, if nothing came of them.
    """
    made = [folder for target in targets for folder in target.parents if not folder.exists()]
    partials = [beside(target, "partial") for target in targets]
    try:
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
        yield partials
    finally:
        for partial in partials:
            remove(partial)
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def told_when_full(targets: Sequence[Path], nbytes: float) -> Iterator[None]:
    """Say of a full disk what was to be written where, and what to do; outermost, so that what is free is known."""
    try:
        yield
    except OSError as error:
        old = ", and what was there is as it was" if any(target.exists() for target in targets) else ""
        where = targets[0] if len(targets) == 1 else targets[0].parent
        check_room(error, "the result", where, nbytes, f"nothing of it is kept{old}")
        raise


def check_room(error: BaseException, what: str, target: Path | str, nbytes: float, state: str) -> None:
    """Raise the complaint that an error stands for, if it is one of a full disk."""
    from dask.utils import format_bytes

    if not isinstance(error, OSError) or error.errno not in FULL:
        return
    reason, advice = FULL[error.errno]
    sizes = [f"{format_bytes(int(nbytes))} before compression"] if math.isfinite(nbytes) else []
    folder = next(
        (each for each in (Path(target), *Path(target).parents) if each.is_absolute() and each.exists()), None
    )
    if folder is not None:
        sizes.append(f"{format_bytes(shutil.disk_usage(folder).free)} are free")
    about = f" ({'; '.join(sizes)})" if sizes else ""
    told = OSError(error.errno, f"there is no room for {what}{about}: {reason}; {state}; {advice}", str(target))
    raise told from error


def beside(target: Path, what: str) -> Path:
    """A name beside the target that says which process made it, and is in use until `remove` is called."""
    path = target.with_name(f".{target.name}.{here()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.{what}")
    _in_use.add(path)
    return path


def remove(path: Path) -> None:
    """Remove a file or folder of a name that `beside` gave, and let go of the name."""
    if path.exists():
        _remove_now(path)
        # zarr writes several files at once, and when one fails it does not wait for the others.
        time.sleep(LATE)
        _remove_now(path)
    _in_use.discard(path)


def _remove_now(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _retire(replaced: Path) -> None:
    """Remove a whole store, under a name by which no rest of it is brought back if that is cut short."""
    with contextlib.suppress(OSError):
        _remove_now(replaced.rename(replaced.with_suffix(".partial")))
    _in_use.discard(replaced)


def tidy(target: Path) -> None:
    """Remove what processes that are no more left beside the target, or bring it back.

    So with what failed writes of this process left, whose last tasks may have ended after it was removed.
    """
    for what in ("replaced", "partial"):
        for left in target.parent.glob(f".{glob.escape(target.name)}.{glob.escape(here())}-*-*.{what}"):
            process = left.name.removesuffix(f".{what}").split("-")[-2]
            if left in _in_use or not process.isdigit() or is_alive(int(process)):
                continue
            if what == "replaced" and not target.exists():
                # It was to be replaced by a store that never came.  Another thread may have brought it back by now.
                with contextlib.suppress(FileNotFoundError):
                    left.rename(target)
            elif what == "replaced":
                _retire(left)
            else:
                _remove_now(left)


def here() -> str:
    """A name for the processes of this machine that can see each other: those of a container cannot see the host's."""
    try:
        return f"{platform.node()}-{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return platform.node()


def is_alive(process: int) -> bool:
    """Whether another process is at work; where that cannot be asked without harm, it is taken to be."""
    if process == os.getpid():
        return False
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


# Names beside targets that this process is writing to now.
_in_use: set[Path] = set()
