"""Region properties against scikit-image, on real nuclei and awkward shapes."""

from __future__ import annotations

import itertools
import warnings

import dask
import numpy as np
import pytest
import xarray as xr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.measure import regionprops as skimage_regionprops

from xlabelstats.labels.regionprops import PROPERTIES, WHOLE_OBJECT

OF_MASK = tuple(name for name, spec in PROPERTIES.items() if not spec.reads_image)
OF_IMAGE = tuple(name for name, spec in PROPERTIES.items() if spec.reads_image)


def in_reach(names: tuple[str, ...], ndim: int, spacing: object = None) -> list[str]:
    """The names that scikit-image defines for this many dims and this spacing."""
    flat = [name for name in names if ndim == 2 or not PROPERTIES[name].only_2d]
    uneven = np.size(spacing) > 1 and len(set(spacing)) > 1
    flat = [name for name in flat if not (uneven and PROPERTIES[name].only_isotropic)]
    return [name for name in flat if spacing in (None, 1) or not name.endswith("_hu")]


def assert_is_skimage(
    result: xr.Dataset,
    labels: np.ndarray,
    image: np.ndarray | None = None,
    spacing: object = None,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        regions = skimage_regionprops(labels, image, spacing=spacing)
        expected = {name: np.array([np.asarray(getattr(region, name), float) for region in regions]) for name in result}
        eigenvalues = [region.inertia_tensor_eigvals for region in regions]
    assert result["label"].values.tolist() == [region.label for region in regions]
    if not regions:
        return
    for name, variable in result.items():
        wanted, found = expected[str(name)], variable.values
        if name == "bbox":
            wanted = wanted.reshape(found.shape)
        assert found.shape == wanted.shape, name
        if name == "orientation":
            # Where the eigenvalues tie, the major axis points anywhere.
            firm = np.array([large - small > 1e-9 * large for large, small in eigenvalues], bool)
            np.testing.assert_allclose(found[firm], wanted[firm], atol=1e-9)
            continue
        # To 1e-10 of the largest entry of each label's tensor.
        axes = tuple(range(1, wanted.ndim))
        scale = np.nanmax(np.abs(wanted), axis=axes, keepdims=True) if wanted.size else wanted
        rough = 1e-10 * np.broadcast_to(scale, wanted.shape)
        if "hu" in str(name):
            rough = np.maximum(rough, 1e-13)
        if name in ("eccentricity", "axis_minor_length", "axis_major_length"):
            rough = rough + 1e-6 * (np.abs(wanted) < 1e-5)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted), err_msg=str(name))
        gap = np.abs(found - wanted) - rough
        assert not (gap > 1e-12).any(), (name, np.nanmax(gap))


