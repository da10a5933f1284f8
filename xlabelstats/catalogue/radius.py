"""How far the pixels of every object lie from its edge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Self

import numpy as np

from xlabelstats.catalogue.measure import Measure
from xlabelstats.engine.reduction import Columns, Context, Reduction, WholeBlock
from xlabelstats.engine.runs import Array
from xlabelstats.inputs import check_on_host

NAMES = ("radius_max", "radius_mean", "radius_median")


@dataclass(frozen=True)
class Radii(Reduction):
    """How far the pixels of an object lie from the nearest pixel outside, on the host.

    Column: (label, measure), the largest, the mean and the median distance in pixels.
    """

    whole = True
    parallel = True
    axes_matter = False

    @classmethod
    def of(cls, needs: tuple[Any, ...], context: Context) -> Self:
        """The same whatever is needed."""
        return cls()

    def collect(self, block: WholeBlock) -> Columns:
        """Find the distances of all pixels of the objects of a region."""
        from xlabelstats.kernels.cpu_edge_distances import radii

        check_on_host("radius_max and its like", mask=block.ids)
        crops = block.crops
        widths = np.zeros((block.ids.size, len(NAMES)))
        radii(crops.first, crops.place, crops.size, widths)
        return (widths,)

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> Mapping[str, Array]:
        """The measures by name."""
        return dict(zip(NAMES, columns[0].T * context.grid.spacing[0], strict=True))


def _radius(kind: str, name: str) -> Measure:
    return Measure(
        f"radius_{kind}",
        f"{name} distance of the object's pixels to the nearest pixel outside; outside of the image counts too",
        itemgetter(f"radius_{kind}"),
        Radii,
        units="length",
        spatial=True,
        only_isotropic=True,
        source="CellProfiler, MeasureObjectSizeShape; in 3-D by the same rule",
        cellprofiler=f"AreaShape_{name.capitalize()}Radius",
    )


RADII = (_radius("max", "maximum"), _radius("mean", "mean"), _radius("median", "median"))
