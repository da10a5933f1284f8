"""Loops over where the pixels of labels lie, in numpy blocks, compiled by numba: boxes, means, moments of position."""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_runs import kernel


def geometry(runs, origin, low, high, s1, s2):
    """Collect the box of every code and the sums of its pixel positions and of their products.

    Positions count from ``origin`` (code, axis), the first pixel of the code, so that the sums of
    small objects are whole numbers and exact.  The pixels of a run add up in closed form.
    """
    low[...], high[...], origin[:, -1:] = np.iinfo(np.int64).max, 0, -1
    _geometry(runs, np.empty(runs.shape.size, np.int64), origin, low, high, s1, s2)


@kernel
def _geometry(runs, position, origin, low, high, s1, s2):
    """See `geometry`: ``origin`` is -1 along the last axis where no pixel was found, ``position`` memory to work in."""
    codes, starts, lengths, shape = runs
    last = shape.size - 1
    width = shape[last]
    row, end = 0, 0
    for run in range(codes.size):
        code, start, n = codes[run], starts[run], lengths[run]
        # Runs of the same row follow each other, and divisions cost more than all else here.
        if start < row or start >= end:
            rest = start // width
            row, end = rest * width, rest * width + width
            for axis in range(last - 1, -1, -1):
                position[axis] = rest % shape[axis]
                rest //= shape[axis]
        begin = start - row
        beyond, least, most = begin + n, low[code, last], high[code, last]
        low[code, last] = begin if begin < least else least
        high[code, last] = beyond if beyond > most else most
        new = origin[code, last] < 0
        origin[code, last] = begin if new else origin[code, last]
        first = float(begin - origin[code, last])
        along = n * first + n * (n - 1) / 2
        for a in range(last):
            here, least, most = position[a], low[code, a], high[code, a]
            low[code, a] = here if here < least else least
            high[code, a] = here + 1 if here >= most else most
            origin[code, a] = here if new else origin[code, a]
            x = here - origin[code, a]
            s1[code, a] += n * x
            s2[code, a, last] += along * x
            for b in range(a + 1):
                s2[code, b, a] += float(n * (position[b] - origin[code, b])) * x
        s1[code, last] += along
        s2[code, last, last] += n * (first * first) + first * n * (n - 1) + (n - 1.0) * n * (2 * n - 1) / 6


@kernel
def merge_geometry(rows, before, count, places_in, places):
    """Fold boxes, centroids and central second moments into the rows of others, pairwise.

    ``before`` is the number of pixels of those rows so far, ``count`` the number added.  A centroid is a whole pixel,
    ``origin``, and the ``offset`` from it.
    """
    low_in, high_in, origin_in, offset_in, m2_in = places_in
    low, high, origin, offset, m2 = places
    ndim = low.shape[1]
    delta = np.empty(ndim)
    for b in range(rows.size):
        a = rows[b]
        first = before[b] == 0
        na, nb = float(before[b]), float(count[b])
        share = nb / (na + nb)
        for axis in range(ndim):
            low[a, axis] = low_in[b, axis] if first else min(low[a, axis], low_in[b, axis])
            high[a, axis] = high_in[b, axis] if first else max(high[a, axis], high_in[b, axis])
            if first:
                origin[a, axis], offset[a, axis] = origin_in[b, axis], offset_in[b, axis]
            delta[axis] = float(origin_in[b, axis] - origin[a, axis]) + (offset_in[b, axis] - offset[a, axis])
            offset[a, axis] += delta[axis] * share
        for i in range(ndim):
            for j in range(ndim):
                m2[a, i, j] += m2_in[b, i, j] + delta[i] * delta[j] * na * share


def boxes(runs, low, high):
    """Find the box of every code, by the loop of `geometry`: another would take longer to compile than it saves."""
    axes = low.shape[1]
    geometry(runs, np.empty_like(low), low, high, np.zeros(low.shape), np.zeros((*low.shape, axes)))


