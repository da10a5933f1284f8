"""On a cluster of worker processes: ``python tests/benchmarks/cluster.py [NAME ...]``.

Prints, for every run, its time and the processor time of the workers, the peak resident memory of each worker, what
the workers wrote to disk because they had too little memory, and what they sent to each other.

    measure     statistics, quantiles, radii and windows written to Zarr, of 4 x 16384 x 16384 uint16 with 343,000
                labels, by two workers with 1 GiB of memory each; no worker may be restarted
    kill        a worker killed in the middle of statistics, and of windows being written: the result must be the
                same bit for bit
    growth      the eight default statistics as pixels, labels, chunks, workers and threads grow
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import xarray as xr
from distributed import Client, LocalCluster
from scaling import make, peak

import xlabelstats

LIMIT = "1GiB"
WINDOW = 64


def opened(path: Path) -> tuple[xr.DataArray, xr.DataArray]:
    """A field as a user opens it, anew, so that its mask is scanned."""
    image, mask = (da.from_zarr(str(path), component=name) for name in ("image", "mask"))
    return xr.DataArray(image, dims=("c", "y", "x"), name="image"), xr.DataArray(mask, dims=("y", "x"), name="mask")


def statistics(path: Path, out: Path) -> Any:
    image, mask = opened(path)
    return image.labels.aggregate(mask).compute()


def quantiles(path: Path, out: Path) -> Any:
    image, mask = opened(path)
    return image.instances.quantiles(mask).compute()


def radii(path: Path, out: Path) -> Any:
    return opened(path)[1].instances.radii_and_axes().compute()


def windows(path: Path, out: Path) -> Any:
    image, mask = opened(path)
    return xlabelstats.to_zarr(image.instances.windows(mask, WINDOW), out / "windows.zarr", overwrite=True)


CALLS: dict[str, Callable[[Path, Path], Any]] = {
    "eight statistics": statistics,
    "nine quantiles": quantiles,
    "radii and axes": radii,
    "windows to Zarr": windows,
}


def processor_time() -> float:
    """The seconds for which a worker has kept processors busy."""
    return time.process_time()


def spilled(dask_worker: Any) -> float:
    """The MiB that a worker has written to disk."""
    return getattr(dask_worker.data, "cumulative_metrics", {}).get(("disk-write", "bytes"), 0) / 2**20


def sent(dask_worker: Any) -> float:
    """The MiB that a worker has sent, to other workers and with results."""
    return dask_worker.transfer_outgoing_bytes_total / 2**20


@contextmanager
def cluster(workers: int = 2, threads: int = 1, limit: str | None = LIMIT) -> Iterator[Client]:
    """A cluster whose workers have loaded the package and its kernels."""
    with (
        # A killed worker is not given up while it starts anew.
        dask.config.set({"distributed.deploy.lost-worker-timeout": "10 minutes"}),
        LocalCluster(
            n_workers=workers, threads_per_worker=threads, memory_limit=limit, dashboard_address=":0"
        ) as local,
        Client(local) as client,
    ):
        client.run(warm)
        yield client


def warm() -> None:
    """Load what a worker's first task would load."""
    with dask.config.set(scheduler="synchronous"):
        mask = xr.DataArray(da.ones((4, 8), dtype=np.int32, chunks=4), dims=("y", "x"))
        image = mask.astype(np.uint16)
        image.labels.aggregate(mask).compute()
        image.instances.quantiles(mask).compute()
        mask.instances.radii_and_axes().compute()
        image.instances.windows(mask, 9).compute()


def timed(client: Client, call: Callable[[Path, Path], Any], path: Path, out: Path) -> tuple[Any, dict[str, Any]]:
    """A result, and what it took."""
    counts = {"cpu": processor_time, "spilled": spilled, "sent": sent}
    before, pids = {name: client.run(count) for name, count in counts.items()}, client.run(os.getpid)
    started = time.perf_counter()
    result = call(path, out)
    figures: dict[str, Any] = {"seconds": time.perf_counter() - started}
    for name, count in counts.items():
        # A worker that was killed has begun anew, under another address.
        figures[name] = sum(n - before[name].get(worker, 0) for worker, n in client.run(count).items())
    figures["peaks"] = sorted(client.run(peak).values())
    figures["restarted"] = len(set(pids.values()) - set(client.run(os.getpid).values()))
    return result, figures


