"""Every label measured apart at every position along some dims: the call for one position, made for all of them."""

from __future__ import annotations

import functools
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import BoundArguments, Parameter, signature
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from xlabelstats.align import check_match, given_name
from xlabelstats.cautions import Rounds, rounds
from xlabelstats.encoding import without_encoding
from xlabelstats.engine.merge_tree import LABELS_PER_CHUNK, concatenated
from xlabelstats.inputs import check_is_mask, check_mask, is_dask
from xlabelstats.kernels import kernels_for
from xlabelstats.labels.mask_scan import frames_of
from xlabelstats.names import LABEL, OBJECT
from xlabelstats.reading import pixels_of_store
from xlabelstats.resampling import resampled
from xlabelstats.rows import PER

T = TypeVar("T")

# The bytes that a chunk of a result has at most, if its rows are not so large that a single one has more.
CHUNK_BYTES = 2**24

# From the masks of all positions and the arguments of a call, what is another argument at each.
Preparation = Callable[[Sequence[xr.DataArray], Mapping[str, Any]], Sequence[Mapping[str, Any]]]


def apart(prepare: Preparation | None = None) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Give a call that measures labels the keyword ``per``: dims of the mask, at all positions along which it is made.

    Its arguments are an ``image`` or ``weights`` or none, and a ``mask``.  Of these, and of whatever else is a
    DataArray with such a dim, each call gets what is at its position.
    """

    def decorate(function: Callable[..., T]) -> Callable[..., T]:
        parameters = signature(function)

        @functools.wraps(function)
        def call(*args: Any, per: Any = None, **kwargs: Any) -> T:
            if per is None:
                return function(*args, **kwargs)
            given = parameters.bind(*args, **kwargs)
            given.apply_defaults()
            with rounds() as turn:
                return _at_every_position(function, given, per, prepare, turn)

        return call

    return decorate


def dims_of(per: Any, mask: xr.DataArray, image: xr.DataArray | None = None) -> tuple[Hashable, ...]:
    """The dims of a mask that ``per`` names, or a complaint."""
    dims = tuple(per) if isinstance(per, Iterable) and not isinstance(per, str) else (per,)
    if not dims:
        raise ValueError(f"per names no dim; give dims of the mask {tuple(mask.dims)}, or leave it out")
    for dim in dims:
        if dim not in mask.dims:
            alone = image is not None and dim in image.dims
            raise ValueError(
                f"per names {dim!r}, "
                + ("a dim of the image alone, along which all is measured apart anyway. " if alone else "")
                + f"{'T' if alone else 't'}he mask has the dims {tuple(mask.dims)}"
            )
        if dims.count(dim) > 1:
            raise ValueError(f"per names each dim once, but {dim!r} is given {dims.count(dim)} times")
    if len(dims) == mask.ndim:
        raise ValueError(
            f"per names all dims of the mask {tuple(mask.dims)}, so that nothing is left for a label to be measured "
            "over; leave one out"
        )
    return dims


@dataclass(frozen=True)
class Positions:
    """All positions along some dims of a mask.

    Attributes
    ----------
    dims : tuple of dims
    numbers : list of tuple of int
        The index along each dim.
    coords : dict
        The coordinates along these dims, of the image or the mask; of a dim without one its indices.
    """

    dims: tuple[Hashable, ...]
    numbers: list[tuple[int, ...]]
    coords: dict[Hashable, xr.Variable]

    def rows(self, counts: Sequence[int]) -> dict[Hashable, xr.Variable]:
        """The coordinates of rows along `OBJECT`, of which every position has so many."""
        numbers = np.array(self.numbers, np.int64).reshape(-1, len(self.dims))
        numbers = np.repeat(numbers, counts, axis=0) if self.numbers else numbers
        where = {dim: xr.Variable(OBJECT, numbers[:, i]) for i, dim in enumerate(self.dims)}
        return {name: coord.isel({dim: where[dim] for dim in coord.dims}) for name, coord in self.coords.items()}


def _at_every_position(
    function: Callable[..., T], given: BoundArguments, per: Any, prepare: Preparation | None, turn: Rounds
) -> T:
    mask = given.arguments["mask"]
    image = next((given.arguments[name] for name in ("image", "weights") if name in given.arguments), None)
    check_is_mask(mask, image)
    if given.kwargs.get("align") is not None:
        mask = resampled(image, mask, given.kwargs["align"])
        given = given.signature.bind(*given.args, **{**given.kwargs, "align": None})
        given.arguments["mask"] = mask
    dims = dims_of(per, mask, image)
    if image is not None:
        check_match(image, mask)
        _check_free(image, "mask" if image is mask else "image")
    _check_free(mask, "mask")
    positions = Positions(dims, list(np.ndindex(*(mask.sizes[dim] for dim in dims))), _coords(image, mask, dims))
    # Cast once, so that what is learned of the mask is remembered for all calls.
    masks = _frames(check_mask(mask) if mask.chunks is not None else mask, positions, "mask")
    frames = {id(mask): masks}
    arrays = [value for value in (*given.args, *given.kwargs.values()) if isinstance(value, xr.DataArray)]
    for array in arrays:
        if set(dims) & set(array.dims) and id(array) not in frames:
            frames[id(array)] = _frames(array, positions, "image")
    others = [{}] * len(masks) if prepare is None else prepare(masks, given.arguments)
    results: list[Any] = []
    for i, other in enumerate(others):
        if positions.numbers:
            places = zip(positions.numbers[i], dims, strict=True)
            turn.position = " and ".join(f"position {n} along {dim!r}" for n, dim in places)
        one = BoundArguments(given.signature, OrderedDict({**_with_frames(given, frames, i), **other}))
        results.append(function(*one.args, **one.kwargs))
    if not positions.numbers:
        results = [result.isel({LABEL: slice(0, 0)}) for result in results]
    sources = [array.data for array in arrays if array.chunks is not None]
    return _together(results, positions, given.arguments.get("batch_size"), sources)


def _check_free(array: xr.DataArray, what: str) -> None:
    """Complain about an array that has the name of the results' dim."""
    if OBJECT in {*array.dims, *array.coords}:
        kind = "dim" if OBJECT in array.dims else "coord"
        raise ValueError(
            f"the {what} already has a {kind} {OBJECT!r}, the name of the results' dim with per=; "
            f"rename it: {what}.rename({OBJECT}='...')"
        )


