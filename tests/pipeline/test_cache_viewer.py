"""Results as layers, and parameters tried side by side."""

from __future__ import annotations

import sys
import types

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import Calls
from scipy import ndimage

from xlabelstats.pipeline import centroids
from xlabelstats.pipeline.cache import Cache, Comparison

pytest.importorskip("ome_zarr")
pytest.importorskip("pyarrow")

CALLS = Calls()


@pytest.fixture(autouse=True)
def calls() -> None:
    CALLS.clear()


@pytest.fixture
def image(nuclei2d) -> xr.DataArray:
    nuclei = nuclei2d[0].isel(y=slice(128), x=slice(96)).chunk(40)
    return nuclei.assign_coords(y=("y", 5 + np.arange(128) * 0.5, {"units": "um"}), x=("x", np.arange(96) * 0.25))


def same(image):
    CALLS.append("same")
    return image


def binary(image, above):
    CALLS.append("binary")
    if above > 250:
        raise ValueError("<too high>")
    return (image > above).astype("uint8")


def labels(image, above):
    CALLS.append("labels")
    return image.copy(data=ndimage.label(np.asarray(image > above))[0].astype("int32"))


def points(labels):
    found = np.array(ndimage.center_of_mass(np.asarray(labels) > 0, labels, np.unique(labels)[1:]))
    y, x = found[:, 0], found[:, 1]
    table = pd.DataFrame({"id": np.arange(len(y)) + 1, "y": 5 + y / 2, "x": x / 4, "y_pixel": y, "x_pixel": x})
    table.attrs = {"axes": ["y", "x"], "shape": [128, 96], "units": ["um", "um"]}
    return table


