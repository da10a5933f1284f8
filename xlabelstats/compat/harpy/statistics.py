"""`ObjectStatistics`: what is measured of whole objects, one by one, as tables and arrays."""

from __future__ import annotations

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

from xlabelstats.compat.harpy.devices import in_memory, to_host
from xlabelstats.compat.harpy.inputs import check_intermediate, need_image, split_options, takes_gpu, window_size
from xlabelstats.compat.harpy.stores import write_arrays
from xlabelstats.compat.harpy.tables import table_of
from xlabelstats.instances.functions import statistics
from xlabelstats.instances.windows import check_batch
from xlabelstats.kernels import kernels_for
from xlabelstats.names import LABEL
from xlabelstats.placement import target_of

if TYPE_CHECKING:
    import dask.array as da

NOTHING: Mapping[str, Any] = MappingProxyType({})
DECILES = np.linspace(0.1, 0.9, 9)
DECILES.flags.writeable = False


class ObjectStatistics:
    """The methods of `Featurizer` that measure objects; the others cut windows.

    Attributes
    ----------
    _mask : xarray.DataArray (z, y, x)
    _image : xarray.DataArray (c, z, y, x) or None
    _on_gpu : bool
        Whether their blocks are moved to the GPU.
    """

    _mask: xr.DataArray
    _image: xr.DataArray | None
    _on_gpu: bool

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
            ``(1, s)``.  On the GPU it gets CuPy arrays, and may return these or numpy arrays.  One that takes the
            keyword ``run_on_gpu`` is told by it whether it gets CuPy arrays.
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
        with cropping_is_fine():
            found = statistics(
                array if over else None,
                over[0] if over else array,
                partial(_call, fn, statistic_dimension),
                dims={"statistic": statistic_dimension},
                size=size,
                fn_kwargs=({"run_on_gpu": self._on_gpu} if takes_gpu(fn) else {}) | dict(fn_kwargs),
                batch_size=batch_size,
                by_chunk=True,
            )
        ids, values = found[LABEL].values, to_host(found.data)
        values = values if values.ndim == 3 else values[:, None]
        return ids, values if target is None else _write_by_channel(values, target, overwrite)

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
            return [table_of(values, ids, instance_key) for values in np.moveaxis(in_memory(found).values, -1, 0)]
        values = to_host(found.data if batch is None else found.data.rechunk({0: batch}))
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
            return table_of(in_memory(found["radius"]).values, found[LABEL].values, instance_key)
        found = in_memory(found)
        n = found.sizes[LABEL]
        values = np.hstack([found["radius"].values, found["axis_vector"].values.reshape(n, 9)])
        return table_of(values, found[LABEL].values, instance_key)

    def _subject(self, extract_image: bool = True) -> tuple[xr.DataArray, tuple[xr.DataArray, ...]]:
        """The array to look at, the image if there is one and it is wanted, and the mask over it."""
        if self._image is None or not extract_image:
            return self._mask, ()
        return self._image, (self._mask,)


def _call(fn: Callable[..., Any], n: int, pixels: Any, /, **kwargs: Any) -> Any:
    """What a function returns for an object, as a row per channel, of which a window of the mask has one."""
    values = kernels_for(pixels).xp.asarray(fn(pixels, **kwargs))
    one_row = pixels.ndim == 3 or len(pixels) == 1
    return values.reshape(1, n) if one_row and values.size == n else values


def _write_by_channel(values: da.Array, target: Path, overwrite: bool) -> da.Array:
    """Write an array (i, c, s) as (c, i, s), and return it as it was."""
    return write_arrays([values.transpose(1, 0, 2)], [target], overwrite)[0].transpose(1, 0, 2)


@contextmanager
def cropping_is_fine() -> Iterator[None]:
    """No warning about objects that are larger than the window: who gives a diameter asks for that."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\d+ of \d+ objects reach beyond their window", UserWarning)
        yield
