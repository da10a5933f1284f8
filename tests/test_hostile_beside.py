"""Hostile input of what lies beside the accessors: pipeline steps, embeddings, patches, plots, drop-in classes."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import dask.array as da
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from layouts import LAYOUTS, state

from xlabelstats import embeddings, pipeline
from xlabelstats.compat.harpy import Featurizer, RasterAggregator
from xlabelstats.patches import XarrayImageStack

mpl.use("Agg")

pytestmark = [
    pytest.mark.filterwarnings("ignore:Duplicate dimension names"),
    pytest.mark.filterwarnings("ignore:.*objects reach beyond their window"),
]

CHUNKS = {"y": (0, 5, 7), "x": (9, 5)}


def cells() -> xr.DataArray:
    """A mask of four cells, two of which touch."""
    labels = np.zeros((12, 14), np.int32)
    labels[1:4, 1:5], labels[5:9, 2:6], labels[5:11, 6:13], labels[1:3, 9:12] = 1, 2, 3, 7
    return xr.DataArray(labels, dims=("y", "x"), name="cells")


MASK = cells()
BINARY = (MASK > 0).astype(np.uint8)
IMAGE = xr.DataArray(np.random.default_rng(0).random((12, 14)) * 50 + MASK.values, dims=("y", "x"), name="DAPI")
CENTROIDS = pipeline.centroids(MASK)
VALUES = pd.Series([1.0, 2.0, 3.0, 4.0], index=[1, 2, 3, 7])


def drawn(artist: Any) -> np.ndarray:
    """The pixels of a picture."""
    import matplotlib.pyplot as plt

    axes = artist if isinstance(artist, plt.Axes) else artist.axes
    pixels = np.asarray(axes.images[0].get_array())
    plt.close("all")
    return pixels


def stacked(image: xr.DataArray) -> xr.DataArray:
    """An embedding of four channels."""
    module = da if image.chunks else np
    return embeddings.project(module.stack([module.roll(image.data, k, 0) for k in range(4)]), image.shape)


def volume(array: xr.DataArray, ndim: int) -> Any:
    """A bare dask array with the dims that harpy's classes want."""
    return array.data[(None,) * ndim] if array.chunks else da.from_array(array.values[(None,) * ndim], chunks=-1)


# What is given, and the call.
IMAGES: dict[str, Callable[[xr.DataArray], Any]] = {
    "threshold": lambda image: pipeline.threshold(image, 20),
    "threshold, otsu": lambda image: pipeline.threshold(image, "otsu"),
    "gaussian": lambda image: pipeline.gaussian(image, 1),
    "map_blocks": lambda image: pipeline.map_blocks(image, np.abs, overlap=1),
    "predict": lambda image: pipeline.predict(image, lambda pixels: (pixels > 20) * 1.0),
    "blobs": lambda image: pipeline.blobs(image, threshold=5, max_sigma=3),
    "scaled_intensity": lambda image: pipeline.scaled_intensity(image, box=4),
    "watershed(image)": lambda image: pipeline.watershed(BINARY, image, min_distance=2),
    "density_by_region(image)": lambda image: pipeline.density_by_region(image, MASK),
    "pca": lambda image: embeddings.pca(image, image.dims[0], as_rgb=False),
    "project": stacked,
    "stack": lambda image: XarrayImageStack(image).extract_patch(0, [0], (0, 0), (4, 4)),
    "overlay(image)": lambda image: drawn(image.labels.plot.overlay(MASK)),
    "harpy(image)": lambda image: RasterAggregator(
        volume(MASK, 1), volume(image, 2), run_on_gpu=False
    ).aggregate_mean(),
}
BINARIES: dict[str, Callable[[xr.DataArray], Any]] = {
    "connected_components": pipeline.connected_components,
    "watershed": lambda binary: pipeline.watershed(binary, min_distance=2),
    "voronoi": lambda binary: pipeline.voronoi(binary, CENTROIDS),
}
MASKS: dict[str, Callable[[xr.DataArray], Any]] = {
    "centroids": pipeline.centroids,
    "count": pipeline.count,
    "count_by_size": lambda mask: pipeline.count_by_size(mask, size_threshold=10, volume_weight=0.1),
    "count_map": lambda mask: pipeline.count_map(mask, 4),
    "density_by_region": lambda mask: pipeline.density_by_region(mask, MASK),
    "density_by_region(atlas)": lambda mask: pipeline.density_by_region(CENTROIDS, mask),
    "measurement": lambda mask: drawn(mask.labels.plot.measurement(VALUES)),
    "overlay": lambda mask: drawn(IMAGE.labels.plot.overlay(mask)),
    "gallery": lambda mask: drawn(IMAGE.instances.windows(mask, 5).sortby("label").instances.plot.gallery()),
    "harpy": lambda mask: Featurizer(volume(mask, 1), run_on_gpu=False).radii_and_principal_axes(diameter=9)[0],
}
GIVEN = {
    **{name: (IMAGE, call) for name, call in IMAGES.items()},
    **{name: (BINARY, call) for name, call in BINARIES.items()},
    **{name: (MASK, call) for name, call in MASKS.items()},
}


