"""The outlines of objects, against the mask itself, scipy's parts and holes, and GDAL's rasterising."""

from __future__ import annotations

import builtins
import warnings
from time import sleep

import dask
import numpy as np
import pytest
import xarray as xr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage as ndi

geopandas = pytest.importorskip("geopandas")
features = pytest.importorskip("rasterio.features")
shapely = pytest.importorskip("shapely")

MASKS = hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 3))


def mask_of(labels: np.ndarray, **coords: np.ndarray) -> xr.DataArray:
    return xr.DataArray(labels, dims=("y", "x"), coords=coords)


def with_parts_and_holes(seed: int = 0) -> np.ndarray:
    """Objects of several parts and with holes, many of which touch at corners."""
    labels = blobs((40, 50), 12, seed)
    labels[np.random.default_rng(seed).random(labels.shape) < 0.15] = 0
    return labels


def same(one, other) -> bool:
    """Whether two tables have the same labels and the same points in the same order."""
    pairs = zip(one.geometry, other.geometry, strict=True)
    return one.index.equals(other.index) and all(shapely.equals_exact(a, b) for a, b in pairs)


@settings(max_examples=200, deadline=None)
@given(labels=MASKS)
def test_the_area_of_an_outline_is_that_of_its_pixels(labels):
    outlines = mask_of(labels).instances.polygons()
    ids, count = np.unique(labels[labels > 0], return_counts=True)
    assert outlines.index.tolist() == ids.tolist()
    np.testing.assert_array_equal(outlines.area, count)


@settings(max_examples=200, deadline=None)
@given(labels=MASKS)
def test_every_outline_is_a_valid_geometry(labels):
    assert mask_of(labels).instances.polygons().is_valid.all()


@settings(max_examples=200, deadline=None)
@given(labels=MASKS)
def test_parts_and_holes_are_those_of_scipy(labels):
    for label, outline in mask_of(labels).instances.polygons().geometry.items():
        parts, number = ndi.label(labels == label)
        around = [np.pad(parts != i, 1, constant_values=True) for i in range(1, number + 1)]
        holes = sum(ndi.label(outside)[1] - 1 for outside in around)
        assert len(shapely.get_parts(outline)) == number
        assert sum(len(part.interiors) for part in shapely.get_parts(outline)) == holes
        assert outline.geom_type == ("Polygon" if number == 1 else "MultiPolygon")


@settings(max_examples=100, deadline=None)
@given(labels=MASKS)
def test_rasterised_again_the_outlines_are_the_mask(labels):
    outlines = mask_of(labels).instances.polygons().translate(0.5, 0.5)
    pairs = list(zip(outlines.geometry, outlines.index, strict=True))
    painted = features.rasterize(pairs, labels.shape, dtype="uint16") if pairs else np.zeros_like(labels)
    np.testing.assert_array_equal(painted, labels)


@settings(max_examples=100, deadline=None)
@given(labels=MASKS, y=st.integers(1, 9), x=st.integers(1, 9), tolerance=st.sampled_from([0, 1.2]))
def test_chunks_of_a_mask_change_no_point_of_an_outline(labels, y, x, tolerance):
    mask = mask_of(labels)
    assert same(mask.chunk(y=y, x=x).instances.polygons(tolerance), mask.instances.polygons(tolerance))


@settings(max_examples=100, deadline=None)
@given(labels=MASKS)
def test_neighbours_change_no_point_of_an_outline(labels):
    mask = mask_of(labels)
    for label, outline in mask.instances.polygons().geometry.items():
        alone = mask.where(mask == label, 0).instances.polygons().geometry.loc[label]
        assert shapely.equals_exact(alone, outline)


def test_a_large_mask_in_memory_has_the_outlines_of_its_chunks():
    mask = mask_of(np.kron(with_parts_and_holes(), np.ones((40, 40), int)))
    assert mask.size > 2_000_000
    assert same(mask.instances.polygons(), mask.chunk(y=500, x=700).instances.polygons())


def test_points_are_x_and_y_in_the_units_of_the_coordinates():
    attrs = {"units": "micrometer"}
    coords = {"y": ("y", 10 + 0.5 * np.arange(4), attrs), "x": ("x", 2 * np.arange(6.0), attrs)}
    labels = np.zeros((4, 6), int)
    labels[1:3, 2:5] = 7
    outlines = xr.DataArray(labels, dims=("y", "x"), coords=coords).instances.polygons()
    assert outlines.geometry.loc[7].bounds == (3.0, 10.25, 9.0, 11.25)
    assert outlines.attrs["units"] == "micrometer"