def made(shape: tuple[int, ...]) -> np.ndarray:
    """Single pixels, lines one pixel wide, and blobs that touch every border and corner."""
    labels = blobs(shape, 9, seed=3)
    corners = itertools.product(*((0, n - 1) for n in shape))
    for label, corner in enumerate(corners, 101):
        labels[corner] = label
    labels[(shape[0] // 2, *(slice(None),) * (len(shape) - 1))][..., 1] = 120
    labels[(*(n // 2 for n in shape[:-1]), slice(2, -2))] = 121
    labels[(slice(1, -1), *(n // 3 for n in shape[1:]))] = 122
    return labels


def arrays(labels: np.ndarray, image: np.ndarray) -> tuple[xr.DataArray, xr.DataArray]:
    dims = list("zyx")[-labels.ndim :]
    return xr.DataArray(image, dims=dims, name="DAPI"), xr.DataArray(labels, dims=dims)


def image_of(labels: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).gamma(2, 100, labels.shape).astype(np.uint16)


class TestAgainstSkimage:
    @pytest.mark.parametrize("spacing", [None, 0.5, "each"])
    @pytest.mark.parametrize("chunk", [None, 11, 64])
    @pytest.mark.parametrize("field", ["nuclei2d", "nuclei3d", "made2d", "made3d"])
    def test_every_property(self, request, field, chunk, spacing):
        if field.startswith("nuclei"):
            image, mask = request.getfixturevalue(field)
        else:
            labels = made((23, 31) if field == "made2d" else (9, 12, 15))
            image, mask = arrays(labels, image_of(labels))
        if field == "nuclei2d" and chunk == 11:
            image, mask = image[:180, :150], mask[:180, :150]
        step = {None: None, 0.5: (0.5,) * mask.ndim, "each": (2.0, 0.7, 0.3)[-mask.ndim :]}[spacing]
        lazy_image, lazy_mask = (image, mask) if chunk is None else (image.chunk(chunk), mask.chunk(chunk + 2))
        names = in_reach(OF_MASK, mask.ndim, step)
        result = lazy_mask.labels.regionprops(properties=names, spacing=step)
        assert all((variable.chunks is not None) == (chunk is not None) for variable in result.values())
        assert list(result) == names
        assert_is_skimage(result.compute(), mask.values, spacing=step)
        names = in_reach(OF_IMAGE, mask.ndim, step)
        result = lazy_image.labels.regionprops(lazy_mask, names, spacing=step)
        assert_is_skimage(result.compute(), mask.values, image.values, spacing=step)

    @pytest.mark.parametrize("ndim", [2, 3])
    def test_whole_image_as_one_object(self, ndim):
        labels = np.full((17, 19, 21)[:ndim], 3)
        image, mask = arrays(labels, image_of(labels))
        for a, b in ((image, mask), (image.chunk(5), mask.chunk(5))):
            names = in_reach(OF_MASK + OF_IMAGE, ndim)
            assert_is_skimage(a.labels.regionprops(b, names).compute(), labels, image.values)

    @settings(max_examples=30, deadline=None)
    @given(data=st.data())
    def test_any_chunking_of_any_blobs(self, data):
        ndim = data.draw(st.integers(2, 3))
        shape = tuple(data.draw(st.integers(1, 8)) for _ in range(ndim))
        labels = data.draw(hnp.arrays(np.int32, shape, elements=st.integers(0, 3)))
        chunks = dict(zip("zyx"[-ndim:], (data.draw(st.integers(1, n)) for n in shape), strict=True))
        image, mask = arrays(labels, image_of(labels))
        names = in_reach(OF_MASK + OF_IMAGE, ndim)
        assert_is_skimage(image.labels.regionprops(mask.chunk(chunks), names).compute(), labels, image.values)

    def test_several_channels_are_those_one_by_one(self):
        labels = made((20, 24))
        pixels = np.stack([image_of(labels), image_of(labels)[::-1]])
        image = xr.DataArray(pixels, dims=("c", "y", "x"), coords={"c": ["a", "b"]})
        mask = xr.DataArray(labels, dims=("y", "x"))
        names = in_reach(OF_IMAGE, 2)
        for a, b in ((image, mask), (image.chunk(c=1, y=9), mask), (image.transpose("x", "c", "y"), mask)):
            result = a.labels.regionprops(b, names)
            assert result["centroid_weighted"].dims == ("label", "c", "axis")
            assert result["moments_weighted"].dims == ("label", "c", "order_y", "order_x")
            for i, channel in enumerate(["a", "b"]):
                assert_is_skimage(result.sel(c=channel, drop=True).compute(), labels, pixels[i])


class TestSymmetry:
    """Shapes whose axes lie along the grid, or tie: exactly scikit-image's, whatever the chunks."""

    @pytest.mark.parametrize("size", [(2, 7), (7, 2), (1, 5), (5, 1), (2, 2), (3, 3), (5, 5), (7, 7)])
    @pytest.mark.parametrize("at", [(3, 5), (7, 8), (4, 4)])
    @pytest.mark.parametrize("chunk", [(20, 20), (5, 7), (4, 11), (3, 3)])
    def test_orientation_and_eccentricity(self, size, at, chunk):
        labels = np.zeros((20, 20), int)
        labels[at[0] : at[0] + size[0], at[1] : at[1] + size[1]] = 1
        (region,) = skimage_regionprops(labels)
        mask = xr.DataArray(labels, dims=("y", "x")).chunk(y=chunk[0], x=chunk[1])
        result = mask.labels.regionprops(properties=("orientation", "eccentricity")).compute()
        np.testing.assert_allclose(result["orientation"].item(), region.orientation, atol=1e-12)
        np.testing.assert_allclose(result["eccentricity"].item(), region.eccentricity, atol=1e-12)


def test_hu_moments_do_not_depend_on_the_order_of_the_images_dims():
    # The seventh changes sign when an object is mirrored, as it is when its axes are swapped.
    labels = np.zeros((12, 14), int)
    labels[1:9, 2:4] = labels[7:9, 2:8] = labels[5, 4:7] = 1
    image, mask = arrays(labels, 0.02 * np.random.default_rng(0).random(labels.shape))
    (region,) = skimage_regionprops(labels, image.values)
    assert abs(region.moments_weighted_hu[6]) > 1e-3
    for turned in (image, image.T, image.T.chunk(7)):
        found = turned.labels.regionprops(mask, "moments_weighted_hu")["moments_weighted_hu"]
        np.testing.assert_allclose(found[0], region.moments_weighted_hu, rtol=1e-8)


class TestGrid:
    def test_spacing_and_units_come_from_the_coords(self):
        labels = made((20, 24))
        _, mask = arrays(labels, labels)
        mask = mask.assign_coords(
            y=("y", 5 + 0.5 * np.arange(20), {"units": "um"}), x=("x", 0.25 * np.arange(24), {"units": "um"})
        )
        names = [name for name in in_reach(OF_MASK, 2, (0.5, 0.25)) if name != "centroid"]
        result = mask.chunk(7).labels.regionprops(properties=names).compute()
        assert_is_skimage(result, labels, spacing=(0.5, 0.25))
        units = {
            name: result[name].attrs.get("units") for name in ("area", "axis_major_length", "inertia_tensor", "extent")
        }
        assert units == {"area": "um**2", "axis_major_length": "um", "inertia_tensor": "um**2", "extent": None}
        assert result["num_pixels"].attrs["units"] == result["bbox"].attrs["units"] == "pixel"
        centroid = mask.labels.regionprops(properties="centroid")["centroid"]
        for label in np.unique(labels)[1:]:
            y, x = np.nonzero(labels == label)
            expected = [mask["y"].values[y].mean(), mask["x"].values[x].mean()]
            np.testing.assert_allclose(centroid.sel(label=label), expected, rtol=1e-12)

    def test_coords_of_the_image_alone_are_the_masks_too(self):
        labels = made((20, 24))
        image, mask = arrays(labels, image_of(labels))
        image = image.assign_coords(y=2 * np.arange(20), x=3 * np.arange(24))
        names = [name for name in in_reach(OF_MASK + OF_IMAGE, 2, (2, 3)) if "centroid" not in name]
        assert_is_skimage(image.labels.regionprops(mask, names), labels, image.values, spacing=(2, 3))

    def test_uneven_coords_need_a_spacing(self):
        mask = xr.DataArray(np.ones((2, 3), int), dims=("y", "x"), coords={"x": [0.0, 1.0, 3.0]})
        with pytest.raises(ValueError, match=r"coordinates along 'x' are not evenly spaced; give spacing="):
            mask.labels.regionprops()
        assert mask.labels.regionprops(spacing=1)["area"].item() == 6

    def test_spacing_by_dim(self):
        mask = xr.DataArray(np.ones((2, 3), int), dims=("y", "x"))
        assert mask.labels.regionprops(properties="area", spacing={"y": 2.0})["area"].item() == 12

    @pytest.mark.parametrize("spacing", [0, -1, (1, 2, 3), np.nan])
    def test_spacing_that_is_none(self, spacing):
        mask = xr.DataArray(np.ones((2, 3), int), dims=("y", "x"))
        with pytest.raises(ValueError, match="spacing is"):
            mask.labels.regionprops(spacing=spacing)

    def test_spacing_for_a_dim_that_is_not_there(self):
        mask = xr.DataArray(np.ones((2, 3), int), dims=("y", "x"))
        with pytest.raises(ValueError, match="spacing is given for 'z', but the mask has the dims"):
            mask.labels.regionprops(spacing={"z": 2})


class TestResult:
    def test_dims_dtypes_and_coords(self):
        labels = made((9, 12, 15))
        image, mask = arrays(labels, image_of(labels))
        result = image.labels.regionprops(mask, in_reach(OF_MASK + OF_IMAGE, 3))
        assert result["bbox"].dims == ("label", "bound", "axis")
        assert result["bound"].values.tolist() == ["min", "max"]
        assert result["centroid"].dims == ("label", "axis")
        assert result["inertia_tensor"].dims == ("label", "axis", "axis_")
        assert result["moments"].dims == ("label", "order_z", "order_y", "order_x")
        assert result["axis"].values.tolist() == ["z", "y", "x"]
        for name, variable in result.items():
            assert variable.dtype == (np.int64 if name in ("num_pixels", "bbox", "euler_number") else np.float64), name
            assert variable.attrs["long_name"] == name.replace("_", " ")
            assert variable.attrs["description"] == PROPERTIES[name].definition

    def test_default_and_label(self):
        mask = xr.DataArray(np.ones((2, 3), int), dims=("y", "x"))
        assert list(mask.labels.regionprops()) == ["area", "bbox", "centroid"]
        assert list(mask.labels.regionprops(properties=("label", "area"))) == ["area"]

    @pytest.mark.parametrize("lazy", [False, True])
    def test_requested_labels_in_order_absent_ones_blank(self, lazy):
        labels = made((20, 24))
        image, mask = arrays(labels, image_of(labels))
        names = in_reach(OF_MASK + OF_IMAGE, 2)
        whole = image.labels.regionprops(mask, names)
        a, b = (image.chunk(9), mask.chunk(8)) if lazy else (image, mask)
        result = a.labels.regionprops(b, names, labels=[121, 9999, 101]).compute()
        assert result["label"].values.tolist() == [121, 9999, 101]
        for name in names:
            np.testing.assert_allclose(
                result[name].sel(label=[101, 121]), whole[name].sel(label=[101, 121]), rtol=1e-9, atol=1e-9
            )
            blank = result[name].sel(label=9999).values
            assert (blank == 0).all() if name in ("area", "num_pixels") else np.isnan(blank).all(), name

    @pytest.mark.parametrize("lazy", [False, True])
    def test_nothing_there(self, lazy):
        labels = np.zeros((6, 7), int)
        image, mask = arrays(labels, image_of(labels))
        if lazy:
            image, mask = image.chunk(3), mask.chunk(3)
        result = image.labels.regionprops(mask, in_reach(OF_MASK + OF_IMAGE, 2)).compute()
        assert result.sizes["label"] == 0
        assert result["moments_weighted"].shape == (0, 4, 4)

    def test_lazy_for_dask_and_chunked_by_label(self, monkeypatch):
        monkeypatch.setattr("xlabelstats.engine.merge_tree.LABELS_PER_CHUNK", 5)
        labels = made((20, 24))
        image, mask = arrays(labels, image_of(labels))
        names = in_reach(OF_MASK + OF_IMAGE, 2)
        result = image.chunk(6).labels.regionprops(mask.chunk(6), names)
        assert all(dask.is_dask_collection(variable.data) for variable in result.values())
        assert result["inertia_tensor"].chunks[0][0] == 5
        assert {k: v.dtype for k, v in result.items()} == {k: v.dtype for k, v in result.compute().items()}
        assert_is_skimage(result.compute(), labels, image.values)

    def test_nan_pixels_make_a_labels_intensities_nan(self):
        image = xr.DataArray([[1.0, np.nan], [3.0, 4.0]], dims=("y", "x"))
        mask = xr.DataArray([[1, 1], [2, 2]], dims=("y", "x"))
        result = image.labels.regionprops(mask, ("intensity_mean", "centroid_weighted"))
        np.testing.assert_array_equal(result["intensity_mean"], [np.nan, 3.5])
        assert np.isnan(result["centroid_weighted"][0]).any()


class TestComplaints:
    mask = xr.DataArray(np.ones((3, 4), int), dims=("y", "x"))

    @pytest.mark.parametrize("name", WHOLE_OBJECT)
    def test_whole_object_properties_are_elsewhere(self, name):
        with pytest.raises(ValueError, match=rf"{name} needs all pixels of an object at once.*\.instances\."):
            self.mask.labels.regionprops(properties=("area", name))

    def test_unknown(self):
        with pytest.raises(ValueError, match="unknown property 'warmth'; there are: num_pixels, area, bbox"):
            self.mask.labels.regionprops(properties="warmth")

    def test_near_misses_and_misplaced_names(self):
        renamed = "unknown property 'major_axis_length', which is called 'axis_major_length' here"
        with pytest.raises(ValueError, match=renamed):
            self.mask.labels.regionprops(properties="major_axis_length")
        with pytest.raises(ValueError, match="unknown property 'axis_mayor_length', did you mean 'axis_major_length'"):
            self.mask.labels.regionprops(properties="axis_mayor_length")
        with pytest.raises(TypeError, match=r"the first argument is a mask.*or names of properties, not tuple"):
            self.mask.labels.regionprops((1, 2))
        with pytest.raises(ValueError, match="no property was asked for; there are: num_pixels"):
            self.mask.labels.regionprops(properties=())

    @pytest.mark.parametrize("name", OF_IMAGE)
    def test_image_is_needed(self, name):
        with pytest.raises(ValueError, match=rf"{name} needs an image: image\.labels\.regionprops"):
            self.mask.labels.regionprops(properties=name)

    @pytest.mark.parametrize("name", [name for name, spec in PROPERTIES.items() if spec.only_2d])
    def test_not_in_3d(self, name):
        solid = xr.DataArray(np.ones((2, 3, 4), int), dims=("z", "y", "x"))
        with pytest.raises(NotImplementedError, match=rf"{name} is defined for 2-D masks only.*'z', 'y', 'x'"):
            solid.labels.regionprops(solid, properties=name)

    def test_hu_needs_unit_spacing(self):
        with pytest.raises(NotImplementedError, match="moments_hu is defined for a spacing of 1 only"):
            self.mask.labels.regionprops(properties="moments_hu", spacing=2)

    @pytest.mark.parametrize("dims", ["x", "tzyx"])
    def test_other_numbers_of_dims(self, dims):
        mask = xr.DataArray(np.ones((2,) * len(dims), int), dims=list(dims))
        with pytest.raises(ValueError, match="region properties are defined for 2-D and 3-D masks"):
            mask.labels.regionprops()

    def test_the_input_table_holds_here_too(self):
        with pytest.raises(TypeError, match="a mask holds integer labels, not float64"):
            self.mask.astype(float).labels.regionprops()
        with pytest.raises(ValueError, match="image and mask differ in size: 'x' is 3 in the image"):
            self.mask.isel(x=slice(3)).labels.regionprops(self.mask, "intensity_mean")
        with pytest.raises(ValueError, match="differ along 'x', first at index 0"):
            self.mask.assign_coords(x=range(4)).labels.regionprops(
                self.mask.assign_coords(x=range(1, 5)), "centroid_weighted"
            )
