"""How channels become colours, and which are drawn."""

from __future__ import annotations

import drawing
import numpy as np
import pytest
import xarray as xr
from drawing import added, axes, shown, stretched
from matplotlib.colors import to_rgb

from xlabelstats import plot

image, mask = drawing.image, drawing.mask


def test_one_channel_is_grey_between_its_percentiles(image, mask):
    ax = plot.overlay(image[0], mask, ax=axes())
    grey = shown(ax)
    assert grey.shape == (30, 50, 3)
    np.testing.assert_allclose(grey, stretched(image[0].values)[..., None].repeat(3, -1), atol=0.51)
    narrow = plot.overlay(image[0], mask, contrast=(20, 60), ax=axes())
    np.testing.assert_allclose(shown(narrow)[..., 1], stretched(image[0].values, (20, 60)), atol=0.51)


@pytest.mark.parametrize(
    ("dim", "title"), [("bands", ""), ("Channel", ""), ("timepoint", "= 1"), ("frames", "= 1"), ("plane", "= 1")]
)
def test_names_of_dims_stand_for_what_they_do_in_image_stacks(dim, title, mask):
    image = xr.DataArray(np.random.default_rng(0).random((2, 30, 50)), dims=(dim, "y", "x"))
    ax = plot.overlay(image, mask, ax=axes())
    assert ax.get_title() == (f"{dim} {title}" if title else "")
    assert (ax.get_legend() is None) == bool(title)


def test_channels_of_bands_are_found_beside_other_dims(mask):
    image = xr.DataArray(np.random.default_rng(0).random((2, 3, 30, 50)), dims=("bands", "angle", "y", "x"))
    assert plot.overlay(image, mask, ax=axes()).get_title() == "angle = 1"


@pytest.mark.parametrize(
    ("options", "rows", "colors"),
    [
        ({}, [0, 1, 2], ["cyan", "magenta", "yellow"]),
        ({"channels": ["CD8", "DAPI"]}, [2, 0], ["magenta", "lime"]),
        ({"channels": "CD3"}, [1], ["white"]),
        ({"channels": "CD3", "colors": "red"}, [1], ["red"]),
        ({"colors": ["red", "#00ff00", (0, 0, 1)]}, [0, 1, 2], ["red", "lime", "blue"]),
        (
            {"channels": ["CD3", "DAPI"], "colors": {"DAPI": "blue", "CD3": "red", "other": "x"}},
            [1, 0],
            ["red", "blue"],
        ),
    ],
)
def test_channels_are_coloured_and_added(image, mask, options, rows, colors):
    ax = plot.overlay(image, mask, ax=axes(), **options)
    np.testing.assert_allclose(shown(ax), added([image.values[i] for i in rows], colors), atol=0.51)
    if len(rows) == 1:
        assert ax.get_legend() is None
        assert ax.get_title() == "c = CD3"
    else:
        assert [text.get_text() for text in ax.get_legend().get_texts()] == image["c"].values[rows].tolist()
        found = [patch.get_facecolor()[:3] for patch in ax.get_legend().get_patches()]
        np.testing.assert_allclose(found, [to_rgb(color) for color in colors])


def test_six_channels_have_six_colours_and_seven_need_a_choice(mask):
    image = xr.DataArray(np.random.default_rng(0).random((7, 30, 50)), dims=("stain", "y", "x"))
    ax = plot.overlay(image[:6], mask, ax=axes())
    assert len({patch.get_facecolor() for patch in ax.get_legend().get_patches()}) == 6
    assert ax.get_legend().get_texts()[5].get_text() == "stain 5"
    with pytest.raises(ValueError, match=r"7 channels are more than the 6 colours.*channels="):
        plot.overlay(image, mask, ax=axes())
    np.testing.assert_allclose(
        shown(plot.overlay(image, mask, channels=6, ax=axes()))[..., 0], stretched(image.values[6]), atol=0.51
    )


def test_channels_of_one_name_are_each_drawn(image, mask):
    image = image.assign_coords(c=["A", "B", "A"])
    ax = plot.overlay(image, mask, ax=axes())
    np.testing.assert_allclose(shown(ax), added(list(image.values), ["cyan", "magenta", "yellow"]), atol=0.51)
    with pytest.raises(ValueError, match=r"2 channels are called 'A'.*image.assign_coords\({'c': \[...\]}\)"):
        plot.overlay(image, mask, channels=["B", "A"], ax=axes())
    np.testing.assert_allclose(
        shown(plot.overlay(image, mask, channels="B", ax=axes()))[..., 0], stretched(image.values[1]), atol=0.51
    )


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"channels": "CD4"}, ValueError, "no channel 'CD4'; there are: DAPI, CD3, CD8"),
        ({"channels": []}, ValueError, "no channels to draw"),
        ({"colors": ["red"]}, ValueError, "colors has 1 for 3 channels"),
        ({"colors": {"DAPI": "red"}}, ValueError, "colors has none for the channel 'CD3'"),
        ({"contrast": (99, 1)}, ValueError, "the lower first"),
        ({"contrast": 5}, TypeError, "contrast is two percentiles"),
        ({"chanels": "DAPI"}, TypeError, "no option 'chanels'"),
        ({"z": 1}, TypeError, "no option 'z', and no dim"),
    ],
)
def test_what_cannot_be_drawn_is_said(image, mask, options, error, words):
    with pytest.raises(error, match=words):
        plot.overlay(image, mask, ax=axes(), **options)


def test_an_image_without_channels_has_none_to_choose(image, mask):
    with pytest.raises(ValueError, match="no dim of channels"):
        plot.overlay(image[0], mask, channels=0, ax=axes())


def test_pixels_that_are_no_numbers_are_black_and_sparse_ones_show(mask):
    pixels = np.zeros((30, 50))
    pixels[3, 4], pixels[5, 6], pixels[7, 8], pixels[9, 9] = 5, np.nan, np.inf, -np.inf
    grey = shown(plot.overlay(mask.copy(data=pixels), mask, ax=axes()))[..., 0]
    assert (grey[3, 4], grey[5, 6], grey[7, 8], grey[9, 9], grey[0, 0]) == (255, 0, 255, 0, 0)
    for constant in (np.full((30, 50), 7.0), np.full((30, 50), np.nan)):
        assert not shown(plot.overlay(mask.copy(data=constant), mask, ax=axes())).any()
