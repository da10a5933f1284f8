"""How often calls warn, and of what."""

import warnings

import numpy as np
import pytest
import xarray as xr

RANDOM = np.random.default_rng(3)
MASK = xr.DataArray(np.kron([[1, 2], [3, 4]], np.ones((9, 9), np.int32)), dims=("y", "x"))
# A camera of so many grey levels, stored in 16 bits.
IMAGES = {
    name: MASK.copy(data=RANDOM.integers(0, top, (18, 18)).astype(np.uint16))
    for name, top in {"DAPI": 200, "GFP": 60000, "actin": 100, "tubulin": 200}.items()
}
for image in IMAGES.values():
    image[0, 0], image[0, 1] = 0, image.max()


def said_by(call, *arguments, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(*arguments, **options)
    assert {warning.filename for warning in caught} <= {__file__}
    return [str(warning.message) for warning in caught]


def calls(field):
    yield field.instances.profile, ("cells", "texture")
    yield field.labels.measure, ("cells", ("texture_contrast", "texture_entropy"))


def field(*names):
    return xr.Dataset({"cells": MASK, **{name: IMAGES[name] for name in names}})


def test_a_warning_of_several_variables_is_one_that_names_them():
    for call, arguments in calls(field("GFP", "DAPI", "actin")):
        (said,) = said_by(call, *arguments)
        assert said.startswith(
            f"'DAPI', and likewise 'actin': texture: pixels from 0 to {IMAGES['DAPI'].max().item()} "
        )
        assert f"range=(0, {IMAGES['DAPI'].max().item()})" in said
    for call, arguments in calls(field("GFP", "DAPI")):
        (said,) = said_by(call, *arguments)
        assert said.startswith("'DAPI': texture: ")


def test_a_warning_that_is_the_same_for_all_variables_names_none():
    same = field("DAPI").assign(again=IMAGES["DAPI"])
    for call, arguments in (*calls(same), *calls(field("DAPI")), *calls(same.chunk(9))):
        (said,) = said_by(call, *arguments)
        assert said.startswith("texture: ")
    (said,) = said_by(same.instances.windows, "cells", size=3)
    assert said.startswith("4 of 4 objects reach beyond their window")


def test_different_warnings_of_a_call_are_all_given():
    ranges = [
        (feature, {"range": (10**5, 10**5 * n)}) for n, feature in ((2, "texture_contrast"), (3, "texture_entropy"))
    ]
    said = said_by(field("DAPI", "actin").labels.measure, "cells", ranges)
    assert [text.partition(" over ")[2][:20] for text in said] == ["range=(100000, 20000", "range=(100000, 30000"]


def test_warnings_before_an_error_are_given():
    with pytest.warns(UserWarning, match="'DAPI': texture"), pytest.raises(ValueError, match="needs the range"):
        field("DAPI").assign(light=IMAGES["GFP"] * 1.0).labels.measure("cells", "texture_contrast")
