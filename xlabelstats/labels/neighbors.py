"""The labels of a mask that lie near each other, between their edges or their centroids, and how far apart they are."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import ROUNDING
from xlabelstats.engine.near_labels import near_labels
from xlabelstats.grid import Grid, grid_of_lengths
from xlabelstats.inputs import at_position, check_is_mask, check_mask, check_on_host, check_pooling, data_of
from xlabelstats.labels.mask_scan import label_table
from xlabelstats.labels.pair_rows import pair_rows
from xlabelstats.labels.reach import check_distance
from xlabelstats.names import PAIR, check_known

# What distances are between, and what that is in words.
BETWEEN = {"edges": "distance of the nearest pixels", "centroids": "distance of the centroids"}


def neighbors(mask: xr.DataArray, distance: float, between: str = "edges") -> xr.Dataset:
    """The labels that lie near each other; see `LabelsAccessor.neighbors`."""
    check_on_host("mask.labels.neighbors", mask=mask)
    within = _checked_distance(distance, between)
    check_is_mask(mask)
    check_known([str(between)], BETWEEN, "value of between")
    check_pooling(mask, advice=_apart)
    mask = check_mask(mask)
    grid = grid_of_lengths(mask, "distance", _apart)
    # As for coordinates, so for their distances: a millionth is rounding.
    limit = within * (1 + ROUNDING)
    if between == "edges":
        first, second, distances = near_labels(data_of(mask, "mask"), grid.spacing, limit)
    else:
        first, second, distances = _near_centroids(mask, grid, limit)
    attrs = {"long_name": BETWEEN[between], "within": within, **grid.units_of(1)}
    rows = pair_rows(first, second, "neighbor", ("label", "label that is near"))
    return rows.assign(distance=(PAIR, distances, attrs))


def _checked_distance(distance: Any, between: str) -> float:
    within = check_distance(distance)
    if between == "edges" and math.isinf(within):
        raise ValueError(
            "distance is infinite, and then every pixel would be compared with all others; give the largest distance "
            "at which objects are neighbors, or take between='centroids', which can be of any distance"
        )
    return within


def _apart(dim: Hashable) -> str:
    return f"mask.{at_position(dim)}.labels.neighbors(...)"


def _near_centroids(mask: xr.DataArray, grid: Grid, limit: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The labels whose centroids are at most ``limit`` apart, and how far."""
    from scipy.spatial import cKDTree

    table = label_table(mask).on_host()
    whole, beyond = table.exact_centroid
    places = (whole + beyond) * grid.spacing
    if math.isinf(limit) or len(places) < 2:
        rows = np.stack(np.triu_indices(len(places), 1), axis=1)
    else:
        # A little further, since the tree rounds in its own way.
        rows = np.sort(cKDTree(places).query_pairs(limit * (1 + ROUNDING), output_type="ndarray"), axis=1)
    # Sorted, so that the order of dims does not change how the sum is rounded.
    squares = np.sort((places[rows[:, 0]] - places[rows[:, 1]]) ** 2, axis=1)
    distances = np.sqrt(squares.sum(axis=1))
    rows, distances = rows[distances <= limit], distances[distances <= limit]
    order = np.lexsort((rows[:, 1], rows[:, 0]))
    first, second = rows[order].T
    return table.ids[first], table.ids[second], distances[order]
