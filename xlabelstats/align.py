"""An image and a mask, or two masks, as a matched pair of arrays, and every complaint about two that do not match."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.cautions import caution
from xlabelstats.encoding import without_encoding
from xlabelstats.engine.merge_tree import filled
from xlabelstats.inputs import SWAPPED, check_image, check_is_mask, check_mask, check_same_side, data_of, is_dask
from xlabelstats.kernels import kernels_for
from xlabelstats.units import common_units

NEAREST = "calls that measure do so with align='nearest', by coordinates"
OF_MASKS = "this call does so with align='nearest', by coordinates"

# What is done and a token, or a UUID of version 1, as dask names arrays.
NAMED_BY_DASK = re.compile(
    r".+-([0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-1[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12})", re.DOTALL
)

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
            f"the image has no dim {_listed(lacking)} of the mask: image {_extents(image)}, mask {_extents(mask)}. "
            "Rename dims with .rename, drop one of length 1 from the mask with .squeeze, or repeat the image along it: "
            f"image.expand_dims({ {dim: mask.sizes[dim] for dim in lacking} })"
            + (f"; {SWAPPED}" if image.dims and set(image.dims) < set(mask.dims) else "")
        )
    unequal = [dim for dim in mask.dims if image.sizes[dim] != mask.sizes[dim]]
    if unequal:
        sizes = ", ".join(
            f"{dim!r} is {image.sizes[dim]} in the image and {mask.sizes[dim]} in the mask" for dim in unequal
        )
        raise ValueError(f"image and mask differ in size: {sizes}. Bring both to the same grid first: {NEAREST}")
    for dim in mask.dims:
        check_coords_match(dim, image, mask)
    _warn_of_planes(image, mask)
    check_same_side(image=image, mask=mask)


def align_masks(mask: xr.DataArray, other: xr.DataArray, name: str) -> tuple[Any, Any]:
    """The arrays of two masks of the same dims and coordinates, in the dims and the chunks of the first.

    Or a complaint, in which the second goes by the name of the argument that it is.
    """
    if set(mask.dims) != set(other.dims):
        raise ValueError(
            f"mask and {name} have different dims: mask {_extents(mask)}, {name} {_extents(other)}. Rename dims with "
            f".rename, drop one of length 1 with .squeeze, or choose a position along one: .isel(t=0)"
        )
    unequal = [dim for dim in mask.dims if mask.sizes[dim] != other.sizes[dim]]
    if unequal:
        sizes = ", ".join(
            f"{dim!r} is {mask.sizes[dim]} in the mask and {other.sizes[dim]} in {name}" for dim in unequal
        )
        raise ValueError(f"mask and {name} differ in size: {sizes}. Bring both to the same grid first: {OF_MASKS}")
    for dim in mask.dims:
        check_coords_match(dim, mask, other, "mask", name)
    _warn_of_planes(mask, other, "mask", name)
    return _same_kind(data_of(mask, "mask"), _turned(other, mask.dims, name))


def share_coords(mask: xr.DataArray, image: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """The mask with the image's coordinates along dims where it has none itself."""
    return mask.assign_coords(
        {dim: image[dim].variable for dim in mask.dims if dim in image.indexes and dim not in mask.indexes}
    )


def other_coords(image: xr.DataArray, other: tuple[Hashable, ...]) -> dict[Hashable, Any]:
    """Copies of the coordinates of the image that lie along its own dims alone, which results keep."""
    kept = {name: coord for name, coord in image.coords.items() if set(coord.dims) <= set(other)}
    # What is not in memory cannot be written to, nor always be copied.
    return {name: without_encoding(coord.copy(deep=coord.variable._in_memory)) for name, coord in kept.items()}


def given_name(array: xr.DataArray) -> Hashable | None:
    """The name of an image or a mask, None for one that dask made up."""
    # xarray names a DataArray made of a dask array after the array, and keeps that name in what is computed from it.
    return None if NAMED_BY_DASK.fullmatch(str(array.name)) else array.name


def display_name(array: xr.DataArray, what: str) -> str:
    """The name of an image or a mask, or what it is."""
    name = given_name(array)
    return what if name is None else str(name)


