"""Correlation and colocalisation of channels against numpy, scipy and cp_measure, object by object."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import rankdata

import xlabelstats

EVERY = ("pearson", "covariance", "slope", "overlap", "k1", "k2", "manders", "rwc")
MERGING = EVERY[:6]
THRESHOLD = 0.15


def constant(x: np.ndarray) -> bool:
    return x.size < 2 or bool((x == x[0]).all())


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    return np.nan if constant(x) or constant(y) else float(np.corrcoef(x, y)[0, 1])


def covariance(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean((x - x.mean()) * (y - y.mean()))) if x.size else np.nan


def slope(x: np.ndarray, y: np.ndarray) -> float:
    return np.nan if constant(x) else float(np.polyfit(x - x.mean(), y - y.mean(), 1)[0])


def overlap(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.sum(x * y) / np.sqrt(np.sum(x * x) * np.sum(y * y)))


def k1(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.sum(x * y) / np.sum(x * x))


def k2(x: np.ndarray, y: np.ndarray) -> float:
    return k1(y, x)


def above(x: np.ndarray, y: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    if not x.size:
        return np.zeros(0, bool), np.zeros(0, bool)
    return x >= threshold * x.max(), y >= threshold * y.max()


def manders(x: np.ndarray, y: np.ndarray, threshold: float = THRESHOLD) -> float:
    own, other = above(x, y, threshold)
    return float(x[own & other].sum() / x[own].sum())


def rwc(x: np.ndarray, y: np.ndarray, threshold: float = THRESHOLD) -> float:
    own, other = above(x, y, threshold)
    if not x.size:
        return np.nan
    a, b = rankdata(x, "dense"), rankdata(y, "dense")
    levels = max(a.max(), b.max())
    near = (levels - np.abs(a - b)) / levels
    return float((x * near)[own & other].sum() / x[own].sum())


ORACLES: dict[str, Callable[..., float]] = {
    "pearson": pearson, "covariance": covariance, "slope": slope, "overlap": overlap,
    "k1": k1, "k2": k2, "manders": manders, "rwc": rwc,
}  # fmt: skip


def expected(image: np.ndarray, mask: np.ndarray, name: str, ids: Any, **options: Any) -> np.ndarray:
    """By an oracle (label, channel, channel), of an image (channel, *shape)."""
    values = np.empty((len(ids), len(image), len(image)))
    for i, label in enumerate(ids):
        pixels = image[:, mask == label].astype(np.float64)
        for a, x in enumerate(pixels):
            for b, y in enumerate(pixels):
                valid = ~(np.isnan(x) | np.isnan(y))
                with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    values[i, a, b] = ORACLES[name](x[valid], y[valid], **options)
    return values


def stained(shape: tuple[int, ...], channels: int = 3, dtype: Any = np.uint16, seed: int = 0) -> np.ndarray:
    """Channels that go together more or less."""
    rng = np.random.default_rng(seed)
    common = rng.gamma(2.0, 40.0, shape)
    parts = [common * rng.uniform(0, 2) + rng.gamma(2.0, 30.0, shape) for _ in range(channels)]
    return np.stack(parts).astype(dtype)


def field(dtype: Any = np.uint16, channels: int = 3, seed: int = 0) -> tuple[xr.DataArray, xr.DataArray]:
    mask = blobs((30, 41), 25, seed)
    names = [f"stain {c}" for c in range(channels)]
    image = xr.DataArray(stained(mask.shape, channels, dtype, seed), dims=("c", "y", "x"), coords={"c": names})
    return image, xr.DataArray(mask, dims=("y", "x"))


def close(result: xr.Dataset, image: np.ndarray, mask: np.ndarray, names: Any = EVERY, rtol: float = 1e-11) -> None:
    for name in names:
        known = expected(image, mask, name, result["label"].values)
        scale = np.nanmax(np.abs(known), initial=0) if name == "covariance" else 1
        np.testing.assert_allclose(result[name], known, rtol=rtol, atol=rtol * scale, err_msg=name)


@pytest.fixture(scope="module")
def nuclei(nuclei2d) -> tuple[xr.DataArray, xr.DataArray]:
    """The real nuclei, with a channel made of it that is like it in part."""
    image, mask = nuclei2d
    rng = np.random.default_rng(1)
    pixels = image.values.astype(np.float64)
    blurred = (pixels + np.roll(pixels, 3, 0) + np.roll(pixels, 2, 1)) / 3
    second = (0.5 * blurred + rng.gamma(2.0, pixels.mean() / 3, pixels.shape)).astype(np.uint16)
    channels = [image.values.astype(np.uint16), second, np.roll(image.values, 7, 0).astype(np.uint16)]
    return xr.DataArray(np.stack(channels), dims=("c", "y", "x"), coords={"c": ["DNA", "ER", "far"]}), mask


class TestValues:
    @pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
    def test_are_those_of_numpy_and_scipy_for_every_dtype(self, dtype):
        image, mask = field(np.float32)
        if np.dtype(dtype).kind == "i":
            image = image - 60
        image = (image > 90 if dtype == "?" else image.clip(-120, 250)).astype(dtype)
        close(image.labels.correlation(mask, stats=EVERY), image.values, mask.values)

    def test_are_those_of_numpy_and_scipy_on_real_nuclei(self, nuclei):
        image, mask = nuclei
        close(image.labels.correlation(mask, stats=EVERY), image.values, mask.values)

    def test_are_those_of_numpy_in_3d(self, nuclei3d):
        image, mask = nuclei3d
        image = xr.concat([image, image.max() - image, image.roll(x=1)], "c")
        close(image.labels.correlation(mask, stats=EVERY), image.values, mask.values)

    def test_are_those_of_cp_measure_on_real_nuclei(self, nuclei):
        theirs = pytest.importorskip("cp_measure.core.measurecolocalization")
        image, mask = nuclei
        x, y = image.sel(c="DNA").values.astype(float), image.sel(c="ER").values.astype(float)
        numbered = np.unique(mask, return_inverse=True)[1].reshape(mask.shape).astype(np.int32)
        pair, turned = {"c": "DNA", "c_": "ER"}, {"c": "ER", "c_": "DNA"}
        ours = image.labels.correlation(mask, stats=EVERY)
        at_threshold = image.labels.correlation(mask, stats=("overlap", "k1", "k2"), threshold=0.15)
        known = {}
        for name in ("pearson", "manders_fold", "rwc", "overlap"):
            known |= getattr(theirs, f"get_correlation_{name}")(x, y, numbered)
        for found, name in (
            (ours["pearson"].sel(pair), "Correlation_Pearson"),
            (ours["slope"].sel(pair), "Correlation_Slope"),
            (ours["manders"].sel(pair), "Correlation_Manders_1"),
            (ours["manders"].sel(turned), "Correlation_Manders_2"),
            (ours["rwc"].sel(pair), "Correlation_RWC_1"),
            (ours["rwc"].sel(turned), "Correlation_RWC_2"),
            (at_threshold["overlap"].sel(pair), "Correlation_Overlap"),
            (at_threshold["k1"].sel(pair), "Correlation_K_1"),
            (at_threshold["k2"].sel(pair), "Correlation_K_2"),
        ):
            np.testing.assert_allclose(found, known[name], rtol=1e-10, err_msg=name)

    @pytest.mark.parametrize(("threshold", "unit"), [(0, 1), (0.3, 1), (1, 1), (0.3, np.float32(0.1))])
    def test_with_a_threshold_are_over_the_pixels_that_reach_that_part_of_the_largest(self, threshold, unit):
        image, mask = field()
        image = image * unit
        found = image.labels.correlation(mask, stats=EVERY, threshold=threshold)
        for i, label in enumerate(found["label"].values):
            pixels = image.values[:, mask.values == label].astype(float)
            for a, x in enumerate(pixels):
                for b, y in enumerate(pixels):
                    own, other = above(x, y, threshold)
                    both = own & other
                    with np.errstate(invalid="ignore"):
                        known = {name: ORACLES[name](x[both], y[both]) for name in ("overlap", "k1", "k2")}
                        known |= {"manders": manders(x, y, threshold), "rwc": rwc(x, y, threshold)}
                    known |= {"pearson": pearson(x, y), "slope": slope(x, y)}
                    for name, value in known.items():
                        np.testing.assert_allclose(found[name][i, a, b], value, rtol=1e-11, atol=1e-12, err_msg=name)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_leave_out_pair_by_pair_the_pixels_where_either_channel_is_nan(self, dtype):
        image, mask = field(dtype)
        rng = np.random.default_rng(3)
        image = image.where(rng.random(image.shape) > 0.3)
        image[0, :12] = np.nan
        close(image.labels.correlation(mask, stats=EVERY), image.values, mask.values)

    def test_of_pixels_that_both_channels_have_do_not_see_how_far_off_the_others_are(self):
        mask = xr.DataArray(np.ones(8, int), dims="x")
        x = [1e9, 1e9, 1e9, 1e9, 1.0, 2.0, 3.0, 5.0]
        y = [np.nan, np.nan, np.nan, np.nan, 1.0, 3.0, 2.0, 4.0]
        image = xr.DataArray([x, y], dims=("c", "x"))
        found = image.labels.correlation(mask, stats=("pearson", "slope"))
        np.testing.assert_allclose(found["pearson"][0, 0, 1], np.corrcoef(x[4:], y[4:])[0, 1], rtol=1e-13)
        np.testing.assert_allclose(found["slope"][0, 0, 1], np.polyfit(x[4:], y[4:], 1)[0], rtol=1e-12)

    def test_with_skipna_false_are_nan_for_pairs_with_a_nan_in_the_object(self):
        image, mask = field(np.float64)
        spoiled = int(mask.values[mask.values > 0][0])
        where = np.argwhere(mask.values == spoiled)[0]
        image[1, where[0], where[1]] = np.nan
        found = image.labels.correlation(mask, stats=EVERY, skipna=False)
        whole = image.labels.correlation(mask, stats=EVERY).drop_sel(label=spoiled)
        xr.testing.assert_identical(found.drop_sel(label=spoiled), whole)
        for name in EVERY:
            nan = np.isnan(found[name].sel(label=spoiled).values)
            np.testing.assert_array_equal(nan, [[0, 1, 0], [1, 1, 1], [0, 1, 0]], err_msg=name)

    def test_a_channel_that_is_constant_in_an_object_has_no_correlation_and_no_slope_but_a_covariance(self):
        mask = xr.DataArray([1, 1, 1, 2], dims="x")
        for dtype in (np.uint8, np.float64):
            image = xr.DataArray(np.array([[3, 4, 5, 6], [7, 7, 7, 7]], dtype) * dtype(1), dims=("c", "x"))
            if dtype is np.float64:
                image = image / 10
            found = image.labels.correlation(mask, stats=("pearson", "slope", "covariance"))
            np.testing.assert_array_equal(found["pearson"].sel(label=1), [[1, np.nan], [np.nan, np.nan]])
            assert np.isnan(found["slope"].sel(label=1)[1]).all()
            np.testing.assert_allclose(found["slope"].sel(label=1)[0], [1, 0], atol=1e-14)
            assert np.isnan(found["pearson"].sel(label=2)).all()
            np.testing.assert_allclose(found["covariance"].sel(label=2), 0)

    def test_infinite_pixels_spoil_the_pairs_of_their_channel_alone(self):
        image, mask = field(np.float64)
        label = int(mask.values[mask.values > 0][0])
        spoiled = image.copy(deep=True)
        spoiled[1].values[mask.values == label] = np.inf
        for chunks in (None, 7):
            pixels = spoiled if chunks is None else spoiled.chunk(chunks)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = pixels.labels.correlation(mask, stats=MERGING).sel(label=label).compute()
            known = image.labels.correlation(mask, stats=MERGING).sel(label=label)
            for name in MERGING:
                assert np.isnan(found[name][1]).all(), name
                np.testing.assert_allclose(found[name][::2, ::2], known[name][::2, ::2], rtol=1e-11)

    def test_shares_of_nothing_are_nan(self):
        mask = xr.DataArray([1, 1, 1], dims="x")
        image = xr.DataArray(np.array([[0, 0, 0], [1, 2, 3]], np.uint8), dims=("c", "x"))
        found = image.labels.correlation(mask, stats=("manders", "rwc", "overlap", "k1"), threshold=0.5)
        for name in found:
            assert np.isnan(found[name][0, 0, 1]), name
        apart = xr.DataArray(np.array([[9, 0, 0], [0, 0, 9]], np.uint8), dims=("c", "x"))
        found = apart.labels.correlation(mask, stats=("manders", "rwc", "overlap", "k1"), threshold=0.5)
        assert found["manders"][0, 0, 1] == found["rwc"][0, 0, 1] == 0
        assert np.isnan(found["overlap"][0, 0, 1])

    def test_a_channel_goes_with_itself_exactly(self, nuclei):
        image, mask = nuclei
        for pixels in (image, image / 7):
            found = pixels.labels.correlation(mask, stats=EVERY)
            for name in ("pearson", "slope", "manders", "rwc"):
                np.testing.assert_array_equal(np.diagonal(found[name].values, axis1=1, axis2=2), 1, err_msg=name)
            for name in ("pearson", "covariance", "overlap"):
                np.testing.assert_array_equal(found[name], found[name].values.swapaxes(1, 2), err_msg=name)
            np.testing.assert_array_equal(found["k2"], found["k1"].values.swapaxes(1, 2))
            assert (np.abs(found["pearson"].values[np.isfinite(found["pearson"])]) <= 1).all()

    @pytest.mark.parametrize("mean", [0, 1e3, 1e6])
    def test_do_not_lose_precision_to_a_large_mean(self, mean):
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(2, 500))
        mask = xr.DataArray(np.repeat([1, 2], 250), dims="x")
        near = np.stack([x, x + y]) + mean
        for chunks in (None, {"x": 7}):
            image = xr.DataArray(near, dims=("c", "x"))
            image = image if chunks is None else image.chunk(chunks)
            found = image.labels.correlation(mask).pearson
            exact = near.astype(np.longdouble)
            for i, part in enumerate((exact[:, :250], exact[:, 250:])):
                d = part - part.mean(axis=1, keepdims=True)
                r = (d[0] * d[1]).sum() / np.sqrt((d[0] ** 2).sum() * (d[1] ** 2).sum())
                np.testing.assert_allclose(float(found[i, 0, 1]), float(r), rtol=1e-12)

    def test_of_integers_are_exact_where_products_are_beyond_64_bits(self):
        n = 3_000_000
        pixels = np.full((2, n), 65535, np.uint16)
        pixels[0, ::2] = 65534
        pixels[1, ::4] = 65533
        mask = xr.DataArray(np.ones(n, np.uint8), dims="x")
        found = xr.DataArray(pixels, dims=("c", "x")).labels.correlation(mask, stats=("pearson", "covariance"))
        np.testing.assert_allclose(found["covariance"][0], np.cov(pixels.astype(float) - 65534, ddof=0), rtol=1e-13)
        # As if each of these pixels were two thousand, which is past what 64 bits hold.
        from xlabelstats.catalogue.cross_moments import CrossMoments
        from xlabelstats.engine.reduction import Context

        reduction = CrossMoments(True)
        x, y = pixels.astype(object)
        sums = [int(x.sum()) * 2000, int(y.sum()) * 2000]
        products = [int((a * b).sum()) * 2000 for a, b in ((x, x), (x, y), (y, y))]
        assert max(products) > 2**63
        wrapped = [p - 2**64 if p % 2**64 >= 2**63 else p for p in (p % 2**64 for p in products)]
        columns = np.array([[sums]]), np.array([[wrapped]])
        context = Context(1, pixels.dtype, False, None)
        pairs = reduction.material(np.array([1]), np.array([2000 * n]), columns, context)
        np.testing.assert_allclose(pairs.pearson[0], found["pearson"], rtol=1e-13)


class TestChunks:
    @pytest.mark.parametrize("chunks", [1, 2, 3, 7, {"c": 1, "y": 13, "x": 8}, {"c": 2, "y": 30, "x": 5}])
    def test_of_any_size_give_the_same_bits_for_small_integers(self, chunks):
        image, mask = field()
        image, mask = image[:, :15, :12], mask[:15, :12]
        whole = image.labels.correlation(mask, stats=EVERY)
        found = image.chunk(chunks).labels.correlation(mask, stats=EVERY)
        assert all(variable.chunks is not None for variable in found.values())
        xr.testing.assert_identical(found.compute(), whole)

    @pytest.mark.parametrize("chunks", [1, 2, 3, 7, {"c": 1, "y": 13, "x": 8}])
    def test_of_any_size_give_the_same_moments_for_floats(self, chunks):
        image, mask = field(np.float32)
        image, mask = image[:, :15, :12], mask[:15, :12]
        image = image.where(np.random.default_rng(0).random(image.shape) > 0.1)
        whole = image.labels.correlation(mask, stats=EVERY)
        found = image.chunk(chunks).labels.correlation(mask.chunk(5), stats=EVERY)
        xr.testing.assert_allclose(found.compute(), whole, rtol=1e-12, atol=1e-12)

    def test_of_channels_are_read_once(self):
        image, mask = field()
        read = []

        def note(block, block_info=None):
            read.append(block_info[0]["chunk-location"])
            return block

        import dask.array as da

        pixels = da.map_blocks(note, image.chunk({"c": 1, "y": 10, "x": 20}).data, dtype=image.dtype)
        with dask.config.set(scheduler="synchronous"):
            image.copy(data=pixels).labels.correlation(mask, stats=MERGING).compute()
        assert len(read) == len(set(read)) == 3 * 3 * 3

    def test_more_labels_than_fit_in_a_chunk_are_merged_by_range(self, monkeypatch):
        monkeypatch.setattr("xlabelstats.engine.merge_tree.LABELS_PER_CHUNK", 5)
        monkeypatch.setattr("xlabelstats.engine.merge_tree.FAN_IN", 2)
        image, mask = field()
        found = image.chunk(c=1, y=7, x=9).labels.correlation(mask, stats=EVERY)
        assert max(found["pearson"].chunks[0]) == 5
        xr.testing.assert_identical(found.compute(), image.labels.correlation(mask, stats=EVERY))

    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    def test_dims_and_dtypes_may_be_any(self, data):
        shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=6))
        dims = tuple("zyx"[: len(shape)])
        mask = data.draw(hnp.arrays(np.int32, shape, elements=st.integers(0, 4)))
        dtype = np.dtype(data.draw(st.sampled_from(["u1", "i2", "u2", "i4", "f4", "f8"])))
        channels = data.draw(st.integers(1, 3))
        numbers = st.integers(0 if dtype.kind == "u" else -90, 90)
        values = data.draw(hnp.arrays(dtype, (channels, *shape), elements=numbers))
        if dtype.kind == "f":
            holes = data.draw(hnp.arrays(bool, values.shape, elements=st.booleans()))
            values = np.where(holes, np.nan, values).astype(dtype)
        given_image = xr.DataArray(values, dims=("c", *dims)).transpose(*data.draw(st.permutations(("c", *dims))))
        given_mask = xr.DataArray(mask, dims=dims).transpose(*data.draw(st.permutations(dims)))
        chunks = data.draw(st.none() | st.fixed_dictionaries(dict.fromkeys(("c", *dims), st.integers(1, 4))))
        if chunks is not None:
            given_image = given_image.chunk(chunks)
        found = given_image.labels.correlation(given_mask, stats=EVERY, background=True).compute()
        assert found["pearson"].dims == ("label", "c", "c_")
        close(found, values, mask, rtol=1e-9)


class TestResult:
    def test_has_the_first_channel_and_the_second_with_their_coordinates(self):
        image, mask = field()
        found = image.labels.correlation(mask, "c", ("pearson", "k1"))
        assert list(found) == ["pearson", "k1"]
        assert found["pearson"].dims == ("label", "c", "c_")
        assert list(found["c_"].values) == list(found["c"].values) == list(image["c"].values)
        assert found["k1"].dtype == np.float64
        assert found["pearson"].attrs["long_name"] == "Pearson correlation of image"

    def test_keeps_other_dims_before_the_two_channels(self):
        image, mask = field()
        stack = xr.concat([image, image[::-1].assign_coords(c=image.c), image.roll(x=1)], "t")
        stack = stack.assign_coords(t=[0.0, 1.5, 2.0]).transpose("c", "y", "t", "x")
        found = stack.labels.correlation(mask, stats=EVERY)
        assert found["pearson"].dims == ("label", "t", "c", "c_")
        for i in range(3):
            alone = stack.isel(t=i).labels.correlation(mask, stats=EVERY)
            xr.testing.assert_allclose(found.isel(t=i), alone, rtol=1e-14)
        lazy = stack.chunk(t=2, c=1, y=9).labels.correlation(mask, stats=EVERY)
        xr.testing.assert_identical(lazy.compute(), found)

    def test_may_be_along_any_dim_that_the_mask_lacks(self):
        image, mask = field()
        times = image.rename(c="time of day").assign_coords({"time of day": np.array([3, 1, 2], "m8[h]")})
        found = times.labels.correlation(mask, "time of day")
        assert found["pearson"].dims == ("label", "time of day", "time of day_")
        np.testing.assert_array_equal(found["time of day_"], times["time of day"])
        np.testing.assert_array_equal(found["pearson"], image.labels.correlation(mask)["pearson"])

    def test_of_one_channel_is_one_by_one(self):
        image, mask = field(channels=1)
        found = image.labels.correlation(mask, stats=EVERY)
        assert found["rwc"].shape == (found.sizes["label"], 1, 1)
        close(found, image.values, mask.values)

    def test_of_named_labels_is_in_their_order_and_nan_for_an_absent_one(self):
        image, mask = field()
        ids = mask.labels.ids()
        wanted = [int(ids[3]), 9999, int(ids[0]), 0]
        for pixels in (image, image.chunk(11), image.astype("f4")):
            found = pixels.labels.correlation(mask, stats=EVERY, labels=wanted).compute()
            assert list(found["label"].values) == wanted
            every = pixels.labels.correlation(mask, stats=EVERY, background=True).compute()
            for name in EVERY:
                assert np.isnan(found[name].sel(label=9999)).all()
            some = [wanted[0], wanted[2], 0]
            xr.testing.assert_allclose(found.sel(label=some), every.sel(label=some), rtol=1e-13)

    def test_of_a_mask_without_objects_is_empty(self):
        image, mask = field()
        for pixels in (image, image.chunk(c=1, y=10), image.astype("f4")):
            found = pixels.labels.correlation(xr.zeros_like(mask), stats=EVERY)
            assert dict(found.sizes) == {"label": 0, "c": 3, "c_": 3}
            assert found.compute()["manders"].dtype == np.float64

    def test_makes_columns_of_ordered_pairs(self):
        image, mask = field(channels=2)
        image = image.assign_coords(c=["DAPI", "CD3"])
        table = image.labels.correlation(mask).labels.to_dataframe()
        assert list(table) == [
            "pearson_DAPI_DAPI", "pearson_DAPI_CD3", "pearson_CD3_DAPI", "pearson_CD3_CD3",
        ]  # fmt: skip

    def test_leaves_its_input_as_it_was(self):
        image, mask = field(np.float32)
        image = image.where(image > 20)
        before = image.copy(deep=True), mask.copy(deep=True)
        image.labels.correlation(mask, stats=EVERY)
        xr.testing.assert_identical(image, before[0])
        xr.testing.assert_identical(mask, before[1])


class TestMeasure:
    def test_takes_the_names_among_others(self):
        image, mask = field()
        stack = xr.concat([image, image.roll(x=1)], "t").transpose("c", "t", "y", "x")
        found = stack.labels.measure(mask, ("area", "mean", "pearson", ("manders", {"threshold": 0.4}), "median"))
        assert found["mean"].dims == ("label", "c", "t")
        assert found["pearson"].dims == ("label", "t", "c", "c_")
        apart = stack.labels.correlation(mask, stats=("pearson", "manders"), threshold=0.4)
        np.testing.assert_array_equal(found["pearson"], apart["pearson"])
        np.testing.assert_array_equal(found["manders"], apart["manders"])
        np.testing.assert_array_equal(found["mean"], stack.labels.mean(mask))
        np.testing.assert_array_equal(found["median"], stack.labels.median(mask))

    def test_takes_the_dim_as_a_parameter(self):
        image, mask = field()
        found = image.rename(c="stain").labels.measure(mask, ("mean", ("overlap", {"dim": "stain", "threshold": 0.2})))
        known = image.labels.correlation(mask, stats="overlap", threshold=0.2)["overlap"]
        np.testing.assert_array_equal(found["overlap"], known)
        assert found["overlap"].dims == ("label", "stain", "stain_")

    def test_with_two_dims_in_one_call_says_to_make_two(self):
        image, mask = field()
        with pytest.raises(ValueError, match="one call compares along one dim, not along 'c' and 't'"):
            image.expand_dims(t=2).labels.measure(mask, ("pearson", ("slope", {"dim": "t"})))

    def test_lists_them_as_a_family(self):
        table = xlabelstats.measures().query("family == 'correlation'")
        assert list(table.index) == list(EVERY)
        assert list(table.index[table.needs_whole_objects]) == ["manders", "rwc"]
        assert table.loc["rwc", "parameters"] == "dim, threshold"
        assert table.loc["pearson", "parameters"] == "dim"
        assert (table.dims == "c_").all()


class TestDatasets:
    def test_have_each_image_with_the_dim_compared_and_say_which_lack_it(self):
        image, mask = field()
        dataset = xr.Dataset({"cells": mask, "stain": image, "height": image[0].drop_vars("c")})
        with pytest.warns(UserWarning, match=r"lack a dim of the mask \('y', 'x'\) or 'c': height"):
            found = dataset.labels.correlation("cells", stats=iter(("pearson", "manders")))
        alone = image.labels.correlation(mask, stats=("pearson", "manders"))
        assert list(found) == ["pearson_stain", "manders_stain"]
        np.testing.assert_array_equal(found["manders_stain"], alone["manders"])

    def test_without_such_an_image_say_so(self):
        image, mask = field()
        with pytest.raises(ValueError, match=r"has the dims of the mask \('y', 'x'\) and 'c'; there are: 'height'"):
            xr.Dataset({"cells": mask, "height": image[0].drop_vars("c")}).labels.correlation("cells")

    def test_trees_are_measured_at_their_finest_scale(self):
        image, mask = field()
        tree = xr.DataTree.from_dict({"scale0": image.to_dataset(name="image")})
        xr.testing.assert_equal(tree.labels.correlation(mask), image.labels.correlation(mask))


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"dim": "channel"}, r"pearson compares the channels along 'channel', which is no dim .* lacks are: 'c'"),
            ({"dim": "y"}, "pearson compares along a dim that the mask lacks; 'y' is one of the mask's"),
            ({"stats": "manders_fold"}, "unknown statistic 'manders_fold', which is called 'manders' here"),
            ({"stats": "manderz"}, "unknown statistic 'manderz', did you mean 'manders'"),
            ({"stats": "Correlation_RWC_DNA_ER"}, "which is called 'rwc' here"),
            ({"stats": "mean"}, r"unknown statistic 'mean', which is image\.labels\.aggregate\(mask, \"mean\"\)"),
            ({"stats": ()}, "no statistic was asked for; there are: pearson"),
            ({"threshold": 15}, "threshold is a fraction of the largest pixel .* from 0 to 1, not 15"),
            ({"threshold": -0.1}, "from 0 to 1, not -0.1"),
            ({"threshold": float("nan")}, "from 0 to 1, not nan"),
            ({"threshold": True}, "from 0 to 1, not True"),
            ({"threshold": "15%"}, "from 0 to 1, not '15%'"),
        ],
    )
    def test_say_what_is_wrong_and_what_there_is(self, arguments, message):
        image, mask = field()
        with pytest.raises(ValueError, match=message):
            image.labels.correlation(mask, **arguments)

    def test_of_an_image_without_channels_say_so(self):
        image, mask = field()
        with pytest.raises(ValueError, match=r"'c', which is no dim of the image \('y', 'x'\)\. Those are all the mas"):
            image[0].drop_vars("c").labels.correlation(mask)

    def test_of_a_mask_alone_say_that_an_image_is_needed(self):
        _, mask = field()
        with pytest.raises(ValueError, match="pearson needs an image"):
            mask.labels.measure("pearson")

    def test_of_aggregate_name_the_call(self):
        image, mask = field()
        with pytest.raises(ValueError, match=r'which is image\.labels\.correlation\(mask, stats="pearson"\)'):
            image.labels.aggregate(mask, "pearson")

    def test_of_a_dim_that_is_taken_say_how_to_rename(self):
        image, mask = field()
        with pytest.raises(ValueError, match="c_"):
            image.expand_dims(c_=2).labels.correlation(mask)


def test_a_threshold_that_says_nothing_to_the_statistics_is_an_error():
    image = xr.DataArray(np.ones((2, 3)), dims=("c", "x"))
    mask = xr.DataArray([1, 1, 2], dims="x")
    with pytest.raises(ValueError, match=r"threshold=0\.2 has no effect on pearson, slope; .*: overlap, k1, k2"):
        image.labels.correlation(mask, stats=("pearson", "slope"), threshold=0.2)
