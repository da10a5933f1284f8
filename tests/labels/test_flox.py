"""Statistics by flox: against the fused engine, numpy, scipy, and what flox would make of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import dask
import dask.array as da
import flox
import numpy as np
import pytest
import scipy.stats
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.conftest import blobs
from xlabelstats.catalogue import STATISTICS, flox_aggregations
from xlabelstats.labels.aggregate import KNOWN, aggregate
from xlabelstats.labels.measure import measure

BY_FLOX = tuple(entry.name for entry in flox_aggregations.BY_FLOX)
EVERY = tuple(STATISTICS)
by_flox = partial(aggregate, engine="flox")


def most_frequent(pixels: np.ndarray) -> Any:
    """The most frequent value, the smallest of a tie."""
    values, counts = np.unique(pixels, return_counts=True)
    return values[counts.argmax()]


# What numpy says of the pixels of one object.
ORACLES = {
    "prod": np.prod,
    "any": np.any,
    "all": np.all,
    "first": lambda pixels: pixels[0],
    "last": lambda pixels: pixels[-1],
    "mode": lambda pixels: most_frequent(pixels),
    "median": lambda pixels: np.median(pixels.astype(float)),
    "p95": lambda pixels: np.percentile(pixels.astype(float), 95),
}


def field(dtype: str, dims: str = "cyx", shape: tuple[int, ...] = (2, 33, 41), nan: float = 0.0, seed: int = 0) -> Any:
    """An image with or without channels, of few values near 1, and a mask."""
    rng = np.random.default_rng(seed)
    pixels = rng.choice([0, 1, 1, 1, 1, 2, 3] if dtype != "?" else [0, 1, 1, 1], shape).astype(dtype)
    if nan:
        pixels[rng.random(shape) < nan] = np.nan
    image = xr.DataArray(pixels, dims=tuple(dims), name="signal", attrs={"units": "V"})
    shared = dims.removeprefix("c")
    labels = blobs(shape[len(dims) - len(shared) :], 15, seed)
    # Labels that tests ask for by name.
    labels.ravel()[:4] = [9, 9, 3, 9]
    return image, xr.DataArray(labels, dims=tuple(shared))


def lazily(image: xr.DataArray, mask: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Both in chunks that differ."""
    return image.chunk({dim: 1 if dim == "c" else 20 for dim in image.dims}), mask.chunk(17)


def of_objects(function: Any, image: xr.DataArray, mask: xr.DataArray, ids: Any) -> np.ndarray:
    """What a function makes of the pixels of every object (label, channel), in the order of the mask's dims."""
    pixels = image.transpose("c", *mask.dims).values
    return np.array([[function(channel[mask.values == label]) for channel in pixels] for label in ids])


def assert_same(found: xr.Dataset, expected: xr.Dataset, **tolerance: Any) -> xr.Dataset:
    """Both agree in all that a user sees; the first, computed."""
    assert list(found) == list(expected)
    for name in expected:
        assert found[name].dtype == expected[name].dtype, name
        assert found[name].dims == expected[name].dims, name
        assert found[name].attrs == expected[name].attrs, name
        assert found[name].chunks == expected[name].chunks, name
    found, expected = dask.compute(found, expected)
    xr.testing.assert_identical(found.coords.to_dataset(), expected.coords.to_dataset())
    for name in expected:
        near = {"rtol": 1e-4, "atol": 1e-4} if name in ("skew", "kurtosis") else {"rtol": 1e-8}
        np.testing.assert_allclose(found[name], expected[name], err_msg=str(name), **(near | tolerance))
    return found


