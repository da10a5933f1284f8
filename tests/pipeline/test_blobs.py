"""Blobs against scikit-image on the whole array, for every chunking."""

from __future__ import annotations

import itertools
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist
from skimage import data as pictures
from skimage.feature import blob_dog
from skimage.feature.blob import _blob_overlap

from xlabelstats.pipeline import blobs
from xlabelstats.pipeline.blobs import prune


def as_set(table: pd.DataFrame) -> set[tuple[float, ...]]:
    pixels = [name for name in table if str(name).endswith("_pixel")]
    return {tuple(row) for row in table[[*pixels, "sigma"]].to_numpy().round(4).tolist()}


def of_skimage(image: np.ndarray, **options: Any) -> set[tuple[float, ...]]:
    image = image.astype(np.float64 if image.dtype == np.float64 else np.float32)
    return {tuple(row) for row in blob_dog(image, exclude_border=False, **options).astype(float).round(4).tolist()}


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_all_that_scikit_image_finds_are_found_once_for_every_chunking(data) -> None:
    shape = data.draw(st.lists(st.integers(3, 24), min_size=2, max_size=3))
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    dtype = data.draw(st.sampled_from(["u1", "u2", "f4", "f8"]))
    image = ndimage.gaussian_filter(rng.random(shape), data.draw(st.sampled_from([0, 1])))
    image = (image / image.max() * 250).astype(dtype)
    options = {
        "threshold": data.draw(st.sampled_from([0.5, 5.0, 20.0])),
        "min_sigma": data.draw(st.sampled_from([0.7, 1, 1.5])),
        "max_sigma": data.draw(st.sampled_from([1.6, 3, 4.5])),
        "sigma_ratio": data.draw(st.sampled_from([1.3, 1.6])),
        # More than all is never shared, so that none is left out.
        "overlap": 1.0,
    }
    expected = of_skimage(image, **options)
    chunks = tuple(data.draw(st.integers(1, size)) for size in shape)
    with_dask = blobs(da.from_array(image, chunks=chunks), **options)
    assert as_set(with_dask) == expected
    assert len(with_dask) == len(expected)
    pd.testing.assert_frame_equal(blobs(image, **options), with_dask)


@pytest.mark.parametrize("size", [1, 2, 5, 11])
def test_the_furthest_pixel_that_has_weight_counts(size) -> None:
    # Sparse spikes of very different heights, so that the tails of the Gaussians decide where maxima are.
    rng = np.random.default_rng(0)
    image = np.where(rng.random((40, 90)) < 0.02, 10.0 ** rng.uniform(0, 9, (40, 90)), 0)
    options = {"threshold": 1e-6, "min_sigma": 1, "max_sigma": 1.5, "overlap": 1.0}
    expected = of_skimage(image, **options)
    assert len(expected) > 40
    assert as_set(blobs(da.from_array(image, chunks=(40, size)), **options)) == expected


@pytest.mark.parametrize("chunks", [(512, 512), (100, 77), (17, 512)])
def test_real_nuclei_are_those_of_scikit_image(nuclei2d, chunks) -> None:
    image = nuclei2d[0].values
    options = {"threshold": 5.0, "max_sigma": 10}
    assert as_set(blobs(da.from_array(image, chunks=chunks), **options)) == of_skimage(image, **options)


def in_a_row(image: np.ndarray, **options: Any) -> set[tuple[float, ...]]:
    """Blobs of which three or more overlap in a row, where scikit-image leaves it to chance which stay."""
    found = sorted(of_skimage(image, **options | {"overlap": 1.0}))
    at = np.array(found)
    near = np.argwhere(np.triu(cdist(at[:, :-1], at[:, :-1]) < 2 * at[:, -1].max() * np.sqrt(image.ndim), 1))
    pairs = [pair for pair in near if _blob_overlap(*at[pair]) > options.get("overlap", 0.5)]
    i, j = np.array(pairs).reshape(-1, 2).T
    _, row = connected_components(coo_array((np.ones(i.size), (i, j)), shape=(len(found), len(found))))
    return {blob for blob, size in zip(found, np.bincount(row)[row], strict=True) if size > 2}


@pytest.mark.parametrize("chunks", [(31, 61, 57), (10, 61, 20), (5, 30, 30)])
@pytest.mark.parametrize("threshold", [5.0, 20.0])
def test_real_nuclei_in_three_dims_are_those_of_scikit_image_but_for_rows(nuclei3d, threshold, chunks) -> None:
    image = nuclei3d[0].values
    options = {"threshold": threshold, "max_sigma": 5}
    found, expected = as_set(blobs(da.from_array(image, chunks=chunks), **options)), of_skimage(image, **options)
    rows = in_a_row(image, **options)
    assert found - rows == expected - rows
    assert len(found - rows) > 0.7 * len(found)
    assert len(found ^ expected) <= 2


