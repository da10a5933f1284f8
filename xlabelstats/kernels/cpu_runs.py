"""Loops over runs of equal label in numpy blocks, compiled by numba.

A block of a mask is read as *runs*: stretches of neighbouring pixels of one row that carry the
same label.  A run costs one look-up of its label, and the pixels in it are read in a loop
without branches.  Every kernel releases the interpreter lock and is compiled once per dtype, to
disk if there is a folder for it.

Images are ``(channel, pixel)``; what is collected is ``(code, channel, field)``, a code being the
position of a label in its block: what one run adds to lies side by side.  Blocks are read in the
order of their pixels: label by label, rows a power of two apart would push each other out of the
cache.
"""

from __future__ import annotations

from functools import cache

import numba
import numpy as np

from xlabelstats.cautions import caution

# Sums are added in the order written, so that results do not depend on the machine's vector units.
_compiled = {
    cached: numba.njit(nogil=True, cache=cached, error_model="numpy", fastmath={"contract"}) for cached in (True, False)
}


def kernel(function):
    """Compile a loop when it is called, once per dtype; to disk if numba finds a folder that it can write to."""
    try:
        return _compiled[True](function)
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        _warn_uncached()
        return _compiled[False](function)


@cache
def _warn_uncached():
    caution(
        "numba finds no folder to keep compiled loops in: neither that of the package nor the home folder can be "
        "written to. They are compiled anew in every process, which takes some seconds; to keep them, set the "
        "environment variable NUMBA_CACHE_DIR to a folder that can be written to"
    )


@kernel
def count_runs(mask, background):
    """Count the runs of a (row, pixel) mask, those of label 0 only if ``background``."""
    total = 0
    for row in range(mask.shape[0]):
        line = mask[row]
        total += background or line[0] != 0
        for i in range(1, line.size):
            total += (line[i] != line[i - 1]) & (background or line[i] != 0)
    return total


@kernel
def place_runs(mask, background, labels, starts, lengths):
    """Fill the label, the first pixel (of the flattened mask) and the length of every run.

    Without room for starts and lengths the labels are all that is kept.
    """
    rows, width = mask.shape
    placing = starts.size > 0
    run = 0
    for row in range(rows):
        line = mask[row]
        i = 0
        while i < width:
            label = line[i]
            first = i
            i += 1
            while i < width and line[i] == label:
                i += 1
            if background or label != 0:
                labels[run] = label
                if placing:
                    starts[run] = row * width + first
                    lengths[run] = i - first
                run += 1


@kernel
def count_valid(image, codes, starts, lengths, moments):
    """Add the number of pixels that are not NaN to moment 0."""
    for run in range(codes.size):
        first, end = starts[run], starts[run] + lengths[run]
        for c in range(image.shape[0]):
            pixels = image[c]
            n = 0
            for i in range(first, end):
                n += pixels[i] == pixels[i]
            moments[codes[run], c, 0] += n


@kernel
def sums_and_extremes(image, codes, starts, lengths, zero, sums, extremes):
    """Add the pixels to ``sums`` and lower and raise ``extremes`` to them, NaN passed over.

    ``zero`` gives the type in which the pixels of one run are summed.  Where there is room for it,
    what rounding took from a sum is kept beside it (Knuth's two-sum).  Either array may be empty,
    if it is not wanted.
    """
    summing, ranging = sums.size > 0, extremes.size > 0
    for run in range(codes.size):
        code, first, end = codes[run], starts[run], starts[run] + lengths[run]
        for c in range(image.shape[0]):
            pixels = image[c]
            s = zero
            if ranging:
                into = extremes[code, c]
                low, high = into[0], into[1]
                if summing:
                    for i in range(first, end):
                        x = pixels[i]
                        s += x if x == x else zero
                        low = x if x < low else low
                        high = x if x > high else high
                else:
                    for i in range(first, end):
                        x = pixels[i]
                        low = x if x < low else low
                        high = x if x > high else high
                into[0], into[1] = low, high
            else:
                for i in range(first, end):
                    x = pixels[i]
                    s += x if x == x else zero
            if summing:
                total = sums[code, c]
                old = total[0]
                new = old + s
                if sums.shape[2] > 1:
                    part = new - old
                    total[1] += (old - (new - part)) + (s - part)
                total[0] = new


