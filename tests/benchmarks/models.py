"""What `featurize` costs beside its model, a small network of torch: ``python tests/benchmarks/models.py``.

Needs torch.  48 x 48 windows of 5,400 objects in 2 x 2048 x 2048 uint16 pixels, dask chunks of 1024, batches of 256; on
dask's threads, while torch uses one thread for each call.  Beside it the model is called in a loop with the same
batches, cut beforehand.  Prints the share of processor time that is spent outside of the model; exits 1 when it is over
its limit.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
import warnings
from collections.abc import Callable

import dask.array as da
import numpy as np
import torch
import xarray as xr
from fields import cells
from torch import nn

import xlabelstats  # noqa: F401

SIZE, WINDOW, BATCH, FEATURES = 2048, 48, 256, 64
LIMIT = 0.1


class Model:
    """Three convolutions, and the processor time that they took."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        widths = (2, 16, 32, FEATURES)
        layers = [
            layer
            for a, b in itertools.pairwise(widths)
            for layer in (nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        ]
        self.network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
        self.seconds: list[float] = []

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """The features of a batch of windows."""
        started = time.thread_time()
        with torch.inference_mode():
            features = self.network(torch.from_numpy(batch.astype(np.float32) / 65535)).numpy()
        self.seconds.append(time.thread_time() - started)
        return features


def field() -> tuple[np.ndarray, np.ndarray]:
    """The pixels of two channels, and the labels."""
    n = SIZE // 28 + 1
    rng = np.random.default_rng(0)
    labels = cells((0, 0), (SIZE, SIZE), 28, (rng.permutation(int(n * n * 1.3))[: n * n] + 1).reshape(n, n))
    return (rng.standard_gamma(2.0, (2, SIZE, SIZE), np.float32) * 400).astype(np.uint16), labels


def timed(function: Callable[[], np.ndarray]) -> tuple[float, float, np.ndarray]:
    """The seconds that a function took, those of the processor, and what it returned."""
    started, busy = time.perf_counter(), time.process_time()
    result = function()
    return time.perf_counter() - started, time.process_time() - busy, result


def main() -> None:
    """Measure both in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often both are measured (5)")
    args = parser.parse_args()
    # Cells at the border are cut off there.
    warnings.simplefilter("ignore", UserWarning)
    torch.set_num_threads(1)
    pixels, labels = field()
    image = xr.DataArray(da.from_array(pixels, chunks=(2, 1024, 1024)), dims=("c", "y", "x"))
    model = Model()

    def ours() -> np.ndarray:
        mask = xr.DataArray(da.from_array(labels, chunks=1024, name=False), dims=("y", "x"))
        features = image.instances.featurize(mask, model, size=WINDOW, n_features=FEATURES, batch_size=BATCH)
        return features.values

    mask = xr.DataArray(da.from_array(labels, chunks=1024), dims=("y", "x"))
    windows = image.instances.windows(mask, WINDOW)["image"].values
    batches = [windows[first : first + BATCH] for first in range(0, len(windows), BATCH)]

    def loop() -> np.ndarray:
        return np.concatenate([model(batch) for batch in batches])

    np.testing.assert_allclose(ours(), loop(), rtol=1e-5, atol=1e-6)
    shares, seconds = [], {"featurize": [], "the model in a loop": []}
    for _ in range(args.rounds):
        model.seconds.clear()
        elapsed, busy, _ = timed(ours)
        shares.append(1 - sum(model.seconds) / busy)
        seconds["featurize"].append((elapsed, busy))
        elapsed, busy, _ = timed(loop)
        seconds["the model in a loop"].append((elapsed, busy))
    print(f"{len(windows)} windows in {len(batches)} batches, the fastest of {args.rounds} rounds")
    for name, runs in seconds.items():
        elapsed, busy = np.min(runs, axis=0)
        print(f"  {name:20s} {elapsed:.2f} s, {busy:.2f} s of processor time")
    share = float(np.median(shares))
    print(f"  share that is not the model's: {share:.3f}  limit {LIMIT:g}{'' if share <= LIMIT else '  over'}")
    sys.exit(share > LIMIT)


if __name__ == "__main__":
    main()
