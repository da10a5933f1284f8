"""Statistics as a `flox.Aggregation` each: those of the catalogue, those that flox alone has, and those of the user.

flox calls the function for a block as ``f(group, array, *, size, fill_value, dtype)``, with pixels (..., pixel) and
their groups (pixel,), and wants (..., group) back; the one that combines blocks as ``f(array, axis, keepdims)``.  It
combines one intermediate at a time, so numbers that are combined together are stacked along a first dim.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, Literal

import numpy as np

from xlabelstats.catalogue.intensity import PixelMoments
from xlabelstats.catalogue.measure import Measure
from xlabelstats.catalogue.order import MEDIAN, MODE
from xlabelstats.engine.reduction import Context

Which = Literal["first", "last", "argmin", "argmax"]


def statistic(
    entry: Measure, context: Context, finish: Callable[[np.ndarray, tuple[np.ndarray, ...]], np.ndarray]
) -> Any:
    """A statistic of the catalogue as a `flox.Aggregation` of an image whose first dim is `stack_size` long.

    Parameters
    ----------
    entry : Measure
    context : Context
    finish : callable (count, columns) -> array
        From the pixels (label,) and the columns of `PixelMoments` to the statistic (..., label).

    Returns
    -------
    flox.Aggregation
        Its intermediates are the moments ``count valid sum m2 m3 m4``, as far as they are needed, and the smallest and
        the largest pixel.
    """
    import flox

    collected = PixelMoments.of(entry.needs, context)
    chunk: list[Any] = [partial(_moments, order=collected.order)]
    combine: list[Any] = [_combine_moments]
    fill: list[Any] = [np.float64(0)]
    if collected.extremes:
        dtype = widest(context.dtype)
        fill += _limits(dtype)
        chunk += [partial(_extreme, np.fmin, fill[1]), partial(_extreme, np.fmax, fill[2])]
        combine += ["min", "max"]
    finalize = partial(_finish, finish)
    return flox.Aggregation(
        entry.name,
        numpy=partial(_at_once, chunk, finalize),
        chunk=tuple(chunk),
        combine=tuple(combine),
        finalize=finalize,
        fill_value=tuple(fill),
        dtypes=tuple(each.dtype for each in fill),
        final_fill_value=entry.absent,
        final_dtype=entry.dtype(context),
    )


def stack_size(entry: Measure, context: Context) -> int:
    """How many moments `statistic` stacks: count, valid, and one per order."""
    return 2 + PixelMoments.of(entry.needs, context).order


def widest(dtype: np.dtype) -> np.dtype:
    """The dtype of 64 bits that holds pixels exactly."""
    return np.dtype(f"{'u' if dtype.kind == 'b' else dtype.kind}8")


def _limits(dtype: np.dtype) -> tuple[Any, Any]:
    """The smallest and the largest pixel of none."""
    low, high = (-np.inf, np.inf) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return dtype.type(high), dtype.type(low)


def _at_once(
    chunk: list[Any], finalize: Callable[..., np.ndarray], group: np.ndarray, array: np.ndarray, **how: Any
) -> Any:
    """The statistic of an array in memory, for which flox makes no intermediates."""
    return finalize(*(function(group, array, **how) for function in chunk))


def _finish(
    finish: Callable[[np.ndarray, tuple[np.ndarray, ...]], np.ndarray], moments: np.ndarray, *extremes: np.ndarray
) -> np.ndarray:
    """What is computed from the intermediates, repeated along their first dim (moment), since flox keeps it."""
    columns = (
        _by_label(moments[1:]),
        _by_label(np.stack([each[0] for each in extremes])) if extremes else np.empty((moments.shape[-1], 0, 0)),
    )
    count = moments[0].reshape(-1, moments.shape[-1])[0].astype(np.int64)
    values = finish(count, columns)
    return np.broadcast_to(values.reshape(moments.shape[-1], -1).T.reshape(moments.shape[1:]), moments.shape)


def _by_label(stacked: np.ndarray) -> np.ndarray:
    """Fields (field, *other, label) as the columns (label, channel, field) of a table."""
    return stacked.reshape(len(stacked), math.prod(stacked.shape[1:-1]), stacked.shape[-1]).T


def _moments(group: np.ndarray, array: np.ndarray, *, size: int, order: int, **unused: Any) -> np.ndarray:
    """The number of pixels and of valid ones, their sum, and sums of powers of their deviations from the mean."""
    moments = np.zeros((2 + order, *array.shape[1:-1], size))
    moments[0] = np.bincount(group, minlength=size)
    for channel in np.ndindex(array.shape[1:-1]):
        pixels = array[(0, *channel)].astype(np.float64)
        valid = pixels == pixels
        groups, pixels = group[valid], pixels[valid]
        into = moments[(slice(None), *channel)]
        into[1] = np.bincount(groups, minlength=size)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            if order:
                into[2] = np.bincount(groups, pixels, size)
            if order > 1:
                mean = into[2] / into[1]
                # The sum of many pixels is rounded more than their mean may be.
                mean += np.bincount(groups, pixels - mean[groups], size) / into[1]
                deviations = pixels - mean[groups]
                for power in range(2, order + 1):
                    into[1 + power] = np.bincount(groups, deviations**power, size)
    return moments


def _extreme(
    function: np.ufunc, start: Any, group: np.ndarray, array: np.ndarray, *, size: int, **unused: Any
) -> np.ndarray:
    """The smallest or the largest pixel that is not NaN, exactly, and ``start`` where there is none."""
    out = np.full((*array.shape[1:-1], size), start)
    for channel in np.ndindex(array.shape[1:-1]):
        function.at(out[channel], group, array[(0, *channel)])
    return np.broadcast_to(out, (len(array), *out.shape))


def _combine_moments(array: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    """The moments of several blocks together, pairwise."""
    blocks = np.moveaxis(array, axis, range(len(axis)))
    combined = reduce(_pairwise, blocks.reshape(-1, *blocks.shape[len(axis) :]))
    return np.expand_dims(combined, axis) if keepdims else combined


def _pairwise(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The moments of two sets of pixels together: Chan, Golub & LeVeque 1979 for order 2, Pebay 2008 above it."""
    order = len(a) - 2
    na, nb = a[1], b[1]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        total = a + b
        if order < 2:
            return total
        out = total.copy()
        delta = b[2] / nb - a[2] / na
        step = delta / (na + nb)
        out[3] += delta * step * na * nb
        if order > 2:
            out[4] += delta * step**2 * na * nb * (na - nb) + 3 * step * (na * b[3] - nb * a[3])
        if order > 3:
            out[5] += delta * step**3 * na * nb * (na * na - na * nb + nb * nb)
            out[5] += 6 * step**2 * (na * na * b[3] + nb * nb * a[3]) + 4 * step * (na * b[4] - nb * a[4])
    return np.where((na == 0) | (nb == 0), total, out)


