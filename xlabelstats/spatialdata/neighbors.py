"""Neighbors of the labels of a SpatialData object, in the table that annotates them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from xlabelstats.labels.neighbors import neighbors as neighbors_of
from xlabelstats.names import LABEL, check_known
from xlabelstats.neighbor_graph import CONNECTIVITIES, DISTANCES, graph_of
from xlabelstats.spatialdata.elements import SAME, Annotation, PlacedMask, find_elements

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData


def neighbors(
    sdata: SpatialData,
    labels_name: str,
    table_name: str,
    distance: float,
    between: str = "edges",
    *,
    to_coordinate_system: str = "global",
    scale: str | None = None,
    overwrite: bool = False,
) -> AnnData:
    """Find the labels that lie near each other, and add their graph to the table that annotates them.

    Parameters
    ----------
    sdata : SpatialData
        The object that holds the labels and the table.
    labels_name : str
        A labels element, 2-D or 3-D, of one scale or several.
    table_name : str
        A table that annotates these labels and no others, as `measure` makes it.
    distance, between
        As in `LabelsAccessor.neighbors`; ``distance`` is in units of the coordinate system.
    to_coordinate_system : str, default "global"
        The coordinate system in which distances are measured.
    scale : str, optional
        The scale of multiscale labels, such as ``"scale1"``; by default the finest.
    overwrite : bool, default False
        Whether to replace a graph that the table has.

    Returns
    -------
    AnnData
        The table, which is ``sdata[table_name]``, with ``obsp["spatial_connectivities"]``,
        ``obsp["spatial_distances"]`` and ``uns["spatial_neighbors"]`` as `LabelsDatasetAccessor.to_anndata` has them.
        Nothing is written: ``sdata.write_element(table_name)`` does.

    Warns
    -----
    UserWarning
        Some neighbors are not in the table; their pairs are left out.

    Raises
    ------
    ValueError
        There is no such element, coordinate system or table; the table annotates something else, or has a graph
        already; the transformation shears the labels, so that pixels are not rectangles; else as
        `LabelsAccessor.neighbors`.

    Examples
    --------
    >>> from spatialdata.datasets import blobs  # doctest: +SKIP
    >>> from xlabelstats.spatialdata import measure, neighbors
    >>> sdata = blobs()  # doctest: +SKIP
    >>> table = measure(sdata, "blobs_image", "blobs_labels", "cells", ("mean", "area"))  # doctest: +SKIP
    >>> neighbors(sdata, "blobs_labels", "cells", 10).obsp["spatial_distances"].shape  # doctest: +SKIP
    (26, 26)
    """
    annotation = Annotation(sdata, table_name, labels_name, "", "", overwrite)
    check_known([labels_name], sdata.labels, "labels element")
    if table_name not in sdata.tables:
        raise ValueError(
            f"there is no table {table_name!r} to add neighbors to; make one first: xlabelstats.spatialdata.measure"
        )
    annotation.check_extension(obsp=[CONNECTIVITIES, DISTANCES])
    _, placed = find_elements(sdata, None, labels_name, to_coordinate_system, scale)
    table = sdata.tables[table_name]
    rows = xr.Dataset(coords={LABEL: annotation.instances(table)})
    graph = graph_of(neighbors_of(_with_coords(placed, labels_name), distance, between), rows)
    for name, matrix in graph.matrices.items():
        table.obsp[name] = matrix
    table.uns.update(graph.description)
    return table


def _with_coords(placed: PlacedMask, labels_name: str) -> xr.DataArray:
    """The labels with coordinates whose distances are those in the coordinate system: it may be turned."""
    linear = placed.affine[:-1, :-1]
    products = linear.T @ linear
    spacing = np.sqrt(products.diagonal())
    off = np.abs(products / np.outer(spacing, spacing) - np.eye(len(spacing))).max()
    if not off <= SAME:
        raise ValueError(
            f"the transformation of the labels {labels_name!r} shears them, so that their pixels are no rectangles in "
            "the coordinate system; choose another to_coordinate_system, or bring them to a grid by "
            "spatialdata.rasterize"
        )
    axes = [axis for axis in ("x", "y", "z") if axis in placed.mask.dims]
    steps = dict(zip(axes, spacing.tolist(), strict=True))
    return placed.mask.assign_coords({axis: step * np.arange(placed.mask.sizes[axis]) for axis, step in steps.items()})
