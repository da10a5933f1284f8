"""What a step is: its loaded code, and the functions, classes and values that its code refers to."""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache, partial, reduce
from importlib import import_module
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec, resolve_name
from itertools import accumulate
from pathlib import PurePath
from types import CodeType, FunctionType, GetSetDescriptorType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np

# Of a value, and words for where it is, to a token.
TokenOf = Callable[[Any, str], str]

# What a class body stores of where it is written, and what Python adds to a class.
LAYOUT = ("__doc__", "__firstlineno__", "__static_attributes__")
ADDED = (
    *LAYOUT,
    "__module__",
    "__qualname__",
    "__dict__",
    "__weakref__",
    "__abstractmethods__",
    "_abc_impl",
    "_value2member_map_",
)
ANNOTATIONS = ("__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__")

# The flag of classes that are written in Python.
HEAP = 1 << 9


@dataclass(frozen=True)
class Step:
    """A step without the arguments that a `functools.partial` bound; its identity is a token of what it does."""

    call: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    name: str
    version: int | str | None
    identity: str

    @property
    def signature(self) -> inspect.Signature | None:
        """The signature; None for a function of a compiled module that does not tell."""
        try:
            return inspect.signature(self.call)
        except (TypeError, ValueError):
            return None

    @property
    def parameters(self) -> list[str] | None:
        """The names of the parameters; None if they are not known, or any will do."""
        signature = self.signature
        if signature is None or any(each.kind is each.VAR_KEYWORD for each in signature.parameters.values()):
            return None
        return list(signature.parameters)


def step_of(function: Any, token_of: TokenOf) -> Step:
    """A step, with a token of what it does."""
    if not callable(function):
        raise TypeError(
            f"a step is a function, which {type(function).__name__} is not; give the function and its arguments apart: "
            "run('smooth', gaussian, image, sigma=1)"
        )
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    while isinstance(function, partial):
        args, kwargs = function.args + args, {**function.keywords, **kwargs}
        function = function.func
    name = name_of(function)
    return Step(function, args, kwargs, name, declared(function), token_of(function, f"the step {name}"))


def current(name: str, token_of: TokenOf) -> str | None:
    """The identity of the function of this name in a module that is loaded; None if it cannot be told."""
    # To import it here could start a script that has no guard.
    try:
        function = _named(name)
        return token_of(function, name) if isinstance(function, FunctionType) else None
    except (AttributeError, ImportError, KeyError, TypeError):
        return None


def name_of(function: Any) -> str:
    """The module and name of a function, of a class, or of the class of an object."""
    named = function if hasattr(function, "__qualname__") else getattr(function, "__wrapped__", None) or type(function)
    if isinstance(function, np.ufunc):
        homes = [
            m for m, each in sys.modules.items() if getattr(each, "__dict__", {}).get(function.__name__) is function
        ]
        return f"{min(filter(package_of, homes), default='?')}:{function.__name__}"
    module = getattr(named, "__module__", None) or getattr(named, "__objclass__", type(function)).__module__
    return f"{module}:{named.__qualname__}"


def _named(name: str) -> Any:
    module, _, path = name.partition(":")
    return reduce(getattr, path.split("."), sys.modules[module])


def declared(function: Any) -> int | str | None:
    """The version that a function declares, or a class itself; not one that `functools.wraps` copied."""
    inherited = inspect.isclass(function) and "version" not in vars(function)
    found = None if inherited else _attribute(function, "version")
    if isinstance(found, bool) or not isinstance(found, int | str):
        return None
    wrapped = _attribute(function, "__wrapped__")
    return None if wrapped is not None and getattr(wrapped, "version", None) == found else found


def _attribute(value: Any, name: str) -> Any:
    """An attribute, None if there is none, whatever a class does about attributes that it lacks."""
    try:
        return getattr(value, name, None)
    except Exception:
        return None


def package_of(module: str) -> str | None:
    """The version of the installed package that a module is of; None of the user's own modules."""
    return _package_of(module.partition(".")[0])


@cache
def _package_of(top: str) -> str | None:
    if top in sys.stdlib_module_names and top != "__main__":
        return f"Python {sys.version_info.major}.{sys.version_info.minor}"
    if top == "xlabelstats":
        return version(top)
    try:
        found = find_spec(top)
    except (ImportError, ValueError):
        return None
    places = [found.origin or "", *(found.submodule_search_locations or ())] if found else []
    if not any({"site-packages", "dist-packages"} & set(PurePath(place).parts) for place in places):
        return None
    return " ".join(f"{name} {version(name)}" for name in sorted(set(_packages().get(top, ())))) or None


_packages = cache(packages_distributions)


