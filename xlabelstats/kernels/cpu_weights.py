"""The loop over pixels that are weighted, in numpy blocks, compiled by numba."""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_runs import kernel


@kernel
def weighted_powers(image, runs, weights, sums):
    """Add up weights, and weighted powers 1 and 2 of pixel - sums[..., 0], in sums[..., 1:].

    These are the powers, the weights, and how many pixels are not valid: those that are NaN or whose weight is.  Pixels
    of weight 0 do not count.  Of negative weights that number is minus infinity.  ``weights`` are elements in a row,
    and how far apart the pixels' are along every axis: 0 where they are all the same.
    """
    codes, starts, lengths, shape = runs
    elements, steps = weights
    last = shape.size - 1
    step = steps[last]
    for run in range(codes.size):
        code, first = codes[run], np.int64(starts[run])
        rest = first // shape[last]
        place = first % shape[last] * step
        for axis in range(last - 1, -1, -1):
            place += rest % shape[axis] * steps[axis]
            rest //= shape[axis]
        for c in range(image.shape[0]):
            pixels, into = image[c], sums[code, c]
            mean = into[0]
            a1 = a2 = total = spoiled = 0.0
            for i in range(lengths[run]):
                w = float(elements[place + i * step])
                x = float(pixels[first + i])
                if w > 0 and x == x:
                    d = x - mean
                    wd = w * d
                    a1 += wd
                    a2 += wd * d
                    total += w
                elif w != 0:
                    spoiled += -np.inf if w < 0 else 1.0
            into[1] += a1
            into[2] += a2
            into[3] += total
            into[4] += spoiled
