"""Regions in which objects lie whole, and how their pixels get there, against slices of whole arrays."""

from __future__ import annotations

import math
import pickle
from collections import Counter
from functools import partial
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st

from xlabelstats.engine.ownership import REGION_COST, Region, find_regions, map_regions
from xlabelstats.engine.region_pixels import Routes, Supply, join, pieces
from xlabelstats.labels.subject import Objects, find_objects

Chunks = tuple[tuple[int, ...], ...]


def objects_of(low: Any, high: Any, centre: Any) -> Objects:
    low, high, centre = (np.asarray(a, np.int64) for a in (low, high, centre))
    return Objects(np.arange(1, len(low) + 1), np.ones(len(low), np.int64), low, high, centre)


def block_of(chunks: Chunks, pixel: np.ndarray) -> tuple[int, ...]:
    """The block that holds a pixel, by listing the block of every pixel."""
    along = [np.repeat(np.arange(len(sizes)), sizes) for sizes in chunks]
    return tuple(int(axis[p]) for axis, p in zip(along, pixel, strict=True))


def volume(region: Region) -> int:
    return math.prod(b - a for a, b in zip(region.low, region.high, strict=True))


def shape_of(region: Region) -> tuple[int, ...]:
    return tuple(b - a for a, b in zip(region.low, region.high, strict=True))


def box_of(region: Region) -> tuple[Any, ...]:
    return (..., *map(slice, region.low, region.high))


@st.composite
def ragged(draw: st.DrawFn, shape: tuple[int, ...]) -> Chunks:
    """Chunks of any sizes, 0 among them."""
    cuts = [sorted(draw(st.lists(st.integers(0, n), max_size=3))) for n in shape]
    return tuple(tuple(np.diff([0, *cut, n]).tolist()) for cut, n in zip(cuts, shape, strict=True))


@st.composite
def boxes(draw: st.DrawFn, ndim: int, longest: int, most: int) -> tuple[tuple[int, ...], Chunks, Objects]:
    """A shape, its chunks, and objects with a centre anywhere in their boxes."""
    shape = tuple(draw(st.integers(1, longest)) for _ in range(ndim))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(1, most))
    ends = np.sort(rng.integers(0, np.array(shape) + 1, (2, n, ndim)), axis=0)
    low = np.minimum(ends[0], np.array(shape) - 1)
    high = np.maximum(ends[1], low + 1)
    return shape, draw(ragged(shape)), objects_of(low, high, rng.integers(low, high))


def regions_of(objects: Objects, chunks: Chunks) -> list[Region]:
    return [region for regions in find_regions(objects, objects.low, objects.high, chunks) for region in regions]


