"""What a function of the user makes of every object: of its pixels, or of its window."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.catalogue.measure import Measure
from xlabelstats.catalogue.order import gather
from xlabelstats.engine.reduction import Columns, Context, Reduction, WholeBlock, miscounted
from xlabelstats.engine.runs import Array, as_bits, native
from xlabelstats.grid import pixel_grid
from xlabelstats.instances.window_cutting import Window, cut_windows
from xlabelstats.instances.windows import check_batch, one_size, window_of
from xlabelstats.kernels import kernels_for
from xlabelstats.labels.measure import measure_subject
from xlabelstats.labels.per import apart
from xlabelstats.labels.subject import Objects, find_whole
from xlabelstats.names import LABEL
from xlabelstats.resampling import resampled

# What to do about a function that returns (n, channels).
TURN = "Return (channels, n): the .T of what it returns now, or np.stack([...], axis=1)"


@apart(one_size)
def statistics(
    image: xr.DataArray | None,
    mask: xr.DataArray,
    fn: Callable[..., Any],
    *,
    dims: Mapping[str, Any] | None = None,
    size: Any = None,
    fn_kwargs: Mapping[str, Any] | None = None,
    dtype: Any = np.float32,
    batch_size: int | None = None,
    labels: Any = None,
    background: bool = False,
    align: str | None = None,
    by_chunk: bool = False,
) -> xr.DataArray:
    """What a function makes of every object; see `InstancesAccessor.statistics`.

    If ``by_chunk``, it is called for each chunk of the image's own dims, and whether rows are channels is not asked.
    """
    if fn is None:
        raise TypeError("fn is missing: give a function, which is called with the pixels of every object")
    if not callable(fn):
        raise TypeError(f"fn is called with the pixels of every object, but {type(fn).__name__} cannot be called")
    shape, coords = _declared({} if dims is None else dims)
    if LABEL in shape:
        raise ValueError(f"dims names {LABEL!r}, the dim of the results' labels; give it another name")
    dtype, batch = np.dtype(dtype), check_batch(batch_size)
    mask = resampled(image, mask, align)
    subject = find_whole(image, mask, labels, background, taken=shape)
    if subject.lazy and image is not None and not by_chunk:
        # The function may compare channels, so it gets all of them, whatever the chunks.
        subject = replace(subject, image=subject.image.rechunk(dict.fromkeys(range(len(subject.other)), -1)))
    window = None if size is None else window_of(size, subject)
    kind = WindowFunction if image is None else PixelFunction
    entry = Measure(
        "statistics",
        f"{getattr(fn, '__name__', type(fn).__name__)} of every object",
        lambda values: values,
        kind(fn, dict(fn_kwargs or {}), tuple(shape.values()), dtype, window, not by_chunk),
        dims=tuple(shape),
        lengths={dim: coords.get(dim, length) for dim, length in shape.items()},
        kind=dtype,
    )
    context = Context(len(subject.shared), dtype, labels is not None, pixel_grid(len(subject.shared)))
    result = measure_subject({entry.name: entry}, subject, image, context)[entry.name]
    result = result.drop_attrs(deep=False).assign_attrs(long_name=entry.definition)
    return result.chunk({LABEL: batch}) if batch is not None and subject.lazy else result


@dataclass(frozen=True, eq=False)
class ObjectFunction(Reduction):
    """A function called with every object: one column (label, channel, *shape).

    Attributes
    ----------
    fn : callable
    kwargs : dict
        Its keywords.
    shape : tuple of int
        What it returns, per channel.
    dtype : numpy.dtype
    window : Window or None
        What an object is cut to; None for the whole object.
    asks : bool
        Whether it is called once more where the shape of what it returns does not tell if rows are channels.
    """

    fn: Callable[..., Any]
    kwargs: dict[str, Any]
    shape: tuple[int, ...]
    dtype: np.dtype
    window: Window | None
    asks: bool = True

    whole = True
    on_grid = False

    def of(self, needs: tuple[Any, ...], context: Context) -> ObjectFunction:  # type: ignore[override]
        """Itself: it is made for one call."""
        return self

    def boxes(self, objects: Objects, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """The objects' own boxes, or those of their windows."""
        return (objects.low, objects.high) if self.window is None else self.window.boxes(objects, shape)

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> Array:
        """What the function returned."""
        return columns[0]

    def call(
        self,
        inputs: Iterable[Array],
        ids: np.ndarray,
        like: Array,
        *,
        channels: int | None = None,
        bare: bool = False,
        empty: Array | None = None,
    ) -> Array:
        """Call the function with the input of every label, and check what it returns.

        What it returns is (channel, *shape); if ``bare``, without a dim of channels, it may be *shape.  It is not
        called for what has no pixel or is ``empty``.  It gets arrays, and what it returns is put in one, of the type of
        ``like``.
        """
        xp = kernels_for(like).xp
        expected = (1 if channels is None else channels, *self.shape)
        out = xp.empty((ids.size, *expected), self.dtype)
        safe = None
        asks = self.asks and channels is not None and channels > 1 and self.shape == (channels,)
        for i, pixels in enumerate(inputs):
            if (channels and not pixels.shape[1]) or (empty is not None and empty[i]):
                if self.dtype.kind not in "fc":
                    raise ValueError(
                        f"label {ids[i]} has no pixel in its window, and {self.dtype} has no NaN for it; "
                        "give a larger size, or a dtype of floating point"
                    )
                out[i] = np.nan
                continue
            what = pixels.shape
            try:
                value = xp.asarray(self.fn(pixels, **self.kwargs))
            except Exception as error:
                error.add_note(f"raised by fn for label {ids[i]}, given an array of shape {what}")
                raise
            if value.shape != expected and not (bare and value.shape == self.shape):
                raise ValueError(
                    f"fn returned the shape {value.shape} for label {ids[i]}, given an array of shape {what}; "
                    f"dims declares {self.declared(value.shape, expected, bare)}"
                )
            if value.dtype is not safe:
                value = cast(value, self.dtype, "fn")
                safe = value.dtype if self.dtype.kind == "f" else None
            out[i] = value
            if asks:
                asks = False
                self.check_rows(pixels, ids[i], xp)
        return out

    def declared(self, returned: tuple[int, ...], expected: tuple[int, ...], bare: bool) -> str:
        """What shape the function is to return, and how it may come to return it."""
        words = f"{self.shape} or {expected}" if bare else f"{expected}: a row per channel"
        if not self.shape:
            words += " of one number"
        if len(expected) == 2 and returned == expected[::-1]:
            return f"{words}. {TURN}"
        if not returned and not bare:
            return (
                f"{words}. Return a number for all channels once per channel, np.full({expected}, number). "
                "For a ratio of channels divide results: means.sel(c='A') / means.sel(c='B')"
            )
        if self.shape:
            return words
        if bare:
            return f"{words}; for n numbers give dims={{'statistic': n}}"
        return (
            f"{words}, such as pixels.mean(axis=1); for n numbers return (channels, n), as np.stack([...], axis=1) "
            "does, and give dims={'statistic': n}"
        )

    def check_rows(self, pixels: Array, label: Any, xp: Any) -> None:
        """Complain if rows are not channels.  The shape does not tell if there are as many numbers as channels.

        It is asked with one channel more, not fewer, since the function may know how many there are.
        """
        try:
            with np.errstate(all="ignore"):
                shape = xp.asarray(self.fn(xp.concatenate([pixels, pixels[:1]]), **self.kwargs)).shape
        except Exception:
            return
        (n,) = self.shape
        if shape == (n, n + 1):
            raise ValueError(
                f"fn has channels and numbers swapped: for {n + 1} channels of label {label} it returned the shape "
                f"{shape}, not {shape[::-1]}. {TURN}"
            )


