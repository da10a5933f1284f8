"""Filters: functions of the pixels around each pixel, by blocks that come with pixels of their neighbours."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy import ndimage

from xlabelstats.inputs import check_image
from xlabelstats.pipeline.halos import Place, mirror, over_blocks
from xlabelstats.pipeline.steps import Array, check_positive, like, named, per_dim, space_of, step


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
    A task holds a block and ``truncate * sigma`` pixels around it.  Chunks smaller than that are merged for the
    computation.

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
    return like(image, whole.copy(data=over_blocks(smooth, whole.data, depth, dtype)))


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
        The number of pixels that a block gets from its neighbours on every side, along all dims in space or per dim.
        Beyond the border of the image, pixels are mirrored, including the outermost.
    dtype : dtype, optional
        Of the result; by default that of the image.
    **kwargs
        Passed on to the function.

    Returns
    -------
    DataArray, numpy or dask array
        Like ``image``, lazy if it is.  The overlap is cut off from what the function returns.

    Raises
    ------
    TypeError
        The image holds no numbers, ``function`` cannot be called, or it returns values that the dtype cannot hold.
    ValueError
        ``overlap`` is not whole pixels or names a dim that is not in space, or the function gives another shape.

    Notes
    -----
    The function is called only with pixels of the image, never with test data.  Chunks smaller than the overlap are
    merged for the computation.  The graph holds the function once.

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
            "it must return the shape of the block"
        )
    # From integers to smaller ones values would wrap round.
    if not np.can_cast(found.dtype, dtype, "same_kind" if dtype.kind in "fc" else "safe"):
        raise TypeError(
            f"the function returned {found.dtype}, which the result of {dtype} cannot hold; "
            f"give dtype={found.dtype.name!r}, or cast in the function"
        )
    own = np.ascontiguousarray(found[core], dtype)
    # What a function gives may be what it got: the image itself.
    return own.copy() if np.may_share_memory(own, block) else own


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


def check_callable(function: Any, what: str) -> None:
    """Complain about what cannot be called."""
    if not callable(function):
        raise TypeError(f"{what} is called with blocks of the image, but {type(function).__name__} cannot be called")
