"""Points counted in objects: against loops over points, whatever the partitions, blocks, dtypes and order."""

from __future__ import annotations

import itertools
from typing import Any

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layouts import INTEGERS, pool
from processes import cluster

import xlabelstats
from xlabelstats.engine import point_counts
from xlabelstats.labels import points as points_file
from xlabelstats.resampling import nearest_index

dd = pytest.importorskip("dask.dataframe")
sparse = pytest.importorskip("sparse")

NOWHERE = "ignore:none of the .* points that have a position lies in the mask"


def pixel_of(x: float, values: list[float]) -> int | None:
    """The pixel nearest to a position, the first of two as near; None beyond half a pixel."""
    distances = [abs(x - value) for value in values]
    ordered = sorted(set(values))
    first, last = (ordered[1] - ordered[0], ordered[-1] - ordered[-2]) if len(ordered) > 1 else (1.0, 1.0)
    if not ordered or not ordered[0] - first / 2 <= x <= ordered[-1] + last / 2:
        return None
    return distances.index(min(distances))


def looped(mask: xr.DataArray, frame: pd.DataFrame, by: str | None) -> tuple[dict[Any, int], dict[str, int]]:
    """The count of every label, or label and category, and of what is left out, point by point."""
    counts: dict[Any, int] = {}
    lost = {"dropped_nan": 0, "dropped_outside": 0, "on_background": 0, "dropped_without_category": 0}
    cells = np.asarray(mask).astype(object)
    lines = [mask[dim].values.tolist() if dim in mask.coords else list(range(mask.sizes[dim])) for dim in mask.dims]
    for row in frame.to_dict("records"):
        where = [row[dim] for dim in mask.dims]
        if any(x is None or x != x for x in where):
            lost["dropped_nan"] += 1
            continue
        at = [pixel_of(x, values) for x, values in zip(where, lines, strict=True)]
        label = None if None in at else int(cells[tuple(at)])
        if label is None:
            lost["dropped_outside"] += 1
        elif by is not None and pd.isna(row[by]):
            lost["dropped_without_category"] += 1
        elif label == 0:
            lost["on_background"] += 1
        else:
            key = label if by is None else (label, row[by])
            counts[key] = counts.get(key, 0) + 1
    if by is None:
        del lost["dropped_without_category"]
    return counts, lost


def assert_is(found: xr.DataArray, mask: xr.DataArray, frame: pd.DataFrame, by: str | None) -> None:
    """A result is that of `looped`."""
    counts, lost = looped(mask, frame, by)
    assert {name: found.attrs[name] for name in lost} == lost
    assert found["label"].values.tolist() == sorted({int(n) for n in np.asarray(mask).ravel().astype(object)} - {0})
    assert found.dtype == np.int64
    labels = found["label"].values.tolist()
    expected: dict[Any, int] = dict.fromkeys(
        labels if by is None else itertools.product(labels, found[by].values.tolist()), 0
    )
    values = found.data if by is None else found.data.todense()
    assert dict(zip(expected, values.ravel().tolist(), strict=True)) == expected | counts


def small() -> tuple[xr.DataArray, pd.DataFrame]:
    mask = xr.DataArray(
        np.array([[0, 1, 1, 2, 2], [0, 3, 3, 2, 0], [5, 5, 0, 2, 1], [5, 0, 0, 1, 1]], np.int32),
        {"y": [0.5, 1.0, 1.5, 2.0], "x": [14.0, 13, 12, 11, 10]},
        ("y", "x"),
    )
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {"gene": rng.choice(["Sst", "Gad1", "Pvalb"], 60), "x": rng.uniform(9, 15, 60), "y": rng.uniform(0, 2.4, 60)}
    )
    frame.loc[3, "x"] = frame.loc[7, "y"] = np.nan
    frame.loc[5, ["y", "x"]] = [1.25, 12.5]
    frame["n"] = rng.integers(-2, 3, 60)
    return mask, frame


