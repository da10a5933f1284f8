"""The labels that lie beside every object, and how much of its outline they touch."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Self

import numpy as np

from xlabelstats.catalogue.measure import Measure
from xlabelstats.engine.reduction import Columns, Context, Reduction, WholeBlock
from xlabelstats.engine.runs import Array
from xlabelstats.inputs import check_on_host
from xlabelstats.kernels import kernels_for


def steps_around(ndim: int) -> np.ndarray:
    """The steps (step, (z, y, x)) to the pixels around one, those along one axis first."""
    steps = [step for step in itertools.product((-1, 0, 1), repeat=ndim) if any(step)]
    steps.sort(key=lambda step: sum(map(abs, step)) > 1)
    return np.array([(0,) * (3 - ndim) + step for step in steps], np.int64)


@dataclass(frozen=True)
class Adjacency(Reduction):
    """What lies beside every object, on the host.

    Columns: (label,), the other labels beside it, and the percent of its outline pixels at them.
    """

    whole = True
    parallel = True
    axes_matter = False
    on_grid = False

    @classmethod
    def of(cls, needs: tuple[Any, ...], context: Context) -> Self:
        """The same whatever is needed."""
        return cls()

    def boxes(self, objects: Any, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """The objects' own boxes, and the pixels around them."""
        return np.maximum(objects.low - 1, 0), np.minimum(objects.high + 1, np.array(shape))

    def collect(self, block: WholeBlock) -> Columns:
        """Look at the pixels around the objects of a region."""
        from xlabelstats.kernels.cpu_adjacency import adjacency

        check_on_host("neighbor_count and percent_touching", mask=block.ids)
        crops, ndim = block.crops, block.mask.ndim
        mask = np.ascontiguousarray(block.mask)
        # Only equality counts, so one compiled loop serves signed and unsigned masks.
        pixels = kernels_for(mask).read_only(mask.view(f"u{mask.dtype.itemsize}").reshape(-1))
        shape, low = np.ones(3, np.int64), np.zeros((block.ids.size, 3), np.int64)
        shape[3 - ndim :] = mask.shape
        # A crop begins one pixel before its object.
        low[:, 3 - ndim :] = block.objects.low - np.array(block.offset) - 1
        count, percent = np.empty(block.ids.size, np.int64), np.empty(block.ids.size)
        steps = steps_around(ndim)
        adjacency(pixels, shape, crops.first, crops.place, crops.size, low, steps, 2 * ndim, count, percent)
        return count, percent

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> Mapping[str, Array]:
        """The measures by name."""
        return dict(zip(("neighbor_count", "percent_touching"), columns, strict=True))


ADJACENCY = (
    Measure(
        "neighbor_count",
        "number of other labels that share the side of a pixel with the object",
        itemgetter("neighbor_count"),
        Adjacency,
        kind="whole",
        spatial=True,
        source="CellProfiler, MeasureObjectNeighbors, adjacent; in 3-D by the same rule",
        cellprofiler="Neighbors_NumberOfNeighbors_Adjacent",
        title="neighbors",
    ),
    Measure(
        "percent_touching",
        "percent of the outline pixels that touch a pixel of another label, also at a corner; an outline pixel has a "
        "pixel outside of the object, or of the image, beside it or at a corner",
        itemgetter("percent_touching"),
        Adjacency,
        units="percent",
        spatial=True,
        source="CellProfiler, MeasureObjectNeighbors, adjacent; in 3-D by the same rule",
        cellprofiler="Neighbors_PercentTouching_Adjacent",
        title="touching outline",
    ),
)
