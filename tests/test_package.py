"""The package as a whole: what importing it costs, and what it offers."""

from __future__ import annotations

import subprocess
import sys

import pytest
import xarray as xr

import xlabelstats


def loaded_after(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )


def test_importing_loads_nothing_heavy():
    before = loaded_after("import xarray")
    added = loaded_after("import xlabelstats") - before
    heavy = {
        "numba",
        "flox",
        "dask",
        "distributed",
        "scipy",
        "skimage",
        "matplotlib",
        "zarr",
        "tqdm",
        "anndata",
        "torch",
    }
    assert not added & heavy


def test_measuring_loads_no_optional_package():
    code = (
        "import xarray as xr, xlabelstats\n"
        "mask = xr.DataArray([0, 1, 1], dims='x').chunk(x=2)\n"
        "mask.labels.aggregate(mask).labels.to_dataframe()"
    )
    assert not loaded_after(code) & {"skimage", "matplotlib", "anndata", "torch", "cupy", "spatialdata", "napari"}


@pytest.mark.parametrize("kind", [xr.DataArray, xr.Dataset])
def test_accessors_are_registered(kind):
    assert hasattr(kind, "labels")


def test_every_public_name_exists():
    assert all(hasattr(xlabelstats, name) for name in xlabelstats.__all__)


def test_every_statistic_and_property_is_described_in_its_docstring():
    from xlabelstats.objectprops import OBJECT_PROPERTIES
    from xlabelstats.regionprops import PROPERTIES
    from xlabelstats.statistics import STATISTICS

    labels, instances = xlabelstats.LabelsAccessor, xlabelstats.InstancesAccessor
    for table, method in (
        (STATISTICS, labels.aggregate),
        (PROPERTIES, labels.regionprops),
        (OBJECT_PROPERTIES, instances.regionprops),
    ):
        for name, entry in table.items():
            assert f"``{name}``: {entry.summary}" in str(method.__doc__)
