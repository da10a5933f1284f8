"""Folders of any file system that fsspec knows, and the few things that a cache does with them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore, LocalStore, WrapperStore

from xlabelstats.placement import beside, remove, tidy

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


@dataclass(frozen=True)
class Folder:
    """A folder, which need not exist.

    Attributes
    ----------
    fs : fsspec file system
    path : str
        As the file system writes it.
    options : mapping
        What fsspec needs to reach the file system.
    """

    fs: Any
    path: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __truediv__(self, name: str) -> Folder:
        return Folder(self.fs, f"{self.path.rstrip('/')}/{name}", self.options)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rstrip("/").rsplit("/", 1)[-1]

    @property
    def url(self) -> str:
        """The path, with the protocol where it is not local."""
        return self.path if self.is_local else self.fs.unstrip_protocol(self.path)

    @property
    def is_local(self) -> bool:
        """Whether this is a folder of a local or mounted disk."""
        return isinstance(self.fs, LocalFileSystem)

    def zarr(self, *, read_only: bool) -> Any:
        """The folder as a Zarr store, of which all chunks must be there when it is read."""
        if self.is_local:
            store: Any = LocalStore(self.path, read_only=read_only)
        else:
            store = FsspecStore.from_url(self.url, storage_options=dict(self.options), read_only=read_only)
        return WholeStore(store) if read_only else store

    def folders(self) -> list[Folder]:
        """The folders in this one, none if it does not exist."""
        self.fs.invalidate_cache(self.path)
        try:
            found = self.fs.ls(self.path, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        paths = (each["name"].rstrip("/") for each in found if each["type"] == "directory")
        return [self / name for name in sorted(p.rsplit("/", 1)[-1] for p in paths if p != self.path.rstrip("/"))]

    def exists(self, name: str) -> bool:
        """Whether there is a file or folder of this name."""
        self.fs.invalidate_cache(self.path)
        return bool(self.fs.exists((self / name).path))

    def read(self, name: str) -> bytes:
        """The content of a file."""
        return self.fs.cat_file((self / name).path)

    def write(self, name: str, content: bytes) -> None:
        """Write a file, on a local disk through to the disk itself."""
        path = (self / name).path
        if not self.is_local:
            self.fs.pipe_file(path, content)
            return
        os.makedirs(self.path, exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def replace(self, name: str, content: bytes) -> None:
        """Write a file that is there whole, old or new, at any moment."""
        if not self.is_local:
            self.write(name, content)
            return
        target = Path((self / name).path)
        tidy(target)
        aside = beside(target, "partial")
        try:
            self.write(aside.name, content)
            os.replace(aside, target)
        finally:
            remove(aside)

    def publish(self, written: Folder, name: str, *, replace: bool = False) -> bool:
        """Move a file here that another folder of the same disk holds; say whether it is the one that counts now.

        The first to do so wins unless told to replace it.  Where files cannot be linked, as on object storage,
        two that do so at the same moment both think so, and the last one wins.
        """
        if not self.is_local:
            if not replace and self.exists(name):
                return False
            self.write(name, written.read(name))
            return True
        source, target = (written / name).path, (self / name).path
        if replace:
            os.replace(source, target)
            return True
        try:
            os.link(source, target)
            os.unlink(source)
        except FileExistsError:
            return False
        except OSError:
            # Some disks have no links.
            if self.exists(name):
                return False
            os.replace(source, target)
        return True

    def remove(self, name: str) -> None:
        """Remove a file or a folder with all that is in it, if it is there."""
        path = (self / name).path
        with suppress(FileNotFoundError):
            self.fs.rm(path, recursive=self.fs.isdir(path))
        self.fs.invalidate_cache(self.path)

    def size(self) -> int:
        """The bytes of all files in it."""
        return int(self.fs.du(self.path))


def folder_at(url: str | os.PathLike[str], options: Mapping[str, Any]) -> Folder:
    """The folder that a path or URL means."""
    if not isinstance(url, str | os.PathLike):
        raise TypeError(
            f"a cache is kept in a folder, under a URL, or with None in memory, not in {type(url).__name__}"
        )
    path = os.fspath(url)
    if not isinstance(path, str):
        raise TypeError(f"the folder is a str or a Path, not bytes: {path!r}")
    if "://" not in path:
        path = os.path.abspath(os.path.expanduser(path))
    fs, found = fsspec.core.url_to_fs(path, **options)
    return Folder(fs, found, dict(options))


def read_json(folder: Folder, name: str) -> Any:
    """The content of a JSON file; None if there is none, or one that was not written to its end."""
    try:
        return json.loads(folder.read(name))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def as_json(content: Mapping[str, Any] | Iterable[Any]) -> bytes:
    """JSON to be written."""
    return json.dumps(content, indent=2, ensure_ascii=False).encode()
