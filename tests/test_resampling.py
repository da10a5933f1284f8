"""Masks on another grid than the image: each pixel takes the label of the nearest pixel of the mask."""

from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xlabelstats
from xlabelstats.resampling import resampled

NEAREST = {"align": "nearest"}


def on_grid(values: Any, **coords: Any) -> xr.DataArray:
    return xr.DataArray(values, coords, tuple(coords))


def by_hand(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """For every x the first of the nearest values, -1 beyond half a pixel from the outermost: one at a time."""
    order = np.sort(values)
    low, high = order[0] - (order[1] - order[0]) / 2, order[-1] + (order[-1] - order[-2]) / 2
    found = []
    for each in x:
        distance = [abs(each - value) for value in values]
        found.append(distance.index(min(distance)) if low <= each <= high else -1)
    return np.array(found)


def expected_mask(image: xr.DataArray, mask: xr.DataArray) -> np.ndarray:
    """The mask on the image's grid, one axis after another."""
    values = mask.values
    for axis, dim in enumerate(mask.dims):
        index = by_hand(image[dim].values, mask[dim].values)
        values = np.where(
            np.expand_dims(index < 0, tuple(a for a in range(mask.ndim) if a != axis)), 0, values.take(index, axis)
        )
    return values


@pytest.fixture
def field() -> tuple[xr.DataArray, xr.DataArray]:
    """An image of 2 x 40 x 60 pixels of 1, and a mask of 6 x 7 of 8 by 9, which reaches over two of its borders."""
    rng = np.random.default_rng(3)
    image = on_grid(rng.random((2, 40, 60)), c=["a", "b"], y=np.arange(40.0), x=np.arange(60.0))
    return image, on_grid(rng.integers(0, 9, (6, 7)), y=np.arange(6) * 8 - 3.0, x=np.arange(7) * 9 + 2.5)


@st.composite
def grids(draw: st.DrawFn) -> tuple[xr.DataArray, xr.DataArray, Any, Any]:
    """An image and a mask of any grids, coordinates in any order, evenly spaced or not, and chunks of both."""
    dims = draw(st.permutations("zyx"))[: draw(st.integers(1, 3))]
    # Multiples of a quarter, so that halves of differences are exact, and ties are.
    along = st.lists(st.integers(-20, 40).map(lambda n: n / 4), min_size=2, max_size=9, unique=True)
    orders = st.sampled_from(["up", "down", "any"])

    def coordinates() -> np.ndarray:
        values, order = np.array(draw(along)), draw(orders)
        return values if order == "any" else np.sort(values)[:: 1 if order == "up" else -1]

    ours, theirs = ({dim: coordinates() for dim in dims} for _ in range(2))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    dtype = draw(st.sampled_from(["u1", "i2", "u8", ">i4"]))
    mask = on_grid(rng.integers(0, 5, [v.size for v in theirs.values()]).astype(dtype), **theirs)
    image = on_grid(rng.random([v.size for v in ours.values()]), **ours).expand_dims(c=2).copy()
    image = image.transpose(*draw(st.permutations(image.dims)))
    chunks = st.none() | st.fixed_dictionaries(dict.fromkeys(dims, st.integers(1, 4)))
    return image, mask, draw(chunks), draw(chunks)


def cut(array: xr.DataArray, chunks: Any) -> xr.DataArray:
    return array if chunks is None else array.chunk(chunks)


class TestGrid:
    @settings(deadline=None, max_examples=150)
    @given(grids())
    def test_every_pixel_takes_the_label_of_the_nearest_for_every_grid_order_and_chunking(self, drawn):
        image, mask, of_image, of_mask = drawn
        with dask.config.set(scheduler="sync"), pytest.MonkeyPatch.context() as patch:
            patch.setattr("xlabelstats.resampling.caution", lambda message: None)
            found = resampled(cut(image, of_image), cut(mask, of_mask), "nearest")
            assert found.dims == mask.dims
            assert (found.chunks is not None) == (found is not mask and bool(of_image or of_mask)) or found is mask
            np.testing.assert_array_equal(found.values, expected_mask(image, mask))
        assert found.dtype == mask.dtype

    def test_it_is_what_xarray_has_nearest(self, field):
        image, mask = field
        # Of two as near xarray takes the latter.
        mask = mask.assign_coords(y=mask.y + 0.3, x=mask.x + 0.3)
        nearest = mask.reindex(y=image.y, method="nearest", tolerance=4, fill_value=0)
        nearest = nearest.reindex(x=image.x, method="nearest", tolerance=4.5, fill_value=0)
        found = resampled(image, mask, "nearest")
        xr.testing.assert_equal(found, nearest)
        assert (found == 0).mean() < 0.3

    def test_a_tie_up_to_rounding_is_a_tie(self):
        tenths, fifths = np.arange(41) / 10, np.arange(21) / 5
        found = resampled(on_grid(np.zeros(41), x=tenths), on_grid(np.arange(21), x=fifths), "nearest")
        np.testing.assert_array_equal(found, np.arange(41) // 2)
        found = resampled(on_grid(np.zeros(41), x=tenths), on_grid(np.arange(21), x=fifths[::-1].copy()), "nearest")
        np.testing.assert_array_equal(found, (40 - np.arange(41)) // 2)

    def test_half_a_pixel_beyond_the_outermost_is_the_last_that_has_a_label(self):
        mask = on_grid([3, 4, 5], x=[0.0, 2.0, 8.0])
        image = on_grid(np.zeros(6), x=[-1.01, -1.0, 5.0, 5.01, 11.0, 11.01])
        np.testing.assert_array_equal(resampled(image, mask, "nearest"), [0, 3, 4, 5, 5, 0])

    def test_a_mask_of_one_pixel_is_as_wide_as_the_images_pixels(self):
        plane = on_grid([[7, 7]], z=[10.0], y=[0.0, 1.0])
        image = on_grid(np.zeros((4, 2)), z=[6.0, 8.0, 11.0, 13.0], y=[0.0, 1.0])
        np.testing.assert_array_equal(resampled(image, plane, "nearest").isel(y=0), [0, 0, 7, 0])

    def test_times_are_as_numbers(self):
        hours = np.datetime64("2026-01-01T00", "ns") + np.arange(6) * np.timedelta64(1, "h")
        mask = on_grid([1, 2], time=hours[[1, 4]])
        found = resampled(on_grid(np.zeros(6), time=hours), mask, "nearest")
        np.testing.assert_array_equal(found, [1, 1, 1, 2, 2, 2])

    def test_dims_without_coordinates_of_one_size_and_scalars_stay(self, field):
        image, mask = field
        stack = xr.concat([mask, mask + 1], "z").assign_coords(plate=3)
        found = resampled(image.expand_dims(z=2), stack, "nearest")
        np.testing.assert_array_equal(found.isel(z=0), resampled(image, mask, "nearest"))
        assert found.plate == 3
        assert "z" not in found.coords

    def test_the_units_of_the_mask_are_kept_where_the_image_has_none(self, field):
        image, mask = field
        mask["x"].attrs["units"] = "um"
        assert resampled(image, mask, "nearest")["x"].attrs == {"units": "um"}
        assert image["x"].attrs == {}

    def test_the_same_grid_is_left_as_it_is(self, field):
        mask = resampled(*field, "nearest")
        assert resampled(field[0], mask, "nearest") is mask


class TestMemory:
    def test_blocks_are_cut_to_what_a_chunk_needs_and_large_ones_never_joined(self):
        """A mask of a billion pixels over a coarse image: no task gives more than its share of one chunk."""
        largest = []

        def block(block_id: Any = None) -> np.ndarray:
            return np.full((2000, 2000), 1 + sum(block_id), "u1")

        mask = xr.DataArray(da.map_blocks(block, chunks=((2000,) * 16, (2000,) * 16), dtype="u1"), dims=("y", "x"))
        mask = mask.assign_coords(y=np.arange(32000.0), x=np.arange(32000.0))
        image = on_grid(np.zeros((320, 320)), y=np.arange(320) * 100 + 50.0, x=np.arange(320) * 100 + 50.0)
        found = resampled(image.chunk(160), mask, "nearest")

        class Sizes(dask.callbacks.Callback):
            def _posttask(self, key: Any, result: Any, *_: Any) -> None:
                if "nearest" in str(key) and hasattr(result, "nbytes"):
                    largest.append(result.nbytes if result.base is None else result.base.nbytes)

        with Sizes():
            values = found.compute(scheduler="sync", optimize_graph=False).values
        np.testing.assert_array_equal(values, 1 + np.add.outer(np.arange(320) // 20, np.arange(320) // 20))
        assert max(largest) <= 160 * 160

    def test_a_graph_has_a_task_for_every_chunk_and_holds_indexes_once(self):
        mask = on_grid(np.ones((80, 80), int), y=np.arange(80) * 25.0, x=np.arange(80) * 25.0)
        image = xr.DataArray(da.zeros((2000, 2000), chunks=100), dims=("y", "x"))
        image = image.assign_coords(y=np.arange(2000.0), x=np.arange(2000.0))
        graph = dict(resampled(image, mask, "nearest").__dask_graph__())
        assert len(graph) <= 400 + 4

    def test_each_block_of_the_mask_is_read_once_for_all_chunks(self, field):
        image, mask = field
        read = []

        def noted(block: np.ndarray, block_id: Any = None) -> np.ndarray:
            read.append(block_id)
            return block

        lazy = mask.copy(
            data=da.from_array(mask.values, chunks=3).map_blocks(noted, dtype=mask.dtype, meta=mask.values)
        )
        resampled(image.chunk(x=10, y=10), lazy, "nearest").compute(scheduler="sync")
        assert len(read) == len(set(read)) == 6


CALLS = {
    "aggregate": lambda i, m, **o: i.labels.aggregate(m, **o),
    **{
        name: lambda i, m, name=name, **o: getattr(i.labels, name)(m, **o)
        for name in ("mean", "sum", "var", "std", "skew", "kurtosis", "min", "max", "median", "quantiles")
    },
    "quantile": lambda i, m, **o: i.labels.quantile(m, 0.3, **o),
    "measure": lambda i, m, **o: i.labels.measure(m, ("mean", "p50", "area", "centroid", "solidity"), **o),
    "regionprops": lambda i, m, **o: i.labels.regionprops(m, ("area", "intensity_mean", "centroid_weighted"), **o),
    "center_of_mass": lambda i, m, **o: m.labels.center_of_mass(i, **o),
    "flox": lambda i, m, **o: i.labels.aggregate(m, ("mean", "first"), engine="flox", **o),
    "instances.quantiles": lambda i, m, **o: i.instances.quantiles(m, **o),
    "instances.median": lambda i, m, **o: i.instances.median(m, **o),
    "instances.regionprops": lambda i, m, **o: i.instances.regionprops(m, ("solidity", "intensity_mean"), **o),
    "instances.windows": lambda i, m, **o: i.instances.windows(m, **o),
    "instances.statistics": lambda i, m, **o: i.instances.statistics(m, lambda p: p.sum(axis=1), dims={}, **o),
    "instances.featurize": lambda i, m, **o: i.instances.featurize(
        m, lambda b: b.sum(axis=(2, 3)), size=40, n_features=2, **o
    ),
}


class TestCalls:
    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("name", CALLS)
    @pytest.mark.filterwarnings("ignore:.*are cropped")
    def test_every_call_gives_what_it_gives_for_the_mask_on_the_images_grid(self, name, lazy, field):
        image, mask = field
        by_hand = image.isel(c=0, drop=True).copy(data=expected_mask(image, mask))
        if lazy:
            image, by_hand, mask = image.chunk(y=17, x=13), by_hand.chunk(y=17, x=13), mask.chunk(y=4, x=2)
        found, expected = CALLS[name](image, mask, **NEAREST), CALLS[name](image, by_hand)
        xr.testing.assert_identical(found.compute().drop_attrs(), expected.compute().drop_attrs())
        assert bool(found.chunks) == bool(expected.chunks)
        with pytest.raises(ValueError, match="align='nearest'"):
            CALLS[name](image, mask)

    @pytest.mark.parametrize(
        "name",
        ["aggregate", "mean", "std", "min", "median", "quantiles", "measure", "regionprops", "instances.windows",
         "instances.median", "instances.regionprops", "instances.statistics", "instances.featurize"],
    )  # fmt: skip
    @pytest.mark.filterwarnings("ignore:.*are cropped")
    def test_a_dataset_has_it_for_all_its_images(self, name, field):
        image, mask = field
        both = xr.Dataset({"one": image, "two": image + 1}).chunk(y=17, x=13)
        found = CALLS[name](both, mask, **NEAREST)
        for part in both:
            expected = CALLS[name](both[part], mask, **NEAREST)
            expected = expected if isinstance(expected, xr.Dataset) else expected.to_dataset()
            for each, values in expected.items():
                ours = found[f"{each}_{part}"] if f"{each}_{part}" in found else found[each]
                np.testing.assert_array_equal(ours.sel(label=values.label), values)

    def test_a_dataset_weighs_its_masks_centres(self, field):
        image, mask = field
        found = xr.Dataset({"one": image}).labels.center_of_mass(mask, "one", **NEAREST)
        xr.testing.assert_identical(found, mask.labels.center_of_mass(image.rename("one"), **NEAREST))

    def test_a_tree_has_it_too(self, field):
        image, mask = field
        tree = xr.DataTree.from_dict({"scale0": image.to_dataset(name="image")})
        masks = xr.DataTree.from_dict({"scale0": mask.to_dataset(name="mask")})
        xr.testing.assert_equal(tree.labels.mean(masks, **NEAREST), image.labels.mean(mask, **NEAREST))

    def test_labels_that_no_pixel_gets_are_left_out_unless_asked_for(self):
        mask = on_grid([1, 2, 3, 4, 5], x=np.arange(5.0))
        image = on_grid([10.0, 20.0, 30.0], x=[0.0, 3.0, 9.0])
        for pixels, labelled in ((image, mask), (image.chunk(x=2), mask.chunk(x=2))):
            found = pixels.labels.aggregate(labelled, ("count", "mean"), **NEAREST)
            assert found.label.values.tolist() == [1, 4]
            assert found["mean"].values.tolist() == [10, 20]
            asked = pixels.labels.aggregate(labelled, ("count", "mean"), labels=[5, 4], **NEAREST)
            assert asked["count"].values.tolist() == [0, 1]
            np.testing.assert_array_equal(asked["mean"], [np.nan, 20])

    def test_real_nuclei_on_a_finer_image_have_their_means(self, nuclei2d):
        image, mask = (array.assign_coords(y=np.arange(512.0), x=np.arange(512.0)) for array in nuclei2d)
        fine = image.isel(y=np.arange(1024) // 2, x=np.arange(1024) // 2)
        fine = fine.assign_coords(y=np.arange(1024) / 2 - 0.25, x=np.arange(1024) / 2 - 0.25).chunk(y=300, x=400)
        found, expected = fine.labels.aggregate(mask, **NEAREST), image.labels.aggregate(mask)
        np.testing.assert_array_equal(found["count"], 4 * expected["count"])
        np.testing.assert_array_equal(found["max"], expected["max"])
        np.testing.assert_allclose(found["mean"], expected["mean"], rtol=1e-13)

    def test_a_bool_mask_is_one_label(self, field):
        image, mask = field
        found = image.labels.sum(mask > 4, **NEAREST)
        np.testing.assert_allclose(found.isel(label=0), image.where(expected_mask(image, mask) > 4).sum(("y", "x")))

    def test_inputs_are_left_as_they_were(self, field):
        image, mask = field
        before = image.copy(deep=True), mask.copy(deep=True)
        image.labels.mean(mask, **NEAREST)
        xr.testing.assert_identical(image, before[0])
        xr.testing.assert_identical(mask, before[1])


class TestComplaints:
    @pytest.mark.parametrize("align", ["linear", True, 1, ""])
    def test_another_way_is_none(self, field, align):
        with pytest.raises(ValueError, match=r"align is 'nearest', .* or None .*, not "):
            field[0].labels.mean(field[1], align=align)

    def test_a_mask_alone_has_no_grid_to_go_to(self, field):
        for call in (
            lambda m: m.labels.regionprops("area", **NEAREST),
            lambda m: m.labels.measure("area", **NEAREST),
            lambda m: m.labels.center_of_mass(**NEAREST),
            lambda m: m.instances.windows(3, **NEAREST),
            lambda m: m.instances.regionprops("solidity", **NEAREST),
        ):
            with pytest.raises(ValueError, match="brings a mask to the grid of an image, and there is none"):
                call(field[1])

    def test_coordinates_on_one_side_only_or_none_for_other_sizes(self, field):
        image, mask = field
        with pytest.raises(
            ValueError, match=r"along 'x' there are none in the mask; .*mask.assign_coords\({'x': ...}\)"
        ):
            image.labels.mean(mask.drop_vars("x"), **NEAREST)
        with pytest.raises(ValueError, match="along 'x' there are none in the image; 'x' is 60 in the image and 7"):
            image.drop_vars("x").labels.mean(mask, **NEAREST)
        with pytest.raises(ValueError, match="along 'x' there are none in the image and in the mask"):
            image.drop_vars("x").labels.mean(mask.drop_vars("x"), **NEAREST)

    def test_units_that_differ(self, field):
        image, mask = field
        image["x"].attrs["units"], mask["x"].attrs["units"] = "um", "mm"
        with pytest.raises(ValueError, match="are in 'um' in the image and in 'mm' in the mask"):
            image.labels.mean(mask, **NEAREST)

    def test_coordinates_that_are_no_numbers(self, field):
        image, mask = field
        with pytest.raises(ValueError, match="needs numbers or times as coordinates; along 'x' the mask has object"):
            image.labels.mean(mask.assign_coords(x=list("abcdefg")), **NEAREST)
        with pytest.raises(ValueError, match="the coordinate 'x' of the mask is nan at index 1"):
            image.labels.mean(mask.assign_coords(x=[0, np.nan, 2, 3, 4, 5, 6]), **NEAREST)

    def test_a_dim_that_the_image_lacks(self, field):
        image, mask = field
        with pytest.raises(ValueError, match="the image has no dim 'z' of the mask"):
            image.labels.mean(mask.expand_dims(z=[0.0]), **NEAREST)

    def test_a_mask_that_is_none(self, field):
        with pytest.raises(TypeError, match="a mask holds integer labels, not float64"):
            field[0].labels.mean(field[1].astype(float), **NEAREST)

    def test_grids_that_do_not_meet_are_warned_of(self, field):
        image, mask = field
        with pytest.warns(UserWarning, match=r"no pixel of the image lies in the mask along 'x'.* the same units\?"):
            found = image.labels.mean(mask.assign_coords(x=mask.x + 1000), **NEAREST)
        assert found.sizes["label"] == 0


def test_the_scan_of_a_lazy_mask_is_that_of_the_images_grid(field):
    image, mask = field
    xlabelstats.clear_cache()
    found = image.chunk(x=20).labels.aggregate(mask.chunk(x=3), "count", **NEAREST)
    ids, counts = np.unique(expected_mask(image, mask), return_counts=True)
    assert dict(zip(found.label.values.tolist(), found["count"].values.tolist(), strict=True)) == {
        int(label): int(n) for label, n in zip(ids, counts, strict=True) if label
    }
