"""Measure on a GPU and on two cores of the same machine: ``python tests/benchmarks/gpu.py [--size 16384]``.

Prints times, the shortest of several, of 4 channels of uint16 that are on the GPU already:

    eight statistics        beside dask with two threads, as the ratio of the times; as the share of the GPU's
                            bandwidth, if image and mask were read once; and of blocks moved from main memory
    other calls             scan, centre of mass, radii, quantiles, windows
    region properties       beside cuCIM, if it is installed: ratio of the times, and the largest difference

A GPU of little memory needs a smaller ``--size``; the targets are for 16384.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import cupy as cp
import cupy_xarray  # noqa: F401
import dask
import numpy as np
import xarray as xr
import zarr
from fields import write
from zarr.storage import MemoryStore

import xlabelstats

CHANNELS, PITCH, BLOCK = 4, 28, 2048

# How many times as fast as two cores the eight statistics are to be.
TARGET = 30

# Of one channel, by the names of scikit-image.
PROPERTIES = {
    "moments, boxes and intensities": (
        "area", "bbox", "centroid", "axis_major_length", "axis_minor_length", "eccentricity", "intensity_mean",
        "intensity_min", "intensity_max",
    ),
    "perimeters": ("perimeter", "perimeter_crofton", "euler_number"),
}  # fmt: skip


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


def bandwidth(pixels: Any) -> float:
    """Bytes per second that a copy within the GPU reads and writes."""
    return 2 * pixels.nbytes / shortest(lambda: pixels.copy(), 5)


def statistics(image: xr.DataArray, mask: xr.DataArray) -> xr.Dataset:
    """The eight, computed, of a mask that is scanned for the call."""
    return image.labels.aggregate(mask.copy()).compute()


def compare_statistics(image: xr.DataArray, mask: xr.DataArray, on_gpu: tuple[xr.DataArray, xr.DataArray]) -> None:
    """Print the times of the eight statistics, beside the two cores and the bandwidth."""
    copied = bandwidth(on_gpu[0].data)
    print(f"a copy of the image within the GPU: {copied / 1e9:.0f} GB/s, read and written", flush=True)
    blocks = image.chunk(y=BLOCK, x=BLOCK), mask.chunk(y=BLOCK, x=BLOCK)
    with dask.config.set(scheduler="threads", num_workers=2):
        cores = shortest(lambda: statistics(*blocks), 2)
    print(f"eight statistics, two cores: {cores:.2f} s", flush=True)
    times = shortest(lambda: statistics(*on_gpu), 5)
    print(f"eight statistics: {times * 1e3:.1f} ms, {cores / times:.1f} times as fast; the target is {TARGET}")
    print(f"share of the bandwidth: {(image.nbytes + mask.nbytes) / times / copied:.1%}", flush=True)
    with dask.config.set(scheduler="threads", num_workers=4):
        moved = shortest(lambda: statistics(*(array.cupy.as_cupy() for array in blocks)), 2)
    print(f"eight statistics of blocks in main memory: {moved:.2f} s, {cores / moved:.1f} times as fast", flush=True)


def compare_properties(image: xr.DataArray, mask: xr.DataArray) -> None:
    """Print the times of region properties of one channel on the GPU, beside cuCIM's, and how far the two differ."""
    for name, properties in PROPERTIES.items():

        def ours(properties: tuple[str, ...] = properties) -> xr.Dataset:
            return image.labels.regionprops(mask, properties)

        times = shortest(ours, 3)
        print(f"region properties, {name}: {times * 1e3:.1f} ms", flush=True)
        if find_spec("cucim") is None:
            print("cuCIM is not installed")
            continue
        from cucim.skimage.measure import regionprops_table

        def theirs(properties: tuple[str, ...] = properties) -> dict[str, Any]:
            return regionprops_table(mask.data, image.data, properties=properties)

        cucim = shortest(theirs, 1)
        print(f"cuCIM: {cucim * 1e3:.1f} ms, {cucim / times:.2f} times as long")
        known, found = theirs(), ours().as_numpy()
        for each in properties:
            columns = [cp.asnumpy(values) for key, values in known.items() if key.split("-")[0] == each]
            values = found[each].values.reshape(len(columns[0]), -1).astype(float)
            apart = np.abs(values - np.stack(columns, 1)) / np.maximum(np.abs(values), 1)
            print(f"    {each}: the largest difference is {np.nanmax(apart):.1e} of the value", flush=True)


def main(size: int) -> None:
    """Print it all."""
    gpu = cp.cuda.runtime.getDeviceProperties(0)["name"].decode()
    print(f"{gpu}, CuPy {cp.__version__}, xlabelstats {xlabelstats.__version__}", flush=True)
    image, mask = field(size)
    print(f"{CHANNELS} x {size} x {size} uint16, {int(mask.max())} the largest label", flush=True)
    on_gpu = image.cupy.as_cupy(), mask.cupy.as_cupy()
    compare_statistics(image, mask, on_gpu)
    for name, call in {
        "scan": lambda image, mask: mask.labels.scan(),
        "center_of_mass": lambda image, mask: mask.labels.center_of_mass(),
        "radii_and_axes": lambda image, mask: mask.instances.radii_and_axes(),
        "nine quantiles of one channel": lambda image, mask: image[0].instances.quantiles(mask),
        "windows of 32 x 32 of one channel": lambda image, mask: image[0].instances.windows(mask, 32),
    }.items():
        print(f"{name}: {shortest(lambda call=call: call(*on_gpu), 3) * 1e3:.1f} ms", flush=True)
    # cuCIM has a row for every number up to the largest label.
    compare_properties(on_gpu[0][0], mask.labels.relabel().cupy.as_cupy())
    print(f"peak memory of the GPU: {cp.get_default_memory_pool().total_bytes() / 2**30:.1f} GiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=16384)
    main(parser.parse_args().size)
