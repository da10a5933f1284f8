"""Points counted in cells by gene: ``python tests/benchmarks/points.py [--points N] [--folder FOLDER]``.

Makes a mask of 16384 x 16384 pixels with 343,000 cells, and points of 300 genes at random places of it as Parquet
files: sorted by tiles of 1024 pixels, as a microscope takes them, and not sorted at all.  Each is counted in a process
of its own, on two threads.  Prints points per second, the time of the processor, and peak memory, beside what reading
the columns alone takes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
SIZE, TILE, GENES = 16384, 1024, 300
ROWS = 500_000


def write_points(folder: Path, n: int, is_sorted: bool, text: bool) -> None:
    """Write points, ROWS per file; genes are as uneven as expression is."""
    folder.mkdir(parents=True)
    names = np.array([f"Gene{i:03d}" for i in range(GENES)])
    share = np.random.default_rng(0).lognormal(0, 1.5, GENES)
    files = -(-n // ROWS)
    tiles = (SIZE // TILE) ** 2
    for i in range(files):
        rng = np.random.default_rng(1 + i)
        rows = min(ROWS, n - i * ROWS)
        if is_sorted:
            tile = np.sort((i + rng.random(rows)) / files * tiles).astype(np.int64)
            y, x = ((at + rng.random(rows)) * TILE - 0.5 for at in np.divmod(tile, SIZE // TILE))
        else:
            y, x = rng.random((2, rows)) * SIZE - 0.5
        codes = rng.choice(GENES, rows, p=share / share.sum())
        gene = names[codes] if text else pd.Categorical.from_codes(codes, names)
        frame = pd.DataFrame({"y": y.astype(np.float32), "x": x.astype(np.float32), "gene": gene})
        frame.to_parquet(folder / f"part-{i:05d}.parquet")


def count(mask: str, points: str, what: str) -> dict[str, float]:
    """Count, or only read, and what it took."""
    import dask
    import dask.array as da
    import dask.dataframe as dd
    import xarray as xr
    from scaling import peak

    import xlabelstats  # noqa: F401

    dask.config.set(scheduler="threads", num_workers=2)
    frame = dd.read_parquet(points)[["y", "x", "gene"]]
    labels = xr.DataArray(da.from_zarr(mask), dims=("y", "x"))
    # Loops are compiled, and packages imported.
    labels[:8, :8].labels.count_points(pd.DataFrame({"y": [0.0], "x": [0.0], "gene": ["a"]}), by="gene")
    start, used = time.perf_counter(), time.process_time()
    if what == "read":
        entries, in_cells = 0, sum(dask.compute(*map(dask.delayed(len), frame.to_delayed())))
    else:
        counts = labels.labels.count_points(frame, by="gene")
        entries, in_cells = counts.data.nnz, int(counts.data.data.sum())
    seconds, used = time.perf_counter() - start, time.process_time() - used
    return {"seconds": seconds, "used": used, "peak": peak(), "entries": float(entries), "in_cells": float(in_cells)}


def main() -> None:
    """Make what is not there yet, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=50_000_000)
    parser.add_argument("--folder", type=Path, help="where fields are made and kept; else in a temporary folder")
    parser.add_argument("--mask", help="a Zarr array of labels, of that size, in place of one made here")
    parser.add_argument("--text", action="store_true", help="genes as text, not as categories")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(count(*given.child)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        mask = given.mask
        if mask is None:
            field = folder / "cells.zarr"
            if not field.exists():
                options = ["--shape", SIZE, SIZE, "--chunk", 2048, 2048, "--pitch", 28]
                subprocess.run([sys.executable, HERE / "fields.py", field, *map(str, options)], check=True)
            mask = str(field / "mask")
        for order in ("sorted", "unsorted"):
            points = folder / f"{order}-{given.points}{'-text' if given.text else ''}"
            if not points.exists():
                write_points(points, given.points, order == "sorted", given.text)
            for what in ("read", "count"):
                command = [sys.executable, __file__, "--child", mask, str(points), what]
                done = json.loads(subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout)
                speed = given.points / done["seconds"] / 1e6
                print(
                    f"{order}, {what}: {done['seconds']:.1f} s, {speed:.1f} million points per second, "
                    f"{done['used']:.1f} s of the processor, peak {done['peak']:.2f} GiB; "
                    f"{done['in_cells']:,.0f} points, {done['entries']:,.0f} entries",
                    flush=True,
                )


if __name__ == "__main__":
    main()
