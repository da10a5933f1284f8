"""What a `context_args` asks for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

STORAGE = ("preferred_chunksize", "multiscale", "compressor")
SHOWING = ("viewer", "is_label", "layer_args")
CONTEXT = ("cache_url", "storage_option", "storage_options", "viewer_args", "skip_cache", *STORAGE, *SHOWING)

# Variables that say where results are kept and shown, by which no result changes.
VARIABLES = ("context_args", "viewer_args", "viewer", "layer_args")

# How similar the name of a key must be to be taken for a misspelt one.
MISSPELT = 0.8


@dataclass
class Options:
    """Where a result is kept, how it is stored, and how it is shown."""

    cache_url: Any = None
    storage: dict[str, Any] = field(default_factory=dict)
    viewer: Any = None
    is_label: bool = False
    layer: dict[str, Any] = field(default_factory=dict)


def options_of(context_args: Any) -> Options:
    """The options in a `context_args`; what other functions find in it is passed over."""
    context = _mapping(context_args, "context_args")
    storage = _mapping(context.get("storage_option"), "storage_option")
    storage = {**storage, **_mapping(context.get("storage_options"), "storage_options")}
    showing = _mapping(context.get("viewer_args"), "viewer_args")
    for given, known in ((context, CONTEXT), (storage, STORAGE), (showing, (*SHOWING, *STORAGE))):
        _check_spelling(given, known)
    # The example of the page of cvpl_tools has options of storage in viewer_args.
    asked = {name: _first(name, storage, showing, context) for name in STORAGE}
    shown = {name: _first(name, showing, context) for name in SHOWING}
    if shown["viewer"] is True:
        raise TypeError("viewer is a napari.Viewer, not True: viewer = napari.Viewer(); viewer_args={'viewer': viewer}")
    url = None if context.get("skip_cache") else context.get("cache_url")
    return Options(
        cache_url=None if isinstance(url, str | os.PathLike) and not str(url) else url,
        storage=_storage(asked["preferred_chunksize"], asked["multiscale"], asked["compressor"]),
        viewer=shown["viewer"],
        is_label=bool(shown["is_label"]),
        layer=dict(_mapping(shown["layer_args"], "layer_args")),
    )


def without_context(name: str, value: Any) -> Any:
    """A variable without what says only where and how a result is kept and shown."""
    if name in ("context_args", "viewer_args") and isinstance(value, Mapping):
        # With nothing beyond that it counts as one that was not given.
        return {key: each for key, each in value.items() if key not in CONTEXT} or None
    return None if name in VARIABLES else value


def _storage(chunks: Any, multiscale: Any, compressor: Any) -> dict[str, Any]:
    """The same as options of `Cache.run`."""
    found: dict[str, Any] = {}
    if chunks is not None:
        found["chunks"] = chunks
    if multiscale is not None:
        if isinstance(multiscale, bool) or not isinstance(multiscale, int) or multiscale < 0:
            raise ValueError(f"multiscale is the number of smaller levels, 0 or more, not {multiscale!r}")
        # Here the image itself counts as a level.
        found["multiscale"] = multiscale + 1
    if compressor is not None:
        found["compressor"] = compressor
    return found


def _first(name: str, *dicts: Mapping[str, Any]) -> Any:
    """The first value of this name that is given."""
    return next((each[name] for each in dicts if each.get(name) is not None), None)


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{what} is a dict, such as {{'cache_url': 'results/binary'}}, not {type(value).__name__}")
    return value


def _check_spelling(given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Complain about a key that is nearly one of those known; others may be of other functions."""
    for name in given:
        near = [] if name in known else get_close_matches(str(name), known, 1, MISSPELT)
        if near:
            raise ValueError(f"context_args has the key {name!r}; did you mean {near[0]!r}?")
