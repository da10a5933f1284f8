"""Connected components against scipy on the whole array, for every chunking."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from xlabelstats.pipeline import connected_components


def by_scipy(binary: np.ndarray, connectivity: int) -> np.ndarray:
    return ndimage.label(binary, ndimage.generate_binary_structure(binary.ndim, connectivity))[0]


@st.composite
def chunked(draw: st.DrawFn, most: int = 9) -> tuple[np.ndarray, tuple[tuple[int, ...], ...]]:
    """A random binary image of one to three dims, and chunks for it."""
    shape = draw(st.lists(st.integers(0, most), min_size=1, max_size=3))
    density = draw(st.sampled_from([0.3, 0.5, 0.7, 1.0]))
    binary = np.random.default_rng(draw(st.integers(0, 10**6))).random(shape) < density
    chunks = []
    for size in shape:
        cuts = sorted(draw(st.lists(st.integers(0, size), max_size=4)))
        chunks.append(tuple(b - a for a, b in zip([0, *cuts], [*cuts, size], strict=True)))
    return binary.astype(np.uint8), tuple(chunks)


class TestAgainstScipy:
    @given(chunked(), st.data())
    @settings(max_examples=120, deadline=None)
    def test_same_components_and_numbers_for_every_chunking_and_connectivity(self, image, data) -> None:
        binary, chunks = image
        connectivity = data.draw(st.integers(1, binary.ndim))
        found = connected_components(da.from_array(binary, chunks=chunks), connectivity)
        assert found.shape == binary.shape
        np.testing.assert_array_equal(found.compute(scheduler="synchronous"), by_scipy(binary, connectivity))

    @pytest.mark.parametrize("connectivity", [1, 2, 3])
    def test_real_nuclei_in_three_dims(self, nuclei3d, connectivity) -> None:
        binary = (nuclei3d[1] > 0).astype(np.uint8)
        found = connected_components(binary.chunk(z=7, y=20, x=13), connectivity)
        np.testing.assert_array_equal(found, by_scipy(binary.to_numpy(), connectivity))

    def test_a_spiral_through_all_blocks_is_one(self) -> None:
        binary = np.zeros((41, 41), np.uint8)
        for i in range(0, 20, 4):
            binary[i, i : 41 - i] = binary[i : 41 - i, 40 - i] = binary[40 - i, i : 41 - i] = 1
            binary[i + 4 : 41 - i, i] = 1
            binary[i + 4, i : i + 5] = 1
        assert by_scipy(binary, 1).max() == 1
        assert connected_components(da.from_array(binary, chunks=5)).max().compute() == 1

    def test_corners_that_touch_across_four_blocks(self) -> None:
        binary = np.zeros((4, 4), np.uint8)
        binary[1, 2] = binary[2, 1] = 1
        lazy = da.from_array(binary, chunks=2)
        assert connected_components(lazy, 2).max().compute() == 1
        assert connected_components(lazy, 1).max().compute() == 2


class TestWhatComesBack:
    def test_numpy_dask_and_names_as_they_were_given(self) -> None:
        binary = np.array([[1, 0, 1]], bool)
        assert isinstance(connected_components(binary), np.ndarray)
        assert isinstance(connected_components(da.from_array(binary, chunks=1)), da.Array)
        image = xr.DataArray(binary, dims=("y", "x"), coords={"x": [0.0, 0.5, 1.0]}, name="nuclei")
        found = connected_components(image)
        assert found.name == "instances"
        xr.testing.assert_identical(found.x, image.x)
        np.testing.assert_array_equal(found, [[1, 0, 2]])

    def test_int32_and_the_chunks_of_the_image(self) -> None:
        found = connected_components(da.ones((6, 5), dtype=np.uint8, chunks=(4, 2)))
        assert found.dtype == found.compute().dtype == np.int32
        assert found.chunks == ((4, 2), (2, 2, 1))

    def test_nothing_in_the_foreground(self) -> None:
        for binary in (np.zeros((3, 4), np.uint8), da.zeros((3, 4), dtype=np.uint8, chunks=2)):
            found = np.asarray(connected_components(binary))
            assert found.dtype == np.int32
            assert not found.any()

    def test_the_input_is_left_as_it_was(self) -> None:
        binary = np.ones((3, 3), np.uint8)
        binary.flags.writeable = False
        connected_components(binary)
        connected_components(da.from_array(binary, chunks=2)).compute()

    def test_two_calls_have_the_same_name(self) -> None:
        """So that what is computed from it can be known again."""
        binary = da.ones((4, 4), dtype=np.uint8, chunks=2)
        assert connected_components(binary).name == connected_components(binary).name
        assert connected_components(binary).name != connected_components(binary, 2).name

    def test_an_image_that_changes_meanwhile_is_noticed(self) -> None:
        source = np.zeros((4, 4), np.uint8)
        lazy = da.zeros((4, 4), dtype=np.uint8, chunks=(2, 4)).map_blocks(lambda _: source[:2], dtype=np.uint8)
        found = connected_components(lazy)
        source[0, 0] = 1
        with pytest.raises(RuntimeError, match=r"has changed since .* block \(\d, 0\) has another foreground"):
            found.compute(scheduler="synchronous")

    def test_a_store_that_is_rewritten_is_noticed_if_the_foreground_is_another(self, tmp_path) -> None:
        before = np.zeros((6, 6), np.uint8)
        before[1, 1:3] = before[4, 4] = 1
        after = {
            "moved": np.roll(before, 1, axis=1),
            "as many components and pixels": np.where(np.arange(36).reshape(6, 6) == 28, 0, before.T),
            "another component": np.where(np.arange(36).reshape(6, 6) == 35, 1, before),
        }
        for i, other in enumerate((before * 7, *after.values())):
            stored = zarr.create_array(tmp_path / f"{i}.zarr", data=before, chunks=(3, 3))
            found = connected_components(da.from_zarr(stored))
            stored[:] = other
            if i:
                with pytest.raises(RuntimeError, match="Open it again, and call the step again"):
                    found.compute()
            else:
                np.testing.assert_array_equal(found, by_scipy(before, 1))


class TestComplaints:
    @pytest.mark.parametrize(
        ("binary", "connectivity", "error", "message"),
        [
            (np.zeros((2, 2)), 1, TypeError, "holds integers or bool, not float64; make one with threshold"),
            (np.zeros((2, 2), np.uint8), 3, ValueError, "between 1 and 2, the number of dims, not 3"),
            (np.zeros((2, 2), np.uint8), 0, ValueError, "between 1 and 2"),
            (np.zeros((2, 2), np.uint8), 1.0, TypeError, "a whole number, not 1.0"),
            (np.zeros((2, 2, 2, 2), np.uint8), 1, ValueError, "has the dim 'c', which is not in space; select one"),
            ([[1]], 1, TypeError, "not list"),
        ],
    )
    def test_what_is_wrong_and_what_to_do(self, binary, connectivity, error, message) -> None:
        with pytest.raises(error, match=message):
            connected_components(binary, connectivity)

    def test_chunks_of_unknown_size(self) -> None:
        lazy = da.ones(6, dtype=np.uint8, chunks=3)
        with pytest.raises(ValueError, match="unknown sizes; compute them first"):
            connected_components(lazy[lazy > 0])

    @pytest.mark.parametrize("dtype", ["?", "i1", "u2", ">i2", ">u8", "<i8"])
    def test_integers_of_every_kind_and_byte_order(self, dtype) -> None:
        binary = (np.random.default_rng(0).random((9, 9)) > 0.5).astype(dtype)
        for image in (binary, da.from_array(binary, chunks=4)):
            np.testing.assert_array_equal(connected_components(image), by_scipy(binary != 0, 1))
