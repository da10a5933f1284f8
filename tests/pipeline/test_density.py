"""Cells per region against a loop over cells and regions."""

from __future__ import annotations

import json

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st

from xlabelstats.pipeline.boxes import count_map, scaled_intensity
from xlabelstats.pipeline.centroids import centroids
from xlabelstats.pipeline.counts import count, count_by_size
from xlabelstats.pipeline.density import density_by_region


def on_grid(values, origin=0.0, step=1.0, units="um") -> xr.DataArray:
    """An array whose pixels lie at origin + step * i along every axis."""
    origin, step = np.broadcast_to(origin, values.ndim), np.broadcast_to(step, values.ndim)
    dims = "zyx"[-values.ndim :]
    return xr.DataArray(
        values,
        dims=list(dims),
        coords={
            dim: (dim, origin[i] + step[i] * np.arange(values.shape[i]), {"units": units} if units else {})
            for i, dim in enumerate(dims)
        },
    )


def by_loop(points: np.ndarray, cells: np.ndarray, atlas: xr.DataArray) -> tuple[dict[int, float], float]:
    """The cells of every region, and those in none, by looking for the atlas pixel that each lies in."""
    found = dict.fromkeys(sorted(set(atlas.values.ravel().tolist()) - {0}), 0.0)
    outside = 0.0
    for point, n in zip(points, cells, strict=True):
        index = []
        for at, dim in zip(point, atlas.dims, strict=True):
            middle = atlas[dim].values
            half = (middle[1] - middle[0]) / 2 if middle.size > 1 else 0.5
            within = [i for i, m in enumerate(middle) if min(m - half, m + half) <= at < max(m - half, m + half)]
            index += within
        region = int(atlas.values[tuple(index)]) if len(index) == atlas.ndim else 0
        if region:
            found[region] += n
        else:
            outside += n
    return found, outside


@pytest.mark.filterwarnings("ignore:.* lie in no region")
@given(st.data())
@settings(max_examples=30, deadline=None)
def test_as_a_loop_finds_them_for_every_chunking_and_no_cell_is_lost(data):
    ndim = data.draw(st.integers(1, 3))
    shape = tuple(data.draw(st.integers(1, 12)) for _ in range(ndim))
    coarse = tuple(data.draw(st.integers(1, 6)) for _ in range(ndim))
    seed = data.draw(st.integers(0, 1000))
    instances = on_grid(blobs(shape, 9, seed), 0.11, 1.0)
    # No centroid lies on a face of the atlas' pixels.
    atlas = on_grid(np.random.default_rng(seed).integers(0, 4, coarse), data.draw(st.floats(-4, 4)) + 1e-4, 2.37)
    table = centroids(instances).assign(cells=lambda t: 0.3 + np.arange(len(t)))
    expected, outside = by_loop(table[list(atlas.dims)].to_numpy(), table["cells"], atlas)
    chunks = {dim: data.draw(st.integers(1, 6)) for dim in atlas.dims}
    order = data.draw(st.permutations(atlas.dims))
    for regions in (atlas, atlas.chunk(chunks), atlas.transpose(*order)):
        found = density_by_region(table, regions)
        assert found["region"].tolist() == list(expected)
        np.testing.assert_allclose(found["cells"], list(expected.values()), rtol=1e-12)
        # The spacing along a dim of one pixel is not known, and taken to be 1.
        pixel = np.prod([2.37 if size > 1 else 1.0 for size in coarse])
        np.testing.assert_allclose(found["volume"], [(atlas.values == region).sum() * pixel for region in expected])
        np.testing.assert_allclose(found["density"], found["cells"] / found["volume"])
        assert found.attrs["outside"] == pytest.approx(outside)
        assert found["cells"].sum() + found.attrs["outside"] == pytest.approx(table["cells"].sum())
    lazy = instances.chunk(data.draw(st.integers(1, 6)))
    pd.testing.assert_frame_equal(density_by_region(lazy, atlas.chunk(chunks)), density_by_region(instances, atlas))


