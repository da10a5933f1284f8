"""The same calls on a cluster: ``python cluster.py``.

Two processes on this machine stand for it; for a real one, replace the line that makes it.
"""

import os
import tempfile

import numpy as np
import xarray as xr
from distributed import Client, LocalCluster

import xlabelstats


def mosaic(name: str, folder: str) -> xr.DataArray:
    """An example image four times side by side, in a store that all workers can read."""
    image, mask = xlabelstats.datasets.nuclei2d()
    tile = (mask if name == "labels" else image).to_numpy().astype(np.int32)
    # The nuclei of every tile have labels of their own.
    step = tile.max() + 1 if name == "labels" else 0
    tiles = [[np.where(tile > 0, tile + (2 * row + column) * step, 0) for column in range(2)] for row in range(2)]
    image = xr.DataArray(np.block(tiles), dims=("y", "x"), name=name).chunk(256)
    return xlabelstats.to_zarr(image, f"{folder}/{name}.zarr")


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        # SLURM: dask_jobqueue.SLURMCluster(cores=8, memory="32GB", walltime="02:00:00", n_workers=10) as cluster,
        # Kubernetes: dask_kubernetes.operator.KubeCluster(name="cells", image=YOUR_IMAGE, n_workers=10) as cluster,
        # A scheduler that runs already: leave this line out, and give Client the address, "tcp://...:8786".
        LocalCluster(n_workers=2, threads_per_worker=1, memory_limit="2GiB", dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        print(f"workers: {len(client.run(os.getpid))} processes\n")

        # From here on nothing knows of a cluster: what dask computes, it computes there.
        image, mask = mosaic("image", folder), mosaic("labels", folder)
        table = image.labels.aggregate(mask, ("count", "mean", "std", "max")).labels.to_dataframe()
        print(f"{len(table)} nuclei:\n{table.head().round(2).to_string()}\n")

        brightest = table.index[table["mean"] > table["mean"].quantile(0.9)].to_numpy()
        windows = image.instances.windows(mask, 80, labels=brightest)
        stored = xlabelstats.to_zarr(windows, f"{folder}/windows.zarr")
        print(f"windows of the brightest tenth, written by the workers: {dict(stored.sizes)}")

        quantiles = image.instances.quantiles(mask, [0.1, 0.5, 0.9], labels=brightest).compute()
        print(f"\n{quantiles.mean('label').to_series().round(1).to_string()}")

        here = image.compute().labels.aggregate(mask.compute(), "count")["count"]
        assert (table["count"].to_numpy() == here.to_numpy()).all()
        print("\nthe same as in this process")


# Worker processes import this file, and must not start a cluster of their own.
if __name__ == "__main__":
    main()
