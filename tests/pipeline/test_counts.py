"""Cells per object by a loop over objects, cells per box by numpy on the whole array."""

from __future__ import annotations

import itertools
import json

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st

from xlabelstats.pipeline.boxes import count_map, scaled_intensity
from xlabelstats.pipeline.centroids import centroids
from xlabelstats.pipeline.counts import count, count_by_size


def by_loop(mask, size_threshold, volume_weight, min_size, border):
    """The cells of every object that is not dropped."""
    a, b, d = border
    cells = {}
    for label in np.unique(mask[mask != 0]):
        pixels = np.argwhere(mask == label)
        if len(pixels) <= min_size:
            continue
        one = 1.0
        if any(0 in pixels[:, axis] or size - 1 in pixels[:, axis] for axis, size in enumerate(mask.shape)):
            for centre, size in zip(pixels.mean(axis=0), mask.shape, strict=True):
                distance = min(centre + 0.5, size - 0.5 - centre)
                one *= 1 / min(max(a + b * distance, 1), d)
        cells[int(label)] = one + max(len(pixels) - size_threshold, 0) * volume_weight
    return cells


class TestCount:
    def test_every_object_is_one_cell(self):
        mask = blobs((20, 20), 6)
        found = count(mask)
        assert found["cells"].dtype == np.float64
        assert found["cells"].tolist() == [1.0] * (len(np.unique(mask)) - 1)

    def test_counting_again_replaces_the_cells_and_changes_no_input(self):
        table = centroids(blobs((20, 20), 6)).assign(cells=7.0)
        before = table.copy()
        assert set(count(table)["cells"]) == {1.0}
        assert list(count(table)) == list(table)
        count_by_size(table, size_threshold=5, volume_weight=0.1, min_size=3)
        pd.testing.assert_frame_equal(table, before)


class TestCountBySize:
    @given(st.data())
    @settings(max_examples=60, deadline=None)
    def test_as_a_loop_over_objects_counts(self, data):
        shape = data.draw(st.lists(st.integers(2, 12), min_size=2, max_size=3))
        mask = blobs(tuple(shape), 9, seed=data.draw(st.integers(0, 1000)))
        options = {
            "size_threshold": data.draw(st.integers(0, 10)),
            "volume_weight": data.draw(st.floats(0, 2)),
            "min_size": data.draw(st.integers(0, 6)),
            "border": (data.draw(st.floats(-1, 4)), data.draw(st.floats(-1, 1)), data.draw(st.floats(1, 3))),
        }
        expected = by_loop(mask, **options)
        chunks = data.draw(st.integers(1, 12))
        for objects in (mask, da.from_array(mask, chunks=chunks), centroids(mask)):
            found = count_by_size(objects, **options)
            assert found["id"].tolist() == list(expected)
            np.testing.assert_allclose(found["cells"], list(expected.values()), rtol=1e-12)

    def test_the_border_unless_given_is_that_of_the_text(self, nuclei3d):
        mask = nuclei3d[1]
        found = count_by_size(mask, size_threshold=300, volume_weight=0.005)
        expected = by_loop(mask.values, 300, 0.005, 0, (3, -0.5, 2))
        np.testing.assert_allclose(found["cells"], list(expected.values()))
        assert found["cells"].min() < 1 < found["cells"].max()

    def test_the_threshold_itself_is_one_cell(self):
        mask = np.zeros((9, 9), int)
        mask[2:4, 2:4], mask[5:7, 2:5] = 1, 2
        assert count_by_size(mask, size_threshold=4, volume_weight=0.25)["cells"].tolist() == [1.0, 1.5]

    def test_the_distance_counts_from_the_outer_face(self):
        mask = np.zeros((9, 9), int)
        mask[0, 4] = 1
        found = count_by_size(mask, size_threshold=4, volume_weight=0, border=(1.5, 1.0, 10.0))
        assert found["cells"].item() == pytest.approx(1 / (1.5 + 0.5) / (1.5 + 4.5))

    def test_spacing_does_not_matter(self):
        mask = xr.DataArray(blobs((20, 20), 9), dims=("y", "x"))
        spaced = mask.assign_coords(y=np.arange(20) * 0.2, x=np.arange(20) * 7.0)
        options = {"size_threshold": 6, "volume_weight": 0.1}
        np.testing.assert_array_equal(
            count_by_size(mask, **options)["cells"], count_by_size(spaced, **options)["cells"]
        )

    def test_complaints(self):
        table = centroids(blobs((9, 9), 3))
        with pytest.raises(ValueError, match=r"no column 'touches_border', .* centroids\(instances\)"):
            count_by_size(table.drop(columns="touches_border"), size_threshold=1, volume_weight=1)
        with pytest.raises(ValueError, match=r"d of border=.* is at least 1, not 0\.5"):
            count_by_size(table, size_threshold=1, volume_weight=1, border=(3, -0.5, 0.5))
        with pytest.raises(ValueError, match="border is three numbers"):
            count_by_size(table, size_threshold=1, volume_weight=1, border=(3, -0.5))
        with pytest.raises(TypeError, match=r"a of border=.* is a number, not 'a'"):
            count_by_size(table, size_threshold=1, volume_weight=1, border="abc")
        with pytest.raises(ValueError, match="volume_weight is finite, not nan"):
            count_by_size(table, size_threshold=1, volume_weight=np.nan)
        with pytest.raises(ValueError, match="size_threshold is 0 or more, not -1"):
            count_by_size(table, size_threshold=-1, volume_weight=1)
        with pytest.raises(ValueError, match="a table of points has 'id'"):
            count(pd.DataFrame({"a": [1]}))
        with pytest.raises(ValueError, match=r"does not say how large the image is.*table\.assign\(x_size=\.\.\.\)"):
            count_by_size(table.drop(columns="x_size"), size_threshold=1, volume_weight=1)


