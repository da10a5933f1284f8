"""Loops that take the light of whole objects away by openings of growing size, compiled by numba.

Nothing but the pixels of an object takes part: a minimum or a maximum is that of the neighbours that the object has.
Erosion and reconstruction move values about and compute none, so nothing is rounded before means are taken.
"""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_crops import largest_crop, most_pixels
from xlabelstats.kernels.cpu_runs import kernel

# Below this many pixels, inserting each in its place is faster than sorting by digits.
FEW = 48


@kernel
def spectra(first, place, size, values, shifts, ends, losses):
    """The loss of mean light in every step, in percent: ``losses`` (object, channel, step).

    ``first``, ``place`` and ``size`` are those of the objects' crops, ``values`` (channel, pixel) their pixels, NaN for
    those that do not count.  ``shifts`` (row, 2) are the rows of a disc or ball, in planes and rows from its centre;
    those that reach ``i`` pixels to either side are ``shifts[ends[i]:ends[i + 1]]``.
    """
    most, largest, longest, widest = most_pixels(first), largest_crop(size), 0, 0
    for code in range(first.size - 1):
        longest = max(longest, size[code, 0] * size[code, 1])
        widest = max(widest, size[code, 2])
    spots, light, tops = np.empty(most, np.int64), np.empty(most), np.empty(most)
    rows, begins = np.empty(longest, np.int64), np.empty(longest + 1, np.int64)
    low, high = np.ones(longest, np.int64), np.zeros(longest, np.int64)
    number, least = np.full(largest, -1, np.int32), np.full(largest, np.inf)
    lines = np.empty((2, widest + 2 * ends.size))
    beside = np.empty((most, 6), np.int32)
    keys, order, rank = np.empty((2, most), np.uint64), np.empty((2, most), np.int32), np.empty(most, np.int32)
    parent, root = np.empty(most, np.int32), np.empty(most, np.int32)
    images, level, seed = np.empty((2, most)), np.empty(most), np.empty(most)
    n_rows = 0
    for code in range(first.size - 1):
        begin, end = first[code], first[code + 1]
        height, width, sides = size[code, 1], size[code, 2], 6 if size[code, 0] > 1 else 4
        laid_out = 0
        for c in range(losses.shape[1]):
            n, total = _valid(place[begin:end], values[c, begin:end], spots, light)
            mean = total / n if n else np.nan
            if not 0 < mean < np.inf:
                losses[code, c] = np.nan
                continue
            # Channels without NaN share what only depends on where pixels lie.
            if n < end - begin or laid_out < n:
                low[rows[:n_rows]], high[rows[:n_rows]] = 1, 0
                n_rows = _place_rows(spots[:n], width, rows, begins, low, high)
                _join(spots[:n], height, width, sides, number, beside)
                laid_out = n if n == end - begin else 0
            layout = (rows[:n_rows], begins, low, high, height, width)
            _take_background(light[:n], spots, layout, shifts, ends, lines, least, tops)
            _sort(tops[:n], keys, order, rank)
            _build_tree(rank[:n], order[0], beside, sides, parent, root)
            _lose(mean, tops[:n], rank, beside, sides, parent, images, level, seed, losses[code, c])


@kernel
def _valid(place, values, spots, light):
    """The places and values of pixels that are not NaN; returns how many there are, and their sum."""
    n, total = 0, 0.0
    for i in range(place.size):
        if not np.isnan(values[i]):
            spots[n], light[n] = place[i], values[i]
            total += values[i]
            n += 1
    return n, total


@kernel
def _place_rows(spots, width, rows, begins, low, high):
    """The rows of a crop that have pixels, the first pixel of each, and its extent; returns how many rows."""
    n_rows, last = 0, -1
    for i in range(spots.size):
        row = spots[i] // width
        x = spots[i] - row * width
        if row != last:
            rows[n_rows], begins[n_rows], low[row], last = row, i, x, row
            n_rows += 1
        high[row] = x + 1
    begins[n_rows] = spots.size
    return n_rows


@kernel
def _join(spots, height, width, sides, number, beside):
    """The direct neighbours of every pixel by their number; where there is none, the pixel itself."""
    for i in range(spots.size):
        number[spots[i]] = i
    for i in range(spots.size):
        spot = spots[i]
        for side in range(sides):
            step = 1 if side < 2 else width if side < 4 else height * width
            other = number[spot + step if side % 2 else spot - step]
            beside[i, side] = other if other >= 0 else i
    for i in range(spots.size):
        number[spots[i]] = -1


@kernel
def _take_background(light, spots, layout, shifts, ends, lines, least, tops):
    """The light less its opening by a disc or ball, in ``tops``."""
    for i in range(light.size):
        tops[i] = light[i]
    # The largest value is the least of the negative ones, negative.
    for _ in range(2):
        _spread_least(tops, spots, layout, shifts, ends, lines, least)
        for i in range(light.size):
            tops[i] = -least[spots[i]]
        rows, _, low, high, _, width = layout
        for row in rows:
            least[row * width + low[row] : row * width + high[row]] = np.inf
    for i in range(light.size):
        # No zero may be negative where bits are compared.
        tops[i] = abs(light[i] - tops[i])


