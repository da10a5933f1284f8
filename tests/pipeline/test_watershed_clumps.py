"""The watershed and its loops against scipy and scikit-image, applied to every clump by itself: the same numbers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.segmentation import watershed as flood

from xlabelstats.pipeline import watershed
from xlabelstats.pipeline.clumps import Clumps, Layout, Split, peaks_of
from xlabelstats.pipeline.foreground import find_components


def boxes_of(binary: np.ndarray) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
    """The box of every clump with the pixels next to it, and which of these are of the clump."""
    labels, _ = ndimage.label(binary, np.ones((3,) * binary.ndim))
    for clump, box in enumerate(ndimage.find_objects(labels), 1):
        grown = tuple(slice(max(along.start - 1, 0), along.stop + 1) for along in box)
        yield grown, labels[grown] == clump


def distance_of(clump: np.ndarray, spacing: Any = None) -> np.ndarray:
    return np.zeros(clump.shape) if clump.all() else ndimage.distance_transform_edt(clump, sampling=spacing)


def peaks_by_scikit_image(clump: np.ndarray, min_distance: int, connectivity: int, spacing: Any = None) -> np.ndarray:
    """The peaks of a clump, one at least in each part, as indices of its flattened box."""
    if clump.all():
        return np.zeros(1, int)
    distance = distance_of(clump, spacing)
    parts, n = ndimage.label(clump, ndimage.generate_binary_structure(clump.ndim, connectivity))
    peaks = peak_local_max(distance, min_distance=min_distance, labels=parts, exclude_border=False)
    flat = np.ravel_multi_index(tuple(peaks.T), clump.shape)
    bare = sorted({*range(1, n + 1)} - {*parts.ravel()[flat].tolist()})
    return np.sort([*flat, *(np.argmax(np.where(parts == part, distance, -1)) for part in bare)]).astype(int)


def by_scikit_image(
    binary: np.ndarray, image: np.ndarray | None, min_distance: int, connectivity: int, spacing: Any = None
) -> np.ndarray:
    """The objects of all clumps, numbered through."""
    objects = np.zeros(binary.shape, int)
    structure = ndimage.generate_binary_structure(binary.ndim, connectivity)
    for box, clump in boxes_of(binary):
        peaks = peaks_by_scikit_image(clump, min_distance, connectivity, spacing)
        markers = np.zeros(clump.shape, int)
        markers.flat[peaks] = np.arange(1, peaks.size + 1) + objects.max()
        height = distance_of(clump, spacing)
        if image is not None:
            height = np.nan_to_num(image[box].astype(float), nan=-np.inf)
        objects[box] += flood(-height, markers, connectivity=structure, mask=clump)
    return objects


class Case(NamedTuple):
    binary: np.ndarray
    image: np.ndarray | None
    chunks: tuple[tuple[int, ...], ...]
    options: dict[str, Any]


@st.composite
def cases(draw: st.DrawFn, exact: bool = True) -> Case:
    """Fields of one to three dims, with clumps of many shapes; distances that round nowhere if they are ``exact``."""
    ndim = draw(st.integers(1, 3))
    shape = tuple(draw(st.integers(1, {1: 90, 2: 40, 3: 16}[ndim])) for _ in range(ndim))
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    field = random.random(shape)
    kind = draw(st.sampled_from(["noise", "smooth", "pierced", "full"]))
    if kind != "full":
        field = field if kind == "noise" else ndimage.gaussian_filter(field, draw(st.sampled_from([0.8, 1.7, 2.5])))
        binary = field > np.quantile(field, draw(st.sampled_from([0.1, 0.3, 0.5, 0.7])))
        if kind == "pierced":
            binary &= random.random(shape) < 0.97
    else:
        binary = np.ones(shape, bool)
    image = None
    if draw(st.booleans()):
        image = random.random(shape) * 5
        if draw(st.booleans()):
            image = np.round(image)
        for value in (np.nan, np.inf, -np.inf):
            if draw(st.booleans()):
                image[random.random(shape) < 0.1] = value
        if np.isfinite(image).all():
            image = image.astype(draw(st.sampled_from(["u1", ">i4", "?", "f2"])))
    options = {"min_distance": draw(st.integers(1, 6)), "connectivity": draw(st.integers(1, ndim))}
    if draw(st.booleans()):
        some = [0.25, 0.5, 1.0, 2.0, 4.0] if exact else [0.1, 0.325, 0.7, 3.3]
        options["spacing"] = [draw(st.sampled_from(some)) for _ in range(ndim)]
    chunks = []
    for size in shape:
        cuts = sorted(draw(st.sets(st.integers(1, max(size - 1, 1)), max_size=3)) if size > 1 else [])
        chunks.append(tuple(b - a for a, b in zip([0, *cuts], [*cuts, size], strict=True)))
    return Case(binary.astype(draw(st.sampled_from(["?", "u1", "i8"]))), image, tuple(chunks), options)


def layout_of(binary: np.ndarray, **options: Any) -> tuple[Layout, Clumps, Split]:
    """The clumps of a whole image as the loops read them."""
    foreground = (binary != 0).astype(np.uint8)
    origin = (0,) * binary.ndim
    found = find_components(foreground, binary.ndim).extents(origin, binary.shape, boxes=True)
    ids = np.arange(1, found.first.size + 1)
    clumps = Clumps(ids, found.count, found.low, found.high, found.low, found.first)
    spacing = tuple(options.get("spacing", (1.0,) * binary.ndim))
    split = Split(options.get("min_distance", 1), options.get("connectivity", 1), spacing, binary.shape)
    return Layout(foreground, origin, clumps, split), clumps, split


class TestTheWhole:
    @given(cases())
    @settings(max_examples=150, deadline=None)
    def test_every_clump_is_split_and_numbered_as_scikit_image_does_it(self, case) -> None:
        binary, image, _, options = case
        found = watershed(binary, image, **options)
        np.testing.assert_array_equal(found, by_scikit_image(binary, image, **options))

    @given(cases(exact=False))
    @settings(max_examples=60, deadline=None)
    def test_no_chunking_moves_a_pixel_even_where_distances_are_rounded(self, case) -> None:
        binary, image, chunks, options = case
        whole = watershed(binary, image, **options)
        pixels = None if image is None else da.from_array(image, chunks=chunks[:1] + image.shape[1:])
        lazy = watershed(da.from_array(binary, chunks=chunks), pixels, **options)
        np.testing.assert_array_equal(lazy.compute(scheduler="synchronous"), whole)

    @pytest.mark.parametrize("connectivity", [1, 2, 3])
    def test_clumps_of_real_nuclei(self, nuclei3d, connectivity) -> None:
        image = nuclei3d[0].to_numpy()
        binary = image > np.quantile(image, 0.7)
        for landscape in (None, image):
            found = watershed(binary, landscape, min_distance=2, connectivity=connectivity)
            np.testing.assert_array_equal(found, by_scikit_image(binary, landscape, 2, connectivity))

    def test_a_plateau_is_shared_by_its_peaks(self) -> None:
        """In which order pixels of the same height are reached."""
        binary = np.ones((9, 30), bool)
        binary[:, ::29] = False
        binary[::8] = False
        for image in (np.zeros(binary.shape), np.arange(9)[:, None] % 3 * np.ones(30)):
            for connectivity in (1, 2):
                found = watershed(binary, image, min_distance=2, connectivity=connectivity)
                assert found.max() > 3
                np.testing.assert_array_equal(found, by_scikit_image(binary, image, 2, connectivity))


def test_scikit_image_is_not_needed() -> None:
    code = (
        "import sys; sys.modules['skimage'] = None\n"
        "import numpy as np; from xlabelstats.pipeline import watershed\n"
        "assert watershed(np.eye(9, dtype=int), np.ones((9, 9)), min_distance=1).max() > 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class TestDistances:
    @staticmethod
    def check(binary: np.ndarray, spacing: Any, rtol: float = 0) -> None:
        layout, _, _ = layout_of(binary, spacing=spacing)
        heights = layout.heights(layout.boxes)
        first = layout.boxes.first
        for i, (_, clump) in enumerate(boxes_of(binary)):
            expected = distance_of(clump, spacing)[clump]
            np.testing.assert_allclose(heights[first[i] : first[i + 1]], expected, rtol=rtol, atol=0)

    @given(cases())
    @settings(max_examples=100, deadline=None)
    def test_those_of_scipy(self, case) -> None:
        self.check(case.binary, case.options.get("spacing", (1.0,) * case.binary.ndim))

    @given(cases(exact=False))
    @settings(max_examples=50, deadline=None)
    def test_those_of_scipy_but_for_rounding(self, case) -> None:
        self.check(case.binary, case.options.get("spacing", (1.0,) * case.binary.ndim), rtol=1e-14)

    @pytest.mark.parametrize("shape", [(3000,), (230, 170), (2, 180, 150), (90, 80, 100)])
    @pytest.mark.parametrize("spacing", [1.0, 0.5, 0.325])
    @pytest.mark.parametrize("margin", [0, 1])
    def test_of_pixels_far_inside_and_at_the_border_of_the_image(self, shape, spacing, margin) -> None:
        for seed, holes in enumerate((1, 3, 20)):
            binary = np.ones(shape, np.uint8)
            binary.flat[np.random.default_rng(seed).integers(0, binary.size, holes)] = 0
            some = (spacing, *(1.0,) * (len(shape) - 1))
            self.check(np.pad(binary, margin), some, 0 if spacing != 0.325 else 1e-14)

    def test_what_fills_the_image_has_none(self) -> None:
        layout, _, _ = layout_of(np.ones((3, 40)))
        np.testing.assert_array_equal(layout.heights(layout.boxes), np.zeros(120))


class TestPeaks:
    @staticmethod
    def check(binary: np.ndarray, min_distance: int, connectivity: int, **spacing: Any) -> int:
        _, clumps, split = layout_of(binary, min_distance=min_distance, connectivity=connectivity, **spacing)
        ids, found = peaks_of((binary != 0).astype(np.uint8), None, (0,) * binary.ndim, clumps, split=split)
        np.testing.assert_array_equal(ids, np.arange(1, len(found) + 1))
        for peaks, (_, clump) in zip(found, boxes_of(binary), strict=True):
            expected = peaks_by_scikit_image(clump, min_distance, connectivity, **spacing)
            np.testing.assert_array_equal(np.flatnonzero(clump)[peaks], expected)
        return sum(peaks.size for peaks in found)

    @given(cases())
    @settings(max_examples=150, deadline=None)
    def test_those_of_scikit_image(self, case) -> None:
        assume(case.binary.any())
        self.check(case.binary, **case.options)

    @pytest.mark.parametrize("min_distance", [1, 2, 5, 40])
    @pytest.mark.parametrize("connectivity", [1, 2])
    def test_in_clumps_where_all_pixels_are_as_far_from_the_background(self, min_distance, connectivity) -> None:
        """Of which those count that an opening removes; if none, the first."""
        corner = np.zeros((12, 30), np.uint8)
        corner[1:3, 1:20] = 1
        corner[3:11, 20:22] = 1
        corner[5, 5:15] = corner[6:10, 15] = 1
        # Held apart by the borders of the image, so that an opening leaves it.
        full = np.ones((3, 9), np.uint8)
        full[:, 8] = 0
        for binary in (corner, corner[:, :20], full, full.T, np.ones((5, 5), np.uint8)):
            assert self.check(binary, min_distance, connectivity) > 0
