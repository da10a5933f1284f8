"""Blobs: bright spots of any size, found by a difference of Gaussians."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.spatial import cKDTree

from xlabelstats.inputs import check_image
from xlabelstats.pipeline.filters import float_of, reach_of
from xlabelstats.pipeline.halos import Place, objects_of_blocks
from xlabelstats.pipeline.points import points_table
from xlabelstats.pipeline.steps import check_number, check_positive, check_space, named, step


@step(2)
def blobs(
    image: Any,
    *,
    threshold: float,
    min_sigma: float = 1.0,
    max_sigma: float = 10.0,
    sigma_ratio: float = 1.6,
    overlap: float = 0.5,
) -> pd.DataFrame:
    """Find bright blobs as the maxima of a difference of Gaussians, over space and size.

    Parameters
    ----------
    image : DataArray, numpy or dask array
        Any finite numbers, with two or three dims, all in space.
    threshold : float
        Maxima strictly above it are blobs.  In the image's own units: the maximum of a round spot is about a third of
        its contrast.
    min_sigma, max_sigma : float, default 1.0 and 10.0
        Standard deviations in pixels of the smallest and the largest Gaussian.  The radius of a blob is about
        ``sigma * sqrt(ndim)``.  Time and memory grow with the largest, around which each block reaches
        four times as far.
    sigma_ratio : float, default 1.6
        Of one Gaussian to the next.
    overlap : float, default 0.5
        If two blobs share more than this fraction of the smaller one's area or volume, the smaller is left out.

    Returns
    -------
    pandas.DataFrame
        A row per blob: ``id``, from 1 in the order of rows; its position as in `centroids`; and ``sigma``, the
        standard deviation in pixels of the smaller Gaussian with which it was found.

    Raises
    ------
    TypeError
        The image holds no numbers, or a parameter is none.
    ValueError
        The image has a pixel that is not finite, or dims that are not in space, or not two or three of them, or
        a parameter is out of its range.

    Notes
    -----
    The maxima are those of `skimage.feature.blob_dog` on the whole image as float32, float64 if it is, up to the
    border, for every chunking.  Overlapping blobs are dropped once all are found, beginning with the largest.  A
    dropped blob does not drop others; in scikit-image it can, by chance, if three or more overlap in a row.  If two
    have the same size, the fainter one is kept, as in scikit-image.  A lazy image is read now, in one pass.

    References
    ----------
    Lowe (2004), Distinctive image features from scale-invariant keypoints, Int. J. Computer Vision 60, 91-110.

    Examples
    --------
    >>> import numpy as np
    >>> from xlabelstats.pipeline import blobs
    >>> image = np.zeros((20, 30), np.uint16)
    >>> image[4:7, 9:12] = image[10:15, 20:25] = 500
    >>> blobs(image, threshold=50)[["id", "y", "x", "y_pixel", "x_pixel", "sigma"]]
           id     y     x  y_pixel  x_pixel  sigma
    label
    1       1   5.0  10.0      5.0     10.0    1.0
    2       2  12.0  22.0     12.0     22.0    1.6
    """
    whole = named(image)
    check_image(whole)
    check_space(whole, "image")
    if whole.ndim not in (2, 3):
        raise ValueError(f"blobs have two or three dims; the image has {tuple(whole.dims)}")
    dtype = float_of(whole.dtype)
    scales = _scales(min_sigma, max_sigma, sigma_ratio, dtype)
    check_positive(threshold, "threshold")
    check_number(overlap, "overlap")
    if not 0 <= overlap <= 1:
        raise ValueError(f"overlap is a fraction of a blob, between 0 and 1, not {overlap!r}")
    # A maximum is one among the pixels next to it.
    depth = (reach_of(scales.sigmas[-1]) + 1,) * whole.ndim
    found = objects_of_blocks(partial(_peaks, scales=scales, threshold=float(threshold)), whole.data, depth)
    at, scale, height = (np.concatenate(parts) for parts in zip(*found, strict=True))
    kept = prune(at, scales.sigmas[scale], height, float(overlap))
    at, sigma = at[kept], float(min_sigma) * float(sigma_ratio) ** scale[kept]
    order = np.lexsort((sigma, *at.T[::-1]))
    ids = np.arange(1, order.size + 1)
    return points_table(ids, at[order].astype(np.float64), whole, {"sigma": sigma[order]})


@dataclass(frozen=True)
class Scales:
    """The standard deviations of the Gaussians, in the image's precision, and the ratio of each to the next."""

    sigmas: np.ndarray
    ratio: float

    def differences(self, pixels: np.ndarray) -> Iterator[np.ndarray]:
        """The difference of each two successive Gaussians, made comparable between scales."""
        before = ndimage.gaussian_filter(pixels, self.sigmas[0], mode="reflect")
        for sigma in self.sigmas[1:]:
            smoother = ndimage.gaussian_filter(pixels, sigma, mode="reflect")
            before -= smoother
            before *= 1 / (self.ratio - 1)
            yield before
            before = smoother


