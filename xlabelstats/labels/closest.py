"""The two labels whose centroids are the closest to that of each label, and the angle between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.inputs import check_mask, check_on_host
from xlabelstats.labels.mask_scan import label_table
from xlabelstats.labels.selection import named_labels
from xlabelstats.names import LABEL

# Distances that differ by no more than this part of them are equal, as they would be but for rounding.
EQUAL = 1e-12

# Candidates of so many pairs are compared at a time.
PAIRS = 2**20

ABOUT = {
    "first_closest_label": (
        "closest label",
        "label whose centroid is the closest to the object's, the smaller of two equally far; 0 if there is none",
    ),
    "first_closest_distance": ("distance to the closest label", "distance in pixels between the two centroids"),
    "second_closest_label": (
        "second closest label",
        "label whose centroid is the second closest to the object's, the smaller of two equally far; 0 if there is "
        "none",
    ),
    "second_closest_distance": (
        "distance to the second closest label",
        "distance in pixels between the two centroids",
    ),
    "neighbor_angle": (
        "angle between the closest labels",
        "angle at the object's centroid between those of the first and the second closest label, from 0 to 180; NaN "
        "where one of them equals the object's own",
    ),
}

UNITS = {"first_closest_distance": "pixel", "second_closest_distance": "pixel", "neighbor_angle": "degree"}


def closest(mask: xr.DataArray, *, labels: Any = None, background: bool = False) -> xr.Dataset:
    """The two closest labels of each, from the centroids in pixels of all labels but 0; a dask mask is scanned now.

    ``labels`` are the rows of the result alone.  Label 0 has a row with ``background``, and is close to none.
    """
    check_on_host("the closest labels", mask=mask)
    mask = check_mask(mask)
    selection = named_labels(mask, labels)
    table = label_table(mask, background=background if selection is None else selection.background).on_host()
    values = _nearest_two(table.ids, *table.exact_centroid)
    rows = table.ids
    if selection is not None:
        rows = selection.labels
        place = np.searchsorted(table.ids.astype(rows.dtype), rows)
        place = np.minimum(place, max(table.ids.size - 1, 0))
        held = table.ids[place].astype(rows.dtype) == rows if table.ids.size else np.zeros(rows.size, bool)
        values = {name: _taken(array, place, held) for name, array in values.items()}
    variables = {}
    for name, (words, definition) in ABOUT.items():
        units = {"units": UNITS[name]} if name in UNITS else {}
        variables[name] = (LABEL, values[name], {"long_name": words, "description": definition, **units})
    return xr.Dataset(variables, {LABEL: rows})


def with_closest(result: xr.Dataset, mask: xr.DataArray) -> xr.Dataset:
    """A result of measures of a mask with the closest labels of its rows beside them, in the same chunks."""
    further = closest(mask, labels=result[LABEL].values)
    chunks = {dim: sizes for dim, sizes in result.chunksizes.items() if dim == LABEL}
    further = further.chunk(chunks) if chunks else further
    return result.assign({name: further[name].variable for name in further})


def _taken(array: np.ndarray, place: np.ndarray, held: np.ndarray) -> np.ndarray:
    """The rows of an array at some places; where it has none NaN, or 0 of labels."""
    taken = np.full(place.size, np.nan if array.dtype.kind == "f" else 0, array.dtype)
    taken[held] = array[place[held]]
    return taken


def _nearest_two(ids: np.ndarray, whole: np.ndarray, beyond: np.ndarray) -> dict[str, np.ndarray]:
    """The variables of all labels, whose centroids are ``whole`` pixels (label, axis) and ``beyond`` parts of one.

    Differences are those of the two apart, so that they are the same wherever the mask lies in a larger one.
    """
    n = ids.size
    nearest, shortest = np.full((n, 2), n), np.full((n, 2), np.nan)
    others = np.flatnonzero(ids != 0)
    if others.size:
        from scipy.spatial import cKDTree

        places = whole - whole.min(axis=0) + beyond
        tree = cKDTree(places[others])
        # How much further the tree may have gone wrong.
        slack = 1e-9 * (1 + float(places.max()))
        rows, k = np.arange(n), 8
        while rows.size:
            k = min(k, others.size)
            left = []
            for some in np.array_split(rows, -(-rows.size * k // PAIRS)):
                distances, found = tree.query(places[some], k=np.arange(1, k + 1))
                nearest[some], shortest[some] = _first_two(some, others[found], whole, beyond)
                with np.errstate(invalid="ignore"):
                    complete = distances[:, -1] > shortest[some, 1] * (1 + 1e-9) + slack
                left.append(some[~complete] if k < others.size else some[:0])
            rows, k = np.concatenate(left), 4 * k
    labels = np.append(ids, ids.dtype.type(0))[nearest]
    return {
        "first_closest_label": labels[:, 0],
        "first_closest_distance": shortest[:, 0],
        "second_closest_label": labels[:, 1],
        "second_closest_distance": shortest[:, 1],
        "neighbor_angle": _angles(nearest, whole, beyond),
    }


def _first_two(
    rows: np.ndarray, candidates: np.ndarray, whole: np.ndarray, beyond: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of candidates (row, candidate) the two nearest to each row but itself, and how far; no label and NaN for none."""
    squares = _total(_steps(rows[:, None], candidates, whole, beyond) ** 2)
    squares[candidates == rows[:, None]] = np.inf
    nearest, shortest = np.empty((2, rows.size), np.int64), np.empty((2, rows.size))
    for i in range(2):
        least = squares.min(axis=1)
        # Labels are sorted, so the smaller of two stands before.
        tied = (squares <= least[:, None] * (1 + EQUAL)) & np.isfinite(squares)
        nearest[i] = np.where(tied, candidates, len(whole)).min(axis=1)
        shortest[i] = np.where(np.isfinite(least), np.sqrt(least), np.nan)
        squares[candidates == nearest[i][:, None]] = np.inf
    return nearest.T, shortest.T


def _steps(rows: np.ndarray, others: np.ndarray, whole: np.ndarray, beyond: np.ndarray) -> np.ndarray:
    """The steps (..., axis) from centroids to others."""
    return (whole[others] - whole[rows]) + (beyond[others] - beyond[rows])


def _total(products: np.ndarray) -> np.ndarray:
    """The sum over the axes, the same whatever their order."""
    return np.sort(products, axis=-1).sum(axis=-1)


def _angles(nearest: np.ndarray, whole: np.ndarray, beyond: np.ndarray) -> np.ndarray:
    """The angles in degrees at centroids between those of two others, NaN where there are not two apart from it."""
    n = len(whole)
    rows = np.flatnonzero((nearest < n).all(axis=1))
    first, second = (_steps(rows, nearest[rows, i], whole, beyond) for i in range(2))
    lengths = np.sqrt(_total(first**2) * _total(second**2))
    angles = np.full(n, np.nan)
    with np.errstate(invalid="ignore"):
        angles[rows] = np.degrees(np.arccos(np.clip(_total(first * second) / lengths, -1, 1)))
    return angles
