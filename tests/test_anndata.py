"""Results as annotated tables."""

from __future__ import annotations

import doctest
import textwrap

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xlabelstats
from xlabelstats import tables

anndata = pytest.importorskip("anndata")


@pytest.fixture
def channels(nuclei2d) -> xr.DataArray:
    image, _ = nuclei2d
    return xr.concat([image, 255 - image], dim="c").assign_coords(c=["DAPI", "CD3"])


def test_statistics_are_x_and_layers_and_counts_are_obs(channels, nuclei2d):
    _, mask = nuclei2d
    result = channels.labels.aggregate(mask, ("count", "mean", "max", "valid"))
    table = result.labels.to_anndata()
    assert isinstance(table, anndata.AnnData)
    np.testing.assert_array_equal(table.X, result["mean"])
    # From 0.13 on anndata lists X too, as None.
    assert set(table.layers) - {None} == {"max", "valid"}
    np.testing.assert_array_equal(table.layers["max"], result["max"])
    assert list(table.var_names) == ["DAPI", "CD3"]
    assert list(table.obs) == ["label", "count"]
    np.testing.assert_array_equal(table.obs["count"], result["count"])
    assert table.obs["label"].dtype == np.int64
    assert table.obs["label"].tolist() == mask.labels.ids().tolist()
    assert table.obs_names.tolist() == [str(label) for label in mask.labels.ids()]


def test_any_dim_order_gives_the_same_table(channels, nuclei2d):
    result = channels.labels.aggregate(nuclei2d[1], ("mean", "std"))
    table = result.assign(std=result["std"].T).transpose(..., "label").labels.to_anndata()
    np.testing.assert_array_equal(table.X, result["mean"])
    np.testing.assert_array_equal(table.layers["std"], result["std"])


def test_labels_keep_their_order(channels, nuclei2d):
    _, mask = nuclei2d
    wanted = [9, 3, 7]
    table = channels.labels.aggregate(mask, "mean", labels=wanted).labels.to_anndata(
        centroids=mask.labels.center_of_mass(), instance_key="cell"
    )
    assert table.obs["cell"].tolist() == wanted
    rows = [np.argwhere(mask.values == label).mean(axis=0)[::-1] for label in wanted]
    np.testing.assert_allclose(table.obsm["spatial"], rows)


def test_lazy_results_are_computed_together_once(channels, nuclei2d, monkeypatch):
    mask = nuclei2d[1].chunk(200)
    image = channels.chunk(300)
    result, centroids = image.labels.aggregate(mask), mask.labels.center_of_mass()
    computed = []

    def compute(collection):
        computed.append(collection)
        return collection.compute()

    monkeypatch.setattr(tables, "compute", compute)
    table = result.labels.to_anndata(centroids=centroids)
    assert len(computed) == 1
    expected = result.compute().labels.to_anndata(centroids=centroids.compute())
    np.testing.assert_array_equal(table.X, expected.X)
    np.testing.assert_array_equal(table.obsm["spatial"], expected.obsm["spatial"])
    assert result["mean"].chunks is not None


def test_an_image_without_channels_has_one_column(nuclei2d):
    image, mask = nuclei2d
    result = image.labels.aggregate(mask).merge(mask.labels.regionprops(properties="eccentricity"))
    table = result.labels.to_anndata()
    assert table.shape == (mask.labels.ids().size, 1)
    assert list(table.var_names) == ["0"]
    assert set(table.layers) - {None} == {"sum", "var", "skew", "kurtosis", "min", "max"}
    assert list(table.obs) == ["label", "count", "eccentricity"]
    np.testing.assert_array_equal(table.layers["sum"][:, 0], result["sum"])


def test_one_statistic_is_x(channels, nuclei2d):
    _, mask = nuclei2d
    table = channels.labels.max(mask).labels.to_anndata(centroids=mask.labels.center_of_mass())
    np.testing.assert_array_equal(table.X, channels.labels.max(mask))
    assert not table.layers
    assert table.obsm["spatial"].shape == (table.n_obs, 2)
    assert channels.labels.max(mask).rename(None).labels.to_anndata().shape == table.shape


