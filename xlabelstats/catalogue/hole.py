"""Region properties of the holes of every object."""

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
class Holes(ObjectProperties):
    """The holes of every object of a 2-D mask, on the host, as scikit-image defines them.

    Columns: ``filled`` (label,), the number of pixels in holes; ``euler`` (label,), the number of parts minus that of
    holes.
    """

    parallel = True
    in_3d = Outlines

    def collect(self, block: WholeBlock) -> Columns:
        """Fill the holes of the objects of a region."""
        from xlabelstats.kernels.cpu_holes import fill_holes

        check_on_host(", ".join(self.names), mask=block.ids)
        filled, euler = np.empty(block.ids.size, np.int64), np.empty(block.ids.size, np.int64)
        fill_holes(block.runs, filled, euler)
        return filled, euler

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> Mapping[str, Array]:
        """The properties by name."""
        filled, euler = columns
        return {"area_filled": (count + filled) * np.prod(self.spacing), "euler_number": euler}


_hole = partial(property_of, Holes)

HOLES = (
    _hole("area_filled", "area with holes filled", units="volume"),
    _hole(
        "euler_number",
        "parts minus holes; in 3-D, parts plus cavities minus tunnels",
        kind="whole",
        gridless=True,
        cellprofiler="AreaShape_EulerNumber",
    ),
)
