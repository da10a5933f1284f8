"""The clumps of a region of pixels, laid out for the kernels: their peaks, and the objects flooded from these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xlabelstats.kernels.protocol import Boxes, Runs
from xlabelstats.labels.subject import Objects
from xlabelstats.pipeline.foreground import find_components


@dataclass(frozen=True)
class Clumps(Objects):
    """Clumps of the pixels of an image.

    Attributes
    ----------
    pixel : array (clump,) of int64
        The first pixel of each, as an index of the flattened image.
    """

    pixel: np.ndarray


@dataclass(frozen=True)
class PeakedClumps(Clumps):
    """Clumps, and the objects that each is split into.

    Attributes
    ----------
    peaks : array (clump,) of arrays
        Which pixels of the clump, in the order of rows, the objects are flooded from; if it is one object, of any one.
    first : array (clump,) of int64
        The id of the first of these objects; the others follow.
    """

    peaks: np.ndarray
    first: np.ndarray

    def __sizeof__(self) -> int:
        return super().__sizeof__() + sum(peaks.nbytes for peaks in self.peaks)


@dataclass(frozen=True)
class Piece:
    """The objects of some clumps, as runs of pixels of a region.

    Attributes
    ----------
    low, shape : array (3,) of int64
        Where the region begins, and its shape.
    starts, lengths : array (run,)
        The first pixel of each run in the flattened region, and the number of its pixels.
    ids : array (pixel,)
        The objects of these pixels, run by run.
    """

    low: np.ndarray
    shape: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    ids: np.ndarray

    def __sizeof__(self) -> int:
        return self.starts.nbytes + self.lengths.nbytes + self.ids.nbytes


@dataclass(frozen=True)
class Split:
    """How clumps are split.

    Attributes
    ----------
    min_distance : int
    connectivity : int
        Along how many axes at once pixels that are connected may differ, for the flooding.
    spacing : tuple of float
    shape : tuple of int
        The shape of the image.
    """

    min_distance: int
    connectivity: int
    spacing: tuple[float, ...]
    shape: tuple[int, ...]


class Layout:
    """Some clumps of a region, pixel by pixel.

    Parameters
    ----------
    foreground : array of uint8
        The region, in which the clumps lie whole.
    low : sequence of int
        Where it begins.
    clumps : Clumps
    split : Split

    Attributes
    ----------
    shape : array (3,) of int64
        The shape of the region.
    starts, lengths : array (run,)
        The runs of the clumps, clump by clump, in the order of rows.
    boxes : Boxes
    """

    def __init__(self, foreground: np.ndarray, low: Sequence[int], clumps: Clumps, split: Split) -> None:
        from xlabelstats.kernels.cpu_crops import place_pixels

        self._split = split
        found = find_components(foreground, foreground.ndim)
        corner = np.array(low, np.int64)
        pixel = np.ravel_multi_index(
            np.array(np.unravel_index(clumps.pixel, split.shape)) - corner[:, None], found.shape
        )
        # Other components may be cut by the border of the region.
        row = np.full(found.n, -1)
        row[found.codes[np.searchsorted(found.starts, pixel)]] = np.arange(clumps.ids.size)
        rows = row[found.codes]
        order = np.argsort(rows, kind="stable")
        self._held = order[np.count_nonzero(rows < 0) :]
        self._found = found
        self.starts, self.lengths = found.starts[self._held], found.lengths[self._held]
        self.shape = in_three(found.shape, 1)
        margin = in_three((1,) * foreground.ndim, 0)
        first = edges_of(clumps.count)
        size = in_three(clumps.high - clumps.low + 2, 1)
        beyond = np.stack([clumps.low == 0, clumps.high == split.shape], axis=-1)
        beyond = np.concatenate([np.zeros((len(size), 3 - foreground.ndim, 2), bool), beyond], axis=1)
        place = np.empty(first[-1], np.int64)
        runs = Runs(rows[self._held], self.starts, self.lengths, self.shape)
        place_pixels(runs, self.shape, first[:-1], in_three(clumps.low - corner, 0), size, margin, place)
        self.boxes = Boxes(place, first, size, beyond)

    def parts(self) -> np.ndarray:
        """The part of its clump that every pixel belongs to, as the flooding connects them."""
        from xlabelstats.kernels.cpu_components import connect_runs

        found, connectivity = self._found, self._split.connectivity
        codes = found.codes
        if connectivity < len(found.shape):
            codes = np.empty_like(found.codes)
            connect_runs(found.starts, found.lengths, np.array(found.shape, np.int64), connectivity, codes)
        return np.repeat(codes[self._held], self.lengths)

    def heights(self, boxes: Boxes) -> np.ndarray:
        """The distance of every pixel of some of the boxes to what is beyond its clump."""
        from xlabelstats.kernels.cpu_clumps import distances

        spacing = in_three(self._split.spacing, 1.0)
        steps = (spacing[:, None] * np.arange(boxes.size.max(initial=0) + 1)) ** 2
        heights = np.empty(boxes.place.size)
        distances(boxes, steps, heights)
        return heights

    def brightness(self, image: np.ndarray) -> np.ndarray:
        """The value of an image over the region at every pixel; NaN is below all others."""
        pixels = image.reshape(-1)[counted(self.starts, self.lengths)]
        return np.nan_to_num(pixels.astype(np.float64), nan=-np.inf)


def in_three(values: Any, missing: Any) -> np.ndarray:
    """Values (..., axis) for three axes, of which the first may be missing in the image."""
    values = np.asarray(values)
    lacking = [(0, 0)] * (values.ndim - 1) + [(3 - values.shape[-1], 0)]
    return np.pad(values, lacking, constant_values=missing)


def edges_of(counts: np.ndarray) -> np.ndarray:
    """Where each of several stretches begins that lie one after the other, and the end of the last."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


