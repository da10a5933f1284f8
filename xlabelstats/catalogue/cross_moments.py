"""Sums of products of every two channels of an image, per label: merged across blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from xlabelstats.engine.reduction import Block, Columns, Context, Reduction, add
from xlabelstats.engine.runs import Array, pixels_of
from xlabelstats.kernels import kernels_for
from xlabelstats.kernels.protocol import Runs

# What `CrossMoments` collects of two channels that may have NaN.
FIELDS = ("n", "x_near", "y_near", "x_off", "y_off", "xx", "yy", "xy")


@dataclass(frozen=True)
class CrossMoments(Reduction):
    """Sums of products of the deviations from the mean, of every two channels along the last of the image's own dims.

    Columns of integers of up to 16 bits: ``sums`` (label, group, channel) and ``products`` of plain pixels (label,
    group, pair), integers that are exact whatever the blocks; a group being the channels at one position along the
    other dims.  They wrap at 2**64, which central moments do not see: what these are themselves goes up to 2**63.

    Column of other numbers: (label, group, pair, field) of `FIELDS`, over the pixels where neither channel is NaN.  A
    mean is a number near it and how far off that is.  Merged pairwise: Chan, Golub & LeVeque 1979, Pebay 2008.

    Attributes
    ----------
    exact : bool
        Whether the image holds integers of up to 16 bits.
    """

    exact: bool

    reads_image = True
    axes_matter = False
    on_grid = False

    @classmethod
    def of(cls, needs: tuple[Any, ...], context: Context) -> Self:
        """All is collected, whatever is needed of it."""
        return cls(context.dtype.kind in "biu" and context.dtype.itemsize <= 2)

    def collect(self, block: Block) -> Columns:
        """Collect from the runs of a block; deviations need the means first, so a second pass over it."""
        pixels = pixels_of(block.image, block.shape)
        kernels, channels = kernels_for(pixels), channels_of(block)
        shape = block.ids.size, groups_of(block), channels
        if self.exact:
            sums, products = (kernels.xp.zeros((*shape[:2], n), np.int64) for n in (channels, pairs(channels)))
            kernels.cross_sums(pixels, block.runs, sums, products)
            return sums, products
        valid = kernels.xp.zeros((shape[0], len(pixels), 1))
        kernels.count_valid(pixels, block.runs, valid)
        valid = valid.reshape(shape)
        # By itself, since NaN pixels of one group must not change how another is added up.
        groups = [
            self._of_group(block, pixels[g * channels : (g + 1) * channels], valid[:, g : g + 1])
            for g in range(shape[1])
        ]
        return (kernels.xp.concatenate(groups, axis=1),) if groups else (_moments(pixels, block.runs, valid),)

    def _of_group(self, block: Block, pixels: Array, n: Array) -> Array:
        """The moments of the channels of one group, of which ``n`` (label, 1, channel) pixels are valid."""
        spoiled = (n < block.count[:, None, None]).any(axis=(1, 2))
        if not spoiled.any():
            return _moments(pixels, block.runs, n)
        moments = _moments_beside_nan(pixels, _runs_of(spoiled, block.runs), n.shape)
        if not spoiled.all():
            moments[~spoiled] = _moments(pixels, _runs_of(~spoiled, block.runs), n)[~spoiled]
        return moments

    def fold(self, rows: Array, before: Array, count: Array, columns: Columns, into: Columns) -> None:
        """Fold the moments of the same label: integers are added, others merged pairwise."""
        if self.exact:
            add(rows, columns, into)
            return
        into[0][rows] = _merged(into[0][rows], columns[0])

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> ChannelPairs:
        """The moments of every two channels by name."""
        xp = kernels_for(ids).xp
        if self.exact:
            sums, products = columns
            fields = _central(sums, products, count)
        else:
            fields = dict(zip(FIELDS, xp.moveaxis(columns[0], -1, 0), strict=True))
        n = fields["n"] if context.skipna else xp.where(fields["n"] < count[:, None, None], np.nan, fields["n"])
        x, y = (fields[f"{c}_near"] + fields[f"{c}_off"] for c in "xy")
        return ChannelPairs(n, x, y, fields["xx"], fields["yy"], fields["xy"])


@dataclass(frozen=True)
class ChannelPairs:
    """What correlations are computed from, each (label, group, pair), of two channels x and y.

    Attributes
    ----------
    n : array
        The number of pixels that count, NaN where those that do not make the result NaN.
    x, y : array
        Means.
    xx, yy, xy : array
        Sums of products of the deviations from them.
    """

    n: Array
    x: Array
    y: Array
    xx: Array
    yy: Array
    xy: Array

    @property
    def pearson(self) -> Array:
        """Pearson's correlation, from -1 to 1."""
        xp = kernels_for(self.n).xp
        x, y = self._spread
        r = xp.clip(self.xy / (xp.sqrt(x) * xp.sqrt(y)), -1, 1)
        a, b = self._pairs
        return self._square(xp.where((a == b) & (r == r), 1.0, r))

    @property
    def covariance(self) -> Array:
        """Covariance."""
        return self._square(self.xy / self.n)

    @property
    def slope(self) -> Array:
        """The slope of the second channel on the first."""
        return self._square(*(self.xy / spread for spread in self._spread))

    @property
    def overlap(self) -> Array:
        """The overlap coefficient."""
        xp = kernels_for(self.n).xp
        x, y = self._squares
        return self._square(self._products / (xp.sqrt(x) * xp.sqrt(y)))

    @property
    def k1(self) -> Array:
        """The sum of products over that of the squares of the first channel."""
        return self._square(*(self._products / squares for squares in self._squares))

    @property
    def k2(self) -> Array:
        """The sum of products over that of the squares of the second channel."""
        return self._square(*(self._products / squares for squares in self._squares[::-1]))

    @cached_property
    def _pairs(self) -> tuple[Array, Array]:
        """The first channel and the second of every pair."""
        first, second = kernels_for(self.n).xp.triu_indices(math.isqrt(2 * self.xy.shape[2]))
        return first, second

    @cached_property
    def _spread(self) -> tuple[Array, Array]:
        """The sums of squared deviations, NaN where they are no more than the rounding of the mean."""
        xp = kernels_for(self.n).xp
        rounding = (mean * np.finfo(float).resolution for mean in (self.x, self.y))
        least = (self.n * each * each for each in rounding)
        x, y = (xp.where(own > rest, own, np.nan) for own, rest in zip((self.xx, self.yy), least, strict=True))
        return x, y

    @cached_property
    def _products(self) -> Array:
        """The sum of products of the pixels."""
        return self.xy + self.n * (self.x * self.y)

    @cached_property
    def _squares(self) -> tuple[Array, Array]:
        """The sums of the squares of the pixels."""
        return self.xx + self.n * (self.x * self.x), self.yy + self.n * (self.y * self.y)

    def _square(self, values: Array, turned: Array = None) -> Array:
        """Values of pairs as (label, group, channel, channel); ``turned`` are those of the second and the first."""
        first, second = self._pairs
        channels = math.isqrt(2 * values.shape[2])
        square = kernels_for(self.n).xp.empty((*values.shape[:2], channels, channels))
        square[..., second, first] = values if turned is None else turned
        square[..., first, second] = values
        return square


