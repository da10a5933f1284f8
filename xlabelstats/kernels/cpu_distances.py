"""Loops over the pixels of numpy blocks for the nearest label, and how far it is, compiled by numba.

Distances are squared, in whole numbers that a floating-point array holds exactly, so that equal distances are equal.
They are found axis by axis: first within the lines of the last axis, then across the lines along each other axis.
``steps`` are the squared distances of 0, 1, 2, ... pixels along an axis, as far as pixels are looked at.  What is
farther than the greatest distance that counts is ``far``, one more than that distance squared.
"""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_runs import kernel

# So many pixels of a line are handled together: what they need of the lines around them stays in the cache.
TILE = 128


@kernel
def nearest_in_lines(area, first, steps, far, squares, labels):
    """The nearest label of the pixels of every line (line, pixel), from pixel ``first`` on: of two the smaller."""
    width, count = area.shape[1], labels.shape[1]
    for line in range(area.shape[0]):
        row, into, names = area[line], squares[line], labels[line]
        x = max(first - steps.size, 0)
        last = min(first + count, width)
        while x < last:
            if row[x] != 0:
                if x >= first:
                    into[x - first] = 0
                    names[x - first] = row[x]
                x += 1
                continue
            end = x
            reach = min(last + steps.size, width)
            while end < reach and row[end] == 0:
                end += 1
            before = row[x - 1] if x > 0 else row[x]
            after = row[end] if end < width else row[x]
            for i in range(max(x, first), min(end, last)):
                left, right = i - x + 1, end - i
                best, name = far, row[x]
                if before != 0 and left < steps.size:
                    best, name = steps[left], before
                if after != 0 and right < steps.size:
                    other = steps[right]
                    if other < best or (other == best and after < name):
                        best, name = other, after
                into[i - first] = best
                names[i - first] = name
            x = end


@kernel
def nearest_across(squares, labels, first, steps, out_squares, out_labels):
    """The nearest label of the lines (outer, line, pixel) from line ``first`` on, from that within each line.

    Either of what is written may have one line for all, if it is of no use later.
    """
    outer, lines, width = squares.shape
    count = max(out_squares.shape[1], out_labels.shape[1])
    least = np.empty(lines, squares.dtype)
    for o in range(outer):
        into_squares, into_labels = out_squares[o % out_squares.shape[0]], out_labels[o % out_labels.shape[0]]
        for low in range(0, width, TILE):
            high = min(low + TILE, width)
            for line in range(lines):
                least[line] = _least(squares[o, line, low:high])
            for i in range(count):
                at = first + i
                best = into_squares[i % into_squares.shape[0], low:high]
                names = into_labels[i % into_labels.shape[0], low:high]
                for x in range(best.size):
                    best[x], names[x] = squares[o, at, low + x], labels[o, at, low + x]
                worst = _greatest(best)
                for d in range(1, steps.size):
                    step = steps[d]
                    if step > worst:
                        break
                    for line in (at - d, at + d):
                        if 0 <= line < lines and step + least[line] <= worst:
                            _take_nearer(squares[o, line, low:high], labels[o, line, low:high], step, best, names)
                            worst = _greatest(best)


@kernel
def _least(values):
    least = values[0]
    for x in range(values.size):
        least = values[x] if values[x] < least else least
    return least


@kernel
def _greatest(values):
    greatest = values[0]
    for x in range(values.size):
        greatest = values[x] if values[x] > greatest else greatest
    return greatest


@kernel
def _take_nearer(squares, labels, step, best, names):
    for x in range(best.size):
        square, name = squares[x] + step, labels[x]
        nearer = (square < best[x]) | ((square == best[x]) & (name < names[x]))
        best[x] = square if nearer else best[x]
        names[x] = name if nearer else names[x]


@kernel
def edge_in_lines(area, first, steps, far, squares):
    """How far the nearest pixel with another value is in the line (line, pixel), from pixel ``first`` on; 0 at 0."""
    width, count = area.shape[1], squares.shape[1]
    for line in range(area.shape[0]):
        row, into = area[line], squares[line]
        x = max(first - steps.size, 0)
        last = min(first + count, width)
        while x < last:
            end = x
            reach = min(last + steps.size, width)
            while end < reach and row[end] == row[x]:
                end += 1
            for i in range(max(x, first), min(end, last)):
                left = i - x + 1 if x > 0 else steps.size
                right = end - i if end < width else steps.size
                d = min(left, right)
                into[i - first] = steps[0] if row[x] == 0 else (steps[d] if d < steps.size else far)
            x = end


@kernel
def edge_across(squares, area, first, steps, out_squares):
    """How far the nearest pixel with another value is, from that within each line (outer, line, pixel)."""
    outer, lines, width = squares.shape
    for o in range(outer):
        for low in range(0, width, TILE):
            high = min(low + TILE, width)
            for i in range(out_squares.shape[1]):
                at = first + i
                best = out_squares[o, i, low:high]
                for x in range(best.size):
                    best[x] = squares[o, at, low + x]
                worst = _greatest(best)
                for d in range(1, steps.size):
                    step = steps[d]
                    if step >= worst:
                        break
                    for line in (at - d, at + d):
                        if 0 <= line < lines:
                            _take_edge(
                                squares[o, line, low:high], area[o, line, low:high], area[o, at, low:high], step, best
                            )
                    worst = _greatest(best)


@kernel
def _take_edge(squares, others, values, step, best):
    for x in range(best.size):
        square = squares[x] + step if others[x] == values[x] else step
        best[x] = square if square < best[x] else best[x]
