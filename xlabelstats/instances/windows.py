"""Windows of equal size round every object."""

from __future__ import annotations

import math
import numbers
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import display_name, share_coords
from xlabelstats.cautions import caution
from xlabelstats.encoding import without_encoding
from xlabelstats.engine.merge_tree import LABELS_PER_CHUNK
from xlabelstats.engine.runs import native
from xlabelstats.inputs import check_mask
from xlabelstats.instances.lazy_windows import LazyWindows
from xlabelstats.instances.window_cutting import Window, cut_windows
from xlabelstats.labels.per import apart
from xlabelstats.labels.selection import Selection
from xlabelstats.labels.subject import Objects, WholeSubject, find_objects, find_whole
from xlabelstats.names import LABEL
from xlabelstats.resampling import resampled

# The bytes of a chunk of windows whose number the user left open.
CHUNK_BYTES = 2**24


@apart(lambda masks, arguments: one_size_of_present(masks, arguments))
def windows(
    image: xr.DataArray | None,
    mask: xr.DataArray,
    size: Any = None,
    *,
    labels: Any = None,
    remove_background: bool = True,
    batch_size: int | None = None,
    align: str | None = None,
) -> xr.Dataset:
    """Cut a window round every object; see `InstancesAccessor.windows`."""
    batch = check_batch(batch_size)
    mask = resampled(image, mask, align)
    subject = find_whole(image, mask, labels, taken=("image", "mask"))
    clash = [dim for dim in ("image", "mask") if dim in subject.shared]
    if clash:
        raise ValueError(f"{clash[0]!r}, a dim of the mask, is a name of the result; rename it with .rename")
    check_present(subject)
    window = window_of(size, subject)
    chunks = subject.image.chunks if subject.lazy and image is not None else ()
    batch = batch or batch_of(subject, window, tuple(max(sizes) for sizes in chunks[: len(subject.other)]))
    cells = None
    if subject.lazy:
        lazy = LazyWindows(subject, window, remove_background, batch)
        ids = lazy.ids
        if image is None:
            labelled = lazy.of_mask()
        else:
            cells, labelled = lazy.of_both()
    else:
        objects = in_order(subject)
        ids = objects.ids
        cut = partial(cut_windows, subject.mask, objects=objects, window=window, alone=remove_background)
        if image is not None and remove_background:
            cells, labelled = cut(subject.image, marks=native(subject.mask.dtype))
        else:
            cells, labelled = None if image is None else cut(subject.image), cut(subject.mask)
    variables = {"mask": ((LABEL, *subject.shared), labelled, _about(mask, "mask"))}
    if image is not None:
        variables = {"image": ((LABEL, *subject.other, *subject.shared), cells, _about(image, "image"))} | variables
    return xr.Dataset(
        variables,
        coords={**subject.coords, LABEL: ids, **_offsets(window, mask if image is None else share_coords(mask, image))},
    )


def window_of(size: Any, subject: WholeSubject) -> Window:
    """The window that a user asked for; a warning says how many objects it crops."""
    return _window_for(size, subject.objects, subject.shared, subject.mask.shape)


