"""Time random reads of patches beside plain slicing: ``python tests/benchmarks/patches.py``.

512 patches of 2 channels x 64 x 64 of a 2 x 8192 x 8192 uint16 Zarr array in chunks of 1 x 256 x 256.  In every round
each patch is read in all ways, one after the other in an order drawn anew, so that they share what the machine does
meanwhile; of the rounds the fastest read counts, patch by patch.  Prints each way's time over that of plain
slicing with zarr, as float32; exits 1 when one is over its limit.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr
import zarr

from xlabelstats.patches import XarrayImageStack, load_image_stacks

SIZE, CHUNK, PATCH, PATCHES = 8192, 256, 64, 512
Read = Callable[[int, int], np.ndarray]


def make(path: Path) -> None:
    """Store an image of noise over shapes, which compresses as images do."""
    rng = np.random.default_rng(0)
    stored = zarr.create_array(
        path,
        name="image",
        shape=(2, SIZE, SIZE),
        chunks=(1, CHUNK, CHUNK),
        dtype=np.uint16,
        dimension_names=("c", "y", "x"),
    )
    for channel in range(2):
        for y in range(0, SIZE, 1024):
            shapes = np.kron(rng.integers(0, 4000, (32, SIZE // 32)), np.ones((32, 32)))
            stored[channel, y : y + 1024] = shapes + rng.poisson(100, shapes.shape)


def plain(path: Path) -> Read:
    """What a user writes by hand."""
    stored = zarr.open_group(path, mode="r")["image"]
    return lambda y, x: stored[:, y : y + PATCH, x : x + PATCH].astype(np.float32)


def of(stack: XarrayImageStack) -> Read:
    """The patches of a stack."""
    return lambda y, x: stack.extract_patch(0, None, (y, x), (PATCH, PATCH))


def ways(path: Path) -> dict[str, tuple[Read, float]]:
    """Every way to read a patch, and how long it may take over plain slicing."""
    lazy = xr.open_zarr(path, chunks=None, consolidated=False)["image"]
    blocks = xr.open_zarr(path, consolidated=False)["image"]
    dask = da.from_zarr(str(path), component="image")
    return {
        "plain slicing again": (plain(path), 1.1),
        "stack of a Zarr path": (of(load_image_stacks(path)[0]), 1.1),
        "stack of open_zarr(chunks=None)": (of(XarrayImageStack(lazy)), 1.1),
        "stack of open_zarr": (of(XarrayImageStack(blocks)), 1.1),
        "stack of dask.array.from_zarr": (of(XarrayImageStack(dask, "CYX")), 1.1),
        "stack of a computed dask array": (of(XarrayImageStack(blocks * 1)), 10),
        "open_zarr(chunks=None) by hand": (
            lambda y, x: lazy[:, y : y + PATCH, x : x + PATCH].values.astype(np.float32),
            2,
        ),
        "open_zarr by hand": (lambda y, x: blocks[:, y : y + PATCH, x : x + PATCH].values.astype(np.float32), 10),
    }


def fastest(reads: dict[str, Read], places: list[tuple[int, int]], rounds: int) -> dict[str, np.ndarray]:
    """The fastest read of every patch in every way, in seconds."""
    rng = np.random.default_rng(2)
    found = {name: np.full(len(places), np.inf) for name in reads}
    for _ in range(rounds):
        for i, (y, x) in enumerate(places):
            for name in rng.permutation(list(reads)):
                read = reads[name]
                started = time.perf_counter()
                read(y, x)
                found[name][i] = min(found[name][i], time.perf_counter() - started)
    return found


def main() -> None:
    """Measure all ways together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is read (5)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.zarr"
        make(path)
        base = plain(path)
        measured = ways(path)
        # Reads start at no chunk's corner, and all lie inside.
        places = np.random.default_rng(1).integers(0, SIZE - PATCH, (PATCHES, 2)).tolist()
        for name, (read, _) in measured.items():
            np.testing.assert_array_equal(read(*places[0]), base(*places[0]), err_msg=name)
        reads = {"base": base} | {name: read for name, (read, _) in measured.items()}
        times = fastest(reads, places, args.rounds)
    total = times["base"].sum()
    print(f"{PATCHES} patches by plain slicing: {total:.3f} s, the fastest of {args.rounds} rounds")
    over = []
    for name, (_, limit) in measured.items():
        ratio = times[name].sum() / total
        mark = "" if ratio <= limit else "  over"
        print(f"  {name:34s} {ratio:6.3f} times as long  limit {limit:g}{mark}", flush=True)
        over += [name] if mark else []
    sys.exit(1 if over else 0)


if __name__ == "__main__":
    main()
