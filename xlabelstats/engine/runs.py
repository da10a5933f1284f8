"""A block of a mask as runs of equal label: what every pass over a mask starts from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xlabelstats.kernels import kernels_for
from xlabelstats.kernels.protocol import Memory, Runs

# Of the type of the mask they belong to, numpy or CuPy.
Array = Any


@dataclass(frozen=True)
class Surroundings:
    """The mask of a block and of pixels around it, for what looks at the neighbours of pixels.

    Attributes
    ----------
    area : array
        As far around the block as it is looked at, and as the mask reaches.
    start : tuple of int
        Where the block's first pixel lies in it.
    """

    area: Array
    start: tuple[int, ...]


@dataclass(frozen=True)
class LabelRuns:
    """The labels of a block, sorted, and their runs; with its surroundings, where these are looked at."""

    ids: Array
    runs: Runs
    surroundings: Surroundings | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the block."""
        return tuple(self.runs.shape.tolist())

    @property
    def count(self) -> Array:
        """Pixels per label (label,) of int64."""
        xp, (codes, _, lengths, _) = kernels_for(self.ids).xp, self.runs
        return xp.bincount(codes, weights=lengths.astype(np.float64), minlength=self.ids.size).astype(np.int64)

    def __sizeof__(self) -> int:
        around = 0 if self.surroundings is None else self.surroundings.area.nbytes
        return self.ids.nbytes + sum(array.nbytes for array in self.runs) + around


def find_runs(
    mask: Array, *, background: bool = False, only: np.ndarray | None = None, lines: slice | None = None
) -> LabelRuns:
    """Find the runs of a mask block; of the labels ``only`` (sorted) where these are given, and in some lines alone.

    Ids are compacted over the runs, not the pixels: what that takes goes with the runs and the labels
    present, whatever their values.
    """
    kernels = kernels_for(mask)
    labels, starts, lengths = _runs(mask, background, placed=True, lines=lines)
    codes, ids = kernels.compact(labels)
    if only is not None:
        kept = find_rows(ids, kernels.xp.asarray(only))[1]
        held = kept[codes]
        codes = (kernels.xp.cumsum(kept) - 1).astype(codes.dtype)[codes[held]]
        starts, lengths, ids = starts[held], lengths[held], ids[kept]
    return LabelRuns(ids, Runs(codes, starts, lengths, np.array(mask.shape, np.int64)))


def find_labels(mask: Array, *, background: bool = False, lines: slice | None = None) -> Array:
    """The labels of a mask block, sorted: those of its runs, in less time than it takes to place these."""
    return kernels_for(mask).unique(_runs(mask, background, placed=False, lines=lines)[0])


def labels_of(mask: Array) -> Array:
    """A block of a mask, which must hold integers."""
    if mask.dtype.kind in "iu":
        return mask
    if mask.size:
        raise TypeError(
            f"a block of the mask holds {mask.dtype}, but its dask array declares integers; {NOT_AS_DECLARED}"
        )
    # What dask puts together of blocks without pixels may have lost their dtype.
    return mask.astype(np.int64)


def _runs(mask: Array, background: bool, *, placed: bool, lines: slice | None = None) -> tuple[Array, Array, Array]:
    """The label, first pixel and length of every run of a block; the latter two empty unless ``placed``.

    Of some ``lines`` (the last axis) alone if these are given; pixels count from the first of the block even so.
    """
    kernels, mask = kernels_for(mask), labels_of(mask)
    # Runs ask only which pixels are equal, so one compiled loop serves signed and unsigned masks.
    dtype = np.dtype(f"u{mask.dtype.itemsize}")
    pixels = kernels.xp.ascontiguousarray(mask).view(dtype).reshape(-1, max(mask.shape[-1], 1))
    first = 0
    if lines is not None:
        first, _, _ = lines.indices(len(pixels))
        pixels = pixels[lines]
    values, starts, lengths = kernels.find_runs(pixels, background, placed)
    if first:
        starts = starts.astype(np.int64, copy=False) if mask.size >= 2**31 else starts
        starts += first * mask.shape[-1]
    return values.view(mask.dtype).astype(mask.dtype.newbyteorder("="), copy=False), starts, lengths


def union(ids: Sequence[Array]) -> Array:
    """The labels that occur in any of several arrays, sorted."""
    xp = kernels_for(ids[0]).xp
    merged = xp.sort(xp.concatenate(ids))
    new = xp.ones(merged.size, bool)
    new[1:] = merged[1:] != merged[:-1]
    return merged[new]