class TestFindRegions:
    @settings(max_examples=100, deadline=None)
    @given(data=st.data(), ndim=st.integers(1, 3), scale=st.sampled_from([1, 100, 10_000]))
    def test_every_object_comes_once_in_a_region_of_its_block_that_covers_it(self, data, ndim, scale):
        _, chunks, objects = data.draw(boxes(ndim, 30, 12))
        # The same at a scale at which regions are worth splitting.
        chunks = tuple(tuple(scale * n for n in sizes) for sizes in chunks)
        objects = objects_of(scale * objects.low, scale * objects.high, scale * objects.centre)
        found = find_regions(objects, objects.low, objects.high, chunks)
        rows = np.concatenate([region.rows for regions in found for region in regions])
        assert sorted(rows.tolist()) == list(range(len(objects.ids)))
        homes = [regions[0].home for regions in found]
        assert homes == sorted(set(homes))
        for regions in found:
            assert [region.apart for region in regions] == [False] + [True] * (len(regions) - 1)
            for region in regions:
                assert region.home == regions[0].home
                assert region.rows.tolist() == sorted(region.rows.tolist())
                assert region.rows.size == 1 or not region.apart
                assert region.low == tuple(objects.low[region.rows].min(axis=0).tolist())
                assert region.high == tuple(objects.high[region.rows].max(axis=0).tolist())
                for row in region.rows:
                    assert block_of(chunks, objects.centre[row]) == region.home

    @settings(max_examples=50, deadline=None)
    @given(data=st.data(), ndim=st.integers(1, 3))
    def test_no_dearer_than_all_together_or_all_apart(self, data, ndim):
        _, chunks, objects = data.draw(boxes(ndim, 30, 12))
        chunks = tuple(tuple(300 * n for n in sizes) for sizes in chunks)
        objects = objects_of(300 * objects.low, 300 * objects.high, 300 * objects.centre)
        for regions in find_regions(objects, objects.low, objects.high, chunks):
            cost = sum(map(volume, regions)) + REGION_COST * len(regions)
            rows = np.concatenate([region.rows for region in regions])
            low, high = objects.low[rows], objects.high[rows]
            together = math.prod((high.max(axis=0) - low.min(axis=0)).tolist()) + REGION_COST
            apart = sum(math.prod((b - a).tolist()) + REGION_COST for a, b in zip(low, high, strict=True))
            assert cost <= together
            assert cost <= apart + REGION_COST

    def test_few_huge_objects_among_many_small_ones_are_apart(self):
        rng = np.random.default_rng(0)
        centre = rng.integers(4010, 4990, (500, 2))
        # Two more whose centres lie in the same block, as long as the image.
        low = np.concatenate([[[4400, 0]], centre - 12, [[0, 4500]]])
        high = np.concatenate([[[4450, 10_000]], centre + 13, [[10_000, 4550]]])
        objects = objects_of(low, high, np.concatenate([[[4425, 4999]], centre, [[4999, 4525]]]))
        (regions,) = find_regions(objects, objects.low, objects.high, ((1000,) * 10,) * 2)
        assert [region.rows.tolist() for region in regions] == [list(range(1, 501)), [0], [501]]
        assert [region.apart for region in regions] == [False, True, True]
        assert {region.home for region in regions} == {(4, 4)}
        assert all(4000 - 12 <= a < b <= 5000 + 13 for a, b in zip(regions[0].low, regions[0].high, strict=True))
        assert [volume(region) for region in regions[1:]] == [500_000, 500_000]

    def test_objects_a_little_over_the_border_share_a_region(self):
        rng = np.random.default_rng(0)
        centre = rng.integers(0, 3000, (3000, 2))
        objects = objects_of(centre - 20, centre + 20, centre)
        found = find_regions(objects, objects.low, objects.high, ((1000,) * 3,) * 2)
        assert [len(regions) for regions in found] == [1] * 9
        assert all(volume(region) <= 1040**2 for regions in found for region in regions)

    def test_of_an_object_that_is_alone_in_its_block_is_its_box(self):
        objects = objects_of([[0, 0]], [[10**6, 10**6]], [[5, 5]])
        ((region,),) = find_regions(objects, objects.low, objects.high, ((10,) * 10**5, (10**6,)))
        assert (region.low, region.high, region.home, region.apart) == ((0, 0), (10**6, 10**6), (0, 0), False)

    def test_of_nothing_are_none(self):
        nothing = objects_of(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2)))
        assert find_regions(nothing, nothing.low, nothing.high, ((3, 3), (4,))) == []

    def test_of_real_nuclei(self, nuclei3d):
        labels, chunks = nuclei3d[1].values, ((10, 10, 11), (20, 20, 21), (57,))
        _, objects = find_objects(nuclei3d[1])
        found = regions_of(objects, chunks)
        rows = np.concatenate([region.rows for region in found])
        assert sorted(objects.ids[rows].tolist()) == np.unique(labels)[1:].tolist()
        for region in found:
            inside = labels[box_of(region)]
            for label in objects.ids[region.rows]:
                assert np.count_nonzero(inside == label) == np.count_nonzero(labels == label)


