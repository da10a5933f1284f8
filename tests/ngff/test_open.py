"""Images and label masks opened from OME-Zarr, as other packages write it."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import dask.array as da
import fsspec
import numpy as np
import pytest
import xarray as xr
import zarr
from fsspec.implementations.dirfs import DirFileSystem

import xlabelstats

pytest.importorskip("ome_zarr")

from ome_zarr.format import FormatV04, FormatV05
from ome_zarr.writer import write_label_metadata, write_multiscales_metadata

FORMATS = {"0.4": FormatV04(), "0.5": FormatV05()}
PIXELS = np.random.default_rng(0).integers(0, 200, (2, 6, 8)).astype("uint16")
CELLS = np.random.default_rng(1).integers(0, 5, (6, 8)).astype("int32")
TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


def levels(group: Any, version: str, pixels: np.ndarray, dims: str, scales: list, **more: Any) -> None:
    """Write levels, each of every second pixel of y and x, with scale and translation of each."""
    axes = [{"name": dim, "type": TYPES[dim]} | ({"unit": "micrometer"} if dim in "zyx" else {}) for dim in dims]
    datasets = []
    for i, (scale, translation) in enumerate(scales):
        every = tuple(slice(None, None, 2**i if dim in "yx" else 1) for dim in dims)
        group.create_array(
            str(i), data=np.ascontiguousarray(pixels[every]), chunks=tuple(min(3, n) for n in pixels[every].shape)
        )
        steps = [{"type": "scale", "scale": scale}]
        steps += [{"type": "translation", "translation": translation}] if translation else []
        datasets.append({"path": str(i), "coordinateTransformations": steps})
    write_multiscales_metadata(group, datasets, fmt=FORMATS[version], axes=axes, name="field", **more)


def field(path: Any, version: str = "0.5", cells: np.ndarray = CELLS, scales: Any = None, dims: str = "yx") -> Path:
    """An image of two channels at two levels, and a label image below it."""
    form = FORMATS[version]
    group = zarr.open_group(path, mode="w", zarr_format=form.zarr_format)
    levels(group, version, PIXELS, "cyx", [([1, 0.5, 0.25], [0, 10, 20]), ([1, 1.0, 0.5], [0, 10.25, 20.125])])
    labels = group.create_group("labels")
    below = labels.create_group("cells")
    levels(below, version, cells, dims, scales or [([0.5, 0.25], [10, 20]), ([1.0, 0.5], [10, 20])])
    write_label_metadata(labels, "cells", fmt=form)
    return path


class TestOpen:
    @pytest.mark.parametrize("version", FORMATS)
    def test_gives_pixels_dims_coordinates_and_units(self, tmp_path, version):
        found = xlabelstats.open_ome_zarr(field(tmp_path / "a.zarr", version))
        assert list(found) == ["image", "cells"]
        assert found["image"].dims == ("c", "y", "x")
        assert found["image"].chunks == ((2,), (3, 3), (3, 3, 2))
        np.testing.assert_array_equal(found["image"], PIXELS)
        np.testing.assert_array_equal(found["cells"], CELLS)
        np.testing.assert_allclose(found["y"], 10 + 0.5 * np.arange(6))
        np.testing.assert_allclose(found["x"], 20 + 0.25 * np.arange(8))
        assert {found[dim].attrs["units"] for dim in "yx"} == {"micrometer"}
        assert "c" not in found.coords

    def test_what_is_opened_is_measured_as_it_is(self, tmp_path):
        found = xlabelstats.open_ome_zarr(field(tmp_path / "a.zarr"))
        area = found.labels.measure("cells", "area")["area"]
        assert area.attrs["units"] == "micrometer**2"
        np.testing.assert_allclose(area.sel(label=3), (CELLS == 3).sum() * 0.125)
        mean = found["image"].labels.mean(found["cells"])
        np.testing.assert_allclose(mean.sel(label=3), PIXELS[:, CELLS == 3].mean(axis=1))

    @pytest.mark.parametrize("version", FORMATS)
    def test_gives_a_level_with_the_labels_of_the_nearest_pixels(self, tmp_path, version):
        found = xlabelstats.open_ome_zarr(field(tmp_path / "a.zarr", version), level=1)
        np.testing.assert_array_equal(found["image"], PIXELS[:, ::2, ::2])
        np.testing.assert_array_equal(found["cells"], CELLS[::2, ::2])
        np.testing.assert_allclose(found["y"], [10.25, 11.25, 12.25])

    def test_names_of_channels_are_the_coordinate(self, tmp_path):
        path = field(tmp_path / "a.zarr")
        group = zarr.open_group(path, mode="r+")
        omero = {"channels": [{"label": "DAPI", "color": "0000FF"}, {"label": "CD3", "color": "00FF00"}]}
        group.attrs["ome"] = group.attrs["ome"] | {"omero": omero}
        assert xlabelstats.open_ome_zarr(path)["c"].values.tolist() == ["DAPI", "CD3"]

    def test_an_axis_of_which_nothing_is_said_has_no_coordinate(self, tmp_path):
        path = tmp_path / "a.zarr"
        group = zarr.open_group(path, mode="w")
        axes = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
        group.create_array("0", data=PIXELS[0])
        steps = [{"type": "scale", "scale": [1, 1]}, {"type": "translation", "translation": [0, 3]}]
        write_multiscales_metadata(group, [{"path": "0", "coordinateTransformations": steps}], axes=axes)
        found = xlabelstats.open_ome_zarr(path)
        assert list(found.coords) == ["x"]
        assert found["x"].attrs == {}
        assert float(found["x"][0]) == 3

    @pytest.mark.parametrize("version", FORMATS)
    def test_a_file_that_leaves_out_its_version_and_channels_is_read(self, tmp_path, version):
        path = field(tmp_path / "a.zarr", version)
        group = zarr.open_group(path, mode="r+")
        said = group.attrs.asdict()
        ome = said.get("ome", said)
        ome.pop("version", None)
        ome["multiscales"][0].pop("version", None)
        ome["omero"] = {"channels": None}
        group.attrs.put(said)
        np.testing.assert_array_equal(xlabelstats.open_ome_zarr(path)["image"], PIXELS)

    def test_what_is_said_of_all_levels_comes_after_what_is_said_of_one(self, tmp_path):
        path = field(tmp_path / "a.zarr")
        group = zarr.open_group(path, mode="r+")
        ome = group.attrs["ome"]
        ome["multiscales"][0]["coordinateTransformations"] = [
            {"type": "scale", "scale": [1, 2, 2]},
            {"type": "translation", "translation": [0, 1, 0]},
        ]
        group.attrs["ome"] = ome
        shutil.rmtree(path / "labels")
        found = xlabelstats.open_ome_zarr(path)
        np.testing.assert_allclose(found["y"], 2 * (10 + 0.5 * np.arange(6)) + 1)

    def test_labels_that_were_added_after_metadata_was_put_together_are_opened(self, tmp_path):
        path = field(tmp_path / "a.zarr", "0.4")
        shutil.move(path / "labels", tmp_path / "labels")
        zarr.consolidate_metadata(path, zarr_format=2)
        shutil.move(tmp_path / "labels", path / "labels")
        assert list(xlabelstats.open_ome_zarr(path)) == ["image", "cells"]

    def test_a_channel_axis_of_one_is_dropped_from_labels(self, tmp_path):
        scales = [([1, 0.5, 0.25], [0, 10, 20])]
        found = xlabelstats.open_ome_zarr(field(tmp_path / "a.zarr", cells=CELLS[None], scales=scales, dims="cyx"))
        assert found["cells"].dims == ("y", "x")
        np.testing.assert_array_equal(found["cells"], CELLS)

    def test_a_label_image_is_opened_by_itself(self, tmp_path):
        path = field(tmp_path / "a.zarr")
        found = xlabelstats.open_ome_zarr(path / "labels" / "cells")
        assert list(found) == ["cells"]
        np.testing.assert_allclose(found["y"], 10 + 0.5 * np.arange(6))

    def test_a_label_image_has_its_name_from_within_its_folder_too(self, tmp_path, monkeypatch):
        path = field(tmp_path / "a.zarr")
        below = zarr.open_group(path / "labels/cells", mode="r+")
        below.attrs["ome"] = below.attrs["ome"] | {"image-label": {"version": "0.5"}}
        monkeypatch.chdir(path / "labels/cells")
        assert list(xlabelstats.open_ome_zarr(".")) == ["cells"]

    def test_ngff_zarr_writes_what_is_opened(self, tmp_path):
        ngff = pytest.importorskip("ngff_zarr")
        image = ngff.to_ngff_image(
            da.from_array(PIXELS, chunks=4),
            dims=["c", "y", "x"],
            scale={"c": 1, "y": 0.5, "x": 0.25},
            translation={"c": 0, "y": 10, "x": 20},
            axes_units={"y": "micrometer", "x": "micrometer"},
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pyramid = ngff.to_multiscales(image, scale_factors=[])
            ngff.to_ngff_zarr(str(tmp_path / "a.zarr"), pyramid, version="0.4")
        found = xlabelstats.open_ome_zarr(tmp_path / "a.zarr")["image"]
        np.testing.assert_array_equal(found, PIXELS)
        np.testing.assert_allclose(found["x"], 20 + 0.25 * np.arange(8))
        assert found["x"].attrs["units"] == "micrometer"


class TestUrls:
    @pytest.mark.parametrize("version", FORMATS)
    @pytest.mark.parametrize("kind", ["text", "file://", "memory://", "UPath", "file system of a folder"])
    def test_of_every_kind_are_opened(self, tmp_path, version, kind):
        upath = pytest.importorskip("upath")
        local, memory = str(field(tmp_path / "a.zarr", version)), f"memory://{tmp_path.name}"
        if kind in ("memory://", "UPath"):
            fsspec.filesystem("memory").put(local, f"/{tmp_path.name}", recursive=True)
        url = {
            "text": local,
            "file://": f"file://{local}",
            "memory://": memory,
            "UPath": upath.UPath(memory),
            "file system of a folder": DirFileSystem(local, fsspec.filesystem("file")),
        }[kind]
        found = xlabelstats.open_ome_zarr(url)
        np.testing.assert_array_equal(found["image"], PIXELS)
        np.testing.assert_array_equal(found["cells"], CELLS)

    def test_the_same_store_has_the_same_dask_names(self, tmp_path):
        path = field(tmp_path / "a.zarr")
        assert len({xlabelstats.open_ome_zarr(path)["image"].data.name for _ in range(2)}) == 1


class TestOtherPixels:
    @pytest.mark.parametrize(
        "scales",
        [
            [([0.5, 0.25], [10.25, 20])],  # half a pixel off
            [([0.6, 0.25], [10, 20])],  # off at the far end
            [([0.5, 0.25], None)],
        ],
    )
    def test_of_a_label_image_are_told_with_what_to_do(self, tmp_path, scales):
        path = field(tmp_path / "a.zarr", scales=scales)
        with pytest.warns(UserWarning, match="'cells' was left out: it has other pixels") as told:
            found = xlabelstats.open_ome_zarr(path)
        assert list(found) == ["image"]
        mask = eval(
            str(told[0].message).split("by itself: ")[1].split(", and measure")[0], {"xlabelstats": xlabelstats}
        )
        assert mask["cells"].shape == CELLS.shape

    def test_fewer_of_them_are_told_and_measured_by_position(self, tmp_path):
        path = field(tmp_path / "a.zarr", cells=CELLS[::2, ::2], scales=[([1.0, 0.5], [10, 20])])
        with pytest.warns(UserWarning, match=r"\(y: 3, x: 4\) than the image at level 0 \(c: 2, y: 6, x: 8\)"):
            image = xlabelstats.open_ome_zarr(path)["image"]
        mask = xlabelstats.open_ome_zarr(path / "labels/cells")["cells"]
        assert image.labels.mean(mask, align="nearest").sizes["c"] == 2
        below = xlabelstats.open_ome_zarr(path, level=1)
        np.testing.assert_array_equal(below["cells"], CELLS[::2, ::2])

    def test_a_label_image_that_says_nothing_lies_on_the_image(self, tmp_path):
        path = field(tmp_path / "a.zarr")
        below = zarr.open_group(path / "labels/cells", mode="r+")
        ome = below.attrs["ome"]
        for axis in ome["multiscales"][0]["axes"]:
            del axis["unit"]
        for i, dataset in enumerate(ome["multiscales"][0]["datasets"]):
            dataset["coordinateTransformations"] = [{"type": "scale", "scale": [2**i, 2**i]}]
        below.attrs["ome"] = ome
        found = xlabelstats.open_ome_zarr(path)
        np.testing.assert_allclose(found["cells"]["y"], 10 + 0.5 * np.arange(6))

    def test_a_label_image_of_the_same_numbers_in_another_unit_is_told(self, tmp_path):
        path = field(tmp_path / "a.zarr")
        below = zarr.open_group(path / "labels/cells", mode="r+")
        ome = below.attrs["ome"]
        for axis in ome["multiscales"][0]["axes"]:
            axis["unit"] = "nanometer"
        below.attrs["ome"] = ome
        with pytest.warns(UserWarning, match="'cells' was left out: it has other pixels"):
            assert list(xlabelstats.open_ome_zarr(path)) == ["image"]

    def test_a_label_image_moved_off_an_image_that_says_nothing_is_told(self, tmp_path):
        path = field(tmp_path / "a.zarr", scales=[([1, 1], [100, 0])])
        group = zarr.open_group(path, mode="r+")
        ome = group.attrs["ome"]
        for axis in ome["multiscales"][0]["axes"]:
            axis.pop("unit", None)
        ome["multiscales"][0]["datasets"][0]["coordinateTransformations"] = [{"type": "scale", "scale": [1, 1, 1]}]
        group.attrs["ome"] = ome
        with pytest.warns(UserWarning, match=r"other pixels \(y: 6, x: 8, elsewhere\) than the image"):
            assert list(xlabelstats.open_ome_zarr(path)) == ["image"]

    def test_a_label_image_that_cannot_be_read_is_told(self, tmp_path):
        path = field(tmp_path / "a.zarr")
        below = zarr.open_group(path / "labels/cells", mode="r+")
        below.attrs["ome"] = below.attrs["ome"] | {"version": "0.6"}
        with pytest.warns(UserWarning, match=r"'cells' was left out: .* is OME-Zarr 0\.6"):
            assert list(xlabelstats.open_ome_zarr(path)) == ["image"]

    def test_a_label_image_named_as_a_dim_is_opened_by_itself_as_told(self, tmp_path):
        path = field(tmp_path / "a.zarr")
        (path / "labels/cells").rename(path / "labels/y")
        labels = zarr.open_group(path / "labels", mode="r+")
        labels.attrs["ome"] = labels.attrs["ome"] | {"labels": ["y"]}
        below = zarr.open_group(path / "labels/y", mode="r+")
        below.attrs["ome"] = below.attrs["ome"] | {"image-label": {"version": "0.5"}}
        with pytest.warns(UserWarning, match="'y' was left out, since that name is taken") as told:
            xlabelstats.open_ome_zarr(path)
        mask = eval(str(told[0].message).split("by itself: ")[1], {"xlabelstats": xlabelstats})
        np.testing.assert_array_equal(mask["labels"], CELLS)

    def test_a_label_image_named_as_the_image_is_told(self, tmp_path):
        path = field(tmp_path / "a.zarr")
        (path / "labels/cells").rename(path / "labels/image")
        labels = zarr.open_group(path / "labels", mode="r+")
        labels.attrs["ome"] = labels.attrs["ome"] | {"labels": ["image"]}
        with pytest.warns(UserWarning, match="that name is taken"):
            assert list(xlabelstats.open_ome_zarr(path)) == ["image"]

    def test_a_label_image_that_is_not_there_is_told(self, tmp_path):
        path = field(tmp_path / "a.zarr")
        shutil.rmtree(path / "labels/cells")
        with pytest.warns(UserWarning, match=r"'cells' was left out: there is nothing at .*a\.zarr/labels/cells"):
            assert list(xlabelstats.open_ome_zarr(path)) == ["image"]


class TestErrors:
    def test_nothing_there_is_told(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no Zarr group at .*none\.zarr"):
            xlabelstats.open_ome_zarr(tmp_path / "none.zarr")

    @pytest.mark.parametrize("level", [2, -1])
    def test_a_level_that_is_not_there_is_told(self, tmp_path, level):
        with pytest.raises(ValueError, match=f"has 2 levels, 0 to 1; .* not {level}"):
            xlabelstats.open_ome_zarr(field(tmp_path / "a.zarr"), level)

    @pytest.mark.parametrize("level", ["0", True, 1.0])
    def test_a_level_that_is_no_number_is_told(self, tmp_path, level):
        with pytest.raises(TypeError, match="level is the number of a resolution"):
            xlabelstats.open_ome_zarr(tmp_path, level)

    def test_a_plate_is_told_with_its_wells(self, tmp_path):
        group = zarr.open_group(tmp_path / "p.zarr", mode="w")
        group.attrs["ome"] = {"version": "0.5", "plate": {"wells": [{"path": "A/1"}, {"path": "A/2"}]}}
        with pytest.raises(ValueError, match="is a plate; open what is below it: 'A/1', 'A/2'"):
            xlabelstats.open_ome_zarr(tmp_path / "p.zarr")

    def test_a_folder_of_images_is_told_with_what_is_below(self, tmp_path):
        group = zarr.open_group(tmp_path / "p.zarr", mode="w")
        group.create_group("0")
        with pytest.raises(ValueError, match="without an image of OME-Zarr; open what is below it: '0'"):
            xlabelstats.open_ome_zarr(tmp_path / "p.zarr")

    def test_another_version_is_told(self, tmp_path):
        path = field(tmp_path / "a.zarr", "0.4")
        said = json.loads((path / ".zattrs").read_text())
        said["multiscales"][0]["version"] = "0.3"
        (path / ".zattrs").write_text(json.dumps(said))
        with pytest.raises(ValueError, match=r"is OME-Zarr 0\.3, and only 0\.4 and 0\.5 are read"):
            xlabelstats.open_ome_zarr(path)

    def test_a_file_from_before_axes_had_names_is_told(self, tmp_path):
        group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
        group.attrs["multiscales"] = [{"datasets": [{"path": "0"}]}]
        with pytest.raises(ValueError, match=r"is OME-Zarr before 0\.4, and only"):
            xlabelstats.open_ome_zarr(tmp_path / "a.zarr")

    @pytest.mark.parametrize("version", FORMATS)
    def test_the_pixels_of_one_level_are_told(self, tmp_path, version):
        path = field(tmp_path / "a.zarr", version)
        with pytest.raises(FileNotFoundError, match=r"no Zarr group at .*a\.zarr.0"):
            xlabelstats.open_ome_zarr(path / "0")

    def test_what_is_no_path_is_told(self):
        with pytest.raises(TypeError, match="an OME-Zarr is in a folder or under a URL, not in int"):
            xlabelstats.open_ome_zarr(3)

    def test_the_axes_of_a_cache_come_back(self, tmp_path):
        image = xr.DataArray(PIXELS, dims=("t", "y", "x"), coords={"t": ("t", [0.0, 5.0], {"units": "s"})})
        from xlabelstats.pipeline import Cache

        cache = Cache(tmp_path)
        cache.run("movie", lambda each: each, image)
        found = xlabelstats.open_ome_zarr(cache.status()["url"][0] + "/image.ome.zarr")["image"]
        assert found.dims == ("t", "y", "x")
        assert found["t"].values.tolist() == [0, 5]
        assert found["t"].attrs["units"] == "second"


def test_other_label_images_are_not_measured_as_images(tmp_path: Path) -> None:
    path = field(tmp_path / "field.zarr")
    xr.DataArray(CELLS, dims=("y", "x")).labels.to_ome_zarr(path, "nuclei")
    opened = xlabelstats.open_ome_zarr(path)
    assert list(opened) == ["image", "cells", "nuclei"]
    assert list(opened.labels.measure("nuclei", ["mean", "area"])) == ["mean_image", "area"]
    assert list(opened.instances.median("nuclei")) == ["median_image"]
    assert list(opened.labels.aggregate(opened["cells"].labels.keep([1]), "max")) == ["max_image"]
    distances = opened["nuclei"].copy(data=opened["nuclei"].data / 2)  # with the attributes of the mask
    assert list(opened.assign(distance=distances).labels.mean("nuclei")) == ["mean_image", "mean_distance"]
