"""Kernels for arrays on a GPU: CuPy, and loops in CUDA C++ that it compiles when they are first called.

The functions have the names, arguments and results of those in `cpu`.  Nothing here moves pixels to or from main
memory: what is moved are sizes, and tables of a few numbers per window.
"""

from __future__ import annotations

import cupy as xp
import numpy as np

from xlabelstats.kernels.gpu_boundaries import border_pixels, neighbours
from xlabelstats.kernels.gpu_channels import colocalise, cross_powers, cross_sums
from xlabelstats.kernels.gpu_counts import add_counts, first_extremes, histograms, ranked
from xlabelstats.kernels.gpu_launch import each, from_ordered, ordered, placed, runs_of, shape_of, sign
from xlabelstats.kernels.gpu_weights import weighted_powers

# Runs are cut at every so many pixels of a row, so that no thread has much more to do than its neighbours.
LONGEST_RUN = 64

__all__ = [
    "add_counts",
    "border_pixels",
    "boxes",
    "centre",
    "colocalise",
    "compact",
    "coordinate_sums",
    "count_valid",
    "cross_powers",
    "cross_sums",
    "cut",
    "find_runs",
    "first_extremes",
    "gather",
    "geometry",
    "histograms",
    "memory",
    "merge",
    "merge_geometry",
    "modes",
    "neighbours",
    "order_statistics",
    "position_moments",
    "powers",
    "ranked",
    "read_only",
    "repeat",
    "sums_and_extremes",
    "to_host",
    "unique",
    "weighted_powers",
    "xp",
]


def find_runs(lines, background, placed):
    """The value, first pixel and length of every run of a (line, pixel) array; the latter two empty unless ``placed``.

    Runs of 0 are left out unless ``background``.
    """
    new = xp.empty(lines.shape, bool)
    new[:, 1:] = lines[:, 1:] != lines[:, :-1]
    new[:, ::LONGEST_RUN] = True
    starts = xp.flatnonzero(new)
    values = lines.ravel()[starts]
    held = slice(None) if background else values != 0
    if not placed:
        return values[held], starts[:0], starts[:0]
    lengths = xp.empty_like(starts)
    if starts.size:
        lengths[:-1] = starts[1:] - starts[:-1]
        lengths[-1] = lines.size - starts[-1]
    return values[held], starts[held], lengths[held]


def compact(values):
    """The position of every value among the sorted distinct ones, and these."""
    distinct, codes = xp.unique(values, return_inverse=True)
    return codes.astype(np.int64, copy=False), distinct


def unique(values):
    """The sorted distinct values."""
    return xp.unique(values)


def repeat(values, repeats):
    """Values (..., n), each as often along the last axis as ``repeats`` (n) says."""
    ends = xp.cumsum(repeats)
    new = xp.zeros(int(ends[-1]) if ends.size else 0, np.int32)
    new[ends[:-1]] = 1
    return values[..., xp.cumsum(new, dtype=np.int32)]


def memory(array, length):
    """The memory of an array, whose steps are not negative, as ``length`` elements in a row."""
    return xp.lib.stride_tricks.as_strided(array, (length,), (array.itemsize,))


def read_only(array):
    """The array: CuPy has none that cannot be written to."""
    return array


def to_host(array):
    """An array in main memory."""
    return xp.asnumpy(array)


def count_valid(image, runs, moments):
    """Add the number of pixels that are not NaN to moment 0."""
    fields = moments.shape[2]
    each("count_valid", runs.codes.size * len(image), [image], *runs_of(image, runs), moments, fields)


def sums_and_extremes(image, runs, zero, sums, extremes):
    """Add the pixels to ``sums`` and lower and raise ``extremes`` to them, NaN passed over.

    ``zero`` gives the type in which the pixels of one run are summed.  Where there is room for it,
    what rounding took from a sum is kept beside it (Knuth's two-sum).  Either array may be empty,
    if it is not wanted.
    """
    kind = extremes.dtype.kind
    words = ordered(extremes.astype(f"{kind}8").view(np.uint64), kind)
    each(
        "sums_and_extremes",
        runs.codes.size * len(image),
        [image, zero],
        *runs_of(image, runs),
        sums,
        sums.shape[2] if sums.size else 0,
        words,
        words.size > 0,
    )
    extremes[...] = from_ordered(words, kind).view(f"{kind}8").astype(extremes.dtype)


