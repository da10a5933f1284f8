"""One call for a table: any measures of the catalogue, in the fewest reads, as each by itself."""

from __future__ import annotations

from collections import Counter

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats
from skimage.measure import regionprops_table

import xlabelstats
from tests.conftest import blobs
from xlabelstats.catalogue import CATALOGUE
from xlabelstats.catalogue.intensity import PixelMoments
from xlabelstats.catalogue.measure import Measure
from xlabelstats.engine.local import CUT_PIXELS, stretches

# Of flat objects in 3-D they warn.
HULLS = {"feret_diameter_max", "area_convex", "solidity"}
MIXED = ("mean", "std", "max", "median", "p95", "area", "eccentricity", "centroid", "solidity", "centroid_weighted")


def field(shape=(60, 70), channels=2, dtype="u2", seed=0):
    rng = np.random.default_rng(seed)
    mask = blobs(shape, 25, seed)
    image = rng.normal(500, 80, (channels, *shape)).astype(dtype)
    names = {"c": [f"channel {i}" for i in range(channels)]}
    dims = ("z", "y", "x")[-len(shape) :]
    return (
        xr.DataArray(image, dims=("c", *dims), coords=names, name="stain", attrs={"units": "counts"}),
        xr.DataArray(mask, dims=dims, name="cells"),
    )


def test_every_measure_is_numpys_scipys_or_scikit_images():
    image, mask = field()
    result = image.labels.measure(mask, MIXED)
    ids = np.unique(mask)[1:]
    assert result["label"].values.tolist() == ids.tolist()
    table = regionprops_table(mask.values, image.values[0], ("area", "eccentricity", "solidity", "centroid"))
    for name in ("area", "eccentricity", "solidity"):
        np.testing.assert_allclose(result[name], table[name], rtol=1e-12)
    np.testing.assert_allclose(result["centroid"].sel(axis="x"), table["centroid-1"], rtol=1e-12)
    for c, plane in enumerate(image.values):
        pixels = [plane[mask.values == label] for label in ids]
        for name, oracle in (
            ("mean", np.mean),
            ("std", np.std),
            ("max", np.max),
            ("median", np.median),
            ("p95", lambda p: np.percentile(p, 95)),
        ):
            np.testing.assert_allclose(result[name][:, c], [oracle(p) for p in pixels], rtol=1e-12, err_msg=name)
        centres = ndimage.center_of_mass(plane, mask.values, ids)
        np.testing.assert_allclose(result["centroid_weighted"][:, c], centres, rtol=1e-9)


@given(seed=st.integers(0, 2**20), data=st.data())
@settings(max_examples=25, deadline=None)
def test_together_is_what_each_call_gives_for_any_chunks(seed, data):
    ndim = data.draw(st.sampled_from([2, 3]))
    image, mask = field((20, 24) if ndim == 2 else (6, 9, 10), dtype="f4", seed=seed)
    undefined = {name for name, entry in CATALOGUE.items() if (entry.only_3d if ndim == 2 else entry.only_2d)}
    # Which of several equally long axes comes first is left to rounding.
    known = sorted(set(CATALOGUE) - undefined - {"axis_vector", "orientation"} - HULLS)
    names = data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=6, unique=True))
    chunks = {dim: data.draw(st.integers(1, size)) for dim, size in image.sizes.items()}
    # Bins of a lazy image of floating point have no range of their own.
    bins = {name: {"range": (0, 1000)} if "range" in CATALOGUE[name].parameters else {} for name in names}
    together = image.chunk(chunks).labels.measure(mask.chunk(5), list(bins.items())).compute()
    assert list(together) == names
    for name in names:
        alone = image.labels.measure(mask, (name, bins[name]))[name]
        both = (each.drop_vars(("ddof", "skipna"), errors="ignore") for each in (together[name], alone))
        xr.testing.assert_allclose(*both, rtol=1e-9, atol=1e-6)


