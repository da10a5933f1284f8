"""The distribution of light from centre to edge against shortest paths of scipy and against cp_measure."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from objects import FORMS, random_objects
from scipy import ndimage as ndi
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

NAMES = ("radial_fraction", "radial_mean_fraction", "radial_cv")


def rings_of(pixels, labels, rings=4, **options):
    image, mask = (xr.DataArray(array, dims=("y", "x")) for array in (pixels, labels))
    return image.labels.measure(mask, [(name, {"rings": rings}) for name in NAMES], **options)


def expected(light, inside, rings=4):
    """The three numbers of every ring of one object, the slow way."""
    inside, light = np.pad(inside, 1), np.pad(light.astype(float), 1)
    edge = ndi.distance_transform_edt(inside)
    at = np.argwhere(inside)
    number = np.full(inside.shape, -1)
    number[inside] = np.arange(len(at))
    centre = int(np.argmax(edge[inside]))
    rows, columns, lengths = [], [], []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        other = number[at[:, 0] + dy, at[:, 1] + dx]
        rows += np.flatnonzero(other >= 0).tolist()
        columns += other[other >= 0].tolist()
        lengths += [np.hypot(dy, dx)] * int((other >= 0).sum())
    graph = coo_matrix((lengths, (rows, columns)), (len(at), len(at))).tocsr()
    path = dijkstra(graph, directed=False, indices=centre)
    ring = np.full(len(at), -1)
    reached = np.isfinite(path)
    ring[reached] = (rings * path[reached] / (path[reached] + edge[inside][reached] + 0.001)).astype(int)
    values = light[inside]
    dy, dx = (at - at[centre]).T
    wedge = (dy > 0) + 2 * (dx > 0) + 4 * (abs(dy) > abs(dx))
    result = np.full((3, rings), np.nan)
    for k in range(rings):
        of_ring = ring == k
        result[0, k] = values[of_ring].sum() / values[reached].sum()
        if of_ring.any():
            result[1, k] = result[0, k] / (of_ring.sum() / reached.sum())
            means = [values[of_ring & (wedge == w)].mean() for w in range(8) if (of_ring & (wedge == w)).any()]
            result[2, k] = np.std(means) / np.mean(means)
    return result


@pytest.mark.parametrize("rings", [4, 2])
@pytest.mark.parametrize("form", FORMS)
def test_rings_are_those_of_shortest_paths(form, rings):
    labels = random_objects(form, 25, 24)
    pixels = np.random.default_rng(0).uniform(1, 9, labels.shape)
    result = rings_of(pixels, labels, rings)
    for label in np.unique(labels[labels != 0]):
        values = np.stack([result[name].sel(label=label) for name in NAMES])
        np.testing.assert_allclose(
            values, expected(pixels, labels == label, rings), rtol=1e-9, atol=1e-12, err_msg=str(label)
        )


def test_nuclei_have_the_values_of_cp_measure(nuclei2d):
    theirs = pytest.importorskip("cp_measure.core.measureobjectintensitydistribution")
    image, mask = (array.values for array in nuclei2d[:2])
    result = rings_of(image, mask)
    for label in np.unique(mask)[1:]:
        inside = mask == label
        box = ndi.find_objects(inside.astype(int))[0]
        crop, light = np.pad(inside[box], 1).astype(int), np.pad(image[box].astype(float), 1)
        with np.errstate(invalid="ignore"):
            values_there = theirs.get_radial_distribution(crop, light)
        for ours, name in zip(NAMES, ("FracAtD", "MeanFrac", "RadialCV"), strict=True):
            expected = [values_there[f"RadialDistribution_{name}_{k}of4"][0] for k in (1, 2, 3, 4)]
            values = result[ours].sel(label=label).fillna(0)
            np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-9, err_msg=f"{ours} {label}")


def test_the_fractions_of_an_object_add_up_to_one(nuclei2d):
    image, mask = nuclei2d[:2]
    fractions = image.labels.measure(mask, "radial_fraction", spacing=1)["radial_fraction"]
    np.testing.assert_allclose(fractions.sum("ring"), 1, rtol=1e-12)


def test_even_light_has_the_mean_fraction_one_and_does_not_vary(nuclei2d):
    _, mask = nuclei2d[:2]
    result = rings_of(np.full(mask.shape, 7, np.uint8), mask.values)
    np.testing.assert_allclose(result["radial_mean_fraction"].fillna(1), 1, rtol=1e-12)
    np.testing.assert_allclose(result["radial_cv"].fillna(0), 0, atol=1e-12)


def test_parts_that_no_path_reaches_are_left_out():
    labels = np.zeros((9, 20), int)
    labels[1:8, 1:8] = 1
    whole = rings_of(np.ones(labels.shape), labels)
    labels[4, 15:18] = 1
    apart = rings_of(np.where(labels == 1, np.arange(20.0), 0) * 0 + 1, labels)
    xr.testing.assert_allclose(whole, apart)


def test_no_light_has_no_distribution():
    result = rings_of(np.zeros((5, 5)), np.ones((5, 5), int))
    assert all(np.isnan(result[name]).all() for name in NAMES)


@pytest.mark.parametrize("rings", [0, -1, 2.5, True, "all"])
def test_rings_are_a_number_from_one_on(rings):
    with pytest.raises(ValueError, match="rings is a number from 1 on"):
        rings_of(np.ones((3, 3)), np.ones((3, 3), int), rings)
