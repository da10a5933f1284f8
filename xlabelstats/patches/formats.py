"""Image stacks from files: every format is one function that lists the arrays of a path."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.extras import need
from xlabelstats.patches.axes import check_axes, letters_of
from xlabelstats.patches.stack import XarrayImageStack
from xlabelstats.placement import MARKS

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"

# Attributes by which arrays name others that are no images, such as coordinates of two dims.
NAMING = ("coordinates", "bounds", "climatology", "grid_mapping")

# Attributes that say that what is stored is not what is meant, the latter only in arrays of integers.
PACKING = ("scale_factor", "add_offset", "_Unsigned")
FILLING = ("_FillValue", "missing_value")


def load_image_stacks(source: Any, axes: str | None = None) -> list[XarrayImageStack]:
    """Image stacks of arrays in memory and in files, one for each array.

    Parameters
    ----------
    source : DataArray, Dataset, DataTree, str, PathLike, or sequence of these
        Arrays; trees of one image at several scales, of which the finest is taken; or paths of:

        - Zarr: an array, or all arrays of a group, at any depth;
        - OME-Zarr: of every image its finest scale, without its labels;
        - HDF5, and netCDF4, which is HDF5: all data sets of the file, at any depth.

        A path may be a pattern such as ``"plates/*.zarr"``, and may end in ``#name``, the name of an array or
        a group in the file: ``"plate.zarr#well/labels/nuclei"``.  Zarr may be a URL.
    axes : str, optional
        A letter of ``STCZYX`` for every dim, the same for all arrays.  By default they are found as
        `XarrayImageStack` does, from the names of dims that xarray, Zarr, OME-Zarr, HDF5 and netCDF4 give.

    Returns
    -------
    list of XarrayImageStack
        In the order given; of one pattern or file, sorted by name.  The ``source`` of an array in a file is
        ``file#name``, from which it can be loaded again; for a file that is one array, it is the file.  Arrays that
        cannot be images, with fewer than two dims or without numbers, are left out.  So are coordinates, bounds and
        grid mappings that other arrays name in their attributes.

    Raises
    ------
    FileNotFoundError
        Nothing exists at a path, or no file fits a pattern.
    ValueError
        A path has no known format, or holds no image; dims have no names, or unknown ones, and ``axes`` is not
        given; ``axes`` does not fit; a file has nothing of the name behind ``#``; or an array in a file is packed,
        by ``scale_factor``, ``add_offset`` or a fill value of integers, which xarray decodes.
    TypeError
        ``source`` is none of these.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import zarr
    >>> from xlabelstats.patches import load_image_stacks
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/plate.zarr"
    ...     for name in ("first", "second"):
    ...         zeros = np.zeros((2, 32, 32))
    ...         array = zarr.create_array(path, name=name, data=zeros, dimension_names=("c", "y", "x"))
    ...     stacks = load_image_stacks(path)
    ...     print([stack.source.removeprefix(folder) for stack in stacks], stacks[0].data_shape)
    ['/plate.zarr#first', '/plate.zarr#second'] (1, 2, 32, 32)
    """
    return list(_stacks(source, axes))


def _stacks(source: Any, axes: str | None) -> Iterator[XarrayImageStack]:
    if isinstance(source, xr.DataArray | xr.DataTree):
        yield XarrayImageStack(source, axes)
    elif isinstance(source, xr.Dataset):
        named = _named("", source.attrs, *(variable.attrs for variable in source.variables.values()))
        arrays = {name: a for name, a in source.data_vars.items() if name not in named and _may_be_image(a)}
        if not arrays:
            raise ValueError(f"the Dataset holds no image, an array of numbers with two dims or more: {list(source)}")
        for name, array in arrays.items():
            yield XarrayImageStack(array, _letters(array, array.dims, axes, f"dataset[{name!r}]", len(arrays)))
    elif isinstance(source, str | os.PathLike):
        for path, inside in _paths(os.fspath(source)):
            yield from _stacks_of_file(path, inside, axes)
    elif isinstance(source, Iterable) and not isinstance(source, bytes | np.ndarray | Mapping):
        for each in source:
            yield from _stacks(each, axes)
    else:
        raise TypeError(
            "image stacks come from a DataArray, a Dataset, a DataTree, a path, or a sequence of these, "
            f"not {type(source).__name__}; for an array without named dims there is XarrayImageStack(array, axes)"
        )


@dataclass(frozen=True)
class Found:
    """An array in a file: its name there, the names of its dims, where it has them, and its attributes.

    Named are the arrays that its attributes, and those of its group, tell to be no images.
    """

    name: str
    array: Any
    dims: tuple[str, ...] | None
    attrs: Mapping[str, Any]
    named: set[str] = field(default_factory=set)


def _stacks_of_file(path: str, inside: str, axes: str | None) -> Iterator[XarrayImageStack]:
    arrays = next(
        (found for found in (list_arrays(path, inside) for list_arrays in FORMATS) if found is not None), None
    )
    if arrays is None:
        raise ValueError(f"{path} is neither Zarr nor HDF5; open it as a DataArray, and give that")
    named = set().union(*(found.named for found in arrays))
    images = [found for found in arrays if _may_be_image(found.array) and found.name not in named]
    if not images:
        names = ", ".join(found.name for found in arrays) or "no arrays"
        raise ValueError(f"{_source(path, inside)} holds no image, an array of numbers with two dims or more: {names}")
    for found in images:
        where = _source(path, found.name)
        if axes is None and found.dims is None:
            raise ValueError(f"{where}, of shape {found.array.shape}, does not name its dims; say what they are: axes=")
        _check_not_packed(found, where)
        letters = _letters(found.array, found.dims or (), axes, where, len(images))
        yield XarrayImageStack(found.array, letters, source=where)


def _letters(array: Any, dims: Sequence[Hashable], axes: str | None, name: str, number: int) -> str:
    """The letters of one of a number of arrays, by the axes that are given, or else by its dims."""
    what = name if number == 1 else f"{name}, one of {number} arrays that can be loaded alone, by such a name,"
    return letters_of(dims, what) if axes is None else check_axes(axes, len(array.shape), what)


def zarr_arrays(path: str, inside: str) -> list[Found] | None:
    """The arrays of a Zarr store, or of a part of it; None if it is none."""
    if "://" not in path and not any((Path(path) / mark).exists() for mark in MARKS):
        return None
    import zarr

    # In a string zarr takes what follows "#" or "?" for no part of the path.
    node: Any = zarr.open(path if "://" in path else Path(path), mode="r")
    if not inside:
        return list(_walk_zarr(node, ""))
    # Nothing lies in an array, and a group finds nothing below one.
    if not isinstance(node, zarr.Group) or inside not in node:
        raise ValueError(f"{path} holds nothing of the name {inside!r}")
    parent, _, name = inside.rpartition("/")
    above = node[parent] if parent else node
    node = node[inside]
    if isinstance(node, zarr.Array):
        # A scale of an OME-Zarr image, which need not be the finest.
        return [Found(inside, node, _dims_of_zarr(node) or _scales(above).get(name), _attrs_of_zarr(node))]
    return list(_walk_zarr(node, inside, labels=True))


def hdf5_arrays(path: str, inside: str) -> list[Found] | None:
    """The data sets of an HDF5 file, or of a part of it; None if it is none."""
    if not Path(path).is_file() or not _is_hdf5(path):
        return None
    h5py = need("h5py", "hdf5", f"reading {path}")
    found: dict[str, Any] = {}

    def visit(name: str, node: Any) -> None:
        # A data set that is empty has no shape.
        if isinstance(node, h5py.Dataset) and node.shape is not None:
            full = node.name.lstrip("/")
            attrs = dict(node.attrs)
            named = _named(full.rpartition("/")[0], attrs, node.parent.attrs) - {inside}
            found[full] = Found(full, node, _dims_of_hdf5(node), attrs, named)

    # It stays open as long as its data sets are in use.
    file = h5py.File(path, "r")
    if inside and inside not in file:
        raise ValueError(f"{path} holds nothing of the name {inside!r}")
    node = file[inside or "/"]
    if isinstance(node, h5py.Dataset):
        visit(inside, node)
    else:
        node.visititems(visit)
    return [found[name] for name in sorted(found)]


# The formats that are known, each a function of a path and the name of a part of the file, or "".
FORMATS: tuple[Callable[[str, str], list[Found] | None], ...] = (zarr_arrays, hdf5_arrays)


def _walk_zarr(node: Any, name: str, labels: bool = False) -> Iterator[Found]:
    """The arrays below a node, sorted by name; of a multiscale image the finest, and no labels unless asked for."""
    import zarr

    if isinstance(node, zarr.Array):
        yield Found(name, node, _dims_of_zarr(node), _attrs_of_zarr(node))
        return
    scales = _scales(node)
    if scales:
        finest, dims = next(iter(scales.items()))
        if labels or "image-label" not in _ome(node):
            array = node[finest]
            yield Found(_join(name, finest), array, dims or _dims_of_zarr(array), _attrs_of_zarr(array))
        return
    for part, child in sorted(node.members()):
        for found in _walk_zarr(child, _join(name, part)):
            direct = isinstance(child, zarr.Array)
            yield replace(found, named=_named(name, found.attrs, node.attrs)) if direct else found


def _scales(group: Any) -> dict[str, tuple[str, ...] | None]:
    """The scales of an OME-Zarr image, finest first, with the names of their dims; none for other groups."""
    if not hasattr(group, "members"):
        return {}
    found: dict[str, tuple[str, ...] | None] = {}
    for image in _ome(group).get("multiscales", []):
        # Version 0.3 has plain names, those before it none, as their dims are always these.
        axes = image.get("axes", list("tczyx"))
        dims = tuple(axis["name"] if isinstance(axis, dict) else axis for axis in axes)
        found |= {scale["path"]: dims for scale in image["datasets"]}
    return found


def _ome(group: Any) -> dict[str, Any]:
    """What OME-Zarr says of a group: below a key of its own since version 0.5."""
    attributes = group.attrs.asdict()
    return attributes.get("ome", attributes)


def _dims_of_zarr(array: Any) -> tuple[str, ...] | None:
    """The names of dims, as Zarr 3 has them, or as xarray writes them to Zarr 2."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    return None if names is None or None in names else tuple(names)


