"""Folders on local disks and under URLs, and the few things that a cache does with them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore, LocalStore, WrapperStore

from xlabelstats.extras import need
from xlabelstats.placement import beside, tidy

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


def folder_at(url: Any, options: Mapping[str, Any]) -> UPath:
    """The folder that a path, a URL, or a file system of a folder means."""
    make = need("upath", "pipeline", "a cache in a folder or under a URL").UPath
    if isinstance(url, DirFileSystem):
        fs, path = url.fs, url.path
        while isinstance(fs, DirFileSystem):
            fs, path = fs.fs, f"{fs.path}/{path}"
        url = make(fs.unstrip_protocol(path), **fs.storage_options)
    if not isinstance(url, str | os.PathLike | make):
        raise TypeError(
            f"a cache is kept in a folder, under a URL, or with None in memory, not in {type(url).__name__}"
        )
    if not isinstance(url, make):
        url = os.fspath(url)
        if not isinstance(url, str):
            raise TypeError(f"the folder is a str or a Path, not bytes: {url!r}")
        url = url if "://" in url else os.path.abspath(os.path.expanduser(url))
    folder = make(url)
    if options and not is_local(folder):
        folder = make(folder, **options)
    if not isinstance(folder.fs, LocalFileSystem):
        return folder
    if options:
        raise ValueError(f"{folder.path} is a local folder, for which there are no storage_options; leave them out")
    return make(os.path.abspath(os.path.expanduser(folder.path)))


def is_local(folder: UPath) -> bool:
    """Whether this is a folder of a local or mounted disk."""
    return isinstance(folder, Path)


def zarr_store(folder: UPath, *, read_only: bool) -> Any:
    """The folder as a Zarr store, of which all chunks must be there when it is read."""
    if is_local(folder):
        store: Any = LocalStore(folder.path, read_only=read_only)
    else:
        store = FsspecStore.from_url(str(folder), storage_options=dict(folder.storage_options), read_only=read_only)
    return WholeStore(store) if read_only else store


def folders_in(folder: UPath) -> list[UPath]:
    """The folders in this one, none if it does not exist."""
    folder.fs.invalidate_cache(folder.path)
    try:
        found = folder.fs.ls(folder.path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return []
    paths = sorted(each["name"].rstrip("/") for each in found if each["type"] == "directory")
    return [folder / path.rpartition("/")[2] for path in paths if path != folder.path.rstrip("/")]


def exists(path: UPath) -> bool:
    """Whether there is a file or folder, also one that another process made a moment ago."""
    path.fs.invalidate_cache(path.parent.path)
    return path.exists()


def remove(path: UPath) -> None:
    """Remove a file or a folder with all that is in it, if it is there."""
    with suppress(FileNotFoundError):
        path.fs.rm(path.path, recursive=path.is_dir())
    path.fs.invalidate_cache(path.parent.path)


def write_durably(path: UPath, content: bytes) -> None:
    """Write a file that is old or new, and whole, at any moment; on a local disk through to the disk itself."""
    if not is_local(path):
        path.write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    target = Path(path.path)
    tidy(target)
    aside = beside(target, "partial")
    try:
        with open(aside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, target)
    finally:
        aside.unlink(missing_ok=True)


def read_json(path: UPath) -> Any:
    """The content of a JSON file; None if there is none, or one that was not written to its end."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
