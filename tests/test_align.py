"""What input gets which complaint, word for word, and what is accepted in silence."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from xarray.backends import BackendArray
from xarray.core.indexing import LazilyIndexedArray

from xlabelstats.align import align, check_match, display_name


def image(**sizes: int) -> xr.DataArray:
    sizes = sizes or {"c": 2, "y": 4, "x": 6}
    return xr.DataArray(np.arange(float(np.prod(list(sizes.values())))).reshape(*sizes.values()), dims=list(sizes))


def mask(**sizes: int) -> xr.DataArray:
    sizes = sizes or {"y": 4, "x": 6}
    return xr.DataArray(np.ones(tuple(sizes.values()), np.int32), dims=list(sizes))


def complaint(kind: type[Exception], picture: xr.DataArray, mask: object, *args: object, **options: object) -> str:
    """The message, which must be the same for numpy and dask input."""
    messages = []
    for lazy in (False, True):
        if lazy and isinstance(mask, xr.DataArray) and mask.dtype != object:
            picture, mask = picture.chunk(), mask.chunk()
        with pytest.raises(kind) as error:
            picture.labels.aggregate(mask, *args, **options)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    return messages[0]


class TestMask:
    def test_float(self):
        expected = (
            "a mask holds integer labels, not float64; cast it with mask.astype('int32'), "
            "after checking that its values are whole numbers"
        )
        with pytest.raises(TypeError) as error:
            image().labels.aggregate(mask().astype(float))
        assert str(error.value) == expected
        for unread in (mask().astype(float).chunk(), mask().astype(float).where(mask() > 5).chunk()):
            with pytest.raises(TypeError) as error:
                image().labels.aggregate(unread)
            assert str(error.value) == (
                f"{expected}; if it has NaN, which would become a label: mask.fillna(0).astype('int32')"
            )

    @pytest.mark.parametrize("dtype", ["f4", "f8", object])
    def test_float_with_nan_where_no_object_is(self, dtype):
        labels = xr.DataArray([[0, 3, 3], [0, 0, 5]], dims=("y", "x"))
        holey = labels.where(labels > 0).astype(dtype)
        with pytest.raises(TypeError) as error:
            holey.labels.count()
        assert str(error.value) == (
            f"a mask holds integer labels, not {np.dtype(dtype)}; it has NaN, which a cast alone would make a label; "
            "fill it first: mask.fillna(0).astype('int32'), after checking that its values are whole numbers"
        )
        advice = str(error.value).partition("first: ")[2].partition(",")[0]
        assert eval(advice, {"mask": holey}).labels.count().to_series().to_dict() == {3: 2, 5: 1}

    def test_object(self):
        assert "not object; cast it" in complaint(TypeError, image(), mask().astype(object))

    def test_bare_array(self):
        assert complaint(TypeError, image(), np.ones((4, 6), int)) == (
            'a mask is an xarray.DataArray, not ndarray; name its dims: xr.DataArray(mask, dims=("y", "x"))'
        )

    def test_without_dims(self):
        assert complaint(ValueError, image(), xr.DataArray(1)).startswith("a mask needs at least one dim")

    def test_dims_not_in_the_image(self):
        assert complaint(ValueError, image(), mask(z=2, y=4, x=6)) == (
            "the image has no dim 'z' of the mask: image (c: 2, y: 4, x: 6), mask (z: 2, y: 4, x: 6). "
            "Rename dims with .rename, drop one of length 1 from the mask with .squeeze, or repeat the image along it: "
            "image.expand_dims({'z': 2})"
        )
        np.testing.assert_array_equal(image().expand_dims({"z": 2}).labels.mean(mask(z=2, y=4, x=6)), [[11.5, 35.5]])

    def test_image_and_mask_swapped(self):
        assert "or are the two swapped? It is image.labels...(mask)" in complaint(
            ValueError, mask(), image().astype(int)
        )

    def test_sizes_differ(self):
        assert complaint(ValueError, image(), mask(y=5, x=6)) == (
            "image and mask differ in size: 'y' is 4 in the image and 5 in the mask. Bring both to the same grid first"
            ": calls that measure do so with align='nearest', by coordinates"
        )

    def test_unknown_chunks(self):
        unknown = xr.DataArray(da.ones(6, dtype=int, chunks=3), dims="x")
        unknown.data._chunks = ((np.nan, np.nan),)
        with pytest.raises(ValueError, match=r"chunks of the mask along 'x' have unknown sizes.*compute_chunk_sizes"):
            image(x=6).labels.aggregate(unknown)


class TestImage:
    @pytest.mark.parametrize("dtype", ["complex64", "datetime64[ns]", "U1", "object"])
    def test_not_numbers(self, dtype):
        pixels = xr.DataArray(np.zeros((4, 6), dtype), dims=("y", "x"))
        assert complaint(TypeError, pixels, mask()).startswith("an image holds numbers")

    def test_a_dim_label(self):
        assert complaint(ValueError, image(label=2, y=4, x=6), mask()) == (
            "the image already has a dim 'label', the name of the results' dim; rename it: image.rename(label='...')"
        )

    def test_a_coord_label(self):
        assert "already has a coord 'label'" in complaint(ValueError, image().assign_coords(label=3), mask())
        assert "the mask already has a coord" in complaint(ValueError, image(), mask().assign_coords(label=3))

    def test_a_dim_named_like_a_statistic(self):
        assert complaint(ValueError, image(mean=2, y=4, x=6), mask(), "mean") == (
            "'mean', a dim or coordinate of the image, is a name of the result; rename it with .rename"
        )
        assert image(mean=2, y=4, x=6).labels.max(mask()).dims == ("label", "mean")


class TestMatch:
    """What is no match is said without a pixel being read."""

    class Unread(BackendArray):
        """An array in a file that must not be read."""

        def __init__(self, shape: tuple[int, ...], dtype: type) -> None:
            self.shape, self.dtype = shape, np.dtype(dtype)

        def __getitem__(self, key: object) -> np.ndarray:
            raise AssertionError("pixels were read")

    def unread(self, dims: tuple[str, ...], shape: tuple[int, ...], dtype: type) -> xr.DataArray:
        return xr.DataArray(xr.Variable(dims, LazilyIndexedArray(self.Unread(shape, dtype))))

    @pytest.mark.parametrize("dtype", [int, bool])
    def test_nothing_is_read(self, dtype):
        picture = self.unread(("c", "y", "x"), (2, 4, 6), float)
        check_match(picture, self.unread(("y", "x"), (4, 6), dtype))
        with pytest.raises(AssertionError, match="were read"):
            align(picture, self.unread(("y", "x"), (4, 6), dtype))
        with pytest.raises(ValueError, match="differ in size: 'x' is 6 in the image and 5 in the mask"):
            check_match(picture, self.unread(("y", "x"), (4, 5), dtype))

    def test_unknown_chunks(self):
        unknown = xr.DataArray(da.ones(6, dtype=int, chunks=3), dims="x")
        unknown.data._chunks = ((np.nan, np.nan),)
        with pytest.raises(ValueError, match="chunks of the mask along 'x' have unknown sizes"):
            check_match(image(x=6), unknown)


class TestCoords:
    def test_different_coords_are_an_error_not_an_inner_join(self):
        a = image(y=4, x=6).assign_coords(y=[0.0, 0.5, 1.0, 1.5])
        b = mask().assign_coords(y=[0.0, 0.5, 1.01, 1.5])
        assert complaint(ValueError, a, b) == (
            "the coordinates of image and mask differ along 'y', first at index 2: 1.0 in the image, 1.01 in the mask. "
            "If the pixels do match, drop one side's coordinates: mask.drop_vars('y'). If not, bring the mask to the "
            "image's pixels: calls that measure do so with align='nearest', by coordinates; by hand it is "
            "mask.reindex_like(image, method='nearest', fill_value=0), with tolerance= for how far a pixel may be"
        )

    def test_names_as_coords(self):
        a = image(y=4, x=2).assign_coords(x=["a", "b"])
        b = mask(y=4, x=2).assign_coords(x=["a", "c"])
        assert "first at index 1: b in the image, c in the mask" in complaint(ValueError, a, b)

    def test_reversed_coords_differ(self):
        a, b = image(x=3).assign_coords(x=[0, 1, 2]), mask(x=3).assign_coords(x=[2, 1, 0])
        assert "along 'x', first at index 0" in complaint(ValueError, a, b)

    def test_rounding_is_no_difference(self):
        a = image(x=3).assign_coords(x=[1000.0, 1000.1, 1000.2])
        b = mask(x=3).assign_coords(x=[1000.0, 1000.1 + 5e-8, 1000.2])
        assert a.labels.sum(b).item() == 3
        with pytest.raises(ValueError, match="differ along 'x', first at index 1"):
            a.labels.sum(b.assign_coords(x=[1000.0, 1000.1 + 5e-7, 1000.2]))

    def test_coords_on_one_side_only(self):
        x = [0.5, 1.5, 2.5]
        assert image(x=3).assign_coords(x=x).labels.sum(mask(x=3)).item() == 3
        assert image(x=3).labels.sum(mask(x=3).assign_coords(x=x)).item() == 3

    def test_one_pixel(self):
        a, b = image(x=1).assign_coords(x=[3.0]), mask(x=1).assign_coords(x=[3.0 + 1e-9])
        assert a.labels.sum(b).item() == 0
        with pytest.raises(ValueError, match="differ along 'x'"):
            a.labels.sum(b.assign_coords(x=[4.0]))


class TestKindsOfArray:
    def test_dask_and_numpy_mix(self):
        expected = image().labels.sum(mask())
        for a, b in (
            (image().chunk(x=2), mask()),
            (image(), mask().chunk(y=3)),
            (image().chunk(c=1), mask().chunk(x=5)),
        ):
            result = a.labels.sum(b)
            assert result.chunks is not None
            xr.testing.assert_identical(result.compute(), expected)

    def test_cupy_and_numpy_do_not(self, monkeypatch):
        class ndarray(np.ndarray):
            __module__ = "cupy"

        device = image().data.view(ndarray)
        a = image().copy(data=device)
        assert type(a.data) is ndarray
        with pytest.raises(TypeError) as error:
            a.labels.sum(mask())
        assert str(error.value) == (
            "the image is on the GPU (CuPy) and the mask in main memory (numpy); move one: "
            "mask.cupy.as_cupy() with cupy-xarray, or image.as_numpy()"
        )


class TestArguments:
    def test_unknown_statistic(self):
        assert complaint(ValueError, image(), mask(), ["mean", "meen"]) == (
            "unknown statistic 'meen', did you mean 'mean'? "
            "There are: count, sum, mean, var, skew, kurtosis, min, max, std, valid, median, mode, prod, any, all, "
            "first, last, argmin, argmax"
        )

    def test_statistics_that_are_no_names(self):
        message = complaint(TypeError, image(), mask(), mask())
        assert message == "a statistic is a name or a flox.Aggregation, not DataArray"
        assert complaint(TypeError, image(), mask(), 3) == "a statistic is a name or a flox.Aggregation, not int"
        assert "there is image.instances.statistics(mask" in complaint(TypeError, image(), mask(), len)

    def test_no_statistic(self):
        assert complaint(ValueError, image(), mask(), []).startswith("no statistic was asked for; there are: count")

    def test_repeated_labels(self):
        assert complaint(ValueError, image(), mask(), labels=[3, 1, 3]) == (
            "labels are each given once, but 3 is given 2 times"
        )

    @pytest.mark.parametrize("labels", [[1.5], ["a"], [[1, 2]], {1, 2}, "3", [1, np.nan], np.inf, [None], 1.5])
    def test_labels_that_are_none(self, labels):
        assert complaint(TypeError, image(), mask(), labels=labels) == (
            f"labels are whole numbers, one or a 1-D sequence of them, not {labels!r}"
        )

    @pytest.mark.parametrize("labels", [[True, False], np.array([True, True, False])])
    def test_booleans_that_choose_labels(self, labels):
        assert complaint(TypeError, image(), mask(), labels=labels) == (
            f"labels are ids, and these are {len(labels)} booleans; choose ids by them: mask.labels.ids()[labels]"
        )

    @pytest.mark.parametrize(
        ("labels", "expected"),
        [
            ([9.0, 3.0], [9, 3]),
            (np.array([9, 3], np.float32), [9, 3]),
            (pd.Index([9.0, 3.0]), [9, 3]),
            (pd.Index([9, 3], dtype="Int64"), [9, 3]),
            (pd.Series([9.0, 3.0]), [9, 3]),
            (xr.DataArray([9.0, 3.0], dims="label"), [9, 3]),
            (7, [7]),
            (7.0, [7]),
            (np.uint8(7), [7]),
            (np.array(7), [7]),
            (np.True_, [1]),
            ([np.True_], [1]),
            ([], []),
            ([2.0**60, 3], [2**60, 3]),
        ],
    )
    def test_whole_numbers_are_labels(self, labels, expected):
        labels_of = mask().astype(np.int64) * 9
        for picture, own in ((image(), labels_of), (image().chunk(), labels_of.chunk())):
            result = picture.labels.sum(own, labels=labels)
            assert result["label"].dtype == np.int64
            assert result["label"].values.tolist() == expected
            assert picture.instances.median(own, labels=labels)["label"].values.tolist() == expected

    def test_labels_beyond_the_type(self):
        unsigned = mask().astype(np.uint64)
        assert (
            complaint(ValueError, image(), unsigned, labels=[1, -1])
            == "label -1 cannot occur in a mask of dtype uint64"
        )
        assert "cannot occur in a mask of dtype int32" in complaint(ValueError, image(), mask(), labels=[2**63])


def names_in(result: xr.DataArray | xr.Dataset) -> tuple[object, dict[Hashable, str | None]]:
    """The name of a result, and the names in words of what it holds."""
    variables = result.variables if isinstance(result, xr.Dataset) else {"": result, **result.coords}
    return getattr(result, "name", None), {name: each.attrs.get("long_name") for name, each in variables.items()}


class TestNames:
    def test_a_name_that_dask_made_up_is_none(self) -> None:
        lazy = xr.DataArray(da.zeros((4, 4), dtype=np.uint8), dims=("y", "x"))
        assert lazy.name is not None
        assert display_name(lazy, "image") == "image"
        assert display_name(lazy.rename("nuclei"), "image") == "nuclei"
        assert display_name(xr.DataArray([0], dims="x"), "image") == "image"

    @pytest.mark.parametrize(
        "name",
        [
            "nuclei",
            "nuclei-2",
            "0123456789abcdef0123456789abcdef.tif",
            "0123456789abcdef0123456789abcdef",
            "3f2a1b2c-1111-4222-8333-444455556666",
            "sample-3f2a1b2c-1111-4222-8333-444455556666",
            7,
        ],
    )
    def test_a_name_of_the_user_is_kept_with_what_looks_like_a_token_in_it(self, name: object) -> None:
        assert display_name(xr.DataArray([0], dims="x", name=name), "image") == str(name)

    @pytest.mark.parametrize(
        "made_from",
        [
            lambda array: array,
            lambda array: array * 1,
            lambda array: array[..., 1:],
            lambda array: array.chunk(y=3),
            lambda array: array.compute(),
        ],
        ids=["itself", "arithmetic", "a part", "other chunks", "computed"],
    )
    @pytest.mark.parametrize("name", [None, False], ids=["token", "UUID"])
    def test_results_are_named_as_those_of_arrays_without_a_name(self, made_from: Any, name: Any) -> None:
        rng = np.random.default_rng(0)
        bare = [
            xr.DataArray(rng.random((2, 9, 9)), dims=("c", "y", "x")),
            xr.DataArray(rng.integers(0, 4, (9, 9)), dims=("y", "x")),
        ]
        named = [xr.DataArray(da.from_array(array.values, chunks=5, name=name), dims=array.dims) for array in bare]
        (image, mask), (same, labels) = (tuple(map(made_from, arrays)) for arrays in (named, bare))
        assert image.name is not None
        for call in (
            lambda image, mask: image.labels.aggregate(mask),
            lambda image, mask: image.labels.correlation(mask),
            lambda image, mask: image.labels.mean(mask, per="y"),
            lambda image, mask: mask.labels.center_of_mass(image[0]),
            lambda image, mask: mask.labels.distance_to(mask, 2),
            lambda image, mask: image.instances.windows(mask),
            lambda image, mask: image.instances.quantiles(mask),
            lambda image, mask: image.instances.featurize(
                mask, lambda batch: batch.reshape(len(batch), -1)[:, :2], size=24, n_features=2
            ),
            lambda image, mask: mask.labels.relabel(),
            lambda image, mask: mask.labels.keep([1]),
            lambda image, mask: mask.labels.shrink(1),
            lambda image, mask: mask.labels.paint(image[0, :4, 0].rename(y="label").assign_coords(label=range(4))),
        ):
            assert names_in(call(image, mask)) == names_in(call(same, labels))

    @pytest.mark.parametrize("name", [None, False], ids=["token", "UUID"])
    def test_a_column_of_numbers_without_a_name_is_value(self, name: Any) -> None:
        numbers = xr.DataArray(da.from_array(np.arange(3.0), name=name), dims="label", coords={"label": [1, 2, 3]})
        for array in (numbers, numbers * 2, numbers.compute()):
            assert list(array.labels.to_dataframe()) == ["value"]
            with pytest.raises(ValueError, match="the array has no name, so its statistic is not known"):
                array.labels.rollup({1: 1})
        assert list(numbers.rename("area").labels.to_dataframe()) == ["area"]
