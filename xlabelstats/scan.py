"""One pass over a mask: its labels, and the count, box, centroid and second moments of each."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from xlabelstats.align import LABEL, check_is_mask, check_labels, check_mask, check_pooling, data_of, is_dask
from xlabelstats.blocks import Column, Rows, block_keys, columns_of, map_blocks, merge_by_range, take_rows
from xlabelstats.cautions import caution
from xlabelstats.kernels import kernels_for
from xlabelstats.mixed import MANY, WIDE, Spread, median_box, merge_spreads, sample, seems_mixed, spread_of
from xlabelstats.reading import with_sources
from xlabelstats.runs import Array, find_labels, find_runs, rows_of, union

T = TypeVar("T")

# The blocks of a dask mask whose pixels are looked at, to tell a mask from an image.
LOOK_BLOCKS = 4


@dataclass(frozen=True)
class LabelTable(Rows):
    """Labels and their geometry, in pixels.

    Attributes
    ----------
    low, high : array (label, axis) of int64
        Bounding box, half-open.
    origin : array (label, axis) of int64
        A pixel near the label's others, from which ``offset`` counts.
    offset : array (label, axis)
        Mean position, from ``origin``; so a label far from the image's first pixel loses no digits.
    m2 : array (label, axis, axis)
        Sums of products of the deviations from the centroid.
    """

    low: Array
    high: Array
    origin: Array
    offset: Array
    m2: Array

    @property
    def centroid(self) -> Array:
        """Mean position (label, axis)."""
        return self.origin + self.offset


@dataclass(frozen=True)
class Ids:
    """The labels of a dask mask, sorted, and whether they seem to lie among each other, as grey values do."""

    ids: np.ndarray
    mixed: bool


def scan(mask: xr.DataArray, *, background: bool = False) -> xr.Dataset:
    """The label table of a mask as a Dataset; see `LabelsAccessor.scan`."""
    check_is_mask(mask)
    check_pooling(mask)
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
        coords={LABEL: kernels_for(table.ids).to_host(table.ids), "axis": axes, "axis_": axes},
    )
    # What is remembered of a mask must not change with what the caller does to the result.
    return result.copy(deep=True)


def label_table(mask: xr.DataArray, *, background: bool = False) -> LabelTable:
    """The label table of a checked mask, computed now, or remembered from an earlier scan."""
    array = _array(mask)
    if not is_dask(array):
        return scan_block(array, (0,) * array.ndim, background)
    found = _memory.get(array, background, LabelTable)
    if found is None:
        found = _over_blocks(array, background, scan_block, merge_tables)
        _memory.put(array, background, found)
    return found


def label_ids(mask: xr.DataArray, *, background: bool = False) -> np.ndarray:
    """The sorted labels of a checked mask, in main memory: what a scan finds, without the geometry."""
    array = _array(mask)
    to_host = kernels_for(array).to_host
    if not is_dask(array):
        return to_host(find_labels(array, background=background))
    table = _memory.get(array, background, LabelTable)
    return to_host(_find_ids(array, background).ids if table is None else table.ids)


def _find_ids(mask: Any, background: bool) -> Ids:
    """The labels of a dask mask, found now or remembered."""
    found = _memory.get(mask, background, Ids)
    if found is None:
        # From the first block to the last, so that they differ along every axis.
        blocks = np.unravel_index(np.linspace(0, mask.npartitions - 1, LOOK_BLOCKS).astype(int), mask.numblocks)
        edges = [np.cumsum((0, *sizes)) for sizes in mask.chunks]
        looks = frozenset(zip(*(edge[rows].tolist() for edge, rows in zip(edges, blocks, strict=True)), strict=True))
        ids, spread = _over_blocks(mask, background, _ids_of_block, _merge_ids, looks=looks)
        found = Ids(kernels_for(mask).to_host(ids), spread.seems_wide(edges))
        _memory.put(mask, background, found)
    return found


def ask_if_swapped(
    mask: xr.DataArray,
    image: xr.DataArray,
    background: bool = False,
    table: Any = None,
    call: str = "image.labels.mean(mask)",
) -> None:
    """Warn if the labels of a checked mask lie among each other, as grey values do: image and mask may be swapped.

    ``table`` has the boxes of all labels, if they are known.  Else the whole mask is scanned for them only if a few of
    its pixels, or the labels of its blocks, give reason to.
    """
    if set(image.dims) != set(mask.dims):
        return
    if table is None:
        array = _array(mask)
        if is_dask(array):
            table = _memory.get(array, background, LabelTable)
            likely = table is not None or _find_ids(array, background).mixed
        else:
            likely = _looks_mixed(array)[1]
        if not likely:
            return
        table = table or label_table(mask, background=background)
    part = median_box(table.low, table.high, mask.shape)
    if len(table.ids) >= MANY and part > WIDE and not _has_fractions(image):
        caution(
            f"are image and mask swapped? The {len(table.ids)} labels of the mask lie among each other, as grey values "
            f"do: the median of their boxes covers {part:.0%} of the mask. The call is {call}. If these are labels, "
            "labels=mask.labels.ids() measures them without this question"
        )


def _looks_mixed(block: Array) -> tuple[bool, bool]:
    """Whether a sample of a block's pixels has many labels, and whether these lie among each other."""
    some = sample(block)
    table = scan_block(some, (0,) * block.ndim, False)
    return seems_mixed(table.count, table.low, table.high, some.shape)


