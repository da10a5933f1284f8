"""Loops over whole objects in numpy regions, compiled by numba: windows cut.

Pixels are moved as unsigned integers of their own size, whatever they stand for.
Images are ``(channel, pixel)``, flattened regions whose shape is given.
"""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_runs import kernel


@kernel
def cut(image, channels, mask, shape, cuts, alone, out, inside):
    """Copy what a piece of an image holds of some windows to ``out`` (object, channel, pixel of the window).

    ``image`` and ``mask`` are the memory of a piece of this ``shape``, ``channels`` the first elements of the image's
    channels.  If ``alone``, pixels that do not carry a window's label become 0; where they do, ``inside`` (object,
    pixel of the window) becomes True if there is room for it.
    """
    pixels_in, steps = image
    labels_in, mask_steps = mask
    starts, size, labels, rows = cuts
    ndim = shape.size
    last = ndim - 1
    first, extent = np.empty(ndim, np.int64), np.empty(ndim, np.int64)
    zero = pixels_in.dtype.type(0)
    along, mask_along = steps[last], mask_steps[last]
    packed = along == 1 and mask_along == 1
    for i in range(starts.shape[0]):
        lines = 1
        for axis in range(ndim):
            first[axis] = max(0, -starts[i, axis])
            extent[axis] = max(0, min(size[axis], shape[axis] - starts[i, axis]) - first[axis])
            if axis < last or extent[axis] == 0:
                lines *= extent[axis]
        width, label, row = extent[last], labels[i], rows[i]
        for line in range(lines):
            rest, target, step = line, first[last], size[last]
            source = (starts[i, last] + first[last]) * along
            mask_source = (starts[i, last] + first[last]) * mask_along
            for axis in range(last - 1, -1, -1):
                position = first[axis] + rest % extent[axis]
                rest //= extent[axis]
                target += position * step
                step *= size[axis]
                source += (starts[i, axis] + position) * steps[axis]
                mask_source += (starts[i, axis] + position) * mask_steps[axis]
            if not packed:
                for c in range(channels.size):
                    begin = channels[c] + source
                    for x in range(width):
                        if not alone or labels_in[mask_source + x * mask_along] == label:
                            out[row, c, target + x] = pixels_in[begin + x * along]
                if inside.size:
                    for x in range(width):
                        inside[row, target + x] = labels_in[mask_source + x * mask_along] == label
                continue
            for c in range(channels.size):
                begin = channels[c] + source
                pixels, into = pixels_in[begin : begin + width], out[row, c, target : target + width]
                if alone:
                    own = labels_in[mask_source : mask_source + width]
                    for x in range(width):
                        into[x] = pixels[x] if own[x] == label else zero
                else:
                    for x in range(width):
                        into[x] = pixels[x]
            if inside.size:
                own, flags = labels_in[mask_source : mask_source + width], inside[row, target : target + width]
                for x in range(width):
                    flags[x] = own[x] == label
