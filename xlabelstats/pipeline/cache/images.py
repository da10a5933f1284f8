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
from xlabelstats.names import check_known
from xlabelstats.pipeline.cache import levels
from xlabelstats.pipeline.cache.arrays import (
    COMPRESSORS,
    Source,
    check_chunk_option,
    create,
    open_array,
    storage_chunks,
    words_of,
    write,
)
from xlabelstats.pipeline.cache.datasets import read_dataset, write_dataset
from xlabelstats.pipeline.cache.folders import zarr_store
from xlabelstats.pipeline.cache.values import decode, encode
from xlabelstats.units import UNITS, spelt_out

if TYPE_CHECKING:
    from upath import UPath

STORE, COORDS = "image.ome.zarr", "coords.zarr"

# Axes in the order that OME-Zarr wants them in, with their types.
AXES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}

VERSIONS = ("0.5", "0.4")


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
        levels_ = self.multiscale
        if levels_ is not None and (isinstance(levels_, bool) or not isinstance(levels_, int) or levels_ < 1):
            raise ValueError(f"multiscale is the number of levels, 1 or more, not {levels_!r}")
        if self.ome_version is not None and self.ome_version not in VERSIONS:
            raise ValueError(f"ome_version is one of {', '.join(map(repr, VERSIONS))}, not {self.ome_version!r}")
        if isinstance(self.compressor, str) and self.compressor != "auto":
            check_known([self.compressor], COMPRESSORS, "compressor")

    @property
    def asked(self) -> list[str]:
        """Which of the settings for images alone were given."""
        return [name for name in ("multiscale", "ome_version") if getattr(self, name) is not None]

    def over(self, about: Mapping[str, Any]) -> Layout:
        """The layout, where it says nothing that of a stored image."""
        version = self.ome_version or about["ome_version"]
        compressor = self.compressor
        if compressor == "auto" and version == about["ome_version"]:
            compressor = about["compressor"]
        return Layout(
            self.multiscale or about["multiscale"],
            self.chunks if self.chunks is not None else dict(zip(about["dims"], about["stored_chunks"], strict=True)),
            compressor,
            version,
            about["labels"] if self.is_label is None else self.is_label,
        )

    def differs(self, about: Mapping[str, Any], image: xr.DataArray) -> bool:
        """Whether an image is stored in another layout than asked for."""
        check_chunk_option(self.chunks if self.chunks is not None else 1, image.dims)
        wanted = self.over(about)
        pyramid = about["multiscale"] > 1
        return (
            wanted.multiscale != about["multiscale"]
            or list(storage_chunks(image.data, image.dims, wanted.chunks)) != about["stored_chunks"]
            or words_of(wanted.compressor) != about["compressor"]
            or wanted.ome_version != about["ome_version"]
            or (pyramid and wanted.is_label != about["labels"])
        )


def is_image(array: xr.DataArray) -> bool:
    """Whether OME-Zarr can hold an array: numbers over dims t, c, z, y and x, of which y and x must be there.

    True and False are stored as 1 and 0.
    """
    dims = set(map(str, array.dims))
    return dims <= set(AXES) and {"y", "x"} <= dims and array.dtype.kind in "biuf" and all(array.shape)


def write_image(image: xr.DataArray, folder: UPath, layout: Layout, name: str) -> dict[str, Any]:
    """Write a lazy image; what is given back, beside what OME-Zarr holds, is needed to read it."""
    writer = _ome_zarr("writer")
    check_chunk_option(layout.chunks if layout.chunks is not None else 1, image.dims)
    layout = replace(
        layout,
        multiscale=layout.multiscale or 1,
        ome_version=layout.ome_version or VERSIONS[0],
        is_label=levels.looks_like_labels(image.dtype) if layout.is_label is None else layout.is_label,
    )
    form = _ome_zarr("format").format_from_version(layout.ome_version)
    about = {
        "name": encode(image.name, "the name of the result"),
        "attrs": encode(image.attrs, "the attrs of the result"),
        "coords": write_dataset(xr.Dataset(coords=image.coords), folder / COORDS) if image.coords else None,
    }
    # OME-Zarr has no dtype for a binary image.
    numbers = image.astype(np.uint8) if image.dtype.kind == "b" else image
    ordered = numbers.transpose(*(dim for dim in AXES if dim in image.dims))
    dims = [str(dim) for dim in ordered.dims]
    chunks = storage_chunks(image.data, image.dims, layout.chunks)
    group = zarr.open_group(zarr_store(folder / STORE, read_only=False), mode="w-", zarr_format=form.zarr_format)
    datasets = _write_levels(group, ordered, layout, [chunks[image.dims.index(dim)] for dim in ordered.dims])
    axes = [_axis(image, dim) for dim in dims]
    writer.write_multiscales_metadata(group, datasets, fmt=form, axes=axes, name=name)
    return {
        **about,
        "dtype": image.dtype.str,
        "dims": [str(dim) for dim in image.dims],
        "chunks": image.chunks,
        "stored_chunks": list(chunks),
        "multiscale": layout.multiscale,
        "levels": len(datasets),
        "compressor": words_of(layout.compressor),
        "ome_version": layout.ome_version,
        "labels": layout.is_label,
    }


