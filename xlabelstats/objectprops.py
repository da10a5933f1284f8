"""Region properties that need all pixels of an object at once: scikit-image's, of every object by itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import LABEL, check_is_mask, check_match, check_on_host, share_coords
from xlabelstats.cautions import caution, one_call
from xlabelstats.extras import need
from xlabelstats.features import call, collect, windows_of_region
from xlabelstats.grid import Grid, check_lengths, given_grid, regular_grid
from xlabelstats.instances import find_subject
from xlabelstats.names import as_names, check_here
from xlabelstats.regionprops import PROPERTIES, WHOLE_OBJECT, regionprops
from xlabelstats.runs import Array
from xlabelstats.vocabulary import check_measures


@dataclass(frozen=True)
class ObjectProperty:
    """A region property of one object.

    Attributes
    ----------
    summary : str
    power : int or None
        Which power of the length it is; None for that of the pixels' own volume.
    only_2d, only_isotropic : bool
        Whether scikit-image defines it for 2-D masks, or for pixels as high as wide, alone.
    whole : bool
        Whether it is a whole number.
    """

    summary: str
    power: int | None = 1
    only_2d: bool = False
    only_isotropic: bool = False
    whole: bool = False


OBJECT_PROPERTIES = {
    "perimeter": ObjectProperty("length of the border line, through the centres of border pixels", 1, True, True),
    "perimeter_crofton": ObjectProperty("length of the border by Crofton's formula, four directions", 1, True, True),
    "area_convex": ObjectProperty("area of the convex hull", None),
    "solidity": ObjectProperty("area over area of the convex hull", 0),
    "area_filled": ObjectProperty("area with holes filled", None),
    "euler_number": ObjectProperty("parts minus holes; in 3-D, parts plus cavities minus tunnels", 0, whole=True),
    "feret_diameter_max": ObjectProperty("longest distance of two points of the convex hull's contour"),
}

# Of a 3-D object that lies in a plane scikit-image finds no convex hull: the first two are what it makes of that, and
# at the third it raises.
FLAT = {"area_convex": 0.0, "solidity": np.inf, "feret_diameter_max": np.nan}


@one_call
def object_properties(
    image: xr.DataArray | None, mask: xr.DataArray, properties: str | Iterable[str], **options: Any
) -> xr.Dataset:
    """Region properties of every object, together with any that merge across blocks; see `InstancesAccessor`."""
    names = _check_properties(properties)
    if image is not None:
        check_match(image, mask)
        mask = share_coords(mask, image)
    merged = [name for name in names if name in PROPERTIES]
    whole = [name for name in names if name in OBJECT_PROPERTIES]
    parts = [_of_whole_objects(mask, whole, **options)] if whole else []
    if merged:
        parts.append(regionprops(image, mask, merged, **options))
    return xr.merge(parts, join="exact", combine_attrs="override")[list(names)]


def _of_whole_objects(
    mask: xr.DataArray, names: Sequence[str], *, spacing: Any = None, labels: Any = None, background: bool = False
) -> xr.Dataset:
    check_on_host("instances.regionprops", mask=mask)
    check_is_mask(mask)
    ndim = mask.ndim
    if ndim not in (2, 3):
        raise ValueError(f"region properties are defined for 2-D and 3-D masks; this one has the dims {mask.dims}")
    lengths = any(OBJECT_PROPERTIES[name].power != 0 for name in names)
    if spacing is not None or not lengths:
        grid = given_grid(mask, 1 if spacing is None else spacing)
    else:
        check_lengths(mask, next(name for name in names if OBJECT_PROPERTIES[name].power != 0), "spacing=1")
        grid = regular_grid(mask, "give spacing=, or drop the coordinate")
    step = _check_defined(names, grid, mask.dims)
    need("skimage.measure", "image", "instances.regionprops")
    subject = find_subject(None, mask, labels, background)
    function = partial(windows_of_region, window=None, each=partial(measure, names=names, spacing=step), binary=True)
    low, high = subject.objects.low, subject.objects.high
    values = collect(function, subject, low, high, (len(names),), np.dtype(np.float64))
    variables = {}
    for i, name in enumerate(names):
        spec = OBJECT_PROPERTIES[name]
        column = values[:, i]
        if spec.whole and not subject.wanted.requested:
            column = column.astype(np.int64)
        about = {"long_name": name.replace("_", " "), "description": spec.summary}
        variables[name] = ((LABEL,), column, about | grid.units_of(ndim if spec.power is None else spec.power))
    return xr.Dataset(variables, coords={LABEL: subject.wanted.labels})


def measure(
    windows: Iterable[np.ndarray],
    ids: np.ndarray,
    channels: None,
    *,
    names: Sequence[str],
    spacing: tuple[float, ...],
    **options: Any,
) -> Array:
    """The named properties (label, 1, property) of the objects in binary windows, by scikit-image.

    A warning says which labels have no convex hull.
    """
    from skimage.measure import regionprops

    hulls = [name for name in names if name in FLAT and len(spacing) == 3]
    flat = []

    def properties(window: np.ndarray) -> list[float]:
        (region,) = regionprops(window.view(np.uint8), spacing=spacing)
        flat.append(bool(hulls) and _is_flat(window))
        return [FLAT[name] if flat[-1] and name in hulls else region[name] for name in names]

    columns = partial(call, fn=properties, kwargs={}, shape=(len(names),), dtype=np.dtype(np.float64))
    values = columns(windows, ids, channels, who="scikit-image", **options)
    labels = ids[flat]
    if labels.size:
        more = f" and {labels.size - 5} more" if labels.size > 5 else ""
        caution(
            f"label {', '.join(map(str, labels[:5]))}{more}: all pixels lie in a plane, and scikit-image finds no "
            f"convex hull in 3-D; there {', '.join(f'{name} is {FLAT[name]}' for name in hulls)}"
        )
    return values


def _is_flat(window: np.ndarray) -> bool:
    """Whether the pixels of a 3-D window lie in one plane."""
    pixels = np.argwhere(window)
    steps = pixels - pixels[0]
    # The determinant of whole numbers, exactly, in Python's, which do not overflow.
    (a, b, c), (_, d, e), (_, _, f) = (steps.T @ steps).tolist()
    return a * (d * f - e * e) - b * (b * f - c * e) + c * (b * e - c * d) == 0


def _check_properties(properties: str | Iterable[str]) -> tuple[str, ...]:
    names = tuple(name for name in as_names(properties, "property") if name != LABEL)
    here = [name for name in names if name not in OBJECT_PROPERTIES]
    check_here(here, WHOLE_OBJECT, "is no number per object of a mask")
    check_measures(names, (*OBJECT_PROPERTIES, *PROPERTIES), "property")
    if not names:
        raise ValueError(f"no property was asked for; there are: {', '.join(OBJECT_PROPERTIES)}")
    return names


def _check_defined(names: Sequence[str], grid: Grid, dims: tuple[Any, ...]) -> tuple[float, ...]:
    """The spacing, made equal where only rounding has it differ; complains if a property is not defined for it."""
    flat = [name for name in names if OBJECT_PROPERTIES[name].only_2d and len(dims) != 2]
    if flat:
        raise NotImplementedError(f"{flat[0]} is defined for 2-D masks only; this one has the dims {dims}")
    step = grid.spacing
    if np.allclose(step, step[0], rtol=1e-6):
        step = np.full(len(dims), step[0])
    uneven = [name for name in names if OBJECT_PROPERTIES[name].only_isotropic and (step != step[0]).any()]
    if uneven:
        raise NotImplementedError(
            f"{uneven[0]} is defined for an equal spacing along all dims, here it is {tuple(step.tolist())}; "
            "give spacing=1 for pixels"
        )
    return tuple(step.tolist())
