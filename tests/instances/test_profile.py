"""The morphological profile of every object: the call, what it leaves out, and what does not change its numbers."""

from __future__ import annotations

import warnings

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st

from xlabelstats.catalogue import CATALOGUE, measure_of
from xlabelstats.catalogue.profiles import PROFILE

FLAT = ("radial_distribution", "zernike", "radial_zernike")
SOLID = tuple(name for name in PROFILE if name not in FLAT)


def assert_same_bits(one: xr.Dataset, other: xr.Dataset) -> None:
    assert list(one) == list(other)
    for name in one:
        np.testing.assert_array_equal(one[name].values, other[name].values, err_msg=str(name))
        assert one[name].dims == other[name].dims


@pytest.fixture(scope="module")
def pair(nuclei2d):
    image, mask = nuclei2d[:2]
    image = xr.concat([image, image[::-1].values + 0 * image], "c").isel(y=slice(0, 200), x=slice(0, 230))
    return image.assign_coords(c=["DNA", "ER"]), mask.isel(y=slice(0, 200), x=slice(0, 230))


@pytest.fixture(scope="module")
def volume(nuclei3d):
    image, mask = nuclei3d[:2]
    return xr.concat([image, image.max() - image], "c"), mask


@pytest.fixture(scope="module")
def profile(pair):
    image, mask = pair
    return image.instances.profile(mask)


@pytest.fixture(scope="module")
def random_pair():
    rng = np.random.default_rng(3)
    mask = blobs((60, 70), 25)
    return (
        xr.DataArray(rng.integers(0, 256, (2, *mask.shape), "u1"), dims=("c", "y", "x")),
        xr.DataArray(mask, dims=("y", "x")),
    )


