"""Weighted statistics: against numpy on every label's pixels, and xarray's own weighted ones."""

from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from xlabelstats.catalogue.weighted import WEIGHTED

ALL = ("count", "sum", "mean", "var", "std", "weight")


def of_label(pixels: np.ndarray, w: np.ndarray, skipna: bool = True) -> dict[str, float]:
    """The statistics of the pixels of one label, by numpy."""
    w = w.astype(float)
    if not skipna and (np.isnan(w) | (np.isnan(pixels) & (w != 0))).any():
        return of_label(pixels, w) | dict.fromkeys(("sum", "mean", "var", "std"), np.nan)
    held = (w != 0) & ~np.isnan(w) & ~np.isnan(pixels)
    pixels, w, count = pixels[held].astype(float), w[held], pixels.size
    if not w.size:
        return {"count": count, "sum": 0, "mean": np.nan, "var": np.nan, "std": np.nan, "weight": 0}
    mean = np.average(pixels, weights=w)
    var = np.average((pixels - mean) ** 2, weights=w)
    return {"count": count, "sum": w @ pixels, "mean": mean, "var": var, "std": np.sqrt(var), "weight": w.sum()}


def check(
    found: xr.Dataset,
    image: xr.DataArray,
    mask: xr.DataArray,
    weights: xr.DataArray,
    rtol: float = 1e-12,
    skipna: bool = True,
) -> None:
    """All statistics of all labels, of an image with a dim ``c``."""
    every = weights.broadcast_like(mask).transpose(*mask.dims).values
    channels = image.transpose("c", *mask.dims).values
    of = {label: mask.values == label for label in found.label.values}
    known = [[of_label(pixels[at], every[at], skipna) for pixels in channels] for at in of.values()]
    for name in ALL:
        expected = np.array([[one[name] for one in row] for row in known]).reshape(len(of), len(channels))
        values = found[name].broadcast_like(found["mean"]).transpose("label", "c")
        np.testing.assert_allclose(values, expected, rtol=rtol, atol=1e-13, err_msg=name)


def cut(array: xr.DataArray, chunks: Any) -> xr.DataArray:
    return array if chunks is None else array.chunk({dim: chunks[dim] for dim in array.dims})


@st.composite
def fields(draw: st.DrawFn) -> tuple[Any, ...]:
    """An image, a mask and weights over some of its dims, of any dtypes and orders of dims, and chunks for all."""
    dims = draw(st.permutations("zyx"))[: draw(st.integers(1, 3))]
    sizes = {dim: draw(st.integers(1, 8)) for dim in dims}
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    mask = xr.DataArray(rng.integers(-1, 4, list(sizes.values())), dims=dims)
    pixels = rng.normal(20, 3, (2, *sizes.values()))
    kind = draw(st.sampled_from(["u1", "i2", "f4", "f8", "nan"]))
    if kind == "nan":
        pixels[rng.random(pixels.shape) < 0.2] = np.nan
    image = xr.DataArray(pixels if kind == "nan" else pixels.astype(kind), dims=("c", *dims))
    over = draw(st.permutations(dims))[: draw(st.integers(0, len(dims)))]
    values = rng.random([sizes[dim] for dim in over]) * 4
    of_weights = draw(st.sampled_from(["?", "u1", "i4", "f4", "f8", "nan"]))
    if of_weights == "nan":
        values = np.where(rng.random(values.shape) < 0.3, np.nan, values)
    weights = xr.DataArray(values if of_weights == "nan" else np.asarray(values).astype(of_weights), dims=over)
    chunks = st.none() | st.fixed_dictionaries(dict.fromkeys((*dims, "c"), st.integers(1, 3)))
    image = image.transpose(*draw(st.permutations(image.dims)))
    return cut(image, draw(chunks)), cut(mask, draw(chunks)), cut(weights, draw(chunks))


