"""Loops over the peaks of clumps, each in a box of its own, compiled by numba."""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_crops import largest_crop
from xlabelstats.kernels.cpu_runs import kernel


@kernel
def find_peaks(boxes, heights, parts, n, ndim, reach, peaks):
    """Mark the ``peaks`` (pixel,) of every clump, at least one in each of its parts.

    A peak is no lower than any pixel of its part within ``reach`` pixels along every axis; of several that are nearer
    to each other than this, the first is one.  Where all pixels of a part would be, those are that an opening removes.
    A part with none of these has its first highest pixel.  ``parts`` (pixel,) are numbers below ``n``, and pixels that
    share a face are of one part; the image has the last ``ndim`` axes of the boxes.
    """
    place, first, size, _ = boxes
    room = largest_crop(size)
    height, part, taken = np.zeros(room), np.empty(room, parts.dtype), np.empty(room, np.bool_)
    # How many pixels of a part are not known to be lower than another, and whether it has a peak.
    lower, peaked = np.zeros(n, np.int64), np.zeros(n, np.bool_)
    highest = np.full(n, -1)
    strides = np.ones(3, np.int64)
    for clump in range(size.shape[0]):
        begin, end = first[clump], first[clump + 1]
        strides[1], strides[0] = size[clump, 2], size[clump, 1] * size[clump, 2]
        faces = strides[3 - ndim :]
        whole = size[clump, 0] * strides[0]
        height[:whole], taken[:whole] = 0, False
        for i in range(begin, end):
            height[place[i]], part[place[i]] = heights[i], parts[i]
        # What fills the image has no background to be far from.
        if heights[begin] == 0:
            peaks[begin] = True
            continue
        for i in range(begin, end):
            p, name = place[i], parts[i]
            peaks[i] = _is_summit(height, p, faces) and _is_highest(height, part, size[clump], p, reach)
            lower[name] += not peaks[i]
            if highest[name] < 0 or heights[i] > heights[highest[name]]:
                highest[name] = i
        for i in range(begin, end):
            p, name = place[i], parts[i]
            if peaks[i]:
                thin = lower[name] > 0 or not _is_inner(height, p, faces)
                peaks[i] = thin and not _is_near(taken, part, size[clump], p, reach - 1)
                taken[p] = peaks[i]
                peaked[name] |= peaks[i]
        for i in range(begin, end):
            peaks[i] |= not peaked[parts[i]] and highest[parts[i]] == i


@kernel
def _is_summit(height, p, faces):
    """Whether no pixel that shares a face is higher."""
    highest = height[p]
    for stride in faces:
        highest = max(highest, height[p - stride], height[p + stride])
    return highest == height[p]


@kernel
def _is_inner(height, p, faces):
    """Whether a pixel is left by an opening: it, or one that shares a face, is surrounded by pixels of the clump."""
    inner = _is_core(height, p, faces)
    for stride in faces:
        inner |= _is_core(height, p - stride, faces) or _is_core(height, p + stride, faces)
    return inner


@kernel
def _is_core(height, p, faces):
    """Whether a pixel and all that share a face with it are of the clump."""
    lowest = height[p]
    for stride in faces:
        # A pixel beyond the clump may lie at the rim of its box.
        if lowest > 0:
            lowest = min(lowest, height[p - stride], height[p + stride])
    return lowest > 0


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
