"""Texture against co-occurrence tables laid out in numpy, scikit-image, mahotas and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from skimage.feature import graycomatrix, graycoprops

from xlabelstats.catalogue.texture import NAMES, TEXTURES

STEPS = {2: [(0, 1), (1, 1), (1, 0), (1, -1)], 3: None}
ALL = tuple(entry.name for entry in TEXTURES)


def textures(pixels, labels, **parameters):
    dims = ("z", "y", "x")[3 - labels.ndim :]
    image, mask = xr.DataArray(pixels, dims=dims), xr.DataArray(labels, dims=dims)
    return image.labels.measure(mask, [(name, parameters) if parameters else name for name in ALL])


def table_of(levels, inside, step, n):
    """The symmetric shares of pairs of grey levels, all of them."""
    table = np.zeros((n, n))
    for at in np.argwhere(inside):
        to = at + step
        if (to >= 0).all() and (to < inside.shape).all() and inside[tuple(to)]:
            a, b = levels[tuple(at)], levels[tuple(to)]
            table[a, b] += 1
            table[b, a] += 1
    return table / table.sum() if table.sum() else table * np.nan


def haralick(table):
    """The features as Haralick, Shanmugam and Dinstein define them, and mahotas computes them."""

    def entropy(p):
        return -(p[p > 0] * np.log2(p[p > 0])).sum()

    n = len(table)
    i, j = np.indices(table.shape)
    px = table.sum(axis=1)
    sums = np.bincount((i + j).ravel(), table.ravel(), minlength=2 * n)
    differences = np.bincount(abs(i - j).ravel(), table.ravel(), minlength=n)
    mean = (px * np.arange(n)).sum()
    var = (px * np.arange(n) ** 2).sum() - mean**2
    k = np.arange(2 * n)
    average = (k * sums).sum()
    top = int(np.flatnonzero(px).max())
    product = np.outer(px, px)
    kept = table > 0
    hxy1 = -(table[kept] * np.log2(product[kept])).sum()
    hxy2 = entropy(product)
    hxy, hx = entropy(table), entropy(px)
    return {
        "angular_second_moment": (table**2).sum(),
        "contrast": ((i - j) ** 2 * table).sum(),
        "correlation": ((i * j * table).sum() - mean**2) / var if var > 1e-12 else 1.0,
        "variance": var,
        "inverse_difference_moment": (table / (1 + (i - j) ** 2)).sum(),
        "sum_average": average,
        "sum_variance": (k**2 * sums).sum() - average**2,
        "sum_entropy": entropy(sums),
        "entropy": hxy,
        "difference_variance": differences[: top + 1].var(),
        "difference_entropy": entropy(differences),
        "info_meas_1": (hxy - hxy1) / hx if hx > 0 else hxy - hxy1,
        "info_meas_2": np.sqrt(max(0, 1 - np.exp(-2 * (hxy2 - hxy)))),
    }


@pytest.mark.parametrize("levels", [256, 16, 2, 7])
@pytest.mark.parametrize("scale", [1, 3])
def test_all_features_are_those_of_the_table_laid_out(levels, scale):
    rng = np.random.default_rng(levels)
    pixels = rng.integers(0, 256, (14, 26)).astype(np.uint8)
    labels = np.zeros(pixels.shape, int)
    labels[1:13, 1:9] = rng.random((12, 8)) < 0.8
    labels[2:14, 12:26] = 5
    result = textures(pixels, labels, scale=scale, levels=levels)
    grey = pixels.astype(int) * levels // 256
    for label in (1, 5):
        for k, step in enumerate(STEPS[2]):
            expected = haralick(table_of(grey, labels == label, scale * np.array(step), levels))
            for name in NAMES:
                value = float(result[f"texture_{name}"].sel(label=label, scale=scale).isel(angle=k))
                np.testing.assert_allclose(value, expected[name], rtol=1e-7, atol=1e-7, err_msg=f"{name} {step}")


def test_features_of_volumes_are_those_of_the_table_laid_out():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 2**16, (5, 6, 7)).astype(np.uint16)
    labels = (rng.random(pixels.shape) < 0.9).astype(np.int16)
    result = textures(pixels, labels, scale=1, levels=8)
    grey = pixels.astype(int) * 8 >> 16
    assert result.sizes["angle"] == 13
    for k, text in enumerate(result["direction"].values):
        step = np.array([int(part) for part in str(text).strip("()").split(",")])
        expected = haralick(table_of(grey, labels == 1, step, 8))
        for name in NAMES:
            value = float(result[f"texture_{name}"].isel(label=0, scale=0, angle=k))
            np.testing.assert_allclose(value, expected[name], rtol=1e-7, atol=1e-7, err_msg=f"{name} {step}")


def test_nuclei_have_the_values_of_mahotas(nuclei2d):
    features = pytest.importorskip("mahotas").features
    image, mask = (array.values for array in nuclei2d[:2])
    image = np.maximum(image, 1)
    result = textures(image, mask)
    for label in np.unique(mask)[1::10]:
        rows, columns = np.nonzero(mask == label)
        box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
        crop = np.where(mask[box] == label, image[box], 0)
        theirs = features.haralick(crop, ignore_zeros=True, distance=3)
        ours = np.stack([result[name].sel(label=label, scale=3).values for name in ALL], axis=1)
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def test_a_rectangle_has_the_values_of_scikit_image():
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30)).astype(np.uint8)
    result = textures(pixels, np.ones(pixels.shape, int), scale=2)
    table = graycomatrix(pixels, [2], [0, np.pi / 2], 256, symmetric=True, normed=True)
    for ours, theirs in (
        ("contrast", "contrast"),
        ("correlation", "correlation"),
        ("inverse_difference_moment", "homogeneity"),
        ("angular_second_moment", "ASM"),
    ):
        values = result[f"texture_{ours}"].sel(label=1, scale=2, angle=[0, 90]).values
        np.testing.assert_allclose(values, graycoprops(table, theirs)[0], rtol=1e-9)


def test_a_checkerboard_has_the_shares_of_its_two_levels():
    board = np.indices((8, 8)).sum(axis=0) % 2 * 255
    result = textures(board.astype(np.uint8), np.ones((8, 8), int), scale=1).isel(label=0, scale=0)
    assert result["texture_contrast"].values.tolist() == [255.0**2, 0, 255.0**2, 0]
    np.testing.assert_allclose(result["texture_angular_second_moment"].sel(angle=[0, 90]), 0.5)
    np.testing.assert_allclose(result["texture_correlation"], [-1, 1, -1, 1])
    np.testing.assert_allclose(result["texture_entropy"].sel(angle=0), 1)


def test_a_quarter_turn_permutes_the_angles(nuclei2d):
    image, mask = (array.values for array in nuclei2d[:2])
    one, other = textures(image, mask), textures(np.rot90(image).copy(), np.rot90(mask).copy())
    for name in ALL:
        turned = other[name].sel(angle=[90, 45, 0, 135]).values
        np.testing.assert_allclose(one[name].values, turned, rtol=1e-6, atol=1e-9, err_msg=name)


def test_a_constant_added_changes_means_of_levels_alone():
    pixels = np.random.default_rng(2).integers(0, 200, (9, 9)).astype(np.uint8)
    one, other = (textures(values, np.ones((9, 9), int)) for values in (pixels, pixels + np.uint8(40)))
    for name in ALL:
        if name in ("texture_sum_average", "texture_difference_variance"):
            continue
        np.testing.assert_allclose(one[name], other[name], rtol=1e-9, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(other["texture_sum_average"] - one["texture_sum_average"], 80)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int8, np.float32, np.float64])
def test_the_range_says_what_the_levels_are(dtype):
    whole = np.random.default_rng(3).integers(0, 100, (9, 12))
    expected = textures((whole * 256 // 100).astype(np.uint8), np.ones(whole.shape, int))
    xr.testing.assert_allclose(expected, textures(whole.astype(dtype), np.ones(whole.shape, int), range=(0, 100)))


def test_the_range_of_every_object_is_its_own():
    ramp = np.arange(12).reshape(3, 4).astype(np.float32)
    pixels = np.concatenate([ramp, 50 + 100 * ramp], axis=1)
    labels = np.repeat([[1, 2]], 4, axis=1).repeat(3, axis=0)
    result = textures(pixels, labels, range="object", scale=1)
    for name in ALL:
        np.testing.assert_allclose(result[name].sel(label=1), result[name].sel(label=2), err_msg=name)


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint64])
def test_without_a_range_wide_dtypes_are_refused(dtype):
    with pytest.raises(ValueError, match="needs the range of its grey levels: give range="):
        textures(np.ones((4, 4), dtype), np.ones((4, 4), int))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"scale": 0}, "scale is a number of pixels from 1 on"),
        ({"scale": [1, 1]}, "or several different ones"),
        ({"scale": 1.5}, "scale is"),
        ({"levels": 1}, "levels is a whole number of grey levels from 2 to 256"),
        ({"levels": 257}, "levels is"),
        ({"range": (3, 3)}, "range is a pair of finite numbers"),
        ({"range": "image"}, "range is"),
        (
            {"range": {"DNA": (0, 9)}},
            r"one for all channels .* not \{'DNA': \(0, 9\)\}; .* a call for each.*xr\.concat",
        ),
    ],
)
def test_parameters_that_make_no_sense_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        textures(np.ones((4, 4), np.uint8), np.ones((4, 4), int), **parameters)


@pytest.mark.parametrize("levels", [256, 16])
def test_channels_brought_to_one_range_have_the_levels_of_their_own(levels):
    rng = np.random.default_rng(7)
    image = xr.DataArray(rng.integers(0, 1300, (2, 40, 50)), dims=("c", "y", "x"))
    mask = xr.DataArray(rng.integers(1, 3, (20, 25)).repeat(2, 0).repeat(2, 1), dims=("y", "x"))
    low, high = xr.DataArray([3, 5], dims="c"), xr.DataArray([1296, 1297], dims="c")
    one = ((image - low) / (high - low)).labels.measure(mask, ("texture_entropy", {"range": (0, 1), "levels": levels}))
    for c in range(2):
        parameters = {"range": (int(low[c]), int(high[c])), "levels": levels}
        apart = image.isel(c=c).labels.measure(mask, ("texture_entropy", parameters))
        np.testing.assert_array_equal(one["texture_entropy"].isel(c=c), apart["texture_entropy"])


def test_several_scales_are_a_dim_with_the_levels_beside():
    pixels = np.random.default_rng(4).integers(0, 256, (9, 12)).astype(np.uint8)
    result = textures(pixels, np.ones(pixels.shape, int), scale=[1, 4], levels=32)
    assert result["texture_contrast"].dims == ("label", "scale", "angle")
    assert result["scale"].values.tolist() == [1, 4]
    assert result["levels"].values.tolist() == [32, 32]
    assert result["angle"].values.tolist() == [0, 135, 90, 45]
    one = textures(pixels, np.ones(pixels.shape, int), scale=4, levels=32)
    xr.testing.assert_equal(result["texture_entropy"].sel(scale=[4]), one["texture_entropy"])
