"""Region properties of the holes of every object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from xlabelstats.catalogue.outline import ObjectProperties, Outlines, property_of
from xlabelstats.engine.reduction import Columns, Context, WholeBlock
from xlabelstats.engine.runs import Array
from xlabelstats.inputs import check_on_host


@dataclass(frozen=True)
class Holes(ObjectProperties):
    """The holes of every object of a 2-D mask, on the host, as scikit-image defines them.

    Column: ``filled`` (label,), the number of pixels in holes.
    """

    parallel = True
    in_3d = Outlines

    def collect(self, block: WholeBlock) -> Columns:
        """Fill the holes of the objects of a region."""
        from xlabelstats.kernels.cpu_holes import fill_holes

        check_on_host(", ".join(self.names), mask=block.ids)
        filled = np.empty(block.ids.size, np.int64)
        fill_holes(block.runs, filled)
        return (filled,)

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> Mapping[str, Array]:
        """The properties by name."""
        (filled,) = columns
        return {"area_filled": (count + filled) * np.prod(self.spacing)}


HOLES = (property_of(Holes, "area_filled", "area with holes filled", units="volume"),)
