"""What a cache holds, as a table, and what of it is stale."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache

import pandas as pd

from xlabelstats.pipeline.cache.arrays import Source
from xlabelstats.pipeline.cache.entries import Marker, Shelf
from xlabelstats.pipeline.cache.keys import current, written

COLUMNS = ("name", "key", "kind", "state", "parameters", "size", "created", "seconds", "stale", "url")

# What is told of an entry that is not whole.
UNKNOWN: Marker = {"about": {"kind": ""}, "parameters": {}, "created": None, "seconds": math.nan}


def status_of(shelf: Shelf, path: str) -> pd.DataFrame:
    """A row for every entry under a path."""
    entries = dict(shelf.entries())
    why = staleness({source: each for source, each in entries.items() if "about" in each}, shelf.last)
    above, rows = f"{path}/" if path else "", []
    for source, known in entries.items():
        if source.path.startswith(above):
            row = {**UNKNOWN, **known, "name": source.path.removeprefix(above), "key": source.key}
            row["parameters"] = ", ".join(f"{name}={value}" for name, value in row["parameters"].items())
            rows.append({**row, "kind": row["about"]["kind"], "stale": why(source)})
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table["created"] = pd.to_datetime(table["created"], utc=True)
    return table.sort_values(["name", "created", "key"], ignore_index=True)


def staleness(markers: dict[Source, Marker], last: Callable[[str], dict[str, str]]) -> Callable[[Source], str]:
    """A function that says why an entry is no longer what a run would give now, or ""."""
    last_of = lru_cache(None)(last)
    current_of = lru_cache(None)(current)

    def reasons(source: Source) -> Iterator[str]:
        marker = markers[source]
        if marker["plain"] and current_of(marker["step"]) not in (None, marker["identity"]):
            yield f"the step {marker['step']} has changed"
        for each in marker["inputs"]:
            for file, before in each["files"].items():
                if (now := written(file)) != before:
                    yield f"its input {each['argument']!r} was {'written again' if now else 'removed'}: {file}"
            for path, key, made in each["sources"]:
                latest = Source(path, last_of(path).get("", key))
                # Of tables only the content counts, whichever run it is from.
                same = latest in markers and markers[latest].get("token") == each["token"]
                read = latest if same else Source(path, key)
                if read not in markers:
                    yield f"its input {path!r} was cleared"
                elif not same and made not in ("", markers[read]["made"]):
                    yield f"its input {path!r} was computed again since"
                elif why(read):
                    yield f"its input {path!r} is stale"
                elif read != latest:
                    yield f"its input {path!r} was run since with other parameters or inputs"
        later = Source(source.path, last_of(source.path).get(marker["settings"], source.key))
        if later != source and later in markers:
            tokens = {each["argument"]: each["token"] for each in markers[later]["inputs"]}
            others = [name for each in marker["inputs"] if tokens.get(name := each["argument"]) != each["token"]]
            yield f"run since with another {' and '.join(map(repr, others))}"

    why: Callable[[Source], str] = lru_cache(None)(
        lambda source: next(reasons(source), "") if source in markers else ""
    )
    return why
