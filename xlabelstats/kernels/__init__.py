"""The hot loops, and the one look-up of which arrays they are for."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from xlabelstats.kernels import cpu, gpu
    from xlabelstats.kernels.protocol import Kernels

    # Both sides have the functions that are called, with these arguments.
    CPU: Kernels = cpu
    GPU: Kernels = gpu


def on_device(array: Any) -> bool:
    """Whether an array is CuPy, or dask with CuPy blocks, without importing CuPy."""
    return type(getattr(array, "_meta", array)).__module__.partition(".")[0] == "cupy"


def kernels_for(array: Any) -> Kernels:
    """The kernels for an array, or for the blocks of a dask array: `cpu` or `gpu`, which have the same functions."""
    return _kernels("gpu" if on_device(array) else "cpu")


@cache
def _kernels(name: str) -> Kernels:
    return cast("Kernels", import_module(f"xlabelstats.kernels.{name}"))
