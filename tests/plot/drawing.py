"""Images, masks and Axes that pictures are drawn of and on, and what is read back off them."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from conftest import blobs
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from skimage.exposure import rescale_intensity
from skimage.segmentation import find_boundaries

UM = {"units": "micrometer"}


def axes(width: float = 500, height: float = 400):
    """Axes that fill a figure of so many dots."""
    return Figure(figsize=(width / 100, height / 100), dpi=100).add_axes((0, 0, 1, 1))


def at(origin: float, step: float, n: int) -> np.ndarray:
    return origin + step * np.arange(n)


@pytest.fixture
def mask() -> xr.DataArray:
    return xr.DataArray(
        blobs((30, 50), 12),
        dims=("y", "x"),
        coords={"y": ("y", at(7, -0.5, 30), UM), "x": ("x", at(3, 0.5, 50), UM)},
        name="cells",
    )


@pytest.fixture
def image(mask) -> xr.DataArray:
    pixels = np.random.default_rng(0).gamma(2, 100, (3, 30, 50)).astype(np.uint16)
    return mask.copy(data=pixels[0]).expand_dims(c=["DAPI", "CD3", "CD8"]).copy(data=pixels).rename("stain")


def shown(ax, i: int = 0) -> np.ndarray:
    return np.asarray(ax.images[i].get_array())


def pixels(ax) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def stretched(pixels: np.ndarray, contrast: tuple[float, float] = (1, 99.8)) -> np.ndarray:
    limits = tuple(np.percentile(pixels, contrast))
    return rescale_intensity(pixels.astype(float), in_range=limits, out_range=(0.0, 255.0))


def inner(mask: np.ndarray) -> np.ndarray:
    return find_boundaries(mask, mode="inner", connectivity=1)


def outline(ax) -> np.ndarray:
    return shown(ax, 1)[..., 3] > 0


def added(channels: list[np.ndarray], colors: list[str]) -> np.ndarray:
    parts = [stretched(c)[..., None] * np.array(to_rgb(color)) for c, color in zip(channels, colors, strict=True)]
    return np.minimum(sum(parts), 255)


def volume() -> tuple[xr.DataArray, xr.DataArray]:
    """(t, c, z, y, x) and its mask (z, y, x)."""
    labels = blobs((5, 20, 24), 9)
    mask = xr.DataArray(labels, dims=("z", "y", "x"), coords={"z": ("z", at(1, 1.5, 5), UM)})
    pixels = np.random.default_rng(1).random((3, 2, 5, 20, 24))
    return xr.DataArray(pixels, dims=("t", "c", "z", "y", "x")), mask


def ramp(rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
    return np.add.outer(np.arange(*rows), 3 * np.arange(*columns)).astype(np.int32)


def never(*_) -> np.ndarray:
    raise AssertionError("this scale is not drawn")


def pyramid(scales: list[xr.DataArray]) -> xr.DataTree:
    return xr.DataTree.from_dict({f"scale{i}": array.to_dataset(name="image") for i, array in enumerate(scales)})


def coarser(array: xr.DataArray, n: int) -> xr.DataArray:
    return array[n // 2 :: n, n // 2 :: n]
