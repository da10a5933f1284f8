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
            The label of every pixel.  Its dims are a subset of the image's, its sizes and
            coordinates the same; where only one of the two has coordinates, they are the other's
            too.  Chunks may differ.
        stats : str, flox.Aggregation, or iterable of these
            Any of the statistics below; by default those of the first list but ``std`` and ``valid``.  An Aggregation
            gives a variable of its name.
        labels : int or sequence of int, optional
            Measure these labels, in this order, without looking first which there are.  A label that
            does not occur gets count 0, sum 0 and NaN elsewhere, so ``min`` and ``max`` are float64.
        background : bool, default False
            Measure label 0 too.  Does not matter when ``labels`` are given.
        per : str or sequence of str, optional
            Dims of the mask, such as ``"t"``: measure every label apart at every position along them.  The dim of the
            result is ``object`` in place of ``label``, with the coordinates ``t`` and ``label`` along it.  A label has
            a row where it occurs, or everywhere if ``labels`` are given.
        ddof : int, default 0
            Delta degrees of freedom of ``var`` and ``std``: they divide by ``valid - ddof``.
        skipna : bool, optional
            Leave NaN pixels out (the default) or let them make the label's statistics NaN.
        engine : {"fused", "flox"}, default "fused"
            What runs the statistics that merge across blocks: one read of the image for all of them, or
            flox's own map-reduce for each.  The numbers agree but for rounding.
        weights : DataArray, optional
            What every pixel weighs, over some of the mask's dims or all of them, which it shares as the image does.
            ``sum``, ``mean``, ``var`` and ``std`` are then weighted, and ``weight`` is the sum of the weights; beside
            these there is ``count``, and by default there are all six.  Weights are 0 or more: pixels of weight 0 do
            not count, whatever they hold; those of weight NaN are not valid, as NaN pixels are.
        align : {"nearest"}, optional
            For a mask on another grid of the same dims: every pixel of the image gets the label of the mask's pixel
            that is nearest to it by coordinates, of two as near that of the smaller index, and 0 where it lies more
            than half a pixel of the mask beyond the outermost.  Labels that no pixel gets are left out.  By default
            grids that differ are an error.

        Returns
        -------
        Dataset
            One variable per statistic, dims ``(label, *other)``, ``other`` being the image's dims that
            the mask lacks; ``count`` is ``(label,)``.  Sorted by label unless ``labels`` are given.
            ``count`` and ``valid`` are int64, ``min`` and ``max`` have the image's dtype, the others are
            float64.  For dask input the result is lazy; without ``labels`` the mask alone is read
            at once, to learn which labels there are.  Two coordinates without dims say what `rollup` needs to know:
            ``ddof``, beside ``var`` and ``std``, and ``skipna``, whether NaN pixels may have been left out, which is
            False for an image of integers.

        Warns
        -----
        UserWarning
            The mask has a time dim, so that labels are measured over all times without ``per``; it is bool, or has only
            the values 0 and 255, and has several components, which are one label; its labels lie among each other as
            grey values do, so that image and mask may be swapped, which is not looked into if ``labels`` are given; or
            a percentile such as ``p0.95`` is asked for, which is less than the first.

        Raises
        ------
        TypeError
            The mask does not hold integers, or the image or the weights no numbers.
        ValueError
            Dims, sizes or coordinates do not match, the dim ``label`` is taken, ``per`` names no dims of the mask or
            all of them, a statistic or engine is unknown, flox cannot run an Aggregation, or ``labels`` repeat; weights
            are negative (of lazy ones this shows when they are computed), or ``ddof`` is given with them; ``align`` is
            unknown, or a dim lacks coordinates that it needs.

        Notes
        -----
        The statistics are:

        {statistics}

        Beside these there are:

        {more}

        ``median``, ``mode`` and percentiles, such as ``p95``, bring all pixels of an object to one block, or count the
        pixels of every value where an image in blocks has eight bits and this takes little memory.  The others
        of the second list, and Aggregations, are run by flox, whatever the engine.

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
