"""Measures of whole objects that look at an object's own pixels alone: the same bits whatever is around it."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from xlabelstats.catalogue import CATALOGUE

OF_LIGHT = tuple(
    name
    for name in CATALOGUE
    if name.startswith(("texture_", "edge_", "radial_")) or name in ("granularity", "mad", "mass_displacement")
)
OF_SHAPE = ("zernike", "radius_max", "radius_mean", "radius_median", "feret_min", "feret_max")
IN_3D = tuple(name for name in (*OF_LIGHT, *OF_SHAPE) if not CATALOGUE[name].only_2d)
NAMES = (*OF_LIGHT, *OF_SHAPE)


def assert_same_bits(one: xr.Dataset, other: xr.Dataset) -> None:
    for name in one:
        np.testing.assert_array_equal(one[name].values, other[name].values, err_msg=str(name))


@pytest.fixture(scope="module")
def nuclei(nuclei2d):
    image, mask = nuclei2d[:2]
    image = xr.concat([image, 255 - image], "c")
    return image, mask, image.labels.measure(mask, NAMES, spacing=1)


@settings(max_examples=6)
@given(y=st.integers(20, 512), x=st.integers(20, 512), c=st.integers(1, 2))
def test_any_chunks_give_the_same_bits(nuclei, y, x, c):
    image, mask, expected = nuclei
    result = image.chunk(c=c, y=y, x=x).labels.measure(mask.chunk(y=x, x=y), NAMES, spacing=1)
    assert_same_bits(expected, result.compute())


@pytest.mark.filterwarnings("ignore:texture:")
def test_any_chunks_of_a_volume_give_the_same_bits(nuclei3d):
    image, mask = nuclei3d[:2]
    expected = image.labels.measure(mask, IN_3D, spacing=1)
    result = image.chunk(9).labels.measure(mask.chunk(z=5, y=20, x=11), IN_3D, spacing=1)
    assert_same_bits(expected, result.compute())


def test_an_object_without_its_neighbours_in_another_place_has_the_same_bits(nuclei):
    image, mask, expected = nuclei
    for label in mask.labels.ids()[::25]:
        rows, columns = np.nonzero(mask.values == label)
        box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
        inside = mask.values[box] == label
        for before, after in ((0, 0), (3, 1)):
            alone = np.pad(np.where(inside, label, 0).astype(mask.dtype), (before, after))
            light = np.pad(image.values[:, *box], ((0, 0), (before, after), (before, after)), constant_values=77)
            light[:, alone == 0] = 200
            result = xr.DataArray(light, dims=image.dims).labels.measure(
                xr.DataArray(alone, dims=mask.dims), NAMES, spacing=1
            )
            assert_same_bits(expected.sel(label=[label]), result)


def test_dims_in_another_order_give_the_axes_in_it(nuclei):
    image, mask, expected = nuclei
    names = ("radius_mean", "feret_min", "feret_max", "edge_mean", "mad", "granularity")
    result = image.transpose("x", "c", "y").labels.measure(mask.transpose("x", "y"), names, spacing=1)
    for name in names:
        xr.testing.assert_allclose(result[name], expected[name].transpose(*result[name].dims), rtol=1e-9)


def test_ids_near_the_largest_change_nothing(nuclei):
    image, mask, expected = nuclei
    far = mask.astype(np.uint64)
    far = far.copy(data=np.where(far > 0, far + np.uint64(2**63), 0).astype(np.uint64))
    assert_same_bits(expected, image.labels.measure(far, NAMES, spacing=1))


@pytest.mark.parametrize("name", OF_LIGHT)
def test_nan_pixels_are_left_out_or_make_the_object_nan(name):
    rng = np.random.default_rng(0)
    pixels, labels = rng.uniform(1, 9, (12, 20)), np.zeros((12, 20), int)
    labels[1:11, 1:9], labels[1:11, 10:19] = 1, 2
    pixels[4, 4] = np.nan
    request = (name, {"range": (0, 10)}) if name.startswith("texture") else name
    image, mask = xr.DataArray(pixels, dims=("y", "x")), xr.DataArray(labels, dims=("y", "x"))
    skipped, kept = (image.labels.measure(mask, request, skipna=skipna)[name] for skipna in (True, False))
    assert np.isfinite(skipped).all()
    assert np.isnan(kept.sel(label=1)).all()
    xr.testing.assert_equal(kept.sel(label=2), skipped.sel(label=2))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float32, np.float64])
def test_objects_of_a_pixel_of_a_row_and_flat_ones_are_measured(dtype):
    labels = np.zeros((9, 12), np.int8)
    labels[0, 0], labels[2, 1:11], labels[4:9, 2:9], labels[8, 11] = 1, 2, -3, 2
    image = xr.DataArray(np.ones(labels.shape, dtype), dims=("y", "x"))
    mask = xr.DataArray(labels, dims=("y", "x"))
    requests = [(name, {"range": (0, 2)}) if name.startswith("texture") else name for name in NAMES]
    result = image.labels.measure(mask, requests)
    assert result["label"].values.tolist() == [-3, 1, 2]
    assert float(result["feret_max"].sel(label=1)) == 0
    assert (result["radius_max"].sel(label=[1, 2]) == 1).all()
    assert float(result["texture_contrast"].sel(label=-3, angle=0, scale=3)) == 0
    assert np.isnan(result["texture_contrast"].sel(label=1)).all()
    assert (result["edge_std"] == 0).all()
    assert (result["mad"] == 0).all()


def test_a_mask_without_objects_gives_no_rows():
    image, mask = xr.DataArray(np.ones((4, 5)), dims=("y", "x")), xr.DataArray(np.zeros((4, 5), int), dims=("y", "x"))
    requests = [(name, {"range": (0, 2)}) if name.startswith("texture") else name for name in NAMES]
    for lazy in (False, True):
        given_image, given_mask = (image.chunk(2), mask.chunk(2)) if lazy else (image, mask)
        assert given_image.labels.measure(given_mask, requests).compute().sizes["label"] == 0


def test_absent_labels_are_nan(nuclei):
    image, mask, _ = nuclei
    result = image.labels.measure(mask, ("granularity", "zernike", "radius_mean"), labels=[1, 60000], spacing=1)
    assert all(np.isnan(result[name].sel(label=60000)).all() for name in result)
    assert not np.isnan(result["zernike"].sel(label=1)).any()


@pytest.mark.parametrize("name", ["zernike", "radial_cv", "feret_min", "radial_zernike_phase"])
def test_those_of_planes_are_not_defined_for_volumes(name, nuclei3d):
    image, mask = nuclei3d[:2]
    with pytest.raises(NotImplementedError, match=f"{name} is defined for 2-D masks only"):
        image.labels.measure(mask, name, spacing=1)


@pytest.mark.parametrize("name", ["granularity", "texture_contrast", "edge_mean"])
def test_masks_of_one_dim_are_refused(name):
    image, mask = xr.DataArray(np.ones(5, np.uint8), dims="x"), xr.DataArray([0, 1, 1, 1, 0], dims="x")
    with pytest.raises(ValueError, match=f"{name} is defined for 2-D and 3-D masks"):
        image.labels.measure(mask, name)
