"""Where pixels lie: spacing, origin and units of a mask's grid, from its coordinates."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import rounding_of
from xlabelstats.inputs import each_time, time_dims
from xlabelstats.units import common_units


@dataclass(frozen=True)
class Grid:
    """A regular grid: the coordinate of pixel ``i`` along an axis is ``origin + i * step``.

    Attributes
    ----------
    origin, step : array (axis,)
        In coordinate units; 0 and 1 where there are no coordinates.
    units : str
        The units of the coordinates if all axes agree, as they are written if this is alike, else spelt out; "pixel"
        without coordinates, else "".
    """

    origin: np.ndarray
    step: np.ndarray
    units: str

    @property
    def spacing(self) -> np.ndarray:
        """Distance between neighbouring pixels along each axis."""
        return np.abs(self.step)

    def units_of(self, power: int) -> dict[str, str]:
        """Attributes for a quantity in the given power of the units, none for a number without."""
        if not self.units or power == 0:
            return {}
        return {"units": self.units if power == 1 else f"{self.units}**{power}"}


def pixel_grid(ndim: int) -> Grid:
    """The grid of pixel indices."""
    return Grid(np.zeros(ndim), np.ones(ndim), "pixel")


def regular_grid(mask: xr.DataArray, advice: str) -> Grid:
    """The grid of a mask, whose coordinates must be evenly spaced; ``advice`` says what to do if not."""
    origin, step = np.zeros(mask.ndim), np.ones(mask.ndim)
    for axis, dim in enumerate(mask.dims):
        values = coordinate(mask, dim)
        if values is None:
            continue
        origin[axis] = values[0] if values.size else 0.0
        if values.size > 1:
            step[axis] = (values[-1] - values[0]) / (values.size - 1)
            off = np.abs(values - (values[0] + step[axis] * np.arange(values.size)))
            if step[axis] == 0 or not (off <= rounding_of(mask.indexes[dim], spacing=abs(step[axis]))).all():
                raise ValueError(f"the coordinates along {dim!r} are not evenly spaced; {advice}")
    return Grid(origin, step, units_of(mask))


def grid_along(array: xr.DataArray, dim: Hashable) -> Grid:
    """The grid along one dim: that of pixel indices where the coordinate is no evenly spaced numbers."""
    try:
        return regular_grid(array[dim].reset_coords(drop=True), "")
    except ValueError:
        return pixel_grid(1)


def check_lengths(mask: xr.DataArray, what: str, advice: str, apart: Callable[[Hashable], str] = each_time) -> None:
    """Complain if lengths in coordinate units would mix lengths with times.

    ``advice`` says how to measure in pixels, and ``apart`` of a dim how to measure each time apart.
    """
    for dim in time_dims(mask):
        if dim in mask.indexes:
            raise ValueError(
                f"{what} is a length or is made of lengths, and the coordinates along {dim!r} are times, which do not "
                f"add to lengths. Measure each time apart: {apart(dim)}. Or measure in pixels: {advice}"
            )


def grid_of_lengths(mask: xr.DataArray, what: str, apart: Callable[[Hashable], str]) -> Grid:
    """The grid of a mask in whose units lengths are, or a complaint; ``what`` and ``apart`` as in `check_lengths`."""
    advice = f"mask.drop_vars({[dim for dim in mask.dims if dim in mask.indexes]})"
    check_lengths(mask, what, advice, apart)
    check_one_unit(mask, what, advice)
    return regular_grid(mask, f"measure in pixels: {advice}")


def check_one_unit(mask: xr.DataArray, what: str, advice: str = "spacing=1") -> None:
    """Complain if lengths in several units would be mixed; ``advice`` says how to measure in pixels."""
    units = {dim: str(mask[dim].attrs.get("units", "")) for dim in mask.dims if dim in mask.coords}
    if all(units.values()) and len(units) > 1 and not common_units(units.values()):
        listed = ", ".join(f"{dim!r} in {unit!r}" for dim, unit in units.items())
        raise ValueError(
            f"{what} is a length or is made of lengths, and the coordinates are in several units: {listed}; "
            f"convert them to one, or measure in pixels: {advice}"
        )


def given_grid(mask: xr.DataArray, spacing: Any) -> Grid:
    """The grid of pixel indices times a spacing that the user gave: a number, one per dim, or a mapping."""
    if isinstance(spacing, Mapping):
        unknown = [dim for dim in spacing if dim not in mask.dims]
        if unknown:
            raise ValueError(f"spacing is given for {unknown[0]!r}, but the mask has the dims {tuple(mask.dims)}")
        spacing = [spacing.get(dim, 1.0) for dim in mask.dims]
    try:
        step = np.broadcast_to(np.asarray(spacing, np.float64), mask.ndim)
        if np.ndim(spacing) and len(spacing) != mask.ndim:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"spacing is one number or one per dim of the mask {tuple(mask.dims)}, not {spacing!r}"
        ) from None
    if not (np.isfinite(step) & (step > 0)).all():
        raise ValueError(f"spacing is positive, not {spacing!r}")
    return Grid(np.zeros(mask.ndim), step, "")


def coordinate(mask: xr.DataArray, dim: Hashable) -> np.ndarray | None:
    """The coordinate of a dim as float64, None where there is none."""
    if dim not in mask.indexes:
        return None
    values = np.asarray(mask.indexes[dim])
    if values.dtype.kind not in "iuf":
        raise ValueError(
            f"the coordinate {dim!r} holds {values.dtype}, not numbers, so there are no positions in its units; "
            f"drop it for positions in pixels: .drop_vars({dim!r})"
        )
    lost = np.flatnonzero(~np.isfinite(values))
    if lost.size:
        raise ValueError(
            f"the coordinate {dim!r} is {values[lost[0]]} at index {lost[0]}, where pixels then have no position; "
            f"give it a number there, or drop it for positions in pixels: .drop_vars({dim!r})"
        )
    return values.astype(np.float64)


def units_of(mask: xr.DataArray) -> str:
    """The units that the coordinates of all dims share, however they are written."""
    return common_units(str(mask[dim].attrs.get("units", "")) if dim in mask.coords else "pixel" for dim in mask.dims)


def check_units(units: str) -> None:
    """Complain about a value of ``units`` other than the two there are."""
    if units not in ("coords", "pixel"):
        raise ValueError(f"units is 'coords' or 'pixel', not {units!r}")
