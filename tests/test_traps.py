"""Natural mistakes that would give wrong numbers without a word: each is said, and once for a call."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from calls import CALLS, Call
from conftest import blobs
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi

import xlabelstats.pipeline

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
    # What these say in place of ``per=``, which they do not have.
    WITHOUT_PER: ClassVar = {
        "labels.scan": "labels.scan()",
        "labels.expand": "labels.expand(1)",
        "labels.shrink": "labels.shrink(0)",
        "labels.distance_to": "labels.distance_to(other.isel(t=i), ...)",
        "labels.overlap": "labels.overlap(other.isel(t=i))",
        "labels.relate": "labels.relate(parents.isel(t=i))",
        "labels.contacts": "labels.contacts()",
        "labels.neighbors": "labels.neighbors(...)",
        "labels.count_points": "labels.count_points(...), with the points of it",
        "labels.count_points(by)": "labels.count_points(...), with the points of it",
    }

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("call", POOLS.values(), ids=POOLS)
    def test_every_call_that_pools_says_so_once(self, call: Call, lazy: bool) -> None:
        image, mask = over_time()
        image, mask = (image.chunk(t=1, y=5), mask.chunk(t=1, y=5)) if lazy else (image, mask)
        (message,) = warned(lambda: call.run(image, mask), "time dim")
        name = next(name for name, other in CALLS.items() if other is call)
        happens = "each label is measured over all times together. To measure"
        if name in ("labels.expand", "labels.shrink"):
            happens = "the distance is measured from one time to the next too, a pixel for a time. To treat"
        assert message == f"the mask has the time dim 't', and {happens} each time apart: " + (
            f"mask.isel(t=i).{self.WITHOUT_PER[name]}" if name in self.WITHOUT_PER else "per='t'"
        )

    @pytest.mark.parametrize("coord", [None, [0.0, 5.0, 7.0], np.array(["2020", "2021", "2022"], "M8[ns]")])
    def test_the_keyword_of_the_message_gives_what_each_time_has(self, coord: Any) -> None:
        image, mask = over_time(**({} if coord is None else {"t": coord}))
        message = warned(lambda: image.labels.mean(mask), "time dim")[0]
        keyword = eval(f"dict({message.partition('apart: ')[2]})")
        result = image.labels.mean(mask, **keyword).set_index(object=("t", "label")).unstack("object")
        for i in range(3):
            plane = mask.isel(t=i)
            for label in plane.labels.ids():
                expected = image.isel(t=i).values[:, plane.values == label].mean(axis=1)
                np.testing.assert_allclose(result.isel(t=i).sel(label=label), expected)
        if coord is not None:
            np.testing.assert_array_equal(result["t"], mask["t"])

    @pytest.mark.parametrize("lazy", [False, True])
    def test_per_time_pools_nothing_and_does_not_warn(self, lazy: bool) -> None:
        image, mask = over_time()
        image, mask = (image.chunk(t=1, y=5), mask.chunk(t=1, y=5)) if lazy else (image, mask)
        for call in (
            lambda: image.labels.aggregate(mask, per="t"),
            lambda: xr.Dataset({"a": image, "b": image}).labels.mean(mask, per="t"),
            lambda: mask.assign_coords(t=[0.0, 5.0, 10.0]).instances.radii_and_axes(per="t"),
        ):
            assert warned(call, "") == []

    @pytest.mark.parametrize(
        ("dim", "coord"),
        [
            ("time", None),
            ("T", None),
            ("frame", None),
            ("Frames", None),
            ("TimePoint", None),
            ("timepoints", None),
            ("frame", np.array(["2020", "2021", "2022"], "M8[ns]")),
            ("lag", np.array([1, 2, 3], "m8[ns]")),
        ],
    )
    def test_what_is_time(self, dim: str, coord: Any) -> None:
        image, mask = over_time(dim, **({} if coord is None else {dim: coord}))
        assert len(warned(lambda: mask.labels.count(), f"time dim {dim!r}")) == 1
        if coord is not None:
            assert len(warned(lambda: image.labels.mean(mask.drop_vars(dim)), f"time dim {dim!r}")) == 1

    def test_slices_that_are_called_frames_are_measured_as_lengths(self) -> None:
        coords = {"frame": [0.0, 2, 4], "y": np.arange(6.0), "x": np.arange(6.0)}
        mask = xr.DataArray(np.ones((3, 6, 6), int), dims=tuple(coords), coords=coords)
        assert len(warned(lambda: mask.labels.regionprops("area"), "time dim 'frame'")) == 1
        with pytest.warns(UserWarning, match="time dim"):
            assert mask.labels.regionprops("area")["area"].item() == 216

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
            with pytest.raises(ValueError, match=r"coordinates along 't' are times.*per='t'.*Or measure in pixels"):
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
            "lengths. Measure each time apart: per='t'. Or measure in pixels: units='pixel'"
        )

    def test_what_is_wrong_is_said_before_what_may_surprise(self) -> None:
        image, mask = over_time()
        with pytest.raises(ValueError, match="the image has no dim 't'"):
            image.isel(t=0).labels.mean(mask)
        with pytest.raises(ValueError, match="unknown property"):
            mask.labels.regionprops(properties="aera")


def picture(shape: tuple[int, ...] = (60, 80), levels: int = 233, dtype: str = "u1") -> xr.DataArray:
    """An image with many grey values, each all over it."""
    pixels = np.random.default_rng(0).integers(0, levels, shape).astype(dtype)
    return xr.DataArray(pixels, dims=("z", "y", "x")[-len(shape) :], name="DAPI")


# An image whose channels are compared has a dim that the mask lacks: the other way round, that is an error.
TWO = {name: call for name, call in CALLS.items() if call.image and name != "labels.correlation"}


@cache
def labels_and_part(shape: tuple[int, ...], n: int, kind: str, seed: int) -> tuple[np.ndarray, float]:
    """Labels of a kind, and the part of the mask that the box of the median one takes, if there are 16 or more."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(1, n + 1, shape)
    if kind == "compact":
        labels = blobs(shape, n, seed)
    elif kind == "striped":
        labels = np.broadcast_to(np.arange(shape[-1]) % n + 1, shape)
    elif kind == "sparse":
        labels = np.where(rng.random(shape) < 0.9, 0, labels)
    boxes = [box for box in ndi.find_objects(labels) if box is not None]
    parts = [np.prod([(s.stop - s.start) / size for s, size in zip(box, shape, strict=True)]) for box in boxes]
    return labels, np.median(parts) if len(parts) >= 16 else 0.0


