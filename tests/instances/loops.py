"""Windows cut by plain loops, and fields of objects: what the tests of windows and models compare with."""

from __future__ import annotations

import itertools
import math
import threading
import warnings
from collections import Counter
from collections.abc import Hashable, Mapping
from fractions import Fraction
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from conftest import blobs, places
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
    return {int(label): tuple(at.T) for label, at in places(mask).items()}


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
    cells = mask.values
    places = pixels_of(cells)
    ids = ids_in_order(image, mask, kwargs.get("labels"), places)
    shared = mask.dims
    other = () if image is None else tuple(dim for dim in image.dims if dim not in shared)
    labelled = cells.astype(np.uint8) if mask.dtype == bool else cells
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
    # Windows are cut in bits, by loops for the sizes of the pixels of both: each size, and not each pair of sizes.
    sizes = {dtype.itemsize, min(dtype.itemsize, 2)}
    image_dtype = draw(st.sampled_from([name for name in IMAGE_DTYPES if np.dtype(name).itemsize in sizes]))
    image = picture(mask, image_dtype, seed=draw(st.integers(0, 99)), **other)
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


MASK = field(blobs((12, 13), 4))


IMAGE = picture(MASK)


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
