"""Calls on every variable of a Dataset that has the dims of a mask."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

import xarray as xr

from xlabelstats.align import share_coords
from xlabelstats.catalogue import FURTHER_PROPERTIES, PROPERTIES, as_measures
from xlabelstats.catalogue.histogram import LEFT, RIGHT
from xlabelstats.cautions import caution, one_call
from xlabelstats.engine.dask_internals import held_data
from xlabelstats.inputs import check_mask, check_pooling
from xlabelstats.labels.weights import weighted_measures
from xlabelstats.multiscale import as_array
from xlabelstats.names import KIND, LABEL_IMAGE, as_names
from xlabelstats.resampling import resampled
from xlabelstats.rows import SKIPNA, names_of_rows, rows_of


@one_call
def per_variable(
    dataset: xr.Dataset,
    mask: Any,
    call: str | Callable[..., Any],
    *arguments: Any,
    once: Collection[str] = (),
    along: Collection[Hashable] = (),
    weights: Any = None,
    align: str | None = None,
    **options: Any,
) -> xr.Dataset:
    """The results of a call of every image of a Dataset over a mask, named ``{name of the result}_{variable}``.

    Parameters
    ----------
    dataset : Dataset
        Its images are the variables of numbers that have the dims of the mask; a warning names the others, but for
        label images of an OME-Zarr.
    mask : DataArray, DataTree or name of a variable
    call : str or callable
        Which call of an image, such as ``labels.mean``; or a function of an image and a mask.
    *arguments, **options
        What it is given after the mask.
    once : collection of names
        Results that depend on the mask alone: they keep their names and appear once.
    along : collection of dims
        Further dims that an image must have.
    weights : DataArray, DataTree or name of a variable, optional
        What weighs the pixels; it is none of the images.
    align : str, optional
        As in `resampled`: once, for all images.
    """
    array = variable(dataset, mask, "mask")
    if options.get("per") is None:
        check_pooling(array)
    images, mask = split(dataset, mask, align)
    images = images.drop_vars([name for name, image in images.items() if _is_label_image(image)])
    if weights is not None:
        options["weights"] = given = variable(dataset, weights, "weights")
        own = given.name if isinstance(weights, xr.DataArray | xr.DataTree) else weights
        if own in images and held_data(images[own]) is held_data(given):
            images = images.drop_vars([own])
    results = []
    for name, image in _measurable(images, mask, along).items():
        measured = attrgetter(call)(image) if isinstance(call, str) else partial(call, image)
        result = measured(mask, *arguments, **options)
        result = result.to_dataset() if isinstance(result, xr.DataArray) else result
        results.append(result.rename({one: f"{one}_{name}" for one in result if one not in once}))
    _check_bins(results)
    merged = xr.merge(in_step(results), compat="override", join="exact", combine_attrs="override")
    # Of images of integers and of floats, NaN pixels of some may have been left out.
    skips = [result[SKIPNA].item() for result in results if SKIPNA in result.coords]
    return merged.assign_coords({SKIPNA: any(skips)}) if len(set(skips)) > 1 else merged


@one_call
def properties_per_variable(
    dataset: xr.Dataset,
    mask: Any,
    properties: str | Iterable[str],
    call: str,
    *,
    align: str | None = None,
    **options: Any,
) -> xr.Dataset:
    """Region properties by a call of an array: those of the mask once, those of an image per variable."""
    names = as_names(properties, "property")
    if align is not None:
        dataset, mask = split(dataset, mask, align)
    known = PROPERTIES | FURTHER_PROPERTIES
    of_image = [name for name in names if name in known and known[name].reads_image]
    of_mask = [name for name in names if name not in of_image]
    results = []
    if of_mask or not of_image:
        results.append(attrgetter(call)(split(dataset, mask)[1])(of_mask, **options))
    if of_image:
        results.append(per_variable(dataset, mask, call, of_image, **options))
    return xr.merge(results, compat="override", join="exact", combine_attrs="override")


def measures_per_variable(
    dataset: xr.Dataset, mask: Any, requests: Any, *, weights: Any = None, align: str | None = None, **options: Any
) -> xr.Dataset:
    """Measures of the catalogue: those of the mask once, those of an image per variable, in the order asked for."""
    measures = as_measures(requests) if weights is None else weighted_measures(requests)
    if align is not None:
        dataset, mask = split(dataset, mask, align)
    of_image: list[Any] = [each for each in measures.values() if each.reads_image]
    of_mask = [each for each in measures.values() if not each.reads_image]
    if not of_image and weights is None:
        return split(dataset, mask)[1].labels.measure(of_mask, **options)
    if not of_image:
        # Weights are checked against the image that they weigh.
        names = [each.name for each in of_mask]
        return measures_per_variable(dataset, mask, [*names, "weight"], weights=weights, **options)[names]
    if weights is not None:
        of_image, options["weights"] = [each.name for each in of_image], weights
    result = per_variable(dataset, mask, "labels.measure", of_image, **options)
    options.pop("weights", None)
    if of_mask:
        of_labels = split(dataset, mask)[1].labels.measure(of_mask, **options)
        result = xr.merge([of_labels, result], compat="override", join="exact", combine_attrs="override")
    order = {name: i for i, name in enumerate(measures)}
    return result[sorted(result, key=lambda name: order[name if name in order else _measure_of(name, measures)])]


def _measure_of(name: Hashable, measures: Iterable[str]) -> str:
    """The measure of a variable ``{measure}_{variable}``."""
    return max((each for each in measures if str(name).startswith(f"{each}_")), key=len)


def split(dataset: xr.Dataset, mask: Any, align: str | None = None) -> tuple[xr.Dataset, xr.DataArray]:
    """The images of a Dataset, and the mask, which may be one of its variables, with the Dataset's coordinates.

    ``align`` is as in `resampled`.
    """
    array = variable(dataset, mask, "mask")
    if array is not mask and not isinstance(mask, xr.DataTree):
        dataset = dataset.drop_vars([mask])
    elif array.name in dataset and held_data(dataset[array.name]) is held_data(array):
        dataset = dataset.drop_vars([array.name])
    # Cast once if at all, so that what is learned of the mask is remembered for all images.
    mask = resampled(dataset, check_mask(array), align)
    fits = all(dataset.sizes.get(dim, size) == size for dim, size in mask.sizes.items())
    return dataset, share_coords(mask, dataset) if fits else mask


def variable(dataset: xr.Dataset, given: Any, role: str) -> xr.DataArray:
    """A DataArray, given or by its name in a Dataset."""
    given = as_array(given)
    if isinstance(given, xr.DataArray):
        return given
    if not isinstance(given, Hashable):
        check_mask(given)
    if given not in dataset:
        raise ValueError(
            f"the Dataset has no variable {given!r} to use as {role}; there are: {', '.join(map(repr, dataset))}"
        )
    return dataset[given]


def _measurable(
    images: xr.Dataset, mask: xr.DataArray, along: Collection[Hashable] = ()
) -> dict[Hashable, xr.DataArray]:
    """The variables that can be measured over the mask, and have some more dims."""
    dims = {*mask.dims, *along}
    wanted = f"a dim of the mask {tuple(mask.dims)}" + (f" or {', '.join(map(repr, along))}" if along else "")
    usable = {name: a for name, a in images.items() if a.dtype.kind in "biuf" and dims <= set(a.dims)}
    left_out = [name for name in images if name not in usable]
    if not usable:
        listed = ", ".join(f"{name!r} {tuple(a.dims)} of {a.dtype}" for name, a in images.items()) or "none"
        raise ValueError(
            f"no variable of the Dataset is numeric and has the dims of the mask {tuple(mask.dims)}"
            f"{''.join(f' and {dim!r}' for dim in along)}; "
            f"there are: {listed}"
        )
    if left_out:
        caution(f"left out, because they are not numeric or lack {wanted}: {', '.join(map(str, left_out))}")
    if len({str(name) for name in usable}) < len(usable):
        raise ValueError(f"variables would have the same name in the result: {', '.join(map(repr, usable))}")
    return usable


def _is_label_image(image: xr.DataArray) -> bool:
    """Whether these are labels of a file; what was computed from them may have kept their attributes."""
    return image.dtype.kind in "iu" and image.attrs.get(KIND) == LABEL_IMAGE


def _check_bins(results: Sequence[xr.Dataset]) -> None:
    """Complain if the histograms of the images have different bins."""
    edges = [result.coords.to_dataset()[[LEFT, RIGHT]] for result in results if LEFT in result.coords]
    for other in edges[1:]:
        if not other.equals(edges[0]):
            spans = (f"from {each[LEFT].values[0]:g} to {each[RIGHT].values[-1]:g}" for each in (edges[0], other))
            raise ValueError(
                f"the bins of the variables differ: {' and '.join(spans)}; give range=(low, high), or edges, that hold "
                "for all"
            )


def in_step(results: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """Results with the rows in the order of the first, and with equal chunks along them.

    The order of lazy windows is that of the image's blocks, and their chunks are such that each takes some memory.
    """
    dim = rows_of(results[0])
    order = names_of_rows(results[0])
    rows = [names_of_rows(result) for result in results]
    same = [each.equals(order) for each in rows]
    sorted_alike = [
        one if alike else one.isel({dim: each.get_indexer(order)})
        for one, each, alike in zip(results, rows, same, strict=True)
    ]
    sizes = [one.chunksizes[dim][0] for one in results if dim in one.chunksizes]
    if all(same) and len(set(sizes)) < 2:
        return sorted_alike
    return [one.chunk({dim: min(sizes)}) if dim in one.chunksizes else one for one in sorted_alike]
