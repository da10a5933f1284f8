"""``.labels`` of a mask: how its objects lie to each other, to those of another mask, and to points."""

from __future__ import annotations

import xarray as xr


class RelationCalls:
    """The calls of `LabelsAccessor` that relate objects to others."""

    _array: xr.DataArray

    def neighbors(self, distance: float, between: str = "edges") -> xr.Dataset:
        """The labels of a mask that lie near each other, and how far apart: a row for every such two.

        Parameters
        ----------
        distance : float
            The largest distance at which labels are neighbors, in units of the coordinates, in pixels where there are
            none.  Labels at this very distance are neighbors; up to a millionth beyond it counts as rounding.
        between : {"edges", "centroids"}, default "edges"
            ``"edges"``: the distance of the nearest pixels of two labels, from the centre of one pixel to that of the
            other.  Labels that touch are one pixel apart.  ``"centroids"``: the distance of their mean positions.

        Returns
        -------
        Dataset
            Dims ``(pair,)``, each two labels once, sorted by ``label`` and ``neighbor``, which are coordinates;
            ``label`` is the smaller.  ``distance``, float64, in units of the coordinates.  Background, label 0, has no
            neighbors, and a label without any has no row.  In main memory, computed at once, also for a dask mask.

        Warns
        -----
        UserWarning
            The mask has a time dim, and labels at different times are neighbors too; or it is a bool mask in memory of
            several components, which is one label.

        Raises
        ------
        TypeError
            The mask does not hold integers, or is on the GPU: this call runs in main memory; ``distance`` is no number.
        ValueError
            ``distance`` is negative, NaN, or between edges infinite; the coordinates are not evenly spaced, are in
            several units, or are times; ``between`` is neither of the two.

        Notes
        -----
        Between edges the result is exact and the same for every chunking: each block of a dask mask is read with the
        pixels around it, as far as ``distance`` reaches.  Up to about 1000 pixels around a pixel are looked at one by
        one; where ``distance`` reaches further, labels are compared two by two, those whose boxes are near.

        To pandas with ``.to_dataframe()``; into an AnnData with `LabelsDatasetAccessor.to_anndata`.  The number of
        neighbors of every label is that of its rows as ``label`` and as ``neighbor``.  Labels that share sides of
        pixels, and how many, are in `contacts`.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[1, 1, 2, 0, 0], [1, 1, 2, 0, 4]], dims=("y", "x"))
        >>> mask.labels.neighbors(2).to_dataframe()
              label  neighbor  distance
        pair
        0         1         2       1.0
        1         2         4       2.0
        >>> mask.labels.neighbors(2, between="centroids").to_dataframe()
              label  neighbor  distance
        pair
        0         1         2       1.5
        """
        from xlabelstats.labels.neighbors import neighbors

        return neighbors(self._array, distance, between)