class TestResult:
    def test_holds_every_family(self, profile):
        names = {name for family in PROFILE.values() for name in family.measures}
        assert {name for name in names if not measure_of(name).only_3d} <= {*profile}

    def test_has_the_values_of_measure(self, pair, profile):
        image, mask = pair
        names = [name for name in profile if name in CATALOGUE and not CATALOGUE[name].pairs]
        expected = image.labels.measure(mask, names, units="pixel")
        for name in names:
            np.testing.assert_allclose(profile[name], expected[name], rtol=1e-7, atol=1e-9, err_msg=name)

    def test_has_the_correlations_above_the_threshold_of_cellprofiler(self, pair, profile):
        image, mask = pair
        stats = ("overlap", "k1", "k2", "manders", "rwc")
        expected = image.labels.correlation(mask, "c", stats, threshold=0.15)
        for name in stats:
            np.testing.assert_allclose(profile[name], expected[name], rtol=1e-12, err_msg=name)

    def test_is_in_pixels_whatever_the_coordinates(self, pair, profile):
        image, mask = pair
        placed = image.assign_coords(y=0.5 * np.arange(200), x=7 + 0.5 * np.arange(230))
        placed["y"].attrs["units"] = placed["x"].attrs["units"] = "um"
        assert_same_bits(placed.instances.profile(mask), profile)

    def test_some_families_are_what_all_have_of_them(self, pair, profile):
        image, mask = pair
        some = image.instances.profile(mask, ["zernike", "texture"])
        assert_same_bits(some, profile[list(some)])
        assert len(some) == 14

    @pytest.mark.filterwarnings("ignore:texture. 4 % of the labelled pixels of c='ER' are beyond range=")
    def test_scales_levels_and_range_are_those_of_texture(self, pair):
        image, mask = pair
        options = {"scale": [1, 4], "levels": 32, "range": (10, 200)}
        result = image.instances.profile(mask, "texture", **options)
        expected = image.labels.measure(mask, [("texture_contrast", options)])
        xr.testing.assert_equal(result["texture_contrast"], expected["texture_contrast"])
        assert result["scale"].values.tolist() == [1, 4]

    def test_rows_are_the_labels_asked_for_in_their_order(self, pair, profile):
        image, mask = pair
        labels = [*profile["label"].values[[7, 2, 5]].tolist(), 60000]
        result = image.instances.profile(mask, labels=labels)
        for name in profile:
            np.testing.assert_array_equal(result[name][:3], profile[name].sel(label=labels[:3]), err_msg=name)
        assert result["area"][3] == 0
        assert np.isnan(result["granularity"][3]).all()

    def test_background_is_an_object_if_that_is_wanted(self, random_pair):
        image, mask = random_pair
        result = image.instances.profile(mask, background=True)
        assert result["label"][0] == 0
        assert result["area"][0] == (mask == 0).sum()

    def test_each_time_is_measured_apart(self, random_pair, volume):
        image, mask = random_pair
        film = xr.concat([image, 255 - image], "t")
        frames = xr.concat([mask, mask.where(mask < 30, 0)], "t")
        result = film.instances.profile(frames, per="t")
        for t in (0, 1):
            alone = film.isel(t=t).instances.profile(frames.isel(t=t))
            rows = result.isel(object=result["t"].values == t)
            for name in alone:
                np.testing.assert_array_equal(rows[name], alone[name], err_msg=name)

    def test_inputs_are_not_changed(self, random_pair):
        image, mask = (each.copy(deep=True) for each in random_pair)
        image.instances.profile(mask)
        xr.testing.assert_identical(image, random_pair[0])
        xr.testing.assert_identical(mask, random_pair[1])

    def test_a_mask_without_objects_has_no_rows(self, random_pair):
        image, mask = random_pair
        for empty in (mask * 0, (mask * 0).chunk()):
            result = image.instances.profile(empty)
            assert result.sizes["label"] == 0
            assert result["texture_contrast"].dims == ("label", "c", "scale", "angle")

    def test_no_nan_pixel_counts_or_all_do(self, random_pair):
        image, mask = random_pair
        label = mask.values.max()
        holed = image.astype("f8").where((mask != label) | (np.indices(mask.shape).sum(axis=0) % 7 > 0))
        options = {"families": ["intensity", "texture", "granularity"], "range": (0, 256)}
        left_out = holed.instances.profile(mask, **options)
        cut = mask.where(holed.isel(c=0).notnull(), 0)
        expected = image.astype("f8").instances.profile(cut, **options)
        for name in ("mean", "texture_contrast", "granularity", "edge_mean"):
            if name != "edge_mean":
                np.testing.assert_allclose(left_out[name], expected[name], rtol=1e-12, err_msg=name)
            spoiled = holed.instances.profile(mask, skipna=False, **options)[name].sel(label=label)
            assert np.isnan(spoiled).all()

    def test_an_infinite_pixel_changes_its_own_object_alone(self, random_pair):
        image, mask = random_pair
        light = image.astype("f8")
        expected = light.instances.profile(mask, range=(0, 256))
        label = int(mask.values.max())
        y, x = np.argwhere(mask.values == label)[0]
        light[0, y, x] = np.inf
        result = light.instances.profile(mask, range=(0, 256))
        others = result["label"].values != label
        assert_same_bits(result.isel(label=others), expected.isel(label=others))
        assert result["max"].sel(label=label, c=0) == np.inf


