"""What `micro_sam.visualization` makes of image embeddings, with its signatures and shapes, by PCA over the blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xlabelstats.embeddings.padded import picture_of, project_stack
from xlabelstats.embeddings.tiles import numpy_or_dask, stack_of
from xlabelstats.inputs import check_on_host

__all__ = ["InputError", "compute_pca", "project_embeddings_for_visualization"]


class InputError(ValueError, AssertionError):
    """An input that does not fit: a ValueError, and an AssertionError because micro-sam raises these."""


def compute_pca(embeddings: Any, n_components: int = 3, as_rgb: bool = True) -> np.ndarray:
    """Project embeddings on their principal components, by default to colours.

    Parameters
    ----------
    embeddings : array
        ``(1, c, h, w)`` of an image, or ``(z, 1, c, h, w)`` of a volume; each plane is projected by its own components.
    n_components, as_rgb
        As in `xlabelstats.embeddings.pca`.

    Returns
    -------
    numpy.ndarray
        ``(h, w, component)`` or ``(z, h, w, component)``; uint8 with ``as_rgb``, else float64.

    Raises
    ------
    ValueError
        The embeddings have other dims, or ``n_components`` does not fit.

    Notes
    -----
    Padding is not cut off: see `project_embeddings_for_visualization`.  The sign of a component is arbitrary, so
    colours can be the inverse of those of micro-sam.

    Examples
    --------
    >>> import numpy as np
    >>> from xlabelstats.compat.micro_sam import compute_pca
    >>> compute_pca(np.random.default_rng(0).normal(size=(1, 8, 4, 6))).shape
    (4, 6, 3)
    """
    array = _check_dims(embeddings)
    if array.ndim == 4 and len(array) != 1:
        raise ValueError(f"embeddings of an image are (1, c, h, w), not of shape {array.shape}")
    projected, _ = project_stack(stack_of(array), n_components, as_rgb)
    pictures = np.moveaxis(np.asarray(projected), 1, -1)
    return pictures if array.ndim == 5 else pictures[0]


def project_embeddings_for_visualization(
    image_embeddings: Mapping[str, Any], n_components: int = 3, as_rgb: bool = True
) -> tuple[np.ndarray, tuple[float, ...]]:
    """Project the embeddings of an image or a volume, cut to what they show of it.

    Parameters
    ----------
    image_embeddings : mapping
        ``features``, an array as in `compute_pca`, ``original_size``, the ``(y, x)`` of the image, and
        ``input_size``.  If ``input_size`` is None the embeddings are tiled, and ``features`` is a Zarr group as in
        `xlabelstats.embeddings.project`.
    n_components, as_rgb
        As in `xlabelstats.embeddings.pca`.

    Returns
    -------
    numpy.ndarray
        ``(h, w, component)`` or ``(z, h, w, component)``; uint8 with ``as_rgb``, else float64.
    tuple of float
        Pixels of the image per pixel of the result, along each axis.

    Raises
    ------
    ValueError
        The embeddings or the tiles have other dims or do not fit the image, or ``n_components`` does not fit.
    KeyError
        The mapping lacks one of the three, or the group lacks the first tile.

    Notes
    -----
    `xlabelstats.embeddings.project` does the same with named dims and coordinates, and is lazy.  Tiles are resized to
    the largest of their row and column, as in micro-sam, so that pictures have the same shape.  But tiles at the border
    may then be too large in the picture; in `project` every tile has its right place.

    Examples
    --------
    >>> import numpy as np
    >>> from xlabelstats.compat.micro_sam import project_embeddings_for_visualization
    >>> features = np.random.default_rng(0).normal(size=(1, 8, 4, 4))
    >>> picture, scale = project_embeddings_for_visualization(
    ...     {"features": features, "input_size": (1024, 512), "original_size": (100, 50)}
    ... )
    >>> picture.shape, scale
    ((4, 2, 3), (25.0, 25.0))
    """
    features = image_embeddings["features"]
    if image_embeddings["input_size"] is None:
        first = features["0"]
        if first.ndim not in (4, 5):
            raise InputError(f"tiles have 4 dims or 5, not {first.ndim}: (1, c, h, w), or (z, 1, c, h, w)")
        result = picture_of(features, None, n_components, as_rgb, even=False)
    else:
        array = _check_dims(features)
        size = tuple(image_embeddings["original_size"])
        if len(size) != 2:
            raise InputError(f"original_size is the (y, x) of the image, not {size}")
        shape = (len(array), *size) if array.ndim == 5 else size
        result = picture_of(array, shape, n_components, as_rgb)
    component = "rgb" if as_rgb else "component"
    return result.transpose(..., component).to_numpy(), tuple(result.attrs["scale"])


def _check_dims(embeddings: Any) -> Any:
    check_on_host("compute_pca", embeddings=embeddings)
    array = numpy_or_dask(embeddings)
    if array.ndim not in (4, 5):
        raise ValueError(f"Expect input of ndim 4 or 5, got {array.ndim}: (1, c, h, w), or (z, 1, c, h, w)")
    return array
