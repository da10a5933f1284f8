"""Processes in which all that the tests use is imported from the start: forks of one that has imported it."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from multiprocessing import forkserver
from typing import Any
from unittest import mock

import dask

# What is not installed is left out.
PIPELINE = ("processes", "dask.array", "ome_zarr.writer", "pyarrow.parquet", "xlabelstats.pipeline.cache")
ALL = (*PIPELINE, "conftest", "distributed", "flox", "pytest", "xlabelstats.compat.harpy", "processes_begin")


def begin(server: Any, imported: tuple[str, ...], **environment: str) -> Any:
    """Start the process that others are forked from."""
    # Before 3.13 it has not the path of the process that starts it.
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    server.set_forkserver_preload([*imported])
    with mock.patch.dict(os.environ, environment):
        server.ensure_running()
    return server


@cache
def processes() -> Any:
    """The context of such processes."""
    tests = (name for name in sys.modules if name.startswith("test_") and hasattr(sys.modules[name], "processes"))
    begin(forkserver._forkserver, (*ALL, *tests))
    return multiprocessing.get_context("forkserver")


@cache
def with_hashes(seed: str) -> Any:
    """What processes are forked from in which strings have other hashes."""
    return begin(forkserver.ForkServer(), PIPELINE, PYTHONHASHSEED=seed)


def run_and_print(program: str, arguments: tuple[str, ...], output: Any) -> None:
    sys.argv[1:] = arguments
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(textwrap.dedent(program), vars(sys.modules["__main__"]))
    output.send(printed.getvalue())


def printed(program: str, *arguments: str, seed: str | None = None) -> str:
    """What a program prints in such a process, or in one with the hashes of a seed; an error if it fails."""
    context = processes()
    receiver, sender = context.Pipe(duplex=False)
    run = context.Process(target=run_and_print, args=(program, arguments, sender))
    server = forkserver._forkserver if seed is None else with_hashes(seed)
    with mock.patch.object(forkserver, "connect_to_new_process", server.connect_to_new_process):
        run.start()
    sender.close()
    with receiver:
        return receiver.recv()


def begun(program: str, **names: Any) -> Any:
    """Such a process, which runs a program that knows what is named."""
    run = processes().Process(target=exec, args=(textwrap.dedent(program), names))
    run.start()
    return run


def exitcode_of(program: str) -> int:
    """How such a process ends that runs a program."""
    run = begun(program)
    run.join()
    return run.exitcode


@contextlib.contextmanager
def cluster(n_workers: int, **options: Any) -> Iterator[Any]:
    """The client of a cluster of such processes, and of those that take the place of the ones that die."""
    import distributed

    processes()
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}),
        distributed.LocalCluster(n_workers, dashboard_address=":0", **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client