def one_size(masks: Sequence[xr.DataArray], arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The size of windows that all of several masks get, where windows are cut from these alike."""
    if arguments["size"] is None:
        return [{}] * len(masks)
    return [_common_size(masks, arguments)[0]] * len(masks)


def one_size_of_present(masks: Sequence[xr.DataArray], arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The size of windows that all of several masks get, and for each those of the requested labels that it has."""
    size, found = _common_size(masks, arguments)
    if arguments["labels"] is None:
        return [size] * len(masks)
    wanted = found[0][0].labels
    present = [np.isin(wanted, objects.ids.astype(wanted.dtype), kind="sort") for _, objects in found]
    _check_none_lacks(wanted[~np.logical_or.reduce(present)], "at any position")
    return [{**size, "labels": wanted[here]} for here in present]


def _common_size(
    masks: Sequence[xr.DataArray], arguments: Mapping[str, Any]
) -> tuple[dict[str, Any], list[tuple[Selection, Objects]]]:
    """The size of windows that fits the objects of several masks, as an argument, and these objects."""
    labels, background = arguments["labels"], arguments.get("background", False)
    found = [find_objects(check_mask(mask), labels, background) for mask in masks]
    pooled = Objects(*(np.concatenate([getattr(some, field.name) for _, some in found]) for field in fields(Objects)))
    window = _window_for(arguments["size"], pooled, masks[0].dims, masks[0].shape)
    if not pooled.ids.size:
        return {}, found
    sizes = zip(masks[0].dims, window.size.tolist(), window.centred, strict=True)
    return {"size": {dim: n for dim, n, centred in sizes if centred}}, found


def _window_for(size: Any, objects: Objects, dims: Sequence[Hashable], sizes: Sequence[int]) -> Window:
    shape = np.array(sizes, np.int64)
    # A window of an even size reaches one pixel further before its centre than behind it.
    before = (objects.centre - objects.low).max(axis=0, initial=0)
    behind = (objects.high - objects.centre - 1).max(axis=0, initial=-1)
    enough = np.maximum(2 * before, 2 * behind + 1)
    if size is None:
        window = Window(enough, np.ones(len(dims), bool))
    elif isinstance(size, Mapping):
        unknown = [dim for dim in size if dim not in dims]
        if unknown:
            raise ValueError(f"size is given for {unknown[0]!r}, but the mask has the dims {tuple(dims)}")
        sizes = [_pixels(size[dim], dim) if dim in size else n for dim, n in zip(dims, shape, strict=True)]
        window = Window(np.array(sizes, np.int64), np.array([dim in size for dim in dims]))
    else:
        window = Window(np.full(len(dims), _pixels(size, None), np.int64), np.ones(len(dims), bool))
    cropped = ~window.whole(objects)
    if cropped.any():
        fitting = {dim: int(n) for dim, n, centred in zip(dims, enough, window.centred, strict=True) if centred}
        caution(
            f"{cropped.sum()} of {cropped.size} objects reach beyond their window of "
            f"{' x '.join(map(str, window.size))} pixels and are cropped; size={fitting} holds all of them"
        )
    return window


def _pixels(size: Any, dim: Hashable | None) -> int:
    """A window's size along one dim."""
    where = "" if dim is None else f" along {dim!r}"
    if isinstance(size, bool) or not isinstance(size, numbers.Integral):
        raise TypeError(
            f"size{where} is a whole number of pixels, not {size!r}; give one for all dims, "
            "a mapping from dim to number, or None for the smallest that holds every object whole"
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


def batch_of(subject: WholeSubject, window: Window, other: tuple[int, ...]) -> int:
    """Labels per chunk such that a chunk of the larger of the two arrays has about `CHUNK_BYTES`.

    ``other`` are the sizes of the image's own dims in a chunk.
    """
    size = math.prod(window.size.tolist())
    item = subject.mask.dtype.itemsize
    if subject.image is not None:
        item = max(item, subject.image.dtype.itemsize * math.prod(other))
    return int(np.clip(CHUNK_BYTES // max(size * item, 1), 1, LABELS_PER_CHUNK))


def check_present(subject: WholeSubject) -> None:
    """Complain about a requested label that has no window."""
    _check_none_lacks(subject.absent)


def _check_none_lacks(lacking: np.ndarray, where: str = "") -> None:
    if lacking.size:
        raise ValueError(
            f"the mask has no label {', '.join(map(str, lacking[:5]))}{', ...' if lacking.size > 5 else ''}"
            f"{' ' if where else ''}{where}, so there is no window to cut; mask.labels.ids() lists the labels there are"
        )


def in_order(subject: WholeSubject) -> Objects:
    """The objects of numpy arrays, in the user's order or sorted."""
    rows = subject.selection.rows
    return subject.objects if rows is None else subject.objects.take(rows)


def _offsets(window: Window, mask: xr.DataArray) -> dict[Hashable, Any]:
    """The coordinates of window dims: pixels from the centre; along a whole dim, the mask's own."""
    coords: dict[Hashable, Any] = {}
    for dim, n, centred in zip(mask.dims, window.size.tolist(), window.centred, strict=True):
        # xarray cannot index a dim whose name is no string.
        if centred and isinstance(dim, str):
            about = {"long_name": f"offset from the centre along {dim}", "units": "pixel"}
            coords[dim] = (dim, np.arange(n) - n // 2, about)
        elif not centred and dim in mask.coords:
            coords[dim] = without_encoding(mask[dim]).variable
    return coords


def _about(array: xr.DataArray, what: str) -> dict[str, Any]:
    units = {"units": array.attrs["units"]} if what == "image" and "units" in array.attrs else {}
    return {"long_name": f"windows of {display_name(array, what)}", **units}
