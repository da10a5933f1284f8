"""Loops that flood clumps from their peaks, each in a box of its own, and paint what they give, compiled by numba.

Pixels wait in a heap, the highest first, and of those of one height the one that has waited longest.  A heap is three
arrays that are moved together: the negated heights, when the pixels were reached, and where they lie.
"""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_crops import largest_crop, most_pixels
from xlabelstats.kernels.cpu_runs import kernel


@kernel
def flood(boxes, heights, neighbours, ids):
    """Spread the ``ids`` (pixel,) of the peaks, 0 elsewhere, to all pixels of their clumps, from high to low.

    ``neighbours`` (neighbour, 3) are the steps to the pixels connected to one, the nearest first.
    """
    place, first, size, _ = boxes
    depth, owner = np.empty(largest_crop(size)), np.empty(largest_crop(size), ids.dtype)
    most = most_pixels(first)
    heap = np.empty(most), np.empty(most, np.int64), np.empty(most, np.int64)
    near = np.empty(neighbours.shape[0], np.int64)
    for clump in range(size.shape[0]):
        begin, end = first[clump], first[clump + 1]
        for n in range(near.size):
            near[n] = (neighbours[n, 0] * size[clump, 1] + neighbours[n, 1]) * size[clump, 2] + neighbours[n, 2]
        # What is not of the clump is of nobody's, and is not reached.
        owner[: size[clump, 0] * size[clump, 1] * size[clump, 2]] = -1
        waiting, age = 0, 0
        for i in range(begin, end):
            depth[place[i]], owner[place[i]] = -heights[i], ids[i]
            if ids[i] != 0:
                _push(heap, waiting, -heights[i], 0, place[i])
                waiting += 1
        while waiting > 0:
            level, p = heap[0][0], heap[2][0]
            waiting -= 1
            _pop(heap, waiting)
            for step in near:
                q = p + step
                if owner[q] == 0:
                    owner[q] = owner[p]
                    age += 1
                    _push(heap, waiting, max(depth[q], level), age, q)
                    waiting += 1
        for i in range(begin, end):
            ids[i] = owner[place[i]]


@kernel
def _push(heap, n, depth, age, p):
    """Add a pixel to a heap of ``n``."""
    depths, ages, places = heap
    child = n
    while child > 0:
        parent = (child - 1) // 2
        if not (depth < depths[parent] or (depth == depths[parent] and age < ages[parent])):
            break
        depths[child], ages[child], places[child] = depths[parent], ages[parent], places[parent]
        child = parent
    depths[child], ages[child], places[child] = depth, age, p


@kernel
def _pop(heap, n):
    """Take the first pixel off a heap, of which ``n`` remain."""
    depths, ages, places = heap
    depth, age, p = depths[n], ages[n], places[n]
    hole, child = 0, 1
    while child < n:
        right = child + 1
        if right < n and (
            depths[right] < depths[child] or (depths[right] == depths[child] and ages[right] < ages[child])
        ):
            child = right
        if not (depths[child] < depth or (depths[child] == depth and ages[child] < age)):
            break
        depths[hole], ages[hole], places[hole] = depths[child], ages[child], places[child]
        hole, child = child, 2 * child + 1
    depths[hole], ages[hole], places[hole] = depth, age, p


@kernel
def paint_pixels(starts, lengths, ids, shape, low, start, block):
    """Give the pixels (pixel,) of a region's runs their ids in a ``block`` (z, y, x), where they lie in it.

    ``shape`` (3,) is that of the region, ``low`` and ``start`` (3,) where the region and the block begin.
    """
    free = 0
    for run in range(starts.size):
        rest = np.int64(starts[run])
        x = rest % shape[2] + low[2] - start[2]
        rest //= shape[2]
        y = rest % shape[1] + low[1] - start[1]
        z = rest // shape[1] + low[0] - start[0]
        if 0 <= z < block.shape[0] and 0 <= y < block.shape[1]:
            row = block[z, y]
            for i in range(max(-x, 0), min(lengths[run], row.size - x)):
                row[x + i] = ids[free + i]
        free += lengths[run]
