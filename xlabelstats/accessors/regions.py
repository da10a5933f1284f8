"""``.labels`` of an array: where the pixels of every label lie, and region properties."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import xarray as xr

from xlabelstats.accessors.arguments import mask_or_names
from xlabelstats.accessors.docs import documented
from xlabelstats.accessors.measuring import MeasureCalls
from xlabelstats.accessors.types import Labels, Mask, Per
from xlabelstats.catalogue import FURTHER_PROPERTIES, PROPERTIES
from xlabelstats.labels.regionprops import regionprops
from xlabelstats.multiscale import as_array
from xlabelstats.names import describe

REGION_PROPERTIES = ("area", "bbox", "centroid")

# What `regionprops` has beside the properties of scikit-image.
FURTHER = {name: entry for name, entry in FURTHER_PROPERTIES.items() if not entry.whole}


class RegionCalls(MeasureCalls):
    """The calls of `LabelsAccessor` that measure the place and shape of every label."""

    @documented(MeasureCalls.aggregate, take=())
    def center_of_mass(
        self,
        weights: Mask | None = None,
        *,
        units: str = "coords",
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        align: str | None = None,
    ) -> xr.DataArray:
        """Mean position of the pixels of every label of a mask, plain or weighted by an image.

        Parameters
        ----------
        weights : DataArray, optional
            An image: its values are the weights of the pixels.  It is read once, and its other dims are kept.
        units : {"coords", "pixel"}, default "coords"
            Positions in the units of the coordinates, where there are any (they may be unevenly spaced); or indices of
            pixels.
        labels : int or sequence of int, optional
            Measure these labels, in this order; the mask is not searched for labels first.  A label that does not occur
            gets NaN.

        Returns
        -------
        DataArray
            Dims ``(label, *other, axis)``; the coordinate ``axis`` has the names of the mask's dims.  Lazy for dask
            input.  In pixels, and along dims without coordinates, the plain mean is exact but for one rounding, for
            every chunking.

        Raises
        ------
        ValueError
            ``units`` is neither of the two, or a coordinate holds no numbers; else as `aggregate`.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 7, 7], [0, 7, 7]], dims=("y", "x"), coords={"x": [0.0, 0.5, 1.0]})
        >>> mask.labels.center_of_mass().values
        array([[0.5 , 0.75]])
        >>> mask.labels.center_of_mass(units="pixel").values
        array([[0.5, 1.5]])
        """
        from xlabelstats.labels.center_of_mass import center_of_mass

        return center_of_mass(
            self._array, as_array(weights), units=units, labels=labels, background=background, per=per, align=align
        )

    @describe(properties=PROPERTIES, further=FURTHER)
    @documented(MeasureCalls.aggregate, MeasureCalls.measure, take=())
    def regionprops(
        self,
        mask: Mask | str | Iterable[str] | None = None,
        properties: str | Iterable[str] | None = None,
        *,
        spacing: Any = None,
        units: str = "coords",
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        align: str | None = None,
    ) -> xr.Dataset:
        """Region properties of every label, with scikit-image's names, definitions and values.

        Parameters
        ----------
        mask : DataArray of integers, optional
            The mask.  Leave it out if you call this on the mask itself, without an image; the names may then come
            first: ``mask.labels.regionprops("area")``.  2-D or 3-D.
        properties : str or iterable of str, optional
            Any of the properties below: those that merge across blocks.  By default area, bbox and centroid.
        spacing : float, sequence or mapping of dim to float, optional
            The distance between neighbouring pixels.  By default it comes from the coordinates, which must be evenly
            spaced; without coordinates it is 1.
        labels : int or sequence of int, optional
            Measure these labels, in this order; the mask is not searched for labels first.  A label that does not occur
            gets area 0, and NaN elsewhere, so ``bbox`` is float64.

        Returns
        -------
        Dataset
            One variable per property, dims ``(label, ...)``: vectors have the dim ``axis``, tensors also ``axis_``,
            ``bbox`` is ``(label, bound, axis)``, eigenvalues ``(label, component)``, moments have ``order_y``,
            ``order_x``, ..., Hu moments ``hu``.  Properties of an image keep its other dims, after ``label``.  Lazy for
            dask input.

        Raises
        ------
        ValueError
            A property does not exist, needs an image, or needs a whole object in one block (such as
            ``solidity``); the coordinates are not evenly spaced; the mask is not 2-D or 3-D.
        NotImplementedError
            The property is not defined for a mask of so many dims, or for this spacing.

        Notes
        -----
        Positions are in coordinate units if the spacing comes from the coordinates, and then ``centroid`` includes the
        coordinate of the first pixel.  With ``spacing=``, or in pixels, they count from pixel 0, as in scikit-image.
        NaN pixels make a label's intensities NaN, also in `measure` with ``skipna=True``; the statistics ``mean``,
        ``min``, ``max`` and ``std`` leave NaN pixels out.

        The properties are these; in 3-D ``area`` is a volume:

        {properties}

        scikit-image does not have these:

        {further}

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 7, 7, 7], [0, 7, 7, 7]], dims=("y", "x"))
        >>> shapes = mask.labels.regionprops(("area", "bbox", "eccentricity"))
        >>> shapes.labels.to_dataframe().round(3).T
        label           7
        area          6.000
        bbox_min_y    0.000
        bbox_min_x    1.000
        bbox_max_y    2.000
        bbox_max_x    4.000
        eccentricity  0.791
        """
        image, mask, names = mask_or_names(self._array, mask, properties, REGION_PROPERTIES)
        return regionprops(
            image, mask, names, spacing=spacing, units=units, labels=labels, background=background, per=per, align=align
        )
