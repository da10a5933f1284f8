"""Windows of hostile input: nothing there, any memory layout, and errors."""

from __future__ import annotations

import re

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from conftest import blobs
from loops import IMAGE, MASK, assert_is_loop, assert_same_bits, field, layouts, picture, random_bits, windows


class TestNothing:
    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("alone", [False, True])
    @pytest.mark.parametrize(("size", "y", "x"), [(5, 5, 5), (None, 0, 0), ({"x": 4}, 12, 4)])
    @pytest.mark.parametrize("what", ["background", "labels"])
    def test_has_the_dims_and_dtypes_of_something(self, lazy, alone, size, y, x, what):
        labels = np.zeros((12, 13), np.int16) if what == "background" else blobs((12, 13), 4).astype(np.int16)
        mask = field(labels)
        image = picture(mask, ">f2", c=3, t=2).assign_coords(c=list("abd"))
        if lazy:
            image, mask = image.chunk(c=2, y=5, x=5), mask.chunk(5)
        options = {} if what == "background" else {"labels": []}
        result = image.instances.windows(mask, size, remove_background=alone, batch_size=7, **options)
        assert dict(result.sizes) == {"label": 0, "c": 3, "t": 2, "y": y, "x": x}
        assert result["image"].dims == ("label", "c", "t", "y", "x")
        assert result["mask"].dims == ("label", "y", "x")
        assert (result["image"].chunks is not None) == lazy
        for found in (result, result.compute()):
            assert (found["image"].dtype, found["mask"].dtype) == (np.dtype("=f2"), np.int16)
            assert found["label"].dtype == np.int16
            assert found["c"].values.tolist() == list("abd")
        alone_mask = mask.instances.windows(size, remove_background=alone, **options)
        xr.testing.assert_identical(alone_mask.compute(), result.compute()[["mask"]])

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("shape", [(0, 5), (4, 0), (0,)])
    def test_of_a_mask_without_pixels(self, shape, lazy):
        mask = field(np.zeros(shape, np.uint8))
        image = picture(mask)
        image, mask = (image.chunk(2), mask.chunk(2)) if lazy else (image, mask)
        result = image.instances.windows(mask, 3).compute()
        assert result["image"].shape == (0, *(3 for _ in shape))
        assert mask.instances.windows().compute()["mask"].shape == (0, *(0 for _ in shape))

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("alone", [False, True])
    def test_of_an_image_without_channels(self, lazy, alone):
        mask = field(blobs((12, 13), 4))
        image = picture(mask, c=0)
        image, mask = (image.chunk(y=5, x=5), mask.chunk(5)) if lazy else (image, mask)
        result = assert_is_loop(image, mask, 5, remove_background=alone)
        assert result["image"].shape == (result.sizes["label"], 0, 5, 5)

    @pytest.mark.parametrize("lazy", [False, True])
    def test_is_not_shown_to_a_model(self, lazy):
        mask = field(np.zeros((12, 13), int))
        mask = mask.chunk(5) if lazy else mask

        def model(batch: np.ndarray) -> np.ndarray:
            raise AssertionError

        result = picture(mask, c=2).instances.featurize(mask, model, size=5, n_features=3, dtype=np.int16)
        assert (result.dims, result.shape, result.dtype) == (("label", "feature"), (0, 3), np.int16)
        assert (result.compute().shape, result.chunks is not None) == ((0, 3), lazy)


