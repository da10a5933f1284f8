"""Loops over the light of whole objects, compiled by numba: at their edges, its centre, and how much it spreads.

Pixels come object by object, as `engine.crops.Crops` lays them out.
"""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_crops import ROUNDING, largest_crop, most_pixels
from xlabelstats.kernels.cpu_runs import kernel


@kernel
def edge_pixels(first, place, size, edge):
    """Whether each pixel (pixel,) has a direct neighbour in its crop that is not of its object."""
    inside = np.zeros(largest_crop(size), np.bool_)
    for code in range(size.shape[0]):
        begin, end = first[code], first[code + 1]
        row, plane = size[code, 2], size[code, 1] * size[code, 2]
        for i in range(begin, end):
            inside[place[i]] = True
        # The crop of a plane has no margin before and after it.
        solid = size[code, 0] > 1
        for i in range(begin, end):
            p = place[i]
            within = inside[p - 1] and inside[p + 1] and inside[p - row] and inside[p + row]
            if solid:
                within = within and inside[p - plane] and inside[p + plane]
            edge[i] = not within
        for i in range(begin, end):
            inside[place[i]] = False


@kernel
def edge_statistics(first, values, edge, out):
    """The sum, mean, standard deviation, least and largest of edge pixels: ``out`` (code, channel, 5).

    NaN pixels are passed over; of none the sum is 0 and the rest NaN.
    """
    for code in range(first.size - 1):
        begin, end = first[code], first[code + 1]
        for c in range(values.shape[0]):
            pixels, into = values[c], out[code, c]
            total, n = 0.0, 0
            low, high = np.inf, -np.inf
            for i in range(begin, end):
                x = pixels[i]
                if edge[i] and x == x:
                    total += x
                    n += 1
                    low, high = min(low, x), max(high, x)
            into[0] = total
            if n == 0:
                into[1:] = np.nan
                continue
            mean = total / n
            # What rounding took from the mean is found by the deviations from it (Chan, Golub & LeVeque 1983).
            off, squares = 0.0, 0.0
            for i in range(begin, end):
                x = pixels[i]
                if edge[i] and x == x:
                    off += x - mean
                    squares += (x - mean) * (x - mean)
            into[1] = mean
            into[2] = np.sqrt(max(squares - off * off / n, 0.0) / n) if squares == squares else np.nan
            into[3], into[4] = low, high


@kernel
def light_centers(first, place, size, values, out):
    """The centre of light of every code and channel, from the first pixel of its crop: ``out`` (code, channel, 4).

    That is (z, y, x), and last how far it lies from the mean position of the pixels.  NaN pixels are passed over.
    """
    middle, shift = np.empty(3), np.empty(3)
    for code in range(first.size - 1):
        begin, end = first[code], first[code + 1]
        row, plane = size[code, 2], size[code, 1] * size[code, 2]
        for c in range(values.shape[0]):
            pixels, into = values[c], out[code, c]
            # Sums of positions are whole numbers, and exact.
            n, total, extent, zs, ys, xs = 0, 0.0, 0.0, 0, 0, 0
            for i in range(begin, end):
                value, p = pixels[i], np.int64(place[i])
                if value == value:
                    z = p // plane
                    y = (p - z * plane) // row
                    zs, ys, xs = zs + z, ys + y, xs + (p - z * plane - y * row)
                    total += value
                    extent += abs(value)
                    n += 1
            if abs(total) <= ROUNDING * extent:
                into[:] = np.nan
                continue
            middle[0], middle[1], middle[2] = zs / n, ys / n, xs / n
            # Light less its mean moves the centre as much as all of it, and keeps its digits on a high background.
            mean = total / n
            shift[:] = 0.0
            for i in range(begin, end):
                value, p = pixels[i], np.int64(place[i])
                if value == value:
                    z = p // plane
                    y = (p - z * plane) // row
                    d = value - mean
                    shift[0] += d * (z - middle[0])
                    shift[1] += d * (y - middle[1])
                    shift[2] += d * ((p - z * plane - y * row) - middle[2])
            square = 0.0
            for axis in range(3):
                step = shift[axis] / total
                into[axis] = middle[axis] + step
                square += step * step
            into[3] = np.sqrt(square)


@kernel
def median_deviations(first, values, out):
    """The median of the distances from the median: ``out`` (code, channel), NaN pixels passed over."""
    numbers = np.empty(most_pixels(first))
    for code in range(first.size - 1):
        for c in range(values.shape[0]):
            pixels = values[c]
            n = 0
            for i in range(first[code], first[code + 1]):
                if pixels[i] == pixels[i]:
                    numbers[n] = pixels[i]
                    n += 1
            out[code, c] = np.nan
            if n == 0:
                continue
            median = np.median(numbers[:n])
            lost = False
            for i in range(n):
                numbers[i] = abs(numbers[i] - median)
                lost |= numbers[i] != numbers[i]
            # The distance between two infinite numbers is no number.
            if not lost:
                out[code, c] = np.median(numbers[:n])