class TestBits:
    @settings(max_examples=8)
    @given(y=st.integers(15, 60), x=st.integers(15, 70), c=st.integers(1, 2), batch=st.none() | st.integers(1, 30))
    def test_are_the_same_for_every_chunking(self, random_pair, y, x, c, batch):
        image, mask = random_pair
        expected = image.instances.profile(mask)
        result = image.chunk(c=c, y=y, x=x).instances.profile(mask.chunk(y=x, x=y), batch_size=batch)
        assert_same_bits(expected, result.compute())

    def test_are_the_same_for_every_chunking_of_a_volume(self, volume):
        image, mask = volume
        expected = image.instances.profile(mask, SOLID, range=(0, 500))
        chunked = image.chunk(c=1, z=9, y=13, x=40), mask.chunk(z=5, y=20, x=11)
        assert_same_bits(expected, chunked[0].instances.profile(chunked[1], SOLID, range=(0, 500)).compute())

    def test_are_the_same_for_every_order_of_the_dims_of_the_image(self, random_pair):
        image, mask = random_pair
        result = image.transpose("x", "c", "y").instances.profile(mask)
        assert_same_bits(image.instances.profile(mask), result)

    def test_are_the_same_for_every_order_of_the_dims_of_the_mask(self, random_pair, volume):
        image, mask = random_pair
        assert_same_bits(image.instances.profile(mask), image.instances.profile(mask.T))
        image, mask = volume
        turned = image.instances.profile(mask.transpose("x", "z", "y"), SOLID, range=(0, 500))
        assert_same_bits(image.instances.profile(mask, SOLID, range=(0, 500)), turned)

    def test_are_the_same_beside_nan_pixels_of_another_round(self, random_pair):
        mask = random_pair[1]
        light = np.random.default_rng(0).normal(5, 1, (3, 2, *mask.shape))
        light[1][:, np.random.default_rng(1).random(mask.shape) < 0.1] = np.nan
        rounds = xr.DataArray(light, dims=("round", "c", "y", "x"))
        expected = rounds.instances.profile(mask, "correlation")
        result = rounds.chunk(round=1, y=20, x=30).instances.profile(mask.chunk(25), "correlation")
        assert_same_bits(expected, result.compute())

    @pytest.mark.parametrize("batch", [1, 4, 1000, None])
    def test_are_the_same_of_stored_arrays_read_batch_by_batch(self, random_pair, tmp_path, monkeypatch, batch):
        image, mask = random_pair
        monkeypatch.setattr("xlabelstats.engine.region_pixels.KEPT_BYTES", 0)
        monkeypatch.setattr("xlabelstats.engine.passes.KEPT_BYTES", 0)
        image.to_dataset(name="image").assign(mask=mask).chunk(y=16, x=16).to_zarr(tmp_path / "field")
        field = xr.open_zarr(tmp_path / "field")
        labels = mask.labels.ids()[::-2]
        result = field["image"].instances.profile(field["mask"], labels=labels, batch_size=batch)
        assert_same_bits(image.instances.profile(mask, labels=labels), result.compute())

    def test_are_the_same_without_the_other_objects(self, pair, profile):
        image, mask = pair
        alone = [name for family in PROFILE for name in PROFILE[family].measures if family != "neighbors"]
        for label in profile["label"].values[::9]:
            result = image.instances.profile(mask.where(mask == label, 0))
            for name in {*alone} & {*result}:
                np.testing.assert_array_equal(result[name][0], profile[name].sel(label=label), err_msg=name)


