"""What is collected of every label in a block of pixels, and how the tables of several blocks merge.

A *reduction* says what to collect of a label and how to fold two collections of the same label into one.
A *table* holds what the reductions of a pass have collected: a row per label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from xlabelstats.engine.crops import Crops, crops_of, values_of
from xlabelstats.engine.runs import Array, LabelRuns, Surroundings, changed, find_runs, rows_of, union
from xlabelstats.grid import Grid
from xlabelstats.kernels import kernels_for
from xlabelstats.kernels.protocol import Runs

# The arrays that a reduction collects, each (label, ...); (label, channel, ...) if it reads the image.
Columns = tuple[Array, ...]


class Block:
    """The pixels that a reduction collects from.

    Attributes
    ----------
    labels : LabelRuns
        The labels to be measured, and their runs.
    offset : tuple of int
        The position of the block's first pixel.
    image : array (*other, *shape) or None
    weights : array over the block or None
        What every pixel weighs; of length 1 along axes that it does not vary along.
    """

    image: Any
    weights: Any = None

    def __init__(self, labels: LabelRuns, offset: tuple[int, ...], image: Any = None, weights: Any = None) -> None:
        self.labels, self.offset, self.image, self.weights = labels, offset, image, weights

    @property
    def ids(self) -> Array:
        """The labels to be measured, sorted."""
        return self.labels.ids

    @cached_property
    def count(self) -> Array:
        """Pixels per label."""
        return self.labels.count

    @property
    def runs(self) -> Runs:
        """The runs of the labels."""
        return self.labels.runs

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the block."""
        return self.labels.shape

    @property
    def surroundings(self) -> Surroundings:
        """The mask of the block and of as many pixels around it as the reduction's ``halo`` says."""
        around = self.labels.surroundings
        if around is None:
            raise ValueError("a reduction that looks at the neighbours of pixels says how far they are: halo = 1")
        return around


class WholeBlock(Block):
    """A block that holds every pixel of the objects to be measured.

    Attributes
    ----------
    mask : array (*shape)
    objects : Objects
        What is known of them, on the host: their boxes and counts.
    """

    def __init__(self, mask: Array, image: Array | None, offset: tuple[int, ...], objects: Any) -> None:
        self.mask, self.image, self.offset, self.objects = mask, image, offset, objects

    @property
    def ids(self) -> Array:
        """The labels of the objects, sorted."""
        return kernels_for(self.mask).xp.asarray(self.objects.ids)

    @cached_property
    def count(self) -> Array:
        """Pixels per object, as the scan of the mask found them."""
        return kernels_for(self.mask).xp.asarray(self.objects.count)

    @property
    def surroundings(self) -> Surroundings:
        """The mask of the block: no pixel of the objects lies around it."""
        return Surroundings(self.mask, (0,) * self.mask.ndim)

    @cached_property
    def crops(self) -> Crops:
        """Where the objects' pixels lie, each in a crop of its object; on the host."""
        return crops_of(self)

    @cached_property
    def values(self) -> Array:
        """The objects' pixels (channel, pixel) as float64, in the order of ``crops``, on the host; read only."""
        return values_of(self)

    @cached_property
    def with_nan(self) -> Array:
        """Which objects and channels (object, channel) have a NaN pixel; on the host."""
        if not self.ids.size:
            return np.zeros((0, len(self.values)), bool)
        return np.logical_or.reduceat(np.isnan(self.values), self.crops.first[:-1], axis=1).T

    def slices(self, low: np.ndarray, high: np.ndarray) -> list[tuple[slice, ...]]:
        """Boxes of pixels (object, axis) as slices of the block."""
        first, end = ((corner - np.array(self.offset)).tolist() for corner in (low, high))
        return [tuple(map(slice, a, b)) for a, b in zip(first, end, strict=True)]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the block."""
        return self.mask.shape

    @cached_property
    def labels(self) -> LabelRuns:  # type: ignore[override]
        """The objects' labels and runs; their count and box must be those that the scan of the mask found."""
        kernels, known = kernels_for(self.mask), self.objects
        xp = kernels.xp
        labels = find_runs(self.mask, background=bool((known.ids == 0).any()), only=known.ids)
        rows = rows_of(labels.ids, self.ids)
        count = xp.zeros(known.ids.size, np.int64)
        count[rows] = labels.count
        first, end = (xp.empty(known.low.shape, np.int64) for _ in range(2))
        codes = rows.astype(labels.runs.codes.dtype)[labels.runs.codes]
        kernels.boxes(labels.runs._replace(codes=codes), first, end)
        low, high = (xp.asarray(box - np.array(self.offset)) for box in (known.low, known.high))
        off = xp.flatnonzero((count != self.count) | ((first != low) | (end != high)).any(axis=1))
        if off.size:
            i = int(off[0])
            if int(count[i]) != known.count[i]:
                raise miscounted(known, i, int(count[i]))
            boxes = (known.low[i], known.high[i], *(kernels.to_host(box[i]) + self.offset for box in (first, end)))
            how = "lay from {} to {} and lies from {} to {}".format(*(tuple(box.tolist()) for box in boxes))
            raise RuntimeError(changed(int(known.ids[i]), how))
        return labels


