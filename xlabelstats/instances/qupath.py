"""The outlines of objects in a file that QuPath imports."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xlabelstats.extras import need
from xlabelstats.instances.polygons import EXTRA, polygons
from xlabelstats.names import LABEL, check_known
from xlabelstats.placement import beside, remove

if TYPE_CHECKING:
    import pandas as pd

# What objects can be in QuPath.
OBJECT_TYPES = ("detection", "annotation", "cell", "tile")


def to_qupath(
    mask: xr.DataArray,
    path: str | os.PathLike[str],
    table: pd.DataFrame | None = None,
    *,
    classification: str | None = None,
    object_type: str = "detection",
    downsample: float = 1,
    tolerance: float = 0,
    labels: Any = None,
    overwrite: bool = False,
) -> Path:
    """Write the outlines of objects for QuPath; see `InstancesAccessor.to_qupath`."""
    shapely = need("shapely", EXTRA, "to_qupath")
    check_known([object_type], OBJECT_TYPES, "object_type")
    _check_downsample(downsample)
    target = _free(path, overwrite)
    _check_table(table, classification)
    outlines = polygons(mask, tolerance, units="pixel", labels=labels).geometry.dropna()
    if table is not None and len(outlines) and not outlines.index.isin(table.index).any():
        raise ValueError(
            f"no label of the mask is in the index of the table, which is {_few(table.index)}; labels of the mask are "
            f"{_few(outlines.index)}. Make them the index: table.set_index('label')"
        )
    # For QuPath the first pixel begins at 0, and outer rings go round counter-clockwise, as GeoJSON has them.
    moved = shapely.transform(outlines.to_numpy(), lambda corners: (corners + 0.5) * downsample)
    written = shapely.to_geojson(shapely.orient_polygons(moved))
    about = _properties(outlines.index, table, classification, object_type)
    partial = beside(target, "partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as file:
            file.write('{"type": "FeatureCollection", "features": [')
            for i, (geometry, properties) in enumerate(zip(written, about, strict=True)):
                start = "\n" if i == 0 else ",\n"
                file.write(f'{start}{{"type": "Feature", "geometry": {geometry}, "properties": {properties}}}')
            file.write("\n]}\n")
        partial.replace(target)
    finally:
        remove(partial)
    return target


def _check_downsample(downsample: Any) -> None:
    if isinstance(downsample, bool) or not isinstance(downsample, int | float | np.integer | np.floating):
        raise TypeError(f"downsample is a number, the pixels of the image that one of the mask has, not {downsample!r}")
    if not 0 < downsample < math.inf:
        raise ValueError(
            f"downsample is how many pixels of the image one pixel of the mask is wide, above 0, not {downsample!r}"
        )


def _free(path: str | os.PathLike[str], overwrite: bool) -> Path:
    """The file that a path means, or a complaint about what is there already."""
    if "://" in str(path):
        raise ValueError(f"{path} is a URL; write to a local file")
    target = Path(path).expanduser()
    if target.is_dir():
        raise IsADirectoryError(f"{str(target)!r} is a folder; name a file in it: {str(target / 'cells.geojson')!r}")
    if target.exists() and not overwrite:
        raise FileExistsError(f"{str(target)!r} is there already; overwrite=True replaces it")
    return target


def _check_table(table: Any, classification: str | None) -> None:
    import pandas as pd

    if table is not None and not isinstance(table, pd.DataFrame):
        raise TypeError(
            f"table is a pandas DataFrame with a row per label, not {type(table).__name__}; of a result it is made by "
            "result.labels.to_dataframe()"
        )
    if table is not None and not table.index.is_unique:
        twice = table.index[table.index.duplicated()].tolist()[0]
        raise ValueError(f"the table has several rows for {twice!r}; give one row for every label")
    if table is not None and not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()].tolist()[0]
        raise ValueError(f"the table has several columns {twice!r}; give every column a name of its own")
    if classification is not None and (table is None or classification not in table):
        there = "there is no table" if table is None else f"there are: {', '.join(map(str, table.columns))}"
        raise ValueError(f"classification names a column of the table, and {classification!r} is none; {there}")


def _few(ids: pd.Index) -> str:
    return ", ".join(map(repr, ids[:3].tolist())) + (" ..." if len(ids) > 3 else "")


def _properties(
    ids: pd.Index, table: pd.DataFrame | None, classification: str | None, object_type: str
) -> Iterator[str]:
    """What QuPath is told of every object: its type, name, class and measurements."""
    import pandas as pd

    table = pd.DataFrame(index=ids) if table is None else table
    # As they are in the table: numbers that are lacking would make floats of whole ones, and objects of bools.
    classes = [None] * len(ids) if classification is None else table[classification].astype(object).reindex(ids)
    numbers = table.select_dtypes(["number", "bool"], ["complex", "timedelta"])
    numbers = numbers.drop(columns=[classification, LABEL], errors="ignore").astype(np.float64).reindex(ids)
    names, values = list(map(str, numbers.columns)), numbers.to_numpy(np.float64, na_value=np.nan)
    for label, kind, row in zip(ids.tolist(), classes, values.tolist(), strict=True):
        # JSON has no NaN; a measurement that is not there is NaN in QuPath.
        known = {name: value for name, value in zip(names, row, strict=True) if math.isfinite(value)}
        said: dict[str, Any] = {"objectType": object_type, "name": str(label)}
        if not pd.isna(kind):
            said["classification"] = {"name": str(kind)}
        yield json.dumps(said | {"measurements": {LABEL: label} | known}, ensure_ascii=False)