@kernel
def powers(image, codes, starts, lengths, sums, order):
    """Add the powers 1 to ``order`` (2 to 4) of pixel - sums[..., 0], NaN passed over, to sums."""
    for run in range(codes.size):
        code, first, end = codes[run], starts[run], starts[run] + lengths[run]
        for c in range(image.shape[0]):
            pixels, into = image[c], sums[code, c]
            mean = into[0]
            a1 = a2 = a3 = a4 = 0.0
            if order == 2:
                for i in range(first, end):
                    x = pixels[i]
                    d = x - mean if x == x else 0.0
                    a1 += d
                    a2 += d * d
            else:
                for i in range(first, end):
                    x = pixels[i]
                    d = x - mean if x == x else 0.0
                    dd = d * d
                    a1 += d
                    a2 += dd
                    a3 += dd * d
                    a4 += dd * dd
                into[3] += a3
                if order > 3:
                    into[4] += a4
            into[1] += a1
            into[2] += a2


@kernel
def centre(sums, moments):
    """Set the moments from 2 on from sums of powers about a rounded mean, sums[1] / n off the true one.

    For order 2 this is the corrected two-pass algorithm of Chan, Golub & LeVeque 1983.  How far the true mean is off
    comes last.
    """
    order = moments.shape[2] - 2
    for code in range(moments.shape[0]):
        for c in range(moments.shape[1]):
            s, out = sums[code, c], moments[code, c]
            n = out[0]
            d = s[1] / n if n > 0 else 0.0
            out[2] = max(s[2] - n * d * d, 0.0)
            if order > 2:
                out[3] = s[3] - 3 * d * s[2] + 2 * n * d**3
            if order > 3:
                out[4] = max(s[4] - 4 * d * s[3] + 6 * d * d * s[2] - 3 * n * d**4, 0.0)
            out[order + 1] = d


@kernel
def merge(rows, count_in, moments_in, extremes_in, count, moments, extremes):
    """Fold records into the rows of others, pairwise; a row whose count is 0 is taken over as it is.

    Chan, Golub & LeVeque 1979 for order 2, Pebay 2008 above it.  A mean is sum / n, which is rounded, and how far that
    is off: of two large means that are close, the difference lies in the digits that rounding takes.
    """
    fields = moments.shape[2]
    order = fields - 2 if fields > 2 else fields - 1
    for i in range(rows.size):
        row = rows[i]
        first = count[row] == 0
        count[row] += count_in[i]
        for c in range(moments.shape[1]):
            a, b = moments[row, c], moments_in[i, c]
            if extremes.shape[2]:
                x, y = extremes[row, c], extremes_in[i, c]
                x[0] = y[0] if first else min(x[0], y[0])
                x[1] = y[1] if first else max(x[1], y[1])
            na = 0.0 if first else a[0]
            nb = b[0]
            if na == 0 or nb == 0:
                for field in range(fields):
                    a[field] = b[field] + (a[field] if not first else 0.0)
                continue
            if order > 1:
                mean_a = a[1] / na
                delta = (b[1] / nb - mean_a) + (b[order + 1] - a[order + 1])
                step = delta / (na + nb)
                if order > 3:
                    a[4] += (
                        b[4]
                        + delta * step**3 * na * nb * (na * na - na * nb + nb * nb)
                        + 6 * step * step * (na * na * b[2] + nb * nb * a[2])
                        + 4 * step * (na * b[3] - nb * a[3])
                    )
                if order > 2:
                    a[3] += b[3] + delta * step * step * na * nb * (na - nb) + 3 * step * (na * b[2] - nb * a[2])
                a[2] += b[2] + delta * step * na * nb
                a[order + 1] += (mean_a - (a[1] + b[1]) / (na + nb)) + step * nb
            if order > 0:
                a[1] += b[1]
            a[0] += b[0]


