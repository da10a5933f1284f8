"""The classes with harpy's signatures and ``run_on_gpu=True``: the numbers of the CPU, in main memory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import zarr
from conftest import blobs

from xlabelstats.compat.harpy import Featurizer, RasterAggregator, devices
from xlabelstats.kernels import on_device

cp = pytest.importorskip("cupy", reason="CuPy is not installed; the extras are called gpu and gpu-cuda13")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(devices.gpu_obstacle() is not None, reason="there is no GPU that CuPy can use"),
    pytest.mark.filterwarnings("ignore:.* given as 0:UserWarning"),
    pytest.mark.filterwarnings("ignore:no model was given:UserWarning"),
]

# Sums are added in any order on a device.
ROUNDING = 1e-12


def field(planes: int, dtype: str = "u2", chunks: Any = (-1, 20, 25)) -> tuple[da.Array, da.Array]:
    """A mask (z, y, x) with gaps in its ids and an object of equal pixels, and an image (c, z, y, x), in chunks."""
    mask = blobs((planes, 60, 70), 25).astype(np.int32)
    image = np.random.default_rng(1).gamma(2, 400, (2, *mask.shape)).astype(dtype)
    image[:, mask == np.unique(mask)[3]] = 77
    return da.from_array(mask, chunks=chunks), da.from_array(image, chunks=(2, *chunks))


def on_both(made: type, *arrays: da.Array) -> tuple[Any, Any]:
    return tuple(made(*arrays, run_on_gpu=run_on_gpu) for run_on_gpu in (True, False))


def same(found: Any, expected: Any) -> None:
    """What was found is of numpy arrays and equal but for rounding, with the same dtypes and chunks."""
    if isinstance(expected, list | tuple):
        assert type(found) is type(expected)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected, rtol=ROUNDING, atol=ROUNDING * 1e4)
    else:
        if isinstance(expected, da.Array):
            assert isinstance(found._meta, np.ndarray)
            assert found.chunks == expected.chunks
            found, expected = found.compute(), expected.compute()
        assert type(found) is np.ndarray
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=ROUNDING)


def extent(pixels: Any, power: int = 1) -> Any:
    return (pixels.astype(np.float64) ** power).max(axis=1)[:, None]


def size_of(window: Any) -> Any:
    return (window != 0).sum()[None]


def corners(batch: Any, embedding_dimension: int) -> Any:
    return batch.reshape(len(batch), -1)[:, :embedding_dimension].astype(np.float32)


TABLES: dict[str, Callable[[RasterAggregator], Any]] = {
    "all statistics": lambda made: made.aggregate_stats(),
    "of some labels": lambda made: made.aggregate_stats(("mean", "count"), index=[7, 3, 3, 9999]),
    "max": lambda made: made.aggregate_max(),
    "min": lambda made: made.aggregate_min(index=[3, 9999]),
    "area": lambda made: made.aggregate_area(),
    "center_of_mass": lambda made: made.center_of_mass(),
}
ARRAYS: dict[str, Callable[[Featurizer], Any]] = {
    "windows": lambda made: made.extract_instances(9, None),
    "windows of both": lambda made: made.extract_instances(9, None, False, extract_mask=True, batch_size=3),
    "windows of the mask": lambda made: made.extract_instances(9, None, extract_mask=True, extract_image=False),
    "statistics": lambda made: made.calculate_instance_statistics(9, 1, fn=extent, fn_kwargs={"power": 2}),
    "statistics of the mask": lambda made: made.calculate_instance_statistics(9, 1, fn=size_of, extract_image=False),
    "quantiles": lambda made: made.quantiles(9),
    "radii": lambda made: made.radii_and_principal_axes(9, calculate_axes=False),
    "features": lambda made: made.featurize(5, 9, model=corners, batch_size=4),
}  # fmt: skip


class TestNumbers:
    @pytest.mark.parametrize("planes", [1, 4])
    @pytest.mark.parametrize("dtype", ["u2", "f4"])
    @pytest.mark.parametrize("name", [*TABLES, *ARRAYS])
    def test_are_those_of_the_cpu(self, name, dtype, planes):
        calls, made = (TABLES, RasterAggregator) if name in TABLES else (ARRAYS, Featurizer)
        ours, known = on_both(made, *field(planes, dtype))
        same(calls[name](ours), calls[name](known))

    @pytest.mark.parametrize("name", [*TABLES, *ARRAYS])
    def test_of_bytes_in_the_other_order_are_those_of_the_same_pixels(self, name):
        calls, made = (TABLES, RasterAggregator) if name in TABLES else (ARRAYS, Featurizer)
        same(calls[name](made(*field(1, ">u2"))), calls[name](made(*field(1), run_on_gpu=False)))

    def test_axes_are_those_of_the_cpu_where_the_radii_differ(self):
        # The axes of equal radii are free.
        mask = np.zeros((1, 40, 40), np.int32)
        for label in range(1, 4):
            rows = np.arange(5 + label)
            mask[0, 10 * label + rows // 2, 3 + 2 * rows] = mask[0, 10 * label + rows // 2, 4 + 2 * rows] = label
        ours, known = on_both(Featurizer, da.from_array(mask, chunks=(1, 20, 20)))
        found, expected = (made.radii_and_principal_axes(9) for made in (ours, known))
        np.testing.assert_allclose(found, expected, atol=1e-7)

    def test_the_model_that_is_a_placeholder_runs_there_too(self):
        ours, known = on_both(Featurizer, *field(1))
        found, expected = (made.featurize(5, 9)[1].compute() for made in (ours, known))
        np.testing.assert_allclose(found, expected, rtol=1e-4)

    def test_of_arrays_that_are_there_already_or_numpy(self):
        mask, image = field(1)
        expected = RasterAggregator(mask, image, run_on_gpu=False).aggregate_mean()
        pixels = cp.asarray(mask.compute()), cp.asarray(image.compute())
        blocks = mask.map_blocks(cp.asarray), image.map_blocks(cp.asarray)
        for arrays in (pixels, blocks, (mask, blocks[1]), (mask.compute(), image.compute())):
            same(RasterAggregator(*arrays).aggregate_mean(), expected)

    def test_of_an_empty_mask(self):
        mask = da.zeros((1, 20, 20), dtype=np.int32, chunks=(1, 10, 10))
        ours, known = on_both(Featurizer, mask, da.ones((2, 1, 20, 20), chunks=(2, 1, 10, 10)))
        for name in ("windows", "statistics", "quantiles", "features"):
            same(ARRAYS[name](ours), ARRAYS[name](known))


class TestStores:
    @pytest.mark.parametrize("store_intermediate", [False, True])
    def test_hold_what_they_hold_on_the_cpu(self, store_intermediate, tmp_path):
        arrays = field(1)
        stores = {}
        for run_on_gpu in (True, False):
            made, path = Featurizer(*arrays, run_on_gpu=run_on_gpu), tmp_path / str(run_on_gpu)
            how: dict[str, Any] = {"store_intermediate": store_intermediate}
            made.featurize(5, 9, model=corners, zarr_output_path=path / "features", **how)
            made.quantiles(9, zarr_output_path=path / "quantiles", batch_size=5)
            made.calculate_instance_statistics(9, 1, fn=extent, zarr_output_path=path / "statistics", **how)
            made.extract_instances(9, None, extract_mask=True, zarr_output_path=path / "windows")
            stores[run_on_gpu] = path
        for name in ("features", "quantiles", "statistics", "windows/image.zarr", "windows/mask.zarr"):
            found, expected = (zarr.open_array(stores[gpu] / name, mode="r") for gpu in (True, False))
            assert found.chunks == expected.chunks
            same(found[...], expected[...])


class TestFunctions:
    @pytest.mark.parametrize("extract_image", [True, False])
    def test_fn_gets_cupy_arrays_and_is_told_so_if_it_takes_the_keyword(self, extract_image):
        told = []

        def fn(pixels: Any, run_on_gpu: bool = False) -> Any:
            told.append((run_on_gpu, on_device(pixels)))
            return pixels.sum()[None] if pixels.ndim == 3 else pixels.sum(axis=1)[:, None]

        ours = Featurizer(*field(1), run_on_gpu=True)
        for function in (fn, lambda pixels, **kwargs: fn(pixels, **kwargs)):
            ours.calculate_instance_statistics(9, 1, fn=function, extract_image=extract_image)[1].compute()
        assert set(told) == {(True, True)}
        told.clear()
        ours.calculate_instance_statistics(9, 1, fn=lambda pixels: fn(pixels), extract_image=extract_image)[1].compute()
        assert set(told) == {(False, True)}

    def test_fn_and_model_may_return_what_is_in_main_memory(self):
        ours, known = on_both(Featurizer, *field(1))
        found = ours.calculate_instance_statistics(9, 1, fn=lambda pixels: cp.asnumpy(extent(pixels)))
        same(found, known.calculate_instance_statistics(9, 1, fn=extent))
        found = ours.featurize(5, 9, model=lambda *args, **kwargs: cp.asnumpy(corners(*args, **kwargs)))
        same(found, known.featurize(5, 9, model=corners))

    @pytest.mark.parametrize("store_intermediate", [False, True])
    def test_model_gets_cupy_arrays_and_no_keyword_more(self, store_intermediate, tmp_path):
        told = []

        def model(batch: Any, **kwargs: Any) -> Any:
            told.append((on_device(batch), sorted(kwargs)))
            return corners(batch, 5)

        path = tmp_path / "features"
        Featurizer(*field(1)).featurize(5, 9, None, True, path, store_intermediate, model)
        assert told
        assert all(each == (True, ["embedding_dimension"]) for each in told)


class TestMoving:
    def test_a_block_is_moved_only_when_it_is_measured(self, monkeypatch: pytest.MonkeyPatch):
        mask, image = field(1)
        moved = []
        move = devices._moved
        monkeypatch.setattr(devices, "_moved", lambda block, dtype: moved.append(block.shape) or move(block, dtype))
        made = RasterAggregator(mask, image)
        assert not moved
        made.aggregate_stats(("mean", "var"), index=[3, 7])
        # Every block once for both statistics, and never more than a block.
        assert len(moved) == mask.npartitions + image.npartitions
        assert max(map(np.prod, moved)) == 2 * 20 * 25


class TestWithoutGPU:
    @pytest.fixture(autouse=True)
    def never_warned(self):
        devices._warn_of_cpu.cache_clear()
        yield
        devices._warn_of_cpu.cache_clear()

    def no_device(self, monkeypatch: pytest.MonkeyPatch) -> str:
        def count() -> int:
            raise cp.cuda.runtime.CUDARuntimeError(100)

        monkeypatch.setattr(cp.cuda.runtime, "getDeviceCount", count)
        return r"CuPy finds no GPU \(.+\)"

    def none_of_them(self, monkeypatch: pytest.MonkeyPatch) -> str:
        monkeypatch.setattr(cp.cuda.runtime, "getDeviceCount", lambda: 0)
        return "CuPy finds no GPU"

    def no_cupy(self, monkeypatch: pytest.MonkeyPatch) -> str:
        monkeypatch.setitem(sys.modules, "cupy", None)
        return r"CuPy is not installed \(pip install 'xlabelstats\[gpu\]' for CUDA 12, .*\[gpu-cuda13\]' for CUDA 13\)"

    @pytest.mark.parametrize("without", [no_device, none_of_them, no_cupy])
    def test_the_cpu_is_used_and_a_warning_says_so_once(self, without, monkeypatch):
        mask, image = field(1)
        expected = RasterAggregator(mask, image, run_on_gpu=False).aggregate_mean()
        why = without(self, monkeypatch)
        told = []
        with pytest.warns(UserWarning, match=f"^run_on_gpu=True, but {why}; the CPU is used$") as caught:
            made = RasterAggregator(mask, image)
        assert [Path(each.filename) for each in caught] == [Path(__file__)]
        pd.testing.assert_frame_equal(made.aggregate_mean(), expected)
        bare = Featurizer(mask, image)

        def fn(pixels: Any, run_on_gpu: bool) -> Any:
            told.append((run_on_gpu, on_device(pixels)))
            return extent(pixels)

        bare.calculate_instance_statistics(9, 1, fn=fn)[1].compute()
        assert set(told) == {(False, False)}
