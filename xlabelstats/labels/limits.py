"""The smallest and the largest pixel of an image, over which bins and grey levels lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.engine.runs import Array
from xlabelstats.inputs import data_of, is_dask
from xlabelstats.kernels import kernels_for


def limits_of(name: str, image: xr.DataArray) -> tuple[Any, Any]:
    """The smallest and the largest finite pixel of an image in memory; 0 and 1 if there is none."""
    pixels = data_of(image, "image")
    if is_dask(pixels):
        raise ValueError(
            f"{name} needs the range of its bins, which is not known for a dask image of {image.dtype}; "
            f"give it: range=(low, high), in measure as ({name!r}, {{'range': (low, high)}})"
        )
    return finite_limits(pixels) or (0, 1)


def finite_limits(pixels: Array) -> tuple[Any, Any] | None:
    """The smallest and the largest finite of some pixels in memory, if there is any."""
    xp = kernels_for(pixels).xp
    if xp is np and pixels.size:
        # Without a copy, as long as none is infinite.
        limits = np.fmin.reduce(pixels, axis=None), np.fmax.reduce(pixels, axis=None)
        if np.isfinite(limits).all():
            return limits
    finite = pixels[xp.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels
    return (finite.min()[()], finite.max()[()]) if finite.size else None
