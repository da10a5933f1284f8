"""What CellProfiler 4.2 calls the columns of a measure, as its modules of measurements name them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xlabelstats.catalogue import CATALOGUE
from xlabelstats.catalogue.measure import PER_AXIS
from xlabelstats.names import letter_of

# Columns that say which object a row is, and not what it is like.
METADATA = "Metadata"
OBJECT_NUMBER = "ObjectNumber"

# The image of a result that does not say which it is.
IMAGE = "Image"


@dataclass(frozen=True)
class Naming:
    """How CellProfiler names a measure.

    Attributes
    ----------
    base : str
        What its columns start with.
    dims : tuple of str
        The dims of its elements, as in `Measure`.
    reads_image : bool
        Whether its columns name the image.
    pairs : bool
        Whether its columns name two images.
    in_3d : str
        What its columns start with in 3-D, if that differs.
    factor : float
        What makes its values those of CellProfiler, where that has another unit.
    once : bool
        Whether two images have one column, the first of the two named first.
    turned : bool
        Whether the second of two images is named first.
    """

    base: str
    dims: tuple[str, ...] = ()
    reads_image: bool = False
    pairs: bool = False
    in_3d: str = ""
    factor: float = 1
    once: bool = False
    turned: bool = False


# Where a naming says more than the entry of the catalogue.
_FURTHER: dict[str, dict[str, Any]] = {
    "area": {"in_3d": "AreaShape_Volume"},
    "area_bbox": {"in_3d": "AreaShape_BoundingBoxVolume"},
    "orientation": {"factor": 180 / math.pi},
    "pearson": {"once": True},
    "slope": {"once": True},
    "overlap": {"once": True},
    "k2": {"turned": True},
}

NAMINGS: dict[str, Naming] = {
    **{
        name: Naming(
            entry.cellprofiler, entry.dims, entry.reads_image, entry.pairs is not None, **_FURTHER.get(name, {})
        )
        for name, entry in CATALOGUE.items()
        if entry.cellprofiler
    },
    # Percentiles, variables of a scan, and what is told by all objects of a mask, which are no entries of their own.
    "p25": Naming("Intensity_LowerQuartileIntensity", reads_image=True),
    "p75": Naming("Intensity_UpperQuartileIntensity", reads_image=True),
    "bbox_min": Naming("AreaShape_BoundingBoxMinimum", ("axis",)),
    "bbox_max": Naming("AreaShape_BoundingBoxMaximum", ("axis",)),
    "first_closest_label": Naming("Neighbors_FirstClosestObjectNumber_Adjacent"),
    "first_closest_distance": Naming("Neighbors_FirstClosestDistance_Adjacent"),
    "second_closest_label": Naming("Neighbors_SecondClosestObjectNumber_Adjacent"),
    "second_closest_distance": Naming("Neighbors_SecondClosestDistance_Adjacent"),
    "neighbor_angle": Naming("Neighbors_AngleBetweenNeighbors_Adjacent"),
}

# Measures whose numbers are all in the other one, for the two channels in turn: they have its columns.
REPEATS = {"k2": "k1"}


@dataclass(frozen=True)
class Place:
    """Where an element lies along the dims of its measure.

    Attributes
    ----------
    index : mapping of name to int
        Along every dim, and every coordinate beside it.
    along : mapping of name to sequence
        The coordinates, numbers where a dim has none.
    """

    index: Mapping[str, int]
    along: Mapping[str, Sequence[Any]]

    def __getitem__(self, name: str) -> Any:
        return self.along[name][self.index[name]]

    def letter(self, dim: str) -> str:
        """X, Y or Z of an axis."""
        return _letters(self.along[dim])[self.index[dim]]

    def number(self, dim: str) -> int:
        """The number of an axis in the order z, y, x, whatever the order of the mask's dims."""
        letters = _letters(self.along[dim])
        return sorted(letters, reverse=True).index(letters[self.index[dim]])

    @property
    def orders(self) -> str:
        """The orders of a moment along z, y and x."""
        prefix = PER_AXIS.format(axis="")
        dims = [name for name in self.along if name.startswith(prefix)]
        letters = _letters([dim.removeprefix(prefix) for dim in dims])
        return "_".join(str(self[dim]) for _, dim in sorted(zip(letters, dims, strict=True), reverse=True))


_BOUNDS = {"min": "Minimum", "max": "Maximum"}

# The directions of textures in 2-D, by their degrees; in 3-D they have numbers.
_DIRECTIONS = {0: 0, 135: 1, 90: 2, 45: 3}


def _direction(at: Place) -> int:
    degrees = int(at["angle"])
    return _DIRECTIONS.get(degrees, degrees)


# What follows the base, by the dims of a measure; the image is "_DNA", or empty for what the mask alone tells.
FORMS: dict[tuple[str, ...], Callable[[str, Place], str]] = {
    (): lambda image, at: image,
    ("axis",): lambda image, at: f"_{at.letter('axis')}{image}",
    ("bound", "axis"): lambda image, at: f"{_BOUNDS[at['bound']]}_{at.letter('axis')}",
    ("axis", "axis_"): lambda image, at: f"_{at.number('axis')}_{at.number('axis_')}",
    ("component",): lambda image, at: f"_{at['component']}",
    ("hu",): lambda image, at: f"_{at['hu']}",
    (PER_AXIS,): lambda image, at: f"_{at.orders}",
    ("order",): lambda image, at: f"{image}_{at['order']}",
    ("scale", "angle"): lambda image, at: f"{image}_{at['scale']}_{_direction(at):02d}_{at['levels']}",
    ("step",): lambda image, at: f"_{at['step']}{image}",
    ("ring",): lambda image, at: f"{image}_{at['ring']}of{at['rings']}",
}


def column_of(naming: Naming, image: str, at: Place, ndim: int) -> str | None:
    """The column of an element of a measure of the mask, or of one image; None if CellProfiler has none."""
    if naming.dims not in FORMS or bool(image) is not naming.reads_image:
        return None
    base = naming.in_3d if naming.in_3d and ndim == 3 else naming.base
    try:
        return base + FORMS[naming.dims](f"_{image}" if image else "", at)
    except KeyError:
        # A coordinate that is part of the name, such as the grey levels of textures, was dropped from the result.
        return None


def column_of_pair(naming: Naming, first: str, second: str) -> str:
    """The column of a measure of two images."""
    one, two = (second, first) if naming.turned else (first, second)
    return f"{naming.base}_{one}_{two}"


def _letters(axes: Sequence[Any]) -> list[str]:
    """X, Y, Z of axes: by their names, or if these say nothing, from the last to the first."""
    letters = [letter_of(axis) or "" for axis in axes]
    if len({*letters}) == len(letters) and {*letters} <= {*"XYZ"}:
        return letters
    return [*"XYZ"[: len(letters)][::-1]]
