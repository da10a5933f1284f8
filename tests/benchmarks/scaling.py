"""Time and memory as images grow: ``python tests/benchmarks/scaling.py [NAME ...]``.

Every field is made in one process and measured in another, whose peak resident memory is read from
the system when it is done.  Prints the figures and their limits; exits 1 when one is over.

    aggregate   all eight statistics of 4 x 16384 x 16384 uint16 with 345,000 labels: memory,
                tasks, growth from 8192 to 16384, and ten times the labels in the same pixels
    scan        the label table of a 256 x 2048 x 2048 mask in 64 x 512 x 512 chunks: memory; and ids
                near 2**62 beside small ones
    start       what importing the package and its first call add
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

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


def start(folder: Path) -> Iterator[Figure]:
    """Importing, and the first call of a process whose kernels are compiled already."""

    def median(code: str) -> float:
        program = f"import time\n{code}"
        runs = [
            subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
            for _ in range(7)
        ]
        return statistics.median(float(run.stdout) for run in runs[1:])

    timed = "t = time.perf_counter()\nimport {}\nprint(time.perf_counter() - t)"
    call = (
        "import numpy as np, xarray as xr, xlabelstats\n"
        "image = xr.DataArray(np.ones((64, 64), 'u2'), dims=('y', 'x')).chunk(32)\n"
        "mask = xr.DataArray(np.ones((64, 64), 'i4'), dims=('y', 'x')).chunk(32)\n"
        "times = []\n"
        "for _ in range(2):\n"
        "    t = time.perf_counter(); image.labels.aggregate(mask).compute(); times.append(time.perf_counter() - t)\n"
        "print(times[0] - times[1])"
    )
    added = "import xarray\n" + timed.format("xlabelstats")
    yield "what importing xlabelstats adds to xarray", median(added), "s", 0.3
    yield "first call over the second, kernels compiled", median(call), "s", 2


BENCHMARKS = {"aggregate": aggregate, "scan": scan, "start": start}
CHILDREN = {"aggregate": measure_aggregate, "scan": measure_scan}


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
