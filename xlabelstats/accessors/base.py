"""What all accessors share: an attribute that is not there is answered with where it is."""

from __future__ import annotations

from difflib import get_close_matches
from inspect import Parameter, getmembers, isfunction, signature
from typing import TYPE_CHECKING, Any, ClassVar

import xarray as xr

from xlabelstats.catalogue import CATALOGUE
from xlabelstats.catalogue.vocabulary import SYNONYMS, meaning_of

# What calls that give no measure are called elsewhere, without underscores.
CALLS = {
    "neighbours": "neighbors",
    "adjacency": "contacts",
    "touching": "contacts",
    "grow": "expand",
    "expandlabels": "expand",
    "dilate": "expand",
    "dilation": "expand",
    "erode": "shrink",
    "erosion": "shrink",
    "removesmallobjects": "keep",
    "filter": "keep",
    "relabelsequential": "relabel",
    "assignpoints": "count_points",
}


class Accessor:
    """The parent of all accessors."""

    _of: ClassVar[type] = xr.DataArray

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise missing(self, name)


def missing(accessor: Accessor, name: str) -> AttributeError:
    """What is raised for an attribute that an accessor does not have."""
    message = f"{type(accessor).__name__!r} object has no attribute {name!r}"
    if name.startswith("_"):
        return AttributeError(message, name=name, obj=accessor)
    if meaning := _call(accessor._of, name) or meaning_of(name):
        return AttributeError(f"{message}; it is {meaning}", name=name, obj=accessor)
    accessors = [getattr(accessor._of, each) for each in ("labels", "instances")]
    calls = [call for each in accessors for call, _ in getmembers(each, isfunction) if not call.startswith("_")]
    near = get_close_matches(name, [*calls, *CATALOGUE], 1, 0.75)
    # Without the object, so that Python does not add a suggestion of its own.
    meant = f"; did you mean {_call(accessor._of, near[0]) or meaning_of(near[0])}?" if near else ""
    return AttributeError(message + meant, name=name, obj=None if near else accessor)


def _call(of: type, name: str) -> str | None:
    """The call of either accessor that has this name, or that of ours for it."""
    plain = name.replace("_", "").lower()
    for one in (name, CALLS.get(plain, ""), SYNONYMS.get(plain, "")):
        for accessor in ("labels", "instances"):
            method = getattr(getattr(of, accessor), one, None) if one else None
            if callable(method):
                return _written(of, accessor, one, method)
    return None


def _written(of: type, accessor: str, name: str, method: Any) -> str:
    parameters = list(signature(method).parameters.values())[1:]
    with_mask = any(parameter.name == "mask" for parameter in parameters)
    more = any(one.default is Parameter.empty and one.name != "mask" for one in parameters)
    subject = (
        "result"
        if name.startswith(("to_", "rollup"))
        else "dataset"
        if of is xr.Dataset
        else "image"
        if with_mask
        else "mask"
    )
    arguments = ", ".join(["mask"] * with_mask + ["..."] * more)
    return f"{subject}.{accessor}.{name}({arguments})"
