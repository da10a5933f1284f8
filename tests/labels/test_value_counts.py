"""Quantiles and modes of images of eight bits in blocks, from counts of values: to the bit those of whole objects."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xlabelstats.catalogue.order import METHODS, OrderStatistics, ValueCounts
from xlabelstats.engine import passes, plan
from xlabelstats.labels import subject

SYNCHRONOUS = {"scheduler": "synchronous"}


@pytest.fixture
def whole(monkeypatch):
    """The number of passes over whole objects."""
    passed = []
    run = passes.run_whole
    monkeypatch.setattr(plan, "run_whole", lambda *args, **kwargs: passed.append(args) or run(*args, **kwargs))
    return passed


def field(dtype="u1", channels=2):
    rng = np.random.default_rng(0)
    image = xr.DataArray(rng.gamma(2, 30, (channels, 50, 60)).astype(dtype), dims=("c", "y", "x"), name="signal")
    return image, xr.DataArray(blobs((50, 60), 20), dims=("y", "x"))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_they_are_to_the_bit_those_of_whole_objects_in_any_chunks(data):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=7))
    dims = tuple("zyx"[-len(shape) :])
    dtype = np.dtype(data.draw(st.sampled_from(["u1", "i1", "?"])))
    numbers = st.booleans() if dtype.kind == "b" else st.integers(*(int(n) for n in _limits(dtype)))
    few = st.sampled_from(data.draw(st.lists(numbers, min_size=1, max_size=4)))
    image = data.draw(hnp.arrays(dtype, (2, *shape), elements=few | numbers))
    mask = data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 3)))
    array = xr.DataArray(image, dims=("c", *dims), name="signal").transpose(*data.draw(st.permutations(("c", *dims))))
    labels = xr.DataArray(mask, dims=dims)
    chunks = {dim: data.draw(st.integers(1, 3)) for dim in (*dims, "c")}
    options = {
        "labels": data.draw(st.sampled_from([None, [3, 1, 2], [9, 1]])),
        "background": data.draw(st.booleans()),
        "skipna": data.draw(st.sampled_from([None, False])),
    }
    q = data.draw(st.lists(st.floats(0, 1), min_size=1, max_size=3))
    method = data.draw(st.sampled_from(list(METHODS)))
    wanted = [("quantiles", {"q": q, "method": method}), "p50", "mean", ("p99.9", {"method": "higher"})]
    wanted += [] if dtype.kind == "b" else ["mode"]
    with dask.config.set(SYNCHRONOUS):
        result = array.chunk(chunks).labels.measure(labels.chunk(2), wanted, **options).compute()
        expected = array.labels.measure(labels, wanted, **options)
        xr.testing.assert_identical(result.drop_vars("mean"), expected.drop_vars("mean"))
        for i, label in enumerate(expected["label"].values):
            for c in range(2):
                own = np.moveaxis(array.values, array.dims.index("c"), 0)[c]
                pixels = own[(labels.transpose(*(d for d in array.dims if d != "c")).values) == label]
                found = result["quantiles"].transpose("label", "c", "quantile")[i, c]
                known = np.quantile(pixels.astype(float), q, method=method) if pixels.size else [np.nan] * len(q)
                np.testing.assert_allclose(found, known, rtol=1e-13)


def _limits(dtype: np.dtype) -> tuple[int, int]:
    return np.iinfo(dtype).min, np.iinfo(dtype).max


@pytest.mark.parametrize("dtype", ["u1", "i1"])
def test_the_result_looks_the_same_whichever_way_is_taken(dtype, whole, monkeypatch):
    image, mask = field(dtype)
    names = ("p50", "quantiles", "mode", "median")
    lazy = image.chunk(c=1, y=20, x=17)
    counted = lazy.labels.measure(mask.chunk(20), names)
    assert not whole
    monkeypatch.setattr(plan, "ROOM", 0)
    brought = lazy.labels.measure(mask.chunk(20), names)
    assert len(whole) == 1
    assert {name: variable.chunks for name, variable in counted.items()} == {
        name: variable.chunks for name, variable in brought.items()
    }
    xr.testing.assert_identical(counted.compute(), brought.compute())
    assert counted["mode"].dtype == image.dtype


@pytest.mark.parametrize("order", ["p50 first", "area first"])
def test_all_that_merges_is_one_read_of_the_image(order, whole):
    image, mask = field()
    reads = []

    def read(block, block_info=None):
        reads.append(block_info[0]["chunk-location"])
        return block

    lazy = image.copy(data=da.from_array(image.values, chunks=(2, 20, 20)).map_blocks(read, dtype=image.dtype))
    names = ("p50", "mean", "area") if order == "p50 first" else ("area", "mean", "p50")
    result = lazy.labels.measure(mask.chunk(20), names)
    reads.clear()
    with dask.config.set(SYNCHRONOUS):
        result.compute()
    assert sorted(reads) == sorted(np.ndindex(1, 3, 3))
    assert not whole


def test_beside_measures_of_whole_objects_they_are_counted_all_the_same(whole):
    image, mask = field()
    result = image.chunk(y=20).labels.measure(mask.chunk(20), ("p50", "solidity"))
    assert [list(finishing.measures) for _, finishing in whole] == [["solidity"]]
    xr.testing.assert_identical(result["p50"].compute(), image.labels.measure(mask, "p50")["p50"])


@pytest.mark.parametrize(
    ("dtype", "counted"), [("u1", True), ("i1", True), ("?", True), ("u2", False), ("f4", False), ("f2", False)]
)
def test_images_of_eight_bits_in_blocks_are_counted_and_others_are_not(dtype, counted, whole):
    image, mask = field(dtype)
    image.chunk(y=20).instances.median(mask)
    assert bool(whole) == (not counted)
    whole.clear()
    image.instances.median(mask)
    assert whole


def test_where_counts_would_take_much_memory_objects_are_brought_whole(whole, monkeypatch):
    image, mask = field()
    n = mask.labels.ids().size
    lazy, labels = image.chunk(y=20), mask.chunk(20)
    room = ValueCounts.room(np.dtype("u1"))
    monkeypatch.setattr(plan, "ROOM", room * 2 * n)
    expected = lazy.labels.median(labels)
    assert not whole
    monkeypatch.setattr(plan, "ROOM", room * 2 * n - 1)
    result = lazy.labels.median(labels)
    assert whole
    xr.testing.assert_identical(result.compute(), expected.compute())
    # Named labels are those that count.
    whole.clear()
    lazy.labels.median(labels, labels=mask.labels.ids()[:-1])
    assert not whole


def test_it_is_not_scanned_for_where_objects_lie(monkeypatch):
    image, mask = field()

    def scan(*args, **kwargs):
        raise AssertionError("the mask was scanned")

    monkeypatch.setattr(subject, "label_table", scan)
    result = image.chunk(y=20).instances.quantiles(mask.chunk(20), [0.1, 0.9])
    expected = [np.quantile(image.values[0][mask.values == label], [0.1, 0.9]) for label in result["label"].values]
    np.testing.assert_allclose(result[:, 0], expected, rtol=1e-14)
    # With labels that the user names nothing is read.
    image.chunk(y=20).labels.median(mask.copy(data=da.from_array(mask.values, chunks=9)), labels=[1, 2])


def test_an_object_over_all_of_an_image_is_measured_block_by_block():
    rng = np.random.default_rng(0)
    image = xr.DataArray(rng.integers(0, 256, (1000, 900), dtype="u1"), dims=("y", "x"))
    mask = xr.DataArray(np.ones((1000, 900), np.uint8), dims=("y", "x"))
    result = image.chunk(y=100, x=450).labels.quantiles(mask.chunk(y=100, x=450), [0.001, 0.5, 0.77]).compute()
    np.testing.assert_array_equal(result[0], np.quantile(image.values, [0.001, 0.5, 0.77]))


def test_the_twin_says_for_which_dtypes_it_is():
    assert OrderStatistics.merging is ValueCounts
    assert {name: ValueCounts.room(np.dtype(name)) for name in ("u1", "i1", "?", "u2", "f2")} == {
        "u1": 2048, "i1": 2048, "?": 2048, "u2": None, "f2": None,
    }  # fmt: skip
