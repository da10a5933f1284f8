"""Loops over pairs of channels in numpy blocks and objects, compiled by numba.

Channels come in groups of which every pair is measured: ``(group, channel)``, flattened.  A pair is found at its
position in the upper triangle of a (channel, channel) matrix, read row by row, with the diagonal.
"""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_runs import kernel

# Pixels whose deviations are at hand at once.
STRETCH = 256


@kernel
def cross_sums(image, runs, sums, products):
    """Add the pixels to ``sums`` (code, group, channel), and those of two channels multiplied to ``products``.

    Both are integers, ``products`` (code, group, pair), and exact but for multiples of 2**64.
    """
    codes, starts, lengths, _ = runs
    groups, channels = sums.shape[1], sums.shape[2]
    for run in range(codes.size):
        first, end = starts[run], starts[run] + lengths[run]
        for g in range(groups):
            into, total = products[codes[run], g], sums[codes[run], g]
            pair = 0
            for a in range(channels):
                x = image[g * channels + a, first:end]
                s = np.int64(0)
                square = np.int64(0)
                for i in range(x.size):
                    s += np.int64(x[i])
                    square += np.int64(x[i]) * np.int64(x[i])
                total[a] += s
                into[pair] += square
                pair += 1
                for b in range(a + 1, channels):
                    y = image[g * channels + b, first:end]
                    p = np.int64(0)
                    for i in range(x.size):
                        p += np.int64(x[i]) * np.int64(y[i])
                    into[pair] += p
                    pair += 1


@kernel
def cross_powers(image, runs, means, sums, products):
    """Add pixel - mean to ``sums``, and two channels of that multiplied to ``products``, NaN passed over.

    ``means`` and ``sums`` are (code, group, channel), ``products`` (code, group, pair).
    """
    codes, starts, lengths, _ = runs
    groups, channels = sums.shape[1], sums.shape[2]
    apart = np.zeros((channels + 3, STRETCH))
    for run in range(codes.size):
        for g in range(groups):
            into, total, mean = products[codes[run], g], sums[codes[run], g], means[codes[run], g]
            for first in range(starts[run], starts[run] + lengths[run], STRETCH):
                n = min(STRETCH, starts[run] + lengths[run] - first)
                for a in range(channels):
                    x, d, m = image[g * channels + a, first : first + n], apart[a, :n], mean[a]
                    for i in range(n):
                        d[i] = x[i] - m if x[i] == x[i] else 0.0
                pair = 0
                for a in range(channels):
                    d = apart[a, :n]
                    s = 0.0
                    # Four channels at a time, whose sums do not wait for each other.
                    for b in range(a, channels, 4):
                        d0, d1, d2, d3 = apart[b, :n], apart[b + 1, :n], apart[b + 2, :n], apart[b + 3, :n]
                        p0 = p1 = p2 = p3 = 0.0
                        if b == a:
                            for i in range(n):
                                s += d[i]
                                p0 += d[i] * d0[i]
                                p1 += d[i] * d1[i]
                                p2 += d[i] * d2[i]
                                p3 += d[i] * d3[i]
                            total[a] += s
                        else:
                            for i in range(n):
                                p0 += d[i] * d0[i]
                                p1 += d[i] * d1[i]
                                p2 += d[i] * d2[i]
                                p3 += d[i] * d3[i]
                        into[pair] += p0
                        if b + 1 < channels:
                            into[pair + 1] += p1
                        if b + 2 < channels:
                            into[pair + 2] += p2
                        if b + 3 < channels:
                            into[pair + 3] += p3
                        pair += min(4, channels - b)


