"""Per-label records of a block of pixels: collected and merged by flox, turned into statistics.

A record holds what the statistics asked for can be computed from (sum, central moments, extremes)
and nothing else.  Two `flox.Aggregation` objects do the grouping: one reduces the runs of a block
to a record per label, the other folds the records of many blocks, pairwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xlabelstats.runs import Runs, read_only
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
    def pixel_dtype(self) -> np.dtype:
        """The dtype in which the kernels read the image: one that they are compiled for."""
        if self.dtype == bool:
            return np.dtype(np.uint8)
        if self.dtype.kind == "f":
            return np.dtype(np.float32 if self.dtype.itemsize <= 4 else np.float64)
        return self.dtype.newbyteorder("=")

    @property
    def record_dtype(self) -> np.dtype:
        """A record: the pixels that are not NaN, then what the statistics need."""
        fields: list[tuple[str, np.dtype]] = [("valid", np.dtype(np.int64))]
        fields += [(name, np.dtype(np.float64)) for name in ("sum", "m2", "m3", "m4")[: self.order]]
        fields += [(name, self.pixel_dtype) for name in ("min", "max") if self.extremes]
        return np.dtype(fields)

    def result_dtype(self, stat: str, *, requested: bool) -> np.dtype:
        """The dtype of a statistic; extremes of requested labels are float64, to be NaN if absent."""
        if stat in ("count", "valid"):
            return np.dtype(np.int64)
        return self.dtype if stat in ("min", "max") and not requested else np.dtype(np.float64)

    @property
    def reads_image(self) -> bool:
        """Whether the pixels are needed at all; the count alone comes from the mask."""
        return self.stats != ("count",)


@dataclass(frozen=True)
class Table:
    """Labels and what is known of them so far.

    Attributes
    ----------
    ids : array (label,)
        Sorted labels.
    count : array (label,) of int64
        Pixels per label.
    records : structured array (channel, label)
        See `Recipe.record_dtype`.
    """

    ids: np.ndarray
    count: np.ndarray
    records: np.ndarray

    def __sizeof__(self) -> int:
        return self.ids.nbytes + self.count.nbytes + self.records.nbytes


def reduce_block(image: np.ndarray | None, runs: Runs, recipe: Recipe) -> Table:
    """Reduce a block (*other, *shared) to a record per channel and label.

    Without an image, when only counts are wanted, there are no records.
    """
    n = runs.ids.size
    count = _group(runs.lengths, runs.codes, n, "sum", np.int64)
    if image is None:
        return Table(runs.ids, count, np.empty((0, n), recipe.record_dtype))
    channels = math.prod(image.shape[: image.ndim - len(runs.shape)])
    pixels = np.ascontiguousarray(image, recipe.pixel_dtype).reshape(channels, math.prod(runs.shape))
    pixels = read_only(pixels)

    def reduce(codes: np.ndarray, _: np.ndarray, *, size: int, dtype: np.dtype, **unused: Any) -> np.ndarray:
        return _reduce_runs(pixels, codes, runs, count, _blank((len(pixels), size), dtype), recipe)

    # What flox groups are the runs; the kernels read each run's pixels where they lie.
    run = np.broadcast_to(runs.starts, (len(pixels), runs.starts.size))
    return Table(runs.ids, count, _group(run, runs.codes, n, reduce, recipe.record_dtype))


def merge(tables: Sequence[Table]) -> Table:
    """Merge the tables of several blocks; what they hold of the same label is folded pairwise."""
    import pandas as pd

    if len(tables) == 1:
        return tables[0]
    codes, ids = pd.factorize(np.concatenate([table.ids for table in tables]), sort=True)
    count = _group(np.concatenate([table.count for table in tables]), codes, ids.size, "sum", np.int64)
    records = np.concatenate([table.records for table in tables], axis=-1)
    return Table(ids, count, _group(records, codes, ids.size, _fold, records.dtype))


def select(table: Table, low: int | None, high: int | None) -> Table:
    """The rows of the labels from ``low`` up to, and without, ``high``; None is no bound."""
    first = 0 if low is None else np.searchsorted(table.ids, low)
    last = None if high is None else np.searchsorted(table.ids, high)
    rows = slice(first, last)
    return Table(table.ids[rows], table.count[rows], table.records[:, rows])


def finish(
    table: Table, recipe: Recipe, shape: tuple[int, ...], ids: np.ndarray, *, requested: bool
) -> dict[str, np.ndarray]:
    """Compute the statistics: ``count`` as (label,), the others as (label, *shape).

    The rows are those of the sorted ``ids``: the labels known to be there, or those the user
    requested, of which some may be absent.  Extremes are then float64, which can say so.
    """
    table = _reindexed(table, ids) if requested else _checked(table, ids)
    if not recipe.reads_image:
        return {"count": table.count}
    fields = {name: table.records[name].T for name in recipe.record_dtype.names or ()}
    if recipe.extremes:
        for name in ("min", "max"):
            dtype = recipe.result_dtype(name, requested=requested)
            fields[name] = fields[name].astype(dtype)
            if dtype.kind == "f":
                fields[name][fields["valid"] == 0] = np.nan
    spoiled = fields["valid"] < table.count[:, None] if not recipe.skipna and recipe.dtype.kind == "f" else None
    result = {}
    for name in recipe.stats:
        formula = STATISTICS[name].formula
        if formula is None:
            result[name] = table.count
            continue
        with np.errstate(invalid="ignore", divide="ignore"):
            values = np.array(formula(fields, recipe.ddof), order="C")
        if spoiled is not None and name != "valid":
            values[spoiled] = np.nan
        result[name] = values.reshape(ids.size, *shape)
    return result


def _reduce_runs(
    pixels: np.ndarray, codes: np.ndarray, runs: Runs, count: np.ndarray, out: np.ndarray, recipe: Recipe
) -> np.ndarray:
    """Fill blank records from the pixels of every run."""
    from xlabelstats.kernels import cpu

    where = (codes, runs.starts, runs.lengths)
    if pixels.dtype.kind == "f":
        cpu.count_valid(pixels, *where, out["valid"])
    else:
        out["valid"] = count
    if recipe.order:
        # Runs of small integers are summed as integers, exactly and fastest.
        exact = pixels.dtype.kind in "iu" and pixels.dtype.itemsize < 8
        lost = np.zeros(out.shape)
        cpu.sums(pixels, *where, np.int64(0) if exact else np.float64(0), out["sum"], lost)
        out["sum"] += np.where(np.isfinite(lost), lost, 0)
    if recipe.order > 1:
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            _central_moments(pixels, where, out, recipe.order)
    if recipe.extremes:
        cpu.extremes(pixels, *where, out["min"], out["max"])
    return out


def _central_moments(pixels: np.ndarray, where: tuple[np.ndarray, ...], out: np.ndarray, order: int) -> None:
    """Fill m2 ... m4 by a second pass over the block, about the mean that the first one gave.

    The mean is rounded; what the pixels are off it on average, ``d``, is taken out again
    (for order 2 this is the corrected two-pass algorithm of Chan, Golub & LeVeque 1983).
    """
    from xlabelstats.kernels import cpu

    n = out["valid"]
    s1, s2, s3, s4 = (np.zeros(out.shape) for _ in range(4))
    cpu.powers(pixels, *where, order, out["sum"] / n, s1, s2, s3, s4)
    d = s1 / np.maximum(n, 1)
    out["m2"] = np.maximum(s2 - n * d**2, 0)
    if order > 2:
        out["m3"] = s3 - 3 * d * s2 + 2 * n * d**3
    if order > 3:
        out["m4"] = np.maximum(s4 - 4 * d * s3 + 6 * d**2 * s2 - 3 * n * d**4, 0)


def _fold(codes: np.ndarray, records: np.ndarray, *, size: int, dtype: np.dtype, **unused: Any) -> np.ndarray:
    """Fold records (channel, row) into one record per code."""
    from xlabelstats.kernels import cpu

    out = _blank((len(records), size), dtype)
    names = out.dtype.names or ()
    moments = ("valid", "sum", "m2", "m3", "m4")
    order = sum(name in names for name in moments) - 1
    # A moment that is not held is stood in for by one that is; the kernel does not touch it.
    held = [name if name in names else moments[order] for name in moments]
    if order:
        cpu.merge_moments(codes, order, *(records[name] for name in held), *(out[name] for name in held))
    else:
        cpu.merge_counts(codes, records["valid"], out["valid"])
    if "min" in names:
        cpu.merge_extremes(codes, records["min"], records["max"], out["min"], out["max"])
    return out


def _reindexed(table: Table, ids: np.ndarray) -> Table:
    """The table with a row for each of the sorted ids, blank where it has none."""
    if np.array_equal(table.ids, ids):
        return table
    rows = np.searchsorted(ids, table.ids)
    count = np.zeros(ids.size, np.int64)
    count[rows] = table.count
    records = _blank((len(table.records), ids.size), table.records.dtype)
    records[:, rows] = table.records
    return Table(ids, count, records)


def _checked(table: Table, ids: np.ndarray) -> Table:
    """The table, if it holds the labels that the scan of the mask had found."""
    differing = np.setxor1d(table.ids, ids)
    if differing.size:
        raise RuntimeError(
            f"the mask has changed since it was scanned: label {differing[0]} "
            f"{'is new' if differing[0] in table.ids else 'is gone'}. Open the mask anew, so that it is scanned again"
        )
    return table


def _blank(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Records of no pixels, which folding leaves as they are."""
    records = np.zeros(shape, dtype)
    if "min" in (dtype.names or ()):
        pixel = dtype["min"]
        low, high = (-np.inf, np.inf) if pixel.kind == "f" else (np.iinfo(pixel).min, np.iinfo(pixel).max)
        records["min"], records["max"] = high, low
    return records


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
