"""Windows of dask arrays, each chunk cut out of the blocks that its objects reach into."""

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
from xlabelstats.engine.merge_tree import filled, uniform
from xlabelstats.engine.ownership import Region, find_regions
from xlabelstats.engine.region_pixels import Part, Routes, Supply, pieces
from xlabelstats.engine.runs import native
from xlabelstats.instances.window_cutting import Window, WindowBatch, in_reading_order
from xlabelstats.kernels import kernels_for
from xlabelstats.labels.subject import WholeSubject

# Chunks of windows from more regions than these are put together of parts.
FEW_REGIONS = 2


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
    out = WindowBatch(n, some.shape[: some.ndim - len(owned[0].low)], window, some, marks)
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
