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
    with pytest.raises(ValueError, match=r"the values do not say whose they are; values\.assign_coords"):
        mask.labels.paint(xr.DataArray([1.0, 2.0], dims="label"))
    with pytest.raises(ValueError, match="the values have no dim 'label'; they have"):
        mask.labels.paint(xr.DataArray([1.0, 2.0], dims="x"))
    with pytest.raises(ValueError, match="labels are each given once, but 3 is given 2 times"):
        mask.labels.paint(pd.Series([1.0, 2.0], index=[3, 3]))
    with pytest.raises(TypeError, match="labels are a 1-D sequence of integers"):
        mask.labels.paint({"a": 1.0})
    with pytest.raises(TypeError, match="values to paint are numbers, not"):
        mask.labels.paint({1: "red"})
    with pytest.raises(ValueError, match="the values and the mask both have a dim 'x'; rename it in the values"):
        mask.labels.paint(xr.DataArray([[1.0]], dims=("label", "x"), coords={"label": [1]}))
    with pytest.raises(ValueError, match="no integer dtype holds both values of uint64 and fill_value=-1"):
        mask.labels.paint(xr.DataArray(np.ones(1, "u8"), dims="label", coords={"label": [1]}), -1)
    with pytest.raises(TypeError, match="fill_value is a number, not 'none'"):
        mask.labels.paint({1: 2.0}, fill_value="none")