def _attrs_of_zarr(array: Any) -> dict[str, Any]:
    """The attributes; in Zarr 2 xarray takes the fill value for one, where it is not that of any new array."""
    attrs = array.attrs.asdict()
    if array.metadata.zarr_format == 2 and "_ARRAY_DIMENSIONS" in attrs and array.fill_value:
        attrs["_FillValue"] = array.fill_value
    return attrs


def _named(group: str, *attributes: Mapping[str, Any]) -> set[str]:
    """The full names of arrays that are coordinates, bounds or grid mappings of arrays in a group, by their attrs."""
    values = [attrs[key] for attrs in attributes for key in NAMING if key in attrs]
    # HDF5 has strings of bytes too.
    texts = [value.decode() if isinstance(value, bytes) else value for value in values]
    # A grid mapping may be followed by a colon and the coordinates that it is for.
    return {_join(group, word.rstrip(":")) for text in texts if isinstance(text, str) for word in text.split()}


def _check_not_packed(found: Found, where: str) -> None:
    """Complain about an array whose numbers are to be decoded before they are used."""
    kinds = (*PACKING, *FILLING) if np.dtype(found.array.dtype).kind in "iu" else PACKING
    packing = [f"{kind}={found.attrs[kind]}" for kind in kinds if kind in found.attrs]
    if packing:
        raise ValueError(
            f"{where} is packed, by the attributes {', '.join(packing)}, and its numbers must be decoded; "
            "open it with xarray, which does this, and give that DataArray"
        )


