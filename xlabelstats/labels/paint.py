"""From numbers per label back to pixels."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xlabelstats.classes import classes_of
from xlabelstats.encoding import without_encoding
from xlabelstats.engine.merge_tree import uniform
from xlabelstats.engine.runs import Array, find_rows, find_runs
from xlabelstats.inputs import check_labels, check_mask, check_same_side, data_of, is_dask
from xlabelstats.kernels import kernels_for, on_device
from xlabelstats.labels.selection import label_ids
from xlabelstats.names import LABEL

if TYPE_CHECKING:
    import pandas as pd


def paint(mask: xr.DataArray, values: Any, fill_value: Any = None) -> xr.DataArray:
    """An image in which every pixel carries its label's value; see `LabelsAccessor.paint`."""
    mask = check_mask(mask)
    pixels = data_of(mask, "mask")
    table = _as_table(values, mask, kernels_for(pixels).xp)
    check_same_side(values=table.data, mask=pixels)
    clash = [dim for dim in table.dims if dim in mask.dims]
    if clash:
        raise ValueError(f"the values and the mask both have a dim {clash[0]!r}; rename it in the values")
    ids = _labels_of(table, mask.dtype)
    table = table.isel({LABEL: np.argsort(ids, kind="stable")})
    ids = np.sort(ids)
    fill, dtype = _fill(fill_value, table.dtype)
    extra = table.dims[1:]
    if is_dask(pixels) or is_dask(table.data):
        painted = _paint_blocks(pixels, table, ids, fill, dtype)
    else:
        painted = _paint_block(pixels, data_of(table, "table of values"), ids, fill=fill, dtype=dtype)
    coords = {
        name: coord
        for source in (table, mask)
        for name, coord in source.coords.items()
        if set(coord.dims) <= {*extra, *mask.dims}
    }
    # Left to itself, xarray would name the image after the dask array.
    result = xr.DataArray(painted, dims=(*extra, *mask.dims), coords=coords, attrs=table.attrs).rename(table.name)
    return without_encoding(result)


def _as_table(values: Any, mask: xr.DataArray, xp: ModuleType) -> xr.DataArray:
    """The values as a DataArray (label, *extra) with unique integer labels; those of a Series as an array of ``xp``."""
    import pandas as pd

    if isinstance(values, Mapping) and not isinstance(values, xr.Dataset | xr.DataArray):
        values = pd.Series(values) if values else pd.Series([], index=pd.Index([], dtype=np.int64), dtype=np.float64)
        values = values.rename_axis(LABEL)
    if isinstance(values, xr.DataArray) and values.dtype.kind not in "biufc" and values.dims == (LABEL,):
        values = values.to_series() if LABEL in values.coords else values
    if isinstance(values, pd.Series):
        check_rows(values, mask)
        values = _as_array(values, xp)
    if not isinstance(values, xr.DataArray):
        raise TypeError(
            f"values are a DataArray with the dim {LABEL!r}, a pandas Series or a mapping from label to value, "
            f"not {type(values).__name__}"
        )
    if LABEL not in values.dims:
        raise ValueError(f"the values have no dim {LABEL!r}; they have {values.dims}")
    if LABEL not in values.coords:
        raise ValueError(f"the values do not say whose they are; values.assign_coords({LABEL}=[...]) names the labels")
    if values.dtype.kind not in "biufc":
        raise TypeError(
            f"values to paint are numbers, or classes along the dim {LABEL!r} alone, not {values.dtype} along "
            f"{values.dims}; give each class a number"
        )
    return values.transpose(LABEL, ...)


def check_rows(values: pd.Series, mask: xr.DataArray) -> None:
    """Complain about rows that are numbered as pandas does by itself, if these numbers are not the labels."""
    import pandas as pd

    rows = values.index
    if rows.name is not None or rows.dtype.kind not in "iu" or rows.empty:
        return
    ids = label_ids(check_mask(mask))
    if not isinstance(rows, pd.RangeIndex) or (rows.start, rows.step) != (0, 1):
        # Of a table that was filtered or sorted.
        missing = rows[~rows.isin(ids)]
        if missing.size and 0 in rows:
            raise ValueError(
                f"the rows of the values have no name, and the mask has no label {missing[0]}: they may be the numbers "
                f"of the rows of a table; name rows by the column of labels: table.{_column(values.name)}; or if they "
                f"are the labels: values.rename_axis({LABEL!r})"
            )
        return
    beyond = ids[(ids < 0) | (ids >= rows.stop)]
    if beyond.size:
        raise ValueError(
            f"the rows of the values are numbered 0 to {rows.stop - 1}, as pandas does by itself, and the mask has the "
            f"label {beyond[0]}; name rows by the column of labels: table.{_column(values.name)}; or if these numbers "
            f"are the labels: values.rename_axis({LABEL!r})"
        )


