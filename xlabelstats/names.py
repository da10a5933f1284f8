"""Names: of dims, and those that users type, with complaints about what does not exist."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from difflib import get_close_matches
from inspect import cleandoc
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable)

# So many names are told in a complaint, as many as a mask has properties; of more it says where they are listed.
READABLE = 50

# The dim of results, and its coordinate; and the dim of those in which a label may occur at several positions.
LABEL = "label"
OBJECT = "object"

# The attribute that tells the label images in a file from its images, and its value.
KIND, LABEL_IMAGE = "kind", "labels"

# The dim of results that have a row for every two labels that lie together.
PAIR = "pair"

# Every letter of an axis, in the order of an image stack, and the dims that it stands for, in either case, singular or
# plural.
AXIS_NAMES: dict[str, tuple[str, ...]] = {
    "S": ("s", "sample", "scene", "series", "position", "field", "label"),
    "T": ("t", "time", "timepoint", "frame"),
    "C": ("c", "channel", "band"),
    "Z": ("z", "depth", "plane"),
    "Y": ("y", "row", "height", "lat", "latitude"),
    "X": ("x", "column", "col", "width", "lon", "longitude"),
}
_LETTER_OF = {name: letter for letter, names in AXIS_NAMES.items() for name in names}


def letter_of(dim: Hashable) -> str | None:
    """The letter of the axis that the name of a dim stands for, in either case, singular or plural."""
    name = str(dim).lower()
    return _LETTER_OF.get(name) or _LETTER_OF.get(name.removesuffix("s"))


def as_names(names: str | Iterable[str], kind: str) -> tuple[str, ...]:
    """One name or several as a tuple, each once."""
    given = (names,) if isinstance(names, str) else names
    if not isinstance(given, Iterable):
        raise TypeError(f"a {kind} is a name, or several are a sequence of names, not {type(names).__name__}")
    given = tuple(given)
    for name in given:
        if not isinstance(name, str):
            raise TypeError(f"a {kind} is a name, not {type(name).__name__}")
    return tuple(dict.fromkeys(given))


def check_known(
    names: Iterable[str],
    known: Iterable[str],
    kind: str,
    answer: Callable[[str], str | None] | None = None,
    where: str = "",
) -> None:
    """Say which names do not exist, what they may have meant (by ``answer``, or else by spelling), and what exists.

    ``where`` is the call that lists what exists, for lists too long to read in a complaint.
    """
    known = list(known)
    unknown = [name for name in names if name not in known]
    if not unknown:
        return
    answers = {name: answer(name) for name in unknown} if answer is not None else {}
    exist = _what_exists(known, where)
    if any(answers.values()):
        answered = [f"{name!r}, which {text}" if text else repr(name) for name, text in answers.items()]
        raise ValueError(f"unknown {kind} {'; '.join(answered)}. T{exist[1:]}")
    near = [match for name in unknown for match in _closest(name, known)]
    hint = f", did you mean {', '.join(map(repr, near))}? T{exist[1:]}" if near else f"; {exist}"
    raise ValueError(f"unknown {kind} {', '.join(map(repr, unknown))}{hint}")


def _closest(name: str, known: list[str]) -> list[str]:
    """The name that was misspelt; if none is so close, some that are alike, unless all are told anyway."""
    return get_close_matches(name, known, 1, 0.85) or get_close_matches(name, known, 1 if len(known) <= READABLE else 3)


def _what_exists(known: Iterable[Any], where: str = "") -> str:
    """The names that exist, as the end of a complaint; of many their number and the call that lists them, or some."""
    names = list(map(str, known))
    if len(names) <= READABLE:
        return f"there are: {', '.join(names)}"
    return f"there are {len(names)}, " + (f"which {where} lists" if where else f"such as: {', '.join(names[:8])}")


def check_here(names: Iterable[str], elsewhere: Mapping[str, str], why: str) -> None:
    """Point to the call that has a name which this one has not, and say why."""
    for name in names:
        if name in elsewhere:
            raise ValueError(f"{name} {why}: see {elsewhere[name]}")


def describe(**tables: Mapping[str, Any]) -> Callable[[F], F]:
    """Put a list of the entries of a table, with their summaries, where the docstring has its name in braces."""

    def decorate(function: F) -> F:
        for table, entries in tables.items():
            items = [f"- ``{name}``: {entry.definition}" for name, entry in entries.items()]
            function.__doc__ = cleandoc(function.__doc__ or "").replace(f"{{{table}}}", ";\n".join(items) + ".")
        return function

    return decorate
