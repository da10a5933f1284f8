"""Entries of a cache: what is kept of every step, whole or not there."""

from __future__ import annotations

import math
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from xlabelstats.pipeline.cache.arrays import Source
from xlabelstats.pipeline.cache.folders import (
    as_json,
    exists,
    folders_in,
    publish,
    read_json,
    remove_all,
    size_of,
    write_durably,
)
from xlabelstats.pipeline.cache.folders import replace as put
from xlabelstats.pipeline.cache.images import Layout
from xlabelstats.pipeline.cache.keys import DIGITS
from xlabelstats.pipeline.cache.results import (
    bytes_of,
    differs,
    read_pyramid,
    read_result,
    write_result,
)
from xlabelstats.placement import check_room, here, is_alive

if TYPE_CHECKING:
    from upath import UPath

MARKER, LAST = "step.json", ".last.json"
FORMAT = 2

# In the folder of every attempt, written first: without it the folder was removed since.
BEGUN = "begun"

KEY = re.compile(rf"[0-9a-f]{{{DIGITS}}}")
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")

Marker = dict[str, Any]

# Attempts that this process is at work on.
_in_use: set[str] = set()


@dataclass
class Entry:
    """What is kept under a key: a whole result with its marker, or attempts at one."""

    source: Source
    marker: Marker | None
    state: str
    url: str
    size: int


class Shelf(Protocol):
    """A place that keeps entries."""

    def find(self, source: Source) -> Marker | None:
        """The marker of an entry that is whole."""

    def save(self, source: Source, result: Any, layout: Layout, record: Marker, former: Marker | None = None) -> Marker:
        """Keep a prepared result; ``former`` is the marker of the same one that it replaces."""

    def load(self, source: Source, marker: Marker) -> Any:
        """The result of an entry."""

    def differs(self, marker: Marker, layout: Layout, result: Any) -> bool:
        """Whether an entry is kept in another layout than asked for."""

    def pyramid(self, marker: Marker, source: Source, result: Any) -> list[Any]:
        """The levels of an image."""

    def check_room(self, source: Source) -> None:
        """Complain, before anything is computed for it, if an entry cannot be written."""

    def tidy(self, source: Source) -> None:
        """Remove what processes that are no more left of an entry."""

    def entries(self, path: str = "") -> Iterator[Entry]:
        """All entries under a name, and those of its children."""

    def last(self, path: str) -> dict[str, str]:
        """The key last asked for under a name, and so for every step with its parameters."""

    def set_last(self, path: str, last: dict[str, str]) -> None:
        """Take note of it."""

    def clear(self, path: str) -> None:
        """Remove all entries under a name, and those of its children."""


