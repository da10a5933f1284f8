"""Numbers that need all pixels of an object at once: quantiles, and what any function makes of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import LABEL, check_on_host, name_of
from xlabelstats.blocks import Column, Rows, columns_of, filled
from xlabelstats.cutting import Window, as_bits, cut_windows, native
from xlabelstats.instances import Objects, Subject, find_subject
from xlabelstats.kernels import kernels_for
from xlabelstats.names import check_known
from xlabelstats.regions import map_regions
from xlabelstats.runs import Array, Runs, changed, find_runs, pixels_of, rows_of
from xlabelstats.windows import check_batch, window_of

# How numpy's quantile methods weigh the sorted pixels below and above a quantile that lies between two.
METHODS: dict[str, Callable[[Array, Array], Array]] = {
    "linear": lambda part, below: part,
    "lower": lambda part, below: np.zeros_like(part),
    "higher": lambda part, below: np.ceil(part),
    "midpoint": lambda part, below: np.where(part > 0, 0.5, 0.0),
    "nearest": lambda part, below: np.rint(below + part) - below,
}


@dataclass(frozen=True)
class Values(Rows):
    """Labels and what was found of each: ``values`` (label, channel, *shape)."""

    values: Array


def quantiles(
    image: xr.DataArray,
    mask: xr.DataArray,
    q: Any,
    *,
    method: str = "linear",
    skipna: bool | None = None,
    labels: Any = None,
    background: bool = False,
) -> xr.DataArray:
    """Quantiles of every label's pixels; see `InstancesAccessor.quantiles`."""
    check_known([method], METHODS, "method")
    check_on_host("the choice of quantiles", q=q)
    try:
        at = np.asarray(q, np.float64)
    except (TypeError, ValueError):
        at = np.array(np.nan)
    if at.ndim > 1 or not ((at >= 0) & (at <= 1)).all():
        raise ValueError(f"q is a number from 0 to 1, or a 1-D sequence of them, not {q!r}")
    # The name tells one from another, so that the results for two numbers go into one Dataset.
    name = "quantiles" if at.ndim else f"p{100 * float(at):.12g}"
    subject = find_subject(image, mask, labels, background, taken=("quantile",) if at.ndim else (name,))
    function = partial(quantiles_of_region, q=np.atleast_1d(at), method=method, skipna=skipna is None or bool(skipna))
    values = collect(function, subject, subject.objects.low, subject.objects.high, (at.size,), np.dtype(np.float64))
    units = {"units": image.attrs["units"]} if "units" in image.attrs else {}
    result = xr.DataArray(
        values,
        dims=(LABEL, *subject.other, "quantile"),
        coords={**subject.coords, LABEL: subject.wanted.labels, "quantile": np.atleast_1d(at)},
        attrs={"long_name": f"{'quantile' if at.ndim else name} of {name_of(image, 'image')}", **units},
    ).rename(name)
    return result if at.ndim else result.isel(quantile=0, drop=True)


def median(image: xr.DataArray, mask: xr.DataArray, **options: Any) -> xr.DataArray:
    """Median of every label's pixels; see `InstancesAccessor.median`."""
    result = quantiles(image, mask, 0.5, **options).rename("median")
    return result.assign_attrs(long_name=f"median of {name_of(image, 'image')}")


def statistics(
    image: xr.DataArray | None,
    mask: xr.DataArray,
    fn: Callable[..., Any],
    *,
    dims: Mapping[str, Any],
    size: Any = None,
    fn_kwargs: Mapping[str, Any] | None = None,
    dtype: Any = np.float32,
    batch_size: int | None = None,
    labels: Any = None,
    background: bool = False,
) -> xr.DataArray:
    """What a function makes of every object; see `InstancesAccessor.statistics`."""
    if not callable(fn):
        raise TypeError(f"fn is called with the pixels of every object, but {type(fn).__name__} cannot be called")
    shape, coords = _declared(dims)
    if LABEL in shape:
        raise ValueError(f"dims names {LABEL!r}, the dim of the results' labels; give it another name")
    dtype, batch = np.dtype(dtype), check_batch(batch_size)
    subject = find_subject(image, mask, labels, background, taken=shape)
    objects = subject.objects
    low, high, window = objects.low, objects.high, None
    if size is not None:
        window = window_of(size, subject)
        low, high = window.boxes(objects, subject.mask.shape)
    each = partial(call, fn=fn, kwargs=dict(fn_kwargs or {}), shape=tuple(shape.values()), dtype=dtype)
    function = partial(objects_of_region if image is not None else windows_of_region, window=window, each=each)
    values = collect(function, subject, low, high, tuple(shape.values()), dtype)
    result = xr.DataArray(
        values,
        dims=(LABEL, *subject.other, *shape),
        coords={**subject.coords, LABEL: subject.wanted.labels, **coords},
        attrs={"long_name": f"{getattr(fn, '__name__', type(fn).__name__)} of every object"},
    ).rename("statistics")
    return result.chunk({LABEL: batch}) if batch is not None and subject.lazy else result


