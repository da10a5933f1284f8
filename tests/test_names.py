"""What complaints say of names that do not exist."""

import inspect
import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import xlabelstats
from xlabelstats.names import check_known

MASK = xr.DataArray(np.eye(4, dtype=np.int32), dims=("y", "x"))
IMAGE = MASK.astype(np.float32)
FIELD = xr.Dataset({"cells": MASK, "DAPI": IMAGE})


def complaint(call, *arguments, **options):
    with pytest.raises(ValueError, match="here are") as error:
        call(*arguments, **options)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "says"),
    {
        "eccentricty": ", did you mean 'eccentricity'? There are ",
        "edge": ", did you mean 'edge_sum', 'edge_std', 'edge_min'?",
        "mean_intensity": ", which is called 'mean' here. ",
        "blub": "; there are ",
    }.items(),
)
def test_an_unknown_measure_is_told_the_closest_and_where_all_are_listed(name, says):
    for field, mask in ((IMAGE, MASK), (FIELD, "cells")):
        said = complaint(field.labels.measure, mask, ("mean", name))
        assert said.startswith(f"unknown measure {name!r}{says}")
        assert said.endswith(", which xlabelstats.measures() lists")
        assert len(said) < 160


@pytest.mark.parametrize("name", ["texture", "haralick", "GLCM", "texure", "harlick"])
def test_a_family_of_measures_is_answered_with_those_that_measure_takes(name):
    said = complaint(IMAGE.labels.measure, MASK, name)
    names = said.removeprefix(f"unknown measure {name!r}, which is ").partition(" and 10 more (")[0].split(", ")
    assert len(names) == 3
    assert {*names} < {name for name in xlabelstats.measures().index if name.startswith("texture_")}
    assert '(all of them: image.instances.profile(mask, "texture")). There are ' in said


def test_the_call_that_complaints_name_lists_every_measure_they_count():
    _, number, call = re.split("; there are |, which | lists", complaint(MASK.labels.measure, "blub"))[:3]
    # Percentiles are one row for any number.
    assert len(eval(call, {"xlabelstats": xlabelstats}).drop("pNN")) == int(number)


def test_names_that_can_be_read_are_all_told():
    assert complaint(IMAGE.instances.profile, MASK, "blub").endswith("radial_zernike, correlation, neighbors")
    assert complaint(check_known, ["z"], "abcdefghijklmnopqrst", "letter").endswith(
        "; there are: " + ", ".join("abcdefghijklmnopqrst")
    )


def test_of_many_names_that_no_call_lists_some_are_told():
    table = pd.DataFrame(columns=[f"feature {i}" for i in range(900)])
    assert complaint(check_known, ["area"], table.columns, "column") == (
        "unknown column 'area'; there are 900, such as: feature 0, feature 1, feature 2, feature 3, feature 4, "
        "feature 5, feature 6, feature 7"
    )
    assert complaint(check_known, ["features 30"], table.columns, "column").startswith(
        "unknown column 'features 30', did you mean 'feature 30'? There are 900, such as: feature 0, "
    )


def quantile(pixels, q):
    return np.quantile(pixels, q, axis=1)[:, None]


CALLS = {
    "statistics": ({"dims": {"q": 1}}, "fn"),
    "featurize": ({"size": 3, "n_features": 1}, "model"),
}


@pytest.mark.parametrize(("field", "mask"), [(IMAGE, MASK), (FIELD, "cells")])
@pytest.mark.parametrize("call", CALLS)
def test_an_argument_of_a_users_function_is_told_its_keyword(call, field, mask):
    options, function = CALLS[call]
    call = getattr(field.instances, call)
    with pytest.raises(TypeError, match=rf"'q'; an argument of {function} goes in {function}_kwargs={{'q': ...}}$"):
        call(mask, quantile, q=0.5, **options)
    with pytest.raises(TypeError, match=rf"'batchsize', did you mean 'batch_size'\? An argument of {function} goes in"):
        call(mask, quantile, batchsize=5, **options)
    assert f"{function}_kwargs" in inspect.signature(call).parameters
