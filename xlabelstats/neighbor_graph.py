"""Neighbors as a graph over the rows of a table: two sparse matrices, and what squidpy writes about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.cautions import caution
from xlabelstats.names import LABEL, PAIR
from xlabelstats.rows import ids_of, rows_of

# The names under which squidpy looks for them.
CONNECTIVITIES, DISTANCES, DESCRIPTION = "spatial_connectivities", "spatial_distances", "spatial_neighbors"


@dataclass(frozen=True)
class Graph:
    """A graph over the rows of a table.

    Attributes
    ----------
    matrices : dict
        By name a sparse matrix (row, row): 1 for neighbors, and their distances.
    description : dict
        What squidpy writes about a graph.
    """

    matrices: dict[str, Any]
    description: dict[str, Any]


def graph_of(neighbors: xr.Dataset, result: xr.Dataset) -> Graph:
    """The graph of neighbors, as `LabelsAccessor.neighbors` gives them, over the rows of a result."""
    from scipy.sparse import csr_matrix

    first, second, distances = _pairs(neighbors, result)
    rows, columns = np.concatenate([first, second]), np.concatenate([second, first])
    n = result.sizes[LABEL]
    if np.unique(rows * n + columns).size < rows.size:
        raise ValueError("two labels are neighbors twice, or a label is its own neighbor; give each pair once")
    values = {CONNECTIVITIES: np.ones(rows.size, np.float32), DISTANCES: np.concatenate([distances, distances])}
    matrices = {name: csr_matrix((each, (rows, columns)), (n, n)) for name, each in values.items()}
    for matrix in matrices.values():
        matrix.sort_indices()
    within = float(neighbors["distance"].attrs.get("within", distances.max(initial=0)))
    description = {
        "connectivities_key": CONNECTIVITIES,
        "distances_key": DISTANCES,
        "params": {"coord_type": "generic", "radius": within, "transform": None},
    }
    return Graph(matrices, {DESCRIPTION: description})


def _pairs(neighbors: xr.Dataset, result: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows of a result that are neighbors, and their distances."""
    import pandas as pd

    if not isinstance(neighbors, xr.Dataset):
        raise TypeError(
            f"neighbors are a Dataset, as mask.labels.neighbors(distance) gives, not {type(neighbors).__name__}"
        )
    lacking = [name for name in (LABEL, "neighbor", "distance") if name not in neighbors.variables]
    if lacking or any(neighbors[name].dims != (PAIR,) for name in (LABEL, "neighbor", "distance")):
        raise ValueError(
            f"neighbors have 'label', 'neighbor' and 'distance' along the dim {PAIR!r}, as "
            f"mask.labels.neighbors(distance) gives; these have {', '.join(map(str, neighbors.variables)) or 'nothing'}"
        )
    if rows_of(result) != LABEL:
        raise ValueError(
            "neighbors are pairs of labels, and a row of this result is a label at a position, as per= gives it; "
            "measure each position apart: mask.isel(...).labels"
        )
    ids = pd.Index(ids_of(result))
    if not ids.is_unique:
        raise ValueError(
            f"the result has several rows of the label {ids[ids.duplicated()][0]}, and neighbors do not say which of "
            "them is meant; give neighbors to the table of each mask by itself"
        )
    first, second = (ids.get_indexer(neighbors[name].to_numpy()) for name in (LABEL, "neighbor"))
    kept = (first >= 0) & (second >= 0)
    if not kept.all():
        absent = np.concatenate([neighbors[LABEL].to_numpy()[first < 0], neighbors["neighbor"].to_numpy()[second < 0]])
        caution(
            f"neighbors have {np.unique(absent).size} labels that the table lacks, the first is {absent.min()}; "
            f"{np.count_nonzero(~kept)} of {kept.size} pairs are left out. Take the neighbors of a mask that has only "
            "the labels of the table, or choose pairs: neighbors.isel(pair=...)"
        )
    return first[kept], second[kept], neighbors["distance"].to_numpy()[kept].astype(np.float64)
