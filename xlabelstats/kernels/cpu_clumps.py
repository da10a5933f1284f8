"""Loops over clumps, each in a box of its own, for the distance of their pixels to those beyond, compiled by numba.

Boxes are flattened, and so are the lines along an axis of one: (outer, line, inner).  What lies a number of
pixels further along the axis is then that number times ``inner`` further in memory, for all lines at once.
"""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_crops import largest_crop
from xlabelstats.kernels.cpu_runs import kernel

# Distances of so many pixels take less time to find step by step than by an envelope.
STEPS = 32


@kernel
def distances(boxes, steps, heights):
    """Fill the distance of every pixel (pixel,) to the nearest that is not of its clump; 0 where there is none.

    ``steps`` (axis, pixel) are the squared distances of 0, 1, 2, ... pixels along every axis, one more than the largest
    box has.  They are added in the order of axes.
    """
    place, first, size, beyond = boxes
    squares, nearest = np.empty(largest_crop(size)), np.empty(largest_crop(size))
    low, begins = np.empty(steps.shape[1], np.int64), np.empty(steps.shape[1])
    for clump in range(size.shape[0]):
        depth, width = size[clump, 0], size[clump, 2]
        plane = size[clump, 1] * width
        box, other = squares[: depth * plane], nearest[: depth * plane]
        box[:] = 0
        for i in range(first[clump], first[clump + 1]):
            box[place[i]] = np.inf
        begun = False
        for axis, outer, inner in ((0, 1, plane), (1, depth, width), (2, depth * size[clump, 1], 1)):
            # Pixels beyond the image stay 0, and no line along an axis reaches them.
            start, end = beyond[clump, axis, 0] * inner, (size[clump, axis] - beyond[clump, axis, 1]) * inner
            if end - start == inner:
                continue
            length = size[clump, axis] * inner
            for o in range(outer):
                line = box[o * length + start : o * length + end]
                if not begun:
                    _count(line, inner, steps[axis])
                elif line.size > STEPS * inner and _greatest(line) > steps[axis, STEPS]:
                    _lower_by_envelope(line, inner, steps[axis], other, low, begins)
                else:
                    _lower_by_steps(line, inner, steps[axis], other)
            begun = True
        for i in range(first[clump], first[clump + 1]):
            square = box[place[i]]
            heights[i] = np.sqrt(square) if square < np.inf else 0.0


@kernel
def _count(line, inner, steps):
    """The squared distance to the nearest 0 within lines (line, inner) that hold 0 and infinity."""
    for i in range(inner, line.size):
        line[i] = 0.0 if line[i] == 0 else line[i - inner] + 1
    for i in range(line.size - inner - 1, -1, -1):
        line[i] = min(line[i], line[i + inner] + 1)
    for i in range(line.size):
        if line[i] < np.inf:
            line[i] = steps[int(line[i])]


@kernel
def _greatest(line):
    greatest = 0.0
    for i in range(line.size):
        greatest = max(greatest, line[i])
    return greatest


@kernel
def _lower_by_steps(line, inner, steps, other):
    """Lower the squared distances in lines (line, inner) to those by way of other pixels of the line."""
    for i in range(line.size):
        other[i] = line[i]
    for i in range(line.size):
        nearest, d, shift = line[i], 1, inner
        while steps[d] < nearest and (i >= shift or i + shift < line.size):
            if i >= shift:
                nearest = min(nearest, other[i - shift] + steps[d])
            if i + shift < line.size:
                nearest = min(nearest, other[i + shift] + steps[d])
            d += 1
            shift += inner
        line[i] = nearest


@kernel
def _lower_by_envelope(line, inner, steps, column, low, begins):
    """The same by the lower envelope of parabolas, one over every pixel (Felzenszwalb and Huttenlocher, 2012).

    ``low`` are the pixels whose parabolas are part of it, and ``begins`` where each becomes the lowest.
    """
    for first in range(inner):
        last = -1
        for i in range(line.size // inner):
            column[i] = line[i * inner + first]
            if column[i] == np.inf:
                continue
            begin = -np.inf
            while last >= 0:
                k = low[last]
                begin = ((column[i] - column[k]) / steps[1] + (i * i - k * k)) / (2 * (i - k))
                if begin > begins[last]:
                    break
                last, begin = last - 1, -np.inf
            last += 1
            low[last], begins[last] = i, begin
        if last < 0:
            continue
        part = 0
        for i in range(line.size // inner):
            while part < last and begins[part + 1] < i:
                part += 1
            line[i * inner + first] = column[low[part]] + steps[abs(i - low[part])]
