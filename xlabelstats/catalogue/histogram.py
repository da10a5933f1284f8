"""Histograms of every label's pixels, and what follows from them: they add up over the parts of an object."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from operator import attrgetter
from typing import Any, Self

import numpy as np

from xlabelstats.catalogue.measure import Measure
from xlabelstats.engine.reduction import Block, Columns, Context, Reduction, narrowest
from xlabelstats.engine.runs import Array, pixels_of
from xlabelstats.inputs import whole_number
from xlabelstats.kernels import kernels_for
from xlabelstats.kernels.protocol import Bins

# As many integers as a table of their bins has at most, and the numbers of a part that is worked on at a time.
TABLE, PART = 2**16, 2**20

# The smallest and the largest finite pixel of an image, or an error if it would have to be computed.
Limits = Callable[[], tuple[Any, Any]]

# The coordinates of the edges of bins.
LEFT, RIGHT = "bin_left", "bin_right"


@dataclass(frozen=True)
class Edges:
    """The edges of bins, as `numpy.histogram` compares pixels of a dtype with them.

    Attributes
    ----------
    values : tuple of numbers
    dtype : numpy.dtype
        In which the edges are compared with pixels.
    even : bool
        Whether the bins are of equal width.
    whole : tuple of int or None
        The limits if they were given as whole numbers, with which integers are compared exactly.
    """

    values: tuple[Any, ...]
    dtype: np.dtype
    even: bool
    whole: tuple[int | None, int | None]

    def __len__(self) -> int:
        return len(self.values) - 1

    @property
    def array(self) -> np.ndarray:
        """The edges."""
        return np.array(self.values)

    @property
    def centres(self) -> np.ndarray:
        """The centre of every bin."""
        edges = self.array.astype(np.float64)
        return edges[:-1] + np.diff(edges) / 2


def edges_of(bins: Any, range: Any, dtype: np.dtype, limits: Limits) -> Edges:
    """The edges of a number of bins over a range, or those given, for images of a dtype."""
    dtype = np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")
    if np.ndim(bins):
        if range is not None:
            raise ValueError("range is for a number of bins; edges already say where the bins lie")
        edges = np.asarray(bins)
        if edges.ndim != 1 or edges.size < 2 or edges.dtype.kind not in "iuf" or not (edges[1:] >= edges[:-1]).all():
            raise ValueError(f"the edges of bins are two numbers or more that never decrease, not {bins!r}")
        return Edges(tuple(edges.tolist()), np.result_type(dtype, edges.dtype), False, (None, None))
    low, high = (dtype_range(dtype) or limits()) if range is None else _checked(range)
    edges = np.histogram_bin_edges(np.empty(0, dtype), check_number(bins), (low, high))
    whole = (None if low == high else int(n) if isinstance(n, numbers.Integral) else None for n in (low, high))
    return Edges(tuple(edges.tolist()), np.result_type(dtype, edges.dtype), True, tuple(whole))  # type: ignore[arg-type]


def check_number(bins: Any) -> int:
    """A number of bins, or a complaint."""
    number = whole_number(bins)
    if number is None or number < 1:
        raise ValueError(f"bins is a number from 1 on, or a sequence of edges, not {bins!r}")
    return number


def _checked(range: Any) -> tuple[Any, Any]:
    try:
        low, high = range
        good = bool(np.isfinite(low) and np.isfinite(high) and low <= high)
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ValueError(f"range is a pair of finite numbers, the lower first, not {range!r}")
    return low, high


def dtype_range(dtype: np.dtype) -> tuple[int, int] | None:
    """The range of all integers of up to 16 bits: from the smallest to one above the largest."""
    if dtype.kind not in "iu" or dtype.itemsize > 2:
        return None
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max) + 1


@lru_cache(maxsize=32)
def bins_of(edges: Edges, dtype: np.dtype) -> Bins:
    """Bins for pixels as the kernels read them: which number of this dtype is the first of each."""
    values = edges.array.astype(edges.dtype)
    first, last = _integers(values, edges, dtype) if dtype.kind in "iu" else _floats(values, dtype)
    table = np.empty(0, np.int32)
    if dtype.kind in "iu" and int(last) - int(first[0]) < TABLE:
        # Nothing is in any bin where the last is below the first.
        within = np.arange(max(int(last) - int(first[0]) + 1, 0), dtype=np.uint64).astype(dtype) + first[0]
        table = np.searchsorted(first, within, side="right").astype(np.int32) - 1
        table = table if table.size else np.full(1, -1, np.int32)
    origin, end = float(values[0]), float(values[-1])
    with np.errstate(over="ignore"):
        scale = len(edges) / (end - origin) if edges.even and end > origin else 0.0
    return Bins(table, first, np.array([last], dtype), origin, scale if np.isfinite(scale) else 0.0)


def _integers(values: np.ndarray, edges: Edges, dtype: np.dtype) -> tuple[np.ndarray, Any]:
    """The smallest integers at or above edges, and the largest at or below the last."""
    limits = np.iinfo(dtype)
    least, most = int(limits.min), int(limits.max)
    first = [max(_lowest(value, least, most), least) for value in values[:-1]]
    last = _lowest(values[-1], least, most, beyond=True) - 1
    low, high = edges.whole
    if low is not None:
        first[0] = max(first[0], low)
    if high is not None:
        last = min(last, high)
    # Bins above all integers of the dtype are left out.
    reached = [number for number in first if number <= most] or [most]
    if first[0] > most or last < reached[0]:
        reached, last = [most], least
    return np.array(reached, dtype), dtype.type(last)


def _lowest(edge: Any, least: int, most: int, beyond: bool = False) -> int:
    """The smallest integer at or above an edge, or ``beyond`` it, in the edge's dtype; above ``most`` for none."""

    def there(number: int) -> bool:
        value = edge.dtype.type(number)
        return bool(value > edge) if beyond else bool(value >= edge)

    if edge.dtype.kind in "iu" or abs(edge) < 2**53:
        whole = int(np.floor(edge)) if edge.dtype.kind == "f" else int(edge)
        return min(max(whole + 1 if beyond or whole < edge else whole, least), most + 1)
    # Large integers are rounded to what floating point has.
    below, above = least - 1, most + 1
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (below, middle) if there(middle) else (middle, above)
    return above