def test_in_pixels_a_pixel_is_around_its_index():
    mask = mask_of(np.array([[0, 0, 0], [0, 0, 7]]), y=[5.0, 9.0], x=[0.0, 3.0, 6.0])
    outlines = mask.instances.polygons(units="pixel")
    assert outlines.geometry.loc[7].bounds == (1.5, 0.5, 2.5, 1.5)
    assert outlines.attrs["units"] == "pixel"


def test_coordinates_that_go_down_give_valid_outlines_of_the_same_area():
    labels = with_parts_and_holes()
    outlines = mask_of(labels, y=-0.5 * np.arange(40), x=0.25 * np.arange(50)).instances.polygons()
    assert outlines.is_valid.all()
    np.testing.assert_allclose(outlines.area, np.unique(labels[labels > 0], return_counts=True)[1] * 0.125)


@pytest.mark.parametrize("dims", [("y", "x"), ("x", "y")])
def test_outlines_do_not_depend_on_the_order_of_y_and_x(dims):
    mask = mask_of(with_parts_and_holes())
    assert same(mask.transpose(*dims).instances.polygons(), mask.instances.polygons())


def test_of_dims_with_other_names_the_last_is_x():
    mask = xr.DataArray([[0, 0, 7]], dims=("latitude", "longitude"))
    assert mask.instances.polygons().geometry.loc[7].bounds == (1.5, -0.5, 2.5, 0.5)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 50), tolerance=st.floats(0.1, 6))
def test_a_simplified_outline_is_valid_and_near_the_exact_one(seed, tolerance):
    mask = mask_of(with_parts_and_holes(seed))
    exact, fewer = mask.instances.polygons(), mask.instances.polygons(tolerance)
    assert fewer.is_valid.all()
    # The point that a ring begins with is left out last, and with it goes an edge that has moved already.
    assert (shapely.hausdorff_distance(exact.geometry, fewer.geometry) <= 2 * tolerance).all()
    assert (exact.count_coordinates() >= fewer.count_coordinates()).all()


@pytest.mark.parametrize("chunk", [None, 50])
def test_outlines_of_nuclei_are_simplified_to_fewer_points(nuclei2d, chunk):
    mask = nuclei2d[1].chunk(chunk) if chunk else nuclei2d[1]
    exact, fewer = mask.instances.polygons(), mask.instances.polygons(1)
    assert fewer.count_coordinates().sum() < 0.5 * exact.count_coordinates().sum()
    assert abs(fewer.area.sum() / exact.area.sum() - 1) < 0.02


def test_labels_come_in_the_order_given_and_absent_ones_without_geometry():
    outlines = mask_of(np.array([[2, 2, 0, 9]])).chunk(x=2).instances.polygons(labels=[9, 5, 2])
    assert outlines.index.tolist() == [9, 5, 2]
    assert outlines.geometry.isna().tolist() == [False, True, False]
    assert outlines.area.fillna(0).tolist() == [1, 0, 2]


def test_background_is_an_object_if_asked_for():
    ring = mask_of(np.array([[0, 0, 0], [0, 4, 0], [0, 0, 0]])).chunk(y=2)
    outlines = ring.instances.polygons(background=True)
    assert outlines.area.to_dict() == {0: 8.0, 4: 1.0}


@pytest.mark.parametrize("label", [2**63 - 1, -(2**63), -1])
def test_outlines_of_any_label_that_a_mask_can_have(label):
    outlines = mask_of(np.array([[0, label], [3, label]])).chunk(x=1).instances.polygons()
    assert outlines.area.to_dict() == {3: 1.0, label: 2.0}


@pytest.mark.parametrize("chunks", [None, {"t": 1, "y": 3}])
def test_per_outlines_every_time_by_itself(chunks):
    labels = np.stack([with_parts_and_holes(seed) for seed in range(3)])
    mask = xr.DataArray(labels, dims=("t", "y", "x"), coords={"t": [0.0, 5.0, 10.0]})
    outlines = (mask.chunk(chunks) if chunks else mask).instances.polygons(0.7, per="t")
    assert outlines.index.names == ["t", "label"]
    for time in (0.0, 5.0, 10.0):
        assert same(outlines.loc[time], mask.sel(t=time).instances.polygons(0.7))


@pytest.mark.parametrize("chunk", [None, 2])
def test_an_empty_mask_has_a_table_without_rows(chunk):
    mask = mask_of(np.zeros((4, 5), int))
    outlines = (mask.chunk(chunk) if chunk else mask).instances.polygons()
    assert isinstance(outlines, geopandas.GeoDataFrame)
    assert len(outlines) == 0
    assert outlines.index.name == "label"


@pytest.mark.parametrize("chunk", [None, 20])
def test_outlining_warns_of_nothing(chunk):
    mask = mask_of(with_parts_and_holes())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (mask.chunk(chunk) if chunk else mask).instances.polygons(1)


