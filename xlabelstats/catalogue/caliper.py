"""Feret diameters: how wide every object is between two parallel lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from xlabelstats.catalogue.measure import Measure
from xlabelstats.catalogue.outline import ObjectProperties
from xlabelstats.engine.reduction import Columns, Context, WholeBlock
from xlabelstats.engine.runs import Array
from xlabelstats.inputs import check_on_host


@dataclass(frozen=True)
class Calipers(ObjectProperties):
    """The widths of the convex hull of the pixel centres of every object, on the host.

    Columns: ``least`` and ``most`` (label,).
    """

    parallel = True

    def collect(self, block: WholeBlock) -> Columns:
        """Measure the objects of a region."""
        from xlabelstats.kernels.cpu_circles import calipers

        check_on_host(", ".join(self.names), mask=block.ids)
        crops = block.crops
        least, most = np.empty(block.ids.size), np.empty(block.ids.size)
        calipers(crops.first, crops.place, crops.size, np.array(self.spacing), least, most)
        return least, most

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> Mapping[str, Array]:
        """The diameters by name."""
        return dict(zip(("feret_min", "feret_max"), columns, strict=True))


def _entry(name: str, definition: str, cellprofiler: str) -> Measure:
    return Measure(
        name,
        definition,
        itemgetter(name),
        Calipers,
        (name,),
        units="length",
        only_2d=True,
        source="Feret 1930; CellProfiler, MeasureObjectSizeShape",
        cellprofiler=cellprofiler,
    )


CALIPERS: tuple[Measure, ...] = (
    _entry(
        "feret_min",
        "smallest distance of two parallel lines with all pixel centres of the object between them; 0 where they lie "
        "on one line",
        "AreaShape_MinFeretDiameter",
    ),
    _entry(
        "feret_max",
        "largest distance of two pixel centres of the object; 0 for one pixel. ``feret_diameter_max`` is up to a pixel "
        "or so longer: it goes from edge to edge of the convex hull",
        "AreaShape_MaxFeretDiameter",
    ),
)
