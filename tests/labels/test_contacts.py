"""Labels that touch, against cc3d, scipy's neighbourhoods and loops over pixels, on whole masks and in any blocks."""

from __future__ import annotations

import collections
import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.ndimage as ndi
import xarray as xr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import INTEGERS, pool
from skimage.segmentation import expand_labels


def named(array: np.ndarray, spacing: Any = None, units: str = "") -> xr.DataArray:
    dims = list("tzyx")[-array.ndim :]
    coords = (
        {}
        if spacing is None
        else {
            dim: (dim, 10 + by * np.arange(n), {"units": units} if units else {})
            for dim, by, n in zip(dims, spacing, array.shape, strict=True)
        }
    )
    return xr.DataArray(array, dims=dims, coords=coords)


def contacts_of(mask: np.ndarray, connectivity: int) -> dict[tuple[int, int], list[int]]:
    """The faces across every axis between every two labels that meet within scipy's neighbourhood, step by step."""
    steps = np.argwhere(ndi.generate_binary_structure(mask.ndim, connectivity)) - 1
    met: dict[tuple[int, int], list[int]] = collections.defaultdict(lambda: [0] * mask.ndim)
    for step in steps.tolist():
        along = list(zip(step, mask.shape, strict=True))
        one = mask[tuple(slice(max(-by, 0), n - max(by, 0)) for by, n in along)]
        two = mask[tuple(slice(max(by, 0), n - max(-by, 0)) for by, n in along)]
        # Every two pixels meet twice, once from either; one of these counts.
        meet = (one != 0) & (two != 0) & (one < two)
        for pair, n in collections.Counter(zip(one[meet].tolist(), two[meet].tolist(), strict=True)).items():
            faces = met[pair]
            if np.count_nonzero(step) == 1:
                faces[int(np.flatnonzero(step)[0])] += n
    return dict(sorted(met.items()))


def assert_are_contacts(found: xr.Dataset, mask: np.ndarray, connectivity: int = 1, spacing: Any = None) -> None:
    expected = contacts_of(mask, connectivity)
    assert found["label"].dtype == found["neighbor"].dtype == mask.dtype
    assert found["faces"].dtype == np.int64
    assert list(zip(found["label"].values.tolist(), found["neighbor"].values.tolist(), strict=True)) == [*expected]
    assert found["faces"].values.tolist() == [sum(faces) for faces in expected.values()]
    measure = {2: "length", 3: "area"}.get(mask.ndim)
    assert [*found.data_vars] == ["faces", *([measure] if measure else [])]
    if measure:
        spacing = [1.0] * mask.ndim if spacing is None else spacing
        sizes = [math.prod(spacing) / by for by in spacing]
        wanted = [sum(n * size for n, size in zip(faces, sizes, strict=True)) for faces in expected.values()]
        np.testing.assert_allclose(found[measure], wanted, rtol=1e-12)


@st.composite
def fields(draw: st.DrawFn) -> np.ndarray:
    """A mask of any integers, at the edges of their dtype too, of labels in many parts."""
    ndim = draw(st.integers(1, 4))
    most = {1: 12, 2: 7, 3: 4, 4: 3}[ndim]
    shape = tuple(draw(st.lists(st.integers(1 if draw(st.integers(0, 9)) else 0, most), min_size=ndim, max_size=ndim)))
    dtype = np.dtype(draw(st.sampled_from(INTEGERS)))
    ids = np.array(draw(st.lists(st.sampled_from(pool(dtype)), min_size=1, max_size=6)), dtype)
    return np.random.default_rng(draw(st.integers(0, 2**32))).choice(ids, shape)


@st.composite
def chunked(draw: st.DrawFn, array: xr.DataArray) -> xr.DataArray:
    """The array in chunks of 0 to 3 pixels."""
    chunks = {}
    for dim, n in array.sizes.items():
        sizes: list[int] = []
        while sum(sizes) < n:
            sizes.append(min(draw(st.integers(0, 3)), n - sum(sizes)))
        chunks[dim] = tuple(sizes) or (0,)
    return array.chunk(chunks)


