"""``.labels`` of a mask: points counted in its objects."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

import xarray as xr

if TYPE_CHECKING:
    import dask.dataframe as dd
    import pandas as pd


class PointCalls:
    """The call of `LabelsAccessor` that counts points in objects."""

    _array: xr.DataArray

    def count_points(self, points: pd.DataFrame | dd.DataFrame, by: Hashable | None = None) -> xr.DataArray:
        """How many points lie in every object of a mask, such as transcripts in cells; computed immediately.

        Parameters
        ----------
        points : pandas.DataFrame or dask.dataframe.DataFrame
            A row per point, and a column for every dim of the mask, with its name: the position, in the units of the
            coordinates; in pixels along dims that have none.  The coordinates may be unevenly spaced, and may descend.
        by : name of a column, optional
            Count every category of this column separately, such as ``"gene"``.  The column holds categories, text or
            whole numbers.

        Returns
        -------
        DataArray
            Dims ``(label,)``, or ``(label, by)`` with the categories as coordinate, int64.  All labels of the mask have
            a row.  A categorical column gives all its categories, unused ones too; another column gives those that
            occur, sorted.  With ``by`` it holds a `sparse.COO`, since most labels have few of many categories;
            ``.labels.to_anndata()`` makes it an annotated table, and ``.data.todense()`` a numpy array.  Points that
            were not counted are in its attrs: ``dropped_nan`` lack a position, ``dropped_outside`` lie outside of the
            mask, ``dropped_without_category`` have no category, and ``on_background`` lie on label 0.

        Warns
        -----
        UserWarning
            No point lies in the mask.

        Raises
        ------
        TypeError
            The mask does not hold integers, or is on a GPU; the points are not such a table, a column of positions does
            not hold numbers, or the column ``by`` holds neither names nor numbers.
        ValueError
            A column is missing, there are two of its name, or ``by`` has a name that the result needs, such as
            ``"label"``; a coordinate of the mask holds no numbers.
        ModuleNotFoundError
            ``by`` is given, and the package ``sparse`` is not installed (``xlabelstats[points]``).

        Notes
        -----
        A point belongs to the pixel whose centre is nearest along every dim; halfway between two pixels, to the one
        with the smaller index.  It lies outside if it is more than half a pixel beyond the centre of an outermost
        pixel.  A dim of one pixel is taken to be one unit wide.

        A dask DataFrame is read once.  Its points are collected, about six bytes each, and sorted by block of the mask.
        When they take 512 MiB, and at the end, they are counted and dropped; each time every block is read once.

        Examples
        --------
        >>> import pandas as pd
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 7, 7], [2, 2, 2]], dims=("y", "x"))
        >>> points = pd.DataFrame(
        ...     {"y": [0.2, 0.4, 1.0, 0.0], "x": [1.1, 2.0, 0.3, 0.0], "gene": ["Gad1", "Sst", "Sst", "Sst"]}
        ... )
        >>> mask.labels.count_points(points).to_series().to_dict()
        {2: 1, 7: 2}
        >>> counts = mask.labels.count_points(points, by="gene")
        >>> counts.labels.to_dataframe()
               points_Gad1  points_Sst
        label
        2                0           1
        7                1           1
        >>> counts.attrs["on_background"]
        1
        """
        from xlabelstats.labels.points import count_points

        return count_points(self._array, points, by)