def _with_frames(given: BoundArguments, frames: Mapping[int, Sequence[xr.DataArray]], i: int) -> dict[str, Any]:
    """The arguments of a call at one position."""
    arguments = {
        name: frames[id(value)][i] if id(value) in frames else value for name, value in given.arguments.items()
    }
    for name, parameter in given.signature.parameters.items():
        if parameter.kind is Parameter.VAR_KEYWORD:
            options = given.arguments[name].items()
            arguments[name] = {key: frames[id(value)][i] if id(value) in frames else value for key, value in options}
    return arguments


def _frames(array: xr.DataArray, positions: Positions, what: str) -> Sequence[xr.DataArray]:
    """An array at every position; if there is none, one with nothing but 0 in place of them."""
    dims, places = positions.dims, positions.numbers
    own = [dim for dim in dims if dim in array.dims]
    bare = array.drop_vars([name for name, coord in array.coords.items() if set(coord.dims) & set(own)])
    bare = bare.rename(given_name(array))
    if not places:
        return [bare.isel(dict.fromkeys(own, slice(0, 0))).sum(own).astype(array.dtype)]
    if array.chunks is None:
        return [bare.isel(dict(zip(dims, place, strict=True)), missing_dims="ignore") for place in places]
    axes = array.get_axis_num(own)
    columns = [i for i, dim in enumerate(dims) if dim in own]

    def cut() -> list[Any]:
        pixels, whole = pixels_of_store(array, what), [slice(None)] * array.ndim
        cuts: dict[tuple[int, ...], Any] = {}
        for place in places:
            here = tuple(place[i] for i in columns)
            key: list[Any] = list(whole)
            for axis, n in zip(axes, here, strict=True):
                key[axis] = n
            cuts[here] = cuts[here] if here in cuts else pixels[tuple(key)]
        return [cuts[tuple(place[i] for i in columns)] for place in places]

    arrays = frames_of(array.data, axes, cut).arrays if what == "mask" else cut()
    first = bare.isel(dict.fromkeys(own, 0))
    return [first.copy(deep=False, data=each) for each in arrays]


