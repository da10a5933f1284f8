"""Neighbourhoods of pixels, counted on the device."""

from __future__ import annotations

import cupy as xp

from xlabelstats.kernels.gpu_launch import each, placed


def neighbours(area, area_shape, start, runs, offsets, table, crossings, euler):
    """Look at the neighbours of every pixel that lie at ``offsets``; see `cpu_boundaries.neighbours`."""
    where = *map(xp.asarray, (area_shape, start, offsets)), len(offsets)
    measuring = euler.size > 0
    each("neighbours", runs.codes.size, [area], area, *placed(runs), *where, table, crossings, euler, measuring)


def border_pixels(area, area_shape, start, runs, kinds, out):
    """Add the border pixels of 2-D labels by their kind; see `cpu_boundaries.border_pixels`."""
    where = map(xp.asarray, (area_shape, start))
    each("border_pixels", runs.codes.size, [area], area, *placed(runs)[:-1], *where, kinds, out)