@dataclass(frozen=True)
class FloxMeasure(Measure):
    """A statistic that flox runs and the catalogue has no other form of.

    Attributes
    ----------
    aggregation : callable (context, size) -> flox.Aggregation or name of one
        ``size`` is the number of the mask's pixels.
    prepare : callable (pixels, context) -> pixels, optional
        What is done to the pixels of a block first, which come as float64.
    placed : bool
        Whether pixels come in the widest dtype of their kind, stacked upon their flat index in the mask.
    given : bool
        Whether it is the user's, who chose the dtype, and perhaps what an absent label gets.
    """

    aggregation: Callable[[Context, int], Any] = lambda context, size: None
    prepare: Callable[[np.ndarray, Context], np.ndarray] | None = None
    placed: bool = False
    given: bool = False

    @property
    def reads_image(self) -> bool:
        """It does."""
        return True

    @property
    def axes_matter(self) -> bool:
        """Whether it depends on the order of the mask's axes."""
        return self.placed


def _truth(pixels: np.ndarray, context: Context, *, nan: bool) -> np.ndarray:
    """Whether pixels are other than 0; NaN stays NaN if it has to propagate, else it is ``nan``."""
    missing = np.isnan(pixels)
    return np.where(missing, nan if context.skipna else np.nan, pixels != 0)


