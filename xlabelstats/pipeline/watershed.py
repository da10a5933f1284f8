"""Touching objects of a binary image split by a watershed, each clump of them whole.

A clump is a set of foreground pixels that touch, at corners too.  Between two clumps there is background, so that
what the distance transform, its peaks and the flooding give within one does not depend on the others, nor on how the
image is chunked.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from scipy import ndimage

from xlabelstats.align import align
from xlabelstats.engine.dask_internals import Graph, array_of_tasks, block_values
from xlabelstats.engine.ownership import Region, find_regions, map_regions
from xlabelstats.extras import need
from xlabelstats.grid import given_grid, regular_grid
from xlabelstats.inputs import check_image, is_dask
from xlabelstats.labels.paint import paint
from xlabelstats.labels.subject import Objects, find_objects
from xlabelstats.names import LABEL
from xlabelstats.options import compute
from xlabelstats.pipeline.components import (
    check_binary,
    components_of_blocks,
    id_dtype,
    instances_like,
    number_components,
    structure_of,
)
from xlabelstats.pipeline.steps import Array, like, named, step

# A clump is looked at in its bounding box, which is mostly empty if it is thin and winding.
PIXELS_PER_BOX = 16


@step(1)
def watershed(
    binary: Array,
    image: Any = None,
    *,
    min_distance: int,
    connectivity: int = 1,
    spacing: Any = None,
    max_component_size: int = 10_000_000,
) -> Array:
    """Split touching objects: flood each connected component from the peaks of its distance transform.

    Parameters
    ----------
    binary : DataArray, numpy or dask array
        Foreground is what is not 0; integers or bool, with dims in space only.
    image : DataArray, numpy or dask array, optional
        An image of the same pixels.  Bright pixels are then flooded first, instead of those far from the background;
        the peaks are still those of the distance transform.
    min_distance : int
        Peaks are further apart than this many pixels along at least one axis; about the radius of the smallest object.
    connectivity : int, default 1
        For the flooding: along how many axes at once neighbouring pixels may differ.
    spacing : float, sequence or mapping of dim to float, optional
        Distance between neighbouring pixels, for the distance transform.  By default from the coordinates; 1 where
        there are none.
    max_component_size : int, default 10_000_000
        A component with more pixels than this raises an error, since all of it has to be in memory at once.

    Returns
    -------
    DataArray, numpy or dask array
        Like ``binary``, lazy if it is: int32, int64 if there are more than 2**31 - 1 objects, numbered without gaps.
        The objects of a component have neighbouring numbers.  Every foreground pixel belongs to one, and the result
        does not depend on the chunks.

    Raises
    ------
    TypeError
        ``binary`` does not hold integers.
    ValueError
        A component is too large; the coordinates are not evenly spaced; or an argument is out of its range.
    ModuleNotFoundError
        scikit-image, of the extra ``pipeline``, is not installed.

    Notes
    -----
    The peaks are those that `skimage.feature.peak_local_max` finds in each component, up to the border of the image,
    and the flooding is `skimage.segmentation.watershed` of the negated distance.  A lazy ``binary`` is read now, to
    find and count the objects, and again when the result is computed.  If its foreground has changed by then, for
    example because its store was rewritten, you get a RuntimeError; changes of ``image`` are not noticed, as it is read
    only then.

    Examples
    --------
    >>> import numpy as np
    >>> from xlabelstats.pipeline import watershed
    >>> binary = np.array([[1, 1, 1, 0, 1, 1, 1],
    ...                    [1, 1, 1, 1, 1, 1, 1],
    ...                    [1, 1, 1, 0, 1, 1, 1]], np.uint8)
    >>> watershed(binary, min_distance=2)
    array([[1, 1, 1, 0, 2, 2, 2],
           [1, 1, 1, 1, 2, 2, 2],
           [1, 1, 1, 0, 2, 2, 2]], dtype=int32)
    """
    need("skimage", "pipeline", "watershed")
    mask = check_binary(named(binary, "binary"))
    structure = structure_of(mask, connectivity)
    _check_pixels(min_distance, "min_distance")
    _check_pixels(max_component_size, "max_component_size")
    grid = regular_grid(mask, "give spacing=") if spacing is None else given_grid(mask, spacing)
    split = Split(int(min_distance), structure, tuple(grid.spacing.tolist()))
    clumps, again = _clumps(mask)
    objects = find_objects(clumps)[1]
    _check_size(objects, max_component_size, mask)
    pixels, clumps = _landscape(image, clumps)
    found: Any = (_split_blocks if is_dask(clumps.data) else _split)(split, clumps, again, pixels, objects)
    if is_dask(found):
        found = found.rechunk(mask.chunks) if is_dask(mask.data) else compute(found)
    return like(binary, instances_like(mask, found))


def _check_pixels(value: Any, what: str) -> None:
    """Complain about what is no whole number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{what} is a whole number of pixels, not {value!r}")
    if value < 1:
        raise ValueError(f"{what} is at least 1, not {value}")


