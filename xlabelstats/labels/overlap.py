"""The labels of two masks that share pixels, and the label of one in which most of each label of the other lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import align_masks
from xlabelstats.cautions import one_call
from xlabelstats.engine.local import map_locally, stretches
from xlabelstats.engine.pair_tables import PairTable, computed_pairs, merge_pairs, pair_table, starts_of
from xlabelstats.engine.runs import as_bits, check_shape, labels_of
from xlabelstats.inputs import at_position, check_is_mask, check_mask, check_on_host, check_pooling, is_dask
from xlabelstats.labels.pair_rows import pair_rows
from xlabelstats.names import LABEL, PAIR
from xlabelstats.resampling import resampled


@one_call
def overlap(mask: xr.DataArray, other: xr.DataArray, *, align: str | None = None) -> xr.Dataset:
    """The labels of two masks that share pixels; see `LabelsAccessor.overlap`."""
    pairs, of_first, of_second = _counted(mask, other, "other", align, "mask.{}.labels.overlap(other.{})")
    shared = (pairs.first != 0) & (pairs.second != 0)
    count, one, two = pairs.columns[0][shared], of_first[shared], of_second[shared]
    titles = "label of the mask", "label of the other mask"
    return pair_rows(pairs.first[shared], pairs.second[shared], "other_label", titles).assign(
        {
            "count": (PAIR, count, {"long_name": "pixels in both labels"}),
            "fraction": (PAIR, count / one, {"long_name": "part of the label that lies in the other"}),
            "fraction_other": (PAIR, count / two, {"long_name": "part of the other label that lies in this one"}),
            "iou": (PAIR, count / (one + two - count), {"long_name": "intersection over union"}),
        }
    )


@one_call
def relate(mask: xr.DataArray, parents: xr.DataArray, *, align: str | None = None) -> xr.Dataset:
    """The label of another mask in which most of every label lies; see `LabelsAccessor.relate`."""
    pairs, totals, _ = _counted(mask, parents, "parents", align, "mask.{}.labels.relate(parents.{})")
    rows = pairs.first != 0
    pairs, total = pairs.take(rows), totals[rows]
    # Background covers none of a label, whatever its part.
    covered = np.where(pairs.second != 0, pairs.columns[0], 0)
    # Of every label the rows by what they cover, the most first; of equal ones the smaller parent comes first.
    order = np.lexsort((pairs.second, -covered, pairs.first))
    first = order[starts_of(pairs.first[order])]
    held = covered[first] > 0
    parent = np.where(held, pairs.second[first], pairs.second.dtype.type(0))
    return xr.Dataset(
        {
            "parent": (LABEL, parent, {"long_name": "label of parents that covers most of the label"}),
            "fraction": (LABEL, covered[first] / total[first], {"long_name": "part of the label that lies in it"}),
        },
        coords={LABEL: pairs.first[first]},
    )


def _counted(
    mask: xr.DataArray, other: xr.DataArray, name: str, align: str | None, call: str
) -> tuple[PairTable, np.ndarray, np.ndarray]:
    """The pairs of labels that two masks have at the same pixel, background too, and the pixels of either label."""
    check_on_host(f"mask.labels.{'overlap' if name == 'other' else 'relate'}", **{"mask": mask, name: other})
    check_is_mask(mask)
    check_is_mask(other)
    given = mask, other
    mask, other = check_mask(mask), check_mask(other)
    arrays = align_masks(mask, resampled(mask, other, align, ("mask", name)), name)
    for one, two in (given, given[::-1]):
        check_pooling(one, two, advice=lambda dim: call.format(*(at_position(dim),) * 2))
    dtypes = mask.dtype.newbyteorder("="), other.dtype.newbyteorder("=")
    pairs = _pairs_of(*arrays, dtypes)
    return pairs, _totals(pairs.first, pairs.columns[0]), _totals(pairs.second, pairs.columns[0])


def _pairs_of(mask: Any, other: Any, dtypes: tuple[np.dtype, np.dtype]) -> PairTable:
    """The pairs of two arrays of the same shape, counted now."""
    if not is_dask(mask):
        width = mask.shape[-1]
        flat = [np.ascontiguousarray(array).reshape(-1) for array in (mask, other)]
        pieces = [slice(lines.start * width, lines.stop * width) for lines in stretches(mask.shape)]
        return merge_pairs(map_locally(lambda piece: _count(flat[0][piece], flat[1][piece], dtypes), pieces))

    import dask.array as da

    starts = tuple(np.cumsum((0, *sizes)) for sizes in mask.chunks)
    meta = np.empty((0,) * mask.ndim, object)
    return computed_pairs(da.map_blocks(_count_block, mask, other, starts=starts, dtypes=dtypes, meta=meta))


def _count_block(
    mask: np.ndarray,
    other: np.ndarray,
    *,
    starts: Sequence[np.ndarray],
    dtypes: tuple[np.dtype, np.dtype],
    block_id: tuple[int, ...],
) -> PairTable:
    shape = tuple(int(start[i + 1] - start[i]) for start, i in zip(starts, block_id, strict=True))
    for block in (mask, other):
        check_shape(block.shape, shape)
    return _count(mask, other, dtypes)


def _count(mask: np.ndarray, other: np.ndarray, dtypes: tuple[np.dtype, np.dtype]) -> PairTable:
    """The table of two blocks, or of as many pixels of each."""
    from xlabelstats.kernels.cpu_pairs import PIECE, count_overlaps, count_pairs

    sides = [labels_of(side) for side in (mask, other)]
    # The loop is compiled for two masks of integers of the same size.
    size = max(side.dtype.itemsize for side in sides)
    flat = [np.ascontiguousarray(side, f"{side.dtype.kind}{size}").reshape(-1) for side in sides]
    pieces = math.ceil(flat[0].size / PIECE)
    keys, counts = count_pairs(count_overlaps, f"u{size}", 1, pieces, *map(as_bits, flat))
    first, second = (
        keys[:, i].view(side.dtype).astype(block.dtype.newbyteorder("=") if block.size else dtype)
        for i, (side, block, dtype) in enumerate(zip(flat, sides, dtypes, strict=True))
    )
    return pair_table(first, second, [counts[:, 0]])


def _totals(labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """For every row the sum of the counts of all rows of its label."""
    order = np.argsort(labels, kind="stable")
    starts = starts_of(labels[order])
    totals = np.empty_like(counts)
    if starts.size:
        sums = np.add.reduceat(counts[order], starts)
        totals[order] = np.repeat(sums, np.diff(np.append(starts, labels.size)))
    return totals
