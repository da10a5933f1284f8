"""Quantiles of every label's pixels, over the whole object."""

from __future__ import annotations

from typing import Any

import xarray as xr

from xlabelstats.catalogue import order
from xlabelstats.inputs import check_on_host
from xlabelstats.labels.measure import measured
from xlabelstats.labels.per import apart


@apart()
def quantiles(
    image: xr.DataArray,
    mask: xr.DataArray,
    q: Any,
    *,
    method: str = "linear",
    skipna: bool | None = None,
    labels: Any = None,
    background: bool = False,
    align: str | None = None,
) -> xr.DataArray:
    """Quantiles of every label's pixels; see `InstancesAccessor.quantiles`."""
    check_on_host("the choice of quantiles", q=q)
    numbers = order.check_q(q)
    options = {"skipna": skipna, "labels": labels, "background": background, "described": False, "align": align}
    if numbers.ndim == 0:
        # The name tells one from another, so that the results for two numbers go into one Dataset.
        name = f"p{100 * float(numbers):.12g}"
        return measured(image, mask, {name: order.quantile(name, float(numbers), method)}, **options)[name]
    result = measured(image, mask, {"quantiles": order.quantiles(q, method)}, **options)["quantiles"]
    return result.assign_attrs(long_name=result.attrs["long_name"].replace("quantiles", "quantile", 1))


@apart()
def median(image: xr.DataArray, mask: xr.DataArray, *, method: str = "linear", **options: Any) -> xr.DataArray:
    """Median of every label's pixels; see `InstancesAccessor.median`."""
    entry = order.quantile("median", 0.5, method)
    return measured(image, mask, {entry.name: entry}, described=False, **options)[entry.name]
