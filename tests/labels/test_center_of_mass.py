"""Centres of mass, radii and axes against scipy and numpy on the whole mask."""

from __future__ import annotations

from fractions import Fraction

import dask
import dask.array as da
import numpy as np
import pytest
import scipy.ndimage as ndi
import xarray as xr
from conftest import blobs, places
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xlabelstats.catalogue import center


def exact_centre(where: np.ndarray) -> list[float]:
    """The mean of positions, rounded once."""
    return [float(Fraction(sum(along.tolist()), len(where))) for along in where.T]


def radii_by_numpy(where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ndim = where.shape[1]
    if len(where) < ndim:
        return np.zeros(ndim), np.eye(ndim)
    covariance = np.cov(where.T, ddof=1)
    values, vectors = np.linalg.eigh(covariance)
    return np.sqrt(np.maximum(values[::-1], 0)), vectors[:, ::-1].T


def assert_is_numpy(result: xr.Dataset, mask: np.ndarray, step: tuple[float, ...] | None = None) -> None:
    step = step or (1.0,) * mask.ndim
    at = places(mask)
    assert result["label"].values.tolist() == list(at)
    expected = [radii_by_numpy(where * step) for where in at.values()]
    radii = np.array([radius for radius, _ in expected]).reshape(len(at), mask.ndim)
    axes = np.array([axes for _, axes in expected]).reshape(len(at), mask.ndim, mask.ndim)
    found = result["axis_vector"].values
    gaps = np.abs(result["radius"].values - radii)
    assert (gaps <= 1e-10 * radii + 1e-7 * radii.max(axis=1, keepdims=True, initial=1)).all()
    squares = found @ found.swapaxes(1, 2)
    np.testing.assert_allclose(squares, np.broadcast_to(np.eye(mask.ndim), squares.shape), atol=1e-12)
    largest = np.abs(found).argmax(axis=2)[..., None]
    assert (np.take_along_axis(found, largest, axis=2) > 0).all()
    for i in range(mask.ndim):
        apart = np.abs(np.delete(radii, i, axis=1) - radii[:, [i]]) > 1e-6 * radii[:, :1]
        alone = (radii[:, i] > 0) & apart.all(axis=1)
        assert (np.abs((found[alone, i] * axes[alone, i]).sum(axis=1)) > 1 - 1e-9).all()


class TestRadiiAndAxes:
    @pytest.mark.parametrize("chunk", [None, 64, 13])
    def test_of_the_2d_nuclei(self, nuclei2d, chunk):
        mask = nuclei2d[1]
        result = (mask.chunk(chunk) if chunk else mask).instances.radii_and_axes()
        assert (result["radius"].chunks is None) == (chunk is None)
        assert_is_numpy(result.compute(), mask.values)

    @pytest.mark.parametrize("chunk", [None, 20, 7])
    def test_of_the_3d_nuclei(self, nuclei3d, chunk):
        mask = nuclei3d[1]
        assert_is_numpy((mask.chunk(chunk) if chunk else mask).instances.radii_and_axes().compute(), mask.values)

    def test_dims(self, nuclei3d):
        result = nuclei3d[1].instances.radii_and_axes()
        assert result["radius"].dims == ("label", "component")
        assert result["axis_vector"].dims == ("label", "component", "axis")
        assert result["axis"].values.tolist() == ["z", "y", "x"]

    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    def test_any_chunking_gives_the_same(self, data):
        ndim = data.draw(st.integers(2, 3))
        shape = tuple(data.draw(st.integers(1, 8)) for _ in range(ndim))
        mask = data.draw(hnp.arrays(np.int8, shape, elements=st.integers(0, 3)))
        chunks = tuple(data.draw(st.integers(1, n)) for n in shape)
        lazy = xr.DataArray(da.from_array(mask, chunks=chunks), dims=list("zyx")[-ndim:])
        assert_is_numpy(lazy.instances.radii_and_axes().compute(), mask)

    def test_fewer_pixels_than_dims_are_a_point(self):
        mask = xr.DataArray(np.array([[1, 0, 2, 2], [0, 0, 0, 3], [3, 3, 3, 3]]), dims=("y", "x"))
        result = mask.instances.radii_and_axes()
        assert result["radius"].sel(label=1).values.tolist() == [0, 0]
        assert result["axis_vector"].sel(label=1).values.tolist() == [[1, 0], [0, 1]]
        np.testing.assert_allclose(result["radius"].sel(label=2), [np.sqrt(0.5), 0])

    def test_lengths_are_in_coordinate_units_or_pixels(self):
        labels = blobs((20, 30), 6)
        mask = xr.DataArray(
            labels,
            dims=("y", "x"),
            coords={
                "y": ("y", 7 + 0.5 * np.arange(20), {"units": "um"}),
                "x": ("x", -2.0 * np.arange(30), {"units": "um"}),
            },
        )
        result = mask.instances.radii_and_axes()
        assert_is_numpy(result, labels, (0.5, -2.0))
        assert result["radius"].attrs["units"] == "um"
        pixels = mask.instances.radii_and_axes(units="pixel")
        assert_is_numpy(pixels, labels)
        assert pixels["radius"].attrs["units"] == "pixel"

    def test_labels_and_background(self):
        mask = xr.DataArray(blobs((20, 30), 6), dims=("y", "x"))
        ids = mask.labels.ids()
        result = mask.chunk(9).instances.radii_and_axes(labels=[int(ids[2]), 9999, int(ids[0])]).compute()
        assert result["label"].values.tolist() == [ids[2], 9999, ids[0]]
        assert np.isnan(result.sel(label=9999)["radius"]).all()
        assert 0 in mask.instances.radii_and_axes(background=True)["label"]

    def test_uneven_coords(self):
        mask = xr.DataArray(np.ones((2, 3), int), dims=("y", "x"), coords={"x": [0.0, 1.0, 3.0]})
        with pytest.raises(ValueError, match=r"coordinates along 'x' are not evenly spaced; ask for units='pixel'"):
            mask.instances.radii_and_axes()

    def test_units_that_are_none(self):
        mask = xr.DataArray(np.ones((2, 3), int), dims=("y", "x"))
        with pytest.raises(ValueError, match="units is 'coords' or 'pixel', not 'um'"):
            mask.instances.radii_and_axes(units="um")
        with pytest.raises(ValueError, match="units is 'coords' or 'pixel', not 'um'"):
            mask.labels.center_of_mass(units="um")


class TestCenterOfMass:
    @pytest.mark.parametrize("chunk", [None, 50])
    @pytest.mark.parametrize("field", ["nuclei2d", "nuclei3d"])
    def test_of_the_nuclei_is_scipys(self, request, field, chunk):
        image, mask = request.getfixturevalue(field)
        ids = mask.labels.ids()
        lazy_image, lazy_mask = (image, mask) if chunk is None else (image.chunk(chunk), mask.chunk(chunk - 9))
        plain = lazy_mask.labels.center_of_mass()
        assert (plain.dims, plain["axis"].values.tolist()) == (("label", "axis"), list(mask.dims))
        assert (plain.chunks is None) == (chunk is None)
        expected = ndi.center_of_mass(np.ones(mask.shape), mask.values, ids)
        np.testing.assert_array_equal(plain, expected)
        weighted = lazy_mask.labels.center_of_mass(lazy_image)
        expected = ndi.center_of_mass(image.values.astype(float), mask.values, ids)
        np.testing.assert_allclose(weighted, expected, rtol=1e-12)

    @pytest.mark.parametrize("parts", [False, True])
    @given(data=st.data())
    @settings(max_examples=60, deadline=None)
    def test_of_a_mask_is_the_correctly_rounded_quotient_for_every_chunking(self, data, parts):
        shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=14))
        pixels = data.draw(hnp.arrays(np.int32, shape, elements=st.integers(0, 3)))
        dims = ("z", "y", "x")[-len(shape) :]
        mask = xr.DataArray(pixels, dims=dims)
        chunks = {dim: data.draw(st.integers(1, 14)) for dim in dims}
        expected = {label: exact_centre(where) for label, where in places(pixels).items()}
        lazy = mask.chunk(chunks)
        with pytest.MonkeyPatch.context() as patch, dask.config.set(scheduler="sync"):
            if parts:
                # As if float64 had few bits.
                patch.setattr(center, "WHOLE", 2**6)
                patch.setattr(center, "PART", 2**2)
            centres = [array.labels.center_of_mass() for array in (mask, lazy)]
            placed = [array.assign_coords(x=np.arange(shape[-1]) * 0.3) for array in (mask, lazy)]
            centres += [array.labels.center_of_mass(units="pixel") for array in placed]
            for found in dask.compute(*centres):
                assert dict(zip(found["label"].values.tolist(), found.values.tolist(), strict=True)) == expected

    def test_only_axes_with_coordinates_are_interpolated(self):
        pixels = blobs((30, 40), 5)
        mask = xr.DataArray(pixels, dims=("y", "x"), coords={"x": np.arange(40) * 0.3})
        for found in (mask.labels.center_of_mass(), mask.chunk(7).labels.center_of_mass(labels=mask.labels.ids())):
            for row, where in zip(found.compute(), places(pixels).values(), strict=True):
                y, x = exact_centre(where)
                assert row[0] == y
                assert float(row[1]) == pytest.approx(0.3 * x, rel=1e-14)

    def test_quotients_of_sums_beyond_2_to_the_53_are_rounded_once(self):
        total, count = np.array([2**53 + 1, 2**60 + 3, 7]), np.array([1, 3, 3])
        expected = [float(Fraction(a, b)) for a, b in zip(total.tolist(), count.tolist(), strict=True)]
        assert center._quotients(total, count).tolist() == expected

    def test_an_absent_label_has_no_centre(self):
        mask = xr.DataArray([[0, 7, 7]], dims=("y", "x"))
        for given_mask in (mask, mask.chunk(2)):
            found = given_mask.labels.center_of_mass(labels=[9, 7])
            np.testing.assert_array_equal(found, [[np.nan, np.nan], [0, 1.5]])

    def test_uneven_coords_are_averaged_not_interpolated(self):
        labels = blobs((12, 15), 5)
        y, x = np.arange(12.0) ** 2 + 1e6, np.geomspace(1, 50, 15)
        mask = xr.DataArray(labels, dims=("y", "x"), coords={"y": y, "x": x})
        image = xr.DataArray(np.random.default_rng(0).random((12, 15)), dims=("y", "x"))
        for a, b in ((mask, image), (mask.chunk(4), image.chunk(5))):
            plain, weighted = a.labels.center_of_mass(), a.labels.center_of_mass(b)
            for label in plain["label"].values:
                rows, columns = np.nonzero(labels == label)
                w = image.values[rows, columns]
                np.testing.assert_allclose(plain.sel(label=label), [y[rows].mean(), x[columns].mean()], rtol=1e-12)
                expected = [np.average(y[rows], weights=w), np.average(x[columns], weights=w)]
                np.testing.assert_allclose(weighted.sel(label=label), expected, rtol=1e-12)
        pixels = mask.labels.center_of_mass(units="pixel")
        np.testing.assert_allclose(pixels, ndi.center_of_mass(labels > 0, labels, pixels["label"].values))
        assert pixels.attrs["units"] == "pixel"

    def test_coords_on_one_dim_or_on_the_image_only(self):
        mask = xr.DataArray([[1, 1], [1, 1]], dims=("y", "x"), coords={"x": ("x", [10.0, 12.0], {"units": "um"})})
        assert mask.labels.center_of_mass().values.tolist() == [[0.5, 11.0]]
        assert "units" not in mask.labels.center_of_mass().attrs
        image = xr.ones_like(mask.drop_vars("x"), float).assign_coords(
            y=("y", [0.0, 4.0], {"units": "um"}), x=("x", [10.0, 12.0], {"units": "um"})
        )
        centre = mask.drop_vars("x").labels.center_of_mass(image)
        assert centre.values.tolist() == [[2.0, 11.0]]
        assert centre.attrs["units"] == "um"

    def test_other_dims_of_the_weights_are_kept(self):
        labels = blobs((12, 15), 5)
        pixels = np.random.default_rng(0).random((12, 3, 15))
        image = xr.DataArray(pixels, dims=("y", "c", "x"), coords={"c": ["a", "b", "d"]})
        mask = xr.DataArray(labels, dims=("y", "x")).transpose("x", "y")
        for weights in (image, image.chunk(c=2, y=5)):
            result = mask.labels.center_of_mass(weights)
            assert result.dims == ("label", "c", "axis")
            assert result["axis"].values.tolist() == ["x", "y"]
            for c, channel in enumerate(image["c"].values):
                expected = ndi.center_of_mass(pixels[:, c], labels, result["label"].values)
                found = result.sel(c=channel, axis=["y", "x"])
                # Positions are summed from the middle of an axis, so what is 0 may be off by its rounding.
                np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)

    def test_requested_labels(self):
        mask = xr.DataArray([0, 3, 3, 5], dims="x")
        for array in (mask, mask.chunk(x=2)):
            result = array.labels.center_of_mass(labels=[5, 4, 3])
            np.testing.assert_array_equal(result, [[3], [np.nan], [1.5]])
            assert array.labels.center_of_mass(background=True)["label"].values.tolist() == [0, 3, 5]

    @pytest.mark.parametrize("lazy", [False, True])
    def test_nothing_there(self, lazy):
        mask = xr.DataArray(np.zeros((4, 5), int), dims=("y", "x"))
        mask = mask.chunk(2) if lazy else mask
        assert mask.labels.center_of_mass().compute().shape == (0, 2)
        assert mask.instances.radii_and_axes().compute()["axis_vector"].shape == (0, 2, 2)

    def test_coords_without_numbers(self):
        mask = xr.DataArray([1, 1], dims="x", coords={"x": ["a", "b"]})
        with pytest.raises(
            ValueError, match=r"the coordinate 'x' holds .*, not numbers.*drop it for positions in pixels"
        ):
            mask.labels.center_of_mass()
        assert mask.labels.center_of_mass(units="pixel").item() == 0.5


