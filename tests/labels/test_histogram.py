"""Histograms of labels, and what follows from them, against numpy and scipy on the pixels of each object."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
import scipy.stats
import xarray as xr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import xlabelstats
from xlabelstats.catalogue import histogram as catalogue
from xlabelstats.engine.reduction import narrowest

DTYPES = ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", ">u2", ">f4"]
DERIVED = ("entropy", "most_frequent", "uniformity")


def by_numpy(image: np.ndarray, mask: np.ndarray, labels, bins, range=None) -> np.ndarray:
    """Histograms (label, channel, bin) by numpy, of an image (channel, *mask)."""
    image = image.astype("u1") if image.dtype == bool else image
    image = image.astype(image.dtype.newbyteorder("="))
    return np.stack([[np.histogram(plane[mask == label], bins, range)[0] for plane in image] for label in labels])


def check_derived(result: xr.Dataset, counts: np.ndarray, edges: np.ndarray) -> None:
    """Entropy, uniformity and the fullest bin are what these counts (label, channel, bin) give."""
    total = counts.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = counts / total[..., None]
    known = {
        "entropy": scipy.stats.entropy(counts, base=2, axis=-1),
        "uniformity": (shares**2).sum(axis=-1),
        "most_frequent": ((edges[1:] + edges[:-1]) / 2)[counts.argmax(axis=-1)],
    }
    for name, values in known.items():
        values = np.where(total > 0, values, np.nan)
        np.testing.assert_allclose(result[name], values, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.fixture
def field():
    rng = np.random.default_rng(0)
    mask = xr.DataArray(blobs((30, 40), 12), dims=("y", "x"))
    image = xr.DataArray(rng.normal(100, 30, (2, 30, 40)), dims=("c", "y", "x"), coords={"c": ["a", "b"]})
    return image, mask


class TestCounts:
    @pytest.mark.parametrize("chunk", [None, 200, 37])
    @pytest.mark.parametrize("bins", [16, 10, 256, [0, 3, 3.5, 100, 255], [-7, 50, 1000]])
    def test_those_of_real_nuclei_are_numpys(self, nuclei2d, chunk, bins):
        image, mask = (array if chunk is None else array.chunk(chunk) for array in nuclei2d)
        result = image.labels.histogram(mask, bins)
        range = (0, 256) if np.ndim(bins) == 0 else None
        ids = np.unique(nuclei2d[1].values)[1:]
        expected = by_numpy(nuclei2d[0].values[None], nuclei2d[1].values, ids, bins, range)[:, 0]
        assert (result.chunks is None) == (chunk is None)
        assert result.dtype == np.int64
        assert result.dims == ("label", "bin")
        np.testing.assert_array_equal(result, expected)
        edges = np.histogram_bin_edges(np.empty(0), bins, range)
        np.testing.assert_array_equal(result["bin_left"], edges[:-1])
        np.testing.assert_array_equal(result["bin_right"], edges[1:])

    @settings(max_examples=150, deadline=None)
    @given(data=st.data())
    def test_those_of_any_field_in_any_chunks_are_numpys(self, data):
        shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=6))
        dims = tuple("zyx"[-len(shape) :])
        dtype = np.dtype(data.draw(st.sampled_from(DTYPES)))
        mask = data.draw(hnp.arrays(np.int16, shape, elements=st.integers(-1, 3)))
        channels = data.draw(st.integers(1, 2))
        image = data.draw(hnp.arrays(dtype, (channels, *shape), elements=pixels_of(dtype)))
        bins, range = data.draw(choices(dtype))
        chunks = {dim: data.draw(st.integers(1, 3)) for dim in (*dims, "c")}
        order = data.draw(st.permutations(("c", *dims)))
        array = xr.DataArray(image, dims=("c", *dims)).transpose(*order).chunk(chunks)
        labels = xr.DataArray(mask, dims=dims).transpose(*data.draw(st.permutations(dims))).chunk(2)
        wanted = [3, -1, 77, 1]
        with dask.config.set(scheduler="synchronous"):
            result, derived = dask.compute(
                array.labels.histogram(labels, bins, range=range, labels=wanted),
                array.labels.measure(
                    labels, [(name, {"bins": bins, "range": range}) for name in DERIVED], labels=wanted
                ),
            )
        expected = by_numpy(image, mask, wanted, bins, range)
        np.testing.assert_array_equal(result.transpose("label", "c", "bin"), expected)
        edges = np.append(result["bin_left"], result["bin_right"][-1])
        with np.errstate(invalid="ignore"):
            check_derived(derived.transpose("label", "c"), expected, edges)

    @pytest.mark.parametrize(
        ("dtype", "pixels", "bins", "range"),
        [
            ("i8", [2**53 - 1, 2**53, 2**53 + 1, 2**53 + 2], 4, (0, 2**53)),
            ("i8", [2**53 - 1, 2**53, 2**53 + 1, 2**53 + 2], 4, (0.0, 2.0**53)),
            ("i8", [2**53 - 1, 2**53, 2**53 + 1, 2**53 + 2], 3, (2**53 - 2, 2**53 + 4)),
            ("i8", [2**53, 2**53 + 1, 2**53 + 2], [0, 2**53 + 1, 2**53 + 2], None),
            ("u8", [2**64 - 1, 2**64 - 1024, 2**64 - 1025, 2**63, 0], 8, (0.0, 2.0**64)),
            ("u8", [2**64 - 1, 2**64 - 1024, 2**64 - 1025, 2**63, 0], 8, (np.uint64(0), np.uint64(2**64 - 1))),
            ("u8", [2**64 - 1, 2**63, 2**63 - 1, 5], [5, 2**63, 2**64 - 1], None),
            ("u8", [2**63, 2**63 - 1, 5], [-5, 5, 2**63 - 1], None),
            ("i8", [-(2**63), -1, 0, 2**63 - 1], 5, (-(2**63), 2**63 - 1)),
            ("i1", [-128, -1, 0, 127], [-1000, -128, 0, 127], None),
            ("u1", [0, 1, 254, 255], [300, 400], None),
            ("u1", [0, 1, 254, 255], [-10, -5, -1], None),
            ("u1", [0, 1, 254, 255], 7, (-3.5, 254.5)),
            ("u2", [0, 6553, 6554, 65535], 10, None),
            ("u2", [0, 1, 2, 65535], [0, 1, 1, 2], None),
            ("u2", [0, 1, 2, 65535], [0, 1, 2, 2], None),
            ("i4", [0, 1, 10**6, 2 * 10**9], 10, (0, 10**6)),
            ("i4", [0, 1, 10**6, 2 * 10**9], 10, (5, 5)),
            ("f4", [0.1, 0.3, 0.7, 0.9, 0.95, np.nan, np.inf], 8, (0.1, 0.9)),
            ("f4", [0.1, 0.3, 0.7, 0.9, 0.95], 8, (np.float64(0.1), np.float64(0.9))),
            ("f4", [0.1, 0.3, 0.7, 0.9], [0.1, 0.3, 0.7, 0.9], None),
            ("f4", np.float32(16777216.0) + np.arange(4), [16777217, 16777219, 16777220], None),
            ("f8", [0.1, 0.2, 0.3, 0.1 + 0.2, 0.6, 0.7], 10, (0, 1)),
            ("f8", [-np.inf, -1e308, 0, 1e308, np.inf], [-np.inf, 0, np.inf], None),
            ("f8", [-1e308, 0.0, -0.0, 1e308], 6, (-8e307, 8e307)),
            ("f8", [0.0, 5e-324, 1e-323], 2, (0, 1e-323)),
            ("f2", [0.1, 0.5, 65504], 5, (0, 1)),
        ],
    )  # fmt: skip
    def test_every_value_is_in_the_bin_that_numpy_puts_it_in(self, dtype, pixels, bins, range):
        image = np.array(pixels, dtype)
        mask = xr.DataArray(np.ones(image.size, int), dims="x")
        default = (0, 65536) if dtype == "u2" else None
        with np.errstate(over="ignore"):
            known = range if range is not None or np.ndim(bins) else default
            expected = np.histogram(image, bins, known)[0]
        for array in (xr.DataArray(image, dims="x"), xr.DataArray(image, dims="x").chunk(1)):
            np.testing.assert_array_equal(array.labels.histogram(mask, bins, range=range)[0], expected)

    @pytest.mark.parametrize("dtype", ["u2", "i4", "f4", "f8"])
    @pytest.mark.parametrize("even", [True, False])
    def test_many_pixels_on_and_beside_edges_are_counted_as_numpy_does(self, dtype, even):
        rng = np.random.default_rng(1)
        edges = np.linspace(10, 900, 38) if even else np.sort(rng.uniform(0, 1000, 40))
        near = np.concatenate([np.nextafter(edges, -np.inf), edges, np.nextafter(edges, np.inf)])
        image = np.concatenate([near, rng.uniform(-50, 1100, 5000)]).astype(dtype)
        bins, range = (37, (10, 900)) if even else (edges, None)
        mask = xr.DataArray(rng.integers(1, 3, image.size), dims="x")
        result = xr.DataArray(image, dims="x").labels.histogram(mask, bins, range=range)
        np.testing.assert_array_equal(result, by_numpy(image[None], mask.values, [1, 2], bins, range)[:, 0])

    @pytest.mark.parametrize("dtype", ["f4", "i4", "u8", "f8"])
    def test_without_a_range_it_is_that_of_the_image_in_memory(self, dtype, field):
        image, mask = field
        image = image.astype(dtype)
        if dtype == "f8":
            image[0, 0, :3] = [np.nan, np.inf, -np.inf]
        finite = image.values[np.isfinite(image.values)]
        result = image.labels.histogram(mask, 12)
        edges = np.histogram_bin_edges(finite, 12)
        np.testing.assert_array_equal(np.append(result["bin_left"], result["bin_right"][-1]), edges)
        ids = result["label"].values
        expected = by_numpy(image.values, mask.values, ids, 12, (finite.min(), finite.max()))
        np.testing.assert_array_equal(result, expected)

    def test_an_image_without_finite_pixels_has_bins_from_0_to_1_as_in_numpy(self):
        image = xr.DataArray(np.full(3, np.nan), dims="x")
        result = image.labels.histogram(xr.DataArray([1, 1, 2], dims="x"), 2)
        assert result.values.tolist() == [[0, 0], [0, 0]]
        assert result["bin_right"].values.tolist() == [0.5, 1]

    def test_a_count_beyond_that_of_small_integers_is_exact(self, monkeypatch):
        mask = xr.DataArray(np.ones((300, 700), np.uint8), dims=("y", "x"))
        image = xr.zeros_like(mask)
        image[:3] = 255
        for array in (image, image.chunk(y=90, x=350), image.chunk(y=300, x=700)):
            result = array.labels.histogram(mask, 2).compute()
            assert result.values.tolist() == [[297 * 700, 3 * 700]]
        assert [narrowest(n).itemsize for n in (0, 65535, 65536, 2**32 - 1, 2**32)] == [2, 2, 4, 4, 8]

    def test_background_and_labels_are_as_in_aggregate(self, field):
        image, mask = field
        ids = mask.labels.ids()
        result = image.chunk(y=7).labels.histogram(mask, 5, range=(0, 200), labels=[int(ids[2]), 999, int(ids[0])])
        assert result["label"].values.tolist() == [ids[2], 999, ids[0]]
        assert (result.sel(label=999) == 0).all()
        whole = image.labels.histogram(mask, 5, range=(-(10**6), 10**6), background=True)
        np.testing.assert_array_equal(whole.sum("bin")[:, 0], mask.labels.count(background=True))

    def test_nan_pixels_are_in_no_bin_and_make_measures_nan_if_they_are_not_skipped(self):
        mask = xr.DataArray([1, 1, 2, 2], dims="x")
        image = xr.DataArray([0.5, np.nan, 1.5, 1.5], dims="x")
        for array in (image, image.chunk(x=1)):
            for skipna in (None, True, False):
                result = array.labels.histogram(mask, 2, range=(0, 2), skipna=skipna)
                assert result.values.tolist() == [[1, 0], [0, 2]]
            wanted = [(name, {"bins": 2, "range": (0, 2)}) for name in DERIVED]
            lost = array.labels.measure(mask, wanted, skipna=False).compute()
            kept = array.labels.measure(mask, wanted).compute()
            for name in DERIVED:
                assert np.isnan(lost[name][0])
                assert not np.isnan(lost[name][1])
                assert not np.isnan(kept[name]).any()

    def test_an_object_is_counted_however_many_blocks_it_lies_in(self):
        rng = np.random.default_rng(0)
        image = xr.DataArray(rng.integers(0, 2**16, (4, 200, 200), dtype="u2"), dims=("t", "y", "x"))
        mask = xr.DataArray(np.ones((200, 200), int), dims=("y", "x"))
        expected = by_numpy(image.values, mask.values, [1], 64, (0, 2**16))
        result = image.chunk(t=1, y=3, x=150).labels.histogram(mask.chunk(y=3, x=150), 64)
        np.testing.assert_array_equal(result, expected)

    def test_only_the_mask_is_read_before_it_is_computed(self, field):
        image, mask = field

        def refuse(block):
            raise AssertionError("the image was read")

        lazy = image.copy(data=da.from_array(image.values, chunks=10).map_blocks(refuse, dtype="f8", meta=np.empty(0)))
        result = lazy.labels.histogram(mask.chunk(10), 4, range=(0, 1))
        with pytest.raises(AssertionError, match="was read"):
            result.compute()


def pixels_of(dtype: np.dtype) -> st.SearchStrategy:
    if dtype.kind == "b":
        return st.booleans()
    if dtype.kind == "f":
        return st.floats(-4, 4, width=16) | st.sampled_from([np.nan, np.inf, -np.inf, 0.1, 0.3])
    limits = np.iinfo(dtype)
    return st.integers(max(limits.min, -4), 4) | st.sampled_from([int(limits.min), int(limits.max)])


@st.composite
def choices(draw: st.DrawFn, dtype: np.dtype):
    """Bins and a range for images of a dtype."""
    if draw(st.booleans()):
        whole = st.integers(-6, 6)
        numbers = draw(st.lists(draw(st.sampled_from([whole, st.floats(-6, 6)])), min_size=2, max_size=5))
        return sorted(numbers), None
    low = draw(st.integers(-5, 4) | st.floats(-5, 5))
    # Of bins narrower than the pixels' precision numpy misses some.
    high = low + draw(st.sampled_from([1, 3, 4.5, 8]))
    return draw(st.sampled_from([1, 2, 3, 7, 8])), (low, high)


class TestMeasures:
    def test_of_real_nuclei_are_scipys(self, nuclei2d):
        image, mask = nuclei2d
        result = image.labels.measure(mask, DERIVED)
        counts = by_numpy(image.values[None], mask.values, result["label"].values, 256, (0, 256))
        check_derived(result.expand_dims(c=1, axis=1), counts, np.arange(257.0))
        again = image.chunk(50).labels.measure(mask.chunk(60), DERIVED).compute()
        xr.testing.assert_identical(again, result)

    def test_the_lower_of_a_tie_is_the_fullest_bin(self):
        image = xr.DataArray(np.array([9, 9, 200, 200, 3], "u1"), dims="x")
        mask = xr.DataArray([1, 1, 1, 1, 1], dims="x")
        assert image.labels.measure(mask, "most_frequent")["most_frequent"].item() == 9.5
        assert image.labels.measure(mask, ("most_frequent", {"bins": 4}))["most_frequent"].item() == 32

    def test_a_histogram_is_a_measure_with_parameters(self, nuclei2d):
        image, mask = nuclei2d
        result = image.labels.measure(mask, ("mean", ("histogram", {"bins": 16}), "area"))
        assert list(result) == ["mean", "histogram", "area"]
        xr.testing.assert_equal(result["histogram"].drop_vars("skipna"), image.labels.histogram(mask, 16))
        assert result["bin_left"].values.tolist() == list(range(0, 256, 16))
        assert xlabelstats.measures().loc["histogram", "parameters"] == "bins, range"

    def test_the_same_bins_are_counted_once(self, nuclei2d, monkeypatch):
        image, mask = nuclei2d
        collected = []
        collect = catalogue.Histograms.collect
        monkeypatch.setattr(
            catalogue.Histograms, "collect", lambda self, block: collected.append(self) or collect(self, block)
        )
        image.labels.measure(mask, ("histogram", *DERIVED))
        assert len(collected) == 1

    def test_labels_without_counted_pixels_are_nan(self, field):
        image, mask = field
        wanted = [(name, {"bins": 4, "range": (10**5, 10**6)}) for name in DERIVED]
        result = image.labels.measure(mask, wanted)
        for name in DERIVED:
            assert np.isnan(result[name]).all()
        absent = image.labels.measure(mask, DERIVED, labels=[10**6])
        for name in DERIVED:
            assert np.isnan(absent[name]).all()

    def test_units_are_those_of_the_image(self, field):
        image, mask = field
        result = image.assign_attrs(units="counts").labels.measure(mask, ("histogram", *DERIVED))
        units = {name: result[name].attrs.get("units") for name in ("histogram", *DERIVED)}
        assert units == {"histogram": None, "entropy": None, "most_frequent": "counts", "uniformity": None}


class TestForms:
    def test_a_table_has_a_column_per_bin(self, nuclei2d):
        image, mask = nuclei2d
        table = image.labels.histogram(mask, 4).labels.to_dataframe()
        assert list(table) == ["histogram_0", "histogram_1", "histogram_2", "histogram_3"]
        assert table.to_numpy().sum() == (mask > 0).sum()

    def test_a_dataset_has_one_per_image(self, nuclei2d):
        image, mask = nuclei2d
        dataset = xr.Dataset({"DAPI": image, "twice": image // 2, "cells": mask})
        result = dataset.labels.histogram("cells", 8)
        assert list(result) == ["histogram_DAPI", "histogram_twice"]
        xr.testing.assert_equal(result["histogram_DAPI"], image.labels.histogram(mask, 8).rename("histogram_DAPI"))

    def test_images_of_a_dataset_whose_bins_differ_are_an_error(self, nuclei2d):
        image, mask = nuclei2d
        dataset = xr.Dataset({"DAPI": image, "wide": image.astype("u2"), "cells": mask})
        message = r"the bins of the variables differ: from 0 to 256 and from 0 to 65536; give range=\(low, high\)"
        with pytest.raises(ValueError, match=message):
            dataset.labels.histogram("cells", 8)
        with pytest.raises(ValueError, match=message):
            dataset.labels.measure("cells", ("mean", "histogram"))
        result = dataset.labels.histogram("cells", 8, range=(0, 100))
        np.testing.assert_array_equal(result["histogram_DAPI"], result["histogram_wide"])

    def test_a_tree_is_measured_at_its_finest_scale(self, nuclei2d):
        image, mask = nuclei2d
        tree = xr.DataTree.from_dict({"scale0": xr.Dataset({"image": image})})
        xr.testing.assert_equal(tree.labels.histogram(mask, 4), image.labels.histogram(mask, 4))

    def test_a_lazy_image_of_floating_point_needs_a_range(self, field):
        image, mask = field
        for wanted in ("histogram", "entropy"):
            with pytest.raises(ValueError, match=rf"{wanted} needs the range .* float64; .*: range=\(low, high\)"):
                image.chunk(y=5).labels.measure(mask, wanted)

    @pytest.mark.parametrize(
        ("bins", "range", "message"),
        [
            (0, None, "bins is a number from 1 on, or a sequence of edges, not 0"),
            (2.5, None, "bins is a number from 1 on, or a sequence of edges, not 2.5"),
            (True, None, "not True"),
            ("auto", None, "bins is a number from 1 on, or a sequence of edges, not 'auto'"),
            ([1, 0], None, r"the edges of bins are two numbers or more that never decrease, not \[1, 0\]"),
            ([1], None, "two numbers or more"),
            ([0, np.nan, 1], None, "never decrease"),
            ([0, 1], (0, 1), "range is for a number of bins"),
            (3, (1, 0), r"range is a pair of finite numbers, the lower first, not \(1, 0\)"),
            (3, (0, np.inf), "range is a pair of finite numbers"),
            (3, 7, "range is a pair of finite numbers, the lower first, not 7"),
        ],
    )  # fmt: skip
    def test_bins_that_are_none_are_an_error(self, bins, range, message, nuclei2d):
        image, mask = nuclei2d
        with pytest.raises(ValueError, match=message):
            image.labels.histogram(mask, bins, range=range)
