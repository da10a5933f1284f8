"""Moments of pixel position, plain or weighted by an image: collected per block, moved and merged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xlabelstats.blocks import Rows
from xlabelstats.kernels import kernels_for
from xlabelstats.runs import Array, find_runs, no_pixels, pixels_of, rows_of, union


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

    low: Array
    high: Array
    moments: Array

    @property
    def origin(self) -> Array:
        """The middle pixel of the bounding box: powers up to 9 of position are smallest from there."""
        return (self.low + self.high) // 2


POWERS = 4


def moments_block(
    mask: Array,
    offset: Sequence[int],
    image: Array | None = None,
    *,
    background: bool,
    only: np.ndarray | None = None,
) -> MomentTable:
    """The moments of one block whose first pixel lies at ``offset``; image is (*other, *shape of the mask)."""
    kernels = kernels_for(mask)
    xp = kernels.xp
    runs = find_runs(mask, background=background, only=only)
    n, ndim = runs.ids.size, mask.ndim
    shape = np.array(mask.shape, np.int64)
    pixels = no_pixels(mask) if image is None else pixels_of(image, mask.shape)
    channels = 1 if image is None else len(pixels)
    low, high = xp.full((n, ndim), np.iinfo(np.int64).max), xp.zeros((n, ndim), np.int64)
    kernels.boxes(runs.codes, runs.starts, runs.lengths, shape, low, high)
    out = xp.zeros((n, channels, POWERS**ndim))
    kernels.position_moments(pixels, runs.codes, runs.starts, runs.lengths, shape, (low + high) // 2, POWERS, out)
    start = xp.asarray(offset, np.int64)
    return MomentTable(runs.ids, runs.count, low + start, high + start, out.reshape(n, channels, *(POWERS,) * ndim))


def merge_moments(tables: Sequence[MomentTable], ids: Array | None = None) -> MomentTable:
    """Merge the tables of several blocks, with a row for each of the sorted ``ids`` if they are given."""
    xp = kernels_for(tables[0].ids).xp
    if len(tables) == 1 and (ids is None or xp.array_equal(ids, tables[0].ids)):
        return tables[0]
    if ids is None:
        ids = union([table.ids for table in tables])
    low, high = (xp.zeros((ids.size, tables[0].low.shape[1]), np.int64) for _ in range(2))
    moments = xp.zeros((ids.size, *tables[0].moments.shape[1:]))
    merged = MomentTable(ids, xp.zeros(ids.size, np.int64), low, high, moments)
    for table in tables:
        rows = rows_of(table.ids, ids)
        again = merged.count[rows] > 0
        new, old = rows[~again], rows[again]
        before = merged.origin[old]
        merged.low[new], merged.high[new] = table.low[~again], table.high[~again]
        merged.low[old] = xp.minimum(merged.low[old], table.low[again])
        merged.high[old] = xp.maximum(merged.high[old], table.high[again])
        after = merged.origin[old]
        merged.moments[new] = table.moments[~again]
        # Weights may be infinite, or their moments too large.
        with np.errstate(invalid="ignore", over="ignore"):
            merged.moments[old] = shift(merged.moments[old], before - after)
            merged.moments[old] += shift(table.moments[again], table.origin[again] - after)
        merged.count[rows] += table.count
    return merged


def shift(moments: Array, delta: Array) -> Array:
    """Moments (label, channel, power, ...) of positions to which ``delta`` was added.

    ``delta`` is (label, axis), or (label, channel, axis).  By the binomial theorem, one axis after
    another: the new moment p is the sum over k of C(p, k) * delta**(p - k) times the old moment k.
    """
    xp = kernels_for(moments).xp
    delta = delta.astype(np.float64)
    if delta.ndim == 2:
        delta = delta[:, None]
    for axis in range(delta.shape[-1]):
        d = delta[..., axis]
        matrix = xp.zeros((*d.shape, POWERS, POWERS))
        for p in range(POWERS):
            for k in range(p + 1):
                matrix[..., p, k] = math.comb(p, k) * d ** (p - k)
        turned = xp.moveaxis(moments, 2 + axis, 2)
        flat = turned.reshape(*turned.shape[:3], math.prod(turned.shape[3:]))
        moments = xp.moveaxis((matrix @ flat).reshape(turned.shape), 2, 2 + axis)
    return moments