def test_float32_coordinates_are_even_up_to_their_rounding():
    x = (np.arange(2048) * 0.325).astype(np.float32)
    mask = xr.DataArray(np.ones(2048, int), dims="x", coords={"x": x})
    np.testing.assert_allclose(mask.instances.radii_and_axes()["radius"], [[x.astype(float).std(ddof=1)]], rtol=1e-6)
    image = xr.ones_like(mask, float).assign_coords(x=np.arange(2048) * 0.325)
    assert image.labels.sum(mask).item() == 2048


@pytest.mark.parametrize(
    ("x", "complaint"),
    [
        ([0.0, 5.0, np.nan, 3.0], "'x' is nan at index 2"),
        ([0.0, 1.0, 2.0, np.nan], "'x' is nan at index 3"),
        ([0.0, 1.0, 2.1, 3.0], "not evenly spaced"),
    ],
)
def test_coordinates_with_gaps_are_not_even(x, complaint):
    mask = xr.DataArray(np.ones(4, int), dims="x", coords={"x": x})
    with pytest.raises(ValueError, match=complaint):
        mask.instances.radii_and_axes()


def test_infinite_weights_make_no_warning():
    weights = xr.DataArray([np.inf, 1.0, -np.inf, 2.0], dims="x").chunk(x=1)
    centre = xr.DataArray([1, 1, 1, 1], dims="x").chunk(x=1).labels.center_of_mass(weights)
    assert np.isnan(centre).all()


def test_a_dim_of_the_weights_named_axis_is_a_clash():
    weights = xr.DataArray(np.ones((2, 3)), dims=("axis", "x"))
    with pytest.raises(ValueError, match="'axis', a dim or coordinate of the image, is a name of the result"):
        xr.DataArray([1, 1, 1], dims="x").labels.center_of_mass(weights)
    with pytest.raises(TypeError, match=r"an image is an xarray\.DataArray, not ndarray"):
        xr.DataArray([1, 1, 1], dims="x").labels.center_of_mass(np.ones(3))
