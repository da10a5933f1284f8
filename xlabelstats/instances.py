"""The objects of a mask, to be looked at one by one: where they lie, and the image that is theirs."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import xarray as xr

from xlabelstats.align import align, check_mask, check_pooling, check_taken, data_of, is_dask, other_coords
from xlabelstats.blocks import Rows
from xlabelstats.scan import LabelTable, Wanted, ask_if_swapped, choose_labels, label_table


@dataclass(frozen=True)
class Objects(Rows):
    """The objects of a mask and where they lie, in pixels.

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


@dataclass(frozen=True)
class Subject:
    """A mask, with or without an image over it, and the objects to be looked at one by one.

    Attributes
    ----------
    mask : array (*shared)
        numpy, CuPy or dask, with the mask's order of dims.
    image : array (*other, *shared) or None
        Of the same kind, with the same chunks along the shared dims.
    other, shared : tuple of dims
        The image's own dims, and the mask's.
    coords : dict
        The coordinates of the other dims.
    wanted : Wanted
        The labels of the result.
    objects : Objects
        Those of them that the mask has.
    """

    mask: Any
    image: Any
    other: tuple[Hashable, ...]
    shared: tuple[Hashable, ...]
    coords: dict[Hashable, Any]
    wanted: Wanted
    objects: Objects

    @property
    def absent(self) -> np.ndarray:
        """The labels of the result that the mask lacks."""
        ids = self.wanted.ids
        return ids[~np.isin(ids, self.objects.ids.astype(ids.dtype), kind="sort")]

    @property
    def lazy(self) -> bool:
        """Whether the arrays are dask arrays."""
        return is_dask(self.mask)

    @property
    def other_shape(self) -> tuple[int, ...]:
        """The sizes of the image's own dims."""
        return () if self.image is None else self.image.shape[: len(self.other)]


def find_subject(
    image: xr.DataArray | None,
    mask: xr.DataArray,
    labels: Any = None,
    background: bool = False,
    taken: Iterable[str] = (),
) -> Subject:
    """Match image and mask and find the objects; ``taken`` are the names that the result needs."""
    given, mask = mask, check_mask(mask)
    if image is None:
        check_pooling(given)
        wanted, objects = find_objects(mask, labels, background)
        return Subject(data_of(mask, "mask"), None, (), mask.dims, {}, wanted, objects)
    pair = align(image, mask, mask_order=True)
    check_taken(image, pair.other, taken)
    coords = other_coords(image, pair.other)
    check_pooling(given, image)
    # The labels come from the mask as the caller holds it, for which a scan may be remembered.
    wanted, objects = find_objects(mask, labels, background)
    if labels is None:
        ask_if_swapped(mask, image, background, objects)
    return Subject(pair.mask, pair.image, pair.other, pair.shared, coords, wanted, objects)


def find_objects(mask: xr.DataArray, labels: Any = None, background: bool = False) -> tuple[Wanted, Objects]:
    """The labels of a result, and those of them that there are; a dask mask is scanned now if it was not before.

    Where they lie is known in main memory, since it decides which pixels to bring together.
    """
    if labels is None:
        table = label_table(mask, background=background).on_host()
        return Wanted(table.ids, False, background), _objects(table)
    wanted = choose_labels(mask, labels, background)
    table = label_table(mask, background=wanted.background).on_host()
    objects = _objects(table)
    return wanted, objects.take(np.isin(table.ids.astype(wanted.ids.dtype), wanted.ids, kind="sort"))


def _objects(table: LabelTable) -> Objects:
    # A sum of positions is a whole number.  Rounding it first makes the centre the same for any chunks.
    count = table.count[:, None]
    total = np.rint(table.offset * count).astype(np.int64)
    below = total // count
    rest = 2 * (total - below * count)
    centre = table.origin + below
    centre += (rest > count) | ((rest == count) & (centre % 2 == 1))
    return Objects(table.ids, table.count, table.low, table.high, centre)
