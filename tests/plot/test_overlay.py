"""An image under the boundaries of its objects, against scikit-image."""

from __future__ import annotations

import drawing
import numpy as np
import pytest
import xarray as xr
from drawing import axes, coarser, inner, outline, pyramid, shown
from matplotlib.colors import to_rgb

from xlabelstats import plot

image, mask = drawing.image, drawing.mask


def test_boundaries_are_those_of_scikit_image(image, mask):
    ax = plot.overlay(image[0], mask, ax=axes(50, 30))
    np.testing.assert_array_equal(outline(ax), inner(mask.values))


def test_boundaries_are_thinner_than_pixels_of_several_dots(image, mask):
    ax = plot.overlay(image[0], mask, ax=axes(500, 300))
    fine = np.kron(mask.values, np.ones((7, 7), int))
    np.testing.assert_array_equal(outline(ax), inner(fine))


def test_boundaries_have_their_colour_and_no_other_bleeds_in(image, mask):
    for options, color in (
        ({}, "yellow"),
        ({"boundary_color": "red"}, "red"),
        ({"boundary_color": np.array([1, 0, 0])}, "red"),
    ):
        rgba = shown(plot.overlay(image[0], mask, ax=axes(), **options), 1)
        assert (rgba[..., :3] == np.array(to_rgb(color)) * 255).all()
    assert (shown(plot.overlay(image, mask, ax=axes()), 1)[..., :3] == 255).all()


@pytest.mark.parametrize("ids", [(2**53, 2**53 + 1), (2**63 - 2, 2**63 - 1), (-5, 7)])
def test_large_and_negative_labels_have_boundaries(ids):
    labels = np.zeros((4, 6), np.int64)
    labels[1:3, 1:3], labels[1:3, 3:5] = ids
    mask = xr.DataArray(labels, dims=("y", "x"))
    ax = plot.overlay(mask != 0, mask, ax=axes(6, 4))
    np.testing.assert_array_equal(
        outline(ax),
        inner(np.searchsorted(np.unique([0, *ids]), labels) if ids[0] > 0 else np.where(labels == -5, 3, labels)),
    )


def test_image_and_mask_that_do_not_match_are_refused(image, mask):
    with pytest.raises(ValueError, match="differ in size"):
        plot.overlay(image[:, :, :-1], mask, ax=axes())
    with pytest.raises(TypeError, match="integer labels"):
        plot.overlay(image, mask.astype(float), ax=axes())
    uneven = {"x": np.arange(50.0) ** 2}
    with pytest.raises(ValueError, match="not evenly spaced"):
        plot.overlay(image.assign_coords(uneven), mask.assign_coords(uneven), ax=axes())
    with pytest.raises(ValueError, match="no pixels to draw"):
        plot.overlay(image[:, :0], mask[:0], ax=axes())


def test_a_mask_without_labels_has_no_boundaries(image, mask):
    assert not outline(plot.overlay(image, xr.zeros_like(mask), ax=axes())).any()


def test_where_thinning_left_hardly_a_pixel_of_most_objects_large_ones_alone_have_boundaries():
    labels = np.zeros((600, 600), np.uint64)
    starts = range(30, 540, 40)
    for i, (y, x) in enumerate((y, x) for y in starts for x in starts):
        labels[y : y + 20, x : x + 20] = 2**63 + i
    labels[300:420, 300:420] = 5
    labels[100:140, 100:140], labels[552:560, 552:560] = 6, 7
    mask = xr.DataArray(labels, dims=("y", "x"))
    kept = np.where(labels == 5, 1, 0)[5::10, 5::10]
    tree = pyramid([mask, coarser(mask, 10)])
    for drawn, size, expected in (
        (mask, 60, inner(kept)),
        (tree, 60, inner(kept)),
        # All pixels, or enough of them, have the boundaries that they have.
        (mask[5::10, 5::10], 60, inner(np.unique(labels[5::10, 5::10], return_inverse=True)[1].reshape(60, 60))),
        (mask, 150, inner(np.unique(labels[2::4, 2::4], return_inverse=True)[1].reshape(150, 150))),
    ):
        np.testing.assert_array_equal(outline(plot.overlay(drawn, drawn, ax=axes(size, size))), expected)
