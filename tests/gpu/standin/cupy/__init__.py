"""A stand-in for CuPy where there is no GPU: numpy arrays that are as hard to get at as those on a device.

It refuses what CuPy refuses: to become a numpy array unasked, or to meet one in a function.  Kernels in CUDA C++
are compiled by the C++ compiler of the machine and run thread by thread; their arguments are checked against the
signature, which CUDA does not do.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

__version__ = "0.0"

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")

# The functions that were called, to be compared with what CuPy has.
called: set[str] = set()


def _inner(value):
    """A value as numpy takes it; what is in main memory already is refused, numbers excepted."""
    if isinstance(value, ndarray):
        return value._array
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, tuple | list):
        return type(value)(map(_inner, value))
    if isinstance(value, dict):
        return {key: _inner(each) for key, each in value.items()}
    return value


def _outer(value):
    """What numpy returned as CuPy would: scalars are arrays too."""
    if isinstance(value, np.ndarray | np.generic):
        return ndarray(value)
    if isinstance(value, tuple | list):
        return type(value)(map(_outer, value)) if not hasattr(value, "_fields") else tuple(map(_outer, value))
    return value


def _index(key):
    """An index; CuPy takes arrays of numpy there."""
    if isinstance(key, tuple):
        return tuple(map(_index, key))
    return key._array if isinstance(key, ndarray) else key


class ndarray(NDArrayOperatorsMixin):
    def __init__(self, array):
        array = np.asarray(array)
        if array.dtype.kind not in "biufc" or not array.dtype.isnative or array.dtype.itemsize > 16:
            raise ValueError(f"Unsupported dtype {array.dtype}")
        self._array = array

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array "
            "explicitly."
        )

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        if method != "__call__":
            raise TypeError(f"{ufunc.__name__}.{method} is not for CuPy")
        called.add(ufunc.__name__)
        if out is not None:
            kwargs["out"] = _inner(out)
        with np.errstate(all="ignore"):
            found = ufunc(*map(_inner, inputs), **kwargs)
        return out[0] if out is not None else _outer(found)

    def __array_function__(self, func, types, args, kwargs):
        called.add(".".join([*func.__module__.split(".")[1:], func.__name__]))
        with np.errstate(all="ignore"):
            return _outer(func(*_inner(args), **_inner(kwargs)))

    def __getitem__(self, key):
        return ndarray(self._array[_index(key)])

    def __setitem__(self, key, value):
        self._array[_index(key)] = _inner(value)

    def __len__(self):
        return len(self._array)

    def __iter__(self):
        return (ndarray(each) for each in self._array)

    def __bool__(self):
        return bool(self._array)

    def __int__(self):
        return int(self._array)

    def __float__(self):
        return float(self._array)

    def __repr__(self):
        return f"stand-in {self._array!r}"

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    def __reduce__(self):
        return ndarray, (self._array,)

    def get(self):
        return self._array.copy()

    def tolist(self):
        return self._array.tolist()

    def item(self):
        return self._array.item()

    def astype(self, dtype, order="K", casting="unsafe", subok=None, copy=True):
        with np.errstate(all="ignore"):
            return ndarray(self._array.astype(dtype, order=order, casting=casting, copy=copy))

    @property
    def flags(self):
        flags = self._array.flags
        return SimpleNamespace(c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous, owndata=flags.owndata)

    @property
    def T(self):
        return ndarray(self._array.T)


def _attribute(name):
    return property(lambda self: getattr(self._array, name))


def _method(name):
    def method(self, *args, **kwargs):
        with np.errstate(all="ignore"):
            return _outer(getattr(self._array, name)(*_inner(args), **_inner(kwargs)))

    return method


for _name in ("dtype", "shape", "ndim", "size", "nbytes", "itemsize", "strides"):
    setattr(ndarray, _name, _attribute(_name))
_METHODS = (
    "all any argmax argsort clip copy cumsum max mean min prod ravel reshape sort squeeze sum swapaxes"
    " take transpose view"
)
for _name in _METHODS.split():
    setattr(ndarray, _name, _method(_name))

# The functions of CuPy that are used, which do on arrays of the device what those of numpy do on its own.
_FUNCTIONS = """
    abs arange argpartition argsort array_equal bincount broadcast_to clip concatenate cumsum empty empty_like eye
    flatnonzero floor full indices isfinite lexsort log2 maximum minimum moveaxis nonzero ones repeat result_type rint
    sort sqrt stack swapaxes take take_along_axis tensordot transpose triu triu_indices unique where zeros zeros_like
