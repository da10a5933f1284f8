"""Points elements of SpatialData objects counted in labels, into tables that annotate these."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xlabelstats.spatialdata as xs

dd = pytest.importorskip("dask.dataframe")
pytest.importorskip("sparse")
with warnings.catch_warnings():
    # What its dependencies say on import is theirs.
    warnings.simplefilter("ignore")
    spatialdata = pytest.importorskip("spatialdata")
    from spatialdata import SpatialData
    from spatialdata.models import Labels2DModel, Labels3DModel, PointsModel, TableModel
    from spatialdata.transformations import Affine, Identity, Scale, Translation

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

GENES = ["Gad1", "Sst", "Pvalb"]
TURNED = np.array([[0.3, -0.4, 30.0], [0.4, 0.3, -8.0], [0, 0, 1]])


def transcripts(mask: xr.DataArray, n: int = 4000, seed: int = 0) -> pd.DataFrame:
    """Points (x, y[, z]) in and around a mask, in its pixels."""
    rng = np.random.default_rng(seed)
    dims = [dim for dim in ("x", "y", "z") if dim in mask.dims]
    frame = pd.DataFrame({dim: rng.uniform(-3, mask.sizes[dim] + 3, n) for dim in dims})
    return frame.assign(gene=pd.Categorical(rng.choice(GENES, n), GENES))


def expected(mask: xr.DataArray, frame: pd.DataFrame) -> np.ndarray:
    """The counts (label, gene) of points in pixels, of which number i goes from i to i + 1."""
    at = {dim: np.floor(frame[dim].to_numpy()).astype(int) for dim in mask.dims}
    inside = np.all([(index >= 0) & (index < mask.sizes[dim]) for dim, index in at.items()], axis=0)
    labels = mask.values[tuple(index[inside] for index in at.values())]
    table = pd.crosstab(labels, frame["gene"][inside])
    return table.reindex(index=mask.labels.ids(), columns=GENES, fill_value=0).to_numpy()


def moved(frame: pd.DataFrame, matrix: np.ndarray) -> pd.DataFrame:
    """Points (x, y[, z]) moved by a matrix."""
    axes = [axis for axis in ("x", "y", "z") if axis in frame]
    return frame.assign(
        **dict(zip(axes, (frame[axes].to_numpy() @ matrix[:-1, :-1].T + matrix[:-1, -1]).T, strict=True))
    )


def test_counts_annotate_the_labels(nuclei2d):
    mask = nuclei2d[1]
    frame = transcripts(mask)
    sdata = SpatialData(
        labels={"nuclei": Labels2DModel.parse(mask.chunk(200))},
        points={"transcripts": PointsModel.parse(dd.from_pandas(frame, npartitions=4))},
    )
    table = xs.count_points(sdata, "transcripts", "nuclei", "counts")
    assert table is sdata["counts"]
    TableModel().validate(table)
    assert table.uns["spatialdata_attrs"] == {"region": "nuclei", "region_key": "region", "instance_key": "instance_id"}
    assert table.X.format == "csr"
    np.testing.assert_array_equal(table.X.toarray(), expected(mask, frame))
    assert table.var_names.tolist() == GENES
    assert table.obs["instance_id"].tolist() == mask.labels.ids().tolist()
    said = table.uns["count_points"]
    assert said["dropped_outside"] > 0
    assert sum(said.values()) + table.X.sum() == len(frame)
    with pytest.raises(ValueError, match="'counts' already; overwrite=True"):
        xs.count_points(sdata, "transcripts", "nuclei", "counts")
    again = xs.count_points(sdata, "transcripts", "nuclei", "counts", overwrite=True)
    np.testing.assert_array_equal(again.X.toarray(), table.X.toarray())


@pytest.mark.parametrize("of_labels", [np.diag([0.5, 2, 1]), TURNED])
@pytest.mark.parametrize("of_points", [np.eye(3), np.diag([4.0, 0.25, 1]), np.linalg.inv(TURNED)])
def test_both_elements_are_transformed(nuclei2d, of_labels, of_points):
    mask = nuclei2d[1]
    frame = transcripts(mask)
    element = moved(frame, np.linalg.inv(of_points) @ of_labels)
    sdata = SpatialData(
        labels={"nuclei": Labels2DModel.parse(mask, transformations={"um": Affine(of_labels, ("x", "y"), ("x", "y"))})},
        points={
            "transcripts": PointsModel.parse(
                dd.from_pandas(element, npartitions=3),
                transformations={"um": Affine(of_points, ("x", "y"), ("x", "y")), "other": Identity()},
            )
        },
    )
    table = xs.count_points(sdata, "transcripts", "nuclei", "counts", to_coordinate_system="um")
    np.testing.assert_array_equal(table.X.toarray(), expected(mask, frame))
    with pytest.raises(ValueError, match="'nuclei' has no transformation to the coordinate system 'other'"):
        xs.count_points(sdata, "transcripts", "nuclei", "c", to_coordinate_system="other")


def test_the_z_of_points_is_left_out_for_labels_without(nuclei2d):
    mask = nuclei2d[1]
    frame = transcripts(mask)
    deep = frame.assign(z=np.arange(len(frame)) * 100.0)
    sdata = SpatialData(
        labels={"nuclei": Labels2DModel.parse(mask)},
        points={"transcripts": PointsModel.parse(dd.from_pandas(deep, npartitions=2))},
    )
    table = xs.count_points(sdata, "transcripts", "nuclei", "counts")
    np.testing.assert_array_equal(table.X.toarray(), expected(mask, frame))


def test_volumes(nuclei3d):
    mask = nuclei3d[1]
    frame = transcripts(mask, 20_000)
    scaled = moved(frame, np.diag([0.5, 0.5, 2, 1.0]))
    sdata = SpatialData(
        labels={"nuclei": Labels3DModel.parse(mask, transformations={"global": Scale([0.5, 0.5, 2], ("x", "y", "z"))})},
        points={
            "flat": PointsModel.parse(dd.from_pandas(scaled.drop(columns="z"), npartitions=1)),
            "transcripts": PointsModel.parse(dd.from_pandas(scaled, npartitions=2)),
        },
    )
    table = xs.count_points(sdata, "transcripts", "nuclei", "counts")
    np.testing.assert_array_equal(table.X.toarray(), expected(mask, frame))
    with pytest.raises(ValueError, match="no column 'z' for the axis 'z' of the labels"):
        xs.count_points(sdata, "flat", "nuclei", "c")


def test_a_point_between_two_pixels_belongs_to_the_first(nuclei2d):
    mask = xr.DataArray([[1, 2], [3, 4]], dims=("y", "x"))
    frame = pd.DataFrame({"x": [1.0, 1.1, 0.0, 2.0], "y": [0.5, 1.0, 1.5, 2.0], "gene": list("abcd")})
    sdata = SpatialData(
        labels={"cells": Labels2DModel.parse(mask)},
        points={"points": PointsModel.parse(dd.from_pandas(frame, npartitions=1))},
    )
    table = xs.count_points(sdata, "points", "cells", "counts")
    assert table.X.toarray().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("translation", [0, 7.7])
@pytest.mark.parametrize("scale", [0.1, 0.2125, 2])
def test_a_point_between_two_pixels_may_be_off_by_rounding(scale, translation, dtype):
    """So may one on the border of the labels, which lies in these."""
    n = 40
    mask = xr.DataArray(np.arange(1, n + 1)[np.newaxis], dims=("y", "x"))
    frame = pd.DataFrame({"x": scale * np.arange(n + 1) + translation, "y": scale / 2 + translation})
    frame = frame.astype(dtype).assign(gene=pd.Categorical(["a"] * (n + 1)))
    matrix = np.array([[scale, 0, translation], [0, scale, translation], [0, 0, 1]])
    transformations = {"global": Affine(matrix, ("x", "y"), ("x", "y"))}
    sdata = SpatialData(
        labels={"cells": Labels2DModel.parse(mask, transformations=transformations)},
        points={"points": PointsModel.parse(dd.from_pandas(frame, npartitions=1))},
    )
    table = xs.count_points(sdata, "points", "cells", "counts")
    assert table.X.toarray().ravel().tolist() == [2] + [1] * (n - 1)


def test_a_point_at_infinity_lies_outside():
    mask = xr.DataArray([[1, 2], [3, 4]], dims=("y", "x"))
    frame = pd.DataFrame({"x": [np.inf, 1, 1, np.nan], "y": [1, -np.inf, 1, np.inf], "gene": list("abcd")})
    sdata = SpatialData(
        labels={"cells": Labels2DModel.parse(mask)},
        points={"points": PointsModel.parse(dd.from_pandas(frame, npartitions=1))},
    )
    table = xs.count_points(sdata, "points", "cells", "counts")
    assert table.uns["count_points"]["dropped_outside"] == 2
    assert table.uns["count_points"]["dropped_nan"] == 1


@pytest.mark.parametrize("scale", [None, "scale0", "scale1"])
def test_any_scale_of_the_labels(nuclei2d, scale):
    mask = nuclei2d[1]
    blocky = mask.isel({dim: np.arange(2 * mask.sizes[dim]) // 2 for dim in mask.dims})
    frame = transcripts(mask)
    sdata = SpatialData(
        labels={"nuclei": Labels2DModel.parse(blocky, scale_factors=[2])},
        points={"transcripts": PointsModel.parse(dd.from_pandas(moved(frame, np.diag([2.0, 2, 1])), npartitions=2))},
    )
    table = xs.count_points(sdata, "transcripts", "nuclei", "counts", scale=scale)
    np.testing.assert_array_equal(table.X.toarray(), expected(mask, frame))


def test_what_is_wrong_is_named(nuclei2d):
    mask = nuclei2d[1]
    frame = transcripts(mask)
    sdata = SpatialData(
        labels={"nuclei": Labels2DModel.parse(mask)},
        points={
            "transcripts": PointsModel.parse(
                dd.from_pandas(frame, npartitions=2), transformations={"global": Translation([1e6], ("x",))}
            )
        },
    )
    with pytest.raises(ValueError, match=r"unknown points element 'points'.*transcripts"):
        xs.count_points(sdata, "points", "nuclei", "c")
    with pytest.raises(ValueError, match="unknown labels element 'cells'"):
        xs.count_points(sdata, "transcripts", "cells", "c")
    with pytest.raises(ValueError, match="no column 'genes' to count by; they have: 'x', 'y', 'gene'"):
        xs.count_points(sdata, "transcripts", "nuclei", "c", by="genes")
    with pytest.warns(UserWarning, match="none of the 4,000 points"):
        xs.count_points(sdata, "transcripts", "nuclei", "c")


def test_a_store_is_counted_and_gets_the_table(nuclei2d, tmp_path):
    mask = nuclei2d[1]
    frame = transcripts(mask)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        SpatialData(
            labels={"nuclei": Labels2DModel.parse(mask.chunk(200))},
            points={"transcripts": PointsModel.parse(dd.from_pandas(frame, npartitions=4))},
        ).write(tmp_path / "s.zarr")
        sdata = spatialdata.read_zarr(tmp_path / "s.zarr")
        xs.count_points(sdata, "transcripts", "nuclei", "counts")
        sdata.write_element("counts")
        found = spatialdata.read_zarr(tmp_path / "s.zarr")["counts"]
    order = [found.var_names.tolist().index(gene) for gene in GENES]
    np.testing.assert_array_equal(found.X.toarray()[:, order], expected(mask, frame))
    assert int(found.uns["count_points"]["dropped_nan"]) == 0
