"""Loops over pairs of pixels within objects, and Haralick's features of their grey levels, compiled by numba.

Pairs are counted both ways, so that the table of grey levels (first, second) is symmetric.  It is never laid out: pairs
are counted in its lower half, by the ranks that their levels have among those of the object.  Counts are whole numbers,
and every sum runs in the order of the object's own pixels or levels.
"""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_crops import most_pixels
from xlabelstats.kernels.cpu_runs import kernel

# Products with numbers as large as this, or larger, are not finite.
HUGE = 1e300


@kernel
def textures(crops, values, grey, scales, steps, weights, wanted, out):
    """Haralick's features ``out`` (object, channel, scale, step, feature), those ``wanted`` of the 13.

    ``crops`` are the first pixel of each object, the places of pixels and the sizes of crops; ``values`` (channel,
    pixel) are their pixels, NaN left out.  ``grey`` is the number of levels, and the least and the greatest pixel of
    all of them, or whether these are each object's own.  ``steps`` (step, 3) are directions in which a pixel's partner
    lies, ``scales`` how many such steps away.  ``weights`` are n log2(n) from n = 0 on.
    """
    first, place, size = crops
    levels, low, high, stretched = grey
    channels = values.shape[0]
    most = most_pixels(first)
    ranks, known = np.empty((channels, most), np.int16), np.empty((channels, levels), np.int64)
    distinct, spread = np.zeros(channels, np.int64), np.empty(most, np.int64)
    one, other, cells = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    table = np.zeros(levels * (levels + 1) // 2, np.int64)
    counts = (np.zeros(levels, np.int64), np.zeros(2 * levels, np.int64), np.zeros(levels, np.int64))
    rank, features = np.zeros(levels, np.int64), np.empty(13)
    for code in range(first.size - 1):
        begin, n = first[code], first[code + 1] - first[code]
        for c in range(channels):
            pixels = values[c, begin : begin + n]
            lowest, highest = _extremes(pixels) if stretched else (low, high)
            distinct[c] = _rank(pixels, lowest, highest, levels, rank, ranks[c], known[c])
        for s in range(scales.size):
            scale = scales[s]
            rows, planes = _spread(place[begin : begin + n], size[code], scale, spread)
            for k in range(steps.shape[0]):
                step = steps[k]
                pairs = 0
                if (np.abs(step) * scale < size[code]).all():
                    distance = scale * (step[0] * planes + step[1] * rows + step[2])
                    pairs = _pair(spread[:n], distance, one, other)
                for c in range(channels):
                    levels_of = known[c, : distinct[c]]
                    counted, n_cells = _count(ranks[c], levels_of, one[:pairs], other[:pairs], table, cells, counts)
                    _features(counted, levels_of, table, cells[:n_cells], counts, weights, features)
                    for f in range(wanted.size):
                        out[code, c, s, k, f] = features[wanted[f]]


@kernel
def _extremes(pixels):
    """The least and the greatest finite pixel."""
    low, high = np.inf, -np.inf
    for pixel in pixels:
        if np.isfinite(pixel):
            low, high = min(low, pixel), max(high, pixel)
    return (low, high) if low <= high else (0.0, 0.0)


@kernel
def _rank(pixels, low, high, levels, rank, ranks, known):
    """The rank of every pixel's grey level among those of an object, -1 for NaN, and the levels that are ``known``.

    Returns how many these are.  ``rank`` (level,) is 0 before and after.
    """
    # Of very large numbers, parts are compared.
    part = 1.0 if (high / HUGE - low / HUGE) * levels < 1 else 2.0**-20
    origin, width, last = low * part, high * part - low * part, levels - 1
    for i in range(pixels.size):
        pixel = pixels[i]
        if pixel != pixel:
            ranks[i] = -1
            continue
        # A product before a quotient: of integers, no level is then rounded up.
        level = 0
        if pixel >= high:
            level = last if pixel > low else 0
        elif pixel > low:
            level = min(int((pixel * part - origin) * levels / width), last)
        ranks[i] = level
        rank[level] = 1
    n = 0
    for level in range(levels):
        known[n] = level
        n, rank[level] = n + rank[level], n
    for i in range(pixels.size):
        if ranks[i] >= 0:
            ranks[i] = rank[ranks[i]]
    rank[:] = 0
    return n


@kernel
def _spread(place, size, scale, spread):
    """Where pixels lie if rows and planes are so far apart that no step leads from one into the next by mistake.

    Returns how far apart these are.  Where a step is longer than the crop, no pair is looked for.
    """
    width, height = size[2], size[1]
    rows = width + (scale if scale < width else 0)
    planes = rows * (height + (scale if scale < height else 0))
    shift, end = 0, -1
    for i in range(place.size):
        if place[i] >= end:
            row = place[i] // width
            end = (row + 1) * width
            shift = row // height * planes + row % height * rows - row * width
        spread[i] = place[i] + shift
    return rows, planes


@kernel
def _pair(spread, distance, one, other):
    """The pixels that lie a ``distance`` apart, both of the object; returns how many pairs there are."""
    pairs, j, n = 0, 0, spread.size
    for i in range(n):
        aim = spread[i] + distance
        while j < n and spread[j] < aim:
            j += 1
        if j == n:
            break
        one[pairs], other[pairs] = i, j
        pairs += spread[j] == aim
    return pairs


@kernel
def _count(ranks, known, one, other, table, cells, counts):
    """Count pairs by both ranks, and by level, sum and difference; returns how many have no NaN.

    ``cells`` gets the places in the ``table`` that were counted in, and ``known`` are the levels; returns how many
    places these are too, of which some may be the same.
    """
    if known.size * (known.size + 1) // 2 <= one.size:
        return _count_by_cell(ranks, known, one, other, table, cells, counts)
    shares, sums, differences = counts
    lowest = known[0]
    n = 0
    for pair in range(one.size):
        a, b = np.int64(ranks[one[pair]]), np.int64(ranks[other[pair]])
        low, high = min(a, b), max(a, b)
        if low < 0:
            continue
        cell = high * (high + 1) // 2 + low
        table[cell] += 1
        cells[n] = cell
        n += 1
        shares[a] += 1
        shares[b] += 1
        below, above = known[low], known[high]
        sums[above + below - 2 * lowest] += 1
        differences[above - below] += 1
    return n, n


@kernel
def _count_by_cell(ranks, known, one, other, table, cells, counts):
    """The same where there are fewer cells than pairs: what is known of a cell is counted once, not for every pair."""
    shares, sums, differences = counts
    for pair in range(one.size):
        a, b = np.int64(ranks[one[pair]]), np.int64(ranks[other[pair]])
        low, high = min(a, b), max(a, b)
        if low >= 0:
            table[high * (high + 1) // 2 + low] += 1
    n, n_cells, cell = 0, 0, 0
    for high in range(known.size):
        for low in range(high + 1):
            pairs = table[cell]
            if pairs:
                cells[n_cells] = cell
                n_cells += 1
                n += pairs
                shares[high] += pairs
                shares[low] += pairs
                sums[known[high] + known[low] - 2 * known[0]] += pairs
                differences[known[high] - known[low]] += pairs
            cell += 1
    return n, n_cells


@kernel
def _weight(n, weights):
    """The number n log2(n)."""
    return weights[n] if n < weights.size else n * np.log2(n)


@kernel
def _features(n, known, table, cells, counts, weights, features):
    """The 13 features of ``n`` pairs; all counts are 0 afterwards."""
    if n == 0:
        features[:] = np.nan
        return
    shares, sums, differences = counts
    whole = _weight(n, weights)
    lowest, highest = known[0], known[known.size - 1]
    reach = highest - lowest
    # Pairs of one level stand in the table once, others twice.
    squares = 0
    for rank in range(known.size):
        pairs = table[rank * (rank + 3) // 2]
        squares += pairs * pairs
    both = 0.0
    for cell in cells:
        pairs = table[cell]
        table[cell] = 0
        squares += pairs * pairs
        both += _weight(pairs, weights)
    apart = n - differences[0]
    entropy = max((whole - both + apart) / n, 0.0)
    level = 0.0
    for rank in range(known.size):
        level += _weight(shares[rank], weights)
        shares[rank] = 0
    level = max((_weight(2 * n, weights) - level) / (2 * n), 0.0)
    total = power = 0
    added = 0.0
    for i in range(2 * reach + 1):
        pairs = sums[i]
        sums[i] = 0
        total += pairs * i
        power += pairs * i * i
        added += _weight(pairs, weights)
    # About a whole number near the mean, since the difference of two large numbers loses digits.
    middle = total // n
    power += n * middle * middle - 2 * middle * total
    total -= n * middle
    spread = power / n - (total / n) ** 2
    contrast = equal = 0
    near = lost = 0.0
    for i in range(reach + 1):
        pairs = differences[i]
        differences[i] = 0
        contrast += pairs * i * i
        equal += pairs * pairs
        near += pairs / (1 + i * i)
        lost += _weight(pairs, weights)
    apart_squared = contrast / n
    common = entropy - 2 * level
    features[0] = squares / (2 * np.float64(n) * n)
    features[1] = apart_squared
    features[2] = (spread - apart_squared) / (spread + apart_squared) if spread + apart_squared > 0 else 1.0
    features[3] = (spread + apart_squared) / 4
    features[4] = near / n
    features[5] = 2 * lowest + middle + total / n
    features[6] = spread
    features[7] = max((whole - added) / n, 0.0)
    features[8] = entropy
    features[9] = max(equal / (np.float64(n) * n) / (highest + 1) - 1 / (highest + 1) ** 2, 0.0)
    features[10] = max((whole - lost) / n, 0.0)
    features[11] = common / level if level > 0 else common
    features[12] = np.sqrt(max(-np.expm1(2 * common), 0.0))
