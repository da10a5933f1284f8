"""Any measures of the catalogue in one Dataset, with the fewest passes over mask and image."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import check_match, display_name, share_coords
from xlabelstats.catalogue import STATISTICS, as_measures
from xlabelstats.catalogue.measure import Measure
from xlabelstats.catalogue.weighted import WEIGHTED
from xlabelstats.engine.plan import is_whole, run
from xlabelstats.engine.reduction import Context
from xlabelstats.grid import (
    Grid,
    check_lengths,
    check_one_unit,
    check_units,
    coordinate,
    given_grid,
    pixel_grid,
    regular_grid,
    units_of,
)
from xlabelstats.inputs import check_mask, check_switches, each_time, time_dims
from xlabelstats.labels.grey_levels import warn_of_few_levels
from xlabelstats.labels.limits import limits_of
from xlabelstats.labels.pairs import as_given, paired
from xlabelstats.labels.per import apart
from xlabelstats.labels.subject import Subject, WholeSubject, find_subject
from xlabelstats.labels.swapped import CALLS
from xlabelstats.labels.weights import check_weights, units_with, weighted_measures
from xlabelstats.names import LABEL
from xlabelstats.resampling import resampled
from xlabelstats.rows import DDOF, SKIPNA


def _same_bins(masks: Sequence[xr.DataArray], given: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Measures whose bins are those of the whole image, for the calls at its positions."""
    if given["image"] is None or given.get("weights") is not None:
        return [{}] * len(masks)
    return [{"requests": list(settled(as_measures(given["requests"]), given["image"]).values())}] * len(masks)


@apart(_same_bins)
def measure(
    image: xr.DataArray | None,
    mask: xr.DataArray,
    requests: Any,
    *,
    labels: Any = None,
    background: bool = False,
    skipna: bool | None = None,
    ddof: float = 0,
    spacing: Any = None,
    units: str = "coords",
    weights: Any = None,
    align: str | None = None,
    shells: Any = None,
    side: str = "outside",
) -> xr.Dataset:
    """Measure every label of a mask, or its shells; see `LabelsAccessor.measure`."""
    run_measures: Callable[..., xr.Dataset] = measured
    if shells is not None:
        from xlabelstats.labels.shells import in_shells

        run_measures = partial(in_shells, shells=shells, side=side)
    elif side != "outside":
        raise ValueError(f"side={side!r} says where shells lie; give their widths too: shells=[1, 2]")
    return run_measures(
        image,
        mask,
        as_measures(requests) if weights is None else weighted_measures(requests),
        labels=labels,
        background=background,
        skipna=skipna,
        ddof=ddof,
        spacing=spacing,
        units=units,
        weights=weights,
        align=align,
    )


