"""Zernike moments against a slow numpy version, mahotas, cp_measure and closed forms."""

from __future__ import annotations

import itertools
from math import factorial

import numpy as np
import pytest
import xarray as xr
from objects import FORMS, random_objects
from scipy import ndimage as ndi

from xlabelstats.catalogue.zernike import ORDERS

NAMES = ("zernike", "radial_zernike_magnitude", "radial_zernike_phase")


def moments(pixels, labels):
    image, mask = (xr.DataArray(array, dims=("y", "x")) for array in (pixels, labels))
    return image.labels.measure(mask, NAMES)


def circle_of(points):
    """The smallest circle around points, by trying all pairs and triples of the corners of their hull."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        points = points[ConvexHull(points).vertices]
    except QhullError:
        points = points[[points[:, 0].argmin(), points[:, 0].argmax(), points[:, 1].argmin(), points[:, 1].argmax()]]
    best = (np.inf, None)
    for a, b in itertools.combinations(points, 2):
        best = _smaller(best, (a + b) / 2, points, a)
    for a, b, c in itertools.combinations(points, 3):
        matrix = 2 * np.array([b - a, c - a])
        if abs(np.linalg.det(matrix)) > 1e-9:
            centre = np.linalg.solve(matrix, [b @ b - a @ a, c @ c - a @ a])
            best = _smaller(best, centre, points, a)
    return best


def _smaller(best, centre, points, on):
    radius = np.linalg.norm(on - centre)
    holds = np.linalg.norm(points - centre, axis=1).max() <= radius * (1 + 1e-10) + 1e-12
    return (radius, centre) if holds and radius < best[0] else best


def expected(light, inside):
    """The sums over one object's pixels of ones and of light, times the polynomials; and the circle's radius."""
    points = np.argwhere(inside).astype(float)
    radius, centre = circle_of(points)
    y, x = ((points - centre) / radius).T
    r2 = y**2 + x**2
    kept = r2 <= 1 + 1e-9
    sums = []
    for weight in (np.ones(len(points)), light[inside].astype(float)):
        of_weight = []
        for n, m in ORDERS:
            radial = sum(
                (-1) ** k
                * factorial(n - k)
                / (factorial(k) * factorial((n + m) // 2 - k) * factorial((n - m) // 2 - k))
                * np.sqrt(r2) ** (n - 2 * k)
                for k in range((n - m) // 2 + 1)
            )
            turned = np.exp(1j * m * np.arctan2(x, y))
            of_weight.append((weight * radial * turned)[kept].sum())
        sums.append(np.array(of_weight))
    return sums[0], sums[1], radius


@pytest.mark.parametrize("form", FORMS)
def test_moments_are_those_of_the_sums_in_the_smallest_circle(form):
    labels = random_objects(form, 12, 18)
    pixels = np.random.default_rng(0).uniform(1, 9, labels.shape)
    result = moments(pixels, labels)
    for label in np.unique(labels[labels != 0]):
        inside = labels == label
        rows = result.sel(label=label)
        if inside.sum() == 1:
            assert all(np.isnan(rows[name]).all() for name in NAMES)
            continue
        shape, light, radius = expected(pixels, inside)
        n = inside.sum()
        np.testing.assert_allclose(rows["zernike"], abs(shape) / (np.pi * radius**2), rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(rows["radial_zernike_magnitude"], abs(light) / n, rtol=1e-7, atol=1e-8)
        clear = abs(light) > 1e-6 * n
        turned = np.arctan2(light.real, light.imag)[clear] - rows["radial_zernike_phase"].values[clear]
        np.testing.assert_allclose(np.exp(1j * turned), 1, atol=1e-5)


def test_nuclei_have_the_values_of_cp_measure(nuclei2d):
    shapes = pytest.importorskip("cp_measure.core.measureobjectsizeshape")
    light = pytest.importorskip("cp_measure.core.measureobjectintensitydistribution")
    image, mask = (array.values for array in nuclei2d[:2])
    result = moments(image, mask)
    alike = 0
    for label in np.unique(mask)[1:]:
        inside = mask == label
        box = ndi.find_objects(inside.astype(int))[0]
        crop, pixels = inside[box].astype(int), image[box].astype(float)
        theirs = np.array(list(shapes.get_zernike(crop, pixels).values()))[:, 0]
        values = result.sel(label=label)
        # There, pixels on the circle are counted or not by rounding.
        if np.allclose(values["zernike"], theirs, rtol=1e-6, atol=1e-8):
            alike += 1
            values_there = light.get_radial_zernikes(crop, pixels)
            magnitude = [values_there[f"RadialDistribution_ZernikeMagnitude_{n}_{m}"][0] for n, m in ORDERS]
            np.testing.assert_allclose(values["radial_zernike_magnitude"], magnitude, rtol=1e-6, atol=1e-6)
    assert alike > 0.5 * result.sizes["label"]


def test_a_quarter_turn_and_a_mirror_keep_the_magnitudes(nuclei2d):
    image, mask = (array.values for array in nuclei2d[:2])
    one = moments(image, mask)
    for turned in (np.rot90, np.fliplr, np.transpose):
        other = moments(turned(image).copy(), turned(mask).copy())
        for name in NAMES[:2]:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-7, atol=1e-7)


def test_a_large_disc_has_the_moment_of_its_area_alone():
    y, x = np.indices((301, 301)) - 150
    disc = (y**2 + x**2 <= 150**2).astype(int)
    result = moments(disc, disc)["zernike"].isel(label=0)
    assert float(result.sel(order="0_0")) == pytest.approx(1, abs=2e-3)
    assert float(abs(result.where(result["radial_order"] > 0)).max()) < 2e-2


def test_the_orders_are_named_as_in_cellprofiler():
    result = moments(np.ones((4, 5)), np.ones((4, 5), int))
    assert result["order"].values[:6].tolist() == ["0_0", "1_1", "2_0", "2_2", "3_1", "3_3"]
    assert result["order"].values[-1] == "9_9"
    assert result.sizes["order"] == 30
    assert [
        f"{n}_{m}" for n, m in zip(result["radial_order"].values, result["azimuthal_order"].values, strict=True)
    ] == (result["order"].values.tolist())
