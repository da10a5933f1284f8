"""Results as layers of napari."""

from __future__ import annotations

import doctest
import sys
import textwrap
import types
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import blobs

import xlabelstats

SIZE = {"t": 2, "z": 6, "y": 24, "x": 30}
STEP = {"t": 60.0, "z": 2.0, "y": 0.5, "x": 0.25}


def field(*dims: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Objects, and an image over them, that begin at 5 along every dim."""
    coords = {dim: (dim, 5 + STEP[dim] * np.arange(SIZE[dim]), {"units": "µm"}) for dim in dims}
    labels = blobs(tuple(SIZE[dim] for dim in dims), 9)
    mask = xr.DataArray(labels, dims=dims, coords=coords, name="cells")
    return mask.copy(data=np.random.default_rng(0).random(labels.shape)).rename("DAPI"), mask


def two_scales(mask: xr.DataArray) -> xr.DataTree:
    """A mask at two scales, the coarser first."""
    half = mask.isel({dim: slice(None, None, 2) for dim in mask.dims}).transpose()
    return xr.DataTree.from_dict({"scale1": half.to_dataset(), "scale0": mask.to_dataset()})


def result_of(values: dict[int, Any]) -> xr.Dataset:
    """A result with a value for every label."""
    return xr.Dataset({"mean": ("label", list(values.values()))}, {"label": list(values)})


def viridis(part: Any) -> np.ndarray:
    """The colours of matplotlib for parts of the range."""
    return pytest.importorskip("matplotlib").colormaps["viridis"](part)


@pytest.mark.filterwarnings("ignore")
class TestLabels:
    def test_every_pixel_has_the_colour_of_its_value(self, viewer):
        image, mask = field("y", "x")
        means = image.labels.mean(mask)
        assert means.to_dataset().labels.to_napari(mask, viewer) is viewer
        (layer,) = viewer.layers
        assert type(layer).__name__ == "Labels"
        assert layer.name == "cells mean"
        np.testing.assert_array_equal(layer.data, mask)
        painted = mask.labels.paint(means).values
        expected = viridis((painted - np.nanmin(painted)) / np.ptp(painted[painted == painted]))
        expected[mask.values == 0] = 0
        # matplotlib takes one of 256 colours, and napari goes between them.
        np.testing.assert_allclose(layer.colormap.map(mask.values), expected, atol=0.015)

    def test_background_nan_infinity_and_labels_without_a_row_are_transparent(self, viewer):
        mask = xr.DataArray([[0, 1, 2, 3, 4, 5]], dims=("y", "x"))
        result_of({0: 7.0, 1: 0.0, 2: np.nan, 3: np.inf, 4: 1.0}).labels.to_napari(mask, viewer)
        alpha = viewer.layers[0].colormap.map(mask.values)[0, :, 3]
        np.testing.assert_array_equal(alpha, [0, 1, 0, 0, 1, 0])

    def test_features_are_the_table_with_the_labels_as_napari_wants_them(self, viewer):
        image, mask = field("y", "x")
        result = image.labels.measure(mask, ("mean", "area"))
        result.labels.to_napari(mask, viewer, "area")
        (layer,) = viewer.layers
        pd.testing.assert_frame_equal(
            layer.features, result.labels.to_dataframe().rename_axis("index").reset_index(), check_dtype=False
        )
        label = int(mask.max())
        at = np.argwhere(mask.values == label)[0]
        assert f"mean: {result['mean'].sel(label=label).item():.3f}"[:10] in layer.get_status(at)["value"]

    @pytest.mark.parametrize("dims", [("y", "x"), ("x", "y"), ("z", "y", "x"), ("x", "z", "y"), ("x", "y", "t")])
    def test_pixels_lie_where_the_coordinates_say(self, viewer, dims):
        mask = field(*dims)[1]
        mask["y"].attrs["units"] = "nm"
        mask.labels.count().labels.to_napari(mask, viewer)
        (layer,) = viewer.layers
        order = [dim for dim in ("t", "z", "y", "x") if dim in dims]
        np.testing.assert_array_equal(layer.data, mask.transpose(*order))
        np.testing.assert_allclose(layer.scale, [STEP[dim] for dim in order])
        np.testing.assert_allclose(layer.translate, 5)
        assert [f"{unit}" for unit in layer.units] == ["nanometer" if d == "y" else "micrometer" for d in order]

    def test_axes_of_other_names_stay_in_order(self, viewer):
        mask = xr.DataArray([[0, 3, 3]], dims=("x", "lat"))
        mask.labels.count().labels.to_napari(mask, viewer)
        assert viewer.layers[0].data.shape == (1, 3)

    def test_what_has_no_even_coordinates_lies_in_pixels(self, viewer):
        days = np.array(["2020-01-01", "2020-01-02"], "M8[ns]")
        coords = {"t": days, "y": ("y", [0.0, 1.0, 5.0], {"units": "um"}), "x": ("x", [0.0, 2.0], {"units": "counts"})}
        mask = xr.DataArray(np.ones((2, 3, 2), int), dims=tuple(coords), coords=coords)
        result_of({1: 2.5}).labels.to_napari(mask, viewer)
        np.testing.assert_array_equal(viewer.layers[0].scale, [1, 1, 2])
        assert {f"{unit}" for unit in viewer.layers[0].units} == {"pixel"}

    def test_a_tree_is_shown_at_all_its_scales(self, viewer):
        image, mask = field("z", "y", "x")
        image.labels.mean(mask).labels.to_napari(two_scales(mask), viewer)
        (layer,) = viewer.layers
        assert layer.multiscale
        np.testing.assert_array_equal(layer.data[0], mask)
        np.testing.assert_array_equal(layer.data[1], mask[::2, ::2, ::2])
        np.testing.assert_allclose(layer.scale, [2, 0.5, 0.25])

    def test_of_a_dask_mask_only_the_plane_that_is_shown_is_read(self, viewer):
        image, mask = field("z", "y", "x")
        read = []

        def noted(block, block_info=None):
            read.append(block_info[0]["chunk-location"][0])
            return block

        lazy = mask.chunk(z=1)
        lazy = lazy.copy(data=lazy.data.map_blocks(noted, dtype=lazy.dtype))
        image.labels.mean(mask).labels.to_napari(lazy, viewer)
        assert len(set(read)) <= 2
        read.clear()
        viewer.dims.set_point(0, 5 + 2 * 5)
        assert set(read) == {5}
        assert hasattr(viewer.layers[0].data, "dask")

    def test_a_stored_mask_is_read_as_it_is_looked_at(self, viewer, tmp_path):
        image, mask = field("z", "y", "x")
        mask.chunk(z=1).to_zarr(tmp_path / "mask.zarr")
        stored = xr.open_zarr(tmp_path / "mask.zarr", chunks=None)["cells"]
        image.labels.mean(mask).labels.to_napari(stored, viewer)
        assert hasattr(viewer.layers[0].data, "dask")
        np.testing.assert_array_equal(viewer.layers[0].data, mask)

    @pytest.mark.parametrize(
        ("dtype", "ids"),
        [
            (bool, (1,)),
            ("i2", (-500, 700)),
            (">i4", (-3, 70_000)),
            ("u8", (3, 2**64 - 1)),
        ],
    )
    def test_labels_of_any_dtype_are_shown(self, viewer, dtype, ids):
        mask = xr.DataArray(np.array([[0, *ids]], dtype), dims=("y", "x"))
        labels = np.array(ids, np.uint64 if dtype == "u8" else np.int64)
        result_of({label: float(i) for i, label in enumerate(labels)}).labels.to_napari(mask, viewer)
        (layer,) = viewer.layers
        colours = layer.colormap.map(layer.data)[0]
        assert colours[:, 3].tolist() == [0] + [1] * len(ids)
        assert [layer.get_value((0, i)) for i in range(1 + len(ids))] == [0, *ids]

    def test_labels_that_became_floating_point_are_found(self, viewer):
        mask = xr.DataArray([[0, 1, 2]], dims=("y", "x"))
        result_of({1.0: 0.5, 2.0: 1.5}).labels.to_napari(mask, viewer)
        assert viewer.layers[0].colormap.map(mask.values)[0, :, 3].tolist() == [0, 1, 1]

    @pytest.mark.parametrize("values", [["T", "B", "T"], [True, False, True], [4, 2, 4]])
    def test_classes_get_a_colour_each(self, viewer, values):
        mask = xr.DataArray([[0, 1, 2, 3]], dims=("y", "x"))
        result_of(dict(zip((1, 2, 3), values, strict=True))).labels.to_napari(mask, viewer)
        one, two, three = viewer.layers[0].colormap.map(mask.values)[0, 1:].tolist()
        assert one == three
        assert one != two

    def test_so_few_colours_are_used_that_napari_draws_any_mask_as_bytes(self, viewer):
        mask = xr.DataArray(np.arange(1001)[None], dims=("y", "x"))
        result_of({label: label**0.5 for label in range(1, 1001)}).labels.to_napari(mask, viewer)
        assert len(np.unique(viewer.layers[0].colormap.map(mask.values)[0], axis=0)) <= 255

    @pytest.mark.parametrize("n", [7, 30, 150])
    def test_no_two_classes_have_the_same_colour(self, viewer, n):
        mask = xr.DataArray(np.arange(n + 1)[None], dims=("y", "x"))
        result_of({label: f"class {label}" for label in range(1, n + 1)}).labels.to_napari(mask, viewer)
        drawn = viewer.layers[0].colormap.map(mask.values)[0]
        assert len(np.unique(np.round(drawn[1:] * 255), axis=0)) == n
        assert (drawn[1:, 3] == 1).all()

    def test_labels_of_no_class_are_transparent(self, viewer):
        mask = xr.DataArray([[1, 2, 3]], dims=("y", "x"))
        result_of({1: "B", 2: None, 3: "T"}).labels.to_napari(mask, viewer)
        assert viewer.layers[0].colormap.map(mask.values)[0, :, 3].tolist() == [1, 0, 1]

    def test_another_colormap_goes_from_its_first_colour_to_its_last(self, viewer):
        mask = xr.DataArray([[1, 2]], dims=("y", "x"))
        for values in ({1: 0.5, 2: 7.5}, {1: "B", 2: "T"}):
            result_of(values).labels.to_napari(mask, viewer, colormap="gray")
            np.testing.assert_allclose(viewer.layers[-1].colormap.map(mask.values)[0], [[0, 0, 0, 1], [1, 1, 1, 1]])

    def test_without_a_column_the_colours_are_those_of_napari(self, viewer):
        image, mask = field("y", "x")
        image.labels.aggregate(mask).labels.to_napari(mask, viewer, None)
        (layer,) = viewer.layers
        assert layer.name == "cells"
        assert type(layer.colormap).__name__ == "CyclicLabelColormap"
        assert "mean" in layer.features

    def test_options_of_the_layer_are_those_of_napari(self, viewer):
        image, mask = field("y", "x")
        image.labels.mean(mask).labels.to_napari(mask, viewer, layer={"name": "nuclei", "opacity": 0.5})
        assert (viewer.layers[0].name, viewer.layers[0].opacity) == ("nuclei", 0.5)

    def test_one_statistic_is_coloured_by_itself_and_several_are_not(self, viewer):
        image, mask = field("y", "x")
        both = xr.concat([image, image + 1], "c").assign_coords(c=["DAPI", "CD3"])
        image.labels.mean(mask).rename(None).labels.to_napari(mask, viewer)
        both.labels.mean(mask).labels.to_napari(mask, viewer)
        both.labels.mean(mask).labels.to_napari(mask, viewer, "mean_CD3")
        assert [layer.name for layer in viewer.layers] == ["cells value", "cells", "cells mean_CD3"]
        assert list(viewer.layers[-1].features) == ["index", "mean_DAPI", "mean_CD3"]


@pytest.mark.filterwarnings("ignore")
class TestPoints:
    @pytest.mark.parametrize("dims", [("y", "x"), ("x", "z", "y")])
    def test_every_point_lies_on_the_centre_of_its_object(self, viewer, dims):
        image, mask = field(*dims)
        result = image.labels.aggregate(mask)
        result.labels.to_napari(mask, viewer)
        result.labels.to_napari(mask.chunk(y=7).labels.center_of_mass(), viewer)
        labels, points = viewer.layers
        assert points.name == "centers mean"
        assert points.units == labels.units
        pixels = np.array([labels.world_to_data(point) for point in points.data])
        order = [dim for dim in ("z", "y", "x") if dim in dims]
        np.testing.assert_allclose(pixels, mask.labels.scan()["centroid"].sel(axis=order), atol=1e-9)
        assert points.features["label"].tolist() == mask.labels.ids().tolist()
        of_labels = [labels.colormap.map(label) for label in points.features["label"]]
        np.testing.assert_allclose(points.face_color, of_labels)

    def test_objects_without_a_row_or_a_place_have_no_point(self, viewer):
        centers = xr.DataArray(
            [[0.0, 1], [2, 3], [np.nan, 5], [6, 7]], {"label": [5, 2, 9, 4], "axis": ["y", "x"]}, ("label", "axis")
        )
        result_of({4: 1.0, 9: 2.0, 5: 3.0, 8: 0.5}).labels.to_napari(centers, viewer)
        (layer,) = viewer.layers
        np.testing.assert_array_equal(layer.data, [[0, 1], [6, 7]])
        assert layer.features["label"].tolist() == [5, 4]
        assert layer.features["mean"].tolist() == [3, 1]

    def test_the_size_of_points_follows_their_distances(self, viewer):
        image, mask = field("y", "x")
        result = image.labels.aggregate(mask)
        for factor in (1, 1000):
            result.labels.to_napari(mask.labels.center_of_mass() * factor, viewer)
        small, large = viewer.layers
        np.testing.assert_allclose(large.size, small.size * 1000)
        one = xr.DataArray([[0, 3]], dims=("y", "x"))
        one.labels.count().labels.to_napari(one.labels.center_of_mass(), viewer, None)
        assert len(viewer.layers[-1].data) == 1

    def test_axes_without_names_are_taken_as_they_are(self, viewer):
        centers = xr.DataArray([[1.0, 2], [3, 5]], {"label": [1, 2]}, ("label", "axis"))
        result_of({1: 1.0, 2: 2.0}).labels.to_napari(centers, viewer)
        np.testing.assert_array_equal(viewer.layers[0].data, centers)


@pytest.mark.filterwarnings("ignore")
class TestShapes:
    @pytest.fixture(autouse=True)
    def geopandas(self):
        pytest.importorskip("rasterio")
        return pytest.importorskip("geopandas")

    @pytest.mark.parametrize("dims", [("y", "x"), ("x", "y")])
    def test_lines_go_around_the_pixels_of_the_objects(self, viewer, dims):
        image, mask = field(*dims)
        mask = xr.where(mask == mask.max(), 0, mask).assign_coords(mask.coords).assign_attrs(mask.attrs)
        result = image.labels.aggregate(mask)
        outlines = mask.instances.polygons()
        result.labels.to_napari(outlines, viewer)
        (layer,) = viewer.layers
        assert (layer.name, {*layer.shape_type}) == ("outlines mean", {"polygon"})
        for label in mask.labels.ids():
            held = np.flatnonzero(layer.features["label"] == label)
            corners = np.concatenate([layer.data[i] for i in held])
            y, x = np.nonzero(mask.transpose("y", "x").values == label)
            np.testing.assert_allclose(corners.min(0), [5 + (y.min() - 0.5) * 0.5, 5 + (x.min() - 0.5) * 0.25])
            np.testing.assert_allclose(corners.max(0), [5 + (y.max() + 0.5) * 0.5, 5 + (x.max() + 0.5) * 0.25])
            assert layer.features["mean"][held[0]] == result["mean"].sel(label=label).item()

    def test_objects_that_are_not_there_have_no_line(self, viewer):
        mask = xr.DataArray([[7, 7, 0, 2]], dims=("y", "x"))
        outlines, result = mask.instances.polygons(labels=[7, 9]), mask.labels.count(labels=[7, 9])
        result.labels.to_napari(outlines, viewer)
        (layer,) = viewer.layers
        assert layer.features["label"].tolist() == [7]
        assert np.isfinite(layer.edge_width).all()

    def test_parts_and_holes_are_lines_of_their_own(self, viewer):
        pixels = [[7, 7, 7, 0, 7], [7, 0, 7, 0, 0], [7, 7, 7, 0, 2]]
        mask = xr.DataArray(pixels, dims=("y", "x"))
        mask.labels.count().labels.to_napari(mask.instances.polygons(labels=[7, 9]), viewer)
        (layer,) = viewer.layers
        assert layer.features["label"].tolist() == [7, 7, 7]
        assert sorted(np.ptp(line, axis=0).tolist() for line in layer.data) == [[1, 1], [1, 1], [3, 3]]

    def test_outlines_of_several_times_are_refused(self, viewer):
        image, mask = field("t", "y", "x")
        result = image.isel(t=0).labels.aggregate(mask.isel(t=0))
        outlines = mask.instances.polygons(per="t")
        with pytest.raises(ValueError, match=r"several positions along 't'; show one: \.loc\[5\.0\]"):
            result.labels.to_napari(outlines, viewer)
        result.labels.to_napari(outlines.loc[5.0], viewer)

    def test_lines_have_the_colours_of_the_labels(self, viewer):
        image, mask = field("y", "x")
        result = image.labels.aggregate(mask)
        result.labels.to_napari(mask, viewer)
        result.labels.to_napari(mask.instances.polygons(), viewer)
        labels, lines = viewer.layers
        expected = [labels.colormap.map(label) for label in lines.features["label"]]
        np.testing.assert_allclose(lines.edge_color, expected, atol=1e-6)
        assert (lines.face_color[:, 3] == 0).all()
        assert lines.units == labels.units


@pytest.mark.filterwarnings("ignore")
def test_of_an_empty_mask_empty_layers_are_shown(viewer):
    mask = xr.DataArray(np.zeros((4, 5), int), dims=("y", "x"))
    result = mask.labels.measure("area")
    result.labels.to_napari(mask, viewer, "area")
    result.labels.to_napari(mask.labels.center_of_mass(), viewer, "area")
    assert viewer.layers[1].data.shape == (0, 2)
    pytest.importorskip("rasterio")
    result.labels.to_napari(mask.instances.polygons(), viewer, "area")
    assert len(viewer.layers[2].data) == 0


@pytest.mark.filterwarnings("ignore")
class TestErrors:
    def test_an_unknown_column_names_those_that_there_are(self, viewer):
        image, mask = field("y", "x")
        both = xr.concat([image, image], "c").assign_coords(c=["DAPI", "CD3"])
        result = both.labels.aggregate(mask, ("count", "mean"))
        with pytest.raises(ValueError, match=r"unknown column to colour by 'mean', .* are: count, mean_DAPI, mean_CD3"):
            result.labels.to_napari(mask, viewer)
        assert len(viewer.layers) == 0

    def test_an_unknown_colormap_is_told_where_they_are_listed(self, viewer):
        mask = xr.DataArray([[1]], dims=("y", "x"))
        with pytest.raises(ValueError, match=r"no colormap 'virids'.*AVAILABLE_COLORMAPS lists them"):
            mask.labels.count().labels.to_napari(mask, viewer, colormap="virids")

    @pytest.mark.parametrize(
        ("objects", "error", "message"),
        [
            (np.ones((2, 2), int), TypeError, "not ndarray; name its dims"),
            (xr.Dataset({"cells": ("x", [1])}), TypeError, "not Dataset; choose one of its variables: 'cells'"),
            ("cells", TypeError, "their centres as .* or their outlines as .*, not str"),
            (xr.DataArray([1, 2], dims="x"), ValueError, r"two dims or more.*mask\.expand_dims\('y'\)"),
            (xr.DataArray([[1.0]], {"label": [1]}, ("label", "axis")), ValueError, "two dims or more"),
            (xr.DataArray([[1.5]], dims=("y", "x")), TypeError, "a mask holds integer labels, not float64"),
            (
                xr.DataArray([[[1.0, 2]]], {"label": [1]}, ("label", "c", "axis")),
                ValueError,
                r"centres have the dims \(label, axis\).*choose one along 'c': \.sel\(c=\.\.\.\)",
            ),
            (
                xr.DataArray([[1.0, 2]], {"label": [5]}, ("label", "axis")),
                ValueError,
                r"no label of the centres \(5 \.\.\.\) is a label of the result, which has 1, 2",
            ),
        ],
    )
    def test_what_are_no_objects_of_the_result_are_refused(self, viewer, objects, error, message):
        with pytest.raises(error, match=message):
            result_of({1: 1.0, 2: 2.0}).labels.to_napari(objects, viewer)

    def test_a_result_that_does_not_tell_labels_apart_is_refused(self, viewer):
        image, mask = field("t", "y", "x")
        plane = mask.isel(t=0)
        result = image.labels.aggregate(mask, per="t")
        with pytest.raises(ValueError, match=r"a label has one colour.*viewer\.add_image\(mask\.labels\.paint"):
            result.labels.to_napari(mask, viewer)
        result = image.isel(t=0).labels.aggregate(plane)
        with pytest.raises(ValueError, match=r"whose rows it has; result\.assign_coords\(label="):
            result.drop_vars("label").labels.to_napari(plane, viewer)
        with pytest.raises(ValueError, match="labels are each given once"):
            xr.concat([result, result], "label").labels.to_napari(plane, viewer)
        with pytest.raises(ValueError, match=r"a column 'index'.*rename it"):
            result.rename(mean="index").labels.to_napari(plane, viewer, "index")
        with pytest.raises(ValueError, match="no dim 'label'"):
            plane.labels.to_napari(plane, viewer)

    def test_what_is_no_viewer_is_told_before_the_result_is_computed(self, viewer):
        mask = xr.DataArray([[1]], dims=("y", "x"))
        with pytest.raises(TypeError, match="int has no add_image"):
            result_of({1: 1.0}).labels.to_napari(mask, 3)


def test_without_napari_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "napari", None)
    monkeypatch.delitem(sys.modules, "napari.utils", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"to_napari needs napari.*pip install 'xlabelstats\[viewer\]'"):
        result_of({1: 1.0}).labels.to_napari(xr.DataArray([[1]], dims=("y", "x")))


@pytest.mark.filterwarnings("ignore")
def test_without_a_viewer_a_window_is_opened(viewer, monkeypatch):
    import napari

    monkeypatch.setattr(napari, "Viewer", lambda: viewer)
    monkeypatch.setitem(sys.modules, "napari.qt", types.ModuleType("napari.qt"))
    mask = xr.DataArray([[1]], dims=("y", "x"))
    assert mask.labels.count().labels.to_napari(mask) is viewer
    assert [layer.name for layer in viewer.layers] == ["labels count"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("accessor", [xlabelstats.LabelsAccessor, xlabelstats.LabelsDatasetAccessor])
def test_the_example_of_to_napari_is_true(viewer, monkeypatch, accessor):
    import napari

    monkeypatch.setattr(napari, "Viewer", lambda: viewer)
    monkeypatch.setitem(sys.modules, "napari.qt", types.ModuleType("napari.qt"))
    text = textwrap.dedent(str(accessor.to_napari.__doc__)).replace("# doctest: +SKIP", "")
    test = doctest.DocTestParser().get_doctest(text, {}, "to_napari", None, 0)
    assert test.examples
    assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test).failed == 0
