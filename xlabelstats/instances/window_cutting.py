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

from xlabelstats.engine.dask_internals import Graph, array_of_tasks, as_task
from xlabelstats.engine.merge_tree import filled, uniform
from xlabelstats.engine.ownership import Region, find_regions
from xlabelstats.engine.region_pixels import Part, Routes, Supply, pieces
from xlabelstats.engine.runs import Array, as_bits, native
from xlabelstats.kernels import kernels_for, protocol
from xlabelstats.kernels.protocol import Memory
from xlabelstats.labels.subject import Objects, WholeSubject

# Chunks of windows from more regions than these are put together of parts.
FEW_REGIONS = 2


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
        starts = self.starts(objects)
        return np.maximum(starts, 0), np.minimum(starts + self.size, shape)

    def whole(self, objects: Objects) -> np.ndarray:
        """Whether each object (object,) lies whole in its window."""
        starts = self.starts(objects)
        return ((objects.low >= starts) & (objects.high <= starts + self.size)).all(axis=1)


@dataclass(frozen=True)
class Corners:
    """Where to cut: the labels of some objects, and the first pixels (object, axis) of their windows."""

    ids: np.ndarray
    starts: np.ndarray

    def take(self, rows: Any) -> Corners:
        """Some of them."""
        return Corners(self.ids[rows], self.starts[rows])

    def __sizeof__(self) -> int:
        return self.ids.nbytes + self.starts.nbytes


def cut_windows(mask: Array, pixels: Array, objects: Objects, window: Window, alone: bool, inside: bool = False) -> Any:
    """The windows (object, *other, *window) of pixels (*other, *shared), 0 beyond their border.

    If ``alone``, they are 0 too where the mask (*shared) does not carry the object's label.  If ``inside``, a second
    array (object, *window) says where it does.
    """
    corners = Corners(objects.ids, window.starts(objects))
    out = _Windows(len(corners.ids), pixels.shape[: pixels.ndim - mask.ndim], window, pixels, inside)
    out.cut((0,) * mask.ndim, pixels, mask if alone else None, corners, np.arange(len(corners.ids)))
    return (out.cells, out.inside) if inside else out.cells


