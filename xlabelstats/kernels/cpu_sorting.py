"""Pixels of whole objects in numpy regions, gathered and sorted in loops compiled by numba.

Pixels are moved and sorted as unsigned integers of their own size, whatever they stand for.
"""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_runs import kernel

# Below this many pixels, inserting each in its place is faster than sorting by digits.
FEW = 48


def gather(image, runs, count, out):
    """Copy the pixels of every code to ``out``, code by code, each as (channel, pixel) in image order."""
    sizes = count * len(image)
    _gather(image, runs, count, np.cumsum(sizes) - sizes, out)


@kernel
def _gather(image, runs, count, free, out):
    """Copy the pixels to ``out``; ``free`` (code,) is where the next of each code and the first channel goes to."""
    codes, starts, lengths, _ = runs
    for run in range(codes.size):
        code, first, n = codes[run], starts[run], lengths[run]
        for c in range(image.shape[0]):
            pixels = image[c, first : first + n]
            target = free[code] + c * count[code]
            into = out[target : target + n]
            for i in range(n):
                into[i] = pixels[i]
        free[code] += n


def order_statistics(keys, count, channels, kind, q, low, high, valid):
    """Sort the pixels of every code and channel, and pick those next to the quantiles ``q``.

    ``keys`` are pixels as `gather` leaves them, which are overwritten; ``kind`` is 0 for unsigned, 1
    for signed and 2 for floating point numbers.  ``low`` and ``high`` (code, channel, quantile) get the
    pixels at the whole numbers at or below and above ``q * (valid - 1)``, ``valid`` (code, channel) the
    number of pixels that are not NaN.
    """
    first = _sort_pixels(keys, count, channels, kind, valid)
    if keys.size:
        last = np.maximum(valid - 1, 0)
        for j in range(q.size):
            below = np.minimum((q[j] * last).astype(np.int64), last)
            # A segment without pixels may begin beyond the last key.
            low[:, :, j] = keys.take(first + below, mode="clip")
            high[:, :, j] = keys.take(first + np.minimum(below + 1, last), mode="clip")
    for out in (low, high):
        _to_pixels(out, valid, kind)


def modes(keys, count, channels, kind, mode, valid):
    """Sort the pixels of every code and channel, and find the most frequent one, the smallest of a tie.

    As `order_statistics`; ``mode`` (code, channel) is 0 where no pixel is valid.  Both zeros are one number.
    """
    if kind == 2:
        keys[keys == _sign(keys)] = 0
    first = _sort_pixels(keys, count, channels, kind, valid)
    _most_frequent(keys, first.ravel(), valid.ravel(), mode.reshape(-1))
    _to_pixels(mode, valid, kind)


@kernel
def _most_frequent(keys, first, valid, mode):
    """Find the most frequent of the keys of every segment, which are sorted; the smallest of a tie."""
    for segment in range(first.size):
        own = keys[first[segment] : first[segment] + valid[segment]]
        most, length = 0, 0
        for i in range(own.size):
            length = length + 1 if i and own[i] == own[i - 1] else 1
            if length > most:
                most = length
                mode[segment] = own[i]


def _sort_pixels(keys, count, channels, kind, valid):
    """Turn pixels into keys and sort these by code and channel, NaN last; returns where each (code, channel) begins.

    ``valid`` (code, channel) gets how many of them are not NaN.
    """
    valid[...] = count[:, None]
    sizes = np.repeat(count, channels)
    sign = _sign(keys)
    if kind == 1:
        keys ^= sign
    elif kind == 2:
        infinity = np.array(np.inf, f"f{keys.itemsize}").view(keys.dtype)[()]
        _order_floats(keys, sizes, sign, ~keys.dtype.type(0), infinity, valid.reshape(-1))
    _sort(keys, sizes, np.empty(int(sizes.max(initial=0)), keys.dtype), np.empty((keys.itemsize, 256), np.int64))
    return (np.cumsum(sizes) - sizes).reshape(count.size, channels)


def _sign(keys):
    """The highest bit of a key."""
    return keys.dtype.type(1 << 8 * keys.itemsize - 1)


def _to_pixels(keys, valid, kind):
    """Turn keys into the pixels that they stand for; 0 where no pixel is valid."""
    sign = _sign(keys)
    if kind == 1:
        keys ^= sign
    elif kind == 2:
        keys[...] = np.where(keys & sign, keys ^ sign, ~keys)
    if not valid.all():
        keys[valid == 0] = 0


@kernel
def _order_floats(keys, sizes, sign, every, infinity, valid):
    """Turn the bits of floating point numbers, of segments of these sizes, into keys that sort as these do.

    NaN come last, and are taken off the number that is ``valid``.
    """
    first = 0
    for segment in range(sizes.size):
        for i in range(first, first + sizes[segment]):
            key = keys[i]
            if key & ~sign > infinity:
                keys[i] = every
                valid[segment] -= 1
            else:
                keys[i] = ~key if key & sign else key | sign
        first += sizes[segment]


@kernel
def _sort(keys, sizes, spare, tally):
    """Sort the keys of every segment, which have these sizes.

    ``spare`` has room for the largest, ``tally`` for a number of every value of every byte of a key.
    """
    begin = 0
    for segment in range(sizes.size):
        n = sizes[segment]
        own, other = keys[begin : begin + n], spare[:n]
        begin += n
        if n < FEW:
            for i in range(1, n):
                key = own[i]
                j = i - 1
                while j >= 0 and own[j] > key:
                    own[j + 1] = own[j]
                    j -= 1
                own[j + 1] = key
            continue
        # Byte by byte from the lowest; a byte that all keys share is passed over.
        digits = keys.itemsize
        for digit in range(digits):
            for value in range(256):
                tally[digit, value] = 0
        for i in range(n):
            key = np.uint64(own[i])
            for digit in range(digits):
                tally[digit, (key >> np.uint64(8 * digit)) & np.uint64(255)] += 1
        swapped = False
        for digit in range(digits):
            shift = np.uint64(8 * digit)
            counts = tally[digit]
            if counts[(np.uint64(own[0]) >> shift) & np.uint64(255)] == n:
                continue
            total = 0
            for value in range(256):
                total, counts[value] = total + counts[value], total
            for i in range(n):
                key = own[i]
                value = (np.uint64(key) >> shift) & np.uint64(255)
                other[counts[value]] = key
                counts[value] += 1
            own, other, swapped = other, own, not swapped
        if swapped:
            for i in range(n):
                other[i] = own[i]