@st.composite
def cases(draw: st.DrawFn) -> tuple[xr.DataArray, pd.DataFrame, str | None]:
    """A mask of any dims, dtype and coordinates, and points in and around it."""
    dims = draw(st.permutations(["z", "y", "x"]))[: draw(st.integers(1, 3))]
    shape = [draw(st.integers(0 if draw(st.integers(0, 9)) == 0 else 1, 5)) for _ in dims]
    dtype = np.dtype(draw(st.sampled_from(INTEGERS)))
    ids = draw(st.lists(st.sampled_from(pool(dtype)), min_size=1, max_size=4))
    n = int(np.prod(shape))
    mask = xr.DataArray(
        np.array(draw(st.lists(st.sampled_from(ids), min_size=n, max_size=n)), dtype).reshape(shape), dims=dims
    )
    for dim in dims:
        # Coordinates that float64 holds exactly, so that a tie is one: even, descending, uneven, in any order.
        kind = draw(st.sampled_from(["none", "even", "descending", "uneven", "any"]))
        line = np.cumsum(
            draw(st.lists(st.sampled_from([0.5, 1.0, 4.0]), min_size=mask.sizes[dim], max_size=mask.sizes[dim]))
        )
        line = {"even": 3 + 0.25 * np.arange(mask.sizes[dim]), "descending": line[::-1]}.get(kind, line)
        if kind != "none":
            mask = mask.assign_coords({dim: draw(st.permutations(line.tolist())) if kind == "any" else line})
    rows = draw(st.integers(0, 12))
    # Ties, or well away from one.
    position = st.one_of(
        st.integers(-256, 2600).map(lambda i: i / 64), st.integers(-4, 40).map(lambda i: i / 8), st.just(np.nan)
    )
    columns = {dim: draw(st.lists(position, min_size=rows, max_size=rows)) for dim in dims}
    frame = pd.DataFrame(columns, dtype=draw(st.sampled_from(["f8", "Float64"])))
    names = draw(st.lists(st.sampled_from(["b", "a", "c", None]), min_size=rows, max_size=rows))
    by = draw(st.sampled_from([None, "gene", "number"]))
    frame["gene"] = pd.Series(names, dtype=object)
    frame["number"] = pd.Series(draw(st.lists(st.integers(-2, 300), min_size=rows, max_size=rows)), dtype="int64")
    if by == "gene" and draw(st.booleans()):
        frame["gene"] = pd.Categorical(names, ["d", "b", "a", "c"])
    return mask, frame, by


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
@pytest.mark.filterwarnings(NOWHERE, "ignore:the mask of 0 and 255 has")
def test_counts_are_those_of_a_loop_over_points(data: st.DataObject) -> None:
    mask, frame, by = data.draw(cases())
    numbers, columns = mask.values.copy(), frame.copy()
    lazy_mask, lazy_points = data.draw(st.booleans()), data.draw(st.booleans())
    if lazy_mask:
        cuts = {dim: sorted(data.draw(st.lists(st.integers(0, n), max_size=3))) for dim, n in mask.sizes.items()}
        blocks = {dim: tuple(np.diff([0, *cuts[dim], n]).tolist()) for dim, n in mask.sizes.items()}
        labels = mask.chunk(blocks)
    else:
        labels = mask
    points = frame.iloc[data.draw(st.permutations(range(len(frame))))]
    if lazy_points:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(points)), max_size=3)))
        parts = [points.iloc[a:b] for a, b in itertools.pairwise([0, *cuts, len(points)])]
        points = dd.from_map(lambda i, parts=parts: parts[i], list(range(len(parts))), meta=frame.iloc[:0])
    with pytest.MonkeyPatch.context() as patched, dask.config.set(scheduler="sync"):
        patched.setattr(points_file, "PIECE_ROWS", data.draw(st.sampled_from([1, 3, 2**19])))
        patched.setattr(points_file, "BLOCK_PIXELS", data.draw(st.sampled_from([1, 7, 2**22])))
        patched.setattr(point_counts, "FIRST_ROUND", data.draw(st.sampled_from([1, 8])))
        patched.setattr(point_counts, "ROUND_BYTES", data.draw(st.sampled_from([1, 2**26])))
        patched.setattr(point_counts, "HELD_BYTES", data.draw(st.sampled_from([1, 12, 2**29])))
        found = labels.labels.count_points(points, by=by)
    assert_is(found, mask, frame, by)
    np.testing.assert_array_equal(mask.values, numbers)
    pd.testing.assert_frame_equal(frame, columns)
    if by is not None:
        known = isinstance(frame[by].dtype, pd.CategoricalDtype)
        assert found[by].values.tolist() == (["d", "b", "a", "c"] if known else sorted(frame[by].dropna().unique()))
        # As sparse counts on it: sorted, each once, none of them zero.
        rows, columns = found.data.coords.astype(np.int64)
        assert (np.diff(rows * max(found.shape[1], 1) + columns) > 0).all()
        assert (found.data.data > 0).all()


