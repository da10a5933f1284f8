"""What a mask, an image, labels and switches may be, each by itself, and every complaint about those that are not."""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.cautions import caution
from xlabelstats.engine.dask_internals import held_data
from xlabelstats.kernels import kernels_for, on_device
from xlabelstats.names import LABEL, letter_of
from xlabelstats.reading import pixels_of_store

SWAPPED = "or are the two swapped? It is image.labels...(mask)"

TIME = ("t", "time")


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


def check_pooling(
    mask: xr.DataArray,
    image: xr.DataArray | None = None,
    advice: Callable[[Hashable], str] | None = None,
    pooled: str = "each label is measured over all times together. To measure each time apart",
) -> None:
    """Warn of a mask whose labels pool what may be meant to be apart: times, or the components of a bool mask.

    ``mask`` is as the user gave it, and ``image`` may have the coordinates that it lacks.  ``advice`` says for a time
    dim how to measure each time apart, where it is not `each_time`, and ``pooled`` what happens without.
    """
    times = time_dims(mask, image)
    for dim in mask.dims:
        if mask.sizes[dim] > 1 and (dim in times or letter_of(dim) == "T"):
            caution(
                f"the mask has the time dim {dim!r}, and {pooled}: {each_time(dim) if advice is None else advice(dim)}"
            )
    if mask.dtype in (bool, np.uint8) and not is_dask(_held(mask)) and not on_device(_held(mask)):
        from scipy.ndimage import label

        # A mask that is still in storage is not read once more for this.
        if mask.dtype == np.uint8 and not _is_black_and_white(held_data(mask)):
            return
        n = label(data_of(mask, "mask"), np.ones((3,) * mask.ndim))[1]
        kind, one, ones = ("bool mask", 1, "mask") if mask.dtype == bool else ("mask of 0 and 255", 255, "(mask > 0)")
        if n > 1:
            caution(
                f"the {kind} has {n} components that do not touch, and all of them are one label, {one}. "
                f"To number them: xlabelstats.pipeline.connected_components(mask, connectivity={mask.ndim}). "
                f"If one label is meant, {ones}.astype('uint8') says so"
            )


def _is_black_and_white(pixels: Any) -> bool:
    """Whether pixels in memory are 0 and 255 alone, as a binary image is saved."""
    if not isinstance(pixels, np.ndarray):
        return False
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
    return f"per={dim!r}"


def at_position(dim: Hashable) -> str:
    """How to choose a position along a dim."""
    return f"isel({dim}=i)" if str(dim).isidentifier() else f"isel({{{dim!r}: i}})"


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


def is_sparse(array: Any) -> bool:
    """Whether an array is one of the package ``sparse``, without importing it."""
    return type(array).__module__.partition(".")[0] == "sparse"


def dense(array: xr.DataArray) -> xr.DataArray:
    """The array with a numpy array in place of a sparse one."""
    return array.copy(data=array.data.todense()) if is_sparse(held_data(array)) else array


def data_of(array: xr.DataArray, what: str) -> Any:
    """The numpy, CuPy or dask array that a DataArray holds; what fails in reading it, now or later, names the chunk."""
    data = pixels_of_store(array, what)
    return data if is_dask(data) else kernels_for(data).xp.asarray(data)


def whole_number(given: Any) -> int | None:
    """A whole number of any kind, such as numpy's; None for all else, True and False too."""
    try:
        return None if isinstance(given, bool | np.bool_) else operator.index(given)
    except TypeError:
        return None


def check_on_host(what: str, **arrays: Any) -> None:
    """Complain if one of the arrays is on a GPU, where this cannot run."""
    for name, array in arrays.items():
        if on_device(_held(array)):
            move = f"{name}.as_numpy()" if isinstance(array, xr.DataArray) else f"cupy.asnumpy({name})"
            if name == "result" and is_dask(_held(array)):
                # as_numpy computes the variables of a Dataset one by one, and would read the image for each.
                move = "result.compute().as_numpy()"
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
    if not is_dask(_held(array)):
        return
    for dim, chunks in zip(array.dims, array.chunks or (), strict=True):
        if any(size != size for size in chunks):
            raise ValueError(
                f"the chunks of the {what} along {dim!r} have unknown sizes; "
                f"compute them first: {what.split()[0]}.data.compute_chunk_sizes()"
            )
