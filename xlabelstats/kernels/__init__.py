"""The hot loops, and the one look-up of which arrays they are for."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any


def on_device(array: Any) -> bool:
    """Whether an array is CuPy, or dask with CuPy blocks, without importing CuPy."""
    return type(getattr(array, "_meta", array)).__module__.partition(".")[0] == "cupy"


def kernels_for(array: Any) -> ModuleType:
    """The kernels for an array, or for the blocks of a dask array: `cpu` or `gpu`, which have the same functions."""
    return import_module(f"xlabelstats.kernels.{'gpu' if on_device(array) else 'cpu'}")
