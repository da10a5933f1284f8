"""Disks that are full: the error says so, and what was there stays as it was."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import blobs
from processes import printed
from zarr.storage import LocalStore

import xlabelstats
from xlabelstats.compat.harpy import Featurizer
from xlabelstats.pipeline import Cache
from xlabelstats.pipeline.cache import entries

pytest.importorskip("ome_zarr")
pytest.importorskip("pyarrow")

LARGE = xr.DataArray(da.random.default_rng(0).random((16, 4000), chunks=(1, 4000)), dims=("label", "x"), name="w")

ROOM = r"there is no room for the result \(500\.00 kiB before compression; .* are free\): "


@contextlib.contextmanager
def full_after(writes: int) -> Iterator[None]:
    """A disk that is full after this many files."""
    left = [writes]
    put = LocalStore.set

    async def write_while_there_is_room(self: LocalStore, *content: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            # Files that are written at the same time end first.
            await asyncio.sleep(0.1)
            raise OSError(errno.ENOSPC, "No space left on device")
        await put(self, *content)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(LocalStore, "set", write_while_there_is_room)
        yield


@pytest.mark.parametrize("writes", [0, 1, 2, 9])
@pytest.mark.parametrize("old", [False, True])
def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path, writes, old):
    path = tmp_path / "new" / "a.zarr"
    if old:
        xlabelstats.to_zarr(LARGE[:2] + 1, path)
    kept = "nothing of it is kept, and what was there is as it was; " if old else "nothing of it is kept; "
    with (
        dask.config.set(scheduler="synchronous"),
        full_after(writes),
        pytest.raises(
            OSError, match=ROOM + f"the disk is full; {kept}free some space, or write to another disk"
        ) as told,
    ):
        xlabelstats.to_zarr(LARGE, path, overwrite=old)
    assert told.value.errno == errno.ENOSPC
    assert told.value.filename == str(path)
    if old:
        xr.testing.assert_equal(
            xr.open_dataarray(path, engine="zarr", consolidated=False).compute(), (LARGE[:2] + 1).compute()
        )
        assert [each.name for each in path.parent.iterdir()] == ["a.zarr"]
    else:
        assert not list(tmp_path.iterdir())
    xr.testing.assert_equal(xlabelstats.to_zarr(LARGE, path, overwrite=True).compute(), LARGE.compute())


@pytest.mark.parametrize("step", [".partial", "a.zarr"])
def test_a_disk_with_no_room_for_a_name_is_told_and_leaves_what_was_there(tmp_path, step, monkeypatch):
    path = tmp_path / "a.zarr"
    xlabelstats.to_zarr(LARGE[:2], path)
    rename = Path.rename

    def full(self, target):
        if self.name.endswith(step):
            raise OSError(errno.ENOSPC, "No space left on device", str(self), None, str(target))
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", full)
        with pytest.raises(OSError, match=ROOM):
            xlabelstats.to_zarr(LARGE, path, overwrite=True)
    assert xr.open_dataarray(path, engine="zarr", consolidated=False).sizes["label"] == 2
    assert [each.name for each in tmp_path.iterdir()] == ["a.zarr"]


@pytest.mark.parametrize("intermediate", [False, True])
def test_a_full_disk_is_told_by_the_drop_in_classes(tmp_path, intermediate):
    mask = da.from_array(blobs((60, 80), 40)[None], chunks=(1, 30, 40))
    image = da.random.default_rng(0).random((3, 1, 60, 80), chunks=(3, 1, 30, 40))
    path = tmp_path / "features.zarr"
    options = {"diameter": 20, "embedding_dimension": 5, "zarr_output_path": path, "store_intermediate": intermediate}

    def model(batch: np.ndarray, embedding_dimension: int) -> np.ndarray:
        return batch.reshape(len(batch), -1)[:, :embedding_dimension]

    featurizer = Featurizer(mask, image, run_on_gpu=False)
    with full_after(1), pytest.raises(OSError, match="there is no room for the result") as told:
        featurizer.featurize(model=model, **options)
    assert told.value.filename == str(path)
    with full_after(3), pytest.raises(OSError, match="there is no room for the result") as told:
        featurizer.extract_instances(20, None, extract_mask=True, zarr_output_path=tmp_path)
    assert told.value.filename == str(tmp_path)
    assert not path.exists()
    featurizer.featurize(model=model, **options)
    assert [each.name for each in tmp_path.iterdir()] == ["features.zarr"]


SMALL_FILES = """
    import resource, sys
    import dask.array as da, numpy as np, pandas as pd, xarray as xr
    import xlabelstats
    from xlabelstats.pipeline import Cache

    def table(n):
        return pd.DataFrame({"x": np.random.default_rng(0).random(n)})
    chunks = xr.DataArray(da.random.random((16, 4000), chunks=(1, 4000)), dims=("label", "x"), name="w")
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    for call in (
        lambda: xlabelstats.to_zarr(chunks, sys.argv[1] + "/a.zarr"),
        lambda: Cache(sys.argv[1] + "/cache").run("table", table, 5000),
    ):
        try:
            call()
        except OSError as error:
            print(error)
