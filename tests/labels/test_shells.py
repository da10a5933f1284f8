"""``shells=``: what the masks of the rings, cut out by hand, give."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

import xlabelstats  # noqa: F401
from tests.conftest import blobs
from tests.labels.test_growth import ROUNDING, placed

MEASURES = ("count", "mean", "min", "median", "area", "centroid", "solidity", "intensity_max")


def rings(labels: np.ndarray, bounds: list[tuple[float, float]], side: str, spacing: Any = 1.0) -> list[np.ndarray]:
    """The rings of every label from the one to the other bound, by scipy's distances of the pixels to every label."""
    sampling = np.broadcast_to(spacing, labels.ndim)
    ids = np.unique(labels[labels != 0])
    if side == "inside":
        least, nearest = sum(distance_transform_edt(labels == label, sampling=sampling) for label in ids), labels
    else:
        lengths = np.stack([distance_transform_edt(labels != label, sampling=sampling) for label in ids])
        least = lengths.min(0)
        nearest = ids[(lengths <= least * (1 + 1e-9)).argmax(0)]
    inside = [(least > inner * (1 + ROUNDING)) & (least <= outer * (1 + ROUNDING)) for inner, outer in bounds]
    return [np.where(pixels, nearest, 0).astype(labels.dtype) for pixels in inside]


def image_like(mask: xr.DataArray, channels: int = 2) -> xr.DataArray:
    """An image of some channels over a mask."""
    values = np.random.default_rng(0).random((channels, *mask.shape)) * 50
    coords = {"c": [f"c{i}" for i in range(channels)], **{dim: mask[dim] for dim in mask.dims if dim in mask.coords}}
    return xr.DataArray(values, dims=("c", *mask.dims), coords=coords, name="DAPI")


@pytest.mark.parametrize("side", ["outside", "inside"])
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), chunk=st.sampled_from([None, 1, 5]), spacing=st.sampled_from([1.0, (0.65, 0.5)]))
def test_shells_are_measured_as_masks_of_the_rings(side: str, seed: int, chunk: int | None, spacing: Any) -> None:
    labels = blobs((9, 11), 5, seed)
    mask = placed(labels, spacing)
    image = image_like(mask)
    names = ("count", "mean", "min", "area", "centroid")
    pixels, given_mask = (image, mask) if chunk is None else (image.chunk(x=4), mask.chunk(chunk))
    result = pixels.labels.measure(given_mask, names, shells=[1, 0.65, 1.3], side=side)
    assert result.sizes["shell"] == 3
    np.testing.assert_allclose(result["inner"], [0, 1, 1.65])
    np.testing.assert_allclose(result["outer"], [1, 1.65, 2.95])
    assert result["mean"].dims == ("label", "shell", "c")
    ids = mask.labels.ids()
    np.testing.assert_array_equal(result["label"], ids)
    result = result.drop_vars(["inner", "outer"]).compute()
    for i, one in enumerate(rings(labels, [(0, 1), (1, 1.65), (1.65, 2.95)], side, spacing)):
        expected = image.labels.measure(mask.copy(data=one), names, labels=ids)
        xr.testing.assert_allclose(result.isel(shell=i), expected, rtol=1e-9)


@pytest.mark.parametrize("side", ["outside", "inside"])
def test_real_nuclei_have_shells(nuclei2d: tuple[xr.DataArray, ...], side: str) -> None:
    image, mask = (array[:256, :256] for array in nuclei2d)
    ids = mask.labels.ids()
    result = image.labels.measure(mask, MEASURES, shells=[2, 3], side=side)
    assert result["solidity"].dims == ("label", "shell")
    for i, one in enumerate(rings(mask.values, [(0, 2), (2, 5)], side)):
        expected = image.labels.measure(mask.copy(data=one), MEASURES, labels=ids)
        xr.testing.assert_allclose(result.isel(shell=i).drop_vars(["inner", "outer"]), expected)
    lazy = image.chunk(y=100, x=90).labels.measure(mask.chunk(y=150), MEASURES, shells=[2, 3], side=side)
    assert lazy["mean"].chunks is not None
    xr.testing.assert_allclose(lazy.compute(), result)