def channels_of(block: Block) -> int:
    """The channels that go together: those along the last of the image's own dims."""
    return int(block.image.shape[block.image.ndim - len(block.shape) - 1])


def groups_of(block: Block) -> int:
    """The groups of channels: the positions along the image's other dims."""
    return math.prod(block.image.shape[: block.image.ndim - len(block.shape) - 1])


def pairs(channels: int) -> int:
    """The pairs of so many channels, in one order, a channel with itself among them."""
    return channels * (channels + 1) // 2


def _moments(pixels: Array, runs: Runs, n: Array) -> Array:
    """The moments (label, group, pair, field) of pixels without NaN, or where all channels of a group have it alike.

    ``n`` (label, group, channel) are the pixels that count.
    """
    kernels = kernels_for(pixels)
    xp = kernels.xp
    labels, groups, channels = n.shape
    near, sums = xp.zeros((labels, groups * channels, 1)), xp.zeros(n.shape)
    products = xp.zeros((labels, groups, pairs(channels)))
    kernels.sums_and_extremes(pixels, runs, np.float64(0), near, xp.empty((0, 0, 2), pixels.dtype))
    counting = xp.maximum(n, 1)
    with np.errstate(invalid="ignore", over="ignore"):
        near = near.reshape(n.shape) / counting
        kernels.cross_powers(pixels, runs, near, sums, products)
        off = sums / counting
        a, b = xp.triu_indices(channels)
        central = products - n[..., a] * off[..., a] * off[..., b]
    squares = xp.maximum(central[..., xp.flatnonzero(a == b)], 0)
    fields = (
        n[..., a],
        near[..., a],
        near[..., b],
        off[..., a],
        off[..., b],
        squares[..., a],
        squares[..., b],
        central,
    )
    return xp.stack(fields, axis=-1)


def _merged(some: Array, others: Array) -> Array:
    """The moments (..., field) of the pixels of two sets that have none in common."""
    xp = kernels_for(some).xp
    a, b = (dict(zip(FIELDS, xp.moveaxis(moments, -1, 0), strict=True)) for moments in (some, others))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        total = a["n"] + b["n"]
        share = b["n"] / total
        x, y = ((b[f"{c}_near"] - a[f"{c}_near"]) + (b[f"{c}_off"] - a[f"{c}_off"]) for c in "xy")
        weight = a["n"] * share
        fields = {
            "n": total,
            "x_near": a["x_near"],
            "y_near": a["y_near"],
            "x_off": a["x_off"] + x * share,
            "y_off": a["y_off"] + y * share,
            "xx": a["xx"] + b["xx"] + x * x * weight,
            "yy": a["yy"] + b["yy"] + y * y * weight,
            "xy": a["xy"] + b["xy"] + x * y * weight,
        }
    both = (a["n"] > 0) & (b["n"] > 0)
    one = [xp.where(b["n"] > 0, b[name], a[name]) for name in FIELDS]
    return xp.stack([xp.where(both, fields[name], rest) for name, rest in zip(FIELDS, one, strict=True)], axis=-1)


