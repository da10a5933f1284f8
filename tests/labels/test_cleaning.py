"""Masks out of masks: kept labels, cleared borders, new numbers; against numpy and scikit-image."""

from __future__ import annotations

import itertools
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import blobs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layouts import INTEGERS, pool
from skimage import measure, segmentation

import xlabelstats

quick = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def masks(draw: st.DrawFn) -> xr.DataArray:
    """Masks of any integer dtype and any ids, with labels in many parts, in any chunks, empty ones too."""
    shape = tuple(draw(st.lists(st.integers(0, 6), min_size=1, max_size=3)))
    dtype = np.dtype(draw(st.sampled_from(INTEGERS)))
    ids = np.array(draw(st.lists(st.sampled_from(pool(dtype)), min_size=1, max_size=5)), dtype)
    values = ids[np.random.default_rng(draw(st.integers(0, 99))).integers(0, ids.size, shape)]
    dims = draw(st.permutations(["z", "y", "x"]))[: len(shape)]
    mask = xr.DataArray(values, dims=dims, name="cells", attrs={"made": "by hand"})
    mask = mask.assign_coords({dim: (dim, np.arange(n) * 0.5, {"units": "um"}) for dim, n in mask.sizes.items()})
    if draw(st.booleans()):
        return mask
    chunks = {}
    for dim, n in mask.sizes.items():
        cuts = sorted(draw(st.lists(st.integers(0, n), max_size=3)))
        chunks[dim] = tuple(b - a for a, b in itertools.pairwise((0, *cuts, n)))
    return mask.chunk(chunks)


def assert_like(result: xr.DataArray, mask: xr.DataArray, expected: Any) -> None:
    """The pixels are as expected, and all else is as in the mask."""
    assert (result.chunks is None) == (mask.chunks is None)
    xr.testing.assert_identical(result.compute(), mask.compute().copy(data=np.asarray(expected)))
    assert result.compute().dtype == result.dtype == expected.dtype


def without_border(values: np.ndarray, axes: Any = None) -> np.ndarray:
    """The labels that have no pixel at either end of the axes."""
    touching = [np.zeros(0, values.dtype)]
    for axis in range(values.ndim) if axes is None else axes:
        if values.shape[axis]:
            touching += [np.take(values, [0, -1], axis).ravel()]
    return np.where(np.isin(values, np.concatenate(touching)), 0, values).astype(values.dtype)


