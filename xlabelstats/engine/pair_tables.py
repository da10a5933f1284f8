"""Tables of pairs of labels: what blocks find of labels that overlap, touch or lie near, merged by pair, at once.

They live in main memory, whatever the mask: a row takes some tens of bytes, and objects have few neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from xlabelstats.engine.dask_internals import block_keys, delayed_tasks
from xlabelstats.engine.merge_tree import merge_by_range
from xlabelstats.options import compute_each


@dataclass(frozen=True)
class PairTable:
    """Pairs of labels and what is known of each.

    Attributes
    ----------
    first, second : array (pair,)
        The labels, sorted by both; each pair once.
    columns : tuple of arrays (pair, ...)
    """

    first: np.ndarray
    second: np.ndarray
    columns: tuple[np.ndarray, ...]

    def take(self, rows: Any) -> PairTable:
        """Some of the rows."""
        return PairTable(self.first[rows], self.second[rows], tuple(column[rows] for column in self.columns))

    def __sizeof__(self) -> int:
        return self.first.nbytes + self.second.nbytes + sum(column.nbytes for column in self.columns)


def pair_table(
    first: np.ndarray, second: np.ndarray, columns: Sequence[np.ndarray], fold: np.ufunc = np.add
) -> PairTable:
    """The table of pairs that may occur many times: ``fold`` makes one row of all rows of a pair.

    It is a ufunc that gives the same whatever the order: sums of integers, or the least.
    """
    order = _order(first, second)
    first, second = first[order], second[order]
    new = np.ones(first.size, bool)
    new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    starts = np.flatnonzero(new)
    if starts.size == first.size:
        # reduceat takes no empty array, and there is nothing to fold.
        return PairTable(first, second, tuple(column[order] for column in columns))
    return PairTable(first[starts], second[starts], tuple(fold.reduceat(column[order], starts) for column in columns))


def starts_of(values: np.ndarray) -> np.ndarray:
    """The first row of every value, of rows that are sorted by it."""
    new = np.ones(values.size, bool)
    new[1:] = values[1:] != values[:-1]
    return np.flatnonzero(new)


def _order(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The order of pairs by both labels, that of equal ones left open."""
    if not first.size:
        return np.empty(0, np.int64)
    lows = [int(labels.min()) for labels in (first, second)]
    spans = [int(labels.max()) - low + 1 for labels, low in zip((first, second), lows, strict=True)]
    if spans[0] * spans[1] >= 2**64:
        return np.lexsort((second, first))
    # One number for each pair sorts in less time than two.
    above = [_above(labels, low) for labels, low in zip((first, second), lows, strict=True)]
    return np.argsort(above[0] * np.uint64(spans[1]) + above[1])


def _above(labels: np.ndarray, low: int) -> np.ndarray:
    """How far labels are above the lowest."""
    wide = labels.astype(np.int64 if labels.dtype.kind == "i" else np.uint64).view(np.uint64)
    return wide - np.uint64(low % 2**64)


def merge_pairs(tables: Sequence[PairTable], fold: np.ufunc = np.add) -> PairTable:
    """One table of several."""
    if len(tables) == 1:
        return tables[0]
    first, second = (np.concatenate([getattr(table, name) for table in tables]) for name in ("first", "second"))
    columns = zip(*(table.columns for table in tables), strict=True)
    return pair_table(first, second, [np.concatenate(parts) for parts in columns], fold)


def computed_pairs(tables: Any, fold: np.ufunc = np.add) -> PairTable:
    """What a dask array of tables, one per block, comes to, computed now; the last merge is done here."""
    name = f"merge-pairs-{tables.name}"
    merge = partial(merge_pairs, fold=fold)
    merges, (last,) = merge_by_range(name, block_keys(tables).ravel().tolist(), [], merge)
    return merge_pairs(compute_each(delayed_tasks(name, merges, last, [tables])), fold)
