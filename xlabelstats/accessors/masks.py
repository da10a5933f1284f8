"""``.labels`` of a mask: the calls that give a mask."""

from __future__ import annotations

import xarray as xr


class MaskCalls:
    """The calls of `LabelsAccessor` that give a mask."""

    _array: xr.DataArray

    def expand(self, distance: float) -> xr.DataArray:
        """A mask whose objects are grown into the background.

        Every pixel of background gets the label of the nearest object, if that is at most ``distance`` away.  Objects
        do not grow into each other.

        Parameters
        ----------
        distance : float
            How far objects grow, from pixel centre to pixel centre: in the units of the coordinates, which must be
            evenly spaced; in pixels where there are none.  A pixel at the very distance is taken; a millionth more
            counts as rounding.

        Returns
        -------
        DataArray
            A mask with the dims, dtype, coordinates and attributes of this one; lazy for a dask mask.  It is the
            same for every chunking.  A pixel as near to several objects gets the smallest of their labels.

        Raises
        ------
        TypeError
            The mask does not hold integers, or is on a GPU; the distance is no number.
        ValueError
            The distance is negative or NaN; the coordinates are not evenly spaced, are times, or are in several units.

        Notes
        -----
        Distances are Euclidean, and exact: squared, as whole numbers, they are found along one axis after another
        (Saito and Toriwaki 1994, Pattern Recognition 27, 1551-1565).

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([0, 0, 7, 0, 0, 0, 2], dims="x")
        >>> mask.labels.expand(1).values
        array([0, 7, 7, 7, 0, 2, 2])
        >>> mask.labels.expand(2).values
        array([7, 7, 7, 7, 2, 2, 2])
        """
        from xlabelstats.labels.growth import expand

        return expand(self._array, distance)

    def shrink(self, distance: float) -> xr.DataArray:
        """A mask whose objects have lost the pixels along their edges.

        Pixels that are at most ``distance`` away from the background, or from another object, become background.
        At the image's border objects lose none: what lies beyond is not known.

        Parameters
        ----------
        distance : float
            How much is taken off, from pixel centre to pixel centre, in the units of the coordinates or in pixels, as
            in `expand`.

        Returns
        -------
        DataArray
            A mask with the dims, dtype, coordinates and attributes of this one; lazy for a dask mask.  It is the
            same for every chunking.  Labels of which nothing is left are gone.

        Raises
        ------
        TypeError
            The mask does not hold integers, or is on a GPU; the distance is no number.
        ValueError
            The distance is negative or NaN; the coordinates are not evenly spaced, are times, or are in several units.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([7, 7, 7, 0, 2, 2, 2], dims="x")
        >>> mask.labels.shrink(1).values
        array([7, 7, 0, 0, 0, 2, 2])
        """
        from xlabelstats.labels.growth import shrink

        return shrink(self._array, distance)
