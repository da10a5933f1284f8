"""Where the pixels of every label lie: box, centroid and second moments, from which shape follows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Self

import numpy as np

from xlabelstats.catalogue.measure import Measure
from xlabelstats.engine.reduction import Block, Columns, Context, Reduction, Rows
from xlabelstats.engine.runs import Array
from xlabelstats.grid import Grid
from xlabelstats.kernels import kernels_for
from xlabelstats.kernels.protocol import Places

# Differences of second moments below this part of them are rounding.
ROUNDING = 1e-13


@dataclass(frozen=True)
class LabelTable(Rows):
    """Labels and their geometry, in pixels.

    Attributes
    ----------
    low, high : array (label, axis) of int64
        Bounding box, half-open.
    origin : array (label, axis) of int64
        A pixel near the label's others, from which ``offset`` counts.
    offset : array (label, axis)
        Mean position, from ``origin``; so a label far from the image's first pixel loses no digits.
    m2 : array (label, axis, axis)
        Sums of products of the deviations from the centroid.
    """

    low: Array
    high: Array
    origin: Array
    offset: Array
    m2: Array

    @property
    def centroid(self) -> Array:
        """Mean position (label, axis)."""
        return self.origin + self.offset

    @property
    def exact_centroid(self) -> tuple[Array, Array]:
        """Mean position (label, axis): whole pixels, and the part of one beyond; the same for any chunks."""
        xp = kernels_for(self.ids).xp
        # A sum of positions is a whole number.
        count = self.count[:, None]
        total = xp.rint(self.offset * count).astype(np.int64)
        return self.origin + total // count, total % count / count


@dataclass(frozen=True)
class Positions(Reduction):
    """Boxes, centroids and second moments: the columns of a `LabelTable`, merged pairwise."""

    @classmethod
    def of(cls, needs: tuple[str, ...], context: Context) -> Self:
        """The same whatever is needed."""
        return cls()

    def collect(self, block: Block) -> Columns:
        """Collect from the runs of a block, in closed form."""
        kernels = kernels_for(block.ids)
        xp = kernels.xp
        n, ndim = block.ids.size, len(block.shape)
        origin, low, high = (xp.empty((n, ndim), np.int64) for _ in range(3))
        s1, s2 = xp.zeros((n, ndim)), xp.zeros((n, ndim, ndim))
        kernels.geometry(block.runs, origin, low, high, s1, s2)
        s2 = xp.triu(s2) + xp.swapaxes(xp.triu(s2, 1), 1, 2)
        mean = s1 / block.count[:, None]
        m2 = s2 - mean[:, :, None] * s1[:, None, :]
        shift = xp.asarray(block.offset, np.int64)
        return Places(low + shift, high + shift, origin + shift, mean, m2)

    def fold(self, rows: Array, before: Array, count: Array, columns: Columns, into: Columns) -> None:
        """Fold boxes, centroids and second moments of the same label, pairwise."""
        kernels_for(rows).merge_geometry(rows, before, count, Places(*columns), Places(*into))

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> Shape:
        """The label table on its grid."""
        return Shape(LabelTable(ids, count, *columns), context.grid, context.shape)


class Measured:
    """A table and the grid that it is measured on, as arrays of the table's type."""

    def __init__(self, table: Any, grid: Grid) -> None:
        xp = kernels_for(table.ids).xp
        self.xp, self.table, self.ndim = xp, table, table.low.shape[1]
        self.origin, self.step, self.spacing = (xp.asarray(each) for each in (grid.origin, grid.step, grid.spacing))


class Shape(Measured):
    """What the formulas of one range of labels start from: its label table and its grid, in units of the grid."""

    table: LabelTable

    def __init__(self, table: LabelTable, grid: Grid, shape: tuple[int, ...] = ()) -> None:
        super().__init__(table, grid)
        self.shape = shape

    @cached_property
    def touches_border(self) -> Array:
        """Whether the bounding box reaches the first or the last pixel of an axis."""
        return ((self.table.low == 0) | (self.table.high == self.xp.asarray(self.shape))).any(axis=1)

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

    @cached_property
    def principal(self) -> tuple[Array, Array]:
        """Square roots of the eigenvalues of the sample covariance, largest first, and its eigenvectors.

        An eigenvector's sign is free: its entry of largest magnitude is made positive.
        """
        xp, table, ndim = self.xp, self.table, self.ndim
        few = table.count < ndim
        covariance = table.m2 / xp.maximum(table.count - 1, 1)[:, None, None] * np.outer(self.step, self.step)
        values, vectors = xp.linalg.eigh(covariance)
        radius = xp.sqrt(xp.clip(values[:, ::-1], 0, None))
        axes = xp.swapaxes(vectors, 1, 2)[:, ::-1]
        largest = xp.take_along_axis(axes, xp.abs(axes).argmax(axis=2)[..., None], axis=2)
        axes = axes * xp.where(largest < 0, -1.0, 1.0)
        radius = xp.where(few[:, None], 0.0, radius)
        axes = xp.where(few[:, None, None], xp.eye(ndim), axes)
        return radius, axes


