"""Images kept by the functions of cvpl_tools: how they are stored, found again and shown."""

from __future__ import annotations

import asyncio
import functools
import inspect

import dask.array as da
import numcodecs
import numpy as np
import pytest
import xarray as xr
import zarr
from conftest import Calls

from xlabelstats.compat.cvpl_tools import cache_im, cdir_commit

pytest.importorskip("ome_zarr")

CALLS = Calls()


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


async def _awaited(value):
    return await value


def _same(image):
    return image


class TestImages:
    @pytest.mark.parametrize("place", [None, "folder"])
    @pytest.mark.parametrize("dtype", ["uint8", "float32", "bool", "complex64"])
    def test_numpy_comes_back_as_numpy(self, place, dtype, tmp_path):
        image = np.arange(12).reshape(3, 4).astype(dtype)
        found = [cache_im(lambda: image, {"cache_url": place and tmp_path / place}) for _ in range(2)]
        for each in found:
            assert isinstance(each, np.ndarray)
            assert each.dtype == image.dtype
            np.testing.assert_array_equal(each, image)

    def test_numpy_made_of_a_result_that_was_not_awaited_comes_back_as_numpy(self, tmp_path):
        ones = cache_im(lambda: np.ones((3, 4)), {"cache_url": tmp_path / "ones"})
        for make in (lambda: ones, lambda: ones[1:], lambda: ones + 1):
            assert isinstance(cache_im(make, {"cache_url": tmp_path / "more"}), np.ndarray)

    def test_what_is_computed_of_a_numpy_result_is_plain(self):
        ones = cache_im(lambda: np.ones((3, 4)))
        assert type(ones + 1) is type(ones.sum(axis=0)) is np.ndarray
        assert type(ones.sum()) is np.float64

    @pytest.mark.parametrize("place", [None, "folder"])
    def test_masked_arrays_are_refused_as_their_mask_would_be_lost(self, place, tmp_path):
        image = np.ma.masked_less(np.arange(6).reshape(2, 3), 3)
        with pytest.raises(TypeError, match=r"its mask would be lost; fill it with .filled\(value\)"):
            cache_im(lambda: image, {"cache_url": place and tmp_path / place})

    def test_chunks_in_storage_are_those_asked_for_and_undone_on_load(self, volume, tmp_path):
        context = {"cache_url": tmp_path / "a", "storage_option": {"preferred_chunksize": (1, 24, 24)}}
        found = cache_im(lambda: volume, context)
        assert found.chunks == volume.chunks
        (pixels,) = tmp_path.glob("a/**/image.ome.zarr")
        assert zarr.open(pixels)["0"].chunks == (1, 24, 24)

    @pytest.mark.parametrize("where", ["storage_option", "storage_options", "viewer_args", None])
    def test_multiscale_is_the_number_of_smaller_levels(self, where, volume, tmp_path):
        asked = {"multiscale": 2}
        cache_im(lambda: volume, {"cache_url": tmp_path, **({where: asked} if where else asked)})
        (pixels,) = tmp_path.glob("**/image.ome.zarr")
        assert [zarr.open(pixels)[level].shape[1] for level in "012"] == [24, 12, 6]
        assert "3" not in zarr.open(pixels)

    def test_the_compressor_is_that_asked_for(self, volume, tmp_path):
        options = {"compressor": numcodecs.GZip(3)}
        cache_im(lambda: volume, {"cache_url": tmp_path, "storage_options": options})
        (pixels,) = tmp_path.glob("**/image.ome.zarr")
        (codec,) = zarr.open(pixels)["0"].compressors
        assert codec.to_dict() == {"name": "gzip", "configuration": {"level": 3}}

    def test_blocks_that_give_themselves_as_dask_arrays_are_taken(self, volume, tmp_path):
        class Blocks:
            def as_dask_array(self):
                return volume

        found = cache_im(Blocks, {"cache_url": tmp_path})
        np.testing.assert_array_equal(found, volume)
        assert isinstance(cache_im(Blocks), da.Array)

    def test_names_and_coordinates_are_kept(self, tmp_path):
        image = xr.DataArray(np.ones((2, 3)), dims=("y", "x"), coords={"x": [1.0, 2.0, 4.0]}, name="nuclei")
        for context in ({}, {"cache_url": tmp_path}):
            xr.testing.assert_identical(asyncio.run(_awaited(cache_im(lambda: image, context))).compute(), image)

    def test_what_was_awaited_is_a_plain_array(self, volume):
        for image, kind in ((volume, da.Array), (np.ones(3), np.ndarray), (xr.DataArray([1]), xr.DataArray)):
            assert type(asyncio.run(_awaited(cache_im(functools.partial(_same, image))))) is kind

    def test_several_are_awaited_together(self, volume):
        async def together():
            images = (np.ones(3), volume, xr.DataArray([1]))
            return await asyncio.gather(*(cache_im(functools.partial(_same, image)) for image in images))

        assert [type(each) for each in asyncio.run(together())] == [np.ndarray, da.Array, xr.DataArray]

    def test_without_a_folder_blocks_are_computed_once(self, volume):
        def counted(block):
            CALLS.append("block")
            return block

        found = cache_im(lambda: volume.map_blocks(counted, dtype=float, meta=volume._meta))
        found.compute()
        assert len(CALLS) == volume.npartitions


