"""Masks put below the image of an OME-Zarr, as other packages read them."""

from __future__ import annotations

import errno
import importlib
import logging
import warnings
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import exitcode_of
from zarr.storage import LocalStore

import xlabelstats
from xlabelstats.pipeline import Cache, connected_components, gaussian
from xlabelstats.placement import MARKS

pytest.importorskip("ome_zarr")

VERSIONS = ("0.5", "0.4")
MASK = xr.DataArray(da.from_array(blobs((40, 50), 20), chunks=(16, 20)), dims=("y", "x"))


def same(image):
    return image


def image_at(folder: Path, version: str = "0.5", multiscale: int = 2) -> str:
    """An image of two channels, with units, as the cache stores it."""
    image = xr.DataArray(
        da.from_array(np.random.default_rng(0).random((2, 40, 50), "f4"), chunks=(1, 16, 20)),
        dims=("c", "y", "x"),
        coords={
            "y": ("y", 3 + 0.5 * np.arange(40), {"units": "um"}),
            "x": ("x", 0.25 * np.arange(50), {"units": "um"}),
        },
    )
    cache = Cache(folder)
    cache.run("field", same, image, multiscale=multiscale, ome_version=version)
    return f"{cache.status()['url'][0]}/image.ome.zarr"


def image_without_pixel_size(folder: Path) -> Path:
    """A folder with an image of which nothing is said but its axes."""
    path = folder / "a.zarr"
    zarr.open_group(path, mode="w").create_array("0", data=np.zeros((40, 50)))
    axes = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1]}]}]
    importlib.import_module("ome_zarr.writer").write_multiscales_metadata(zarr.open_group(path), datasets, axes=axes)
    return path


def names(folder: str | Path) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir() if path.name not in (*MARKS, ".zattrs"))


def validated(group: zarr.Group, version: str, model: str) -> None:
    pytest.importorskip("jsonschema")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("ngff_zarr.validate").validate(group.attrs.asdict(), version=version, model=model)


