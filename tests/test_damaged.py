"""Stores with a chunk that cannot be read: the error names it, whichever call reads it, now or later."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numcodecs
import numpy as np
import pytest
import xarray as xr
import zarr
from calls import CALLS
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

pytestmark = pytest.mark.filterwarnings("ignore:.*objects reach beyond their window")

CODECS = {
    (3, "blosc"): BloscCodec(),
    (3, "zstd"): ZstdCodec(checksum=True),
    (3, "gzip"): GzipCodec(),
    (2, "blosc"): numcodecs.Blosc(),
    (2, "zstd"): numcodecs.Zstd(checksum=True),
    (2, "gzip"): numcodecs.GZip(),
}
LABELS = np.random.default_rng(0).integers(0, 9, (16, 16)).astype(np.int32)
PIXELS = xr.DataArray(np.random.default_rng(1).random((2, 16, 16)), dims=("c", "y", "x"))

Opener = Callable[[Path], xr.DataArray]
OPENERS: dict[str, Opener] = {
    "open_zarr": lambda path: xr.open_zarr(path, consolidated=False, mask_and_scale=False)["cells"],
    "from_zarr": lambda path: xr.DataArray(da.from_zarr(path / "cells"), dims=("y", "x")),
    "from_array": lambda path: xr.DataArray(da.from_array(zarr.open(path / "cells"), chunks=16), dims=("y", "x")),
    "open_dataset, no chunks": lambda path: xr.open_zarr(path, consolidated=False, mask_and_scale=False, chunks=None)[
        "cells"
    ],
}


def write(path: Path, kind: tuple[int, str] = (3, "zstd"), values: np.ndarray = LABELS, sharded: bool = False) -> Path:
    """A mask in chunks of 8 x 8, or in shards of 8 x 8 with chunks of 4 x 4."""
    layout: dict[str, Any] = {"chunks": (4, 4), "shards": (8, 8)} if sharded else {"chunks": (8, 8)}
    if kind[0] == 2:
        layout["attributes"] = {"_ARRAY_DIMENSIONS": ["y", "x"]}
    else:
        layout["dimension_names"] = ["y", "x"]
    group = zarr.open_group(path, mode="w", zarr_format=kind[0])
    array = group.create_array("cells", shape=(16, 16), dtype=values.dtype, compressors=CODECS[kind], **layout)
    array[:] = values
    return path / "cells" / ("1.0" if kind[0] == 2 else "c/1/0")


def damage(chunk: Path, how: str) -> None:
    """Cut a file of a store in two, or fill it with noise."""
    whole = chunk.read_bytes()
    noise = np.random.default_rng(2).integers(0, 256, len(whole), np.uint8).tobytes()
    chunk.write_bytes(whole[: len(whole) // 2] if how == "cut short" else noise)


def complaint(call: Callable[[], Any]) -> str:
    """What is said beside the error of the store."""
    with pytest.raises(Exception) as error:  # noqa: PT011 - of the codec, whatever that raises
        call().compute()
    (note,) = error.value.__notes__
    return note


@pytest.mark.parametrize("opener", OPENERS)
def test_every_call_names_the_chunk(opener: str, tmp_path: Path) -> None:
    damage(write(tmp_path), "cut short")
    for call in CALLS.values():
        for options in ({}, {"labels": [1, 2]}):
            if set(options) <= call.options:
                note = complaint(lambda c=call, o=options: c.run(PIXELS, OPENERS[opener](tmp_path), **o))
                # Some calls take it as another mask, too.
                which = re.match(r"raised in reading the (mask|other|parents): ", note)
                assert which
                assert note[which.end() :].startswith("chunk (1, 0), pixels [8:16, 0:8], of ")
                assert note.endswith(
                    f" cannot be read. Write that chunk anew, or choose pixels without it: {which[1]}.isel(...)"
                )
                assert str(tmp_path) in note or "'cells'" in note


@pytest.mark.parametrize("how", ["cut short", "noise"])
@pytest.mark.parametrize("kind", CODECS, ids=str)
def test_whatever_the_codec(kind: tuple[int, str], how: str, tmp_path: Path) -> None:
    damage(write(tmp_path, kind), how)
    mask = OPENERS["open_zarr"](tmp_path)
    for call in (mask.labels.ids, lambda: PIXELS.labels.mean(mask, labels=[1, 2])):
        assert "the mask: chunk (1, 0), pixels [8:16, 0:8], of " in complaint(call)


@pytest.mark.parametrize("how", ["cut short", "noise"])
def test_in_a_shard(how: str, tmp_path: Path) -> None:
    damage(write(tmp_path, sharded=True), how)
    mask = xr.DataArray(da.from_zarr(tmp_path / "cells", chunks=(16, 16)), dims=("y", "x"))
    assert "the mask: chunk (2, 0), pixels [8:12, 0:4], of " in complaint(mask.labels.ids)


def test_of_a_mask_that_was_sliced_and_cast(tmp_path: Path) -> None:
    damage(write(tmp_path), "noise")
    mask = OPENERS["open_zarr"](tmp_path)
    note = complaint(mask.isel(y=slice(2, None), x=slice(1, 7)).astype(np.uint16).T.labels.ids)
    assert "the mask: chunk (1, 0), pixels [8:16, 0:8], of " in note
    assert mask.isel(y=slice(8)).labels.ids().tolist() == np.unique(LABELS[:8])[1:].tolist()


@pytest.mark.parametrize("opener", ["open_zarr", "open_dataset, no chunks"])
def test_of_a_part_or_a_transpose_no_whole_chunk_is_blamed(opener: str, tmp_path: Path) -> None:
    damage(write(tmp_path), "noise")
    mask = OPENERS[opener](tmp_path)
    lazily = opener != "open_zarr"
    for part, known in (
        (mask.isel(y=slice(2, None)), not lazily),
        (mask.T, not lazily),
        (mask.T.chunk(16) if lazily else mask.T, not lazily),
    ):
        note = complaint(part.labels.ids)
        if known:
            assert "chunk (1, 0), pixels [8:16, 0:8]," in note
        else:
            assert "raised in reading the mask: pixels [" in note
            assert "Try again, or choose pixels without it" in note


def test_of_an_image_with_other_dims_in_front(tmp_path: Path) -> None:
    damage(write(tmp_path, values=LABELS * 0.5), "cut short")
    mask = xr.DataArray(LABELS.T.copy(), dims=("x", "y"))
    for opener in OPENERS:
        image = OPENERS[opener](tmp_path)
        assert "the image: chunk (1, 0), pixels [8:16, 0:8]," in complaint(lambda: image.labels.mean(mask))  # noqa: B023


class Broken:
    """An array that cannot be read, or only at the second time."""

    shape, dtype, ndim, chunks = (16, 16), np.dtype(np.int32), 2, (8, 8)

    def __init__(self, error: Exception, times: float = np.inf, chunks: Any = (8, 8)) -> None:
        self.error, self.left, self.chunks, self.read = error, times, chunks, 0

    def __getitem__(self, key: Any) -> np.ndarray:
        self.read += 1
        if self.left > 0:
            self.left -= 1
            raise self.error
        return LABELS[key]


def of(array: Broken) -> xr.DataArray:
    return xr.DataArray(da.from_array(array, chunks=16, name=False, meta=LABELS[:0, :0]), dims=("y", "x"))


def test_what_can_be_read_the_second_time_is_not_called_damaged() -> None:
    note = complaint(of(Broken(TimeoutError("timed out"), times=1)).labels.ids)
    assert note.endswith("cannot be read. Try again, or choose pixels without it: mask.isel(...)")


def test_too_little_memory_is_not_looked_into() -> None:
    array = Broken(MemoryError("no room"))
    with pytest.raises(MemoryError) as error:
        of(array).labels.ids()
    assert not hasattr(error.value, "__notes__")
    assert array.read == 1


@pytest.mark.parametrize("chunks", [((8, 8), (8, 8)), (0, 0), "auto"], ids=str)
def test_the_error_of_the_store_stays_whatever_its_chunks_are(chunks: Any) -> None:
    with pytest.raises(OSError, match="disk gone"):
        of(Broken(OSError("disk gone"), chunks=chunks)).labels.ids()


def test_of_a_bool_mask(tmp_path: Path) -> None:
    damage(write(tmp_path, values=LABELS > 4), "cut short")
    for opener in OPENERS:
        assert "the mask: chunk (1, 0)" in complaint(OPENERS[opener](tmp_path).labels.ids)


def test_of_an_image(tmp_path: Path) -> None:
    damage(write(tmp_path, values=LABELS * 0.5), "cut short")
    mask = xr.DataArray(LABELS, dims=("y", "x"))
    for opener in OPENERS:
        for call in CALLS.values():
            if call.image and 2 in call.ndim:
                note = complaint(lambda c=call, o=opener: c.run(OPENERS[o](tmp_path), mask))
                assert "the image: chunk (1, 0), pixels [8:16, 0:8], of " in note


def test_of_a_mask_damaged_after_it_was_scanned(tmp_path: Path) -> None:
    chunk = write(tmp_path)
    mask = OPENERS["open_zarr"](tmp_path)
    results = [PIXELS.labels.mean(mask), PIXELS.instances.windows(mask, 5), PIXELS.instances.median(mask)]
    damage(chunk, "noise")
    for result in results:
        assert "the mask: chunk (1, 0), pixels [8:16, 0:8], of " in complaint(lambda r=result: r)


def test_the_note_reaches_another_process(tmp_path: Path) -> None:
    damage(write(tmp_path), "noise")
    with pytest.raises(Exception) as error:  # noqa: PT011
        OPENERS["open_zarr"](tmp_path).labels.ids()
    assert pickle.loads(pickle.dumps(error.value)).__notes__ == error.value.__notes__


@pytest.mark.parametrize("opener", OPENERS)
def test_whole_stores_are_read_as_ever(opener: str, tmp_path: Path) -> None:
    write(tmp_path)
    expected = xr.DataArray(LABELS, dims=("y", "x"))
    mask = OPENERS[opener](tmp_path)
    before = dict(mask.data.dask) if mask.chunks else None
    for name in ("labels.aggregate", "instances.windows(mask)", "instances.quantiles", "labels.paint"):
        found = CALLS[name].run(PIXELS, mask).compute()
        xr.testing.assert_allclose(
            found.sortby("label") if "label" in found.dims else found, CALLS[name].run(PIXELS, expected)
        )
    assert before is None or dict(mask.data.dask) == before


def test_what_was_damaged_and_is_mended_is_read_anew(tmp_path: Path) -> None:
    chunk = write(tmp_path)
    whole = chunk.read_bytes()
    mask = OPENERS["open_zarr"](tmp_path)
    damage(chunk, "noise")
    complaint(mask.labels.ids)
    chunk.write_bytes(whole)
    with dask.config.set(scheduler="synchronous"):
        assert mask.labels.ids().tolist() == np.unique(LABELS)[1:].tolist()
