"""Make a light-sheet volume with cells in it: ``python tests/benchmarks/volume.py FOLDER``.

Cells are bright balls on a jittered lattice, a part of them so near to each other that they touch, over noise; the
atlas, on a grid eight times as coarse, has thirty regions.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

SHAPE = (256, 2048, 2048)
CHUNK = (64, 256, 256)
CELLS = (20, 71, 71)
SPACING = (4.0, 2.0, 2.0)
RADIUS = 5.5
COARSER = 8


def centres(shape: tuple[int, ...], cells: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """The centres (cell, axis) of cells, in pixels; every tenth has moved towards its neighbour until they touch."""
    rng = np.random.default_rng(seed)
    pitch = np.array(shape) / cells
    lattice = np.stack(np.meshgrid(*(np.arange(n) for n in cells), indexing="ij"), axis=-1).reshape(-1, len(shape))
    found = (lattice + 0.5 + rng.uniform(-0.15, 0.15, lattice.shape)) * pitch
    pairs = np.flatnonzero(lattice[:, -1] % 10 == 5)
    found[pairs] = found[pairs + 1] - [0, 0, 1.6 * RADIUS]
    return found


def block(centre: np.ndarray, offset: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The pixels of a block that begins at ``offset``."""
    rng = np.random.default_rng(offset)
    image = rng.normal(100, 10, shape).astype(np.float32)
    reach = int(np.ceil(2 * RADIUS))
    near = ((centre > offset - reach) & (centre < offset + shape + reach)).all(axis=1)
    for cell in centre[near] - offset:
        low = np.maximum(np.floor(cell).astype(int) - reach, 0)
        high = np.minimum(np.floor(cell).astype(int) + reach + 1, shape)
        box = tuple(map(slice, low, high))
        squared = sum((axis - at) ** 2 for axis, at in zip(np.ogrid[box], cell, strict=True))
        image[box] += 1000 / (1 + np.exp(2 * (np.sqrt(squared) - RADIUS)))
    return image.clip(0, 2**16 - 1).astype(np.uint16)


def atlas(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    """Thirty regions, and nothing in the corners of the volume."""
    rng = np.random.default_rng(seed)
    seeds = rng.uniform(0, 1, (30, len(shape)))
    at = np.stack(np.meshgrid(*((np.arange(n) + 0.5) / n for n in shape), indexing="ij"), axis=-1)
    regions = np.argmin(((at[..., None, :] - seeds) ** 2).sum(axis=-1), axis=-1).astype(np.int32) + 1
    return np.where(((2 * at - 1) ** 2).sum(axis=-1) < 1.5, 10 * regions, 0).astype(np.int32)


def main(folder: str) -> None:
    """Write ``volume.zarr`` and ``atlas.npy``."""
    import dask.array as da

    at = centres(SHAPE, CELLS)

    def make(block_info: dict) -> np.ndarray:
        where = block_info[None]["array-location"]
        return block(at, np.array([a for a, _ in where]), tuple(b - a for a, b in where))

    Path(folder).mkdir(parents=True, exist_ok=True)
    lazy = da.map_blocks(make, chunks=da.core.normalize_chunks(CHUNK, SHAPE), dtype=np.uint16)
    lazy.to_zarr(str(Path(folder) / "volume.zarr"), overwrite=True)
    np.save(Path(folder) / "atlas.npy", atlas(tuple(n // COARSER for n in SHAPE)))


if __name__ == "__main__":
    main(sys.argv[1])
