"""``.labels`` of a mask: the calls that give a mask."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING

import xarray as xr

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class MaskCalls:
    """The calls of `LabelsAccessor` that give a mask."""

    _array: xr.DataArray

    def keep(self, which: int | Iterable[int] | np.ndarray | xr.DataArray | pd.Series) -> xr.DataArray:
        """A mask with only some of its labels; the others become background.

        Parameters
        ----------
        which : int or sequence of int, or DataArray or Series of bool
            The labels to keep; or a boolean per label, a DataArray with the dim ``label``, such as ``area > 50``, or a
            pandas Series whose index is the labels.  Labels without a boolean are not kept.  With the dim ``object``,
            as ``per=`` gives it, a boolean per label and position.

        Returns
        -------
        DataArray
            Like the mask: its dims, dtype, name, coordinates and attributes.  Lazy for a dask mask, or a dask
            ``which``; a dask mask is scanned now, to learn which labels there are.  A bool mask gives uint8.

        Raises
        ------
        TypeError
            The mask does not hold integers, or ``which`` neither whole numbers nor booleans; an array is on the GPU.
        ValueError
            The mask lacks one of the labels, one is 0 or given twice, or the booleans have no labels.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 7, 7], [2, 2, 2]], dims=("y", "x"))
        >>> mask.labels.keep([7]).values
        array([[0, 7, 7],
               [0, 0, 0]])
        >>> mask.labels.keep(mask.labels.regionprops("area")["area"] > 2).values
        array([[0, 0, 0],
               [2, 2, 2]])
        """
        from xlabelstats.labels.cleaning import keep

        return keep(self._array, which)

    def clear_border(self, dims: Hashable | Iterable[Hashable] | None = None) -> xr.DataArray:
        """A mask without the labels that touch its border, since part of these objects may lie outside of the image.

        All pixels of such a label become background, those of its other parts too.  (scikit-image's ``clear_border``
        keeps the parts that do not touch the border.)

        Parameters
        ----------
        dims : dim or sequence of dims, optional
            A label that has a pixel at the first or the last position along one of these is left out.  By default all
            dims but time; give ``("y", "x")`` for a volume of few planes.

        Returns
        -------
        DataArray
            Like the mask: its dims, dtype, name, coordinates and attributes.  Lazy for a dask mask, which is scanned
            now, to learn where the labels lie.  A bool mask gives uint8.

        Warns
        -----
        UserWarning
            The mask has a time dim: a label that touches the border at one time is left out at all times.  Or it is
            bool, or has only the values 0 and 255, and its components are all one label.

        Raises
        ------
        TypeError
            The mask does not hold integers, or is on the GPU.
        ValueError
            The mask lacks one of ``dims``.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 0, 0, 2], [0, 7, 0, 0], [0, 0, 2, 0], [0, 0, 0, 0]], dims=("y", "x"))
        >>> mask.labels.clear_border().values
        array([[0, 0, 0, 0],
               [0, 7, 0, 0],
               [0, 0, 0, 0],
               [0, 0, 0, 0]])
        """
        from xlabelstats.labels.cleaning import clear_border

        return clear_border(self._array, dims)

    def relabel(self) -> xr.DataArray:
        """A mask whose labels are 1 to n, in the order of the ids that they had.

        Returns
        -------
        DataArray
            Like the mask: its dims, name, coordinates and attributes.  Its dtype too, or a larger one of its kind if
            that does not hold n.  Lazy for a dask mask, which is scanned now, to learn which labels there are.

        Raises
        ------
        TypeError
            The mask does not hold integers, or is on the GPU.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 7, 7], [2, 2, -5]], dims=("y", "x"))
        >>> mask.labels.relabel().values
        array([[0, 3, 3],
               [2, 2, 1]])
        """
        from xlabelstats.labels.cleaning import relabel

        return relabel(self._array)

    def expand(self, distance: float) -> xr.DataArray:
        """A mask whose objects are grown into the background.

        Every pixel of background gets the label of the nearest object, if that is at most ``distance`` away.  Objects
        do not grow into each other.

        Parameters
        ----------
        distance : float
            How far objects grow, from pixel centre to pixel centre: in the units of the coordinates, which must be
            evenly spaced; in pixels where there are none.  Pixels exactly at this distance are included, with a
            tolerance of a millionth.

        Returns
        -------
        DataArray
            A mask with the dims, dtype, coordinates and attributes of this one; lazy for a dask mask.  It is the same
            for every chunking.  A pixel that is equally near to several objects gets the smallest of their labels.

        Raises
        ------
        TypeError
            The mask does not hold integers, or is on a GPU; the distance is not a number.
        ValueError
            The distance is negative or NaN; the coordinates are not evenly spaced, are times, or are in several units.

        Notes
        -----
        Distances are Euclidean and exact: their squares are computed as integers, along one axis after another (Saito
        and Toriwaki 1994, Pattern Recognition 27, 1551-1565).

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
            A mask with the dims, dtype, coordinates and attributes of this one; lazy for a dask mask.  It is the same
            for every chunking.  Labels that lose all their pixels are gone.

        Raises
        ------
        TypeError
            The mask does not hold integers, or is on a GPU; the distance is not a number.
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
