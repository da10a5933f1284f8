"""Masks out of a mask: some of its labels, those that do not touch its border, or all of them numbered anew."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import given_name
from xlabelstats.inputs import at_position, check_labels, check_mask, check_on_host, check_pooling, time_dims
from xlabelstats.labels.mask_scan import label_ids, label_table
from xlabelstats.labels.paint import check_rows, paint
from xlabelstats.names import LABEL, OBJECT
from xlabelstats.rows import rows_of


def keep(mask: xr.DataArray, which: Any) -> xr.DataArray:
    """A mask of some of the labels; see `LabelsAccessor.keep`."""
    check_on_host("mask.labels.keep", mask=mask, which=which)
    mask = check_mask(mask)
    if isinstance(which, xr.DataArray) and which.dtype == bool:
        return _keep_where(mask, which)
    if _is_bool_series(which):
        check_rows(which, mask)
        index = which.index
        if index.nlevels > 1:
            raise ValueError(f"which has an index of {index.nlevels} levels; give a Series whose index is the labels")
        chosen = xr.DataArray(which.to_numpy(bool, na_value=False), dims=LABEL, coords={LABEL: index.to_numpy()})
        return _keep_where(mask, chosen)
    ids = check_labels(which.values if isinstance(which, xr.DataArray) else which, mask.dtype)
    if 0 in ids:
        raise ValueError("0 is the background and no object, so it cannot be kept; leave it out")
    _check_there(ids, mask)
    return _with_numbers(mask, ids, ids.astype(_native(mask)))


def clear_border(mask: xr.DataArray, dims: Any = None) -> xr.DataArray:
    """A mask without the labels that touch its border; see `LabelsAccessor.clear_border`."""
    check_on_host("mask.labels.clear_border", mask=mask)
    given, mask = mask, check_mask(mask)
    axes = mask.get_axis_num(_border_dims(mask, dims))
    check_pooling(
        given,
        advice=lambda dim: f"mask.{at_position(dim)}.labels.clear_border()",
        pooled="a label at the border at one time is left out at all times. To treat each time apart",
    )
    table = label_table(mask)
    low, high, shape = table.low[:, axes], table.high[:, axes], np.array(mask.shape, np.int64)[list(axes)]
    ids = table.ids[((low > 0) & (high < shape)).all(axis=1)]
    return _with_numbers(mask, ids, ids.astype(_native(mask)))


def relabel(mask: xr.DataArray) -> xr.DataArray:
    """A mask whose labels are 1 to n; see `LabelsAccessor.relabel`."""
    check_on_host("mask.labels.relabel", mask=mask)
    mask = check_mask(mask)
    ids = label_ids(mask)
    return _with_numbers(mask, ids, np.arange(1, ids.size + 1, dtype=_dtype_for(ids.size, mask.dtype)))


def _keep_where(mask: xr.DataArray, which: xr.DataArray) -> xr.DataArray:
    """A mask of the labels for which a boolean is true; lazy if that is."""
    rows = rows_of(which)
    if which.dims != (rows,) or LABEL not in which.coords:
        raise ValueError(
            f"which holds a boolean per label, so it has the dim {LABEL!r} with the labels as coordinate; this has the "
            f"dims {which.dims} and the coordinates {tuple(which.coords)}"
        )
    which = which.isel({rows: which[LABEL].values != 0})
    labels = which[LABEL].values
    ids = check_labels(np.unique(labels) if rows == OBJECT else labels, mask.dtype)
    _check_there(ids, mask)
    if rows == LABEL:
        return _with_numbers(mask, ids, which.data * ids.astype(_native(mask)))
    numbers = which.copy(data=which.data * labels.astype(_native(mask)))
    return _finished(mask, numbers)


def _check_there(ids: np.ndarray, mask: xr.DataArray) -> None:
    """Complain about labels that the mask lacks."""
    present = label_ids(mask).astype(ids.dtype)
    absent = ids[~np.isin(ids, present, kind="sort")]
    if absent.size:
        has = f"it has {present.size}, from {present[0]} to {present[-1]}" if present.size else "it has none"
        raise ValueError(
            f"the mask has no label {absent[0]}"
            + (f" and {absent.size - 1} others that are to be kept" if absent.size > 1 else "")
            + f"; {has}: mask.labels.ids()"
        )


def _border_dims(mask: xr.DataArray, dims: Any) -> list[Hashable]:
    """The dims along which a label may touch the border; all but time unless they are named."""
    if dims is None:
        times = time_dims(mask)
        return [dim for dim in mask.dims if dim not in times]
    # A dim may have any name, a tuple too.
    several = isinstance(dims, Iterable) and not isinstance(dims, str) and dims not in mask.dims
    names = list(dims) if several else [dims]
    unknown = [dim for dim in names if dim not in mask.dims]
    if unknown:
        raise ValueError(f"the mask has no dim {unknown[0]!r}; it has {tuple(mask.dims)}")
    return list(dict.fromkeys(names))


def _native(mask: xr.DataArray) -> np.dtype:
    return mask.dtype.newbyteorder("=")


def _dtype_for(n: int, dtype: np.dtype) -> np.dtype:
    """A dtype that holds numbers up to n: the given one, or the next larger of its kind."""
    sizes = [size for size in (1, 2, 4, 8) if size >= dtype.itemsize]
    return next(one for size in sizes if np.iinfo(one := np.dtype(f"{dtype.kind}{size}")).max >= n)


def _with_numbers(mask: xr.DataArray, ids: np.ndarray, numbers: Any) -> xr.DataArray:
    """A mask in which some labels have other numbers, and all others are background."""
    return _finished(mask, xr.DataArray(numbers, dims=LABEL, coords={LABEL: ids}))


def _finished(mask: xr.DataArray, numbers: xr.DataArray) -> xr.DataArray:
    """The numbers of labels painted, with the name and the attributes of the mask."""
    return paint(mask, numbers.assign_attrs(mask.attrs)).rename(given_name(mask))


def _is_bool_series(which: Any) -> bool:
    """Whether it is a Series of booleans, some of which may be missing."""
    import pandas as pd

    return isinstance(which, pd.Series) and (
        pd.api.types.is_bool_dtype(which.dtype) or pd.api.types.infer_dtype(which, skipna=True) == "boolean"
    )
