"""An image and a mask as a matched pair of arrays, and every complaint about them; calls check their own options."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.cautions import caution
from xlabelstats.encoding import without_encoding
from xlabelstats.engine.dask_internals import held_data
from xlabelstats.engine.merge_tree import filled
from xlabelstats.kernels import kernels_for, on_device
from xlabelstats.reading import pixels_of_store
from xlabelstats.units import common_units

LABEL = "label"

SWAPPED = "or are the two swapped? It is image.labels...(mask)"

# What the time dim of a mask is called, in either case.
TIME = ("t", "time", "frame", "frames", "timepoint", "timepoints")

# Coordinates that differ by less than this part of their spacing are taken as equal.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Pair:
    """An image and a mask over the same pixels.

    Attributes
    ----------
    image : array (*other, *shared)
        numpy, CuPy, or dask of either with the chunks of the mask along the shared dims.
    mask : array (*shared)
        Integers, of the same kind of array.
    other, shared : tuple of dims
        The image's own dims, in its order, and those it shares with the mask.
    """

    image: Any
    mask: Any
    other: tuple[Hashable, ...]
    shared: tuple[Hashable, ...]

    @property
    def is_dask(self) -> bool:
        """Whether the arrays are dask arrays; then both are."""
        return is_dask(self.mask)


def align(image: xr.DataArray, mask: xr.DataArray, *, mask_order: bool = False) -> Pair:
    """Match an image and a mask by dims and coordinates, or say why they do not match.

    The shared dims come in the image's order, in which its pixels lie in memory, or in the mask's if
    what is measured depends on the order of axes.
    """
    check_match(image, mask)
    mask = check_mask(mask)
    shared = mask.dims if mask_order else tuple(dim for dim in image.dims if dim in mask.dims)
    other = tuple(dim for dim in image.dims if dim not in mask.dims)
    pixels, labels = _same_kind(
        _turned(image, (*other, *shared), "mask" if image is mask else "image"),
        _turned(mask, shared, "mask"),
    )
    return Pair(pixels, labels, other, shared)


def check_match(image: xr.DataArray, mask: xr.DataArray) -> None:
    """Complain about an image and a mask that do not match by dims and coordinates, without reading a pixel."""
    check_is_mask(mask, image)
    check_image(image)
    lacking = [dim for dim in mask.dims if dim not in image.dims]
    if lacking:
        raise ValueError(
            f"the image has no dim {_names(lacking)} of the mask: image {_sizes(image)}, mask {_sizes(mask)}. "
            "Rename dims with .rename, drop one of length 1 from the mask with .squeeze, or repeat the image along it: "
            f"image.expand_dims({ {dim: mask.sizes[dim] for dim in lacking} })"
            + (f"; {SWAPPED}" if image.dims and set(image.dims) < set(mask.dims) else "")
        )
    unequal = [dim for dim in mask.dims if image.sizes[dim] != mask.sizes[dim]]
    if unequal:
        sizes = ", ".join(
            f"{dim!r} is {image.sizes[dim]} in the image and {mask.sizes[dim]} in the mask" for dim in unequal
        )
        raise ValueError(f"image and mask differ in size: {sizes}. Bring both to the same grid first")
    for dim in mask.dims:
        _check_coords(dim, image, mask)
    _check_planes(image, mask)
    check_same_side(image=image, mask=mask)


def share_coords(mask: xr.DataArray, image: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """The mask with the image's coordinates along dims where it has none itself."""
    return mask.assign_coords(
        {dim: image[dim].variable for dim in mask.dims if dim in image.indexes and dim not in mask.indexes}
    )


def other_coords(image: xr.DataArray, other: tuple[Hashable, ...]) -> dict[Hashable, Any]:
    """Copies of the coordinates of the image that lie along its own dims alone, which results keep."""
    own = {name: coord for name, coord in image.coords.items() if set(coord.dims) <= set(other)}
    # What is not in memory cannot be written to, nor always be copied.
    return {name: without_encoding(coord.copy(deep=coord.variable._in_memory)) for name, coord in own.items()}


