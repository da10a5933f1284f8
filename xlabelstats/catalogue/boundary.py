"""Measures of the boundary of every label, from counts of the configurations of neighbouring pixels.

Such counts are whole numbers that add up over blocks, if these know the pixels around them.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Self

import numpy as np

from xlabelstats.catalogue.measure import Measure
from xlabelstats.catalogue.positions import Positions
from xlabelstats.engine.reduction import Block, Columns, Context, Reduction, add
from xlabelstats.engine.runs import Array
from xlabelstats.grid import Grid
from xlabelstats.kernels import kernels_for

# The kind of a border pixel, by 1 plus 2 for every direct and 10 for every diagonal neighbour that is one too, and the
# part of the border line that each kind stands for (Benkrid and Crookes, as in scikit-image).
KINDS = np.zeros(50, np.int8)
KINDS[[5, 7, 15, 17, 25, 27]], KINDS[[21, 33]], KINDS[[13, 23]] = 1, 2, 3
LENGTHS = (1, math.sqrt(2), (1 + math.sqrt(2)) / 2)

# Directions in which pixels are this much longer than in others cannot be told apart from each other.
WIDEST = 1e5


@cache
def directions(ndim: int) -> np.ndarray:
    """The steps (direction, axis) to the neighbours of a pixel that come before it: one of every two opposite ones."""
    steps = np.array(list(itertools.product((-1, 0, 1), repeat=ndim)), np.int64)
    return steps[: len(steps) // 2]


@cache
def euler_table(ndim: int) -> np.ndarray:
    """By which of its neighbours in `directions` carry its label, a bit each, what a pixel adds to the Euler number.

    A label is the union of closed squares or cubes.  Its Euler number is the alternating sum of its corners, edges,
    faces and so on; each of these is counted with the first pixel that has it.
    """
    bits = np.arange(2 ** len(directions(ndim)))
    table = np.zeros(bits.size, np.int8)
    for cell in itertools.product((-1, 0, 1), repeat=ndim):
        # A pixel has the cell too if every step to it is one towards the cell.
        sharing = ((directions(ndim) == 0) | (directions(ndim) == cell)).all(axis=1)
        before = int((sharing << np.arange(sharing.size)).sum())
        table += np.where(bits & before == 0, (-1) ** cell.count(0), 0).astype(np.int8)
    return table


@cache
def shares(spacing: tuple[float, ...]) -> np.ndarray:
    """The share of the sphere that is nearest to each of the 13 `directions`, or the opposite one, of a 3-D grid."""
    from scipy.spatial import SphericalVoronoi

    if max(spacing) > WIDEST * min(spacing):
        raise ValueError(
            f"a surface cannot be measured where pixels are {WIDEST:g} times as long along one dim as along another, "
            f"or more; the spacing is {spacing}. Are the coordinates of all dims in one unit? Or give spacing="
        )
    units = directions(3) * np.array(spacing) / max(spacing)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    areas = SphericalVoronoi(np.concatenate([units, -units]), threshold=1e-9).calculate_areas()
    return (areas[: len(units)] + areas[len(units) :]) / areas.sum()


@dataclass(frozen=True)
class Boundaries(Reduction):
    """Counts of the configurations of neighbouring pixels, of the same label or not: whole numbers.

    Columns, those of ``parts``: ``border`` (label, kind), the border pixels of a kind; ``crossings`` (label,
    direction), the pixels whose neighbour in a direction is outside; ``euler`` (label,), the Euler number.

    Attributes
    ----------
    parts : tuple of str
        What is needed of ``border crossings euler``, sorted.
    ndim : int
        The dims of the mask.
    """

    parts: tuple[str, ...]
    ndim: int

    @classmethod
    def of(cls, needs: tuple[str, ...], context: Context) -> Self:
        """What is to be counted for measures with these needs."""
        if "crossings" in needs and context.ndim == 3:
            # The spacing is looked at now, not when a lazy result is computed.
            shares(tuple(context.grid.spacing.tolist()))
        return cls(tuple(sorted(needs)), context.ndim)

    @property
    def halo(self) -> int:
        """A neighbour of a border pixel is one if a neighbour of its own is outside."""
        return 2 if "border" in self.parts else 1

    def collect(self, block: Block) -> Columns:
        """Count in the pixels of a block, whose neighbours may lie around it."""
        kernels = kernels_for(block.ids)
        xp, around, n = kernels.xp, block.surroundings, block.ids.size
        area = xp.ascontiguousarray(around.area)
        # Only equality counts, so one compiled loop serves signed and unsigned masks.
        pixels = kernels.read_only(area.view(f"u{area.dtype.itemsize}").reshape(-1))
        where = pixels, np.array(area.shape, np.int64), np.array(around.start, np.int64), block.runs
        border = xp.zeros((n if "border" in self.parts else 0, 3), np.int64)
        steps = directions(self.ndim)
        crossings = xp.zeros((n, len(steps)), np.int64)
        euler = xp.zeros(n if "euler" in self.parts else 0, np.int64)
        if border.size:
            kernels.border_pixels(*where, xp.asarray(KINDS), border)
        if "euler" in self.parts or "crossings" in self.parts:
            kernels.neighbours(*where, steps, xp.asarray(euler_table(self.ndim)), crossings, euler)
        columns = {"border": border, "crossings": crossings, "euler": euler}
        return tuple(columns[part] for part in self.parts)

    def fold(self, rows: Array, before: Array, count: Array, columns: Columns, into: Columns) -> None:
        """Add up what several blocks have counted."""
        add(rows, columns, into)

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> Boundary:
        """The counts by name."""
        return Boundary(count, context.grid, **dict(zip(self.parts, columns, strict=True)))


@dataclass(frozen=True)
class Boundary:
    """What the formulas of one range of labels start from.

    Attributes
    ----------
    count : array (label,)
        Pixels per label.
    grid : Grid
    border, crossings, euler : array
        The columns of `Boundaries`, as far as they were needed.
    """

    count: Array
    grid: Grid
    border: Array = None
    crossings: Array = None
    euler: Array = None

    @property
    def volume(self) -> Array:
        """Pixels times the area or volume of one."""
        return self.count * np.prod(self.grid.spacing)

    @cached_property
    def perimeter(self) -> Array:
        """Length of the line through the centres of border pixels."""
        return sum(self.border[:, i] * length for i, length in enumerate(LENGTHS)) * self.grid.spacing[0]

    @cached_property
    def perimeter_crofton(self) -> Array:
        """Length of the border: what parallels at the distance of pixels cross, in the mean of four directions."""
        straight, diagonal = self.crossings[:, 1] + self.crossings[:, 3], self.crossings[:, 0] + self.crossings[:, 2]
        return math.pi / 4 * (straight + diagonal / math.sqrt(2)) * self.grid.spacing[0]

    @cached_property
    def circularity(self) -> Array:
        """Area over that of a circle with the same perimeter, NaN without one."""
        xp = kernels_for(self.count).xp
        length = xp.where(self.perimeter > 0, self.perimeter, np.nan)
        return 4 * math.pi * self.volume / length**2

    @cached_property
    def compactness(self) -> Array:
        """Area of a circle with the same perimeter over the area."""
        return self.perimeter**2 / (4 * math.pi * self.volume)

    @cached_property
    def surface_area(self) -> Array:
        """Four times the area that a body covers in the mean of all directions, each with the share nearest to it.

        Every crossing of a direction stands for what lines through neighbouring voxels lie apart: the volume of a voxel
        over the distance of neighbours along them.
        """
        spacing = self.grid.spacing
        apart = np.prod(spacing) / np.linalg.norm(directions(3) * spacing, axis=1)
        weights = 4 * shares(tuple(spacing.tolist())) * apart
        return sum(self.crossings[:, k] * float(weight) for k, weight in enumerate(weights))

    @cached_property
    def sphericity(self) -> Array:
        """Surface of a ball of the same volume over the surface."""
        return math.pi ** (1 / 3) * (6 * self.volume) ** (2 / 3) / self.surface_area


_of_boundary = partial(Measure, reduction=Boundaries)
_as_skimage = partial(_of_boundary, source="scikit-image")

BOUNDARIES = (
    _as_skimage(
        "perimeter",
        "length of the border line, through the centres of border pixels",
        lambda b: b.perimeter,
        needs=("border",),
        units="length",
        only_2d=True,
        only_isotropic=True,
        skimage="perimeter",
        cellprofiler="AreaShape_Perimeter",
    ),
    _as_skimage(
        "perimeter_crofton",
        "length of the border by Crofton's formula, four directions",
        lambda b: b.perimeter_crofton,
        needs=("crossings",),
        units="length",
        only_2d=True,
        only_isotropic=True,
        skimage="perimeter_crofton",
    ),
    _as_skimage(
        "euler_number",
        "parts minus holes; in 3-D, parts plus cavities minus tunnels",
        lambda b: b.euler,
        needs=("euler",),
        kind="whole",
        gridless=True,
        skimage="euler_number",
        cellprofiler="AreaShape_EulerNumber",
    ),
    _of_boundary(
        "circularity",
        "4 * pi * area / perimeter**2: 1 for a circle, more for some of a few pixels, NaN where the perimeter is 0",
        lambda b: b.circularity,
        needs=("border",),
        only_2d=True,
        only_isotropic=True,
        cellprofiler="AreaShape_FormFactor",
    ),
    _of_boundary(
        "compactness",
        "perimeter**2 / (4 * pi * area): 1 for a circle, more for other forms",
        lambda b: b.compactness,
        needs=("border",),
        only_2d=True,
        only_isotropic=True,
        source="CellProfiler, MeasureObjectSizeShape",
        cellprofiler="AreaShape_Compactness",
    ),
    _of_boundary(
        "surface_area",
        "area of the surface by Crofton's formula, 13 directions; not the area of a mesh by marching cubes",
        lambda b: b.surface_area,
        needs=("crossings",),
        units="length**2",
        only_3d=True,
        source="Legland, Kieu and Devaux 2007; Lehmann and Legland 2012",
        cellprofiler="AreaShape_SurfaceArea",
    ),
    _of_boundary(
        "sphericity",
        "pi**(1/3) * (6 * area)**(2/3) / surface_area: 1 for a ball",
        lambda b: b.sphericity,
        needs=("crossings",),
        only_3d=True,
    ),
    Measure(
        "touches_border",
        "whether a pixel lies at the border of the mask",
        lambda s: s.touches_border,
        reduction=Positions,
        kind="truth",
        gridless=True,
    ),
)
