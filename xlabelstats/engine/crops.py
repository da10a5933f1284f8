"""The pixels of whole objects, one object after the other, and where each lies in a crop of its object alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xlabelstats.engine.runs import pixels_of

if TYPE_CHECKING:
    from xlabelstats.engine.reduction import WholeBlock


@dataclass(frozen=True)
class Crops:
    """Where the pixels of the objects of a region lie: the same wherever an object lies, and whatever is beside it.

    A crop is the bounding box of an object with one pixel more on every side, (z, y, x).  That of a 2-D mask has one
    plane and nothing before or after it.

    Attributes
    ----------
    first : array (object + 1,) of int64
        Where the pixels of each object begin and end in what has an element per pixel.
    place : array (pixel,) of int32, or int64 where crops are larger
        Where the pixels of an object lie in its crop, flattened, in the order of the image.
    size : array (object, 3) of int64
        The shape of the crops.
    """

    first: np.ndarray
    place: np.ndarray
    size: np.ndarray


def crops_of(block: WholeBlock) -> Crops:
    """The crops of the objects of a region of a 2-D or 3-D mask, on the host."""
    from xlabelstats.kernels.cpu_crops import place_pixels

    objects, runs = block.objects, block.runs
    n, ndim = objects.low.shape
    # A plane is a volume of one plane.
    margin = np.array([0] * (3 - ndim) + [1] * ndim, np.int64)
    low, size = np.zeros((n, 3), np.int64), np.ones((n, 3), np.int64)
    low[:, 3 - ndim :] = objects.low - np.array(block.offset)
    size[:, 3 - ndim :] = objects.high - objects.low
    size += 2 * margin
    shape = np.ones(3, np.int64)
    shape[3 - ndim :] = block.shape
    first = np.concatenate([[0], np.cumsum(objects.count, dtype=np.int64)])
    largest = int(size.prod(axis=1).max(initial=0))
    place = np.empty(int(first[-1]), np.int32 if largest < 2**31 else np.int64)
    place_pixels(runs, shape, first[:-1], low, size, margin, place)
    return Crops(first, place, size)


def values_of(block: WholeBlock) -> np.ndarray:
    """The pixels (channel, pixel) of the objects of a region, object by object, as float64, on the host."""
    from xlabelstats.kernels import cpu_crops

    pixels, first = pixels_of(block.image, block.shape), block.crops.first
    values = np.empty((len(pixels), int(first[-1])))
    cpu_crops.values_of(pixels, block.runs, first[:-1], values)
    return values