@kernel
def geometry(codes, starts, lengths, shape, origin, low, high, s1, s2):
    """Collect the box of every code and the sums of its pixel positions and of their products.

    Positions count from ``origin`` (code, axis), the first pixel of the code, so that the sums of
    small objects are whole numbers and exact.  The pixels of a run add up in closed form.
    """
    ndim = shape.size
    seen = np.zeros(origin.shape[0], np.bool_)
    last = ndim - 1
    position = np.empty(ndim, np.int64)
    for run in range(codes.size):
        code, n = codes[run], lengths[run]
        rest = starts[run]
        for axis in range(last, -1, -1):
            position[axis] = rest % shape[axis]
            rest //= shape[axis]
        if not seen[code]:
            seen[code] = True
            for axis in range(ndim):
                origin[code, axis] = low[code, axis] = high[code, axis] = position[axis]
        for axis in range(ndim):
            low[code, axis] = min(low[code, axis], position[axis])
            high[code, axis] = max(high[code, axis], position[axis] + (n if axis == last else 1))
            position[axis] -= origin[code, axis]
        first = float(position[last])
        along = n * first + n * (n - 1) / 2
        for a in range(last):
            s1[code, a] += n * position[a]
            s2[code, a, last] += along * position[a]
            for b in range(a, last):
                s2[code, a, b] += float(n * position[a]) * position[b]
        s1[code, last] += along
        s2[code, last, last] += n * first**2 + first * n * (n - 1) + (n - 1.0) * n * (2 * n - 1) / 6


@kernel
def merge_geometry(codes, n_in, low_in, high_in, origin_in, offset_in, m2_in, n, low, high, origin, offset, m2):
    """Fold boxes, centroids and central second moments into the rows that ``codes`` name, pairwise.

    A centroid is a whole pixel, ``origin``, and the ``offset`` from it.
    """
    ndim = low.shape[1]
    delta = np.empty(ndim)
    for b in range(codes.size):
        a = codes[b]
        first = n[a] == 0
        na, nb = float(n[a]), float(n_in[b])
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
        n[a] += n_in[b]


@kernel
def boxes(codes, starts, lengths, shape, low, high):
    """Lower ``low`` and raise ``high`` (code, axis) to the boxes of the runs."""
    last = shape.size - 1
    width = shape[last]
    position = np.empty(last, np.int64)
    row, end = 0, 0
    for run in range(codes.size):
        code, start = codes[run], starts[run]
        # Runs of the same row follow each other, and divisions cost more than all else here.
        if start < row or start >= end:
            rest = start // width
            row, end = rest * width, rest * width + width
            for axis in range(last - 1, -1, -1):
                position[axis] = rest % shape[axis]
                rest //= shape[axis]
        for axis in range(last):
            low[code, axis] = min(low[code, axis], position[axis])
            high[code, axis] = max(high[code, axis], position[axis] + 1)
        low[code, last] = min(low[code, last], start - row)
        high[code, last] = max(high[code, last], start - row + lengths[run])


@kernel
def coordinate_sums(image, codes, starts, lengths, shape, coords, out):
    """Add the weights and weighted coordinates of the pixels to ``out`` (code, channel, 1 + axis).

    ``coords`` (axis, position) is padded to the longest axis.  An image without channels weighs
    every pixel 1.
    """
    last = shape.size - 1
    weighted = image.shape[0] > 0
    for run in range(codes.size):
        code, n = codes[run], lengths[run]
        row, first = starts[run] // shape[last], starts[run] % shape[last]
        for c in range(out.shape[1]):
            total, along = 0.0, 0.0
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
def position_moments(image, codes, starts, lengths, shape, origin, powers, out):
    """Add the moments of pixel position to ``out`` (code, channel, power of axis 0, ..., flattened).

    Powers go from 0 to ``powers`` - 1, at most 3, along every axis, and positions count from ``origin`` (code,
    axis).  An image weighs the pixels; one without channels weighs every pixel 1, and a run then
    adds up in closed form.
    """
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
