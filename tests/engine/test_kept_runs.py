"""Runs that the scan of a mask keeps: what is read again, what memory they take, and that no result changes."""

from __future__ import annotations

import gc
import pickle
import tracemalloc
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from conftest import blobs, set_aside
from processes import processes

import xlabelstats
from xlabelstats.engine.kept_runs import BLOCK_BYTES, KeptRuns, PackedRuns, keeps_runs
from xlabelstats.engine.runs import find_runs
from xlabelstats.labels.scan_memory import ScanMemory
from xlabelstats.pipeline import Cache

EVERY = ("count", "sum", "mean", "var", "std", "skew", "kurtosis", "min", "max", "valid")


class Store:
    """An array in storage that counts the pixels that are read of it."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.pixels = array, 0
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __getitem__(self, key: Any) -> np.ndarray:
        self.pixels += self.array[key].size
        return self.array[key]

    @property
    def reads(self) -> float:
        """How often it was read, as a whole."""
        return self.pixels / self.array.size


def stored(array: np.ndarray, chunks: Any, dims: str) -> tuple[xr.DataArray, Store]:
    store = Store(array)
    return xr.DataArray(da.from_array(store, chunks=chunks, name=False), dims=tuple(dims), name="stored"), store


class Broken:
    """An array whose last block cannot be read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.size = array, array.size

    def __getitem__(self, key: Any) -> np.ndarray:
        if all(along.stop == size for along, size in zip(key, self.array.shape, strict=True)):
            raise OSError("the last block is broken")
        return self.array[key]


LABELS = blobs((60, 80), 30, seed=3)
PIXELS = np.random.default_rng(3).integers(0, 4000, (3, 60, 80)).astype("u2")


def both(chunks: Any = (30, 40), image_chunks: Any = (3, 30, 40)) -> tuple[xr.DataArray, xr.DataArray, Store]:
    mask, store = stored(LABELS, chunks, "yx")
    return stored(PIXELS, image_chunks, "cyx")[0], mask, store


def living() -> int:
    """The bytes of all runs that are kept."""
    if KeptRuns.taken():
        gc.collect()
    return KeptRuns.taken()


def kept_blocks(result: xr.DataArray) -> list[Any]:
    """The tasks that give runs that were kept."""
    return [task for key, task in dict(result.data.dask).items() if "kept-runs" in str(key)]


@pytest.fixture(scope="module", autouse=True)
def _little_to_search():
    set_aside()


@pytest.fixture(autouse=True)
def _forget():
    xlabelstats.clear_cache()
    yield
    xlabelstats.clear_cache()


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "u8"])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("shape", [(60, 80), (3, 20, 90), (4000,), (0, 5), (5, 70000)])
def test_packed_runs_are_the_same_unpacked(dtype, background, shape):
    mask = blobs(shape, 12).astype(dtype) if np.prod(shape) else np.zeros(shape, dtype)
    runs = find_runs(mask, background=background)
    packed = PackedRuns.of(runs)
    again = packed.unpack(shape)
    for one, other in zip((runs.ids, *runs.runs), (again.ids, *again.runs), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    painted = np.zeros(mask.size, mask.dtype)
    codes, starts, lengths, _ = again.runs
    painted[np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())] = np.repeat(
        again.ids[codes], lengths
    )
    np.testing.assert_array_equal(painted.reshape(shape), mask)
    assert packed.nbytes - BLOCK_BYTES <= runs.__sizeof__()


