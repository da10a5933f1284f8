"""Writers that are killed at any moment: what opens is whole."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import Calls, blobs
from processes import processes

import xlabelstats
from xlabelstats.compat.harpy import Featurizer
from xlabelstats.pipeline import Cache

pytest.importorskip("ome_zarr")
pytest.importorskip("pyarrow")

# Names of channels are strings, which zarr warns are not in its specification yet.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(does not have a Zarr V3|not part in the Zarr format 3) specification"
)

KILLS = 15

# What Python tells of, before it does it, of all that changes a folder.
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link")


@cache
def field() -> tuple[xr.DataArray, xr.DataArray]:
    mask = xr.DataArray(blobs((60, 80), 40), dims=("y", "x"))
    pixels = np.random.default_rng(0).random((3, 60, 80))
    image = xr.DataArray(pixels, dims=("c", "y", "x"), coords={"c": ["DAPI", "CD3", "CD8"]})
    return image.chunk(c=2, y=30, x=40), mask.chunk(y=30, x=40)


def features_of(batch: np.ndarray) -> np.ndarray:
    return batch.reshape(len(batch), -1)[:, :5]


def result_of(kind: str) -> Any:
    """A lazy result of several arrays and chunks, without NaN."""
    image, mask = field()
    if kind == "windows":
        return image.instances.windows(mask, {"y": 40, "x": 50}, batch_size=8)
    if kind == "features":
        found = image.instances.featurize(
            mask, features_of, size={"y": 40, "x": 50}, n_features=5, batch_size=4, dtype=float
        )
        return found.assign_coords(size=mask.labels.count())
    return image.labels.aggregate(mask, ("count", "sum", "mean", "min", "max"))


KINDS = ("windows", "features", "statistics")


@cache
def values_of(kind: str) -> dict[str, np.ndarray]:
    result = result_of(kind)
    result = result.to_dataset(name="values") if isinstance(result, xr.DataArray) else result
    return {name: np.asarray(each) for name, each in result.compute().data_vars.items()}


def found_at(path: Path, kind: str) -> str | int:
    """Which version of a result is whole in a store: "nothing", or what was added to it; an error if it is neither."""
    if not path.exists():
        return "nothing"
    stored = xr.open_dataset(path, engine="zarr", consolidated=False)
    added: set[Any] = set()
    for name, values in values_of(kind).items():
        stored_as = name if name in stored else next(iter(stored.data_vars))
        added |= set(np.unique(np.round(stored[stored_as].values - values, 6)).tolist())
    stored.close()
    assert len(added) == 1, f"{path} opens, and is neither old nor new: {sorted(added)[:5]}"
    return int(added.pop())


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def stage_of(folder: Path) -> str:
    """Where a writer was when it was killed, by what it left."""
    left = hidden(folder)
    if any(name.endswith(".replaced") for name in left):
        return "while an old store was replaced"
    return "while one was written or removed" if left else "between two"


def write_on_and_on(folder: str, ready: Any) -> None:
    """Write all kinds of results, anew and over older ones, version after version."""
    results = {kind: result_of(kind) for kind in KINDS}
    values_of("windows")
    ready.send("ready")
    for version in range(1, 1000):
        for kind, result in results.items():
            xlabelstats.to_zarr(result + version, f"{folder}/{kind}.zarr", overwrite=True)
            xlabelstats.to_zarr(result + version, f"{folder}/{kind}-{os.getpid()}-{version}.zarr")


def start(function: Callable[..., None], *arguments: Any) -> Any:
    """Run a function in a process, and wait until it is ready."""
    receiver, sender = processes().Pipe(duplex=False)
    run = processes().Process(target=function, args=(*arguments, sender))
    run.start()
    sender.close()
    assert receiver.recv() == "ready"
    receiver.close()
    return run


def test_a_writer_killed_at_any_time_leaves_whole_stores_alone(tmp_path):
    stages: Counter[str] = Counter()
    for moment in np.random.default_rng(0).uniform(0, 0.7, KILLS):
        run = start(write_on_and_on, str(tmp_path))
        time.sleep(moment)
        run.kill()
        run.join()
        assert run.exitcode == -signal.SIGKILL
        stages[stage_of(tmp_path)] += 1
        for kind in KINDS:
            assert found_at(tmp_path / f"{kind}.zarr", kind) in ("nothing", *range(1000))
            for path in tmp_path.glob(f"{kind}-*.zarr"):
                assert found_at(path, kind) == int(path.stem.rsplit("-", 1)[1])
                shutil.rmtree(path)
        for kind in KINDS:
            xlabelstats.to_zarr(result_of(kind), tmp_path / f"{kind}.zarr", overwrite=True)
            assert found_at(tmp_path / f"{kind}.zarr", kind) == 0
        for name in hidden(tmp_path):
            target, kind = tmp_path / name[1:].partition(".zarr.")[0], name[1:].partition("-")[0]
            xlabelstats.to_zarr(result_of(kind), target.with_suffix(".zarr"))
            shutil.rmtree(target.with_suffix(".zarr"))
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{kind}.zarr" for kind in KINDS)
    print(f"\n{KILLS} kills at random times:", dict(stages))
    assert stages["while one was written or removed"]


def at_every_change(call: Callable[[], Any], at: int, sender: Any) -> None:
    """Kill this process before the change number ``at`` that it makes to the disk; say what the changes are."""
    changes: list[str] = []

    def before(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in CHANGES:
            changes.append(f"{event} {' '.join(map(str, arguments[:2]))}")
            if len(changes) == at:
                os.kill(os.getpid(), signal.SIGKILL)

    with dask.config.set(scheduler="synchronous"):
        sys.addaudithook(before)
        call()
        count = len(changes)
    sender.send(changes[:count])


def killed(call: Callable[[], Any], at: int = 0) -> list[str]:
    """Run a call in a process that is killed at a change, or, if there are not so many, say what these were."""
    receiver, sender = processes().Pipe(duplex=False)
    run = processes().Process(target=at_every_change, args=(call, at, sender))
    run.start()
    sender.close()
    run.join()
    assert run.exitcode == (-signal.SIGKILL if at else 0)
    found = [] if at else receiver.recv()
    receiver.close()
    return found


def write(folder: Path, kind: str, version: int, overwrite: bool) -> None:
    xlabelstats.to_zarr(result_of(kind) + version, folder / f"{kind}.zarr", overwrite=overwrite)


@pytest.mark.parametrize(("kind", "overwrite"), [("windows", False), ("features", True)])
def test_a_writer_killed_before_any_change_to_the_disk_leaves_a_whole_store_or_none(tmp_path, kind, overwrite):
    (tmp_path / "before").mkdir()
    if overwrite:
        write(tmp_path / "before", kind, 0, False)

    def copied(folder: Path, name: str) -> Path:
        return shutil.copytree(folder, tmp_path / name)

    changes = killed(partial(write, copied(tmp_path / "before", "undisturbed"), kind, 1, overwrite))
    last = len(changes)
    in_place = next((i for i, each in enumerate(changes) if each.startswith("os.rename") and is_whole(each)), last)
    rng = np.random.default_rng(0)
    narrow = range(min(in_place, last - 1), min(in_place + 5, last))
    moments = {*rng.integers(0, in_place, 5), *narrow, *(rng.integers(in_place, last, 3) if overwrite else ())}
    seen: Counter[str] = Counter()
    for at in sorted(int(moment) + 1 for moment in moments):
        folder = copied(tmp_path / "before", f"{at}")
        killed(partial(write, folder, kind, 1, overwrite), at)
        found = found_at(folder / f"{kind}.zarr", kind)
        assert found in ("nothing", 1, 0 if overwrite else 1)
        stage = "writing" if at <= in_place else "putting in place" if at <= in_place + 3 else "removing the old store"
        seen[f"{stage}: {found}"] += 1
        # Someone who removes what is there gets what was there before at most, and that whole.
        other = copied(folder, f"{at}-removed")
        shutil.rmtree(other / f"{kind}.zarr", ignore_errors=True)
        with contextlib.suppress(FileExistsError):
            write(other, kind, 2, False)
        assert found_at(other / f"{kind}.zarr", kind) in (2, 0 if overwrite else 2)
        write(folder, kind, 3, True)
        assert found_at(folder / f"{kind}.zarr", kind) == 3
        assert hidden(folder) == hidden(other) == []
    print(f"\n{kind}, {seen.total()} kills between {last} changes to the disk:", dict(seen))


def cut(folder: Path, version: int) -> None:
    """Write windows as the drop-in class does."""
    image, mask = (da.asarray(each.data).reshape(-1, 1, 60, 80).rechunk((3, 1, 30, 40)) for each in field())
    featurizer = Featurizer(mask[0] + version * (mask[0] > 0), image + version, run_on_gpu=False)
    featurizer.extract_instances(20, None, extract_mask=True, zarr_output_path=folder, overwrite=True)


def test_drop_in_classes_killed_before_any_change_to_the_disk_leave_each_array_whole_or_none(tmp_path):
    versions = [tmp_path / "0", tmp_path / "1"]
    for version, folder in enumerate(versions):
        cut(folder, version)
    changes = killed(partial(cut, shutil.copytree(versions[0], tmp_path / "undisturbed"), 1))
    in_place = next((i for i, each in enumerate(changes) if each.startswith("os.rename") and is_whole(each)), 0)
    moments = {*np.random.default_rng(0).integers(0, len(changes), 3), *range(in_place, in_place + 5)}
    seen: Counter[str] = Counter()
    for at in sorted(int(moment) + 1 for moment in moments if moment < len(changes)):
        folder = shutil.copytree(versions[0], tmp_path / f"killed-{at}")
        killed(partial(cut, folder, 1), at)
        for name in ("image.zarr", "mask.zarr"):
            found = da.from_zarr(folder / name).compute() if (folder / name).exists() else None
            same = [np.array_equal(found, da.from_zarr(each / name).compute()) for each in versions]
            assert found is None or any(same)
            seen[f"{name}: {'nothing' if found is None else same.index(True)}"] += 1
        cut(folder, 1)
        assert sorted(path.name for path in folder.iterdir()) == ["image.zarr", "mask.zarr"]
    print(f"\ndrop-in classes, killed between {len(changes)} changes to the disk:", dict(seen))


def is_whole(change: str) -> bool:
    """Whether a change is the renaming of a store, and not of a part."""
    return ".zarr/" not in change and ".partial/" not in change


COMPUTED = Calls()


def an_image(n: int) -> xr.DataArray:
    COMPUTED.append("image")
    pixels = da.arange(n * n, chunks=n).reshape(n, n).rechunk(n // 2)
    return xr.DataArray(pixels, {"y": np.arange(n) / 2, "x": np.arange(n) / 2}, name="pixels")


def a_dataset(n: int) -> xr.Dataset:
    COMPUTED.append("dataset")
    image = xr.DataArray(da.arange(n, chunks=2), dims="label", coords={"label": np.arange(n)})
    return xr.Dataset({"count": image, "mean": image / 2, "name": ("label", [f"cell {i}" for i in range(n)])})


def a_table(n: int) -> pd.DataFrame:
    COMPUTED.append("table")
    return pd.DataFrame({"id": np.arange(n), "cells": np.arange(n) / 2})


STEPS: dict[str, Callable[[int], Any]] = {"image": an_image, "dataset": a_dataset, "table": a_table}


def run_step(folder: Path, kind: str, **settings: Any) -> Any:
    return Cache(folder).run("step", STEPS[kind], 8, **settings)


def clear_step(folder: Path, kind: str) -> None:
    Cache(folder).clear("step")


@pytest.mark.parametrize(
    ("kind", "before", "call"),
    [
        ("image", False, partial(run_step, multiscale=2)),
        ("dataset", False, run_step),
        ("table", False, run_step),
        ("image", True, partial(run_step, chunks=3)),
        ("dataset", True, clear_step),
    ],
)
def test_a_step_killed_before_any_change_to_the_disk_is_whole_or_computed_again(tmp_path, kind, before, call):
    (tmp_path / "before").mkdir()
    expected, again = STEPS[kind](8), run_step if call is clear_step else call
    if before:
        run_step(tmp_path / "before", kind)

    def copied(name: str) -> Path:
        return shutil.copytree(tmp_path / "before", tmp_path / name)

    count = len(killed(partial(call, copied("undisturbed"), kind)))
    moments = {*np.random.default_rng(0).integers(0, count, 3), *range(count - 7, count)}
    seen: Counter[str] = Counter()
    for at in sorted(int(moment) + 1 for moment in moments):
        folder = copied(f"{at}")
        killed(partial(call, folder, kind), at)
        state = "".join(Cache(folder).status()["state"])
        seen[state or "nothing"] += 1
        COMPUTED.clear()
        assert again(folder, kind).equals(expected)
        assert len(COMPUTED) == (state != "whole")
        (entry,) = (path for path in (folder / "step").iterdir() if path.is_dir())
        kept = [path for path in entry.iterdir() if path.is_dir()]
        assert len(kept) == (2 if before and call is again else 1)
        assert hidden(folder / "step") == [".last.json"]
    print(f"\n{kind}, {seen.total()} kills between {count} changes to the disk:", dict(seen))
