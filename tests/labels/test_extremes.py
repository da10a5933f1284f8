"""Positions of the smallest and the largest pixel of every label, against scipy and numpy on the whole array."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import scipy.ndimage as ndi
import xarray as xr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import xlabelstats

BOTH = ("position_min", "position_max")
DTYPES = ["?", "u1", "u2", "i4", "u8", "i8", "f2", "f4", "f8", ">f4"]


def by_numpy(image: np.ndarray, mask: np.ndarray, label: int, largest: bool, skipna: bool) -> np.ndarray:
    """The position of an extreme of one label, NaN if there is none."""
    own = np.flatnonzero(mask == label)
    pixels = image.ravel()[own].astype(np.float64)
    if skipna:
        own, pixels = own[~np.isnan(pixels)], pixels[~np.isnan(pixels)]
    if not own.size:
        return np.full(mask.ndim, np.nan)
    # Of pixels that are all NaN the first, as numpy's.
    return np.array(np.unravel_index(own[pixels.argmax() if largest else pixels.argmin()], mask.shape), float)


@pytest.mark.parametrize("chunk", [None, 200, 37])
def test_those_of_real_nuclei_are_scipys(nuclei2d, chunk):
    # Of equal pixels scipy takes any.
    nuclei = nuclei2d[0] + np.random.default_rng(0).uniform(0, 1, nuclei2d[0].shape), nuclei2d[1]
    image, mask = (array if chunk is None else array.chunk(chunk) for array in nuclei)
    result = image.labels.measure(mask, BOTH)
    ids = np.unique(nuclei[1].values)[1:]
    for name, oracle in zip(BOTH, (ndi.minimum_position, ndi.maximum_position), strict=True):
        assert result[name].dims == ("label", "axis")
        assert (result[name].chunks is None) == (chunk is None)
        assert result[name].dtype == np.float64
        np.testing.assert_array_equal(result[name], oracle(nuclei[0].values, nuclei[1].values, ids))
    assert result["axis"].values.tolist() == ["y", "x"]


@pytest.mark.parametrize("chunk", [None, 20, 7])
def test_those_of_volumes_are_the_statistics_argmin_and_argmax(nuclei3d, chunk):
    image, mask = (array if chunk is None else array.chunk(chunk) for array in nuclei3d)
    result = image.labels.measure(mask, BOTH).compute()
    flat = nuclei3d[0].labels.aggregate(nuclei3d[1], ("argmin", "argmax"))
    for name, index in zip(BOTH, ("argmin", "argmax"), strict=True):
        expected = np.stack(np.unravel_index(flat[index].values.astype(int), mask.shape), axis=-1)
        np.testing.assert_array_equal(result[name], expected)


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_those_of_any_field_in_any_chunks_are_the_first_of_numpys(data):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=6))
    dims = tuple("zyx"[-len(shape) :])
    dtype = np.dtype(data.draw(st.sampled_from(DTYPES)))
    mask = data.draw(hnp.arrays(np.int16, shape, elements=st.integers(-1, 3)))
    few = st.integers(0, 2) if dtype.kind in "iu" else st.booleans()
    if dtype.kind == "f":
        few = st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5])
    image = data.draw(hnp.arrays(dtype, (2, *shape), elements=few))
    skipna = data.draw(st.booleans())
    array = xr.DataArray(image, dims=("c", *dims)).transpose(*data.draw(st.permutations(("c", *dims))))
    labels = xr.DataArray(mask, dims=dims).transpose(*data.draw(st.permutations(dims)))
    chunks = {dim: data.draw(st.integers(1, 3)) for dim in (*dims, "c")}
    wanted = [3, -1, 77, 1]
    with dask.config.set(scheduler="synchronous"):
        result = array.chunk(chunks).labels.measure(labels.chunk(2), BOTH, labels=wanted, skipna=skipna).compute()
    xr.testing.assert_identical(result, array.labels.measure(labels, BOTH, labels=wanted, skipna=skipna))
    # Which of several comes first is a matter of the mask's dims.
    own = array.transpose("c", *labels.dims).values
    for name in BOTH:
        assert result[name].dims == ("label", "c", "axis")
        for i, label in enumerate(wanted):
            for c in range(2):
                expected = by_numpy(own[c], labels.values, label, name == "position_max", skipna)
                np.testing.assert_array_equal(result[name][i, c], expected)


class TestUnits:
    @staticmethod
    def field(y=None, x=None):
        mask = xr.DataArray(blobs((12, 15), 5), dims=("y", "x"))
        image = xr.DataArray(np.random.default_rng(0).normal(size=(12, 15)), dims=("y", "x"))
        coords = {}
        if y is not None:
            coords["y"] = ("y", y, {"units": "um"})
        if x is not None:
            coords["x"] = ("x", x, {"units": "um"})
        return image.assign_coords(coords), mask

    @pytest.mark.parametrize("even", [True, False])
    def test_positions_are_the_coordinates_of_pixels_evenly_spaced_or_not(self, even):
        x = 5 - 0.1 * np.arange(15) if even else np.cumsum(np.arange(15)) - 3.3
        image, mask = self.field(1000 + 0.3 * np.arange(12), x)
        result = image.chunk(5).labels.measure(mask, BOTH).compute()
        pixels = image.labels.measure(mask, BOTH, units="pixel")
        for name in BOTH:
            index = pixels[name].values.astype(int)
            assert pixels[name].attrs["units"] == "pixel"
            assert result[name].attrs["units"] == "um"
            np.testing.assert_array_equal(result[name][:, 0], image["y"].values[index[:, 0]])
            np.testing.assert_array_equal(result[name][:, 1], image["x"].values[index[:, 1]])
            at = image.sel(y=result[name][:, 0], x=result[name][:, 1], method="nearest")
            extreme = image.labels.measure(mask, name.removeprefix("position_"))
            np.testing.assert_array_equal(at, extreme[name.removeprefix("position_")])

    def test_with_a_spacing_they_count_from_pixel_0(self):
        image, mask = self.field(1000 + 0.3 * np.arange(12))
        pixels = image.labels.measure(mask, "position_max", units="pixel")["position_max"]
        result = image.labels.measure(mask, "position_max", spacing=(0.5, 2))["position_max"]
        np.testing.assert_array_equal(result, pixels * [0.5, 2])

    def test_in_pixels_every_length_of_the_call_is(self):
        image, mask = self.field(0.5 * np.arange(12), 0.5 * np.arange(15))
        names = ("area", "centroid", "position_min", "axis_major_length", "bbox")
        result = image.labels.measure(mask, names, units="pixel")
        xr.testing.assert_identical(
            result, image.drop_vars(["y", "x"]).labels.measure(mask, names).assign_coords(result.coords)
        )
        shapes = mask.assign_coords(image.coords).labels.regionprops(("area", "centroid"), units="pixel")
        np.testing.assert_array_equal(shapes["area"], mask.labels.count())
        assert shapes["area"].attrs["units"] == "pixel**2"

    def test_uneven_coordinates_do_no_harm_in_pixels(self):
        image, mask = self.field(x=np.cumsum(np.arange(15)))
        with pytest.raises(ValueError, match="the coordinates along 'x' are not evenly spaced; give spacing="):
            image.labels.measure(mask, ("area", "position_min"))
        result = image.labels.measure(mask, ("area", "position_min"), units="pixel")
        np.testing.assert_array_equal(result["area"], mask.labels.count())

    def test_units_that_are_none_and_two_kinds_of_lengths_are_errors(self):
        image, mask = self.field()
        with pytest.raises(ValueError, match="units is 'coords' or 'pixel', not 'um'"):
            image.labels.measure(mask, "position_min", units="um")
        with pytest.raises(ValueError, match="units='pixel' and spacing=2 contradict each other"):
            image.labels.regionprops(mask, "position_min", units="pixel", spacing=2)


class TestForms:
    def test_they_are_region_properties_of_an_image(self, nuclei2d):
        image, mask = nuclei2d
        result = image.labels.regionprops(mask, ("area", *BOTH))
        xr.testing.assert_identical(result[list(BOTH)], image.labels.measure(mask, BOTH))
        with pytest.raises(ValueError, match="position_min needs an image"):
            mask.labels.regionprops("position_min")

    def test_a_dataset_has_one_per_image(self, nuclei2d):
        image, mask = nuclei2d
        dataset = xr.Dataset({"DAPI": image, "inverse": 255 - image, "cells": mask})
        result = dataset.labels.regionprops("cells", ("area", *BOTH), units="pixel")
        assert set(result) == {"area", *(f"{name}_{of}" for name in BOTH for of in ("DAPI", "inverse"))}
        np.testing.assert_array_equal(result["position_min_DAPI"], result["position_max_inverse"])
        again = dataset.labels.measure("cells", BOTH, units="pixel")
        xr.testing.assert_equal(again["position_min_DAPI"], result["position_min_DAPI"])

    def test_a_table_has_a_column_per_axis(self, nuclei2d):
        image, mask = nuclei2d
        table = image.labels.measure(mask, "position_max").labels.to_dataframe()
        assert list(table) == ["position_max_y", "position_max_x"]

    def test_a_label_that_is_absent_or_all_nan_is_nan(self):
        mask = xr.DataArray([[1, 1, 2]], dims=("y", "x"))
        image = xr.DataArray([[np.nan, np.nan, 7.0]], dims=("y", "x"))
        for array in (image, image.chunk(x=1)):
            result = array.labels.measure(mask, "position_min", labels=[9, 2, 1])["position_min"]
            np.testing.assert_array_equal(result, [[np.nan] * 2, [0, 2], [np.nan] * 2])

    def test_cellprofilers_name_is_listed(self):
        assert xlabelstats.measures().loc["position_max", "cellprofiler"] == "Location_MaxIntensity"
