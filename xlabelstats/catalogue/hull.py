"""Region properties of the convex hull of every object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from xlabelstats.catalogue.outline import ObjectProperties, Outlines, property_of
from xlabelstats.engine.reduction import Columns, Context, WholeBlock
from xlabelstats.engine.runs import Array
from xlabelstats.inputs import check_on_host


@dataclass(frozen=True)
class Hulls(ObjectProperties):
    """The convex image of every object of a 2-D mask, on the host: as scikit-image defines it, in exact arithmetic.

    Pixels are in it whose centres lie in or on the hull of the middles of the object's pixel edges.

    Columns: ``pixels`` (label,) of the convex image; ``reach`` (label, 2), the rows and columns between the farthest
    points of its contour, (label, 0) if that is not needed.
    """

    parallel = True
    in_3d = Outlines

    def collect(self, block: WholeBlock) -> Columns:
        """Build the hulls of the objects of a region."""
        from xlabelstats.kernels.cpu_hulls import convex_hulls

        check_on_host(", ".join(self.names), mask=block.ids)
        pixels = np.empty(block.ids.size, np.int64)
        reach = np.empty((block.ids.size, 2 if "feret_diameter_max" in self.names else 0), np.int64)
        convex_hulls(block.runs, np.array(self.spacing), pixels, reach)
        return pixels, reach

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> Mapping[str, Array]:
        """The properties by name."""
        pixels, reach = columns
        values = {"area_convex": pixels * np.prod(self.spacing), "solidity": count / pixels}
        if reach.shape[1]:
            values["feret_diameter_max"] = np.sqrt(((reach * self.spacing) ** 2).sum(axis=1))
        return values


_hull = partial(property_of, Hulls)

HULLS = (
    _hull("area_convex", "area of the convex hull", units="volume", cellprofiler="AreaShape_ConvexArea"),
    _hull("solidity", "area over area of the convex hull", gridless=True, cellprofiler="AreaShape_Solidity"),
    _hull(
        "feret_diameter_max",
        "longest distance of two points of the convex hull's contour, which lies half a pixel beyond the pixel "
        "centres; ``feret_max`` is that of the centres",
        units="length",
    ),
)