class TestInputs:
    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("alone", [False, True])
    @pytest.mark.parametrize("layout", layouts(np.zeros((2, 2))))
    def test_of_any_layout_are_read_right_and_never_changed(self, layout, alone, lazy):
        labels = blobs((6, 14, 13), 7).astype(np.int32)
        pixels = random_bits((2, 6, 14, 13), "u2", 1)
        image = xr.DataArray(layouts(pixels)[layout], dims=("c", "z", "y", "x"))
        mask = xr.DataArray(layouts(labels)[layout], dims=("z", "y", "x"))
        for array in (image, mask):
            array.data.flags.writeable = False
        held = [(array.dims, dict(array.attrs), array.data.tobytes(), array.dtype) for array in (image, mask)]
        a, b = (image.chunk(5), mask.chunk(5)) if lazy else (image, mask)
        found = assert_is_loop(a, b, 7, remove_background=alone)
        assert_same_bits(found["mask"], assert_is_loop(None, b, 7, remove_background=alone)["mask"].values)
        assert_same_bits(
            found.sortby("label")["image"],
            windows(
                xr.DataArray(pixels, dims=image.dims), xr.DataArray(labels, dims=mask.dims), 7, remove_background=alone
            )["image"].values,
        )
        assert held == [(array.dims, dict(array.attrs), array.data.tobytes(), array.dtype) for array in (image, mask)]

    def test_an_image_that_repeats_itself_in_memory(self):
        mask = field(blobs((12, 13), 4))
        row = np.broadcast_to(np.arange(13, dtype=np.uint8), (2, 12, 13))
        column = np.broadcast_to(np.arange(12, dtype=np.uint8)[:, None], (2, 12, 13))
        for pixels in (row, column, np.broadcast_to(np.uint8(3), (2, 12, 13))):
            assert_is_loop(xr.DataArray(pixels, dims=("c", "y", "x")), mask, 7)
            lazy = xr.DataArray(da.from_array(pixels, (1, 5, 5)), dims=("c", "y", "x"))
            assert_is_loop(lazy, mask.chunk(5), 7)

    def test_results_may_be_written_to_without_harm(self):
        mask = field(blobs((12, 13), 4))
        image = picture(mask)
        for a, b in ((image, mask), (image.chunk(20), mask.chunk(20))):
            before = image.values.copy(), mask.values.copy()
            result = windows(a, b, {}, remove_background=False).compute()
            result["image"][:] = 0
            result["mask"][:] = 0
            np.testing.assert_array_equal(image, before[0])
            np.testing.assert_array_equal(mask, before[1])

    @pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="no long double here")
    def test_long_doubles_are_windows_of_float64(self):
        mask = field(blobs((12, 13), 4))
        image = picture(mask, "i2").astype(np.longdouble)
        found, expected = windows(image, mask, 7), windows(image.astype(np.float64), mask, 7)
        np.testing.assert_array_equal(found["image"], expected["image"])
        lazy = windows(image.chunk(5), mask.chunk(5), 7)
        assert lazy["image"].dtype == lazy["image"].compute().dtype
        np.testing.assert_array_equal(lazy["image"].sortby("label"), expected["image"])


