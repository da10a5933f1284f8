"""Loops for how light lies in rings between the centre and the edge of objects, compiled by numba.

Paths from the centre go from pixel to pixel of an object, straight or diagonally.  Their length is a number of straight
steps and one of diagonal ones, and rounded only when the two are added up, so that equal paths are equally long.
"""

from __future__ import annotations

import math

import numpy as np

from xlabelstats.kernels.cpu_crops import ROUNDING, most_pixels
from xlabelstats.kernels.cpu_edge_distances import edge_squares, scratch
from xlabelstats.kernels.cpu_runs import ZERO, kernel

DIAGONAL = math.sqrt(2)

# Rings are cut into as many wedges: before and behind the centre along each axis, and along which of them farther.
WEDGES = 8

# A pixel that no path reaches is in no wedge.
NOWHERE = -1

# What CellProfiler adds to distances, so that it never divides by 0.
MORE = 0.001


@kernel
def radial_distribution(first, place, size, values, rings, shares):
    """How the light of every object is distributed over its rings: ``shares`` (code, channel, 3, ring).

    These are the fraction of the light; that over the fraction of pixels; and the standard deviation over the mean of
    the means of the wedges.  ``values`` (channel, pixel) have NaN where a pixel is left out.
    """
    most = most_pixels(first)
    room, lists = scratch(place, most), np.empty((3, most), place.dtype)
    squares, wedges = np.empty(most, np.int64), np.empty(most, np.int64)
    above, below = np.empty(most, place.dtype), np.empty(most, place.dtype)
    straight, diagonal, length = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most)
    light, counts = np.empty(rings * WEDGES), np.empty(rings * WEDGES, np.int64)
    for code in range(first.size - 1):
        pixels = place[first[code] : first[code + 1]]
        edge_squares(pixels, size[code], room, squares)
        centre = ZERO
        for i in range(pixels.size):
            centre = i if squares[i] > squares[centre] else centre
        width = size[code, 2]
        _find_rows(pixels, width, above, below)
        _follow_paths(pixels, width, centre, above, below, straight, diagonal, length, lists)
        _place_wedges(pixels, width, centre, squares, length, rings, wedges)
        for c in range(values.shape[0]):
            light[:], counts[:], extent = 0.0, 0, 0.0
            for i in range(pixels.size):
                value, wedge = values[c, first[code] + i], wedges[i]
                if wedge >= 0 and value == value:
                    light[wedge] += value
                    extent += abs(value)
                    counts[wedge] += 1
            _compare_rings(light, counts, extent, shares[code, c])


@kernel
def _find_rows(place, width, above, below):
    """The first pixel of the rows above and below that may touch each pixel, or the next one behind that place."""
    n = place.size
    up = down = 0
    for i in range(n):
        while place[up] < place[i] - width - 1:
            up += 1
        while down < n and place[down] < place[i] + width - 1:
            down += 1
        above[i], below[i] = up, down


@kernel
def _follow_paths(place, width, centre, above, below, straight, diagonal, length, lists):
    """The ``length`` of the shortest path from the centre to every pixel of an object, infinite where there is none.

    Pixels wait in ``lists``, by the whole part of their lengths (Dial 1969): as no step is shorter than 1, none in the
    first list can make another there nearer, and as none is longer than 2, there are never more than three lists.
    """
    n = place.size
    for i in range(n):
        length[i] = np.inf
    length[centre], straight[centre], diagonal[centre] = 0.0, 0, 0
    waiting = np.zeros(3, np.int64)
    lists[0, 0], waiting[0] = centre, 1
    whole, idle = 0, 0
    while idle < 3:
        turn = whole % 3
        for k in range(waiting[turn]):
            i = lists[turn, k]
            if length[i] < whole:
                # It has become nearer and has had its turn.
                continue
            beside, across = straight[i] + 1, diagonal[i] + 1
            side, corner = beside + diagonal[i] * DIAGONAL, straight[i] + across * DIAGONAL
            for row in range(-1, 2):
                middle = place[i] + row * width
                j = above[i] if row < 0 else below[i] if row > 0 else max(i - 1, 0)
                while j < n and place[j] <= middle + 1:
                    level = row == 0 or place[j] == middle
                    reach = side if level else corner
                    if reach < length[j] and place[j] >= middle - 1:
                        if np.floor(length[j]) != np.floor(reach):
                            target = int(reach) % 3
                            lists[target, waiting[target]] = j
                            waiting[target] += 1
                        length[j] = reach
                        straight[j] = beside if level else straight[i]
                        diagonal[j] = diagonal[i] if level else across
                    j += 1
        idle = 0 if waiting[turn] else idle + 1
        waiting[turn] = 0
        whole += 1


@kernel
def _place_wedges(place, width, centre, squares, length, rings, wedges):
    """The wedge of every pixel, ring by ring, or `NOWHERE`.

    Rings are of equal width in the path from the centre over that plus the distance to the edge.
    """
    middle = place[centre] // width
    column = place[centre] - middle * width
    y, begin = 0, 0
    for i in range(place.size):
        if i == 0 or place[i] >= begin + width:
            y = place[i] // width
            begin = y * width
        if length[i] == np.inf:
            wedges[i] = NOWHERE
            continue
        part = length[i] / (length[i] + np.sqrt(squares[i]) + MORE)
        ring = min(int(part * rings), rings - 1)
        dy, dx = y - middle, place[i] - begin - column
        wedges[i] = WEDGES * ring + (dy > 0) + 2 * (dx > 0) + 4 * (abs(dy) > abs(dx))


@kernel
def _compare_rings(light, counts, extent, shares):
    """What the light and the number of pixels of wedges make of every ring; NaN where that is undefined.

    ``extent`` is the sum of the sizes of pixels: what is very small beside it is 0 but for rounding.
    """
    rings = shares.shape[1]
    total, pixels = 0.0, 0
    for ring in range(rings):
        amount, n, held, means = 0.0, 0, 0, 0.0
        for wedge in range(WEDGES * ring, WEDGES * (ring + 1)):
            if counts[wedge]:
                amount += light[wedge]
                n += counts[wedge]
                means += light[wedge] / counts[wedge]
                held += 1
        shares[0, ring], shares[1, ring] = amount, n
        total += amount
        pixels += n
        mean, squares = means / held, 0.0
        for wedge in range(WEDGES * ring, WEDGES * (ring + 1)):
            if counts[wedge]:
                d = light[wedge] / counts[wedge] - mean
                squares += d * d
        shares[2, ring] = np.sqrt(squares / held) / mean if abs(mean) * n > ROUNDING * extent else np.nan
    for ring in range(rings):
        amount, n = shares[0, ring], shares[1, ring]
        fraction = amount / total if abs(total) > ROUNDING * extent else np.nan
        shares[0, ring] = fraction
        shares[1, ring] = fraction / (n / pixels) if n else np.nan