class TestValues:
    @settings(deadline=None, max_examples=150)
    @given(fields(), st.booleans())
    def test_they_are_numpys_for_every_dtype_order_of_dims_and_chunking(self, field, skipna):
        image, mask, weights = field
        with dask.config.set(scheduler="sync"):
            found = image.labels.aggregate(mask, weights=weights, skipna=skipna)
            assert (found["sum"].chunks is not None) == any(each.chunks is not None for each in field)
            assert tuple(found) == ALL
            check(found.compute(), *(each.compute() for each in field), skipna=skipna)

    @pytest.mark.parametrize("chunks", [None, {"y": 100, "x": 130}])
    @pytest.mark.parametrize("over", [("y", "x"), ("x",), ("y",), ()])
    def test_of_the_nuclei(self, nuclei2d, chunks, over):
        image, mask = nuclei2d
        image = image.expand_dims(c=1)
        weights = xr.DataArray(np.random.default_rng(0).random((512, 512)), dims=("y", "x"))
        weights = weights.isel({dim: 3 for dim in ("y", "x") if dim not in over})
        found = image.labels.aggregate(mask, weights=weights)
        if chunks:
            arrays = (each.chunk({dim: chunks[dim] for dim in each.dims if dim in chunks}) for each in (image, mask))
            found = next(arrays).labels.aggregate(next(arrays), weights=weights.chunk({d: chunks[d] for d in over}))
            assert found["mean"].chunks is not None
        check(found.compute(), image, mask, weights)

    def test_it_is_what_xarrays_weighted_gives_for_every_label(self, nuclei3d):
        image, mask = nuclei3d
        weights = xr.DataArray(np.linspace(0.5, 2, mask.sizes["z"]), dims="z")
        found = image.labels.aggregate(mask, weights=weights)
        for label in found.label.values[::5]:
            one = image.astype(float).where(mask == label).weighted(weights)
            known = one.sum(), one.mean(), one.var(), one.std(), one.sum_of_weights()
            for name, expected in zip(("sum", "mean", "var", "std", "weight"), known, strict=True):
                np.testing.assert_allclose(found[name].sel(label=label), expected, rtol=1e-12)

    def test_a_large_mean_costs_no_precision_for_any_chunking(self):
        rng = np.random.default_rng(0)
        image = xr.DataArray(1e6 + rng.random((1, 64, 64)), dims=("c", "y", "x"))
        mask = xr.DataArray(rng.integers(1, 3, (64, 64)), dims=("y", "x"))
        weights = xr.DataArray(rng.random((64, 64)), dims=("y", "x"))
        for size in (1, 3, 10, 64):
            with dask.config.set(scheduler="sync"):
                lazy = image.chunk(y=size, x=64).labels.aggregate(mask.chunk(y=size), weights=weights)
                # 1e6 over a deviation of 0.3.
                check(lazy.compute(), image, mask, weights, rtol=1e-9)

    def test_weights_of_one_are_no_weights(self, nuclei2d):
        image, mask = nuclei2d
        found = image.labels.aggregate(mask, weights=xr.ones_like(mask))
        plain = image.labels.aggregate(mask, ("count", "sum", "mean", "var", "std", "valid"))
        plain = plain.drop_vars(("ddof", "skipna")).rename(valid="weight")
        xr.testing.assert_allclose(found, plain, rtol=1e-13)

    def test_memory_order_and_byte_order_do_not_matter(self):
        rng = np.random.default_rng(0)
        image, mask = (xr.DataArray(each, dims=("y", "x")) for each in (rng.random((9, 7)), rng.integers(0, 3, (9, 7))))
        weights = rng.random((9, 7))
        expected = image.labels.mean(mask, weights=xr.DataArray(weights, dims=("y", "x")))
        for other in (np.asfortranarray(weights), weights[::-1].copy()[::-1], weights.astype(">f8")):
            found = image.labels.mean(mask, weights=xr.DataArray(other, dims=("y", "x")))
            np.testing.assert_array_equal(found, expected)
        turned = xr.DataArray(weights.T, dims=("x", "y"))
        np.testing.assert_array_equal(image.T.labels.mean(mask, weights=turned), expected)