class PixelFunction(ObjectFunction):
    """A function called with the pixels (channel, pixel) of every object, or of what lies in its window."""

    reads_image = True

    def collect(self, block: WholeBlock) -> Columns:
        """Call it with every object of a block."""
        mask, image, objects = block.mask, block.image, block.objects
        channels, bare = math.prod(image.shape[: image.ndim - mask.ndim]), image.ndim == mask.ndim
        inputs: Iterable[Array]
        if self.window is None:
            pixels = gather(as_bits(image).reshape(channels, mask.size), block).view(native(image.dtype))
            ends = (np.cumsum(objects.count) * channels).tolist()
            counts = objects.count.tolist()
            inputs = (pixels[b - n * channels : b].reshape(channels, n) for b, n in zip(ends, counts, strict=True))
        else:
            image = image.astype(native(image.dtype), copy=False).reshape(channels, *mask.shape)
            boxes = block.slices(*self.window.boxes(objects, np.add(mask.shape, block.offset)))
            inside = ((box, mask[box] == label) for box, label in zip(boxes, objects.ids, strict=True))
            pixels_inside = (image[(slice(None), *box)][:, keep] for box, keep in inside)
            inputs = _as_scanned(pixels_inside, objects, self.window.whole(objects))
        return (self.call(inputs, objects.ids, mask, channels=channels, bare=bare),)


