"""The label table against scipy and numpy on the whole mask, and what is remembered of it."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import dask
import dask.array as da
import numpy as np
import pytest
import scipy.ndimage as ndi
import xarray as xr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import xlabelstats
from xlabelstats.catalogue.positions import LabelTable, Positions
from xlabelstats.engine.reduction import Block, collect, merge
from xlabelstats.engine.runs import find_runs
from xlabelstats.labels import mask_scan
from xlabelstats.labels.scan_memory import memory


def assert_is_scipy(table: xr.Dataset, mask: np.ndarray) -> None:
    ids = np.unique(mask[mask != 0])
    np.testing.assert_array_equal(table["label"], ids)
    for label in ids:
        row = table.sel(label=label)
        where = np.argwhere(mask == label)
        (box,) = ndi.find_objects((mask == label).astype(int))
        assert row["count"] == len(where)
        assert row["bbox_min"].values.tolist() == [s.start for s in box]
        assert row["bbox_max"].values.tolist() == [s.stop for s in box]
        np.testing.assert_allclose(row["centroid"], where.mean(axis=0), rtol=1e-13)
        expected = np.cov(where.T, ddof=0).reshape(mask.ndim, mask.ndim) if len(where) > 1 else 0
        scale = np.abs(expected).max() if len(where) > 1 else 1
        np.testing.assert_allclose(row["covariance"], expected, rtol=0, atol=1e-12 * max(scale, 1e-3))


class TestTable:
    @pytest.mark.parametrize("chunk", [None, 100, 37])
    def test_of_the_2d_nuclei(self, nuclei2d, chunk):
        _, mask = nuclei2d
        assert_is_scipy((mask.chunk(chunk) if chunk else mask).labels.scan(), mask.values)

    @pytest.mark.parametrize("chunk", [None, 32, 9])
    def test_of_the_3d_nuclei(self, nuclei3d, chunk):
        _, mask = nuclei3d
        assert_is_scipy((mask.chunk(chunk) if chunk else mask).labels.scan(), mask.values)

    @pytest.mark.parametrize("ndim", [1, 2, 3, 4])
    def test_of_any_number_of_dims(self, ndim):
        shape = (30, 12, 7, 5)[:ndim]
        mask = blobs(shape, 8)
        array = xr.DataArray(mask, dims=list("wzyx")[:ndim])
        assert_is_scipy(array.labels.scan(), mask)
        assert_is_scipy(array.chunk(4).labels.scan(), mask)

    def test_is_named_by_the_masks_dims(self):
        table = xr.DataArray(blobs((8, 9), 3), dims=("row", "col")).labels.scan()
        assert {name: variable.dims for name, variable in table.items()} == {
            "count": ("label",),
            "bbox_min": ("label", "axis"),
            "bbox_max": ("label", "axis"),
            "centroid": ("label", "axis"),
            "covariance": ("label", "axis", "axis_"),
        }
        assert table["axis"].values.tolist() == table["axis_"].values.tolist() == ["row", "col"]

    def test_far_from_the_origin_loses_nothing(self):
        near = np.zeros((20, 24), np.int32)
        near[3:17, 2:19] = np.tri(14, 17)
        expected = xr.DataArray(near, dims=("y", "x")).labels.scan()
        reductions = (Positions(),)
        parts = [
            collect(reductions, Block(find_runs(near[i : i + 7, j : j + 7]), (100_000 + i, 10**6 + j)))
            for i in range(0, 20, 7)
            for j in range(0, 24, 7)
        ]
        merged = merge(reductions, parts)
        table = LabelTable(merged.ids, merged.count, *merged.parts[0])
        shift = np.array([100_000, 10**6])
        np.testing.assert_array_equal(table.low - shift, expected["bbox_min"])
        np.testing.assert_allclose(table.centroid - shift, expected["centroid"], atol=1e-9)
        np.testing.assert_allclose(table.m2 / table.count[:, None, None], expected["covariance"], rtol=1e-13)

    def test_background_on_request(self):
        mask = np.array([[0, 0, 1], [0, 2, 2]])
        array = xr.DataArray(mask, dims=("y", "x"))
        assert array.labels.scan(background=True)["label"].values.tolist() == [0, 1, 2]
        assert_is_scipy(array.labels.scan(background=True).sel(label=[1, 2]), mask)

    @pytest.mark.parametrize("shape", [(6, 7), (0, 7), (6, 0)])
    @pytest.mark.parametrize("lazy", [False, True])
    def test_of_nothing_is_empty(self, shape, lazy):
        mask = xr.DataArray(np.zeros(shape, np.uint16), dims=("y", "x"))
        table = (mask.chunk() if lazy else mask).labels.scan()
        assert dict(table.sizes) == {"label": 0, "axis": 2, "axis_": 2}
        assert table["label"].dtype == np.uint16

    def test_ids_near_the_end_of_their_type_take_no_more_memory(self):
        import tracemalloc

        def peak(shift: int) -> int:
            mask = xr.DataArray(blobs((200, 200), 50), dims=("y", "x"))
            mask = mask.where(mask == 0, mask + shift)
            tracemalloc.start()
            assert mask.labels.scan().sizes["label"] == 45
            found = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return found

        peak(0)
        assert peak(2**62) < 1.05 * peak(0)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_chunking_gives_the_same(data):
    ndim = data.draw(st.integers(1, 3))
    shape = tuple(data.draw(st.integers(1, 8)) for _ in range(ndim))
    mask = data.draw(hnp.arrays(np.int16, shape, elements=st.integers(-1, 3)))
    chunks = tuple(data.draw(st.integers(1, n)) for n in shape)
    lazy = xr.DataArray(da.from_array(mask, chunks=chunks), dims=list("zyx")[:ndim])
    assert_is_scipy(lazy.labels.scan(), mask)


class TestInMemory:
    """Blocks that lie in memory are scanned where they are, and others by tasks of dask."""

    @pytest.mark.parametrize("threads", [False, True])
    @pytest.mark.parametrize("background", [False, True])
    @pytest.mark.parametrize("dtype", ["u1", ">i8"])
    def test_all_that_is_found_is_to_the_bit_what_tasks_find(self, monkeypatch, dtype, background, threads):
        if threads:
            monkeypatch.setattr(mask_scan, "CUT_PIXELS", 1)
        pixels = blobs((23, 19, 13), 60).astype(dtype)
        there = xr.DataArray(da.from_array(pixels, chunks=(9, 10, 7)), dims=("z", "y", "x"))
        tasks = there.copy(data=there.data.map_blocks(np.copy))
        for mask in (there, tasks):
            mask.labels.ids(background=background)
        one, other = (memory.get(mask.data, background, mask_scan.Ids) for mask in (there, tasks))
        np.testing.assert_array_equal(one.ids, np.unique(pixels)[not background :])
        np.testing.assert_array_equal(one.ids, other.ids, strict=True)
        assert one.mixed == other.mixed
        xr.testing.assert_identical(there.labels.scan(background=background), tasks.labels.scan(background=background))

    def test_no_graph_is_computed_for_a_few_blocks_unless_elsewhere(self, monkeypatch):
        mask = xr.DataArray(blobs((9, 8), 4), dims=("y", "x")).chunk(4)
        monkeypatch.setattr(mask_scan, "compute_each", refuse)
        mask.copy().labels.scan()
        xlabelstats.clear_cache()
        with dask.config.set(scheduler="processes"), pytest.raises(NotImplementedError):
            mask.labels.scan()
        for others in (mask.data.map_blocks(np.copy), da.from_array(mask.values, chunks=2)):
            with pytest.raises(NotImplementedError):
                mask.copy(data=others).labels.scan()
        monkeypatch.setattr(mask_scan, "CUT_PIXELS", 1)
        mask.copy(data=mask.data.persist()).labels.scan()
        # Whoever brings threads has them work.
        with ThreadPoolExecutor(2) as pool, dask.config.set(pool=pool), pytest.raises(NotImplementedError):
            mask.copy(data=mask.data.persist()).labels.scan()

    def test_a_block_that_is_no_mask_is_told_as_by_tasks(self):
        graph = {("floats", 0, 0): np.ones((4, 4))}
        array = da.Array(graph, "floats", ((4,), (4,)), dtype=int)
        with pytest.raises(TypeError, match="a block of the mask holds float64"):
            xr.DataArray(array, dims=("y", "x")).labels.ids()
        # To dask a name in place of a block is that of a task.
        named = {("named", 0, 0): "elsewhere", "elsewhere": np.ones((4, 4), int)}
        array = da.Array(named, "named", ((4,), (4,)), dtype=int)
        assert xr.DataArray(array, dims=("y", "x")).labels.ids().tolist() == [1]
        short = da.Array(graph | {("floats", 0, 1): np.ones((4, 2), int)}, "floats", ((4,), (4, 4)), dtype=int)
        with pytest.raises((TypeError, ValueError), match="a block"):
            xr.DataArray(short, dims=("y", "x")).labels.ids()


def refuse(*_: object) -> None:
    raise NotImplementedError


class TestIdsAndCount:
    def test_ids_are_numpys_unique(self, nuclei2d):
        _, mask = nuclei2d
        for array in (mask, mask.chunk(100)):
            np.testing.assert_array_equal(array.labels.ids(), np.unique(mask)[1:])
            np.testing.assert_array_equal(array.labels.ids(background=True), np.unique(mask))
            assert array.labels.ids().dtype == mask.dtype

    def test_count_is_numpys_bincount(self, nuclei3d):
        _, mask = nuclei3d
        expected = np.bincount(mask.values.ravel())
        for array in (mask, mask.chunk(20)):
            count = array.labels.count()
            assert (count.dims, count.dtype, count.name) == (("label",), np.int64, "count")
            assert (count.chunks is not None) == (array is not mask)
            np.testing.assert_array_equal(count, expected[count["label"]])
            assert array.labels.count(background=True).sel(label=0) == expected[0]
            assert array.labels.count(labels=[3, 9999]).values.tolist() == [expected[3], 0]

    def test_of_a_float_mask_is_a_type_error(self):
        with pytest.raises(TypeError, match="a mask holds integer labels, not float64"):
            xr.DataArray(np.ones((3, 3)), dims=("y", "x")).labels.ids()


class TestMemory:
    def counted(self) -> tuple[xr.DataArray, list[int]]:
        reads: list[int] = []

        def read(block):
            if block.size:
                reads.append(1)
            return block

        array = da.from_array(blobs((20, 20), 4), chunks=20).map_blocks(read, dtype=int, meta=np.empty((0, 0), int))
        return xr.DataArray(array, dims=("y", "x")), reads

    def test_a_dask_mask_is_scanned_once(self):
        mask, reads = self.counted()
        reads.clear()
        mask.labels.scan()
        mask.labels.scan()
        mask.labels.ids()
        xr.zeros_like(mask, float).compute().chunk().labels.mean(mask)
        assert len(reads) == 1
        mask.labels.ids(background=True)
        mask.labels.ids(background=True)
        assert len(reads) == 2

    def test_what_is_remembered_does_not_change_with_a_result(self):
        mask = xr.DataArray(da.from_array(blobs((9, 9), 3), chunks=4), dims=("y", "x"))
        first = mask.labels.scan()
        expected = first.copy(deep=True)
        first["count"][:] = -1
        first["bbox_min"].values[:] = -9
        xr.testing.assert_identical(mask.labels.scan(), expected)

    def test_clearing_forgets(self):
        mask, reads = self.counted()
        mask.labels.ids()
        xlabelstats.clear_cache()
        reads.clear()
        mask.labels.ids()
        assert len(reads) == 1

    def test_is_bounded_and_lets_go_of_masks_that_are_gone(self):
        xlabelstats.clear_cache()
        masks = [xr.DataArray(da.full(4, i + 1, chunks=2), dims="x") for i in range(30)]
        for mask in masks:
            mask.labels.ids()
        assert len(memory._entries) == memory.size
        del masks, mask
        gc.collect()
        assert len(memory._entries) == 0

    def test_a_numpy_mask_changed_in_place_is_seen(self):
        mask = xr.DataArray(np.array([1, 1, 2]), dims="x")
        assert mask.labels.ids().tolist() == [1, 2]
        mask[2] = 5
        assert mask.labels.ids().tolist() == [1, 5]

    def test_a_store_written_anew_is_seen(self, tmp_path):
        import zarr

        def open_mask(values):
            zarr.create_array(tmp_path / "m.zarr", shape=(4,), chunks=(2,), dtype="i4", overwrite=True)[:] = values
            return xr.DataArray(da.from_zarr(tmp_path / "m.zarr"), dims="x")

        old = open_mask([1, 1, 2, 2])
        assert old.labels.count().values.tolist() == [2, 2]
        new = open_mask([1, 1, 1, 2])
        assert new.data.name == old.data.name
        assert new.labels.scan()["count"].values.tolist() == [3, 1]

    def test_ids_can_be_written_to_without_harm(self):
        mask = xr.DataArray(da.from_array(np.array([1, 2, 3])), dims="x")
        mask.labels.ids()[:] = 9
        assert mask.labels.ids().tolist() == [1, 2, 3]