@pytest.mark.parametrize("by", [None, "gene", "n"])
@pytest.mark.parametrize("chunk", [None, 1, 2, {"y": (1, 0, 3), "x": (2, 2, 1)}])
@pytest.mark.parametrize("partitions", [None, 1, 7])
def test_nothing_depends_on_chunks_and_partitions(by, chunk, partitions):
    mask, frame = small()
    labels = mask if chunk is None else mask.chunk(chunk)
    points = frame if partitions is None else dd.from_pandas(frame, npartitions=partitions)
    assert_is(labels.labels.count_points(points, by), mask, frame, by)
    assert_is(labels.transpose().labels.count_points(points, by), mask.transpose(), frame, by)


def test_real_cells_hold_what_numpy_counts_in_them(nuclei2d):
    _, mask = nuclei2d
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.uniform(-0.5, 511.5, (20_000, 2)), columns=["x", "y"])
    frame["gene"] = pd.Categorical(rng.choice(list("abcde"), 20_000), list("zabcde"))
    labels = mask.values[np.rint(frame["y"]).astype(int), np.rint(frame["x"]).astype(int)]
    found = mask.chunk(100).labels.count_points(dd.from_pandas(frame, npartitions=5), by="gene")
    expected = pd.crosstab(labels, frame["gene"], dropna=False).reindex(columns=list("zabcde"), fill_value=0)
    assert found.attrs["on_background"] == expected.loc[0].sum()
    expected = expected.drop(index=0).reindex(mask.labels.ids(), fill_value=0)
    np.testing.assert_array_equal(found.data.todense(), expected)
    assert found["gene"].values.tolist() == list("zabcde")
    np.testing.assert_array_equal(mask.labels.count_points(frame), expected.sum(axis=1))


def test_points_of_a_volume_are_those_of_map_coordinates(nuclei3d):
    from scipy.ndimage import map_coordinates

    _, mask = nuclei3d
    rng = np.random.default_rng(0)
    at = rng.uniform(0, np.array(mask.shape)[:, None] - 1, (3, 5000))
    labels = map_coordinates(mask.values, at, order=0)
    spaced = mask.assign_coords(z=2.0 * np.arange(31), y=10 + 0.5 * np.arange(61), x=-0.25 * np.arange(57))
    frame = pd.DataFrame({"z": 2 * at[0], "y": 10 + 0.5 * at[1], "x": -0.25 * at[2]})
    found = spaced.chunk(z=10, y=30).labels.count_points(frame)
    ids, counts = np.unique(labels[labels != 0], return_counts=True)
    assert found[found > 0]["label"].values.tolist() == ids.tolist()
    np.testing.assert_array_equal(found.values[found.values > 0], counts)


