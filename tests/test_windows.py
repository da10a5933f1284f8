"""Windows of objects, and what models make of them, against a loop over ``mask == label`` on whole arrays."""

from __future__ import annotations

import itertools
import math
import re
import threading
import warnings
from collections import Counter
from collections.abc import Hashable, Mapping
from fractions import Fraction
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st

Places = dict[int, tuple[np.ndarray, ...]]

OTHER = ("c", "t")
SPACE = ("z", "y", "x")


def dims_of(ndim: int) -> tuple[str, ...]:
    return SPACE[3 - ndim :]


def field(labels: Any, **coords: Any) -> xr.DataArray:
    labels = np.asarray(labels)
    return xr.DataArray(labels, dims=dims_of(labels.ndim), coords=coords)


def random_bits(shape: tuple[int, ...], dtype: Any, seed: int) -> np.ndarray:
    """Any number that a dtype has, negative zeros and all kinds of NaN among them."""
    dtype, rng = np.dtype(dtype), np.random.default_rng(seed)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    return rng.integers(0, 256, (*shape, dtype.itemsize), np.uint8).view(dtype)[..., 0]


def picture(over: xr.DataArray, dtype: Any = np.uint16, seed: int = 0, **other: int) -> xr.DataArray:
    """An image over a mask, with other dims in front."""
    pixels = random_bits((*other.values(), *over.shape), dtype, seed)
    return xr.DataArray(pixels, dims=(*other, *over.dims))


def pixels_of(mask: np.ndarray) -> Places:
    """Where the pixels of every label but 0 are."""
    return {int(label): np.nonzero(mask == label) for label in np.unique(mask) if label != 0}


def centre_of(where: tuple[np.ndarray, ...]) -> list[int]:
    """The centroid rounded to a pixel, in exact arithmetic."""
    return [round(Fraction(int(axis.sum()), axis.size)) for axis in where]


def box_of(where: tuple[np.ndarray, ...]) -> list[tuple[int, int]]:
    return [(int(axis.min()), int(axis.max()) + 1) for axis in where]


