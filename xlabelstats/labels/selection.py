"""The labels of a result: those the user named, or those of the mask, for which it is scanned and remembered."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from xlabelstats.catalogue.positions import LabelTable, Positions
from xlabelstats.engine.dask_internals import block_keys, delayed_tasks, map_mask_blocks
from xlabelstats.engine.local import map_locally, stretches
from xlabelstats.engine.merge_tree import merge_by_range, take_rows
from xlabelstats.engine.passes import Collection, lazy_tables, tables_of
from xlabelstats.engine.reduction import merge
from xlabelstats.engine.runs import Array, find_labels, union
from xlabelstats.inputs import check_labels, check_switches, data_of, is_dask
from xlabelstats.kernels import kernels_for, on_device
from xlabelstats.labels.mixed import Spread, looks_mixed, merge_spreads, spread_of
from xlabelstats.options import compute_each
from xlabelstats.reading import with_sources

T = TypeVar("T")


# The blocks of a dask mask whose pixels are looked at, to tell a mask from an image.
LOOK_BLOCKS = 4


@dataclass(frozen=True)
class Ids:
    """The labels of a dask mask, sorted, and whether they seem to lie among each other, as grey values do."""

    ids: np.ndarray
    mixed: bool


@dataclass(frozen=True)
class Selection:
    """The labels of a result.

    Attributes
    ----------
    ids : array (label,)
        Sorted.
    requested : bool
        Whether the user named them, so that some may be absent.
    background : bool
        Whether 0 is among them.
    rows : array or None
        Where the user's order differs from the sorted one, the rows in that order.
    """

    ids: np.ndarray
    requested: bool
    background: bool
    rows: np.ndarray | None = None

    @property
    def labels(self) -> np.ndarray:
        """The labels in the order of the result."""
        return self.ids if self.rows is None else self.ids[self.rows]

    @property
    def only(self) -> np.ndarray | None:
        """The labels that a block should keep, None for all."""
        return self.ids if self.requested else None

    def take(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Arrays with sorted rows in the order of the result."""
        return dict(arrays) if self.rows is None else take_rows(arrays, self.rows)


def choose_labels(mask: xr.DataArray, labels: Any, background: bool) -> Selection:
    """The labels the user named, or those of the mask, for which it is scanned now."""
    return named_labels(mask, labels) or Selection(label_ids(mask, background=background), False, background)


def named_labels(mask: xr.DataArray, labels: Any) -> Selection | None:
    """The labels the user named, None if there are none."""
    if labels is None:
        return None
    labels = check_labels(labels, mask.dtype)
    sort = np.argsort(labels)
    rows = None if (sort[1:] > sort[:-1]).all() else np.argsort(sort)
    return Selection(labels[sort], True, bool(0 in labels), rows)


def label_table(mask: xr.DataArray, *, background: bool = False) -> LabelTable:
    """The label table of a checked mask, computed now, or remembered from an earlier scan."""
    check_switches(background=background)
    array = array_of(mask)
    table = _memory.get(array, background, LabelTable)
    if table is None:
        collection = Collection((Positions(),), background)
        join = partial(merge, collection.reductions)
        if is_dask(array):
            tables = _computed(lazy_tables(collection, with_sources(array, "mask")), join)
        else:
            tables = tables_of(collection, array)
        merged = join(tables)
        table = LabelTable(merged.ids, merged.count, *merged.parts[0])
        _memory.put(array, background, table)
    return table


def label_ids(mask: xr.DataArray, *, background: bool = False) -> np.ndarray:
    """The sorted labels of a checked mask, in main memory: what a scan finds, without the geometry."""
    check_switches(background=background)
    array = array_of(mask)
    to_host = kernels_for(array).to_host
    if is_dask(array):
        table = _memory.get(array, background, LabelTable)
        return to_host(_find_ids(array, background).ids if table is None else table.ids)
    if on_device(array):
        return to_host(find_labels(array, background=background))
    contiguous = np.ascontiguousarray(array)
    search = partial(find_labels, contiguous, background=background)
    return union(map_locally(lambda lines: search(lines=lines), stretches(array.shape)))


