"""Touching objects of a binary image split by a watershed, each clump of them whole.

A clump is a set of foreground pixels that touch, at corners too.  Between two clumps there is background, so that
what the distance transform, its peaks and the flooding give within one does not depend on the others, nor on how the
image is chunked.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import align
from xlabelstats.engine.dask_internals import Graph, array_of_tasks, block_values
from xlabelstats.engine.ownership import Region, find_regions, map_regions
from xlabelstats.grid import given_grid, regular_grid
from xlabelstats.inputs import check_image, is_dask
from xlabelstats.options import compute
from xlabelstats.pipeline.clumps import Clumps, PeakedClumps, Split, paint_pieces, peaks_of, split_clumps
from xlabelstats.pipeline.components import check_binary, check_connectivity, id_dtype, instances_like
from xlabelstats.pipeline.foreground import Extents, checked_foreground, find_components, foreground_of
from xlabelstats.pipeline.joints import join_blocks, without_empty_chunks
from xlabelstats.pipeline.steps import Array, like, named, step

# A clump is looked at in its bounding box, which is mostly empty if it is thin and winding.
PIXELS_PER_BOX = 16


@step(2)
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

    Notes
    -----
    The peaks are those that `skimage.feature.peak_local_max` finds in each component, up to the border of the image,
    and the flooding is that of `skimage.segmentation.watershed` of the negated distance, in compiled loops that run on
    all cores.  With a spacing such as 0.3 distances are rounded, and which of two that are equal counts as larger may
    differ from scikit-image.

    A lazy ``binary`` is read now, to find and count the objects, and again when the result is computed.  If its
    foreground has changed by then, for example because its store was rewritten, you get a RuntimeError; changes of
    ``image`` are not noticed, as it is read only then.

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
    mask = check_binary(named(binary, "binary"))
    check_connectivity(mask, connectivity)
    _check_pixels(min_distance, "min_distance")
    _check_pixels(max_component_size, "max_component_size")
    grid = regular_grid(mask, "give spacing=") if spacing is None else given_grid(mask, spacing)
    split = Split(int(min_distance), int(connectivity), tuple(grid.spacing.tolist()), mask.shape)
    foreground, clumps = _find_clumps(mask)
    _check_size(clumps, max_component_size, mask)
    pixels, foreground = _landscape(image, foreground)
    found: Any = (_split_blocks if is_dask(foreground) else _split)(split, foreground, pixels, clumps)
    if is_dask(found):
        found = found.rechunk(mask.chunks) if is_dask(mask.data) else compute(found)
    return like(binary, instances_like(mask, found))


def _check_pixels(value: Any, what: str) -> None:
    """Complain about what is no whole number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{what} is a whole number of pixels, not {value!r}")
    if value < 1:
        raise ValueError(f"{what} is at least 1, not {value}")


def _find_clumps(binary: xr.DataArray) -> tuple[xr.DataArray, Clumps]:
    """The foreground of a binary image as 0 and 1, and its clumps, not split yet."""
    foreground: Any
    if not binary.size:
        foreground, extents = np.zeros(binary.shape, np.uint8), Extents.of_nothing(binary.ndim)
        if is_dask(binary.data):
            import dask.array as da

            foreground = da.from_array(foreground, chunks=-1, name=False)
    elif is_dask(binary.data):
        blocks = without_empty_chunks(binary.data)
        joined = join_blocks(blocks, binary.ndim, boxes=True)
        foreground, extents = checked_foreground(blocks, joined.checksums), joined.extents
    else:
        foreground = foreground_of(binary.data)
        extents = find_components(foreground, binary.ndim).extents((0,) * binary.ndim, binary.shape, boxes=True)
    ids, middle = np.arange(1, extents.first.size + 1), (extents.low + extents.high) // 2
    clumps = Clumps(ids, extents.count, extents.low, extents.high, middle, extents.first)
    return instances_like(binary, foreground), clumps


def _landscape(image: Any, foreground: xr.DataArray) -> tuple[Any, Any]:
    """The pixels of the image to flood, if any, and of the foreground, with matching chunks."""
    if image is None:
        return None, foreground.data
    over = named(image, "image")
    check_image(over)
    if set(over.dims) != set(foreground.dims):
        other = [dim for dim in over.dims if dim not in foreground.dims]
        if other:
            raise ValueError(
                f"the image has the dim {other[0]!r}, which the binary image lacks; select one, as by .isel"
            )
    pair = align(over, foreground, mask_order=True)
    return pair.image, pair.mask


def _check_size(objects: Clumps, limit: int, binary: xr.DataArray) -> None:
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


def _number(clumps: Clumps, found: Sequence[tuple[np.ndarray, list[np.ndarray]]]) -> tuple[PeakedClumps, np.dtype]:
    """The clumps with their peaks and the ids of their objects, and the dtype that these need."""
    peaks = np.full(clumps.ids.size, None)
    # Most clumps have one peak, and are not flooded from it: all of these share an array, which is sent once.
    one = np.zeros(1, np.int64)
    for ids, of_region in found:
        for row, pixels in zip((ids - 1).tolist(), of_region, strict=True):
            peaks[row] = pixels if pixels.size > 1 else one
    counts = np.fromiter((pixels.size for pixels in peaks), np.int64, peaks.size)
    first = np.cumsum(counts) - counts + 1
    return PeakedClumps(**vars(clumps), peaks=peaks, first=first), id_dtype(int(counts.sum()))


def _split(split: Split, foreground: np.ndarray, image: Any, clumps: Clumps) -> np.ndarray:
    """The objects of an array in memory."""
    origin, pieces = (0,) * foreground.ndim, []
    dtype = id_dtype(0)
    if clumps.ids.size:
        numbered, dtype = _number(clumps, [peaks_of(foreground, None, origin, clumps, split=split)])
        pieces = [split_clumps(foreground, image, origin, numbered, split=split, dtype=dtype)]
    return paint_pieces(foreground, pieces, offset=origin, dtype=dtype)


def _split_blocks(split: Split, foreground: Any, image: Any, clumps: Clumps) -> Any:
    """The objects of a dask array: their peaks are found now, which pixels are theirs later."""
    from dask.base import tokenize

    dtype, pieces = id_dtype(0), []
    reached: dict[tuple[int, ...], list[int]] = {}
    if clumps.ids.size:
        found = block_values(
            map_regions(partial(peaks_of, split=split), foreground, None, clumps, clumps.low, clumps.high)
        )
        numbered, dtype = _number(clumps, found)
        divide = partial(split_clumps, split=split, dtype=dtype)
        pieces = [map_regions(divide, foreground, image, numbered, clumps.low, clumps.high)]
        regions = find_regions(clumps, clumps.low, clumps.high, foreground.chunks)
        reached = _reached(clumps, regions, foreground.chunks)
    starts = [np.cumsum((0, *sizes)).tolist() for sizes in foreground.chunks]
    name = f"watershed-{tokenize(foreground, image, split)}"
    graph: Graph = {}
    for index in np.ndindex(*foreground.numblocks):
        call = partial(paint_pieces, offset=[start[i] for start, i in zip(starts, index, strict=True)], dtype=dtype)
        graph[(name, *index)] = (
            call,
            (foreground.name, *index),
            [(each.name, r) for each in pieces for r in reached.get(index, [])],
        )
    meta = np.empty((0,) * foreground.ndim, dtype)
    return array_of_tasks(name, graph, foreground.chunks, [foreground, *pieces], meta)


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
