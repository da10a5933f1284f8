"""What all pictures share: accessors, Axes, settings, the extra."""

from __future__ import annotations

import sys

import drawing
import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from drawing import axes, pixels
from matplotlib.figure import Figure

from xlabelstats import plot

image, mask = drawing.image, drawing.mask


@pytest.fixture
def pictures(image, mask) -> dict:
    windows = image.instances.windows(mask, {"y": 45, "x": 55})
    result = image.labels.aggregate(mask, ("count", "mean"))
    return {
        "overlay": (
            plot.overlay,
            image.labels.plot.overlay,
            (image, mask),
            {"channels": ["CD3", "DAPI"], "contrast": (5, 90), "colors": ["r", "g"], "boundary_color": "cyan"},
        ),
        "measurement": (
            plot.measurement,
            mask.labels.plot.measurement,
            (mask, result),
            {"variable": "count", "name": "size", "cmap": "magma"},
        ),
        "gallery": (
            plot.gallery,
            windows.instances.plot.gallery,
            (windows,),
            {"n": 6, "columns": 4, "channels": ["CD3", "CD8"], "contrast": (5, 90), "colors": ["r", "g"]},
        ),
        "gallery of an array": (
            plot.gallery,
            windows["image"].instances.plot.gallery,
            (windows["image"],),
            {"labels": [int(windows["label"][2])]},
        ),
        "scatter": (
            plot.scatter,
            result.labels.plot.scatter,
            (result, "count", "mean_CD3"),
            {"color": "mean_DAPI", "cmap": "magma"},
        ),
    }


KINDS = ["overlay", "measurement", "gallery", "gallery of an array", "scatter"]


@pytest.mark.parametrize("kind", KINDS)
def test_accessors_draw_the_same_pictures(pictures, kind):
    function, method, args, options = pictures[kind]
    one = function(*args, ax=axes(), **options)
    other = method(*args[1:], ax=axes(), **options)
    np.testing.assert_array_equal(pixels(one), pixels(other))
    assert pixels(one).std() > 5
    plain = function(*args, ax=axes(), **({"variable": "count"} if kind == "measurement" else {}))
    assert not np.array_equal(pixels(plain), pixels(one))


def test_trees_have_pictures_too(image, mask):
    tree = xr.DataTree.from_dict({"scale0": image.to_dataset(name="image")})
    labels = xr.DataTree.from_dict({"scale0": mask.to_dataset(name="labels")})
    expected = plot.overlay(image, mask, ax=axes())
    np.testing.assert_array_equal(pixels(tree.labels.plot.overlay(labels, ax=axes())), pixels(expected))


@pytest.mark.parametrize("kind", KINDS)
def test_the_current_axes_are_drawn_on_by_default_and_no_settings_change(pictures, kind):
    import matplotlib.pyplot as plt

    function, _, args, options = pictures[kind]
    before = dict(mpl.rcParams)
    copies = [arg.copy(deep=True) if isinstance(arg, xr.DataArray | xr.Dataset) else arg for arg in args]
    figure, (left, right) = plt.subplots(1, 2)
    try:
        plt.sca(left)
        assert function(*args, **options) is left
        assert not right.has_data()
        figure.canvas.draw()
    finally:
        plt.close(figure)
    assert dict(mpl.rcParams) == before
    for arg, copy in zip(args, copies, strict=True):
        assert arg.identical(copy) if isinstance(arg, xr.DataArray | xr.Dataset) else arg == copy


@pytest.mark.parametrize("kind", KINDS)
def test_several_axes_are_not_one(pictures, kind):
    function, _, args, options = pictures[kind]
    with pytest.raises(TypeError, match="ax is one Axes"):
        function(*args, ax=Figure().subplots(1, 2), **options)


@pytest.mark.parametrize("kind", KINDS)
def test_without_matplotlib_the_extra_is_named(pictures, kind, monkeypatch):
    function, _, args, options = pictures[kind]
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs matplotlib.*xlabelstats\[plot\]"):
        function(*args, **options)
