"""Kernels of a GPU that count pixels by their values, and find where extremes lie; see `gpu`."""

from __future__ import annotations

import cupy as xp
import numpy as np

from xlabelstats.kernels.gpu_launch import each, runs_of

# Beyond the number of any pixel.
NOWHERE = np.iinfo(np.int64).max


def histograms(image, runs, bins, counts):
    """Count the pixels of every code and channel by bins; what lies in none, as NaN does, is passed over.

    See `cpu_histograms.histograms`.
    """
    # There are atomic sums of integers of four bytes and eight.
    words = xp.zeros(counts.shape, np.uint64 if counts.itemsize > 4 else np.uint32)
    each(
        "histograms",
        runs.codes.size * len(image),
        [image, words],
        *runs_of(image, runs),
        bins.table,
        bins.table.size,
        bins.first,
        bins.first.size,
        bins.last,
        words,
        counts.shape[2],
    )
    counts += words.astype(counts.dtype)


def add_counts(rows, counts_in, counts):
    """Add counts (row, channel, bin) to those of some rows."""
    counts[rows] += counts_in.astype(counts.dtype)


def ranked(counts, q, low, high, valid):
    """Find the bins of the pixels next to the quantiles ``q``; see `cpu_histograms.ranked`."""
    sums = xp.cumsum(counts, axis=-1, dtype=np.int64)
    valid[...] = sums[..., -1]
    most = xp.maximum(valid - 1, 0)
    for j in range(q.size):
        below = xp.minimum((q[j] * most).astype(np.int64), most)
        for out, place in ((low, below), (high, xp.minimum(below + 1, most))):
            bin = (sums <= place[..., None]).sum(axis=-1)
            out[..., j] = xp.where(valid > 0, bin, 0).astype(out.dtype)


def first_extremes(image, runs, largest, skipna, extremes, places):
    """Find the smallest or ``largest`` pixel of every code and channel, and the first that is so.

    See `cpu_positions.first_extremes`.
    """
    from xlabelstats.kernels.gpu import sums_and_extremes

    kind = image.dtype.kind
    low, high = (-np.inf, np.inf) if kind == "f" else (np.iinfo(image.dtype).min, np.iinfo(image.dtype).max)
    both = xp.empty((*extremes.shape, 2), image.dtype)
    both[..., 0], both[..., 1] = image.dtype.type(high), image.dtype.type(low)
    sums_and_extremes(image, runs, np.float64(0), xp.zeros((0, 0, 0)), both)
    found = xp.ascontiguousarray(both[..., int(largest)])
    first = _first(image, runs, found, False)
    if not skipna:
        lost = _first(image, runs, found, True)
        found = xp.where(lost < NOWHERE, image.dtype.type(np.nan if kind == "f" else 0), found)
        first = xp.where(lost < NOWHERE, lost, first)
    places[...] = xp.where(first < NOWHERE, first, -1)
    extremes[...] = xp.where(first < NOWHERE, found, image.dtype.type(0))


def _first(image, runs, values, lost):
    """The first pixel of every code and channel that has this value, or that is ``lost``, as NaN is."""
    first = xp.full(values.shape, NOWHERE, np.int64)
    each("first_places", runs.codes.size * len(image), [image], *runs_of(image, runs), values, lost, first)
    return first