class TestBothEngines:
    @pytest.mark.parametrize(
        ("dtype", "options"),
        [
            *((dtype, {}) for dtype in ("u1", "i2", "u8", "i8", "?", "f2", "f4", "f8", ">f8", ">u2")),
            *((dtype, {"labels": [9, 777, 3]}) for dtype in ("u1", "?", "i8", "f4")),
            *((dtype, {"skipna": False}) for dtype in ("i4", "f4", "f8")),
            ("f4", {"labels": [0, 3]}),
            ("f8", {"background": True, "ddof": 1}),
            ("f8", {"labels": [777, 778], "skipna": False, "ddof": -1}),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("lazy", [False, True])
    def test_agree_for_every_statistic(self, lazy, dtype, options):
        image, mask = field(dtype, nan=0.1 if "f" in dtype else 0)
        image = image.assign_coords(c=["DAPI", "CD3"], gain=("c", [1.0, 2.0]), y=np.arange(33) / 2)
        if lazy:
            image, mask = lazily(image, mask)
        found = by_flox(image, mask, EVERY, **options)
        assert all((variable.chunks is not None) == lazy for variable in found.values())
        assert_same(found, aggregate(image, mask, EVERY, **options))

    @pytest.mark.parametrize("size", [5, 7, 16, 60])
    def test_agree_to_1e_8_for_every_chunking_where_the_mean_is_a_thousand_times_the_spread(self, size):
        rng = np.random.default_rng(3)
        mask = xr.DataArray(blobs((60, 60), 20), dims=("y", "x")).chunk(size)
        image = xr.DataArray(rng.gamma(2, size=(60, 60)) + 1400, dims=("y", "x")).chunk(size + 3)
        found = assert_same(by_flox(image, mask, EVERY), aggregate(image, mask, EVERY))
        large = found.sel(label=found["count"].values > 30)
        for label in large["label"].values:
            pixels = image.values[mask.values == label]
            np.testing.assert_allclose(large["skew"].sel(label=label), scipy.stats.skew(pixels), atol=1e-8)
            np.testing.assert_allclose(large["kurtosis"].sel(label=label), scipy.stats.kurtosis(pixels), atol=1e-8)

    @pytest.mark.parametrize("shape", [(90,), (20, 30), (9, 12, 11), (5, 6, 7, 4)])
    @pytest.mark.parametrize("lazy", [False, True])
    def test_agree_for_masks_of_any_number_of_dims_in_any_order(self, shape, lazy):
        image, mask = field("f4", "cwzyx"[: 1 + len(shape)], (2, *shape), nan=0.05)
        image, mask = image.transpose(..., "c"), mask.transpose(*reversed(mask.dims))
        if lazy:
            image, mask = image.chunk(4), mask.chunk(5)
        assert_same(by_flox(image, mask, EVERY), aggregate(image, mask, EVERY))

    @pytest.mark.filterwarnings("ignore:the mask of 0 and 255 has")
    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    def test_agree_for_any_field(self, data):
        shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=6))
        dtype = np.dtype(data.draw(st.sampled_from(["u1", "u8", "i1", "i4", "i8"])))
        limits = np.iinfo(dtype)
        ids = np.array([0, 1, 3, limits.max, limits.max - 1, limits.min], dtype)
        mask = xr.DataArray(
            ids[data.draw(hnp.arrays(np.intp, shape, elements=st.integers(0, 5)))], dims=tuple("zyx")[: len(shape)]
        )
        kind = np.dtype(data.draw(st.sampled_from(["?", "u1", "u8", "i8", "f4", "f8"])))
        if kind.kind == "f":
            numbers = st.integers(1, 300).map(float) | st.sampled_from([np.nan, np.inf, -np.inf, -0.0])
        else:
            numbers = st.booleans() if kind.kind == "b" else st.integers(0, min(np.iinfo(kind).max, 1000))
        values = data.draw(hnp.arrays(kind, (2, *shape), elements=numbers))
        image = xr.DataArray(values, dims=("c", *mask.dims))
        if data.draw(st.booleans()):
            image = image.chunk({dim: data.draw(st.integers(1, 4)) for dim in image.dims})
        options = {"background": data.draw(st.booleans()), "skipna": data.draw(st.sampled_from([None, False]))}
        if data.draw(st.booleans()):
            options["labels"] = [3, int(limits.max), 77]
        assert_same(by_flox(image, mask, EVERY, **options), aggregate(image, mask, EVERY, **options), atol=1e-9)

    def test_agree_where_infinities_of_both_signs_lie_in_different_blocks(self):
        image = xr.DataArray([np.inf, 1, 2, -np.inf, 3, 4], dims="x").chunk(x=2)
        mask = xr.DataArray([1, 1, 2, 1, 2, 2], dims="x").chunk(x=2)
        assert_same(by_flox(image, mask, EVERY), aggregate(image, mask, EVERY))

    @pytest.mark.parametrize("dtype", ["u8", "i8"])
    def test_agree_for_extremes_that_float64_does_not_hold(self, dtype):
        pixels = np.full((20, 20), np.iinfo(dtype).max, dtype) - np.arange(20, dtype=dtype)
        image, labels = xr.DataArray(pixels, dims=("y", "x")), np.zeros((20, 20), int)
        labels[:3, 5:9] = 4
        mask = xr.DataArray(labels, dims=("y", "x"))
        for a, b in ((image, mask), (image.chunk(6), mask.chunk(6))):
            found = by_flox(a, b, ("min", "max", "first", "last")).compute()
            top = np.iinfo(dtype).max
            assert {name: int(values.item()) for name, values in found.items()} == {
                "min": top - 8, "max": top - 5, "first": top - 5, "last": top - 8
            }  # fmt: skip

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("options", [{}, {"labels": [2, 5]}], ids=str)
    @pytest.mark.parametrize("shape", [(2, 6, 7), (0, 6, 7), (2, 0, 7)])
    def test_agree_for_masks_without_objects_and_images_without_pixels(self, shape, options, lazy):
        image = xr.DataArray(np.ones(shape, "f4"), dims=("c", "y", "x"))
        mask = xr.DataArray(np.zeros(shape[1:], int), dims=("y", "x"))
        if lazy:
            image, mask = image.chunk(3), mask.chunk(3)
        assert_same(by_flox(image, mask, EVERY, **options), aggregate(image, mask, EVERY, **options))
        for name in BY_FLOX:
            found = aggregate(image, mask, name, **options).compute()[name]
            assert found.shape == (len(options.get("labels", ())), shape[0])
            assert found.isnull().all()

    def test_agree_for_a_channel_without_labels_and_more_labels_than_fit_in_a_chunk(self, monkeypatch):
        monkeypatch.setattr("xlabelstats.engine.merge_tree.LABELS_PER_CHUNK", 4)
        image, mask = lazily(*field("f8", nan=0.1))
        options = {"labels": [1, 9, 4, 2, 3, 30, 7, 5, 6]}
        for choice in ({}, options):
            found = by_flox(image, mask, EVERY, **choice)
            assert found["mean"].chunks[0][0] == 4
            assert_same(found, aggregate(image, mask, EVERY, **choice))

    def test_mix_what_merges_with_what_needs_objects_whole(self):
        image, mask = field("f8")
        for a, b in ((image, mask), lazily(image, mask)):
            stats = ("max", "mode", "prod", "count", "p95", "argmax")
            found = by_flox(a, b, stats)
            assert tuple(found) == stats
            assert_same(found, aggregate(a, b, stats))

    def test_two_calls_that_differ_in_an_option_do_not_share_tasks(self):
        image, mask = lazily(*field("f8", nan=0.1))
        found = [by_flox(image, mask, "var", ddof=ddof)["var"] for ddof in (0, 1)]
        found += [by_flox(image, mask, "var", skipna=False)["var"]]
        a, b, c = dask.compute(*found)
        n = aggregate(image, mask, "valid").compute()["valid"]
        np.testing.assert_allclose(a.where(n > 1), b * (n - 1) / n)
        assert c.isnull().sum() > a.isnull().sum()
        again = by_flox(image, mask, "var", ddof=1)["var"]
        assert again.data.name == found[1].data.name

    def test_read_each_chunk_at_compute_alone(self):
        image, mask = lazily(*field("f8"))
        read = []
        watched = image.copy(data=image.data.map_blocks(lambda block: read.append(1) or block, dtype="f8"))
        found = by_flox(watched, mask, ("mean", "prod"))
        del read[:]
        found["mean"].compute()
        assert len(read) == image.data.npartitions

    def test_a_flox_aggregation_is_what_runs(self, monkeypatch):
        image, mask = field("f8")
        seen = []
        reduce = flox.groupby_reduce
        monkeypatch.setattr(
            flox, "groupby_reduce", lambda *a, **k: seen.append((k["func"], np.shape(a[0])[-1])) or reduce(*a, **k)
        )
        by_flox(image, mask, EVERY)
        assert [func.name for func, _ in seen] == list(EVERY)
        assert all(isinstance(func, flox.Aggregation) for func, _ in seen)
        assert {pixels for _, pixels in seen} == {np.count_nonzero(mask)}
        del seen[:]
        aggregate(image, mask, EVERY)
        assert not seen