@pytest.mark.filterwarnings(NOWHERE)
class TestWhichPixel:
    """A point belongs to the nearest pixel."""

    def labels_at(self, mask: xr.DataArray, x: Any, dtype: Any = float) -> list[int]:
        frame = pd.DataFrame({"x": np.asarray(x, dtype), "row": range(len(x))})
        found = mask.labels.count_points(frame, by="row")
        where = found.data.todense()
        return [int(found["label"].values[column.argmax()]) if column.any() else 0 for column in where.T]

    def test_the_smaller_index_of_a_tie(self):
        mask = xr.DataArray([1, 2, 3], dims="x")
        assert self.labels_at(mask, [0.5, 1.5, 0.5000001, 1.4999999]) == [1, 2, 2, 2]
        assert self.labels_at(mask.assign_coords(x=[4.0, 2, 0]), [3, 1, 3.1, 0.9]) == [1, 2, 1, 3]

    def test_half_a_pixel_beyond_the_outermost_is_inside(self):
        mask = xr.DataArray([1, 2, 3], dims="x")
        assert self.labels_at(mask, [-0.5, 2.5, -0.500001, 2.500001, np.inf, -np.inf]) == [1, 3, 0, 0, 0, 0]
        uneven = mask.assign_coords(x=[0.0, 1, 5])
        assert self.labels_at(uneven, [-0.5, 7, -0.6, 7.1, 3, 3.01]) == [1, 3, 0, 0, 2, 3]

    def test_one_pixel_is_one_unit_wide(self):
        mask = xr.DataArray([4], dims="x", coords={"x": [10.0]})
        assert self.labels_at(mask, [9.5, 10.5, 9.4, 10.6]) == [4, 4, 0, 0]

    @pytest.mark.parametrize("dtype", ["f4", "f8"])
    @pytest.mark.parametrize("descending", [False, True])
    def test_computed_coordinates_have_ties_up_to_rounding(self, dtype, descending):
        line = (0.1 * np.arange(50)).astype(dtype)
        mask = xr.DataArray(np.arange(1, 51), dims="x", coords={"x": line[::-1] if descending else line})
        middles = (0.1 * (np.arange(49) + 0.5)).astype(dtype)
        expected = np.arange(49, 0, -1) if descending else np.arange(1, 50)
        assert self.labels_at(mask, middles, dtype) == expected.tolist()

    def test_it_is_that_of_a_mask_brought_to_another_grid(self):
        rng = np.random.default_rng(3)
        line = np.cumsum(rng.uniform(0.1, 3, 40))
        x = rng.uniform(line[0] - 2, line[-1] + 2, 500)
        mask = xr.DataArray(np.arange(1, 41), dims="x", coords={"x": line})
        assert self.labels_at(mask, x) == (nearest_index(x, line) + 1).tolist()


@pytest.mark.parametrize("held", [2**29, 1])
@pytest.mark.parametrize(
    "ids",
    [
        np.array([0, 1, 2**63, 2**64 - 2, 2**64 - 1], np.uint64),
        np.array([0, -(2**63), -1, 1, 2**63 - 1]),
        np.array([0, -128, -1, 1, 127], np.int8),
        np.array([0, 5, 2**31 - 1, -(2**31), 7], ">i4"),
    ],
)
def test_ids_are_as_far_apart_as_their_dtype_allows(ids, held, monkeypatch):
    monkeypatch.setattr(point_counts, "HELD_BYTES", held)
    monkeypatch.setattr(point_counts, "FIRST_ROUND", 1)
    monkeypatch.setattr(points_file, "PIECE_ROWS", 100)
    rng = np.random.default_rng(0)
    which, x, n = rng.integers(0, 5, 40), rng.integers(0, 40, 900), rng.integers(0, 300, 900)
    mask = xr.DataArray(ids[which], dims="x")
    expected = np.zeros((5, 300), int)
    np.add.at(expected, (which[x], n), 1)
    order = np.argsort(ids[1:]) + 1
    frame = pd.DataFrame({"x": x, "n": pd.Categorical(n, range(300))})
    found = mask.chunk(x=7).labels.count_points(frame, by="n")
    assert found["label"].values.tolist() == ids[order].tolist()
    np.testing.assert_array_equal(found.data.todense(), expected[order])


