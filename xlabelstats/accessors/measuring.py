"""``.labels.measure``: any measures of the catalogue in one table."""

from __future__ import annotations

from typing import Any

import xarray as xr

from xlabelstats.accessors.statistics import StatisticsCalls
from xlabelstats.accessors.types import Labels, Mask, Per
from xlabelstats.inputs import how_to_a_mask
from xlabelstats.multiscale import as_array


class MeasureCalls(StatisticsCalls):
    """The call of `LabelsAccessor` that measures whatever is named."""

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
    ) -> xr.Dataset:
        """Measure every label: statistics, quantiles and region properties in one table.

        Parameters
        ----------
        mask : DataArray of integers, optional
            The label of every pixel, if this is an image.  Without it this is the mask, and the measures come first:
            ``mask.labels.measure(("area", "solidity"))``.
        measures : str, tuple, `Measure`, or sequence of these
            Names of the catalogue, which `xlabelstats.measures` lists: ``("mean", "median", "p95", "area",
            "solidity", "centroid")``.  ``pNN`` is a percentile.  A measure with parameters is a pair of its name and
            these: ``("quantiles", {"q": [0.25, 0.75]})``.
        labels : int or sequence of int, optional
            Measure these labels, in this order.  A label that does not occur gets count, sum and area 0, and NaN
            elsewhere.
        background : bool, default False
            Measure label 0 too.  Does not matter when ``labels`` are given.
        per : str or sequence of str, optional
            Dims of the mask, such as ``"t"``: measure every label apart at every position along them.  The dim of the
            result is ``object`` in place of ``label``, with the coordinates ``t`` and ``label`` along it.  A label has
            a row where it occurs, or everywhere if ``labels`` are given.
        skipna : bool, optional
            Leave NaN pixels out (the default) or let them make the label's statistics and quantiles NaN.  Region
            properties of an image, such as ``intensity_mean`` and ``centroid_weighted``, are those of scikit-image,
            which NaN pixels make NaN in any case; ``mean``, ``min``, ``max`` and ``std`` leave them out.
        ddof : int, default 0
            Delta degrees of freedom of ``var`` and ``std``.
        spacing : float, sequence or mapping of dim to float, optional
            The distance of neighbouring pixels.  By default from the coordinates, which must be evenly spaced where a
            measure needs lengths; 1 where there are none.

        Returns
        -------
        Dataset
            A variable per measure.  What is measured in the image is ``(label, *other, *dims)``, ``other`` being
            the image's dims that the mask lacks; what the mask alone tells is ``(label, *dims)``.  Lazy for dask
            input; without ``labels`` the mask alone is read at once, to learn which labels there are.

        Raises
        ------
        TypeError
            The mask does not hold integers, the image no numbers, or a measure is no name.
        ValueError
            A measure or a parameter is unknown, or needs an image; dims, sizes or coordinates do not match; the
            coordinates are not evenly spaced.
        NotImplementedError
            A measure is not defined in 3-D, or for this spacing.

        Notes
        -----
        All measures that can be added up over the parts of an object are collected in one read of image and mask.
        Those that need all pixels of an object at once, such as medians, take one more.

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
        if measures is None:
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
        )
