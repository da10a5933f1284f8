"""Windows cut out of arrays: at once out of numpy, chunk by chunk out of the blocks of dask."""

from __future__ import annotations

import math
import operator
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from xlabelstats.engine.dask_internals import Graph, array_of_tasks, as_task, computes_here, is_in_memory
from xlabelstats.engine.local import map_locally
from xlabelstats.engine.merge_tree import filled, uniform
from xlabelstats.engine.ownership import Region, find_regions
from xlabelstats.engine.region_pixels import Part, Routes, Supply, pieces
from xlabelstats.engine.runs import Array, as_bits, native
from xlabelstats.kernels import kernels_for, protocol
from xlabelstats.kernels.protocol import Memory
from xlabelstats.labels.subject import Objects, WholeSubject

# Chunks of windows from more regions than these are put together of parts.
FEW_REGIONS = 2

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
    out = _Windows(n, pixels.shape[: pixels.ndim - mask.ndim], window, pixels, marks)
    order = in_reading_order(corners)
    pieces = max(1, min(out.cells.nbytes // PIECE_BYTES, n)) if kernels_for(pixels).xp is np else 1

    def cut(rows: np.ndarray) -> None:
        out.cut((0,) * mask.ndim, pixels, mask if alone or marks is not None else None, alone, corners.take(rows), rows)

    map_locally(cut, np.array_split(order, pieces))
    return out.cells if marks is None else (out.cells, out.marked)


def in_reading_order(corners: Corners) -> np.ndarray:
    """The rows of windows, such that those come one after the other that lie side by side and share pages of memory."""
    return np.lexsort(corners.starts.T[::-1])


class _Windows:
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


@dataclass(frozen=True)
class Owned:
    """What is known of the objects of a region, and the position of the region's first pixel."""

    low: tuple[int, ...]
    objects: Any

    def __sizeof__(self) -> int:
        return self.objects.__sizeof__()


def share_out(objects: Any, regions: Sequence[Region]) -> Any:
    """A dask array (region,) of objects: what is known of the objects of every region, `Owned`."""
    name = f"objects-{uuid.uuid4().hex}"
    graph: Graph = {
        (name, r): as_task(Owned(region.low, objects.take(region.rows))) for r, region in enumerate(regions)
    }
    return array_of_tasks(name, graph, ((1,) * len(regions),), [])


@dataclass(frozen=True)
class _Share:
    """What a chunk of windows gets of one region: which of its objects, for which rows of the chunk."""

    region: int
    objects: slice
    rows: np.ndarray
    parts: Sequence[Part]


@dataclass(frozen=True)
class _Shares:
    """What a chunk of windows gets of every region: one object, to which the tasks of several other chunks refer."""

    shares: Sequence[_Share]

    def __sizeof__(self) -> int:
        return sum(share.rows.nbytes for share in self.shares)


class LazyWindows:
    """The windows of dask arrays, in the order of the blocks that own the objects."""

    def __init__(self, subject: WholeSubject, window: Window, alone: bool, batch: int) -> None:
        self.subject, self.window, self.alone = subject, window, alone
        objects = subject.objects
        n = objects.ids.size
        corners = window.corners(objects, alone)
        boxes = corners.boxes(subject.mask.shape)
        by_block = find_regions(objects, *boxes, subject.mask.chunks)
        self.regions = [region for regions in by_block for region in regions]
        rows_of_blocks = [np.sort(np.concatenate([region.rows for region in regions])) for regions in by_block]
        rows = np.concatenate(rows_of_blocks) if rows_of_blocks else np.zeros(0, np.intp)
        self.ids = objects.ids[rows]
        self.chunks = tuple(min(batch, n - first) for first in range(0, n, batch)) or (0,)
        self.shares: list[list[_Share]] = [[] for _ in self.chunks]
        if n == 0:
            return
        corners = corners.packed(window, subject.mask.shape)
        self.routes = Routes(self.regions, *boxes, subject.mask.chunks)
        self.owned, self.labels = share_out(corners, self.regions), Supply(subject.mask, self.routes)
        position = np.argsort(rows)
        for r, region in enumerate(self.regions):
            places = position[region.rows]
            for j in range(places[0] // batch, places[-1] // batch + 1):
                a, b = np.searchsorted(places, [j * batch, (j + 1) * batch])
                if b > a:
                    share = _Share(r, slice(int(a), int(b)), places[a:b] - j * batch, self.routes.parts[r])
                    self.shares[j].append(share)

    def of_image(self) -> Any:
        """The windows (label, *other, *window) of the image."""
        return self._cut(self.subject.image, False)[0]

    def of_mask(self) -> Any:
        """The windows (label, *window) of the mask."""
        return self._cut(None, False)[0]

    def of_both(self) -> tuple[Any, Any]:
        """The windows of the image and of the mask, cut together."""
        if not self.alone:
            # The one does not need the other, and neither has to wait for it.
            return self.of_image(), self.of_mask()
        return self._cut(self.subject.image, True)

    def _cut(self, image: Any, both: bool) -> tuple[Any, Any]:
        size, mask = tuple(self.window.size.tolist()), self.subject.mask
        xp = kernels_for(mask).xp
        source = mask if image is None else image
        dtypes = native(source.dtype), native(mask.dtype)
        if not self.regions:
            other = source.shape[: source.ndim - mask.ndim]
            return filled((0, *other, *size), 0, dtypes[0], like=source), filled((0, *size), 0, dtypes[1], like=mask)
        pixels = self.labels if image is None else Supply(image, self.routes)
        token = uuid.uuid4().hex
        cut, names = f"cut-{token}", (f"windows-{token}", f"mask-windows-{token}")
        several = math.prod(map(len, pixels.other_chunks)) > 1
        # Blocks in this memory are there anyway, so all regions can be cut from at once.
        there = computes_here(mask) and is_in_memory(mask) and is_in_memory(source)
        at_once = len(self.regions) if there else FEW_REGIONS
        layer: Graph = {}
        labelled: Graph = {}
        zeros = (0,) * len(size)
        for j, shares in enumerate(self.shares):
            held = (f"shares-{token}", j) if several else None
            layer |= {held: as_task(_Shares(shares))} if several else {}
            owned = [(self.owned.name, share.region) for share in shares]
            for i, index in enumerate(np.ndindex(*map(len, pixels.other_chunks))):
                read = [pixels.keys(share.region, index) for share in shares]
                keys: list[list[Any]] = [owned, read]
                if image is not None and self.alone:
                    keys.append([self.labels.keys(share.region, reading=i) for share in shares])
                marking = both and i == 0
                key = (names[0], j, *index, *zeros)
                marks = dtypes[1] if marking else None
                call = partial(_cut_chunk, window=self.window, alone=self.alone, marks=marks)
                task, parts = _chunk_task(call, held, shares, keys, (f"part-{token}", j, *index), at_once)
                layer |= {(cut, j) if marking else key: task, **parts}
                if marking:
                    layer[key] = (operator.itemgetter(0), (cut, j))
                    labelled[(names[1], j, *zeros)] = (operator.itemgetter(1), (cut, j))
        dependencies = [self.owned, *pixels.dependencies, *self.labels.dependencies]
        chunks = (self.chunks, *pixels.other_chunks, *((n,) for n in size))
        cells = array_of_tasks(names[0], layer, chunks, dependencies, xp.empty((0,) * len(chunks), dtypes[0]))
        if not both:
            return uniform(cells), None
        chunks = (self.chunks, *((n,) for n in size))
        labels = array_of_tasks(names[1], labelled, chunks, [cells], xp.empty((0,) * len(chunks), dtypes[1]))
        return uniform(cells), labels


def _chunk_task(
    call: partial, held: Any, shares: Sequence[_Share], keys: Sequence[list[Any]], name: tuple[Any, ...], at_once: int
) -> tuple[Any, Graph]:
    """The task that cuts a chunk out of what the keys of every share hold, and the tasks of its parts, if any.

    ``held`` is the key of the shares, if other tasks need them too.  A chunk of more shares than ``at_once`` is put
    together of parts.
    """
    if len(shares) <= at_once:
        return ((call, held, *keys) if held else (partial(call, _Shares(shares)), *keys)), {}
    # One region at a time, so that not all their blocks are in memory at once.
    parts: Graph = {}
    for k, share in enumerate(shares):
        only = replace(share, rows=np.arange(share.rows.size))
        cut = (partial(call, part=k), held) if held else (partial(call, _Shares([only])),)
        parts[(*name, k)] = (*cut, *([each[k]] for each in keys))
    join = (_join_chunk, held) if held else (partial(_join_chunk, _Shares(shares)),)
    return (*join, list(parts)), parts


def _cut_chunk(
    held: _Shares,
    owned: list[Owned],
    read: list[list[Any]],
    masks: list[list[Any]] | None = None,
    *,
    window: Window,
    alone: bool,
    marks: np.dtype | None,
    part: int | None = None,
) -> Any:
    """One chunk of windows; with a dtype of ``marks``, also those of the mask.

    Without masks of their own the pixels are the mask.  With ``part``, of one share only, and its windows alone.
    """
    shares = held.shares
    if part is not None:
        shares = [replace(shares[part], rows=np.arange(shares[part].rows.size))]
    n = sum(share.rows.size for share in shares)
    pixels = [pieces(share.parts, held, region.low) for share, held, region in zip(shares, read, owned, strict=True)]
    _, some = pixels[0][0]
    out = _Windows(n, some.shape[: some.ndim - len(owned[0].low)], window, some, marks)
    for k, (share, region) in enumerate(zip(shares, owned, strict=True)):
        corners = region.objects.take(share.objects)
        order = in_reading_order(corners)
        corners, rows = corners.take(order), share.rows[order]
        labels = pixels[k] if masks is None else pieces(share.parts, masks[k], region.low)
        for (low, piece), (_, mask) in zip(pixels[k], labels, strict=True):
            out.cut(low, piece, mask if alone else None, alone, corners, rows)
    return out.cells if marks is None else (out.cells, out.marked)


def _join_chunk(held: _Shares, parts: list[Any]) -> Any:
    """One chunk of what was cut of every share."""
    return _join_parts(parts, [share.rows for share in held.shares])


def _join_parts(parts: list[Any], places: list[np.ndarray]) -> Any:
    """Parts put together, each at the given rows."""
    if isinstance(parts[0], tuple):
        return tuple(_join_parts(list(each), places) for each in zip(*parts, strict=True))
    xp = kernels_for(parts[0]).xp
    joined = xp.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    for part, rows in zip(parts, places, strict=True):
        joined[xp.asarray(rows)] = part
    return joined


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
