"""Measures of boundaries against scikit-image on every object alone, and against what is known of balls and boxes."""

from __future__ import annotations

import itertools
import sys

import dask
import numpy as np
import pytest
import xarray as xr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from objects import FORMS, all_of_nine_pixels, random_objects
from scipy import ndimage as ndi
from scipy.spatial.transform import Rotation
from skimage.measure import euler_number, perimeter, perimeter_crofton
from skimage.measure._regionprops_utils import EULER_COEFS3D_26

from xlabelstats.catalogue import FAMILIES
from xlabelstats.catalogue.boundary import Boundaries, directions, euler_table, shares

FLAT = ("perimeter", "perimeter_crofton", "euler_number", "circularity", "touches_border", "num_components")
SOLID = ("euler_number", "surface_area", "sphericity", "touches_border", "num_components")


def array(labels: np.ndarray) -> xr.DataArray:
    return xr.DataArray(labels, dims=("z", "y", "x")[-labels.ndim :])


def crossings(inside: np.ndarray, step: np.ndarray) -> int:
    """How often the lines along a step leave an object."""
    padded = np.pad(inside, 1)
    return int((padded & ~np.roll(padded, tuple(step), tuple(range(inside.ndim)))).sum())


def alone(labels: np.ndarray, spacing: tuple[float, ...] | None = None) -> dict[str, list]:
    """The same measures of every object by itself, by scikit-image and scipy."""
    spacing = spacing or (1.0,) * labels.ndim
    expected: dict[str, list] = {name: [] for name in (FLAT if labels.ndim == 2 else SOLID)}
    edge = np.ones(labels.shape, bool)
    edge[(slice(1, -1),) * labels.ndim] = False
    ids, codes = np.unique(labels, return_inverse=True)
    for label, box in zip(ids, ndi.find_objects(codes.reshape(labels.shape) + 1), strict=True):
        if label == 0:
            continue
        inside = labels[box] == label
        padded = np.pad(inside, 2)
        volume = inside.sum() * np.prod(spacing)
        expected["euler_number"].append(euler_number(padded, labels.ndim))
        expected["touches_border"].append((inside & edge[box]).any())
        expected["num_components"].append(ndi.label(inside, np.ones((3,) * labels.ndim))[1])
        if labels.ndim == 2:
            length = perimeter(padded, 4) * spacing[0]
            expected["perimeter"].append(length)
            expected["perimeter_crofton"].append(perimeter_crofton(padded, 4) * spacing[0])
            expected["circularity"].append(4 * np.pi * volume / length**2 if length else np.nan)
        else:
            steps = directions(3)
            apart = [np.prod(spacing) / np.linalg.norm(step * spacing) for step in steps]
            found = [crossings(inside, step) for step in steps]
            surface = 4 * sum(a * b * c for a, b, c in zip(found, apart, shares(tuple(spacing)), strict=True))
            expected["surface_area"].append(surface)
            expected["sphericity"].append(np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / surface)
    return expected