class TestLazy:
    def test_only_the_mask_is_read_at_once(self, random_pair):
        image, mask = random_pair

        def read(block):
            raise AssertionError("the image is read")

        never = image.copy(data=da.map_blocks(read, da.from_array(image.values, (1, 30, 30)), dtype="u1"))
        result = never.instances.profile(mask.chunk(20))
        assert all(variable.chunks for variable in result.values())

    def test_batches_are_the_chunks_along_label(self, random_pair):
        image, mask = random_pair
        result = image.chunk().instances.profile(mask, batch_size=10)
        assert {result.chunksizes["label"][:-1]} == {(10,) * (result.sizes["label"] // 10)}

    def test_a_batch_reads_the_blocks_of_its_objects_alone(self, tmp_path, monkeypatch):
        monkeypatch.setattr("xlabelstats.engine.region_pixels.KEPT_BYTES", 0)
        monkeypatch.setattr("xlabelstats.engine.passes.KEPT_BYTES", 0)
        mask = np.zeros((10, 80), int)
        mask[2:8, 5:15], mask[2:8, 65:75] = 1, 2
        image = np.full((10, 80), 3, "u1")
        field = xr.Dataset({"image": (("y", "x"), image), "mask": (("y", "x"), mask)}).chunk(x=20)
        field.to_zarr(tmp_path / "field")
        # Of the second object, the pixels are gone when the first is measured.
        stored = xr.open_zarr(tmp_path / "field")
        result = stored["image"].instances.profile(stored["mask"], "granularity", batch_size=1)
        lost = [path for path in (tmp_path / "field" / "image").rglob("*") if path.is_file() and path.name in "23"]
        assert len(lost) == 2
        for path in lost:
            path.write_bytes(b"no pixels")
        assert result.isel(label=0).compute()["granularity"].shape == (16,)
        with pytest.raises(Exception, match=r".+"):
            result.isel(label=1).compute()

    def test_goes_to_zarr_and_comes_back(self, random_pair, tmp_path):
        image, mask = random_pair
        result = image.chunk(y=20, x=20).instances.profile(mask, batch_size=7)
        result.to_zarr(tmp_path / "profile", consolidated=False)
        back = xr.open_zarr(tmp_path / "profile", consolidated=False)
        assert_same_bits(image.instances.profile(mask), back[list(result)].compute())


class TestLeftOut:
    def test_of_a_volume_are_families_of_planes(self, volume):
        image, mask = volume
        with pytest.warns(UserWarning, match="2-D masks only: radial_distribution, zernike, radial_zernike") as given:
            result = image.instances.profile(mask, range=(0, 500))
        assert len(given) == 1
        assert_same_bits(result, image.instances.profile(mask, SOLID, range=(0, 500)))

    @pytest.mark.parametrize("family", FLAT)
    def test_a_family_of_planes_named_for_a_volume_is_an_error(self, volume, family):
        image, mask = volume
        with pytest.raises(NotImplementedError, match=f"{family}: defined for 2-D masks only"):
            image.instances.profile(mask, ["shape", family])

    @pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "u8"])
    def test_texture_of_an_image_without_a_range_is(self, random_pair, dtype):
        image, mask = random_pair
        image = image.astype(dtype).chunk()
        with pytest.warns(UserWarning, match=r"left out: texture, .*range=\(low, high\)") as given:
            result = image.instances.profile(mask)
        assert len(given) == 1
        assert not [name for name in result if name.startswith("texture")]
        with pytest.raises(ValueError, match=r"texture of an image of .* range='object'"):
            image.instances.profile(mask, "texture")

    @pytest.mark.filterwarnings("ignore:texture. 256 grey levels cover the range")
    @pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "bool"])
    def test_texture_is_not_where_the_dtype_has_a_range(self, random_pair, dtype):
        image, mask = random_pair
        assert "texture_contrast" in image.astype(dtype).chunk().instances.profile(mask)

    def test_an_image_that_fills_few_grey_levels_is_told_its_range(self, random_pair):
        image, mask = random_pair
        with pytest.warns(
            UserWarning, match=r"pixels of c=0 lie from 1 to 254 and fill 1 of 256 grey levels over the range of uint16"
        ):
            image.astype("u2").instances.profile(mask, "texture")
        with pytest.warns(UserWarning, match=r"fill 1 of 256 grey levels over range=\(1000, 2000\)"):
            image.instances.profile(mask, "texture", range=(1000, 2000))
        with pytest.warns(UserWarning, match=r"such as range=\(1, 254\), or range='object'") as warned:
            image.astype("u2").labels.measure(mask, ("texture_contrast", "texture_entropy", "mean"))
        assert len(warned) == 1
        image.astype("u2").instances.profile(mask, "texture", range=(0, 256))
        image.astype("u2").instances.profile(mask, "texture", range="object")

    def test_of_few_levels_half_are_enough(self, random_pair):
        image, mask = random_pair
        wide, two = image.astype("u1"), image.astype("u1").clip(127, 129)
        for levels in (2, 4, 8):
            wide.labels.measure(mask, ("texture_contrast", {"levels": levels}))
        two.labels.measure(mask, ("texture_contrast", {"levels": 2, "range": (0, 255)}))
        with pytest.warns(UserWarning, match=r"such as range=\(1000000127, 1000000129\)"):
            (two.astype("u4") + 10**9).labels.measure(mask, ("texture_contrast", {"range": (0, 2**32)}))

    def test_a_lazy_image_of_16_bits_is_told_that_it_may_fill_few_grey_levels(self, random_pair):
        image, mask = random_pair
        lazy = image.astype("u2").chunk(y=20)
        with pytest.warns(UserWarning, match="256 grey levels cover the range of uint16, from 0 to 65535, and lazy"):
            lazy.instances.profile(mask, "texture")
        for range in [(0, 256), (0, 2**16)]:
            lazy.instances.profile(mask, "texture", range=range)
        lazy.astype("u1").instances.profile(mask, "texture")

    def test_correlation_of_one_channel_is_without_a_word(self, random_pair):
        image, mask = random_pair
        for single in (image.isel(c=0), image.isel(c=[0])):
            assert "pearson" not in single.instances.profile(mask)
            with pytest.raises(ValueError, match="correlation compares channels, but"):
                single.instances.profile(mask, "correlation")

    def test_an_image_in_storage_is_judged_if_it_is_read_at_once(self, random_pair, tmp_path):
        image, mask = random_pair
        image.astype("u2").to_dataset(name="image").to_zarr(tmp_path / "field", consolidated=False)
        for chunks, says in ((None, "fill 1 of 256"), ({}, "lazy arrays are not read to see how much of that the obj")):
            opened = xr.open_zarr(tmp_path / "field", consolidated=False, chunks=chunks)["image"]
            with pytest.warns(UserWarning, match=says):
                assert "texture_contrast" in opened.instances.profile(mask, "texture")

    def test_times_and_planes_are_no_channels(self, random_pair):
        image, mask = random_pair
        for dim in ("t", "time", "z"):
            with pytest.warns(
                UserWarning, match="left out: the family correlation, which compares channels, but which"
            ):
                result = image.rename(c=dim).instances.profile(mask)
            assert "pearson" not in result
        dated = image.rename(c="round").assign_coords(round=np.array(["2020-01-01", "2020-01-02"], "M8[ns]"))
        with pytest.raises(ValueError, match="is not clear; name it 'c'"):
            dated.instances.profile(mask, "correlation")

    def test_correlation_is_along_c_or_the_only_other_dim(self, random_pair):
        image, mask = random_pair
        rounds = xr.concat([image, image], "round")
        assert rounds.instances.profile(mask)["pearson"].dims == ("label", "round", "c", "c_")
        assert image.rename(c="stain").instances.profile(mask)["pearson"].dims == ("label", "stain", "stain_")
        assert rounds.rename(c="channel").instances.profile(mask)["pearson"].dims[-1] == "channel_"
        with pytest.raises(ValueError, match=r"which dim of this image .* has the channels is not clear"):
            rounds.rename(c="stain").instances.profile(mask, "correlation")


