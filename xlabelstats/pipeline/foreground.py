"""The foreground of a block as runs of pixels, and its connected components."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from xlabelstats.engine.dask_internals import Graph, array_of_tasks, block_keys
from xlabelstats.kernels import kernels_for
from xlabelstats.kernels.protocol import Runs

Offset = tuple[int, ...]


@dataclass(frozen=True)
class Components:
    """The components of a block by itself, as runs of pixels in the order of rows.

    Attributes
    ----------
    starts, lengths : array (run,)
        The first pixel of each run in the flattened block, and the number of its pixels.
    codes : array (run,)
        The component of each, from 0 on.
    n : int
        The number of components.
    shape : tuple of int
        The shape of the block.
    """

    starts: np.ndarray
    lengths: np.ndarray
    codes: np.ndarray
    n: int
    shape: Offset

    def paint(self, values: np.ndarray) -> np.ndarray:
        """The block with a value of every component, 0 where there is none."""
        from xlabelstats.kernels.cpu_components import paint_runs

        pixels = np.zeros(self.shape, values.dtype)
        paint_runs(self.starts, self.lengths, values[self.codes], pixels.reshape(-1))
        return pixels

    def extents(self, offset: Sequence[int], shape: Offset, *, boxes: bool) -> Extents:
        """Where the components lie in an image of a shape, of which the block begins at ``offset``."""
        first = np.empty(self.n, np.int64)
        # Of several values for one element the last is kept.
        first[self.codes[::-1]] = self.starts[::-1]
        place = np.unravel_index(first, self.shape)
        first = np.ravel_multi_index([at + start for at, start in zip(place, offset, strict=True)], shape)
        count = np.bincount(self.codes, self.lengths, self.n).astype(np.int64)
        axes = len(shape) if boxes else 0
        low, high = (np.empty((self.n, axes), np.int64) for _ in range(2))
        if boxes:
            runs = Runs(self.codes, self.starts, self.lengths, np.array(self.shape, np.int64))
            kernels_for(low).boxes(runs, low, high)
            low, high = low + np.array(offset, np.int64), high + np.array(offset, np.int64)
        return Extents(first, count, low, high)


@dataclass(frozen=True)
class Extents:
    """Where components lie.

    Attributes
    ----------
    first : array (component,) of int64
        The first pixel of each, as an index of the flattened image.
    count : array (component,) of int64
        How many pixels it has.
    low, high : array (component, axis) of int64
        Bounding box, half-open; without axes if it was not asked for.
    """

    first: np.ndarray
    count: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of_nothing(cls, ndim: int) -> Extents:
        """Those of no component."""
        return cls(*(np.empty(shape, np.int64) for shape in ((0,), (0,), (0, ndim), (0, ndim))))

    def __sizeof__(self) -> int:
        return self.first.nbytes + self.count.nbytes + self.low.nbytes + self.high.nbytes


def foreground_of(binary: np.ndarray) -> np.ndarray:
    """The foreground of a binary image as 0 and 1 of uint8."""
    return np.ascontiguousarray(np.asarray(binary) != 0).view(np.uint8)


def find_components(foreground: np.ndarray, connectivity: int) -> Components:
    """The components of a foreground, in the order of their first pixels."""
    from xlabelstats.kernels.cpu_components import connect_runs

    _, starts, lengths = kernels_for(foreground).find_runs(
        foreground.reshape(-1, max(foreground.shape[-1], 1)), False, True
    )
    codes = np.empty(starts.size, starts.dtype)
    n = connect_runs(starts, lengths, np.array(foreground.shape, np.int64), connectivity, codes)
    return Components(starts, lengths, codes, n, foreground.shape)


def checked_foreground(binary: Any, checksums: Sequence[int]) -> Any:
    """The foreground of a dask array, as 0 and 1; a complaint where it is not that of the checksums."""
    from dask.base import tokenize

    name = f"foreground-{tokenize(binary, checksums)}"
    graph: Graph = {}
    for key, index, checksum in zip(block_keys(binary).ravel(), np.ndindex(*binary.numblocks), checksums, strict=True):
        graph[(name, *index)] = (partial(checked, checksum=checksum, block=index), key)
    return array_of_tasks(name, graph, binary.chunks, [binary], np.empty((0,) * binary.ndim, np.uint8))


def checked(binary: np.ndarray, *, checksum: int, block: Offset) -> np.ndarray:
    """The foreground of a block as 0 and 1, or a complaint if it is not that of the checksum."""
    foreground = foreground_of(binary)
    if checksum_of(foreground) != checksum:
        raise RuntimeError(
            f"the binary image has changed since its components were numbered: block {block} has another foreground. "
            "Open it again, and call the step again; if its computation gives another result each time, as with "
            "some models, keep it first, by .persist() or in a Cache"
        )
    return foreground


def checksum_of(foreground: np.ndarray) -> int:
    """A number by which another foreground is noticed."""
    return zlib.crc32(np.packbits(foreground).data)
