"""Imported in the process that others are forked from: numba loads much at the first call of a kernel."""

from __future__ import annotations

import filelock  # noqa: F401
import numpy as np
import xarray as xr

import xlabelstats  # noqa: F401

xr.DataArray(np.eye(4, dtype=np.int64), dims=("y", "x")).labels.count()
