"""The table of objects against scikit-image on the whole array."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xlabelstats.pipeline.centroids import centroids


@st.composite
def chunked(draw: st.DrawFn) -> tuple[np.ndarray, tuple[tuple[int, ...], ...]]:
    """A random mask of one to three dims, and chunks for it."""
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    mask = draw(hnp.arrays(draw(st.sampled_from([np.int32, np.int64, np.uint8])), shape, elements=st.integers(0, 4)))
    chunks = []
    for size in shape:
        cuts = sorted(draw(st.lists(st.integers(0, size), max_size=3)))
        chunks.append(tuple(b - a for a, b in zip([0, *cuts], [*cuts, size], strict=True)))
    return mask, tuple(chunks)


def by_scikit_image(mask: np.ndarray) -> pd.DataFrame:
    from skimage.measure import regionprops

    found = regionprops(mask)
    ndim = mask.ndim
    low, high = (np.array([o.bbox for o in found])[:, part] for part in (slice(ndim), slice(ndim, None)))
    return pd.DataFrame(
        {"id": [o.label for o in found], "count": [o.num_pixels for o in found]}
        | {f"{axis}_pixel": [o.centroid[i] for o in found] for i, axis in enumerate("zyx"[-ndim:])}
        | {"touches_border": ((low == 0) | (high == mask.shape)).any(axis=1)}
    )


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("ndim", [2, 3])
def test_real_nuclei_lie_where_scikit_image_finds_them(nuclei2d, nuclei3d, ndim, lazy):
    mask = (nuclei2d if ndim == 2 else nuclei3d)[1]
    found = centroids(mask.chunk(17) if lazy else mask)
    expected = by_scikit_image(mask.values)
    assert (found["count"].dtype, found["touches_border"].dtype) == (np.int64, bool)
    assert 0 < expected["touches_border"].sum() < len(expected)
    assert found.index.tolist() == expected["id"].tolist()
    pd.testing.assert_frame_equal(found[list(expected)].reset_index(drop=True), expected, check_dtype=False, rtol=1e-12)


@given(chunked())
@settings(max_examples=60, deadline=None)
def test_every_chunking_gives_the_same_table_to_the_last_bit(given_):
    mask, chunks = given_
    expected = centroids(mask)
    pd.testing.assert_frame_equal(centroids(da.from_array(mask, chunks=chunks)), expected, check_exact=True)
    for _, row in expected.iterrows():
        pixels = np.argwhere(mask == row["id"])
        at = row[[f"{axis}_pixel" for axis in "zyx"[-mask.ndim :]]].to_numpy(float)
        np.testing.assert_allclose(at, pixels.mean(axis=0))
        assert row["count"] == len(pixels)
        assert row["touches_border"] == ((pixels == 0) | (pixels == np.array(mask.shape) - 1)).any()


def test_any_order_of_dims_gives_the_same_positions(nuclei3d):
    mask = nuclei3d[1]
    found = centroids(mask.transpose("x", "z", "y"))
    pd.testing.assert_frame_equal(found[list(centroids(mask))], centroids(mask))


def test_objects_of_min_size_are_dropped_and_larger_ones_kept():
    mask = np.array([[1, 0, 2, 2, 0, 3, 3, 3]])
    assert centroids(mask)["id"].tolist() == [1, 2, 3]
    assert centroids(mask, min_size=2)["id"].tolist() == [3]
    assert centroids(mask, min_size=3).empty


class TestCoordinates:
    mask = np.array([[0, 7, 7], [5, 5, 5], [5, 5, 5]])

    def test_positions_are_in_their_units(self):
        mask = xr.DataArray(self.mask, dims=("y", "x"), coords={"y": [10.0, 12.0, 14.0], "x": [3.0, 2.5, 2.0]})
        for axis in mask.dims:
            mask[axis].attrs["units"] = "um"
        found = centroids(mask)
        assert found[["y", "x"]].to_numpy().tolist() == [[13.0, 2.5], [10.0, 2.25]]
        assert found[["y_pixel", "x_pixel"]].to_numpy().tolist() == [[1.5, 1.0], [0.0, 1.5]]
        for column, value in {"y_size": 3, "x_size": 3, "y_step": 2.0, "x_step": -0.5}.items():
            assert found[column].tolist() == [value, value]
        assert found["y_units"].tolist() == found["x_units"].tolist() == ["um", "um"]
        assert found["y_units"].dtype == "category"
        assert found.attrs == {}

    def test_without_any_positions_are_in_pixels(self):
        found = centroids(self.mask)
        np.testing.assert_array_equal(found[["y", "x"]], found[["y_pixel", "x_pixel"]])
        assert [name for name in found if name.endswith(("_size", "_step"))] == ["y_size", "x_size"]
        assert (found[["y_units", "x_units"]] == "pixel").all(axis=None)

    def test_uneven_ones_are_interpolated_and_have_no_step(self):
        mask = xr.DataArray(self.mask, dims=("y", "x"), coords={"y": [0, 1, 5], "x": [0, 1, 2]})
        found = centroids(mask)
        assert found["y"].tolist() == [3.0, 0.0]
        assert found["y_step"].isna().all()
        assert (found["x_step"] == 1.0).all()

    def test_those_that_are_no_numbers_are_complained_about(self):
        mask = xr.DataArray(self.mask, dims=("y", "x"), coords={"x": ["a", "b", "c"]})
        with pytest.raises(ValueError, match=r"'x' holds .*, not numbers.*drop_vars\('x'\)"):
            centroids(mask)


def test_the_table_comes_back_from_parquet_as_it_was(tmp_path):
    pytest.importorskip("pyarrow")
    mask = xr.DataArray(blobs((20, 30), 9), dims=("y", "x"), coords={"x": np.arange(30) ** 2})
    table = centroids(mask)
    table.to_parquet(tmp_path / "table.parquet")
    again = pd.read_parquet(tmp_path / "table.parquet")
    pd.testing.assert_frame_equal(again, table)


def test_a_mask_without_objects_gives_an_empty_table_with_the_same_columns():
    full, empty = centroids(np.ones((3, 4), int)), centroids(np.zeros((3, 4), int))
    assert len(empty) == 0
    pd.testing.assert_series_equal(empty.dtypes, full.dtypes)


def test_bool_is_one_object():
    assert centroids(np.array([[True, False, True]]))["count"].tolist() == [2]


def test_complaints():
    with pytest.raises(TypeError, match="a mask holds integer labels, not float64"):
        centroids(np.zeros((3, 3)))
    with pytest.raises(TypeError, match="a DataArray, a numpy array or a dask array, not list"):
        centroids([[0, 1]])
    with pytest.raises(ValueError, match=r"has the dim 'c', which is not in space; select one: \.isel\(c=0\)"):
        centroids(xr.DataArray(np.zeros((2, 3, 3), int), dims=("c", "y", "x")))
    with pytest.raises(ValueError, match="min_size is 0 or more, not -1"):
        centroids(np.zeros((3, 3), int), min_size=-1)
    with pytest.raises(TypeError, match="min_size is a number, not '5'"):
        centroids(np.zeros((3, 3), int), min_size="5")


def test_a_dim_named_as_a_column_is_refused():
    mask = xr.DataArray([[1, 0], [0, 2]], dims=("id", "x"))
    with pytest.raises(ValueError, match="'id', a dim, is the name of a column"):
        centroids(mask.rename(x="count"))


def test_a_column_can_be_painted_on_the_pixels(nuclei2d):
    mask = nuclei2d[1]
    painted = mask.labels.paint(centroids(mask)["count"])
    np.testing.assert_array_equal(painted, np.bincount(mask.values.ravel())[mask.values] * (mask.values > 0))
