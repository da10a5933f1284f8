"""Every public call that measures a mask, or an image over one, as a table, for tests that hold for all of them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

STATS = ("count", "sum", "mean", "var", "skew", "kurtosis", "min", "max", "std", "valid")
SHORTCUTS = ("mean", "sum", "var", "std", "skew", "kurtosis", "min", "max")
SHAPES = ("num_pixels", "area", "bbox", "centroid", "inertia_tensor", "axis_major_length", "moments_central")
WEIGHED = ("intensity_mean", "intensity_max", "centroid_weighted", "moments_weighted")
CORRELATIONS = ("pearson", "covariance", "slope", "overlap", "k1", "k2", "manders", "rwc")
WHOLE = ("area_filled", "euler_number")
FAMILIES = ("intensity", "shape", "texture", "granularity")
POLYGONS = all(map(find_spec, ("geopandas", "rasterio")))
BOUNDARIES = ("perimeter", "perimeter_crofton", "circularity", "touches_border", "num_components")


@dataclass(frozen=True)
class Call:
    """A call, as a function of an image, a mask over it and its options.

    Attributes
    ----------
    run : callable (image, mask, **options)
    image : bool
        Whether it reads the image.
    ndim : tuple of int
        The numbers of dims that a mask may have.
    options : set of str
        Which of ``labels``, ``background`` and ``skipna`` it takes.
    """

    run: Callable[..., Any]
    image: bool = True
    ndim: tuple[int, ...] = (1, 2, 3, 4)
    options: frozenset[str] = frozenset({"labels", "background"})


def extent(pixels: np.ndarray) -> np.ndarray:
    """The sum and the size of what `statistics` is given, (channel, pixel)."""
    with np.errstate(invalid="ignore"):
        total = pixels.astype(float).sum(axis=1)
    return np.stack([total, np.full(len(pixels), pixels.shape[1])], axis=1)


def of_box(window: np.ndarray) -> list[int]:
    """The size of an object and of its bounding box, as `statistics` of a mask is given it."""
    return [np.count_nonzero(window), window.size]


def features(batch: np.ndarray) -> np.ndarray:
    """The sum and the largest pixel of every window (b, channel, *window)."""
    flat = batch.reshape(len(batch), -1).astype(np.float64)
    with np.errstate(invalid="ignore"):
        total = flat.sum(axis=1)
    return np.stack([total, flat.max(axis=1, initial=0)], axis=1)


def painted(image: xr.DataArray, mask: xr.DataArray, **options: Any) -> xr.DataArray:
    """The pixels of every label, painted."""
    return mask.labels.paint(mask.labels.count(**options))


def of_dataset(image: xr.DataArray, mask: xr.DataArray, **options: Any) -> xr.Dataset:
    """The statistics of an image in a Dataset."""
    return xr.Dataset({"pixels": image}).labels.aggregate(mask, STATS, **options)


def weighted(image: xr.DataArray, mask: xr.DataArray, **options: Any) -> xr.Dataset:
    """The weighted statistics, of pixels that all weigh 2."""
    return image.labels.aggregate(mask, weights=xr.DataArray(2.0), **options)


def compared(image: xr.DataArray, mask: xr.DataArray, **options: Any) -> xr.Dataset:
    """The channels of an image along the last of its own dims; itself, if it has none."""
    dims = [*getattr(mask, "dims", ())]
    own = [dim for dim in image.dims if dim not in dims]
    if sorted(map(str, image.dims)) == sorted(map(str, dims)) and len({*dims}) == len(dims):
        # What xarray opened lazily it would read for a new dim.
        lazy = image if image.chunks is not None or image.variable._in_memory else image.chunk()
        image, own = lazy.expand_dims("of one"), ["of one"]
    return image.labels.correlation(mask, own[-1] if own else "c", CORRELATIONS, **options)


def ids_in(mask: xr.DataArray, **options: Any) -> xr.DataArray:
    """Whether a mask has a label, of those that it has."""
    ids = mask.labels.ids(**options)
    return xr.DataArray(np.ones(ids.size, bool), {"label": ids}, ["label"])


def overlapping(image: xr.DataArray, mask: xr.DataArray) -> xr.Dataset:
    """What a mask shares with itself, as rows of labels."""
    pairs = mask.labels.overlap(mask)
    same = pairs["label"] == pairs["other_label"]
    return pairs.assign(same=same).drop_vars("other_label").swap_dims(pair="label")


def related(image: xr.DataArray, mask: xr.DataArray) -> xr.Dataset:
    """The labels of a mask as their own parents."""
    found = mask.labels.relate(mask)
    return found.assign(parent=found["parent"] == found["label"])


def touching(image: xr.DataArray, mask: xr.DataArray) -> xr.Dataset:
    """What the contacts of every label come to, as rows of labels."""
    pairs = mask.labels.contacts(getattr(mask, "ndim", 0) or 1)
    ids = np.unique(np.concatenate([pairs["label"], pairs["neighbor"]]))
    sides = [np.searchsorted(ids, pairs[side]) for side in ("label", "neighbor")]
    sums = {name: np.zeros(ids.size, values.dtype) for name, values in pairs.items()}
    for name, values in pairs.items():
        for side in sides:
            np.add.at(sums[name], side, values.values)
    return xr.Dataset({name: ("label", values) for name, values in sums.items()}, {"label": ids})


def at_pixels(mask: xr.DataArray) -> pd.DataFrame:
    """A point in the middle of every pixel, of one of two categories."""
    sizes = [0 if n != n else n for n in mask.shape]
    if not sizes:
        return pd.DataFrame({"of": []})
    lines = [
        mask[dim].values if dim in mask.indexes and mask[dim].dtype.kind in "iuf" else np.arange(n)
        for dim, n in zip(mask.dims, sizes, strict=True)
    ]
    where = np.indices(sizes).reshape(len(sizes), math.prod(sizes))
    columns = [np.asarray(line[: max(n, 0)])[i] for line, n, i in zip(lines, sizes, where, strict=True)]
    frame = pd.concat([pd.Series(column) for column in columns], axis=1)
    frame.columns = pd.Index([*mask.dims], dtype=object, tupleize_cols=False)
    frame["of"] = pd.Categorical.from_codes(where.sum(axis=0) % 2, ["even", "odd"])
    return frame


def points_by(image: xr.DataArray, mask: xr.DataArray) -> xr.DataArray:
    """The points of every label by category, not sparse."""
    counts = mask.labels.count_points(at_pixels(mask), by="of")
    return counts.copy(data=counts.data.todense())


def near(image: xr.DataArray, mask: xr.DataArray) -> xr.Dataset:
    """The number of neighbors of every label that has one, and how far the nearest is, as rows of labels."""
    pairs = mask.labels.neighbors(1.5)
    sides, distances = [pairs[side].values for side in ("label", "neighbor")], np.tile(pairs["distance"], 2)
    ids, rows = np.unique(np.concatenate(sides), return_inverse=True)
    nearest = np.full(ids.size, np.inf)
    np.minimum.at(nearest, rows, distances)
    return xr.Dataset({"number": ("label", np.bincount(rows)), "nearest": ("label", nearest)}, {"label": ids})


def number_of_each(image: xr.DataArray, mask: xr.DataArray, **options: Any) -> xr.DataArray:
    """The number that every label has after `relabel`."""
    return mask.labels.relabel().astype(np.int64).labels.max(mask, **options)


def pixels_left(image: xr.DataArray, mask: xr.DataArray, **options: Any) -> xr.DataArray:
    """The pixels that every label has after `clear_border` along the first dim."""
    with warnings.catch_warnings():
        # The sum says it too.
        warnings.simplefilter("ignore")
        cleared = mask.labels.clear_border(list(mask.dims[:1]))
    return (cleared != 0).labels.sum(mask, **options)


def pixels_kept(image: xr.DataArray, mask: xr.DataArray, **options: Any) -> xr.DataArray:
    """The pixels that every label has after every second one is kept."""
    return (mask.labels.keep(mask.labels.ids()[::2]) != 0).labels.sum(mask, **options)


def outlined(image: xr.DataArray, mask: xr.DataArray, **options: Any) -> xr.Dataset:
    """The area and the length of the outline of every label."""
    outlines = mask.instances.polygons(units="pixel", **options)
    sizes = {"area": outlines.area, "length": outlines.length}
    return xr.Dataset({name: ("label", values.to_numpy()) for name, values in sizes.items()}, {"label": outlines.index})


_shape, _labels = (2, 3), frozenset({"labels"})
_all, _none = frozenset({"labels", "background", "skipna"}), frozenset[str]()
_double = {"dtype": np.float64}

CALLS: dict[str, Call] = {
    "labels.aggregate": Call(lambda i, m, **o: i.labels.aggregate(m, STATS, **o), options=_all),
    **{
        f"labels.{name}": Call(lambda i, m, name=name, **o: getattr(i.labels, name)(m, **o), options=_all)
        for name in SHORTCUTS
    },
    "labels.aggregate(weights)": Call(weighted, options=_all),
    "labels.ids": Call(lambda i, m, **o: m.labels.ids(**o), False, options=frozenset({"background"})),
    "labels.scan": Call(lambda i, m, **o: m.labels.scan(**o), False, options=frozenset({"background"})),
    "labels.count": Call(lambda i, m, **o: m.labels.count(**o), False),
    "labels.center_of_mass": Call(lambda i, m, **o: m.labels.center_of_mass(**o), False),
    "labels.center_of_mass(weights)": Call(lambda i, m, **o: m.labels.center_of_mass(i, **o)),
    "labels.regionprops": Call(lambda i, m, **o: m.labels.regionprops(properties=SHAPES, **o), False, _shape),
    "labels.regionprops(mask)": Call(lambda i, m, **o: i.labels.regionprops(m, SHAPES + WEIGHED, **o), ndim=_shape),
    "labels.measure of boundaries": Call(
        lambda i, m, **o: m.labels.measure(BOUNDARIES, spacing=1, **o), False, ndim=(2,)
    ),
    "labels.paint": Call(painted, False),
    "labels.overlap": Call(overlapping, False, options=_none),
    "labels.relate": Call(related, False, options=_none),
    "labels.contacts": Call(touching, False, options=_none),
    "labels.expand": Call(lambda i, m, **o: ids_in(m.labels.expand(1), **o), False, options=frozenset({"background"})),
    "labels.shrink": Call(lambda i, m, **o: ids_in(m.labels.shrink(0), **o), False, options=frozenset({"background"})),
    "labels.distance_to": Call(lambda i, m, **o: m.labels.distance_to(m, 2, **o), False, options=frozenset()),
    "labels.measure(shells)": Call(
        lambda i, m, **o: i.labels.measure(m, STATS, shells=[0.7, 1], **o), options=frozenset({"labels", "skipna"})
    ),
    "labels.neighbors": Call(near, False, options=frozenset()),
    "labels.keep": Call(pixels_kept, False),
    "labels.clear_border": Call(pixels_left, False),
    "labels.relabel": Call(number_of_each, False),
    "labels.to_dataframe": Call(lambda i, m, **o: i.labels.aggregate(m, STATS, **o).labels.to_dataframe()),
    "labels.count_points": Call(lambda i, m: m.labels.count_points(at_pixels(m)), False, options=frozenset()),
    "labels.count_points(by)": Call(points_by, False, options=frozenset()),
    "labels.histogram": Call(lambda i, m, **o: i.labels.histogram(m, [-9, 0, 1, 40, 200], **o), options=_all),
    "labels.measure(extremes)": Call(
        lambda i, m, **o: i.labels.measure(m, ("position_min", "position_max"), **o), options=_all
    ),
    "labels.correlation": Call(compared, options=_all),
    "labels.median": Call(lambda i, m, **o: i.labels.median(m, **o), options=_all),
    "labels.quantiles": Call(lambda i, m, **o: i.labels.quantiles(m, [0, 0.25, 1], **o), options=_all),
    "dataset.labels.aggregate": Call(of_dataset, options=_all),
    "dataset.labels.mean": Call(lambda i, m, **o: xr.Dataset({"pixels": i}).labels.mean(m, **o), options=_all),
    "dataset.instances.windows": Call(
        lambda i, m, **o: xr.Dataset({"pixels": i}).instances.windows(m, 3, **o), options=_labels
    ),
    "dataset.instances.quantiles": Call(
        lambda i, m, **o: xr.Dataset({"pixels": i}).instances.quantiles(m, [0, 0.25, 1], **o), options=_all
    ),
    "instances.windows": Call(lambda i, m, **o: m.instances.windows(3, **o), False, options=_labels),
    "instances.windows(mask)": Call(lambda i, m, **o: i.instances.windows(m, 3, **o), options=_labels),
    "instances.windows(mask), whole": Call(lambda i, m, **o: i.instances.windows(m, **o), options=_labels),
    "instances.statistics": Call(lambda i, m, **o: m.instances.statistics(of_box, dims={"s": 2}, **o), False),
    "instances.statistics(mask)": Call(
        lambda i, m, **o: i.instances.statistics(m, extent, dims={"s": 2}, **_double, **o)
    ),
    "instances.quantiles": Call(lambda i, m, **o: i.instances.quantiles(m, [0, 0.25, 1], **o), options=_all),
    "instances.median": Call(lambda i, m, **o: i.instances.median(m, **o), options=_all),
    "instances.radii_and_axes": Call(lambda i, m, **o: m.instances.radii_and_axes(**o), False),
    "instances.featurize": Call(
        lambda i, m, **o: m.instances.featurize(features, size=3, n_features=2, **_double, **o), False, options=_labels
    ),
    "instances.featurize(mask)": Call(
        lambda i, m, **o: i.instances.featurize(m, features, size=3, n_features=2, **_double, **o), options=_labels
    ),
    "instances.profile": Call(
        lambda i, m, **o: i.instances.profile(m, FAMILIES, range=(0, 200), **o), ndim=_shape, options=_all
    ),
    # Not where the extra is missing, as on machines for GPUs.
    **({"instances.polygons": Call(outlined, False, (2,))} if POLYGONS else {}),
    "instances.regionprops": Call(lambda i, m, **o: m.instances.regionprops(WHOLE, **o), False, _shape),
}