@pytest.mark.filterwarnings("ignore")
class TestLayers:
    @pytest.mark.parametrize("url", ["folder", None])
    def test_images_are_the_stored_pyramid_in_its_place(self, viewer, image, tmp_path, url):
        for _ in range(2):
            cache = Cache(tmp_path if url else None, viewer=viewer)
            found = cache.run("nuclei", same, image, multiscale=3, layer={"colormap": "green", "opacity": 0.5})
        (layer,) = viewer.layers
        assert type(layer).__name__ == "Image"
        assert layer.name == "nuclei"
        assert layer.multiscale
        assert [level.shape for level in layer.data] == [(128, 96), (64, 48), (32, 24)]
        assert all(isinstance(level, da.Array) for level in layer.data)
        np.testing.assert_array_equal(layer.data[0], found)
        np.testing.assert_allclose(layer.scale, [0.5, 0.25])
        np.testing.assert_allclose(layer.translate, [5, 0])
        assert layer.colormap.name == "green"
        assert layer.opacity == 0.5

    def test_labels_points_and_channels_get_layers_of_their_own(self, viewer, image, tmp_path):
        cache = Cache(tmp_path, viewer=viewer)
        mask = cache.run("labels", labels, image, above=60, multiscale=2)
        cache.run("points", points, mask, layer={"size": 3})
        cache.run("binary", binary, image, above=60, is_label=True)
        both = xr.concat([image, image], dim="c").assign_coords(c=["DAPI", "CD3"])
        cache.run("both", same, both)
        kinds = {layer.name: type(layer).__name__ for layer in viewer.layers}
        images = {"both DAPI": "Image", "both CD3": "Image"}
        assert kinds == {"labels": "Labels", "points": "Points", "binary": "Labels", **images}
        np.testing.assert_array_equal(viewer.layers["labels"].data[1], mask[::2, ::2])
        np.testing.assert_allclose(viewer.layers["points"].data, points(mask)[["y", "x"]])
        # A point lies on the pixel of the mask that its centre is in.
        at = viewer.layers["labels"].world_to_data(viewer.layers["points"].data[0])
        np.testing.assert_allclose(at, points(mask)[["y_pixel", "x_pixel"]].iloc[0])
        cache.run("both", same, both)
        assert len(viewer.layers) == 5

    def test_layers_have_the_units_of_their_coordinates(self, viewer, image):
        cache = Cache(None, viewer=viewer)
        mask = cache.run("labels", labels, image, above=60)
        both = xr.concat([image, image], dim="c").assign_coords(c=[405.0, 488.0])
        cache.run("both", same, both)
        cache.run("centroids", centroids, mask)
        cache.run("points", points, mask)
        said = {layer.name: [f"{unit}" for unit in layer.units] for layer in viewer.layers}
        placed = ["micrometer", "pixel"]
        unknown = ["pixel", "pixel"]
        assert said == {
            "labels": placed,
            "both 405.0": placed,
            "both 488.0": placed,
            "centroids": placed,
            "points": unknown,
        }

    @pytest.mark.parametrize("url", ["folder", None])
    def test_a_label_mask_is_known_as_one_by_later_runs(self, viewer, image, tmp_path, url):
        cache = Cache(tmp_path if url else None, viewer=viewer)
        for is_label in (True, None, None):
            cache.run("binary", binary, image, above=60, is_label=is_label)
            assert [type(layer).__name__ for layer in viewer.layers] == ["Labels"]

    def test_binary_images_are_labels(self, viewer, image, tmp_path):
        Cache(tmp_path, viewer=viewer).run("binary", lambda a: a > 60, image, multiscale=2)
        (layer,) = viewer.layers
        assert type(layer).__name__ == "Labels"
        np.testing.assert_array_equal(layer.data[0], image > 60)

    def test_what_is_no_picture_and_what_is_not_to_be_seen_are_left_out(self, viewer, image, tmp_path):
        cache = Cache(tmp_path, viewer=viewer)
        cache.run("number", lambda a: 3, image)
        cache.run("table", lambda a: pd.DataFrame({"a": [1]}), image)
        cache.run("line", lambda a: a.isel(x=0), image)
        cache.run("nuclei", same, image, layer=False)
        assert len(viewer.layers) == 0

    def test_parts_are_shown_under_their_whole(self, viewer, image, tmp_path):
        cache = Cache(tmp_path, viewer=viewer)
        cache.child("cells").run("binary", binary, image, above=60)
        assert [layer.name for layer in viewer.layers] == ["cells/binary"]

    @pytest.mark.parametrize("both", [False, True])
    def test_a_layer_that_replaces_another_has_its_name_and_is_on_top(self, viewer, image, tmp_path, both):
        cache = Cache(tmp_path, viewer=viewer)
        shown = xr.concat([image, image], dim="c").assign_coords(c=["DAPI", "CD3"]) if both else image
        names = ["nuclei DAPI", "nuclei CD3"] if both else ["nuclei"]
        cache.run("nuclei", same, shown)
        viewer.add_image(np.eye(3), name="mine")
        cache.run("nuclei", same, shown)
        assert [layer.name for layer in viewer.layers] == ["mine", *names]

    def test_an_option_that_napari_refuses_leaves_the_former_layer(self, viewer, image, tmp_path):
        cache = Cache(tmp_path, viewer=viewer)
        cache.run("nuclei", same, image)
        (layer,) = viewer.layers
        with pytest.raises((TypeError, ValueError, KeyError)):
            cache.run("nuclei", same, image, layer={"colormap": "no such colours"})
        assert list(viewer.layers) == [layer]

    def test_napari_itself_would_be_asked_for(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "napari", None)
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'xlabelstats\[viewer\]'"):
            Cache(None, viewer=True)

    def test_without_a_viewer_nothing_is_read(self, image, tmp_path, monkeypatch):
        Cache(tmp_path).run("nuclei", same, image, multiscale=2)
        monkeypatch.setattr(da.Array, "compute", lambda *args, **kwargs: pytest.fail("computed"))
        Cache(tmp_path).run("nuclei", same, image, multiscale=2, is_label=False, layer={"opacity": 0.5})


class StandIn:
    """A viewer with the few things of napari's that are used."""

    def __init__(self):
        self.layers = []

    def add_image(self, data, *, name, metadata, scale, translate, units, multiscale=False, opacity=1.0):
        names = [layer.name for layer in self.layers]
        self.layers.append(types.SimpleNamespace(name=name if name not in names else f"{name} [1]", metadata=metadata))

    def add_points(self, data, *, name, metadata, units, size=10):
        self.layers.append(types.SimpleNamespace(name=name, metadata=metadata))

    add_labels = add_image


