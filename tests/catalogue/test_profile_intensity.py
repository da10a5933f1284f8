"""The families of intensity and correlation against cp_measure, of each object in a crop of its own."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage as ndi

from xlabelstats.catalogue.profiles import PROFILE

INTENSITIES = {
    "sum": "IntegratedIntensity",
    "mean": "MeanIntensity",
    "std": "StdIntensity",
    "min": "MinIntensity",
    "max": "MaxIntensity",
    "p25": "LowerQuartileIntensity",
    "median": "MedianIntensity",
    "p75": "UpperQuartileIntensity",
    "edge_sum": "IntegratedIntensityEdge",
    "edge_mean": "MeanIntensityEdge",
    "edge_std": "StdIntensityEdge",
    "edge_min": "MinIntensityEdge",
    "edge_max": "MaxIntensityEdge",
    "mass_displacement": "MassDisplacement",
    "mad": "MADIntensity",
}
LOCATIONS = {"position_max": "MaxIntensity", "intensity_center": "CenterMassIntensity"}

# What is compared, by the call, the name there, and our measure and the channels that it compares.
CORRELATIONS = {
    "pearson": {"Pearson": ("pearson", 0, 1), "Slope": ("slope", 0, 1)},
    "manders_fold": {"Manders_1": ("manders", 0, 1), "Manders_2": ("manders", 1, 0)},
    "rwc": {"RWC_1": ("rwc", 0, 1), "RWC_2": ("rwc", 1, 0)},
    "overlap": {"Overlap": ("overlap", 0, 1), "K_1": ("k1", 0, 1), "K_2": ("k2", 0, 1)},
}


def objects_of(mask, pixels):
    """Every label with its object in a crop of its own, the pixels (..., *crop) over it, and the crop's first pixel."""
    for label in np.unique(mask[mask != 0]):
        box = ndi.find_objects((mask == label).astype(int))[0]
        inside = np.pad((mask[box] == label).astype(int), 1)
        light = pixels[(..., *box)].astype(float)
        margin = [(0, 0)] * (light.ndim - mask.ndim) + [(1, 1)] * mask.ndim
        yield label, inside, np.pad(light, margin), np.array([along.start - 1 for along in box])


@pytest.mark.parametrize("ndim", [2, 3])
def test_intensities_are_those_of_cp_measure(ndim, nuclei2d, nuclei3d):
    theirs = pytest.importorskip("cp_measure.core.measureobjectintensity")
    image, mask = (nuclei2d if ndim == 2 else nuclei3d)[:2]
    result = image.instances.profile(mask, "intensity")
    assert set(result) == {*INTENSITIES, *LOCATIONS} == set(PROFILE["intensity"].entries(ndim, {}))
    for label, inside, light, low in objects_of(mask.values, image.values):
        there, row = theirs.get_intensity(inside, light), result.sel(label=label)
        for ours, name in INTENSITIES.items():
            np.testing.assert_allclose(row[ours], there[f"Intensity_{name}"][0], rtol=1e-6, atol=1e-9, err_msg=ours)
        for ours, name in LOCATIONS.items():
            expected = low + [there[f"Location_{name}_{axis}"][0] for axis in "ZYX"[3 - ndim :]]
            np.testing.assert_allclose(row[ours], expected, rtol=1e-6, err_msg=ours)


@pytest.mark.parametrize("ndim", [2, 3])
def test_correlations_are_those_of_cp_measure(ndim, nuclei2d, nuclei3d):
    theirs = pytest.importorskip("cp_measure.core.measurecolocalization")
    image, mask = (nuclei2d if ndim == 2 else nuclei3d)[:2]
    noise = np.random.default_rng(1).integers(0, 1 + int(image.max()), image.shape)
    image = xr.concat([image.astype(float), (image + noise) // 2], "c")
    result = image.instances.profile(mask, "correlation")
    assert set(result) == {ours for names in CORRELATIONS.values() for ours, *_ in names.values()}
    for label, inside, light, _ in objects_of(mask.values, image.values):
        row = result.sel(label=label)
        for call, names in CORRELATIONS.items():
            there = getattr(theirs, f"get_correlation_{call}_ind")(*light, inside.astype(bool))
            for name, (ours, c, other) in names.items():
                found = row[ours].isel(c=c, c_=other)
                np.testing.assert_allclose(found, there[f"Correlation_{name}"], rtol=1e-6, atol=1e-9, err_msg=name)
