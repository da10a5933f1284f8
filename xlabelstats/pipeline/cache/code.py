"""What a step is: its loaded code, and the functions, classes and values that its code refers to."""

from __future__ import annotations

import dis
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache, reduce
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from xlabelstats.pipeline.steps import OF_CLASS

# What a class body says of where it is written, and what else of a class is no matter of what it does.
LAYOUT = {"__doc__", "__firstlineno__", "__static_attributes__"}
ADDED = {*LAYOUT, "__module__", "__qualname__", "__dict__", "__weakref__", "__annotations__", "__annotate_func__"}
ADDED |= {"__abstractmethods__", "_abc_impl", "_value2member_map_", "__slotnames__", "__annotations_cache__"}

# What holds functions, and under which names.
HOLDERS = (property, cached_property, staticmethod, classmethod, MethodType, type(lru_cache(len)))
HELD = ("fget", "fset", "fdel", "func", "__func__", "__self__", "__wrapped__", "targetoptions")

# The flag of classes that are compiled.
IMMUTABLE = 1 << 8


@dataclass(frozen=True)
class Step:
    """A step without the arguments that a `functools.partial` bound; its identity is a token of what it does."""

    call: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    name: str
    identity: str

    @property
    def signature(self) -> inspect.Signature:
        """The signature; that of any arguments for a compiled function that does not tell."""
        try:
            return inspect.signature(self.call)
        except (TypeError, ValueError):
            return inspect.signature(lambda *args, **kwargs: None)

    @property
    def parameters(self) -> list[str] | None:
        """The names of the parameters; None if any will do."""
        parameters = self.signature.parameters
        return None if any(each.kind is each.VAR_KEYWORD for each in parameters.values()) else list(parameters)


def name_of(value: Any) -> str:
    """The module and name of a function or class, or of the class of an object."""
    if isinstance(value, np.ufunc):
        name = value.__name__
        homes = [m for m, each in [*sys.modules.items()] if getattr(each, "__dict__", {}).get(name) is value]
        return f"{min(filter(package_of, homes), default='?')}:{name}"
    named = type(value) if _attribute(value, "__qualname__") is None else value
    module = _attribute(named, "__module__") or getattr(named, "__objclass__", type(value)).__module__
    return f"{module}:{named.__qualname__}"


def object_of(name: str) -> Any:
    """What has this name in a module that is loaded, None if there is nothing."""
    module, _, path = name.partition(":")
    return reduce(_attribute, path.split("."), sys.modules.get(module))


def declared(function: Any) -> int | str | None:
    """The version that a function declares, or a class itself; not one that `functools.wraps` copied."""
    if inspect.isclass(function):
        return vars(function).get(OF_CLASS)
    found = _attribute(function, "version")
    copied = _attribute(_attribute(function, "__wrapped__"), "version") == found
    return found if isinstance(found, int | str) and not isinstance(found, bool) and not copied else None


def _attribute(value: Any, name: str) -> Any:
    """An attribute, None if there is none, whatever a class does about attributes that it lacks."""
    try:
        return getattr(value, name, None)
    except Exception:
        return None


@cache
def package_of(module: str) -> str | None:
    """The version of the installed package that a module is of; None of the user's own modules."""
    top, found = module.partition(".")[0], None
    with suppress(ImportError, ValueError):
        found = find_spec(top)
    if found is None or top == "__main__":
        return None
    if top == "xlabelstats":
        return version(top)
    places = [found.origin or "", *(found.submodule_search_locations or ())]
    if any(name in place for place in places for name in ("site-packages", "dist-packages")):
        with suppress(PackageNotFoundError):
            # Most are named after their module, and to look through the files of all takes a second.
            return f"{top} {version(top)}"
        return " ".join(f"{name} {version(name)}" for name in sorted(set(_packages().get(top, ())))) or None
    # A file of the user's own may have the name of a module of Python.
    own = places[0].endswith(".py") and not places[0].startswith(os.path.dirname(os.__file__))
    return "Python {}.{}".format(*sys.version_info) if top in sys.stdlib_module_names and not own else None


_packages = cache(packages_distributions)


def unknown(what: str) -> TypeError:
    """The complaint about what may be another the next time."""
    return TypeError(
        f"{what} it is not known whether it is the same the next time; pass a number, a path or an array from which "
        "the step makes it, give its class a method __dask_tokenize__, or declare a version for the function that "
        "uses it: @xlabelstats.pipeline.step(version=1)"
    )


