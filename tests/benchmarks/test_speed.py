"""Times of the calls on a field of 2 x 2048 x 2048, beside flox and scipy.ndimage computing the mean.

Not part of the default test run, whose settings leave benchmarks out; from the checkout's root:

    python -m pytest --override-ini addopts= tests/benchmarks/test_speed.py
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from fields import cells

import xlabelstats  # noqa: F401

SIZE, CHUNK, PITCH = 2048, 1024, 28

Arrays = tuple[np.ndarray, np.ndarray]
Pair = tuple[xr.DataArray, xr.DataArray]


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    """Image (c, y, x) uint16 and mask (y, x) int32 of round cells with shuffled ids that leave gaps."""
    rng = np.random.default_rng(0)
    n = -(-SIZE // PITCH)
    ids = (rng.permutation(int(n * n * 1.3))[: n * n] + 1).reshape(n, n)
    image = (rng.standard_gamma(2.0, (2, SIZE, SIZE), np.float32) * 400).astype(np.uint16)
    return image, cells((0, 0), (SIZE, SIZE), PITCH, ids)


@pytest.fixture
def measure(benchmark: Any, arrays: Arrays) -> Callable[[Callable[[xr.DataArray, xr.DataArray], Any]], None]:
    """Time a function of image and mask, in dask chunks."""

    def fresh() -> tuple[Pair, dict]:
        # Under new names in every round: nothing remembered from one may help the next.
        image, mask = arrays
        return (
            xr.DataArray(da.from_array(image, chunks=(2, CHUNK, CHUNK), name=False), dims=("c", "y", "x")),
            xr.DataArray(da.from_array(mask, chunks=CHUNK, name=False), dims=("y", "x")),
        ), {}

    return lambda function: benchmark.pedantic(function, setup=fresh, rounds=10, warmup_rounds=1)


@pytest.mark.benchmark(group="image")
def test_eight_statistics(measure):
    measure(lambda image, mask: image.labels.aggregate(mask).compute())


@pytest.mark.benchmark(group="image")
def test_mean(measure):
    measure(lambda image, mask: image.labels.mean(mask).compute())


@pytest.mark.benchmark(group="image")
def test_max(measure):
    measure(lambda image, mask: image.labels.max(mask).compute())


@pytest.mark.benchmark(group="image")
def test_mean_by_flox(measure):
    import flox

    measure(lambda image, mask: dask.compute(*flox.groupby_reduce(image.data, mask.data, func="mean", engine="numpy")))


@pytest.mark.benchmark(group="image")
def test_mean_by_scipy_ndimage(benchmark, arrays):
    from scipy import ndimage

    image, mask = arrays
    ids = np.unique(mask)[1:]
    benchmark.pedantic(lambda: [ndimage.mean(channel, mask, ids) for channel in image], rounds=10, warmup_rounds=1)


@pytest.mark.benchmark(group="mask")
def test_scan(measure):
    measure(lambda image, mask: mask.labels.scan())


@pytest.mark.benchmark(group="mask")
def test_ids(measure):
    measure(lambda image, mask: mask.labels.ids())
