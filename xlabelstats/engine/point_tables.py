"""Points counted per label and category: a table per block of a mask, and one matrix of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from xlabelstats.engine.pair_tables import pair_table, starts_of
from xlabelstats.engine.point_blocks import code_dtype
from xlabelstats.engine.runs import Array, find_labels, union


@dataclass(frozen=True)
class CountTable:
    """How many points of every category lie in every label; what is zero is left out.

    Attributes
    ----------
    labels, lengths : array (label,)
        Sorted, and how many categories each has.
    codes, counts : array (entry,)
        Label by label, sorted by category.
    """

    labels: np.ndarray
    lengths: np.ndarray
    codes: np.ndarray
    counts: np.ndarray

    def __sizeof__(self) -> int:
        return self.labels.nbytes + self.lengths.nbytes + self.codes.nbytes + self.counts.nbytes

    def renumbered(self, codes: np.ndarray) -> CountTable:
        """With other numbers for the categories, in the same order."""
        return replace(self, codes=codes[self.codes])

    def take(self, rows: np.ndarray) -> CountTable:
        """Some of the labels, by a boolean for each."""
        entries = np.repeat(rows, self.lengths)
        return CountTable(self.labels[rows], self.lengths[rows], self.codes[entries], self.counts[entries])


@dataclass(frozen=True)
class BlockPoints:
    """The points of a block, in several parts, and what was counted of others before.

    Attributes
    ----------
    pixels, codes : tuples of arrays (point,)
    categories : int
        How many there are.
    before : CountTable or None
    last : bool
        Whether no more points come, so that all labels of the block are wanted.
    """

    pixels: tuple[np.ndarray, ...]
    codes: tuple[np.ndarray, ...]
    categories: int
    before: CountTable | None
    last: bool

    def __sizeof__(self) -> int:
        return sum(array.nbytes for array in (*self.pixels, *self.codes))


@dataclass(frozen=True)
class BlockCounts:
    """What was counted in a block.

    Attributes
    ----------
    table : CountTable
    ids : array (label,) or None
        All labels of the block, sorted, if these were asked for.
    background : int
        The points that lie in no label.
    """

    table: CountTable
    ids: np.ndarray | None
    background: int

    def __sizeof__(self) -> int:
        return self.table.__sizeof__() + (0 if self.ids is None else self.ids.nbytes)


def count_block(block: Array, points: BlockPoints) -> BlockCounts:
    """Count the points of a block of a mask."""
    ids = find_labels(block) if points.last else None
    dtype = block.dtype.newbyteorder("=") if block.dtype.kind in "iu" else np.dtype(np.int64)
    pixels = np.concatenate([np.empty(0, np.uint32), *points.pixels])
    codes = np.concatenate([np.empty(0, code_dtype(points.categories)), *points.codes])
    labels = np.ravel(block)[pixels].astype(dtype, copy=False)
    inside = labels != 0
    table = _table(labels[inside], codes[inside], points.categories, points.before)
    return BlockCounts(table, ids, labels.size - int(np.count_nonzero(inside)))


def _table(labels: np.ndarray, codes: np.ndarray, n: int, before: CountTable | None) -> CountTable:
    """The table of points with these labels and codes, together with those that were counted before."""
    known = labels if before is None else np.concatenate([labels, before.labels])
    if not known.size:
        empty = np.empty(0, np.int64)
        return CountTable(known, empty, codes[:0], empty.astype(np.uint32))
    low, high = int(known.min()), int(known.max())
    names = None
    if (high - low + 1) * n > np.iinfo(np.uint64).max:
        names, known = np.unique(known, return_inverse=True)
        low, high = 0, names.size - 1
    dtype = np.dtype(np.uint32 if (high - low + 1) * n <= np.iinfo(np.uint32).max else np.uint64)
    # A label and a category as one number.  Differences of labels fit in 64 bits without a sign, whatever the labels.
    wide = known.astype(np.int64 if known.dtype.kind == "i" else np.uint64, copy=False).view(np.uint64)
    offsets = (wide - np.uint64(low % 2**64)).astype(dtype) * dtype.type(n)
    keys, counts = _counted(offsets[: labels.size] + codes.astype(dtype))
    if before is not None:
        earlier = np.repeat(offsets[labels.size :], before.lengths) + before.codes.astype(dtype)
        keys, counts = _added(np.concatenate([earlier, keys]), np.concatenate([before.counts, counts]))
    offsets = keys // dtype.type(n)
    codes = (keys - offsets * dtype.type(n)).astype(code_dtype(n))
    starts = starts_of(offsets)
    places = offsets[starts]
    if names is not None:
        found = names[places]
    else:
        found = (places.astype(np.uint64) + np.uint64(low % 2**64)).view(known.dtype.kind + "8").astype(known.dtype)
    return CountTable(found, np.diff(np.append(starts, keys.size)), codes, counts)


def _counted(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every key once, sorted, and how often it occurs."""
    keys = np.sort(keys)
    starts = starts_of(keys)
    return keys[starts], np.diff(np.append(starts, keys.size)).astype(np.uint32)