def _column(name: Any) -> str:
    """How to take a column with the labels as index."""
    return f"set_index({LABEL!r})[{'mean' if name is None else name!r}]"


def _as_array(values: pd.Series, xp: ModuleType) -> xr.DataArray:
    """A Series as an array of ``xp``: its numbers, or the positions of its classes, which are named in the attrs."""
    values = values.infer_objects()
    attrs = {}
    column = values.to_numpy()
    if values.dtype.kind not in "biufc":
        classes = classes_of(values)
        if classes is not None:
            column, attrs = classes.codes, {"classes": classes.names}
    if column.dtype.kind in "biufc":
        column = xp.asarray(column)
    coords = {LABEL: values.index.to_numpy()}
    return xr.DataArray(column, dims=LABEL, coords=coords, name=values.name, attrs=attrs)


def _labels_of(table: xr.DataArray, dtype: np.dtype) -> np.ndarray:
    labels = np.asarray(table[LABEL])
    try:
        return check_labels(labels, dtype)
    except TypeError:
        first = ", ".join(map(repr, labels[:3].tolist()))
        how = (
            f"; of an AnnData name rows by the column of labels: table.obs.{_column(table.name)}; or if the text is "
            "the labels: values.set_axis(values.index.astype(int))"
        )
        raise TypeError(
            f"labels are whole numbers, and the index of the values holds {labels.dtype}: {first}, ..."
            + (how if isinstance(labels[0], str) else "")
        ) from None


def _fill(fill_value: Any, dtype: np.dtype) -> tuple[Any, np.dtype]:
    """The value of pixels without one, and a dtype that holds it and the values."""
    if fill_value is None:
        return (np.nan if dtype.kind in "fc" else 0), dtype
    if np.ndim(fill_value) or np.asarray(fill_value).dtype.kind not in "biufc":
        raise TypeError(f"fill_value is a number, not {fill_value!r}")
    smallest = np.min_scalar_type(fill_value)
    if dtype.kind in "biu" and smallest.kind in "fc":
        return fill_value, np.result_type(dtype, np.result_type(smallest, np.float64))
    common = np.result_type(dtype, smallest)
    if dtype.kind in "iu" and common.kind == "f":
        raise ValueError(f"no integer dtype holds both values of {dtype} and fill_value={fill_value}")
    return fill_value, common


def _paint_block(mask: Array, values: Array, ids: np.ndarray, *, fill: Any, dtype: np.dtype) -> Array:
    """Paint one block; ``values`` are (label, *extra), the block becomes (*extra, *mask)."""
    kernels = kernels_for(mask)
    labels = find_runs(mask, background=True)
    rows, held = find_rows(labels.ids.astype(ids.dtype), kernels.xp.asarray(ids))
    # What dask puts together of no values may have lost their type.
    values = kernels.xp.asarray(values)
    of_label = kernels.xp.full((labels.ids.size, *values.shape[1:]), fill, dtype)
    painted = kernels.xp.flatnonzero(held)
    of_label[painted] = values[rows[painted]]
    # The runs cover the block from its first pixel to its last.
    of_run = kernels.xp.moveaxis(of_label, 0, -1)[..., labels.runs.codes]
    return kernels.repeat(of_run, labels.runs.lengths).reshape(*values.shape[1:], *mask.shape)


def _paint_blocks(mask: Any, table: xr.DataArray, ids: np.ndarray, fill: Any, dtype: np.dtype) -> Any:
    """Paint lazily.  The values are one array that all tasks refer to."""
    import dask.array as da

    pixels = uniform(mask) if is_dask(mask) else da.from_array(mask, name=False)
    # A name that tells the values is the same each time; but hashing them would take them off the GPU.
    name = False if on_device(table.data) else None
    values = (
        table.data if is_dask(table.data) else da.from_array(data_of(table, "table of values"), chunks=-1, name=name)
    )
    values = values.rechunk(-1)
    ndim, extra = mask.ndim, table.ndim - 1
    shared = tuple(range(ndim))
    others = tuple(range(ndim, ndim + extra))
    label = ndim + extra
    return da.blockwise(
        _paint_task,
        (*others, *shared),
        pixels,
        shared,
        values,
        (label, *others),
        da.from_array(ids, chunks=-1),
        (label,),
        fill=fill,
        to=dtype,
        concatenate=True,
        align_arrays=False,
        meta=kernels_for(pixels).xp.empty((0,) * (ndim + extra), dtype),
    )


def _paint_task(mask: Array, values: Array, ids: np.ndarray, *, fill: Any, to: np.dtype) -> Array:
    return _paint_block(mask, values, ids, fill=fill, dtype=to)
