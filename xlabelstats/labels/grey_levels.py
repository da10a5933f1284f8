"""A warning of textures whose grey levels an image hardly fills."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.catalogue.measure import Measure
from xlabelstats.catalogue.texture import GreyLevels, Textures
from xlabelstats.cautions import caution
from xlabelstats.engine.dask_internals import is_opened_lazily
from xlabelstats.engine.runs import Array
from xlabelstats.inputs import data_of, is_dask
from xlabelstats.kernels import on_device
from xlabelstats.labels.limits import finite_limits

# An image that fills fewer grey levels than this has little texture to tell.
FEW_LEVELS = 8

# So many pixels mostly suffice to see that enough levels are filled.
SAMPLED_PIXELS = 2**16

Limits = tuple[Any, Any] | None


def warn_of_few_levels(image: xr.DataArray, measures: Iterable[Measure]) -> None:
    """Warn if an image fills few of the grey levels that textures compare, or may do so and is not read to know."""
    textures = (entry.reduction for entry in measures if isinstance(entry.reduction, Textures))
    levels = [grey for grey in dict.fromkeys(texture.grey for texture in textures) if grey is not None and not grey.own]
    if not levels or image.dtype.kind == "b" or not image.size:
        return
    if is_opened_lazily(image) or is_dask(image.data):
        for grey in levels:
            _warn_unread(image, grey)
        return
    pixels = data_of(image, "image")
    if on_device(pixels):
        # There are no textures on a GPU, which their reduction says.
        return
    # No fewer levels are filled by all pixels than by some.
    if not _hardly_filled(levels, finite_limits(_sample_of(pixels))):
        return
    limits = finite_limits(pixels)
    for grey in _hardly_filled(levels, limits):
        _warn_filled(image, grey, limits)


def _sample_of(pixels: Array) -> Array:
    """At most `SAMPLED_PIXELS` pixels at even distances; of short dims, such as channels, all positions."""
    left, steps = float(SAMPLED_PIXELS), [1] * pixels.ndim
    for rank, dim in enumerate(sorted(range(pixels.ndim), key=pixels.shape.__getitem__)):
        positions = min(pixels.shape[dim], int(left ** (1 / (pixels.ndim - rank))))
        steps[dim], left = math.ceil(pixels.shape[dim] / positions), left / positions
    return pixels[tuple(slice(None, None, step) for step in steps)]


def _hardly_filled(levels: Iterable[GreyLevels], limits: Limits) -> list[GreyLevels]:
    """Those of the grey levels that pixels between these limits fill few of."""
    return [grey for grey in levels if _filled(grey, limits) < (2 if grey.given else min(FEW_LEVELS, grey.levels // 2))]


def _filled(grey: GreyLevels, limits: Limits) -> int:
    """How many levels lie between the limits; 0 if there are none."""
    if limits is None:
        return 0
    with np.errstate(over="ignore"):
        places = (np.array(limits, np.float64) - grey.low) / (grey.high - grey.low) * grey.levels
    first, last = np.clip(np.floor(places), 0, grey.levels - 1).astype(int).tolist()
    return last - first + 1


def _warn_unread(image: xr.DataArray, grey: GreyLevels) -> None:
    if not grey.given and image.dtype.itemsize > 1:
        caution(
            f"texture: {grey.levels} grey levels cover the range of {image.dtype}, from {grey.low:.0f} to "
            f"{grey.high - 1:.0f}, and a lazy image is not read to see how much of that it fills; give the range "
            "that it uses, such as range=(0, 4095) for a camera of 12 bits, or range='object' for that of every "
            "object"
        )


def _warn_filled(image: xr.DataArray, grey: GreyLevels, limits: Limits) -> None:
    if limits is None or limits[0] == limits[1]:
        return
    over = f"range=({grey.low:g}, {grey.high:g})" if grey.given else f"the range of {image.dtype}"
    low, high = limits
    caution(
        f"texture: pixels from {low} to {high} fill {_filled(grey, limits)} of {grey.levels} grey levels over {over}; "
        f"give the range that the image uses, such as range=({low}, {high}), or range='object' for that of every object"
    )
