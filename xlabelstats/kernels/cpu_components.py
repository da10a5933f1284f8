"""Loops over the parts of labels in numpy regions of any dims, compiled by numba."""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_holes import root
from xlabelstats.kernels.cpu_hulls import by_label
from xlabelstats.kernels.cpu_runs import kernel


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
                rest, steps, stride, line, inside = lines[run], combination, 1, 0, True
                for axis in range(last - 1, -1, -1):
                    place = rest % shape[axis] + steps % 3 - 1
                    inside &= (place >= 0) & (place < shape[axis])
                    line += place * stride
                    stride *= shape[axis]
                    rest //= shape[axis]
                    steps //= 3
                if not inside:
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
