"""From a raw volume to cells per brain region, in steps that can be looked at."""

from __future__ import annotations

from xlabelstats.pipeline.components import connected_components
from xlabelstats.pipeline.watershed import watershed

__all__ = ["connected_components", "watershed"]