def powers(image, runs, sums, order):
    """Add the powers 1 to ``order`` (2 to 4) of pixel - sums[..., 0], NaN passed over, to sums."""
    each("powers", runs.codes.size * len(image), [image], *runs_of(image, runs), sums, order)


def centre(sums, moments):
    """Set the moments from 2 on from sums of powers about a rounded mean, sums[1] / n off the true one; that last."""
    size = sums.shape[0] * sums.shape[1]
    each("centre", size, [], sums, moments, size, moments.shape[2] - 2)


def merge(rows, before, moments_in, extremes_in, moments, extremes):
    """Fold records into the rows of others, pairwise; a row that held no pixel ``before`` is taken over as it is."""
    _, channels, fields = moments.shape
    each(
        "merge",
        rows.size * channels,
        [extremes],
        rows,
        rows.size,
        channels,
        fields,
        extremes.shape[2] > 0,
        moments_in,
        extremes_in,
        before,
        moments,
        extremes,
    )


def boxes(runs, low, high):
    """Find the box of every code."""
    low[...], high[...] = np.iinfo(np.int64).max, 0
    each("boxes", runs.codes.size, [], *placed(runs), low, high)


def geometry(runs, origin, low, high, s1, s2):
    """Collect the box of every code and the sums of its pixel positions and of their products.

    Positions count from ``origin`` (code, axis), the corner of the box.
    """
    boxes(runs, low, high)
    origin[...] = low
    each("position_sums", runs.codes.size, [], *placed(runs), origin, s1, s2)


def merge_geometry(rows, before, count, places_in, places):
    """Fold boxes, centroids and central second moments into the rows of others, pairwise."""
    ndim = places.low.shape[1]
    each("merge_geometry", rows.size, [], rows, rows.size, ndim, before, count, *places_in, *places)


def coordinate_sums(image, runs, coords, out):
    """Add the weights and weighted coordinates of the pixels to ``out`` (code, channel, 1 + axis)."""
    rows = out.shape[1]
    where = *shape_of(runs), coords, coords.shape[1]
    each("coordinate_sums", runs.codes.size * rows, [image], *runs_of(image, runs), *where, out, rows)


def position_moments(image, runs, origin, powers, out):
    """Add the moments of pixel position to ``out`` (code, channel, power of axis 0, ..., flattened)."""
    rows, combinations = out.shape[1:]
    threads = runs.codes.size * rows * combinations
    where = *shape_of(runs), origin, powers, combinations
    each("position_moments", threads, [image], *runs_of(image, runs), *where, out, rows)


def gather(image, runs, count, out):
    """Copy the pixels of every code to ``out``, code by code, each as (channel, pixel) in image order."""
    codes, starts, lengths, _ = runs
    before = xp.cumsum(count) - count
    order = xp.argsort(codes, kind="stable")
    sorted_lengths = lengths[order]
    places = xp.empty_like(starts)
    places[order] = xp.cumsum(sorted_lengths) - sorted_lengths - before[codes[order]]
    each("gather", codes.size * len(image), [image], *runs_of(image, runs), count, before, places, out)


def order_statistics(keys, count, channels, kind, q, low, high, valid):
    """Sort the pixels of every code and channel, and pick those next to the quantiles ``q``.

    One sort of all pixels by code, channel and value.  See `cpu_objects.order_statistics`.
    """
    kind = "uif"[kind]
    keys, _, ends, lengths, n = _sorted(keys, count, channels, kind)
    valid[...] = n
    first = (ends - lengths).reshape(n.shape)[..., None]
    most = xp.maximum(n - 1, 0)[..., None]
    below = xp.minimum((q * most).astype(np.int64), most)
    for out, at in ((low, below), (high, xp.minimum(below + 1, most))):
        found = from_ordered(keys[first + at], kind)
        out[...] = xp.where(n[..., None] > 0, found, keys.dtype.type(0))


