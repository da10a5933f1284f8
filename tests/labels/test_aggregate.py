"""Statistics against scipy and pandas, on real nuclei and generated fields."""

from __future__ import annotations

import itertools
from fractions import Fraction

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.ndimage as ndi
import scipy.stats
import xarray as xr
from conftest import blobs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import xlabelstats
from xlabelstats.catalogue import DEFAULT_STATISTICS, STATISTICS
from xlabelstats.catalogue.intensity import PixelMoments
from xlabelstats.engine.reduction import Block, Context
from xlabelstats.engine.runs import find_runs
from xlabelstats.grid import pixel_grid

EVERY = tuple(STATISTICS)


def lazily(array: xr.DataArray, **chunks: int) -> xr.DataArray:
    return array.chunk({dim: chunks.get(str(dim), 13) for dim in array.dims})


def by_scipy(image: np.ndarray, mask: np.ndarray, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Every statistic of a one-channel image without NaN, by scipy."""
    with np.errstate(invalid="ignore"):  # scipy divides by the count of ids that do not occur
        return _by_scipy(image, mask, ids)


def _by_scipy(image: np.ndarray, mask: np.ndarray, ids: np.ndarray) -> dict[str, np.ndarray]:
    image = image.astype(np.float64)
    pixels = [image[mask == label] for label in ids]
    return {
        "count": ndi.sum_labels(np.ones(mask.shape), mask, ids),
        "sum": ndi.sum_labels(image, mask, ids),
        "mean": ndi.mean(image, mask, ids),
        "var": ndi.variance(image, mask, ids),
        "std": ndi.standard_deviation(image, mask, ids),
        "skew": np.array([scipy.stats.skew(p) if np.ptp(p) else np.nan for p in pixels]),
        "kurtosis": np.array([scipy.stats.kurtosis(p) if np.ptp(p) else np.nan for p in pixels]),
        "min": ndi.minimum(image, mask, ids),
        "max": ndi.maximum(image, mask, ids),
        "valid": ndi.sum_labels(np.ones(mask.shape), mask, ids),
    }


def assert_is_scipy(result: xr.Dataset, image: np.ndarray, mask: np.ndarray) -> None:
    ids = np.unique(mask[mask != 0])
    np.testing.assert_array_equal(result["label"], ids)
    assert set(result) <= set(EVERY)
    expected = by_scipy(image, mask, ids)
    for stat, variable in result.items():
        exact = stat in ("count", "valid", "min", "max")
        tolerance = {"rtol": 0} if exact else {"rtol": 1e-9, "atol": 1e-9}
        np.testing.assert_allclose(variable, expected[str(stat)], err_msg=str(stat), **tolerance)


class TestNuclei:
    def test_every_statistic_of_the_2d_nuclei_is_scipys(self, nuclei2d):
        image, mask = nuclei2d
        assert_is_scipy(image.labels.aggregate(mask, EVERY), image.values, mask.values)

    def test_every_statistic_of_the_3d_nuclei_is_scipys(self, nuclei3d):
        image, mask = nuclei3d
        assert_is_scipy(image.labels.aggregate(mask, EVERY), image.values, mask.values)

    @pytest.mark.parametrize("chunk", [7, 32, 100])
    def test_chunks_do_not_matter(self, nuclei3d, chunk):
        image, mask = nuclei3d
        result = image.chunk(chunk).labels.aggregate(mask.chunk(chunk + 3), EVERY)
        assert_is_scipy(result.compute(), image.values, mask.values)

    def test_mean_and_sum_are_those_of_a_pandas_groupby(self, nuclei2d):
        image, mask = nuclei2d
        table = pd.DataFrame({"pixel": image.values.ravel().astype(float), "label": mask.values.ravel()})
        expected = table[table.label != 0].groupby("label")["pixel"].agg(["sum", "mean", "var", "min", "max"])
        result = image.labels.aggregate(mask, ("sum", "mean", "var", "min", "max"), ddof=1).labels.to_dataframe()
        pd.testing.assert_frame_equal(result, expected, check_dtype=False, check_index_type=False)


class TestShape:
    def test_default_statistics_are_all_but_std_and_valid(self, nuclei2d):
        image, mask = nuclei2d
        assert tuple(image.labels.aggregate(mask)) == DEFAULT_STATISTICS
        assert set(EVERY) - set(DEFAULT_STATISTICS) == {"std", "valid"}

    @pytest.mark.parametrize("order", list(itertools.permutations("cyx")))
    @pytest.mark.parametrize("mask_order", [("y", "x"), ("x", "y")])
    @pytest.mark.parametrize("lazy", [False, True])
    def test_dims_may_come_in_any_order(self, order, mask_order, lazy):
        rng = np.random.default_rng(0)
        labels = blobs((30, 40), 12)
        pixels = rng.normal(size=(3, 30, 40))
        image = xr.DataArray(pixels, dims=("c", "y", "x"), coords={"c": ["a", "b", "d"]}).transpose(*order)
        mask = xr.DataArray(labels, dims=("y", "x")).transpose(*mask_order)
        if lazy:
            image, mask = lazily(image, c=2), lazily(mask, x=17)
        result = image.labels.aggregate(mask, EVERY).compute()
        assert result["mean"].dims == ("label", "c")
        assert result["count"].dims == ("label",)
        for c in range(3):
            assert_is_scipy(result.isel(c=c, drop=True), pixels[c], labels)

    @pytest.mark.parametrize("ndim", [1, 2, 3, 4])
    @pytest.mark.parametrize("lazy", [False, True])
    def test_masks_of_any_number_of_dims(self, ndim, lazy):
        shape = (40, 9, 8, 7)[:ndim]
        labels = blobs(shape, 6)
        pixels = np.random.default_rng(1).integers(0, 200, shape).astype(np.uint8)
        image, mask = (xr.DataArray(a, dims=list("wzyx")[:ndim]) for a in (pixels, labels))
        if lazy:
            image, mask = image.chunk(5), mask.chunk(4)
        assert_is_scipy(image.labels.aggregate(mask, EVERY).compute(), pixels, labels)

    @pytest.mark.parametrize("lazy", [False, True])
    def test_other_dims_stand_anywhere_and_keep_their_coords(self, lazy):
        rng = np.random.default_rng(2)
        pixels, labels = rng.random((2, 6, 3, 8)), blobs((6, 8), 5)
        image = xr.DataArray(
            pixels,
            dims=("t", "y", "c", "x"),
            coords={"c": ["a", "b", "d"], "gain": ("t", [1.0, 2.0]), "y": np.arange(6), "stain": "H"},
        )
        mask = xr.DataArray(labels, dims=("y", "x"))
        if lazy:
            image, mask = lazily(image, t=1, c=2, y=4, x=3), lazily(mask, y=5, x=8)
        mean = image.labels.mean(mask).compute()
        assert mean.dims == ("label", "t", "c")
        assert set(mean.coords) == {"label", "c", "gain", "stain"}
        for t, c in np.ndindex(2, 3):
            expected = ndi.mean(pixels[t, :, c], labels, mean["label"].values)
            np.testing.assert_allclose(mean[:, t, c], expected)

    def test_lazy_results_are_chunked_as_the_image_and_uniform_along_label(self, monkeypatch):
        monkeypatch.setattr("xlabelstats.engine.merge_tree.LABELS_PER_CHUNK", 4)
        labels = blobs((40, 40), 30)
        n = np.unique(labels[labels > 0]).size
        image = xr.DataArray(np.random.default_rng(0).random((3, 40, 40)), dims=("c", "y", "x")).chunk(c=2, y=11, x=9)
        result = image.labels.aggregate(xr.DataArray(labels, dims=("y", "x")).chunk(7), EVERY)
        assert n > 8
        assert result["mean"].chunks == ((4,) * (n // 4) + ((n % 4,) if n % 4 else ()), (2, 1))
        assert result["count"].chunks == (result["mean"].chunks[0],)
        for c in range(3):
            assert_is_scipy(result.isel(c=c).compute(), image.values[c], labels)

    def test_meta_of_lazy_results_tells_the_dtype_that_comes(self):
        labels = blobs((20, 20), 5)
        image = xr.DataArray(np.arange(400, dtype=np.int16).reshape(20, 20), dims=("y", "x")).chunk(9)
        for options in ({}, {"labels": [1, 2, 99]}):
            result = image.labels.aggregate(xr.DataArray(labels, dims=("y", "x")), EVERY, **options)
            assert {k: v.dtype for k, v in result.items()} == {k: v.dtype for k, v in result.compute().items()}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_chunking_any_relabelling_any_masking_gives_the_same(data):
    ndim = data.draw(st.integers(1, 3), label="ndim")
    shape = tuple(data.draw(st.integers(1, 9), label="size") for _ in range(ndim))
    labels = data.draw(hnp.arrays(np.int32, shape, elements=st.integers(-2, 4)), label="labels")
    pixels = data.draw(
        hnp.arrays(np.float64, shape, elements=st.floats(-1e6, 1e6, allow_subnormal=False)), label="pixels"
    )
    dims = list("zyx")[:ndim]
    image, mask = xr.DataArray(pixels, dims=dims), xr.DataArray(labels, dims=dims)
    whole = image.labels.aggregate(mask, EVERY)

    def chunks() -> dict[str, tuple[int, ...]]:
        cuts = {
            d: data.draw(st.sets(st.integers(1, max(n - 1, 1))), label="cuts") for d, n in zip(dims, shape, strict=True)
        }
        edges = {d: sorted({0, n, *(c for c in cuts[d] if c < n)}) for d, n in zip(dims, shape, strict=True)}
        return {d: tuple(int(k) for k in np.diff(e)) for d, e in edges.items()}

    chunked = image.chunk(chunks()).labels.aggregate(mask.chunk(chunks()), EVERY).compute()
    assert_close(chunked, whole, pixels)

    names = data.draw(st.permutations([11, -7, 2**40, 5, 9, 1]), label="names")
    renamed = dict(zip((-2, -1, 1, 2, 3, 4), names, strict=True)) | {0: 0}
    relabelled = mask.copy(data=np.vectorize(renamed.get, otypes=[np.int64])(labels))
    again = image.labels.aggregate(relabelled, EVERY).sel(label=[renamed[int(i)] for i in whole["label"]])
    assert_close(again.assign_coords(label=whole["label"]), whole, pixels)


def assert_close(actual: xr.Dataset, expected: xr.Dataset, pixels: np.ndarray) -> None:
    """Equal but for rounding, which for moments goes with the powers of the pixels."""
    spread = np.ptp(pixels) if pixels.size else 0.0
    largest = np.abs(pixels).max(initial=0)
    atol = {
        "sum": 1e-15 * pixels.size * largest,
        "mean": 1e-15 * largest,
        "var": 1e-14 * spread**2 + (1e-15 * largest) ** 2,
    }
    for stat in ("count", "valid", "min", "max"):
        xr.testing.assert_equal(actual[stat], expected[stat])
    for stat, tolerance in atol.items():
        np.testing.assert_allclose(actual[stat], expected[stat], rtol=1e-12, atol=tolerance, err_msg=stat)
    # Ratios of moments mean something only where the variance is more than rounding.
    firm = (expected["var"] > 1e-6 * largest**2).values
    for stat in ("skew", "kurtosis"):
        np.testing.assert_allclose(actual[stat][firm], expected[stat][firm], rtol=1e-6, atol=1e-6)


class TestLabelsAcrossBlocks:
    @pytest.mark.parametrize("span", [1, 2, 4])
    def test_labels_that_cross_some_and_all_blocks(self, span):
        labels = np.zeros((40, 40), np.int32)
        labels[1 : 10 * span - 1, 3 : 10 * span - 2] = 5
        labels[0, :] = 9
        labels[:, 39] = 2
        pixels = np.random.default_rng(span).normal(1e3, 5, (40, 40)).astype(np.float32)
        image, mask = (xr.DataArray(a, dims=("y", "x")).chunk(10) for a in (pixels, labels))
        assert_is_scipy(image.labels.aggregate(mask, EVERY).compute(), pixels, labels)

    def test_blocks_without_labels(self):
        labels = np.zeros((30, 30), np.uint8)
        labels[25:, 25:] = 3
        pixels = np.arange(900.0).reshape(30, 30)
        image, mask = (xr.DataArray(a, dims=("y", "x")).chunk(10) for a in (pixels, labels))
        assert_is_scipy(image.labels.aggregate(mask, EVERY).compute(), pixels, labels)

    def test_whole_image_as_one_label(self):
        pixels = np.random.default_rng(0).gamma(2, size=(50, 60))
        labels = np.full((50, 60), 7)
        image, mask = (xr.DataArray(a, dims=("y", "x")).chunk(8) for a in (pixels, labels))
        assert_is_scipy(image.labels.aggregate(mask, EVERY).compute(), pixels, labels)

    @pytest.mark.filterwarnings("ignore:are image and mask swapped")
    def test_a_label_in_many_ranges_of_many_blocks_comes_out_once(self, monkeypatch):
        monkeypatch.setattr("xlabelstats.engine.merge_tree.LABELS_PER_CHUNK", 3)
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 200, (48, 48))
        pixels = rng.integers(0, 1000, (48, 48)).astype(np.uint16)
        image, mask = (xr.DataArray(a, dims=("y", "x")).chunk(4) for a in (pixels, labels))
        assert_is_scipy(image.labels.aggregate(mask, EVERY).compute(), pixels, labels)


class TestPrecision:
    @pytest.mark.parametrize("chunk", [17, 64, 200])
    def test_variance_of_a_large_float32_mean_is_that_of_two_passes_in_float64(self, chunk):
        rng = np.random.default_rng(0)
        pixels = rng.normal(1e6, 1, (200, 200)).astype(np.float32)
        labels = rng.integers(0, 4, (200, 200))
        labels[:, :120] = 1
        image, mask = (xr.DataArray(a, dims=("y", "x")).chunk(chunk) for a in (pixels, labels))
        result = image.labels.aggregate(mask, EVERY).compute()
        for label in (1, 2, 3):
            own = pixels[labels == label].astype(np.float64)
            np.testing.assert_allclose(result["var"].sel(label=label), own.var(), rtol=1e-9)
            np.testing.assert_allclose(result["mean"].sel(label=label), own.mean(), rtol=1e-14)
            np.testing.assert_allclose(result["skew"].sel(label=label), scipy.stats.skew(own), atol=1e-8)
            np.testing.assert_allclose(result["kurtosis"].sel(label=label), scipy.stats.kurtosis(own), atol=1e-8)

    def test_variance_survives_an_outlier_in_the_first_pixel(self):
        pixels = np.random.default_rng(0).normal(1e6, 1, 10_000)
        pixels[0] = 0
        image = xr.DataArray(pixels, dims="x")
        result = image.labels.var(xr.ones_like(image, int))
        np.testing.assert_allclose(result.item(), pixels.var(), rtol=1e-12)

    @pytest.mark.parametrize("dtype", [np.uint32, np.int64, np.uint64])
    def test_sums_of_integers_are_exact_to_2_to_the_53(self, dtype):
        pixels = np.full(2**12, 2**41 - 1 if np.dtype(dtype).itemsize == 8 else 2**32 - 1, dtype)
        image = xr.DataArray(pixels, dims="x")
        total = image.chunk(x=100).labels.sum(xr.ones_like(image, int)).compute()
        assert int(total.item()) == int(pixels[0]) * 2**12 <= 2**53

    def test_float_sums_lose_less_than_naive_ones(self):
        pixels = np.tile([1e16, 1.0, -1e16, 1.0], 500)
        # One-pixel runs, so that every addition is from run to run.
        labels = np.zeros(4000, int)
        labels[::2] = 1
        spread = np.zeros(4000)
        spread[::2] = pixels
        total = xr.DataArray(spread, dims="x").labels.sum(xr.DataArray(labels, dims="x"))
        assert total.item() == 1000
        assert np.cumsum(pixels)[-1] != 1000

    def test_extremes_keep_every_bit_of_large_integers(self):
        pixels = np.array([2**63 - 1, 2**63 - 2, -(2**63), 5], np.int64)
        image = xr.DataArray(pixels, dims="x")
        result = image.labels.aggregate(xr.DataArray([1, 1, 2, 2], dims="x"), ("min", "max"))
        assert result["min"].dtype == result["max"].dtype == np.int64
        assert result["max"].values.tolist() == [2**63 - 1, 5]
        assert result["min"].values.tolist() == [2**63 - 2, -(2**63)]


class TestDtypes:
    @pytest.mark.parametrize(
        "dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">u2", ">f4", "?"]
    )
    @pytest.mark.parametrize("lazy", [False, True])
    def test_images_of_every_dtype(self, dtype, lazy):
        rng = np.random.default_rng(0)
        pixels = (rng.random((20, 20)) * 100).astype(dtype)
        labels = blobs((20, 20), 6)
        image, mask = (xr.DataArray(a, dims=("y", "x")) for a in (pixels, labels))
        if lazy:
            image, mask = image.chunk(9), mask.chunk(6)
        result = image.labels.aggregate(mask, EVERY).compute()
        assert_is_scipy(result, pixels, labels)
        assert result["min"].dtype == result["max"].dtype == np.dtype(dtype).newbyteorder("=")
        assert result["count"].dtype == result["valid"].dtype == np.int64
        assert all(result[stat].dtype == np.float64 for stat in ("sum", "mean", "var", "std", "skew", "kurtosis"))

    @pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", ">i4"])
    @pytest.mark.parametrize("lazy", [False, True])
    def test_masks_of_every_integer_dtype(self, dtype, lazy):
        labels = (blobs((20, 20), 6) * 5).astype(dtype)
        pixels = np.random.default_rng(0).random((20, 20))
        image, mask = (xr.DataArray(a, dims=("y", "x")) for a in (pixels, labels))
        if lazy:
            image, mask = image.chunk(9), mask.chunk(6)
        result = image.labels.aggregate(mask, EVERY).compute()
        assert_is_scipy(result, pixels, labels)
        assert result["label"].dtype == np.dtype(dtype).newbyteorder("=")

    @pytest.mark.parametrize("lazy", [False, True])
    def test_ids_at_the_edges_of_their_types_cost_no_more_than_small_ones(self, lazy):
        for dtype, ids in ((np.int64, [-(2**63), -1, 1, 2**63 - 1]), (np.uint64, [1, 2**53 + 1, 2**63, 2**64 - 1])):
            labels = np.repeat(np.array([0, *ids], dtype), 3)
            pixels = np.arange(15)
            image, mask = xr.DataArray(pixels, dims="x"), xr.DataArray(labels, dims="x")
            if lazy:
                image, mask = image.chunk(x=4), mask.chunk(x=5)
            result = image.labels.aggregate(mask, ("count", "sum")).compute()
            assert result["label"].values.tolist() == ids
            assert result["sum"].values.tolist() == [12, 21, 30, 39]
            one = image.labels.aggregate(mask, "sum", labels=ids[::-1]).compute()
            assert one["sum"].values.tolist() == [39, 30, 21, 12]
            assert one["label"].values.tolist() == ids[::-1]

    def test_bool_mask_is_label_1(self):
        image = xr.DataArray([1.0, 2, 3, 4], dims="x")
        result = image.labels.aggregate(image > 2, ("count", "mean"))
        assert result["label"].values.tolist() == [1]
        assert (result["count"].item(), result["mean"].item()) == (2, 3.5)

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_nan_is_skipped_or_spoils_its_label(self, lazy, dtype):
        pixels = np.array([1, np.nan, 3, np.nan, np.nan, 6, 7], dtype)
        image, mask = xr.DataArray(pixels, dims="x"), xr.DataArray([1, 1, 1, 2, 2, 3, 3], dims="x")
        if lazy:
            image, mask = image.chunk(x=2), mask.chunk(x=3)
        skipped = image.labels.aggregate(mask, EVERY).compute()
        xr.testing.assert_identical(skipped, image.labels.aggregate(mask, EVERY, skipna=True).compute())
        assert skipped["count"].values.tolist() == [3, 2, 2]
        assert skipped["valid"].values.tolist() == [2, 0, 2]
        np.testing.assert_array_equal(skipped["sum"], [4, 0, 13])
        np.testing.assert_array_equal(skipped["mean"], [2, np.nan, 6.5])
        np.testing.assert_array_equal(skipped["var"], [1, np.nan, 0.25])
        np.testing.assert_array_equal(skipped["min"], [1, np.nan, 6])
        np.testing.assert_array_equal(skipped["max"], [3, np.nan, 7])
        kept = image.labels.aggregate(mask, EVERY, skipna=False).compute()
        assert kept["valid"].values.tolist() == [2, 0, 2]
        for stat in ("sum", "mean", "var", "std", "skew", "kurtosis", "min", "max"):
            assert np.isnan(kept[stat].values[:2]).all(), stat
            np.testing.assert_array_equal(kept[stat][2], skipped[stat][2])

    @pytest.mark.parametrize("skipna", [False, True])
    def test_inf_propagates_as_in_xarray(self, skipna):
        image = xr.DataArray([1.0, np.inf, 3, -np.inf, 2, 5, 6], dims="x")
        mask = xr.DataArray([1, 1, 1, 2, 2, 3, 3], dims="x")
        result = image.chunk(x=2).labels.aggregate(mask, EVERY, skipna=skipna).compute()
        for stat in ("sum", "mean", "min", "max"):
            with np.errstate(invalid="ignore"):
                expected = [getattr(image[mask.values == i], stat)(skipna=skipna).item() for i in (1, 2, 3)]
            np.testing.assert_array_equal(result[stat], expected, err_msg=stat)
        assert np.isnan(result["var"].values[:2]).all()

    @pytest.mark.parametrize("no", [False, 0, np.False_])
    def test_any_false_skipna_is_false(self, no):
        image, mask = xr.DataArray([1.0, np.nan], dims="x"), xr.DataArray([1, 1], dims="x")
        assert np.isnan(image.labels.mean(mask, skipna=no)).all()

    def test_big_endian_uint64_masks_keep_every_bit(self):
        ids = (2**53 + np.arange(6, dtype="u8")).astype(">u8")
        mask = xr.DataArray(ids, dims="x")
        image = xr.DataArray(np.arange(6), dims="x")
        for a in (mask, mask.chunk(x=4)):
            assert image.labels.sum(a, labels=ids[[4, 0]].tolist()).values.tolist() == [4, 0]
            np.testing.assert_array_equal(a.labels.paint(a.labels.count()), np.ones(6))

    def test_equal_pixels_have_no_skew(self):
        image = xr.DataArray(np.full(10, 0.1), dims="x")
        result = image.labels.aggregate(xr.ones_like(image, int), EVERY)
        assert result["var"].item() < 1e-30
        assert np.isnan(result["skew"].item())
        assert np.isnan(result["kurtosis"].item())


# The same masks for all images, so that they are scanned once.
STRIPES = xr.DataArray(np.where(np.arange(24) % 7 < 3, 1, 2) * np.ones((16, 1), int), dims=("y", "x"))
STRIPES_IN_CHUNKS = [*(STRIPES.chunk(y=y, x=x) for y, x in ((1, 1), (5, 5), (8, 12))), STRIPES]


class TestOptions:
    def test_shortcuts_give_one_statistic_of_aggregate(self, nuclei2d):
        image, mask = nuclei2d
        # What a result says for `rollup` is said by the whole of it.
        said = ("ddof", "skipna")
        whole = image.labels.aggregate(mask, EVERY).drop_vars(said)
        shortcuts = [stat for stat in EVERY if stat not in ("count", "valid")]
        for stat in shortcuts:
            alone = getattr(image.labels, stat)(mask).drop_vars(said, errors="ignore")
            xr.testing.assert_allclose(alone, whole[stat], rtol=1e-12)
            assert (alone.name, alone.dtype, alone.attrs) == (stat, whole[stat].dtype, whole[stat].attrs)

    def test_ddof(self):
        image, mask = xr.DataArray([1.0, 2, 4, 9], dims="x"), xr.DataArray([1, 1, 1, 2], dims="x")
        np.testing.assert_allclose(image.labels.var(mask, ddof=1), [np.var([1, 2, 4], ddof=1), np.nan])
        np.testing.assert_allclose(image.labels.std(mask, ddof=1), [np.std([1, 2, 4], ddof=1), np.nan])
        np.testing.assert_allclose(image.labels.var(mask), [np.var([1, 2, 4]), 0])

    @pytest.mark.parametrize("lazy", [False, True])
    def test_requested_labels_come_in_the_callers_order_absent_ones_blank(self, nuclei2d, lazy):
        image, mask = nuclei2d
        if lazy:
            image, mask = image.chunk(100), mask.chunk(77)
        whole = image.labels.aggregate(mask, EVERY).compute()
        ids = mask.labels.ids()
        asked = [int(ids[80]), 10_000, int(ids[3]), -5, int(ids[41])]
        result = image.labels.aggregate(mask, EVERY, labels=asked).compute()
        assert result["label"].values.tolist() == asked
        held = [asked[0], asked[2], asked[4]]
        for stat in EVERY:
            np.testing.assert_array_equal(result[stat].sel(label=held), whole[stat].sel(label=held))
        absent = result.sel(label=[10_000, -5])
        assert absent["count"].values.tolist() == absent["valid"].values.tolist() == [0, 0]
        assert absent["sum"].values.tolist() == [0, 0]
        for stat in ("mean", "var", "std", "skew", "kurtosis", "min", "max"):
            assert np.isnan(absent[stat].values).all()
        assert result["min"].dtype == result["max"].dtype == np.float64

    def test_requested_labels_are_not_looked_for_first(self):
        def fail(block):
            raise RuntimeError("the mask was read")

        mask = xr.DataArray(da.map_blocks(fail, da.ones((4, 4), int, chunks=2), dtype=int), dims=("y", "x"))
        image = xr.DataArray(da.ones((4, 4), chunks=2), dims=("y", "x"))
        image.labels.aggregate(mask, labels=[1])
        with pytest.raises(RuntimeError, match="the mask was read"):
            image.labels.aggregate(mask)

    def test_requested_labels_in_ranges(self, monkeypatch, nuclei2d):
        image, mask = nuclei2d
        expected = image.labels.aggregate(mask, EVERY, labels=range(120, 60, -1))
        monkeypatch.setattr("xlabelstats.engine.merge_tree.LABELS_PER_CHUNK", 7)
        lazy = image.chunk(50).labels.aggregate(mask.chunk(50), EVERY, labels=range(120, 60, -1)).compute()
        xr.testing.assert_allclose(lazy, expected, rtol=1e-10)

    @pytest.mark.parametrize("lazy", [False, True])
    def test_background_is_label_0_when_asked_for(self, lazy):
        image, mask = xr.DataArray([5, 1, 2, 3], dims="x"), xr.DataArray([0, 0, 4, -1], dims="x")
        if lazy:
            image, mask = image.chunk(x=2), mask.chunk(x=3)
        assert image.labels.sum(mask)["label"].values.tolist() == [-1, 4]
        both = image.labels.sum(mask, background=True)
        assert both["label"].values.tolist() == [-1, 0, 4]
        assert both.values.tolist() == [3, 6, 2]
        requested = image.labels.sum(mask, labels=[4, 0], background=False)
        assert requested.values.tolist() == [2, 6]

    def test_count_alone_does_not_read_the_image(self):
        def fail(block):
            raise RuntimeError("the image was read")

        image = xr.DataArray(da.map_blocks(fail, da.ones((4, 4), chunks=2), dtype=float), dims=("y", "x"))
        mask = xr.DataArray(np.array([[1, 1, 2, 0]] * 4), dims=("y", "x"))
        assert image.labels.aggregate(mask, "count")["count"].values.tolist() == [8, 4]
        with pytest.raises(RuntimeError, match="the image was read"):
            image.labels.aggregate(mask, ("count", "max")).compute()

    def test_only_what_is_asked_for_is_collected(self):
        def collected(*stats: str) -> tuple[int, int]:
            needs = tuple(need for name in stats for need in STATISTICS[name].needs)
            context = Context(1, np.dtype("u2"), False, pixel_grid(1))
            block = Block(find_runs(np.ones(9, int)), (0,), np.arange(9, dtype="u2"))
            moments, extremes = PixelMoments.of(needs, context).collect(block)
            return moments.shape[-1], extremes.shape[-1]

        assert collected("max") == (1, 2)
        assert collected("mean") == (2, 0)
        # Beside the moments, how far the true mean is off the rounded one.
        assert collected("var", "mean") == (3 + 1, 0)
        assert collected("skew") == (4 + 1, 0)
        assert collected("kurtosis", "min") == (5 + 1, 2)

    @pytest.mark.parametrize("ratio", [1e2, 1e6, 3e9, 1e10])
    @pytest.mark.parametrize("dtype", ["f8", "i8"])
    def test_moments_about_a_large_mean_lose_no_digits_in_merging(self, dtype, ratio):
        rng = np.random.default_rng(int(ratio) % 97)
        pixels = (100 * (rng.gamma(2.0, size=(16, 24)) + ratio)).astype(dtype)
        image, labels = xr.DataArray(pixels, dims=("y", "x")), STRIPES.values
        moments = []
        for label in (1, 2):
            # In whole numbers of a step that all pixels are multiples of, and of a pixel count of which their mean is.
            ratios = [x.as_integer_ratio() for x in pixels[labels == label].tolist()]
            step, n = max(below for _, below in ratios), len(ratios)
            exact = [above * (step // below) for above, below in ratios]
            apart = [n * x - sum(exact) for x in exact]
            powers = (2, 3, 4)
            moments.append([float(Fraction(sum(x**k for x in apart), n * (n * step) ** k)) for k in powers])
        m2, m3, m4 = np.transpose(moments)
        for mask in STRIPES_IN_CHUNKS:
            given = image.chunk(mask.chunksizes) if mask.chunks else image
            found = given.labels.aggregate(mask, ("var", "skew", "kurtosis")).compute()
            np.testing.assert_allclose(found["var"], m2, rtol=1e-13)
            np.testing.assert_allclose(found["skew"], m3 / m2**1.5, rtol=1e-12)
            np.testing.assert_allclose(found["kurtosis"], m4 / m2**2 - 3, rtol=1e-12)

    def test_units_follow_the_image(self):
        image = xr.DataArray([1.0, 2], dims="x", name="DAPI", attrs={"units": "counts"})
        result = image.labels.aggregate(xr.DataArray([1, 1], dims="x"), EVERY)
        assert {stat: result[stat].attrs.get("units") for stat in EVERY} == {
            "count": None, "sum": "counts", "mean": "counts", "var": "(counts)**2", "skew": None,
            "kurtosis": None, "min": "counts", "max": "counts", "std": "counts", "valid": None,
        }  # fmt: skip
        assert result["mean"].attrs["long_name"] == "mean of DAPI"


class TestNothingThere:
    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("labels", [None, []])
    def test_no_labels_give_an_empty_result_with_dims_and_dtypes(self, lazy, labels):
        image = xr.DataArray(np.ones((2, 6, 6), np.uint16), dims=("c", "y", "x"), coords={"c": ["a", "b"]})
        mask = xr.DataArray(np.zeros((6, 6), np.int32), dims=("y", "x"))
        if lazy:
            image, mask = image.chunk(y=3), mask.chunk(y=3)
        result = image.labels.aggregate(mask, EVERY, labels=labels).compute()
        assert result["mean"].shape == (0, 2)
        assert result["mean"].dtype == np.float64
        assert result["count"].shape == (0,)
        assert result["count"].dtype == np.int64
        assert result["min"].dtype == (np.uint16 if labels is None else np.float64)
        assert len(result.labels.to_dataframe()) == 0

    @pytest.mark.parametrize("lazy", [False, True])
    def test_images_without_pixels_or_channels(self, lazy):
        for shape in ((2, 0, 5), (0, 4, 5), (2, 5, 0)):
            image = xr.DataArray(np.zeros(shape), dims=("c", "y", "x"))
            mask = xr.DataArray(np.ones(shape[1:], int), dims=("y", "x"))
            if lazy:
                image, mask = image.chunk(), mask.chunk()
            result = image.labels.aggregate(mask, EVERY).compute()
            assert result["mean"].shape == (int(0 not in shape[1:]), shape[0])


class TestLaziness:
    def test_numpy_in_numpy_out_dask_in_dask_out(self, nuclei2d):
        image, mask = nuclei2d
        assert all(isinstance(v.data, np.ndarray) for v in image.labels.aggregate(mask, EVERY).values())
        for a, b in ((image.chunk(100), mask), (image, mask.chunk(100)), (image.chunk(90), mask.chunk(100))):
            assert all(dask.is_dask_collection(v.data) for v in a.labels.aggregate(b, EVERY).values())
            assert_is_scipy(a.labels.aggregate(b, EVERY).compute(), image.values, mask.values)

    def test_statistics_of_one_call_share_one_pass(self):
        reads = []

        def read(block, block_info=None):
            if block.size:
                reads.append(1)
            return block

        pixels = da.map_blocks(read, da.random.random((40, 40), chunks=10), dtype=float, meta=np.empty((0, 0)))
        mask = xr.DataArray(blobs((40, 40), 9), dims=("y", "x")).chunk(10)
        result = xr.DataArray(pixels, dims=("y", "x")).labels.aggregate(mask, EVERY)
        reads.clear()
        result.compute(scheduler="sync")
        assert len(reads) == 16

    def test_runs_are_found_once_for_all_channel_chunks(self, monkeypatch):
        import xlabelstats.engine.passes as room

        calls = []

        def counted(*args, **options):
            calls.append(1)
            return find_runs(*args, **options)

        find_runs = room.find_runs
        monkeypatch.setattr(room, "find_runs", counted)
        image = xr.DataArray(da.ones((6, 20, 20), chunks=(1, 10, 10)), dims=("c", "y", "x"))
        mask = xr.DataArray(da.from_array(blobs((20, 20), 5), chunks=10), dims=("y", "x"))
        with xlabelstats.set_options(mask_memory=0):
            image.labels.aggregate(mask).compute()
        assert len(calls) == 4
        # What the scan has found is found no more.
        image.labels.aggregate(mask.copy(data=mask.data.persist())).compute()
        assert len(calls) == 4

    def test_the_order_of_requested_labels_costs_no_shuffle(self):
        image = xr.DataArray(da.ones((40, 40), chunks=10), dims=("y", "x"))
        mask = xr.DataArray(da.ones((40, 40), chunks=10, dtype=int), dims=("y", "x"))
        sizes = [
            len(dict(image.labels.aggregate(mask, labels=labels).__dask_graph__()))
            for labels in (np.arange(200_000), np.arange(200_000)[::-1])
        ]
        assert sizes[1] < 1.5 * sizes[0]

    def test_results_have_uniform_chunks_and_go_to_zarr(self, tmp_path):
        image = xr.DataArray(np.random.default_rng(0).random((5, 10, 10)), dims=("c", "y", "x")).chunk(c=(1, 3, 1), y=4)
        mask = xr.DataArray(blobs((10, 10), 4), dims=("y", "x")).chunk(y=(3, 6, 1))
        result = image.labels.aggregate(mask, EVERY)
        result.to_zarr(tmp_path / "result.zarr", zarr_format=2, consolidated=True)
        xr.testing.assert_equal(xr.open_zarr(tmp_path / "result.zarr").compute(), result.compute())
        painted = mask.labels.paint(mask.labels.count()).to_dataset(name="painted")
        painted.to_zarr(tmp_path / "painted.zarr", zarr_format=2, consolidated=True)

    def test_keys_of_the_input_do_not_get_in_the_way(self):
        pixels = np.arange(6.0)
        image = xr.DataArray(da.from_delayed(dask.delayed(pixels, name="mean"), (6,), float), dims="x")
        mask = xr.DataArray([1, 1, 1, 2, 2, 2], dims="x")
        assert image.labels.aggregate(mask, ("mean", "max"))["mean"].values.tolist() == [1, 4]

    def test_graph_has_few_tasks_per_block(self):
        image = xr.DataArray(da.zeros((2, 640, 640), chunks=(2, 20, 20), dtype=np.uint16), dims=("c", "y", "x"))
        mask = xr.DataArray(da.from_array(blobs((640, 640), 300), chunks=20), dims=("y", "x"))
        result = image.labels.aggregate(mask)
        tasks = len(dict(result.__dask_graph__()))
        assert tasks <= 8 * 32 * 32

    def test_inputs_are_never_changed(self, nuclei2d):
        image, mask = (array.copy(deep=True) for array in nuclei2d)
        image.values.flags.writeable = mask.values.flags.writeable = False
        image.labels.aggregate(mask, EVERY)
        xr.testing.assert_identical(image, nuclei2d[0])
        xr.testing.assert_identical(mask, nuclei2d[1])

    def test_schedulers_and_runs_agree_bit_for_bit(self, nuclei3d):
        image, mask = (array.chunk(16) for array in nuclei3d)
        lazy = (image * 0.1).labels.aggregate(mask, EVERY)
        first = lazy.compute(scheduler="sync")
        for _ in range(3):
            xr.testing.assert_identical(lazy.compute(scheduler="threads"), first)

    def test_a_store_that_changed_under_a_scanned_mask_is_noticed(self, tmp_path):
        import zarr

        store = zarr.create_array(tmp_path / "mask.zarr", shape=(8,), chunks=(4,), dtype="i4")
        store[:] = [1, 1, 2, 2, 3, 3, 0, 0]
        image = xr.DataArray(da.ones(8, chunks=4), dims="x")
        mask = xr.DataArray(da.from_zarr(tmp_path / "mask.zarr"), dims="x")
        with xlabelstats.set_options(mask_memory=0):
            assert image.labels.sum(mask).compute().values.tolist() == [2, 2, 2]
            store[:] = [1, 1, 7, 7, 3, 3, 0, 0]
            with pytest.raises(RuntimeError, match="mask has changed since it was scanned: label 7 is new"):
                image.labels.sum(mask).compute()
            store[:] = [1, 1, 0, 0, 3, 3, 0, 0]
            with pytest.raises(RuntimeError, match="mask has changed since it was scanned: label 2 is gone"):
                image.labels.sum(mask).compute()
            store[:] = [1, 1, 7, 7, 3, 3, 0, 0]
        reopened = xr.DataArray(da.from_zarr(tmp_path / "mask.zarr"), dims="x")
        assert image.labels.sum(reopened)["label"].values.tolist() == [1, 3, 7]


class TestDataset:
    def field(self) -> xr.Dataset:
        rng = np.random.default_rng(0)
        return xr.Dataset(
            {
                "cells": (("y", "x"), blobs((20, 30), 7)),
                "DAPI": (("y", "x"), rng.random((20, 30))),
                "markers": (("c", "y", "x"), rng.integers(0, 9, (2, 20, 30))),
            },
            coords={"c": ["CD3", "CD8"]},
        )

    @pytest.mark.parametrize("lazy", [False, True])
    def test_every_image_is_measured_with_one_count(self, lazy):
        field = self.field().chunk(y=9, x=11) if lazy else self.field()
        result = field.labels.aggregate("cells", ("count", "mean", "max"))
        assert set(result) == {"count", "mean_DAPI", "max_DAPI", "mean_markers", "max_markers"}
        mean = result["mean_DAPI"].drop_vars("skipna")
        xr.testing.assert_equal(mean, field["DAPI"].labels.mean(field["cells"]).rename("mean_DAPI"))
        given = field.drop_vars("cells").labels.aggregate(field["cells"], ("count", "mean", "max"))
        xr.testing.assert_identical(given, result)
        columns = list(result.labels.to_dataframe())
        assert columns == [
            "count",
            "mean_DAPI",
            "max_DAPI",
            "mean_markers_CD3",
            "mean_markers_CD8",
            "max_markers_CD3",
            "max_markers_CD8",
        ]

    def test_variables_without_the_masks_dims_are_left_out_with_a_warning(self):
        field = self.field().assign(exposure=("c", [1.0, 2.0]), name=(("y", "x"), np.full((20, 30), "a")))
        with pytest.warns(UserWarning, match=r"left out.*exposure, name"):
            result = field.labels.aggregate("cells", "mean")
        assert set(result) == {"mean_DAPI", "mean_markers"}

    def test_nothing_to_measure(self):
        with pytest.raises(ValueError, match="no variable of the Dataset is numeric"):
            self.field()[["cells"]].labels.aggregate("cells")

    def test_names_that_would_collide(self):
        image = xr.DataArray([1.0, 2.0], dims="x")
        with pytest.raises(ValueError, match="variables would have the same name in the result: 1, '1'"):
            xr.Dataset({1: image, "1": image}).labels.aggregate(xr.DataArray([1, 1], dims="x"))

    def test_unknown_mask(self):
        with pytest.raises(
            ValueError, match=r"no variable 'cell' to use as mask; there are: 'cells', 'DAPI', 'markers'"
        ):
            self.field().labels.aggregate("cell")
