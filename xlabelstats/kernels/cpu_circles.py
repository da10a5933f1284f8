"""Loops over the convex hulls of the pixel centres of whole objects, their widths and circles, compiled by numba.

The corners of a hull are whole numbers (corner, 2), (row, column) in the crop of the object, so that they are the same
wherever the object lies.
"""

from __future__ import annotations

import math

import numpy as np

from xlabelstats.kernels.cpu_hulls import add_corner
from xlabelstats.kernels.cpu_runs import ZERO, kernel


@kernel
def calipers(first, place, size, spacing, least, most):
    """The ``least`` and the ``most`` (object,) that two parallel lines are apart that touch an object on both sides.

    The lines go through pixel centres, which lie ``spacing`` (axis,) apart.
    """
    sides, corners = room_for_corners(size)
    dy, dx = spacing[0], spacing[1]
    area = dy * dx
    for i in range(least.size):
        n = hull(place[first[i] : first[i + 1]], size[i, 2], sides, corners)
        longest, smallest = 0.0, np.inf
        for a in range(n):
            b = a + 1 if a + 1 < n else 0
            tall, wide = corners[b, 0] - corners[a, 0], corners[b, 1] - corners[a, 1]
            farthest = 0
            for c in range(n):
                y, x = corners[c, 0] - corners[a, 0], corners[c, 1] - corners[a, 1]
                longest = max(longest, (y * dy) ** 2 + (x * dx) ** 2)
                farthest = max(farthest, abs(tall * x - wide * y))
            if n > 2:
                # The narrowest position lies along an edge of the hull.
                width = farthest * area
                smallest = min(smallest, width * width / ((tall * dy) ** 2 + (wide * dx) ** 2))
        least[i] = math.sqrt(smallest) if n > 2 else 0.0
        most[i] = math.sqrt(longest)


@kernel
def room_for_corners(size):
    """Arrays for both sides (side, corner, 2) and all corners of the hull of any object with a crop of these sizes."""
    tallest = 0
    for i in range(len(size)):
        tallest = max(tallest, size[i, 1])
    return np.empty((2, tallest + 1, 2), np.int64), np.empty((2 * tallest + 2, 2), np.int64)


@kernel
def hull(place, width, sides, corners):
    """Find the corners of the convex hull of the pixels at these places of a crop, around it; returns how many.

    No three of them lie on a line.
    """
    left, right = sides[0], sides[1]
    n_left = n_right = ZERO
    begin = 0
    while begin < place.size:
        row = np.int64(place[begin]) // width
        end = begin + 1
        while end < place.size and place[end] < (row + 1) * width:
            end += 1
        n_left = add_corner(left, n_left, row, np.int64(place[begin]) - row * width)
        n_right = add_corner(right, n_right, row, row * width - np.int64(place[end - 1]))
        begin = end
    n = 0
    for i in range(n_left):
        corners[n, 0], corners[n, 1] = left[i, 0], left[i, 1]
        n += 1
    for i in range(n_right - 1, -1, -1):
        # The sides meet where a row at the top or at the bottom has one pixel.
        bottom, top = n_left - 1, 0
        if i == n_right - 1 and right[i, 0] == left[bottom, 0] and -right[i, 1] == left[bottom, 1]:
            continue
        if i == 0 and right[i, 0] == left[top, 0] and -right[i, 1] == left[top, 1]:
            continue
        corners[n, 0], corners[n, 1] = right[i, 0], -right[i, 1]
        n += 1
    return n


@kernel
def smallest_circle(corners, n):
    """The smallest circle around the ``n`` corners of a hull: the row and column of its centre, and its radius.

    Chrystal 1885: of all corners the one that sees a side of the hull at the smallest angle lies on the smallest circle
    through both ends of the side that holds all corners.  If the three form a triangle with an obtuse angle, the
    longest edge takes the place of the side, which is longer each time.
    """
    a, b = 0, n - 1
    while True:
        ay, ax = corners[a, 0], corners[a, 1]
        by, bx = corners[b, 0] - ay, corners[b, 1] - ax
        # A corner with an obtuse angle lies in the circle whose diameter is the side.
        largest, c = 0.0, -1
        for i in range(n):
            y, x = corners[i, 0] - ay, corners[i, 1] - ax
            toward = float(y * (y - by) + x * (x - bx))
            across = float(abs(y * bx - x * by))
            # The cotangent of the angle; both are 0 at the ends of the side.
            if across > 0 and toward > largest * across:
                largest, c = toward / across, i
        if c < 0:
            return ay + 0.5 * by, ax + 0.5 * bx, 0.5 * math.sqrt(float(by * by + bx * bx))
        cy, cx = corners[c, 0] - ay, corners[c, 1] - ax
        if by * cy + bx * cx < 0:
            a = c
        elif by * (by - cy) + bx * (bx - cx) < 0:
            b = c
        else:
            # In floating point: third powers of lengths do not fit into integers.
            double = 2.0 * float(by * cx - bx * cy)
            b2, c2 = float(by * by + bx * bx), float(cy * cy + cx * cx)
            y, x = (b2 * cx - c2 * bx) / double, (c2 * by - b2 * cy) / double
            return ay + y, ax + x, math.sqrt(y * y + x * x)
