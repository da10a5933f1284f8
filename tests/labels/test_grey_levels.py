"""Which images are told that they fill few grey levels: those whose smallest and largest pixel say so."""

import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from xlabelstats.catalogue import measure_of
from xlabelstats.labels import grey_levels
from xlabelstats.labels.grey_levels import warn_of_few_levels


def warns(pixels, **parameters):
    entry = measure_of(("texture_contrast", parameters) if parameters else "texture_contrast")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_few_levels(xr.DataArray(pixels), [entry.settled(pixels.dtype, lambda: (0, 1))])
    return [str(warning.message) for warning in caught]


@pytest.fixture
def looked_at(monkeypatch):
    """The sizes of the arrays whose limits are looked for."""
    sizes, limits = [], grey_levels.finite_limits
    monkeypatch.setattr(grey_levels, "finite_limits", lambda pixels: (sizes.append(pixels.size), limits(pixels))[1])
    return sizes


@pytest.mark.parametrize(
    "shape", [(400_000,), (700, 900), (3, 500, 400), (500, 400, 3), (1, 1, 600, 600), (70, 70, 70)]
)
def test_an_image_that_fills_enough_levels_is_seen_by_some_of_its_pixels(looked_at, shape):
    size = int(np.prod(shape))
    assert not warns(np.linspace(0, 60000, size).reshape(shape).astype(np.uint16))
    (some,) = looked_at
    assert 10_000 < some <= grey_levels.SAMPLED_PIXELS < size


def test_pixels_between_those_looked_at_count(looked_at):
    pixels = np.zeros((900, 900), np.uint16)
    pixels[1, 1] = 60000
    assert not warns(pixels)
    assert len(looked_at) == 2
    pixels[1, 1] = 1000
    assert "pixels from 0 to 1000 fill 4 of 256" in warns(pixels)[0]
    light = np.full((900, 900), np.nan, np.float32)
    light[1::2] = np.linspace(0, 2, 900)
    light[3] = np.inf
    assert "pixels from 0.0 to 2.0 fill 1 of 256" in warns(light, range=(0, 1000))[0]
    assert not warns(light, range=(0, 2))


def test_pixels_that_are_nan_fill_no_level_and_need_no_word():
    assert not warns(np.full((3, 4), np.nan), range=(1000, 2000))


@settings(deadline=None)
@given(
    pixels=st.sampled_from(["u2", "i4", "f4"]).flatmap(
        lambda dtype: arrays(
            dtype, array_shapes(max_dims=3), elements={"min_value": -90, "max_value": 90} if dtype == "i4" else None
        )
    ),
    some=st.integers(1, 9),
    levels=st.integers(2, 16),
    low=st.integers(-100, 90),
)
def test_as_the_smallest_and_the_largest_finite_pixel_say(pixels, some, levels, low):
    before, grey_levels.SAMPLED_PIXELS = grey_levels.SAMPLED_PIXELS, some
    try:
        told = warns(pixels, levels=levels, range=(low, low + 64))
    finally:
        grey_levels.SAMPLED_PIXELS = before
    finite = pixels[np.isfinite(pixels)].astype(float)
    filled = np.unique(np.clip((finite - low) // (64 / levels), 0, levels - 1))
    limits = np.unique(finite)[[0, -1]] if finite.size else [0, 0]
    assert bool(told) == (limits[0] < limits[1] and np.ptp(filled) < 1)