class WindowFunction(ObjectFunction):
    """A function called with the window of every object, or its bounding box: its label, and 0 outside of it."""

    def collect(self, block: WholeBlock) -> Columns:
        """Call it with every object of a block."""
        mask, objects = block.mask, block.objects
        if self.window is None:
            # Looks whether the objects are those that the scan found.
            _ = block.runs
            where = kernels_for(mask).xp.where
            boxes = block.slices(objects.low, objects.high)
            inputs = (
                where(mask[box] == label, label, label.dtype.type(0))
                for box, label in zip(boxes, objects.ids, strict=True)
            )
            return (self.call(inputs, objects.ids, mask, bare=True),)
        here = replace(objects, centre=objects.centre - np.array(block.offset))
        cells, inside = cut_windows(mask, mask, here, self.window, True, tight=False, marks=np.dtype(bool))
        flags = inside.reshape(len(inside), -1).view(np.uint8)
        count = kernels_for(inside).to_host(flags.sum(axis=1, dtype=np.min_scalar_type(flags.shape[1])))
        off = np.flatnonzero((count > objects.count) | (self.window.whole(objects) & (count < objects.count)))
        if off.size:
            raise miscounted(objects, int(off[0]), int(count[off[0]]))
        return (self.call(iter(cells), objects.ids, mask, bare=True, empty=count == 0),)


def _as_scanned(pixels: Iterable[Array], objects: Objects, whole: np.ndarray) -> Iterator[Array]:
    """The pixels (channel, pixel) of every object, as many as the scan had found, or of one not ``whole`` no more."""
    for i, (values, known, every) in enumerate(zip(pixels, objects.count.tolist(), whole.tolist(), strict=True)):
        if values.shape[1] != known and (every or values.shape[1] > known):
            raise miscounted(objects, i, values.shape[1])
        yield values


def cast(values: Array, dtype: np.dtype, who: str) -> Array:
    """Values in the dtype asked for, if it can hold them."""
    held = np.can_cast(values.dtype, dtype, "same_kind")
    if dtype.kind in "iu" and values.dtype.kind in "iub":
        limits = np.iinfo(dtype)
        held = values.size == 0 or (int(values.min()) >= limits.min and int(values.max()) <= limits.max)
    if not held:
        raise TypeError(f"{who} returned {values.dtype}, which {dtype} cannot hold; give dtype={str(values.dtype)!r}")
    return values.astype(dtype, copy=False)


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
