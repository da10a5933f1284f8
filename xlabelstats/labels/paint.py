"""From numbers per label back to pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xlabelstats.align import given_name
from xlabelstats.classes import classes_of
from xlabelstats.encoding import without_encoding
from xlabelstats.engine.merge_tree import uniform
from xlabelstats.engine.runs import Array, find_rows, find_runs
from xlabelstats.inputs import check_labels, check_mask, check_same_side, data_of, dense, is_dask
from xlabelstats.kernels import kernels_for, on_device
from xlabelstats.labels.mask_scan import label_ids
from xlabelstats.names import LABEL, OBJECT
from xlabelstats.rows import DDOF, SKIPNA, names_of_rows

if TYPE_CHECKING:
    import pandas as pd


def paint(mask: xr.DataArray, values: Any, fill_value: Any = None) -> xr.DataArray:
    """An image in which every pixel carries its label's value; see `LabelsAccessor.paint`."""
    _check_not_swapped(mask, values)
    mask = check_mask(mask)
    pixels = data_of(mask, "mask")
    names = _names_of_objects(values)
    values = values if names is None else _numbered(values)
    table = _as_table(values, mask, kernels_for(pixels).xp)
    check_same_side(values=table.data, mask=pixels)
    clash = [dim for dim in table.dims if dim in mask.dims]
    if clash:
        raise ValueError(f"the values and the mask both have a dim {clash[0]!r}; rename it in the values")
    if names is None:
        ids = _labels_of(table, mask.dtype)
        order = np.argsort(ids, kind="stable")
        rows = Rows(ids[order])
    else:
        rows, order = _rows_at_positions(names, mask)
    table = table.isel({LABEL: order})
    fill, dtype = _fill(fill_value, table.dtype)
    extra = table.dims[1:]
    if is_dask(pixels) or is_dask(table.data):
        painted = _paint_blocks(pixels, table, rows, fill, dtype)
    else:
        where = [np.arange(pixels.shape[axis]) for axis in rows.axes]
        painted = _paint_rows(pixels, data_of(table, "table of values"), rows.ids, where, rows, fill=fill, dtype=dtype)
    coords = {
        name: coord
        for source in (table, mask)
        for name, coord in source.coords.items()
        if set(coord.dims) <= {*extra, *mask.dims} and (source is mask or name not in (DDOF, SKIPNA))
    }
    # Left to itself, xarray would name the image after the dask array.
    result = xr.DataArray(painted, dims=(*extra, *mask.dims), coords=coords, attrs=table.attrs)
    result = result.rename(given_name(table))
    return without_encoding(result)


def _check_not_swapped(mask: xr.DataArray, values: Any) -> None:
    """Complain if a result is to be painted with its mask."""
    rows = {LABEL, OBJECT}
    if rows & {*mask.dims} and isinstance(values, xr.DataArray) and not rows & {*values.dims}:
        raise ValueError(
            f"the array with the dims {mask.dims} is a result, and that with {values.dims} is the mask; it is the mask "
            "that is painted: mask.labels.paint(result)"
        )


@dataclass(frozen=True)
class Rows:
    """The rows of a table of values, sorted: a label each, or one at a position along some axes of the mask.

    Attributes
    ----------
    ids : array (row,)
        The labels.
    axes : tuple of int
        The axes of the mask along which positions differ.
    sizes : tuple of int
        The size of the mask along these.
    ends : array (1 + position,)
        The first row of every position, and the end of the last.
    """

    ids: np.ndarray
    axes: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()
    ends: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))


def _names_of_objects(values: Any) -> pd.MultiIndex | None:
    """The positions and labels of values that lie along the dim `OBJECT`, or that a table of such has."""
    import pandas as pd

    if isinstance(values, pd.Series) and isinstance(values.index, pd.MultiIndex) and LABEL in values.index.names:
        return values.index
    if not isinstance(values, xr.DataArray) or OBJECT not in values.dims:
        return None
    names = names_of_rows(values)
    if LABEL not in values.coords or not isinstance(names, pd.MultiIndex):
        raise ValueError(
            f"the values have the dim {OBJECT!r}, but no coordinates that give the label and the position of each; "
            f"they have the coordinates {tuple(values.coords)}"
        )
    return names


