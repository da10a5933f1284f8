"""Measure labelled objects in images: ``.labels`` and ``.instances`` on xarray's arrays."""

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