def _dims_of_hdf5(dataset: Any) -> tuple[str, ...] | None:
    """The labels of dims, or, as in netCDF4, the names of their scales."""
    names = [dim.label or (dim[0].name.rpartition("/")[2] if len(dim) else "") for dim in dataset.dims]
    return tuple(names) if names and all(names) else None


def _paths(source: str) -> list[tuple[str, str]]:
    """The paths that a user means, and the part of the files that is asked for, or ""."""
    if "://" in source or os.path.exists(source):
        path, _, inside = source.partition("#") if "://" in source else (source, "", "")
        return [(path, inside.strip("/"))]
    path, _, inside = source.rpartition("#") if "#" in source else (source, "", "")
    found = [path] if os.path.exists(path) else sorted(glob.glob(path, recursive=True))
    if not found:
        raise FileNotFoundError(f"there is nothing at {path}")
    return [(each, inside.strip("/")) for each in found]


def _source(path: str, name: str) -> str:
    return f"{path}#{name}" if name else path


def _join(parent: str, name: str) -> str:
    return f"{parent}/{name}" if parent else name


def _may_be_image(array: Any) -> bool:
    return len(array.shape) >= 2 and np.dtype(array.dtype).kind in "biuf"


def _is_hdf5(path: str) -> bool:
    """Whether HDF5's signature is at the beginning, or, after a block of the user's own, at 512, 1024, 2048, ..."""
    at, size = 0, os.path.getsize(path)
    with open(path, "rb") as file:
        while at < size:
            file.seek(at)
            if file.read(len(HDF5_SIGNATURE)) == HDF5_SIGNATURE:
                return True
            at = max(2 * at, 512)
    return False
