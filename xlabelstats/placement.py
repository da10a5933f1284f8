"""Files and folders put in their place complete or not at all, and what failed or killed writes left beside them."""

from __future__ import annotations

import contextlib
import errno
import glob
import math
import os
import platform
import shutil
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

# Held by a thread while it puts a store in its place and opens it.
PLACING = threading.RLock()

# Seconds after which the last file of a failed write should be written.
LATE = 0.1

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
