"""Make a field of cells as Zarr, block by block: ``python fields.py PATH --size 16384 ...``.

Run in a process of its own, so that making the field does not count towards what measuring it takes.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import zarr
from zarr.abc.store import Store


def cells(low: tuple[int, ...], high: tuple[int, ...], pitch: float, ids: np.ndarray) -> np.ndarray:
    """The labels of the box from low to high: one ball per grid cell, at a jittered place."""
    axes = [np.arange(a, b) for a, b in zip(low, high, strict=True)]
    grid = [(axis / pitch).astype(np.int64) for axis in axes]
    cell = np.zeros([axis.size for axis in axes], np.int64)
    for axis, (index, n) in enumerate(zip(grid, ids.shape, strict=True)):
        cell = cell * n + index.reshape([-1 if a == axis else 1 for a in range(len(axes))])
    # A number in [0, 1) for each cell and axis, the same whatever box it is computed in.
    hashed = (cell[..., None] * np.array([2654435761, 40503, 2246822519][: len(axes)]) % 65536) / 65536
    squared = np.zeros(cell.shape)
    for axis, (position, index) in enumerate(zip(axes, grid, strict=True)):
        shape = [-1 if a == axis else 1 for a in range(len(axes))]
        centre = (index.reshape(shape) + 0.4 + 0.2 * hashed[..., axis]) * pitch
        squared += (position.reshape(shape) + 0.5 - centre) ** 2
    return np.where(squared < (0.45 * pitch) ** 2, ids.ravel()[cell], 0).astype(np.int32)


def write(
    path: Path | Store,
    shape: tuple[int, ...],
    chunk: tuple[int, ...],
    pitch: float,
    channels: int,
    ordered: bool = False,
    seed: int = 0,
) -> None:
    """Write ``mask`` (shape) and, with channels, ``image`` (channels, *shape) as uint16."""
    rng = np.random.default_rng(seed)
    grid = tuple(int(np.ceil(n / pitch)) for n in shape)
    n = int(np.prod(grid))
    ids = rng.permutation(int(n * 1.3))[:n] + 1
    ids = (np.sort(ids) if ordered else ids).reshape(grid)
    group = zarr.create_group(path, overwrite=True)
    mask = group.create_array("mask", shape=shape, chunks=chunk, dtype="i4")
    if channels:
        image = group.create_array("image", shape=(channels, *shape), chunks=(channels, *chunk), dtype="u2")
    for corner in itertools.product(*(range(0, n, c) for n, c in zip(shape, chunk, strict=True))):
        end = tuple(min(a + c, n) for a, c, n in zip(corner, chunk, shape, strict=True))
        box = tuple(slice(a, b) for a, b in zip(corner, end, strict=True))
        mask[box] = cells(corner, end, pitch, ids)
        if channels:
            size = [b - a for a, b in zip(corner, end, strict=True)]
            image[(slice(None), *box)] = (rng.standard_gamma(2.0, (channels, *size), np.float32) * 400).astype(
                np.uint16
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--shape", type=int, nargs="+", required=True)
    parser.add_argument("--chunk", type=int, nargs="+", required=True)
    parser.add_argument("--pitch", type=float, default=28)
    parser.add_argument("--channels", type=int, default=0)
    parser.add_argument("--ordered", action="store_true", help="ids in the order of position, not shuffled")
    args = parser.parse_args()
    write(args.path, tuple(args.shape), tuple(args.chunk), args.pitch, args.channels, args.ordered)
