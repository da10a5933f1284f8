"""Overlaps of masks on different grids, and what is said where these do not match."""

from __future__ import annotations

import pytest
import xarray as xr


class TestMasksOnOtherGrids:
    FINE = xr.DataArray(
        [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 0, 0], [3, 3, 0, 0]],
        dims=("y", "x"),
        coords={"y": [0.5, 1.5, 2.5, 3.5], "x": [0.5, 1.5, 2.5, 3.5]},
    )
    COARSE = xr.DataArray([[7, 8], [0, 9]], dims=("y", "x"), coords={"y": [1.0, 3.0], "x": [1.0, 3.0]})

    @pytest.mark.parametrize("chunk", [None, 1, 3])
    def test_each_pixel_takes_the_label_of_the_nearest_of_the_other(self, chunk):
        fine = self.FINE if chunk is None else self.FINE.chunk(chunk)
        for coarse in (self.COARSE, self.COARSE.chunk(1), self.COARSE.transpose("x", "y")):
            found = fine.labels.overlap(coarse, align="nearest")
            assert found["label"].values.tolist() == [1, 2]
            assert found["other_label"].values.tolist() == [7, 8]
            assert found["count"].values.tolist() == [4, 4]
            assert found["iou"].values.tolist() == [1.0, 1.0]
            parents = fine.labels.relate(coarse, align="nearest")
            assert parents["parent"].values.tolist() == [7, 8, 0]

    def test_the_mask_keeps_its_grid(self):
        found = self.COARSE.labels.overlap(self.FINE, align="nearest")
        assert found["count"].values.tolist() == [1, 1]

    def test_without_align_the_message_names_it(self):
        with pytest.raises(ValueError, match=r"mask and other differ in size: 'y' is 4 .* and 2 in other.*nearest"):
            self.FINE.labels.overlap(self.COARSE)
        with pytest.raises(ValueError, match=r"mask and parents differ in size.*align='nearest'"):
            self.FINE.labels.relate(self.COARSE)
        moved = self.FINE.assign_coords(x=self.FINE["x"] + 0.25)
        says = (
            r"coordinates of mask and other differ along 'x', first at index 0: 0.5 in the mask, 0.75 in the other. "
            r"If the pixels do match, .*: other.drop_vars\('x'\). If not, bring the other to the mask's pixels: this "
            r"call does so with align='nearest', .* other.reindex_like\(mask, method='nearest', fill_value=0\)"
        )
        with pytest.raises(ValueError, match=says):
            self.FINE.labels.overlap(moved)

    def test_what_the_message_says_helps(self):
        moved = self.FINE.assign_coords(x=self.FINE["x"] + 0.25)
        expected = self.FINE.labels.overlap(self.FINE)
        xr.testing.assert_identical(self.FINE.labels.overlap(moved.drop_vars("x")), expected)
        xr.testing.assert_identical(self.FINE.labels.overlap(moved, align="nearest"), expected)
        by_hand = moved.reindex_like(self.FINE, method="nearest", fill_value=0)
        xr.testing.assert_identical(self.FINE.labels.overlap(by_hand), expected)

    def test_complaints_of_align_name_the_two_masks(self):
        with pytest.raises(ValueError, match=r"align is 'nearest', for other .* grid than mask, .*not 'linear'"):
            self.FINE.labels.overlap(self.COARSE, align="linear")
        with pytest.raises(ValueError, match=r"'x' there are none in the parents; 'x' is 4 in the mask and 2 in the"):
            self.FINE.labels.relate(self.COARSE.drop_vars("x"), align="nearest")
        far = self.COARSE.assign_coords(y=[100.0, 102.0])
        with pytest.warns(UserWarning, match=r"no pixel of the mask lies in the other along 'y'"):
            assert self.FINE.labels.overlap(far, align="nearest").sizes["pair"] == 0
