"""How two channels go together in the pixels above thresholds, for which every object is needed whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from xlabelstats.catalogue.cross_moments import channels_of, groups_of
from xlabelstats.catalogue.order import gather
from xlabelstats.engine.reduction import Columns, Context, Reduction, WholeBlock
from xlabelstats.engine.runs import Array, as_bits, pixels_of
from xlabelstats.kernels import kernels_for


@dataclass(frozen=True)
class Sums:
    """Sums over the pixels of two channels x and y, each (label, group, channel, channel), [x, y].

    Attributes
    ----------
    above : array
        Of x where it is above its threshold.
    both, near : array
        Of x where both are above their thresholds: plain, and weighted by how near the ranks are.
    product, squares : array
        Of x y and of x**2 where both are above their thresholds.
    """

    above: Array
    both: Array
    near: Array
    product: Array
    squares: Array

    @property
    def turned(self) -> Array:
        """Sums of y**2."""
        return self.squares.swapaxes(-1, -2)


@dataclass(frozen=True)
class Share:
    """What is computed from the sums above one threshold; as a formula it finds that among others.

    Attributes
    ----------
    formula : callable
    threshold : float
        The part of the largest pixel of a channel that a pixel has to reach.
    ranked : bool
        Whether it needs ranks.
    """

    formula: Callable[[Sums], Array]
    threshold: float
    ranked: bool

    def __call__(self, shares: Mapping[Share, Array]) -> Array:
        """The values (label, group, channel, channel)."""
        return shares[self]


@dataclass(frozen=True)
class Shares(Reduction):
    """What is computed of every two channels along the last of the image's own dims from sums above thresholds.

    Column: (label, group, channel, channel, share), a group being the channels at one position along the other dims.

    Attributes
    ----------
    shares : tuple of Share
    skipna : bool
        Whether pixels that are NaN in either channel are left out; else they make the values NaN.
    """

    shares: tuple[Share, ...]
    skipna: bool

    reads_image = True
    whole = True
    parallel = True
    on_grid = False

    @classmethod
    def of(cls, needs: tuple[Share, ...], context: Context) -> Self:
        """All that any of several measures needs."""
        return cls(tuple(dict.fromkeys(needs)), context.skipna)

    def collect(self, block: WholeBlock) -> Columns:
        """Compare the channels of every object of a region."""
        kernels = kernels_for(block.ids)
        xp, channels = kernels.xp, channels_of(block)
        pixels = pixels_of(block.image, block.shape)
        gathered = gather(as_bits(pixels), block).view(pixels.dtype)
        thresholds = list(dict.fromkeys(share.threshold for share in self.shares))
        ranked = any(share.ranked for share in self.shares)
        shape = (block.ids.size, groups_of(block), channels, channels)
        sums = xp.zeros((*shape, len(thresholds), 6))
        kernels.colocalise(gathered, block.count, xp.asarray(thresholds, np.float64), ranked, sums)
        values = xp.empty((*shape, len(self.shares)))
        for i, share in enumerate(self.shares):
            n, *fields = xp.moveaxis(sums[..., thresholds.index(share.threshold), :], -1, 0)
            with np.errstate(invalid="ignore", divide="ignore"):
                values[..., i] = share.formula(Sums(*fields))
            if not self.skipna:
                values[..., i] = xp.where(n < block.count[:, None, None, None], np.nan, values[..., i])
        return (values,)

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> Mapping[Share, Array]:
        """The values of every share."""
        return dict(zip(self.shares, kernels_for(ids).xp.moveaxis(columns[0], -1, 0), strict=True))