def _numbered(values: Any) -> Any:
    """The same values, the rows named by their numbers."""
    numbers = np.arange(len(values) if not isinstance(values, xr.DataArray) else values.sizes[OBJECT])
    if not isinstance(values, xr.DataArray):
        return values.set_axis(numbers).rename_axis(LABEL)
    bare = values.drop_vars([name for name, coord in values.coords.items() if OBJECT in coord.dims])
    return bare.rename({OBJECT: LABEL}).assign_coords({LABEL: numbers})


def _rows_at_positions(names: pd.MultiIndex, mask: xr.DataArray) -> tuple[Rows, np.ndarray]:
    """The rows of values at positions of a mask, sorted, and in which order those given are then."""
    import pandas as pd

    dims = [dim for dim in names.names if dim != LABEL]
    lacking = [dim for dim in dims if dim not in mask.dims]
    if lacking:
        raise ValueError(
            f"the values are of labels at positions along {lacking[0]!r}, which is no dim of the mask "
            f"{tuple(mask.dims)}; paint the mask that they were measured with"
        )
    labels = names.get_level_values(LABEL).to_numpy()
    ids = labels.astype(check_labels(np.unique(labels), mask.dtype).dtype)
    sizes = tuple(mask.sizes[dim] for dim in dims)
    place = np.zeros(ids.size, np.int64)
    for dim, size in zip(dims, sizes, strict=True):
        index = mask.indexes[dim] if dim in mask.indexes else pd.RangeIndex(size)
        given = names.get_level_values(names.names.index(dim))
        if not index.is_unique:
            raise ValueError(
                f"the coordinates of the mask along {dim!r} repeat, so it is not clear which position is meant"
            )
        found = index.get_indexer(given)
        if (found < 0).any():
            raise ValueError(
                f"the values are of {dim!r} = {given[found < 0][0]}, and the mask has no such position; it has "
                + (f"{index[0]} to {index[-1]}" if size else "none")
                + f". If these are positions of the mask, give it the coordinate: mask.assign_coords({dim}=...)"
            )
        place = place * size + found
    order = np.lexsort((ids, place))
    ids, place = ids[order], place[order]
    twice = np.flatnonzero((np.diff(place) == 0) & (ids[1:] == ids[:-1]))
    if twice.size:
        row = zip(names.names, names[order[twice[0]]], strict=True)
        raise ValueError(f"there are two values of {', '.join(f'{name} = {value}' for name, value in row)}")
    ends = np.searchsorted(place, np.arange(math.prod(sizes) + 1))
    return Rows(ids, mask.get_axis_num(dims), sizes, ends), order


def _as_table(values: Any, mask: xr.DataArray, xp: ModuleType) -> xr.DataArray:
    """The values as a DataArray (label, *extra) with unique integer labels; those of a Series as an array of ``xp``."""
    import pandas as pd

    if isinstance(values, Mapping) and not isinstance(values, xr.Dataset | xr.DataArray):
        values = pd.Series(values) if values else pd.Series([], index=pd.Index([], dtype=np.int64), dtype=np.float64)
        values = values.rename_axis(LABEL)
    values = dense(values) if isinstance(values, xr.DataArray) else values
    if isinstance(values, xr.DataArray) and values.dtype.kind not in "biufc" and values.dims == (LABEL,):
        values = values.to_series() if LABEL in values.coords else values
    if isinstance(values, pd.Series):
        check_rows(values, mask)
        values = _as_array(values, xp)
    if not isinstance(values, xr.DataArray):
        raise TypeError(
            f"values are a DataArray with the dim {LABEL!r}, a pandas Series or a mapping from label to value, "
            f"not {type(values).__name__}{_choice_of(values)}"
        )
    if LABEL not in values.dims:
        raise ValueError(f"the values have no dim {LABEL!r}; they have {values.dims}")
    if LABEL not in values.coords:
        raise ValueError(f"the values have no labels; give them: values.assign_coords({LABEL}=[...])")
    if values.dtype.kind not in "biufc":
        raise TypeError(
            f"values to paint are numbers, or classes along the dim {LABEL!r} alone, not {values.dtype} along "
            f"{values.dims}; give each class a number"
        )
    return values.transpose(LABEL, ...)


