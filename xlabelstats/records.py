"""Per-label records of a block of pixels: collected and merged by flox, turned into statistics.

A record holds what the statistics asked for can be computed from, and nothing else: how many
pixels, their sum, their central moments, their extremes.  A `flox.Aggregation` reduces the runs of
a block to a record per label; records of several blocks are folded pairwise into one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xlabelstats.blocks import Rows
from xlabelstats.runs import NOT_AS_DECLARED, Runs, check_found, pixel_dtype, pixels_of, rows_of, union
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
    def record_dtype(self) -> np.dtype:
        """A record, in fields of eight bytes: moments in float64, extremes in the pixels' widest kind."""
        moments = [(name, np.float64) for name in ("valid", "sum", "m2", "m3", "m4")[: self.order + 1]]
        return np.dtype(
            moments + [(name, f"{pixel_dtype(self.dtype).kind}8") for name in ("min", "max") if self.extremes]
        )

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
    records : structured array (label, channel)
        See `Recipe.record_dtype`.  No channels when only counts are wanted.
    """

    records: np.ndarray


def reduce_block(image: np.ndarray | None, runs: Runs, recipe: Recipe) -> Table:
    """Reduce a block (*other, *shared) to a record per label and channel; to counts without an image."""
    n = runs.ids.size
    count = _group(runs.lengths, runs.codes, n, "sum", np.int64)
    if image is None:
        return Table(runs.ids, count, np.empty((n, 0), recipe.record_dtype))
    if image.size and not np.can_cast(image.dtype, recipe.dtype, "same_kind"):
        raise TypeError(
            f"a block of the image holds {image.dtype}, which its dask array calls {recipe.dtype}; {NOT_AS_DECLARED}"
        )
    pixels = pixels_of(image, runs.shape)
    channels = len(pixels)

    def collect(codes: np.ndarray, _: np.ndarray, *, size: int, dtype: np.dtype, **unused: Any) -> np.ndarray:
        return _collect(pixels, (codes, runs.starts, runs.lengths), count, np.empty((size, channels), dtype)).T

    # What flox groups are the runs; the kernels read each run's pixels where they lie.
    run = np.broadcast_to(runs.starts, (channels, runs.starts.size))
    return Table(runs.ids, count, _group(run, runs.codes, n, collect, recipe.record_dtype).T)


def merge(tables: Sequence[Table], ids: np.ndarray | None = None) -> Table:
    """Merge the tables of several blocks; what they hold of the same label is folded pairwise.

    With ``ids`` (sorted) there is a row for each of these, blank where no table has one.
    """
    from xlabelstats.kernels import cpu

    if len(tables) == 1 and (ids is None or np.array_equal(ids, tables[0].ids)):
        return tables[0]
    if ids is None:
        ids = union([table.ids for table in tables])
    count = np.zeros(ids.size, np.int64)
    records = np.empty((ids.size, tables[0].records.shape[1]), tables[0].records.dtype)
    for table in tables:
        rows = rows_of(table.ids, ids)
        cpu.merge(rows, table.count, *_split(table.records), count, *_split(records))
    absent = count == 0
    if absent.any():
        moments, extremes = _split(records)
        moments[absent] = 0
        extremes[absent] = _no_extremes((extremes.shape[-1],), extremes.dtype)
    return Table(ids, count, records)


def finish(
    tables: Sequence[Table], shape: tuple[int, ...], ids: np.ndarray, *, recipe: Recipe, requested: bool
) -> dict[str, np.ndarray]:
    """Merge tables and compute the statistics: ``count`` as (label,), the others as (label, *shape).

    The rows are those of the sorted ``ids``: the labels known to be there, or those the user
    requested, of which some may be absent.  Extremes are then float64, which can say so.
    """
    table = merge(tables, ids)
    if not requested:
        check_found(table.count, ids)
    if not recipe.reads_image:
        return {"count": table.count}
    fields = {name: np.ascontiguousarray(table.records[name]) for name in recipe.record_dtype.names or ()}
    for name in ("min", "max") if recipe.extremes else ():
        dtype = recipe.result_dtype(name, requested=requested)
        fields[name] = fields[name].astype(dtype, copy=False)
        if dtype.kind == "f":
            fields[name] = np.where(fields["valid"] > 0, fields[name], dtype.type(np.nan))
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
            values = np.where(spoiled, dtype.type(np.nan), values)
        result[name] = values.reshape(ids.size, *shape)
    return result


def _collect(pixels: np.ndarray, runs: tuple[np.ndarray, ...], count: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Fill records (label, channel) from the pixels of every run.

    Powers of the deviations from the mean need a second pass over the block, after the sums.
    """
    from xlabelstats.kernels import cpu

    moments, extremes = _split(out)
    order = moments.shape[-1] - 1
    if pixels.dtype.kind == "f":
        moments[..., 0] = 0
        cpu.count_valid(pixels, *runs, moments)
    else:
        moments[..., 0] = count[:, None]
    # Runs of small integers are summed as integers, exactly and fastest; extremes are looked for
    # in the pixels' own dtype, which packs more of them into a cache line.
    exact = pixels.dtype.kind in "iu" and pixels.dtype.itemsize < 8
    sums = np.zeros((*out.shape, 1 if exact else 2) if order else (0, 0, 0))
    narrow = _no_extremes(extremes.shape if extremes.size else (0, 0, 2), pixels.dtype)
    if order or extremes.size:
        cpu.sums_and_extremes(pixels, *runs, np.int64(0) if exact else np.float64(0), sums, narrow)
    if extremes.size:
        extremes[:] = narrow
    if order:
        moments[..., 1] = sums[..., 0]
        if not exact:
            moments[..., 1] += np.where(np.isfinite(sums[..., 1]), sums[..., 1], 0)
    if order > 1:
        sums = np.zeros((*out.shape, 5))
        with np.errstate(invalid="ignore", divide="ignore"):
            sums[..., 0] = moments[..., 1] / moments[..., 0]
        cpu.powers(pixels, *runs, sums, order)
        cpu.centre(sums, moments)
    return out


def _split(records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The moments and the extremes of contiguous records, as views (label, channel, field)."""
    names = records.dtype.names or ()
    order = len(names) - 2 * ("min" in names)
    words = (*records.shape, len(names))
    kind = records.dtype["min"] if "min" in names else np.float64
    moments = records.view(np.float64).reshape(words)[..., :order]
    return moments, records.view(kind).reshape(words)[..., order:]


def _no_extremes(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The extremes (..., 2) of no pixels: a lowest that any pixel lowers, a highest that any raises."""
    low, high = (-np.inf, np.inf) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    extremes = np.empty(shape, dtype)
    extremes[..., :1], extremes[..., 1:] = high, low
    return extremes


def _group(array: np.ndarray, codes: np.ndarray, n: int, func: str | Callable, dtype: Any) -> np.ndarray:
    """Group the last axis of an array by codes from 0 to n - 1: the one call of flox."""
    import flox
    import pandas as pd

    if n == 0:
        return np.empty((*array.shape[:-1], 0), dtype)
    if callable(func):
        func = flox.Aggregation(
            func.__name__,
            numpy=func,
            chunk=None,
            combine=None,
            fill_value=0,
            final_fill_value=0,
            dtypes=dtype,
            final_dtype=dtype,
        )
    grouped, _ = flox.groupby_reduce(array, codes, func=func, expected_groups=pd.RangeIndex(n), engine="numpy")
    return grouped