class TestReads:
    @staticmethod
    def counted(array: xr.DataArray, chunks, reads: Counter, what: str) -> xr.DataArray:
        def read(block, block_info=None):
            reads[(what, *block_info[0]["chunk-location"])] += 1
            return block

        lazy = da.from_array(array.values, chunks=chunks).map_blocks(read, dtype=array.dtype)
        return array.copy(data=lazy)

    @pytest.mark.parametrize(("memory", "of_the_mask"), [(0, 6), (2**28, 0)])
    def test_what_merges_is_read_once(self, memory, of_the_mask):
        with xlabelstats.set_options(mask_memory=memory):
            self.assert_reads(of_the_mask)

    def assert_reads(self, of_the_mask: int) -> None:
        image, mask = field()
        reads: Counter = Counter()
        lazy_image = self.counted(image, (2, 30, 30), reads, "image")
        lazy_mask = self.counted(mask, (30, 30), reads, "mask")
        result = lazy_image.labels.measure(
            lazy_mask, ("mean", "kurtosis", "area", "moments", "centroid_weighted", "radius")
        )
        assert {key[0] for key in reads} == {"mask"}
        reads.clear()
        with dask.config.set(scheduler="synchronous"):
            result.compute()
        assert set(reads.values()) == {1}
        assert len([key for key in reads if key[0] == "image"]) == 6
        assert len([key for key in reads if key[0] == "mask"]) == of_the_mask

    def test_whole_objects_cost_one_more_read(self):
        image, mask = field()
        reads: Counter = Counter()
        lazy_image = self.counted(image, (1, 30, 30), reads, "image")
        lazy_mask = self.counted(mask, (30, 30), reads, "mask")
        result = lazy_image.labels.measure(lazy_mask, ("mean", "area", "p5", "median", "p95", "solidity"))
        reads.clear()
        with dask.config.set(scheduler="synchronous"):
            result.compute()
        # Both passes share the blocks that they read.
        assert set(reads.values()) == {1}

    def test_measures_of_the_mask_alone_leave_the_image_unread(self):
        image, mask = field()
        reads: Counter = Counter()
        result = self.counted(image, (1, 30, 30), reads, "image").labels.measure(mask.chunk(30), ("area", "count"))
        result.compute()
        assert not reads


class TestPercentiles:
    @pytest.mark.parametrize(("name", "q"), [("p0", 0), ("p7", 7), ("p50", 50), ("p99.9", 99.9), ("p100", 100)])
    def test_a_percentile_is_numpys_and_named_as_asked_for(self, name, q):
        image, mask = field()
        result = image.labels.measure(mask, name)
        assert list(result) == [name]
        labels = result["label"].values
        expected = [np.percentile(image.values[1][mask.values == label], q) for label in labels]
        np.testing.assert_allclose(result[name][:, 1], expected, rtol=1e-12)

    def test_a_method_is_a_parameter(self):
        image, mask = field()
        result = image.labels.measure(mask, ("p50", ("p95", {"method": "lower"}), ("quantiles", {"q": [0.25, 0.75]})))
        pixels = image.values[0][mask.values == int(result["label"][0])]
        assert result["p95"][0, 0] == np.percentile(pixels, 95, method="lower")
        assert result["quantiles"].dims == ("label", "c", "quantile")
        np.testing.assert_allclose(result["quantiles"][0, 0], np.quantile(pixels, [0.25, 0.75]))

    def test_beyond_100_is_an_error(self):
        image, mask = field()
        with pytest.raises(ValueError, match="'p101' is a percentile beyond 100"):
            image.labels.measure(mask, "p101")


