"""Loops over the holes of labels in 2-D numpy regions, compiled by numba."""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_hulls import by_label
from xlabelstats.kernels.cpu_runs import kernel


@kernel
def fill_holes(runs, filled):
    """Count the pixels in the holes of every label in ``filled`` (code).

    Pixels outside of the label that touch at a corner are of one part, so what touches the outside at a corner is not
    in a hole.
    """
    width = runs.shape[1]
    edges, rows, first, last = by_label(runs, filled.size)
    # Of the gap to the left of every run, another one that is connected to it, or itself.
    connected = np.arange(rows.size)
    for code in range(filled.size):
        begin, end = edges[code], edges[code + 1]
        outside = begin
        above, run = begin, begin
        while run < end:
            below = run
            run += 1
            while run < end and rows[run] == rows[below]:
                run += 1
            if rows[below] != rows[above] + 1:
                _connect(connected, outside, width, first, last, above, below, below, below)
                above = below
            _connect(connected, outside, width, first, last, above, below, below, run)
            above = below
        _connect(connected, outside, width, first, last, above, end, end, end)
        filled[code] = 0
        for gap in range(begin + 1, end):
            if rows[gap] == rows[gap - 1] and root(connected, gap) != outside:
                filled[code] += first[gap] - last[gap - 1] - 1


@kernel
def _connect(connected, outside, width, first, last, above, above_end, below, below_end):
    """Connect the gaps of two neighbouring rows, given by their runs, that touch at a corner or along edges.

    Left of the first run, right of the last and in a row without runs is the outside, which goes on beyond the region.
    """
    if above_end - above < 2 and below_end - below < 2:
        return
    i, j = above, below
    while i <= above_end and j <= below_end:
        left_i, right_i = _gap(first, last, width, i, above, above_end)
        left_j, right_j = _gap(first, last, width, j, below, below_end)
        if left_i <= right_j + 1 and left_j <= right_i + 1:
            a = outside if i in (above, above_end) else root(connected, i)
            b = outside if j in (below, below_end) else root(connected, j)
            # The outside comes first, so that it is the root of what is connected to it.
            connected[max(a, b)] = min(a, b)
        if right_i < right_j:
            i += 1
        else:
            j += 1


@kernel
def _gap(first, last, width, run, begin, end):
    """The first and last pixel between a run and that before it in its row, whose runs begin and end as given."""
    return -1 if run == begin else last[run - 1] + 1, width if run == end else first[run] - 1


@kernel
def root(connected, gap):
    """The gap that stands for all that are connected to a gap."""
    while connected[gap] != gap:
        connected[gap] = connected[connected[gap]]
        gap = connected[gap]
    return gap
