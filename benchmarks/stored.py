"""Calls on Zarr arrays, and what the package costs before the first of them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import cluster
import numpy as np
import patches
from fields import write

from xlabelstats.patches import XarrayImageStack

SIZE, CHUNK = 1024, 256


class Stored:
    """The calls of ``tests/benchmarks/cluster.py``, on threads: read from Zarr, and windows written there."""

    params = tuple(cluster.CALLS)
    param_names = ("call",)

    def setup_cache(self) -> str:
        path = Path("field.zarr").resolve()
        write(path, (SIZE, SIZE), (CHUNK, CHUNK), pitch=28, channels=2)
        return str(path)

    def time_call(self, path: str, call: str) -> None:
        with tempfile.TemporaryDirectory() as out:
            cluster.CALLS[call](Path(path), Path(out))

    def peakmem_call(self, path: str, call: str) -> None:
        self.time_call(path, call)


class Patches:
    """Patches at random places of a stored image."""

    def setup_cache(self) -> str:
        return Stored().setup_cache()

    def setup(self, path: str) -> None:
        self.read = patches.of(XarrayImageStack(cluster.opened(Path(path))[0]))
        self.places = np.random.default_rng(1).integers(0, SIZE - patches.PATCH, (50, 2)).tolist()

    def time_patches(self, path: str) -> None:
        for y, x in self.places:
            self.read(y, x)


class Start:
    """A new process."""

    def timeraw_import(self) -> str:
        return "import xlabelstats"

    def timeraw_import_of_xarray_alone(self) -> str:
        return "import xarray"
