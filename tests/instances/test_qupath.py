"""The file of outlines for QuPath: what QuPath reads of it, where it places objects, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import blobs

geopandas = pytest.importorskip("geopandas")
features = pytest.importorskip("rasterio.features")
shapely = pytest.importorskip("shapely")


@pytest.fixture
def cells():
    labels = blobs((40, 50), 12)
    labels[np.random.default_rng(0).random(labels.shape) < 0.15] = 0
    return xr.DataArray(labels, dims=("y", "x"), coords={"y": 7 + 0.5 * np.arange(40), "x": 0.5 * np.arange(50)})


def written(path) -> dict[int, dict]:
    """The features of a file by label."""
    content = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert set(content) == {"type", "features"}
    assert content["type"] == "FeatureCollection"
    assert all(set(feature) == {"type", "geometry", "properties"} for feature in content["features"])
    return {int(feature["properties"]["name"]): feature for feature in content["features"]}


def test_qupaths_pixels_are_those_of_the_mask(cells, tmp_path):
    cells.chunk(y=9, x=11).instances.to_qupath(tmp_path / "cells.geojson")
    found = written(tmp_path / "cells.geojson")
    # GDAL's pixel 0 begins at 0, as that of QuPath.
    painted = features.rasterize([(one["geometry"], label) for label, one in found.items()], cells.shape, dtype="int32")
    np.testing.assert_array_equal(painted, cells)


def test_a_mask_of_lower_resolution_is_enlarged(cells, tmp_path):
    cells.instances.to_qupath(tmp_path / "cells.geojson", downsample=4)
    found = written(tmp_path / "cells.geojson")
    areas = {label: shapely.geometry.shape(one["geometry"]).area / 16 for label, one in found.items()}
    assert areas == cells.labels.count().to_series().to_dict()


def test_rings_go_round_as_geojson_has_them(cells, tmp_path):
    cells.instances.to_qupath(tmp_path / "cells.geojson")
    for feature in written(tmp_path / "cells.geojson").values():
        for part in shapely.get_parts(shapely.geometry.shape(feature["geometry"])):
            assert part.exterior.is_ccw
            assert not any(hole.is_ccw for hole in part.interiors)


def test_properties_have_the_names_that_qupath_reads(tmp_path):
    mask = xr.DataArray([[7, 7, 0, 9]], dims=("y", "x"))
    table = pd.DataFrame(
        {
            "area": [2, 1],
            "mean_DAPI": [0.5, np.nan],
            "round": [True, False],
            "kind": ["Tumor", None],
            "note": ["a", ""],
        },
        index=[7, 9],
    )
    mask.instances.to_qupath(tmp_path / "a.geojson", table, classification="kind", object_type="cell")
    found = written(tmp_path / "a.geojson")
    assert found[7]["properties"] == {
        "objectType": "cell",
        "name": "7",
        "classification": {"name": "Tumor"},
        "measurements": {"label": 7, "area": 2.0, "mean_DAPI": 0.5, "round": 1.0},
    }
    assert found[9]["properties"] == {
        "objectType": "cell",
        "name": "9",
        "measurements": {"label": 9, "area": 1.0, "round": 0.0},
    }


def test_a_label_without_a_row_is_written_without_measurements(tmp_path):
    mask = xr.DataArray([[7, 7, 0, 9]], dims=("y", "x"))
    mask.instances.to_qupath(tmp_path / "a.geojson", pd.DataFrame({"area": [1.0, 3.0]}, index=[9, 55]))
    found = written(tmp_path / "a.geojson")
    assert found[7]["properties"]["measurements"] == {"label": 7}
    assert found[9]["properties"]["measurements"] == {"label": 9, "area": 1.0}
    assert list(found) == [7, 9]


@pytest.mark.parametrize("dtype", ["int64", "Int64", "category"])
def test_classes_that_are_numbers_stay_whole_where_labels_have_no_row(dtype, tmp_path):
    mask = xr.DataArray([[7, 7, 0, 9]], dims=("y", "x"))
    clusters = pd.Series([3], index=[9]).astype(dtype)
    mask.instances.to_qupath(tmp_path / "a.geojson", pd.DataFrame({"cluster": clusters}), classification="cluster")
    found = written(tmp_path / "a.geojson")
    assert found[9]["properties"]["classification"] == {"name": "3"}
    assert "classification" not in found[7]["properties"]


def test_a_class_that_pandas_calls_na_is_none(tmp_path):
    mask = xr.DataArray([[7, 7, 0, 9]], dims=("y", "x"))
    table = pd.DataFrame({"kind": pd.array(["Tumor", pd.NA], "string")}, index=[7, 9])
    mask.instances.to_qupath(tmp_path / "a.geojson", table, classification="kind")
    found = written(tmp_path / "a.geojson")
    assert [found[label]["properties"].get("classification") for label in (7, 9)] == [{"name": "Tumor"}, None]


def test_columns_of_bools_are_measurements_where_labels_have_no_row(tmp_path):
    mask = xr.DataArray([[7, 7, 0, 9]], dims=("y", "x"))
    mask.instances.to_qupath(tmp_path / "a.geojson", pd.DataFrame({"round": [True]}, index=[9]))
    assert written(tmp_path / "a.geojson")[9]["properties"]["measurements"] == {"label": 9, "round": 1.0}


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "boolean"])
def test_what_pandas_calls_na_is_no_measurement(dtype, tmp_path):
    mask = xr.DataArray([[7, 7, 0, 9]], dims=("y", "x"))
    mask.instances.to_qupath(tmp_path / "a.geojson", pd.DataFrame({"a": pd.array([1, pd.NA], dtype)}, index=[7, 9]))
    found = written(tmp_path / "a.geojson")
    assert [found[label]["properties"]["measurements"].get("a") for label in (7, 9)] == [1, None]


def test_numbers_that_are_no_measurements_are_left_out(tmp_path):
    mask = xr.DataArray([[7, 7, 0, 9]], dims=("y", "x"))
    columns = {"phase": [1j], "age": pd.to_timedelta([1], unit="s"), "label": [55], "area": [1]}
    mask.instances.to_qupath(tmp_path / "a.geojson", pd.DataFrame(columns, index=[9]))
    assert written(tmp_path / "a.geojson")[9]["properties"]["measurements"] == {"label": 9, "area": 1.0}


def test_labels_of_choice_are_written_and_absent_ones_left_out(tmp_path):
    mask = xr.DataArray([[7, 7, 0, 9]], dims=("y", "x"))
    mask.instances.to_qupath(tmp_path / "a.geojson", labels=[9, 8])
    assert list(written(tmp_path / "a.geojson")) == [9]


def test_a_mask_without_labels_is_a_file_without_features(tmp_path):
    xr.DataArray([[0, 0]], dims=("y", "x")).instances.to_qupath(tmp_path / "new" / "a.geojson")
    assert written(tmp_path / "new" / "a.geojson") == {}


def test_a_mask_of_a_dataset_is_written_as_by_itself(cells, tmp_path):
    cells.instances.to_qupath(tmp_path / "one.geojson", tolerance=1)
    xr.Dataset({"cells": cells}).instances.to_qupath("cells", tmp_path / "other.geojson", tolerance=1)
    assert written(tmp_path / "one.geojson") == written(tmp_path / "other.geojson")


def test_geopandas_opens_the_file(cells, tmp_path):
    cells.instances.to_qupath(tmp_path / "cells.geojson", tolerance=1)
    table = geopandas.read_file(tmp_path / "cells.geojson")
    assert table["name"].astype(int).tolist() == cells.labels.ids().tolist()
    assert table.is_valid.all()


def test_a_file_that_is_there_is_replaced_only_if_asked(tmp_path):
    path, mask = tmp_path / "a.geojson", xr.DataArray([[7, 7]], dims=("y", "x"))
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="overwrite=True replaces it"):
        mask.instances.to_qupath(path)
    assert path.read_text() == "mine"
    mask.instances.to_qupath(path, overwrite=True)
    assert list(written(path)) == [7]


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path, mask = tmp_path / "a.geojson", xr.DataArray([[7, 7]], dims=("y", "x"))
    path.write_text("mine")

    def fails(*_):
        yield "{}"
        raise OSError("full")

    monkeypatch.setattr("xlabelstats.instances.qupath._properties", fails)
    with pytest.raises(OSError, match="full"):
        mask.instances.to_qupath(path, overwrite=True)
    assert path.read_text() == "mine"
    assert [one.name for one in tmp_path.iterdir()] == ["a.geojson"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"table": pd.DataFrame({"a": [1]}, index=[70])}, r"no label.*index of the table, which is 70;.*are 7, 9"),
        ({"table": pd.DataFrame({"a": [1, 2]}, index=[7, 7])}, "several rows for 7"),
        ({"table": pd.DataFrame({"a": [1]}, index=[7]), "classification": "kind"}, "'kind' is none; there are: a"),
        ({"classification": "kind"}, "'kind' is none; there is no table"),
        ({"table": pd.DataFrame([[1, 2]], columns=["a", "a"], index=[7])}, "several columns 'a'"),
        ({"object_type": "nucleus"}, "unknown object_type 'nucleus'.*detection, annotation, cell, tile"),
        ({"downsample": 0}, "downsample is how many pixels"),
    ],
)
def test_what_qupath_could_not_use_is_refused(given, message, tmp_path):
    mask = xr.DataArray([[7, 7, 0, 9]], dims=("y", "x"))
    with pytest.raises(ValueError, match=message):
        mask.instances.to_qupath(tmp_path / "a.geojson", **given)
    assert not list(tmp_path.iterdir())


def test_a_table_of_another_type_says_how_one_is_made(tmp_path):
    mask = xr.DataArray([[7, 7, 0, 9]], dims=("y", "x"))
    with pytest.raises(TypeError, match=r"DataFrame.*not Dataset.*to_dataframe\(\)"):
        mask.instances.to_qupath(tmp_path / "a.geojson", mask.labels.measure("num_pixels"))
