"""Images and label masks as OME-Zarr, with as many levels as asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from xlabelstats.extras import need
from xlabelstats.grid import Grid, grid_along, pixel_grid
from xlabelstats.names import check_known
from xlabelstats.pipeline.cache.arrays import words_of, write
from xlabelstats.units import UNITS, spelt_out

# Axes in the order that OME-Zarr wants them in, with their types.
AXES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}

VERSIONS = ("0.5", "0.4")


@dataclass
class Layout:
    """How a result is to be stored, as JSON can hold it; what has its default was not asked for."""

    multiscale: int | None = None
    chunks: Any = None
    compressor: Any = "auto"
    ome_version: str | None = None
    is_label: bool | None = None

    def __post_init__(self) -> None:
        if self.multiscale is not None and (type(self.multiscale) is not int or self.multiscale < 1):
            raise ValueError(f"multiscale is the number of levels, 1 or more, not {self.multiscale!r}")
        if self.ome_version not in (None, *VERSIONS):
            raise ValueError(f"ome_version is one of {', '.join(map(repr, VERSIONS))}, not {self.ome_version!r}")
        self.compressor = words_of(self.compressor)
        # JSON has no tuples, nor what is of numpy.
        words = json.dumps(self.chunks, default=lambda each: getattr(each, "tolist", each.__repr__)())
        asked, self.chunks = self.chunks, json.loads(words)
        sizes = self.chunks.values() if isinstance(self.chunks, dict) else self.chunks
        sizes = [1 if sizes is None else sizes] if isinstance(sizes, int | float | str | None) else sizes
        if not all(type(size) is int and size > 0 for size in sizes):
            raise ValueError(f"chunks is a number of pixels, at least one, or one per dim, or a mapping, not {asked!r}")

    @property
    def given(self) -> dict[str, Any]:
        """The settings that were asked for."""
        return {each.name: asked for each in fields(self) if (asked := getattr(self, each.name)) != each.default}

    def over(self, about: Mapping[str, Any]) -> Layout:
        """The layout, where it says nothing that of a stored result."""
        return Layout(**{**about, **self.given})

    def of_image(self, dtype: np.dtype) -> Layout:
        """The layout with what images of a dtype have by default."""
        return self.over({"multiscale": 1, "ome_version": "0.5", "is_label": looks_like_labels(dtype)})

    def chunks_of(self, dims: Iterable[Any]) -> dict[Any, int]:
        """The chunks along the dims of a result, as far as they were asked for."""
        dims, asked = list(dims), self.chunks or {}
        asked = [asked] * len(dims) if isinstance(asked, int) else asked
        if isinstance(asked, list) and len(asked) != len(dims):
            raise ValueError(f"chunks has {len(asked)} sizes for the {len(dims)} dims {dims}")
        check_known(asked if isinstance(asked, dict) else (), dims, "dim")
        return dict(asked if isinstance(asked, dict) else zip(dims, asked, strict=True))


def is_image(array: xr.DataArray) -> bool:
    """Whether OME-Zarr can hold an array: numbers over dims t, c, z, y and x, of which y and x must be there."""
    return {"y", "x"} <= set(array.dims) <= set(AXES) and array.dtype.kind in "biuf" and array.size > 0


def looks_like_labels(dtype: np.dtype) -> bool:
    """Whether an image of this dtype is taken for a label mask: bool, or integers of 32 bits and more."""
    return dtype.kind == "b" or (dtype.kind in "iu" and dtype.itemsize >= 4)


def in_order(dims: Iterable[Any]) -> list[str]:
    """The dims of an image in the order of OME-Zarr."""
    return sorted(dims, key=list(AXES).index)


def halved(image: xr.DataArray, *, labels: bool) -> xr.DataArray:
    """An image without coordinates at half its size: means of pairs along z, y and x, of labels every second pixel."""
    pairs = {dim: 2 for dim in image.dims if AXES[str(dim)] == "space" and image.sizes[dim] > 1}
    if labels or not pairs:
        return image.isel({dim: slice(None, None, 2) for dim in pairs})
    # Means leave out NaN, and what is beyond the edge.
    wide = np.result_type(image.dtype, np.float32)
    means = (image.astype(wide) if image.dtype.kind in "bf" else image).coarsen(pairs, boundary="pad").mean()
    if image.dtype.kind in "iu":
        # The largest of 64 bits is none of the numbers of float64, but beyond it.
        means = means.clip(max=np.nextafter(np.iinfo(image.dtype).max, 0.0))
    return (means if image.dtype.kind == "f" else means.round()).astype(image.dtype)


def pyramid_of(
    image: xr.DataArray,
    layout: Layout,
    kept: Callable[[str, Any], Any] = lambda path, data: data,
    pixels: Sequence[Mapping[Hashable, slice]] | None = None,
) -> list[Any]:
    """The levels of an image, each made of what is kept of the one below: by default when it is looked at.

    ``pixels`` says of every level but the first which pixels of the one below it has; by default it is half as large.
    """
    number, labels = layout.multiscale or 1, bool(layout.is_label)
    levels = [xr.DataArray(kept("0", image.data), dims=image.dims)]
    while len(levels) < number:
        below = levels[-1]
        above = halved(below, labels=labels) if pixels is None else below.isel(pixels[len(levels) - 1])
        if above.shape == below.shape:
            break
        levels.append(above.copy(data=kept(str(len(levels)), above.data)))
    return [level.data for level in levels]


def write_image(
    image: xr.DataArray,
    group: Any,
    layout: Layout,
    name: str,
    of: str | None = None,
    pixels: Sequence[Mapping[Hashable, slice]] | None = None,
) -> int:
    """Write the pixels of a lazy image to a Zarr group, and give the number of levels.

    ``of`` is the path from the group of a label mask to that of the image that it is of, if there is one; ``pixels``
    as in `pyramid_of`.
    """
    writer, formats = (need(f"ome_zarr.{each}", "pipeline", "storing images") for each in ("writer", "format"))
    form, chunks = formats.format_from_version(layout.ome_version), layout.chunks_of(image.dims)
    image = image.transpose(*in_order(image.dims))

    def kept(path: str, data: Any) -> Any:
        write(group, {path: xr.Variable(image.dims, data)}, chunks, layout.compressor)
        chunks.update(zip(image.dims, group[path].chunks, strict=True))
        return da.from_zarr(group[path])

    levels = len(pyramid_of(image, layout, kept, pixels))
    labels = bool(layout.is_label)
    datasets = [_dataset(image, level, _reduction(image, level, pixels), labels=labels) for level in range(levels)]
    axes = [_axis(image[dim]) for dim in image.dims]
    writer.write_multiscales_metadata(group, datasets, fmt=form, axes=axes, name=name)
    if layout.is_label and image.dtype.kind in "biu":
        # By this other tools know labels from pixels.
        about = {"version": form.version} | ({"source": {"image": of}} if of else {})
        writer.add_metadata(group, {"image-label": about}, fmt=form)
    return levels


def grids_of(image: xr.DataArray, dims: Iterable[Hashable]) -> list[Grid]:
    """The grid along each of some dims: of the coordinates where these are even numbers, else of pixels."""
    # Numbers of channels, such as wavelengths, are names.
    return [pixel_grid(1) if dim == "c" else grid_along(image, dim) for dim in dims]


def _reduction(image: xr.DataArray, level: int, pixels: Sequence[Mapping[Hashable, slice]] | None) -> np.ndarray:
    """How many pixels of an image one at a level stands for, along every dim."""
    if pixels is not None:
        return np.array([math.prod(each[dim].step for each in pixels[:level]) for dim in image.dims], float)
    halvings = [min(level, (image.sizes[d] - 1).bit_length()) if AXES[str(d)] == "space" else 0 for d in image.dims]
    return 2.0 ** np.array(halvings)


def _dataset(image: xr.DataArray, level: int, factor: np.ndarray, *, labels: bool) -> dict[str, Any]:
    """Where the pixels of a level lie: the mean of several between them."""
    grids = grids_of(image, image.dims)
    origin, step = np.concatenate([grid.origin for grid in grids]), np.concatenate([grid.step for grid in grids])
    placed = {"scale": step * factor, "translation": origin if labels else origin + step * (factor - 1) / 2}
    transformations = [{"type": kind, kind: numbers.tolist()} for kind, numbers in placed.items()]
    return {"path": str(level), "coordinateTransformations": transformations}


def _axis(coordinate: xr.DataArray) -> dict[str, str]:
    name, unit = str(coordinate.name), spelt_out(str(coordinate.attrs.get("units", "")))
    return {"name": name, "type": AXES[name]} | ({"unit": unit} if unit in UNITS and name != "c" else {})
