"""What a call measures: a mask, with or without an image over it, the labels, and where the objects lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import xarray as xr

from xlabelstats.align import align, other_coords
from xlabelstats.catalogue.positions import LabelTable
from xlabelstats.engine.kept_runs import KeptRuns
from xlabelstats.engine.reduction import Rows
from xlabelstats.engine.runs import find_rows
from xlabelstats.inputs import check_mask, check_pooling, check_taken, data_of, is_dask
from xlabelstats.kernels import kernels_for
from xlabelstats.labels.mask_scan import array_of, kept_runs, label_table
from xlabelstats.labels.selection import Selection, choose_labels, named_labels
from xlabelstats.labels.swapped import CALLS, ask_if_swapped
from xlabelstats.labels.weights import as_lazy_as, weights_over

# What a subject holds of the arrays of a mask and an image.
Arrays = tuple[Any, Any, tuple[Hashable, ...], tuple[Hashable, ...], dict[Hashable, Any]]


@dataclass(frozen=True)
class Objects(Rows):
    """The objects of a mask and where they lie, in pixels, in main memory.

    Attributes
    ----------
    low, high : array (object, axis) of int64
        Bounding box, half-open.
    centre : array (object, axis) of int64
        The pixel nearest to the centroid; the even one of two.
    """

    low: np.ndarray
    high: np.ndarray
    centre: np.ndarray

    def take(self, rows: Any) -> Self:
        """Some of them."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))

    def __sizeof__(self) -> int:
        return sum(getattr(self, field.name).nbytes for field in fields(self))


@dataclass(frozen=True)
class Subject:
    """A mask, with or without an image over it, and the labels to be measured.

    Attributes
    ----------
    mask : array (*shared)
        numpy, CuPy or dask.
    image : array (*other, *shared) or None
        Of the same kind, with the same chunks along the shared dims.
    other, shared : tuple of dims
        The image's own dims, and the mask's.
    coords : dict
        The coordinates of the other dims.
    background : bool
        Whether label 0 is measured.
    selection : Selection or None
        The labels of the result; None if they are those that the pass over a numpy mask finds.
    weights : array over the mask, or None
        What every pixel weighs: of length 1 along dims that it does not vary along, else with the chunks of the mask.
    kept : KeptRuns or None
        The runs of a dask mask, if its scan has kept them.
    """

    mask: Any
    image: Any
    other: tuple[Hashable, ...]
    shared: tuple[Hashable, ...]
    coords: dict[Hashable, Any]
    background: bool
    selection: Selection | None
    weights: Any = field(default=None, kw_only=True)
    kept: KeptRuns | None = field(default=None, kw_only=True)

    def select(self, ids: Any) -> Selection:
        """The selection of all labels that a pass has found."""
        return Selection(kernels_for(ids).to_host(ids), False, self.background)

    @property
    def lazy(self) -> bool:
        """Whether the arrays are dask arrays."""
        return is_dask(self.mask)

    @property
    def other_shape(self) -> tuple[int, ...]:
        """The sizes of the image's own dims."""
        return () if self.image is None else self.image.shape[: len(self.other)]


@dataclass(frozen=True)
class WholeSubject(Subject):
    """A subject whose objects are needed whole, so that it is known where they lie.

    Attributes
    ----------
    objects : Objects
        The objects of those labels that the mask has.
    """

    selection: Selection
    objects: Objects

    @cached_property
    def absent(self) -> np.ndarray:
        """The labels of the result that the mask lacks."""
        ids = self.selection.ids
        # Most calls are of all labels that the mask has.
        return ids[~find_rows(ids, self.objects.ids.astype(ids.dtype))[1]] if self.selection.requested else ids[:0]

    def part(self, labels: np.ndarray) -> WholeSubject:
        """The same for some of the labels, in this order."""
        selection = self.selection.part(labels)
        kept = find_rows(self.objects.ids.astype(labels.dtype), selection.ids)[1]
        return replace(self, selection=selection, objects=self.objects.take(kept))


