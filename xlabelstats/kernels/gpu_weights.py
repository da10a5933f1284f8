"""Weighted pixels, added up on the device."""

from __future__ import annotations

import cupy as xp

from xlabelstats.kernels.gpu_launch import each, runs_of, shape_of


def weighted_powers(image, runs, weights, sums):
    """Add up weights, and weighted powers of pixel - sums[..., 0], in sums[..., 1:].

    See `cpu_weights.weighted_powers`.
    """
    elements, steps = weights
    where = *shape_of(runs), elements, xp.asarray(steps)
    each("weighted_powers", runs.codes.size * len(image), [image, elements], *runs_of(image, runs), *where, sums)
