"""The formulas of shape: from the label table and moments of a range of labels to region properties."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from xlabelstats.grid import Grid
from xlabelstats.moments import POWERS, MomentTable, shift
from xlabelstats.scan import LabelTable

# Differences of second moments below this part of them are rounding.
ROUNDING = 1e-13


class Shape:
    """What the formulas of one range of labels start from: its label table and its grid, in units of the grid."""

    def __init__(self, table: LabelTable, grid: Grid) -> None:
        self.table, self.grid, self.ndim = table, grid, table.low.shape[1]

    @cached_property
    def area(self) -> np.ndarray:
        """Pixels times the area of one."""
        return self.table.count * np.prod(self.grid.spacing)

    @cached_property
    def area_bbox(self) -> np.ndarray:
        """Area of the bounding box."""
        return (self.table.high - self.table.low).prod(axis=1) * np.prod(self.grid.spacing)

    @cached_property
    def centroid_local(self) -> np.ndarray:
        """Centroid from the first pixel of the bounding box."""
        return ((self.table.origin - self.table.low) + self.table.offset) * self.grid.spacing

    @cached_property
    def covariance(self) -> np.ndarray:
        """Covariance of position, divided by n."""
        return self.table.m2 / self.table.count[:, None, None] * np.outer(self.grid.spacing, self.grid.spacing)

    @cached_property
    def inertia_tensor(self) -> np.ndarray:
        """Trace of the covariance times the identity, minus the covariance."""
        trace = np.trace(self.covariance, axis1=1, axis2=2)
        return trace[:, None, None] * np.eye(self.ndim) - self.covariance

    @cached_property
    def inertia_tensor_eigvals(self) -> np.ndarray:
        """Its eigenvalues, largest first."""
        tensor = np.where(np.isfinite(self.inertia_tensor), self.inertia_tensor, 0)
        return np.clip(np.linalg.eigvalsh(tensor)[:, ::-1], 0, None)

    @cached_property
    def axis_lengths(self) -> tuple[np.ndarray, np.ndarray]:
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
    def eccentricity(self) -> np.ndarray:
        """Of the ellipse with the same moments."""
        large, small = self.inertia_tensor_eigvals.T
        tie = large - small <= ROUNDING * large
        return np.where(tie, 0.0, np.sqrt(1 - small / np.where(tie, 1, large)))

    @cached_property
    def orientation(self) -> np.ndarray:
        """Angle from the first axis to the major axis."""
        a, b, c = self.inertia_tensor[:, 0, 0], self.inertia_tensor[:, 0, 1], self.inertia_tensor[:, 1, 1]
        # Symmetric objects must not turn with the rounding of a merge, nor with the sign of a zero.
        rounding = ROUNDING * (a + c)
        b = np.where(np.abs(b) <= rounding, -0.0, b)
        tie = np.where(b < 0, np.pi / 4, -np.pi / 4)
        return np.where(np.abs(a - c) <= rounding, tie, 0.5 * np.arctan2(-2 * b, c - a))


class Moments:
    """What the formulas for moments start from, per label and channel, in units of the grid."""

    def __init__(self, table: MomentTable, grid: Grid) -> None:
        self.table, self.grid, self.ndim = table, grid, table.low.shape[1]

    def _scaled(self, moments: np.ndarray) -> np.ndarray:
        return moments * self._powers_of(self.grid.spacing)

    def _powers_of(self, factors: np.ndarray) -> np.ndarray:
        """The product over the axes of factor**power, for every combination of powers."""
        powers = [factor ** np.arange(POWERS) for factor in factors]
        return np.prod(np.stack(np.meshgrid(*powers, indexing="ij")), axis=0)

    @cached_property
    def _offset(self) -> np.ndarray:
        """The centroid (label, channel, axis) from the table's origin, in pixels."""
        unit = np.eye(self.ndim, dtype=int)
        total = self.table.moments[(..., *(0,) * self.ndim)]
        return np.stack([self.table.moments[(..., *unit[a])] / total for a in range(self.ndim)], axis=-1)

    @cached_property
    def raw(self) -> np.ndarray:
        """About the first pixel of the bounding box."""
        delta = (self.table.origin - self.table.low).astype(np.float64)
        return self._scaled(shift(self.table.moments, delta))

    @cached_property
    def central(self) -> np.ndarray:
        """About the centroid."""
        return self._scaled(shift(self.table.moments, -self._offset))

    @cached_property
    def normalized(self) -> np.ndarray:
        """Central moments independent of scale."""
        order = np.indices((POWERS,) * self.ndim).sum(axis=0)
        total = self.central[(..., *(0,) * self.ndim, *(None,) * self.ndim)]
        scale = float(min(self.grid.spacing)) ** order
        return np.where(order < 2, np.nan, self.central / scale / total ** (order / self.ndim + 1))

    @cached_property
    def hu(self) -> np.ndarray:
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
    def centroid_local(self) -> np.ndarray:
        """Centroid from the first pixel of the bounding box."""
        return (self._offset + (self.table.origin - self.table.low)[:, None]) * self.grid.spacing

    @cached_property
    def centroid(self) -> np.ndarray:
        """Centroid in the units of the grid."""
        return self.grid.origin + (self._offset + self.table.origin[:, None]) * self.grid.step
