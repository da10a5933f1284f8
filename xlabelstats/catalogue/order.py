"""Medians and quantiles of every label's pixels: exact, so that every object is needed whole.

Of pixels that have few values there may be, it is enough to count each of these.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from xlabelstats.catalogue.histogram import counted
from xlabelstats.catalogue.measure import Measure
from xlabelstats.cautions import caution
from xlabelstats.engine.reduction import Block, Columns, Context, Reduction, WholeBlock
from xlabelstats.engine.runs import Array, as_bits, pixels_of
from xlabelstats.kernels import kernels_for
from xlabelstats.kernels.protocol import Bins
from xlabelstats.names import check_known

# How numpy's quantile methods weigh the sorted pixels below and above a quantile that lies between two.
METHODS: dict[str, Callable[[Array, Array], Array]] = {
    "linear": lambda part, below: part,
    "lower": lambda part, below: np.zeros_like(part),
    "higher": lambda part, below: np.ceil(part),
    "midpoint": lambda part, below: np.where(part > 0, 0.5, 0.0),
    "nearest": lambda part, below: np.rint(below + part) - below,
}


# The values that pixels of eight bits may have.
VALUES = 256


@dataclass(frozen=True)
class ValueCounts(Reduction):
    """The number of pixels of every value, of images of eight bits.

    Columns: ``counts`` (label, channel, value), from the smallest value on.

    Attributes
    ----------
    q : tuple of float
        The quantiles that are asked for.
    """

    q: tuple[float, ...]

    reads_image = True
    axes_matter = False
    on_grid = False
    counts_pixels = True

    @classmethod
    def room(cls, dtype: np.dtype) -> int | None:
        """Eight bytes per value, though most counts take two."""
        return 8 * VALUES if dtype.itemsize == 1 and dtype.kind in "biu" else None

    @classmethod
    def of(cls, needs: tuple[float, ...], context: Context) -> Self:
        """The quantiles that any of several measures needs."""
        return cls(tuple(dict.fromkeys(needs)))

    def collect(self, block: Block) -> Columns:
        """Count the pixels of a block's runs."""
        pixels = pixels_of(block.image, block.shape)
        limits = np.iinfo(pixels.dtype)
        first = np.array([limits.min], pixels.dtype)
        bins = Bins(np.arange(VALUES, dtype=np.int32), first, np.array([limits.max], pixels.dtype), 0.0, 0.0)
        return (counted(block, pixels, bins, VALUES),)

    def fold(self, rows: Array, before: Array, count: Array, columns: Columns, into: Columns) -> None:
        """Add the counts of the same label."""
        kernels_for(rows).add_counts(rows, columns[0], into[0])

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> CountedValues:
        """The quantiles, by number and method, and the modes."""
        (counts,) = columns
        kernels = kernels_for(ids)
        xp = kernels.xp
        shape = (*counts.shape[:2], len(self.q))
        places = xp.zeros(shape, np.uint8), xp.zeros(shape, np.uint8)
        valid = xp.empty(shape[:2], np.int64)
        kernels.ranked(counts, xp.asarray(self.q), *places, valid)
        dtype = np.dtype(np.uint8) if context.dtype.kind == "b" else context.dtype
        below, above = (_values(place, dtype) for place in places)
        return CountedValues(self.q, below, above, valid, count, context.skipna, counts, dtype)


def _values(places: Array, dtype: np.dtype) -> Array:
    """The values at these places among all that pixels of eight bits may have."""
    return (places.astype(np.int64) + int(np.iinfo(dtype).min)).astype(dtype)


