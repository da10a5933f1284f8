"""Calls on dask arrays in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr
from fields import cells

import xlabelstats  # noqa: F401
from xlabelstats.pipeline import watershed

SIZE, PITCH = 1024, 28

Arrays = tuple[np.ndarray, np.ndarray]
Call = Callable[[xr.DataArray, xr.DataArray], Any]

CALLS: dict[str, Call] = {
    "aggregate: eight statistics": lambda image, mask: image.labels.aggregate(mask),
    "mean": lambda image, mask: image.labels.mean(mask),
    "max": lambda image, mask: image.labels.max(mask),
    "histogram": lambda image, mask: image.labels.histogram(mask, 64),
    "correlation": lambda image, mask: image.labels.correlation(mask),
    "scan": lambda image, mask: mask.labels.scan(),
    "ids": lambda image, mask: mask.labels.ids(),
    "regionprops": lambda image, mask: mask.labels.regionprops(("area", "eccentricity", "perimeter")),
    "solidity": lambda image, mask: mask.instances.regionprops("solidity"),
    "quantiles": lambda image, mask: image.instances.quantiles(mask),
    "windows": lambda image, mask: image.instances.windows(mask, 48),
    "statistics: a function": lambda image, mask: image.instances.statistics(mask, np.ptp, dims={}, fn_kwargs=ALONG),
    "contacts": lambda image, mask: mask.labels.contacts(),
    "neighbors": lambda image, mask: mask.labels.neighbors(10),
    "overlap": lambda image, mask: mask.labels.overlap(mask.labels.expand(5)),
    "expand": lambda image, mask: mask.labels.expand(5),
    "paint": lambda image, mask: mask.labels.paint(mask.labels.count()),
    "count_points": lambda image, mask: mask.labels.count_points(points(), by="gene"),
    "watershed": lambda image, mask: watershed(mask > 0, min_distance=4),
}
ALONG = {"axis": 1}
FAMILIES = ("intensity", "shape", "texture", "granularity", "radial_distribution", "zernike", "neighbors")


def arrays() -> Arrays:
    """Image (c, y, x) uint16 and mask (y, x) int32 of round cells with shuffled ids."""
    rng = np.random.default_rng(0)
    n = -(-SIZE // PITCH)
    image = (rng.standard_gamma(2.0, (2, SIZE, SIZE), np.float32) * 400).astype(np.uint16)
    return image, cells((0, 0), (SIZE, SIZE), PITCH, (rng.permutation(n * n) + 1).reshape(n, n))


def points() -> pd.DataFrame:
    """As many points as a hundred a cell, of 50 genes."""
    rng = np.random.default_rng(1)
    n = 100 * (SIZE // PITCH) ** 2
    y, x = rng.random((2, n)) * (SIZE - 1)
    return pd.DataFrame({"y": y, "x": x, "gene": pd.Categorical(rng.integers(0, 50, n))})


def chunked(pixels: np.ndarray, labels: np.ndarray) -> tuple[xr.DataArray, xr.DataArray]:
    """In four chunks, under new names, so that nothing remembered from one run helps the next."""
    return (
        xr.DataArray(da.from_array(pixels, chunks=(-1, SIZE // 2, SIZE // 2), name=False), dims=("c", "y", "x")),
        xr.DataArray(da.from_array(labels, chunks=SIZE // 2, name=False), dims=("y", "x")),
    )


class Calls:
    """Each call, with the scan of its mask."""

    params = tuple(CALLS)
    param_names = ("call",)

    def setup_cache(self) -> Arrays:
        return arrays()

    def time_call(self, field: Arrays, call: str) -> None:
        dask.compute(CALLS[call](*chunked(*field)))

    def peakmem_call(self, field: Arrays, call: str) -> None:
        dask.compute(CALLS[call](*chunked(*field)))


class Profile:
    """Families of the morphological profile of one channel."""

    params = FAMILIES
    param_names = ("family",)

    def setup_cache(self) -> Arrays:
        return arrays()

    def time_family(self, field: Arrays, family: str) -> None:
        image, mask = chunked(*field)
        image.isel(c=[0]).instances.profile(mask, family).compute()
