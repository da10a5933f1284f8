"""Processes in which all that the tests use is imported from the start: forks of one that has imported it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Iterator
from functools import cache
from multiprocessing import forkserver
from typing import Any

import dask
import pytest

# What is not installed is left out.
IMPORTED = (
    "conftest",
    "distributed",
    "flox",
    "ome_zarr.writer",
    "pandas.io.parquet",
    "pyarrow.parquet",
    "pytest",
    "xlabelstats.compat.harpy",
    "xlabelstats.kernels.cpu",
    "xlabelstats.pipeline.cache",
)


@cache
def processes() -> Any:
    """The context of such processes."""
    context = multiprocessing.get_context("forkserver")
    here = [name for name in sys.modules if name.startswith("test_") and hasattr(sys.modules[name], "processes")]
    context.set_forkserver_preload([*IMPORTED, *here])
    with pytest.MonkeyPatch.context() as patched:
        # Before 3.13 a fork server has not the path of the process that starts it.
        patched.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        forkserver.ensure_running()
    return context


@contextlib.contextmanager
def cluster(n_workers: int, **options: Any) -> Iterator[Any]:
    """The client of a cluster of such processes, and of those that take the place of the ones that die."""
    distributed = pytest.importorskip("distributed")
    processes()
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}),
        distributed.LocalCluster(n_workers, dashboard_address=":0", **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client