def _has_fractions(image: xr.DataArray) -> bool:
    """Whether an image in memory holds other numbers than whole ones, so that it is no mask."""
    pixels = image.variable._data
    if image.dtype.kind != "f" or not isinstance(pixels, np.ndarray):
        return False
    some = pixels[tuple(slice(None, None, max(1, n // 64)) for n in pixels.shape)]
    return bool((np.isfinite(some) & (some != np.floor(some))).any())


@dataclass(frozen=True)
class Wanted:
    """The labels of a result.

    Attributes
    ----------
    ids : array (label,)
        Sorted.
    requested : bool
        Whether the user named them, so that some may be absent.
    background : bool
        Whether 0 is among them.
    order : array or None
        Where the user's order differs from the sorted one, the rows in that order.
    """

    ids: np.ndarray
    requested: bool
    background: bool
    order: np.ndarray | None = None

    @property
    def labels(self) -> np.ndarray:
        """The labels in the order of the result."""
        return self.ids if self.order is None else self.ids[self.order]

    @property
    def only(self) -> np.ndarray | None:
        """The labels that a block should keep, None for all."""
        return self.ids if self.requested else None

    def take(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Arrays with sorted rows in the order of the result."""
        return dict(arrays) if self.order is None else take_rows(arrays, self.order)


def choose_labels(mask: xr.DataArray, labels: Any, background: bool) -> Wanted:
    """The labels the user named, or those of the mask, for which it is scanned now."""
    if labels is None:
        return Wanted(label_ids(mask, background=background), False, background)
    labels = check_labels(labels, mask.dtype)
    sort = np.argsort(labels)
    rows = None if (sort[1:] > sort[:-1]).all() else np.argsort(sort)
    return Wanted(labels[sort], True, 0 in labels, rows)


def collect(
    block: Callable[..., Any],
    mask: Any,
    image: Any,
    wanted: Wanted,
    merge: Callable[..., Any],
    settle: Callable[..., Mapping[str, np.ndarray]],
    columns: Mapping[str, Column],
    **options: Any,
) -> dict[str, Any]:
    """Tables of all blocks of a mask, or of an image over it, merged and settled.

    At once for numpy, as one block; as lazy columns for dask.  See `columns_of` for the parts.
    """
    options |= {"background": wanted.background, "only": wanted.only}
    ndim = mask.ndim
    if is_dask(mask):
        tables = map_blocks(block, mask, image, **options)
        return columns_of(tables, wanted.ids, ndim, merge, settle, columns, wanted.order, like=mask)
    images, other = ((), ()) if image is None else ((image,), image.shape[: image.ndim - ndim])
    table = block(mask, (0,) * ndim, *images, **options)
    return wanted.take(settle([table], other, kernels_for(mask).xp.asarray(wanted.ids)))


def clear_cache() -> None:
    """Forget the scans of masks that are remembered, so that the next call scans anew.

    A scan is remembered for a dask mask as long as the mask itself is in use; at most 16 are.
    """
    _memory.clear()


def scan_block(mask: Array, offset: Sequence[int], background: bool, only: np.ndarray | None = None) -> LabelTable:
    """The label table of one block whose first pixel lies at ``offset``, of the labels ``only`` if given."""
    kernels = kernels_for(mask)
    xp = kernels.xp
    runs = find_runs(mask, background=background, only=only)
    n, ndim = runs.ids.size, mask.ndim
    count = runs.count
    origin, low, high = (xp.empty((n, ndim), np.int64) for _ in range(3))
    s1, s2 = xp.zeros((n, ndim)), xp.zeros((n, ndim, ndim))
    shape = np.array(mask.shape, np.int64)
    kernels.geometry(runs.codes, runs.starts, runs.lengths, shape, origin, low, high, s1, s2)
    s2 = xp.triu(s2) + xp.swapaxes(xp.triu(s2, 1), 1, 2)
    mean = s1 / count[:, None]
    m2 = s2 - mean[:, :, None] * s1[:, None, :]
    shift = xp.asarray(offset, np.int64)
    return LabelTable(runs.ids, count, low + shift, high + shift, origin + shift, mean, m2)


def merge_tables(tables: Sequence[LabelTable], ids: Array | None = None) -> LabelTable:
    """Merge the tables of several blocks; a label that occurs in several is folded pairwise.

    With ``ids`` (sorted, all that occur among them) there is a row for each, 0 where none has it.
    """
    kernels = kernels_for(tables[0].ids)
    if len(tables) == 1 and (ids is None or kernels.xp.array_equal(ids, tables[0].ids)):
        return tables[0]
    if ids is None:
        ids = union([table.ids for table in tables])
    columns = [[getattr(table, field.name) for field in fields(LabelTable)[1:]] for table in tables]
    merged = [kernels.xp.zeros((ids.size, *column.shape[1:]), column.dtype) for column in columns[0]]
    for table, column in zip(tables, columns, strict=True):
        kernels.merge_geometry(rows_of(table.ids, ids), *column, *merged)
    return LabelTable(ids, *merged)


def _array(mask: xr.DataArray) -> Any:
    """What a mask holds; if that is a dask array itself, since by that its scan is remembered."""
    return mask.data if mask.chunks is not None else data_of(mask, "mask")


def _ids_of_block(
    mask: Array, offset: Sequence[int], background: bool, looks: frozenset[tuple[int, ...]]
) -> tuple[Array, Spread]:
    ids = find_labels(mask, background=background)
    return ids, spread_of(ids, offset, _looks_mixed(mask) if tuple(offset) in looks else (False, False))


def _merge_ids(blocks: Sequence[tuple[Array, Spread]]) -> tuple[Array, Spread]:
    ids, spreads = zip(*blocks, strict=True)
    return union(ids), merge_spreads(spreads)


def _over_blocks(
    mask: Any, background: bool, scan: Callable[..., T], merge: Callable[[Sequence[T]], T], **options: Any
) -> T:
    """Scan every block of a dask mask and merge what is found, now; the last tables here, so that no task holds all."""
    from dask.delayed import Delayed
    from dask.highlevelgraph import HighLevelGraph

    from xlabelstats.options import compute_each

    tables = map_blocks(scan, with_sources(mask, "mask"), background=background, **options)
    name = f"merge-{tables.name}"
    merges, (last,) = merge_by_range(name, block_keys(tables).ravel().tolist(), [], merge)
    graph = HighLevelGraph.from_collections(name, merges, dependencies=[tables])
    return merge(compute_each([Delayed(key, graph, layer=name) for key in last]))


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
        if key not in self._entries:
            return None
        reference, name, found = self._entries[key]
        return found if name == mask.name and reference() is mask else None

    def put(self, mask: Any, background: bool, found: Any) -> None:
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
