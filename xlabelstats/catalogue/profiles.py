"""The families of a CellProfiler profile, and the measures that each is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xlabelstats.catalogue import measure_of
from xlabelstats.catalogue.adjacency import ADJACENCY
from xlabelstats.catalogue.caliper import CALIPERS
from xlabelstats.catalogue.correlation import THRESHOLD
from xlabelstats.catalogue.edge import EDGES
from xlabelstats.catalogue.granularity import GRANULARITIES
from xlabelstats.catalogue.measure import Measure
from xlabelstats.catalogue.radial import RADIAL
from xlabelstats.catalogue.radius import RADII
from xlabelstats.catalogue.texture import TEXTURES
from xlabelstats.catalogue.zernike import RADIAL_ZERNIKES, ZERNIKES


@dataclass(frozen=True)
class Family:
    """The measures of a family, each by its name, with parameters that are always the same.

    Attributes
    ----------
    measures : mapping of name to parameters
    options : tuple of str
        The parameters that the user may give.
    only_2d : bool
        Whether CellProfiler has it for 2-D masks alone.
    of_planes : tuple of str
        The measures that volumes go without.
    closest : bool
        Whether the closest labels belong to it, which are no measures of one object but of all: `labels.closest`.
    """

    measures: Mapping[str, Mapping[str, Any]]
    options: tuple[str, ...] = ()
    only_2d: bool = False
    of_planes: tuple[str, ...] = ()
    closest: bool = False

    @property
    def of_mask(self) -> bool:
        """Whether the mask alone tells them."""
        return not any(measure_of(name).reads_image for name in self.measures)

    def entries(self, ndim: int, options: Mapping[str, Any]) -> dict[str, Measure]:
        """Its measures of a mask of so many dims, by name."""
        given = {name: options[name] for name in self.options}
        entries = {name: measure_of((name, {**fixed, **given})) for name, fixed in self.measures.items()}
        return {
            name: entry
            for name, entry in entries.items()
            if not ((entry.only_2d or name in self.of_planes) and ndim != 2) and not (entry.only_3d and ndim != 3)
        }


def _family(*measures: str | Measure, **kwargs: Any) -> Family:
    return Family({entry if isinstance(entry, str) else entry.name: {} for entry in measures}, **kwargs)


_SHAPE = [
    "area",
    "perimeter",
    "surface_area",
    "circularity",
    "compactness",
    "eccentricity",
    "extent",
    "euler_number",
    "equivalent_diameter_area",
    "axis_major_length",
    "axis_minor_length",
    "orientation",
    "centroid",
    "bbox",
    "area_bbox",
    "moments",
    "moments_central",
    "moments_normalized",
    "moments_hu",
    "inertia_tensor",
    "inertia_tensor_eigvals",
]

# The hulls of volumes are found one object at a time, which takes as long as all the rest together.
_HULLS = ("area_convex", "solidity")

_ABOVE = {"threshold": THRESHOLD}

PROFILE: dict[str, Family] = {
    "intensity": _family(*["sum", "mean", "std", "min", "max", "p25", "median", "p75", "position_max"], *EDGES),
    "shape": _family(*_SHAPE, *_HULLS, *RADII, *CALIPERS, of_planes=_HULLS),
    "texture": _family(*TEXTURES, options=("scale", "levels", "range")),
    "granularity": _family(*GRANULARITIES),
    "radial_distribution": _family(*RADIAL, only_2d=True),
    "zernike": _family(*ZERNIKES, only_2d=True),
    "radial_zernike": _family(*RADIAL_ZERNIKES, only_2d=True),
    # CellProfiler compares the pixels above a threshold in all of these but the first two.
    "correlation": Family(
        {"pearson": {}, "slope": {}} | dict.fromkeys(("overlap", "k1", "k2", "manders", "rwc"), _ABOVE), ("dim",)
    ),
    "neighbors": _family(*ADJACENCY, closest=True),
}
