"""From a raw volume to cells per region of an atlas, in steps that are stored: ``python count_cells.py [PICTURE]``."""

import sys
import tempfile
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # writes files, needs no screen

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from skimage.metrics import contingency_table

import xlabelstats
from xlabelstats.pipeline import (
    Cache,
    centroids,
    count_by_size,
    density_by_region,
    gaussian,
    threshold,
    watershed,
)

REGIONS = {1: "left", 2: "right", 3: "core"}


def made_atlas(volume: xr.DataArray, step: float) -> xr.DataArray:
    """A core within a left and a right half, on a grid of its own that is coarser than the volume's."""
    low = {dim: volume[dim].values[0] for dim in volume.dims}
    high = {dim: volume[dim].values[-1] for dim in volume.dims}
    grid = xr.Dataset(
        coords={
            dim: (dim, np.arange(low[dim] + 0.25 * step, high[dim], step), volume[dim].attrs) for dim in volume.dims
        }
    )
    # 0 in the middle of the volume, 1 where an ellipsoid that fills it ends.
    radius = sum(((2 * grid[dim] - low[dim] - high[dim]) / (high[dim] - low[dim])) ** 2 for dim in volume.dims) ** 0.5
    halves = xr.where(grid.x < (low["x"] + high["x"]) / 2, 1, 2)
    regions = xr.where(radius < 0.6, 3, halves).where(radius < 1.2, 0).astype(np.int32)
    # xarray drops the attributes of coordinates here.
    return regions.transpose(*volume.dims).assign_coords(grid.coords).rename("atlas")


def count(volume: xr.DataArray, atlas: xr.DataArray, cache: Cache) -> pd.DataFrame:
    """The whole way, every step stored."""
    smooth = cache.run("smooth", gaussian, volume, sigma={"z": 0.5, "y": 1, "x": 1})
    binary = cache.run("binary", threshold, smooth, "otsu")
    cells = cache.run("cells", watershed, binary, min_distance=4, multiscale=2)
    table = cache.run("centroids", centroids, cells, min_size=20)
    # A nucleus has up to 2200 pixels and mostly about 800.
    counts = cache.run("counts", count_by_size, table, size_threshold=2200, volume_weight=1 / 800)
    return cache.run("density", density_by_region, counts, atlas, REGIONS)


def share_matched(cells: np.ndarray, by_hand: np.ndarray) -> float:
    """The share of objects drawn by hand that an object found matches: intersection over union of 0.5 or more."""
    shared = contingency_table(by_hand, cells).toarray()
    either = shared.sum(axis=1, keepdims=True) + shared.sum(axis=0) - shared
    best = (shared / np.maximum(either, 1))[:, 1:].max(axis=1)
    return float((best[np.unique(by_hand)[1:]] >= 0.5).mean())


with tempfile.TemporaryDirectory() as folder:
    volume, _ = xlabelstats.datasets.nuclei3d(spacing={"z": 1.0, "y": 0.5, "x": 0.5})
    volume = volume.chunk(z=16, y=32, x=32)
    atlas = made_atlas(volume, 2.0)
    for attempt in ("first", "second"):
        cache = Cache(folder)
        before, started = len(cache.status()), time.perf_counter()
        density = count(volume, atlas, cache)
        seconds, computed = time.perf_counter() - started, len(cache.status()) - before
        print(f"{attempt} run: {computed} steps computed, {seconds:.2f} s")
    print(f"\n{density.round(4).to_string(index=False)}")
    units, outside = density.attrs["units"], density.attrs["outside"]
    print(f"volume in {units['volume']}, density in {units['density']}, {outside:g} cells in no region\n")
    print(cache.status()[["name", "kind", "parameters", "size"]].to_string(index=False), "\n")

image, mask = xlabelstats.datasets.nuclei2d()
by_hand = mask.to_numpy()
smooth = gaussian(image, sigma=1)
one_for_all = watershed(threshold(smooth, "li"), min_distance=5)
# Nuclei differ in brightness; beside their own surroundings they differ less.
binary = threshold(smooth / gaussian(image, sigma=15), "li") & threshold(smooth, 30)
cells = watershed(binary, min_distance=7)
for name, found in {"one threshold for all": one_for_all, "beside the surroundings": cells}.items():
    share = share_matched(found.to_numpy(), by_hand)
    print(
        f"{name}: {int(found.max())} nuclei; of the {np.unique(by_hand).size - 1} drawn by hand {share:.0%} are matched"
    )

fig, axes = plt.subplots(1, 3, figsize=(13.5, 4.6), layout="constrained", sharex=True, sharey=True)
image.plot.imshow(ax=axes[0], cmap="gray", vmax=160, yincrease=False, add_colorbar=False)
binary.plot.imshow(ax=axes[1], cmap="gray", yincrease=False, add_colorbar=False)
shuffled = np.random.default_rng(3).permutation(int(cells.max())) + 1.0
coloured = cells.labels.paint(xr.DataArray(shuffled, dims="label", coords={"label": cells.labels.ids()}))
axes[2].set_facecolor("black")
coloured.plot.imshow(ax=axes[2], cmap="gist_rainbow", yincrease=False, add_colorbar=False)
axes[2].contour(image.x, image.y, by_hand > 0, levels=[0.5], colors="white", linewidths=0.6)
titles = ("image", "above threshold", f"watershed: {shuffled.size} nuclei; white: drawn by hand")
for each, title in zip(axes, titles, strict=True):
    each.set(aspect="equal", title=title, xlabel="", ylabel="", xticks=[], yticks=[])

picture = Path(sys.argv[1] if len(sys.argv) > 1 else "count_cells.png")
fig.savefig(picture, dpi=110)
print(f"\nsaved {picture}")
