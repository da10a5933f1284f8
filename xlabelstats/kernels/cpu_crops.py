"""Loops that lay out the pixels of whole objects of numpy regions one after the other, compiled by numba."""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_runs import kernel

# What pixels add up to is 0 but for rounding if it is no more than this part of what their sizes add up to.
ROUNDING = 1e-12


@kernel
def place_pixels(runs, shape, first, low, size, margin, place):
    """Where every pixel of a code lies in the crop of the code, flattened: ``place`` (pixel,), code by code.

    ``shape`` (3,) is that of the region, ``first`` (code,) the first pixel of each code in ``place``, ``low`` (code, 3)
    the first pixel of its box in the region, ``size`` (code, 3) that of its crop, which has a ``margin`` (3,) of pixels
    on each side of the box.
    """
    codes, starts, lengths, _ = runs
    free = first.copy()
    for run in range(codes.size):
        code, rest = codes[run], np.int64(starts[run])
        x = rest % shape[2]
        rest //= shape[2]
        y = rest % shape[1]
        z = rest // shape[1]
        plane = (z - low[code, 0] + margin[0]) * size[code, 1] + y - low[code, 1] + margin[1]
        begin = plane * size[code, 2] + x - low[code, 2] + margin[2]
        target = free[code]
        for i in range(lengths[run]):
            place[target + i] = begin + i
        free[code] = target + lengths[run]


@kernel
def values_of(image, runs, first, values):
    """The pixels of an image (channel, pixel of the region) in ``values`` (channel, pixel), code by code."""
    codes, starts, lengths, _ = runs
    for c in range(image.shape[0]):
        free = first.copy()
        pixels, into = image[c], values[c]
        for run in range(codes.size):
            source, target, n = starts[run], free[codes[run]], lengths[run]
            for i in range(n):
                into[target + i] = pixels[source + i]
            free[codes[run]] = target + n


@kernel
def most_pixels(first):
    """The number of pixels of the largest object."""
    most = 0
    for code in range(first.size - 1):
        most = max(most, first[code + 1] - first[code])
    return most


@kernel
def largest_crop(size):
    """The number of pixels of the largest crop."""
    largest = 0
    for code in range(size.shape[0]):
        largest = max(largest, size[code, 0] * size[code, 1] * size[code, 2])
    return largest
