"""Region properties under scikit-image's names: those that merge across blocks, and those of whole objects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import xarray as xr

from xlabelstats.catalogue import ELSEWHERE, FURTHER_PROPERTIES, OBJECT_PROPERTIES, PROPERTIES
from xlabelstats.catalogue.vocabulary import check_measures
from xlabelstats.inputs import check_on_host
from xlabelstats.labels.measure import measured
from xlabelstats.labels.per import apart
from xlabelstats.names import LABEL, as_names, check_here

# What merges across blocks, and all that there are.
MERGING = PROPERTIES | {name: entry for name, entry in FURTHER_PROPERTIES.items() if not entry.whole}
ALL = OBJECT_PROPERTIES | PROPERTIES | FURTHER_PROPERTIES

# The call for what `regionprops` has not.
WHOLE_OBJECT = {
    name: "mask.instances.regionprops(properties)" for name, entry in ALL.items() if entry.whole
} | ELSEWHERE


@apart()
def regionprops(
    image: xr.DataArray | None, mask: xr.DataArray, properties: str | Iterable[str], **options: Any
) -> xr.Dataset:
    """Region properties that merge across blocks; see `LabelsAccessor.regionprops`."""
    names = _property_names(properties)
    check_here(names, WHOLE_OBJECT, "needs all pixels of an object at once and does not merge across blocks")
    return _properties(image, mask, names, MERGING, **options)


@apart()
def object_properties(
    image: xr.DataArray | None, mask: xr.DataArray, properties: str | Iterable[str] | None, **options: Any
) -> xr.Dataset:
    """Region properties of whole objects, together with any that merge across blocks; see `InstancesAccessor`."""
    if properties is None:
        properties = [name for name, entry in OBJECT_PROPERTIES.items() if mask.ndim == 2 or not entry.only_2d]
    names = _property_names(properties)
    check_here(names, ELSEWHERE, "is no number per object of a mask")
    if any(name in WHOLE_OBJECT for name in names):
        check_on_host("instances.regionprops", mask=mask)
    return _properties(image, mask, names, ALL, **options)


def _property_names(properties: str | Iterable[str]) -> tuple[str, ...]:
    # The label is the coordinate of every result.
    return tuple(name for name in as_names(properties, "property") if name != LABEL)


def _properties(
    image: xr.DataArray | None, mask: xr.DataArray, names: tuple[str, ...], known: dict[str, Any], **options: Any
) -> xr.Dataset:
    check_measures(names, known, "property")
    if not names:
        raise ValueError(f"no property was asked for; there are: {', '.join(known)}")
    lacking = [name for name in names if known[name].reads_image and image is None]
    if lacking:
        raise ValueError(f"{lacking[0]} needs an image: image.labels.regionprops(mask, properties=...)")
    return measured(image, mask, {name: known[name] for name in names}, **options)
