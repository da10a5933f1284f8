"""Radii, Feret diameters and light at edges against scipy and numpy, object by object."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from objects import FORMS, random_objects
from scipy import ndimage as ndi
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

RADII = ("radius_max", "radius_mean", "radius_median")
EDGES = ("edge_sum", "edge_mean", "edge_std", "edge_min", "edge_max")


def measured(pixels, labels, names, **options):
    dims = ("z", "y", "x")[3 - labels.ndim :]
    image, mask = xr.DataArray(pixels, dims=dims), xr.DataArray(labels, dims=dims)
    return image.labels.measure(mask, names, **options)


FIELDS = [random_objects(form, 25, 24) for form in FORMS]


def crops(labels):
    for label in np.unique(labels[labels != 0]):
        inside = labels == label
        yield label, np.pad(inside[ndi.find_objects(inside.astype(int))[0]], 1), inside


@pytest.mark.parametrize("labels", FIELDS, ids=FORMS)
def test_radii_are_those_of_the_distance_transform(labels):
    result = measured(labels, labels, RADII)
    for label, crop, _ in crops(labels):
        distances = ndi.distance_transform_edt(crop)[crop]
        expected = [distances.max(), distances.mean(), np.median(distances)]
        np.testing.assert_allclose([float(result[name].sel(label=label)) for name in RADII], expected, rtol=1e-12)


def test_radii_of_volumes_are_those_of_the_distance_transform_in_units(nuclei3d):
    image, mask = nuclei3d[:2]
    result = measured(image.values, mask.values, RADII, spacing=0.5)
    for label, crop, _ in crops(mask.values):
        distances = ndi.distance_transform_edt(crop, sampling=0.5)[crop]
        expected = [distances.max(), distances.mean(), np.median(distances)]
        np.testing.assert_allclose([float(result[name].sel(label=label)) for name in RADII], expected, rtol=1e-12)


@pytest.mark.parametrize("labels", FIELDS, ids=FORMS)
def test_feret_diameters_are_those_of_the_hull_of_pixel_centres(labels):
    result = measured(labels, labels, ("feret_min", "feret_max"))
    for label, _, inside in crops(labels):
        points = np.argwhere(inside).astype(float)
        longest = pdist(points).max() if len(points) > 1 else 0
        try:
            hull = ConvexHull(points)
            corners = points[hull.vertices]
            width = min((corners @ e[:2]).max() - (corners @ e[:2]).min() for e in hull.equations)
        except QhullError:
            width = 0
        np.testing.assert_allclose(float(result["feret_max"].sel(label=label)), longest, rtol=1e-12)
        np.testing.assert_allclose(float(result["feret_min"].sel(label=label)), width, rtol=1e-9, atol=1e-12)


def light_of(pixels, inside):
    edge = inside & ~ndi.binary_erosion(inside)
    values, at = pixels[inside].astype(float), np.argwhere(inside)
    center = (values[:, None] * at).sum(axis=0) / values.sum()
    return {
        "edge_sum": pixels[edge].sum(dtype=float),
        "edge_mean": pixels[edge].mean(dtype=float),
        "edge_std": pixels[edge].std(dtype=float),
        "edge_min": pixels[edge].min(),
        "edge_max": pixels[edge].max(),
        "mad": np.median(abs(values - np.median(values))),
        "intensity_center": center,
        "mass_displacement": np.linalg.norm(center - at.mean(axis=0)),
    }


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float64])
@pytest.mark.parametrize("labels", [*FIELDS, np.ones((4, 5, 6), int)], ids=[*FORMS, "volume"])
def test_light_is_that_of_numpy(labels, dtype):
    pixels = (np.random.default_rng(5).uniform(1, 100, labels.shape)).astype(dtype)
    names = (*EDGES, "mad", "mass_displacement", "intensity_center")
    result = measured(pixels, labels, names)
    for label, _, inside in crops(labels):
        for name, expected in light_of(pixels, inside).items():
            value = result[name].sel(label=label).values
            np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-9, err_msg=name)


def test_light_of_nuclei_is_that_of_cp_measure(nuclei2d):
    theirs = pytest.importorskip("cp_measure.core.measureobjectintensity")
    image, mask = (array.values for array in nuclei2d[:2])
    result = measured(image, mask, (*EDGES, "mad", "mass_displacement"))
    for label, crop, inside in crops(mask):
        light = np.pad(image[ndi.find_objects(inside.astype(int))[0]].astype(float), 1)
        values_there = theirs.get_intensity(crop.astype(int), light)
        for ours, name in (
            *((name, f"{name[5:].title().replace('Sum', 'Integrated')}IntensityEdge") for name in EDGES),
            ("mad", "MADIntensity"),
            ("mass_displacement", "MassDisplacement"),
        ):
            expected = values_there[f"Intensity_{name}"][0]
            np.testing.assert_allclose(result[ours].sel(label=label), expected, rtol=1e-6, atol=1e-9, err_msg=name)


def test_the_centre_of_light_lies_in_coordinates():
    image = xr.DataArray([[0.0, 1, 3], [0, 0, 0]], {"y": [10.0, 12], "x": [0.0, 0.5, 1]}, ["y", "x"])
    result = image.labels.measure(xr.ones_like(image, dtype=int), ("intensity_center", "mass_displacement"))
    assert result["intensity_center"].values.tolist() == [[10, 0.875]]
    assert result["mass_displacement"].values.tolist() == [np.hypot(0.5, 0.75)]


def test_light_that_adds_up_to_nothing_has_no_centre():
    result = measured(np.zeros((3, 3)), np.ones((3, 3), int), ("mass_displacement", "intensity_center", "edge_sum"))
    assert np.isnan(result["mass_displacement"]).all()
    assert np.isnan(result["intensity_center"]).all()
    assert float(result["edge_sum"][0]) == 0
    # These add up to 3e-17.
    nearly = measured(np.array([[0.1, 0.2, -0.3]]), np.ones((1, 3), int), ("mass_displacement", "intensity_center"))
    assert np.isnan(nearly["mass_displacement"]).all()
    assert np.isnan(nearly["intensity_center"]).all()


def test_light_that_adds_up_to_nothing_has_no_granularity_and_no_fractions():
    light = np.repeat([0.1, 0.2, -0.3], 3) * np.ones((3, 1))
    result = measured(light, np.ones((3, 9), int), ("granularity", "radial_fraction", "radial_mean_fraction"))
    assert all(np.isnan(values).all() for values in result.values())
