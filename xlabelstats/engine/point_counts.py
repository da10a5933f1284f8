"""Points counted in the labels of a mask: the partitions are read in rounds, and each block of the mask once for many.

What is held is bounded: when the points that were read take `HELD_BYTES`, they are counted, and only counts are kept.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from xlabelstats.engine.dask_internals import Graph, as_task, delayed_tasks
from xlabelstats.engine.local import map_locally
from xlabelstats.engine.point_blocks import Points, code_dtype, regrouped
from xlabelstats.engine.point_tables import BlockCounts, BlockPoints, CountTable, Matrix, count_block, join_tables
from xlabelstats.engine.runs import check_shape
from xlabelstats.inputs import is_dask
from xlabelstats.options import compute_each

# Points are read in rounds of about so many bytes, some six a point, and counted when they take so many.
ROUND_BYTES = 2**26
HELD_BYTES = 2**29

# The partitions of the first round, from which it is learned how many points they have.
FIRST_ROUND = 8


@dataclass
class Categories:
    """The categories of points, known beforehand or met while these are read.

    Attributes
    ----------
    fixed : list
        Those known beforehand, in their order; the others come after them, sorted.
    """

    fixed: list[Any]
    codes: dict[Any, int] = field(init=False)

    def __post_init__(self) -> None:
        self.codes = {value: code for code, value in enumerate(self.fixed)}

    def numbers(self, values: Sequence[Any]) -> np.ndarray:
        """The numbers of some categories, in the order in which they were first met."""
        return np.array([self.codes.setdefault(value, len(self.codes)) for value in values], np.int64)

    def in_order(self) -> list[Any]:
        """All of them, in the order of the result."""
        n = len(self.fixed)
        return self.fixed + sorted(list(self.codes)[n:], key=_rank)


def _rank(value: Any) -> tuple[str, Any]:
    """Numbers sort before what is of other types, which go by type, so that any two can be compared."""
    return ("", value) if isinstance(value, int | float | np.number | np.bool_) else (type(value).__name__, value)


@dataclass(frozen=True)
class Counted:
    """How many points lie in every label, of every category.

    Attributes
    ----------
    matrix : Matrix
    categories : list
    lost : array (3,)
        As in `Points`.
    placed : int
        How many points lie in the mask and have a category.
    background : int
        The points that lie in no label.
    """

    matrix: Matrix
    categories: list[Any]
    lost: np.ndarray
    placed: int
    background: int


def count_points(
    read: Callable[[slice], list[Points]], partitions: int, mask: Any, chunks: Sequence[Sequence[int]], known: list[Any]
) -> Counted:
    """Count points in the labels of a numpy or dask mask, in blocks of these sizes.

    ``read`` gives the points of some of the partitions, by block; ``known`` are categories that there are.
    """
    counting = _Counting(mask, chunks, Categories(known))
    for points in _rounds(read, partitions):
        counting.hold(points)
        if counting.held_bytes >= HELD_BYTES:
            counting.count(last=False)
    counting.count(last=True)
    categories = counting.categories.in_order()
    tables = list(counting.tables.values())
    counting.tables.clear()
    matrix = join_tables(tables, counting.ids, len(categories))
    return Counted(matrix, categories, counting.lost, counting.placed, counting.background)


def _rounds(read: Callable[[slice], list[Points]], partitions: int) -> Iterator[list[Points]]:
    start, size = 0, FIRST_ROUND
    while start < partitions:
        points = read(slice(start, min(start + size, partitions)))
        start += size
        size = max(1, ROUND_BYTES // max(1, *(each.nbytes for each in points)))
        yield points


class _Counting:
    """What was read and counted so far."""

    def __init__(self, mask: Any, chunks: Sequence[Sequence[int]], categories: Categories) -> None:
        self.mask, self.chunks, self.categories = mask, chunks, categories
        self.shape = tuple(map(len, chunks))
        self.held: list[Points] = []
        self.tables: dict[int, CountTable] = {}
        self.order: list[Any] = categories.in_order()
        self.ids: list[np.ndarray] = []
        self.lost, self.placed, self.background = np.zeros(3, np.int64), 0, 0

    @property
    def held_bytes(self) -> int:
        return sum(points.nbytes for points in self.held)

    def hold(self, points: list[Points]) -> None:
        """Keep the points of a round until they are counted."""
        numbers = [self.categories.numbers(each.categories) for each in points]
        dtype = code_dtype(len(self.categories.codes))
        codes = [
            (number[each.codes] if number.size else each.codes).astype(dtype, copy=False)
            for number, each in zip(numbers, points, strict=True)
        ]
        merged = regrouped(points, codes, math.prod(self.shape))
        self.lost += merged.lost
        self.placed += merged.pixels.size
        self.held.append(merged)

    def count(self, last: bool) -> None:
        """Count what is held, in every block that has some of it, and in all of them the last time."""
        order = self.categories.in_order()
        numbers = np.empty(max(len(order), 1), code_dtype(len(order)))
        numbers[self.categories.numbers(order)] = np.arange(len(order))
        if len(order) > len(self.order):
            # Those known earlier keep their order, so tables remain sorted.
            moved = numbers[self.categories.numbers(self.order)]
            self.tables = {block: table.renumbered(moved) for block, table in self.tables.items()}
        self.order = order
        held, self.held = self.held, []
        same = np.array_equal(numbers, np.arange(numbers.size))
        codes = [points.codes if same else numbers[points.codes] for points in held]
        parts: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
        for points, code in zip(held, codes, strict=True):
            for row, block in enumerate(points.blocks.tolist()):
                where = points.between(row)
                parts.setdefault(block, []).append((points.pixels[where], code[where]))
        blocks = range(math.prod(self.shape)) if last else sorted(parts)
        tasks = {
            block: BlockPoints(
                tuple(pixels for pixels, _ in parts.get(block, ())),
                tuple(codes for _, codes in parts.get(block, ())),
                max(len(order), 1),
                self.tables.pop(block, None),
                last,
            )
            for block in blocks
        }
        for block, counts in zip(tasks, self._computed(tasks), strict=True):
            self.background += counts.background
            if counts.table.labels.size:
                self.tables[block] = counts.table
            if counts.ids is not None:
                self.ids.append(counts.ids.astype(self.mask.dtype.newbyteorder("="), copy=False))

    def _computed(self, tasks: dict[int, BlockPoints]) -> Sequence[BlockCounts]:
        places = {block: tuple(map(int, np.unravel_index(block, self.shape))) for block in tasks}
        if not is_dask(self.mask):
            edges = [np.cumsum((0, *sizes)).tolist() for sizes in self.chunks]
            boxes = [
                (tuple(slice(*edge[i : i + 2]) for edge, i in zip(edges, places[block], strict=True)), points)
                for block, points in tasks.items()
            ]
            return map_locally(lambda item: count_block(self.mask[item[0]], item[1]), boxes)
        if not tasks:
            return []
        import dask

        name = f"count-points-{uuid.uuid4().hex}"
        graph: Graph = {}
        for block, points in tasks.items():
            graph[(f"points-{name}", block)] = as_task(points)
            shape = tuple(sizes[i] for sizes, i in zip(self.chunks, places[block], strict=True))
            call = partial(_count_block, shape=shape)
            graph[(name, block)] = (call, (self.mask.name, *places[block]), (f"points-{name}", block))
        counts = delayed_tasks(name, graph, [(name, block) for block in tasks], [self.mask])
        # The points go to a cluster within the graph, where they outlive any worker; that is no oversight to warn of.
        threshold = "distributed.admin.large-graph-warning-threshold"
        known = dask.config.get(threshold, None) is not None
        with dask.config.set({threshold: "4 GiB"} if known else {}):
            return compute_each(counts)


def _count_block(block: Any, points: BlockPoints, *, shape: tuple[int, ...]) -> BlockCounts:
    check_shape(block.shape, shape)
    return count_block(block, points)
