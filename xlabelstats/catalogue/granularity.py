"""Granularity: how much of the light of every object goes with openings of growing size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any

import numpy as np

from xlabelstats.catalogue.measure import Measure
from xlabelstats.catalogue.own_pixels import OwnPixels
from xlabelstats.engine.reduction import Columns, Context, WholeBlock
from xlabelstats.engine.runs import Array
from xlabelstats.inputs import check_on_host, whole_number


@dataclass(frozen=True)
class Granularity(OwnPixels):
    """The light that is lost in every step of erosion and reconstruction.

    Column: ``losses`` (label, channel, step).

    Attributes
    ----------
    radius : int
        That of the disc or ball that opens the background.
    length : int
        The number of steps.
    """

    radius: int
    length: int

    def collect(self, block: WholeBlock) -> Columns:
        """Open the objects of a region by growing sizes."""
        from xlabelstats.kernels.cpu_granularity import spectra

        check_on_host("granularity", mask=block.ids)
        crops, values = block.crops, block.values
        losses = np.empty((block.ids.size, len(values), self.length))
        spectra(crops.first, crops.place, crops.size, values, *rows_of_ball(self.radius, block.mask.ndim), losses)
        return self.spoiled(block, losses)

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> Columns:
        """The losses in percent (label, channel, step)."""
        return columns


@lru_cache(maxsize=8)
def rows_of_ball(radius: int, ndim: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a ball, or a disc in 2-D: planes and rows from its centre (row, 2), by how far they reach to a side.

    Those that reach ``i`` pixels are the rows from the second array's element ``i`` up to the next.
    """
    planes = np.arange(-radius, radius + 1) if ndim == 3 else np.zeros(1, np.int64)
    shifts = np.stack(np.meshgrid(planes, np.arange(-radius, radius + 1), indexing="ij"), axis=-1).reshape(-1, 2)
    room = radius**2 - (shifts**2).sum(axis=1)
    shifts, room = shifts[room >= 0], room[room >= 0]
    squares = np.arange(radius + 2) ** 2
    reach = np.searchsorted(squares, room, side="right") - 1
    ends = np.searchsorted(np.sort(reach), np.arange(radius + 2))
    return shifts[np.argsort(reach, kind="stable")], ends


def granularity(radius: int = 10, length: int = 16) -> Measure:
    """The measure of a granularity spectrum."""
    radius, length = _checked("radius", radius), _checked("length", length)
    return Measure(
        "granularity",
        "percent of an object's mean pixel that is lost in each step, when the object is eroded once more by the cross "
        "of direct neighbours and reconstructed. First an opening by a disc (in 3-D a ball) of radius pixels is taken "
        "away as background; this counts for the first step. Pixels outside the object take no part. NaN where the "
        "mean is not above 0 or not finite",
        itemgetter(0),
        Granularity(radius, length),
        dims=("step",),
        lengths={"step": range(1, length + 1)},
        spatial=True,
        source="CellProfiler MeasureGranularity; Vincent 2000, Fundamenta Informaticae 41",
        cellprofiler="Granularity",
        with_parameters=granularity,
    )


def _checked(name: str, number: Any) -> int:
    """A whole number from 1 on, or a complaint."""
    whole = whole_number(number)
    if whole is None or whole < 1:
        raise ValueError(f"{name} is a whole number from 1 on, not {number!r}")
    return whole


GRANULARITIES: tuple[Measure, ...] = (granularity(),)
