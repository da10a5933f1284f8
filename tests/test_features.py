"""Annotated tables in which every number of a label is a column of X."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xlabelstats  # noqa: F401

anndata = pytest.importorskip("anndata")


@pytest.fixture(scope="module")
def arrays() -> tuple[xr.DataArray, xr.DataArray]:
    ids = np.zeros((20, 24), np.int32)
    ids[2:9, 3:12], ids[10:18, 8:21] = 2, 7
    pixels = np.random.default_rng(0).integers(0, 256, (2, 20, 24), dtype=np.uint8)
    return xr.DataArray(pixels, {"c": ["DNA", "ER"]}, ("c", "y", "x")), xr.DataArray(ids, dims=("y", "x"))


@pytest.fixture(scope="module")
def profile(arrays) -> xr.Dataset:
    return arrays[0].instances.profile(arrays[1])


def features(result: xr.Dataset, **options: Any) -> Any:
    return result.labels.to_anndata(X="features", **options)


def test_columns_of_a_table_are_columns_of_x(profile):
    table, expected = features(profile), profile.labels.to_dataframe()
    assert table.var_names.tolist() == [*expected]
    assert table.X.dtype == np.float64
    np.testing.assert_array_equal(table.X, expected.to_numpy(np.float64))
    assert [*table.obs] == ["label"]
    assert table.obs_names.tolist() == ["2", "7"]
    assert {*table.layers} | {*table.obsm} <= {None}


def test_whole_numbers_and_truth_become_float_and_text_stays_in_obs(arrays):
    image, mask = arrays
    result = image.labels.measure(mask, ("count", "min", "touches_border")).assign(kind=("label", ["a", "b"]))
    table = features(result)
    assert table.var_names.tolist() == ["count", "min_DNA", "min_ER", "touches_border"]
    assert table[:, "touches_border"].X.ravel().tolist() == [0.0, 0.0]
    assert table.obs["kind"].tolist() == ["a", "b"]


def test_each_column_says_its_measure_family_and_channel(profile):
    var = features(profile).var
    expected = {
        "mean_ER": ("mean", "intensity", "ER"),
        "p75_DNA": ("p75", "intensity", "DNA"),
        "area": ("area", "shape", ""),
        "bbox_max_x": ("bbox", "shape", ""),
        "texture_contrast_ER_3_135": ("texture_contrast", "texture", "ER"),
        "zernike_3_1": ("zernike", "zernike", ""),
        "rwc_ER_DNA": ("rwc", "correlation", "ER"),
    }
    for name, described in expected.items():
        assert tuple(var.loc[name, ["measure", "family", "channel"]]) == described


def test_each_column_says_where_it_lies_along_the_dims_of_its_measure(profile):
    var = features(profile).var
    texture = var.loc["texture_contrast_ER_3_135"]
    assert (texture["scale"], texture["angle"]) == (3, 135)
    assert np.isnan(texture["ring"])
    assert texture["order"] == ""
    assert var.loc["radial_fraction_DNA_2", "ring"] == 2
    assert var.loc["granularity_DNA_16", "step"] == 16
    assert var.loc["zernike_9_1", "order"] == "9_1"
    assert var.loc["rwc_ER_DNA", "c_"] == "DNA"
    assert var.loc["bbox_max_x", ["bound", "axis"]].tolist() == ["max", "x"]
    assert (var["angle"] == 90).sum() == 13 * 2


def test_a_family_is_chosen_by_var(profile):
    table = features(profile)
    chosen = table[:, table.var["family"] == "zernike"]
    np.testing.assert_array_equal(chosen.X, profile["zernike"])


def test_columns_have_cellprofilers_names_if_asked(profile):
    table = features(profile, names="cellprofiler", compartment="Nuclei")
    expected = profile.labels.to_dataframe(names="cellprofiler", compartment="Nuclei")
    assert table.var_names.tolist() == [*expected][1:]
    np.testing.assert_array_equal(table.X, expected.to_numpy(np.float64)[:, 1:])
    assert table.var.loc["Nuclei_AreaShape_Orientation", "measure"] == "orientation"
    assert table.var.loc["Nuclei_Correlation_K_ER_DNA", ["channel", "c_"]].tolist() == ["ER", "DNA"]


def test_of_a_dataset_the_channel_is_the_variable(arrays):
    image, mask = arrays
    images = xr.Dataset({"DAPI": image.sel(c="DNA", drop=True), "stack": image})
    var = features(images.labels.measure(mask, ("mean", "area"))).var
    assert var["channel"].to_dict() == {
        "mean_DAPI": "DAPI",
        "mean_stack_DNA": "stack_DNA",
        "mean_stack_ER": "stack_ER",
        "area": "",
    }
    assert var["measure"].tolist() == ["mean", "mean", "mean", "area"]


def test_what_is_no_measure_is_a_column_too(arrays):
    image, mask = arrays
    result = image.labels.measure(mask, "mean").assign(embedding=(("label", "unit"), [[1.0, 2.0], [3.0, 4.0]]))
    var = features(result).var
    assert var.loc["embedding_1", ["measure", "family", "channel"]].tolist() == ["embedding", "", ""]
    assert var["unit"].tolist()[-2:] == [0, 1]


def test_a_variable_of_that_name_is_x(arrays):
    result = arrays[0].labels.measure(arrays[1], "mean").rename(mean="features")
    table = features(result)
    assert table.var_names.tolist() == ["DNA", "ER"]
    np.testing.assert_array_equal(table.X, result["features"])


def test_centroids_and_neighbors_come_along(arrays):
    image, mask = arrays
    table = features(
        image.labels.measure(mask, ("mean", "centroid")),
        centroids=mask.labels.center_of_mass(),
        neighbors=mask.labels.neighbors(5),
        instance_key="cell",
    )
    np.testing.assert_array_equal(table.obsm["spatial"], table[:, ["centroid_x", "centroid_y"]].X)
    assert table.obsp["spatial_connectivities"].nnz == 2
    assert table.obs["cell"].tolist() == [2, 7]


def test_lazy_results_are_computed(arrays):
    image, mask = arrays
    lazy = image.chunk(9).labels.measure(mask.chunk(9), ("mean", "median"))
    np.testing.assert_array_equal(features(lazy).X, features(lazy.compute()).X)


def test_rows_may_be_objects_at_times(arrays):
    image, mask = (array.expand_dims(t=[3, 5]) for array in arrays)
    table = features(image.labels.measure(mask, ("mean", "area"), per="t"))
    assert table.obs_names.tolist() == ["3_2", "3_7", "5_2", "5_7"]
    assert table.obs["t"].tolist() == [3, 3, 5, 5]
    assert table.var_names.tolist() == ["mean_DNA", "mean_ER", "area"]


def test_it_is_written_and_read(profile, tmp_path):
    table = features(profile, names="cellprofiler")
    with warnings.catch_warnings():
        # What anndata says of pandas when it writes is theirs.
        warnings.simplefilter("ignore")
        table.write_h5ad(tmp_path / "profile.h5ad")
        read = anndata.read_h5ad(tmp_path / "profile.h5ad")
    np.testing.assert_array_equal(read.X, table.X)
    assert read.var["angle"].equals(table.var["angle"])
    assert read.var["order"].astype(str).tolist() == table.var["order"].tolist()


def test_without_numbers_there_are_no_columns():
    result = xr.Dataset({"kind": ("label", ["a", "b"])}, {"label": [1, 2]})
    assert features(result).shape == (2, 0)


def test_names_are_for_features_alone(profile):
    with pytest.raises(ValueError, match="is for a table with all features in X; give X='features' too"):
        profile.labels.to_anndata(names="cellprofiler")
    with pytest.raises(ValueError, match=r"no variable 'nothing' to be X.* or all that are numbers, X='features'"):
        profile.labels.to_anndata("nothing")
    with pytest.raises(ValueError, match="names is 'cellprofiler' or None"):
        features(profile, names="pandas")


def test_two_columns_of_one_name_are_an_error(arrays):
    image, mask = arrays
    with pytest.raises(ValueError, match="two columns would be named 'mean_DNA'"):
        features(image.assign_coords(c=["DNA", "DNA"]).labels.measure(mask, "mean"))
