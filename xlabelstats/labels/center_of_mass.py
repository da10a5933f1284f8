"""Centres of mass of every label, in coordinates that need not be evenly spaced."""

from __future__ import annotations

from typing import Any

import xarray as xr

from xlabelstats.align import check_match, display_name, share_coords
from xlabelstats.catalogue import center
from xlabelstats.grid import check_units, coordinate, units_of
from xlabelstats.inputs import check_mask
from xlabelstats.labels.measure import measured
from xlabelstats.labels.per import apart
from xlabelstats.resampling import resampled


@apart()
def center_of_mass(
    mask: xr.DataArray,
    weights: xr.DataArray | None = None,
    *,
    units: str = "coords",
    labels: Any = None,
    background: bool = False,
    align: str | None = None,
) -> xr.DataArray:
    """Mean position of every label; see `LabelsAccessor.center_of_mass`."""
    check_units(units)
    mask = resampled(weights, mask, align)
    if weights is not None:
        check_match(weights, mask)
    given, mask = mask, check_mask(mask)
    placed = mask if weights is None else share_coords(mask, weights)
    along = [coordinate(placed, dim) if units == "coords" else None for dim in mask.dims]
    entry = center.center_of_mass(mask.shape, along, weights is not None)
    call = "mask.labels.center_of_mass(image)"
    result = measured(weights, given, {entry.name: entry}, labels=labels, background=background, call=call)[entry.name]
    words = "centre of mass" + ("" if weights is None else f" of {display_name(weights, 'image')}")
    named = "pixel" if units == "pixel" else units_of(placed)
    return result.drop_attrs(deep=False).assign_attrs(long_name=words, **({"units": named} if named else {}))