def name_of(array: xr.DataArray, what: str) -> str:
    """The name of an image or a mask, or what it is."""
    # xarray names a DataArray made of a nameless dask array after the array, which says nothing.
    nameless = array.name is None or (array.chunks is not None and array.name == array.data.name)
    return what if nameless else str(array.name)


def check_mask(mask: Any) -> xr.DataArray:
    """A mask of integers, bool read as one label, or a complaint."""
    check_is_mask(mask)
    return mask.copy(data=pixels_of_store(mask, "mask")).astype(np.uint8) if mask.dtype == bool else mask


def check_is_mask(mask: Any, image: Any = None) -> None:
    """Complain about what is no mask, and ask if it is the image where that may be the mask; reads no pixel."""
    if not isinstance(mask, xr.DataArray):
        raise TypeError(f"a mask is an xarray.DataArray, not {type(mask).__name__}; {how_to_a_mask(mask)}")
    _check_names(mask, "mask")
    if mask.dtype.kind not in "iub":
        swapped = f"; {SWAPPED}" if isinstance(image, xr.DataArray) and image.dtype.kind in "iu" else ""
        raise TypeError(f"a mask holds integer labels, not {mask.dtype}; {how_to_integers(mask)}{swapped}")
    if not mask.dims:
        raise ValueError("a mask needs at least one dim; this one is a single number")
    check_chunks(mask, "mask")


def check_pooling(mask: xr.DataArray, image: xr.DataArray | None = None) -> None:
    """Warn of a mask whose labels pool what may be meant to be apart: times, or the components of a bool mask.

    ``mask`` is as the user gave it, and ``image`` may have the coordinates that it lacks.
    """
    for dim in time_dims(mask, image):
        if mask.sizes[dim] > 1:
            caution(
                f"the mask has the time dim {dim!r}, and each label is measured over all times together. "
                f"To measure each time apart: {each_time(dim)}"
            )
    if mask.dtype in (bool, np.uint8) and mask.chunks is None and not on_device(_held(mask)):
        from scipy.ndimage import label

        pixels = data_of(mask, "mask")
        if mask.dtype == np.uint8 and not _is_black_and_white(pixels):
            return
        n = label(pixels, np.ones((3,) * mask.ndim))[1]
        kind, one, ones = ("bool mask", 1, "mask") if mask.dtype == bool else ("mask of 0 and 255", 255, "(mask > 0)")
        if n > 1:
            caution(
                f"the {kind} has {n} components that do not touch, and all of them are one label, {one}. "
                f"To number them: xlabelstats.pipeline.connected_components(mask, connectivity={mask.ndim}). "
                f"If one label is meant, {ones}.astype('uint8') says so"
            )


def _is_black_and_white(pixels: np.ndarray) -> bool:
    """Whether bytes are 0 and 255 alone, as a binary image is saved."""
    # A few pixels tell most label images apart without a look at all.
    few = pixels[(slice(None, None, 16),) * pixels.ndim]
    return all(bool(((each == 0) | (each == 255)).all()) for each in (few, pixels))


def time_dims(mask: xr.DataArray, image: xr.DataArray | None = None) -> list[Hashable]:
    """The dims of a mask that are time, by name or by coordinate."""
    indexes = {**({} if image is None else image.indexes), **mask.indexes}
    return [
        dim
        for dim in mask.dims
        if str(dim).lower() in TIME
        or (dim in indexes and (indexes[dim].dtype.kind in "mM" or isinstance(indexes[dim], xr.CFTimeIndex)))
    ]


def each_time(dim: Hashable) -> str:
    """How to measure each time apart."""
    at = f"isel({dim}=i)" if str(dim).isidentifier() else f"isel({{{dim!r}: i}})"
    return (
        f"xr.concat([measure(image.{at}, mask.{at}) for i in range(mask.sizes[{dim!r}])], mask[{dim!r}], "
        "join='outer'), where measure is this call, such as lambda image, mask: image.labels.mean(mask)"
    )