class TestPixelsThatDoNotCount:
    IMAGE = xr.DataArray([[1.0, 2.0, np.nan, 4.0, np.inf, 7.0]], dims=("c", "x"))
    MASK = xr.DataArray([1, 1, 1, 2, 2, 3], dims="x")

    @pytest.mark.parametrize("chunks", [None, 1, 4])
    def test_those_of_weight_0_whatever_they_hold(self, chunks):
        weights = xr.DataArray([1.0, 3.0, 0.0, 2.0, 0.0, 0.0], dims="x")
        for skipna in (None, False):
            found = self.measured(weights, chunks, skipna=skipna)
            assert found["mean"].squeeze().values.tolist()[:2] == [1.75, 4]
            assert found["weight"].squeeze().values.tolist() == [4, 2, 0]
            assert found["sum"].squeeze().values.tolist() == [7, 8, 0]
            assert np.isnan([found[name].values[2, 0] for name in ("mean", "var", "std")]).all()
            assert found["count"].values.tolist() == [3, 2, 1]

    @pytest.mark.parametrize("chunks", [None, 1, 4])
    def test_those_of_weight_nan_are_as_nan_pixels(self, chunks):
        weights = xr.DataArray([1.0, np.nan, 5.0, 2.0, 0.0, 1.0], dims="x")
        found = self.measured(weights, chunks)
        assert found["mean"].squeeze().values.tolist() == [1, 4, 7]
        assert found["weight"].squeeze().values.tolist() == [1, 2, 1]
        spoiled = self.measured(weights, chunks, skipna=False)
        for name in ("sum", "mean", "var", "std"):
            np.testing.assert_array_equal(np.isnan(spoiled[name].squeeze()), [True, False, False])
        assert spoiled["weight"].squeeze().values.tolist() == [1, 2, 1]

    @pytest.mark.parametrize("chunks", [None, 2])
    def test_labels_that_are_absent(self, chunks):
        found = self.measured(xr.ones_like(self.MASK), chunks, labels=[9, 3])
        assert found["weight"].squeeze().values.tolist() == [0, 1]
        assert found["sum"].squeeze().values.tolist() == [0, 7]
        assert found["count"].values.tolist() == [0, 1]
        for name in ("mean", "var", "std"):
            assert np.isnan(found[name].values[0, 0])

    def measured(self, weights: xr.DataArray, chunks: int | None, **options: Any) -> xr.Dataset:
        image, mask = self.IMAGE, self.MASK
        if chunks:
            image, mask, weights = image.chunk(x=chunks), mask.chunk(x=chunks), weights.chunk(x=chunks)
        return image.labels.aggregate(mask, weights=weights, **options).compute(scheduler="sync")

    def test_background_is_weighed_too_where_it_is_measured(self):
        mask = xr.DataArray([0, 0, 5], dims="x")
        image, weights = (xr.DataArray(values, dims="x") for values in ([2.0, 4.0, 6.0], [1.0, 3.0, 1.0]))
        assert image.labels.mean(mask, weights=weights, background=True).values.tolist() == [3.5, 6]


