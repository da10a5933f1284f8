"""The family of neighbours in a profile: its measures and the closest labels, in the same rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xlabelstats
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


@pytest.fixture(scope="module")
def volume():
    return xlabelstats.datasets.nuclei3d(spacing=(2, 0.5, 0.5))


class TestSpacing:
    """Distances are in pixels, which is said where those in units of the coordinates have another order."""

    SAID = (
        r"neighbors: the closest labels .* in pixels, though the spacing differs \(z 2, y 0.5, x 0.5\); .*"
        r"mask\.labels\.neighbors\(distance, between='centroids'\)"
    )

    @staticmethod
    def bare(array):
        return array.drop_vars(list(array.coords))

    def test_planes_that_are_further_apart_are_told_once(self, volume):
        image, mask = volume
        with pytest.warns(UserWarning, match=self.SAID) as caught:
            result = image.instances.profile(mask, "neighbors")
        assert len(caught) == 1
        pairs = mask.labels.neighbors(np.inf, between="centroids").to_dataframe()
        pairs = [pairs, pairs.rename(columns={"label": "neighbor", "neighbor": "label"})]
        nearest = (
            pd.concat(pairs)
            .sort_values("distance")
            .drop_duplicates("label")
            .set_index("label")["neighbor"]
            .sort_index()
        )
        assert (result["first_closest_label"].to_series() != nearest).any()

    def test_coordinates_of_the_image_alone_tell_it_too(self, volume):
        image, mask = volume
        for call in (
            lambda: image.instances.profile(self.bare(mask), "neighbors"),
            lambda: xr.Dataset({"nuclei": mask, "image": image}).instances.profile("nuclei", "neighbors"),
        ):
            with pytest.warns(UserWarning, match=self.SAID) as caught:
                call()
            assert len(caught) == 1

    def test_of_equal_spacing_other_families_and_no_lengths_nothing_is_said(self, volume):
        image, mask = volume
        image.instances.profile(mask, ["intensity"], labels=[1])
        self.bare(image).instances.profile(self.bare(mask), "neighbors")
        uneven = {"z": np.arange(mask.sizes["z"]) ** 2.0}
        image.assign_coords(uneven).instances.profile(mask.assign_coords(uneven), "neighbors")
        image, mask = xlabelstats.datasets.nuclei3d(spacing=0.3)
        image.instances.profile(mask, "neighbors")

    def test_of_a_single_plane_and_of_empty_masks_nothing_is_said(self, volume):
        image, mask = volume
        for z in (slice(3, 4), slice(0)):
            image.isel(z=z).instances.profile(mask.isel(z=z), "neighbors")
