"""Labels of two masks that share pixels, against numpy's unique pairs, scikit-image's contingency table and loops."""

from __future__ import annotations

import collections
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import INTEGERS, pool
from skimage.metrics import contingency_table
from skimage.segmentation import expand_labels

import xlabelstats


def pairs_of(mask: np.ndarray, other: np.ndarray) -> dict[tuple[int, int], int]:
    """The pixels of every pair of labels but those with background, by Python's own integers."""
    met = collections.Counter(zip(mask.ravel().tolist(), other.ravel().tolist(), strict=True))
    return {pair: n for pair, n in sorted(met.items()) if all(pair)}


def assert_are_pairs(found: xr.Dataset, mask: np.ndarray, other: np.ndarray) -> None:
    """The table of two masks in memory, whose dims are in the same order."""
    expected = pairs_of(mask, other)
    assert found["label"].dtype == mask.dtype
    assert found["other_label"].dtype == other.dtype
    assert list(zip(found["label"].values.tolist(), found["other_label"].values.tolist(), strict=True)) == [*expected]
    assert found["count"].dtype == np.int64
    assert found["count"].values.tolist() == [*expected.values()]
    sizes, other_sizes = (collections.Counter(array.ravel().tolist()) for array in (mask, other))
    for i, ((one, two), n) in enumerate(expected.items()):
        assert found["fraction"].values[i] == n / sizes[one]
        assert found["fraction_other"].values[i] == n / other_sizes[two]
        assert found["iou"].values[i] == n / (sizes[one] + other_sizes[two] - n)


def assert_are_parents(found: xr.Dataset, mask: np.ndarray, parents: np.ndarray) -> None:
    ids = [label for label in np.unique(mask).tolist() if label]
    assert found["label"].dtype == mask.dtype
    assert found["parent"].dtype == parents.dtype
    assert found["label"].values.tolist() == ids
    for i, label in enumerate(ids):
        inside = parents[mask == label]
        covered = collections.Counter(inside[inside != 0].tolist())
        parent, n = min(covered.items(), key=lambda item: (-item[1], item[0]), default=(0, 0))
        assert found["parent"].values[i] == parent
        assert found["fraction"].values[i] == n / inside.size


def named(array: np.ndarray, dims: Any = None) -> xr.DataArray:
    return xr.DataArray(array, dims=dims or list("zyx")[-array.ndim :])


@st.composite
def chunked(draw: st.DrawFn, array: xr.DataArray) -> xr.DataArray:
    """The array as it is, or in chunks of 0 to 4 pixels."""
    if draw(st.booleans()):
        return array
    chunks = {}
    for dim, n in array.sizes.items():
        sizes = []
        while sum(sizes) < n:
            sizes.append(min(draw(st.integers(0, 4)), n - sum(sizes)))
        chunks[dim] = tuple(sizes) or (0,)
    return array.chunk(chunks)


