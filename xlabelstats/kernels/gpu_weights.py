"""The kernel of weighted pixels for arrays on a GPU; see `gpu`, of which it is a part."""

from __future__ import annotations


def weighted_powers(image, runs, weights, sums):
    """Add up weights, and weighted powers of pixel - sums[..., 0], in sums[..., 1:].

    See `cpu_weights.weighted_powers`.
    """
    from xlabelstats.kernels import gpu

    elements, steps = weights
    where = *gpu._shape_of(runs), elements, gpu.xp.asarray(steps)
    n = runs.codes.size * len(image)
    gpu._each("weighted_powers", n, [image, elements], *gpu._runs_of(image, runs), *where, sums)
