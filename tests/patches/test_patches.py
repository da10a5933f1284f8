"""Patches, against numpy.pad and numpy slicing of whole arrays, and against the windows of objects."""

from __future__ import annotations

import inspect
import itertools
import pickle
import warnings
from typing import Any, ClassVar

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st

import xlabelstats
from xlabelstats.patches import LabelPatches, XarrayImageStack, load_image_stacks
from xlabelstats.patches.sources import DaskSource, as_source

DIMS = {"S": "sample", "T": "time", "C": "channel", "Z": "z", "Y": "y", "X": "x"}
DTYPES = ("u1", "<u2", ">u2", "i4", "u8", "?", "f2", "f4", ">f4", "f8")
MARGIN = 30


def stacked(values: np.ndarray, axes: str) -> np.ndarray:
    """An array as SC(Z)YX."""
    order = [letter for letter in "STCZYX" if letter in axes]
    values = values.transpose([axes.index(letter) for letter in order])
    for place, letter in enumerate("STC"):
        if letter not in axes:
            values = np.expand_dims(values, place)
    return values.reshape(values.shape[0] * values.shape[1], *values.shape[2:])


def patch_by_padding(whole: np.ndarray, sample: int, channels: Any, coords: Any, size: Any) -> np.ndarray:
    image = whole[sample] if channels is None else whole[sample][list(channels)]
    padded = np.pad(image, [(0, 0)] + [(MARGIN, MARGIN)] * len(coords))
    cut = tuple(slice(MARGIN + a, MARGIN + a + d) for a, d in zip(coords, size, strict=True))
    return padded[(slice(None), *cut)].astype(np.float32)


def numbers(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 250, shape).astype(dtype)


def in_memory(values: np.ndarray, dims: tuple[str, ...], chunks: tuple[int, ...]) -> xr.DataArray:
    return xr.DataArray(values, dims=dims)


def in_blocks(values: np.ndarray, dims: tuple[str, ...], chunks: tuple[int, ...]) -> xr.DataArray:
    return xr.DataArray(da.from_array(values, chunks), dims=dims)


def in_zarr(
    values: np.ndarray, dims: tuple[str, ...], chunks: tuple[int, ...], store: Any = None, lazy: Any = None
) -> xr.DataArray:
    store = zarr.storage.MemoryStore() if store is None else store
    # Not every version of zarr stores numbers whose bytes are in another order than the machine's.
    values = values.astype(values.dtype.newbyteorder("="))
    zarr.create_array(store, name="a", data=values, chunks=chunks, dimension_names=dims)
    return xr.open_zarr(store, chunks=lazy, consolidated=False)["a"]


def in_zarr_blocks(values: np.ndarray, dims: tuple[str, ...], chunks: tuple[int, ...]) -> xr.DataArray:
    return in_zarr(values, dims, chunks, lazy={})


BACKENDS = (in_memory, in_blocks, in_zarr, in_zarr_blocks)


