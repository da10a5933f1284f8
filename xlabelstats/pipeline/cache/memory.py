"""Entries of a cache that are kept in memory."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from xlabelstats.pipeline.cache.arrays import Source
from xlabelstats.pipeline.cache.entries import Entry, Marker, finished
from xlabelstats.pipeline.cache.images import Layout, pyramid_of
from xlabelstats.pipeline.cache.results import bytes_of, in_memory, kind_of, named


@dataclass
class MemoryShelf:
    """Entries in memory."""

    held: dict[Source, tuple[Marker, Any]] = field(default_factory=dict)
    lasts: dict[str, dict[str, str]] = field(default_factory=dict)

    def find(self, source: Source) -> Marker | None:
        """The marker of an entry."""
        found = self.held.get(source)
        return found[0] if found else None

    def save(self, source: Source, result: Any, layout: Layout, record: Marker, former: Marker | None = None) -> Marker:
        """Compute a result and keep it; only its levels are a matter of layout."""
        kept = in_memory(result, replace(source, made=record["made"])) if former is None else self.held[source][1]
        before = former["about"] if former else {"multiscale": 1, "labels": None}
        labels = before["labels"] if layout.is_label is None else layout.is_label
        about = {"kind": kind_of(kept), "multiscale": layout.multiscale or before["multiscale"], "labels": labels}
        marker = {**finished(record), "about": about, "size": bytes_of(kept)}
        self.held[source] = marker, kept
        return marker

    def load(self, source: Source, marker: Marker) -> Any:
        """The result of an entry, as a copy where it could be changed."""
        return copy.deepcopy(self.held[source][1])

    def differs(self, marker: Marker, layout: Layout, result: Any) -> bool:
        """Whether an image has other levels than asked for."""
        asked = {"multiscale": layout.multiscale, "labels": layout.is_label}
        return any(each is not None and each != marker["about"][name] for name, each in asked.items())

    def pyramid(self, marker: Marker, source: Source, result: Any) -> list[Any]:
        """The levels of an image, made when they are looked at."""
        return pyramid_of(named(result), marker["about"]["multiscale"], marker["about"]["labels"])

    def check_room(self, source: Source) -> None:
        """There is room until there is none."""

    def tidy(self, source: Source) -> None:
        """Nothing: what is in memory is whole."""

    def entries(self, path: str = "") -> Iterator[Entry]:
        """All entries under a name, and those of its children."""
        for source, (marker, _) in list(self.held.items()):
            if not path or f"{source.path}/".startswith(f"{path}/"):
                yield Entry(source, marker, "whole", "", marker["size"])

    def last(self, path: str) -> dict[str, str]:
        """The key last asked for under a name, and so for every step with its parameters."""
        return dict(self.lasts.get(path, {}))

    def set_last(self, path: str, last: dict[str, str]) -> None:
        """Take note of it."""
        self.lasts[path] = last

    def clear(self, path: str) -> None:
        """Let go of all entries under a name."""
        for entry in list(self.entries(path)):
            del self.held[entry.source]
