"""The accessors: signatures and docs of the public calls, each handed on to the room that does it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from xlabelstats.align import LABEL
from xlabelstats.statistics import DEFAULT, describe

if TYPE_CHECKING:
    import pandas as pd

Labels = Sequence[int] | np.ndarray | None


@xr.register_dataarray_accessor("labels")
class LabelsAccessor:
    """Measurements of the labels of a mask, reached as ``array.labels``.

    The calls that take a mask belong to an image, those that take none to the mask itself.

    An *image* is a DataArray of numbers; a *mask* is a DataArray of integers, 0 for the background
    and one id per object, whose dims are some of the image's, in any order.  Results carry the dim
    ``label`` with the ids as coordinate, then the image's other dims.  dask arrays give lazy
    results.
    """

    def __init__(self, array: xr.DataArray) -> None:
        self._array = array

    @describe
    def aggregate(
        self,
        mask: xr.DataArray,
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
        labels : sequence of int, optional
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

        Raises
        ------
        TypeError
            The mask does not hold integers, or the image no numbers.
        ValueError
            Dims, sizes or coordinates do not match, the dim ``label`` is taken, a statistic is unknown,
            or ``labels`` repeat.

        Notes
        -----
        The statistics are

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

        return aggregate(self._array, mask, stats, labels=labels, background=background, ddof=ddof, skipna=skipna)

    def mean(
        self, mask: xr.DataArray, *, labels: Labels = None, background: bool = False, skipna: bool | None = None
    ) -> xr.DataArray:
        """Mean of the pixels of every label; see `aggregate`."""
        return self.aggregate(mask, "mean", labels=labels, background=background, skipna=skipna)["mean"]

    def sum(
        self, mask: xr.DataArray, *, labels: Labels = None, background: bool = False, skipna: bool | None = None
    ) -> xr.DataArray:
        """Sum of the pixels of every label; see `aggregate`."""
        return self.aggregate(mask, "sum", labels=labels, background=background, skipna=skipna)["sum"]

    def var(
        self,
        mask: xr.DataArray,
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
        mask: xr.DataArray,
        *,
        labels: Labels = None,
        background: bool = False,
        ddof: int = 0,
        skipna: bool | None = None,
    ) -> xr.DataArray:
        """Standard deviation of the pixels of every label; see `aggregate`."""
        return self.aggregate(mask, "std", labels=labels, background=background, ddof=ddof, skipna=skipna)["std"]

    def skew(
        self, mask: xr.DataArray, *, labels: Labels = None, background: bool = False, skipna: bool | None = None
    ) -> xr.DataArray:
        """Skewness of the pixels of every label; see `aggregate`."""
        return self.aggregate(mask, "skew", labels=labels, background=background, skipna=skipna)["skew"]

    def kurtosis(
        self, mask: xr.DataArray, *, labels: Labels = None, background: bool = False, skipna: bool | None = None
    ) -> xr.DataArray:
        """Excess kurtosis (a normal distribution has 0) of the pixels of every label; see `aggregate`."""
        return self.aggregate(mask, "kurtosis", labels=labels, background=background, skipna=skipna)["kurtosis"]

    def min(
        self, mask: xr.DataArray, *, labels: Labels = None, background: bool = False, skipna: bool | None = None
    ) -> xr.DataArray:
        """Smallest pixel of every label; see `aggregate`."""
        return self.aggregate(mask, "min", labels=labels, background=background, skipna=skipna)["min"]

    def max(
        self, mask: xr.DataArray, *, labels: Labels = None, background: bool = False, skipna: bool | None = None
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
        from xlabelstats.align import check_mask

        mask = check_mask(self._array)
        return mask.labels.aggregate(mask, "count", labels=labels, background=background)["count"]

    def scan(self, *, background: bool = False) -> xr.Dataset:
        """The label table of a mask: where every label lies and how it spreads, in one pass.

        Parameters
        ----------
        background : bool, default False
            Whether label 0 counts as one.

        Returns
        -------
        Dataset
            ``count`` (label,) int64; ``bbox_min`` and ``bbox_max`` (label, axis) int64, half-open;
            ``centroid`` (label, axis) and ``covariance`` (label, axis, axis_), divided by the count.
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

    def to_dataframe(self, instance_key: str = LABEL) -> pd.DataFrame:
        """A result of one statistic as a wide table; see `LabelsDatasetAccessor.to_dataframe`."""
        from xlabelstats.tables import to_dataframe

        name = self._array.name if self._array.name is not None else "value"
        return to_dataframe(self._array.to_dataset(name=name), instance_key)


@xr.register_dataset_accessor("labels")
class LabelsDatasetAccessor:
    """Measurements of every image of a Dataset, and tables of results, reached as ``dataset.labels``."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    def aggregate(
        self,
        mask: xr.DataArray | Hashable,
        stats: str | Iterable[str] = DEFAULT,
        *,
        labels: Labels = None,
        background: bool = False,
        ddof: int = 0,
        skipna: bool | None = None,
    ) -> xr.Dataset:
        """Measure the pixels of every label in every image of the Dataset.

        Parameters
        ----------
        mask : DataArray of integers, or the name of one in the Dataset
            The label of every pixel.
        stats, labels, background, ddof, skipna
            As in `LabelsAccessor.aggregate`.

        Returns
        -------
        Dataset
            Variables ``{variable}_{stat}``, and one ``count``.

        Warns
        -----
        UserWarning
            Names the variables that were left out: those that lack a dim of the mask or hold no numbers.

        Raises
        ------
        ValueError
            No variable can be measured, or the named mask does not exist; else as
            `LabelsAccessor.aggregate`.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> field = xr.Dataset({"cells": ("x", [0, 1, 1, 2]), "DAPI": ("x", [9.0, 1.0, 3.0, 4.0])})
        >>> field.labels.aggregate("cells", ("count", "mean")).labels.to_dataframe()
               count  DAPI_mean
        label
        1          2        2.0
        2          1        4.0
        """
        from xlabelstats.aggregate import aggregate_dataset

        return aggregate_dataset(
            self._dataset, mask, stats, labels=labels, background=background, ddof=ddof, skipna=skipna
        )

    def to_dataframe(self, instance_key: str = LABEL) -> pd.DataFrame:
        """A result as a wide pandas table: one row per label.

        Parameters
        ----------
        instance_key : str, default "label"
            The name of the index.

        Returns
        -------
        pandas.DataFrame
            A column per variable and element of its other dims, named by their coordinates (numbered
            where there are none) and joined by ``_``: ``count``, ``mean_DAPI``, ``centroid_y``.  Computes
            what is lazy, all at once.

        Raises
        ------
        ValueError
            There is no dim ``label``, or two columns would have the same name.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([0, 1, 1], dims="x")
        >>> image = xr.DataArray([[9, 1, 3], [5, 5, 6]], dims=("c", "x"), coords={"c": ["DAPI", "CD3"]})
        >>> image.labels.aggregate(mask, "max").labels.to_dataframe("cell")
              max_DAPI  max_CD3
        cell
        1            3        6
        """
        from xlabelstats.tables import to_dataframe

        return to_dataframe(self._dataset, instance_key)
