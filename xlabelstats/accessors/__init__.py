"""The accessors: what the package adds to the arrays and Datasets of xarray."""

from __future__ import annotations

from xlabelstats.accessors.datasets import LabelsDatasetAccessor
from xlabelstats.accessors.instances import InstancesAccessor
from xlabelstats.accessors.labels import LabelsAccessor

__all__ = ["InstancesAccessor", "LabelsAccessor", "LabelsDatasetAccessor"]