class TestReads:
    @pytest.mark.parametrize("image_chunks", [(3, 30, 40), (1, 30, 40), (3, 60, 80), (2, 17, 80), (3, 20, 16)])
    @pytest.mark.parametrize(("memory", "reads"), [(2**28, 1), (0, 2)])
    def test_a_mask_is_read_once_or_without_memory_for_it_twice(self, image_chunks, memory, reads):
        image, mask, store = both(image_chunks=image_chunks)
        with xlabelstats.set_options(mask_memory=memory):
            result = image.labels.aggregate(mask)
            assert store.reads == 1
            result.compute()
            assert store.reads == reads

    def test_the_calls_that_follow_do_not_read_it(self):
        image, mask, store = both()
        assert mask.labels.ids().size
        image.labels.aggregate(mask).compute()
        mask.labels.scan()
        mask.labels.count().compute()
        mask.labels.center_of_mass().compute()
        image.labels.histogram(mask, 8).compute()
        image.labels.measure(mask, ("mean", "area", "position_max")).compute()
        assert store.reads == 1

    def test_after_a_scan_of_where_objects_lie_it_is_not_read_again(self):
        image, mask, store = both()
        mask.labels.scan()
        image.labels.aggregate(mask).compute()
        mask.labels.count().compute()
        assert store.reads == 1

    def test_as_many_masks_as_are_remembered_are_not_scanned_again(self):
        masks = [both()[1:] for _ in range(ScanMemory.size)]
        for _ in range(2):
            for mask, store in masks:
                mask.labels.scan()
                assert store.reads == 1

    def test_what_needs_objects_whole_reads_it_and_what_follows_does_not(self):
        image, mask, store = both()
        expected = image.labels.aggregate(mask.compute()).compute()
        store.pixels = 0
        image.labels.median(mask).compute()
        assert store.reads == 2
        xr.testing.assert_allclose(image.labels.aggregate(mask).compute(), expected, rtol=1e-12)
        assert store.reads == 2

    def test_a_scan_of_where_objects_lie_does_not_replace_runs_of_other_blocks(self):
        image, mask, store = both(image_chunks=(3, 20, 16))
        image.labels.mean(mask).compute()
        mask.labels.scan()
        assert store.reads == 2
        image.labels.mean(mask).compute()
        assert store.reads == 2

    def test_pixels_around_blocks_are_read(self):
        _, mask, store = both()
        mask.labels.regionprops(("perimeter",)).compute()
        assert store.reads == 2

    def test_with_labels_given_it_is_read_when_computed_and_nothing_is_kept(self):
        image, mask, store = both()
        result = image.labels.aggregate(mask, labels=[1, 5, 999])
        assert store.reads == 0
        result.compute()
        assert store.reads == 1
        assert living() == 0

    def test_a_mask_that_is_computed_is_computed_once(self):
        image, mask, store = both()
        computed = mask.copy(data=mask.data.map_blocks(lambda block: block * 2, dtype=mask.dtype))
        expected = image.labels.aggregate(xr.DataArray(LABELS * 2, dims=("y", "x")), EVERY)
        xr.testing.assert_allclose(image.labels.aggregate(computed, EVERY).compute(), expected, rtol=1e-9)
        assert store.reads == 1

    def test_frames_are_read_once(self):
        labels = np.stack([LABELS, LABELS[::-1], np.roll(LABELS, 7, 1)])
        mask, store = stored(labels, (2, 30, 40), "tyx")
        image, _ = stored(labels[:, None] * 2.0, (2, 1, 20, 80), "tcyx")
        result = image.labels.mean(mask, per="t").compute()
        assert store.reads == 1
        np.testing.assert_array_equal(result[:, 0], result["label"] * 2.0)

    def test_frames_in_which_objects_were_found_whole_are_not_read_again(self):
        mask, store = stored(np.stack([LABELS, LABELS[::-1], np.roll(LABELS, 7, 1)]), (2, 30, 40), "tyx")
        image, _ = stored(np.stack([PIXELS[0]] * 3), (2, 30, 40), "tyx")
        image.labels.median(mask, per="t").compute()
        assert store.reads == 2
        image.labels.mean(mask, per="t").compute()
        assert store.reads == 2

    @pytest.mark.parametrize("background", [False, True])
    def test_background_is_scanned_apart(self, background):
        image, mask, store = both()
        image.labels.sum(mask, background=not background).compute()
        found = image.labels.sum(mask, background=background).compute()
        assert store.reads == 2
        expected = [PIXELS[:, label == LABELS].sum(1) for label in found["label"].values]
        np.testing.assert_array_equal(found, expected)

    @pytest.mark.parametrize(
        ("image_chunks", "reads"),
        [((60, 23), 1), ((17, 80), 1), ((30, 40), 1), (((30, 0, 30), 80), 3), (((0, 60), (0, 80)), 3), ((60, 1), 3)],
    )
    def test_grey_values_are_looked_at_in_the_blocks_that_were_scanned(self, image_chunks, reads):
        grey, store = stored(np.broadcast_to(np.arange(60)[:, None] % 20 + 1, (60, 80)), (30, 40), "yx")
        image, _ = stored(PIXELS[0], image_chunks, "yx")
        with pytest.warns(UserWarning, match="are image and mask swapped"):
            image.labels.mean(grey).compute()
        assert store.reads == reads

    def test_a_scan_gives_the_same_bits_after_one_in_other_chunks(self):
        image, mask, _ = both(image_chunks=(3, 17, 23))
        image.labels.mean(mask)
        xr.testing.assert_identical(mask.labels.scan(), both()[1].labels.scan())

    def test_in_another_order_of_dims_nothing_is_kept(self):
        mask, store = stored(LABELS[:, :60], 30, "yx")
        image = both()[0][:, :, :60].transpose("c", "x", "y")
        image.labels.mean(mask).compute()
        assert (store.reads, living()) == (2, 0)

    @pytest.mark.parametrize("chunks", [((30, 0, 30), 80), ((0, 60), (0, 80)), (60, 1)])
    def test_in_blocks_without_pixels_or_of_short_rows_nothing_is_kept(self, chunks):
        mask, store = stored(np.kron(np.arange(48).reshape(6, 8) + 1, np.ones((10, 10), int)), 20, "yx")
        image, _ = stored(PIXELS[0], chunks, "yx")
        assert not keeps_runs(mask.data, mask.data.rechunk(chunks))
        image.labels.mean(mask).compute()
        assert (store.reads, living()) == (2, 0)

    @pytest.mark.parametrize("persisted", [False, True])
    def test_of_arrays_in_memory_they_are_kept_if_they_are_measured_as_they_are(self, monkeypatch, persisted):
        image = xr.DataArray(da.from_array(PIXELS, chunks=(3, 30, 40)), dims=("c", "y", "x"))
        blocks = both()[1].data.persist() if persisted else da.from_array(LABELS, chunks=(30, 40))
        mask = xr.DataArray(blocks, dims=("y", "x"))
        expected = xr.DataArray(PIXELS, dims=("c", "y", "x")).labels.mean(xr.DataArray(LABELS, dims=("y", "x")))
        mask.labels.scan()
        mask.labels.ids()
        image.instances.median(mask).compute()
        image.chunk({"y": 20}).labels.mean(mask).compute()
        assert living() == 0
        xlabelstats.clear_cache()
        result = image.chunk({"y": mask.chunks[0], "x": mask.chunks[1]}).labels.mean(mask)
        assert living() > 0
        monkeypatch.setattr("xlabelstats.kernels.cpu.place_runs", None)
        xr.testing.assert_allclose(result.compute(), expected, rtol=1e-14)


