"""Labels that lie near each other, against distances of all pixels, distance transforms and trees of centroids."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import INTEGERS, LAYOUTS, pool, state
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

import xlabelstats
from xlabelstats.engine import near_labels

DIMS = ("z", "y", "x")


def placed(mask: np.ndarray, spacing: tuple[float, ...] | None = None, units: str = "um") -> xr.DataArray:
    """A mask with coordinates, if there is a spacing."""
    array = xr.DataArray(mask, dims=DIMS[-mask.ndim :])
    for dim, step in zip(array.dims, spacing or (), strict=False):
        array = array.assign_coords({dim: (dim, 7 + step * np.arange(array.sizes[dim]), {"units": units})})
    return array


def table(found: xr.Dataset) -> dict[tuple[int, int], float]:
    """The distances of a result, by the two labels."""
    keys = zip(found["label"].values.tolist(), found["neighbor"].values.tolist(), strict=True)
    return dict(zip(keys, found["distance"].values.tolist(), strict=True))


def of_all_pixels(mask: np.ndarray, spacing: Any, limit: float) -> dict[tuple[int, int], float]:
    """The least distances of all pixels of every two labels, as scipy computes them, up to a limit."""
    pixels = {label: np.argwhere(mask == label) * spacing for label in np.unique(mask).tolist() if label}
    pairs = {(a, b): cdist(pixels[a], pixels[b]).min() for a, b in itertools.combinations(pixels, 2)}
    return {pair: length for pair, length in pairs.items() if length <= limit * (1 + 1e-6)}


def assert_same(found: dict[Any, float], expected: dict[Any, float]) -> None:
    assert list(found) == sorted(expected)
    np.testing.assert_allclose(list(found.values()), [expected[pair] for pair in found], rtol=1e-12)


@pytest.fixture(params=["pixel by pixel", "label by label"])
def way(request, monkeypatch):
    """Each of the two ways in which edges are compared, whatever the distance."""
    monkeypatch.setattr(near_labels, "MOST_OFFSETS", {"pixel by pixel": 10**6, "label by label": 0}[request.param])


CASES = [
    ((60,), None, 3.0),
    ((24, 31), None, 1.0),
    ((24, 31), None, 5.0),
    ((24, 31), (0.5, 2.0), 4.1),
    ((9, 12, 11), None, 3.0),
    ((9, 12, 11), (2.0, 0.3, 0.3), 2.5),
    ((9, 12, 11), (0.7, 0.4, 1.1), 2.0),
]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("shape", "spacing", "limit"), CASES)
def test_distances_are_the_least_of_all_pixels(shape, spacing, limit):
    mask = blobs(shape, 14, seed=2)
    found = placed(mask, spacing).labels.neighbors(limit)
    assert_same(table(found), of_all_pixels(mask, np.array(spacing or 1.0), limit))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("limit", [1, 2.5, 6])
def test_labels_in_many_parts_are_as_far_apart_as_their_nearest_parts(limit):
    rng = np.random.default_rng(0)
    mask = rng.integers(1, 9, (40, 40)) * (rng.random((40, 40)) < 0.03)
    expected = of_all_pixels(mask, 1.0, limit)
    assert (len(expected) > 5) == (limit > 2)
    for chunk in (40, 7):
        assert_same(table(placed(mask).chunk(chunk).labels.neighbors(limit)), expected)


@pytest.mark.usefixtures("way")
def test_real_nuclei_in_3d_are_as_far_apart_as_the_distance_transforms_say(nuclei3d):
    spacing = (2.0, 0.5, 0.75)
    mask = nuclei3d[1]
    ids = mask.labels.ids()
    least = {}
    for label in ids:
        away = distance_transform_edt(mask.values != label, sampling=spacing)
        for other in ids[ids > label]:
            least[int(label), int(other)] = away[mask.values == other].min()
    found = placed(mask.values, spacing).chunk(z=11, y=20, x=23).labels.neighbors(4)
    assert_same(table(found), {pair: length for pair, length in least.items() if length <= 4})


def test_both_ways_give_the_same_bits(nuclei2d, nuclei3d, monkeypatch):
    for mask, spacing in ((nuclei2d[1], (0.3, 0.7)), (nuclei3d[1], (0.9, 0.31, 0.31)), (nuclei2d[1], (0.1, 0.1))):
        results = []
        for most in (10**6, 0):
            monkeypatch.setattr(near_labels, "MOST_OFFSETS", most)
            results.append(placed(mask.values, spacing).labels.neighbors(3))
        assert results[0].sizes["pair"] > 50
        xr.testing.assert_identical(*results)


def test_a_large_distance_is_exact_too(nuclei2d):
    mask = nuclei2d[1]
    found = table(mask.chunk(150).labels.neighbors(120))
    label = int(mask.labels.ids()[40])
    away = distance_transform_edt(mask.values != label)
    expected = {other: away[mask.values == other].min() for other in mask.labels.ids().tolist() if other != label}
    lengths = {sum(pair) - label: length for pair, length in found.items() if label in pair}
    assert lengths == pytest.approx({other: length for other, length in expected.items() if length <= 120})


@pytest.mark.parametrize("distance", [10**4, 1e300])
def test_a_distance_beyond_the_mask_makes_all_labels_neighbors(distance):
    mask = blobs((20, 25), 6, seed=1)
    expected = of_all_pixels(mask, 1.0, 100)
    assert len(expected) == math.comb(np.unique(mask).size - 1, 2)
    for chunk in (25, 6):
        assert_same(table(placed(mask).chunk(chunk).labels.neighbors(distance)), expected)


class TestTouching:
    def test_it_is_one_pixel(self):
        mask = placed(np.array([[1, 1, 2], [0, 3, 0]]), (0.7, 0.2))
        assert table(mask.labels.neighbors(0.2)) == {(1, 2): pytest.approx(0.2)}
        assert table(mask.labels.neighbors(0.7)) == pytest.approx({(1, 2): 0.2, (1, 3): 0.7})

    def test_corners_are_further(self):
        mask = placed(np.array([[1, 0], [0, 2]]))
        assert table(mask.labels.neighbors(1)) == {}
        assert table(mask.labels.neighbors(1.5)) == {(1, 2): math.sqrt(2)}

    def test_no_label_is_its_own_neighbor(self):
        assert table(placed(np.array([[5, 0, 5]])).labels.neighbors(9)) == {}


def test_labels_at_the_very_distance_are_neighbors_whatever_the_rounding():
    for step in (0.1, 0.3, 0.7, 1 / 3):
        line = np.zeros((1, 12), int)
        line[0, [0, 3, 10]] = 1, 2, 3
        mask = xr.DataArray(line, dims=("y", "x"), coords={"x": step * np.arange(12)})
        for between in ("edges", "centroids"):
            for distance, pairs in ((3 * step, 1), (0.3 * (step / 0.1), 1), (7 * step, 2), (2.999 * step, 0)):
                assert mask.labels.neighbors(distance, between).sizes["pair"] == pairs
        single = mask.assign_coords(x=mask["x"].astype("f4"))
        assert single.labels.neighbors(3 * step).sizes["pair"] == 1


class TestCentroids:
    def test_they_are_those_of_a_tree(self, nuclei2d):
        mask = placed(nuclei2d[1].values, (0.5, 0.25)).chunk(100)
        centroids = mask.labels.center_of_mass().compute()
        pairs = cKDTree(centroids).query_pairs(12)
        ids = centroids["label"].values.tolist()
        expected = {(ids[a], ids[b]): math.dist(*centroids.values[[a, b]]) for a, b in pairs}
        assert len(expected) > 50
        assert_same(table(mask.labels.neighbors(12, between="centroids")), expected)

    def test_infinity_takes_all(self, nuclei3d):
        mask = nuclei3d[1]
        n = mask.labels.ids().size
        found = mask.labels.neighbors(np.inf, "centroids")
        assert found.sizes["pair"] == math.comb(n, 2)
        xr.testing.assert_allclose(found, mask.labels.neighbors(1e4, "centroids"), rtol=0, atol=0)

    def test_zero_takes_those_at_one_place(self):
        mask = placed(np.array([[1, 2, 2, 1, 3]]))
        assert table(mask.labels.neighbors(0, "centroids")) == {(1, 2): 0.0}
        assert table(mask.labels.neighbors(0)) == {}

    def test_a_remembered_scan_is_not_done_again(self, nuclei2d):
        computed = []
        pixels = da.from_array(nuclei2d[1].values, chunks=200).map_blocks(
            lambda b: (computed.append(1), b)[1], dtype=int
        )
        mask = placed(pixels)
        mask.labels.scan()
        before = len(computed)
        mask.labels.neighbors(30, "centroids")
        assert len(computed) == before


@st.composite
def fields(draw: st.DrawFn) -> tuple[np.ndarray, tuple[float, ...] | None, list[tuple[int, ...]], float]:
    """A mask, its spacing, its chunks and a distance."""
    ndim = draw(st.integers(1, 3))
    shape = tuple(draw(st.integers(1, (40, 14, 7)[ndim - 1])) for _ in range(ndim))
    dtype = np.dtype(draw(st.sampled_from(INTEGERS)))
    ids = draw(st.lists(st.sampled_from(pool(dtype)), min_size=1, max_size=6, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask = np.array(ids, dtype)[rng.integers(0, len(ids), shape)]
    mask[rng.random(shape) < draw(st.sampled_from([0.0, 0.5, 0.95, 1.0]))] = 0
    steps = st.sampled_from([0.1, 0.5, 1.0, 1.7])
    spacing = draw(st.none() | st.tuples(*[steps] * ndim))
    chunks = []
    for size in shape:
        cuts = draw(st.sets(st.integers(0, size), max_size=size if draw(st.booleans()) else 2))
        edges = [0, *sorted(cuts), size]
        chunks.append(tuple(b - a for a, b in itertools.pairwise(edges)))
    return mask, spacing, chunks, draw(st.sampled_from([0, 0.3, 1, 1.5, 2, 3.4, 20]))


@pytest.mark.filterwarnings("ignore:the mask of 0 and 255 has")
@settings(max_examples=60, deadline=None)
@given(fields(), st.data())
def test_any_chunks_and_dim_order_give_the_same_bits(field, data):
    mask, spacing, chunks, distance = field
    whole = placed(mask, spacing)
    order = data.draw(st.permutations(whole.dims))
    lazy = xr.DataArray(da.from_array(mask, chunks=tuple(chunks)), dims=whole.dims, coords=whole.coords).transpose(
        *order
    )
    expected = of_all_pixels(mask, np.array(spacing or 1.0), distance)
    for most in (near_labels.MOST_OFFSETS, 0):
        with pytest.MonkeyPatch.context() as patch, dask.config.set(scheduler="synchronous"):
            patch.setattr(near_labels, "MOST_OFFSETS", most)
            found = whole.labels.neighbors(distance)
            assert_same(table(found), expected)
            xr.testing.assert_identical(lazy.labels.neighbors(distance), found)
    centroids = whole.labels.neighbors(distance, "centroids")
    xr.testing.assert_identical(lazy.labels.neighbors(distance, "centroids"), centroids)
    for pairs in (found, centroids):
        assert pairs["label"].dtype == pairs["neighbor"].dtype == mask.dtype
        assert (pairs["label"] < pairs["neighbor"]).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_in_memory_gives_the_same_and_the_mask_stays_as_it_is(layout, nuclei2d):
    mask = nuclei2d[1]
    given_mask = mask.copy(data=LAYOUTS[layout](mask.values))
    before = state(given_mask)
    for between in ("edges", "centroids"):
        found = given_mask.labels.neighbors(15, between)
        xr.testing.assert_identical(found, mask.labels.neighbors(15, between))
    assert state(given_mask) == before


def test_large_masks_in_memory_are_cut_without_a_trace(nuclei2d, monkeypatch):
    from xlabelstats.engine import local

    mask = nuclei2d[1]
    expected = mask.labels.neighbors(9)
    monkeypatch.setattr(local, "CUT_PIXELS", 1000)
    monkeypatch.setattr(local, "STRETCH_PIXELS", 4000)
    xr.testing.assert_identical(mask.labels.neighbors(9), expected)
    xr.testing.assert_identical(mask.labels.neighbors(9).drop_attrs(), mask.T.labels.neighbors(9).drop_attrs())


def test_the_result_says_what_it_is(nuclei2d):
    found = placed(nuclei2d[1].values, (0.5, 0.5)).labels.neighbors(5)
    assert set(found.sizes) == {"pair"}
    assert list(found.coords) == ["label", "neighbor"]
    assert found["distance"].dtype == np.float64
    assert found["distance"].attrs == {"long_name": "distance of the nearest pixels", "within": 5.0, "units": "um"}
    assert list(found.to_dataframe()) == ["label", "neighbor", "distance"]
    assert nuclei2d[1].labels.neighbors(1, "centroids")["distance"].attrs["units"] == "pixel"


@pytest.mark.parametrize("shape", [(0, 5), (4, 5), (1,)])
@pytest.mark.parametrize("between", ["edges", "centroids"])
def test_no_objects_have_no_neighbors(shape, between):
    for mask in (placed(np.zeros(shape, np.uint16)), placed(da.zeros(shape, dtype=np.uint16, chunks=2))):
        found = mask.labels.neighbors(3, between)
        assert dict(found.sizes) == {"pair": 0}
        assert found["label"].dtype == np.uint16
        assert found["distance"].dtype == np.float64


def test_a_tree_of_scales_gives_its_finest(nuclei2d):
    mask = nuclei2d[1]
    tree = xr.DataTree.from_dict(
        {"scale0": mask.to_dataset(name="image"), "scale1": mask[::2, ::2].to_dataset(name="image")}
    )
    xr.testing.assert_identical(tree.labels.neighbors(4), mask.labels.neighbors(4))


def test_a_time_dim_is_warned_of_and_a_time_coordinate_is_an_error(nuclei2d):
    series = nuclei2d[1].expand_dims(t=2)
    with pytest.warns(UserWarning, match=r"time dim 't'.*mask.isel\(t=i\).labels.neighbors"):
        series.labels.neighbors(3)
    hours = series.assign_coords(t=np.array([0, 1], "m8[h]"))
    with (
        pytest.warns(UserWarning, match="time dim 't'"),
        pytest.raises(ValueError, match=r"distance is a length.*'t' are times.*isel\(t=i\).*drop_vars\(\['t'\]\)"),
    ):
        hours.labels.neighbors(3)


MASK = placed(np.array([[1, 0, 2]]), (1.0, 1.0))

# The call, the error and what it says.
ERRORS: dict[str, tuple[Any, type[Exception], str]] = {
    "negative": (lambda: MASK.labels.neighbors(-1), ValueError, "distance is 0 or more, not -1"),
    "NaN": (lambda: MASK.labels.neighbors(np.nan), ValueError, "distance is 0 or more, not nan"),
    "text": (lambda: MASK.labels.neighbors("10"), TypeError, "distance is a number, .*not '10'"),
    "bool": (lambda: MASK.labels.neighbors(True), TypeError, "distance is a number, .*not True"),
    "several": (lambda: MASK.labels.neighbors([1, 2]), TypeError, r"distance is a number, .*not \[1, 2\]"),
    "infinite": (
        lambda: MASK.labels.neighbors(np.inf),
        ValueError,
        "distance is infinite.*give the largest distance.*between='centroids'",
    ),
    "between": (
        lambda: MASK.labels.neighbors(1, "centroid"),
        ValueError,
        "unknown value of between 'centroid', did you mean 'centroids'",
    ),
    "between nothing": (
        lambda: MASK.labels.neighbors(1, None),
        ValueError,
        "unknown value of between 'None'; there are: edges, centroids",
    ),
    "uneven": (
        lambda: MASK.assign_coords(x=[0.0, 1.0, 3.0]).labels.neighbors(1),
        ValueError,
        "along 'x' are not evenly spaced; measure in pixels: mask.drop_vars",
    ),
    "units": (
        lambda: MASK.assign_coords(x=("x", [0.0, 1.0, 2.0], {"units": "mm"})).labels.neighbors(1),
        ValueError,
        "'y' in 'um', 'x' in 'mm'; convert them to one, or measure in pixels: mask.drop_vars",
    ),
    "floats": (lambda: (MASK * 1.0).labels.neighbors(1), TypeError, "integer labels, not float64"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_what_cannot_be_measured_says_why(case):
    call, kind, says = ERRORS[case]
    with pytest.raises(kind, match=says):
        call()


def test_a_store_that_cannot_be_read_is_named(nuclei2d, tmp_path):
    import zarr

    mask = nuclei2d[1].values.astype(np.int32)
    stored = zarr.create_array(tmp_path / "mask.zarr", data=mask, chunks=(200, 200), compressors=None)
    (tmp_path / "mask.zarr" / "c" / "1" / "1").write_bytes(b"short")
    with pytest.raises(Exception) as error:  # noqa: PT011 - of zarr, whatever that raises
        placed(da.from_zarr(stored)).labels.neighbors(3)
    assert "mask: chunk (1, 1)" in "".join(error.value.__notes__)


def test_no_task_holds_the_pairs_of_all_blocks(nuclei2d):
    from dask.callbacks import Callback
    from dask.sizeof import sizeof

    sizes = []
    mask = placed(np.tile(np.arange(1, 65).repeat(4).reshape(8, 32).repeat(4, axis=0), (8, 8))).chunk(32)
    places = np.arange(64).reshape(8, 8).repeat(32, axis=0).repeat(32, axis=1)
    mask = mask + 100 * placed(places)
    with Callback(posttask=lambda key, value, *_: sizes.append(sizeof(value))), dask.config.set(scheduler="sync"):
        found = mask.labels.neighbors(12)
    assert found.nbytes > 1_000_000
    assert max(sizes) < found.nbytes / 2


def test_the_docstring_names_what_there_is():
    doc = str(xlabelstats.LabelsAccessor.neighbors.__doc__)
    assert all(f'``"{name}"``' in doc for name in ("edges", "centroids"))


def test_tables_of_pairs_are_pandas_tables(nuclei2d):
    pairs = nuclei2d[1].labels.neighbors(5)
    with pytest.raises(ValueError, match=r"rows are pairs .* result.to_dataframe\(\)"):
        pairs.labels.to_dataframe()


@pytest.mark.parametrize(("name", "ours"), [("neighbours", "neighbors(...)"), ("grow", "expand(...)")])
def test_other_names_of_calls_are_answered_with_ours(nuclei2d, name, ours):
    with pytest.raises(AttributeError, match=re.escape(f"it is mask.labels.{ours}")):
        getattr(nuclei2d[1].labels, name)


@pytest.mark.parametrize("arguments", [(), (10,), ("edges",)])
def test_a_mask_in_place_of_the_distance_is_told_where_it_goes(nuclei2d, arguments):
    image, mask = nuclei2d
    for array in (image, image.astype(float)):
        for taken in (mask, mask.chunk(100), mask.values):
            with pytest.raises(TypeError, match=r"distance is a number, .*: mask\.labels\.neighbors\(10\)") as error:
                array.labels.neighbors(taken, *arguments)
            assert len(str(error.value)) < 200
