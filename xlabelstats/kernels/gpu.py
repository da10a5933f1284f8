"""Kernels for arrays on a GPU: CuPy, and loops in CUDA C++ that it compiles when they are first called.

The functions have the names, arguments and results of those in `cpu`.  Nothing here moves pixels to or from main
memory: what is moved are sizes, and tables of a few numbers per window.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import cupy as xp
import numpy as np

from xlabelstats.kernels.gpu_weights import weighted_powers as weighted_powers

# Runs are cut at every so many pixels of a row, so that no thread has much more to do than its neighbours.
LONGEST_RUN = 64
THREADS = 256

# What dtypes are called in CUDA C++.
C_TYPES = {
    "u1": "unsigned char", "u2": "unsigned short", "u4": "unsigned int", "u8": "unsigned long long",
    "i1": "signed char", "i2": "short", "i4": "int", "i8": "long long", "f4": "float", "f8": "double",
}  # fmt: skip


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
    _each("count_valid", runs.codes.size * len(image), [image], *_runs_of(image, runs), moments, fields)


def sums_and_extremes(image, runs, zero, sums, extremes):
    """Add the pixels to ``sums`` and lower and raise ``extremes`` to them, NaN passed over.

    ``zero`` gives the type in which the pixels of one run are summed.  Where there is room for it,
    what rounding took from a sum is kept beside it (Knuth's two-sum).  Either array may be empty,
    if it is not wanted.
    """
    kind = extremes.dtype.kind
    words = _ordered(extremes.astype(f"{kind}8").view(np.uint64), kind)
    _each(
        "sums_and_extremes",
        runs.codes.size * len(image),
        [image, zero],
        *_runs_of(image, runs),
        sums,
        sums.shape[2] if sums.size else 0,
        words,
        words.size > 0,
    )
    extremes[...] = _from_ordered(words, kind).view(f"{kind}8").astype(extremes.dtype)


def powers(image, runs, sums, order):
    """Add the powers 1 to ``order`` (2 to 4) of pixel - sums[..., 0], NaN passed over, to sums."""
    _each("powers", runs.codes.size * len(image), [image], *_runs_of(image, runs), sums, order)


def centre(sums, moments):
    """Set the moments from 2 on from sums of powers about a rounded mean, sums[1] / n off the true one; that last."""
    size = sums.shape[0] * sums.shape[1]
    _each("centre", size, [], sums, moments, size, moments.shape[2] - 2)


def merge(rows, before, moments_in, extremes_in, moments, extremes):
    """Fold records into the rows of others, pairwise; a row that held no pixel ``before`` is taken over as it is."""
    _, channels, fields = moments.shape
    _each(
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
    """Lower ``low`` and raise ``high`` (code, axis) to the boxes of the runs."""
    _each("boxes", runs.codes.size, [], *_placed(runs), low, high)


def geometry(runs, origin, low, high, s1, s2):
    """Collect the box of every code and the sums of its pixel positions and of their products.

    Positions count from ``origin`` (code, axis), the corner of the box.
    """
    limits = np.iinfo(np.int64)
    low[...], high[...] = limits.max, limits.min
    boxes(runs, low, high)
    origin[...] = low
    _each("position_sums", runs.codes.size, [], *_placed(runs), origin, s1, s2)


def merge_geometry(rows, before, count, places_in, places):
    """Fold boxes, centroids and central second moments into the rows of others, pairwise."""
    ndim = places.low.shape[1]
    _each("merge_geometry", rows.size, [], rows, rows.size, ndim, before, count, *places_in, *places)


def coordinate_sums(image, runs, coords, out):
    """Add the weights and weighted coordinates of the pixels to ``out`` (code, channel, 1 + axis)."""
    rows = out.shape[1]
    where = *_shape_of(runs), coords, coords.shape[1]
    _each("coordinate_sums", runs.codes.size * rows, [image], *_runs_of(image, runs), *where, out, rows)


def position_moments(image, runs, origin, powers, out):
    """Add the moments of pixel position to ``out`` (code, channel, power of axis 0, ..., flattened)."""
    rows, combinations = out.shape[1:]
    threads = runs.codes.size * rows * combinations
    where = *_shape_of(runs), origin, powers, combinations
    _each("position_moments", threads, [image], *_runs_of(image, runs), *where, out, rows)


def gather(image, runs, count, out):
    """Copy the pixels of every code to ``out``, code by code, each as (channel, pixel) in image order."""
    codes, starts, lengths, _ = runs
    before = xp.cumsum(count) - count
    order = xp.argsort(codes, kind="stable")
    sorted_lengths = lengths[order]
    places = xp.empty_like(starts)
    places[order] = xp.cumsum(sorted_lengths) - sorted_lengths - before[codes[order]]
    _each("gather", codes.size * len(image), [image], *_runs_of(image, runs), count, before, places, out)


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
        found = _from_ordered(keys[first + at], kind)
        out[...] = xp.where(n[..., None] > 0, found, keys.dtype.type(0))


def modes(keys, count, channels, kind, mode, valid):
    """Sort the pixels of every code and channel, and find the most frequent one, the smallest of a tie.

    See `cpu_objects.modes`.
    """
    kind = "uif"[kind]
    if kind == "f":
        keys = xp.where(keys == _sign(keys), keys.dtype.type(0), keys)
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
    mode.reshape(-1)[segment[chosen]] = _from_ordered(keys[starts[chosen]], kind)


def _sorted(keys, count, channels, kind):
    """Keys that sort as pixels do, sorted within every code and channel, NaN last.

    With the segment (a code and channel) of each, the ends and lengths of the segments, and how many are valid.
    """
    lengths = xp.repeat(count, channels)
    ends = xp.cumsum(lengths)
    segment = xp.searchsorted(ends, xp.arange(keys.size), side="right")
    n = lengths.reshape(count.size, channels)
    bits = keys
    keys = _ordered(bits, kind)
    if kind == "f":
        infinite = np.array(np.inf, f"f{bits.itemsize}").view(bits.dtype)[()]
        nan = (bits & ~_sign(bits)) > infinite
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


def cut(image, channels, mask, shape, cuts, alone, out, inside):
    """Copy what a piece of an image holds of some windows to ``out``, see `cpu_objects.cut`."""
    cells, marking = out.shape[2], inside.size > 0
    starts, size, labels, rows = cuts
    labels = xp.asarray(labels)
    _each(
        "cut",
        len(starts) * (channels.size + marking) * cells,
        [image.elements, labels],
        image.elements,
        xp.asarray(channels),
        channels.size,
        xp.asarray(image.steps),
        mask.elements,
        xp.asarray(mask.steps),
        xp.asarray(shape),
        shape.size,
        xp.ascontiguousarray(xp.asarray(starts, np.int64)),
        xp.asarray(size),
        cells,
        labels,
        alone,
        xp.asarray(rows),
        len(starts),
        out,
        inside,
        marking,
    )


def _runs_of(image, runs):
    """What the kernels get of an image and its runs."""
    channels, pixels = image.shape
    return image, pixels, channels, runs.codes, runs.starts, runs.lengths, runs.codes.size


def _placed(runs):
    """What the kernels get of runs and their block's shape."""
    return runs.codes, runs.starts, runs.lengths, runs.codes.size, *_shape_of(runs)


def _shape_of(runs):
    """What the kernels get of the shape of a block."""
    return xp.asarray(runs.shape), runs.shape.size


def _sign(bits):
    """The bit of the sign, in unsigned integers of this size."""
    return bits.dtype.type(1 << (8 * bits.itemsize - 1))


def _ordered(bits, kind):
    """Words that sort as the numbers do whose bits these are, as those of the kernels."""
    if kind == "u":
        return bits
    sign = _sign(bits)
    return bits ^ sign if kind == "i" else xp.where(bits & sign != 0, ~bits, bits | sign)


def _from_ordered(words, kind):
    """The bits of the numbers that words stand for."""
    if kind == "u":
        return words
    sign = _sign(words)
    return words ^ sign if kind == "i" else xp.where(words & sign != 0, words ^ sign, ~words)


def _each(name, n, types, *args):
    """Run a kernel, compiled for arrays of the given types, in at least ``n`` threads."""
    if n:
        kernel = _compiled(name, *(C_TYPES[each.dtype.str[1:]] for each in types))
        args = tuple(np.bool_(a) if isinstance(a, bool | np.bool_) else _int(a) for a in args)
        kernel(((n + THREADS - 1) // THREADS,), (THREADS,), args)


def _int(value):
    return np.int64(value) if isinstance(value, int | np.integer) else value


@cache
def _compiled(name, *types):
    expression = f"{name}<{', '.join(types)}>" if types else name
    source = files("xlabelstats.kernels").joinpath("gpu.cu").read_text(encoding="utf-8")
    module = xp.RawModule(code=source, options=("--std=c++17",), name_expressions=(expression,))
    return module.get_function(expression)
