"""What a cache holds, as a table, and what of it is stale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import pandas as pd

from xlabelstats.pipeline.cache.arrays import Source
from xlabelstats.pipeline.cache.code import current
from xlabelstats.pipeline.cache.entries import Entry, Marker, Shelf
from xlabelstats.pipeline.cache.keys import Tokens, written

COLUMNS = ("name", "key", "kind", "state", "parameters", "size", "created", "seconds", "stale", "url")


def status_of(shelf: Shelf, path: str, token_of: Tokens) -> pd.DataFrame:
    """A row for every entry under a path."""
    everything = {entry.source: entry for entry in shelf.entries()}
    stale = Staleness(everything, shelf.last, token_of)
    skipped = len(path) + 1 if path else 0
    rows = [
        _row(entry, entry.source.path[skipped:], stale)
        for entry in everything.values()
        if not path or entry.source.path.startswith(f"{path}/")
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table["created"] = pd.to_datetime(table["created"], utc=True)
    return table.sort_values(["name", "created", "key"], ignore_index=True)


def _row(entry: Entry, name: str, stale: Staleness) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": name,
        "key": entry.source.key,
        "state": entry.state,
        "size": entry.size,
        "url": entry.url,
    }
    if entry.marker is None:
        return {**row, "kind": "", "parameters": "", "created": None, "seconds": float("nan"), "stale": ""}
    parameters = ", ".join(f"{name}={value}" for name, value in entry.marker["parameters"].items())
    known = {name: entry.marker[name] for name in ("created", "seconds")}
    return {
        **row,
        **known,
        "kind": entry.marker["about"]["kind"],
        "parameters": parameters,
        "stale": stale.why(entry.source),
    }


class Staleness:
    """Why entries are no longer what a run would give now."""

    def __init__(
        self, entries: Mapping[Source, Entry], last: Callable[[str], dict[str, str]], token_of: Tokens
    ) -> None:
        self._markers: dict[Source, Marker] = {
            s: entry.marker for s, entry in entries.items() if entry.marker is not None
        }
        self._last = lru_cache(None)(last)
        self._current = lru_cache(None)(lambda name: current(name, token_of))
        self.why = lru_cache(None)(self._why)

    def _why(self, source: Source) -> str:
        marker = self._markers[source]
        return self._step(marker) or self._inputs(marker) or self._since(source, marker)

    def _step(self, marker: Marker) -> str:
        now = self._current(marker["step"]) if marker["plain"] else None
        return f"the step {marker['step']} has changed" if now not in (None, marker["identity"]) else ""

    def _inputs(self, marker: Marker) -> str:
        for each in marker["inputs"]:
            for file, when in each["files"].items():
                found = written(file)
                if found != when:
                    return f"its input {each['argument']!r} was {'written anew' if found else 'removed'}: {file}"
            for path, key, made in each["sources"]:
                latest = Source(path, self._last(path).get("", key))
                alike = latest in self._markers and self._markers[latest].get("token") == each["token"]
                # Of tables only the content counts, whichever run it is from.
                source = latest if alike else Source(path, key)
                if source not in self._markers:
                    return f"its input {path!r} was cleared"
                if not alike and made not in ("", self._markers[source]["made"]):
                    return f"its input {path!r} was computed anew since"
                if self.why(source):
                    return f"its input {path!r} is stale"
                if source != latest:
                    return f"its input {path!r} was run since with other parameters or inputs"
        return ""

    def _since(self, source: Source, marker: Marker) -> str:
        key = self._last(source.path).get(marker["settings"], source.key)
        later = self._markers.get(Source(source.path, key))
        if key == source.key or later is None:
            return ""
        tokens = {each["argument"]: each["token"] for each in later["inputs"]}
        others = [each["argument"] for each in marker["inputs"] if tokens.get(each["argument"]) != each["token"]]
        return f"run since with another {' and '.join(map(repr, others))}"