class TestCategories:
    """The columns that points may be counted by."""

    def count(self, column: Any, partitions: int | None = None, **options: Any) -> xr.DataArray:
        mask = xr.DataArray([0, 1, 1, 2], dims="x")
        frame = pd.DataFrame({"x": [3, 1, 2, 1, 0, 3], "what": column})
        points = frame if partitions is None else dd.from_pandas(frame, npartitions=partitions, sort=False)
        return mask.labels.count_points(points, by="what")

    @pytest.mark.parametrize("partitions", [None, 3])
    @pytest.mark.parametrize(
        ("column", "names", "counts"),
        [
            (list("bacaba"), ["a", "b", "c"], [[2, 0, 1], [1, 1, 0]]),
            (pd.array(list("bacaba"), dtype="string"), ["a", "b", "c"], [[2, 0, 1], [1, 1, 0]]),
            ([10, 2, 7, 2, 10, 2], [2, 7, 10], [[2, 1, 0], [1, 0, 1]]),
            (pd.array([10, 2, None, 2, 10, 2], dtype="Int64"), [2, 10], [[2, 0], [1, 1]]),
            ([0.5, 2, np.nan, 2, 0.5, 2], [0.5, 2.0], [[0, 2], [1, 1]]),
            ([True, False, True, False, True, False], [False, True], [[2, 1], [1, 1]]),
            (pd.Categorical(list("bacaba"), list("zcba")), list("zcba"), [[0, 1, 0, 2], [0, 0, 1, 1]]),
            (pd.Categorical([5, 3, 5, 3, 5, 3], [5, 4, 3]), [5, 4, 3], [[1, 0, 2], [1, 0, 1]]),
        ],
    )
    def test_any_column_of_names_or_numbers(self, column, names, counts, partitions):
        found = self.count(column, partitions)
        assert found.dims == ("label", "what")
        assert found["what"].values.tolist() == names
        assert found.data.todense().tolist() == counts
        assert found.attrs["dropped_without_category"] == 6 - int(np.sum(counts)) - 1

    def test_names_and_numbers_in_one_column(self):
        frame = pd.Series(["b", 10, "a", 9, "b", 10.0], dtype=object)
        assert self.count(frame)["what"].values.tolist() == [9, 10, "a", "b"]

    def test_categories_that_dask_does_not_know_are_those_of_all_partitions_sorted(self):
        mask = xr.DataArray([0, 1, 1, 2], dims="x")
        parts = [
            pd.DataFrame({"x": [3, 1], "what": pd.Categorical(["c", "b"], ["c", "b", "unused"])}),
            pd.DataFrame({"x": [3, 1], "what": pd.Categorical(["a", None], ["b", "a"])}),
        ]
        points = dd.from_map(lambda i: parts[i], [0, 1]).assign(what=lambda f: f["what"].cat.as_unknown())
        found = mask.labels.count_points(points, by="what")
        assert found["what"].values.tolist() == ["a", "b", "c", "unused"]
        assert found.data.todense().tolist() == [[0, 1, 0, 0], [1, 0, 1, 0]]

    def test_more_than_a_byte_holds_and_met_one_by_one(self, monkeypatch):
        monkeypatch.setattr(point_counts, "HELD_BYTES", 1)
        monkeypatch.setattr(points_file, "PIECE_ROWS", 60)
        monkeypatch.setattr(point_counts, "FIRST_ROUND", 1)
        rng = np.random.default_rng(0)
        mask = xr.DataArray(rng.integers(0, 4, 50), dims="x")
        frame = pd.DataFrame({"x": rng.integers(0, 50, 3000), "n": rng.permutation(np.arange(3000) % 1000)})
        labels = mask.values[frame["x"]]
        expected = pd.crosstab(labels[labels != 0], frame["n"][labels != 0]).reindex(columns=range(1000), fill_value=0)
        found = mask.chunk(20).labels.count_points(frame, by="n")
        np.testing.assert_array_equal(found.data.todense(), expected)

    def test_a_column_of_positions(self):
        mask = xr.DataArray([[1, 1], [1, 2]], dims=("z", "x"))
        frame = pd.DataFrame({"z": [0, 1, 1], "x": [0, 0, 1]})
        assert mask.labels.count_points(frame, by="z").data.todense().tolist() == [[1, 1], [0, 1]]


