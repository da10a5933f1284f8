"""``.labels`` of an image: medians and quantiles, which are those of ``.instances``."""

from __future__ import annotations

from typing import Any

import xarray as xr

from xlabelstats.accessors.base import Accessor
from xlabelstats.accessors.docs import documented
from xlabelstats.accessors.instances import InstancesAccessor
from xlabelstats.accessors.object_quantiles import DECILES
from xlabelstats.accessors.types import Labels, Mask, Per


class QuantileCalls(Accessor):
    """The calls of `LabelsAccessor` that need all pixels of a label at once."""

    def __init__(self, array: xr.DataArray) -> None:
        self._array = array

    @documented(InstancesAccessor.quantiles)
    def median(
        self,
        mask: Mask,
        *,
        skipna: bool | None = None,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        align: str | None = None,
    ) -> xr.DataArray:
        """Median of the pixels of every label: the same as `InstancesAccessor.median`.

        Returns
        -------
        DataArray
            Dims ``(label, *other)``, float64; lazy for dask input.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 1, 1], [2, 2, 2]], dims=("y", "x"))
        >>> image = xr.DataArray([[9, 1, 3], [4, 5, 9]], dims=("y", "x"))
        >>> image.labels.median(mask).values.tolist()
        [2.0, 5.0]
        """
        return InstancesAccessor(self._array).median(
            mask, skipna=skipna, labels=labels, background=background, per=per, align=align
        )

    @documented(InstancesAccessor.quantiles)
    def quantile(
        self,
        mask: Mask,
        q: Any,
        *,
        method: str = "linear",
        skipna: bool | None = None,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        align: str | None = None,
    ) -> xr.DataArray:
        """One quantile of the pixels of every label, or several: the same as `InstancesAccessor.quantiles`.

        Parameters
        ----------
        q : float or sequence of float
            From 0 to 1.  A single number leaves the dim ``quantile`` out and names the result: ``p75`` for 0.75.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 1, 1], [2, 2, 2]], dims=("y", "x"))
        >>> image = xr.DataArray([[9, 1, 3], [4, 5, 9]], dims=("y", "x"))
        >>> image.labels.quantile(mask, 0.75).values.tolist()
        [2.5, 7.0]
        """
        return self.quantiles(
            mask, q, method=method, skipna=skipna, labels=labels, background=background, per=per, align=align
        )

    @documented(InstancesAccessor.quantiles)
    def quantiles(
        self,
        mask: Mask,
        q: Any = DECILES,
        *,
        method: str = "linear",
        skipna: bool | None = None,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        align: str | None = None,
    ) -> xr.DataArray:
        """Quantiles of the pixels of every label: the same as `InstancesAccessor.quantiles`.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 1, 1], [2, 2, 2]], dims=("y", "x"))
        >>> image = xr.DataArray([[9, 1, 3], [4, 5, 9]], dims=("y", "x"))
        >>> image.labels.quantiles(mask, [0.5, 0.75]).values.tolist()
        [[2.0, 2.5], [5.0, 7.0]]
        """
        return InstancesAccessor(self._array).quantiles(
            mask, q, method=method, skipna=skipna, labels=labels, background=background, per=per, align=align
        )
