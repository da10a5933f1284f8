"""Results of labels merged to those of groups of labels: cells to regions, regions to the structures that hold them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.catalogue import FURTHER_PROPERTIES, OBJECT_PROPERTIES, PROPERTIES, STATISTICS
from xlabelstats.catalogue.intensity import PixelStatistics
from xlabelstats.extras import need
from xlabelstats.hierarchy import as_groups, as_hierarchy
from xlabelstats.inputs import check_on_host, is_dask, is_sparse
from xlabelstats.labels.groups import Members, groups_of, members_of
from xlabelstats.names import LABEL
from xlabelstats.rows import DDOF, SKIPNA, ids_of, rows_of

# What adds up, and of what the least or the greatest is taken.
SUMS = ("count", "num_pixels", "valid", "weight", "sum", "area", "points")
EXTREMES = {"min": np.minimum, "bbox_min": np.minimum, "max": np.maximum, "bbox_max": np.maximum}
# What is put together from the statistics named, beside the number of pixels.
MOMENTS = {"mean": (), "var": ("mean",), "std": ("mean",), "skew": ("mean", "var"), "kurtosis": ("mean", "var", "skew")}
SIZES = ("count", "num_pixels", "area")
# Statistics of an image; in the result of a Dataset the name of the image comes after theirs.
OF_IMAGE = ("valid", "weight", "sum", "min", "max", *MOMENTS)

# The bytes that a task holds of one statistic of all labels, if there are several channels to choose from.
TASK_BYTES = 2**25


def rollup(result: xr.Dataset, groups: Any = None, hierarchy: Any = None) -> xr.Dataset:
    """A result of labels merged to groups; see `LabelsDatasetAccessor.rollup`."""
    if groups is None and hierarchy is None:
        raise TypeError("rollup needs groups, a group per label, or hierarchy, a parent per structure")
    for variable in result.values():
        check_on_host("rollup", result=variable)
    rows = rows_of(result)
    _check_rows(result, rows)
    tree = None if hierarchy is None else as_hierarchy(hierarchy)
    group = as_groups(ids_of(result)) if groups is None else groups_of(result, groups)
    members, coords = members_of(result, group, tree)
    steps = _steps(result)
    variables = {}
    for name, step in steps.items():
        dims, data = _computed(step, result, rows, members)
        variables[name] = xr.Variable((rows, *dims), data, result[name].attrs)
    kept = {
        name: coord.variable for name, coord in result.coords.items() if rows not in coord.dims and name not in coords
    }
    return xr.Dataset(variables, coords={**coords, **kept}, attrs=result.attrs)


@dataclass(frozen=True)
class Step:
    """How a variable is merged.

    Attributes
    ----------
    statistic : str
    inputs : mapping of str to str
        The variables that it is made of, by what they are: statistics, and ``n``, what each label weighs.
    ddof : float
    skips : bool
        Whether a NaN says that a label has no valid pixel, rather than that some pixel is NaN.
    """

    statistic: str
    inputs: Mapping[str, Hashable]
    ddof: float = 0
    skips: bool = True


def _check_rows(result: xr.Dataset, rows: str) -> None:
    if not isinstance(result, xr.Dataset) or rows not in result.dims or LABEL not in result.coords:
        raise ValueError(
            f"this has no dim {LABEL!r} with the labels as coordinate, so there is nothing to merge; a result of "
            "image.labels.aggregate(mask) has one"
        )
    without = [name for name, variable in result.items() if rows not in variable.dims]
    if without:
        raise ValueError(f"variable {without[0]!r} has no dim {rows!r}; leave it out: result.drop_vars({without[0]!r})")


def _steps(result: xr.Dataset) -> dict[Hashable, Step]:
    """How every variable of a result is merged, or a complaint that names those that cannot be."""
    recorded = {name: result.coords[name].item() for name in (DDOF, SKIPNA) if _is_scalar(result, name)}
    # One call names all statistics of images after these, or none: else what is recorded is not of all of them.
    images = {suffix for statistic, suffix in map(_statistic_of, map(str, result)) if statistic in OF_IMAGE}
    one_call = len(images) == 1 or "" not in images
    steps: dict[Hashable, Step] = {}
    unknown: list[str] = []
    lacking: dict[str, list[str]] = {}
    for name in result:
        statistic, suffix = _statistic_of(str(name))
        if statistic is None:
            unknown.append(str(name))
            continue
        steps[name], lacks = _step(result, name, statistic, suffix, recorded, one_call)
        if lacks:
            lacking[str(name)] = lacks
    if unknown:
        rest = [str(name) for name in result if str(name) not in unknown]
        raise ValueError(
            f"{', '.join(unknown)} of a group cannot be computed from those of its labels. "
            + (
                f"Leave {'it' if len(unknown) == 1 else 'them'} out: result[{rest}].labels.rollup(...). "
                if rest
                else ""
            )
            + f"{'Or m' if rest else 'M'}easure the groups themselves, over mask.labels.paint(groups)"
        )
    if lacking:
        every = dict.fromkeys(lack for lacks in lacking.values() for lack in lacks)
        of_lack = {lack: [name for name, lacks in lacking.items() if lack in lacks] for lack in every}
        raise ValueError(
            "; ".join(
                f"{', '.join(names)} {'needs' if len(names) == 1 else 'need'} {lack}" for lack, names in of_lack.items()
            )
        )
    return steps


def _is_scalar(result: xr.Dataset, name: str) -> bool:
    return name in result.coords and result.coords[name].ndim == 0


def _statistic_of(name: str) -> tuple[str | None, str]:
    """The statistic of a variable, None for one that cannot be merged, and what follows it: the name of an image."""
    if name in SUMS or name in EXTREMES or name in MOMENTS or name == "centroid":
        return name, ""
    known = {*STATISTICS, *PROPERTIES, *FURTHER_PROPERTIES, *OBJECT_PROPERTIES}
    fits = [one for one in OF_IMAGE if name.startswith(f"{one}_") and name not in known]
    return (fits[0], name.removeprefix(fits[0])) if fits else (None, "")


def _step(
    result: xr.Dataset, name: Hashable, statistic: str, suffix: str, recorded: Mapping[str, Any], one_call: bool
) -> tuple[Step, list[str]]:
    """How a variable is merged, and what is lacking for it; ``one_call``: whether what is recorded is of all."""
    inputs: dict[str, Hashable] = {statistic: name}
    skips = bool(recorded.get(SKIPNA, True))
    if statistic in SUMS:
        return Step(statistic, inputs), []
    if statistic in EXTREMES:
        if not skips and "count" in result:
            inputs["count"] = "count"
        return Step(statistic, inputs, skips=skips), []
    if statistic == "centroid":
        size = next((one for one in SIZES if one in result), None)
        return Step(statistic, {"n": size or "", **inputs}), [] if size else ["count"]
    lacks = []
    weighted, valid = f"weight{suffix}", f"valid{suffix}"
    no_pixel_left_out = recorded.get(SKIPNA) is False or str(recorded.get(SKIPNA)) == "False"
    if weighted in result:
        inputs["n"] = weighted
        if not skips and f"sum{suffix}" in result:
            inputs["sum"] = f"sum{suffix}"
        elif not skips:
            lacks.append(
                f"sum{suffix}, which tells a label whose pixels weigh nothing from one with NaN pixels, and which the "
                "result has not"
            )
        skips = True
    elif no_pixel_left_out and one_call and "count" in result:
        inputs["n"], skips = "count", True
    elif valid in result:
        inputs["n"] = valid
    else:
        lacks.append(
            f"{valid}, the number of pixels that are not NaN, which the result has not (count can stand in for it only "
            "if the result says that no NaN pixel was left out: an image of integers, or skipna=False): "
            "image.labels.aggregate(mask, ('mean', 'valid', ...))"
        )
    for other in MOMENTS[statistic]:
        # A standard deviation tells the variance too.
        fits = [one for one in ((other, "std") if other == "var" else (other,)) if f"{one}{suffix}" in result]
        if fits:
            inputs[fits[0]] = f"{fits[0]}{suffix}"
        else:
            lacks.append(f"{other}{suffix}, which the result has not")
    ddof = 0.0
    if statistic != "mean" and weighted not in result:
        if DDOF not in recorded:
            lacks.append(f"the coordinate {DDOF!r}, one number: result.assign_coords({DDOF}=0)")
        ddof = float(recorded.get(DDOF, 0))
    return Step(statistic, inputs, ddof, skips), lacks


def _computed(step: Step, result: xr.Dataset, rows: str, members: Members) -> tuple[tuple[Hashable, ...], Any]:
    """The dims beside the rows, and the values, of a merged variable; lazy if one of its inputs is."""
    arrays = {what: result[name] for what, name in step.inputs.items()}
    dims = tuple(dict.fromkeys(dim for array in arrays.values() for dim in array.dims if dim != rows))
    of = result[step.inputs[step.statistic]]
    dims = (*(dim for dim in of.dims if dim != rows), *(dim for dim in dims if dim not in of.dims))
    arrays = {
        what: array.transpose(rows, *(dim for dim in dims if dim in array.dims)) for what, array in arrays.items()
    }
    axes = [tuple(1 + dims.index(dim) for dim in array.dims[1:]) for array in arrays.values()]
    call = partial(_merged, step=step, names=tuple(arrays), axes=axes, ndim=1 + len(dims))
    data = [array.data for array in arrays.values()]
    if any(map(is_sparse, data)):
        return dims, _sparse_sums(step, arrays[step.statistic], members)
    if not any(map(is_dask, data)):
        return dims, call(*data, members.rows, members.groups, members.starts)
    import dask.array as da

    member, group, row = 1 + len(dims), 2 + len(dims), 0
    held = [da.from_array(array, chunks=-1) for array in (members.rows, members.groups, members.starts)]
    lazy = [_columns(array) for array in data]
    merged = da.blockwise(
        call,
        (group, *range(1, 1 + len(dims))),
        *(part for array, where in zip(lazy, axes, strict=True) for part in (array, (row, *where))),
        held[0],
        (member,),
        held[1],
        (member,),
        held[2],
        (group,),
        concatenate=True,
        dtype=of.dtype,
        meta=np.empty((0,) * (1 + len(dims)), of.dtype),
    )
    return dims, merged


def _sparse_sums(step: Step, array: xr.DataArray, members: Members) -> Any:
    """The sums of a sparse array (row, ...) over the rows of every group, sparse too."""
    sparse = need("sparse", "points", "rollup of sparse counts")
    if step.statistic not in SUMS:
        raise TypeError(f"{array.name!r} is sparse, of which only sums merge; make it dense: .data.todense()")
    of_groups = np.stack([members.groups, members.rows])
    shape = (members.starts.size, array.shape[0])
    belong = sparse.COO(of_groups, np.ones(of_groups.shape[1], array.dtype), shape=shape)
    return sparse.tensordot(belong, array.data, axes=1, return_type=sparse.COO)


def _columns(array: Any) -> Any:
    """An array (row, ...) as a dask array with all rows in every chunk, and few of the other elements."""
    import dask.array as da

    lazy = array if is_dask(array) else da.from_array(np.asarray(array), chunks=-1)
    others = math.prod(lazy.shape[1:])
    if not others or lazy.shape[0] * others * lazy.dtype.itemsize <= TASK_BYTES:
        return lazy.rechunk({0: -1})
    return lazy.rechunk({0: -1, **dict.fromkeys(range(1, lazy.ndim), "auto")}, block_size_limit=TASK_BYTES)


def _merged(*arrays: np.ndarray, step: Step, names: Sequence[str], axes: Sequence[tuple[int, ...]], ndim: int) -> Any:
    """Merge one variable; the inputs (row, ...) are followed by what `Members` holds."""
    members = Members(*arrays[len(names) :])
    inputs = {}
    for name, array, where in zip(names, arrays, axes, strict=False):
        missing = tuple(axis for axis in range(1, ndim) if axis not in where)
        inputs[name] = np.expand_dims(np.asarray(array)[members.rows], missing)
    values = inputs[step.statistic]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if step.statistic in SUMS:
            return members.fold(np.add, values)
        if step.statistic in EXTREMES:
            return _extreme(step, inputs, members)
        if step.statistic == "centroid":
            n = inputs["n"].astype(np.float64)
            total = members.fold(np.add, n)
            return _mean(members, n, values, total)
        return STATISTICS[step.statistic].formula(_pixels(step, inputs, members))


def _extreme(step: Step, inputs: Mapping[str, np.ndarray], members: Members) -> np.ndarray:
    values, function = inputs[step.statistic], EXTREMES[step.statistic]
    if values.dtype.kind == "f" and step.skips:
        function = np.fmin if function is np.minimum else np.fmax
    elif values.dtype.kind == "f" and "count" in inputs:
        # A label that was asked for and does not occur is NaN too, and says nothing of its group.
        present = inputs["count"] > 0
        none = np.inf if function is np.minimum else -np.inf
        merged = members.fold(function, np.where(present, values, none).astype(values.dtype))
        return np.where(members.fold(np.logical_or, present), merged, np.nan).astype(values.dtype)
    return members.fold(function, values)


def _mean(members: Members, n: np.ndarray, means: np.ndarray, total: np.ndarray) -> np.ndarray:
    """The weighted mean of every group, found in two steps, so that large means cost no precision."""
    first = members.fold(np.add, n * means) / total
    rest = members.fold(np.add, n * (means - first[members.groups])) / total
    return np.where(np.isfinite(rest), first + rest, first)


def _pixels(step: Step, inputs: Mapping[str, np.ndarray], members: Members) -> PixelStatistics:
    """What the statistics of groups are computed from; moments about the means of groups, by the binomial theorem."""
    n = inputs["n"].astype(np.float64)
    means = inputs["mean"]
    if step.skips:
        # The sum over NaN pixels is NaN, also where the others weigh nothing.
        means = np.where((n > 0) | np.isnan(inputs.get("sum", 0)), means, 0)
    total = members.fold(np.add, n)
    mean = _mean(members, n, means, total)
    parts = {"valid": np.broadcast_to(total, mean.shape), "sum": mean * total}
    if step.statistic != "mean":
        off = means - mean[members.groups]
        m2 = _second(step, inputs, n)
        parts["m2"] = members.fold(np.add, m2 + n * off**2)
    if step.statistic in ("skew", "kurtosis"):
        spread = m2 / n
        # Labels of equal pixels have no skewness, and a third moment of 0, unless a pixel is NaN.
        m3 = inputs["skew"] * spread * np.sqrt(spread) * n
        m3 = np.where(np.isfinite(inputs["skew"]), m3, m2 * 0)
        parts["m3"] = members.fold(np.add, m3 + 3 * off * m2 + n * off**3)
    if step.statistic == "kurtosis":
        m4 = np.where(np.isfinite(inputs["kurtosis"]), (inputs["kurtosis"] + 3) * spread**2 * n, m2 * 0)
        parts["m4"] = members.fold(np.add, m4 + 4 * off * m3 + 6 * off**2 * m2 + n * off**4)
    return PixelStatistics(**parts, ddof=step.ddof)


def _second(step: Step, inputs: Mapping[str, np.ndarray], n: np.ndarray) -> np.ndarray:
    """The sum of squared deviations of every label from its mean."""
    variance = inputs["var"] if "var" in inputs else inputs["std"] ** 2
    # A variance of no more pixels than ddof is NaN, which of a single pixel is known to be 0.
    few = np.where(n > 1, np.nan, 0.0)
    return np.where(n > step.ddof, variance * (n - step.ddof), few)