class TestReplaced:
    @pytest.mark.parametrize("kind", ["image", "table"])
    def test_a_refused_option_leaves_the_former_layer(self, image, kind):
        viewer = StandIn()
        cache = Cache(None, viewer=viewer)
        step = same if kind == "image" else points
        given = image if kind == "image" else labels(image, 60)
        cache.run("nuclei", step, given)
        former = list(viewer.layers)
        with pytest.raises(TypeError, match="opactiy"):
            cache.run("nuclei", step, given, layer={"opactiy": 0.5})
        assert viewer.layers == former
        assert len(former) == 1

    def test_the_new_layer_has_the_name_of_the_former(self, image):
        viewer = StandIn()
        for opacity in (0.5, 0.6):
            Cache(None, viewer=viewer).run("nuclei", same, image, layer={"opacity": opacity})
        assert [layer.name for layer in viewer.layers] == ["nuclei"]


class TestNewWindow:
    @pytest.fixture
    def napari(self, monkeypatch):
        package = types.ModuleType("napari")
        package.Viewer = StandIn
        package.__path__ = []
        monkeypatch.setitem(sys.modules, "napari", package)
        monkeypatch.delitem(sys.modules, "napari.qt", raising=False)
        return package

    def test_without_qt_it_is_said_what_to_install(self, napari):
        with pytest.raises(ImportError, match=r"needs Qt.*pip install 'napari\[all\]'"):
            Cache(None, viewer=True)

    def test_with_qt_it_is_opened(self, napari, monkeypatch):
        monkeypatch.setitem(sys.modules, "napari.qt", types.ModuleType("napari.qt"))
        assert isinstance(Cache(None, viewer=True).viewer, StandIn)


def test_what_cannot_show_layers_is_no_viewer():
    with pytest.raises(TypeError, match="str has no add_image"):
        Cache(None, viewer="napari")


