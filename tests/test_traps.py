"""Natural mistakes that would give wrong numbers without a word: each is said, and once for a call."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import xarray as xr
from calls import CALLS, Call
from conftest import blobs

import xlabelstats

PACKAGE = xlabelstats.__file__.removesuffix("__init__.py")


def warned(call: Callable[[], Any], about: str) -> list[str]:
    """The warnings of a call that are about something, none of which points into the package."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    caught = [w for w in caught if about in str(w.message)]
    assert not [w.filename for w in caught if w.filename.startswith(PACKAGE)]
    return [str(w.message) for w in caught]


def over_time(dim: str = "t", **coords: Any) -> tuple[xr.DataArray, xr.DataArray]:
    """Moving objects, and an image with channels over them."""
    labels = np.stack([np.roll(blobs((12, 14), 6), i, axis=1) for i in range(3)])
    mask = xr.DataArray(labels, dims=(dim, "y", "x"), coords=coords)
    pixels = np.random.default_rng(0).random((2, *labels.shape))
    return xr.DataArray(pixels, dims=("c", *mask.dims), coords=coords), mask


class TestTime:
    POOLS: ClassVar = {name: call for name, call in CALLS.items() if 3 in call.ndim and name != "labels.ids"}

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("call", POOLS.values(), ids=POOLS)
    def test_every_call_that_pools_says_so_once(self, call: Call, lazy: bool) -> None:
        image, mask = over_time()
        image, mask = (image.chunk(t=1, y=5), mask.chunk(t=1, y=5)) if lazy else (image, mask)
        (message,) = warned(lambda: call.run(image, mask), "time dim")
        assert message == (
            "the mask has the time dim 't', and each label is measured over all times together. To measure each time "
            "apart: xr.concat([measure(image.isel(t=i), mask.isel(t=i)) for i in range(mask.sizes['t'])], mask['t'], "
            "join='outer'), where measure is this call, such as lambda image, mask: image.labels.mean(mask)"
        )

    @pytest.mark.parametrize("coord", [None, [0.0, 5.0, 7.0], np.array(["2020", "2021", "2022"], "M8[ns]")])
    def test_the_loop_of_the_message_gives_what_each_time_has(self, coord: Any) -> None:
        image, mask = over_time(**({} if coord is None else {"t": coord}))
        message = warned(lambda: image.labels.mean(mask), "time dim")[0]
        loop = message.partition("apart: ")[2].partition(", where")[0]
        measure = eval(message.partition("such as ")[2])
        result = eval(loop, {"xr": xr, "image": image, "mask": mask, "measure": measure})
        for i in range(3):
            plane = mask.isel(t=i)
            for label in plane.labels.ids():
                expected = image.isel(t=i).values[:, plane.values == label].mean(axis=1)
                np.testing.assert_allclose(result.isel(t=i).sel(label=label), expected)
        if coord is not None:
            np.testing.assert_array_equal(result["t"], mask["t"])

    @pytest.mark.parametrize(
        ("dim", "coord"),
        [
            ("time", None),
            ("T", None),
            ("frame", np.array(["2020", "2021", "2022"], "M8[ns]")),
            ("lag", np.array([1, 2, 3], "m8[ns]")),
        ],
    )
    def test_what_is_time(self, dim: str, coord: Any) -> None:
        image, mask = over_time(dim, **({} if coord is None else {dim: coord}))
        assert len(warned(lambda: mask.labels.count(), f"time dim {dim!r}")) == 1
        if coord is not None:
            assert len(warned(lambda: image.labels.mean(mask.drop_vars(dim)), f"time dim {dim!r}")) == 1

    def test_dates_of_other_calendars_are_time(self) -> None:
        pytest.importorskip("cftime")
        days = xr.date_range("2020", periods=3, calendar="noleap", use_cftime=True)
        assert len(warned(lambda: over_time("day", day=days)[1].labels.count(), "time dim 'day'")) == 1

    def test_what_does_not_pool_is_silent(self) -> None:
        image, mask = over_time()
        values = image.isel(t=0).labels.mean(mask.isel(t=0))
        for call in (
            lambda: image.labels.mean(mask.isel(t=0)),
            lambda: mask.isel(t=[0]).labels.count(),
            lambda: mask.labels.ids(),
            lambda: mask.labels.paint(values),
            lambda: mask.rename(t="z").labels.scan(),
        ):
            assert not warned(call, "")

    @pytest.mark.parametrize("lazy", [False, True])
    def test_lengths_and_times_do_not_mix(self, lazy: bool) -> None:
        image, mask = over_time(t=[0.0, 5.0, 10.0], y=np.arange(12) * 0.5, x=np.arange(14) * 0.5)
        image, mask = (image.chunk(y=5), mask.chunk(y=5)) if lazy else (image, mask)
        for call in (
            lambda: mask.labels.regionprops(),
            lambda: mask.labels.regionprops(properties="axis_major_length"),
            lambda: image.labels.regionprops(mask.drop_vars("t"), "inertia_tensor"),
            lambda: mask.instances.regionprops("area_filled"),
            lambda: mask.instances.radii_and_axes(),
        ):
            with pytest.raises(ValueError, match=r"coordinates along 't' are times.*xr\.concat.*Or measure in pixels"):
                call()
        for call in (
            lambda: mask.labels.regionprops(properties=("num_pixels", "bbox", "centroid", "extent")),
            lambda: image.labels.regionprops(mask, ("intensity_mean", "centroid_weighted", "num_pixels")),
            lambda: mask.labels.regionprops(properties="area", spacing=1),
            lambda: mask.instances.regionprops("euler_number"),
            lambda: mask.instances.radii_and_axes(units="pixel"),
            lambda: mask.labels.center_of_mass(),
            lambda: mask.drop_vars("t").labels.regionprops(),
        ):
            assert len(warned(call, "time dim 't'")) == 1

    def test_the_message_of_lengths(self) -> None:
        mask = over_time(t=[0.0, 5.0, 10.0])[1]
        with pytest.raises(ValueError, match="radius") as error:
            mask.instances.radii_and_axes()
        assert str(error.value) == (
            "radius is a length or is made of lengths, and the coordinates along 't' are times, which do not add to "
            "lengths. Measure each time apart: xr.concat([measure(image.isel(t=i), mask.isel(t=i)) for i in "
            "range(mask.sizes['t'])], mask['t'], join='outer'), where measure is this call, such as lambda image, "
            "mask: image.labels.mean(mask). Or measure in pixels: units='pixel'"
        )

    def test_what_is_wrong_is_said_before_what_may_surprise(self) -> None:
        image, mask = over_time()
        with pytest.raises(ValueError, match="the image has no dim 't'"):
            image.isel(t=0).labels.mean(mask)
        with pytest.raises(ValueError, match="unknown property"):
            mask.labels.regionprops(properties="aera")
