"""Pictures: what was drawn is read back off the Axes, and compared with numpy, scikit-image and what was measured."""

from __future__ import annotations

import sys
import tracemalloc

import dask
import dask.array as da
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from scipy import ndimage
from skimage.exposure import rescale_intensity
from skimage.segmentation import find_boundaries

from xlabelstats import plot

UM = {"units": "micrometer"}


def axes(width: float = 500, height: float = 400):
    """Axes that fill a figure of so many dots."""
    return Figure(figsize=(width / 100, height / 100), dpi=100).add_axes((0, 0, 1, 1))


def at(origin: float, step: float, n: int) -> np.ndarray:
    return origin + step * np.arange(n)


@pytest.fixture
def mask() -> xr.DataArray:
    return xr.DataArray(
        blobs((30, 50), 12),
        dims=("y", "x"),
        coords={"y": ("y", at(7, -0.5, 30), UM), "x": ("x", at(3, 0.5, 50), UM)},
        name="cells",
    )


@pytest.fixture
def image(mask) -> xr.DataArray:
    pixels = np.random.default_rng(0).gamma(2, 100, (3, 30, 50)).astype(np.uint16)
    return mask.copy(data=pixels[0]).expand_dims(c=["DAPI", "CD3", "CD8"]).copy(data=pixels).rename("stain")


def shown(ax, i: int = 0) -> np.ndarray:
    return np.asarray(ax.images[i].get_array())


def pixels(ax) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def stretched(pixels: np.ndarray, contrast: tuple[float, float] = (1, 99.8)) -> np.ndarray:
    limits = tuple(np.percentile(pixels, contrast))
    return rescale_intensity(pixels.astype(float), in_range=limits, out_range=(0.0, 255.0))


def inner(mask: np.ndarray) -> np.ndarray:
    return find_boundaries(mask, mode="inner", connectivity=1)


def outline(ax) -> np.ndarray:
    return shown(ax, 1)[..., 3] > 0


# ---- overlay


def test_one_channel_is_grey_between_its_percentiles(image, mask):
    ax = plot.overlay(image[0], mask, ax=axes())
    grey = shown(ax)
    assert grey.shape == (30, 50, 3)
    np.testing.assert_allclose(grey, stretched(image[0].values)[..., None].repeat(3, -1), atol=0.51)
    narrow = plot.overlay(image[0], mask, contrast=(20, 60), ax=axes())
    np.testing.assert_allclose(shown(narrow)[..., 1], stretched(image[0].values, (20, 60)), atol=0.51)


def test_boundaries_are_those_of_scikit_image(image, mask):
    ax = plot.overlay(image[0], mask, ax=axes(50, 30))
    np.testing.assert_array_equal(outline(ax), inner(mask.values))


def test_boundaries_are_thinner_than_pixels_of_several_dots(image, mask):
    ax = plot.overlay(image[0], mask, ax=axes(500, 300))
    fine = np.kron(mask.values, np.ones((7, 7), int))
    np.testing.assert_array_equal(outline(ax), inner(fine))


def test_boundaries_have_their_colour_and_no_other_bleeds_in(image, mask):
    for options, color in (
        ({}, "yellow"),
        ({"boundary_color": "red"}, "red"),
        ({"boundary_color": np.array([1, 0, 0])}, "red"),
    ):
        rgba = shown(plot.overlay(image[0], mask, ax=axes(), **options), 1)
        assert (rgba[..., :3] == np.array(to_rgb(color)) * 255).all()
    assert (shown(plot.overlay(image, mask, ax=axes()), 1)[..., :3] == 255).all()


@pytest.mark.parametrize("ids", [(2**53, 2**53 + 1), (2**63 - 2, 2**63 - 1), (-5, 7)])
def test_large_and_negative_labels_have_boundaries(ids):
    labels = np.zeros((4, 6), np.int64)
    labels[1:3, 1:3], labels[1:3, 3:5] = ids
    mask = xr.DataArray(labels, dims=("y", "x"))
    ax = plot.overlay(mask != 0, mask, ax=axes(6, 4))
    np.testing.assert_array_equal(
        outline(ax),
        inner(np.searchsorted(np.unique([0, *ids]), labels) if ids[0] > 0 else np.where(labels == -5, 3, labels)),
    )


def test_the_picture_lies_between_the_outer_edges_of_the_pixels(image, mask):
    ax = plot.overlay(image[0], mask, ax=axes())
    for drawn in ax.images:
        np.testing.assert_allclose(drawn.get_extent(), (2.75, 27.75, -7.75, 7.25))
    np.testing.assert_allclose(ax.get_xlim(), (2.75, 27.75))
    np.testing.assert_allclose(ax.get_ylim(), (-7.75, 7.25))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x [micrometer]", "y [micrometer]")


@pytest.mark.parametrize("step", [0.5, -0.5])
@pytest.mark.parametrize("origin", ["upper", "lower"])
def test_the_first_row_is_on_top_and_the_first_column_on_the_left_whatever_the_coordinates(step, origin):
    values = np.random.default_rng(0).random((4, 6))
    mask = xr.DataArray(np.zeros((4, 6), int), dims=("y", "x"), coords={"y": at(0, step, 4), "x": at(0, step, 6)})
    with mpl.rc_context({"image.origin": origin}):
        ax = plot.overlay(mask.copy(data=values), mask, ax=axes(60, 40))
    np.testing.assert_allclose(pixels(ax)[5::10, 5::10, 0], stretched(values), atol=1)


def test_axes_are_in_pixels_without_coordinates_and_without_units_where_there_are_none(image, mask):
    bare = plot.overlay(image[0].drop_vars(["y", "x"]), mask.drop_vars(["y", "x"]), ax=axes())
    assert (bare.get_xlabel(), bare.get_ylabel()) == ("x [pixel]", "y [pixel]")
    assert bare.images[0].get_extent() == [-0.5, 49.5, 29.5, -0.5]
    mask["x"].attrs.clear()
    assert plot.overlay(image[0].drop_vars(["y", "x"]), mask, ax=axes()).get_xlabel() == "x"


def test_coordinates_of_image_or_mask_alone_serve_both(image, mask):
    for pair in ((image[0], mask.drop_vars(["y", "x"])), (image[0].drop_vars(["y", "x"]), mask)):
        np.testing.assert_allclose(plot.overlay(*pair, ax=axes()).get_xlim(), (2.75, 27.75))


