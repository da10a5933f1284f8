"""Where the drop-in classes compute: with ``run_on_gpu=True`` on the GPU, if CuPy finds one, and else on the CPU."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from xlabelstats.cautions import caution
from xlabelstats.engine.runs import native
from xlabelstats.extras import CUPY
from xlabelstats.kernels import on_device

Result = TypeVar("Result", xr.DataArray, xr.Dataset)


def uses_gpu(run_on_gpu: bool) -> bool:
    """Whether the GPU is asked for and can be used; if it cannot, a warning says why, once."""
    if not run_on_gpu:
        return False
    obstacle = gpu_obstacle()
    if obstacle is not None:
        _warn_of_cpu(obstacle)
    return obstacle is None


def gpu_obstacle() -> str | None:
    """Why CuPy cannot use a GPU here, None if it can."""
    try:
        import cupy
    except ImportError as error:
        # Libraries of CUDA that cannot be loaded are an ImportError too.
        missing = isinstance(error, ModuleNotFoundError) and error.name == "cupy"
        return f"CuPy is not installed ({CUPY})" if missing else f"CuPy cannot be imported: {error}"
    try:
        return None if cupy.cuda.runtime.getDeviceCount() else "CuPy finds no GPU"
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CuPy finds no GPU ({error})"


@cache
def _warn_of_cpu(obstacle: str) -> None:
    caution(f"run_on_gpu=True, but {obstacle}; the CPU is used")


def to_gpu(array: Any) -> Any:
    """A dask array whose blocks are moved to the GPU when they are computed."""
    import cupy

    dtype = native(array.dtype)
    return array.map_blocks(_moved, dtype, dtype=dtype, meta=cupy.empty((0,) * array.ndim, dtype))


def _moved(block: Any, dtype: np.dtype) -> Any:
    import cupy

    return cupy.asarray(block.astype(dtype, copy=False))


def to_host(array: Any) -> Any:
    """A dask array whose blocks are moved to main memory when they are computed, if they are on the GPU."""
    if not on_device(array):
        return array
    import cupy

    return array.map_blocks(cupy.asnumpy, dtype=array.dtype, meta=np.empty((0,) * array.ndim, array.dtype))


def in_memory(result: Result) -> Result:
    """A result, computed and in main memory."""
    return result.compute().as_numpy()
