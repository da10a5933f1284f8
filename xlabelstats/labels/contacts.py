"""The labels of a mask that touch, and in how many faces of pixels, across all borders of blocks."""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.engine.local import map_locally, stretches
from xlabelstats.engine.pair_tables import PairTable, computed_pairs, merge_pairs, pair_table
from xlabelstats.engine.runs import Surroundings, as_bits, labels_of
from xlabelstats.engine.surroundings import map_surroundings
from xlabelstats.grid import grid_of_lengths
from xlabelstats.inputs import at_position, check_is_mask, check_mask, check_on_host, check_pooling, data_of, is_dask
from xlabelstats.labels.pair_rows import pair_rows
from xlabelstats.names import PAIR

# What a face of a pixel measures, by the number of dims.
MEASURES = {2: "length", 3: "area"}

# The distance to a neighbouring pixel along every axis, and the axis that the face between the two lies across.
Step = tuple[tuple[int, ...], int]

# The axis of pixels that meet at an edge or a corner alone.
NO_FACE = -1


def contacts(mask: xr.DataArray, connectivity: int = 1) -> xr.Dataset:
    """The labels that touch; see `LabelsAccessor.contacts`."""
    check_on_host("mask.labels.contacts", mask=mask)
    check_is_mask(mask)
    check_connectivity(connectivity, mask)
    check_pooling(mask, advice=_apart)
    mask = check_mask(mask)
    measure = MEASURES.get(mask.ndim)
    grid = None if measure is None else grid_of_lengths(mask, measure, _apart)
    pairs = _pairs_of(data_of(mask, "mask"), _steps(mask.ndim, connectivity), mask.dtype.newbyteorder("="))
    (faces,) = pairs.columns
    result = pair_rows(pairs.first, pairs.second, "neighbor", ("label", "label that it touches")).assign(
        faces=(PAIR, faces.sum(axis=1), {"long_name": "faces of pixels between the two labels"})
    )
    if grid is None:
        return result
    attrs = {"long_name": f"{measure} of the faces between the two labels", **grid.units_of(mask.ndim - 1)}
    # Sorted, so that the order of dims does not change how the sum is rounded.
    sizes = [math.prod(sorted(np.delete(grid.spacing, axis).tolist())) for axis in range(mask.ndim)]
    return result.assign({str(measure): (PAIR, np.sort(faces * sizes, axis=1).sum(axis=1), attrs)})


def check_connectivity(connectivity: Any, mask: xr.DataArray) -> None:
    """Complain about a ``connectivity`` that a mask of so many dims does not have."""
    if isinstance(connectivity, bool) or not isinstance(connectivity, int | np.integer):
        raise TypeError(f"connectivity is a whole number from 1 to {mask.ndim}, not {connectivity!r}")
    if not 1 <= connectivity <= mask.ndim:
        raise ValueError(
            f"connectivity is a whole number from 1 to {mask.ndim}, the number of dims of the mask, not "
            f"{connectivity}: 1 for labels that share faces of pixels, {mask.ndim} for those that meet at corners too"
        )


def _apart(dim: Any) -> str:
    return f"mask.{at_position(dim)}.labels.contacts()"


def _steps(ndim: int, connectivity: int) -> list[Step]:
    """The steps to half of the neighbours of a pixel, those that come after it, so that each two meet once."""
    steps = []
    for step in itertools.product((-1, 0, 1), repeat=ndim):
        along = np.flatnonzero(step)
        if 0 < along.size <= connectivity and step[along[0]] > 0:
            steps.append((step, int(along[0]) if along.size == 1 else NO_FACE))
    return steps


def _pairs_of(mask: Any, steps: list[Step], dtype: np.dtype) -> PairTable:
    """The pairs of labels of an array that touch, and the faces (pair, axis) between them, counted now."""
    count = partial(_count, steps=steps, dtype=dtype)
    if is_dask(mask):
        return computed_pairs(map_surroundings(count, mask, 1))
    mask = np.ascontiguousarray(mask)
    around = Surroundings(mask, (0,) * mask.ndim)
    return merge_pairs(map_locally(lambda lines: count(mask, around, lines=lines), stretches(mask.shape)))


def _count(
    block: np.ndarray, around: Surroundings, *, steps: list[Step], dtype: np.dtype, lines: slice | None = None
) -> PairTable:
    """The table of a block, or of some of its lines; the pixels after it belong to others."""
    from xlabelstats.kernels.cpu_pairs import PIECE, count_contacts, count_pairs

    area, shape = labels_of(around.area), np.array(block.shape)
    bits = np.dtype(f"u{area.dtype.itemsize}")
    native = area.dtype.newbyteorder("=") if area.size else dtype
    first, end, _ = (lines or slice(None)).indices(math.prod(block.shape[:-1]))
    pieces = (end - first) * math.ceil(block.shape[-1] / PIECE)
    pixels = as_bits(area).reshape(-1, max(area.shape[-1], 1))
    place = np.array(area.shape), np.array(around.start), shape, np.array([first, end])
    keys, sums = [], []
    for step, axis in steps:
        pairs, faces = count_pairs(
            count_contacts, bits, block.ndim, pieces if area.size else 0, pixels, *place, np.array(step), axis
        )
        keys.append(pairs)
        sums.append(faces)
    ones, others = np.concatenate(keys).view(area.dtype.newbyteorder("=")).astype(native).T
    # Negative labels are large as unsigned ones.
    return pair_table(np.minimum(ones, others), np.maximum(ones, others), [np.concatenate(sums)])
