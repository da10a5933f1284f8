"""Tables of points that went through other tools say what they did before."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import blobs

from xlabelstats.pipeline import centroids, count_by_size, count_map, density_by_region, voronoi


def through_csv(table: pd.DataFrame) -> pd.DataFrame:
    # Where older pandas rounds by default, a point halfway between two pixels of an atlas goes to either.
    exact = {} if int(pd.__version__.split(".")[0]) > 2 else {"float_precision": "round_trip"}
    return pd.read_csv(io.StringIO(table.to_csv()), **exact)


def merged(table: pd.DataFrame) -> pd.DataFrame:
    extra = pd.DataFrame({"id": table["id"], "perimeter_pixel": 1.0, "marker": "a"})
    return table.merge(extra, on="id")


def concatenated(table: pd.DataFrame) -> pd.DataFrame:
    half = len(table) // 2
    return pd.concat([table.iloc[:half].assign(), pd.DataFrame(table.iloc[half:].to_dict("list"))])


def filtered(table: pd.DataFrame) -> pd.DataFrame:
    found = table[table["count"] > 0]
    found.attrs = {}
    return found


WAYS = [through_csv, merged, concatenated, filtered]


def spaced(values: np.ndarray, units: str | None = "um", origin: float = 3.0, step: float = 0.3) -> xr.DataArray:
    """In coordinates that no binary number says exactly; without any for None."""
    array = xr.DataArray(values, dims=("y", "x"))
    if units is None:
        return array
    about = {"units": units} if units else {}
    return array.assign_coords({dim: (dim, origin + step * np.arange(array.sizes[dim]), about) for dim in array.dims})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("units", ["um", "", "pixel", None])
class TestTheSameNumbersAsStraightFromTheMask:
    def test_of_cells_per_region(self, way, units):
        mask = spaced(blobs((20, 30), 12), units)
        atlas = mask.copy(data=np.random.default_rng(0).integers(0, 5, mask.shape))
        pd.testing.assert_frame_equal(
            density_by_region(way(centroids(mask)), atlas), density_by_region(centroids(mask), atlas)
        )

    def test_of_cells_per_box(self, way, units):
        mask = spaced(blobs((20, 30), 12), units)
        xr.testing.assert_identical(count_map(way(centroids(mask)), 4), count_map(mask, 4))

    def test_of_nearest_seeds(self, way, units):
        mask = spaced(blobs((20, 30), 12), units)
        binary = (mask >= 0).astype("uint8")
        xr.testing.assert_identical(voronoi(binary, way(centroids(mask))), voronoi(binary, centroids(mask)))

    def test_of_counts_by_size(self, way, units):
        mask = spaced(blobs((20, 30), 12), units)
        options = {"size_threshold": 6, "volume_weight": 0.1}
        found = count_by_size(way(centroids(mask)), **options)
        np.testing.assert_allclose(found["cells"], count_by_size(mask, **options)["cells"])


@pytest.mark.parametrize("way", WAYS)
def test_what_does_not_match_is_still_complained_about(way):
    mask = spaced(np.eye(4, dtype=int) * np.arange(1, 5))
    table = way(centroids(mask))
    with pytest.raises(ValueError, match="the positions are in 'um' and the atlas in 'mm'"):
        density_by_region(table, spaced(np.ones((4, 4), int), "mm"))
    with pytest.raises(ValueError, match="has positions in 'um', and the binary image in 'mm'"):
        voronoi(spaced(np.ones((4, 4), "uint8"), "mm"), table)
    bare = way(centroids(spaced(mask.values, None)))
    with pytest.raises(ValueError, match="along 'x' the image is 4 pixels and the atlas 2"):
        density_by_region(bare, np.ones((4, 2), int))
    with pytest.raises(ValueError, match="the table is of an image of 4 pixels"):
        voronoi(np.ones((4, 2), "uint8"), bare)


def test_points_of_several_images_are_not_taken_for_those_of_one():
    small, large = centroids(np.eye(4, dtype=int)), centroids(np.eye(6, dtype=int))
    with pytest.raises(ValueError, match=r"the column 'y_size' of the table holds \[4, 6\]"):
        count_map(pd.concat([small, large]), 2)
    um, mm = (centroids(spaced(np.eye(4, dtype=int), units)) for units in ("um", "mm"))
    with pytest.raises(ValueError, match="the column 'y_units' of the table holds"):
        density_by_region(pd.concat([um, mm]), spaced(np.ones((4, 4), int)))


class TestFewRows:
    def test_one_object_is_enough_for_the_coordinates_of_boxes(self):
        mask = spaced(np.pad([[5]], 3))
        xr.testing.assert_identical(count_map(through_csv(centroids(mask)), 2), count_map(mask, 2))

    def test_of_two_on_an_uneven_grid_none_is_made_up(self):
        mask = xr.DataArray([1, 0, 0, 2], dims="x", coords={"x": [0.0, 1.0, 5.0, 6.0]})
        with pytest.raises(ValueError, match="along 'x' are not evenly spaced"):
            count_map(through_csv(centroids(mask)), 2)

    def test_without_any_nothing_is_counted(self):
        mask = spaced(np.zeros((6, 8), int))
        table, atlas = centroids(mask), spaced(np.ones((6, 8), int))
        assert density_by_region(table, atlas)["cells"].tolist() == [0]
        assert (voronoi(atlas, table) == 0).all()
        assert len(count_by_size(table, size_threshold=1, volume_weight=1)) == 0

    def test_a_map_needs_the_image_they_are_none_of(self):
        mask = spaced(np.zeros((6, 8), int))
        table = centroids(mask)
        with pytest.raises(ValueError, match=r"a table without rows does not say how large the volume is.*like=mask"):
            count_map(table, 2)
        xr.testing.assert_identical(count_map(table, 2, like=mask), count_map(mask, 2))
        assert count_map(mask, 2).shape == (3, 4)


def test_a_table_of_ones_own_is_mapped_with_the_image_it_is_of():
    mask = spaced(blobs((20, 30), 12))
    table = centroids(mask)[["y", "x", "y_pixel", "x_pixel"]]
    xr.testing.assert_identical(count_map(table, 4, like=mask), count_map(mask, 4))
    xr.testing.assert_identical(count_map(table, 4, like=mask.T), count_map(mask.T, 4))


def test_positions_that_were_moved_one_by_one_give_no_coordinates():
    table = centroids(spaced(blobs((20, 30), 12)))
    with pytest.raises(ValueError, match=r"positions of a table were moved, give .* like=image"):
        count_map(table.assign(x=table["x"] * 1.1), 4)
    assert np.isfinite(count_map(table.assign(x=table["x"] + 7), 4)["x"]).all()


class TestTablesOfTiles:
    """Tables of pieces of one mask, put together."""

    def pieces(self, at=96, units="um", step=0.325):
        values = np.zeros((60, 200), int)
        for i in range(1, 13):
            values[4 * i : 4 * i + 3, (i - 1) * 16 + 2 : (i - 1) * 16 + 6] = i
        mask = spaced(values, units, 0.0, step)
        return mask, pd.concat([centroids(mask[:, :at]), centroids(mask[:, at:])])

    @pytest.mark.parametrize("at", [96, 112])
    def test_are_counted_per_region_and_nearest_to_seeds(self, at):
        mask, table = self.pieces(at)
        atlas = mask.copy(data=np.random.default_rng(0).integers(0, 5, mask.shape))
        pd.testing.assert_frame_equal(
            density_by_region(table, atlas)[["region", "cells"]],
            density_by_region(mask, atlas)[["region", "cells"]],
        )
        binary = (mask >= 0).astype("uint8")
        xr.testing.assert_identical(voronoi(binary, table), voronoi(binary, centroids(mask)))

    def test_are_no_map_of_one_volume(self):
        with pytest.raises(ValueError, match="the column 'x_size' of the table holds"):
            count_map(self.pieces()[1], 4)

    def test_have_borders_of_their_own(self):
        mask, table = self.pieces(112)
        options = {"size_threshold": 6, "volume_weight": 0.1}
        apart = [count_by_size(piece, **options)["cells"] for piece in (mask[:, :112], mask[:, 112:])]
        assert count_by_size(table, **options)["cells"].tolist() == pd.concat(apart).tolist()

    def test_steps_that_differ_by_rounding_are_one(self):
        mask, _ = self.pieces()
        table = centroids(mask)
        x_step = table["x_step"].where(table["id"] < 9, table["x_step"] * (1 + 1e-15))
        xr.testing.assert_identical(count_map(table.assign(x_step=x_step), 4), count_map(mask, 4))


def test_maps_of_parts_of_a_table_add_up_to_that_of_all():
    mask = spaced(blobs((60, 100), 30), origin=10.1, step=0.325)
    table = centroids(mask)
    xr.testing.assert_equal(count_map(table[:4], 10) + count_map(table[4:], 10), count_map(mask, 10))


def test_coordinates_without_their_step_are_not_taken_for_pixels():
    mask = spaced(np.pad([[5]], 10), None).assign_coords(y=0.5 * np.arange(21), x=0.5 * np.arange(21))
    table = centroids(mask)[["id", "y", "x", "y_pixel", "x_pixel"]].assign(y_size=21, x_size=21)
    with pytest.raises(ValueError, match="has coordinates along 'y' and the atlas has none"):
        density_by_region(table, np.ones((21, 21), int))
    with pytest.raises(ValueError, match="like=image"):
        count_map(table, 3)


class TestLike:
    mask = spaced(blobs((20, 30), 12))

    def test_of_another_size_is_refused(self):
        for objects in (self.mask, centroids(self.mask)):
            with pytest.raises(ValueError, match="along 'y' the objects lie in a volume of 20 pixels, and like has 40"):
                count_map(objects, 4, like=spaced(np.zeros((40, 30), int)))

    def test_in_other_units_is_refused(self):
        with pytest.raises(ValueError, match="the objects have positions in 'um', and like in 'mm'"):
            count_map(centroids(self.mask), 4, like=spaced(self.mask.values, "mm"))

    def test_whose_coordinates_are_no_numbers_is_refused_in_words(self):
        times = self.mask.assign_coords(y=pd.date_range("2020", periods=20))
        with pytest.raises((TypeError, ValueError), match="'y'"):
            count_map(centroids(self.mask), 4, like=times)


def test_units_that_look_like_numbers_stay_text():
    mask = spaced(blobs((20, 30), 12), "1")
    table = through_csv(centroids(mask))
    xr.testing.assert_identical(count_map(table, 4), count_map(mask, 4))
    assert (voronoi((mask >= 0).astype("uint8"), table) > 0).all()


def test_columns_of_pixels_that_are_no_axes_do_no_harm():
    table = centroids(spaced(blobs((20, 30), 12))).assign(area=1.0, area_pixel=2.0)
    assert count_map(table, 4).dims == ("y", "x")
