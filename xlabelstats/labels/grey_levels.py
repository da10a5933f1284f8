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
from xlabelstats.labels.mixed import some_of
from xlabelstats.labels.subject import WholeSubject

# Objects that fill fewer grey levels than this, or than half of those there are, have little texture to tell.
FEW_LEVELS = 8

# A range that a larger part of an object's pixels is beyond takes texture from them.
BEYOND = 0.01

# Limits leave out half of that at either end, so that a hot pixel does not move them.
TAIL = BEYOND / 2

# So many pixels of the mask are looked at, and of the image; of every channel at least so many.
SAMPLED_PIXELS, CHANNEL_PIXELS = 2**16, 2**10

# If so few of them lie in objects, those of some objects are, of at most so many in boxes of so many pixels.
FEWEST_PIXELS, SAMPLED_OBJECTS, BOX_PIXELS = 2**12, 2000, 2**20


def warn_of_few_levels(image: xr.DataArray, subject: WholeSubject, measures: Iterable[Measure]) -> None:
    """Warn if the pixels of objects fill few of the grey levels that textures compare, or many are beyond the range.

    Or if they may do so and are not read to know.  Of all channels the worst is named, but none that is constant.
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
    if on_device(subject.image) or not subject.objects.ids.size or not subject.image.size:
        return
    pixels = _sample_of(subject)
    limits = _limits_of(pixels)
    for grey in levels:
        _warn_beyond(image, subject, grey, pixels, limits, besides=_warn_filled(image, subject, grey, pixels, limits))


def _sample_of(subject: WholeSubject) -> np.ndarray:
    """Some pixels (channel, pixel) of the objects, at the same places in all channels."""
    places, channels = _places_of(subject), math.prod(subject.other_shape)
    most = max(CHANNEL_PIXELS, SAMPLED_PIXELS // channels)
    places = places[:, some_of(places.shape[1], most, np.random.default_rng(0))]
    with np.errstate(over="ignore"):
        return subject.image[(..., *places)].reshape(channels, places.shape[1]).astype(np.float64)


def _places_of(subject: WholeSubject) -> np.ndarray:
    """Where (axis, pixel) some pixels of the objects lie: at random along each axis, since objects may lie evenly."""
    mask, objects, random = subject.mask, subject.objects, np.random.default_rng(0)
    rows = [some_of(n, k, random) for n, k in zip(mask.shape, _shares(mask.shape, SAMPLED_PIXELS), strict=True)]
    inside = np.isin(mask[np.ix_(*rows)], objects.ids, kind="sort")
    places = np.stack([along[i] for along, i in zip(rows, np.nonzero(inside), strict=True)])
    if places.shape[1] >= FEWEST_PIXELS or inside.size == mask.size:
        return places
    some = objects.take(random.permutation(objects.ids.size)[:SAMPLED_OBJECTS])
    area = np.cumsum(np.prod(some.high - some.low, axis=1))
    some = some.take(slice(max(1, int(np.searchsorted(area, BOX_PIXELS)))))
    boxes = [tuple(map(slice, low, high)) for low, high in zip(some.low.tolist(), some.high.tolist(), strict=True)]
    found = (np.nonzero(mask[box] == label) for box, label in zip(boxes, some.ids, strict=True))
    return np.concatenate([np.add(i, low[:, None]) for i, low in zip(found, some.low, strict=True)], axis=1)


def _shares(shape: Sequence[int], most: int) -> list[int]:
    """How many positions along each dim make at most so many pixels; of short dims, such as planes, all."""
    left, shares = float(most), [0] * len(shape)
    for rank, dim in enumerate(sorted(range(len(shape)), key=shape.__getitem__)):
        shares[dim] = min(shape[dim], int(left ** (1 / (len(shape) - rank))))
        left /= shares[dim]
    return shares


def _limits_of(pixels: np.ndarray) -> np.ndarray:
    """Between which numbers (end, channel) 99 % of the finite pixels of every channel lie; NaN if there are none."""
    ordered = np.sort(np.where(np.isfinite(pixels), pixels, np.nan), axis=1)
    n = np.isfinite(ordered).sum(axis=1)
    tail, channel = (TAIL * n).astype(int), np.arange(len(n))
    return np.stack([ordered[channel, tail], ordered[channel, np.maximum(n - 1 - tail, 0)]])


def _filled(grey: GreyLevels, limits: np.ndarray) -> np.ndarray:
    """How many levels lie between limits (end, channel); all if these are equal or NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        places = np.floor((limits - grey.low) / (grey.high - grey.low) * grey.levels)
    first, last = np.clip(places, 0, grey.levels - 1)
    return np.where(limits[0] < limits[1], last - first + 1, grey.levels)