def counted(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """So many consecutive numbers from every start on."""
    edges = edges_of(counts)
    return np.repeat(starts - edges[:-1], counts) + np.arange(edges[-1])


def peaks_of(
    foreground: np.ndarray, image: None, low: Sequence[int], clumps: Clumps, *, split: Split
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The ids of the clumps of a region, and which of its pixels, in the order of rows, are the peaks of each."""
    from xlabelstats.kernels.cpu_peaks import find_peaks

    layout = Layout(foreground, low, clumps, split)
    boxes = layout.boxes
    peaks = np.zeros(boxes.place.size, np.bool_)
    # No pixel of a box is farther than this.
    reach = min(split.min_distance, int(boxes.size.max(initial=0)))
    find_peaks(boxes, layout.heights(boxes), layout.parts(), reach, peaks)
    pixels = np.flatnonzero(peaks)
    edges = np.searchsorted(pixels, np.asarray(boxes.first))
    return clumps.ids, np.split(pixels - np.repeat(boxes.first[:-1], np.diff(edges)), edges[1:-1])


def split_clumps(
    foreground: np.ndarray,
    image: np.ndarray | None,
    low: Sequence[int],
    clumps: PeakedClumps,
    *,
    split: Split,
    dtype: np.dtype,
) -> Piece:
    """The objects of the clumps of a region, flooded from their peaks."""
    from xlabelstats.kernels.cpu_floods import flood

    layout = Layout(foreground, low, clumps, split)
    ids = np.repeat(clumps.first.astype(dtype), clumps.count)
    n = np.fromiter((peaks.size for peaks in clumps.peaks), np.int64, clumps.ids.size)
    several = n > 1
    if several.any():
        place, _, size, beyond = layout.boxes
        pixels = np.repeat(several, clumps.count)
        some, n = clumps.take(several), n[several]
        boxes = Boxes(place[pixels], edges_of(some.count), size[several], beyond[several])
        heights = layout.heights(boxes) if image is None else layout.brightness(image)[pixels]
        flooded = np.zeros(heights.size, dtype)
        flooded[np.repeat(boxes.first[:-1], n) + np.concatenate(some.peaks)] = counted(some.first, n)
        flood(boxes, heights, neighbours_of(foreground.ndim, split.connectivity), flooded)
        ids[pixels] = flooded
    return Piece(in_three(low, 0), layout.shape, layout.starts, layout.lengths, ids)


def neighbours_of(ndim: int, connectivity: int) -> np.ndarray:
    """The steps (neighbour, 3) to the pixels that are connected to one, the nearest first."""
    steps = np.stack(np.meshgrid(*[np.arange(-1, 2)] * ndim, indexing="ij"), axis=-1).reshape(-1, ndim)
    changed = np.count_nonzero(steps, axis=1)
    order = np.argsort(changed, kind="stable")
    return in_three(steps[order[(changed[order] > 0) & (changed[order] <= connectivity)]], 0)


def paint_pieces(
    foreground: np.ndarray, pieces: Sequence[Piece], *, offset: Sequence[int], dtype: np.dtype
) -> np.ndarray:
    """A block that begins at ``offset``, with the ids of the objects that reach into it."""
    from xlabelstats.kernels.cpu_floods import paint_pixels

    block = np.zeros(foreground.shape, dtype)
    start = in_three(offset, 0)
    whole = block.reshape(in_three(block.shape, 1))
    for piece in pieces:
        paint_pixels(piece.starts, piece.lengths, piece.ids, piece.shape, piece.low, start, whole)
    return block