def is_array(given: Any) -> bool:
    """Whether something holds an array, or several, named or not."""
    return isinstance(given, xr.Dataset) or getattr(given, "ndim", 0) > 0


def how_to_a_mask(given: Any) -> str:
    """What to do where a mask is wanted and something else is given."""
    if isinstance(given, xr.Dataset):
        return f"choose one of its variables: {', '.join(map(repr, given))}"
    if is_array(given) or isinstance(given, list):
        return 'name its dims: xr.DataArray(mask, dims=("y", "x"))'
    return "it holds the label of every pixel, 0 for the background"


def how_to_integers(mask: xr.DataArray) -> str:
    """What to do with a mask that does not hold integers."""
    if mask.dtype.kind not in "fO":
        return "give every object a number: 0 for the background, then 1, 2, ..."
    stored = np.dtype(mask.encoding.get("dtype", mask.dtype))
    if stored.kind in "iu":
        return (
            f"it is stored as {stored}, but xarray reads integers that have a fill value as floating point: "
            "open it with mask_and_scale=False"
        )
    whole = "after checking that its values are whole numbers"
    filled_first = "mask.fillna(0).astype('int32')"
    if not isinstance(held_data(mask), np.ndarray):
        return f"cast it with mask.astype('int32'), {whole}; if it has NaN, which would become a label: {filled_first}"
    if mask.isnull().any():
        return f"it has NaN, which a cast alone would make a label; fill it first: {filled_first}, {whole}"
    return f"cast it with mask.astype('int32'), {whole}"


def check_image(image: xr.DataArray) -> None:
    """Complain about an image that cannot be measured."""
    if not isinstance(image, xr.DataArray):
        raise TypeError(f"an image is an xarray.DataArray, not {type(image).__name__}; name its dims")
    if image.dtype.kind not in "biuf":
        raise TypeError(
            f"an image holds numbers (integer, floating point or bool), not {image.dtype}; "
            + ("measure .real and .imag apart" if image.dtype.kind == "c" else "cast it with image.astype('float64')")
        )
    _check_names(image, "image")
    check_chunks(image, "image")


def check_switches(**switches: Any) -> None:
    """Complain about switches that are not True or False."""
    for name, value in switches.items():
        # A 0 for a background would be read as the number of the background, for skipna it is a plain no.
        if not isinstance(value, bool | np.bool_) and (name == "background" or value not in (0, 1)):
            advice = (
                "it says whether label 0 is measured too; if the background of your mask has another number, "
                f"make it 0: mask.where(mask != {value!r}, 0)"
                if name == "background"
                else "it says whether NaN pixels are left out"
            )
            raise TypeError(f"{name} is True or False, not {value!r}; {advice}")


def check_labels(labels: Any, dtype: np.dtype) -> np.ndarray:
    """The requested labels as a 1-D integer array that compares exactly with a mask's ids."""
    check_on_host("the choice of labels", labels=labels)
    values = np.atleast_1d(np.asarray(labels))
    if values.dtype.kind not in "iu":
        # A list may be empty, or mix ids that only uint64 and only int64 can hold.
        values = np.atleast_1d(np.asarray(labels, object))
    if values.ndim != 1 or not (values.dtype.kind in "iu" or all(map(_is_whole, values))):
        raise TypeError(f"labels are whole numbers, one or a 1-D sequence of them, not {labels!r}")
    if values.size > 1 and isinstance(values[0], bool | np.bool_):
        raise TypeError(
            f"labels are ids, and these are {values.size} booleans; choose ids by them: mask.labels.ids()[labels]"
        )
    if values.dtype.kind not in "iu":
        values = np.array([int(value) for value in values], object)
    common = np.dtype(np.uint64 if (dtype.kind, dtype.itemsize) == ("u", 8) else np.int64)
    limits = np.iinfo(common)
    for label in (min(values, default=0), max(values, default=0)):
        if not limits.min <= int(label) <= limits.max:
            raise ValueError(f"label {label} cannot occur in a mask of dtype {dtype}")
    values = values.astype(common)
    ids, counts = np.unique(values, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"labels are each given once, but {ids[counts > 1][0]} is given {counts.max()} times")
    return values


