"""Statistics run by flox: its own map-reduce over the blocks of an image and a mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import numpy as np

from xlabelstats.catalogue.flox_aggregations import FloxMeasure, of_flox, stack_size, statistic, widest
from xlabelstats.catalogue.intensity import COUNT
from xlabelstats.catalogue.measure import Measure
from xlabelstats.engine import plan
from xlabelstats.engine.merge_tree import filled, label_chunks, uniform
from xlabelstats.engine.reduction import Context, Table
from xlabelstats.engine.runs import find_labels, find_rows, rows_of
from xlabelstats.inputs import is_dask
from xlabelstats.labels.selection import Selection
from xlabelstats.labels.subject import Subject


def run(
    measures: Mapping[str, Measure], subject: Subject, context: Context, *, every: bool
) -> tuple[Selection, dict[str, Any]]:
    """The labels and values of measures, as `engine.plan.run` gives them.

    flox runs what it alone has, and ``every`` statistic that merges if that is asked for; the engine runs the others.
    """
    others = {
        name: entry
        for name, entry in measures.items()
        if not isinstance(entry, FloxMeasure) and (entry.whole or not every)
    }
    selection, values = plan.run(others, subject, context) if others else (subject.selection, {})
    if selection is None:
        selection = subject.select(find_labels(subject.mask, background=subject.background))
    groups = _Groups(subject, selection, context)
    for name, entry in measures.items():
        if name not in values:
            values[name] = groups.measure(name, entry)
    return selection, {name: values[name] for name in measures}


class _Groups:
    """The pixels of an image, grouped by label."""

    def __init__(self, subject: Subject, selection: Selection, context: Context) -> None:
        self.subject, self.selection, self.context = subject, selection, context
        known = None if selection.requested else selection.ids
        codes = _blockwise(
            partial(_codes, ids=selection.ids, known=known, background=subject.background), subject.mask, np.int64
        )
        # In memory flox is given the labelled pixels alone.
        self.inside = None if subject.lazy else codes >= 0
        self.codes = codes if self.inside is None else codes[self.inside]

    def measure(self, name: str, entry: Measure) -> Any:
        """The values (label, *other) of one statistic."""
        ids, other = self.selection.ids, self.subject.other_shape if entry.reads_image else ()
        if not (ids.size and self.codes.size and 0 not in other):
            return self._without_pixels(entry, (ids.size, *other))
        values = self._own(entry) if isinstance(entry, FloxMeasure) else self._statistic(name, entry)
        values = self.selection.take({name: np.moveaxis(values, -1, 0)})[name]
        return uniform(values.rechunk({0: label_chunks(ids.size)})) if is_dask(values) else np.ascontiguousarray(values)

    def _without_pixels(self, entry: Measure, shape: tuple[int, ...]) -> Any:
        """The values where no label has pixels, or no channel is there."""
        value, dtype = entry.absent if 0 not in shape else 0, entry.dtype(self.context)
        if not self.subject.lazy:
            return np.full(shape, value, dtype)
        other = self.subject.image.chunks[: len(shape) - 1] if len(shape) > 1 else ()
        return uniform(filled(shape, value, dtype, like=self.subject.mask, chunks=(label_chunks(shape[0]), *other)))

    def _statistic(self, name: str, entry: Measure) -> Any:
        """A statistic of the catalogue, finished as the engine finishes it."""
        finishing = plan.finishing({name: entry}, self.subject, self.context)
        finish = partial(_by_formula, finishing=finishing, ids=self.selection.ids)
        array = self._pixels(widest(self.context.dtype)) if entry.reads_image else self.codes
        stacked = np.broadcast_to(array, (stack_size(entry, self.context), *array.shape))
        return self._reduce(stacked, statistic(entry, self.context, finish))[0]

    def _own(self, entry: FloxMeasure) -> Any:
        """A statistic that flox alone has; what absent labels get is decided here."""
        context, size = self.context, self.subject.mask.size
        pixels: Any = self._pixels(widest(context.dtype) if entry.placed else np.dtype(np.float64))
        if entry.prepare is not None:
            prepare = partial(_prepare, entry.prepare, context)
            pixels = _blockwise(prepare, pixels, prepare(np.empty(0)).dtype)
        if entry.placed:
            index = np.broadcast_to(self._index(pixels.dtype), pixels.shape)
            pixels = np.stack([pixels, index])
            pixels = pixels.rechunk({0: 2}) if is_dask(pixels) else pixels
        aggregation = entry.aggregation(context, size)
        if entry.given:
            check_given(aggregation, self.subject.lazy)
            values = self._reduce_given(pixels, aggregation)
        else:
            values = self._reduce(pixels, aggregation)
        values = values[0] if entry.placed else values
        dtype = entry.dtype(context)
        if entry.given:
            dtype = np.result_type(values.dtype, np.float64) if self._has_nan(entry) else values.dtype
        settle = partial(_fill_absent, entry=entry, dtype=dtype, ids=self.selection.ids)
        if is_dask(values):
            return values.map_blocks(settle, self._count, dtype=dtype)
        return settle(values, self._count)

    @cached_property
    def _count(self) -> Any:
        """Pixels per label."""
        return self._statistic("count", COUNT)

    def _has_nan(self, entry: FloxMeasure) -> bool:
        """Whether labels may be absent, and are NaN then."""
        return self.context.requested and bool(entry.absent != entry.absent)

    def _pixels(self, dtype: np.dtype) -> Any:
        pixels = self.subject.image.astype(dtype, casting="same_kind", copy=False)
        return pixels if self.inside is None else pixels[..., self.inside]

    def _index(self, dtype: np.dtype) -> Any:
        """The flat index of every pixel in the mask."""
        mask = self.subject.mask
        index: Any = 0
        for axis, n in enumerate(mask.shape):
            if self.inside is None:
                import dask.array as da

                positions = da.arange(n, chunks=(mask.chunks[axis],), dtype=dtype)
            else:
                positions = np.arange(n, dtype=dtype)
            index = index * n + positions[(slice(None), *(None,) * (mask.ndim - axis - 1))]
        return index if self.inside is None else index[self.inside]

    def _reduce_given(self, pixels: Any, aggregation: Any) -> Any:
        """What flox makes of pixels by an Aggregation of the user's."""
        if self.subject.lazy or aggregation.numpy != (aggregation.name,) or aggregation.chunk == (None,):
            return self._reduce(pixels, aggregation)
        import dask.array as da

        # flox runs its chunk, combine and finalize on dask arrays alone; without them it would have to know the name.
        lazy, codes = (da.from_array(array, chunks=-1, name=False) for array in (pixels, self.codes))
        return _reduce(lazy, codes, self.selection.ids.size, aggregation).compute(scheduler="synchronous")

    def _reduce(self, pixels: Any, aggregation: Any) -> Any:
        return _reduce(pixels, self.codes, self.selection.ids.size, aggregation)


