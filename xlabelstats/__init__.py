"""Measure labelled objects in images: ``.labels`` and ``.instances`` on xarray's arrays.

An image is a DataArray of numbers, a mask one of integers over the same pixels: 0 for the background, an id per object.
``import xlabelstats`` gives every DataArray, Dataset and DataTree two accessors:

- ``image.labels.mean(mask)``, ``mask.labels.regionprops("area")``, ...: measures that merge across blocks, and tables
  of results; see `LabelsAccessor`, `LabelsDatasetAccessor`, `LabelsTreeAccessor`.
- ``image.instances.median(mask)``, ``image.instances.windows(mask, 64)``, ...: work that needs each object whole; see
  `InstancesAccessor`, `InstancesDatasetAccessor`, `InstancesTreeAccessor`.

Functions:

- `set_options`: options such as a progress bar.
- `clear_cache`: forget what was learned of masks.
- `to_zarr`: write a result such that what opens is whole.

Modules: `datasets`, nuclei to try the calls on, and, each imported by itself:

- ``xlabelstats.plot``: pictures of masks, measurements and windows.
- ``xlabelstats.pipeline``: cached steps from an image to cells per region of an atlas.
- ``xlabelstats.spatialdata``: elements of SpatialData objects in, annotated tables out.
- ``xlabelstats.embeddings``: embeddings as colours.
- ``xlabelstats.patches``: image stacks that serve patches to trainers.
- ``xlabelstats.compat``: classes and functions of harpy and micro-sam, with their signatures.

``help(image.labels.mean)`` shows a call's parameters and an example; `__version__` is the version.
"""

from __future__ import annotations

from importlib.metadata import version

from xlabelstats import datasets
from xlabelstats.accessors import (
    InstancesAccessor,
    InstancesDatasetAccessor,
    InstancesTreeAccessor,
    LabelsAccessor,
    LabelsDatasetAccessor,
    LabelsTreeAccessor,
)
from xlabelstats.options import set_options
from xlabelstats.scan import clear_cache
from xlabelstats.store import to_zarr

__version__ = version("xlabelstats")

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
    "set_options",
    "to_zarr",
]
