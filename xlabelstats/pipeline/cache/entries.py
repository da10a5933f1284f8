"""What is kept of every step, in folders or in memory: whole, or not there."""

from __future__ import annotations

import copy
import json
import logging
import math
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from dask import multiprocessing
from dask.base import get_scheduler

from xlabelstats.extras import need
from xlabelstats.pipeline.cache import results
from xlabelstats.pipeline.cache.arrays import Source
from xlabelstats.pipeline.cache.folders import exists, folders_in, is_local, read_json, remove, write_durably
from xlabelstats.pipeline.cache.images import Layout, pyramid_of
from xlabelstats.pipeline.cache.keys import DIGITS
from xlabelstats.placement import check_room

if TYPE_CHECKING:
    from upath import UPath

# BEGUN is written first, in the folder of an attempt: without it the folder was removed since.
MARKER, LAST, LOCK, BEGUN = "step.json", ".last.json", ".lock", "begun"
FORMAT = 3

KEY = re.compile(rf"[0-9a-f]{{{DIGITS}}}")
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")

Marker = dict[str, Any]

log = logging.getLogger("xlabelstats.pipeline")


class Entry(NamedTuple):
    """What is kept under a key: a whole result with its marker, or attempts at one."""

    source: Source
    marker: Marker | None
    state: str
    url: str
    size: int


@dataclass
class FolderShelf:
    """Entries in folders ``<root>/<name>/<key>``.

    Every attempt at a result writes to a folder of its own in that of the entry.  The marker, written last,
    names the one that counts, and those that it replaced, which opened results may still read.
    """

    root: UPath

    def folder(self, source: Source) -> UPath:
        """The folder of an entry."""
        return self.root / source.path / source.key

    def find(self, source: Source) -> Marker | None:
        """The marker of an entry that is whole."""
        marker = read_json(self.folder(source) / MARKER)
        known = isinstance(marker, dict) and marker.get("format") == FORMAT
        return marker if known and exists(self.folder(source) / marker["attempt"] / BEGUN) else None

    @contextmanager
    def writing(self, source: Source) -> Iterator[None]:
        """Hold an entry from before it is computed, once nobody else does, and remove what killed writers left of it.

        Object storage has no locks: there the first marker counts.
        """
        _check_processes(self.root)
        entry, local = self.folder(source), is_local(self.root)
        holding = None if local else nullcontext()
        try:
            (self.root / source.path).mkdir(parents=True, exist_ok=True)
            if local and self.is_held(source):
                log.info("%s: waits for another run of it", source.path)
            while holding is None:
                entry.mkdir(parents=True, exist_ok=True)
                # It may be cleared while this waits.
                with suppress(FileNotFoundError):
                    holding = self._lock(source).acquire()
        except OSError as error:
            what = f"no results can be written to the cache in this folder ({error.strerror})"
            raise OSError(error.errno, what, str(self.root)) from error
        with holding:
            marker = self.find(source) or {"attempt": "", "former": []}
            for attempt in folders_in(entry) if local else ():
                if attempt.name not in (marker["attempt"], *marker["former"]):
                    _remove(attempt)
            try:
                yield
            finally:
                if local:
                    _remove(entry / LOCK)

    def tidy(self, source: Source) -> None:
        """Remove what a killed writer, the only one that leaves its lock, left of an entry."""
        if is_local(self.root) and exists(self.folder(source) / LOCK) and not self.is_held(source):
            with self.writing(source):
                pass

    def is_held(self, source: Source) -> bool:
        """Whether someone is at work on an entry, or may be."""
        if not is_local(self.root):
            return True
        try:
            with self._lock(source).acquire(0) if exists(self.folder(source) / LOCK) else nullcontext():
                return False
        except OSError:
            return True

    def _lock(self, source: Source) -> Any:
        return need("filelock", "pipeline", "a cache in a folder").FileLock((self.folder(source) / LOCK).path)

    def save(self, source: Source, result: Any, layout: Layout, record: Marker, former: Marker | None = None) -> Marker:
        """Write a prepared result, then its marker; ``former`` is the marker of the same one that it replaces.

        On object storage there may be another writer: the first wins, and its marker is given back.
        """
        entry = self.folder(source)
        attempt = entry / str(uuid.uuid4())
        if former and former["about"]["kind"] == "image":
            layout = layout.over(former["about"]["image"])
        kept = [former["attempt"], *former["former"]] if former else []
        try:
            write_durably(attempt / BEGUN, b"")
            about = results.write_result(result, attempt, layout, source.path)
            marker = {"format": FORMAT, **_timed(record), "about": about, "attempt": attempt.name, "former": kept}
            marker["size"] = attempt.fs.du(attempt.path) or len(json.dumps(marker))
            if former is None and (faster := self.find(source)):
                _remove(attempt)
                return faster
            write_durably(entry / MARKER, json.dumps(marker, indent=2, ensure_ascii=False).encode())
            found = self.find(source)
            if found is None:
                _remove(entry / MARKER)
                raise FileNotFoundError(attempt)
            return found
        except BaseException as error:
            cleared = isinstance(error, KeyError | FileNotFoundError) and not exists(attempt / BEGUN)
            _remove(attempt)
            if cleared:
                raise OSError(f"{source.path!r} was cleared while its result was written; run it again") from error
            what, size = f"the result of {source.path!r}", results.bytes_of(result)
            check_room(error, what, str(self.root), size, "nothing of it is kept")
            raise

    def load(self, source: Source, marker: Marker) -> Any:
        """The result of an entry."""
        folder, made = self.folder(source) / marker["attempt"], replace(source, made=marker["made"])
        return results.read_result(folder, marker["about"], made)

    def differs(self, marker: Marker, layout: Layout, result: Any) -> bool:
        """Whether an entry is kept in another layout than asked for."""
        return results.differs(marker["about"], layout, result)

    def pyramid(self, marker: Marker, source: Source, result: Any) -> list[Any]:
        """The levels of an image."""
        return results.read_pyramid(self.folder(source) / marker["attempt"], marker["about"], result)

    def entries(self, path: str = "") -> Iterator[Entry]:
        """All entries under a name, and those of its children."""
        for folder in folders_in(self.root / path if path else self.root):
            source = Source(path, folder.name)
            if not KEY.fullmatch(folder.name):
                yield from self.entries(f"{path}/{folder.name}".strip("/")) if NAME.fullmatch(folder.name) else ()
            elif marker := self.find(source):
                yield Entry(source, marker, "whole", str(folder / marker["attempt"]), marker["size"])
            elif (held := self.is_held(source)) or folders_in(folder) or exists(folder / MARKER):
                state = "unfinished" if held else "broken off"
                yield Entry(source, None, state, str(folder), folder.fs.du(folder.path))

    def last(self, path: str) -> dict[str, str]:
        """The key last asked for under a name, and so for every step with its parameters."""
        last = read_json(self.root / path / LAST)
        return last if isinstance(last, dict) else {}

    def set_last(self, path: str, last: dict[str, str]) -> None:
        """Take note of it."""
        try:
            write_durably(self.root / path / LAST, json.dumps(last).encode())
        except OSError as error:
            what = f"a note beside the result of {path!r}"
            check_room(error, what, str(self.root), math.nan, "the result is kept")
            raise

    def clear(self, path: str) -> None:
        """Remove all entries under a name, their markers first."""
        for entry in list(self.entries(path)):
            remove(self.folder(entry.source) / MARKER)
        remove(self.root / path)


