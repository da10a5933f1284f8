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
    """The mean of every two pixels along the axes, in the dtype of the block."""
    mean = block.astype(np.result_type(block.dtype, np.float32) if block.dtype.kind == "f" else np.float64)
    for axis in axes:
        pairs = np.moveaxis(mean, axis, 0)
        first = pairs[::2]
        second = np.concatenate([pairs[1::2], pairs[-1:]]) if len(pairs) % 2 else pairs[1::2]
        mean = np.moveaxis(first / 2 + second / 2, 0, axis)
    return (np.rint(mean) if block.dtype.kind in "iu" else mean).astype(block.dtype)


def placed(origin: np.ndarray, step: np.ndarray, axes: Sequence[int], *, labels: bool) -> tuple[np.ndarray, np.ndarray]:
    """Origin and step of the pixels one level up.  The mean of two pixels lies between them."""
    halved = np.isin(np.arange(step.size), axes)
    shift = np.where(halved & (not labels), step / 2, 0.0)
    return origin + shift, np.where(halved, 2 * step, step)