_of_positions = partial(Measure, reduction=Positions)

SHAPES = (
    Measure(
        "num_pixels",
        "number of pixels",
        lambda labels: labels.count,
        kind="count",
        absent=0,
        units="pixel",
        skimage="num_pixels",
    ),
    _of_positions(
        "area",
        "pixels times the area (volume) of one",
        lambda s: s.area,
        units="volume",
        absent=0,
        skimage="area",
        cellprofiler="AreaShape_Area",
    ),
    _of_positions(
        "bbox",
        "first pixel, and one past the last, along each axis",
        lambda s: np.stack([s.table.low, s.table.high], axis=1),
        dims=("bound", "axis"),
        lengths={"bound": ("min", "max")},
        units="pixel",
        kind="whole",
        gridless=True,
        skimage="bbox",
        cellprofiler="AreaShape_BoundingBox",
    ),
    _of_positions(
        "area_bbox",
        "area of the bounding box",
        lambda s: s.area_bbox,
        units="volume",
        skimage="area_bbox",
        cellprofiler="AreaShape_BoundingBoxArea",
    ),
    _of_positions(
        "extent",
        "area / area_bbox",
        lambda s: s.area / s.area_bbox,
        axes_apart=True,
        skimage="extent",
        cellprofiler="AreaShape_Extent",
    ),
    _of_positions(
        "centroid",
        "mean position",
        lambda s: s.origin + s.table.centroid * s.step,
        dims=("axis",),
        units="length",
        axes_apart=True,
        skimage="centroid",
        cellprofiler="AreaShape_Center",
    ),
    _of_positions(
        "centroid_local",
        "mean position from the first pixel of the bounding box",
        lambda s: s.centroid_local,
        dims=("axis",),
        units="length",
        axes_apart=True,
        skimage="centroid_local",
    ),
    _of_positions(
        "equivalent_diameter_area",
        "(2 * ndim * area / pi)**(1 / ndim): in 2-D the diameter of the circle of the same area",
        lambda s: (2 * s.ndim * s.area / math.pi) ** (1 / s.ndim),
        units="length",
        skimage="equivalent_diameter_area",
        cellprofiler="AreaShape_EquivalentDiameter",
    ),
    _of_positions(
        "inertia_tensor",
        "trace of the covariance of position times the identity, minus the covariance (divided by n)",
        lambda s: s.inertia_tensor,
        dims=("axis", "axis_"),
        units="length**2",
        skimage="inertia_tensor",
        cellprofiler="AreaShape_InertiaTensor",
    ),
    _of_positions(
        "inertia_tensor_eigvals",
        "eigenvalues of the inertia tensor, largest first",
        lambda s: s.inertia_tensor_eigvals,
        dims=("component",),
        units="length**2",
        skimage="inertia_tensor_eigvals",
        cellprofiler="AreaShape_InertiaTensorEigenvalues",
    ),
    _of_positions(
        "axis_major_length",
        "longest axis of the ellipse (ellipsoid) with the same moments",
        lambda s: s.axis_lengths[0],
        units="length",
        skimage="axis_major_length",
        cellprofiler="AreaShape_MajorAxisLength",
    ),
    _of_positions(
        "axis_minor_length",
        "shortest axis of the ellipse (ellipsoid) with the same moments",
        lambda s: s.axis_lengths[1],
        units="length",
        skimage="axis_minor_length",
        cellprofiler="AreaShape_MinorAxisLength",
    ),
    _of_positions(
        "eccentricity",
        "sqrt(1 - l2 / l1) of the inertia tensor's eigenvalues: 0 for a circle, near 1 for a line",
        lambda s: s.eccentricity,
        only_2d=True,
        skimage="eccentricity",
        cellprofiler="AreaShape_Eccentricity",
    ),
    _of_positions(
        "orientation",
        "angle from the first axis to the major axis, radians from -pi / 2 to pi / 2 counter-clockwise",
        lambda s: s.orientation,
        only_2d=True,
        skimage="orientation",
        cellprofiler="AreaShape_Orientation",
    ),
    _of_positions(
        "radius",
        "root of an eigenvalue of the sample covariance of position (divided by n - 1), largest first",
        lambda s: s.principal[0],
        dims=("component",),
        units="length",
        title="standard deviation of position along a principal axis",
    ),
    _of_positions(
        "axis_vector",
        "principal axis, its entry of largest magnitude positive",
        lambda s: s.principal[1],
        dims=("component", "axis"),
        title="principal axis",
    ),
)
