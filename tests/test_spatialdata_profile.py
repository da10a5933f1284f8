"""Profiles of SpatialData elements, in a table of their own."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xlabelstats.spatialdata as xs

with warnings.catch_warnings():
    # What its dependencies say on import is theirs.
    warnings.simplefilter("ignore")
    pytest.importorskip("spatialdata")
    from spatialdata import SpatialData, get_centroids, read_zarr
    from spatialdata.models import Image2DModel, Labels2DModel, TableModel
    from spatialdata.transformations import Scale, set_transformation

FAMILIES = ("intensity", "shape", "granularity")


@pytest.fixture
def arrays() -> tuple[xr.DataArray, xr.DataArray]:
    ids = np.zeros((40, 60), np.int32)
    ids[4:16, 6:25], ids[20:36, 28:50], ids[18:24, 4:9] = 2, 7, 9
    pixels = np.random.default_rng(0).integers(0, 256, (2, 40, 60), dtype=np.uint8)
    return xr.DataArray(pixels, {"c": ["DNA", "ER"]}, ("c", "y", "x")), xr.DataArray(ids, dims=("y", "x"))


@pytest.fixture
def sdata(arrays) -> SpatialData:
    image, mask = arrays
    return SpatialData(
        images={
            "image": Image2DModel.parse(image, c_coords=["DNA", "ER"]),
            "pyramid": Image2DModel.parse(image, c_coords=["DNA", "ER"], scale_factors=[2]),
        },
        labels={
            "cells": Labels2DModel.parse(mask),
            "pyramid_of_cells": Labels2DModel.parse(mask, scale_factors=[2]),
        },
    )


def test_features_are_those_of_the_accessor(sdata, arrays):
    image, mask = arrays
    table = xs.profile(sdata, "image", "cells", "profiles", FAMILIES)
    expected = image.instances.profile(mask, FAMILIES).labels.to_anndata(X="features")
    assert table is sdata["profiles"]
    np.testing.assert_array_equal(table.X, expected.X)
    pd.testing.assert_frame_equal(table.var, expected.var)
    assert table.obs["instance_id"].tolist() == [2, 7, 9]


def test_the_table_annotates_the_labels(sdata):
    set_transformation(sdata["cells"], Scale([2.0, 3.0], ("x", "y")))
    set_transformation(sdata["image"], Scale([2.0, 3.0], ("x", "y")))
    table = xs.profile(sdata, "image", "cells", "profiles", "shape")
    TableModel().validate(table)
    assert table.uns["spatialdata_attrs"] == {
        "region": "cells",
        "region_key": "region",
        "instance_key": "instance_id",
    }
    centroids = get_centroids(sdata["cells"]).compute().loc[[2, 7, 9], ["x", "y"]]
    np.testing.assert_allclose(table.obsm["spatial"], centroids)


def test_it_is_written_and_read(sdata, tmp_path):
    xs.profile(sdata, "image", "cells", "profiles", names="cellprofiler", compartment="Cells")
    sdata.write(tmp_path / "cells.zarr")
    table = read_zarr(tmp_path / "cells.zarr")["profiles"]
    np.testing.assert_array_equal(table.X, sdata["profiles"].X)
    assert "Cells_Texture_Contrast_ER_3_00_256" in table.var_names
    assert table.var.loc["Cells_Granularity_2_DNA", "step"] == 2


def test_options_are_those_of_the_accessor(sdata, arrays):
    image, mask = arrays
    options: dict[str, Any] = {"levels": 32, "range": (0, 100), "labels": [7, 2], "batch_size": 1}
    table = xs.profile(sdata, "image", "cells", "profiles", "texture", texture_scale=[1, 2], **options)
    expected = image.instances.profile(mask, "texture", scale=[1, 2], **options)
    np.testing.assert_array_equal(table.X, expected.labels.to_anndata(X="features").X)
    assert table.obs["instance_id"].tolist() == [7, 2]
    assert {*table.var["scale"]} == {1, 2}


def test_families_may_be_a_generator_and_scales_an_array(sdata):
    families = (name for name in ("shape", "texture"))
    table = xs.profile(sdata, "image", "cells", "turned", families, texture_scale=np.array([1, 2]), range=(0, 256))
    assert {*table.var["family"]} == {"shape", "texture"}
    assert {*table.var["scale"].dropna()} == {1, 2}


def test_the_scale_is_that_of_elements(sdata):
    where = (sdata, "pyramid", "pyramid_of_cells", "profiles")
    fine, coarse = (xs.profile(*where, "shape", scale=scale, overwrite=True) for scale in (None, "scale1"))
    ratio = fine[:, "area"].X / coarse[:, "area"].X
    np.testing.assert_allclose(ratio, 4, rtol=0.6)


def test_a_table_is_replaced_only_if_told(sdata):
    xs.profile(sdata, "image", "cells", "profiles", "zernike")
    with pytest.raises(ValueError, match="there is a table 'profiles' already; overwrite=True replaces it"):
        xs.profile(sdata, "image", "cells", "profiles", "shape")
    assert {*xs.profile(sdata, "image", "cells", "profiles", "shape", overwrite=True).var["family"]} == {"shape"}


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("nothing", "cells", "t"), {}, "unknown image element 'nothing'"),
        ((None, "cells", "t"), {}, "name an image, or measure the labels alone"),
        (("image", "cells", "t", "colour"), {}, "unknown family 'colour'"),
        (("image", "cells", "t"), {"names": "skimage"}, "names is 'cellprofiler' or None"),
        (("image", "cells", "t"), {"compartment": "Cells"}, "give names='cellprofiler' too"),
        (("image", "cells", "t"), {"per": "y"}, "a table annotates every label once, without per="),
        (("image", "cells", "t", "shape"), {"texture_scale": 2}, "is for the family texture"),
    ],
)
def test_mistakes_are_told_before_anything_is_added(sdata, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        xs.profile(sdata, *arguments, **options)
    assert "t" not in sdata