class TestForms:
    def test_the_result_says_what_it_is(self):
        image, mask = field()
        mask = mask.assign_coords(
            y=("y", np.arange(60) * 0.5, {"units": "um"}), x=("x", np.arange(70) * 0.5, {"units": "um"})
        )
        result = image.labels.measure(mask, ("mean", "var", "area", "num_pixels", "p5"))
        assert {name: variable.attrs.get("units") for name, variable in result.items()} == {
            "mean": "counts", "var": "(counts)**2", "area": "um**2", "num_pixels": "pixel", "p5": "counts",
        }  # fmt: skip
        assert result["mean"].attrs["long_name"] == "mean of stain"
        assert result["p5"].attrs["description"] == "percentile 5"
        assert result["area"].dims == ("label",)
        assert result["mean"].dims == ("label", "c")

    def test_a_mask_has_the_measures_that_need_no_image(self):
        _, mask = field()
        result = mask.labels.measure(("count", "area", "solidity"))
        np.testing.assert_array_equal(result["count"], result["area"])
        with pytest.raises(ValueError, match=r"mean needs an image: image\.labels\.measure"):
            mask.labels.measure(("area", "mean"))

    def test_absent_labels_have_their_row(self):
        image, mask = field()
        result = (
            image.chunk({"y": 20}).labels.measure(mask, (*MIXED, "sum", "count", "valid"), labels=[10**6, 3]).compute()
        )
        absent = result.sel(label=10**6)
        assert absent["count"] == 0
        assert (absent["sum"] == 0).all()
        assert (absent["valid"] == 0).all()
        assert absent["area"] == 0
        for name in set(MIXED) - {"area"}:
            assert np.isnan(absent[name]).all(), name

    def test_a_measure_of_ones_own_is_taken(self):
        image, mask = field()
        spread = Measure(
            "spread", "largest less smallest pixel", lambda p: p.max.astype(float) - p.min, PixelMoments, ("min", "max")
        )
        result = image.chunk({"x": 30}).labels.measure(mask, ("min", "max", spread)).compute()
        np.testing.assert_array_equal(result["spread"], result["max"] - result["min"])

    @pytest.mark.parametrize("call", ["measure", "aggregate"])
    def test_a_percentile_below_the_first_is_asked_about(self, call):
        image, mask = field()
        with pytest.warns(UserWarning, match="percentile") as caught:
            result = getattr(image.labels, call)(mask, ("mean", "p0.95"))
        assert [str(each.message) for each in caught] == [
            "'p0.95' is percentile 0.95; percentile 95 is 'p95'. If 0.95 is meant, "
            "image.instances.quantiles(mask, 0.0095) gives it without this warning"
        ]
        expected = image.instances.quantiles(mask, 0.0095)
        np.testing.assert_array_equal(result["p0.95"], expected)
        # By these grey values are clipped.
        image.labels.measure(mask, ("p0.1", "p0.5", "p99.5"))

    @pytest.mark.parametrize("skipna", [None, True, False])
    def test_nan_pixels_make_properties_of_the_image_nan_whatever_skipna_says(self, skipna):
        mask = xr.DataArray([1, 1, 2], dims="x").expand_dims(y=2)
        image = xr.DataArray([[np.nan, 3.0, 4.0], [1.0, 2.0, 4.0]], dims=("y", "x"))
        names = ("intensity_mean", "intensity_min", "intensity_max", "intensity_std", "mean")
        result = image.labels.measure(mask, names, skipna=skipna)
        assert all(np.isnan(result[name][0]) for name in names[:4])
        assert np.isnan(result["mean"][0]) == (skipna is False)
        assert (result["intensity_mean"] == [np.nan, 4]).values.tolist() == [False, True]

    @pytest.mark.parametrize(
        ("wanted", "message"),
        [
            ("nonsense", "unknown measure 'nonsense'"),
            ("prod", r"unknown measure 'prod', which is image\.labels\.aggregate\(mask, \"prod\"\)"),
            (("mean", "argmin"), r"'argmin', which is image\.labels\.aggregate\(mask, \"argmin\"\)"),
            ((), "no measure was asked for"),
            (("mean", 4), "a measure is a name, or a pair of a name and its parameters, not 4"),
            (("mean", len), r"not <built-in function len>; for a function of .* image\.instances\.statistics\(mask"),
            (np.mean, r"sequence of names, not .*; for a function of .* image\.instances\.statistics\(mask"),
            (lambda pixels: 1, r"not function; for a function of .* image\.instances\.statistics\(mask"),
            (4, "sequence of names, not int$"),
            ("roundness", r"is 4 \* area / \(pi \* axis_major_length\*\*2\) in ImageJ; others call circularity so"),
            ("nearest_neighbor_distance", r'is image\.instances\.profile\(mask, "neighbors"\)'),
            ((("median", {"metod": "lower"}),), "median has no parameter 'metod'; its parameters are method"),
            ((("mean", {"q": 1}),), "mean has no parameter 'q'; it has none"),
        ],
    )
    def test_what_there_is_not_is_an_error(self, wanted, message):
        image, mask = field()
        with pytest.raises((ValueError, TypeError), match=message):
            image.labels.measure(mask, wanted)

    def test_the_catalogue_is_listed(self):
        listed = xlabelstats.measures()
        assert set(CATALOGUE) | {"pNN"} == set(listed.index)
        assert listed.loc["solidity", "needs_whole_objects"]
        assert not listed.loc["mean", "needs_whole_objects"]
        assert listed.loc["pNN", "parameters"] == "method"
        assert listed["definition"].str.len().min() > 2


