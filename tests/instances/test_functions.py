"""Quantiles and functions of whole objects against plain numpy on the whole array."""

from __future__ import annotations

import traceback

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

Q = (0.0, 0.1, 0.25, 0.5, 0.77, 0.9, 1.0)
METHODS = ("linear", "lower", "higher", "midpoint", "nearest")


def fields() -> dict[str, np.ndarray]:
    """Masks with objects that are hard to bring whole into one block of 16 pixels."""
    spans = np.zeros((48, 64), np.int32)
    spans[:, 3:60] = 5  # crosses every block
    spans[20:24, 30:34] = 9
    crescent = np.zeros((48, 64), np.int32)
    y, x = np.indices(crescent.shape)
    ring = np.hypot(y - 24, x - 32)
    crescent[(ring < 22) & (ring > 18) & (x < 40)] = 3
    crescent[24, 32] = 8  # where the crescent's box is, not the crescent
    two_parts = np.zeros((48, 64), np.int32)
    two_parts[1:3, 1:4], two_parts[44:47, 60:63] = 4, 4
    two_parts[22:26, 30:34] = 6
    points = np.zeros((48, 64), np.int32)
    points[::7, ::5] = np.arange(1, points[::7, ::5].size + 1).reshape(points[::7, ::5].shape)
    points[0, 0], points[0, -1], points[-1, 0], points[-1, -1] = 501, 502, 503, 504
    corners = np.zeros((48, 64), np.int32)
    corners[14:18, 14:18] = 1  # crosses four
    corners[30:34, 20:23] = 2  # crosses two
    corners[0:3, 62:64], corners[46:48, 0:2] = 3, 7
    return {
        "spans": spans,
        "crescent": crescent,
        "two_parts": two_parts,
        "points": points,
        "corners": corners,
        "overlapping": blobs((48, 64), 25).astype(np.int32),
    }


def image_of(shape: tuple[int, ...], channels: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2, 400, (channels, *shape)).astype(np.uint16)


def quantiles_by_numpy(image: np.ndarray, mask: np.ndarray, label: int, q, method: str = "linear") -> np.ndarray:
    """(channel, q) of one label of an image (channel, ...)."""
    pixels = image[:, mask == label].astype(np.float64)
    return np.quantile(pixels, q, axis=1, method=method).T


def assert_is_numpy(result: xr.DataArray, image: np.ndarray, mask: np.ndarray, method: str = "linear") -> None:
    ids = np.unique(mask[mask != 0])
    np.testing.assert_array_equal(result["label"], ids)
    for row, label in zip(result.values, ids, strict=True):
        np.testing.assert_allclose(row, quantiles_by_numpy(image, mask, label, Q, method), rtol=1e-15)