def test_an_object_without_a_ring_counts_none() -> None:
    mask = xr.DataArray([0, 4, 5, 6, 6, 6, 0], dims="x")
    image = xr.DataArray(np.arange(7.0), dims="x")
    around = image.labels.measure(mask, ("count", "sum", "mean"), shells=[1, 1])
    assert around["count"].values.tolist() == [[1, 0], [0, 0], [1, 0]]
    assert around["sum"].values.tolist() == [[0, 0], [0, 0], [6, 0]]
    np.testing.assert_array_equal(around["mean"], [[0, np.nan], [np.nan, np.nan], [6, np.nan]])
    within = image.labels.measure(mask, "count", shells=[1, 1], side="inside")
    assert within["count"].values.tolist() == [[1, 0], [1, 0], [2, 1]]


def test_labels_choose_rows_and_their_order() -> None:
    mask = placed(blobs((20, 30), 5))
    image = image_like(mask)
    every = image.labels.measure(mask, ("count", "mean"), shells=2)
    ids = every["label"].values
    some = image.labels.measure(mask, ("count", "mean"), shells=2, labels=[ids[3], 999, ids[0]])
    xr.testing.assert_allclose(some.isel(label=[0, 2]), every.isel(label=[3, 0]))
    assert some["count"].isel(label=1).values.tolist() == [0]
    assert some["label"].values.tolist() == [ids[3], 999, ids[0]]


def test_widths_are_in_the_units_of_all_lengths() -> None:
    mask = placed(blobs((20, 30), 5), 0.5)
    result = mask.labels.measure(("count", "area"), shells=[1, 0.5])
    assert result["outer"].attrs == {"long_name": "where the shell ends, from the edge", "units": "um"}
    in_pixels = mask.labels.measure(("count", "area"), shells=[2, 1], units="pixel")
    assert in_pixels["inner"].attrs["units"] == "pixel"
    np.testing.assert_array_equal(in_pixels["count"], result["count"])
    np.testing.assert_array_equal(in_pixels["area"], in_pixels["count"])
    by_spacing = mask.labels.measure(("count", "area"), shells=[6, 3], spacing=3)
    np.testing.assert_array_equal(by_spacing["count"], result["count"])


def test_a_dataset_has_shells_of_every_image() -> None:
    mask = placed(blobs((20, 30), 5))
    image = image_like(mask)
    field = xr.Dataset({"cells": mask, "a": image, "b": image * 2})
    result = field.labels.measure("cells", ("mean", "area"), shells=[1, 2], side="inside")
    expected = image.labels.measure(mask, ("mean", "area"), shells=[1, 2], side="inside")
    xr.testing.assert_allclose(result["mean_b"].drop_attrs(), (2 * expected["mean"]).drop_attrs())
    xr.testing.assert_identical(result["area"], expected["area"])


def test_every_time_has_its_shells() -> None:
    frames = [blobs((20, 30), 5, seed) for seed in (0, 1)]
    mask = xr.DataArray(np.stack(frames), dims=("t", "y", "x"), coords={"t": [3.0, 7.0]})
    image = xr.DataArray(np.random.default_rng(0).random(mask.shape), dims=mask.dims)
    result = image.labels.measure(mask, ("mean", "count"), shells=[1, 2], per="t")
    for t in (3.0, 7.0):
        rows = result.isel(object=np.flatnonzero(result["t"] == t))
        frame = mask.sel(t=t, drop=True)
        expected = image.isel(t=int(t == 7)).labels.measure(frame, ("mean", "count"), shells=[1, 2])
        np.testing.assert_array_equal(rows["label"], expected["label"])
        np.testing.assert_allclose(rows["mean"], expected["mean"])
        np.testing.assert_array_equal(rows["count"], expected["count"])
    np.testing.assert_array_equal(result["outer"], [1, 3])


def test_weights_weigh_the_pixels_of_shells() -> None:
    mask = placed(blobs((20, 30), 5))
    image = image_like(mask)
    weights = xr.DataArray(np.linspace(1, 2, 30), dims="x")
    result = image.labels.measure(mask, shells=[2], weights=weights)
    (ring,) = rings(mask.values, [(0, 2)], "outside")
    expected = image.labels.measure(mask.copy(data=ring), weights=weights, labels=mask.labels.ids())
    xr.testing.assert_allclose(result.isel(shell=0, drop=True), expected)