class TestCalls:
    def test_all_ways_to_ask_give_the_same(self, nuclei2d):
        image, mask = nuclei2d
        weights = xr.DataArray(np.linspace(0, 1, 512), dims="y")
        all_of_them = image.labels.aggregate(mask, weights=weights)
        assert tuple(all_of_them) == tuple(WEIGHTED) == ALL
        measured = image.labels.measure(mask, weights=weights)
        xr.testing.assert_equal(measured, all_of_them)
        assert measured["var"].attrs["description"].startswith("sum of weight * (pixel - mean)**2")
        for name in ("mean", "sum", "var", "std"):
            xr.testing.assert_equal(getattr(image.labels, name)(mask, weights=weights), all_of_them[name])
        two = image.labels.measure(mask, ("weight", "count"), weights=weights)
        xr.testing.assert_equal(two, all_of_them[["weight", "count"]])
        tree = xr.DataTree.from_dict({"scale0": xr.Dataset({"w": weights})})
        xr.testing.assert_equal(image.labels.mean(mask, weights=tree), all_of_them["mean"])

    @pytest.mark.parametrize("by_name", [True, False])
    def test_in_a_dataset_one_weighs_all_images_and_is_none_of_them(self, nuclei2d, by_name):
        image, mask = nuclei2d
        weights = (image / 255.0).rename("w")
        field = xr.Dataset({"a": image, "b": image * 2.0} | ({"w": weights} if by_name else {}))
        given = "w" if by_name else weights
        found = field.labels.aggregate(mask, weights=given)
        assert list(found) == ["count", *(f"{name}_{v}" for v in "ab" for name in ALL if name != "count")]
        alone = image.labels.aggregate(mask, weights=weights)
        np.testing.assert_array_equal(found["var_a"], alone["var"])
        xr.testing.assert_equal(
            field.labels.measure(mask, ("count", "mean", "weight"), weights=given),
            found[["count", "mean_a", "mean_b", "weight_a", "weight_b"]],
        )
        np.testing.assert_array_equal(field.labels.mean(mask, weights=given)["mean_b"], 2 * alone["mean"])
        assert set(field.labels.measure(mask, weights=given)) == set(found)

    def test_units_are_those_of_image_and_weights(self):
        mask, image = xr.DataArray([1, 1], dims="x"), xr.DataArray([1.0, 2.0], dims="x", attrs={"units": "K"})
        weights = xr.DataArray([1.0, 2.0], dims="x", attrs={"units": "m**2"})
        found = image.labels.aggregate(mask, weights=weights)
        units = {name: values.attrs.get("units") for name, values in found.items()}
        assert units == {
            "count": None,
            "sum": "(K) * (m**2)",
            "mean": "K",
            "var": "(K)**2",
            "std": "K",
            "weight": "m**2",
        }
        assert image.labels.sum(mask, weights=weights.drop_attrs()).attrs["units"] == "K"

    def test_with_another_grid_the_weights_are_on_the_images(self):
        mask = xr.DataArray([1, 2], dims="x", coords={"x": [0.5, 2.5]})
        image = xr.DataArray([1.0, 2.0, 3.0, 4.0], dims="x", coords={"x": np.arange(4.0)})
        weights = xr.DataArray([1.0, 3.0, 1.0, 0.0], dims="x", coords={"x": np.arange(4.0)})
        assert image.labels.mean(mask, weights=weights, align="nearest").values.tolist() == [1.75, 3.0]

    def test_weights_along_one_dim_are_never_as_large_as_the_image(self):
        """No task makes an array of weights of more elements than the dim has."""
        sizes = []

        class Sizes(dask.callbacks.Callback):
            def _posttask(self, key: Any, result: Any, *_: Any) -> None:
                if isinstance(result, np.ndarray) and result.dtype == np.float64 and result.size:
                    sizes.append(result.size)

        image = xr.DataArray(da.ones((400, 400), chunks=100, dtype="u2"), dims=("y", "x"))
        mask = xr.DataArray(da.ones((400, 400), chunks=100, dtype="u2"), dims=("y", "x"))
        with Sizes():
            found = image.labels.mean(mask, weights=xr.DataArray(np.arange(400.0), dims="x")).compute(scheduler="sync")
        assert found.item() == 1
        assert max(sizes) <= 400


