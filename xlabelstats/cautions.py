"""Warnings of results that could surprise: at the user's line, and each once for a call."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import CodeType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_given: ContextVar[set[str] | None] = ContextVar("given", default=None)


@dataclass
class Rounds:
    """A call that is made of many alike, one for every position along some dims.

    Attributes
    ----------
    position : str
        Where the one that is being made is, such as ``t=3``; empty for all.
    given : set
        The lines that have warned, and of what kind.
    """

    position: str = ""
    given: set[tuple[CodeType, int, Hashable]] = field(default_factory=set)


_rounds: ContextVar[Rounds | None] = ContextVar("rounds", default=None)


@contextmanager
def rounds(*, anew: bool = True) -> Iterator[Rounds]:
    """Give each kind of warning once for many calls that are alike, with the position of the first that warns.

    Unless ``anew``, calls that are some of many alike themselves are counted with these.
    """
    outer = _rounds.get()
    token = _rounds.set(Rounds() if anew or outer is None else outer)
    try:
        yield _rounds.get()  # type: ignore[misc]
    finally:
        _rounds.reset(token)


def caution(message: str, kind: Hashable = None) -> None:
    """Warn at the nearest line outside of the package, in a task a line of dask; within `one_call` once.

    ``kind`` tells warnings of one line apart, of which `rounds` give each once.
    """
    turn = _rounds.get()
    if turn is not None:
        caller = sys._getframe(1)
        line = (caller.f_code, caller.f_lineno, kind)
        if line in turn.given:
            return
        turn.given.add(line)
        message = f"at {turn.position}: {message}" if turn.position else message
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
