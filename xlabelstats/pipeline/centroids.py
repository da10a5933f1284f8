"""Objects as a table: where each one lies, its size, and whether the border of the volume cuts it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from xlabelstats.inputs import check_mask
from xlabelstats.pipeline.points import axes_of, points_table
from xlabelstats.pipeline.steps import check_size, check_space, named, step


@step(2)
def centroids(instances: Any, min_size: float = 0) -> pd.DataFrame:
    """Say where the objects of an instance mask lie.

    Parameters
    ----------
    instances : DataArray, numpy or dask array of integers
        0 for the background and one id per object, with dims in space only.
    min_size : float, default 0
        Objects of at most this many pixels are left out.

    Returns
    -------
    pandas.DataFrame
        A row per object, sorted by ``id``, which is the index ``label`` too.  So
        ``instances.labels.paint(table["count"])`` paints a column.  For every dim the mean position of its pixels: in
        coordinate units in the column named as the dim, in pixels in ``{dim}_pixel``; the two are the same without
        coordinates.  ``count`` is the number of its pixels, ``touches_border`` whether one of them is the first or the
        last along a dim.  Further columns, the same in every row, describe the positions: for every dim ``{dim}_size``,
        the pixels of the mask; with coordinates ``{dim}_origin``, that of the first pixel, and ``{dim}_step``, from a
        pixel to the next, NaN if they are not evenly spaced; and ``{dim}_units``, if they have units, "pixel" without
        coordinates.  So the next step also takes selected rows, a merged table, or one read from a CSV file.

    Raises
    ------
    TypeError
        The mask does not hold integers.
    ValueError
        It has dims that are not in space, or ``min_size`` is negative.

    Notes
    -----
    A dask mask is read now, in one pass.  Between two pixels the coordinates are interpolated.  Along a dim of one
    pixel every object touches the border: if the mask is a plane, drop the dim with ``.squeeze``.

    Examples
    --------
    >>> import xarray as xr
    >>> from xlabelstats.pipeline import centroids
    >>> pixels = [[0, 0, 0, 0], [0, 7, 7, 0], [0, 0, 0, 2]]
    >>> instances = xr.DataArray(pixels, dims=("y", "x"), coords={"x": [0, 2, 4, 6]})
    >>> table = centroids(instances)
    >>> table.iloc[:, :7]
           id    y    x  y_pixel  x_pixel  count  touches_border
    label
    2       2  2.0  6.0      2.0      3.0      1            True
    7       7  1.0  3.0      1.0      1.5      2           False
    >>> table.iloc[:, 7:]
           y_size  x_size  x_origin  x_step y_units
    label
    2           3       4       0.0     2.0   pixel
    7           3       4       0.0     2.0   pixel
    """
    check_size(min_size, "min_size")
    mask = check_mask(named(instances, "instances"))
    check_space(mask, "instance mask")
    found = mask.labels.scan()
    found = found.isel(label=found["count"].values > min_size)
    count = found["count"].values
    # A sum of positions is a whole number.  Rounding it makes the mean the same for any chunks.
    total = np.rint(found["centroid"].values * count[:, None])
    touches = (found["bbox_min"].values == 0) | (found["bbox_max"].values == mask.shape)
    columns = {"count": count, "touches_border": touches.any(axis=1)}
    return points_table(found["label"].values, total / count[:, None], mask, columns)


def as_table(objects: Any) -> pd.DataFrame:
    """Objects as a table of points, from such a table or from an instance mask."""
    if not isinstance(objects, pd.DataFrame):
        return centroids(objects)
    axes_of(objects)
    return objects