def modes(keys, count, channels, kind, mode, valid):
    """Sort the pixels of every code and channel, and find the most frequent one, the smallest of a tie.

    See `cpu_objects.modes`.
    """
    kind = "uif"[kind]
    if kind == "f":
        keys = xp.where(keys == sign(keys), keys.dtype.type(0), keys)
    keys, segment, ends, lengths, n = _sorted(keys, count, channels, kind)
    valid[...] = n
    mode[...] = 0
    # Those that are NaN are the last of their segment.
    held = xp.arange(keys.size) < (ends - lengths + n.ravel())[segment]
    keys, segment = keys[held], segment[held]
    new = xp.ones(keys.size, bool)
    new[1:] = (keys[1:] != keys[:-1]) | (segment[1:] != segment[:-1])
    starts = xp.flatnonzero(new)
    if not starts.size:
        return
    size = xp.full(starts.size, keys.size - starts[-1], np.int64)
    size[:-1] = starts[1:] - starts[:-1]
    segment = segment[starts]
    # Of every segment the longest run of equal keys, the first of a tie.
    order = xp.lexsort(xp.stack([starts, -size, segment]))
    best = xp.ones(order.size, bool)
    best[1:] = segment[order[1:]] != segment[order[:-1]]
    chosen = order[best]
    mode.reshape(-1)[segment[chosen]] = from_ordered(keys[starts[chosen]], kind)


def _sorted(keys, count, channels, kind):
    """Keys that sort as pixels do, sorted within every code and channel, NaN last.

    With the segment (a code and channel) of each, the ends and lengths of the segments, and how many are valid.
    """
    lengths = xp.repeat(count, channels)
    ends = xp.cumsum(lengths)
    segment = xp.searchsorted(ends, xp.arange(keys.size), side="right")
    n = lengths.reshape(count.size, channels)
    bits = keys
    keys = ordered(bits, kind)
    if kind == "f":
        infinite = np.array(np.inf, f"f{bits.itemsize}").view(bits.dtype)[()]
        nan = (bits & ~sign(bits)) > infinite
        # NaN last.
        keys = xp.where(nan, ~bits.dtype.type(0), keys)
        n = n - xp.bincount(segment, weights=nan.astype(np.float64), minlength=lengths.size).astype(np.int64).reshape(
            n.shape
        )
    if keys.itemsize <= 4:
        both = xp.sort(segment.astype(np.uint64) << np.uint64(32) | keys.astype(np.uint64))
        keys = (both & np.uint64(2**32 - 1)).astype(keys.dtype)
    else:
        keys = keys[xp.lexsort(xp.stack([keys, segment.astype(np.uint64)]))]
    # Sorting leaves every segment where it was.
    return keys, segment, ends, lengths, n


def cut(image, channels, mask, shape, cuts, alone, out, marked):
    """Copy what a piece of an image holds of some windows to ``out``, see `cpu_objects.cut`."""
    cells, marking = out.shape[2], marked.size > 0
    starts, low, high, size, labels, rows, marks = cuts
    labels, marks = xp.asarray(labels), xp.asarray(marks)
    each(
        "cut",
        len(starts) * (channels.size + marking) * cells,
        [image.elements, labels, marks],
        image.elements,
        xp.asarray(channels),
        channels.size,
        xp.asarray(image.steps),
        mask.elements,
        xp.asarray(mask.steps),
        xp.asarray(shape),
        shape.size,
        *(xp.ascontiguousarray(xp.asarray(corner, np.int64)) for corner in (starts, low, high)),
        xp.asarray(size),
        cells,
        labels,
        alone,
        xp.asarray(rows),
        len(starts),
        out,
        marks,
        marked,
        marking,
    )
