"""Loops over runs of equal label in numpy blocks, compiled by numba.

A block of a mask is read as *runs*: stretches of neighbouring pixels of one row that carry the
same label.  A run costs one look-up of its label, and the pixels in it are read in a loop
without branches.  Every kernel releases the interpreter lock and is compiled once per dtype, to
disk.  Images are ``(channel, pixel)``; tables are ``(channel, code)``, a code being the position
of a label in its block.  Formulas: Pebay 2008, SAND2008-6212.
"""

from __future__ import annotations

import numba
import numpy as np

# Strict kernels add in the order written.  Fast ones may reorder sums to use the processor's
# vector units; NaN and inf keep their meaning in both.  That strict ones are so must be said:
# left unsaid, a function takes over the setting of the one that first calls it.
_strict = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=False)
_fast = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


@_fast
def count_runs(mask, background):
    """Count the runs of a (row, pixel) mask, those of label 0 only if ``background``."""
    total = 0
    for row in range(mask.shape[0]):
        line = mask[row]
        total += background or line[0] != 0
        for i in range(1, line.size):
            total += (line[i] != line[i - 1]) & (background or line[i] != 0)
    return total


@_fast
def find_runs(mask, background, labels, starts, lengths):
    """Fill the label, the first pixel (of the flattened mask) and the length of every run."""
    rows, width = mask.shape
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
                starts[run] = row * width + first
                lengths[run] = i - first
                run += 1


@_fast
def count_valid(image, codes, starts, lengths, valid):
    """Add to ``valid`` the number of pixels that are not NaN."""
    for c in range(image.shape[0]):
        pixels, out = image[c], valid[c]
        for run in range(codes.size):
            n = 0
            for i in range(starts[run], starts[run] + lengths[run]):
                n += pixels[i] == pixels[i]
            out[codes[run]] += n


@_fast
def extremes(image, codes, starts, lengths, lowest, highest):
    """Lower ``lowest`` and raise ``highest`` to the pixels, NaN passed over."""
    for c in range(image.shape[0]):
        pixels, low_out, high_out = image[c], lowest[c], highest[c]
        for run in range(codes.size):
            code = codes[run]
            low, high = low_out[code], high_out[code]
            for i in range(starts[run], starts[run] + lengths[run]):
                x = pixels[i]
                low = x if x < low else low
                high = x if x > high else high
            low_out[code], high_out[code] = low, high


@_strict
def _add(total, lost, code, x):
    """Add x to ``total[code]`` and what rounding took from the sum to ``lost`` (Neumaier 1974)."""
    old = total[code]
    new = old + x
    lost[code] += (old - new) + x if abs(old) >= abs(x) else (x - new) + old
    total[code] = new


@_fast
def sums(image, codes, starts, lengths, zero, total, lost):
    """Add the pixels, NaN passed over, to ``total``; the exact sum is nearer ``total + lost``.

    ``zero`` gives the type in which the pixels of one run are summed.
    """
    for c in range(image.shape[0]):
        pixels, out, rest = image[c], total[c], lost[c]
        for run in range(codes.size):
            s = zero
            for i in range(starts[run], starts[run] + lengths[run]):
                x = pixels[i]
                s += x if x == x else zero
            _add(out, rest, codes[run], s)


@_fast
def powers(image, codes, starts, lengths, order, mean, s1, s2, s3, s4):
    """Add the powers 1 to ``order`` (2 to 4) of pixel - mean, NaN passed over, to s1 ... s4."""
    for c in range(image.shape[0]):
        pixels = image[c]
        for run in range(codes.size):
            code = codes[run]
            centre = mean[c, code]
            a1 = a2 = a3 = a4 = 0.0
            if order == 2:
                for i in range(starts[run], starts[run] + lengths[run]):
                    x = pixels[i]
                    d = x - centre if x == x else 0.0
                    a1 += d
                    a2 += d * d
            else:
                for i in range(starts[run], starts[run] + lengths[run]):
                    x = pixels[i]
                    d = x - centre if x == x else 0.0
                    dd = d * d
                    a1 += d
                    a2 += dd
                    a3 += dd * d
                    a4 += dd * dd
            s1[c, code] += a1
            s2[c, code] += a2
            if order > 2:
                s3[c, code] += a3
            if order > 3:
                s4[c, code] += a4


@_strict
def merge_counts(codes, n_in, n):
    """Add rows of counts to the rows that ``codes`` name."""
    for c in range(n.shape[0]):
        for i in range(codes.size):
            n[c, codes[i]] += n_in[c, i]


@_strict
def merge_extremes(codes, lowest_in, highest_in, lowest, highest):
    """Fold rows of lowest and highest values into the rows that ``codes`` name."""
    for c in range(lowest.shape[0]):
        for i in range(codes.size):
            code = codes[i]
            lowest[c, code] = min(lowest[c, code], lowest_in[c, i])
            highest[c, code] = max(highest[c, code], highest_in[c, i])


@_strict
def merge_moments(codes, order, n_in, sum_in, m2_in, m3_in, m4_in, n, total, m2, m3, m4):
    """Fold central moments of order 1 to ``order`` into the rows that ``codes`` name, pairwise.

    Chan, Golub & LeVeque 1979 for order 2, Pebay 2008 above it.
    """
    for c in range(n.shape[0]):
        for i in range(codes.size):
            a, b = codes[i], i
            nb = float(n_in[c, b])
            if nb == 0:
                continue
            na = float(n[c, a])
            if order > 1:
                both = na + nb
                delta = sum_in[c, b] / nb - (total[c, a] / na if na > 0 else 0.0)
                if na == 0:
                    delta = 0.0
                step = delta / both
                if order > 3:
                    m4[c, a] += (
                        m4_in[c, b]
                        + delta * step**3 * na * nb * (na * na - na * nb + nb * nb)
                        + 6 * step * step * (na * na * m2_in[c, b] + nb * nb * m2[c, a])
                        + 4 * step * (na * m3_in[c, b] - nb * m3[c, a])
                    )
                if order > 2:
                    m3[c, a] += (
                        m3_in[c, b]
                        + delta * step * step * na * nb * (na - nb)
                        + 3 * step * (na * m2_in[c, b] - nb * m2[c, a])
                    )
                m2[c, a] += m2_in[c, b] + delta * step * na * nb
            total[c, a] += sum_in[c, b]
            n[c, a] += n_in[c, b]


@_strict
def geometry(codes, starts, lengths, shape, seen, origin, low, high, s1, s2):
    """Collect the box of every code and the sums of its pixel positions and of their products.

    Positions count from ``origin`` (code, axis), the first pixel of the code, so that the sums of
    small objects are whole numbers and exact.  The pixels of a run add up in closed form.
    """
    ndim = shape.size
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


@_strict
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