def quantiles_of_region(
    mask: Array,
    image: Array,
    low: tuple[int, ...],
    objects: Objects,
    *,
    q: np.ndarray,
    method: str,
    skipna: bool,
) -> Values:
    """The quantiles (label, channel, quantile) of the objects that lie whole in a region."""
    kernels = kernels_for(mask)
    xp = kernels.xp
    pixels = pixels_of(image, mask.shape)
    bits = as_bits(pixels)
    count, q = xp.asarray(objects.count), xp.asarray(q)
    keys = _gather(bits, runs_of(mask, low, objects), count)
    shape = (count.size, len(bits), q.size)
    below, above = xp.empty(shape, bits.dtype), xp.empty(shape, bits.dtype)
    valid = xp.empty(shape[:2], np.int64)
    kind = "uif".index(pixels.dtype.kind)
    kernels.order_statistics(keys, count, len(bits), kind, q, below, above, valid)
    a, b = (found.view(pixels.dtype).astype(np.float64) for found in (below, above))
    virtual = q * (valid[..., None] - 1)
    whole = xp.floor(virtual)
    t = METHODS[method](virtual - whole, whole)
    # As numpy interpolates, from the nearer side; an infinite neighbour of weight 0 does not count.
    with np.errstate(invalid="ignore", over="ignore"):
        between = xp.where(t < 0.5, a + (b - a) * t, b - (b - a) * (1 - t))
        # Beside an infinite pixel there is no way to go along.
        between = xp.where(xp.isfinite(a) & xp.isfinite(b), between, a * (1 - t) + b * t)
    values = xp.where((t == 0) | (a == b), a, xp.where(t == 1, b, between))
    values[valid == 0 if skipna else valid < count[:, None]] = np.nan
    return Values(xp.asarray(objects.ids), count, values)


def objects_of_region(
    mask: Array,
    image: Array,
    low: tuple[int, ...],
    objects: Objects,
    *,
    window: Window | None,
    each: Callable[..., Array],
) -> Values:
    """What a function makes of the pixels (channel, pixel) of every object, or of those in its window."""
    channels = math.prod(image.shape[: image.ndim - mask.ndim])
    if window is None:
        bits = as_bits(image).reshape(channels, mask.size)
        count = kernels_for(mask).xp.asarray(objects.count)
        pixels = _gather(bits, runs_of(mask, low, objects), count).view(native(image.dtype))
        ends = (np.cumsum(objects.count) * channels).tolist()
        counts = objects.count.tolist()
        found: Iterable[Array] = (
            pixels[b - n * channels : b].reshape(channels, n) for b, n in zip(ends, counts, strict=True)
        )
    else:
        image = image.astype(native(image.dtype), copy=False).reshape(channels, *mask.shape)
        boxes = _slices(*window.boxes(objects, np.add(mask.shape, low)), low)
        inside = ((box, mask[box] == label) for box, label in zip(boxes, objects.ids, strict=True))
        found = (image[(slice(None), *box)][:, keep] for box, keep in inside)
        found = _checked(found, objects, window.whole(objects))
    return _values(objects, each(found, objects.ids, channels, like=mask))


def windows_of_region(
    mask: Array,
    image: None,
    low: tuple[int, ...],
    objects: Objects,
    *,
    window: Window | None,
    each: Callable[..., Array],
    binary: bool = False,
) -> Values:
    """What a function makes of the window of every object, or of its bounding box, zero outside the object.

    Where the object is, the window holds its label, or True if ``binary``.
    """
    empty = None
    if window is None:
        runs_of(mask, low, objects)
        boxes = _slices(objects.low, objects.high, low)
        inside = ((mask[box] == label, label) for box, label in zip(boxes, objects.ids, strict=True))
        where = kernels_for(mask).xp.where
        found = (own if binary else where(own, label, label.dtype.type(0)) for own, label in inside)
    else:
        here = replace(objects, centre=objects.centre - np.array(low))
        cells, own = cut_windows(mask, mask, here, window, True, inside=True)
        found = iter(cells)
        flags = own.reshape(len(own), -1).view(np.uint8)
        count = kernels_for(own).to_host(flags.sum(axis=1, dtype=np.min_scalar_type(flags.shape[1])))
        off = np.flatnonzero((count > objects.count) | (window.whole(objects) & (count < objects.count)))
        if off.size:
            raise _miscounted(objects, int(off[0]), int(count[off[0]]))
        empty = count == 0
    return _values(objects, each(found, objects.ids, None, like=mask, empty=empty))


