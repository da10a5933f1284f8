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
    # The first pixel of every window that is copied, and how many are, along every axis.
    first = np.maximum(cuts.low, -cuts.starts)
    extent = np.maximum(np.minimum(cuts.high, shape - cuts.starts) - first, 0)
    _cut(image, channels, mask, cuts, first, extent, alone, out, marked)


@kernel
def _cut(image, channels, mask, cuts, firsts, extents, alone, out, marked):
    """See `cut`; ``firsts`` and ``extents`` (object, axis) are the first pixel and the extent of what is copied."""
    pixels_in, steps = image
    labels_in, mask_steps = mask
    starts, _, _, size, labels, rows, marks = cuts
    ndim = size.size
    last = ndim - 1
    zero, unmarked = pixels_in.dtype.type(0), marked.dtype.type(0)
    along, mask_along = steps[last], mask_steps[last]
    packed = along == 1 and mask_along == 1
    for i in range(starts.shape[0]):
        first, extent = firsts[i], extents[i]
        width, label, row, mark = extent[last], labels[i], rows[i], marks[i]
        lines = extent[last - 1] if ndim > 1 else 1
        planes = 1
        for axis in range(last - 1):
            planes *= extent[axis]
        for plane in range(planes):
            # The first line of the plane; the next ones are so many elements further.
            rest, target, step = plane, 0, 1
            source, mask_source = 0, 0
            for axis in range(last, -1, -1):
                position = first[axis]
                if axis < last - 1:
                    position += rest % extent[axis]
                    rest //= extent[axis]
                target += position * step
                step *= size[axis]
                source += (starts[i, axis] + position) * steps[axis]
                mask_source += (starts[i, axis] + position) * mask_steps[axis]
            for line in range(lines):
                if line:
                    target += size[last]
                    source += steps[last - 1]
                    mask_source += mask_steps[last - 1]
                if not packed:
                    for x in range(width):
                        own = (alone or marked.size) and labels_in[mask_source + x * mask_along] == label
                        if own or not alone:
                            for c in range(channels.size):
                                out[row, c, target + x] = pixels_in[channels[c] + source + x * along]
                        if marked.size and own:
                            marked[row, target + x] = mark
                    continue
                own = labels_in[mask_source : mask_source + width]
                for c in range(channels.size):
                    begin = channels[c] + source
                    pixels, into = pixels_in[begin : begin + width], out[row, c, target : target + width]
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
