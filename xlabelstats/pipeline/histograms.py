"""Thresholds from the histogram of an image, merged over its blocks."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.extras import need
from xlabelstats.inputs import is_dask
from xlabelstats.options import compute

# Images with more values than this are counted in as many bins.
MOST_BINS = 2**16


@dataclass(frozen=True)
class Bins:
    """The bins in which pixels are counted, from ``low`` to ``high``.

    Attributes
    ----------
    low, high : int or float
        Both are counted.
    n : int
        How many bins there are.
    whole : bool
        Whether there is one for every integer from ``low`` to ``high``, rather than equal parts of the range.
    """

    low: Any
    high: Any
    n: int
    whole: bool

    @property
    def centres(self) -> np.ndarray:
        """The values that stand for the pixels of each bin."""
        if self.whole:
            return self.low + np.arange(self.n, dtype=np.uint64 if self.low > 2**62 else np.int64)
        width = (float(self.high) - float(self.low)) / self.n
        return float(self.low) + (np.arange(self.n) + 0.5) * width

    def count(self, pixels: np.ndarray) -> np.ndarray:
        """As many pixels of a block as each bin has; those that are not finite are in none."""
        if self.whole:
            # The difference of two int8 need not be one.
            wide = pixels.astype(np.uint64 if pixels.dtype.kind == "u" else np.int64, copy=False)
            from_low = wide - wide.dtype.type(self.low)
            return np.bincount(from_low.ravel().astype(np.intp), minlength=self.n)
        return np.histogram(pixels, self.n, (np.float64(self.low), np.float64(self.high)))[0]


def method_levels(image: xr.DataArray, space: Sequence[Hashable], method: str) -> xr.DataArray:
    """The threshold that a method finds for every element of the dims that are not in space, computed now."""
    if method == "otsu":
        need("skimage", "pipeline", "the method 'otsu'")
    other = [dim for dim in image.dims if dim not in space]
    ordered = image.transpose(*other, *space)
    if not image.size:
        raise ValueError("the image has no pixels, so no threshold can be found; give a number")
    if ordered.chunks is not None:
        # dask finds no smallest pixel of a chunk without pixels.
        ordered = ordered.chunk({dim: tuple(n for n in sizes if n) for dim, sizes in ordered.chunksizes.items()})
    bins = _bins_of(ordered, other, method)
    found = [
        _level(ordered.data[index], each, method)
        for index, each in zip(np.ndindex(*ordered.shape[: len(other)]), bins, strict=True)
    ]
    if is_dask(image.data):
        import dask.array as da

        found = compute(da.stack(found))
    coords = {name: coord for name, coord in image.coords.items() if set(coord.dims) <= set(other)}
    return xr.DataArray(np.reshape(found, ordered.shape[: len(other)]), dims=other, coords=coords)


def _bins_of(image: xr.DataArray, other: Sequence[Hashable], method: str) -> list[Bins]:
    """The bins for each element of the other dims, for which a pass over the image may be needed."""
    n = METHODS[method].bins
    if image.dtype == bool:
        low, high = 0, 1
    elif image.dtype.kind in "iu" and image.dtype.itemsize <= 2:
        low, high = (int(bound) for bound in (np.iinfo(image.dtype).min, np.iinfo(image.dtype).max))
    else:
        return [_between(*bounds, n, method) for bounds in _ranges(image, other)]
    return [Bins(low, high, high - low + 1, True)] * int(np.prod([image.sizes[dim] for dim in other], dtype=int))


def _between(low: Any, high: Any, n: int, method: str) -> Bins:
    if isinstance(low, int) and high - low < MOST_BINS:
        return Bins(low, high, high - low + 1, True)
    if low == high:
        return Bins(low, high, 1, False)
    with np.errstate(over="ignore", invalid="ignore"):
        edges = np.linspace(float(low), float(high), n + 1)
    if not (edges[1:] > edges[:-1]).all():
        near, rescaled = "close together", f"(image - {low}) / {float(high) - float(low)}"
        if np.isinf(float(high) - float(low)):
            near, rescaled = "far apart", "image / 1e300"
        raise ValueError(
            f"the pixels lie between {low} and {high}, too {near} for the {n} bins in which {method!r} counts them; "
            f"give the threshold as a number, or rescale the image first: {rescaled}"
        )
    return Bins(low, high, n, False)


def _ranges(image: xr.DataArray, other: Sequence[Hashable]) -> Iterable[tuple[Any, Any]]:
    """The lowest and highest finite pixel for each element of the other dims."""
    space = [dim for dim in image.dims if dim not in other]
    lows = highs = image
    if image.dtype.kind == "f":
        finite = np.isfinite(image)
        lows, highs = image.where(finite, np.inf), image.where(finite, -np.inf)
    bounds = xr.Dataset({"low": lows.min(space), "high": highs.max(space)})
    bounds = compute(bounds) if is_dask(image.data) else bounds
    empty = bounds["low"] > bounds["high"]
    if empty.any():
        at = np.argwhere(empty.values)[0]
        where = "".join(f" at {dim}={i}" for dim, i in zip(other, at.tolist(), strict=True))
        raise ValueError(f"the image{where} has no finite pixels, so no threshold can be found; give a number")
    return zip(bounds["low"].values.ravel().tolist(), bounds["high"].values.ravel().tolist(), strict=True)


def _level(pixels: Any, bins: Bins, method: str) -> Any:
    """The threshold of an array in space, lazy if it is."""
    if not is_dask(pixels):
        return _settle(bins.count(pixels), bins=bins, method=method)
    import dask.array as da

    return da.reduction(
        pixels,
        chunk=partial(_count, bins=bins),
        combine=_merge,
        aggregate=partial(_settle_merged, bins=bins, method=method),
        concatenate=False,
        dtype=np.float64,
        meta=np.empty((), np.float64),
    )


# What dask's reductions say of axes is always the same here: the blocks of a whole array are merged.
def _count(block: np.ndarray, axis: Any, keepdims: bool, *, bins: Bins) -> np.ndarray:
    return bins.count(np.asarray(block))


def _merge(counts: Any, axis: Any, keepdims: bool) -> np.ndarray:
    from dask.core import flatten

    return reduce(np.add, flatten(counts if isinstance(counts, list) else [counts]))


def _settle_merged(counts: Any, axis: Any, keepdims: bool, *, bins: Bins, method: str) -> np.ndarray:
    return _settle(_merge(counts, axis, keepdims), bins=bins, method=method)


def _settle(counts: np.ndarray, *, bins: Bins, method: str) -> np.ndarray:
    """The threshold of a histogram."""
    held = np.flatnonzero(counts)
    if held[0] == held[-1]:
        # Nothing lies above the only value there is.
        return np.asarray(bins.centres[held[0]], np.float64)
    ends = slice(held[0], held[-1] + 1)
    return np.asarray(METHODS[method].level(counts[ends], bins.centres[ends], bins), np.float64)


def _otsu(counts: np.ndarray, centres: np.ndarray, bins: Bins) -> float:
    from skimage.filters import threshold_otsu

    return threshold_otsu(hist=(counts, centres))


def _li(counts: np.ndarray, centres: np.ndarray, bins: Bins) -> float:
    """The level of minimum cross entropy, of values that begin at 0 (Li and Tam 1998)."""
    lowest = centres[0] if bins.whole else bins.low
    values = centres - lowest
    level, before = float(np.average(values, weights=counts)), -np.inf
    # As in scikit-image half a grey level is near enough for integers.
    near = 0.5 if bins.whole else 0.0
    while abs(level - before) > near:
        before = level
        above = values > level
        over = np.average(values[above], weights=counts[above])
        under = np.average(values[~above], weights=counts[~above])
        if under == 0:
            break
        level = float((under - over) / (np.log(under) - np.log(over)))
    return level + float(lowest)


def _triangle(counts: np.ndarray, centres: np.ndarray, bins: Bins) -> float:
    """The level furthest from the line between the peak and the end of the longer tail (Zack et al. 1977)."""
    peak = int(np.argmax(counts))
    tail_is_right = peak < counts.size - 1 - peak
    if tail_is_right:
        counts, peak = counts[::-1], counts.size - 1 - peak
    # The line is normalised as by scikit-image, so that rounding decides ties as there.
    height, norm = float(counts[peak]), np.hypot(counts[peak], peak)
    along = np.arange(peak)
    at = int(np.argmax(height / norm * along - peak / norm * counts[:peak]))
    return centres[counts.size - 1 - at if tail_is_right else at]


@dataclass(frozen=True)
class Method:
    """A way to find a threshold, and the number of bins for an image that is not counted by value."""

    level: Callable[[np.ndarray, np.ndarray, Bins], float]
    bins: int
    definition: str


METHODS = {
    "otsu": Method(_otsu, MOST_BINS, "the two classes differ most in their means (Otsu 1979)"),
    "li": Method(_li, MOST_BINS, "the binary image has the least cross entropy to the image (Li and Tam 1998)"),
    # In more bins a peak would be lost in the noise.
    "triangle": Method(_triangle, 256, "the corner of the histogram's longer tail (Zack, Rogers and Latt 1977)"),
}
