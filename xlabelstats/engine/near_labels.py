"""Which labels of a mask lie near each other: the least distance of their pixels, found block by block."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from xlabelstats.engine.local import map_locally, stretches
from xlabelstats.engine.pair_tables import PairTable, computed_pairs, merge_pairs, pair_table
from xlabelstats.engine.runs import Surroundings, find_runs
from xlabelstats.engine.surroundings import map_surroundings
from xlabelstats.inputs import is_dask
from xlabelstats.kernels.cpu_neighbors import (
    Outlines,
    boundary_pixels,
    neighbors_by_boxes,
    neighbors_by_offsets,
)

# Up to so many neighbours of a pixel are looked at one by one; beyond, labels are compared two by two.
MOST_OFFSETS = 1000

# Boundary pixels of a label that are looked at together.
PIECE = 64


def near_labels(mask: Any, spacing: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The labels of a numpy or dask mask whose nearest pixels are at most ``limit`` apart, and how far: computed now.

    Each pair once, the smaller label first, sorted by both.  0 is no label.
    """
    search = search_for(mask.shape, spacing, limit)
    if is_dask(mask):
        table = computed_pairs(map_surroundings(search, mask, search.halo), np.minimum)
    else:
        number = min(len(stretches(mask.shape)), max(1, len(mask) // (2 * search.halo[0] + 1)))
        edges = np.linspace(0, len(mask), number + 1).astype(int).tolist()
        tables = map_locally(partial(_search_lines, search, mask), list(itertools.pairwise(edges)))
        table = merge_pairs(tables, np.minimum)
    return table.first, table.second, np.sqrt(table.columns[0]) * search.unit


def _search_lines(search: Search, mask: np.ndarray, edges: tuple[int, int]) -> PairTable:
    begin, end = edges
    first = max(begin - search.halo[0], 0)
    area = mask[first : end + search.halo[0]]
    return search(mask[begin:end], Surroundings(area, (begin - first, *(0,) * (mask.ndim - 1))))


@dataclass(frozen=True)
class Search:
    """A search of blocks for labels that lie near each other: a table of pairs and the squares of their distances.

    Attributes
    ----------
    spacing : array (axis,)
        The distance of neighbouring pixels, in ``unit``.
    unit : float
        The spacing, if it is the same along all axes: lengths are sums of whole numbers then, which are exact.
    limit : float
        The square of the largest distance.
    halo : tuple of int
        How many pixels away along each axis a label may be.
    axes : tuple of int
        The axes in the order in which the squares of lengths are added, which does not depend on that of the dims.
    offsets : array (offset, axis) or None
        From a pixel to all pixels after it that are near, the nearest first; None for too many.
    """

    spacing: np.ndarray
    unit: float
    limit: float
    halo: tuple[int, ...]
    axes: tuple[int, ...]
    offsets: np.ndarray | None

    def __call__(self, block: np.ndarray, around: Surroundings) -> PairTable:
        """The pairs of labels of which one pixel is in the block, and the other in it or around it."""
        labels = find_runs(around.area, background=True)
        objects = labels.ids != 0
        ids = labels.ids[objects]
        if ids.size < 2 or not block.size or not any(self.halo):
            return PairTable(ids[:0], ids[:0], (np.empty(0),))
        numbers = np.where(objects, np.cumsum(objects), 0).astype(np.int32)
        codes = np.repeat(numbers[labels.runs.codes], labels.runs.lengths).reshape(around.area.shape)
        if self.offsets is None:
            rows, squares = self._by_boxes(codes, block.shape, around.start, ids.size)
        else:
            rows, squares = self._by_offsets(self.offsets, codes, block.shape, around.start, ids.size)
        first, second = np.sort(rows, axis=1).T - 1
        return pair_table(ids[first], ids[second], [squares], np.minimum)

    def squares(self, length: int) -> np.ndarray:
        """The square of the length (axis, step) of steps along each of the axes, in their order."""
        return (np.arange(length) * self.spacing[list(self.axes), None]) ** 2

    def _by_offsets(
        self, offsets: np.ndarray, codes: np.ndarray, shape: tuple[int, ...], start: Sequence[int], n: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Compare every boundary pixel of the block with all that are near."""
        margin = np.maximum(self.halo, 1)
        padded = np.zeros(np.add(shape, 2 * margin), np.int32)
        padded[tuple(slice(m - s, m - s + k) for m, s, k in zip(margin, start, codes.shape, strict=True))] = codes
        places, ends = _boundary(padded, margin, shape, n)
        rows = neighbors_by_offsets(padded.reshape(-1), places, ends, offsets @ _strides(padded))
        lengths = _squared_lengths(offsets, self.axes, self.squares(max(self.halo) + 1))
        return rows[:, :2], lengths[rows[:, 2]]

    def _by_boxes(
        self, codes: np.ndarray, shape: tuple[int, ...], start: Sequence[int], n: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Compare the boundary pixels that labels have in the block with those of other labels around."""
        padded = np.pad(codes, 1)
        ours = self._outlines(padded, np.add(start, 1), shape, n)
        theirs = self._outlines(padded, np.ones(codes.ndim, int), codes.shape, n)
        there = np.flatnonzero(np.diff(theirs.pieces))
        begins = theirs.pieces[there]
        low = np.minimum.reduceat(theirs.low, begins)
        high = np.maximum.reduceat(theirs.high, begins)
        order = np.argsort(low[:, 0], kind="stable")
        low, high, there = low[order], high[order], there[order]
        halo = self.halo[self.axes[0]]
        rows, squares = neighbors_by_boxes(
            ours,
            theirs,
            self.squares(max(padded.shape)),
            float((self.spacing[self.spacing > 0] ** 2).min()),
            float(np.nextafter(self.limit, np.inf)),
            (np.stack([low, high], axis=1), there, low[:, 0].copy()),
            (halo + int((high - low)[:, 0].max()), halo),
        )
        return rows, squares

    def _outlines(self, padded: np.ndarray, start: np.ndarray, shape: tuple[int, ...], n: int) -> Outlines:
        """The boundary pixels in a box, by label, in pieces."""
        places, ends = _boundary(padded, start, shape, n)
        positions = np.unravel_index(places, padded.shape)
        pixels = np.stack([positions[axis] for axis in self.axes], axis=1)
        counts = -(-np.diff(ends) // PIECE)
        pieces = np.concatenate([[0], np.cumsum(counts)])
        within = np.arange(pieces[-1]) - np.repeat(pieces[:-1], counts)
        begins = np.repeat(ends[:-1], counts) + PIECE * within
        low, high = ((ufunc.reduceat(pixels, begins) if begins.size else pixels) for ufunc in (np.minimum, np.maximum))
        return Outlines(pixels, np.append(begins, len(pixels)), low, high, pieces)


def search_for(shape: Sequence[int], spacing: np.ndarray, limit: float) -> Search:
    """The search for labels of a mask that are at most ``limit`` apart."""
    same = bool((spacing == spacing[0]).all())
    unit = float(spacing[0]) if same else 1.0
    steps = np.ones(len(spacing)) if same else spacing.astype(np.float64)
    # No two pixels are further apart than the corners of the mask.
    limit = (min(limit, 2 * float(np.linalg.norm(spacing * shape))) / unit) ** 2
    alike = [int((steps == step).sum()) for step in steps]
    axes = tuple(sorted(range(len(steps)), key=lambda axis: (-alike[axis], steps[axis])))
    halo = tuple(_steps_within(step, limit, size) for step, size in zip(steps.tolist(), shape, strict=True))
    return Search(steps, unit, limit, halo, axes, _offsets(halo, steps, axes, limit))


def _steps_within(step: float, limit: float, size: int) -> int:
    """How many steps along an axis of ``size`` pixels are no further than the limit, a square."""
    most = max(size - 1, 0)
    steps = int(min(math.sqrt(limit) / step + 1, most))
    while (steps * step) ** 2 > limit:
        steps -= 1
    return steps


def _offsets(halo: Sequence[int], spacing: np.ndarray, axes: Sequence[int], limit: float) -> np.ndarray | None:
    """The pixels after one, in the order of an array, that are no further from it than the limit, sorted by length."""
    sizes = [2 * along + 1 for along in halo]
    if math.prod(sizes) > 16 * MOST_OFFSETS:
        return None
    offsets = (np.indices(sizes).reshape(len(sizes), -1).T - halo)[math.prod(sizes) // 2 + 1 :]
    squares = (np.arange(max(sizes)) * spacing[list(axes), None]) ** 2
    lengths = _squared_lengths(offsets, axes, squares)
    order = np.argsort(lengths, kind="stable")
    near = order[lengths[order] <= limit]
    return offsets[near] if near.size <= MOST_OFFSETS else None


def _squared_lengths(offsets: np.ndarray, axes: Sequence[int], squares: np.ndarray) -> np.ndarray:
    """The squares of the lengths of offsets (offset, axis), added in the order of the axes."""
    total = np.zeros(len(offsets))
    for row, axis in enumerate(axes):
        total += squares[row, np.abs(offsets[:, axis])]
    return total


def _boundary(padded: np.ndarray, start: np.ndarray, shape: tuple[int, ...], n: int) -> tuple[np.ndarray, np.ndarray]:
    """The places of the boundary pixels in a box of a padded array of ``n`` labels, and where those of each end."""
    strides = _strides(padded)
    rows = [np.arange(size) + first for size, first in zip(shape[:-1], start[:-1], strict=True)]
    lines = np.zeros(1, np.int64)
    for along, stride in zip(rows, strides, strict=False):
        lines = np.add.outer(lines, along * stride).reshape(-1)
    ends = np.zeros(n + 2, np.int64)
    places = boundary_pixels(padded.reshape(-1), lines + start[-1], shape[-1], strides, ends)
    return places, ends


def _strides(array: np.ndarray) -> np.ndarray:
    return np.array(array.strides) // array.itemsize
