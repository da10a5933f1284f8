"""Where results are kept: each in a folder, or in memory, whole or not there."""

from __future__ import annotations

import copy
import json
import math
import os
import re
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from threading import RLock
from typing import TYPE_CHECKING, Any

from dask import multiprocessing
from dask.base import get_scheduler

from xlabelstats.extras import need
from xlabelstats.pipeline.cache import results
from xlabelstats.pipeline.cache.arrays import Source
from xlabelstats.pipeline.cache.folders import folders_in, is_local, read_json, remove, write_durably
from xlabelstats.pipeline.cache.images import Layout, pyramid_of
from xlabelstats.pipeline.cache.keys import DIGITS, digest
from xlabelstats.placement import check_room

if TYPE_CHECKING:
    from upath import UPath

MARKER, BEGUN, LAST, LOCKS, FORMAT = "step.json", ".begun", ".last.json", ".locks", 5

KEY = re.compile(rf"[0-9a-f]{{{DIGITS}}}")
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")

Marker = dict[str, Any]

# Locks of entries that are in no local folder.
THREADS: dict[str, Any] = {}


@dataclass
class Shelf:
    """Folders ``<root>/<name>/<key>/<attempt>``, whole once their marker is there; ``held`` has results in memory."""

    root: UPath
    held: dict[str, Any] | None

    def markers(self, source: Source) -> Iterator[Marker]:
        """The markers of an entry, one of each layout that it is kept in, the newest first."""
        markers = (read_json(attempt / MARKER) for attempt in reversed(folders_in(self._folder(source))))
        return (each for each in markers if each.get("format") == FORMAT)

    def find(self, source: Source) -> Marker | None:
        """The newest marker of an entry that is whole."""
        return next(self.markers(source), None)

    @contextmanager
    def writing(self, source: Source) -> Iterator[None]:
        """Hold an entry, on object storage only against threads of this process; remove what killed writers left."""
        local, folder = is_local(self.root), self._folder(source)
        if self.held is None:
            _check_processes(self.root)
        try:
            for each in (self.root / LOCKS, folder) if local else ():
                each.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            what = f"no results can be written to the cache in this folder ({error.strerror})"
            raise OSError(error.errno, what, str(self.root)) from error
        with self._lock(source) as lock:
            for attempt in folders_in(folder) if local else ():
                if not (attempt / MARKER).exists():
                    remove(attempt)
            try:
                yield
            finally:
                for unless_used, path in ((os.rmdir, folder.path), (os.remove, lock.lock_file)) if local else ():
                    with suppress(OSError):
                        unless_used(path)

    def tidy(self, source: Source) -> None:
        """Remove what a killed writer left beside a whole result, unless someone is at work there."""
        left = is_local(self.root) and any(not (each / MARKER).exists() for each in folders_in(self._folder(source)))
        if left and not self.is_held(source):
            with suppress(OSError), self.writing(source):
                pass

    def is_held(self, source: Source) -> bool:
        """Whether someone is at work on an entry, or, on object storage, may be."""
        if not is_local(self.root):
            return True
        try:
            # Others may look at it as well, for a moment.
            with self._lock(source).acquire(0.1):
                return False
        except OSError as error:
            # Others are of a folder that nobody can write to, or that has no locks yet.
            return isinstance(error, TimeoutError)

    def save(self, source: Source, result: Any, layout: Layout, record: Marker) -> tuple[Any, Marker]:
        """Write a prepared result, then its marker: the record, or the marker of another layout, with more in it."""
        entry = self._folder(source)
        nbytes = int(result.nbytes if hasattr(type(result), "nbytes") else sys.getsizeof(result))
        attempt = entry / f"{len(folders_in(entry)):04}-{uuid.uuid4().hex[:8]}"
        try:
            write_durably(attempt / BEGUN, b"")
            if self.held is None:
                about = results.write_result(result, attempt, layout, source.path, self._image_of(source, record))
            else:
                kind = results.kind_of(result)
                layout = layout.of_image(result.dtype) if kind == "image" else layout
                about = {"kind": kind, "layout": asdict(layout)}
                self.held[attempt.name] = results.in_memory(result, replace(source, made=record["made"]))
            size = attempt.fs.du(attempt.path) or nbytes
            seconds = (datetime.now(UTC) - datetime.fromisoformat(record["created"])).total_seconds()
            marker = {"seconds": seconds, **record, "format": FORMAT, "about": about}
            marker |= {"attempt": attempt.name, "size": size}
            if "about" not in record and (faster := self.find(source)):
                # Without locks another writer may be there first.
                remove(attempt)
                return self.load(source, faster), faster
            _check_there(attempt, source)
            write_durably(attempt / MARKER, json.dumps(marker, indent=2, ensure_ascii=False).encode())
            # Who clears removes the marker last, so that one of both sees what the other did.
            _check_there(attempt, source)
        except BaseException as error:
            # A task may still be writing to it; the next run of the entry removes the rest.
            for pause in (0, 0.1):
                # What was under way beside it may come later.
                time.sleep(pause)
                with suppress(OSError):
                    remove(attempt)
            check_room(error, f"the result of {source.path!r}", str(self.root), nbytes, "nothing of it is kept")
            raise
        return self.load(source, marker), marker

    def load(self, source: Source, marker: Marker) -> Any:
        """The result of an entry, from memory as a copy where it could be changed."""
        if self.held is not None:
            return copy.deepcopy(self.held[marker["attempt"]])
        folder = self._folder(source) / marker["attempt"]
        return results.read_result(folder, marker["about"], replace(source, made=marker["made"]))

    def pyramid(self, source: Source, marker: Marker, result: Any, layout: Layout) -> list[Any]:
        """The levels of an image, of one in memory made when they are looked at."""
        about = marker["about"]
        if self.held is None:
            return results.read_pyramid(self._folder(source) / marker["attempt"], about, result)
        return pyramid_of(results.named(result), layout.over(about["layout"]))

    def entries(self, path: str = "") -> Iterator[tuple[Source, Marker]]:
        """All entries under a name, with what is known of those that are not whole in place of a marker."""
        for folder in folders_in(self.root / path if path else self.root):
            source, url = Source(path, folder.name), str(folder)
            if not KEY.fullmatch(folder.name):
                yield from self.entries(f"{path}/{folder.name}".strip("/")) if NAME.fullmatch(folder.name) else ()
            elif markers := list(self.markers(source)):
                known = {"state": "whole", "url": f"{url}/{markers[0]['attempt']}"}
                yield source, {**markers[0], **known, "size": sum(each["size"] for each in markers)}
            else:
                state = "unfinished" if self.is_held(source) else "broken off"
                yield source, {"state": state, "url": url, "size": folder.fs.du(folder.path)}

    def last(self, path: str) -> dict[str, str]:
        """The key last asked for under a name, and so for every step with its parameters."""
        return read_json(self.root / path / LAST)

    def set_last(self, path: str, last: dict[str, str]) -> None:
        """Take note of it."""
        try:
            write_durably(self.root / path / LAST, json.dumps(last).encode())
        except OSError as error:
            # A folder that nobody can write to can be read from.
            check_room(error, f"a note beside the result of {path!r}", str(self.root), math.nan, "the result is kept")

    def clear(self, sources: Iterable[Source]) -> None:
        """Remove entries, their markers first, unless they are being computed."""
        for source in sources:
            if is_local(self.root) and self.is_held(source):
                raise RuntimeError(f"{source.path!r} is being computed by another run; clear it when that has ended")
            with self.writing(source):
                for attempt in folders_in(self._folder(source)):
                    remove(attempt / BEGUN)
                    remove(attempt / MARKER)
                    (self.held or {}).pop(attempt.name, None)
                remove(self._folder(source))
            remove(self.root / source.path / LAST)

    def _image_of(self, source: Source, record: Marker) -> str | None:
        """The path from the pixels of an entry to those of the nearest image that it was made from, if kept here."""
        inputs = _sources_in(record)
        for each in inputs:
            if not (marker := self.find(each)):
                continue
            if marker["about"]["kind"] == "image" and not marker["about"]["layout"]["is_label"]:
                to_root = "../" * (len(source.path.split("/")) + 3)
                return f"{to_root}{each.path}/{each.key}/{marker['attempt']}/{results.PIXELS}"
            inputs += [one for one in _sources_in(marker) if one not in inputs]
        return None

    def _folder(self, source: Source) -> UPath:
        return self.root / source.path / source.key

    def _lock(self, source: Source) -> Any:
        name = digest(source.path, source.key)
        if not is_local(self.root):
            return THREADS.setdefault(f"{self.root}/{name}", RLock())
        return need("filelock", "pipeline", "a cache in a folder").FileLock((self.root / LOCKS / name).path)


def _sources_in(record: Marker) -> list[Source]:
    return [Source(*each) for given in record["inputs"] for each in given["sources"]]


def _check_there(attempt: UPath, source: Source) -> None:
    """Complain about an attempt that was removed, maybe before some of it was written."""
    attempt.fs.invalidate_cache()
    if not (attempt / BEGUN).exists():
        raise OSError(f"{source.path!r} was cleared while its result was written; run it again")


def _check_processes(root: UPath) -> None:
    """Complain about workers in other processes, which would write to memory of their own."""
    client = getattr(getattr(get_scheduler(), "__self__", None), "scheduler", None)
    here = getattr(client, "address", "inproc:").startswith("inproc:") and get_scheduler() is not multiprocessing.get
    if root.protocol == "memory" and not here:
        where = f"{root} is in the memory of this process, which dask's workers in other processes cannot reach"
        raise ValueError(f"{where}; keep the cache in a folder, or compute in this process: Client(processes=False)")
