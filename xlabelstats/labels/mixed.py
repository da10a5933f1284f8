"""Whether labels lie among each other, as the grey values of an image do: judged by some pixels, blocks and labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xlabelstats.engine.runs import Array
from xlabelstats.kernels import kernels_for

# At least so many labels, of which the median box covers more than this part of a mask, may be grey values.
MANY, WIDE = 16, 0.25

# How many pixels of a block are looked at, and how many labels must have several of them; how many labels are followed
# over all blocks.
PIXELS, FEW, LABELS = 2**12, 4, 128


@dataclass(frozen=True)
class Spread:
    """Some labels of some blocks, and where in the mask the blocks that have them are.

    Attributes
    ----------
    ids : array (label,)
        The same labels whatever the blocks: those that come first in an order that is as good as random.
    first, last : array (label, axis)
        Where the first and the last of the blocks that have the label begin, along each axis.
    many, mixed : int
        How many of the blocks whose pixels were looked at have many labels, and in how many these lie among each other.
    """

    ids: np.ndarray
    first: np.ndarray
    last: np.ndarray
    many: int
    mixed: int

    def seems_wide(self, edges: Sequence[np.ndarray]) -> bool:
        """Whether the labels seem to lie among each other in the whole mask, whose blocks have these edges."""
        if 2 * self.mixed > self.many:
            return True
        parts = np.full(self.ids.size, float(any(edge.size > 2 for edge in edges)))
        for edge, first, last in zip(edges, self.first.T, self.last.T, strict=True):
            if edge.size > 2:
                end_of_first, end = (edge[np.searchsorted(edge, start, "right")] for start in (first, last))
                # A label reaches from somewhere in its first block to somewhere in its last.
                most, least = end - first, last - end_of_first
                parts *= np.sqrt(most * np.maximum(least, most / 4)) / edge[-1]
        # A look at all pixels is worth its time somewhat below the limit too.
        return parts.size >= MANY and bool(np.median(parts) > 0.6 * WIDE)


def spread_of(ids: Array, offset: Sequence[int], look: tuple[bool, bool]) -> Spread:
    """The spread of the labels of one block that begins at ``offset``; ``look`` is what `seems_mixed` says of it."""
    ids = kernels_for(ids).to_host(_followed(ids))
    starts = np.broadcast_to(np.array(offset, np.int64), (ids.size, len(offset)))
    return Spread(ids, starts, starts, *map(int, look))


def merge_spreads(spreads: Sequence[Spread]) -> Spread:
    """The spread of labels over the blocks of all."""
    ids, first, last = (
        np.concatenate([getattr(spread, name) for spread in spreads]) for name in ("ids", "first", "last")
    )
    order = np.argsort(ids, kind="stable")
    ids, starts = np.unique(ids[order], return_index=True)
    if ids.size:
        first, last = np.minimum.reduceat(first[order], starts), np.maximum.reduceat(last[order], starts)
    kept = np.isin(ids, _followed(ids), kind="sort")
    totals = (sum(getattr(spread, name) for spread in spreads) for name in ("many", "mixed"))
    return Spread(ids[kept], first[kept], last[kept], *totals)


def _followed(ids: Array) -> Array:
    """The labels that are followed: those of the smallest hashes."""
    if ids.size <= LABELS:
        return ids
    hashes = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return ids[kernels_for(ids).xp.argpartition(hashes, LABELS)[:LABELS]]


def sample(block: Array) -> Array:
    """Some pixels, `PIXELS` at most: at random along each axis, since labels may repeat evenly."""
    side = math.floor(PIXELS ** (1 / max(block.ndim, 1)))
    random = np.random.default_rng(0)
    return block[np.ix_(*(some_of(n, side, random) for n in block.shape))]


def some_of(n: int, most: int, random: np.random.Generator) -> np.ndarray:
    """At most so many of n positions, at random, in order."""
    return np.sort(random.choice(n, most, replace=False)) if n > most else np.arange(n)


def seems_mixed(count: Array, low: Array, high: Array, shape: Sequence[int]) -> tuple[bool, bool]:
    """Whether a sample has many labels, and whether these lie among each other, by their pixels and boxes in it."""
    several = count > 1
    if 2 * len(count) < MANY or several.sum() < FEW:
        return 2 * len(count) >= MANY, False
    # So much of each side of a box do n points reach over that lie anywhere in it.
    n = float(np.median(kernels_for(count).to_host(count[several])))
    reach = ((n - 1) / (n + 1)) ** len(shape)
    return True, median_box(low[several], high[several], shape) > WIDE * reach / 2


def median_box(low: Array, high: Array, shape: Sequence[int]) -> float:
    """The part of a mask that the median one of some boxes (label, axis) covers."""
    edges = kernels_for(low).to_host(high - low)
    return float(np.median(np.prod(edges / np.array(shape), axis=1))) if len(edges) else 0.0


def looks_mixed(block: Array) -> tuple[bool, bool]:
    """Whether a sample of a block's pixels has many labels, and whether these lie among each other."""
    some = sample(block)
    kernels = kernels_for(some)
    xp, places = kernels.xp, kernels.xp.nonzero(some)
    codes, ids = kernels.compact(some[places].astype(some.dtype.newbyteorder("=")))
    count = xp.bincount(codes, minlength=ids.size)
    end = xp.cumsum(count)
    # Along each axis the places of a label lie side by side, in order.
    along = [
        (xp.sort(codes.astype(np.int64) * n + place), max(n, 1)) for n, place in zip(some.shape, places, strict=True)
    ]
    low = xp.stack([ordered[end - count] % n for ordered, n in along], axis=1)
    high = xp.stack([ordered[end - 1] % n + 1 for ordered, n in along], axis=1)
    return seems_mixed(count, low, high, some.shape)
