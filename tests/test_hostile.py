"""Any pixels, any ids, any layout in memory: every call against plain loops over pixels, and its input as it was."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import xarray as xr
from calls import CALLS, STATS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layouts import INTEGERS, LAYOUTS, pool, state

# Bool masks are drawn too, with any number of components.
pytestmark = pytest.mark.filterwarnings("ignore:the (bool mask|mask of 0 and 255) has")


@st.composite
def chunks(draw: st.DrawFn, array: xr.DataArray) -> dict[str, tuple[int, ...]]:
    """Chunks of any sizes, 0 among them."""
    found = {}
    for dim, n in array.sizes.items():
        cuts = sorted(draw(st.lists(st.integers(0, n), max_size=3)))
        found[dim] = tuple(b - a for a, b in itertools.pairwise((0, *cuts, n)))
    return found


@st.composite
def fields(draw: st.DrawFn) -> tuple[xr.DataArray, xr.DataArray]:
    """An image and a mask of any dtypes, dims, layouts and chunks; read-only, so that whoever writes to them fails."""
    dims = draw(st.permutations(["y", "x", 2, ("a", "b")]))[: draw(st.integers(1, 4))]
    sizes = {dim: draw(st.integers(0 if draw(st.integers(0, 9)) == 0 else 1, 5 - len(dims) // 2)) for dim in dims}
    other = {name: draw(st.integers(0 if draw(st.integers(0, 9)) == 0 else 1, 2)) for name in ("c", "t")}
    other = dict(itertools.islice(other.items(), draw(st.integers(0, 2))))
    dtype = np.dtype(draw(st.sampled_from([*INTEGERS, "i4", "u4"])))
    ids = draw(st.lists(st.sampled_from(pool(dtype)), min_size=1, max_size=4))
    n = math.prod(sizes.values())
    mask = np.array(draw(st.lists(st.sampled_from(ids), min_size=n, max_size=n)), dtype).reshape(*sizes.values())
    image = draw(pixels((*other.values(), *sizes.values())))
    if dtype.itemsize == 1 and draw(st.integers(0, 9)) == 0:
        mask = mask > 0
    arrays = []
    lazy = draw(st.sampled_from([(False, False), (False, False), (True, True), (True, False), (False, True)]))
    for values, names, in_chunks in ((image, [*other, *sizes], lazy[0]), (mask, list(sizes), lazy[1])):
        values = LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](values)
        values.flags.writeable = False
        array = xr.DataArray(values, dims=names, attrs={"units": "a.u.", "made": [1, 2]}, name="pixels")
        array = array.transpose(*draw(st.permutations(names)))
        array = array.assign_coords({dim: 0.5 + 2 * np.arange(array.sizes[dim]) for dim in names if dim in ("c", "y")})
        arrays.append(array.chunk(draw(chunks(array))) if in_chunks else array)
    return arrays[0], arrays[1]


@st.composite
def pixels(draw: st.DrawFn, shape: tuple[int, ...]) -> np.ndarray:
    """Pixels of any dtype, at the edges of integers, NaN and infinite among floats."""
    dtype = np.dtype(draw(st.sampled_from(["f2", "f4", "f8", "?", *INTEGERS])))
    n = math.prod(shape)
    values: st.SearchStrategy[Any]
    if dtype.kind == "f":
        some = [np.nan, np.inf, -np.inf] if draw(st.booleans()) else [0.0]
        values = st.one_of(st.floats(-100, 100, width=16), st.sampled_from(some), st.integers(0, 3))
    elif dtype.kind == "b":
        values = st.booleans()
    else:
        values = st.sampled_from(pool(dtype))
    few = draw(st.lists(values, min_size=1, max_size=6))
    return np.array(draw(st.lists(st.sampled_from(few), min_size=n, max_size=n)), dtype).reshape(shape)


@st.composite
def requests(draw: st.DrawFn, mask: xr.DataArray) -> dict[str, Any]:
    """The options that calls have in common."""
    options: dict[str, Any] = {"background": draw(st.booleans())}
    if draw(st.booleans()):
        dtype = np.dtype("u1") if mask.dtype == bool else mask.dtype
        labels = st.sampled_from(pool(dtype))
        options["labels"] = draw(st.lists(labels, max_size=4, unique=True))
    return options | ({"skipna": draw(st.booleans())} if draw(st.booleans()) else {})


class Field:
    """An image and a mask as Python objects: for every label its positions, and its pixels per channel."""

    def __init__(self, image: xr.DataArray, mask: xr.DataArray, options: dict[str, Any]) -> None:
        self.options, self.mask, self.image = options, mask, image
        self.shared = mask.dims
        self.other = tuple(dim for dim in image.dims if dim not in mask.dims)
        self.before = [state(array) for array in (image, mask)]
        cells = np.asarray(mask)
        self.at: dict[int, list[tuple[int, ...]]] = {}
        for index, label in zip(np.ndindex(cells.shape), cells.ravel().tolist(), strict=True):
            self.at.setdefault(int(label), []).append(index)
        self.channels = np.asarray(image.transpose(*self.other, *self.shared))
        self.ids = options.get("labels")
        if self.ids is None:
            self.ids = sorted(label for label in self.at if label or options["background"])

    def pixels(self, label: int) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
        """The pixels of a label in every channel, in image order."""
        at = tuple(np.array(self.at.get(label, []), int).reshape(-1, len(self.shared)).T)
        for channel in np.ndindex(self.channels.shape[: len(self.other)]):
            yield channel, self.channels[channel][at]

    def table(self, of: Any, shape: tuple[int, ...] = (), per_channel: bool = True) -> np.ndarray:
        """What a function makes of the pixels of every label and channel: (label, *other, *shape)."""
        other = self.channels.shape[: len(self.other)] if per_channel else ()
        out = np.full((len(self.ids), *other, *shape), np.nan)
        for row, label in enumerate(self.ids):
            for channel, values in self.pixels(label) if per_channel else [((), np.zeros(0))]:
                out[(row, *channel)] = of(values) if per_channel else of(self.at.get(label, []))
        return out


def statistics_of(values: np.ndarray, skipna: bool) -> dict[str, float]:
    """Every statistic of the pixels of one label, in exact sums."""
    count = len(values)
    valid = [float(v) if values.dtype.kind == "f" else int(v) for v in values if v == v]
    n = len(valid)
    found = dict.fromkeys(STATS, math.nan) | {"count": count, "valid": n}
    if n < count and not skipna:
        return found
    found["sum"] = total(valid)
    if not n:
        return found
    mean = found["sum"] / n
    deviations = [v - mean for v in valid]
    m2, m3, m4 = (total([d**k for d in deviations]) / n for k in (2, 3, 4))
    found |= {"mean": mean, "var": m2, "std": math.sqrt(m2), "min": min(valid), "max": max(valid)}
    if m2 > (1e-15 * mean) ** 2:
        found |= {"skew": m3 / m2**1.5, "kurtosis": m4 / m2**2 - 3}
    return found


def total(values: list[Any]) -> Any:
    """The sum of finite numbers without rounding, or what the infinite ones among them make of it."""
    wild = [v for v in values if isinstance(v, float) and not math.isfinite(v)]
    return sum(wild) if wild else math.fsum(values) if any(isinstance(v, float) for v in values) else sum(values)


def quantile_of(values: np.ndarray, q: float, skipna: bool) -> float:
    """A quantile by linear interpolation between sorted pixels."""
    valid = sorted(float(v) for v in values if v == v)
    if not valid or (len(valid) < len(values) and not skipna):
        return math.nan
    below = math.floor(q * (len(valid) - 1))
    part = q * (len(valid) - 1) - below
    a, b = valid[below], valid[min(below + 1, len(valid) - 1)]
    return a if part == 0 or a == b else a * (1 - part) + b * part


def mean_of(at: list[tuple[int, ...]], ndim: int) -> list[float]:
    """The mean position."""
    return [math.fsum(index[axis] for index in at) / len(at) if at else math.nan for axis in range(ndim)]


def window_of(cells: np.ndarray, own: np.ndarray, at: list[tuple[int, ...]], size: int) -> np.ndarray:
    """The window round an object, pixel by pixel."""
    centre = [round(mean) for mean in mean_of(at, own.ndim)]
    out = np.zeros((*cells.shape[: cells.ndim - own.ndim], *(size,) * own.ndim), cells.dtype)
    for index in at:
        place = tuple(i - c + size // 2 for i, c in zip(index, centre, strict=True))
        if all(0 <= i < size for i in place):
            out[(..., *place)] = cells[(..., *index)]
    return out


def assert_close(found: Any, expected: np.ndarray, scale: float = 0.0) -> None:
    np.testing.assert_allclose(np.asarray(found, float), expected, rtol=1e-9, atol=1e-11 * scale)


def run(name: str, field: Field, **options: Any) -> Any:
    """The result of a call, of which nothing lies in the memory of its input, which is left as it was."""
    call = CALLS[name]
    options = {key: value for key, value in (field.options | options).items() if key in call.options}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "[0-9]+ of [0-9]+ objects reach beyond", UserWarning)
        result = call.run(field.image, field.mask, **options)
        result = result.compute() if isinstance(result, xr.DataArray | xr.Dataset) else result
    assert [state(array) for array in (field.image, field.mask)] == field.before
    return result


@pytest.mark.filterwarnings("ignore:overflow encountered")
class TestAgainstLoops:
    """Whatever the input, a result is what a loop over the pixels of every label gives."""

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def test_statistics(self, data: st.DataObject) -> None:
        image, mask = data.draw(fields())
        field = Field(image, mask, data.draw(requests(mask)))
        skipna = field.options.get("skipna", True)
        result = run("labels.aggregate", field)
        np.testing.assert_array_equal(result["label"].values.astype(object), np.array(field.ids, object))
        per_label = field.table(lambda values: [statistics_of(values, skipna)[name] for name in STATS], (len(STATS),))
        counts = [len(field.at.get(label, [])) for label in field.ids]
        assert result["count"].values.tolist() == counts
        finite = np.abs(field.channels[np.isfinite(field.channels)].astype(float)).max(initial=0)
        for i, name in enumerate(STATS):
            if name == "count":
                continue
            values, expected = result[name], per_label[..., i]
            assert values.dims == ("label", *field.other)
            if name in ("skew", "kurtosis"):
                # Of pixels that differ by no more than float64 resolves beside them there is none to compare.
                clear = per_label[..., STATS.index("std")] > 1e-3 * finite
                values, expected = values.values[clear], expected[clear]
            assert_close(values, expected, {"var": finite**2}.get(name, finite))
        if len(STATS) and "labels" not in field.options:
            assert result["min"].dtype == image.dtype.newbyteorder("=")

    @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def test_positions(self, data: st.DataObject) -> None:
        image, mask = data.draw(fields())
        field = Field(image, mask, data.draw(requests(mask)))
        ndim = mask.ndim
        place = {"y": lambda i: 0.5 + 2 * i}
        where = [place.get(dim, lambda i: i) for dim in mask.dims]
        means = field.table(lambda at: mean_of(at, ndim), (ndim,), per_channel=False)
        expected = np.stack([f(means[:, axis]) for axis, f in enumerate(where)], axis=1)
        assert_close(run("labels.center_of_mass", field), expected)
        radii = np.full((len(field.ids), ndim), np.nan)
        for row, label in enumerate(field.ids):
            at = np.array([[f(i) for f, i in zip(where, index, strict=True)] for index in field.at.get(label, [])])
            if len(at):
                spread = np.cov(at.T, ddof=1).reshape(ndim, ndim) if len(at) >= ndim and len(at) > 1 else None
                radii[row] = 0 if spread is None else np.sqrt(np.linalg.eigvalsh(spread).clip(0))[::-1]
        np.testing.assert_allclose(run("instances.radii_and_axes", field)["radius"], radii, rtol=1e-6, atol=1e-6)
        everything = Field(image, mask, {"background": field.options["background"]})
        ids = run("labels.ids", everything)
        assert ids.dtype == (np.uint8 if mask.dtype == bool else mask.dtype.newbyteorder("="))
        assert ids.tolist() == everything.ids
        table = run("labels.scan", everything)
        assert table["label"].values.tolist() == everything.ids
        boxes = [np.array(everything.at[label]) for label in everything.ids]
        assert table["bbox_min"].values.tolist() == [at.min(axis=0).tolist() for at in boxes]
        assert table["bbox_max"].values.tolist() == [(at.max(axis=0) + 1).tolist() for at in boxes]
        assert run("labels.count", everything).values.tolist() == [len(at) for at in boxes]
        ids = [label for label in everything.ids if label]
        for name in ("labels.count_points", "labels.count_points(by)"):
            points = run(name, everything)
            assert points["label"].values.tolist() == ids
            assert points.attrs["on_background"] == len(everything.at.get(0, []))
            where = [np.array(everything.at[label]).sum(axis=1) % 2 for label in ids]
            pairs = np.array([np.bincount(odd, minlength=2) for odd in where], int).reshape(-1, 2)
            np.testing.assert_array_equal(points, pairs if "by" in name else pairs.sum(axis=1))
        painted = run("labels.paint", everything)
        assert painted.values.ravel().tolist() == [
            len(everything.at[label]) if label in everything.ids else 0
            for label in map(int, np.asarray(mask).ravel().astype(object))
        ]

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def test_weighted_positions(self, data: st.DataObject) -> None:
        image, mask = data.draw(fields())
        field = Field(image, mask, data.draw(requests(mask)))
        found = run("labels.center_of_mass(weights)", field).transpose("label", *field.other, "axis").values
        for row, label in enumerate(field.ids):
            for channel, values in field.pixels(label):
                weights = [float(v) for v in values]
                whole = math.fsum(weights) if np.isfinite(weights).all() else math.nan
                if not abs(whole) > 1e-3 * sum(map(abs, weights)):
                    continue
                for axis, dim in enumerate(mask.dims):
                    at = [0.5 + 2 * i[axis] if dim == "y" else i[axis] for i in field.at[label]]
                    mean = math.fsum(w * p for w, p in zip(weights, at, strict=True)) / whole
                    assert found[(row, *channel, axis)] == pytest.approx(mean, rel=1e-9, abs=1e-9)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def test_whole_objects(self, data: st.DataObject) -> None:
        image, mask = data.draw(fields())
        field = Field(image, mask, data.draw(requests(mask)))
        skipna = field.options.get("skipna", True)
        finite = np.abs(field.channels[np.isfinite(field.channels)].astype(float)).max(initial=0)
        of = lambda values: [quantile_of(values, q, skipna) for q in (0, 0.25, 1)]  # noqa: E731
        assert_close(run("instances.quantiles", field), field.table(of, (3,)), finite)
        measured = run("instances.statistics(mask)", field)
        expected = field.table(lambda v: [sum(v.astype(float).tolist()), len(v)] if len(v) else math.nan, (2,))
        with np.errstate(invalid="ignore"):
            assert_close(measured, expected, finite * mask.size)
        boxes = run("instances.statistics", field)
        for row, label in enumerate(field.ids):
            at = np.array(field.at.get(label, np.zeros((0, mask.ndim))))
            box = np.ptp(at, axis=0) + 1 if len(at) else np.full(mask.ndim, np.nan)
            expected = [0 if label == 0 else len(at), np.prod(box)] if len(at) else [np.nan, np.nan]
            np.testing.assert_array_equal(boxes[row], expected)

    @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def test_windows(self, data: st.DataObject) -> None:
        image, mask = data.draw(fields())
        field = Field(image, mask, data.draw(requests(mask)))
        field.options["background"] = False
        if "labels" in field.options:
            field.options["labels"] = [label for label in field.options["labels"] if label in field.at]
        field = Field(image, mask, field.options)
        found = run("instances.windows(mask)", field)
        alone = run("instances.windows", field)
        features = run("instances.featurize(mask)", field)
        assert sorted(found["label"].values.tolist()) == sorted(field.ids)
        cells = np.asarray(mask.astype(np.uint8) if mask.dtype == bool else mask)
        for label in field.ids:
            at = field.at[label]
            expected = window_of(field.channels, cells, at, 3)
            np.testing.assert_array_equal(found["image"].sel(label=label), expected)
            for windows in (found, alone):
                np.testing.assert_array_equal(windows["mask"].sel(label=label), window_of(cells, cells, at, 3))
            flat = expected.ravel().astype(float)
            with np.errstate(invalid="ignore"):
                assert_close(features.sel(label=label), [flat.sum(), flat.max(initial=0)], abs(flat).max(initial=0))
        assert found["image"].dtype == image.dtype.newbyteorder("=")
