"""How the channels of an image go together within every label: correlation, and colocalisation above thresholds."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np

from xlabelstats.catalogue.colocalisation import Share, Shares, Sums
from xlabelstats.catalogue.cross_moments import CrossMoments
from xlabelstats.catalogue.measure import Measure
from xlabelstats.engine.reduction import Reduction
from xlabelstats.engine.runs import Array
from xlabelstats.kernels import kernels_for

# Part of the largest pixel of a channel, where a threshold is needed and none is given.
THRESHOLD = 0.15


def _overlap(sums: Sums) -> Array:
    xp = kernels_for(sums.product).xp
    return sums.product / (xp.sqrt(sums.squares) * xp.sqrt(sums.turned))


def _k1(sums: Sums) -> Array:
    return sums.product / sums.squares


def _k2(sums: Sums) -> Array:
    return sums.product / sums.turned


def _manders(sums: Sums) -> Array:
    return sums.both / sums.above


def _rwc(sums: Sums) -> Array:
    return sums.near / sums.above


def check_threshold(threshold: Any) -> float:
    """A threshold as a number, or a complaint."""
    number = isinstance(threshold, numbers.Real) and not isinstance(threshold, bool | np.bool_)
    if not (number and 0 <= threshold <= 1):
        raise ValueError(
            f"threshold is a fraction of the largest pixel of an object, a number from 0 to 1, not {threshold!r}"
        )
    return float(threshold)


_ABOVE_THRESHOLD: dict[str, Callable[[Sums], Array]] = {
    "overlap": _overlap,
    "k1": _k1,
    "k2": _k2,
    "manders": _manders,
    "rwc": _rwc,
}

_DEFINITIONS = {
    "pearson": "Pearson's correlation of two channels: sum((x - mean(x)) (y - mean(y))) / sqrt(sum((x - mean(x))**2) "
    "sum((y - mean(y))**2)), NaN where a channel is constant",
    "covariance": "covariance of two channels, sum((x - mean(x)) (y - mean(y))) / n",
    "slope": "slope of the line of least squares by which the first channel x predicts the second y: covariance / "
    "variance of x",
    "overlap": "overlap coefficient of two channels: sum(x y) / sqrt(sum(x**2) sum(y**2)), with ``threshold`` over the "
    "pixels above both",
    "k1": "sum(x y) / sum(x**2) of the first channel x and the second y, with ``threshold`` over the pixels above both",
    "k2": "sum(x y) / sum(y**2) of the first channel x and the second y, with ``threshold`` over the pixels above both",
    "manders": "Manders' coefficient: sum of the first channel's pixels above its threshold where the second channel "
    "is above its own, divided by the sum of all of the first channel's pixels above its threshold",
    "rwc": "rank weighted colocalisation: as ``manders``, each shared pixel weighted by 1 - abs(rank(x) - rank(y)) "
    "/ R, equal pixels having one rank, and R being the larger number of ranks",
}

_AND = ", threshold: CellProfiler, MeasureColocalization (>= that part of the largest pixel)"
_SOURCES = {
    "pearson": "CellProfiler, MeasureColocalization",
    "slope": "CellProfiler, MeasureColocalization",
    "overlap": "Manders, Verbeek & Aten 1993" + _AND,
    "k1": "Manders, Verbeek & Aten 1993" + _AND,
    "k2": "Manders, Verbeek & Aten 1993" + _AND,
    "manders": "Manders, Verbeek & Aten 1993" + _AND,
    "rwc": "Singan et al. 2011" + _AND,
}

_TITLES = {
    "pearson": "Pearson correlation",
    "overlap": "overlap coefficient",
    "k1": "colocalisation coefficient k1",
    "k2": "colocalisation coefficient k2",
    "manders": "Manders' coefficient",
    "rwc": "rank weighted colocalisation",
}

_CELLPROFILER = {"pearson": "Correlation", "k1": "K", "k2": "K", "rwc": "RWC"}


def merging(name: str, dim: Any = "c") -> Measure:
    """The measure of every two channels along a dim, from what merges across blocks."""
    return _measure(name, dim, attrgetter(name), CrossMoments, (), partial(merging, name))


def above(name: str, dim: Any = "c", threshold: float = THRESHOLD) -> Measure:
    """The measure of every two channels along a dim, over the pixels above a threshold."""
    share = Share(_ABOVE_THRESHOLD[name], check_threshold(threshold), name == "rwc")
    return _measure(name, dim, share, Shares, (share,), partial(above, name))


def either(name: str, dim: Any = "c", threshold: float | None = None) -> Measure:
    """The measure of every two channels along a dim, over all pixels or those above a threshold."""
    made = merging(name, dim) if threshold is None else above(name, dim, threshold)
    return replace(made, with_parameters=partial(either, name))


def _measure(
    name: str,
    dim: Any,
    formula: Callable[[Any], Any],
    reduction: type[Reduction],
    needs: tuple[Any, ...],
    with_parameters: Callable[..., Measure],
) -> Measure:
    return Measure(
        name,
        _DEFINITIONS[name],
        formula,
        reduction,
        needs,
        dims=(second_of(dim),),
        pairs=dim,
        units="image**2" if name == "covariance" else "",
        title=_TITLES.get(name, ""),
        source=_SOURCES.get(name, ""),
        cellprofiler="" if name == "covariance" else f"Correlation_{_CELLPROFILER.get(name, name.title())}",
        with_parameters=with_parameters,
    )


def second_of(dim: Any) -> str:
    """The dim of the second of two channels along a dim."""
    return f"{dim}_"


CORRELATIONS = (
    *map(merging, ("pearson", "covariance", "slope")),
    *map(either, ("overlap", "k1", "k2")),
    *map(above, ("manders", "rwc")),
)
