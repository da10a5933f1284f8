"""Results as wide pandas tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr


def test_columns_are_variables_and_the_elements_of_their_other_dims():
    result = xr.Dataset(
        {
            "count": ("label", [5, 6]),
            "mean": (("c", "label"), [[1.0, 2.0], [3.0, 4.0]]),
            "centroid": (("label", "axis"), [[0.5, 1.5], [2.5, 3.5]]),
            "window": (("label", "u", "v"), np.arange(8).reshape(2, 2, 2)),
        },
        coords={"label": [9, 4], "c": ["DAPI", "CD3"], "axis": ["y", "x"]},
    )
    table = result.labels.to_dataframe()
    expected = pd.DataFrame(
        {
            "count": [5, 6],
            "mean_DAPI": [1.0, 2.0],
            "mean_CD3": [3.0, 4.0],
            "centroid_y": [0.5, 2.5],
            "centroid_x": [1.5, 3.5],
            "window_0_0": [0, 4],
            "window_0_1": [1, 5],
            "window_1_0": [2, 6],
            "window_1_1": [3, 7],
        },
        index=pd.Index([9, 4], name="label"),
    )
    pd.testing.assert_frame_equal(table, expected)


def test_the_index_is_named_by_instance_key(nuclei2d):
    image, mask = nuclei2d
    table = image.labels.aggregate(mask).labels.to_dataframe(instance_key="cell_ID")
    assert table.index.name == "cell_ID"
    assert table.index.tolist() == mask.labels.ids().tolist()


def test_a_scan_becomes_a_table(nuclei2d):
    table = nuclei2d[1].labels.scan().labels.to_dataframe()
    assert list(table)[:7] == [
        "count",
        "bbox_min_y",
        "bbox_min_x",
        "bbox_max_y",
        "bbox_max_x",
        "centroid_y",
        "centroid_x",
    ]
    assert table["count"].dtype == np.int64


def test_one_statistic_becomes_a_column_of_its_name(nuclei2d):
    image, mask = nuclei2d
    table = image.chunk(100).labels.mean(mask).labels.to_dataframe()
    assert list(table) == ["mean"]
    assert list(image.labels.mean(mask).rename(None).labels.to_dataframe()) == ["value"]
    np.testing.assert_array_equal(table["mean"], image.chunk(100).labels.mean(mask))


def test_lazy_results_are_computed_together_once(nuclei2d):
    image, mask = nuclei2d
    lazy = image.chunk(200).labels.aggregate(mask.chunk(300))
    table = lazy.labels.to_dataframe()
    pd.testing.assert_frame_equal(table, lazy.compute().labels.to_dataframe())
    assert lazy["mean"].chunks is not None


def test_without_labels_there_is_no_table():
    with pytest.raises(ValueError, match="variable 'a' has no dim 'label', so there are no rows"):
        xr.Dataset({"a": ("x", [1])}).labels.to_dataframe()
    with pytest.raises(ValueError, match="variable 'b' has no dim 'label'"):
        xr.Dataset({"a": ("label", [1]), "b": 3}).labels.to_dataframe()


def test_columns_of_one_name_are_an_error():
    result = xr.Dataset({"mean": (("label", "c"), [[1, 2]])}, coords={"c": ["a", "a"]})
    with pytest.raises(ValueError, match="two columns would be named 'mean_a'"):
        result.labels.to_dataframe()


class TestUnits:
    coords = {"y": ("y", [0.0, 0.5], {"units": "µm"}), "x": ("x", [0.0, 0.5, 1.0], {"units": "um"})}  # noqa: RUF012
    mask = xr.DataArray([[0, 1, 1], [2, 2, 2]], dims=("y", "x"), coords=coords)
    image = xr.DataArray(np.ones((2, 2, 3)), dims=("c", "y", "x"), coords={"c": ["a", "b"]}, attrs={"units": "counts"})

    def test_are_in_the_names_of_columns_if_asked_for(self):
        shapes = self.mask.labels.regionprops(properties=("area", "num_pixels", "eccentricity", "centroid"))
        assert list(shapes.labels.to_dataframe(units=True)) == [
            "area [micrometer**2]",
            "num_pixels [pixel]",
            "eccentricity",
            "centroid_y [micrometer]",
            "centroid_x [micrometer]",
        ]
        assert "area" in shapes.labels.to_dataframe()
        plain = shapes.labels.to_dataframe("cell").to_numpy()
        np.testing.assert_array_equal(shapes.labels.to_dataframe("cell", units=True).to_numpy(), plain)
        measured = self.image.labels.aggregate(self.mask, ("count", "mean", "var"))
        assert list(measured.labels.to_dataframe(units=True)) == [
            "count",
            "mean_a [counts]",
            "mean_b [counts]",
            "var_a [(counts)**2]",
            "var_b [(counts)**2]",
        ]

    def test_of_one_statistic(self):
        mean = self.image.chunk(x=2).labels.mean(self.mask)
        assert list(mean.labels.to_dataframe(units=True)) == ["mean_a [counts]", "mean_b [counts]"]
        assert mean.labels.to_dataframe("cell", units=True).index.name == "cell"

    def test_no_units_are_chosen_here(self):
        with pytest.raises(TypeError, match="units is True or False, whether column names include them, not 'pixel'"):
            self.image.labels.mean(self.mask).labels.to_dataframe(units="pixel")
