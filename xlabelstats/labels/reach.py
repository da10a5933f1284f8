"""How far a distance reaches on the grid of a mask: in pixels along every axis, and squared, in whole numbers."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import ROUNDING
from xlabelstats.grid import Grid, check_one_unit, regular_grid
from xlabelstats.inputs import at_position, is_array, time_dims

# Sums of squares below these are exact in the dtype, with a half.
EXACT = ((np.float32, 2**22), (np.float64, 2**51))
# Spacings whose ratio is a fraction with no greater denominator, as 0.65 to 2 is 13 to 40, give squares that are whole.
DENOMINATOR = 100
# Other squares are held to 2**-FRACTION of the smallest spacing, or less where they are large: well below `ROUNDING`.
FRACTION = 30


@dataclass(frozen=True, eq=False)
class Reach:
    """A distance on a grid.

    Attributes
    ----------
    steps : tuple of arrays (1 + pixels,)
        The squared distance of 0, 1, 2, ... pixels along every axis, as far as the distance reaches: whole numbers, in
        some unit, of which sums are exact.
    far : number
        What stands for any distance beyond: it is no whole number.
    scale : int
        The square of the smallest spacing.
    unit : float
        The smallest spacing.
    """

    steps: tuple[np.ndarray, ...]
    far: Any
    scale: int
    unit: float

    @property
    def halo(self) -> tuple[int, ...]:
        """How many pixels it reaches along every axis."""
        return tuple(each.size - 1 for each in self.steps)


def check_distance(distance: Any, what: str = "distance") -> float:
    """A distance as a float, or a complaint."""
    if is_array(distance):
        raise TypeError(
            f"{what} is a number, in the units of the mask's coordinates, not {type(distance).__name__}; if that is "
            "the mask, the call is made on it: mask.labels.neighbors(10), mask.labels.expand(10)"
        )
    if not isinstance(distance, numbers.Real) or isinstance(distance, bool | np.bool_):
        raise TypeError(f"{what} is a number, in the units of the mask's coordinates, not {distance!r}")
    length = float(distance)
    if not length >= 0:
        raise ValueError(f"{what} is 0 or more, not {distance!r}")
    return length


def grid_of(mask: xr.DataArray, what: str, advice: str = "mask.drop_vars(mask.indexes)") -> Grid:
    """The grid on which distances are measured: that of the coordinates, which must be even, in one unit, no times.

    ``advice`` says how to have them in pixels.
    """
    for dim in time_dims(mask):
        if dim in mask.indexes:
            raise ValueError(
                f"{what} is a length, and the coordinates along {dim!r} are times, which do not add to lengths. "
                f"Take each time apart: mask.{at_position(dim)}"
            )
    check_one_unit(mask, what, advice)
    return regular_grid(mask, f"bring it to an even grid, or have {what} in pixels: {advice}")


def reach_of(distance: float, spacing: np.ndarray, shape: tuple[int, ...]) -> Reach:
    """How far a distance reaches in an array of a shape; farther than from corner to corner makes no difference.

    Pixels at the very distance are within it.  As for coordinates, so for these: a millionth of it is rounding.
    """
    # Where there is one pixel, the spacing does not matter.
    spacing = np.where(np.array(shape) > 1, spacing, spacing[np.array(shape) > 1].min(initial=np.inf))
    spacing = np.where(np.isfinite(spacing), spacing, 1.0)
    unit = float(spacing.min())
    ratios = spacing / unit
    simple = [Fraction(ratio).limit_denominator(DENOMINATOR) for ratio in ratios.tolist()]
    rational = all(abs(near - ratio) <= ROUNDING * ratio for near, ratio in zip(simple, ratios.tolist(), strict=True))
    ratios = np.array([float(near) for near in simple]) if rational else ratios
    corner = math.sqrt(float((ratios**2 * np.maximum(np.array(shape, float) - 1, 0) ** 2).sum()))
    square = min(distance / unit * (1 + ROUNDING), corner + 1) ** 2
    most = EXACT[-1][1] / (2 * square + 2)
    scale = math.lcm(*(near.denominator for near in simple)) ** 2
    if not rational or scale > most:
        scale = 2 ** int(np.clip(math.floor(math.log2(most)), 0, FRACTION))
    weights = np.rint(ratios**2 * scale)
    limit = math.floor(square * scale)
    dtype = next(dtype for dtype, most in EXACT if 2 * limit + 1 <= most or dtype is np.float64)
    steps = []
    for weight, size in zip(weights.tolist(), shape, strict=True):
        pixels = min(math.isqrt(limit // int(weight)), max(size - 1, 0))
        steps.append((weight * np.arange(pixels + 1, dtype=np.float64) ** 2).astype(dtype))
    return Reach(tuple(steps), dtype(limit + 0.5), scale, unit)
