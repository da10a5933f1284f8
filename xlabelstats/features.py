"""The features of a result: of what every row has a number, and what each of them is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.catalogue import CATALOGUE, FAMILIES
from xlabelstats.catalogue.cellprofiler import IMAGE, NAMINGS, REPEATS, Place, column_of, column_of_pair
from xlabelstats.catalogue.measure import PER_AXIS, Measure
from xlabelstats.catalogue.order import PATTERN, PERCENTILE
from xlabelstats.catalogue.profiles import PROFILE
from xlabelstats.inputs import dense
from xlabelstats.names import letter_of
from xlabelstats.rows import rows_of

# The family that a measure is listed under: that of profiles, or else that of the catalogue.
_FAMILY = {
    **{entry.name: family for family, entries in FAMILIES.items() for entry in entries},
    **{name: "neighbors" for name, naming in NAMINGS.items() if naming.base.startswith("Neighbors")},
    **{name: family for family, entries in PROFILE.items() for name in entries.measures},
}


@dataclass(frozen=True)
class Contents:
    """What a variable of a result holds.

    Attributes
    ----------
    variable : DataArray
    measure : str
        Empty if it is none.
    image : str
        The image that was measured, if the result says which.
    own : tuple of str
        The dims of the measure; all but those of channels if it is none.
    ndim : int
        Of the mask: 2 or 3.
    """

    variable: xr.DataArray
    measure: str
    image: str
    own: tuple[str, ...]
    ndim: int

    @property
    def name(self) -> str:
        """The name of the variable."""
        return str(self.variable.name)

    @property
    def family(self) -> str:
        """The family of the measure; empty if it has none."""
        return _FAMILY.get(self.measure) or ("order" if PATTERN.fullmatch(self.measure) else "")

    @cached_property
    def coords(self) -> dict[str, tuple[str, Sequence[Any]]]:
        """The dim and the values of every coordinate along one dim beside the rows; numbers where a dim has none."""
        dims = {str(dim): (str(dim), range(self.variable.sizes[dim])) for dim in other_dims(self.variable)}
        along = {str(name): each for name, each in self.variable.coords.items() if len(each.dims) == 1}
        return dims | {
            name: (str(each.dims[0]), each.to_numpy()) for name, each in along.items() if str(each.dims[0]) in dims
        }

    @cached_property
    def along(self) -> dict[str, Sequence[Any]]:
        """The coordinates along the dims of the measure."""
        return {name: values for name, (dim, values) in self.coords.items() if dim in self.own}

    @property
    def whole(self) -> bool:
        """Whether the measure has all elements along dims without coordinates, whose numbers are part of names."""
        entry = CATALOGUE.get(self.measure)
        if entry is None:
            return True
        prefix = PER_AXIS.format(axis="")
        axes = [dim.removeprefix(prefix) for dim in self.own if dim.startswith(prefix)]
        shape = {} if entry.pairs else entry.shape(axes or range(self.ndim))
        # The elements of tensors are numbered by their axes.
        tensor = "axis_" in self.own
        numbered = [dim for dim in self.own if dim not in self.variable.coords or (tensor and dim in ("axis", "axis_"))]
        return all(self.variable.sizes[dim] >= shape.get(dim, 0) for dim in numbered)

    def channel(self, index: Mapping[str, int], instead: Mapping[str, Any] | None = None) -> str:
        """The channel of an element, or its positions along several dims of the image; empty if there is none.

        Along a dim of ``instead``, it is that one.
        """
        given = instead or {}
        parts = [str(given.get(dim, self.coords[dim][1][i])) for dim, i in index.items() if dim not in self.own]
        # The image is that of a Dataset, or else it has no channels.
        return "_".join([self.image, *parts]) if self.image else "_".join(parts)


@dataclass(frozen=True)
class Feature:
    """One number of every row: an element of a variable.

    Attributes
    ----------
    name : str
        As `LabelsDatasetAccessor.to_dataframe` names it.
    contents : Contents
    index : mapping of dim to int
        Which element of the variable it is.
    """

    name: str
    contents: Contents
    index: Mapping[str, int]

    @property
    def channel(self) -> str:
        """The channel; empty if there is none."""
        return self.contents.channel(self.index)

    @property
    def at(self) -> dict[str, Any]:
        """The coordinate along every dim of the measure."""
        places = {dim: self.contents.coords[dim][1][self.index[dim]] for dim in self.contents.own}
        # The second of two channels, as text like the first.
        return {dim: str(place) if _first_of(dim) in self.index else place for dim, place in places.items()}

    @property
    def pair(self) -> tuple[str, Any, Any]:
        """The dim of the first channel, and both channels, of a measure of two."""
        (second,) = self.contents.own
        first = _first_of(second)
        one, two = (self.contents.coords[dim][1][self.index[dim]] for dim in (first, second))
        return first, one, two

    @property
    def mirrored(self) -> bool:
        """Whether the result has the two channels of a measure of two in the other order as well."""
        (second,) = self.contents.own
        first, one, two = self.pair
        return one in [*self.contents.coords[second][1]] and two in [*self.contents.coords[first][1]]

    @property
    def cellprofiler(self) -> str | None:
        """CellProfiler's name of it: ours if it has none, None if it leaves the number out, as it repeats another."""
        contents = self.contents
        naming = NAMINGS.get(contents.measure)
        if naming is None:
            return self.name
        if naming.pairs:
            first, one, two = self.pair
            order = [*contents.coords[first][1]]
            if one == two or (naming.once and self.mirrored and order.index(one) > order.index(two)):
                return None
            return column_of_pair(naming, self.channel, contents.channel(self.index, {first: two}))
        image = (self.channel or IMAGE) if naming.reads_image else self.channel
        place = Place({name: self.index[contents.coords[name][0]] for name in contents.along}, contents.along)
        return (column_of(naming, image, place, contents.ndim) if contents.whole else None) or self.name


