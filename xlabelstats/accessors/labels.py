"""``.labels`` of an array: signatures and docs of the calls, each handed on to the room that does it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xlabelstats.accessors.plots import LabelsPlots
from xlabelstats.accessors.types import Labels, Mask
from xlabelstats.align import LABEL, check_is_mask, is_array
from xlabelstats.multiscale import as_array
from xlabelstats.names import describe
from xlabelstats.regionprops import PROPERTIES, regionprops
from xlabelstats.statistics import DEFAULT, STATISTICS

if TYPE_CHECKING:
    import anndata
    import pandas as pd

REGION_PROPERTIES = ("area", "bbox", "centroid")


@xr.register_dataarray_accessor("labels")
class LabelsAccessor:
    """Measurements of the labels of a mask, reached as ``array.labels``.

    The calls that take a mask belong to an image, those that take none to the mask itself.

    An *image* is a DataArray of numbers; a *mask* is a DataArray of integers, 0 for the background
    and one id per object, whose dims are some of the image's, in any order; or a DataTree of one, see
    `LabelsTreeAccessor`.  Results carry the dim ``label`` with the ids as coordinate, then the image's
    other dims.  dask arrays give lazy results.
    """

    def __init__(self, array: xr.DataArray) -> None:
        self._array = array

    @property
    def plot(self) -> LabelsPlots:
        """Pictures: ``image.labels.plot.overlay(mask)``, ``mask.labels.plot.measurement(values)``."""
        return LabelsPlots(self._array)

    @describe(statistics=STATISTICS)
    def aggregate(
        self,
        mask: Mask,
        stats: str | Iterable[str] = DEFAULT,
        *,
        labels: Labels = None,
        background: bool = False,
        ddof: int = 0,
        skipna: bool | None = None,
    ) -> xr.Dataset:
        """Measure the pixels of every label: any number of statistics in one pass over the image.

        Parameters
        ----------
        mask : DataArray of integers
            The label of every pixel.  Its dims are a subset of the image's, its sizes and
            coordinates the same; where only one of the two has coordinates, they are the other's
            too.  Chunks may differ.
        stats : str or iterable of str
            Any of the statistics below; by default all but ``std`` and ``valid``.
        labels : int or sequence of int, optional
            Measure these labels, in this order, without looking first which there are.  A label that
            does not occur gets count 0, sum 0 and NaN elsewhere, so ``min`` and ``max`` are float64.
        background : bool, default False
            Measure label 0 too.  Does not matter when ``labels`` are given.
        ddof : int, default 0
            Delta degrees of freedom of ``var`` and ``std``: they divide by ``valid - ddof``.
        skipna : bool, optional
            Leave NaN pixels out (the default) or let them make the label's statistics NaN.

        Returns
        -------
        Dataset
            One variable per statistic, dims ``(label, *other)``, ``other`` being the image's dims that
            the mask lacks; ``count`` is ``(label,)``.  Sorted by label unless ``labels`` are given.
            ``count`` and ``valid`` are int64, ``min`` and ``max`` have the image's dtype, the others are
            float64.  For dask input the result is lazy; without ``labels`` the mask alone is read
            at once, to learn which labels there are.

        Warns
        -----
        UserWarning
            The mask has a time dim, so that labels are measured over all times; it is bool and has several components,
            which are one label; or its labels lie among each other as grey values do, so that image and mask may be
            swapped, which is not looked into if ``labels`` are given.

        Raises
        ------
        TypeError
            The mask does not hold integers, or the image no numbers.
        ValueError
            Dims, sizes or coordinates do not match, the dim ``label`` is taken, a statistic is unknown,
            or ``labels`` repeat.

        Notes
        -----
        The statistics are:

        {statistics}

        Sums and moments are collected in float64, moments about the mean of each block, and merged
        pairwise across blocks [1]_ [2]_, so that a large mean costs no precision.  A sum of integers is
        exact up to 2**53.

        References
        ----------
        .. [1] T. F. Chan, G. H. Golub, R. J. LeVeque (1979). Updating formulae and a pairwise algorithm
           for computing sample variances. Stanford STAN-CS-79-773.
        .. [2] P. Pebay (2008). Formulas for robust, one-pass parallel computation of covariances and
           arbitrary-order statistical moments. Sandia SAND2008-6212.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 1, 1], [2, 2, 2]], dims=("y", "x"))
        >>> image = xr.DataArray([[9, 1, 3], [4, 5, 6]], dims=("y", "x"), name="DAPI")
        >>> result = image.labels.aggregate(mask, ("count", "mean", "max"))
        >>> result.labels.to_dataframe()
               count  mean  max
        label
        1          2   2.0    3
        2          3   5.0    6
        """
        from xlabelstats.aggregate import aggregate

        return aggregate(
            self._array, as_array(mask), stats, labels=labels, background=background, ddof=ddof, skipna=skipna
        )

    def mean(
        self, mask: Mask, *, labels: Labels = None, background: bool = False, skipna: bool | None = None
    ) -> xr.DataArray:
        """Mean of the pixels of every label; see `aggregate`."""
        return self.aggregate(mask, "mean", labels=labels, background=background, skipna=skipna)["mean"]

    def sum(
        self, mask: Mask, *, labels: Labels = None, background: bool = False, skipna: bool | None = None
    ) -> xr.DataArray:
        """Sum of the pixels of every label; see `aggregate`."""
        return self.aggregate(mask, "sum", labels=labels, background=background, skipna=skipna)["sum"]

    def var(
        self,
        mask: Mask,
        *,
        labels: Labels = None,
        background: bool = False,
        ddof: int = 0,
        skipna: bool | None = None,
    ) -> xr.DataArray:
        """Variance of the pixels of every label; see `aggregate`."""
        return self.aggregate(mask, "var", labels=labels, background=background, ddof=ddof, skipna=skipna)["var"]

    def std(
        self,
        mask: Mask,
        *,
        labels: Labels = None,
        background: bool = False,
        ddof: int = 0,
        skipna: bool | None = None,
    ) -> xr.DataArray:
        """Standard deviation of the pixels of every label; see `aggregate`."""
        return self.aggregate(mask, "std", labels=labels, background=background, ddof=ddof, skipna=skipna)["std"]

    def skew(
        self, mask: Mask, *, labels: Labels = None, background: bool = False, skipna: bool | None = None
    ) -> xr.DataArray:
        """Skewness of the pixels of every label; see `aggregate`."""
        return self.aggregate(mask, "skew", labels=labels, background=background, skipna=skipna)["skew"]

    def kurtosis(
        self, mask: Mask, *, labels: Labels = None, background: bool = False, skipna: bool | None = None
    ) -> xr.DataArray:
        """Excess kurtosis (a normal distribution has 0) of the pixels of every label; see `aggregate`."""
        return self.aggregate(mask, "kurtosis", labels=labels, background=background, skipna=skipna)["kurtosis"]

    def min(
        self, mask: Mask, *, labels: Labels = None, background: bool = False, skipna: bool | None = None
    ) -> xr.DataArray:
        """Smallest pixel of every label; see `aggregate`."""
        return self.aggregate(mask, "min", labels=labels, background=background, skipna=skipna)["min"]

    def max(
        self, mask: Mask, *, labels: Labels = None, background: bool = False, skipna: bool | None = None
    ) -> xr.DataArray:
        """Largest pixel of every label; see `aggregate`."""
        return self.aggregate(mask, "max", labels=labels, background=background, skipna=skipna)["max"]

    def ids(self, background: bool = False) -> np.ndarray:
        """The labels of a mask, sorted; computed at once.

        Parameters
        ----------
        background : bool, default False
            Whether label 0 counts as one.

        Returns
        -------
        numpy.ndarray (label,)
            In the mask's dtype.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> xr.DataArray([[0, 7, 7], [2, 2, 2]], dims=("y", "x")).labels.ids()
        array([2, 7])
        """
        from xlabelstats.align import check_mask
        from xlabelstats.scan import label_ids

        return label_ids(check_mask(self._array), background=background).copy()

    def count(self, *, labels: Labels = None, background: bool = False) -> xr.DataArray:
        """Pixels per label of a mask, int64, dims ``(label,)``; lazy for a dask mask.

        Parameters
        ----------
        labels, background
            As in `aggregate`.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 7, 7], [2, 2, 2]], dims=("y", "x"))
        >>> mask.labels.count().to_series().to_dict()
        {2: 3, 7: 2}
        """
        return self.aggregate(self._array, "count", labels=labels, background=background)["count"]

    def scan(self, *, background: bool = False) -> xr.Dataset:
        """The label table of a mask: where every label lies and how it spreads, in one pass.

        Parameters
        ----------
        background : bool, default False
            Whether label 0 counts as one.

        Returns
        -------
        Dataset
            ``count`` ``(label,)`` int64; ``bbox_min`` and ``bbox_max`` ``(label, axis)`` int64, half-open;
            ``centroid`` ``(label, axis)``; ``covariance`` ``(label, axis, axis_)``, divided by the count.
            In pixels; ``axis`` holds the mask's dims.  Computed at once, also for a dask mask, and
            remembered for as long as that mask's array is in use (see `xlabelstats.clear_cache`).

        Raises
        ------
        TypeError
            The mask does not hold integers.

        Notes
        -----
        Moments are taken about each block's own centroids and merged pairwise, so that labels far
        from the origin lose no precision.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> table = xr.DataArray([[0, 7, 7], [2, 2, 2]], dims=("y", "x")).labels.scan()
        >>> table["centroid"].sel(label=7).values
        array([0. , 1.5])
        """
        from xlabelstats.scan import scan

        return scan(self._array, background=background)

    def center_of_mass(
        self,
        weights: Mask | None = None,
        *,
        units: str = "coords",
        labels: Labels = None,
        background: bool = False,
    ) -> xr.DataArray:
        """Mean position of the pixels of every label of a mask, plain or weighted by an image.

        Parameters
        ----------
        weights : DataArray, optional
            An image that weighs the pixels, in one pass over it; its other dims are kept.
        units : {"coords", "pixel"}, default "coords"
            Positions in the units of the coordinates, evenly spaced or not, where there are any; or
            pixel indices.
        labels, background
            As in `aggregate`.

        Returns
        -------
        DataArray
            Dims ``(label, *other, axis)``, ``axis`` holding the mask's dims; lazy for dask input.

        Raises
        ------
        ValueError
            ``units`` is neither of the two, or a coordinate holds no numbers; else as `aggregate`.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 7, 7], [0, 7, 7]], dims=("y", "x"), coords={"x": [0.0, 0.5, 1.0]})
        >>> mask.labels.center_of_mass().values
        array([[0.5 , 0.75]])
        >>> mask.labels.center_of_mass(units="pixel").values
        array([[0.5, 1.5]])
        """
        from xlabelstats.geometry import center_of_mass

        return center_of_mass(self._array, as_array(weights), units=units, labels=labels, background=background)

    @describe(properties=PROPERTIES)
    def regionprops(
        self,
        mask: Mask | None = None,
        properties: str | Iterable[str] = REGION_PROPERTIES,
        *,
        spacing: Any = None,
        labels: Labels = None,
        background: bool = False,
    ) -> xr.Dataset:
        """Region properties of every label, with scikit-image's names, definitions and values.

        Parameters
        ----------
        mask : DataArray of integers, optional
            The mask, if this is an image; without it this is the mask, and there is no image.
            2-D or 3-D.
        properties : str or iterable of str, default area, bbox and centroid
            Any of the properties below: those that merge across blocks.
        spacing : float, sequence or mapping of dim to float, optional
            The distance of neighbouring pixels.  By default from the coordinates, which must be evenly
            spaced; 1 where there are none.
        labels, background
            As in `aggregate`.  A label that does not occur gets area 0 and NaN elsewhere, so ``bbox`` is
            float64.

        Returns
        -------
        Dataset
            One variable per property, dims ``(label, ...)``: vectors have the dim ``axis``, tensors also
            ``axis_``, ``bbox`` is ``(label, bound, axis)``, eigenvalues ``(label, component)``, moments have
            ``order_y``, ``order_x``, ..., Hu moments ``hu``.  What is measured in an image keeps its other
            dims after ``label``.  Lazy for dask input.

        Raises
        ------
        ValueError
            A property does not exist, needs an image, or needs a whole object in one block (such as
            ``perimeter``); the coordinates are not evenly spaced; the mask is not 2-D or 3-D.
        NotImplementedError
            scikit-image does not define the property in 3-D, or for this spacing.

        Notes
        -----
        Positions are in coordinate units if the spacing comes from the coordinates, and then
        ``centroid`` includes the coordinate of the first pixel.  With ``spacing=`` they count from
        pixel 0, as in scikit-image.  NaN pixels make a label's intensities NaN.

        The properties, which in 3-D call a volume ``area``, are:

        {properties}

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 7, 7, 7], [0, 7, 7, 7]], dims=("y", "x"))
        >>> shapes = mask.labels.regionprops(properties=("area", "bbox", "eccentricity"))
        >>> shapes.labels.to_dataframe().round(3).T
        label           7
        area          6.000
        bbox_min_y    0.000
        bbox_min_x    1.000
        bbox_max_y    2.000
        bbox_max_x    4.000
        eccentricity  0.791
        """
        mask = as_array(mask)
        if mask is not None and not isinstance(mask, xr.DataArray):
            if is_array(mask):
                check_is_mask(mask)
            raise TypeError(
                f"the first argument is a mask, a DataArray, not {type(mask).__name__}; "
                "properties are given by name: mask.labels.regionprops(properties=...)"
            )
        image, mask = (None, self._array) if mask is None else (self._array, mask)
        return regionprops(image, mask, properties, spacing=spacing, labels=labels, background=background)

    def paint(self, values: Any, fill_value: Any = None) -> xr.DataArray:
        """An image like a mask in which every pixel carries its label's value.

        Parameters
        ----------
        values : DataArray with dim ``label``, pandas Series, or mapping from label to value
            One number per label, or an array of them along further dims.  Text and categories are classes, painted
            by their position among the names, which the attrs give as ``classes``.
        fill_value : number, optional
            For the background and for labels without a value.  By default NaN for floats and 0 for
            integers (so number classes from 1), whose dtype is kept; another is given room by a wider dtype
            where it needs one.

        Returns
        -------
        DataArray
            Dims ``(*extra, *mask)``, ``extra`` being the values' dims beside ``label``; lazy for dask input.

        Raises
        ------
        TypeError
            The values are not numbers, or of another kind; the index of a Series is no whole numbers.
        ValueError
            The values have no dim ``label`` with coordinates, repeat a label, or share a dim with the mask; the rows of
            a Series are numbered as pandas does by itself, and these numbers are not the labels.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 7, 7], [2, 2, 2]], dims=("y", "x"))
        >>> mask.labels.paint({7: 1.5, 2: 3.0}).values
        array([[nan, 1.5, 1.5],
               [3. , 3. , 3. ]])
        """
        from xlabelstats.paint import paint

        return paint(self._array, values, fill_value)

    def to_dataframe(self, instance_key: str = LABEL, *, units: bool = False) -> pd.DataFrame:
        """A result of one statistic as a wide table; see `LabelsDatasetAccessor.to_dataframe`."""
        from xlabelstats.tables import to_dataframe

        name = self._array.name if self._array.name is not None else "value"
        return to_dataframe(self._array.to_dataset(name=name), instance_key, units=units)

    def to_anndata(self, *, centroids: xr.DataArray | None = None, instance_key: str = LABEL) -> anndata.AnnData:
        """A result of one statistic as an annotated table, with that as X; see `LabelsDatasetAccessor.to_anndata`."""
        from xlabelstats.tables import to_anndata

        name = str(self._array.name) if self._array.name is not None else "value"
        return to_anndata(self._array.to_dataset(name=name), name, centroids=centroids, instance_key=instance_key)