class TestKeep:
    @quick
    @given(mask=masks(), data=st.data())
    def test_keeps_the_labels_named_and_no_other(self, mask: xr.DataArray, data: st.DataObject) -> None:
        ids = np.unique(mask.values)
        ids = ids[ids != 0]
        chosen = data.draw(st.lists(st.sampled_from(ids.tolist()), unique=True)) if ids.size else []
        some = np.array(chosen, mask.dtype)
        expected = np.where(np.isin(mask.values, some), mask.values, 0).astype(mask.dtype)
        assert_like(mask.labels.keep(some), mask, expected)
        assert_like(mask.labels.keep(chosen), mask, expected)
        which = xr.DataArray(np.isin(ids, some), dims="label", coords={"label": ids})
        assert_like(mask.labels.keep(which), mask, expected)
        assert_like(mask.labels.keep(which.to_series()), mask, expected)
        np.testing.assert_array_equal(mask.labels.keep(which.chunk(label=1)), expected)

    def test_composes_with_what_was_measured(self, nuclei2d: Any) -> None:
        _, mask = nuclei2d
        area = mask.labels.regionprops("area")["area"]
        expected = np.where(np.bincount(mask.values.ravel())[mask.values] > 300, mask, 0)
        for labels in (mask, mask.chunk(100)):
            kept = labels.labels.keep(labels.labels.regionprops("area")["area"] > 300)
            np.testing.assert_array_equal(kept, expected)
        np.testing.assert_array_equal(mask.labels.keep(area.to_series() > 300), expected)
        np.testing.assert_array_equal(mask.labels.keep(area["label"][area > 300]), expected)

    def test_a_missing_boolean_is_none(self) -> None:
        mask = xr.DataArray([0, 7, 7, 2], dims="x")
        which = pd.Series([True], index=[7])
        for missing in (which.reindex([2, 7]), which.astype("boolean").reindex([2, 7])):
            assert missing.isna().any()
            assert mask.labels.keep(missing).values.tolist() == [0, 7, 7, 0]

    def test_a_row_of_the_background_says_nothing(self) -> None:
        mask = xr.DataArray([0, 7, 7, 2], dims="x")
        count = mask.labels.count(background=True)
        assert mask.labels.keep(count == 1).values.tolist() == [0, 0, 0, 2]

    def test_keeps_labels_at_some_times_alone(self) -> None:
        mask = xr.DataArray([[1, 1, 2], [1, 2, 2]], dims=("t", "x"))
        kept = mask.labels.keep(mask.labels.count(per="t") > 1)
        assert kept.values.tolist() == [[1, 1, 0], [0, 2, 2]]

    def test_one_label_may_be_a_number(self) -> None:
        assert xr.DataArray([0, 7, 2], dims="x").labels.keep(7).values.tolist() == [0, 7, 0]

    def test_of_a_bool_mask(self) -> None:
        kept = xr.DataArray([False, True], dims="x").labels.keep([1])
        assert (kept.dtype, kept.values.tolist()) == (np.uint8, [0, 1])

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize(
        ("which", "error", "says"),
        [
            ([7, 9], ValueError, "the mask has no label 9; it has 2, from 2 to 7"),
            ([8, 9, 10], ValueError, "no label 8 and 2 others"),
            ([0, 7], ValueError, "0 is the background"),
            ([7, 7], ValueError, "7 is given 2 times"),
            ([True, False], TypeError, "2 booleans"),
            ([1.5], TypeError, "whole numbers"),
            ("big", TypeError, "whole numbers"),
            (xr.DataArray([True], dims="label", coords={"label": [3]}), ValueError, "no label 3"),
            (xr.DataArray([True, False], dims="label"), ValueError, "boolean per label"),
            (xr.DataArray([True, False], dims="x"), ValueError, r"dims \('x',\)"),
        ],
    )
    def test_labels_that_are_not_there_are_named(self, which: Any, error: Any, says: str, lazy: bool) -> None:
        mask = xr.DataArray([0, 7, 7, 2], dims="x")
        with pytest.raises(error, match=says):
            (mask.chunk(x=3) if lazy else mask).labels.keep(which)

    def test_of_an_empty_mask_there_is_nothing_to_keep(self) -> None:
        mask = xr.DataArray(np.zeros((2, 0), np.int16), dims=("y", "x"))
        assert_like(mask.labels.keep([]), mask, mask.values)
        with pytest.raises(ValueError, match="no label 1; it has none"):
            mask.labels.keep([1])


class TestClearBorder:
    @quick
    @given(mask=masks(), data=st.data())
    def test_leaves_out_all_pixels_of_the_labels_that_touch(self, mask: xr.DataArray, data: st.DataObject) -> None:
        assert_like(mask.labels.clear_border(), mask, without_border(mask.values))
        dims = data.draw(st.lists(st.sampled_from(list(mask.dims)), unique=True))
        assert_like(mask.labels.clear_border(dims), mask, without_border(mask.values, mask.get_axis_num(dims)))

    @pytest.mark.parametrize("field", ["nuclei2d", "nuclei3d"])
    def test_as_scikit_image_where_labels_are_in_one_part(self, field: str, request: Any) -> None:
        _, mask = request.getfixturevalue(field)
        parts = mask.copy(data=measure.label(mask.values))
        expected = segmentation.clear_border(parts.values)
        assert 0 < np.unique(expected).size < np.unique(parts).size
        for chunks in (None, 30, dict.fromkeys(mask.dims, 17)):
            labels = parts if chunks is None else parts.chunk(chunks)
            np.testing.assert_array_equal(labels.labels.clear_border(), expected)

    def test_one_dim_may_be_named(self, nuclei3d: Any) -> None:
        _, mask = nuclei3d
        np.testing.assert_array_equal(mask.labels.clear_border("z"), without_border(mask.values, [0]))

    def test_time_is_no_border_unless_it_is_named(self) -> None:
        mask = xr.DataArray([[0, 1, 0, 2], [0, 1, 2, 0], [0, 0, 2, 0]], dims=("t", "x"))
        with pytest.warns(
            UserWarning, match=r"time dim 't'.*left out at all times.*mask.isel\(t=i\).labels.clear_border\(\)"
        ):
            assert np.unique(mask.labels.clear_border()).tolist() == [0, 1]
        with pytest.warns(UserWarning, match="time dim"):
            assert np.unique(mask.labels.clear_border("t")).tolist() == [0]

    def test_a_dim_that_is_not_there_is_named(self) -> None:
        with pytest.raises(ValueError, match=r"no dim 'z'; it has \('y', 'x'\)"):
            xr.DataArray([[1]], dims=("y", "x")).labels.clear_border(["y", "z"])


