"""Radii and principal axes of every label."""

from __future__ import annotations

from typing import Any

import xarray as xr

from xlabelstats.catalogue import CATALOGUE
from xlabelstats.grid import check_lengths, check_one_unit, check_units, pixel_grid, regular_grid
from xlabelstats.inputs import check_mask
from xlabelstats.labels.measure import measured
from xlabelstats.labels.per import apart


@apart()
def radii_and_axes(
    mask: xr.DataArray, *, units: str = "coords", labels: Any = None, background: bool = False
) -> xr.Dataset:
    """Radii and principal axes of every label; see `InstancesAccessor.radii_and_axes`."""
    check_units(units)
    given, mask = mask, check_mask(mask)
    if units == "coords":
        check_lengths(mask, "radius", "units='pixel'")
        check_one_unit(mask, "radius")
    grid = pixel_grid(mask.ndim) if units == "pixel" else regular_grid(mask, "ask for units='pixel'")
    measures = {name: CATALOGUE[name] for name in ("radius", "axis_vector")}
    return measured(None, given, measures, labels=labels, background=background, grid=grid, described=False)
