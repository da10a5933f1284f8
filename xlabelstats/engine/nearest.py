"""The nearest label, or the nearest edge, of every pixel of a block of a mask, with the pixels around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from xlabelstats.engine.local import map_locally, stretches
from xlabelstats.engine.runs import NOT_AS_DECLARED, Surroundings
from xlabelstats.engine.surroundings import map_surroundings
from xlabelstats.inputs import is_dask
from xlabelstats.kernels import kernels_for

# The squared distances of 0, 1, 2, ... pixels along every axis.
Steps = Sequence[np.ndarray]


def map_near(function: Callable[..., Any], mask: Any, halo: Sequence[int], dtype: Any) -> Any:
    """An array of what ``function(block, surroundings)`` gives for the pixels of a numpy or dask mask."""
    if is_dask(mask):
        return map_surroundings(function, mask, halo, np.empty((0,) * mask.ndim, dtype))
    result = np.empty(mask.shape, dtype)
    size = mask.shape[0]
    edges = np.linspace(0, size, min(len(stretches(mask.shape)), max(size, 1)) + 1).astype(int).tolist()

    def fill(piece: tuple[int, int]) -> None:
        low = max(piece[0] - halo[0], 0)
        around = Surroundings(mask[low : piece[1] + halo[0]], (piece[0] - low, *(0,) * (mask.ndim - 1)))
        result[slice(*piece)] = function(mask[slice(*piece)], around)

    map_locally(fill, [(a, b) for a, b in pairwise(edges) if b > a or size == 0])
    return result


def grown(block: Any, around: Surroundings, *, steps: Steps, far: Any, dtype: np.dtype) -> np.ndarray:
    """The block with the nearest label at every pixel of background; of two as near the smaller."""
    if not around.area.any():
        return np.zeros(block.shape, dtype)
    area = _comparable(around.area)
    return _nearest(area, block.shape, around.start, steps, far, how_far=False).astype(dtype, copy=False)


def distances(block: Any, around: Surroundings, *, steps: Steps, far: Any, scale: float) -> np.ndarray:
    """How far the nearest label is from every pixel of the block, in the smallest spacing; NaN if beyond reach.

    Rounded to a 2**28th of the greatest, so that sums are exact and the same in any order.
    """
    _check_integers(around.area)
    if not around.area.any():
        return np.full(block.shape, np.nan)
    area = (around.area != 0).view(np.int8)
    squares = _nearest(area, block.shape, around.start, steps, far, how_far=True).astype(np.float64, copy=False)
    squares[squares >= far] = np.nan
    squares /= scale
    fraction = 2.0 ** (28 - math.ceil(math.log2(max(math.sqrt(float(far) / scale), 1.0))))
    values = np.sqrt(squares, out=squares)
    values *= fraction
    return np.rint(values, out=values) / fraction


def shrunk(block: Any, around: Surroundings, *, steps: Steps, far: Any, dtype: np.dtype) -> np.ndarray:
    """The block without the pixels that have one with another value within reach."""
    if not block.any():
        return np.zeros(block.shape, dtype)
    from xlabelstats.kernels.cpu_distances import edge_across, edge_in_lines

    read_only = kernels_for(block).read_only
    # Only asked whether they are equal, so one compiled loop serves signed and unsigned masks.
    area = _comparable(around.area)
    area = area.view(f"i{area.itemsize}")
    last, start, shape = block.ndim - 1, around.start, block.shape
    squares = np.empty((*area.shape[:-1], shape[last]), steps[last].dtype)
    if squares.size:
        lines = area.reshape(-1, area.shape[last])
        edge_in_lines(read_only(lines), start[last], steps[last], far, squares.reshape(len(lines), -1))
    area = area[..., start[last] : start[last] + shape[last]]
    for axis in range(last - 1, -1, -1):
        if steps[axis].size > 1 and squares.size:
            into = np.empty((*squares.shape[:axis], shape[axis], *squares.shape[axis + 1 :]), squares.dtype)
            lines, values, out = (_along(array, axis) for array in (squares, area, into))
            edge_across(read_only(lines), read_only(values), start[axis], steps[axis], out)
            squares = into
            area = area[(*(slice(None),) * axis, slice(start[axis], start[axis] + shape[axis]))]
    return np.where(squares >= far, block, 0).astype(dtype, copy=False)


def _nearest(
    area: np.ndarray, shape: tuple[int, ...], start: tuple[int, ...], steps: Steps, far: Any, *, how_far: bool
) -> np.ndarray:
    """The label of the nearest labelled pixel in an area of every pixel of a block, or its squared distance."""
    from xlabelstats.kernels.cpu_distances import nearest_across, nearest_in_lines

    read_only = kernels_for(area).read_only
    last = len(shape) - 1
    squares = np.empty((*area.shape[:-1], shape[last]), steps[last].dtype)
    labels = np.empty(squares.shape, area.dtype)
    if not squares.size:
        return squares if how_far else labels
    lines = area.reshape(-1, area.shape[last])
    by_line = [array.reshape(len(lines), -1) for array in (squares, labels)]
    nearest_in_lines(read_only(lines), start[last], steps[last], far, *by_line)
    across = [axis for axis in range(last - 1, -1, -1) if steps[axis].size > 1]
    for axis in across:
        box = (*squares.shape[:axis], shape[axis], *squares.shape[axis + 1 :])
        near, nearest = np.empty(box, squares.dtype), np.empty(box, labels.dtype)
        into_squares, into_labels = _along(near, axis), _along(nearest, axis)
        # Of what is not asked for, one line at a time is enough.
        if axis == across[-1] and how_far:
            into_labels = np.empty((1, 1, into_labels.shape[2]), labels.dtype)
        elif axis == across[-1]:
            into_squares = np.empty((1, 1, into_squares.shape[2]), squares.dtype)
        squares, labels = (read_only(_along(array, axis)) for array in (squares, labels))
        nearest_across(squares, labels, start[axis], steps[axis], into_squares, into_labels)
        squares, labels = near, nearest
    return squares if how_far else labels


def _along(array: np.ndarray, axis: int) -> np.ndarray:
    """An array as (outer, line, pixel), the lines being along an axis."""
    return np.ascontiguousarray(array).reshape(math.prod(array.shape[:axis]), array.shape[axis], -1)


def _check_integers(area: Any) -> None:
    """Complain about a block of a dask array that holds no integers, though the array says so."""
    if area.dtype.kind not in "iu":
        raise TypeError(
            f"a block of the mask holds {area.dtype}, but its dask array declares integers; {NOT_AS_DECLARED}"
        )


def _comparable(area: Any) -> np.ndarray:
    """Labels in one of the few dtypes, native and contiguous, that the loops are compiled for, in the same order."""
    _check_integers(area)
    signed, size = area.dtype.kind == "i", area.dtype.itemsize
    dtype = np.int32 if size < 4 or (signed and size == 4) else np.int64 if signed or size == 4 else np.uint64
    return np.ascontiguousarray(area, dtype)