def _checked(found: Iterable[Array], objects: Objects, whole: np.ndarray) -> Iterator[Array]:
    """The pixels (channel, pixel) of every object, as many as the scan had found, or of one not ``whole`` no more."""
    for i, (pixels, known, every) in enumerate(zip(found, objects.count.tolist(), whole.tolist(), strict=True)):
        if pixels.shape[1] != known and (every or pixels.shape[1] > known):
            raise _miscounted(objects, i, pixels.shape[1])
        yield pixels


def _miscounted(objects: Objects, i: int, count: int) -> RuntimeError:
    """The complaint that object ``i`` has not as many pixels as the scan had found."""
    return RuntimeError(changed(int(objects.ids[i]), f"had {objects.count[i]} pixels and has {count}"))


def _values(objects: Objects, values: Array) -> Values:
    xp = kernels_for(values).xp
    return Values(xp.asarray(objects.ids), xp.asarray(objects.count), values)


def call(
    found: Any,
    ids: np.ndarray,
    channels: int | None,
    *,
    like: Array,
    empty: Array | None = None,
    fn: Callable[..., Any],
    kwargs: dict[str, Any],
    shape: tuple[int, ...],
    dtype: np.dtype,
    who: str = "fn",
) -> Array:
    """Call a function with what was found of every label, and check what it returns.

    What it returns is (channel, *shape); without channels it is *shape, or (1, *shape).  It is not called for what
    has no pixel or is ``empty``.  It gets arrays, and what it returns is put in one, of the type of ``like``.  Errors
    say that it is ``who``.
    """
    xp = kernels_for(like).xp
    rows = 1 if channels is None else channels
    expected = (rows, *shape)
    out = xp.empty((ids.size, *expected), dtype)
    safe = None
    for i, pixels in enumerate(found):
        if (channels and not pixels.shape[1]) or (empty is not None and empty[i]):
            if dtype.kind not in "fc":
                raise ValueError(
                    f"label {ids[i]} has no pixel in its window, and {dtype} has no NaN to say so; "
                    "give a larger size, or a dtype of floating point"
                )
            out[i] = np.nan
            continue
        what = pixels.shape
        try:
            value = xp.asarray(fn(pixels, **kwargs))
        except Exception as error:
            error.add_note(f"raised by {who} for label {ids[i]}, given an array of shape {what}")
            raise
        if value.shape != expected and not (channels is None and value.shape == shape):
            declared = f"{shape} or {expected}" if channels is None else f"{expected}: a row per channel"
            raise ValueError(
                f"{who} returned the shape {value.shape} for label {ids[i]}, given an array of shape {what}; "
                f"dims declares {declared}"
            )
        if value.dtype is not safe:
            value = cast(value, dtype, who)
            safe = value.dtype if dtype.kind == "f" else None
        out[i] = value
    return out


def cast(values: Array, dtype: np.dtype, who: str) -> Array:
    """Values in the dtype asked for, if it can hold them."""
    held = np.can_cast(values.dtype, dtype, "same_kind")
    if dtype.kind in "iu" and values.dtype.kind in "iub":
        limits = np.iinfo(dtype)
        held = values.size == 0 or (int(values.min()) >= limits.min and int(values.max()) <= limits.max)
    if not held:
        raise TypeError(f"{who} returned {values.dtype}, which {dtype} cannot hold; give dtype={str(values.dtype)!r}")
    return values.astype(dtype, copy=False)


def runs_of(mask: Array, low: tuple[int, ...], objects: Objects) -> Runs:
    """The runs of the objects in a region that begins at ``low``: their count and box must be those of the scan."""
    kernels = kernels_for(mask)
    xp = kernels.xp
    runs = find_runs(mask, background=bool((objects.ids == 0).any()), only=objects.ids)
    rows = rows_of(runs.ids, xp.asarray(objects.ids))
    count = xp.zeros(objects.ids.size, np.int64)
    count[rows] = runs.count
    first, end = (xp.full((objects.ids.size, mask.ndim), value, np.int64) for value in (np.iinfo(np.int64).max, 0))
    kernels.boxes(rows[runs.codes], runs.starts, runs.lengths, np.array(mask.shape, np.int64), first, end)
    last = [xp.asarray(known) for known in (objects.count, objects.low - low, objects.high - low)]
    off = xp.flatnonzero((count != last[0]) | ((first != last[1]) | (end != last[2])).any(axis=1))
    if off.size:
        i = int(off[0])
        if int(count[i]) != objects.count[i]:
            raise _miscounted(objects, i, int(count[i]))
        boxes = (objects.low[i], objects.high[i], *(kernels.to_host(box[i]) + low for box in (first, end)))
        how = "lay from {} to {} and lies from {} to {}".format(*(tuple(box.tolist()) for box in boxes))
        raise RuntimeError(changed(int(objects.ids[i]), how))
    return runs


