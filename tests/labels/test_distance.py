"""``distance_to``: by scipy's distance transform of the whole array."""

from __future__ import annotations

import re
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

import xlabelstats  # noqa: F401
from tests.conftest import blobs
from tests.labels.test_growth import ROUNDING, fields, placed

MEASURES = {"least": np.min, "mean": np.mean, "greatest": np.max}


def expected(mask: np.ndarray, other: np.ndarray, limit: float, spacing: Any = 1.0) -> dict[str, list[float]]:
    """What scipy's distances come to per label."""
    lengths = np.full(mask.shape, np.inf)
    if other.any():
        lengths = distance_transform_edt(other == 0, sampling=np.broadcast_to(spacing, mask.ndim))
        lengths[lengths > limit * (1 + ROUNDING)] = np.inf
    ids = np.unique(mask[mask != 0])
    return {name: [float(of(lengths[mask == label])) for label in ids] for name, of in MEASURES.items()}


def assert_as_expected(result: xr.Dataset, values: dict[str, list[float]], limit: float) -> None:
    """The same to what distances are rounded to."""
    for name, numbers in values.items():
        np.testing.assert_allclose(result[name], numbers, rtol=0, atol=1e-8 * min(limit, 100), err_msg=name)


@settings(max_examples=60, deadline=None)
@given(
    field=fields(),
    seed=st.integers(0, 2**32),
    part=st.sampled_from([0, 0.05, 0.5]),
    limit=st.sampled_from([0, 0.3, 1.3, 2, 7, np.inf]),
)
def test_small_fields_in_any_chunks_are_as_scipy_has_them(
    field: tuple[np.ndarray, tuple[float, ...], tuple[tuple[int, ...], ...]], seed: int, part: float, limit: float
) -> None:
    labels, spacing, chunks = field
    objects = (np.random.default_rng(seed).random(labels.shape) < part).astype(labels.dtype)
    mask, other = placed(labels.astype(labels.dtype.newbyteorder("=")), spacing), placed(objects, spacing)
    if np.isin(mask, [0, 255]).all():
        # Not taken for black and white.
        mask = mask.astype(np.int32)
    result = mask.labels.distance_to(other, limit)
    assert_as_expected(result, expected(labels, objects, limit, spacing), limit)
    lazy = mask.copy(data=da.from_array(mask.values, chunks)).labels.distance_to(other.chunk(2), limit)
    xr.testing.assert_identical(lazy.compute(), result)
    turned = mask.transpose(*mask.dims[::-1]).labels.distance_to(other, limit)
    xr.testing.assert_identical(turned, result)


@pytest.mark.parametrize("spacing", [1.0, (2.0, 0.65, 0.65)])
def test_real_nuclei_in_3d(nuclei3d: tuple[xr.DataArray, ...], spacing: Any) -> None:
    labels = nuclei3d[1].values
    objects = np.where(labels % 5 == 0, labels, 0)
    mask = placed(labels, spacing)
    result = mask.labels.distance_to(placed(objects, spacing), 9)
    assert_as_expected(result, expected(labels, objects, 9, spacing), 9)
    assert np.isinf(result["greatest"]).any()
    assert (result["least"] == 0).any()
    np.testing.assert_array_equal(result["label"], mask.labels.ids())
    for chunks in ({"z": 1}, {"z": 9, "y": 10, "x": 11}):
        lazy = mask.chunk(chunks).labels.distance_to(placed(objects, spacing), 9)
        assert all(variable.chunks for variable in lazy.data_vars.values())
        xr.testing.assert_identical(lazy.compute(), result)


def test_results_say_what_they_are() -> None:
    mask = placed(blobs((20, 30), 5))
    result = mask.labels.distance_to(mask.rename("vessels"), 2)
    assert result["least"].attrs == {"long_name": "distance of the nearest pixel to vessels", "units": "um"}
    assert result["mean"].attrs["units"] == "um"
    assert (result["greatest"] == 0).all()
    bare = mask.drop_vars(mask.dims)
    assert bare.labels.distance_to(bare.chunk(), 2)["mean"].attrs["units"] == "pixel"


