"""The outlines of the labels of a SpatialData object, as a shapes element."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

from xlabelstats.instances.polygons import polygons as outlines_of
from xlabelstats.names import check_known
from xlabelstats.spatialdata.elements import MIDDLE, array_at, without_coords

if TYPE_CHECKING:
    import geopandas
    from spatialdata import SpatialData


def polygons(
    sdata: SpatialData,
    labels_name: str,
    shapes_name: str,
    tolerance: float = 0,
    *,
    scale: str | None = None,
    labels: Any = None,
    overwrite: bool = False,
) -> geopandas.GeoDataFrame:
    """Outline every label by a polygon, and add the polygons as a shapes element.

    Parameters
    ----------
    sdata : SpatialData
        The object that holds the labels; the shapes are added to it.
    labels_name : str
        A labels element, 2-D, of one scale or several.
    shapes_name : str
        The name of the shapes element.
    tolerance : float, default 0
        About how far outlines may be moved to have fewer points, in pixels; see `InstancesAccessor.polygons`.  0 gives
        the exact outline, which follows the edges of pixels.
    scale : str, optional
        The scale of multiscale labels, such as ``"scale1"``; by default the finest.
    labels : int or sequence of int, optional
        Only these labels, in this order.  A label that does not occur is left out.
    overwrite : bool, default False
        Whether to replace a shapes element of this name.

    Returns
    -------
    GeoDataFrame
        The shapes, which are ``sdata[shapes_name]`` too: a row per label, the labels as index.  They have the
        transformations of the labels.  Nothing is written: ``sdata.write_element(shapes_name)`` does.

    Raises
    ------
    ValueError
        The labels element does not exist, is not 2-D or holds no labels; ``scale`` is given, but it has only one; there
        is an element of this name already.
    ModuleNotFoundError
        rasterio is not installed: ``pip install 'xlabelstats[polygons]'``.

    Notes
    -----
    Tables stay as they are: a table that annotates the labels still annotates them.  To let it annotate the shapes
    instead, set its column ``region`` to ``shapes_name`` and call
    ``sdata.set_table_annotates_spatialelement(table_name, region=shapes_name)``; the instances are the same.

    Examples
    --------
    >>> from spatialdata.datasets import blobs  # doctest: +SKIP
    >>> from xlabelstats.spatialdata import polygons
    >>> sdata = blobs()  # doctest: +SKIP
    >>> outlines = polygons(sdata, "blobs_labels", "blobs_outlines", tolerance=1)  # doctest: +SKIP
    """
    import geopandas
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import get_transformation

    check_known([labels_name], sdata.labels, "labels element")
    _check_free(sdata, shapes_name, overwrite)
    if scale is not None and not isinstance(sdata.labels[labels_name], xr.DataTree):
        raise ValueError(f"scale={scale!r} chooses from several scales, and there is one")
    element = array_at(sdata.labels[labels_name], scale)
    if element.ndim != 2:
        raise ValueError(
            f"the labels element {labels_name!r} is {element.ndim}-D, and polygons are outlines in 2-D; outline a "
            f"plane of it: sdata['plane'] = spatialdata.models.Labels2DModel.parse(sdata[{labels_name!r}].isel(z=0))"
        )
    mask = without_coords(element, tuple(str(dim) for dim in element.dims))
    outlines = outlines_of(mask, tolerance, units="pixel", labels=labels).geometry.dropna()
    if outlines.empty:
        which = "has no labels" if labels is None else "has none of these labels"
        raise ValueError(f"the labels element {labels_name!r} {which}, and a shapes element needs a shape")
    table = geopandas.GeoDataFrame(geometry=outlines.translate(MIDDLE, MIDDLE).rename_axis(None))
    shapes = ShapesModel.parse(table, transformations=dict(get_transformation(element, get_all=True)))
    # Removed first, since SpatialData warns of what is replaced, which was asked for.
    if shapes_name in sdata.shapes:
        del sdata.shapes[shapes_name]
    sdata.shapes[shapes_name] = shapes
    return sdata.shapes[shapes_name]


def _check_free(sdata: SpatialData, name: str, overwrite: bool) -> None:
    """Complain if there cannot be new shapes of this name."""
    from spatialdata import sanitize_name

    if name in sdata.shapes:
        if not overwrite:
            raise ValueError(f"there are shapes {name!r} already; overwrite=True replaces them")
    elif name in sdata:
        raise ValueError(f"{name!r} is an element that is no shapes; choose another shapes_name")
    elif name != sanitize_name(name):
        raise ValueError(f"{name!r} cannot be the name of shapes in SpatialData; {sanitize_name(name)!r} can")
