"""The nearest seed of every pixel against all distances."""

from __future__ import annotations

from importlib import import_module

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from xlabelstats.pipeline import centroids, voronoi
from xlabelstats.pipeline.points import points_table


def by_brute_force(binary: xr.DataArray, table: pd.DataFrame) -> np.ndarray:
    """All distances; the lowest id among those that are equal but for rounding."""
    table = table.sort_values("id")
    grid = np.meshgrid(*(binary[dim].values for dim in binary.dims), indexing="ij")
    pixels = np.stack([axis.ravel() for axis in grid], axis=-1)
    distance = cdist(pixels, table[list(binary.dims)])
    near = distance <= distance.min(axis=1, keepdims=True) * (1 + 1e-9)
    ids = table["id"].to_numpy()[near.argmax(axis=1)].reshape(binary.shape)
    return np.where(binary != 0, ids, 0)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_equals_brute_force_for_every_chunking_spacing_and_order_of_axes(data) -> None:
    shape = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    dims = "zyx"[: len(shape)]
    spacing = data.draw(st.lists(st.sampled_from([1.0, 0.1, 2.5, -1.0]), min_size=len(dims), max_size=len(dims)))
    coords = {dim: 3 + by * np.arange(size) for dim, size, by in zip(dims, shape, spacing, strict=True)}
    binary = xr.DataArray(rng.random(shape) < 0.7, dims=list(dims), coords=coords)
    n = data.draw(st.integers(1, 6))
    # Whole and half pixels, so that there are ties, and seeds at one place.
    pixels = rng.integers(0, 2 * np.array(shape) - 1, (n, len(shape))) / 2
    table = points_table(rng.permutation(n) + 1, pixels, binary, {})
    expected = by_brute_force(binary, table)
    np.testing.assert_array_equal(voronoi(binary, table), expected)
    turned = binary.transpose(*dims[::-1]).chunk(data.draw(st.integers(1, 5)))
    np.testing.assert_array_equal(voronoi(turned, table).compute(scheduler="synchronous"), expected.T)


def test_real_nuclei_grow_over_their_foreground(nuclei3d) -> None:
    instances = nuclei3d[1].assign_coords(
        z=np.arange(nuclei3d[1].sizes["z"]) * 2.0, y=np.arange(61.0), x=np.arange(57.0)
    )
    binary = (instances > 0).astype(np.uint8)
    found = voronoi(binary.chunk(20), centroids(instances))
    np.testing.assert_array_equal(found, by_brute_force(binary, centroids(instances)))
    assert float((found == instances).where(instances > 0).mean()) > 0.9


def test_spacing_decides_which_is_nearest() -> None:
    binary = np.ones((5, 5), bool)
    seeds = np.array([[2.0, 0.0], [0.0, 2.0]])
    square = xr.DataArray(binary, dims=("y", "x"))
    tall = square.assign_coords(y=np.arange(5) * 10.0, x=np.arange(5.0))
    assert voronoi(square, points_table(np.array([1, 2]), seeds, square, {}))[1, 2] == 2
    assert voronoi(tall, points_table(np.array([1, 2]), seeds, tall, {}))[1, 2] == 2
    assert voronoi(square, points_table(np.array([1, 2]), seeds, square, {}))[1, 4] == 2
    assert voronoi(tall, points_table(np.array([1, 2]), seeds, tall, {}))[2, 4] == 1


def test_many_pixels_are_looked_up_in_batches(monkeypatch) -> None:
    binary = xr.DataArray(np.random.default_rng(0).random((20, 20)) < 0.5, dims=("y", "x"))
    table = points_table(np.array([3, 5]), np.array([[2.0, 3.0], [15.0, 11.0]]), binary, {})
    whole = voronoi(binary, table)
    monkeypatch.setattr(import_module("xlabelstats.pipeline.voronoi"), "BATCH", 7)
    np.testing.assert_array_equal(voronoi(binary, table), whole)


