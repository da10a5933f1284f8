"""A block of a mask as runs of equal label: what every pass over a mask starts from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Runs:
    """Stretches of neighbouring pixels of one row (the last axis) that carry the same label.

    Attributes
    ----------
    ids : array (label,)
        The labels of the block, sorted.
    codes : array (run,)
        The position in ``ids`` of each run's label.
    starts, lengths : array (run,)
        The first pixel of each run in the flattened block, and the number of its pixels.
    shape : tuple of int
        The shape of the block.
    """

    ids: np.ndarray
    codes: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    shape: tuple[int, ...]

    @property
    def count(self) -> np.ndarray:
        """Pixels per label (label,) of int64."""
        return np.bincount(self.codes, weights=self.lengths, minlength=self.ids.size).astype(np.int64)

    def __sizeof__(self) -> int:
        return self.ids.nbytes + self.codes.nbytes + self.starts.nbytes + self.lengths.nbytes


def find_runs(mask: np.ndarray, *, background: bool = False, only: np.ndarray | None = None) -> Runs:
    """Find the runs of a mask block; of the labels ``only`` (sorted) where these are given.

    Ids are compacted over the runs, not the pixels, by a hash table: its size goes with the
    labels present, whatever their values.
    """
    import pandas as pd

    labels, starts, lengths = _runs(mask, background, placed=True)
    index = starts.dtype
    found, ids = pd.factorize(labels)
    order = np.argsort(ids)
    rank = np.empty(ids.size, index)
    rank[order] = np.arange(ids.size)
    codes, ids = rank[found], ids[order]
    if only is not None:
        kept = np.isin(ids, only, kind="sort")
        held = kept[codes]
        codes, starts, lengths = (np.cumsum(kept) - 1).astype(index)[codes[held]], starts[held], lengths[held]
        ids = ids[kept]
    return Runs(ids, codes, starts, lengths, mask.shape)


def find_labels(mask: np.ndarray, *, background: bool = False) -> np.ndarray:
    """The labels of a mask block, sorted: those of its runs, in less time than it takes to place these."""
    import pandas as pd

    return np.sort(pd.unique(_runs(mask, background, placed=False)[0]))


def _runs(mask: np.ndarray, background: bool, *, placed: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The label, first pixel and length of every run of a block; the latter two empty unless ``placed``."""
    from xlabelstats.kernels import cpu

    # Runs ask only which pixels are equal, so one compiled loop serves signed and unsigned masks.
    if mask.dtype.kind not in "iu":
        if mask.size:
            raise TypeError(
                f"a block of the mask holds {mask.dtype}, which its dask array calls integers; {NOT_AS_DECLARED}"
            )
        # What dask puts together of blocks without pixels may have lost their dtype.
        mask = mask.astype(np.int64)
    dtype = np.dtype(f"u{mask.dtype.itemsize}")
    rows = np.ascontiguousarray(mask).view(dtype).reshape(-1, max(mask.shape[-1], 1))
    rows = read_only(rows)
    index = np.int32 if mask.size < 2**31 else np.int64
    n = cpu.count_runs(rows, background) if rows.size else 0
    values = np.empty(n, dtype)
    starts, lengths = (np.empty(n if placed else 0, index) for _ in range(2))
    if n:
        cpu.find_runs(rows, background, values, starts, lengths)
    return values.view(mask.dtype).astype(mask.dtype.newbyteorder("="), copy=False), starts, lengths


def union(ids: Sequence[np.ndarray]) -> np.ndarray:
    """The labels that occur in any of several arrays, sorted."""
    merged = np.sort(np.concatenate(ids))
    return merged[np.concatenate([[True], merged[1:] != merged[:-1]])] if merged.size else merged


def rows_of(found: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """The positions in the sorted ``ids`` of labels found in a block, which must be among them."""
    rows = np.searchsorted(ids, found)
    strange = found[ids[np.minimum(rows, ids.size - 1)] != found] if ids.size else found
    if strange.size:
        raise RuntimeError(changed(strange[0], "is new"))
    return rows


def check_found(count: np.ndarray, ids: np.ndarray) -> None:
    """Complain if a label that the scan of a mask had found has no pixels."""
    if not count.all():
        raise RuntimeError(changed(ids[count == 0][0], "is gone"))


def changed(label: int, how: str) -> str:
    """The complaint that a mask is no longer what the scan of it had found."""
    return f"the mask has changed since it was scanned: label {label} {how}. Open it anew, so that it is scanned again"


NOT_AS_DECLARED = "give map_blocks, or whatever made it, the dtype= and chunks= of what it returns"


def check_numbers(dtype: np.dtype) -> None:
    """Complain about a block of a dask array that holds no numbers, though the array says so."""
    if dtype.kind not in "biuf":
        raise TypeError(f"a block of the image holds {dtype}, which its dask array calls numbers; {NOT_AS_DECLARED}")


def check_shape(found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Complain about a block of a dask array that is not as large as the array's chunks say."""
    if found != expected and (all(found) or all(expected)):
        raise ValueError(
            f"a block has the shape {found} where its dask array, or the mask over it, says {expected}; "
            f"{NOT_AS_DECLARED}"
        )


def pixels_of(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An image block (*other, *shape) as the kernels read it: (channel, pixel), not to be written to."""
    check_shape(image.shape[image.ndim - len(shape) :], shape)
    channels = math.prod(image.shape[: image.ndim - len(shape)])
    pixels = np.ascontiguousarray(image, pixel_dtype(image.dtype)).reshape(channels, math.prod(shape))
    return read_only(pixels)


def pixel_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype in which the kernels read an image: one that they are compiled for."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "f":
        return np.dtype(np.float32 if dtype.itemsize <= 4 else np.float64)
    check_numbers(dtype)
    return dtype.newbyteorder("=")


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written to: numba compiles for it apart from a writable array."""
    view = array.view()
    view.flags.writeable = False
    return view
