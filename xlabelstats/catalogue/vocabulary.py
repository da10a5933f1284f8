"""Names that other tools give to statistics and properties, and which call of ours has each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from xlabelstats.catalogue import (
    CATALOGUE,
    CORRELATIONS,
    ELSEWHERE,
    FURTHER_PROPERTIES,
    OBJECT_PROPERTIES,
    PROPERTIES,
    STATISTICS,
)
from xlabelstats.catalogue.flox_aggregations import MORE_STATISTICS
from xlabelstats.catalogue.profiles import PROFILE
from xlabelstats.names import check_known

# Ours, and what it is called in scikit-image (now or before), numpy, scipy, pandas, CellProfiler, ImageJ and OpenCV,
# without capitals and underscores.
_OTHER_NAMES = {
    "count": "numpixels npixels pixels pixelcount numberofpixels nobs npix n size length",
    "sum": "total nansum integral integratedintensity integrateddensity intden rawintden",
    "mean": "average avg nanmean mu meanintensity intensitymean intensity averageintensity",
    "var": "variance nanvar intensityvar intensityvariance",
    "std": "stddev stdev sd sigma nanstd standarddeviation stdintensity intensitystd",
    "skew": "skewness",
    "kurtosis": "kurt",
    "min": "minimum amin nanmin minintensity intensitymin",
    "max": "maximum amax nanmax maxintensity intensitymax",
    "valid": "notnull notna nvalid",
    "median": "nanmedian medianintensity intensitymedian",
    "quantiles": "quantile percentile percentiles nanquantile nanpercentile lowerquartileintensity "
    "upperquartileintensity quartiles iqr",
    "pearson": "correlation corr corrcoef pearsonr pearsoncorrelation correlationcoefficient",
    "covariance": "cov",
    "slope": "regressionslope linregress",
    "overlap": "overlapcoefficient mandersoverlap",
    "manders": "mandersfold manderscoefficient m1 m2",
    "rwc": "rankweightedcolocalization rankweightedcolocalisation",
    "area": "volume filledpixels",
    "bbox": "boundingbox boundingboxminimum boundingboxmaximum boundingrect bounds",
    "area_bbox": "bboxarea boundingboxarea boundingboxvolume",
    "area_convex": "convexarea convexvolume convexhullarea",
    "area_filled": "filledarea filledvolume",
    "axis_major_length": "majoraxislength majoraxis",
    "axis_minor_length": "minoraxislength minoraxis",
    "circularity": "formfactor",
    "centroid": "center centre centerofmass centreofmass com locationcenterx locationcentery locationcenterz",
    "centroid_local": "localcentroid",
    "centroid_weighted": "weightedcentroid",
    "centroid_weighted_local": "weightedlocalcentroid",
    "coords": "coordinates",
    "equivalent_diameter_area": "equivdiameter equivalentdiameter diameter",
    "euler_number": "euler",
    "feret_diameter_max": "feretdiameter feret maxferet",
    "feret_max": "maxferetdiameter",
    "feret_min": "minferet minferetdiameter minimumferetdiameter",
    "image_convex": "conveximage",
    "image_filled": "filledimage",
    "image_intensity": "intensityimage",
    "inertia_tensor_eigvals": "inertiatensoreigenvalues",
    "moments": "spatialmoment spatialmoments moment",
    "moments_central": "centralmoments centralmoment",
    "moments_hu": "humoments humoment",
    "moments_normalized": "normalizedmoments normalizedmoment",
    "moments_weighted": "weightedmoments",
    "moments_weighted_central": "weightedcentralmoments weightedmomentscentral",
    "moments_weighted_hu": "weightedhumoments weightedmomentshu",
    "moments_weighted_normalized": "weightednormalizedmoments weightedmomentsnormalized",
    "orientation": "angle",
    "perimeter_crofton": "croftonperimeter",
    "texture": "haralick haralickfeatures glcm graycomatrix graycoprops greycomatrix cooccurrence",
    "texture_angular_second_moment": "asm",
    "texture_inverse_difference_moment": "idm",
    "zernike": "zernikemoments zernikemoment",
    "neighbor_count": "numberofneighbors",
    "first_closest_label": "firstclosestobjectnumber nearestneighbor nearestneighbour",
    "first_closest_distance": "nearestneighbordistance nearestneighbourdistance",
    "second_closest_label": "secondclosestobjectnumber",
    "neighbor_angle": "anglebetweenneighbors",
}

SYNONYMS = {other: ours for ours, others in _OTHER_NAMES.items() for other in others.split()}

# What follows from measures of ours in one step.
DERIVED = {
    "ptp": "the difference of max and min",
    "nanptp": "the difference of max and min",
    "range": "the difference of max and min",
    "sem": "std(ddof=1) / count**0.5",
    "cv": "std / mean",
    "aspectratio": "axis_major_length / axis_minor_length",
    "roundness": "4 * area / (pi * axis_major_length**2) in ImageJ; others call circularity so",
}

_ELSEWHERE = {
    "median": "image.instances.median(mask)",
    "quantiles": "image.instances.quantiles(mask, q)",
    "label": "the coordinate 'label' of every result",
    **{
        family: f'image.instances.profile(mask, "{family}")'
        for family in ("texture", "radial_distribution", "shape", "neighbors")
    },
    "profile": "image.instances.profile(mask)",
    "weight": 'image.labels.aggregate(mask, "weight", weights=weights)',
    **dict.fromkeys(
        (
            "first_closest_label",
            "first_closest_distance",
            "second_closest_label",
            "second_closest_distance",
            "neighbor_angle",
        ),
        'image.instances.profile(mask, "neighbors")',
    ),
}

# Statistics that are properties too, under scikit-image's names.
_TWINS = {
    "count": "num_pixels",
    "mean": "intensity_mean",
    "min": "intensity_min",
    "max": "intensity_max",
    "std": "intensity_std",
}

# The modules of CellProfiler, which stand before the names of measurements: AreaShape_FormFactor.
_MODULES = (
    "AreaShape",
    "Correlation",
    "Granularity",
    "Intensity",
    "Location",
    "Neighbors",
    "RadialDistribution",
    "Texture",
)


# The call that lists the names of all measures.
LISTED = "xlabelstats.measures()"

# So many measures of a family are named.
SHOWN = 3

# What families of measures are called that no measure is called, too; one of them may be misspelt, by so many letters.
_FAMILIES = [
    name for name in (*PROFILE, *SYNONYMS) if (ours := SYNONYMS.get(name, name)) in PROFILE and ours not in CATALOGUE
]
LETTERS = 2

# How people write percentiles.
PERCENTILE = re.compile(r"(?:p|q|pct|perc|percentile|quantile)?_?(\d{1,2}(?:\.\d+)?)(?:%|th)?")


def check_measures(names: Iterable[str], known: Iterable[str], kind: str) -> None:
    """Say which names are unknown to a call, what other tools mean by them is called here, and what exists."""
    known = tuple(known)
    check_known(names, known, kind, lambda name: answer_for(name, known), LISTED)


def answer_for(name: str, known: Iterable[str] = ()) -> str | None:
    """What a name that a call does not know is called there, or which call has it; None if nothing like it exists."""
    known = tuple(known)
    number = PERCENTILE.fullmatch(name.lower())
    if number is not None and "median" in known:
        return f"is called 'p{number[1]}' here"
    ours, plain = _ours(name), _plain_name(name)
    several = [part for part in re.split(r"[\s,]+", name) if part]
    if len(several) > 1 and not ours:
        return f"is several names in one; give a tuple of them: {tuple(several)}"
    here = [one for one in (*_called(ours), plain.removeprefix("nan")) if one in known]
    if here:
        without_nan = " with skipna=True, the default for floats" if plain.startswith("nan") else ""
        return f"is called {here[0]!r} here{without_nan}"
    meaning = meaning_of(name)
    if not meaning:
        near = get_close_matches(plain, _FAMILIES, 1, 0.85)
        misspelt = [family for family in near if abs(len(family) - len(plain)) <= LETTERS and family != name]
        return answer_for(misspelt[0], known) if misspelt else None
    members = [one for one in PROFILE[ours].measures if one in known] if ours in PROFILE else []
    if len(members) > SHOWN:
        return f"is {', '.join(members[:SHOWN])} and {len(members) - SHOWN} more (all of them: {meaning})"
    return f"is {meaning}"


def meaning_of(name: str) -> str | None:
    """How to get what any tool calls so."""
    return DERIVED.get(_plain_name(name)) or _call_of(_ours(name))


def _call_of(name: str) -> str | None:
    """The call that gives a statistic or property of ours."""
    if name in STATISTICS or (name in MORE_STATISTICS and name not in _ELSEWHERE):
        return f'image.labels.aggregate(mask, "{name}")'
    if name in CORRELATIONS:
        return f'image.labels.correlation(mask, stats="{name}")'
    entry = (PROPERTIES | OBJECT_PROPERTIES | FURTHER_PROPERTIES).get(name)
    if entry is not None and entry.reads_image:
        return f'image.labels.regionprops(mask, "{name}")'
    if entry is not None:
        return f'mask.{"instances" if entry.whole else "labels"}.regionprops("{name}")'
    if name in ELSEWHERE or name in _ELSEWHERE:
        return (ELSEWHERE | _ELSEWHERE)[name]
    entry = CATALOGUE.get(name)
    if entry is None:
        return None
    return f'image.labels.measure(mask, "{name}")' if entry.reads_image else f'mask.labels.measure("{name}")'


def _called(ours: str) -> tuple[str, ...]:
    """What a measure is called among the statistics and among the properties."""
    return (ours, _TWINS[ours]) if ours in _TWINS else (ours,)


def _ours(name: str) -> str:
    """Our name for what other tools call so; it may be ours but for capitals, underscores and spaces."""
    plain = _plain_name(name)
    return (
        _CELLPROFILER.get(_measurement(name))
        or _CELLPROFILER.get(_measurement(name).partition("_")[0])
        or SYNONYMS.get(plain)
        or {_plain_name(one): one for one in (*CATALOGUE, *MORE_STATISTICS, *ELSEWHERE, *_ELSEWHERE)}.get(plain)
        or {column.split("_")[-1]: one for column, one in _CELLPROFILER.items()}.get(plain, "")
    )


def _measurement(column: str) -> str:
    """The module and the measurement of a column of CellProfiler, which say what it is: Texture_Contrast_DNA_3_00."""
    return "_".join(column.split("_")[:2]).lower()


# Of two measures that it calls the same, the first.
_CELLPROFILER = {
    _measurement(entry.cellprofiler): name for name, entry in [*CATALOGUE.items()][::-1] if entry.cellprofiler
}


def _plain_name(name: str) -> str:
    module, _, rest = name.partition("_")
    return re.sub(r"[_\s-]", "", rest.split("_")[0] if module in _MODULES and rest else name).lower()