class TestCompare:
    @pytest.mark.parametrize("name", ["count", "seconds", "error", "picture"])
    def test_a_parameter_with_the_name_of_a_column_is_refused(self, name):
        with pytest.raises(
            ValueError, match=rf"'{name}' is a column .*: lambda image, value: step\(image, {name}=value"
        ):
            Cache(None).compare(lambda image, **kwargs: image, {name: [1]}, on=np.eye(2))

    @pytest.mark.parametrize("url", ["folder", None])
    def test_counts_agree_with_scipy_and_a_second_time_costs_nothing(self, image, tmp_path, url):
        cache = Cache(tmp_path if url else None)
        for _ in range(2):
            tables = [cache.compare(step, {"above": [40, 60, 90]}, on=image) for step in (binary, labels)]
        assert CALLS == ["binary"] * 3 + ["labels"] * 3
        for table in tables:
            assert isinstance(table, Comparison)
            assert table["above"].tolist() == [40, 60, 90]
            assert table["count"].tolist() == [ndimage.label(image.values > above)[1] for above in (40, 60, 90)]
            assert (table["error"] == "").all()
            assert (table["seconds"] > 0).all()
            assert [picture.shape for picture in table["picture"]] == [(128, 96, 3)] * 3
        assert set(cache.status()["name"]) == {"compare/binary", "compare/labels"}

    def test_all_combinations_are_tried_and_others_go_on_when_one_fails(self, image, tmp_path):
        def scaled(image, above, factor):
            return binary(image, above) * factor

        table = Cache(tmp_path).compare(scaled, {"above": [60, 255], "factor": [1, 0]}, on=image)
        assert table[["above", "factor"]].to_numpy().tolist() == [[60, 1], [60, 0], [255, 1], [255, 0]]
        assert table["error"].tolist() == ["", "", *["ValueError: <too high>"] * 2]
        assert np.isnan(table["count"][2])
        assert table["picture"][2] is None
        assert table["count"][1] == 0

    def test_pictures_show_outlines_and_points_over_the_crop(self, image):
        table = Cache(None).compare(labels, {"above": [60]}, on=image)
        mask = ndimage.label(image.values > 60)[0]
        inside = ndimage.minimum_filter(mask, 3) == ndimage.maximum_filter(mask, 3)
        picture = table["picture"][0]
        coloured = (picture[..., 0] != picture[..., 2]) | (picture[..., 0] != picture[..., 1])
        assert coloured.any()
        assert not coloured[inside].any()
        assert not coloured[mask == 0].any()
        table = Cache(None).compare(lambda image, above: points(labels(image, above)), {"above": [60]}, on=image)
        coloured = np.ptp(table["picture"][0].astype(int), axis=2) > 0
        centre = np.rint(points(mask)[["y_pixel", "x_pixel"]].to_numpy()).astype(int)
        assert coloured[tuple(centre.T)].all()
        assert table["count"][0] == mask.max()

    def test_a_mask_on_another_grid_than_the_crop_is_drawn_by_itself(self, image):
        table = Cache(None).compare(lambda image, above: labels(image, above)[::2, ::2], {"above": [60]}, on=image)
        assert table["error"].tolist() == [""]
        assert table["picture"][0].shape == (64, 48, 3)

    def test_points_without_a_position_or_beside_the_crop_are_left_out(self, image):
        at = pd.DataFrame({"y_pixel": [np.nan, 5.0, 500.0], "x_pixel": [3.0, 7.0, 2.0]})
        table = Cache(None).compare(lambda image, k: at, {"k": [1]}, on=image)
        assert table["error"].tolist() == [""]
        coloured = np.ptp(table["picture"][0].astype(int), axis=2) > 0
        cross = ndimage.generate_binary_structure(2, 1)
        np.testing.assert_array_equal(coloured[4:7, 6:9], cross)
        assert coloured.sum() == cross.sum()

    def test_volumes_are_drawn_at_their_brightest_along_z(self):
        volume = np.zeros((3, 70, 100), "uint16")
        volume[1, 35:, :] = 9
        table = Cache(None).compare(lambda v, k: v * k, {"k": [1]}, on=volume)
        assert table["picture"][0].shape == (70, 100, 3)
        assert table["picture"][0][0, 0].tolist() == [0, 0, 0]
        assert table["picture"][0][-1, 0].tolist() == [255, 255, 255]
        assert np.isnan(table["count"][0])

    def test_cells_of_a_table_are_summed(self):
        table = Cache(None).compare(lambda a, k: pd.DataFrame({"cells": [1.0, k]}), {"k": [2, 3]}, on=np.ones(3))
        assert table["count"].tolist() == [3, 4]
        assert table["picture"].tolist() == [None, None]

    def test_more_inputs_than_one_and_fixed_arguments(self):
        table = Cache(None).compare(
            lambda a, b, k, plus: {"sum": float((a + b).sum() * k + plus)},
            {"k": [2]},
            on=(np.ones(3), np.ones(3)),
            plus=1,
        )
        assert table["error"].tolist() == [""]

    def test_a_notebook_shows_the_pictures_and_no_markup_of_messages(self, image):
        text = Cache(None).compare(binary, {"above": [60, 255]}, on=image)._repr_html_()
        assert text.count("data:image/png;base64,") == 1
        assert "&lt;too high&gt;" in text
        assert "<too high>" not in text

    def test_a_figure_draws_them_side_by_side(self, image):
        pytest.importorskip("matplotlib")
        figure = Cache(None).compare(binary, {"above": [40, 60, 255]}, on=image).figure(columns=2)
        assert [len(axis.images) for axis in figure.axes] == [1, 1, 0]
        assert len({axis.get_position().y0 for axis in figure.axes}) == 2
        assert "above=60" in figure.axes[1].get_title()
        assert "failed" in figure.axes[2].get_title()

    @pytest.mark.parametrize(
        ("grid", "error", "message"),
        [
            ({"abov": [1]}, ValueError, "unknown parameter 'abov', did you mean 'above'"),
            ({"above": 3}, TypeError, r"so 'above': \[3\]"),
            ({"above": "ab"}, TypeError, "values to try"),
            ({}, TypeError, "a mapping from parameters"),
            ([1], TypeError, "a mapping from parameters"),
        ],
    )
    def test_a_grid_that_is_none_is_told(self, image, grid, error, message):
        with pytest.raises(error, match=message):
            Cache(None).compare(binary, grid, on=image)
        assert CALLS == []
