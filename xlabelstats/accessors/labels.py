"""``.labels`` of an array: signatures and docs of the calls, each passed on to the module that does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xlabelstats.accessors.docs import documented
from xlabelstats.accessors.layers import LayerCalls
from xlabelstats.accessors.masks import MaskCalls
from xlabelstats.accessors.measuring import MeasureCalls
from xlabelstats.accessors.ome_zarr import OmeZarrCalls
from xlabelstats.accessors.points import PointCalls
from xlabelstats.accessors.regions import RegionCalls
from xlabelstats.accessors.relations import RelationCalls
from xlabelstats.accessors.tables import TableCalls
from xlabelstats.accessors.types import Labels, Per
from xlabelstats.names import LABEL

if TYPE_CHECKING:
    import anndata
    import pandas as pd

    from xlabelstats.accessors.plots import LabelsPlots


@xr.register_dataarray_accessor("labels")
class LabelsAccessor(RelationCalls, PointCalls, MaskCalls, LayerCalls, OmeZarrCalls, RegionCalls):
    """Measurements of the labels of a mask, reached as ``array.labels``.

    Calls that take a mask are made on an image, the others on the mask itself.

    An *image* is a DataArray of numbers; a *mask* is a DataArray of integers, 0 for the background
    and one id per object, whose dims are some of the image's, in any order; or a DataTree of one, see
    `LabelsTreeAccessor`.  Results carry the dim ``label`` with the ids as coordinate, then the image's
    other dims.  dask arrays give lazy results.
    """

    @property
    def plot(self) -> LabelsPlots:
        """Pictures: ``image.labels.plot.overlay(mask)``, ``mask.labels.plot.measurement(values)``."""
        from xlabelstats.accessors.plots import LabelsPlots

        return LabelsPlots(self._array)

    def ids(self, background: bool = False) -> np.ndarray:
        """The labels of a mask, sorted; computed immediately.

        Parameters
        ----------
        background : bool, default False
            Whether label 0 counts as a label.

        Returns
        -------
        numpy.ndarray (label,)
            In the mask's dtype.

        Raises
        ------
        TypeError
            The mask does not hold integers.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> xr.DataArray([[0, 7, 7], [2, 2, 2]], dims=("y", "x")).labels.ids()
        array([2, 7])
        """
        from xlabelstats.inputs import check_mask
        from xlabelstats.labels.mask_scan import label_ids

        return label_ids(check_mask(self._array), background=background).copy()

    @documented(MeasureCalls.aggregate, take=())
    def count(self, *, labels: Labels = None, background: bool = False, per: Per = None) -> xr.DataArray:
        """Pixels per label of a mask.

        Parameters
        ----------
        labels : int or sequence of int, optional
            Measure these labels, in this order; the mask is not searched for labels first.  A label that does not occur
            gets 0.

        Returns
        -------
        DataArray
            Dims ``(label,)``, int64; lazy for a dask mask.

        Raises
        ------
        TypeError
            The mask does not hold integers.
        ValueError
            ``labels`` repeat.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 7, 7], [2, 2, 2]], dims=("y", "x"))
        >>> mask.labels.count().to_series().to_dict()
        {2: 3, 7: 2}
        """
        return self.aggregate(self._array, "count", labels=labels, background=background, per=per)["count"]

    def scan(self, *, background: bool = False) -> xr.Dataset:
        """The label table of a mask: where every label lies and how it spreads, in one pass.

        Parameters
        ----------
        background : bool, default False
            Whether label 0 counts as a label.

        Returns
        -------
        Dataset
            ``count`` ``(label,)`` int64; ``bbox_min`` and ``bbox_max`` ``(label, axis)`` int64, the first pixel and one
            past the last; ``centroid`` ``(label, axis)``; ``covariance`` ``(label, axis, axis_)``, divided by the
            count.  In pixels; ``axis`` holds the mask's dims.  Computed immediately, also for a dask mask, and
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
        from xlabelstats.labels.scan import scan

        return scan(self._array, background=background)

    def paint(self, values: Any, fill_value: Any = None) -> xr.DataArray:
        """An image like the mask in which every pixel has the value of its label.

        Parameters
        ----------
        values : DataArray with dim ``label``, pandas Series, or mapping from label to value
            One number per label, or an array of them along further dims; with the dim ``object``, as ``per=`` gives it,
            one per label and position.  Text and categories are classes: pixels get the position of their class in
            ``.attrs["classes"]``.
        fill_value : number, optional
            For the background and for labels without a value.  By default NaN for floats, and 0 for integers, whose
            dtype is kept (so number classes from 1).  Another value may widen the dtype.

        Returns
        -------
        DataArray
            Dims ``(*extra, *mask)``, where ``extra`` are the dims of the values other than ``label`` or ``object``;
            lazy for dask input.

        Raises
        ------
        TypeError
            The values are of another type, or not numbers; the index of a Series does not hold whole numbers.
        ValueError
            The values have no dim ``label`` with coordinates, repeat a label, share a dim with the mask, or are for
            positions that it lacks; or a Series has the default index of pandas in place of labels.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 7, 7], [2, 2, 2]], dims=("y", "x"))
        >>> mask.labels.paint({7: 1.5, 2: 3.0}).values
        array([[nan, 1.5, 1.5],
               [3. , 3. , 3. ]])
        """
        from xlabelstats.labels.paint import paint

        return paint(self._array, values, fill_value)

    @documented(TableCalls.rollup, take=("Raises",))
    def rollup(self, groups: Any = None, *, hierarchy: Any = None) -> xr.DataArray:
        """Merge a result of one statistic to groups of labels.

        The array has the name ``count``, ``num_pixels``, ``valid``, ``weight``, ``sum``, ``area``, ``min``, ``max``,
        ``bbox_min`` or ``bbox_max``.  Other statistics need several variables: use `LabelsDatasetAccessor.rollup` of
        the whole result.

        Returns
        -------
        DataArray
            The groups along ``label``, sorted, as `LabelsDatasetAccessor.rollup` gives them.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([0, 1, 1, 2, 3], dims="x")
        >>> mask.labels.count().labels.rollup({1: 10, 2: 10, 3: 20}).to_series().to_dict()
        {10: 3, 20: 1}
        """
        from xlabelstats.align import given_name
        from xlabelstats.labels.rollup import rollup

        if given_name(self._array) is None:
            raise ValueError("the array has no name, so its statistic is not known; name it: .rename('sum')")
        return rollup(self._array.to_dataset(), groups, hierarchy)[self._array.name]

    @documented(TableCalls.to_dataframe, take=("Raises",))
    def to_dataframe(
        self,
        instance_key: str = LABEL,
        *,
        units: bool = False,
        names: str | None = None,
        compartment: str | None = None,
    ) -> pd.DataFrame:
        """A result of one statistic as a wide pandas table: one row per label.

        Returns
        -------
        pandas.DataFrame
            A column per element of the dims beside ``label``, named as the array (``value``, if it has no name) and by
            their coordinates, as `LabelsDatasetAccessor.to_dataframe` does.  Computes what is lazy.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 7, 7], [2, 2, 2]], dims=("y", "x"))
        >>> mask.labels.center_of_mass().labels.to_dataframe()
               center_of_mass_y  center_of_mass_x
        label
        2                   1.0               1.0
        7                   0.0               1.5
        """
        from xlabelstats.align import given_name
        from xlabelstats.tables import to_dataframe

        name = given_name(self._array)
        dataset = self._array.to_dataset(name="value" if name is None else name)
        return to_dataframe(dataset, instance_key, units=units, names=names, compartment=compartment)

    @documented(TableCalls.to_anndata, take=("Warns", "Raises"))
    def to_anndata(
        self,
        *,
        centroids: xr.DataArray | None = None,
        neighbors: xr.Dataset | None = None,
        instance_key: str = LABEL,
    ) -> anndata.AnnData:
        """A result of one statistic as an annotated table, with that statistic as ``X``.

        Returns
        -------
        anndata.AnnData
            As `LabelsDatasetAccessor.to_anndata` makes it of a Dataset with this one variable.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 7, 7], [2, 2, 2]], dims=("y", "x"))
        >>> (mask * 2).labels.mean(mask).labels.to_anndata().to_df()  # doctest: +SKIP
              0
        2   4.0
        7  14.0
        """
        from xlabelstats.align import display_name
        from xlabelstats.tables import to_anndata

        name = display_name(self._array, "value")
        dataset = self._array.to_dataset(name=name)
        return to_anndata(dataset, name, centroids=centroids, neighbors=neighbors, instance_key=instance_key)