def edges_of(size: int, box: int) -> np.ndarray:
    """The faces of the boxes along an axis, in pixels."""
    return np.append(np.arange(0, size, box), size) - 0.5


class TestCountMap:
    @given(st.data())
    @settings(max_examples=60, deadline=None)
    def test_as_numpy_makes_a_histogram_of_the_centroids(self, data):
        shape = data.draw(st.lists(st.integers(1, 8), min_size=1, max_size=3))
        box = [data.draw(st.integers(1, 10)) for _ in shape]
        mask = blobs(tuple(shape), 9, seed=data.draw(st.integers(0, 1000)))
        table = centroids(mask)
        axes = "zyx"[-mask.ndim :]
        table["cells"] = np.arange(len(table)) * 0.5
        expected, _ = np.histogramdd(
            table[[f"{axis}_pixel" for axis in axes]].to_numpy(),
            [edges_of(*along) for along in zip(shape, box, strict=True)],
            weights=table["cells"],
        )
        found = count_map(table, dict(zip(axes, box, strict=True)))
        assert (found.dims, found.dtype, found.name) == (tuple(axes), np.float64, "cells")
        np.testing.assert_allclose(found, expected)
        lazy = da.from_array(mask, chunks=data.draw(st.integers(1, 6)))
        np.testing.assert_array_equal(count_map(lazy, 2), count_map(mask, 2))
        assert count_map(mask, 2).sum() == len(table)

    def test_the_coordinates_are_the_middles_of_the_boxes(self):
        y, x = 100 - 0.3 * np.arange(7), 5 + 2.0 * np.arange(8)
        mask = xr.DataArray(blobs((7, 8), 5), dims=("y", "x"), coords={"y": y, "x": ("x", x, {"units": "um"})})
        found = count_map(mask, {"y": 3})
        np.testing.assert_allclose(found["y"], [y[:3].mean(), y[3:6].mean(), y[6]])
        np.testing.assert_allclose(found["x"], [x.mean()])
        assert (found["y"].attrs, found["x"].attrs) == ({}, {"units": "um"})
        assert {name: found.attrs[name] for name in ("box", "shape")} == {
            "box": {"y": 3, "x": 8},
            "shape": {"y": 7, "x": 8},
        }
        json.dumps(found.attrs)

    def test_without_coordinates_they_are_pixels(self):
        found = count_map(blobs((5, 8), 5), 2)
        assert found["y"].values.tolist() == [0.5, 2.5, 4.0]
        assert found["y"].attrs == {"units": "pixel"}

    def test_a_centroid_on_a_face_belongs_to_the_later_box(self):
        assert count_map(np.array([0, 0, 0, 1, 1, 0, 0, 0]), 4).values.tolist() == [0, 1]
        assert count_map(np.array([0, 0, 0, 0, 1, 1, 0, 0, 0, 0]), 5).values.tolist() == [0, 1]

    def test_without_a_box_each_chunk_is_one(self):
        mask = blobs((9, 14), 9)
        lazy = da.from_array(mask, chunks=(4, 7))
        expected = count_map(mask, {"y": 4, "x": 7})
        xr.testing.assert_identical(count_map(lazy), expected)
        xr.testing.assert_identical(count_map(centroids(mask), like=lazy), expected)
        assert count_map(mask).values.tolist() == [[len(np.unique(mask)) - 1]]

    def test_chunks_of_several_sizes_are_no_boxes(self):
        lazy = da.from_array(blobs((9, 9), 3), chunks=((2, 5, 2), 9))
        with pytest.raises(ValueError, match=r"along 'y' differ in size, \(2, 5, 2\).*such as \{'y': 5\}"):
            count_map(lazy)
        with pytest.raises(ValueError, match=r"a table has no chunks to count in.*like=mask"):
            count_map(centroids(blobs((9, 9), 3)))

    def test_complaints(self):
        mask = blobs((9, 9), 3)
        for box in (0, 2.5, {"x": 0}):
            with pytest.raises(ValueError, match="a box is a whole number of pixels, at least 1"):
                count_map(mask, box)
        with pytest.raises(ValueError, match=r"box is given for 'z', but the dims in space are \('y', 'x'\)"):
            count_map(mask, {"z": 3})
        with pytest.raises(TypeError, match="box is a number, or a mapping"):
            count_map(mask, "3")
        uneven = xr.DataArray(mask, dims=("y", "x"), coords={"x": np.arange(9) ** 2})
        with pytest.raises(ValueError, match=r"along 'x' are not evenly spaced.*drop_vars\('x'\)"):
            count_map(uneven, 3)
        table = centroids(mask)
        with pytest.raises(ValueError, match=r"a point at pixel \[.*, beyond the volume of shape \(9, 9\)"):
            count_map(table.assign(x_pixel=9.0), 3)
        with pytest.raises(ValueError, match="'cells' holds finite numbers, not"):
            count_map(table.assign(cells=np.nan), 3)
        with pytest.raises(ValueError, match="does not say how large the image is"):
            count_map(table.drop(columns="y_size"), 3)
        with pytest.raises(ValueError, match=r"points in \['y', 'x'\], and like the dims \['x'\]"):
            count_map(table, 3, like=mask[0])


