"""``.labels`` of a mask: the calls that give a mask."""

from __future__ import annotations

import xarray as xr


class MaskCalls:
    """The calls of `LabelsAccessor` that give a mask."""

    _array: xr.DataArray

    def expand(self, distance: float) -> xr.DataArray:
        from xlabelstats.labels.growth import expand

        return expand(self._array, distance)

    def shrink(self, distance: float) -> xr.DataArray:
        from xlabelstats.labels.growth import shrink

        return shrink(self._array, distance)
