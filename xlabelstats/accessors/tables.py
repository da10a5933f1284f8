"""Results as tables: the calls of ``.labels`` of a Dataset that make them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

from xlabelstats.accessors.ome_zarr import OmeZarrTableCalls
from xlabelstats.names import LABEL

if TYPE_CHECKING:
    import anndata
    import pandas as pd


class TableCalls(OmeZarrTableCalls):
    """The calls of `LabelsDatasetAccessor` that make a table of a result."""

    _of = xr.Dataset

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    def rollup(self, groups: Any = None, *, hierarchy: Any = None) -> xr.Dataset:
        """Merge the rows of labels into groups: cells into regions, regions into the structures that hold them.

        The numbers are exactly those of all pixels of a group, but no pixel is read again.

        Parameters
        ----------
        groups : mapping, pandas Series or DataArray, optional
            The group of every label, a whole number or text: a mapping from label to group, a Series whose index is the
            labels, or a DataArray along ``label``, such as ``parent`` of a table of parents.  Labels without a group,
            or with the group 0 or NaN, are left out.  With ``hierarchy`` it may be left out: each label is then a
            group.
        hierarchy : mapping, pandas Series or DataFrame, optional
            Which group lies in which: a mapping or Series from child to parent, or a table as atlases have it, with the
            columns ``id`` and ``structure_id_path`` (``"/997/8/567/"``, or a list of ids).  A row of the result is then
            one structure together with all structures in it, so one result has all levels.  A group that is not in the
            hierarchy is at the top level.

        Returns
        -------
        Dataset
            The same variables, with the groups along ``label``, sorted; other dims and attributes are kept.  Lazy
            where the result is.  With the dim ``object``, as ``per=`` gives it, labels are merged at each position by
            itself.  With a hierarchy there are the coordinates ``depth``, 0 for a structure that lies in no other,
            and ``name`` and ``acronym``, if its table has these columns.

        Raises
        ------
        TypeError
            Neither is given, or one is of another type; groups are not whole numbers or text; the result is on the GPU.
        ValueError
            A variable cannot be merged, or needs others that are missing: the message names them; the result has no
            labels; a label has two groups; the hierarchy goes round in a circle, or two of its paths differ.

        Notes
        -----
        These are merged, if what stands after "with" is in the result too:

        - ``count``, ``num_pixels``, ``valid``, ``weight``, ``sum``, ``area``: they add up;
        - ``min``, ``max``, ``bbox_min``, ``bbox_max``; ``centroid`` with ``count``, ``num_pixels`` or ``area``;
        - ``mean`` with ``valid``; ``var`` and ``std`` with ``valid``, ``mean`` and the coordinate ``ddof``; ``skew``
          with these and ``var`` or ``std``; ``kurtosis`` with these and ``skew``.  After ``weights=`` they need
          ``weight`` in place of ``valid``, and with ``skipna=False`` also ``sum``.

        ``count`` replaces ``valid`` if the coordinate ``skipna`` says that no NaN pixel was left out: for an image of
        integers, or with ``skipna=False``.  Moments are merged by the binomial theorem about the mean of the group
        [1]_.  If a label has 2 pixels or more, but no more than ``ddof``, its variance is unknown, and that of its
        group is NaN.

        References
        ----------
        .. [1] T. F. Chan, G. H. Golub, R. J. LeVeque (1979). Updating formulae and a pairwise algorithm
           for computing sample variances. Stanford STAN-CS-79-773.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([0, 1, 1, 2, 3], dims="x")
        >>> image = xr.DataArray([9, 1, 3, 8, 5], dims="x")
        >>> result = image.labels.aggregate(mask, ("count", "mean", "max"))
        >>> result.labels.rollup({1: 10, 2: 10, 3: 20}).labels.to_dataframe()
               count  mean  max
        label
        10         3   4.0    8
        20         1   5.0    5
        >>> result.labels.rollup({1: 10, 2: 10, 3: 20}, hierarchy={10: 7, 20: 7})["count"].to_series().to_dict()
        {7: 4, 10: 3, 20: 1}
        """
        from xlabelstats.labels.rollup import rollup

        return rollup(self._dataset, groups, hierarchy)

    def to_dataframe(
        self,
        instance_key: str = LABEL,
        *,
        units: bool = False,
        names: str | None = None,
        compartment: str | None = None,
    ) -> pd.DataFrame:
        """A result as a wide pandas table: one row per label; with ``per=`` a long one, a row per position and label.

        Parameters
        ----------
        instance_key : str, default "label"
            The name of the index.  With ``per="t"`` the index has two levels, ``t`` and this one, which
            ``.reset_index()`` makes columns.
        units : bool, default False
            Whether the names of columns include the units: ``area [um**2]``, ``mean_DAPI [counts]``.
        names : {"cellprofiler"}, optional
            Name columns as CellProfiler 4.2 does: ``AreaShape_Area``, ``Intensity_MeanIntensity_DAPI``,
            ``Texture_Contrast_DAPI_3_00_256``.  The notes of `LabelsDatasetAccessor.to_dataframe` say how.
        compartment : str, optional
            With ``names="cellprofiler"``, the start of all columns except those of metadata: ``"Nuclei"`` makes
            ``Nuclei_AreaShape_Area``, which pycytominer finds with ``infer_cp_features(table, ["Nuclei"])``.

        Returns
        -------
        pandas.DataFrame
            A column per variable and element of its other dims, named by their coordinates (numbered where there are
            none) and joined by ``_``: ``count``, ``mean_DAPI``, ``centroid_y``.  What is lazy is computed, all
            together.

        Raises
        ------
        TypeError
            ``units`` is not a bool, or ``compartment`` is not text.
        ValueError
            There is no dim ``label`` or ``object``, or two columns would have the same name; ``names`` is another text;
            ``units=True`` is given with ``names``, or ``compartment`` without.

        Notes
        -----
        With ``names="cellprofiler"``, after the modules of CellProfiler 4.2 [1]_:

        - The label is the column ``Metadata_ObjectNumber`` too; with ``per="t"``, the time is ``Metadata_t``.
        - The image in a name is the channel.  Positions along several dims of the image, such as round and channel, are
          joined by ``_``.  Without such dims it is the channel that was chosen by ``image.sel(c="DAPI")``, else the
          name of the array, else ``Image``.  In a result of a Dataset it is the variable, with its channels if it has
          some: ``DAPI``, ``stack_CD3``.
        - ``orientation`` comes in degrees.  All other numbers are those of the result: intensities are not scaled to 0
          to 1, and lengths have the units of the result.  `InstancesAccessor.profile` gives them in pixels, as
          CellProfiler does.
        - Of two channels, correlation, slope and overlap have one column, the first channel first.  Manders, RWC and K
          have one for each order; ``k2`` has no columns beside ``k1``, whose numbers it repeats.  A channel with itself
          has none.
        - In 3-D ``area`` is ``AreaShape_Volume``, if the result has three axes, or if the units are those of a volume,
          as that of `InstancesAccessor.profile` does.  Axes are X, Y and Z; numbered axes are in the order z, y, x.
        - Moments have orders up to 3 along all axes, where CellProfiler stops at 2 along y: the further ones are named
          in the same way, and so are all moments in 3-D.
        - Measures that have no column in CellProfiler keep their names of this package, such as ``count``.

        References
        ----------
        .. [1] D. R. Stirling et al. (2021). CellProfiler 4: improvements in speed, utility and usability.
           BMC Bioinformatics 22, 433.

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
        >>> image.labels.aggregate(mask, "max").labels.to_dataframe(names="cellprofiler", compartment="Nuclei").T
        label                               1
        Metadata_ObjectNumber               1
        Nuclei_Intensity_MaxIntensity_DAPI  3
        Nuclei_Intensity_MaxIntensity_CD3   6
        """
        from xlabelstats.tables import to_dataframe

        return to_dataframe(self._dataset, instance_key, units=units, names=names, compartment=compartment)

    def to_anndata(
        self,
        X: str | None = "mean",
        *,
        centroids: xr.DataArray | None = None,
        neighbors: xr.Dataset | None = None,
        instance_key: str = LABEL,
        names: str | None = None,
        compartment: str | None = None,
    ) -> anndata.AnnData:
        """A result as an annotated table, `anndata.AnnData`: a row per label, a column per channel.

        Parameters
        ----------
        X : str or None, default "mean"
            The variable that becomes ``X``.  With None there are no columns, and all variables go to ``obs`` and
            ``obsm``.  ``"features"``, if no variable has that name, makes every number of every label a column of
            ``X``.
        centroids : DataArray (label, axis), optional
            Positions for ``obsm["spatial"]``, as `LabelsAccessor.center_of_mass` gives them.  All labels of the result
            must be there, in any order.
        neighbors : Dataset (pair,), optional
            The labels that lie near each other, as `LabelsAccessor.neighbors` gives them, for ``obsp``.
        instance_key : str, default "label"
            The column of ``obs`` that holds the label ids, as integers.
        names : {"cellprofiler"}, optional
            The names of the features of ``X="features"``: those of CellProfiler, as in `to_dataframe`.  By default
            those of this package.
        compartment : str, optional
            The start of CellProfiler's names: what the objects are, such as ``"Nuclei"``.

        Returns
        -------
        anndata.AnnData
            Rows in the order of the result, named by the labels, with ``per="t"`` by times and labels joined by ``_``.
            What is lazy is computed, all together.

            - ``X`` ``(label, channel)``, and in ``layers`` all variables with the same dims.  For an image without
              channels, ``X`` has one column, and ``layers`` has the statistics of `LabelsAccessor.aggregate`.
            - ``var``: named by the coordinate of the channels, by numbers where there is none.  Further dims, such
              as time, are flattened, their names joined by ``_``.  Other coordinates along these dims are columns.
            - ``obs``: other variables ``(label,)``, such as ``count``; with ``per="t"``, ``t`` and the label come
              first.
            - ``obsm``: other variables with further dims, under their names: an array ``(label, element)``, or if the
              elements have coordinates, a DataFrame whose columns are named by them, joined by ``_``.
            - ``obsm["spatial"]``: the centroids as (x, y[, z]), an array.  Axes with other names come in reverse order.
            - ``obsp["spatial_connectivities"]``, 1 for every pair of neighbors, and ``obsp["spatial_distances"]``, how
              far apart they are: symmetric, sparse (CSR).  ``uns["spatial_neighbors"]`` describes them as squidpy does,
              so that squidpy's graph functions, such as ``squidpy.gr.nhood_enrichment``, can use the table.

            With ``X="features"``:

            - ``X`` ``(label, feature)``: all variables of numbers or bool, as float64.
            - ``var``: named as the columns of `to_dataframe`.  Its columns are ``measure``, ``family`` (of
              `InstancesAccessor.profile`, or else of `xlabelstats.measures`), ``channel``, and one for every dim of the
              measures, such as ``axis``, ``scale``, ``angle``: the coordinate, NaN or an empty text if the measure has
              no such dim.
            - ``obs``, ``obsm``: all other variables, by the rules above.

        Warns
        -----
        UserWarning
            ``neighbors`` has labels that the result lacks; their pairs are left out.

        Raises
        ------
        TypeError
            ``neighbors`` is not a Dataset.
        ValueError
            There is no variable ``X`` or no dim ``label``; a name is taken twice; ``names`` is given without
            ``X="features"``; centroids lack a label or are not ``(label, axis)``; ``neighbors`` has no distances or has
            a pair twice, or a label has several rows.
        ModuleNotFoundError
            anndata is not installed.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 7, 7], [2, 2, 2]], dims=("y", "x"))
        >>> image = xr.DataArray([mask * 2, mask + 1], dims=("c", "y", "x"), coords={"c": ["DAPI", "CD3"]})
        >>> result = image.labels.aggregate(mask, ("count", "mean", "max"))
        >>> table = result.labels.to_anndata(centroids=mask.labels.center_of_mass())  # doctest: +SKIP
        >>> table.to_df()  # doctest: +SKIP
           DAPI  CD3
        2   4.0  3.0
        7  14.0  8.0
        >>> table.obs  # doctest: +SKIP
           label  count
        2      2      3
        7      7      2
        >>> table.obsm["spatial"]  # doctest: +SKIP
        array([[1. , 1. ],
               [1.5, 0. ]])
        >>> table = result.labels.to_anndata(neighbors=mask.labels.neighbors(1))  # doctest: +SKIP
        >>> table.obsp["spatial_distances"].toarray()  # doctest: +SKIP
        array([[0., 1.],
               [1., 0.]])
        >>> result.labels.to_anndata(X="features").var  # doctest: +SKIP
                  measure     family channel
        count       count  intensity
        mean_DAPI    mean  intensity    DAPI
        mean_CD3     mean  intensity     CD3
        max_DAPI      max  intensity    DAPI
        max_CD3       max  intensity     CD3
        """
        from xlabelstats.tables import to_anndata

        return to_anndata(
            self._dataset,
            X,
            centroids=centroids,
            neighbors=neighbors,
            instance_key=instance_key,
            names=names,
            compartment=compartment,
        )