class TestOptions:
    @pytest.mark.filterwarnings("ignore:texture. 25 % of the labelled pixels of c=1 are beyond range=")
    def test_may_be_arrays(self, random_pair):
        image, mask = random_pair
        expected = image.instances.profile(mask, "texture", scale=[1, 3], range=(10, 200))
        for range in (np.array([10, 200]), xr.DataArray([10.0, 200.0]), [np.float32(10), 200]):
            assert_same_bits(image.instances.profile(mask, "texture", scale=np.array([1, 3]), range=range), expected)

    def test_families_may_be_a_generator(self, random_pair):
        image, mask = random_pair
        film, frames = xr.concat([image, image], "t"), xr.concat([mask, mask], "t")
        result = film.instances.profile(frames, (name for name in ("shape", "zernike")), per="t")
        assert {"area", "zernike"} <= {*result}

    def test_families_are_no_mapping(self, random_pair):
        image, mask = random_pair
        with pytest.raises(TypeError, match="families are names, not a mapping"):
            image.instances.profile(mask, {"texture": {"scale": 5}})


class TestErrors:
    def test_an_unknown_family_is_told_the_others(self, random_pair):
        image, mask = random_pair
        with pytest.raises(
            ValueError, match=r"unknown family 'haralick', which is .*\"texture\"\). There are: all, int"
        ):
            image.instances.profile(mask, "haralick")
        with pytest.raises(ValueError, match=r"'area', which is one measure: image.labels.measure\(mask, 'area'\)"):
            image.instances.profile(mask, ["area", "texture"])

    def test_no_family_is_an_error(self, random_pair):
        image, mask = random_pair
        with pytest.raises(ValueError, match="no family was asked for"):
            image.instances.profile(mask, [])

    @pytest.mark.parametrize("option", [{"scale": 2}, {"levels": 16}, {"range": (0, 1)}])
    def test_no_option_of_texture_is_ignored(self, random_pair, option):
        image, mask = random_pair
        with pytest.raises(ValueError, match=f"{next(iter(option))}=.* is for the family texture"):
            image.instances.profile(mask, ["shape", "intensity"], **option)

    @pytest.mark.parametrize("batch", [0, -1, 1.5, "3", True])
    def test_a_batch_is_a_positive_whole_number(self, random_pair, batch):
        image, mask = random_pair
        with pytest.raises((TypeError, ValueError), match="batch_size"):
            image.instances.profile(mask, batch_size=batch)

    def test_a_line_has_no_profile(self, random_pair):
        image, mask = random_pair
        with pytest.raises(ValueError, match=r"profiles are of 2-D and 3-D masks; this one has the dims \('x',\)"):
            image.instances.profile(mask.isel(y=0))

    def test_volumes_in_time_are_told_to_be_measured_apart(self, volume):
        image, mask = (each.expand_dims(t=2) for each in volume)
        with pytest.raises(ValueError, match=r"To measure each time apart: per='t'"):
            image.instances.profile(mask)

    @pytest.mark.parametrize("name", ["first_closest_label", "neighbor_angle", "neighbor_count"])
    def test_a_coordinate_of_the_image_that_is_a_measure_is_an_error(self, random_pair, name):
        image, mask = random_pair
        for named in (image.assign_coords({name: ("c", [1, 2])}), image.rename(c=name)):
            with pytest.raises(ValueError, match=name):
                named.instances.profile(mask, "neighbors")

    @pytest.mark.parametrize("dim", ["scale", "angle", "step", "ring", "order", "axis", "label"])
    def test_a_dim_of_the_image_that_the_result_has_is_an_error(self, random_pair, dim):
        image, mask = random_pair
        with pytest.raises(ValueError, match=dim):
            image.rename(c=dim).instances.profile(mask)


