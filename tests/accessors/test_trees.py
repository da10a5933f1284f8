"""Accessors of images and masks at several scales."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xlabelstats


def pyramid(array: xr.DataArray, name: str = "image") -> xr.DataTree:
    half = array.isel(y=slice(None, None, 2), x=slice(None, None, 2))
    return xr.DataTree.from_dict({"scale0": array.to_dataset(name=name), "scale1": half.to_dataset(name=name)})


@pytest.fixture
def trees(nuclei2d) -> tuple[xr.DataTree, xr.DataTree]:
    image, mask = nuclei2d
    return pyramid(image.chunk(200)), pyramid(mask.chunk(200), "labels")


def test_the_finest_scale_is_measured(trees, nuclei2d):
    image, mask = nuclei2d
    result = trees[0].labels.aggregate(trees[1])
    assert result["mean"].chunks is not None
    np.testing.assert_allclose(result["mean"], image.labels.mean(mask))
    np.testing.assert_array_equal(trees[1].labels.ids(), mask.labels.ids())
    np.testing.assert_array_equal(trees[0].instances.median(trees[1]), image.instances.median(mask))


def test_the_finest_scale_is_that_of_most_pixels_wherever_it_is():
    full = xr.Dataset({"image": ("x", np.ones(8, int))})
    half = xr.Dataset({"image": ("x", np.ones(4, int))})
    for nodes in ({"a": half, "b": full}, {"deep/down/b": full, "deep/down/a": half}, {"/": full}):
        assert xr.DataTree.from_dict(nodes).labels.count().item() == 8


def test_a_node_is_measured_by_itself(trees, nuclei2d):
    image, mask = (array.isel(y=slice(None, None, 2), x=slice(None, None, 2)) for array in nuclei2d)
    found = trees[0]["scale1"].labels.mean(trees[1]["scale1"])
    np.testing.assert_allclose(found, image.labels.mean(mask))


@pytest.mark.parametrize(
    "call",
    [
        lambda image, mask: image.labels.aggregate(mask, ("count", "mean")),
        lambda image, mask: image.labels.mean(mask),
        lambda image, mask: image.labels.regionprops(mask, ("area", "intensity_max")),
        lambda image, mask: image.to_dataset(name="DAPI").labels.aggregate(mask, "mean"),
        lambda image, mask: image.instances.windows(mask, 60),
        lambda image, mask: image.instances.statistics(mask, lambda pixels: pixels.max(1), dims={}),
        lambda image, mask: image.instances.quantiles(mask, [0.1]),
        lambda image, mask: image.instances.median(mask),
        lambda image, mask: image.instances.featurize(mask, lambda b: b.max((2, 3)), size=60, n_features=1),
    ],
)
def test_a_mask_may_be_a_tree_wherever_a_call_takes_one(call, nuclei2d):
    image, mask = nuclei2d
    xr.testing.assert_identical(call(image, pyramid(mask)), call(image, mask.rename("image")))


def test_weights_may_be_a_tree(nuclei2d):
    image, mask = nuclei2d
    xr.testing.assert_identical(
        mask.labels.center_of_mass(pyramid(image)), mask.labels.center_of_mass(image.rename("image"))
    )


def test_it_offers_the_calls_of_the_arrays(trees):
    public = {name for name in dir(xlabelstats.LabelsAccessor) if not name.startswith("_")}
    assert public <= set(dir(trees[0].labels))
    assert trees[0].instances.windows.__doc__ == xlabelstats.InstancesAccessor.windows.__doc__
    assert not hasattr(trees[0].labels, "windows")
    with pytest.raises(AttributeError, match="'LabelsTreeAccessor' object has no attribute 'avarage'"):
        trees[0].labels.avarage(trees[1])


def test_what_is_not_one_image_is_refused(nuclei2d):
    image, _ = nuclei2d
    both = xr.Dataset({"a": image, "b": image})
    with pytest.raises(ValueError, match=r"node '/scale0' .* holds 2 arrays \(a, b\).*tree\['scale0/a'\]"):
        xr.DataTree.from_dict({"scale0": both}).labels.count()
    with pytest.raises(ValueError, match=r"more than the scales of one image \(/u/a, /v/b\)"):
        xr.DataTree.from_dict({"u": both[["a"]], "v": both[["b"]]}).labels.count()
    with pytest.raises(ValueError, match="this tree holds no array"):
        xr.DataTree().labels.count()