def test_a_mask_on_another_grid_has_shells_on_the_images() -> None:
    mask = placed(blobs((20, 30), 5))
    image = image_like(mask).interp(y=np.arange(5, 20, 0.5), x=np.arange(5, 30, 0.5))
    result = image.labels.measure(mask, ("count", "mean"), shells=[1], align="nearest")
    assert (result["count"] > 0).any()
    with pytest.raises(ValueError, match="differ in size"):
        image.labels.measure(mask, "count", shells=[1])


def test_tables_have_a_column_per_shell() -> None:
    mask = xr.DataArray([0, 4, 4, 0, 0], dims="x")
    table = mask.labels.measure("count", shells=[1, 1]).labels.to_dataframe()
    assert table.columns.tolist() == ["count_0", "count_1"]


class TestWhatIsWrong:
    """Complaints, in words that say what to do."""

    @pytest.mark.parametrize("shells", [0, -1, [1, np.nan], [1, np.inf], [1, 0]])
    def test_no_width(self, shells: Any) -> None:
        with pytest.raises(ValueError, match=r"the width of a shell is (0 or )?more"):
            placed(blobs((5, 6), 2)).labels.measure("count", shells=shells)

    @pytest.mark.parametrize("shells", ["1", ["a"], True, [[1, 2]]])
    def test_no_number(self, shells: Any) -> None:
        with pytest.raises(TypeError, match="the width of a shell is a number"):
            placed(blobs((5, 6), 2)).labels.measure("count", shells=shells)

    def test_none_at_all(self) -> None:
        with pytest.raises(ValueError, match="none is given"):
            placed(blobs((5, 6), 2)).labels.measure("count", shells=[])

    def test_no_side(self) -> None:
        with pytest.raises(ValueError, match=r"side is 'outside' or 'inside'.*not 'around'"):
            placed(blobs((5, 6), 2)).labels.measure("count", shells=[1], side="around")

    def test_a_side_of_nothing(self) -> None:
        with pytest.raises(ValueError, match=r"give their widths too: shells=\[1, 2\]"):
            placed(blobs((5, 6), 2)).labels.measure("count", side="inside")

    @pytest.mark.parametrize("options", [{"background": True}, {"labels": [0, 1]}])
    def test_the_background_has_no_edge(self, options: Any) -> None:
        with pytest.raises(ValueError, match="label 0 is the background, which has no edge"):
            placed(blobs((5, 6), 2)).labels.measure("count", shells=[1], **options)

    def test_uneven_coordinates(self) -> None:
        mask = placed(blobs((5, 6), 2)).assign_coords(y=[0, 1, 2, 4, 8])
        with pytest.raises(
            ValueError, match=r"'y' are not evenly spaced.* the width of a shell in pixels: units='pixel'"
        ):
            mask.labels.measure("count", shells=[1])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            mask.labels.measure("count", shells=[1], units="pixel")

    def test_times_are_no_lengths(self) -> None:
        mask = xr.DataArray(blobs((3, 6), 2), dims=("t", "x"), coords={"t": [0, 1, 2]})
        with pytest.raises(ValueError, match=r"the width of a shell is a length.*per='t'.*units='pixel'"):
            mask.labels.measure("count", shells=[1])

    def test_an_image_with_the_names_of_the_result(self) -> None:
        mask = placed(blobs((5, 6), 2))
        with pytest.raises(ValueError, match="'shell', a dim or coordinate of the image"):
            image_like(mask).rename(c="shell").labels.measure(mask, "count", shells=[1])


def test_what_is_told_of_every_shell_is_told_once(nuclei2d):
    image, mask = nuclei2d
    with pytest.warns(UserWarning, match="texture") as told:
        image.astype("u2").labels.measure(mask, "texture_contrast", shells=[3, 4, 5])
    assert len(told) == 1


@pytest.mark.parametrize("options", [{"shells": [1, 1], "side": "inside"}, {"per": "t"}], ids=["shells", "per"])
def test_of_two_ranges_each_is_told(nuclei2d, options):
    image, mask = (xr.concat([array, array], "t") for array in nuclei2d)
    image, mask = (image, mask) if "per" in options else (image.isel(t=0), mask.isel(t=0))
    ranges = [(f"texture_{name}", {"range": (0, high)}) for name, high in (("contrast", 10), ("entropy", 12))]
    with pytest.warns(UserWarning, match="texture: 99 %") as told:
        image.labels.measure(mask, ranges, **options)
    assert len({str(warning.message) for warning in told}) == len(told) == 2