def _added(keys: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every key once, sorted, and the sum of its counts."""
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order].astype(np.uint64)
    starts = starts_of(keys)
    return keys[starts], np.add.reduceat(counts, starts) if starts.size else counts


@dataclass(frozen=True)
class Matrix:
    """Counts per label and category, without those that are zero.

    Attributes
    ----------
    ids : array (label,)
        All labels, sorted.
    coords : array (2, entry)
        The row and the code of every entry, sorted by both.
    counts : array (entry,) of int64
    """

    ids: np.ndarray
    coords: np.ndarray
    counts: np.ndarray


def join_tables(tables: list[CountTable], ids: Sequence[np.ndarray], categories: int) -> Matrix:
    """The counts of all blocks together; ``tables`` is emptied, so that little is held twice."""
    labels = union(ids)
    tables = _without_shared(tables, labels.dtype)
    rows = [np.searchsorted(labels, table.labels) for table in tables]
    lengths = np.zeros(labels.size + 1, np.int64)
    for row, table in zip(rows, tables, strict=True):
        lengths[row + 1] = table.lengths
    starts = np.cumsum(lengths)
    dtype = np.int32 if max(labels.size, categories) < 2**31 else np.int64
    coords, counts = np.empty((2, int(starts[-1])), dtype), np.empty(int(starts[-1]), np.int64)
    while tables:
        row, table = rows.pop(), tables.pop()
        # How far the entries of each label move.
        shift = starts[row] - np.cumsum(table.lengths) + table.lengths
        place = np.repeat(shift, table.lengths) + np.arange(table.codes.size)
        coords[0, place] = np.repeat(row, table.lengths)
        coords[1, place] = table.codes
        counts[place] = table.counts
    return Matrix(labels, coords, counts)


def _without_shared(tables: list[CountTable], dtype: np.dtype) -> list[CountTable]:
    """Tables of which no two have a label in common: those that have go into one that has all of these."""
    every = np.sort(np.concatenate([np.empty(0, dtype), *(table.labels for table in tables)]))
    shared = np.unique(every[1:][every[1:] == every[:-1]])
    apart, parts = [], []
    while tables:
        table = tables.pop()
        held = np.isin(table.labels, shared, kind="sort")
        if held.any():
            parts.append(table.take(held))
            table = table.take(~held)
        apart.append(table)
    if parts:
        first = np.concatenate([np.repeat(part.labels, part.lengths) for part in parts])
        second, counts = (np.concatenate([getattr(part, name) for part in parts]) for name in ("codes", "counts"))
        pairs = pair_table(first, second, [counts.astype(np.int64)])
        starts = starts_of(pairs.first)
        lengths = np.diff(np.append(starts, pairs.first.size))
        apart.append(CountTable(pairs.first[starts], lengths, pairs.second, pairs.columns[0]))
    return apart
