"""Principal components along one axis of numpy and dask arrays, whose other axes are the samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, TypeVar

import numpy as np

from xlabelstats.inputs import check_on_host, is_dask
from xlabelstats.options import compute

# Numbers that are held as float64 at a time, so that a block of float16 does not grow fourfold.
SLAB = 2**22

# Entries of an axis that differ by less than this part are equally large, so that rounding does not choose its sign.
TIE = 1e-9

T = TypeVar("T")


@dataclass(frozen=True)
class SampleMoments:
    """What the samples of a block add up to.

    Attributes
    ----------
    count : int
        Samples without NaN or infinite numbers; the others are left out.
    mean : array (feature,)
    products : array (feature, feature)
        Sums of products of the deviations from the mean.
    """

    count: int
    mean: np.ndarray
    products: np.ndarray


@dataclass(frozen=True)
class Components:
    """The axes along which samples vary most.

    Attributes
    ----------
    mean : array (feature,)
    axes : array (component, feature)
        Unit vectors, each with its entry of largest magnitude positive.
    variance : array (component,)
        The variance of the samples along each axis, largest first.
    ratio : array (component,)
        Its part of the variance of all features; 0 if nothing varies.
    """

    mean: np.ndarray
    axes: np.ndarray
    variance: np.ndarray
    ratio: np.ndarray


def check_components(n_components: Any, features: int, as_rgb: bool) -> int:
    """The number of components, or a complaint if there cannot be so many."""
    if not isinstance(n_components, int | np.integer) or isinstance(n_components, bool) or n_components < 1:
        raise ValueError(f"n_components is a whole number from 1, not {n_components!r}")
    if as_rgb and n_components != 3:
        raise ValueError(f"a colour has 3 components, not n_components={n_components}; give as_rgb=False")
    if n_components > features:
        raise ValueError(f"{features} features have at most {features} components, not n_components={n_components}")
    return int(n_components)


def project_each(
    arrays: Sequence[Any], axis: int, n_components: int, as_rgb: bool
) -> tuple[list[Any], list[Components]]:
    """Project every array on its own components, which take the place of the features, as float64 or colours.

    The components, and the range of the colours, are computed at once, for all arrays together.
    """
    for array in arrays:
        check_on_host("the projection", data=array)
    arrays = [_whole_features(array, axis) for array in arrays]
    fitted = [
        components_of(moments, n_components) for moments in _fold(arrays, partial(moments_of, axis=axis), merge_moments)
    ]
    projected = [_project(array, axis, components) for array, components in zip(arrays, fitted, strict=True)]
    if as_rgb:
        ranges = _fold(projected, _range_of, _merge_ranges)
        projected = [_colour(array, *limits) for array, limits in zip(projected, ranges, strict=True)]
    return projected, fitted


def moments_of(block: np.ndarray, *, axis: int) -> SampleMoments:
    """The moments of a block, slab by slab."""
    samples = _samples(block, axis)
    features = len(samples)
    nothing = SampleMoments(0, np.zeros(features), np.zeros((features, features)))
    return reduce(merge_moments, (_slab_moments(samples[:, slab]) for slab in _slabs(samples)), nothing)


def _slab_moments(samples: np.ndarray) -> SampleMoments:
    centred, mean = _centre(samples)
    if not np.isfinite(mean).all():
        centred, mean = _centre(samples[:, np.isfinite(samples).all(axis=0)])
    # Products beyond what a float holds are complained about where they are used.
    with np.errstate(over="ignore", invalid="ignore"):
        return SampleMoments(centred.shape[1], mean, centred @ centred.T)


def _centre(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Samples (feature, sample) without their mean, and the mean."""
    if not samples.shape[1]:
        return np.zeros((len(samples), 0)), np.zeros(len(samples))
    # Without the first sample first: so equal samples are centred to exactly 0, and a large mean costs no precision.
    first = samples[:, :1].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        # Sums are rounded by their order, which is not to follow from how a block happens to lie in memory.
        centred = np.subtract(samples, first, dtype=np.float64, order="C")
        shift = centred.mean(axis=1, keepdims=True)
        centred -= shift
        return centred, (first + shift)[:, 0]


def merge_moments(a: SampleMoments, b: SampleMoments) -> SampleMoments:
    """The moments of the samples of both (Chan, Golub & LeVeque 1979, for products of two features)."""
    if not a.count or not b.count:
        return a if a.count else b
    count = a.count + b.count
    with np.errstate(over="ignore", invalid="ignore"):
        apart = b.mean - a.mean
        products = np.outer(apart, apart) * (a.count * b.count / count)
        products += a.products
        products += b.products
        return SampleMoments(count, a.mean + apart * (b.count / count), products)