@st.composite
def masks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two masks of any integers, at the edges of their dtypes too, of labels in many parts."""
    ndim = draw(st.integers(1, 3))
    shape = tuple(draw(st.lists(st.integers(1 if draw(st.integers(0, 9)) else 0, 7), min_size=ndim, max_size=ndim)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    both = []
    for _ in range(2):
        dtype = np.dtype(draw(st.sampled_from(INTEGERS)))
        ids = np.array(draw(st.lists(st.sampled_from(pool(dtype)), min_size=1, max_size=5)), dtype)
        both.append(rng.choice(ids, shape))
    return both[0], both[1]


@pytest.mark.filterwarnings("ignore:the mask of 0 and 255 has")
class TestEveryField:
    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def test_any_chunks_dims_and_integers_give_what_python_counts(self, data):
        mask, other = data.draw(masks())
        dims = list("zyx")[-mask.ndim :]
        one, two = (data.draw(chunked(named(array))) for array in (mask, other))
        turned = two.transpose(*data.draw(st.permutations(dims)))
        assert_are_pairs(one.labels.overlap(turned), mask, other)
        assert_are_parents(one.labels.relate(turned), mask, other)

    @settings(max_examples=30, deadline=None)
    @given(st.data())
    def test_any_order_of_the_dims_of_both_gives_the_same_bits(self, data):
        mask, other = data.draw(masks())
        order = data.draw(st.permutations(list("zyx")[-mask.ndim :]))
        one, two = (data.draw(chunked(named(array).transpose(*order))) for array in (mask, other))
        xr.testing.assert_identical(one.labels.overlap(two), named(mask).labels.overlap(named(other)))
        xr.testing.assert_identical(one.labels.relate(two), named(mask).labels.relate(named(other)))

    @pytest.mark.parametrize("chunk", [None, 1, 3, 500])
    def test_more_pairs_than_a_table_has_room_for_at_first(self, chunk):
        rng = np.random.default_rng(0)
        shape = (40, 50) if chunk in (1, 3) else (150, 160)
        mask, other = (rng.permutation(np.prod(shape)).reshape(shape) for _ in range(2))
        one, two = (named(array) if chunk is None else named(array).chunk(chunk) for array in (mask, other))
        assert_are_pairs(one.labels.overlap(two), mask, other)

    def test_large_masks_in_memory_are_cut_where_runs_of_pixels_go_on(self):
        mask, other = blobs((1500, 1501), 60), blobs((1500, 1501), 50, seed=1)
        found = named(mask).labels.overlap(named(other))
        both, counts = np.unique(np.stack([mask, other], -1).reshape(-1, 2), axis=0, return_counts=True)
        kept = (both != 0).all(axis=1)
        np.testing.assert_array_equal(np.stack([found["label"], found["other_label"]], 1), both[kept])
        np.testing.assert_array_equal(found["count"], counts[kept])
        xr.testing.assert_identical(named(mask).chunk(700).labels.overlap(named(other)), found)


class TestAgainstScikitImage:
    @pytest.mark.parametrize("chunk", [None, 100, 37])
    def test_2d_nuclei_and_cells(self, nuclei2d, chunk):
        _, nuclei = nuclei2d
        cells = nuclei.copy(data=np.roll(expand_labels(nuclei.values, 4), 5, axis=0))
        table = contingency_table(cells.values, nuclei.values).toarray()
        expected = [(i, j, table[i, j]) for i, j in np.argwhere(table).tolist() if i and j]
        one, two = (array.chunk(chunk) if chunk else array for array in (cells, nuclei))
        found = one.labels.overlap(two)
        columns = (found[name].values.tolist() for name in ("label", "other_label", "count"))
        assert list(zip(*columns, strict=True)) == expected
        assert_are_parents(one.labels.relate(two), cells.values, nuclei.values)

    @pytest.mark.parametrize("chunk", [None, 16, {"z": 4, "y": 31, "x": 9}])
    def test_3d_nuclei_lie_in_the_cells_that_were_grown_of_them(self, nuclei3d, chunk):
        _, nuclei = nuclei3d
        cells = nuclei.copy(data=expand_labels(nuclei.values, 2))
        one, two = (array.chunk(chunk) if chunk else array for array in (nuclei, cells))
        found = one.labels.relate(two)
        np.testing.assert_array_equal(found["parent"], found["label"])
        assert (found["fraction"] == 1).all()
        assert_are_pairs(one.labels.overlap(two), nuclei.values, cells.values)


class TestParents:
    def test_background_never_wins_and_a_tie_goes_to_the_smaller_id(self):
        mask = named(np.array([1, 1, 1, 1, 1, 2, 2, 3, 4, 4]))
        parents = named(np.array([0, 0, 0, 0, 9, 8, -7, 0, 5, 5]))
        found = mask.labels.relate(parents)
        assert found["parent"].values.tolist() == [9, -7, 0, 5]
        assert found["fraction"].values.tolist() == [0.2, 0.5, 0.0, 1.0]

    def test_ids_near_two_to_the_63_keep_all_their_digits(self):
        mask = named(np.array([2**63 - 1, 2**63 - 1, 2**63 - 2, -(2**63)]))
        parents = named(np.array([2**63 + 1, 2**64 - 1, 2**63, 2**64 - 1], np.uint64))
        for one, two in ((mask, parents), (mask.chunk(1), parents.chunk(2))):
            found = one.labels.relate(two)
            assert found["label"].values.tolist() == [-(2**63), 2**63 - 2, 2**63 - 1]
            assert found["parent"].values.tolist() == [2**64 - 1, 2**63, 2**63 + 1]

    def test_the_most_frequent_label_of_the_parents_is_the_parent(self, nuclei2d):
        _, nuclei = nuclei2d
        cells = expand_labels(nuclei.values, 8)
        cells = nuclei.copy(data=np.where(cells > 0, cells + 1000, 1000))
        found = nuclei.labels.relate(cells)
        np.testing.assert_array_equal(found["parent"], cells.labels.aggregate(nuclei, "mode")["mode"])


class TestInput:
    MASK = named(np.array([[0, 1, 1], [2, 2, 0]]))

    def test_dims_that_differ_are_named(self):
        other = self.MASK.expand_dims(t=2)
        says = r"mask and other have different dims: mask \(y: 2, x: 3\), other \(t: 2, y: 2, x: 3\).*\.isel\(t=0\)"
        with pytest.raises(ValueError, match=says):
            self.MASK.labels.overlap(other)
        with pytest.raises(ValueError, match=r"mask \(t: 2, y: 2, x: 3\), parents \(y: 2, x: 3\)"):
            other.rename(t="z").rename(z="t").labels.relate(self.MASK)
        xr.testing.assert_identical(self.MASK.labels.overlap(other.isel(t=0)), self.MASK.labels.overlap(self.MASK))

    @pytest.mark.parametrize("call", ["overlap", "relate"])
    def test_what_is_no_mask_is_named(self, call):
        run = getattr(self.MASK.labels, call)
        with pytest.raises(TypeError, match=r"a mask holds integer labels, not float64; .*astype\('int32'\)"):
            run(self.MASK * 1.0)
        with pytest.raises(TypeError, match=r"a mask is an xarray.DataArray, not ndarray; name its dims"):
            run(self.MASK.values)
        with pytest.raises(TypeError, match="float64"):
            getattr((self.MASK * 1.0).labels, call)(self.MASK)
        with pytest.raises(ValueError, match="already has a coord 'label'"):
            run(self.MASK.assign_coords(label=3))

    @pytest.mark.parametrize("call", ["overlap", "relate"])
    def test_a_mask_at_several_scales_is_taken_at_its_finest(self, call):
        tree = xr.DataTree.from_dict(
            {"scale0": self.MASK.to_dataset(name="m"), "scale1": self.MASK[::2, ::2].to_dataset(name="m")}
        )
        expected = getattr(self.MASK.labels, call)(self.MASK)
        xr.testing.assert_identical(getattr(self.MASK.labels, call)(tree), expected)
        xr.testing.assert_identical(getattr(tree.labels, call)(self.MASK), expected)

    def test_a_bool_mask_is_one_label(self):
        found = self.MASK.labels.overlap(self.MASK == 1)
        assert found["other_label"].dtype == np.uint8
        assert (found["label"].values.tolist(), found["other_label"].values.tolist()) == ([1], [1])

    def test_a_bool_mask_of_several_components_warns(self):
        apart = named(np.array([[True, False, True]] * 2))
        with pytest.warns(UserWarning, match="the bool mask has 2 components"):
            self.MASK.labels.relate(apart)

    def test_times_are_pooled_with_one_warning_that_says_how_to_choose_one(self):
        movie = self.MASK.expand_dims(t=3)
        says = r"the time dim 't', .* apart: mask.isel\(t=i\).labels.overlap\(other.isel\(t=i\)\)"
        with pytest.warns(UserWarning, match=says) as caught:
            found = movie.labels.overlap(movie)
        assert len(caught) == 1
        assert found["count"].values.tolist() == [6, 6]

    def test_planes_that_differ_warn(self):
        with pytest.warns(UserWarning, match="mask and other are at different z: 1.0 and 2.0"):
            self.MASK.assign_coords(z=1.0).labels.overlap(self.MASK.assign_coords(z=2.0))

    @pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0), (2, 3)])
    @pytest.mark.parametrize("chunk", [None, 1])
    def test_where_there_is_nothing_dims_and_dtypes_stay(self, shape, chunk):
        mask, other = (named(np.zeros(shape, dtype)) for dtype in (np.int16, np.uint64))
        one, two = (array.chunk(chunk) if chunk else array for array in (mask, other))
        full = named(np.ones((2, 3), np.int16)).labels
        for call in ("overlap", "relate"):
            found = getattr(one.labels, call)(two)
            wanted = getattr(full, call)(named(np.ones((2, 3), np.uint64)))
            assert [*found.variables] == [*wanted.variables]
            for name, variable in wanted.variables.items():
                assert (found[name].dims, found[name].dtype, found[name].size) == (variable.dims, variable.dtype, 0)

    def test_blocks_without_pixels_whose_dtype_was_lost_change_no_label(self):
        ids = np.array([[2**63, 2**64 - 1, 2**63]] * 2, np.uint64)
        array = named(ids).chunk(y=(1, 0, 1), x=(0, 3))
        lost = array.data.map_blocks(lambda b: b if b.size else np.zeros(b.shape), meta=np.empty((0, 0), np.uint64))
        lazy = array.copy(data=lost)
        assert_are_pairs(lazy.labels.overlap(lazy), ids, ids)
        assert_are_parents(lazy.labels.relate(lazy), ids, ids)

    def test_neither_mask_is_changed(self):
        values = self.MASK.values.copy()
        values.flags.writeable = False
        mask = named(values)
        mask.labels.overlap(mask)["label"].values[:] = 99
        mask.labels.relate(mask)["parent"].values[:] = 99
        xr.testing.assert_identical(mask, self.MASK)

    def test_the_loop_for_masks_that_may_be_written_to_is_that_for_others(self):
        from xlabelstats.kernels.cpu_pairs import count_overlaps

        self.MASK.labels.overlap(self.MASK)
        compiled = len(count_overlaps.signatures)
        (still := self.MASK.copy(deep=True)).values.flags.writeable = False
        self.MASK.labels.overlap(still)
        still.labels.overlap(still)
        assert len(count_overlaps.signatures) == compiled

    def test_blocks_that_are_not_as_their_array_says_are_named(self):
        lazy = self.MASK.chunk(1)
        for block, says in (
            (lambda b: b[:0], "a block has the shape"),
            (lambda b: b * 0.5, "block of the mask holds f"),
        ):
            wrong = lazy.copy(data=lazy.data.map_blocks(block, meta=np.empty((0, 0), int)))
            with pytest.raises((TypeError, ValueError), match=says):
                lazy.labels.overlap(wrong)


class TestResult:
    def test_selects_and_turns_to_pandas_as_xarray_has_it(self):
        mask, other = named(np.array([[1, 1, 2], [2, 0, 3]])), named(np.array([[5, 6, 6], [6, 5, 0]]))
        found = mask.labels.overlap(other)
        table = found.to_dataframe()
        assert [*table.columns] == ["label", "other_label", "count", "fraction", "fraction_other", "iou"]
        assert table.index.name == "pair"
        assert found.set_xindex("label").sel(label=1)["other_label"].values.tolist() == [5, 6]
        best = found.where(found["iou"] > 0.3, drop=True)
        assert best["label"].dtype == np.int64
        indexed = found.set_index(pair=("label", "other_label")).to_dataframe()
        assert indexed.loc[(2, 6), "count"] == 2

    def test_is_computed_at_once_with_names_for_axes_of_plots(self):
        mask = named(np.array([[0, 1], [1, 2]])).chunk(1)
        for found in (mask.labels.overlap(mask), mask.labels.relate(mask)):
            assert not any(variable.chunks for variable in found.variables.values())
            assert all(values.attrs["long_name"] for values in found.values())

    def test_is_written_to_zarr(self, tmp_path):
        found = named(np.array([[0, 1], [1, 2]])).labels.overlap(named(np.array([[1, 1], [1, 2]])))
        written = xlabelstats.to_zarr(found, tmp_path / "pairs.zarr")
        xr.testing.assert_equal(written.compute(), found)

    def test_each_block_of_either_mask_is_read_once(self):
        reads: collections.Counter = collections.Counter()

        def counting(name: str, array: np.ndarray, chunk: int) -> xr.DataArray:
            def read(block: np.ndarray, block_id: tuple[int, ...]) -> np.ndarray:
                reads[(name, *block_id)] += 1
                return block

            return named(da.from_array(array, chunks=chunk).map_blocks(read, meta=np.empty((0, 0), array.dtype)))

        mask = blobs((24, 30), 9)
        one, two = counting("one", mask, 8), counting("two", mask, 7)
        one.labels.overlap(two)
        assert set(reads.values()) == {1}
        assert len(reads) == one.data.npartitions + two.data.npartitions
