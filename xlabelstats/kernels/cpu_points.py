"""Loops over points: which pixel of which block of a mask each lies in, compiled by numba."""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_runs import kernel

# In place of a block: a point without a position, and one beyond the mask.
NOWHERE, OUTSIDE = -2, -1


@kernel
def place_points(positions, sizes, edges, numblocks, block_of, within, widths, blocks, pixels):
    """Write to ``blocks`` and ``pixels`` (point,) the block that each point lies in, and its pixel of that block.

    ``positions`` is (axis, point).  Of every axis, one after the other, ``edges`` has one more than there are pixels,
    ascending: pixel ``i`` reaches from above edge ``i``, the first one from edge 0 itself, to edge ``i + 1``.
    ``block_of``, ``within`` and ``widths`` have of every pixel its block along the axis, its place in the block, and
    the width of the block.
    """
    rates = np.zeros(sizes.size)
    first = 0
    for axis in range(sizes.size):
        n = sizes[axis]
        if n > 0 and edges[first + n] > edges[first]:
            rates[axis] = n / (edges[first + n] - edges[first])
        first += n + 1
    for point in range(positions.shape[1]):
        block, pixel = np.int64(0), np.int64(0)
        missing, beyond = False, False
        first, start = 0, 0
        for axis in range(sizes.size):
            x, n = positions[axis, point], sizes[axis]
            missing |= x != x
            beyond |= n == 0 or not (edges[first] <= x <= edges[first + n])
            if not missing and not beyond:
                i = min(np.int64((x - edges[first]) * rates[axis]), n - 1)
                # On a regular grid this is the pixel, up to rounding; else it is searched for.
                if (i > 0 and x <= edges[first + i]) or x > edges[first + i + 1]:
                    low, high = np.int64(0), n - 1
                    while low < high:
                        i = (low + high) // 2
                        if x <= edges[first + i + 1]:
                            high = i
                        else:
                            low = i + 1
                    i = low
                block = block * numblocks[axis] + block_of[start + i]
                pixel = pixel * widths[start + i] + within[start + i]
            first += n + 1
            start += n
        blocks[point] = NOWHERE if missing else OUTSIDE if beyond else block
        pixels[point] = 0 if missing or beyond else pixel


@kernel
def count_by_block(blocks, counts):
    """Add to ``counts`` (block,) how many points lie in each."""
    for point in range(blocks.size):
        if blocks[point] >= 0:
            counts[blocks[point]] += 1


@kernel
def group_points(blocks, pixels, codes, ends, sorted_pixels, sorted_codes):
    """Sort points by block, in their order within a block; those of no block are left out.

    ``ends`` (block,) holds where the points of every block begin, and afterwards where they end.
    """
    for point in range(blocks.size):
        block = blocks[point]
        if block >= 0:
            place = ends[block]
            sorted_pixels[place] = pixels[point]
            sorted_codes[place] = codes[point]
            ends[block] = place + 1
