"""The classes of `harpy.utils` that measure objects, with their signatures and outputs, thin over the accessors."""

from __future__ import annotations

from xlabelstats.compat.harpy.aggregator import RasterAggregator
from xlabelstats.compat.harpy.featurizer import Featurizer
from xlabelstats.compat.harpy.inputs import InputError

__all__ = ["Featurizer", "InputError", "RasterAggregator"]
