"""Per-label records of a block of pixels: collected and merged by flox, turned into statistics.

A record holds what the statistics asked for can be computed from, and nothing else: how many
pixels, their sum, their central moments, their extremes.  A `flox.Aggregation` reduces the runs of
a block to a record per label; records of several blocks are folded pairwise into one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from xlabelstats.blocks import Rows
from xlabelstats.kernels import kernels_for
from xlabelstats.runs import NOT_AS_DECLARED, Array, Runs, check_found, pixel_dtype, pixels_of, rows_of, union
from xlabelstats.statistics import STATISTICS


@dataclass(frozen=True)
class Recipe:
    """What to collect for the given statistics of pixels of the given dtype.

    Attributes
    ----------
    stats : tuple of str
        Names in `STATISTICS`.
    dtype : numpy.dtype
        The dtype of the image.
    skipna : bool
        Whether NaN pixels are left out or make the result NaN.
    ddof : int
        Delta degrees of freedom of variance and standard deviation.
    """

    stats: tuple[str, ...]
    dtype: np.dtype
    skipna: bool
    ddof: int

    @property
    def order(self) -> int:
        """The highest moment to collect."""
        return max(STATISTICS[name].order for name in self.stats)

    @property
    def extremes(self) -> bool:
        """Whether the smallest and largest pixels are collected."""
        return any("min" in STATISTICS[name].fields for name in self.stats)

    @property
    def fields(self) -> tuple[str, ...]:
        """What the moments of a record are called; ``off`` is how far the true mean is off ``sum / valid``."""
        return ("valid", "sum", "m2", "m3", "m4")[: self.order + 1] + (("off",) if self.order > 1 else ())

    @property
    def extremes_dtype(self) -> np.dtype:
        """The widest dtype of the pixels' kind."""
        return np.dtype(f"{pixel_dtype(self.dtype).kind}8")

    @property
    def record_dtype(self) -> np.dtype:
        """Moments and extremes as one record, in fields of eight bytes."""
        extremes = [(name, self.extremes_dtype) for name in ("min", "max") if self.extremes]
        return np.dtype([(name, np.float64) for name in self.fields] + extremes)

    def result_dtype(self, stat: str, *, requested: bool) -> np.dtype:
        """The dtype of a statistic; extremes of requested labels are float64, to be NaN if absent."""
        if stat in ("count", "valid"):
            return np.dtype(np.int64)
        return self.dtype.newbyteorder("=") if stat in ("min", "max") and not requested else np.dtype(np.float64)

    @property
    def reads_image(self) -> bool:
        """Whether the pixels are needed at all; the count alone comes from the mask."""
        return self.stats != ("count",)


@dataclass(frozen=True)
class Table(Rows):
    """Labels and what has been collected of them.

    Attributes
    ----------
    moments : array (label, channel, field) of float64
        See `Recipe.fields`.  No channels when only counts are wanted.
    extremes : array (label, channel, 2)
        The lowest and the highest pixel, if these are wanted, else (label, channel, 0).
    """

    moments: Array
    extremes: Array


def reduce_block(image: Array | None, runs: Runs, recipe: Recipe) -> Table:
    """Reduce a block (*other, *shared) to a record per label and channel; to counts without an image."""
    count = runs.count
    if image is None:
        return Table(runs.ids, count, *_blank(count, 0, recipe))
    if image.size and not np.can_cast(image.dtype, recipe.dtype, "same_kind"):
        raise TypeError(
            f"a block of the image holds {image.dtype}, which its dask array calls {recipe.dtype}; {NOT_AS_DECLARED}"
        )
    pixels = pixels_of(image, runs.shape)
    # flox groups numpy arrays alone.
    reduce = _by_flox if isinstance(pixels, np.ndarray) else _by_kernels
    return Table(runs.ids, count, *reduce(pixels, runs, count, recipe))


def merge(tables: Sequence[Table], ids: Array | None = None) -> Table:
    """Merge the tables of several blocks; what they hold of the same label is folded pairwise.

    With ``ids`` (sorted) there is a row for each of these, blank where no table has one.
    """
    first = tables[0]
    kernels = kernels_for(first.ids)
    if len(tables) == 1 and (ids is None or kernels.xp.array_equal(ids, first.ids)):
        return first
    if ids is None:
        ids = union([table.ids for table in tables])
    count = kernels.xp.zeros(ids.size, np.int64)
    moments = kernels.xp.zeros((ids.size, *first.moments.shape[1:]))
    extremes = _no_extremes((ids.size, *first.extremes.shape[1:]), first.extremes.dtype, kernels.xp)
    for table in tables:
        rows = rows_of(table.ids, ids)
        kernels.merge(rows, table.count, table.moments, table.extremes, count, moments, extremes)
    return Table(ids, count, moments, extremes)