def _warn_unread(dtype: np.dtype, grey: GreyLevels) -> None:
    if not grey.given and dtype.itemsize > 1:
        caution(
            f"texture: {grey.levels} grey levels cover the range of {dtype}, from {grey.low:.0f} to "
            f"{grey.high - 1:.0f}, and lazy arrays are not read to see how much of that the objects fill; give the "
            "range that they fill, such as range=(0, 4095) for a camera of 12 bits, or range='object' for that of "
            "every object",
            kind=grey,
        )


def _warn_filled(
    image: xr.DataArray, subject: WholeSubject, grey: GreyLevels, pixels: np.ndarray, limits: np.ndarray
) -> int | None:
    """Warn if a channel fills few levels, and say which."""
    filled = _filled(grey, limits)
    worst = int(np.argmin(filled))
    # One level is always few.
    if filled[worst] >= max(2, min(FEW_LEVELS, grey.levels // 2)):
        return None
    low, high = _written(*limits[:, worst])
    over = f"range=({', '.join(_written(grey.low, grey.high))})" if grey.given else f"the range of {image.dtype}"
    caution(
        f"texture: 99 % of the labelled pixels{_name_of(image, subject, worst)} lie from {low} to {high} and fill "
        f"{filled[worst]:.0f} of {grey.levels} grey levels over {over}; give the range that they fill, such as "
        f"range=({low}, {high}), or range='object' for that of every object{_apart(pixels)}",
        kind=grey,
    )
    return worst


def _warn_beyond(
    image: xr.DataArray,
    subject: WholeSubject,
    grey: GreyLevels,
    pixels: np.ndarray,
    limits: np.ndarray,
    *,
    besides: int | None,
) -> None:
    """Warn if many pixels of a channel are beyond the range that the user gave; ``besides`` one that is told of."""
    number = np.maximum((~np.isnan(pixels)).sum(axis=1), 1)
    parts = ((pixels < grey.low) | (pixels > grey.high)).sum(axis=1) / number
    parts[~(limits[0] < limits[1])] = 0
    # Of a sample, as many more as are rarely found by chance.
    chance = 0 if pixels.shape[1] == subject.objects.count.sum() else 3 * np.sqrt(BEYOND / number)
    worst = int(np.argmax(np.where(parts > BEYOND + chance, parts, 0)))
    if not grey.given or worst == besides or not (parts > BEYOND + chance)[worst]:
        return
    low, high = _written(*limits[:, worst])
    caution(
        f"texture: {100 * parts[worst]:.0f} % of the labelled pixels{_name_of(image, subject, worst)} "
        f"are beyond range=({', '.join(_written(grey.low, grey.high))}) and count as its lowest or highest grey "
        f"level; 99 % of all lie from {low} to {high}{_apart(pixels)}",
        kind=grey,
    )


def _name_of(image: xr.DataArray, subject: WholeSubject, channel: int) -> str:
    """The name of an image and the position of one of its channels, as far as it has them."""
    name = given_name(image)
    parts = [] if name is None else [repr(str(name))]
    for dim, i in zip(subject.other, np.unravel_index(channel, subject.other_shape), strict=True):
        position = image.coords[dim].values[i] if dim in image.coords else i
        parts.append(f"{dim}={str(position)!r}" if isinstance(position, str) else f"{dim}={position}")
    return f" of {', '.join(parts)}" if parts else ""


def _apart(pixels: np.ndarray) -> str:
    return "; measure channels that differ in brightness one at a time" if len(pixels) > 1 else ""


def _written(low: float, high: float) -> tuple[str, str]:
    """Two numbers: whole ones as they are, others to a thousandth of what lies between them."""
    low, high = float(low), float(high)
    return _rounded(low, high - low), _rounded(high, high - low)


def _rounded(number: float, between: float) -> str:
    if number.is_integer() and abs(number) < 1e15:
        return str(int(number))
    texts: Iterable[Any] = (f"{number:.{digits}g}" for digits in range(3, 17))
    return next((text for text in texts if abs(float(text) - number) <= between / 1000), repr(number))