class TestWhatWasCounted:
    @pytest.fixture
    def atlas(self) -> xr.DataArray:
        return on_grid(np.repeat([[3, 8, 0], [8, 8, 5]], 2, axis=0), (1.5, 2.0), (3.0, 5.0))

    @pytest.fixture
    def instances(self) -> xr.DataArray:
        return on_grid(blobs((30, 40), 25), 0.0, 0.4)

    def test_an_instance_its_centroid_and_its_count_are_all_one_cell(self, instances, atlas):
        expected = density_by_region(count(instances), atlas)
        assert 0 < expected["cells"].sum() < len(centroids(instances))
        for counted in (instances, instances.chunk(7), centroids(instances)):
            pd.testing.assert_frame_equal(density_by_region(counted, atlas), expected)

    def test_a_table_counts_its_cells(self, instances, atlas):
        table = count_by_size(instances, size_threshold=9, volume_weight=0.2)
        expected, outside = by_loop(table[["y", "x"]].to_numpy(), table["cells"], atlas)
        found = density_by_region(table, atlas)
        np.testing.assert_allclose(found["cells"], list(expected.values()))
        assert found.attrs["outside"] == pytest.approx(outside)

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("box", [1, 2, 7])
    def test_every_box_of_an_image_lies_in_the_region_at_its_centre(self, instances, atlas, box, lazy):
        image = on_grid(np.random.default_rng(1).random((30, 40)), 0.0, 0.4)
        for counts in (count_map(instances, box), scaled_intensity(image, 0.5, 2.0, box=box)):
            points = np.stack(np.meshgrid(counts["y"], counts["x"], indexing="ij"), axis=-1).reshape(-1, 2)
            expected, outside = by_loop(points, counts.values.ravel(), atlas)
            found = density_by_region(counts.chunk(4) if lazy else counts, atlas.chunk(2) if lazy else atlas)
            np.testing.assert_allclose(found["cells"], list(expected.values()))
            assert found["region"].tolist() == [3, 5, 8]
            assert found.attrs["outside"] == pytest.approx(outside)
            assert found["cells"].sum() + found.attrs["outside"] == pytest.approx(counts.sum().item())

    def test_an_image_of_counts_with_dims_in_another_order(self, instances, atlas):
        counts = count_map(instances, {"y": 2, "x": 3})
        pd.testing.assert_frame_equal(density_by_region(counts.T, atlas), density_by_region(counts, atlas))

    def test_boxes_beyond_an_atlas_without_background_are_outside(self):
        counts = on_grid(np.array([1.0, 2.0, 4.0]), 0.0, 1.0)
        found = density_by_region(counts, on_grid(np.array([7, 7]), 1.0, 1.0))
        assert (found["cells"].tolist(), found.attrs["outside"]) == ([6.0], 1.0)

    def test_pixels_match_where_neither_side_has_coordinates(self):
        mask, atlas = blobs((20, 30), 12), np.random.default_rng(0).integers(0, 5, (20, 30))
        table = centroids(mask)
        at = np.floor(table[["y_pixel", "x_pixel"]].to_numpy() + 0.5).astype(int)
        expected = [(atlas[tuple(at.T)] == region).sum() for region in range(1, 5)]
        for counted in (mask, da.from_array(mask, chunks=8), table, count_map(mask, 1), count_map(mask, 1).values):
            found = density_by_region(counted, atlas)
            assert found["cells"].tolist() == expected
            assert found["volume"].tolist() == [(atlas == region).sum() for region in range(1, 5)]
            assert found.attrs["units"] == {"volume": "pixel**2", "density": "pixel**-2"}

    def test_boxes_of_pixels_match_an_atlas_of_the_image_they_are_of(self):
        mask, atlas = np.eye(8, dtype=int) * np.arange(1, 9), np.repeat([[1, 2]], 8, axis=0).repeat(4, axis=1)
        assert density_by_region(count_map(mask, 2), atlas)["cells"].tolist() == [4, 4]
        with pytest.raises(ValueError, match="along 'y' the image is 8 pixels and the atlas 4"):
            density_by_region(count_map(mask, 2), atlas[:4])


