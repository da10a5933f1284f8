"""``.instances`` of a Dataset: the morphological profile of every object in every image."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import xarray as xr

from xlabelstats.accessors.base import Accessor
from xlabelstats.accessors.docs import of_every_image
from xlabelstats.accessors.profiles import ProfileCalls
from xlabelstats.accessors.types import Labels, Mask, Per


class ProfileDatasetCalls(Accessor):
    """The call of `InstancesDatasetAccessor` that measures what CellProfiler measures."""

    _dataset: xr.Dataset

    @of_every_image(ProfileCalls.profile)
    def profile(
        self,
        mask: Mask | Hashable,
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
        """Measure the morphological profile of every object in every image of the Dataset.

        Channels are compared within an image that has several, not one image with another.

        Returns
        -------
        Dataset
            ``{measure}_{variable}`` for every variable of numbers that has the dims of the mask, as
            `InstancesAccessor.profile` gives them; measures of the mask appear once, under their names.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> image, mask = xlabelstats.datasets.nuclei2d()
        >>> field = xr.Dataset({"DAPI": image, "cells": mask})
        >>> profile = field.instances.profile("cells", ["shape", "granularity"])
        >>> "area" in profile, profile["granularity_DAPI"].dims
        (True, ('label', 'step'))
        """
        from xlabelstats.instances.profile import profile_per_variable

        return profile_per_variable(
            self._dataset,
            mask,
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
