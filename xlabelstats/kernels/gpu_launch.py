"""How kernels in CUDA C++ are compiled and run, and what they get of runs and pixels."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import cupy as xp
import numpy as np

# The files that hold them; those that come later use what the first defines.
SOURCES = ("gpu.cu", "gpu_channels.cu", "gpu_boundaries.cu")

THREADS = 256

# What dtypes are called in CUDA C++.
C_TYPES = {
    "u1": "unsigned char", "u2": "unsigned short", "u4": "unsigned int", "u8": "unsigned long long",
    "i1": "signed char", "i2": "short", "i4": "int", "i8": "long long", "f4": "float", "f8": "double",
}  # fmt: skip


def runs_of(image, runs):
    """What the kernels get of an image and its runs."""
    channels, pixels = image.shape
    return image, pixels, channels, runs.codes, runs.starts, runs.lengths, runs.codes.size


def placed(runs):
    """What the kernels get of runs and their block's shape."""
    return runs.codes, runs.starts, runs.lengths, runs.codes.size, *shape_of(runs)


def shape_of(runs):
    """What the kernels get of the shape of a block."""
    return xp.asarray(runs.shape), runs.shape.size


def sign(bits):
    """The bit of the sign, in unsigned integers of this size."""
    return bits.dtype.type(1 << (8 * bits.itemsize - 1))


def ordered(bits, kind):
    """Words that sort as the numbers do whose bits these are, as those of the kernels."""
    if kind == "u":
        return bits
    top = sign(bits)
    return bits ^ top if kind == "i" else xp.where(bits & top != 0, ~bits, bits | top)


def from_ordered(words, kind):
    """The bits of the numbers that words stand for."""
    if kind == "u":
        return words
    top = sign(words)
    return words ^ top if kind == "i" else xp.where(words & top != 0, words ^ top, ~words)


def each(name, n, types, *args):
    """Run a kernel, compiled for arrays of the given types, in at least ``n`` threads."""
    if n:
        kernel = _compiled(name, *(C_TYPES[array.dtype.str[1:]] for array in types))
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