@pytest.mark.filterwarnings("ignore:the mask (has the time dim|of 0 and 255 has)")
class TestEveryField:
    @settings(max_examples=120, deadline=None)
    @given(st.data())
    def test_is_what_scipys_neighbourhood_finds(self, data):
        mask = data.draw(fields())
        connectivity = data.draw(st.integers(1, mask.ndim))
        spacing = data.draw(st.lists(st.sampled_from([0.3, 1.0, 2.5, -0.7]), min_size=mask.ndim, max_size=mask.ndim))
        array = named(mask, spacing if mask.ndim < 4 else None)
        # A single pixel has no neighbour to be at a distance from.
        apart = [abs(by) if n > 1 else 1.0 for by, n in zip(spacing, mask.shape, strict=True)]
        found = array.labels.contacts(connectivity)
        assert_are_contacts(found, mask, connectivity, apart)

    @settings(max_examples=80, deadline=None)
    @given(st.data())
    def test_any_chunks_and_order_of_dims_give_the_same_bits(self, data):
        mask = data.draw(fields())
        connectivity = data.draw(st.integers(1, mask.ndim))
        spacing = [0.1, 0.7, 1.3, 2.9][: mask.ndim]
        array = named(mask, spacing if mask.ndim < 4 else None)
        turned = array.transpose(*data.draw(st.permutations(array.dims)))
        expected = array.labels.contacts(connectivity)
        xr.testing.assert_identical(turned.labels.contacts(connectivity), expected)
        xr.testing.assert_identical(data.draw(chunked(turned)).labels.contacts(connectivity), expected)

    def test_areas_of_three_kinds_of_faces_are_rounded_alike_in_any_order_of_dims(self):
        array = named(np.random.default_rng(0).integers(0, 6, (9, 10, 11)), (0.1, 0.7, 1.3))
        expected = array.labels.contacts()
        for dims in itertools.permutations(array.dims):
            xr.testing.assert_identical(array.transpose(*dims).labels.contacts(), expected)

    @pytest.mark.parametrize("chunk", [None, 3, 200])
    def test_more_pairs_than_a_table_has_room_for_at_first(self, chunk):
        shape = (30, 40) if chunk == 3 else (90, 120)
        mask = np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape) + 1
        array = named(mask) if chunk is None else named(mask).chunk(chunk)
        found = array.labels.contacts(2)
        assert found.sizes["pair"] == sum(
            (a - i) * (b - j) * (2 if i and j else 1) for a, b in [shape] for i, j in ((0, 1), (1, 0), (1, 1))
        )
        assert (found["label"] < found["neighbor"]).all()
        assert set(found["faces"].values.tolist()) == {0, 1}

    @pytest.mark.parametrize("connectivity", [1, 2])
    def test_lines_longer_than_a_piece_that_is_read_at_once(self, connectivity):
        mask = np.random.default_rng(0).integers(0, 5, (3, 4099))
        assert_are_contacts(named(mask).labels.contacts(connectivity), mask, connectivity)
        chunks = named(mask).chunk(y=2, x=2050)
        xr.testing.assert_identical(chunks.labels.contacts(connectivity), named(mask).labels.contacts(connectivity))

    def test_large_masks_in_memory_are_cut_where_labels_touch(self):
        mask = np.arange(1500 * 1501).reshape(1500, 1501) // 3000 + 1
        found = named(mask).labels.contacts()
        assert found["label"].values.tolist() == [*range(1, mask.max())]
        # A border along a line has as many faces as the line has pixels, and one where it steps down.
        last = mask.max() - 1
        ends = np.arange(1, last + 1) * 3000
        rest = mask.size - ends
        np.testing.assert_array_equal(found["faces"], np.minimum(1501, rest) + (ends % 1501 > 0))
        xr.testing.assert_identical(named(mask).chunk(701).labels.contacts(), found)


