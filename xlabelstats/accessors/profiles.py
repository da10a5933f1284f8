"""``.instances`` of an image: the morphological profile of every object."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import xarray as xr

from xlabelstats.accessors.object_quantiles import ObjectQuantileCalls
from xlabelstats.accessors.types import Labels, Mask, Per
from xlabelstats.multiscale import as_array


class ProfileCalls(ObjectQuantileCalls):
    """The call of `InstancesAccessor` that measures what CellProfiler measures."""

    def profile(
        self,
        mask: Mask,
        families: str | Iterable[str] = "all",
        *,
        scale: int | Iterable[int] = 3,
        levels: int = 256,
        range: Any = None,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        skipna: bool | None = None,
        batch_size: int | None = None,
        align: str | None = None,
    ) -> xr.Dataset:
        """Measure the morphological profile of every object: the families of CellProfiler."""
        from xlabelstats.instances.profile import profile

        return profile(
            self._array,
            as_array(mask),
            families,
            scale=scale,
            levels=levels,
            range=range,
            labels=labels,
            background=background,
            per=per,
            skipna=skipna,
            batch_size=batch_size,
            align=align,
        )
