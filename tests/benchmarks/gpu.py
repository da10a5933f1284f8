"""Measure on a GPU and on two cores of the same machine: ``python tests/benchmarks/gpu.py [--size 16384]``.

All eight default statistics of 4 channels of uint16 that are on the device already, beside dask with two threads; and
on the device alone the other calls.  The share of the card's bandwidth counts image and mask as read once.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import cupy as cp
import dask
import numpy as np
import xarray as xr
import zarr
from fields import write
from zarr.storage import MemoryStore

import xlabelstats  # noqa: F401

CHANNELS, PITCH, BLOCK = 4, 28, 2048


def field(size: int) -> tuple[xr.DataArray, xr.DataArray]:
    """An image (c, y, x) and a mask (y, x) in main memory."""
    store = MemoryStore()
    write(store, (size, size), (BLOCK, BLOCK), PITCH, CHANNELS)
    group = zarr.open_group(store, mode="r")
    return xr.DataArray(group["image"][:], dims=("c", "y", "x")), xr.DataArray(group["mask"][:], dims=("y", "x"))


def shortest(call: Callable[[], Any], repeats: int) -> float:
    """The shortest time of several, after one that compiles the kernels."""
    call()
    times = []
    for _ in range(repeats):
        cp.cuda.Device().synchronize()
        start = time.perf_counter()
        call()
        cp.cuda.Device().synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def bandwidth() -> float:
    """Bytes per second that a copy within the card reads and writes."""
    pixels = cp.zeros(2**30, np.uint8)
    return 2 * pixels.nbytes / shortest(lambda: pixels.copy(), 5)


def main(size: int) -> None:
    """Print the times, what they are beside the two cores, and the share of the bandwidth."""
    card = cp.cuda.runtime.getDeviceProperties(0)["name"].decode()
    image, mask = field(size)
    on_card = image.copy(data=cp.asarray(image.data)), mask.copy(data=cp.asarray(mask.data))
    blocks = image.chunk({"y": BLOCK, "x": BLOCK}), mask.chunk({"y": BLOCK, "x": BLOCK})
    copied = bandwidth()
    print(f"{card}; a copy within it moves {copied / 1e9:.0f} GB/s, read and written")
    print(f"{CHANNELS} x {size} x {size} uint16, {int(mask.max())} the largest label")

    with dask.config.set(scheduler="threads", num_workers=2):
        cores = shortest(lambda: blocks[0].labels.aggregate(blocks[1].copy()).compute(), 2)
    found = shortest(lambda: on_card[0].labels.aggregate(on_card[1]), 5)
    share = (image.nbytes + mask.nbytes) / found / copied
    print(f"eight statistics: {found * 1e3:.1f} ms, {cores / found:.0f} times as fast as two cores ({cores:.2f} s)")
    print(f"share of the bandwidth, image and mask read once: {share:.1%}")
    for name, call in {
        "scan": lambda image, mask: mask.labels.scan(),
        "center_of_mass": lambda image, mask: mask.labels.center_of_mass(),
        "radii_and_axes": lambda image, mask: mask.instances.radii_and_axes(),
        "nine quantiles of one channel": lambda image, mask: image[0].instances.quantiles(mask),
        "windows of 32 x 32 of one channel": lambda image, mask: image[0].instances.windows(mask, 32),
    }.items():
        print(f"{name}: {shortest(lambda call=call: call(*on_card), 3) * 1e3:.1f} ms")
    print(f"peak memory of the card: {cp.get_default_memory_pool().total_bytes() / 2**30:.1f} GiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=16384)
    main(parser.parse_args().size)
