"""One pass over a mask: its labels, and the count, box, centroid and second moments of each."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import LABEL, check_mask, is_cupy, is_dask


@dataclass(frozen=True)
class LabelTable:
    """Labels and their geometry, in pixels.

    Attributes
    ----------
    ids : array (label,)
        Sorted labels.
    count : array (label,) of int64
        Pixels per label.
    low, high : array (label, axis) of int64
        Bounding box, half-open.
    origin : array (label, axis) of int64
        A pixel near the label's others, from which ``offset`` counts.
    offset : array (label, axis)
        Mean position, from ``origin``; so a label far from the image's first pixel loses no digits.
    m2 : array (label, axis, axis)
        Sums of products of the deviations from the centroid.
    """

    ids: np.ndarray
    count: np.ndarray
    low: np.ndarray
    high: np.ndarray
    origin: np.ndarray
    offset: np.ndarray
    m2: np.ndarray

    @property
    def centroid(self) -> np.ndarray:
        """Mean position (label, axis)."""
        return self.origin + self.offset

    def __sizeof__(self) -> int:
        return sum(getattr(self, field.name).nbytes for field in fields(self))


def scan(mask: xr.DataArray, *, background: bool = False) -> xr.Dataset:
    """The label table of a mask as a Dataset; see `LabelsAccessor.scan`."""
    mask = check_mask(mask)
    table = label_table(mask, background=background)
    axes = [str(dim) for dim in mask.dims]
    second = table.m2 / table.count[:, None, None]
    result = xr.Dataset(
        {
            "count": (LABEL, table.count, {"long_name": "pixels of the label"}),
            "bbox_min": (
                (LABEL, "axis"),
                table.low,
                {"long_name": "first pixel of the bounding box", "units": "pixel"},
            ),
            "bbox_max": ((LABEL, "axis"), table.high, {"long_name": "end of the bounding box", "units": "pixel"}),
            "centroid": ((LABEL, "axis"), table.centroid, {"long_name": "mean position", "units": "pixel"}),
            "covariance": (
                (LABEL, "axis", "axis_"),
                second,
                {"long_name": "covariance of position", "units": "pixel**2"},
            ),
        },
        coords={LABEL: table.ids, "axis": axes, "axis_": axes},
    )
    return result


def label_table(mask: xr.DataArray, *, background: bool = False) -> LabelTable:
    """The label table of a checked mask, computed now, or remembered from an earlier scan."""
    array = mask.data
    if is_cupy(array):
        raise NotImplementedError("CuPy masks cannot be scanned yet; move it to main memory with mask.as_numpy()")
    if not is_dask(array):
        return scan_block(np.asarray(array), (0,) * array.ndim, background)
    found = _memory.get(array, background)
    if found is None:
        found = _scan_blocks(array, background)
        _memory.put(array, background, found)
    return found


def clear_cache() -> None:
    """Forget the scans of masks that are remembered, so that the next call scans anew.

    A scan is remembered for a dask mask as long as the mask itself is in use; at most 16 are.
    """
    _memory.clear()


def scan_block(mask: np.ndarray, offset: Sequence[int], background: bool) -> LabelTable:
    """The label table of one block whose first pixel lies at ``offset``."""
    from xlabelstats.kernels import cpu
    from xlabelstats.runs import find_runs

    runs = find_runs(mask, background=background)
    n, ndim = runs.ids.size, mask.ndim
    count = np.bincount(runs.codes, weights=runs.lengths, minlength=n).astype(np.int64)
    origin, low, high = (np.empty((n, ndim), np.int64) for _ in range(3))
    s1, s2 = np.zeros((n, ndim)), np.zeros((n, ndim, ndim))
    shape = np.array(mask.shape, np.int64)
    cpu.geometry(runs.codes, runs.starts, runs.lengths, shape, np.zeros(n, bool), origin, low, high, s1, s2)
    s2 = np.triu(s2) + np.swapaxes(np.triu(s2, 1), 1, 2)
    mean = s1 / count[:, None]
    m2 = s2 - mean[:, :, None] * s1[:, None, :]
    shift = np.asarray(offset, np.int64)
    return LabelTable(runs.ids, count, low + shift, high + shift, origin + shift, mean, m2)


def merge_tables(tables: Sequence[LabelTable]) -> LabelTable:
    """Merge the tables of several blocks; a label that occurs in several is folded pairwise."""
    import pandas as pd

    from xlabelstats.kernels import cpu

    if len(tables) == 1:
        return tables[0]
    codes, ids = pd.factorize(np.concatenate([table.ids for table in tables]), sort=True)
    columns = [field.name for field in fields(LabelTable)][1:]
    stacked = [np.concatenate([getattr(table, name) for table in tables]) for name in columns]
    merged = [np.zeros((ids.size, *column.shape[1:]), column.dtype) for column in stacked]
    cpu.merge_geometry(codes, *stacked, *merged)
    return LabelTable(ids, *merged)


def _scan_blocks(mask: Any, background: bool) -> LabelTable:
    from dask.base import tokenize
    from dask.delayed import Delayed
    from dask.highlevelgraph import HighLevelGraph

    from xlabelstats.blocks import merge_by_range
    from xlabelstats.options import compute

    name = f"scan-{tokenize(mask, background)}"
    graph: dict[Any, Any] = {}
    for index in np.ndindex(*mask.numblocks):
        offset = tuple(sum(chunks[:i]) for chunks, i in zip(mask.chunks, index, strict=True))
        graph[(name, *index)] = (scan_block, (mask.name, *index), offset, background)
    merges, (root,) = merge_by_range(f"merge-{name}", list(graph), [], merge_tables, _all_rows)
    layer = graph | merges
    highlevel = HighLevelGraph.from_collections(name, layer, dependencies=[mask])
    return compute(Delayed(root, highlevel, layer=name))


def _all_rows(table: LabelTable, low: Any, high: Any) -> LabelTable:
    return table


class _Memory:
    """The label tables of the dask masks scanned last.

    A table belongs to one dask array object, not to its name alone: dask names an array read from
    a store after the store's path, so a mask that was written anew would get the old one's table.
    """

    size = 16

    def __init__(self) -> None:
        self._tables: OrderedDict[tuple[int, bool], tuple[weakref.ref, str, LabelTable]] = OrderedDict()

    def get(self, mask: Any, background: bool) -> LabelTable | None:
        key = (id(mask), background)
        if key not in self._tables:
            return None
        reference, name, table = self._tables[key]
        return table if name == mask.name and reference() is mask else None

    def put(self, mask: Any, background: bool, table: LabelTable) -> None:
        key = (id(mask), background)
        self._tables[key] = (weakref.ref(mask, lambda _: self._tables.pop(key, None)), mask.name, table)
        self._tables.move_to_end(key)
        while len(self._tables) > self.size:
            self._tables.popitem(last=False)

    def clear(self) -> None:
        self._tables.clear()


_memory = _Memory()