def _gather(bits: Array, runs: Runs, count: Array) -> Array:
    """The pixels of every object, one after the other, each as (channel, pixel) in image order."""
    kernels = kernels_for(bits)
    out = kernels.xp.empty(len(bits) * int(count.sum()), bits.dtype)
    kernels.gather(bits, runs.codes, runs.starts, runs.lengths, count, out)
    return out


def _slices(low: np.ndarray, high: np.ndarray, origin: Sequence[int]) -> list[tuple[slice, ...]]:
    """Boxes (object, axis) as slices of a region that begins at ``origin``."""
    first, end = (low - np.array(origin)).tolist(), (high - np.array(origin)).tolist()
    return [tuple(map(slice, a, b)) for a, b in zip(first, end, strict=True)]


def _declared(dims: Any) -> tuple[dict[str, int], dict[Hashable, Any]]:
    """The sizes and coordinates of the dims that a function's results have."""
    if not isinstance(dims, Mapping):
        raise TypeError(f"dims maps the name of each dim that fn returns to its size, not {dims!r}")
    shape: dict[str, int] = {}
    coords: dict[Hashable, Any] = {}
    for dim, size in dims.items():
        if isinstance(size, int | np.integer) and not isinstance(size, bool) and size >= 0:
            shape[dim] = int(size)
        elif isinstance(size, Sequence | np.ndarray) and not isinstance(size, str) and np.ndim(size) == 1:
            shape[dim], coords[dim] = len(size), list(size)
        else:
            raise ValueError(f"dims[{dim!r}] is a size or a sequence of coordinates, not {size!r}")
    return shape, coords


def collect(
    function: Callable[..., Values],
    subject: Subject,
    low: np.ndarray,
    high: np.ndarray,
    shape: tuple[int, ...],
    dtype: np.dtype,
) -> Any:
    """Values (label, *other, *shape) of a function of regions in which objects lie whole; lazy for dask."""
    wanted, objects, other = subject.wanted, subject.objects, subject.other_shape
    absent = subject.absent
    if absent.size and dtype.kind not in "fc":
        raise ValueError(
            f"the mask has no label {absent[0]}, and {dtype} has no NaN to say so; give a dtype of floating point"
        )
    settle = partial(_settle, shape=shape, dtype=dtype)
    if not subject.lazy:
        tables = []
        if objects.ids.size:
            tables = [function(subject.mask, subject.image, (0,) * len(subject.shared), objects)]
        ids = kernels_for(subject.mask).xp.asarray(wanted.ids)
        return wanted.take(settle(tables, other, ids))["values"]
    if not objects.ids.size:
        blank = np.nan if wanted.ids.size else 0
        return filled((wanted.ids.size, *other, *shape), blank, dtype, like=subject.mask)
    tables = map_regions(function, subject.mask, subject.image, objects, low, high)
    columns = {"values": Column(dtype, shape=shape)}
    return columns_of(tables, wanted.ids, 1, _merge, settle, columns, wanted.order, like=subject.mask)["values"]


def _merge(tables: Sequence[Values]) -> Values:
    """One table of several, none of which have a label in common."""
    xp = kernels_for(tables[0].ids).xp
    ids = xp.concatenate([table.ids for table in tables])
    order = xp.argsort(ids)
    count, values = (xp.concatenate([getattr(t, name) for t in tables])[order] for name in ("count", "values"))
    return Values(ids[order], count, values)


def _settle(
    tables: Sequence[Values], other: tuple[int, ...], ids: Array, *, shape: tuple[int, ...], dtype: np.dtype
) -> dict[str, Array]:
    """The rows of the sorted ``ids``, NaN for those that no table has."""
    out = kernels_for(ids).xp.full((ids.size, *other, *shape), np.nan if dtype.kind in "fc" else 0, dtype)
    if tables:
        table = _merge(tables)
        out[rows_of(table.ids, ids)] = table.values.reshape(table.ids.size, *other, *shape)
    return {"values": out}