class TestTable:
    def test_the_units_are_those_of_the_atlas(self):
        atlas = on_grid(np.ones((2, 2, 2), int), 0.0, (2.0, 0.5, 0.5))
        found = density_by_region(on_grid(np.eye(2, dtype=int)[None], 0.0, 0.5), atlas)
        assert found["volume"].tolist() == [8 * 2.0 * 0.5 * 0.5]
        assert found.attrs == {"outside": 0.0, "units": {"volume": "um**3", "density": "um**-3"}}
        json.dumps(found.attrs)
        unnamed = density_by_region(on_grid(np.eye(2, dtype=int), units=""), on_grid(np.ones((2, 2), int), units=""))
        assert unnamed.attrs["units"] == {"volume": "", "density": ""}

    def test_regions_without_a_name_get_none_and_names_without_a_region_do_not_matter(self):
        atlas = np.array([[4, 9, 0]])
        for names in ({9: "nine", 77: "none"}, pd.Series(["nine", "none"], index=[9, 77])):
            found = density_by_region(np.array([[1, 0, 0]]), atlas, names)
            assert list(found) == ["region", "name", "cells", "volume", "density"]
            assert found["name"].tolist() == ["", "nine"]
        assert list(density_by_region(np.array([[1, 0, 0]]), atlas)) == ["region", "cells", "volume", "density"]

    def test_regions_without_cells_are_there(self):
        found = density_by_region(np.zeros((1, 3), int), np.array([[4, 9, 9]]))
        assert found[["region", "cells", "volume", "density"]].to_numpy().tolist() == [[4, 0, 1, 0], [9, 0, 2, 0]]

    @pytest.mark.filterwarnings("ignore:.* lie in no region")
    def test_an_atlas_without_regions_has_none_and_all_cells_are_outside(self):
        found = density_by_region(np.array([[1, 0, 2]]), np.zeros((1, 3), int))
        assert (len(found), found.attrs["outside"]) == (0, 2.0)

    def test_sparse_and_large_ids_of_regions(self):
        atlas = np.array([[2**62, 0, -5]])
        found = density_by_region(np.array([[1, 0, 2]]), atlas, {2**62: "far"})
        assert (found["region"].tolist(), found["name"].tolist()) == ([-5, 2**62], ["", "far"])


@pytest.mark.filterwarnings("ignore:.* lie in no region")
def test_a_cell_beyond_the_faces_of_the_outer_pixels_is_outside():
    atlas = on_grid(np.array([[1, 1]]), 0.0, 10.0)
    for at, outside in ((-5.1, 1), (-4.9, 0), (14.9, 0), (15.1, 1)):
        instances = xr.DataArray([[1]], dims=("y", "x"), coords={"y": [0.0], "x": [at]})
        assert density_by_region(instances, atlas).attrs["outside"] == outside


def test_a_falling_coordinate_of_the_atlas_does_not_matter():
    instances = on_grid(blobs((12, 12), 12))
    atlas = on_grid(np.random.default_rng(0).integers(0, 4, (4, 4)), 0.6, 3.0)
    expected = density_by_region(instances, atlas)
    pd.testing.assert_frame_equal(density_by_region(instances, atlas.isel(y=slice(None, None, -1))), expected)


def test_every_pixel_of_an_atlas_of_unequal_blocks_gets_its_own_cells():
    ids = np.arange(1, 73).reshape(8, 9)
    table = count(ids).assign(cells=np.arange(72) + 0.5)
    found = density_by_region(table, da.from_array(ids, chunks=((3, 5), (2, 4, 3))))
    np.testing.assert_array_equal(found["cells"], table["cells"])


def test_a_lazy_atlas_is_read_block_by_block_with_the_cells_of_each():
    sizes = []

    def read(block):
        sizes.append(block.size)
        return block

    atlas = da.from_array(np.arange(64).reshape(8, 8), chunks=4).map_blocks(read, dtype=int, meta=np.empty((0, 0), int))
    with dask.config.set(scheduler="synchronous"):
        found = density_by_region(np.eye(8, dtype=int) * np.arange(1, 9), atlas)
    assert set(sizes) == {16}
    assert found["cells"].sum() == 7
    assert found.attrs["outside"] == 1


