"""Light at the edge of every object, how far its centre is from the middle, and how much it spreads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from typing import Any, Self

import numpy as np

from xlabelstats.catalogue.measure import Measure
from xlabelstats.catalogue.own_pixels import OwnPixels
from xlabelstats.engine.reduction import Columns, Context, WholeBlock
from xlabelstats.engine.runs import Array
from xlabelstats.inputs import check_on_host

# What is measured of edge pixels, in the order of the kernel.
STATISTICS = ("edge_sum", "edge_mean", "edge_std", "edge_min", "edge_max")


@dataclass(frozen=True)
class Light(OwnPixels):
    """Statistics of the edge pixels of every object, the centre of its light, and its median absolute deviation.

    Columns, those of ``parts``: ``edge`` (label, channel, statistic); ``center`` (label, channel, axis + 1), in pixels
    of the whole mask, and how far that lies from the mean position; ``mad`` (label, channel).

    Attributes
    ----------
    parts : tuple of str
        What is needed of ``center edge mad``, sorted.
    """

    parts: tuple[str, ...] = ()

    on_grid = True

    def of(self, needs: tuple[str, ...], context: Context) -> Self:  # type: ignore[override]
        """All that any of several measures needs."""
        return replace(super().of(needs, context), parts=tuple(sorted(needs)))

    def collect(self, block: WholeBlock) -> Columns:
        """Measure the objects of a region."""
        check_on_host("edge", mask=block.ids)
        return self.spoiled(block, *(getattr(self, f"_{part}")(block) for part in self.parts))

    def _edge(self, block: WholeBlock) -> Array:
        from xlabelstats.kernels.cpu_edges import edge_pixels, edge_statistics

        crops, values = block.crops, block.values
        edge = np.empty(crops.place.size, bool)
        edge_pixels(crops.first, crops.place, crops.size, edge)
        out = np.empty((block.ids.size, len(values), len(STATISTICS)))
        edge_statistics(crops.first, values, edge, out)
        return out

    def _center(self, block: WholeBlock) -> Array:
        from xlabelstats.kernels.cpu_edges import light_centers

        crops, values = block.crops, block.values
        out = np.empty((block.ids.size, len(values), 4))
        light_centers(crops.first, crops.place, crops.size, values, out)
        # A crop begins one pixel before its object.
        low = block.objects.low - 1
        out = out[..., 3 - low.shape[1] :]
        out[..., :-1] += low[:, None]
        return out

    def _mad(self, block: WholeBlock) -> Array:
        from xlabelstats.kernels.cpu_edges import median_deviations

        out = np.empty((block.ids.size, len(block.values)))
        median_deviations(block.crops.first, block.values, out)
        return out

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> Mapping[str, Array]:
        """The measures by name."""
        material: dict[str, Array] = {}
        for part, column in zip(self.parts, columns, strict=True):
            if part == "edge":
                material |= {name: column[..., i] for i, name in enumerate(STATISTICS)}
            elif part == "center":
                grid = context.grid
                material["intensity_center"] = grid.origin + column[..., :-1] * grid.step
                material["mass_displacement"] = column[..., -1]
            else:
                material["mad"] = column
        return material


def _light(name: str, definition: str, part: str, cellprofiler: str, **kwargs: Any) -> Measure:
    kwargs = {"gridless": True, "spatial": True, "source": "CellProfiler, MeasureObjectIntensity", **kwargs}
    return Measure(name, definition, itemgetter(name), Light(), (part,), cellprofiler=cellprofiler, **kwargs)


_edge = partial(_light, part="edge", units="image")
_OF_EDGE = "the object's edge pixels, those with a direct neighbour outside of the object or of the image"

EDGES: tuple[Measure, ...] = (
    _edge("edge_sum", f"sum of {_OF_EDGE}", cellprofiler="Intensity_IntegratedIntensityEdge", absent=0),
    _edge("edge_mean", f"mean of {_OF_EDGE}", cellprofiler="Intensity_MeanIntensityEdge"),
    _edge(
        "edge_std",
        f"standard deviation (divided by n) of {_OF_EDGE}",
        cellprofiler="Intensity_StdIntensityEdge",
    ),
    _edge("edge_min", f"smallest of {_OF_EDGE}", cellprofiler="Intensity_MinIntensityEdge"),
    _edge("edge_max", f"largest of {_OF_EDGE}", cellprofiler="Intensity_MaxIntensityEdge"),
    _light(
        "mass_displacement",
        "distance in pixels between the mean position of the object's pixels and intensity_center, NaN where the "
        "pixels add up to 0, except for rounding",
        "center",
        "Intensity_MassDisplacement",
        units="pixel",
    ),
    _light(
        "mad",
        "median absolute deviation: median of abs(x - median(x)) of the object's pixels x",
        "mad",
        "Intensity_MADIntensity",
        units="image",
        title="median absolute deviation",
    ),
    _light(
        "intensity_center",
        "mean position weighted by the image, NaN pixels left out; NaN where pixels add up to 0, except for rounding",
        "center",
        "Location_CenterMassIntensity",
        dims=("axis",),
        units="length",
        gridless=False,
        axes_apart=True,
        title="centre of light",
    ),
)
