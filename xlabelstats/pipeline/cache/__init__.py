"""Results of steps kept on disk or in memory, computed once."""

from __future__ import annotations

from xlabelstats.pipeline.cache.cache import Cache
from xlabelstats.pipeline.compare import Comparison

__all__ = ["Cache", "Comparison"]