@kernel
def _spread_least(values, spots, layout, shifts, ends, lines, least):
    """The least value in a disc or ball around every pixel, in ``least`` over the crop; between pixels are others."""
    rows, begins, low, high, height, width = layout
    pad = ends.size - 1
    n_rows = low.size
    for k in range(rows.size):
        row = rows[k]
        plane, begin, end = row // height, low[row], high[row]
        y = row - plane * height
        line, spare = lines[0, : end - begin + 2 * pad], lines[1, : end - begin + 2 * pad]
        line[:], spare[:] = np.inf, np.inf
        for i in range(begins[k], begins[k + 1]):
            line[spots[i] - row * width - begin + pad] = values[i]
        for reach in range(pad):
            if reach:
                _widen(line, spare, reach == 1)
                line, spare = spare, line
            for i in range(ends[reach], ends[reach + 1]):
                other = y + shifts[i, 1]
                if other < 0 or other >= height:
                    continue
                other += (plane + shifts[i, 0]) * height
                if other < 0 or other >= n_rows:
                    continue
                left, right = max(low[other], begin - reach), min(high[other], end + reach)
                if left < right:
                    into = least[other * width + left : other * width + right]
                    _lower(line[left - begin + pad : right - begin + pad], into)


@kernel
def _widen(line, wider, middle):
    """The least values within one pixel more to either side."""
    n = line.size - 2
    left, right, into = line[:n], line[2:], wider[1 : n + 1]
    for i in range(n):
        into[i] = left[i] if left[i] < right[i] else right[i]
    if middle:
        _lower(line[1 : n + 1], into)


@kernel
def _lower(values, least):
    """The lesser of two values, in the second."""
    for i in range(least.size):
        least[i] = values[i] if values[i] < least[i] else least[i]


@kernel
def _sort(tops, keys, order, rank):
    """Sort pixels, the brightest first and equal ones as they come: ``order[0]``, and the place of each, ``rank``."""
    n = tops.size
    bits = tops.view(np.uint64)
    key, place, spare_key, spare_place = keys[0, :n], order[0, :n], keys[1, :n], order[1, :n]
    if n < FEW:
        for i in range(n):
            j = i - 1
            while j >= 0 and key[j] < bits[i]:
                key[j + 1], place[j + 1] = key[j], place[j]
                j -= 1
            key[j + 1], place[j + 1] = bits[i], i
    else:
        tally = np.zeros((8, 256), np.int64)
        for i in range(n):
            # What is not negative sorts as its bits do.
            key[i], place[i] = ~bits[i], i
            for digit in range(8):
                tally[digit, (key[i] >> np.uint64(8 * digit)) & np.uint64(255)] += 1
        for digit in range(8):
            shift, counts = np.uint64(8 * digit), tally[digit]
            if counts[(key[0] >> shift) & np.uint64(255)] == n:
                continue
            total = 0
            for value in range(256):
                total, counts[value] = total + counts[value], total
            for i in range(n):
                value = (key[i] >> shift) & np.uint64(255)
                spare_key[counts[value]], spare_place[counts[value]] = key[i], place[i]
                counts[value] += 1
            key, place, spare_key, spare_place = spare_key, spare_place, key, place
        order[0, :n] = place
    for i in range(n):
        rank[order[0, i]] = i


@kernel
def _build_tree(rank, order, beside, sides, parent, root):
    """The tree of connected parts above a level, as ranks: below each pixel the brightest that its part comes to."""
    for i in range(rank.size):
        parent[i], root[i] = i, i
        for side in range(sides):
            other = rank[beside[order[i], side]]
            if other < i:
                while root[other] != other:
                    root[other] = root[root[other]]
                    other = root[other]
                if other != i:
                    parent[other], root[other] = i, i


@kernel
def _lose(mean, tops, rank, beside, sides, parent, images, level, seed, losses):
    """Erode an object step by step, reconstruct it each time, and see what of its mean is gone."""
    n = tops.size
    image, eroded = images[0, :n], images[1, :n]
    for i in range(n):
        image[i], level[rank[i]] = tops[i], tops[i]
    losses[:] = 0
    before = mean
    for step in range(losses.size):
        # What no longer changes loses nothing more.
        if not _erode(image, beside, sides, eroded) and step:
            return
        image, eroded = eroded, image
        for i in range(n):
            seed[rank[i]] = image[i]
        after = _reconstruct(parent[:n], level, seed) / n
        losses[step] = (before - after) * 100 / mean
        before = after


@kernel
def _erode(image, beside, sides, eroded):
    """The least value among each pixel and its neighbours; returns whether any is new."""
    changed = False
    for i in range(image.size):
        value = image[i]
        for side in range(sides):
            other = image[beside[i, side]]
            value = other if other < value else value
        changed |= value != image[i]
        eroded[i] = value
    return changed


@kernel
def _reconstruct(parent, level, seed):
    """The sum of the image of these levels, reconstructed by dilation from ``seed``, which is overwritten."""
    # A part is as bright as the brightest seed in it lets it be, and no less than the part around it.
    for i in range(parent.size):
        below = parent[i]
        seed[below] = seed[i] if seed[i] > seed[below] else seed[below]
    total = 0.0
    for i in range(parent.size - 1, -1, -1):
        below = seed[parent[i]]
        value = seed[i] if seed[i] > below else below
        seed[i] = value if value < level[i] else level[i]
        total += seed[i]
    return total