class TestNames:
    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("dtype", ["u1", "i8", "?", "f4", "f8"])
    @pytest.mark.parametrize("name", ORACLES)
    def test_are_what_numpy_says_of_each_object(self, name, dtype, lazy):
        image, mask = field(dtype)
        found = aggregate(*(lazily(image, mask) if lazy else (image, mask)), name)[name]
        expected = of_objects(ORACLES[name], image, mask, found["label"].values)
        assert (found.chunks is not None) == lazy
        assert found.dtype == {"prod": "f8", "median": "f8", "p95": "f8", "any": "?", "all": "?"}.get(name, dtype)
        np.testing.assert_allclose(found.astype(float), expected.astype(float), rtol=1e-13)

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("shape", [(200,), (17, 21), (7, 9, 8)])
    @pytest.mark.parametrize("name", ["argmin", "argmax", "first", "last"])
    def test_positions_are_flat_indices_of_the_mask_in_c_order_the_first_of_a_tie(self, name, shape, lazy):
        image, mask = field("u1", "czyx"[:1] + "zyx"[-len(shape) :], (2, *shape))
        image, mask = image.transpose(..., "c").transpose(*reversed(mask.dims), "c"), mask
        a, b = (image.chunk(5), mask.chunk(4)) if lazy else (image, mask)
        found = aggregate(a, b, name)[name].compute()
        pixels = image.transpose("c", *mask.dims).values.reshape(2, -1)
        for label in found["label"].values:
            (places,) = np.nonzero(mask.values.ravel() == label)
            for c in range(2):
                value = found.sel(label=label).values[c]
                own = pixels[c, places]
                if name.startswith("arg"):
                    assert value == places[getattr(np, name)(own)]
                else:
                    assert value == own[0 if name == "first" else -1]
        if name.startswith("arg"):
            assert found.dtype == np.int64
            assert "units" not in found.attrs
        else:
            assert found.dtype == np.uint8
            assert found.attrs["units"] == "V"

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("name", [*BY_FLOX, "mode"])
    def test_skip_nan_or_let_it_propagate(self, name, lazy):
        image, mask = field("f8", nan=0.2)
        mask[:3, :3] = 99  # all NaN
        image[:, :3, :3] = np.nan
        mask = mask.astype("i4")
        a, b = lazily(image, mask) if lazy else (image, mask)
        ids = np.unique(mask)[1:]
        options = {"labels": ids} if name.startswith("arg") else {}
        flat = np.arange(mask.size).reshape(mask.shape)
        found = {skipna: aggregate(a, b, name, skipna=skipna, **options)[name].compute() for skipna in (None, False)}
        for i, label in enumerate(ids):
            inside, places = mask.values == label, flat[mask.values == label]
            for c in range(2):
                pixels = image.values[c][inside]
                valid = pixels[~np.isnan(pixels)]
                skipped, kept = (float(found[skipna].values[i, c]) for skipna in found)
                if name.startswith("arg"):
                    at = partial(getattr(np, f"nan{name}"), pixels)
                    assert skipped == places[at()] if valid.size else np.isnan(skipped)
                    assert kept == places[getattr(np, name)(pixels)]
                    continue
                nothing = {"prod": 1, "any": 0, "all": 1}.get(name, np.nan)
                np.testing.assert_allclose(skipped, ORACLES[name](valid) if valid.size else nothing)
                if name in ("first", "last"):
                    np.testing.assert_equal(kept, ORACLES[name](pixels))
                else:
                    np.testing.assert_allclose(kept, np.nan if valid.size < pixels.size else ORACLES[name](pixels))

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("name", [*BY_FLOX, "mode", "median"])
    def test_give_absent_labels_nan_in_float64_in_the_order_asked_for(self, name, lazy):
        image, mask = field("u2")
        a, b = lazily(image, mask) if lazy else (image, mask)
        found = aggregate(a, b, ("count", name), labels=[9, 1000, 3, 0]).compute()
        every = aggregate(a, b, name, background=True)[name].compute()
        assert found["label"].values.tolist() == [9, 1000, 3, 0]
        assert found[name].dtype == np.float64
        assert found["count"].dtype == np.int64
        assert found["count"].values[1] == 0
        assert found[name].sel(label=1000).isnull().all()
        np.testing.assert_array_equal(found[name].sel(label=[0, 3, 9]), every.sel(label=[0, 3, 9]))

    def test_a_label_of_nan_alone_has_no_smallest_pixel_and_the_error_says_how_to_go_on(self):
        image, mask = field("f4")
        image = image.where(mask != 9)
        message = (
            r"argmin: all pixels of label 9 are NaN, and int64 has no NaN for it; give labels=mask\.labels\.ids"
            r"\(\), which makes it float64, or skipna=False"
        )
        for a, b in ((image, mask), lazily(image, mask)):
            with pytest.raises(ValueError, match=message):
                aggregate(a, b, "argmin")["argmin"].compute()

    def test_mode_takes_both_zeros_for_one_number_and_the_smallest_of_a_tie(self):
        image = xr.DataArray([0.0, -0.0, -1, -1, 5, 5, 5, np.nan, np.nan, np.nan, np.nan], dims="x")
        mask = xr.DataArray(np.array([1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2]), dims="x")
        np.testing.assert_array_equal(aggregate(image, mask, "mode")["mode"], [-1, 5])
        np.testing.assert_array_equal(aggregate(image, mask, "mode", skipna=False)["mode"], [-1, np.nan])
        np.testing.assert_array_equal(
            aggregate(image[[0, 1, 2, 4]] + 0, mask[[0, 1, 2, 4]] * 0 + 1, "mode")["mode"], [0]
        )

    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    def test_mode_is_the_most_frequent_value_for_any_pixels(self, data):
        dtype = np.dtype(data.draw(st.sampled_from(["?", "u1", "u2", "i2", "u4", "i8", "u8", "f2", "f4", "f8"])))
        pixels = data.draw(
            hnp.arrays(dtype, st.integers(1, 120), elements=hnp.from_dtype(dtype, allow_nan=False), fill=st.nothing())
        )
        pixels = np.concatenate([pixels, pixels[: data.draw(st.integers(0, pixels.size))]])
        image = xr.DataArray(pixels, dims="x").chunk(x=data.draw(st.integers(20, 300)))
        mask = xr.ones_like(image, int)
        found = aggregate(image, mask, "mode")["mode"].compute()
        assert found.dtype == dtype
        assert found.item() == most_frequent(pixels)
        assert measure(image, mask, "mode")["mode"].compute().equals(found)

    def test_a_product_is_float64_so_that_it_does_not_wrap_around(self):
        image, mask = xr.DataArray(np.full(30, 200, "u1"), dims="x"), xr.DataArray(np.ones(30, int), dims="x")
        for size in (30, 7):
            np.testing.assert_allclose(aggregate(image.chunk(x=size), mask, "prod")["prod"], [200.0**30])