"""


def test_files_larger_than_allowed_are_told(tmp_path):
    store, table = printed(SMALL_FILES, str(tmp_path)).splitlines()
    assert "a file would be larger than the system allows; nothing of it is kept; make chunks smaller" in store
    assert "there is no room for the result of 'table'" in table
    assert [each.name for each in tmp_path.iterdir()] == ["cache"]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


SMALL_DISK = """
    import errno, json, sys
    from pathlib import Path
    import numpy as np, dask.array as da, pandas as pd, xarray as xr
    import xlabelstats
    from xlabelstats.pipeline import Cache

    folder = Path(sys.argv[1])
    def random(shape):
        return np.random.default_rng(0).random(shape)
    def image(n):
        return xr.DataArray(da.from_array(random((n, n)), chunks=n // 4), dims=("y", "x"))
    def dataset(n):
        return xr.Dataset({"a": ("label", random(n)), "b": ("label", random(n))}).chunk(label=n // 3)
    def table(n):
        return pd.DataFrame({"x": random(n)})
    def number(n):
        return n
    def told(call):
        try:
            call()
        except OSError as error:
            return error.errno == errno.ENOSPC, str(error)
        return False, "no error"

    old = xr.DataArray(da.arange(100, chunks=10), dims="label", name="a")
    xlabelstats.to_zarr(old, folder / "old.zarr")
    cache = Cache(folder / "cache")
    before = {step.__name__: cache.run(step.__name__, step, 6) for step in (image, dataset, table, number)}
    said = {
        "store": told(lambda: xlabelstats.to_zarr(image(600), folder / "a.zarr")),
        "old store": told(lambda: xlabelstats.to_zarr(image(600), folder / "old.zarr", overwrite=True)),
        "image": told(lambda: cache.run("image", image, 600)),
        "image of levels": told(lambda: cache.run("image", image, 480, multiscale=4)),
        "dataset": told(lambda: cache.run("dataset", dataset, 300_000)),
        "table": told(lambda: cache.run("table", table, 300_000)),
    }
    with open(folder / "filler", "wb", buffering=0) as filler:
        for size in (4096, 1):
            try:
                while filler.write(bytes(size)):
                    pass
            except OSError:
                pass
    said["marker"] = told(lambda: cache.run("number", number, 7))
    (folder / "filler").unlink()
    kept = xr.open_dataarray(folder / "old.zarr", engine="zarr", consolidated=False)
    xr.testing.assert_identical(kept.compute(), old.compute())
    assert cache.run("image", image, 6).equals(before["image"])
    assert cache.run("table", table, 6).equals(before["table"])
    left = sorted(each.name for each in folder.iterdir())
    states = cache.status()["state"].tolist()
    attempts = len(list(folder.glob("cache/*/*/*/")))
    cache.run("number", number, 7)
    print(json.dumps({"said": said, "left": left, "states": states, "attempts": attempts}))
"""


def test_a_disk_that_is_really_full_is_told_and_nothing_is_left(tmp_path):
    mount = f'mount -t tmpfs -o size=1m none {tmp_path} && exec {sys.executable} -c "$PROGRAM" {tmp_path}'
    asked = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*asked, f"mount -t tmpfs none {tmp_path}"]).returncode:
        pytest.skip("this user may not mount a small disk")
    program = os.environ | {"PROGRAM": textwrap.dedent(SMALL_DISK)}
    run = subprocess.run([*asked, mount], env=program, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    for what, (full, message) in found["said"].items():
        print(what, message, sep=": ")
        assert full, f"{what}: {message}"
        assert "there is no room for the result" in message
        assert "the disk is full" in message
    assert found["left"] == ["cache", "old.zarr"]
    assert found["states"].count("whole") == found["attempts"] == 4


def test_a_note_that_finds_no_room_is_told_and_the_result_is_kept(tmp_path, monkeypatch):
    def full(path, content, write=entries.write_durably):
        if "last" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(entries, "write_durably", full)
        with pytest.raises(OSError, match=r"no room for a note beside the result of 'step'.*; the result is kept"):
            Cache(tmp_path).run("step", table_of, 8)
    assert Cache(tmp_path).status()["state"].tolist() == ["whole"]
    assert Cache(tmp_path).run("step", table_of, 8).equals(table_of(8))
    assert [path.name for path in (tmp_path / "step").iterdir() if path.is_file()] == [".last.json"]


def table_of(n: int) -> pd.DataFrame:
    return pd.DataFrame({"cells": np.arange(n)})


def test_a_write_that_fails_has_no_tasks_that_go_on_writing(tmp_path):
    def slow_or_broken(block, block_info=None):
        if block_info[0]["chunk-location"] == (0,):
            raise ValueError("broken")
        time.sleep(0.2)
        return block

    data = da.ones(4, chunks=1).map_blocks(slow_or_broken, dtype=float, meta=np.empty(0))
    writes = {
        "store": lambda: xlabelstats.to_zarr(xr.DataArray(data, dims="label", name="w"), tmp_path / "a.zarr"),
        "cache": lambda: Cache(tmp_path / "cache").run("step", lambda n: data + n, 1),
    }
    for write_it in writes.values():
        with dask.config.set(scheduler="threads", num_workers=4), pytest.raises(ValueError, match="broken"):
            write_it()
    time.sleep(0.5)
    assert [path for path in tmp_path.rglob("*") if "cache" not in path.parts or path.is_file()] == []