class TestQuantiles:
    @pytest.mark.parametrize("chunk", [None, 100, 37])
    def test_of_the_2d_nuclei(self, nuclei2d, chunk):
        image, mask = (a.chunk(chunk) if chunk else a for a in nuclei2d)
        result = image.instances.quantiles(mask, Q)
        assert result.dims == ("label", "quantile")
        assert result.dtype == np.float64
        assert (result.chunks is None) == (chunk is None)
        for row, label in zip(result.values, result["label"].values, strict=True):
            pixels = nuclei2d[0].values[nuclei2d[1].values == label].astype(float)
            np.testing.assert_allclose(row, np.quantile(pixels, Q), rtol=1e-15)

    @pytest.mark.parametrize("chunk", [None, {"z": 9, "y": 20, "x": 25}, {"z": 4, "y": 7, "x": 57}])
    def test_of_the_3d_nuclei_with_chunked_z(self, nuclei3d, chunk):
        image, mask = (a.chunk(chunk) if chunk else a for a in nuclei3d)
        assert_is_numpy(
            image.expand_dims("c").instances.quantiles(mask, Q), nuclei3d[0].values[None], nuclei3d[1].values
        )

    @pytest.mark.parametrize("method", METHODS)
    def test_method_is_numpys(self, method):
        labels = blobs((30, 40), 12)
        pixels = image_of(labels.shape)
        image, mask = xr.DataArray(pixels, dims=("c", "y", "x")), xr.DataArray(labels, dims=("y", "x"))
        assert_is_numpy(image.instances.quantiles(mask, Q, method=method), pixels, labels, method)

    @pytest.mark.parametrize("chunk", [None, 16, 48])
    @pytest.mark.parametrize("name", list(fields()))
    def test_object_of_any_shape_is_whole(self, name, chunk):
        labels = fields()[name]
        pixels = image_of(labels.shape)
        image, mask = xr.DataArray(pixels, dims=("c", "y", "x")), xr.DataArray(labels, dims=("y", "x"))
        if chunk:
            image, mask = image.chunk(y=chunk, x=chunk, c=1), mask.chunk(chunk)
        assert_is_numpy(image.instances.quantiles(mask, Q), pixels, labels)

    def test_objects_that_cross_eight_blocks(self):
        labels = np.zeros((8, 8, 8), np.uint8)
        labels[2:6, 2:6, 2:6] = 200
        labels[0, 0, 0], labels[-1, -1, -1] = 1, 2
        pixels = image_of(labels.shape)
        image = xr.DataArray(pixels, dims=("c", "z", "y", "x")).chunk(z=4, y=4, x=4)
        assert_is_numpy(image.instances.quantiles(xr.DataArray(labels, dims=("z", "y", "x")), Q), pixels, labels)

    @settings(max_examples=60, deadline=None)
    @given(data=st.data())
    def test_chunks_dims_and_dtypes_make_no_difference(self, data):
        ndim = data.draw(st.integers(1, 3))
        shape = tuple(data.draw(st.integers(1, 9)) for _ in range(ndim))
        mask_dtype = data.draw(st.sampled_from(["u1", "i2", ">i4", "u8", "i8"]))
        dtype = data.draw(st.sampled_from(["?", "u1", "i1", "u2", ">u2", "i4", "u4", "i8", "f2", "f4", "f8"]))
        labels = data.draw(hnp.arrays(mask_dtype, shape, elements=st.integers(0, 4)))
        kind = np.dtype(dtype).kind
        low = -100 if kind in "if" else 0
        elements = st.booleans() if kind == "b" else st.integers(low, 100)
        pixels = data.draw(hnp.arrays(np.float64, (2, *shape), elements=elements)).astype(dtype)
        dims = ("z", "y", "x")[-ndim:]
        chunks = {dim: data.draw(st.integers(1, n)) for dim, n in zip(dims, shape, strict=True)}
        chunks["c"] = data.draw(st.integers(1, 2))
        mask = xr.DataArray(labels, dims=dims).transpose(*data.draw(st.permutations(dims)))
        image = xr.DataArray(pixels, dims=("c", *dims)).transpose(*data.draw(st.permutations(("c", *dims))))
        result = image.chunk(chunks).instances.quantiles(mask, Q)
        assert_is_numpy(result.transpose("label", "c", "quantile"), pixels, labels)
        xr.testing.assert_identical(result.compute(), image.instances.quantiles(mask, Q))

    @pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
    @pytest.mark.parametrize("n", [1, 2, 47, 48, 49, 3000])
    def test_few_and_many_pixels_sort_alike(self, dtype, n):
        rng = np.random.default_rng(n)
        info = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else None
        if info:
            pixels = rng.integers(info.min, info.max, n, dtype, endpoint=True)
        else:
            pixels = (rng.normal(size=n) * 10.0 ** rng.integers(-4, 4, n)).astype(dtype)
        image = xr.DataArray(pixels, dims="x")
        result = image.instances.quantiles(xr.DataArray(np.ones(n, "u1"), dims="x"), Q, method="nearest")
        expected = np.quantile(pixels.astype(np.float64), Q, method="nearest")
        np.testing.assert_array_equal(result.values[0], expected)

    def test_nan_is_left_out_or_spreads(self):
        pixels = np.array([1.0, np.nan, 3.0, np.nan, 5.0, np.inf, -np.inf, 2.0], "f4")
        mask = xr.DataArray([1, 1, 1, 2, 3, 3, 3, 4], dims="x")
        image = xr.DataArray(pixels, dims="x")
        for array in (image, image.chunk(x=3)):
            skipped = array.instances.quantiles(mask, [0, 0.5, 1])
            np.testing.assert_array_equal(skipped, [[1, 2, 3], [np.nan] * 3, [-np.inf, 5, np.inf], [2, 2, 2]])
            kept = array.instances.quantiles(mask, [0, 0.5, 1], skipna=False)
            np.testing.assert_array_equal(kept, [[np.nan] * 3, [np.nan] * 3, [-np.inf, 5, np.inf], [2, 2, 2]])

    def test_nan_of_either_sign_is_nan(self):
        pixels = np.array([np.nan, -np.nan, 1.0, -0.0, 0.0, -1.0] * 20)
        pixels[1::6] = np.copysign(np.nan, -1)
        result = xr.DataArray(pixels, dims="x").instances.quantiles(xr.ones_like(xr.DataArray(pixels, dims="x"), int))
        np.testing.assert_array_equal(result.values[0], np.nanquantile(pixels, np.arange(1, 10) / 10))

    def test_one_number_leaves_the_dim_out(self, nuclei2d):
        image, mask = nuclei2d
        result = image.instances.quantiles(mask, 0.25)
        assert result.dims == ("label",)
        xr.testing.assert_equal(result, image.instances.quantiles(mask, [0.25]).isel(quantile=0, drop=True))

    @pytest.mark.parametrize("lazy", [False, True])
    def test_of_several_numbers_one_by_one_each_keeps_its_name(self, nuclei2d, lazy):
        image, mask = (array.chunk(300) for array in nuclei2d) if lazy else nuclei2d
        numbers = {"p5": 0.05, "p7": 0.07, "p50": 0.5, "p99.9": 0.999, "p100": 1, "p33.3333333333": 1 / 3}
        merged = xr.merge([image.instances.quantiles(mask, q) for q in numbers.values()])
        assert list(merged) == list(numbers)
        assert list(merged.labels.to_dataframe()) == list(numbers)
        for name, q in numbers.items():
            xr.testing.assert_equal(merged[name], image.instances.quantiles(mask, [q]).isel(quantile=0, drop=True))
        assert merged["p50"].attrs["long_name"] == "p50 of image"
        assert image.instances.median(mask).attrs["long_name"] == "median of image"

    def test_median_is_scikit_images(self, nuclei2d):
        from skimage.measure import regionprops_table

        image, mask = nuclei2d
        expected = regionprops_table(mask.values, image.values, properties=("label", "intensity_median"))
        result = image.chunk(50).instances.median(mask)
        assert result.dims == ("label",)
        assert result.name == "median"
        np.testing.assert_array_equal(result["label"], expected["label"])
        np.testing.assert_array_equal(result, expected["intensity_median"])

    def test_labels_come_in_the_order_asked_for_and_absent_ones_are_nan(self):
        labels = blobs((30, 40), 12)
        pixels = image_of(labels.shape)
        image, mask = xr.DataArray(pixels, dims=("c", "y", "x")), xr.DataArray(labels, dims=("y", "x"))
        ids = [int(mask.labels.ids()[3]), 9999, int(mask.labels.ids()[0]), 0]
        for array in (image, image.chunk(y=9, x=11, c=1)):
            result = array.instances.quantiles(mask, Q, labels=ids)
            assert result["label"].values.tolist() == ids
            assert np.isnan(result.sel(label=9999)).all()
            for label in (ids[0], ids[2], 0):
                np.testing.assert_allclose(
                    result.sel(label=label), quantiles_by_numpy(pixels, labels, label, Q), rtol=1e-15
                )
        assert 0 in image.instances.median(mask, background=True)["label"]

    def test_other_dims_coords_and_units_are_kept(self):
        labels = blobs((20, 30), 5)
        image = xr.DataArray(
            np.random.default_rng(0).random((2, 20, 3, 30)),
            dims=("t", "y", "c", "x"),
            coords={"t": [0.5, 1.5], "c": ["DAPI", "CD3", "CD8"], "gain": ("c", [1, 2, 3])},
            name="signal",
            attrs={"units": "counts"},
        )
        mask = xr.DataArray(labels, dims=("y", "x"))
        result = image.chunk(t=1, c=2, y=7, x=8).instances.quantiles(mask, Q)
        assert result.dims == ("label", "t", "c", "quantile")
        assert result["gain"].values.tolist() == [1, 2, 3]
        assert result.attrs == {"long_name": "quantile of signal", "units": "counts"}
        np.testing.assert_allclose(
            result.sel(t=1.5, c="CD3"),
            image.sel(t=1.5, c="CD3").drop_vars(("t", "c", "gain")).instances.quantiles(mask, Q),
        )

    @pytest.mark.parametrize("lazy", [False, True])
    def test_empty_mask_gives_an_empty_result(self, lazy):
        mask, image = (
            xr.DataArray(np.zeros((4, 5), int), dims=("y", "x")),
            xr.DataArray(np.zeros((2, 4, 5), "f4"), dims=("c", "y", "x")),
        )
        if lazy:
            mask, image = mask.chunk(2), image.chunk(2)
        result = image.instances.quantiles(mask, Q)
        assert result.shape == (0, 2, len(Q))
        assert result.dtype == np.float64
        assert image.instances.quantiles(mask, Q, labels=[3]).isnull().all()

    @pytest.mark.parametrize("q", [-0.1, 1.1, [0.1, np.nan], "half", [[0.1], [0.2]], None])
    def test_q_that_is_none(self, q):
        array = xr.DataArray([1, 1], dims="x")
        with pytest.raises(ValueError, match="q is a number from 0 to 1"):
            array.instances.quantiles(array, q)

    def test_unknown_method(self):
        array = xr.DataArray([1, 1], dims="x")
        with pytest.raises(ValueError, match=r"unknown method 'weibull'; there are: linear, lower"):
            array.instances.quantiles(array, method="weibull")

    def test_mask_that_changed_since_its_scan(self, tmp_path):
        stored = zarr.create_array(tmp_path / "mask", shape=(4,), chunks=(2,), dtype="i4")
        stored[:] = [1, 1, 2, 2]
        mask = xr.DataArray(da.from_zarr(tmp_path / "mask"), dims="x")
        result = xr.DataArray(np.arange(4.0), dims="x").chunk(x=2).instances.median(mask)
        stored[1] = 2
        with pytest.raises(RuntimeError, match="mask has changed since it was scanned: label 1 had 2 pixels and has 1"):
            result.compute()

    def test_schedulers_agree_to_the_bit(self, nuclei2d):
        image, mask = (a.chunk(60) for a in nuclei2d)
        results = []
        for scheduler in ("synchronous", "threads"):
            with dask.config.set(scheduler=scheduler):
                results.append(image.instances.quantiles(mask, Q).compute())
        xr.testing.assert_identical(*results)


