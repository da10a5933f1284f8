"""The watershed against scikit-image's, component by component, and against itself on one chunk."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import even_chunks
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.segmentation import watershed as flood

from xlabelstats.pipeline import gaussian, threshold, watershed


def clumps(shape: tuple[int, ...], seed: int = 0, sigma: float = 1.7) -> np.ndarray:
    """Smoothed noise: clumps with waists."""
    noise = np.random.default_rng(seed).random(shape)
    return (ndimage.gaussian_filter(noise, sigma) > 0.5).astype(np.uint8)


def by_scikit_image(
    binary: np.ndarray, min_distance: int, connectivity: int, image: np.ndarray | None = None, spacing: object = None
) -> np.ndarray:
    """What scikit-image makes of the whole array in one go."""
    structure = ndimage.generate_binary_structure(binary.ndim, connectivity)
    distance = ndimage.distance_transform_edt(binary, sampling=spacing)
    parts = ndimage.label(binary, structure)[0]
    peaks = peak_local_max(distance, min_distance=min_distance, labels=parts, exclude_border=False)
    markers = np.zeros(binary.shape, int)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return flood(-(distance if image is None else image), markers, connectivity=structure, mask=binary > 0)


def same_split(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two masks are equal up to numbering."""
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return pairs.shape[1] == np.unique(a).size == np.unique(b).size


def share_that_differs(found: np.ndarray, expected: np.ndarray, binary: np.ndarray) -> float:
    """The part of the foreground in another object, when objects are matched by the pixels they share most."""
    match = np.zeros(expected.max() + 1, int)
    for label in range(1, expected.max() + 1):
        match[label] = np.bincount(found[expected == label]).argmax()
    return float((match[expected] != found).sum() / max(binary.sum(), 1))


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, tuple[tuple[int, ...], ...], int, int]:
    ndim = draw(st.integers(2, 3))
    shape = tuple(draw(st.integers(1, 40 if ndim == 2 else 16)) for _ in range(ndim))
    chunks = []
    for size in shape:
        cuts = sorted(draw(st.sets(st.integers(1, max(size - 1, 1)), max_size=3)) if size > 1 else [])
        chunks.append(tuple(b - a for a, b in zip([0, *cuts], [*cuts, size], strict=True)))
    return (
        clumps(shape, draw(st.integers(0, 10**6)), draw(st.sampled_from([0.8, 1.7]))),
        tuple(chunks),
        draw(st.integers(1, 5)),
        draw(st.integers(1, ndim)),
    )


