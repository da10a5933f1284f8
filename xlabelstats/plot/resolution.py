"""What of an array a picture reads: one plane, at about the resolution of the Axes that it is drawn on."""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xlabelstats.grid import coordinate, regular_grid
from xlabelstats.multiscale import as_array, finest
from xlabelstats.names import letter_of
from xlabelstats.options import compute
from xlabelstats.plot.axes import box_of, with_units
from xlabelstats.units import spelt_out

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

Extent = tuple[float, float, float, float]


@dataclass(frozen=True)
class Canvas:
    """Two dims of a mask laid out on Axes.

    Attributes
    ----------
    mask : DataArray (down, across)
        One plane of it, at the finest scale, with its coordinates.
    edges : tuple
        The outer edges of the first and the last pixels, in coordinate units: left, right, bottom, top.
    aspect : float
        The length of a unit along the first dim in those along the second.
    dots : tuple
        How many dots the picture has on the screen, down and across.
    """

    mask: xr.DataArray
    edges: Extent
    aspect: float
    dots: tuple[int, int]

    @property
    def dims(self) -> tuple[Hashable, ...]:
        """The dim that goes down and the one that goes across."""
        return self.mask.dims

    def draw(self, ax: Axes, pixels: np.ndarray, extent: Extent, **options: Any) -> AxesImage:
        """Draw pixels with the first row on top, and name the axes."""
        drawn = ax.imshow(pixels, extent=extent, origin="upper", aspect=self.aspect, **options)
        left, right, bottom, top = self.edges
        down, across = (_axis_label(self.mask, dim) for dim in self.dims)
        ax.set(xlim=(left, right), ylim=(bottom, top), xlabel=across, ylabel=down)
        return drawn


def drawn_dims(dims: Collection[Hashable], indices: Collection[Hashable] = ()) -> tuple[Hashable, Hashable]:
    """The two dims of a picture: y and x, or else the last two of those that no index was given for."""
    free = [dim for dim in dims if dim not in indices]
    if len(free) < 2:
        raise ValueError(f"a picture has two dims, and there {'is' if len(free) == 1 else 'are'} {_listed(free)}")
    return ("y", "x") if {"y", "x"} <= set(free) else (free[-2], free[-1])


def channel_dim(own: Collection[Hashable], indices: Collection[Hashable] = ()) -> Hashable | None:
    """Which of the dims that an image has beside those of its mask holds channels, if any."""
    free = [dim for dim in own if dim not in indices]
    named = [dim for dim in free if letter_of(dim) == "C"]
    others = [dim for dim in free if letter_of(dim) not in ("S", "T", "Z")]
    return named[0] if named else others[0] if len(others) == 1 else None