class TestOwnAggregation:
    def energy(self) -> flox.Aggregation:
        def chunk(group, array, *, size, **unused):
            flat = array.reshape(-1, array.shape[-1])
            sums = [np.bincount(group, row**2, size) for row in flat]
            return np.reshape(sums, (*array.shape[:-1], size))

        return flox.Aggregation("energy", numpy=chunk, chunk=chunk, combine="sum", fill_value=0)

    @pytest.mark.parametrize("engine", ["fused", "flox"])
    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("dtype", ["u1", "f4"])
    def test_gives_a_variable_of_its_name_from_pixels_in_float64(self, dtype, lazy, engine):
        image, mask = field(dtype)
        image = (image * 100).astype(dtype)
        a, b = lazily(image, mask) if lazy else (image, mask)
        found = aggregate(a, b, ("mean", self.energy()), engine=engine)
        assert list(found) == ["mean", "energy"]
        assert found["energy"].dims == ("label", "c")
        assert (found["energy"].chunks is not None) == lazy
        expected = of_objects(lambda pixels: (pixels.astype(float) ** 2).sum(), image, mask, found["label"].values)
        np.testing.assert_allclose(found["energy"], expected)
        np.testing.assert_allclose(aggregate(a, b, self.energy())["energy"], expected)

    @pytest.mark.parametrize("lazy", [False, True])
    def test_gives_absent_labels_nan_or_what_its_final_fill_value_says(self, lazy):
        image, mask = field("f8")
        a, b = lazily(image, mask) if lazy else (image, mask)
        absent = aggregate(a, b, self.energy(), labels=[3, 1000])["energy"].sel(label=1000)
        assert absent.isnull().all()
        lowest = flox.Aggregation(
            "lowest", numpy="min", chunk="min", combine="min", fill_value=np.inf, final_fill_value=-5
        )
        found = aggregate(a, b, lowest, labels=[1000, 3])["lowest"].compute()
        np.testing.assert_array_equal(found.sel(label=1000), -5)
        np.testing.assert_array_equal(found.sel(label=3), aggregate(image, mask, "min", labels=[3])["min"].sel(label=3))
        np.testing.assert_array_equal(aggregate(a, b, lowest)["lowest"], aggregate(image, mask, "min")["min"])

    @pytest.mark.parametrize("lazy", [False, True])
    def test_of_chunk_combine_and_finalize_needs_no_function_for_arrays_in_memory(self, lazy):
        image, mask = field("f4")
        span = flox.Aggregation(
            "span",
            chunk=("min", "max"),
            combine=("min", "max"),
            finalize=lambda low, high: high - low,
            fill_value=(np.inf, -np.inf),
        )
        found = aggregate(*(lazily(image, mask) if lazy else (image, mask)), span, labels=[9, 1000])["span"].compute()
        np.testing.assert_array_equal(found.sel(label=9), of_objects(np.ptp, image, mask, [9])[0])
        assert found.sel(label=1000).isnull().all()

    def test_that_cannot_be_run_is_an_error_that_says_why(self):
        image, mask = field("f8")
        at_once = flox.Aggregation("spread", numpy=lambda group, array, *, size, **_: array, chunk=None, combine=None)
        message = (
            r"the Aggregation 'spread' lacks chunk or combine, so blocks of a dask array cannot be put together; give "
            r"both, or measure whole objects: image\.instances\.statistics\(mask, function\)"
        )
        with pytest.raises(ValueError, match=message):
            aggregate(*lazily(image, mask), at_once)
        message = (
            "flox fails, or gives wrong results, for the Aggregation '{}' on masks of several dims; give it "
            "another name and reduction_type 'reduce', or use one of the names 'first', 'last', 'argmin', 'argmax', "
            "'mode' instead"
        )
        for name in ("argmin", "nanargmax", "first", "nanlast", "mode"):
            with pytest.raises(ValueError, match=message.format(name)):
                aggregate(image, mask, flox.aggregations.AGGREGATIONS[name])
        with pytest.raises(
            ValueError, match="the Aggregation 'quantile' has new_dims_func; it must give one number per channel"
        ):
            aggregate(image, mask, flox.aggregations.AGGREGATIONS["quantile"])
        message = (
            r"skipna has no effect on 'energy': an Aggregation of your own decides what it does with NaN\. Leave "
            "skipna out, or measure the other statistics in another call"
        )
        with pytest.raises(ValueError, match=message):
            aggregate(image, mask, ("mean", self.energy()), skipna=True)
        mean = flox.Aggregation("mean", numpy="max", chunk="max", combine="max")
        for stats in (("mean", mean), (mean, "mean"), (mean, mean)):
            with pytest.raises(ValueError, match="two statistics are called 'mean'; give the Aggregation another name"):
                aggregate(image, mask, stats)
        with pytest.raises(TypeError, match=r"a statistic is a name or a flox\.Aggregation, not function"):
            aggregate(image, mask, ("mean", lambda pixels: pixels))


