"""The outlines of labels of SpatialData objects as shapes, and tables that stay as they are."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from conftest import blobs

import xlabelstats.spatialdata as xs

pytest.importorskip("rasterio")
with warnings.catch_warnings():
    # What its dependencies say on import is theirs.
    warnings.simplefilter("ignore")
    spatialdata = pytest.importorskip("spatialdata")
    from spatialdata import SpatialData
    from spatialdata.models import Image2DModel, Labels2DModel, Labels3DModel
    from spatialdata.transformations import Affine, Identity

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

TURNED = np.array([[0.3, -0.4, 30.0], [0.4, 0.3, -8.0], [0, 0, 1]])


@pytest.fixture
def placed():
    """Labels in two coordinate systems, with a table that annotates them."""
    labels = blobs((40, 50), 12)
    labels[np.random.default_rng(0).random(labels.shape) < 0.15] = 0
    systems = {"global": Identity(), "turned": Affine(TURNED, ("x", "y"), ("x", "y"))}
    sdata = SpatialData(
        images={"image": Image2DModel.parse(np.ones((1, 40, 50)), transformations=dict(systems))},
        labels={
            "cells": Labels2DModel.parse(labels, dims=("y", "x"), transformations=dict(systems)),
            "scales": Labels2DModel.parse(np.kron(labels, np.ones((4, 4), int)), dims=("y", "x"), scale_factors=[2]),
        },
    )
    xs.measure(sdata, "image", "cells", "table", ("num_pixels", "mean"), to_coordinate_system="turned")
    return sdata


def test_shapes_have_the_labels_as_index_and_their_areas(placed):
    shapes = xs.polygons(placed, "cells", "outlines")
    assert shapes is placed["outlines"]
    np.testing.assert_array_equal(shapes.index, placed["table"].obs["instance_id"])
    np.testing.assert_array_equal(shapes.area, placed["table"].obs["num_pixels"])


def test_shapes_lie_where_the_labels_lie_in_every_coordinate_system(placed):
    xs.polygons(placed, "cells", "outlines")
    turned = spatialdata.transform(placed["outlines"], to_coordinate_system="turned")
    centroids = np.stack([turned.centroid.x, turned.centroid.y], axis=1)
    np.testing.assert_allclose(centroids, placed["table"].obsm["spatial"], atol=1e-9)


def test_the_table_of_the_labels_stays_as_it_is(placed):
    before = placed["table"].copy()
    xs.polygons(placed, "cells", "outlines")
    after = placed["table"]
    assert after.uns == before.uns
    assert after.obs.equals(before.obs)
    _, table = spatialdata.join_spatialelement_table(placed, "cells", table_name="table", how="left")
    assert table.n_obs == before.n_obs


def test_a_table_that_is_told_to_annotates_the_shapes(placed):
    shapes = xs.polygons(placed, "cells", "outlines", 1)
    placed["table"].obs["region"] = placed["table"].obs["region"].cat.rename_categories({"cells": "outlines"})
    placed.set_table_annotates_spatialelement("table", region="outlines")
    elements, table = spatialdata.join_spatialelement_table(placed, "outlines", table_name="table", how="inner")
    assert len(elements["outlines"]) == table.n_obs == len(shapes)


def test_shapes_are_written_and_read(placed, tmp_path):
    shapes = xs.polygons(placed, "cells", "outlines")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        placed.write(tmp_path / "all.zarr")
        back = spatialdata.read_zarr(tmp_path / "all.zarr")
    assert back["outlines"].geometry.geom_equals_exact(shapes.geometry, 0).all()
    assert back["table"].uns["spatialdata_attrs"]["region"] == "cells"


def test_shapes_of_a_coarse_scale_lie_where_those_of_the_finest_do(placed):
    xs.polygons(placed, "scales", "fine")
    xs.polygons(placed, "scales", "coarse", scale="scale1")
    fine, coarse = (spatialdata.transform(placed[name], to_coordinate_system="global") for name in ("fine", "coarse"))
    assert coarse.area.sum() == fine.area.sum()
    np.testing.assert_allclose(coarse.total_bounds, fine.total_bounds)


def test_shapes_of_chosen_labels_leave_absent_ones_out(placed):
    ids = placed["cells"].labels.ids()
    assert xs.polygons(placed, "cells", "few", labels=[ids[2], 999, ids[0]]).index.tolist() == [ids[2], ids[0]]


def test_shapes_are_replaced_only_if_asked(placed):
    xs.polygons(placed, "cells", "outlines")
    with pytest.raises(ValueError, match="there are shapes 'outlines' already; overwrite=True"):
        xs.polygons(placed, "cells", "outlines")
    fewer = xs.polygons(placed, "cells", "outlines", 2, overwrite=True)
    assert fewer.count_coordinates().sum() < 400


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nuclei", "outlines"), "unknown labels element 'nuclei'.*cells"),
        (("cells", "image"), "'image' is an element that is no shapes"),
        (("cells", "a/b"), "'a/b' cannot be the name of shapes in SpatialData; 'a_b' can"),
    ],
)
def test_what_shapes_cannot_be_made_of(arguments, message, placed):
    with pytest.raises(ValueError, match=message):
        xs.polygons(placed, *arguments)


def test_labels_without_any_have_no_shapes():
    empty = SpatialData(labels={"none": Labels2DModel.parse(xr.DataArray(np.zeros((4, 4), int), dims=("y", "x")))})
    with pytest.raises(ValueError, match="'none' has no labels, and a shapes element needs a shape"):
        xs.polygons(empty, "none", "outlines")


def test_a_scale_of_labels_of_one_scale_is_told(placed):
    with pytest.raises(ValueError, match=r"scale='scale1' chooses from several scales, and there is one"):
        xs.polygons(placed, "cells", "outlines", scale="scale1")


def test_labels_in_3d_say_how_a_plane_is_outlined():
    volume = Labels3DModel.parse(np.ones((2, 3, 4), np.int32), dims=("z", "y", "x"))
    sdata = SpatialData(labels={"volume": volume})
    with pytest.raises(ValueError, match=r"'volume' is 3-D.*Labels2DModel\.parse\(sdata\['volume'\]\.isel\(z=0\)\)"):
        xs.polygons(sdata, "volume", "outlines")
    sdata["plane"] = Labels2DModel.parse(sdata["volume"].isel(z=0))
    assert xs.polygons(sdata, "plane", "outlines").area.tolist() == [12]
