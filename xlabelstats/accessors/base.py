"""What all accessors share: an attribute that is not there is answered with where it is."""

from __future__ import annotations

from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, ClassVar

import xarray as xr

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
    if not name.startswith("_") and (meaning := _call(accessor._of, name) or meaning_of(name)):
        message += f"; it is {meaning}"
    return AttributeError(message, name=name, obj=accessor)


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