def content_of_code(value: Any) -> dict[str, Any] | None:
    """What a function, method or class is made of, under words for it; None of what is no code."""
    inner = next((f for f in (_attribute(value, name) for name in ("py_func", "__wrapped__")) if callable(f)), None)
    if isinstance(value, property):
        return {"get": value.fget, "set": value.fset, "delete": value.fdel}
    if isinstance(value, cached_property):
        return {"get": value.func}
    if isinstance(value, MethodType):
        return {"function": value.__func__, f"the object of {name_of(value)}": value.__self__}
    routine = inspect.isroutine(value) and hasattr(value, "__qualname__")
    if not (inspect.isclass(value) or routine or isinstance(value, np.ufunc) or inner):
        return None
    name = name_of(value)
    if declared(value) is not None:
        return {"version": f"{name} {declared(value)!r}"}
    package = package_of(name.partition(":")[0])
    try:
        found = _named(name) is value
    except (AttributeError, KeyError):
        found = False
    if package and (found or (inspect.isclass(value) and not value.__flags__ & HEAP)):
        return {"package": f"{name} {package}"}
    if inspect.isclass(value):
        slots = (MemberDescriptorType, GetSetDescriptorType)
        own = {k: v for k, v in vars(value).items() if k not in (*ADDED, *ANNOTATIONS) and not isinstance(v, slots)}
        own = {f"the attribute {k!r} of the class {name}": v for k, v in own.items()}
        return {"name": name, "bases": value.__bases__, "metaclass": type(value), **own}
    if isinstance(value, FunctionType):
        return {"name": name, **_content_of_function(value, name)}
    if inner:
        return {"wrapped": inner, "by": type(value), "options": getattr(value, "targetoptions", None)}
    if not isinstance(getattr(value, "__self__", None), ModuleType | None):
        return {"name": name, f"the object of {name}": value.__self__}
    raise TypeError(
        f"{name} is compiled, and of no installed package, so that its code cannot be told from that of another "
        "version; call it in a function that declares one: @xlabelstats.pipeline.step(version=1)"
    )


def _content_of_function(function: FunctionType, name: str) -> dict[str, Any]:
    content: dict[str, Any] = {"attributes": {k: v for k, v in vars(function).items() if k != "__wrapped__"}}
    content[f"a default of {name}"] = [function.__defaults__, function.__kwdefaults__]
    modules: list[tuple[str, Any]] = []
    for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            value = cell.cell_contents
        except ValueError:
            continue
        if isinstance(value, ModuleType):
            modules.append((variable, value))
        else:
            content[f"the variable {variable!r} of {name}"] = value
    if package := package_of(function.__globals__.get("__name__", "")):
        code = bytecode(function.__code__)[0]
        return {**content, "package": package, "code": code, "wrapped": getattr(function, "__wrapped__", None)}
    own = {f"the global {variable!r} of {name}": value for variable, value in _globals(function, modules)}
    return {**content, **own, "code": bytecode(function.__code__)[0]}


def _globals(function: FunctionType, modules: Sequence[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The globals that a function names, and ``modules`` from around it.

    Of a module of the user's own, what the function may take from it.
    """
    _, names, attributes, imports = bytecode(function.__code__)
    scope = function.__globals__
    waiting = [*modules, *((name, scope[name]) for name in sorted(names) if name in scope)]
    for module in sorted(imports):
        try:
            whole = resolve_name(module, scope.get("__package__") or "")
            # The packages that it lies in are run, and named, too.
            parts = [] if package_of(whole) else whole.split(".")
            waiting += [(part, import_module(part)) for part in accumulate(parts, "{}.{}".format)]
        except (ImportError, ValueError):
            continue
    seen: list[ModuleType] = []
    for name, value in waiting:
        if isinstance(value, ModuleType) and package_of(value.__name__) is None:
            taken = sorted(attributes & vars(value).keys()) if value not in seen else []
            waiting += [(f"{name}.{attribute}", vars(value)[attribute]) for attribute in taken]
            seen.append(value)
        else:
            yield name, value


@lru_cache(maxsize=2**12)
def bytecode(code: CodeType) -> tuple[str, frozenset[str], frozenset[str], frozenset[str]]:
    """What code does, without docstrings and line numbers; and the globals, attributes and modules that it names."""
    lines: list[str] = []
    found: tuple[set[str], set[str], set[str]] = (set(), set(), set())
    instructions = [each for each in dis.get_instructions(code) if each.opname != "EXTENDED_ARG"]
    for i, (kind, value) in enumerate((each.opname, each.argval) for each in instructions):
        if isinstance(value, CodeType):
            text, *inner = bytecode(value)
            for names, others in zip(found, inner, strict=True):
                names |= others
        else:
            text = _constant(value)
        if kind in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
            found[0].add(value)
        elif kind in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM"):
            found[1].add(value)
        elif kind == "IMPORT_NAME":
            found[2].add("." * instructions[i - 2].argval + value)
        if kind == "STORE_NAME" and value in LAYOUT:
            lines.pop()
        elif kind != "NOP":
            lines.append(f"{kind} {text}")
    variables = (code.co_varnames, code.co_freevars, code.co_cellvars)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & 0x3FF)
    text = "\n".join([repr((*variables, *counts, code.co_exceptiontable)), *lines])
    return text, frozenset(found[0]), frozenset(found[1]), frozenset(found[2])


def _constant(value: Any) -> str:
    """A constant in words, in which the elements of a set have one order."""
    if isinstance(value, tuple | frozenset):
        each = [_constant(one) for one in value]
        return f"{type(value).__name__}{sorted(each) if isinstance(value, frozenset) else each}"
    return repr(value)
