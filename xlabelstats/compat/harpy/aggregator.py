"""`RasterAggregator`: statistics of every label as tables, one row per label."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from xlabelstats.compat.harpy.devices import in_memory, uses_gpu
from xlabelstats.compat.harpy.inputs import InputError, named_arrays, need_image
from xlabelstats.compat.harpy.tables import table_of
from xlabelstats.names import LABEL

if TYPE_CHECKING:
    import dask.array as da

STATISTICS = ("sum", "mean", "count", "var", "kurtosis", "skew")

# What an extreme of a label without pixels is.
OF_NOTHING = {"max": -np.inf, "min": np.inf}


class RasterAggregator:
    """Statistics of every label of a mask in every channel of an image, as ``harpy.utils.RasterAggregator``.

    Parameters
    ----------
    mask_dask_array : dask.array.Array (z, y, x) of integers
        The label of every pixel.
    image_dask_array : dask.array.Array (c, z, y, x), optional
        The image.  The area, the count and the centre of mass need none.
    instance_key : str, default "cell_ID"
        The column of the labels.
    instance_size_key : str, default "shapeSize"
        The column of the area.
    run_on_gpu : bool, default True
        Whether to compute on the GPU.  Blocks are moved there by CuPy, one by one, when they are measured.  Without
        CuPy, or a GPU that it can use, the CPU computes, and a warning says so, once.

    Raises
    ------
    ValueError
        The mask does not hold integers.
    InputError
        The dims or sizes do not fit; both a ValueError and an AssertionError.

    Notes
    -----
    All methods compute at once.  Their ``index`` are the labels to measure, in any order; labels may be repeated or
    absent.  By default these are all labels of the mask, sorted, including 0, the background.  The tables have the
    columns ``0 ... c - 1``, a channel each, and ``instance_key``.

    An absent label has sum and count 0, minimum inf, maximum -inf, and otherwise NaN.  A NaN pixel makes the
    statistics of its label NaN.

    Examples
    --------
    >>> import dask.array as da
    >>> from xlabelstats.compat.harpy import RasterAggregator
    >>> mask = da.asarray([[[0, 7, 7], [2, 2, 2]]])  # (z, y, x)
    >>> image = da.asarray([[[[9.0, 1, 3], [4, 5, 6]]], [[[0.0, 5, 5], [1, 1, 4]]]])  # (c, z, y, x)
    >>> aggregator = RasterAggregator(mask, image, run_on_gpu=False)
    >>> aggregator.aggregate_mean()
         0    1  cell_ID
    0  9.0  0.0        0
    1  5.0  2.0        2
    2  2.0  5.0        7
    >>> aggregator.aggregate_area(index=[7, 2])
       cell_ID  shapeSize
    0        7          2
    1        2          3
    """

    def __init__(
        self,
        mask_dask_array: da.Array,
        image_dask_array: da.Array | None = None,
        instance_key: str = "cell_ID",
        instance_size_key: str = "shapeSize",
        run_on_gpu: bool = True,
    ) -> None:
        # One DataArray each for all methods, so that what is learned of the mask is remembered.
        self._mask, self._image = named_arrays(mask_dask_array, image_dask_array, uses_gpu(run_on_gpu))
        self._instance_key = instance_key
        self._instance_size_key = instance_size_key

    def aggregate_stats(
        self, stats_funcs: str | Iterable[str] = STATISTICS, index: Any | None = None
    ) -> list[pd.DataFrame]:
        """Several statistics in one pass over the image.

        Parameters
        ----------
        stats_funcs : str or iterable of str
            Any of ``sum mean count var kurtosis skew``; all by default.
        index : sequence of int, optional
            The labels.

        Returns
        -------
        list of pandas.DataFrame
            A table for each name; that of ``count`` has one column ``0`` beside the labels.  ``var`` is divided by
            the count.

        Warns
        -----
        UserWarning
            Skewness or kurtosis are NaN, as for equal pixels and absent labels, and are given as 0.

        Raises
        ------
        InputError
            A statistic does not exist, or needs the image that was not given.
        """
        names = (stats_funcs,) if isinstance(stats_funcs, str) else tuple(stats_funcs)
        unknown = [name for name in names if name not in STATISTICS]
        if unknown:
            raise InputError(
                f"Invalid statistic function {', '.join(map(repr, unknown))}; there are: {', '.join(STATISTICS)}"
            )
        return self._tables(names, index) if names else []

    def aggregate_sum(self, index: Any | None = None) -> pd.DataFrame:
        """Sum of the pixels of every label, per channel."""
        return self._tables(("sum",), index)[0]

    def aggregate_mean(self, index: Any | None = None) -> pd.DataFrame:
        """Mean of the pixels of every label, per channel."""
        return self._tables(("mean",), index)[0]

    def aggregate_var(self, index: Any | None = None) -> pd.DataFrame:
        """Population variance of the pixels of every label, per channel."""
        return self._tables(("var",), index)[0]

    def aggregate_kurtosis(self, index: Any | None = None) -> pd.DataFrame:
        """Excess kurtosis of the pixels of every label, per channel; 0, with a warning, where it is NaN."""
        return self._tables(("kurtosis",), index)[0]

    def aggregate_skew(self, index: Any | None = None) -> pd.DataFrame:
        """Skewness of the pixels of every label, per channel; 0, with a warning, where it is NaN."""
        return self._tables(("skew",), index)[0]

    def aggregate_max(self, index: Any | None = None) -> pd.DataFrame:
        """Largest pixel of every label, per channel, in the image's dtype; -inf for an absent label."""
        return self._tables(("max",), index)[0]

    def aggregate_min(self, index: Any | None = None) -> pd.DataFrame:
        """Smallest pixel of every label, per channel, in the image's dtype; inf for an absent label."""
        return self._tables(("min",), index)[0]

    def aggregate_area(self, index: Any | None = None) -> pd.DataFrame:
        """Pixels of every label, with the columns ``instance_key`` and ``instance_size_key``."""
        (table,) = self._tables(("count",), index)
        return table.set_axis([self._instance_size_key, self._instance_key], axis=1).iloc[:, ::-1]

    def center_of_mass(self, index: Any | None = None) -> pd.DataFrame:
        """Mean position of every label in pixels: the columns 0, 1, 2 are z, y, x; NaN for an absent label."""
        labels, rows, ids = _chosen(index)
        found = in_memory(self._mask.labels.center_of_mass(units="pixel", labels=labels, background=True))
        return table_of(found.values[rows], found[LABEL].values if ids is None else ids, self._instance_key)

    def _tables(self, names: tuple[str, ...], index: Any | None) -> list[pd.DataFrame]:
        """A table per statistic, of one pass."""
        labels, rows, ids = _chosen(index)
        pixels = self._mask if set(names) == {"count"} else need_image(self._image, " and ".join(names))
        # The count costs nothing and tells which labels are absent.
        found = pixels.labels.aggregate(self._mask, (*names, "count"), labels=labels, background=True, skipna=False)
        found = in_memory(found)
        values = {}
        for name in dict.fromkeys(names):
            values[name] = self._as_harpy(name, found)[rows]
        ids = found[LABEL].values if ids is None else ids
        return [table_of(values[name], ids, self._instance_key) for name in names]

    def _as_harpy(self, name: str, found: xr.Dataset) -> np.ndarray:
        """One statistic (label, channel), with harpy's values where there is nothing to measure."""
        values = found[name].values
        if name == "count":
            return values[:, None]
        if name in OF_NOTHING:
            absent = found["count"].values == 0
            if not absent.any():
                return values.astype(need_image(self._image, name).dtype, copy=False)
            return np.where(absent[:, None], OF_NOTHING[name], values)
        if name in ("skew", "kurtosis"):
            undefined = np.isnan(values)
            if undefined.any():
                n = int(undefined.any(axis=1).sum())
                warnings.warn(
                    f"the {name} of {n} of {len(values)} labels is NaN, as for equal pixels, and given as 0",
                    UserWarning,
                    stacklevel=4,
                )
            return np.where(undefined, 0, values)
        return values


def _chosen(index: Any | None) -> tuple[np.ndarray | None, Any, np.ndarray | None]:
    """The labels to measure, each once; where their rows go; and the user's own, None for all of the mask."""
    if index is None:
        return None, slice(None), None
    ids = np.asarray(index)
    if ids.ndim != 1:
        raise InputError(f"index is a 1-D sequence of labels, not of shape {ids.shape}")
    labels, rows = np.unique(ids, return_inverse=True)
    return labels, rows, ids