def spread(pixels: np.ndarray) -> np.ndarray:
    return np.stack([pixels.mean(axis=1), pixels.std(axis=1), pixels[:, 0]], axis=1)


class TestStatisticsOfPixels:
    @pytest.mark.parametrize("chunk", [None, 16, 48])
    @pytest.mark.parametrize("name", list(fields()))
    def test_function_gets_exactly_the_objects_pixels_in_order(self, name, chunk):
        labels = fields()[name]
        pixels = image_of(labels.shape, 3)
        image, mask = xr.DataArray(pixels, dims=("c", "y", "x")), xr.DataArray(labels, dims=("y", "x"))
        if chunk:
            image, mask = image.chunk(y=chunk, x=chunk, c=2), mask.chunk(chunk)
        result = image.instances.statistics(mask, spread, dims={"statistic": 3}, dtype="f8")
        assert result.dims == ("label", "c", "statistic")
        assert (result.chunks is None) == (chunk is None)
        for row, label in zip(result.values, result["label"].values, strict=True):
            np.testing.assert_array_equal(row, spread(np.ascontiguousarray(pixels[:, labels == label])))

    @pytest.mark.parametrize("chunks", [None, {"t": 2, "c": -1, "x": 2}, {"t": 1, "c": 1}])
    def test_function_gets_all_channels_in_the_images_dtype(self, chunks):
        seen = []

        def look(pixels):
            seen.append((pixels.shape, pixels.dtype, pixels.flags.c_contiguous))
            return pixels[:, :1]

        labels = np.array([[1, 1, 0, 7, 7, 7]])
        image = xr.DataArray(np.ones((4, 3, 1, 6), "f2"), dims=("t", "c", "y", "x"))
        mask = xr.DataArray(labels, dims=("y", "x"))
        array = image.chunk(chunks) if chunks else image
        array.instances.statistics(mask, look, dims={"first": 1}).compute(scheduler="synchronous")
        assert sorted(seen) == [((12, 2), np.float16, True), ((12, 3), np.float16, True)]
        seen.clear()
        image[0, 0].instances.statistics(mask, look, dims={"first": 1})
        assert seen[0][0] == (1, 2)

    def test_function_may_write_to_what_it_gets(self):
        def sort(pixels):
            pixels.sort(axis=1)
            return pixels[:, [0, -1]]

        image = xr.DataArray(np.array([[3, 1, 2, 9, 8]]), dims=("c", "x"))
        before = image.copy(deep=True)
        result = image.instances.statistics(
            xr.DataArray([1, 1, 1, 2, 2], dims="x"), sort, dims={"end": ["low", "high"]}
        )
        assert result.sel(end="high").values.tolist() == [[3], [9]]
        assert result["end"].values.tolist() == ["low", "high"]
        xr.testing.assert_identical(image, before)

    @pytest.mark.parametrize("chunk", [None, 7])
    @pytest.mark.parametrize("size", [5, {"y": 4}, {"x": 3, "y": 8}])
    @pytest.mark.filterwarnings("ignore:.*reach beyond their window")
    def test_size_cuts_the_object_to_its_window(self, size, chunk):
        labels = blobs((20, 24), 10)
        pixels = image_of(labels.shape)
        image, mask = xr.DataArray(pixels, dims=("c", "y", "x")), xr.DataArray(labels, dims=("y", "x"))
        if chunk:
            image, mask = image.chunk(y=chunk, x=chunk), mask.chunk(chunk)
        result = image.instances.statistics(
            mask, lambda p: np.stack([p.sum(axis=1), p[:, 0]], axis=1), dims={"s": 2}, size=size, dtype="f8"
        )
        for row, label in zip(result.values, result["label"].values, strict=True):
            own = labels == label
            centre = np.rint(np.argwhere(own).mean(axis=0)).astype(int)
            keep = np.zeros_like(own)
            box = [slice(None)] * 2
            for axis, dim in enumerate("yx"):
                d = size if isinstance(size, int) else size.get(dim)
                if d is not None:
                    box[axis] = slice(max(centre[axis] - d // 2, 0), max(centre[axis] - d // 2 + d, 0))
            keep[tuple(box)] = True
            own &= keep
            if own.any():
                np.testing.assert_array_equal(row, [[p[own].sum(), p[own][0]] for p in pixels])
            else:
                assert np.isnan(row).all()

    def test_object_without_a_pixel_in_its_window_is_nan(self):
        mask = xr.DataArray([1, 0, 0, 0, 0, 0, 1], dims="x")
        for array in (mask, mask.chunk(x=3)):
            with pytest.warns(UserWarning, match=r"1 of 1 objects reach beyond"):
                image_form = array.instances.statistics(array, lambda p: p[:, :1], dims={"s": 1}, size=3)
            with pytest.warns(UserWarning, match=r"1 of 1 objects reach beyond"):
                mask_form = array.instances.statistics(lambda w: w[:1], dims={"s": 1}, size=3)
            assert np.isnan(image_form).all()
            assert np.isnan(mask_form).all()
        with (
            pytest.warns(UserWarning, match="reach beyond"),
            pytest.raises(ValueError, match="label 1 has no pixel in its window, and int32 has no NaN"),
        ):
            mask.instances.statistics(mask, lambda p: p[:, :1], dims={"s": 1}, size=3, dtype="i4")

    def test_dims_may_be_several_or_none(self):
        image = xr.DataArray(np.arange(12.0).reshape(2, 6), dims=("c", "x"))
        mask = xr.DataArray([1, 1, 1, 2, 2, 2], dims="x")
        outer = image.instances.statistics(mask, lambda p: p[:, :, None] * p[:, None, :], dims={"a": 3, "b": 3})
        assert outer.dims == ("label", "c", "a", "b")
        one = image.chunk(x=4).instances.statistics(mask, lambda p: p.max(axis=1), dims={})
        assert one.dims == ("label", "c")
        assert one.values.tolist() == [[2, 8], [5, 11]]

    def test_arguments_and_dtype_are_passed_on(self):
        image = xr.DataArray(np.arange(6), dims="x")
        mask = xr.DataArray([1, 1, 1, 2, 2, 2], dims="x")
        result = image.instances.statistics(
            mask, lambda p, power: p[:, :1] ** power, dims={"s": 1}, fn_kwargs={"power": 2}, dtype="i8"
        )
        assert result.dtype == np.int64
        assert result.values.ravel().tolist() == [0, 9]

    def test_batch_size_is_the_chunk_along_label(self):
        mask = xr.DataArray(np.arange(1, 11), dims="x").chunk(x=4)
        result = mask.instances.statistics(mask, lambda p: p, dims={"s": 1}, batch_size=3)
        assert result.chunks[0] == (3, 3, 3, 1)

    def test_labels_in_any_order(self):
        mask = xr.DataArray([5, 5, 2, 3], dims="x")
        for array in (mask, mask.chunk(x=3)):
            result = array.instances.statistics(array, lambda p: p[:, :1], dims={"s": 1}, labels=[3, 77, 5])
            np.testing.assert_array_equal(result.values.ravel(), [3, np.nan, 5])
        with pytest.raises(
            ValueError, match="label 77 is absent, and int8 has no NaN for it; give 'statistics' a dtype of floating"
        ):
            mask.instances.statistics(mask, lambda p: p[:, :1], dims={"s": 1}, labels=[77], dtype="i1")

    @pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
    def test_error_in_the_function_names_the_label_and_keeps_its_traceback(self, scheduler):
        def break_on_seven(pixels):
            if pixels[0, 0] == 7:
                raise ZeroDivisionError("seven")
            return pixels[:, :1]

        mask = xr.DataArray([5, 5, 7, 7, 3, 0], dims="x")
        for array in (mask, mask.chunk(x=3)):
            with pytest.raises(ZeroDivisionError, match="seven") as caught, dask.config.set(scheduler=scheduler):
                array.instances.statistics(array, break_on_seven, dims={"s": 1}).compute()
            text = "".join(traceback.format_exception(caught.value))
            assert "raised by fn for label 7, given an array of shape (1, 2)" in text
            assert "in break_on_seven" in text

    def test_shape_that_was_not_declared(self):
        calls = []

        def count(pixels):
            calls.append(1)
            return pixels[:, :1]

        mask = xr.DataArray([5, 5, 7, 7], dims="x")
        message = r"fn returned the shape \(1, 1\) for label 5, .*dims declares \(1, 2\): a row per channel$"
        with pytest.raises(ValueError, match=message):
            mask.expand_dims("c").instances.statistics(mask, count, dims={"s": 2})
        assert len(calls) == 1

    def test_without_dims_it_is_one_number_per_channel(self):
        mask = xr.DataArray([5, 5, 7, 7], dims="x")
        image = xr.DataArray([[1, 2, 3, 4], [5, 6, 7, 8]], dims=("c", "x"))
        result = image.instances.statistics(mask, lambda pixels: pixels.max(axis=1))
        assert result.dims == ("label", "c")
        assert result.values.tolist() == [[2, 6], [4, 8]]
        assert mask.instances.statistics(np.sum).values.tolist() == [10, 14]
        means = image.to_dataset("c").assign(mask=mask).instances.statistics("mask", lambda pixels: pixels.mean(axis=1))
        assert means["statistics_1"].values.tolist() == [5.5, 7.5]

    @pytest.mark.parametrize("size", [None, 5])
    @pytest.mark.parametrize("chunk", [None, 3])
    def test_an_image_without_channels_needs_no_row_for_them(self, chunk, size):
        mask = xr.DataArray([5, 5, 7, 7], dims="x")
        image = xr.DataArray([1, 2, 3, 4], dims="x")
        image = image.chunk(x=chunk) if chunk else image
        assert image.instances.statistics(mask, np.mean, size=size).values.tolist() == [1.5, 3.5]
        ends = image.instances.statistics(mask, lambda p: (p.min(), p.max()), dims={"end": 2}, size=size)
        assert ends.values.tolist() == [[1, 2], [3, 4]]
        with pytest.raises(ValueError, match=r"returned the shape \(\) .* dims declares \(1,\): a row per channel"):
            image.expand_dims("c").instances.statistics(mask, np.mean, size=size).compute()

    def test_without_dims_what_returns_another_shape_is_told_what_to_return(self):
        mask = xr.DataArray([5, 5, 7, 7], dims="x")
        image = xr.concat([mask, mask], "c")
        rows = r"dims declares \(2,\): a row per channel of one number"
        stack = r"return \(channels, n\), as np.stack\(\[...\], axis=1\) does, and give dims={'statistic': n}$"
        with pytest.raises(ValueError, match=rf"{rows}, such as pixels.mean\(axis=1\); for n numbers {stack}"):
            image.instances.statistics(mask, lambda pixels: pixels)
        for dims, full in (({}, r"\(2,\)"), ({"s": 1}, r"\(2, 1\)")):
            ratio = rf"np.full\({full}, number\). For a ratio .*: means.sel\(c='A'\) / means.sel\(c='B'\)$"
            with pytest.raises(ValueError, match=rf"dims declares {full}: a row per channel.*{ratio}"):
                image.instances.statistics(mask, lambda pixels: pixels[0].mean() / pixels[1].mean(), dims=dims)
        for call in (mask.instances.statistics, lambda fn: mask.instances.statistics(mask, fn)):
            with pytest.raises(
                ValueError, match=r"dims declares \(\) or \(1,\) of one number; for n numbers give dims="
            ):
                call(lambda window: [1, 2])

    def test_dtype_that_cannot_hold_what_is_returned(self):
        mask = xr.DataArray([5, 5, 7, 7], dims="x")
        with pytest.raises(TypeError, match=r"fn returned float64, which int32 cannot hold; give dtype='float64'"):
            mask.instances.statistics(mask, lambda p: p / 2, dims={"s": 2}, dtype="i4")

    def test_complaints(self):
        mask = xr.DataArray([5, 5, 7, 7], dims="x")
        with pytest.raises(TypeError, match="fn is called with the pixels of every object, but str cannot be called"):
            mask.instances.statistics(mask, "mean", dims={"s": 1})
        with pytest.raises(TypeError, match="fn is missing: give a function"):
            mask.instances.statistics(mask)
        with pytest.raises(TypeError, match="dims maps the name of each dim that fn returns to its size, not 3"):
            mask.instances.statistics(mask, np.mean, dims=3)
        with pytest.raises(ValueError, match=r"dims\['s'\] is a size or a sequence of coordinates, not -1"):
            mask.instances.statistics(mask, np.mean, dims={"s": -1})
        with pytest.raises(ValueError, match="'c', a dim or coordinate of the image, is a name of the result"):
            mask.expand_dims("c").instances.statistics(mask, np.mean, dims={"c": 1})
        for form in ((mask, np.mean), (np.mean,)):
            with pytest.raises(ValueError, match="dims names 'label'"):
                mask.instances.statistics(*form, dims={"label": 1})
        with pytest.raises(ValueError, match="batch_size is a positive whole number of labels, not 0"):
            mask.instances.statistics(mask, np.mean, dims={"s": 1}, batch_size=0)
        with pytest.raises(TypeError, match="the first argument is a mask, a DataArray, or else fn"):
            mask.instances.statistics(mask.values, np.mean, dims={"s": 1})


class TestStatisticsOfWindows:
    @pytest.mark.parametrize("chunk", [None, 16])
    @pytest.mark.parametrize("name", list(fields()))
    def test_function_gets_the_bounding_box_zero_outside_the_object(self, name, chunk):
        from scipy.ndimage import find_objects

        labels = fields()[name]
        mask = xr.DataArray(labels, dims=("y", "x"))

        def weigh(window):
            weights = np.arange(window.size).reshape(window.shape) % 7
            return [window.sum(), (window * weights).sum(), *window.shape]

        result = (mask.chunk(chunk) if chunk else mask).instances.statistics(weigh, dims={"s": 4}, dtype="f8")
        boxes = find_objects(labels)
        for row, label in zip(result.values, result["label"].values, strict=True):
            window = labels[boxes[label - 1]]
            np.testing.assert_array_equal(row, weigh(np.where(window == label, window, 0)))

    def test_row_of_one_is_taken_too(self):
        mask = xr.DataArray([[1, 1, 2]], dims=("y", "x"))
        for returned in (lambda w: np.array([w.sum()]), lambda w: np.array([[w.sum()]])):
            assert mask.instances.statistics(returned, dims={"s": 1}).values.tolist() == [[2], [2]]
        with pytest.raises(ValueError, match=r"fn returned the shape \(2,\) .*dims declares \(1,\) or \(1, 1\)"):
            mask.instances.statistics(lambda w: w[0, :1].repeat(2), dims={"s": 1})

    @pytest.mark.parametrize("dtype", ["u1", ">i4", "u8", "i8"])
    def test_windows_hold_the_label_in_the_masks_dtype(self, dtype):
        top = np.iinfo(dtype).max
        mask = xr.DataArray(np.array([[3, 3, top, 0]], dtype), dims=("y", "x"))
        seen = {}

        def look(window):
            seen[int(window.max())] = window.dtype
            return window.ravel()[:1] > 0

        for size in (None, 3):
            mask.chunk(x=2).instances.statistics(look, dims={"s": 1}, size=size).compute(scheduler="synchronous")
            assert set(seen) == {3, top}
            assert set(seen.values()) == {np.dtype(dtype).newbyteorder("=")}

    def test_size_gives_the_window_of_windows(self, nuclei2d):
        mask = nuclei2d[1].astype(np.int32)
        with pytest.warns(UserWarning, match="reach beyond"):
            windows = mask.instances.windows(11)["mask"]
        with pytest.warns(UserWarning, match="reach beyond"):
            result = mask.chunk(70).instances.statistics(
                lambda w: w, dims={"y": 11, "x": 11}, size=11, dtype=mask.dtype
            )
        np.testing.assert_array_equal(result, windows)


class TestBackground:
    """Label 0 is an object like any other if it is asked for."""

    def test_is_whole_where_no_other_object_reaches(self):
        labels = 100 + np.arange(400).reshape(20, 20)
        labels[2:5, 2:15], labels[0:15, 0:2] = 0, 5
        pixels = image_of(labels.shape, 1)[0]
        mask, image = xr.DataArray(labels, dims=("y", "x")), xr.DataArray(pixels, dims=("y", "x"))
        result = image.chunk(10).instances.median(mask, background=True)
        xr.testing.assert_identical(result.compute(), image.instances.median(mask, background=True))
        assert result.sel(label=0) == np.median(pixels[labels == 0])

    def test_has_pixels_in_its_window(self):
        mask = xr.DataArray([[0, 0, 0, 3, 4]], dims=("y", "x"))
        result = mask.instances.statistics(lambda w: [w.size], dims={"s": 1}, size={"x": 3}, background=True)
        assert result.values.ravel().tolist() == [3, 3, 3]


def test_chunk_sizes_of_results_without_labels():
    mask = xr.DataArray(np.zeros((256, 256), np.uint8), dims=("y", "x")).chunk(64)
    image = xr.DataArray(np.zeros((2, 256, 256)), dims=("c", "y", "x")).chunk(64)
    assert image.instances.windows(mask, 128).compute()["image"].shape == (0, 2, 128, 128)
    assert image.instances.featurize(mask, len, size=128, n_features=3).compute().shape == (0, 3)
    assert image.instances.quantiles(mask, labels=[5]).isnull().all()


def test_ids_that_only_uint64_holds():
    ids = np.array([2**63 + 5, 2**63 + 5, 2**63 + 9, 0], np.uint64)
    mask, image = xr.DataArray(ids, dims="x"), xr.DataArray([1.0, 3.0, 7.0, 9.0], dims="x")
    for array in (image, image.chunk(x=3)):
        assert array.instances.median(mask).values.tolist() == [2, 7]
        assert array.instances.median(mask, labels=[2**63 + 9]).values.tolist() == [7]
        assert array.labels.mean(mask, labels=[2**63 + 9]).values.tolist() == [7]


def test_image_without_channels_has_no_rows():
    image = xr.DataArray(np.zeros((0, 4)), dims=("c", "x"))
    mask = xr.DataArray([1, 1, 2, 0], dims="x")
    assert image.instances.statistics(mask, lambda p: p[:, :1], dims={"s": 1}).shape == (2, 0, 1)


@pytest.mark.parametrize("size", [None, 5])
def test_function_gets_native_numbers_with_a_window_or_without(size):
    seen = []
    image = xr.DataArray(np.arange(4, dtype=">u2"), dims="x")
    image.instances.statistics(
        xr.DataArray([1, 1, 1, 1], dims="x"), lambda p: seen.append(p.dtype) or p[:, :1], dims={"s": 1}, size=size
    )
    assert seen == [np.dtype("u2")]


def test_integers_beyond_the_dtype_are_an_error_and_not_wrapped():
    mask = xr.DataArray([1, 1, 2], dims="x")
    with pytest.raises(TypeError, match="fn returned int64, which int8 cannot hold"):
        mask.instances.statistics(mask, lambda p: np.array([[300]]), dims={"s": 1}, dtype="i1")
    found = mask.instances.statistics(mask, lambda p: np.array([[25]]), dims={"s": 1}, dtype="u2")
    assert found.values.ravel().tolist() == [25, 25]


def test_ragged_return_names_the_label():
    mask = xr.DataArray([5, 5, 7], dims="x")
    with pytest.raises(ValueError, match="inhomogeneous") as caught:
        mask.instances.statistics(mask, lambda p: [[1, 2], [3]], dims={"s": 1})
    assert "label 5" in caught.value.__notes__[0]


def test_mask_of_boxes_that_changed_since_its_scan(tmp_path):
    stored = zarr.create_array(tmp_path / "mask", shape=(4, 4), chunks=(2, 2), dtype="i4")
    stored[:] = 3
    mask = xr.DataArray(da.from_zarr(tmp_path / "mask"), dims=("y", "x"))
    lazy = mask.instances.statistics(lambda w: [w.sum()], dims={"s": 1}), mask.instances.regionprops("area_filled")
    stored[0] = 0
    for result in lazy:
        with pytest.raises(RuntimeError, match="changed since it was scanned: label 3 had 16 pixels and has 12"):
            result.compute()


def test_only_the_blocks_that_objects_need_are_read():
    read = []

    def note(block, block_info=None):
        read.append(tuple(block_info[0]["chunk-location"]))
        return block

    labels = np.zeros((40, 40), np.int32)
    labels[3:6, 3:6], labels[18:23, 33:36], labels[35:38, 2:9] = 1, 2, 3
    mask = xr.DataArray(labels, dims=("y", "x")).chunk(10)
    image = xr.DataArray(
        da.from_array(image_of((40, 40), 1)[0], chunks=10).map_blocks(note, meta=np.empty((0, 0), "u2"))
    )
    image = image.rename(dim_0="y", dim_1="x")
    for call in (
        lambda: image.instances.median(mask, labels=[2]),
        lambda: image.instances.statistics(mask, lambda p: p[:, :1], dims={"s": 1}, labels=[2]),
        lambda: image.instances.windows(mask, 5, labels=[2])["image"],
    ):
        read.clear()
        call().compute(scheduler="synchronous")
        assert set(read) == {(1, 3), (2, 3)}


def test_aggregate_has_the_median_too():
    array = xr.DataArray([1, 1], dims="x")
    median = array.labels.aggregate(array, ("mean", "median"))["median"]
    xr.testing.assert_identical(median.drop_vars("skipna"), array.instances.median(array))


LABELS = np.zeros((12, 12), np.int32)
LABELS[1:4, 1:4], LABELS[1:4, 7:10], LABELS[7:10, 2:6] = 1, 2, 3

WHOLE = {
    "quantiles": lambda image, mask: image.instances.quantiles(mask, [0.5]),
    "statistics": lambda image, mask: image.instances.statistics(mask, lambda p: p[:, :1], dims={"s": 1}),
    "of the mask": lambda image, mask: mask.instances.statistics(lambda w: [w.sum()], dims={"s": 1}),
    "regionprops": lambda image, mask: mask.instances.regionprops("area_filled"),
}
IN_WINDOWS = {
    "statistics": lambda image, mask: image.instances.statistics(mask, lambda p: p[:, :1], dims={"s": 1}, size=5),
    "of the mask": lambda image, mask: mask.instances.statistics(lambda w: [w.sum()], dims={"s": 1}, size=5),
}


def rewritten(labels: np.ndarray, what: str) -> tuple[np.ndarray, str]:
    labels = labels.copy()
    one, two = labels == 1, labels == 2
    if what == "exchanged":
        labels[one], labels[two] = 2, 1
        return labels, "label [12] had 9 pixels and has 0"
    if what == "moved":
        return np.roll(labels, 5, axis=1), "label . had (9|12) pixels and has"
    if what == "gone":
        labels[two] = 0
        return labels, "label 2 had 9 pixels and has 0"
    # The middle pixel of the one moves out of its box, into that of the other.
    labels[2, 2], labels[7, 5] = 0, 1
    return labels, "label (1 had 9|3 had 12) pixels and has"


class TestMaskRewrittenBetweenScanAndComputation:
    @pytest.fixture
    def stored(self, tmp_path):
        stored = zarr.create_array(tmp_path / "mask", shape=(12, 12), chunks=(4, 4), dtype="i4")
        stored[:] = LABELS
        return stored

    @pytest.fixture
    def mask(self, stored):
        return xr.DataArray(da.from_zarr(stored), dims=("y", "x"))

    @pytest.fixture
    def image(self):
        return xr.DataArray(np.random.default_rng(0).random((12, 12)), dims=("y", "x")).chunk(4)

    @pytest.mark.parametrize("what", ["exchanged", "moved", "gone", "leaking"])
    @pytest.mark.parametrize("call", WHOLE)
    def test_of_whole_objects_is_an_error(self, stored, mask, image, call, what):
        lazy = WHOLE[call](image, mask)
        stored[:], how = rewritten(LABELS, what)
        with pytest.raises(RuntimeError, match=f"changed since it was scanned: {how}"):
            lazy.compute()

    @pytest.mark.parametrize("what", ["exchanged", "moved", "gone", "leaking"])
    @pytest.mark.parametrize("call", IN_WINDOWS)
    def test_of_objects_in_windows_is_an_error_if_the_number_of_pixels_differs(self, stored, mask, image, call, what):
        lazy = IN_WINDOWS[call](image, mask)
        stored[:], how = rewritten(LABELS, what)
        with pytest.raises(RuntimeError, match=f"changed since it was scanned: {how}"):
            lazy.compute()

    @pytest.mark.parametrize("call", IN_WINDOWS)
    @pytest.mark.filterwarnings("ignore:1 of 1 objects reach beyond")
    def test_of_objects_cut_off_by_their_windows_is_an_error_if_there_are_more_pixels(self, stored, mask, image, call):
        labels = np.zeros_like(LABELS)
        labels[0, :9:2] = 1
        stored[:] = labels
        lazy = IN_WINDOWS[call](image, mask)
        stored[:] = np.ones_like(labels)
        with pytest.raises(RuntimeError, match="label 1 had 5 pixels and has"):
            lazy.compute()

    @pytest.mark.parametrize("call", WHOLE)
    def test_with_as_many_pixels_in_another_box_is_an_error(self, stored, mask, image, call):
        stored[7:10, 2:10] = [[3, 3, 3, 3, 0, 0, 0, 5]] * 3
        lazy = WHOLE[call](image, mask)
        stored[7:10, 2:10] = [[3, 3, 3, 0, 3, 0, 0, 5]] * 3
        boxes = r"label 3 lay from \(7, 2\) to \(10, 6\) and lies from \(7, 2\) to \(10, 7\)"
        with pytest.raises(RuntimeError, match=f"{boxes}|label 3 had 12 pixels and has 9"):
            lazy.compute()

    def test_says_where_a_label_lay_and_lies(self, stored, mask, image):
        stored[:] = np.where(LABELS == 3, 3, 0)
        stored[11, 0], stored[6, 9] = 4, 4
        lazy = image.instances.median(mask.chunk(12))
        stored[7:10, 2:7] = [[0, 3, 3, 3, 3]] * 3
        where = r"label 3 lay from \(7, 2\) to \(10, 6\) and lies from \(7, 3\) to \(10, 7\)\. Open it again"
        with pytest.raises(RuntimeError, match=where):
            lazy.compute()