def content_of_code(value: Any) -> dict[str, Any] | None:
    """What a module, class or function, or what holds one, is made of, under words for it; None of what is no code."""
    numba = type(value).__module__.startswith("numba.") and hasattr(value, "__wrapped__")
    if numba or isinstance(value, HOLDERS):
        names = HELD if package_of(type(value).__module__) else (*HELD, "__dict__")
        return {"type": type(value), **{name: getattr(value, name) for name in names if hasattr(value, name)}}
    if isinstance(value, ModuleType):
        name, package = value.__name__, package_of(value.__name__)
        own = {} if package else {key: each for key, each in vars(value).items() if not key.startswith("__")}
        return {"module": f"{name} {package}", **{f"the global {key!r} of {name}": own[key] for key in sorted(own)}}
    routine = inspect.isroutine(value) and hasattr(value, "__qualname__")
    if not (inspect.isclass(value) or routine or isinstance(value, np.ufunc)):
        return None
    name = name_of(value)
    package = package_of(name.partition(":")[0])
    if declared(value) is not None:
        return {"version": f"{name} {declared(value)!r}"}
    if package and (object_of(name) is value or (inspect.isclass(value) and value.__flags__ & IMMUTABLE)):
        return {"package": f"{name} {package}"}
    if isinstance(value, FunctionType):
        return _content_of_function(value, name)
    if inspect.isclass(value):
        own = {f"the attribute {key!r} of {name}": each for key, each in vars(value).items() if key not in ADDED}
        return {"name": name, "bases": [type(value), *value.__bases__], **own}
    if isinstance(getattr(value, "__self__", None), ModuleType | None):
        raise unknown(f"{name} is compiled, and of no installed package, so")
    return {"name": name, f"the object of {name}": value.__self__}


def _content_of_function(function: FunctionType, name: str) -> dict[str, Any]:
    """What a function does, holds and refers to; what one of a package refers to is of its version."""
    steps, scope = _instructions(function.__code__), function.__globals__
    package = package_of(scope.get("__name__", ""))
    attributes = {value for kind, value in steps if kind in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM")}
    content: dict[str, Any] = {
        "name": f"{name} {package}",
        "code": [kind if kind == "LOAD_CONST" else f"{kind} {value!r}" for kind, value in steps],
        "constants": [value for kind, value in steps if kind == "LOAD_CONST"],
        f"an attribute of {name}": vars(function),
        f"a default of {name}": [function.__defaults__, function.__kwdefaults__],
    }
    found: list[tuple[str, Any]] = []
    for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # It has no value yet.
            found.append((f"the variable {variable!r} of {name}", cell.cell_contents))
    for i, (kind, value) in enumerate(steps if package is None else ()):
        if kind in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS") and value in scope:
            found.append((f"the global {value!r} of {name}", scope[value]))
        elif kind == "IMPORT_NAME":
            (_, level), (_, taken) = steps[i - 2 : i]
            words = f"the import of {taken} from {'.' * level}{value} in {name}"
            with suppress(Exception):  # The code may have a way to do without it.
                known = None if level else package_of(value)
                found.append((words, known or __import__(value, scope, None, taken, level)))
    for words, value in found:
        # Of a module of the user's own counts what the code may take from it.
        own = isinstance(value, ModuleType) and package_of(value.__name__) is None
        taken = sorted(attributes & vars(value).keys()) if own else []
        if words not in content:
            found += [(f"the global {each!r} of {value.__name__}", vars(value)[each]) for each in taken]
            content[words] = value.__name__ if taken else value
    return content


@lru_cache(maxsize=2**12)
def _instructions(code: CodeType) -> list[tuple[str, Any]]:
    """What code does, and the code in it, without docstrings and line numbers."""
    variables = (code.co_varnames, code.co_freevars, code.co_cellvars, code.co_exceptiontable)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & 0x3FF)
    steps: list[tuple[str, Any]] = [("CODE", (variables, counts))]
    for each in dis.get_instructions(code):
        if isinstance(each.argval, CodeType):
            steps += _instructions(each.argval)
        elif each.opname == "STORE_NAME" and each.argval in LAYOUT:
            steps.pop()
        elif each.opname not in ("NOP", "EXTENDED_ARG"):
            steps.append((each.opname, each.argval))
    return [*steps, ("END", None)]
