"""Images in a cache: OME-Zarr that others read, levels, chunks, and writes that fail."""

from __future__ import annotations

import errno
import json
import sys
import warnings
from fractions import Fraction
from pathlib import Path

import dask
import dask.array as da
import fsspec
import numcodecs
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from conftest import Calls
from fsspec.implementations.dirfs import DirFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xlabelstats.pipeline.cache import Cache
from xlabelstats.pipeline.cache.images import halved
from xlabelstats.store import NAMELESS

pytest.importorskip("ome_zarr")

# Compressors of both packages, and what each of them is in a store.
COMPRESSORS = [
    numcodecs.Blosc(cname="lz4", clevel=3, shuffle=numcodecs.Blosc.SHUFFLE),
    numcodecs.Blosc(cname="lz4", clevel=3, shuffle=numcodecs.Blosc.AUTOSHUFFLE),
    numcodecs.Zstd(level=3),
    numcodecs.GZip(level=3),
    zarr.codecs.BloscCodec(cname="lz4", clevel=3),
    zarr.codecs.ZstdCodec(level=3),
    zarr.codecs.GzipCodec(level=3),
]
BLOSC = ("blosc", {"cname": "lz4", "clevel": 3})
COMPRESSED: dict[str, tuple[str, dict[str, object]]] = {
    **dict.fromkeys(["Blosc", "BloscCodec"], BLOSC),
    **dict.fromkeys(["Zstd", "ZstdCodec"], ("zstd", {"level": 3})),
    **dict.fromkeys(["GZip", "GzipCodec"], ("gzip", {"level": 3})),
}

CALLS = Calls()


@pytest.fixture(autouse=True)
def calls() -> None:
    CALLS.clear()


def same(image):
    CALLS.append("same")
    return image


class Result:
    """A step of which the result is no part of its key."""

    def __init__(self, results: dict[str, xr.DataArray]) -> None:
        self.results = results

    def __dask_tokenize__(self) -> str:
        return "result"

    def __call__(self, name: str) -> xr.DataArray:
        return self.results[name]


def volume(dtype="uint16", **coords) -> xr.DataArray:
    values = np.random.default_rng(0).integers(0, 200, (2, 5, 12, 9)).astype(dtype)
    image = xr.DataArray(
        da.from_array(values, chunks=(1, 3, 7, 5)),
        dims=("c", "z", "y", "x"),
        coords={
            "c": ["DAPI", "a long name"],
            "z": ("z", 10 + np.arange(5) * 2.0, {"units": "µm"}),
            "y": ("y", np.arange(12) * 0.5, {"units": "um", "long_name": "down"}),
            "x": ("x", 3 + np.arange(9) * 0.25, {"units": "micron"}),
        },
        attrs={"stain": ("a", "b"), "gain": 2},
        name="brain",
    )
    return image.assign_coords(coords)


def store_of(cache: Cache) -> str:
    (url,) = cache.status()["url"]
    return f"{url}/image.ome.zarr"


