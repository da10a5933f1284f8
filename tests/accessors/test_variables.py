"""Calls of a Dataset: those of its images and of its mask, named by statistic and variable."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from calls import SHORTCUTS, features
from conftest import blobs

import xlabelstats


def make_field() -> xr.Dataset:
    rng = np.random.default_rng(0)
    y, x = ("y", 0.5 * np.arange(20), {"units": "um"}), ("x", 0.5 * np.arange(30), {"units": "um"})
    return xr.Dataset(
        {
            "cells": (("y", "x"), blobs((20, 30), 7)),
            "DAPI": (("y", "x"), rng.random((20, 30)), {"units": "counts"}),
            "markers": (("c", "y", "x"), rng.integers(0, 9, (2, 20, 30)).astype(np.uint16)),
        },
        coords={"y": y, "x": x, "c": ["CD3", "CD8"]},
    )


# The calls that measure images, and what they give once for the mask.
OF_IMAGES = {
    "labels.aggregate": (lambda a, m, **o: a.labels.aggregate(m, ("count", "mean", "max"), **o), {"count"}),
    **{
        f"labels.{name}": (lambda a, m, name=name, **o: getattr(a.labels, name)(m, **o), set())
        for name in (*SHORTCUTS, "median", "quantiles")
    },
    "labels.var(ddof=1)": (lambda a, m, **o: a.labels.var(m, ddof=1, **o), set()),
    "labels.quantile": (lambda a, m, **o: a.labels.quantile(m, 0.75, method="lower", **o), set()),
    "labels.regionprops": (
        lambda a, m, **o: a.labels.regionprops(m, ("area", "intensity_max", "centroid", "moments_weighted"), **o),
        {"area", "centroid"},
    ),
    "instances.windows": (lambda a, m, **o: a.instances.windows(m, 30, remove_background=False, **o), {"mask"}),
    "instances.statistics": (
        lambda a, m, **o: a.instances.statistics(m, lambda p: p.max(1), dims={}, dtype="float64", **o),
        set(),
    ),
    "instances.quantiles": (lambda a, m, **o: a.instances.quantiles(m, [0.1, 0.9], **o), set()),
    "instances.median": (lambda a, m, **o: a.instances.median(m, **o), set()),
    "instances.featurize": (lambda a, m, **o: a.instances.featurize(m, features, size=30, n_features=2, **o), set()),
    "instances.regionprops": (
        lambda a, m, **o: a.instances.regionprops(m, ("solidity", "intensity_mean", "area"), **o),
        {"solidity", "area"},
    ),
}

# The calls that read the mask alone, of the mask and of the Dataset.
OF_MASK = {
    "ids": (lambda m: m.labels.ids(), lambda d, m: d.labels.ids(m)),
    "ids(background)": (lambda m: m.labels.ids(True), lambda d, m: d.labels.ids(m, True)),
    "count": (lambda m: m.labels.count(labels=[3, 99]), lambda d, m: d.labels.count(m, labels=[3, 99])),
    "scan": (lambda m: m.labels.scan(background=True), lambda d, m: d.labels.scan(m, background=True)),
    "center_of_mass": (lambda m: m.labels.center_of_mass(), lambda d, m: d.labels.center_of_mass(m)),
    "center_of_mass(units)": (
        lambda m: m.labels.center_of_mass(units="pixel", background=True),
        lambda d, m: d.labels.center_of_mass(m, units="pixel", background=True),
    ),
    "paint": (lambda m: m.labels.paint({3: 1.5}, -1), lambda d, m: d.labels.paint(m, {3: 1.5}, -1)),
    "labels.regionprops": (lambda m: m.labels.regionprops(), lambda d, m: d.labels.regionprops(m)),
    "radii_and_axes": (lambda m: m.instances.radii_and_axes(), lambda d, m: d.instances.radii_and_axes(m)),
    "instances.regionprops": (
        lambda m: m.instances.regionprops(spacing=1),
        lambda d, m: d.instances.regionprops(m, spacing=1),
    ),
}


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("name", OF_IMAGES)
def test_every_variable_has_what_the_call_of_its_array_gives(name, lazy):
    call, once = OF_IMAGES[name]
    field = make_field().chunk(y=9, x=11) if lazy else make_field()
    result = call(field, "cells")
    expected = {}
    for variable in ("DAPI", "markers"):
        of_array = call(field[variable], field["cells"])
        of_array = of_array.to_dataset() if isinstance(of_array, xr.DataArray) else of_array
        expected |= {one if one in once else f"{one}_{variable}": array for one, array in of_array.items()}
    assert set(result) == set(expected)
    for one, array in result.items():
        assert (array.chunks is not None) == lazy
        xr.testing.assert_identical(array.reset_coords(drop=True), expected[one].reset_coords(drop=True).rename(one))
    xr.testing.assert_identical(call(field.drop_vars("cells"), field["cells"]), result)


@pytest.mark.parametrize("name", OF_MASK)
def test_what_depends_on_the_mask_alone_is_what_the_masks_call_gives(name):
    of_mask, of_dataset = OF_MASK[name]
    field = make_field()
    mask = field["cells"].drop_vars([c for c in field["cells"].coords if c not in "yx"])
    expected = of_mask(mask)
    for given in ("cells", mask, mask.drop_vars(["y", "x"])):
        result = of_dataset(field, given)
        if isinstance(expected, np.ndarray):
            np.testing.assert_array_equal(result, expected)
        elif isinstance(given, str):
            xr.testing.assert_identical(result, expected)
        else:
            xr.testing.assert_equal(result, expected)


def test_weights_may_be_named():
    field = make_field()
    expected = field["cells"].labels.center_of_mass(field["markers"])
    xr.testing.assert_identical(field.labels.center_of_mass("cells", "markers"), expected)
    xr.testing.assert_identical(field.labels.center_of_mass("cells", weights=field["markers"]), expected)
    with pytest.raises(ValueError, match="the Dataset has no variable 'marker' to use as weights; there are: 'cells'"):
        field.labels.center_of_mass("cells", "marker")


def test_columns_of_the_wide_table_begin_with_the_statistic():
    field = make_field()
    table = field.labels.regionprops("cells", ("area", "centroid", "intensity_max")).labels.to_dataframe()
    assert list(table) == [
        "area",
        "centroid_y",
        "centroid_x",
        "intensity_max_DAPI",
        "intensity_max_markers_CD3",
        "intensity_max_markers_CD8",
    ]
    assert list(field[["cells", "DAPI"]].instances.quantiles("cells", [0.5]).labels.to_dataframe()) == [
        "quantiles_DAPI_0.5"
    ]


def test_units_are_kept():
    field = make_field()
    result = field.labels.regionprops("cells", ("area", "centroid_weighted"))
    assert result["area"].attrs["units"] == "um**2"
    assert result["centroid_weighted_DAPI"].attrs["units"] == "um"
    assert field.labels.mean("cells")["mean_DAPI"].attrs["units"] == "counts"
    assert field.instances.windows("cells")["image_DAPI"].attrs["units"] == "counts"


@pytest.mark.parametrize("name", OF_IMAGES)
def test_variables_that_cannot_be_measured_are_named_at_the_line_of_the_call(name):
    call, _ = OF_IMAGES[name]
    field = make_field().assign(exposure=("c", [1.0, 2.0]))
    with pytest.warns(UserWarning, match=r"left out, .* lack a dim of the mask \('y', 'x'\): exposure$") as warned:
        call(field, "cells")
    assert [warning.filename for warning in warned] == [__file__]


def test_a_warning_of_the_call_points_to_the_line_of_the_call():
    with pytest.warns(UserWarning, match="objects reach beyond their window of 2 x 2 pixels") as warned:
        make_field().instances.windows("cells", 2)
    assert {warning.filename for warning in warned} == {__file__}


@pytest.mark.parametrize("name", OF_IMAGES)
def test_without_a_variable_to_measure_it_is_said(name):
    call, _ = OF_IMAGES[name]
    with pytest.raises(ValueError, match="no variable of the Dataset is numeric and has the dims of the mask"):
        call(make_field()[["cells"]], "cells")


@pytest.mark.parametrize("name", [*OF_IMAGES, *OF_MASK])
def test_a_mask_that_is_not_there_is_named(name):
    call = OF_IMAGES[name][0] if name in OF_IMAGES else OF_MASK[name][1]
    with pytest.raises(ValueError, match="the Dataset has no variable 'cell' to use as mask; there are: 'cells'"):
        call(make_field(), "cell")
    with pytest.raises(TypeError, match=r"a mask is an xarray\.DataArray, not ndarray; name its dims"):
        call(make_field(), np.zeros((20, 30), int))
    with pytest.raises(TypeError, match="a mask holds integer labels, not float64"):
        call(make_field(), "DAPI")


@pytest.mark.parametrize("name", ["instances.windows", "instances.featurize", "instances.median", "labels.aggregate"])
def test_images_of_other_chunks_come_in_one_order_and_in_equal_chunks(name, tmp_path):
    call, _ = OF_IMAGES[name]
    field = make_field()
    expected = call(field, "cells").sortby("label")
    lazy = field.assign(
        markers=field["markers"].variable.chunk({"c": 1, "y": 20, "x": 7}),
        DAPI=field["DAPI"].variable.chunk({"y": 5, "x": 30}),
    )
    for some in (lazy, lazy.assign(DAPI=field["DAPI"]), lazy.assign(markers=field["markers"])):
        result = call(some, "cells")
        assert len({array.chunksizes["label"] for array in result.values() if array.chunks}) == 1
        xr.testing.assert_allclose(result.compute().sortby("label"), expected)
        xlabelstats.to_zarr(result, tmp_path / "result.zarr", overwrite=True)


def test_windows_of_images_of_other_sizes_have_equal_chunks():
    mask = xr.DataArray(np.arange(1, 401).reshape(20, 20), dims=("y", "x")).chunk(y=20, x=20)
    images = {"small": mask.astype("u1"), "large": mask.astype("f8").expand_dims(c=300).chunk(c=300)}
    result = xr.Dataset({"cells": mask, **images}).instances.windows("cells", 16)
    chunks = {array.chunksizes["label"] for array in result.values()}
    assert len(chunks) == 1
    assert max(chunks.pop()) < 400


def test_a_mask_may_be_a_tree():
    field = make_field()
    tree = xr.DataTree.from_dict({"scale0": field[["cells"]]})
    images = field.drop_vars("cells")
    for call, _ in OF_IMAGES.values():
        xr.testing.assert_identical(call(images, tree), call(field, "cells"))
    np.testing.assert_array_equal(images.labels.ids(tree), field.labels.ids("cells"))
    for name in ("count", "scan", "center_of_mass"):
        xr.testing.assert_equal(getattr(images.labels, name)(tree), getattr(field.labels, name)("cells"))


def test_names_that_would_collide_are_named():
    image = xr.DataArray([1.0, 2.0], dims="x")
    with pytest.raises(ValueError, match="variables would have the same name in the result: 1, '1'"):
        xr.Dataset({1: image, "1": image}).instances.median(xr.DataArray([1, 1], dims="x"))


def test_a_mask_of_another_size_is_named():
    with pytest.raises(ValueError, match="image and mask differ in size: 'y' is 20 in the image and 19 in the mask"):
        make_field().labels.mean(make_field()["cells"][:-1].drop_vars(["y", "x"]))


def test_the_dataset_and_what_it_holds_stay_as_they_were():
    field = make_field()
    before = field.copy(deep=True)
    for call, _ in OF_IMAGES.values():
        call(field, "cells")
    for _, of_dataset in OF_MASK.values():
        of_dataset(field, "cells")
    xr.testing.assert_identical(field, before)
