"""Region properties of holes against scikit-image, object by object."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from objects import FORMS, all_of_nine_pixels, assert_equals_skimage, measured, random_objects
from skimage.measure import regionprops_table

from xlabelstats.catalogue.hole import Holes
from xlabelstats.engine.reduction import Block

NAMES = ("area_filled", "euler_number")


@pytest.mark.parametrize("form", FORMS)
def test_holes_of_random_objects_are_exactly_those_of_skimage(form):
    assert_equals_skimage(random_objects(form, 400, 40), NAMES)


@pytest.mark.parametrize("density", [0.3, 0.5, 0.6, 0.7, 0.8, 0.9])
def test_holes_of_large_labyrinths_are_exactly_those_of_skimage(density):
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 2, 3], 150)[:, None] * (rng.random((450, 200)) < density)
    assert_equals_skimage(labels, NAMES)


def test_holes_of_all_objects_of_nine_pixels():
    assert_equals_skimage(all_of_nine_pixels(), NAMES)


def test_rings_in_rings_and_spirals():
    y, x = np.mgrid[-60:61, -60:61]
    radius = np.hypot(y, x)
    rings = (radius % 8 < 4).astype(int)
    spiral = ((radius + 8 * np.arctan2(y, x) / (2 * np.pi)) % 8 < 4).astype(int)
    assert_equals_skimage(np.concatenate([rings, 2 * spiral]), NAMES)


def test_a_hole_that_touches_the_outside_at_a_corner_is_not_filled_but_counted():
    labels = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 1]])
    result = measured(labels, NAMES)
    assert result["area_filled"] == 7
    assert result["euler_number"] == 0
    assert_equals_skimage(labels, NAMES)


def test_rows_without_pixels_of_a_label_open_its_gaps():
    labels = np.zeros((7, 6), int)
    labels[[0, 2, 4], 0] = labels[[0, 2, 4], 4] = labels[6] = 1
    labels[1] = labels[5] = 2
    assert_equals_skimage(labels, NAMES)


def test_pixels_of_other_labels_in_a_hole_are_filled():
    labels = np.ones((5, 5), int)
    labels[1:4, 1:4] = 2
    labels[2, 2] = 0
    assert measured(labels, NAMES)["area_filled"].values.tolist() == [25, 9]
    assert_equals_skimage(labels, NAMES)


@pytest.mark.parametrize("form", FORMS)
def test_objects_that_chunks_cut_have_the_same_holes(form):
    labels = random_objects(form, 50, 30, seed=2)
    xr.testing.assert_identical(measured(labels, NAMES, chunk=17), measured(labels, NAMES))


def test_the_filled_area_is_in_units_of_the_spacing():
    labels = random_objects("blobs", 40, 30, seed=3)
    result = measured(labels, NAMES, spacing=(0.5, 3))
    expected = regionprops_table(labels, properties=NAMES, spacing=(0.5, 3))
    for name in NAMES:
        np.testing.assert_allclose(result[name], expected[name], rtol=1e-14)
    assert result["euler_number"].dtype == np.int64


def test_labels_that_are_not_there_are_nan():
    result = measured(np.ones((3, 3), int), NAMES, labels=[5, 1])
    assert result["area_filled"].values.tolist()[1] == 9
    assert np.isnan(result.sel(label=5).to_array()).all()


def test_scikit_image_is_not_needed_in_2d(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.measure", None)
    monkeypatch.setitem(sys.modules, "skimage", None)
    assert measured(np.ones((3, 3), int), NAMES)["area_filled"] == 9


def test_in_3d_the_values_are_those_of_scikit_image(nuclei3d):
    assert_equals_skimage(nuclei3d[1].values, NAMES)


def test_a_mask_on_the_gpu_is_refused():
    codes = type("ndarray", (), {"__module__": "cupy"})()
    with pytest.raises(TypeError, match="euler_number runs in main memory, and the mask is on the GPU"):
        Holes(("euler_number",), (1.0, 1.0)).collect(Block(SimpleNamespace(ids=codes), (0, 0)))
