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
from fields import cells

import xlabelstats  # noqa: F401

CHANNELS, PITCH, BLOCK = 4, 28, 2048


def field(size: int) -> tuple[xr.DataArray, xr.DataArray]:
    """An image (c, y, x) and a mask (y, x) in main memory."""
    rng = np.random.default_rng(0)
    n = int(np.ceil(size / PITCH))
    ids = (rng.permutation(int(n * n * 1.3))[: n * n] + 1).reshape(n, n)
    mask = np.empty((size, size), np.int32)
    image = np.empty((CHANNELS, size, size), np.uint16)
    for y in range(0, size, BLOCK):
        for x in range(0, size, BLOCK):
            end = min(y + BLOCK, size), min(x + BLOCK, size)
            box = slice(y, end[0]), slice(x, end[1])
            mask[box] = cells((y, x), end, PITCH, ids)
            shape = CHANNELS, end[0] - y, end[1] - x
            image[(slice(None), *box)] = (rng.standard_gamma(2.0, shape, np.float32) * 400).astype(np.uint16)
    return xr.DataArray(image, dims=("c", "y", "x")), xr.DataArray(mask, dims=("y", "x"))


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
