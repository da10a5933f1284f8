"""Filters by blocks against scipy on the whole array, for every chunking."""

from __future__ import annotations

import pickle
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import even_chunks
from scipy import ndimage

from xlabelstats.pipeline import gaussian, map_blocks

RNG = np.random.default_rng(0)


class Counted:
    """A function that counts how often it is stored."""

    stored = 0

    def __call__(self, block: np.ndarray) -> np.ndarray:
        return block

    def __getstate__(self) -> dict[str, Any]:
        Counted.stored += 1
        return {}


@st.composite
def chunked(draw: st.DrawFn, most: int = 14) -> tuple[np.ndarray, da.Array]:
    """A random image of one to three dims, in memory and in chunks, some of them empty."""
    shape = draw(st.lists(st.integers(1, most), min_size=1, max_size=3))
    dtype = draw(st.sampled_from(["u1", "i2", "u2", "i4", "f4", "f8", ">f4"]))
    image = np.random.default_rng(draw(st.integers(0, 10**6))).normal(100, 30, shape).astype(dtype)
    chunks = []
    for size in shape:
        cuts = sorted(draw(st.lists(st.integers(0, size), max_size=4)))
        chunks.append(tuple(b - a for a, b in zip([0, *cuts], [*cuts, size], strict=True)))
    return image, da.from_array(image, chunks=tuple(chunks))


def of_scipy(image: np.ndarray, sigma: object, truncate: float = 4.0) -> np.ndarray:
    dtype = np.float64 if image.dtype == np.float64 else np.float32
    return ndimage.gaussian_filter(image, sigma, output=dtype, mode="reflect", truncate=truncate)


class TestGaussian:
    @given(chunked(), st.data())
    @settings(max_examples=80, deadline=None)
    def test_equals_scipy_to_the_last_bit_for_every_chunking_and_reach(self, arrays, data) -> None:
        image, lazy = arrays
        sigma = data.draw(st.lists(st.sampled_from([0, 0.5, 1.7, 6]), min_size=image.ndim, max_size=image.ndim))
        truncate = data.draw(st.sampled_from([1.0, 4.0]))
        along = dict(zip("zyx"[3 - image.ndim :], sigma, strict=True))
        found = gaussian(lazy, along, truncate=truncate)
        assert found.chunks == even_chunks(lazy)
        assert found.dtype == (np.float64 if image.dtype == np.float64 else np.float32)
        expected = of_scipy(image, sigma, truncate)
        np.testing.assert_array_equal(found.compute(scheduler="synchronous"), expected)
        np.testing.assert_array_equal(gaussian(image, along, truncate=truncate), expected)

    def test_channels_and_times_are_smoothed_each_by_itself(self) -> None:
        image = xr.DataArray(RNG.random((2, 20, 3, 30)), dims=("t", "y", "c", "x"), coords={"c": list("abc")})
        for array in (image, image.chunk(t=1, c=2, x=7)):
            found = gaussian(array, 2)
            np.testing.assert_array_equal(found, of_scipy(image.values, (0, 2, 0, 2)))
            xr.testing.assert_identical(found.c, image.c)

    def test_names_coords_attrs_and_kind_are_kept(self) -> None:
        image = xr.DataArray(
            np.ones((3, 4), "u1"), dims=("y", "x"), coords={"x": [0, 2, 4, 6]}, name="dapi", attrs={"units": "counts"}
        )
        found = gaussian(image, 1)
        assert (found.name, found.attrs) == ("dapi", {"units": "counts"})
        xr.testing.assert_identical(found.x, image.x)
        assert isinstance(gaussian(image.values, 1), np.ndarray)
        assert isinstance(gaussian(image.chunk().data, 1), da.Array)

    def test_half_precision_becomes_single(self) -> None:
        image = RNG.random((9, 9)).astype(np.float16)
        np.testing.assert_array_equal(gaussian(image, 1), of_scipy(image.astype(np.float32), 1))

    def test_a_lazy_image_is_not_read_and_has_the_same_name_again(self) -> None:
        def unread(block: np.ndarray) -> np.ndarray:
            raise RuntimeError("read")

        lazy = da.zeros((40, 40), chunks=10).map_blocks(unread, meta=np.empty((0, 0)))
        assert gaussian(lazy, 1).name == gaussian(lazy, 1).name != gaussian(lazy, 2).name

    def test_an_image_without_pixels_stays_one(self) -> None:
        assert gaussian(np.empty((0, 4), "u1"), 1).shape == (0, 4)
        assert gaussian(da.empty((0, 4), chunks=(0, 2)), 1).compute().shape == (0, 4)

    def test_the_input_is_not_changed(self) -> None:
        image = RNG.random((8, 8), np.float32)
        before = image.copy()
        gaussian(image, 0)
        gaussian(image, 1)
        np.testing.assert_array_equal(image, before)

    def test_what_is_wrong_is_said(self) -> None:
        image = np.ones((3, 3))
        for sigma, error, message in (
            (-1, ValueError, "sigma is 0 or more"),
            ("1", TypeError, "sigma is a number"),
            ({"c": 1}, ValueError, "given for 'c', but the dims in space are"),
        ):
            with pytest.raises(error, match=message):
                gaussian(image, sigma)
        with pytest.raises(ValueError, match="truncate is positive"):
            gaussian(image, 1, truncate=0)
        with pytest.raises(TypeError, match="holds numbers"):
            gaussian(image.astype(complex), 1)
        with pytest.raises(TypeError, match="not list"):
            gaussian([[1]], 1)


