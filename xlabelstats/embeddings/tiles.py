"""Embeddings of padded images and tiles, cut to what they show, and tiles joined to one embedding."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.embeddings.named import unread
from xlabelstats.extras import need
from xlabelstats.inputs import is_dask


@dataclass(frozen=True)
class Tiling:
    """Tiles that divide an image, each seen with a halo; sizes are (y, x) in pixels of the image.

    Tiles are numbered row by row.  Those at the far borders may be smaller, and no halo goes beyond the image.
    """

    shape: tuple[int, ...]
    tile_shape: tuple[int, ...]
    halo: tuple[int, ...]

    @property
    def grid(self) -> tuple[int, int]:
        """The number of rows and columns of tiles."""
        rows, columns = (math.ceil(n / tile) for n, tile in zip(self.shape, self.tile_shape, strict=True))
        return rows, columns

    def inner(self, row: int, column: int, embedding: tuple[int, int]) -> tuple[slice, slice]:
        """Where a tile without its halo lies in its embedding, whose size (h, w) includes the padding."""
        tile = [self._along(axis, i) for axis, i in enumerate((row, column))]
        whole = unpadded(embedding, [outer for _, _, outer in tile])
        y, x = (_scaled(low, high, n / outer, n) for (low, high, outer), n in zip(tile, whole, strict=True))
        return y, x

    def _along(self, axis: int, i: int) -> tuple[int, int, int]:
        """Where tile i begins and ends along an axis, from the beginning of its halo, and its size with that."""
        size, tile, halo = self.shape[axis], self.tile_shape[axis], self.halo[axis]
        low, high = i * tile, min((i + 1) * tile, size)
        outer_low, outer_high = max(low - halo, 0), min(high + halo, size)
        return low - outer_low, high - outer_low, outer_high - outer_low


def unpadded(embedding: Sequence[int], shape: Sequence[int]) -> tuple[int, int]:
    """The size (h, w) of the part of an embedding that shows an image, which was padded to a square at its end."""
    (rows, columns), (height, width) = embedding, shape
    if height > width:
        columns = max(int(width / height * columns), 1)
    elif width > height:
        rows = max(int(height / width * rows), 1)
    return rows, columns


def _scaled(low: int, high: int, scale: float, size: int) -> slice:
    """The pixels of an embedding, at least one, from low to high in those of the image."""
    first = min(round(low * scale), size - 1)
    return slice(first, max(round(high * scale), first + 1))


def stack_of(array: Any) -> Any:
    """An embedding (c, h, w), (z, c, h, w) or (z, 1, c, h, w), numpy or dask, as (z, c, h, w)."""
    if array.ndim == 3:
        return array[None]
    if array.ndim == 4:
        return array
    if array.ndim == 5 and array.shape[1] == 1:
        return array[:, 0]
    raise ValueError(
        f"an embedding is (c, h, w), or (z, c, h, w) for a volume, or has a batch axis of 1 before c; "
        f"not of shape {tuple(array.shape)}"
    )


def numpy_or_dask(array: Any) -> Any:
    """An array as numpy or dask: dask if it lies in a store, with all channels of a plane in a chunk."""
    import dask.array as da

    if isinstance(array, xr.DataArray):
        array = unread(array).data
    if is_dask(array) or not hasattr(array, "chunks"):
        return array if is_dask(array) else np.asarray(array)
    return da.from_array(array, chunks=(1,) * (array.ndim - 3) + (-1, "auto", "auto")[: array.ndim])


def tiling_of(group: Any) -> Tiling:
    """The tiling that a group's attributes tell of."""
    sizes = []
    for name in ("shape", "tile_shape", "halo"):
        if name not in group.attrs:
            raise ValueError(
                f"the group of tiles has no attribute {name!r}; it needs shape, tile_shape and halo, in pixels"
            )
        value = group.attrs[name]
        whole = isinstance(value, Sequence | np.ndarray) and all(isinstance(n, int | np.integer) for n in value)
        if not whole or len(value) != 2 or min(value) < (name != "halo"):
            raise ValueError(f"the attribute {name!r} of the tiles is (y, x) in pixels, not {value!r}")
        sizes.append(tuple(map(int, value)))
    return Tiling(*sizes)