def _is_whole(value: Any) -> bool:
    if isinstance(value, float | np.floating):
        return bool(value.is_integer())
    return isinstance(value, int | np.integer | np.bool_)


def is_dask(array: Any) -> bool:
    """Whether an array is a dask array, without importing dask."""
    return hasattr(array, "__dask_graph__")


def data_of(array: xr.DataArray, what: str) -> Any:
    """The numpy, CuPy or dask array that a DataArray holds; what fails in reading it, now or later, names the chunk."""
    data = pixels_of_store(array, what)
    return data if is_dask(data) else kernels_for(data).xp.asarray(data)


def _turned(array: xr.DataArray, dims: tuple[Hashable, ...], what: str) -> Any:
    """What a DataArray holds, with its dims in this order."""
    data, axes = data_of(array, what), array.get_axis_num(dims)
    return data if axes == tuple(range(array.ndim)) else data.transpose(axes)


def check_on_host(what: str, **arrays: Any) -> None:
    """Complain if one of the arrays is on a GPU, where this cannot run."""
    for name, array in arrays.items():
        if on_device(_held(array)):
            move = f"{name}.as_numpy()" if isinstance(array, xr.DataArray) else f"cupy.asnumpy({name})"
            raise TypeError(f"{what} runs in main memory, and the {name} is on the GPU (CuPy); move it there: {move}")


def _held(array: Any) -> Any:
    """What a DataArray holds, or the array itself; the .data of what was opened lazily would read it."""
    return held_data(array) if isinstance(array, xr.DataArray) else array


def check_same_side(**arrays: Any) -> None:
    """Complain if some arrays are on a GPU and others in main memory: nothing is moved unasked."""
    device = [name for name, array in arrays.items() if on_device(_held(array))]
    host = [name for name in arrays if name not in device]
    if device and host:
        verb = "are" if device[0].endswith("s") else "is"
        raise TypeError(
            f"the {device[0]} {verb} on the GPU (CuPy) and the {host[0]} in main memory (numpy); move one: "
            f"{host[0]}.cupy.as_cupy() with cupy-xarray, or {device[0]}.as_numpy()"
        )


def rounding_of(*coordinates: Any, spacing: float) -> float:
    """How far coordinates may be off by rounding: that of their dtype, but never a good part of the spacing."""
    kinds = [np.asarray(values) for values in coordinates]
    own = [4 * np.finfo(v.dtype).eps * np.abs(v).max() for v in kinds if v.dtype.kind == "f" and v.size]
    return max(ROUNDING * spacing, min(max(own, default=0.0), 0.01 * spacing))


def check_taken(image: xr.DataArray, kept: tuple[Hashable, ...], taken: Iterable[str]) -> None:
    """Complain if a dim or coordinate of the image that is kept has a name that the result needs."""
    names = {*kept, *(name for name, coord in image.coords.items() if set(coord.dims) <= set(kept))}
    clash = [name for name in taken if name in names]
    if clash:
        raise ValueError(
            f"{clash[0]!r}, a dim or coordinate of the image, is a name of the result; rename it with .rename"
        )


def _check_names(array: xr.DataArray, what: str) -> None:
    if len(set(array.dims)) < array.ndim:
        raise ValueError(
            f"the dims of the {what} are not told apart by their names: {tuple(array.dims)}; "
            f"name each: xr.DataArray({what}.data, dims=(...))"
        )
    for kind, names in (("dim", array.dims), ("coord", array.coords)):
        if LABEL in names:
            raise ValueError(
                f"the {what} already has a {kind} {LABEL!r}, the name of the results' dim; "
                f"rename it: {what}.rename({LABEL}='...')"
            )