def by_loop(
    mask: np.ndarray, pixels: np.ndarray, places: Places, ids: list[int], size: list[int | None], alone: bool
) -> tuple[np.ndarray, np.ndarray, int]:
    """The windows of image and mask, and how many objects they crop; a size None is a whole dim."""
    other = pixels.shape[: pixels.ndim - mask.ndim]
    shape = [n if d is None else d for d, n in zip(size, mask.shape, strict=True)]
    image_windows = np.zeros((len(ids), *other, *shape), pixels.dtype.newbyteorder("="))
    mask_windows = np.zeros((len(ids), *shape), mask.dtype.newbyteorder("="))
    cropped = 0
    for row, label in enumerate(ids):
        starts = [0 if d is None else c - d // 2 for c, d in zip(centre_of(places[label]), size, strict=True)]
        at = [a + np.arange(d) for a, d in zip(starts, shape, strict=True)]
        inside = [(p >= 0) & (p < n) for p, n in zip(at, mask.shape, strict=True)]
        source = np.ix_(*(p[ok] for p, ok in zip(at, inside, strict=True)))
        target = np.ix_(*(np.flatnonzero(ok) for ok in inside))
        keep = mask[source] == label if alone else np.ones(mask[source].shape, bool)
        mask_windows[row][target] = np.where(keep, mask[source], mask.dtype.type(0))
        for channel in np.ndindex(*other):
            image_windows[row][channel][target] = np.where(keep, pixels[channel][source], pixels.dtype.type(0))
        ends = zip(box_of(places[label]), starts, shape, strict=True)
        cropped += any(low < a or high > a + d for (low, high), a, d in ends)
    return image_windows, mask_windows, cropped


def sizes_by_loop(places: Places, dims: tuple[Hashable, ...], ids: list[int], size: Any) -> list[int | None]:
    """The sizes asked for; without any the smallest that crop no object, by trying one after the other."""
    if size is not None:
        return [size.get(dim) for dim in dims] if isinstance(size, Mapping) else [size] * len(dims)
    reach = [list(zip(centre_of(places[label]), box_of(places[label]), strict=True)) for label in ids]

    def holds_all(axis: int, d: int) -> bool:
        starts = [(at[axis][0] - d // 2, at[axis][1]) for at in reach]
        return all(start <= low and high <= start + d for start, (low, high) in starts)

    return [next(d for d in itertools.count() if holds_all(axis, d)) for axis in range(len(dims))]


def ids_in_order(
    image: xr.DataArray | None, mask: xr.DataArray, labels: Any = None, places: Places | None = None
) -> list[int]:
    """The labels in the order of windows, from the blocks that their centroids lie in."""
    places = places or pixels_of(mask.values)
    ids = list(places) if labels is None else [int(i) for i in labels]
    chunked = next((array for array in (image, mask) if array is not None and array.chunks), None)
    if chunked is None:
        return ids
    ends = [np.cumsum(chunked.chunksizes[dim]) for dim in mask.dims]

    def block(label: int) -> tuple[int, ...]:
        # The first block along every dim that ends behind the centre.
        return tuple(int(np.argmax(end > c)) for end, c in zip(ends, centre_of(places[label]), strict=True))

    return sorted(ids, key=lambda label: (block(label), label))


def assert_same_bits(found: Any, expected: np.ndarray) -> None:
    found = np.asarray(found)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    kind = f"u{found.dtype.itemsize}"
    np.testing.assert_array_equal(np.ascontiguousarray(found).view(kind), np.ascontiguousarray(expected).view(kind))


def assert_uniform(chunks: tuple[int, ...]) -> None:
    assert len(set(chunks[:-1])) <= 1
    assert chunks[-1] <= chunks[0]


def quietly(call: Any, *args: Any, **kwargs: Any) -> tuple[Any, list[str]]:
    """What a call returns, and its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call(*args, **kwargs)
    assert all(w.category is UserWarning for w in caught)
    return result, [str(w.message) for w in caught]


def windows(*args: Any, **kwargs: Any) -> xr.Dataset:
    """``array.instances.windows(...)`` whether objects are cropped or not."""
    return quietly(args[0].instances.windows, *args[1:], **kwargs)[0]


def assert_is_loop(
    image: xr.DataArray | None, mask: xr.DataArray, size: Any = None, *, remove_background: bool = True, **kwargs: Any
) -> xr.Dataset:
    """Cut windows, compare everything about them with the loop, and return them computed."""
    options = {"remove_background": remove_background, **kwargs}
    source, args = (mask, (size,)) if image is None else (image, (mask, size))
    result, messages = quietly(source.instances.windows, *args, **options)
    messages = [message for message in messages if not message.startswith("the bool mask has")]
    places = pixels_of(mask.values)
    ids = ids_in_order(image, mask, kwargs.get("labels"), places)
    shared = mask.dims
    other = () if image is None else tuple(dim for dim in image.dims if dim not in shared)
    labelled = mask.values.astype(np.uint8) if mask.dtype == bool else mask.values
    pixels = labelled if image is None else image.transpose(*other, *shared).values
    sizes = sizes_by_loop(places, shared, ids, size)
    image_windows, mask_windows, cropped = by_loop(labelled, pixels, places, ids, sizes, remove_background)
    assert len(messages) == (cropped > 0)
    assert all(m.startswith(f"{cropped} of {len(ids)} objects reach beyond their window") for m in messages)

    assert list(result) == (["mask"] if image is None else ["image", "mask"])
    assert result["mask"].dims == ("label", *shared)
    assert result["label"].dtype == labelled.dtype.newbyteorder("=")
    assert result["label"].values.tolist() == ids
    for dim, d in zip(shared, sizes, strict=True):
        if d is not None:
            assert result[dim].values.tolist() == [i - d // 2 for i in range(d)]
    lazy = any(array is not None and array.chunks is not None for array in (image, mask))
    for variable in result.values():
        assert (variable.chunks is not None) == lazy
        for chunks in variable.chunks or ():
            assert_uniform(chunks)
        if lazy and kwargs.get("batch_size") and ids:
            assert variable.chunks[0][0] == min(kwargs["batch_size"], len(ids))
    result = result.compute(scheduler="synchronous")
    assert_same_bits(result["mask"], mask_windows)
    if image is not None:
        assert result["image"].dims == ("label", *other, *shared)
        assert_same_bits(result["image"], image_windows)
    return result


class Storage:
    """An array that takes note of what is read of it."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, array.ndim
        self.reads: list[tuple[slice, ...]] = []

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
        self.reads.append(key)
        return self.array[key]

    def lazy(self, chunks: Any) -> Any:
        return da.from_array(self, chunks, name=False, meta=np.empty((0,) * self.ndim, self.dtype))

    def blocks(self, chunks: Any) -> Counter:
        """How often every block was read."""
        ends = [np.cumsum(sizes).tolist() for sizes in da.core.normalize_chunks(chunks, self.shape)]
        return Counter(tuple(end.index(part.stop) for end, part in zip(ends, key, strict=True)) for key in self.reads)


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


def arc() -> np.ndarray:
    """A crescent; its centroid lies in its mouth."""
    y, x = np.ogrid[-11:13, -11:13]
    r = np.hypot(y, x)
    return ((r > 8) & (r < 11) & (x < 4)) * np.int32(5)


def boxes(shape: tuple[int, ...], *found: tuple[int, ...]) -> np.ndarray:
    """Boxes (first, end, first, end, ...) labelled 1, 2, ... ."""
    mask = np.zeros(shape, np.int32)
    for label, box in enumerate(found, 1):
        mask[tuple(slice(a, b) for a, b in zip(box[::2], box[1::2], strict=True))] = label
    return mask


def corners() -> np.ndarray:
    """An object on every corner, edge and face of a volume, and in its middle."""
    mask = np.zeros((12, 13, 11), np.int16)
    along = [(slice(2), slice(n // 2, n // 2 + 1), slice(n - 2, n)) for n in mask.shape]
    for label, place in enumerate(itertools.product(*along), 1):
        mask[place] = label
    return mask


def far_apart() -> np.ndarray:
    mask = np.zeros((24, 25), np.uint8)
    mask[:2, :3] = mask[-2:, -3:] = 200
    mask[:1, -1:] = mask[12:13, :1] = 3
    return mask


OBJECTS = {
    "in one block": boxes((24, 24), (2, 6, 3, 5), (9, 15, 9, 14), (17, 18, 3, 7)),
    "in two blocks": boxes((24, 24), (6, 11, 1, 4), (1, 4, 6, 11), (20, 24, 13, 18)),
    "in four blocks": boxes((24, 24), (5, 11, 6, 10), (14, 18, 15, 19)),
    "in all nine blocks": boxes((24, 24), (2, 21, 4, 22), (9, 12, 9, 12)),
    "in eight blocks": boxes((16, 16, 16), (6, 10, 5, 12, 7, 11), (7, 9, 0, 2, 0, 2)),
    "everything": np.full((20, 23), 9, np.int64),
    "everything in 3-D": np.full((9, 10, 11), -9, np.int64),
    "a crescent": arc(),
    "two parts far apart": far_apart(),
    "single pixels": np.diag(np.arange(1, 25)).astype(np.int32),
    "corners, edges and faces": corners(),
    "a chequered board": np.indices((20, 21)).sum(axis=0) % 2 + 1,
    "stripes in a row": np.repeat([0, 4, 4, 1, 0, 3, 4, 2], 5),
}


class TestObjects:
    @pytest.mark.parametrize("alone", [True, False])
    @pytest.mark.parametrize("labels", OBJECTS.values(), ids=OBJECTS)
    def test_of_any_shape_and_place(self, labels, alone):
        mask = field(labels)
        image = picture(mask, "f4")
        for size in (7, {"x": 4, dims_of(labels.ndim)[0]: 30}, None):
            expected = assert_is_loop(image, mask, size, remove_background=alone)
            for chunk in (8, 5):
                found = assert_is_loop(image.chunk(chunk), mask.chunk(chunk), size, remove_background=alone)
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
        image = picture(mask, "u2")
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


MASK_DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", ">u2", ">i8", "?"]
IMAGE_DTYPES = ["?", "u1", "i1", "u2", "i4", "u8", "f2", "f4", "f8", ">f4", ">u2"]


@st.composite
def fields(draw: st.DrawFn) -> tuple[xr.DataArray, xr.DataArray]:
    """An image and a mask, numpy or dask, of any dims, dtypes and chunks."""
    ndim = draw(st.integers(1, 3))
    shape = tuple(draw(st.integers(1, (40, 10, 6)[ndim - 1])) for _ in range(ndim))
    dtype = np.dtype(draw(st.sampled_from(MASK_DTYPES)))
    limits = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    ids = np.array([0, limits[1], 1, limits[1] // 2 + 1, limits[0]], "u1" if dtype.kind == "b" else dtype)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    # Few labels per pixel in turn, or in stretches along the last axis.
    codes = rng.integers(0, len(ids), shape)
    stretch = draw(st.sampled_from([1, 3]))
    mask = xr.DataArray(ids[np.repeat(codes, stretch, axis=-1)[..., : shape[-1]]].astype(dtype), dims=dims_of(ndim))
    other = {dim: draw(st.integers(1, 3)) for dim in OTHER[: draw(st.integers(0, 2))]}
    image = picture(mask, draw(st.sampled_from(IMAGE_DTYPES)), seed=draw(st.integers(0, 99)), **other)
    image = image.transpose(*draw(st.permutations(image.dims)))
    lazy = draw(st.sampled_from(["both", "both", "both", "image", "mask", "neither"]))

    def chunks(array: xr.DataArray) -> dict[Hashable, tuple[int, ...]]:
        cuts = {dim: sorted(draw(st.lists(st.integers(0, n), max_size=3))) for dim, n in array.sizes.items()}
        return {dim: tuple(np.diff([0, *cut, array.sizes[dim]]).tolist()) for dim, cut in cuts.items()}

    if lazy in ("both", "image"):
        image = image.chunk(chunks(image))
    if lazy in ("both", "mask"):
        mask = mask.chunk(chunks(mask))
    return image, mask


@st.composite
def sizes(draw: st.DrawFn, dims: tuple[Hashable, ...]) -> Any:
    pixels = st.integers(1, 12)
    per_dim = st.dictionaries(st.sampled_from(dims), pixels)
    return draw(st.one_of(pixels, per_dim, st.none()))


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
            patch.setattr("xlabelstats.regions.REGION_COST", 0)
            patch.setattr("xlabelstats.regions.KEPT_BYTES", 0)
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
    def test_image_blocks_that_no_window_touches_are_never_read(self, alone):
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
                along = [
                    range(max(c - 6, 0) // 10, min(c + 6, n - 1) // 10 + 1)
                    for c, n in zip(centre_of(places[label]), mask.shape, strict=True)
                ]
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
        windows(image, mask, 3).compute()
        assert set(storage.blocks(10)) == {(1, 1), (0, 1), (1, 0)}

    def test_mask_blocks_that_no_window_touches_are_read_by_the_scan_alone(self):
        labels = np.zeros((60, 60), int)
        labels[5, 5], labels[31:33, 28:33], labels[59, 59] = 1, 2, 3
        storage = Storage(labels)
        mask = xr.DataArray(storage.lazy(10), dims=("y", "x"))
        lazy = mask.instances.windows(7, labels=[2])
        assert len(storage.reads) == 36
        storage.reads.clear()
        lazy.compute()
        assert set(storage.blocks(10)) == {(2, 2), (2, 3), (3, 2), (3, 3)}

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


class TestNothing:
    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("alone", [False, True])
    @pytest.mark.parametrize(("size", "y", "x"), [(5, 5, 5), (None, 0, 0), ({"x": 4}, 12, 4)])
    @pytest.mark.parametrize("what", ["background", "labels"])
    def test_has_the_dims_and_dtypes_of_something(self, lazy, alone, size, y, x, what):
        labels = np.zeros((12, 13), np.int16) if what == "background" else blobs((12, 13), 4).astype(np.int16)
        mask = field(labels)
        image = picture(mask, ">f2", c=3, t=2).assign_coords(c=list("abd"))
        if lazy:
            image, mask = image.chunk(c=2, y=5, x=5), mask.chunk(5)
        options = {} if what == "background" else {"labels": []}
        result = image.instances.windows(mask, size, remove_background=alone, batch_size=7, **options)
        assert dict(result.sizes) == {"label": 0, "c": 3, "t": 2, "y": y, "x": x}
        assert result["image"].dims == ("label", "c", "t", "y", "x")
        assert result["mask"].dims == ("label", "y", "x")
        assert (result["image"].chunks is not None) == lazy
        for found in (result, result.compute()):
            assert (found["image"].dtype, found["mask"].dtype) == (np.dtype("=f2"), np.int16)
            assert found["label"].dtype == np.int16
            assert found["c"].values.tolist() == list("abd")
        alone_mask = mask.instances.windows(size, remove_background=alone, **options)
        xr.testing.assert_identical(alone_mask.compute(), result.compute()[["mask"]])

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("shape", [(0, 5), (4, 0), (0,)])
    def test_of_a_mask_without_pixels(self, shape, lazy):
        mask = field(np.zeros(shape, np.uint8))
        image = picture(mask)
        image, mask = (image.chunk(2), mask.chunk(2)) if lazy else (image, mask)
        result = image.instances.windows(mask, 3).compute()
        assert result["image"].shape == (0, *(3 for _ in shape))
        assert mask.instances.windows().compute()["mask"].shape == (0, *(0 for _ in shape))

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("alone", [False, True])
    def test_of_an_image_without_channels(self, lazy, alone):
        mask = field(blobs((12, 13), 4))
        image = picture(mask, c=0)
        image, mask = (image.chunk(y=5, x=5), mask.chunk(5)) if lazy else (image, mask)
        result = assert_is_loop(image, mask, 5, remove_background=alone)
        assert result["image"].shape == (result.sizes["label"], 0, 5, 5)

    @pytest.mark.parametrize("lazy", [False, True])
    def test_is_not_shown_to_a_model(self, lazy):
        mask = field(np.zeros((12, 13), int))
        mask = mask.chunk(5) if lazy else mask

        def model(batch: np.ndarray) -> np.ndarray:
            raise AssertionError

        result = picture(mask, c=2).instances.featurize(mask, model, size=5, n_features=3, dtype=np.int16)
        assert (result.dims, result.shape, result.dtype) == (("label", "feature"), (0, 3), np.int16)
        assert (result.compute().shape, result.chunks is not None) == ((0, 3), lazy)


def layouts(array: np.ndarray) -> dict[str, np.ndarray]:
    """The same numbers, laid out in memory in other ways."""
    wide = np.zeros([2 * n + 1 for n in array.shape], array.dtype)
    strided = wide[tuple(slice(1, None, 2) for _ in array.shape)]
    strided[...] = array
    odd = np.zeros(array.nbytes + 1, np.uint8)
    unaligned = odd[1:].view(array.dtype).reshape(array.shape)
    unaligned[...] = array
    spread = np.zeros((*array.shape[:-1], 3 * array.shape[-1]), array.dtype)
    spread[..., : array.shape[-1]] = array
    return {
        "C": array.copy(),
        "F": np.asfortranarray(array),
        "every other": strided,
        "backwards": np.flip(np.flip(array).copy()),
        "upside down": np.flip(np.flip(array, 0).copy(), 0),
        "part of rows": spread[..., : array.shape[-1]],
        "byte order": array.astype(array.dtype.newbyteorder()),
        "unaligned": unaligned,
        "turned": np.ascontiguousarray(np.moveaxis(array, 0, -1)).transpose(array.ndim - 1, *range(array.ndim - 1)),
    }


class TestInputs:
    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("alone", [False, True])
    @pytest.mark.parametrize("layout", layouts(np.zeros((2, 2))))
    def test_of_any_layout_are_read_right_and_never_changed(self, layout, alone, lazy):
        labels = blobs((6, 14, 13), 7).astype(np.int32)
        pixels = random_bits((2, 6, 14, 13), "u2", 1)
        image = xr.DataArray(layouts(pixels)[layout], dims=("c", "z", "y", "x"))
        mask = xr.DataArray(layouts(labels)[layout], dims=("z", "y", "x"))
        for array in (image, mask):
            array.data.flags.writeable = False
        held = [(array.dims, dict(array.attrs), array.data.tobytes(), array.dtype) for array in (image, mask)]
        a, b = (image.chunk(5), mask.chunk(5)) if lazy else (image, mask)
        found = assert_is_loop(a, b, 7, remove_background=alone)
        assert_same_bits(found["mask"], assert_is_loop(None, b, 7, remove_background=alone)["mask"].values)
        assert_same_bits(
            found.sortby("label")["image"],
            windows(
                xr.DataArray(pixels, dims=image.dims), xr.DataArray(labels, dims=mask.dims), 7, remove_background=alone
            )["image"].values,
        )
        assert held == [(array.dims, dict(array.attrs), array.data.tobytes(), array.dtype) for array in (image, mask)]

    def test_an_image_that_repeats_itself_in_memory(self):
        mask = field(blobs((12, 13), 4))
        row = np.broadcast_to(np.arange(13, dtype=np.uint8), (2, 12, 13))
        column = np.broadcast_to(np.arange(12, dtype=np.uint8)[:, None], (2, 12, 13))
        for pixels in (row, column, np.broadcast_to(np.uint8(3), (2, 12, 13))):
            assert_is_loop(xr.DataArray(pixels, dims=("c", "y", "x")), mask, 7)
            lazy = xr.DataArray(da.from_array(pixels, (1, 5, 5)), dims=("c", "y", "x"))
            assert_is_loop(lazy, mask.chunk(5), 7)

    def test_results_may_be_written_to_without_harm(self):
        mask = field(blobs((12, 13), 4))
        image = picture(mask)
        for a, b in ((image, mask), (image.chunk(20), mask.chunk(20))):
            before = image.values.copy(), mask.values.copy()
            result = windows(a, b, {}, remove_background=False).compute()
            result["image"][:] = 0
            result["mask"][:] = 0
            np.testing.assert_array_equal(image, before[0])
            np.testing.assert_array_equal(mask, before[1])

    @pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="no long double here")
    def test_long_doubles_are_windows_of_float64(self):
        mask = field(blobs((12, 13), 4))
        image = picture(mask, "i2").astype(np.longdouble)
        found, expected = windows(image, mask, 7), windows(image.astype(np.float64), mask, 7)
        np.testing.assert_array_equal(found["image"], expected["image"])
        lazy = windows(image.chunk(5), mask.chunk(5), 7)
        assert lazy["image"].dtype == lazy["image"].compute().dtype
        np.testing.assert_array_equal(lazy["image"].sortby("label"), expected["image"])


MASK = field(blobs((12, 13), 4))
IMAGE = picture(MASK)


class TestErrors:
    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize(
        ("size", "error", "message"),
        [
            (0, ValueError, "size is at least 1 pixel, not 0"),
            (-3, ValueError, "size is at least 1 pixel, not -3"),
            ({"y": 3, "x": 0}, ValueError, "size along 'x' is at least 1 pixel, not 0"),
            (2.5, TypeError, "size is a whole number of pixels, not 2.5; give one for all dims, a mapping"),
            (True, TypeError, "size is a whole number of pixels, not True"),
            ({"y": 3.0}, TypeError, "size along 'y' is a whole number of pixels, not 3.0"),
            ({"y": None}, TypeError, "size along 'y' is a whole number of pixels, not None"),
            ((3, 4), TypeError, r"size is a whole number of pixels, not \(3, 4\)"),
            ("big", TypeError, "size is a whole number of pixels, not 'big'"),
            ({"z": 3}, ValueError, r"size is given for 'z', but the mask has the dims \('y', 'x'\)"),
            ({"y": 3, "c": 3}, ValueError, "size is given for 'c', but the mask has the dims"),
        ],
    )
    def test_sizes(self, size, error, message, lazy):
        image, mask = (IMAGE.chunk(5), MASK.chunk(5)) if lazy else (IMAGE, MASK)
        with pytest.raises(error, match=message):
            image.instances.windows(mask, size)
        with pytest.raises(error, match=message):
            mask.instances.windows(size)
        with pytest.raises(error, match=message):
            image.instances.featurize(mask, np.ravel, size=size, n_features=1)

    @pytest.mark.parametrize("batch", [0, -1, 2.0, True, "2"])
    @pytest.mark.parametrize("mask", [MASK, MASK.chunk(5)], ids=["numpy", "dask"])
    def test_batch_sizes(self, batch, mask):
        message = re.escape(f"batch_size is a positive whole number of labels, not {batch!r}")
        with pytest.raises(ValueError, match=message):
            IMAGE.instances.windows(mask, 5, batch_size=batch)
        with pytest.raises(ValueError, match=message):
            IMAGE.instances.featurize(mask, np.ravel, size=5, n_features=1, batch_size=batch)

    def test_a_mask_that_is_no_dataarray(self):
        with pytest.raises(
            TypeError, match="the first argument is a mask, a DataArray, or without one size; it is ndarray"
        ):
            IMAGE.instances.windows(MASK.values, 5)
        with pytest.raises(TypeError, match="it is int, and size is given too"):
            MASK.instances.windows(5, 5)
        with pytest.raises(TypeError, match="it is function, and model is given too"):
            MASK.instances.featurize(lambda b: b, lambda b: b, size=5, n_features=1)
        with pytest.raises(TypeError, match=r"a mask is an xarray\.DataArray, not ndarray"):
            IMAGE.instances.windows(MASK.values)

    def test_an_image_that_is_taken_for_a_mask(self):
        with pytest.raises(TypeError, match=r"this array holds float64\. If it is the image, the mask comes first"):
            IMAGE.astype(float).instances.windows(5)
        with pytest.raises(TypeError, match="a mask holds integer labels, not float64"):
            IMAGE.instances.windows(MASK.astype(float), 5)
        with pytest.raises(TypeError, match="an image holds numbers"):
            IMAGE.astype(complex).instances.windows(MASK, 5)

    def test_names_that_the_result_needs(self):
        with pytest.raises(ValueError, match="the image already has a dim 'label'"):
            picture(MASK, label=2).instances.windows(MASK, 5)
        with pytest.raises(ValueError, match="the mask already has a dim 'label'"):
            MASK.rename(y="label").instances.windows(5)
        for name in ("mask", "image"):
            with pytest.raises(
                ValueError, match=f"'{name}', a dim or coordinate of the image, is a name of the result"
            ):
                picture(MASK, **{name: 2}).instances.windows(MASK, 5)
            with pytest.raises(
                ValueError, match=f"'{name}', a dim or coordinate of the image, is a name of the result"
            ):
                IMAGE.assign_coords({name: 1}).instances.windows(MASK, 5)

    def test_image_and_mask_that_do_not_match(self):
        with pytest.raises(ValueError, match="the image has no dim 'x' of the mask"):
            IMAGE.isel(x=0).instances.windows(MASK, 5)
        with pytest.raises(
            ValueError, match="image and mask differ in size: 'x' is 12 in the image and 13 in the mask"
        ):
            IMAGE.isel(x=slice(12)).instances.windows(MASK, 5)
        with pytest.raises(ValueError, match="the coordinates of image and mask differ along 'y'"):
            IMAGE.assign_coords(y=np.arange(12)).instances.windows(MASK.assign_coords(y=np.arange(12) + 1), 5)

    def test_models_and_their_features(self):
        with pytest.raises(TypeError, match="model is called with batches of windows, but str cannot be called"):
            IMAGE.instances.featurize(MASK, "resnet", size=5, n_features=1)
        with pytest.raises(TypeError, match="but NoneType cannot be called"):
            IMAGE.instances.featurize(MASK, size=5, n_features=1)
        for n in (-1, 2.0, True, None):
            with pytest.raises(
                ValueError, match=f"n_features is the number of columns that the model returns, not {n}"
            ):
                IMAGE.instances.featurize(MASK, np.ravel, size=5, n_features=n)

    @pytest.mark.parametrize("chunk", [None, 5])
    @pytest.mark.parametrize("labels", [[1.5], "ab", [[1]]])
    def test_labels_that_are_none(self, labels, chunk):
        mask = MASK if chunk is None else MASK.chunk(chunk)
        with pytest.raises(TypeError, match="labels are whole numbers, one or a 1-D sequence of them, not "):
            mask.instances.windows(5, labels=labels)


def moments(batch: np.ndarray, scale: float = 1) -> np.ndarray:
    """Three features per channel."""
    flat = batch.reshape(*batch.shape[:2], math.prod(batch.shape[2:])).astype(np.float64)
    found = [flat.sum(axis=2), flat.max(axis=2, initial=0), (flat * np.arange(flat.shape[2])).sum(axis=2)]
    return scale * np.concatenate(found, axis=1)


class Model:
    """A model that takes note of what it is given."""

    def __init__(self, n: int = 1) -> None:
        self.n, self.batches, self.lock = n, [], threading.Lock()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        with self.lock:
            self.batches.append((batch.shape, batch.dtype))
        return batch.reshape(len(batch), -1)[:, : self.n].astype(np.float32)


class Heavy:
    """A model that counts how often it is packed up to be sent."""

    packed = 0

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return batch.max(axis=(2, 3))

    def __reduce__(self) -> tuple:
        Heavy.packed += 1
        return Heavy, ()


def featurize(*args: Any, **kwargs: Any) -> xr.DataArray:
    return quietly(args[0].instances.featurize, *args[1:], **kwargs)[0]


class TestFeaturize:
    @pytest.mark.parametrize("alone", [True, False])
    @pytest.mark.parametrize("chunk", [None, 100, 33])
    def test_is_the_model_of_the_windows_of_the_nuclei(self, nuclei2d, chunk, alone):
        image, mask = nuclei2d if chunk is None else (array.chunk(chunk) for array in nuclei2d)
        result = featurize(image, mask, moments, size=20, n_features=3, remove_background=alone, dtype=float)
        ids = ids_in_order(image, mask)
        cells = by_loop(mask.values, image.values, pixels_of(mask.values), ids, [20, 20], alone)[0]
        assert result.dims == ("label", "feature")
        assert result["label"].values.tolist() == ids
        assert (result.chunks is None) == (chunk is None)
        np.testing.assert_array_equal(result, moments(cells[:, None]))

    @settings(max_examples=30, deadline=None)
    @given(data=st.data(), alone=st.booleans(), batch=st.none() | st.integers(1, 5))
    def test_channels_are_the_other_dims_in_the_images_order(self, data, alone, batch):
        image, mask = data.draw(fields())
        image = image.copy(data=image.data.view(f"u{image.dtype.itemsize}")) if image.dtype.kind == "f" else image
        size = data.draw(sizes(mask.dims))
        other = [dim for dim in image.dims if dim not in mask.dims]
        c = int(np.prod([image.sizes[dim] for dim in other], dtype=int))
        model = Model()
        options = {"size": size, "remove_background": alone, "batch_size": batch}
        result = featurize(image, mask, moments, n_features=3 * c, dtype=float, **options)
        expected = windows(image.compute(), mask.compute(), size, remove_background=alone)["image"].values
        expected = moments(expected.reshape(len(expected), c, *expected.shape[1 + len(other) :]))
        np.testing.assert_array_equal(result.sortby("label"), expected)
        featurize(image, mask, model, n_features=1, **options).compute(scheduler="synchronous")
        n = result.sizes["label"]
        step = batch or max(n, 1)
        counts = sorted((min(step, n - first) for first in range(0, n, step)), reverse=True)
        found = sorted((shape[0] for shape, _ in model.batches), reverse=True)
        assert found == counts
        for shape, dtype in model.batches:
            assert shape[1] == c
            assert len(shape) == 2 + mask.ndim
            assert dtype == image.dtype.newbyteorder("=")

    @pytest.mark.parametrize("lazy", [False, True])
    def test_of_a_mask_is_one_channel_of_labels(self, lazy):
        mask = MASK.astype(np.uint16)
        array = mask.chunk(5) if lazy else mask
        model = Model()
        result = featurize(
            array,
            lambda batch: np.stack([batch.max(axis=(1, 2, 3)), (batch > 0).sum(axis=(1, 2, 3))], 1),
            size=30,
            n_features=2,
        )
        assert (result.values == np.stack([result["label"], [(mask == i).sum() for i in result["label"]]], 1)).all()
        featurize(array, model, size=4, n_features=1).compute()
        assert {dtype for _, dtype in model.batches} == {np.dtype(np.uint16)}
        assert {shape[1:] for shape, _ in model.batches} == {(1, 4, 4)}
        assert result.attrs["long_name"] == "features of the windows of mask"

    @pytest.mark.parametrize("lazy", [False, True])
    def test_the_last_batch_is_short(self, lazy):
        mask = field(np.arange(1, 24).reshape(1, 23))
        model = Model()
        array = mask.chunk(x=6) if lazy else mask
        result = array.instances.featurize(model, size=1, n_features=1, batch_size=10)
        assert (result.values[:, 0] == np.arange(1, 24)).all()
        assert sorted(shape[0] for shape, _ in model.batches) == [3, 10, 10]
        assert result.chunks == (((10, 10, 3), (1,)) if lazy else None)

    def test_batches_are_of_about_16_mib_unless_told(self):
        mask = field(np.arange(1, 301).reshape(15, 20))
        image = picture(mask, "u1", c=64)
        for a, b in ((image, mask), (image.chunk(c=64, y=10, x=10), mask.chunk(10))):
            model = Model()
            a.instances.featurize(b, model, size=128, n_features=1, remove_background=False).compute()
            assert sorted({shape[0] for shape, _ in model.batches}) == [300 % 16, 16]

    @pytest.mark.parametrize("lazy", [False, True])
    def test_dtype_kwargs_and_labels(self, lazy):
        image, mask = (IMAGE.chunk(5), MASK.chunk(5)) if lazy else (IMAGE, MASK)
        ids = np.unique(MASK.values)[1:].tolist()[:0:-1]
        plain = featurize(image, mask, moments, size=5, n_features=3, labels=ids)
        assert (plain.dtype, plain.compute().dtype) == (np.float32, np.float32)
        assert plain["label"].values.tolist() == ids_in_order(image, mask, ids)
        scaled = featurize(
            image, mask, moments, size=5, n_features=3, labels=ids, model_kwargs={"scale": 2}, dtype="f8"
        )
        assert (scaled.dtype, scaled.compute().dtype) == (np.float64, np.float64)
        np.testing.assert_allclose(scaled, 2 * plain, rtol=1e-6)
        counts = featurize(mask, lambda batch: (batch > 0).sum(axis=(2, 3)), size=5, n_features=1, dtype=np.int32)
        assert counts.compute().dtype == np.int32
        none = featurize(image, mask, lambda batch: np.zeros((len(batch), 0)), size=5, n_features=0)
        assert none.compute().shape == (4, 0)

    def test_name_and_attrs(self):
        result = IMAGE.rename("dapi").instances.featurize(MASK, moments, size=25, n_features=np.int64(3))
        assert (result.name, result.attrs) == ("features", {"long_name": "features of the windows of dapi"})
        assert set(result.coords) == {"label"}

    def test_what_a_model_returns_may_be_any_array(self):
        lazy = featurize(MASK, lambda batch: batch.max(axis=(2, 3)).tolist(), size=5, n_features=1)
        assert lazy.values[:, 0].tolist() == lazy["label"].values.tolist()

    def test_the_model_is_in_the_graph_once(self):
        import cloudpickle

        mask = field(blobs((40, 41), 30)).chunk(8)
        model = Heavy()
        result = featurize(picture(mask, c=3), mask, model, size=9, n_features=3, batch_size=2)
        graph = dict(result.__dask_graph__())
        assert result.data.npartitions > 10
        Heavy.packed = 0
        holders = []
        for key, task in graph.items():
            before = Heavy.packed
            cloudpickle.dumps(task)
            holders += [key] * (Heavy.packed > before)
        assert len(holders) == 1
        assert Heavy.packed == 1
        Heavy.packed = 0
        (optimized,) = dask.optimize(result)
        for task in dict(optimized.__dask_graph__()).values():
            cloudpickle.dumps(task)
        assert Heavy.packed == 1

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("returned", [(3,), (3, 1), (2, 2), (3, 2, 1), ()])
    def test_a_wrong_shape(self, lazy, returned):
        mask = field(np.repeat([7, 8, 9], 2))
        mask = mask.chunk(6) if lazy else mask
        message = re.escape(
            f"the model returned the shape {returned} for a batch of shape (3, 1, 4) (labels 7 to 9), not (3, 2): "
            "a row per window and n_features=2 columns"
        )
        with pytest.raises(ValueError, match=message):
            mask.instances.featurize(lambda batch: np.zeros(returned), size=4, n_features=2).compute()

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize(
        ("returned", "dtype"),
        [(complex, "f4"), (float, "i4"), (int, "?"), (str, "f4"), (object, "f4")],
    )
    def test_a_dtype_that_cannot_hold_what_the_model_returns(self, lazy, returned, dtype):
        mask = field(np.repeat([7, 8, 9], 2))
        mask = mask.chunk(6) if lazy else mask
        message = (
            f"the model returned {re.escape(str(np.empty(0, returned).dtype))}.*, which {np.dtype(dtype)} cannot hold"
        )
        with pytest.raises(TypeError, match=message):
            mask.instances.featurize(
                lambda batch: np.ones((len(batch), 2), returned), size=4, n_features=2, dtype=dtype
            ).compute()

    @pytest.mark.parametrize("lazy", [False, True])
    def test_what_the_model_raises_is_passed_on_and_names_the_labels(self, lazy):
        class Full(Exception):
            pass

        def model(batch: np.ndarray) -> np.ndarray:
            if (batch == 9).any():
                raise Full("no room")
            return np.zeros((len(batch), 1))

        mask = field(np.repeat([7, 8, 9, 5], 2))
        mask = mask.chunk(4) if lazy else mask
        for batch_size, span in ((1, "label 9"), (2, "labels 5 to 9" if lazy else "labels 8 to 9")):
            with pytest.raises(Full, match="no room") as caught:
                mask.instances.featurize(model, size=4, n_features=1, batch_size=batch_size).compute()
            (note,) = [note for note in caught.value.__notes__ if "model" in note]
            assert note == f"raised by the model for a batch of {batch_size} windows of shape (1, 4), {span}"


class TestSchedulers:
    def lazies(self) -> list[Any]:
        mask = field(blobs((40, 41), 25)).chunk(9)
        image = picture(mask, "f4", c=3).chunk(c=2, y=9, x=9)
        return [
            windows(image, mask, 13, batch_size=4),
            windows(image, mask, 12, remove_background=False),
            windows(mask, 8),
            featurize(image, mask, Heavy(), size=9, n_features=3, batch_size=3).to_dataset(),
        ]

    def test_threads_and_one_thread_give_the_same(self):
        lazies = self.lazies()
        one = dask.compute(*lazies, scheduler="synchronous")
        for _ in range(3):
            for found, expected in zip(dask.compute(*lazies, scheduler="threads", num_workers=8), one, strict=True):
                xr.testing.assert_identical(found, expected)

    def test_a_cluster_gives_the_same(self):
        from distributed import Client

        one = dask.compute(*self.lazies(), scheduler="synchronous")
        with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=":0"):
            for found, expected in zip(dask.compute(*self.lazies()), one, strict=True):
                xr.testing.assert_identical(found, expected)

    def test_processes_give_the_same(self):
        lazies = self.lazies()
        one = dask.compute(*lazies, scheduler="synchronous")
        import cloudpickle

        for lazy, expected in zip(lazies, one, strict=True):
            moved = cloudpickle.loads(cloudpickle.dumps(lazy))
            xr.testing.assert_identical(moved.compute(scheduler="synchronous"), expected)


def test_a_transformer_that_cannot_be_called_is_told_how():
    class Transformer:
        def transform(self, rows):
            return rows

    mask = xr.DataArray([1, 1, 2], dims="x")
    with pytest.raises(TypeError, match=r"but Transformer cannot be called; wrap its method: lambda batch: model\."):
        mask.instances.featurize(Transformer(), size=1, n_features=1)
