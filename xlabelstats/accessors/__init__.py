"""The accessors: what the package adds to the arrays, Datasets and trees of xarray."""

from __future__ import annotations

from xlabelstats.accessors.dataset_instances import InstancesDatasetAccessor
from xlabelstats.accessors.datasets import LabelsDatasetAccessor
from xlabelstats.accessors.instances import InstancesAccessor
from xlabelstats.accessors.labels import LabelsAccessor
from xlabelstats.accessors.trees import InstancesTreeAccessor, LabelsTreeAccessor

__all__ = [
    "InstancesAccessor",
    "InstancesDatasetAccessor",
    "InstancesTreeAccessor",
    "LabelsAccessor",
    "LabelsDatasetAccessor",
    "LabelsTreeAccessor",
]
