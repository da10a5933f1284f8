"""Loops over the Zernike moments of whole objects, compiled by numba.

A Zernike polynomial is a sum of products of powers of the row and the column.  So the sums of these products over the
pixels of an object are enough for all of the polynomials, and within a row the power of the row is a factor.
"""

from __future__ import annotations

import math

import numpy as np

from xlabelstats.kernels.cpu_circles import hull, room_for_corners, smallest_circle
from xlabelstats.kernels.cpu_runs import kernel

# The powers from 0 to 9.
POWERS = 10

# A moment smaller than this part of what its pixels sum to is 0 but for rounding.
ROUNDING = 1e-10


@kernel
def zernike(first, place, size, values, edges, places, factors, by_area, magnitude, phase):
    """The ``magnitude`` of every moment (object, channel, moment) and, where there is room for it, its ``phase``.

    ``values`` (channel, pixel) are what the pixels weigh; NaN is left out.  Sums are divided by the area of the circle
    if ``by_area``, else by the number of pixels.  The real parts of all moments, and then the imaginary ones, are the
    sums of ``factors`` times the products of powers at ``places``, from one of the ``edges`` to the next.
    """
    sides, corners = room_for_corners(size)
    products = np.empty((POWERS, POWERS))
    n_moments = magnitude.shape[2]
    for i in range(len(magnitude)):
        begin, end, width = first[i], first[i + 1], size[i, 2]
        n_corners = hull(place[begin:end], width, sides, corners)
        y, x, radius = smallest_circle(corners, n_corners)
        for c in range(magnitude.shape[1]):
            valid, light = _sum_products(place[begin:end], values[c, begin:end], width, y, x, 1 / radius, products)
            if radius == 0 or valid == 0:
                magnitude[i, c] = np.nan
                phase[i, c] = np.nan
                continue
            total = math.pi * radius * radius if by_area else float(valid)
            light /= total
            for k in range(n_moments):
                real = _combine(products, edges[k], edges[k + 1], places, factors) / total
                imaginary = _combine(products, edges[n_moments + k], edges[n_moments + k + 1], places, factors) / total
                size_of = math.sqrt(real * real + imaginary * imaginary)
                magnitude[i, c, k] = size_of
                if phase.shape[2]:
                    # The order of CellProfiler, by which a moment without imaginary part has a phase of pi / 2.
                    phase[i, c, k] = math.atan2(real, imaginary) if size_of > ROUNDING * light else np.nan


@kernel
def _sum_products(place, values, width, y, x, scale, products):
    """Sums of the pixels of an object times powers of the row and column from the centre (y, x), (row, column).

    Returns the number of pixels that are not NaN, and the sum of their sizes.
    """
    products[:] = 0
    valid, light = 0, 0.0
    begin = 0
    while begin < place.size:
        row = np.int64(place[begin]) // width
        after = (row + 1) * width
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = s9 = 0.0
        i = begin
        while i < place.size and place[i] < after:
            w = values[i]
            if w == w:
                u = (np.int64(place[i]) - row * width - x) * scale
                u2 = u * u
                valid += 1
                light += abs(w)
                wu = w * u
                s0 += w
                s1 += wu
                w, wu = w * u2, wu * u2
                s2 += w
                s3 += wu
                w, wu = w * u2, wu * u2
                s4 += w
                s5 += wu
                w, wu = w * u2, wu * u2
                s6 += w
                s7 += wu
                w, wu = w * u2, wu * u2
                s8 += w
                s9 += wu
            i += 1
        begin = i
        v, power = (row - y) * scale, 1.0
        for q in range(POWERS):
            into = products[q]
            into[0] += power * s0
            into[1] += power * s1
            into[2] += power * s2
            into[3] += power * s3
            into[4] += power * s4
            into[5] += power * s5
            into[6] += power * s6
            into[7] += power * s7
            into[8] += power * s8
            into[9] += power * s9
            power *= v
    return valid, light


@kernel
def _combine(products, begin, end, places, factors):
    """The sum of factors times the products at these places."""
    total = 0.0
    flat = products.reshape(-1)
    for t in range(begin, end):
        total += factors[t] * flat[places[t]]
    return total