@pytest.mark.parametrize("chunks", [(60, 80), (30, 40), (17, 23), (1, 80), ((10, 50), (79, 1))])
@pytest.mark.parametrize("image_chunks", [(3, 60, 80), (1, 30, 40), (2, 17, 23)])
def test_results_are_the_same_bits(chunks, image_chunks):
    def results(memory: int) -> list[Any]:
        with xlabelstats.set_options(mask_memory=memory):
            image, mask, _ = both(chunks, image_chunks)
            weights = xr.DataArray(np.linspace(0.5, 2, 80), dims="x")
            return [
                image.labels.aggregate(mask, EVERY, background=True).compute(),
                (image * 0.1).labels.aggregate(mask, EVERY).compute(),
                image.transpose("c", "x", "y").labels.aggregate(mask, EVERY).compute(),
                image.labels.aggregate(mask, weights=weights).compute(),
                mask.labels.regionprops(("area", "centroid", "perimeter", "moments_hu")).compute(),
                mask.labels.scan(),
            ]

    for kept, read in zip(results(2**28), results(0), strict=True):
        xr.testing.assert_identical(kept, read)


class TestMemory:
    def test_is_let_go_with_the_mask_and_its_results(self):
        image, mask, _ = both()
        result = image.labels.mean(mask)
        taken = living()
        assert 0 < taken - 4 * BLOCK_BYTES < LABELS.nbytes / 10
        del mask
        assert living() == taken
        result.compute()
        del result
        assert living() == 0

    def test_is_let_go_by_clear_cache(self):
        image, mask, store = both()
        image.labels.mean(mask)
        xlabelstats.clear_cache()
        assert living() == 0
        image.labels.mean(mask).compute()
        assert store.reads == 2

    def test_is_bounded_for_all_masks_together(self):
        image, mask, store = both()
        image.labels.mean(mask).compute()
        taken = living()
        with xlabelstats.set_options(mask_memory=2 * taken - 1):
            _, other, read_again = both()
            image.labels.mean(other).compute()
            assert living() == taken
        with xlabelstats.set_options(mask_memory=2 * taken):
            _, third, read_once = both()
            image.labels.mean(third).compute()
            assert living() == 2 * taken
        assert (store.reads, read_again.reads, read_once.reads) == (1, 2, 1)

    @pytest.mark.parametrize("block", [np.zeros((64, 64), "i4"), np.pad(np.ones((20, 20), "i4"), 22)])
    def test_is_all_that_is_taken(self, block):
        def scan() -> None:
            mask, _ = stored(np.tile(block, (12, 12)), 64, "yx")
            masks.append(mask)
            mask.labels.ids()

        masks: list[Any] = []
        scan()
        masks.clear()
        tracemalloc.start()
        try:
            scan()
            gc.collect()
            with_runs, counted = tracemalloc.get_traced_memory()[0], KeptRuns.taken()
            xlabelstats.clear_cache()
            gc.collect()
            taken = with_runs - tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert counted == pytest.approx(taken, rel=0.15)

    def test_what_is_beyond_a_lower_option_is_let_go_by_the_next_call(self):
        image, first, _ = both()
        image.labels.mean(first).compute()
        taken = living()
        second = both()[1]
        image.labels.mean(second).compute()
        with xlabelstats.set_options(mask_memory=taken):
            image.labels.mean(second).compute()
            assert living() == taken
            image.labels.mean(second)
        with xlabelstats.set_options(mask_memory=0):
            both()[1].labels.count()
            assert living() == 0

    @pytest.mark.parametrize("call", [lambda image, mask: image.labels.mean(mask), lambda _, mask: mask.labels.scan()])
    def test_a_scan_that_fails_keeps_nothing_while_its_exception_lives(self, call):
        image, mask, store = both()
        whole, store.array = store.array, Broken(store.array)
        with dask.config.set(scheduler="sync"), pytest.raises(OSError, match="last block") as raised:
            call(image, mask)
        assert living() == 0
        assert raised.value
        store.array = whole
        call(image, mask)
        assert living()

    def test_noise_is_given_up_after_the_first_blocks(self, monkeypatch):
        packed: list[int] = []
        pack = PackedRuns.of
        monkeypatch.setattr(PackedRuns, "of", lambda runs: packed.append(1) or pack(runs))
        noise, _ = stored(np.random.default_rng(0).integers(0, 3000, (2048, 2048)).astype("i4"), 512, "yx")
        with dask.config.set(scheduler="sync"):
            noise.labels.ids()
        assert len(packed) < 4

    def test_masks_of_short_runs_are_read_again(self):
        noise, store = stored(np.random.default_rng(0).integers(0, 9, (60, 80)).astype("i4"), 20, "yx")
        result = both()[0].labels.mean(noise)
        assert living() == 0
        result.compute()
        assert store.reads == 2

    def test_without_memory_what_was_kept_is_not_used(self):
        image, mask, store = both()
        image.labels.mean(mask).compute()
        with xlabelstats.set_options(mask_memory=0):
            image.labels.mean(mask).compute()
        assert store.reads == 2


