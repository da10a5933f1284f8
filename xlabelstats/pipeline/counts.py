"""How many cells each object counts for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from xlabelstats.pipeline.centroids import as_table
from xlabelstats.pipeline.points import Axis, axes_of, positions, shape_of
from xlabelstats.pipeline.steps import check_number, check_size, step

# A lone object at the border of the volume, by how much of it may lie beyond; see `count_by_size`.
BORDER = (3.0, -0.5, 2.0)


@step(2)
def count(objects: Any) -> pd.DataFrame:
    """Count every object as one cell.

    Parameters
    ----------
    objects : pandas.DataFrame, or DataArray, numpy or dask array of integers
        A table as `centroids` makes it, or the instance mask itself.

    Returns
    -------
    pandas.DataFrame
        The table with the column ``cells``, 1.0 for each; an existing column is replaced.

    Raises
    ------
    TypeError, ValueError
        As `centroids`, or the table has no positions.

    Examples
    --------
    >>> import numpy as np
    >>> from xlabelstats.pipeline import count
    >>> count(np.array([[0, 1, 1], [2, 0, 0]]))["cells"].tolist()
    [1.0, 1.0]
    """
    return as_table(objects).assign(cells=1.0)


@step(2)
def count_by_size(
    objects: Any,
    *,
    size_threshold: float,
    volume_weight: float,
    min_size: float = 0,
    border: tuple[float, float, float] = BORDER,
) -> pd.DataFrame:
    """Count cells by the size of the objects: a large object is several cells, a very small one is dirt.

    Parameters
    ----------
    objects : pandas.DataFrame, or DataArray, numpy or dask array of integers
        A table as `centroids` makes it, or the instance mask itself.
    size_threshold : float
        An object of up to this many pixels is one cell.
    volume_weight : float
        A larger object counts as one cell, and this many more for every pixel beyond the threshold.
    min_size : float, default 0
        Objects of at most this many pixels are dropped.
    border : (a, b, d), default (3.0, -0.5, 2.0)
        An object that touches the border of the volume may be cut by it.  In place of one, it counts as the product
        over the axes of ``1 / clip(a + b * distance, 1, d)``.  ``distance`` is that of its centroid from the nearer
        outer face of the volume, in pixels: a centroid in the middle of the first pixel is 0.5 away.  ``(1, 0, 1)``
        counts it as one.

    Returns
    -------
    pandas.DataFrame
        The table without the dropped objects, with the column ``cells``; an existing column is replaced.

    Raises
    ------
    TypeError
        A parameter is not a number, or an instance mask does not hold integers.
    ValueError
        A parameter is out of its range, or the table lacks a column that is needed.

    Examples
    --------
    >>> import numpy as np
    >>> from xlabelstats.pipeline import count_by_size
    >>> instances = np.zeros((20, 20), int)
    >>> instances[5:7, 5:7] = 1
    >>> instances[8:14, 8:14] = 2
    >>> instances[0:2, 8:10] = 3
    >>> instances[15, 15] = 4
    >>> count_by_size(instances, size_threshold=16, volume_weight=0.1, min_size=1)[["id", "count", "cells"]]
           id  count  cells
    label
    1       1      4    1.0
    2       2     36    3.0
    3       3      4    0.5
    """
    for name, value in {"size_threshold": size_threshold, "volume_weight": volume_weight, "min_size": min_size}.items():
        check_size(value, name)
    border = _check_border(border)
    table = as_table(objects)
    lacking = [name for name in ("count", "touches_border") if name not in table]
    if lacking:
        raise ValueError(
            f"the table has no column {lacking[0]!r}, by which cells are counted; centroids(instances) makes one that "
            "has it, and count(table) counts every row as one cell"
        )
    table = table[table["count"] > min_size]
    single = np.where(table["touches_border"], _at_border(table, *border), 1.0)
    beyond = np.maximum(table["count"] - size_threshold, 0)
    return table.assign(cells=single + beyond * volume_weight)


def cells_of(table: pd.DataFrame) -> np.ndarray:
    """How many cells each row of a table counts for: one where it does not say."""
    if "cells" not in table:
        return np.ones(len(table))
    if table["cells"].dtype.kind not in "iuf" or not np.isfinite(table["cells"]).all():
        raise ValueError(f"the column 'cells' holds finite numbers, not {table['cells'].tolist()[:3]} ...")
    return table["cells"].to_numpy(np.float64)


def _at_border(table: pd.DataFrame, a: float, b: float, d: float) -> np.ndarray:
    """What an object at the border counts for by itself."""
    if table.empty:
        return np.ones(0)
    low = positions(table, "pixel") + 0.5
    shape_of({axis: Axis(0 if f"{axis}_size" in table else None, "") for axis in axes_of(table)})
    # Each in its own image: the rows may be of several.
    size = table[[f"{axis}_size" for axis in axes_of(table)]].to_numpy(np.float64)
    distance = np.minimum(low, size - low)
    return np.prod(1 / np.clip(a + b * distance, 1, d), axis=1)


def _check_border(border: Any) -> tuple[float, float, float]:
    try:
        a, b, d = border
    except (TypeError, ValueError):
        raise ValueError(f"border is three numbers (a, b, d), not {border!r}") from None
    for name, value in {"a": a, "b": b, "d": d}.items():
        check_number(value, f"{name} of border=(a, b, d)")
    if d < 1:
        raise ValueError(f"d of border=(a, b, d) is at least 1, not {d!r}: an object counts for one at most")
    return float(a), float(b), float(d)