def test_pixels_have_their_shape_on_the_screen(image, mask):
    def ratio(ax) -> float:
        ax.apply_aspect()
        box = ax.get_window_extent()
        return box.height / box.width

    assert ratio(plot.overlay(image[0], mask, ax=axes())) == pytest.approx(30 / 50)
    tall = {"y": ("y", at(0, 2.0, 30), UM)}
    assert ratio(plot.overlay(image[0].assign_coords(tall), mask.assign_coords(tall), ax=axes())) == pytest.approx(
        60 / 25
    )
    # Pixels and micrometers cannot be compared.
    assert ratio(plot.overlay(image[0].drop_vars("y"), mask.drop_vars("y"), ax=axes())) == pytest.approx(30 / 50)


@pytest.mark.parametrize(
    ("down", "units", "ratio"),
    [
        ("t", ("s", "micrometer"), 10 / 8),
        ("Frames", ("", ""), 10 / 8),
        ("z", ("nanometer", "micrometer"), 10 / 8),
        ("z", ("", "micrometer"), 10 / 8),
        ("z", ("micrometer", "micrometer"), 10 * 600 / (8 * 0.1)),
        ("lat", ("degrees_north", "degrees_east"), 10 * 600 / (8 * 0.1)),
    ],
)
def test_pixels_are_square_where_their_units_do_not_compare(down, units, ratio):
    coords = {down: (down, at(0, 600.0, 10), {"units": units[0]}), "x": ("x", at(0, 0.1, 8), {"units": units[1]})}
    mask = xr.DataArray(np.zeros((10, 6, 8), int), dims=(down, "y", "x"), coords=coords)
    ax = plot.overlay(mask.astype(float), mask, y=2, ax=axes())
    ax.apply_aspect()
    box = ax.get_window_extent()
    assert box.height / box.width == pytest.approx(ratio)


@pytest.mark.parametrize(
    ("dim", "title"), [("bands", ""), ("Channel", ""), ("timepoint", "= 1"), ("frames", "= 1"), ("plane", "= 1")]
)
def test_names_of_dims_stand_for_what_they_do_in_image_stacks(dim, title, mask):
    image = xr.DataArray(np.random.default_rng(0).random((2, 30, 50)), dims=(dim, "y", "x"))
    ax = plot.overlay(image, mask, ax=axes())
    assert ax.get_title() == (f"{dim} {title}" if title else "")
    assert (ax.get_legend() is None) == bool(title)


def test_channels_of_bands_are_found_beside_other_dims(mask):
    image = xr.DataArray(np.random.default_rng(0).random((2, 3, 30, 50)), dims=("bands", "angle", "y", "x"))
    assert plot.overlay(image, mask, ax=axes()).get_title() == "angle = 1"


def added(channels: list[np.ndarray], colors: list[str]) -> np.ndarray:
    parts = [stretched(c)[..., None] * np.array(to_rgb(color)) for c, color in zip(channels, colors, strict=True)]
    return np.minimum(sum(parts), 255)


@pytest.mark.parametrize(
    ("options", "rows", "colors"),
    [
        ({}, [0, 1, 2], ["cyan", "magenta", "yellow"]),
        ({"channels": ["CD8", "DAPI"]}, [2, 0], ["magenta", "lime"]),
        ({"channels": "CD3"}, [1], ["white"]),
        ({"channels": "CD3", "colors": "red"}, [1], ["red"]),
        ({"colors": ["red", "#00ff00", (0, 0, 1)]}, [0, 1, 2], ["red", "lime", "blue"]),
        (
            {"channels": ["CD3", "DAPI"], "colors": {"DAPI": "blue", "CD3": "red", "other": "x"}},
            [1, 0],
            ["red", "blue"],
        ),
    ],
)
def test_channels_are_coloured_and_added(image, mask, options, rows, colors):
    ax = plot.overlay(image, mask, ax=axes(), **options)
    np.testing.assert_allclose(shown(ax), added([image.values[i] for i in rows], colors), atol=0.51)
    if len(rows) == 1:
        assert ax.get_legend() is None
        assert ax.get_title() == "c = CD3"
    else:
        assert [text.get_text() for text in ax.get_legend().get_texts()] == image["c"].values[rows].tolist()
        found = [patch.get_facecolor()[:3] for patch in ax.get_legend().get_patches()]
        np.testing.assert_allclose(found, [to_rgb(color) for color in colors])


def test_six_channels_have_six_colours_and_seven_need_a_choice(mask):
    image = xr.DataArray(np.random.default_rng(0).random((7, 30, 50)), dims=("stain", "y", "x"))
    ax = plot.overlay(image[:6], mask, ax=axes())
    assert len({patch.get_facecolor() for patch in ax.get_legend().get_patches()}) == 6
    assert ax.get_legend().get_texts()[5].get_text() == "stain 5"
    with pytest.raises(ValueError, match=r"7 channels are more than the 6 colours.*channels="):
        plot.overlay(image, mask, ax=axes())
    np.testing.assert_allclose(
        shown(plot.overlay(image, mask, channels=6, ax=axes()))[..., 0], stretched(image.values[6]), atol=0.51
    )


def test_channels_of_one_name_are_each_drawn(image, mask):
    image = image.assign_coords(c=["A", "B", "A"])
    ax = plot.overlay(image, mask, ax=axes())
    np.testing.assert_allclose(shown(ax), added(list(image.values), ["cyan", "magenta", "yellow"]), atol=0.51)
    with pytest.raises(ValueError, match=r"2 channels are called 'A'.*image.assign_coords\({'c': \[...\]}\)"):
        plot.overlay(image, mask, channels=["B", "A"], ax=axes())
    np.testing.assert_allclose(
        shown(plot.overlay(image, mask, channels="B", ax=axes()))[..., 0], stretched(image.values[1]), atol=0.51
    )


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"channels": "CD4"}, ValueError, "no channel 'CD4'; there are: DAPI, CD3, CD8"),
        ({"channels": []}, ValueError, "no channels to draw"),
        ({"colors": ["red"]}, ValueError, "colors has 1 for 3 channels"),
        ({"colors": {"DAPI": "red"}}, ValueError, "colors has none for the channel 'CD3'"),
        ({"contrast": (99, 1)}, ValueError, "the lower first"),
        ({"contrast": 5}, TypeError, "contrast is two percentiles"),
        ({"chanels": "DAPI"}, TypeError, "no option 'chanels'"),
        ({"z": 1}, TypeError, "no option 'z', nor a dim"),
    ],
)
def test_what_cannot_be_drawn_is_said(image, mask, options, error, words):
    with pytest.raises(error, match=words):
        plot.overlay(image, mask, ax=axes(), **options)


def test_an_image_without_channels_has_none_to_choose(image, mask):
    with pytest.raises(ValueError, match="no dim of channels"):
        plot.overlay(image[0], mask, channels=0, ax=axes())


