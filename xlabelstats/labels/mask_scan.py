"""What a scan of a mask finds: its labels, where they lie, and its runs; of a dask mask it is remembered."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from xlabelstats.catalogue.positions import LabelTable, Positions
from xlabelstats.engine.dask_internals import (
    block_keys,
    calls_on_blocks,
    computes_here,
    delayed_tasks,
    held_data,
    is_in_memory,
    map_mask_blocks,
)
from xlabelstats.engine.kept_runs import KeptRuns, keeps_runs
from xlabelstats.engine.local import CUT_PIXELS, map_locally, stretches, works_alone
from xlabelstats.engine.merge_tree import FAN_IN, merge_by_range
from xlabelstats.engine.passes import Collection, lazy_tables, tables_of
from xlabelstats.engine.reduction import Block, Table, collect, merge
from xlabelstats.engine.runs import Array, find_labels, find_runs, union
from xlabelstats.inputs import check_switches, data_of, is_dask
from xlabelstats.kernels import kernels_for, on_device
from xlabelstats.labels.mixed import Spread, looks_mixed, merge_spreads, spread_of
from xlabelstats.labels.scan_memory import Frames, Ids, memory
from xlabelstats.options import compute_each
from xlabelstats.reading import with_sources

T = TypeVar("T")


# The blocks of a dask mask whose pixels are looked at, to tell a mask from an image.
LOOK_BLOCKS = 4


def label_table(mask: xr.DataArray, *, background: bool = False) -> LabelTable:
    """The label table of a checked mask, computed now, or remembered from an earlier scan."""
    check_switches(background=background)
    array = array_of(mask)
    table = memory.get(array, background, LabelTable)
    if table is not None:
        return table
    frames = memory.frames_with(array)
    if is_dask(array):
        tables = _label_tables(array, frames, background)
    else:
        tables = [_label_table(tables_of(Collection((Positions(),), background), array))]
    return memory.put(array, background, frames, tables)


def label_table_of_kept(mask: Any, background: bool) -> LabelTable | None:
    """The label table of a dask mask from the runs that were kept of it, if they were, in whatever blocks.

    It is not remembered, since the last bits of where objects lie depend on the blocks; their boxes do not.
    """
    kept = kept_runs(mask, background)
    if kept is None or not computes_here(mask):
        return None
    return _label_tables_of_kept([mask.rechunk(kept.chunks)], background, [kept])[0]


def _label_tables(mask: Any, frames: list[Any], background: bool) -> list[LabelTable]:
    """The label tables of a dask mask and of those scanned with it, which are read if their runs were not kept."""
    kept = [runs for frame in frames if (runs := kept_runs(frame, background, frame)) is not None]
    if len(kept) == len(frames) and computes_here(mask):
        return _label_tables_of_kept(frames, background, kept)
    arrays = [with_sources(frame, "mask") for frame in frames]
    # What was kept of other blocks is not thrown away for these.
    keep = memory.get(mask, background, Ids) is None and keeps_runs(mask)
    scanned, runs = _scanned(_table_of_block, arrays, background, partial(merge, (Positions(),)), keep)
    tables = [_label_table(several) for several in scanned]
    if runs is not None:
        # Whether labels lie among each other is seen in the tables.
        to_host = kernels_for(mask).to_host
        memory.put(mask, background, frames, [Ids(to_host(table.ids), True, runs) for table in tables])
    return tables


def _table_of_block(mask: Array, offset: Sequence[int], *, background: bool, kept: KeptRuns | None, name: str) -> Table:
    runs = find_runs(mask, background=background)
    if kept is not None:
        kept.add(name, offset, runs, mask.nbytes)
    return collect((Positions(),), Block(runs, tuple(offset)))


def _label_tables_of_kept(masks: Sequence[Any], background: bool, kept: Sequence[KeptRuns]) -> list[LabelTable]:
    collection = Collection((Positions(),), background)
    tables = [lazy_tables(collection, mask, kept=runs) for mask, runs in zip(masks, kept, strict=True)]
    return [_label_table(several) for several in _computed(tables, partial(merge, collection.reductions))]


def _label_table(tables: Sequence[Table]) -> LabelTable:
    merged = merge((Positions(),), tables)
    return LabelTable(merged.ids, merged.count, *merged.parts[0])


def label_ids(mask: xr.DataArray, *, background: bool = False, cut: Any = None) -> np.ndarray:
    """The sorted labels of a checked mask, in main memory: what a scan finds, without the geometry.

    A lazy mask is scanned in the blocks in which it will be measured, those of ``cut``, if its runs can be kept.
    """
    check_switches(background=background)
    array = array_of(mask)
    to_host = kernels_for(array).to_host
    if is_dask(array):
        table = memory.get(array, background, LabelTable)
        return to_host(_find_ids(array, background, cut).ids if table is None else table.ids)
    if on_device(array):
        return to_host(find_labels(array, background=background))
    contiguous = np.ascontiguousarray(array)
    search = partial(find_labels, contiguous, background=background)
    return union(map_locally(lambda lines: search(lines=lines), stretches(array.shape)))


def labels_seem_mixed(mask: Any, background: bool) -> bool:
    """Whether the labels of a dask mask seem to lie among each other, from what was learned in finding them."""
    return memory.get(mask, background, LabelTable) is not None or _find_ids(mask, background).mixed


def kept_runs(mask: Any, background: bool, cut: Any = None) -> KeptRuns | None:
    """The runs of a dask mask, if its scan has kept them; of the blocks of ``cut``, if that is given."""
    memory.let_go()
    ids = memory.get(mask, background, Ids)
    kept = None if ids is None else ids.kept
    return kept if kept is not None and (cut is None or kept.fits(cut)) else None


def _find_ids(mask: Any, background: bool, cut: Any = None) -> Ids:
    """The labels of a dask mask, found now or remembered."""
    ids = memory.get(mask, background, Ids)
    if ids is None:
        memory.let_go()
        frames = memory.frames_with(mask)
        arrays = [with_sources(frame, "mask") for frame in frames]
        keep = keeps_runs(mask, cut)
        if keep:
            arrays = [array.rechunk((mask if cut is None else cut).chunks) for array in arrays]
        scanned = arrays[0]
        # From the first block to the last, so that they differ along every axis.
        blocks = np.unravel_index(np.linspace(0, scanned.npartitions - 1, LOOK_BLOCKS).astype(int), scanned.numblocks)
        edges = [np.cumsum((0, *sizes)) for sizes in scanned.chunks]
        looks = frozenset(zip(*(edge[rows].tolist() for edge, rows in zip(edges, blocks, strict=True)), strict=True))
        merged, kept = _scanned(_ids_of_block, arrays, background, _merge_ids, keep, looks=looks)
        to_host = kernels_for(mask).to_host
        joined = [_merge_ids(tables) for tables in merged]
        found = [Ids(to_host(labels), spread.seems_wide(edges), kept) for labels, spread in joined]
        ids = memory.put(mask, background, frames, found)
    return ids


def _ids_of_block(
    mask: Array,
    offset: Sequence[int],
    *,
    background: bool,
    looks: frozenset[tuple[int, ...]],
    kept: KeptRuns | None,
    name: str,
) -> tuple[Array, Spread]:
    if kept is None or not kept.open:
        ids = find_labels(mask, background=background)
    else:
        runs = find_runs(mask, background=background)
        kept.add(name, offset, runs, mask.nbytes)
        ids = runs.ids
    return ids, spread_of(ids, offset, looks_mixed(mask) if tuple(offset) in looks else (False, False))


def _merge_ids(blocks: Sequence[tuple[Array, Spread]]) -> tuple[Array, Spread]:
    ids, spreads = zip(*blocks, strict=True)
    return union(ids), merge_spreads(spreads)


def clear_cache() -> None:
    """Forget the remembered scans of masks, so that the next call scans again.

    The scan of a dask mask is remembered for as long as the mask itself is in use, for at most 16 masks; with what it
    read of the mask, up to the option ``mask_memory`` of `set_options`.  A lazy result holds what it needs of that
    for as long as it is in use itself.
    """
    memory.clear()


def array_of(mask: xr.DataArray) -> Any:
    """What a mask holds; if that is a dask array itself, since by that its scan is remembered."""
    return mask.data if is_dask(held_data(mask)) else data_of(mask, "mask")


def frames_of(mask: Any, axes: tuple[int, ...], cut: Callable[[], list[Any]]) -> Frames:
    """What ``cut`` gives, the parts of a dask mask at all positions along some axes; remembered, as its scan is."""
    frames = memory.get(mask, axes, Frames)
    return memory.put(mask, axes, [mask], [Frames(cut())]) if frames is None else frames


def _scanned(
    function: Callable[..., T],
    masks: Sequence[Any],
    background: bool,
    join: Callable[[Sequence[T]], T],
    keep: bool,
    **options: Any,
) -> tuple[list[list[T]], KeptRuns | None]:
    """What a function finds in the blocks of masks, joined to a few; and their runs, if these are to be kept."""
    kept = KeptRuns(masks, background) if keep else None
    options = {"background": background, "kept": kept, **options}
    try:
        if all(map(_needs_no_graph, masks)):
            joined = [_at_once(calls_on_blocks(function, mask, name=mask.name, **options), mask.size) for mask in masks]
        else:
            scans = [map_mask_blocks(function, mask, name=mask.name, **options) for mask in masks]
            joined = _computed(scans, join)
    except BaseException:
        # Whoever holds the exception holds all that was scanned.
        if kept is not None:
            kept.close()
        raise
    return joined, kept if kept is not None and kept.finish() else None


def _needs_no_graph(mask: Any) -> bool:
    """Whether a dask mask has a few blocks that lie in memory, and dask would do no more for them than these threads.

    So few need not be merged before the last time, see `_computed`.
    """
    if mask.npartitions > FAN_IN or on_device(mask) or not is_in_memory(mask) or not computes_here(mask):
        return False
    return mask.size < CUT_PIXELS or not works_alone()


def _at_once(calls: Sequence[Callable[[], T]], size: int) -> list[T]:
    """What calls for the blocks of a mask give; threads are not worth starting for one of few pixels."""
    return map_locally(operator.call, calls) if size >= CUT_PIXELS else [call() for call in calls]


def _computed(scans: Sequence[Any], join: Callable[[Sequence[T]], T]) -> list[list[T]]:
    """The tables of all blocks of each scan, merged to a few, all computed now together.

    The last merge is left, so that no task holds all.
    """
    several = []
    for tables in scans:
        name = f"merge-{tables.name}"
        merges, (last,) = merge_by_range(name, block_keys(tables).ravel().tolist(), [], join)
        several.append(delayed_tasks(name, merges, last, [tables]))
    values = iter(compute_each([task for tasks in several for task in tasks]))
    return [list(itertools.islice(values, len(tasks))) for tasks in several]
