"""Statistics of every label's pixels, each of a weight: in one read of the image, merged pairwise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Self

import numpy as np

from xlabelstats.catalogue.intensity import COUNT
from xlabelstats.catalogue.measure import Measure
from xlabelstats.engine.reduction import Block, Columns, Context, Reduction
from xlabelstats.engine.runs import Array, pixels_of, weights_of
from xlabelstats.kernels import kernels_for


@dataclass(frozen=True)
class WeightedPixels(Reduction):
    """The weights of valid pixels, and their weighted sum and second central moment, per label and channel.

    Columns: ``moments`` (label, channel, moment) of weight, weighted sum and, if it is needed, weighted m2 with how far
    the true mean is off ``sum / weight``; ``spoiled`` (label, channel), the number of pixels that are not valid.
    Merged pairwise, the weights in the place of numbers of pixels: Chan, Golub & LeVeque 1979, West 1979.

    Attributes
    ----------
    order : int
        The highest moment to collect, 1 or 2.
    """

    order: int

    reads_image = True
    axes_matter = False
    on_grid = False

    @classmethod
    def of(cls, needs: tuple[str, ...], context: Context) -> Self:
        """What is to be collected for measures with these needs: ``m2`` or not."""
        return cls(2 if "m2" in needs else 1)

    def collect(self, block: Block) -> Columns:
        """Collect from the runs of a block.  Squares of deviations need the means first, so a second pass over it."""
        pixels, weights = pixels_of(block.image, block.shape), weights_of(block.weights, block.shape)
        kernels = kernels_for(pixels)
        xp = kernels.xp
        size = block.ids.size, len(pixels)
        moments = xp.zeros((*size, 2 * self.order))
        sums = xp.zeros((*size, 5))
        kernels.weighted_powers(pixels, block.runs, weights, sums)
        moments[..., 0], moments[..., 1], spoiled = sums[..., 3], sums[..., 1], sums[..., 4]
        if (spoiled < 0).any():
            lowest = float(xp.nanmin(weights.elements))
            raise ValueError(
                f"weights are 0 or more, or NaN where a pixel is not valid; the lowest is {lowest:g}. "
                "Give pixels that should not count the weight 0: weights.clip(min=0)"
            )
        if self.order > 1:
            sums = xp.zeros((*size, 5))
            with np.errstate(invalid="ignore", divide="ignore"):
                sums[..., 0] = moments[..., 1] / moments[..., 0]
            kernels.weighted_powers(pixels, block.runs, weights, sums)
            kernels.centre(sums, moments)
        return moments, spoiled.astype(np.int64)

    def fold(self, rows: Array, before: Array, count: Array, columns: Columns, into: Columns) -> None:
        """Fold moments of the same label, pairwise, and add the numbers of pixels that are not valid."""
        (moments_in, spoiled_in), (moments, spoiled) = columns, into
        kernels = kernels_for(rows)
        none_in, none = (kernels.xp.empty((*each.shape[:2], 0)) for each in (moments_in, moments))
        kernels.merge(rows, before, moments_in, none_in, moments, none)
        spoiled[rows] += spoiled_in

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> WeightedStatistics:
        """The moments by name."""
        moments, spoiled = columns
        values = [kernels_for(ids).xp.ascontiguousarray(moments[..., i]) for i in range(self.order + 1)]
        if not context.skipna:
            values[1:] = [np.where(spoiled > 0, np.nan, each) for each in values[1:]]
        return WeightedStatistics(*values)


@dataclass(frozen=True)
class WeightedStatistics:
    """What weighted statistics are computed from, each (label, channel).

    Attributes
    ----------
    weight, sum : array
        Of the pixels that are valid.
    m2 : array or None
        The weighted sum of the squares of their deviations from the mean, if it was collected.
    """

    weight: Array
    sum: Array
    m2: Array = None

    @cached_property
    def mean(self) -> Array:
        """Mean."""
        return self.sum / self.weight

    @cached_property
    def variance(self) -> Array:
        """Variance, divided by the weight."""
        return np.where(self.weight > 0, self.m2, np.nan) / self.weight


_of_pixels = partial(Measure, reduction=WeightedPixels)

WEIGHTED = {
    entry.name: entry
    for entry in (
        COUNT,
        _of_pixels("sum", "sum of weight * pixel", lambda p: p.sum, units="image", absent=0),
        _of_pixels("mean", "sum / weight", lambda p: p.mean, units="image"),
        _of_pixels(
            "var",
            "sum of weight * (pixel - mean)**2, divided by ``weight``",
            lambda p: p.variance,
            needs=("m2",),
            units="image**2",
        ),
        _of_pixels(
            "std",
            "standard deviation, the root of ``var``",
            lambda p: np.sqrt(p.variance),
            needs=("m2",),
            units="image",
        ),
        _of_pixels("weight", "sum of the weights of valid pixels", lambda p: p.weight, absent=0),
    )
}
