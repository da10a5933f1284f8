"""`Featurizer`: windows, features and statistics of whole objects, as arrays and tables."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from xlabelstats.compat.harpy.inputs import (
    check_gpu,
    check_intermediate,
    named_arrays,
    need_image,
    split_options,
    takes_gpu,
    window_size,
)
from xlabelstats.compat.harpy.models import check_model, features_by_store, random_projection
from xlabelstats.compat.harpy.stores import write_arrays
from xlabelstats.compat.harpy.tables import table_of
from xlabelstats.instances.windows import check_batch
from xlabelstats.names import LABEL
from xlabelstats.placement import target_of

if TYPE_CHECKING:
    import dask.array as da

NOTHING: Mapping[str, Any] = MappingProxyType({})
DECILES = np.linspace(0.1, 0.9, 9)
DECILES.flags.writeable = False


class Featurizer:
    """Windows, features and statistics of every object of a mask, as ``harpy.utils.Featurizer``.

    Parameters
    ----------
    mask_dask_array : dask.array.Array (z, y, x) of integers
        The label of every pixel; 0 is the background.
    image_dask_array : dask.array.Array (c, z, y, x), optional
        The image.  Without it windows and functions are of the mask.
    run_on_gpu : bool, default True
        The CPU is used in any case; with True a warning says so, once.

    Raises
    ------
    ValueError
        The mask does not hold integers.
    InputError
        The dims or sizes do not fit; both a ValueError and an AssertionError.

    Notes
    -----
    A window has ``diameter`` pixels in y and x, centred on the object's centroid, rounded to a pixel, and goes through
    the whole of z.  It crops an object that is larger, without a warning.  Without a ``diameter`` it has ``2 * depth``
    pixels.  Otherwise ``depth`` is not needed, as the places of the objects are read from the mask; a ``depth`` below
    ``diameter // 2`` is a ValueError.

    Arrays are lazy.  With ``zarr_output_path`` they are computed and written, and the result is read from there.  A
    store is complete or absent; if it exists already, you get a FileExistsError, unless ``overwrite=True``.  The labels
    of the rows are returned with the arrays, in no promised order, and are not written.

    Examples
    --------
    >>> import dask.array as da
    >>> from xlabelstats.compat.harpy import Featurizer
    >>> mask = da.asarray([[[0, 7, 7, 7], [2, 2, 2, 0]]])  # (z, y, x)
    >>> image = da.asarray([[[[9, 1, 2, 3], [4, 5, 7, 9]]]])  # (c, z, y, x)
    >>> featurizer = Featurizer(mask, image, run_on_gpu=False)
    >>> ids, windows = featurizer.extract_instances(diameter=3, depth=None)
    >>> windows.shape
    (2, 1, 1, 3, 3)
    >>> (median,) = featurizer.quantiles(diameter=3, q=0.5)
    >>> median
         0  cell_ID
    0  5.0        2
    1  2.0        7
    """

    def __init__(
        self, mask_dask_array: da.Array, image_dask_array: da.Array | None = None, run_on_gpu: bool = True
    ) -> None:
        # One DataArray each for all methods, so that the scan of the mask is remembered.
        self._mask, self._image = named_arrays(mask_dask_array, image_dask_array)
        check_gpu(run_on_gpu)

    def featurize(
        self,
        embedding_dimension: int,
        diameter: int,
        depth: int | None = None,
        remove_background: bool = True,
        zarr_output_path: str | Path | None = None,
        store_intermediate: bool = False,
        model: Callable[..., Any] = random_projection,
        batch_size: int | None = None,
        model_kwargs: Mapping[str, Any] = NOTHING,
        dtype: Any = np.float32,
        *,
        overwrite: bool = False,
        **kwargs: Any,
    ) -> tuple[np.ndarray, da.Array]:
        """Turn the window of every object into features by a model, batch by batch.

        Parameters
        ----------
        embedding_dimension : int
            The number of features, passed on to the model.
        diameter, depth
            Size of the windows, see the class.
        remove_background : bool, default True
            Whether to set pixels outside of the object to 0.
        zarr_output_path : str or Path, optional
            Where to write the features.
        store_intermediate : bool, default False
            Write the windows first, beside ``zarr_output_path``, and remove them in the end.
        model : callable
            Gets windows ``(b, c, z, y, x)``, ``embedding_dimension=`` and ``model_kwargs``, and returns
            ``(b, embedding_dimension)``.  The default is a placeholder, and warns that it is.
        batch_size : int, optional
            Windows per call.  By default as many as make a batch of about 16 MiB.
        model_kwargs : mapping, optional
            Passed on to the model.
        dtype : numpy.dtype, default float32
            Of the result.
        overwrite : bool, default False
            Whether to replace a store that is there already.  harpy's method has no such keyword.
        **kwargs
            Passed on to the model too; ``name``, ``token``, ``meta`` and ``enforce_ndim``, options of
            `dask.array.map_blocks`, have no effect, and a warning says so.

        Returns
        -------
        ids : numpy.ndarray (i,)
            The labels.
        features : dask.array.Array (i, embedding_dimension)
            Their features.

        Raises
        ------
        InputError
            The model does not take ``embedding_dimension``.
        TypeError
            The model does not take another keyword.
        ValueError
            The model returned another shape; ``store_intermediate`` without a path; ``depth`` is too small.
        FileExistsError
            Something exists at ``zarr_output_path`` already.
        """
        check_intermediate(store_intermediate, zarr_output_path)
        size = window_size(diameter, depth)
        options = dict(embedding_dimension=embedding_dimension, **model_kwargs, **split_options(kwargs, "featurize"))
        check_model(model, options)
        target = None if zarr_output_path is None else target_of(zarr_output_path, overwrite)
        array, over = self._subject()
        how = {"size": size, "remove_background": remove_background, "batch_size": batch_size}
        if target is not None and store_intermediate:
            with _cropping_is_fine():
                windows = array.instances.windows(*over, **how)["image" if over else "mask"]
            return windows[LABEL].values, features_by_store(windows, model, options, dtype, target, overwrite)
        with _cropping_is_fine():
            found = array.instances.featurize(
                *over, model, n_features=embedding_dimension, model_kwargs=options, dtype=dtype, **how
            )
        features = found.data if target is None else write_arrays([found.data], [target], overwrite)[0]
        return found[LABEL].values, features

    def calculate_instance_statistics(
        self,
        depth: int | None,
        statistic_dimension: int,
        diameter: int | None = None,
        zarr_output_path: str | Path | None = None,
        store_intermediate: bool = False,
        fn: Callable[..., Any] | None = None,
        batch_size: int | None = None,
        extract_image: bool = True,
        fn_kwargs: Mapping[str, Any] = NOTHING,
        overwrite: bool = False,
        **kwargs: Any,
    ) -> tuple[np.ndarray, da.Array]:
        """Call a function of your own with the pixels of every object that lie in its window.

        Parameters
        ----------
        depth, diameter
            Size of the windows, see the class.
        statistic_dimension : int
            How many numbers, s, the function returns (per channel).
        zarr_output_path : str or Path, optional
            Where to write the statistics.  The array in the store is ``(c, i, s)``, as harpy's is.
        store_intermediate : bool, default False
            Needs ``zarr_output_path``.  Nothing is stored, as objects are taken from the image one by one, and no
            array of windows is made.
        fn : callable
            Required.  With the image it gets the pixels ``(c, N)`` of one object, those in its window, and returns
            ``(c, s)``, or ``(s,)`` if c is 1; if the image's channels are chunked, it is called for each chunk.  With
            only the mask it gets the window ``(z, diameter, diameter)``, 0 outside the object, and returns ``(s,)`` or
            ``(1, s)``.  One that takes the keyword ``run_on_gpu`` is given False.
        batch_size : int, optional
            The chunk of the result along i.
        extract_image : bool, default True
            Whether the function gets pixels of the image, if there is one, or the window of the mask.
        fn_kwargs : mapping, optional
            Passed on to ``fn``.
        overwrite : bool, default False
            Whether to replace a store that is there already.
        **kwargs
            ``name``, ``token``, ``meta`` and ``enforce_ndim``, options of `dask.array.map_blocks`, have no effect, and
            a warning says so.  Other keywords raise an error.

        Returns
        -------
        ids : numpy.ndarray (i,)
            The labels.
        statistics : dask.array.Array (i, c, s), (i, 1, s) with only the mask
            float32; NaN for an object without a pixel in its window.

        Raises
        ------
        TypeError
            ``fn`` was not given, or a keyword is unknown.
        ValueError
            ``fn`` returned another shape; ``store_intermediate`` without a path; ``depth`` is too small.
        FileExistsError
            Something exists at ``zarr_output_path`` already.
        """
        if not callable(fn):
            raise TypeError(f"calculate_instance_statistics needs fn, a function to call with every object, not {fn!r}")
        check_intermediate(store_intermediate, zarr_output_path)
        unknown = split_options(kwargs, "calculate_instance_statistics")
        if unknown:
            raise TypeError(
                f"calculate_instance_statistics takes no keyword {next(iter(unknown))!r}; those for fn go in fn_kwargs"
            )
        size = window_size(diameter, depth)
        target = None if zarr_output_path is None else target_of(zarr_output_path, overwrite)
        array, over = self._subject(extract_image)
        with _cropping_is_fine():
            found = array.instances.statistics(
                *over,
                partial(_call, fn, statistic_dimension),
                dims={"statistic": statistic_dimension},
                size=size,
                fn_kwargs=({"run_on_gpu": False} if takes_gpu(fn) else {}) | dict(fn_kwargs),
                batch_size=batch_size,
            )
        ids, values = found[LABEL].values, found.data
        values = values if values.ndim == 3 else values[:, None]
        return ids, values if target is None else _write_by_channel(values, target, overwrite)

    def extract_instances(
        self,
        diameter: int,
        depth: int | None,
        remove_background: bool = True,
        extract_mask: bool = False,
        extract_image: bool = True,
        zarr_output_path: str | Path | None = None,
        name_instances_image: str = "image.zarr",
        name_instances_mask: str = "mask.zarr",
        batch_size: int | None = None,
        overwrite: bool = False,
    ) -> tuple[np.ndarray, da.Array | tuple[da.Array, da.Array]]:
        """Cut a window round every object.

        Parameters
        ----------
        diameter, depth
            Size of the windows, see the class.
        remove_background : bool, default True
            Whether to set pixels outside of the object to 0.
        extract_mask, extract_image : bool
            Which windows to cut.  Without an image, they are those of the mask.
        zarr_output_path : str or Path, optional
            A folder, in which the windows of the image and of the mask are stores of their own.
        name_instances_image, name_instances_mask : str
            The names of these.
        batch_size : int, optional
            Objects per chunk.  By default as many as make about 16 MiB.
        overwrite : bool, default False
            Whether to replace stores that are there already.

        Returns
        -------
        ids : numpy.ndarray (i,)
            The labels.
        windows : dask.array.Array (i, c, z, y, x), (i, 1, z, y, x) of the mask
            In the image's or the mask's dtype.  If both are asked for, a tuple: of the mask, and of the image.

        Raises
        ------
        ValueError
            Neither image nor mask is asked for; ``depth`` is too small.
        FileExistsError
            Something exists at the place of a store already.
        """
        size = window_size(diameter, depth)
        if not extract_image and not extract_mask:
            raise ValueError("extract_image and extract_mask are both False, so there is nothing to extract")
        array, over = self._subject(extract_image)
        names = {"mask": name_instances_mask} if extract_mask or not over else {}
        if over:
            names["image"] = name_instances_image
        targets = []
        if zarr_output_path is not None:
            targets = [target_of(os.path.join(zarr_output_path, name), overwrite) for name in names.values()]
        with _cropping_is_fine():
            windows = array.instances.windows(
                *over, size=size, remove_background=remove_background, batch_size=batch_size
            )
        arrays = [windows[name].data[:, None] if name == "mask" else windows[name].data for name in names]
        if targets:
            arrays = write_arrays(arrays, targets, overwrite)
        return windows[LABEL].values, tuple(arrays) if len(arrays) > 1 else arrays[0]

    def quantiles(
        self,
        diameter: int,
        q: Any = DECILES,
        zarr_output_path: str | Path | None = None,
        store_intermediate: bool = False,
        depth: int | None = None,
        batch_size: int | None = None,
        instance_key: str = "cell_ID",
        overwrite: bool = False,
    ) -> list[pd.DataFrame] | tuple[np.ndarray, da.Array]:
        """Quantiles of all pixels of every object, not of a window.

        Parameters
        ----------
        diameter, depth
            Not needed, but checked as for windows.
        q : float or sequence of float, default 0.1, 0.2, ... 0.9
            From 0 to 1.
        zarr_output_path : str or Path, optional
            Where to write the quantiles.  The array in the store is ``(c, i, s)``, as harpy's is.
        store_intermediate : bool, default False
            Needs ``zarr_output_path``; no windows are cut that could be stored.
        batch_size : int, optional
            The chunk of what is written along i.
        instance_key : str, default "cell_ID"
            The column of the labels.
        overwrite : bool, default False
            Whether to replace a store that is there already.

        Returns
        -------
        list of pandas.DataFrame
            A table for each quantile, sorted by label, with the columns ``0 ... c - 1`` and ``instance_key``.  With
            ``zarr_output_path``, in its place a tuple of the labels (i,) and a dask array ``(s, i, c)``.  NaN for an
            object with a NaN pixel.

        Raises
        ------
        InputError
            There is no image.
        ValueError
            ``q`` is not between 0 and 1; ``store_intermediate`` without a path; ``depth`` is too small.
        FileExistsError
            Something exists at ``zarr_output_path`` already.
        """
        check_intermediate(store_intermediate, zarr_output_path)
        window_size(diameter, depth)
        batch = check_batch(batch_size)
        target = None if zarr_output_path is None else target_of(zarr_output_path, overwrite)
        image = need_image(self._image, "quantiles")
        found = image.instances.quantiles(self._mask, np.atleast_1d(q), skipna=False)
        ids = found[LABEL].values
        if target is None:
            return [table_of(values, ids, instance_key) for values in np.moveaxis(found.values, -1, 0)]
        values = found.data if batch is None else found.data.rechunk({0: batch})
        return ids, _write_by_channel(values, target, overwrite).transpose(2, 0, 1)

    def radii_and_principal_axes(
        self,
        diameter: int,
        calculate_axes: bool = True,
        depth: int | None = None,
        batch_size: int | None = None,
        instance_key: str = "cell_ID",
    ) -> pd.DataFrame:
        """Radii and principal axes of every object, from all its pixels, not from a window.

        Parameters
        ----------
        diameter, depth
            Not needed, but checked as for windows.
        calculate_axes : bool, default True
            Whether to add the axes.
        batch_size : int, optional
            Not needed: no windows are cut.
        instance_key : str, default "cell_ID"
            The column of the labels.

        Returns
        -------
        pandas.DataFrame
            Sorted by label: the columns 0 to 2 are the radii, largest first, as in
            `InstancesAccessor.radii_and_axes`; 3 to 11 the axes, each as (z, y, x); and ``instance_key``.

        Raises
        ------
        ValueError
            ``depth`` is too small.
        """
        window_size(diameter, depth)
        check_batch(batch_size)
        found = self._mask.instances.radii_and_axes(units="pixel")
        if not calculate_axes:
            return table_of(found["radius"].values, found[LABEL].values, instance_key)
        found = found.compute()
        n = found.sizes[LABEL]
        values = np.hstack([found["radius"].values, found["axis_vector"].values.reshape(n, 9)])
        return table_of(values, found[LABEL].values, instance_key)

    def _subject(self, extract_image: bool = True) -> tuple[xr.DataArray, tuple[xr.DataArray, ...]]:
        """The array to look at, the image if there is one and it is wanted, and the mask over it."""
        if self._image is None or not extract_image:
            return self._mask, ()
        return self._image, (self._mask,)


def _call(fn: Callable[..., Any], n: int, pixels: np.ndarray, /, **kwargs: Any) -> np.ndarray:
    """What a function returns for an object, as a row per channel, of which a window of the mask has one."""
    values = np.asarray(fn(pixels, **kwargs))
    one_row = pixels.ndim == 3 or len(pixels) == 1
    return values.reshape(1, n) if one_row and values.size == n else values


def _write_by_channel(values: da.Array, target: Path, overwrite: bool) -> da.Array:
    """Write an array (i, c, s) as (c, i, s), and return it as it was."""
    return write_arrays([values.transpose(1, 0, 2)], [target], overwrite)[0].transpose(1, 0, 2)


@contextmanager
def _cropping_is_fine() -> Iterator[None]:
    """No warning about objects that are larger than the window: who gives a diameter asks for that."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\d+ of \d+ objects reach beyond their window", UserWarning)
        yield
