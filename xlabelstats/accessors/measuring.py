"""``.labels.measure``: any measures of the catalogue in one table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import xarray as xr

from xlabelstats.accessors.arguments import of_measures
from xlabelstats.accessors.correlations import CorrelationCalls
from xlabelstats.accessors.docs import documented
from xlabelstats.accessors.statistics import StatisticsCalls
from xlabelstats.accessors.types import Labels, Mask, Per
from xlabelstats.inputs import how_to_a_mask
from xlabelstats.multiscale import as_array


class MeasureCalls(CorrelationCalls):
    """The call of `LabelsAccessor` that measures whatever is named."""

    @of_measures
    def measure(
        self,
        mask: Mask | Any = None,
        measures: Any = None,
        *,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        skipna: bool | None = None,
        ddof: int = 0,
        spacing: Any = None,
        units: str = "coords",
        weights: Mask | None = None,
        align: str | None = None,
        shells: float | Iterable[float] | None = None,
        side: str = "outside",
    ) -> xr.Dataset:
        """Measure every label: statistics, quantiles and region properties in one table.

        Parameters
        ----------
        mask : DataArray of integers, optional
            The label of every pixel.  Leave it out if you call this on the mask itself; the measures then come first:
            ``mask.labels.measure(("area", "solidity"))``.
        measures : str, tuple, `Measure`, or sequence of these
            Names of measures; `xlabelstats.measures` lists all of them: ``("mean", "median", "p95", "area", "solidity",
            "centroid")``.  ``pNN`` is a percentile.  A measure with parameters is a pair of its name and a dict of the
            parameters: ``("quantiles", {"q": [0.25, 0.75]})``.
        labels : int or sequence of int, optional
            Measure these labels, in this order.  A label that does not occur gets count, sum and area 0, and NaN
            elsewhere.
        background : bool, default False
            Measure label 0 too.  Does not matter when ``labels`` are given.
        per : str or sequence of str, optional
            Dims of the mask, such as ``"t"``: measure every label by itself at each position along them.  The result
            has the dim ``object`` in place of ``label``, with the coordinates ``t`` and ``label``.  A label has a row
            where it occurs, or at all positions if ``labels`` are given.
        skipna : bool, optional
            Leave NaN pixels out (the default) or let them make the label's statistics and quantiles NaN.  Region
            properties of an image, such as ``intensity_mean`` and ``centroid_weighted``, are defined as in
            scikit-image: NaN pixels make them NaN in any case.  ``mean``, ``min``, ``max`` and ``std`` leave NaN pixels
            out.
        ddof : int, default 0
            Delta degrees of freedom of ``var`` and ``std``: they divide by ``valid - ddof``.
        spacing : float, sequence or mapping of dim to float, optional
            The distance between neighbouring pixels.  By default it comes from the coordinates, which must be evenly
            spaced if a measure needs lengths; without coordinates it is 1.
        units : {"coords", "pixel"}, default "coords"
            Lengths and positions in the units of the coordinates, where there are any; or in pixels, whatever the
            coordinates are.
        weights : DataArray, optional
            The weight of every pixel, as in `aggregate`: the measures are then ``count``, ``sum``, ``mean``, ``var``,
            ``std`` and ``weight``, and by default all of these.
        align : {"nearest"}, optional
            For a mask on another grid with the same dims: every pixel of the image gets the label of the mask pixel
            that is nearest by coordinates, or of the one with the smaller index if two are equally near.  Pixels more
            than half a mask pixel outside the mask get 0.  Labels that no pixel gets are left out.  By default
            different grids raise an error.
        shells : float or sequence of float, optional
            Measure rings of these widths in place of the objects.  The first ring begins at the object's edge, every
            further one where the ring before it ends.  Widths are in the units of the coordinates, or in pixels.  Rings
            do not reach into other objects, and a pixel near several objects belongs to the ring of the nearest one, as
            in `expand`.  Not possible with ``background``.
        side : {"outside", "inside"}, default "outside"
            Whether the rings lie around the objects, or inside them along their edge.

        Returns
        -------
        Dataset
            A variable per measure.  Measures of the image have the dims ``(label, *other, *dims)``, where ``other`` are
            the image's dims that the mask lacks; measures of the mask have ``(label, *dims)``.  Lazy for dask input;
            without ``labels`` only the mask is read immediately, to learn which labels there are.  With ``shells`` the
            dim ``shell`` comes after ``label``, and the coordinates ``inner`` and ``outer`` along it say how far from
            the edge each ring begins and ends.  Every label of the mask has all shells; one without a pixel has count,
            sum and area 0, and NaN elsewhere.

        Raises
        ------
        TypeError
            The mask does not hold integers, the image does not hold numbers, or a measure is not a name.
        ValueError
            A measure or a parameter is unknown, or needs an image; dims, sizes or coordinates do not match; the
            coordinates are not evenly spaced; ``range`` is missing for bins of a dask image of floats or of more than
            16 bits; a width in ``shells`` is not positive, or they are asked for label 0; ``side`` is neither of the
            two.
        NotImplementedError
            A measure is not defined in 3-D, or for this spacing.

        Notes
        -----
        All measures that can be added up over the parts of an object are collected in one read of image and mask.
        Those that need all pixels of an object at once, such as hulls, need one more read.  So do quantiles, except for
        images of 8 bits in blocks: there the pixels of every value are counted, if that takes little memory.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 1, 1], [2, 2, 2]], dims=("y", "x"))
        >>> image = xr.DataArray([[9, 1, 3], [4, 5, 6]], dims=("y", "x"), name="DAPI")
        >>> image.labels.measure(mask, ("mean", "p50", "area")).labels.to_dataframe()
               mean  p50  area
        label
        1       2.0  2.0   2.0
        2       5.0  5.0   3.0

        The ring of one pixel around each object:

        >>> image = xr.DataArray([9, 1, 3, 4, 5, 6], dims="x")
        >>> mask = xr.DataArray([0, 0, 1, 1, 0, 0], dims="x")
        >>> image.labels.measure(mask, "mean", shells=1)["mean"].values
        array([[3.]])
        """
        from xlabelstats.labels.measure import measure

        mask = as_array(mask)
        if isinstance(mask, xr.DataArray):
            image, subject = self._array, mask
        elif mask is None or measures is None:
            image, subject, measures = None, self._array, mask if measures is None else measures
        else:
            raise TypeError(
                f"the first argument is a mask, a DataArray, not {type(mask).__name__}; {how_to_a_mask(mask)}"
            )
        if measures is None and weights is None:
            raise TypeError(
                'which measures? Give their names: image.labels.measure(mask, ("mean", "area")); '
                "xlabelstats.measures() lists them"
            )
        return measure(
            image,
            subject,
            measures,
            labels=labels,
            background=background,
            per=per,
            skipna=skipna,
            ddof=ddof,
            spacing=spacing,
            units=units,
            weights=as_array(weights),
            align=align,
            shells=shells,
            side=side,
        )

    @documented(StatisticsCalls.aggregate, take=("Warns",))
    def histogram(
        self,
        mask: Mask,
        bins: Any,
        *,
        range: tuple[float, float] | None = None,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        skipna: bool | None = None,
        align: str | None = None,
    ) -> xr.DataArray:
        """Histogram of the pixels of every label, with the same bins for all.

        Parameters
        ----------
        bins : int or sequence of float
            The number of bins of equal width, or the edges of the bins, from low to high.
        range : pair of float, optional
            The lower edge of the first bin, and the upper edge of the last.  By default, images of integers of up to 16
            bits get the range of their dtype, from its smallest number to one above its largest.  Other images get the
            range of their finite pixels; they must be in memory for this.
        labels : int or sequence of int, optional
            Measure these labels, in this order; the mask is not searched for labels first.  A label that does not occur
            gets 0 in every bin.
        skipna : bool, optional
            Has no effect: NaN pixels are in no bin.

        Returns
        -------
        DataArray
            Dims ``(label, *other, bin)``, int64, called ``histogram``; lazy for dask input.  The coordinates
            ``bin_left`` and ``bin_right`` along ``bin`` are the edges.  The bins are those of `numpy.histogram`: each
            includes its left edge, and only the last one its right edge.  Pixels below the first edge or above the last
            are not counted.

        Raises
        ------
        ValueError
            ``bins`` or ``range`` are not valid, or ``range`` is missing for a dask image whose dtype does not say it;
            else as `aggregate`.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 1, 1], [2, 2, 2]], dims=("y", "x"))
        >>> image = xr.DataArray([[9, 1, 3], [4, 5, 6]], dims=("y", "x"))
        >>> counts = image.labels.histogram(mask, 3, range=(0, 6))
        >>> counts.values
        array([[1, 1, 0],
               [0, 0, 3]])
        >>> counts["bin_left"].values
        array([0., 2., 4.])
        """
        from xlabelstats.labels.histogram import histogram

        return histogram(
            self._array,
            as_array(mask),
            bins,
            range=range,
            labels=labels,
            background=background,
            per=per,
            skipna=skipna,
            align=align,
        )