def assert_alone(result: xr.Dataset, labels: np.ndarray, spacing: tuple[float, ...] | None = None) -> None:
    expected = alone(labels, spacing)
    assert result["label"].values.tolist() == np.unique(labels[labels != 0]).tolist()
    for name, values in expected.items():
        np.testing.assert_allclose(result[name], values, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize(("chunk", "part"), [(1, slice(42, 62)), (3, slice(314, 354)), (200, slice(None))])
def test_the_2d_nuclei_are_measured_as_each_alone(nuclei2d, chunk, part):
    labels = nuclei2d[1].values[part, part]
    assert np.unique(labels).size > 3
    whole = array(labels).labels.measure(FLAT)
    assert_alone(whole, labels)
    xr.testing.assert_identical(array(labels).chunk(chunk).labels.measure(FLAT).compute(), whole)


def test_the_3d_nuclei_are_measured_as_each_alone(nuclei3d):
    mask, spacing = nuclei3d[1], (2, 0.5, 0.7)
    whole = mask.labels.measure(SOLID, spacing=spacing)
    assert_alone(whole, mask.values, spacing)
    xr.testing.assert_identical(mask.chunk(13).labels.measure(SOLID, spacing=spacing).compute(), whole)


@pytest.mark.parametrize("form", FORMS)
def test_objects_of_many_forms_are_measured_as_each_alone(form):
    labels = random_objects(form, 40, 30)
    whole = array(labels).labels.measure(FLAT)
    assert_alone(whole, labels)
    xr.testing.assert_identical(array(labels).chunk(17).labels.measure(FLAT).compute(), whole)


def test_all_objects_of_nine_pixels_are_measured_as_each_alone():
    labels = all_of_nine_pixels()
    result = array(labels).labels.measure(FLAT)
    for name, values in alone(labels[:, : 4 * 512]).items():
        np.testing.assert_allclose(result[name], values, rtol=1e-12, err_msg=name)


def test_the_euler_numbers_of_3d_are_those_of_scikit_images_table_for_every_window_of_eight_pixels():
    corners = np.array(list(itertools.product((0, 1), repeat=3)))
    labels = np.zeros((256, 4, 4, 4), int)
    for bits in range(256):
        for i, corner in enumerate(corners):
            labels[(bits, *(1 + corner))] = (bits >> i & 1) * bits
    row = labels.transpose(1, 2, 0, 3).reshape(4, 4, -1)
    found = array(row).labels.measure(("euler_number",))["euler_number"]
    assert found.values.tolist() == [euler_number(labels[bits] > 0, 3) for bits in range(1, 256)]
    assert len(EULER_COEFS3D_26) == 256


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_field_in_any_chunks_is_measured_as_each_object_alone(data):
    ndim = data.draw(st.integers(2, 3))
    shape = tuple(data.draw(st.integers(1, 8 if ndim == 2 else 6)) for _ in range(ndim))
    dtype = np.dtype(data.draw(st.sampled_from(["u1", "i2", ">u4", "i8", "u8", "i1"])))
    limits = np.iinfo(dtype)
    ids = np.array([0, 1, limits.max, limits.min, 3], dtype)
    labels = ids[data.draw(hnp.arrays(np.intp, shape, elements=st.integers(0, len(ids) - 1)))]
    dims = data.draw(st.permutations("zyx"[-ndim:]))
    mask = xr.DataArray(labels, dims=dims)
    chunks = {dim: data.draw(st.integers(1, 3)) for dim in dims}
    names = FLAT if ndim == 2 else SOLID
    whole = mask.labels.measure(names)
    assert_alone(whole, labels.astype(dtype.newbyteorder("=")))
    # The same bits.
    with dask.config.set(scheduler="sync"):
        xr.testing.assert_identical(mask.chunk(chunks).labels.measure(names).compute(), whole)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_chunks_of_any_sizes_are_the_same_to_the_bit(data):
    labels = blobs((14, 17), 6, data.draw(st.integers(0, 99)))
    sizes = []
    for n in labels.shape:
        cuts = sorted(data.draw(st.sets(st.integers(1, n - 1))))
        sizes.append(tuple(np.diff([0, *cuts, n]).tolist()))
    mask, chunks = array(labels), dict(zip("yx", sizes, strict=True))
    with dask.config.set(scheduler="sync"):
        parts = mask.chunk(chunks).labels.measure(FLAT).compute()
    xr.testing.assert_identical(parts, mask.labels.measure(FLAT))


def test_touching_labels_count_each_as_if_alone():
    labels = np.ones((6, 6), int)
    labels[:, 3:] = 2
    labels[2:4, 2:4] = 3
    assert_alone(array(labels).labels.measure(FLAT), labels)
    assert array(labels).labels.measure("perimeter").sel(label=2)["perimeter"].item() == perimeter(labels == 2, 4)


def test_an_array_cut_in_stretches_for_threads_gives_the_same(monkeypatch, nuclei2d, nuclei3d):
    for (_, mask), names in ((nuclei2d, FLAT), (nuclei3d, SOLID)):
        at_once = mask.labels.measure(names)
        with monkeypatch.context() as patch:
            patch.setattr("xlabelstats.engine.local.CUT_PIXELS", 1000)
            patch.setattr("xlabelstats.engine.local.STRETCH_PIXELS", 300)
            xr.testing.assert_identical(mask.labels.measure(names), at_once)
            xr.testing.assert_identical(mask.T.labels.measure(names), mask.T.copy(deep=True).labels.measure(names))


def test_both_calls_of_region_properties_give_the_same(nuclei2d):
    mask = nuclei2d[1]
    names = tuple(name for name in FLAT if name != "num_components")
    of_labels = mask.labels.regionprops(names)
    xr.testing.assert_identical(of_labels, mask.instances.regionprops(names))
    xr.testing.assert_identical(of_labels, mask.labels.measure(names))
    dataset = xr.Dataset({"cells": mask})
    xr.testing.assert_identical(dataset.labels.regionprops("cells", names), of_labels)
    assert mask.instances.regionprops("num_components")["num_components"].dtype == np.int64


def test_dtypes_units_and_labels_that_are_not_there():
    coords = {dim: (dim, 0.5 * np.arange(9), {"units": "um"}) for dim in "yx"}
    labels = blobs((9, 9), 3, 0)
    label = int(labels.max())
    mask = array(labels).assign_coords(coords)
    result = mask.labels.measure(FLAT)
    assert {name: each.dtype.name for name, each in result.items()} == {
        "perimeter": "float64",
        "perimeter_crofton": "float64",
        "euler_number": "int64",
        "circularity": "float64",
        "touches_border": "bool",
        "num_components": "int64",
    }
    assert {name: each.attrs.get("units") for name, each in result.items()} == {
        "perimeter": "um",
        "perimeter_crofton": "um",
    } | dict.fromkeys(FLAT[2:])
    assert_alone(result, mask.values, (0.5, 0.5))
    some = mask.chunk(4).labels.measure(FLAT, labels=[77, label]).compute()
    assert some.sel(label=77).to_array().isnull().all()
    xr.testing.assert_equal(some.sel(label=label), result.sel(label=label).astype(float))


def test_the_image_does_not_make_a_truth_a_number():
    mask = array(np.ones((3, 3), int))
    image = mask * 1.5
    assert image.labels.measure(mask, "touches_border", skipna=False)["touches_border"].dtype == bool


def test_the_background_is_measured_as_any_label():
    labels = blobs((20, 20), 5, 1)
    found = array(labels).chunk(6).labels.measure(FLAT, background=True).sel(label=0).compute()
    inverse = array((labels == 0).astype(int)).labels.measure(FLAT).sel(label=1)
    for name in FLAT:
        assert found[name].item() == inverse[name].item()


def test_objects_without_a_perimeter_have_no_circularity():
    labels = np.zeros((5, 9), int)
    labels[1, 1], labels[1, 3:5] = 1, 2
    labels[1:4, 6:9] = 3
    result = array(labels).labels.measure(("perimeter", "circularity"))
    assert result["perimeter"].values.tolist() == [0, 0, 8]
    np.testing.assert_array_equal(result["circularity"], [np.nan, np.nan, 4 * np.pi * 9 / 64])


@pytest.mark.parametrize("at", list(itertools.product((0, 2, 4), repeat=2)))
def test_a_pixel_touches_the_border_in_the_first_and_last_lines_alone(at):
    labels = np.zeros((5, 5), int)
    labels[at] = 1
    for mask in (array(labels), array(labels).chunk(2)):
        assert mask.labels.measure("touches_border")["touches_border"].values.tolist() == [at != (2, 2)]


@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
@pytest.mark.parametrize("chunk", [None, 2])
def test_components_are_those_of_scipy_in_any_dims(ndim, chunk):
    shape = (40, 12, 7, 5)[ndim - 1]
    labels = np.random.default_rng(ndim).integers(0, 6, (shape,) * ndim) // 2
    mask = xr.DataArray(labels, dims=list("wzyx")[-ndim:])
    found = (mask.chunk(chunk) if chunk else mask).labels.measure("num_components")["num_components"]
    expected = [ndi.label(labels == label, np.ones((3,) * ndim))[1] for label in (1, 2)]
    assert found.values.tolist() == expected


def test_a_snake_and_a_comb_are_of_one_part():
    snake = np.zeros((9, 9), int)
    snake[::2] = 1
    snake[1::4, -1] = snake[3::4, 0] = 1
    assert array(snake).labels.measure("num_components")["num_components"].item() == 1
    snake[0, 4] = 0
    assert array(snake).labels.measure("num_components")["num_components"].item() == 2


def ball(radius: float, spacing: tuple[float, ...]) -> np.ndarray:
    n = [int(np.ceil(radius / step)) + 1 for step in spacing]
    z, y, x = np.meshgrid(*(np.arange(-k, k + 1) * s for k, s in zip(n, spacing, strict=True)), indexing="ij")
    return (z * z + y * y + x * x <= radius * radius).astype(np.uint8)


def cuboid(sides: np.ndarray, spacing: tuple[float, ...], turn: np.ndarray) -> np.ndarray:
    half = np.abs(turn) @ (sides / 2)
    n = [int(h / s) + 2 for h, s in zip(half, spacing, strict=True)]
    axes = (np.arange(-k, k + 1, dtype=np.float32) * s + 0.25 * s for k, s in zip(n, spacing, strict=True))
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return (np.abs(places @ turn.astype(np.float32)) <= sides / 2).all(axis=-1).astype(np.uint8)


def surface_of(labels: np.ndarray, spacing: tuple[float, ...]) -> float:
    return array(labels).labels.measure("surface_area", spacing=spacing)["surface_area"].item()


@pytest.mark.parametrize("radius", [5, 6, 7, 8, 9, 10, 11, 12, 15, 20, 30, 40, 50])
def test_the_surface_of_a_digital_ball_is_that_of_a_ball(radius):
    exact = 4 * np.pi * radius**2
    # That of radius 7 lacks 1.2 % of the volume, too.
    assert surface_of(ball(radius, (1, 1, 1)), (1, 1, 1)) == pytest.approx(exact, rel=0.021 if radius == 7 else 0.02)
    limit = 0.02 if radius >= 10 else 0.06
    assert surface_of(ball(radius, (2, 1, 1)), (2, 1, 1)) == pytest.approx(exact, rel=limit)


@pytest.mark.parametrize(("spacing", "limit"), [((1, 1, 1), 0.08), ((2, 1, 1), 0.13)])
def test_the_surface_of_a_cuboid_at_any_rotation_is_near_the_exact_one(spacing, limit):
    rng = np.random.default_rng(0)
    for i in range(12):
        sides = rng.uniform(40, 60, 3)
        exact = 2 * (sides[0] * sides[1] + sides[1] * sides[2] + sides[2] * sides[0])
        turn = Rotation.random(random_state=i).as_matrix()
        assert surface_of(cuboid(sides, spacing, turn), spacing) == pytest.approx(exact, rel=limit)


@pytest.mark.parametrize(("spacing", "limit"), [((1, 1, 1), 0.08), ((2, 1, 1), 0.13)])
def test_the_surface_of_a_cuboid_along_the_axes_is_least_good_and_within_the_same_limits(spacing, limit):
    sides = np.array([84, 96, 120])
    solid = np.ones((sides / spacing).astype(int), np.uint8)
    exact = 2 * (sides[0] * sides[1] + sides[1] * sides[2] + sides[2] * sides[0])
    assert surface_of(solid, spacing) == pytest.approx(exact, rel=limit)


def test_the_shares_of_directions_are_those_of_legland_kieu_and_devaux():
    by_length = {1: 0.04577789, 2: 0.03698062, 3: 0.03519563}
    expected = [2 * by_length[int((step**2).sum())] for step in directions(3)]
    np.testing.assert_allclose(shares((1.0, 1.0, 1.0)), expected, atol=1e-7)
    assert shares((30.0, 1.0, 0.2)).sum() == pytest.approx(1)


def test_the_surface_scales_with_the_spacing():
    labels = ball(6, (1, 1, 1))
    assert surface_of(labels, (3, 3, 3)) == pytest.approx(9 * surface_of(labels, (1, 1, 1)), rel=1e-12)
    turned = np.moveaxis(labels[:5], 0, 2)
    assert surface_of(turned, (1, 1, 4)) == pytest.approx(surface_of(labels[:5], (4, 1, 1)), rel=1e-12)


def test_the_sphericity_of_a_ball_is_near_one_and_less_of_a_rod():
    rod = np.ones((60, 5, 5), int)
    assert array(ball(20, (1, 1, 1))).labels.measure("sphericity")["sphericity"].item() == pytest.approx(1, abs=0.01)
    assert array(rod).labels.measure("sphericity")["sphericity"].item() < 0.7


def test_a_filled_pixel_changes_nothing_inside_and_adds_one_alone():
    for ndim in (2, 3):
        assert euler_table(ndim)[0] == 1
        assert euler_table(ndim)[-1] == 0


def test_what_is_not_defined_says_for_what_it_is(nuclei3d):
    flat = array(np.ones((3, 3), int))
    for name in ("surface_area", "sphericity"):
        with pytest.raises(NotImplementedError, match=rf"{name} is defined for 3-D masks only; .* \('y', 'x'\)"):
            flat.labels.measure(name)
    with pytest.raises(NotImplementedError, match="circularity is defined for 2-D masks only"):
        nuclei3d[1].labels.measure("circularity")
    for name in ("perimeter", "perimeter_crofton", "circularity"):
        with pytest.raises(NotImplementedError, match=rf"{name} is defined for an equal spacing .*\(2.0, 1.0\)"):
            flat.labels.measure(name, spacing=(2, 1))
    with pytest.raises(
        ValueError, match=r"pixels are 100000 times as long .* \(1.0, 1.0, 1e-07\). Are the coordinates"
    ):
        nuclei3d[1].chunk(20).labels.measure("surface_area", spacing=(1, 1, 1e-7))
    with pytest.raises(ValueError, match=r"num_components needs all pixels of an object at once.*\.instances"):
        flat.labels.regionprops("num_components")


def test_scikit_image_is_not_needed(monkeypatch, nuclei3d):
    monkeypatch.setitem(sys.modules, "skimage.measure", None)
    monkeypatch.setitem(sys.modules, "skimage", None)
    assert array(np.ones((3, 3), int)).labels.measure("perimeter")["perimeter"].item() == 8
    assert (nuclei3d[1].labels.measure("euler_number")["euler_number"] == 1).all()


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("shape", [(6, 6), (0, 6), (6, 0), (4, 4, 4), (0, 4, 4)])
def test_a_mask_without_objects_or_pixels_gives_no_rows(lazy, shape):
    mask = array(np.zeros(shape, int))
    names = FLAT if len(shape) == 2 else SOLID
    result = (mask.chunk(3) if lazy else mask).labels.measure(names).compute()
    assert result.sizes["label"] == 0
    assert result["euler_number"].dtype == np.int64


def test_chunks_without_pixels_are_passed_over():
    import dask.array as da

    labels = blobs((12, 12), 4, 2)
    pieces = da.from_array(labels, chunks=((5, 0, 7), (4, 4, 0, 4)))
    assert 0 in pieces.chunks[0]
    xr.testing.assert_identical(
        array(pieces).labels.measure(FLAT[:5]).compute(), array(labels).labels.measure(FLAT[:5])
    )


def test_a_block_that_is_not_as_large_as_declared_is_an_error():
    import dask.array as da

    lying = da.ones((8, 8), chunks=4, dtype=int).map_blocks(lambda block: block[:3], dtype=int)
    with pytest.raises(ValueError, match="a block has the shape"):
        array(lying).labels.measure("perimeter", labels=[1]).compute()


def test_with_statistics_of_an_image_each_of_its_blocks_is_read_once(nuclei2d):
    import dask.array as da

    image, mask = nuclei2d
    read, names = [], ("perimeter", "area", "euler_number")

    def note(block):
        read.append(block.shape)
        return block

    pixels = da.from_array(np.stack([image.values] * 2), chunks=(1, 200, 200)).map_blocks(note, dtype=image.dtype)
    lazy = xr.DataArray(pixels, dims=("c", *mask.dims), name="two")
    with dask.config.set(scheduler="synchronous"):
        read.clear()
        result = lazy.labels.measure(mask.chunk(150), ("mean", *names), spacing=1).compute().drop_vars("skipna")
    assert len(read) == pixels.npartitions
    for name, values in mask.labels.measure(names, spacing=1).items():
        xr.testing.assert_equal(result[name], values)
    xr.testing.assert_allclose(result["mean"][:, 0], image.labels.mean(mask))


def test_a_mask_measured_without_a_halo_takes_no_pixels_of_its_neighbours(nuclei2d):
    mask = nuclei2d[1].chunk(100)
    assert not any("surroundings" in name for name in mask.labels.measure("area")["area"].data.dask.layers)
    assert any("surroundings" in name for name in mask.labels.measure("perimeter")["perimeter"].data.dask.layers)


def test_the_halo_is_as_wide_as_is_looked():
    assert Boundaries(("border", "euler"), 2).halo == 2
    assert Boundaries(("crossings", "euler"), 3).halo == 1


def test_every_name_that_is_not_scikit_images_is_a_property_too():
    names = {entry.name for entry in FAMILIES["outline"] if not entry.skimage}
    assert names == {"circularity", "compactness", "surface_area", "sphericity", "touches_border", "num_components"}
