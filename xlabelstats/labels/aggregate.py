"""Statistics of every label's pixels, by flox or fused in one read."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import xarray as xr

from xlabelstats.catalogue import DEFAULT_STATISTICS, STATISTICS, order, way_of
from xlabelstats.catalogue.flox_aggregations import MORE_STATISTICS, FloxMeasure
from xlabelstats.catalogue.measure import Measure
from xlabelstats.catalogue.vocabulary import check_measures
from xlabelstats.engine import plan
from xlabelstats.inputs import check_on_host
from xlabelstats.labels import flox
from xlabelstats.labels.measure import measured
from xlabelstats.labels.per import apart
from xlabelstats.labels.weights import weighted_measures

ENGINES = ("fused", "flox")


@apart()
def aggregate(
    image: xr.DataArray,
    mask: xr.DataArray,
    stats: Any = None,
    *,
    labels: Any = None,
    background: bool = False,
    ddof: float = 0,
    skipna: bool | None = None,
    engine: str = "fused",
    weights: Any = None,
    align: str | None = None,
) -> xr.Dataset:
    """Measure every label of an image; see `LabelsAccessor.aggregate`."""
    if engine not in ENGINES:
        raise ValueError(f"engine is {' or '.join(map(repr, ENGINES))}, not {engine!r}")
    if weights is not None and engine == "flox":
        raise ValueError("engine='flox' has no weights; leave engine out")
    if weights is not None:
        measures = weighted_measures(stats, "statistic")
    else:
        measures = as_statistics(DEFAULT_STATISTICS if stats is None else stats)
    by_flox = [name for name, entry in measures.items() if isinstance(entry, FloxMeasure)]
    how: Any = plan.run
    if by_flox or engine == "flox":
        how = partial(flox.run, every=engine == "flox")
        what = "engine='flox'" if engine == "flox" else f"{', '.join(by_flox)} by flox"
        check_on_host(f"{what}, which has no CuPy path,", image=image, mask=mask)
    theirs = [name for name in by_flox if _is_given(measures[name])]
    if theirs and skipna is not None:
        raise ValueError(
            f"skipna has no effect on {theirs[0]!r}: an Aggregation of your own decides what it does with NaN. "
            "Leave skipna out, or measure the other statistics in another call"
        )
    return measured(
        image,
        mask,
        measures,
        labels=labels,
        background=background,
        ddof=ddof,
        skipna=skipna,
        described=False,
        run=how,
        weights=weights,
        align=align,
    )


def as_statistics(stats: Any) -> dict[str, Measure]:
    """The statistics asked for, by the names of their variables: a name, a `flox.Aggregation`, or several of these."""
    if isinstance(stats, str) or not isinstance(stats, Iterable):
        stats = (stats,)
    stats = tuple(stats)
    percentiles = {given: order.percentile(given) for given in stats if isinstance(given, str)}
    check_measures([name for name, entry in percentiles.items() if entry is None], KNOWN, "statistic")
    measures: dict[str, Measure] = {}
    for given in stats:
        entry = (percentiles[given] or KNOWN[given]) if isinstance(given, str) else _given(given)
        before = measures.setdefault(entry.name, entry)
        if before is not entry and (_is_given(before) or _is_given(entry)):
            raise ValueError(f"two statistics are called {entry.name!r}; give the Aggregation another name")
    if not measures:
        raise ValueError(f"no statistic was asked for; there are: {', '.join(KNOWN)}")
    return measures


KNOWN = STATISTICS | MORE_STATISTICS


def _given(aggregation: Any) -> Measure:
    """A `flox.Aggregation` of the user's as a statistic."""
    from flox import Aggregation

    if not isinstance(aggregation, Aggregation):
        raise TypeError(
            f"a statistic is a name or a flox.Aggregation, not {type(aggregation).__name__}{way_of(aggregation)}"
        )
    return flox.given(aggregation)


def _is_given(entry: Measure) -> bool:
    return isinstance(entry, FloxMeasure) and entry.given