def features_of(result: xr.Dataset) -> Iterator[tuple[Feature, np.ndarray]]:
    """Every feature of a result in memory, and its values; in the order of variables and elements."""
    ndim = _ndim_of(result)
    for name, variable in result.items():
        contents = _contents_of(variable.rename(name), result, ndim)
        dims = other_dims(variable)
        places = itertools.product(*(range(variable.sizes[dim]) for dim in dims))
        for element, index, values in zip(elements(variable), places, by_element(variable).T, strict=True):
            place = dict(zip(map(str, dims), index, strict=True))
            yield Feature("_".join([str(name), *element]), contents, place), values


def in_cellprofilers_words(result: xr.Dataset, compartment: str | None) -> Iterator[tuple[str, Feature, np.ndarray]]:
    """The features of a result under CellProfiler's names and in its units; those that it has not under ours."""
    for feature, values in features_of(result):
        measure, name = feature.contents.measure, feature.cellprofiler
        repeated = measure in REPEATS and REPEATS[measure] + feature.contents.name.removeprefix(measure) in result
        if name is not None and not (repeated and feature.mirrored):
            factor = NAMINGS[measure].factor if measure in NAMINGS else 1
            yield (
                name if compartment is None else f"{compartment}_{name}",
                feature,
                values * factor if factor != 1 else values,
            )


def about(features: Sequence[Feature]) -> dict[str, list[Any]]:
    """Columns that describe features: measure, family, channel, and the coordinate along every other dim."""
    columns: dict[str, list[Any]] = {
        "measure": [feature.contents.measure or feature.contents.name for feature in features],
        "family": [feature.contents.family for feature in features],
        "channel": [feature.channel for feature in features],
    }
    places = [feature.at for feature in features]
    for dim in dict.fromkeys(dim for place in places for dim in place if dim not in columns):
        values = [place.get(dim) for place in places]
        numeric = all(isinstance(value, int | float | np.number) for value in values if value is not None)
        empty = math.nan if numeric else ""
        columns[dim] = [empty if value is None else value if numeric else str(value) for value in values]
    return columns


def other_dims(variable: xr.DataArray) -> list[Hashable]:
    """The dims of a variable beside its rows."""
    return [dim for dim in variable.dims if dim != rows_of(variable)]


def by_element(variable: xr.DataArray) -> np.ndarray:
    """A variable as (label, element)."""
    values = dense(variable).transpose(rows_of(variable), ...).to_numpy()
    return values.reshape(len(values), math.prod(values.shape[1:]))