def read_by_others(store: str):
    """A pyramid as ngff-zarr reads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ngff_zarr = pytest.importorskip("ngff_zarr")
        return ngff_zarr.from_ngff_zarr(store, validate=False)


class TestOmeZarr:
    @pytest.mark.parametrize("version", ["0.5", "0.4"])
    def test_is_read_by_others_with_its_axes_scales_and_units(self, tmp_path, version):
        image = volume()
        Cache(tmp_path).run("brain", same, image, multiscale=3, ome_version=version)
        found = read_by_others(store_of(Cache(tmp_path)))
        assert [each.dims for each in found.images] == [("c", "z", "y", "x")] * 3
        assert found.images[0].axes_units == {"c": None, **dict.fromkeys("zyx", "micrometer")}
        np.testing.assert_array_equal(found.images[0].data, image.values)
        below = image
        for each in found.images:
            for dim in "zyx":
                assert each.scale[dim] == pytest.approx(float(below[dim][1] - below[dim][0]))
                assert each.translation[dim] == pytest.approx(float(below[dim][0]))
            even = below.isel({dim: slice(below.sizes[dim] // 2 * 2) for dim in "zyx"})
            expected = even.coarsen(z=2, y=2, x=2).mean()
            below = xr.DataArray(da.zeros((2, *(-(-below.sizes[d] // 2) for d in "zyx"))), dims=("c", "z", "y", "x"))
            below = below.assign_coords(
                {d: float(expected[d][0]) + np.arange(below.sizes[d]) * 2 * each.scale[d] for d in "zyx"}
            )

    @pytest.mark.parametrize("version", ["0.5", "0.4"])
    def test_follows_the_schema_of_its_version(self, tmp_path, version):
        Cache(tmp_path).run("brain", same, volume(), multiscale=2, ome_version=version)
        store = store_of(Cache(tmp_path))
        group = zarr.open_group(store, mode="r")
        assert group.metadata.zarr_format == {"0.5": 3, "0.4": 2}[version]
        pytest.importorskip("jsonschema")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            validate = pytest.importorskip("ngff_zarr.validate").validate
            validate(dict(group.attrs), version=version, model="image")

    def test_mean_levels_agree_with_numpy(self, tmp_path):
        image = volume().isel(z=slice(4), x=slice(8))
        Cache(tmp_path).run("brain", same, image, multiscale=2)
        level = zarr.open_array(f"{store_of(Cache(tmp_path))}/1", mode="r")
        expected = image.values.reshape(2, 2, 2, 6, 2, 4, 2).astype(float).mean(axis=(2, 4, 6))
        np.testing.assert_array_equal(level[:], np.rint(expected))

    def test_levels_of_labels_hold_nothing_but_labels(self, tmp_path):
        labels = volume("int32").isel(c=0)
        Cache(tmp_path).run("labels", same, labels, multiscale=3)
        found = read_by_others(store_of(Cache(tmp_path)))
        for level, each in enumerate(found.images):
            every = slice(None, None, 2**level)
            np.testing.assert_array_equal(each.data, labels.values[every, every, every])
            assert each.translation["z"] == 10
            assert each.scale["z"] == 2.0 * 2**level

    def test_channels_are_not_scaled_by_their_wavelengths(self, tmp_path):
        image = volume(c=[405, 488])
        found = Cache(tmp_path).run("brain", same, image, multiscale=2)
        for each in read_by_others(store_of(Cache(tmp_path))).images:
            assert (each.scale["c"], each.translation["c"]) == (1, 0)
        xr.testing.assert_identical(found.compute(), image.compute())

    @pytest.mark.parametrize("is_label", [None, False])
    def test_binary_images_are_images_and_come_back_as_bool(self, tmp_path, is_label):
        image = volume() > 100
        for _ in range(2):
            found = Cache(tmp_path).run("binary", same, image, multiscale=2, is_label=is_label)
            xr.testing.assert_identical(found.compute(), image.compute())
            assert found.chunks == image.chunks
        assert CALLS == ["same"]
        below, above = (each.data.compute() for each in read_by_others(store_of(Cache(tmp_path))).images)
        assert below.dtype == above.dtype == np.uint8
        np.testing.assert_array_equal(below, image)
        assert set(np.unique(above)) == {0, 1}

    def test_levels_end_with_a_single_pixel(self, tmp_path):
        cache = Cache(tmp_path)
        cache.run("small", same, np.ones((1, 5), "uint8"), multiscale=9)
        assert len(read_by_others(store_of(cache)).images) == 4

    def test_axes_are_in_the_order_of_the_format_and_come_back_in_their_own(self, tmp_path):
        image = volume().transpose("x", "c", "z", "y")
        cache = Cache(tmp_path)
        for _ in range(2):
            found = cache.run("brain", same, image, chunks={"c": 2, "x": 7}, multiscale=2)
            xr.testing.assert_identical(found.compute(), image.compute())
            assert found.chunks == image.chunks
        assert read_by_others(store_of(cache)).images[0].data.shape == (2, 5, 12, 9)
        assert zarr.open_array(f"{store_of(cache)}/0").chunks == (2, 3, 7, 7)

    @pytest.mark.parametrize(
        "coords",
        [
            {"y": np.arange(12) ** 2.0},
            {"y": np.arange(12)[::-1]},
            {"y": [f"row {i}" for i in range(12)]},
            {
                "depth": (("z", "y"), np.arange(60.0).reshape(5, 12), {"units": "mm"}),
                "when": np.datetime64("2020", "ns"),
            },
            {"c": [405, 561]},
        ],
    )
    def test_coordinates_that_a_scale_cannot_say_come_back(self, tmp_path, coords):
        image = volume(**coords)
        for _ in range(2):
            found = Cache(tmp_path).run("brain", same, image)
            xr.testing.assert_identical(found.compute(), image.compute())
            assert {name: each.dtype for name, each in found.coords.items()} == {
                name: each.dtype for name, each in image.coords.items()
            }

    @pytest.mark.parametrize("image", [np.eye(4, dtype="u1"), da.eye(4, chunks=3), np.zeros((2, 2, 3, 4, 5), "f4")])
    def test_bare_arrays_are_images_of_the_last_dims(self, tmp_path, image):
        found = Cache(tmp_path).run("bare", same, image)
        assert isinstance(found, da.Array)
        assert found.dtype == image.dtype
        np.testing.assert_array_equal(found, image)
        assert read_by_others(store_of(Cache(tmp_path))).images[0].dims == ("t", "c", "z", "y", "x")[-image.ndim :]


class TestLayout:
    @pytest.mark.parametrize(
        ("settings", "fact"),
        [
            ({"chunks": 4}, lambda a: a.chunks == (2, 4, 4, 4)),
            ({"chunks": {"y": 6}}, lambda a: a.chunks == (1, 3, 6, 5)),
            ({"chunks": (2, 5, 12, 9)}, lambda a: a.chunks == (2, 5, 12, 9)),
            ({"compressor": "gzip"}, lambda a: type(a.compressors[0]).__name__ == "GzipCodec"),
            ({"compressor": zarr.codecs.ZstdCodec(level=3)}, lambda a: a.compressors[0].level == 3),
            ({"compressor": None}, lambda a: a.compressors == ()),
            ({"compressor": "zstd", "ome_version": "0.4"}, lambda a: a.compressors[0].codec_id == "zstd"),
            ({"ome_version": "0.4"}, lambda a: a.metadata.zarr_format == 2),
        ],
    )
    def test_a_result_is_stored_as_asked_also_when_it_was_stored_otherwise(self, tmp_path, settings, fact):
        image = volume()
        cache = Cache(tmp_path)
        first = cache.run("brain", same, image, multiscale=2)
        for _ in range(2):
            found = cache.run("brain", same, image, **settings)
            xr.testing.assert_identical(found.compute(), image.compute())
            assert found.chunks == image.chunks
        stored = store_of(cache)
        assert fact(zarr.open_array(f"{stored}/0", mode="r"))
        assert fact(zarr.open_array(f"{stored}/1", mode="r")) or "chunks" in settings
        cache.run("brain", same, image)
        assert store_of(cache) == stored
        # What was opened before can still be read.
        xr.testing.assert_identical(first.compute(), image.compute())
        assert CALLS == ["same"]

    def test_another_layout_changes_nothing_for_steps_that_follow(self, tmp_path):
        for chunks in (3, 5):
            stored = Cache(tmp_path).run("brain", same, volume(), chunks=chunks)
            Cache(tmp_path).run("next", lambda a: CALLS.append("next") or float(a.sum()), stored)
        assert CALLS == ["same", "next"]
        assert (Cache(tmp_path).status()["stale"] == "").all()

    def test_plain_arrays_are_stored_in_chunks_as_asked(self, tmp_path):
        array = xr.DataArray(da.arange(20, chunks=6), dims="q")
        for chunks in (None, 7, 7):
            found = Cache(tmp_path).run("q", same, array, chunks=chunks)
            xr.testing.assert_identical(found.compute(), array.compute())
        url = Cache(tmp_path).status()["url"][0]
        assert zarr.open_array(f"{url}/array.zarr/{NAMELESS}", mode="r").chunks == (7,)
        assert CALLS == ["same"]

    @pytest.mark.parametrize("dims", [("y", "x"), ("p", "q")])
    def test_layouts_that_are_kept_are_taken_again_and_keep_what_was_asked_before(self, tmp_path, dims):
        image = xr.DataArray(np.ones((6, 6)), dims=dims)
        for chunks in ([3, 3], [5, 5], [3, 3], np.array([5, 5]), None):
            asked = "zstd" if isinstance(chunks, list) and chunks[0] == 3 else "auto"
            found = Cache(tmp_path).run("s", same, image, chunks=chunks, compressor=asked)
            xr.testing.assert_identical(found.compute(), image)
        markers = [json.loads(path.read_bytes()) for path in tmp_path.rglob("step.json")]
        assert len(markers) == 2
        assert {each["about"]["layout"]["compressor"][0] for each in markers} == {"zstd"}
        assert Cache(tmp_path).status()["size"].tolist() == [sum(each["size"] for each in markers)]
        assert CALLS == ["same"]

    @pytest.mark.parametrize(
        ("chunks", "error", "message"),
        [
            ({"q": 3}, ValueError, "unknown dim 'q'"),
            ((3, 3), ValueError, "2 sizes for the 4 dims"),
            (0, ValueError, "a number of pixels, at least one"),
            (2.5, ValueError, "a number of pixels"),
        ],
    )
    def test_chunks_that_do_not_fit_are_told(self, tmp_path, chunks, error, message):
        with pytest.raises(error, match=message):
            Cache(tmp_path).run("brain", same, volume(), chunks=chunks)
        assert (Cache(tmp_path).status()["state"] != "whole").all()

    @pytest.mark.parametrize("kind", ["0.5", "0.4", "array", "dataset"])
    @pytest.mark.parametrize("compressor", COMPRESSORS, ids=lambda compressor: type(compressor).__name__)
    def test_codecs_of_numcodecs_and_of_zarr_are_those_of_the_format(self, tmp_path, compressor, kind):
        name, settings = COMPRESSED[type(compressor).__name__]
        image = volume()
        given = {"array": image.rename(y="q"), "dataset": image.to_dataset()}.get(kind, image)
        ome_version = kind if kind[0] == "0" else None
        for _ in range(2):
            found = Cache(tmp_path).run("s", same, given, compressor=compressor, ome_version=ome_version)
            xr.testing.assert_identical(found.compute(), given.compute())
            assert len(Cache(tmp_path).status()) == 1
        path = {"array": f"array.zarr/{NAMELESS}", "dataset": "dataset.zarr/brain"}.get(kind, "image.ome.zarr/0")
        (stored,) = zarr.open_array(f"{Cache(tmp_path).status()['url'][0]}/{path}", mode="r").compressors
        if kind == "0.4":
            assert stored.codec_id == name
            shuffles = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}
            expected = {key: shuffles.get(each, each) for key, each in settings.items()}
            assert expected.items() <= stored.get_config().items()
        else:
            assert stored.to_dict()["name"] == name
            assert settings.items() <= stored.to_dict()["configuration"].items()
            assert stored.to_dict()["configuration"].get("typesize", 2) == 2
        assert len([each for each in tmp_path.glob("s/*/*") if each.is_dir()]) == 1
        assert CALLS == ["same"]

    @pytest.mark.parametrize(
        ("compressor", "version", "message"),
        [
            (
                numcodecs.LZMA(),
                None,
                r"LZMA\(.*\) is none of 'blosc', 'gzip', 'zstd', by name, of zarr.codecs or of numcodecs",
            ),
            (numcodecs.LZMA(), "0.4", r"LZMA\(.*\) is none of 'blosc', 'gzip', 'zstd'"),
            (zarr.codecs.Crc32cCodec(), "0.4", r"Crc32cCodec\(\) is none of 'blosc', 'gzip', 'zstd'"),
            (3, None, "the compressor 3 is none of 'blosc'"),
        ],
    )
    def test_codecs_that_the_format_has_not_are_told_before_the_step_runs(self, tmp_path, compressor, version, message):
        with pytest.raises(ValueError, match=message):
            Cache(tmp_path).run("brain", same, volume(), compressor=compressor, ome_version=version)
        assert CALLS == []

    def test_an_unknown_compressor_is_told(self, tmp_path):
        with pytest.raises(ValueError, match="unknown compressor 'zip'"):
            Cache(tmp_path).run("brain", same, volume(), compressor="zip")

    @settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_any_chunks_in_any_storage_give_the_same(self, tmp_path_factory, data):
        shape = data.draw(st.tuples(*[st.integers(1, 9)] * 3))
        dtype = data.draw(st.sampled_from(["u1", "i4", "f4", "f8", "i8", ">u2"]))
        values = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
        chunks = tuple(data.draw(_split(size)) for size in shape)
        storage = data.draw(st.one_of(st.none(), st.integers(1, 10)))
        dims = data.draw(st.permutations(("z", "y", "x")))
        image = xr.DataArray(da.from_array(values, chunks=chunks), dims=dims)
        folder = tmp_path_factory.mktemp("cache")
        found = Cache(folder).run("image", same, image, chunks=storage, multiscale=2)
        xr.testing.assert_identical(found.compute(), image.compute())
        assert found.chunks == image.chunks
        assert found.dtype == image.dtype.newbyteorder("=")


def _split(size: int) -> st.SearchStrategy[tuple[int, ...]]:
    cuts = st.sets(st.integers(1, size - 1), max_size=3) if size > 1 else st.just(set())
    return cuts.map(lambda c: tuple(np.diff([0, *sorted(c), size]).tolist()))


class TestLevels:
    @settings(max_examples=40, deadline=None)
    @given(st.integers(1, 13), st.integers(1, 13), st.integers(1, 7), st.booleans())
    def test_are_the_same_in_any_chunks(self, height, width, chunk, labels):
        values = np.random.default_rng(0).random((height, width))
        found = halved(xr.DataArray(da.from_array(values, chunks=chunk), dims=("y", "x")), labels=labels)
        even = np.pad(values, [(0, size % 2 if size > 1 else 0) for size in values.shape], mode="edge")
        blocks = even.reshape(*(part for size in even.shape for part in ((size // 2, 2) if size > 1 else (1, 1))))
        expected = values[:: 2 if height > 1 else 1, :: 2 if width > 1 else 1] if labels else blocks.mean(axis=(1, 3))
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected)

    @given(st.data(), st.sampled_from(["i1", "u1", "i2", "u2", "i4", "u4"]), st.sampled_from(["x", "yx", "zyx"]))
    def test_of_integers_are_rounded_and_exact_up_to_the_largest(self, data, dtype, dims):
        info = np.iinfo(dtype)
        edges = st.sampled_from([info.min, info.max, info.max - 1, info.max // 2])
        pixels = data.draw(st.lists(edges | st.integers(info.min, info.max), min_size=8, max_size=8))
        others = {dim: 8 // 2 ** len(dims) for dim in "t"}
        image = np.array(pixels, dtype).reshape(2 ** len(dims), -1).T.reshape(others["t"], *[2] * len(dims))
        found = halved(xr.DataArray(image, dims=("t", *dims)), labels=False)
        expected = [round(Fraction(sum(group), len(group))) for group in image.reshape(others["t"], -1).tolist()]
        assert found.dtype == dtype
        assert found.values.ravel().tolist() == expected

    @pytest.mark.parametrize("dtype", ["i8", "u8"])
    def test_of_the_largest_integers_do_not_overflow(self, dtype):
        largest = np.iinfo(dtype).max
        found = halved(xr.DataArray(np.full((2, 3), largest, dtype), dims=("y", "x")), labels=False)
        assert found.dtype == dtype
        assert (abs(found.astype(float) / largest - 1) < 1e-12).all()

    def test_leave_out_pixels_that_are_nan(self):
        image = xr.DataArray(da.from_array(np.array([[1.0, np.nan, 2, 4], [3, 5, np.nan, np.nan]]), 3), dims=("y", "x"))
        np.testing.assert_array_equal(halved(image, labels=False), [[3, 3]])

    @pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
    def test_are_made_in_bounded_memory(self, dtype):
        image = xr.DataArray(da.zeros((4096, 4097), chunks=(512, 511), dtype=dtype), dims=("y", "x"))
        means = halved(image, labels=False).data
        assert max(max(sizes) for sizes in means.chunks) <= 512
        assert len(means.__dask_graph__()) < 4000


class TestWhole:
    def test_a_chunk_that_was_removed_is_an_error_and_no_zeros(self, tmp_path):
        stored = Cache(tmp_path).run("zeros", same, da.zeros((4, 4), chunks=2))
        chunk = Path(store_of(Cache(tmp_path))) / "0" / "c" / "0" / "0"
        chunk.unlink()
        with pytest.raises(FileNotFoundError, match="clear the step in the cache"):
            stored.compute()
        flags = Cache(tmp_path / "b").run("flags", same, da.zeros(4, chunks=2, dtype=bool))
        next((tmp_path / "b").rglob("c/0")).unlink()
        with pytest.raises(FileNotFoundError, match="clear the step in the cache"):
            flags.compute()

    def test_a_full_disk_is_told_and_leaves_nothing(self, tmp_path, monkeypatch):
        from zarr.storage import LocalStore

        async def full(self, key, value):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(LocalStore, "set", full)
            with pytest.raises(OSError, match="no room for the result of 'brain'") as told:
                Cache(tmp_path).run("brain", same, volume())
        assert told.value.errno == errno.ENOSPC
        assert not list(tmp_path.rglob("*.json"))
        Cache(tmp_path).run("brain", same, volume())
        assert CALLS == ["same", "same"]

    def test_what_cannot_be_stored_beside_pixels_is_told_before_they_are_computed(self, tmp_path):
        def fail(block):
            pytest.fail("computed")

        image = xr.DataArray(da.zeros((4, 4)).map_blocks(fail, dtype=float, meta=np.empty((0, 0))), dims=("y", "x"))
        paired = xr.Coordinates.from_pandas_multiindex(pd.MultiIndex.from_product([[0, 1], [0, 1]]), "x")
        found = {
            "the attrs of the result": image.assign_attrs(a=object()),
            "the name of the result": image.rename(object()),
            "the attrs of 'z'": image.assign_coords(z=("y", range(4), {"a": object()})),
            r"'x' in the result .* MultiIndex .*\.reset_index\(\)": image.assign_coords(paired),
        }
        for what in found:
            with pytest.raises(TypeError, match=what):
                Cache(tmp_path).run("brain", Result(found), what)
        assert not list(tmp_path.rglob("*.json"))

    def test_a_step_that_fails_leaves_nothing(self, tmp_path):
        def fail(block):
            raise ValueError("a bad block")

        with pytest.raises(ValueError, match="a bad block"):
            Cache(tmp_path).run("brain", lambda a: a.map_blocks(fail, dtype=a.dtype, meta=a._meta), volume().data)
        assert not list(tmp_path.rglob("*.zarr"))

    @pytest.mark.parametrize("content", ["", '{"format": 1', "null", '{"format": 99}'])
    def test_a_torn_marker_is_none(self, tmp_path, content):
        Cache(tmp_path).run("brain", same, volume())
        (marker,) = tmp_path.rglob("step.json")
        marker.write_text(content)
        assert Cache(tmp_path).status()["state"].tolist() == ["broken off"]
        for _ in range(2):
            xr.testing.assert_identical(Cache(tmp_path).run("brain", same, volume()).compute(), volume().compute())
        assert CALLS == ["same", "same"]

    def test_nothing_needs_the_place_where_it_was_written(self, tmp_path):
        Cache(tmp_path / "a").run("brain", same, volume())
        (tmp_path / "a").rename(tmp_path / "b")
        found = Cache(tmp_path / "b").run("brain", same, volume())
        xr.testing.assert_identical(found.compute(), volume().compute())
        assert CALLS == ["same"]


class TestUrls:
    @pytest.mark.parametrize("url", ["memory://cache-{}", "file://{}/cache", "{}/cache"])
    def test_of_any_file_system_will_do(self, tmp_path, url):
        url = url.format(tmp_path)
        for _ in range(2):
            cache = Cache(url)
            found = cache.run("brain", same, volume(), multiscale=2)
            xr.testing.assert_identical(found.compute(), volume().compute())
        assert CALLS == ["same"]
        cache.clear("brain")
        assert cache.status().empty

    @pytest.mark.parametrize("kind", ["UPath", "file system of a folder", "one in it", "in memory", "memory://"])
    def test_may_be_given_as_folders_of_other_libraries(self, tmp_path, kind):
        upath = pytest.importorskip("upath")
        local, memory = fsspec.filesystem("file"), fsspec.filesystem("memory")
        url = {
            "UPath": upath.UPath(tmp_path),
            "file system of a folder": DirFileSystem(str(tmp_path), local),
            "one in it": DirFileSystem("deep", DirFileSystem(str(tmp_path), local)),
            "in memory": DirFileSystem(f"/{tmp_path.name}-dir", memory),
            "memory://": upath.UPath(f"memory://{tmp_path.name}-upath"),
        }[kind]
        for _ in range(2):
            found = Cache(url).run("brain", same, volume(), multiscale=2)
            xr.testing.assert_identical(found.compute(), volume().compute())
        assert CALLS == ["same"]
        assert Cache(url).status()["state"].tolist() == ["whole"]
        inside = {"memory" not in kind: tmp_path, kind == "one in it": tmp_path / "deep"}.get(True)
        assert inside is None or (inside / "brain").is_dir()
        Cache(url).clear("brain")
        assert Cache(url).status().empty

    def test_a_file_system_that_is_no_folder_is_told(self):
        with pytest.raises(TypeError, match="with None in memory, not in MemoryFileSystem"):
            Cache(fsspec.filesystem("memory"))

    @pytest.mark.parametrize("url", ["{}", "file://{}"])
    def test_options_that_a_local_folder_has_no_use_for_are_told(self, tmp_path, url):
        with pytest.raises(ValueError, match="is a local folder, for which there are no storage_options"):
            Cache(url.format(tmp_path), storage_options={"key": "a"})

    @pytest.mark.parametrize(
        ("url", "package"), [("gs://b", "gcsfs"), ("gcs://b", "gcsfs"), ("s3://b", "s3fs"), ("az://b", "adlfs")]
    )
    def test_that_need_a_package_name_it(self, monkeypatch, url, package):
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, url.split(":")[0], raising=False)
        with pytest.raises(ImportError, match=f"(?i)install {package}"):
            Cache(url)

    def test_memory_that_workers_cannot_reach_is_told_before_anything_is_computed(self, tmp_path):
        distributed = pytest.importorskip("distributed")
        url = f"memory://{tmp_path.name}-workers"
        told = pytest.raises(ValueError, match=r"other processes cannot reach.*Client\(processes=False\)")
        with distributed.Client(n_workers=1, processes=True, dashboard_address=":0"), told:
            Cache(url).run("brain", same, volume())
        with dask.config.set(scheduler="processes"), told:
            Cache(url).run("brain", same, volume())
        assert CALLS == []
        with distributed.Client(n_workers=1, processes=False, dashboard_address=":0"):
            found = Cache(url).run("brain", same, volume())
            xr.testing.assert_identical(found.compute(), volume().compute())

    def test_object_storage_will_do(self):
        moto = pytest.importorskip("moto.server")
        pytest.importorskip("s3fs")
        import s3fs

        server = moto.ThreadedMotoServer(port=0)
        server.start()
        try:
            endpoint = "http://{}:{}".format(*server.get_host_and_port())
            options = {"key": "a", "secret": "b", "client_kwargs": {"endpoint_url": endpoint}}
            s3fs.S3FileSystem(**options).mkdir("bucket")
            for _ in range(2):
                cache = Cache("s3://bucket/results", storage_options=options)
                found = cache.run("brain", same, volume(), multiscale=2)
                xr.testing.assert_identical(found.compute(), volume().compute())
            assert CALLS == ["same"]
            assert cache.status()["state"].tolist() == ["whole"]
            cache.clear("brain")
            assert cache.status().empty
        finally:
            server.stop()