class TestChanges:
    def test_a_mask_is_measured_as_it_was_scanned(self):
        image, mask, store = both()
        expected = image.labels.aggregate(mask).compute()
        result = image.labels.aggregate(mask)
        store.array = np.roll(LABELS, 5, axis=0)
        xr.testing.assert_identical(result.compute(), expected)
        xr.testing.assert_identical(image.labels.aggregate(mask).compute(), expected)
        opened_again = mask.copy(data=da.from_array(store, chunks=(30, 40), name=False))
        assert not image.labels.aggregate(opened_again).compute().identical(expected)

    def test_a_mask_that_was_not_kept_is_checked(self):
        image, mask, store = both()
        with xlabelstats.set_options(mask_memory=0):
            result = image.labels.aggregate(mask)
            store.array = np.where(LABELS == 0, 999, LABELS)
            with pytest.raises(RuntimeError, match="mask has changed since it was scanned: label 999 is new"):
                result.compute()


def expected_means(labels: np.ndarray) -> xr.DataArray:
    return xr.DataArray(PIXELS, dims=("c", "y", "x")).labels.mean(xr.DataArray(labels, dims=("y", "x")))


names_are_ours = pytest.mark.skipif(
    da.map_blocks(np.abs, da.ones(1), name="ours").name != "ours",
    reason="this dask adds a token of its own to the name that map_blocks is given",
)