class TestRelabel:
    @quick
    @given(mask=masks())
    def test_numbers_from_1_in_the_order_of_ids(self, mask: xr.DataArray) -> None:
        ids = np.unique(mask.values)
        ids = ids[ids != 0]
        expected = np.where(mask.values == 0, 0, np.searchsorted(ids, mask.values) + 1).astype(mask.dtype)
        assert_like(mask.labels.relabel(), mask, expected)

    def test_as_scikit_image(self, nuclei3d: Any) -> None:
        mask = xr.DataArray(blobs((40, 50), 30, seed=3), dims=("y", "x"))
        for labels in (mask, nuclei3d[1] * 5):
            expected = segmentation.relabel_sequential(labels.values)[0]
            np.testing.assert_array_equal(labels.labels.relabel(), expected)
            np.testing.assert_array_equal(labels.chunk(9).labels.relabel(), expected)

    @pytest.mark.parametrize(("dtype", "wider"), [("int8", "int16"), ("uint8", "uint8")])
    def test_the_dtype_grows_only_if_it_must(self, dtype: str, wider: str) -> None:
        ids = np.arange(256).astype(np.uint8).view(dtype)
        result = xr.DataArray(ids, dims="x").labels.relabel()
        assert result.dtype == wider
        assert sorted(result.values.tolist()) == list(range(256))

    def test_negative_ids_come_first(self) -> None:
        assert xr.DataArray([3, 0, -4, -9], dims="x").labels.relabel().values.tolist() == [3, 0, 2, 1]


@pytest.mark.parametrize(
    "call", [lambda m: m.labels.keep([7]), lambda m: m.labels.clear_border(), lambda m: m.labels.relabel()]
)
class TestAll:
    def test_the_pixels_stay_lazy(self, call: Any) -> None:
        reads = []

        def read(block: np.ndarray) -> np.ndarray:
            reads.append(block.shape)
            return block

        values = np.zeros((6, 6), np.int32)
        values[2:4, 2:4] = 7
        mask = xr.DataArray(da.from_array(values, chunks=3).map_blocks(read, meta=values[:0, :0]), dims=("y", "x"))
        mask.labels.scan()
        before = len(reads)
        result = call(mask)
        assert len(reads) == before
        assert result.compute().values.max() in (7, 1)

    def test_the_mask_is_not_changed_and_of_a_tree_the_finest_is_taken(self, call: Any) -> None:
        mask = xr.DataArray([[0, 0, 0], [0, 7, 0], [0, 0, 0]], dims=("y", "x"), name="cells")
        before = mask.copy(deep=True)
        tree = xr.DataTree.from_dict({"scale0": mask.to_dataset(), "scale1": mask[::2, ::2].to_dataset()})
        result = call(tree)
        xr.testing.assert_identical(result, call(mask))
        result[:] = 9
        xr.testing.assert_identical(mask, before)

    def test_labels_are_in_the_graph_once(self, call: Any) -> None:
        import pickle

        values = np.zeros((60, 60), np.int32)
        values[1:-1, 1:-1] = np.arange(58 * 58).reshape(58, 58) + 1
        sizes = []
        for chunk in (30, 6):
            mask = xr.DataArray(
                da.zeros((60, 60), chunks=chunk, dtype=np.int32) + da.from_array(values, chunks=-1), dims=("y", "x")
            )
            result = call(mask)
            sizes.append(len(pickle.dumps(dict(result.data.__dask_graph__()))))
        assert sizes[1] < sizes[0] + 96 * 4000


def test_the_names_are_in_help() -> None:
    assert {"keep", "clear_border", "relabel"} <= set(dir(xlabelstats.LabelsAccessor))