class TestComplaints:
    mask = np.array([[1, 0], [0, 2]])

    def complain(self, counted, atlas, match, error=ValueError, **options):
        with pytest.raises(error, match=match):
            density_by_region(counted, atlas, **options)

    def test_about_positions_that_do_not_match(self):
        bare, um, mm = self.mask, on_grid(self.mask), on_grid(self.mask, units="mm")
        self.complain(bare, um, "the atlas has coordinates along 'y' and what was counted has none")
        self.complain(um, bare, r"coordinates along 'y' and the atlas has none.*atlas\.assign_coords\(y=")
        self.complain(um, mm, "along 'y' the positions are in 'um' and the atlas in 'mm'")
        self.complain(bare, np.ones((2, 3), int), "along 'x' the image is 2 pixels and the atlas 3")
        self.complain(
            bare, np.ones((2, 2, 2), int), r"lies in the dims \('y', 'x'\) and the atlas in \('z', 'y', 'x'\)"
        )
        self.complain(count_map(bare, 1), um, "the atlas has coordinates along 'y' and what was counted has none")
        self.complain(count_map(um, 1), mm, "the positions are in 'um' and the atlas in 'mm'")
        self.complain(count_map(um, 1).expand_dims(c=2), um, r"lies in the dims \('c', 'y', 'x'\)")

    def test_about_an_atlas_that_is_none(self):
        self.complain(self.mask, np.ones((2, 2)), "a mask holds integer labels", TypeError)
        uneven = xr.DataArray(np.ones((2, 3), int), dims=("y", "x"), coords={"x": [0, 1, 5]})
        self.complain(self.mask, uneven, "the coordinates along 'x' are not evenly spaced; bring it to an even grid")

    def test_about_names_of_another_kind(self):
        self.complain(self.mask, self.mask, "names are a mapping from region id to name", TypeError, names=["a"])
        self.complain(
            self.mask, self.mask, "names have region ids as keys, whole numbers, not '1'", TypeError, names={"1": "a"}
        )

    def test_about_a_table_that_does_not_say_how_large_the_image_is(self):
        table = centroids(self.mask)[["id", "y", "x", "y_pixel", "x_pixel"]]
        self.complain(table, self.mask, r"does not say how large the image is.*table\.assign\(y_size=\.\.\., x_size=")
        table.attrs = {"axes": ["y", "x"], "shape": [2, 2], "units": ["um", "um"]}
        self.complain(table, self.mask, r"columns such as 'y_size'; make it again: centroids\(instances\)")


TREE = {623: 567, 567: 8, 343: 8, 8: 997, 512: 997}
TABLE = pd.DataFrame(
    {
        "id": [997, 8, 567, 623, 343, 512],
        "structure_id_path": ["/997/", "/997/8/", "/997/8/567/", "/997/8/567/623/", "/997/8/343/", "/997/512/"],
        "name": ["root", "grey matter", "Cerebrum", "nuclei", "Brain stem", "Cerebellum"],
        "acronym": ["root", "grey", "CH", "CNU", "BS", "CB"],
    }
)