def _write_levels(
    group: zarr.Group, image: xr.DataArray, layout: Layout, chunks: Sequence[int]
) -> list[dict[str, Any]]:
    """Write an image, and every further level from the one below; say where their pixels lie."""
    import dask.array as da

    dims = [str(dim) for dim in image.dims]
    origin, step = grid_of(image)
    labels = bool(layout.is_label)
    datasets, array = [], image.data
    for level in range(layout.multiscale or 1):
        if level:
            axes = levels.halved_axes(array.shape, dims)
            if not axes:
                break
            origin, step = levels.placed(origin, step, axes, labels=labels)
            array = levels.halve(da.from_zarr(group[str(level - 1)]), axes, labels=labels)
        sizes = [min(size, whole) for size, whole in zip(chunks, array.shape, strict=True)]
        write(array, create(group, str(level), array, dims, sizes, layout.compressor))
        transformations = [
            {"type": "scale", "scale": step.tolist()},
            {"type": "translation", "translation": origin.tolist()},
        ]
        datasets.append({"path": str(level), "coordinateTransformations": transformations})
    return datasets


def read_image(folder: UPath, about: Mapping[str, Any], source: Source) -> xr.DataArray:
    """Read an image lazily, as it was."""
    dims = about["dims"]
    ordered = [dim for dim in AXES if dim in dims]
    chunks = tuple(tuple(about["chunks"][dims.index(dim)]) for dim in ordered)
    store = zarr_store(folder / STORE, read_only=True)
    data = open_array(store, "0", chunks, about["dtype"], source.array_name(), folder.name)
    coords = read_dataset(folder / COORDS, about["coords"], source).coords if about["coords"] else None
    image = xr.DataArray(data, dims=ordered, attrs=decode(about["attrs"])).transpose(*dims)
    image.name = decode(about["name"])
    return image.assign_coords(coords) if coords is not None else image


def read_levels(folder: UPath, about: Mapping[str, Any], image: xr.DataArray) -> list[Any]:
    """All levels of a stored image as lazy arrays, with the dims in the order of the image."""
    import dask.array as da

    ordered = [dim for dim in AXES if dim in about["dims"]]
    order = [ordered.index(dim) for dim in about["dims"]]
    group = zarr.open_group(zarr_store(folder / STORE, read_only=True), mode="r")
    further = (da.from_zarr(group[str(level)]) for level in range(1, about["levels"]))
    return [image.data, *(each.transpose(order).astype(about["dtype"]) for each in further)]


def grid_of(image: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Origin and step of the pixels along every dim: of the coordinates where these are even numbers, else 0 and 1.

    Those of channels are names, even if they are numbers, such as wavelengths.
    """
    found = [_grid_along(image, dim) for dim in image.dims]
    return np.array([each[0] for each in found], np.float64), np.array([each[1] for each in found], np.float64)


def _grid_along(image: xr.DataArray, dim: Any) -> tuple[float, float]:
    if AXES.get(str(dim)) == "channel":
        return 0.0, 1.0
    try:
        grid = regular_grid(image[dim].reset_coords(drop=True), "")
    except ValueError:
        return 0.0, 1.0
    return float(grid.origin[0]), float(grid.step[0])


def _axis(image: xr.DataArray, dim: str) -> dict[str, str]:
    axis = {"name": dim, "type": AXES[dim]}
    units = str(image[dim].attrs.get("units", "")) if dim in image.coords else ""
    unit = spelt_out(units)
    return {**axis, "unit": unit} if unit in UNITS and axis["type"] != "channel" else axis


def _ome_zarr(module: str) -> Any:
    with warnings.catch_warnings():
        # It uses what it deprecates.
        warnings.simplefilter("ignore", DeprecationWarning)
        return need(f"ome_zarr.{module}", "pipeline", "storing images")
