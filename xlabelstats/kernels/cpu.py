"""Kernels for arrays in main memory: numpy, and loops compiled by numba."""

from __future__ import annotations

import numpy as np
import numpy as xp

from xlabelstats.kernels.cpu_boundaries import border_pixels, neighbours
from xlabelstats.kernels.cpu_channels import colocalise, cross_powers, cross_sums
from xlabelstats.kernels.cpu_histograms import add_counts, histograms, ranked
from xlabelstats.kernels.cpu_objects import cut
from xlabelstats.kernels.cpu_positions import (
    boxes,
    coordinate_sums,
    first_extremes,
    geometry,
    merge_geometry,
    position_moments,
)
from xlabelstats.kernels.cpu_runs import centre, count_valid, merge, place_runs, powers, sums_and_extremes
from xlabelstats.kernels.cpu_sorting import gather, modes, order_statistics
from xlabelstats.kernels.cpu_weights import weighted_powers

__all__ = [
    "add_counts",
    "border_pixels",
    "boxes",
    "centre",
    "colocalise",
    "compact",
    "coordinate_sums",
    "count_valid",
    "cross_powers",
    "cross_sums",
    "cut",
    "find_runs",
    "first_extremes",
    "gather",
    "geometry",
    "histograms",
    "memory",
    "merge",
    "merge_geometry",
    "modes",
    "neighbours",
    "order_statistics",
    "position_moments",
    "powers",
    "ranked",
    "read_only",
    "repeat",
    "sums_and_extremes",
    "to_host",
    "unique",
    "weighted_powers",
    "xp",
]

# So many lines, of at most so many pixels, tell about how many runs there are.
LINES, WIDTH = 16, 2**12


def find_runs(lines, background, placed):
    """The value, first pixel and length of every run of a (line, pixel) array; the latter two empty unless ``placed``.

    Runs of 0 are left out unless ``background``.
    """
    lines = read_only(lines)
    some = lines[:: max(1, len(lines) // LINES), :WIDTH]
    changes = np.count_nonzero(some[:, 1:] != some[:, :-1]) + len(some)
    # There may be more runs in the others; if there is no room for them, they are looked for again.
    room = min(lines.size, 2 * changes * lines.size // max(some.size, 1) + 2**10)
    n, runs = _placed(lines, background, placed, room)
    if n > room:
        del runs
        _, runs = _placed(lines, background, placed, n)
    # What is kept takes no room beyond what was found.
    return tuple(array[:n] if 2 * n > room else array[:n].copy() for array in runs)


def _placed(lines, background, placed, room):
    """How many runs there are, and the value, first pixel and length of so many as there is room for."""
    index = np.int32 if lines.size < 2**31 else np.int64
    runs = np.empty(room, lines.dtype), *(np.empty(room if placed else 0, index) for _ in range(2))
    words = np.zeros(lines.shape[1] // 8 + 1, np.uint64)
    least = lines.dtype.type(not background)
    n = place_runs(lines, least, words.view(np.bool_), words, *runs) if lines.size else 0
    return n, runs


def compact(values):
    """The position of every value among the sorted distinct ones, and these; by a hash table."""
    import pandas as pd

    found, distinct = pd.factorize(values)
    order = np.argsort(distinct)
    rank = np.empty(distinct.size, np.int32 if values.size < 2**31 else np.int64)
    rank[order] = np.arange(distinct.size)
    return rank[found], distinct[order]


def unique(values):
    """The sorted distinct values."""
    import pandas as pd

    return np.sort(pd.unique(values))


def repeat(values, repeats):
    """Values (..., n), each as often along the last axis as ``repeats`` (n) says."""
    return np.repeat(values, repeats, axis=-1)


def memory(array, length):
    """The memory of an array, whose steps are not negative, as ``length`` elements in a row."""
    return np.lib.stride_tricks.as_strided(array, (length,), (array.itemsize,), writeable=False)


def read_only(array):
    """A view that cannot be written to: numba compiles for it apart from a writable array."""
    view = array.view()
    view.flags.writeable = False
    return view


def to_host(array):
    """An array in main memory."""
    return array
