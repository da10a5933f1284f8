"""Neighbours of objects, and how much of their outline touches others, against scipy's dilations and cp_measure."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage as ndi

import xlabelstats

NAMES = ("neighbor_count", "percent_touching")


def measured(pixels, **options):
    return xr.DataArray(pixels, dims=("z", "y", "x")[3 - pixels.ndim :]).labels.measure(NAMES, **options)


def neighbours_of(labels, label):
    """The two measures of a label, by dilations of the whole mask."""
    direct, corners = (ndi.generate_binary_structure(labels.ndim, n) for n in (1, labels.ndim))
    inside = labels == label
    beside = np.unique(labels[ndi.binary_dilation(inside, direct)])
    outline = inside & ~ndi.binary_erosion(inside, corners)
    touching = outline & ndi.binary_dilation((labels != 0) & ~inside, corners)
    return np.setdiff1d(beside, [0, label]).size, 100 * touching.sum() / outline.sum()


def masks(ndim, most, side=9):
    return arrays.arrays(np.int16, st.tuples(*[st.integers(1, side)] * ndim), elements=st.integers(-1, most))


def assert_right(labels, result):
    values = [tuple(float(result[name].sel(label=label)) for name in NAMES) for label in result["label"]]
    assert values == [neighbours_of(labels, label) for label in result["label"].values]


@given(labels=st.one_of(masks(2, 1), masks(2, 6), masks(3, 2), masks(3, 9)), background=st.booleans())
def test_neighbours_are_those_of_dilations(labels, background):
    assert_right(labels, measured(labels, background=background))


def test_neighbours_of_nuclei_are_those_of_dilations(nuclei2d, nuclei3d):
    for _, mask, *_ in (nuclei2d, nuclei3d):
        grown = xr.DataArray(mask.values, dims=mask.dims).labels.expand(4).values
        result = measured(grown)
        assert result["neighbor_count"].max() > 1
        assert_right(grown, result.isel(label=slice(None, None, 9)))


def test_neighbours_are_those_of_cp_measure(nuclei2d):
    theirs = pytest.importorskip("cp_measure.multimask.measureobjectneighbors")
    grown = nuclei2d[1].labels.expand(5)
    codes = grown.labels.relabel().values.astype(np.int32)
    expected = theirs.measureobjectneighbors(codes, codes, distance_method="Adjacent")
    result = measured(codes)
    assert result["neighbor_count"].values.tolist() == list(expected["Neighbors_NumberOfNeighbors_Adjacent"])
    np.testing.assert_array_equal(result["percent_touching"], expected["Neighbors_PercentTouching_Adjacent"])


@given(labels=masks(3, 4, side=6), sizes=st.tuples(*[st.integers(1, 5)] * 3), background=st.booleans())
def test_any_chunks_give_the_same_neighbours(labels, sizes, background):
    expected = measured(labels, background=background)
    chunked = xr.DataArray(labels, dims=("z", "y", "x")).chunk(dict(zip("zyx", sizes, strict=True)))
    xr.testing.assert_equal(chunked.labels.measure(NAMES, background=background).compute(), expected)


def test_any_chunks_of_nuclei_give_the_same_neighbours(nuclei2d):
    grown = nuclei2d[1].labels.expand(5)
    expected = grown.labels.measure(NAMES)
    for y, x in ((64, 64), (17, 512), (512, 33)):
        xr.testing.assert_equal(grown.chunk(y=y, x=x).labels.measure(NAMES).compute(), expected)


@given(labels=masks(3, 4))
def test_the_order_of_dims_does_not_matter(labels):
    turned = xr.DataArray(labels, dims=("z", "y", "x")).transpose("x", "z", "y")
    xr.testing.assert_equal(turned.labels.measure(NAMES), measured(labels))


@given(labels=masks(2, 6))
def test_neighbours_do_not_depend_on_ids(labels):
    renamed = np.where(labels == 0, 0, 2**63 - 1 - np.abs(labels.astype(np.int64)) * 7 - (labels < 0))
    result, expected = measured(renamed), measured(labels)
    order = [int(np.unique(renamed[labels == label])[0]) for label in expected["label"].values]
    for name in NAMES:
        assert result[name].sel(label=order).values.tolist() == expected[name].values.tolist()


def test_labels_that_are_not_asked_for_are_neighbours_all_the_same():
    labels = np.array([[1, 1, 2, 3], [1, 1, 0, 3]])
    result = measured(labels, labels=[3, 1, 7])
    assert result["neighbor_count"].values.tolist()[:2] == [1, 1]
    assert result["percent_touching"].values.tolist()[:2] == [100, 50]
    assert np.isnan(result["neighbor_count"].values[2])
    assert np.isnan(result["percent_touching"].values[2])


def test_the_background_is_no_neighbour():
    result = measured(np.array([[1, 0, 2], [0, 0, 0]]), background=True)
    assert result["neighbor_count"].values.tolist() == [2, 0, 0]
    assert result["percent_touching"].values.tolist() == [100, 0, 0]


def test_an_object_beside_hundreds_has_them_all_as_neighbours():
    labels = np.full((41, 41), 7000)
    labels[::2, ::2] = np.arange(1, 21 * 21 + 1).reshape(21, 21)
    assert measured(labels)["neighbor_count"].sel(label=7000) == 21 * 21


@pytest.mark.parametrize("dtype", [np.uint8, ">i4", np.uint64])
def test_neighbours_are_the_same_for_any_dtype(dtype):
    labels = np.array([[1, 1, 2, 0], [3, 1, 0, 4]])
    xr.testing.assert_equal(measured(labels.astype(dtype)), measured(labels))


def test_neighbours_are_listed_among_the_measures():
    rows = xlabelstats.measures().query("family == 'neighbors'")
    assert rows["cellprofiler"].tolist() == [
        "Neighbors_NumberOfNeighbors_Adjacent",
        "Neighbors_PercentTouching_Adjacent",
    ]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("Neighbors_PercentTouching_Adjacent", "called 'percent_touching' here"),
        ("NumberOfNeighbors", "called 'neighbor_count' here"),
        ("Neighbors_AngleBetweenNeighbors_Adjacent", 'image.instances.profile(mask, "neighbors")'),
        ("first_closest_label", 'image.instances.profile(mask, "neighbors")'),
    ],
)
def test_names_of_neighbours_in_cellprofiler_are_answered_with_ours(name, answer):
    with pytest.raises(ValueError, match="unknown measure") as error:
        xr.DataArray([[1, 2]], dims=("y", "x")).labels.measure(name)
    assert f"{name!r}, which is {answer}" in str(error.value)
