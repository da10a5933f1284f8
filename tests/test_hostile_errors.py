"""Input that cannot be measured: every call says so, in words that name what is wrong and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from calls import CALLS, Call

pytestmark = [
    pytest.mark.filterwarnings("ignore:Duplicate dimension names"),
    pytest.mark.filterwarnings("ignore:.*objects reach beyond their window"),
]

LABELS = np.array([[0, 1, 1, 2], [0, 3, 3, 2], [5, 5, 0, 2]], np.int32)


def mask(values: Any = LABELS, dims: Any = ("y", "x"), **coords: Any) -> xr.DataArray:
    return xr.DataArray(values, dims=dims, coords=coords)


def image(dims: Any = ("c", "y", "x"), dtype: Any = float, **coords: Any) -> xr.DataArray:
    return mask(np.arange(24).reshape(2, 3, 4).astype(dtype), dims, **coords)


def unknown(array: xr.DataArray, dim: str) -> xr.DataArray:
    """The array as a dask array that does not know how large its chunks along a dim are."""
    keep = da.from_array(np.ones(array.sizes[dim], bool), chunks=2)
    axis = array.get_axis_num(dim)
    return xr.DataArray(da.compress(keep, array.data, axis=axis), dims=array.dims)


def read_with_fill_value() -> xr.DataArray:
    """A mask as xarray opens one that is stored with a fill value."""
    opened = mask(LABELS.astype(float))
    opened.encoding["dtype"] = np.dtype("int32")
    return opened


def recast(array: xr.DataArray, function: Callable[..., Any]) -> xr.DataArray:
    """The array with dask blocks that are not as it says."""
    blocks = array.chunk(2).data.map_blocks(function, meta=np.empty((0,) * array.ndim, array.dtype))
    return xr.DataArray(blocks, dims=array.dims)


Case = tuple[Callable[[], Any], type[Exception], str]

# What may be wrong with a mask by itself: how it is made, the error, and what it says.
MASKS: dict[str, Case] = {
    "float": (lambda: mask(LABELS * 1.0), TypeError, "float64.*astype"),
    "float16": (lambda: mask(LABELS.astype("f2")), TypeError, "float16.*astype"),
    "object": (lambda: mask(LABELS.astype(object)), TypeError, "object.*astype"),
    "complex": (lambda: mask(LABELS.astype(complex)), TypeError, "complex128"),
    "dates": (lambda: mask(LABELS.astype("M8[ns]")), TypeError, "datetime64"),
    "durations": (lambda: mask(LABELS.astype("m8[ns]")), TypeError, "timedelta64"),
    "words": (lambda: mask(LABELS.astype(str)), TypeError, "<U11"),
    "read with a fill value": (read_with_fill_value, TypeError, "float64.* stored as int32, .*mask_and_scale=False"),
    "a number": (lambda: xr.DataArray(3), ValueError, "at least one dim"),
    "a dim label": (lambda: mask(dims=("label", "x")), ValueError, r"dim 'label'.*mask.rename\(label="),
    "a coord label": (lambda: mask(label=3), ValueError, r"coord 'label'.*mask.rename\(label="),
    "a coord label along x": (lambda: mask(label=("x", [1, 2, 3, 4])), ValueError, "coord 'label'"),
    "two dims of one name": (lambda: mask(LABELS[:, :3], ("y", "y")), ValueError, r"not told apart.*\('y', 'y'\)"),
    "unknown chunks along y": (lambda: unknown(mask(), "y"), ValueError, "mask along 'y'.*compute_chunk_sizes"),
    "unknown chunks along x": (lambda: unknown(mask(), "x"), ValueError, "mask along 'x'.*compute_chunk_sizes"),
    "blocks of floats": (lambda: recast(mask(), lambda b: b * 1.0), TypeError, "block of the mask holds float64"),
    "blocks of bools": (lambda: recast(mask(), lambda b: b > 0), TypeError, "block of the mask holds bool"),
    "blocks cut short": (lambda: recast(mask(), lambda b: b[:1]), ValueError, r"\(1, 2\).*\(2, 2\).*chunks="),
}

# What may be wrong between an image and a mask.
PAIRS: dict[str, Case] = {
    "no such dim": (lambda: (image(), mask(dims=("z", "x"))), ValueError, "'z'|has the dims of the mask"),
    "sizes": (lambda: (image(), mask(np.ones((3, 5), int))), ValueError, "'x' is 4 in the image and 5 in the mask"),
    "no pixels": (lambda: (image(), mask(np.ones((0, 4), int))), ValueError, "'y' is 3 in the image and 0"),
    "swapped": (lambda: (mask(), image(dtype=int)), ValueError, "swapped|has the dims of the mask"),
    "no image": (lambda: (xr.DataArray(3.0), mask()), ValueError, "image \\(\\)|has the dims of the mask"),
    "coords": (
        lambda: (image(x=[0.0, 1, 2, 3]), mask(x=[0.0, 1, 2.5, 3])),
        ValueError,
        "along 'x', first at index 2: 2.0 in the image, 2.5 in the mask.*drop_vars.*reindex_like",
    ),
    "names as coords": (lambda: (image(x=list("abcd")), mask(x=list("abce"))), ValueError, "index 3: d .*, e in the"),
    "coords of two kinds": (lambda: (image(x=list("abcd")), mask(x=range(4))), ValueError, "index 0: a .*, 0 in the"),
    "an object image": (lambda: (image(dtype=object), mask()), (TypeError, ValueError), "object"),
    "a complex image": (lambda: (image(dtype=complex), mask()), (TypeError, ValueError), "complex128"),
    "an image of dates": (lambda: (image(dtype="M8[ns]"), mask()), (TypeError, ValueError), "datetime64"),
    "an image of words": (lambda: (image(dtype=str), mask()), (TypeError, ValueError), "<U21"),
    "a dim label": (lambda: (image(("label", "y", "x")), mask()), ValueError, r"dim 'label'.*image.rename"),
    "a coord label": (lambda: (image(label=3), mask()), ValueError, r"coord 'label'.*image.rename"),
    "unknown chunks": (lambda: (unknown(image(), "y"), mask()), ValueError, "image along 'y'.*compute_chunk_sizes"),
    "unknown channels": (lambda: (unknown(image(), "c"), mask()), ValueError, "image along 'c'.*compute_chunk_sizes"),
    "both unknown": (lambda: (unknown(image(), "y"), unknown(mask(), "y")), ValueError, "the mask along 'y'"),
    "two channels dims of one name": (
        lambda: (mask(np.zeros((2, 2, 3, 4)), ("c", "c", "y", "x")), mask()),
        ValueError,
        r"dims of the image are not told apart.*\('c', 'c', 'y', 'x'\)",
    ),
    "two dims of one name": (
        lambda: (mask(np.zeros((3, 4, 4)), ("y", "x", "x")), mask()),
        ValueError,
        "dims of the image are not told apart",
    ),
    "an array": (lambda: (image(), LABELS), TypeError, "ndarray.*name its dims: xr.DataArray"),
    "a dask array": (lambda: (image(), da.from_array(LABELS)), TypeError, "Array.*name its dims: xr.DataArray"),
    "a variable": (lambda: (image(), mask().variable), TypeError, "Variable.*name its dims: xr.DataArray"),
    "a Dataset": (lambda: (image(), xr.Dataset({"cells": mask()})), TypeError, "Dataset.*'cells'"),
    "blocks of objects": (lambda: (recast(image(), lambda b: b.astype(object)), mask()), TypeError, "holds object"),
    "blocks of another size": (
        lambda: (recast(image(), lambda b: b[:, :1]), mask()),
        (ValueError, RuntimeError),
        "shape",
    ),
}


def forms(array: Any) -> Iterator[Any]:
    """An array as it is, and if it is none, as a dask array."""
    yield array
    if isinstance(array, xr.DataArray) and array.chunks is None and array.ndim and len(set(array.dims)) == array.ndim:
        yield array.chunk(2)


def assert_says(name: str, call: Call, pixels: Any, labels: Any, kind: Any, says: str) -> None:
    """A call complains in these words, at once or, where only the blocks show what is wrong, when it is computed."""
    for options in ({}, {"labels": [1, 2]}):
        if set(options) <= call.options:
            with pytest.raises(kind) as error:
                call.run(pixels, labels, **options).compute()
            assert re.search(says, str(error.value), re.DOTALL), f"{name}: {error.value}"


@pytest.mark.parametrize("case", MASKS)
def test_a_bad_mask_is_named_by_every_call(case: str) -> None:
    make, kind, says = MASKS[case]
    for name, call in CALLS.items():
        for labels in forms(make()):
            assert_says(name, call, image(), labels, kind, says)


@pytest.mark.parametrize("case", PAIRS)
def test_an_image_and_a_mask_that_do_not_go_together_are_named_by_every_call(case: str) -> None:
    make, kind, says = PAIRS[case]
    pixels, labels = make()
    for name, call in CALLS.items():
        if not call.image or (not isinstance(labels, xr.DataArray) and name == "labels.center_of_mass(weights)"):
            continue
        for one, other in ((pixels, labels), *zip(list(forms(pixels))[1:], forms(labels), strict=False)):
            assert_says(name, call, one, other, kind, says)


FIELD = xr.Dataset({"cells": mask(), "DAPI": image(), "row": ("y", [1, 2, 3]), "names": ("x", list("abcd"))})

# What may be wrong with the other arguments of a call: the call, the error, and all that it says.
ARGUMENTS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "statistic": (
        lambda: image().labels.aggregate(mask(), "meen"),
        ValueError,
        "unknown statistic 'meen', did you mean 'mean'? "
        "There are: count, sum, mean, var, skew, kurtosis, min, max, std, valid",
    ),
    "statistic elsewhere": (
        lambda: image().labels.aggregate(mask(), "quantile"),
        ValueError,
        "unknown statistic 'quantile', which is image.instances.quantiles(mask, q). There are: count",
    ),
    "ddof": (
        lambda: image().labels.var(mask(), ddof="1"),
        TypeError,
        "ddof is a number, not '1'",
    ),
    "one label": (
        lambda: image().labels.mean(mask(), labels=7.5),
        TypeError,
        "labels are whole numbers, one or a 1-D sequence of them, not 7.5",
    ),
    "label twice": (
        lambda: image().labels.mean(mask(), labels=[3, 1, 3]),
        ValueError,
        "labels are each given once, but 3 is given 2 times",
    ),
    "label beyond the dtype": (
        lambda: mask().astype("u8").labels.count(labels=[-1]),
        ValueError,
        "label -1 cannot occur in a mask of dtype uint64",
    ),
    "absent label": (
        lambda: image().instances.windows(mask(), 3, labels=[1, 9]),
        ValueError,
        "the mask has no label 9, so there is no window to cut; mask.labels.ids() lists the labels there are",
    ),
    "units": (
        lambda: mask().labels.center_of_mass(units="um"),
        ValueError,
        "units is 'coords' or 'pixel', not 'um'",
    ),
    "words as coordinates": (
        lambda: mask(x=list("abcd")).labels.center_of_mass(),
        ValueError,
        "the coordinate 'x' holds object, not numbers, so there are no positions in its units; "
        "drop it for positions in pixels: .drop_vars('x')",
    ),
    "uneven coordinates": (
        lambda: mask(x=[0, 1, 2, 4]).instances.radii_and_axes(),
        ValueError,
        "the coordinates along 'x' are not evenly spaced; ask for units='pixel'",
    ),
    "property": (
        lambda: mask().labels.regionprops(properties="aria"),
        ValueError,
        "unknown property 'aria', did you mean 'area'? There are: num_pixels, area, bbox,",
    ),
    "property elsewhere": (
        lambda: mask().labels.regionprops(properties="solidity"),
        ValueError,
        "solidity needs all pixels of an object at once and does not merge across blocks: "
        "see mask.instances.regionprops(properties)",
    ),
    "property of an image": (
        lambda: mask().labels.regionprops(properties="intensity_mean"),
        ValueError,
        "intensity_mean needs an image: image.labels.regionprops(mask, properties=...)",
    ),
    "property in 1-D": (
        lambda: mask([0, 1], ("x",)).labels.regionprops(),
        ValueError,
        "region properties are defined for 2-D and 3-D masks; this one has the dims ('x',)",
    ),
    "spacing": (
        lambda: mask().labels.regionprops(spacing=(1, 0)),
        ValueError,
        "spacing is positive, not (1, 0)",
    ),
    "spacing along no dim": (
        lambda: mask().labels.regionprops(spacing={"z": 2}),
        ValueError,
        "spacing is given for 'z', but the mask has the dims ('y', 'x')",
    ),
    "values to paint": (
        lambda: mask().labels.paint([1, 2]),
        TypeError,
        "values are a DataArray with the dim 'label', a pandas Series or a mapping from label to value, not list",
    ),
    "words to paint": (
        lambda: mask().labels.paint(xr.DataArray([["a"]], dims=("label", "c"), coords={"label": [1], "c": [0]})),
        TypeError,
        "values to paint are numbers, or classes along the dim 'label' alone, not <U1 along ('label', 'c'); give each "
        "class a number",
    ),
    "painted labels that are no integers": (
        lambda: mask().labels.paint({1.5: 2}),
        TypeError,
        "labels are whole numbers, and the index of the values holds float64: 1.5, ...",
    ),
    "size": (
        lambda: image().instances.windows(mask(), 0),
        ValueError,
        "size is at least 1 pixel, not 0",
    ),
    "size along no dim": (
        lambda: image().instances.windows(mask(), {"z": 3}),
        ValueError,
        "size is given for 'z', but the mask has the dims ('y', 'x')",
    ),
    "half a pixel": (
        lambda: image().instances.windows(mask(), 2.5),
        TypeError,
        "size is a whole number of pixels, not 2.5; "
        "give one for all dims, a mapping from dim to number, or None for the smallest that holds every object whole",
    ),
    "no mask": (
        lambda: image().instances.windows(3),
        TypeError,
        "this array holds float64. If it is the image, the mask comes first: image.instances.windows(mask, ...); "
        "if it is the mask, cast it with mask.astype('int32'), after checking that its values are whole numbers",
    ),
    "no mask, but a Dataset": (
        lambda: image(dtype=int).instances.windows(FIELD),
        TypeError,
        "a mask is an xarray.DataArray, not Dataset; choose one of its variables: 'cells', 'DAPI', 'row', 'names'",
    ),
    "None for a mask": (
        lambda: image().labels.mean(None),
        TypeError,
        "a mask is an xarray.DataArray, not NoneType; it holds the label of every pixel, 0 for the background",
    ),
    "batch_size": (
        lambda: image().instances.windows(mask(), 3, batch_size=0),
        ValueError,
        "batch_size is a positive whole number of labels, not 0",
    ),
    "q": (
        lambda: image().instances.quantiles(mask(), 50),
        ValueError,
        "q is a number from 0 to 1, or a 1-D sequence of them, not 50",
    ),
    "method": (
        lambda: image().instances.quantiles(mask(), method="weibull"),
        ValueError,
        "unknown method 'weibull'; there are: linear, lower, higher, midpoint, nearest",
    ),
    "fn": (
        lambda: image().instances.statistics(mask(), "mean", dims={}),
        TypeError,
        "fn is called with the pixels of every object, but str cannot be called",
    ),
    "n_features": (
        lambda: image().instances.featurize(mask(), len, size=3, n_features=-1),
        ValueError,
        "n_features is the number of columns that the model returns, not -1",
    ),
    "whole property": (
        lambda: mask().instances.regionprops("convex_area"),
        ValueError,
        "unknown property 'convex_area', which is called 'area_convex' here. There are: perimeter, ",
    ),
    "no variable of this name": (
        lambda: FIELD.labels.aggregate("nuclei"),
        ValueError,
        "the Dataset has no variable 'nuclei' to use as mask; there are: 'cells', 'DAPI', 'row', 'names'",
    ),
    "nothing to measure": (
        lambda: FIELD[["cells", "row", "names"]].labels.aggregate("cells"),
        ValueError,
        "no variable of the Dataset is numeric and has the dims of the mask ('y', 'x'); "
        "there are: 'row' ('y',) of int64, 'names' ('x',) of <U1",
    ),
    "no rows": (
        lambda: image().to_dataset(name="DAPI").labels.to_dataframe(),
        ValueError,
        "variable 'DAPI' has no dim 'label', so there are no rows; a result of .labels.aggregate has one",
    ),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_a_bad_argument_is_named(case: str) -> None:
    call, kind, says = ARGUMENTS[case]
    with pytest.raises(kind) as error:
        call()
    assert str(error.value).startswith(says)


def test_unknown_chunks_are_mended_as_the_message_says() -> None:
    pixels, labels = unknown(image(), "y"), unknown(mask(), "y")
    pixels.data.compute_chunk_sizes()
    labels.data.compute_chunk_sizes()
    xr.testing.assert_identical(pixels.labels.sum(labels).compute(), image().labels.sum(mask()))


def test_a_mask_read_with_a_fill_value_is_opened_as_the_message_says(tmp_path: Any) -> None:
    mask(LABELS).rename("cells").to_zarr(
        tmp_path / "a.zarr", consolidated=False, encoding={"cells": {"_FillValue": -1}}
    )
    with pytest.raises(TypeError, match=r"stored as int32, .* open it with mask_and_scale=False"):
        xr.open_zarr(tmp_path / "a.zarr", consolidated=False)["cells"].labels.ids()
    opened = xr.open_zarr(tmp_path / "a.zarr", consolidated=False, mask_and_scale=False)
    assert opened["cells"].labels.ids().tolist() == [1, 2, 3, 5]


def test_blocks_of_an_image_that_its_dtype_does_not_hold_are_named() -> None:
    pixels = recast(image(dtype="u1"), lambda block: block + 0.5)
    with pytest.raises(
        TypeError, match=r"block of the image holds float64, but its dask array declares uint8; give .*dtype="
    ):
        pixels.labels.max(mask()).compute()
    assert recast(image(), lambda block: block.astype("f4")).labels.max(mask()).compute().notnull().all()
