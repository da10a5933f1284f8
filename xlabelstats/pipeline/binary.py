"""From an image to a binary one: by a threshold, or by a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.inputs import check_image, is_dask
from xlabelstats.names import check_known, describe
from xlabelstats.options import compute
from xlabelstats.pipeline.filters import check_callable, overlap_of
from xlabelstats.pipeline.halos import Place, mirror, over_blocks
from xlabelstats.pipeline.histograms import METHODS, method_levels
from xlabelstats.pipeline.steps import Array, check_number, like, named, space_of, step


@step(1)
@describe(methods=METHODS)
def threshold(image: Array, value: Any) -> Array:
    """Find the foreground by a threshold.

    Parameters
    ----------
    image : DataArray, numpy or dask array
        Any numbers.
    value : float, str or DataArray
        Pixels strictly above it are foreground; in the image's own units.  A DataArray gives one number per channel, or
        along other dims that are not in space.  A name is a method that finds these numbers:
        {methods}

    Returns
    -------
    DataArray, numpy or dask array of uint8
        Like ``image``, lazy if it is: 1 in the foreground, elsewhere 0.  A DataArray has the threshold in its attrs, as
        ``threshold``: a number, or a list if there are several.

    Raises
    ------
    TypeError
        The image or the value holds no numbers.
    ValueError
        There is no such method, an image without finite pixels has no threshold, the value does not fit the image, or
        floats lie so close together that a method cannot count them in bins.
    ModuleNotFoundError
        scikit-image, of the extra ``pipeline``, is not installed, for ``"otsu"``.

    Notes
    -----
    NaN is never foreground.  For a method, a lazy image is read now, block by block, to count its finite pixels.
    Integers are counted value by value.  Floats, and integers that span more than 2**16 values, are counted in 2**16
    equal bins between the lowest and the highest (256 for ``"triangle"``), which one more pass finds.  The threshold is
    that of scikit-image: exactly if values are counted one by one, otherwise to about one bin.  If all pixels are
    equal, it is their value.  If a lazy image changes before the result is computed, for example because its store is
    rewritten, the threshold of the old pixels is used without an error.

    Examples
    --------
    >>> import numpy as np
    >>> from xlabelstats.pipeline import threshold
    >>> image = np.array([[10, 12, 11, 200], [12, 210, 205, 10]], np.uint16)
    >>> threshold(image, 200)
    array([[0, 0, 0, 0],
           [0, 1, 1, 0]], dtype=uint8)
    >>> threshold(image, "otsu")
    array([[0, 0, 0, 1],
           [0, 1, 1, 0]], dtype=uint8)
    """
    whole = named(image)
    check_image(whole)
    levels = _levels_of(whole, value)
    found: Any = whole.data > _along(levels, whole)
    binary = whole.copy(data=found.astype(np.uint8))
    return like(image, binary.assign_attrs(threshold=np.asarray(levels).tolist()))


@step(1)
def predict(
    image: Array,
    model: Callable[..., Any],
    overlap: Any = 0,
    *,
    above: float = 0.5,
    model_kwargs: Mapping[str, Any] | None = None,
) -> Array:
    """Find the foreground by a model, block by block.

    Parameters
    ----------
    image : DataArray, numpy or dask array
        Any numbers.
    model : callable
        ``model(block, **model_kwargs)`` gets a numpy array ``(*other, *space)``, complete along all dims that are not
        in space, and returns one ``(*space)`` or ``(1, *space)``.  An image in memory is one block.
    overlap : int or mapping of dim to int, default 0
        The number of pixels that a block gets from its neighbours on every side, along all dims in space or per dim.
        Beyond the border of the image, pixels are mirrored, including the outermost.
    above : float, default 0.5
        If the model returns floats, those strictly above it are foreground; if it returns integers or bool, all that
        are not 0.
    model_kwargs : mapping, optional
        Passed on to the model.

    Returns
    -------
    DataArray, numpy or dask array of uint8
        Like ``image``, lazy if it is, with its dims in space: 1 in the foreground, elsewhere 0.

    Raises
    ------
    TypeError
        The image or what the model returns holds no numbers, or the model cannot be called.
    ValueError
        ``overlap`` is not whole pixels or names a dim that is not in space, or the model returns another shape.

    Notes
    -----
    The model is called only with pixels of the image, never with test data.  Chunks smaller than the overlap are merged
    for the computation.  The graph holds the model once.

    Examples
    --------
    >>> import numpy as np
    >>> from xlabelstats.pipeline import predict
    >>> image = np.array([[1, 5, 2], [7, 8, 2]])
    >>> predict(image, lambda block: block / 10, above=0.6)
    array([[0, 0, 0],
           [1, 1, 0]], dtype=uint8)
    """
    whole = named(image)
    check_image(whole)
    check_callable(model, "the model")
    check_number(above, "above")
    space = space_of(whole)
    around = dict(zip(space, overlap_of(overlap, space), strict=True))
    other = [dim for dim in whole.dims if dim not in space]
    ordered = whole.transpose(*other, *space)
    if is_dask(ordered.data):
        ordered = ordered.chunk(dict.fromkeys(other, -1))
    depth = tuple(around.get(dim, 0) for dim in ordered.dims)
    call = partial(
        _predict, model=partial(model, **(model_kwargs or {})), depth=depth[len(other) :], above=float(above)
    )
    found = over_blocks(call, ordered.data, depth, np.uint8, over=len(other))
    coords = {name: coord for name, coord in whole.coords.items() if set(coord.dims) <= set(space)}
    return like(image, xr.DataArray(found, dims=space, coords=coords, name=whole.name, attrs=whole.attrs))


def _levels_of(image: xr.DataArray, value: Any) -> Any:
    """The threshold: a number, or a DataArray of one per element of dims that are not in space."""
    space = space_of(image)
    if isinstance(value, str):
        check_known([value], METHODS, "method")
        return method_levels(image, space, value)
    if not isinstance(value, xr.DataArray):
        if np.ndim(value):
            raise TypeError("several thresholds are a DataArray that names their dim: xr.DataArray(values, dims='c')")
        check_number(value, "a threshold, unless the name of a method,")
        return int(value) if isinstance(value, int | np.integer) else float(value)
    other = [dim for dim in image.dims if dim not in space]
    unknown = [dim for dim in value.dims if dim not in other]
    if unknown:
        raise ValueError(
            f"the thresholds have the dim {unknown[0]!r}, but there is one for each element of {tuple(other)}, "
            "the dims of the image that are not in space"
        )
    values = value.copy(data=compute(value.data)) if is_dask(value.data) else value
    if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        raise ValueError("the thresholds must all be finite numbers")
    try:
        xr.align(image, values, join="exact")
    except ValueError as error:
        raise ValueError(f"the thresholds do not lie along the image: {error}") from None
    return values.transpose(*(dim for dim in other if dim in values.dims))


def _along(levels: Any, image: xr.DataArray) -> Any:
    """Thresholds as they are compared with the pixels of an image."""
    if isinstance(levels, int) and image.dtype.kind in "biu":
        # numpy 2.0.0 corrupts memory when a Python integer is compared that the dtype of the pixels cannot hold.
        least = np.min_scalar_type(levels)
        return least.type(levels) if least.kind in "iu" else float(levels)
    if not isinstance(levels, xr.DataArray):
        return levels
    if image.dtype.kind == "f":
        # As numpy compares pixels with a Python float: a pixel of 0.1 is not above 0.1, whatever its precision.
        levels = levels.astype(image.dtype)
    return levels.values.reshape([levels.sizes.get(dim, 1) for dim in image.dims])


def _predict(
    block: np.ndarray, place: Place, *, model: Callable[..., Any], depth: Sequence[int], above: float
) -> np.ndarray:
    space = block.shape[block.ndim - len(depth) :]
    if not block.size:
        return np.zeros(space, np.uint8)
    padded, core = mirror(block, place, depth)
    found = np.asarray(model(padded))
    shape = padded.shape[padded.ndim - len(depth) :]
    if found.shape not in (shape, (1, *shape)):
        raise ValueError(
            f"the model got a block of shape {padded.shape} and returned one of {found.shape}; "
            f"it must return the shape {shape}, or {(1, *shape)}"
        )
    if found.dtype.kind not in "biuf":
        raise TypeError(
            f"the model returned {found.dtype}; it returns bool, integers, or floats to compare with above="
        )
    found = found.reshape(shape)[core]
    return (found > above if found.dtype.kind == "f" else found != 0).astype(np.uint8)