def is_group(embeddings: Any) -> bool:
    """Whether these are tiles: a Zarr group, or a mapping that has attributes like one."""
    return hasattr(embeddings, "attrs") and not hasattr(embeddings, "shape")


def join_tiles(group: Mapping[str, Any], tiling: Tiling, even: bool = True) -> tuple[Any, int]:
    """The tiles' embeddings, without padding and halo, as one lazy embedding (z, c, h, w), and their own dims.

    Tiles are resized to the resolution of the first; if not even, to the largest of a row, as micro-sam does.
    """
    rows, columns = tiling.grid
    tiles = [_tile(group, number, rows * columns) for number in range(rows * columns)]
    stacks = [stack_of(tile) for tile in tiles]
    kinds = {(tile.ndim, *stack.shape[:2]) for tile, stack in zip(tiles, stacks, strict=True)}
    if len(kinds) > 1:
        raise ValueError(f"the tiles differ in dims, planes or channels, which are {sorted(kinds)}")
    inner = [
        stack[(..., *tiling.inner(*divmod(number, columns), stack.shape[-2:]))] for number, stack in enumerate(stacks)
    ]
    if even:
        sizes = zip(tiling.shape, tiling.tile_shape, inner[0].shape[-2:], strict=True)
        heights, widths = (_even_sizes(*along) for along in sizes)
        inner = [
            _resize(_resize(part, -2, heights[number // columns]), -1, widths[number % columns])
            for number, part in enumerate(inner)
        ]
    across = [_join(inner[row * columns : (row + 1) * columns], axis=-1) for row in range(rows)]
    return _join(across, axis=-2), tiles[0].ndim


def _even_sizes(size: int, tile: int, first: int) -> list[int]:
    """The sizes of tiles along an axis, in pixels of the embedding, at the resolution of the first."""
    edges = np.minimum(np.arange(math.ceil(size / tile) + 1) * tile, size)
    return np.diff(np.rint(edges * first / min(tile, size))).clip(1).astype(int).tolist()


def _tile(group: Mapping[str, Any], number: int, tiles: int) -> Any:
    import dask.array as da

    if str(number) not in group:
        raise ValueError(f"the group has no tile {str(number)!r}, but by its attributes it has {tiles} tiles")
    tile = numpy_or_dask(group[str(number)])
    if tile.dtype.kind not in "biuf" or 0 in tile.shape:
        raise ValueError(f"tile {str(number)!r} is no embedding: its shape is {tile.shape}, its dtype {tile.dtype}")
    return tile if is_dask(tile) else da.from_array(tile)


def _join(parts: Sequence[Any], axis: int) -> Any:
    """Parts side by side along one of the last two axes, resized to the largest of them along the other."""
    import dask.array as da

    other = -3 - axis
    size = max(part.shape[other] for part in parts)
    return da.concatenate([_resize(part, other, size) for part in parts], axis=axis)


def _resize(part: Any, axis: int, size: int) -> Any:
    if part.shape[axis] == size:
        return part
    need("skimage", "image", "joining tiles of differing size")
    part = part.rechunk({-2: -1, -1: -1})
    chunks = list(part.chunks)
    chunks[axis] = (size,)
    dtype = np.result_type(part.dtype, np.float32)
    return part.map_blocks(_resize_block, axis=axis, size=size, chunks=chunks, meta=np.empty((0,) * part.ndim, dtype))


def _resize_block(block: np.ndarray, *, axis: int, size: int) -> np.ndarray:
    from skimage.transform import resize

    shape = list(block.shape)
    shape[axis] = size
    block = block.astype(np.result_type(block.dtype, np.float32), copy=False)
    return resize(block, shape, preserve_range=True, anti_aliasing=size < block.shape[axis])
