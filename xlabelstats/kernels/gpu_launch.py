"""How kernels in CUDA C++ are compiled, when they are first called, and run."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import cupy as xp
import numpy as np

# The files that hold them; those that come later use what the first defines.
SOURCES = ("gpu.cu", "gpu_boundaries.cu")

THREADS = 256

# What dtypes are called in CUDA C++.
C_TYPES = {
    "u1": "unsigned char", "u2": "unsigned short", "u4": "unsigned int", "u8": "unsigned long long",
    "i1": "signed char", "i2": "short", "i4": "int", "i8": "long long", "f4": "float", "f8": "double",
}  # fmt: skip


def each(name, n, types, *args):
    """Run a kernel, compiled for arrays of the given types, in at least ``n`` threads."""
    if n:
        kernel = _compiled(name, *(C_TYPES[each.dtype.str[1:]] for each in types))
        args = tuple(np.bool_(a) if isinstance(a, bool | np.bool_) else _int(a) for a in args)
        kernel(((n + THREADS - 1) // THREADS,), (THREADS,), args)


def _int(value):
    return np.int64(value) if isinstance(value, int | np.integer) else value


@cache
def _compiled(name, *types):
    expression = f"{name}<{', '.join(types)}>" if types else name
    folder = files("xlabelstats.kernels")
    source = "".join(folder.joinpath(file).read_text(encoding="utf-8") for file in SOURCES)
    module = xp.RawModule(code=source, options=("--std=c++17",), name_expressions=(expression,))
    return module.get_function(expression)