@pytest.mark.parametrize("version", VERSIONS)
class TestBelowAnImage:
    def test_comes_back_with_the_grid_of_the_image(self, tmp_path, version):
        path = image_at(tmp_path, version)
        MASK.labels.to_ome_zarr(path, "cells")
        found = xlabelstats.open_ome_zarr(path)
        np.testing.assert_array_equal(found["cells"], MASK)
        assert found["cells"].chunks == MASK.chunks
        alone = xlabelstats.open_ome_zarr(f"{path}/labels/cells")["cells"]
        xr.testing.assert_identical(alone["y"].drop_vars([]), found["y"])
        assert alone["x"].attrs["units"] == "micrometer"

    def test_follows_the_schemas_of_its_version(self, tmp_path, version):
        path = image_at(tmp_path, version)
        MASK.labels.to_ome_zarr(path, "cells")
        below = zarr.open_group(f"{path}/labels/cells", mode="r")
        for model in ("image", "label"):
            validated(below, version, model)

    def test_ome_zarr_reads_it_as_labels_of_the_image(self, tmp_path, version, caplog):
        from ome_zarr.io import parse_url
        from ome_zarr.reader import Label, Reader

        path = image_at(tmp_path, version)
        MASK.labels.to_ome_zarr(path, "cells")
        caplog.set_level(logging.ERROR, "ome_zarr")
        image, _, label = Reader(parse_url(path))()
        assert image.load(Label) is None
        assert label.load(Label) is not None
        assert len(label.data) == len(image.data) == 2
        for level, pixels in enumerate(label.data):
            np.testing.assert_array_equal(pixels, MASK[:: 2**level, :: 2**level])
        (first, *_) = Reader(parse_url(f"{path}/labels/cells"))()
        assert str(first).startswith(path)

    def test_ngff_zarr_reads_and_validates_it(self, tmp_path, version):
        path = image_at(tmp_path, version)
        MASK.labels.to_ome_zarr(path, "cells")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ngff = pytest.importorskip("ngff_zarr")
            found = ngff.from_ngff_zarr(f"{path}/labels/cells", validate=True)
        np.testing.assert_array_equal(found.images[0].data, MASK)
        assert found.images[0].scale == {"y": 0.5, "x": 0.25}
        assert found.images[0].translation == {"y": 3, "x": 0}

    def test_ngio_reads_it_as_a_label(self, tmp_path, version):
        ngio = pytest.importorskip("ngio")
        path = image_at(tmp_path, version)
        MASK.labels.to_ome_zarr(path, "cells")
        container = ngio.open_ome_zarr_container(path)
        assert container.list_labels() == ["cells"]
        np.testing.assert_array_equal(container.get_label("cells", path="0").get_as_numpy(), MASK)

    def test_another_joins_those_that_are_there(self, tmp_path, version):
        path = image_at(tmp_path, version)
        (MASK > 0).labels.to_ome_zarr(path, "any")
        MASK.compute().labels.to_ome_zarr(path, "cells")
        assert list(xlabelstats.open_ome_zarr(path)) == ["image", "any", "cells"]
        assert names(f"{path}/labels") == ["any", "cells"]

    def test_is_seen_where_metadata_was_in_one_place(self, tmp_path, version):
        path = image_at(tmp_path, version)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            zarr.consolidate_metadata(path)
        MASK.labels.to_ome_zarr(path, "cells")
        assert zarr.open_group(path, mode="r", use_consolidated=True)["labels/cells/0"].shape == MASK.shape
        assert list(xlabelstats.open_ome_zarr(path)) == ["image", "cells"]

    def test_is_replaced_if_asked_for_alone(self, tmp_path, version):
        path = image_at(tmp_path, version)
        MASK.labels.to_ome_zarr(path, "cells")
        with pytest.raises(FileExistsError, match="overwrite=True would replace"):
            (MASK * 2).labels.to_ome_zarr(path, "cells")
        np.testing.assert_array_equal(xlabelstats.open_ome_zarr(path)["cells"], MASK)
        (MASK * 2).labels.to_ome_zarr(path, "cells", overwrite=True)
        np.testing.assert_array_equal(xlabelstats.open_ome_zarr(path)["cells"], MASK * 2)
        assert names(f"{path}/labels") == ["cells"]


class TestGrids:
    @settings(max_examples=5)
    @given(st.integers(5, 40), st.integers(5, 50))
    def test_of_chunks_change_nothing(self, tmp_path_factory, y, x):
        path = image_at(tmp_path_factory.mktemp("chunks"))
        MASK.chunk(y=y, x=x).labels.to_ome_zarr(path, "cells")
        for level in (0, 1):
            every = slice(None, None, 2**level)
            np.testing.assert_array_equal(xlabelstats.open_ome_zarr(path, level)["cells"], MASK[every, every])

    def test_of_a_mask_with_coordinates_are_its_own(self, tmp_path):
        path = image_at(tmp_path)
        half = MASK[::2, ::2].assign_coords(
            y=("y", 3 + np.arange(20.0), {"units": "um"}), x=("x", 0.5 * np.arange(25), {"units": "um"})
        )
        half.labels.to_ome_zarr(path, "cells")
        with pytest.warns(UserWarning, match="other pixels"):
            xlabelstats.open_ome_zarr(path)
        found = xlabelstats.open_ome_zarr(f"{path}/labels/cells")["cells"]
        np.testing.assert_allclose(found["y"], half["y"])
        np.testing.assert_array_equal(found, half)

    @pytest.mark.parametrize(
        ("mask", "error", "message"),
        [
            (
                MASK[:20],
                ValueError,
                r"20 pixels along 'y' and the image in the OME-Zarr 40.*mask\.assign_coords\(y=\.\.\.\)",
            ),
            (
                MASK.assign_coords(y=np.arange(40)[::-1]),
                ValueError,
                r"'y' falls.*mask\.isel\(y=slice\(None, None, -1\)\)",
            ),
            (
                MASK.assign_coords(y=np.arange(40) ** 2),
                ValueError,
                "not evenly spaced; OME-Zarr places pixels by a scale",
            ),
            (MASK.expand_dims("z"), ValueError, "has the dim 'z', which the image in the OME-Zarr lacks"),
            (MASK.rename(y="row"), ValueError, r"the dims y and x.*this one has \{'row': 40, 'x': 50\}"),
            (MASK.astype(float), TypeError, "a mask holds integer labels, not float64"),
        ],
    )
    def test_that_ome_zarr_cannot_say_are_told(self, tmp_path, mask, error, message):
        path = image_at(tmp_path)
        with pytest.raises(error, match=message):
            mask.labels.to_ome_zarr(path, "cells")
        assert "labels" not in names(path)


