"""From a raw volume to cells per brain region, in steps whose results are kept and can be looked at."""

from __future__ import annotations

from xlabelstats.pipeline.binary import predict, threshold
from xlabelstats.pipeline.blobs import blobs
from xlabelstats.pipeline.boxes import count_map, scaled_intensity
from xlabelstats.pipeline.cache import Cache
from xlabelstats.pipeline.centroids import centroids
from xlabelstats.pipeline.components import connected_components
from xlabelstats.pipeline.counts import count, count_by_size
from xlabelstats.pipeline.density import density_by_region
from xlabelstats.pipeline.filters import gaussian, map_blocks
from xlabelstats.pipeline.steps import step
from xlabelstats.pipeline.voronoi import voronoi
from xlabelstats.pipeline.watershed import watershed

__all__ = [
    "Cache",
    "blobs",
    "centroids",
    "connected_components",
    "count",
    "count_by_size",
    "count_map",
    "density_by_region",
    "gaussian",
    "map_blocks",
    "predict",
    "scaled_intensity",
    "step",
    "threshold",
    "voronoi",
    "watershed",
]
