"""Which pixels a picture reads, and where on the Axes they lie."""

from __future__ import annotations

import tracemalloc

import dask
import dask.array as da
import drawing
import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
import zarr
from conftest import blobs
from drawing import (
    UM,
    added,
    at,
    axes,
    coarser,
    inner,
    never,
    outline,
    pixels,
    pyramid,
    ramp,
    shown,
    stretched,
    volume,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from xlabelstats import plot

image, mask = drawing.image, drawing.mask


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
