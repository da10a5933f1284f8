"""Loops over pairs of labels in numpy blocks, compiled by numba: what two masks have at the same pixels, and what
meets at the faces, edges and corners of pixels.

Pairs are counted in a hash table, which takes memory by the number of pairs, and not of pixels.  Labels are unsigned
integers here, since only which are equal matters.
"""

from __future__ import annotations

import numpy as np

from xlabelstats.kernels.cpu_runs import HIGH_BYTE, ONE, ONES, kernel

# Odd numbers whose products spread labels over all bits (Fibonacci hashing, Knuth 1973), and half the bits of one.
FIRST, SECOND, HALF = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(32)

# Lines are read in pieces of so many pixels.  A table that has no room for the pairs of one more is made larger.
PIECE = 2048


def count_pairs(count, dtype, columns, pieces, *args):
    """The pairs of labels (pair, 2) and the numbers (pair, column) that a loop below counts in so many pieces."""
    rows = 2 * PIECE
    table = np.full(2 * rows, -1, np.int32), np.empty((rows, 2), dtype), np.zeros((rows, columns), np.int64)
    piece, pairs = 0, 0
    while True:
        piece, pairs = count(piece, pieces, pairs, *table, *args)
        if piece == pieces:
            return table[1][:pairs].copy(), table[2][:pairs].copy()
        rows *= 2
        larger = np.full(2 * rows, -1, np.int32), np.empty((rows, 2), dtype), np.zeros((rows, columns), np.int64)
        move(pairs, *table, *larger)
        table = larger


@kernel
def move(pairs, slots, keys, sums, new_slots, new_keys, new_sums):
    """Move the pairs of a table to a larger one."""
    for row in range(pairs):
        new_keys[row], new_sums[row] = keys[row], sums[row]
        slot = place_of(keys[row, 0], keys[row, 1], new_slots, new_keys)
        new_slots[-1 - slot] = row


@kernel
def place_of(one, other, slots, keys):
    """The row of a pair in a table, or if it has none -1 - the slot that is free for it."""
    last = slots.size - 1
    spread = np.uint64(one) * FIRST + np.uint64(other) * SECOND
    slot = np.int64(spread ^ (spread >> HALF)) & last
    while slots[slot] >= 0:
        row = np.int64(slots[slot])
        if keys[row, 0] == one and keys[row, 1] == other:
            return row
        slot = (slot + 1) & last
    return -1 - slot


@kernel
def count_overlaps(piece, pieces, pairs, slots, keys, sums, first, second):
    """Count the pixels of every pair of labels of two flat masks, but for (0, 0), as far as the table has room."""
    # Which pixels differ from the one before, as in `place_runs`.
    changes = np.zeros(PIECE + 8, np.bool_)
    words = changes.view(np.uint64)
    while piece < pieces and pairs + PIECE <= keys.shape[0]:
        ones, others = first[piece * PIECE : (piece + 1) * PIECE], second[piece * PIECE : (piece + 1) * PIECE]
        for i in range(1, ones.size):
            changes[i] = (ones[i] != ones[i - 1]) | (others[i] != others[i - 1])
        changes[ones.size :] = False
        changes[ones.size] = True
        start = 0
        for w in range(words.size):
            word = words[w]
            while word != 0:
                lowest = word & (~word + ONE)
                word ^= lowest
                end = 8 * w + np.int64((((lowest - ONE) & ONES) * ONES) >> HIGH_BYTE)
                one, other = ones[start], others[start]
                if one != 0 or other != 0:
                    row = place_of(one, other, slots, keys)
                    if row < 0:
                        slots[-1 - row] = pairs
                        row, pairs = pairs, pairs + 1
                        keys[row, 0], keys[row, 1] = one, other
                    sums[row, 0] += end - start
                start = end
        piece += 1
    return piece, pairs


@kernel
def count_contacts(piece, pieces, pairs, slots, keys, sums, area, area_shape, start, shape, lines, step, axis):
    """Count the pairs of labels whose pixels are ``step`` (axis,) apart, the smaller first, as the table has room.

    The mask is given as in `cpu_boundaries`, as lines (line, pixel); ``lines`` are the first line of the block that
    counts and the end of these, each of so many pieces that all of them are ``pieces``.  The numbers are those of
    column ``axis``; -1 is for pixels that share no face, whose pairs are noted alone.
    """
    last = shape.size - 1
    along = step[last]
    # The pixels of a line that have such a neighbour.
    low, high = max(start[last], -along), min(start[last] + shape[last], area_shape[last] - along)
    in_line = pieces // max(lines[1] - lines[0], 1)
    changes = np.zeros(PIECE, np.bool_)
    words = changes.view(np.uint64)
    while piece < pieces and pairs + PIECE <= keys.shape[0]:
        rest, stride, place, beside, inside = lines[0] + piece // in_line, np.int64(1), np.int64(0), np.int64(0), True
        for other_axis in range(last - 1, -1, -1):
            position = start[other_axis] + rest % shape[other_axis]
            rest //= shape[other_axis]
            neighbour = position + step[other_axis]
            inside &= (neighbour >= 0) & (neighbour < area_shape[other_axis])
            place += position * stride
            beside += neighbour * stride
            stride *= area_shape[other_axis]
        begin = low + piece % in_line * PIECE
        n = min(high - begin, PIECE)
        piece += 1
        if not inside or n <= 0:
            continue
        ones, others = area[place, begin : begin + n], area[beside, begin + along : begin + along + n]
        for i in range(n):
            changes[i] = (ones[i] != others[i]) & (ones[i] != 0) & (others[i] != 0)
        changes[n:] = False
        for w in range(words.size):
            word = words[w]
            while word != 0:
                lowest = word & (~word + ONE)
                word ^= lowest
                i = 8 * w + np.int64((((lowest - ONE) & ONES) * ONES) >> HIGH_BYTE)
                one, other = min(ones[i], others[i]), max(ones[i], others[i])
                row = place_of(one, other, slots, keys)
                if row < 0:
                    slots[-1 - row] = pairs
                    row, pairs = pairs, pairs + 1
                    keys[row, 0], keys[row, 1] = one, other
                if axis >= 0:
                    sums[row, axis] += 1
    return piece, pairs
