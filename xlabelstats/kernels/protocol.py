"""What the hot loops are: the functions that `cpu` and `gpu` both have, and the tuples of arrays that they take."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple, Protocol

# numpy or CuPy, as the kernels.
Array = Any


class Runs(NamedTuple):
    """Stretches of neighbouring pixels of one row (the last axis) that carry the same label.

    Attributes
    ----------
    codes : array (run,)
        The position of each run's label among the sorted labels of its block.
    starts, lengths : array (run,)
        The first pixel of each run in the flattened block, and the number of its pixels.
    shape : array (axis,) of int64
        The shape of the block, in main memory.
    """

    codes: Array
    starts: Array
    lengths: Array
    shape: Array


class Boxes(NamedTuple):
    """Clumps of pixels, each in a box that has one pixel more on each side.

    Attributes
    ----------
    place : array (pixel,) of int64
        Where the pixels lie in their flattened box, clump by clump, those of each in the order of rows.
    first : array (clump + 1,) of int64
        The first of the pixels of every clump, and the end of the last.
    size : array (clump, 3) of int64
        The size of the boxes, with the pixels more along the axes that the image has.
    beyond : array (clump, 3, 2) of bool
        Whether what a box has more at the low and at the high side lies beyond the image.
    """

    place: Array
    first: Array
    size: Array
    beyond: Array


class Places(NamedTuple):
    """Where the pixels of labels lie, in pixels.

    Attributes
    ----------
    low, high : array (label, axis) of int64
        Bounding box, half-open.
    origin : array (label, axis) of int64
        A pixel near the label's others.
    offset : array (label, axis)
        Mean position, from ``origin``.
    m2 : array (label, axis, axis)
        Sums of products of the deviations from the mean position.
    """

    low: Array
    high: Array
    origin: Array
    offset: Array
    m2: Array


class Memory(NamedTuple):
    """An array as its memory: the elements in a row, and the distance (axis,) of neighbours along every axis."""

    elements: Array
    steps: Array


class Cuts(NamedTuple):
    """Windows to be cut out of a piece of an image.

    Attributes
    ----------
    starts : array (window, axis)
        Their first pixels in the piece, inside or outside of it.
    low, high : array (window, axis)
        The part of each that is cut, half-open, counted from its first pixel.
    size : array (axis,)
        Their size.
    labels : array (window,)
        The label of each.
    rows : array (window,)
        The row of the result that each goes to.
    marks : array (window,)
        What is written where the label of each is.
    """

    starts: Array
    low: Array
    high: Array
    size: Array
    labels: Array
    rows: Array
    marks: Array


class Bins(NamedTuple):
    """Bins of pixels, in the dtype of these.

    Attributes
    ----------
    table : array of int32
        The bin of every whole number from ``first[0]`` on, -1 for none; empty if there are too many, or pixels are no
        whole numbers.
    first : array (bin,)
        The smallest number that is in each bin, or above it if none is.
    last : array (1,)
        The largest number that is in any.
    origin, scale : float
        Where the first bin begins, and bins per unit, about, where all are of equal width; else 0.
    """

    table: Array
    first: Array
    last: Array
    origin: float
    scale: float


class Kernels(Protocol):
    """Loops over the pixels of a block, for arrays of one kind.

    Images are ``(channel, pixel)``; what is collected is ``(code, channel, field)``.  What the functions do is said in
    `cpu` and the files whose names begin so.
    """

    @property
    def xp(self) -> ModuleType:
        """Numpy or CuPy."""

    def find_runs(self, lines: Array, background: bool, placed: bool) -> tuple[Array, Array, Array]:
        """The value, first pixel and length of every run."""

    def compact(self, values: Array) -> tuple[Array, Array]:
        """The position of every value among the sorted distinct ones, and these."""

    def unique(self, values: Array) -> Array:
        """The sorted distinct values."""

    def repeat(self, values: Array, repeats: Array) -> Array:
        """Values (..., n), each as often along the last axis as ``repeats`` (n) says."""

    def memory(self, array: Array, length: int) -> Array:
        """The memory of an array as elements in a row."""

    def read_only(self, array: Array) -> Array:
        """A view that cannot be written to, where there is such a thing."""

    def to_host(self, array: Array) -> Any:
        """An array in main memory."""

    def count_valid(self, image: Array, runs: Runs, moments: Array) -> None:
        """Add the number of pixels that are not NaN to moment 0."""

    def sums_and_extremes(self, image: Array, runs: Runs, zero: Any, sums: Array, extremes: Array) -> None:
        """Add up pixels, and find the smallest and largest."""

    def powers(self, image: Array, runs: Runs, sums: Array, order: int) -> None:
        """Add powers of the deviations from a mean."""

    def weighted_powers(self, image: Array, runs: Runs, weights: Memory, sums: Array) -> None:
        """Add weights, and weighted powers of the deviations from a mean."""

    def centre(self, sums: Array, moments: Array) -> None:
        """Set central moments from sums of powers about a rounded mean."""

    def cross_sums(self, image: Array, runs: Runs, sums: Array, products: Array) -> None:
        """Add up small integers, and those of two channels multiplied, exactly."""

    def cross_powers(self, image: Array, runs: Runs, means: Array, sums: Array, products: Array) -> None:
        """Add up deviations from a mean, and those of two channels multiplied."""

    def colocalise(self, pixels: Array, count: Array, fractions: Array, ranked: bool, out: Array) -> None:
        """Sum up the pixels of every two channels of an object that lie above thresholds."""

    def merge(
        self, rows: Array, before: Array, moments_in: Array, extremes_in: Array, moments: Array, extremes: Array
    ) -> None:
        """Fold moments and extremes into the rows of others."""

    def boxes(self, runs: Runs, low: Array, high: Array) -> None:
        """Find the boxes of the runs; where a code has none, it is from the largest int64 to 0."""

    def geometry(self, runs: Runs, origin: Array, low: Array, high: Array, s1: Array, s2: Array) -> None:
        """Collect boxes, and sums of positions and of their products."""

    def merge_geometry(self, rows: Array, before: Array, count: Array, places_in: Places, places: Places) -> None:
        """Fold boxes, mean positions and second moments into the rows of others."""

    def coordinate_sums(self, image: Array, runs: Runs, coords: Array, out: Array) -> None:
        """Add weights and weighted coordinates."""

    def position_moments(self, image: Array, runs: Runs, origin: Array, powers: int, out: Array) -> None:
        """Add moments of position."""

    def first_extremes(
        self, image: Array, runs: Runs, largest: bool, skipna: bool, extremes: Array, places: Array
    ) -> None:
        """Find the smallest or largest pixels, and the first that is so."""

    def histograms(self, image: Array, runs: Runs, bins: Bins, counts: Array) -> None:
        """Count pixels by bins."""

    def add_counts(self, rows: Array, counts_in: Array, counts: Array) -> None:
        """Add counts to those of some rows."""

    def ranked(self, counts: Array, q: Array, low: Array, high: Array, valid: Array) -> None:
        """Find the bins of the pixels next to quantiles."""

    def neighbours(
        self,
        area: Array,
        area_shape: Array,
        start: Array,
        runs: Runs,
        offsets: Array,
        table: Array,
        crossings: Array,
        euler: Array,
    ) -> None:
        """Count the pixels that have a neighbour outside of their label, and what follows from which are inside."""

    def border_pixels(self, area: Array, area_shape: Array, start: Array, runs: Runs, kinds: Array, out: Array) -> None:
        """Count the border pixels of every code by kind."""

    def gather(self, image: Array, runs: Runs, count: Array, out: Array) -> None:
        """Copy the pixels of every code to one place."""

    def order_statistics(
        self, keys: Array, count: Array, channels: int, kind: int, q: Array, low: Array, high: Array, valid: Array
    ) -> None:
        """Sort the pixels of every code, and pick those next to quantiles."""

    def modes(self, keys: Array, count: Array, channels: int, kind: int, mode: Array, valid: Array) -> None:
        """Sort the pixels of every code, and find the most frequent one."""

    def cut(
        self,
        image: Memory,
        channels: Array,
        mask: Memory,
        shape: Array,
        cuts: Cuts,
        alone: bool,
        out: Array,
        marked: Array,
    ) -> None:
        """Copy what a piece of an image holds of some windows."""
