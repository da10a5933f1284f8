"""Measures that users bring: any name, any dims, any dtype, from any pool of threads."""

from __future__ import annotations

from dataclasses import replace
from multiprocessing.pool import ThreadPool

import dask
import numpy as np
import pytest
import xarray as xr
from conftest import blobs
from scipy import ndimage

from xlabelstats.catalogue import Measure, measure_of
from xlabelstats.catalogue.intensity import PixelMoments

MASK = blobs((40, 50), 9)
PIXELS = np.random.default_rng(0).normal(100, 9, MASK.shape)
IDS = np.unique(MASK[MASK > 0])
LARGEST = ndimage.maximum(PIXELS, MASK, IDS)


def largest(name: str = "largest", **fields: object) -> Measure:
    return Measure(name, "largest pixel", lambda pixels: pixels.max, reduction=PixelMoments, needs=("max",), **fields)


@pytest.fixture(params=[None, 20])
def pair(request: pytest.FixtureRequest) -> tuple[xr.DataArray, xr.DataArray]:
    image, mask = xr.DataArray(PIXELS, dims=("y", "x")), xr.DataArray(MASK, dims=("y", "x"))
    return (image, mask) if request.param is None else (image.chunk(request.param), mask.chunk(request.param))


@pytest.mark.parametrize("name", ["ids", "finish", "finishing", "merge", "order", "column", "count-1", "ranges"])
def test_any_name_will_do(pair, name):
    image, mask = pair
    found = image.labels.measure(mask, ("mean", largest(name)), labels=IDS)
    np.testing.assert_array_equal(found[name], LARGEST)
    np.testing.assert_allclose(found["mean"], ndimage.mean(PIXELS, MASK, IDS))


@pytest.mark.parametrize("dim", ["order", "axis_of_mine", "axis", "q"])
def test_any_dim_will_do(pair, dim):
    image, mask = pair
    three = Measure(
        "three",
        "the maximum, thrice",
        lambda pixels: np.stack([pixels.max] * 3, -1),
        reduction=PixelMoments,
        needs=("max",),
        dims=(dim,),
        lengths={dim: 3},
    )
    found = image.labels.measure(mask, three, labels=IDS)["three"]
    assert found.sizes[dim] == 3
    np.testing.assert_array_equal(found.transpose("label", dim), np.stack([LARGEST] * 3, -1))


def test_two_measures_of_one_name_are_refused(pair):
    image, mask = pair
    with pytest.raises(ValueError, match="two measures are called 'largest'"):
        image.labels.measure(mask, (largest(), largest()))
    once = largest()
    np.testing.assert_array_equal(image.labels.measure(mask, (once, once))["largest"], LARGEST)


@pytest.mark.parametrize("name", ["max", "median"])
def test_a_label_that_is_absent_has_the_value_that_the_measure_says(pair, name):
    image, mask = pair
    entry = replace(measure_of(name), name="own", absent=-7.0)
    found = image.labels.measure(mask, entry, labels=[9999, int(IDS[0])])["own"]
    assert found.sel(label=9999) == -7
    assert found.sel(label=IDS[0]) == getattr(np, name)(PIXELS[IDS[0] == MASK])


@pytest.mark.parametrize("name", ["count", "median"])
def test_an_absent_label_that_has_no_value_is_complained_about_in_the_same_words(pair, name):
    image, mask = pair
    entry = replace(measure_of(name), name="own", absent=np.nan, kind=np.dtype("int64"))
    with pytest.raises(ValueError, match=r"label 9999 is absent, and int64 has no NaN for it; give 'own' a .*absent="):
        image.labels.measure(mask, entry, labels=[9999]).compute()


@pytest.mark.parametrize("labels", [None, IDS])
def test_no_two_results_share_memory(pair, labels):
    image, mask = pair
    found = image.labels.measure(mask, ("count", "num_pixels", largest("a"), largest("b")), labels=labels).compute()
    arrays = [found[name].data for name in found]
    assert not any(np.shares_memory(one, other) for one in arrays for other in arrays if one is not other)
    assert all(array.flags.writeable for array in arrays)


def test_a_pool_of_ones_own_threads_does_not_wait_for_itself():
    mask = xr.DataArray(np.tile(MASK, (40, 30)), dims=("y", "x"))
    image = xr.DataArray(np.tile(PIXELS, (40, 30)), dims=("y", "x"))
    alone = image.labels.mean(mask)
    with ThreadPool(1) as pool, dask.config.set(pool=pool):
        found = pool.apply_async(lambda: image.labels.mean(mask)).get(timeout=60)
    np.testing.assert_array_equal(found, alone)
