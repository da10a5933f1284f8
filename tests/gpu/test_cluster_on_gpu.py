"""Worker processes that each move their blocks to a GPU: the numbers of numpy arrays in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle
import numpy as np
import pytest
import xarray as xr
from processes import cluster

from xlabelstats.compat.harpy import RasterAggregator, devices
from xlabelstats.kernels import on_device

cp = pytest.importorskip("cupy", reason="CuPy is not installed; the extras are called gpu and gpu-cuda13")
# Which registers .cupy.
pytest.importorskip("cupy_xarray", reason="cupy-xarray is not installed; the extra is called test")
distributed = pytest.importorskip("distributed")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(devices.gpu_obstacle() is not None, reason="there is no GPU that CuPy can use"),
]

# Workers cannot import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

# dask's own way to send CuPy arrays needs a GPU, pickle does not.
BY_PICKLE: dict[str, Any] = {
    "serializers": ["pickle", "error"],
    "deserializers": ["pickle", "dask", "msgpack", "error"],
}
# Sums are added in any order on a device.
ROUNDING = 1e-12

Call = Callable[[xr.DataArray, xr.DataArray], Any]

CALLS: dict[str, Call] = {
    "aggregate": lambda image, mask: image.labels.aggregate(mask),
    "regionprops": lambda image, mask: mask.labels.regionprops(properties=["area", "bbox", "perimeter"]),
    "quantiles": lambda image, mask: image.instances.quantiles(mask),
    "windows": lambda image, mask: image.instances.windows(mask),
    "featurize": lambda image, mask: image.instances.featurize(mask, totals, size=60, n_features=1),
    "paint": lambda image, mask: mask.labels.paint(image.labels.max(mask)),
}


def totals(batch: Any) -> Any:
    return batch.reshape(len(batch), -1).sum(axis=1)[:, None].astype(np.float32)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with (
        cluster(2, threads_per_worker=1, **BY_PICKLE) as other,
        distributed.Client(other.cluster, **BY_PICKLE) as client,
    ):
        yield client


def in_order(result: Any) -> xr.Dataset:
    """A result in main memory, by label; windows of lazy arrays are in the order of blocks."""
    result = result if isinstance(result, xr.Dataset) else result.to_dataset(name="result")
    return result.sortby("label") if "label" in result.dims else result


@pytest.mark.parametrize("name", CALLS)
def test_results_are_those_of_numpy(name, client, nuclei2d):
    image, mask = nuclei2d
    found = CALLS[name](*(array.chunk(y=200, x=200).cupy.as_cupy() for array in (image, mask))).compute()
    found = found if isinstance(found, xr.Dataset) else found.to_dataset(name="result")
    assert all(on_device(variable.data) for variable in found.values())
    xr.testing.assert_allclose(in_order(found.as_numpy()), in_order(CALLS[name](image, mask)), rtol=ROUNDING)


def test_blocks_lie_with_both_workers(client, nuclei2d):
    held = nuclei2d[1].chunk(y=100, x=100).cupy.as_cupy().persist()
    distributed.wait(held)
    assert sorted(map(bool, client.has_what().values())) == [True, True]
    assert client.run(lambda: "cupy" in sys.modules) == dict.fromkeys(client.has_what(), True)
    assert held.labels.count().as_numpy().equals(nuclei2d[1].labels.count())


def test_so_are_the_tables_of_the_drop_in_classes(client, nuclei2d):
    image, mask = nuclei2d
    arrays = mask.chunk(y=200, x=200).data[None], image.chunk(y=200, x=200).data[None, None]
    found, expected = (RasterAggregator(*arrays, run_on_gpu=gpu).aggregate_mean() for gpu in (True, False))
    np.testing.assert_allclose(found, expected, rtol=ROUNDING)
