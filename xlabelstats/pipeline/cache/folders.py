"""Folders on local disks and under URLs, and how a cache writes and reads there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from zarr.storage import FsspecStore, LocalStore, WrapperStore

from xlabelstats.extras import need
from xlabelstats.placement import scratch_beside, tidy

if TYPE_CHECKING:
    from upath import UPath

AGAIN = "clear the step in the cache, and run it again"
METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")


class WholeStore(WrapperStore[Any]):
    """A Zarr store that was written whole, so that a chunk that is not there was lost and is not just empty."""

    async def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
        """Read a key, of which only metadata may be lacking."""
        found = await super().get(key, *args, **kwargs)
        if found is None and not key.endswith(METADATA):
            raise FileNotFoundError(f"{key} was removed from {self._store}; {AGAIN}")
        return found


def folder_at(
    url: Any, options: Mapping[str, Any], what: str = "a cache", or_else: str = ", or with None in memory"
) -> UPath:
    """The folder that a path, a URL, or a file system of a folder means; errors say what is looked for in it."""
    make = need("upath", "pipeline", f"{what} in a folder or under a URL").UPath
    if isinstance(url, DirFileSystem):
        fs, path = url, ""
        while isinstance(fs, DirFileSystem):
            fs, path = fs.fs, f"{fs.path}/{path}"
        url = make(fs.unstrip_protocol(path), **fs.storage_options)
    if not isinstance(url, str | os.PathLike | make):
        raise TypeError(f"{what} is in a folder or under a URL{or_else}, not in {type(url).__name__}")
    folder = make(url)
    folder = folder if is_local(folder) else make(folder, **options)
    # Of a package that lacks, the file system tells here.
    if not isinstance(folder.fs, LocalFileSystem):
        return folder
    if options:
        raise ValueError(f"{folder.path} is a local folder, for which there are no storage_options; leave them out")
    return make(folder.path).expanduser().absolute()


def is_local(folder: UPath) -> bool:
    """Whether this is a folder of a local or mounted disk."""
    return isinstance(folder, Path)


def plain_store(folder: UPath) -> Any:
    """The folder as a Zarr store."""
    if is_local(folder):
        return LocalStore(folder.path)
    return FsspecStore.from_url(str(folder), storage_options=dict(folder.storage_options))


def zarr_store(folder: UPath, *, read_only: bool) -> Any:
    """The folder as a Zarr store, of which all chunks must be there when it is read."""
    store = plain_store(folder)
    return WholeStore(store.with_read_only(True)) if read_only else store


def folders_in(folder: UPath) -> list[UPath]:
    """The folders in this one by name, also those that another process made a moment ago."""
    folder.fs.invalidate_cache()
    try:
        return sorted((each for each in folder.iterdir() if each.is_dir()), key=lambda each: each.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def remove(path: UPath) -> None:
    """Remove a file or a folder with all that is in it, if it is there."""
    with suppress(FileNotFoundError):
        path.fs.rm(path.path, recursive=True)


def write_durably(path: UPath, content: bytes) -> None:
    """Write a file that is old or new, and whole, at any moment; on a local disk through to the disk itself."""
    if not is_local(path):
        path.write_bytes(content)
        return
    target = Path(path.path)
    tidy(target)
    with scratch_beside([target]) as (aside,):
        with open(aside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, target)


def read_json(path: UPath) -> dict[str, Any]:
    """The content of a JSON file; nothing if there is none, or one that was not written to its end."""
    with suppress(FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return dict(json.loads(path.read_bytes()) or {})
    return {}