def show(what: str, figures: dict[str, Any]) -> None:
    peaks = " ".join(f"{each:.2f}" for each in figures["peaks"])
    print(
        f"  {what:42s} {figures['seconds']:6.1f} s, {figures['cpu']:6.1f} s busy  peak {peaks} GiB  "
        f"spilled {figures['spilled']:5.0f} MiB  sent {figures['sent']:5.0f} MiB  restarted {figures['restarted']}",
        flush=True,
    )


def measure(folder: Path, out: Path) -> bool:
    """Every call once, by two workers of 1 GiB."""
    path = make(folder / "large.zarr", (16384, 16384), 2048, channels=4)
    whole = True
    for what, call in CALLS.items():
        with cluster() as client:
            _, figures = timed(client, call, path, out)
        show(what, figures)
        whole &= figures["restarted"] == 0
    shutil.rmtree(out / "windows.zarr", ignore_errors=True)
    return whole


def kill(folder: Path, out: Path) -> bool:
    """The same with one worker killed half-way."""
    path = make(folder / "small.zarr", (8192, 8192), 2048, channels=4)
    whole = True
    for what in ("eight statistics", "windows to Zarr"):
        with cluster() as client:
            expected, figures = timed(client, CALLS[what], path, out / "expected")
            show(what, figures)
            killer = threading.Timer(figures["seconds"] / 2, kill_one, [client])
            killer.start()
            found, figures = timed(client, CALLS[what], path, out / "found")
            killer.join()
            client.wait_for_workers(2)
        show(f"{what}, one worker killed", figures)
        same = is_same(found, expected)
        print(f"  {'':42s} {'the same bit for bit' if same else 'NOT THE SAME'}", flush=True)
        whole &= same and figures["restarted"] == 1
    return whole


def kill_one(client: Client) -> None:
    os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)


def is_same(found: xr.Dataset, expected: xr.Dataset) -> bool:
    """Whether two results have the same labels and bytes."""
    if dict(found.dtypes) != dict(expected.dtypes) or not found.label.equals(expected.label):
        return False
    with dask.config.set(scheduler="threads"):
        return all(
            np.array_equal(found[name][part].to_numpy().view(np.uint8), expected[name][part].to_numpy().view(np.uint8))
            for name in expected
            for part in (slice(first, first + 2**14) for first in range(0, expected.sizes["label"], 2**14))
        )


def growth(folder: Path, out: Path) -> bool:
    """The eight statistics, one thing growing at a time."""
    dense = 28 / 10**0.5
    base = make(folder / "small.zarr", (8192, 8192), 2048, channels=4)
    quarter = make(folder / "quarter.zarr", (4096, 4096), 2048, channels=4)
    large = make(folder / "large.zarr", (16384, 16384), 2048, channels=4)
    crowd = make(folder / "dense.zarr", (8192, 8192), 2048, dense, channels=4)
    fine = make(folder / "fine.zarr", (8192, 8192), 1024, channels=4)
    finer = make(folder / "finer.zarr", (8192, 8192), 512, channels=4)
    runs: list[tuple[str, Path, int, int]] = [
        ("4 x 4096 x 4096", quarter, 2, 1),
        ("4 x 8192 x 8192, 86,000 labels, 16 chunks", base, 2, 1),
        ("4 x 16384 x 16384", large, 2, 1),
        ("ten times the labels", crowd, 2, 1),
        ("64 chunks", fine, 2, 1),
        ("256 chunks", finer, 2, 1),
        ("1 worker", base, 1, 1),
        ("1 worker of 2 threads", base, 1, 2),
        ("2 workers of 2 threads", base, 2, 2),
    ]
    for what, path, workers, threads in runs:
        with cluster(workers, threads, None) as client:
            timed(client, statistics, path, out)
            _, figures = timed(client, statistics, path, out)
        show(what, figures)
    return True


BENCHMARKS = {"measure": measure, "kill": kill, "growth": growth}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"any of: {', '.join(BENCHMARKS)}")
    parser.add_argument("--folder", type=Path, help="where to keep the fields for the next run")
    args = parser.parse_args()
    unknown = set(args.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"unknown benchmark {sorted(unknown)}; choose from {sorted(BENCHMARKS)}")
    # Cells at the border of a window are cropped, and graphs that hold a label table are large.
    warnings.filterwarnings("ignore", category=UserWarning)
    passed = True
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(exist_ok=True, parents=True)
        for name in args.names or BENCHMARKS:
            print(name)
            passed &= BENCHMARKS[name](folder, Path(temporary) / "out")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
