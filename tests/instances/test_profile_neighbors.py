"""The family of neighbours in a profile: its measures and the closest labels, in the same rows."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from xlabelstats.labels.closest import ABOUT, closest

NAMES = ("neighbor_count", "percent_touching", *ABOUT)


@pytest.fixture(scope="module")
def cells(nuclei2d):
    return nuclei2d[0], nuclei2d[1].labels.expand(5)


def test_the_family_has_its_measures_and_the_closest_labels(cells):
    image, mask = cells
    result = image.instances.profile(mask, "neighbors")
    assert tuple(result) == NAMES
    xr.testing.assert_identical(result[list(ABOUT)].drop_attrs(), closest(mask).drop_attrs())


def test_a_lazy_profile_has_all_in_the_same_rows_and_chunks(cells):
    image, mask = cells
    for options in ({}, {"batch_size": 7}, {"labels": [9, 99999, 4, 1], "batch_size": 3}, {"background": True}):
        expected = image.instances.profile(mask, "neighbors", **options)
        lazy = image.chunk(100).instances.profile(mask.chunk(100), "neighbors", **options)
        assert {variable.chunks for variable in lazy.values()} == {lazy["neighbor_count"].chunks}
        assert all(variable.chunks for variable in lazy.values())
        xr.testing.assert_identical(lazy.compute(), expected)


def test_other_families_keep_their_bits_beside_neighbours(cells):
    image, mask = cells
    alone = image.instances.profile(mask, ["intensity", "radial_zernike"])
    names = ["intensity", "radial_zernike", "neighbors"]
    beside = image.chunk(100).instances.profile(mask.chunk(100), names).compute()
    xr.testing.assert_identical(beside[list(alone)], alone)


def test_every_position_has_neighbours_of_its_own(cells):
    image, mask = cells
    frames = xr.concat([mask, mask.isel(y=slice(None, None, -1))], "t")
    pictures = xr.concat([image, image], "t")
    for arrays in ((pictures, frames), (pictures.chunk(t=1, y=100), frames.chunk(t=1, y=100))):
        result = arrays[0].instances.profile(arrays[1], "neighbors", per="t").compute()
        for t in range(2):
            expected = image.instances.profile(frames.isel(t=t), "neighbors")
            rows = result.isel(object=np.flatnonzero(result["t"] == t))
            for name in NAMES:
                np.testing.assert_array_equal(rows[name], expected[name])


def test_volumes_have_neighbours(nuclei3d):
    image, mask = nuclei3d[:2]
    result = image.instances.profile(mask, "neighbors")
    assert tuple(result) == NAMES
    xr.testing.assert_identical(image.chunk(15).instances.profile(mask.chunk(15), "neighbors").compute(), result)
