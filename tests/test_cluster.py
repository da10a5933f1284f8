"""Every call on a cluster: two worker processes that keep next to nothing in memory, and are killed."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from conftest import blobs
from dask._task_spec import DataNode, convert_legacy_graph
from dask.callbacks import Callback
from dask.sizeof import sizeof
from processes import cluster

import xlabelstats
from xlabelstats.embeddings import pca
from xlabelstats.pipeline import Cache, connected_components, watershed
from xlabelstats.pipeline.clumps import PeakedClumps

pytest.importorskip("distributed")

# Workers cannot import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

# The managed memory above which a worker spills, as a part of its limit: less than a table here.
CONFIG = {
    "distributed.worker.memory.target": 1e-7,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    # One that is killed twice is not to be given up because it was away at the wrong moment.
    "distributed.deploy.lost-worker-timeout": "10 minutes",
}
LARGE = 2**20
ALL = ("count", "sum", "mean", "var", "std", "skew", "kurtosis", "min", "max", "valid")

Field = Callable[[], tuple[xr.DataArray, xr.DataArray]]


def extent(pixels: np.ndarray) -> np.ndarray:
    return np.stack([pixels.min(axis=1), pixels.max(axis=1)], axis=1)


def area(window: np.ndarray) -> np.ndarray:
    return np.array([np.count_nonzero(window)])


def moments(batch: np.ndarray) -> np.ndarray:
    return np.stack([batch.mean(axis=(1, 2, 3)), batch.std(axis=(1, 2, 3))], axis=1)


def values_of(mask: xr.DataArray) -> xr.DataArray:
    ids = mask.labels.ids()
    return xr.DataArray(np.sqrt(np.arange(ids.size)), dims="label", coords={"label": ids})


def moved(mask: xr.DataArray) -> xr.DataArray:
    return mask.roll(y=3, x=2)


def shuffled(mask: xr.DataArray) -> np.ndarray:
    return np.random.default_rng(0).permutation(mask.labels.ids())


CALLS: dict[str, Callable[[xr.DataArray, xr.DataArray], Any]] = {
    "aggregate": lambda image, mask: image.labels.aggregate(mask, ALL),
    "aggregate, labels named": lambda image, mask: image.labels.aggregate(mask, labels=mask.labels.ids()),
    "aggregate, in an own order": lambda image, mask: image.labels.aggregate(mask, labels=shuffled(mask)),
    "aggregate a Dataset": lambda image, mask: xr.Dataset({"i": image, "m": mask}).labels.aggregate("m", "mean"),
    "count": lambda image, mask: mask.labels.count(),
    "center_of_mass": lambda image, mask: mask.labels.center_of_mass(),
    "center_of_mass, weighted": lambda image, mask: mask.labels.center_of_mass(image),
    "regionprops": lambda image, mask: mask.labels.regionprops(properties=("area", "bbox", "eccentricity", "moments")),
    "regionprops of an image": lambda image, mask: image.labels.regionprops(
        mask, ("intensity_mean", "moments_weighted")
    ),
    "radii_and_axes": lambda image, mask: mask.instances.radii_and_axes(),
    "paint": lambda image, mask: mask.labels.paint(values_of(mask)),
    "paint what was measured": lambda image, mask: mask.labels.paint(image.labels.mean(mask)),
    "windows": lambda image, mask: image.instances.windows(mask, 8),
    "windows, background kept": lambda image, mask: image.instances.windows(mask, 8, remove_background=False),
    "windows of a mask": lambda image, mask: mask.instances.windows(),
    "quantiles": lambda image, mask: image.instances.quantiles(mask),
    "quantiles, in an own order": lambda image, mask: image.instances.quantiles(mask, labels=shuffled(mask)),
    "statistics": lambda image, mask: image.instances.statistics(mask, extent, dims={"statistic": 2}),
    "statistics of a mask": lambda image, mask: mask.instances.statistics(area, dims={"statistic": 1}),
    "featurize": lambda image, mask: image.instances.featurize(mask, moments, size=8, n_features=2),
    "featurize a mask": lambda image, mask: mask.instances.featurize(moments, size=8, n_features=2),
    "regionprops of whole objects": lambda image, mask: mask.instances.regionprops(("perimeter", "euler_number")),
}

# What is computed at once of two masks, or of one.
PAIRS: dict[str, Callable[[xr.DataArray, xr.DataArray], xr.Dataset]] = {
    "overlap": lambda mask, other: mask.labels.overlap(other),
    "relate": lambda mask, other: mask.labels.relate(other),
    "contacts": lambda mask, other: mask.labels.contacts(2),
}

# What these hold of all labels, each once: their ids as named, their order, their values.
HELD = {
    "aggregate, labels named": 1,
    "aggregate, in an own order": 3,
    "quantiles, in an own order": 2,
    "paint": 2,
    "paint what was measured": 1,
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("spilled")
    with (
        dask.config.set(CONFIG),
        cluster(2, threads_per_worker=1, memory_limit="1GiB", local_directory=str(folder)) as client,
    ):
        yield client


def stored(folder: Path, image: np.ndarray, mask: np.ndarray, chunk: int) -> Field:
    """An image (c, y, x) and its mask as they are opened from a store, anew at every call."""
    import zarr

    group = zarr.create_group(folder)
    for name, array, chunks in (("image", image, (2, chunk, chunk)), ("mask", mask, (chunk, chunk))):
        group.create_array(name, shape=array.shape, chunks=chunks, dtype=array.dtype)[...] = array

    def opened() -> tuple[xr.DataArray, xr.DataArray]:
        image, mask = (da.from_zarr(group[name]) for name in ("image", "mask"))
        return xr.DataArray(image, dims=("c", "y", "x"), name="image"), xr.DataArray(mask, dims=("y", "x"), name="mask")

    return opened


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Field:
    """Objects that cross chunks, and floating point numbers with NaN."""
    mask = blobs((60, 71), 50, seed=3)
    image = np.random.default_rng(1).gamma(2, 100, (3, *mask.shape))
    image[:, ::7, ::5] = np.nan
    return stored(tmp_path_factory.mktemp("field") / "field.zarr", image, mask, 24)


@pytest.fixture
def levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of nine chunks are merged level by level."""
    monkeypatch.setattr("xlabelstats.engine.merge_tree.FAN_IN", 4)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Field:
    """147,456 objects in 64 chunks: the ids of all of them are larger than a task may be."""
    n = 768
    rows = np.arange(n) // 2
    ids = np.random.default_rng(0).permutation(n * n // 2)[: n * n // 4] + 1
    mask = ids[rows[:, None] * (n // 2) + rows]
    return stored(tmp_path_factory.mktemp("crowd") / "crowd.zarr", np.ones((2, n, n), np.uint8), mask, 96)


def quietly(call: Callable[..., Any], *args: Any) -> Any:
    """Call, while objects that are larger than their window are what they are."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*reach beyond their window", UserWarning)
        return call(*args)


def same(found: Any, expected: Any) -> None:
    """Complain unless two results agree, but for the order of windows, and rounding."""
    if "label" in expected.dims and not np.array_equal(found.label, expected.label):
        found = found.sortby("label")
    xr.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("levels")
class TestSameAsNumpy:
    @pytest.mark.parametrize("name", CALLS)
    def test_every_call(self, client, field, name):
        image, mask = field()
        expected = quietly(CALLS[name], image.compute(), mask.compute())
        lazy = quietly(CALLS[name], image, mask)
        assert dask.is_dask_collection(lazy)
        same(lazy.compute(), expected)

    def test_what_is_computed_at_once(self, client, field):
        _, mask = field()
        same(mask.labels.scan(), mask.compute().labels.scan())
        np.testing.assert_array_equal(field()[1].labels.ids(), mask.compute().labels.ids())

    @pytest.mark.parametrize("name", PAIRS)
    def test_what_is_found_of_pairs_of_labels(self, client, field, name):
        _, mask = field()
        xr.testing.assert_identical(PAIRS[name](mask, moved(mask)), PAIRS[name](mask.compute(), moved(mask.compute())))

    @pytest.mark.parametrize("between", ["edges", "centroids"])
    def test_neighbors(self, client, field, between):
        _, mask = field()
        found = mask.labels.neighbors(6, between)
        assert found.sizes["pair"] > 5
        xr.testing.assert_identical(found, mask.compute().labels.neighbors(6, between))

    def test_windows_written_to_zarr(self, client, field, tmp_path):
        image, mask = field()
        lazy = quietly(CALLS["windows"], image, mask)
        same(xlabelstats.to_zarr(lazy, tmp_path / "w.zarr"), quietly(CALLS["windows"], image.compute(), mask.compute()))

    def test_tables(self, client, field):
        image, mask = field()
        found = image.labels.aggregate(mask, ("mean", "count")).labels.to_dataframe()
        expected = image.compute().labels.aggregate(mask.compute(), ("mean", "count")).labels.to_dataframe()
        np.testing.assert_allclose(found, expected, rtol=1e-12)

    @pytest.mark.parametrize(("step", "options"), [(connected_components, {}), (watershed, {"min_distance": 4})])
    def test_a_step_of_a_pipeline(self, client, nuclei2d, tmp_path, step, options):
        binary = (nuclei2d[0] > 40).rename("binary")
        found = Cache(tmp_path).run("cells", step, binary.chunk(100), **options)
        xr.testing.assert_equal(found.compute(), step(binary, **options))

    def test_embeddings(self, client, field):
        image, _ = field()
        image = image.fillna(0)
        found = pca(image, "c", 2, as_rgb=False)
        xr.testing.assert_allclose(found.compute(), pca(image.compute(), "c", 2, as_rgb=False), rtol=1e-9, atol=1e-9)


def sizes_of(lazy: Any) -> dict[Any, tuple[Any, int]]:
    """The tasks of a lazy result as a cluster runs them, with the bytes in which each is sent."""
    (optimised,) = dask.optimize(lazy)
    graph = convert_legacy_graph(dict(optimised.__dask_graph__()))
    return {key: (task, len(cloudpickle.dumps(task))) for key, task in graph.items()}


@pytest.fixture
def here() -> Iterator[None]:
    """Masks are scanned in this process, whether the cluster runs or not."""
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.mark.usefixtures("here")
class TestTasksAreSmall:
    @pytest.mark.parametrize("name", CALLS)
    def test_every_call(self, crowd, name):
        tasks = sizes_of(quietly(CALLS[name], *crowd()))
        assert len(tasks) > 64
        large = {key: task for key, (task, size) in tasks.items() if size > LARGE}
        assert all(isinstance(task, DataNode) for task in large.values())
        assert len(large) == HELD.get(name, 0)

    def test_a_model_is_one_object(self, crowd):
        weights = np.zeros(LARGE)

        def model(batch: np.ndarray) -> np.ndarray:
            return batch.reshape(len(batch), -1)[:, :2] + weights[0]

        image, mask = crowd()
        large = [key for key, (_, size) in sizes_of(featurized(image, mask, model)).items() if size > LARGE]
        assert [key[0].split("-")[0] for key in large] == ["model"]

    def test_windows_of_many_channels_say_once_where_they_go(self, crowd):
        image, mask = crowd()
        one, many = (
            sum(size for _, size in sizes_of(each.instances.windows(mask, 3)).values())
            for each in (image, xr.concat([image] * 6, "c"))
        )
        assert many < 2 * one


def featurized(image: xr.DataArray, mask: xr.DataArray, model: Callable[..., Any]) -> xr.DataArray:
    return image.instances.featurize(mask, model, size=3, n_features=2)


class Results(Callback):
    """What every task of a computation in this process made."""

    def __init__(self) -> None:
        super().__init__(posttask=lambda key, result, *_: self.found.append(result))
        self.found: list[Any] = []


class TestWhatWorkersHold:
    @pytest.mark.parametrize("name", CALLS)
    def test_it_pickles_and_says_how_large_it_is(self, crowd, name):
        image, mask = crowd()
        part = {"y": slice(0, 192), "x": slice(0, 192)}
        lazy = quietly(CALLS[name], image.isel(part), mask.isel(part))
        with Results() as results, dask.config.set(scheduler="synchronous"):
            lazy.compute()
        sizes = [(sizeof(each), len(cloudpickle.dumps(each, protocol=5)), type(each)) for each in results.found]
        assert max(pickled for _, pickled, _ in sizes) > 10_000
        for reported, pickled, kind in sizes:
            assert abs(reported - pickled) <= 2000 + 0.1 * pickled, kind

    def test_so_for_steps_of_a_pipeline(self, nuclei2d):
        binary = (nuclei2d[0] > 40).chunk(128)
        with Results() as results, dask.config.set(scheduler="synchronous"):
            watershed(connected_components(binary), min_distance=4).compute()
        for each in results.found:
            pickled = len(cloudpickle.dumps(each, protocol=5))
            # Of a long list dask takes some elements, at random, for all.
            reported = sum(map(sizeof, each)) if isinstance(each, list) else sizeof(each)
            assert abs(reported - pickled) <= 5000 + 0.3 * pickled, type(each)

    def test_so_clumps_whose_peaks_are_arrays_of_their_own(self):
        places = np.zeros((1, 2), np.int64)
        peaks = np.full(1, None)
        peaks[0] = np.arange(10_000)
        one = np.ones(1, np.int64)
        clumps = PeakedClumps(one, one, places, places, places, one, peaks, one)
        assert sizeof(clumps) == pytest.approx(len(cloudpickle.dumps(clumps)), rel=0.1)

    @pytest.mark.parametrize(
        "call",
        [
            lambda mask: mask.labels.scan(),
            lambda mask: mask.labels.ids(),
            lambda mask: mask.labels.overlap(mask),
            lambda mask: mask.labels.contacts(2),
        ],
    )
    def test_no_task_of_a_scan_holds_all_labels(self, crowd, call):
        with Results() as results, dask.config.set(scheduler="synchronous"):
            found = call(crowd()[1])
        assert len(found) > 0
        assert max(map(sizeof, results.found)) < found.nbytes / 3

    def test_workers_here_spill_what_they_hold(self, client, field):
        image, mask = field()
        image.labels.aggregate(mask).compute()
        assert all(written > 0 for written in client.run(written_to_disk).values())


def written_to_disk(dask_worker: Any) -> float:
    return dask_worker.data.cumulative_metrics["disk-write", "bytes"]


def deadly(image: xr.DataArray, mark: Path, die: Callable[[], object]) -> xr.DataArray:
    """An image of which the block in the middle kills the worker that reads it, the first time."""
    middle = tuple(n // 2 for n in image.data.numblocks)

    def read(block: np.ndarray, block_id: Sequence[int]) -> np.ndarray:
        if tuple(block_id) == middle and not mark.exists():
            mark.touch()
            die()
        return block

    return image.copy(data=image.data.map_blocks(read, dtype=image.dtype, meta=image.data._meta))


def pids(client: Any) -> set[int]:
    return set(client.run(os.getpid).values())


@pytest.mark.usefixtures("levels")
class TestAKilledWorkerChangesNothing:
    def test_of_statistics(self, client, field, tmp_path):
        image, mask = field()
        expected = image.labels.aggregate(mask, ALL).compute()
        before = pids(client)
        found = deadly(image, tmp_path / "died", lambda: os._exit(1)).labels.aggregate(mask, ALL).compute()
        client.wait_for_workers(2, timeout=30)
        assert len(before & pids(client)) == 1
        xr.testing.assert_identical(found, expected)

    def test_of_neighbors(self, client, field, tmp_path):
        _, mask = field()
        expected = mask.labels.neighbors(6)
        before = pids(client)
        dying = deadly(mask, tmp_path / "died", lambda: os.kill(os.getpid(), signal.SIGKILL))
        found = dying.labels.neighbors(6)
        client.wait_for_workers(2, timeout=30)
        assert len(before & pids(client)) == 1
        xr.testing.assert_identical(found, expected)

    def test_of_windows_in_a_store(self, client, field, tmp_path):
        image, mask = field()
        expected = image.instances.windows(mask, 25, batch_size=10).compute()
        before = pids(client)
        dying = deadly(image, tmp_path / "died", lambda: os.kill(os.getpid(), signal.SIGKILL))
        found = xlabelstats.to_zarr(dying.instances.windows(mask, 25, batch_size=10), tmp_path / "w.zarr").compute()
        client.wait_for_workers(2, timeout=30)
        assert len(before & pids(client)) == 1
        xr.testing.assert_identical(found, expected)

    @pytest.mark.parametrize("name", PAIRS)
    def test_of_pairs_of_labels(self, client, field, tmp_path, name):
        _, mask = field()
        expected = PAIRS[name](mask, moved(mask))
        before = pids(client)
        dying = deadly(mask, tmp_path / "died", lambda: os.kill(os.getpid(), signal.SIGKILL))
        found = PAIRS[name](dying, moved(mask))
        client.wait_for_workers(2, timeout=30)
        assert len(before & pids(client)) == 1
        xr.testing.assert_identical(found, expected)


class TestProgress:
    def test_of_a_scan(self, client, field, capsys):
        _, mask = field()
        with xlabelstats.set_options(progress=True):
            ids = mask.labels.ids()
        assert "100%" in capsys.readouterr().out
        np.testing.assert_array_equal(ids, np.unique(mask)[1:])

    def test_of_what_is_written(self, client, field, tmp_path, capsys):
        image, _ = field()
        with xlabelstats.set_options(progress=True):
            found = xlabelstats.to_zarr(image, tmp_path / "image.zarr")
        assert "100%" in capsys.readouterr().out
        xr.testing.assert_identical(found.compute(), image.compute())
