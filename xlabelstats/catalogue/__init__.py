"""The catalogue of measures: every entry, found by the name that a user types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from xlabelstats.catalogue import (
    adjacency,
    boundary,
    caliper,
    component,
    correlation,
    edge,
    extremes,
    granularity,
    histogram,
    hole,
    hull,
    intensity,
    moments,
    order,
    positions,
    radial,
    radius,
    texture,
    zernike,
)
from xlabelstats.catalogue.measure import SHIPPED, Measure

if TYPE_CHECKING:
    import pandas as pd

FAMILIES: dict[str, tuple[Measure, ...]] = {
    "intensity": intensity.STATISTICS,
    "order": order.ORDER,
    "histogram": histogram.HISTOGRAMS,
    "extremes": extremes.POSITIONS,
    "correlation": correlation.CORRELATIONS,
    "shape": positions.SHAPES,
    "moments": moments.MOMENTS,
    "outline": (*boundary.BOUNDARIES, *component.COMPONENTS, *hull.HULLS, *hole.HOLES),
    "intensity region properties": (*intensity.REGION_PROPERTIES, *moments.WEIGHTED),
    "edge": edge.EDGES,
    "width": (*radius.RADII, *caliper.CALIPERS),
    "texture": texture.TEXTURES,
    "granularity": granularity.GRANULARITIES,
    "radial distribution": radial.RADIAL,
    "Zernike moments": (*zernike.ZERNIKES, *zernike.RADIAL_ZERNIKES),
    "neighbors": adjacency.ADJACENCY,
}

CATALOGUE: dict[str, Measure] = {entry.name: entry for family in FAMILIES.values() for entry in family}

SHIPPED.update(CATALOGUE)

STATISTICS = {entry.name: entry for entry in FAMILIES["intensity"]}
CORRELATIONS = {entry.name: entry for entry in FAMILIES["correlation"]}
DEFAULT_STATISTICS = tuple(name for name in STATISTICS if name not in ("std", "valid"))

# Region properties under scikit-image's names: what merges across blocks, and outlines, most of which need objects
# whole.  Those that scikit-image has not.
PROPERTIES = {name: entry for name, entry in CATALOGUE.items() if entry.skimage and not entry.whole}
OBJECT_PROPERTIES = {entry.name: entry for entry in FAMILIES["outline"] if entry.skimage}
FURTHER_PROPERTIES = {
    entry.name: entry for family in ("outline", "extremes") for entry in FAMILIES[family] if not entry.skimage
}

# What scikit-image has beside these, and the call that has it here.
ELSEWHERE = {
    "intensity_median": "image.instances.median(mask)",
    **dict.fromkeys(
        ("coords", "coords_scaled", "image", "image_convex", "image_filled", "image_intensity", "slice"),
        "image.instances.windows(mask)",
    ),
}


def measures() -> pd.DataFrame:
    """List all measures.

    Returns
    -------
    DataFrame
        A row per measure, with its name as index.  The columns are ``family``, ``definition``, ``dims`` (besides
        ``label`` and those of the image), ``units``, ``needs_image``, ``needs_whole_objects`` (if not, it is merged
        across blocks), ``parameters``, ``skimage`` and ``cellprofiler`` (its name in these).  Percentiles are the row
        ``pNN``.

    Examples
    --------
    >>> import xlabelstats
    >>> xlabelstats.measures().loc["eccentricity", "definition"]
    "sqrt(1 - l2 / l1) of the inertia tensor's eigenvalues: 0 for a circle, near 1 for a line"
    """
    import pandas as pd

    rows = {
        entry.name: {
            "family": family,
            "definition": entry.definition,
            "dims": ", ".join(entry.dims),
            "units": entry.units,
            "needs_image": entry.reads_image,
            "needs_whole_objects": entry.whole,
            "parameters": ", ".join(entry.parameters),
            "skimage": entry.skimage,
            "cellprofiler": entry.cellprofiler,
        }
        for family, entries in FAMILIES.items()
        for entry in (*entries, *([order.PERCENTILE] if family == "order" else []))
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("name")


def measure_of(request: str | Measure | tuple[str, Mapping[str, Any]]) -> Measure:
    """The measure of a name, or of a name and its parameters; a measure of the user's own as it is."""
    if isinstance(request, Measure):
        return request
    name, parameters = (request, {}) if isinstance(request, str) else request
    entry = CATALOGUE.get(name) or order.percentile(name)
    if entry is None:
        from xlabelstats.catalogue.vocabulary import check_measures

        check_measures([name], CATALOGUE, "measure")
        raise ValueError(f"unknown measure {name!r}")
    if not parameters:
        return entry
    unknown = [parameter for parameter in parameters if parameter not in entry.parameters]
    if unknown or entry.with_parameters is None:
        there_are = f"its parameters are {', '.join(entry.parameters)}" if entry.parameters else "it has none"
        raise ValueError(f"{name} has no parameter {', '.join(map(repr, unknown))}; {there_are}")
    return entry.with_parameters(**parameters)


def as_measures(requests: Any) -> dict[str, Measure]:
    """The measures asked for, by the names of their variables.

    Each is a name, a pair of a name and parameters, or a `Measure`; several are a sequence of these.
    """
    if isinstance(requests, str | Measure) or _is_pair(requests):
        requests = (requests,)
    if not isinstance(requests, Iterable):
        raise TypeError(
            f"a measure is a name, or several are a sequence of names, not {type(requests).__name__}{way_of(requests)}"
        )
    measures: dict[str, Measure] = {}
    for request in requests:
        if not (isinstance(request, str | Measure) or _is_pair(request)):
            raise TypeError(
                f"a measure is a name, or a pair of a name and its parameters, not {request!r}{way_of(request)}"
            )
        entry = measure_of(request)
        if measures.setdefault(entry.name, entry) is not entry:
            raise ValueError(
                f"two measures are called {entry.name!r}; ask for each in a call of its own, and rename one of the "
                "results; a Measure of your own may have another name"
            )
    return measures


def way_of(request: Any) -> str:
    """Where a function can be given, as the end of a complaint; empty for what is none."""
    call = "; for a function of an object's pixels there is image.instances.statistics(mask, function)"
    return call if callable(request) else ""


def _is_pair(request: Any) -> bool:
    return (
        isinstance(request, tuple)
        and len(request) == 2
        and isinstance(request[0], str)
        and isinstance(request[1], Mapping)
    )
