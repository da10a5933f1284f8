"""Results that are the same to the last bit, whichever scheduler computes them, in whatever order its tasks end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from calls import CALLS, STATS
from processes import processes
from scipy.spatial import KDTree

from xlabelstats.catalogue import OBJECT_PROPERTIES, PROPERTIES
from xlabelstats.embeddings import pca
from xlabelstats.labels.mask_scan import clear_cache
from xlabelstats.pipeline import (
    blobs,
    centroids,
    connected_components,
    count_by_size,
    count_map,
    density_by_region,
    gaussian,
    scaled_intensity,
    threshold,
    voronoi,
    watershed,
)

# Small windows cut most objects.
pytestmark = pytest.mark.filterwarnings("ignore:.*reach beyond their window")

# Threads of ten runs: more than there are cores, so that tasks end in another order every time.
THREADS = (*(8,) * 7, 1, 2, 3)

FIELDS = [(("y", "x"), "u2"), (("y", "x"), "f4"), (("z", "y", "x"), "f8")]

Layout = Callable[[np.ndarray], np.ndarray]


def field(
    dims: tuple[str, ...], dtype: str, layout: Layout = np.ascontiguousarray
) -> tuple[xr.DataArray, xr.DataArray]:
    """An image of two channels and a mask, in other chunks, most objects of which lie in several of them."""
    rng = np.random.default_rng(3)
    shape = (60, 70) if len(dims) == 2 else (14, 26, 30)
    pixels = rng.gamma(2, 1000, (2, *shape)).astype(dtype)
    if dtype != "u2":
        pixels[rng.random(pixels.shape) < 0.05] = np.nan
    coords = {dim: 0.3 * np.arange(size) + 7 for dim, size in zip(dims, shape, strict=True)}
    image = xr.DataArray(pixels, dims=("c", *dims), coords={"c": ["a", "b"], **coords})
    # Round objects, flat where two touch, with gaps in their ids.
    centres = rng.uniform(0, shape, (40, len(shape)))
    _, nearest = KDTree(centres).query(np.argwhere(np.ones(shape)), distance_upper_bound=8 if len(dims) == 2 else 5)
    ids = np.append(rng.permutation(120)[:40] + 1, 0)
    mask = xr.DataArray(ids[nearest].reshape(shape), dims=dims, coords=coords)
    halves, parts = ({dim: int(mask.sizes[dim] * part) for dim in dims} for part in (0.5, 0.7))
    return laid_out(image, layout, c=len(dims) - 1, **halves), laid_out(mask, layout, **parts)


def scattered(array: np.ndarray) -> np.ndarray:
    """The same numbers, the first axis fastest in memory, as those of a transposed image, until they are sent."""
    return np.moveaxis(np.moveaxis(array, 0, -1).copy(), -1, 0)


def laid_out(array: xr.DataArray, layout: Layout, **chunks: int) -> xr.DataArray:
    """A lazy array, each of whose blocks lies in memory in a certain way."""
    return array.copy(data=array.chunk(chunks).data.map_blocks(layout, dtype=array.dtype))


def bits(result: Any) -> Any:
    """All that a result says, as bytes, so that NaN are compared too, and zeros with their signs."""
    if isinstance(result, xr.DataArray):
        result = result.rename("result").to_dataset()
    if isinstance(result, xr.Dataset):
        return {
            str(name): (each.dims, str(each.dtype), repr(each.attrs), np.asarray(each.data).tobytes())
            for name, each in result.variables.items()
        }
    if isinstance(result, pd.DataFrame):
        return {
            str(name): (str(each.dtype), each.to_numpy().tobytes() if each.dtype.kind in "biuf" else list(each))
            for name, each in result.reset_index().items()
        }
    return str(result.dtype), result.shape, result.tobytes()


Calls = dict[str, Callable[[], Any]]


def bits_with(schedulers: list[dict[str, Any]], calls: Calls) -> Iterator[dict[str, Any]]:
    """The bits of all results with every scheduler: lazy ones from one graph, the others from calls made anew."""
    lazy: dict[str, Any] = {}
    for scheduler in schedulers:
        with dask.config.set(scheduler):
            clear_cache()
            results = {name: call() for name, call in calls.items() if name not in lazy}
            if not lazy:
                lazy = {name: each for name, each in results.items() if dask.is_dask_collection(each)}
                graphs = dask.optimize(*lazy.values())
            results |= dict(zip(lazy, dask.compute(*graphs, optimize_graph=False), strict=True))
        yield {name: bits(each) for name, each in results.items()}


def measurements(image: xr.DataArray, mask: xr.DataArray) -> Calls:
    """All calls of the accessors, with all statistics and properties there are for the mask."""
    calls = {name: lambda call=call: call.run(image, mask) for name, call in CALLS.items() if mask.ndim in call.ndim}
    flat = mask.ndim == 2
    merged = [name for name, each in PROPERTIES.items() if flat or not each.only_2d]
    own = [name for name, each in OBJECT_PROPERTIES.items() if flat or not each.only_2d]
    some = labels_of(mask)[::-2]
    return calls | {
        "all properties": lambda: image.labels.regionprops(mask, merged, spacing=1),
        "all properties of objects": lambda: mask.instances.regionprops(own),
        "by flox": lambda: image.labels.aggregate(mask, ("mean", "kurtosis", "first", "all"), engine="flox"),
        "labels in an order": lambda: image.labels.aggregate(mask, STATS, labels=some),
        "NaN not skipped": lambda: image.labels.aggregate(mask, STATS, skipna=False),
        "quantiles in an order": lambda: image.instances.quantiles(mask, labels=some),
        "sorted windows": lambda: image.instances.windows(mask, 9).sortby("label"),
    }


def labels_of(mask: xr.DataArray) -> list[int]:
    return [int(label) for label in np.unique(mask.values) if label]


def steps(layout: Layout = np.ascontiguousarray) -> Calls:
    """Steps of the pipeline, each on what the one before gave, and projections of an image and of a table."""
    rng = np.random.default_rng(5)
    coords = {"z": np.arange(12.0), "y": 0.5 * np.arange(30), "x": 0.5 * np.arange(32)}
    noise = xr.DataArray(rng.normal(size=(12, 30, 32)).astype("f4"), coords, name="noise")
    noise = laid_out(noise, layout, z=7, y=13, x=17)
    atlas = xr.DataArray(rng.integers(1, 5, (3, 8, 8)), {dim: each[::4] for dim, each in coords.items()})

    def stored(image: xr.DataArray) -> xr.DataArray:
        return laid_out(image.compute(), layout, z=5, y=11, x=32)

    with dask.config.set(scheduler="synchronous"):
        smooth = stored(gaussian(noise, sigma=1.5))
        binary = stored(threshold(smooth, 0.08))
        cells = stored(connected_components(binary))
        seeds = centroids(cells)
    pixels = laid_out(xr.DataArray(rng.normal(size=(12, 50, 60)), dims=("c", "y", "x")), layout, y=17, x=19)
    table = laid_out(xr.DataArray(rng.normal(size=(64, 300)), dims=("feature", "label")), layout, label=70)
    return {
        "gaussian": lambda: gaussian(noise, sigma=1.5),
        "otsu": lambda: threshold(smooth, "otsu"),
        "components": lambda: connected_components(binary),
        "watershed": lambda: watershed(binary, min_distance=2),
        "watershed of an image": lambda: watershed(binary, smooth, min_distance=2),
        "centroids": lambda: centroids(cells),
        "voronoi": lambda: voronoi(binary, seeds),
        "counts": lambda: count_by_size(cells, size_threshold=20, volume_weight=0.1),
        "count map": lambda: count_map(cells, 4),
        "density": lambda: density_by_region(cells, atlas),
        "intensity": lambda: scaled_intensity(smooth, 0.05, box=4),
        "blobs": lambda: blobs(smooth, threshold=0.05),
        "colours": lambda: pca(pixels, "c"),
        "components of pixels": lambda: pca(pixels, "c", as_rgb=False),
        "components of channels in chunks": lambda: pca(pixels.chunk(c=5), "c", as_rgb=False),
        "components of labels": lambda: pca(table, "feature", as_rgb=False, n_components=8),
    }


@pytest.fixture(autouse=True)
def many_merges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are merged a few at a time, level by level, to several ranges of labels."""
    monkeypatch.setattr("xlabelstats.engine.merge_tree.FAN_IN", 3)
    monkeypatch.setattr("xlabelstats.engine.merge_tree.LABELS_PER_CHUNK", 20)


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, processes()) as workers:
        yield workers


def check(calls: Callable[[Layout], Calls], pool: ProcessPoolExecutor) -> None:
    others: dict[str, Any] = {"scheduler": "processes", "pool": pool}
    ways = [*({"scheduler": "threads", "num_workers": n} for n in THREADS), others, {"scheduler": "synchronous"}]
    *results, expected = bits_with(ways, calls(np.ascontiguousarray))
    results += bits_with([others], calls(scattered))
    ways[-1] = others | {"blocks": "scattered"}
    for way, found in zip(ways, results, strict=True):
        different = [name for name in expected if found[name] != expected[name]]
        assert not different, f"{different} with {way}"


@pytest.mark.parametrize(("dims", "dtype"), FIELDS)
def test_every_call_gives_the_same_bits_with_every_scheduler(dims, dtype, pool):
    check(lambda layout: measurements(*field(dims, dtype, layout)), pool)


def test_every_step_and_projection_gives_the_same_bits_with_every_scheduler(pool):
    check(steps, pool)