def test_coordinates_of_either_mask_serve_both() -> None:
    mask, other = placed(blobs((20, 30), 5), 0.65), placed(blobs((20, 30), 2, seed=3), 0.65)
    result = mask.labels.distance_to(other, 3)
    xr.testing.assert_identical(mask.drop_vars(mask.dims).labels.distance_to(other, 3), result)
    xr.testing.assert_identical(mask.labels.distance_to(other.drop_vars(mask.dims), 3), result)


def test_another_mask_on_another_grid_is_brought_to_this_one() -> None:
    mask, fine = placed(blobs((21, 30), 5)), placed(blobs((21, 30), 9, seed=3))
    # Every third pixel, so that no pixel is as near to two.
    coarse = fine.isel(y=slice(1, None, 3), x=slice(1, None, 3))
    near = coarse.reindex_like(mask, method="nearest")
    result = mask.labels.distance_to(coarse, 8, align="nearest")
    assert np.isfinite(result["mean"]).any()
    xr.testing.assert_identical(result, mask.labels.distance_to(near, 8))
    with pytest.raises(ValueError, match=r"'y' is 21 in the mask and 7 in the other.*align='nearest'"):
        mask.labels.distance_to(coarse, 8)


def test_a_multiscale_mask_is_taken_at_its_finest_scale() -> None:
    mask, other = placed(blobs((20, 30), 5)), placed(blobs((20, 30), 2, seed=3))
    half = other.isel(y=slice(None, None, 2), x=slice(None, None, 2))
    tree = xr.DataTree.from_dict({"0": other.to_dataset(), "1": half.to_dataset()})
    xr.testing.assert_identical(mask.labels.distance_to(tree, 5), mask.labels.distance_to(other, 5))


def test_a_mask_without_labels_gives_no_rows() -> None:
    mask = placed(np.zeros((4, 5), np.int32))
    for empty in (mask, mask.chunk(2)):
        assert empty.labels.distance_to(mask, 5).sizes == {"label": 0}


class TestWhatIsWrong:
    """Complaints, in words that say what to do."""

    def test_other_dims(self) -> None:
        mask = placed(blobs((5, 6), 2))
        with pytest.raises(ValueError, match=re.escape("the mask has ('y', 'x') and the other has ('y', 'v')")):
            mask.labels.distance_to(mask.rename(x="v"), 2)

    def test_other_coordinates(self) -> None:
        mask = placed(blobs((5, 6), 2))
        with pytest.raises(ValueError, match="coordinates of mask and other differ along 'y', first at index 0"):
            mask.labels.distance_to(mask.assign_coords(y=mask["y"] + 3), 2)

    def test_no_mask(self) -> None:
        mask = placed(blobs((5, 6), 2))
        with pytest.raises(TypeError, match=r"a mask is an xarray\.DataArray, not ndarray"):
            mask.labels.distance_to(mask.values, 2)
        with pytest.raises(TypeError, match="a mask holds integer labels, not float64"):
            mask.labels.distance_to(mask.astype(float), 2)

    def test_coordinates_that_give_no_lengths(self) -> None:
        mask = placed(blobs((5, 6), 2)).assign_coords(y=[0, 1, 2, 4, 8])
        with pytest.raises(ValueError, match=r"not evenly spaced.* in pixels: drop the coordinates of both masks"):
            mask.labels.distance_to(mask, 2)

    @pytest.mark.parametrize("limit", [-1, np.nan])
    def test_no_limit(self, limit: float) -> None:
        mask = placed(blobs((5, 6), 2))
        with pytest.raises(ValueError, match=f"limit is 0 or more, not {limit}"):
            mask.labels.distance_to(mask, limit)

    def test_times_are_warned_of_once(self) -> None:
        mask = xr.DataArray(blobs((3, 6), 2), dims=("t", "x"))
        with pytest.warns(UserWarning, match="time dim 't'") as caught:
            mask.labels.distance_to(mask, 2)
        assert len(caught) == 1