def components_of(moments: SampleMoments, n_components: int) -> Components:
    """The principal components of samples, by their sample covariance (ddof=1)."""
    covariance = moments.products / max(moments.count - 1, 1)
    total = np.trace(covariance)
    if not np.isfinite(total):
        raise ValueError("the variance of these numbers is more than a float64 holds; divide them by a large number")
    variance, vectors = np.linalg.eigh(covariance)
    variance, axes = variance[::-1][:n_components].clip(0), vectors.T[::-1][:n_components]
    size = np.abs(axes)
    largest = (size >= (1 - TIE) * size.max(axis=1, keepdims=True)).argmax(axis=1)
    signs = np.where(axes[np.arange(n_components), largest] < 0, -1.0, 1.0)
    return Components(moments.mean, axes * signs[:, None], variance, variance / (total if total > 0 else 1))


def _project(array: Any, axis: int, components: Components) -> Any:
    project = partial(_project_block, axis=axis, components=components)
    if not is_dask(array):
        return project(array)
    chunks = tuple((len(components.axes),) if i == axis else sizes for i, sizes in enumerate(array.chunks))
    return array.map_blocks(project, chunks=chunks, meta=np.empty((0,) * array.ndim))


def _project_block(block: np.ndarray, *, axis: int, components: Components) -> np.ndarray:
    samples = _samples(block, axis)
    projected = np.empty((len(components.axes), samples.shape[1]))
    # A sample with a NaN or an infinite number has no finite component.
    with np.errstate(invalid="ignore"):
        for slab in _slabs(samples):
            centred = np.subtract(samples[:, slab], components.mean[:, None], dtype=np.float64, order="C")
            projected[:, slab] = components.axes @ centred
    projected[~np.isfinite(projected)] = np.nan
    others = [size for i, size in enumerate(block.shape) if i != axis]
    return np.moveaxis(projected.reshape(len(projected), *others), 0, axis)


def _range_of(block: np.ndarray) -> tuple[float, float]:
    return np.fmin.reduce(block, axis=None, initial=np.inf), np.fmax.reduce(block, axis=None, initial=-np.inf)


def _merge_ranges(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return min(a[0], b[0]), max(a[1], b[1])


def _colour(array: Any, low: float, high: float) -> Any:
    colour = partial(_colour_block, low=low, high=high)
    return array.map_blocks(colour, dtype=np.uint8) if is_dask(array) else colour(array)


def _colour_block(block: np.ndarray, *, low: float, high: float) -> np.ndarray:
    if not high > low:
        return np.zeros(block.shape, np.uint8)
    colours = 255 * (block - low) / (high - low)
    colours[np.isnan(colours)] = 0
    return colours.astype(np.uint8)


def _whole_features(array: Any, axis: int) -> Any:
    """The array with all features of a sample in one chunk; other chunks shrink in return."""
    if not is_dask(array):
        return np.asarray(array)
    if array.numblocks[axis] == 1:
        return array
    return array.rechunk({i: -1 if i == axis else "auto" for i in range(array.ndim)})


def _samples(block: np.ndarray, axis: int) -> np.ndarray:
    """A block as (feature, sample)."""
    features = block.shape[axis]
    return np.moveaxis(block, axis, 0).reshape(features, block.size // max(features, 1))


def _slabs(samples: np.ndarray) -> Iterator[slice]:
    features, n = samples.shape
    step = max(SLAB // max(features, 1), 1)
    return (slice(first, first + step) for first in range(0, n, step))


def _fold(arrays: Sequence[Any], function: Callable[[np.ndarray], T], merge: Callable[[T, T], T]) -> list[T]:
    """A value of every array: a function of each of its blocks, merged by a tree; computed at once."""
    if not any(map(is_dask, arrays)):
        return [function(array) for array in arrays]
    import dask.array as da

    merge_all = partial(_fold_values, merge=merge)
    block = partial(_fold_block, function=function)
    # Without a meta dask would try the function on an empty block, and take what it returns for numbers.
    meta = np.empty((), object)
    folded = [da.reduction(array, block, merge_all, combine=merge_all, dtype=object, meta=meta) for array in arrays]
    return list(compute(da.stack(folded)))


def _fold_block(block: np.ndarray, axis: Any, keepdims: bool, *, function: Callable[[np.ndarray], T]) -> np.ndarray:
    return _boxed(function(block), block.ndim)


def _fold_values(values: np.ndarray, axis: Any, keepdims: bool, *, merge: Callable[[T, T], T]) -> np.ndarray:
    return _boxed(reduce(merge, values.flat), values.ndim if keepdims else 0)


def _boxed(value: Any, ndim: int) -> np.ndarray:
    """A value as the only element of an array, as dask wants blocks to be."""
    box = np.empty((1,) * ndim, object)
    box[(0,) * ndim] = value
    return box
