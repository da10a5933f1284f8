"""The axes of image stacks: one letter each, found from the names of dims."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

from xlabelstats.names import AXIS_NAMES, letter_of

LETTERS = "".join(AXIS_NAMES)


def letters_of(dims: Sequence[Hashable], what: str = "the image", may_be_given: bool = True) -> str:
    """The letters of dims, found from their names; if there is an option ``axes`` to give them, complaints say so."""
    letters = ""
    for dim in dims:
        letter = letter_of(dim)
        if letter is None:
            known = "; ".join(f"{letter}: {', '.join(names)}" for letter, names in AXIS_NAMES.items())
            given = f"Say what each dim is with axes=, a letter of {LETTERS} for every dim in order, or rename"
            raise ValueError(
                f"{what} has the dims {tuple(dims)}, and {dim!r} is not the name of a known axis ({known}). "
                f"{given if may_be_given else 'Rename'} the dim"
            )
        letters += letter
    return _checked(letters, f"{what} with the dims {tuple(dims)} has the axes {letters}", may_be_given)


def check_axes(axes: object, ndim: int, what: str = "the image") -> str:
    """The letters that a user gave for an array of so many dims."""
    if not isinstance(axes, str):
        raise TypeError(f"axes is a string with a letter of {LETTERS} for every dim, not {type(axes).__name__}")
    letters = axes.upper()
    unknown = [letter for letter in letters if letter not in AXIS_NAMES]
    if unknown:
        raise ValueError(f"axes={axes!r} has the letter {unknown[0]!r}; an axis is one of {LETTERS}")
    if len(letters) != ndim:
        raise ValueError(f"axes={axes!r} has {len(letters)} letters, but {what} has {ndim} dims; give one for each")
    return _checked(letters, f"axes={axes!r} are given")


def folded(letters: str, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape SC(Z)YX of an array of these axes, with T folded into S."""
    size = dict(zip(letters, shape, strict=True))
    samples = math.prod(size.get(letter, 1) for letter in "ST")
    return (samples, size.get("C", 1), *(size[letter] for letter in spatial(letters)))


def spatial(letters: str) -> str:
    """The axes in space: ZYX or YX."""
    return "ZYX" if "Z" in letters else "YX"


def _checked(letters: str, said: str, may_be_given: bool = True) -> str:
    twice = [letter for letter in letters if letters.count(letter) > 1]
    if twice:
        remedy = "give every dim a letter of its own with axes=" if may_be_given else "rename a dim, or choose a place"
        raise ValueError(f"{said}, with {twice[0]} more than once; {remedy}")
    lacking = [letter for letter in "YX" if letter not in letters]
    if lacking:
        raise ValueError(f"{said}, without {' and '.join(lacking)}; an image stack has at least Y and X")
    return letters
