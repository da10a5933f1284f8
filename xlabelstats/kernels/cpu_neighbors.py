"""Loops over the boundary pixels of labels in numpy blocks, compiled by numba: which labels lie near each other.

Labels are numbered from 1 in the order of their ids, 0 is the background.  A block and its surroundings are ``codes``,
flattened, with a margin of background: whatever is looked at around a pixel of the block is in it.

The squared length of a step along an axis is read from ``squares`` (axis, step), so that lengths are sums alone, added
in the order of the axes: they come out the same in every loop and on every machine.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xlabelstats.kernels.cpu_runs import kernel


class Outlines(NamedTuple):
    """The boundary pixels of labels, in pieces of a few that lie near each other.

    Attributes
    ----------
    pixels : array (pixel, axis)
        Label by label.
    ends : array (piece + 1,)
        The pixels of piece ``i`` are those from ``ends[i]`` to ``ends[i + 1]``.
    low, high : array (piece, axis)
        The first and the last pixel of each piece along every axis.
    pieces : array (code + 1,)
        The pieces of label ``code`` are those from ``pieces[code]`` to ``pieces[code + 1]``.
    """

    pixels: np.ndarray
    ends: np.ndarray
    low: np.ndarray
    high: np.ndarray
    pieces: np.ndarray


@kernel
def boundary_pixels(codes, lines, width, steps, ends):
    """Where the pixels are, label by label, that have a direct neighbour of another label or of none.

    They are looked for in lines of ``width`` pixels from ``lines`` on, neighbours at ``steps`` in both directions.
    ``ends`` (code + 1,) gets where those of each label begin and end.
    """
    for line in lines:
        for place in range(line, line + width):
            code = codes[place]
            if code != 0:
                edge = False
                for step in steps:
                    edge |= (codes[place - step] != code) | (codes[place + step] != code)
                ends[code + 1] += edge
    for code in range(1, ends.size):
        ends[code] += ends[code - 1]
    cursor = ends[:-1].copy()
    places = np.empty(ends[-1], np.int64)
    for line in lines:
        for place in range(line, line + width):
            code = codes[place]
            if code != 0:
                edge = False
                for step in steps:
                    edge |= (codes[place - step] != code) | (codes[place + step] != code)
                if edge:
                    places[cursor[code]] = place
                    cursor[code] += 1
    return places


@kernel
def neighbors_by_offsets(codes, places, ends, offsets):
    """Which labels have a pixel at one of ``offsets`` from a boundary pixel of a label.

    Gives rows of two labels and the number of the first of the offsets at which they meet.  Offsets are sorted by
    length, and of two opposite ones there is one, so that each pair of pixels is seen once.
    """
    labels, none = ends.size - 1, offsets.size
    # The first offset at which a label was met; the background and the label itself never are.
    least = np.full(labels, none, np.int64)
    least[0] = -1
    met = np.empty(labels, np.int64)
    rows, size = np.empty((64, 3), np.int64), 0
    for code in range(1, labels):
        if ends[code] == ends[code + 1]:
            continue
        least[code], total = -1, 0
        for place in places[ends[code] : ends[code + 1]]:
            for i in range(none):
                other = codes[place + offsets[i]]
                if i < least[other]:
                    if least[other] == none:
                        met[total] = other
                        total += 1
                    least[other] = i
        least[code] = none
        if size + total > len(rows):
            larger = np.empty((2 * (size + total), 3), np.int64)
            for row in range(size):
                for field in range(3):
                    larger[row, field] = rows[row, field]
            rows = larger
        for other in met[:total]:
            rows[size, 0], rows[size, 1], rows[size, 2] = code, other, least[other]
            least[other] = none
            size += 1
    return rows[:size]


@kernel
def squared_gap(low, high, other_low, other_high, squares):
    """The squared distance of two boxes, given by their first and last pixels."""
    total = 0.0
    for axis in range(low.size):
        gap = max(0, other_low[axis] - high[axis], low[axis] - other_high[axis])
        total += squares[axis, gap]
    return total


@kernel
def closest(pixel, pixels, squares):
    """Which of some pixels is closest to one, and its squared distance."""
    row, best = 0, np.inf
    for i in range(len(pixels)):
        total = 0.0
        for axis in range(pixel.size):
            total += squares[axis, abs(pixels[i, axis] - pixel[axis])]
        if total < best:
            row, best = i, total
    return row, best


@kernel
def least_squared_distance(first, a, second, b, squares, least, best):
    """The squared distance of label ``a`` of some outlines and ``b`` of others, or ``best`` if that is less.

    It is that of their nearest pixels, and never smaller than ``least``.
    """
    ours = first.pixels[first.ends[first.pieces[a]] : first.ends[first.pieces[a + 1]]]
    theirs = second.pixels[second.ends[second.pieces[b]] : second.ends[second.pieces[b + 1]]]
    # A pair that is near, if not the nearest, so that most others need not be looked at.
    row = 0
    for _ in range(2):
        other, _ = closest(ours[row], theirs, squares)
        row, near = closest(theirs[other], ours, squares)
        best = min(best, near)
    for i in range(first.pieces[a], first.pieces[a + 1]):
        for j in range(second.pieces[b], second.pieces[b + 1]):
            if squared_gap(first.low[i], first.high[i], second.low[j], second.high[j], squares) >= best:
                continue
            some = second.pixels[second.ends[j] : second.ends[j + 1]]
            for p in range(first.ends[i], first.ends[i + 1]):
                if best <= least:
                    return best
                pixel = first.pixels[p]
                if squared_gap(pixel, pixel, second.low[j], second.high[j], squares) < best:
                    _, near = closest(pixel, some, squares)
                    best = min(best, near)
    return best


@kernel
def neighbors_by_boxes(first, second, squares, least, beyond, order, reach):
    """Which labels of some outlines have a pixel that is nearer than ``beyond`` to one of a label of others.

    Gives rows of two labels, the latter the larger one, and their squared distances.  ``order`` are the pieces that
    enclose a label of the second outlines whole, by where these begin along the first axis; a label is in reach if it
    begins at most ``reach`` pixels before another.
    """
    boxes, codes, starts = order
    rows, lengths, size = np.empty((64, 2), np.int64), np.empty(64), 0
    low, high = np.empty(squares.shape[0], np.int64), np.empty(squares.shape[0], np.int64)
    for a in range(1, first.pieces.size - 1):
        if first.pieces[a] == first.pieces[a + 1]:
            continue
        for axis in range(low.size):
            low[axis] = first.low[first.pieces[a] : first.pieces[a + 1], axis].min()
            high[axis] = first.high[first.pieces[a] : first.pieces[a + 1], axis].max()
        start, stop = np.searchsorted(starts, low[0] - reach[0]), np.searchsorted(starts, high[0] + reach[1] + 1)
        for k in range(start, stop):
            b = codes[k]
            if b <= a or squared_gap(low, high, boxes[k, 0], boxes[k, 1], squares) >= beyond:
                continue
            best = least_squared_distance(first, a, second, b, squares, least, beyond)
            if best < beyond:
                if size == len(rows):
                    larger, longer = np.empty((2 * size, 2), np.int64), np.empty(2 * size)
                    for row in range(size):
                        larger[row, 0], larger[row, 1], longer[row] = rows[row, 0], rows[row, 1], lengths[row]
                    rows, lengths = larger, longer
                rows[size, 0], rows[size, 1], lengths[size] = a, b, best
                size += 1
    return rows[:size], lengths[:size]
