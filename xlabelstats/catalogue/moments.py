"""Moments of the positions of every label's pixels, plain or weighted by an image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from xlabelstats.catalogue.measure import PER_AXIS, Measure
from xlabelstats.catalogue.positions import Measured
from xlabelstats.engine.reduction import Block, Columns, Context, Reduction, Rows
from xlabelstats.engine.runs import Array, no_pixels, pixels_of
from xlabelstats.kernels import kernels_for

# Along every axis the powers 0 to 3 of position.
POWERS = 4


@dataclass(frozen=True)
class MomentTable(Rows):
    """Labels and the moments of their pixels' positions.

    Attributes
    ----------
    low, high : array (label, axis) of int64
        Bounding box, half-open.
    moments : array (label, channel, power of axis 0, power of axis 1, ...)
        Sums over the pixels of weight times the powers of position, in pixels from ``origin``.
        One channel of weight 1 without an image.
    """

    low: Array
    high: Array
    moments: Array

    @property
    def origin(self) -> Array:
        """The middle pixel of the bounding box: powers up to 9 of position are smallest from there."""
        return middle_of(self.low, self.high)


def middle_of(low: Array, high: Array) -> Array:
    """The middle pixel of a box."""
    return (low + high) // 2


@dataclass(frozen=True)
class PositionMoments(Reduction):
    """Moments of position, every pixel counting 1: the columns of a `MomentTable`, moved to one origin and added."""

    @classmethod
    def of(cls, needs: tuple[str, ...], context: Context) -> Self:
        """The same whatever is needed."""
        return cls()

    def collect(self, block: Block) -> Columns:
        """Collect from the runs of a block."""
        kernels = kernels_for(block.ids)
        xp = kernels.xp
        n, ndim = block.ids.size, len(block.shape)
        pixels = pixels_of(block.image, block.shape) if self.reads_image else no_pixels(block.ids)
        channels = len(pixels) if self.reads_image else 1
        low, high = (xp.empty((n, ndim), np.int64) for _ in range(2))
        kernels.boxes(block.runs, low, high)
        out = xp.zeros((n, channels, POWERS**ndim))
        kernels.position_moments(pixels, block.runs, middle_of(low, high), POWERS, out)
        start = xp.asarray(block.offset, np.int64)
        return low + start, high + start, out.reshape(n, channels, *(POWERS,) * ndim)

    def fold(self, rows: Array, before: Array, count: Array, columns: Columns, into: Columns) -> None:
        """Join the boxes of the same label, and add its moments about the middle of the joined box."""
        xp = kernels_for(rows).xp
        low_in, high_in, moments_in = columns
        low, high, moments = into
        again = before > 0
        new, old = rows[~again], rows[again]
        first = middle_of(low[old], high[old])
        low[new], high[new] = low_in[~again], high_in[~again]
        low[old] = xp.minimum(low[old], low_in[again])
        high[old] = xp.maximum(high[old], high_in[again])
        joined = middle_of(low[old], high[old])
        moments[new] = moments_in[~again]
        # Weights may be infinite, or their moments too large.
        with np.errstate(invalid="ignore", over="ignore"):
            moments[old] = shift(moments[old], first - joined)
            moments[old] += shift(moments_in[again], middle_of(low_in, high_in)[again] - joined)

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> Moments:
        """The moments on their grid."""
        return Moments(MomentTable(ids, count, *columns), context.grid)


class WeightedMoments(PositionMoments):
    """Moments of position, every pixel counting what the image holds."""

    reads_image = True


def shift(moments: Array, delta: Array) -> Array:
    """Moments (label, channel, power, ...) of positions to which ``delta`` was added.

    ``delta`` is (label, axis), or (label, channel, axis).  By the binomial theorem, one axis after
    another: the new moment p is the sum over k of C(p, k) * delta**(p - k) times the old moment k.
    """
    xp = kernels_for(moments).xp
    delta = delta.astype(np.float64)
    if delta.ndim == 2:
        delta = delta[:, None]
    for axis in range(delta.shape[-1]):
        d = delta[..., axis]
        matrix = xp.zeros((*d.shape, POWERS, POWERS))
        for p in range(POWERS):
            for k in range(p + 1):
                matrix[..., p, k] = math.comb(p, k) * d ** (p - k)
        turned = xp.moveaxis(moments, 2 + axis, 2)
        flat = turned.reshape(*turned.shape[:3], math.prod(turned.shape[3:]))
        moments = xp.moveaxis((matrix @ flat).reshape(turned.shape), 2, 2 + axis)
    return moments


class Moments(Measured):
    """What the formulas for moments start from, per label and channel, in units of the grid."""

    table: MomentTable

    def _scaled(self, moments: Array) -> Array:
        return moments * self._powers_of(self.spacing)

    def _powers_of(self, factors: Array) -> Array:
        """The product over the axes of factor**power, for every combination of powers."""
        powers = [factor ** self.xp.arange(POWERS) for factor in factors]
        return np.prod(np.stack(np.meshgrid(*powers, indexing="ij")), axis=0)

    @cached_property
    def _offset(self) -> Array:
        """The centroid (label, channel, axis) from the table's origin, in pixels."""
        unit = np.eye(self.ndim, dtype=int)
        total = self.table.moments[(..., *(0,) * self.ndim)]
        return np.stack([self.table.moments[(..., *unit[a])] / total for a in range(self.ndim)], axis=-1)

    @cached_property
    def raw(self) -> Array:
        """About the first pixel of the bounding box."""
        delta = (self.table.origin - self.table.low).astype(np.float64)
        return self._scaled(shift(self.table.moments, delta))

    @cached_property
    def central(self) -> Array:
        """About the centroid."""
        return self._scaled(shift(self.table.moments, -self._offset))

    @cached_property
    def normalized(self) -> Array:
        """Central moments independent of scale."""
        order = self.xp.indices((POWERS,) * self.ndim).sum(axis=0)
        total = self.central[(..., *(0,) * self.ndim, *(None,) * self.ndim)]
        scale = float(min(self.spacing)) ** order
        return np.where(order < 2, np.nan, self.central / scale / total ** (order / self.ndim + 1))

    @cached_property
    def hu(self) -> Array:
        """Hu 1962, the seven invariants of normalized moments n[p, q]."""
        n = self.normalized
        n20, n02, n11 = n[..., 2, 0], n[..., 0, 2], n[..., 1, 1]
        n30, n03, n21, n12 = n[..., 3, 0], n[..., 0, 3], n[..., 2, 1], n[..., 1, 2]
        a, b = n30 + n12, n21 + n03
        c, d = n30 - 3 * n12, 3 * n21 - n03
        return np.stack(
            [
                n20 + n02,
                (n20 - n02) ** 2 + 4 * n11**2,
                c**2 + d**2,
                a**2 + b**2,
                c * a * (a**2 - 3 * b**2) + d * b * (3 * a**2 - b**2),
                (n20 - n02) * (a**2 - b**2) + 4 * n11 * a * b,
                d * a * (a**2 - 3 * b**2) - c * b * (3 * a**2 - b**2),
            ],
            axis=-1,
        )

    @cached_property
    def centroid_local(self) -> Array:
        """Centroid from the first pixel of the bounding box."""
        return (self._offset + (self.table.origin - self.table.low)[:, None]) * self.spacing

    @cached_property
    def centroid(self) -> Array:
        """Centroid in the units of the grid."""
        return self.origin + (self._offset + self.table.origin[:, None]) * self.step


