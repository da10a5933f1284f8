"""Masks of random objects of many forms, and what scikit-image measures of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from scipy import ndimage as ndi
from skimage.draw import ellipse, line, polygon
from skimage.measure import regionprops_table

from xlabelstats.labels.regionprops import object_properties

Window = np.ndarray


def _speckles(window: Window, rng: np.random.Generator) -> None:
    window[rng.random(window.shape) < rng.uniform(0.01, 1)] = True


def _pixels(window: Window, rng: np.random.Generator) -> None:
    window[tuple(rng.integers(0, window.shape, (rng.integers(1, 8), 2)).T)] = True


def _lines(window: Window, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(1, 3)):
        window[line(*rng.integers(0, window.shape), *rng.integers(0, window.shape))] = True


def _ellipses(window: Window, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(1, 3)):
        middle, radii = rng.uniform(0, window.shape), rng.uniform(0.1, 0.6, 2) * window.shape
        window[ellipse(*middle, *radii, window.shape, rng.uniform(0, np.pi))] = True


def _polygons(window: Window, rng: np.random.Generator) -> None:
    corners = rng.uniform(0, window.shape, (rng.integers(3, 9), 2))
    window[polygon(*corners.T, window.shape)] = True
    window &= rng.random(window.shape) < rng.uniform(0.5, 1.5)


def _blobs(window: Window, rng: np.random.Generator) -> None:
    noise = ndi.gaussian_filter(rng.normal(size=window.shape), rng.uniform(0.5, 6))
    window[noise > np.quantile(noise, rng.uniform(0, 0.95))] = True


FORMS: dict[str, Callable[[Window, np.random.Generator], None]] = {
    "speckles": _speckles,
    "pixels": _pixels,
    "lines": _lines,
    "ellipses": _ellipses,
    "polygons": _polygons,
    "blobs": _blobs,
}


def random_objects(form: str, number: int, size: int, seed: int = 0) -> np.ndarray:
    """A mask of some objects of a form, up to ``size`` pixels high and wide, with gaps in their ids."""
    rng = np.random.default_rng(seed)
    columns = int(np.ceil(np.sqrt(number)))
    mask = np.zeros((size * -(-number // columns), size * columns), np.int32)
    for i, label in enumerate(rng.permutation(3 * number)[:number] + 1):
        height, width = np.exp(rng.uniform(0, np.log(size + 1), 2)).astype(int)
        window = np.zeros((height, width), bool)
        FORMS[form](window, rng)
        window[0, 0] |= not window.any()
        row, column = size * (i // columns), size * (i % columns)
        mask[row : row + height, column : column + width][window] = label
    return mask


def all_of_nine_pixels() -> np.ndarray:
    """A mask of all objects that there are in a window of 3 x 3 pixels."""
    mask = np.zeros((4, 4 * 512), np.int64)
    for bits in range(1, 512):
        mask[:3, 4 * bits : 4 * bits + 3] = bits * (bits >> np.arange(9).reshape(3, 3) & 1)
    return mask


def measured(pixels: np.ndarray, names: tuple[str, ...], chunk: int | None = None, **options: Any) -> xr.Dataset:
    """Region properties of the objects of a mask."""
    mask = xr.DataArray(pixels, dims=("z", "y", "x")[-pixels.ndim :])
    return object_properties(None, mask.chunk(chunk) if chunk else mask, names, **options).compute()


def assert_equals_skimage(pixels: np.ndarray, names: tuple[str, ...]) -> None:
    """Region properties are exactly those of scikit-image."""
    result = measured(pixels, names)
    expected = regionprops_table(pixels, properties=("label", *names))
    np.testing.assert_array_equal(result["label"], expected["label"])
    for name in names:
        np.testing.assert_array_equal(result[name], expected[name], err_msg=name)