def sums_by_loop(image: np.ndarray, minimum: float, box: list[int]) -> np.ndarray:
    """Sums of the boxes over all axes of an image."""
    bright = np.where(image > minimum, image, 0).astype(np.float64)
    grid = [range(0, size, by) for size, by in zip(image.shape, box, strict=True)]
    sums = [
        bright[tuple(slice(first, first + by) for first, by in zip(corner, box, strict=True))].sum()
        for corner in itertools.product(*grid)
    ]
    return np.reshape(sums, [len(along) for along in grid])


class TestScaledIntensity:
    @given(st.data())
    @settings(max_examples=60, deadline=None)
    def test_as_numpy_sums_the_boxes_for_every_chunking(self, data):
        shape = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
        box = [data.draw(st.integers(1, 10)) for _ in shape]
        dtype = data.draw(st.sampled_from([np.uint8, np.int16, np.float32, np.float64]))
        image = np.random.default_rng(data.draw(st.integers(0, 1000))).normal(50, 30, shape).astype(dtype)
        minimum = float(data.draw(st.sampled_from([0.0, 40.5, *image.ravel()[:3].tolist()])))
        expected = 0.5 * sums_by_loop(image, minimum, box)
        options = {"minimum": minimum, "scale": 0.5}
        boxes = dict(zip("zyx"[-len(shape) :], box, strict=True))
        lazy = da.from_array(image, chunks=tuple(data.draw(st.integers(1, 9)) for _ in shape))
        for pixels in (image, lazy):
            found = scaled_intensity(pixels, **options, box=boxes)
            assert dask.is_dask_collection(found.data) == (pixels is lazy)
            assert found.dtype == found.compute().dtype == np.float64
            np.testing.assert_allclose(found, expected, rtol=1e-12)
            total = scaled_intensity(pixels, **options)
            assert total.dims == ()
            np.testing.assert_allclose(total, expected.sum(), rtol=1e-12)

    @pytest.mark.parametrize("lazy", [False, True])
    def test_channels_and_the_order_of_dims_are_kept(self, lazy):
        pixels = np.random.default_rng(0).random((6, 3, 7))
        image = xr.DataArray(
            pixels,
            dims=("y", "c", "x"),
            coords={"c": ["a", "b", "d"], "x": ("x", 10 + np.arange(7) / 2, {"units": "um"})},
        )
        image = image.assign_coords(far=("x", np.arange(7)))
        found = scaled_intensity(image.chunk(y=4, c=2, x=3) if lazy else image, 0.3, box=4)
        assert found.dims == ("y", "c", "x")
        assert found["c"].values.tolist() == ["a", "b", "d"]
        np.testing.assert_allclose(found["x"], [10.75, 12.5])
        assert (found["x"].attrs["units"], found["y"].attrs["units"]) == ("um", "pixel")
        assert "far" not in found.coords
        for i in range(3):
            np.testing.assert_allclose(found[:, i], sums_by_loop(pixels[:, i], 0.3, [4, 4]))
        total = scaled_intensity(image, 0.3)
        assert total.dims == ("c",)
        np.testing.assert_allclose(total, np.where(pixels > 0.3, pixels, 0).sum((0, 2)))

    def test_nan_is_left_out_and_the_minimum_itself_too(self):
        image = np.array([[np.nan, 1.0, 2.0, 3.0]])
        assert scaled_intensity(image, minimum=1.0).item() == 5.0
        assert scaled_intensity(np.array([[-3, -1, 5]]), minimum=-2).item() == 4.0

    def test_small_integers_do_not_overflow(self):
        image = np.full((20, 20), 250, np.uint8)
        assert scaled_intensity(image).item() == 100_000
        assert scaled_intensity(image, box=10).values.tolist() == [[25_000, 25_000], [25_000, 25_000]]

    def test_uneven_coordinates_are_those_in_the_middle_of_a_box(self):
        image = xr.DataArray(np.ones(5), dims="x", coords={"x": [0.0, 1.0, 4.0, 9.0, 16.0]})
        assert scaled_intensity(image, box=3)["x"].values.tolist() == [1.0, 12.5]

    def test_an_image_without_pixels_has_no_cells(self):
        assert scaled_intensity(np.zeros((0, 4))).item() == 0

    def test_the_image_is_not_changed(self):
        image = xr.DataArray(np.arange(6.0), dims="x", attrs={"a": 1})
        before = image.copy(deep=True)
        scaled_intensity(image, 3, box=2)
        xr.testing.assert_identical(image, before)

    def test_complaints(self):
        image = np.zeros((4, 4))
        with pytest.raises(TypeError, match="minimum is a number, not '1'"):
            scaled_intensity(image, minimum="1")
        with pytest.raises(ValueError, match="scale is finite, not inf"):
            scaled_intensity(image, scale=np.inf)
        with pytest.raises(TypeError, match="an image holds numbers"):
            scaled_intensity(image.astype(complex))
        with pytest.raises(ValueError, match="a box is a whole number of pixels"):
            scaled_intensity(image, box=0)