def _choice_of(values: Any) -> str:
    """How to choose a column of a table, or a variable, as the end of a complaint; empty for what has none."""
    import pandas as pd

    names = [*values] if isinstance(values, pd.DataFrame | xr.Dataset) else []
    what = "column: table" if isinstance(values, pd.DataFrame) else "variable: result"
    return f"; choose a {what}[{names[0]!r}]" if names else ""


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
                f"the index of the values has no name, and the mask has no label {missing[0]}: it may hold the numbers "
                f"of the rows of a table; make the labels the index: table.{_column(values.name)}; or if it holds the "
                f"labels: values.rename_axis({LABEL!r})"
            )
        return
    beyond = ids[(ids < 0) | (ids >= rows.stop)]
    if beyond.size:
        raise ValueError(
            f"the values have the default index of pandas, 0 to {rows.stop - 1}, and the mask has the label "
            f"{beyond[0]}; make the labels the index: table.{_column(values.name)}; or if these numbers are the "
            f"labels: values.rename_axis({LABEL!r})"
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
            f"; for an AnnData make the labels the index: table.obs.{_column(table.name)}; or if the text is "
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


def _paint_rows(
    mask: Array,
    values: Array,
    ids: np.ndarray,
    where: Sequence[np.ndarray],
    rows: Rows,
    *,
    fill: Any,
    dtype: np.dtype,
) -> Array:
    """Paint one block, every position along the axes of the rows by itself; ``where`` says which these are."""
    if not rows.axes:
        return _paint_block(mask, values, ids, fill=fill, dtype=dtype)
    xp = kernels_for(mask).xp
    extra = values.ndim - 1
    painted = xp.empty((*values.shape[1:], *mask.shape), dtype)
    front = tuple(range(len(rows.axes)))
    masks = xp.moveaxis(mask, rows.axes, front)
    images = xp.moveaxis(painted, [extra + axis for axis in rows.axes], front)
    for index in np.ndindex(masks.shape[: len(front)]):
        places = [int(along[i]) for along, i in zip(where, index, strict=True)]
        place = int(np.ravel_multi_index(places, rows.sizes))
        some = slice(int(rows.ends[place]), int(rows.ends[place + 1]))
        one = xp.ascontiguousarray(masks[index])
        images[index] = _paint_block(one, values[some], ids[some], fill=fill, dtype=dtype)
    return painted


def _paint_blocks(mask: Any, table: xr.DataArray, rows: Rows, fill: Any, dtype: np.dtype) -> Any:
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
    along = [(da.arange(pixels.shape[axis], chunks=(pixels.chunks[axis],)), (axis,)) for axis in rows.axes]
    return da.blockwise(
        _paint_task,
        (*others, *shared),
        pixels,
        shared,
        values,
        (label, *others),
        da.from_array(rows.ids, chunks=-1),
        (label,),
        *(each for pair in along for each in pair),
        rows=replace(rows, ids=rows.ids[:0]),
        fill=fill,
        to=dtype,
        concatenate=True,
        align_arrays=False,
        meta=kernels_for(pixels).xp.empty((0,) * (ndim + extra), dtype),
    )


def _paint_task(
    mask: Array, values: Array, ids: np.ndarray, *where: np.ndarray, rows: Rows, fill: Any, to: np.dtype
) -> Array:
    return _paint_rows(mask, values, ids, where, rows, fill=fill, dtype=to)
