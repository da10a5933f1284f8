"""The statistics of a label's pixels, as one table: validation, columns and docs derive from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xlabelstats.names import as_names, check_here
from xlabelstats.vocabulary import check_measures

Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Statistic:
    """One statistic: what it is, what has to be collected for it, and its formula.

    Attributes
    ----------
    summary : str
        What it is, for the docs.
    fields : tuple of str
        What a record must hold for it besides ``valid``: any of ``sum m2 m3 m4 min max``.
    formula : callable (fields, ddof) -> array
        From the merged fields to the statistic; ``None`` for ``count``, which needs no image.
    units : str
        Its units, with ``{}`` for those of the image; empty for a number without units.
    """

    summary: str
    fields: tuple[str, ...]
    formula: Callable[[Fields, int], Any] | None
    units: str = "{}"

    @property
    def order(self) -> int:
        """The highest moment that has to be collected, 0 for none."""
        return max((_ORDERS.get(field, 0) for field in self.fields), default=0)


_ORDERS = {"sum": 1, "m2": 2, "m3": 3, "m4": 4}


def _variance(f: Fields, ddof: int) -> Any:
    return np.where(f["valid"] > ddof, f["m2"], np.nan) / (f["valid"] - ddof)


def _central(f: Fields) -> Any:
    """The second central moment, NaN where it is no more than the rounding of the mean."""
    mean, m2 = f["sum"] / f["valid"], f["m2"] / f["valid"]
    mean *= np.finfo(float).resolution
    return np.where(m2 > mean * mean, m2, np.nan)


def _skew(f: Fields, ddof: int) -> Any:
    m2 = _central(f)
    # The product and root take a tenth of the time of m2**1.5.
    return f["m3"] / f["valid"] / (m2 * np.sqrt(m2))


STATISTICS: dict[str, Statistic] = {
    "count": Statistic("number of pixels of the label, whatever they hold", (), None, ""),
    "sum": Statistic("sum", ("sum",), lambda f, ddof: f["sum"]),
    "mean": Statistic("mean", ("sum",), lambda f, ddof: f["sum"] / f["valid"]),
    "var": Statistic("variance, divided by ``valid - ddof``", ("sum", "m2"), _variance, "({})**2"),
    "skew": Statistic(
        "skewness m3 / m2**1.5 of the central moments m (biased), NaN for equal pixels",
        ("sum", "m2", "m3"),
        _skew,
        "",
    ),
    "kurtosis": Statistic(
        "excess kurtosis m4 / m2**2 - 3 (Fisher: a normal distribution has 0; biased), NaN for equal pixels",
        ("sum", "m2", "m3", "m4"),
        lambda f, ddof: f["m4"] / f["valid"] / _central(f) ** 2 - 3,
        "",
    ),
    "min": Statistic("smallest pixel", ("min", "max"), lambda f, ddof: f["min"]),
    "max": Statistic("largest pixel", ("min", "max"), lambda f, ddof: f["max"]),
    "std": Statistic(
        "standard deviation, the root of ``var``", ("sum", "m2"), lambda f, ddof: np.sqrt(_variance(f, ddof))
    ),
    "valid": Statistic("number of pixels that are not NaN", (), lambda f, ddof: f["valid"], ""),
}

DEFAULT: tuple[str, ...] = tuple(name for name in STATISTICS if name not in ("std", "valid"))


# What is asked for as a statistic and is none that merges.
ELSEWHERE = dict.fromkeys(
    ("median", "quantile", "quantiles", "percentile", "percentiles"),
    "image.instances.median(mask) and image.instances.quantiles(mask, q)",
)


def check_names(stats: str | Iterable[str]) -> tuple[str, ...]:
    """Return the names asked for, each once, or say which are unknown and what exists."""
    names = as_names(stats, "statistic")
    check_here(names, ELSEWHERE, "needs all pixels of an object at once")
    check_measures(names, STATISTICS, "statistic")
    if not names:
        raise ValueError(f"no statistic was asked for; there are: {', '.join(STATISTICS)}")
    return names
