"""``.labels`` of a mask: how its objects lie to each other, to those of another mask, and to points."""

from __future__ import annotations

import xarray as xr


class RelationCalls:
    """The calls of `LabelsAccessor` that relate objects to others."""

    _array: xr.DataArray