def _coords(image: xr.DataArray | None, mask: xr.DataArray, dims: Sequence[Hashable]) -> dict[Hashable, xr.Variable]:
    """The coordinates of the image and the mask that lie along these dims alone, read now; else numbers."""
    coords = {dim: xr.Variable((dim,), np.arange(mask.sizes[dim])) for dim in dims}
    for array in (mask,) if image is None else (image, mask):
        for name, coord in array.coords.items():
            if coord.ndim and set(coord.dims) <= set(dims):
                attrs = {**(coords[name].attrs if name in coords else {}), **coord.attrs}
                coords[name] = xr.Variable(coord.dims, coord.variable.to_base_variable().compute().data, attrs)
    return coords


def _together(results: Sequence[Any], positions: Positions, batch: int | None, sources: Sequence[Any]) -> Any:
    """One result with the dim `OBJECT` of those of all positions; ``sources`` are the arrays that they were made of."""
    if isinstance(results[0], xr.DataArray):
        name, values = results[0].name, "values of a DataArray"
        datasets = [result.rename(None).to_dataset(name=values) for result in results]
        return _together(datasets, positions, batch, sources)[values].rename(name)
    first = results[0]
    names = {*first.variables, *first.dims}
    taken = [name for name in (OBJECT, *positions.coords) if name in names]
    if taken:
        whose = "the results' dim with per=" if taken[0] == OBJECT else "a dim or coordinate of the image"
        raise ValueError(f"{taken[0]!r}, {whose}, is a name of the result; rename one of the two")
    rows = {name: variable.dims for name, variable in first.variables.items() if LABEL in variable.dims}
    columns = {name: [result[name].transpose(LABEL, ...).data for result in results] for name in rows}
    lazy = {name: arrays for name, arrays in columns.items() if any(map(is_dask, arrays))}
    data = concatenated(lazy, _rows_per_chunk(first) if batch is None else batch, sources) if lazy else {}
    variables = dict(first.variables)
    for name, arrays in columns.items():
        values = data[name] if name in lazy else kernels_for(arrays[0]).xp.concatenate(arrays)
        dims = (OBJECT, *(dim for dim in rows[name] if dim != LABEL))
        variables[name] = xr.Variable(dims, values, first[name].attrs)
    coords = positions.rows([result.sizes[LABEL] for result in results])
    own = {name: coords.pop(name) for name in positions.dims}
    kept = {name: variables.pop(name) for name in first.coords}
    label = kept.pop(LABEL)
    label.attrs = {**label.attrs, PER: ", ".join(map(str, own))}
    coords = {**own, LABEL: label, **coords, **kept}
    return without_encoding(xr.Dataset(variables, coords=coords, attrs=first.attrs))


def _rows_per_chunk(result: xr.Dataset) -> int:
    """The rows of a chunk of which no variable has more than `CHUNK_BYTES`."""
    sizes = [1]
    for variable in result.data_vars.values():
        if LABEL in variable.dims and is_dask(variable.data):
            chunks = dict(zip(variable.dims, variable.chunks or (), strict=True))
            others = (max(sizes, default=1) for dim, sizes in chunks.items() if dim != LABEL)
            sizes.append(variable.dtype.itemsize * math.prod(others))
    return int(np.clip(CHUNK_BYTES // max(sizes), 1, LABELS_PER_CHUNK))
