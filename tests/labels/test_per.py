"""``per=``: every label apart at every position along dims of the mask, as a loop over the positions has it."""

from __future__ import annotations

import inspect
import itertools
import warnings
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import regionprops_table

import xlabelstats
from tests.calls import SHAPES, SHORTCUTS, STATS, WEIGHED, extent, features, of_box
from tests.conftest import blobs
from xlabelstats.accessors import InstancesAccessor, LabelsAccessor
from xlabelstats.labels import mask_scan

QUANTILES = (0, 0.25, 1)


def one_by_one(image: xr.DataArray, mask: xr.DataArray, **options: Any) -> xr.Dataset:
    """The statistics, each by the call of its name."""
    results = [getattr(image.labels, name)(mask, **options) for name in SHORTCUTS]
    return xr.Dataset({result.name: result for result in results})


# Calls of an image and a mask with options.
CALLS: dict[str, Callable[..., Any]] = {
    "aggregate": lambda i, m, **o: i.labels.aggregate(m, STATS, **o),
    "aggregate(median, mode)": lambda i, m, **o: i.labels.aggregate(m, ("median", "mode", "p95", "mean"), **o),
    "statistics one by one": one_by_one,
    "measure": lambda i, m, **o: i.labels.measure(m, ("mean", "median", "area", "centroid", "solidity", "p90"), **o),
    "measure of the mask": lambda i, m, **o: m.labels.measure(("area", "eccentricity", "euler_number"), **o),
    "count": lambda i, m, **o: m.labels.count(**o),
    "center_of_mass": lambda i, m, **o: m.labels.center_of_mass(**o),
    "center_of_mass of the image": lambda i, m, **o: m.labels.center_of_mass(i, **o),
    "regionprops": lambda i, m, **o: i.labels.regionprops(m, SHAPES + WEIGHED, **o),
    "median": lambda i, m, **o: i.labels.median(m, **o),
    "quantile": lambda i, m, **o: i.labels.quantile(m, 0.3, **o),
    "quantiles": lambda i, m, **o: i.labels.quantiles(m, QUANTILES, **o),
    "instances.quantiles": lambda i, m, **o: i.instances.quantiles(m, QUANTILES, **o),
    "instances.median": lambda i, m, **o: i.instances.median(m, **o),
    "instances.regionprops": lambda i, m, **o: m.instances.regionprops(("area_filled", "euler_number", "area"), **o),
    "instances.radii_and_axes": lambda i, m, **o: m.instances.radii_and_axes(**o),
    "instances.statistics": lambda i, m, **o: i.instances.statistics(m, extent, dims={"s": 2}, **o),
    "instances.statistics of the mask": lambda i, m, **o: m.instances.statistics(of_box, dims={"s": ["n", "box"]}, **o),
}
WINDOWS: dict[str, Callable[..., Any]] = {
    "windows": lambda i, m, **o: i.instances.windows(m, 27, **o),
    "windows of the mask": lambda i, m, **o: m.instances.windows({"x": 27}, **o),
    "windows with their surroundings": lambda i, m, **o: i.instances.windows(m, 27, remove_background=False, **o),
    "featurize": lambda i, m, **o: i.instances.featurize(m, features, size=27, n_features=2, **o),
    "featurize the mask": lambda i, m, **o: m.instances.featurize(features, size=27, n_features=2, batch_size=3, **o),
}


