"""Loops over the convex hulls of labels in 2-D numpy regions, compiled by numba.

The hull of a label is that of the middles of its pixels' edges.  Positions are counted in half pixels where they are
not those of pixels, so that all is exact in whole numbers.  A side of a hull is an array (corner, 2) of (row, column),
row after row downwards.  The right side is kept as its mirror image, with the columns negated, so that the same loops
serve both.
"""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_runs import ZERO, kernel


@kernel
def by_label(runs, n):
    """Runs in the order of their ``n`` labels, those of each from top to bottom and from left to right.

    Returns ``edges`` (code + 1), where the runs of every label begin and end, and (run) rows, first and last columns.
    In more dims rows are the lines of the last one, counted through.
    """
    codes, starts, lengths, shape = runs
    width = shape[shape.size - 1]
    edges = np.zeros(n + 1, np.int64)
    for run in range(codes.size):
        edges[codes[run] + 1] += 1
    for code in range(n):
        edges[code + 1] += edges[code]
    free = edges[:-1].copy()
    rows, first, last = np.empty(codes.size, np.int64), np.empty(codes.size, np.int64), np.empty(codes.size, np.int64)
    row, end = 0, width
    for run in range(codes.size):
        while starts[run] >= end:
            row, end = row + 1, end + width
        place, column = free[codes[run]], starts[run] + width - end
        rows[place], first[place], last[place] = row, column, column + lengths[run] - 1
        free[codes[run]] += 1
    return edges, rows, first, last


@kernel
def convex_hulls(runs, spacing, pixels, reach):
    """Count the ``pixels`` (code) whose centres lie in or on the hull of every label: its convex image.

    Where there is room for it, ``reach`` (code, 2) gets how many rows and columns lie between the two points
    that are farthest apart, by the ``spacing`` (axis), of the contour halfway between the pixels inside and outside.
    """
    edges, rows, first, last = by_label(runs, pixels.size)
    tallest = 0
    for code in range(pixels.size):
        tallest = max(tallest, rows[edges[code + 1] - 1] - rows[edges[code]] + 1)
    left, right = np.empty((2 * tallest + 1, 2), np.int64), np.empty((2 * tallest + 1, 2), np.int64)
    measuring = reach.shape[1] > 0
    room = tallest if measuring else 0
    inner_left, inner_right = np.empty((2 * room, 2), np.int64), np.empty((room, 2), np.int64)
    for code in range(pixels.size):
        begin, end = edges[code], edges[code + 1]
        n_left = n_right = ZERO
        for run in range(begin, end):
            if run == begin or rows[run - 1] != rows[run]:
                n_left = _add_pixel(left, n_left, rows[run], first[run])
            if run + 1 == end or rows[run + 1] != rows[run]:
                n_right = _add_pixel(right, n_right, rows[run], -last[run])
        count = i = j = 0
        n_inner_left = n_inner_right = ZERO
        for row in range(rows[begin], rows[end - 1] + 1):
            while left[i + 1, 0] < 2 * row:
                i += 1
            while right[j + 1, 0] < 2 * row:
                j += 1
            west, east = _first_pixel(left, i, row), -_first_pixel(right, j, row)
            count += east - west + 1
            if measuring:
                n_inner_left = add_corner(inner_left, n_inner_left, row, west)
                n_inner_right = add_corner(inner_right, n_inner_right, row, -east)
        pixels[code] = count
        if measuring:
            for corner in range(n_inner_right):
                inner_left[n_inner_left + corner, 0] = inner_right[corner, 0]
                inner_left[n_inner_left + corner, 1] = -inner_right[corner, 1]
            _farthest(inner_left[: n_inner_left + n_inner_right], spacing, reach[code])


@kernel
def _add_pixel(side, n, row, column):
    """Add the middles of a pixel's edges to the ``n`` corners of a side; returns how many there are then."""
    n = add_corner(side, n, 2 * row - 1, 2 * column)
    n = add_corner(side, n, 2 * row, 2 * column - 1)
    return add_corner(side, n, 2 * row + 1, 2 * column)


@kernel
def add_corner(side, n, row, column):
    """Add a point to the ``n`` corners of a side, in the last one's row or below it; returns how many there are then.

    Andrew's monotone chain: what no longer lies outside of the line to the new corner is dropped.
    """
    while n > 0:
        y, x = side[n - 1, 0], side[n - 1, 1]
        if y == row:
            if x <= column:
                return n
        elif n == 1 or (x - side[n - 2, 1]) * (row - side[n - 2, 0]) < (column - side[n - 2, 1]) * (y - side[n - 2, 0]):
            break
        n -= 1
    side[n, 0], side[n, 1] = row, column
    return n + 1


@kernel
def _first_pixel(side, corner, row):
    """The first column of a row whose centre is not outside of the line from a corner to the next, in half pixels."""
    height = side[corner + 1, 0] - side[corner, 0]
    sideways = side[corner + 1, 1] - side[corner, 1]
    return -((-side[corner, 1] * height - sideways * (2 * row - side[corner, 0])) // (2 * height))


@kernel
def _farthest(corners, spacing, reach):
    """Rows and columns between the two farthest points of the contour around pixels, of which the corners are given."""
    y2, x2 = spacing[0] * spacing[0], spacing[1] * spacing[1]
    longest = -1.0
    for i in range(len(corners)):
        for j in range(i):
            dy, dx = abs(corners[i, 0] - corners[j, 0]), abs(corners[i, 1] - corners[j, 1])
            # From edge to edge it is a pixel more than from centre to centre, along one of the axes.
            for tall, wide in ((dy + 1, dx), (dy, dx + 1)):
                square = tall * tall * y2 + wide * wide * x2
                if square > longest:
                    longest = square
                    reach[0], reach[1] = tall, wide
