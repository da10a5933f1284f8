"""The closest labels of every object against a search among all with fractions, and cp_measure."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from xlabelstats.catalogue.cellprofiler import NAMINGS
from xlabelstats.labels.closest import ABOUT, closest

DISTANCES = ("first_closest_distance", "second_closest_distance", "neighbor_angle")


def array(labels):
    return xr.DataArray(labels, dims=("z", "y", "x")[3 - labels.ndim :])


def masks(ndim, most=12):
    return arrays.arrays(np.int16, st.tuples(*[st.integers(1, 9)] * ndim), elements=st.integers(-2, most))


def closest_of(labels, label):
    """What lies closest to a label, in exact numbers."""
    centroids = {
        int(other): [Fraction(int(at.sum()), at.size) for at in np.nonzero(labels == other)]
        for other in np.unique(labels)
    }
    own = centroids[label]
    steps = {other: [b - a for a, b in zip(own, at, strict=True)] for other, at in centroids.items()}
    squares = sorted((sum(s * s for s in step), other) for other, step in steps.items() if other not in (0, label))
    first, second = [*squares, (None, 0), (None, 0)][:2]
    angle = math.nan
    if first[0] and second[0]:
        dot = float(sum(a * b for a, b in zip(steps[first[1]], steps[second[1]], strict=True)))
        angle = math.degrees(math.acos(max(-1, min(1, dot / math.sqrt(first[0] * second[0])))))
    far = [math.nan if square is None else math.sqrt(square) for square, _ in (first, second)]
    return first[1], second[1], *far, angle


@given(labels=st.one_of(masks(2, 3), masks(2), masks(3), masks(3, 60)), background=st.booleans())
def test_closest_labels_are_those_of_exact_numbers(labels, background):
    result = closest(array(labels), background=background)
    for label in result["label"].values:
        first, second, *others = closest_of(labels, label)
        row = result.sel(label=label)
        assert (int(row["first_closest_label"]), int(row["second_closest_label"])) == (first, second)
        # The arc of a cosine near 1 has half of its digits.
        values = [float(row[name]) for name in DISTANCES]
        np.testing.assert_allclose(values[:2], others[:2], rtol=1e-12)
        np.testing.assert_allclose(values[2], others[2], rtol=1e-9, atol=3e-6)


def test_of_labels_equally_far_the_smaller_is_closer():
    labels = np.zeros((9, 9), int)
    labels[::2, ::2] = np.random.default_rng(0).permutation(25).reshape(5, 5) + 1
    result = closest(array(labels))
    for label in result["label"].values:
        row = result.sel(label=label)
        assert (int(row["first_closest_label"]), int(row["second_closest_label"])) == closest_of(labels, label)[:2]


@pytest.mark.parametrize("seed", range(5))
def test_of_many_labels_on_a_circle_the_smallest_is_closest_to_its_middle(seed):
    places = np.argwhere(((np.indices((131, 131)) - 65) ** 2).sum(axis=0) == 65**2)
    labels = np.zeros((131, 131), int)
    labels[tuple(places.T)] = np.random.default_rng(seed).permutation(len(places)) + 1
    labels[65, 65] = 99
    row = closest(array(labels)).sel(label=99)
    assert len(places) == 36
    assert (int(row["first_closest_label"]), int(row["second_closest_label"])) == (1, 2)


def test_many_labels_with_one_centroid_are_closest_to_the_smallest():
    size = np.abs(np.indices((81, 81)) - 40).max(axis=0)
    result = closest(array(60 - size))
    assert result["first_closest_label"].values.tolist() == [21, *[20] * 40]
    assert result["second_closest_label"].values.tolist() == [22, 22, *[21] * 39]
    assert not result["second_closest_distance"].any()
    assert np.isnan(result["neighbor_angle"]).all()


def test_closest_nuclei_are_those_of_cp_measure(nuclei2d):
    theirs = pytest.importorskip("cp_measure.multimask.measureobjectneighbors")
    codes = nuclei2d[1].labels.relabel().values.astype(np.int32)
    expected = theirs.measureobjectneighbors(codes, codes, distance_method="Adjacent")
    result = closest(array(codes))
    # There the object itself counts as the closest, but not for distances and the angle.
    assert list(expected["Neighbors_FirstClosestObjectNumber_Adjacent"]) == result["label"].values.tolist()
    assert (
        list(expected["Neighbors_SecondClosestObjectNumber_Adjacent"]) == result["first_closest_label"].values.tolist()
    )
    for name in DISTANCES:
        np.testing.assert_allclose(result[name], expected[NAMINGS[name].base], rtol=1e-6, err_msg=name)


@given(labels=masks(3), sizes=st.tuples(*[st.integers(1, 5)] * 3), background=st.booleans())
def test_any_chunks_give_the_same_closest_labels(labels, sizes, background):
    expected = closest(array(labels), background=background)
    chunked = array(labels).chunk(dict(zip("zyx", sizes, strict=True)))
    xr.testing.assert_identical(closest(chunked, background=background), expected)


@given(labels=masks(3), before=st.tuples(*[st.integers(0, 2000)] * 2))
def test_a_moved_mask_has_the_same_bits(labels, before):
    moved = np.pad(labels, ((0, 1), (before[0], 0), (before[1], 2)))
    xr.testing.assert_identical(closest(array(moved)), closest(array(labels)))


@given(labels=masks(3))
def test_the_order_of_dims_does_not_matter(labels):
    xr.testing.assert_identical(closest(array(labels).transpose("x", "z", "y")), closest(array(labels)))


def test_too_few_labels_have_no_closest():
    alone, two = closest(array(np.array([[5, 0, 0]]))), closest(array(np.array([[5, 0, 3]])))
    assert alone["first_closest_label"].values.tolist() == [0]
    assert np.isnan(alone["first_closest_distance"])
    assert two["first_closest_label"].values.tolist() == [5, 3]
    assert two["first_closest_distance"].values.tolist() == [2, 2]
    assert two["second_closest_label"].values.tolist() == [0, 0]
    assert np.isnan(two["second_closest_distance"]).all()
    assert np.isnan(two["neighbor_angle"]).all()
    assert closest(array(np.zeros((2, 2), int))).sizes["label"] == 0


def test_labels_choose_rows_alone():
    labels = np.array([[1, 0, 2, 0, 0, 3]], np.uint64)
    result = closest(array(labels), labels=[3, 9, 1])
    assert result["label"].values.tolist() == [3, 9, 1]
    assert result["first_closest_label"].values.tolist() == [2, 0, 2]
    assert result["second_closest_label"].values.tolist() == [1, 0, 3]
    np.testing.assert_array_equal(result["first_closest_distance"], [3, np.nan, 2])
    assert result["first_closest_label"].dtype == labels.dtype


def test_every_closest_variable_says_what_it_is():
    result = closest(array(np.array([[1, 2, 3]])))
    assert [*result] == [*ABOUT]
    assert {*ABOUT} <= {*NAMINGS}
    assert all(variable.attrs["description"] for variable in result.values())