def labels_seem_mixed(mask: Any, background: bool) -> bool:
    """Whether the labels of a dask mask seem to lie among each other, from what was learned in finding them."""
    return _memory.get(mask, background, LabelTable) is not None or _find_ids(mask, background).mixed


def _find_ids(mask: Any, background: bool) -> Ids:
    """The labels of a dask mask, found now or remembered."""
    ids = _memory.get(mask, background, Ids)
    if ids is None:
        # From the first block to the last, so that they differ along every axis.
        blocks = np.unravel_index(np.linspace(0, mask.npartitions - 1, LOOK_BLOCKS).astype(int), mask.numblocks)
        edges = [np.cumsum((0, *sizes)) for sizes in mask.chunks]
        looks = frozenset(zip(*(edge[rows].tolist() for edge, rows in zip(edges, blocks, strict=True)), strict=True))
        parts = map_mask_blocks(_ids_of_block, with_sources(mask, "mask"), background=background, looks=looks)
        labels, spread = _merge_ids(_computed(parts, _merge_ids))
        ids = Ids(kernels_for(mask).to_host(labels), spread.seems_wide(edges))
        _memory.put(mask, background, ids)
    return ids


def _ids_of_block(
    mask: Array, offset: Sequence[int], *, background: bool, looks: frozenset[tuple[int, ...]]
) -> tuple[Array, Spread]:
    ids = find_labels(mask, background=background)
    return ids, spread_of(ids, offset, looks_mixed(mask) if tuple(offset) in looks else (False, False))


def _merge_ids(blocks: Sequence[tuple[Array, Spread]]) -> tuple[Array, Spread]:
    ids, spreads = zip(*blocks, strict=True)
    return union(ids), merge_spreads(spreads)


def clear_cache() -> None:
    """Forget the scans of masks that are remembered, so that the next call scans anew.

    A scan is remembered for a dask mask as long as the mask itself is in use; at most 16 are.
    """
    _memory.clear()


def array_of(mask: xr.DataArray) -> Any:
    """What a mask holds; if that is a dask array itself, since by that its scan is remembered."""
    return mask.data if mask.chunks is not None else data_of(mask, "mask")


def _computed(tables: Any, join: Callable[[Sequence[T]], T]) -> list[T]:
    """The tables of all blocks, merged to a few and computed now; the last merge is left, so that no task holds all."""
    name = f"merge-{tables.name}"
    merges, (last,) = merge_by_range(name, block_keys(tables).ravel().tolist(), [], join)
    return list(compute_each(delayed_tasks(name, merges, last, [tables])))


class _Memory:
    """What was found in the dask masks scanned last: a label table, or the labels of the blocks alone.

    It belongs to one dask array object, not to its name alone: dask names an array read from a
    store after the store's path, so a mask that was written anew would get the old one's labels.
    """

    size = 16

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[int, bool, type], tuple[weakref.ref, str, Any]] = OrderedDict()

    def get(self, mask: Any, background: bool, kind: type[T]) -> T | None:
        key = (id(mask), background, kind)
        if not is_dask(mask) or key not in self._entries:
            return None
        reference, name, found = self._entries[key]
        return found if name == mask.name and reference() is mask else None

    def put(self, mask: Any, background: bool, found: Any) -> None:
        if not is_dask(mask):
            return
        # Results share these ids, and whoever writes to a result must not change what is remembered.
        if isinstance(found.ids, np.ndarray):
            found.ids.flags.writeable = False
        key = (id(mask), background, type(found))
        self._entries[key] = (weakref.ref(mask, lambda _: self._entries.pop(key, None)), mask.name, found)
        self._entries.move_to_end(key)
        while len(self._entries) > self.size:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        self._entries.clear()


_memory = _Memory()
