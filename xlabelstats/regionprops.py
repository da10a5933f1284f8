"""Region properties that merge across blocks, as one table of names, definitions and formulas.

Names, definitions and conventions are those of scikit-image's ``regionprops_table`` (0.26).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr

from xlabelstats.align import LABEL, align, check_mask, check_pooling, check_taken, data_of, other_coords, share_coords
from xlabelstats.blocks import Column
from xlabelstats.cautions import one_call
from xlabelstats.grid import Grid, check_lengths, given_grid, pixel_grid, regular_grid
from xlabelstats.moments import POWERS, MomentTable, merge_moments, moments_block
from xlabelstats.names import as_names, check_here
from xlabelstats.runs import Array, check_found
from xlabelstats.scan import LabelTable, Wanted, ask_if_swapped, choose_labels, collect, merge_tables, scan_block
from xlabelstats.shapes import Moments, Shape
from xlabelstats.vocabulary import check_measures

Source = Literal["mask", "moments", "weighted", "statistic"]


@dataclass(frozen=True)
class Property:
    """One region property.

    Attributes
    ----------
    summary : str
        Its definition, for the docs.
    source : str
        What it is computed from: the label table of the mask, moments of the mask, moments weighted
        by the image, or a statistic of `aggregate`.
    formula : callable or str
        From `Shape` or `Moments` to the values; the name of the statistic.
    dims : tuple of str
        Dims beside label and the image's own: ``axis``, ``axis_``, ``bound``, ``component``, ``hu``, or
        ``order``, which stands for one per axis.
    power : int
        The power of the coordinate units it comes in; 0 for numbers, and for what mixes several.
    only_2d : bool
        Whether scikit-image, and so this, defines it for 2-D masks only.
    pixels : bool
        Whether it is whole pixels, whatever the units.
    """

    summary: str
    source: Source
    formula: Any
    dims: tuple[str, ...] = ()
    power: int = 0
    only_2d: bool = False
    pixels: bool = False

    @property
    def needs_image(self) -> bool:
        """Whether it is measured in an image."""
        return self.source in ("weighted", "statistic")


PROPERTIES: dict[str, Property] = {
    "num_pixels": Property("number of pixels", "mask", lambda s: s.table.count, pixels=True),
    "area": Property("pixels times the area (volume) of one", "mask", lambda s: s.area, power=-1),
    "bbox": Property(
        "first pixel, and one past the last, along each axis",
        "mask",
        lambda s: np.stack([s.table.low, s.table.high], axis=1),
        ("bound", "axis"),
        pixels=True,
    ),
    "area_bbox": Property("area of the bounding box", "mask", lambda s: s.area_bbox, power=-1),
    "extent": Property("area / area_bbox", "mask", lambda s: s.area / s.area_bbox),
    "centroid": Property("mean position", "mask", lambda s: s.origin + s.table.centroid * s.step, ("axis",), 1),
    "centroid_local": Property(
        "mean position from the first pixel of the bounding box", "mask", lambda s: s.centroid_local, ("axis",), 1
    ),
    "equivalent_diameter_area": Property(
        "(2 * ndim * area / pi)**(1 / ndim): in 2-D the diameter of the circle of the same area",
        "mask",
        lambda s: (2 * s.ndim * s.area / math.pi) ** (1 / s.ndim),
        power=1,
    ),
    "inertia_tensor": Property(
        "trace of the covariance of position times the identity, minus the covariance (divided by n)",
        "mask",
        lambda s: s.inertia_tensor,
        ("axis", "axis_"),
        2,
    ),
    "inertia_tensor_eigvals": Property(
        "eigenvalues of the inertia tensor, largest first",
        "mask",
        lambda s: s.inertia_tensor_eigvals,
        ("component",),
        2,
    ),
    "axis_major_length": Property(
        "longest axis of the ellipse (ellipsoid) with the same moments", "mask", lambda s: s.axis_lengths[0], power=1
    ),
    "axis_minor_length": Property(
        "shortest axis of the ellipse (ellipsoid) with the same moments", "mask", lambda s: s.axis_lengths[1], power=1
    ),
    "eccentricity": Property(
        "sqrt(1 - l2 / l1) of the inertia tensor's eigenvalues: 0 for a circle, near 1 for a line",
        "mask",
        lambda s: s.eccentricity,
        only_2d=True,
    ),
    "orientation": Property(
        "angle from the first axis to the major axis, radians from -pi / 2 to pi / 2 counter-clockwise",
        "mask",
        lambda s: s.orientation,
        only_2d=True,
    ),
    "moments": Property(
        "sums of position**order from the first pixel of the bounding box, orders 0 to 3 along each axis",
        "moments",
        lambda m: m.raw,
        ("order",),
    ),
    "moments_central": Property("moments about the centroid", "moments", lambda m: m.central, ("order",)),
    "moments_normalized": Property(
        "central moments made independent of scale, NaN below order 2", "moments", lambda m: m.normalized, ("order",)
    ),
    "moments_hu": Property(
        "Hu's seven moments, independent of position, scale and rotation",
        "moments",
        lambda m: m.hu,
        ("hu",),
        only_2d=True,
    ),
    "intensity_mean": Property("mean of the image", "statistic", "mean"),
    "intensity_min": Property("smallest pixel of the image", "statistic", "min"),
    "intensity_max": Property("largest pixel of the image", "statistic", "max"),
    "intensity_std": Property("standard deviation of the image (divided by n)", "statistic", "std"),
    "centroid_weighted": Property(
        "mean position weighted by the image", "weighted", lambda m: m.centroid, ("axis",), 1
    ),
    "centroid_weighted_local": Property(
        "centroid_weighted from the first pixel of the bounding box",
        "weighted",
        lambda m: m.centroid_local,
        ("axis",),
        1,
    ),
    "moments_weighted": Property("moments weighted by the image", "weighted", lambda m: m.raw, ("order",)),
    "moments_weighted_central": Property(
        "moments_weighted about centroid_weighted", "weighted", lambda m: m.central, ("order",)
    ),
    "moments_weighted_normalized": Property(
        "moments_weighted_central made independent of scale", "weighted", lambda m: m.normalized, ("order",)
    ),
    "moments_weighted_hu": Property(
        "Hu's seven moments of moments_weighted_normalized", "weighted", lambda m: m.hu, ("hu",), only_2d=True
    ),
}

# Properties of scikit-image that need all pixels of an object at once, and the call that has them.
WHOLE_OBJECT = {
    **dict.fromkeys(
        (
            "area_convex",
            "area_filled",
            "euler_number",
            "feret_diameter_max",
            "perimeter",
            "perimeter_crofton",
            "solidity",
        ),
        "mask.instances.regionprops(properties)",
    ),
    "intensity_median": "image.instances.median(mask)",
    **dict.fromkeys(
        ("coords", "coords_scaled", "image", "image_convex", "image_filled", "image_intensity", "slice"),
        "image.instances.windows(mask)",
    ),
}


@one_call
def regionprops(
    image: xr.DataArray | None,
    mask: xr.DataArray,
    properties: str | Iterable[str],
    *,
    spacing: Any = None,
    labels: Any = None,
    background: bool = False,
) -> xr.Dataset:
    """Region properties of every label; see `LabelsAccessor.regionprops`."""
    from xlabelstats.aggregate import aggregate

    given, mask = mask, check_mask(mask)
    names = check_properties(properties, mask, image is not None)
    pair = None if image is None else align(image, mask, mask_order=True)
    mask = mask if image is None else share_coords(mask, image)
    grid = _grid_for(names, mask, spacing)
    check_pooling(given, image)
    wanted = choose_labels(mask, labels, background)
    if image is not None and labels is None:
        ask_if_swapped(mask, image, background)
    of = {source: [name for name in names if PROPERTIES[name].source == source] for source in get_args(Source)}
    pixels = data_of(mask, "mask")
    arrays = _columns(of["mask"], pixels, None, grid, wanted, scan_block, merge_tables)
    arrays |= _columns(of["moments"], pixels, None, grid, wanted, moments_block, merge_moments)
    dims: dict[str, tuple[Hashable, ...]] = {name: (LABEL, *_dims(name, mask)) for name in arrays}
    coords: dict[Any, Any] = {}
    if image is not None and pair is not None:
        own = [name for name in names if PROPERTIES[name].needs_image]
        check_taken(image, pair.other, (*own, *(dim for name in own for dim in _dims(name, mask))))
        coords = other_coords(image, pair.other)
        arrays |= _columns(of["weighted"], pair.mask, pair.image, grid, wanted, moments_block, merge_moments)
        dims |= {name: (LABEL, *pair.other, *_dims(name, mask)) for name in of["weighted"]}
        stats = {PROPERTIES[name].formula: name for name in of["statistic"]}
        if stats:
            measured = aggregate(image, mask, tuple(stats), labels=labels, background=background, skipna=False)
            arrays |= {name: measured[stat].astype(np.float64).data for stat, name in stats.items()}
            dims |= dict.fromkeys(of["statistic"], (LABEL, *pair.other))
    axes = [str(dim) for dim in mask.dims]
    used = {dim for name in names for dim in dims[name]}
    coords |= {dim: axes for dim in ("axis", "axis_") if dim in used}
    coords |= {"bound": ["min", "max"]} if "bound" in used else {}
    variables = {name: (dims[name], arrays[name], _about(name, grid, mask.ndim)) for name in names}
    return xr.Dataset(variables, coords={**coords, LABEL: wanted.labels})


def _grid_for(names: Sequence[str], mask: xr.DataArray, spacing: Any) -> Grid:
    """The grid in whose units the properties come; of the coordinates only if one of them needs these."""
    if spacing is not None:
        grid = given_grid(mask, spacing)
    elif all(PROPERTIES[name].pixels or PROPERTIES[name].source == "statistic" for name in names):
        grid = pixel_grid(mask.ndim)
    else:
        mixed = [name for name in names if _mixes_axes(name)]
        if mixed:
            check_lengths(mask, mixed[0], "spacing=1")
        grid = regular_grid(mask, "give spacing=, or drop the coordinate")
    hu = [name for name in names if name.endswith("_hu")]
    if hu and (grid.spacing != 1).any():
        given = tuple(grid.spacing.tolist())
        raise NotImplementedError(f"{hu[0]} is defined for a spacing of 1 only, here it is {given}; give spacing=1")
    return grid


def _mixes_axes(name: str) -> bool:
    """Whether a property is made of lengths along several axes, in coordinate units."""
    spec = PROPERTIES[name]
    return not (spec.pixels or spec.source == "statistic" or spec.dims == ("axis",) or name == "extent")


def check_properties(properties: str | Iterable[str], mask: xr.DataArray, with_image: bool) -> tuple[str, ...]:
    """The names asked for, each once and without ``label``, or say what is wrong with them."""
    # The label is the coordinate of every result.
    names = tuple(name for name in as_names(properties, "property") if name != LABEL)
    check_here(names, WHOLE_OBJECT, "needs all pixels of an object at once and does not merge across blocks")
    check_measures(names, PROPERTIES, "property")
    if not names:
        raise ValueError(f"no property was asked for; there are: {', '.join(PROPERTIES)}")
    if mask.ndim not in (2, 3):
        raise ValueError(
            f"region properties are defined for 2-D and 3-D masks; this one has the dims {tuple(mask.dims)}"
        )
    flat = [name for name in names if PROPERTIES[name].only_2d and mask.ndim != 2]
    if flat:
        raise NotImplementedError(f"{flat[0]} is defined for 2-D masks only; this one has the dims {tuple(mask.dims)}")
    lacking = [name for name in names if PROPERTIES[name].needs_image and not with_image]
    if lacking:
        raise ValueError(f"{lacking[0]} needs an image: image.labels.regionprops(mask, properties=...)")
    return names


def _about(name: str, grid: Grid, ndim: int) -> dict[str, str]:
    """The attributes of a property: its name in words, its definition, its units."""
    spec = PROPERTIES[name]
    unit = {"units": "pixel"} if spec.pixels else grid.units_of(ndim if spec.power == -1 else spec.power)
    return {"long_name": name.replace("_", " "), "description": spec.summary, **unit}


def _dims(name: str, mask: xr.DataArray) -> tuple[str, ...]:
    """The dims of a property beside label and the image's own."""
    return tuple(
        each
        for dim in PROPERTIES[name].dims
        for each in ([f"order_{axis}" for axis in mask.dims] if dim == "order" else [dim])
    )


