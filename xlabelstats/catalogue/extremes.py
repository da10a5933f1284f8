"""Where the smallest and the largest pixel of every label lie."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Self

import numpy as np

from xlabelstats.catalogue.measure import Measure
from xlabelstats.engine.reduction import Block, Columns, Context, Reduction
from xlabelstats.engine.runs import Array, pixels_of
from xlabelstats.kernels import kernels_for


@dataclass(frozen=True)
class ExtremePositions(Reduction):
    """The smallest and the largest pixel of every label and channel, and where the first that is so lies.

    The first is that of the mask in C order.  Columns, for each of the two that is needed: ``extreme`` (label, channel)
    in the pixels' dtype, ``position`` (label, channel, axis) in pixels, -1 where there is none.

    Attributes
    ----------
    largest : tuple of bool
        Which of the two: False for the smallest, True for the largest.
    skipna : bool
        Whether NaN pixels are passed over; else the first of them is the extreme, as in `numpy.argmin`.
    """

    largest: tuple[bool, ...]
    skipna: bool

    reads_image = True
    on_grid = False

    @classmethod
    def of(cls, needs: tuple[bool, ...], context: Context) -> Self:
        """The extremes that any of several measures needs."""
        return cls(needs, context.skipna or context.dtype.kind != "f")

    def collect(self, block: Block) -> Columns:
        """Find the extremes of a block's runs."""
        pixels = pixels_of(block.image, block.shape)
        kernels = kernels_for(pixels)
        xp = kernels.xp
        size = block.ids.size, len(pixels)
        columns: list[Array] = []
        for largest in self.largest:
            extremes, places = xp.zeros(size, pixels.dtype), xp.full(size, -1, np.int64)
            kernels.first_extremes(pixels, block.runs, largest, self.skipna, extremes, places)
            position = xp.empty((*size, len(block.shape)), np.int64)
            rest = places
            for axis in range(len(block.shape) - 1, -1, -1):
                position[..., axis] = xp.where(places < 0, -1, rest % block.shape[axis] + block.offset[axis])
                rest = rest // block.shape[axis]
            columns += [extremes, position]
        return tuple(columns)

    def fold(self, rows: Array, before: Array, count: Array, columns: Columns, into: Columns) -> None:
        """Keep the more extreme of two pixels of the same label, of equal ones the first."""
        xp = kernels_for(rows).xp
        for i, largest in enumerate(self.largest):
            extreme, position = columns[2 * i : 2 * i + 2]
            extremes, positions = into[2 * i : 2 * i + 2]
            old, old_position = extremes[rows], positions[rows]
            earlier = xp.zeros(old.shape, bool)
            for axis in range(position.shape[-1] - 1, -1, -1):
                a, b = position[..., axis], old_position[..., axis]
                earlier = (a < b) | ((a == b) & earlier)
            lost, old_lost = extreme != extreme, old != old
            beyond = extreme > old if largest else extreme < old
            better = (lost & ~old_lost) | beyond | (((extreme == old) | (lost & old_lost)) & earlier)
            better = (position[..., 0] >= 0) & (better | (old_position[..., 0] < 0))
            better |= (before == 0)[:, None]
            extremes[rows] = xp.where(better, extreme, old)
            positions[rows] = xp.where(better[..., None], position, old_position)

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> dict[bool, Array]:
        """The positions (label, channel, axis) of the smallest (False) and the largest (True)."""
        return {largest: _placed(columns[2 * i + 1], context) for i, largest in enumerate(self.largest)}


def _placed(position: Array, context: Context) -> Array:
    """Positions in pixels as coordinates, NaN where there is none."""
    xp = kernels_for(position).xp
    coords = context.coords or (None,) * context.ndim
    placed = xp.empty(position.shape)
    for axis, along in enumerate(coords):
        index = position[..., axis]
        # Places in the mask, -1 for none: any will do there.
        values = index * context.grid.spacing[axis] if along is None else xp.asarray(along)[xp.maximum(index, 0)]
        placed[..., axis] = xp.where(index < 0, np.nan, values)
    return placed


_position = partial(Measure, reduction=ExtremePositions, dims=("axis",), units="length", axes_apart=True, placed=True)

POSITIONS = (
    _position(
        "position_min",
        "position of the smallest pixel, the first of a tie",
        itemgetter(False),
        needs=(False,),
        title="position of the minimum",
    ),
    _position(
        "position_max",
        "position of the largest pixel, the first of a tie",
        itemgetter(True),
        needs=(True,),
        title="position of the maximum",
        cellprofiler="Location_MaxIntensity",
    ),
)
