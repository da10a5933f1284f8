"""Centres of mass: sums of the coordinates of every label's pixels, plain or weighted by an image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from xlabelstats.catalogue.measure import Measure
from xlabelstats.engine.reduction import Block, Columns, Context, Reduction, add
from xlabelstats.engine.runs import Array, no_pixels, pixels_of
from xlabelstats.kernels import kernels_for

# Whole numbers below this one are exact in float64, and larger ones are added up as multiples of a part and the rest.
WHOLE, PART = 2**53, 2**17


@dataclass(frozen=True, eq=False)
class CoordinateSums(Reduction):
    """The coordinates of every label's pixels, added up.

    Columns: ``sums`` (label, channel, 1 + axis), the weight and the weighted coordinates, counted from the middle of
    each axis; ``indices`` (label, axis) of int64, along axes without coordinates the sum of the pixels' numbers, which
    is exact.

    Attributes
    ----------
    coords : array (axis, position)
        The coordinates of the whole mask from the middle of each axis, padded to the longest.
    middle : array (axis,)
        The coordinates in the middle.
    exact : array (axis,) of bool
        Where the positions are the pixels' numbers, and every pixel weighs 1.
    """

    coords: np.ndarray
    middle: np.ndarray
    exact: np.ndarray

    on_grid = False

    def of(self, needs: tuple[Any, ...], context: Context) -> CoordinateSums:  # type: ignore[override]
        """Itself: it is made for one mask."""
        return self

    def collect(self, block: Block) -> Columns:
        """Add up the coordinates of the pixels of a block's runs."""
        xp, ndim, n = kernels_for(block.ids).xp, len(block.shape), block.ids.size
        here = np.zeros((ndim, max(block.shape)))
        places = zip(here, self.coords, block.offset, block.shape, self.exact, strict=True)
        for row, values, start, size, numbers in places:
            row[:size] = np.arange(size) if numbers else values[start : start + size]
        # float64 holds whole numbers up to 2**53; where sums could be larger, the numbers are added up in two parts.
        large = math.prod(block.shape) * here.shape[1] >= WHOLE
        high = np.where(self.exact[:, None] & large, here // PART, 0.0)
        sums = self._sums(block, here - PART * high)
        indices = xp.zeros((n, ndim), np.int64)
        if self.exact.any():
            numbered = xp.asarray(self.exact)
            indices += xp.where(numbered, sums[:, 0, 1:], 0).astype(np.int64)
            indices += block.count[:, None] * xp.where(numbered, xp.asarray(block.offset, np.int64), 0)
        if high.any():
            indices += PART * self._sums(block, high)[:, 0, 1:].astype(np.int64)
        return sums, indices

    def _sums(self, block: Block, positions: np.ndarray) -> Array:
        """The weight and weighted positions (label, channel, 1 + axis)."""
        kernels = kernels_for(block.ids)
        pixels = pixels_of(block.image, block.shape) if self.reads_image else no_pixels(block.ids)
        channels = len(pixels) if self.reads_image else 1
        sums = kernels.xp.zeros((block.ids.size, channels, 1 + len(block.shape)))
        kernels.coordinate_sums(pixels, block.runs, kernels.xp.asarray(positions), sums)
        return sums

    def fold(self, rows: Array, before: Array, count: Array, columns: Columns, into: Columns) -> None:
        """Add the sums of the same label."""
        with np.errstate(invalid="ignore", over="ignore"):
            add(rows, columns, into)

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> Array:
        """The mean coordinates (label, channel, axis)."""
        sums, indices = columns
        mean = kernels_for(ids).xp.asarray(self.middle) + sums[..., 1:] / sums[..., :1]
        for axis in np.flatnonzero(self.exact):
            mean[:, 0, axis] = _quotients(indices[:, axis], count)
        return mean


class WeightedCoordinateSums(CoordinateSums):
    """The same, every pixel weighted by the image."""

    reads_image = True


def _quotients(totals: Array, counts: Array) -> Array:
    """Whole numbers divided by others, each correctly rounded."""
    quotients = totals / counts
    for row in kernels_for(totals).xp.flatnonzero(totals >= WHOLE).tolist():
        # Python rounds the quotient of integers of any size once.
        quotients[row] = int(totals[row]) / int(counts[row])
    return quotients


def center_of_mass(shape: tuple[int, ...], along: list[np.ndarray | None], weighted: bool) -> Measure:
    """The measure of mean position, from the coordinates along every axis of a mask, None for the pixels' numbers."""
    positions = [np.arange(n, dtype=np.float64) if p is None else p for n, p in zip(shape, along, strict=True)]
    # Positions are summed from the middle of each axis, so that a far origin costs no precision.
    middle = np.array([p[p.size // 2] if p.size else 0.0 for p in positions])
    coords = np.zeros((len(positions), max(shape)))
    for row, position, centre in zip(coords, positions, middle, strict=True):
        row[: position.size] = position - centre
    kind = WeightedCoordinateSums if weighted else CoordinateSums
    reduction = kind(coords, middle, np.array([not weighted and values is None for values in along]))
    definition = "mean position, weighted by the image" if weighted else "mean position"
    return Measure("center_of_mass", definition, lambda mean: mean, reduction, dims=("axis",))