def _floats(values: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, Any]:
    """The smallest floating point numbers at or above edges, and the largest at or below the last."""
    with np.errstate(over="ignore"):
        near = values.astype(dtype)
    up, down = (np.nextafter(near, dtype.type(sign * np.inf)) for sign in (1, -1))
    first = np.where(near.astype(values.dtype) < values, up, near)
    return first[:-1], down[-1] if near[-1].astype(values.dtype) > values[-1] else near[-1]


@dataclass(frozen=True)
class Histograms(Reduction):
    """Pixels per bin.

    Columns: ``counts`` (label, channel, bin); where NaN pixels count, ``valid`` (label, channel).

    Attributes
    ----------
    edges : Edges
    propagating : bool
        Whether it matters which labels have NaN pixels.
    """

    edges: Edges
    propagating: bool = False

    reads_image = True
    axes_matter = False
    on_grid = False
    counts_pixels = True

    def of(self, needs: tuple[Any, ...], context: Context) -> Self:  # type: ignore[override]
        """The same, with what NaN pixels do."""
        return replace(self, propagating=context.dtype.kind == "f" and not context.skipna)

    def collect(self, block: Block) -> Columns:
        """Count the pixels of a block's runs."""
        pixels = pixels_of(block.image, block.shape)
        kernels = kernels_for(pixels)
        counts = counted(block, pixels, bins_of(self.edges, pixels.dtype), len(self.edges))
        if not self.propagating:
            return (counts,)
        valid = kernels.xp.zeros((*counts.shape[:2], 1))
        kernels.count_valid(pixels, block.runs, valid)
        return counts, valid.astype(counts.dtype)

    def fold(self, rows: Array, before: Array, count: Array, columns: Columns, into: Columns) -> None:
        """Add the counts of the same label."""
        for column, target in zip(columns, into, strict=True):
            kernels_for(rows).add_counts(rows, column, target)

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> Counts:
        """The counts, and which of them NaN pixels spoil."""
        spoiled = columns[1][..., 0] < count[:, None] if self.propagating else None
        return Counts(columns[0], self.edges, spoiled)


