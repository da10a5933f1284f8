"""``.labels`` of a mask: how its objects lie to each other, and to those of another mask."""

from __future__ import annotations

import xarray as xr

from xlabelstats.accessors.types import Mask
from xlabelstats.multiscale import as_array


class RelationCalls:
    """The calls of `LabelsAccessor` that relate objects to others."""

    _array: xr.DataArray

    def overlap(self, other: Mask, *, align: str | None = None) -> xr.Dataset:
        """The labels of a mask and of another that share pixels, and how many: a row for every such two.

        Parameters
        ----------
        other : DataArray of integers
            Another mask of the same pixels, its dims in any order.
        align : {"nearest"}, optional
            For an ``other`` on another grid: each pixel of the mask takes the label of the nearest pixel of ``other``
            by coordinates, and 0 beyond it.

        Returns
        -------
        Dataset
            Dims ``(pair,)``, sorted by ``label`` and ``other_label``, which are coordinates.  ``count``, the pixels
            that the two share, int64; ``fraction``, their part of the pixels of ``label``; ``fraction_other``, their
            part of those of ``other_label``; ``iou``, their part of the pixels of either.  Background, label 0 in
            either mask, is no label.  In main memory, computed at once, also for dask masks.

        Warns
        -----
        UserWarning
            A mask has a time dim, and its labels are counted over all times together; or it is a bool mask in memory of
            several components, which is one label.

        Raises
        ------
        TypeError
            A mask does not hold integers, or is on the GPU: this call runs in main memory.
        ValueError
            The masks differ in their dims, sizes, coordinates, or the units of these.

        Notes
        -----
        Both masks are read once, together, block by block; memory goes with the number of pairs.  ``iou`` is the index
        of Jaccard (1912).

        To pandas with ``.to_dataframe()``, or with the labels as index
        ``.set_index(pair=("label", "other_label")).to_dataframe()``.  The rows of one label are
        ``.set_xindex("label").sel(label=3)``.  To count each time or plane apart choose it first: ``.isel(t=0)``.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> cells = xr.DataArray([[0, 7, 7, 7], [2, 2, 7, 7]], dims=("y", "x"))
        >>> nuclei = xr.DataArray([[0, 0, 1, 1], [3, 0, 0, 0]], dims=("y", "x"))
        >>> cells.labels.overlap(nuclei).to_dataframe()
              label  other_label  count  fraction  fraction_other  iou
        pair
        0         2            3      1       0.5             1.0  0.5
        1         7            1      2       0.4             1.0  0.4
        """
        from xlabelstats.labels.overlap import overlap

        return overlap(self._array, as_array(other), align=align)

    def relate(self, parents: Mask, *, align: str | None = None) -> xr.Dataset:
        """The label of another mask in which most of every label lies: of nuclei their cells, of cells their region.

        Parameters
        ----------
        parents : DataArray of integers
            The mask of the cells, regions, or whatever the labels belong to, of the same pixels, its dims in any order.
        align : {"nearest"}, optional
            For ``parents`` on another grid: each pixel of the mask takes the label of the nearest pixel of ``parents``
            by coordinates, and 0 beyond it.

        Returns
        -------
        Dataset
            Dims ``(label,)``, a row for every label of the mask, sorted.  ``parent``, the label of ``parents`` that
            covers most pixels of the label, in the dtype of ``parents``; of two that cover as many, the smaller.
            ``fraction``, the part of the label's pixels that it covers.  Background covers nothing: ``parent`` is 0,
            and ``fraction`` is 0, only where no parent covers any pixel of the label.  In main memory, computed at
            once, also for dask masks.

        Warns
        -----
        UserWarning
            A mask has a time dim, and its labels are counted over all times together; or it is a bool mask in memory of
            several components, which is one label.

        Raises
        ------
        TypeError
            A mask does not hold integers, or is on the GPU: this call runs in main memory.
        ValueError
            The masks differ in their dims, sizes, coordinates, or the units of these.

        Notes
        -----
        All labels that share pixels, and not the one with most alone, are in `overlap`.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> nuclei = xr.DataArray([[0, 0, 1, 1, 4], [3, 0, 0, 1, 4]], dims=("y", "x"))
        >>> cells = xr.DataArray([[0, 7, 7, 7, 0], [2, 2, 7, 5, 0]], dims=("y", "x"))
        >>> nuclei.labels.relate(cells).to_dataframe().round(2)
               parent  fraction
        label
        1           7      0.67
        3           2      1.00
        4           0      0.00
        """
        from xlabelstats.labels.overlap import relate

        return relate(self._array, as_array(parents), align=align)

    def contacts(self, connectivity: int = 1) -> xr.Dataset:
        """The labels of a mask that touch each other, and how much: a row for every such two.

        Parameters
        ----------
        connectivity : int, default 1
            1: labels touch that share a face of pixels, in 2-D a side.  2: those too that meet at an edge of pixels
            alone, in 2-D a corner.  3, in 3-D: those too that meet at a corner alone.

        Returns
        -------
        Dataset
            Dims ``(pair,)``, each two labels once, sorted by ``label`` and ``neighbor``, which are coordinates;
            ``label`` is the smaller.  ``faces``, the faces of pixels between the two, int64, 0 where they meet at edges
            or corners alone; in 2-D their ``length`` and in 3-D their ``area``, in units of the coordinates, in pixels
            where there are none.  Background, label 0, touches nothing.  In main memory, computed at once, also for a
            dask mask.

        Warns
        -----
        UserWarning
            The mask has a time dim, and labels at neighbouring times touch too; or it is a bool mask in memory of
            several components, which is one label.

        Raises
        ------
        TypeError
            The mask does not hold integers, or is on the GPU: this call runs in main memory; ``connectivity`` is no
            whole number.
        ValueError
            ``connectivity`` is not from 1 to the number of dims.  For a mask of 2 or 3 dims: the coordinates are not
            evenly spaced, are in several units, or are times.

        Notes
        -----
        A face across an axis measures the product of the spacings along the other axes.  A slanted border is a
        staircase of faces, whose length is more than that of a straight line along it, in 2-D by at most 41 %.
        The neighbours are those of `scipy.ndimage.generate_binary_structure`.

        To pandas with ``.to_dataframe()``.  The number of neighbours of every label is that of its rows as ``label``
        and as ``neighbor``.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[1, 1, 2], [1, 1, 2], [0, 4, 0]], dims=("y", "x"))
        >>> mask.labels.contacts().to_dataframe()
              label  neighbor  faces  length
        pair
        0         1         2      2     2.0
        1         1         4      1     1.0
        >>> mask.labels.contacts(connectivity=2)["faces"].values
        array([2, 1, 0])
        """
        from xlabelstats.labels.contacts import contacts

        return contacts(self._array, connectivity)

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