def series(
    times: int = 4, shape: tuple[int, ...] = (17, 19), n: int = 7, seed: int = 0
) -> tuple[xr.DataArray, xr.DataArray]:
    """An image (t, c, y, x) and objects that come and go, none in the second frame."""
    rng = np.random.default_rng(seed)
    labels = np.stack([np.roll(blobs(shape, n, seed + i // 2), 2 * i, axis=1) for i in range(times)])
    labels[(labels == rng.integers(1, 3 * n, times).reshape(-1, 1, 1)) & (labels % 2 == 0)] = 0
    labels[1:2] = 0
    coords = {"t": np.arange(times) * 2.5, "phase": ("t", [f"phase {i // 2}" for i in range(times)])}
    mask = xr.DataArray(labels, dims=("t", "y", "x"), coords=coords, name="cells")
    pixels = rng.integers(0, 4000, (times, 2, *shape)).astype("u2")
    return xr.DataArray(pixels, dims=("t", "c", "y", "x"), coords={**coords, "c": ["A", "B"]}, name="stain"), mask


def in_chunks(array: xr.DataArray, lazy: bool) -> xr.DataArray:
    return array.chunk({"t": 3, "y": 7, "x": 5}) if lazy else array


@cache
def the_series(lazy: bool) -> list[xr.DataArray]:
    """The same image and mask in all tests, so that they are scanned once."""
    return [in_chunks(array, lazy) for array in series()]


@cache
def at_each_time(lazy: bool) -> list[tuple[xr.DataArray, xr.DataArray]]:
    """The parts of the series at every time, the same ones in all tests, so that each is scanned once."""
    image, mask = the_series(lazy)
    return [(image.isel(t=i, drop=True), mask.isel(t=i, drop=True)) for i in range(mask.sizes["t"])]


def by_loop(call: Callable[..., Any], image: xr.DataArray, mask: xr.DataArray, dim: str = "t", **options: Any) -> Any:
    """What the call gives at every position, one by one."""
    return [
        call(image.isel({dim: i}, drop=True), mask.isel({dim: i}, drop=True), **options) for i in range(mask.sizes[dim])
    ]


def check(result: Any, frames: list[Any], exact: bool = True) -> None:
    """The rows of the result are those of the frames, one after the other."""
    result, frames = dask.compute(result, frames)
    if isinstance(result, xr.DataArray):
        assert result.name == frames[0].name
        name = "value"
        result, frames = result.rename(name).to_dataset(), [frame.rename(name).to_dataset() for frame in frames]
    assert list(result) == list(frames[0])
    assert "label" not in result.dims
    same = np.testing.assert_array_equal if exact else np.testing.assert_allclose
    for name in result:
        assert result[name].dims == tuple("object" if dim == "label" else dim for dim in frames[0][name].dims)
        assert result[name].dtype == frames[0][name].dtype
        same(result[name].values, np.concatenate([frame[name].values for frame in frames]), err_msg=str(name))
    np.testing.assert_array_equal(result["label"], np.concatenate([frame["label"].values for frame in frames]))
    for name in set(frames[0].coords) - {"label", "phase"}:
        np.testing.assert_array_equal(result[name], frames[0][name])


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("options", [{}, {"background": True}, {"labels": [9, 2, 0, 5]}], ids=["", "0", "labels"])
def test_every_call_is_the_loop_over_time(call, lazy, options):
    image, mask = the_series(lazy)
    if options.get("labels") and call is CALLS["aggregate(median, mode)"]:
        image = image.astype(float)
    result = call(image, mask, per="t", **options)
    assert dask.is_dask_collection(result) == lazy
    frames = [call(pixels.astype(image.dtype), labels, **options) for pixels, labels in at_each_time(lazy)]
    check(result, frames)
    np.testing.assert_array_equal(result["t"], np.repeat(mask["t"], [frame.sizes["label"] for frame in frames]))
    np.testing.assert_array_equal(result["phase"], np.repeat(mask["phase"], [frame.sizes["label"] for frame in frames]))


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("call", WINDOWS.values(), ids=WINDOWS)
def test_windows_and_features_are_those_of_the_loop_over_time(call, lazy):
    image, mask = the_series(lazy)
    check(call(image, mask, per="t"), [call(*frame) for frame in at_each_time(lazy)])


@pytest.mark.parametrize("lazy", [False, True])
def test_windows_without_a_size_hold_the_objects_of_all_times(lazy):
    image, mask = series()
    whole = in_chunks(image, lazy).instances.windows(in_chunks(mask, lazy), per="t")
    count = mask.labels.count(per="t")
    assert (whole["mask"] > 0).sum(("y", "x")).values.tolist() == [
        count.values[(count.t == t) & (count.label == n)].item()
        for t, n in zip(whole.t.values, whole.label.values, strict=True)
    ]
    sizes = [frame.sizes for frame in by_loop(lambda i, m: i.instances.windows(m), image, mask)]
    assert {dim: whole.sizes[dim] for dim in "yx"} == {dim: max(size[dim] for size in sizes) for dim in "yx"}


@pytest.mark.parametrize("lazy", [False, True])
def test_requested_windows_are_those_that_there_are(lazy):
    image, mask = series()
    present = [np.unique(frame) for frame in mask.values]
    wanted = [int(label) for label in sorted(set(np.unique(mask)) - {0}, reverse=True)[:3]]
    windows = in_chunks(image, lazy).instances.windows(in_chunks(mask, lazy), 27, labels=wanted, per="t")
    rows = [(t, label) for t, here in zip(mask.t.values, present, strict=True) for label in wanted if label in here]
    assert sorted(zip(windows.t.values, windows.label.values, strict=True)) == sorted(rows)
    with pytest.raises(ValueError, match="the mask has no label 777 at any position, so there is no window"):
        image.instances.windows(mask, 5, labels=[777], per="t")


def test_a_warning_of_cropped_windows_counts_those_of_all_times():
    image, mask = series()
    n = mask.labels.count(per="t").size
    with pytest.warns(UserWarning, match=f"of {n} objects reach beyond their window of 2 x 2 pixels") as caught:
        image.instances.windows(mask, 2, per="t")
    assert len(caught) == 1


def test_other_warnings_are_given_once_and_say_where():
    frames = np.zeros((3, 1, 8), bool)
    frames[1:, 0, ::2] = True
    with pytest.warns(UserWarning, match="at position 1 along 't': the bool mask has 4 components") as caught:
        xr.DataArray(frames, dims=("t", "y", "x")).labels.count(per="t")
    assert len(caught) == 1


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_order_of_dims_and_any_chunks_give_the_loop(data):
    sizes = {dim: data.draw(st.integers(1, 5)) for dim in ("s", "z", "y", "x")[data.draw(st.integers(0, 1)) :]}
    dims = data.draw(st.permutations(list(sizes)))
    per = data.draw(st.lists(st.sampled_from(dims), min_size=1, max_size=len(dims) - 1, unique=True))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    dtype = data.draw(st.sampled_from(["u1", "i8", "u8", "i2"]))
    mask = xr.DataArray(rng.integers(0, 4, [sizes[dim] for dim in dims]).astype(dtype), dims=dims)
    order = data.draw(st.permutations([*dims, "c"]))
    pixels = rng.normal(3, 1, [(sizes | {"c": 2})[dim] for dim in order])
    pixels = pixels.astype(data.draw(st.sampled_from(["f4", "f8"])))
    pixels[rng.random(pixels.shape) < 0.1] = np.nan
    image = xr.DataArray(pixels, dims=order)
    background = data.draw(st.booleans())
    if data.draw(st.booleans()):
        image, mask = (
            array.chunk({dim: data.draw(st.integers(1, 3)) for dim in array.dims}) for array in (image, mask)
        )
    result = image.labels.aggregate(mask, ("mean", "count", "max", "median"), per=per, background=background)
    result = result.compute()
    rows = []
    for place in itertools.product(*(range(sizes[dim]) for dim in per)):
        here = dict(zip(per, place, strict=True))
        labels, cells = mask.isel(here).values, image.isel(here).transpose("c", *mask.isel(here).dims).values
        for label in np.unique(labels):
            if label or background:
                rows.append((*place, int(label), cells[:, labels == label].astype(float)))
    names = [*zip(*(result[dim].values for dim in per), result["label"].values, strict=True)]
    assert names == [row[:-1] for row in rows]
    np.testing.assert_array_equal(result["count"], [row[-1].shape[1] for row in rows])
    oracles = {"mean": np.nanmean, "max": np.nanmax, "median": np.nanmedian}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for name, oracle in oracles.items():
            expected = np.array([oracle(row[-1], axis=1) for row in rows]).reshape(-1, 2)
            np.testing.assert_allclose(result[name].values, expected, rtol=1e-12)


def test_several_dims_are_sorted_in_the_order_in_which_they_are_named():
    rng = np.random.default_rng(0)
    mask = xr.DataArray(rng.integers(0, 3, (3, 2, 4, 5)), dims=("t", "s", "y", "x"), coords={"s": ["left", "right"]})
    count = mask.labels.count(per=("s", "t"))
    expected = [
        (s, t, label, int((mask.sel(s=s).isel(t=t) == label).sum()))
        for s in ("left", "right")
        for t in range(3)
        for label in (1, 2)
    ]
    assert [*zip(count.s.values, count.t.values, count.label.values, count.values, strict=True)] == expected
    assert list(count.coords) == ["s", "t", "label"]


def test_nuclei_in_slices_are_scikit_images(nuclei3d):
    image, mask = nuclei3d
    measures = ("area", "centroid", "std")
    result = image.chunk(z=8, y=40).labels.measure(mask.chunk(z=8, x=40), measures, per="z").compute()
    rows = 0
    for z, (pixels, labels) in enumerate(zip(image.values, mask.values, strict=True)):
        table = regionprops_table(labels, pixels, ("label", "area", "centroid", "intensity_std"))
        here = result.isel(object=result["z"] == z)
        np.testing.assert_array_equal(here["label"], table["label"])
        np.testing.assert_array_equal(here["area"], table["area"])
        np.testing.assert_allclose(here["centroid"].sel(axis="x"), table["centroid-1"], rtol=1e-12)
        np.testing.assert_allclose(here["std"], table["intensity_std"], rtol=1e-9)
        rows += len(table["label"])
    assert result.sizes["object"] == rows
    assert result["centroid"]["axis"].values.tolist() == ["y", "x"]


class TestResult:
    def test_is_made_dense_by_unstack(self):
        image, mask = series()
        for lazy in (False, True):
            result = in_chunks(image, lazy).labels.mean(in_chunks(mask, lazy), per="t")
            dense = result.set_index(object=("t", "label")).unstack("object")
            for t, frame in enumerate(by_loop(lambda i, m: i.labels.mean(m), image, mask)):
                if frame.sizes["label"]:
                    one = dense.sel(t=mask.t[t]).reindex(label=mask.labels.ids())
                    xr.testing.assert_allclose(
                        one.transpose("label", "c").drop_vars(("t", "phase")), frame.reindex(label=mask.labels.ids())
                    )

    def test_goes_to_zarr_and_comes_back(self, tmp_path):
        image, mask = series()
        times = pd.date_range("2024-01-01", periods=4, unit="ns")
        image, mask = image.assign_coords(t=times), mask.assign_coords(t=times)
        result = in_chunks(image, True).labels.aggregate(in_chunks(mask, True), per="t")
        result.to_zarr(tmp_path / "plain.zarr")
        xlabelstats.to_zarr(result, tmp_path / "whole.zarr")
        for path in ("plain.zarr", "whole.zarr"):
            back = xr.open_zarr(tmp_path / path)
            xr.testing.assert_equal(back.compute(), result.compute())
            pd.testing.assert_frame_equal(back.labels.to_dataframe(), result.labels.to_dataframe(), check_like=True)

    def test_is_a_long_table_with_a_row_per_time_and_label(self):
        image, mask = series()
        result = image.labels.aggregate(mask, ("count", "mean"), per="t")
        table = result.labels.to_dataframe("cell")
        assert table.index.names == ["t", "cell"]
        assert table.columns.tolist() == ["count", "mean_A", "mean_B"]
        np.testing.assert_array_equal(table.reset_index()["t"], result["t"])
        t, label = table.index[-1]
        pixels = image.sel(t=t, c="B").values[mask.sel(t=t).values == label]
        assert table.loc[(t, label), "mean_B"] == pytest.approx(pixels.mean(), rel=1e-12)
        assert result["mean"].labels.to_dataframe().index.names == ["t", "label"]

    def test_is_an_annotated_table_with_columns_of_time_and_label(self):
        pytest.importorskip("anndata")
        image, mask = series()
        result = image.labels.aggregate(mask, ("count", "mean", "max"), per="t")
        centres = mask.labels.center_of_mass(per="t")
        table = result.labels.to_anndata(centroids=centres.isel(object=slice(None, None, -1)))
        assert table.obs.columns.tolist() == ["t", "label", "phase", "count"]
        assert table.obs_names.tolist() == [
            f"{t}_{label}" for t, label in zip(result.t.values, result.label.values, strict=True)
        ]
        np.testing.assert_array_equal(table.X, result["mean"])
        np.testing.assert_array_equal(table.obsm["spatial"], centres.sel(axis=["x", "y"]))

    def test_keeps_the_coordinates_along_the_dims_and_no_others_of_them(self):
        image, mask = series()
        t = ("t", np.arange(4) * 2.5, {"units": "min"})
        image = image.assign_coords(t=t, tilt=(("t", "c"), np.zeros((4, 2))), scope=3, gain=("c", [1, 2])).chunk(t=1)
        result = image.labels.mean(mask, per="t")
        assert set(result.coords) == {"t", "label", "phase", "c", "scope", "gain"}
        assert result["t"].attrs == {"units": "min"}
        assert result["t"].dims == result["phase"].dims == ("object",)

    def test_is_written_in_large_chunks_of_rows_and_not_one_per_time(self):
        image, mask = series(9)
        image, mask = in_chunks(image, True), in_chunks(mask, True)
        result = image.labels.aggregate(mask, per="t")
        assert {len(variable.chunks[0]) for variable in result.values()} == {1}
        windows = image.instances.windows(mask, 27, batch_size=4, per="t")
        n = windows.sizes["object"]
        sizes = (*[4] * (n // 4), *[n % 4] * (n % 4 > 0))
        assert windows["image"].chunks[0] == windows["mask"].chunks[0] == sizes
        with dask.config.set(scheduler="sync"):
            batches: list[int] = []
            options = {"size": 27, "n_features": 2, "batch_size": 4, "per": "t"}
            image.instances.featurize(mask, lambda b: batches.append(len(b)) or b.max((2, 3)), **options).compute()
        assert sorted(batches) == sorted(sizes)


@pytest.mark.parametrize("lazy", [False, True])
def test_without_any_time_there_is_a_result_without_rows(lazy):
    image, mask = (in_chunks(array, lazy).isel(t=slice(0, 0)) for array in series())
    full = image.dtype
    for call in (*CALLS.values(), *WINDOWS.values()):
        result = call(image, mask, per="t")
        assert result.sizes["object"] == 0
        assert result["t"].dtype == float
    assert image.labels.max(mask, per="t").dtype == full
    assert image.labels.max(mask, per="t", labels=[1, 2]).shape == (0, 2)


@pytest.mark.parametrize("lazy", [False, True])
def test_without_any_label_there_is_a_result_without_rows(lazy):
    image, mask = series()
    image, mask = in_chunks(image, lazy), in_chunks(xr.zeros_like(mask), lazy)
    for call in (*CALLS.values(), *WINDOWS.values()):
        assert call(image, mask, per="t").sizes["object"] == 0


class TestPaint:
    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("dims", list(itertools.permutations("tyx")))
    def test_every_pixel_has_the_value_of_its_label_at_its_time(self, dims, lazy):
        image, mask = series()
        turned = in_chunks(mask.transpose(*dims), lazy)
        mean = in_chunks(image, lazy).labels.mean(turned, per="t")
        painted = turned.labels.paint(mean.isel(object=np.random.default_rng(0).permutation(mean.sizes["object"])))
        assert dask.is_dask_collection(painted.data) == lazy
        assert painted.dims == ("c", *dims)
        expected = np.full(painted.transpose("t", "c", "y", "x").shape, np.nan)
        for t, (labels, pixels) in enumerate(zip(mask.values, image.values, strict=True)):
            for label in np.unique(labels[labels > 0]):
                expected[t][:, labels == label] = pixels[:, labels == label].mean(axis=1, keepdims=True)
        np.testing.assert_allclose(painted.transpose("t", "c", "y", "x"), expected, rtol=1e-12)

    def test_of_a_column_of_the_table_is_that_of_the_result(self):
        image, mask = series()
        mean = image.labels.mean(mask, per="t")
        table = mean.labels.to_dataframe()
        xr.testing.assert_equal(
            mask.labels.paint(table["mean_B"]).drop_vars("c", errors="ignore"),
            mask.labels.paint(mean.sel(c="B")).drop_vars("c"),
        )
        large = table["mean_B"].gt(2000).map({True: "large", False: "small"})
        painted = mask.labels.paint(large, fill_value=-1)
        assert painted.attrs["classes"] == ["large", "small"]
        np.testing.assert_array_equal(painted > -1, mask > 0)

    def test_along_several_dims(self):
        mask = xr.DataArray(np.random.default_rng(0).integers(0, 3, (3, 4, 2, 5)), dims=("t", "y", "s", "x"))
        count = mask.labels.count(per=("s", "t"))
        for m in (mask, mask.chunk(t=2, s=1, x=2)):
            painted = m.labels.paint(count)
            for t, s in np.ndindex(3, 2):
                one = mask.isel(t=t, s=s)
                np.testing.assert_array_equal(painted.isel(t=t, s=s), one.labels.paint(one.labels.count()))

    def test_of_what_does_not_fit_is_an_error(self):
        mask = series()[1]
        count = mask.labels.count(per="t")
        with pytest.raises(ValueError, match=r"the values are of 't' = 2.5|the values are of 't' = 5.0"):
            mask.isel(t=[0]).labels.paint(count)
        with pytest.raises(ValueError, match="along 't', which is no dim of the mask"):
            mask.isel(t=0).labels.paint(count)
        with pytest.raises(ValueError, match=r"there are two values of t = 0.0, label = \d+"):
            mask.labels.paint(xr.concat([count, count], "object"))
        with pytest.raises(ValueError, match="no coordinates that give the label and the position"):
            mask.labels.paint(count.drop_vars("label"))


class TestPer:
    @pytest.mark.parametrize(
        ("per", "message"),
        [
            ("q", r"per names 'q', the mask has the dims \('t', 'y', 'x'\)"),
            ("c", "per names 'c', a dim of the image alone, along which all is measured apart anyway"),
            (("t", "y", "t"), "per names each dim once, but 't' is given 2 times"),
            (("t", "y", "x"), "per names all dims of the mask"),
            ((), "per names no dim"),
        ],
    )
    def test_is_some_dims_of_the_mask(self, per, message):
        image, mask = series()
        with pytest.raises(ValueError, match=message):
            image.labels.mean(mask, per=per)

    def test_needs_the_name_object(self):
        image, mask = series()
        with pytest.raises(ValueError, match="the image already has a dim 'object'"):
            image.rename(c="object").labels.mean(mask, per="t")
        with pytest.raises(ValueError, match="the mask already has a coord 'object'"):
            mask.assign_coords(object=3).labels.count(per="t")
        with pytest.raises(ValueError, match="'count', a dim or coordinate of the image, is a name of the result"):
            image.rename(t="count").labels.aggregate(mask.rename(t="count"), "count", per="count")

    def test_of_a_mismatch_is_the_usual_complaint(self):
        image, mask = series()
        with pytest.raises(ValueError, match="image and mask differ in size: 't' is 4 in the image and 3 in the mask"):
            image.labels.mean(mask.isel(t=slice(3)), per="t")
        with pytest.raises(ValueError, match="the coordinates of image and mask differ along 't'"):
            image.labels.mean(mask.assign_coords(t=range(4)), per="t")
        with pytest.raises(TypeError, match="a mask holds integer labels"):
            image.labels.mean(mask.astype(float), per="t")

    def test_comes_after_labels_and_background_in_every_call_that_takes_labels(self):
        for accessor in (LabelsAccessor, InstancesAccessor):
            for name, call in inspect.getmembers(accessor, inspect.isfunction):
                parameters = list(inspect.signature(call).parameters)
                # What QuPath reads is of one plane.
                if "labels" in parameters and not name.startswith("_") and name != "to_qupath":
                    before = "background" if "background" in parameters else "labels"
                    assert parameters[parameters.index(before) + 1] == "per", name


class Counted:
    """An array that counts how often each of its blocks is read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.reads = array, Counter[Any]()
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __getitem__(self, key: Any) -> np.ndarray:
        self.reads[str(key)] += self.array[key].size > 0
        return self.array[key]

    def blocks_read(self) -> set[int]:
        """How often the blocks were read."""
        return {n for n in self.reads.values() if n}


@pytest.mark.parametrize(("memory", "reads"), [(0, 2), (2**28, 1)])
def test_every_block_is_read_once_to_find_the_labels_and_without_memory_for_them_once_to_measure(memory, reads):
    with xlabelstats.set_options(mask_memory=memory):
        assert_reads(reads)


def assert_reads(reads: int) -> None:
    image, mask = series(6)
    stored = Counted(image.values), Counted(mask.values)
    lazy = [
        array.copy(data=da.from_array(store, chunks=tuple(3 if dim == "t" else 9 for dim in array.dims)))
        for array, store in zip((image, mask), stored, strict=True)
    ]
    result = lazy[0].labels.aggregate(lazy[1], per="t")
    assert stored[1].blocks_read() == {1}
    assert stored[0].blocks_read() == set()
    lazy[0].labels.mean(lazy[1], per="t")
    assert stored[1].blocks_read() == {1}
    result.compute()
    assert stored[0].blocks_read() == {1}
    assert stored[1].blocks_read() == {reads}


def test_what_is_found_at_more_times_than_scans_are_remembered_is_found_in_one_compute():
    times = 3 * mask_scan.memory.size
    mask = xr.DataArray(np.random.default_rng(0).integers(0, 4, (times, 5, 6)), dims=("t", "y", "x")).chunk(t=1)
    image = mask * 2.0
    computed = Counter[str]()
    original = mask_scan.compute_each

    def counting(collections: Any) -> Any:
        computed["times"] += 1
        return original(collections)

    mask_scan.compute_each = counting
    try:
        image.labels.mean(mask, per="t")
        image.labels.max(mask, per="t", background=False)
        assert computed["times"] == 1
        image.instances.windows(mask, per="t")
        mask.instances.windows(13, per="t")
        assert computed["times"] == 2
    finally:
        mask_scan.compute_each = original


def test_a_graph_has_few_layers_however_many_times_there_are():
    layers = []
    for times in (3, 30):
        image, mask = (array.chunk(t=1) for array in series(times))
        result = image.labels.aggregate(mask, per="t")
        layers.append(max(len(variable.data.dask.layers) for variable in result.values()))
    assert layers[0] == layers[1]


class TestDataset:
    CALLS = (
        lambda accessor, m, **o: accessor.labels.aggregate(*m, ("count", "mean"), **o),
        lambda accessor, m, **o: accessor.labels.median(*m, **o),
        lambda accessor, m, **o: accessor.labels.regionprops(*m, ("area", "intensity_mean"), **o),
        lambda accessor, m, **o: accessor.labels.measure(*m, ("area", "max", "median"), **o),
        lambda accessor, m, **o: accessor.instances.statistics(*m, extent, dims={"s": 2}, **o),
    )

    @pytest.mark.parametrize("lazy", [False, True])
    def test_gives_what_each_of_its_images_gives(self, lazy):
        image, mask = (in_chunks(array, lazy) for array in series())
        images = {"stain": image, "other": image.astype(float) + 1}
        dataset = xr.Dataset({"cells": mask, **images})
        for call in self.CALLS:
            result = call(dataset, ["cells"], per="t").compute()
            assert list(result.coords)[:2] == ["t", "label"]
            for name, one in images.items():
                alone = call(one, [mask], per="t")
                alone = (alone.to_dataset() if isinstance(alone, xr.DataArray) else alone).compute()
                for each in alone:
                    np.testing.assert_array_equal(result.get(f"{each}_{name}", result.get(each)), alone[each])

    def test_has_the_windows_of_its_images_in_one_order(self):
        image, mask = series()
        dataset = xr.Dataset({"cells": mask, "a": image.chunk(t=1, y=4, x=9), "b": image.chunk(t=4, y=20, x=2) * 2})
        windows = dataset.instances.windows("cells", 27, per="t")
        np.testing.assert_array_equal(windows["image_a"] * 2, windows["image_b"])
        assert windows.sizes["object"] == mask.labels.count(per="t").size

    def test_reads_the_mask_alone_as_the_mask_does(self):
        image, mask = series()
        dataset = xr.Dataset({"cells": mask, "stain": image})
        xr.testing.assert_identical(dataset.labels.count("cells", per="t"), mask.labels.count(per="t"))
        centre = dataset.labels.center_of_mass("cells", "stain", per="t")
        xr.testing.assert_identical(centre, mask.labels.center_of_mass(image, per="t"))
        radii = dataset.instances.radii_and_axes("cells", per="t")
        xr.testing.assert_identical(radii, mask.instances.radii_and_axes(per="t"))
        tree = xr.DataTree.from_dict({"scale0": xr.Dataset({"image": mask})})
        xr.testing.assert_equal(tree.labels.count(per="t"), mask.labels.count(per="t"))
        xr.testing.assert_equal(image.labels.mean(tree, per="t"), image.labels.mean(mask, per="t"))


class TestOtherOptions:
    @pytest.mark.parametrize("lazy", [False, True])
    def test_bins_are_those_of_the_whole_image_at_every_position(self, lazy):
        rng = np.random.default_rng(0)
        mask = xr.DataArray(rng.integers(0, 3, (3, 20, 20)), dims=("t", "y", "x"))
        image = xr.DataArray(rng.normal(size=(3, 20, 20)) * [[[1]], [[5]], [[9]]], dims=("t", "y", "x"))
        limits = (float(image.min()), float(image.max()))
        given = {"range": limits} if lazy else {}
        pixels, labels = (image.chunk(t=1, y=7), mask.chunk(y=9)) if lazy else (image, mask)
        counts = pixels.labels.histogram(labels, 16, per="t", **given).compute()
        entropy = pixels.labels.measure(labels, ("mean", ("entropy", given)), per="t")["entropy"].compute()
        assert counts["bin_left"].values[0] == limits[0]
        for row, (t, label) in enumerate(zip(counts["t"].values, counts["label"].values, strict=True)):
            inside = image.values[t][mask.values[t] == label]
            np.testing.assert_array_equal(counts[row], np.histogram(inside, 16, limits)[0])
            shares = np.histogram(inside, 256, limits)[0] / inside.size
            np.testing.assert_allclose(entropy[row], -(shares[shares > 0] * np.log2(shares[shares > 0])).sum())

    def test_correlations_are_apart_too(self):
        rng = np.random.default_rng(0)
        mask = xr.DataArray(rng.integers(0, 3, (3, 9, 9)), dims=("t", "y", "x"))
        image = xr.DataArray(rng.normal(size=(2, 3, 9, 9)), dims=("c", "t", "y", "x"))
        found = image.labels.correlation(mask, per="t")["pearson"]
        for row, (t, label) in enumerate(zip(found["t"].values, found["label"].values, strict=True)):
            pixels = image.values[:, t][:, mask.values[t] == label]
            np.testing.assert_allclose(found[row], np.corrcoef(pixels))

    @pytest.mark.parametrize("lazy", [False, True])
    def test_a_mask_on_another_grid_is_aligned_before(self, lazy):
        rng = np.random.default_rng(0)
        along = {"y": np.arange(4) * 2.0, "x": np.arange(5) * 2.0}
        mask = xr.DataArray(rng.integers(0, 3, (3, 4, 5)), {"t": [0, 5, 9], **along}, ("t", "y", "x"))
        fine = {"y": np.arange(8.0), "x": np.arange(10.0)}
        image = xr.DataArray(rng.normal(size=(3, 8, 10)), {"t": [0, 5, 9], **fine}, ("t", "y", "x"))
        # Of two pixels as near the first counts.
        known = mask.values.repeat(2, axis=1).repeat(2, axis=2)
        pixels, labels = (image.chunk(t=1, y=3), mask.chunk(x=2)) if lazy else (image, mask)
        found = pixels.labels.aggregate(labels, ("count", "mean"), per="t", align="nearest").compute()
        for row, (t, label) in enumerate(zip(found["t"].values, found["label"].values, strict=True)):
            inside = image.sel(t=t).values[known[[0, 5, 9].index(t)] == label]
            assert found["count"].values[row] == inside.size
            np.testing.assert_allclose(found["mean"].values[row], inside.mean())

    def test_results_have_attributes_that_every_file_can_hold(self):
        mask = xr.DataArray([[1, 1, 2], [2, 2, 1]], dims=("t", "x"))
        found = mask.labels.measure("count", per="t")
        assert found["label"].attrs["per"] == "t"
        assert list(found.labels.to_dataframe().index.names) == ["t", "label"]

    @pytest.mark.parametrize(
        "call",
        [
            lambda i, m, **o: i.labels.median(m, **o),
            lambda i, m, **o: i.labels.regionprops(m, ("area", "intensity_max"), **o),
            lambda i, m, **o: i.instances.regionprops(m, "solidity", **o),
            lambda i, m, **o: i.labels.correlation(m, **o),
            lambda i, m, **o: i.labels.histogram(m, 4, range=(-3, 3), **o),
        ],
    )
    def test_every_call_aligns_a_mask_before(self, call):
        rng = np.random.default_rng(0)
        along = {"t": [0, 5], "y": np.arange(8.0), "x": np.arange(10.0)}
        image = xr.DataArray(rng.normal(size=(2, 2, 8, 10)), {"c": [0, 1], **along}, ("c", "t", "y", "x"))
        coarse = {"t": [0, 5], "y": np.arange(4) * 2 + 0.5, "x": np.arange(5) * 2 + 0.5}
        mask = xr.DataArray(rng.integers(0, 3, (2, 4, 5)), coarse, ("t", "y", "x"))
        fine = xr.DataArray(mask.values.repeat(2, axis=1).repeat(2, axis=2), along, ("t", "y", "x"))
        xr.testing.assert_identical(call(image, mask, per="t", align="nearest"), call(image, fine, per="t"))

    def test_quantiles_of_a_dataset_are_apart_too(self):
        mask = xr.DataArray(np.array([[[0, 1], [1, 2]], [[1, 1], [0, 2]]], "u1"), dims=("t", "y", "x"))
        image = xr.DataArray(np.arange(8.0).reshape(2, 2, 2), dims=("t", "y", "x"))
        found = xr.Dataset({"i": image, "m": mask}).labels.quantiles("m", [0.5], per="t")["quantiles_i"]
        np.testing.assert_array_equal(found[:, 0], [1.5, 3, 4.5, 7])

    def test_a_time_mask_is_told_of_per_where_a_measure_is_for_fewer_dims(self):
        mask = xr.DataArray(np.ones((2, 3, 3), int), dims=("t", "y", "x"))
        with pytest.raises(NotImplementedError, match=r"perimeter is defined for 2-D masks only; .* per='t'"):
            mask.labels.measure("perimeter")