def test_channels_without_names_are_numbered(channels, nuclei2d):
    table = channels.drop_vars("c").labels.mean(nuclei2d[1]).labels.to_anndata()
    assert list(table.var_names) == ["0", "1"]


def test_var_is_the_product_of_several_dims():
    result = xr.DataArray(
        np.arange(12.0).reshape(2, 3, 2),
        dims=("label", "t", "c"),
        coords={"label": [4, 9], "t": [0, 10, 20], "c": ["DAPI", "CD3"], "nm": ("c", [461, 519])},
        name="mean",
    )
    table = result.labels.to_anndata()
    assert list(table.var_names) == ["0_DAPI", "0_CD3", "10_DAPI", "10_CD3", "20_DAPI", "20_CD3"]
    assert list(table.var_names) == [name.removeprefix("mean_") for name in result.labels.to_dataframe()]
    np.testing.assert_array_equal(table.X, result.labels.to_dataframe())
    assert table.var["t"].tolist() == [0, 0, 10, 10, 20, 20]
    assert table.var["c"].tolist() == ["DAPI", "CD3"] * 3
    assert table.var["nm"].tolist() == [461, 519] * 3


def test_what_has_other_dims_is_in_obsm(channels, nuclei2d):
    _, mask = nuclei2d
    quantiles = channels.instances.quantiles(mask, [0.25, 0.75]).rename("quantiles")
    features = channels.instances.featurize(mask, lambda batch: batch.mean((2, 3)), size=60, n_features=2)
    result = xr.merge(
        [channels.labels.aggregate(mask, ("count", "mean")), quantiles, features, mask.labels.scan()["centroid"]],
        combine_attrs="drop",
    )
    table = result.labels.to_anndata()
    assert list(table.obs) == ["label", "count"]
    assert set(table.obsm) == {"quantiles", "features", "centroid"}
    named = table.obsm["quantiles"]
    assert list(named) == ["DAPI_0.25", "DAPI_0.75", "CD3_0.25", "CD3_0.75"]
    np.testing.assert_array_equal(named["CD3_0.25"], quantiles.sel(c="CD3", quantile=0.25))
    assert list(table.obsm["centroid"]) == ["y", "x"]
    assert isinstance(table.obsm["features"], np.ndarray)
    np.testing.assert_array_equal(table.obsm["features"], features)


def test_without_x_there_are_no_columns(nuclei2d):
    _, mask = nuclei2d
    result = mask.labels.regionprops(properties=("area", "eccentricity", "centroid"))
    table = result.labels.to_anndata(None)
    assert table.shape == (mask.labels.ids().size, 0)
    assert list(table.obs) == ["label", "area", "eccentricity"]
    assert list(table.obsm) == ["centroid"]


def test_coordinates_of_labels_are_in_obs():
    result = xr.DataArray([1.0, 2.0], dims="label", coords={"label": [3, 5], "kind": ("label", ["a", "b"])})
    assert result.labels.to_anndata().obs["kind"].tolist() == ["a", "b"]


def test_centroids_are_x_y_z_whatever_the_order_of_dims(nuclei3d):
    image, mask = nuclei3d
    spaced = mask.assign_coords(z=2.0 * np.arange(mask.sizes["z"]))
    label = int(mask.labels.ids()[5])
    z, y, x = np.argwhere(mask.values == label).mean(axis=0)
    for turned in (spaced, spaced.transpose("y", "x", "z")):
        table = image.labels.mean(mask).labels.to_anndata(centroids=turned.labels.center_of_mass())
        np.testing.assert_allclose(table.obsm["spatial"][5], [x, y, 2 * z])


def test_axes_of_other_names_come_from_the_last_to_the_first():
    mask = xr.DataArray([[0, 1, 1, 1]], dims=("row", "column"))
    table = mask.labels.count().labels.to_anndata(centroids=mask.labels.center_of_mass())
    np.testing.assert_array_equal(table.obsm["spatial"], [[2.0, 0.0]])


def test_no_labels_make_a_table_without_rows(channels, nuclei2d):
    mask = xr.zeros_like(nuclei2d[1])
    table = channels.labels.aggregate(mask).labels.to_anndata(centroids=mask.labels.center_of_mass())
    assert table.shape == (0, 2)
    assert table.obsm["spatial"].shape == (0, 2)


