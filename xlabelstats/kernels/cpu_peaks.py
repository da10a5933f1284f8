"""Loops over the peaks of clumps, each in a box of its own, compiled by numba."""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_crops import largest_crop
from xlabelstats.kernels.cpu_runs import kernel


@kernel
def find_peaks(boxes, heights, parts, reach, peaks):
    """Mark the ``peaks`` (pixel,) of every clump, at least one in each of its parts.

    A peak is no lower than any pixel of its part within ``reach`` pixels along every axis; of several that are nearer
    to each other than this, the first is one.  ``parts`` (pixel,) are numbers.
    """
    place, first, size, _ = boxes
    room = largest_crop(size)
    height, part, taken = np.empty(room), np.empty(room, parts.dtype), np.empty(room, np.bool_)
    for clump in range(size.shape[0]):
        if heights[first[clump]] == 0:
            # What fills the image has no background to be far from.
            peaks[first[clump]] = True
            continue
        whole = size[clump, 0] * size[clump, 1] * size[clump, 2]
        height[:whole], taken[:whole] = -1, False
        for i in range(first[clump], first[clump + 1]):
            height[place[i]], part[place[i]] = heights[i], parts[i]
        for i in range(first[clump], first[clump + 1]):
            p = place[i]
            # What is near a peak is no higher than that, so it is none itself.
            if _is_summit(height, size[clump], p) and not _is_near(taken, part, size[clump], p, reach - 1):
                peaks[i] = taken[p] = _is_highest(height, part, size[clump], p, reach)


@kernel
def _is_summit(height, size, p):
    """Whether no pixel that shares a face is higher; these are of the same part."""
    highest, stride = height[p], 1
    for axis in (2, 1, 0):
        # The image may lack the first axes.
        if size[axis] > 1:
            highest = max(highest, height[p - stride], height[p + stride])
        stride *= size[axis]
    return highest == height[p]


@kernel
def _is_highest(height, part, size, p, reach):
    """Whether no pixel of the same part within reach is higher."""
    plane = size[1] * size[2]
    z, y, x = p // plane, p % plane // size[2], p % size[2]
    for i in range(max(z - reach, 0), min(z + reach + 1, size[0])):
        for j in range(max(y - reach, 0), min(y + reach + 1, size[1])):
            row = i * plane + j * size[2]
            for k in range(row + max(x - reach, 0), row + min(x + reach + 1, size[2])):
                if height[k] > height[p] and part[k] == part[p]:
                    return False
    return True


@kernel
def _is_near(taken, part, size, p, reach):
    """Whether a peak of the same part is within reach, of those taken: they come before ``p``."""
    plane = size[1] * size[2]
    z, y, x = p // plane, p % plane // size[2], p % size[2]
    for i in range(max(z - reach, 0), z + 1):
        for j in range(max(y - reach, 0), min(y + reach + 1, size[1])):
            row = i * plane + j * size[2]
            for k in range(row + max(x - reach, 0), row + min(x + reach + 1, size[2])):
                if taken[k] and part[k] == part[p]:
                    return True
    return False
