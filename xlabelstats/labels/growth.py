"""Masks whose objects are grown into the background, or shrunk from their edges."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import given_name
from xlabelstats.encoding import without_encoding
from xlabelstats.engine.merge_tree import uniform
from xlabelstats.engine.nearest import grown, map_near, shrunk
from xlabelstats.inputs import at_position, check_is_mask, check_mask, check_on_host, check_pooling, data_of, is_dask
from xlabelstats.labels.reach import check_distance, grid_of, reach_of


def expand(mask: xr.DataArray, distance: float) -> xr.DataArray:
    """A mask grown into the background; see `LabelsAccessor.expand`."""
    return _changed(grown, "expand", mask, distance)


def shrink(mask: xr.DataArray, distance: float) -> xr.DataArray:
    """A mask of smaller objects; see `LabelsAccessor.shrink`."""
    return _changed(shrunk, "shrink", mask, distance)


def _changed(function: Callable[..., Any], call: str, mask: xr.DataArray, distance: Any) -> xr.DataArray:
    check_is_mask(mask)
    check_on_host(f"mask.labels.{call}", mask=mask)
    length = check_distance(distance)
    spacing = grid_of(mask, "the distance").spacing
    check_pooling(
        mask,
        advice=lambda dim: f"mask.{at_position(dim)}.labels.{call}({distance!r})",
        pooled="the distance is measured from one time to the next too, a pixel for a time. To treat each time apart",
    )
    return changed(function, check_mask(mask), length, spacing, mask.dtype)


def changed(
    function: Callable[..., Any], mask: xr.DataArray, length: float, spacing: np.ndarray, dtype: np.dtype
) -> xr.DataArray:
    """What a function of a block and the pixels around it makes of a checked mask."""
    reach = reach_of(length, spacing, mask.shape)
    pixels = data_of(mask, "mask")
    pixels = uniform(pixels) if is_dask(pixels) else pixels
    work = partial(function, steps=reach.steps, far=reach.far, dtype=dtype)
    result = mask.copy(deep=False, data=map_near(work, pixels, reach.halo, dtype))
    return without_encoding(result).rename(given_name(mask))