def numbers(result: Any) -> np.ndarray:
    """All numbers of a result."""
    if isinstance(result, pd.DataFrame):
        result = result.select_dtypes("number").to_numpy()
    return np.asarray(result, float)


@cache
def expected(name: str) -> np.ndarray:
    """The numbers that a call gives for the array as it is."""
    array, call = GIVEN[name]
    return numbers(call(array))


@pytest.mark.parametrize("layout", [*sorted(LAYOUTS), "read-only", "dask", "dask, byte order"])
def test_any_layout_gives_the_same_and_is_left_as_it_was(layout: str) -> None:
    for name, (array, call) in GIVEN.items():
        values = LAYOUTS.get(layout.removeprefix("dask, "), np.array)(array.values)
        values.flags.writeable = False
        given = array.copy(data=values)
        given = given.chunk(CHUNKS) if layout.startswith("dask") else given
        before = state(given)
        found = call(given)
        np.testing.assert_allclose(numbers(found), expected(name), rtol=1e-9, atol=1e-9, err_msg=name)
        assert state(given) == before, name
        if isinstance(found, xr.DataArray):
            assert not np.shares_memory(found.values, given.values), name


def unknown(array: xr.DataArray, dim: str) -> xr.DataArray:
    keep = da.from_array(np.ones(array.sizes[dim], bool), chunks=5)
    return xr.DataArray(da.compress(keep, array.data, axis=array.get_axis_num(dim)), dims=array.dims)


@pytest.mark.parametrize("dim", ["y", "x"])
def test_unknown_chunks_are_named(dim: str) -> None:
    for name, (array, call) in GIVEN.items():
        if name == "project":  # is told the shape
            continue
        message = complaint(name, lambda a=array, c=call: c(unknown(a, dim)))
        assert re.search(r"chunks.* unknown sizes.* compute them first: .*compute_chunk_sizes", message), name


def test_unknown_chunks_of_a_bare_embedding_are_named() -> None:
    embedding = unknown(xr.DataArray(np.ones((4, 12, 14)), dims=("c", "y", "x")), "y").data
    with pytest.raises(ValueError, match=r"unknown sizes; compute them first: \.compute_chunk_sizes"):
        embeddings.project(embedding, (12, 14))


def complaint(name: str, call: Callable[[], Any]) -> str:
    """What a call says that cannot be done."""
    try:
        call()
    except (TypeError, ValueError) as error:
        return str(error)
    pytest.fail(f"{name} says nothing")


WRONG = {
    "float": (lambda a: a * 1.0, {**BINARIES, **MASKS}, "not float64"),
    "object": (lambda a: a.astype(object), {**IMAGES, **BINARIES, **MASKS}, "object"),
    "complex": (lambda a: a.astype(complex), {**IMAGES, **BINARIES, **MASKS}, "complex128"),
    "dates": (lambda a: a.astype("M8[ns]"), {**IMAGES, **BINARIES, **MASKS}, "datetime64"),
    "a number": (lambda a: a[0, 0], {**IMAGES, **BINARIES, **MASKS}, r"dims?|axes|shape is"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_image_or_mask_is_named(case: str) -> None:
    change, calls, says = WRONG[case]
    for name, call in calls.items():
        # Images of counts are floats, and a single number has no dim to name.
        if (case, name) not in {("float", "density_by_region"), ("a number", "pca")}:
            message = complaint(name, lambda n=name, c=call: c(change(GIVEN[n][0])))
            assert re.search(says, message), f"{name}: {message}"


@pytest.mark.parametrize("dim", ["y", "x"])
@pytest.mark.parametrize("chunk", [None, -1])
def test_no_pixels_are_no_obstacle_or_said_so(dim: str, chunk: int | None) -> None:
    for name, (array, call) in GIVEN.items():
        none = array.isel({dim: slice(0)})
        try:
            found = call(none if chunk is None else none.chunk(chunk))
        except ValueError as error:
            message = str(error)
        else:
            if isinstance(found, xr.DataArray):
                found.compute()
            continue
        said = (
            "no pixels",
            "differ in",
            "is 0 pixels",
            "and the atlas 0",
            "0 features",
            "empty",
            "not (0, 14)",
            "not (12, 0)",
            "patch",
        )
        assert any(text in message for text in said), f"{name}: {message}"


def test_dims_whose_names_are_no_strings() -> None:
    for call in (IMAGES["scaled_intensity"], IMAGES["gaussian"], BINARIES["connected_components"]):
        named = BINARY if call is BINARIES["connected_components"] else IMAGE
        for chunk in (None, 5):
            given = xr.DataArray(named.values, dims=(0, 1))
            found = call(given if chunk is None else given.chunk(chunk))
            np.testing.assert_allclose(found, call(named), rtol=1e-9)
