"""``expand`` and ``shrink``: by brute force on small fields, by scikit-image and scipy on real nuclei."""

from __future__ import annotations

import warnings
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree
from skimage.segmentation import expand_labels

import xlabelstats
from tests.conftest import blobs

DIMS = ("z", "y", "x")
# A millionth of a distance is rounding.
ROUNDING = 1e-6

INTEGERS = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", ">i4", ">u8")


def placed(labels: np.ndarray, spacing: Any = 1.0) -> xr.DataArray:
    """A mask with coordinates of these spacings, none of which begins at 0."""
    dims = DIMS[-labels.ndim :]
    steps = np.broadcast_to(spacing, labels.ndim)
    coords = {
        dim: (dim, 5 + step * np.arange(size), {"units": "um"})
        for dim, step, size in zip(dims, steps, labels.shape, strict=True)
    }
    return xr.DataArray(labels, dims=dims, coords=coords, name="cells", attrs={"stain": "DAPI"})


def gaps(labels: np.ndarray, spacing: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distances between all pixels, and which are in the background and in objects, flattened."""
    at = np.stack(np.meshgrid(*map(np.arange, labels.shape), indexing="ij"), -1).reshape(-1, labels.ndim)
    at = at * np.broadcast_to(spacing, labels.ndim)
    squares = ((at[:, None] - at[None]) ** 2).sum(-1)
    flat = labels.ravel()
    return np.sqrt(squares), flat == 0, flat != 0


def brute_expand(labels: np.ndarray, distance: float, spacing: Any = 1.0) -> np.ndarray:
    """Every pixel of background looks at every pixel of an object."""
    lengths, empty, full = gaps(labels, spacing)
    flat, result = labels.ravel(), labels.ravel().copy()
    if full.any():
        for pixel in np.flatnonzero(empty):
            from_here = lengths[pixel, full]
            least = from_here.min()
            if least <= distance * (1 + ROUNDING):
                result[pixel] = flat[full][from_here <= least * (1 + 1e-9)].min()
    return result.reshape(labels.shape)


def brute_shrink(labels: np.ndarray, distance: float, spacing: Any = 1.0) -> np.ndarray:
    """Every pixel looks at every pixel with another value."""
    lengths, _, _ = gaps(labels, spacing)
    flat = labels.ravel()
    other = flat[:, None] != flat[None]
    gone = (other & (lengths <= distance * (1 + ROUNDING))).any(1)
    return np.where(gone, 0, flat).astype(labels.dtype).reshape(labels.shape)


CALLS = {"expand": brute_expand, "shrink": brute_shrink}


@st.composite
def fields(draw: st.DrawFn) -> tuple[np.ndarray, tuple[float, ...], tuple[tuple[int, ...], ...]]:
    """A small mask, a spacing, and chunks of one to three pixels or of all."""
    shape = draw(st.sampled_from([(17,), (9, 11), (1, 13), (4, 5, 6), (2, 3, 4)]))
    dtype = np.dtype(draw(st.sampled_from(INTEGERS)))
    info = np.iinfo(dtype)
    ids = np.array([0, 1, 2, info.max, info.max - 1, max(info.min, -5)], dtype)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    labels = ids[rng.integers(0, 6, shape)]
    # From nothing but background to none, and objects of a few pixels or of many.
    labels[rng.random(shape) < draw(st.sampled_from([0, 0.3, 0.9, 1]))] = 0
    if draw(st.booleans()):
        labels = np.repeat(labels, 2, axis=-1)
    spacing = draw(st.tuples(*[st.sampled_from([1.0, 0.65, 2.0, 0.3])] * labels.ndim))
    chunks = []
    for size in labels.shape:
        parts: list[int] = []
        while sum(parts) < size:
            parts.append(min(draw(st.sampled_from([1, 2, 3, size])), size - sum(parts)))
        chunks.append(tuple(parts))
    return labels, spacing, tuple(chunks)


@pytest.mark.parametrize("call", CALLS)
@settings(max_examples=60, deadline=None)
@given(field=fields(), distance=st.sampled_from([0, 0.3, 1, 1.3, 1.5, 2, 3.25, 7, 1000, np.inf]))
def test_small_fields_in_any_chunks_are_as_by_brute_force(
    call: str, field: tuple[np.ndarray, tuple[float, ...], tuple[tuple[int, ...], ...]], distance: float
) -> None:
    labels, spacing, chunks = field
    mask = placed(labels, spacing)
    expected = CALLS[call](labels, distance, spacing)
    for given_mask in (mask, mask.copy(data=da.from_array(labels, chunks)), mask.transpose(*mask.dims[::-1])):
        with warnings.catch_warnings():
            # A mask of 0 and 255.
            warnings.filterwarnings("ignore", "the mask of 0 and 255")
            result = getattr(given_mask.labels, call)(distance)
        assert result.dtype == labels.dtype
        np.testing.assert_array_equal(result.transpose(*mask.dims), expected)


@pytest.mark.parametrize("distance", [1, 2, 5, 7.3, 20, 1000])
def test_growth_is_scikit_images_but_for_ties_which_go_to_the_smaller_label(
    nuclei2d: tuple[xr.DataArray, ...], distance: float
) -> None:
    mask = nuclei2d[1]
    labels = mask.values
    result = mask.labels.expand(distance).values
    theirs = expand_labels(labels, distance)
    np.testing.assert_array_equal(result == 0, theirs == 0)
    differs = result != theirs
    assert (result[differs] < theirs[differs]).all()
    for ours, other in set(zip(result[differs].tolist(), theirs[differs].tolist(), strict=True)):
        here = differs & (result == ours) & (theirs == other)
        lengths = [cKDTree(np.argwhere(labels == label)).query(np.argwhere(here))[0] for label in (ours, other)]
        np.testing.assert_allclose(*lengths, rtol=1e-12)


def test_growth_in_3d_follows_the_spacing(nuclei3d: tuple[xr.DataArray, ...]) -> None:
    spacing = (2.0, 0.65, 0.65)
    mask = placed(nuclei3d[1].values, spacing)
    result = mask.labels.expand(3.25).values
    lengths, nearest = distance_transform_edt(mask.values == 0, sampling=spacing, return_indices=True)
    near = lengths <= 3.25 * (1 + ROUNDING)
    np.testing.assert_array_equal(result != 0, near)
    theirs = np.where(near, mask.values[tuple(nearest)], 0)
    differs = result != theirs
    assert (result[differs] < theirs[differs]).all()
    assert differs.mean() < 0.02
    chunked = mask.chunk(z=4, y=9, x=20).labels.expand(3.25)
    np.testing.assert_array_equal(chunked, result)


@pytest.mark.parametrize("spacing", [1.0, (2.0, 0.65, 0.65)])
def test_shrinking_leaves_what_is_far_from_every_other_value(nuclei3d: tuple[xr.DataArray, ...], spacing: Any) -> None:
    mask = placed(nuclei3d[1].values, spacing)
    sampling = np.broadcast_to(spacing, 3)
    expected = np.zeros_like(mask.values)
    for label in mask.labels.ids():
        inside = mask.values == label
        expected[inside & (distance_transform_edt(inside, sampling=sampling) > 2 * (1 + ROUNDING))] = label
    np.testing.assert_array_equal(mask.labels.shrink(2), expected)
    np.testing.assert_array_equal(mask.chunk(z=7, y=9, x=20).labels.shrink(2), expected)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("chunks", [(1, 512), (512, 3), (17, 33), (100, 100), (512, 512)])
def test_real_nuclei_are_the_same_in_all_chunks(
    nuclei2d: tuple[xr.DataArray, ...], call: str, chunks: tuple[int, int]
) -> None:
    mask = nuclei2d[1].isel(y=slice(40, 240))
    expected = getattr(mask.labels, call)(6)
    result = getattr(mask.chunk(y=chunks[0], x=chunks[1]).labels, call)(6)
    assert result.chunks is not None
    xr.testing.assert_identical(result.compute(), expected)


@pytest.mark.parametrize("call", CALLS)
def test_large_numpy_masks_are_the_same_in_stretches(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = placed(blobs((50, 70, 9), 40))
    whole = getattr(mask.labels, call)(4)
    monkeypatch.setattr("xlabelstats.engine.local.CUT_PIXELS", 1000)
    monkeypatch.setattr("xlabelstats.engine.local.STRETCH_PIXELS", 900)
    xr.testing.assert_identical(getattr(mask.labels, call)(4), whole)


@pytest.mark.parametrize("call", CALLS)
def test_coordinates_attributes_name_and_dtype_are_kept_and_the_mask_unchanged(call: str) -> None:
    mask = placed(blobs((20, 30), 5).astype(np.uint16)).assign_coords(row=("y", np.arange(20)))
    before = mask.copy(deep=True)
    result = getattr(mask.labels, call)(1)
    xr.testing.assert_identical(result.copy(data=mask.values), mask)
    assert result.dtype == np.uint16
    result[:] = 9
    xr.testing.assert_identical(mask, before)


@pytest.mark.parametrize("call", CALLS)
def test_a_distance_of_zero_changes_no_pixel(call: str) -> None:
    mask = placed(blobs((20, 30), 8))
    xr.testing.assert_identical(getattr(mask.labels, call)(0), mask)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("pixels", [1, 3, 5, 8])
def test_a_distance_of_whole_pixels_takes_these_whatever_the_rounding(dtype: type, pixels: int) -> None:
    labels = np.zeros((31, 41), np.int32)
    labels[15, 20] = 3
    y, x = (np.arange(n, dtype=dtype) * dtype(0.65) for n in labels.shape)
    mask = xr.DataArray(labels, dims=("y", "x"), coords={"y": y, "x": x})
    result = mask.labels.expand(0.65 * pixels)
    expected = xr.DataArray(labels, dims=("y", "x")).labels.expand(pixels)
    np.testing.assert_array_equal(result, expected)
    assert int(result[15].astype(bool).sum()) == 2 * pixels + 1


def test_a_bool_mask_stays_one() -> None:
    mask = xr.DataArray([False, False, True, True, True, False], dims="x")
    grown, shrunk = mask.labels.expand(1), mask.labels.shrink(1)
    assert grown.dtype == shrunk.dtype == bool
    assert grown.values.tolist() == [False, True, True, True, True, True]
    assert shrunk.values.tolist() == [False, False, False, True, False, False]


def test_nothing_is_lost_at_the_border_of_the_image() -> None:
    mask = xr.DataArray(np.full((4, 5), 7), dims=("y", "x"))
    xr.testing.assert_identical(mask.labels.shrink(3), mask)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 0)])
@pytest.mark.parametrize("call", CALLS)
def test_masks_without_pixels_stay_so(call: str, shape: tuple[int, int]) -> None:
    for data in (np.zeros(shape, np.int16), da.zeros(shape, dtype=np.int16, chunks=2)):
        result = getattr(xr.DataArray(data, dims=("y", "x")).labels, call)(3).compute()
        assert result.shape == shape
        assert result.dtype == np.int16


def test_chunks_without_pixels_do_not_matter() -> None:
    labels = blobs((9, 8), 4)
    mask = xr.DataArray(da.from_array(labels, ((3, 0, 6), (8, 0))), dims=("y", "x"))
    expected = brute_expand(labels, 2)
    np.testing.assert_array_equal(mask.labels.expand(2), expected)


def test_a_dask_mask_is_not_read_before_it_has_to() -> None:
    def read(block: np.ndarray) -> np.ndarray:
        raise AssertionError("read")

    mask = xr.DataArray(da.zeros((6, 6), dtype=int, chunks=3).map_blocks(read, dtype=int), dims=("y", "x"))
    for call in CALLS:
        result = getattr(mask.labels, call)(2)
        with pytest.raises(AssertionError, match="read"):
            result.compute()


def test_the_same_call_gives_the_same_keys() -> None:
    mask = placed(blobs((20, 30), 5)).chunk(y=7)
    assert mask.labels.expand(3).data.name == mask.labels.expand(3).data.name
    assert mask.labels.expand(3).data.name != mask.labels.expand(2).data.name


def test_uneven_chunks_come_out_even_so_that_zarr_takes_them(tmp_path: Any) -> None:
    labels = blobs((10, 12), 5)
    mask = xr.DataArray(da.from_array(labels, ((2, 5, 3), (1, 11))), dims=("y", "x"), name="cells")
    xlabelstats.to_zarr(mask.labels.expand(2).to_dataset(), tmp_path / "cells.zarr")
    stored = xr.open_zarr(tmp_path / "cells.zarr")["cells"]
    np.testing.assert_array_equal(stored, brute_expand(labels, 2))


class TestWhatIsWrong:
    """Complaints, in words that say what to do."""

    @pytest.mark.parametrize("call", CALLS)
    @pytest.mark.parametrize("distance", [-1, np.nan, -np.inf])
    def test_no_distance(self, call: str, distance: float) -> None:
        with pytest.raises(ValueError, match=f"distance is 0 or more, not {distance}"):
            getattr(placed(blobs((5, 6), 2)).labels, call)(distance)

    @pytest.mark.parametrize("distance", ["5", None, True, [1, 2], 1j])
    def test_no_number(self, distance: Any) -> None:
        with pytest.raises(TypeError, match="distance is a number, in the units of the mask's coordinates"):
            placed(blobs((5, 6), 2)).labels.expand(distance)

    def test_uneven_coordinates(self) -> None:
        mask = placed(blobs((5, 6), 2)).assign_coords(y=[0, 1, 2, 4, 8])
        with pytest.raises(ValueError, match=r"along 'y' are not evenly .* in pixels: mask.drop_vars\(mask.indexes\)"):
            mask.labels.expand(2)
        half = mask.drop_vars("x")
        assert half.drop_vars(half.indexes).labels.expand(2).shape == (5, 6)

    def test_several_units(self) -> None:
        mask = placed(blobs((5, 6), 2))
        mask["y"].attrs["units"] = "nm"
        with pytest.raises(ValueError, match=r"'y' in 'nm', 'x' in 'um'.* pixels: mask.drop_vars\(mask.indexes\)"):
            mask.labels.shrink(2)

    def test_times_are_no_lengths(self) -> None:
        mask = xr.DataArray(blobs((3, 6), 2), dims=("t", "x"), coords={"t": [0, 1, 2]})
        with pytest.raises(ValueError, match=r"along 't' are times.*mask.isel\(t=i\)"):
            mask.labels.expand(2)
        with pytest.warns(
            UserWarning, match=r"time dim 't'.*from one time to the next.*mask.isel\(t=i\).labels.expand\(2\)"
        ):
            mask.drop_vars("t").labels.expand(2)

    def test_floats(self) -> None:
        with pytest.raises(TypeError, match="float64"):
            placed(blobs((5, 6), 2)).astype(float).labels.expand(1)
