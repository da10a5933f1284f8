"""Loops for how far the pixels of objects lie from the nearest pixel outside, compiled by numba.

Distances are squared whole numbers, so that equal distances are equal.  They are found axis by axis: first within rows,
then along columns, then from plane to plane, each as the lower envelope of parabolas (Felzenszwalb and Huttenlocher
2012).  An object is known by the places of its pixels in its crop, sorted, and nothing else is read: what lies
along a line between two pixels that are outside depends on no pixel beyond these.
"""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_crops import most_pixels
from xlabelstats.kernels.cpu_runs import kernel

# What there is instead of the next pixel along an axis: none, or one of a line that is done.
END, DONE = -1, -2


@kernel
def scratch(place, most):
    """What `edge_squares` needs to work on objects of so many pixels."""
    after = np.empty(most, place.dtype)
    return after, np.empty(most + 2, np.int64), np.empty(most + 2, np.int64), np.empty(most + 3)


@kernel
def edge_squares(place, size, room, squares):
    """The squared distance of every pixel of an object to the nearest one outside: ``squares`` (pixel,).

    ``place`` (pixel,) is where they lie in a crop of this ``size`` (3,), ``room`` what `scratch` gives.
    """
    n = place.size
    i = 0
    while i < n:
        end = i + 1
        while end < n and place[end] == place[end - 1] + 1:
            end += 1
        for k in range(i, end):
            d = min(k - i + 1, end - k)
            squares[k] = d * d
        i = end
    _along(place, size[2], room, squares)
    if size[0] > 1:
        _along(place, size[1] * size[2], room, squares)


@kernel
def _along(place, step, room, squares):
    """Lower the squares to those along another axis too, in which neighbours lie a ``step`` of places apart."""
    after, line, sites, cuts = room
    n = place.size
    k = 0
    for i in range(n):
        target = place[i] + step
        while k < n and place[k] < target:
            k += 1
        after[i] = k if k < n and place[k] == target else END
    for i in range(n):
        if after[i] == DONE:
            continue
        # The pixels outside at both ends of a line are 0 away from themselves.
        line[0] = 0
        last, k = 1, i
        while k >= 0:
            line[last] = squares[k]
            last += 1
            k = after[k]
        line[last] = 0
        _find_lowest(line, last, sites, cuts)
        x, piece, k = 1, 0, i
        while k >= 0:
            while cuts[piece + 1] < x:
                piece += 1
            d = x - sites[piece]
            squares[k] = line[sites[piece]] + d * d
            x += 1
            following = after[k]
            after[k] = DONE
            k = following


@kernel
def _find_lowest(line, last, sites, cuts):
    """Where the parabolas above the pixels 0 to ``last`` of a line are lowest: their ``sites``, and from where each is.

    Behind the last of the ``cuts`` comes an infinite one.
    """
    count = 1
    sites[0], cuts[0] = 0, -np.inf
    for x in range(1, last + 1):
        height = line[x] + x * x
        while True:
            site = sites[count - 1]
            cut = (height - line[site] - site * site) / (2.0 * (x - site))
            if cut > cuts[count - 1]:
                break
            count -= 1
        sites[count], cuts[count] = x, cut
        count += 1
    cuts[count] = np.inf


@kernel
def radii(first, place, size, widths):
    """The largest, mean and median distance to the nearest pixel outside, of every object: ``widths`` (code, 3).

    Both follow from how many pixels have each squared distance, so that no order of pixels matters.
    """
    most = most_pixels(first)
    room = scratch(place, most)
    squares = np.empty(most, np.int64)
    # No squared distance is larger than the number of pixels that are nearer to such a pixel.
    counts = np.zeros(most + 1, np.int64)
    for code in range(first.size - 1):
        pixels = place[first[code] : first[code + 1]]
        n = pixels.size
        edge_squares(pixels, size[code], room, squares)
        largest = 0
        for i in range(n):
            counts[squares[i]] += 1
            largest = max(largest, squares[i])
        passed, total, low = 0, 0.0, -1.0
        for square in range(1, largest + 1):
            count = counts[square]
            if count == 0:
                continue
            counts[square] = 0
            distance = np.sqrt(square)
            total += count * distance
            passed += count
            if low < 0 and 2 * passed >= n:
                # That of an even number is halfway between two.
                low = distance
                widths[code, 2] = low if 2 * passed > n else -1.0
            elif widths[code, 2] < 0:
                widths[code, 2] = (low + distance) / 2
        widths[code, 0], widths[code, 1] = np.sqrt(largest), total / n