def _clumps(binary: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """The clumps of a binary image, twice, so that a block of one need not be kept for the other."""
    touching = structure_of(binary, binary.ndim)
    if is_dask(binary.data):
        clumps, again = components_of_blocks(binary.data, touching, copies=2)
    else:
        clumps = again = number_components(binary.data, touching)
    return instances_like(binary, clumps), instances_like(binary, again)


def _landscape(image: Any, clumps: xr.DataArray) -> tuple[Any, xr.DataArray]:
    """The pixels of the image to flood, if any, and the clumps, with matching chunks."""
    if image is None:
        return None, clumps
    over = named(image, "image")
    check_image(over)
    if set(over.dims) != set(clumps.dims):
        other = [dim for dim in over.dims if dim not in clumps.dims]
        if other:
            raise ValueError(
                f"the image has the dim {other[0]!r}, which the binary image lacks; select one, as by .isel"
            )
    pair = align(over, clumps, mask_order=True)
    return pair.image, clumps.copy(data=pair.mask)


def _check_size(objects: Objects, limit: int, binary: xr.DataArray) -> None:
    """Complain about the largest clump if it does not fit."""
    if not objects.ids.size:
        return
    box = np.prod(objects.high - objects.low, axis=1, dtype=np.float64) / PIXELS_PER_BOX
    worst = int(np.argmax(np.maximum(objects.count, box)))
    count, room = int(objects.count[worst]), int(box[worst] * PIXELS_PER_BOX)
    if count <= limit and room <= PIXELS_PER_BOX * limit:
        return
    where = ", ".join(
        f"{dim} {low} to {high - 1}"
        for dim, low, high in zip(binary.dims, objects.low[worst], objects.high[worst], strict=True)
    )
    size = f"{count} pixels" if count > limit else f"{count} pixels in a box of {room}"
    bound = f"{limit}" if count > limit else f"box of {PIXELS_PER_BOX * limit}"
    raise ValueError(
        f"component {objects.ids[worst]} ({where}) has {size}, more than the {bound} that max_component_size allows. "
        "Objects may have run together: try a higher threshold, or an opening of the binary image; "
        "if it is one object, and there is enough memory, give a larger max_component_size"
    )


@dataclass(frozen=True)
class Clumps(Objects):
    """Clumps and the objects that each is split into.

    Attributes
    ----------
    peaks : array (clump,) of arrays
        Where the objects are flooded from, in the flattened box of the clump with the pixels next to it.
    first : array (clump,) of int64
        The id of the first of these objects; the others follow.
    """

    peaks: np.ndarray
    first: np.ndarray

    def __sizeof__(self) -> int:
        return super().__sizeof__() + sum(peaks.nbytes for peaks in self.peaks)


@dataclass(frozen=True)
class Piece:
    """A clump as it is split: a box of pixels that begins at ``low``, holding ids, 0 where it is not."""

    low: tuple[int, ...]
    ids: np.ndarray

    def __sizeof__(self) -> int:
        return self.ids.nbytes


@dataclass(frozen=True)
class Split:
    """How a clump is split.

    Attributes
    ----------
    min_distance : int
    structure : array of bool
        The pixels connected to the one in the middle.
    spacing : tuple of float
    """

    min_distance: int
    structure: np.ndarray
    spacing: tuple[float, ...]

    def distance(self, clump: np.ndarray) -> np.ndarray:
        """The distance of a clump's pixels to those beyond it."""
        # What fills the image has no background to be far from.
        return np.zeros(clump.shape) if clump.all() else ndimage.distance_transform_edt(clump, sampling=self.spacing)

    def peaks(self, clump: np.ndarray) -> np.ndarray:
        """The peaks of a clump, as indices of its flattened box, in the order of rows."""
        from skimage.feature import peak_local_max

        if clump.all():
            return np.zeros(1, np.int64)
        distance = self.distance(clump)
        parts, n = (clump.astype(np.int32), 1) if self.structure.all() else ndimage.label(clump, self.structure)
        found = peak_local_max(distance, min_distance=self.min_distance, labels=parts, exclude_border=False)
        peaks = np.ravel_multi_index(tuple(found.T), clump.shape)
        bare = np.setdiff1d(np.arange(1, n + 1), parts.flat[peaks])
        highest = [np.argmax(np.where(parts == part, distance, -1)) for part in bare]
        return np.sort(np.concatenate([peaks, np.array(highest, np.int64)]))

    def flood(self, clump: np.ndarray, peaks: np.ndarray, image: np.ndarray | None) -> np.ndarray:
        """The objects of a clump, numbered from 1."""
        from skimage.segmentation import watershed

        markers = np.zeros(clump.shape, np.int32)
        markers.flat[peaks] = np.arange(1, peaks.size + 1)
        height = self.distance(clump) if image is None else np.nan_to_num(image.astype(np.float64), nan=-np.inf)
        return watershed(-height, markers, connectivity=self.structure, mask=clump)


def _room(objects: Objects, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The box of every clump with the pixels next to it, which are background."""
    return np.maximum(objects.low - 1, 0), np.minimum(objects.high + 1, shape)


def _peaks(labels: np.ndarray, image: None, low: Sequence[int], objects: Objects, *, split: Split, shape: Any) -> Any:
    """The ids of the clumps of a region, and the peaks of each."""
    boxes = _boxes(objects, low, shape)
    return objects.ids, [split.peaks(labels[box] == clump) for clump, box in zip(objects.ids, boxes, strict=True)]


def _flood(labels: np.ndarray, image: Any, low: Sequence[int], clumps: Clumps, *, split: Split, shape: Any) -> Any:
    """The clumps of a region, each split into its objects."""
    found = []
    for i, box in enumerate(_boxes(clumps, low, shape)):
        clump = labels[box] == clumps.ids[i]
        pieces = split.flood(clump, clumps.peaks[i], None if image is None else image[box])
        first = tuple(start + along.start for start, along in zip(low, box, strict=True))
        ids = np.where(pieces > 0, pieces + (clumps.first[i] - 1), 0)
        found.append(Piece(first, ids.astype(id_dtype(int(clumps.first[i] + clumps.peaks[i].size)))))
    return found


def _boxes(objects: Objects, low: Sequence[int], shape: Sequence[int]) -> list[tuple[slice, ...]]:
    """Where the clumps lie in a region that begins at ``low``, each with the pixels next to it."""
    return [
        tuple(slice(int(a) - start, int(b) - start) for a, b, start in zip(first, last, low, strict=True))
        for first, last in zip(*_room(objects, shape), strict=True)
    ]


def _number(objects: Objects, found: Sequence[tuple[np.ndarray, list[np.ndarray]]]) -> tuple[Clumps, np.ndarray]:
    """The clumps with their peaks and the ids of their objects, in their own order; and how many objects each is."""
    peaks = np.full(objects.ids.size, None)
    for ids, of_region in found:
        for row, own in zip(np.searchsorted(objects.ids, ids), of_region, strict=True):
            peaks[row] = own
    counts = np.fromiter((own.size for own in peaks), np.int64, peaks.size)
    first = np.cumsum(counts) - counts + 1
    return Clumps(objects.ids, objects.count, objects.low, objects.high, objects.centre, peaks, first), counts


def _split(split: Split, clumps: xr.DataArray, again: xr.DataArray, image: Any, objects: Objects) -> np.ndarray:
    """The objects of an array in memory."""
    labels, origin = clumps.data, (0,) * clumps.ndim
    numbered, counts = _number(objects, [_peaks(labels, None, origin, objects, split=split, shape=labels.shape)])
    pieces = _flood(labels, image, origin, numbered.take(counts > 1), split=split, shape=labels.shape)
    return _overlay(_paint_first(again, numbered).data, [pieces], offset=origin)


def _split_blocks(split: Split, clumps: xr.DataArray, again: xr.DataArray, image: Any, objects: Objects) -> Any:
    """The objects of a dask array: their peaks are found now, which pixels are theirs later."""
    import dask.array as da
    from dask.base import tokenize

    labels, shape = clumps.data, clumps.shape
    found = []
    if objects.ids.size:
        peaks = partial(_peaks, split=split, shape=shape)
        found = block_values(map_regions(peaks, labels, None, objects, *_room(objects, shape)))
    numbered, counts = _number(objects, found)
    whole = _paint_first(again, numbered).data
    # In memory, if only the image over it is lazy.
    whole = whole if is_dask(whole) else da.from_array(whole, chunks=labels.chunks, name=False)
    several = numbered.take(counts > 1)
    if not several.ids.size:
        return whole.rechunk(labels.chunks)
    low, high = _room(several, shape)
    pieces = map_regions(partial(_flood, split=split, shape=shape), labels, image, several, low, high)
    reached = _reached(several, find_regions(several, low, high, labels.chunks), whole.chunks)
    starts = [np.cumsum((0, *sizes)).tolist() for sizes in whole.chunks]
    name = f"watershed-{tokenize(labels, image, split)}"
    graph: Graph = {}
    for index in np.ndindex(*whole.numblocks):
        call = partial(_overlay, offset=[start[i] for start, i in zip(starts, index, strict=True)])
        graph[(name, *index)] = (call, (whole.name, *index), [(pieces.name, r) for r in reached.get(index, [])])
    meta = np.empty((0,) * whole.ndim, whole.dtype)
    return array_of_tasks(name, graph, whole.chunks, [whole, pieces], meta).rechunk(labels.chunks)


def _reached(
    clumps: Clumps, found: Sequence[Sequence[Region]], chunks: Sequence[Sequence[int]]
) -> dict[tuple[int, ...], list[int]]:
    """For every block, the regions whose clumps reach into it."""
    ends = [np.cumsum(sizes) for sizes in chunks]
    first = [np.searchsorted(end, low, side="right") for end, low in zip(ends, clumps.low.T, strict=True)]
    last = [np.searchsorted(end, high - 1, side="right") for end, high in zip(ends, clumps.high.T, strict=True)]
    blocks: dict[tuple[int, ...], list[int]] = {}
    for r, region in enumerate(region for regions in found for region in regions):
        spans = np.unique(np.stack([*(f[region.rows] for f in first), *(n[region.rows] for n in last)], axis=1), axis=0)
        reach = (
            itertools.product(*(range(a, b + 1) for a, b in zip(*np.split(span, 2), strict=True))) for span in spans
        )
        for block in dict.fromkeys(itertools.chain.from_iterable(reach)):
            blocks.setdefault(block, []).append(r)
    return blocks


def _paint_first(clumps: xr.DataArray, numbered: Clumps) -> xr.DataArray:
    """Every clump with the id of its first object."""
    last = int(numbered.first[-1] + numbered.peaks[-1].size - 1) if numbered.ids.size else 0
    first = numbered.first.astype(id_dtype(last))
    return paint(clumps, xr.DataArray(first, dims=LABEL, coords={LABEL: numbered.ids}))


def _overlay(ids: np.ndarray, regions: Sequence[Sequence[Piece]], *, offset: Sequence[int]) -> np.ndarray:
    """A block that begins at ``offset``, with the ids of the clumps that are split."""
    if not regions:
        return ids
    ids = ids.copy()
    for piece in itertools.chain.from_iterable(regions):
        here, there = [], []
        for low, size, start, extent in zip(piece.low, piece.ids.shape, offset, ids.shape, strict=True):
            begin, end = max(low, start), max(min(low + size, start + extent), low, start)
            here.append(slice(begin - start, end - start))
            there.append(slice(begin - low, end - low))
        part = piece.ids[tuple(there)]
        np.copyto(ids[tuple(here)], part, where=part > 0)
    return ids