class TestMapBlocks:
    @given(chunked(), st.data())
    @settings(max_examples=60, deadline=None)
    def test_a_rank_filter_equals_scipy_for_every_chunking(self, arrays, data) -> None:
        image, lazy = arrays
        reach = data.draw(st.lists(st.integers(0, 4), min_size=image.ndim, max_size=image.ndim))
        overlap = dict(zip("zyx"[3 - image.ndim :], reach, strict=True))
        size = tuple(2 * by + 1 for by in reach)
        expected = ndimage.maximum_filter(image, size, mode="reflect")
        # The mode is never used: all that the filter reaches is there.
        found = map_blocks(lazy, ndimage.maximum_filter, overlap, size=size, mode="constant", cval=9e9)
        assert (found.chunks, found.dtype) == (even_chunks(lazy), image.dtype)
        np.testing.assert_array_equal(found.compute(scheduler="synchronous"), expected)
        np.testing.assert_array_equal(map_blocks(image, ndimage.maximum_filter, overlap, size=size), expected)

    def test_beyond_the_border_pixels_are_mirrored(self) -> None:
        seen = []
        map_blocks(np.arange(4), lambda block: seen.append(block) or block, 6)
        np.testing.assert_array_equal(seen[0], np.pad(np.arange(4), 6, mode="symmetric"))

    def test_the_function_is_called_once_per_block_and_never_before(self) -> None:
        shapes = []
        lazy = map_blocks(da.ones((6, 7), chunks=(3, 7)), lambda block: shapes.append(block.shape) or block, {"x": 2})
        assert shapes == []
        lazy.compute(scheduler="synchronous")
        assert shapes == [(3, 11)] * 2

    def test_the_graph_holds_the_function_once(self) -> None:
        lazy = map_blocks(da.ones(40, chunks=1), Counted(), 1)
        # The name of the result was made from the function.
        Counted.stored = 0
        for task in dict(lazy.__dask_graph__()).values():
            pickle.dumps(task)
        assert Counted.stored == 1

    def test_arguments_are_handed_on_and_other_dims_are_in_the_block(self) -> None:
        image = xr.DataArray(RNG.random((2, 6, 7)), dims=("c", "y", "x")).chunk(c=2, y=3)
        found = map_blocks(image, lambda block, plus: block - block.mean(0) + plus, 1, plus=5)
        np.testing.assert_allclose(found, image - image.mean("c") + 5)

    def test_the_dtype_is_the_images_unless_given(self) -> None:
        image = np.arange(6, dtype=np.uint8)
        for array in (image, da.from_array(image, chunks=4)):
            found = map_blocks(array, lambda block: block / 2, dtype=np.float32)
            assert found.dtype == np.asarray(found).dtype == np.float32
            np.testing.assert_array_equal(found, image / 2)
            with pytest.raises(TypeError, match=r"returned float64, .* of uint8 cannot hold; give dtype='float64'"):
                np.asarray(map_blocks(array, lambda block: block / 2))

    def test_a_result_of_another_shape_is_an_error_that_names_both(self) -> None:
        image = np.ones((6, 7))
        for array in (image, da.from_array(image, chunks=7)):
            with pytest.raises(ValueError, match=r"shape \(8, 9\) and returned one of \(8,\)"):
                np.asarray(map_blocks(array, lambda block: block[:, 0], 1))

    def test_an_image_without_pixels_needs_no_call(self) -> None:
        def never(block: np.ndarray) -> np.ndarray:
            raise RuntimeError("called")

        assert map_blocks(np.empty((0, 3)), never, 2).shape == (0, 3)
        assert map_blocks(da.empty((0, 3), chunks=2), never, 2).compute().shape == (0, 3)

    def test_what_is_wrong_is_said(self) -> None:
        with pytest.raises(ValueError, match=r"whole number of pixels, not 1\.5"):
            map_blocks(np.ones(3), np.abs, 1.5)
        with pytest.raises(TypeError, match="str cannot be called"):
            map_blocks(np.ones(3), "abs")

    def test_threads_processes_and_one_by_one_agree(self) -> None:
        lazy = map_blocks(da.from_array(RNG.random((9, 9)), chunks=4), ndimage.median_filter, 1, size=3)
        with dask.config.set(scheduler="synchronous"):
            expected = lazy.compute()
        np.testing.assert_array_equal(lazy.compute(scheduler="threads"), expected)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(lazy)).compute(), expected)


class TestNamesAndValues:
    def test_two_calls_have_the_same_name(self) -> None:
        """So that what is computed from it can be known again."""
        lazy = da.ones((4, 4), chunks=2)
        assert map_blocks(lazy, np.negative).name == map_blocks(lazy, np.negative).name
        assert map_blocks(lazy, np.negative).name != map_blocks(lazy, np.abs).name

    def test_integers_that_would_wrap_round_are_refused(self) -> None:
        bright = np.full((2, 2), 200, np.uint8)
        with pytest.raises(
            TypeError, match="returned uint16, which the result of uint8 cannot hold; give dtype='uint16'"
        ):
            map_blocks(bright, lambda block: block.astype(np.uint16) * 2)
        assert map_blocks(bright, lambda block: block.astype(np.uint16) * 2, dtype="uint16").max() == 400

    def test_a_function_that_gives_what_it_got_does_not_give_away_the_image(self) -> None:
        image = np.ones((3, 3))
        result = map_blocks(image, lambda block: block)
        result[:] = 0
        assert image.all()
