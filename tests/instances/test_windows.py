"""Windows of objects, and what models make of them, against a loop over ``mask == label`` on whole arrays."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
import xarray as xr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from loops import (
    OBJECTS,
    Storage,
    arc,
    assert_is_loop,
    assert_same_bits,
    boxes,
    centre_of,
    dims_of,
    far_apart,
    field,
    fields,
    ids_in_order,
    picture,
    pixels_of,
    quietly,
    random_bits,
    sizes,
    windows,
)


class TestNuclei:
    @pytest.mark.parametrize("chunks", [None, 100, {"y": 512, "x": 37}])
    @pytest.mark.parametrize(("size", "alone"), [(32, True), (15, False), ({"y": 21, "x": 40}, True), (None, False)])
    def test_2d(self, nuclei2d, chunks, size, alone):
        image, mask = nuclei2d
        if chunks is not None:
            image, mask = image.chunk(chunks), mask.chunk(chunks)
        assert_is_loop(image, mask, size, remove_background=alone)

    @pytest.mark.parametrize("chunks", [None, 20, {"z": 3, "y": 61, "x": 30}])
    @pytest.mark.parametrize(
        ("size", "alone"), [(16, True), (9, False), ({"y": 12, "x": 13}, True), ({"z": 4}, True), (None, True)]
    )
    def test_3d(self, nuclei3d, chunks, size, alone):
        image, mask = nuclei3d
        if chunks is not None:
            image, mask = image.chunk(chunks), mask.chunk(chunks)
        assert_is_loop(image, mask, size, remove_background=alone)

    def test_every_slice_a_block(self, nuclei3d):
        image, mask = (array.isel(y=slice(30), x=slice(30)) for array in nuclei3d)
        assert_is_loop(image.chunk(z=1, y=30, x=15), mask.chunk(z=1), 14)

    @pytest.mark.parametrize("alone", [True, False])
    @pytest.mark.parametrize("chunk", [None, 25])
    def test_of_the_mask_alone(self, nuclei3d, chunk, alone):
        mask = nuclei3d[1] if chunk is None else nuclei3d[1].chunk(chunk)
        assert_is_loop(None, mask, {"z": 6, "y": 13, "x": 12}, remove_background=alone)

    def test_windows_of_the_mask_are_the_same_with_and_without_an_image(self, nuclei2d):
        image, mask = (array.chunk(100) for array in nuclei2d)
        both, alone = windows(image, mask, 24), windows(mask, 24)
        xr.testing.assert_identical(both["mask"].compute(), alone["mask"].compute())


class TestObjects:
    @pytest.mark.parametrize("alone", [True, False])
    @pytest.mark.parametrize("labels", OBJECTS.values(), ids=OBJECTS)
    def test_of_any_shape_and_place(self, labels, alone):
        mask = field(labels)
        image = picture(mask, f"u{labels.itemsize}")
        # Each mask is scanned once for all sizes.
        lazy = [(image.chunk(chunk), mask.chunk(chunk)) for chunk in (8, 5)]
        for size in (7, {"x": 4, dims_of(labels.ndim)[0]: 30}, None):
            expected = assert_is_loop(image, mask, size, remove_background=alone)
            for arrays in lazy:
                found = assert_is_loop(*arrays, size, remove_background=alone)
                assert_same_bits(found.sortby("label")["image"], expected["image"].values)

    def test_the_crescents_centre_is_outside_it_and_its_parts_owner_holds_none_of_it(self):
        assert arc()[tuple(centre_of(pixels_of(arc())[5]))] == 0
        y, x = centre_of(pixels_of(far_apart())[200])
        assert not (far_apart()[y // 8 * 8 :, x // 8 * 8 :][:8, :8] == 200).any()

    @pytest.mark.parametrize(
        ("dtype", "ids"),
        [
            ("u8", [2**64 - 1, 2**63, 2**63 - 1, 2**53 + 1, 2**53, 1]),
            ("i8", [-(2**63), -(2**63) + 1, -1, 2**63 - 1, 2**53 + 1, 2**53]),
            ("u4", [2**32 - 1, 2**31, 1]),
            ("i4", [-(2**31), -1, 2**31 - 1]),
            ("i2", [-(2**15), 2**15 - 1]),
            ("i1", [-128, -1, 127]),
            ("u1", [255, 128, 1]),
        ],
    )
    def test_labels_at_the_limits_of_their_dtype(self, dtype, ids):
        order = blobs((18, 19), len(ids), seed=3)
        lookup = np.zeros(order.max() + 1, dtype)
        lookup[np.unique(order[order > 0])[: len(ids)]] = ids[: np.unique(order[order > 0]).size]
        mask = field(lookup[order])
        mask[-1, -len(ids) :] = np.array(ids, dtype)
        image = picture(mask, f"u{mask.dtype.itemsize}")
        for chunk in (None, 7):
            a, b = (image, mask) if chunk is None else (image.chunk(chunk), mask.chunk(chunk))
            assert assert_is_loop(a, b, 9)["label"].values.tolist() == ids_in_order(a, b)
            assert sorted(assert_is_loop(a, b, 9, labels=ids[:2])["label"].values.tolist()) == sorted(ids[:2])
            assert_is_loop(None, b, 9, remove_background=False)

    def test_a_bool_mask_is_one_label(self):
        mask = field(blobs((15, 16), 3) > 0)
        for array in (mask, mask.chunk(6)):
            result = assert_is_loop(picture(mask), array, 20)
            assert result["label"].values.tolist() == [1]
            assert result["mask"].dtype == np.uint8


class TestCentre:
    """A window of one pixel of an image that holds positions is the centre."""

    def centres(self, labels: np.ndarray, chunk: int | None) -> dict[int, int]:
        mask = field(labels)
        mask = mask if chunk is None else mask.chunk(chunk)
        result = windows(field(np.arange(labels.size)), mask, 1, remove_background=False).compute().squeeze("x")
        return dict(zip(result["label"].values.tolist(), result["image"].values.tolist(), strict=True))

    @pytest.mark.parametrize("chunk", [None, 1, 2, 3, 100])
    def test_halves_go_to_the_even_pixel(self, chunk):
        labels = np.repeat([0, 0, 1, 2, 3, 0, 4, 5], [1, 1, 2, 2, 4, 1, 2, 1])
        assert self.centres(labels, chunk) == {1: 2, 2: 4, 3: 8, 4: 12, 5: 13}
        # Two pixels far apart, with a mean of 10.5 and 11.5.
        assert self.centres(np.eye(1, 22, 0, dtype=int)[0] + np.eye(1, 22, 21, dtype=int)[0], chunk) == {1: 10}
        assert self.centres(np.eye(1, 23, 1, dtype=int)[0] + np.eye(1, 23, 22, dtype=int)[0], chunk) == {1: 12}

    @pytest.mark.parametrize("chunk", [2, 3, 5])
    @pytest.mark.parametrize("shape", [(11, 10), (6, 8, 7)])
    def test_halves_along_every_axis(self, shape, chunk):
        positions = field(np.arange(math.prod(shape)).reshape(shape)).chunk(chunk)
        for first in itertools.product((0, 1, 3), repeat=len(shape)):
            labels = np.zeros(shape, int)
            labels[tuple(slice(a, a + 2) for a in first)] = 6
            found = windows(positions, field(labels).chunk(chunk), 1, remove_background=False)["image"]
            assert found.values.item() == np.ravel_multi_index([a + a % 2 for a in first], shape)

    @settings(max_examples=40, deadline=None)
    @given(
        runs=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 40_000)), min_size=1, max_size=8),
        chunk=st.integers(1_000, 100_000),
    )
    def test_is_exact_for_objects_of_any_size(self, runs, chunk):
        labels = np.repeat(*np.array(runs).T)
        expected = {label: centre_of(where)[0] for label, where in pixels_of(labels).items()}
        assert self.centres(labels, chunk) == expected
        assert self.centres(labels, None) == expected

    @pytest.mark.parametrize("chunk", [None, 999, 65_536])
    def test_a_pixel_less_of_many_moves_a_centre_off_the_half(self, chunk):
        # Of 200000 pixels the centre is at 99999.5; without one beside it, a 400000th of a pixel to its left or right.
        labels = np.ones(200_000, np.uint8)
        assert self.centres(labels, chunk) == {1: 100_000}
        for gap, expected in ((99_999, 100_000), (100_000, 99_999)):
            holed = labels.copy()
            holed[gap] = 0
            assert centre_of(pixels_of(holed)[1]) == [expected]
            assert self.centres(holed, chunk) == {1: expected}

    @pytest.mark.parametrize("chunk", [None, 150])
    def test_a_part_of_a_pixel_is_not_lost_to_rounding(self, chunk):
        # In every row n pixels, n odd, with a mean 1 / 2n above or below a half: n times it is not always whole.
        counts = np.arange(3, 400, 2)
        labels = np.zeros((2 * counts.size, 700), np.int32)
        for row, n in enumerate(np.repeat(counts, 2)):
            labels[row, : n - 1] = row + 1
            labels[row, n - 1 + n // 2 + row % 2] = row + 1
        mask = field(labels)
        x = field(np.broadcast_to(np.arange(700), labels.shape))
        x, mask = (x, mask) if chunk is None else (x.chunk(chunk), mask.chunk(chunk))
        found = windows(x, mask, 1, remove_background=False).compute().sortby("label")["image"]
        assert found.values.ravel().tolist() == [centre_of(where)[1] for where in pixels_of(labels).values()]


class TestAnything:
    @settings(max_examples=100, deadline=None)
    @given(data=st.data(), alone=st.booleans(), batch=st.none() | st.integers(1, 5))
    def test_of_any_dims_dtypes_and_chunks_is_the_loops(self, data, alone, batch):
        image, mask = data.draw(fields())
        size = data.draw(sizes(mask.dims))
        result = assert_is_loop(image, mask, size, remove_background=alone, batch_size=batch)
        whole = windows(image.compute(), mask.compute(), size, remove_background=alone)
        xr.testing.assert_identical(result.sortby("label"), whole)

    @settings(max_examples=30, deadline=None)
    @given(data=st.data(), alone=st.booleans(), batch=st.none() | st.integers(1, 5))
    def test_of_any_mask_alone_is_the_loops(self, data, alone, batch):
        _, mask = data.draw(fields())
        assert_is_loop(None, mask, data.draw(sizes(mask.dims)), remove_background=alone, batch_size=batch)

    @settings(max_examples=30, deadline=None)
    @given(data=st.data(), alone=st.booleans())
    def test_of_any_labels_is_the_loops(self, data, alone):
        image, mask = data.draw(fields())
        ids = (
            np.unique(mask.values[mask.values != 0])
            .astype(object)
            .astype(np.int64 if mask.dtype.kind == "b" else mask.dtype)
        )
        labels = data.draw(st.permutations(ids.tolist()))[: data.draw(st.integers(0, 4))]
        assert_is_loop(image, mask, data.draw(sizes(mask.dims)), remove_background=alone, labels=labels)

    @settings(max_examples=30, deadline=None)
    @given(data=st.data(), alone=st.booleans(), batch=st.none() | st.integers(1, 5))
    def test_of_objects_that_are_brought_in_one_by_one_is_the_loops(self, data, alone, batch):
        image, mask = data.draw(fields())
        with pytest.MonkeyPatch.context() as patch:
            # As if it cost nothing to bring an object in by itself, or to read a block again.
            patch.setattr("xlabelstats.engine.ownership.REGION_COST", 0)
            patch.setattr("xlabelstats.engine.region_pixels.KEPT_BYTES", 0)
            assert_is_loop(image, mask, data.draw(sizes(mask.dims)), remove_background=alone, batch_size=batch)


class TestResult:
    def test_dims_dtypes_and_names(self):
        mask = field(blobs((20, 22), 6).astype(np.uint32))
        image = picture(mask, "f2", c=3, t=2).transpose("y", "c", "x", "t")
        for a, b in ((image, mask), (image.chunk(9), mask.chunk(7))):
            result = windows(a, b, {"y": 6, "x": 5})
            assert result["image"].dims == ("label", "c", "t", "y", "x")
            assert result["mask"].dims == ("label", "y", "x")
            assert dict(result.sizes) == {"label": 6, "c": 3, "t": 2, "y": 6, "x": 5}
            assert (result["image"].dtype, result["mask"].dtype) == (np.float16, np.uint32)
            turned = windows(a, b.transpose("x", "y"), {"y": 6, "x": 5})
            assert turned["image"].dims == ("label", "c", "t", "x", "y")
            xr.testing.assert_equal(turned.sortby("label").transpose(*result["image"].dims), result.sortby("label"))

    def test_window_coords_are_offsets_from_the_centre_whatever_the_arrays_have(self):
        mask = field(blobs((20, 22), 6), y=np.linspace(5, 6, 20))
        image = picture(mask).assign_coords(x=10 * np.arange(22), y=mask["y"])
        for a, b in (
            (image, mask),
            (image.chunk(9), mask.chunk(9)),
            (image.drop_vars("y"), mask),
            (image, mask.drop_vars("y")),
        ):
            result = windows(a, b, {"y": 6, "x": 5})
            assert set(result.coords) == {"label", "y", "x"}
            assert result["y"].values.tolist() == [-3, -2, -1, 0, 1, 2]
            assert result["x"].values.tolist() == [-2, -1, 0, 1, 2]
            assert result["x"].attrs == {"long_name": "offset from the centre along x", "units": "pixel"}

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("holder", ["mask", "image", "both", "neither"])
    def test_a_whole_dim_keeps_the_coords_of_mask_or_image(self, holder, lazy):
        mask = field(blobs((6, 9, 10), 4))
        image = picture(mask)
        z = ("z", np.linspace(1, 2, 6), {"units": "um"})
        image = image.assign_coords(z=z) if holder in ("image", "both") else image
        mask = mask.assign_coords(z=z) if holder in ("mask", "both") else mask
        image, mask = (image.chunk(4), mask.chunk(4)) if lazy else (image, mask)
        result = assert_is_loop(image, mask, {"y": 3, "x": 4})
        assert result["image"].sizes["z"] == 6
        assert ("z" in result.coords) == (holder != "neither")
        if holder != "neither":
            assert result["z"].values.tolist() == z[1].tolist()
            assert result["z"].attrs == {"units": "um"}

    @pytest.mark.parametrize("lazy", [False, True])
    def test_other_dims_keep_their_coords_and_shared_ones_lose_them(self, lazy):
        mask = field(blobs((12, 13), 4)).assign_coords(slide=("y", np.arange(12)))
        image = picture(mask, c=2, t=3).assign_coords(
            c=["a", "b"],
            gain=("t", [1.0, 2.0, 3.0]),
            both=(("c", "t"), np.zeros((2, 3))),
            stain="H",
            row=("y", np.arange(12)),
        )
        if lazy:
            image, mask = image.chunk(c=1, t=2, y=5, x=5), mask.chunk(5)
        result = windows(image, mask, 5)
        assert set(result.coords) == {"label", "c", "gain", "both", "stain", "y", "x"}
        assert result["c"].values.tolist() == ["a", "b"]
        xr.testing.assert_equal(result["image"].coords["gain"], image["gain"])

    @pytest.mark.parametrize("lazy", [False, True])
    def test_a_whole_dims_coords_do_not_bring_what_clashes_with_the_image(self, lazy):
        # As of a mask segmented from one channel, image.isel(c=0).
        mask = field(blobs((6, 9, 10), 4)).assign_coords(z=np.arange(6.0), c="dapi", time=1)
        for image in (picture(mask, c=2), picture(mask, c=2).assign_coords(c=["dapi", "gfp"], time=2)):
            a, b = (image.chunk(4), mask.chunk(4)) if lazy else (image, mask)
            assert windows(a, b, 3)["image"].dims == ("label", "c", "z", "y", "x")
            result = windows(a, b, {"y": 3, "x": 4})
            assert result["z"].values.tolist() == list(range(6))
            assert result["image"].dims == ("label", "c", "z", "y", "x")
            assert "c" not in image.coords or result["c"].values.tolist() == ["dapi", "gfp"]
            assert "time" not in image.coords or result["time"].item() == 2

    def test_attrs_name_what_was_cut_and_keep_the_images_units(self):
        mask, lacks = field(blobs((12, 13), 4)).rename("cells"), field(blobs((12, 13), 4))
        image = picture(mask).rename("dapi").assign_attrs(units="photons", note="no")
        mask.attrs["units"] = "none"
        result = windows(image, mask, 5)
        assert result["image"].attrs == {"long_name": "windows of dapi", "units": "photons"}
        assert result["mask"].attrs == {"long_name": "windows of cells"}
        plain = windows(picture(lacks), lacks, 5)
        assert plain["image"].attrs == {"long_name": "windows of image"}
        assert plain["mask"].attrs == {"long_name": "windows of mask"}

    def test_numpy_labels_are_sorted_or_in_the_order_given(self):
        mask = field(blobs((30, 31), 9))
        ids = np.unique(mask.values)[1:].tolist()
        assert windows(mask, 5)["label"].values.tolist() == ids
        order = [ids[3], ids[0], ids[5]]
        result = assert_is_loop(picture(mask), mask, 5, labels=order)
        assert result["label"].values.tolist() == order

    def test_dask_labels_come_in_the_order_of_the_blocks_that_their_centres_lie_in(self):
        labels = np.zeros((8, 8), int)
        # Blocks of 4: a centre in every one, twice in the last; the biggest label in the first.
        labels[1, 1], labels[2, 6], labels[6, 0], labels[7, 7], labels[5, 5] = 9, 4, 7, 3, 1
        labels[3, 2:7] = 2  # crosses two blocks; its centre is in the second
        mask = field(labels).chunk(4)
        result = windows(picture(mask), mask, 3)
        assert result["label"].values.tolist() == [9, 2, 4, 7, 1, 3]
        assert windows(mask, 3, labels=[1, 3, 7, 9])["label"].values.tolist() == [9, 7, 1, 3]
        assert windows(mask.transpose("x", "y"), 3)["label"].values.tolist() == [9, 7, 2, 4, 1, 3]

    def test_it_is_the_images_blocks_that_count(self):
        mask = field(blobs((30, 31), 12)).chunk(y=30, x=4)
        image = picture(mask).chunk(y=7, x=31)
        assert_is_loop(image, mask, 9)
        assert windows(image, mask, 9)["label"].values.tolist() != windows(mask, 9)["label"].values.tolist()

    @pytest.mark.parametrize("batch", [1, 2, 4, 7, 9, 1000, np.int64(5)])
    def test_batch_size_is_the_chunk_along_label(self, batch):
        mask = field(blobs((30, 31), 9)).chunk(8)
        result = assert_is_loop(picture(mask, c=3).chunk(c=2, y=8, x=8), mask, 9, batch_size=batch)
        n = result.sizes["label"]
        lazy = windows(picture(mask, c=3).chunk(c=2, y=8, x=8), mask, 9, batch_size=batch)
        expected = tuple(min(int(batch), n - first) for first in range(0, n, int(batch)))
        assert lazy["image"].chunks == (expected, (2, 1), (9,), (9,))
        assert lazy["mask"].chunks == (expected, (9,), (9,))
        whole = windows(picture(mask).compute(), mask.compute(), 9, batch_size=batch)
        assert whole["image"].chunks is None

    def test_chunks_are_of_about_16_mib_unless_told(self):
        labels = np.arange(1, 301).reshape(15, 20)
        mask = field(labels).chunk(10)
        result = mask.instances.windows(128, remove_background=False)
        assert result["mask"].chunks == ((128, 128, 44), (128,), (128,))
        image = picture(mask, "u1", c=64).chunk(c=32, y=10, x=10)
        assert image.instances.windows(mask, 128)["image"].chunks == ((32,) * 9 + (12,), (32, 32), (128,), (128,))

    def test_ragged_channels_come_in_uniform_chunks(self):
        mask = field(blobs((20, 21), 6)).chunk(8)
        image = picture(mask, c=6).chunk(c=(1, 3, 2), y=8, x=8)
        result = assert_is_loop(image, mask, 9)
        assert result.sizes["c"] == 6

    def test_parts_of_a_result_may_be_computed_alone(self):
        mask = field(blobs((30, 31), 9)).chunk(8)
        image = picture(mask, c=3).chunk(c=1, y=8, x=8)
        lazy = windows(image, mask, 9, batch_size=2)
        whole = lazy.compute()
        xr.testing.assert_identical(lazy["mask"].compute(), whole["mask"])
        xr.testing.assert_identical(lazy["image"].compute(), whole["image"])
        xr.testing.assert_identical(lazy.isel(label=[5, 2], c=1).compute(), whole.isel(label=[5, 2], c=1))
        some = lazy.sel(label=int(whole["label"][3]))
        xr.testing.assert_identical(some.compute(), whole.isel(label=3))

    def test_lazy_until_computed(self):
        mask = field(blobs((20, 21), 5))
        storage = Storage(random_bits(mask.shape, "u2", 0))
        image = xr.DataArray(storage.lazy(7), dims=mask.dims)
        result = windows(image, mask.chunk(7), 9)
        quietly(image.instances.featurize, mask.chunk(7), lambda b: b.max(axis=(2, 3)), size=9, n_features=1)
        assert storage.reads == []
        result.compute()
        assert storage.reads


class TestCropping:
    def test_says_how_many_and_what_size_would_do(self):
        mask = field(boxes((30, 30), (2, 9, 3, 5), (12, 13, 10, 20), (20, 22, 20, 22)))
        with pytest.warns(UserWarning, match="reach beyond") as caught:
            mask.instances.windows({"y": 3, "x": 3})
        assert [str(w.message) for w in caught] == [
            "2 of 3 objects reach beyond their window of 3 x 3 pixels and are cropped; "
            "size={'y': 7, 'x': 11} holds all of them"
        ]
        assert caught[0].filename == __file__
        with pytest.warns(UserWarning, match=r"2 of 3 .*size=\{'x': 11\} holds all") as caught:
            picture(mask).instances.windows(mask, {"x": 2})
        assert caught[0].filename == __file__
        with pytest.warns(UserWarning, match="2 of 3") as caught:
            mask.instances.featurize(lambda batch: batch[:, 0, 0], size=3, n_features=3)
        assert caught[0].filename == __file__

    @settings(max_examples=40, deadline=None)
    @given(seed=st.integers(0, 10**6), ndim=st.integers(1, 3), size=st.integers(1, 5))
    def test_the_size_that_would_do_does(self, seed, ndim, size):
        mask = field(blobs((30, 12, 9)[:ndim], 4, seed))
        _, messages = quietly(mask.instances.windows, size)
        for message in messages:
            enough = dict(re.findall(r"'(\w)': (\d+)", message))
            enough = {dim: int(n) for dim, n in enough.items()}
            mask.instances.windows(enough)  # a warning is an error
            for dim in mask.dims:
                less = enough | {dim: enough[dim] - 1}
                if less[dim] > 0:
                    assert len(quietly(mask.instances.windows, less)[1]) == 1

    @settings(max_examples=40, deadline=None)
    @given(seed=st.integers(0, 10**6), ndim=st.integers(1, 3), chunk=st.none() | st.integers(3, 30))
    def test_without_a_size_nothing_is_cropped(self, seed, ndim, chunk):
        mask = field(blobs((30, 12, 9)[:ndim], 4, seed))
        assert_is_loop(picture(mask), mask if chunk is None else mask.chunk(chunk))
        count = mask.labels.count()
        found = mask.instances.windows()["mask"]  # a warning is an error
        np.testing.assert_array_equal((found > 0).sum(mask.dims), count)

    def test_only_the_labels_asked_for_count(self):
        mask = field(boxes((30, 30), (2, 9, 3, 5), (20, 21, 20, 21)))
        assert mask.instances.windows(3, labels=[2]).sizes["y"] == 3
        assert mask.instances.windows(labels=[2]).sizes == {"label": 1, "y": 1, "x": 1}


class TestLabels:
    def test_absent(self):
        mask = field([[0, 3, 3], [5, 0, 0]])
        for array in (mask, mask.chunk(1)):
            with pytest.raises(ValueError, match=r"the mask has no label 4, 6, so there is no window to cut"):
                array.instances.windows(3, labels=[3, 6, 4])
            with pytest.raises(ValueError, match=r"the mask has no label 7, 8, 9, 10, 11, \.\.\., so there"):
                picture(mask).instances.windows(array, 3, labels=range(7, 20))
            with pytest.raises(ValueError, match="the mask has no label 4"):
                array.instances.featurize(np.ravel, size=3, n_features=1, labels=[4])
            with pytest.raises(ValueError, match="labels are each given once, but 3 is given 2 times"):
                array.instances.windows(3, labels=[3, 3])

    @pytest.mark.parametrize("alone", [True, False])
    def test_image_blocks_that_no_window_touches_or_no_object_in_it_are_never_read(self, alone):
        mask = field(blobs((60, 61), 40, seed=2))
        places = pixels_of(mask.values)
        ids = list(places)
        for labels in ([ids[0]], ids[4:6], ids[::7], ids[-3:]):
            storage, lazy_mask = Storage(random_bits((2, *mask.shape), "u2", 0)), mask.chunk(10)
            image = xr.DataArray(storage.lazy((1, 10, 10)), dims=("c", "y", "x"))
            result = assert_is_loop(image.copy(data=image.data), lazy_mask, 13, labels=labels, remove_background=alone)
            storage.reads.clear()
            lazy = windows(image, lazy_mask, 13, labels=labels, remove_background=alone)
            assert storage.reads == []
            xr.testing.assert_identical(lazy.compute(), result)
            needed = set()
            for label in labels:
                along = []
                for c, n, where in zip(centre_of(places[label]), mask.shape, places[label], strict=True):
                    first, last = max(c - 6, 0), min(c + 6, n - 1)
                    if alone:
                        first, last = max(first, where.min()), min(last, where.max())
                    along.append(range(first // 10, last // 10 + 1))
                needed |= set(itertools.product(range(2), *along))
            found = storage.blocks((1, 10, 10))
            assert set(found) <= needed, f"{sorted(set(found) - needed)} are read for labels {labels}"
            assert set(found) == needed
            assert set(found.values()) == {1}

    def test_blocks_at_the_corner_of_two_windows_are_not_read(self):
        # In one block, the one object's window reaches into the block above, the other's into the block to the left.
        labels = np.zeros((20, 20), int)
        labels[10, 15], labels[15, 10] = 1, 2
        storage, mask = Storage(random_bits(labels.shape, "u2", 0)), field(labels).chunk(10)
        image = xr.DataArray(storage.lazy(10), dims=mask.dims)
        windows(image, mask, 3, remove_background=False).compute()
        assert set(storage.blocks(10)) == {(1, 1), (0, 1), (1, 0)}
        storage.reads.clear()
        windows(image, mask, 3).compute()
        assert set(storage.blocks(10)) == {(1, 1)}
        # The objects reach as far as their windows.
        labels[9, 15], labels[15, 9] = 1, 2
        storage.reads.clear()
        windows(image, field(labels).chunk(10), 3).compute()
        assert set(storage.blocks(10)) == {(1, 1), (0, 1), (1, 0)}

    def test_mask_blocks_that_no_window_touches_are_read_by_the_scan_alone(self):
        labels = np.zeros((60, 60), int)
        labels[5, 5], labels[31:33, 28:33], labels[59, 59] = 1, 2, 3
        storage = Storage(labels)
        mask = xr.DataArray(storage.lazy(10), dims=("y", "x"))
        lazy = mask.instances.windows(7, labels=[2], remove_background=False)
        assert len(storage.reads) == 36
        storage.reads.clear()
        lazy.compute()
        assert set(storage.blocks(10)) == {(2, 2), (2, 3), (3, 2), (3, 3)}
        storage.reads.clear()
        mask.instances.windows(7, labels=[2]).compute()
        assert set(storage.blocks(10)) == {(3, 2), (3, 3)}

    def test_a_window_that_its_object_lies_outside_of_is_empty(self):
        # A ring: its centre is in its hole, and the hole in another block than the ring's pixels.
        labels = np.zeros((40, 40), int)
        labels[2:37, 2:37], labels[5:34, 5:34] = 7, 0
        labels[19, 19] = 3
        mask = field(labels)
        image = picture(mask, "u2")
        for chunk in (None, 40, 9, (15, 10, 15)):
            a, b = (image, mask) if chunk is None else (image.chunk(y=chunk, x=chunk), mask.chunk(y=chunk, x=chunk))
            result = assert_is_loop(a, b, 4)
            assert not result["mask"].sel(label=7).values.any()
            assert_is_loop(a, b, 4, labels=[7])
            assert_is_loop(None, b, 4, labels=[7])

    def test_every_block_is_read_once(self, nuclei2d):
        image, mask = nuclei2d
        pixels, labelled = Storage(image.values), Storage(mask.values)
        a, b = (xr.DataArray(s.lazy(64), dims=("y", "x")) for s in (pixels, labelled))
        lazy = windows(a, b, 32)
        labelled.reads.clear()
        lazy.compute()
        for storage in (pixels, labelled):
            assert set(storage.blocks(64).values()) == {1}

    def test_the_background_may_be_asked_for_by_name(self):
        mask = field(blobs((12, 13), 4))
        image = picture(mask)
        whole = windows(image, mask, 30, labels=[0, int(mask.max())])
        lazy = windows(image.chunk(5), mask.chunk(5), 30, labels=[0, int(mask.max())])
        xr.testing.assert_identical(lazy.compute().sortby("label"), whole)
        shown = whole["image"].sel(label=0).values
        assert np.count_nonzero(shown) == np.count_nonzero(image.values[mask.values == 0])