class TestWhatIsRead:
    """Every block of the mask is read once, however many partitions have points in it."""

    @pytest.mark.parametrize("held", [2**29, 400])
    def test_blocks_are_read_once_per_round(self, held, monkeypatch):
        import dask.array as da

        monkeypatch.setattr(point_counts, "HELD_BYTES", held)
        monkeypatch.setattr(point_counts, "FIRST_ROUND", 2)
        monkeypatch.setattr(point_counts, "ROUND_BYTES", 200)
        reads, partitions = [], []
        values = np.arange(64).reshape(8, 8)

        def block(block_id: tuple[int, ...] = (0, 0)) -> np.ndarray:
            reads.append(block_id)
            return values[tuple(slice(4 * i, 4 * i + 4) for i in block_id)]

        rng = np.random.default_rng(0)
        frame = pd.DataFrame(rng.integers(0, 8, (300, 2)), columns=["y", "x"])

        def partition(i: int) -> pd.DataFrame:
            partitions.append(i)
            return frame.iloc[30 * i : 30 * i + 30]

        mask = xr.DataArray(da.map_blocks(block, chunks=((4, 4), (4, 4)), meta=values[:0, :0]), dims=("y", "x"))
        points = dd.from_map(partition, range(10), meta=frame.iloc[:0])
        with dask.config.set(scheduler="sync"):
            found = mask.labels.count_points(points)
        expected = np.bincount(values[frame["y"], frame["x"]], minlength=64)[1:]
        np.testing.assert_array_equal(found, expected)
        assert sorted(partitions) == list(range(10))
        # 300 points of five bytes are counted when there are 400 bytes of them.
        assert len(reads) == 4 * (1 if held > 400 else 4)

    def test_blocks_without_points_are_read_for_their_labels_alone(self):
        mask = xr.DataArray(np.arange(12), dims="x").chunk(x=4)
        found = mask.labels.count_points(pd.DataFrame({"x": [5, 5]}))
        assert found["label"].values.tolist() == list(range(1, 12))
        assert found.values.tolist() == [0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0]