class TestKeys:
    def test_other_code_or_values_are_computed_anew(self, tmp_path):
        for add in (1, 2, 1):
            found = cache_im(lambda: CALLS.append("run") or np.arange(3) + add, {"cache_url": tmp_path})  # noqa: B023
            np.testing.assert_array_equal(found, np.arange(3) + add)
        assert len(CALLS) == 2

    @pytest.mark.parametrize("kind", ["coroutine", "function", "partial"])
    def test_coroutines_are_known_by_their_arguments(self, kind, tmp_path):
        async def shifted(by, context_args):
            CALLS.append("shifted")
            await asyncio.sleep(0)
            return np.arange(3) + by

        def fn_of(by):
            if kind == "coroutine":
                return shifted(by, {"viewer": object()})
            if kind == "partial":
                return functools.partial(shifted, by, context_args={"viewer": object()})

            async def without_arguments():
                return await shifted(by, {})

            return without_arguments

        for by in (1, 1, 2):
            np.testing.assert_array_equal(cache_im(fn_of(by), {"cache_url": tmp_path}), np.arange(3) + by)
        assert CALLS == ["shifted"] * 2

    def test_where_results_go_is_no_part_of_the_key(self, tmp_path):
        def kept(context_args):
            fn = lambda: CALLS.append(len(context_args)) or np.ones(3)  # noqa: E731
            return cache_im(fn, {"cache_url": tmp_path})

        for context_args in ({"viewer_args": None}, {"cache_url": "a", "viewer_args": {"viewer": object()}}):
            kept(context_args)
        assert len(CALLS) == 1

    def test_steps_are_found_again_when_a_viewer_or_layer_options_come(self, tmp_path):
        async def inner(image, context_args):
            CALLS.append("inner")
            return await cache_im(lambda: image + 1, context_args)

        async def outer():
            image, context_args = np.ones(3), {"cache_url": tmp_path / "outer/inner"}
            return await cache_im(lambda: inner(image, context_args), {"cache_url": tmp_path / "outer"})

        async def by_variables(viewer_args, layer_args):
            def fn():
                CALLS.append("by variables")
                return np.full(3, len([viewer_args, layer_args]))

            return await cache_im(fn, {"cache_url": tmp_path / "variables"})

        for given in ((None, None), ({"is_label": True}, {"opacity": 0.5})):
            asyncio.run(by_variables(*given))
        assert asyncio.run(outer()).tolist() == asyncio.run(outer()).tolist() == [2, 2, 2]
        assert CALLS == ["by variables", "inner"]

    def test_what_a_function_takes_from_context_args_beyond_that_is(self, tmp_path):
        for level in (1, 2):
            context_args = {"cache_url": tmp_path, "level": level}
            found = cache_im(lambda: np.full(3, context_args["level"]), context_args)  # noqa: B023
            assert found.tolist() == [level] * 3

    def test_a_variable_named_like_an_option_is(self, tmp_path):
        for multiscale in (1, 2):
            found = cache_im(lambda: np.full(3, multiscale), {"cache_url": tmp_path})  # noqa: B023
            assert found.tolist() == [multiscale] * 3


