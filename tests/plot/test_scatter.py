"""Columns of a table against each other."""

from __future__ import annotations

import dask
import dask.array as da
import drawing
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from drawing import UM, axes, never
from matplotlib.colors import to_rgb

from xlabelstats import plot

image, mask = drawing.image, drawing.mask


@pytest.fixture
def result(image, mask) -> xr.Dataset:
    image.attrs["units"] = "counts"
    result = image.labels.aggregate(mask, ("count", "mean"))
    return result.merge(mask.labels.regionprops(properties="area"))


def test_points_are_the_columns_of_the_wide_table(result):
    table = result.labels.to_dataframe()
    for given_ in (result, table, result.chunk(label=3)):
        ax = plot.scatter(given_, "area", "mean_CD3", ax=axes())
        np.testing.assert_array_equal(ax.collections[0].get_offsets(), table[["area", "mean_CD3"]])
        assert not ax.collections[0].get_rasterized()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("area [micrometer$^{2}$]", "mean_CD3 [counts]")
    assert plot.scatter(table, "area", "mean_CD3", ax=axes()).get_xlabel() == "area"


def test_labels_and_their_coordinates_are_columns_too(result):
    table = result.assign_coords(x0=("label", np.arange(result.sizes["label"]) * 2.0, UM))
    ax = plot.scatter(table, "label", "x0", ax=axes())
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), np.stack([table["label"], table["x0"]], 1))
    assert ax.get_ylabel() == "x0 [micrometer]"
    ax = plot.scatter(result.labels.to_dataframe("cell"), "cell", "count", ax=axes())
    np.testing.assert_array_equal(ax.collections[0].get_offsets()[:, 0], result["label"])


def test_columns_that_are_not_drawn_are_not_computed(result):
    unread = da.from_delayed(dask.delayed(never)(), (result.sizes["label"],), float)
    table = result.assign(slow=("label", unread), mean_of=("label", unread))
    plot.scatter(table, "area", "mean_CD3", color="count", ax=axes())


def test_a_column_of_numbers_colours_the_points_with_a_colour_bar(result):
    ax = plot.scatter(result, "area", "mean_CD3", color="mean_DAPI", cmap="magma", ax=axes())
    points = ax.collections[0]
    np.testing.assert_array_equal(points.get_array(), result["mean"].sel(c="DAPI"))
    assert points.colorbar.ax.get_ylabel() == "mean_DAPI [counts]"
    assert points.get_cmap().name == "magma"
    assert ax.get_legend() is None


def test_a_column_of_classes_colours_the_points_with_a_legend(result):
    table = result.labels.to_dataframe()
    kinds = np.resize(["long", "round", "odd"], len(table))
    for given_ in (table.assign(kind=kinds), result.assign(kind=("label", kinds))):
        ax = plot.scatter(given_, "area", "count", color="kind", ax=axes())
        legend = ax.get_legend()
        entries = {
            text.get_text(): h.get_color() for text, h in zip(legend.get_texts(), legend.legend_handles, strict=True)
        }
        assert list(entries) == ["long", "odd", "round"]
        assert legend.get_title().get_text() == "kind"
        drawn = ax.collections[0].to_rgba(ax.collections[0].get_array(), alpha=1.0)
        np.testing.assert_allclose(drawn, [entries[kind] for kind in kinds])
        assert ax.collections[0].colorbar is None


def test_points_without_a_colour_are_grey_and_rows_without_a_place_left_out():
    table = pd.DataFrame(
        {
            "a": [1.0, np.nan, 3.0, 4.0],
            "b": [1.0, 2.0, np.inf, 4.0],
            "k": ["x", "y", "x", None],
            "v": [1.5, 2, 3, np.nan],
        }
    )
    for color in ("k", "v"):
        ax = plot.scatter(table, "a", "b", color=color, ax=axes())
        points = ax.collections[0]
        np.testing.assert_array_equal(points.get_offsets(), [[1, 1], [4, 4]])
        ax.figure.draw_without_rendering()
        np.testing.assert_allclose(points.get_facecolors()[1, :3], to_rgb("lightgrey"))


def test_many_points_are_an_image_in_vector_files_and_drawn_in_little_time(tmp_path):
    rng = np.random.default_rng(0)
    n = 500_000
    table = pd.DataFrame({"a": rng.normal(size=n), "b": rng.normal(size=n), "k": rng.integers(0, 5, n)})
    ax = plot.scatter(table, "a", "b", ax=axes())
    assert ax.collections[0].get_rasterized()
    assert len(ax.collections[0].get_offsets()) == n
    ax.figure.savefig(tmp_path / "points.pdf")
    assert (tmp_path / "points.pdf").stat().st_size < 1_000_000


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"x": "are", "y": "count"}, ValueError, "did you mean 'area'"),
        ({"x": "mean", "y": "count"}, ValueError, "unknown column 'mean'.*mean_DAPI"),
        ({"x": "area", "y": "count", "color": "kind"}, ValueError, "unknown column 'kind'"),
        ({"x": "area", "y": "count", "cmap": "magma"}, ValueError, "say which with color="),
    ],
)
def test_columns_that_do_not_exist_are_refused(result, options, error, words):
    for table in (result, result.labels.to_dataframe()):
        with pytest.raises(error, match=words):
            plot.scatter(table, ax=axes(), **options)


def test_columns_that_are_not_one_of_that_name_are_refused():
    numbers = pd.DataFrame({1: [1.0, 2.0], "1": [3.0, 4.0], 2: [5.0, 6.0]})
    np.testing.assert_array_equal(
        plot.scatter(numbers, 1, "1", ax=axes()).collections[0].get_offsets(), [[1, 3], [2, 4]]
    )
    with pytest.raises(ValueError, match="no column '2' of type str, but one 2 of type int"):
        plot.scatter(numbers, 1, "2", ax=axes())
    twice = pd.DataFrame([[1.0, 2.0, 3.0]], columns=["a", "b", "a"])
    with pytest.raises(ValueError, match=r"2 columns are called 'a'.*a name of its own"):
        plot.scatter(twice, "b", "a", ax=axes())


def test_what_is_no_table_of_numbers_is_refused(result):
    with pytest.raises(TypeError, match="not DataArray"):
        plot.scatter(result["mean"], "a", "b", ax=axes())
    with pytest.raises(TypeError, match=r"'kind' holds .*, not numbers"):
        plot.scatter(pd.DataFrame({"a": [1.0], "kind": ["x"]}), "a", "kind", ax=axes())
    with pytest.raises(ValueError, match="a row per label"):
        plot.scatter(xr.Dataset({"a": ("x", [1.0])}), "a", "a", ax=axes())


def test_a_table_of_several_times_is_refused_with_how_to_choose_one():
    mask = xr.DataArray([[[1, 2, 2]], [[1, 1, 3]]], dims=("t", "y", "x"), coords={"t": [5, 6]})
    result = mask.labels.measure(["num_pixels", "count"], per="t")
    with pytest.raises(ValueError, match="choose one position") as error:
        plot.scatter(result, "num_pixels", "count", ax=axes())
    chosen = eval(str(error.value).partition("position: ")[2], {"result": result})
    assert chosen["label"].values.tolist() == [1, 2]
    with pytest.raises(ValueError, match="choose one position") as error:
        mask.isel(t=0).labels.plot.measurement(result["count"], ax=axes())
    chosen = eval(str(error.value).partition("position: ")[2], {"values": result["count"]})
    assert chosen.values.tolist() == [1, 2]
