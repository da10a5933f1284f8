"""Measures within rings around every object, or inside it along its edge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import check_match, share_coords
from xlabelstats.catalogue.measure import Measure
from xlabelstats.cautions import one_call, rounds
from xlabelstats.engine.merge_tree import uniform
from xlabelstats.engine.nearest import grown, shrunk
from xlabelstats.grid import Grid, check_lengths, check_units, given_grid, pixel_grid
from xlabelstats.inputs import (
    check_labels,
    check_mask,
    check_on_host,
    check_pooling,
    check_switches,
    check_taken,
    is_dask,
)
from xlabelstats.labels.growth import changed
from xlabelstats.labels.mask_scan import array_of, label_ids
from xlabelstats.labels.measure import measured
from xlabelstats.labels.reach import check_distance, grid_of
from xlabelstats.labels.swapped import ask_if_swapped
from xlabelstats.names import LABEL
from xlabelstats.resampling import resampled

SHELL = "shell"
INNER, OUTER = "inner", "outer"
SIDES = {"outside": grown, "inside": shrunk}


@one_call
def in_shells(
    image: xr.DataArray | None,
    mask: xr.DataArray,
    measures: Mapping[str, Measure],
    shells: Any,
    side: str,
    *,
    labels: Any = None,
    background: bool = False,
    spacing: Any = None,
    units: str = "coords",
    align: str | None = None,
    **options: Any,
) -> xr.Dataset:
    """Some measures of the rings of every label, along the dim `SHELL`; see `LabelsAccessor.measure`."""
    widths = _widths(shells)
    check_side(side)
    check_switches(background=background)
    mask = resampled(image, mask, align)
    check_on_host("shells=", mask=mask)
    if image is not None:
        check_match(image, mask)
        check_taken(image, tuple(dim for dim in image.dims if dim not in mask.dims), (SHELL, INNER, OUTER))
    given, mask = mask, check_mask(mask)
    grid = _grid_for(mask if image is None else share_coords(mask, image), spacing, units)
    check_pooling(given, image)
    ids = label_ids(mask) if labels is None else check_labels(labels, mask.dtype)
    if background or 0 in ids:
        raise ValueError(
            "label 0 is the background, which has no edge for shells to begin at; leave it out of labels, and "
            "background=True too"
        )
    if image is not None and labels is None:
        ask_if_swapped(mask, image)
    edges = np.cumsum([0.0, *widths])
    with rounds(anew=False):
        results = [
            measured(image, ring, measures, labels=ids, spacing=spacing, units=units, **options)
            for ring in _rings(mask, edges[1:], grid.spacing, side)
        ]
    result = xr.concat(
        results, SHELL, data_vars="all", coords="minimal", compat="override", join="exact", combine_attrs="override"
    )
    about = grid.units_of(1)
    names = {INNER: "where the shell begins, from the edge", OUTER: "where the shell ends, from the edge"}
    along = {
        name: (SHELL, values, {"long_name": names[name], **about})
        for name, values in ((INNER, edges[:-1]), (OUTER, edges[1:]))
    }
    return result.transpose(LABEL, SHELL, ...).assign_coords(along)


def check_side(side: Any) -> None:
    """Complain about a side of the edge that there is not."""
    if side not in SIDES:
        raise ValueError(f"side is 'outside' or 'inside', where the shells lie from each object's edge, not {side!r}")


def _rings(mask: xr.DataArray, edges: np.ndarray, spacing: np.ndarray, side: str) -> Iterable[xr.DataArray]:
    """The mask of every ring, with the labels of the objects that they belong to."""
    pixels = array_of(mask)
    mask = before = mask.copy(deep=False, data=uniform(pixels) if is_dask(pixels) else pixels)
    for length in edges.tolist():
        after = changed(SIDES[side], mask, length, spacing, mask.dtype)
        more, less = (after, before) if side == "outside" else (before, after)
        yield more.copy(deep=False, data=more.data * (less.data == 0))
        before = after


def _widths(shells: Any) -> list[float]:
    """The widths of the shells, or a complaint."""
    several = shells if isinstance(shells, Iterable) and not isinstance(shells, str) else [shells]
    widths = [check_distance(width, "the width of a shell") for width in several]
    wrong = [width for width in widths if not 0 < width < np.inf]
    if wrong:
        raise ValueError(f"the width of a shell is more than 0 and finite, not {wrong[0]!r}")
    if not widths:
        raise ValueError("shells are the widths of one or more shells, such as [1, 2]; none is given")
    return widths


def _grid_for(mask: xr.DataArray, spacing: Any, units: str) -> Grid:
    """The grid in whose units the widths are: as all lengths of the call."""
    check_units(units)
    if spacing is not None:
        return given_grid(mask, spacing)
    if units == "pixel":
        return pixel_grid(mask.ndim)
    check_lengths(mask, "the width of a shell", "units='pixel'")
    return grid_of(mask, "the width of a shell", "units='pixel'")
