"""Region properties of whole objects against scikit-image on the whole mask."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import xarray as xr
from conftest import blobs
from skimage.measure import regionprops_table

from xlabelstats.catalogue import OBJECT_PROPERTIES

SOLID = tuple(name for name, spec in OBJECT_PROPERTIES.items() if not spec.only_2d)


def with_holes(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Objects of several parts and with holes."""
    mask = blobs(shape, 12, seed)
    mask[np.random.default_rng(seed).random(shape) < 0.15] = 0
    return mask


def assert_is_skimage(result: xr.Dataset, mask: np.ndarray, names: tuple[str, ...], spacing=None) -> None:
    expected = regionprops_table(mask, properties=("label", *names), spacing=spacing)
    np.testing.assert_array_equal(result["label"], expected["label"])
    for name in names:
        np.testing.assert_allclose(result[name], expected[name], rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("chunk", [None, 100, 33])
def test_of_the_2d_nuclei(nuclei2d, chunk):
    mask = nuclei2d[1].chunk(chunk) if chunk else nuclei2d[1]
    result = mask.instances.regionprops()
    assert set(result) == set(OBJECT_PROPERTIES)
    assert all(variable.dims == ("label",) for variable in result.values())
    assert (result["perimeter"].chunks is None) == (chunk is None)
    assert_is_skimage(result.compute(), nuclei2d[1].values, tuple(OBJECT_PROPERTIES))


@pytest.mark.parametrize("chunk", [None, 16])
def test_of_the_3d_nuclei(nuclei3d, chunk):
    mask = nuclei3d[1].chunk(chunk) if chunk else nuclei3d[1]
    assert_is_skimage(mask.instances.regionprops(SOLID), nuclei3d[1].values, SOLID)


@pytest.mark.parametrize("chunk", [None, 9])
@pytest.mark.parametrize("seed", range(3))
def test_of_objects_with_parts_and_holes(seed, chunk):
    labels = with_holes((40, 50), seed)
    mask = xr.DataArray(labels, dims=("y", "x"))
    result = (mask.chunk(chunk) if chunk else mask).instances.regionprops()
    assert_is_skimage(result, labels, tuple(OBJECT_PROPERTIES))
    assert result["euler_number"].dtype == np.int64
    assert result["perimeter"].dtype == np.float64


def test_spacing_from_the_coords_or_as_given():
    labels = with_holes((30, 40))
    mask = xr.DataArray(
        labels,
        dims=("y", "x"),
        coords={"y": ("y", 5 + 0.1 * np.arange(30), {"units": "um"}), "x": ("x", 0.1 * np.arange(40), {"units": "um"})},
    )
    result = mask.instances.regionprops()
    assert_is_skimage(result, labels, tuple(OBJECT_PROPERTIES), spacing=(0.1, 0.1))
    units = {name: variable.attrs.get("units") for name, variable in result.items()}
    assert units == {
        "perimeter": "um",
        "perimeter_crofton": "um",
        "area_convex": "um**2",
        "solidity": None,
        "area_filled": "um**2",
        "euler_number": None,
        "feret_diameter_max": "um",
    }
    uneven = mask.instances.regionprops(SOLID, spacing={"y": 2})
    assert_is_skimage(uneven, labels, SOLID, spacing=(2, 1))
    assert "units" not in uneven["area_filled"].attrs


def test_labels_and_background():
    labels = with_holes((30, 40))
    mask = xr.DataArray(labels, dims=("y", "x"))
    ids = mask.labels.ids()
    asked = [int(ids[2]), 9999, int(ids[0])]
    result = mask.chunk(11).instances.regionprops(("perimeter", "euler_number"), labels=asked)
    assert result["label"].values.tolist() == asked
    everything = mask.instances.regionprops(("perimeter", "euler_number"))
    for label in (asked[0], asked[2]):
        xr.testing.assert_equal(result.sel(label=label).compute(), everything.sel(label=label).astype(float))
    assert np.isnan(result.sel(label=9999)["euler_number"])
    inverse = mask.copy(data=np.where(labels == 0, 1, 0))
    with_background = mask.instances.regionprops("euler_number", background=True).sel(label=0)
    assert with_background["euler_number"] == inverse.instances.regionprops("euler_number").sel(label=1)["euler_number"]


def test_a_label_that_is_far_from_zero():
    labels = np.where(with_holes((20, 20)) > 5, 2**62 + 3, 0)
    result = xr.DataArray(labels, dims=("y", "x")).instances.regionprops(("euler_number", "area_filled"))
    assert_is_skimage(result.assign_coords(label=[1]), (labels > 0).astype(int), ("euler_number", "area_filled"))


@pytest.mark.parametrize("lazy", [False, True])
def test_empty_mask(lazy):
    mask = xr.DataArray(np.zeros((6, 6), int), dims=("y", "x"))
    result = (mask.chunk(3) if lazy else mask).instances.regionprops()
    assert all(variable.shape == (0,) for variable in result.values())
    assert result["euler_number"].dtype == np.int64


def test_complaints(nuclei3d):
    flat = xr.DataArray(np.ones((3, 3), int), dims=("y", "x"), coords={"y": [0.0, 1, 2], "x": [0.0, 2, 4]})
    with pytest.raises(NotImplementedError, match=r"perimeter is defined for an equal spacing.*\(1.0, 2.0\)"):
        flat.instances.regionprops("perimeter")
    assert flat.instances.regionprops("euler_number")["euler_number"].item() == 1
    with pytest.raises(ValueError, match="coordinates along 'x' are not evenly spaced; give spacing="):
        flat.assign_coords(x=[0.0, 1, 7]).instances.regionprops("area_filled")
    with pytest.raises(NotImplementedError, match="perimeter is defined for 2-D masks only"):
        nuclei3d[1].instances.regionprops("perimeter")
    with pytest.raises(ValueError, match="defined for 2-D and 3-D masks"):
        flat[0].instances.regionprops("solidity")
    with pytest.raises(ValueError, match=r"intensity_mean needs an image: image\.labels\.regionprops\(mask"):
        flat.instances.regionprops(("area", "intensity_mean", "solidity"))
    with pytest.raises(ValueError, match=r"intensity_median is no number .* image\.instances\.median\(mask\)"):
        flat.instances.regionprops("intensity_median")
    with pytest.raises(ValueError, match=r"image_convex is no number .* image\.instances\.windows\(mask\)"):
        flat.instances.regionprops("image_convex")
    with pytest.raises(ValueError, match="unknown property 'roundness'"):
        flat.instances.regionprops("roundness")
    with pytest.raises(ValueError, match="no property was asked for"):
        flat.instances.regionprops(())


def test_missing_scikit_image_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.measure", None)
    monkeypatch.setitem(sys.modules, "skimage", None)
    mask = xr.DataArray(np.ones((3, 3, 3), int), dims=("z", "y", "x"))
    with pytest.raises(ModuleNotFoundError, match=r"^area_convex needs skimage, .*pip install 'xlabelstats\[image\]'"):
        mask.instances.regionprops()


def degenerate(ndim: int) -> np.ndarray:
    """Objects of one pixel, of a line along each axis or askew, and of a plane; label 1 alone has a volume."""
    shapes = [np.ones((1,) * ndim, int), np.ones((2,) * ndim, int)]
    shapes += [np.ones(np.where(np.arange(ndim) == axis, 5, 1), int) for axis in range(ndim)]
    shapes += [np.ones(np.where(np.arange(ndim) == axis, 1, 4), int) for axis in range(ndim)]
    askew = np.zeros((4,) * ndim, int)
    askew[(np.arange(4),) * ndim] = 1
    slanted = np.zeros((4,) * ndim, int)
    slanted[np.arange(4), np.arange(4)] = 1
    mask = np.zeros((60, *(7,) * (ndim - 1)), int)
    first = 0
    for label, shape in enumerate([*shapes, askew, slanted], 2):
        box = tuple(slice(a, a + n) for a, n in zip((first, *(1,) * (ndim - 1)), shape.shape, strict=True))
        mask[box] = shape * (1 if shape.sum() == 2**ndim and label == 3 else label)
        first += shape.shape[0] + 1
    return mask


@pytest.mark.parametrize("chunk", [None, 5])
def test_degenerate_objects_in_2d_are_as_in_scikit_image(chunk):
    labels = degenerate(2)
    mask = xr.DataArray(labels, dims=("y", "x"))
    result = (mask.chunk(chunk) if chunk else mask).instances.regionprops()
    assert_is_skimage(result, labels, tuple(OBJECT_PROPERTIES))


@pytest.mark.parametrize("chunk", [None, 60])
@pytest.mark.filterwarnings("ignore:Setting the shape on a NumPy array:DeprecationWarning")
def test_flat_objects_in_3d_are_nan_where_scikit_image_raises_with_a_warning_that_names_them(chunk):
    labels = degenerate(3)
    flat = [label for label in np.unique(labels) if label > 1]
    assert len(flat) == 9
    expected = "label 2, 4, 5, 6, 7 and 4 more: all pixels lie in a plane, and scikit-image finds no convex hull in 3-D"
    values = "; there area_convex is 0.0, solidity is inf, feret_diameter_max is nan"
    mask = xr.DataArray(labels, dims=("z", "y", "x"))
    with pytest.warns(UserWarning, match="lie in a plane") as given:
        result = (mask.chunk(chunk) if chunk else mask).instances.regionprops(SOLID).compute()
    given = [warning for warning in given if warning.category is UserWarning]
    assert [str(warning.message) for warning in given] == [expected + values]
    assert chunk or given[0].filename == __file__
    assert result["feret_diameter_max"].isnull().values.tolist() == [label in flat for label in result["label"]]
    for label in flat:
        with pytest.raises(ValueError, match="Surface level"), pytest.warns(UserWarning, match="convex hull"):
            regionprops_table((labels == label).astype(int), properties=("feret_diameter_max",))
    solid = np.where(labels == 1, 1, 0)
    assert_is_skimage(result.sel(label=[1]), solid, SOLID)
    rest = ("area_convex", "solidity", "area_filled", "euler_number")
    with np.errstate(divide="ignore"), pytest.warns(UserWarning, match="Failed to get convex hull"):
        assert_is_skimage(result, labels, rest)


def test_a_flat_object_is_named_only_if_its_hull_was_asked_for():
    mask = xr.DataArray(np.ones((1, 4, 4), int), dims=("z", "y", "x"))
    assert mask.instances.regionprops(("area_filled", "euler_number"))["area_filled"].item() == 16
    with pytest.warns(UserWarning, match="^label 1: all pixels .*; there solidity is inf$"):
        mask.instances.regionprops("solidity")


def test_an_error_of_scikit_image_is_blamed_on_it(monkeypatch):
    def fails(*args, **options):
        raise ValueError("no such thing")

    monkeypatch.setattr("skimage.measure.regionprops", fails)
    with pytest.raises(ValueError, match="no such thing") as caught:
        xr.DataArray([[[0, 4]]], dims=("z", "y", "x")).instances.regionprops("solidity")
    assert caught.value.__notes__ == ["raised by scikit-image for label 4, given an array of shape (1, 1, 1)"]