class TestErrors:
    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize(
        ("size", "error", "message"),
        [
            (0, ValueError, "size is at least 1 pixel, not 0"),
            (-3, ValueError, "size is at least 1 pixel, not -3"),
            ({"y": 3, "x": 0}, ValueError, "size along 'x' is at least 1 pixel, not 0"),
            (2.5, TypeError, "size is a whole number of pixels, not 2.5; give one for all dims, a mapping"),
            (True, TypeError, "size is a whole number of pixels, not True"),
            ({"y": 3.0}, TypeError, "size along 'y' is a whole number of pixels, not 3.0"),
            ({"y": None}, TypeError, "size along 'y' is a whole number of pixels, not None"),
            ((3, 4), TypeError, r"size is a whole number of pixels, not \(3, 4\)"),
            ("big", TypeError, "size is a whole number of pixels, not 'big'"),
            ({"z": 3}, ValueError, r"size is given for 'z', but the mask has the dims \('y', 'x'\)"),
            ({"y": 3, "c": 3}, ValueError, "size is given for 'c', but the mask has the dims"),
        ],
    )
    def test_sizes(self, size, error, message, lazy):
        image, mask = (IMAGE.chunk(5), MASK.chunk(5)) if lazy else (IMAGE, MASK)
        with pytest.raises(error, match=message):
            image.instances.windows(mask, size)
        with pytest.raises(error, match=message):
            mask.instances.windows(size)
        with pytest.raises(error, match=message):
            image.instances.featurize(mask, np.ravel, size=size, n_features=1)

    @pytest.mark.parametrize("batch", [0, -1, 2.0, True, "2"])
    @pytest.mark.parametrize("mask", [MASK, MASK.chunk(5)], ids=["numpy", "dask"])
    def test_batch_sizes(self, batch, mask):
        message = re.escape(f"batch_size is a positive whole number of labels, not {batch!r}")
        with pytest.raises(ValueError, match=message):
            IMAGE.instances.windows(mask, 5, batch_size=batch)
        with pytest.raises(ValueError, match=message):
            IMAGE.instances.featurize(mask, np.ravel, size=5, n_features=1, batch_size=batch)

    def test_a_mask_that_is_no_dataarray(self):
        with pytest.raises(TypeError, match="the first argument is a mask, a DataArray, or else size; it is ndarray"):
            IMAGE.instances.windows(MASK.values, 5)
        with pytest.raises(TypeError, match="it is int, and size is given too"):
            MASK.instances.windows(5, 5)
        with pytest.raises(TypeError, match="it is function, and model is given too"):
            MASK.instances.featurize(lambda b: b, lambda b: b, size=5, n_features=1)
        with pytest.raises(TypeError, match=r"a mask is an xarray\.DataArray, not ndarray"):
            IMAGE.instances.windows(MASK.values)

    def test_an_image_that_is_taken_for_a_mask(self):
        with pytest.raises(TypeError, match=r"this array holds float64\. If it is the image, the mask comes first"):
            IMAGE.astype(float).instances.windows(5)
        with pytest.raises(TypeError, match="a mask holds integer labels, not float64"):
            IMAGE.instances.windows(MASK.astype(float), 5)
        with pytest.raises(TypeError, match="an image holds numbers"):
            IMAGE.astype(complex).instances.windows(MASK, 5)

    def test_names_that_the_result_needs(self):
        with pytest.raises(ValueError, match="the image already has a dim 'label'"):
            picture(MASK, label=2).instances.windows(MASK, 5)
        with pytest.raises(ValueError, match="the mask already has a dim 'label'"):
            MASK.rename(y="label").instances.windows(5)
        for name in ("mask", "image"):
            with pytest.raises(
                ValueError, match=f"'{name}', a dim or coordinate of the image, is a name of the result"
            ):
                picture(MASK, **{name: 2}).instances.windows(MASK, 5)
            with pytest.raises(
                ValueError, match=f"'{name}', a dim or coordinate of the image, is a name of the result"
            ):
                IMAGE.assign_coords({name: 1}).instances.windows(MASK, 5)

    def test_image_and_mask_that_do_not_match(self):
        with pytest.raises(ValueError, match="the image has no dim 'x' of the mask"):
            IMAGE.isel(x=0).instances.windows(MASK, 5)
        with pytest.raises(
            ValueError, match="image and mask differ in size: 'x' is 12 in the image and 13 in the mask"
        ):
            IMAGE.isel(x=slice(12)).instances.windows(MASK, 5)
        with pytest.raises(ValueError, match="the coordinates of image and mask differ along 'y'"):
            IMAGE.assign_coords(y=np.arange(12)).instances.windows(MASK.assign_coords(y=np.arange(12) + 1), 5)

    def test_models_and_their_features(self):
        with pytest.raises(TypeError, match="model is called with batches of windows, but str cannot be called"):
            IMAGE.instances.featurize(MASK, "resnet", size=5, n_features=1)
        with pytest.raises(TypeError, match="but NoneType cannot be called"):
            IMAGE.instances.featurize(MASK, size=5, n_features=1)
        for n in (-1, 2.0, True, None):
            with pytest.raises(
                ValueError, match=f"n_features is the number of columns that the model returns, not {n}"
            ):
                IMAGE.instances.featurize(MASK, np.ravel, size=5, n_features=n)

    @pytest.mark.parametrize("chunk", [None, 5])
    @pytest.mark.parametrize("labels", [[1.5], "ab", [[1]]])
    def test_labels_that_are_none(self, labels, chunk):
        mask = MASK if chunk is None else MASK.chunk(chunk)
        with pytest.raises(TypeError, match="labels are whole numbers, one or a 1-D sequence of them, not "):
            mask.instances.windows(5, labels=labels)
