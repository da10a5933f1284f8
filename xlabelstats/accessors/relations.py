"""``.labels`` of a mask: how its objects lie to each other, to those of another mask, and to points."""

from __future__ import annotations

import xarray as xr

from xlabelstats.accessors.types import Mask
from xlabelstats.multiscale import as_array


class RelationCalls:
    """The calls of `LabelsAccessor` that relate objects to others."""

    _array: xr.DataArray

    def distance_to(self, other: Mask, limit: float, *, align: str | None = None) -> xr.Dataset:
        """How far the pixels of every label are from the objects of another mask.

        The distance of a pixel is that to the nearest pixel of ``other`` that is not 0, from centre to centre, and 0
        where the two overlap.

        Parameters
        ----------
        other : DataArray of integers
            The other mask, with the dims of this one.
        limit : float
            How far to look, in the units of the coordinates, which must be evenly spaced; in pixels where there are
            none.  What is farther away is infinitely far.
        align : {"nearest"}, optional
            For another mask on another grid of the same dims, as in `measure`.

        Returns
        -------
        Dataset
            ``least``, ``mean`` and ``greatest`` ``(label,)``: the distance of the nearest of the label's pixels, of
            all on average, and of the farthest, in the units of the coordinates.  ``mean`` and ``greatest`` are
            infinite if one of the pixels is beyond the limit, ``least`` if all are.  Lazy for dask input; the labels
            are read at once.  It is the same for every chunking; to that end distances are rounded to a
            hundred-millionth of the limit.

        Raises
        ------
        TypeError
            A mask does not hold integers, or is on a GPU; the limit is no number.
        ValueError
            The limit is negative or NaN; the two masks differ in dims, sizes or coordinates; the coordinates are not
            evenly spaced, are times, or are in several units.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> cells = xr.DataArray([0, 4, 4, 4, 0, 6, 6, 0], dims="x")
        >>> vessels = xr.DataArray([0, 0, 1, 0, 0, 0, 0, 0], dims="x")
        >>> cells.labels.distance_to(vessels, limit=3).labels.to_dataframe().round(2)
               least  mean  greatest
        label
        4        0.0  0.67       1.0
        6        3.0   inf       inf
        """
        from xlabelstats.labels.distance import distance_to

        return distance_to(self._array, as_array(other), limit, align=align)
