"""The labels of a result: those the user named, or those of the mask, for which it is scanned and remembered."""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from xlabelstats.catalogue.positions import LabelTable, Positions
from xlabelstats.engine.dask_internals import block_keys, computes_here, delayed_tasks, map_mask_blocks
from xlabelstats.engine.kept_runs import KeptRuns, keeps_runs, room
from xlabelstats.engine.local import map_locally, stretches
from xlabelstats.engine.merge_tree import merge_by_range, take_rows
from xlabelstats.engine.passes import Collection, lazy_tables, tables_of
from xlabelstats.engine.reduction import Table, merge
from xlabelstats.engine.runs import Array, find_labels, find_runs, union
from xlabelstats.inputs import check_labels, check_switches, data_of, is_dask
from xlabelstats.kernels import kernels_for, on_device
from xlabelstats.labels.mixed import Spread, looks_mixed, merge_spreads, spread_of
from xlabelstats.options import compute_each
from xlabelstats.reading import with_sources

T = TypeVar("T")


# The blocks of a dask mask whose pixels are looked at, to tell a mask from an image.
LOOK_BLOCKS = 4


@dataclass
class Ids:
    """The labels of a dask mask, sorted, and whether they seem to lie among each other, as grey values do.

    With the runs of the mask, as long as these are kept.
    """

    ids: np.ndarray
    mixed: bool
    kept: KeptRuns | None = None


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

    def part(self, labels: np.ndarray) -> Selection:
        """That of some of the labels, in this order."""
        sort = np.argsort(labels)
        rows = None if (sort[1:] > sort[:-1]).all() else np.argsort(sort)
        return Selection(labels[sort], self.requested, bool(0 in labels), rows)

    def take(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Arrays with sorted rows in the order of the result."""
        return dict(arrays) if self.rows is None else take_rows(arrays, self.rows)


def choose_labels(mask: xr.DataArray, labels: Any, background: bool, cut: Any = None) -> Selection:
    """The labels the user named, or those of the mask, for which it is scanned now; ``cut`` as for `label_ids`."""
    named = named_labels(mask, labels)
    return named or Selection(label_ids(mask, background=background, cut=cut), False, background)


def named_labels(mask: xr.DataArray, labels: Any) -> Selection | None:
    """The labels the user named, None if there are none."""
    if labels is None:
        return None
    labels = check_labels(labels, mask.dtype)
    return Selection(labels, True, False).part(labels)


def label_table(mask: xr.DataArray, *, background: bool = False) -> LabelTable:
    """The label table of a checked mask, computed now, or remembered from an earlier scan."""
    check_switches(background=background)
    array = array_of(mask)
    table = _memory.get(array, background, LabelTable)
    if table is not None:
        return table
    frames = _memory.frames_with(array)
    if is_dask(array):
        found = _lazy_label_tables(frames, background, [kept_runs(frame, background, frame) for frame in frames])
    else:
        found = [_label_table(tables_of(Collection((Positions(),), background), array))]
    return _memory.put(array, background, frames, found)


def label_table_of_kept(mask: Any, background: bool) -> LabelTable | None:
    """The label table of a dask mask from the runs that were kept of it, if they were, in whatever blocks.

    It is not remembered, since the last bits of where objects lie depend on the blocks; their boxes do not.
    """
    kept = kept_runs(mask, background)
    if kept is None or not computes_here(mask):
        return None
    return _lazy_label_tables([mask.rechunk(kept.chunks)], background, [kept])[0]


def _lazy_label_tables(masks: Sequence[Any], background: bool, kept: Sequence[KeptRuns | None]) -> list[LabelTable]:
    collection = Collection((Positions(),), background)
    pairs = zip(masks, kept, strict=True)
    tables = [lazy_tables(collection, with_sources(mask, "mask"), kept=runs) for mask, runs in pairs]
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
        table = _memory.get(array, background, LabelTable)
        return to_host(_find_ids(array, background, cut).ids if table is None else table.ids)
    if on_device(array):
        return to_host(find_labels(array, background=background))
    contiguous = np.ascontiguousarray(array)
    search = partial(find_labels, contiguous, background=background)
    return union(map_locally(lambda lines: search(lines=lines), stretches(array.shape)))


def labels_seem_mixed(mask: Any, background: bool) -> bool:
    """Whether the labels of a dask mask seem to lie among each other, from what was learned in finding them."""
    return _memory.get(mask, background, LabelTable) is not None or _find_ids(mask, background).mixed


def kept_runs(mask: Any, background: bool, cut: Any = None) -> KeptRuns | None:
    """The runs of a dask mask, if its scan has kept them; of the blocks of ``cut``, if that is given."""
    _memory.let_go()
    ids = _memory.get(mask, background, Ids)
    kept = None if ids is None else ids.kept
    return kept if kept is not None and (cut is None or kept.fits(cut)) else None


def _find_ids(mask: Any, background: bool, cut: Any = None) -> Ids:
    """The labels of a dask mask, found now or remembered."""
    ids = _memory.get(mask, background, Ids)
    if ids is None:
        _memory.let_go()
        frames = _memory.frames_with(mask)
        arrays = [with_sources(frame, "mask") for frame in frames]
        kept = None
        if keeps_runs(mask, cut):
            arrays = [array.rechunk((mask if cut is None else cut).chunks) for array in arrays]
            kept = KeptRuns(arrays, background)
        scanned = arrays[0]
        # From the first block to the last, so that they differ along every axis.
        blocks = np.unravel_index(np.linspace(0, scanned.npartitions - 1, LOOK_BLOCKS).astype(int), scanned.numblocks)
        edges = [np.cumsum((0, *sizes)) for sizes in scanned.chunks]
        looks = frozenset(zip(*(edge[rows].tolist() for edge, rows in zip(edges, blocks, strict=True)), strict=True))
        search = partial(map_mask_blocks, _ids_of_block, background=background, looks=looks)
        scans = [search(array, kept=kept, name=array.name) for array in arrays]
        try:
            merged = [_merge_ids(tables) for tables in _computed(scans, _merge_ids)]
        except BaseException:
            # Whoever holds the exception holds all that was scanned.
            if kept is not None:
                kept.close()
            raise
        kept = kept if kept is not None and kept.finish() else None
        to_host = kernels_for(mask).to_host
        found = [Ids(to_host(labels), spread.seems_wide(edges), kept) for labels, spread in merged]
        ids = _memory.put(mask, background, frames, found)
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
    read of the mask, up to the option ``mask_memory`` of `set_options`.
    """
    _memory.clear()


def array_of(mask: xr.DataArray) -> Any:
    """What a mask holds; if that is a dask array itself, since by that its scan is remembered."""
    return mask.data if mask.chunks is not None else data_of(mask, "mask")


def frames_of(mask: Any, axes: tuple[int, ...], cut: Callable[[], list[Any]]) -> Frames:
    """What ``cut`` gives, the parts of a dask mask at all positions along some axes; remembered, as its scan is."""
    frames = _memory.get(mask, axes, Frames)
    return _memory.put(mask, axes, [mask], [Frames(cut())]) if frames is None else frames


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


@dataclass(frozen=True, eq=False)
class Frames:
    """The parts of a dask mask at all positions along some of its axes, which are scanned together.

    Attributes
    ----------
    arrays : list of dask arrays
    found : dict
        What was found in each of them, by whether the background counts and the kind of what was found.
    """

    arrays: list[Any]
    found: dict[tuple[bool, type], list[Any]] = field(default_factory=dict)


class _Memory:
    """What was found in the dask masks scanned last: a label table, or the labels of the blocks alone.

    The parts of a mask, `Frames`, are remembered as one entry of it, with all that was found in them.

    It belongs to one dask array object, not to its name alone: dask names an array read from a
    store after the store's path, so a mask that was written anew would get the old one's labels.
    """

    size = 16

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[int, Any, type], tuple[weakref.ref, str, Any]] = OrderedDict()
        # For every array that is a part of a mask, that and which one.
        self._frames: dict[int, tuple[weakref.ref, weakref.ref, int]] = {}

    def get(self, mask: Any, background: Any, kind: type[T]) -> T | None:
        if not is_dask(mask):
            return None
        frames, i = self._place(mask)
        if frames is not None:
            return frames.found[background, kind][i] if (background, kind) in frames.found else None
        key = (id(mask), background, kind)
        if key not in self._entries:
            return None
        reference, name, found = self._entries[key]
        return found if name == mask.name and reference() is mask else None

    def frames_with(self, mask: Any) -> list[Any]:
        """The arrays that are scanned together with a dask mask, itself among them."""
        frames, _ = self._place(mask)
        return [mask] if frames is None else frames.arrays

    def put(self, mask: Any, background: Any, arrays: list[Any], several: list[T]) -> T:
        """Remember what was found in a mask and the arrays scanned with it; gives what is the mask's own."""
        own = next(found for array, found in zip(arrays, several, strict=True) if array is mask)
        if not is_dask(mask):
            return own
        for found in several:
            # Results share these ids, and whoever writes to a result must not change what is remembered.
            ids = getattr(found, "ids", None)
            if isinstance(ids, np.ndarray):
                ids.flags.writeable = False
        frames, _ = self._place(mask)
        if frames is not None:
            frames.found[background, type(own)] = several
        elif len(arrays) == 1:
            self._keep(mask, (id(mask), background, type(own)), own)
        return own

    def let_go(self) -> None:
        """Let go of the runs of masks, beginning with those scanned first, until those that are kept have room."""
        for _, _, found in list(self._entries.values()):
            several = found.found.values() if isinstance(found, Frames) else [[found]]
            for ids in itertools.chain.from_iterable(several):
                if KeptRuns.taken() <= room():
                    return
                if isinstance(ids, Ids):
                    ids.kept = None

    def _keep(self, mask: Any, key: tuple[int, Any, type], found: Any) -> None:
        self._entries[key] = (weakref.ref(mask, lambda _: self._entries.pop(key, None)), mask.name, found)
        self._entries.move_to_end(key)
        if isinstance(found, Frames):
            for i, array in enumerate(found.arrays):
                gone = weakref.ref(array, partial(self._forget, id(array)))
                self._frames[id(array)] = (gone, weakref.ref(found), i)
        while len(self._entries) > self.size:
            self._entries.popitem(last=False)

    def _forget(self, place: int, _: Any) -> None:
        self._frames.pop(place, None)

    def _place(self, mask: Any) -> tuple[Frames | None, int]:
        reference, of, i = self._frames.get(id(mask), (None, None, 0))
        if reference is None or of is None or reference() is not mask:
            return None, 0
        return of(), i

    def clear(self) -> None:
        self._entries.clear()
        self._frames.clear()


_memory = _Memory()
