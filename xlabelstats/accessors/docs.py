"""Docstrings of the accessors' methods, completed by those of the calls that they hand on to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter, cleandoc, signature
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable)

_ORDER = ("Parameters", "Returns", "Warns", "Raises", "Notes", "References", "Examples")
_STARS: dict[Any, str] = {Parameter.VAR_POSITIONAL: "*", Parameter.VAR_KEYWORD: "**"}

_MASK = """
mask : name of a variable, or DataArray of integers
    The label of every pixel.
"""
_VARIABLES = """
Dataset
    A variable ``{result}_{{variable}}`` for every variable of numbers that has the dims of the mask, as the same
    call of an array gives it.
"""
_LEFT_OUT = """
UserWarning
    Names the variables that were left out: those that lack a dim of the mask or hold no numbers.
"""
_NONE = """
ValueError
    No variable can be measured, or the Dataset has no mask of this name.
"""
_EXAMPLE = """
>>> import xarray as xr
>>> import xlabelstats
>>> field = xr.Dataset({{"cells": ("x", [0, 1, 1, 2]), "DAPI": ("x", [9.0, 1.0, 3.0, 4.0])}})
>>> list(field.{accessor}.{call}("cells"))
['{result}_DAPI']
"""


def documented(*sources: Callable[..., Any], take: Iterable[str] = ("Returns", "Warns", "Raises")) -> Callable[[F], F]:
    """Complete a method's numpydoc docstring by those of the calls that it stands for.

    What the method says itself stays.  A parameter that it does not describe is described as in the first source that
    does; so is a section of ``take`` that it lacks.
    """

    def decorate(function: F) -> F:
        docs = [_sections(each.__doc__) for each in (function, *sources)]
        described = _described(doc.get("Parameters", "") for doc in docs)
        names = [
            _STARS.get(parameter.kind, "") + name
            for name, parameter in signature(function).parameters.items()
            if name != "self"
        ]
        taken = {title: doc[title] for title in take for doc in reversed(docs[1:]) if title in doc}
        parameters = {"Parameters": "\n".join(f"{name}{described[name]}" for name in names)} if names else {}
        function.__doc__ = _joined(taken | docs[0] | parameters)
        return function

    return decorate


def of_every_image(source: Callable[..., Any], result: str = "") -> Callable[[F], F]:
    """Complete the docstring of a Dataset's method by that of the method of an array that it calls with every image.

    ``result`` is the name of what that gives; without it the method has its own section ``Returns`` and examples.
    """

    def decorate(function: F) -> F:
        own, theirs = _sections(function.__doc__), _sections(source.__doc__)
        accessor = "instances" if "Instances" in function.__qualname__ else "labels"
        filled = {
            "Warns": _LEFT_OUT + theirs.get("Warns", ""),
            "Raises": _NONE + theirs.get("Raises", ""),
            "Parameters": _MASK + own.pop("Parameters", ""),
        }
        if result:
            filled["Returns"] = _VARIABLES.format(result=result)
            filled["Examples"] = _EXAMPLE.format(accessor=accessor, call=function.__name__, result=result)
        function.__doc__ = _joined(filled | own)
        return documented(source, take=())(function)

    return decorate


def of_its_mask(source: Callable[..., Any]) -> Callable[[F], F]:
    """Complete the docstring of a Dataset's method by that of the method of a mask that it hands on to."""

    def decorate(function: F) -> F:
        own, theirs = _sections(function.__doc__), _sections(source.__doc__)
        filled = {"Raises": _NONE.replace("No variable can be measured, or the", "The") + theirs.get("Raises", "")}
        function.__doc__ = _joined(filled | own | {"Parameters": _MASK + own.get("Parameters", "")})
        return documented(source, take=("Returns",))(function)

    return decorate


def _sections(docstring: str | None) -> dict[str, str]:
    """The sections of a docstring by title; what comes before them has none."""
    first, *rest = re.split(r"^(\w+)\n-{3,}\n", cleandoc(docstring or ""), flags=re.MULTILINE)
    return {"": first.strip(), **{title: body.strip() for title, body in zip(rest[::2], rest[1::2], strict=True)}}


def _joined(sections: Mapping[str, str]) -> str:
    parts = [f"{title}\n{'-' * len(title)}\n{sections[title].strip()}" for title in _ORDER if title in sections]
    return "\n\n".join([sections[""], *parts])


def _described(sections: Iterable[str]) -> dict[str, str]:
    """What follows the name of every parameter, by the first section that describes it."""
    described: dict[str, str] = {}
    for section in sections:
        for entry in re.split(r"\n(?=\S)", section.strip()):
            head, _, text = entry.partition("\n")
            names, colon, kind = head.partition(" : ")
            # What refers to another call is not described.
            if not text.strip().startswith("As in `"):
                for name in names.split(", "):
                    described.setdefault(name, f"{colon}{kind}\n{text}")
    return described
