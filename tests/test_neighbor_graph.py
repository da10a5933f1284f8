"""Neighbors in annotated tables, as squidpy has them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

anndata = pytest.importorskip("anndata")

CONNECTIVITIES, DISTANCES = "spatial_connectivities", "spatial_distances"


@pytest.fixture
def mask(nuclei2d) -> xr.DataArray:
    return nuclei2d[1]


def test_matrices_are_those_of_a_tree_of_centroids(mask):
    centroids = mask.labels.center_of_mass()
    table = mask.labels.count().labels.to_anndata(neighbors=mask.labels.neighbors(40, "centroids"), centroids=centroids)
    tree = cKDTree(table.obsm["spatial"])
    expected = tree.sparse_distance_matrix(tree, 40).toarray()
    assert np.count_nonzero(expected) > 200
    np.testing.assert_allclose(table.obsp[DISTANCES].toarray(), expected, rtol=1e-12)
    np.testing.assert_array_equal(table.obsp[CONNECTIVITIES].toarray(), expected > 0)


def test_they_are_of_the_kind_that_squidpy_writes(mask):
    table = mask.labels.count().labels.to_anndata(neighbors=mask.labels.neighbors(12.5))
    for name, dtype in ((CONNECTIVITIES, np.float32), (DISTANCES, np.float64)):
        matrix = table.obsp[name]
        assert isinstance(matrix, csr_matrix)
        assert matrix.dtype == dtype
        assert matrix.has_sorted_indices
        assert (matrix != matrix.T).nnz == 0
        assert not matrix.diagonal().any()
    assert table.uns["spatial_neighbors"] == {
        "connectivities_key": CONNECTIVITIES,
        "distances_key": DISTANCES,
        "params": {"coord_type": "generic", "radius": 12.5, "transform": None},
    }


def test_rows_in_another_order_have_their_own_neighbors(mask):
    near = mask.labels.neighbors(20)
    ids = mask.labels.ids()
    turned = np.random.default_rng(0).permutation(ids.size)
    expected = mask.labels.count().labels.to_anndata(neighbors=near).obsp[DISTANCES].toarray()
    table = mask.labels.count(labels=ids[turned]).labels.to_anndata(neighbors=near)
    np.testing.assert_array_equal(table.obsp[DISTANCES].toarray(), expected[np.ix_(turned, turned)])


def test_a_dataset_takes_them_too_and_without_them_there_is_no_graph(nuclei2d):
    image, mask = nuclei2d
    result = image.labels.aggregate(mask, ("mean", "count"))
    near = mask.labels.neighbors(9)
    assert result.labels.to_anndata(neighbors=near).obsp[CONNECTIVITIES].nnz == 2 * near.sizes["pair"]
    table = result.labels.to_anndata()
    assert not table.obsp
    assert not table.uns


def test_labels_that_the_table_lacks_are_left_out_with_a_warning(mask):
    near = mask.labels.neighbors(20)
    count = mask.labels.count()
    kept = count.where(count > 400, drop=True).astype(int)
    with pytest.warns(
        UserWarning, match=r"\d+ labels that the table lacks, the first is \d+; \d+ of \d+ pairs are left"
    ):
        table = kept.labels.to_anndata(neighbors=near)
    ids = kept["label"].values
    inside = np.isin(near["label"], ids) & np.isin(near["neighbor"], ids)
    assert 0 < inside.sum() < inside.size
    assert table.obsp[DISTANCES].nnz == 2 * inside.sum()


def test_labels_without_neighbors_have_empty_rows(mask):
    table = mask.labels.count().labels.to_anndata(neighbors=mask.labels.neighbors(0))
    assert table.obsp[DISTANCES].nnz == 0
    assert table.obsp[DISTANCES].shape == (table.n_obs, table.n_obs)


def test_centroids_at_one_place_are_neighbors_at_distance_0():
    mask = xr.DataArray([[1, 2, 2, 1, 3]], dims=("y", "x"))
    table = mask.labels.count().labels.to_anndata(neighbors=mask.labels.neighbors(0, "centroids"))
    assert table.obsp[CONNECTIVITIES].toarray().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert table.obsp[DISTANCES].nnz == 2


def test_ids_beyond_int64_are_told_apart():
    ids = np.array([2**63 + 1, 2**63 + 2, 1, 2**63 + 3], np.uint64)
    mask = xr.DataArray(ids[None], dims=("y", "x"))
    table = mask.labels.count().labels.to_anndata(neighbors=mask.labels.neighbors(1))
    assert table.obs["label"].tolist() == sorted(ids.tolist())
    assert np.argwhere(np.triu(table.obsp[CONNECTIVITIES].toarray())).tolist() == [[0, 2], [0, 3], [1, 2]]


def test_it_is_written_and_read(mask, tmp_path):
    table = mask.labels.count().labels.to_anndata(neighbors=mask.labels.neighbors(10))
    table.write_h5ad(tmp_path / "cells.h5ad")
    read = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert (read.obsp[DISTANCES] != table.obsp[DISTANCES]).nnz == 0
    assert read.uns["spatial_neighbors"]["connectivities_key"] == CONNECTIVITIES


def test_what_are_no_neighbors_is_said(mask):
    count = mask.labels.count()
    near = mask.labels.neighbors(20)
    with pytest.raises(TypeError, match=r"as mask.labels.neighbors\(distance\) gives, not ndarray"):
        count.labels.to_anndata(neighbors=np.eye(3))
    with pytest.raises(ValueError, match=r"'distance' along the dim 'pair'.*these have label, neighbor"):
        count.labels.to_anndata(neighbors=near.drop_vars("distance"))
    with pytest.raises(ValueError, match="two labels are neighbors twice"):
        count.labels.to_anndata(neighbors=xr.concat([near, near], "pair"))
    twice = xr.concat([count, count], "label")
    with pytest.raises(ValueError, match=f"several rows of the label {int(count['label'][0])}, .* each mask by itself"):
        twice.labels.to_anndata(neighbors=near)
    series = mask.expand_dims(t=2)
    with pytest.raises(ValueError, match=r"a row of this result is a label at a position"):
        series.labels.count(per="t").labels.to_anndata(neighbors=near)


def test_squidpy_takes_the_table_as_it_is(nuclei2d):
    squidpy = pytest.importorskip("squidpy")
    image, mask = nuclei2d
    result = image.labels.measure(mask, ("mean", "area"))
    near = mask.labels.neighbors(15)
    table = result.labels.to_anndata(neighbors=near, centroids=mask.labels.center_of_mass())
    size = np.where(table.obs["area"] > table.obs["area"].median(), "large", "small")
    table.obs["size"] = pd.Categorical(size)
    squidpy.gr.nhood_enrichment(table, "size", n_perms=20, seed=0, show_progress_bar=False)
    found = table.uns["size_nhood_enrichment"]
    names = pd.Series(size, index=result["label"].values)
    pairs = pd.crosstab(names[near["label"].values].to_numpy(), names[near["neighbor"].values].to_numpy())
    np.testing.assert_array_equal(found["count"], pairs + pairs.T)
    squidpy.gr.interaction_matrix(table, "size")
    squidpy.gr.centrality_scores(table, "size", show_progress_bar=False)


def test_the_graph_is_the_one_that_squidpy_makes_of_the_centroids(mask):
    squidpy = pytest.importorskip("squidpy")
    table = mask.labels.count().labels.to_anndata(
        centroids=mask.labels.center_of_mass(), neighbors=mask.labels.neighbors(40, "centroids")
    )
    other = mask.labels.count().labels.to_anndata(centroids=mask.labels.center_of_mass())
    squidpy.gr.spatial_neighbors_radius(other, radius=40.0)
    assert table.uns["spatial_neighbors"] == other.uns["spatial_neighbors"]
    for name in (CONNECTIVITIES, DISTANCES):
        ours, theirs = table.obsp[name], other.obsp[name]
        assert (type(ours), ours.dtype) == (type(theirs), theirs.dtype)
        np.testing.assert_allclose(ours.toarray(), theirs.toarray(), rtol=1e-9)
