"""Time and memory as images grow: ``python tests/benchmarks/scaling.py [NAME ...]``.

Every field is made in one process and measured in another, whose peak resident memory is read from
the system when it is done.  Prints the figures and their limits; exits 1 when one is over.

    aggregate   all eight statistics of 4 x 16384 x 16384 uint16 with 345,000 labels: memory,
                tasks, growth from 8192 to 16384, and ten times the labels in the same pixels
    stored      the mean and all eight statistics of 2 x 4096 x 4096 uint16 in Zarr, over one read of the same stores
    scan        the label table of a 256 x 2048 x 2048 mask in 64 x 512 x 512 chunks: memory; and ids
                near 2**62 beside small ones
    windows     64 x 64 windows of 4 x 16384 x 16384 uint16 with 345,000 labels written to Zarr, and its
                quantiles: memory, on threads and in every process of a local cluster of two
    cuts        48 x 48 windows of 2 x 4096 x 4096 uint16 in memory with 21,000 labels, beside one read of the pixels
    profile     the whole profile of the same cells written to Zarr: memory; and microseconds an object and family
    chunks      a mean of 10,000 and of 202,500 chunks of one pixel: tasks are all there is to it, and twenty times
                as many must not take more than 25 times as long; dask's own plain sum for comparison (20 minutes)
    function    what calling a function with every object costs beside calling it with arrays already cut
    start       what importing the package and its first call add, with kernels compiled before and without
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
Figure = tuple[str, float, str, float]


def child(*args: object) -> dict[str, float]:
    """Run this script in a new process to measure one thing."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", *map(str, args)], check=True, text=True, stdout=subprocess.PIPE
    )
    return json.loads(done.stdout.splitlines()[-1])


def make(
    path: Path,
    shape: tuple[int, ...],
    chunk: int | tuple[int, ...],
    pitch: float = 28,
    channels: int = 0,
    ordered: bool = False,
) -> Path:
    """Make a field in a process of its own, once."""
    if not path.exists():
        chunk = (chunk,) * len(shape) if isinstance(chunk, int) else chunk
        options = ["--shape", *shape, "--chunk", *chunk, "--pitch", pitch, "--channels", channels]
        options += ["--ordered"] if ordered else []
        subprocess.run([sys.executable, HERE / "fields.py", path, *map(str, options)], check=True)
    return path


