"""Zernike moments of the shape of every object, and of the light in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import comb, factorial
from operator import itemgetter
from typing import Any, Self

import numpy as np

from xlabelstats.catalogue.measure import Measure
from xlabelstats.catalogue.own_pixels import OwnPixels
from xlabelstats.engine.reduction import Columns, Context, Reduction, WholeBlock
from xlabelstats.engine.runs import Array
from xlabelstats.inputs import check_on_host

DEGREE = 9

# The radial and the azimuthal order of every moment, as CellProfiler sorts them.
ORDERS = tuple((n, m) for n in range(DEGREE + 1) for m in range(n % 2, n + 1, 2))

# The dim of the moments, and what stands beside it.
ORDER, RADIAL_ORDER, AZIMUTHAL_ORDER = "order", "radial_order", "azimuthal_order"


@cache
def polynomials() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The Zernike polynomials as sums of factors times powers of y and x: all real parts, then the imaginary ones.

    Returns where the terms of each begin and end, and of every term the place, ten times the power of y plus that of x,
    and the factor.
    """
    edges = [0]
    places: list[int] = []
    factors: list[int] = []
    for part in (0, 1):
        for n, m in ORDERS:
            terms = _polynomial(n, m, part)
            places += [(DEGREE + 1) * powers[0] + powers[1] for powers in terms]
            factors += terms.values()
            edges.append(len(places))
    return np.array(edges), np.array(places), np.array(factors, np.float64)


def _polynomial(n: int, m: int, part: int) -> dict[tuple[int, int], int]:
    """The factors of powers of (y, x) in the real part, or the imaginary one, of a polynomial."""
    terms: dict[tuple[int, int], int] = {}
    for k in range((n - m) // 2 + 1):
        radial = (-1) ** k * factorial(n - k)
        radial //= factorial(k) * factorial((n + m) // 2 - k) * factorial((n - m) // 2 - k)
        # What is left of r**(n - 2 k) beside r**m is a power of y**2 + x**2; the rest is (y + i x)**m.
        squares = (n - m) // 2 - k
        for i in range(squares + 1):
            for j in range(part, m + 1, 2):
                powers = (2 * (squares - i) + m - j, 2 * i + j)
                factor = radial * comb(squares, i) * comb(m, j) * (-1) ** (j // 2)
                terms[powers] = terms.get(powers, 0) + factor
    return {powers: factor for powers, factor in terms.items() if factor}


@dataclass(frozen=True)
class ZernikeMoments(Reduction):
    """Zernike moments of the shape of every object, on the host.

    Column: ``zernike`` (label, moment).
    """

    whole = True
    parallel = True
    on_grid = False

    @classmethod
    def of(cls, needs: tuple[Any, ...], context: Context) -> Self:
        """The same whatever is needed."""
        return cls()

    def collect(self, block: WholeBlock) -> Columns:
        """Measure the objects of a region."""
        from xlabelstats.kernels.cpu_zernike import zernike

        check_on_host("zernike", mask=block.ids)
        crops = block.crops
        magnitude = np.empty((block.ids.size, 1, len(ORDERS)))
        phase = np.empty((block.ids.size, 1, 0))
        weights = np.ones((1, crops.place.size))
        zernike(crops.first, crops.place, crops.size, weights, *polynomials(), True, magnitude, phase)
        return (magnitude[:, 0],)

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> Mapping[str, Array]:
        """The moments by name."""
        return {"zernike": columns[0]}


@dataclass(frozen=True)
class RadialZernikes(OwnPixels):
    """Zernike moments of the light in every object, on the host.

    Columns: ``radial_zernike_magnitude`` and ``radial_zernike_phase`` (label, channel, moment).
    """

    def collect(self, block: WholeBlock) -> Columns:
        """Measure the objects of a region."""
        from xlabelstats.kernels.cpu_zernike import zernike

        check_on_host("radial_zernike", mask=block.ids)
        crops, values = block.crops, block.values
        shape = (block.ids.size, len(values), len(ORDERS))
        magnitude, phase = np.empty(shape), np.empty(shape)
        zernike(crops.first, crops.place, crops.size, values, *polynomials(), False, magnitude, phase)
        return self.spoiled(block, magnitude, phase)

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> Mapping[str, Array]:
        """The moments by name."""
        return dict(zip(("radial_zernike_magnitude", "radial_zernike_phase"), columns, strict=True))


def _entry(name: str, definition: str, reduction: type[Reduction] | Reduction, **options: Any) -> Measure:
    return Measure(
        name,
        definition,
        itemgetter(name),
        reduction,
        dims=(ORDER,),
        lengths={ORDER: [f"{n}_{m}" for n, m in ORDERS]},
        beside={RADIAL_ORDER: (ORDER, [n for n, _ in ORDERS]), AZIMUTHAL_ORDER: (ORDER, [m for _, m in ORDERS])},
        only_2d=True,
        **options,
    )


_SHAPES = "Zernike 1934; Boland, Markey, Murphy 1998; CellProfiler, MeasureObjectSizeShape"
_LIGHT = "Zernike 1934; CellProfiler, MeasureObjectIntensityDistribution"

ZERNIKES: tuple[Measure, ...] = (
    _entry(
        "zernike",
        "magnitude of the sum of the Zernike polynomials up to order 9 over the object's pixels, in the smallest "
        "circle around the pixel centres, over the area of the circle; NaN for one pixel",
        ZernikeMoments,
        source=_SHAPES,
        cellprofiler="AreaShape_Zernike",
    ),
)

RADIAL_ZERNIKES: tuple[Measure, ...] = (
    _entry(
        "radial_zernike_magnitude",
        "magnitude of the sum of pixels times Zernike polynomials up to order 9, in the smallest circle around the "
        "object's pixel centres, over the number of pixels; NaN for one pixel",
        RadialZernikes(),
        units="image",
        source=_LIGHT,
        cellprofiler="RadialDistribution_ZernikeMagnitude",
    ),
    _entry(
        "radial_zernike_phase",
        "angle of the same sum, arctan2(real, imaginary) with y + i x, in radians; NaN where the sum is 0 but for "
        "rounding",
        RadialZernikes(),
        source=_LIGHT,
        cellprofiler="RadialDistribution_ZernikePhase",
    ),
)