class TestAgainstCc3d:
    @pytest.mark.parametrize("connectivity", [1, 2])
    @pytest.mark.parametrize("chunk", [None, 100, 37])
    def test_2d_cells(self, nuclei2d, connectivity, chunk):
        cc3d = pytest.importorskip("cc3d")
        cells = expand_labels(nuclei2d[1].values, 6)
        theirs = cc3d.contacts(cells.astype(np.int32), connectivity={1: 4, 2: 8}[connectivity])
        array = named(cells).chunk(chunk) if chunk else named(cells)
        found = array.labels.contacts(connectivity).to_dataframe()
        assert {*zip(found["label"], found["neighbor"], strict=True)} == {*theirs}
        if connectivity == 1:
            assert (
                dict(zip(zip(found["label"], found["neighbor"], strict=True), found["length"], strict=True)) == theirs
            )

    @pytest.mark.parametrize("chunk", [None, 16])
    def test_3d_cells_of_anisotropic_pixels(self, nuclei3d, chunk):
        cc3d = pytest.importorskip("cc3d")
        cells, spacing = expand_labels(nuclei3d[1].values, 3), (2.0, 0.5, 0.25)
        theirs = cc3d.contacts(cells.astype(np.int32), connectivity=6, anisotropy=spacing)
        array = named(cells, spacing, "um")
        found = (array.chunk(chunk) if chunk else array).labels.contacts()
        ours = zip(found["label"].values.tolist(), found["neighbor"].values.tolist(), strict=True)
        assert dict(zip(ours, found["area"].values.tolist(), strict=True)) == pytest.approx(theirs, rel=1e-5)
        assert found["area"].attrs["units"] == "um**2"


class TestRealNuclei:
    @pytest.mark.parametrize("connectivity", [1, 2])
    @pytest.mark.parametrize("chunk", [None, 64])
    def test_2d(self, nuclei2d, connectivity, chunk):
        mask = expand_labels(nuclei2d[1].values, 3)[:150, :140]
        array = named(mask, (0.5, 0.25)).chunk(chunk) if chunk else named(mask, (0.5, 0.25))
        assert_are_contacts(array.labels.contacts(connectivity), mask, connectivity, (0.5, 0.25))

    @pytest.mark.parametrize("connectivity", [1, 2, 3])
    @pytest.mark.parametrize("chunk", [None, 11])
    def test_3d(self, nuclei3d, connectivity, chunk):
        mask = expand_labels(nuclei3d[1].values, 2)[4:18, 10:40, 10:38]
        array = named(mask, (2.0, 0.5, 0.25)).chunk(chunk) if chunk else named(mask, (2.0, 0.5, 0.25))
        assert_are_contacts(array.labels.contacts(connectivity), mask, connectivity, (2.0, 0.5, 0.25))


class TestUnits:
    MASK = np.array([[1, 1, 2], [1, 3, 2], [0, 3, 0]])

    def test_a_face_across_an_axis_measures_the_spacing_along_the_other(self):
        found = named(self.MASK, (2.0, 0.5), "um").labels.contacts()
        by_pair = found.set_index(pair=("label", "neighbor"))["length"]
        assert by_pair.sel(label=1, neighbor=2).item() == 2.0
        assert by_pair.sel(label=1, neighbor=3).item() == 2.5
        assert by_pair.attrs["units"] == "um"

    def test_without_coordinates_it_is_in_pixels(self):
        assert named(self.MASK).labels.contacts()["length"].attrs["units"] == "pixel"
        assert named(self.MASK[None]).labels.contacts()["area"].attrs["units"] == "pixel**2"

    @pytest.mark.parametrize("ndim", [1, 4])
    @pytest.mark.filterwarnings("ignore:the mask has the time dim")
    def test_masks_of_other_dims_have_faces_alone(self, ndim):
        mask = named(self.MASK.reshape((1,) * (ndim - 2) + (3, 3)) if ndim > 2 else self.MASK[1])
        assert [*mask.labels.contacts()] == ["faces"]

    def test_coordinates_that_have_no_lengths_are_named_with_what_to_do(self):
        uneven = named(self.MASK).assign_coords(x=[0.0, 1.0, 3.0])
        with pytest.raises(ValueError, match=r"along 'x' are not evenly spaced; measure .* mask.drop_vars\(\['x'\]\)"):
            uneven.labels.contacts()
        units = named(self.MASK, (1, 1), "um")
        units["x"].attrs["units"] = "s"
        with pytest.raises(ValueError, match=r"length is .*'y' in 'um', 'x' in 's'.*drop_vars\(\['y', 'x'\]\)"):
            units.labels.contacts()
        movie = named(self.MASK[None]).rename(z="t").assign_coords(t=[0.0])
        says = (
            r"the coordinates along 't' are times.* apart: mask.isel\(t=i\).labels.contacts\(\). Or measure in pixels"
        )
        with pytest.raises(ValueError, match=says):
            movie.labels.contacts()
        assert movie.isel(t=0).labels.contacts().sizes["pair"] == 3
        for mask in (uneven.drop_vars("x"), units.drop_vars(["y", "x"])):
            assert mask.labels.contacts()["length"].attrs["units"] == "pixel"


