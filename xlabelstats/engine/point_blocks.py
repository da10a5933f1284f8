"""Points grouped by the block of a mask that they lie in, so that every block is read once for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xlabelstats.kernels.cpu_points import NOWHERE, OUTSIDE, count_by_block, group_points, place_points


@dataclass(frozen=True)
class Lattice:
    """Where the pixels of a mask lie along its axes, and in which blocks.

    Attributes
    ----------
    chunks : tuple of tuples of int
        The sizes of the blocks along every axis.
    edges : list of arrays (pixel + 1,)
        Along every axis, ascending: a pixel reaches from above its first edge to its last.
    orders : list of arrays (pixel,)
        The index of the pixel between two edges.
    affine : array (axis, axis + 1) or None
        From positions to those that the edges are in, if these differ.
    """

    chunks: tuple[tuple[int, ...], ...]
    edges: list[np.ndarray]
    orders: list[np.ndarray]
    affine: np.ndarray | None = None

    @property
    def blocks(self) -> int:
        """The number of blocks."""
        return math.prod(map(len, self.chunks))

    def place(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The block of every point, or a negative number, and its pixel in it, of positions (axis, point)."""
        if self.affine is not None:
            infinite = np.isinf(positions)
            # Their product with 0 is NaN, as if the point had no position; so they are put outside afterwards.
            positions = self.affine[:, :-1] @ np.where(infinite, 0.0, positions) + self.affine[:, -1:]
            positions[:, infinite.any(axis=0)] += np.inf
        block_of, within, widths = [], [], []
        for sizes, order in zip(self.chunks, self.orders, strict=True):
            numbers = np.repeat(np.arange(len(sizes)), sizes)
            starts = np.cumsum((0, *sizes))[:-1]
            block_of.append(numbers[order])
            within.append((np.arange(numbers.size) - starts[numbers])[order])
            widths.append(np.asarray(sizes, np.int64)[numbers][order])
        largest = math.prod(max(sizes, default=0) for sizes in self.chunks)
        blocks = np.empty(positions.shape[1], np.int32 if self.blocks < 2**31 else np.int64)
        pixels = np.empty(positions.shape[1], np.uint32 if largest <= 2**32 else np.uint64)
        place_points(
            np.ascontiguousarray(positions),
            np.array([order.size for order in self.orders], np.int64),
            np.concatenate(self.edges),
            np.array([len(sizes) for sizes in self.chunks], np.int64),
            np.concatenate(block_of),
            np.concatenate(within),
            np.concatenate(widths),
            blocks,
            pixels,
        )
        return blocks, pixels


@dataclass(frozen=True)
class Points:
    """Points sorted by block, in little memory.

    Attributes
    ----------
    blocks : array (block,)
        The numbers of the blocks that have any, ascending.
    ends : array (block + 1,)
        Where the points of each begin, and where the last ones end.
    pixels : array (point,)
        The pixel of the block, in the order of its memory.
    codes : array (point,)
        The category of each, as its position among ``categories``.
    categories : list
    lost : array (3,)
        How many points had no position, lay beyond the mask, and had a position but no category.
    """

    blocks: np.ndarray
    ends: np.ndarray
    pixels: np.ndarray
    codes: np.ndarray
    categories: list[Any]
    lost: np.ndarray

    @property
    def nbytes(self) -> int:
        """What the points take."""
        return self.pixels.nbytes + self.codes.nbytes

    def __sizeof__(self) -> int:
        return self.nbytes + self.blocks.nbytes + self.ends.nbytes

    def between(self, row: int) -> slice:
        """Where the points of one of the blocks are."""
        return slice(int(self.ends[row]), int(self.ends[row + 1]))


def group(lattice: Lattice, positions: np.ndarray, codes: np.ndarray, categories: list[Any]) -> Points:
    """Some points by block, of their positions (axis, point) and codes, negative for those without a category."""
    blocks, pixels = lattice.place(positions)
    lacking = (blocks >= 0) & (codes < 0)
    lost = np.array([np.count_nonzero(each) for each in (blocks == NOWHERE, blocks == OUTSIDE, lacking)])
    blocks[lacking] = OUTSIDE
    codes = codes.astype(code_dtype(len(categories)), copy=False)
    return _sorted(blocks, pixels, codes, lattice.blocks, categories, lost)


def regrouped(points: Sequence[Points], codes: Sequence[np.ndarray], blocks: int) -> Points:
    """Several groups of points as one, with these codes in place of theirs."""
    return _sorted(
        np.concatenate([np.repeat(each.blocks, np.diff(each.ends)) for each in points]),
        np.concatenate([each.pixels for each in points]),
        np.concatenate(codes),
        blocks,
        [],
        np.sum([each.lost for each in points], axis=0),
    )


def code_dtype(n: int) -> np.dtype:
    """The least unsigned dtype for the codes of so many categories."""
    return np.min_scalar_type(max(n - 1, 0))


def _sorted(
    blocks: np.ndarray, pixels: np.ndarray, codes: np.ndarray, n: int, categories: list[Any], lost: np.ndarray
) -> Points:
    counts = np.zeros(n, np.int64)
    count_by_block(blocks, counts)
    ends = np.cumsum(counts)
    total = int(ends[-1]) if n else 0
    sorted_pixels, sorted_codes = np.empty(total, pixels.dtype), np.empty(total, codes.dtype)
    present = np.flatnonzero(counts).astype(blocks.dtype)
    edges = np.concatenate([[0], ends[present]])
    group_points(blocks, pixels, codes, ends - counts, sorted_pixels, sorted_codes)
    return Points(present, edges, sorted_pixels, sorted_codes, categories, lost)
