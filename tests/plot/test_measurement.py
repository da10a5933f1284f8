"""Objects painted by their values, and the colour bar beside them."""

from __future__ import annotations

import drawing
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from drawing import axes
from matplotlib.figure import Figure

from xlabelstats import plot

image, mask = drawing.image, drawing.mask


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("kind", ["array", "series", "mapping", "dataset", "one of a dataset"])
def test_objects_have_the_values_that_paint_gives_them(image, mask, kind, lazy):
    image = image.chunk(y=7) if lazy else image
    result = image.sel(c="CD3").labels.aggregate(mask, ("mean", "std"))
    series = pd.Series(result["mean"].values, index=result["label"].values, name="mean")
    values, options = {
        "array": (result["mean"], {}),
        "series": (series, {}),
        "mapping": (series.to_dict(), {}),
        "dataset": (result, {"variable": "mean"}),
        "one of a dataset": (result[["mean"]].drop_vars("c", errors="ignore"), {}),
    }[kind]
    if kind == "one of a dataset":
        values = values[["mean"]]
    ax = plot.measurement(mask.chunk(8) if lazy else mask, values, ax=axes(), **options)
    painted = mask.labels.paint(result["mean"])
    drawn = ax.images[0].get_array()
    np.testing.assert_array_equal(np.ma.getmaskarray(drawn), mask == 0)
    np.testing.assert_array_equal(drawn.filled(np.nan), painted)
    assert ax.images[0].get_clim() == (result["mean"].min(), result["mean"].max())
    expected = {"series": "mean", "mapping": ""}.get(kind, "mean of stain")
    assert ax.images[0].colorbar.ax.get_ylabel() == expected


def test_the_colour_bar_says_name_and_units(mask):
    area = mask.labels.regionprops(properties="area")["area"]
    ax = plot.measurement(mask, area, ax=axes())
    assert ax.images[0].colorbar.ax.get_ylabel() == "area [micrometer$^{2}$]"
    ax = plot.measurement(mask, area, name="size", cmap="magma", ax=axes())
    assert ax.images[0].colorbar.ax.get_ylabel() == "size [micrometer$^{2}$]"
    assert ax.images[0].get_cmap().name == "magma"


@pytest.mark.parametrize("layout", [None, "constrained", "tight"])
def test_the_colour_bar_is_as_high_as_the_picture(mask, layout):
    for shape in ((30, 50), (8, 50), (30, 10)):
        part = mask[: shape[0], : shape[1]]
        ax = plot.measurement(part, part.labels.count() * 1.0, ax=Figure(layout=layout).subplots())
        ax.figure.draw_without_rendering()
        bar = ax.images[0].colorbar.ax
        assert bar.get_window_extent().height == pytest.approx(ax.get_window_extent().height, rel=0.02)
        assert bar.get_window_extent().y0 == pytest.approx(ax.get_window_extent().y0, abs=4)
        assert bar.get_tightbbox().x1 <= ax.figure.bbox.x1


def test_long_names_stay_on_the_figure(mask):
    ids = mask.labels.ids()
    figure = Figure()
    values = pd.Series(["a class with a really long name", "b"] * ids.size, name="kind")[: ids.size].set_axis(ids)
    ax = plot.measurement(mask, values, ax=figure.subplots())
    assert ax.images[0].colorbar.ax.get_tightbbox().x1 <= figure.bbox.x1 + 1