def peak() -> float:
    """The highest resident memory of this process so far, in GiB."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 2**20
    except OSError:
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used / (2**30 if sys.platform == "darwin" else 2**20)


def aggregate(folder: Path) -> Iterator[Figure]:
    """The eight default statistics."""
    dense = 28 / 10**0.5
    fields = {
        "16384": make(folder / "large.zarr", (16384, 16384), 2048, channels=4),
        "8192": make(folder / "small.zarr", (8192, 8192), 2048, channels=4),
        "8192, dense": make(folder / "dense.zarr", (8192, 8192), 2048, dense, channels=4),
        "8192, ids in order": make(folder / "small-ordered.zarr", (8192, 8192), 2048, channels=4, ordered=True),
        "8192, dense, ids in order": make(
            folder / "dense-ordered.zarr", (8192, 8192), 2048, dense, channels=4, ordered=True
        ),
    }
    rounds = [{what: child("aggregate", path) for what, path in fields.items()} for _ in range(2)]
    found = {what: min((r[what] for r in rounds), key=lambda figure: figure["seconds"]) for what in fields}
    for what, figure in found.items():
        print(f"  {what}: {figure['labels']:.0f} labels in {figure['seconds']:.2f} s")
    seconds = {what: figure["seconds"] for what, figure in found.items()}
    yield "peak memory, 4 x 16384 x 16384", found["16384"]["peak"], "GiB", 1.5
    yield "time for 16384 over time for 8192", seconds["16384"] / seconds["8192"], "", 4.6
    yield "tasks per image block", found["16384"]["tasks"], "", 8
    ordered = seconds["8192, dense, ids in order"] / seconds["8192, ids in order"]
    yield "time for ten times the labels, ids in order", ordered, "", 1.6
    # Every block then holds labels of every range, which have to be put in order.
    shuffled = seconds["8192, dense"] / seconds["8192"]
    yield "time for ten times the labels, ids shuffled", shuffled, "", 1.6


def measure_aggregate(path: str) -> dict[str, float]:
    """Scan and aggregate a stored field twice; the first run also loads the compiled kernels."""
    import dask.array as da
    import xarray as xr

    import xlabelstats

    def run() -> tuple[xr.Dataset, xr.Dataset]:
        image = xr.DataArray(da.from_zarr(path, component="image"), dims=("c", "y", "x"))
        mask = xr.DataArray(da.from_zarr(path, component="mask"), dims=("y", "x"))
        xlabelstats.clear_cache()
        lazy = image.labels.aggregate(mask)
        return lazy, lazy.compute()

    times = []
    for _ in range(5):
        start = time.perf_counter()
        lazy, result = run()
        times.append(time.perf_counter() - start)
    blocks = da.from_zarr(path, component="image").npartitions
    tasks = len(dict(lazy.__dask_graph__()))
    return {
        "seconds": min(times),
        "peak": peak(),
        "labels": result.sizes["label"],
        "tasks": tasks / blocks,
    }


def stored(folder: Path) -> Iterator[Figure]:
    """Statistics from Zarr beside a plain read of it."""
    found = child("stored", make(folder / "stored.zarr", (4096, 4096), 1024, channels=2))
    print(f"  one read in {found['read']:.2f} s, the mean of given labels in {found['labels given']:.2f} s")
    yield "time for the mean over that for one read", found["mean"] / found["read"], "", 1.5
    yield "time for all eight over that for one read", found["all"] / found["read"], "", 2.2
    yield "time for the mean over that for one read, mask read twice", found["mean, twice"] / found["read"], "", 2
    yield "time for all eight over that for one read, mask read twice", found["all, twice"] / found["read"], "", 3


def measure_stored(path: str) -> dict[str, float]:
    """Read a stored field by dask alone, and measure it, in turn, from the call to the numbers."""
    import dask
    import dask.array as da
    import xarray as xr

    import xlabelstats

    def opened() -> tuple[xr.DataArray, xr.DataArray]:
        # Opened anew: nothing remembered of the mask may help.
        image = xr.DataArray(da.from_zarr(path, component="image"), dims=("c", "y", "x"))
        return image, xr.DataArray(da.from_zarr(path, component="mask"), dims=("y", "x"))

    def read() -> None:
        image, mask = opened()
        dask.compute(image.data.sum(), mask.data.max())

    def mean(labels: Any = None) -> None:
        image, mask = opened()
        image.labels.aggregate(mask, "mean", labels=labels).compute()

    def eight() -> None:
        image, mask = opened()
        image.labels.aggregate(mask).compute()

    def twice(call: Callable[[], None]) -> None:
        with xlabelstats.set_options(mask_memory=0):
            call()

    ids = opened()[1].labels.ids()
    calls = {
        "read": read,
        "mean": mean,
        "all": eight,
        "labels given": lambda: mean(ids),
        "mean, twice": lambda: twice(mean),
        "all, twice": lambda: twice(eight),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(16):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: min(each) for name, each in times.items()}


def scan(folder: Path) -> Iterator[Figure]:
    """The label table of a volume."""
    volume = make(folder / "volume.zarr", (256, 2048, 2048), (64, 512, 512))
    plain, far = child("scan", volume, 0), child("scan", volume, 2**62)
    print(f"  {plain['labels']:.0f} labels in {plain['seconds']:.2f} s")
    yield "peak memory, 256 x 2048 x 2048", plain["peak"], "GiB", 1
    yield "peak memory, ids near 2**62", far["peak"], "GiB", 1
    yield "time for ids near 2**62 over small int64 ones", far["seconds"] / plain["seconds"], "", 1.25


def measure_scan(path: str, shift: str) -> dict[str, float]:
    """Scan a stored mask, as int64 with its ids moved up."""
    import dask.array as da
    import xarray as xr

    import xlabelstats  # noqa: F401

    def run() -> xr.Dataset:
        mask = da.from_zarr(path, component="mask").astype("i8")
        mask = mask.map_blocks(lambda block: block + int(shift) * (block != 0), dtype="i8")
        return xr.DataArray(mask, dims=("z", "y", "x")).labels.scan()

    times = []
    for _ in range(3):
        start = time.perf_counter()
        table = run()
        times.append(time.perf_counter() - start)
    return {"seconds": min(times), "peak": peak(), "labels": table.sizes["label"]}


def windows(folder: Path) -> Iterator[Figure]:
    """Windows written to disk, and quantiles."""
    field = make(folder / "large.zarr", (16384, 16384), 2048, channels=4)
    for where, limit in (("threads", 2.0), ("cluster", 1.5)):
        found = child("windows", field, where)
        print(f"  {where}: {found['labels']:.0f} windows written in {found['seconds']:.1f} s")
        yield f"peak memory, windows, {where}", found["peak"], "GiB", limit
    found = child("quantiles", field)
    print(f"  nine quantiles in {found['seconds']:.1f} s")
    yield "peak memory, quantiles, threads", found["peak"], "GiB", 2


def measure_windows(path: str, where: str) -> dict[str, float]:
    """Write the windows of a stored field; the peak is that of the process, or of the largest of two workers."""
    import dask.array as da
    import xarray as xr

    import xlabelstats

    def run() -> tuple[float, int]:
        image = xr.DataArray(da.from_zarr(path, component="image"), dims=("c", "y", "x"))
        mask = xr.DataArray(da.from_zarr(path, component="mask"), dims=("y", "x"))
        started = time.perf_counter()
        with warnings.catch_warnings():
            # Cells at the border are cut off there.
            warnings.simplefilter("ignore", UserWarning)
            result = image.instances.windows(mask, 64)
        with tempfile.TemporaryDirectory(dir=Path(path).parent) as out:
            xlabelstats.to_zarr(result, Path(out) / "windows.zarr")
        return time.perf_counter() - started, result.sizes["label"]

    if where == "threads":
        seconds, labels = run()
        return {"seconds": seconds, "labels": labels, "peak": peak()}
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster) as client:
        seconds, labels = run()
        return {"seconds": seconds, "labels": labels, "peak": max(client.run(peak).values())}


def measure_quantiles(path: str) -> dict[str, float]:
    """Nine quantiles of a stored field."""
    import dask.array as da
    import xarray as xr

    import xlabelstats  # noqa: F401

    image = xr.DataArray(da.from_zarr(path, component="image"), dims=("c", "y", "x"))
    mask = xr.DataArray(da.from_zarr(path, component="mask"), dims=("y", "x"))
    started = time.perf_counter()
    image.instances.quantiles(mask).compute()
    return {"seconds": time.perf_counter() - started, "peak": peak()}


def cuts(folder: Path) -> Iterator[Figure]:
    """Windows of arrays in memory."""
    found = child("cuts")
    yield "processor time over one read, dask", found["dask"], "", 20
    yield "processor time over one read, numpy", found["numpy"], "", 14


def measure_cuts() -> dict[str, float]:
    """The processor time of windows, the scan of the mask included, divided by that of a sum and a maximum."""
    import dask.array as da
    import numpy as np
    import xarray as xr
    from fields import cells

    import xlabelstats  # noqa: F401

    n, size = 147, 4096
    rng = np.random.default_rng(0)
    labels = cells((0, 0), (size, size), 28, (rng.permutation(int(n * n * 1.3))[: n * n] + 1).reshape(n, n))
    pixels = (rng.standard_gamma(2.0, (2, size, size), np.float32) * 400).astype(np.uint16)

    def read() -> None:
        pixels.sum()
        labels.max()

    def lazy() -> None:
        image = xr.DataArray(da.from_array(pixels, chunks=(2, 1024, 1024), name=False), dims=("c", "y", "x"))
        mask = xr.DataArray(da.from_array(labels, chunks=1024, name=False), dims=("y", "x"))
        image.instances.windows(mask, 48).compute()

    def at_once() -> None:
        xr.DataArray(pixels, dims=("c", "y", "x")).instances.windows(xr.DataArray(labels, dims=("y", "x")), 48)

    times: dict = {read: [], lazy: [], at_once: []}
    with warnings.catch_warnings():
        # Cells at the border are cut off there.
        warnings.simplefilter("ignore", UserWarning)
        for _ in range(11):
            for run in times:
                started = time.process_time()
                run()
                times[run].append(time.process_time() - started)
    once, *of_windows = (min(runs[1:]) for runs in times.values())
    return dict(zip(("dask", "numpy"), (each / once for each in of_windows), strict=True))


def profile(folder: Path) -> Iterator[Figure]:
    """The morphological profile written to disk, and the time of each family."""
    field = make(folder / "large.zarr", (16384, 16384), 2048, channels=4)
    found = child("profile", field)
    print(f"  {found['features']:.0f} features of {found['labels']:.0f} objects in {found['seconds']:.0f} s")
    yield "peak memory, profile", found["peak"], "GiB", 2
    times = child("families")
    for family, microseconds in times.items():
        print(f"  {family}: {microseconds:.0f} us an object")
    yield "all families of one channel, one thread", times["all"], "us", 600


def measure_profile(path: str) -> dict[str, float]:
    """Write the whole profile of a stored field."""
    import dask.array as da
    import xarray as xr

    import xlabelstats  # noqa: F401

    channels = ["DNA", "ER", "RNA", "AGP"]
    image = xr.DataArray(da.from_zarr(path, component="image"), dims=("c", "y", "x"), coords={"c": channels})
    mask = xr.DataArray(da.from_zarr(path, component="mask"), dims=("y", "x"))
    started = time.perf_counter()
    result = image.instances.profile(mask)
    with tempfile.TemporaryDirectory(dir=Path(path).parent) as out, warnings.catch_warnings():
        # Of zarr, about its consolidated metadata.
        warnings.simplefilter("ignore")
        result.to_zarr(Path(out) / "profile.zarr")
    seconds = time.perf_counter() - started
    features = sum(variable.size for variable in result.values()) / result.sizes["label"]
    return {"seconds": seconds, "labels": result.sizes["label"], "features": features, "peak": peak()}


def measure_families() -> dict[str, float]:
    """Microseconds an object and family, of some 500 pixels and one channel, on one thread."""
    import dask
    import numpy as np
    import xarray as xr
    from fields import cells

    from xlabelstats.catalogue.profiles import PROFILE

    n, size = 74, 2048
    rng = np.random.default_rng(0)
    labels = cells((0, 0), (size, size), 28, (rng.permutation(int(n * n * 1.3))[: n * n] + 1).reshape(n, n))
    pixels = (rng.standard_gamma(2.0, (1, size, size), np.float32) * 400).astype(np.uint16)
    image = xr.DataArray(pixels, dims=("c", "y", "x"))
    number, times = np.unique(labels).size - 1, {}
    print(f"  {np.count_nonzero(labels) / number:.0f} pixels an object", file=sys.stderr)
    alone = [family for family in PROFILE if family != "correlation"]
    with dask.config.set(scheduler="synchronous"):
        for family in (*alone, "all"):
            runs = []
            for _ in range(4):
                mask = xr.DataArray(labels.copy(), dims=("y", "x"))
                started = time.perf_counter()
                image.instances.profile(mask, family)
                runs.append(time.perf_counter() - started)
            times[family] = min(runs[1:]) / number * 1e6
    return times


def chunks(folder: Path) -> Iterator[Figure]:
    """As many tasks as pixels."""
    for what in ("mean", "sum"):
        found = {n: child("chunks", what, n) for n in (100, 450)}
        for n, figure in found.items():
            print(f"  {what} of {n * n} chunks: {figure['seconds']:.1f} s, {figure['busy']:.1f} s of processor time")
        if what == "mean":
            yield "time for 202,500 chunks over 10,000", found[450]["seconds"] / found[100]["seconds"], "", 25


def measure_chunks(what: str, n: str) -> dict[str, float]:
    """The mean of labels of a field with a chunk for every pixel, or dask's sum of it."""
    import dask.array as da
    import numpy as np
    import xarray as xr

    import xlabelstats  # noqa: F401

    def run(size: int) -> None:
        labels = np.arange(size * size).reshape(size, size) // (4 * size) + 1
        image = xr.DataArray(da.from_array(labels / 2, chunks=1), dims=("y", "x"))
        if what == "sum":
            image.data.sum().compute()
        else:
            image.labels.mean(xr.DataArray(da.from_array(labels, chunks=1), dims=("y", "x"))).compute()

    run(4)
    started, busy = time.perf_counter(), time.process_time()
    run(int(n))
    return {"seconds": time.perf_counter() - started, "busy": time.process_time() - busy}