def _columns(
    names: Sequence[str],
    mask: Any,
    image: Any,
    grid: Grid,
    wanted: Wanted,
    block: Callable[..., Any],
    merge: Callable[..., Any],
) -> dict[str, Any]:
    """The values of properties that come from the same tables: lazy for dask, computed for numpy."""
    if not names:
        return {}
    settle = partial(_settle, names=tuple(names), grid=grid, merge=merge, requested=wanted.requested)
    ndim = mask.ndim
    lengths = {"axis": ndim, "axis_": ndim, "bound": 2, "component": ndim, "hu": 7}
    columns = {}
    for name in names:
        dims = PROPERTIES[name].dims
        shape = (POWERS,) * ndim if dims == ("order",) else tuple(lengths[dim] for dim in dims)
        columns[name] = Column(_dtype(name, wanted.requested), image is not None, shape)
    return collect(block, mask, image, wanted, merge, settle, columns)


def _dtype(name: str, requested: bool) -> type:
    """Whole pixels are integers, except that a box may be NaN if its label may be absent."""
    return np.int64 if name == "num_pixels" or (name == "bbox" and not requested) else np.float64


def _settle(
    tables: Sequence[Any],
    other: tuple[int, ...],
    ids: Array,
    *,
    names: tuple[str, ...],
    grid: Grid,
    merge: Callable[..., Any],
    requested: bool,
) -> dict[str, Array]:
    """Compute properties from the tables of one range of labels; NaN for labels that are absent."""
    table = merge(tables, ids)
    if not requested:
        check_found(table.count, ids)
    start = Shape(table, grid) if isinstance(table, LabelTable) else Moments(table, grid)
    result = {}
    for name in names:
        with np.errstate(invalid="ignore", divide="ignore"):
            values = PROPERTIES[name].formula(start).astype(_dtype(name, requested))
        if name not in ("num_pixels", "area"):
            values[table.count == 0] = np.nan if values.dtype.kind == "f" else 0
        if isinstance(table, MomentTable):
            values = values.reshape(ids.size, *other, *values.shape[2:])
        result[name] = start.xp.ascontiguousarray(values)
    return result
