"""What a step is: the version it declares, or else its source, and what it holds."""

from __future__ import annotations

import ast
import builtins
import hashlib
import inspect
import linecache
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from importlib.metadata import PackageNotFoundError, version
from types import CodeType, FunctionType, MethodType
from typing import Any

# Of a value that a step holds, and words for where it is held, to a token.
TokenOf = Callable[[Any, str], str]


@dataclass(frozen=True)
class Step:
    """A step as it is called, and what tells it from others.

    Attributes
    ----------
    call : callable
        Without the arguments that a `functools.partial` bound.
    args, kwargs : tuple, mapping
        The arguments that were bound.
    name : str
        ``module:qualname``.
    version : int or str or None
        As declared by an attribute ``version``.
    identity : str
        A token of the version or the source, and of values that the step holds, such as a model's weights.
    """

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
    """A step, with what its identity is; ``token_of`` is asked for values that it holds."""
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
    return Step(function, args, kwargs, name_of(function), declared(function), identity_of(function, token_of))


def name_of(function: Any) -> str:
    """Where a function, or the class of a callable object, is found."""
    named = function if hasattr(function, "__qualname__") else getattr(function, "__wrapped__", None) or type(function)
    module = getattr(named, "__module__", None) or type(function).__module__
    name = getattr(named, "__qualname__", None) or getattr(function, "__name__", type(function).__qualname__)
    return f"{module}:{name}"


def declared(function: Any) -> int | str | None:
    """The version that a function declares; one that `functools.wraps` copied is that of what it wraps."""
    found = getattr(function, "version", None)
    if isinstance(found, bool) or not isinstance(found, int | str):
        return None
    wrapped = getattr(function, "__wrapped__", None)
    return None if wrapped is not None and getattr(wrapped, "version", None) == found else found


def identity_of(function: Any, token_of: TokenOf, seen: tuple[int, ...] = ()) -> str:
    """A token of what a function does, as far as it can be told from its own code and what it holds."""
    if id(function) in seen:
        return "recursive"
    seen = (*seen, id(function))
    if isinstance(function, partial):
        held = token_of([function.args, function.keywords], name_of(function.func))
        return _digest("partial", identity_of(function.func, token_of, seen), held)
    number = declared(function)
    if isinstance(function, MethodType):
        held = token_of(function.__self__, f"the object of {name_of(function)}")
        code = str(number) if number is not None else identity_of(function.__func__, token_of, seen)
        return _digest("method", name_of(function), code, held)
    if number is not None and (inspect.isroutine(function) or inspect.isclass(function)):
        return _digest("version", name_of(function), str(number))
    if isinstance(function, FunctionType):
        own = (name_of(function), code_text(function.__code__), _defaults(function, token_of))
        return _digest("function", *own, *_closure(function, token_of, seen))
    if isinstance(getattr(function, "__wrapped__", None), FunctionType):
        return _digest(name_of(type(function)), identity_of(function.__wrapped__, token_of, seen))
    if inspect.isclass(function):
        return _digest("class", name_of(function), _class_text(function))
    if is_code(function):
        return _digest("compiled", name_of(function), _package_version(name_of(function)))
    return _digest("object", name_of(function), code_of(function), token_of(function, f"the step {name_of(function)}"))


def is_code(value: Any) -> bool:
    """Whether a value is a class, or a function that is no object of a class of its own."""
    return inspect.isclass(value) or inspect.isroutine(value) or type(value).__name__ == "ufunc"


def code_of(value: Any) -> str:
    """The version that an object declares, or else the source of its class."""
    number = declared(value)
    return str(number) if number is not None else _class_text(type(value))


def current(name: str, token_of: TokenOf) -> str | None:
    """The identity of the function of this name in a module that is loaded; None if it cannot be told."""
    module, _, path = name.partition(":")
    # To import it here could start a script that has no guard.
    found = sys.modules.get(module)
    if found is None or "<" in path:
        return None
    try:
        function = reduce(getattr, path.split("."), found)
        return identity_of(function, token_of) if isinstance(function, FunctionType) else None
    except (AttributeError, ImportError, TypeError):
        return None


def code_text(code: CodeType) -> str:
    """The source of a function without comments and docstrings, or its bytecode where the source is not at hand.

    A file that was edited after the function was loaded is not its source.
    """
    shape = _shape(code)
    if code.co_name != "<lambda>":
        for found in _codes_of_file(code.co_filename):
            if found.co_qualname == code.co_qualname and _shape(found) == shape:
                text = _plain(inspect.getsource, found)
                if text is not None:
                    return text
    return shape


def _codes_of_file(filename: str) -> Iterator[CodeType]:
    linecache.checkcache(filename)
    text = "".join(linecache.getlines(filename))
    try:
        waiting = [compile(text, filename, "exec", dont_inherit=True)]
    except (SyntaxError, ValueError):
        return
    while waiting:
        code = waiting.pop()
        yield code
        waiting.extend(each for each in code.co_consts if isinstance(each, CodeType))


def _plain(getsource: Callable[[Any], str], thing: Any) -> str | None:
    """Source without comments, docstrings and layout; None if it cannot be had."""
    try:
        tree = ast.parse(textwrap.dedent(getsource(thing)))
    except (OSError, TypeError, SyntaxError):
        return None
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _shape(code: CodeType) -> str:
    """Bytecode with its names and constants."""
    constants = [
        _shape(each)
        if isinstance(each, CodeType)
        else repr(sorted(map(repr, each)) if isinstance(each, frozenset) else each)
        for each in code.co_consts
    ]
    return repr(
        (code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_argcount)
    )


def _class_text(kind: type) -> str:
    own = [each for each in kind.__mro__ if each.__module__ != builtins.__name__]
    texts = [_plain(inspect.getsource, each) or _package_version(name_of(each)) for each in own]
    return "\n".join(texts)


def _defaults(function: FunctionType, token_of: TokenOf) -> str:
    values: dict[Any, Any] = {**dict(enumerate(function.__defaults__ or ())), **(function.__kwdefaults__ or {})}
    # A bare object stands for an argument that was not given.
    held = {name: None if type(value) is object else value for name, value in values.items()}
    return token_of(held, f"a default of {name_of(function)}")


def _closure(function: FunctionType, token_of: TokenOf, seen: tuple[int, ...]) -> Iterator[str]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            value = cell.cell_contents
        except ValueError:
            continue
        where = f"the variable {name!r} of the step {name_of(function)}"
        held = identity_of(value, token_of, seen) if isinstance(value, FunctionType) else token_of(value, where)
        yield f"{name}={held}"


def _package_version(name: str) -> str:
    package = name.split(":")[0].split(".")[0]
    try:
        return version(package)
    except (PackageNotFoundError, ValueError):
        return f"{package} of Python {sys.version_info.major}.{sys.version_info.minor}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