def test_objects_without_a_number_are_transparent_and_do_not_stretch_the_colours(mask):
    ids = mask.labels.ids()
    values = dict.fromkeys(ids.tolist(), 50.0) | {10**6: 80.5}
    values[int(ids[0])], values[int(ids[1])] = np.nan, np.inf
    del values[int(ids[2])]
    ax = plot.measurement(mask, values, ax=axes())
    hidden = np.ma.getmaskarray(ax.images[0].get_array())
    np.testing.assert_array_equal(hidden, np.isin(mask, [0, *ids[:3]]))
    # All values count, of labels in this plane or not.
    assert ax.images[0].get_clim() == (50.0, 80.5)


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda ids: pd.Series(np.array(["long", "round"])[ids % 2], index=ids), ["long", "round"]),
        (lambda ids: pd.Series(pd.Categorical(np.array(["s", "l"])[ids % 2], ["s", "l", "xl"]), index=ids), ["s", "l"]),
        (lambda ids: pd.Series(ids % 2 == 0, index=ids), ["False", "True"]),
        (lambda ids: xr.DataArray(ids % 2 + 4, dims="label", coords={"label": ids}), ["4", "5"]),
        (lambda ids: pd.Series(ids % 2 + 4, index=ids, dtype="Int64"), ["4", "5"]),
        (lambda ids: {int(i): "ab"[i % 2] for i in ids}, ["a", "b"]),
    ],
)
def test_classes_have_a_colour_each_and_their_names_beside_the_bar(mask, make, names):
    ids = mask.labels.ids()
    values = make(ids)
    ax = plot.measurement(mask, values, ax=axes())
    series = values.to_series() if isinstance(values, xr.DataArray) else pd.Series(values)
    codes = {label: names.index(str(value)) for label, value in series.items()}
    np.testing.assert_array_equal(ax.images[0].get_array().filled(np.nan), mask.labels.paint(codes, np.nan))
    bar = ax.images[0].colorbar
    assert [text.get_text() for text in bar.ax.get_yticklabels()] == names
    assert len({tuple(ax.images[0].to_rgba(code)) for code in codes.values()}) == 2


@pytest.mark.parametrize("n", [2, 10, 15, 40])
@pytest.mark.parametrize("cmap", [None, "viridis"])
def test_every_class_of_many_has_its_own_colour(n, cmap):
    mask = xr.DataArray(np.arange(1, n + 1)[None], dims=("y", "x"))
    ax = plot.measurement(mask, {i: f"class {i}" for i in range(1, n + 1)}, cmap=cmap, ax=axes())
    colors = ax.images[0].to_rgba(ax.images[0].get_array()).reshape(n, 4)
    assert len(np.unique(colors, axis=0)) == n
    assert len(ax.images[0].colorbar.get_ticks()) <= 24


def test_whole_numbers_over_a_wide_range_are_quantities(mask):
    count = mask.labels.count()
    ax = plot.measurement(mask, count, ax=axes())
    np.testing.assert_array_equal(ax.images[0].get_array().filled(0), mask.labels.paint(count))


def test_no_values_and_no_labels_draw_nothing(mask):
    assert np.ma.getmaskarray(plot.measurement(mask, {}, ax=axes()).images[0].get_array()).all()
    empty = xr.zeros_like(mask)
    assert np.ma.getmaskarray(plot.measurement(empty, empty.labels.count(), ax=axes()).images[0].get_array()).all()


@pytest.mark.parametrize(
    ("values", "options", "error", "words"),
    [
        (xr.Dataset({"a": ("label", [1.0]), "b": ("label", [1.0])}), {}, ValueError, "variable='a'"),
        (xr.Dataset({"mean": ("label", [1.0])}), {"variable": "man"}, ValueError, "did you mean 'mean'"),
        (xr.Dataset(), {}, ValueError, "without variables"),
        ({1: 2.0}, {"variable": "mean"}, TypeError, "variable= chooses one of a Dataset"),
        (xr.DataArray([[1.0]], dims=("label", "c"), coords={"label": [1]}), {}, ValueError, r"values.sel\(c=...\)"),
        (xr.DataArray([1.0], dims="x"), {}, ValueError, "have only the dim 'label'"),
        (xr.DataArray([1.0], dims="label"), {}, ValueError, "the values have no labels; give them"),
        ({1: 1j}, {}, TypeError, "complex"),
        ([1.0], {}, TypeError, "not list"),
        ({1: 2.0}, {"z": 0}, TypeError, "no option 'z'"),
    ],
)
def test_values_that_cannot_be_drawn_are_refused(mask, values, options, error, words):
    with pytest.raises(error, match=words):
        plot.measurement(mask, values, ax=axes(), **options)
