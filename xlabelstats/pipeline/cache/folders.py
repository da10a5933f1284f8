"""Folders of any file system that fsspec knows, and the few things that a cache does with them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsspec.implementations.local import LocalFileSystem
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore, LocalStore, WrapperStore

from xlabelstats.extras import need
from xlabelstats.placement import beside, remove, tidy

if TYPE_CHECKING:
    from upath import UPath

METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")


class WholeStore(WrapperStore[Any]):
    """A Zarr store that was written whole, so that a chunk that is not there was lost and is not just empty."""

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Read a key, of which only metadata may be lacking."""
        found = await super().get(key, prototype, byte_range)
        if found is None and not key.endswith(METADATA):
            raise FileNotFoundError(
                f"{key} was removed from {self._store}; clear the step in the cache, and run it again"
            )
        return found


def zarr_store(folder: UPath, *, read_only: bool) -> Any:
    """The folder as a Zarr store, of which all chunks must be there when it is read."""
    store: Any
    if is_local(folder):
        store = LocalStore(folder.path, read_only=read_only)
    else:
        store = FsspecStore.from_upath(folder, read_only=read_only)
    return WholeStore(store) if read_only else store


def is_local(folder: UPath) -> bool:
    """Whether this is a folder of a local or mounted disk."""
    return isinstance(folder, Path)


def folders_in(folder: UPath) -> list[UPath]:
    """The folders in this one, none if it does not exist."""
    folder.fs.invalidate_cache(folder.path)
    try:
        return sorted((inner for inner in folder.iterdir() if inner.is_dir()), key=lambda inner: inner.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def exists(path: UPath) -> bool:
    """Whether there is a file or folder, also one that another process made a moment ago."""
    path.fs.invalidate_cache(path.parent.path)
    return path.exists()


def write_durably(path: UPath, content: bytes) -> None:
    """Write a file, on a local disk through to the disk itself."""
    if not is_local(path):
        path.write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace(path: UPath, content: bytes) -> None:
    """Write a file that is there whole, old or new, at any moment."""
    if not is_local(path):
        write_durably(path, content)
        return
    target = Path(path.path)
    tidy(target)
    aside = beside(target, "partial")
    try:
        write_durably(path.with_name(aside.name), content)
        os.replace(aside, target)
    finally:
        remove(aside)


def publish(source: UPath, target: UPath, *, again: bool = False) -> bool:
    """Move a file within a disk; say whether it is the one that counts now.

    The first to do so wins unless told to do it again.  Where files cannot be linked, as on object storage, two that
    do so at the same moment both think so, and the last one wins.
    """
    if not is_local(source):
        if not again and exists(target):
            return False
        write_durably(target, source.read_bytes())
        return True
    if again:
        os.replace(source.path, target.path)
        return True
    try:
        os.link(source.path, target.path)
        os.unlink(source.path)
    except FileExistsError:
        return False
    except OSError:
        # Some disks have no links.
        if exists(target):
            return False
        os.replace(source.path, target.path)
    return True


def remove_all(path: UPath) -> None:
    """Remove a file or a folder with all that is in it, if it is there."""
    with suppress(FileNotFoundError):
        path.fs.rm(path.path, recursive=path.is_dir())
    path.fs.invalidate_cache(path.parent.path)


def size_of(folder: UPath) -> int:
    """The bytes of all files in it."""
    return int(folder.fs.du(folder.path))


def folder_at(url: str | os.PathLike[str], options: Mapping[str, Any]) -> UPath:
    """The folder that a path or URL means."""
    if not isinstance(url, str | os.PathLike):
        raise TypeError(
            f"a cache is kept in a folder, under a URL, or with None in memory, not in {type(url).__name__}"
        )
    path = os.fspath(url)
    if not isinstance(path, str):
        raise TypeError(f"the folder is a str or a Path, not bytes: {path!r}")
    make = need("upath", "pipeline", "a cache in a folder or under a URL").UPath
    folder = make(path, **options)
    if isinstance(folder.fs, LocalFileSystem):
        return make(os.path.abspath(os.path.expanduser(folder.path)))
    return folder


def read_json(path: UPath) -> Any:
    """The content of a JSON file; None if there is none, or one that was not written to its end."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def as_json(content: Mapping[str, Any] | Iterable[Any]) -> bytes:
    """JSON to be written."""
    return json.dumps(content, indent=2, ensure_ascii=False).encode()
