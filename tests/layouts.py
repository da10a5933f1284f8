"""Arrays that lie in memory in every way they may, ids at the edges of their dtypes, and whether all is as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

INTEGERS = [f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)]


def pool(dtype: np.dtype) -> list[int]:
    """Integers at the edges of a dtype, and some from its middle."""
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return sorted({n for n in (low, low + 1, -1, 0, 1, 2, 100, high // 2 + 1, high - 1, high) if low <= n})


def packed(array: np.ndarray) -> np.ndarray:
    """A copy whose items lie at odd addresses."""
    table = np.zeros(array.shape, np.dtype([("pad", "u1"), ("value", array.dtype)]))
    table["value"] = array
    return table["value"]


def strided(array: np.ndarray) -> np.ndarray:
    """A copy that is every second pixel of a larger array."""
    every = (slice(None, None, 2),) * array.ndim
    larger = np.zeros([2 * n for n in array.shape], array.dtype)
    larger[every] = array
    return larger[every]


def backwards(array: np.ndarray) -> np.ndarray:
    """A copy with negative strides."""
    flip = (slice(None, None, -1),) * array.ndim
    return array[flip].copy()[flip]


def swapped(array: np.ndarray) -> np.ndarray:
    """A copy in the byte order that is not the machine's."""
    return array.astype(array.dtype.newbyteorder())


LAYOUTS = {
    "as it is": np.array,
    "Fortran order": np.asfortranarray,
    "packed": packed,
    "strided": strided,
    "backwards": backwards,
    "byte order": swapped,
    "broadcast": lambda array: np.broadcast_to(array, array.shape),
    "all of it": lambda array: backwards(packed(swapped(array))),
}


def even_chunks(array: Any) -> tuple[tuple[int, ...], ...]:
    """The chunks of a dask array as Zarr can hold them: along every dim as large as its largest, but for the last."""
    data = array.data if isinstance(array, xr.DataArray) else array
    return data.rechunk(tuple(map(max, data.chunks))).chunks


def state(array: xr.DataArray) -> list[Any]:
    """All that a call could change of an array."""
    data = array.data
    lazy = array.chunks is not None
    kept = [data.name, sorted(map(str, data.dask.keys()))] if lazy else [data.flags.writeable, data.strides, id(data)]
    coords = [(name, coord.dims, coord.values.tobytes(), str(coord.attrs)) for name, coord in array.coords.items()]
    return [*kept, array.chunks, array.dims, array.dtype, array.name, str(array.attrs), array.values.tobytes(), coords]