def test_ids_beyond_int64_stay_whole():
    label = 2**63 + 5
    mask = xr.DataArray(np.array([0, label], np.uint64), dims="x")
    table = mask.labels.count().labels.to_anndata()
    assert table.obs["label"].tolist() == [label]
    assert table.obs_names.tolist() == [str(label)]


def test_the_table_does_not_share_memory_with_the_result(channels, nuclei2d):
    result = channels.labels.aggregate(nuclei2d[1], ("count", "mean", "max"))
    before = result.copy(deep=True)
    table = result.labels.to_anndata()
    table.X[:] = 0
    table.layers["max"][:] = 0
    xr.testing.assert_identical(result, before)


def test_scanpy_can_scale_it(channels, nuclei2d):
    scanpy = pytest.importorskip("scanpy")
    _, mask = nuclei2d
    table = channels.labels.aggregate(mask).labels.to_anndata(centroids=mask.labels.center_of_mass())
    scanpy.pp.scale(table)
    np.testing.assert_allclose(table.X.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(table.X.std(axis=0, ddof=1), 1)
    assert table.obsm["spatial"].shape == (table.n_obs, 2)


def test_it_is_written_and_read(channels, nuclei2d, tmp_path):
    _, mask = nuclei2d
    result = channels.labels.aggregate(mask).merge(channels.instances.quantiles(mask).rename("quantiles"))
    table = result.labels.to_anndata(centroids=mask.labels.center_of_mass())
    table.write_h5ad(tmp_path / "cells.h5ad")
    read = anndata.read_h5ad(tmp_path / "cells.h5ad")
    np.testing.assert_array_equal(read.X, table.X)
    np.testing.assert_array_equal(read.obsm["spatial"], table.obsm["spatial"])
    pd.testing.assert_frame_equal(read.obs, table.obs)
    pd.testing.assert_frame_equal(read.obsm["quantiles"], table.obsm["quantiles"])


def test_an_unknown_x_names_what_there_is(channels, nuclei2d):
    result = channels.labels.aggregate(nuclei2d[1], ("count", "max"))
    with pytest.raises(ValueError, match=r"there is no variable 'mean' to be X, there are: count, max; name one"):
        result.labels.to_anndata()


def test_without_labels_there_is_no_table():
    with pytest.raises(ValueError, match="variable 'mean' has no dim 'label'"):
        xr.Dataset({"mean": ("x", [1])}).labels.to_anndata()


def test_centroids_must_have_every_label(nuclei2d):
    image, mask = nuclei2d
    means, centroids = image.labels.mean(mask), mask.labels.center_of_mass()
    with pytest.raises(ValueError, match="centroids lack 2 of the labels, the first is 1"):
        means.labels.to_anndata(centroids=centroids.isel(label=slice(2, None)))
    with pytest.raises(ValueError, match=r"centroids are a DataArray \(label, axis\).*not dims \('label',\)"):
        means.labels.to_anndata(centroids=means)
    with pytest.raises(ValueError, match="not Dataset"):
        means.labels.to_anndata(centroids=mask.labels.scan())


def test_names_are_taken_once(nuclei2d):
    image, mask = nuclei2d
    result = image.labels.aggregate(mask)
    with pytest.raises(ValueError, match="'count' is the name of a variable or coordinate"):
        result.labels.to_anndata(instance_key="count")
    with pytest.raises(ValueError, match="two columns of 'mean' would be named 'a'"):
        xr.DataArray([[1, 2]], dims=("label", "c"), coords={"c": ["a", "a"]}, name="mean").labels.to_anndata()
    with pytest.raises(ValueError, match="the result has a variable 'spatial'"):
        result.assign(spatial=(("label", "k"), np.zeros((result.sizes["label"], 2)))).labels.to_anndata(
            centroids=mask.labels.center_of_mass()
        )


def test_the_example_in_the_docstring_is_true():
    text = textwrap.dedent(str(xlabelstats.LabelsDatasetAccessor.to_anndata.__doc__)).replace("# doctest: +SKIP", "")
    test = doctest.DocTestParser().get_doctest(text, {}, "to_anndata", None, 0)
    assert test.examples
    assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test).failed == 0