@dataclass(frozen=True)
class OrderStatistics(Reduction):
    """The sorted pixels on both sides of quantiles, per label and channel.

    Columns: ``below`` and ``above`` (label, channel, quantile) in the pixels' dtype, ``valid`` (label, channel).

    Attributes
    ----------
    q : tuple of float
    """

    q: tuple[float, ...]

    reads_image = True
    whole = True
    parallel = True
    on_grid = False
    merging = ValueCounts

    @classmethod
    def of(cls, needs: tuple[float, ...], context: Context) -> Self:
        """The quantiles that any of several measures needs."""
        return cls(tuple(dict.fromkeys(needs)))

    def collect(self, block: WholeBlock) -> Columns:
        """Sort the pixels of every object of a region."""
        kernels = kernels_for(block.ids)
        xp = kernels.xp
        pixels = pixels_of(block.image, block.shape)
        bits = as_bits(pixels)
        keys = gather(bits, block)
        shape = (block.ids.size, len(bits), len(self.q))
        below, above = xp.empty(shape, bits.dtype), xp.empty(shape, bits.dtype)
        valid = xp.empty(shape[:2], np.int64)
        kind = "uif".index(pixels.dtype.kind)
        kernels.order_statistics(keys, block.count, len(bits), kind, xp.asarray(self.q), below, above, valid)
        return below.view(pixels.dtype), above.view(pixels.dtype), valid

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> Quantiles:
        """The quantiles, by number and method."""
        below, above, valid = columns
        return Quantiles(self.q, below, above, valid, count, context.skipna)


@dataclass(frozen=True)
class Modes(Reduction):
    """The most frequent pixel of every label and channel, the smallest of a tie.

    Columns: ``mode`` (label, channel) in the pixels' dtype, ``valid`` (label, channel).
    """

    reads_image = True
    whole = True
    parallel = True
    on_grid = False
    merging = ValueCounts

    @classmethod
    def of(cls, needs: tuple[Any, ...], context: Context) -> Self:
        """The same whatever is needed."""
        return cls()

    def collect(self, block: WholeBlock) -> Columns:
        """Sort the pixels of every object of a region, and count those that are equal."""
        pixels = pixels_of(block.image, block.shape)
        bits = as_bits(pixels)
        kernels = kernels_for(bits)
        keys = gather(bits, block)
        shape = (block.ids.size, len(bits))
        mode, valid = kernels.xp.empty(shape, bits.dtype), kernels.xp.empty(shape, np.int64)
        kernels.modes(keys, block.count, len(bits), "uif".index(pixels.dtype.kind), mode, valid)
        return mode.view(pixels.dtype), valid

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> Mode:
        """The modes, NaN where there is none."""
        mode, valid = columns
        if mode.dtype.kind == "f":
            missing = valid == 0 if context.skipna else valid < count[:, None]
            mode = kernels_for(ids).xp.where(missing, mode.dtype.type(np.nan), mode)
        return Mode(mode)


@dataclass(frozen=True)
class Mode:
    """The modes of a range of labels (label, channel)."""

    mode: Array


def gather(bits: Array, block: WholeBlock) -> Array:
    """The pixels of every label of a block, one after the other, each as (channel, pixel) in image order."""
    kernels = kernels_for(bits)
    out = kernels.xp.empty(len(bits) * int(block.count.sum()), bits.dtype)
    kernels.gather(bits, block.runs, block.count, out)
    return out


@dataclass(frozen=True)
class Quantiles:
    """The quantiles of a range of labels, interpolated when they are asked for."""

    q: tuple[float, ...]
    below: Array
    above: Array
    valid: Array
    count: Array
    skipna: bool

    def interpolate(self, q: tuple[float, ...], method: str) -> Array:
        """Quantiles (label, channel, quantile) by one of `METHODS`."""
        xp = kernels_for(self.count).xp
        values = xp.empty((*self.valid.shape, len(q)))
        # One at a time, so that what is at hand stays small.
        for i, number in enumerate(q):
            place = self.q.index(number)
            a, b = (pixels[..., place].astype(np.float64) for pixels in (self.below, self.above))
            virtual = number * (self.valid - 1)
            below = xp.floor(virtual)
            t = METHODS[method](virtual - below, below)
            values[..., i] = self._between(a, b, t)
        values[self.valid == 0 if self.skipna else self.valid < self.count[:, None]] = np.nan
        return values

    def _between(self, a: Array, b: Array, t: Array) -> Array:
        """The part ``t`` of the way from ``a`` to ``b``, as numpy interpolates: from the nearer side."""
        xp = kernels_for(self.count).xp
        with np.errstate(invalid="ignore", over="ignore"):
            step = b - a
            between = xp.where(t < 0.5, a + step * t, b - step * (1 - t))
            if self.below.dtype.kind == "f":
                # Beside an infinite pixel there is no way to go along, and one of weight 0 does not count.
                between = xp.where(xp.isfinite(a) & xp.isfinite(b), between, a * (1 - t) + b * t)
                between = xp.where((t == 0) | (a == b), a, xp.where(t == 1, b, between))
        return between