def find_rows(labels: Array, ids: Array) -> tuple[Array, Array]:
    """Where labels are, or would be, in the sorted ``ids``, and whether they are among them."""
    xp = kernels_for(ids).xp
    if not ids.size:
        return xp.zeros(labels.size, np.int64), xp.zeros(labels.size, bool)
    rows = xp.searchsorted(ids, labels)
    return rows, ids[xp.minimum(rows, ids.size - 1)] == labels


def rows_of(labels: Array, ids: Array) -> Array:
    """The positions in the sorted ``ids`` of labels found in a block, which must be among them."""
    rows, held = find_rows(labels, ids)
    if not held.all():
        raise RuntimeError(changed(int(labels[~held][0]), "is new"))
    return rows


def check_found(count: Array, ids: Array) -> None:
    """Complain if a label that the scan of a mask had found has no pixels."""
    if not count.all():
        raise RuntimeError(changed(int(ids[count == 0][0]), "is gone"))


def check_absent(absent: Array, name: str, dtype: Any, value: float) -> None:
    """Complain if labels are absent and would be NaN, which the dtype of a measure lacks."""
    if absent.size and np.isnan(value) and np.dtype(dtype).kind not in "fc":
        raise ValueError(
            f"label {absent[0]} is absent, and {dtype} has no NaN for it; give {name!r} a dtype of floating point, "
            "or leave the label out. A Measure of your own may declare a value for absent labels: absent=0"
        )


def changed(label: int, how: str) -> str:
    """The complaint that a mask is no longer what the scan of it had found."""
    return f"the mask has changed since it was scanned: label {label} {how}. Open it again, so that it is scanned again"


NOT_AS_DECLARED = "give map_blocks, or whatever made it, the dtype= and chunks= of what it returns"


def check_numbers(dtype: np.dtype) -> None:
    """Complain about a block of a dask array that holds no numbers, though the array says so."""
    if dtype.kind not in "biuf":
        raise TypeError(f"a block of the image holds {dtype}, but its dask array declares numbers; {NOT_AS_DECLARED}")


def check_shape(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Complain about a block of a dask array that is not as large as the array's chunks say."""
    if shape != expected and (all(shape) or all(expected)):
        raise ValueError(
            f"a block has the shape {shape}, but its dask array, or the mask over it, declares {expected}; "
            f"{NOT_AS_DECLARED}"
        )


def pixels_of(image: Array, shape: tuple[int, ...]) -> Array:
    """An image block (*other, *shape) as the kernels read it: (channel, pixel), not to be written to."""
    kernels = kernels_for(image)
    check_shape(image.shape[image.ndim - len(shape) :], shape)
    channels = math.prod(image.shape[: image.ndim - len(shape)])
    pixels = kernels.xp.ascontiguousarray(image, pixel_dtype(image.dtype)).reshape(channels, math.prod(shape))
    return kernels.read_only(pixels)


def weights_of(weights: Array, shape: tuple[int, ...]) -> Memory:
    """What the pixels of a block weigh, as the kernels read it: weights that vary along some of its axes alone."""
    kernels = kernels_for(weights)
    check_shape(weights.shape, tuple(1 if n == 1 else size for n, size in zip(weights.shape, shape, strict=True)))
    dtype = pixel_dtype(weights.dtype)
    held = kernels.xp.ascontiguousarray(weights, dtype if dtype.kind == "f" else np.float64)
    steps = [0 if n == 1 else step // held.itemsize for n, step in zip(held.shape, held.strides, strict=True)]
    return Memory(kernels.read_only(held.reshape(-1)), np.array(steps, np.int64))


def no_pixels(mask: Array) -> Array:
    """What the kernels read in place of an image when every pixel of a mask weighs 1."""
    kernels = kernels_for(mask)
    return kernels.read_only(kernels.xp.empty((0, 0)))


def pixel_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype in which the kernels read an image: one that they are compiled for."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "f":
        return np.dtype(np.float32 if dtype.itemsize <= 4 else np.float64)
    check_numbers(dtype)
    return dtype.newbyteorder("=")


def as_bits(array: Array) -> Array:
    """An array, contiguous, as unsigned integers of its own size, to be moved about but not written to."""
    kernels = kernels_for(array)
    array = kernels.xp.ascontiguousarray(array, native(array.dtype))
    return kernels.read_only(array.view(f"u{array.dtype.itemsize}"))


def native(dtype: np.dtype) -> np.dtype:
    """A dtype in the machine's byte order, of at most eight bytes."""
    check_numbers(dtype)
    return np.dtype(np.float64) if dtype.itemsize > 8 else dtype.newbyteorder("=")