def test_coins_are_those_of_scikit_image() -> None:
    options = {"threshold": 10.0, "min_sigma": 5, "max_sigma": 30}
    expected = of_skimage(pictures.coins(), **options)
    assert len(expected) > 20
    assert as_set(blobs(pictures.coins(), **options)) == expected


def by_one_after_the_other(at: np.ndarray, sigma: np.ndarray, height: np.ndarray, limit: float) -> list[int]:
    """The largest first, and of one size the fainter first, each against all that stay."""
    stay: list[int] = []
    for i in sorted(range(len(sigma)), key=lambda i: (-sigma[i], height[i])):
        mine = np.array([*at[i], sigma[i]])
        if all(_blob_overlap(np.array([*at[j], sigma[j]]), mine) <= limit for j in stay):
            stay.append(i)
    return sorted(stay)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_overlaps_are_measured_as_scikit_image_does_and_the_largest_stay(data) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    n, ndim = data.draw(st.integers(0, 30)), data.draw(st.sampled_from([2, 3]))
    place = np.array(list(itertools.product(range(8), repeat=ndim)))
    at = rng.permutation(place)[:n]
    sigma = 1.6 ** rng.integers(0, 4, n)
    height = rng.permutation(n).astype(float)
    limit = data.draw(st.sampled_from([0.1, 0.5, 0.9]))
    assert prune(at, sigma, height, limit).tolist() == by_one_after_the_other(at, sigma, height, limit)


def test_the_table_says_where_blobs_are() -> None:
    image = xr.DataArray(
        np.zeros((20, 30)),
        dims=("y", "x"),
        coords={"y": ("y", np.arange(20) * 2.0, {"units": "um"}), "x": ("x", 100 - np.arange(30), {"units": "um"})},
    )
    image[5, 20] = image[14, 9] = image[5, 10] = 100
    table = blobs(image.chunk(8), threshold=10, max_sigma=3)
    assert list(table)[:6] == ["id", "y", "x", "y_pixel", "x_pixel", "sigma"]
    assert table[["id", "y", "x"]].values.tolist() == [[1, 10, 90], [2, 10, 80], [3, 28, 91]]
    assert table[["y_units", "x_units"]].values.tolist() == [["um", "um"]] * 3
    assert table[["y_size", "x_size"]].values.tolist() == [[20, 30]] * 3


def test_an_image_without_blobs_gives_an_empty_table() -> None:
    for image in (np.zeros((9, 9)), da.zeros((9, 9), chunks=4), np.empty((0, 5)), da.empty((0, 5), chunks=3)):
        table = blobs(image, threshold=1)
        assert len(table) == 0
        assert list(table) == ["id", "y", "x", "y_pixel", "x_pixel", "sigma", "y_size", "x_size", "y_units", "x_units"]


def test_the_input_is_not_changed() -> None:
    image = np.random.default_rng(0).random((30, 30), np.float32)
    before = image.copy()
    blobs(image, threshold=0.01, max_sigma=3)
    np.testing.assert_array_equal(image, before)


def test_what_is_wrong_is_said() -> None:
    image = np.ones((9, 9))
    for options, error, message in (
        ({"threshold": 0}, ValueError, "threshold is positive"),
        ({"threshold": "1"}, TypeError, "threshold is a number"),
        ({"threshold": 1, "min_sigma": 0}, ValueError, "min_sigma is positive"),
        ({"threshold": 1, "max_sigma": 0.5}, ValueError, "max_sigma is at least min_sigma"),
        ({"threshold": 1, "sigma_ratio": 1}, ValueError, "sigma_ratio is above 1"),
        ({"threshold": 1, "overlap": 2}, ValueError, "between 0 and 1"),
    ):
        with pytest.raises(error, match=message):
            blobs(image, **options)
    with pytest.raises(ValueError, match="two or three dims"):
        blobs(np.ones(9), threshold=1)
    with pytest.raises(ValueError, match="the dim 'c', which is not in space"):
        blobs(np.ones((1, 9, 9, 9)), threshold=1)
    image[3, 3] = np.nan
    for array in (image, da.from_array(image, chunks=4)):
        with pytest.raises(ValueError, match=r"NaN or infinite.*fillna"):
            blobs(array, threshold=1)