class TestWrongPlaces:
    @pytest.mark.parametrize("name", ["a/b", "", ".hidden", 3, "zarr.json"])
    def test_names_that_are_no_folder_are_told(self, tmp_path, name):
        with pytest.raises(ValueError, match="cannot be the name of a folder below 'labels'"):
            MASK.labels.to_ome_zarr(tmp_path, name)

    def test_nothing_there_is_told_and_nothing_is_made(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="there is no OME-Zarr image at"):
            MASK.labels.to_ome_zarr(tmp_path / "a.zarr", "cells")
        assert names(tmp_path) == []

    def test_another_size_without_coordinates_is_told(self, tmp_path):
        path = image_without_pixel_size(tmp_path)
        with pytest.raises(ValueError, match="has 20 pixels along 'y' and the image in the OME-Zarr 40, so where"):
            MASK[::2].labels.to_ome_zarr(path, "cells")

    def test_a_pixel_size_that_the_image_lacks_is_told(self, tmp_path):
        path = image_without_pixel_size(tmp_path)
        sized = MASK.assign_coords(y=("y", 0.65 * np.arange(40), {"units": "um"}))
        with pytest.raises(ValueError, match=r"has the coordinate 'y' in 'um'.*no pixel size.*mask.drop_vars\('y'\)"):
            sized.labels.to_ome_zarr(path, "cells")
        assert "labels" not in names(path)
        sized.drop_vars("y").labels.to_ome_zarr(path, "cells")

    def test_other_units_than_those_of_the_image_are_told(self, tmp_path):
        path = image_at(tmp_path)
        with pytest.raises(ValueError, match="coordinate 'x' of the mask is in 'nm', and that of the image in the OME"):
            MASK.assign_coords(x=("x", 250.0 * np.arange(50), {"units": "nm"})).labels.to_ome_zarr(path, "cells")

    def test_as_many_pixels_that_lie_elsewhere_are_told(self, tmp_path):
        path = image_at(tmp_path)
        with pytest.warns(UserWarning, match="as many pixels along 'x' as the image in the OME-Zarr, but they lie"):
            MASK.assign_coords(x=("x", 9.0 * np.arange(50), {"units": "um"})).labels.to_ome_zarr(path, "cells")

    def test_a_store_that_is_no_image_is_told(self, tmp_path):
        zarr.open_group(tmp_path / "a.zarr", mode="w")
        with pytest.raises(ValueError, match="Zarr group without an image"):
            MASK.labels.to_ome_zarr(tmp_path / "a.zarr", "cells")

    def test_urls_are_told(self):
        with pytest.raises(ValueError, match="is a URL, and only folders can be renamed at once"):
            MASK.labels.to_ome_zarr("memory://a.zarr", "cells")

    def test_options_of_tables_are_told(self, tmp_path):
        with pytest.raises(TypeError, match="backend is an option of tables of results, and this is a mask"):
            MASK.labels.to_ome_zarr(tmp_path, "cells", backend="parquet")