def function(folder: Path) -> Iterator[Figure]:
    """A function of every object, one thread."""
    found = child("function")
    yield "a call with an object over one with an array", found["extra"], "us", 15


def measure_function() -> dict[str, float]:
    """The mean and maximum of 2 channels of 21,000 objects, by `statistics` and by a loop over arrays cut before."""
    import dask
    import dask.array as da
    import numpy as np
    import xarray as xr
    from fields import cells

    import xlabelstats  # noqa: F401

    def mean_and_max(pixels: np.ndarray) -> np.ndarray:
        return np.stack([pixels.mean(axis=1), pixels.max(axis=1)], axis=1)

    n, size = 147, 4096
    rng = np.random.default_rng(0)
    labels = cells((0, 0), (size, size), 28, (rng.permutation(int(n * n * 1.3))[: n * n] + 1).reshape(n, n))
    pixels = (rng.standard_gamma(2.0, (2, size, size), np.float32) * 400).astype(np.uint16)
    image = xr.DataArray(da.from_array(pixels, chunks=(2, 2048, 2048)), dims=("c", "y", "x"))

    def ours() -> np.ndarray:
        mask = xr.DataArray(da.from_array(labels, chunks=2048, name=False), dims=("y", "x"))
        return image.instances.statistics(mask, mean_and_max, dims={"statistic": 2}).values

    table = xr.DataArray(labels, dims=("y", "x")).labels.scan()
    objects = []
    for label, low, high in zip(*(table[name].values for name in ("label", "bbox_min", "bbox_max")), strict=True):
        box = tuple(map(slice, low, high))
        objects.append(np.ascontiguousarray(pixels[(slice(None), *box)][:, labels[box] == label]))

    def loop() -> np.ndarray:
        return np.stack([mean_and_max(each) for each in objects])

    times: dict = {ours: [], loop: []}
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_array_equal(ours(), loop().astype(np.float32))
        for _ in range(5):
            for run in times:
                started = time.perf_counter()
                run()
                times[run].append(time.perf_counter() - started)
    return {"extra": (min(times[ours]) - min(times[loop])) / len(objects) * 1e6}


