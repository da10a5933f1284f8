"""Painting is the inverse of aggregating: checked by a loop over labels."""

from __future__ import annotations

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


@pytest.fixture
def mask() -> xr.DataArray:
    return xr.DataArray(blobs((20, 30), 8), dims=("y", "x"), coords={"x": np.arange(30) * 0.5}, name="cells")


def by_loop(mask: np.ndarray, values: dict[int, float], fill: float, dtype: object) -> np.ndarray:
    painted = np.full(mask.shape, fill, dtype)
    for label, value in values.items():
        painted[mask == label] = value
    return painted


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("kind", ["mapping", "series", "array"])
def test_every_pixel_carries_its_labels_value(mask, kind, lazy):
    values = {int(label): label * 1.5 for label in mask.labels.ids()[1:]} | {99999: 3.0}
    series = pd.Series(values, name="size")
    given_ = {"mapping": values, "series": series, "array": xr.DataArray(series.rename_axis("label"), name="size")}[
        kind
    ]
    painted = (mask.chunk(7) if lazy else mask).labels.paint(given_)
    assert dask.is_dask_collection(painted.data) == lazy
    np.testing.assert_array_equal(painted, by_loop(mask.values, values, np.nan, float))
    assert painted.dims == mask.dims
    np.testing.assert_array_equal(painted["x"], mask["x"])
    assert painted.name == (None if kind == "mapping" else "size")


@pytest.mark.parametrize("lazy", [False, True])
def test_painted_counts_average_to_the_counts(nuclei2d, lazy):
    _, nuclei = nuclei2d
    nuclei = nuclei.chunk(100) if lazy else nuclei
    count = nuclei.labels.count()
    painted = nuclei.labels.paint(count)
    assert painted.dtype == np.int64
    np.testing.assert_array_equal(painted.labels.mean(nuclei), count)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_chunking_and_any_labels(data):
    shape = tuple(data.draw(st.integers(1, 7)) for _ in range(data.draw(st.integers(1, 3))))
    labels = data.draw(hnp.arrays(np.int16, shape, elements=st.integers(-2, 4)))
    values = data.draw(st.dictionaries(st.integers(-3, 5), st.integers(-9, 9)))
    mask = xr.DataArray(labels, dims=list("zyx")[: len(shape)])
    expected = by_loop(labels, values, 0 if values else np.nan, int if values else float)
    np.testing.assert_array_equal(mask.labels.paint(values), expected)
    np.testing.assert_array_equal(mask.chunk(data.draw(st.integers(1, 4))).labels.paint(values), expected)


@pytest.mark.parametrize("lazy", [False, True])
def test_values_with_extra_dims_give_images_with_extra_dims(mask, lazy):
    ids = mask.labels.ids()
    colours = np.random.default_rng(0).integers(0, 255, (3, ids.size), dtype=np.uint8)
    values = xr.DataArray(colours, dims=("rgb", "label"), coords={"label": ids, "rgb": list("rgb")})
    painted = (mask.chunk(y=7, x=9) if lazy else mask).labels.paint(values.chunk() if lazy else values)
    assert painted.dims == ("rgb", "y", "x")
    assert painted.dtype == np.uint8
    assert painted["rgb"].values.tolist() == list("rgb")
    for i in range(3):
        expected = by_loop(mask.values, dict(zip(ids, colours[i], strict=True)), 0, np.uint8)
        np.testing.assert_array_equal(painted[i], expected)


def test_lazy_values_stay_lazy(nuclei2d):
    image, nuclei = (array.chunk(128) for array in nuclei2d)
    painted = nuclei.labels.paint(image.labels.mean(nuclei))
    assert dask.is_dask_collection(painted.data)
    np.testing.assert_allclose(painted.labels.max(nuclei), image.labels.mean(nuclei))
    eager = nuclei2d[1].labels.paint(image.labels.mean(nuclei))
    np.testing.assert_array_equal(eager, painted)


@pytest.mark.parametrize(
    ("dtype", "fill_value", "expected"),
    [
        ("u1", None, ("u1", 0)),
        ("u1", 7, ("u1", 7)),
        ("u1", -1, ("i2", -1)),
        ("u1", np.nan, ("f8", np.nan)),
        ("i8", None, ("i8", 0)),
        ("f4", None, ("f4", np.nan)),
        ("f4", 0, ("f4", 0)),
        ("f4", -1.5, ("f4", -1.5)),
        ("?", None, ("?", False)),
    ],
)
def test_the_fill_value_and_the_dtype(dtype, fill_value, expected):
    mask = xr.DataArray([0, 1, 2], dims="x")
    values = xr.DataArray(np.ones(1, dtype), dims="label", coords={"label": [1]})
    for array in (mask, mask.chunk(x=2)):
        painted = array.labels.paint(values, fill_value)
        assert painted.dtype == painted.compute().dtype == np.dtype(expected[0])
        np.testing.assert_array_equal(painted, [expected[1], 1, expected[1]])


