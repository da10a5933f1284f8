"""Centres of mass, radii and principal axes of every label."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import LABEL, align, check_mask, check_pooling, check_taken, data_of, other_coords, share_coords
from xlabelstats.blocks import Column, Rows
from xlabelstats.grid import Grid, check_lengths, check_units, coordinate, pixel_grid, regular_grid, units_of
from xlabelstats.kernels import kernels_for
from xlabelstats.runs import Array, check_found, find_runs, no_pixels, pixels_of, rows_of, union
from xlabelstats.scan import LabelTable, Wanted, ask_if_swapped, choose_labels, collect, merge_tables, scan_block


def center_of_mass(
    mask: xr.DataArray,
    weights: xr.DataArray | None = None,
    *,
    units: str = "coords",
    labels: Any = None,
    background: bool = False,
) -> xr.DataArray:
    """Mean position of every label; see `LabelsAccessor.center_of_mass`."""
    check_units(units)
    given, mask = mask, check_mask(mask)
    image = None
    other: tuple[Hashable, ...] = ()
    coords: dict[Any, Any] = {}
    if weights is None:
        pixels = data_of(mask, "mask")
    else:
        pair = align(weights, mask, mask_order=True)
        check_taken(weights, pair.other, ("axis",))
        mask = share_coords(mask, weights)
        pixels, image, other = pair.mask, pair.image, pair.other
        coords = other_coords(weights, other)
    along = [coordinate(mask, dim) if units == "coords" else None for dim in mask.dims]
    check_pooling(given, weights)
    wanted = choose_labels(mask, labels, background)
    if weights is not None and labels is None:
        ask_if_swapped(mask, weights, background, call="mask.labels.center_of_mass(image)")
    values = _mean_positions(pixels, image, along, wanted)
    result = xr.DataArray(
        values,
        dims=(LABEL, *other, "axis"),
        coords={**coords, LABEL: wanted.labels, "axis": [str(dim) for dim in mask.dims]},
        name="center_of_mass",
        attrs={"long_name": "centre of mass" + ("" if weights is None else f" of {weights.name or 'image'}")},
    )
    named = "pixel" if units == "pixel" else units_of(mask)
    return result.assign_attrs(units=named) if named else result


def radii_and_axes(
    mask: xr.DataArray, *, units: str = "coords", labels: Any = None, background: bool = False
) -> xr.Dataset:
    """Radii and principal axes of every label; see `InstancesAccessor.radii_and_axes`."""
    check_units(units)
    given, mask = mask, check_mask(mask)
    if units == "coords":
        check_lengths(mask, "radius", "units='pixel'")
    grid = pixel_grid(mask.ndim) if units == "pixel" else regular_grid(mask, "ask for units='pixel'")
    check_pooling(given)
    wanted = choose_labels(mask, labels, background)
    settle = partial(_principal, grid=grid, requested=wanted.requested)
    columns = {
        "radius": Column(np.float64, per_other=False, shape=(mask.ndim,)),
        "axis_vector": Column(np.float64, per_other=False, shape=(mask.ndim, mask.ndim)),
    }
    arrays = collect(scan_block, data_of(mask, "mask"), None, wanted, merge_tables, settle, columns)
    about = {"long_name": "standard deviation of position along a principal axis", **grid.units_of(1)}
    return xr.Dataset(
        {
            "radius": ((LABEL, "component"), arrays["radius"], about),
            "axis_vector": ((LABEL, "component", "axis"), arrays["axis_vector"], {"long_name": "principal axis"}),
        },
        coords={LABEL: wanted.labels, "axis": [str(dim) for dim in mask.dims]},
    )


def _principal(
    tables: Sequence[LabelTable], other: tuple[int, ...], ids: Array, *, grid: Grid, requested: bool
) -> dict[str, Array]:
    """Square roots of the eigenvalues of the sample covariance, largest first, and its eigenvectors.

    An eigenvector's sign is free: its entry of largest magnitude is made positive.
    """
    xp = kernels_for(ids).xp
    table = merge_tables(tables, ids)
    if not requested:
        check_found(table.count, ids)
    ndim = table.low.shape[1]
    few = table.count < ndim
    covariance = table.m2 / xp.maximum(table.count - 1, 1)[:, None, None] * xp.asarray(np.outer(grid.step, grid.step))
    values, vectors = xp.linalg.eigh(covariance)
    radius = xp.sqrt(xp.clip(values[:, ::-1], 0, None))
    axes = xp.swapaxes(vectors, 1, 2)[:, ::-1]
    largest = xp.take_along_axis(axes, xp.abs(axes).argmax(axis=2)[..., None], axis=2)
    axes = axes * xp.where(largest < 0, -1.0, 1.0)
    radius = xp.where(few[:, None], 0.0, radius)
    axes = xp.where(few[:, None, None], xp.eye(ndim), axes)
    radius[table.count == 0], axes[table.count == 0] = np.nan, np.nan
    return {"radius": radius, "axis_vector": xp.ascontiguousarray(axes)}


# Whole numbers below this one are exact in float64, and larger ones are added up as multiples of a part and the rest.
WHOLE, PART = 2**53, 2**17


@dataclass(frozen=True)
class WeightTable(Rows):
    """Labels with their pixels' coordinates added up.

    Attributes
    ----------
    sums : array (label, channel, 1 + axis)
        The weight, and the weighted coordinates, counted from the middle of each axis.
    indices : array (label, axis) of int64
        Of a mask alone, along axes without coordinates: the sum of the pixels' numbers, which is exact.
    """

    sums: Array
    indices: Array


def _mean_positions(mask: Any, image: Any, along: list[np.ndarray | None], wanted: Wanted) -> Any:
    """The mean position of every label, from the coordinates along every axis, None for the pixels' numbers."""
    exact = np.array([image is None and values is None for values in along])
    positions = [np.arange(n, dtype=np.float64) if p is None else p for n, p in zip(mask.shape, along, strict=True)]
    # Positions are summed from the middle of each axis, so that a far origin costs no precision.
    middle = np.array([p[p.size // 2] if p.size else 0.0 for p in positions])
    coords = np.zeros((len(positions), max(mask.shape)))
    for row, position, centre in zip(coords, positions, middle, strict=True):
        row[: position.size] = position - centre
    settle = partial(_settle_means, middle=middle, exact=exact, requested=wanted.requested, weighted=image is not None)
    columns = {"mean": Column(np.float64, image is not None, (mask.ndim,))}
    tables = {"coords": coords, "exact": exact}
    return collect(_weight_block, mask, image, wanted, _merge_weights, settle, columns, **tables)["mean"]


def _weight_block(
    mask: Array,
    offset: Sequence[int],
    image: Array | None = None,
    *,
    coords: np.ndarray,
    exact: np.ndarray,
    background: bool,
    only: np.ndarray | None,
) -> WeightTable:
    kernels = kernels_for(mask)
    xp = kernels.xp
    runs = find_runs(mask, background=background, only=only)
    here = np.zeros((mask.ndim, max(mask.shape)))
    for row, whole, start, size, numbers in zip(here, coords, offset, mask.shape, exact, strict=True):
        row[:size] = np.arange(size) if numbers else whole[start : start + size]
    pixels = no_pixels(mask) if image is None else pixels_of(image, mask.shape)
    shape = np.array(mask.shape, np.int64)

    def sums_of(positions: np.ndarray) -> Array:
        sums = xp.zeros((runs.ids.size, 1 if image is None else len(pixels), 1 + mask.ndim))
        kernels.coordinate_sums(pixels, runs.codes, runs.starts, runs.lengths, shape, xp.asarray(positions), sums)
        return sums

    # float64 holds whole numbers up to 2**53; where sums could be larger, the numbers are added up in two parts.
    high = np.where(exact[:, None] & (mask.size * here.shape[1] >= WHOLE), here // PART, 0.0)
    sums = sums_of(here - PART * high)
    indices = xp.zeros((runs.ids.size, mask.ndim), np.int64)
    if exact.any():
        numbered = xp.asarray(exact)
        indices += xp.where(numbered, sums[:, 0, 1:], 0).astype(np.int64)
        indices += runs.count[:, None] * xp.where(numbered, xp.asarray(offset, np.int64), 0)
    if high.any():
        indices += PART * sums_of(high)[:, 0, 1:].astype(np.int64)
    return WeightTable(runs.ids, runs.count, sums, indices)


def _merge_weights(tables: Sequence[WeightTable], ids: Array | None = None) -> WeightTable:
    xp = kernels_for(tables[0].ids).xp
    if ids is None:
        ids = union([table.ids for table in tables])
    count = xp.zeros(ids.size, np.int64)
    sums = xp.zeros((ids.size, *tables[0].sums.shape[1:]))
    indices = xp.zeros((ids.size, *tables[0].indices.shape[1:]), np.int64)
    for table in tables:
        rows = rows_of(table.ids, ids)
        count[rows] += table.count
        indices[rows] += table.indices
        with np.errstate(invalid="ignore", over="ignore"):
            sums[rows] += table.sums
    return WeightTable(ids, count, sums, indices)


def _settle_means(
    tables: Sequence[WeightTable],
    other: tuple[int, ...],
    ids: Array,
    *,
    middle: np.ndarray,
    exact: np.ndarray,
    requested: bool,
    weighted: bool,
) -> dict[str, Array]:
    table = _merge_weights(tables, ids)
    if not requested:
        check_found(table.count, ids)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean = kernels_for(ids).xp.asarray(middle) + table.sums[..., 1:] / table.sums[..., :1]
        for axis in np.flatnonzero(exact):
            mean[:, 0, axis] = _quotients(table.indices[:, axis], table.count)
    return {"mean": mean.reshape(ids.size, *(other if weighted else ()), middle.size)}


def _quotients(totals: Array, counts: Array) -> Array:
    """Whole numbers divided by others, each correctly rounded."""
    quotients = totals / counts
    for row in kernels_for(totals).xp.flatnonzero(totals >= WHOLE).tolist():
        # Python rounds the quotient of integers of any size once.
        quotients[row] = int(totals[row]) / int(counts[row])
    return quotients
