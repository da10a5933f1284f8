"""``.instances`` of a Dataset: the outlines of the objects of one of its masks."""

from __future__ import annotations

import os
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING

from xlabelstats.accessors.dataset_profiles import ProfileDatasetCalls
from xlabelstats.accessors.docs import of_its_mask
from xlabelstats.accessors.polygons import PolygonCalls
from xlabelstats.accessors.types import Labels, Mask, Per
from xlabelstats.variables import split

if TYPE_CHECKING:
    import geopandas
    import pandas as pd


class PolygonDatasetCalls(ProfileDatasetCalls):
    """The calls of `InstancesDatasetAccessor` that draw the outlines of objects."""

    @of_its_mask(PolygonCalls.polygons)
    def polygons(
        self,
        mask: Mask | Hashable,
        tolerance: float = 0,
        *,
        units: str = "coords",
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
    ) -> geopandas.GeoDataFrame:
        """Outline every object of a 2-D mask of the Dataset by a polygon.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> field = xr.Dataset({"cells": (("y", "x"), [[0, 7, 7], [0, 7, 7]])})
        >>> field.instances.polygons("cells").area.loc[7].item()
        4.0
        """
        mask = split(self._dataset, mask)[1]
        return mask.instances.polygons(tolerance, units=units, labels=labels, background=background, per=per)

    @of_its_mask(PolygonCalls.to_qupath)
    def to_qupath(
        self,
        mask: Mask | Hashable,
        path: str | os.PathLike[str],
        table: pd.DataFrame | None = None,
        *,
        classification: str | None = None,
        object_type: str = "detection",
        downsample: float = 1,
        tolerance: float = 0,
        labels: Labels = None,
        overwrite: bool = False,
    ) -> Path:
        """Write the outline of every object of a 2-D mask of the Dataset to a GeoJSON file that QuPath imports.

        Examples
        --------
        >>> import tempfile
        >>> import xarray as xr
        >>> import xlabelstats
        >>> field = xr.Dataset({"cells": (("y", "x"), [[0, 7, 7], [0, 7, 7]])})
        >>> folder = tempfile.TemporaryDirectory()
        >>> field.instances.to_qupath("cells", f"{folder.name}/cells.geojson").name
        'cells.geojson'
        >>> folder.cleanup()
        """
        mask = split(self._dataset, mask)[1]
        return mask.instances.to_qupath(
            path,
            table,
            classification=classification,
            object_type=object_type,
            downsample=downsample,
            tolerance=tolerance,
            labels=labels,
            overwrite=overwrite,
        )
