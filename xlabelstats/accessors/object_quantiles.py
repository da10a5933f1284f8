"""``.instances`` of an image: quantiles of the pixels of every object."""

from __future__ import annotations

from typing import Any

import xarray as xr

from xlabelstats.accessors.docs import documented
from xlabelstats.accessors.types import Labels, Mask, Per
from xlabelstats.accessors.windows import WindowCalls
from xlabelstats.multiscale import as_array

DECILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class ObjectQuantileCalls(WindowCalls):
    """The calls of `InstancesAccessor` that sort the pixels of every object."""

    @documented(WindowCalls.windows, take=())
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
        """Quantiles of all pixels of every object.

        Parameters
        ----------
        mask : DataArray of integers
            The label of every pixel.
        q : float or sequence of float, default 0.1, 0.2, ... 0.9
            From 0 to 1.  A single number leaves the dim ``quantile`` out and names the result: ``p75`` for 0.75.
        method : {"linear", "lower", "higher", "midpoint", "nearest"}, default "linear"
            How to compute a quantile that lies between two pixels, as in `numpy.quantile`; but if one of the two is
            infinite, the result is infinite and not NaN.
        skipna : bool, optional
            Leave NaN pixels out (the default) or let them make the label's quantiles NaN.
        labels : int or sequence of int, optional
            Only these objects, in this order.  The row of a label that does not occur is NaN.
        background : bool, default False
            Whether label 0 counts as an object.  Does not matter when ``labels`` are given.
        per : str or sequence of str, optional
            Dims of the mask, such as ``"t"``: measure every label by itself at each position along them.  The result
            has the dim ``object`` in place of ``label``, with the coordinates ``t`` and ``label``.  A label has a row
            where it occurs, or at all positions if ``labels`` are given.

        Returns
        -------
        DataArray
            float64, dims ``(label, *other, quantile)``, sorted by label unless ``labels`` are given; lazy for dask
            arrays.

        Raises
        ------
        ValueError
            ``q`` is not between 0 and 1, or there is no such method; else as `LabelsAccessor.aggregate`.

        Notes
        -----
        The pixels of an object are sorted in one block.  The quantile is interpolated between the pixels next to the
        position ``q * (n - 1)``; for ``linear`` this is definition 7 of Hyndman & Fan (1996).  For dask images of 8
        bits, the pixels of every value are counted instead, block by block, if that takes little memory.

        References
        ----------
        R. J. Hyndman, Y. Fan (1996). Sample quantiles in statistical packages. The American Statistician 50,
        361-365.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 7, 7, 7], [2, 2, 2, 0]], dims=("y", "x"))
        >>> image = xr.DataArray([[9, 1, 2, 3], [4, 5, 7, 9]], dims=("y", "x"))
        >>> image.instances.quantiles(mask, [0.5, 0.75]).values
        array([[5. , 6. ],
               [2. , 2.5]])
        """
        from xlabelstats.labels.quantiles import quantiles

        return quantiles(
            self._array,
            as_array(mask),
            q,
            method=method,
            skipna=skipna,
            labels=labels,
            background=background,
            per=per,
            align=align,
        )

    @documented(quantiles)
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
        """Median of the pixels of every object; see `quantiles`.

        Returns
        -------
        DataArray
            Dims ``(label, *other)``, float64; lazy for dask arrays.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 7, 7, 7], [2, 2, 2, 0]], dims=("y", "x"))
        >>> image = xr.DataArray([[9, 1, 2, 3], [4, 5, 7, 9]], dims=("y", "x"))
        >>> image.instances.median(mask).values.tolist()
        [5.0, 2.0]
        """
        from xlabelstats.labels.quantiles import median

        return median(
            self._array, as_array(mask), skipna=skipna, labels=labels, background=background, per=per, align=align
        )
