"""What the package relies on that dask and xarray keep private: each was last true at the versions named here."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr

from xlabelstats.engine import dask_internals as internals

# If one of these tests fails with a newer version, `dask_internals` is the one file to mend.
LAST_TRUE = {"dask": "2026.8", "distributed": "2026.8", "xarray": "2026.9", "zarr": "3.4"}


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "pixels.zarr"
    array = zarr.create_array(path, shape=(6, 8), chunks=(3, 4), dtype="u2")
    array[:] = np.arange(48).reshape(6, 8)
    return path


def test_an_array_of_tasks_has_its_tasks_as_blocks_and_computes_what_it_depends_on():
    source = da.ones((4, 4), chunks=2)
    graph = {("twice", *index): (np.multiply, (source.name, *index), 2) for index in np.ndindex(2, 2)}
    array = internals.array_of_tasks("twice", graph, source.chunks, [source], np.empty((0, 0)))
    assert array.__dask_keys__() == [[("twice", i, j) for j in range(2)] for i in range(2)]
    np.testing.assert_array_equal(array.compute(), np.full((4, 4), 2.0))
    assert array.dtype == float


def test_delayed_tasks_are_computed_by_key():
    graph = {("sum", i): (sum, [i, 1]) for i in range(3)}
    assert dask.compute(*internals.delayed_tasks("sum", graph, [("sum", 2), ("sum", 0)], [])) == (3, 1)


def test_the_schedulers_that_compute_in_this_process_are_known():
    array = da.ones(3)
    assert internals.computes_here(array)
    for scheduler, here in [("threads", True), ("sync", True), ("processes", False), (ThreadPoolExecutor(1), False)]:
        with dask.config.set(scheduler=scheduler):
            assert internals.computes_here(array) is here


def test_keys_of_blocks_are_those_of_dask():
    array = da.ones((5, 6), chunks=(2, 3))
    assert internals.block_keys(array).tolist() == array.__dask_keys__()


def test_blocks_are_objects_with_their_offset():
    array = da.arange(10, chunks=4)
    found = internals.block_values(
        internals.map_mask_blocks(lambda block, offset, more: (block.sum(), offset, more), array, more=7)
    )
    assert [tuple(map(int, (a, *b, c))) for a, b, c in found] == [(6, 0, 7), (22, 4, 7), (17, 8, 7)]


def test_what_is_read_and_what_is_computed_are_told_apart(stored):
    read = da.from_zarr(stored)
    assert internals.is_stored(read)
    assert not internals.is_stored(read + 1)
    assert not internals.is_stored(da.ones((4, 4), chunks=2))


def test_blocks_that_are_read_may_be_cut_cast_transposed_and_joined_but_not_split(stored):
    read = da.from_zarr(stored, chunks=2)
    assert internals.is_stored(read.T)
    assert internals.is_stored(read.rechunk((4, 2)))
    assert internals.is_stored(read.T.rechunk((4, 2)).rechunk(4))
    assert internals.is_stored(read[1:5, ::2].astype("f4").rechunk(4))
    assert internals.is_stored(read[0])
    assert not internals.is_stored(read[[0, 0, 1]])
    assert not internals.is_stored(read.rechunk((4, 1)))
    assert not internals.is_stored(read.rechunk((3, 1)))
    assert not internals.is_stored((read + 1).rechunk(4))


def test_a_twin_shares_the_source_alone(stored):
    read = da.from_zarr(stored, chunks=2)
    for array in (read, read.T, read.rechunk((4, 2)), read.T.rechunk((4, 2)).rechunk(4), read[1:, 3].astype("f4")):
        twin = internals.read_apart(internals.read_apart(array, 1), (2, 3))
        shared = {*twin.__dask_graph__()} & {*array.__dask_graph__()}
        assert all("original" in str(key) for key in shared)
        assert twin.chunks == array.chunks
        assert (twin == array).all().compute()


def test_what_lies_in_memory_is_told_from_what_is_computed(stored):
    pixels = np.ones((4, 4))
    for array in (da.from_array(pixels, chunks=2), xr.DataArray(pixels).chunk(2).data, da.ones((4, 4)).persist()):
        assert internals.is_in_memory(array)
        assert internals.is_in_memory(internals.with_other_sources(array, lambda source: None))
    for array in (da.ones((4, 4), chunks=2), da.from_array(pixels, chunks=2) + 1, da.from_zarr(stored)):
        assert not internals.is_in_memory(array)


def test_a_task_knows_that_it_is_one():
    assert not internals.inside_a_task()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(internals.inside_a_task).result()
    (within,) = dask.compute(dask.delayed(internals.inside_a_task)(), scheduler="threads")
    assert within
    # A thread of the user's own may use all cores.
    answers = []
    thread = threading.Thread(target=lambda: answers.append(internals.inside_a_task()))
    thread.start()
    thread.join()
    assert answers == [False]


def test_a_task_on_a_cluster_knows_that_it_is_one():
    distributed = pytest.importorskip("distributed")
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0") as client:
        assert client.submit(internals.inside_a_task).result()


@pytest.mark.parametrize("scheduler", ["synchronous", "sync", "single-threaded", dask.get, None, "threads"])
def test_one_thread_is_asked_for_by_the_scheduler(scheduler):
    with dask.config.set(scheduler=scheduler):
        assert internals.wants_one_thread() == (scheduler not in (None, "threads"))


def test_what_was_opened_lazily_is_not_read(stored, tmp_path):
    path = tmp_path / "named.zarr"
    xr.Dataset({"pixels": (("y", "x"), np.ones((4, 4)))}).to_zarr(path, consolidated=False)
    opened = xr.open_zarr(path, chunks=None, consolidated=False)["pixels"]
    assert internals.is_opened_lazily(opened)
    assert not isinstance(internals.held_data(opened), np.ndarray)
    assert internals.is_opened_lazily(opened)
    assert not internals.is_opened_lazily(opened.load())
    assert not internals.is_opened_lazily(xr.open_zarr(path, consolidated=False)["pixels"])


def test_a_source_is_replaced_under_its_key(stored):
    class Doubled:
        def __init__(self, array):
            self.array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, array.ndim

        def __getitem__(self, key):
            return 2 * self.array[key]

    read = da.from_zarr(stored)
    doubled = internals.with_other_sources(read, Doubled)
    assert doubled.name == read.name
    np.testing.assert_array_equal(doubled.compute(), 2 * np.arange(48).reshape(6, 8))
    assert internals.with_other_sources(read, lambda source: None) is read


def test_blocks_in_memory_become_tasks():
    pixels = np.arange(36.0).reshape(6, 6)
    array = internals.with_other_sources(da.from_array(pixels, chunks=2, name=False), lambda source: None)
    graph = dict(array.__dask_graph__())
    assert not any(isinstance(value, np.ndarray) for value in graph.values())
    np.testing.assert_array_equal(array.compute(), pixels)


def test_what_a_dask_array_reads_is_found_if_it_does_nothing_else(stored):
    read = da.from_zarr(stored)
    assert isinstance(internals.what_it_reads(read), zarr.Array)
    assert internals.what_it_reads(read[1:]) is None
    assert internals.what_it_reads(read + 1) is None


def test_stored_arrays_are_found_below_computations(stored):
    ((key, source),) = internals.stored_arrays(da.from_zarr(stored) + 1, zarr.Array)
    assert key.startswith("original-")
    assert source.shape == (6, 8)
    assert internals.stored_arrays(da.ones((4, 4), chunks=2), zarr.Array) == []


def test_a_value_as_a_task():
    call, value = internals.as_task([1, 2])
    assert call(value) == [1, 2]