def measured(
    image: xr.DataArray | None,
    mask: xr.DataArray,
    measures: Mapping[str, Measure],
    *,
    labels: Any = None,
    background: bool = False,
    skipna: bool | None = None,
    ddof: float = 0,
    spacing: Any = None,
    units: str = "coords",
    grid: Grid | None = None,
    described: bool = True,
    run: Callable[..., Any] = run,
    call: str = CALLS,
    weights: Any = None,
    align: str | None = None,
    together: bool = False,
    batch: int | None = None,
) -> xr.Dataset:
    """Some measures of every label, named and labelled: ``measures`` by the names of their variables.

    ``run`` is what computes them, as `engine.plan.run`.  If ``together``, all are measured of whole objects: in one
    read, or of lazy arrays in one per ``batch`` of labels, and the same bit for bit whatever the chunks.
    """
    if not isinstance(ddof, numbers.Real):
        raise TypeError(f"ddof is a number, not {ddof!r}")
    check_switches(background=background, **({} if skipna is None else {"skipna": skipna}))
    mask = resampled(image, mask, align)
    if image is not None:
        check_match(image, mask)
        # An image divided by a number of another result has what that result says.
        inherited = [name for name in (DDOF, SKIPNA) if name in image.coords and not image[name].dims]
        image = image.drop_vars(inherited) if inherited else image
    given, mask = mask, check_mask(mask)
    if weights is not None:
        check_weights(weights, mask, image, ddof)
    _check_defined(measures, mask, image)
    original, (image, measures) = image, paired(image, mask, measures)
    if image is not None:
        measures = settled(measures, image)
    placed = mask if image is None else share_coords(mask, image)
    grid = grid if grid is not None else _grid_for(measures, placed, spacing, units)
    apart = units == "pixel" or spacing is not None or not any(entry.placed for entry in measures.values())
    options = Context(
        mask.ndim,
        np.dtype(np.float64) if image is None else image.dtype,
        labels is not None,
        grid,
        ddof,
        skipna is None or bool(skipna),
        () if apart else tuple(coordinate(placed, dim) for dim in mask.dims),
        tuple(mask.shape),
    )
    dims = [dim for entry in measures.values() for dim in (*entry.shape(mask.dims), *entry.beside)]
    whole = any(entry.whole for entry in measures.values())
    subject = find_subject(
        image,
        given,
        labels,
        background,
        (*measures, *dims),
        mask_order=together or whole or any(entry.axes_matter for entry in measures.values()),
        read=any(entry.reads_image for entry in measures.values()),
        call=call,
        whole=lambda lazy, elements: (
            together or any(is_whole(entry, options, lazy=lazy, elements=elements) for entry in measures.values())
        ),
        weights=weights,
    )
    if image is not None and isinstance(subject, WholeSubject):
        warn_of_few_levels(image, subject, measures.values())
    run = partial(run, together=True, batch=batch) if together else run
    recorded = _recorded(measures, image, options, weighted=weights is not None)
    result = measure_subject(measures, subject, image, options, described=described, run=run, recorded=recorded)
    result = result if weights is None else units_with(result, weights)
    return result if image is original else as_given(result, original, measures)


def _recorded(
    measures: Mapping[str, Measure], image: xr.DataArray | None, context: Context, *, weighted: bool
) -> dict[str, Any]:
    """What the statistics of a result do not tell and `rollup` needs, as coordinates."""
    entries = WEIGHTED if weighted else STATISTICS
    statistics = {entry.name for entry in measures.values() if entries.get(entry.name) is entry}
    known: dict[str, Any] = {DDOF: context.ddof} if statistics & {"var", "std"} else {}
    if weighted:
        known = {SKIPNA: False} if statistics - {"count", "weight", "sum"} and not context.skipna else {}
    elif image is not None and statistics - {"count", "valid", "sum"}:
        known[SKIPNA] = context.skipna and image.dtype.kind == "f"
    return known


def settled(measures: Mapping[str, Measure], image: xr.DataArray) -> dict[str, Measure]:
    """The measures for this image, of which some depend on it."""
    return {
        name: entry if entry.settled is None else entry.settled(image.dtype, partial(limits_of, name, image))
        for name, entry in measures.items()
    }


def measure_subject(
    measures: Mapping[str, Measure],
    subject: Subject,
    image: xr.DataArray | None,
    context: Context,
    *,
    described: bool = True,
    run: Callable[..., Any] = run,
    recorded: Mapping[str, Any] = MappingProxyType({}),
) -> xr.Dataset:
    """Some measures of a mask that is matched with its image, named and labelled; ``recorded`` are more coordinates."""
    _check_shared_dims(measures, subject)
    selection, values = run(measures, subject, context)
    variables = {}
    coords: dict[Any, Any] = {**subject.coords, LABEL: selection.labels}
    for name, entry in measures.items():
        dims = (*(subject.other if entry.reads_image else ()), *entry.shape(subject.shared))
        variables[name] = ((LABEL, *dims), values[name], _about(name, entry, image, context.grid, described))
        coords |= entry.coords(subject.shared)
    taken = {*variables, *subject.other, *(dim for dims, *_ in variables.values() for dim in dims)}
    coords |= {name: value for name, value in recorded.items() if name not in taken}
    return xr.Dataset(variables, coords=coords)


