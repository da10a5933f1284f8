"""``.instances`` of an array: windows of objects, and what a model makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.accessors.arguments import handing_on, mask_or_argument
from xlabelstats.accessors.base import Accessor
from xlabelstats.accessors.docs import documented
from xlabelstats.accessors.types import Labels, Mask, Per, Size


class WindowCalls(Accessor):
    """The calls of `InstancesAccessor` that cut windows."""

    def __init__(self, array: xr.DataArray) -> None:
        self._array = array

    def windows(
        self,
        mask: Mask | Size = None,
        size: Size = None,
        *,
        labels: Labels = None,
        per: Per = None,
        remove_background: bool = True,
        batch_size: int | None = None,
        align: str | None = None,
    ) -> xr.Dataset:
        """Cut a window of one size round every object: ``image.instances.windows(mask, 64)``.

        Parameters
        ----------
        mask : DataArray of integers, optional
            The mask.  Leave it out if you call this on the mask itself: ``mask.instances.windows(64)``.
        size : int, mapping of dim to int, optional
            Pixels of the window along every dim of the mask, or per dim; along a dim that a mapping leaves out, the
            window is as long as the mask.  By default the smallest size that holds every object whole.
        labels : int or sequence of int, optional
            Cut out only these objects; only the blocks of the image that they need are read.
        per : str or sequence of str, optional
            Dims of the mask, such as ``"t"``: cut out every label by itself at each position along them.  The result
            has the dim ``object`` in place of ``label``, with the coordinates ``t`` and ``label``.  A label of
            ``labels`` has a row where it occurs; it has to occur somewhere.
        remove_background : bool, default True
            Whether to set pixels outside of the object to 0.
        batch_size : int, optional
            Labels per chunk.  By default as many as make about 16 MiB.  Not used for numpy arrays, which have no
            chunks.
        align : {"nearest"}, optional
            For a mask on another grid with the same dims: every pixel of the image gets the label of the mask pixel
            that is nearest by coordinates, or of the one with the smaller index if two are equally near.  Pixels more
            than half a mask pixel outside the mask get 0.  Labels that no pixel gets are left out.  By default
            different grids raise an error.

        Returns
        -------
        Dataset
            ``image`` ``(label, *other, *window)``, where ``other`` are the image's dims that the mask lacks; and
            ``mask`` ``(label, *window)``, which holds labels.  Both keep their dtypes.  Without an image, only
            ``mask``.  The window dims are those of the mask, with offsets from the centre, in pixels, as coordinates.
            For dask arrays it is lazy, and the labels come in the order of the blocks that their centres lie in;
            ``.sortby("label")`` sorts them.  For numpy arrays they are sorted, or in the order of ``labels``.

        Warns
        -----
        UserWarning
            Objects reach beyond their windows and are cropped: the warning says how many, and which size would hold
            all.

        Raises
        ------
        ValueError
            A label of ``labels`` does not occur, or a size is not positive; else as `LabelsAccessor.aggregate`.

        Notes
        -----
        A window of size d along a dim begins at ``centre - d // 2`` and has d pixels.  The centre is the centroid,
        rounded to a pixel; halves are rounded to the even pixel.  Pixels beyond the image's border are 0.

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
        from xlabelstats.instances.windows import windows

        image, mask, size = mask_or_argument(self._array, mask, size, "size", "windows")
        return windows(
            image,
            mask,
            size,
            labels=labels,
            per=per,
            remove_background=remove_background,
            batch_size=batch_size,
            align=align,
        )

    @documented(windows, take=())
    @handing_on("model", "model_kwargs")
    def featurize(
        self,
        mask: Mask | Callable[..., Any],
        model: Callable[..., Any] | None = None,
        *,
        size: Size,
        n_features: int,
        labels: Labels = None,
        per: Per = None,
        remove_background: bool = True,
        model_kwargs: Mapping[str, Any] | None = None,
        batch_size: int | None = None,
        dtype: Any = np.float32,
        align: str | None = None,
    ) -> xr.DataArray:
        """Turn the window of every object into features by a model, batch by batch.

        Parameters
        ----------
        mask : DataArray of integers, optional
            The mask.  Leave it out if you call this on the mask itself: ``mask.instances.featurize(model, ...)``.
        model : callable
            Gets windows ``(b, channel, *window)``, in the image's dtype (the mask's without an image, as one channel),
            and returns ``(b, n_features)``.  Channels are the image's other dims, flattened; without any there is one
            channel.  dask calls it from several threads.
        size : int, mapping of dim to int, or None
            Of the windows, as in `windows`.
        n_features : int
            The number of features.
        model_kwargs : mapping, optional
            Further arguments that the model gets.
        batch_size : int, optional
            Windows per call, and labels per chunk of the result; the last batch may be shorter.  By default as many as
            make a batch of about 16 MiB.
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
        from xlabelstats.instances.featurize import featurize

        image, mask, model = mask_or_argument(self._array, mask, model, "model", "featurize")
        return featurize(
            image,
            mask,
            model,
            size=size,
            n_features=n_features,
            labels=labels,
            per=per,
            remove_background=remove_background,
            model_kwargs=model_kwargs,
            batch_size=batch_size,
            dtype=dtype,
            align=align,
        )