def test_ids_at_the_edges_of_their_types():
    for dtype, ids in ((np.uint64, [2**53 + 1, 2**64 - 1]), (np.int64, [-(2**63), 2**63 - 1])):
        mask = xr.DataArray(np.array([0, *ids], dtype), dims="x")
        values = xr.DataArray([5, 6], dims="label", coords={"label": np.array(ids, dtype)})
        assert mask.labels.paint(values).values.tolist() == [0, 5, 6]


def test_background_is_painted_if_it_has_a_value():
    assert xr.DataArray([0, 1], dims="x").labels.paint({0: 4, 1: 5}).values.tolist() == [4, 5]


def test_complaints(mask):
    with pytest.raises(TypeError, match="values are a DataArray with the dim 'label', a pandas Series or a mapping"):
        mask.labels.paint([1, 2])
    with pytest.raises(ValueError, match=r"the values have no labels; give them: values\.assign_coords"):
        mask.labels.paint(xr.DataArray([1.0, 2.0], dims="label"))
    with pytest.raises(ValueError, match="the values have no dim 'label'; they have"):
        mask.labels.paint(xr.DataArray([1.0, 2.0], dims="x"))
    with pytest.raises(ValueError, match="labels are each given once, but 3 is given 2 times"):
        mask.labels.paint(pd.Series([1.0, 2.0], index=[3, 3]))
    with pytest.raises(TypeError, match=r"labels are whole numbers, and the index of the values holds .*'a'"):
        mask.labels.paint({"a": 1.0})
    with pytest.raises(TypeError, match="values to paint are numbers, or classes along the dim 'label' alone, not <U3"):
        mask.labels.paint(xr.DataArray([["red"]], dims=("label", "c"), coords={"label": [1]}))
    with pytest.raises(ValueError, match="the values and the mask both have a dim 'x'; rename it in the values"):
        mask.labels.paint(xr.DataArray([[1.0]], dims=("label", "x"), coords={"label": [1]}))
    with pytest.raises(ValueError, match="no integer dtype holds both values of uint64 and fill_value=-1"):
        mask.labels.paint(xr.DataArray(np.ones(1, "u8"), dims="label", coords={"label": [1]}), -1)
    with pytest.raises(TypeError, match="fill_value is a number, not 'none'"):
        mask.labels.paint({1: 2.0}, fill_value="none")


@pytest.mark.parametrize("per", [None, "y"])
def test_a_result_that_is_to_be_painted_with_its_mask_is_told_the_other_way(mask, per):
    counts = mask.labels.count(per=per)
    with pytest.raises(
        ValueError, match=r"is a result, and .*\('y', 'x'\) is the mask; .*: mask\.labels\.paint\(result\)"
    ):
        counts.labels.paint(mask)


def test_of_a_table_one_column_is_painted(mask):
    result = mask.labels.measure(("area", "extent"))
    with pytest.raises(TypeError, match=r"not Dataset; choose a variable: result\['area'\]$"):
        mask.labels.paint(result)
    with pytest.raises(TypeError, match=r"not DataFrame; choose a column: table\['area'\]$"):
        mask.labels.paint(result.labels.to_dataframe())
    with pytest.raises(TypeError, match=r"not DataFrame$"):
        mask.labels.paint(pd.DataFrame())