def test_pixels_that_are_no_numbers_are_black_and_sparse_ones_show(mask):
    pixels = np.zeros((30, 50))
    pixels[3, 4], pixels[5, 6], pixels[7, 8], pixels[9, 9] = 5, np.nan, np.inf, -np.inf
    grey = shown(plot.overlay(mask.copy(data=pixels), mask, ax=axes()))[..., 0]
    assert (grey[3, 4], grey[5, 6], grey[7, 8], grey[9, 9], grey[0, 0]) == (255, 0, 255, 0, 0)
    for constant in (np.full((30, 50), 7.0), np.full((30, 50), np.nan)):
        assert not shown(plot.overlay(mask.copy(data=constant), mask, ax=axes())).any()


def volume() -> tuple[xr.DataArray, xr.DataArray]:
    """(t, c, z, y, x) and its mask (z, y, x)."""
    labels = blobs((5, 20, 24), 9)
    mask = xr.DataArray(labels, dims=("z", "y", "x"), coords={"z": ("z", at(1, 1.5, 5), UM)})
    pixels = np.random.default_rng(1).random((3, 2, 5, 20, 24))
    return xr.DataArray(pixels, dims=("t", "c", "z", "y", "x")), mask


@pytest.mark.parametrize(
    ("indices", "t", "z", "title"),
    [
        ({}, 1, 2, "t = 1, z = 4 [micrometer]"),
        ({"z": 0, "t": 2}, 2, 0, "t = 2, z = 1 [micrometer]"),
        ({"z": -1}, 1, 4, "t = 1, z = 7 [micrometer]"),
    ],
)
def test_planes_are_chosen_by_index_and_are_the_middle_ones_by_default(indices, t, z, title):
    image, mask = volume()
    ax = plot.overlay(image, mask, ax=axes(24, 20), **indices)
    np.testing.assert_allclose(
        shown(ax), added([image.values[t, c, z] for c in (0, 1)], ["magenta", "lime"]), atol=0.51
    )
    np.testing.assert_array_equal(outline(ax), inner(mask.values[z]))
    assert ax.get_title() == title


def test_a_section_is_drawn_where_y_is_given():
    image, mask = volume()
    ax = plot.overlay(image, mask, y=11, c=1, t=0, ax=axes())
    np.testing.assert_allclose(shown(ax)[..., 0], stretched(image.values[0, 1, :, 11]), atol=0.51)
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("z [micrometer]", "x [pixel]")
    assert ax.get_title() == "t = 0, c = 1, y = 11"


@pytest.mark.parametrize("dims", [("t", "y", "x"), ("z", "y", "x"), ("depth", "y", "x")])
def test_a_mask_with_a_plane_of_its_own_goes_with_it(dims):
    labels = blobs((4, 20, 24), 9)
    mask = xr.DataArray(labels, dims=dims)
    ax = plot.overlay(mask.astype(float), mask, ax=axes(24, 20), **{dims[0]: 3})
    np.testing.assert_array_equal(outline(ax), inner(labels[3]))


def test_planes_that_are_not_there_are_refused():
    image, mask = volume()
    with pytest.raises(IndexError, match=r"no plane z=5: there are 5 along 'z', from 0 to 4"):
        plot.overlay(image, mask, z=5, ax=axes())
    with pytest.raises(IndexError, match="no plane t=-4"):
        plot.overlay(image, mask, t=-4, ax=axes())
    with pytest.raises(TypeError, match=r"index of a plane.*nearest"):
        plot.overlay(image, mask, z=2.5, ax=axes())
    with pytest.raises(ValueError, match="a picture has two dims"):
        plot.overlay(image, mask, y=1, z=1, ax=axes())


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_order_of_dims_the_chunks_and_the_dtype_do_not_matter(data):
    image, mask = volume()
    image = (image * 200).astype(np.uint8)
    expected = plot.overlay(image, mask, ax=axes(24, 20))
    image = image.transpose(*data.draw(st.permutations(image.dims)))
    mask = mask.transpose(*data.draw(st.permutations(mask.dims)))
    image = image.astype(data.draw(st.sampled_from(["u1", "i2", "u8", "f4", "f8"])))
    mask = mask.astype(data.draw(st.sampled_from(["u1", "i2", "i8", "u8"])))
    if data.draw(st.booleans()):
        image = image.chunk({dim: data.draw(st.integers(1, 24)) for dim in ("y", "x", "z")})
    if data.draw(st.booleans()):
        mask = mask.chunk({dim: data.draw(st.integers(1, 24)) for dim in ("y", "x", "z")})
    # A picture is (y, x) in any order of dims.
    ax = plot.overlay(image, mask, ax=axes(24, 20))
    np.testing.assert_array_equal(shown(ax), shown(expected))
    np.testing.assert_array_equal(shown(ax, 1), shown(expected, 1))


def test_image_and_mask_that_do_not_match_are_refused(image, mask):
    with pytest.raises(ValueError, match="differ in size"):
        plot.overlay(image[:, :, :-1], mask, ax=axes())
    with pytest.raises(TypeError, match="integer labels"):
        plot.overlay(image, mask.astype(float), ax=axes())
    uneven = {"x": np.arange(50.0) ** 2}
    with pytest.raises(ValueError, match="not evenly spaced"):
        plot.overlay(image.assign_coords(uneven), mask.assign_coords(uneven), ax=axes())
    with pytest.raises(ValueError, match="no pixels to draw"):
        plot.overlay(image[:, :0], mask[:0], ax=axes())


def test_a_mask_without_labels_has_no_boundaries(image, mask):
    assert not outline(plot.overlay(image, xr.zeros_like(mask), ax=axes())).any()


def test_where_thinning_left_hardly_a_pixel_of_most_objects_large_ones_alone_have_boundaries():
    labels = np.zeros((600, 600), np.uint64)
    starts = range(30, 540, 40)
    for i, (y, x) in enumerate((y, x) for y in starts for x in starts):
        labels[y : y + 20, x : x + 20] = 2**63 + i
    labels[300:420, 300:420] = 5
    labels[100:140, 100:140], labels[552:560, 552:560] = 6, 7
    mask = xr.DataArray(labels, dims=("y", "x"))
    kept = np.where(labels == 5, 1, 0)[5::10, 5::10]
    tree = pyramid([mask, coarser(mask, 10)])
    for drawn, size, expected in (
        (mask, 60, inner(kept)),
        (tree, 60, inner(kept)),
        # All pixels, or enough of them, have the boundaries that they have.
        (mask[5::10, 5::10], 60, inner(np.unique(labels[5::10, 5::10], return_inverse=True)[1].reshape(60, 60))),
        (mask, 150, inner(np.unique(labels[2::4, 2::4], return_inverse=True)[1].reshape(150, 150))),
    ):
        np.testing.assert_array_equal(outline(plot.overlay(drawn, drawn, ax=axes(size, size))), expected)


