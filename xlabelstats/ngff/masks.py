"""Masks as label images below the image of an OME-Zarr."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.cautions import caution
from xlabelstats.extras import need
from xlabelstats.grid import regular_grid
from xlabelstats.inputs import check_is_mask, check_on_host
from xlabelstats.ngff.groups import LABELS, addition, image_in
from xlabelstats.ngff.reading import at_level, on_same_pixels, placement_at
from xlabelstats.units import spelt_out

IRREGULAR = "OME-Zarr places pixels by a scale and a translation alone"


def write_mask(mask: xr.DataArray, path: str | os.PathLike[str], label: str, *, overwrite: bool = False) -> None:
    """Write a mask below an image; see `LabelsAccessor.to_ome_zarr`."""
    need("ome_zarr", "pipeline", "storing a mask as OME-Zarr")
    from xlabelstats.pipeline.cache.images import Layout, is_image, write_image

    check_is_mask(mask)
    check_on_host("to_ome_zarr", mask=mask)
    if not is_image(mask) or "c" in mask.dims:
        raise ValueError(
            "an OME-Zarr holds masks with the dims y and x, and maybe t and z, of a pixel or more; this one has "
            f"{dict(mask.sizes)}. Rename or choose: mask.rename(...), mask.isel(...)"
        )
    with addition(path, LABELS, label, overwrite, mask.nbytes) as new:
        image = image_in(new.image, "it")
        pixels = [at_level(new.image, image, level, "it") for level in range(len(image["datasets"]))]
        placed = _placed(mask, pixels[0])
        layout = Layout(multiscale=len(pixels), ome_version=new.version, is_label=True)
        write_image(placed, new.group, layout, label, "../../", _kept_as_in(placed, image, pixels))


def _placed(mask: xr.DataArray, image: xr.DataArray) -> xr.DataArray:
    """The mask with coordinates, its own or those of the image."""
    for dim in mask.dims:
        if dim not in image.dims:
            raise ValueError(
                f"the mask has the dim {dim!r}, which the image in the OME-Zarr lacks; it has {image.dims}"
            )
        if dim in mask.coords:
            continue
        if mask.sizes[dim] != image.sizes[dim]:
            raise ValueError(
                f"the mask has {mask.sizes[dim]} pixels along {dim!r} and the image in the OME-Zarr "
                f"{image.sizes[dim]}, so where they lie is not known; give the mask a coordinate: "
                f"mask.assign_coords({dim}=...)"
            )
        if dim in image.coords:
            mask = mask.assign_coords({dim: image[dim]})
    step = regular_grid(mask, IRREGULAR).step
    if (step < 0).any():
        dim = mask.dims[int(np.argmin(step))]
        raise ValueError(
            f"the coordinate {dim!r} falls, and the scale of an OME-Zarr is positive; turn the mask round: "
            f"mask.isel({dim}=slice(None, None, -1))"
        )
    for dim in mask.dims:
        if dim in mask.coords:
            _check_place(mask[dim], image)
    return mask


def _check_place(mask: xr.DataArray, image: xr.DataArray) -> None:
    """Complain about a coordinate that does not compare with the image's, and warn of one that lies elsewhere."""
    dim = mask.dims[0]
    unit = str(mask.attrs.get("units", ""))
    if dim not in image.coords:
        if unit and spelt_out(unit) not in ("pixel", "pixels", "px"):
            raise ValueError(
                f"the mask has the coordinate {dim!r} in {unit!r}, and the image in the OME-Zarr has no pixel size, so "
                f"where the mask lies in it is not known. If both have the same pixels: mask.drop_vars({dim!r})"
            )
        return
    of_image = str(image[dim].attrs.get("units", ""))
    if unit and of_image and spelt_out(unit) != spelt_out(of_image):
        raise ValueError(
            f"the coordinate {dim!r} of the mask is in {unit!r}, and that of the image in the OME-Zarr in "
            f"{of_image!r}; give the mask the same units: mask.assign_coords({dim}=...)"
        )
    ours, theirs = mask.values, image[dim].values
    if ours.size == theirs.size > 1 and not on_same_pixels(ours, theirs):
        caution(
            f"the mask has as many pixels along {dim!r} as the image in the OME-Zarr, but they lie elsewhere: from "
            f"{ours[0]:g} to {ours[-1]:g}, and those of the image from {theirs[0]:g} to {theirs[-1]:g}. If they are "
            f"the same pixels: mask.drop_vars({dim!r})"
        )


def _kept_as_in(
    mask: xr.DataArray, image: Mapping[str, Any], pixels: Sequence[xr.DataArray]
) -> list[dict[Hashable, slice]] | None:
    """Which pixels of every level the next one keeps, so that it has the pixels of that level of the image.

    None for a mask of other sizes than the image, and where the scales of the image do not go with its sizes.
    """
    if any(pixels[0].sizes[dim] != size for dim, size in mask.sizes.items()):
        return None
    names = [axis["name"] for axis in image["axes"]]
    steps = [dict(zip(names, placement_at(image, level, "it")[0], strict=True)) for level in range(len(pixels))]
    kept = []
    for level, (below, above) in enumerate(pairwise(steps), 1):
        every = {dim: max(round(above[dim] / below[dim]), 1) for dim in mask.dims}
        if any(abs(n * pixels[level].sizes[dim] - pixels[level - 1].sizes[dim]) >= n for dim, n in every.items()):
            return None
        kept.append({dim: slice(0, n * pixels[level].sizes[dim], n) for dim, n in every.items()})
    return kept
