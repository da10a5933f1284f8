"""Texture: Haralick's features of the co-occurrence of grey levels within every object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from operator import itemgetter
from typing import Any, Self

import numpy as np

from xlabelstats.catalogue.histogram import dtype_range
from xlabelstats.catalogue.measure import Measure
from xlabelstats.catalogue.own_pixels import OwnPixels
from xlabelstats.engine.reduction import Columns, Context, WholeBlock
from xlabelstats.engine.runs import Array
from xlabelstats.inputs import check_on_host, whole_number

# The steps to the partner of a pixel, in the order of CellProfiler's columns; along the axes of the mask.
IN_2D = ((0, 1), (1, 1), (1, 0), (1, -1))
IN_3D = (
    *((1, 0, 0), (1, 1, 0), (0, 1, 0), (1, -1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1)),
    *((1, 1, 1), (1, -1, 1), (1, 0, -1), (0, 1, -1), (1, 1, -1), (1, -1, -1)),
)
DEGREES = (0, 135, 90, 45)

# A range of every object's own.
OWN = "object"

# The numbers n up to which n log2(n) is looked up.
TABLE = 4096

# The features in the order of the kernel: what CellProfiler calls them, and their definitions.  The shares p(i, j) are
# those of pairs of pixels whose grey levels are i and j.
FEATURES = {
    "angular_second_moment": ("AngularSecondMoment", "sum of p(i, j)**2 of pairs of grey levels: 1 for a flat object"),
    "contrast": ("Contrast", "mean of (i - j)**2 of pairs of grey levels"),
    "correlation": ("Correlation", "Pearson's correlation of the grey levels of pairs; 1 for a flat object"),
    "variance": ("Variance", "variance of the grey levels in pairs"),
    "inverse_difference_moment": ("InverseDifferenceMoment", "mean of 1 / (1 + (i - j)**2) of pairs of grey levels"),
    "sum_average": ("SumAverage", "mean of i + j of pairs of grey levels"),
    "sum_variance": ("SumVariance", "variance of i + j of pairs of grey levels"),
    "sum_entropy": ("SumEntropy", "entropy of i + j of pairs of grey levels, in bits"),
    "entropy": ("Entropy", "entropy of pairs of grey levels, in bits: -sum(p(i, j) log2 p(i, j))"),
    "difference_variance": (
        "DifferenceVariance",
        "variance of the shares of the differences |i - j| of pairs, from 0 to the object's largest grey level",
    ),
    "difference_entropy": ("DifferenceEntropy", "entropy of |i - j| of pairs of grey levels, in bits"),
    "info_meas_1": (
        "InfoMeas1",
        "information that the two grey levels of a pair share, over the entropy h of one of them: (entropy - 2 h) / h, "
        "0 for a flat object",
    ),
    "info_meas_2": (
        "InfoMeas2",
        "sqrt(1 - exp(-2 (2 h - entropy))) of the entropies, in bits, of pairs and of one level, h, in them",
    ),
}
NAMES = tuple(FEATURES)


@dataclass(frozen=True)
class GreyLevels:
    """How pixels become grey levels, from 0 on: the part of the range that lies below them, rounded down.

    Attributes
    ----------
    levels : int
    low, high : float
        The range; what is beyond it is of the first or the last level.
    own : bool
        Whether the range is every object's own instead: its least and its greatest finite pixel.
    given : bool
        Whether the user named it; else it is that of the image's dtype.
    """

    levels: int
    low: float = 0.0
    high: float = 1.0
    own: bool = False
    given: bool = field(default=True, compare=False)


@dataclass(frozen=True)
class Textures(OwnPixels):
    """Features of the pairs of grey levels in every object, for every scale and direction; on the host.

    Column: (label, channel, scale, direction, feature).

    Attributes
    ----------
    scales : tuple of int
    grey : GreyLevels or None
        None until the dtype of the image is known, if they depend on it.
    names : tuple of str
        The features.
    ndim : int
        The dims of the mask.
    """

    scales: tuple[int, ...]
    grey: GreyLevels | None = None
    names: tuple[str, ...] = NAMES
    ndim: int = 2

    def of(self, needs: tuple[str, ...], context: Context) -> Self:  # type: ignore[override]
        """All features that any of several measures needs."""
        return replace(super().of(needs, context), names=needs, ndim=context.ndim)

    def collect(self, block: WholeBlock) -> Columns:
        """Count the pairs of the objects of a region."""
        from xlabelstats.kernels.cpu_texture import textures

        check_on_host("texture", mask=block.ids)
        if self.grey is None:
            raise ValueError("grey levels depend on the dtype of the image: settle the measure for it first")
        steps = _directions(self.ndim)
        shape = (block.ids.size, len(block.values), len(self.scales), len(steps), len(self.names))
        features = np.empty(shape)
        crops = block.crops
        textures(
            (crops.first, crops.place, crops.size),
            block.values,
            (self.grey.levels, self.grey.low, self.grey.high, self.grey.own),
            np.array(self.scales, np.int64),
            np.array([(0,) * (3 - self.ndim) + step for step in steps], np.int64),
            _weights(),
            np.array([NAMES.index(name) for name in self.names], np.int64),
            features,
        )
        return self.spoiled(block, features)

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> Mapping[str, Array]:
        """The features by name."""
        return {name: columns[0][..., i] for i, name in enumerate(self.names)}


@cache
def _weights() -> np.ndarray:
    """The numbers n log2(n) from n = 0 on."""
    n = np.arange(TABLE, dtype=np.float64)
    return n * np.log2(np.maximum(n, 1))


def _directions(ndim: int) -> tuple[tuple[int, ...], ...]:
    """The steps in masks of so many dims."""
    return IN_2D if ndim == 2 else IN_3D


def _angles(ndim: int) -> list[int]:
    """The coordinate of the directions: degrees, or in 3-D their place in CellProfiler's order."""
    return list(DEGREES) if ndim == 2 else list(range(len(IN_3D)))