@pytest.mark.filterwarnings("ignore")
class TestLayerOptions:
    def test_integers_are_an_image_unless_is_label(self, viewer, tmp_path):
        mask = np.eye(4, dtype="int32")
        for context in ({"cache_url": tmp_path}, {}):
            for options in ({}, {"is_label": True}):
                viewer.layers.clear()
                cache_im(lambda: mask, {**context, "viewer_args": {"viewer": viewer, **options}})
                assert [type(layer).__name__ for layer in viewer.layers] == ["Labels" if options else "Image"]

    def test_layer_args_are_those_of_the_layer(self, viewer, volume, tmp_path):
        for context in ({"cache_url": tmp_path}, {}):
            viewer.layers.clear()
            options = {"name": "brightness", "opacity": 0.5}
            context |= {"viewer_args": {"viewer": viewer}, "layer_args": options, "multiscale": 1}
            cache_im(lambda: volume, context)
            (layer,) = viewer.layers
            assert (layer.name, layer.opacity, len(layer.data)) == ("brightness", 0.5, 2)

    def test_folders_of_the_same_name_have_a_layer_each(self, viewer, tmp_path):
        for place in ("a/mask", "b/mask", "a/mask"):
            cache_im(lambda: np.ones((3, 3)), {"cache_url": tmp_path / place, "viewer_args": {"viewer": viewer}})
        assert sorted(layer.name for layer in viewer.layers) == [f"{tmp_path}/a/mask", f"{tmp_path}/b/mask"]

    @pytest.mark.parametrize("viewer_args", [None, {}, {"viewer": None, "is_label": True}])
    def test_without_a_viewer_nothing_is_computed_to_show(self, viewer_args, volume, tmp_path):
        def counted(block):
            CALLS.append("block")
            return block

        blocks = volume.map_blocks(counted, dtype=float, meta=volume._meta)
        for context in ({"cache_url": tmp_path}, {}):
            CALLS.clear()
            cache_im(lambda: blocks, {**context, "viewer_args": viewer_args, "multiscale": 2})
            assert len(CALLS) == volume.npartitions


class TestQuery:
    def test_a_folder_has_a_commit_once_its_result_is_whole(self, tmp_path):
        for url in (str(tmp_path / "a"), f"memory://{tmp_path.name}/a"):
            assert cdir_commit(url).commit is None

            def broken():
                raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                cache_im(broken, {"cache_url": url})
            assert cdir_commit(url).commit is None
            cache_im(lambda: np.ones(3), {"cache_url": url})
            query = cdir_commit(url)
            assert query.commit.tzinfo is not None
            assert query.url == url
            assert asyncio.run(_awaited(query)) is query

    def test_a_result_in_a_folder_below_is_none_of_its_own(self, tmp_path):
        cache_im(lambda: np.ones(3), {"cache_url": tmp_path / "a/a"})
        assert cdir_commit(tmp_path / "a").commit is None

    def test_a_file_of_ones_own_counts(self, tmp_path):
        query = cdir_commit(tmp_path / "a")
        np.save(f"{query.url}/result.npy", np.ones(3))
        assert cdir_commit(tmp_path / "a").commit is not None


class TestComplaints:
    @pytest.mark.parametrize(
        ("context", "near"),
        [
            ({"cahce_url": "a"}, "'cahce_url'; did you mean 'cache_url'"),
            ({"storage_options": {"preferred_chunk_size": 1}}, "did you mean 'preferred_chunksize'"),
            ({"viewer_args": {"is_labels": True}}, "did you mean 'is_label'"),
        ],
    )
    def test_a_misspelt_key_is_told(self, context, near):
        with pytest.raises(ValueError, match=near):
            cache_im(lambda: np.ones(3), context)

    def test_keys_of_other_functions_are_passed_over(self):
        assert cache_im(lambda: np.ones(3), {"display_points": True, "threshold": 3}).tolist() == [1, 1, 1]

    def test_what_is_no_function_or_image_is_told(self, tmp_path):
        with pytest.raises(TypeError, match=r"a function that computes an image, not ndarray.*lambda: image"):
            cache_im(np.ones(3))
        for context in ({}, {"cache_url": tmp_path}):
            with pytest.raises(TypeError, match=r"keeps an image.* gave dict; .*Cache\(url\).run"):
                cache_im(dict, context)

    def test_options_of_the_wrong_kind_are_told(self):
        with pytest.raises(TypeError, match=r"context_args is a dict.* not str"):
            cache_im(lambda: np.ones(3), "results")
        with pytest.raises(ValueError, match="multiscale is the number of smaller levels, 0 or more, not -1"):
            cache_im(lambda: np.ones(3), {"multiscale": -1})
        with pytest.raises(TypeError, match=r"viewer is a napari\.Viewer, not True"):
            cache_im(lambda: np.ones(3), {"viewer_args": {"viewer": True}})

    def test_a_coroutine_that_was_awaited_is_told(self):
        async def image():
            return np.ones(3)

        coroutine = image()
        asyncio.run(_awaited(coroutine))
        with pytest.raises(ValueError, match="was awaited before"):
            cache_im(coroutine)

    @pytest.mark.parametrize(("context", "kind"), [("results", TypeError), ({"cahce_url": "a"}, ValueError)])
    def test_a_coroutine_is_closed_if_its_options_are_wrong(self, context, kind):
        async def image():
            return np.ones(3)

        coroutine = image()
        with pytest.raises(kind):
            cache_im(coroutine, context)
        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
