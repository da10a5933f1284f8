"""Loops over whole objects in numpy regions, compiled by numba: windows cut, pixels gathered and sorted.

Pixels are moved and sorted as unsigned integers of their own size, whatever they stand for.
Images are ``(channel, pixel)``, flattened regions whose shape is given.
"""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_runs import kernel

# Below this many pixels, inserting each in its place is faster than sorting by digits.
FEW = 48


@kernel
def cut(image, channels, mask, shape, cuts, alone, out, marked):
    """Copy what a piece of an image holds of some windows to ``out`` (object, channel, pixel of the window).

    ``image`` and ``mask`` are the memory of a piece of this ``shape``, ``channels`` the first elements of the image's
    channels.  If ``alone``, pixels that do not carry a window's label become 0; where they do, ``marked`` (object,
    pixel of the window) gets the window's mark if there is room for it.  Without either the mask is not read.
    """
    pixels_in, steps = image
    labels_in, mask_steps = mask
    starts, low, high, size, labels, rows, marks = cuts
    ndim = shape.size
    last = ndim - 1
    first, extent = np.empty(ndim, np.int64), np.empty(ndim, np.int64)
    zero, unmarked = pixels_in.dtype.type(0), marked.dtype.type(0)
    along, mask_along = steps[last], mask_steps[last]
    packed = along == 1 and mask_along == 1
    for i in range(starts.shape[0]):
        for axis in range(ndim):
            first[axis] = max(low[i, axis], -starts[i, axis])
            extent[axis] = max(0, min(high[i, axis], shape[axis] - starts[i, axis]) - first[axis])
        width, label, row, mark = extent[last], labels[i], rows[i], marks[i]
        lines = extent[last - 1] if ndim > 1 and width else min(width, 1)
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


@kernel
def gather(image, runs, count, out):
    """Copy the pixels of every code to ``out``, code by code, each as (channel, pixel) in image order."""
    codes, starts, lengths, _ = runs
    channels = image.shape[0]
    free = np.empty(count.size, np.int64)
    total = 0
    for code in range(count.size):
        free[code] = total
        total += count[code] * channels
    for run in range(codes.size):
        code, first, n = codes[run], starts[run], lengths[run]
        for c in range(channels):
            pixels = image[c, first : first + n]
            target = free[code] + c * count[code]
            into = out[target : target + n]
            for i in range(n):
                into[i] = pixels[i]
        free[code] += n


@kernel
def order_statistics(keys, count, channels, kind, q, low, high, valid):
    """Sort the pixels of every code and channel, and pick those next to the quantiles ``q``.

    ``keys`` are pixels as `gather` leaves them, which are overwritten; ``kind`` is 0 for unsigned, 1
    for signed and 2 for floating point numbers.  ``low`` and ``high`` (code, channel, quantile) get the
    pixels at the whole numbers at or below and above ``q * (valid - 1)``, ``valid`` (code, channel) the
    number of pixels that are not NaN.
    """
    sign, every, infinite = _words(keys)
    spare = np.empty(_longest(count), keys.dtype)
    first = 0
    for code in range(count.size):
        n = count[code]
        for c in range(channels):
            own = keys[first : first + n]
            first += n
            n_valid = n - _ordered(own, kind, sign, every, infinite)
            valid[code, c] = n_valid
            ordered = _sort(own, spare)
            for j in range(q.size):
                if n_valid == 0:
                    low[code, c, j] = high[code, c, j] = 0
                    continue
                virtual = q[j] * (n_valid - 1)
                below = min(int(virtual), n_valid - 1)
                above = min(below + 1, n_valid - 1)
                low[code, c, j] = _pixel(np.uint64(ordered[below]), kind, sign, every)
                high[code, c, j] = _pixel(np.uint64(ordered[above]), kind, sign, every)


@kernel
def modes(keys, count, channels, kind, mode, valid):
    """Sort the pixels of every code and channel, and find the most frequent one, the smallest of a tie.

    As `order_statistics`; ``mode`` (code, channel) is 0 where no pixel is valid.  Both zeros are one number.
    """
    sign, every, infinite = _words(keys)
    spare = np.empty(_longest(count), keys.dtype)
    first = 0
    for code in range(count.size):
        n = count[code]
        for c in range(channels):
            own = keys[first : first + n]
            first += n
            if kind == 2:
                for i in range(n):
                    if own[i] == sign:
                        own[i] = 0
            n_valid = n - _ordered(own, kind, sign, every, infinite)
            valid[code, c] = n_valid
            ordered = _sort(own, spare)
            mode[code, c] = 0
            most, length = 0, 0
            for i in range(n_valid):
                length = length + 1 if i and ordered[i] == ordered[i - 1] else 1
                if length > most:
                    most = length
                    mode[code, c] = _pixel(np.uint64(ordered[i]), kind, sign, every)


@kernel
def _words(keys):
    """Of the integers that pixels are sorted as: the sign, all bits, and the bits of infinity in floating point."""
    size = keys.itemsize
    one = np.uint64(1)
    sign = one << np.uint64(8 * size - 1)
    every = sign | (sign - one)
    mantissa = np.uint64(10 if size == 2 else 23 if size == 4 else 52)
    return sign, every, (sign - one) ^ ((one << mantissa) - one)


@kernel
def _longest(count):
    """The most pixels of any code."""
    longest = 0
    for code in range(count.size):
        longest = max(longest, count[code])
    return longest


@kernel
def _ordered(own, kind, sign, every, infinite):
    """Turn pixels into keys that sort as they do, NaN last; returns how many are NaN."""
    nans = 0
    if kind == 1:
        for i in range(own.size):
            own[i] = np.uint64(own[i]) ^ sign
    elif kind == 2:
        for i in range(own.size):
            key = np.uint64(own[i])
            if key & (sign - np.uint64(1)) > infinite:
                own[i] = every
                nans += 1
            else:
                own[i] = (every ^ key) if key & sign else (key | sign)
    return nans


@kernel
def _pixel(key, kind, sign, every):
    """The pixel that a key stands for."""
    if kind == 1:
        return key ^ sign
    if kind == 2:
        return (key ^ sign) if key & sign else (every ^ key)
    return key


@kernel
def _sort(keys, spare):
    """Sort keys, in place or into ``spare``; returns which."""
    n = keys.size
    if n < FEW:
        for i in range(1, n):
            key = keys[i]
            j = i - 1
            while j >= 0 and keys[j] > key:
                keys[j + 1] = keys[j]
                j -= 1
            keys[j + 1] = key
        return keys
    # Byte by byte from the lowest; a byte that all keys share is passed over.
    other = spare[:n]
    digits = keys.itemsize
    tally = np.zeros((digits, 256), np.int64)
    for i in range(n):
        key = np.uint64(keys[i])
        for digit in range(digits):
            tally[digit, (key >> np.uint64(8 * digit)) & np.uint64(255)] += 1
    for digit in range(digits):
        shift = np.uint64(8 * digit)
        counts = tally[digit]
        if counts[(np.uint64(keys[0]) >> shift) & np.uint64(255)] == n:
            continue
        total = 0
        for value in range(256):
            total, counts[value] = total + counts[value], total
        for i in range(n):
            key = keys[i]
            value = (np.uint64(key) >> shift) & np.uint64(255)
            other[counts[value]] = key
            counts[value] += 1
        keys, other = other, keys
    return keys
