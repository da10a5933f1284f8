"""Warnings of textures: that objects hardly fill the grey levels, or that many of their pixels are beyond the range."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import given_name
from xlabelstats.catalogue.measure import Measure
from xlabelstats.catalogue.texture import GreyLevels, Textures
from xlabelstats.cautions import caution
from xlabelstats.kernels import on_device
from xlabelstats.labels.subject import WholeSubject

# Objects that fill fewer grey levels than this have little texture to tell.
FEW_LEVELS = 8

# A range that a larger part of an object's pixels is beyond takes texture from them.
BEYOND = 0.01

# Limits leave out half of that at either end, so that a hot pixel does not move them.
TAIL = BEYOND / 2

# So many pixels of the mask are looked at, fewer if there are several channels, but no fewer than an eighth.
SAMPLED_PIXELS = 2**16

# If so few of them lie in objects, those of whole objects are taken, of at most so many.
FEWEST_PIXELS, SAMPLED_OBJECTS = 500, 100

Limits = tuple[Any, Any]


def warn_of_few_levels(image: xr.DataArray, subject: WholeSubject, measures: Iterable[Measure]) -> None:
    """Warn if the pixels of objects fill few of the grey levels that textures compare, or many are beyond the range.

    Or if they may do so and are not read to know.  Of all channels the worst is named.
    """
    textures = (entry.reduction for entry in measures if isinstance(entry.reduction, Textures))
    levels = [grey for grey in dict.fromkeys(texture.grey for texture in textures) if grey is not None and not grey.own]
    if not levels or image.dtype.kind == "b":
        return
    if subject.lazy:
        for grey in levels:
            _warn_unread(image.dtype, grey)
        return
    # There are no textures on a GPU, which their reduction says.
    if on_device(subject.image) or not subject.objects.ids.size:
        return
    channels = [pixels[np.isfinite(pixels)] for pixels in _sample_of(subject)]
    for grey in levels:
        if not _warn_filled(image, subject, grey, channels):
            _warn_beyond(image, subject, grey, channels)


def _sample_of(subject: WholeSubject) -> np.ndarray:
    """Some pixels (channel, pixel) of the objects: at even distances, or of small objects far apart all of some."""
    mask, image, objects = subject.mask, subject.image, subject.objects
    channels = math.prod(subject.other_shape)
    grid = _grid_of(mask.shape, SAMPLED_PIXELS // max(1, min(channels, 8)))
    inside = np.isin(mask[grid], objects.ids)
    if np.count_nonzero(inside) >= FEWEST_PIXELS:
        pixels = image[(..., *grid)][..., inside]
    else:
        some = objects.take(slice(None, None, math.ceil(objects.ids.size / SAMPLED_OBJECTS)))
        boxes = [tuple(map(slice, low, high)) for low, high in zip(some.low, some.high, strict=True)]
        cells = [image[(..., *box)][..., mask[box] == label] for box, label in zip(boxes, some.ids, strict=True)]
        pixels = np.concatenate(cells, axis=-1)
    return pixels.reshape(channels, pixels.shape[-1])


def _grid_of(shape: Sequence[int], most: int) -> tuple[slice, ...]:
    """Even steps to at most so many pixels; of short dims, such as planes, all positions."""
    left, grid = float(most), [slice(None)] * len(shape)
    for rank, dim in enumerate(sorted(range(len(shape)), key=shape.__getitem__)):
        positions = min(shape[dim], int(left ** (1 / (len(shape) - rank))))
        grid[dim], left = slice(None, None, math.ceil(shape[dim] / positions)), left / positions
    return tuple(grid)


def _limits_of(pixels: np.ndarray) -> Limits:
    """Between which numbers 99 % of some pixels lie."""
    tail = int(TAIL * pixels.size)
    ends = (tail, pixels.size - 1 - tail)
    low, high = np.partition(pixels, ends)[[*ends]]
    return low, high


def _filled(grey: GreyLevels, limits: Limits) -> int:
    """How many levels lie between the limits."""
    with np.errstate(over="ignore"):
        places = (np.array(limits, np.float64) - grey.low) / (grey.high - grey.low) * grey.levels
    first, last = np.clip(np.floor(places), 0, grey.levels - 1).astype(int).tolist()
    return last - first + 1


def _warn_unread(dtype: np.dtype, grey: GreyLevels) -> None:
    if not grey.given and dtype.itemsize > 1:
        caution(
            f"texture: {grey.levels} grey levels cover the range of {dtype}, from {grey.low:.0f} to "
            f"{grey.high - 1:.0f}, and lazy arrays are not read to see how much of that the objects fill; give the "
            "range that they fill, such as range=(0, 4095) for a camera of 12 bits, or range='object' for that of "
            "every object"
        )


def _warn_filled(image: xr.DataArray, subject: WholeSubject, grey: GreyLevels, channels: list[np.ndarray]) -> bool:
    """Warn if a channel, but for one that is constant, fills few levels; the worst is named."""
    limits = {i: _limits_of(pixels) for i, pixels in enumerate(channels) if pixels.size}
    filled = {i: _filled(grey, (low, high)) for i, (low, high) in limits.items() if low < high}
    worst = min(filled, key=filled.__getitem__, default=None)
    # Of no more than 16 levels half are enough, but one never is.
    if worst is None or filled[worst] >= max(2, min(FEW_LEVELS, grey.levels // 2)):
        return False
    low, high = map(_number, limits[worst])
    over = _written(grey) if grey.given else f"the range of {image.dtype}"
    caution(
        f"texture: 99 % of the labelled pixels{_place(image, subject, worst)} lie from {low} to {high} and fill "
        f"{filled[worst]} of {grey.levels} grey levels over {over}; give the range that they fill, such as "
        f"range=({low}, {high}), or range='object' for that of every object{_apart(channels)}"
    )
    return True


def _warn_beyond(image: xr.DataArray, subject: WholeSubject, grey: GreyLevels, channels: list[np.ndarray]) -> None:
    """Warn if many pixels of a channel are beyond the range that the user gave; the worst is named."""
    if not grey.given:
        return
    parts = {i: np.mean((pixels < grey.low) | (pixels > grey.high)) for i, pixels in enumerate(channels) if pixels.size}
    worst = max(parts, key=parts.__getitem__, default=None)
    if worst is None or parts[worst] <= BEYOND:
        return
    low, high = map(_number, _limits_of(channels[worst]))
    caution(
        f"texture: {100 * parts[worst]:.0f} % of the labelled pixels{_place(image, subject, worst)} are beyond "
        f"{_written(grey)} and count as its lowest or highest grey level; 99 % of them lie from {low} to {high}"
        f"{_apart(channels)}"
    )


def _place(image: xr.DataArray, subject: WholeSubject, channel: int) -> str:
    """The name of an image and the position of one of its channels, as far as it has them."""
    name = given_name(image)
    parts = [] if name is None else [repr(str(name))]
    for dim, i in zip(subject.other, np.unravel_index(channel, subject.other_shape), strict=True):
        position = image[dim].values[i]
        parts.append(f"{dim}={str(position)!r}" if isinstance(position, str) else f"{dim}={position}")
    return f" of {', '.join(parts)}" if parts else ""


def _apart(channels: list[np.ndarray]) -> str:
    return "; measure channels that differ in brightness one at a time" if len(channels) > 1 else ""


def _written(grey: GreyLevels) -> str:
    return f"range=({grey.low:g}, {grey.high:g})"


def _number(value: Any) -> str:
    return f"{value:.4g}" if value.dtype.kind == "f" else str(value)
