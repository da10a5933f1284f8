"""A warning of textures whose grey levels an image hardly fills."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import xarray as xr

from xlabelstats.catalogue.histogram import dtype_range
from xlabelstats.catalogue.measure import Measure
from xlabelstats.catalogue.texture import GreyLevels, Textures
from xlabelstats.cautions import caution
from xlabelstats.engine.dask_internals import is_opened_lazily
from xlabelstats.inputs import is_dask

# An image that fills fewer grey levels than this has little texture to tell.
FEW_LEVELS = 8


def warn_of_few_levels(
    image: xr.DataArray, measures: Iterable[Measure], limits_of: Callable[[str, xr.DataArray], tuple[Any, Any]]
) -> None:
    """Warn if an image fills few of the grey levels that textures compare, or may do so and is not read to know.

    ``limits_of`` gives the least and the greatest pixel of an image in memory.
    """
    if image.dtype.kind == "b" or not image.size:
        return
    textures = (entry.reduction for entry in measures if isinstance(entry.reduction, Textures))
    for grey in dict.fromkeys(texture.grey for texture in textures):
        if grey is not None and not grey.own:
            _warn(image, grey, limits_of)


def _warn(image: xr.DataArray, grey: GreyLevels, limits_of: Callable[[str, xr.DataArray], tuple[Any, Any]]) -> None:
    limits = dtype_range(image.dtype)
    given = (grey.low, grey.high) != limits
    if is_opened_lazily(image) or is_dask(image.data):
        if limits is not None and not given and image.dtype.itemsize > 1:
            caution(
                f"texture: {grey.levels} grey levels cover the range of {image.dtype}, from {limits[0]} to "
                f"{limits[1] - 1}, and a lazy image is not read to see how much of that it fills; give the range that "
                "it uses, such as range=(0, 4095) for a camera of 12 bits, or range='object' for that of every object"
            )
        return
    low, high = limits_of("texture", image)
    if low == high:
        return
    span = min(float(high), grey.high) - max(float(low), grey.low)
    filled = int(max(span, 0) * grey.levels / (grey.high - grey.low)) + 1
    if filled < (2 if given else min(FEW_LEVELS, grey.levels)):
        over = f"range=({grey.low:g}, {grey.high:g})" if given else f"the range of {image.dtype}"
        caution(
            f"texture: pixels from {low:g} to {high:g} fill {filled} of {grey.levels} grey levels over {over}; give "
            f"the range that the image uses, such as range=({low:g}, {high:g}), or range='object' for that of every "
            "object"
        )