class TestNumpyInBlocks:
    def test_a_small_array_is_one_stretch_and_a_large_one_is_not(self):
        assert stretches((1000, 1999)) == [slice(0, 1000)]
        pieces = stretches((1000, 2000))
        assert len(pieces) > 1
        assert sum(piece.stop - piece.start for piece in pieces) == 1000
        assert stretches((CUT_PIXELS * 2,)) == [slice(0, 1)]

    @pytest.mark.parametrize("dims", [("y", "x"), ("x", "y")])
    def test_the_same_bits_on_one_thread_and_on_many(self, dims):
        rng = np.random.default_rng(0)
        mask = np.kron(rng.permutation(80 * 90).reshape(80, 90), np.ones((20, 20), np.int32))
        image = rng.normal(1000, 50, mask.shape).astype("f4")
        named = xr.DataArray(image, dims=("y", "x")).transpose(*dims), xr.DataArray(mask, dims=("y", "x"))
        wanted = ("sum", "var", "kurtosis", "min", "p30", "centroid", "moments_weighted_central")
        threads = named[0].labels.measure(named[1], wanted)
        with dask.config.set(scheduler="synchronous"):
            alone = named[0].labels.measure(named[1], wanted)
        xr.testing.assert_identical(threads, alone)
        labels = np.unique(mask)[1:]
        np.testing.assert_array_equal(threads["min"], ndimage.minimum(image, mask, labels))
        np.testing.assert_allclose(threads["sum"], ndimage.sum(image.astype(float), mask, labels), rtol=1e-12)
        kurtosis = [stats.kurtosis(image[mask == label].astype(float)) for label in labels[:40]]
        np.testing.assert_allclose(threads["kurtosis"][:40], kurtosis, rtol=1e-8)


class TestSharedDims:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (("texture_contrast", {"scale": 2}), "texture_entropy"),
            (("texture_contrast", {"levels": 8}), ("texture_entropy", {"levels": 64})),
            (("texture_contrast", {"scale": [1, 3]}), ("texture_entropy", {"scale": [3, 1]})),
            (("radial_fraction", {"rings": 5}), "radial_cv"),
            (("histogram", {"bins": 5}), ("histogram", {"bins": 7})),
        ],
    )
    def test_measures_that_differ_in_them_are_an_error(self, one, other):
        image = xr.DataArray(7 * np.arange(36, dtype="u1").reshape(6, 6), dims=("y", "x"))
        mask = xr.ones_like(image, int)
        with pytest.raises(ValueError, match=r"would share the dim|two measures are called"):
            image.labels.measure(mask, (one, other))

    def test_measures_with_the_same_parameters_share_them(self):
        image = xr.DataArray(7 * np.arange(36, dtype="u1").reshape(6, 6), dims=("y", "x"))
        options = {"scale": [1, 2], "levels": 16}
        measures = [("texture_contrast", options), ("texture_entropy", options)]
        result = image.labels.measure(xr.ones_like(image, int), measures)
        assert result["scale"].values.tolist() == [1, 2]