def counted(block: Block, pixels: Array, bins: Bins, n: int) -> Array:
    """The pixels (channel, pixel) of every label of a block, counted by bins, in integers that are large enough."""
    kernels = kernels_for(pixels)
    xp = kernels.xp
    most = int(block.count.max()) if block.ids.size else 0
    counts = xp.zeros((block.ids.size, len(pixels), n), narrowest(most))
    table, first, last = (xp.asarray(array) for array in (bins.table, bins.first, bins.last))
    kernels.histograms(pixels, block.runs, Bins(table, first, last, bins.origin, bins.scale), counts)
    return counts


@dataclass(frozen=True)
class Counts:
    """Pixels per label, channel and bin, and what is computed from them.

    Attributes
    ----------
    counts : array (label, channel, bin)
    edges : Edges
    spoiled : array (label, channel) of bool or None
        Where a pixel is NaN that should not be left out; None if none can be.
    """

    counts: Array
    edges: Edges
    spoiled: Array | None

    @cached_property
    def valid(self) -> Array:
        """The pixels in any bin (label, channel)."""
        return self.counts.sum(axis=-1, dtype=np.int64)

    @property
    def entropy(self) -> Array:
        """The entropy of the shares of the bins."""
        xp = kernels_for(self.counts).xp
        return self._of_shares(lambda p: xp.abs(p * xp.log2(p)))

    @property
    def uniformity(self) -> Array:
        """The sum of the squared shares."""
        return self._of_shares(lambda p: p * p)

    @property
    def most_frequent(self) -> Array:
        """The centre of the fullest bin, the lower of a tie."""
        xp = kernels_for(self.counts).xp
        return self._defined(xp.asarray(self.edges.centres)[self.counts.argmax(axis=-1)])

    def _of_shares(self, term: Callable[[Array], Array]) -> Array:
        """The sums (label, channel) of a term of each share that is not 0, of some labels at a time."""
        xp = kernels_for(self.counts).xp
        sums = xp.zeros(self.valid.shape)
        step = max(1, PART // max(self.counts[:1].size, 1))
        for first in range(0, len(sums), step):
            counts, valid = self.counts[first : first + step], self.valid[first : first + step]
            flat = counts.reshape(-1)
            held = xp.flatnonzero(flat)
            rows = held // counts.shape[-1]
            terms = term(flat[held] / valid.reshape(-1)[rows])
            sums[first : first + step] = xp.bincount(rows, terms, minlength=valid.size).reshape(valid.shape)
        return self._defined(sums)

    def _defined(self, values: Array) -> Array:
        """The values, NaN where no pixel was counted or NaN pixels spoil them."""
        values[self.valid == 0] = np.nan
        if self.spoiled is not None:
            values[self.spoiled] = np.nan
        return values


def _entry(
    name: str, definition: str, formula: Callable[[Any], Any], bins: Any = 256, range: Any = None, **options: Any
) -> Measure:
    """A measure from the histogram of every label."""

    def settled(dtype: np.dtype, limits: Limits) -> Measure:
        edges = edges_of(bins, range, dtype, limits)
        if "dims" not in options:
            return replace(entry, reduction=Histograms(edges), settled=None, with_parameters=None)
        return replace(
            entry,
            reduction=Histograms(edges),
            lengths={"bin": len(edges)},
            beside={LEFT: ("bin", edges.values[:-1]), RIGHT: ("bin", edges.values[1:])},
            settled=None,
            with_parameters=None,
        )

    entry = Measure(
        name,
        definition,
        formula,
        Histograms,
        settled=settled,
        with_parameters=lambda bins=256, range=None: _entry(name, definition, formula, bins, range, **options),
        **options,
    )
    return entry


def histogram(bins: Any = 256, range: Any = None) -> Measure:
    """The measure of a histogram."""
    return _entry(
        "histogram",
        "pixels per bin, the last edge closed; by default 256 bins over the range of the dtype",
        attrgetter("counts"),
        bins,
        range,
        dims=("bin",),
        kind="count",
        absent=0,
        source="numpy.histogram",
    )


HISTOGRAMS = (
    histogram(),
    _entry("entropy", "-sum(p log2 p) of the shares p of the bins of the histogram, in bits", attrgetter("entropy")),
    _entry(
        "most_frequent",
        "centre of the fullest bin of the histogram, the lower of a tie",
        attrgetter("most_frequent"),
        units="image",
    ),
    _entry("uniformity", "sum of the squared shares of the bins of the histogram", attrgetter("uniformity")),
)
