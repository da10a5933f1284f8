"""Functions of the user that compare channels, or take them for something else, against numpy on the whole array."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import xarray as xr
from conftest import blobs


def shares(pixels: np.ndarray) -> np.ndarray:
    return pixels.mean(axis=1) / pixels.mean(axis=1).sum()


class TestFunctionThatComparesChannels:
    CHUNKS: ClassVar = (None, {"c": 1}, {"t": 1, "c": 2}, {"t": 1, "c": (1, 2), "y": 7, "x": 9})

    @pytest.fixture
    def labels(self):
        return blobs((20, 24), 10)

    @pytest.fixture
    def image(self, labels):
        pixels = np.random.default_rng(0).gamma(2, 400, (2, 3, *labels.shape)).astype(np.uint16)
        return xr.DataArray(pixels, dims=("t", "c", "y", "x"))

    @pytest.fixture(params=CHUNKS, ids=str)
    def chunked(self, request, image):
        return image if request.param is None else image.chunk(request.param)

    @pytest.mark.parametrize("size", [None, 50])
    def test_is_numpys_for_all_chunks(self, chunked, image, labels, size):
        result = chunked.instances.statistics(xr.DataArray(labels, dims=("y", "x")), shares, size=size, dtype="f8")
        assert result.dims == ("label", "t", "c")
        for row, label in zip(result.values, result["label"].values, strict=True):
            expected = shares(image.values.reshape(6, 20, 24)[:, labels == label])
            np.testing.assert_allclose(row, expected.reshape(2, 3), rtol=1e-15)

    def test_is_numpys_at_every_position(self, chunked, image, labels):
        masks = xr.DataArray(np.stack([labels, labels[::-1]]), dims=("t", "y", "x"))
        result = chunked.instances.statistics(masks, shares, dtype="f8", per="t").compute()
        for row, t, label in zip(result.values, result["t"].values, result["label"].values, strict=True):
            expected = shares(image.values[t][:, masks.values[t] == label])
            np.testing.assert_allclose(row, expected, rtol=1e-15)

    def test_of_a_dataset_is_that_of_its_images(self, chunked, image, labels):
        mask = xr.DataArray(labels, dims=("y", "x"))
        found = xr.Dataset({"cells": mask, "stain": chunked}).instances.statistics("cells", shares)
        np.testing.assert_array_equal(found["statistics_stain"], image.instances.statistics(mask, shares))

    @pytest.mark.parametrize("kept", [0, 2**28], ids=["read again", "kept"])
    def test_of_a_stored_image_is_numpys(self, image, labels, kept, tmp_path, monkeypatch):
        monkeypatch.setattr("xlabelstats.engine.region_pixels.KEPT_BYTES", kept)
        image.rename("stain").chunk(t=1, c=1, y=10, x=12).to_zarr(tmp_path / "image", consolidated=False)
        mask = xr.DataArray(labels, dims=("y", "x"))
        expected = image.instances.statistics(mask, shares)
        for chunks in ({}, None):
            stored = xr.open_zarr(tmp_path / "image", chunks=chunks, consolidated=False)["stain"]
            xr.testing.assert_equal(stored.instances.statistics(mask, shares).compute(), expected)

    def test_only_the_blocks_that_objects_need_are_read(self, image):
        read = []

        def note(block, block_info=None):
            read.append(tuple(block_info[0]["chunk-location"]))
            return block

        corner = xr.DataArray(np.zeros((20, 24), int), dims=("y", "x"))
        corner[2:5, 3:9] = 7
        chunked = image.chunk(t=1, c=1, y=10, x=12)
        noted = chunked.copy(data=chunked.data.map_blocks(note, meta=np.empty((0,) * 4, image.dtype)))
        noted.instances.statistics(corner, shares).compute(scheduler="synchronous")
        assert sorted(read) == [(t, c, 0, 0) for t in range(2) for c in range(3)]

    def test_another_plane_is_warned_of_once(self, chunked, labels):
        mask = xr.DataArray(labels, dims=("y", "x"), coords={"z": 2.0})
        with pytest.warns(UserWarning, match="different z") as told:
            chunked.assign_coords(z=1.0).instances.statistics(mask, shares)
        assert len(told) == 1

    def test_chunks_of_unknown_sizes_are_complained_about(self, image, labels):
        mask = xr.DataArray(labels, dims=("y", "x"))
        unknown = image.chunk(c=1).copy()
        unknown.data._chunks = ((np.nan,) * 2, *unknown.data.chunks[1:])
        with pytest.raises(ValueError, match="unknown sizes; compute them first"):
            unknown.instances.statistics(mask, shares)


class TestChannelsAndNumbersSwapped:
    """As many numbers as channels have the shape that was declared, whichever are the rows."""

    SWAPPED: ClassVar[dict[str, Any]] = {
        "a tuple": lambda p: (p.mean(axis=1), p.std(axis=1)),
        "quantiles": lambda p: np.quantile(p, [0.1, 0.9], axis=1),
        "compared with the second": lambda p: np.stack([(p - p[1]).mean(axis=1), p.std(axis=1)]),
    }
    RIGHT: ClassVar[dict[str, Any]] = {
        "stacked": lambda p: np.stack([p.mean(axis=1), p.std(axis=1)], axis=1),
        "quantiles": lambda p: np.quantile(p, [0.1, 0.9], axis=1).T,
        "channels with channels": np.corrcoef,
        "channels by their number": lambda p: np.stack([p[0] - p[1], p[1]])[:, :2],
        "written to": lambda p: p.sort(axis=1) or p[:, [0, -1]],
        "no other number of channels": lambda p: p[:, [0, -1]].reshape(2, 2),
    }

    @pytest.fixture
    def mask(self):
        return xr.DataArray([[4, 4, 4, 0, 0, 8, 8, 8], [4, 0, 0, 0, 0, 8, 8, 0]], dims=("y", "x"))

    @pytest.fixture(params=[None, {"x": 4, "c": 1}], ids=str)
    def image(self, request):
        image = xr.DataArray(np.random.default_rng(0).random((2, 2, 8)), dims=("c", "y", "x"))
        return image if request.param is None else image.chunk(request.param)

    @pytest.mark.parametrize("fn", SWAPPED.values(), ids=SWAPPED)
    @pytest.mark.parametrize("size", [None, 5])
    def test_is_an_error(self, image, mask, fn, size):
        message = r"fn has channels and numbers swapped: .* label [48] .*\(2, 3\), not \(3, 2\)\. .*\.T .*axis=1\)$"
        with pytest.raises(ValueError, match=message):
            image.instances.statistics(mask, fn, dims={"s": 2}, size=size).compute()

    @pytest.mark.parametrize("fn", SWAPPED.values(), ids=SWAPPED)
    def test_of_another_number_of_channels_is_told_the_same(self, image, mask, fn):
        three = image.isel(c=[0, 1, 0])
        with pytest.raises(ValueError, match=r"\(2, 3\) .* dims declares \(3, 2\): .*\. Return .*\.T .*axis=1\)$"):
            three.instances.statistics(mask, fn, dims={"s": 2}).compute()

    @pytest.mark.parametrize("fn", RIGHT.values(), ids=RIGHT)
    def test_a_right_function_is_numpys(self, image, mask, fn):
        result = image.instances.statistics(mask, fn, dims={"s": 2}, dtype="f8").compute()
        for row, label in zip(result.values, result["label"].values, strict=True):
            np.testing.assert_allclose(row, fn(image.values[:, mask.values == label]), rtol=1e-15)

    def test_is_looked_for_with_one_channel_more_of_one_object_with_pixels(self):
        seen = []

        def ends(pixels):
            seen.append(pixels.shape)
            return pixels[:, [0, -1]]

        mask = xr.DataArray([1, 2, 0, 0, 0, 2, 1, 3, 3, 4, 4], dims="x")
        with pytest.warns(UserWarning, match="reach beyond"):
            xr.concat([mask, mask], "c").instances.statistics(mask, ends, dims={"s": 2}, size=3)
        assert seen == [(2, 2), (3, 2), (2, 2)]
        seen.clear()
        xr.concat([mask, mask, mask], "c").instances.statistics(mask, ends, dims={"s": 2})
        mask.instances.statistics(mask, ends, dims={"s": 2})
        assert [channels for channels, _ in seen] == [3] * 4 + [1] * 4
