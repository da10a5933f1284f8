"""Measure labelled objects in images: ``.labels`` and ``.instances`` on xarray's arrays.

An image is a DataArray of numbers.  A mask is a DataArray of integers over the same pixels: 0 for the background, an id
for each object.  ``import xlabelstats`` gives every DataArray, Dataset and DataTree two accessors:

- ``image.labels.measure(mask, ("mean", "p95", "area"))``, ``image.labels.mean(mask)``, ...: measures, and tables of
  results; see `LabelsAccessor`, `LabelsDatasetAccessor`, `LabelsTreeAccessor`.
- ``image.instances.windows(mask, 64)``, ``image.instances.median(mask)``, ...: work that needs all pixels of an object
  at once; see `InstancesAccessor`, `InstancesDatasetAccessor`, `InstancesTreeAccessor`.

Functions:

- `measures`: a table of all measures, with definitions and units.
- `set_options`: options such as a progress bar.
- `clear_cache`: forget the labels of masks.
- `open_ome_zarr`: the image and the masks of an OME-Zarr, lazily.
- `stitch`: join masks that were made tile by tile.
- `to_zarr`: write a result atomically: the store is complete or absent.

Modules: `datasets` has nuclei to try the calls on.  The others are imported when they are first used:

- ``xlabelstats.plot``: pictures of masks, measurements and windows.
- ``xlabelstats.pipeline``: cached steps from an image to cells per region of an atlas.
- ``xlabelstats.spatialdata``: labels of SpatialData objects, measured into annotated tables or outlined as shapes.
- ``xlabelstats.embeddings``: embeddings as colours.
- ``xlabelstats.patches``: patches of image stacks, to train models on.
- ``xlabelstats.compat``: classes and functions of cvpl_tools, harpy and micro-sam, with their signatures.

``help(image.labels.mean)`` shows a call's parameters and an example; `__version__` is the version.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from types import ModuleType

from xlabelstats import datasets
from xlabelstats.accessors import (
    InstancesAccessor,
    InstancesDatasetAccessor,
    InstancesTreeAccessor,
    LabelsAccessor,
    LabelsDatasetAccessor,
    LabelsTreeAccessor,
)
from xlabelstats.catalogue import measures
from xlabelstats.labels.mask_scan import clear_cache
from xlabelstats.ngff.reading import open_ome_zarr
from xlabelstats.options import set_options
from xlabelstats.stitching import stitch
from xlabelstats.store import to_zarr

__version__ = version("xlabelstats")


def __getattr__(name: str) -> ModuleType:
    # Imported when they are asked for.
    if name in ("compat", "embeddings", "patches", "pipeline", "plot", "spatialdata"):
        return import_module(f"xlabelstats.{name}")
    raise AttributeError(f"module 'xlabelstats' has no attribute {name!r}")


__all__ = [
    "InstancesAccessor",
    "InstancesDatasetAccessor",
    "InstancesTreeAccessor",
    "LabelsAccessor",
    "LabelsDatasetAccessor",
    "LabelsTreeAccessor",
    "__version__",
    "clear_cache",
    "datasets",
    "measures",
    "open_ome_zarr",
    "set_options",
    "stitch",
    "to_zarr",
]
