"""Loops over the neighbouring pixels of whole objects, compiled by numba."""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_runs import ZERO, kernel


@kernel
def distinct(labels, n):
    """Sort the first ``n`` labels and leave each once; how many these are."""
    if n < 2:
        return n
    labels[:n].sort()
    kept = 1
    for i in range(1, n):
        if labels[i] != labels[kept - 1]:
            labels[kept] = labels[i]
            kept += 1
    return kept


@kernel
def adjacency(pixels, shape, first, place, size, low, steps, direct, count, percent):
    """How many labels lie beside every code, and the percent of its outline at them: ``count``, ``percent`` (code,).

    ``pixels`` are the mask of the region, flattened, of ``shape`` (3,); a code's crop begins at ``low`` (code, 3),
    which may lie outside.  ``steps`` (step, 3) lead to the neighbours of a pixel, the ``direct`` first ones to those
    that count.  What lies outside of the region lies outside of the image.
    """
    # The planes at the ends of a volume are its border; a mask of one plane has none.
    offset, end = np.empty(len(steps), np.int64), ZERO
    for k in range(offset.size):
        offset[k] = (steps[k, 0] * shape[1] + steps[k, 1]) * shape[2] + steps[k, 2]
        end = max(end, steps[k, 0])
    # Of one dtype for all masks, as sorting takes long to compile.
    labels = np.empty(64, np.uint64)
    around = np.empty(offset.size, pixels.dtype)
    for code in range(first.size - 1):
        row, plane = size[code, 2], size[code, 1] * size[code, 2]
        n, outline, touching = ZERO, 0, 0
        for i in range(first[code], first[code + 1]):
            p = np.int64(place[i])
            z = p // plane
            y = (p - z * plane) // row
            x = p - z * plane - y * row + low[code, 2]
            z, y = z + low[code, 0], y + low[code, 1]
            q = (z * shape[1] + y) * shape[2] + x
            own = pixels[np.uint64(q)]
            if end <= z < shape[0] - end and 1 <= y < shape[1] - 1 and 1 <= x < shape[2] - 1:
                at_edge = False
                for k in range(offset.size):
                    at_edge |= pixels[np.uint64(q + offset[k])] != own
                if not at_edge:
                    continue
                for k in range(offset.size):
                    around[k] = pixels[np.uint64(q + offset[k])]
            else:
                for k in range(offset.size):
                    a, b, c = z + steps[k, 0], y + steps[k, 1], x + steps[k, 2]
                    around[k] = 0
                    if 0 <= a < shape[0] and 0 <= b < shape[1] and 0 <= c < shape[2]:
                        around[k] = pixels[q + offset[k]]
            outline += 1
            at_label = False
            for k in range(offset.size):
                other = around[k]
                if other == own or other == 0:
                    continue
                at_label = True
                if k < direct and (n == 0 or labels[n - 1] != other):
                    if n == labels.size:
                        n = distinct(labels, n)
                        if 2 * n > labels.size:
                            more = np.empty(4 * labels.size, np.uint64)
                            for j in range(n):
                                more[j] = labels[j]
                            labels = more
                    labels[n] = other
                    n += 1
            touching += at_label
        count[code] = distinct(labels, n)
        percent[code] = 100 * touching / outline
