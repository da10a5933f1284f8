"""How the light of every object is distributed from its centre to its edge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from xlabelstats.catalogue.measure import Measure
from xlabelstats.catalogue.own_pixels import OwnPixels
from xlabelstats.engine.reduction import Columns, Context, WholeBlock
from xlabelstats.engine.runs import Array
from xlabelstats.inputs import check_on_host, whole_number

NAMES = ("radial_fraction", "radial_mean_fraction", "radial_cv")


@dataclass(frozen=True)
class Rings(OwnPixels):
    """How the light of every object is distributed over rings around its centre, on the host.

    Column: (label, channel, measure, ring).

    Attributes
    ----------
    rings : int
    """

    rings: int = 4

    def collect(self, block: WholeBlock) -> Columns:
        """Find the rings of the objects of a region, and add up the light in them."""
        from xlabelstats.kernels.cpu_radial import radial_distribution

        check_on_host("radial_fraction and its like", mask=block.ids)
        crops, values = block.crops, block.values
        shares = np.empty((block.ids.size, len(values), len(NAMES), self.rings))
        radial_distribution(crops.first, crops.place, crops.size, values, self.rings, shares)
        return self.spoiled(block, shares)

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> Mapping[str, Array]:
        """The measures (label, channel, ring) by name."""
        return {name: columns[0][:, :, i] for i, name in enumerate(NAMES)}


def check_rings(rings: Any) -> int:
    """A number of rings, or a complaint."""
    number = whole_number(rings)
    if number is None or number < 1:
        raise ValueError(f"rings is a number from 1 on, not {rings!r}")
    return number


def _measure(name: str, definition: str, cellprofiler: str, rings: int = 4) -> Measure:
    number = check_rings(rings)
    return Measure(
        name,
        definition,
        itemgetter(name),
        Rings(number),
        dims=("ring",),
        lengths={"ring": range(1, number + 1)},
        beside={"rings": ("ring", [number] * number)},
        only_2d=True,
        source="CellProfiler, MeasureObjectIntensityDistribution",
        cellprofiler=cellprofiler,
        with_parameters=lambda rings=4: _measure(name, definition, cellprofiler, rings),
    )


RADIAL = (
    _measure(
        "radial_fraction",
        "fraction of the light in each of ``rings`` (4) rings.  The centre is the pixel farthest from the edge, the "
        "first of several; rings are cut evenly by d / (d + e + 0.001) of the shortest path d to it through the object "
        "and the distance e to the nearest pixel outside; parts that no path reaches are left out",
        "RadialDistribution_FracAtD",
    ),
    _measure(
        "radial_mean_fraction",
        "radial_fraction over the fraction of pixels in the ring; NaN in a ring without pixels, where CellProfiler "
        "has 0",
        "RadialDistribution_MeanFrac",
    ),
    _measure(
        "radial_cv",
        "standard deviation over mean of the mean pixels of eight wedges of the ring; NaN in a ring without pixels, "
        "where CellProfiler has 0",
        "RadialDistribution_RadialCV",
    ),
)
