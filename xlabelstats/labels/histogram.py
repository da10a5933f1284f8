"""Histograms of every label's pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.catalogue import histogram as catalogue
from xlabelstats.inputs import check_on_host
from xlabelstats.labels.measure import measured, settled
from xlabelstats.labels.per import apart


def _same_bins(masks: Sequence[xr.DataArray], given: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The bins of the whole image, for the calls at its positions."""
    (entry,) = settled({"": catalogue.histogram(given["bins"], given["range"])}, given["image"]).values()
    edges: list[Any] = [entry.beside[name][1] for name in (catalogue.LEFT, catalogue.RIGHT)]
    return [{"bins": np.append(edges[0], edges[1][-1:]), "range": None}] * len(masks)


@apart(_same_bins)
def histogram(
    image: xr.DataArray,
    mask: xr.DataArray,
    bins: Any,
    *,
    range: Any = None,
    labels: Any = None,
    background: bool = False,
    skipna: bool | None = None,
    align: str | None = None,
) -> xr.DataArray:
    """Histograms of every label's pixels; see `LabelsAccessor.histogram`."""
    check_on_host("the choice of bins", bins=bins)
    entry = catalogue.histogram(bins, range)
    options: dict[str, Any] = {"labels": labels, "background": background, "skipna": skipna, "align": align}
    return measured(image, mask, {entry.name: entry}, described=False, **options)[entry.name]
