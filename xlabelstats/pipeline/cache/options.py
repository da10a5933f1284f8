"""Names and options that a cache is given, checked, and those of cvpl_tools answered with what they are called here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar

from xlabelstats.pipeline.cache.code import Step
from xlabelstats.pipeline.cache.entries import KEY, NAME

F = TypeVar("F", bound=Callable)

# Keywords of `Cache.run` itself, which no step may have.
OWN = ("multiscale", "chunks", "compressor", "ome_version", "is_label", "layer")

STORED = "run(name, step, ..., chunks=, multiscale=, compressor=) says how a result is stored"

ANSWERS = {
    **{name: f"it is an option of run: run(name, step, ..., {name}=...)" for name in OWN},
    "preferred_chunksize": "it is called chunks: run(name, step, ..., chunks=...)",
    "cache_url": "the URL is the first argument of Cache: Cache(url)",
    "storage_options": f"Cache(url, storage_options=...) reaches the URL; {STORED}",
    "storage_option": f"Cache(url, storage_options=...) reaches the URL; {STORED}",
    "context_args": f"its entries are options: Cache(url, viewer=...) keeps results and shows them; {STORED}",
    "viewer": "a cache has the viewer: Cache(url, viewer=...)",
    "viewer_args": "a cache has the viewer: Cache(url, viewer=...); run(..., is_label=) says what is a mask",
    "layer_args": "it is called layer: run(name, step, ..., layer=...)",
    "skip_cache": "call the step itself to store nothing: step(image, ...)",
}


def check_options(names: Iterable[str], call: str) -> None:
    """Say where options of other calls, or of cvpl_tools, are to be given."""
    for name in names:
        if name in ANSWERS:
            raise TypeError(f"{call} has no option {name!r}; {ANSWERS[name]}")


def answering(init: F) -> F:
    """Answer options that `Cache` has not before Python complains of another."""

    @wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        check_options(kwargs.keys() - {"viewer", "storage_options"}, "Cache()")
        check_options(kwargs.get("storage_options") or (), "storage_options")
        init(self, *args, **kwargs)

    return checked  # type: ignore[return-value]


def check_step(step: Step, kwargs: Iterable[str]) -> None:
    """Complain about a step with a parameter that `run` has, and about options that neither has."""
    takes = step.parameters
    for name in OWN:
        if name in (takes or ()) and name not in step.kwargs:
            raise TypeError(
                f"the step {step.name} has a parameter {name!r}, which run() has too; give it beforehand: "
                f"functools.partial({step.name.partition(':')[2]}, {name}=...)"
            )
    if takes is not None:
        check_options([name for name in kwargs if name not in takes], "run()")


def check_name(name: Any) -> None:
    """Complain about what cannot be the name of a folder."""
    if not isinstance(name, str):
        raise TypeError(f"a name is text, not {type(name).__name__}; the step comes second: run('name', step, ...)")
    if not NAME.fullmatch(name) or KEY.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot be the name of a folder: letters, digits, '-', '_' and '.' can, not beginning with "
            "'.', nor of just 16 hexadecimal digits"
        )