class TestSplit:
    @given(cases())
    @settings(max_examples=60, deadline=None)
    def test_the_chunks_have_no_influence(self, case) -> None:
        binary, chunks, min_distance, connectivity = case
        whole = watershed(binary, min_distance=min_distance, connectivity=connectivity)
        lazy = watershed(da.from_array(binary, chunks=chunks), min_distance=min_distance, connectivity=connectivity)
        assert lazy.chunks == even_chunks(da.empty(binary.shape, chunks=chunks))
        np.testing.assert_array_equal(lazy.compute(scheduler="synchronous"), whole)

    @given(cases())
    @settings(max_examples=40, deadline=None)
    def test_every_foreground_pixel_has_an_id_and_ids_have_no_gaps(self, case) -> None:
        binary, _, min_distance, connectivity = case
        found = watershed(binary, min_distance=min_distance, connectivity=connectivity)
        np.testing.assert_array_equal(found > 0, binary > 0)
        np.testing.assert_array_equal(np.unique(found[found > 0]), np.arange(1, found.max() + 1))

    @pytest.mark.parametrize(("shape", "connectivity"), [((80, 70), 1), ((80, 70), 2), ((30, 34, 38), 1)])
    def test_each_component_is_split_as_scikit_image_splits_it(self, shape, connectivity) -> None:
        binary = clumps(shape, seed=3)
        found = watershed(binary, min_distance=2, connectivity=connectivity)
        components, n = ndimage.label(binary, np.ones((3,) * binary.ndim))
        assert n > 5
        for component, box in enumerate(ndimage.find_objects(components), 1):
            grown = tuple(slice(max(along.start - 1, 0), along.stop + 1) for along in box)
            alone = components[grown] == component
            expected = by_scikit_image(alone.astype(np.uint8), 2, connectivity)
            assert same_split(np.where(alone, found[grown], 0), expected)

    @pytest.mark.parametrize("connectivity", [1, 2])
    def test_only_ties_differ_from_scikit_image_on_the_whole(self, connectivity, capsys) -> None:
        binary = clumps((300, 300), seed=5, sigma=2.5)
        found = watershed(binary, min_distance=4, connectivity=connectivity)
        expected = by_scikit_image(binary, 4, connectivity)
        assert found.max() == expected.max()
        share = share_that_differs(found, expected, binary)
        with capsys.disabled():
            print(f"\n{share:.2%} of the foreground pixels are ties that scikit-image gives to another object")
        assert share < 0.02

    def test_real_nuclei(self, nuclei2d) -> None:
        from skimage.filters import threshold_otsu

        binary = (nuclei2d[0] > threshold_otsu(nuclei2d[0].to_numpy())).astype(np.uint8)
        found = watershed(binary.chunk(y=100, x=130), min_distance=7)
        expected = by_scikit_image(binary.to_numpy(), 7, 1)
        assert int(found.max()) == expected.max()
        assert share_that_differs(found.to_numpy(), expected, binary.to_numpy()) < 0.01

    def test_two_discs_are_two_objects(self) -> None:
        y, x = np.ogrid[:40, :60]
        binary = ((y - 20) ** 2 + (x - 20) ** 2 < 144) | ((y - 20) ** 2 + (x - 39) ** 2 < 144)
        found = watershed(da.from_array(binary, chunks=17), min_distance=6).compute()
        assert found.max() == 2
        assert found[20, 15] == 1
        assert found[20, 45] == 2
        assert watershed(binary, min_distance=25).max() == 1

    def test_an_image_moves_the_border_to_its_dark_valley(self) -> None:
        y, x = np.ogrid[:40, :60]
        binary = ((y - 20) ** 2 + (x - 20) ** 2 < 144) | ((y - 20) ** 2 + (x - 39) ** 2 < 144)
        image = np.where(x == 35, 10, 100) * np.ones_like(binary, dtype=np.uint16)
        named = xr.DataArray(image, dims=("y", "x"))
        for mask, picture in ((binary, image), (xr.DataArray(binary, dims=("y", "x")), named)):
            found = np.asarray(watershed(mask, picture, min_distance=6))
            assert (found[20, 10:35] == 1).all()
            assert (found[20, 36:50] == 2).all()
        lazy = watershed(xr.DataArray(binary, dims=("y", "x")).chunk(y=11, x=23), named.T, min_distance=6)
        np.testing.assert_array_equal(lazy, found)

    def test_distances_in_coordinate_units(self) -> None:
        """Two balls that touch along z, where pixels are four times as far apart."""
        binary = clumps((12, 40, 40), seed=2)
        image = xr.DataArray(binary, dims=("z", "y", "x"), coords={"z": np.arange(12) * 4.0})
        found = watershed(image.chunk(z=5, y=13), min_distance=2).to_numpy()
        np.testing.assert_array_equal(found, watershed(binary, min_distance=2, spacing=(4, 1, 1)))
        np.testing.assert_array_equal(found, watershed(image, min_distance=2, spacing={"z": 4}))
        expected = by_scikit_image(binary, 2, 1, spacing=(4, 1, 1))
        assert found.max() == expected.max() != watershed(binary, min_distance=2).max()
        assert share_that_differs(found, expected, binary) < 0.02

    def test_at_the_border_of_the_image_an_object_is_not_cut_short(self) -> None:
        y, x = np.ogrid[:14, :60]
        binary = (y**2 + (x - 20) ** 2 < 144) | (y**2 + (x - 39) ** 2 < 144)
        found = watershed(binary, min_distance=6)
        assert found.max() == 2
        np.testing.assert_array_equal(found, by_scikit_image(binary, 6, 1))

    def test_foreground_everywhere_is_one_object(self) -> None:
        np.testing.assert_array_equal(watershed(np.ones((5, 6), np.uint8), min_distance=1), np.ones((5, 6)))

    def test_nothing_in_the_foreground(self) -> None:
        assert not watershed(np.zeros((5, 6), np.uint8), min_distance=1).any()
        lazy = watershed(da.zeros((5, 6), dtype=np.uint8, chunks=3), min_distance=1)
        assert lazy.dtype == np.int32
        assert not lazy.compute().any()

    @pytest.mark.parametrize("shape", [(0,), (0, 5), (3, 0, 4)])
    def test_no_pixels_are_as_lazy_as_any(self, shape) -> None:
        lazy = watershed(da.zeros(shape, dtype=np.uint8), min_distance=1)
        assert (lazy.shape, lazy.dtype) == (shape, np.int32)
        assert lazy.compute().shape == shape
        assert isinstance(watershed(np.zeros(shape, np.uint8), min_distance=1), np.ndarray)


