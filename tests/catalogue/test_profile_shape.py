"""Every measure of the family of shapes against cp_measure, of each object in a crop of its own."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage as ndi

from xlabelstats.catalogue.profiles import PROFILE

# Measures of volumes that cp_measure has not, or that mean something else there: its surface is that of a mesh.
NOT_THERE = {2: set(), 3: {"radius_max", "radius_mean", "radius_median", "surface_area"}}

NAMES = {
    "perimeter": "Perimeter",
    "circularity": "FormFactor",
    "compactness": "Compactness",
    "eccentricity": "Eccentricity",
    "extent": "Extent",
    "euler_number": "EulerNumber",
    "equivalent_diameter_area": "EquivalentDiameter",
    "axis_major_length": "MajorAxisLength",
    "axis_minor_length": "MinorAxisLength",
    "area_convex": "ConvexArea",
    "solidity": "Solidity",
    "radius_max": "MaximumRadius",
    "radius_mean": "MeanRadius",
    "radius_median": "MedianRadius",
    "feret_min": "MinFeretDiameter",
    "feret_max": "MaxFeretDiameter",
}
MOMENTS = {
    "moments": "SpatialMoment",
    "moments_central": "CentralMoment",
    "moments_normalized": "NormalizedMoment",
    "moments_hu": "HuMoment",
    "inertia_tensor": "InertiaTensor",
    "inertia_tensor_eigvals": "InertiaTensorEigenvalues",
}


def converted(theirs, ndim, low):
    """What cp_measure tells of an object, under our names; its crop begins at the pixel ``low``."""
    axes = "ZYX"[3 - ndim :]
    of_area = "Volume" if ndim == 3 else "Area"
    values = {ours: theirs[name] for ours, name in NAMES.items() if name in theirs}
    values |= {"area": theirs[of_area], "area_bbox": theirs[f"BoundingBox{of_area}"]}
    values["centroid"] = [low[i] + theirs[f"Center_{axis}"] for i, axis in enumerate(axes)]
    ends = [f"BoundingBox{end}_" for end in ("Minimum", "Maximum")]
    values["bbox"] = [[low[i] + theirs[f"{end}{axis}"] for i, axis in enumerate(axes)] for end in ends]
    if ndim == 2:
        values["orientation"] = np.radians(theirs["Orientation"])
    for ours, name in MOMENTS.items():
        orders = [tuple(map(int, key.split("_")[1:])) for key in theirs if key.startswith(f"{name}_")]
        if orders:
            values[ours] = {order: theirs["_".join(map(str, (name, *order)))] for order in orders}
    return values


def objects_of(mask, pixels):
    """Every label with its object in a crop of its own, the pixels over it, and the first pixel of the crop."""
    for label in np.unique(mask[mask != 0]):
        box = ndi.find_objects((mask == label).astype(int))[0]
        inside, light = np.pad(mask[box] == label, 1).astype(int), np.pad(pixels[box], 1)
        yield label, inside, light, [along.start - 1 for along in box]


def assert_equal(row, values):
    """Values are those of a row; moments are compared in the orders that cp_measure has."""
    for name, expected in values.items():
        found, scale = row[name].values, 1.0
        if isinstance(expected, dict):
            # What is 0 but for rounding is compared with the largest of its degree; all of degree 1 are, with the area.
            degrees = np.array([0 if "inertia" in name else sum(order) for order in expected])
            found, expected = np.array([found[order] for order in expected]), np.array([*expected.values()])
            area = float(row["area"]) if name == "moments_central" else 0
            scale = np.array([np.max(np.abs(expected[degrees == degree]), initial=area) for degree in degrees])
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected), name)
        np.testing.assert_array_less(abs(found - expected), 1e-6 * np.abs(expected) + 1e-9 * scale + 1e-18, name)


@pytest.mark.parametrize("ndim", [2, 3])
def test_shapes_are_those_of_cp_measure(ndim, nuclei2d, nuclei3d):
    theirs = pytest.importorskip("cp_measure.core.measureobjectsizeshape")
    image, mask = (nuclei2d if ndim == 2 else nuclei3d)[:2]
    result = image.instances.profile(mask, "shape")
    assert set(result) == set(PROFILE["shape"].entries(ndim, {}))
    compared = set()
    for label, inside, light, low in objects_of(mask.values, image.values):
        with np.errstate(divide="ignore", invalid="ignore"):
            there = theirs.get_sizeshape(inside, light) | theirs.get_feret(inside, light)
        there = {name: float(value[0]) for name, value in there.items()}
        values = {name: value for name, value in converted(there, ndim, low).items() if name in result}
        assert_equal(result.sel(label=label), values)
        compared |= set(values)
    assert set(result) - compared == NOT_THERE[ndim]


def test_compactness_is_one_over_circularity(nuclei2d):
    result = nuclei2d[1].labels.measure(("circularity", "compactness"), spacing=0.3)
    np.testing.assert_allclose(result["compactness"] * result["circularity"], 1, rtol=1e-12)


def test_compactness_of_a_pixel_is_nothing():
    mask = xr.DataArray(np.array([[0, 1, 0]]), dims=("y", "x"))
    assert mask.labels.measure("compactness")["compactness"].values.tolist() == [0]
