"""From a volume to cells per region, through a cache: ``python tests/benchmarks/pipeline.py [--folder FOLDER]``.

A 256 x 2048 x 2048 uint16 volume with 100,820 cells, in Zarr, is thresholded and split into objects, which are counted
by region of an atlas; then once more from the cache.  Each run is a process of its own.  Prints what every step took,
the memory at the peak and the time of the second run, with their limits; exits 1 when one is over.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent


def run(folder: Path) -> None:
    """One run, in this process; its figures go to standard output as JSON."""
    sys.path.insert(0, str(HERE))
    import dask.array as da
    import numpy as np
    import volume
    import xarray as xr
    from scaling import peak

    from xlabelstats.pipeline import Cache, centroids, count_by_size, density_by_region, threshold, watershed

    dims = ("z", "y", "x")

    def positions(shape: tuple[int, ...], coarser: int) -> dict[str, tuple]:
        return {
            dim: (dim, ((np.arange(n) + 0.5) * coarser - 0.5) * step, {"units": "micrometer"})
            for dim, n, step in zip(dims, shape, volume.SPACING, strict=True)
        }

    pixels, regions = da.from_zarr(folder / "volume.zarr"), np.load(folder / "atlas.npy")
    image = xr.DataArray(pixels, dims=dims, coords=positions(pixels.shape, 1), name="volume")
    atlas = xr.DataArray(regions, dims=dims, coords=positions(regions.shape, volume.COARSER), name="atlas")

    started = time.perf_counter()
    cache = Cache(folder / "cache")
    binary = cache.run("binary", threshold, image, 400)
    cells = cache.run("cells", watershed, binary, min_distance=4, spacing=1, is_label=True)
    table = cache.run("centroids", centroids, cells)
    counts = cache.run("counts", count_by_size, table, size_threshold=1500, volume_weight=0.001)
    density = cache.run("density", density_by_region, counts, atlas)
    seconds = time.perf_counter() - started
    steps = cache.status().set_index("name")["seconds"].to_dict()
    found = {"seconds": seconds, "peak": peak(), "objects": len(table), "cells": density["cells"].sum(), "steps": steps}
    print(json.dumps(found))


def main() -> int:
    """Make the volume, run twice, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to keep the volume; it needs 6 GB")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run(options.child)
        return 0
    with tempfile.TemporaryDirectory() as made:
        folder = options.folder or Path(made)
        if not (folder / "atlas.npy").exists():
            subprocess.run([sys.executable, HERE / "volume.py", folder], check=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            for name in ("volume.zarr", "atlas.npy"):
                (Path(work) / name).symlink_to((folder / name).resolve())
            first, second = (
                json.loads(
                    subprocess.run(
                        [sys.executable, __file__, "--child", work], check=True, text=True, stdout=subprocess.PIPE
                    ).stdout.splitlines()[-1]
                )
                for _ in range(2)
            )
    print(f"{first['objects']} objects, {first['cells']:.1f} cells in regions")
    for name, seconds in first["steps"].items():
        print(f"  {name}: {seconds:.1f} s")
    over = False
    for what, value, unit, limit in (
        ("peak memory", first["peak"], "GiB", 2.0),
        ("second run", second["seconds"], "s", 5.0),
    ):
        print(f"{what}: {value:.2f} {unit} (limit {limit:g}){'' if value <= limit else '  OVER'}")
        over |= value > limit
    print(f"first run: {first['seconds']:.0f} s")
    return int(over)


if __name__ == "__main__":
    sys.exit(main())
