"""The levels of masks below an image that another program has written."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from conftest import blobs

import xlabelstats

pytest.importorskip("ome_zarr")


def volume_at(path: Path, version: str) -> np.ndarray:
    """A volume as many tools store one: levels as sharp in z, and the odd last pixel of y and x left out."""
    pixels = np.random.default_rng(0).random((3, 9, 11), "f4")
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    datasets = []
    for level, (shape, scale) in enumerate([((3, 9, 11), 1), ((3, 4, 5), 2), ((3, 2, 2), 4)]):
        group.create_array(str(level), data=np.ascontiguousarray(pixels[:, ::scale, ::scale][tuple(map(slice, shape))]))
        steps = [{"type": "scale", "scale": [2, 0.5 * scale, 0.5 * scale]}]
        datasets.append({"path": str(level), "coordinateTransformations": steps})
    axes = [{"name": dim, "type": "space", "unit": "micrometer"} for dim in "zyx"]
    writer, formats = importlib.import_module("ome_zarr.writer"), importlib.import_module("ome_zarr.format")
    writer.write_multiscales_metadata(group, datasets, fmt=formats.format_from_version(version), axes=axes)
    return pixels


@pytest.mark.parametrize("version", ["0.5", "0.4"])
class TestLevelsOfMasks:
    @pytest.mark.parametrize("dims", ["zyx", "yx"])
    def test_are_those_of_the_image_whoever_wrote_it(self, tmp_path, version, dims):
        volume_at(tmp_path / "a.zarr", version)
        mask = xr.DataArray(blobs((3, 9, 11), 5), dims=("z", "y", "x")).isel(z=slice(None) if "z" in dims else 1)
        mask.labels.to_ome_zarr(tmp_path / "a.zarr", "cells")
        for level, step in enumerate([1, 2, 4]):
            opened = xlabelstats.open_ome_zarr(tmp_path / "a.zarr", level)
            assert (opened.sizes["y"], opened.sizes["x"]) == [(9, 11), (4, 5), (2, 2)][level]
            every = mask.isel(y=slice(None, None, step), x=slice(None, None, step))
            expected = every.isel(y=slice(opened.sizes["y"]), x=slice(opened.sizes["x"]))
            np.testing.assert_array_equal(opened["cells"], expected)
            alone = zarr.open_group(tmp_path / "a.zarr/labels/cells", mode="r").attrs.asdict()
            dataset = alone.get("ome", alone)["multiscales"][0]["datasets"][level]
            assert dataset["coordinateTransformations"][0]["scale"][-2:] == [0.5 * step, 0.5 * step]
            assert dataset["coordinateTransformations"][1]["translation"][-2:] == [0, 0]  # that of the pixels kept

    def test_are_no_crops_where_an_image_says_the_same_scale_of_all(self, tmp_path, version):
        volume_at(tmp_path / "a.zarr", version)
        group = zarr.open_group(tmp_path / "a.zarr", mode="r+")
        said = group.attrs.asdict()
        for dataset in said.get("ome", said)["multiscales"][0]["datasets"]:
            dataset["coordinateTransformations"][0]["scale"] = [1, 1, 1]
        group.attrs.put(said)
        mask = xr.DataArray(blobs((9, 11), 5), dims=("y", "x"))
        mask.labels.to_ome_zarr(tmp_path / "a.zarr", "cells")
        below = zarr.open_group(tmp_path / "a.zarr/labels/cells", mode="r")
        np.testing.assert_array_equal(below["1"], mask[::2, ::2])

    def test_of_a_mask_of_another_size_have_every_second_pixel(self, tmp_path, version):
        volume_at(tmp_path / "a.zarr", version)
        mask = xr.DataArray(blobs((4, 5), 3), dims=("y", "x"), coords={"y": np.arange(4.0), "x": np.arange(5.0)})
        mask.labels.to_ome_zarr(tmp_path / "a.zarr", "cells")
        below = zarr.open_group(tmp_path / "a.zarr/labels/cells", mode="r")
        np.testing.assert_array_equal(below["1"], mask[::2, ::2])