class TestAccessors:
    @pytest.mark.parametrize("engine", ["fused", "flox"])
    def test_an_image_and_a_dataset_hand_engine_and_aggregations_on(self, engine):
        image, mask = lazily(*field("f4"))
        energy = TestOwnAggregation().energy()
        stats = ("count", "mean", "median", "argmax", energy)
        expected = aggregate(image, mask, stats, engine=engine)
        xr.testing.assert_identical(image.labels.aggregate(mask, stats, engine=engine).compute(), expected.compute())
        found = xr.Dataset({"a": image, "b": 2 * image}).labels.aggregate(mask, iter(stats), engine=engine)
        assert set(found) == {
            "count",
            *(f"{name}_{v}" for v in "ab" for name in ("mean", "median", "argmax", "energy")),
        }
        np.testing.assert_array_equal(found["energy_a"], expected["energy"])
        alone = xr.Dataset({"a": image}).labels.aggregate(mask, energy, engine=engine)
        np.testing.assert_array_equal(alone["energy_a"], expected["energy"])

    def test_a_mask_of_times_warns_as_it_does_for_every_statistic(self):
        image, mask = field("f8", "ctx", (2, 9, 11))
        for stats, engine in ((("mean",), "flox"), (("prod",), "fused")):
            with pytest.warns(UserWarning, match="time"):
                image.labels.aggregate(mask, stats, engine=engine)