class TestSwapped:
    @pytest.mark.parametrize("chunk", [None, -1, 20])
    @pytest.mark.parametrize("call", TWO.values(), ids=TWO)
    def test_every_call_that_takes_both_asks_once(self, call: Call, chunk: int | None) -> None:
        image, mask = picture(), xr.DataArray(blobs((60, 80), 9).astype(np.uint16), dims=("y", "x"))
        image, mask = (image, mask) if chunk is None else (image.chunk(chunk), mask.chunk(chunk))
        (message,) = warned(lambda: call.run(mask, image), "swapped")
        part = message.partition("spread over ")[2].partition(" ")[0]
        name = {
            CALLS["labels.center_of_mass(weights)"]: "mask.labels.center_of_mass(image)",
            CALLS["instances.profile"]: "image.instances.profile(mask)",
        }.get(call, "image.labels...(mask) or image.instances...(mask)")
        assert message == (
            "are image and mask swapped? The mask looks like an image: half of its 232 labels are spread over "
            f"{part} of it or more. The call is {name}. If it is a mask, labels=mask.labels.ids() measures it without "
            "this warning"
        )
        assert not warned(lambda: call.run(image, mask), "swapped")
        if "labels" in call.options:
            assert not warned(lambda: call.run(mask, image, labels=image.labels.ids()), "swapped")

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("field", ["nuclei2d", "nuclei3d"])
    def test_real_nuclei(self, field, lazy, request) -> None:
        image, mask = request.getfixturevalue(field)
        image = image.astype(np.uint16)
        image, mask = (image.chunk(30), mask.chunk(25)) if lazy else (image, mask)
        assert len(warned(lambda: mask.labels.mean(image), "swapped")) == 1
        assert not warned(lambda: image.labels.mean(mask), "swapped")
        assert not warned(lambda: mask.labels.mean(mask), "swapped")

    @pytest.mark.parametrize("lazy", [False, True])
    @settings(max_examples=60, deadline=None)
    @given(
        shape=st.sampled_from([(400,), (40, 50), (300, 200), (9, 20, 30)]),
        n=st.sampled_from([2, 15, 16, 17, 60, 300, 4000]),
        kind=st.sampled_from(["mixed", "compact", "striped", "sparse"]),
        seed=st.integers(0, 9),
    )
    def test_asks_as_the_boxes_of_scipy_say(self, shape, n, kind, seed, lazy) -> None:
        labels, part = labels_and_part(shape, n, kind, seed)
        mask = xr.DataArray(labels, dims=("z", "y", "x")[-len(shape) :])
        image = xr.ones_like(mask)
        mask = mask.chunk(17) if lazy else mask
        # Labels that repeat evenly may each lie in few of the blocks, or of the planes of a sample.
        assume(kind != "striped" or (not lazy and len(shape) < 3))
        asked = len(warned(lambda: image.labels.mean(mask), "swapped"))
        # Near the border a few places may give no reason to look at all pixels.
        assert asked == (part > 0.25) or 0.25 < part < 0.4

    def test_where_the_argument_has_more_dims_the_error_asks(self) -> None:
        image = picture().expand_dims(c=2)
        mask = xr.DataArray(blobs((60, 80), 9), dims=("y", "x"))
        with pytest.raises(ValueError, match=r"no dim 'c' of the mask.*or are the two swapped\? It is image"):
            mask.labels.mean(image)
        with pytest.raises(TypeError, match=r"not float64; .*or are the two swapped\? It is image"):
            mask.labels.mean(image.astype(float))

    def test_an_image_that_cannot_be_a_mask_is_not_asked_about(self) -> None:
        classes = picture()
        assert not warned(lambda: (classes + 0.5).labels.mean(classes), "swapped")
        assert not warned(lambda: classes.expand_dims(band=3).labels.mean(classes), "swapped")
        assert len(warned(lambda: classes.astype(float).labels.mean(classes), "swapped")) == 1

    def test_a_dask_mask_is_read_no_more_than_before(self) -> None:
        mask = xr.DataArray(blobs((64, 64), 30), dims=("y", "x"))
        reads = []

        def read(block: np.ndarray) -> np.ndarray:
            reads.append(block.shape)
            return block

        lazy = mask.copy(
            data=da.from_array(mask.values, chunks=16).map_blocks(read, dtype=mask.dtype, meta=mask.values[:0])
        )
        image = xr.ones_like(mask, float)
        result = image.labels.mean(lazy)
        assert len(reads) == 16
        result.compute()
        assert len(reads) == 16
        with xlabelstats.set_options(mask_memory=0):
            image.labels.mean(lazy.copy(data=lazy.data + 0)).compute()
        assert len(reads) == 16 + 32

    def test_overlay(self) -> None:
        pytest.importorskip("matplotlib").use("agg")
        from matplotlib.figure import Figure

        image, mask = picture(), xr.DataArray(blobs((60, 80), 9), dims=("y", "x"))
        (message,) = warned(lambda: mask.labels.plot.overlay(image, ax=Figure().subplots()), "swapped")
        assert "The call is image.labels.plot.overlay(mask)" in message
        assert not warned(lambda: image.labels.plot.overlay(mask, ax=Figure().subplots()), "swapped")
        assert not warned(lambda: image.labels.plot.overlay(mask > 0, ax=Figure().subplots()), "")


