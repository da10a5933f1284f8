"""Elements of SpatialData objects: image and labels on one grid, and tables that annotate labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xlabelstats.multiscale import as_array, at_scale
from xlabelstats.names import LABEL, check_known
from xlabelstats.resampling import check_method, resampled
from xlabelstats.tables import CENTROIDS, to_anndata

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

# Intrinsic coordinates are such that pixel i covers [i, i + 1).
MIDDLE = 0.5

# Pixels of two grids that are no further apart than this part of a pixel are the same.
SAME = 1e-3


@dataclass(frozen=True)
class PlacedMask:
    """The pixels of a labels element, and where they lie.

    Attributes
    ----------
    mask : DataArray
        Without coordinates, in place of which there is the transformation.
    affine : array (axis + 1, axis + 1)
        From intrinsic coordinates to the chosen coordinate system, both (x, y[, z]).
    """

    mask: xr.DataArray
    affine: np.ndarray

    def place(self, pixels: np.ndarray) -> np.ndarray:
        """Positions (label, axis) in the coordinate system, of those in pixels, both (x, y[, z])."""
        return _transform(self.affine, pixels + MIDDLE)


@dataclass(frozen=True)
class Annotation:
    """A table of a SpatialData object that annotates a labels element, there already or not yet."""

    sdata: SpatialData
    name: str
    labels_name: str
    instance_key: str
    region_key: str
    overwrite: bool

    def check_new(self) -> None:
        """Complain if there cannot be a new table of this name."""
        from spatialdata import sanitize_name

        if self.name in self.sdata.tables:
            if not self.overwrite:
                raise ValueError(f"there is a table {self.name!r} already; overwrite=True replaces it")
        elif self.name in self.sdata:
            raise ValueError(f"{self.name!r} is an element that is not a table; choose another table_name")
        elif self.name != sanitize_name(self.name):
            raise ValueError(
                f"{self.name!r} cannot be the name of a table in SpatialData; {sanitize_name(self.name)!r} can"
            )

    def check_extension(self, obs: Iterable[str] = (), obsm: Iterable[str] = (), obsp: Iterable[str] = ()) -> None:
        """Complain if there is a table of this name that annotates something else, or has such entries already."""
        from spatialdata import sanitize_name

        for name in obsm:
            if name != sanitize_name(name):
                raise ValueError(f"SpatialData allows no key {name!r} in obsm; {sanitize_name(name)!r} can be one")
        if self.name not in self.sdata.tables:
            self.check_new()
            return
        table = self.sdata.tables[self.name]
        regions = np.atleast_1d(self._keys(table).get("region", [])).tolist()
        if regions != [self.labels_name]:
            raise ValueError(
                f"the table {self.name!r} annotates {', '.join(map(repr, regions)) or 'nothing'}, "
                f"not {self.labels_name!r} alone; choose another table_name for a new one"
            )
        self._check_free(obs, table.obs, "obs")
        self._check_free(obsm, table.obsm, "obsm")
        self._check_free(obsp, table.obsp, "obsp")

    def check_options(self, options: dict[str, Any]) -> None:
        """Complain about options by which a row would be no label, or whose results no table has columns for."""
        for name in ("per", "weights"):
            if options.get(name) is not None:
                raise ValueError(
                    f"a table annotates every label once, without {name}=; measure the elements as xarray: "
                    f"image.labels.measure(mask, ..., {name}=...)"
                )

    def only_its_labels(self, mask: xr.DataArray, options: dict[str, Any]) -> dict[str, Any]:
        """Options that keep from measuring labels that the table has no row for."""
        if self.name not in self.sdata.tables or options.get("labels") is not None:
            return options
        ids = mask.labels.ids(background=options.get("background", False))
        rows = self.instances(self.sdata.tables[self.name])
        kept = ids[np.isin(ids, rows, kind="sort")]
        if rows.size and not kept.size:
            raise ValueError(f"no instance of the table {self.name!r} is a label of {self.labels_name!r}")
        return options if kept.size == ids.size else {**options, "labels": kept}

    def add(self, placed: PlacedMask, result: xr.Dataset, X: str | None, **naming: Any) -> AnnData:
        """Make a table of a result, with centroids, put it into the SpatialData object and return it.

        ``naming`` is ``names`` and ``compartment`` of `to_anndata`.
        """
        import pandas as pd
        from spatialdata.models import TableModel

        if not result.sizes[LABEL]:
            raise ValueError(
                f"the labels element {self.labels_name!r} has no labels, and a table without rows annotates nothing"
            )
        centroids = placed.mask.labels.center_of_mass(units="pixel", labels=result[LABEL].to_numpy())
        table = _valid(to_anndata(result, X, centroids=centroids, instance_key=self.instance_key, **naming))
        table.obsm[CENTROIDS] = placed.place(table.obsm[CENTROIDS])
        if self.region_key in table.obs:
            raise ValueError(f"{self.region_key!r} is a column of the result; choose another region_key")
        table.obs[self.region_key] = pd.Categorical([self.labels_name] * table.n_obs)
        table = TableModel.parse(
            table, region=self.labels_name, region_key=self.region_key, instance_key=self.instance_key
        )
        # Removed first, since SpatialData warns of what is replaced, which was asked for.
        if self.name in self.sdata.tables:
            del self.sdata.tables[self.name]
        self.sdata.tables[self.name] = table
        return table

    def extend(self, placed: PlacedMask, result: xr.Dataset) -> AnnData:
        """Add what a result holds to the table by label; to a new table if there is none."""
        if self.name not in self.sdata.tables:
            return self.add(placed, result, None)
        import pandas as pd

        table = self.sdata.tables[self.name]
        found = _valid(to_anndata(result, None))
        columns = found.obs.drop(columns=LABEL)
        self._check_free(columns, table.obs, "obs")
        rows = pd.Index(found.obs[LABEL]).get_indexer(self.instances(table))
        for name, values in columns.items():
            table.obs[name] = _take(values.to_numpy(), rows)
        for name, values in found.obsm.items():
            if isinstance(values, pd.DataFrame):
                taken = _take(values.to_numpy(), rows)
                table.obsm[name] = pd.DataFrame(taken, index=table.obs_names, columns=values.columns)
            else:
                table.obsm[name] = _take(values, rows)
        return table

    def _check_free(self, names: Iterable[str], taken: Any, where: str) -> None:
        there = [name for name in names if name in taken]
        if there and not self.overwrite:
            raise ValueError(f"the table {self.name!r} has {where}[{there[0]!r}] already; overwrite=True replaces it")

    def instances(self, table: AnnData) -> np.ndarray:
        """The label of every row of the table."""
        return table.obs[self._keys(table)["instance_key"]].to_numpy()

    def _keys(self, table: AnnData) -> dict[str, Any]:
        """What the table annotates, and the names of its columns that say so."""
        from spatialdata.models import TableModel

        return table.uns.get(TableModel.ATTRS_KEY, {})


def find_elements(
    sdata: SpatialData,
    image_name: str | None,
    labels_name: str,
    to_coordinate_system: str,
    scale: str | None,
    align: str | None = None,
) -> tuple[Any, PlacedMask]:
    """The image, if one is named, and the grid of the labels that it shares, or why it does not.

    With ``align`` the labels come on the image's grid.
    """
    check_known([labels_name], sdata.labels, "labels element")
    if image_name is not None:
        check_known([image_name], sdata.images, "image element")
    given = [sdata.labels[labels_name], *([] if image_name is None else [sdata.images[image_name]])]
    if scale is not None and not any(isinstance(element, xr.DataTree) for element in given):
        raise ValueError(f"scale={scale!r} chooses from several scales, and the elements have only one")
    mask = array_at(sdata.labels[labels_name], scale)
    axes = tuple(axis for axis in ("x", "y", "z") if axis in mask.dims)
    affine = affine_of(mask, labels_name, to_coordinate_system, axes)
    placed = PlacedMask(without_coords(mask, axes), affine)
    check_method(align, image_name is not None)
    if image_name is None:
        return None, placed
    image = array_at(sdata.images[image_name], scale)
    of_image = affine_of(image, image_name, to_coordinate_system, axes)
    apart = _unequal_sizes(image, mask) or _displacement(of_image, placed)
    if apart and align is not None:
        image = without_coords(image, axes)
        return image, PlacedMask(_on_grid_of(image, of_image, placed, align, labels_name), of_image)
    if apart:
        raise ValueError(
            f"the image {image_name!r} and the labels {labels_name!r} are not on one grid: {apart}. "
            "Bring both to one by spatialdata.rasterize, with the same axes, corners, coordinate system and width for "
            "each and return_regions_as_labels=True for the labels; or, where they differ by scale and translation, "
            "give align='nearest'"
        )
    return without_coords(image, axes), placed


def array_at(element: Any, scale: str | None) -> xr.DataArray:
    """The array of an element: that of the scale, the finest, or the only one."""
    return at_scale(element, scale) if scale is not None and isinstance(element, xr.DataTree) else as_array(element)


def affine_of(element: Any, name: str, to_coordinate_system: str, axes: tuple[str, ...]) -> np.ndarray:
    """The matrix from the intrinsic coordinates of an element to a coordinate system."""
    from spatialdata.transformations import get_transformation

    known = get_transformation(element, get_all=True)
    if to_coordinate_system not in known:
        raise ValueError(
            f"{name!r} has no transformation to the coordinate system {to_coordinate_system!r}; "
            f"it has: {', '.join(known)}"
        )
    return known[to_coordinate_system].to_affine_matrix(axes, axes)


def _unequal_sizes(image: xr.DataArray, mask: xr.DataArray) -> str:
    unequal = [dim for dim in mask.dims if image.sizes.get(dim) != mask.sizes[dim]]
    return "; ".join(
        f"{dim!r} is {image.sizes.get(dim, 'not there')} in the image and {mask.sizes[dim]} in the labels"
        for dim in unequal
    )


def _displacement(affine: np.ndarray, placed: PlacedMask) -> str:
    """How far the corners of an image lie from those of the labels, in pixels of the latter, if they do."""
    sizes = [placed.mask.sizes[axis] for axis in ("x", "y", "z") if axis in placed.mask.dims]
    corners = np.array(list(product(*((0, size) for size in sizes))), np.float64)
    to_pixels = np.linalg.inv(placed.affine) @ affine
    distance = np.abs(_transform(to_pixels, corners) - corners).max()
    return "" if distance <= SAME else f"their transformations place pixels up to {distance:.4g} pixels apart"


def _on_grid_of(
    image: xr.DataArray, of_image: np.ndarray, placed: PlacedMask, align: str, labels_name: str
) -> xr.DataArray:
    """The labels on the grid of an image that differs by scale and translation, or why it does not."""
    axes = tuple(axis for axis in ("x", "y", "z") if axis in placed.mask.dims)
    # From pixels of the image to those of the labels; a turn of both alike is none.
    between = np.linalg.inv(placed.affine) @ of_image
    scale, shift = between.diagonal()[:-1], between[:-1, -1]
    sizes = [image.sizes.get(axis, 1) for axis in axes]
    off = np.abs(between[:-1, :-1] - np.diag(scale)) @ sizes
    if off.max(initial=0) > SAME:
        raise ValueError(
            f"align='nearest' is for grids that differ by scale and translation, and the transformations of the image "
            f"and of the labels {labels_name!r} differ by a rotation or shear: it displaces pixels by up to "
            f"{off.max():.4g} pixels of the labels. Bring both to one grid by spatialdata.rasterize"
        )
    places = {axis: np.arange(placed.mask.sizes[axis]) + MIDDLE for axis in axes}
    onto = {
        axis: factor * (np.arange(size) + MIDDLE) + offset
        for axis, size, factor, offset in zip(axes, sizes, scale, shift, strict=True)
        if axis in image.dims
    }
    found = resampled(image.assign_coords(onto), placed.mask.assign_coords(places), align)
    return without_coords(found, axes)


def _transform(affine: np.ndarray, positions: np.ndarray) -> np.ndarray:
    return positions @ affine[:-1, :-1].T + affine[:-1, -1]


def without_coords(array: xr.DataArray, axes: tuple[str, ...]) -> xr.DataArray:
    """The array without the coordinates of some axes."""
    return array.drop_vars([axis for axis in axes if axis in array.coords])


def _valid(table: AnnData) -> AnnData:
    """The table with names of columns that SpatialData can write: those of channels may not be."""
    import pandas as pd

    table.obs.columns = _valid_names(table.obs.columns)
    for values in table.obsm.values():
        if isinstance(values, pd.DataFrame):
            values.columns = _valid_names(values.columns)
    return table


def _valid_names(names: Iterable[str]) -> list[str]:
    from spatialdata import sanitize_name

    valid: dict[str, str] = {}
    for name in names:
        other = valid.setdefault(sanitize_name(name, is_dataframe_column=True), name)
        if other != name:
            raise ValueError(
                f"{other!r} and {name!r} differ only in characters that the columns of a SpatialData table cannot "
                "have; rename the channels"
            )
    return list(valid)


def _take(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The given rows, NaN where they are -1."""
    if not (rows < 0).any():
        return values[rows]
    taken = np.full((rows.size, *values.shape[1:]), np.nan, np.result_type(values.dtype, np.float16))
    taken[rows >= 0] = values[rows[rows >= 0]]
    return taken
