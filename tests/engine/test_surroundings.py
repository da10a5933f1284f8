"""Blocks with the pixels around them: what a graph of them holds at a time."""

from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from conftest import blobs
from dask.callbacks import Callback

import xlabelstats
from xlabelstats.engine import region_pixels


class Held(Callback):
    """How many blocks are held at once while a graph is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0

    def _posttask(self, key: Any, result: Any, graph: Any, state: Any, worker: Any) -> None:
        values = [getattr(value, "value", value) for value in [*state["cache"].values()]]
        self.most = max(self.most, sum(isinstance(value, np.ndarray) for value in values))


@pytest.mark.parametrize("attempt", range(8))
def test_few_blocks_of_a_stored_mask_are_held_while_one_made_of_it_is_written(tmp_path, monkeypatch, attempt):
    # As if the array were larger than what is kept.
    monkeypatch.setattr(region_pixels, "KEPT_BYTES", 0)
    stored = zarr.create_array(tmp_path / "mask.zarr", data=blobs((80, 80), 30).astype(np.int32), chunks=(10, 10))
    mask = xr.DataArray(da.from_zarr(stored), dims=("y", "x"), name="mask")
    with dask.config.set(scheduler="threads", num_workers=2), Held() as held:
        # The names of tasks, and with them their order, go with the path.
        xlabelstats.to_zarr(mask.labels.expand(2), tmp_path / f"grown-{attempt}.zarr")
    assert 0 < held.most <= 16
