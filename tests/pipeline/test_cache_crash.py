"""Runs that are killed, and runs at the same time, on one cache."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from processes import processes

from xlabelstats.pipeline.cache import Cache, entries

pytest.importorskip("ome_zarr")
pytest.importorskip("pyarrow")

LOG = ""

STEPS = ("smooth", "binary", "rows", "total")

KILLS = 10


def note(step):
    """Write down that a step is computed."""
    with open(LOG, "a") as file:
        file.write(step + "\n")


def slow(block):
    time.sleep(0.02)
    return block


def smooth(image):
    note("smooth")
    return (image + 1).map_blocks(slow, dtype=image.dtype, meta=image._meta)


def binary(image, above):
    note("binary")
    return (image > above).map_blocks(slow, dtype=bool, meta=np.empty((0, 0), bool)).astype("uint8")


def rows(binary):
    note("rows")
    time.sleep(0.1)
    return pd.DataFrame({"row": np.arange(len(binary)), "cells": binary.sum(axis=1).compute()})


def total(table):
    note("total")
    time.sleep(0.1)
    return {"cells": int(table["cells"].sum())}


def chain(folder, log, output, ready):
    """Steps that are slow enough to be killed in, each of which writes down that it ran."""
    global LOG
    LOG = log
    ready.send("ready")
    with dask.config.set(scheduler="threads", num_workers=2):
        cache = Cache(folder)
        image = da.arange(3600, chunks=900, dtype="i8").reshape(60, 60).rechunk(20)
        mask = cache.run("binary", binary, cache.run("smooth", smooth, image, multiscale=2), above=1000)
        table = cache.run("rows", rows, mask)
        cells = cache.run("total", total, table)
    Path(output).write_text(f"{table.to_csv()} {cells}")


def start(folder: Path, log: Path, output: Path):
    """Run the chain in a process, and wait until it has begun."""
    receiver, sender = processes().Pipe(duplex=False)
    run = processes().Process(target=chain, args=(str(folder), str(log), str(output), sender))
    run.start()
    sender.close()
    assert receiver.recv() == "ready"
    receiver.close()
    return run


def whole_steps(folder: Path) -> set[str]:
    return {path.relative_to(folder).parts[0] for path in folder.glob("*/*/*/step.json")}


def lines(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


def attempts(entry: Path) -> list[str]:
    return [path.name for path in entry.iterdir() if path.is_dir()]


def test_a_run_killed_at_any_moment_goes_on_where_it_was(tmp_path):
    run = start(tmp_path / "undisturbed", tmp_path / "undisturbed.log", tmp_path / "expected")
    run.join()
    folder, log, output = (tmp_path / name for name in ("killed", "log", "output"))
    kills, rng = 0, np.random.default_rng(0)
    while kills < KILLS:
        before, done = lines(log), whole_steps(folder)
        run = start(folder, log, output)
        time.sleep(rng.uniform(0, 0.4))
        run.kill()
        run.join()
        kills += run.exitcode == -signal.SIGKILL
        assert not done & set(lines(log)[len(before) :]), "a step that was whole was computed again"
        if whole_steps(folder) == set(STEPS):
            # Of the table "rows", computed anew, the content is the same, so that "total" stays.
            for name in ("binary", "rows"):
                Cache(folder).clear(name)
    for _ in range(2):
        before = lines(log)
        done = whole_steps(folder)
        output.unlink(missing_ok=True)
        run = start(folder, log, output)
        run.join()
        assert output.read_text() == (tmp_path / "expected").read_text()
        assert set(lines(log)[len(before) :]) == set(STEPS) - done
    assert Cache(folder).status()["state"].tolist() == ["whole"] * 4
    assert [len(attempts(entry)) for entry in folder.glob("[a-z]*/*/")] == [1] * 4


def test_processes_at_once_compute_every_step_once_and_keep_one_result(tmp_path):
    folder, log = tmp_path / "both", tmp_path / "log"
    runs = [start(folder, log, tmp_path / f"output{i}") for i in range(3)]
    for run in runs:
        run.join()
    assert len({(tmp_path / f"output{i}").read_text() for i in range(3)}) == 1
    before = lines(log)
    start(folder, log, tmp_path / "again").join()
    assert (tmp_path / "again").read_text() == (tmp_path / "output0").read_text()
    assert lines(log) == before
    assert sorted(before) == sorted(STEPS), "a process did not take the result of another"
    assert [len(attempts(entry)) for entry in folder.glob("[a-z]*/*/")] == [1] * 4


def ones(n):
    return da.ones((n, n), chunks=2)


def hang_under_the_key_of_ones(folder):
    """Stop in the middle of writing what other processes know as the result of `ones`."""

    def stop(block):
        Path(folder, "writing").touch()
        time.sleep(60)
        return block

    make = da.ones
    da.ones = lambda *args, **kwargs: make(*args, **kwargs).map_blocks(stop, dtype=float, meta=np.empty((0, 0)))
    Cache(folder).run("ones", ones, 4)


def killed(target, folder, *args):
    """Kill a process in the middle of writing; say what the cache says of it before and after."""
    folder.mkdir(exist_ok=True)
    run = processes().Process(target=target, args=(str(folder), *args))
    run.start()
    while not (folder / "writing").exists():
        time.sleep(0.01)
    before = Cache(folder).status()["state"].tolist()
    run.kill()
    run.join()
    return before, Cache(folder).status()["state"].tolist()


def hang_in_another_layout(folder):
    """Stop in the middle of storing the result of `ones` anew."""
    before = da.Array.rechunk

    def stop(block):
        Path(folder, "writing").touch()
        time.sleep(60)
        return block

    da.Array.rechunk = lambda array, *args: before(array, *args).map_blocks(stop, dtype=float, meta=np.empty((0, 0)))
    Cache(folder).run("ones", ones, 4, chunks=3)


def test_what_a_killed_process_left_is_told_and_removed_by_the_next_run(tmp_path):
    assert killed(hang_under_the_key_of_ones, tmp_path) == (["unfinished"], ["broken off"])
    (entry,) = tmp_path.glob("ones/*/")
    left = attempts(entry)
    assert len(left) == 1
    np.testing.assert_array_equal(Cache(tmp_path).run("ones", ones, 4), np.ones((4, 4)))
    assert len(attempts(entry)) == 1
    assert attempts(entry) != left


def test_what_a_killed_process_left_can_be_cleared_where_it_was_copied_without_its_locks(tmp_path):
    killed(hang_under_the_key_of_ones, tmp_path / "first")
    shutil.copytree(tmp_path / "first" / "ones", tmp_path / "second" / "ones")
    cache = Cache(tmp_path / "second")
    assert cache.status()["state"].tolist() == ["broken off"]
    cache.clear("ones")
    assert cache.status().empty


def test_what_a_process_left_that_was_killed_while_it_stored_a_result_anew_is_removed_too(tmp_path):
    opened = Cache(tmp_path).run("ones", ones, 4)
    (entry,) = tmp_path.glob("ones/*/")
    (first,) = attempts(entry)
    assert killed(hang_in_another_layout, tmp_path) == (["whole"], ["whole"])
    (left,) = set(attempts(entry)) - {first}
    np.testing.assert_array_equal(Cache(tmp_path).run("ones", ones, 4), np.ones((4, 4)))
    assert attempts(entry) == [first]
    again = Cache(tmp_path).run("ones", ones, 4, chunks=3)
    assert len(attempts(entry)) == 2
    assert left not in attempts(entry)
    assert [path for path in entry.iterdir() if path.is_file()] == list((tmp_path / ".locks").iterdir()) == []
    np.testing.assert_array_equal(opened, np.ones((4, 4)))
    np.testing.assert_array_equal(again, np.ones((4, 4)))


def store_anew(folder):
    Cache(folder).run("ones", ones, 4, chunks=3)


def test_a_result_that_is_read_outlives_being_stored_anew_by_a_process_that_died(tmp_path):
    opened = Cache(tmp_path).run("ones", ones, 4)
    run = processes().Process(target=store_anew, args=(str(tmp_path),))
    run.start()
    run.join()
    assert run.exitcode == 0
    for _ in range(2):
        again = Cache(tmp_path).run("ones", ones, 4)
    np.testing.assert_array_equal(opened, np.ones((4, 4)))
    np.testing.assert_array_equal(again, np.ones((4, 4)))
    (entry,) = tmp_path.glob("ones/*/")
    assert len(attempts(entry)) == 2


def test_threads_of_one_process_compute_a_step_once_and_keep_one_result(tmp_path):
    cache, found, computed = Cache(tmp_path), [], []

    def work():
        found.append(cache.run("table", slow_table, 3))

    def slow_table(n):
        computed.append(n)
        time.sleep(0.2)
        return pd.DataFrame({"a": range(n)})

    slow_table.version = "1"
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(each.equals(found[0]) for each in found)
    assert computed == [3]
    (entry,) = tmp_path.glob("table/*/")
    assert len(attempts(entry)) == 1
    assert cache.status()["state"].tolist() == ["whole"]


@pytest.mark.parametrize(("dims", "multiscale"), [(1, None), (2, None), (2, 2)])
def test_a_step_is_not_cleared_while_it_is_written(tmp_path, dims, multiscale):
    folder, refused = tmp_path / "cache", []

    def clear(block):
        with pytest.raises(RuntimeError, match="'ones' is being computed by another run; clear it when that has ended"):
            Cache(folder).clear("ones")
        refused.append(block)
        return block

    def clearing(n):
        return da.ones((n,) * dims, chunks=2).map_blocks(clear, dtype=float, meta=np.empty((0,) * dims))

    clearing.version = 1
    with dask.config.set(scheduler="sync"):
        found = Cache(folder).run("ones", clearing, 4, multiscale=multiscale)
    np.testing.assert_array_equal(found, np.ones((4,) * dims))
    assert len(refused) == 2**dims
    assert Cache(folder).status()["state"].tolist() == ["whole"]
    Cache(folder).clear("ones")
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_a_result_that_someone_removed_is_computed_again(tmp_path):
    for step in (ones, lambda n: pd.DataFrame({"a": range(n)})):
        for _ in range(2):
            found = Cache(tmp_path).run("step", step, 4)
            np.testing.assert_array_equal(found, step(4))
            (attempt,) = tmp_path.glob("step/*/*/")
            shutil.rmtree(attempt)
            assert Cache(tmp_path).status()["state"].tolist() == ["broken off"]
        Cache(tmp_path).clear("step")


def test_an_interrupted_run_leaves_nothing(tmp_path):
    def interrupted(n):
        def stop(block):
            raise KeyboardInterrupt

        return ones(n).map_blocks(stop, dtype=float, meta=np.empty((0, 0)))

    with pytest.raises(KeyboardInterrupt):
        Cache(tmp_path).run("ones", interrupted, 4)
    assert not list(tmp_path.rglob("*.json"))


def test_where_nothing_can_be_locked_the_first_result_stays(tmp_path):
    url, inner = f"memory://{tmp_path.name}", []

    def overtaken(n):
        if not inner:
            inner.append(None)
            inner[:] = [Cache(url).run("ones", overtaken, n)]
        return ones(n)

    overtaken.version = "1"
    found = Cache(url).run("ones", overtaken, 4)
    assert found.name == inner[0].name
    np.testing.assert_array_equal(found, np.ones((4, 4)))
    root = Cache(url)._shelf.root
    assert len([path for entry in (root / "ones").iterdir() if entry.is_dir() for path in entry.iterdir()]) == 1


@pytest.mark.parametrize("url", ["folder", "memory://", None])
def test_a_step_that_another_thread_computes_is_not_computed_again(tmp_path, url):
    cache = Cache({"folder": tmp_path, "memory://": f"memory://{tmp_path.name}"}.get(url))
    computed, found = [], []

    def slow_number(n):
        computed.append(n)
        time.sleep(0.5)
        return n

    slow_number.version = "1"
    threads = [threading.Thread(target=lambda: found.append(cache.run("n", slow_number, 3))) for _ in "ab"]
    for thread in threads:
        thread.start()
    while not computed:
        time.sleep(0.01)
    if url == "folder":
        assert cache.status()["state"].tolist() == ["unfinished"]
        with pytest.raises(RuntimeError, match="'n' is being computed by another run"):
            cache.clear("n")
    for thread in threads:
        thread.join()
    assert found == [3, 3]
    assert computed == [3]
    assert cache.status()["state"].tolist() == ["whole"]


@pytest.mark.parametrize("url", ["folder", "memory://"])
def test_a_result_that_was_removed_while_it_was_written_is_not_taken_for_whole(tmp_path, url):
    cache = Cache({"folder": tmp_path, "memory://": f"memory://{tmp_path.name}"}[url])
    root, cleared = cache._shelf.root, []

    def clear(block, block_info=None):
        if block_info and block_info[None]["chunk-location"] == (3,) and not cleared:
            cleared.append(root.fs.rm((root / "ones").path, recursive=True))
        return block

    def clearing():
        return da.ones(4, chunks=1).map_blocks(clear, dtype=float)

    clearing.version = 1
    with dask.config.set(scheduler="sync"):
        with pytest.raises(OSError, match="'ones' was cleared while its result was written; run it again"):
            cache.run("ones", clearing)
        assert cache.status().empty
        np.testing.assert_array_equal(cache.run("ones", clearing), np.ones(4))


def test_what_was_removed_after_the_marker_was_written_is_told(tmp_path, monkeypatch):
    def write(path, content, before=entries.write_durably):
        before(path, content)
        if path.name == entries.MARKER:
            entries.remove(path.parent / entries.BEGUN)

    monkeypatch.setattr(entries, "write_durably", write)
    with pytest.raises(OSError, match="was cleared while its result was written"):
        Cache(tmp_path).run("ones", ones, 4)
    assert not list(tmp_path.rglob("step.json"))