# ---- how much is read


def counted(shape: tuple[int, int], chunks: int, make) -> tuple[xr.DataArray, list]:
    """An image of blocks made when they are computed, and the list of those that were."""
    made: list = []

    def block(block_info=None) -> np.ndarray:
        where = block_info[None]["array-location"]
        made.append(where)
        return make(*where)

    blocks = tuple((chunks,) * (n // chunks) + ((n % chunks,) if n % chunks else ()) for n in shape)
    dtype = make((0, 1), (0, 1)).dtype
    return xr.DataArray(
        da.map_blocks(block, chunks=blocks, dtype=dtype, meta=np.empty((0, 0), dtype)), dims=("y", "x")
    ), made


def ramp(rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
    return np.add.outer(np.arange(*rows), 3 * np.arange(*columns)).astype(np.int32)


def test_about_one_pixel_is_read_per_dot(monkeypatch):
    image, _ = counted((900, 1700), 300, ramp)
    ax = plot.overlay(image, image // 500, ax=axes(300, 250))
    rows, columns = shown(ax).shape[:2]
    assert rows * columns <= 1.2 * 300 * 250
    assert columns == pytest.approx(300, rel=0.2)
    assert columns / rows == pytest.approx(1700 / 900, rel=0.01)
    # Every 6th pixel, that in the middle.
    full = ramp((0, 900), (0, 1700))[3::6, 3::6]
    np.testing.assert_allclose(shown(ax)[..., 0], stretched(full), atol=0.51)
    np.testing.assert_array_equal(outline(ax), inner(full // 500))
    np.testing.assert_allclose(ax.images[0].get_extent(), (-0.5, columns * 6 - 0.5, rows * 6 - 0.5, -0.5))
    np.testing.assert_allclose(ax.get_xlim(), (-0.5, 1699.5))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(1, 120), st.integers(1, 120))
def test_never_much_more_than_the_dots_of_the_axes_is_read(height, width, down, across):
    mask = xr.DataArray(np.zeros((height, width), np.uint8), dims=("y", "x"))
    rows, columns = shown(plot.overlay(mask, mask, ax=axes(across, down))).shape[:2]
    assert rows <= 1.5 * down + 1.5
    assert columns <= 1.5 * across + 1.5


def test_blocks_between_the_pixels_drawn_are_not_computed():
    image, made = counted((800, 800), 10, ramp)
    plot.measurement(image, {5: 1.0}, ax=axes(20, 20))
    assert 0 < len(made) <= 21**2 < 80**2 / 10


def test_a_huge_image_is_drawn_in_the_memory_of_a_few_blocks():
    size, side = 50_000, 5_000

    def make(rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
        block = np.full((rows[1] - rows[0], columns[1] - columns[0]), 1, np.uint8)
        block[:: side // 2] = 0
        return block

    image, made = counted((size, size), side, make)
    mask, _ = counted((size, size), side, make)
    with dask.config.set(scheduler="synchronous"):
        tracemalloc.start()
        try:
            plot.overlay(image, mask, ax=axes())
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert len(made) == (size // side) ** 2
    assert peak < 3 * side**2


@pytest.mark.parametrize("dtype", [np.int32, bool])
def test_of_arrays_opened_without_dask_no_more_is_read_than_drawn_and_once(dtype):
    read: list[str] = []

    class Counting(zarr.storage.MemoryStore):
        async def get(self, key: str, *args, **kwargs):
            read.extend([key] if "/c/" in key else [])
            return await super().get(key, *args, **kwargs)

    store = Counting()
    group = zarr.create_group(store)
    for name, dims, kind in (("image", ("c", "y", "x"), np.uint8), ("mask", ("y", "x"), dtype)):
        shape, chunks = ((3, 400, 400), (1, 5, 5)) if "c" in dims else ((400, 400), (5, 5))
        group.create_array(name, shape=shape, chunks=chunks, dtype=kind, dimension_names=dims)
    opened = xr.open_dataset(store, engine="zarr", consolidated=False, cache=False)
    for draw, arrays in (
        (lambda ax: plot.overlay(opened.image, opened.mask, channels=2, ax=ax), 2),
        (lambda ax: plot.measurement(opened.mask, {1: 2.0}, ax=ax), 1),
    ):
        read.clear()
        draw(axes(10, 10))
        assert len(read) == len(set(read)) == arrays * 10**2
    cells = opened.image.rename(c="label").assign_coords(label=[1, 2, 3])
    read.clear()
    plot.gallery(cells, labels=[2], ax=axes(10, 10))
    assert len(read) == len(set(read)) <= 20**2


def never(*_) -> np.ndarray:
    raise AssertionError("this scale is not drawn")


def pyramid(scales: list[xr.DataArray]) -> xr.DataTree:
    return xr.DataTree.from_dict({f"scale{i}": array.to_dataset(name="image") for i, array in enumerate(scales)})


def coarser(array: xr.DataArray, n: int) -> xr.DataArray:
    return array[n // 2 :: n, n // 2 :: n]


def test_of_a_tree_the_coarsest_scale_that_has_enough_pixels_is_read():
    full = xr.DataArray(ramp((0, 800), (0, 1600)), dims=("y", "x"))
    unread = full.copy(data=da.map_blocks(never, chunks=((800,), (1600,)), dtype=np.int32, meta=np.empty((0, 0), "i4")))
    half, quarter, eighth = (coarser(full, n) for n in (2, 4, 8))
    for scales in ([unread, unread[::2, ::2], quarter, eighth], [unread, quarter]):
        image, mask = pyramid(scales), pyramid([s // 500 for s in scales])
        ax = plot.overlay(image, mask, ax=axes(400, 300))
        np.testing.assert_allclose(shown(ax)[..., 0], stretched(quarter.values), atol=0.51)
        np.testing.assert_array_equal(outline(ax), inner(quarter.values // 500))
        assert ax.images[0].get_extent() == [-0.5, 1599.5, 799.5, -0.5]
    # Where none has enough it is the finest, and image and mask need not have the same ones.
    ax = plot.overlay(pyramid([full, half]), pyramid([unread // 500, quarter // 500]), ax=axes(400, 300))
    assert shown(ax).shape[:2] == quarter.shape
    np.testing.assert_array_equal(outline(ax), inner(quarter.values // 500))
    assert plot.overlay(pyramid([quarter, eighth]), quarter // 500, ax=axes(900, 600)).images[0].get_size() == (
        200,
        400,
    )


def test_planes_of_a_tree_count_in_its_finest_scale():
    full = xr.DataArray(np.arange(8)[:, None, None] * np.ones((8, 80, 80), int), dims=("z", "y", "x"))
    image = pyramid([full, full[::2, ::2, ::2]])  # four planes of eight
    for z, plane in ((7, 6), (5, 4), (0, 0)):
        ax = plot.measurement(image, {i: i / 8 for i in range(8)}, z=z, ax=axes(40, 40))
        assert np.unique(shown(ax)) == plane / 8
    with pytest.raises(IndexError, match="there are 8"):
        plot.measurement(image, {1: 0.5}, z=8, ax=axes())


def test_a_finer_resolution_of_saved_figures_is_read(image, mask):
    coarse = plot.overlay(image, mask, ax=axes(25, 15))
    with mpl.rc_context({"savefig.dpi": 200}):
        fine = plot.overlay(image, mask, ax=axes(25, 15))
    assert shown(coarse).shape == (15, 25, 3)
    assert shown(fine).shape == (30, 50, 3)


# ---- measurement


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("kind", ["array", "series", "mapping", "dataset", "one of a dataset"])
def test_objects_have_the_values_that_paint_gives_them(image, mask, kind, lazy):
    image = image.chunk(y=7) if lazy else image
    result = image.sel(c="CD3").labels.aggregate(mask, ("mean", "std"))
    series = pd.Series(result["mean"].values, index=result["label"].values, name="mean")
    values, options = {
        "array": (result["mean"], {}),
        "series": (series, {}),
        "mapping": (series.to_dict(), {}),
        "dataset": (result, {"variable": "mean"}),
        "one of a dataset": (result[["mean"]].drop_vars("c", errors="ignore"), {}),
    }[kind]
    if kind == "one of a dataset":
        values = values[["mean"]]
    ax = plot.measurement(mask.chunk(8) if lazy else mask, values, ax=axes(), **options)
    painted = mask.labels.paint(result["mean"])
    drawn = ax.images[0].get_array()
    np.testing.assert_array_equal(np.ma.getmaskarray(drawn), mask == 0)
    np.testing.assert_array_equal(drawn.filled(np.nan), painted)
    assert ax.images[0].get_clim() == (result["mean"].min(), result["mean"].max())
    expected = {"series": "mean", "mapping": ""}.get(kind, "mean of stain")
    assert ax.images[0].colorbar.ax.get_ylabel() == expected


def test_the_colour_bar_says_name_and_units(mask):
    area = mask.labels.regionprops(properties="area")["area"]
    ax = plot.measurement(mask, area, ax=axes())
    assert ax.images[0].colorbar.ax.get_ylabel() == "area [micrometer$^{2}$]"
    ax = plot.measurement(mask, area, name="size", cmap="magma", ax=axes())
    assert ax.images[0].colorbar.ax.get_ylabel() == "size [micrometer$^{2}$]"
    assert ax.images[0].get_cmap().name == "magma"


@pytest.mark.parametrize("layout", [None, "constrained", "tight"])
def test_the_colour_bar_is_as_high_as_the_picture(mask, layout):
    for shape in ((30, 50), (8, 50), (30, 10)):
        part = mask[: shape[0], : shape[1]]
        ax = plot.measurement(part, part.labels.count() * 1.0, ax=Figure(layout=layout).subplots())
        ax.figure.draw_without_rendering()
        bar = ax.images[0].colorbar.ax
        assert bar.get_window_extent().height == pytest.approx(ax.get_window_extent().height, rel=0.02)
        assert bar.get_window_extent().y0 == pytest.approx(ax.get_window_extent().y0, abs=4)
        assert bar.get_tightbbox().x1 <= ax.figure.bbox.x1


def test_long_names_stay_on_the_figure(mask):
    ids = mask.labels.ids()
    figure = Figure()
    values = pd.Series(["a class with a really long name", "b"] * ids.size, name="kind")[: ids.size].set_axis(ids)
    ax = plot.measurement(mask, values, ax=figure.subplots())
    assert ax.images[0].colorbar.ax.get_tightbbox().x1 <= figure.bbox.x1 + 1


def test_objects_without_a_number_are_transparent_and_do_not_stretch_the_colours(mask):
    ids = mask.labels.ids()
    values = dict.fromkeys(ids.tolist(), 50.0) | {10**6: 80.5}
    values[int(ids[0])], values[int(ids[1])] = np.nan, np.inf
    del values[int(ids[2])]
    ax = plot.measurement(mask, values, ax=axes())
    hidden = np.ma.getmaskarray(ax.images[0].get_array())
    np.testing.assert_array_equal(hidden, np.isin(mask, [0, *ids[:3]]))
    # All values count, of labels in this plane or not.
    assert ax.images[0].get_clim() == (50.0, 80.5)


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda ids: pd.Series(np.array(["long", "round"])[ids % 2], index=ids), ["long", "round"]),
        (lambda ids: pd.Series(pd.Categorical(np.array(["s", "l"])[ids % 2], ["s", "l", "xl"]), index=ids), ["s", "l"]),
        (lambda ids: pd.Series(ids % 2 == 0, index=ids), ["False", "True"]),
        (lambda ids: xr.DataArray(ids % 2 + 4, dims="label", coords={"label": ids}), ["4", "5"]),
        (lambda ids: pd.Series(ids % 2 + 4, index=ids, dtype="Int64"), ["4", "5"]),
        (lambda ids: {int(i): "ab"[i % 2] for i in ids}, ["a", "b"]),
    ],
)
def test_classes_have_a_colour_each_and_their_names_beside_the_bar(mask, make, names):
    ids = mask.labels.ids()
    values = make(ids)
    ax = plot.measurement(mask, values, ax=axes())
    series = values.to_series() if isinstance(values, xr.DataArray) else pd.Series(values)
    codes = {label: names.index(str(value)) for label, value in series.items()}
    np.testing.assert_array_equal(ax.images[0].get_array().filled(np.nan), mask.labels.paint(codes, np.nan))
    bar = ax.images[0].colorbar
    assert [text.get_text() for text in bar.ax.get_yticklabels()] == names
    assert len({tuple(ax.images[0].to_rgba(code)) for code in codes.values()}) == 2


@pytest.mark.parametrize("n", [2, 10, 15, 40])
@pytest.mark.parametrize("cmap", [None, "viridis"])
def test_every_class_of_many_has_its_own_colour(n, cmap):
    mask = xr.DataArray(np.arange(1, n + 1)[None], dims=("y", "x"))
    ax = plot.measurement(mask, {i: f"class {i}" for i in range(1, n + 1)}, cmap=cmap, ax=axes())
    colors = ax.images[0].to_rgba(ax.images[0].get_array()).reshape(n, 4)
    assert len(np.unique(colors, axis=0)) == n
    assert len(ax.images[0].colorbar.get_ticks()) <= 24


def test_whole_numbers_over_a_wide_range_are_quantities(mask):
    count = mask.labels.count()
    ax = plot.measurement(mask, count, ax=axes())
    np.testing.assert_array_equal(ax.images[0].get_array().filled(0), mask.labels.paint(count))


def test_no_values_and_no_labels_draw_nothing(mask):
    assert np.ma.getmaskarray(plot.measurement(mask, {}, ax=axes()).images[0].get_array()).all()
    empty = xr.zeros_like(mask)
    assert np.ma.getmaskarray(plot.measurement(empty, empty.labels.count(), ax=axes()).images[0].get_array()).all()


@pytest.mark.parametrize(
    ("values", "options", "error", "words"),
    [
        (xr.Dataset({"a": ("label", [1.0]), "b": ("label", [1.0])}), {}, ValueError, "variable='a'"),
        (xr.Dataset({"mean": ("label", [1.0])}), {"variable": "man"}, ValueError, "did you mean 'mean'"),
        (xr.Dataset(), {}, ValueError, "without variables"),
        ({1: 2.0}, {"variable": "mean"}, TypeError, "variable= chooses one of a Dataset"),
        (xr.DataArray([[1.0]], dims=("label", "c"), coords={"label": [1]}), {}, ValueError, r"values.sel\(c=...\)"),
        (xr.DataArray([1.0], dims="x"), {}, ValueError, "have the dim 'label' alone"),
        (xr.DataArray([1.0], dims="label"), {}, ValueError, "do not say whose they are"),
        ({1: 1j}, {}, TypeError, "complex"),
        ([1.0], {}, TypeError, "not list"),
        ({1: 2.0}, {"z": 0}, TypeError, "no option 'z'"),
    ],
)
def test_values_that_cannot_be_drawn_are_refused(mask, values, options, error, words):
    with pytest.raises(error, match=words):
        plot.measurement(mask, values, ax=axes(), **options)


# ---- gallery


def tiles(ax) -> list[np.ndarray]:
    """The opaque parts of the picture, in reading order."""
    picture = shown(ax)
    parts, _ = ndimage.label(picture[..., 3])
    boxes = sorted(ndimage.find_objects(parts), key=lambda box: (box[0].start, box[1].start))
    return [picture[box][..., :3] for box in boxes]


def names(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("lazy", [False, True])
def test_a_gallery_holds_the_windows_and_their_ids(image, mask, lazy):
    image, labels = (image[0].chunk(11), mask.chunk(9)) if lazy else (image[0], mask)
    windows = image.instances.windows(labels, {"y": 45, "x": 55})
    ax = plot.gallery(windows, n=5, ax=axes())
    drawn = windows["image"].values[:5]
    grey = stretched(drawn)
    assert names(ax) == [str(label) for label in windows["label"].values[:5]]
    assert len(tiles(ax)) == 5
    for tile, expected in zip(tiles(ax), grey, strict=True):
        np.testing.assert_allclose(tile, expected[..., None].repeat(3, -1), atol=0.51)
    assert not ax.axison
    np.testing.assert_array_equal(shown(plot.gallery(windows["image"], n=5, ax=axes())), shown(ax))


def test_ids_stand_above_their_windows(image, mask):
    ax = plot.gallery(image[0].instances.windows(mask, {"y": 45, "x": 55}), columns=3, n=7, ax=axes())
    parts, _ = ndimage.label(shown(ax)[..., 3])
    boxes = sorted(ndimage.find_objects(parts), key=lambda box: (box[0].start, box[1].start))
    for text, (rows, columns) in zip(ax.texts, boxes, strict=True):
        x, y = text.get_position()
        assert (x, y) == ((columns.start + columns.stop - 1) / 2, rows.start - 0.5)
        assert ax.transData.transform((x, y))[1] > ax.transData.transform((x, rows.stop))[1]
        # Between the window and the one above it.
        box = text.get_window_extent().transformed(ax.transData.inverted())
        above = [b[0].stop for b in boxes if b[0].stop <= rows.start]
        assert min(box.y0, box.y1) >= max(above, default=0) - 1
    assert [box[1].start for box in boxes[:3]] == [box[1].start for box in boxes[3:6]]
    assert boxes[6][1].start == boxes[0][1].start


@pytest.mark.parametrize(("n", "size"), [(1, (200, 300)), (20, (800, 100)), (20, (100, 800)), (60, (500, 400))])
def test_windows_fit_their_axes(n, size):
    windows = xr.DataArray(np.ones((60, 9, 12)), dims=("label", "y", "x"))
    ax = plot.gallery(windows, n=n, ax=axes(*size))
    assert len(ax.texts) == n
    height, width = shown(ax).shape[:2]
    dots = min(size[0] / width, size[1] / height)
    # Windows of few pixels in the Axes of many are as large as can be: one more row or column would not fit twice.
    assert n * (9 * dots) * (12 * dots) > 0.2 * size[0] * size[1]


def test_named_labels_are_drawn_in_their_order(image, mask):
    windows = image[0].instances.windows(mask, {"y": 45, "x": 55})
    wanted = windows["label"].values[[4, 1, 3]]
    ax = plot.gallery(windows, labels=wanted, ax=axes())
    assert names(ax) == [str(label) for label in wanted]
    grey = stretched(windows["image"].sel(label=wanted).values)
    for tile, expected in zip(tiles(ax), grey, strict=True):
        np.testing.assert_allclose(tile[..., 0], expected, atol=0.51)


def test_channels_of_windows_are_coloured_as_those_of_images(image, mask):
    windows = image.instances.windows(mask, {"y": 45, "x": 55})
    for given_ in (windows, windows["image"], windows.transpose("y", "c", "x", "label")):
        ax = plot.gallery(given_, n=4, channels=["CD8", "DAPI"], ax=axes())
        channels = [windows["image"].sel(c=c).values[:4] for c in ("CD8", "DAPI")]
        for tile, expected in zip(tiles(ax), added(channels, ["magenta", "lime"]), strict=True):
            np.testing.assert_allclose(tile, expected, atol=0.51)
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["CD8", "DAPI"]
    assert plot.gallery(windows, channels="CD3", ax=axes()).get_title() == "c = CD3"


def test_of_volumes_the_middle_plane_is_drawn_or_that_of_an_index():
    image, mask = volume()
    windows = image.isel(t=0).instances.windows(mask, {"z": 9, "y": 41, "x": 49})
    for options, z in (({}, 4), ({"z": 2}, 2), ({"z": -1}, 8)):
        for given_ in (windows, windows["image"]):
            ax = plot.gallery(given_, n=3, c=1, ax=axes(), **options)
            grey = stretched(windows["image"].values[:3, 1, z])
            for tile, expected in zip(tiles(ax), grey, strict=True):
                np.testing.assert_allclose(tile[..., 0], expected, atol=0.51)
    with pytest.raises(IndexError, match="there are 9 along 'z'"):
        plot.gallery(windows, z=9, ax=axes())


def test_windows_of_a_mask_alone_show_its_objects(mask):
    windows = mask.instances.windows({"y": 45, "x": 55}, remove_background=False)
    ax = plot.gallery(windows, n=4, ax=axes())
    for tile, window, label in zip(tiles(ax), windows["mask"].values, windows["label"].values, strict=False):
        np.testing.assert_array_equal(tile[..., 0] > 0, window == label)


def test_large_windows_are_thinned_out():
    windows = xr.DataArray(np.random.default_rng(0).random((6, 200, 300)), dims=("label", "y", "x"))
    ax = plot.gallery(windows, columns=3, ax=axes(300, 200))
    grey = stretched(windows.values[:, 1::3, 1::3])
    for tile, expected in zip(tiles(ax), grey, strict=True):
        np.testing.assert_allclose(tile[..., 0], expected, atol=0.51)


def test_only_the_windows_drawn_are_computed():
    computed: list[int] = []

    def cut(block: np.ndarray) -> np.ndarray:
        computed.extend(block[:, 0, 0])
        return block

    blocks = da.from_array(np.arange(2000.0)[:, None, None] * np.ones((1, 9, 7)), chunks=(1, -1, -1))
    blocks = blocks.map_blocks(cut, dtype=float, meta=np.empty((0, 0, 0)))
    windows = xr.Dataset({"image": (("label", "y", "x"), blocks)}, coords={"label": np.arange(2000) + 5})
    plot.gallery(windows, n=12, ax=axes())
    assert sorted(computed) == list(range(12))
    computed.clear()
    plot.gallery(windows, labels=[905, 6], ax=axes())
    assert sorted(computed) == [1, 900]
    computed.clear()
    assert len(plot.gallery(windows, ax=axes()).texts) == len(computed) == 48


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"n": 0}, ValueError, "n is a positive whole number, not 0"),
        ({"n": True}, ValueError, "n is a positive whole number"),
        ({"columns": 1.5}, ValueError, "columns is a positive whole number, not 1.5"),
        ({"labels": [10**6]}, ValueError, "no window of label 1000000"),
        ({"labels": [1], "n": 1}, ValueError, "give one of the two"),
        ({"colour": "red"}, TypeError, "no option 'colour'"),
    ],
)
def test_galleries_that_cannot_be_drawn_are_refused(image, mask, options, error, words):
    with pytest.raises(error, match=words):
        plot.gallery(image.instances.windows(mask, {"y": 45, "x": 55}), ax=axes(), **options)


def test_what_holds_no_windows_is_refused(image):
    with pytest.raises(ValueError, match="has an image or a mask"):
        plot.gallery(xr.Dataset({"mean": ("label", [1.0])}), ax=axes())
    with pytest.raises(ValueError, match="windows have the dim 'label'"):
        plot.gallery(image, ax=axes())
    with pytest.raises(TypeError, match="not ndarray"):
        plot.gallery(np.zeros((3, 4, 4)), ax=axes())


def test_no_windows_draw_an_empty_gallery(image, mask):
    ax = plot.gallery(image.instances.windows(xr.zeros_like(mask)), ax=axes())
    assert not ax.images
    assert not ax.texts


# ---- scatter


@pytest.fixture
def result(image, mask) -> xr.Dataset:
    image.attrs["units"] = "counts"
    result = image.labels.aggregate(mask, ("count", "mean"))
    return result.merge(mask.labels.regionprops(properties="area"))


def test_points_are_the_columns_of_the_wide_table(result):
    table = result.labels.to_dataframe()
    for given_ in (result, table, result.chunk(label=3)):
        ax = plot.scatter(given_, "area", "mean_CD3", ax=axes())
        np.testing.assert_array_equal(ax.collections[0].get_offsets(), table[["area", "mean_CD3"]])
        assert not ax.collections[0].get_rasterized()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("area [micrometer$^{2}$]", "mean_CD3 [counts]")
    assert plot.scatter(table, "area", "mean_CD3", ax=axes()).get_xlabel() == "area"


def test_labels_and_their_coordinates_are_columns_too(result):
    table = result.assign_coords(x0=("label", np.arange(result.sizes["label"]) * 2.0, UM))
    ax = plot.scatter(table, "label", "x0", ax=axes())
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), np.stack([table["label"], table["x0"]], 1))
    assert ax.get_ylabel() == "x0 [micrometer]"
    ax = plot.scatter(result.labels.to_dataframe("cell"), "cell", "count", ax=axes())
    np.testing.assert_array_equal(ax.collections[0].get_offsets()[:, 0], result["label"])


def test_columns_that_are_not_drawn_are_not_computed(result):
    unread = da.from_delayed(dask.delayed(never)(), (result.sizes["label"],), float)
    table = result.assign(slow=("label", unread), mean_of=("label", unread))
    plot.scatter(table, "area", "mean_CD3", color="count", ax=axes())


def test_a_column_of_numbers_colours_the_points_with_a_colour_bar(result):
    ax = plot.scatter(result, "area", "mean_CD3", color="mean_DAPI", cmap="magma", ax=axes())
    points = ax.collections[0]
    np.testing.assert_array_equal(points.get_array(), result["mean"].sel(c="DAPI"))
    assert points.colorbar.ax.get_ylabel() == "mean_DAPI [counts]"
    assert points.get_cmap().name == "magma"
    assert ax.get_legend() is None


def test_a_column_of_classes_colours_the_points_with_a_legend(result):
    table = result.labels.to_dataframe()
    kinds = np.resize(["long", "round", "odd"], len(table))
    for given_ in (table.assign(kind=kinds), result.assign(kind=("label", kinds))):
        ax = plot.scatter(given_, "area", "count", color="kind", ax=axes())
        legend = ax.get_legend()
        entries = {
            text.get_text(): h.get_color() for text, h in zip(legend.get_texts(), legend.legend_handles, strict=True)
        }
        assert list(entries) == ["long", "odd", "round"]
        assert legend.get_title().get_text() == "kind"
        drawn = ax.collections[0].to_rgba(ax.collections[0].get_array(), alpha=1.0)
        np.testing.assert_allclose(drawn, [entries[kind] for kind in kinds])
        assert ax.collections[0].colorbar is None


def test_points_without_a_colour_are_grey_and_rows_without_a_place_left_out():
    table = pd.DataFrame(
        {
            "a": [1.0, np.nan, 3.0, 4.0],
            "b": [1.0, 2.0, np.inf, 4.0],
            "k": ["x", "y", "x", None],
            "v": [1.5, 2, 3, np.nan],
        }
    )
    for color in ("k", "v"):
        ax = plot.scatter(table, "a", "b", color=color, ax=axes())
        points = ax.collections[0]
        np.testing.assert_array_equal(points.get_offsets(), [[1, 1], [4, 4]])
        ax.figure.draw_without_rendering()
        np.testing.assert_allclose(points.get_facecolors()[1, :3], to_rgb("lightgrey"))


def test_many_points_are_an_image_in_vector_files_and_drawn_in_little_time(tmp_path):
    rng = np.random.default_rng(0)
    n = 500_000
    table = pd.DataFrame({"a": rng.normal(size=n), "b": rng.normal(size=n), "k": rng.integers(0, 5, n)})
    ax = plot.scatter(table, "a", "b", ax=axes())
    assert ax.collections[0].get_rasterized()
    assert len(ax.collections[0].get_offsets()) == n
    ax.figure.savefig(tmp_path / "points.pdf")
    assert (tmp_path / "points.pdf").stat().st_size < 1_000_000


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"x": "are", "y": "count"}, ValueError, "did you mean 'area'"),
        ({"x": "mean", "y": "count"}, ValueError, "unknown column 'mean'.*mean_DAPI"),
        ({"x": "area", "y": "count", "color": "kind"}, ValueError, "unknown column 'kind'"),
        ({"x": "area", "y": "count", "cmap": "magma"}, ValueError, "say which with color="),
    ],
)
def test_columns_that_do_not_exist_are_refused(result, options, error, words):
    for table in (result, result.labels.to_dataframe()):
        with pytest.raises(error, match=words):
            plot.scatter(table, ax=axes(), **options)


def test_columns_that_are_not_one_of_that_name_are_refused():
    numbers = pd.DataFrame({1: [1.0, 2.0], "1": [3.0, 4.0], 2: [5.0, 6.0]})
    np.testing.assert_array_equal(
        plot.scatter(numbers, 1, "1", ax=axes()).collections[0].get_offsets(), [[1, 3], [2, 4]]
    )
    with pytest.raises(ValueError, match="no column '2' of type str, but one 2 of type int"):
        plot.scatter(numbers, 1, "2", ax=axes())
    twice = pd.DataFrame([[1.0, 2.0, 3.0]], columns=["a", "b", "a"])
    with pytest.raises(ValueError, match=r"2 columns are called 'a'.*a name of its own"):
        plot.scatter(twice, "b", "a", ax=axes())


def test_what_is_no_table_of_numbers_is_refused(result):
    with pytest.raises(TypeError, match="not DataArray"):
        plot.scatter(result["mean"], "a", "b", ax=axes())
    with pytest.raises(TypeError, match=r"'kind' holds .*, not numbers"):
        plot.scatter(pd.DataFrame({"a": [1.0], "kind": ["x"]}), "a", "kind", ax=axes())
    with pytest.raises(ValueError, match="a row per label"):
        plot.scatter(xr.Dataset({"a": ("x", [1.0])}), "a", "a", ax=axes())


# ---- all


@pytest.fixture
def pictures(image, mask) -> dict:
    windows = image.instances.windows(mask, {"y": 45, "x": 55})
    result = image.labels.aggregate(mask, ("count", "mean"))
    return {
        "overlay": (
            plot.overlay,
            image.labels.plot.overlay,
            (image, mask),
            {"channels": ["CD3", "DAPI"], "contrast": (5, 90), "colors": ["r", "g"], "boundary_color": "cyan"},
        ),
        "measurement": (
            plot.measurement,
            mask.labels.plot.measurement,
            (mask, result),
            {"variable": "count", "name": "size", "cmap": "magma"},
        ),
        "gallery": (
            plot.gallery,
            windows.instances.plot.gallery,
            (windows,),
            {"n": 6, "columns": 4, "channels": ["CD3", "CD8"], "contrast": (5, 90), "colors": ["r", "g"]},
        ),
        "gallery of an array": (
            plot.gallery,
            windows["image"].instances.plot.gallery,
            (windows["image"],),
            {"labels": [int(windows["label"][2])]},
        ),
        "scatter": (
            plot.scatter,
            result.labels.plot.scatter,
            (result, "count", "mean_CD3"),
            {"color": "mean_DAPI", "cmap": "magma"},
        ),
    }


KINDS = ["overlay", "measurement", "gallery", "gallery of an array", "scatter"]


@pytest.mark.parametrize("kind", KINDS)
def test_accessors_draw_the_same_pictures(pictures, kind):
    function, method, args, options = pictures[kind]
    one = function(*args, ax=axes(), **options)
    other = method(*args[1:], ax=axes(), **options)
    np.testing.assert_array_equal(pixels(one), pixels(other))
    assert pixels(one).std() > 5
    plain = function(*args, ax=axes(), **({"variable": "count"} if kind == "measurement" else {}))
    assert not np.array_equal(pixels(plain), pixels(one))


def test_trees_have_pictures_too(image, mask):
    tree = xr.DataTree.from_dict({"scale0": image.to_dataset(name="image")})
    labels = xr.DataTree.from_dict({"scale0": mask.to_dataset(name="labels")})
    expected = plot.overlay(image, mask, ax=axes())
    np.testing.assert_array_equal(pixels(tree.labels.plot.overlay(labels, ax=axes())), pixels(expected))


@pytest.mark.parametrize("kind", KINDS)
def test_the_current_axes_are_drawn_on_by_default_and_no_settings_change(pictures, kind):
    import matplotlib.pyplot as plt

    function, _, args, options = pictures[kind]
    before = dict(mpl.rcParams)
    copies = [arg.copy(deep=True) if isinstance(arg, xr.DataArray | xr.Dataset) else arg for arg in args]
    figure, (left, right) = plt.subplots(1, 2)
    try:
        plt.sca(left)
        assert function(*args, **options) is left
        assert not right.has_data()
        figure.canvas.draw()
    finally:
        plt.close(figure)
    assert dict(mpl.rcParams) == before
    for arg, copy in zip(args, copies, strict=True):
        assert arg.identical(copy) if isinstance(arg, xr.DataArray | xr.Dataset) else arg == copy


@pytest.mark.parametrize("kind", KINDS)
def test_several_axes_are_not_one(pictures, kind):
    function, _, args, options = pictures[kind]
    with pytest.raises(TypeError, match="ax is one Axes"):
        function(*args, ax=Figure().subplots(1, 2), **options)


@pytest.mark.parametrize("kind", KINDS)
def test_without_matplotlib_the_extra_is_named(pictures, kind, monkeypatch):
    function, _, args, options = pictures[kind]
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs matplotlib.*xlabelstats\[plot\]"):
        function(*args, **options)