class TestNames:
    """What dask and the cache of pipelines know results by."""

    MOVED = np.roll(LABELS, (5, 11), (0, 1))

    @staticmethod
    def opened(store: Store) -> xr.DataArray:
        """The mask in a store, by the same name whatever it holds, as `dask.array.from_zarr` gives it."""
        return xr.DataArray(da.from_array(store, chunks=(30, 40), name="a-mask"), dims=("y", "x"))

    @staticmethod
    def image(chunks: Any = (3, 30, 40), store: Store | None = None) -> xr.DataArray:
        array = da.from_array(store or Store(PIXELS), chunks=chunks, name=f"an-image-{chunks}")
        return xr.DataArray(array, dims=("c", "y", "x"))

    def check(self, before: xr.DataArray, after: xr.DataArray) -> None:
        """Measured together, the results are those of the mask as it was, and as it is."""
        assert before.data.name != after.data.name
        for first, second in (dask.compute(before, after), dask.compute(after, before)[::-1]):
            xr.testing.assert_allclose(first, expected_means(LABELS))
            xr.testing.assert_allclose(second, expected_means(self.MOVED))

    @pytest.mark.parametrize("image_chunks", [(3, 30, 40), (1, 30, 40), (3, 17, 80)])
    def test_a_mask_before_and_after_it_changed_is_measured_in_one_computation(self, image_chunks):
        image, store = self.image(image_chunks), Store(LABELS)
        mask = self.opened(store)
        before = image.labels.mean(mask)
        store.array = self.MOVED
        after = image.labels.mean(self.opened(store))
        assert store.reads == 2
        self.check(before, after)
        old, new = expected_means(LABELS), expected_means(self.MOVED)
        xr.testing.assert_allclose((after - before).compute(), new - old)
        xr.testing.assert_allclose(xr.concat([after, before], "when").compute(), xr.concat([new, old], "when"))
        with pytest.raises(xr.MergeError):
            xr.merge([before, after], compat="identical")
        assert store.reads == 2

    def test_the_same_mask_scanned_anew_after_it_changed(self):
        image, store = self.image(), Store(LABELS)
        mask = self.opened(store)
        before = image.labels.mean(mask)
        store.array = self.MOVED
        xlabelstats.clear_cache()
        self.check(before, image.labels.mean(mask))

    def test_a_result_that_was_pickled_before_the_mask_changed(self):
        image, store = self.image(), Store(LABELS)
        before = pickle.loads(pickle.dumps(image.labels.mean(self.opened(store))))
        assert living() == 0
        store.array = self.MOVED
        self.check(before, image.labels.mean(self.opened(store)))

    def test_a_mask_that_is_read_again_beside_one_that_was_kept(self):
        image, store = self.image(), Store(LABELS)
        before = image.labels.mean(self.opened(store))
        store.array = self.MOVED
        with xlabelstats.set_options(mask_memory=1):
            after = image.labels.mean(self.opened(store))
        self.check(before, after)

    def test_of_equal_masks_are_equal(self):
        image = self.image()
        masks = [self.opened(Store(array)) for array in (LABELS, self.MOVED, LABELS, self.MOVED)]
        results = [image.labels.mean(mask) for mask in masks]
        first, second, third, fourth = (result.data.name for result in results)
        assert (first, second) == (third, fourth)
        assert first != second

    @names_are_ours
    @pytest.mark.parametrize("image_chunks", [(3, 30, 40), (1, 30, 40), (2, 17, 23)])
    def test_do_not_depend_on_what_is_kept(self, image_chunks):
        def names(memory: int, first: Any = None) -> list[str]:
            xlabelstats.clear_cache()
            with xlabelstats.set_options(mask_memory=memory):
                image, mask = self.image(image_chunks), self.opened(Store(LABELS))
                if first is not None:
                    first(mask)
                results = [
                    image.labels.mean(mask),
                    image.labels.mean(mask, background=True),
                    mask.labels.count(),
                    image.labels.mean(mask, labels=[5, 3]),
                ]
                assert len({result.data.name for result in results}) == 4
                return [result.data.name for result in results]

        kept = names(2**28)
        assert names(2**28) == names(0) == names(300) == kept
        assert names(2**28, lambda mask: mask.labels.ids()) == kept
        assert names(2**28, lambda mask: mask.labels.scan()) == kept

    @names_are_ours
    def test_are_such_that_the_cache_of_a_pipeline_finds_a_result_again(self, tmp_path):
        def total(means: xr.DataArray) -> xr.DataArray:
            return means.sum().compute()

        cache, pixels = Cache(tmp_path / "cache"), Store(PIXELS)
        for memory, first in [(2**28, False), (2**28, True), (0, False), (2**28, False)]:
            xlabelstats.clear_cache()
            with xlabelstats.set_options(mask_memory=memory):
                image, mask = self.image((3, 60, 80), pixels), self.opened(Store(LABELS))
                if first:
                    mask.labels.ids()
                cache.run("total", total, image.labels.mean(mask))
        assert pixels.reads == 1