def miscounted(objects: Any, i: int, count: int) -> RuntimeError:
    """The complaint that object ``i`` has not as many pixels as the scan had found."""
    return RuntimeError(changed(int(objects.ids[i]), f"had {objects.count[i]} pixels and has {count}"))


@dataclass(frozen=True)
class Context:
    """What the formulas of measures may ask for beside what was collected.

    Attributes
    ----------
    ndim : int
        The dims of the mask.
    dtype : numpy.dtype
        That of the image.
    requested : bool
        Whether the labels were named by the user, so that some may be absent.
    grid : Grid
        Where pixels lie.
    ddof : int
        Delta degrees of freedom of variances.
    skipna : bool
        Whether NaN pixels are left out.
    coords : tuple of array or None
        The coordinates of the pixels along every axis, None where positions are those of the grid; empty if no measure
        needs them.
    shape : tuple of int
        That of the mask.
    """

    ndim: int
    dtype: np.dtype
    requested: bool
    grid: Grid
    ddof: float = 0
    skipna: bool = True
    coords: tuple[Any, ...] = ()
    shape: tuple[int, ...] = ()


class Reduction:
    """What is collected of every label: a base of dataclasses that say how.

    Attributes
    ----------
    reads_image : bool
        Whether it collects from the image, per channel, or from the mask alone.
    whole : bool
        Whether it needs every object whole in one block.  Each label is then collected once.
    parallel : bool
        For whole objects: whether threads may collect at the same time, since no function of the user is called.
    axes_matter : bool
        Whether what it collects depends on the order of the axes.
    on_grid : bool
        Whether what is computed from it depends on where pixels lie.
    in_3d : type of Reduction or None
        The reduction for 3-D masks, if this one is for 2-D masks only.
    merging : type of Reduction or None
        For whole objects: a reduction that merges and gives the formulas the same input.  It is used where `room`
        allows it.
    counts_pixels : bool
        Whether its columns are numbers of pixels.  These are kept in the smallest integers that hold them.
    halo : int
        For what merges across blocks: how many pixels of the mask around a block it reads, ``block.surroundings``.  A
        block has rows only for the labels of its own pixels.
    """

    reads_image: ClassVar[bool] = False
    whole: ClassVar[bool] = False
    parallel: ClassVar[bool] = False
    axes_matter: ClassVar[bool] = True
    on_grid: ClassVar[bool] = True
    in_3d: ClassVar[type[Reduction] | None] = None
    merging: ClassVar[type[Reduction] | None] = None
    counts_pixels: ClassVar[bool] = False

    @classmethod
    def room(cls, dtype: np.dtype) -> int | None:
        """The bytes that one label and channel of an image of this dtype take at most; None if it cannot collect it."""
        return None

    @property
    def halo(self) -> int:
        """How many pixels of the mask around a block it looks at."""
        return 0

    @classmethod
    def of(cls, needs: tuple[Any, ...], context: Context) -> Reduction:
        """The reduction that collects what several measures need."""
        raise NotImplementedError

    def collect(self, block: Any) -> Columns:
        """The columns of one block, with a row for each of ``block.ids``."""
        raise NotImplementedError

    def fold(self, rows: Array, before: Array, count: Array, columns: Columns, into: Columns) -> None:
        """Fold the columns of a table into the rows of others.

        ``before`` is the number of pixels that those rows hold so far, ``count`` the number that the table adds.
        """
        for column, target in zip(columns, into, strict=True):
            target[rows] = column

    def boxes(self, objects: Any, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """The box of pixels that it needs of every object, first and end (object, axis)."""
        return objects.low, objects.high

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> Any:
        """What the formulas of measures start from."""
        raise NotImplementedError


@dataclass(frozen=True)
class Rows:
    """Labels and what is known of them: a base of dataclasses of arrays whose first axis is ``label``.

    Attributes
    ----------
    ids : array (label,)
        Sorted labels.
    count : array (label,) of int64
        Pixels per label.
    """

    ids: Array
    count: Array

    def on_host(self) -> Self:
        """The same in main memory."""
        return type(self)(*(kernels_for(self.ids).to_host(getattr(self, field.name)) for field in fields(self)))


@dataclass(frozen=True)
class Table:
    """Labels and what the reductions of a pass have collected of them.

    Attributes
    ----------
    ids : array (label,)
        Sorted labels.
    count : array (label,) of int64
        Pixels per label.
    parts : tuple of tuples of arrays
        The columns of each reduction.  Those that read the mask alone have none beside the first channels.
    """

    ids: Array
    count: Array
    parts: tuple[Columns, ...] = ()

    def between(self, low: Any, high: Any) -> Table:
        """The rows of the labels from ``low`` up to, and without, ``high``; None is no bound."""
        xp = kernels_for(self.ids).xp
        first = 0 if low is None else int(xp.searchsorted(self.ids, xp.asarray(low)))
        last = None if high is None else int(xp.searchsorted(self.ids, xp.asarray(high)))
        parts = tuple(tuple(column[first:last] for column in columns) for columns in self.parts)
        return Table(self.ids[first:last], self.count[first:last], parts)

    def __sizeof__(self) -> int:
        return self.ids.nbytes + self.count.nbytes + sum(c.nbytes for columns in self.parts for c in columns)


def add(rows: Array, columns: Columns, into: Columns) -> None:
    """Add the columns of a table to the rows of others: the fold of what are sums."""
    for column, target in zip(columns, into, strict=True):
        target[rows] += column


def collect(reductions: Sequence[Reduction], block: Block, *, first: bool = True) -> Table:
    """The table of one block.  What reads the mask alone is collected with the ``first`` channels only."""
    parts = tuple(r.collect(block) if first or r.reads_image else () for r in reductions)
    return Table(block.ids, block.count, parts)


def merge(reductions: Sequence[Reduction], tables: Sequence[Table], ids: Array | None = None) -> Table:
    """Merge the tables of several blocks, in their order; a label that occurs in several is folded pairwise.

    With ``ids`` (sorted, all that occur among them) there is a row for each of these, 0 where no table has it.
    """
    first = tables[0]
    xp = kernels_for(first.ids).xp
    if len(tables) == 1 and (ids is None or xp.array_equal(ids, first.ids)):
        return first
    if ids is None:
        ids = union([table.ids for table in tables])
    places = [rows_of(table.ids, ids) for table in tables]
    counting = narrowest(_most(tables, places, ids)) if any(r.counts_pixels for r in reductions) else None
    count = xp.zeros(ids.size, np.int64)
    parts = tuple(
        tuple(
            xp.zeros((ids.size, *column.shape[1:]), counting if reduction.counts_pixels else column.dtype)
            for column in columns
        )
        for reduction, columns in zip(reductions, first.parts, strict=True)
    )
    for table, rows in zip(tables, places, strict=True):
        before = count[rows]
        for reduction, columns, into in zip(reductions, table.parts, parts, strict=True):
            if columns:
                reduction.fold(rows, before, table.count, columns, into)
        count[rows] = before + table.count
    return Table(ids, count, parts)


def narrowest(most: int) -> np.dtype:
    """The smallest dtype in which numbers of pixels up to this one are kept."""
    return np.dtype(np.uint16 if most < 2**16 else np.uint32 if most < 2**32 else np.int64)


def _most(tables: Sequence[Table], places: Sequence[Array], ids: Array) -> int:
    """The most pixels that any label has in several tables together."""
    count = kernels_for(ids).xp.zeros(ids.size, np.int64)
    for table, rows in zip(tables, places, strict=True):
        count[rows] += table.count
    return int(count.max()) if ids.size else 0
