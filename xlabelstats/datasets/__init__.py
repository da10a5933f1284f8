"""Images of nuclei with their masks, which come with the package: to try the calls on.

Their sources and licences are in ``SOURCES.md`` beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files

import numpy as np
import xarray as xr

from xlabelstats.grid import given_grid, pixel_grid

Spacing = float | Sequence[float] | Mapping[str, float]


def nuclei2d(spacing: Spacing | None = None) -> tuple[xr.DataArray, xr.DataArray]:
    """Nuclei in fluorescence microscopy, labelled by hand.

    Image and mask have the coordinates ``y`` and ``x``, with their units, and in ``attrs`` their ``source`` and
    ``license``.

    Parameters
    ----------
    spacing : float, sequence of float or mapping from dim to float, optional
        A distance between pixels, in micrometers, to see results with units.  The source gives none, so any number is
        an assumption.  By default the coordinates count pixels.

    Returns
    -------
    image : DataArray, uint8, (y: 512, x: 512)
        The intensity.
    mask : DataArray, uint16, (y: 512, x: 512)
        125 nuclei, 0 is background.  The labels have gaps: the largest is 183.

    Raises
    ------
    ValueError
        ``spacing`` is not positive, or does not fit the dims.

    Notes
    -----
    From the image set BBBC038v1 of the Broad Bioimage Benchmark Collection, the 2018 Data Science Bowl (Caicedo et al.,
    Nature Methods 16, 2019), CC0.

    Examples
    --------
    >>> import xlabelstats
    >>> image, mask = xlabelstats.datasets.nuclei2d()
    >>> image.labels.mean(mask).sel(label=[1, 3]).values.round(2)
    array([ 81.11, 155.11])
    """
    source = "BBBC038v1, 2018 Data Science Bowl (Caicedo et al., Nature Methods 16, 2019)"
    return _load("nuclei2d", ("y", "x"), spacing, source, "CC0-1.0")


def nuclei3d(spacing: Spacing | None = None) -> tuple[xr.DataArray, xr.DataArray]:
    """A volume of synthetic nuclei with their labels.

    Image and mask have the coordinates ``z``, ``y`` and ``x``, with their units, and in ``attrs`` their ``source`` and
    ``license``.

    Parameters
    ----------
    spacing : float, sequence of float or mapping from dim to float, optional
        A distance between pixels, in micrometers, to see results with units.  The nuclei are synthetic, so any number
        is an assumption.  By default the coordinates count pixels.

    Returns
    -------
    image : DataArray, uint16, (z: 31, y: 61, x: 57)
        The intensity.
    mask : DataArray, uint16, (z: 31, y: 61, x: 57)
        51 nuclei, 0 is background.  The labels have gaps: the largest is 162.

    Raises
    ------
    ValueError
        ``spacing`` is not positive, or does not fit the dims.

    Notes
    -----
    From StarDist (Weigert et al., WACV 2020), BSD-3-Clause.

    Examples
    --------
    >>> import xlabelstats
    >>> image, mask = xlabelstats.datasets.nuclei3d(spacing={"z": 2, "y": 0.5, "x": 0.5})
    >>> volume = mask.labels.regionprops(properties="area")["area"]
    >>> volume.sizes["label"], volume.attrs["units"]
    (51, 'micrometer**3')
    """
    source = "StarDist, synthetic (Weigert et al., WACV 2020)"
    return _load("nuclei3d", ("z", "y", "x"), spacing, source, "BSD-3-Clause")


def _load(
    name: str, dims: tuple[str, ...], spacing: Spacing | None, source: str, license: str
) -> tuple[xr.DataArray, xr.DataArray]:
    with (files(__package__) / f"{name}.npz").open("rb") as file, np.load(file) as stored:
        image, mask = stored["image"], stored["mask"]
    grid = pixel_grid(mask.ndim) if spacing is None else given_grid(xr.DataArray(mask, dims=dims), spacing)
    about = {"units": "pixel" if spacing is None else "micrometer"}
    coords = {
        dim: (dim, step * np.arange(size), about) for dim, step, size in zip(dims, grid.step, mask.shape, strict=True)
    }
    attrs = {"source": source, "license": license}
    return xr.DataArray(image, coords, dims, "intensity", attrs), xr.DataArray(mask, coords, dims, "nuclei", attrs)