def _pick(
    group: np.ndarray, array: np.ndarray, *, size: int, which: Which, none: int, skipna: bool, **unused: Any
) -> Any:
    """The value and flat index of one pixel per group, of pixels (2, ..., pixel) stacked likewise.

    The index is ``none`` where there is no pixel.
    """
    out = np.full((*array.shape[:-1], size), none, array.dtype)
    for channel in np.ndindex(array.shape[1:-1]):
        values, index = array[(slice(None), *channel)]
        there = index != none
        there &= (values == values) if skipna else True
        values, index, groups = values[there], index[there], group[there]
        keys = {
            "first": (index,),
            "last": (_reversed(index),),
            # A NaN that is not skipped is the extreme, as numpy has it.
            "argmin": (index, values, values == values),
            "argmax": (index, _reversed(values), values == values),
        }[which]
        order = np.lexsort((*keys, groups))
        _, best = np.unique(groups[order], return_index=True)
        chosen = order[best]
        out[(0, *channel, groups[chosen])], out[(1, *channel, groups[chosen])] = values[chosen], index[chosen]
    return out


def _reversed(values: np.ndarray) -> np.ndarray:
    """Numbers that sort the other way round."""
    return -values if values.dtype.kind == "f" else ~values


def _combine_picks(array: np.ndarray, axis: tuple[int, ...], keepdims: bool, **how: Any) -> np.ndarray:
    """The picks of several blocks together: those of a block are pixels once more."""
    blocks = np.moveaxis(array, axis, range(-1 - len(axis), -1))
    kept, size = blocks.shape[: -1 - len(axis)], blocks.shape[-1]
    pixels = blocks.reshape(*kept, -1)
    combined = _pick(np.arange(pixels.shape[-1]) % size, pixels, size=size, **how)
    return np.expand_dims(combined, axis) if keepdims else combined


def _finish_picks(picks: np.ndarray, *, which: Which, none: int) -> np.ndarray:
    """The value, or the index, repeated along the first dim, since flox keeps it; NaN where there is none."""
    values, index = picks
    if which.startswith("arg"):
        result = np.where(index == none, np.nan, index.astype(np.float64))
    else:
        result = np.where(index == none, picks.dtype.type(np.nan), values) if picks.dtype.kind == "f" else values
    return np.broadcast_to(result, picks.shape)


def _picking(which: Which, context: Context, size: int) -> Any:
    """The Aggregation of one pixel of each label."""
    import flox

    dtype = widest(context.dtype)
    pick = partial(_pick, which=which, none=size, skipna=context.skipna)
    finalize = partial(_finish_picks, which=which, none=size)
    return flox.Aggregation(
        # flox treats what is called "first" or "last" in ways of its own.
        f"{which} pixel",
        numpy=partial(_at_once, [pick], finalize),
        chunk=pick,
        combine=partial(_combine_picks, which=which, none=size, skipna=context.skipna),
        finalize=finalize,
        fill_value=dtype.type(size),
        dtypes=dtype,
        final_dtype=np.float64 if which.startswith("arg") else dtype,
    )


def _pick_entry(which: Which, definition: str, **options: Any) -> FloxMeasure:
    return FloxMeasure(which, definition, of_flox, aggregation=partial(_picking, which), placed=True, **options)


def of_flox(values: Any) -> Any:
    """The formula of what flox finishes."""
    return values


BY_FLOX = (
    FloxMeasure(
        "prod",
        "product of the pixels",
        of_flox,
        aggregation=lambda context, size: "nanprod" if context.skipna else "prod",
    ),
    FloxMeasure(
        "any",
        "whether any pixel is other than 0",
        of_flox,
        kind="truth",
        # NaN has to pass through, which truth values cannot.
        aggregation=lambda context, size: "any" if context.skipna else "max",
        prepare=partial(_truth, nan=False),
    ),
    FloxMeasure(
        "all",
        "whether all pixels are other than 0",
        of_flox,
        kind="truth",
        aggregation=lambda context, size: "all" if context.skipna else "min",
        prepare=partial(_truth, nan=True),
    ),
    _pick_entry("first", "first pixel, in the order of the mask's dims (C order)", kind="image", units="image"),
    _pick_entry("last", "last pixel, in the order of the mask's dims (C order)", kind="image", units="image"),
    _pick_entry(
        "argmin", "flat index of the smallest pixel in the mask (its dims, C order), the first of a tie", kind="whole"
    ),
    _pick_entry(
        "argmax", "flat index of the largest pixel in the mask (its dims, C order), the first of a tie", kind="whole"
    ),
)

# What is no statistic that merges and counts as one all the same: by all pixels of an object, or by flox.
MORE_STATISTICS = {entry.name: entry for entry in (MEDIAN, MODE, *BY_FLOX)}
