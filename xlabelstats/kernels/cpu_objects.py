"""Loops over whole objects in numpy regions, compiled by numba: windows cut.

Pixels are moved as unsigned integers of their own size, whatever they stand for.
Images are ``(channel, pixel)``, flattened regions whose shape is given.
"""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_runs import kernel


def cut(image, channels, mask, shape, cuts, alone, out, marked):
    """Copy what a piece of an image holds of some windows to ``out`` (object, channel, pixel of the window).

    ``image`` and ``mask`` are the memory of a piece of this ``shape``, ``channels`` the first elements of the image's
    channels.  If ``alone``, pixels that do not carry a window's label become 0; where they do, ``marked`` (object,
    pixel of the window) gets the window's mark if there is room for it.  Without either the mask is not read.
    """
    first = np.maximum(cuts.low, -cuts.starts)
    extents = np.maximum(np.minimum(cuts.high, shape - cuts.starts) - first, 0)
    # From one position along an axis to the next: in a window of the result, in the image and in the mask.
    steps = np.stack([np.append(np.cumprod(cuts.size[:0:-1])[::-1], 1), image.steps, mask.steps])
    begins = np.stack([first @ steps[0], *((cuts.starts + first) @ steps[1:].T).T], axis=1)
    what = image.elements, channels, mask.elements, begins, extents, steps, cuts.labels, cuts.rows, cuts.marks
    _cut(*what, alone, out, marked)


@kernel
def _cut(image, channels, mask, begins, extents, steps, labels, rows, marks, alone, out, marked):
    """See `cut`; ``begins`` (object, 3) are the first elements of what is copied, ``extents`` (object, axis) its size.

    Both begins and ``steps`` (3, axis) are those in a window of the result, in the image and in the mask.
    """
    last = steps.shape[1] - 1
    along, mask_along = steps[1, last], steps[2, last]
    packed = along == 1 and mask_along == 1
    zero, unmarked = image.dtype.type(0), marked.dtype.type(0)
    for i in range(rows.size):
        extent = extents[i]
        width, label, row, mark = extent[last], labels[i], rows[i], marks[i]
        lines = 1
        for axis in range(last):
            lines *= extent[axis]
        for line in range(lines):
            rest, target, source, mask_source = line, begins[i, 0], begins[i, 1], begins[i, 2]
            for axis in range(last - 1, -1, -1):
                at = rest
                if axis:
                    at, rest = rest % extent[axis], rest // extent[axis]
                target += at * steps[0, axis]
                source += at * steps[1, axis]
                mask_source += at * steps[2, axis]
            if not packed:
                for x in range(width):
                    own = (alone or marked.size) and mask[mask_source + x * mask_along] == label
                    if own or not alone:
                        for c in range(channels.size):
                            out[row, c, target + x] = image[channels[c] + source + x * along]
                    if marked.size and own:
                        marked[row, target + x] = mark
                continue
            own = mask[mask_source : mask_source + width]
            for c in range(channels.size):
                begin = channels[c] + source
                pixels, into = image[begin : begin + width], out[row, c, target : target + width]
                if alone:
                    for x in range(width):
                        into[x] = pixels[x] if own[x] == label else zero
                else:
                    for x in range(width):
                        into[x] = pixels[x]
            if marked.size:
                into_marked = marked[row, target : target + width]
                for x in range(width):
                    into_marked[x] = mark if own[x] == label else unmarked
