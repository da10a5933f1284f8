"""The morphological profile of every object: the families of measures that CellProfiler has."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import check_match, share_coords
from xlabelstats.catalogue import CATALOGUE
from xlabelstats.catalogue.histogram import dtype_range
from xlabelstats.catalogue.measure import Measure
from xlabelstats.catalogue.profiles import PROFILE, Family
from xlabelstats.catalogue.texture import OWN
from xlabelstats.catalogue.vocabulary import meaning_of
from xlabelstats.cautions import caution, one_call
from xlabelstats.grid import grid_of_lengths
from xlabelstats.inputs import check_image, check_is_mask, check_on_host, check_taken, each_time, time_dims
from xlabelstats.instances.windows import check_batch
from xlabelstats.labels.closest import ABOUT, with_closest
from xlabelstats.labels.measure import measured
from xlabelstats.labels.per import apart
from xlabelstats.names import as_names, check_known, letter_of
from xlabelstats.resampling import resampled
from xlabelstats.variables import in_step, per_variable, split

ALL = "all"

# The parameters of texture, and what they are unless they are given.
DEFAULTS: dict[str, Any] = {"scale": 3, "levels": 256, "range": None}

# The dim of an image that holds its channels, where several may.
CHANNEL = "c"


@one_call
@apart()
def profile(
    image: xr.DataArray | None,
    mask: xr.DataArray,
    families: str | Iterable[str] = ALL,
    *,
    scale: Any = DEFAULTS["scale"],
    levels: Any = DEFAULTS["levels"],
    range: Any = DEFAULTS["range"],
    labels: Any = None,
    background: bool = False,
    skipna: bool | None = None,
    batch_size: int | None = None,
    align: str | None = None,
    of_mask: bool = True,
) -> xr.Dataset:
    """Measure the families of a CellProfiler profile of every object; see `InstancesAccessor.profile`.

    Without an image only those that the mask alone tells, and without ``of_mask`` none of these.
    """
    names, batch = names_of(families), check_batch(batch_size)
    options = {"scale": plain(scale), "levels": levels, "range": plain(range)}
    check_options(names, options)
    check_is_mask(mask, image)
    mask = _in_order(resampled(image, mask, align))
    if image is not None:
        check_image(image)
        check_match(image, mask)
    _check_ndim(mask, image)
    chosen = _families_for(names, image, mask, options)
    chosen = {name: family for name, family in chosen.items() if (of_mask if family.of_mask else image is not None)}
    check_on_host(f"profile ({', '.join(chosen)})", mask=mask, **({} if image is None else {"image": image}))
    options["dim"] = None if image is None else _channel_dim(image, mask)
    closest = any(family.closest for family in chosen.values())
    if closest and image is not None:
        check_taken(image, tuple(dim for dim in image.dims if dim not in mask.dims), ABOUT)
    if closest:
        _warn_of_spacing(mask, image)
    measures: Mapping[str, Measure] = {
        name: entry for family in chosen.values() for name, entry in family.entries(mask.ndim, options).items()
    }
    result = measured(
        image,
        mask,
        measures,
        labels=labels,
        background=background,
        skipna=skipna,
        units="pixel",
        together=True,
        batch=batch,
        call="image.instances.profile(mask)",
    )
    return with_closest(result, mask) if closest else result


@one_call
def profile_per_variable(
    dataset: xr.Dataset, mask: Any, families: Any, *, align: str | None = None, **options: Any
) -> xr.Dataset:
    """The profile in every image of a Dataset; what the mask alone tells once."""
    names = names_of(families)
    if align is not None:
        dataset, mask = split(dataset, mask, align)
    chosen = PROFILE if names == (ALL,) else {name: PROFILE[name] for name in names}
    results = []
    if any(family.of_mask for family in chosen.values()):
        results.append(profile(None, split(dataset, mask)[1], names, **options))
    if not all(family.of_mask for family in chosen.values()):
        results.append(per_variable(dataset, mask, partial(profile, of_mask=False), names, **options))
    return xr.merge(in_step(results), compat="override", join="exact", combine_attrs="override")


def names_of(families: Any) -> tuple[str, ...]:
    """The names of the families asked for, which may be `ALL`, or a complaint."""
    if isinstance(families, Mapping):
        raise TypeError("families are names, not a mapping; scale=, levels= and range= are parameters of the call")
    names = as_names(families, "family")
    check_known(names, (ALL, *PROFILE), "family", _answer_for)
    if not names:
        raise ValueError(f"no family was asked for; there are: {', '.join((ALL, *PROFILE))}")
    return (ALL,) if ALL in names else names


def _answer_for(name: str) -> str | None:
    """What to call if a family is asked for that is none."""
    if name in CATALOGUE:
        return f"is one measure: image.labels.measure(mask, {name!r})"
    said = meaning_of(name)
    return f"is {said}" if said else None


def check_options(names: tuple[str, ...], options: Mapping[str, Any], defaults: Mapping[str, Any] = DEFAULTS) -> None:
    """Complain about parameters of texture, by the names that the user gives them, where it is not asked for."""
    given = [name for name, value in options.items() if value != defaults[name]]
    if given and not {ALL, "texture"} & {*names}:
        raise ValueError(
            f"{given[0]}={options[given[0]]!r} is for the family texture, which is not asked for; leave it out, or add "
            "'texture' to the families"
        )


def plain(value: Any) -> Any:
    """An option as numbers and lists of these."""
    return value if value is None or isinstance(value, str) else np.asarray(value).tolist()


def _in_order(mask: xr.DataArray) -> xr.DataArray:
    """A mask with its dims in the order z, y, x if they are named so, since angles and directions depend on it."""
    letters = {dim: letter_of(dim) or "" for dim in mask.dims}
    if {*letters.values()} <= {*"XYZ"} and len({*letters.values()}) == mask.ndim:
        mask = mask.transpose(*sorted(mask.dims, key=letters.__getitem__, reverse=True))
    return mask


def _check_ndim(mask: xr.DataArray, image: xr.DataArray | None) -> None:
    if mask.ndim in (2, 3):
        return
    times = time_dims(mask, image)
    hint = f". To measure each time apart: {each_time(times[0])}" if times and mask.ndim == 4 else ""
    raise ValueError(f"profiles are of 2-D and 3-D masks; this one has the dims {tuple(mask.dims)}{hint}")


def _families_for(
    names: tuple[str, ...], image: xr.DataArray | None, mask: xr.DataArray, options: Mapping[str, Any]
) -> dict[str, Family]:
    """The families asked for; of all of them those that the input has, with a warning where that may surprise."""
    every = names == (ALL,)
    chosen = dict(PROFILE) if every else {name: PROFILE[name] for name in names}
    flat = [name for name, family in chosen.items() if family.only_2d and mask.ndim != 2]
    if flat and not every:
        raise NotImplementedError(
            f"{', '.join(flat)}: defined for 2-D masks only; this one has the dims {tuple(mask.dims)}"
        )
    if flat:
        caution(f"left out, because they are defined for 2-D masks only: {', '.join(flat)}")
    without = _without_levels(image, options) if "texture" in chosen else ""
    if without and not every:
        raise ValueError(f"texture of {without}")
    if without:
        caution(f"left out: texture, which of {without}")
    alone = _without_pairs(image, mask) if "correlation" in chosen else ""
    if alone and not every:
        raise ValueError(f"the family correlation compares channels, {alone}")
    if alone and image is not None and _channel_dim(image, mask) is None and {*image.dims} > {*mask.dims}:
        caution(f"left out: the family correlation, which compares channels, {alone}")
    left_out = {*flat, *(["texture"] if without else []), *(["correlation"] if alone else [])}
    return {name: family for name, family in chosen.items() if name not in left_out}


def _warn_of_spacing(mask: xr.DataArray, image: xr.DataArray | None) -> None:
    """Warn if the closest labels by pixels may not be those by coordinates."""
    if not mask.size:
        return
    # Along the others there are no distances.
    mask = mask.isel({dim: 0 for dim in mask.dims if mask.sizes[dim] == 1 or dim in time_dims(mask, image)})
    if mask.ndim < 2:
        return
    placed = mask if image is None else share_coords(mask, image)
    try:
        spacing = grid_of_lengths(placed, "the distance of neighbors", str).spacing
    except ValueError:
        # There is no distance but that in pixels.
        return
    if not np.allclose(spacing, spacing[:1], rtol=1e-6):
        listed = ", ".join(f"{dim} {step:g}" for dim, step in zip(mask.dims, spacing, strict=True))
        caution(
            f"neighbors: the closest labels and their distances are in pixels, though the spacing differs ({listed}); "
            "for distances in units of the mask's coordinates: mask.labels.neighbors(distance, between='centroids')"
        )


def _without_levels(image: xr.DataArray | None, options: Mapping[str, Any]) -> str:
    """Why an image has no grey levels; empty if it has."""
    if image is None or options["range"] is not None or image.dtype.kind == "b" or dtype_range(image.dtype):
        return ""
    return (
        f"an image of {image.dtype} needs the range of its grey levels: give range=(low, high), or range={OWN!r} for "
        "the least and greatest pixel of every object"
    )


def _without_pairs(image: xr.DataArray | None, mask: xr.DataArray) -> str:
    """Why an image has no channels to compare; empty if it has, or if there is none."""
    if image is None:
        return ""
    dim = _channel_dim(image, mask)
    if dim is None:
        return (
            f"but which dim of this image {tuple(image.dims)} has the channels is not clear; name it {CHANNEL!r}: "
            f".rename({{dim: {CHANNEL!r}}}), or use image.labels.correlation(mask, dim=...)"
        )
    return "" if image.sizes[dim] > 1 else f"but this image has {image.sizes[dim]} along {dim!r}"


def _channel_dim(image: xr.DataArray, mask: xr.DataArray) -> Hashable | None:
    """The dim along which the channels of an image lie."""
    other = [dim for dim in image.dims if dim not in mask.dims]
    named = [dim for dim in other if letter_of(dim) == "C"]
    if CHANNEL in other or len(named) == 1:
        return CHANNEL if CHANNEL in other else named[0]
    # Times and planes are no channels.
    alone = len(other) == 1 and letter_of(other[0]) is None and image[other[0]].dtype.kind not in "mM"
    return other[0] if alone else None
