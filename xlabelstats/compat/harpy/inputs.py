"""What harpy's classes are given, checked as there: bare arrays, window sizes, functions and their options."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.compat.harpy.devices import to_gpu
from xlabelstats.inputs import check_chunks, check_on_host, is_dask
from xlabelstats.kernels import kernels_for

SPACE = ("z", "y", "x")

# Options of `dask.array.map_blocks`, to which harpy hands on what it does not know.
WITHOUT_EFFECT = ("name", "token", "meta", "enforce_ndim")
TAKEN = ("dtype", "chunks", "drop_axis", "new_axis")


class InputError(ValueError, AssertionError):
    """An input that does not fit: a ValueError, and an AssertionError because harpy raises these."""


def named_arrays(mask: Any, image: Any, on_gpu: bool) -> tuple[xr.DataArray, xr.DataArray | None]:
    """The bare arrays of a mask and an image with the names of their dims, where they are measured; or a complaint."""
    if not on_gpu:
        check_on_host("the drop-in class", mask_dask_array=mask, image_dask_array=image)
    if not np.issubdtype(mask.dtype, np.integer):
        raise ValueError(f"mask_dask_array holds integer labels, not {mask.dtype}; cast it with .astype('int32')")
    if mask.ndim != 3:
        raise InputError(f"mask_dask_array has the dims (z, y, x), but its shape is {mask.shape}; add z by mask[None]")
    named = xr.DataArray(_lazy(mask, on_gpu), dims=SPACE, name="mask")
    check_chunks(named, "mask")
    if image is None:
        return named, None
    if image.ndim != 4:
        raise InputError(
            f"image_dask_array has the dims (c, z, y, x), but its shape is {image.shape}; add z by image[:, None]"
        )
    pixels = xr.DataArray(_lazy(image, on_gpu), dims=("c", *SPACE), name="image")
    check_chunks(pixels, "image")
    if image.shape[1:] != mask.shape:
        raise InputError(f"image and mask differ in (z, y, x): {image.shape[1:]} and {mask.shape}")
    return named, pixels


def _lazy(array: Any, on_gpu: bool) -> Any:
    import dask.array as da

    array = array if is_dask(array) else da.from_array(kernels_for(array).xp.asarray(array), name=False)
    return to_gpu(array) if on_gpu else array


def need_image(image: xr.DataArray | None, what: str) -> xr.DataArray:
    """The image, without which something cannot be measured."""
    if image is None:
        raise InputError(f"{what} needs an image, and image_dask_array was not given")
    return image


def window_size(diameter: int | None, depth: int | None) -> dict[str, int]:
    """The size of windows in y and x; along z a window is the whole mask."""
    if diameter is None:
        if depth is None:
            raise ValueError("give diameter, the size of the windows, or depth, which is half of it")
        diameter = 2 * depth
    if depth is not None and depth < diameter // 2:
        raise ValueError(f"depth={depth} is smaller than diameter // 2 = {diameter // 2}; leave it out, or enlarge it")
    return {"y": diameter, "x": diameter}


def check_intermediate(store_intermediate: bool, zarr_output_path: Any) -> None:
    """Complain about windows that are to be stored nowhere."""
    if store_intermediate and zarr_output_path is None:
        raise ValueError("store_intermediate=True stores windows beside zarr_output_path, which was not given")


def split_options(kwargs: Mapping[str, Any], call: str) -> dict[str, Any]:
    """The keywords that are no options of `dask.array.map_blocks`; these have no effect, and a warning says so."""
    taken = [name for name in kwargs if name in TAKEN]
    if taken:
        raise TypeError(f"{call} sets {taken[0]!r} itself")
    idle = [name for name in kwargs if name in WITHOUT_EFFECT]
    if idle:
        warnings.warn(
            f"{', '.join(idle)}: an option of dask.array.map_blocks, which {call} does not use; it has no effect",
            UserWarning,
            stacklevel=3,
        )
    return {name: value for name, value in kwargs.items() if name not in WITHOUT_EFFECT}


def takes_gpu(fn: Callable[..., Any]) -> bool:
    """Whether a function can be told by the keyword ``run_on_gpu`` where it runs."""
    parameters = parameters_of(fn)
    if parameters is None:
        return False
    return "run_on_gpu" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def parameters_of(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter] | None:
    """The parameters of a function, None for one that does not tell, as some written in C."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None
