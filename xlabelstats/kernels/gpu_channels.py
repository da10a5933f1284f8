"""Kernels of pairs of channels for arrays on a GPU, with the arguments and results of those in `cpu_channels`."""

from __future__ import annotations

import cupy as xp
import numpy as np

from xlabelstats.kernels.gpu_launch import each


def cross_sums(image, runs, sums, products):
    """Add the pixels to ``sums`` (code, group, channel), and those of two channels multiplied to ``products``."""
    each("cross_sums", runs.codes.size * len(image), [image], *_read(image, runs, sums), sums, products)


def cross_powers(image, runs, means, sums, products):
    """Add pixel - mean to ``sums``, and two channels of that multiplied to ``products``, NaN passed over."""
    each("cross_powers", runs.codes.size * len(image), [image], *_read(image, runs, sums), means, sums, products)


def colocalise(pixels, count, fractions, ranked, out):
    """Sum up the pixels of every two channels of an object that lie above thresholds.

    See `cpu_channels.colocalise`.
    """
    codes, groups, channels = out.shape[:3]
    if not pixels.size:
        return
    # Which object every pixel of one channel belongs to, and where it is found in that of the first.
    last = xp.cumsum(count)
    code = xp.searchsorted(last, xp.arange(int(last[-1])), side="right")
    n = count[code]
    first = xp.arange(code.size) + (last - count)[code] * (groups * channels - 1)
    for g in range(groups):
        lines = [pixels[first + n * (g * channels + a)] for a in range(channels)]
        for a in range(channels):
            for b in range(a, channels):
                held = (lines[a] == lines[a]) & (lines[b] == lines[b])
                pair = [_line(lines[c][held], code[held], codes) for c in (a, b)]
                _above(pair, code[held], fractions, ranked, out[:, g, a, b], out[:, g, b, a])


def _line(pixels, code, codes):
    """The pixels of one channel, the number of each among the values of its object, the largest and how many."""
    values, place = xp.unique(pixels, return_inverse=True)
    keys, rank = xp.unique(code * max(values.size, 1) + place, return_inverse=True)
    owner = keys // max(values.size, 1)
    first, end = (xp.searchsorted(owner, xp.arange(codes), side=side) for side in ("left", "right"))
    most = xp.full(codes, -np.inf)
    some = xp.flatnonzero(end > first)
    most[some] = values[keys[end[some] - 1] % max(values.size, 1)]
    return pixels.astype(np.float64), rank - first[code], most, end - first


def _above(pair, code, fractions, ranked, first, second):
    """What `colocalise` says of two channels, for ``first`` and for ``second``, each (code, fraction, field)."""
    (x, x_ranks, x_most, x_levels), (y, y_ranks, y_most, y_levels) = pair

    def total(weights, held):
        return xp.bincount(code[held], weights=weights[held], minlength=len(first))

    levels = xp.maximum(x_levels, y_levels)[code]
    near = (levels - xp.abs(x_ranks - y_ranks)) / levels if ranked else xp.zeros(code.size)
    every = xp.ones(code.size)
    for f in range(fractions.size):
        above = x >= fractions[f] * x_most[code], y >= fractions[f] * y_most[code]
        both = above[0] & above[1]
        for own, line, held in ((first, x, above[0]), (second, y, above[1])):
            fields = (every, every > 0), (line, held), (line, both), (line * near, both), (x * y, both), (line**2, both)
            for field, (weights, which) in enumerate(fields):
                own[:, f, field] = total(weights, which)


def _read(image, runs, sums):
    """What the kernels get of an image, its runs and the channels of a group."""
    size, pixels = image.shape
    return image, pixels, size, runs.codes, runs.starts, runs.lengths, runs.codes.size, sums.shape[2]
