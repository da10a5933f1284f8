"""Windows of equal size round every object, and what a model makes of them."""

from __future__ import annotations

import itertools
import math
import numbers
import operator
import uuid
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import LABEL, share_coords
from xlabelstats.blocks import LABELS_PER_CHUNK, Graph, uniform
from xlabelstats.instances import Objects, Subject, find_subject, take
from xlabelstats.regions import Job, Owned, Part, Supply, find_regions, pieces, share_out
from xlabelstats.runs import read_only

# The bytes of a chunk of windows whose number the user left open.
CHUNK_BYTES = 2**24


@dataclass(frozen=True)
class Window:
    """The size of a window, and along which dims it is centred on its object; along the others it is the whole mask.

    Attributes
    ----------
    size : array (axis,) of int64
    centred : array (axis,) of bool
    """

    size: np.ndarray
    centred: np.ndarray

    def starts(self, objects: Objects) -> np.ndarray:
        """The first pixel (object, axis) of every object's window, which may lie outside the mask."""
        return np.where(self.centred, objects.centre - self.size // 2, 0)

    def boxes(self, objects: Objects, shape: Any) -> tuple[np.ndarray, np.ndarray]:
        """The part of every object's window that lies in a mask of this shape: first pixel and end."""
        starts = self.starts(objects)
        return np.maximum(starts, 0), np.minimum(starts + self.size, shape)


def window_of(size: Any, subject: Subject, stacklevel: int) -> Window:
    """The window that a user asked for; a warning says how many objects it crops."""
    objects, dims = subject.objects, subject.shared
    shape = np.array(subject.mask.shape, np.int64)
    if size is None:
        sizes = (objects.high - objects.low).max(axis=0, initial=0)
        window = Window(sizes, np.ones(len(dims), bool))
    elif isinstance(size, Mapping):
        unknown = [dim for dim in size if dim not in dims]
        if unknown:
            raise ValueError(f"size is given for {unknown[0]!r}, but the mask has the dims {tuple(dims)}")
        sizes = [_pixels(size[dim], dim) if dim in size else n for dim, n in zip(dims, shape, strict=True)]
        window = Window(np.array(sizes, np.int64), np.array([dim in size for dim in dims]))
    else:
        window = Window(np.full(len(dims), _pixels(size, None), np.int64), np.ones(len(dims), bool))
    starts = window.starts(objects)
    cropped = ((objects.low < starts) | (objects.high > starts + window.size)).any(axis=1)
    if cropped.any():
        half = np.maximum(objects.centre - objects.low, objects.high - 1 - objects.centre).max(axis=0)
        enough = {dim: int(2 * n + 1) for dim, n, own in zip(dims, half, window.centred, strict=True) if own}
        warnings.warn(
            f"{cropped.sum()} of {cropped.size} objects reach beyond their window of "
            f"{' x '.join(map(str, window.size))} pixels and are cropped; size={enough} holds all of them",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
    return window


def _pixels(size: Any, dim: Hashable | None) -> int:
    """A window's size along one dim."""
    where = "" if dim is None else f" along {dim!r}"
    if isinstance(size, bool) or not isinstance(size, numbers.Integral):
        raise TypeError(
            f"size{where} is a whole number of pixels, not {size!r}; "
            "give one for all dims, a mapping from dim to number, or None for the largest bounding box"
        )
    if size < 1:
        raise ValueError(f"size{where} is at least 1 pixel, not {size}")
    return int(size)


def check_batch(batch_size: Any) -> int | None:
    """Complain about a batch size that is no positive whole number."""
    if batch_size is None:
        return None
    if isinstance(batch_size, bool) or not isinstance(batch_size, numbers.Integral) or batch_size < 1:
        raise ValueError(f"batch_size is a positive whole number of labels, not {batch_size!r}")
    return int(batch_size)


def windows(
    image: xr.DataArray | None,
    mask: xr.DataArray,
    size: Any = None,
    *,
    labels: Any = None,
    remove_background: bool = True,
    batch_size: int | None = None,
) -> xr.Dataset:
    """Cut a window round every object; see `InstancesAccessor.windows`."""
    batch = check_batch(batch_size)
    subject = find_subject(image, mask, labels, taken=("image", "mask"))
    _check_present(subject)
    window = window_of(size, subject, stacklevel=3)
    batch = batch or _batch(subject, window)
    cells = None
    if subject.lazy:
        lazy = _LazyWindows(subject, window, remove_background, batch)
        ids = lazy.ids
        if image is None:
            rows = lazy.of_mask()
        else:
            cells, rows = lazy.of_both()
    else:
        objects = _in_order(subject)
        ids = objects.ids
        rows = cut_windows(subject.mask, subject.mask, objects, window, remove_background)
        if image is not None:
            cells = cut_windows(subject.mask, subject.image, objects, window, remove_background)
    variables = {"mask": ((LABEL, *subject.shared), rows, _about(mask, "mask"))}
    if image is not None:
        variables = {"image": ((LABEL, *subject.other, *subject.shared), cells, _about(image, "image"))} | variables
    return xr.Dataset(
        variables,
        coords={**subject.coords, LABEL: ids, **_offsets(window, mask if image is None else share_coords(mask, image))},
    )


def featurize(
    image: xr.DataArray | None,
    mask: xr.DataArray,
    model: Callable[..., Any],
    *,
    size: Any,
    n_features: int,
    labels: Any = None,
    remove_background: bool = True,
    model_kwargs: Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    dtype: Any = np.float32,
) -> xr.DataArray:
    """What a model makes of the window of every object; see `InstancesAccessor.featurize`."""
    if not callable(model):
        raise TypeError(f"model is called with batches of windows, but {type(model).__name__} cannot be called")
    if isinstance(n_features, bool) or not isinstance(n_features, numbers.Integral) or n_features < 0:
        raise ValueError(f"n_features is the number of columns that the model returns, not {n_features!r}")
    batch = check_batch(batch_size)
    subject = find_subject(image, mask, labels)
    _check_present(subject)
    window = window_of(size, subject, stacklevel=3)
    batch = batch or _batch(subject, window)
    apply = partial(apply_model, model=model, kwargs=dict(model_kwargs or {}), n=int(n_features), dtype=np.dtype(dtype))
    if subject.lazy:
        lazy = _LazyWindows(subject, window, remove_background, batch)
        ids = lazy.ids
        cells = lazy.of_mask() if image is None else lazy.of_image()
        features = _lazy_features(cells, ids, len(subject.other), apply)
    else:
        objects = _in_order(subject)
        ids = objects.ids
        pixels = subject.mask if image is None else subject.image
        features = np.empty((ids.size, n_features), dtype)
        for first in range(0, ids.size, batch):
            some = take(objects, slice(first, first + batch))
            cells = cut_windows(subject.mask, pixels, some, window, remove_background)
            features[first : first + batch] = apply(cells, some.ids, len(subject.other))
    what = "mask" if image is None else "image"
    return xr.DataArray(
        features,
        dims=(LABEL, "feature"),
        coords={LABEL: ids},
        attrs={"long_name": f"features of the windows of {_name(mask if image is None else image, what)}"},
    ).rename("features")


def apply_model(
    cells: np.ndarray, ids: np.ndarray, other: int, *, model: Callable[..., Any], kwargs: dict, n: int, dtype: np.dtype
) -> np.ndarray:
    """Call a model with windows (label, *other, *window) as (label, channel, *window) and check what it returns."""
    channels = math.prod(cells.shape[1 : 1 + other])
    batch = cells.reshape(len(cells), channels, *cells.shape[1 + other :])
    span = f"labels {ids[0]} to {ids[-1]}" if ids.size > 1 else f"label {ids[0]}"
    try:
        features = np.asarray(model(batch, **kwargs))
    except Exception as error:
        error.add_note(f"raised by the model for a batch of {len(ids)} windows of shape {batch.shape[1:]}, {span}")
        raise
    if features.shape != (len(ids), n):
        raise ValueError(
            f"the model returned the shape {features.shape} for a batch of shape {batch.shape} ({span}), "
            f"not {(len(ids), n)}: a row per window and n_features={n} columns"
        )
    return cast(features, dtype, "the model")


def cast(values: np.ndarray, dtype: np.dtype, who: str) -> np.ndarray:
    """Values in the dtype asked for, unless it is of a kind that cannot hold them."""
    if not np.can_cast(values.dtype, dtype, "same_kind"):
        raise TypeError(f"{who} returned {values.dtype}, which {dtype} cannot hold; give dtype={str(values.dtype)!r}")
    return values.astype(dtype, copy=False)


def cut_windows(mask: np.ndarray, pixels: np.ndarray, objects: Objects, window: Window, alone: bool) -> np.ndarray:
    """The windows (object, *other, *window) of pixels (*other, *shared), 0 beyond their border.

    If ``alone``, they are 0 too where the mask (*shared) does not carry the object's label.
    """
    out = _Windows(len(objects.ids), pixels.shape[: pixels.ndim - mask.ndim], window, pixels.dtype)
    out.cut((0,) * mask.ndim, pixels, mask if alone else None, objects, np.arange(len(objects.ids)))
    return out.cells


def as_bits(array: np.ndarray) -> np.ndarray:
    """An array, contiguous, as unsigned integers of its own size, to be moved about but not written to."""
    array = np.ascontiguousarray(array, native(array.dtype))
    return read_only(array.view(f"u{array.dtype.itemsize}"))


def native(dtype: np.dtype) -> np.dtype:
    """A dtype in the machine's byte order, of at most eight bytes."""
    return np.dtype(np.float64) if dtype.itemsize > 8 else dtype.newbyteorder("=")


def _flat(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The memory of an array as unsigned integers, copied only if its last axis is not contiguous; and its steps."""
    array = array.astype(native(array.dtype), copy=False)
    size = array.itemsize
    if any(step < 0 or step % size for step in array.strides) or (array.shape[-1] > 1 and array.strides[-1] != size):
        array = np.ascontiguousarray(array)
    steps = np.array(array.strides, np.int64) // size
    length = 1 + int(((np.array(array.shape) - 1) * steps).sum()) if array.size else 0
    flat = np.lib.stride_tricks.as_strided(array, (length,), (size,), writeable=False)
    return flat.view(f"u{size}"), steps


class _Windows:
    """Windows that are being cut, piece by piece of the image.

    Attributes
    ----------
    cells : array (object, *other, *window)
    inside : array (object, *window) of bool
        Where the windows' own objects are; empty if that was not asked for.
    """

    def __init__(self, n: int, other: tuple[int, ...], window: Window, dtype: np.dtype, inside: bool = False) -> None:
        self.window = window
        size = tuple(window.size.tolist())
        self.cells = np.zeros((n, *other, *size), native(dtype))
        self.inside = np.zeros((n, *size) if inside else (0,) * (1 + len(size)), bool)

    def cut(
        self, low: Sequence[int], pixels: np.ndarray, mask: np.ndarray | None, objects: Objects, rows: np.ndarray
    ) -> None:
        """Copy what pixels (*other, *shared) from ``low`` on hold of objects' windows to the given rows.

        With a mask (*shared), only the pixels that carry their label.
        """
        from xlabelstats.kernels import cpu_objects

        flat, steps = _flat(pixels)
        labels, label_steps = (flat, steps) if mask is None else _flat(mask)
        shared = len(low)
        other = pixels.ndim - shared
        n, size = len(self.cells), math.prod(self.window.size.tolist())
        channels = np.zeros(1, np.int64)
        for count, step in zip(pixels.shape[:other], steps[:other], strict=True):
            channels = np.add.outer(channels, step * np.arange(count)).ravel()
        ids = np.zeros(len(rows), flat.dtype) if mask is None else objects.ids.astype(native(mask.dtype))
        starts = self.window.starts(objects) - np.array(low, np.int64)
        # Windows that lie side by side share pages of memory, so they are cut one after the other.
        order = np.lexsort(starts.T[::-1])
        cpu_objects.cut(
            flat,
            channels,
            steps[other:],
            labels,
            label_steps,
            np.array(pixels.shape[other:], np.int64),
            starts[order],
            self.window.size,
            as_bits(ids[order]),
            mask is not None,
            rows[order].astype(np.int64),
            self.cells.view(flat.dtype).reshape(n, channels.size, size),
            self.inside.reshape(len(self.inside), size if self.inside.size else 0),
        )


@dataclass(frozen=True)
class _Share:
    """What a chunk of windows gets of one region: which of its objects, for which rows of the chunk."""

    region: int
    objects: slice
    rows: np.ndarray
    parts: Sequence[Part]


class _LazyWindows:
    """The windows of dask arrays, in the order of the blocks that own the objects."""

    def __init__(self, subject: Subject, window: Window, alone: bool, batch: int) -> None:
        self.subject, self.window, self.alone = subject, window, alone
        objects = subject.objects
        n = objects.ids.size
        by_block = find_regions(objects, *window.boxes(objects, subject.mask.shape), subject.mask.chunks)
        self.regions = [region for regions in by_block for region in regions]
        order = [np.sort(np.concatenate([region.rows for region in regions])) for regions in by_block]
        rows = np.concatenate(order) if order else np.zeros(0, np.intp)
        self.ids = objects.ids[rows]
        self.chunks = tuple(min(batch, n - first) for first in range(0, n, batch)) or (0,)
        self.shares: list[list[_Share]] = [[] for _ in self.chunks]
        if n == 0:
            return
        self.owned, self.labels = share_out(objects, self.regions), Supply(subject.mask, self.regions)
        position = np.argsort(rows)
        for r, region in enumerate(self.regions):
            at = position[region.rows]
            for j in range(at[0] // batch, at[-1] // batch + 1):
                a, b = np.searchsorted(at, [j * batch, (j + 1) * batch])
                if b > a:
                    share = _Share(r, slice(int(a), int(b)), at[a:b] - j * batch, self.labels.parts[r])
                    self.shares[j].append(share)

    def of_image(self) -> Any:
        """The windows (label, *other, *window) of the image."""
        return self._cut(self.subject.image, False)[0]

    def of_mask(self) -> Any:
        """The windows (label, *window) of the mask."""
        return self._cut(None, False)[0]

    def of_both(self) -> tuple[Any, Any]:
        """The windows of the image and of the mask, cut together."""
        if not self.alone:
            # The one does not need the other, and neither has to wait for it.
            return self.of_image(), self.of_mask()
        return self._cut(self.subject.image, True)

    def _cut(self, image: Any, both: bool) -> tuple[Any, Any]:
        import dask.array as da
        from dask.highlevelgraph import HighLevelGraph

        size, mask = tuple(self.window.size.tolist()), self.subject.mask
        source = mask if image is None else image
        dtypes = native(source.dtype), native(mask.dtype)
        if not self.regions:
            return da.zeros((0, *source.shape[: source.ndim - mask.ndim], *size), dtypes[0]), da.zeros(
                (0, *size), dtypes[1]
            )
        pixels = self.labels if image is None else Supply(image, self.regions)
        token = uuid.uuid4().hex
        cut, names, layer, labelled = f"cut-{token}", (f"windows-{token}", f"mask-windows-{token}"), {}, {}
        zeros = (0,) * len(size)
        for j, shares in enumerate(self.shares):
            owned = [(self.owned.name, share.region) for share in shares]
            for i, index in enumerate(np.ndindex(*map(len, pixels.other_chunks))):
                read = [pixels.keys(share.region, index) for share in shares]
                if image is not None and self.alone:
                    masks = [[self.labels.keys(share.region, reading=i) for share in shares]]
                else:
                    masks = []
                inside = both and i == 0
                call = partial(_cut_chunk, window=self.window, shares=shares, alone=self.alone, inside=inside)
                key = (names[0], j, *index, *zeros)
                layer[(cut, j) if inside else key] = (call, owned, read, *masks)
                if inside:
                    layer[key] = (operator.itemgetter(0), (cut, j))
                    labelled[(names[1], j, *zeros)] = (partial(_label, dtype=dtypes[1]), (cut, j))
        dependencies = [self.owned, *pixels.dependencies, *self.labels.dependencies]
        graph = HighLevelGraph.from_collections(names[0], layer, dependencies=dependencies)
        chunks = (self.chunks, *pixels.other_chunks, *((n,) for n in size))
        cells = uniform(da.Array(graph, names[0], chunks, meta=np.empty((0,) * len(chunks), dtypes[0])))
        if not both:
            return cells, None
        layers = graph.layers | {names[1]: labelled}
        graph = HighLevelGraph(layers, graph.dependencies | {names[1]: {names[0]}})
        chunks = (self.chunks, *((n,) for n in size))
        return cells, da.Array(graph, names[1], chunks, meta=np.empty((0,) * len(chunks), dtypes[1]))


def _cut_chunk(
    owned: list[Owned],
    read: list[list[Any]],
    masks: list[list[Any]] | None = None,
    *,
    window: Window,
    shares: Sequence[_Share],
    alone: bool,
    inside: bool,
) -> Any:
    """One chunk of windows; if ``inside``, also where in them their objects are, and the labels.

    Without masks of their own the pixels are the mask.
    """
    n = sum(share.rows.size for share in shares)
    ids = np.empty(n, owned[0].objects.ids.dtype)
    found = [pieces(share.parts, held, own.low) for share, held, own in zip(shares, read, owned, strict=True)]
    _, some = found[0][0]
    out = _Windows(n, some.shape[: some.ndim - len(owned[0].low)], window, some.dtype, inside)
    for k, (share, own) in enumerate(zip(shares, owned, strict=True)):
        objects = take(own.objects, share.objects)
        ids[share.rows] = objects.ids
        labels = found[k] if masks is None else pieces(share.parts, masks[k], own.low)
        for (low, piece), (_, mask) in zip(found[k], labels, strict=True):
            out.cut(low, piece, mask if alone else None, objects, share.rows)
    return (out.cells, out.inside, ids) if inside else out.cells


def _label(cut: tuple[np.ndarray, np.ndarray, np.ndarray], *, dtype: np.dtype) -> np.ndarray:
    """Windows of the mask from where the objects are in them."""
    _, inside, ids = cut
    return inside * ids.astype(dtype).reshape(-1, *(1,) * (inside.ndim - 1))


def _lazy_features(cells: Any, ids: np.ndarray, other: int, apply: partial) -> Any:
    """The features (label, feature) of lazy windows, a batch per chunk."""
    import dask.array as da
    from dask.highlevelgraph import HighLevelGraph

    n, dtype = apply.keywords["n"], apply.keywords["dtype"]
    if ids.size == 0:
        return da.zeros((0, n), dtype)
    cells = cells.rechunk(dict.fromkeys(range(1, cells.ndim), -1))
    token = uuid.uuid4().hex
    name = f"features-{token}"
    # The model is one object that all tasks refer to.
    job = (f"model-{token}", 0)
    graph: Graph = {job: Job(apply, {"other": other})}
    edges = np.cumsum((0, *cells.chunks[0]))
    for j, (a, b) in enumerate(itertools.pairwise(edges)):
        graph[(f"ids-{token}", j)] = ids[a:b]
        graph[(name, j, 0)] = (_apply, job, (cells.name, j, *(0,) * (cells.ndim - 1)), (f"ids-{token}", j))
    layers = HighLevelGraph.from_collections(name, graph, dependencies=[cells])
    return da.Array(layers, name, (cells.chunks[0], (n,)), meta=np.empty((0, 0), dtype))


def _apply(job: Job, cells: np.ndarray, ids: np.ndarray) -> np.ndarray:
    return job.function(cells, ids, **job.options)


def _batch(subject: Subject, window: Window) -> int:
    """Labels per chunk such that a chunk of the larger of the two arrays has about `CHUNK_BYTES`."""
    size = math.prod(window.size.tolist())
    item = subject.mask.dtype.itemsize
    if subject.image is not None:
        chunks = subject.image.chunks[: len(subject.other)] if subject.lazy else [(n,) for n in subject.other_shape]
        item = max(item, subject.image.dtype.itemsize * math.prod(max(sizes, default=1) for sizes in chunks))
    return int(np.clip(CHUNK_BYTES // max(size * item, 1), 1, LABELS_PER_CHUNK))


def _check_present(subject: Subject) -> None:
    """Complain about a requested label that has no window."""
    lacking = np.setdiff1d(subject.wanted.ids, subject.objects.ids.astype(subject.wanted.ids.dtype))
    if lacking.size:
        raise ValueError(
            f"the mask has no label {', '.join(map(str, lacking[:5]))}{', ...' if lacking.size > 5 else ''}, "
            "so there is no window to cut; mask.labels.ids() lists the labels there are"
        )


def _in_order(subject: Subject) -> Objects:
    """The objects of numpy arrays, in the user's order or sorted."""
    order = subject.wanted.order
    return subject.objects if order is None else take(subject.objects, order)


def _offsets(window: Window, mask: xr.DataArray) -> dict[Hashable, Any]:
    """The coordinates of window dims: pixels from the centre; along a whole dim, the mask's own."""
    coords: dict[Hashable, Any] = {}
    for dim, n, centred in zip(mask.dims, window.size.tolist(), window.centred, strict=True):
        if centred:
            about = {"long_name": f"offset from the centre along {dim}", "units": "pixel"}
            coords[dim] = (dim, np.arange(n) - n // 2, about)
        elif dim in mask.coords:
            coords[dim] = mask[dim]
    return coords


def _about(array: xr.DataArray, what: str) -> dict[str, Any]:
    units = {"units": array.attrs["units"]} if what == "image" and "units" in array.attrs else {}
    return {"long_name": f"windows of {_name(array, what)}", **units}


def _name(array: xr.DataArray, what: str) -> str:
    return str(array.name) if array.name is not None else what