class TestCutShort:
    def test_by_an_error_leaves_nothing(self, tmp_path):
        path = image_at(tmp_path)

        def fails(block, block_info=None):
            if block_info and block_info[0]["chunk-location"] == (1, 1):
                raise RuntimeError("no more")
            return block

        with pytest.raises(RuntimeError, match="no more"):
            MASK.copy(data=MASK.data.map_blocks(fails, dtype=MASK.dtype)).labels.to_ome_zarr(path, "cells")
        assert "labels" not in names(path)

    def test_by_a_full_disk_leaves_nothing_and_is_told(self, tmp_path, monkeypatch):
        path, put = image_at(tmp_path), LocalStore.set

        async def while_there_is_room(self, key, *rest):
            if key.startswith("0/c"):
                raise OSError(errno.ENOSPC, "No space left on device")
            await put(self, key, *rest)

        monkeypatch.setattr(LocalStore, "set", while_there_is_room)
        with pytest.raises(OSError, match=r"there is no room for the result .* nothing of it is kept"):
            MASK.labels.to_ome_zarr(path, "cells")
        assert "labels" not in names(path)

    def test_by_a_kill_leaves_the_old_mask_and_the_next_write_removes_the_rest(self, tmp_path):
        path = image_at(tmp_path)
        MASK.labels.to_ome_zarr(path, "cells")
        program = f"""
            import os, signal, time, dask.array as da, xarray as xr, xlabelstats
            def killed(block, block_info=None):
                if block_info and block_info[0]["chunk-location"] == (1, 1):
                    time.sleep(0.3)
                    os.kill(os.getpid(), signal.SIGKILL)
                return block
            mask = xr.DataArray(da.zeros((40, 50), "i8", chunks=20).map_blocks(killed, dtype="i8"), dims=("y", "x"))
            mask.labels.to_ome_zarr({path!r}, "cells", overwrite=True)
        """
        assert exitcode_of(program) == -9
        assert any(name.endswith(".partial") for name in names(f"{path}/labels"))
        np.testing.assert_array_equal(xlabelstats.open_ome_zarr(path)["cells"], MASK)
        MASK.labels.to_ome_zarr(path, "cells", overwrite=True)
        assert names(f"{path}/labels") == ["cells"]


class TestCache:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_masks_are_labels_of_the_image_that_they_were_made_from(self, tmp_path, version, caplog):
        from ome_zarr.io import parse_url
        from ome_zarr.reader import Label, Reader

        image = xr.DataArray(da.from_array(np.random.default_rng(0).random((20, 30))), dims=("y", "x"))
        cache = Cache(tmp_path).child("deep")
        smooth = cache.run("smooth", gaussian, image, sigma=1, ome_version=version)
        binary = cache.run("binary", lambda each: each > 0.5, smooth, ome_version=version)
        cache.run("cells", connected_components, binary, ome_version=version)
        paths = {name: f"{url}/image.ome.zarr" for name, url in cache.status().set_index("name")["url"].items()}
        caplog.set_level(logging.ERROR, "ome_zarr")
        for name in ("deep/binary", "deep/cells") if "deep/cells" in paths else ("binary", "cells"):
            group = zarr.open_group(paths[name], mode="r")
            validated(group, version, "label")
            above, label = Reader(parse_url(paths[name]))()
            assert label.load(Label) is not None
            assert str(above).split()[0] == paths[name.replace("binary", "smooth").replace("cells", "smooth")]

    @pytest.mark.parametrize(
        ("dtype", "is_label", "labels"),
        [
            ("uint16", None, False),
            ("uint16", True, True),
            ("int32", None, True),
            ("int32", False, False),
            ("f4", True, False),
        ],
    )
    def test_masks_alone_carry_the_metadata_of_labels(self, tmp_path, dtype, is_label, labels):
        cache = Cache(tmp_path)
        cache.run("mask", same, MASK.astype(dtype), is_label=is_label)
        said = zarr.open_group(f"{cache.status()['url'][0]}/image.ome.zarr", mode="r").attrs["ome"]
        assert ("image-label" in said) is labels
        assert "source" not in said.get("image-label", {})
