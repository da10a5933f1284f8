"""Passes over a mask and an image: tables of all blocks collected, merged and finished, at once or lazily."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from xlabelstats.engine.dask_internals import computes_here, is_in_memory, map_mask_blocks
from xlabelstats.engine.kept_runs import KeptRuns, PackedRuns
from xlabelstats.engine.local import map_locally, stretches
from xlabelstats.engine.merge_tree import LABELS_PER_CHUNK, Column, filled, lazy_columns
from xlabelstats.engine.ownership import Region, find_regions, map_regions
from xlabelstats.engine.reduction import Block, Reduction, Table, WholeBlock, collect
from xlabelstats.engine.region_pixels import KEPT_BYTES, is_read_again
from xlabelstats.engine.runs import (
    NOT_AS_DECLARED,
    Array,
    LabelRuns,
    Surroundings,
    check_absent,
    check_shape,
    find_runs,
    pixel_dtype,
)
from xlabelstats.engine.surroundings import map_surroundings
from xlabelstats.inputs import is_dask
from xlabelstats.kernels import kernels_for, on_device

if TYPE_CHECKING:
    from xlabelstats.engine.plan import Finishing
    from xlabelstats.labels.selection import Selection
    from xlabelstats.labels.subject import Subject, WholeSubject

# Of what takes long, values of so many bytes are computed at a time, and numpy arrays are cut to about so many pixels.
BATCH_BYTES = 3 * 2**26
HEAVY_PIXELS = 2**16


@dataclass(frozen=True)
class Collection:
    """What to collect from every block: one object that all tasks of a graph refer to.

    Attributes
    ----------
    reductions : tuple of Reduction
    background : bool
        Whether label 0 is measured.
    only : array (label,) or None
        The labels to be measured, sorted; None for all.
    dtype : numpy.dtype or None
        That of the image.
    """

    reductions: tuple[Reduction, ...]
    background: bool
    only: np.ndarray | None = None
    dtype: np.dtype | None = None

    @property
    def reads_image(self) -> bool:
        """Whether the image is needed at all."""
        return any(reduction.reads_image for reduction in self.reductions)

    @property
    def halo(self) -> int:
        """How many pixels of the mask around a block are looked at."""
        return max((reduction.halo for reduction in self.reductions), default=0)

    def find_runs(self, mask: Array, lines: slice | None = None) -> LabelRuns:
        """The labels to be measured in a block, or in some of its lines, and their runs."""
        return find_runs(mask, background=self.background, only=self.only, lines=lines)

    def find_surrounded(self, mask: Array, around: Surroundings) -> LabelRuns:
        """The labels to be measured in a block, and their runs, with what lies around it."""
        return replace(self.find_runs(mask), surroundings=around)


def run_merging(subject: Subject, finishing: Finishing) -> tuple[Selection, dict[str, Any]]:
    """Collect what merges across blocks in one read of the mask and, where it is needed, of the image."""
    selection = subject.selection
    collection = Collection(
        finishing.reductions,
        subject.background,
        None if selection is None else selection.only,
        None if subject.image is None else subject.image.dtype,
    )
    image, weights = (subject.image, subject.weights) if collection.reads_image else (None, None)
    if selection is not None and is_dask(subject.mask):
        tables = lazy_tables(collection, subject.mask, image, weights, subject.kept)
        return selection, lazy_columns(
            tables,
            selection.ids,
            subject.mask.ndim,
            finishing,
            finishing.columns,
            selection.rows,
            like=subject.mask,
        )
    tables = tables_of(collection, subject.mask, image, weights)
    other = () if image is None else image.shape[: image.ndim - subject.mask.ndim]
    if selection is None:
        tables = [finishing.merge(tables)]
        selection = subject.select(tables[0].ids)
        ids = tables[0].ids
    else:
        ids = kernels_for(subject.mask).xp.asarray(selection.ids)
    return selection, selection.take(finishing(tables, other, ids))


def tables_of(
    collection: Collection, mask: Array, image: Array | None = None, weights: Array | None = None
) -> list[Table]:
    """The tables of the blocks of an array in memory, collected now."""
    pieces = [slice(None)] if on_device(mask) else stretches(mask.shape)
    if len(pieces) > 1:
        # Stretches are views, so what the kernels cannot read as it lies is turned once, not once per stretch.
        mask = np.ascontiguousarray(mask)
        image = None if image is None else np.ascontiguousarray(image, pixel_dtype(image.dtype))
        weights = None if weights is None else np.ascontiguousarray(weights, pixel_dtype(weights.dtype))
    return map_locally(partial(_collect_lines, collection, mask, image, weights), pieces)


def _collect_lines(
    collection: Collection, mask: Array, image: Array | None, weights: Array | None, lines: slice
) -> Table:
    origin = (0,) * mask.ndim
    labels = collection.find_runs(mask, lines)
    if collection.halo:
        labels = replace(labels, surroundings=Surroundings(mask, origin))
    return collect(collection.reductions, Block(labels, origin, image, weights))


def lazy_tables(
    collection: Collection, mask: Any, image: Any = None, weights: Any = None, kept: KeptRuns | None = None
) -> Any:
    """A dask array (*other, *shared) of tables, one per block of the mask, or of the image over it.

    Weights of one block along an axis serve all blocks along it.  Where the mask's runs are ``kept`` it is not read,
    unless the pixels around blocks are looked at, or dask computes elsewhere.  The array has the same name then.
    """
    import dask.array as da
    from dask import delayed
    from dask.base import tokenize

    starts = tuple(np.cumsum((0, *chunks)) for chunks in mask.chunks)
    # A scan is of all labels, so tables of others cannot be taken for its.
    mark = KeptRuns.mark_of(mask, collection.background, kept) if collection.only is None else ""
    labels = mask
    if collection.halo:
        mask = labels = map_surroundings(collection.find_surrounded, mask, collection.halo)
    elif kept is not None and computes_here(mask):
        labels = kept.runs_of(mask)
    elif image is not None and image.npartitions > mask.npartitions:
        # The runs of a block are found once and serve all chunks of the image's own dims.
        labels = map_mask_blocks(_find_runs, mask, collection=collection)
    source = mask if image is None else image
    held = delayed(collection, pure=True, traverse=False)
    names = [None if array is None else array.name for array in (mask, image, weights)]
    # As a layer of blocks, since dask then reads the image within the tasks that collect from it.
    return da.map_blocks(
        _collect,
        *(array for array in (labels, image, weights) if array is not None),
        name=f"tables-{tokenize(names, held.key, mark)}",
        collection=held,
        starts=starts,
        chunks=source.chunks,
        meta=np.empty((0,) * source.ndim, object),
    )


def _find_runs(mask: Array, offset: tuple[int, ...], *, collection: Collection) -> LabelRuns:
    return collection.find_runs(mask)


def _collect(
    mask: Array | LabelRuns | PackedRuns,
    image: Array | None = None,
    weights: Array | None = None,
    *,
    collection: Collection,
    starts: tuple[np.ndarray, ...],
    block_id: tuple[int, ...],
) -> Table:
    place = block_id[len(block_id) - len(starts) :]
    offset = tuple(int(start[i]) for start, i in zip(starts, place, strict=True))
    shape = tuple(int(start[i + 1] - start[i]) for start, i in zip(starts, place, strict=True))
    if isinstance(mask, PackedRuns):
        labels = mask.unpack(shape)
    else:
        check_shape(mask.shape, shape)
        labels = mask if isinstance(mask, LabelRuns) else collection.find_runs(mask)
    if image is not None:
        declared = collection.dtype
        if image.size and declared is not None and not np.can_cast(image.dtype, declared, "same_kind"):
            raise TypeError(
                f"a block of the image holds {image.dtype}, but its dask array declares {declared}; {NOT_AS_DECLARED}"
            )
    first = not any(block_id[: len(block_id) - len(starts)])
    return collect(collection.reductions, Block(labels, offset, image, weights), first=first)


def run_whole(
    subject: WholeSubject, finishing: Finishing, *, heavy: bool = False, batch: int | None = None
) -> tuple[Selection, dict[str, Any]]:
    """Collect what needs every object whole, in regions of the mask and the image in which objects lie whole.

    What is ``heavy`` takes long, and much memory for every label.  Lazy arrays are then read anew for every ``batch``
    of labels, by default as many as `BATCH_BYTES` hold, if they are stored.
    """
    selection, mask = subject.selection, subject.mask
    for name, column in finishing.columns.items():
        check_absent(subject.absent, name, column.dtype, finishing.measures[name].absent)
    if subject.lazy:
        return selection, _lazy_batches(subject, finishing, batch) if heavy else _lazy_whole(subject, finishing)
    if not subject.objects.ids.size:
        return selection, _without_objects(subject, finishing)
    image, other, (low, high) = _needed(subject, finishing)
    function = partial(collect_whole, finishing.reductions)
    pieces = stretches(mask.shape, HEAVY_PIXELS) if heavy else stretches(mask.shape)
    if len(pieces) > 1 and not on_device(mask) and all(reduction.parallel for reduction in finishing.reductions):
        edges = np.linspace(0, mask.shape[0], min(len(pieces), mask.shape[0]) + 1).astype(int)
        chunks = [np.diff(edges).tolist(), *([n] for n in mask.shape[1:])]
        by_block = find_regions(subject.objects, low, high, chunks)
        regions = [region for regions in by_block for region in regions]
        tables = map_locally(partial(_collect_region, function, mask, image, subject.objects), regions)
    else:
        tables = [function(mask, image, (0,) * mask.ndim, subject.objects)]
    ids = kernels_for(mask).xp.asarray(selection.ids)
    return selection, selection.take(finishing(tables, other, ids))


def _needed(
    subject: WholeSubject, finishing: Finishing
) -> tuple[Array | None, tuple[int, ...], tuple[np.ndarray, np.ndarray]]:
    """The image and the sizes of its other dims, if it is read, and the boxes of pixels that the objects need."""
    image = subject.image if any(reduction.reads_image for reduction in finishing.reductions) else None
    boxes = [reduction.boxes(subject.objects, subject.mask.shape) for reduction in finishing.reductions]
    low = np.minimum.reduce([first for first, _ in boxes])
    high = np.maximum.reduce([last for _, last in boxes])
    return image, () if image is None else subject.other_shape, (low, high)


def _without_objects(subject: WholeSubject, finishing: Finishing) -> dict[str, Any]:
    """The values of labels none of which the mask has."""
    mask, n = subject.mask, subject.selection.ids.size
    make = partial(filled, like=mask) if subject.lazy else kernels_for(mask).xp.full
    other = () if not any(reduction.reads_image for reduction in finishing.reductions) else subject.other_shape
    return {
        name: make(
            (n, *(other if column.per_other else ()), *column.shape),
            finishing.measures[name].absent if n else 0,
            dtype=column.dtype,
        )
        for name, column in finishing.columns.items()
    }


def _lazy_whole(subject: WholeSubject, finishing: Finishing, batch: int = 0) -> dict[str, Any]:
    """The values of a batch of labels, lazily."""
    if not subject.objects.ids.size:
        return _without_objects(subject, finishing)
    selection, mask = subject.selection, subject.mask
    image, _, (low, high) = _needed(subject, finishing)
    function = partial(collect_whole, finishing.reductions)
    tables = map_regions(function, mask, image, subject.objects, low, high, tells_first=True, batch=batch)
    return lazy_columns(tables, selection.ids, 1, finishing, finishing.columns, selection.rows, like=mask)


def _lazy_batches(subject: WholeSubject, finishing: Finishing, batch: int | None) -> dict[str, Any]:
    """The values of all labels, lazily, so many at a time: what was collected of others need not be held meanwhile."""
    import dask.array as da

    labels = subject.selection.labels
    size = batch or labels_within(finishing.columns, subject.other_shape)
    arrays = [array for array in (subject.mask, subject.image) if array is not None]
    if not all(is_read_again(array) or array.nbytes <= KEPT_BYTES or is_in_memory(array) for array in arrays):
        # What is computed would be computed for every batch, or held for the last.
        size = max(labels.size, 1)
    batches = [subject.part(labels[first : first + size]) for first in range(0, labels.size, size)] or [subject]
    columns = [_lazy_whole(part, finishing, i) for i, part in enumerate(batches)]
    chunk = {0: batch or min(size, LABELS_PER_CHUNK)}
    return {
        name: da.concatenate([part[name].rechunk(chunk) for part in columns]) if columns[1:] else array.rechunk(chunk)
        for name, array in columns[0].items()
    }


def labels_within(columns: Mapping[str, Column], other: tuple[int, ...]) -> int:
    """How many labels have values that `BATCH_BYTES` hold; of more than a chunk has, those of whole chunks."""
    each = sum(
        math.prod((*(other if column.per_other else ()), *column.shape)) * np.dtype(column.dtype).itemsize
        for column in columns.values()
    )
    number = max(1, BATCH_BYTES // max(each, 1))
    return number - number % LABELS_PER_CHUNK if number > LABELS_PER_CHUNK else number


def collect_whole(
    reductions: Sequence[Reduction],
    mask: Array,
    image: Array | None,
    low: tuple[int, ...],
    objects: Any,
    first: bool = True,
) -> Table:
    """The table of a region that begins at ``low``, in which these objects lie whole."""
    return collect(reductions, WholeBlock(mask, image, low, objects), first=first)


def _collect_region(function: Any, mask: Array, image: Array | None, objects: Any, region: Region) -> Table:
    box = tuple(map(slice, region.low, region.high))
    pixels = None if image is None else image[(..., *box)]
    return function(mask[box], pixels, region.low, objects.take(region.rows))
