"""What holds for every call: the same for any form of the same input, and what it gives may be written to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from calls import CALLS, Call
from layouts import INTEGERS, LAYOUTS, pool

COORDS = {"y": [0.5, 1.0, 1.5, 2.0], "x": [10.0, 11, 12, 13, 14]}


def small(**coords: Any) -> tuple[xr.DataArray, xr.DataArray]:
    """An image of two channels and a mask of four labels, one of which lies in two places."""
    labels = np.array([[0, 1, 1, 2, 2], [0, 3, 3, 2, 0], [5, 5, 0, 2, 1], [5, 0, 0, 1, 1]], np.int32)
    values = np.random.default_rng(0).random((2, 4, 5)) * 50
    image = xr.DataArray(values, dims=("c", "y", "x"), coords={"gain": ("c", [1.0, 2.0]), "c": [5.0, 6.0]} | coords)
    return image, xr.DataArray(labels, dims=("y", "x"))


def plain(result: Any) -> xr.Dataset:
    """A result as a Dataset of numpy arrays, in the order of labels."""
    if isinstance(result, np.ndarray):
        return xr.Dataset(coords={"label": result})
    if isinstance(result, xr.DataArray):
        result = result.to_dataset(name=result.name or "values")
    elif not isinstance(result, xr.Dataset):
        result = result.to_xarray()
    index = result.indexes.get("label")
    return result if index is None or index.is_monotonic_increasing else result.sortby("label")


def measured(image: xr.DataArray, mask: xr.DataArray, calls: Mapping[str, Call] = CALLS) -> dict[str, xr.Dataset]:
    """What calls give, in one computation for those that are lazy."""
    results = {name: call.run(image, mask) for name, call in calls.items()}
    return dict(zip(results, map(plain, dask.compute(*results.values(), traverse=False)), strict=True))


@cache
def of_small() -> dict[str, xr.Dataset]:
    """What every call gives for `small`, in memory."""
    return measured(*small())


@cache
def of_small_with_coords() -> dict[str, xr.Dataset]:
    """The same with coordinates of the image; a mask alone has those that it has."""
    return {name: measured(*with_coords(call), {name: call})[name] for name, call in CALLS.items()}


@cache
def of_bare() -> dict[str, xr.Dataset]:
    """The same without any coordinates."""
    return measured(*bare())


def bare() -> list[xr.DataArray]:
    """`small` without any coordinates."""
    return [array.drop_vars(list(array.coords)) for array in small()]


@cache
def coordinates() -> xr.Coordinates:
    """Those of `COORDS`."""
    return small(**COORDS)[0].coords


def with_coords(call: Call) -> tuple[xr.DataArray, xr.DataArray]:
    """An image with coordinates, and a mask that has them only where it is measured alone."""
    image, mask = small()
    coords = coordinates()
    return image.assign_coords(coords), mask if call.image else mask.assign_coords(y=coords["y"], x=coords["x"])


def assert_same(found: xr.Variable, expected: xr.Variable, name: str, roughly: bool = False) -> None:
    """The same to rounding, which differs with the order in which blocks are merged."""
    assert set(found.dims) == set(expected.dims), name
    values, wanted = found.transpose(*expected.dims).values, expected.values
    if wanted.dtype.kind in "iuf" and (values.dtype, values.tobytes()) == (wanted.dtype, wanted.tobytes()):
        return
    if wanted.dtype.kind not in "iuf":
        assert (values == wanted).all(), name
    elif roughly:
        np.testing.assert_allclose(values, wanted, rtol=1e-6, err_msg=name)
    else:
        assert values.dtype == wanted.dtype, name
        np.testing.assert_allclose(values, wanted, rtol=1e-10, atol=1e-10, err_msg=name)


OTHER_LAYOUTS = {name: layout for name, layout in LAYOUTS.items() if name != "as it is"}

IN_BLOCKS = {"y": (1, 0, 3), "x": (2, 2, 1)}

# Ways in which input may differ from `small`, and the result may not.
SAME = {
    "a list of chunks": lambda i, m: (i.chunk(IN_BLOCKS), m.chunk(IN_BLOCKS)),
    "chunks that differ": lambda i, m: (i.chunk(c=1, y=3, x=2), m.chunk(y=1, x=4)),
    "a dask mask": lambda i, m: (i, m.chunk(y=2)),
    "image, dask": lambda i, m: (i.chunk(c=1, x=3), m),
    "image, any order of dims": lambda i, m: (i.transpose("x", "c", "y"), m),
    "coords on both sides": lambda i, m: (i, m.assign_coords(y=i["y"], x=i["x"])),
    "coords that differ by rounding": lambda i, m: (i, m.assign_coords(y=i["y"] + 1e-12, x=i["x"] * (1 + 1e-13))),
    "coords of another dtype": lambda i, m: (i, m.assign_coords(y=i["y"].astype("f4"), x=i["x"].astype("f4"))),
    "other coords": lambda i, m: (i.assign_coords(depth=3.5), m.assign_coords(area=(("y", "x"), np.ones((4, 5))))),
    **{f"mask, {name}": lambda i, m, f=f: (i, m.copy(data=f(m.values))) for name, f in OTHER_LAYOUTS.items()},
    **{f"image, {name}": lambda i, m, f=f: (i.copy(data=f(i.values)), m) for name, f in OTHER_LAYOUTS.items()},
}


@pytest.mark.filterwarnings("ignore:[0-9] of [0-9] objects reach beyond their window")
class TestEveryCall:
    """What holds for every call in the table."""

    @pytest.mark.parametrize("way", SAME)
    def test_gives_the_same(self, way: str) -> None:
        # What does not read the image does not see that it differs.
        calls = {name: call for name, call in CALLS.items() if call.image or not way.startswith("image")}
        # Other arrays for every call, so that each scans its mask itself.
        results = {name: call.run(*SAME[way](*with_coords(call))) for name, call in calls.items()}
        for name, found in zip(results, dask.compute(*results.values(), traverse=False), strict=True):
            found, expected = plain(found), of_small_with_coords()[name]
            assert found.sizes == expected.sizes, name
            for variable, values in expected.variables.items():
                assert_same(found.variables[variable], values, f"{name}, {variable}", way == "coords of another dtype")

    @pytest.mark.parametrize("dtype", INTEGERS)
    def test_gives_the_same_for_ids_at_the_edges_of_their_dtype(self, dtype: str) -> None:
        image, mask = small()
        nonzero = [n for n in pool(np.dtype(dtype)) if n]
        edges = np.array(nonzero[:2] + nonzero[-2:], dtype)
        lut = np.zeros(6, dtype)
        lut[[1, 2, 3, 5]] = edges
        renamed = mask.copy(data=lut[mask.values])
        calls = {name: call for name, call in CALLS.items() if name != "labels.paint"}
        for arrays in ((image, renamed), [array.chunk(y=3, x=2) for array in (image, renamed)]):
            for name, found in measured(*arrays, calls).items():
                expected = of_small()[name]
                assert found["label"].values.tolist() == edges.tolist(), name
                # The pixels of a mask's windows are the ids.
                own = {"mask"} | ({"features"} if name == "instances.featurize" else set())
                for variable in set(expected.data_vars) - own:
                    assert_same(found.variables[variable], expected.variables[variable], name)

    def test_takes_bool_for_one_label(self) -> None:
        image, mask = small()
        expected = measured(image, (mask > 0).astype(np.uint8))
        for arrays in ((image, mask > 0), (image.chunk(2), (mask > 0).chunk(2))):
            for name, found in measured(*arrays).items():
                xr.testing.assert_allclose(found, expected[name])

    @pytest.mark.filterwarnings("ignore:texture.* lie from 1 to 5 and fill 6 of 256")
    def test_takes_a_mask_for_the_image(self) -> None:
        _, mask = small()
        expected = measured(mask.copy(), mask)
        for labels in (mask, mask.chunk(2)):
            for name, found in measured(labels, labels).items():
                xr.testing.assert_allclose(found, expected[name])

    @pytest.mark.parametrize("empty", ["background", "no rows", "no columns", "no channels"])
    @pytest.mark.parametrize("chunk", [None, 2, -1])
    def test_keeps_dims_and_dtypes_where_there_is_nothing(self, empty: str, chunk: int | None) -> None:
        image, mask = small()
        where = {"no rows": {"y": slice(0)}, "no columns": {"x": slice(0)}, "no channels": {"c": slice(0)}}.get(
            empty, {}
        )
        none = mask * 0 if empty == "background" else mask.isel({k: v for k, v in where.items() if k != "c"})
        pixels = image.isel(where)
        for name, found in measured(*(a.chunk(chunk) if chunk else a for a in (pixels, none))).items():
            full = of_small()[name]
            if name == "labels.to_dataframe" and empty == "no channels":
                continue
            assert list(found.variables) == list(full.variables), name
            for variable, values in full.variables.items():
                assert found.variables[variable].dims == values.dims, name
                assert found.variables[variable].dtype == values.dtype, name
            if "label" in found.dims and empty != "no channels":
                assert found.sizes["label"] == 0, name

    @pytest.mark.parametrize("lazy", [False, True])
    def test_gives_what_may_be_written_to(self, lazy: bool) -> None:
        image, mask = small()
        pixels, labels = (a.chunk(2) if lazy else a for a in (image, mask))
        coords = [coord.values.copy() for coord in image.coords.values()]
        before = measured(*(a.copy() for a in (pixels, labels))) if lazy else of_small()
        results = [call.run(pixels, labels) for call in CALLS.values()]
        for name, result in zip(CALLS, dask.compute(*results, traverse=False), strict=True):
            spoil(result)
            for coord, was in zip(image.coords.values(), coords, strict=True):
                assert (coord.values == was).all(), name
        for name, again in measured(pixels, labels).items():
            xr.testing.assert_identical(again, before[name])
        xr.testing.assert_identical(pixels.compute(), small()[0])
        xr.testing.assert_identical(labels.compute(), small()[1])


def spoil(result: Any) -> None:
    """Write to all of a result that can be written to."""
    if isinstance(result, np.ndarray):
        result[:] = 77
        return
    if not isinstance(result, xr.DataArray | xr.Dataset):
        result.iloc[:] = 77
        return
    parts = [*([result] if isinstance(result, xr.DataArray) else result.values()), *result.coords.values()]
    for part in parts:
        part.attrs["spoiled"] = True
        if part.values.flags.writeable:
            part.values[...] = "w" if part.dtype.kind in "UOT" else 77


@pytest.mark.filterwarnings("ignore:[0-9] of [0-9] objects reach beyond their window")
class TestFound:
    """Input that was once measured wrongly, or not at all."""

    def test_no_pixels_in_several_empty_chunks(self) -> None:
        image, mask = (array.isel(y=slice(0), x=slice(0)) for array in small())
        expected = measured(image, mask)
        for one, other in (((0, 0), (0,)), ((0,), (0, 0))):
            for labels in (mask, mask > 0):
                for name, found in measured(image.chunk(y=one, x=one), labels.chunk(y=other, x=other)).items():
                    assert found.sizes == expected[name].sizes, name
                    assert "label" not in found.coords or found["label"].dtype.kind in "iu", name

    def test_quantiles_beside_an_infinite_pixel(self) -> None:
        mask = xr.DataArray([1, 1, 2, 2, 3, 3], dims="x")
        image = xr.DataArray([0, -np.inf, np.inf, 0, np.inf, -np.inf], dims="x")
        found = image.instances.quantiles(mask, [0, 0.25, 0.5, 1])
        expected = [[-np.inf, -np.inf, -np.inf, 0], [0, np.inf, np.inf, np.inf], [-np.inf, np.nan, np.nan, np.inf]]
        np.testing.assert_array_equal(found, expected)

    @pytest.mark.parametrize("dim", [0, ("a", "b"), None])
    def test_dims_whose_names_are_no_strings(self, dim: Any) -> None:
        renamed = [xr.DataArray(a.values, dims=[dim if own == "y" else own for own in a.dims]) for a in bare()]
        expected = of_bare()
        for arrays in (renamed, [array.chunk({"x": 2}) for array in renamed]):
            for name, found in measured(*arrays).items():
                if dim not in found.dims:
                    for variable in expected[name].data_vars:
                        if f"order_{dim}" not in found[variable].dims:
                            np.testing.assert_allclose(
                                found[variable], expected[name][variable], err_msg=name, atol=1e-9
                            )

    def test_a_scan_is_not_changed_by_whoever_writes_to_a_result(self) -> None:
        image, mask = (array.chunk(2) for array in small())
        for result in (image.labels.mean(mask), mask.labels.scan(), mask.instances.windows(3)):
            if result["label"].values.flags.writeable:
                result["label"].values[0] = 99
            assert mask.labels.ids().tolist() == [1, 2, 3, 5]
        ids = mask.labels.ids()
        ids[:] = 0
        assert mask.labels.ids().tolist() == [1, 2, 3, 5]

    def test_a_threshold_of_chunks_without_pixels(self) -> None:
        from xlabelstats.pipeline import threshold

        image, _ = small()
        found = threshold(image.chunk(y=(0, 4), x=(5, 0)), "otsu")
        xr.testing.assert_equal(found.compute(), threshold(image, "otsu"))
