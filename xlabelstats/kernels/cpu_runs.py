"""Loops over runs of equal label in numpy blocks, compiled by numba.

A block of a mask is read as *runs*: stretches of neighbouring pixels of one row that carry the
same label.  A run costs one look-up of its label, and the pixels in it are read in a loop
without branches.  Every kernel releases the interpreter lock and is compiled once per dtype, to
disk if there is a folder for it.

What differs by call and not by pixel has a kernel each: a branch within a loop would be compiled
as several loops.  Memory to work in comes from outside: a kernel that asks for it takes longer to
compile.  For the same reason elements are copied one by one: numba takes a second to compile what one
array does with the shape of another.

Images are ``(channel, pixel)``; what is collected is ``(code, channel, field)``, a code being the
position of a label in its block: what one run adds to lies side by side.  Blocks are read in the
order of their pixels: label by label, rows a power of two apart would push each other out of the
cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import numba
import numpy as np

from xlabelstats.cautions import caution
from xlabelstats.kernels.on_disk import keep_apart

F = TypeVar("F", bound=Callable[..., Any])

# Sums are added in the order written, so that results do not depend on the machine's vector units.
_compiled = {
    cached: numba.njit(nogil=True, cache=cached, error_model="numpy", fastmath={"contract"}) for cached in (True, False)
}

# What a counter starts from that is handed to other kernels: numba would compile these for the literal 0, too.
ZERO = np.int64(0)

# Eight bytes of 1, and how far the highest byte of eight has to be moved to be the lowest.
ONE, ONES, HIGH_BYTE = np.uint64(1), np.uint64(0x0101010101010101), np.uint64(56)


def kernel(function: F) -> F:
    """Compile a loop when it is called, once per dtype; to disk if numba finds a folder that it can write to."""
    try:
        dispatcher = _compiled[True](function)
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        _warn_uncached()
        return _compiled[False](function)
    keep_apart(dispatcher)
    return dispatcher


@cache
def _warn_uncached():
    caution(
        "numba finds no folder to keep compiled loops in: neither the folder of the package nor the home folder is "
        "writable. So every process compiles them again, which takes some seconds; to keep them, set the "
        "environment variable NUMBA_CACHE_DIR to a writable folder"
    )


@kernel
def place_runs(mask, least, changes, words, labels, starts, lengths):
    """Fill the label, the first pixel (of the flattened mask) and the length of every run; returns how many there are.

    Runs of labels below ``least`` are left out.  Those for which there is no room are counted only; without room for
    starts and lengths the labels are all that is kept.  ``changes`` are the bytes of ``words``, more than a row has
    pixels, all 0.
    """
    rows, width = mask.shape
    run = 0
    for row in range(rows):
        line = mask[row]
        # Which pixels differ from the one before, and the end of the row: read eight at a time, since few do.
        for i in range(1, width):
            changes[i] = line[i] != line[i - 1]
        changes[width] = True
        first = 0
        for w in range(words.size):
            word = words[w]
            while word != 0:
                lowest = word & (~word + ONE)
                word ^= lowest
                # The number of bytes below the lowest that is 1, on a machine that keeps the lowest byte first.
                end = 8 * w + np.int64((((lowest - ONE) & ONES) * ONES) >> HIGH_BYTE)
                label = line[first]
                if label >= least:
                    if run < labels.size:
                        labels[run] = label
                    if run < starts.size:
                        starts[run] = row * width + first
                        lengths[run] = end - first
                    run += 1
                first = end
    return run


@kernel
def count_valid(image, runs, moments):
    """Add the number of pixels that are not NaN to moment 0."""
    codes, starts, lengths, _ = runs
    for run in range(codes.size):
        first, end = starts[run], starts[run] + lengths[run]
        for c in range(image.shape[0]):
            pixels = image[c]
            n = 0
            for i in range(first, end):
                n += pixels[i] == pixels[i]
            moments[codes[run], c, 0] += n


def sums_and_extremes(image, runs, zero, sums, extremes):
    """Add the pixels to ``sums``, and lower and raise ``extremes`` to them, NaN passed over; either may be empty.

    ``zero`` gives the type in which the pixels of one run are summed.  Where there is room for it, what rounding took
    from a sum is kept beside it (Knuth's two-sum).
    """
    if not extremes.size:
        _add_pixels(image, runs, zero, sums)
    elif not sums.size:
        _find_extremes(image, runs, extremes)
    else:
        _add_pixels_and_find_extremes(image, runs, zero, sums, extremes)


@kernel
def _add_pixels(image, runs, zero, sums):
    """Add the pixels to ``sums`` (code, channel, field)."""
    codes, starts, lengths, _ = runs
    for run in range(codes.size):
        code, first, end = codes[run], starts[run], starts[run] + lengths[run]
        for c in range(image.shape[0]):
            s = zero
            for x in image[c, first:end]:
                s += x if x == x else zero
            total = sums[code, c]
            old = total[0]
            new = old + s
            if sums.shape[2] > 1:
                part = new - old
                total[1] += (old - (new - part)) + (s - part)
            total[0] = new


@kernel
def _find_extremes(image, runs, extremes):
    """Lower and raise ``extremes`` (code, channel, 2) to the pixels."""
    codes, starts, lengths, _ = runs
    for run in range(codes.size):
        code, first, end = codes[run], starts[run], starts[run] + lengths[run]
        for c in range(image.shape[0]):
            pixels = image[c]
            low, high = extremes[code, c, 0], extremes[code, c, 1]
            for i in range(first, end):
                x = pixels[i]
                low = x if x < low else low
                high = x if x > high else high
            extremes[code, c, 0], extremes[code, c, 1] = low, high


@kernel
def _add_pixels_and_find_extremes(image, runs, zero, sums, extremes):
    """What `_add_pixels` and `_find_extremes` do, in one read."""
    codes, starts, lengths, _ = runs
    for run in range(codes.size):
        code, first, end = codes[run], starts[run], starts[run] + lengths[run]
        for c in range(image.shape[0]):
            pixels, total = image[c], sums[code, c]
            low, high = extremes[code, c, 0], extremes[code, c, 1]
            s = zero
            for i in range(first, end):
                x = pixels[i]
                s += x if x == x else zero
                low = x if x < low else low
                high = x if x > high else high
            extremes[code, c, 0], extremes[code, c, 1] = low, high
            old = total[0]
            new = old + s
            if sums.shape[2] > 1:
                part = new - old
                total[1] += (old - (new - part)) + (s - part)
            total[0] = new


def powers(image, runs, sums, order):
    """Add powers of pixel - sums[..., 0], NaN passed over, to sums: 1 and 2 for ``order`` 2, else 1 to 4."""
    (_add_squares if order == 2 else _add_powers)(image, runs, sums)


@kernel
def _add_squares(image, runs, sums):
    """Add the powers 1 and 2."""
    codes, starts, lengths, _ = runs
    for run in range(codes.size):
        code, first, end = codes[run], starts[run], starts[run] + lengths[run]
        for c in range(image.shape[0]):
            into = sums[code, c]
            mean = into[0]
            a1 = a2 = 0.0
            for x in image[c, first:end]:
                d = x - mean if x == x else 0.0
                a1 += d
                a2 += d * d
            into[1] += a1
            into[2] += a2


@kernel
def _add_powers(image, runs, sums):
    """Add the powers 1 to 4."""
    codes, starts, lengths, _ = runs
    for run in range(codes.size):
        code, first, end = codes[run], starts[run], starts[run] + lengths[run]
        for c in range(image.shape[0]):
            into = sums[code, c]
            mean = into[0]
            a1 = a2 = a3 = a4 = 0.0
            for x in image[c, first:end]:
                d = x - mean if x == x else 0.0
                dd = d * d
                a1 += d
                a2 += dd
                a3 += dd * d
                a4 += dd * dd
            into[1] += a1
            into[2] += a2
            into[3] += a3
            into[4] += a4


def centre(sums, moments):
    """Set the moments from 2 on from sums of powers about a rounded mean, sums[1] / n off the true one.

    For order 2 this is the corrected two-pass algorithm of Chan, Golub & LeVeque 1983.  How far the true mean is off
    comes last.
    """
    _centre_rows(*(array.reshape(-1, array.shape[-1]) for array in (sums, moments)))


@kernel
def _centre_rows(sums, moments):
    order = moments.shape[1] - 2
    for row in range(moments.shape[0]):
        s, out = sums[row], moments[row]
        n = out[0]
        d = s[1] / n if n > 0 else 0.0
        m2 = s[2] - n * d * d
        out[2] = 0.0 if m2 < 0 else m2
        if order > 2:
            out[3] = s[3] - 3 * d * s[2] + 2 * n * (d * (d * d))
        if order > 3:
            m4 = s[4] - 4 * d * s[3] + 6 * d * d * s[2] - 3 * n * (d * d * (d * d))
            out[4] = 0.0 if m4 < 0 else m4
        out[order + 1] = d


@kernel
def merge(rows, before, moments_in, extremes_in, moments, extremes):
    """Fold records into the rows of others, pairwise; a row that held no pixel ``before`` is taken over as it is.

    Chan, Golub & LeVeque 1979 for order 2, Pebay 2008 above it.  A mean is sum / n, which is rounded, and how far that
    is off: of two large means that are close, the difference lies in the digits that rounding takes.
    """
    fields = moments.shape[2]
    order = fields - 2 if fields > 2 else fields - 1
    for i in range(rows.size):
        row = rows[i]
        first = before[i] == 0
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