def _scales(low: float, high: float, ratio: float, dtype: np.dtype) -> Scales:
    """The geometric series of standard deviations up to the first above the highest."""
    for value, what in ((low, "min_sigma"), (high, "max_sigma"), (ratio, "sigma_ratio")):
        check_positive(value, what)
    if high < low:
        raise ValueError(f"max_sigma is at least min_sigma, not {high!r} and {low!r}")
    if ratio <= 1:
        raise ValueError(f"sigma_ratio is above 1, not {ratio!r}")
    # In the image's precision, in which scikit-image has them, so that no number differs.
    first, last = dtype.type(low), dtype.type(high)
    n = int(np.log(last / first) / np.log(ratio) + 1)
    return Scales(np.array([first * float(ratio) ** i for i in range(n + 1)], dtype), float(ratio))


def _peaks(block: np.ndarray, place: Place, *, scales: Scales, threshold: float) -> tuple[np.ndarray, ...]:
    """The maxima among a block's own pixels: position (peak, axis), index of the scale, and height."""
    if not np.isfinite(block).all():
        raise ValueError(
            "the image has pixels that are NaN or infinite, in which blobs would be lost; give them a value: .fillna(0)"
        )
    pixels = block.astype(scales.sigmas.dtype, copy=False)
    heights: list[np.ndarray] = []
    highest: list[np.ndarray] = []
    for difference in scales.differences(pixels):
        heights.append(difference[place.core].copy())
        highest.append(ndimage.maximum_filter(difference, 3, mode="nearest")[place.core].copy())
    found = []
    for scale, height in enumerate(heights):
        around = np.maximum.reduce(highest[max(scale - 1, 0) : scale + 2])
        peak = (height == around) & (height > threshold)
        at = np.argwhere(peak)
        found.append((at + place.first, np.full(len(at), scale), height[peak]))
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


def prune(at: np.ndarray, sigma: np.ndarray, height: np.ndarray, limit: float) -> np.ndarray:
    """Which blobs stay if none may share more than a part of its area or volume with a larger one that stays.

    Among those of one size the fainter goes before the brighter, and the last before the first.
    """
    order = np.lexsort((*-at.T[::-1], height, -sigma))
    at, sigma = at[order], sigma[order]
    pairs = _overlapping(at, sigma, limit)
    first = np.searchsorted(pairs[:, 0], np.arange(sigma.size + 1))
    stays = np.ones(sigma.size, bool)
    for i in np.unique(pairs[:, 0]):
        if stays[i]:
            stays[pairs[first[i] : first[i + 1], 1]] = False
    return np.sort(order[stays])


def _overlapping(at: np.ndarray, sigma: np.ndarray, limit: float) -> np.ndarray:
    """The pairs (pair, 2), sorted, of blobs that overlap by more than a part, of blobs in descending order of size.

    Only pairs that are near enough for their own sizes are looked at, so that small blobs have few of them.
    """
    sizes, start = np.unique(-sigma, return_index=True)
    bounds = [*start.tolist(), sigma.size]
    trees = [cKDTree(at[a:b]) for a, b in itertools.pairwise(bounds)]
    root = math.sqrt(at.shape[1])
    found = [np.empty((0, 2), np.int64)]
    for i, large in enumerate(-sizes):
        for j, small in enumerate(-sizes[i:], i):
            near = trees[i].sparse_distance_matrix(trees[j], root * float(large + small), output_type="ndarray")
            shared = _shared_part(near["v"] / (float(large) * root), float(small / large), at.shape[1])
            pairs = np.stack([near["i"] + bounds[i], near["j"] + bounds[j]], axis=-1)[shared > limit]
            found.append(pairs[pairs[:, 0] < pairs[:, 1]])
    pairs = np.concatenate(found)
    return pairs[np.lexsort(pairs.T[::-1])]


def _shared_part(distance: np.ndarray, radius: float, ndim: int) -> np.ndarray:
    """The part of discs or balls of a radius that is in one of radius 1 at a distance, as scikit-image has it."""
    inside, apart = distance <= 1 - radius, distance >= 1 + radius
    # Where one is inside the other the formulas do not hold.
    d = np.where(inside, 1.0, np.minimum(distance, 1 + radius))
    if ndim == 2:
        large = np.arccos(np.clip((d**2 + 1 - radius**2) / (2 * d), -1, 1))
        small = np.arccos(np.clip((d**2 + radius**2 - 1) / (2 * d * radius), -1, 1))
        kite = (radius + 1 - d) * (d + 1 - radius) * (d - 1 + radius) * (d + 1 + radius)
        part = (large + radius**2 * small - np.sqrt(np.abs(kite)) / 2) / (np.pi * radius**2)
    else:
        lens = (1 + radius - d) ** 2 * (d**2 + 2 * d * (1 + radius) - 3 * (1 + radius**2) + 6 * radius)
        part = lens / (16 * d * radius**3)
    return np.select([inside, apart], [1.0, 0.0], part)
