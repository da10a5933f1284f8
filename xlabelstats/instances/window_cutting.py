"""Windows cut out of arrays in memory: where they lie, and their pixels copied."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xlabelstats.engine.local import map_locally
from xlabelstats.engine.runs import Array, as_bits, native
from xlabelstats.kernels import kernels_for, protocol
from xlabelstats.kernels.protocol import Memory
from xlabelstats.labels.subject import Objects

# Windows of numpy arrays are cut in pieces of about so many bytes, on as many threads as there are.
PIECE_BYTES = 2**22


@dataclass(frozen=True)
class Window:
    """The size of a window, and along which dims it is centred on its object; along the others it is the whole mask.

    Attributes
    ----------
    size : array (axis,) of int64
    centred : array (axis,) of bool
    """

    size: np.ndarray
    centred: np.ndarray

    def starts(self, objects: Objects) -> np.ndarray:
        """The first pixel (object, axis) of every object's window, which may lie outside the mask."""
        return np.where(self.centred, objects.centre - self.size // 2, 0)

    def boxes(self, objects: Objects, shape: Any) -> tuple[np.ndarray, np.ndarray]:
        """The part of every object's window that lies in a mask of this shape: first pixel and end."""
        return self.corners(objects, tight=False).boxes(shape)

    def corners(self, objects: Objects, tight: bool) -> Corners:
        """Where to cut: if ``tight``, no more of each window than the bounding box of its object."""
        starts = self.starts(objects)
        low, high = np.zeros_like(starts), np.broadcast_to(self.size, starts.shape)
        if tight:
            low, high = np.maximum(objects.low - starts, 0), np.minimum(objects.high - starts, self.size)
            outside = (low >= high).any(axis=1)
            # A window that its object lies outside of is cut at its centre, which belongs to a block like any pixel.
            low[outside] = (objects.centre - starts)[outside]
            high[outside] = low[outside] + 1
        return Corners(objects.ids, starts, low, high)

    def whole(self, objects: Objects) -> np.ndarray:
        """Whether each object (object,) lies whole in its window."""
        starts = self.starts(objects)
        return ((objects.low >= starts) & (objects.high <= starts + self.size)).all(axis=1)


@dataclass(frozen=True)
class Corners:
    """Where to cut the windows of some objects.

    Attributes
    ----------
    ids : array (object,)
    starts : array (object, axis)
        The first pixel of each window, which may lie outside the mask.
    low, high : array (object, axis)
        The part of each window that is cut, counted from its first pixel; the rest is 0.
    """

    ids: np.ndarray
    starts: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def boxes(self, shape: Any) -> tuple[np.ndarray, np.ndarray]:
        """What is cut of a mask of this shape for each: first pixel and end."""
        return np.maximum(self.starts + self.low, 0), np.minimum(self.starts + self.high, shape)

    def take(self, rows: Any) -> Corners:
        """Some of them."""
        return Corners(self.ids[rows], self.starts[rows], self.low[rows], self.high[rows])

    def packed(self, window: Window, shape: Sequence[int]) -> Corners:
        """The same in the smallest dtypes for such a mask."""
        place = np.int32 if max(shape) < 2**30 else np.int64
        offset = np.min_scalar_type(int(window.size.max()))
        return Corners(self.ids, self.starts.astype(place), self.low.astype(offset), self.high.astype(offset))

    def __sizeof__(self) -> int:
        return sum(array.nbytes for array in (self.ids, self.starts, self.low, self.high))


def cut_windows(
    mask: Array, pixels: Array, objects: Objects, window: Window, alone: bool, *, tight: bool = True, marks: Any = None
) -> Any:
    """The windows (object, *other, *window) of pixels (*other, *shared), 0 beyond their border.

    If ``alone``, they are 0 too where the mask (*shared) does not carry the object's label; if also ``tight``, the mask
    is not looked at beyond the bounding box of the object.  With a dtype of ``marks``, there is a second array
    (object, *window) of it: the object's label where the mask has it, or True if the dtype is bool, and 0 elsewhere.
    """
    corners = window.corners(objects, alone and tight)
    n = len(corners.ids)
    out = WindowBatch(n, pixels.shape[: pixels.ndim - mask.ndim], window, pixels, marks)
    order = in_reading_order(corners)
    pieces = max(1, min(out.cells.nbytes // PIECE_BYTES, n)) if kernels_for(pixels).xp is np else 1

    def cut(rows: np.ndarray) -> None:
        out.cut((0,) * mask.ndim, pixels, mask if alone or marks is not None else None, alone, corners.take(rows), rows)

    map_locally(cut, np.array_split(order, pieces))
    return out.cells if marks is None else (out.cells, out.marked)


def in_reading_order(corners: Corners) -> np.ndarray:
    """The rows of windows, such that those come one after the other that lie side by side and share pages of memory."""
    return np.lexsort(corners.starts.T[::-1])


class WindowBatch:
    """Windows that are being cut, piece by piece of the image.

    Attributes
    ----------
    cells : array (object, *other, *window)
    marked : array (object, *window)
        Where the windows' own objects are, in the dtype of ``marks``; empty if there is none.
    """

    def __init__(self, n: int, other: tuple[int, ...], window: Window, like: Array, marks: Any = None) -> None:
        self.window, self.marking = window, marks is not None
        xp = kernels_for(like).xp
        size = tuple(window.size.tolist())
        self.cells = xp.zeros((n, *other, *size), native(like.dtype))
        self.marked = xp.zeros((n, *size) if self.marking else (0,) * (1 + len(size)), marks or bool)

    def cut(
        self,
        low: Sequence[int],
        pixels: Array,
        mask: Array | None,
        alone: bool,
        corners: Corners,
        rows: np.ndarray,
    ) -> None:
        """Copy what pixels (*other, *shared) from ``low`` on hold of windows to the given rows.

        If ``alone``, only those that carry their label in the mask (*shared).
        """
        if mask is not None and mask.shape != pixels.shape[pixels.ndim - mask.ndim :]:
            raise RuntimeError(f"a block of the mask has the shape {mask.shape}, one of the image {pixels.shape}")
        flat, steps = _memory_of(pixels)
        shared = len(low)
        other = pixels.ndim - shared
        labels, label_steps = (flat, steps[other:]) if mask is None else _memory_of(mask)
        n, size = len(self.cells), math.prod(self.window.size.tolist())
        channels = np.zeros(1, np.int64)
        for count, step in zip(pixels.shape[:other], steps[:other], strict=True):
            channels = np.add.outer(channels, step * np.arange(count)).ravel()
        ids = np.zeros(len(rows), flat.dtype) if mask is None else corners.ids.astype(native(mask.dtype))
        # Where nothing is marked, loops serve that are compiled for marks.
        marked = self.marked.reshape(n, size) if self.marking else kernels_for(pixels).xp.empty((0, 0), ids.dtype)
        marks = np.ones(len(rows), bool) if marked.dtype.kind == "b" else ids.astype(marked.dtype)
        kernels_for(pixels).cut(
            Memory(flat, steps[other:]),
            channels,
            Memory(labels, label_steps),
            np.array(pixels.shape[other:], np.int64),
            protocol.Cuts(
                corners.starts - np.array(low, np.int64),
                corners.low.astype(np.int64),
                corners.high.astype(np.int64),
                self.window.size,
                as_bits(ids),
                rows.astype(np.int64),
                as_bits(marks),
            ),
            alone,
            self.cells.view(flat.dtype).reshape(n, channels.size, size),
            marked.view(f"u{marked.itemsize}"),
        )


def _memory_of(array: Array) -> tuple[Array, np.ndarray]:
    """The memory of an array as unsigned integers, copied only if it is not in order; and the steps along its axes."""
    kernels = kernels_for(array)
    array = array.astype(native(array.dtype), copy=False)
    size = array.itemsize
    if any(step < 0 or step % size for step in array.strides):
        array = kernels.xp.ascontiguousarray(array)
    steps = np.array(array.strides, np.int64) // size
    length = 1 + int(((np.array(array.shape) - 1) * steps).sum()) if array.size else 0
    return kernels.memory(array, length).view(f"u{size}"), steps