@kernel
def coordinate_sums(image, runs, coords, out):
    """Add the weights and weighted coordinates of the pixels to ``out`` (code, channel, 1 + axis).

    ``coords`` (axis, position) is padded to the longest axis.  An image without channels weighs
    every pixel 1.
    """
    codes, starts, lengths, shape = runs
    last = shape.size - 1
    weighted = image.shape[0] > 0
    # Along consecutive numbers the pixels of a run add up in closed form.
    numbered = not weighted
    for i in range(1, shape[last]):
        numbered &= coords[last, i] - coords[last, i - 1] == 1
    for run in range(codes.size):
        code, n = codes[run], lengths[run]
        row, first = starts[run] // shape[last], starts[run] % shape[last]
        for c in range(out.shape[1]):
            total, along = 0.0, 0.0
            if numbered:
                total = float(n)
                along = total * coords[last, first] + total * (total - 1) / 2
            else:
                for i in range(n):
                    w = float(image[c, starts[run] + i]) if weighted else 1.0
                    total += w
                    along += w * coords[last, first + i]
            into = out[code, c]
            into[0] += total
            into[1 + last] += along
            rest = row
            for axis in range(last - 1, -1, -1):
                into[1 + axis] += total * coords[axis, rest % shape[axis]]
                rest //= shape[axis]


@kernel
def position_moments(image, runs, origin, powers, out):
    """Add the moments of pixel position to ``out`` (code, channel, power of axis 0, ..., flattened).

    Powers go from 0 to ``powers`` - 1, at most 3, along every axis, and positions count from ``origin`` (code,
    axis).  An image weighs the pixels; one without channels weighs every pixel 1, and a run then
    adds up in closed form.
    """
    codes, starts, lengths, shape = runs
    last = shape.size - 1
    rests = powers**last
    rest_moments = np.empty(rests)
    sums = np.empty(4)
    weighted = image.shape[0] > 0
    for run in range(codes.size):
        code, n = codes[run], lengths[run]
        first = float(starts[run] % shape[last] - origin[code, last])
        row = starts[run] // shape[last]
        # Products of powers of the other axes' positions, the first axis slowest.
        rest_moments[0] = 1.0
        size = 1
        for axis in range(last - 1, -1, -1):
            position = float(row % shape[axis] - origin[code, axis])
            row //= shape[axis]
            factor = 1.0
            for power in range(1, powers):
                factor *= position
                for i in range(size):
                    rest_moments[power * size + i] = rest_moments[i] * factor
            size *= powers
        for c in range(out.shape[1]):
            if weighted:
                sums[:] = 0
                for i in range(n):
                    w = float(image[c, starts[run] + i])
                    x = first + i
                    sums[0] += w
                    sums[1] += w * x
                    if powers > 2:
                        sums[2] += w * x * x
                        sums[3] += w * x * x * x
            else:
                n1 = n * (n - 1.0) / 2
                n2 = n1 * (2 * n - 1.0) / 3
                sums[0] = n
                sums[1] = n * first + n1
                sums[2] = n * first**2 + 2 * first * n1 + n2
                sums[3] = n * first**3 + 3 * first**2 * n1 + 3 * first * n2 + n1 * n1
            into = out[code, c]
            for i in range(rests):
                for power in range(powers):
                    into[i * powers + power] += rest_moments[i] * sums[power]


@kernel
def first_extremes(image, runs, largest, skipna, extremes, places):
    """Find the smallest or ``largest`` pixel of every code and channel, and the first that is so.

    NaN is passed over if ``skipna``, else it is the extreme.  ``places`` (code, channel) are numbers of pixels of the
    flattened block, -1 before any is found.
    """
    codes, starts, lengths, _ = runs
    for run in range(codes.size):
        code, first, end = codes[run], starts[run], starts[run] + lengths[run]
        for c in range(image.shape[0]):
            pixels = image[c]
            extreme, place = extremes[code, c], places[code, c]
            i = first
            while place < 0 and i < end:
                if pixels[i] == pixels[i] or not skipna:
                    extreme, place = pixels[i], i
                i += 1
            # No number is beyond NaN.
            if largest:
                for k in range(i, end):
                    x = pixels[k]
                    if x > extreme or (x != x and not skipna and extreme == extreme):
                        extreme, place = x, k
            else:
                for k in range(i, end):
                    x = pixels[k]
                    if x < extreme or (x != x and not skipna and extreme == extreme):
                        extreme, place = x, k
            extremes[code, c], places[code, c] = extreme, place