def _check_shared_dims(measures: Mapping[str, Measure], subject: Subject) -> None:
    """Complain if measures differ in the elements of a dim that they share, so that one result cannot hold them."""
    seen: dict[str, tuple[str, dict[str, Any]]] = {}
    for name, entry in measures.items():
        coords = entry.coords(subject.shared)
        for dim, length in entry.shape(subject.shared).items():
            beside = {one: coords[one][1] for one, (along, _) in entry.beside.items() if along == dim}
            elements = {dim: coords.get(dim, length), **beside}
            other, others = seen.setdefault(dim, (name, elements))
            if elements != others:
                one, two = (", ".join(f"{key} {value}" for key, value in each.items()) for each in (others, elements))
                raise ValueError(
                    f"{other} and {name} would share the dim {dim!r}, but the one has {one} and the other {two}; give "
                    "both the same parameters, or measure them in two calls"
                )


def _check_defined(measures: Mapping[str, Measure], mask: xr.DataArray, image: xr.DataArray | None) -> None:
    """Complain about measures that this input does not have."""
    for name, entry in measures.items():
        if entry.reads_image and image is None:
            raise ValueError(f"{name} needs an image: image.labels.measure(mask, {name!r})")
        if (entry.skimage or entry.spatial) and mask.ndim not in (2, 3):
            what = "region properties are" if entry.skimage else f"{name} is"
            raise ValueError(f"{what} defined for 2-D and 3-D masks; this one has the dims {tuple(mask.dims)}")
        ndim = 2 if entry.only_2d else 3 if entry.only_3d else mask.ndim
        if mask.ndim != ndim:
            times = time_dims(mask, image)
            apart = f". To measure each time apart: {each_time(times[0])}" if times and mask.ndim == ndim + 1 else ""
            raise NotImplementedError(
                f"{name} is defined for {ndim}-D masks only; this one has the dims {tuple(mask.dims)}{apart}"
            )


def _grid_for(measures: Mapping[str, Measure], mask: xr.DataArray, spacing: Any, units: str) -> Grid:
    """The grid in whose units the measures come; of the coordinates only if one of them needs these."""
    check_units(units)
    if spacing is not None:
        if units == "pixel":
            raise ValueError(f"units='pixel' and spacing={spacing!r} contradict each other; give one of them")
        grid = given_grid(mask, spacing)
    elif units == "pixel":
        grid = pixel_grid(mask.ndim)
    elif any(entry.on_grid for entry in measures.values()):
        mixed = [name for name, entry in measures.items() if entry.on_grid and not entry.axes_apart]
        if mixed:
            check_lengths(mask, mixed[0], "spacing=1")
            check_one_unit(mask, mixed[0])
        grid = regular_grid(mask, "give spacing=, or drop the coordinate")
    elif any(entry.placed for entry in measures.values()):
        grid = replace(pixel_grid(mask.ndim), units=units_of(mask))
    else:
        grid = pixel_grid(mask.ndim)
    step = tuple(grid.spacing.tolist())
    for name, entry in measures.items():
        if entry.only_unit and (grid.spacing != 1).any():
            raise NotImplementedError(f"{name} is defined for a spacing of 1 only, here it is {step}; give spacing=1")
        if entry.only_isotropic and not np.allclose(grid.spacing, step[0], rtol=1e-6):
            raise NotImplementedError(
                f"{name} is defined for an equal spacing along all dims, here it is {step}; give spacing=1 for pixels"
            )
    return grid


def _about(name: str, entry: Measure, image: xr.DataArray | None, grid: Grid, described: bool) -> dict[str, str]:
    """The attributes of a measure: its name in words, its definition if that is wanted, its units."""
    words = entry.title or name.replace("_", " ")
    if entry.reads_image and not entry.skimage and image is not None:
        words = f"{words} of {display_name(image, 'image')}"
    units = entry.units_in(len(grid.step), None if image is None else image.attrs.get("units"), grid.units)
    definition = {"description": entry.definition} if described else {}
    return {"long_name": words, **definition, **({"units": units} if units else {})}
