"""The tree that merges tables of blocks, on tables that are plain sets."""

from __future__ import annotations

import itertools

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from dask._task_spec import DataNode, convert_legacy_graph

import xlabelstats
from xlabelstats.engine.merge_tree import FAN_IN, label_chunks, merge_by_range


class Set(set):
    """A table that is a plain set of labels."""

    def between(self, low, high):
        return Set(i for i in self if (low is None or i >= low) and (high is None or i < high))


def union(tables):
    return Set(set().union(*tables))


@pytest.mark.parametrize("blocks", [1, 2, 8, 17, 64, 300])
@pytest.mark.parametrize("ranges", [1, 2, 16, 17, 65])
def test_every_range_gets_all_and_only_its_labels(blocks, ranges):
    tables = {("block", i): Set(range(i, 1000, blocks)) | {i % 5} for i in range(blocks)}
    tables = {key: Set(table) for key, table in tables.items()}
    bounds = [round(1000 * i / ranges) for i in range(1, ranges)]
    graph, sections = merge_by_range("merge", list(tables), bounds, union)
    assert all(len(section) <= FAN_IN for section in sections)
    results = [set(union(parts)) for parts in dask.get({**tables, **graph}, sections)]
    edges = [0, *bounds, 1000]
    assert [set(range(a, b)) for a, b in itertools.pairwise(edges)] == results


@pytest.mark.parametrize("blocks", [64, 512, 4096])
def test_the_tree_is_small_and_no_task_takes_many_tables(blocks):
    ranges = blocks // 16
    graph, _ = merge_by_range("merge", [("block", i) for i in range(blocks)], list(range(1, ranges)), union)
    assert len(graph) <= 4 * blocks
    assert max(len(task[2]) for task in graph.values()) <= FAN_IN


@pytest.mark.parametrize("n", [0, 1, 2**16, 2**16 + 1, 200_000])
def test_label_chunks_are_equal_but_for_the_last(n):
    chunks = label_chunks(n)
    assert sum(chunks) == n
    assert set(chunks[:-1]) <= {2**16}


def test_arrays_that_every_task_needs_are_held_once():
    import cloudpickle

    labels = np.arange(1, 20_001)
    mask = xr.DataArray(da.ones((64, 64), dtype=int, chunks=4), dims=("y", "x"))
    image = xr.DataArray(da.ones((64, 64), chunks=4), dims=("y", "x"))
    for result in (
        image.labels.aggregate(mask, labels=labels),
        image.labels.regionprops(mask, ("area", "moments", "centroid_weighted"), labels=labels),
        mask.labels.center_of_mass(image, labels=labels),
        mask.instances.radii_and_axes(labels=labels),
        mask.labels.paint(dict.fromkeys(labels.tolist(), 1.0)),
    ):
        tasks = dict(result.__dask_graph__()).values()
        sizes = sorted(len(cloudpickle.dumps(task)) for task in tasks)
        # Two per pass: the labels a block keeps, and those of the result.
        assert sum(size > 50_000 for size in sizes) <= 8


LAZY = {
    "aggregate": lambda image, mask: image.labels.aggregate(mask)["mean"],
    "labels named": lambda image, mask: image.labels.mean(mask, labels=[1, 3]),
    "moments": lambda image, mask: mask.labels.regionprops(properties=("moments_central",))["moments_central"],
    "painted": lambda image, mask: mask.labels.paint(image.labels.mean(mask)),
    "quantiles": lambda image, mask: image.instances.quantiles(mask),
    "windows": lambda image, mask: image.instances.windows(mask, 3, batch_size=1)["image"],
    "features": lambda image, mask: image.instances.featurize(
        mask, lambda batch: batch[:, :1, 0, 0], size=3, n_features=1, batch_size=1
    ),
}


def image_and_mask(chunk):
    labels = np.kron(np.arange(1, 17).reshape(4, 4), np.ones((3, 3), int))
    return da.from_array(np.ones((2, 12, 12)), chunks=(1, chunk, chunk)), da.from_array(labels, chunks=chunk)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    for chunk in (2, 4):
        for name, array in zip("im", image_and_mask(chunk), strict=True):
            array.to_zarr(folder / f"{name}{chunk}")
    return folder


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("call", LAZY)
def test_a_graph_holds_no_more_values_for_more_chunks(stores, call, stored):
    """For every task that it plans, dask's scheduler of threads goes through all of them."""

    def values(chunk):
        arrays = [da.from_zarr(stores / f"{name}{chunk}") for name in "im"] if stored else image_and_mask(chunk)
        image, mask = xr.DataArray(arrays[0], dims=("c", "y", "x")), xr.DataArray(arrays[1], dims=("y", "x"))
        (lazy,) = dask.optimize(LAZY[call](image, mask).data)
        return sum(isinstance(task, DataNode) for task in convert_legacy_graph(dict(lazy.__dask_graph__())).values())

    kept = [values(chunk=chunk) for chunk in (2, 4)]
    # dask keeps some tasks of the mask in a graph that does not need them, more or less of them by chance.
    with xlabelstats.set_options(mask_memory=0):
        read = [values(chunk=chunk) for chunk in (2, 4)]
    assert max(kept) <= read[0] == read[1] < 16