def start(folder: Path) -> Iterator[Figure]:
    """Importing, and the first call of a process: with kernels compiled before, and without."""
    added = [child("import")["seconds"] for _ in range(7)]
    yield "what importing xlabelstats adds to xarray", statistics.median(added[1:]), "s", 0.3
    with tempfile.TemporaryDirectory(dir=folder) as kept:
        warm = [child("first", "aggregate", kept) for _ in range(7)][1:]
    for what, limit in (("first", 0.6), ("longer", 0.6)):
        name = {"first": "import and first call, kernels compiled", "longer": "first call over the second"}[what]
        yield name, statistics.median(run[what] for run in warm), "s", limit
    for call, limit in (("aggregate", 1.5), ("windows", 1.8), ("quantiles", 1.8)):
        cold = []
        for _ in range(3):
            with tempfile.TemporaryDirectory(dir=folder) as empty:
                cold.append(child("first", call, empty)["longer"])
        yield f"first call, nothing compiled: {call}", min(cold), "s", limit


def measure_import() -> dict[str, float]:
    """Seconds of processor time that importing the package takes after xarray."""
    import xarray  # noqa: F401

    started = time.process_time()
    import xlabelstats  # noqa: F401

    return {"seconds": time.process_time() - started}


def measure_first(what: str, cache: str) -> dict[str, float]:
    """Seconds of processor time of a first call beside what it imports, and beyond a second one.

    Compiled kernels are kept in the folder ``cache``.
    """
    os.environ["NUMBA_CACHE_DIR"] = cache
    import dask.array  # noqa: F401
    import flox  # noqa: F401
    import numba  # noqa: F401
    import numpy as np
    import xarray as xr
    from fields import cells

    n, size = 19, 512
    labels = cells((0, 0), (size, size), 28, np.arange(1, n * n + 1).reshape(n, n))
    image = xr.DataArray(np.arange(size * size, dtype=np.uint16).reshape(size, size), dims=("y", "x"))
    times = [time.process_time()]
    for _ in range(2):
        import xlabelstats  # noqa: F401

        mask = xr.DataArray(labels.copy(), dims=("y", "x"))
        if what == "aggregate":
            image.labels.aggregate(mask)
        elif what == "windows":
            image.instances.windows(mask, 48)
        else:
            image.instances.quantiles(mask)
        times.append(time.process_time())
    first, second = times[1] - times[0], times[2] - times[1]
    return {"first": first, "longer": first - second}


