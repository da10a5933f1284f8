"""What newcomers do: switches that are no switches, planes and units that differ, tables that were filtered."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import blobs

import xlabelstats


@pytest.fixture
def pair() -> tuple[xr.DataArray, xr.DataArray]:
    mask = xr.DataArray(blobs((40, 50), 9), dims=("y", "x"))
    return xr.DataArray(np.random.default_rng(0).normal(100, 9, (40, 50)), dims=("y", "x")), mask


@pytest.mark.parametrize("background", [-1, 2, 255, 1.0, "no", None])
def test_a_background_that_is_a_number_is_refused_by_every_call(pair, background):
    image, mask = pair
    for call in (
        lambda: image.labels.mean(mask, background=background),
        lambda: image.labels.measure(mask, ("mean", "median"), background=background),
        lambda: image.chunk(20).labels.mean(mask, background=background),
        lambda: image.labels.median(mask, background=background),
        lambda: mask.labels.regionprops("area", background=background),
        lambda: mask.instances.regionprops("solidity", background=background),
        lambda: mask.labels.ids(background=background),
        lambda: mask.labels.scan(background=background),
        lambda: mask.labels.center_of_mass(background=background),
        lambda: mask.instances.radii_and_axes(background=background),
        lambda: image.instances.statistics(mask, np.ptp, dims={}, fn_kwargs={"axis": 1}, background=background),
    ):
        with pytest.raises(TypeError, match="background is True or False, not"):
            call()


def test_skipna_is_true_or_false(pair):
    image, mask = pair
    with pytest.raises(TypeError, match="skipna is True or False, not 'False'"):
        image.labels.mean(mask, skipna="False")


def test_planes_that_differ_are_said(pair):
    image, mask = (array.assign_coords(z=z) for array, z in zip(pair, (6.0, 20.0), strict=True))
    with pytest.warns(UserWarning, match=r"image and mask are at different z: 6\.0 and 20\.0; choose the same plane"):
        image.labels.mean(mask)
    image.labels.mean(mask.assign_coords(z=6.0))


def test_lengths_in_several_units_are_not_mixed(pair):
    _, mask = pair
    mask = mask.assign_coords(
        y=("y", np.arange(40) * 0.5, {"units": "um"}), x=("x", np.arange(50) * 500.0, {"units": "nm"})
    )
    for call in (
        lambda: mask.labels.regionprops(("area", "eccentricity")),
        lambda: mask.instances.radii_and_axes(),
        lambda: mask.instances.regionprops("feret_diameter_max"),
    ):
        with pytest.raises(ValueError, match="in several units: 'y' in 'um', 'x' in 'nm'; convert them to one"):
            call()
    np.testing.assert_array_equal(mask.labels.regionprops("area", spacing=1)["area"], mask.labels.count())
    assert mask.labels.regionprops("centroid")["centroid"].sizes["axis"] == 2


def test_units_of_image_and_mask_agree(pair):
    image, mask = (
        array.assign_coords(x=("x", np.arange(50.0), {"units": units}))
        for array, units in zip(pair, ("um", "nm"), strict=True)
    )
    with pytest.raises(ValueError, match="along 'x' are in 'um' in the image and in 'nm' in the mask"):
        image.labels.mean(mask)
    mask["x"].attrs["units"] = "micrometer"
    image.labels.mean(mask)


def test_rows_of_a_filtered_table_are_not_taken_for_labels(pair):
    image, mask = pair
    table = image.labels.aggregate(mask, ("count", "mean")).labels.to_dataframe().reset_index()
    filtered = table[table.index % 2 == 0]["mean"]
    with pytest.raises(ValueError, match="it may hold the numbers of the rows of a table"):
        mask.labels.paint(filtered)
    painted = mask.labels.paint(table.set_index("label")["mean"])
    assert painted.notnull().sum() == (mask > 0).sum()
    mask.labels.paint(pd.Series({int(label): 1.0 for label in mask.labels.ids()[:3]}))


@pytest.mark.parametrize("name", ["P95", "95", "q95", "p_95", "p95%", "percentile_95", "95th"])
def test_percentiles_are_answered_with_ours(pair, name):
    image, mask = pair
    with pytest.raises(ValueError, match="which is called 'p95' here"):
        image.labels.measure(mask, name)


@pytest.mark.parametrize("name", ["mean, median", "mean median"])
def test_several_names_in_one_are_a_tuple(pair, name):
    image, mask = pair
    with pytest.raises(ValueError, match=r"give a tuple of them: \('mean', 'median'\)"):
        image.labels.measure(mask, name)


def test_modules_are_there_when_they_are_asked_for():
    assert xlabelstats.pipeline.connected_components
    with pytest.raises(AttributeError, match="no attribute 'pipelines'"):
        _ = xlabelstats.pipelines


def test_in_3d_the_properties_by_default_are_those_of_3d(nuclei3d):
    result = nuclei3d[1].instances.regionprops(labels=nuclei3d[1].labels.ids()[:2])
    assert "solidity" in result
    assert "perimeter" not in result


def test_a_mask_that_is_a_variable_is_not_measured_as_an_image(pair):
    image, mask = pair
    dataset = xr.Dataset({"DAPI": image, "cells": mask})
    assert set(dataset.labels.measure(dataset["cells"], ("mean", "area"))) == {"mean_DAPI", "area"}


def test_spacing_is_one_number_or_one_per_dim(pair):
    with pytest.raises(ValueError, match="spacing is one number or one per dim"):
        pair[1].labels.regionprops("area", spacing=(0.5,))
