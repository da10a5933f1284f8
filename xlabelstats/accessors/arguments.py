"""Arguments: first ones that may be a mask or what comes after it, and those that are for a function or a measure."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Iterator
from difflib import get_close_matches
from inspect import signature
from typing import Any, ParamSpec, TypeVar

import xarray as xr

from xlabelstats.catalogue import CATALOGUE
from xlabelstats.inputs import check_is_mask, how_to_a_mask, how_to_integers, is_array
from xlabelstats.multiscale import as_array

P = ParamSpec("P")
T = TypeVar("T")

# Values of fewer letters are written out.
LONG = 40


def handing_on(function: str, keyword: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Say of arguments that a call does not have how the user's ``function`` gets them: in the mapping ``keyword``."""
    return _answering(lambda name, *_: f"an argument of {function} goes in {keyword}={{{name!r}: ...}}")


def of_measures(call: Callable[P, T]) -> Callable[P, T]:
    """Say of arguments that a call does not have, but a measure, how the measure gets them."""
    return _answering(_with_its_measure)(call)


def _with_its_measure(parameter: str, value: Any, given: Iterable[Any]) -> str:
    """Where a parameter goes, by the example of a measure that has it, one of those asked for if possible."""
    for name in (*_names_in(given), *CATALOGUE):
        if name in CATALOGUE and parameter in CATALOGUE[name].parameters:
            written = repr(value) if isinstance(value, str | int | float | tuple | list) else ""
            written = written if 0 < len(written) < LONG else "..."
            return f"a parameter of a measure goes with its name: ({name!r}, {{{parameter!r}: {written}}})"
    return ""


def _names_in(given: Any) -> Iterator[str]:
    """The names in what a call was given: by themselves, in sequences, and in pairs with parameters."""
    if isinstance(given, str):
        yield given
    elif isinstance(given, list | tuple):
        for each in given:
            yield from _names_in(each)


def _answering(answer: Callable[[str, Any, Iterable[Any]], str]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Say of an argument that a call lacks which it resembles, and the ``answer`` to its name, its value and all."""

    def decorate(call: Callable[P, T]) -> Callable[P, T]:
        known = [name for name in signature(call).parameters if name != "self"]

        @functools.wraps(call)
        def checked(*args: P.args, **kwargs: P.kwargs) -> T:
            for name in kwargs:
                if name not in known:
                    near = get_close_matches(name, known, 1)
                    hint = answer(name, kwargs[name], (*args[1:], *kwargs.values()))
                    meant = f", did you mean {near[0]!r}?" if near else ""
                    hint = f"{' ' if near else '; '}{hint[0].upper() if near else hint[0]}{hint[1:]}" if hint else ""
                    raise TypeError(f"{call.__name__}() got an unexpected keyword argument {name!r}{meant}{hint}")
            return call(*args, **kwargs)

        return checked

    return decorate


def mask_or_names(
    array: xr.DataArray, mask: Any, properties: Any, default: Iterable[str] | None
) -> tuple[xr.DataArray | None, xr.DataArray, Any]:
    """The image, the mask and the names of properties: without a mask ``array`` is it, and names may come first."""
    mask = as_array(mask)
    if isinstance(properties, xr.DataArray | xr.DataTree):
        raise TypeError("the mask comes before the names of properties: image.labels.regionprops(mask, properties)")
    if isinstance(mask, xr.DataArray):
        return array, mask, default if properties is None else properties
    if mask is not None and properties is None and _are_names(mask):
        mask, properties = None, mask
    if mask is None:
        return None, array, default if properties is None else properties
    if _are_names(mask):
        raise TypeError(
            f"names of properties are given twice, {mask!r} and {properties!r}; several are one sequence: "
            'mask.labels.regionprops(("area", "bbox"))'
        )
    if is_array(mask):
        check_is_mask(mask)
    raise TypeError(
        f"the first argument is a mask, a DataArray, or names of properties, not {type(mask).__name__}; "
        f"if it is the mask, {how_to_a_mask(mask)}"
    )


def _are_names(given: Any) -> bool:
    if isinstance(given, str):
        return True
    if isinstance(given, Collection) and not isinstance(given, xr.Dataset):
        return all(isinstance(name, str) for name in given)
    return isinstance(given, Iterable) and not is_array(given)


def mask_or_argument(
    array: xr.DataArray, mask: Any, argument: Any, name: str, call: str
) -> tuple[xr.DataArray | None, xr.DataArray, Any]:
    """The image, the mask and the argument after it, called ``name``: without a mask ``array`` is it."""
    mask = as_array(mask)
    if isinstance(mask, xr.DataArray):
        return array, mask, argument
    if mask is not None and argument is not None:
        raise TypeError(
            f"the first argument is a mask, a DataArray, or else {name}; it is {type(mask).__name__}, and "
            f"{name} is given too. If it is the mask, {how_to_a_mask(mask)}"
        )
    if is_array(mask):
        check_is_mask(mask)
    if array.dtype.kind not in "iub":
        raise TypeError(
            f"this array holds {array.dtype}. If it is the image, the mask comes first: "
            f"image.instances.{call}(mask, ...); if it is the mask, {how_to_integers(array)}"
        )
    return None, array, argument if mask is None else mask
