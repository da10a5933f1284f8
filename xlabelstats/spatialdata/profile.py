"""The morphological profile of every label of a SpatialData object."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from xlabelstats.instances.profile import ALL, DEFAULTS, check_options, names_of, plain
from xlabelstats.spatialdata.elements import Annotation, find_elements
from xlabelstats.tables import FEATURES, check_names

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData


def profile(
    sdata: SpatialData,
    image_name: str,
    labels_name: str,
    table_name: str,
    families: str | Iterable[str] = ALL,
    *,
    texture_scale: int | Iterable[int] = DEFAULTS["scale"],
    names: str | None = None,
    compartment: str | None = None,
    to_coordinate_system: str = "global",
    scale: str | None = None,
    instance_key: str = "instance_id",
    region_key: str = "region",
    overwrite: bool = False,
    align: str | None = None,
    **options: Any,
) -> AnnData:
    """Measure what CellProfiler measures of every label, and add a table of it that annotates the labels.

    Parameters
    ----------
    sdata, image_name, labels_name, table_name, to_coordinate_system, scale, instance_key, region_key, overwrite, align
        As in `aggregate`.
    families : str or iterable of str, default "all"
        As in `InstancesAccessor.profile`.
    texture_scale : int or iterable of int, default 3
        The ``scale`` of `InstancesAccessor.profile`: the distance between the pixels that textures compare.  ``scale``
        here is that of multiscale elements.
    names, compartment
        As in `LabelsDatasetAccessor.to_dataframe`: ``names="cellprofiler"`` names features as CellProfiler does.
    **options
        ``levels``, ``range``, ``labels``, ``background``, ``skipna`` and ``batch_size`` of
        `InstancesAccessor.profile`.

    Returns
    -------
    AnnData
        The table, which is ``sdata[table_name]`` too: a row per label, a column of ``var`` per feature, as
        `LabelsDatasetAccessor.to_anndata` makes them with ``X="features"``, and in ``obsm["spatial"]`` the centroids as
        (x, y[, z]).  Lengths and positions among the features are in pixels of the scale.  Nothing is written:
        ``sdata.write_element(table_name)`` does.

    Raises
    ------
    ValueError
        No image is named; there is no such family; else as `aggregate` and `InstancesAccessor.profile`.

    Examples
    --------
    >>> from spatialdata.datasets import blobs  # doctest: +SKIP
    >>> from xlabelstats.spatialdata import profile
    >>> sdata = blobs()  # doctest: +SKIP
    >>> families = ("intensity", "granularity")
    >>> table = profile(sdata, "blobs_image", "blobs_labels", "profiles", families)  # doctest: +SKIP
    >>> table.var["family"].value_counts().to_dict()  # doctest: +SKIP
    {'intensity': 57, 'granularity': 48}
    """
    annotation = Annotation(sdata, table_name, labels_name, instance_key, region_key, overwrite)
    annotation.check_options(options)
    check_names(names, compartment)
    annotation.check_new()
    if image_name is None:
        raise ValueError(
            "a profile is of an image and labels; name an image, or measure the labels alone by "
            "xlabelstats.spatialdata.measure(sdata, None, ...)"
        )
    families, texture_scale = names_of(families), plain(texture_scale)
    check_options(families, {"texture_scale": texture_scale}, {"texture_scale": DEFAULTS["scale"]})
    image, placed = find_elements(sdata, image_name, labels_name, to_coordinate_system, scale, align)
    result = image.instances.profile(placed.mask, families, scale=texture_scale, **options)
    return annotation.add(placed, result, FEATURES, names=names, compartment=compartment)
