"""``.labels`` of an image: statistics of the pixels of every label."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import xarray as xr

from xlabelstats.accessors.quantiles import QuantileCalls
from xlabelstats.accessors.types import Labels, Mask, Per
from xlabelstats.catalogue import STATISTICS
from xlabelstats.catalogue.flox_aggregations import MORE_STATISTICS
from xlabelstats.multiscale import as_array
from xlabelstats.names import describe

if TYPE_CHECKING:
    from flox import Aggregation


class StatisticsCalls(QuantileCalls):
    """The calls of `LabelsAccessor` that measure the pixels of every label."""

    @describe(statistics=STATISTICS, more=MORE_STATISTICS)
    def aggregate(
        self,
        mask: Mask,
        stats: str | Aggregation | Iterable[str | Aggregation] | None = None,
        *,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        ddof: int = 0,
        skipna: bool | None = None,
        engine: str = "fused",
        weights: Mask | None = None,
        align: str | None = None,
    ) -> xr.Dataset:
        """Measure the pixels of every label: any number of statistics in one pass over the image.

        Parameters
        ----------
        mask : DataArray of integers
            The label of every pixel.  Its dims are a subset of the image's, and its sizes and coordinates are the same.
            If only one of the two has coordinates, they hold for both.  Chunks may differ.
        stats : str, flox.Aggregation, or iterable of these
            Any of the statistics below; by default those of the first list except ``std`` and ``valid``.  An
            Aggregation gives a variable of its name.
        labels : int or sequence of int, optional
            Measure these labels, in this order; the mask is not searched for labels first.  A label that does not occur
            gets 0 as count and sum, and NaN for all else, so ``min`` and ``max`` are float64.
        background : bool, default False
            Measure label 0 too.  Does not matter when ``labels`` are given.
        per : str or sequence of str, optional
            Dims of the mask, such as ``"t"``: measure every label by itself at each position along them.  The result
            has the dim ``object`` in place of ``label``, with the coordinates ``t`` and ``label``.  A label has a row
            where it occurs, or at all positions if ``labels`` are given.
        ddof : int, default 0
            Delta degrees of freedom of ``var`` and ``std``: they divide by ``valid - ddof``.
        skipna : bool, optional
            Leave NaN pixels out (the default) or let them make the label's statistics NaN.
        engine : {"fused", "flox"}, default "fused"
            How statistics that merge across blocks are computed: all in one read of the image, or each by itself, by
            flox.  The numbers agree, except for rounding.
        weights : DataArray, optional
            The weight of every pixel, with some or all of the mask's dims.  ``sum``, ``mean``, ``var`` and ``std`` are
            then weighted, and ``weight`` is the sum of the weights; only these and ``count`` can be measured, by
            default all six.  Weights are 0 or more.  Pixels of weight 0 only add to ``count``, whatever their value.
            Pixels of weight NaN are treated as NaN.
        align : {"nearest"}, optional
            For a mask on another grid with the same dims: every pixel of the image gets the label of the mask pixel
            that is nearest by coordinates, or of the one with the smaller index if two are equally near.  Pixels more
            than half a mask pixel outside the mask get 0.  Labels that no pixel gets are left out.  By default
            different grids raise an error.

        Returns
        -------
        Dataset
            One variable per statistic, dims ``(label, *other)``, where ``other`` are the image's dims that the mask
            lacks; ``count`` is ``(label,)``.  Sorted by label unless ``labels`` are given.  ``count`` and ``valid`` are
            int64, ``min`` and ``max`` have the image's dtype, the others are float64.  For dask input the result is
            lazy; without ``labels`` only the mask is read immediately, to learn which labels there are.  Two
            coordinates without dims are there for `rollup`: ``ddof``, with ``var`` or ``std``; and ``skipna``, which
            says whether NaN pixels may have been left out (False for an image of integers).

        Warns
        -----
        UserWarning
            The mask has a time dim, and without ``per`` labels are measured over all times together.  It is bool, or
            has only the values 0 and 255: all its components are one label.  Its labels look like grey values: image
            and mask may be swapped (not checked if ``labels`` are given).  A percentile below the first is asked for,
            such as ``p0.95``, in place of ``p95``.

        Raises
        ------
        TypeError
            The mask does not hold integers, or the image or the weights do not hold numbers.
        ValueError
            Dims, sizes or coordinates do not match, the dim ``label`` is taken, ``per`` names no dims of the mask or
            all of them, a statistic or engine is unknown, flox cannot run an Aggregation, or ``labels`` repeat; weights
            are negative (lazy ones are checked when they are computed), or ``ddof`` is given with them; ``align`` is
            unknown, or a dim lacks coordinates that it needs.

        Notes
        -----
        The statistics are:

        {statistics}

        There are also:

        {more}

        For ``median``, ``mode`` and percentiles, such as ``p95``, all pixels of an object are brought into one block.
        For an image of 8 bits in blocks, the pixels of every value are counted instead, if this takes little memory.
        All others of the second list, and Aggregations, are computed by flox, whatever the engine.

        Sums and moments are collected in float64, moments about the mean of each block, and merged
        pairwise across blocks [1]_ [2]_, so that a large mean costs no precision.  A sum of integers is
        exact up to 2**53.

        With weights w, ``mean`` is sum(w x) / sum(w) and ``var`` sum(w (x - mean)**2) / sum(w), as `numpy.average` and
        xarray's ``weighted`` have them.

        References
        ----------
        .. [1] T. F. Chan, G. H. Golub, R. J. LeVeque (1979). Updating formulae and a pairwise algorithm
           for computing sample variances. Stanford STAN-CS-79-773.
        .. [2] P. Pebay (2008). Formulas for robust, one-pass parallel computation of covariances and
           arbitrary-order statistical moments. Sandia SAND2008-6212.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 1, 1], [2, 2, 2]], dims=("y", "x"))
        >>> image = xr.DataArray([[9, 1, 3], [4, 5, 6]], dims=("y", "x"), name="DAPI")
        >>> result = image.labels.aggregate(mask, ("count", "mean", "max"))
        >>> result.labels.to_dataframe()
               count  mean  max
        label
        1          2   2.0    3
        2          3   5.0    6
        """
        from xlabelstats.labels.aggregate import aggregate

        return aggregate(
            self._array,
            as_array(mask),
            stats,
            labels=labels,
            background=background,
            per=per,
            ddof=ddof,
            skipna=skipna,
            engine=engine,
            weights=as_array(weights),
            align=align,
        )