@dataclass
class FolderShelf:
    """Entries in folders ``<root>/<name>/<key>``.

    Every attempt at a result writes to a folder of its own in that of the entry.  The marker, written last,
    names the one that counts.
    """

    root: UPath

    def folder(self, source: Source) -> UPath:
        """The folder of an entry."""
        return self.root / source.path / source.key

    def find(self, source: Source) -> Marker | None:
        """The marker of an entry that is whole."""
        entry = self.folder(source)
        marker = read_json(entry / MARKER)
        if not isinstance(marker, dict) or marker.get("format") != FORMAT:
            return None
        return marker if exists(entry / marker["attempt"] / BEGUN) else None

    def save(self, source: Source, result: Any, layout: Layout, record: Marker, former: Marker | None = None) -> Marker:
        """Write a result, then its marker.  Of two writers the first wins, and its marker is given back."""
        entry = self.folder(source)
        attempt = entry / f"{here()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        _in_use.add(attempt.name)
        try:
            write_durably(attempt / BEGUN, b"")
            try:
                marker = _write(result, attempt, layout, source, record, former)
            except (KeyError, FileNotFoundError):
                _check_begun(attempt, source)
                raise
            _check_begun(attempt, source)
            torn = exists(entry / MARKER) and self.find(source) is None
            first = publish(attempt / MARKER, entry / MARKER, again=former is not None or torn)
        except BaseException as error:
            _remove(attempt)
            what = f"the result of {source.path!r}"
            check_room(error, what, str(self.root), bytes_of(result), "nothing of it is kept")
            raise
        finally:
            _in_use.discard(attempt.name)
        if not first:
            _remove(attempt)
        return self.find(source) or marker

    def load(self, source: Source, marker: Marker) -> Any:
        """The result of an entry."""
        return read_result(
            self.folder(source) / marker["attempt"], marker["about"], replace(source, made=marker["made"])
        )

    def differs(self, marker: Marker, layout: Layout, result: Any) -> bool:
        """Whether an entry is stored in another layout than asked for."""
        return differs(marker["about"], layout, result)

    def pyramid(self, marker: Marker, source: Source, result: Any) -> list[Any]:
        """The levels of a stored image."""
        return read_pyramid(self.folder(source) / marker["attempt"], marker["about"], result)

    def check_room(self, source: Source) -> None:
        """Complain, before anything is computed for it, if an entry cannot be written."""
        try:
            (self.root / source.path).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                error.errno, f"no results can be written to the cache in this folder ({error.strerror})", str(self.root)
            ) from error

    def tidy(self, source: Source) -> None:
        """Remove what processes of this machine that are no more left of an entry."""
        entry = self.folder(source)
        attempts = folders_in(entry)
        marker = self.find(source) or {"attempt": None, "former": []}
        for attempt in attempts:
            if attempt.name not in (marker["attempt"], *marker["former"]) and _is_dead(attempt.name):
                _remove(attempt)

    def entries(self, path: str = "") -> Iterator[Entry]:
        """All entries under a name, and those of its children."""
        for folder in folders_in(self.root / path if path else self.root):
            if KEY.fullmatch(folder.name):
                yield self._entry(Source(path, folder.name))
            elif NAME.fullmatch(folder.name):
                yield from self.entries(f"{path}/{folder.name}" if path else folder.name)

    def _entry(self, source: Source) -> Entry:
        marker = self.find(source)
        folder = self.folder(source)
        if marker is not None:
            return Entry(source, marker, "whole", str(folder / marker["attempt"]), marker["size"])
        dead = all(_is_dead(attempt.name) for attempt in folders_in(folder))
        return Entry(source, None, "broken off" if dead else "unfinished", str(folder), size_of(folder))

    def last(self, path: str) -> dict[str, str]:
        """The key last asked for under a name, and so for every step with its parameters."""
        found = read_json(self.root / path / LAST)
        return found if isinstance(found, dict) else {}

    def set_last(self, path: str, last: dict[str, str]) -> None:
        """Take note of it."""
        try:
            put(self.root / path / LAST, as_json(last))
        except OSError as error:
            what = f"a note beside the result of {path!r}"
            check_room(error, what, str(self.root), math.nan, "the result is kept")
            raise

    def clear(self, path: str) -> None:
        """Remove all entries under a name, their markers first."""
        for entry in list(self.entries(path)):
            remove_all(self.folder(entry.source) / MARKER)
        remove_all(self.root / path)


def _write(
    result: Any, attempt: UPath, layout: Layout, source: Source, record: Marker, former: Marker | None
) -> Marker:
    """Write a result, and beside it its marker, which does not count there yet."""
    if former and former["about"]["kind"] == "image":
        layout = layout.over(former["about"]["image"])
    about = write_result(result, attempt, layout, source.path)
    # Opened results of other processes may still read what this replaces.
    kept = [former["attempt"], *former["former"]] if former else []
    marker = {"format": FORMAT, **finished(record), "about": about, "attempt": attempt.name, "former": kept}
    marker["size"] = size_of(attempt) if about["kind"] != "value" else len(as_json(marker))
    write_durably(attempt / MARKER, as_json(marker))
    return marker


def finished(record: Marker) -> Marker:
    """A record with the seconds since ``started`` in its place."""
    record = dict(record)
    started = record.pop("started", None)
    return record if started is None else {**record, "seconds": time.perf_counter() - started}


def _check_begun(attempt: UPath, source: Source) -> None:
    if not exists(attempt / BEGUN):
        raise OSError(f"{source.path!r} was cleared while its result was written; run it again")


def _is_dead(attempt: str) -> bool:
    """Whether an attempt is known to be of a process of this machine that is no more."""
    machine, _, rest = attempt.rpartition("-")[0].rpartition("-")
    return attempt not in _in_use and machine == here() and rest.isdigit() and not is_alive(int(rest))


def _remove(attempt: UPath) -> None:
    # A task may still be writing to it; the next run of the entry removes the rest.
    with suppress(OSError):
        remove_all(attempt)
