"""Filters: functions of the pixels around each pixel, by blocks that come with pixels of their neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy import ndimage

from xlabelstats.align import check_image, is_dask
from xlabelstats.pipeline.centroids import check_number
from xlabelstats.pipeline.steps import Array, like, named, per_dim, space_of, step
from xlabelstats.regions import Job


@step(1)
def gaussian(image: Array, sigma: Any, *, truncate: float = 4.0) -> Array:
    """Smooth an image with a Gaussian.

    Parameters
    ----------
    image : DataArray, numpy or dask array
        Any numbers.  Only dims in space are smoothed, each channel and time by itself.
    sigma : float or mapping of dim to float
        Standard deviation in pixels, along all dims in space or each; those that a mapping leaves out are not smoothed.
    truncate : float, default 4.0
        Pixels further than this many standard deviations have no weight.

    Returns
    -------
    DataArray, numpy or dask array
        Like ``image``, lazy if it is; float64 if it is, else float32.  It equals
        `scipy.ndimage.gaussian_filter` of the whole image, mirrored at its border, however it is chunked.

    Raises
    ------
    TypeError
        The image holds no numbers, or a parameter is none.
    ValueError
        ``sigma`` is negative or names a dim that is not in space, or ``truncate`` is not positive.

    Notes
    -----
    A task holds a block and ``truncate * sigma`` pixels around it.  Chunks smaller than that are merged meanwhile.

    Examples
    --------
    >>> import numpy as np
    >>> from xlabelstats.pipeline import gaussian
    >>> image = np.zeros((3, 5), np.uint8)
    >>> image[1, 2] = 100
    >>> gaussian(image, {"x": 0.5}).round(1)
    array([[ 0. ,  0. ,  0. ,  0. ,  0. ],
           [ 0. , 10.6, 78.7, 10.6,  0. ],
           [ 0. ,  0. ,  0. ,  0. ,  0. ]], dtype=float32)
    """
    whole = named(image)
    check_image(whole)
    space = space_of(whole)
    along = dict(zip(space, per_dim(sigma, space, "sigma"), strict=True))
    check_positive(truncate, "truncate")
    sigmas = tuple(float(along.get(dim, 0)) for dim in whole.dims)
    dtype = float_of(whole.dtype)
    depth = tuple(reach_of(sigma, truncate) for sigma in sigmas)
    smooth = partial(_smooth, sigma=sigmas, truncate=float(truncate), dtype=dtype)
    return like(image, whole.copy(data=over_blocks(smooth, whole.data, depth, dtype, pure=True)))


@step(1)
def map_blocks(
    image: Array, function: Callable[..., Any], overlap: Any = 0, *, dtype: Any = None, **kwargs: Any
) -> Array:
    """Apply a function to an image block by block, with an overlap between blocks.

    Parameters
    ----------
    image : DataArray, numpy or dask array
        Any numbers.
    function : callable
        ``function(block, **kwargs)`` gets a numpy array with the dims of the image, which it must not change, and
        returns one of the same shape.  An image in memory is one block.
    overlap : int or mapping of dim to int, default 0
        As many pixels of its neighbours a block gets on every side, along all dims in space or each.
        Beyond the border of the image its pixels are mirrored, the outermost twice.
    dtype : dtype, optional
        Of the result; that of the image unless given.
    **kwargs
        Handed on to the function.

    Returns
    -------
    DataArray, numpy or dask array
        Like ``image``, lazy if it is.  What the function gave for the overlap is cut off.

    Raises
    ------
    TypeError
        The image holds no numbers, ``function`` cannot be called, or it gives what the dtype cannot hold.
    ValueError
        ``overlap`` is not whole pixels or names a dim that is not in space, or the function gives another shape.

    Notes
    -----
    The function is called on pixels of the image alone, never on made-up ones to find out what it gives.  Chunks
    smaller than the overlap are merged meanwhile.  The graph holds the function once.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import ndimage
    >>> from xlabelstats.pipeline import map_blocks
    >>> image = np.array([[1, 9, 2, 3], [1, 1, 7, 3]])
    >>> map_blocks(image, ndimage.median_filter, overlap={"x": 1}, size=(1, 3))
    array([[1, 2, 3, 3],
           [1, 1, 3, 3]])
    """
    whole = named(image)
    check_image(whole)
    check_callable(function, "function")
    space = space_of(whole)
    around = dict(zip(space, overlap_of(overlap, space), strict=True))
    depth = tuple(around.get(dim, 0) for dim in whole.dims)
    to = whole.dtype if dtype is None else np.dtype(dtype)
    call = partial(_map, function=partial(function, **kwargs), depth=depth, dtype=to)
    return like(image, whole.copy(data=over_blocks(call, whole.data, depth, to)))


@dataclass(frozen=True)
class Place:
    """Where a block's own pixels lie.

    Attributes
    ----------
    core : tuple of slices
        In the array that the block's task gets, which has pixels of its neighbours too.
    first : tuple of int
        The position of the first of them in the image.
    at_border : list of (bool, bool)
        Along each axis, whether the array begins and ends at the border of the image.
    """

    core: tuple[slice, ...]
    first: tuple[int, ...]
    at_border: list[tuple[bool, bool]]


@dataclass(frozen=True)
class Halo:
    """Blocks that overlap: the chunks without, and by how many pixels they reach into their neighbours."""

    chunks: tuple[tuple[int, ...], ...]
    depth: tuple[int, ...]

    def place(self, block: Sequence[int]) -> Place:
        """Where the pixels of a block lie."""
        before = [by if i else 0 for by, i in zip(self.depth, block, strict=True)]
        core = tuple(slice(a, a + sizes[i]) for a, sizes, i in zip(before, self.chunks, block, strict=True))
        first = tuple(sum(sizes[:i]) for sizes, i in zip(self.chunks, block, strict=True))
        ends = [(i == 0, i == len(sizes) - 1) for sizes, i in zip(self.chunks, block, strict=True)]
        return Place(core, first, ends)


def over_blocks(
    function: Callable[[np.ndarray, Place], Any],
    pixels: Any,
    depth: Sequence[int],
    dtype: Any,
    *,
    over: int = 0,
    pure: bool = False,
) -> Any:
    """``function(block, place)`` of every block of an array and ``depth`` pixels around it, as far as there are any.

    It returns the block's own pixels, without the first ``over`` dims, which must not be chunked.  It is held by the
    graph once, under a name that says what it is if it is ``pure``.
    """
    if not is_dask(pixels):
        chunks = tuple((size,) for size in pixels.shape[over:])
        return function(np.asarray(pixels), Halo(chunks, tuple(depth[over:])).place((0,) * len(chunks)))
    merged, halo = merge_chunks(pixels, depth, over)
    found = _lazily(function, merged, halo, over, halo.chunks, np.dtype(dtype), pure)
    return found.rechunk(pixels.chunks[over:])


def objects_of_blocks(function: Callable[[np.ndarray, Place], Any], pixels: Any, depth: Sequence[int]) -> list[Any]:
    """What ``function(block, place)`` gives for every block, as in `over_blocks` but any object, computed now."""
    from xlabelstats.blocks import gather

    if not is_dask(pixels):
        return [over_blocks(function, pixels, depth, object)]
    merged, halo = merge_chunks(pixels, depth, 0)
    ones = tuple((1,) * len(sizes) for sizes in halo.chunks)
    return gather(_lazily(function, merged, halo, 0, ones, np.dtype(object), pure=False))


def merge_chunks(pixels: Any, depth: Sequence[int], over: int) -> tuple[Any, Halo]:
    """A dask array whose chunks are no smaller than the overlap, and how they overlap after the first dims."""
    from dask.array.overlap import ensure_minimum_chunksize

    chunks, needed = [], []
    for size, sizes, by in zip(pixels.shape, pixels.chunks, depth, strict=True):
        # All pixels along a dim leave none to get from a neighbour.
        whole = by >= size
        chunks.append((size,) if whole else ensure_minimum_chunksize(max(by, 1), sizes))
        needed.append(0 if whole else by)
    return pixels.rechunk(tuple(chunks)), Halo(tuple(chunks[over:]), tuple(needed[over:]))


def _lazily(
    function: Callable[..., Any], pixels: Any, halo: Halo, over: int, chunks: Any, dtype: np.dtype, pure: bool
) -> Any:
    import dask.array as da
    from dask.delayed import delayed

    return da.map_overlap(
        _call,
        pixels,
        depth=(*(0 for _ in range(over)), *halo.depth),
        boundary="none",
        trim=False,
        allow_rechunk=False,
        drop_axis=list(range(over)),
        chunks=chunks,
        meta=np.empty((0,) * len(chunks), dtype),
        job=delayed(Job(partial(_place, function=function, halo=halo)), pure=pure, traverse=False),
    )


def _call(block: np.ndarray, *, job: Job, block_id: tuple[int, ...]) -> Any:
    return job.function(np.asarray(block), block_id)


def _place(block: np.ndarray, block_id: tuple[int, ...], *, function: Callable[..., Any], halo: Halo) -> Any:
    return function(block, halo.place(block_id))


def _smooth(
    block: np.ndarray, place: Place, *, sigma: tuple[float, ...], truncate: float, dtype: np.dtype
) -> np.ndarray:
    # scipy takes neither half nor extended precision, but casts integers itself.
    pixels = block.astype(dtype, copy=False) if block.dtype.kind == "f" else block
    smooth = ndimage.gaussian_filter(pixels, sigma, output=dtype, mode="reflect", truncate=truncate)
    return np.ascontiguousarray(smooth[place.core])


def _map(
    block: np.ndarray, place: Place, *, function: Callable[..., Any], depth: tuple[int, ...], dtype: np.dtype
) -> np.ndarray:
    if not block.size:
        return np.empty(block.shape, dtype)
    padded, core = mirror(block, place, depth)
    found = np.asarray(function(padded))
    if found.shape != padded.shape:
        raise ValueError(
            f"the function got a block of shape {padded.shape} and returned one of {found.shape}; "
            "what it returns has the shape of the block"
        )
    if not np.can_cast(found.dtype, dtype, "same_kind"):
        raise TypeError(
            f"the function returned {found.dtype}, which the result of {dtype} does not hold; "
            f"give dtype={found.dtype.name!r}, or cast in the function"
        )
    return np.ascontiguousarray(found[core], dtype)


def mirror(block: np.ndarray, place: Place, depth: Sequence[int]) -> tuple[np.ndarray, tuple[slice, ...]]:
    """A block with the image mirrored beyond its border, and where the own pixels lie then, along the last dims."""
    widths = [tuple(by if end else 0 for end in ends) for by, ends in zip(depth, place.at_border, strict=True)]
    core = tuple(
        slice(own.start + before, own.stop + before) for own, (before, _) in zip(place.core, widths, strict=True)
    )
    if not any(map(any, widths)):
        return block, core
    other = [(0, 0)] * (block.ndim - len(widths))
    return np.pad(block, [*other, *widths], mode="symmetric"), core


def float_of(dtype: np.dtype) -> np.dtype:
    """The floating point dtype in which an image is filtered."""
    return np.dtype(np.float64 if dtype.kind == "f" and dtype.itemsize >= 8 else np.float32)


def reach_of(sigma: float, truncate: float = 4.0) -> int:
    """As many pixels away scipy's Gaussian has weight."""
    return int(truncate * float(sigma) + 0.5)


def overlap_of(overlap: Any, space: tuple[Any, ...]) -> tuple[int, ...]:
    """The overlap in pixels along every dim in space."""
    found = per_dim(overlap, space, "overlap")
    if any(by != int(by) for by in found):
        raise ValueError(f"overlap is a whole number of pixels, not {overlap!r}")
    return tuple(int(by) for by in found)


def check_positive(value: Any, what: str) -> None:
    """Complain about what is no number above 0."""
    check_number(value, what)
    if value <= 0:
        raise ValueError(f"{what} is positive, not {value!r}")


def check_callable(function: Any, what: str) -> None:
    """Complain about what cannot be called."""
    if not callable(function):
        raise TypeError(f"{what} is called with blocks of the image, but {type(function).__name__} cannot be called")
