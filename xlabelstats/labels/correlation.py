"""How the channels of an image go together within every label."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import xarray as xr

from xlabelstats.catalogue import CORRELATIONS, measure_of
from xlabelstats.catalogue.correlation import check_threshold
from xlabelstats.catalogue.vocabulary import check_measures
from xlabelstats.labels.measure import measured
from xlabelstats.labels.per import apart
from xlabelstats.names import as_names


@apart()
def correlation(
    image: xr.DataArray,
    mask: xr.DataArray,
    dim: Hashable,
    stats: str | Iterable[str],
    *,
    threshold: float | None = None,
    **options: Any,
) -> xr.Dataset:
    """Compare the channels of an image within every label; see `LabelsAccessor.correlation`."""
    names = as_names(stats, "statistic")
    check_measures(names, CORRELATIONS, "statistic")
    if not names:
        raise ValueError(f"no statistic was asked for; there are: {', '.join(CORRELATIONS)}")
    given = {} if threshold is None else {"threshold": check_threshold(threshold)}
    thresholded = [name for name, entry in CORRELATIONS.items() if "threshold" in entry.parameters]
    if given and not set(names) & set(thresholded):
        raise ValueError(
            f"threshold={threshold!r} has no effect on {', '.join(names)}; leave it out, or ask for one that uses it: "
            f"{', '.join(thresholded)}"
        )
    measures = {name: measure_of((name, {"dim": dim} | (given if name in thresholded else {}))) for name in names}
    return measured(image, mask, measures, **options)
