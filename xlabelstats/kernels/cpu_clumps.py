"""Loops over clumps, each in a box of its own, for the distance of their pixels to those beyond, compiled by numba.

Boxes are flattened, and so are the lines along an axis of one: (outer, line, inner).  What lies a number of
pixels further along the axis is then that number times ``inner`` further in memory, for all lines at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xlabelstats.kernels.cpu_crops import largest_crop
from xlabelstats.kernels.cpu_runs import kernel


class Boxes(NamedTuple):
    """Clumps of pixels, each in a box that has one pixel more on each side.

    Attributes
    ----------
    place : array (pixel,) of int64
        Where the pixels lie in their flattened box, clump by clump, those of each in the order of rows.
    first : array (clump + 1,) of int64
        The first of the pixels of every clump, and the end of the last.
    size : array (clump, 3) of int64
        The size of the boxes, with the pixels more along the axes that the image has.
    beyond : array (clump, 3, 2) of bool
        Whether what a box has more at the low and at the high side lies beyond the image.
    """

    place: np.ndarray
    first: np.ndarray
    size: np.ndarray
    beyond: np.ndarray


@kernel
def distances(boxes, steps, heights):
    """Fill the distance of every pixel (pixel,) to the nearest that is not of its clump; 0 where there is none.

    ``steps`` (axis, pixel) are the squared distances of 0, 1, 2, ... pixels along every axis.  They are added in the
    order of axes.
    """
    place, first, size, beyond = boxes
    squares, nearest = np.empty(largest_crop(size)), np.empty(largest_crop(size))
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
            low, high = beyond[clump, axis, 0] * inner, (size[clump, axis] - beyond[clump, axis, 1]) * inner
            if high - low == inner:
                continue
            length = size[clump, axis] * inner
            for o in range(outer):
                line = box[o * length + low : o * length + high]
                if begun:
                    _lower(line, inner, steps[axis], other)
                else:
                    _count(line, inner, steps[axis])
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
def _lower(line, inner, steps, other):
    """Lower the squared distances in lines (line, inner) to those by way of other pixels of the line."""
    greatest = 0.0
    for i in range(line.size):
        other[i] = line[i]
        greatest = max(greatest, line[i])
    d = 1
    while d * inner < line.size and steps[d] < greatest:
        step, shift = steps[d], d * inner
        for i in range(line.size - shift):
            line[i] = min(line[i], other[i + shift] + step)
        greatest = 0.0
        for i in range(shift):
            greatest = max(greatest, line[i])
        for i in range(shift, line.size):
            line[i] = min(line[i], other[i - shift] + step)
            greatest = max(greatest, line[i])
        d += 1
