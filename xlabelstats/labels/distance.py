"""How far the pixels of every label are from the objects of another mask."""

from __future__ import annotations

from collections.abc import Hashable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import check_coords_match, display_name, share_coords
from xlabelstats.catalogue import as_measures
from xlabelstats.cautions import one_call
from xlabelstats.engine.merge_tree import uniform
from xlabelstats.engine.nearest import distances, map_near
from xlabelstats.inputs import at_position, check_is_mask, check_mask, check_on_host, check_pooling, data_of, is_dask
from xlabelstats.labels.mask_scan import array_of, label_ids
from xlabelstats.labels.measure import measured
from xlabelstats.labels.reach import Reach, check_distance, grid_of, reach_of
from xlabelstats.names import LABEL
from xlabelstats.resampling import resampled

ABOUT = {
    "least": "distance of the nearest pixel to {}",
    "mean": "mean distance of the pixels to {}",
    "greatest": "distance of the farthest pixel to {}",
}


@one_call
def distance_to(mask: xr.DataArray, other: Any, limit: Any, *, align: str | None = None) -> xr.Dataset:
    """How far the pixels of every label are from another mask; see `LabelsAccessor.distance_to`."""
    check_is_mask(mask)
    check_is_mask(other)
    check_on_host("mask.labels.distance_to", mask=mask, other=other)
    length = check_distance(limit, "limit")
    other = resampled(mask, other, align)
    _check_same_grid(mask, other)
    placed = share_coords(mask, other)
    grid = grid_of(placed, "the distance", "drop the coordinates of both masks, mask.drop_vars(mask.indexes)")
    check_pooling(mask, other, lambda dim: f"mask.{at_position(dim)}.labels.distance_to(other.{at_position(dim)}, ...)")
    objects = check_mask(other.transpose(*mask.dims))
    # By dims that say nothing, so that times are not warned of once more.
    plain: list[Hashable] = [f"axis_{i}" for i in range(mask.ndim)]
    reach = reach_of(length, grid.spacing, objects.shape)
    image = xr.DataArray(_distances(objects, reach), dims=plain)
    labelled = xr.DataArray(array_of(check_mask(mask)), dims=plain)
    measures = as_measures(("min", "max", "sum", "valid", "count"))
    values = measured(image, labelled, measures, labels=label_ids(labelled), skipna=True)
    all_near = values["valid"] == values["count"]
    columns = {
        "least": values["min"].fillna(np.inf),
        "mean": (values["sum"] / values["count"]).where(all_near, np.inf),
        "greatest": values["max"].where(all_near, np.inf),
    }
    name = display_name(other, "the other mask")
    variables = {key: (LABEL, column.data * reach.unit) for key, column in columns.items()}
    result = xr.Dataset(variables, coords={LABEL: values[LABEL].values})
    for key, words in ABOUT.items():
        result[key].attrs = {"long_name": words.format(name), **grid.units_of(1)}
    return result


def _distances(objects: xr.DataArray, reach: Reach) -> Any:
    """How far every pixel is from the nearest object, in the smallest spacing; NaN if beyond reach."""
    pixels = data_of(objects, "mask")
    pixels = uniform(pixels) if is_dask(pixels) else pixels
    work = partial(distances, steps=reach.steps, far=reach.far, scale=reach.scale)
    return map_near(work, pixels, reach.halo, np.float64)


def _check_same_grid(mask: xr.DataArray, other: xr.DataArray) -> None:
    """Complain about another mask that is not on the pixels of the mask."""
    if {*mask.dims} != {*other.dims}:
        raise ValueError(
            f"mask and other need the same dims; the mask has {tuple(mask.dims)} and the other has "
            f"{tuple(other.dims)}. Rename dims with .rename, or drop one of length 1 with .squeeze"
        )
    unequal = [dim for dim in mask.dims if mask.sizes[dim] != other.sizes[dim]]
    if unequal:
        sizes = [f"{dim!r} is {mask.sizes[dim]} in the mask and {other.sizes[dim]} in the other" for dim in unequal]
        raise ValueError(
            f"mask and other differ in size: {', '.join(sizes)}. If coordinates say where they lie: align='nearest'"
        )
    for dim in mask.dims:
        check_coords_match(dim, mask, other, "mask", "other")