class TestTables:
    """What becomes of the counts."""

    def test_an_annotated_table_has_them_as_a_sparse_matrix(self):
        pytest.importorskip("anndata")
        from scipy.sparse import csr_matrix

        mask, frame = small()
        counts = mask.chunk(2).labels.count_points(frame, by="gene")
        table = counts.labels.to_anndata(centroids=mask.labels.center_of_mass())
        assert isinstance(table.X, csr_matrix)
        assert table.X.dtype == np.int64
        np.testing.assert_array_equal(table.X.toarray(), counts.data.todense())
        assert table.var_names.tolist() == ["Gad1", "Pvalb", "Sst"]
        assert table.obs_names.tolist() == ["1", "2", "3", "5"]
        assert table.obsm["spatial"].shape == (4, 2)
        assert not np.shares_memory(table.X.data, counts.data.data)

    def test_they_stand_beside_other_measures(self):
        pytest.importorskip("anndata")
        mask, frame = small()
        result = mask.labels.count().to_dataset(name="count").assign(points=mask.labels.count_points(frame, "gene"))
        result["Sst"] = result["points"].sel(gene="Sst")
        table = result.labels.to_anndata(X="points")
        np.testing.assert_array_equal(table.X.toarray(), result["points"].data.todense())
        np.testing.assert_array_equal(table.obs["Sst"], result["Sst"].data.todense())
        np.testing.assert_array_equal(table.obs["count"], result["count"])
        as_array = result.labels.to_anndata(X=None).obsm["points"]
        np.testing.assert_array_equal(as_array.toarray(), result["points"].data.todense())

    @pytest.mark.parametrize("kind", ["gcxs", "dok"])
    def test_an_annotated_table_takes_any_format_of_sparse(self, kind):
        pytest.importorskip("anndata")
        mask, frame = small()
        counts = mask.labels.count_points(frame, by="gene")
        table = counts.copy(data=counts.data.asformat(kind)).labels.to_anndata()
        np.testing.assert_array_equal(table.X.toarray(), counts.data.todense())

    def test_a_store_takes_them_with_their_zeros(self, tmp_path):
        mask, frame = small()
        counts = mask.labels.count_points(frame, by="gene")
        for result in (counts, counts.to_dataset()):
            with pytest.raises(TypeError, match=r"Zarr cannot hold sparse arrays.*result\.as_numpy\(\)"):
                xlabelstats.to_zarr(result, tmp_path / "counts.zarr")
        stored = xlabelstats.to_zarr(counts.as_numpy(), tmp_path / "counts.zarr")
        np.testing.assert_array_equal(stored, counts.data.todense())

    def test_a_data_frame_and_a_picture_of_one_gene(self):
        mask, frame = small()
        counts = mask.labels.count_points(frame, by="gene")
        table = counts.labels.to_dataframe()
        assert list(table) == ["points_Gad1", "points_Pvalb", "points_Sst"]
        np.testing.assert_array_equal(table, counts.data.todense())
        painted = mask.labels.paint(counts.sel(gene="Sst"))
        assert painted.dtype == np.int64
        np.testing.assert_array_equal(painted, mask.labels.paint(table["points_Sst"]))