class TestRows:
    """Rows that a table numbers by itself, or names by text, are no labels."""

    mask = xr.DataArray([[0, 2, 2], [5, 5, 7]], dims=("y", "x"))
    image = xr.DataArray([[9.0, 1.0, 3.0], [4.0, 5.0, 6.0]], dims=("y", "x"))

    @pytest.mark.parametrize("lazy", [False, True])
    def test_rows_numbered_by_pandas(self, lazy):
        mask = self.mask.chunk(x=2) if lazy else self.mask
        table = self.image.labels.aggregate(mask, "mean").labels.to_dataframe().reset_index()
        with pytest.raises(ValueError, match="the values have the default index") as error:
            mask.labels.paint(table["mean"])
        assert str(error.value) == (
            "the values have the default index of pandas, 0 to 2, and the mask has the label 5; make the labels the "
            "index: table.set_index('label')['mean']; or if these numbers are the labels: values.rename_axis('label')"
        )
        painted = mask.labels.paint(eval("table.set_index('label')['mean']", {"table": table}))
        np.testing.assert_array_equal(painted, [[np.nan, 2, 2], [4.5, 4.5, 6]])
        np.testing.assert_array_equal(mask.labels.paint(table["mean"].rename_axis("label"))[0], [2, 6, 6])

    def test_rows_numbered_by_pandas_that_are_the_labels(self):
        every = pd.Series(np.arange(8) * 1.5)
        np.testing.assert_array_equal(self.mask.labels.paint(every), self.mask * 1.5)
        few = self.mask.where(self.mask < 5, 1)
        table = self.image.labels.aggregate(few, "mean", background=True).labels.to_dataframe().reset_index()
        assert few.labels.ids().tolist() == [1, 2]
        np.testing.assert_array_equal(few.labels.paint(table["mean"])[0], [9, 2, 2])
        np.testing.assert_array_equal(self.mask.labels.paint({0: 1.0, 1: 2.0}), [[1, np.nan, np.nan], [np.nan] * 3])
        assert self.mask.labels.paint(pd.Series([], dtype=float)).isnull().all()

    def test_negative_labels_are_no_rows(self):
        with pytest.raises(ValueError, match="the mask has the label -1"):
            xr.DataArray([0, -1], dims="x").labels.paint(pd.Series([1.0, 2.0]))

    def test_rows_named_by_text_as_those_of_an_anndata(self):
        result = self.image.labels.aggregate(self.mask, "mean").labels.to_dataframe()
        obs = result.reset_index().set_axis(["2", "5", "7"])
        with pytest.raises(TypeError, match="labels are whole numbers") as error:
            self.mask.labels.paint(obs["mean"])
        assert str(error.value) == (
            f"labels are whole numbers, and the index of the values holds {obs.index.to_numpy().dtype}: '2', '5', '7', "
            "...; for an AnnData make the labels the index: table.obs.set_index('label')['mean']; or if the "
            "text is the labels: values.set_axis(values.index.astype(int))"
        )
        for values in (obs.set_index("label")["mean"], obs["mean"].set_axis(obs.index.astype(int))):
            np.testing.assert_array_equal(self.mask.labels.paint(values), [[np.nan, 2, 2], [4.5, 4.5, 6]])

    def test_whole_floats_are_labels(self):
        painted = self.mask.labels.paint(pd.Series([1.0, 2.0], index=[2.0, 7.0]))
        np.testing.assert_array_equal(painted, [[np.nan, 1, 1], [np.nan, np.nan, 2]])


class TestClasses:
    """Classes are painted as `plot.measurement` draws them: by their position among the names."""

    mask = xr.DataArray([[0, 2, 2], [5, 5, 7]], dims=("y", "x"))

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize(
        ("values", "classes", "codes"),
        [
            (pd.Series(["T", "B", "T"], index=[2, 5, 7], dtype="category"), ["B", "T"], {2: 1, 5: 0, 7: 1}),
            (
                pd.Series(pd.Categorical(["T", None, "B"], ["T", "B", "NK"]), index=[2, 5, 7]),
                ["T", "B"],
                {2: 0, 7: 1},
            ),
            (pd.Series([30, 10], index=[2, 7], dtype="category"), ["10", "30"], {2: 1, 7: 0}),
            ({2: "T", 7: "B"}, ["B", "T"], {2: 1, 7: 0}),
            (xr.DataArray(["T", "B"], dims="label", coords={"label": [7, 5]}), ["B", "T"], {7: 1, 5: 0}),
        ],
        ids=["category", "gaps and unused", "numbers", "mapping", "array"],
    )
    def test_painted_by_position(self, values, classes, codes, lazy):
        painted = (self.mask.chunk(x=2) if lazy else self.mask).labels.paint(values)
        assert painted.dtype == np.float64
        assert painted.attrs == {"classes": classes}
        np.testing.assert_array_equal(painted, by_loop(self.mask.values, codes, np.nan, float))

    def test_as_plot_measurement_draws_them(self):
        pytest.importorskip("matplotlib").use("agg")
        from matplotlib.figure import Figure

        values = pd.Series(["T", "B", "NK"], index=[2, 5, 7], dtype="category", name="type")
        ax = self.mask.labels.plot.measurement(values, ax=Figure().subplots())
        painted = self.mask.labels.paint(values)
        np.testing.assert_array_equal(ax.images[0].get_array().filled(np.nan), painted)
        assert painted.name == "type"
        with pytest.raises(
            ValueError, match=r"the values have the default index of pandas, 0 to 2.*set_index\('label'\)\['type'\]"
        ):
            self.mask.labels.plot.measurement(values.reset_index(drop=True), ax=Figure().subplots())

    def test_numbers_stay_numbers(self):
        assert self.mask.labels.paint(pd.Series([3, 4], index=[2, 7])).dtype == np.int64
        assert self.mask.labels.paint(pd.Series([True, False], index=[2, 7])).dtype == bool
        painted = self.mask.labels.paint(pd.Series([30, 40], index=[2, 7], dtype=object))
        np.testing.assert_array_equal(painted, [[0, 30, 30], [0, 0, 40]])