def _reduce(pixels: Any, codes: Any, n: int, aggregation: Any) -> Any:
    """What flox makes of pixels (..., pixel) and the positions of their labels among ``n``: (..., label)."""
    import flox
    import pandas as pd

    how = {"expected_groups": pd.RangeIndex(n), "method": "map-reduce", "engine": "numpy"}
    return flox.groupby_reduce(pixels, codes, func=aggregation, **how)[0]


def _blockwise(function: Callable[..., Any], array: Any, dtype: Any) -> Any:
    """What a function makes of an array, or of its blocks."""
    return array.map_blocks(function, dtype=dtype) if is_dask(array) else function(array)


def _prepare(function: Callable[[np.ndarray, Context], np.ndarray], context: Context, pixels: np.ndarray) -> np.ndarray:
    return function(pixels, context)


def _codes(mask: np.ndarray, *, ids: np.ndarray, known: np.ndarray | None, background: bool) -> np.ndarray:
    """The position in ``ids`` of the label of every pixel, -1 if it is not there; new labels are an error."""
    labels = find_labels(mask, background=background)
    if known is not None:
        rows_of(labels, known)
    places, there = find_rows(mask.ravel(), ids)
    return np.where(there, places, -1).reshape(mask.shape)


def _by_formula(
    count: np.ndarray, columns: tuple[np.ndarray, ...], *, finishing: plan.Finishing, ids: np.ndarray
) -> np.ndarray:
    """A statistic from what flox has collected, by the formula of the catalogue."""
    parts = (columns,) if finishing.reductions else ()
    (values,) = finishing([Table(ids, count, parts)], columns[0].shape[1:2], ids).values()
    return values


def _fill_absent(
    values: np.ndarray, count: np.ndarray, *, entry: FloxMeasure, dtype: np.dtype, ids: np.ndarray
) -> np.ndarray:
    """Values (*other, label) in their dtype, and what absent labels get."""
    if values.dtype.kind == "f" and dtype.kind not in "fc":
        missing = np.isnan(values).any(axis=tuple(range(values.ndim - 1))) & (count > 0)
        if missing.any():
            raise ValueError(
                f"{entry.name}: all pixels of label {ids[missing][0]} are NaN, and {dtype} has no NaN for it; give "
                "labels=mask.labels.ids(), which makes it float64, or skipna=False"
            )
    with np.errstate(invalid="ignore"):
        values = values.astype(dtype)
    values[..., count == 0] = entry.absent if dtype.kind in "fc" or entry.given else 0
    return values


# What flox gets wrong, or raises for, on masks of several dims, and how it is had here.
NOT_RUN = ("first", "last", "argmin", "argmax", "mode")


def given(aggregation: Any) -> FloxMeasure:
    """A `flox.Aggregation` of the user's as a statistic."""
    from flox.xrdtypes import NA

    fill = aggregation.fill_value[aggregation.name]
    return FloxMeasure(
        aggregation.name,
        "a flox.Aggregation",
        of_flox,
        absent=np.nan if fill is None or fill == NA else fill,
        aggregation=lambda context, size: aggregation,
        given=True,
    )


def check_given(aggregation: Any, lazy: bool) -> None:
    """Complain about a `flox.Aggregation` that flox would not run, or not run right."""
    name = aggregation.name
    if name.removeprefix("nan") in NOT_RUN or aggregation.reduction_type != "reduce":
        raise ValueError(
            f"flox fails, or gives wrong results, for the Aggregation {name!r} on masks of several dims; give it "
            f"another name and reduction_type 'reduce', or use one of the names {', '.join(map(repr, NOT_RUN))} instead"
        )
    if aggregation.new_dims_func.__name__ != "returns_empty_tuple":
        raise ValueError(f"the Aggregation {name!r} has new_dims_func; it must give one number per channel and label")
    if lazy and None in (*aggregation.chunk, *aggregation.combine):
        raise ValueError(
            f"the Aggregation {name!r} lacks chunk or combine, so blocks of a dask array cannot be put together; "
            "give both, or measure whole objects: image.instances.statistics(mask, function)"
        )
