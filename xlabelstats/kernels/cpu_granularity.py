"""Loops that take the light of whole objects away by openings of growing size, compiled by numba.

Nothing but the pixels of an object takes part: a minimum or a maximum is that of the neighbours that the object has.
Erosion and reconstruction move values about and compute none, so nothing is rounded before means are taken.
"""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_crops import ROUNDING, most_pixels
from xlabelstats.kernels.cpu_runs import ZERO, kernel

# Below this many pixels, inserting each in its place is faster than sorting by digits.
FEW = 48

# So many steps are reconstructed together.
LANES = 8


@kernel
def spectra(first, place, size, values, shifts, ends, losses):
    """The loss of mean light in every step, in percent: ``losses`` (object, channel, step).

    ``first``, ``place`` and ``size`` are those of the objects' crops, ``values`` (channel, pixel) their pixels, NaN for
    those that do not count.  ``shifts`` (row, 2) are the rows of a disc or ball, in planes and rows from its centre;
    those that reach ``i`` pixels to either side are ``shifts[ends[i]:ends[i + 1]]``.
    """
    most, pad, room = most_pixels(first), ends.size - 2, 0
    for code in range(first.size - 1):
        room = max(room, _layout(size[code], pad)[3])
    sheets, ranks = np.empty((3, room)), np.empty(room, np.int32)
    spots, ordered = np.empty(most, np.int64), np.empty(most, np.int64)
    light, tops, level = np.empty(most), np.empty(most), np.empty(most)
    keys, order, parts = np.empty((2, most), np.uint64), np.empty((2, most), np.int32), np.empty((4, most), np.int32)
    seeds = np.empty((most, LANES))
    for code in range(first.size - 1):
        begin, end = first[code], first[code + 1]
        layout = _layout(size[code], pad)
        for c in range(losses.shape[1]):
            n, total, extent = _valid(place[begin:end], values[c, begin:end], spots, light)
            mean = total / n if n else np.nan
            if not ROUNDING * extent < total < np.inf:
                losses[code, c] = np.nan
                continue
            _spread(spots[:n], size[code], layout)
            _take_background(light[:n], spots, layout, shifts, ends, sheets, tops)
            _sort(tops[:n], keys, order)
            for i in range(n):
                level[i], ordered[i] = tops[order[0, i]], spots[order[0, i]]
            parent = _build_tree(ordered[:n], layout, ranks, parts)
            _lose(mean, level[:n], ordered, layout, sheets, parent, seeds, losses[code, c])


@kernel
def _layout(size, pad):
    """How far rows and planes lie apart, the place of the first pixel of a crop, and how much room there is in all.

    What lies ``pad`` pixels beside a row or plane is not in the next, and every pixel has neighbours.  In 2-D planes
    are 0 apart.
    """
    height, stride = size[1] - 2, size[2] - 2 + pad
    if size[0] == 1:
        return stride, 0, stride, (height + 2) * stride
    sheet = (height + pad) * stride
    return stride, sheet, sheet, size[0] * sheet


@kernel
def _valid(place, values, spots, light):
    """The places and values of pixels that are not NaN; returns how many, and what they and their sizes add up to."""
    n, total, extent = 0, 0.0, 0.0
    for i in range(place.size):
        if not np.isnan(values[i]):
            spots[n], light[n] = place[i], values[i]
            total += values[i]
            extent += abs(values[i])
            n += 1
    return n, total, extent


@kernel
def _spread(spots, size, layout):
    """Make places in a crop, which has a margin, places where rows and planes lie apart."""
    stride, sheet, begin, _ = layout
    margin = 1 if size[0] > 1 else 0
    for i in range(spots.size):
        row = spots[i] // size[2]
        plane = row // size[1]
        x, y = spots[i] - row * size[2] - 1, row - plane * size[1] - 1
        spots[i] = begin + (plane - margin) * sheet + y * stride + x


@kernel
def _take_background(light, spots, layout, shifts, ends, sheets, tops):
    """The light less its opening by a disc or ball, in ``tops``."""
    stride, sheet, _, room = layout
    line, spare, least = sheets[0][:room], sheets[1][:room], sheets[2][:room]
    for i in range(light.size):
        tops[i] = light[i]
    # The largest value is the least of the negative ones, negative.
    for _ in range(2):
        line[:], spare[:], least[:] = np.inf, np.inf, np.inf
        for i in range(light.size):
            line[spots[i]] = tops[i]
        for reach in range(ends.size - 1):
            if reach:
                _widen(line, spare, reach == 1)
                line, spare = spare, line
            for k in range(ends[reach], ends[reach + 1]):
                _lower(line, shifts[k, 0] * sheet + shifts[k, 1] * stride, least)
        for i in range(light.size):
            tops[i] = -least[spots[i]]
    for i in range(light.size):
        # No zero may be negative where bits are compared.
        tops[i] = abs(light[i] - tops[i])


