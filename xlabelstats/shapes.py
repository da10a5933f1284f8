"""The formulas of shape: from the label table and moments of a range of labels to region properties."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from xlabelstats.grid import Grid
from xlabelstats.kernels import kernels_for
from xlabelstats.moments import POWERS, MomentTable, shift
from xlabelstats.runs import Array
from xlabelstats.scan import LabelTable

# Differences of second moments below this part of them are rounding.
ROUNDING = 1e-13


class _Measured:
    """A table and the grid that it is measured on, as arrays of the table's type."""

    def __init__(self, table: Any, grid: Grid) -> None:
        xp = kernels_for(table.ids).xp
        self.xp, self.table, self.ndim = xp, table, table.low.shape[1]
        self.origin, self.step, self.spacing = (xp.asarray(each) for each in (grid.origin, grid.step, grid.spacing))


class Shape(_Measured):
    """What the formulas of one range of labels start from: its label table and its grid, in units of the grid."""

    table: LabelTable

    @cached_property
    def area(self) -> Array:
        """Pixels times the area of one."""
        return self.table.count * np.prod(self.spacing)

    @cached_property
    def area_bbox(self) -> Array:
        """Area of the bounding box."""
        return (self.table.high - self.table.low).prod(axis=1) * np.prod(self.spacing)

    @cached_property
    def centroid_local(self) -> Array:
        """Centroid from the first pixel of the bounding box."""
        return ((self.table.origin - self.table.low) + self.table.offset) * self.spacing

    @cached_property
    def covariance(self) -> Array:
        """Covariance of position, divided by n."""
        return self.table.m2 / self.table.count[:, None, None] * np.outer(self.spacing, self.spacing)

    @cached_property
    def inertia_tensor(self) -> Array:
        """Trace of the covariance times the identity, minus the covariance."""
        trace = np.trace(self.covariance, axis1=1, axis2=2)
        return trace[:, None, None] * self.xp.eye(self.ndim) - self.covariance

    @cached_property
    def inertia_tensor_eigvals(self) -> Array:
        """Its eigenvalues, largest first."""
        tensor = np.where(np.isfinite(self.inertia_tensor), self.inertia_tensor, 0)
        return np.clip(np.linalg.eigvalsh(tensor)[:, ::-1], 0, None)

    @cached_property
    def axis_lengths(self) -> tuple[Array, Array]:
        """Major and minor axis of the ellipse, or ellipsoid, with the same moments of inertia."""
        values = self.inertia_tensor_eigvals
        if self.ndim == 2:
            return 4 * np.sqrt(values[:, 0]), 4 * np.sqrt(values[:, 1])
        first, middle, last = values.T
        return (
            np.sqrt(10 * np.maximum(first + middle - last, 0)),
            np.sqrt(10 * np.maximum(-first + middle + last, 0)),
        )

    @cached_property
    def eccentricity(self) -> Array:
        """Of the ellipse with the same moments."""
        large, small = self.inertia_tensor_eigvals.T
        tie = large - small <= ROUNDING * large
        return np.where(tie, 0.0, np.sqrt(1 - small / np.where(tie, 1, large)))

    @cached_property
    def orientation(self) -> Array:
        """Angle from the first axis to the major axis."""
        a, b, c = self.inertia_tensor[:, 0, 0], self.inertia_tensor[:, 0, 1], self.inertia_tensor[:, 1, 1]
        # Symmetric objects must not turn with the rounding of a merge, nor with the sign of a zero.
        rounding = ROUNDING * (a + c)
        b = np.where(np.abs(b) <= rounding, -0.0, b)
        tie = np.where(b < 0, np.pi / 4, -np.pi / 4)
        return np.where(np.abs(a - c) <= rounding, tie, 0.5 * np.arctan2(-2 * b, c - a))


class Moments(_Measured):
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
