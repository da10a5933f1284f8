"""Images and label masks of an OME-Zarr as lazy, named arrays."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xlabelstats.cautions import caution
from xlabelstats.names import KIND, LABEL_IMAGE
from xlabelstats.ngff.groups import LABELS, about, image_in, listed_in
from xlabelstats.units import spelt_out

if TYPE_CHECKING:
    import zarr

IMAGE = "image"


def open_ome_zarr(
    path: str | os.PathLike[str] | Any, level: int = 0, *, storage_options: Mapping[str, Any] | None = None
) -> xr.Dataset:
    """Open the image and the label masks of an OME-Zarr as one Dataset, lazily.

    Parameters
    ----------
    path : str, PathLike, UPath or fsspec directory file system
        A folder, or any URL that fsspec knows: an image of version 0.4 or 0.5, or a label image below one, such as
        ``"cells.ome.zarr/labels/nuclei"``.
    level : int, default 0
        Which of the resolutions of the image to open; 0 is the finest.
    storage_options : mapping, optional
        What fsspec needs to reach the URL, such as credentials.

    Returns
    -------
    Dataset
        The variable ``image``, and a variable per label image, under its name, such as ``nuclei``.  If ``path`` is a
        label image, it is the only variable.  Label images have the attribute ``kind="labels"``, so that
        ``field.labels.measure("nuclei", "mean")`` measures ``image`` only.  The dims are the axes: ``t``, ``c``, ``z``,
        ``y``, ``x``.  Arrays are dask arrays with a block per stored chunk.

        Coordinates come from the scale and the translation, with ``units`` in their attributes.  ``c`` has the names of
        the channels, if the file gives them.  An axis about which the file says nothing (scale 1, no translation, no
        unit) has no coordinate.

    Warns
    -----
    UserWarning
        A label image was left out: none of its resolutions has the pixels of the image at this level, its name is
        taken, or it cannot be read.  The warning says how to open it.

    Raises
    ------
    FileNotFoundError
        There is nothing at ``path``.
    ValueError
        It is not an image but, for example, a plate (the message says what to open instead); its version is another; or
        it has no such level.
    ModuleNotFoundError
        A URL needs the extra ``pipeline``.

    Notes
    -----
    Of a label image, the resolution is opened that has as many pixels as the image, if each lies less than half a pixel
    from its pixel in the image.  It gets the coordinates of the image, so that every call takes the two together.  If
    it has an axis ``c`` of one channel, this is dropped.

    Examples
    --------
    >>> import tempfile
    >>> import xlabelstats
    >>> from xlabelstats.pipeline import Cache, gaussian
    >>> image, mask = xlabelstats.datasets.nuclei2d(spacing=0.65)
    >>> folder = tempfile.TemporaryDirectory()
    >>> cache = Cache(folder.name)
    >>> smooth = cache.run("smooth", gaussian, image, sigma=1)
    >>> path = cache.status()["url"][0] + "/image.ome.zarr"
    >>> mask.labels.to_ome_zarr(path, "nuclei")
    >>> field = xlabelstats.open_ome_zarr(path)
    >>> list(field), dict(field.sizes), field["y"].attrs["units"]
    (['image', 'nuclei'], {'y': 512, 'x': 512}, 'micrometer')
    >>> field["image"].labels.mean(field["nuclei"]).sizes["label"]
    125
    >>> folder.cleanup()
    """
    if isinstance(level, bool) or not isinstance(level, int | np.integer):
        raise TypeError(f"level is the number of a resolution, 0 for the finest, not {level!r}")
    group, where = _group_at(path, storage_options)
    image = image_in(group, where)
    of_labels = "image-label" in about(group)
    name = where.rstrip("/").rpartition("/")[2] if of_labels else IMAGE
    array = at_level(group, image, level, where)
    if of_labels:
        # A name such as "y" is that of a coordinate already.
        return _marked(_without_channel(array)).to_dataset(name=LABELS if name in array.dims else name)
    channels = [each.get("label") for each in (about(group).get("omero") or {}).get("channels") or ()]
    if "c" in array.dims and all(channels) and len({*channels}) == array.sizes["c"] == len(channels):
        array = array.assign_coords(c=list(map(str, channels)))
    field = array.to_dataset(name=name)
    for label in listed_in(group, LABELS):
        below = f"{where}/{LABELS}/{label}"
        advice = f"; open it by itself: xlabelstats.open_ome_zarr({below!r})"
        if label in field.variables or label in field.dims:
            caution(f"the label image {label!r} was left out, since that name is taken here{advice}")
            continue
        try:
            levels = _levels_of_labels(group, label, below)
        except ValueError as error:
            caution(f"the label image {label!r} was left out: {error}")
            continue
        masks = [mask for given in levels if (mask := _on_pixels_of(array, given)) is not None]
        if masks:
            field[label] = _marked(masks[0])
        else:
            sizes = levels[0].sizes
            aside = ", elsewhere" if all(array.sizes.get(dim) == size for dim, size in sizes.items()) else ""
            caution(
                f"the label image {label!r} was left out: it has other pixels ({_words(sizes)}{aside}) than the image "
                f"at level {level} ({_words(array.sizes)}){advice}, and measure with align='nearest'"
            )
    return field


def _levels_of_labels(group: zarr.Group, label: str, where: str) -> list[xr.DataArray]:
    """All levels of a label image below an image."""
    below: Any = group.get(f"{LABELS}/{label}")
    if below is None:
        raise ValueError(f"there is nothing at {where}")
    image = image_in(below, where)
    return [_without_channel(at_level(below, image, number, where)) for number in range(len(image["datasets"]))]


def at_level(group: zarr.Group, image: Mapping[str, Any], level: int, where: str) -> xr.DataArray:
    """The pixels of an image at a level, with coordinates along the axes of which something is said."""
    import dask.array as da

    datasets = image["datasets"]
    if not 0 <= level < len(datasets):
        raise ValueError(
            f"{where} has {len(datasets)} levels, 0 to {len(datasets) - 1}; level is one of them, not {level}"
        )
    stored, axes = group[datasets[level]["path"]], image["axes"]
    scale, origin = placement_at(image, level, where)
    array = xr.DataArray(da.from_zarr(stored), dims=[axis["name"] for axis in axes])
    for axis, step, first in zip(axes, scale, origin, strict=True):
        unit = axis.get("unit")
        if axis.get("type") != "channel" and (unit or step != 1 or first != 0):
            values = first + step * np.arange(array.sizes[axis["name"]])
            array = array.assign_coords({axis["name"]: (axis["name"], values, {"units": unit} if unit else {})})
    return array


def placement_at(image: Mapping[str, Any], level: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    """The step and the origin of the pixels at a level, along every axis."""
    axes = image["axes"]
    scale, origin = np.ones(len(axes)), np.zeros(len(axes))
    of_level = image["datasets"][level].get("coordinateTransformations", ())
    for each in (*of_level, *image.get("coordinateTransformations", ())):
        kind = each["type"]
        if kind not in ("scale", "translation", "identity") or "path" in each:
            raise ValueError(
                f"{where} places its pixels by a {kind!r} that is not read; only numbers of scale and translation are"
            )
        if kind == "scale":
            scale, origin = scale * each[kind], origin * each[kind]
        elif kind == "translation":
            origin = origin + each[kind]
    return scale, origin


def _group_at(path: Any, storage_options: Mapping[str, Any] | None) -> tuple[zarr.Group, str]:
    """The Zarr group of a path or URL, to read, and how to say where it is."""
    import zarr
    from zarr.errors import ContainsArrayError
    from zarr.storage import LocalStore

    if isinstance(path, str | Path) and "://" not in str(path) and not storage_options:
        where = Path(path).expanduser().absolute().as_posix()
        store: Any = LocalStore(where)
        # Metadata that was put together may lack a label image that another program has added.
        together: bool | None = False
    else:
        from xlabelstats.pipeline.cache.folders import folder_at, plain_store

        folder = folder_at(path, storage_options or {}, "an OME-Zarr", "")
        where, store, together = str(folder), plain_store(folder), None
    try:
        return zarr.open_group(store.with_read_only(True), mode="r", use_consolidated=together), where
    except (FileNotFoundError, ContainsArrayError, AssertionError):
        # Which one an array raises depends on the version of Zarr.
        raise FileNotFoundError(f"there is no Zarr group at {where}, so no OME-Zarr") from None


def _marked(mask: xr.DataArray) -> xr.DataArray:
    """A mask that says that it is one, so that it is not measured as an image."""
    return mask.assign_attrs({KIND: LABEL_IMAGE})


def _without_channel(mask: xr.DataArray) -> xr.DataArray:
    """A mask without an axis of one channel."""
    return mask.squeeze("c", drop=True) if mask.sizes.get("c") == 1 else mask


def _on_pixels_of(image: xr.DataArray, mask: xr.DataArray) -> xr.DataArray | None:
    """The mask with the coordinates of the image, if every pixel of it is the nearest to that of the image."""
    if any(image.sizes.get(dim) != size for dim, size in mask.sizes.items()):
        return None
    for dim in mask.dims:
        if dim not in mask.coords:
            continue
        theirs = mask[dim]
        if dim not in image.coords:
            # The image says nothing, so it begins at 0, and so does what lies on it.
            if abs(float(theirs[0])) >= abs(float(theirs[-1] - theirs[0])) / max(theirs.size - 1, 1) / 2 > 0:
                return None
            continue
        ours = image[dim]
        units = {spelt_out(each.attrs["units"]) for each in (ours, theirs) if "units" in each.attrs}
        if len(units) > 1 or not on_same_pixels(ours.values, theirs.values):
            return None
    return mask.drop_vars(list(mask.coords)).assign_coords(
        {dim: image[dim] for dim in mask.dims if dim in image.coords}
    )


def on_same_pixels(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether pixels at these positions, as many as ours, lie less than half a pixel from ours."""
    off, size = np.abs(ours - theirs).max(), ours.size
    return size < 2 or bool(off < abs(float(ours[-1] - ours[0])) / (size - 1) / 2)


def _words(sizes: Mapping[Any, int]) -> str:
    return ", ".join(f"{dim}: {size}" for dim, size in sizes.items())