@dataclass
class MemoryShelf:
    """Entries in memory, with the methods of those in folders."""

    held: dict[Source, tuple[Marker, Any]] = field(default_factory=dict)
    lasts: dict[str, dict[str, str]] = field(default_factory=dict)

    def find(self, source: Source) -> Marker | None:
        """The marker of an entry."""
        return self.held.get(source, (None, None))[0]

    def tidy(self, source: Source) -> nullcontext[None]:
        """Nothing: what is in memory is whole."""
        return nullcontext()

    writing = tidy

    def save(self, source: Source, result: Any, layout: Layout, record: Marker, former: Marker | None = None) -> Marker:
        """Compute a result and keep it; only its levels are a matter of layout."""
        kept = result if former else results.in_memory(result, replace(source, made=record["made"]))
        about = former["about"] if former else {"kind": results.kind_of(kept), "multiscale": 1, "labels": None}
        asked = {"multiscale": layout.multiscale, "labels": layout.is_label}
        about = about | {name: value for name, value in asked.items() if value is not None}
        marker = {**_timed(record), "about": about, "size": results.bytes_of(kept)}
        self.held[source] = marker, kept
        return marker

    def load(self, source: Source, marker: Marker) -> Any:
        """The result of an entry, as a copy where it could be changed."""
        return copy.deepcopy(self.held[source][1])

    def differs(self, marker: Marker, layout: Layout, result: Any) -> bool:
        """Whether an image has other levels than asked for."""
        now = marker["about"]
        return layout.multiscale not in (None, now["multiscale"]) or layout.is_label not in (None, now["labels"])

    def pyramid(self, marker: Marker, source: Source, result: Any) -> list[Any]:
        """The levels of an image, made when they are looked at."""
        about = marker["about"]
        return pyramid_of(results.named(result), about["multiscale"], about["labels"])

    def entries(self, path: str = "") -> Iterator[Entry]:
        """All entries under a name, and those of its children."""
        for source, (marker, _) in list(self.held.items()):
            if not path or f"{source.path}/".startswith(f"{path}/"):
                yield Entry(source, marker, "whole", "", marker["size"])

    def last(self, path: str) -> dict[str, str]:
        """The key last asked for under a name, and so for every step with its parameters."""
        return self.lasts.get(path, {})

    def set_last(self, path: str, last: dict[str, str]) -> None:
        """Take note of it."""
        self.lasts[path] = last

    def clear(self, path: str) -> None:
        """Let go of all entries under a name."""
        for entry in list(self.entries(path)):
            del self.held[entry.source]


Shelf = FolderShelf | MemoryShelf


def _timed(record: Marker) -> Marker:
    """A record with the seconds since ``started`` in its place."""
    seconds = time.perf_counter() - record["started"] if "started" in record else record["seconds"]
    return {**{name: value for name, value in record.items() if name != "started"}, "seconds": seconds}


def _check_processes(root: UPath) -> None:
    """Complain about workers in other processes, which would write to memory of their own."""
    get = get_scheduler()
    client = getattr(getattr(get, "__self__", None), "scheduler", None)
    elsewhere = get is multiprocessing.get or not getattr(client, "address", "inproc:").startswith("inproc:")
    if root.protocol == "memory" and elsewhere:
        where = f"{root} is in the memory of this process, which dask's workers in other processes cannot reach"
        raise ValueError(f"{where}; keep the cache in a folder, or compute in this process: Client(processes=False)")


def _remove(path: UPath) -> None:
    # A task may still be writing to it; the next run of the entry removes the rest.
    with suppress(OSError):
        remove(path)