def elements(variable: xr.DataArray) -> list[tuple[str, ...]]:
    """The names of a variable's elements per label: for each a name per dim, its coordinate or number."""
    other = other_dims(variable)
    keys = [variable[dim].to_numpy() if dim in variable.coords else range(variable.sizes[dim]) for dim in other]
    return [tuple(map(str, element)) for element in itertools.product(*keys)]


def _contents_of(variable: xr.DataArray, result: xr.Dataset, ndim: int) -> Contents:
    """What a variable holds, by its name and dims; of several images also by what it says of itself."""
    name = str(variable.name)
    other = tuple(map(str, other_dims(variable)))
    whole = _entry(name)
    candidates = [(name, whole, "")] if name in NAMINGS or whole is not None else []
    for i in [i for i, letter in enumerate(name) if letter == "_"][::-1]:
        measure, image = name[:i], name[i + 1 :]
        entry = _entry(measure)
        # The variables of users may start as a measure does: min_distance.
        if entry is not None and _image_said(variable, measure, entry) == image:
            candidates.append((measure, entry, image))
    for measure, entry, image in candidates:
        own = _own_dims(measure, entry, other)
        reads_image = entry is not None and entry.reads_image
        if own is None or (not reads_image and len(own) < len(other)):
            continue
        return Contents(variable, measure, image or _lone_image(variable, measure, entry, own, other), own, ndim)
    return Contents(variable, "", "", tuple(dim for dim in other if letter_of(dim) != "C"), ndim)


def _first_of(second: str) -> str:
    """The dim of the first of two channels; empty if a dim is not that of the second."""
    return second.removesuffix("_") if second.endswith("_") else ""


def _entry(measure: str) -> Measure | None:
    return CATALOGUE.get(measure) or (PERCENTILE if PATTERN.fullmatch(measure) else None)


def _own_dims(measure: str, entry: Measure | None, other: tuple[str, ...]) -> tuple[str, ...] | None:
    """The dims of a measure among those of a variable; None if it lacks one of them."""
    dims = NAMINGS[measure].dims if entry is None else entry.dims
    if entry is not None and entry.pairs is not None:
        seconds = tuple(dim for dim in other if _first_of(dim) in other)
        return seconds if len(seconds) == 1 else None
    if PER_AXIS in dims:
        prefix = PER_AXIS.format(axis="")
        return tuple(dim for dim in other if dim.startswith(prefix)) or None
    return dims if {*dims} <= {*other} else None


def _image_said(variable: xr.DataArray, measure: str, entry: Measure) -> str | None:
    """The image that a variable says it measures."""
    start = f"{entry.title or measure.replace('_', ' ')} of "
    said = str(variable.attrs.get("long_name", ""))
    return said.removeprefix(start) if entry.reads_image and said.startswith(start) else None


def _lone_image(
    variable: xr.DataArray, measure: str, entry: Measure | None, own: tuple[str, ...], other: tuple[str, ...]
) -> str:
    """The image of what was measured without channels: the one channel that was chosen, or the name of the image."""
    if entry is None or not entry.reads_image or len(own) < len(other):
        return ""
    chosen = [str(coord.item()) for name, coord in variable.coords.items() if not coord.ndim and letter_of(name) == "C"]
    said = _image_said(variable, measure, entry)
    # What an image without a name is called.
    return chosen[0] if chosen else "" if said is None or said == "image" else said


def _ndim_of(result: xr.Dataset) -> int:
    """Whether a result is of a 2-D or 3-D mask, as far as it says so."""
    prefix = PER_AXIS.format(axis="")
    orders = sum(str(dim).startswith(prefix) for dim in result.dims)
    in_3d = any(entry.only_3d for name in result if (entry := CATALOGUE.get(str(name))) is not None)
    of_volume = any(
        str(variable.attrs.get("units", "")).endswith("**3")
        for name, variable in result.items()
        if (entry := CATALOGUE.get(str(name))) is not None and entry.units == "volume"
    )
    return 3 if 3 in (orders, result.sizes.get("axis")) or in_3d or of_volume else 2
