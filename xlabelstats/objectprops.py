"""Region properties that need all pixels of an object at once: scikit-image's, of every object by itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import LABEL, check_is_mask, check_on_host
from xlabelstats.extras import need
from xlabelstats.features import call, collect, windows_of_region
from xlabelstats.grid import Grid, check_lengths, given_grid, regular_grid
from xlabelstats.instances import find_subject
from xlabelstats.names import as_names, check_here, check_known
from xlabelstats.regionprops import PROPERTIES, WHOLE_OBJECT


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


def object_properties(
    mask: xr.DataArray,
    properties: str | Iterable[str],
    *,
    spacing: Any = None,
    labels: Any = None,
    background: bool = False,
) -> xr.Dataset:
    """Region properties of every object by itself; see `InstancesAccessor.regionprops`."""
    names = _check_properties(properties)
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
    each = partial(
        call, fn=measure, kwargs={"names": names, "spacing": step}, shape=(len(names),), dtype=np.dtype(np.float64)
    )
    function = partial(windows_of_region, window=None, each=each, binary=True)
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


def measure(window: np.ndarray, *, names: Sequence[str], spacing: tuple[float, ...]) -> list[float]:
    """The named properties of the one object of a binary window, by scikit-image."""
    from skimage.measure import regionprops

    (region,) = regionprops(window.view(np.uint8), spacing=spacing)
    return [region[name] for name in names]


def _check_properties(properties: str | Iterable[str]) -> tuple[str, ...]:
    names = tuple(name for name in as_names(properties, "property") if name != LABEL)
    merged = [name for name in names if name in PROPERTIES]
    if merged:
        raise ValueError(
            f"{', '.join(merged)} merges across blocks, which is faster: it is for .labels.regionprops; xr.merge puts "
            "the results of the two together"
        )
    here = [name for name in names if name not in OBJECT_PROPERTIES]
    check_here(here, WHOLE_OBJECT, "is no number per object of a mask")
    check_known(names, OBJECT_PROPERTIES, "property")
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
