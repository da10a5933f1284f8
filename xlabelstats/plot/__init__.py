"""Pictures of masks, measurements and windows, drawn on the Axes of matplotlib."""

from __future__ import annotations

from xlabelstats.plot.gallery import gallery
from xlabelstats.plot.measurement import measurement
from xlabelstats.plot.overlay import overlay
from xlabelstats.plot.scatter import scatter

__all__ = ["gallery", "measurement", "overlay", "scatter"]