def _turned(array: xr.DataArray, dims: tuple[Hashable, ...], what: str) -> Any:
    """What a DataArray holds, with its dims in this order."""
    data, axes = data_of(array, what), array.get_axis_num(dims)
    return data if axes == tuple(range(array.ndim)) else data.transpose(axes)


def rounding_of(*coordinates: Any, spacing: Any) -> Any:
    """How far coordinates may be off by rounding: that of their dtype, but never a good part of the spacing.

    There may be one spacing or several.
    """
    kinds = [np.asarray(values) for values in coordinates]
    roundings = [4 * np.finfo(v.dtype).eps * np.abs(v).max() for v in kinds if v.dtype.kind == "f" and v.size]
    return np.maximum(ROUNDING * spacing, np.minimum(max(roundings, default=0.0), 0.01 * spacing))


def check_coords_match(
    dim: Hashable, image: xr.DataArray, mask: xr.DataArray, one: str = "image", other: str = "mask"
) -> None:
    """Complain if both have coordinates along a dim and these differ; ``one`` and ``other`` are what the two are."""
    if dim not in image.indexes or dim not in mask.indexes:
        return
    check_units_match(dim, image, mask, one, other)
    ours, theirs = image.indexes[dim], mask.indexes[dim]
    differs = coords_differ(ours, theirs)
    if not differs.any():
        return
    i = int(np.argmax(differs))
    drop, advice = one, f"bring the {one} to the pixels of the {other}: {one}.reindex_like({other}, method='nearest')"
    # Of weights, the image or the mask stays as it is; else the second is brought to the first.
    if one in ("image", "mask"):
        drop, advice = (
            other,
            (
                f"bring the {other} to the {one}'s pixels: {NEAREST if one == 'image' else OF_MASKS}; by hand it is "
                f"{other}.reindex_like({one}, method='nearest', fill_value=0), with tolerance= for how far a pixel "
                "may be"
            ),
        )
    raise ValueError(
        f"the coordinates of {one} and {other} differ along {dim!r}, first at index {i}: "
        f"{ours[i]} in the {one}, {theirs[i]} in the {other}. If the pixels do match, drop one side's coordinates: "
        f"{drop}.drop_vars({dim!r}). If not, {advice}"
    )


def check_units_match(dim: Hashable, image: Any, mask: xr.DataArray, one: str = "image", other: str = "mask") -> None:
    """Complain if the coordinates along a dim are in different units."""
    units = [str(array[dim].attrs.get("units", "")) for array in (image, mask)]
    if all(units) and not common_units(units):
        raise ValueError(
            f"the coordinates along {dim!r} are in {units[0]!r} in the {one} and in {units[1]!r} in the {other}; "
            "convert one of them"
        )


def coords_differ(ours: Any, theirs: Any) -> np.ndarray:
    """Where coordinates along a dim, as many on either side, differ by more than rounding."""
    a, b = np.asarray(ours), np.asarray(theirs)
    if ours.equals(theirs):
        return np.zeros(a.size, bool)
    differs = a != b
    if a.dtype.kind in "iuf" and b.dtype.kind in "iuf":
        a, b = a.astype(np.float64), b.astype(np.float64)
        spacing = abs(a[-1] - a[0]) / (a.size - 1) if a.size > 1 else abs(a[0]) or 1.0
        differs = ~(np.abs(a - b) <= rounding_of(ours, theirs, spacing=spacing))
    return differs


def _warn_of_planes(image: xr.DataArray, mask: xr.DataArray, one: str = "image", second: str = "mask") -> None:
    """Warn of two arrays that were taken at different places, by the coordinates that are single numbers."""
    for name, place in image.coords.items():
        other = mask.coords.get(name)
        if other is None or place.ndim or other.ndim or not {place.dtype.kind, other.dtype.kind} <= set("iufmM"):
            continue
        if place.values != other.values and not (place.isnull() and other.isnull()):
            caution(
                f"{one} and {second} are at different {name}: {place.values} and {other.values}; "
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


def _listed(dims: list[Hashable]) -> str:
    return ", ".join(map(repr, dims))


def _extents(array: xr.DataArray) -> str:
    return "(" + ", ".join(f"{dim}: {size}" for dim, size in array.sizes.items()) + ")"
