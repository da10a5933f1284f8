"""Pyramids: levels of half the size of the one below, and where their pixels lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

# Integers of this width or more are ids of objects unless said otherwise; images of them are rare.
LABEL_BYTES = 4


def looks_like_labels(dtype: np.dtype) -> bool:
    """Whether an image of this dtype is taken for a label mask: bool, or integers of 32 bits and more."""
    return dtype.kind == "b" or (dtype.kind in "iu" and dtype.itemsize >= LABEL_BYTES)


def halved_axes(shape: Sequence[int], dims: Sequence[str]) -> tuple[int, ...]:
    """The axes in space that are longer than one pixel."""
    return tuple(axis for axis, dim in enumerate(dims) if dim in ("z", "y", "x") and shape[axis] > 1)


def halve(array: Any, axes: Sequence[int], *, labels: bool) -> Any:
    """Half the size along the axes: of labels every second pixel, of an image the mean of two along each axis.

    The last pixel of an odd number stands for its pair.  Integers are rounded.
    """
    if labels:
        return array[tuple(slice(None, None, 2 if axis in axes else None) for axis in range(array.ndim))]
    even = {axis: max(2, *(size // 2 * 2 for size in array.chunks[axis])) for axis in axes}
    array = array.rechunk(even)
    chunks = tuple(
        tuple(math.ceil(size / 2) for size in sizes) if axis in axes else sizes
        for axis, sizes in enumerate(array.chunks)
    )
    return array.map_blocks(
        partial(mean_of_pairs, axes=tuple(axes)), dtype=array.dtype, chunks=chunks, meta=array._meta
    )


def mean_of_pairs(block: np.ndarray, *, axes: tuple[int, ...]) -> np.ndarray:
    """The mean of every two pixels along the axes, in the dtype of the block; half an integer goes to the even one."""
    if block.dtype.kind == "b":
        return mean_of_pairs(block.astype(np.uint8), axes=axes).astype(bool)
    if block.dtype.kind == "f":
        parts = block.astype(np.result_type(block.dtype, np.float32)) / 2 ** len(axes)
        return _sum_of_pairs(parts, axes).astype(block.dtype)
    # Quotients and remainders apart: no sum of theirs is larger than the dtype can hold.
    bits, remainder = len(axes), 2 ** len(axes) - 1
    rest = _sum_of_pairs(block & remainder, axes)
    mean = _sum_of_pairs(block >> bits, axes) + (rest >> bits)
    twice = 2 * (rest & remainder)
    up = (twice > 2**bits) | ((twice == 2**bits) & (mean % 2 == 1))
    return mean + up.astype(block.dtype)


def _sum_of_pairs(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The sum of every two pixels along the axes; the last of an odd number counts twice."""
    for axis in axes:
        pairs = np.moveaxis(values, axis, 0)
        second = np.concatenate([pairs[1::2], pairs[-1:]]) if len(pairs) % 2 else pairs[1::2]
        values = np.moveaxis(pairs[::2] + second, 0, axis)
    return values


def placed(origin: np.ndarray, step: np.ndarray, axes: Sequence[int], *, labels: bool) -> tuple[np.ndarray, np.ndarray]:
    """Origin and step of the pixels one level up.  The mean of two pixels lies between them."""
    halved = np.isin(np.arange(step.size), axes)
    shift = np.where(halved & (not labels), step / 2, 0.0)
    return origin + shift, np.where(halved, 2 * step, step)