def check_chunks(array: xr.DataArray, what: str) -> None:
    """Complain about a dask array that does not know its shape."""
    for dim, chunks in zip(array.dims, array.chunks or (), strict=False):
        if any(size != size for size in chunks):
            raise ValueError(
                f"the chunks of the {what} along {dim!r} have unknown sizes; "
                f"compute them first: {what.split()[0]}.data.compute_chunk_sizes()"
            )


def _check_coords(dim: Hashable, image: xr.DataArray, mask: xr.DataArray) -> None:
    if dim not in image.indexes or dim not in mask.indexes:
        return
    ours, theirs = image.indexes[dim], mask.indexes[dim]
    units = [str(array[dim].attrs.get("units", "")) for array in (image, mask)]
    if all(units) and not common_units(units):
        raise ValueError(
            f"the coordinates along {dim!r} are in {units[0]!r} in the image and in {units[1]!r} in the mask; "
            "convert one of them"
        )
    if ours.equals(theirs):
        return
    a, b = np.asarray(ours), np.asarray(theirs)
    differs = a != b
    if a.dtype.kind in "iuf" and b.dtype.kind in "iuf":
        a, b = a.astype(np.float64), b.astype(np.float64)
        spacing = abs(a[-1] - a[0]) / (a.size - 1) if a.size > 1 else abs(a[0]) or 1.0
        differs = ~(np.abs(a - b) <= rounding_of(ours, theirs, spacing=spacing))
    if differs.any():
        i = int(np.argmax(differs))
        raise ValueError(
            f"the coordinates of image and mask differ along {dim!r}, first at index {i}: "
            f"{ours[i]} in the image, {theirs[i]} in the mask. If the pixels do match, drop one side's coordinates: "
            f"mask.drop_vars({dim!r}). If not, bring the mask to the image's pixels: "
            "mask.reindex_like(image, method='nearest', fill_value=0), with tolerance= for how far a pixel may be"
        )


def _check_planes(image: xr.DataArray, mask: xr.DataArray) -> None:
    """Warn of an image and a mask that were taken at different places, by the coordinates that are single numbers."""
    for name, place in image.coords.items():
        other = mask.coords.get(name)
        if other is None or place.ndim or other.ndim or not {place.dtype.kind, other.dtype.kind} <= set("iufmM"):
            continue
        if place.values != other.values and not (place.isnull() and other.isnull()):
            caution(
                f"image and mask are at different {name}: {place.values} and {other.values}; "
                "choose the same plane of both"
            )


def _same_kind(image: Any, mask: Any) -> tuple[Any, Any]:
    """Both as numpy or CuPy, or both as dask with the image's chunks along the shared dims."""
    asarray = kernels_for(mask).xp.asarray
    if not is_dask(image) and not is_dask(mask):
        return asarray(image), asarray(mask)

    import dask.array as da

    # An array is wrapped under a new name: hashing all of it would take longer than measuring it.
    depth = image.ndim - mask.ndim
    if not is_dask(image):
        image = da.from_array(asarray(image), chunks=(*image.shape[:depth], *mask.chunks), name=False)
    if not is_dask(mask):
        mask = da.from_array(asarray(mask), chunks=image.chunks[depth:], name=False)
    chunks = image.chunks[depth:]
    # dask leaves the chunks of an array without pixels as they are, or loses its dtype.
    return image, mask.rechunk(chunks) if mask.size else filled(mask.shape, 0, mask.dtype, chunks=chunks, like=mask)


def _names(dims: list[Hashable]) -> str:
    return ", ".join(map(repr, dims))


def _sizes(array: xr.DataArray) -> str:
    return "(" + ", ".join(f"{dim}: {size}" for dim, size in array.sizes.items()) + ")"
