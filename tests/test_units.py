"""Units are the same however they are written, and coordinates that give no position are said."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import xarray as xr

from xlabelstats.units import UNITS, common_units, spelt_out

MICROMETERS = ["um", "µm", "μm", "micron", "microns", "micrometer", "micrometre", "Micrometers", " um ", "MICRON"]


def on_axes(y: str, x: str) -> xr.DataArray:
    coords = {"y": ("y", np.arange(4) * 0.5, {"units": y}), "x": ("x", np.arange(5) * 0.5, {"units": x})}
    return xr.DataArray(np.ones((4, 5), int), dims=("y", "x"), coords=coords)


class TestWritten:
    @pytest.mark.parametrize(("y", "x"), list(itertools.pairwise(MICROMETERS)))
    def test_micrometers_are_one_unit(self, y, x):
        mask = on_axes(y, x)
        assert mask.labels.regionprops()["area"].attrs["units"] == "micrometer**2"
        assert mask.instances.radii_and_axes()["radius"].attrs["units"] == "micrometer"
        assert mask.labels.center_of_mass().attrs["units"] == "micrometer"
        assert mask.chunk(2).labels.regionprops()["area"].attrs["units"] == "micrometer**2"

    @pytest.mark.parametrize("units", [*MICROMETERS, "furlong"])
    def test_alike_they_stay_as_they_are(self, units):
        assert on_axes(units, units).labels.regionprops()["area"].attrs["units"] == f"{units}**2"

    @pytest.mark.parametrize(("y", "x"), [("um", "mm"), ("mm", "Mm"), ("furlong", "Furlong")])
    def test_others_differ(self, y, x):
        assert common_units([y, x]) == ""
        with pytest.raises(ValueError, match=f"'y' in '{y}', 'x' in '{x}'; convert them to one"):
            on_axes(y, x).labels.regionprops()

    def test_a_unit_that_is_not_known_is_not_written(self):
        assert common_units(["um", ""]) == ""
        assert "units" not in on_axes("um", "").labels.regionprops()["area"].attrs

    def test_every_way_of_writing_is_of_one_unit(self):
        written = [name for name, others in UNITS.items() for name in (name, *others)]
        assert len(written) == len(set(written))
        for name, others in UNITS.items():
            assert {spelt_out(other) for other in (name, *others)} == {name}


class TestLost:
    """A pixel whose coordinate is no number has no position, and then neither has its object."""

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize(("value", "text"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
    def test_the_index_is_named(self, value, text, lazy):
        mask = on_axes("um", "um").assign_coords(x=[0.0, 0.5, value, np.nan, 2.0])
        image = xr.ones_like(mask, float)
        image, mask = (image.chunk(2), mask.chunk(2)) if lazy else (image, mask)
        for call in (
            lambda: mask.labels.center_of_mass(),
            lambda: mask.drop_vars("x").labels.center_of_mass(image),
            lambda: mask.labels.regionprops(),
            lambda: mask.instances.radii_and_axes(),
        ):
            with pytest.raises(ValueError, match="at index") as error:
                call()
            assert str(error.value) == (
                f"the coordinate 'x' is {text} at index 2, where pixels then have no position; give it a number there, "
                "or drop it for positions in pixels: .drop_vars('x')"
            )
        assert mask.labels.center_of_mass(units="pixel").values.tolist() == [[1.5, 2.0]]
        assert mask.labels.count().values == 20