@pytest.fixture(scope="module")
def process():
    """The scheduler of another process, which is started once."""
    with ProcessPoolExecutor(1, processes()) as pool:
        yield {"scheduler": "processes", "pool": pool}


class TestSchedulers:
    def test_a_result_that_is_pickled_takes_its_runs_with_it_once(self):
        image, mask, store = both()
        result = image.labels.mean(mask)
        expected = result.compute()
        others = [both()[1] for _ in range(3)]
        for other in others:
            image.labels.mean(other)
        taken = living() // 4
        kept = kept_blocks(result)
        assert len(kept) == 4
        assert len(pickle.dumps(kept)) < taken + 3000
        sent = pickle.loads(pickle.dumps(kept[0]))
        assert not getattr(sent, "func", sent[0]).kept._blocks
        again = pickle.loads(pickle.dumps(result))
        del result
        store.array = None
        xr.testing.assert_identical(again.compute(), expected)

    def test_every_scheduler_computes_it(self, process):
        image, mask, _ = both()
        expected = image.labels.aggregate(mask, EVERY).compute()
        for scheduler in ({"scheduler": "sync"}, {"scheduler": "threads"}, process):
            with dask.config.set(scheduler):
                xr.testing.assert_identical(image.labels.aggregate(mask, EVERY).compute(), expected)

    def test_of_other_processes_nothing_is_kept(self, process):
        image, mask, store = both()
        with dask.config.set(process):
            assert not keeps_runs(mask.data)
            image.labels.mean(mask)
            assert living() == 0
        xlabelstats.clear_cache()
        result = image.labels.mean(mask).compute()
        with dask.config.set(process):
            other = image.labels.mean(mask)
            assert not kept_blocks(other)
            xr.testing.assert_identical(other.compute(), result)
        assert store.reads == 1

    def test_a_cluster_reads_the_mask_again(self):
        from distributed import Client

        image, mask, _ = both()
        before = image.labels.aggregate(mask, EVERY)
        expected = before.compute()
        with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=":0"):
            assert not keeps_runs(mask.data)
            taken = living()
            xr.testing.assert_identical(before.compute(), expected)
            assert not kept_blocks(image.labels.mean(mask))
            xr.testing.assert_identical(image.labels.aggregate(both()[1], EVERY).compute(), expected)
            assert living() == taken

    def test_threads_share_it(self):
        image, mask, store = both()
        image.labels.mean(mask)
        expected = image.labels.aggregate(mask, EVERY).compute()
        with ThreadPoolExecutor(8) as pool:
            results = pool.map(lambda _: image.labels.aggregate(mask, EVERY).compute(scheduler="sync"), range(16))
            for result in results:
                xr.testing.assert_identical(result, expected)
        assert store.reads == 1