"""
for _name in ("float64", "float32", "int64", "bool_", "newaxis", "nan", "inf", "iinfo", "finfo"):
    globals()[_name] = getattr(np, _name)


def __getattr__(name):
    if name not in _FUNCTIONS.split():
        raise AttributeError(f"module 'cupy' has no attribute {name!r}")

    def function(*args, **kwargs):
        called.add(name)
        with np.errstate(all="ignore"):
            return _outer(getattr(np, name)(*_inner(args), **_inner(kwargs)))

    return function


def asarray(a, dtype=None, order=None):
    array = a._array if isinstance(a, ndarray) else np.asarray(_inner(a) if isinstance(a, list | tuple) else a)
    same = isinstance(a, ndarray) and (dtype is None or array.dtype == dtype)
    return a if same else ndarray(np.array(array, dtype, order=order))


def searchsorted(a, v, side="left", sorter=None):
    called.add("searchsorted")
    if not isinstance(v, ndarray | int | float | complex):
        raise NotImplementedError("Only python scalars or ndarrays are supported for v")
    return ndarray(np.searchsorted(_inner(a), _inner(v), side))


def array(a, dtype=None, copy=True, order="K"):
    return ndarray(np.array(a._array if isinstance(a, ndarray) else a, dtype, order=order))


def ascontiguousarray(a, dtype=None):
    return ndarray(np.ascontiguousarray(_inner(a), dtype))


def asnumpy(a):
    return a.get() if isinstance(a, ndarray) else np.asarray(a)


def _eigh(a):
    values, vectors = np.linalg.eigh(_inner(a))
    return ndarray(values), ndarray(vectors)


linalg = SimpleNamespace(eigh=_eigh, eigvalsh=lambda a: ndarray(np.linalg.eigvalsh(_inner(a))))
lib = SimpleNamespace(
    stride_tricks=SimpleNamespace(
        as_strided=lambda x, shape=None, strides=None: ndarray(
            np.lib.stride_tricks.as_strided(_inner(x), shape, strides)
        )
    )
)


class CUDARuntimeError(RuntimeError):
    """What CuPy raises where the driver of the GPU is missing or too old."""


cuda = SimpleNamespace(
    runtime=SimpleNamespace(
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda i: {"name": b"a stand-in"},
        CUDARuntimeError=CUDARuntimeError,
    ),
    Device=lambda: SimpleNamespace(synchronize=lambda: None),
)


def get_default_memory_pool():
    return SimpleNamespace(total_bytes=lambda: 0)


class RawModule:
    def __init__(self, *, code, options=(), name_expressions=()):
        self._names = [name for expression in name_expressions for name in _for_any_dtype(expression)]
        shim = Path(__file__).with_name("shim.h").read_text()
        ends = "".join(
            f'extern "C" void run{i}(long long grid, long long block, void** args)'
            f"{{ launch(&{name}, grid, block, args); }}\n"
            f'extern "C" void signature{i}(char* text) {{ signature(&{name}, text); }}\n'
            for i, name in enumerate(self._names)
        )
        text = shim + code + ends
        library = Path(tempfile.gettempdir(), f"standin-{hashlib.sha256(text.encode()).hexdigest()[:16]}.so")
        if not library.exists():
            with tempfile.TemporaryDirectory(dir=library.parent) as folder:
                source, built = Path(folder, "kernels.cpp"), Path(folder, "kernels.so")
                source.write_text(text)
                flags = ["-std=c++17", "-O1", "-shared", "-fPIC", "-Wall", "-Werror", "-Wno-unused-variable"]
                _compile([COMPILER, *flags, str(source), "-o", str(built)])
                # Other threads and processes find it whole or not at all.
                built.replace(library)
        self._library = ctypes.CDLL(str(library))

    def get_function(self, name):
        i = self._names.index(name)
        run, signature = getattr(self._library, f"run{i}"), getattr(self._library, f"signature{i}")
        text = ctypes.create_string_buffer(256)
        signature(text)
        expected = text.value.decode().split()

        def kernel(grid, block, args):
            given = [_kind(each) for each in args]
            assert given == expected, f"{name} takes {expected} and was given {given}"
            held = [np.array(a._array.ctypes.data if isinstance(a, ndarray) else a) for a in args]
            pointers = (ctypes.c_void_p * len(held))(*(each.ctypes.data for each in held))
            run(ctypes.c_longlong(grid[0]), ctypes.c_longlong(block[0]), pointers)

        return kernel


def _for_any_dtype(expression):
    """A kernel for every dtype that its first array may have: a compiler takes longer to start than for a kernel."""
    from xlabelstats.kernels.gpu_launch import C_TYPES

    name, _, types = expression.partition("<")
    others = "".join(types.partition(",")[1:]) or ">"
    return [f"{name}<{dtype}{others}" for dtype in C_TYPES.values()] if types else [expression]


def _compile(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the kernels do not compile:\n{done.stderr[:2000]}")


def _kind(value):
    """What an argument of a kernel is, as the shim writes it."""
    if not isinstance(value, ndarray):
        return f"{value.dtype.kind}{value.dtype.itemsize}"
    assert value._array.flags.c_contiguous, "kernels take arrays whose elements lie in order"
    return f"*{value.dtype.kind}{value.dtype.itemsize}"
