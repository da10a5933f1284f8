"""A warning of textures whose grey levels an image hardly fills."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.catalogue.measure import Measure
from xlabelstats.catalogue.texture import GreyLevels, Textures
from xlabelstats.cautions import caution
from xlabelstats.engine.dask_internals import is_opened_lazily
from xlabelstats.inputs import is_dask
from xlabelstats.labels.limits import limits_of

# An image that fills fewer grey levels than this has little texture to tell.
FEW_LEVELS = 8


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
    low, high = limits_of("texture", image)
    for grey in levels:
        _warn_filled(image, grey, low, high)


def _warn_unread(image: xr.DataArray, grey: GreyLevels) -> None:
    if not grey.given and image.dtype.itemsize > 1:
        caution(
            f"texture: {grey.levels} grey levels cover the range of {image.dtype}, from {grey.low:.0f} to "
            f"{grey.high - 1:.0f}, and a lazy image is not read to see how much of that it fills; give the range "
            "that it uses, such as range=(0, 4095) for a camera of 12 bits, or range='object' for that of every "
            "object"
        )


def _warn_filled(image: xr.DataArray, grey: GreyLevels, low: Any, high: Any) -> None:
    if low == high:
        return
    shares = (np.array([low, high], np.float64) - grey.low) / (grey.high - grey.low)
    first, last = np.clip(np.floor(shares * grey.levels), 0, grey.levels - 1).astype(int).tolist()
    filled = last - first + 1
    if filled < (2 if grey.given else min(FEW_LEVELS, grey.levels // 2)):
        over = f"range=({grey.low:g}, {grey.high:g})" if grey.given else f"the range of {image.dtype}"
        caution(
            f"texture: pixels from {low} to {high} fill {filled} of {grey.levels} grey levels over {over}; give "
            f"the range that the image uses, such as range=({low}, {high}), or range='object' for that of every object"
        )