@kernel
def _widen(line, wider, middle):
    """The least values within one pixel more to either side."""
    for i in range(1, line.size - 1):
        wider[i] = line[i - 1] if line[i - 1] < line[i + 1] else line[i + 1]
    wider[0], wider[-1] = line[1], line[-2]
    if middle:
        _lower(line, ZERO, wider)


@kernel
def _lower(values, shift, least):
    """The lesser of two values that lie so far apart, in the second array."""
    begin = max(0, -shift)
    end = max(begin, min(least.size, least.size - shift))
    # Of slices numba sees that no index is negative, so that it takes several elements at a time.
    into, others = least[begin:end], values[begin + shift :]
    for i in range(into.size):
        into[i] = others[i] if others[i] < into[i] else into[i]


@kernel
def _sort(tops, keys, order):
    """Sort pixels, the brightest first and equal ones as they come: ``order[0]``."""
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
        for i in range(n):
            order[0, i] = place[i]


@kernel
def _build_tree(spots, layout, ranks, parts):
    """The tree of connected parts above a level, as ranks: below each pixel the brightest that its part comes to.

    ``spots`` are where pixels lie, the brightest first; ``ranks`` gets their ranks there.  ``parts`` has rows for the
    tree and for a union-find by size: what a pixel hangs on, and of those that hang on themselves the number of pixels
    and the least bright one.
    """
    stride, sheet, _, room = layout
    parent, root, weight, lowest = parts
    ranks[:room] = spots.size
    for i in range(spots.size):
        spot, mine = spots[i], i
        ranks[spot], parent[i], root[i], weight[i] = i, i, i, 1
        for side in range(6 if sheet else 4):
            step = 1 if side < 2 else stride if side < 4 else sheet
            other = ranks[spot + step if side % 2 else spot - step]
            # Of pixels that are less bright, nothing is known yet.
            if other < i:
                while root[other] != other:
                    root[other] = root[root[other]]
                    other = root[other]
                if other != mine:
                    parent[lowest[other]] = i
                    if weight[other] < weight[mine]:
                        other, mine = mine, other
                    root[mine] = other
                    weight[other] += weight[mine]
                    mine = other
        lowest[mine] = i
    return parent[: spots.size]


@kernel
def _lose(mean, level, spots, layout, sheets, parent, seeds, losses):
    """Erode an object step by step, reconstruct it each time, and see what of its mean is gone."""
    stride, sheet, _, room = layout
    image, eroded, outside = sheets[0][:room], sheets[1][:room], sheets[2][:room]
    image[:], eroded[:], outside[:] = np.inf, np.inf, np.inf
    for i in range(level.size):
        image[spots[i]], outside[spots[i]] = level[i], -np.inf
    losses[:] = 0
    before, sums = mean, np.empty(LANES)
    for start in range(0, losses.size, LANES):
        for lane in range(LANES):
            _erode(image, outside, stride, sheet, eroded)
            for i in range(level.size):
                seeds[i, lane] = eroded[spots[i]]
            image, eroded = eroded, image
        _reconstruct(parent, level, seeds, sums)
        for step in range(start, min(start + LANES, losses.size)):
            after = sums[step - start] / level.size
            losses[step] = (before - after) * 100 / mean
            before = after
        # What no longer changes loses nothing more.
        if (image == eroded).all():
            return


@kernel
def _erode(image, outside, stride, sheet, eroded):
    """The least value among each pixel and its neighbours; infinite where ``outside`` is."""
    n = image.size - 2 * stride
    middle, left, right = image[stride : stride + n], image[stride - 1 :], image[stride + 1 :]
    before, behind = image[:n], image[2 * stride :]
    limit, into = outside[stride : stride + n], eroded[stride : stride + n]
    for i in range(n):
        value = left[i] if left[i] < middle[i] else middle[i]
        value = right[i] if right[i] < value else value
        value = before[i] if before[i] < value else value
        value = behind[i] if behind[i] < value else value
        into[i] = limit[i] if limit[i] > value else value
    if sheet:
        _lower(image, sheet, eroded)
        _lower(image, -sheet, eroded)
        for i in range(eroded.size):
            eroded[i] = outside[i] if outside[i] > eroded[i] else eroded[i]


@kernel
def _reconstruct(parent, level, seeds, sums):
    """The sums of the image of these levels, reconstructed by dilation from each of `LANES` seeds, in their place.

    Several at a time, since each step waits for the one before.
    """
    # A part is as bright as the brightest seed in it lets it be, and no less than the part around it.
    for i in range(parent.size):
        above, below = seeds[i], seeds[parent[i]]
        for lane in range(LANES):
            below[lane] = above[lane] if above[lane] > below[lane] else below[lane]
    sums[:] = 0
    for i in range(parent.size - 1, -1, -1):
        above, below, top = seeds[i], seeds[parent[i]], level[i]
        for lane in range(LANES):
            value = below[lane] if below[lane] > above[lane] else above[lane]
            value = value if value < top else top
            above[lane] = value
            sums[lane] += value