class TestHierarchy:
    @pytest.fixture
    def pair(self):
        rng = np.random.default_rng(2)
        atlas = on_grid(rng.choice([0, 623, 567, 343, 512], (9, 11)), 0.0, 3.0)
        return on_grid(blobs((27, 33), 40, 4)), atlas

    @pytest.mark.parametrize("hierarchy", [TREE, pd.Series(TREE), TABLE])
    @pytest.mark.parametrize("chunks", [None, 4])
    @pytest.mark.filterwarnings("ignore:.* lie in no region")
    def test_a_region_has_what_is_in_it_or_below(self, pair, hierarchy, chunks):
        instances, atlas = pair if chunks is None else (each.chunk(chunks) for each in pair)
        found = density_by_region(instances, atlas, hierarchy=hierarchy).set_index("region")
        below = {997: [623, 567, 343, 512], 8: [623, 567, 343], 567: [567, 623], 623: [623], 343: [343], 512: [512]}
        assert found.index.tolist() == sorted(below)
        assert found["depth"].to_dict() == {8: 1, 343: 2, 512: 1, 567: 2, 623: 3, 997: 0}
        for region, parts in below.items():
            alone = density_by_region(pair[0], pair[1].isin(parts).astype(int)).loc[0]
            assert found.loc[region, ["cells", "volume", "density"]].tolist() == pytest.approx(
                alone[["cells", "volume", "density"]].tolist(), rel=1e-12
            )

    def test_its_rows_of_the_atlas_alone_are_as_without(self, pair):
        plain = density_by_region(*pair)
        rolled = density_by_region(*pair, hierarchy={623: 5, 343: 5})
        same = rolled[rolled["region"] != 5].reset_index(drop=True).drop(columns="depth")
        pd.testing.assert_frame_equal(same, plain)
        assert rolled.attrs == plain.attrs

    def test_names_come_from_its_table_unless_they_are_given(self, pair):
        found = density_by_region(*pair, hierarchy=TABLE)
        assert found.columns.tolist() == ["region", "name", "acronym", "depth", "cells", "volume", "density"]
        assert found.set_index("region").loc[623, ["name", "acronym"]].tolist() == ["nuclei", "CNU"]
        named = density_by_region(*pair, names={623: "mine"}, hierarchy=TABLE)
        assert named.columns.tolist() == ["region", "name", "depth", "cells", "volume", "density"]
        assert named.set_index("region")["name"].to_dict()[623] == "mine"

    def test_one_that_goes_round_is_an_error(self, pair):
        with pytest.raises(ValueError, match="circle: 1 -> 2 -> 1"):
            density_by_region(*pair, hierarchy={1: 2, 2: 1})

    def test_a_cache_keeps_what_it_gives(self, pair, tmp_path):
        from xlabelstats.pipeline import Cache

        cache = Cache(tmp_path)
        results = [cache.run("density", density_by_region, *pair, hierarchy=TABLE) for _ in range(2)]
        pd.testing.assert_frame_equal(results[0], results[1])
        other = cache.run("density", density_by_region, *pair, hierarchy=TREE)
        assert "name" not in other


class TestPixelCoordinates:
    def test_a_crop_that_kept_its_pixel_coordinates_needs_those_of_the_atlas(self):
        where = {"x": ("x", [100.0, 101.0, 102.0, 103.0], {"units": "pixel"})}
        crop = xr.DataArray(np.eye(4, dtype=int), dims=("y", "x"), coords=where)
        atlas = xr.DataArray(np.ones((4, 4), int), dims=("y", "x"))
        with pytest.raises(ValueError, match="has coordinates along 'x' and the atlas has none"):
            density_by_region(crop, atlas)
        assert density_by_region(crop, atlas.assign_coords(where))["cells"].tolist() == [1]

    def test_a_map_that_was_turned_or_cut_is_still_one(self):
        mask, atlas = np.zeros((6, 4), int), np.ones((6, 4), int)
        mask[1, 1], mask[5, 2] = 1, 2
        turned = count_map(mask, 2).T
        assert density_by_region(turned, xr.DataArray(atlas, dims=("y", "x")))["cells"].tolist() == [2]
        volume = count_map(mask[None], 2).isel(z=0, drop=True)
        assert density_by_region(volume, xr.DataArray(atlas, dims=("y", "x")))["cells"].tolist() == [2]


def test_an_atlas_that_lies_elsewhere_is_warned_of():
    mask, atlas = on_grid(np.eye(4, dtype=int)), on_grid(np.ones((4, 4), int), 100.0)
    with pytest.warns(UserWarning, match="1 of 1 cells lie in no region; do the coordinates of the atlas say"):
        assert density_by_region(mask, atlas).attrs["outside"] == 1


@pytest.mark.parametrize("units", ["um", "µm", "micron", "micrometer"])
def test_micrometers_are_such_however_they_are_written(units):
    mask, atlas = on_grid(np.eye(4, dtype=int), units=units), on_grid(np.ones((4, 4), int), units="micrometer")
    assert density_by_region(mask, atlas)["cells"].tolist() == [1]
    with pytest.raises(ValueError, match=r"the positions are in '.*' and the atlas in 'millimeter'"):
        density_by_region(mask, on_grid(np.ones((4, 4), int), units="millimeter"))
