"""Loops over the neighbours of the pixels of labels in numpy blocks, compiled by numba.

The mask of a block and its surroundings is given as ``area``, flattened, with its shape, and ``start``, where the
block's first pixel lies in it.  Beyond it every pixel is outside.
"""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_runs import kernel


@kernel
def neighbours(area, area_shape, start, runs, offsets, table, crossings, euler):
    """Look at those of the neighbours of every pixel that come before it, at ``offsets`` (offset, axis) from it.

    These are, in order, three on every line next to that of the pixel, and one on its own.  Adds to ``crossings``
    (code, offset) the pixels whose neighbour there is outside of the label; to ``euler`` (code,), if there is room for
    it, what ``table`` says of which of the neighbours are inside, a bit each.
    """
    codes, starts, lengths, shape = runs
    last = shape.size - 1
    lines = offsets.shape[0] // 3
    width = area_shape[last]
    bits, flags = np.empty(shape[last], np.uint16), np.empty(shape[last] + 2, np.uint8)
    at = np.empty(shape.size, np.int64)
    measuring = euler.size > 0
    for run in range(codes.size):
        code, n, rest = codes[run], np.int64(lengths[run]), np.int64(starts[run])
        for axis in range(last, -1, -1):
            at[axis] = start[axis] + rest % shape[axis]
            rest //= shape[axis]
        x, line = at[last], np.int64(0)
        for axis in range(last):
            line = line * area_shape[axis] + at[axis]
        label = area[line * width + x]
        changed = crossings[code]
        found = bits[:n]
        found[:] = np.uint16(1 << 3 * lines)
        if x == 0 or area[line * width + x - 1] != label:
            found[0] = np.uint16(0)
            changed[3 * lines] += 1
        for j in range(lines):
            inside, line = True, np.int64(0)
            for axis in range(last):
                place = at[axis] + offsets[3 * j, axis]
                inside &= (place >= 0) & (place < area_shape[axis])
                line = line * area_shape[axis] + place
            if not inside:
                for k in range(3):
                    changed[3 * j + k] += n
                continue
            # The line from the pixel before the run to the one after it.
            same = flags[: n + 2]
            same[0] = same[n + 1] = 0
            low, high = (0 if x > 0 else 1), (n + 2 if x + n < width else n + 1)
            begin = line * width + x - 1
            pixels, into = area[begin + low : begin + high], same[low:high]
            total = 0
            for i in range(pixels.size):
                hit = pixels[i] == label
                into[i] = hit
                total += hit
            changed[3 * j] += n - (total - same[n] - same[n + 1])
            changed[3 * j + 1] += n - (total - same[0] - same[n + 1])
            changed[3 * j + 2] += n - (total - same[0] - same[1])
            if measuring and total:
                left, own, right, shift = same[:n], same[1 : n + 1], same[2 : n + 2], np.uint16(3 * j)
                for i in range(n):
                    found[i] |= np.uint16(left[i] | (own[i] << 1) | (right[i] << 2)) << shift
        if measuring:
            total = 0
            for i in range(n):
                total += table[found[i]]
            euler[code] += total


@kernel
def border_pixels(area, area_shape, start, runs, kinds, out):
    """Add the border pixels of 2-D labels to ``out`` (code, kind - 1).

    A border pixel has a direct neighbour outside of the label.  Its kind is that which ``kinds`` has for one, plus two
    for every direct and ten for every diagonal neighbour that is a border pixel of the label too; 0 is none.
    """
    codes, starts, lengths, shape = runs
    height, width = area_shape
    inside = np.empty((5, shape[1] + 4), np.uint8)
    border = np.empty((3, shape[1] + 2), np.uint8)
    for run in range(codes.size):
        n = np.int64(lengths[run])
        y, x = start[0] + starts[run] // shape[1], start[1] + starts[run] % shape[1]
        label = area[y * width + x]
        # The run and two pixels around it.
        low, high = max(0, 2 - x), min(n + 4, width - x + 2)
        for r in range(5):
            flags, row = inside[r, : n + 4], y + r - 2
            if row < 0 or row >= height:
                flags[:] = 0
                continue
            flags[:low] = 0
            flags[high:] = 0
            begin = row * width + x - 2
            pixels, into = area[begin + low : begin + high], flags[low:high]
            for i in range(pixels.size):
                into[i] = pixels[i] == label
        for r in range(3):
            above, below = inside[r, 1 : n + 3], inside[r + 2, 1 : n + 3]
            left, own, right = inside[r + 1, : n + 2], inside[r + 1, 1 : n + 3], inside[r + 1, 2 : n + 4]
            into = border[r, : n + 2]
            for i in range(into.size):
                into[i] = own[i] & ((above[i] & below[i] & left[i] & right[i]) ^ 1)
        above, own, below = border[0, : n + 2], border[1, : n + 2], border[2, : n + 2]
        tally = out[codes[run]]
        for i in range(1, n + 1):
            if own[i]:
                direct = above[i] + below[i] + own[i - 1] + own[i + 1]
                diagonal = above[i - 1] + above[i + 1] + below[i - 1] + below[i + 1]
                kind = kinds[1 + 2 * direct + 10 * diagonal]
                if kind:
                    tally[kind - 1] += 1
