"""Loops over the parts of labels in numpy regions of any dims, compiled by numba."""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_holes import root
from xlabelstats.kernels.cpu_hulls import by_label
from xlabelstats.kernels.cpu_runs import kernel


@kernel
def _line_beside(line, combination, shape):
    """The line that lies a combination of steps of -1, 0 and 1 along the axes before the last away; -1 for none."""
    stride, other = 1, 0
    for axis in range(shape.size - 2, -1, -1):
        place = line % shape[axis] + combination % 3 - 1
        if place < 0 or place >= shape[axis]:
            return -1
        other += place * stride
        stride *= shape[axis]
        line //= shape[axis]
        combination //= 3
    return other


@kernel
def count_parts(runs, parts):
    """Count the ``parts`` (code) of every label that do not touch, not even at a corner."""
    shape = runs.shape
    last = shape.size - 1
    edges, lines, first, end = by_label(runs, parts.size)
    connected = np.arange(lines.size)
    # The lines next to a line that come before it: combinations of steps of -1, 0 and 1 along the other axes.
    before = (3**last - 1) // 2
    for code in range(parts.size):
        parts[code] = edges[code + 1] - edges[code]
        for combination in range(before):
            other = edges[code]
            for run in range(edges[code], edges[code + 1]):
                line = _line_beside(lines[run], combination, shape)
                if line < 0:
                    continue
                while other < run and (lines[other] < line or (lines[other] == line and end[other] < first[run] - 1)):
                    other += 1
                touching = other
                while touching < run and lines[touching] == line and first[touching] <= end[run] + 1:
                    a, b = root(connected, touching), root(connected, run)
                    if a != b:
                        connected[max(a, b)] = min(a, b)
                        parts[code] -= 1
                    touching += 1


@kernel
def connect_runs(starts, lengths, shape, connectivity, codes):
    """Number the components of the runs of a foreground in ``codes`` (run,), and return how many there are.

    Pixels are connected if they differ by one along at most ``connectivity`` axes.  Component 0 has the first pixel.
    """
    last = shape.size - 1
    width, lines = shape[last], 1
    for axis in range(last):
        lines *= shape[axis]
    edges = np.zeros(lines + 1, np.int64)
    for run in range(starts.size):
        edges[starts[run] // width + 1] += 1
    for line in range(lines):
        edges[line + 1] += edges[line]
    connected = np.arange(starts.size)
    # The lines next to a line that come before it: combinations of steps of -1, 0 and 1 along the other axes.
    for combination in range((3**last - 1) // 2):
        reach, steps = connectivity, combination
        for _ in range(last):
            reach -= steps % 3 != 1
            steps //= 3
        if reach < 0:
            continue
        for line in range(lines):
            if edges[line] == edges[line + 1]:
                continue
            other = _line_beside(line, combination, shape)
            if other >= 0:
                _connect_lines(connected, starts, lengths, edges, line, other, width, min(reach, 1))
    n = 0
    for run in range(starts.size):
        # The first of those that are connected, which has its number already.
        first = root(connected, run)
        if first == run:
            codes[run] = n
            n += 1
        else:
            codes[run] = codes[first]
    return n


@kernel
def _connect_lines(connected, starts, lengths, edges, line, other, width, reach):
    """Connect the runs of two lines that lie over each other, or are at most ``reach`` pixels beside."""
    here, there = edges[line], edges[other]
    apart = (line - other) * width
    while here < edges[line + 1] and there < edges[other + 1]:
        first, first_there = starts[here] - apart, starts[there]
        end, end_there = first + lengths[here], first_there + lengths[there]
        if first < end_there + reach and first_there < end + reach:
            a, b = root(connected, here), root(connected, there)
            connected[max(a, b)] = min(a, b)
        if end < end_there:
            here += 1
        else:
            there += 1


@kernel
def paint_runs(starts, lengths, values, pixels):
    """Give the ``pixels`` (of a flattened block) of every run its value."""
    for run in range(starts.size):
        for i in range(starts[run], starts[run] + lengths[run]):
            pixels[i] = values[run]
