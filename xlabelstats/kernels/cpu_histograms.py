"""Loops that count the pixels of labels by their values, in numpy blocks, compiled by numba."""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_runs import kernel


@kernel
def histograms(image, runs, bins, counts):
    """Count the pixels of every code and channel by bins; what lies in none, as NaN does, is passed over.

    ``counts`` is (code, channel, bin).  See `protocol.Bins`.
    """
    codes, starts, lengths, _ = runs
    table, first, last, scale = bins.table, bins.first, bins.last, bins.scale
    size, beyond = first.size, last[0]
    lowest = first[0]
    # Differences of integers of any sign and size, modulo 2**64, are places in the table.
    origin, places = np.uint64(lowest), np.uint64(table.size)
    for run in range(codes.size):
        begin, end = starts[run], starts[run] + lengths[run]
        for c in range(image.shape[0]):
            pixels, into = image[c], counts[codes[run], c]
            if table.size:
                for i in range(begin, end):
                    place = np.uint64(pixels[i]) - origin
                    if place < places:
                        bin = table[np.intp(place)]
                        if bin >= 0:
                            into[bin] += 1
            elif scale > 0:
                # Bins of equal width: about the right one, from where it is a step or none to the right one.
                for i in range(begin, end):
                    x = pixels[i]
                    if x >= lowest and x <= beyond:
                        bin = int(min((float(x) - bins.origin) * scale, size - 1.0))
                        while x < first[bin]:
                            bin -= 1
                        while bin + 1 < size and x >= first[bin + 1]:
                            bin += 1
                        into[bin] += 1
            else:
                for i in range(begin, end):
                    x = pixels[i]
                    if x >= lowest and x <= beyond:
                        bin, above = 0, size
                        while above - bin > 1:
                            middle = (bin + above) >> 1
                            if x >= first[middle]:
                                bin = middle
                            else:
                                above = middle
                        into[bin] += 1


@kernel
def add_counts(rows, counts_in, counts):
    """Add counts (row, channel, bin) to those of some rows."""
    for i in range(rows.size):
        for c in range(counts.shape[1]):
            part, into = counts_in[i, c], counts[rows[i], c]
            for bin in range(into.size):
                into[bin] += part[bin]


@kernel
def ranked(counts, q, low, high, valid):
    """Find the bins of the pixels next to the quantiles ``q``, as `order_statistics` does for pixels.

    ``low`` and ``high`` (code, channel, quantile) get the bins of the pixels at the whole numbers at or below and above
    ``q * (valid - 1)``, ``valid`` (code, channel) the number of pixels.
    """
    size = counts.shape[2]
    sums = np.empty(size, np.int64)
    for code in range(counts.shape[0]):
        for c in range(counts.shape[1]):
            n = 0
            for bin in range(size):
                n += np.int64(counts[code, c, bin])
                sums[bin] = n
            valid[code, c] = n
            for j in range(q.size):
                if n == 0:
                    low[code, c, j] = high[code, c, j] = 0
                    continue
                below = min(int(q[j] * (n - 1)), n - 1)
                above = min(below + 1, n - 1)
                bin = np.searchsorted(sums, below, side="right")
                low[code, c, j] = bin
                while sums[bin] <= above:
                    bin += 1
                high[code, c, j] = bin