def choose_planes(
    array: xr.DataArray, kept: Collection[Hashable | None], indices: Mapping[str, int]
) -> dict[Hashable, int]:
    """The index along each dim that is not kept: the one given, or that of the middle."""
    free = [dim for dim in array.dims if dim not in kept]
    unknown = [name for name in indices if name not in free]
    if unknown:
        raise TypeError(
            f"there is no option {unknown[0]!r}, and no dim of this name to choose a plane of; "
            f"planes can be chosen along: {_listed(free)}"
        )
    return {dim: _index(indices[str(dim)], array, dim) if dim in indices else array.sizes[dim] // 2 for dim in free}


def lay_out(mask: xr.DataArray, dims: tuple[Hashable, ...], planes: Mapping[Hashable, int], ax: Axes) -> Canvas:
    """Where on the Axes the pixels of a plane lie."""
    plane = mask.isel(planes, missing_dims="ignore").transpose(*dims)
    if not plane.size:
        raise ValueError(f"there are no pixels to draw: the mask has the sizes {dict(mask.sizes)}")
    grid = regular_grid(plane, "draw it in pixels by dropping them: .drop_vars")
    first = grid.origin - grid.step / 2
    (top, left), (bottom, right) = first, first + grid.step * plane.shape
    # Where the dims cannot be compared, pixels are drawn square.
    aspect = 1.0 if _alike(plane) else float(grid.spacing[1] / grid.spacing[0])
    across, down = abs(right - left), abs(bottom - top) * aspect
    width, height = box_of(ax)
    per_unit = min(width / across, height / down)
    dots = (max(1, math.ceil(down * per_unit)), max(1, math.ceil(across * per_unit)))
    return Canvas(plane, (left, right, bottom, top), aspect, dots)


def read(
    element: xr.DataArray | xr.DataTree,
    canvas: Canvas,
    planes: Mapping[Hashable, int],
    chosen: Mapping[Hashable, Any] | None = None,
) -> tuple[xr.DataArray, Extent]:
    """The pixels to draw, about one per dot, and where they lie; of a tree from the scale that is just fine enough."""
    full, array = as_array(element), _scale_for(element, canvas)
    steps = [thinning(array.sizes[dim], dots) for dim, dots in zip(canvas.dims, canvas.dots, strict=True)]
    # A pixel stands for those round it, so that the picture does not move.
    middles = {dim: slice(step // 2, None, step) for dim, step in zip(canvas.dims, steps, strict=True)}
    there = {
        dim: (2 * index + 1) * array.sizes[dim] // (2 * full.sizes[dim])
        for dim, index in planes.items()
        if dim in array.dims
    }
    pixels = array.isel({**there, **middles, **(chosen or {})}).transpose(..., *canvas.dims)
    left, right, bottom, top = canvas.edges
    down, across = (pixels.sizes[d] * s / array.sizes[d] for d, s in zip(canvas.dims, steps, strict=True))
    extent = (left, left + (right - left) * across, top + (bottom - top) * down, top)
    return (compute(pixels) if pixels.chunks is not None else pixels.compute()), extent


def thinning(pixels: int, dots: float) -> int:
    """Which of the pixels to draw on so many dots: every n-th."""
    return max(1, round(pixels / dots))


def title_of(array: xr.DataArray, planes: Mapping[Hashable, Any]) -> str:
    """Which planes or channels are drawn, of those that there are."""
    return ", ".join(_position(array, dim, index) for dim, index in planes.items() if array.sizes[dim] > 1)


def _alike(plane: xr.DataArray) -> bool:
    """Whether lengths along the two dims of a plane compare: both in pixels, or in the same units of space."""
    with_coords = [dim for dim in plane.dims if dim in plane.indexes]
    units = {spelt_out(str(plane[dim].attrs.get("units", ""))) for dim in with_coords}
    same = len(units) <= 1 or all(unit.startswith("degree") for unit in units)
    return same and len(with_coords) != 1 and not any(letter_of(dim) == "T" for dim in plane.dims)


def _scale_for(element: xr.DataArray | xr.DataTree, canvas: Canvas) -> xr.DataArray:
    """The coarsest array of a tree that has a pixel for every dot, or else the finest."""
    if isinstance(element, xr.DataArray):
        return element
    scales = [finest(xr.DataTree(node.to_dataset())) for node in element.subtree if node.data_vars]
    enough = [
        array
        for array in scales
        if all(array.sizes[dim] >= dots for dim, dots in zip(canvas.dims, canvas.dots, strict=True))
    ]
    return min(enough, key=lambda array: array.size) if enough else finest(element)


def _index(given: Any, array: xr.DataArray, dim: Hashable) -> int:
    """A valid index along a dim, counted from the first."""
    size = array.sizes[dim]
    try:
        index = operator.index(given)
    except TypeError:
        raise TypeError(
            f"{dim} is the index of a plane, a whole number, not {given!r}; to choose one by its coordinate: "
            f".sel({dim}={given!r}, method='nearest')"
        ) from None
    if not -size <= index < size:
        raise IndexError(f"there is no plane {dim}={index}: there are {size} along {dim!r}, from 0 to {size - 1}")
    return index % size


def _position(array: xr.DataArray, dim: Hashable, index: Any) -> str:
    if dim not in array.coords:
        return f"{dim} = {index}"
    value = array[dim].to_numpy()[index]
    text = f"{value:.4g}" if isinstance(value, np.floating) else str(value)
    return with_units(f"{dim} = {text}", array[dim].attrs)


def _axis_label(plane: xr.DataArray, dim: Hashable) -> str:
    if coordinate(plane, dim) is None:
        return with_units(dim, {"units": "pixel"})
    return with_units(dim, plane[dim].attrs)


def _listed(dims: Collection[Hashable]) -> str:
    return ", ".join(map(repr, dims)) or "none"