class TestComplaints:
    def test_a_component_that_is_too_large_is_named_with_remedies(self) -> None:
        binary = np.zeros((20, 30), np.uint8)
        binary[0, 0] = 1
        binary[5:15, 10:30] = 1
        for image in (binary, da.from_array(binary, chunks=8)):
            with pytest.raises(
                ValueError, match=r"component 2 \(y 5 to 14, x 10 to 29\) has 200 pixels, more than the 199"
            ) as e:
                watershed(image, min_distance=2, max_component_size=199)
            for remedy in ("higher threshold", "an opening", "larger max_component_size"):
                assert remedy in str(e.value)
            assert watershed(image, min_distance=2, max_component_size=200).max() >= 2

    def test_a_thin_component_in_a_huge_box_is_too_large(self) -> None:
        binary = np.eye(200, dtype=np.uint8)
        with pytest.raises(ValueError, match="has 200 pixels in a box of 40000, more than the box of 16000"):
            watershed(binary, min_distance=2, max_component_size=1000)

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"min_distance": 0}, ValueError, "min_distance is at least 1"),
            ({"min_distance": 2.5}, TypeError, "min_distance is a whole number of pixels, not 2.5"),
            ({"min_distance": 2, "max_component_size": 0}, ValueError, "max_component_size is at least 1"),
            ({"min_distance": 2, "connectivity": 4}, ValueError, "connectivity is between 1 and 2"),
            ({"min_distance": 2, "spacing": -1}, ValueError, "spacing is positive"),
            ({"min_distance": 2, "image": np.zeros((3, 4))}, ValueError, "differ in size"),
            ({"min_distance": 2, "image": np.zeros((2, 4, 4))}, ValueError, "has the dim 'z'"),
        ],
    )
    def test_what_is_wrong(self, options, error, message) -> None:
        with pytest.raises(error, match=message):
            watershed(np.ones((4, 4), np.uint8), **options)

    def test_uneven_coordinates(self) -> None:
        binary = xr.DataArray(np.ones((2, 3), np.uint8), dims=("y", "x"), coords={"x": [0, 1, 5]})
        with pytest.raises(ValueError, match="along 'x' are not evenly spaced; give spacing="):
            watershed(binary, min_distance=1)

    def test_an_image_that_changes_meanwhile_is_noticed(self) -> None:
        source = clumps((30, 30))
        lazy = da.zeros((60, 30), dtype=np.uint8, chunks=30).map_blocks(lambda _: source, dtype=np.uint8)
        found = watershed(lazy, min_distance=1)
        source[:] = np.roll(source, 7)
        with pytest.raises(RuntimeError, match="changed"):
            found.compute(scheduler="synchronous")

    @pytest.mark.parametrize("change", [lambda b: np.roll(b, 2, axis=1), lambda b: b.T, lambda b: b[::-1]])
    def test_a_store_that_is_rewritten_is_noticed(self, tmp_path, change) -> None:
        """Whether a clump is one object or several, also if there are as many clumps, of as many pixels."""
        single, several = np.zeros((2, 24, 24), np.uint8)
        single[2:7, 3:9] = 1
        several[2:9, 3:9] = several[2:9, 9:16] = 1
        several[2:4, 9] = several[7:9, 9] = 0
        for i, before in enumerate((single, several)):
            stored = zarr.create_array(tmp_path / f"{i}.zarr", data=before, chunks=(24, 24))
            found = watershed(da.from_zarr(stored), min_distance=2)
            np.testing.assert_array_equal(found, watershed(before, min_distance=2))
            assert found.max() == 1 + i
            stored[:] = change(before)
            with pytest.raises(RuntimeError, match="has changed since"):
                found.compute()


class TestWhatComesBack:
    def test_numpy_stays_numpy_and_chunks_stay_whatever_the_image_is(self) -> None:
        binary = clumps((30, 20))
        image = np.random.default_rng(0).random((30, 20))
        whole = watershed(binary, image, min_distance=2)
        from_lazy = watershed(binary, da.from_array(image, chunks=7), min_distance=2)
        assert isinstance(from_lazy, np.ndarray)
        np.testing.assert_array_equal(from_lazy, whole)
        lazy = watershed(da.from_array(binary, chunks=11), da.from_array(image, chunks=7), min_distance=2)
        assert lazy.chunks == ((11, 11, 8), (11, 9))
        np.testing.assert_array_equal(lazy, whole)

    def test_of_a_part_of_what_is_stored(self, tmp_path) -> None:
        """Which dask reads by tasks of its own, before any step."""
        binary = np.zeros((40, 40), np.uint8)
        binary[5:15, 5:35] = binary[25:35, 5:12] = 9
        stored = zarr.create_array(tmp_path / "image.zarr", data=binary, chunks=(20, 20))
        lazy = xr.DataArray(da.from_zarr(stored), dims=("y", "x"))
        for part in (lazy, lazy.isel(x=slice(5, None)), gaussian(lazy, 1)):
            for value in range(4):
                expected = watershed(threshold(part.compute(), value), min_distance=2)
                found = watershed(threshold(part, value), part, min_distance=2)
                assert int(found.max()) == int(expected.max())
                np.testing.assert_array_equal(watershed(threshold(part, value), min_distance=2), expected)
