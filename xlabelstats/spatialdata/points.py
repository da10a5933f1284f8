"""Points elements of a SpatialData object counted in its labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from xlabelstats.inputs import check_mask, check_on_host
from xlabelstats.labels.points import Frame, counted, pixel_edges
from xlabelstats.names import check_known
from xlabelstats.spatialdata.elements import MIDDLE, Annotation, affine_of, find_elements

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData


def count_points(
    sdata: SpatialData,
    points: str,
    labels: str,
    table_name: str,
    by: str = "gene",
    *,
    to_coordinate_system: str = "global",
    scale: str | None = None,
    instance_key: str = "instance_id",
    region_key: str = "region",
    overwrite: bool = False,
) -> AnnData:
    """Count the points that lie in every label by gene, and add a table of it that annotates the labels.

    Parameters
    ----------
    sdata : SpatialData
        The object that holds the elements; the table is added to it.
    points, labels : str
        A points element, such as transcripts, and a labels element, 2-D or 3-D, of one scale or several.  For 2-D
        labels the ``z`` of points is ignored.
    table_name : str
        The name of the table.
    by : str, default "gene"
        The column of the points that says what each is.
    to_coordinate_system : str, default "global"
        The coordinate system in which the two are brought together, and that of the centroids.
    scale : str, optional
        The scale of multiscale labels, such as ``"scale1"``; by default the finest.
    instance_key, region_key : str
        The columns of ``obs`` that hold the label ids and the name of the labels element.
    overwrite : bool, default False
        Whether to replace a table of this name.

    Returns
    -------
    AnnData
        The table, which is ``sdata[table_name]`` too: a row per label, a column of ``var`` per gene, the counts in
        ``X`` as a sparse matrix (CSR), and in ``obsm["spatial"]`` the centroids as (x, y[, z]).  The points that were
        not counted are in ``uns["count_points"]``, by the names of `LabelsAccessor.count_points`.  Nothing is written:
        ``sdata.write_element(table_name)`` does.

    Raises
    ------
    ValueError
        An element, a scale, a coordinate system or a column does not exist; the labels are 3-D and the points are not;
        there is such a table already; the labels element holds no labels.
    ModuleNotFoundError
        The package ``sparse`` is not installed (``xlabelstats[points]``).

    Notes
    -----
    Points are transformed to the coordinate system, and from there to the pixels of the labels.  Pixel ``i`` goes from
    ``i`` to ``i + 1``; a point exactly between two pixels, up to rounding, belongs to the one with the smaller index.

    Examples
    --------
    >>> from spatialdata.datasets import blobs  # doctest: +SKIP
    >>> from xlabelstats.spatialdata import count_points
    >>> sdata = blobs()  # doctest: +SKIP
    >>> table = count_points(sdata, "blobs_points", "blobs_labels", "transcripts", by="genes")  # doctest: +SKIP
    """
    annotation = Annotation(sdata, table_name, labels, instance_key, region_key, overwrite)
    annotation.check_new()
    check_known([points], sdata.points, "points element")
    _, placed = find_elements(sdata, None, labels, to_coordinate_system, scale)
    mask = check_mask(placed.mask)
    check_on_host("count_points", labels=mask)
    # Elements are (z,) y, x; transformations are x, y(, z).
    axes = tuple(axis for axis in ("x", "y", "z") if axis in mask.dims)
    frame = Frame(sdata.points[points], tuple(mask.dims), by)
    frame.check("axis {!r} of the labels")
    of_points = affine_of(sdata.points[points], points, to_coordinate_system, axes)
    order = [*(axes.index(str(dim)) for dim in mask.dims), len(axes)]
    affine = (np.linalg.inv(placed.affine) @ of_points)[np.ix_(order, order)][:-1]
    counts = counted(mask, frame, _edges(mask, frame, affine), affine)
    table = annotation.add(placed, counts.to_dataset(name="points"), "points")
    table.uns["count_points"] = {name: value for name, value in counts.attrs.items() if name != "long_name"}
    return table


def _edges(mask: xr.DataArray, frame: Frame, affine: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The edges of the pixels along every dim, for points that an affine matrix brings to pixels."""
    dtypes = [getattr(dtype, "numpy_dtype", dtype) for dtype in map(frame.dtype_of, mask.dims)]
    floats = [np.dtype(np.float64), *(dtype for dtype in dtypes if dtype.kind == "f")]
    # As far from 0 as are the numbers of which the positions of points are sums.
    furthest = np.add(mask.shape, np.abs(affine[:, -1]))
    return [
        pixel_edges(np.arange(size) + MIDDLE, [np.array([far], dtype) for dtype in floats])
        for size, far in zip(mask.shape, furthest, strict=True)
    ]