class TestComplaints:
    IMAGE = xr.DataArray(np.ones((2, 3, 4)), dims=("c", "y", "x"))
    MASK = xr.DataArray(np.ones((3, 4), int), dims=("y", "x"))
    WEIGHTS = xr.DataArray(np.ones((3, 4)), dims=("y", "x"))

    @pytest.mark.parametrize("stats", ["max", ("mean", "skew"), "p50", "area", ("sum", "valid"), [3]])
    @pytest.mark.parametrize("call", ["aggregate", "measure"])
    def test_other_measures_are_refused_and_those_there_are_listed(self, call, stats):
        with pytest.raises(
            ValueError,
            match=r"with weights only these can be measured: count, sum, mean, var, std, weight; "
            r"measure .* in a call without weights",
        ):
            getattr(self.IMAGE.labels, call)(self.MASK, stats, weights=self.WEIGHTS)

    def test_no_measures(self):
        with pytest.raises(ValueError, match="no statistic was asked for"):
            self.IMAGE.labels.aggregate(self.MASK, (), weights=self.WEIGHTS)

    def test_weight_needs_weights(self):
        for call in (self.IMAGE.labels.aggregate, self.IMAGE.labels.measure):
            with pytest.raises(ValueError, match=r'aggregate\(mask, "weight", weights=weights\)'):
                call(self.MASK, "weight")

    @pytest.mark.parametrize(
        ("weights", "kind", "message"),
        [
            (np.ones((3, 4)), TypeError, "weights are an xarray.DataArray over dims of the mask .*, not ndarray"),
            (WEIGHTS.astype(complex), TypeError, "weights are numbers, not complex128"),
            (IMAGE, ValueError, "the weights have the dim 'c', which the mask with the dims .* lacks"),
            (WEIGHTS[:2], ValueError, "weights and mask differ in size: 'y' is 2 in the weights and 3 in the mask"),
            (
                WEIGHTS.assign_coords(y=[0, 1, 3]),
                ValueError,
                "of weights and mask differ along 'y', first at index 2: 3 in the weights, 2 in the mask",
            ),
        ],
    )
    def test_weights_that_do_not_fit(self, weights, kind, message):
        mask = self.MASK.assign_coords(y=[0, 1, 2])
        with pytest.raises(kind, match=message):
            self.IMAGE.labels.aggregate(mask, weights=weights)

    def test_weights_on_other_coordinates_than_the_image(self):
        with pytest.raises(ValueError, match="of weights and image differ along 'x'"):
            self.IMAGE.assign_coords(x=range(4)).labels.mean(
                self.MASK, weights=self.WEIGHTS.assign_coords(x=[5, 6, 7, 8])
            )

    @pytest.mark.parametrize("lazy", [False, True])
    def test_negative_weights_are_refused_when_they_are_read(self, lazy):
        weights = self.WEIGHTS.where(self.WEIGHTS.cumsum("x") < 4, -0.5)
        if lazy:
            weights = weights.chunk(x=1)
        with pytest.raises(ValueError, match=r"weights are 0 or more.*the lowest is -0.5"):
            self.IMAGE.labels.mean(self.MASK, weights=weights).compute()
        outside = self.MASK.where(weights.compute() > 0, 0)
        assert self.IMAGE.labels.mean(outside, weights=weights).values.tolist() == [[1, 1]]

    def test_degrees_of_freedom_and_flox(self):
        with pytest.raises(ValueError, match=r"with weights ddof must be 0, .*; it is 1"):
            self.IMAGE.labels.var(self.MASK, ddof=1, weights=self.WEIGHTS)
        with pytest.raises(ValueError, match="engine='flox' has no weights"):
            self.IMAGE.labels.aggregate(self.MASK, "mean", engine="flox", weights=self.WEIGHTS)

    def test_without_an_image(self):
        with pytest.raises(ValueError, match="weights need an image, and there is none"):
            self.MASK.labels.measure("count", weights=self.WEIGHTS)


class TestOfADataset:
    def field(self) -> xr.Dataset:
        mask = xr.DataArray([[0, 1, 1], [2, 2, 1]], dims=("y", "x"))
        return xr.Dataset({"cells": mask, "DAPI": mask * 1.5, "W": mask * 0.5})

    def test_are_no_image_whether_by_name_or_as_the_variable_itself(self):
        field = self.field()
        for weights in ("W", field["W"]):
            assert list(field.labels.aggregate("cells", "mean", weights=weights)) == ["mean_DAPI"]

    def test_are_looked_at_where_only_the_mask_is_measured(self):
        field = self.field()
        assert list(field.labels.measure("cells", "count", weights="W")) == ["count"]
        with pytest.raises(ValueError, match="no variable 'nope' to use as weights"):
            field.labels.measure("cells", "count", weights="nope")
