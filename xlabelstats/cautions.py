"""Warnings of results that could surprise: at the user's line, and each once for a call."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_given: ContextVar[set[str] | None] = ContextVar("given", default=None)


def caution(message: str) -> None:
    """Warn at the nearest line outside of the package, in a task a line of dask; within `one_call` once."""
    given = _given.get()
    if given is not None:
        if message in given:
            return
        given.add(message)
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in ("xlabelstats", "importlib"):
        frame = frame.f_back
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    warnings.warn_explicit(message, UserWarning, frame.f_code.co_filename, frame.f_lineno, registry=registry)


def one_call(function: Callable[P, T]) -> Callable[P, T]:
    """Give each warning once for a call of the function, however many calls that makes in turn."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        if _given.get() is not None:
            return function(*args, **kwargs)
        token = _given.set(set())
        try:
            return function(*args, **kwargs)
        finally:
            _given.reset(token)

    return call