_CELLPROFILER = {
    "moments": "AreaShape_SpatialMoment",
    "moments_central": "AreaShape_CentralMoment",
    "moments_normalized": "AreaShape_NormalizedMoment",
    "moments_hu": "AreaShape_HuMoment",
}


def _entries(prefix: str, reduction: type[PositionMoments], *definitions: str) -> tuple[Measure, ...]:
    """The moments of one kind: raw, central, normalized, and Hu's."""
    formulas = ("", lambda m: m.raw), ("_central", lambda m: m.central), ("_normalized", lambda m: m.normalized)
    moments = [
        Measure(
            prefix + suffix,
            definition,
            formula,
            reduction,
            dims=(PER_AXIS,),
            lengths={PER_AXIS: POWERS},
            skimage=prefix + suffix,
            cellprofiler=_CELLPROFILER.get(prefix + suffix, ""),
        )
        for (suffix, formula), definition in zip(formulas, definitions[:3], strict=True)
    ]
    hu = Measure(
        f"{prefix}_hu",
        definitions[3],
        lambda m: m.hu,
        reduction,
        dims=("hu",),
        lengths={"hu": 7},
        only_2d=True,
        only_unit=True,
        source="M.-K. Hu (1962). Visual pattern recognition by moment invariants. IRE Trans. Inf. Theory 8",
        skimage=f"{prefix}_hu",
        cellprofiler=_CELLPROFILER.get(f"{prefix}_hu", ""),
    )
    return *moments, hu


MOMENTS = _entries(
    "moments",
    PositionMoments,
    "sums of position**order from the first pixel of the bounding box, orders 0 to 3 along each axis",
    "moments about the centroid",
    "central moments made independent of scale, NaN below order 2",
    "Hu's seven moments, independent of position, scale and rotation",
)
WEIGHTED = (
    Measure(
        "centroid_weighted",
        "mean position weighted by the image",
        lambda m: m.centroid,
        WeightedMoments,
        dims=("axis",),
        units="length",
        axes_apart=True,
        skimage="centroid_weighted",
    ),
    Measure(
        "centroid_weighted_local",
        "centroid_weighted from the first pixel of the bounding box",
        lambda m: m.centroid_local,
        WeightedMoments,
        dims=("axis",),
        units="length",
        axes_apart=True,
        skimage="centroid_weighted_local",
    ),
    *_entries(
        "moments_weighted",
        WeightedMoments,
        "moments weighted by the image",
        "moments_weighted about centroid_weighted",
        "moments_weighted_central made independent of scale",
        "Hu's seven moments of moments_weighted_normalized",
    ),
)