def test_a_table_of_measures_joins_by_label():
    mask = mask_of(with_parts_and_holes())
    joined = mask.instances.polygons().join(mask.labels.measure("num_pixels").labels.to_dataframe())
    np.testing.assert_array_equal(joined["num_pixels"], joined.area)


def test_a_dataset_and_a_tree_have_the_outlines_of_their_mask():
    mask = mask_of(with_parts_and_holes())
    tree = xr.DataTree.from_dict(
        {"scale0": mask.to_dataset(name="cells"), "scale1": mask[::2, ::2].to_dataset(name="cells")}
    )
    assert same(xr.Dataset({"cells": mask}).instances.polygons("cells", 1.5), mask.instances.polygons(1.5))
    assert same(tree.instances.polygons(1.5), mask.instances.polygons(1.5))


def test_blocks_of_a_dask_mask_are_not_all_in_memory_at_once():
    import threading

    import dask
    import dask.array as da

    alive, most, lock = set(), [0], threading.Lock()

    class Tracked(np.ndarray):
        def __del__(self):
            alive.discard(id(self))

    def block(block_info=None):
        (where,) = [block_info[None]["chunk-location"]]
        made = np.full((64, 64), 1 + where[0] * 32 + where[1], np.int32).view(Tracked)
        with lock:
            alive.add(id(made))
            most[0] = max(most[0], len(alive))
        return made

    pixels = da.map_blocks(block, chunks=((64,) * 32, (64,) * 32), dtype=np.int32, meta=np.empty((0, 0), np.int32))
    with dask.config.set(scheduler="single-threaded"):
        outlines = xr.DataArray(pixels, dims=("y", "x")).instances.polygons()
    assert len(outlines) == 32 * 32
    assert most[0] < 100


class TestComplaints:
    @pytest.mark.parametrize(
        ("dims", "advice"),
        [
            (("z", "y", "x"), r"mask.isel\(\{'z': 0\}\), or outline each: polygons\(per='z'\)"),
            (("t", "z", "y", "x"), r"per=\['t', 'z'\]"),
            (("x",), r"this mask has the dims \('x',\)$"),
        ],
    )
    def test_a_mask_that_is_not_2d_is_told_what_to_do(self, dims, advice):
        mask = xr.DataArray(np.ones((2,) * len(dims), int), dims=dims)
        with pytest.raises(ValueError, match=f"polygons are outlines in 2-D masks.*{advice}"):
            mask.instances.polygons()

    @pytest.mark.parametrize("tolerance", [-1, np.nan, np.inf])
    def test_a_tolerance_is_no_negative_number(self, tolerance):
        with pytest.raises(ValueError, match="tolerance is 0 or a positive number"):
            mask_of(np.ones((2, 2), int)).instances.polygons(tolerance)

    @pytest.mark.parametrize("tolerance", [True, "1", None])
    def test_a_tolerance_is_a_number(self, tolerance):
        with pytest.raises(TypeError, match="tolerance is a number"):
            mask_of(np.ones((2, 2), int)).instances.polygons(tolerance)

    def test_coordinates_that_are_not_even_name_pixels(self):
        mask = mask_of(np.ones((2, 3), int), x=[0.0, 1.0, 5.0])
        with pytest.raises(ValueError, match=r"'x' are not evenly spaced; for polygons in pixels give units='pixel'"):
            mask.instances.polygons()
        assert mask.instances.polygons(units="pixel").area.tolist() == [6.0]

    def test_an_image_is_no_mask_to_outline(self):
        with pytest.raises(TypeError, match="float64"):
            mask_of(np.ones((2, 2))).instances.polygons()

    @pytest.mark.parametrize("missing", ["geopandas", "rasterio"])
    def test_a_missing_package_names_the_extra_polygons(self, missing, monkeypatch):
        real = builtins.__import__

        def without(name, *args, **kwargs):
            if name.split(".")[0] == missing:
                raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
            return real(name, *args, **kwargs)

        monkeypatch.setattr("xlabelstats.extras.import_module", without)
        with pytest.raises(ModuleNotFoundError, match=rf"{missing}.*xlabelstats\[polygons\]"):
            mask_of(np.ones((2, 2), int)).instances.polygons()


def test_rasterio_which_changes_filters_of_warnings_runs_in_one_thread_at_a_time(monkeypatch):
    real, running = features.shapes, []

    def shapes(*args, **kwargs):
        running.append(None)
        sleep(0.005)
        assert len(running) == 1
        yield from real(*args, **kwargs)
        running.pop()

    monkeypatch.setattr(features, "shapes", shapes)
    mask = mask_of(np.kron(np.arange(1, 17).reshape(4, 4), np.ones((3, 3), int))).chunk(y=3, x=3)
    with dask.config.set(scheduler="threads", num_workers=4):
        assert len(mask.instances.polygons()) == 16
