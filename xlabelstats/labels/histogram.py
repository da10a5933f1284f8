"""Histograms of every label's pixels."""

from __future__ import annotations

from typing import Any

import xarray as xr

from xlabelstats.catalogue import histogram as catalogue
from xlabelstats.inputs import check_on_host
from xlabelstats.labels.measure import measured


def histogram(
    image: xr.DataArray,
    mask: xr.DataArray,
    bins: Any,
    *,
    range: Any = None,
    labels: Any = None,
    background: bool = False,
    skipna: bool | None = None,
) -> xr.DataArray:
    """Histograms of every label's pixels; see `LabelsAccessor.histogram`."""
    check_on_host("the choice of bins", bins=bins)
    entry = catalogue.histogram(bins, range)
    options = {"labels": labels, "background": background, "skipna": skipna, "described": False}
    return measured(image, mask, {entry.name: entry}, **options)[entry.name]
