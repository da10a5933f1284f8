"""Warnings of results that could surprise: at the user's line, and each once for a call."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_PACKAGE = str(Path(__file__).parent) + os.sep
_given: ContextVar[set[str] | None] = ContextVar("given", default=None)


def caution(message: str) -> None:
    """Warn at the line of the user's that called the package; within `one_call` once."""
    given = _given.get()
    if given is not None:
        if message in given:
            return
        given.add(message)
    level = 1
    while sys._getframe(level).f_code.co_filename.startswith(_PACKAGE) and sys._getframe(level).f_back:
        level += 1
    warnings.warn(message, UserWarning, stacklevel=level + 1)


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
