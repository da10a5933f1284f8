"""The functions of `cvpl_tools.tools.fs` that keep results of steps, thin over `xlabelstats.pipeline.Cache`."""

from __future__ import annotations

from xlabelstats.compat.cvpl_tools.caching import cache_im, cdir_commit
from xlabelstats.compat.cvpl_tools.query import Query

__all__ = ["Query", "cache_im", "cdir_commit"]
