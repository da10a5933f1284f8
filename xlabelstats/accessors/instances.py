"""``.instances`` of an array: signatures and docs of the calls, each passed on to the module that does it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xlabelstats.accessors.arguments import handing_on, mask_or_argument, mask_or_names
from xlabelstats.accessors.docs import documented
from xlabelstats.accessors.object_quantiles import ObjectQuantileCalls
from xlabelstats.accessors.polygons import PolygonCalls
from xlabelstats.accessors.types import Labels, Mask, Per, Size
from xlabelstats.accessors.windows import WindowCalls
from xlabelstats.catalogue import OBJECT_PROPERTIES
from xlabelstats.names import describe

if TYPE_CHECKING:
    from xlabelstats.accessors.plots import WindowPlots


@xr.register_dataarray_accessor("instances")
class InstancesAccessor(PolygonCalls):
    """Work that needs all pixels of an object at once, reached as ``array.instances``.

    Calls that take a mask are made on an image, the others on the mask itself; image and mask are as for
    `LabelsAccessor`.  An object may lie in any number of blocks of dask arrays.  It is brought into the block that its
    centroid lies in, and measured there, once.  The mask is read immediately, to learn where the objects lie; the rest
    is lazy for dask arrays.
    """

    @property
    def plot(self) -> WindowPlots:
        """Pictures of windows: ``windows["image"].instances.plot.gallery()``."""
        from xlabelstats.accessors.plots import WindowPlots

        return WindowPlots(self._array)

    @documented(WindowCalls.windows, take=())
    @handing_on("fn", "fn_kwargs")
    def statistics(
        self,
        mask: Mask | Callable[..., Any],
        fn: Callable[..., Any] | None = None,
        *,
        dims: Mapping[str, Any] | None = None,
        size: Size = None,
        fn_kwargs: Mapping[str, Any] | None = None,
        dtype: Any = np.float32,
        batch_size: int | None = None,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        align: str | None = None,
    ) -> xr.DataArray:
        """Call a function of your own with every object: ``image.instances.statistics(mask, fn)``.

        Parameters
        ----------
        mask : DataArray of integers, optional
            The mask.  Leave it out if you call this on the mask itself: ``mask.instances.statistics(fn, ...)``.
        fn : callable
            With an image it gets the pixels of one object, ``(channel, pixel)`` in the image's dtype and order, and
            returns ``(channel, n)``.  Channels are the image's other dims, flattened; without any there is one channel,
            and ``(n,)`` is taken too.  In small integers a difference of channels wraps: convert pixels first, as by
            ``pixels.astype(float)``.  All channels come together, whatever the chunks, and so do all times if the mask
            has none: memory must hold all of a few blocks.  To have one at a time, call this on
            ``image.sel(c=["DNA"])``.  With as many numbers as channels ``fn`` is called once more, with the first
            channel twice, to see that rows are channels.  With only a mask it gets the
            object's bounding box ``(*window)``, in which the object's pixels hold its label and others 0, and returns
            ``(n,)`` or ``(1, n)``.
        dims : mapping of name to size, optional
            The dims of what ``fn`` returns, besides the channels, such as ``{"statistic": 2}``; a sequence in place of
            a size names the elements: ``{"statistic": ["low", "high"]}``.  By default none, ``{}``: one number per
            channel.
        size : int, mapping of dim to int, optional
            Cut objects to a window first, as `windows` does.  By default they are whole.  The row of an object
            without a pixel in its window is NaN.
        fn_kwargs : mapping, optional
            Further arguments that ``fn`` gets.
        dtype : numpy.dtype, default float32
            Of the result.
        batch_size : int, optional
            The chunk along ``label`` of a lazy result.
        labels : int or sequence of int, optional
            Only these objects, in this order.  The row of a label that does not occur is NaN; if ``dtype`` is an
            integer, this is a ValueError.
        background : bool, default False
            Whether label 0 counts as an object.  Does not matter when ``labels`` are given.
        per : str or sequence of str, optional
            Dims of the mask, such as ``"t"``: measure every label by itself at each position along them.  The result
            has the dim ``object`` in place of ``label``, with the coordinates ``t`` and ``label``.  A label has a row
            where it occurs, or at all positions if ``labels`` are given.

        Returns
        -------
        DataArray
            Dims ``(label, *other, *dims)``, sorted by label unless ``labels`` are given; lazy for dask arrays.  It is
            called ``statistics``; ``.rename("spread")`` gives it a name of its own, with which it merges with others.

        Warns
        -----
        UserWarning
            Objects reach beyond the windows: the warning says how many, and which size would hold all.

        Raises
        ------
        ValueError
            ``fn`` returned another shape than declared, or is seen to have channels and numbers swapped.  What ``fn``
            raises is passed on, with a note that names the label.
        TypeError
            ``fn`` cannot be called, or returned what ``dtype`` cannot hold.

        Examples
        --------
        >>> import numpy as np
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 7, 7, 7], [2, 2, 2, 0]], dims=("y", "x"))
        >>> image = xr.DataArray([[9, 1, 2, 3], [4, 5, 7, 9]], dims=("y", "x"))
        >>> def spread(pixels):
        ...     return np.stack([np.ptp(pixels, axis=1), pixels.mean(axis=1)], axis=1)
        >>> found = image.instances.statistics(mask, spread, dims={"statistic": ["range", "mean"]})
        >>> found.sel(label=2).values
        array([3.       , 5.3333335], dtype=float32)
        >>> def largest(pixels):
        ...     return pixels.max(axis=1)
        >>> maximum = image.instances.statistics(mask, largest).rename("largest")
        >>> list(xr.merge([maximum, found.rename("spread")]))
        ['largest', 'spread']
        """
        from xlabelstats.instances.functions import statistics

        image, mask, fn = mask_or_argument(self._array, mask, fn, "fn", "statistics")
        return statistics(
            image,
            mask,
            fn,
            dims=dims,
            size=size,
            fn_kwargs=fn_kwargs,
            dtype=dtype,
            batch_size=batch_size,
            labels=labels,
            background=background,
            per=per,
            align=align,
        )

    @describe(properties=OBJECT_PROPERTIES)
    @documented(ObjectQuantileCalls.quantiles, take=())
    def regionprops(
        self,
        mask: Mask | str | Iterable[str] | None = None,
        properties: str | Iterable[str] | None = None,
        *,
        spacing: Any = None,
        labels: Labels = None,
        background: bool = False,
        per: Per = None,
        align: str | None = None,
    ) -> xr.Dataset:
        """Region properties of outlines, hulls and holes, such as ``solidity``, as scikit-image has them.

        Most of them need all pixels of an object; for these the object is brought into one block.

        The call also takes the properties of `LabelsAccessor.regionprops`, which merge across blocks.

        Parameters
        ----------
        mask : DataArray of integers, optional
            The mask.  Leave it out if you call this on the mask itself; the names may then come first:
            ``mask.instances.regionprops("solidity")``.  Properties such as ``intensity_mean`` need an image.
        properties : str or iterable of str, optional
            Any of the properties below and of `LabelsAccessor.regionprops`.  By default all below that are defined for
            the number of dims of the mask.
        spacing : float, sequence or mapping of dim to float, optional
            The distance between neighbouring pixels.  By default it comes from the coordinates, which must be evenly
            spaced; without coordinates it is 1.

        Returns
        -------
        Dataset
            One variable per property, in the order asked for: those below ``(label,)``, float64, ``euler_number`` int64
            unless ``labels`` are given; the others as `LabelsAccessor.regionprops` gives them.  Lazy for dask input.

        Raises
        ------
        ValueError
            A property does not exist, needs an image, or is not a number per object; the coordinates are not evenly
            spaced; the mask is not 2-D or 3-D.
        NotImplementedError
            The property is not defined for a mask of so many dims, or for this spacing.
        ModuleNotFoundError
            scikit-image is not installed: hulls and filled areas of 3-D masks need it.

        Warns
        -----
        UserWarning
            All pixels of a 3-D object lie in one plane, so that it has no convex hull: ``area_convex`` is 0,
            ``solidity`` inf and ``feret_diameter_max`` NaN.  The warning names the label.

        Notes
        -----
        The values are those of scikit-image for the object in its own bounding box.  Hulls and filled areas of 3-D
        masks are measured by scikit-image itself, all others by this package.  Perimeters and Euler numbers merge
        across blocks, so `LabelsAccessor.regionprops` has them too.  The properties are:

        {properties}

        Beside these there is ``num_components``, which scikit-image does not have.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> ring = xr.DataArray([[7, 7, 7], [7, 0, 7], [7, 7, 7]], dims=("y", "x"))
        >>> found = ring.instances.regionprops(("area_filled", "euler_number"))
        >>> found["area_filled"].item(), found["euler_number"].item()
        (9.0, 0)
        """
        from xlabelstats.labels.regionprops import object_properties

        image, mask, names = mask_or_names(self._array, mask, properties, None)
        return object_properties(
            image, mask, names, spacing=spacing, labels=labels, background=background, per=per, align=align
        )

    @documented(ObjectQuantileCalls.quantiles, take=())
    def radii_and_axes(
        self, *, units: str = "coords", labels: Labels = None, background: bool = False, per: Per = None
    ) -> xr.Dataset:
        """Radii and principal axes of every label of a mask, exact for objects of any size.

        Parameters
        ----------
        units : {"coords", "pixel"}, default "coords"
            Lengths in the units of the coordinates, which must be evenly spaced, where there are any; or in pixels.

        Returns
        -------
        Dataset
            ``radius`` ``(label, component)``: the standard deviation of pixel position along each principal axis
            (divided by n - 1), largest first.  ``axis_vector`` ``(label, component, axis)``: unit vectors, of which the
            entry of largest magnitude is positive.  A label of fewer pixels than dims has radius 0 and the unit vectors
            of the mask's dims.  Lazy for dask input.

        Raises
        ------
        ValueError
            ``units`` is neither of the two, or the coordinates are not evenly spaced.

        Notes
        -----
        Radii are the square roots of the eigenvalues of the sample covariance of pixel positions, and axes are its
        eigenvectors.  The covariance is merged across blocks; no window is cut.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[7, 7, 7, 7], [7, 7, 7, 7]], dims=("y", "x"))
        >>> mask.instances.radii_and_axes()["radius"].values.round(3)
        array([[1.195, 0.535]])
        """
        from xlabelstats.labels.radii import radii_and_axes

        return radii_and_axes(self._array, units=units, labels=labels, background=background, per=per)