def test_kind_names_coords_and_chunks_are_kept() -> None:
    binary = np.ones((4, 6), np.uint8)
    table = centroids(np.eye(4, 6, dtype=int))
    assert isinstance(voronoi(binary, table), np.ndarray)
    lazy = voronoi(da.from_array(binary, chunks=(4, (1, 0, 5))), table)
    assert (lazy.chunks, lazy.dtype) == (((4,), (5, 1)), np.int32)
    named = xr.DataArray(binary, dims=("y", "x"), coords={"seen": ("x", list("abcdef"))})
    found = voronoi(named, table)
    assert found.name == "instances"
    xr.testing.assert_identical(found.seen, named.seen)


@pytest.mark.parametrize(("last", "dtype"), [(2**31 - 1, np.int32), (2**31, np.int64)])
def test_ids_that_need_it_are_int64(last, dtype) -> None:
    binary = np.ones(5, np.uint8)
    table = centroids(np.array([1, 0, 0, 0, last]))
    for array in (binary, da.from_array(binary, chunks=2)):
        found = voronoi(array, table)
        assert found.dtype == np.asarray(found).dtype == dtype
        assert np.asarray(found).tolist() == [1, 1, 1, last, last]


def test_without_seeds_all_is_background() -> None:
    table = centroids(np.zeros((3, 4), int))
    for array in (np.ones((3, 4), bool), da.ones((3, 4), dtype=bool, chunks=2)):
        np.testing.assert_array_equal(voronoi(array, table), np.zeros((3, 4), np.int32))


def test_integers_other_than_0_are_foreground() -> None:
    assert voronoi(np.array([0, -3, 7]), centroids(np.array([4, 0, 0]))).tolist() == [0, 4, 4]


def test_an_image_without_pixels_stays_one() -> None:
    table = centroids(np.array([[1, 0]]))
    assert voronoi(np.empty((0, 3), bool), table).shape == (0, 3)
    assert voronoi(da.empty((0, 3), dtype=bool, chunks=2), table).compute().shape == (0, 3)


def test_what_is_wrong_is_said() -> None:
    binary = xr.DataArray(np.ones((3, 4), bool), dims=("y", "x"))
    table = centroids(np.array([[1, 0, 0, 2]] * 3))
    for given_, seeds, error, message in (
        (binary.astype(float), table, TypeError, "holds integers or bool, not float64"),
        (
            binary.rename(y="z"),
            table,
            ValueError,
            r"points in \['y', 'x'\], and the binary image the dims \['z', 'x'\]",
        ),
        (binary.assign_coords(x=[0.0, 1, 2, 3]), table, ValueError, "along 'x' the table has positions in 'pixel'"),
        (binary, table.assign(id=[0, 1]), ValueError, "at least 1"),
        (binary, table.assign(id=[2, 2]), ValueError, "2 is given more than once"),
        (binary, table.assign(id=[1.5, 2]), TypeError, "whole numbers, not float64"),
        (binary, table.assign(y=[np.nan, 2]), ValueError, "seed 1 has a position that is not finite"),
        (binary, table.drop(columns="x"), ValueError, "a table of points has"),
        (binary, [1], TypeError, "pandas.DataFrame, not list"),
        (binary.expand_dims("c"), table, ValueError, "not in space"),
    ):
        with pytest.raises(error, match=message):
            voronoi(given_, seeds)


def test_seeds_of_another_grid_are_refused() -> None:
    table = centroids(np.eye(4, dtype=np.int32) * np.arange(1, 5))
    with pytest.raises(ValueError, match="has 2 pixels and no coordinates, and the table is of an image of 4 pixels"):
        voronoi(np.ones((2, 2), np.uint8), table)
    crop = xr.DataArray(
        np.eye(4, dtype=np.int32), dims=("y", "x"), coords={"x": ("x", [100, 101, 102, 103], {"units": "pixel"})}
    )
    with pytest.raises(ValueError, match="or has coordinates"):
        voronoi(np.ones((4, 4), np.uint8), centroids(crop))
