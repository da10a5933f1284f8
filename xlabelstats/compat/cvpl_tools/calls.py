"""A function, or a coroutine, as a step of a cache: its key does not change with where its result is kept or shown."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import CellType, CodeType, FunctionType
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from xlabelstats.compat.cvpl_tools.options import VARIABLES, without_context
from xlabelstats.pipeline.cache.arrays import check_storable
from xlabelstats.pipeline.cache.code import declared
from xlabelstats.pipeline.cache.keys import Wrapped
from xlabelstats.pipeline.cache.results import named
from xlabelstats.pipeline.coroutines import awaited
from xlabelstats.pipeline.steps import from_blocks

# In the attrs of a stored array: it was a numpy array, and is to be one again.
WAS_NUMPY = "xlabelstats_was_numpy"


class Call:
    """A step without arguments, of a function without arguments or of a coroutine."""

    def __init__(self, fn: Any) -> None:
        if not callable(fn) and not inspect.iscoroutine(fn):
            raise TypeError(
                f"cache_im takes a function that computes an image, not {type(fn).__name__}; "
                "give the image like this: cache_im(lambda: image, context_args)"
            )
        if inspect.iscoroutine(fn) and inspect.getcoroutinestate(fn) != inspect.CORO_CREATED:
            raise ValueError(f"the coroutine {fn.__qualname__} was awaited before; give the function that made it")
        self.fn = fn
        # By these names errors and the table of a cache speak of it.
        inner = fn
        while isinstance(inner, partial):
            inner = inner.func
        self.__qualname__ = getattr(inner, "__qualname__", type(inner).__qualname__)
        self.__module__ = _scope_of(fn)["__name__"] if inspect.iscoroutine(fn) else inner.__module__

    def __call__(self) -> Any:
        """Compute the image; a numpy array as a DataArray that says so."""
        image = self.image()
        plain = isinstance(image, np.ndarray) and image.dtype.kind in "biufc"
        return named(image).assign_attrs({WAS_NUMPY: True}) if plain else image

    def image(self) -> Any:
        """Compute the image."""
        made = awaited(self.fn if inspect.iscoroutine(self.fn) else self.fn())
        image = from_blocks(made.plain if isinstance(made, Wrapped) else made)
        image = np.asarray(image) if isinstance(image, np.generic) else image
        if not isinstance(image, np.ndarray | da.Array | xr.DataArray):
            raise TypeError(
                f"cache_im keeps an image, a numpy, dask or xarray array, and {self.__qualname__} gave "
                f"{type(image).__name__}; xlabelstats.pipeline.Cache(url).run(name, step) keeps tables and numbers too"
            )
        if isinstance(image, np.ma.MaskedArray):
            # In a folder or not, it would come back without its mask.
            check_storable(image, f"the result of {self.__qualname__}")
        return image

    def close(self) -> None:
        """Let go of a coroutine that is not needed."""
        if inspect.iscoroutine(self.fn):
            self.fn.close()

    def __dask_tokenize__(self) -> Any:
        """What is computed: the function, and what it holds but for context_args."""
        return _content(self.fn)


def _content(fn: Any) -> Any:
    if inspect.iscoroutine(fn):
        held, code = inspect.getcoroutinelocals(fn), fn.cr_code
        arguments = {name: without_context(name, value) for name, value in held.items() if name not in code.co_freevars}
        return [_function(code, _scope_of(fn), [held.get(name) for name in code.co_freevars]), arguments]
    if isinstance(fn, partial):
        keywords = {name: without_context(name, value) for name, value in fn.keywords.items()}
        return [_content(fn.func), fn.args, keywords]
    if isinstance(fn, FunctionType) and declared(fn) is None:
        cells = [_value_of(cell) for cell in fn.__closure__ or ()]
        copy = _function(fn.__code__, fn.__globals__, cells, fn.__defaults__)
        copy.__kwdefaults__ = {name: without_context(name, each) for name, each in (fn.__kwdefaults__ or {}).items()}
        # The function around it does not matter, whether it awaits the result or not.
        copy.__module__, copy.__qualname__ = fn.__module__, fn.__name__
        copy.__dict__.update(fn.__dict__)
        return copy
    return fn


def _function(
    code: CodeType, scope: Mapping[str, Any], held: list[Any], defaults: tuple[Any, ...] | None = None
) -> Callable[..., Any]:
    """A function of the same code, whose variables are without what context_args says."""
    names = code.co_varnames[code.co_argcount - len(defaults or ()) : code.co_argcount]
    cells = (CellType(without_context(*each)) for each in zip(code.co_freevars, held, strict=True))
    scope = {**scope, **{name: without_context(name, scope[name]) for name in VARIABLES if name in scope}}
    values = tuple(map(without_context, names, defaults or ()))
    return FunctionType(code, scope, code.co_name, values, tuple(cells))


def _scope_of(coroutine: Any) -> dict[str, Any]:
    """The globals of a coroutine that has not begun."""
    return coroutine.cr_frame.f_globals


def _value_of(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        # It has no value yet.
        return None
