"""``.instances`` of an array: signatures and docs of the calls, each handed on to the room that does it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.accessors.plots import WindowPlots
from xlabelstats.accessors.types import Labels, Mask, Size
from xlabelstats.align import check_is_mask, how_to_a_mask, how_to_integers, is_array
from xlabelstats.multiscale import as_array
from xlabelstats.names import describe
from xlabelstats.objectprops import OBJECT_PROPERTIES

DECILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@xr.register_dataarray_accessor("instances")
class InstancesAccessor:
    """Work that needs each object of a mask whole, reached as ``array.instances``.

    The calls that take a mask belong to an image, those that take none to the mask itself; image and
    mask are as for `LabelsAccessor`.  Objects may cross any number of blocks of dask arrays: each is
    brought whole to the block that its centroid lies in, and dealt with there, once.  Where an object
    lies is read from the mask at once; the rest is lazy for dask arrays.
    """

    def __init__(self, array: xr.DataArray) -> None:
        self._array = array

    @property
    def plot(self) -> WindowPlots:
        """Pictures of windows: ``windows["image"].instances.plot.gallery()``."""
        return WindowPlots(self._array)

    def windows(
        self,
        mask: Mask | Size = None,
        size: Size = None,
        *,
        labels: Labels = None,
        remove_background: bool = True,
        batch_size: int | None = None,
    ) -> xr.Dataset:
        """Cut a window of one size round every object: ``image.instances.windows(mask, 64)``.

        Parameters
        ----------
        mask : DataArray of integers, optional
            The mask, if this is an image.  Without it this is the mask: ``mask.instances.windows(64)``.
        size : int, mapping of dim to int, optional
            Pixels of the window along every dim of the mask, or per dim; along a dim that a mapping
            leaves out the window is the whole mask.  By default the smallest that holds every object whole.
        labels : int or sequence of int, optional
            Cut out these objects alone; only the blocks of the image that they need are read.
        remove_background : bool, default True
            Whether pixels of the window that are not the object's are 0, or left as they are.
        batch_size : int, optional
            The chunk along ``label``.  By default such that a chunk has about 16 MiB.  Not used for numpy
            arrays, which have no chunks.

        Returns
        -------
        Dataset
            ``image`` ``(label, *other, *window)``, ``other`` being the image's dims that the mask lacks, and
            ``mask`` ``(label, *window)``, which holds labels, both in their own dtypes; ``mask`` alone
            without an image.  The window dims are those of the mask, with offsets from the centre, in
            pixels, as coordinates.  For dask arrays it is lazy, and the labels come in the order of the
            blocks that own them; ``.sortby("label")`` sorts them.  For numpy arrays they are sorted, or in
            the order of ``labels``.

        Warns
        -----
        UserWarning
            Objects reach beyond their windows and are cropped: how many, and what size would do.

        Raises
        ------
        ValueError
            A label of ``labels`` does not occur, or a size is not positive; else as `LabelsAccessor.aggregate`.

        Notes
        -----
        The window of size d along a dim goes from ``centre - d // 2`` to, and without, ``centre - d // 2 + d``,
        with the centroid rounded to a pixel as centre (from halves to the even one).  It is 0 beyond the
        image's border.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 7, 7, 7], [2, 2, 2, 0]], dims=("y", "x"))
        >>> image = xr.DataArray([[9, 1, 2, 3], [4, 5, 6, 9]], dims=("y", "x"))
        >>> windows = image.instances.windows(mask, size=3)
        >>> windows["image"].sel(label=7).values
        array([[0, 0, 0],
               [1, 2, 3],
               [0, 0, 0]])
        """
        from xlabelstats.windows import windows

        image, mask, size = self._with_mask(mask, size, "size", "windows")
        return windows(image, mask, size, labels=labels, remove_background=remove_background, batch_size=batch_size)

    def statistics(
        self,
        mask: Mask | Callable[..., Any],
        fn: Callable[..., Any] | None = None,
        *,
        dims: Mapping[str, Any],
        size: Size = None,
        fn_kwargs: Mapping[str, Any] | None = None,
        dtype: Any = np.float32,
        batch_size: int | None = None,
        labels: Labels = None,
        background: bool = False,
    ) -> xr.DataArray:
        """Call a function of your own with every object: ``image.instances.statistics(mask, fn, dims={"area": 1})``.

        Parameters
        ----------
        mask : DataArray of integers, optional
            The mask, if this is an image.  Without it this is the mask: ``mask.instances.statistics(fn, ...)``.
        fn : callable
            With an image it gets the pixels of one object, ``(channel, pixel)`` in the image's dtype and order,
            and returns ``(channel, n)``.  Channels are the image's other dims, flattened; none counts as one.
            If these are chunked, it is called for every chunk of them.  With a mask alone it gets the
            object's bounding box ``(*window)``, in which the object's pixels hold its label and others 0, and
            returns ``(n,)`` or ``(1, n)``.
        dims : mapping of name to size
            The dims of what ``fn`` returns beside the channels, such as ``{"statistic": 2}``; a sequence in place of a
            size names the elements: ``{"statistic": ["low", "high"]}``.  Empty for one number per channel.
        size : int, mapping of dim to int, optional
            Cut objects to a window first, as `windows` does.  By default they are whole.  The row of an object
            without a pixel in its window is NaN.
        fn_kwargs : mapping, optional
            Passed on to ``fn``.
        dtype : numpy.dtype, default float32
            Of the result.
        batch_size : int, optional
            The chunk along ``label`` of a lazy result.
        labels, background
            As in `LabelsAccessor.aggregate`; the row of a label that does not occur is NaN.  Where a row would be
            NaN, an integer ``dtype`` is a ValueError.

        Returns
        -------
        DataArray
            Dims ``(label, *other, *dims)``, sorted by label unless ``labels`` are given; lazy for dask arrays.

        Warns
        -----
        UserWarning
            Objects reach beyond the windows of the given size: how many, and what size would do.

        Raises
        ------
        ValueError
            ``fn`` returned another shape than declared.  What ``fn`` raises is passed on, with a note that names
            the label.
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
        """
        from xlabelstats.features import statistics

        image, mask, fn = self._with_mask(mask, fn, "fn", "statistics")
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
        )

    def quantiles(
        self,
        mask: Mask,
        q: Any = DECILES,
        *,
        method: str = "linear",
        skipna: bool | None = None,
        labels: Labels = None,
        background: bool = False,
    ) -> xr.DataArray:
        """Quantiles of the pixels of every object, all of them.

        Parameters
        ----------
        mask : DataArray of integers
            The label of every pixel.
        q : float or sequence of float, default 0.1, 0.2, ... 0.9
            From 0 to 1.  A single number leaves the dim ``quantile`` out and names the result: ``p75`` for 0.75.
        method : {"linear", "lower", "higher", "midpoint", "nearest"}, default "linear"
            What to make of a quantile between two pixels, as in `numpy.quantile`; but where one of the two is
            infinite, it is that and not NaN.
        skipna : bool, optional
            Leave NaN pixels out (the default) or let them make the label's quantiles NaN.
        labels, background
            As in `LabelsAccessor.aggregate`; the row of a label that does not occur is NaN.

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
        The pixels of an object are sorted, in the block that owns it, and those at the positions next to
        ``q * (n - 1)`` interpolated, as definition 7 of Hyndman & Fan (1996) does for ``linear``.

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
        from xlabelstats.features import quantiles

        return quantiles(
            self._array, as_array(mask), q, method=method, skipna=skipna, labels=labels, background=background
        )

    def median(
        self, mask: Mask, *, skipna: bool | None = None, labels: Labels = None, background: bool = False
    ) -> xr.DataArray:
        """Median of the pixels of every object, ``(label, *other)``; see `quantiles`."""
        from xlabelstats.features import median

        return median(self._array, as_array(mask), skipna=skipna, labels=labels, background=background)

    def featurize(
        self,
        mask: Mask | Callable[..., Any],
        model: Callable[..., Any] | None = None,
        *,
        size: Size,
        n_features: int,
        labels: Labels = None,
        remove_background: bool = True,
        model_kwargs: Mapping[str, Any] | None = None,
        batch_size: int | None = None,
        dtype: Any = np.float32,
    ) -> xr.DataArray:
        """Turn the window of every object into features by a model, batch by batch.

        Parameters
        ----------
        mask : DataArray of integers, optional
            The mask, if this is an image.  Without it this is the mask: ``mask.instances.featurize(model, ...)``.
        model : callable
            Gets windows ``(b, channel, *window)``, in the image's dtype (the mask's without an image, as one
            channel), and returns ``(b, n_features)``.  Channels are the image's other dims, flattened; none
            counts as one.  With dask's threads it is called from several of them.
        size : int, mapping of dim to int, or None
            Of the windows, as in `windows`.
        n_features : int
            The number of features.
        labels, remove_background
            As in `windows`.
        model_kwargs : mapping, optional
            Passed on to the model.
        batch_size : int, optional
            Windows per call, and labels per chunk of the result; the last batch may be shorter.  By default such
            that a batch has about 16 MiB.
        dtype : numpy.dtype, default float32
            Of the result.

        Returns
        -------
        DataArray
            Dims ``(label, feature)``; lazy for dask arrays, in the order of `windows`.

        Warns
        -----
        UserWarning
            As `windows`.

        Raises
        ------
        ValueError
            The model returned another shape than declared; else as `windows`.  What the model raises is
            passed on, with a note that names the labels of the batch.
        TypeError
            The model cannot be called, or returned what ``dtype`` cannot hold.

        Examples
        --------
        >>> import numpy as np
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[0, 7, 7, 7], [2, 2, 2, 0]], dims=("y", "x"))
        >>> image = xr.DataArray([[9, 1, 2, 3], [4, 5, 7, 9]], dims=("y", "x"))
        >>> def model(batch):  # (b, c, y, x)
        ...     return np.stack([batch.mean(axis=(1, 2, 3)), batch.max(axis=(1, 2, 3))], axis=1)
        >>> image.instances.featurize(mask, model, size=3, n_features=2).sel(label=7).values
        array([0.6666667, 3.       ], dtype=float32)
        """
        from xlabelstats.featurize import featurize

        image, mask, model = self._with_mask(mask, model, "model", "featurize")
        return featurize(
            image,
            mask,
            model,
            size=size,
            n_features=n_features,
            labels=labels,
            remove_background=remove_background,
            model_kwargs=model_kwargs,
            batch_size=batch_size,
            dtype=dtype,
        )

    @describe(properties=OBJECT_PROPERTIES)
    def regionprops(
        self,
        properties: str | Iterable[str] = tuple(OBJECT_PROPERTIES),
        *,
        spacing: Any = None,
        labels: Labels = None,
        background: bool = False,
    ) -> xr.Dataset:
        """Region properties of a mask's objects that cannot be merged across blocks, by scikit-image.

        `LabelsAccessor.regionprops` has the others.

        Parameters
        ----------
        properties : str or iterable of str
            Any of the properties below; all by default, which needs a 2-D mask.
        spacing : float, sequence or mapping of dim to float, optional
            The distance of neighbouring pixels.  By default from the coordinates, which must be evenly
            spaced; 1 where there are none.
        labels, background
            As in `LabelsAccessor.aggregate`; the row of a label that does not occur is NaN.

        Returns
        -------
        Dataset
            One variable ``(label,)`` per property, float64, ``euler_number`` int64 unless ``labels`` are given; lazy
            for a dask mask.

        Raises
        ------
        ValueError
            A property does not exist or is not for this call; the coordinates are not evenly spaced; the mask
            is not 2-D or 3-D.
        NotImplementedError
            scikit-image does not define the property in 3-D, or for this spacing.
        ModuleNotFoundError
            scikit-image is not installed.

        Notes
        -----
        Each object is given to scikit-image in its own bounding box.  The properties are:

        {properties}

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> ring = xr.DataArray([[7, 7, 7], [7, 0, 7], [7, 7, 7]], dims=("y", "x"))
        >>> found = ring.instances.regionprops(("area_filled", "euler_number"))
        >>> found["area_filled"].item(), found["euler_number"].item()
        (9.0, 0)
        """
        from xlabelstats.objectprops import object_properties

        return object_properties(self._array, properties, spacing=spacing, labels=labels, background=background)

    def radii_and_axes(self, *, units: str = "coords", labels: Labels = None, background: bool = False) -> xr.Dataset:
        """Radii and principal axes of every label of a mask, exact for objects of any size.

        Parameters
        ----------
        units : {"coords", "pixel"}, default "coords"
            Lengths in the units of the coordinates, which must be evenly spaced, where there are any; or
            in pixels.
        labels, background
            As in `LabelsAccessor.aggregate`.

        Returns
        -------
        Dataset
            ``radius`` ``(label, component)``: the standard deviation of pixel position along each
            principal axis (divided by n - 1), largest first.  ``axis_vector`` ``(label, component, axis)``: unit
            vectors, of which the entry of largest magnitude is positive.  A label of fewer pixels than
            dims has radius 0 and the unit vectors of the mask's dims.  Lazy for dask input.

        Raises
        ------
        ValueError
            ``units`` is neither of the two, or the coordinates are not evenly spaced.

        Notes
        -----
        Square roots of the eigenvalues, and the eigenvectors, of the sample covariance of pixel
        positions, which blocks contribute to and merge: no window is cut.

        Examples
        --------
        >>> import xarray as xr
        >>> import xlabelstats
        >>> mask = xr.DataArray([[7, 7, 7, 7], [7, 7, 7, 7]], dims=("y", "x"))
        >>> mask.instances.radii_and_axes()["radius"].values.round(3)
        array([[1.195, 0.535]])
        """
        from xlabelstats.geometry import radii_and_axes

        return radii_and_axes(self._array, units=units, labels=labels, background=background)

    def _with_mask(self, mask: Any, what: Any, name: str, call: str) -> tuple[xr.DataArray | None, xr.DataArray, Any]:
        """The image, the mask and what comes after it, told apart by whether a mask was given."""
        mask = as_array(mask)
        if isinstance(mask, xr.DataArray):
            return self._array, mask, what
        if mask is not None and what is not None:
            raise TypeError(
                f"the first argument is a mask, a DataArray, or without one {name}; it is {type(mask).__name__}, and "
                f"{name} is given too. If it is the mask, {how_to_a_mask(mask)}"
            )
        if is_array(mask):
            check_is_mask(mask)
        if self._array.dtype.kind not in "iub":
            raise TypeError(
                f"this array holds {self._array.dtype}. If it is the image, the mask comes first: "
                f"image.instances.{call}(mask, ...); if it is the mask, {how_to_integers(self._array)}"
            )
        return None, self._array, what if mask is None else mask


@xr.register_dataset_accessor("instances")
class InstancesDatasetAccessor:
    """Pictures of the windows that `InstancesAccessor.windows` gives, reached as ``windows.instances``."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    @property
    def plot(self) -> WindowPlots:
        """Pictures of windows: ``windows.instances.plot.gallery()``."""
        return WindowPlots(self._dataset)
