"""Imported in the process that others are forked from: numba loads much at the first call of a kernel."""

from __future__ import annotations

import dask
import filelock  # noqa: F401
import numpy as np
import xarray as xr

import xlabelstats  # noqa: F401

mask = xr.DataArray(np.eye(4, dtype=np.int64), dims=("y", "x")).chunk()
image = mask.astype(float).expand_dims(c=1)
with dask.config.set(scheduler="synchronous"):
    dask.compute(mask.labels.count(), image.labels.aggregate(mask), image.instances.windows(mask, 4, batch_size=1))