@st.composite
def reads(draw: Any) -> tuple:
    """An array of any axes in any order, how it is held, and a patch of it."""
    held = draw(st.sampled_from(["", "S", "T", "C", "ST", "SC", "TC", "STC"])) + draw(st.sampled_from(["YX", "ZYX"]))
    axes = "".join(draw(st.permutations(held)))
    shape = tuple(draw(st.integers(1, 3 if letter in "STC" else 9)) for letter in axes)
    chunks = tuple(draw(st.integers(max(n // 3, 1), n)) for n in shape)
    values = numbers(shape, draw(st.sampled_from(DTYPES)), draw(st.integers(0, 9)))
    samples, n_channels, *space = stacked(values, axes).shape
    channels = draw(st.none() | st.lists(st.integers(0, n_channels - 1), min_size=1, max_size=4))
    coords = [draw(st.integers(-14, n + 4)) for n in space]
    size = [draw(st.integers(1, 12)) for _ in space]
    return (
        axes,
        values,
        chunks,
        draw(st.sampled_from(BACKENDS)),
        draw(st.integers(0, samples - 1)),
        channels,
        coords,
        size,
    )


class Counting(zarr.storage.MemoryStore):
    """A store that notes the chunks that are read, also from its read-only views."""

    read: ClassVar[list[str]] = []

    async def get(self, key: str, *args: Any, **options: Any) -> Any:
        if "/c/" in key:
            self.read.append(key)
        return await super().get(key, *args, **options)


class TestExtractPatch:
    @given(reads())
    @settings(deadline=None, max_examples=150)
    def test_is_what_padding_and_slicing_the_whole_array_gives(self, case):
        axes, values, chunks, backend, sample, channels, coords, size = case
        image = backend(values, tuple(DIMS[letter] for letter in axes), chunks)
        stack = XarrayImageStack(image)
        whole = stacked(values, axes)
        assert stack.data_shape == whole.shape
        assert stack.original_data_shape == values.shape
        assert stack.original_axes == axes
        assert stack.data_dtype == image.dtype
        expected = patch_by_padding(whole, sample, channels, coords, size)
        found = stack.extract_patch(sample, channels, coords, size)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)
        own = stack.extract_patch(sample, channels, coords, size, dtype=None)
        assert own.dtype == values.dtype.newbyteorder("=")
        np.testing.assert_array_equal(own.astype(np.float32), expected)

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_far_outside_it_is_zero(self, backend):
        stack = XarrayImageStack(backend(numbers((2, 8, 9), "f2") + 1, ("c", "y", "x"), (1, 4, 4)))
        for coords in ((-5, 0), (0, -5), (8, 0), (0, 9), (-(10**9), 3), (10**9, 10**9)):
            np.testing.assert_array_equal(stack.extract_patch(0, None, coords, (5, 5)), np.zeros((2, 5, 5), np.float32))

    def test_half_floats_keep_their_values_and_those_that_are_not_numbers(self):
        values = np.array([[0.1, 65504, 6e-8], [np.inf, -np.inf, np.nan]], np.float16)
        found = XarrayImageStack(xr.DataArray(values, dims=("y", "x"))).extract_patch(0, None, (0, 0), (2, 3))
        np.testing.assert_array_equal(found[0], values.astype(np.float32))

    def test_sample_is_outer_and_time_inner_in_any_order_of_dims(self):
        values = numbers((3, 2, 4, 5), "u2")
        for order in itertools.permutations(range(4)):
            dims = tuple(("time", "sample", "y", "x")[i] for i in order)
            stack = XarrayImageStack(xr.DataArray(values.transpose(order), dims=dims))
            for s, t in itertools.product(range(2), range(3)):
                found = stack.extract_patch(3 * s + t, None, (0, 0), (4, 5))
                np.testing.assert_array_equal(found[0], values[t, s])

    @pytest.mark.parametrize("lazy", [None, {}])
    def test_reads_the_chunks_that_the_patch_touches_each_once(self, lazy):
        store = Counting()
        image = in_zarr(numbers((4, 32, 32), "u2"), ("c", "y", "x"), (1, 8, 8), store, lazy)
        stack = XarrayImageStack(image)
        store.read.clear()
        stack.extract_patch(0, [3, 0, 3], (-4, 7), (10, 2))
        assert sorted(store.read) == [f"a/c/{c}/0/{x}" for c in (0, 3) for x in (0, 1)]
        store.read.clear()
        stack.extract_patch(0, None, (100, 0), (10, 10))
        assert store.read == []

    def test_computes_the_blocks_that_the_patch_touches(self):
        seen = []

        def note(block: np.ndarray, block_info: Any = None) -> np.ndarray:
            seen.append(tuple(block_info[0]["chunk-location"]))
            return block + 1

        values = numbers((32, 32), "u2")
        pixels = da.from_array(values, 8).map_blocks(note, dtype="u2", meta=np.empty((0, 0), "u2"))
        stack = XarrayImageStack(xr.DataArray(pixels, dims=("y", "x")))
        found = stack.extract_patch(0, None, (14, -3), (4, 5))
        np.testing.assert_array_equal(found[0, :, 3:], values[14:18, :2] + 1)
        assert sorted(seen) == [(1, 0), (2, 0)]

    def test_shows_no_progress_bar(self, capfd):
        stack = XarrayImageStack(xr.DataArray(da.zeros((8, 8), chunks=4), dims=("y", "x")))
        with xlabelstats.set_options(progress=True):
            stack.extract_patch(0, None, (0, 0), (2, 2))
        assert capfd.readouterr().err == ""

    def test_reads_straight_what_dask_would_only_read(self):
        values = numbers((8, 8), "u2")
        stored = zarr.create_array(zarr.storage.MemoryStore(), data=values, chunks=(4, 4))
        plain = da.from_array(stored)
        assert as_source(plain) is stored
        others = {
            "computed": plain + 1,
            "sliced": plain[1:],
            "chunked anew": plain.rechunk(3),
            "optimized": dask.optimize(plain)[0],
            "in memory": plain.persist(),
            "not by two at once": da.from_array(stored, lock=True),
            "not as numpy": da.from_array(stored, asarray=False),
            "held in every task": da.from_array(stored, inline_array=True),
        }
        for how, array in others.items():
            assert isinstance(as_source(array), DaskSource), how
            found = XarrayImageStack(array, "YX").extract_patch(0, None, (2, 1), (4, 5))
            np.testing.assert_array_equal(found[0], array.compute()[2:6, 1:6])

    @pytest.mark.parametrize("lazy", [None, {}])
    def test_reads_zarr_straight_where_xarray_would_only_read_it(self, lazy):
        image = in_zarr(numbers((8, 8), "u2"), ("y", "x"), (4, 4), lazy=lazy)
        assert isinstance(as_source(image.variable), zarr.Array)
        assert not isinstance(as_source(image[1:].variable), zarr.Array)
        assert not isinstance(as_source((image * 1).variable), zarr.Array)

    def test_scaled_values_of_a_lazily_opened_store_are_decoded(self, tmp_path):
        values = np.linspace(0, 1, 64).reshape(8, 8).round(2)
        encoding = {"a": {"dtype": "i2", "scale_factor": 0.01, "_FillValue": -1, "chunks": (4, 4)}}
        dataset = xr.Dataset({"a": (("y", "x"), values)})
        dataset.to_zarr(tmp_path / "scaled.zarr", encoding=encoding, consolidated=False)
        for chunks in (None, {}):
            opened = xr.open_zarr(tmp_path / "scaled.zarr", chunks=chunks, consolidated=False)["a"]
            found = XarrayImageStack(opened).extract_patch(0, None, (1, 1), (5, 5))
            np.testing.assert_allclose(found[0], values[1:6, 1:6], rtol=1e-6)

    def test_a_part_of_a_lazily_opened_array_is_that_part(self):
        values = numbers((3, 16, 16), "u2")
        for lazy in (None, {}):
            image = in_zarr(values, ("t", "y", "x"), (1, 8, 8), lazy=lazy).isel(
                t=1, y=slice(2, 12), x=slice(None, None, 2)
            )
            found = XarrayImageStack(image).extract_patch(0, None, (1, 2), (3, 4))
            np.testing.assert_array_equal(found[0], values[1, 2:12, ::2][1:4, 2:6])

    @pytest.mark.parametrize("lazy", [None, {}])
    def test_a_list_of_positions_of_a_lazily_opened_array_is_those_positions(self, lazy):
        values = numbers((3, 16, 16), "u2")
        image = in_zarr(values, ("c", "y", "x"), (1, 8, 8), lazy=lazy).assign_coords(c=["a", "b", "d"])
        for chosen in (image.isel(c=[2, 0]), image.sel(c=["d", "a"])):
            stack = XarrayImageStack(chosen)
            np.testing.assert_array_equal(stack.extract_patch(0, None, (1, 2), (3, 4)), values[[2, 0], 1:4, 2:6])
            np.testing.assert_array_equal(stack.extract_patch(0, [1], (1, 2), (3, 4)), values[[0], 1:4, 2:6])

    def test_of_a_tree_are_those_of_its_finest_scale(self):
        fine = xr.DataArray(numbers((8, 8), "u2"), dims=("y", "x"), name="image")
        coarse = fine.coarsen(y=2, x=2).max()
        tree = xr.DataTree.from_dict({"scale1": coarse.to_dataset(), "scale0": fine.to_dataset()})
        (loaded,) = load_image_stacks(tree)
        for stack in (XarrayImageStack(tree), loaded):
            np.testing.assert_array_equal(stack.extract_patch(0, None, (0, 0), (8, 8))[0], fine)

    def test_what_is_given_is_not_changed_by_what_is_done_to_the_patch(self):
        image = xr.DataArray(np.ones((4, 4), np.float32), dims=("y", "x"))
        XarrayImageStack(image).extract_patch(0, None, (0, 0), (4, 4))[:] = 7
        assert (image == 1).all()


class TestComplaints:
    @pytest.fixture
    def stack(self):
        return XarrayImageStack(xr.DataArray(np.zeros((2, 3, 8, 9)), dims=("t", "c", "y", "x")))

    @pytest.mark.parametrize("sample", [2, -1, 10**6])
    def test_a_sample_that_is_not_there(self, stack, sample):
        with pytest.raises(IndexError, match="2, counted from 0"):
            stack.extract_patch(sample, None, (0, 0), (2, 2))

    @pytest.mark.parametrize("channels", [[3], [-1], [0, 7], []])
    def test_a_channel_that_is_not_there(self, stack, channels):
        with pytest.raises(ValueError, match="channel"):
            stack.extract_patch(0, channels, (0, 0), (2, 2))

    def test_an_image_without_channels_has_the_channel_0(self):
        stack = XarrayImageStack(xr.DataArray(np.ones((4, 4)), dims=("y", "x")))
        assert stack.extract_patch(0, [0], (0, 0), (2, 2)).shape == (1, 2, 2)
        with pytest.raises(ValueError, match="no channel 1"):
            stack.extract_patch(0, [1], (0, 0), (2, 2))

    @pytest.mark.parametrize(
        ("coords", "size"), [((0, 0, 0), (2, 2)), ((0, 0), (2,)), ((0, 0), (2, 2, 2)), ((0, 0), (0, 2))]
    )
    def test_coords_and_sizes_that_do_not_fit(self, stack, coords, size):
        with pytest.raises(ValueError, match=r"coords|patch_size"):
            stack.extract_patch(0, None, coords, size)

    def test_coords_that_are_no_whole_numbers(self, stack):
        with pytest.raises(TypeError, match=r"coords is made of whole numbers, not 0\.5"):
            stack.extract_patch(0, None, (0.5, 0), (2, 2))
        with pytest.raises(TypeError, match=r"coords is a sequence of whole numbers, such as \[0, 1\], not 5"):
            stack.extract_patch(0, None, 5, (2, 2))
        with pytest.raises(TypeError, match=r"patch_size is a sequence of whole numbers.*not '22'"):
            stack.extract_patch(0, None, (0, 0), "22")

    def test_channels_and_samples_that_are_no_whole_numbers(self, stack):
        with pytest.raises(TypeError, match=r"channels is a sequence of whole numbers, such as \[0, 1\], not 1"):
            stack.extract_patch(0, 1, (0, 0), (2, 2))
        with pytest.raises(TypeError, match=r"channels is made of whole numbers, not 1\.0"):
            stack.extract_patch(0, [1.0], (0, 0), (2, 2))
        with pytest.raises(TypeError, match=r"sample_idx is made of whole numbers, not 1\.0"):
            stack.extract_patch(1.0, None, (0, 0), (2, 2))

    def test_values_that_are_no_real_numbers(self):
        for dtype in (complex, "U3", "M8[s]"):
            with pytest.raises(TypeError, match="real numbers"):
                XarrayImageStack(xr.DataArray(np.zeros((2, 2), dtype), dims=("y", "x")))

    def test_what_is_no_array(self):
        with pytest.raises(TypeError, match="load_image_stacks"):
            XarrayImageStack("nuclei.zarr")

    def test_chunks_of_unknown_size(self):
        pixels = da.ones((4, 4), chunks=2)
        with pytest.raises(ValueError, match="compute_chunk_sizes"):
            XarrayImageStack(pixels[pixels[:, 0] > 0], "YX")


class TestAxes:
    @pytest.mark.parametrize(
        ("dims", "axes"),
        [
            (("y", "x"), "YX"),
            (("Time", "CHANNELS", "Z", "Y", "X"), "TCZYX"),
            (("scene", "frames", "rows", "cols"), "STYX"),
            (("band", "latitude", "longitude"), "CYX"),
            (("x", "y", "z"), "XYZ"),
            (("label", "c", "y", "x"), "SCYX"),
            (("series", "y", "x"), "SYX"),
        ],
    )
    def test_are_found_from_the_names_of_dims(self, dims, axes):
        assert XarrayImageStack(xr.DataArray(np.zeros((1,) * len(dims)), dims=dims)).original_axes == axes

    def test_given_go_before_the_names(self):
        values = numbers((2, 3, 4), "u1")
        stack = XarrayImageStack(xr.DataArray(values, dims=("y", "x", "foo")), "cxy")
        assert (stack.original_axes, stack.data_shape) == ("CXY", (1, 2, 4, 3))
        np.testing.assert_array_equal(stack.extract_patch(0, [1], (0, 0), (4, 3))[0], values[1].T)

    def test_name_the_dims_of_bare_arrays(self):
        values = numbers((2, 6, 5), "u2")
        stored = zarr.create_array(zarr.storage.MemoryStore(), data=values, chunks=(1, 2, 2))
        for array in (values, da.from_array(values, 3), stored):
            found = XarrayImageStack(array, "TYX").extract_patch(1, None, (1, 2), (4, 3))
            np.testing.assert_array_equal(found[0], values[1, 1:5, 2:5])
            with pytest.raises(ValueError, match="axes="):
                XarrayImageStack(array)

    @pytest.mark.parametrize(
        ("dims", "message"),
        [
            (("wavelength", "y", "x"), r"'wavelength'.*channel, band.*axes="),
            (("dim_0", "dim_1"), "'dim_0'"),
            (("c", "channel", "y", "x"), "C more than once"),
            (("c", "y"), "without X"),
            (("c", "t"), "without Y and X"),
        ],
    )
    def test_that_names_do_not_give_are_complained_about(self, dims, message):
        with pytest.raises(ValueError, match=message):
            XarrayImageStack(xr.DataArray(np.zeros((1,) * len(dims)), dims=dims))

    @pytest.mark.parametrize(
        ("axes", "message"),
        [("QYX", "'Q'"), ("YX", "2 letters.*3 dims"), ("YYX", "Y more than once"), ("CZY", "without X")],
    )
    def test_that_do_not_fit_are_complained_about(self, axes, message):
        with pytest.raises(ValueError, match=message):
            XarrayImageStack(np.zeros((2, 2, 2)), axes)

    def test_that_are_no_string_are_complained_about(self):
        with pytest.raises(TypeError, match="list"):
            XarrayImageStack(np.zeros((2, 2)), ["Y", "X"])


class TestSource:
    def test_is_unlike_any_other_by_default(self):
        image = xr.DataArray(np.zeros((2, 2)), dims=("y", "x"), name="image")
        sources = {XarrayImageStack(image).source for _ in range(50)}
        assert len(sources) == 50
        stack = XarrayImageStack(image)
        assert pickle.loads(pickle.dumps(stack)).source == stack.source

    @pytest.mark.parametrize("chunks", [None, {}])
    @pytest.mark.parametrize("packing", [{}, {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -1}])
    def test_is_the_path_of_a_whole_array_that_was_opened(self, tmp_path, chunks, packing):
        image = xr.DataArray(np.arange(48.0).reshape(3, 4, 4), dims=("c", "y", "x"))
        path = tmp_path / "plate.zarr"
        image.to_dataset(name="cells").to_zarr(path, group="A/1", consolidated=False, encoding={"cells": packing})
        opened = xr.open_dataset(path, engine="zarr", group="A/1", chunks=chunks, consolidated=False)["cells"]
        tree = xr.open_datatree(path, engine="zarr", chunks=chunks, consolidated=False)
        for data in (opened, tree["A/1/cells"], tree):
            stack = XarrayImageStack(data)
            assert stack.source == pickle.loads(pickle.dumps(stack)).source == f"{path}#/A/1/cells"
        if not packing:
            (again,) = load_image_stacks(stack.source)
            np.testing.assert_array_equal(again.extract_patch(0, None, (0, 0), (4, 4)), image)
        for data in (opened + 1, opened.isel(x=slice(2)), opened.isel(c=[2, 0]), opened.load()):
            assert XarrayImageStack(data).source.startswith("array-")

    def test_is_the_path_of_an_array_of_zarr_or_hdf5(self, tmp_path):
        for name in ("image", "A/1/image"):
            array = zarr.create_array(tmp_path / "a.zarr", name=name, data=np.zeros((4, 4)))
            for data in (array, da.from_zarr(array)):
                assert XarrayImageStack(data, "YX").source == f"{tmp_path}/a.zarr#/{name}"
        assert (
            XarrayImageStack(zarr.create_array(tmp_path / "b", data=np.zeros((4, 4))), "YX").source == f"{tmp_path}/b"
        )
        assert XarrayImageStack(zarr.zeros((4, 4), store={}), "YX").source.startswith("array-")
        h5py = pytest.importorskip("h5py")
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["A/1/image"] = np.zeros((4, 4))
        with h5py.File(tmp_path / "a.h5") as file:
            stack = XarrayImageStack(file["A/1/image"], "YX")
            assert stack.source == f"{tmp_path}/a.h5#/A/1/image"
            assert XarrayImageStack(da.from_array(file["A/1/image"]), "YX").source == stack.source
            assert XarrayImageStack(file["A/1/image"], "YX", source="mine").source == "mine"
        assert load_image_stacks(stack.source, "YX")[0].data_shape == (1, 1, 4, 4)

    def test_is_what_was_given(self):
        stack = XarrayImageStack(np.zeros((2, 2)), "YX", source="plate/well.zarr")
        assert stack.source == "plate/well.zarr"
        assert "plate/well.zarr" in repr(stack)


class TestTrainers:
    def test_careamics_reads_patches_of_it(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pytest.importorskip("careamics")
            protocol = pytest.importorskip("careamics.dataset.image_stack.image_stack_protocol").ImageStack
            from careamics.dataset.patch_extractor.patch_extractor import PatchExtractor
        values = numbers((3, 2, 16, 17), "f2")
        stack = XarrayImageStack(xr.DataArray(values, dims=("t", "c", "y", "x")))
        for name in (name for name in vars(protocol) if not name.startswith("_")):
            assert hasattr(stack, name)
        theirs, ours = (inspect.signature(each.extract_patch).parameters for each in (protocol, XarrayImageStack))
        assert list(ours)[: len(theirs)] == list(theirs)
        extractor = PatchExtractor([stack, stack])
        assert extractor.shapes == [(3, 2, 16, 17)] * 2
        found = extractor.extract_patch(data_idx=1, sample_idx=2, coords=(-2, 3), patch_size=(8, 8))
        np.testing.assert_array_equal(found, patch_by_padding(values, 2, None, (-2, 3), (8, 8)))
        found = extractor.extract_channel_patch(0, 1, [1], (12, 12), (8, 8))
        np.testing.assert_array_equal(found, patch_by_padding(values, 1, [1], (12, 12), (8, 8)))

    def test_torch_loads_batches_of_patches(self, nuclei2d):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch = pytest.importorskip("torch")
            image, mask = nuclei2d
            patches = LabelPatches(image, mask, 16, classes=sizes_of(mask), balanced=True, with_mask=True)
            loader = torch.utils.data.DataLoader(patches, batch_size=8, num_workers=2)
            batches = list(loader)
        assert batches[0]["image"].shape == (8, 1, 16, 16)
        assert torch.cat([batch["label"] for batch in batches]).tolist() == patches.labels.tolist()
        assert torch.cat([batch["class"] for batch in batches]).tolist() == patches.targets.tolist()


def sizes_of(mask: xr.DataArray) -> pd.Series:
    """The class of every label: whether it is large."""
    count = mask.labels.count().to_series()
    return pd.Series(np.where(count > count.quantile(0.8), "large", "small"), index=count.index)


def windows_of(image: xr.DataArray, mask: xr.DataArray, size: Any, labels: Any = None) -> xr.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return image.instances.windows(mask, size, labels=labels, remove_background=False).compute()


class TestLabelPatches:
    @pytest.mark.parametrize("size", [1, 2, 15, 40, 900])
    def test_are_the_windows_of_the_objects(self, nuclei2d, size):
        image, mask = nuclei2d
        patches = LabelPatches(image, mask, size, with_mask=True)
        expected = windows_of(image, mask, size)
        np.testing.assert_array_equal(patches.labels, expected["label"])
        for i in range(0, len(patches), 1 if size < 900 else 50):
            item, window = patches[i], expected.isel(label=i)
            assert item["label"] == window["label"]
            assert item["image"].dtype == np.float32
            assert item["mask"].dtype == mask.dtype
            np.testing.assert_array_equal(item["image"][0], window["image"])
            np.testing.assert_array_equal(item["mask"], window["mask"])

    @given(
        ndim=st.integers(2, 3),
        order=st.permutations(range(4)),
        mask_order=st.permutations(range(3)),
        chunk=st.none() | st.integers(3, 9),
        size=st.integers(1, 14),
        uneven=st.booleans(),
        seed=st.integers(0, 10**6),
    )
    @settings(deadline=None, max_examples=60)
    def test_are_the_windows_for_any_order_of_dims_and_chunks(self, ndim, order, mask_order, chunk, size, uneven, seed):
        space = ("z", "y", "x")[3 - ndim :]
        mask = xr.DataArray(blobs((7, 11, 12)[3 - ndim :], 8, seed), dims=space)
        image = xr.DataArray(numbers((2, *mask.shape), "u2", seed), dims=("c", *space))
        sizes = {dim: size + uneven * i for i, dim in enumerate(space)}
        expected = windows_of(image, mask, sizes)
        image = image.transpose(*(image.dims[i] for i in order if i <= ndim))
        mask = mask.transpose(*(mask.dims[i] for i in mask_order if i < ndim))
        if chunk:
            image, mask = image.chunk(chunk), mask.chunk(chunk + 1)
        patches = LabelPatches(image, mask, sizes, with_mask=True)
        np.testing.assert_array_equal(patches.labels, expected["label"])
        for i, item in enumerate(patches):
            np.testing.assert_array_equal(item["image"], expected["image"][i])
            np.testing.assert_array_equal(item["mask"], expected["mask"][i])

    def test_of_volumes_take_a_size_for_each_axis(self, nuclei3d):
        image, mask = nuclei3d
        expected = windows_of(image, mask, {"z": 5, "y": 10, "x": 13})
        for size in ((5, 10, 13), {"x": 13, "z": 5, "y": 10}, np.array([5, 10, 13])):
            found = np.stack([item["image"][0] for item in LabelPatches(image, mask.transpose("x", "z", "y"), size)])
            np.testing.assert_array_equal(found, expected["image"])

    def test_come_in_the_order_of_the_labels_asked_for(self, nuclei2d):
        image, mask = nuclei2d
        labels = mask.labels.ids()[[7, 3, 50]].tolist()
        patches = LabelPatches(image.chunk(100), mask.chunk(90), 20, labels=labels)
        assert [item["label"] for item in patches] == labels
        expected = windows_of(image, mask, 20, labels)
        for i, label in enumerate(labels):
            np.testing.assert_array_equal(patches[i]["image"][0], expected["image"].sel(label=label))

    def test_keep_labels_that_no_float_holds(self):
        labels = np.array([[0, 2**53 + 1], [2**53 + 1, 5]], np.uint64)
        mask = xr.DataArray(labels, dims=("y", "x"))
        patches = LabelPatches(mask, mask, 4, with_mask=True)
        assert patches[1]["label"] == 2**53 + 1
        assert {5, 2**53 + 1} <= set(patches[1]["mask"].ravel().tolist())

    def test_are_read_when_they_are_asked_for(self):
        store = Counting()
        image = in_zarr(numbers((32, 32), "u2"), ("y", "x"), (8, 8), store)
        mask = xr.zeros_like(image.load(), dtype=int)
        mask[2, 2], mask[28, 20] = 1, 2
        image = xr.open_zarr(store, chunks=None, consolidated=False)["a"]
        store.read.clear()
        patches = LabelPatches(image, mask, 4)
        assert store.read == []
        patches[1]
        assert sorted(store.read) == ["a/c/3/2"]

    def test_are_counted_from_the_end_too(self, nuclei2d):
        patches = LabelPatches(*nuclei2d, 8)
        assert patches[-1]["label"] == patches[len(patches) - 1]["label"]
        for index in (len(patches), -len(patches) - 1):
            with pytest.raises(IndexError, match=f"of {len(patches)}"):
                patches[index]

    def test_of_an_empty_mask_are_none(self):
        image = xr.DataArray(np.zeros((4, 4)), dims=("y", "x"))
        mask = image.astype(int)
        assert len(LabelPatches(image, mask, 8)) == 0
        assert len(LabelPatches(image, mask, 8, classes={}, balanced=True)) == 0

    def test_of_a_bool_mask_are_one(self):
        image = xr.DataArray(np.arange(16.0).reshape(4, 4), dims=("y", "x"))
        patches = LabelPatches(image, image > 14, 3)
        assert [(item["label"], item["image"][0, 1, 1]) for item in patches] == [(1, 15)]


class TestClasses:
    @pytest.mark.parametrize(
        "form",
        [lambda s: s, pd.Series.to_dict, lambda s: s.astype("category"), lambda s: s.rename_axis("label").to_xarray()],
    )
    def test_come_as_mapping_series_or_array(self, nuclei2d, form):
        image, mask = nuclei2d
        given = sizes_of(mask)
        patches = LabelPatches(image, mask, 8, classes=form(given))
        assert patches.classes == ["large", "small"]
        for i in (0, 5, 100):
            item = patches[i]
            assert patches.classes[item["class"]] == given[item["label"]]

    def test_that_are_numbers_become_positions(self, nuclei2d):
        image, mask = nuclei2d
        given = {label: 5 + 10 * (label % 3) for label in [*mask.labels.ids().tolist(), 10**6]}
        patches = LabelPatches(image, mask, 8, classes=given)
        assert patches.classes == [5, 15, 25]
        np.testing.assert_array_equal(patches.targets, patches.labels % 3)

    def test_weigh_the_same_all_together(self, nuclei2d):
        image, mask = nuclei2d
        patches = LabelPatches(image, mask, 8, classes=sizes_of(mask))
        np.testing.assert_allclose(np.bincount(patches.targets, patches.weights), [0.5, 0.5])
        np.testing.assert_allclose(LabelPatches(image, mask, 8).weights.sum(), 1)

    def test_that_lack_a_label_are_complained_about(self, nuclei2d):
        image, mask = nuclei2d
        first, *rest = mask.labels.ids().tolist()
        for classes in (dict.fromkeys(rest, 1), dict.fromkeys(rest, 1) | {first: None}):
            with pytest.raises(ValueError, match=f"1 labels have no class, the first is {first}"):
                LabelPatches(image, mask, 8, classes=classes)

    def test_that_cannot_be_told_are_complained_about(self, nuclei2d):
        image, mask = nuclei2d
        ids = mask.labels.ids()
        with pytest.raises(TypeError, match="mapping from label to class"):
            LabelPatches(image, mask, 8, classes=["a"] * len(ids))
        with pytest.raises(TypeError, match="int and str"):
            LabelPatches(image, mask, 8, classes=dict.fromkeys(ids, "a") | {ids[0]: 1})
        with pytest.raises(ValueError, match="along 'label'"):
            LabelPatches(image, mask, 8, classes=xr.DataArray(np.zeros(len(ids)), dims="label"))
        with pytest.raises(ValueError, match="more than once"):
            LabelPatches(image, mask, 8, classes=pd.Series(1, index=[*ids, ids[0]]))


class TestBalance:
    @given(counts=st.lists(st.integers(1, 30), min_size=1, max_size=5), seed=st.integers(0, 2**32))
    @settings(deadline=None, max_examples=50)
    def test_every_class_is_as_frequent_and_every_object_comes_before_one_comes_again(self, counts, seed):
        n = sum(counts)
        mask = xr.DataArray(np.arange(1, n + 1)[None], dims=("y", "x"))
        classes = dict(zip(range(1, n + 1), np.repeat(np.arange(len(counts)), counts).tolist(), strict=True))
        patches = LabelPatches(mask, mask, 1, classes=classes, balanced=True, seed=seed)
        assert len(patches) == len(counts) * max(counts)
        np.testing.assert_array_equal(patches.targets.reshape(-1, len(counts)), [range(len(counts))] * max(counts))
        for code, count in enumerate(counts):
            labels = patches.labels[patches.targets == code]
            for first in range(0, len(labels), count):
                some = labels[first : first + count]
                assert len(set(some.tolist())) == len(some)
        np.testing.assert_allclose(patches.weights, 1 / len(patches))

    def test_the_order_is_that_of_the_seed(self, nuclei2d):
        image, mask = nuclei2d

        def order(**options: Any) -> list[int]:
            return LabelPatches(image, mask, 8, classes=sizes_of(mask), balanced=True, **options).labels.tolist()

        assert order() == order() == order(seed=0)
        assert order(seed=1) != order()

    def test_items_are_the_same_in_another_process(self, nuclei2d):
        image, mask = nuclei2d
        patches = LabelPatches(image.chunk(100), mask, 8, classes=sizes_of(mask), balanced=True)
        copied = pickle.loads(pickle.dumps(patches))
        for i in (0, 11, len(patches) - 1):
            np.testing.assert_array_equal(copied[i]["image"], patches[i]["image"])
            assert copied[i]["label"] == patches[i]["label"] == patches.labels[i]

    def test_without_classes_is_complained_about(self, nuclei2d):
        with pytest.raises(ValueError, match="needs classes"):
            LabelPatches(*nuclei2d, 8, balanced=True)

    def test_a_seed_without_it_is_complained_about(self, nuclei2d):
        with pytest.raises(ValueError, match="balanced=True"):
            LabelPatches(*nuclei2d, 8, seed=1)


class TestWhatDoesNotFit:
    def test_labels_that_are_not_there(self, nuclei2d):
        with pytest.raises(ValueError, match="no label 99999"):
            LabelPatches(*nuclei2d, 8, labels=[99999])

    @pytest.mark.parametrize("size", [0, (8,), (8, 8, 8), {"y": 8}, {"y": 8, "x": 8, "z": 8}, (8, -1)])
    def test_sizes(self, nuclei2d, size):
        with pytest.raises(ValueError, match="patch_size"):
            LabelPatches(*nuclei2d, size)

    @pytest.mark.parametrize("size", [8.5, "88", (8, 8.5), {"y": 8, "x": 8.5}])
    def test_sizes_that_are_no_whole_numbers(self, nuclei2d, size):
        with pytest.raises(TypeError, match=r"patch_size is .*whole numbers"):
            LabelPatches(*nuclei2d, size)

    def test_dims_that_are_not_known_without_speaking_of_an_option_that_is_not_there(self):
        values = np.ones((2, 3, 4), int)
        for dims in (("gene", "y", "x"), ("lat", "y", "x")):
            with pytest.raises(ValueError, match=r"[Rr]ename") as caught:
                LabelPatches(xr.DataArray(values, dims=dims), xr.DataArray(values[0], dims=("y", "x")), 2)
            assert "axes=" not in str(caught.value)

    def test_masks_of_other_coordinates(self, nuclei2d):
        image, mask = nuclei2d
        image, mask = (each.assign_coords(y=np.arange(each.sizes["y"]) + i) for i, each in enumerate((image, mask)))
        with pytest.raises(ValueError, match="coordinates of image and mask differ"):
            LabelPatches(image, mask, 8)

    @pytest.mark.parametrize(
        ("over", "under", "message"),
        [
            (("t", "y", "x"), ("y", "x"), r"2 places along 't'.*isel\(t=0\)"),
            (("t", "y", "x"), ("t", "y", "x"), r"'t'.*not in space"),
            (("z", "y", "x"), ("y", "x"), "'z' in space"),
            (("c", "y", "x"), ("c", "y", "x"), "'c'.*not in space"),
        ],
    )
    def test_dims_that_would_give_an_object_several_patches(self, over, under, message):
        image, mask = (xr.DataArray(np.ones((2,) * len(dims), int), dims=dims) for dims in (over, under))
        with pytest.raises(ValueError, match=message):
            LabelPatches(image, mask, 2)

    def test_a_time_of_length_one_is_none(self):
        image = xr.DataArray(np.ones((1, 3, 2, 2)), dims=("t", "c", "y", "x"))
        mask = xr.DataArray(np.ones((2, 2), int), dims=("y", "x"))
        assert LabelPatches(image, mask, 2)[0]["image"].shape == (3, 2, 2)

    def test_masks_of_floats(self, nuclei2d):
        image, mask = nuclei2d
        with pytest.raises(TypeError, match="integer labels"):
            LabelPatches(image, mask.astype(float), 8)