BENCHMARKS = {
    "aggregate": aggregate,
    "stored": stored,
    "scan": scan,
    "windows": windows,
    "cuts": cuts,
    "profile": profile,
    "chunks": chunks,
    "function": function,
    "start": start,
}
CHILDREN = {
    "aggregate": measure_aggregate,
    "stored": measure_stored,
    "scan": measure_scan,
    "windows": measure_windows,
    "cuts": measure_cuts,
    "profile": measure_profile,
    "families": measure_families,
    "quantiles": measure_quantiles,
    "chunks": measure_chunks,
    "function": measure_function,
    "import": measure_import,
    "first": measure_first,
}


def main() -> None:
    """Run the benchmarks named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"any of: {', '.join(BENCHMARKS)}")
    parser.add_argument("--folder", type=Path, help="where to keep the fields for the next run")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(CHILDREN[args.child[0]](*args.child[1:])))
        return
    unknown = set(args.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"unknown benchmark {sorted(unknown)}; choose from {sorted(BENCHMARKS)}")
    folder = args.folder or Path(tempfile.mkdtemp())
    folder.mkdir(exist_ok=True, parents=True)
    over = []
    try:
        for name in args.names or BENCHMARKS:
            print(name)
            for what, value, unit, limit in BENCHMARKS[name](folder):
                mark = "" if value <= limit else "  over"
                print(f"  {what:48s} {value:8.3f} {unit:4s} limit {limit:g}{mark}", flush=True)
                over += [what] if mark else []
    finally:
        if args.folder is None:
            shutil.rmtree(folder)
    sys.exit(1 if over else 0)


if __name__ == "__main__":
    main()
