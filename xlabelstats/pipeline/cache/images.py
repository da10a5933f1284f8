"""Images and label masks as OME-Zarr, with as many levels as asked for."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr

from xlabelstats.extras import need
from xlabelstats.grid import regular_grid
from xlabelstats.pipeline.cache.arrays import Source, create, open_array, storage_chunks, words_of, write
from xlabelstats.pipeline.cache.folders import zarr_store
from xlabelstats.units import UNITS, spelt_out

if TYPE_CHECKING:
    from upath import UPath

STORE = "image.ome.zarr"

# Axes in the order that OME-Zarr wants them in, with their types.
AXES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}

# Versions of OME-Zarr, and those of Zarr that they are on.
VERSIONS = {"0.5": 3, "0.4": 2}

# Integers of this width or more are ids of objects unless said otherwise; images of them are rare.
LABEL_BYTES = 4


@dataclass(frozen=True)
class Layout:
    """How an image is to be stored; None, and "auto" for the compressor, leave it as it is, or as is usual.

    Attributes
    ----------
    multiscale : int
        Number of levels.
    chunks : int, sequence of int or mapping of dim to int
    compressor : str, codec or None
    ome_version : str
    is_label : bool
    """

    multiscale: int | None = None
    chunks: Any = None
    compressor: Any = "auto"
    ome_version: str | None = None
    is_label: bool | None = None

    def __post_init__(self) -> None:
        levels = self.multiscale
        if levels is not None and (isinstance(levels, bool) or not isinstance(levels, int) or levels < 1):
            raise ValueError(f"multiscale is the number of levels, 1 or more, not {levels!r}")
        if self.ome_version is not None and self.ome_version not in VERSIONS:
            raise ValueError(f"ome_version is one of {', '.join(map(repr, VERSIONS))}, not {self.ome_version!r}")
        words_of(self.compressor, VERSIONS[self.ome_version or "0.5"])

    @property
    def asked(self) -> list[str]:
        """Which of the settings for images alone were given."""
        return [name for name in ("multiscale", "ome_version") if getattr(self, name) is not None]

    def over(self, about: Mapping[str, Any]) -> Layout:
        """The layout, where it says nothing that of a stored image."""
        version = self.ome_version or about["ome_version"]
        same = self.compressor == "auto" and version == about["ome_version"]
        return Layout(
            self.multiscale or about["multiscale"],
            self.chunks if self.chunks is not None else dict(zip(about["dims"], about["stored_chunks"], strict=True)),
            about["compressor"] if same else self.compressor,
            version,
            about["labels"] if self.is_label is None else self.is_label,
        )

    def differs(self, about: Mapping[str, Any], image: xr.DataArray) -> bool:
        """Whether an image is stored in another layout than asked for."""
        wanted = self.over(about)
        return (
            wanted.multiscale != about["multiscale"]
            or list(storage_chunks(image.data, image.dims, wanted.chunks)) != about["stored_chunks"]
            or words_of(wanted.compressor, VERSIONS[str(wanted.ome_version)]) != about["compressor"]
            or wanted.ome_version != about["ome_version"]
            or (about["multiscale"] > 1 and wanted.is_label != about["labels"])
        )


def is_image(array: xr.DataArray) -> bool:
    """Whether OME-Zarr can hold an array: numbers over dims t, c, z, y and x, of which y and x must be there.

    True and False are stored as 1 and 0.
    """
    dims = set(map(str, array.dims))
    return dims <= set(AXES) and {"y", "x"} <= dims and array.dtype.kind in "biuf" and all(array.shape)


def looks_like_labels(dtype: np.dtype) -> bool:
    """Whether an image of this dtype is taken for a label mask: bool, or integers of 32 bits and more."""
    return dtype.kind == "b" or (dtype.kind in "iu" and dtype.itemsize >= LABEL_BYTES)


def halved(image: xr.DataArray, *, labels: bool) -> xr.DataArray:
    """An image without coordinates at half its size along z, y and x: the means of pairs, of labels every second pixel.

    Means leave out NaN, and what is beyond the edge.  Those of integers are rounded.
    """
    pairs = {dim: 2 for dim in image.dims if AXES[str(dim)] == "space" and image.sizes[dim] > 1}
    if labels or not pairs:
        return image.isel({dim: slice(None, None, 2) for dim in pairs})
    wide = np.result_type(image.dtype, np.float32)
    means = (image.astype(wide) if image.dtype.kind in "bf" else image).coarsen(pairs, boundary="pad").mean()
    if image.dtype.kind in "iu":
        # The largest of 64 bits is none of the numbers of float64, but beyond it.
        means = means.clip(max=np.nextafter(np.iinfo(image.dtype).max, 0.0))
    return (means if image.dtype.kind == "f" else means.round()).astype(image.dtype)


def pyramid_of(image: xr.DataArray, number: int, is_label: bool | None) -> list[Any]:
    """The levels of an image in memory, made when they are looked at."""
    levels = [xr.DataArray(image.data, dims=image.dims)]
    labels = looks_like_labels(image.dtype) if is_label is None else is_label
    while len(levels) < number and (level := halved(levels[-1], labels=labels)).shape != levels[-1].shape:
        levels.append(level)
    return [level.data for level in levels]


def write_image(image: xr.DataArray, folder: UPath, layout: Layout, name: str) -> dict[str, Any]:
    """Write a lazy image; what is given back, beside what OME-Zarr holds, is needed to read it."""
    writer = _ome_zarr("writer")
    layout = replace(
        layout,
        multiscale=layout.multiscale or 1,
        ome_version=layout.ome_version or "0.5",
        is_label=looks_like_labels(image.dtype) if layout.is_label is None else layout.is_label,
    )
    form = _ome_zarr("format").format_from_version(layout.ome_version)
    # OME-Zarr has no dtype for a binary image.
    numbers = image.astype(np.uint8) if image.dtype.kind == "b" else image
    ordered = numbers.transpose(*(dim for dim in AXES if dim in image.dims))
    chunks = dict(zip(image.dims, storage_chunks(image.data, image.dims, layout.chunks), strict=True))
    group = zarr.open_group(zarr_store(folder / STORE, read_only=False), mode="w-", zarr_format=form.zarr_format)
    datasets = _write_levels(group, ordered, layout, [chunks[dim] for dim in ordered.dims])
    axes = [_axis(image, str(dim)) for dim in ordered.dims]
    writer.write_multiscales_metadata(group, datasets, fmt=form, axes=axes, name=name)
    return {
        "dtype": image.dtype.str,
        "dims": list(map(str, image.dims)),
        "chunks": image.chunks,
        "stored_chunks": list(chunks.values()),
        "multiscale": layout.multiscale,
        "levels": len(datasets),
        "compressor": words_of(layout.compressor, form.zarr_format),
        "ome_version": layout.ome_version,
        "labels": layout.is_label,
    }


def _write_levels(
    group: zarr.Group, image: xr.DataArray, layout: Layout, chunks: Sequence[int]
) -> list[dict[str, Any]]:
    """Write an image, and every further level from the one below; say where their pixels lie."""
    import dask.array as da

    origin, step = grid_of(image)
    datasets: list[dict[str, Any]] = []
    level = xr.DataArray(image.data, dims=image.dims)
    while True:
        path = str(len(datasets))
        sizes = [min(size, whole) for size, whole in zip(chunks, level.shape, strict=True)]
        write([level.data], [create(group, path, level, level.dims, sizes, layout.compressor)])
        transformations = [
            {"type": "scale", "scale": step.tolist()},
            {"type": "translation", "translation": origin.tolist()},
        ]
        datasets.append({"path": path, "coordinateTransformations": transformations})
        below = level.copy(data=da.from_zarr(group[path]))
        level = halved(below, labels=bool(layout.is_label))
        smaller = np.array(level.shape) < below.shape
        if len(datasets) == layout.multiscale or not smaller.any():
            return datasets
        # The mean of two pixels lies between them.
        origin = origin + np.where(smaller & (not layout.is_label), step / 2, 0.0)
        step = np.where(smaller, 2 * step, step)


def read_image(folder: UPath, about: Mapping[str, Any], source: Source) -> xr.Variable:
    """Read an image lazily, as it was."""
    ordered = [dim for dim in AXES if dim in about["dims"]]
    chunks = tuple(tuple(about["chunks"][about["dims"].index(dim)]) for dim in ordered)
    stored: Any = zarr.open_group(zarr_store(folder / STORE, read_only=True), mode="r")["0"]
    data = open_array(stored, chunks, about["dtype"], source.array_name(), folder.name)
    return xr.Variable(ordered, data).transpose(*about["dims"])


def read_levels(folder: UPath, about: Mapping[str, Any], image: xr.DataArray) -> list[Any]:
    """All levels of a stored image as lazy arrays, with the dims in the order of the image."""
    import dask.array as da

    order = [[dim for dim in AXES if dim in about["dims"]].index(dim) for dim in about["dims"]]
    group = zarr.open_group(zarr_store(folder / STORE, read_only=True), mode="r")
    further = (da.from_zarr(group[str(level)]) for level in range(1, about["levels"]))
    return [image.data, *(each.transpose(order).astype(about["dtype"]) for each in further)]


def grid_of(image: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Origin and step of the pixels along every dim: of the coordinates where these are even numbers, else 0 and 1.

    Those of channels are names, even if they are numbers, such as wavelengths.
    """
    origin, step = np.zeros(image.ndim), np.ones(image.ndim)
    for axis, dim in enumerate(image.dims):
        if AXES.get(str(dim)) == "channel":
            continue
        try:
            grid = regular_grid(image[dim].reset_coords(drop=True), "")
        except ValueError:
            continue
        origin[axis], step[axis] = grid.origin[0], grid.step[0]
    return origin, step


def _axis(image: xr.DataArray, dim: str) -> dict[str, str]:
    axis = {"name": dim, "type": AXES[dim]}
    unit = spelt_out(str(image[dim].attrs.get("units", ""))) if dim in image.coords else ""
    return {**axis, "unit": unit} if unit in UNITS and axis["type"] != "channel" else axis


def _ome_zarr(module: str) -> Any:
    with warnings.catch_warnings():
        # It uses what it deprecates.
        warnings.simplefilter("ignore", DeprecationWarning)
        return need(f"ome_zarr.{module}", "pipeline", "storing images")