class _Windows:
    """Windows that are being cut, piece by piece of the image.

    Attributes
    ----------
    cells : array (object, *other, *window)
    inside : array (object, *window) of bool
        Where the windows' own objects are; empty if that was not asked for.
    """

    def __init__(self, n: int, other: tuple[int, ...], window: Window, like: Array, inside: bool = False) -> None:
        self.window = window
        xp = kernels_for(like).xp
        size = tuple(window.size.tolist())
        self.cells = xp.zeros((n, *other, *size), native(like.dtype))
        self.inside = xp.zeros((n, *size) if inside else (0,) * (1 + len(size)), bool)

    def cut(self, low: Sequence[int], pixels: Array, mask: Array | None, corners: Corners, rows: np.ndarray) -> None:
        """Copy what pixels (*other, *shared) from ``low`` on hold of windows to the given rows.

        With a mask (*shared), only the pixels that carry their label.
        """
        if mask is not None and mask.shape != pixels.shape[pixels.ndim - mask.ndim :]:
            raise RuntimeError(f"a block of the mask has the shape {mask.shape}, one of the image {pixels.shape}")
        flat, steps = _memory_of(pixels)
        labels, label_steps = (flat, steps) if mask is None else _memory_of(mask)
        shared = len(low)
        other = pixels.ndim - shared
        n, size = len(self.cells), math.prod(self.window.size.tolist())
        channels = np.zeros(1, np.int64)
        for count, step in zip(pixels.shape[:other], steps[:other], strict=True):
            channels = np.add.outer(channels, step * np.arange(count)).ravel()
        ids = np.zeros(len(rows), flat.dtype) if mask is None else corners.ids.astype(native(mask.dtype))
        starts = corners.starts - np.array(low, np.int64)
        # Windows that lie side by side share pages of memory, so they are cut one after the other.
        order = np.lexsort(starts.T[::-1])
        kernels_for(pixels).cut(
            Memory(flat, steps[other:]),
            channels,
            Memory(labels, label_steps),
            np.array(pixels.shape[other:], np.int64),
            protocol.Cuts(starts[order], self.window.size, as_bits(ids[order]), rows[order].astype(np.int64)),
            mask is not None,
            self.cells.view(flat.dtype).reshape(n, channels.size, size),
            self.inside.reshape(len(self.inside), size if self.inside.size else 0),
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
        boxes = window.boxes(objects, subject.mask.shape)
        by_block = find_regions(objects, *boxes, subject.mask.chunks)
        self.regions = [region for regions in by_block for region in regions]
        rows_of_blocks = [np.sort(np.concatenate([region.rows for region in regions])) for regions in by_block]
        rows = np.concatenate(rows_of_blocks) if rows_of_blocks else np.zeros(0, np.intp)
        self.ids = objects.ids[rows]
        self.chunks = tuple(min(batch, n - first) for first in range(0, n, batch)) or (0,)
        self.shares: list[list[_Share]] = [[] for _ in self.chunks]
        if n == 0:
            return
        small = np.int32 if max(subject.mask.shape) < 2**30 else np.int64
        corners = Corners(objects.ids, window.starts(objects).astype(small))
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
                inside = both and i == 0
                key = (names[0], j, *index, *zeros)
                call = partial(_cut_chunk, window=self.window, alone=self.alone, inside=inside)
                task, parts = _chunk_task(call, held, shares, keys, (f"part-{token}", j, *index))
                layer |= {(cut, j) if inside else key: task, **parts}
                if inside:
                    layer[key] = (operator.itemgetter(0), (cut, j))
                    labelled[(names[1], j, *zeros)] = (partial(_label, dtype=dtypes[1]), (cut, j))
        dependencies = [self.owned, *pixels.dependencies, *self.labels.dependencies]
        chunks = (self.chunks, *pixels.other_chunks, *((n,) for n in size))
        cells = array_of_tasks(names[0], layer, chunks, dependencies, xp.empty((0,) * len(chunks), dtypes[0]))
        if not both:
            return uniform(cells), None
        chunks = (self.chunks, *((n,) for n in size))
        labels = array_of_tasks(names[1], labelled, chunks, [cells], xp.empty((0,) * len(chunks), dtypes[1]))
        return uniform(cells), labels


def _chunk_task(
    call: partial, held: Any, shares: Sequence[_Share], keys: Sequence[list[Any]], name: tuple[Any, ...]
) -> tuple[Any, Graph]:
    """The task that cuts a chunk out of what the keys of every share hold, and the tasks of its parts, if any.

    ``held`` is the key of the shares, if other tasks need them too.
    """
    if len(shares) <= FEW_REGIONS:
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
    inside: bool,
    part: int | None = None,
) -> Any:
    """One chunk of windows; if ``inside``, also where in them their objects are, and the labels.

    Without masks of their own the pixels are the mask.  With ``part``, of one share only, and its windows alone.
    """
    shares = held.shares
    if part is not None:
        shares = [replace(shares[part], rows=np.arange(shares[part].rows.size))]
    n = sum(share.rows.size for share in shares)
    ids = np.empty(n, owned[0].objects.ids.dtype)
    pixels = [pieces(share.parts, held, region.low) for share, held, region in zip(shares, read, owned, strict=True)]
    _, some = pixels[0][0]
    out = _Windows(n, some.shape[: some.ndim - len(owned[0].low)], window, some, inside)
    for k, (share, region) in enumerate(zip(shares, owned, strict=True)):
        corners = region.objects.take(share.objects)
        ids[share.rows] = corners.ids
        labels = pixels[k] if masks is None else pieces(share.parts, masks[k], region.low)
        for (low, piece), (_, mask) in zip(pixels[k], labels, strict=True):
            out.cut(low, piece, mask if alone else None, corners, share.rows)
    return (out.cells, out.inside, ids) if inside else out.cells


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


def _label(cut: tuple[Array, Array, np.ndarray], *, dtype: np.dtype) -> Array:
    """Windows of the mask from where the objects are in them."""
    _, inside, ids = cut
    return inside * kernels_for(inside).xp.asarray(ids.astype(dtype)).reshape(-1, *(1,) * (inside.ndim - 1))


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