class TestErrors:
    """What is wrong is said, and what to do."""

    @pytest.mark.parametrize(
        ("change", "by", "kind", "says"),
        [
            (
                lambda f: f.rename(columns={"y": "Y"}),
                None,
                ValueError,
                r"no column 'y' .*: 'gene', 'x', 'Y', 'n'.*rename",
            ),
            (lambda f: f, "genes", ValueError, "no column 'genes' to count by; they have: 'gene', 'x', 'y', 'n'"),
            (lambda f: f, ["gene"], TypeError, r"one column, not \['gene'\]"),
            (lambda f: f.rename(columns={"gene": "label"}), "label", ValueError, "results' dim; rename it"),
            (
                lambda f: f.rename(columns={"gene": "object"}),
                "object",
                ValueError,
                r"the rows of .*; rename it",
            ),
            (
                lambda f: f.rename(columns={"gene": "points"}),
                "points",
                ValueError,
                r"the counts .*; rename it",
            ),
            (lambda f: f.rename(columns={"n": "x"}), None, ValueError, "2 columns 'x'; rename all but one"),
            (lambda f: f.astype({"x": str}), None, TypeError, "column 'x' of the points holds .*, not numbers: "),
            (lambda f: f.astype({"x": bool}), None, TypeError, "column 'x' of the points holds bool, not numbers: "),
            (
                lambda f: f.to_numpy(),
                None,
                TypeError,
                "pandas or dask DataFrame with the columns 'y', 'x', not ndarray",
            ),
            (lambda f: f["x"], None, TypeError, "not Series"),
        ],
    )
    @pytest.mark.parametrize("lazy", [False, True])
    def test_wrong_points_are_named(self, change, by, kind, says, lazy):
        mask, frame = small()
        points = change(frame)
        if lazy and isinstance(points, pd.DataFrame) and points.columns.is_unique:
            points = dd.from_pandas(points, npartitions=2)
        with pytest.raises(kind, match=says):
            mask.labels.count_points(points, by)

    def test_no_point_in_the_mask_is_warned_of(self):
        mask, frame = small()
        with pytest.warns(UserWarning, match="none of the 58 points .*'y' from 0.25 to 2.25, 'x' from 9.5 to 14.5"):
            found = mask.labels.count_points(frame.assign(x=frame["x"] + 1000))
        assert found.attrs["dropped_outside"] == 58
        assert not found.any()

    def test_a_column_given_itself_is_not_printed(self):
        mask, frame = small()
        with pytest.raises(TypeError, match=r"by is the name of one column, not Series$"):
            mask.labels.count_points(frame, by=frame["gene"])

    def test_what_cannot_be_counted_by_is_named(self):
        mask, frame = small()
        with pytest.raises(TypeError, match=r"column 'gene' .* a name or a number per point"):
            mask.labels.count_points(frame.assign(gene=[[]] * len(frame)), by="gene")

    def test_points_without_a_category_lie_in_the_mask(self):
        # None is counted, but the mask is where the points are.
        found = xr.DataArray([1, 1], dims="x").labels.count_points(
            pd.DataFrame({"x": [0, 50], "gene": [None, "a"]}), by="gene"
        )
        assert found.attrs["dropped_outside"] == found.attrs["dropped_without_category"] == 1

    def test_nothing_lies_in_a_mask_without_pixels(self):
        mask, frame = small()
        assert mask[:0].labels.count_points(frame).attrs["dropped_outside"] == 58

    def test_no_points_are_no_points(self):
        mask, frame = small()
        for points in (frame.iloc[:0], dd.from_pandas(frame, npartitions=3).loc[1000:]):
            assert mask.labels.count_points(points).values.tolist() == [0, 0, 0, 0]
            assert mask.labels.count_points(points, by="gene").shape == (4, 0)

    def test_coordinates_that_are_no_numbers_are_named(self):
        mask, frame = small()
        with pytest.raises(ValueError, match=r"'x' holds .*drop_vars\('x'\)"):
            mask.assign_coords(x=list("abcde")).labels.count_points(frame)

    def test_objects_over_times_are_warned_of(self):
        mask = xr.DataArray([[1, 0], [1, 2]], dims=("t", "x"))
        with pytest.warns(UserWarning, match=r"each label is measured over all times.*mask.isel\(t=i\)"):
            mask.labels.count_points(pd.DataFrame({"t": [0, 1], "x": [0, 0]}))

    def test_without_the_package_sparse_the_extra_is_named(self, monkeypatch):
        import sys

        mask, frame = small()
        monkeypatch.setitem(sys.modules, "sparse", None)
        assert mask.labels.count_points(frame).sum() > 0
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'xlabelstats\[points\]'"):
            mask.labels.count_points(frame, by="gene")

    def test_the_finest_scale_of_a_tree_is_counted_in(self):
        mask, frame = small()
        tree = xr.DataTree.from_dict(
            {"scale0": mask.to_dataset(name="m"), "scale1": mask[::2, ::2].to_dataset(name="m")}
        )
        xr.testing.assert_identical(tree.labels.count_points(frame), mask.labels.count_points(frame))


def test_a_cluster_of_which_a_worker_dies_counts_the_same(tmp_path):
    pytest.importorskip("distributed")
    mask, frame = small()
    frame = pd.concat([frame.assign(y=frame["y"] * k, x=frame["x"] - k) for k in (0.5, 0.8, 1)], ignore_index=True)
    died = tmp_path / "died"

    def block(values: np.ndarray) -> np.ndarray:
        import os

        if not died.exists():
            died.touch()
            os._exit(1)
        return values

    labels = mask.copy(data=mask.chunk(2).data.map_blocks(block, meta=mask.values[:0, :0]))
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 minute"}),
        cluster(2, threads_per_worker=1, silence_logs=50),
    ):
        found = labels.labels.count_points(dd.from_pandas(frame, npartitions=5), by="gene")
    assert died.exists()
    assert_is(found, mask, frame, "gene")
