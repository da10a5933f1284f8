"""Images, labels and points of a SpatialData object in, an annotated table out; labels as shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from xlabelstats.accessors.object_quantiles import DECILES
from xlabelstats.accessors.types import Size
from xlabelstats.catalogue import DEFAULT_STATISTICS, FURTHER_PROPERTIES, OBJECT_PROPERTIES, PROPERTIES, as_measures
from xlabelstats.catalogue.vocabulary import check_measures
from xlabelstats.names import LABEL, as_names
from xlabelstats.options import compute
from xlabelstats.spatialdata.elements import Annotation, find_elements
from xlabelstats.spatialdata.neighbors import neighbors
from xlabelstats.spatialdata.points import count_points
from xlabelstats.spatialdata.profile import profile
from xlabelstats.spatialdata.shapes import polygons

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

SHAPES = ("area", "equivalent_diameter_area", "axis_major_length", "axis_minor_length")

__all__ = [
    "aggregate",
    "count_points",
    "featurize",
    "measure",
    "neighbors",
    "polygons",
    "profile",
    "quantiles",
    "regionprops",
]


def aggregate(
    sdata: SpatialData,
    image_name: str,
    labels_name: str,
    table_name: str,
    stats: str | Iterable[str] = DEFAULT_STATISTICS,
    *,
    X: str | None = None,
    to_coordinate_system: str = "global",
    scale: str | None = None,
    instance_key: str = "instance_id",
    region_key: str = "region",
    overwrite: bool = False,
    align: str | None = None,
    **options: Any,
) -> AnnData:
    """Measure the pixels of every label, and add a table of it that annotates the labels.

    Parameters
    ----------
    sdata : SpatialData
        The object that holds the elements; the table is added to it.
    image_name, labels_name : str
        An image and a labels element, 2-D or 3-D, of one scale or several.
    table_name : str
        The name of the table.
    stats : str or iterable of str
        Any statistics of `LabelsAccessor.aggregate`.
    X : str, optional
        The statistic that becomes ``X``: by default ``mean`` if it is one of ``stats``, else the first of them.
    to_coordinate_system : str, default "global"
        The coordinate system of the centroids.
    scale : str, optional
        The scale of multiscale elements, such as ``"scale1"``; by default the finest.
    instance_key, region_key : str
        The columns of ``obs`` that hold the label ids and the name of the labels element.
    overwrite : bool, default False
        Whether to replace a table of this name.
    align : {"nearest"}, optional
        For labels on another grid than the image, if the two differ by scale and translation: every pixel of the image
        gets the label of the nearest pixel, and none outside of the labels.  Labels that no pixel gets are left out,
        and the pixels of the image are counted.  By default different grids raise an error.
    **options
        ``labels``, ``background``, ``ddof`` and ``skipna`` of `LabelsAccessor.aggregate`.

    Returns
    -------
    AnnData
        The table, which is ``sdata[table_name]`` too: a row per label, a column of ``var`` per channel, one
        statistic in ``X``, the others in ``layers``, ``count`` in ``obs``, and in ``obsm["spatial"]`` the
        centroids as (x, y[, z]).  Nothing is written: ``sdata.write_element(table_name)`` does.

    Raises
    ------
    ValueError
        An element, a scale, a coordinate system or a statistic does not exist; the elements are not on one grid;
        there is such a table already; the labels element holds no labels.

    Examples
    --------
    >>> from spatialdata.datasets import blobs  # doctest: +SKIP
    >>> from xlabelstats.spatialdata import aggregate
    >>> sdata = blobs()  # doctest: +SKIP
    >>> stats = ("count", "mean", "max")
    >>> table = aggregate(sdata, "blobs_image", "blobs_labels", "intensities", stats)  # doctest: +SKIP
    >>> list(table.layers), list(table.obs), list(table.obsm)  # doctest: +SKIP
    (['max'], ['instance_id', 'count', 'region'], ['spatial'])
    """
    annotation = Annotation(sdata, table_name, labels_name, instance_key, region_key, overwrite)
    annotation.check_options(options)
    annotation.check_new()
    image, placed = find_elements(sdata, image_name, labels_name, to_coordinate_system, scale, align)
    names = as_names(stats, "statistic")
    result = image.labels.aggregate(placed.mask, names, **options)
    if X is None:
        X = "mean" if "mean" in names else next((name for name in names if name != "count"), "count")
    return annotation.add(placed, result, X)


def quantiles(
    sdata: SpatialData,
    image_name: str,
    labels_name: str,
    table_name: str,
    q: Any = DECILES,
    *,
    key: str = "quantiles",
    to_coordinate_system: str = "global",
    scale: str | None = None,
    instance_key: str = "instance_id",
    region_key: str = "region",
    overwrite: bool = False,
    align: str | None = None,
    **options: Any,
) -> AnnData:
    """Quantiles of the pixels of every label, in ``obsm`` of a table that annotates the labels.

    Parameters
    ----------
    sdata, image_name, labels_name, to_coordinate_system, scale, instance_key, region_key, align
        As in `aggregate`; the two keys and the coordinate system are for a new table.
    table_name : str
        A new table, or one that annotates only these labels.  Its rows stay; labels that are not in the table are left
        out, and rows whose label does not occur are NaN.
    q : float or sequence of float, default 0.1, 0.2, ... 0.9
        As in `InstancesAccessor.quantiles`.
    key : str, default "quantiles"
        The name in ``obsm``.
    overwrite : bool, default False
        Whether to replace this entry of ``obsm``; the table itself is never replaced.
    **options
        ``method``, ``skipna``, ``labels`` and ``background`` of `InstancesAccessor.quantiles`.

    Returns
    -------
    AnnData
        The table; ``obsm[key]`` is a DataFrame with the columns ``{channel}_{quantile}``.

    Raises
    ------
    ValueError
        The table annotates something else, or has this entry already; else as `aggregate`.
    """
    annotation = Annotation(sdata, table_name, labels_name, instance_key, region_key, overwrite)
    annotation.check_options(options)
    annotation.check_extension(obsm=[key])
    image, placed = find_elements(sdata, image_name, labels_name, to_coordinate_system, scale, align)
    found = image.instances.quantiles(placed.mask, q, **annotation.only_its_labels(placed.mask, options))
    return annotation.extend(placed, found.to_dataset(name=key))


def featurize(
    sdata: SpatialData,
    image_name: str | None,
    labels_name: str,
    table_name: str,
    model: Callable[..., Any],
    *,
    size: Size,
    n_features: int,
    key: str = "features",
    to_coordinate_system: str = "global",
    scale: str | None = None,
    instance_key: str = "instance_id",
    region_key: str = "region",
    overwrite: bool = False,
    align: str | None = None,
    **options: Any,
) -> AnnData:
    """Features of the window of every label, in ``obsm`` of a table that annotates the labels.

    Parameters
    ----------
    sdata, labels_name, to_coordinate_system, scale, instance_key, region_key, align
        As in `quantiles`.
    image_name : str or None
        An image element, or None to give the model windows of the labels.
    table_name, overwrite
        As in `quantiles`.
    model, size, n_features
        As in `InstancesAccessor.featurize`; sizes are in pixels of the scale.
    key : str, default "features"
        The name in ``obsm``.
    **options
        ``labels``, ``remove_background``, ``model_kwargs``, ``batch_size`` and ``dtype`` of
        `InstancesAccessor.featurize`.

    Returns
    -------
    AnnData
        The table; ``obsm[key]`` is an array ``(label, feature)``.

    Raises
    ------
    ValueError
        As `quantiles` and `InstancesAccessor.featurize`.
    """
    annotation = Annotation(sdata, table_name, labels_name, instance_key, region_key, overwrite)
    annotation.check_options(options)
    annotation.check_extension(obsm=[key])
    image, placed = find_elements(sdata, image_name, labels_name, to_coordinate_system, scale, align)
    options = annotation.only_its_labels(placed.mask, {"size": size, "n_features": n_features, **options})
    if image is None:
        found = placed.mask.instances.featurize(model, **options)
    else:
        found = image.instances.featurize(placed.mask, model, **options)
    # Lazy features come in the order of blocks; in memory they are sorted without a shuffle of blocks.
    return annotation.extend(placed, compute(found).sortby(LABEL).to_dataset(name=key))


def measure(
    sdata: SpatialData,
    image_name: str | None,
    labels_name: str,
    table_name: str,
    measures: Any,
    *,
    to_coordinate_system: str = "global",
    scale: str | None = None,
    instance_key: str = "instance_id",
    region_key: str = "region",
    overwrite: bool = False,
    align: str | None = None,
    **options: Any,
) -> AnnData:
    """Measure every label, into columns of ``obs`` of a table that annotates the labels.

    Parameters
    ----------
    sdata, labels_name, to_coordinate_system, scale, instance_key, region_key, align
        As in `quantiles`.
    image_name : str or None
        An image element, or None for measures that need only labels.
    table_name : str
        As in `quantiles`.
    measures : str, tuple, `Measure`, or sequence of these
        As for `LabelsAccessor.measure`: ``("mean", "p95", "area", "solidity")``; `xlabelstats.measures` lists them.
    overwrite : bool, default False
        Whether to replace columns of ``obs`` that have these names; the table is never replaced.
    **options
        ``labels``, ``background``, ``skipna``, ``ddof`` and ``spacing`` of `LabelsAccessor.measure`.  Without a
        spacing lengths and positions are in pixels of the scale.

    Returns
    -------
    AnnData
        The table, with the columns that `LabelsDatasetAccessor.to_dataframe` makes: ``area``, ``mean_DAPI``,
        ``bbox_min_y``; characters that SpatialData does not allow are replaced by ``_``.

    Raises
    ------
    ValueError
        A measure does not exist, or the table has such a column already; else as `quantiles`.

    Examples
    --------
    >>> from spatialdata.datasets import blobs  # doctest: +SKIP
    >>> from xlabelstats.spatialdata import measure
    >>> sdata = blobs()  # doctest: +SKIP
    >>> table = measure(sdata, "blobs_image", "blobs_labels", "cells", ("mean", "p95", "area"))  # doctest: +SKIP
    """
    names = list(as_measures(measures))
    annotation = Annotation(sdata, table_name, labels_name, instance_key, region_key, overwrite)
    annotation.check_options(options)
    annotation.check_extension(obs=names)
    image, placed = find_elements(sdata, image_name, labels_name, to_coordinate_system, scale, align)
    options = annotation.only_its_labels(placed.mask, options)
    subject, first = (placed.mask, measures) if image is None else (image, placed.mask)
    table = subject.labels.measure(first, None if image is None else measures, **options).labels.to_dataframe()
    return annotation.extend(placed, table.to_xarray())


def regionprops(
    sdata: SpatialData,
    image_name: str | None,
    labels_name: str,
    table_name: str,
    properties: str | Iterable[str] = SHAPES,
    *,
    to_coordinate_system: str = "global",
    scale: str | None = None,
    instance_key: str = "instance_id",
    region_key: str = "region",
    overwrite: bool = False,
    align: str | None = None,
    **options: Any,
) -> AnnData:
    """Region properties of every label, in ``obs`` of a table that annotates the labels.

    Parameters
    ----------
    sdata, labels_name, to_coordinate_system, scale, instance_key, region_key, align
        As in `quantiles`.
    image_name : str or None
        An image element, or None for properties that need only labels.
    table_name : str
        As in `quantiles`.
    properties : str or iterable of str
        Any of those of `LabelsAccessor.regionprops` and of `InstancesAccessor.regionprops`, together.
    overwrite : bool, default False
        Whether to replace columns of ``obs`` that have these names; the table is never replaced.
    **options
        ``spacing``, ``labels`` and ``background`` of `LabelsAccessor.regionprops`.  Without a spacing lengths and
        positions are in pixels of the scale.

    Returns
    -------
    AnnData
        The table, with the columns that `LabelsDatasetAccessor.to_dataframe` makes: ``area``, ``bbox_min_y``,
        ``intensity_mean_DAPI``; characters that SpatialData does not allow are replaced by ``_``.

    Raises
    ------
    ValueError
        A property does not exist, or the table has such a column already; else as `quantiles`.
    """
    names = as_names(properties, "region property")
    check_measures(names, PROPERTIES | OBJECT_PROPERTIES | FURTHER_PROPERTIES, "region property")
    return measure(
        sdata,
        image_name,
        labels_name,
        table_name,
        names,
        to_coordinate_system=to_coordinate_system,
        scale=scale,
        instance_key=instance_key,
        region_key=region_key,
        overwrite=overwrite,
        align=align,
        **options,
    )
