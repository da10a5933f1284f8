"""Embeddings of whole images and volumes as pictures on the image's own pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.embeddings.components import Components, check_components, project_each
from xlabelstats.embeddings.named import explained, result_dim
from xlabelstats.embeddings.tiles import is_group, join_tiles, numpy_or_dask, stack_of, tiling_of, unpadded


def project(
    embeddings: Any, shape: Sequence[int] | None = None, n_components: int = 3, as_rgb: bool = True
) -> xr.DataArray:
    """Project the embedding of an image on its principal components, on the image's coordinates.

    Parameters
    ----------
    embeddings : array or Zarr group
        The embedding of an image, ``(c, h, w)``, or of a volume, ``(z, c, h, w)``, by an encoder that pads an image at
        the bottom or on the right to a square; dims must be in this order.  A batch axis of length 1 before ``c`` is
        dropped.  Or tiles: a Zarr group with an array per tile, ``"0"``, ``"1"``, ... row by row, and the attributes
        ``shape``, ``tile_shape`` and ``halo``, each ``(y, x)`` in pixels of the image.  Each array is the embedding of
        its tile with the halo, as far as the image goes.
    shape : sequence of int
        The image's shape, ``(y, x)`` or ``(z, y, x)``.  For tiles it may be left out, since it is in the attributes of
        the group.
    n_components, as_rgb
        As in `pca`.

    Returns
    -------
    DataArray
        Dims ``(y, x, rgb)`` as uint8, or ``(component, y, x)`` as float64; with ``z`` before them for a volume.
        The coords are positions in the image's pixels, ``(i + 0.5) * scale - 0.5``.  Attrs: ``scale``, pixels of
        the image per pixel of the embedding along each axis; ``explained_variance`` and
        ``explained_variance_ratio`` as in `pca`, a list per plane for a volume.  Lazy for dask arrays, and for
        arrays and tiles in a Zarr store or opened lazily.

    Raises
    ------
    TypeError
        ``embeddings`` are not real numbers.
    ValueError
        The shapes do not match, the group lacks an attribute or a tile, or ``n_components`` does not fit.
    ModuleNotFoundError
        The tiles differ in size, and scikit-image, which resizes them, is not installed.

    Notes
    -----
    Every plane of a volume is projected by its own components, and has its own colours.  They are computed by
    this call, as in `pca`.

    For an image, the components are computed from its whole embedding, and the padding is cut off after that.  For
    tiles, padding and halo are cut off before.  Tiles at the border are smaller, or have less halo, so the encoder
    enlarges them more; they are resized, linearly, to the resolution of the first tile, and all are projected together.
    Positions are right within a pixel or two of the embedding.

    Sizes after cutting are rounded as in the `visualization` module of micro-sam, so that pictures of whole images have
    its shape.  micro-sam joins tiles in another way: see `xlabelstats.compat.micro_sam`.

    Examples
    --------
    >>> import numpy as np
    >>> from xlabelstats.embeddings import project
    >>> embedding = np.random.default_rng(0).normal(size=(8, 4, 4))
    >>> picture = project(embedding, shape=(100, 50))
    >>> picture.shape, picture.attrs["scale"], picture["x"].values
    ((4, 2, 3), [25.0, 25.0], array([12., 37.]))
    """
    return picture_of(embeddings, shape, n_components, as_rgb)


def picture_of(embeddings: Any, shape: Any, n_components: int, as_rgb: bool, *, even: bool = True) -> xr.DataArray:
    """What `project` gives; tiles are joined at an even resolution, or else as `join_tiles` says."""
    tiled = is_group(embeddings)
    stack, shape = _tiles(embeddings, shape, even) if tiled else _planes_of(embeddings, shape)
    planes, _, *size = stack.shape
    values, fitted = project_stack(stack, n_components, as_rgb)
    if not tiled:
        size = unpadded(size, shape[-2:])
        values = values[..., : size[0], : size[1]]
    variance = [explained(components) for components in fitted]
    if len(shape) == 3:
        attrs = {name: [plane[name] for plane in variance] for name in variance[0]}
    else:
        values, attrs = values[0], variance[0]
    dims = ("z", "y", "x")[-len(shape) :]
    sizes = (planes, *size)[-len(shape) :]
    scale = [pixels / own for pixels, own in zip(shape, sizes, strict=True)]
    new = result_dim(as_rgb)
    result = xr.DataArray(
        values,
        dims=(*dims[:-2], new, *dims[-2:]),
        coords={dim: (np.arange(n) + 0.5) * step - 0.5 for dim, n, step in zip(dims, sizes, scale, strict=True)},
        attrs={"scale": scale, **attrs},
    ).rename(None)
    return result.transpose(..., new) if as_rgb else result


def project_stack(stack: Any, n_components: int, as_rgb: bool) -> tuple[Any, list[Components]]:
    """Planes (z, c, h, w), each projected by its own components, as (z, component, h, w), and the components."""
    n_components = check_components(n_components, stack.shape[1], as_rgb)
    projected, fitted = project_each(list(stack), 0, n_components, as_rgb)
    return np.stack(projected), fitted


def _planes_of(embedding: Any, shape: Any) -> tuple[Any, tuple[int, ...]]:
    """An array as (z, c, h, w), and the shape of its image."""
    if shape is None:
        raise ValueError("an embedding does not tell the shape of its image; give shape=(y, x), or (z, y, x)")
    array, shape = numpy_or_dask(embedding), _check_shape(shape)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"embeddings are an array of real numbers or a Zarr group of tiles, not an array of {array.dtype}"
        )
    if any(n != n for n in array.shape):
        raise ValueError("the chunks of the embedding have unknown sizes; compute them first: .compute_chunk_sizes()")
    stack = stack_of(array)
    if 0 in stack.shape:
        raise ValueError(f"the embedding is empty; its shape is {array.shape}")
    _check_planes(len(stack), array.ndim, shape)
    return stack, shape


def _tiles(group: Any, shape: Any, even: bool) -> tuple[Any, tuple[int, ...]]:
    """Tiles as (z, c, h, w), and the shape of their image."""
    tiling = tiling_of(group)
    stack, ndim = join_tiles(group, tiling, even)
    if shape is None:
        volume = ndim == 5 or len(stack) > 1
        shape = (len(stack), *tiling.shape) if volume else tiling.shape
    shape = _check_shape(shape)
    if shape[-2:] != tiling.shape:
        raise ValueError(f"the tiles are of an image of {tiling.shape} pixels (y, x), but shape is {shape}")
    _check_planes(len(stack), ndim, shape)
    return stack, shape


def _check_shape(shape: Any) -> tuple[int, ...]:
    sizes = tuple(shape) if isinstance(shape, Sequence | np.ndarray) else ()
    if len(sizes) not in (2, 3) or not all(isinstance(n, int | np.integer) and n > 0 for n in sizes):
        raise ValueError(f"shape is that of the image, (y, x) or (z, y, x) in pixels, not {shape!r}")
    return tuple(map(int, sizes))


def _check_planes(planes: int, ndim: int, shape: tuple[int, ...]) -> None:
    """Complain if an embedding has not the planes of its image."""
    volume = len(shape) == 3
    if planes != (shape[0] if volume else 1) or ndim == (3 if volume else 5):
        raise ValueError(
            f"the embedding has {ndim} dims and {planes} planes, which does not fit shape={shape}: that of an image "
            "is (c, h, w), and that of a volume (z, c, h, w)"
        )
