"""Thresholds against scikit-image on the whole array; models block by block."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import even_chunks
from scipy import ndimage
from skimage import data as pictures
from skimage import filters

from xlabelstats.pipeline import predict, threshold

METHODS = ("otsu", "li", "triangle")
RNG = np.random.default_rng(0)


def of_skimage(image: np.ndarray, method: str, **options: Any) -> float:
    # Li's method subtracts in place.
    return float(getattr(filters, f"threshold_{method}")(image.copy(), **options))


def found(image: Any, method: str) -> Any:
    return threshold(xr.DataArray(image, dims=("z", "y", "x")[3 - image.ndim :]), method).attrs["threshold"]


class TestNumbers:
    @pytest.mark.parametrize("value", [-1, 0, 3, 3.0, 2.5, 300, 2**63, 2**70, np.float64(0.1), 0.1, np.int64(7)])
    @pytest.mark.parametrize("dtype", ["?", "u1", "i2", "u8", "f4", "f8"])
    def test_strictly_above_in_the_units_of_the_image(self, dtype, value) -> None:
        image = np.arange(12).reshape(3, 4).astype(dtype) / np.dtype(dtype).type(1 if dtype[0] != "f" else 10)
        image = image.astype(dtype)
        # Python compares integers of any size exactly.
        above = image > float(value) if image.dtype.kind == "f" else [pixel > value for pixel in image.ravel().tolist()]
        expected = np.reshape(above, image.shape)
        for array in (image, da.from_array(image, chunks=2)):
            result = threshold(array, value)
            assert result.dtype == np.uint8
            np.testing.assert_array_equal(result, expected)

    def test_nan_is_never_above_and_infinity_is(self) -> None:
        assert threshold(np.array([np.nan, np.inf, -np.inf, 2.0]), 1).tolist() == [0, 1, 0, 1]

    def test_kind_names_coords_chunks_and_attrs_are_kept(self) -> None:
        image = xr.DataArray(
            da.arange(6, chunks=(1, 5)), dims="x", coords={"x": np.arange(6) * 2.0}, name="dapi", attrs={"gain": 2}
        )
        result = threshold(image, 3)
        assert (result.name, result.chunks, result.attrs) == ("dapi", ((5, 1),), {"gain": 2, "threshold": 3})
        assert image.attrs == {"gain": 2}
        xr.testing.assert_identical(result.x, image.x)
        assert isinstance(threshold(image.data, 3), da.Array)
        assert isinstance(threshold(image.values, 3), np.ndarray)

    def test_one_per_channel(self) -> None:
        image = xr.DataArray(RNG.random((5, 2, 6)), dims=("y", "c", "x"), coords={"c": ["a", "b"]})
        levels = xr.DataArray([0.2, 0.7], dims="c", coords={"c": ["a", "b"]})
        for array in (image, image.chunk(y=2, c=1)):
            result = threshold(array, levels.chunk() if array.chunks else levels)
            np.testing.assert_array_equal(result, image.values > np.array([0.2, 0.7])[:, None])
            assert result.chunks == array.chunks
            assert result.attrs["threshold"] == [0.2, 0.7]

    def test_what_is_wrong_is_said(self) -> None:
        image = xr.DataArray(np.ones((2, 3, 4)), dims=("c", "y", "x"), coords={"c": ["a", "b"]})
        for value, error, message in (
            ("otus", ValueError, "did you mean 'otsu'"),
            (np.nan, ValueError, "is finite"),
            (True, TypeError, "is a number"),
            (None, TypeError, "is a number"),
            ([1, 2], TypeError, "several thresholds are a DataArray"),
            (xr.DataArray([1, 2, 3], dims="y"), ValueError, "the thresholds have the dim 'y'"),
            (xr.DataArray([1, 2, 3], dims="c"), ValueError, "do not lie along the image"),
            (xr.DataArray([1, 2], dims="c", coords={"c": ["a", "d"]}), ValueError, "do not lie along the image"),
            (xr.DataArray([1, np.nan], dims="c"), ValueError, "finite numbers"),
        ):
            with pytest.raises(error, match=message):
                threshold(image, value)


class TestMethods:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("name", ["coins", "camera", "page"])
    def test_exactly_that_of_scikit_image_for_pictures(self, name, method) -> None:
        image = getattr(pictures, name)()
        for each in (image, image.astype(np.int16) * 31 - 4000, image.astype(np.int32) * 200 + 10**6):
            expected = of_skimage(each, method)
            assert found(each, method) == expected
            assert found(da.from_array(each, chunks=150), method) == expected

    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    def test_exactly_that_of_scikit_image_for_any_integers_and_chunks(self, data) -> None:
        shape = data.draw(st.lists(st.integers(1, 12), min_size=2, max_size=3))
        method = data.draw(st.sampled_from(METHODS))
        dtype = data.draw(st.sampled_from(["u1", "u2", "i2", "i4", "i8", "u8"]))
        rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
        image = rng.gamma(2, data.draw(st.sampled_from([1, 30])), shape).clip(0, 255).astype(dtype)
        if dtype[0] == "i":
            image = image - 100
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "threshold_otsu is expected to work correctly only for grayscale")
            expected = of_skimage(image.astype(np.int64), method)
        assert found(image, method) == expected
        assert found(da.from_array(image, chunks=data.draw(st.integers(1, 12))), method) == expected

    @pytest.mark.parametrize("dtype", [np.int64, np.uint64])
    def test_integers_from_far_up(self, dtype) -> None:
        image = pictures.coins()
        far = image.astype(dtype) + dtype(2**53 - 2**20)
        for method in ("li", "triangle"):
            assert found(far, method) == pytest.approx(of_skimage(image, method) + 2**53 - 2**20, abs=1, rel=0)

    def test_the_whole_range_of_int8(self) -> None:
        image = RNG.integers(-128, 128, (50, 50)).astype(np.int8)
        for method in METHODS:
            assert found(image, method) == of_skimage(image.astype(np.int16), method)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("name", ["coins", "moon"])
    def test_within_a_bin_of_scikit_image_in_double_precision_for_floats(self, name, dtype) -> None:
        image = (ndimage.gaussian_filter(getattr(pictures, name)().astype(dtype), 1) / 255).astype(dtype)
        width = float(np.ptp(image)) / 2**16
        double = image.astype(np.float64)
        for array in (image, da.from_array(image, chunks=200)):
            assert found(array, "otsu") == pytest.approx(of_skimage(double, "otsu", nbins=2**16), abs=width, rel=0)
            assert found(array, "triangle") == pytest.approx(of_skimage(double, "triangle"), abs=256 * width, rel=0)
            # scikit-image has the mean of pixels, here it is that of bins.
            assert found(array, "li") == pytest.approx(of_skimage(double, "li"), abs=2 * width, rel=0)

    def test_within_a_bin_for_integers_of_a_wide_range(self) -> None:
        image = (pictures.coins().astype(np.int64) ** 2) * 1000 - 7
        for method in ("otsu", "li"):
            bin_width = np.ptp(image) / 2**16
            expected = of_skimage(image.astype(np.float64), method, **({"nbins": 2**16} if method == "otsu" else {}))
            assert found(da.from_array(image, chunks=99), method) == pytest.approx(expected, abs=2 * bin_width, rel=0)

    @pytest.mark.parametrize("method", ["otsu", "li", "triangle"])
    @pytest.mark.parametrize(
        ("values", "near"),
        [
            (1 + np.arange(3) * 2.0**-52, "close together"),
            (-1e10 + np.arange(3) * 2.0**-19, "close together"),
            (np.array([1, 2, 3]) * 5e-324, "close together"),
            (np.array([-1.7e308, 1.6e308, 1.7e308]), "far apart"),
            (2**62 + np.array([0, 0, 2**17]), "close together"),
        ],
    )
    def test_values_too_near_or_far_for_bins_can_be_rescaled_as_the_error_says(self, method, values, near) -> None:
        pixels = np.repeat(values, (5, 1, 4))
        for image in (pixels, da.from_array(pixels, chunks=3)):
            with pytest.raises(
                ValueError, match=f"too {near} for the .* bins in which '{method}' counts them"
            ) as raised:
                threshold(image, method)
            said = str(raised.value)
            assert f"between {values[0]} and {values[-1]}" in said
            rescaled = eval(said.rpartition("first: ")[2])
            assert np.asarray(threshold(rescaled, method))[-4:].all()

    def test_one_for_each_channel_and_time(self) -> None:
        coins = pictures.coins()
        stack = np.array([[coins, coins // 2], [coins[::-1] // 3, 255 - coins]])
        image = xr.DataArray(stack, dims=("t", "c", "y", "x"), coords={"c": ["a", "b"]}).transpose("t", "y", "c", "x")
        for each in (image, image.astype(np.float32)):
            expected = [[found(plane, "li") for plane in time] for time in each.transpose("t", "c", "y", "x").values]
            for array in (each, each.chunk(t=1, c=2, y=100)):
                binary = threshold(array, "li")
                assert binary.attrs["threshold"] == expected
                assert binary.chunks == array.chunks
                levels = xr.DataArray(expected, dims=("t", "c"))
                np.testing.assert_array_equal(
                    binary.drop_vars("c"), (each.drop_vars("c") > levels).transpose(*each.dims)
                )

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("value", [7, np.uint16(0), np.int32(-5), 2.5, np.float32(0.1), True])
    def test_in_a_constant_image_nothing_is_above(self, value, method) -> None:
        image = np.full((4, 5), value)
        for array in (image, da.from_array(image, chunks=2)):
            assert found(array, method) == value
            assert not np.asarray(threshold(array, method)).any()

    @pytest.mark.parametrize("method", METHODS)
    def test_what_is_not_finite_is_not_counted(self, method) -> None:
        image = RNG.random((6, 50))
        holes = np.concatenate([image, [[np.nan] * 50, [np.inf] * 50, [-np.inf] * 50]])
        expected = found(image, method)
        for array in (holes, da.from_array(holes, chunks=(1, 50))):
            binary = threshold(array, method)
            np.testing.assert_array_equal(binary, holes > expected)

    @pytest.mark.parametrize("method", METHODS)
    def test_an_image_without_finite_pixels_is_an_error_that_says_where(self, method) -> None:
        image = xr.DataArray(np.stack([np.ones((3, 3)), np.full((3, 3), np.nan)]), dims=("c", "y", "x"))
        for array in (image, image.chunk(c=1)):
            with pytest.raises(ValueError, match="the image at c=1 has no finite pixels"):
                threshold(array, method)
        with pytest.raises(ValueError, match="the image has no finite pixels"):
            threshold(np.array([np.inf, -np.inf]), method)
        with pytest.raises(ValueError, match="no pixels"):
            threshold(np.empty((0, 3)), method)

    def test_blocks_are_read_once_for_small_integers_and_twice_for_floats(self) -> None:
        for dtype, passes in ((np.uint16, 1), (np.float32, 2)):
            reads = []
            lazy = da.ones((40, 40), dtype=dtype, chunks=20).map_blocks(
                lambda block, reads=reads: reads.append(1) or block + np.eye(20, dtype=block.dtype),
                dtype=dtype,
                meta=np.empty((0, 0), dtype),
            )
            binary = threshold(lazy, "otsu")
            assert len(reads) == 4 * passes
            np.testing.assert_array_equal(binary, np.tile(np.eye(20), (2, 2)))

    def test_the_input_is_not_changed(self) -> None:
        image = pictures.coins()
        before = image.copy()
        for method in METHODS:
            threshold(image, method)
        np.testing.assert_array_equal(image, before)


class Counted:
    """A model that counts how often it is stored."""

    stored = 0

    def __call__(self, block: np.ndarray) -> np.ndarray:
        return block > 1

    def __getstate__(self) -> dict[str, Any]:
        Counted.stored += 1
        return {}


class TestPredict:
    @settings(max_examples=50, deadline=None)
    @given(data=st.data())
    def test_a_model_with_enough_overlap_sees_no_blocks(self, data) -> None:
        shape = data.draw(st.lists(st.integers(1, 14), min_size=2, max_size=3))
        reach = data.draw(st.integers(0, 3))
        image = np.random.default_rng(data.draw(st.integers(0, 10**6))).random((2, *shape))
        dims = ("c", *"zyx"[3 - len(shape) :])
        size = (1, *[2 * reach + 1] * len(shape))

        def model(block: np.ndarray) -> np.ndarray:
            return ndimage.uniform_filter(block, size).mean(0)

        expected = ndimage.uniform_filter(image, size, mode="reflect").mean(0)
        sure = np.abs(expected - 0.5) > 1e-9
        array = xr.DataArray(image, dims=dims).transpose(*dims[1:], "c")
        lazy = array.chunk(c=1) if data.draw(st.booleans()) else array
        lazy = lazy.chunk({dim: data.draw(st.integers(1, 14)) for dim in dims[1:]})
        for each in (array, lazy):
            binary = predict(each, model, reach)
            assert (binary.dims, binary.dtype) == (dims[1:], np.uint8)
            np.testing.assert_array_equal(binary.values[sure], (expected > 0.5)[sure])
        assert predict(lazy, model, reach).chunks == even_chunks(lazy.isel(c=0))

    @pytest.mark.parametrize(
        ("result", "foreground"),
        [
            (np.array([True, False]), [1, 0]),
            (np.array([[3, -1]]), [1, 1]),
            (np.array([0.5, 0.6], np.float32), [0, 1]),
            (np.array([np.nan, 1.0]), [0, 1]),
        ],
    )
    def test_what_a_model_may_return(self, result, foreground) -> None:
        for image in (np.zeros(2), da.zeros(2)):
            assert np.asarray(predict(image, lambda block: result)).tolist() == foreground

    def test_options_of_the_model_and_above(self) -> None:
        image = np.arange(5)
        binary = predict(image, lambda block, by: block * by, above=6, model_kwargs={"by": 2.0})
        assert binary.tolist() == [0, 0, 0, 0, 1]

    def test_name_coords_in_space_and_attrs_are_kept(self) -> None:
        image = xr.DataArray(
            np.ones((2, 3)), dims=("c", "x"), coords={"c": [1, 2], "x": [0.0, 2, 4]}, name="dapi", attrs={"gain": 1}
        )
        binary = predict(image, lambda block: block[0])
        assert (binary.name, binary.attrs, set(binary.coords)) == ("dapi", {"gain": 1}, {"x"})
        assert isinstance(predict(image.values, lambda block: block > 0), np.ndarray)

    def test_lazy_until_computed_and_never_called_on_made_up_pixels(self) -> None:
        shapes = []
        lazy = predict(
            da.zeros((2, 1, 6, 6), chunks=(1, 1, 3, 6)), lambda block: shapes.append(block.shape) or block[0], {"y": 1}
        )
        assert shapes == []
        assert lazy.compute(scheduler="synchronous").shape == (1, 6, 6)
        assert shapes == [(2, 1, 5, 6)] * 2

    def test_the_graph_holds_the_model_once(self) -> None:
        lazy = predict(da.ones((30, 2), chunks=1), Counted(), 1)
        # The name of the result was made from the model.
        Counted.stored = 0
        for task in dict(lazy.__dask_graph__()).values():
            pickle.dumps(task)
        assert Counted.stored == 1

    def test_what_is_wrong_is_said(self) -> None:
        image = np.ones((2, 4, 5, 6))
        for array in (image, da.from_array(image, chunks=3)):
            with pytest.raises(
                ValueError, match=r"returned one of \(2, 4, 5, 6\); it must return the shape \(4, 5, 6\)"
            ):
                np.asarray(predict(array.rechunk(-1) if hasattr(array, "rechunk") else array, lambda block: block))
        with pytest.raises(TypeError, match="returned <U1"):
            predict(image, lambda block: np.full((4, 5, 6), "a"))
        with pytest.raises(TypeError, match="int cannot be called"):
            predict(image, 3)
        with pytest.raises(TypeError, match="above is a number"):
            predict(image, np.abs, above="0.5")

    def test_an_image_without_pixels_needs_no_call(self) -> None:
        assert predict(np.empty((2, 1, 0, 3)), Counted()).shape == (1, 0, 3)
        assert predict(da.empty((2, 1, 0, 3), chunks=1), Counted()).compute().shape == (1, 0, 3)
