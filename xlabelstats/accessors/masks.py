"""``.labels`` of a mask: the calls that give a mask."""

from __future__ import annotations

import xarray as xr


class MaskCalls:
    """The calls of `LabelsAccessor` that give a mask."""

    _array: xr.DataArray