class TestDataset:
    def test_has_what_the_mask_tells_once_and_the_rest_per_image(self, random_pair):
        image, mask = random_pair
        field = xr.Dataset({"DNA": image.isel(c=0), "ER": image.isel(c=1), "cells": mask})
        result = field.instances.profile("cells")
        for i, name in enumerate(("DNA", "ER")):
            expected = image.isel(c=i).instances.profile(mask)
            for measure in expected:
                found = result[measure if f"{measure}_{name}" not in result else f"{measure}_{name}"]
                np.testing.assert_array_equal(found, expected[measure], err_msg=measure)
        assert not [name for name in result if str(name).startswith(("area_bbox_", "zernike_", "radius_max_"))]

    def test_families_of_the_mask_need_no_image(self, random_pair):
        field = xr.Dataset({"cells": random_pair[1]})
        assert "area" in field.instances.profile("cells", ["shape", "zernike"])
        with pytest.raises(ValueError, match="no variable of the Dataset is numeric"):
            field.instances.profile("cells")

    def test_images_with_channels_have_correlations(self, random_pair):
        image, mask = random_pair
        result = xr.Dataset({"stain": image, "cells": mask}).instances.profile("cells", "correlation")
        assert result["pearson_stain"].dims == ("label", "c", "c_")

    def test_each_warning_is_given_once(self, volume):
        image, mask = volume
        field = xr.Dataset({"a": image.astype("f4"), "b": image.astype("f4"), "cells": mask})
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            field.instances.profile("cells")
        assert len(given) == 2

    def test_of_dask_has_equal_chunks(self, random_pair):
        image, mask = random_pair
        field = xr.Dataset({"DNA": image.isel(c=0), "ER": image.isel(c=1), "cells": mask}).chunk(y=20, x=20)
        result = field.instances.profile("cells", batch_size=10)
        assert result.chunksizes["label"][0] == 10
        assert_same_bits(result.compute(), field.compute().instances.profile("cells"))


def test_a_tree_is_measured_at_its_finest_scale(random_pair):
    image, mask = random_pair
    tree = xr.DataTree.from_dict({"scale0": image.to_dataset(name="image")})
    assert_same_bits(tree.instances.profile(mask, "shape"), image.instances.profile(mask, "shape"))


def test_a_mask_on_another_grid_is_aligned(random_pair):
    image, mask = random_pair
    grid = {"y": np.arange(60.0), "x": np.arange(70.0)}
    image, coarse = image.assign_coords(grid), mask.assign_coords(grid)[::2, ::2]
    result = image.instances.profile(coarse, ["shape", "intensity"], align="nearest")
    full = coarse.reindex(grid, method="nearest", tolerance=1, fill_value=0)
    assert result["mean"].shape == (np.unique(full.values[full.values > 0]).size, 2)