class TestInput:
    MASK = named(np.array([[1, 1, 2], [1, 3, 2], [0, 3, 0]]))

    @pytest.mark.parametrize("connectivity", [0, 3, -1])
    def test_a_connectivity_that_there_is_not_is_named(self, connectivity):
        with pytest.raises(ValueError, match=rf"from 1 to 2, the number of dims .*, not {connectivity}: 1"):
            self.MASK.labels.contacts(connectivity)

    @pytest.mark.parametrize("connectivity", [True, "1", 1.0, None])
    def test_a_connectivity_that_is_no_whole_number_is_named(self, connectivity):
        with pytest.raises(TypeError, match="connectivity is a whole number from 1 to 2, not "):
            self.MASK.labels.contacts(connectivity)

    def test_what_is_no_mask_is_named(self):
        with pytest.raises(TypeError, match=r"a mask holds integer labels, not float64; .*astype\('int32'\)"):
            (self.MASK * 1.0).labels.contacts()

    def test_times_are_pooled_with_a_warning_that_says_how_to_choose_one(self):
        movie = self.MASK.expand_dims(t=2)
        with pytest.warns(UserWarning, match=r"time dim 't', .* apart: mask.isel\(t=i\).labels.contacts\(\)"):
            movie.labels.contacts()

    def test_a_mask_at_several_scales_is_taken_at_its_finest(self):
        tree = xr.DataTree.from_dict({"s0": self.MASK.to_dataset(name="m"), "s1": self.MASK[::2].to_dataset(name="m")})
        xr.testing.assert_identical(tree.labels.contacts(), self.MASK.labels.contacts())

    @pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0), (2, 3)])
    @pytest.mark.parametrize("chunk", [None, 1])
    def test_where_there_is_nothing_dims_and_dtypes_stay(self, shape, chunk):
        mask = named(np.zeros(shape, np.uint64))
        found = (mask.chunk(chunk) if chunk else mask).labels.contacts(2)
        wanted = self.MASK.astype(np.uint64).labels.contacts(2)
        for name, variable in wanted.variables.items():
            assert (found[name].dims, found[name].dtype, found[name].size) == (variable.dims, variable.dtype, 0)

    def test_blocks_without_pixels_whose_dtype_was_lost_change_no_label(self):
        ids = np.array([[2**63, 2**64 - 1, 2**63]] * 2, np.uint64)
        array = named(ids).chunk(y=(1, 0, 1), x=(0, 3))
        lost = array.data.map_blocks(lambda b: b if b.size else np.zeros(b.shape), meta=np.empty((0, 0), np.uint64))
        assert_are_contacts(array.copy(data=lost).labels.contacts(), ids)

    def test_blocks_that_are_not_as_their_array_says_are_named(self):
        lazy = self.MASK.chunk(1)
        for block, says in (
            (lambda b: b[:0], "a block has the shape"),
            (lambda b: b * 0.5, "block of the mask holds f"),
        ):
            wrong = lazy.copy(data=lazy.data.map_blocks(block, meta=np.empty((0, 0), int)))
            with pytest.raises((TypeError, ValueError), match=says):
                wrong.labels.contacts()

    def test_the_mask_is_not_changed(self):
        values = self.MASK.values.copy()
        values.flags.writeable = False
        mask = named(values)
        mask.labels.contacts()["label"].values[:] = 99
        xr.testing.assert_identical(mask, self.MASK)


class TestResult:
    def test_turns_to_pandas_with_the_labels_first(self):
        table = named(blobs((20, 22), 12)).labels.contacts().to_dataframe()
        assert [*table.columns] == ["label", "neighbor", "faces", "length"]
        assert (table["faces"] == table["length"]).all()

    def test_corners_add_pairs_and_leave_the_others_as_they_are(self):
        mask = named(np.random.default_rng(0).choice(np.r_[np.zeros(40, int), :40], (30, 31))).chunk(9)
        one, two = mask.labels.contacts(), mask.labels.contacts(2)
        assert two.sizes["pair"] > one.sizes["pair"]
        xr.testing.assert_equal(two.isel(pair=two["faces"] > 0), one)