def _steps(ndim: int) -> list[str]:
    """The directions in words."""
    return [str(step) for step in _directions(ndim)]


def check_scales(scale: Any) -> tuple[int, ...]:
    """The distances of the pixels of a pair, or a complaint."""
    given = tuple(np.ravel(scale).tolist()) if np.ndim(scale) < 2 else ()
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in given)
    if not (given and whole and min(given) > 0 and len(set(given)) == len(given)) or max(given) >= 2**31:
        raise ValueError(
            f"scale is a number of pixels from 1 on, or several different ones, such as 3 or [1, 3], not {scale!r}"
        )
    return given


def check_levels(levels: Any) -> int:
    """The number of grey levels, or a complaint."""
    number = whole_number(levels)
    if number is None or not 2 <= number <= 256:
        raise ValueError(f"levels is a whole number of grey levels from 2 to 256, not {levels!r}")
    return number


def check_range(range: Any) -> tuple[float, float]:
    """The range of grey levels, or a complaint."""
    if isinstance(range, Mapping):
        raise ValueError(
            f"range is one for all channels of a call, not {range!r}; for a range per channel make a call for each, "
            "such as for image.sel(c=['DNA']) with range=(0, 900), and join the results by xr.concat(results, 'c')"
        )
    try:
        low, high = map(float, () if isinstance(range, str) else range)
        good = bool(np.isfinite(low) and np.isfinite(high) and low < high)
    except (TypeError, ValueError, OverflowError):
        good = False
    if not good:
        raise ValueError(
            f"range is a pair of finite numbers, the lower first, or {OWN!r} for the least and greatest pixel of every "
            f"object, not {range!r}"
        )
    return low, high


def grey_levels_of(dtype: np.dtype, levels: int, name: str) -> GreyLevels:
    """Grey levels over the range of a dtype, or a complaint: over a very wide one, all pixels would be of one level."""
    limits = (0, 2) if dtype.kind == "b" else dtype_range(dtype)
    if limits is None:
        raise ValueError(
            f"{name} of an image of {dtype} needs the range of its grey levels: give range=(low, high), or "
            f"range={OWN!r} for the least and greatest pixel of every object; in measure as "
            f"({name!r}, {{'range': (low, high)}})"
        )
    return GreyLevels(levels, float(limits[0]), float(limits[1]), given=False)


def texture(feature: str, scale: Any = 3, levels: Any = 256, range: Any = None) -> Measure:
    """The measure of one of Haralick's features."""
    scales, number = check_scales(scale), check_levels(levels)
    own = isinstance(range, str) and range == OWN
    grey = GreyLevels(number, own=True) if own else None if range is None else GreyLevels(number, *check_range(range))
    title, definition = FEATURES[feature]
    name = f"texture_{feature}"

    def settled(dtype: np.dtype, _: Callable[[], tuple[Any, Any]]) -> Measure:
        return replace(
            entry,
            reduction=Textures(scales, grey or grey_levels_of(dtype, number, name)),
            settled=None,
            with_parameters=None,
        )

    entry = Measure(
        name,
        definition,
        itemgetter(feature),
        Textures(scales),
        (feature,),
        dims=("scale", "angle"),
        lengths={"scale": list(scales), "angle": _angles},
        beside={"levels": ("scale", [number] * len(scales)), "direction": ("angle", _steps)},
        spatial=True,
        source="Haralick, Shanmugam & Dinstein 1973",
        cellprofiler=f"Texture_{title}",
        with_parameters=lambda scale=3, levels=256, range=None: texture(feature, scale, levels, range),
        settled=settled,
    )
    return entry


TEXTURES: tuple[Measure, ...] = tuple(map(texture, FEATURES))
