"""Moments of pixel position, plain or weighted by an image: collected per block, moved and merged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xlabelstats.blocks import Rows
from xlabelstats.runs import find_runs, pixels_of, read_only, rows_of, union


@dataclass(frozen=True)
class MomentTable(Rows):
    """Labels and the moments of their pixels' positions.

    Attributes
    ----------
    low, high : array (label, axis) of int64
        Bounding box, half-open.
    moments : array (label, channel, power of axis 0, power of axis 1, ...)
        Sums over the pixels of weight times the powers 0 to 3 of position, in pixels from ``origin``.
        One channel of weight 1 without an image.
    """

    low: np.ndarray
    high: np.ndarray
    moments: np.ndarray

    @property
    def origin(self) -> np.ndarray:
        """The middle pixel of the bounding box: powers up to 9 of position are smallest from there."""
        return (self.low + self.high) // 2


POWERS = 4

# What the kernels get for an image when every pixel weighs 1.
NO_WEIGHTS = read_only(np.empty((0, 0)))


def moments_block(
    mask: np.ndarray,
    offset: Sequence[int],
    image: np.ndarray | None = None,
    *,
    background: bool,
    only: np.ndarray | None = None,
) -> MomentTable:
    """The moments of one block whose first pixel lies at ``offset``; image is (*other, *shape of the mask)."""
    from xlabelstats.kernels import cpu

    runs = find_runs(mask, background=background, only=only)
    n, ndim = runs.ids.size, mask.ndim
    shape = np.array(mask.shape, np.int64)
    pixels = NO_WEIGHTS if image is None else pixels_of(image, mask.shape)
    channels = 1 if image is None else len(pixels)
    box = np.full((2, ndim, n), np.iinfo(np.int64).max)
    box[1] = 0
    if n:
        for axis, position in enumerate(np.unravel_index(runs.starts, mask.shape)):
            np.minimum.at(box[0, axis], runs.codes, position)
            np.maximum.at(box[1, axis], runs.codes, position + (runs.lengths if axis == ndim - 1 else 1))
    low, high = np.ascontiguousarray(box.transpose(0, 2, 1))
    out = np.zeros((n, channels, POWERS**ndim))
    cpu.position_moments(pixels, runs.codes, runs.starts, runs.lengths, shape, (low + high) // 2, POWERS, out)
    start = np.asarray(offset, np.int64)
    return MomentTable(runs.ids, runs.count, low + start, high + start, out.reshape(n, channels, *(POWERS,) * ndim))


def merge_moments(tables: Sequence[MomentTable], ids: np.ndarray | None = None) -> MomentTable:
    """Merge the tables of several blocks, with a row for each of the sorted ``ids`` if they are given."""
    if len(tables) == 1 and (ids is None or np.array_equal(ids, tables[0].ids)):
        return tables[0]
    if ids is None:
        ids = union([table.ids for table in tables])
    low, high = (np.zeros((ids.size, tables[0].low.shape[1]), np.int64) for _ in range(2))
    moments = np.zeros((ids.size, *tables[0].moments.shape[1:]))
    merged = MomentTable(ids, np.zeros(ids.size, np.int64), low, high, moments)
    for table in tables:
        rows = rows_of(table.ids, ids)
        again = merged.count[rows] > 0
        new, old = rows[~again], rows[again]
        before = merged.origin[old]
        merged.low[new], merged.high[new] = table.low[~again], table.high[~again]
        merged.low[old] = np.minimum(merged.low[old], table.low[again])
        merged.high[old] = np.maximum(merged.high[old], table.high[again])
        after = merged.origin[old]
        merged.moments[new] = table.moments[~again]
        # Weights may be infinite, or their moments too large.
        with np.errstate(invalid="ignore", over="ignore"):
            merged.moments[old] = shift(merged.moments[old], before - after)
            merged.moments[old] += shift(table.moments[again], table.origin[again] - after)
        merged.count[rows] += table.count
    return merged


def shift(moments: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Moments (label, channel, power, ...) of positions to which ``delta`` was added.

    ``delta`` is (label, axis), or (label, channel, axis).  By the binomial theorem, one axis after
    another: the new moment p is the sum over k of C(p, k) * delta**(p - k) times the old moment k.
    """
    delta = delta.astype(np.float64)
    if delta.ndim == 2:
        delta = delta[:, None]
    for axis in range(delta.shape[-1]):
        d = delta[..., axis]
        matrix = np.zeros((*d.shape, POWERS, POWERS))
        for p in range(POWERS):
            for k in range(p + 1):
                matrix[..., p, k] = math.comb(p, k) * d ** (p - k)
        turned = np.moveaxis(moments, 2 + axis, 2)
        flat = turned.reshape(*turned.shape[:3], math.prod(turned.shape[3:]))
        moments = np.moveaxis((matrix @ flat).reshape(turned.shape), 2, 2 + axis)
    return moments