def finish(
    tables: Sequence[Table], shape: tuple[int, ...], ids: Array, *, recipe: Recipe, requested: bool
) -> dict[str, Array]:
    """Merge tables and compute the statistics: ``count`` as (label,), the others as (label, *shape).

    The rows are those of the sorted ``ids``: the labels known to be there, or those the user
    requested, of which some may be absent.  Extremes are then float64, which can say so.
    """
    xp = kernels_for(ids).xp
    table = merge(tables, ids)
    if not requested:
        check_found(table.count, ids)
    if not recipe.reads_image:
        return {"count": table.count}
    moments = enumerate(recipe.fields[: recipe.order + 1])
    fields = {name: xp.ascontiguousarray(table.moments[..., i]) for i, name in moments}
    for i, name in enumerate(("min", "max") if recipe.extremes else ()):
        dtype = recipe.result_dtype(name, requested=requested)
        fields[name] = table.extremes[..., i].astype(dtype)
        if dtype.kind == "f":
            fields[name] = xp.where(fields["valid"] > 0, fields[name], dtype.type(np.nan))
    spoiled = fields["valid"] < table.count[:, None] if not recipe.skipna and recipe.dtype.kind == "f" else None
    result = {}
    for name in recipe.stats:
        formula = STATISTICS[name].formula
        if formula is None:
            result[name] = table.count
            continue
        dtype = recipe.result_dtype(name, requested=requested)
        with np.errstate(invalid="ignore", divide="ignore"):
            values = formula(fields, recipe.ddof).astype(dtype, copy=False)
        if spoiled is not None and name != "valid":
            values = xp.where(spoiled, dtype.type(np.nan), values)
        result[name] = values.reshape(ids.size, *shape)
    return result


def _by_kernels(pixels: Array, runs: Runs, count: Array, recipe: Recipe) -> tuple[Array, Array]:
    """The moments and extremes of every label and channel."""
    moments, extremes = _blank(count, len(pixels), recipe)
    _collect(pixels, (runs.codes, runs.starts, runs.lengths), count, recipe.order, moments, extremes)
    return moments, extremes


def _by_flox(pixels: np.ndarray, runs: Runs, count: np.ndarray, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """The same, grouped by flox: the one call of it."""
    import flox
    import pandas as pd

    n, channels = count.size, len(pixels)
    if n == 0:
        return _blank(count, channels, recipe)

    def collect(codes: np.ndarray, _: np.ndarray, *, size: int, dtype: np.dtype, **unused: Any) -> np.ndarray:
        records = np.zeros((size, channels), dtype)
        _collect(pixels, (codes, runs.starts, runs.lengths), count, recipe.order, *_split(records))
        return records.T

    how = flox.Aggregation(
        "records",
        numpy=collect,
        chunk=None,
        combine=None,
        fill_value=0,
        final_fill_value=0,
        dtypes=recipe.record_dtype,
        final_dtype=recipe.record_dtype,
    )
    # What flox groups are the runs; the kernels read each run's pixels where they lie.
    run = np.broadcast_to(runs.starts, (channels, runs.starts.size))
    records, _ = flox.groupby_reduce(run, runs.codes, func=how, expected_groups=pd.RangeIndex(n), engine="numpy")
    moments, extremes = _split(records.T)
    return np.ascontiguousarray(moments), np.ascontiguousarray(extremes)


def _split(records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The moments and the extremes of contiguous records, as views (label, channel, field)."""
    names = records.dtype.names or ()
    order = len(names) - 2 * ("min" in names)
    words = (*records.shape, len(names))
    kind = records.dtype["min"] if "min" in names else np.float64
    moments = records.view(np.float64).reshape(words)[..., :order]
    return moments, records.view(kind).reshape(words)[..., order:]


def _collect(pixels: Array, runs: tuple[Array, ...], count: Array, order: int, moments: Array, extremes: Array) -> None:
    """Fill the moments and extremes (label, channel, field) from the pixels of every run.

    Powers of the deviations from the mean need a second pass over the block, after the sums.
    """
    kernels = kernels_for(pixels)
    xp = kernels.xp
    if pixels.dtype.kind == "f":
        kernels.count_valid(pixels, *runs, moments)
    else:
        moments[..., 0] = count[:, None]
    # Runs of small integers are summed as integers, exactly and fastest; extremes are looked for
    # in the pixels' own dtype, which packs more of them into a cache line.
    exact = pixels.dtype.kind in "iu" and pixels.dtype.itemsize < 8
    sums = xp.zeros((*moments.shape[:2], 1 if exact else 2) if order else (0, 0, 0))
    narrow = _no_extremes(extremes.shape if extremes.size else (0, 0, 2), pixels.dtype, xp)
    if order or extremes.size:
        kernels.sums_and_extremes(pixels, *runs, np.int64(0) if exact else np.float64(0), sums, narrow)
    if extremes.size:
        extremes[:] = narrow
    if order:
        moments[..., 1] = sums[..., 0]
        if not exact:
            moments[..., 1] += xp.where(xp.isfinite(sums[..., 1]), sums[..., 1], 0)
    if order > 1:
        sums = xp.zeros((*moments.shape[:2], 5))
        with np.errstate(invalid="ignore", divide="ignore"):
            sums[..., 0] = moments[..., 1] / moments[..., 0]
        kernels.powers(pixels, *runs, sums, order)
        kernels.centre(sums, moments)


def _blank(count: Array, channels: int, recipe: Recipe) -> tuple[Array, Array]:
    """The moments and extremes (label, channel, field) of no pixels."""
    xp = kernels_for(count).xp
    moments = xp.zeros((count.size, channels, len(recipe.fields)))
    extremes = _no_extremes((count.size, channels, 2 if recipe.extremes else 0), recipe.extremes_dtype, xp)
    return moments, extremes


def _no_extremes(shape: tuple[int, ...], dtype: np.dtype, xp: ModuleType) -> Array:
    """The extremes (..., 2) of no pixels: a lowest that any pixel lowers, a highest that any raises."""
    low, high = (-np.inf, np.inf) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    extremes = xp.empty(shape, dtype)
    extremes[..., :1], extremes[..., 1:] = dtype.type(high), dtype.type(low)
    return extremes