class TestErrors:
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("nanmean", "'nanmean', which is called 'mean' here with skipna=True, the default for floats"),
            ("nanprod", "'nanprod', which is called 'prod' here with skipna=True, the default for floats"),
            ("nanargmin", "'nanargmin', which is called 'argmin' here with skipna=True"),
            ("nanmedian", "'nanmedian', which is called 'median' here with skipna=True"),
            ("quantile", r"'quantile', which is image\.instances\.quantiles\(mask, q\)"),
            ("nanquantile", r"'nanquantile', which is image\.instances\.quantiles"),
            ("solidity", r"'solidity', which is mask\.instances\.regionprops\(\"solidity\"\)"),
            ("cumsum", "unknown statistic 'cumsum'"),
            ("ffill", "unknown statistic 'ffill'"),
            ("maen", "unknown statistic 'maen', did you mean 'mean'"),
        ],
    )
    def test_of_names_that_are_none_say_which_are(self, name, message):
        with pytest.raises(ValueError, match=message):
            aggregate(*field("f8"), name)

    def test_every_reduction_of_flox_is_run_or_answered(self):
        image, mask = field("f8")
        for name in flox.aggregations.AGGREGATIONS:
            if name in KNOWN:
                assert name in aggregate(image, mask, name)
            else:
                with pytest.raises(ValueError, match=f"unknown statistic '{name}'"):
                    aggregate(image, mask, name)

    def test_name_both_engines(self):
        with pytest.raises(ValueError, match="engine is 'fused' or 'flox', not 'numba'"):
            aggregate(*field("f8"), "mean", engine="numba")

    def test_a_label_that_came_or_went_since_the_scan_is_an_error(self):
        image, mask = lazily(*field("f8"))
        changes: dict[str, Any] = {}
        lazy = mask.copy(data=mask.data.map_blocks(lambda block: changes.get("to", lambda b: b)(block), dtype=int))
        results = [by_flox(image, lazy, "mean"), aggregate(image, lazy, "prod")]
        changes["to"] = lambda block: np.where(block == 9, 0, block)
        for result in results:
            with pytest.raises(RuntimeError, match="the mask has changed since it was scanned: label 9 is gone"):
                result.compute()
        changes["to"] = lambda block: np.where(block == 9, 1234, block)
        for result in results:
            with pytest.raises(RuntimeError, match="the mask has changed since it was scanned: label 1234 is new"):
                result.compute()

    def test_a_block_of_another_kind_than_the_array_says_is_an_error(self):
        image, mask = lazily(*field("u1"))
        image = image.copy(data=image.data.map_blocks(lambda block: block + 0.5, dtype="u1"))
        with pytest.raises(TypeError, match="Cannot cast array data from dtype"):
            by_flox(image, mask, "sum").compute()


def test_input_is_left_as_it_was():
    image, mask = field("f8", nan=0.1)
    before = image.copy(deep=True), mask.copy(deep=True)
    aggregate(image, mask, tuple(name for name in KNOWN if not name.startswith("arg")), engine="flox")
    xr.testing.assert_identical(image, before[0])
    xr.testing.assert_identical(mask, before[1])


def test_dask_arrays_with_empty_chunks_are_measured():
    image, mask = field("f8")
    chunks = (0, 10, 23)
    lazy = xr.DataArray(da.from_array(mask.values, chunks=(chunks, (41,))), dims=mask.dims)
    expected = aggregate(image, mask, EVERY)
    xr.testing.assert_allclose(by_flox(image, lazy, EVERY).compute(), expected, rtol=1e-8)
