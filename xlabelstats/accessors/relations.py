"""``.labels`` of a mask: how its objects lie to each other, and to those of another mask."""

from __future__ import annotations

import xarray as xr

from xlabelstats.accessors.types import Mask
from xlabelstats.multiscale import as_array


class RelationCalls:
    """The calls of `LabelsAccessor` that relate objects to others."""

    _array: xr.DataArray

    def overlap(self, other: Mask, *, align: str | None = None) -> xr.Dataset:
        """The pairs of labels of two masks that share pixels, and how many: a row for every pair.

        Parameters
        ----------
        other : DataArray of integers
            Another mask of the same pixels, its dims in any order.
        align : {"nearest"}, optional
            For an ``other`` on another grid: each pixel of the mask takes the label of the nearest pixel of ``other``
            by coordinates, and 0 outside of it.

        Returns
        -------
        Dataset
            Dims ``(pair,)``, sorted by ``label`` and ``other_label``, which are coordinates.  ``count`` is the number
            of shared pixels, int64; ``fraction`` is this number divided by the pixels of ``label``, ``fraction_other``
            by those of ``other_label``, and ``iou`` by the pixels that are in one or both.  Background, label 0 in
            either mask, is left out.  In main memory, computed immediately, also for dask masks.

        Warns
        -----
        UserWarning
            A mask has a time dim, and its labels are counted over all times together; or it is a bool mask in memory,
            and its components are all one label.

        Raises
        ------
        TypeError
            A mask does not hold integers, or is on the GPU: this call runs in main memory.
        ValueError
            The masks differ in their dims, sizes, coordinates, or the units of these.

        Notes
        -----
        Both masks are read once, together, block by block; memory depends on the number of pairs.  ``iou`` is the index
        of Jaccard (1912).

        To pandas with ``.to_dataframe()``, or with the labels as index
        ``.set_index(pair=("label", "other_label")).to_dataframe()``.  The rows of one label are
        ``.set_xindex("label").sel(label=3)``.  To count a single time or plane, choose it first: ``.isel(t=0)``.

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
        """The label of another mask that covers most of each label: the cell of each nucleus, the region of each cell.

        Parameters
        ----------
        parents : DataArray of integers
            The mask of what the labels belong to, such as cells or regions: the same pixels, its dims in any order.
        align : {"nearest"}, optional
            For ``parents`` on another grid: each pixel of the mask takes the label of the nearest pixel of ``parents``
            by coordinates, and 0 outside of it.

        Returns
        -------
        Dataset
            Dims ``(label,)``, a row for every label of the mask, sorted.  ``parent`` is the label of ``parents`` that
            covers most pixels of the label, or the smaller one if two cover equally many; its dtype is that of
            ``parents``.  ``fraction`` is the part of the label's pixels that it covers.  The background is never the
            parent that covers most: ``parent`` and ``fraction`` are 0 only if no parent covers any pixel of the label.
            In main memory, computed immediately, also for dask masks.

        Warns
        -----
        UserWarning
            A mask has a time dim, and its labels are counted over all times together; or it is a bool mask in memory,
            and its components are all one label.

        Raises
        ------
        TypeError
            A mask does not hold integers, or is on the GPU: this call runs in main memory.
        ValueError
            The masks differ in their dims, sizes, coordinates, or the units of these.

        Notes
        -----
        `overlap` gives all labels that share pixels, not only the one that shares most.

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
        """The pairs of labels of a mask that touch each other, and how much: a row for every pair.

        Parameters
        ----------
        connectivity : int, default 1
            1: labels touch if they share a face of pixels, in 2-D a side.  2: also if they only meet at an edge of
            pixels, in 2-D a corner.  3, in 3-D: also if they only meet at a corner.

        Returns
        -------
        Dataset
            Dims ``(pair,)``, each pair once, sorted by ``label`` and ``neighbor``, which are coordinates; ``label`` is
            the smaller.  ``faces`` is the number of pixel faces between the two, int64, and 0 if they only meet at
            edges or corners.  ``length`` in 2-D, or ``area`` in 3-D, is the size of these faces, in units of the
            coordinates, or in pixels.  The background, label 0, is left out.  In main memory, computed immediately,
            also for a dask mask.

        Warns
        -----
        UserWarning
            The mask has a time dim, and labels at neighbouring times touch too; or it is a bool mask in memory, and its
            components are all one label.

        Raises
        ------
        TypeError
            The mask does not hold integers, or is on the GPU: this call runs in main memory; ``connectivity`` is not a
            whole number.
        ValueError
            ``connectivity`` is not from 1 to the number of dims.  For a mask of 2 or 3 dims: the coordinates are not
            evenly spaced, are in several units, or are times.

        Notes
        -----
        The size of a face is the product of the spacings along the axes that it lies in.  A slanted border is a
        staircase of faces, which is longer than a straight line, in 2-D by at most 41 %.  The neighbours are those of
        `scipy.ndimage.generate_binary_structure`.

        To pandas with ``.to_dataframe()``.  To count the neighbours of a label, count its rows as ``label`` and as
        ``neighbor``.

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
        """The pairs of labels of a mask that lie near each other, and how far apart: a row for every pair.

        Parameters
        ----------
        distance : float
            The largest distance at which labels are neighbors, in units of the coordinates, in pixels where there are
            none.  Labels exactly at this distance are neighbors, with a tolerance of a millionth.
        between : {"edges", "centroids"}, default "edges"
            ``"edges"``: the distance between the centres of the nearest pixels of two labels.  Labels whose pixels
            share a side are one pixel apart.  ``"centroids"``: the distance between their mean positions.

        Returns
        -------
        Dataset
            Dims ``(pair,)``, each pair once, sorted by ``label`` and ``neighbor``, which are coordinates; ``label`` is
            the smaller.  ``distance``, float64, in units of the coordinates.  Background, label 0, has no neighbors,
            and a label without any has no row.  In main memory, computed immediately, also for a dask mask.

        Warns
        -----
        UserWarning
            The mask has a time dim, and labels at different times are neighbors too; or it is a bool mask in memory,
            and its components are all one label.

        Raises
        ------
        TypeError
            The mask does not hold integers, or is on the GPU: this call runs in main memory; ``distance`` is not a
            number.
        ValueError
            ``distance`` is negative, NaN, or between edges infinite; the coordinates are not evenly spaced, are in
            several units, or are times; ``between`` is neither of the two.

        Notes
        -----
        Between edges the result is exact and the same for every chunking: each block of a dask mask is read with the
        pixels around it, as far as ``distance`` reaches.  If at most about 1000 pixels lie within ``distance`` of a
        pixel, each of them is compared with it; otherwise all pairs of labels whose bounding boxes are near are
        compared.

        To pandas with ``.to_dataframe()``; into an AnnData with `LabelsDatasetAccessor.to_anndata`.  To count the
        neighbors of a label, count its rows as ``label`` and as ``neighbor``.  Labels that share sides of pixels, and
        how many, are in `contacts`.

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
            none.  The distance of pixels farther away is infinite.
        align : {"nearest"}, optional
            For another mask on another grid of the same dims, as in `measure`.

        Returns
        -------
        Dataset
            ``least``, ``mean`` and ``greatest`` ``(label,)``: the distance of the nearest of the label's pixels, of all
            on average, and of the farthest, in the units of the coordinates.  ``mean`` and ``greatest`` are infinite if
            one of the pixels is beyond the limit, ``least`` if all are.  Lazy for dask input; the labels are read at
            once.  Distances are rounded to a hundred-millionth of the limit, so that they are the same for every
            chunking.

        Raises
        ------
        TypeError
            A mask does not hold integers, or is on a GPU; the limit is not a number.
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