@dataclass(frozen=True)
class CountedValues(Quantiles):
    """The same, and the modes, from the number of pixels of every value (label, channel, value)."""

    counts: Array
    dtype: np.dtype

    @property
    def mode(self) -> Array:
        """The most frequent value, the smallest of a tie."""
        return _values(self.counts.argmax(axis=-1), self.dtype)


def quantile(name: str, q: float, method: str = "linear", definition: str = "") -> Measure:
    """The measure of one quantile."""
    check_known([method], METHODS, "method")
    return Measure(
        name,
        definition or ("median" if q == 0.5 else f"quantile {q:g}"),
        lambda pixels: pixels.interpolate((q,), method)[..., 0],
        OrderStatistics,
        (q,),
        units="image",
        source="numpy.quantile, method " + repr(method),
        with_parameters=lambda method="linear": quantile(name, q, method, definition),
    )


def quantiles(q: Any = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), method: str = "linear") -> Measure:
    """The measure of several quantiles, along a dim ``quantile``."""
    check_known([method], METHODS, "method")
    numbers = tuple(np.atleast_1d(check_q(q)).tolist())
    return Measure(
        "quantiles",
        "quantiles q along the dim ``quantile``, by default the deciles",
        lambda pixels: pixels.interpolate(numbers, method),
        OrderStatistics,
        numbers,
        dims=("quantile",),
        lengths={"quantile": numbers},
        units="image",
        source="numpy.quantile",
        with_parameters=quantiles,
    )


def check_q(q: Any) -> np.ndarray:
    """Quantiles as an array of one number or of several, or a complaint."""
    try:
        numbers = np.asarray(q, np.float64)
    except (TypeError, ValueError):
        numbers = np.array(np.nan)
    if numbers.ndim > 1 or not ((numbers >= 0) & (numbers <= 1)).all():
        raise ValueError(f"q is a number from 0 to 1, or a 1-D sequence of them, not {q!r}")
    return numbers


# Parts that people ask for more often than for percentiles below 1; p0.1 and p0.5 clip grey values.
LIKELY = (0.25, 0.75, 0.9, 0.95, 0.98, 0.99)

PATTERN = re.compile(r"p(\d{1,3}(?:\.\d+)?)")


def percentile(name: str) -> Measure | None:
    """The measure that a name such as ``p95`` or ``p99.9`` stands for, None for any other name."""
    match = PATTERN.fullmatch(name)
    if match is None:
        return None
    # Division by 100 would make 0.07 of 7 something else than what a user who types 0.07 gets.
    number = float(f"{match[1]}e-2")
    if number > 1:
        raise ValueError(f"{name!r} is a percentile beyond 100; percentiles go from p0 to p100")
    if float(match[1]) in LIKELY:
        caution(
            f"{name!r} is percentile {match[1]}; percentile {100 * float(match[1]):g} is 'p{100 * float(match[1]):g}'. "
            f"If {match[1]} is meant, image.instances.quantiles(mask, {number:.12g}) gives it without this warning"
        )
    return quantile(name, number, definition=f"percentile {match[1]}")


# The row that stands for all percentiles.
PERCENTILE = replace(quantile("pNN", 0.95), definition="percentile NN, as in p5, p95, p99.9")
MODE = Measure(
    "mode", "most frequent pixel, the smallest of a tie", lambda pixels: pixels.mode, Modes, units="image", kind="image"
)
MEDIAN = replace(quantile("median", 0.5), cellprofiler="Intensity_MedianIntensity")
QUANTILES = quantiles()

ORDER = (MEDIAN, MODE, QUANTILES)