def find_subject(
    image: xr.DataArray | None,
    mask: xr.DataArray,
    labels: Any = None,
    background: bool = False,
    taken: Iterable[str] = (),
    *,
    mask_order: bool = True,
    read: bool = True,
    call: str = CALLS,
    whole: Callable[[bool, int], bool] = lambda lazy, elements: False,
    weights: xr.DataArray | None = None,
) -> Subject:
    """Match image and mask and find the labels, and where their objects lie if these are needed whole.

    ``taken`` are the names that the result needs; ``mask_order`` as for `align`.  Where the image will not be ``read``,
    the mask keeps its chunks.  ``call`` is what a user who swapped image and mask is told to call.  ``whole`` says
    of lazy arrays or others whether objects are needed whole if there are so many labels times channels.
    """
    if weights is not None:
        mask = as_lazy_as(weights, mask)
    mask, arrays = _matched(image, mask, taken, mask_order, read)
    lazy, channels = is_dask(arrays[0]), 1 if image is None else math.prod(image.sizes[dim] for dim in arrays[2])
    if whole(lazy, 0):
        return _whole(image, mask, arrays, labels, background, call)
    # The labels come from the mask as the caller holds it, for which a scan may be remembered.
    waits = labels is None and not lazy
    # It is scanned block by block as it will be measured, so that what is kept of the blocks serves both.
    selection = None if waits else choose_labels(mask, labels, background, arrays[0] if lazy else None)
    if selection is not None and whole(lazy, selection.ids.size * channels):
        return _whole(image, mask, arrays, labels, background, call)
    if image is not None and labels is None:
        ask_if_swapped(mask, image, background, call=call)
    weighing = None if weights is None else weights_over(weights, arrays[0], arrays[3])
    kept = kept_runs(array_of(mask), background, arrays[0]) if labels is None and lazy else None
    background = background if selection is None else selection.background
    return Subject(*arrays, background, selection, weights=weighing, kept=kept)


def find_whole(
    image: xr.DataArray | None,
    mask: xr.DataArray,
    labels: Any = None,
    background: bool = False,
    taken: Iterable[str] = (),
    *,
    read: bool = True,
) -> WholeSubject:
    """Match image and mask, and find the labels and where their objects lie; see `find_subject`."""
    mask, arrays = _matched(image, mask, taken, True, read)
    return _whole(image, mask, arrays, labels, background)


def _whole(
    image: xr.DataArray | None, mask: xr.DataArray, arrays: Arrays, labels: Any, background: bool, call: str = CALLS
) -> WholeSubject:
    """The subject of a checked mask that knows where its objects lie."""
    selection, objects = find_objects(mask, labels, background)
    if image is not None and labels is None:
        ask_if_swapped(mask, image, background, objects, call)
    return WholeSubject(*arrays, selection.background, selection, objects)


def _matched(
    image: xr.DataArray | None, mask: xr.DataArray, taken: Iterable[str], mask_order: bool, read: bool
) -> tuple[xr.DataArray, Arrays]:
    """The checked mask, and what a subject holds of the arrays."""
    given, mask = mask, check_mask(mask)
    if image is None:
        check_pooling(given)
        return mask, (data_of(mask, "mask"), None, (), mask.dims, {})
    pair = align(image, mask, mask_order=mask_order)
    check_taken(image, pair.other, taken)
    check_pooling(given, image)
    labelled, pixels = (pair.mask, pair.image) if read else (data_of(mask.transpose(*pair.shared), "mask"), None)
    return mask, (labelled, pixels, pair.other, pair.shared, other_coords(image, pair.other))


def find_objects(mask: xr.DataArray, labels: Any = None, background: bool = False) -> tuple[Selection, Objects]:
    """The labels of a result, and those of them that there are; a dask mask is scanned now if it was not before.

    Where they lie is known in main memory, since it decides which pixels to bring together.
    """
    selection = named_labels(mask, labels)
    table = label_table(mask, background=background if selection is None else selection.background).on_host()
    objects = _objects(table)
    if selection is None:
        return Selection(table.ids, False, background), objects
    return selection, objects.take(find_rows(table.ids.astype(selection.ids.dtype), selection.ids)[1])


def _objects(table: LabelTable) -> Objects:
    centre, beyond = table.exact_centroid
    centre += (beyond > 0.5) | ((beyond == 0.5) & (centre % 2 == 1))
    return Objects(table.ids, table.count, table.low, table.high, centre)