POOLS_BOOL = {name: call for name, call in CALLS.items() if 2 in call.ndim and name != "labels.ids"}


class TestBool:
    rings = xr.DataArray(np.array([[1, 1, 0, 0], [1, 0, 0, 1], [0, 1, 0, 1]], bool), dims=("y", "x"))

    @pytest.mark.parametrize("call", POOLS_BOOL.values(), ids=POOLS_BOOL)
    def test_several_components_are_said_once(self, call: Call) -> None:
        image = xr.ones_like(self.rings, np.uint16)
        (message,) = warned(lambda: call.run(image, self.rings), "components")
        assert message == (
            "the bool mask has 2 components that do not touch, and all of them are one label, 1. To number them: "
            "xlabelstats.pipeline.connected_components(mask, connectivity=2). If one label is meant, "
            "mask.astype('uint8') says so"
        )

    def test_what_the_message_advises(self) -> None:
        message = warned(lambda: self.rings.labels.count(), "components")[0]
        code = message.partition("number them: ")[2].partition(". If")[0]
        numbered = eval(code, {"xlabelstats": xlabelstats, "mask": self.rings})
        np.testing.assert_array_equal(numbered, ndi.label(self.rings, np.ones((3, 3)))[0])
        assert not warned(lambda: self.rings.astype("uint8").labels.count(), "")

    def test_what_is_silent(self) -> None:
        one = self.rings.isel(x=slice(2))
        for mask in (one, one & False, self.rings.isel(y=[]), self.rings.chunk(), self.rings.isel(y=0)):
            assert not warned(lambda mask=mask: mask.labels.count(), "")
            assert not warned(lambda mask=mask: xr.ones_like(mask, float).labels.mean(mask), "")
        assert not warned(lambda: self.rings.labels.ids(), "")
        assert not warned(lambda: self.rings.labels.paint({1: 2.0}), "")

    def test_bytes_of_0_and_255_are_taken_as_one_that_was_saved(self) -> None:
        saved = (self.rings * 255).astype("uint8")
        image = xr.ones_like(saved, float)
        (message,) = warned(lambda: image.labels.mean(saved), "components")
        assert message == (
            "the mask of 0 and 255 has 2 components that do not touch, and all of them are one label, 255. To number "
            "them: xlabelstats.pipeline.connected_components(mask, connectivity=2). If one label is meant, "
            "(mask > 0).astype('uint8') says so"
        )
        assert not warned(lambda: (saved > 0).astype("uint8").labels.count(), "")
        numbered = xlabelstats.pipeline.connected_components(saved, connectivity=2)
        assert numbered.labels.ids().tolist() == [1, 2]
        other = saved.copy()
        other[0, 0] = 254
        large = xr.DataArray(np.kron(saved, np.ones((40, 40), "uint8")), dims=("y", "x"))
        assert warned(lambda: large.labels.count(), "components")
        large[1, 1] = 7
        for mask in (other, large, saved.astype(int), saved.isel(x=slice(2)), saved.chunk(), saved * 0):
            assert not warned(lambda mask=mask: mask.labels.count(), "")

    def test_a_dask_one_is_not_read(self) -> None:
        lazy = self.rings.copy(data=da.from_array(self.rings.values).map_blocks(lambda block: 1 / 0, dtype=bool))
        lazy.labels.count(labels=[1])
