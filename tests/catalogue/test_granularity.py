"""Granularity against erosions of scipy and reconstructions of scikit-image, object by object."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from objects import FORMS, random_objects
from scipy import ndimage as ndi
from skimage.morphology import ball, disk, reconstruction

DIMS = ("z", "y", "x")


def arrays(pixels, labels):
    dims = DIMS[3 - labels.ndim :]
    return xr.DataArray(pixels, dims=("c",) * (pixels.ndim - labels.ndim) + dims), xr.DataArray(labels, dims=dims)


def spectra(pixels, labels, radius=10, length=16, **options):
    image, mask = arrays(pixels, labels)
    request = ("granularity", {"radius": radius, "length": length})
    return image.labels.measure(mask, request, **options)["granularity"].compute()


def expected(pixels, inside, radius=10, length=16):
    """The spectrum of one object, the slow way; what is outside is infinite."""
    inside = inside & ~np.isnan(pixels.astype(float))
    values = np.pad(pixels.astype(float), 1)
    inside = np.pad(inside, 1)
    structure, cross = (disk(radius), disk(1)) if values.ndim == 2 else (ball(radius), ball(1))

    def eroded(image, footprint):
        outside = np.where(inside, image, np.inf)
        return ndi.grey_erosion(outside, footprint=footprint, mode="constant", cval=np.inf)

    lowest = np.where(inside, eroded(values, structure), -np.inf)
    opened = ndi.grey_dilation(lowest, footprint=structure, mode="constant", cval=-np.inf)
    light = np.where(inside, values, 0) - np.where(inside, opened, 0)
    image, start = light, values[inside].mean()
    before, losses = start, []
    for _ in range(length):
        image = np.where(inside, eroded(image, cross), 0)
        rebuilt = reconstruction(np.where(inside, image, -1), np.where(inside, light, -1), footprint=cross)
        after = rebuilt[inside].mean()
        losses.append((before - after) * 100 / start)
        before = after
    return np.array(losses)


def assert_equals_slow(pixels, labels, radius=10, length=16):
    result = spectra(pixels, labels, radius, length)
    assert result.sizes["label"] > 0
    for label in result["label"].values:
        inside = labels == label
        box = ndi.find_objects(inside.astype(int))[0]
        slow = expected(pixels[box], inside[box], radius, length)
        np.testing.assert_allclose(result.sel(label=label), slow, rtol=1e-9, atol=1e-9, err_msg=str(label))


def light(shape, dtype=np.uint16, seed=0):
    rng = np.random.default_rng(seed)
    smooth = ndi.gaussian_filter(rng.random(shape), 1.5)
    return ((smooth - smooth.min()) * 4000 + rng.random(shape) * 100 + 1).astype(dtype)


@pytest.mark.parametrize("form", FORMS)
def test_random_objects_have_the_slow_spectrum(form):
    labels = random_objects(form, 25, 30)
    assert_equals_slow(light(labels.shape), labels, radius=4)


def test_nuclei_have_the_slow_spectrum(nuclei2d):
    image, mask = nuclei2d
    few = np.where(mask.values <= 40, mask.values, 0)
    assert_equals_slow(image.values, few)


def test_volumes_have_the_slow_spectrum(nuclei3d):
    image, mask = nuclei3d
    few = np.where(mask.values <= 12, mask.values, 0)
    assert_equals_slow(image.values, few, radius=3, length=8)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_tiny_objects_of_few_values_have_the_slow_spectrum(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 5, rng.integers(2, 4)))
    labels = rng.integers(0, 2, shape)
    labels.flat[0] = 1
    assert_equals_slow(rng.integers(1, 5, shape).astype(float), labels, radius=int(rng.integers(1, 3)), length=4)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float16, np.float32, np.float64])
def test_images_of_any_dtype(dtype):
    labels = np.pad(np.ones((12, 15), int), 2)
    pixels = (light(labels.shape, np.int64) % 120).astype(dtype)
    assert_equals_slow(pixels, labels, radius=2)


@pytest.mark.parametrize("shape", [(31, 23), (9, 10, 11)])
def test_an_image_that_is_one_object_has_cp_measures_spectrum(shape):
    cp_measure = pytest.importorskip("cp_measure.core.measuregranularity")
    pixels = light(shape, np.float64)
    theirs = cp_measure.get_granularity(np.ones(shape, int), pixels, 1, 1, element_size=4)
    np.testing.assert_allclose(
        spectra(pixels, np.ones(shape, int), 4)[0], np.array(list(theirs.values()))[:, 0], atol=1e-9
    )


@given(st.tuples(st.integers(5, 60), st.integers(5, 60)))
@settings(max_examples=8)
def test_any_chunks_give_the_same_bits(chunks):
    labels = random_objects("blobs", 9, 20)
    image, mask = arrays(np.stack([light(labels.shape, float, seed) for seed in range(2)]), labels)
    whole = image.labels.measure(mask, "granularity")
    steps = dict(zip(mask.dims, chunks, strict=True))
    xr.testing.assert_identical(image.chunk(steps).labels.measure(mask.chunk(steps), "granularity").compute(), whole)


@pytest.mark.parametrize("corner", [(0, 0), (7, 3), (20, 20)])
def test_an_object_has_the_same_bits_anywhere_and_beside_others(corner):
    alone = random_objects("blobs", 1, 20, seed=2) > 0
    alone = alone[ndi.find_objects(alone.astype(int))[0]]
    pixels = light(alone.shape, float)
    first = spectra(pixels, alone.astype(int))
    at = tuple(slice(a, a + n) for a, n in zip(corner, alone.shape, strict=True))
    field, labels = light((45, 45), float, 5), np.full((45, 45), 9)
    field[at], labels[at] = pixels, np.where(alone, 4, 9)
    moved = spectra(field, labels).sel(label=4)
    assert moved.values.tobytes() == first[0].values.tobytes()


@pytest.mark.parametrize("form", ["ellipses", "speckles"])
def test_turned_objects_keep_their_spectrum(form):
    labels = random_objects(form, 9, 25)
    pixels = light(labels.shape)
    turned = spectra(np.rot90(pixels).copy(), np.rot90(labels).copy(), 3)
    xr.testing.assert_allclose(turned, spectra(pixels, labels, 3), atol=1e-10)


def test_other_ids_permute_the_spectra():
    labels = random_objects("blobs", 9, 20).astype(np.int64)
    pixels = light(labels.shape)
    other = np.where(labels > 0, 2**62 - labels, 0)
    np.testing.assert_array_equal(spectra(pixels, other)[::-1].values, spectra(pixels, labels))


def test_nan_pixels_are_as_if_outside_in_their_channel():
    labels = np.ones((14, 14), int)
    pixels = np.stack([light(labels.shape, float, seed) for seed in range(3)])
    pixels[1, 4:7, 3:9] = np.nan
    result = spectra(pixels, labels, 2)[0]
    for c in range(3):
        np.testing.assert_allclose(result[c], expected(pixels[c], labels > 0, 2), atol=1e-9)


def test_nan_pixels_that_count_make_the_spectrum_nan():
    pixels = np.stack([light((9, 9), float), light((9, 9), float)])
    pixels[1, 0, 0] = np.nan
    result = spectra(pixels, np.ones((9, 9), int), skipna=False)[0]
    assert np.isfinite(result[0]).all()
    assert np.isnan(result[1]).all()


@pytest.mark.parametrize("value", [0.0, -3.0, np.nan, np.inf, -np.inf])
def test_objects_without_finite_light_have_nan(value):
    pixels = np.zeros((6, 6))
    pixels[2, 3] = value
    assert np.isnan(spectra(pixels, np.ones((6, 6), int))).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (8, 8), (3, 4, 5)])
def test_a_flat_object_is_all_background(shape):
    result = spectra(np.full(shape, 65535, np.uint16), np.ones(shape, int))[0]
    assert result.values.tolist() == [100.0] + [0.0] * 15


def test_a_constant_added_changes_nothing_but_the_mean():
    labels = random_objects("ellipses", 5, 25)
    pixels = light(labels.shape)
    one, other = spectra(pixels, labels), spectra(pixels + 1000, labels)
    means = [xr.DataArray(ndi.mean(p, labels, one["label"].values), dims="label") for p in (pixels, pixels + 1000)]
    np.testing.assert_allclose((one * means[0])[:, 1:], (other * means[1])[:, 1:], atol=1e-6)


def test_a_long_thin_object_of_many_parts():
    labels = np.zeros((400, 500), int)
    rows = np.arange(0, 400, 7)
    labels[rows, (rows * 5) // 4] = 1
    assert_equals_slow(light(labels.shape), labels, radius=20, length=2)


def test_no_object_and_the_background():
    pixels = light((6, 7))
    assert spectra(pixels, np.zeros((6, 7), int)).shape == (0, 16)
    with_background = spectra(pixels, np.zeros((6, 7), int), background=True)
    xr.testing.assert_equal(
        with_background.drop_vars("label"), spectra(pixels, np.ones((6, 7), int)).drop_vars("label")
    )


def test_steps_are_numbered_from_one():
    result = spectra(light((5, 5)), np.ones((5, 5), int), length=3)
    assert result.dims == ("label", "step")
    assert result["step"].values.tolist() == [1, 2, 3]


@pytest.mark.parametrize("name", ["radius", "length"])
@pytest.mark.parametrize("number", [0, 2.5, True, "3"])
def test_parameters_are_whole_numbers_from_one_on(name, number):
    image, mask = arrays(light((5, 5)), np.ones((5, 5), int))
    with pytest.raises(ValueError, match=f"{name} is a whole number from 1 on"):
        image.labels.measure(mask, ("granularity", {name: number}))
