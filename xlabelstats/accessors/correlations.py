"""``.labels`` of an image: how its channels go together within every label."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import xarray as xr

from xlabelstats.accessors.docs import documented
from xlabelstats.accessors.shortcuts import ShortcutCalls
from xlabelstats.accessors.statistics import StatisticsCalls
from xlabelstats.accessors.types import Labels, Mask, Per
from xlabelstats.catalogue import CORRELATIONS
from xlabelstats.multiscale import as_array
from xlabelstats.names import describe


class CorrelationCalls(ShortcutCalls):
    """The call of `LabelsAccessor` that compares channels."""

    @describe(statistics=CORRELATIONS)
    @documented(StatisticsCalls.aggregate, take=("Warns",))
    def correlation(
        self,
        mask: Mask,
        dim: Hashable = "c",
        stats: str | Iterable[str] = ("pearson",),
        *,
        threshold: float | None = None,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        skipna: bool | None = None,
        align: str | None = None,
    ) -> xr.Dataset:
        """Compare every pair of channels of an image within every label: correlation and colocalisation.

        Parameters
        ----------
        dim : hashable, default "c"
            The dim of the image along which the channels lie.  The mask lacks it.
        stats : str or iterable of str, default "pearson"
            Any of the statistics below.
        threshold : float, optional
            A fraction, from 0 to 1, of a channel's largest pixel in an object; pixels that reach it count as above the
            threshold.  By default 0.15 for ``manders`` and ``rwc``, and no threshold for ``overlap``, ``k1`` and
            ``k2``; the others never have one.
        labels : int or sequence of int, optional
            Measure these labels, in this order; the mask is not searched for labels first.  A label that does not occur
            gets NaN.
        skipna : bool, optional
            Leave out of every pair of channels the pixels where either is NaN (the default), or let them make the
            pair's values NaN.

        Returns
        -------
        Dataset
            One variable per statistic, float64, dims ``(label, *other, c, c_)``: the first channel and the second, both
            with the coordinates of ``c``.  ``pearson``, ``covariance`` and ``overlap`` do not depend on the order of
            the two channels, the others do.  Lazy for dask input; without ``labels`` only the mask is read immediately,
            to learn which labels there are.

        Raises
        ------
        TypeError
            The mask does not hold integers, or the image does not hold numbers.
        ValueError
            The image has no such ``dim``, or it is one of the mask's; a statistic is unknown; ``threshold`` is not
            from 0 to 1; else as `aggregate`.

        Notes
        -----
        The statistics are:

        {statistics}

        Without a threshold, the first six are collected in one read of the image and merged across blocks.  Thresholds
        need all pixels of an object; for these the object is brought into one block.  Either way all channels of
        a block are read together: a block of 1024 by 1024 pixels and 40 channels of 16 bits takes 80 MiB.

        Undefined values are NaN: the correlation with a constant channel, or a share of a sum that is 0.  The
        definitions are those of CellProfiler, which gives 0 where no pixel is above both thresholds, for an overlap
        too.  ``slope`` is that of the second channel on the first: ``sel(c="DAPI", c_="CD3")`` says how much CD3 goes
        up with one unit of DAPI.  ``covariance`` is divided by the number of pixels.

        References
        ----------
        .. [1] E. M. M. Manders, F. J. Verbeek, J. A. Aten (1993). Measurement of co-localization of objects in
           dual-colour confocal images. Journal of Microscopy 169(3), 375-382.
        .. [2] V. R. Singan et al. (2011). Dual channel rank-based intensity weighting for quantitative
           co-localization of microscopy images. BMC Bioinformatics 12, 407.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 1, 1, 1], [2, 2, 2, 2]], dims=("y", "x"))
        >>> image = xr.DataArray(
        ...     [[[9, 1, 2, 3], [4, 5, 6, 7]], [[9, 2, 4, 6], [4, 1, 2, 1]]],
        ...     dims=("c", "y", "x"),
        ...     coords={"c": ["DAPI", "CD3"]},
        ... )
        >>> result = image.labels.correlation(mask, stats=("pearson", "slope"))
        >>> result["pearson"].sel(c="DAPI", c_="CD3").values.round(3).tolist()
        [1.0, -0.73]
        >>> result["slope"].sel(c="DAPI", c_="CD3").values.round(3).tolist()
        [2.0, -0.8]
        """
        from xlabelstats.labels.correlation import correlation

        return correlation(
            self._array,
            as_array(mask),
            dim,
            stats,
            threshold=threshold,
            labels=labels,
            background=background,
            per=per,
            skipna=skipna,
            align=align,
        )