class Storage:
    """An array that counts how often each of its blocks is read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, array.ndim
        self.reads: Counter = Counter()

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
        self.reads[tuple((part.start, part.stop) for part in key)] += 1
        return self.array[key]

    def lazy(self, chunks: Any) -> Any:
        return da.from_array(self, chunks, name=False, meta=np.empty((0,) * self.ndim, self.dtype))


def held_by(supply: Supply, *keys: tuple[int, tuple[int, ...], int]) -> list[list[Any]]:
    """What the keys of some (region, block of the other dims, reading) hold, computed at once."""
    wanted = [supply.keys(*key) for key in keys]
    graph = {key: task for array in supply.dependencies for key, task in dict(array.__dask_graph__()).items()}
    return dask.get(graph, wanted)


SOURCES = ["a computation", "storage, kept", "storage, read again"]


@pytest.fixture(params=SOURCES)
def source(request, monkeypatch):
    """Makes a dask array of a numpy array."""
    if request.param == "storage, read again":
        monkeypatch.setattr("xlabelstats.engine.region_pixels.KEPT_BYTES", -1)
    if request.param == "a computation":
        return lambda array, chunks: da.from_array(array, chunks).map_blocks(np.array)
    return lambda array, chunks: da.from_array(array, chunks)


def plan_of(objects: Objects, chunks: Chunks, flip: bool = False) -> tuple[list[Region], Routes]:
    """The regions of objects and their plan; with ``flip`` what would be apart is not, and the other way round."""
    regions = regions_of(objects, chunks)
    if flip:
        regions = [Region(r.home, r.low, r.high, r.rows, not r.apart) for r in regions]
    return regions, Routes(regions, objects.low, objects.high, chunks)


def needed_by(objects: Objects, region: Region, shape: tuple[int, ...], chunks: Chunks) -> np.ndarray:
    """Which pixels of a region lie in blocks that its objects reach into, by listing the block of every pixel."""
    along = [np.repeat(np.arange(len(sizes)), sizes) for sizes in chunks]
    number = np.ravel_multi_index(np.meshgrid(*along, indexing="ij"), [len(sizes) for sizes in chunks]).reshape(shape)
    reached = [
        number[tuple(map(slice, low, high))]
        for low, high in zip(objects.low[region.rows], objects.high[region.rows], strict=True)
    ]
    return np.isin(number[box_of(region)], np.concatenate([blocks.ravel() for blocks in reached]))


class TestSupply:
    @pytest.mark.parametrize("origin", SOURCES)
    @settings(max_examples=30, deadline=None)
    @given(data=st.data(), ndim=st.integers(1, 3), channels=st.lists(st.integers(1, 3), max_size=2))
    def test_regions_get_what_the_array_holds_in_the_blocks_that_their_objects_reach_into(
        self, origin, data, ndim, channels
    ):
        shape, chunks, objects = data.draw(boxes(ndim, (60, 14, 7)[ndim - 1], 6))
        array = np.random.default_rng(0).integers(1, 2**16, (*channels, *shape), np.uint16)
        lazy = da.from_array(array, (*data.draw(ragged(tuple(channels))), *chunks))
        # Regions apart get their blocks themselves, others copies of what they need of them.
        regions, plan = plan_of(objects, chunks, data.draw(st.booleans()))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "xlabelstats.engine.region_pixels.KEPT_BYTES", -1 if origin == "storage, read again" else 2**28
            )
            supply = Supply(lazy.map_blocks(np.array) if origin == "a computation" else lazy, plan)
        assert supply.other_chunks == lazy.chunks[: len(channels)]
        index = list(np.ndindex(*lazy.numblocks[: len(channels)]))
        wholes = {other: lazy.blocks[(*other, ...)].compute() for other in index}
        wanted = [(r, other, reading) for r in range(len(regions)) for other in index for reading in (0, 2)]
        for (r, other, _), held in zip(wanted, held_by(supply, *wanted), strict=True):
            region, whole = regions[r], wholes[other]
            needed = needed_by(objects, region, shape, chunks)
            before = pickle.dumps(held)
            joined = join(plan.parts[r], held, shape_of(region))
            assert joined.dtype == array.dtype
            np.testing.assert_array_equal(joined, np.where(needed, whole[box_of(region)], 0))

            times = np.zeros(shape_of(region), int)
            for first, piece in pieces(plan.parts[r], held, region.low):
                # What a piece holds is what the array holds there, the region's pixels and maybe others.
                at = tuple(slice(a, a + n) for a, n in zip(first, piece.shape[len(channels) :], strict=True))
                np.testing.assert_array_equal(piece, whole[(..., *at)])
                inside = tuple(
                    slice(max(part.start - a, 0), max(min(part.stop, b) - a, 0))
                    for part, a, b in zip(at, region.low, region.high, strict=True)
                )
                times[inside] += 1
            np.testing.assert_array_equal(times, needed)
            assert pickle.dumps(held) == before

    def test_a_region_in_one_block_is_not_copied(self):
        array = da.from_array(np.arange(100).reshape(10, 10), 5)
        _, plan = plan_of(objects_of([[1, 0]], [[4, 5]], [[2, 2]]), array.chunks)
        ((block,),) = held_by(Supply(array, plan), (0, (), 0))
        assert np.shares_memory(join(plan.parts[0], [block], (3, 5)), block)

    def test_an_object_apart_gets_the_blocks_themselves(self):
        array = da.from_array(np.arange(100).reshape(10, 10), 5) + 0
        (region,), plan = plan_of(objects_of([[1, 1]], [[7, 7]], [[2, 2]]), array.chunks, flip=True)
        assert region.apart
        assert plan.copies == {}
        assert Supply(array, plan).keys(0) == [(array.name, i, j) for i in (0, 1) for j in (0, 1)]

    def test_blocks_hand_out_copies_not_views_of_themselves(self):
        array = da.from_array(np.arange(100).reshape(10, 10), 5) + 0
        (region,), plan = plan_of(objects_of([[1, 1]], [[4, 7]], [[2, 2]]), array.chunks)
        assert not region.apart
        (held,) = held_by(Supply(array, plan), (0, (), 0))
        (copy,) = [block for part, block in zip(plan.parts[0], held, strict=True) if part.copy is not None]
        assert [piece.shape for piece in copy] == [(3, 2)]
        assert all(piece.base is None and piece.flags.c_contiguous for piece in copy)

    def test_a_corner_of_a_region_that_no_object_reaches_into_is_not_asked_for(self):
        array = da.from_array(np.arange(400).reshape(20, 20), 10)
        objects = objects_of([[9, 14], [14, 9]], [[12, 17], [17, 12]], [[10, 15], [15, 10]])
        _, plan = plan_of(objects, array.chunks)
        assert [part.block for part in plan.parts[0]] == [(0, 1), (1, 0), (1, 1)]


def sums(mask: np.ndarray, image: np.ndarray | None, low: tuple[int, ...], objects: Objects, scale: int = 1) -> Any:
    pixels = mask if image is None else image
    return low, {int(i): scale * pixels[..., mask == i].sum(axis=-1) for i in objects.ids}


class TestMapRegions:
    @pytest.mark.parametrize("depth", [0, 1, 2])
    def test_every_label_is_dealt_with_once_and_whole(self, source, depth):
        labels = blobs((9, 30, 31), 25)
        image = np.random.default_rng(1).integers(0, 99, (*(3, 2)[:depth], *labels.shape))
        lazy_mask = source(labels, (4, 8, 9))
        lazy_image = source(image, (*(2, 1)[:depth], 4, 8, 9))
        _, objects = find_objects(xr.DataArray(labels, dims=("z", "y", "x")))
        regions = regions_of(objects, lazy_mask.chunks)
        tables = map_regions(partial(sums, scale=2), lazy_mask, lazy_image, objects, objects.low, objects.high)
        assert tables.shape == (*((3, 2)[:depth]), len(regions))
        assert tables.numblocks == (*((2, 2)[:depth]), len(regions))
        keys = list(dask.core.flatten(tables.__dask_keys__()))
        found: dict[tuple[int, Any], np.ndarray] = {}
        for (_, *index, r), (low, table) in zip(keys, dask.get(dict(tables.__dask_graph__()), keys), strict=True):
            assert low == regions[r].low
            assert list(table) == objects.ids[regions[r].rows].tolist()
            for label, value in table.items():
                assert (label, *index) not in found
                found[(label, *index)] = value
        assert len(found) == len(objects.ids) * 2**depth
        chunks = {index: lazy_image.blocks[(*index, ...)].compute() for index in np.ndindex(*(2, 2)[:depth])}
        for (label, *index), value in found.items():
            channels = chunks[tuple(index)]
            np.testing.assert_array_equal(value, 2 * channels[..., labels == label].sum(axis=-1))

    def test_without_an_image_there_is_one_call_per_region(self, source):
        labels = blobs((30, 31), 25)
        _, objects = find_objects(xr.DataArray(labels, dims=("y", "x")))
        lazy = source(labels, (8, 9))
        tables = map_regions(sums, lazy, None, objects, objects.low, objects.high)
        found = dask.get(dict(tables.__dask_graph__()), tables.__dask_keys__())
        merged = [item for _, table in found for item in table.items()]
        assert sorted(merged) == [(i, i * np.count_nonzero(labels == i)) for i in np.unique(labels)[1:]]

    def test_no_task_of_a_region_can_run_before_its_blocks(self, source):
        labels = blobs((20, 22), 9)
        objects = find_objects(xr.DataArray(labels, dims=("y", "x")))[1]
        lazy = source(labels, (8, 9))
        graph = dict(map_regions(sums, lazy, None, objects, objects.low, objects.high).__dask_graph__())
        first = {key[0] for key in graph if not dask.core.get_dependencies(graph, key)}
        known = set(dict(lazy.__dask_graph__()))
        assert {name for name in first if not any(name in (key, key[0]) for key in known)} == {
            name for name in first if name.startswith("job-")
        }


def measured(image: xr.DataArray, mask: xr.DataArray) -> xr.Dataset:
    """Everything that brings objects together, sorted by label."""
    size = {dim: 2 * n + 1 for dim, n in mask.sizes.items()}
    alone, all_of = (
        image.instances.windows(mask, size, remove_background=removed, batch_size=7) for removed in (True, False)
    )
    return xr.Dataset(
        {
            "alone": alone.sortby("label")["image"],
            "mask": alone.sortby("label")["mask"],
            "all": all_of.sortby("label")["image"],
            "all_mask": all_of.sortby("label")["mask"],
            "quantiles": image.instances.quantiles(mask),
            "median": image.instances.median(mask),
            "features": image.instances.featurize(
                mask, lambda b: b.max(axis=tuple(range(2, b.ndim))), size=size, n_features=image.size // mask.size
            ).sortby("label"),
        }
    )


class TestStorage:
    @pytest.mark.parametrize("cost", [0, REGION_COST])
    @pytest.mark.parametrize("kept", [0, 2**28])
    @pytest.mark.parametrize("ndim", [2, 3])
    def test_results_are_the_same_whether_blocks_are_kept_or_read_again_and_objects_apart_or_not(
        self, monkeypatch, ndim, kept, cost
    ):
        monkeypatch.setattr("xlabelstats.engine.region_pixels.KEPT_BYTES", kept)
        monkeypatch.setattr("xlabelstats.engine.ownership.REGION_COST", cost)
        shape = (7, 20, 21)[3 - ndim :]
        mask = xr.DataArray(blobs(shape, 15), dims=("z", "y", "x")[3 - ndim :])
        image = xr.DataArray(np.random.default_rng(0).random((3, *shape)), dims=("c", *mask.dims))
        expected = measured(image, mask)
        _, objects = find_objects(mask)
        assert any(region.apart for region in regions_of(objects, mask.chunk(9).chunks)) == (cost == 0)
        for chunks in (5, 9):
            a, b = image.chunk(chunks).chunk(c=2), mask.chunk(chunks)
            xr.testing.assert_identical(measured(a, b).compute(), expected)
        a, b = a.copy(data=a.data.map_blocks(np.array)), b.copy(data=b.data.map_blocks(np.array))
        xr.testing.assert_identical(measured(a, b).compute(), expected)

    def test_results_of_real_nuclei_are_the_same(self, monkeypatch, nuclei3d):
        image, mask = nuclei3d
        expected = image.instances.windows(mask, 40), image.instances.quantiles(mask)
        monkeypatch.setattr("xlabelstats.engine.region_pixels.KEPT_BYTES", 0)
        image, mask = image.chunk(13), mask.chunk(17)
        found = image.instances.windows(mask, 40).sortby("label"), image.instances.quantiles(mask)
        for lazy, whole in zip(found, expected, strict=True):
            xr.testing.assert_identical(lazy.compute(), whole)

    @pytest.mark.parametrize(("kept", "most"), [(0, 2), (2**28, 1)])
    @pytest.mark.parametrize("call", ["windows", "quantiles"])
    def test_blocks_of_small_arrays_are_read_once_and_of_large_ones_at_most_twice(self, monkeypatch, call, kept, most):
        monkeypatch.setattr("xlabelstats.engine.region_pixels.KEPT_BYTES", kept)
        labels = blobs((40, 41), 40, seed=1)
        pixels, labelled = Storage(np.random.default_rng(0).random((2, 40, 41))), Storage(labels)
        image = xr.DataArray(pixels.lazy((2, 10, 10)), dims=("c", "y", "x"))
        mask = xr.DataArray(labelled.lazy(10), dims=("y", "x"))
        lazy = image.instances.windows(mask, 61) if call == "windows" else image.instances.quantiles(mask)
        assert set(labelled.reads.values()) == {1}
        labelled.reads.clear()
        lazy.compute()
        for storage in (pixels, labelled):
            assert max(storage.reads.values()) == most
            assert len(storage.reads) <= 25

    def test_what_is_computed_is_computed_once(self, monkeypatch):
        monkeypatch.setattr("xlabelstats.engine.region_pixels.KEPT_BYTES", 0)
        pixels = Storage(np.random.default_rng(0).random((40, 41)))
        image = xr.DataArray(pixels.lazy(10), dims=("y", "x")) + 1
        mask = xr.DataArray(blobs((40, 41), 40, seed=1), dims=("y", "x")).chunk(10)
        image.instances.windows(mask, 61).compute()
        assert set(pixels.reads.values()) == {1}

    @pytest.mark.parametrize("cost", [0, REGION_COST])
    def test_a_mask_in_one_block_is_rechunked_and_read_no_more_than_that(self, monkeypatch, cost):
        monkeypatch.setattr("xlabelstats.engine.region_pixels.KEPT_BYTES", 0)
        monkeypatch.setattr("xlabelstats.engine.ownership.REGION_COST", cost)
        mask = xr.DataArray(blobs((12, 13), 6), dims=("y", "x"))
        image = xr.DataArray(np.random.default_rng(0).random((12, 13)), dims=("y", "x"))
        expected = measured(image, mask)
        for chunks in ({"x": 5}, {"y": 5}, {"y": 4, "x": 4}):
            a, b = image.chunk(chunks), mask.chunk(-1)
            xr.testing.assert_identical(measured(a, b).compute(), expected)

    def test_zarr_arrays_transposed_or_joined_too_are_read_again_and_what_is_made_of_them_is_not(
        self, monkeypatch, tmp_path
    ):
        monkeypatch.setattr("xlabelstats.engine.region_pixels.KEPT_BYTES", 0)
        array = xr.DataArray(np.arange(400).reshape(20, 20), dims=("y", "x"), name="a")
        array.chunk(5).to_zarr(tmp_path / "a.zarr", zarr_format=2)
        stored = xr.open_zarr(tmp_path / "a.zarr")["a"]
        objects = objects_of([[1, 1]], [[4, 7]], [[2, 2]])
        for lazy, again in (
            (stored, True),
            (stored.T, True),
            (stored.chunk(x=10), True),
            (stored + 1, False),
            (stored.chunk(4), False),
        ):
            supply = Supply(lazy.data, plan_of(objects, lazy.chunks)[1])
            assert (supply.reading(1).name != supply.reading(0).name) == again


def test_blocks_that_a_region_needs_most_of_are_not_copied():
    # A huge object round small ones: its box is the region, of which copies would be as large as the image.
    low, high = np.array([[40, 40], [150, 150]]), np.array([[350, 350], [160, 160]])
    objects = objects_of(low, high, np.array([[155, 155], [155, 155]]))
    chunks = ((100,) * 4,) * 2
    plan = Routes(regions_of(objects, chunks), low, high, chunks)
    (parts,) = plan.parts
    copied = {part.block for part in parts if part.copy is not None}
    assert copied == {(0, 0), (0, 3), (3, 0), (3, 3)} | {(3, i) for i in (1, 2)} | {(i, 3) for i in (1, 2)}
    assert len(parts) == 16