def colocalise(pixels, count, fractions, ranked, out):
    """Sum up the pixels of every two channels of an object that lie above thresholds.

    ``pixels`` are as `gather` leaves them.  A pixel counts for two channels if neither is NaN, and lies above a
    threshold if it is at least that fraction of the largest one that counts.  ``out`` (code, group, channel, channel,
    fraction, field) gets for the first of two channels the number of pixels that count, the sum of those above its
    threshold, and over those above both thresholds: the sum, the sum weighted by how near the ranks are if
    ``ranked``, the sum of products with the second channel, and that of squares.
    """
    # The loops sort, which takes seconds to compile: numbers of all sizes share those for the largest.  Products of
    # float32 would be rounded to float32, too.
    if pixels.dtype.itemsize < 8:
        pixels = pixels.astype(np.float64 if pixels.dtype.kind == "f" else np.int64)
    _colocalise(pixels, count, fractions, ranked, out)


@kernel
def _colocalise(pixels, count, fractions, ranked, out):
    """Sum up the pixels of every two channels, see `colocalise`."""
    groups, channels = out.shape[1], out.shape[2]
    longest = 0
    for code in range(count.size):
        longest = max(longest, count[code])
    held = np.empty((2, longest), pixels.dtype)
    ranks = np.empty((channels, longest if ranked else 0), np.int64)
    levels = np.empty(channels, np.int64)
    begin = 0
    for code in range(count.size):
        n = count[code]
        for g in range(groups):
            complete = True
            for i in range(begin, begin + channels * n):
                complete &= pixels[i] == pixels[i]
            if complete and ranked:
                for a in range(channels):
                    levels[a] = _rank(pixels[begin + a * n : begin + (a + 1) * n], ranks[a])
            for a in range(channels):
                x = pixels[begin + a * n : begin + (a + 1) * n]
                for b in range(a, channels):
                    y = pixels[begin + b * n : begin + (b + 1) * n]
                    first, second = out[code, g, a, b], out[code, g, b, a]
                    if complete:
                        _above(x, y, fractions, ranked, ranks[a], ranks[b], max(levels[a], levels[b]), first, second)
                        continue
                    m = 0
                    for i in range(n):
                        held[0, m], held[1, m] = x[i], y[i]
                        m += x[i] == x[i] and y[i] == y[i]
                    other = np.empty((2, m if ranked else 0), np.int64)
                    most = max(_rank(held[0, :m], other[0]), _rank(held[1, :m], other[1])) if ranked else 0
                    _above(held[0, :m], held[1, :m], fractions, ranked, other[0], other[1], most, first, second)
            begin += channels * n


@kernel
def _rank(pixels, ranks):
    """Number pixels by the values that occur, equal ones alike; returns how many values there are."""
    order = np.argsort(pixels)
    level = 0
    for i in range(order.size):
        level += i > 0 and pixels[order[i]] != pixels[order[i - 1]]
        ranks[order[i]] = level
    return level + 1


@kernel
def _above(x, y, fractions, ranked, x_ranks, y_ranks, levels, first, second):
    """What `colocalise` says of two channels, for ``first`` and for ``second``, each (fraction, field)."""
    n = x.size
    x_most, y_most = -np.inf, -np.inf
    for i in range(n):
        x_most, y_most = max(x_most, float(x[i])), max(y_most, float(y[i]))
    for f in range(fractions.size):
        x_least, y_least = fractions[f] * x_most, fractions[f] * y_most
        x_above = y_above = x_both = y_both = x_near = y_near = products = x_squares = y_squares = 0.0
        for i in range(n):
            u, v = float(x[i]), float(y[i])
            if u >= x_least:
                x_above += u
            if v >= y_least:
                y_above += v
            if u >= x_least and v >= y_least:
                x_both += u
                y_both += v
                products += u * v
                x_squares += u * u
                y_squares += v * v
                if ranked:
                    near = (levels - abs(x_ranks[i] - y_ranks[i])) / levels
                    x_near += u * near
                    y_near += v * near
        fields = (float(n), x_above, x_both, x_near, products, x_squares)
        others = (float(n), y_above, y_both, y_near, products, y_squares)
        for field in range(6):
            first[f, field], second[f, field] = fields[field], others[field]