def _runs_of(held: Array, runs: Runs) -> Runs:
    """The runs of some labels (label,), which keep their codes."""
    of = held[runs.codes]
    return runs._replace(codes=runs.codes[of], starts=runs.starts[of], lengths=runs.lengths[of])


def _moments_beside_nan(pixels: Array, runs: Runs, shape: tuple[int, int, int]) -> Array:
    """The moments (label, group, pair, field) of labels with NaN.

    Every two channels have pixels of their own where one of all is NaN.  There are few of these, which are looked at
    pair by pair; the others are the same for all channels.
    """
    kernels = kernels_for(pixels)
    xp = kernels.xp
    # Only the pixels from the first run to the last: a block may be a stretch of an array.
    first, end = int(runs.starts.min()), int((runs.starts + runs.lengths).max())
    damaged = xp.zeros(end - first, bool)
    for channel in pixels[:, first:end]:
        damaged |= channel != channel
    lengths = runs.lengths.astype(np.int64)
    ends = xp.cumsum(lengths)
    place = xp.arange(int(lengths.sum())) + kernels.repeat(runs.starts - first - (ends - lengths), lengths)
    of_pixel, damaged = kernels.repeat(runs.codes, lengths), damaged[place]
    new = xp.zeros(place.size, bool)
    new[ends - lengths] = True
    new[1:] |= damaged[1:] != damaged[:-1]
    begins, sizes = _stretches(new)
    whole = ~damaged[begins]
    begins, sizes = begins[whole], sizes[whole]
    clean = Runs(
        of_pixel[begins],
        (place[begins] + first).astype(runs.starts.dtype),
        sizes.astype(runs.lengths.dtype),
        runs.shape,
    )
    count = xp.bincount(clean.codes, weights=sizes.astype(np.float64), minlength=shape[0])
    n = xp.broadcast_to(count[:, None, None], shape)
    # In the order of labels, they make a run of each.
    of_rest, place = of_pixel[damaged], place[damaged] + first
    order = xp.argsort(of_rest, kind="stable")
    of_rest, rest = of_rest[order], xp.ascontiguousarray(pixels[:, place[order]])
    new = xp.ones(of_rest.size, bool)
    new[1:] = of_rest[1:] != of_rest[:-1]
    starts, sizes = _stretches(new)
    others = Runs(
        of_rest[starts],
        starts.astype(runs.starts.dtype),
        sizes.astype(runs.lengths.dtype),
        np.array(of_rest.shape, np.int64),
    )
    return _merged(_moments(pixels, clean, n), _moments_of_valid(rest, others, shape))


def _stretches(new: Array) -> tuple[Array, Array]:
    """Where the stretches begin whose first pixels are marked, and how long they are."""
    xp = kernels_for(new).xp
    begins = xp.flatnonzero(new)
    return begins, xp.concatenate([begins[1:], xp.asarray([new.size])]) - begins


def _moments_of_valid(pixels: Array, runs: Runs, shape: tuple[int, int, int]) -> Array:
    """The moments (label, group, pair, field) of pixels some of which are NaN: of every pair by itself."""
    kernels = kernels_for(pixels)
    xp = kernels.xp
    labels, groups, channels = shape
    lines = pixels.reshape(groups, channels, pixels.shape[1])
    columns = []
    for a in range(channels):
        for b in range(a, channels):
            both = lines[:, [a, b]]
            both = xp.where((both != both).any(axis=1)[:, None], pixels.dtype.type(np.nan), both)
            both = kernels.read_only(both.reshape(groups * 2, pixels.shape[1]))
            valid = xp.zeros((labels, groups * 2, 1))
            kernels.count_valid(both, runs, valid)
            columns.append(_moments(both, runs, valid.reshape(labels, groups, 2))[:, :, 1])
    return xp.stack(columns, axis=2)


def _central(sums: Array, products: Array, count: Array) -> dict[str, Array]:
    """The fields of two channels from exact sums of integers, and of their products modulo 2**64."""
    xp = kernels_for(count).xp
    a, b = xp.triu_indices(sums.shape[2])
    n = count[:, None, None]
    # About the whole number that is nearest to the mean, all is exact: only the last step rounds.
    near = xp.rint(sums / xp.maximum(n, 1)).astype(np.int64)
    rest = sums - n * near
    about = products - near[..., a] * sums[..., b] - near[..., b] * sums[..., a] + n * near[..., a] * near[..., b]
    off = rest / xp.maximum(n, 1)
    central = about - rest[..., a] * off[..., b]
    squares = central[..., xp.flatnonzero(a == b)]
    fields = (near[..., a], near[..., b], off[..., a], off[..., b], squares[..., a], squares[..., b], central)
    return {"n": xp.broadcast_to(n, products.shape), **dict(zip(FIELDS[1:], fields, strict=True))}
