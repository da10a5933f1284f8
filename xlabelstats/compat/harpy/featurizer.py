"""`Featurizer`: windows, features and statistics of whole objects, as arrays and tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xlabelstats.compat.harpy.devices import to_host, uses_gpu
from xlabelstats.compat.harpy.inputs import check_intermediate, named_arrays, split_options, window_size
from xlabelstats.compat.harpy.models import check_model, features_by_store, random_projection
from xlabelstats.compat.harpy.statistics import NOTHING, ObjectStatistics, cropping_is_fine
from xlabelstats.compat.harpy.stores import write_arrays
from xlabelstats.names import LABEL
from xlabelstats.placement import target_of

if TYPE_CHECKING:
    import dask.array as da


class Featurizer(ObjectStatistics):
    """Windows, features and statistics of every object of a mask, as ``harpy.utils.Featurizer``.

    Parameters
    ----------
    mask_dask_array : dask.array.Array (z, y, x) of integers
        The label of every pixel; 0 is the background.
    image_dask_array : dask.array.Array (c, z, y, x), optional
        The image.  Without it windows and functions are of the mask.
    run_on_gpu : bool, default True
        Whether to compute on the GPU.  Blocks are moved there by CuPy, one by one, when they are measured; results are
        numpy arrays, or dask arrays of these.  Without CuPy, or a GPU that it can use, the CPU computes, and a warning
        says so, once.

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
        self._on_gpu = uses_gpu(run_on_gpu)
        # One DataArray each for all methods, so that the scan of the mask is remembered.
        self._mask, self._image = named_arrays(mask_dask_array, image_dask_array, self._on_gpu)

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
            ``(b, embedding_dimension)``.  On the GPU it gets CuPy arrays, and may return these or numpy arrays.  The
            default is a placeholder, and warns that it is.
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
            with cropping_is_fine():
                windows = array.instances.windows(*over, **how)["image" if over else "mask"]
            features = features_by_store(windows, model, options, dtype, target, overwrite)
            return windows[LABEL].values, features
        with cropping_is_fine():
            found = array.instances.featurize(
                *over, model, n_features=embedding_dimension, model_kwargs=options, dtype=dtype, **how
            )
        features = to_host(found.data)
        return found[LABEL].values, features if target is None else write_arrays([features], [target], overwrite)[0]

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
        with cropping_is_fine():
            windows = array.instances.windows(
                *over, size=size, remove_background=remove_background, batch_size=batch_size
            )
        cells = {name: to_host(windows[name].data) for name in names}
        arrays = [values[:, None] if name == "mask" else values for name, values in cells.items()]
        if targets:
            arrays = write_arrays(arrays, targets, overwrite)
        return windows[LABEL].values, tuple(arrays) if len(arrays) > 1 else arrays[0]
