"""Real nuclei and generated fields that the tests measure."""

from __future__ import annotations

import gc
import importlib.util
import sys
import textwrap
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import dask.array as da
import hypothesis
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, settings
from scipy import ndimage

import xlabelstats

# Every run tries the same examples; ``pytest --hypothesis-profile=search`` looks for new ones.
# No run fails because the machine is busy.
settings.register_profile("same", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", settings.get_profile("same"), derandomize=False)
settings.load_profile("same")


# There is next to no garbage while tests are collected, and much to search for it.
gc.disable()


def pytest_collection_finish() -> None:
    """What the packages and tests hold from the start is set aside."""
    gc.enable()
    gc.set_threshold(10_000)
    set_aside()


def set_aside() -> None:
    """What lives now is not searched again each time that garbage is collected."""
    # Hypothesis 6.100 then takes tests for flaky.
    if hypothesis.__version_info__ >= (6, 170):
        gc.collect()
        gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Workers go through neighbouring tests, which share fixtures; one that has none left takes some from another."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.getoption("dist") == "load" else None


@pytest.fixture(scope="session")
def nuclei2d() -> tuple[xr.DataArray, ...]:
    return bare(xlabelstats.datasets.nuclei2d())


@pytest.fixture(scope="session")
def nuclei3d() -> tuple[xr.DataArray, ...]:
    return bare(xlabelstats.datasets.nuclei3d())


@pytest.fixture
def viewer() -> Any:
    """The part of a viewer of napari that keeps the layers, without a window."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("napari.components", reason="napari is not installed").ViewerModel()


@pytest.fixture
def volume() -> da.Array:
    """A volume with bright spots from 0 to 1, in blocks."""
    pixels = ndimage.gaussian_filter(np.random.default_rng(0).random((8, 24, 24)), 1)
    return da.from_array(pixels / pixels.max(), chunks=(8, 12, 12))


def bare(arrays: tuple[xr.DataArray, ...]) -> tuple[xr.DataArray, ...]:
    """Arrays without name, coordinates and attributes."""
    return tuple(xr.DataArray(array.values, dims=array.dims) for array in arrays)


def blobs(shape: tuple[int, ...], n: int, seed: int = 0) -> np.ndarray:
    """A mask of up to n overlapping boxes with gaps in their ids, on background 0."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, np.int64)
    for label in rng.permutation(3 * n)[:n] + 1:
        box = tuple(
            slice(a, a + rng.integers(1, 1 + max(2, size // 3))) for size, a in ((s, rng.integers(s)) for s in shape)
        )
        mask[box] = label
    return mask


def places(mask: np.ndarray) -> dict[int, np.ndarray]:
    """The positions (pixel, axis) of every label but 0, in the order of the mask."""
    ids, codes = np.unique(mask, return_inverse=True)
    order = np.argsort(codes, axis=None, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(codes.ravel(), minlength=ids.size)))[:-1]
    indices = np.indices(mask.shape).reshape(mask.ndim, -1).T
    return {label: indices[part] for label, part in zip(ids.tolist(), parts, strict=True) if label != 0}


class Calls(list[str]):
    """What was called; it is known by its name alone, so that it changes no key of the steps that write to it."""

    def __dask_tokenize__(self) -> str:
        return "calls"


def module_of(path: Path, source: str) -> ModuleType:
    """A module with this source, loaded anew."""
    path.write_text(textwrap.dedent(source))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    exec(compile(path.read_text(), str(path), "exec"), module.__dict__)
    return module
