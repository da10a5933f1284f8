"""Region properties of convex hulls against scikit-image, object by object."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.measure
import xarray as xr
from objects import FORMS, all_of_nine_pixels, assert_equals_skimage, measured, random_objects
from skimage.measure import regionprops_table

from xlabelstats.catalogue.hull import Hulls
from xlabelstats.engine.reduction import Block
from xlabelstats.labels.regionprops import object_properties

NAMES = ("area_convex", "solidity", "feret_diameter_max")


@pytest.mark.parametrize("form", FORMS)
def test_hulls_of_random_objects_are_exactly_those_of_skimage(form):
    assert_equals_skimage(random_objects(form, 300, 40), NAMES)


@pytest.mark.parametrize("form", FORMS)
def test_hulls_of_large_objects_are_exactly_those_of_skimage(form):
    assert_equals_skimage(random_objects(form, 20, 200, seed=1), NAMES)


def test_hulls_of_all_objects_of_nine_pixels():
    assert_equals_skimage(all_of_nine_pixels(), NAMES)


def test_hulls_of_nuclei(nuclei2d):
    assert_equals_skimage(nuclei2d[1].values, NAMES)


@pytest.mark.parametrize("form", FORMS)
def test_objects_that_chunks_cut_have_the_same_hulls(form):
    labels = random_objects(form, 50, 30, seed=2)
    xr.testing.assert_identical(measured(labels, NAMES, chunk=17), measured(labels, NAMES))


def test_objects_of_a_mask_that_threads_share():
    few = random_objects("blobs", 64, 50, seed=3)
    many = np.concatenate([few + 1000 * i * (few > 0) for i in range(16)])
    many = np.pad(many, ((0, 0), (0, 2_100_000 // len(many))))
    result, expected = measured(many, NAMES), measured(few, NAMES)
    for name in NAMES:
        np.testing.assert_array_equal(result[name], np.tile(expected[name], 16), err_msg=name)


@pytest.mark.parametrize("spacing", [(0.325, 0.325), (0.5, 2.0), (3.0, 0.1)])
def test_spacing(spacing):
    labels = random_objects("ellipses", 100, 40, seed=4)
    result = measured(labels, NAMES, spacing=spacing)
    expected = regionprops_table(labels, properties=NAMES, spacing=spacing)
    for name in NAMES:
        np.testing.assert_allclose(result[name], expected[name], rtol=1e-14, err_msg=name)


def test_units_of_the_coordinates():
    along = {dim: (dim, 0.5 * np.arange(80), {"units": "um"}) for dim in ("y", "x")}
    labels = random_objects("blobs", 4, 40)
    result = object_properties(None, xr.DataArray(labels, dims=("y", "x"), coords=along), NAMES)
    assert {name: variable.attrs.get("units") for name, variable in result.items()} == {
        "area_convex": "um**2",
        "solidity": None,
        "feret_diameter_max": "um",
    }
    expected = regionprops_table(labels, properties=NAMES, spacing=(0.5, 0.5))
    np.testing.assert_array_equal(result["area_convex"], expected["area_convex"])


@pytest.mark.parametrize("name", NAMES)
def test_a_property_alone_is_as_with_others(name):
    labels = random_objects("polygons", 40, 30)
    xr.testing.assert_identical(measured(labels, (name,))[name], measured(labels, NAMES)[name])


def test_some_labels_the_background_and_labels_far_from_zero():
    labels = random_objects("blobs", 30, 20).astype(np.uint64)
    labels[labels > 0] += np.uint64(2**63)
    everything = measured(labels, NAMES, background=True)
    np.testing.assert_array_equal(everything["label"], np.unique(labels))
    background = regionprops_table((labels == 0).astype(int), properties=NAMES)
    for name in NAMES:
        assert everything[name].sel(label=0) == background[name][0]
    asked = [int(everything["label"][5]), 7, int(everything["label"][2])]
    some = measured(labels, NAMES, labels=asked)
    xr.testing.assert_equal(some.isel(label=[0, 2]), everything.isel(label=[5, 2]))
    assert all(np.isnan(some[name].sel(label=7)) for name in NAMES)


@pytest.mark.parametrize("shape", [(1, 30), (30, 1), (1, 1)])
def test_masks_of_one_row_or_column(shape):
    labels = np.zeros(shape, int)
    labels.flat[[0, 20 % labels.size]] = 3
    assert_equals_skimage(labels, NAMES)


def test_scikit_image_is_not_needed_in_2d_nor_called_per_object(monkeypatch):
    labels = random_objects("blobs", 9, 20)
    expected = measured(labels, NAMES)
    monkeypatch.setitem(sys.modules, "skimage.measure", None)
    monkeypatch.setitem(sys.modules, "skimage", None)
    xr.testing.assert_identical(measured(labels, NAMES), expected)


def test_in_3d_scikit_image_measures_every_object_once(nuclei3d, monkeypatch):
    labels = nuclei3d[1].values
    expected = regionprops_table(labels, properties=("solidity", "area_filled"))
    calls = []
    regionprops = skimage.measure.regionprops
    monkeypatch.setattr(skimage.measure, "regionprops", lambda *args, **kw: calls.append(1) or regionprops(*args, **kw))
    result = measured(labels, ("solidity", "area_filled"))
    assert len(calls) == result.sizes["label"]
    for name, values in expected.items():
        np.testing.assert_allclose(result[name], values, rtol=1e-12)


def test_a_mask_on_the_gpu_is_refused():
    codes = type("ndarray", (), {"__module__": "cupy"})()
    hulls = Hulls(("solidity",), (1.0, 1.0))
    with pytest.raises(TypeError, match="solidity runs in main memory, and the mask is on the GPU"):
        hulls.collect(Block(SimpleNamespace(ids=codes), (0, 0)))
