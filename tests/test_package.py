"""The package as a whole: what importing it costs, and what it offers."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import textwrap
import tomllib
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import xlabelstats


@pytest.fixture(scope="module")
def loaded() -> list[set[str]]:
    """The packages that are loaded after xarray is imported, then xlabelstats, and then a mask is measured."""
    program = """
        import sys
        def show(): print(*{name.split(".")[0] for name in sys.modules})
        import xarray as xr
        show()
        import xlabelstats
        show()
        mask = xr.DataArray([0, 1, 1], dims="x").chunk(x=2)
        mask.labels.aggregate(mask).labels.to_dataframe()
        show()
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [set(line.split()) for line in done.stdout.splitlines()]


def test_importing_loads_nothing_heavy(loaded):
    before, after, _ = loaded
    added = after - before
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


def test_measuring_loads_no_optional_package(loaded):
    assert not loaded[-1] & {"skimage", "matplotlib", "anndata", "torch", "cupy", "spatialdata", "napari"}


@pytest.mark.parametrize("kind", [xr.DataArray, xr.Dataset])
def test_accessors_are_registered(kind):
    assert hasattr(kind, "labels")


def test_every_public_name_exists():
    assert all(hasattr(xlabelstats, name) for name in xlabelstats.__all__)


def test_the_main_call_of_the_readme_prints_what_stands_there_in_any_folder(tmp_path):
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    code, printed = re.search(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", text, re.MULTILINE | re.DOTALL).groups()
    program = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [line.split() for line in program.stdout.splitlines()] == [line.split() for line in printed.splitlines()]


def test_files_that_the_readme_links_to_exist():
    root = Path(__file__).parents[1]
    links = re.findall(r"\]\(((?!https?:)[^)#]+)", (root / "README.md").read_text(encoding="utf-8"))
    assert len(links) > 10
    assert [link for link in links if not (root / link).exists()] == []


def test_citation_and_changelog_have_the_version_of_the_package():
    root = Path(__file__).parents[1]
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"\nversion: {version}\n" in (root / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {version} " in (root / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_statistic_and_property_is_described_in_its_docstring():
    from xlabelstats.catalogue import OBJECT_PROPERTIES, PROPERTIES, STATISTICS

    labels, instances = xlabelstats.LabelsAccessor, xlabelstats.InstancesAccessor
    for table, method in (
        (STATISTICS, labels.aggregate),
        (PROPERTIES, labels.regionprops),
        (OBJECT_PROPERTIES, instances.regionprops),
    ):
        for name, entry in table.items():
            assert f"``{name}``: {entry.definition}" in str(method.__doc__)


class TestWarningsInTheTestRun:
    """The filters of setup.cfg, which hold here as in every test."""

    @staticmethod
    def run_in(module: str, code: str) -> list[str]:
        """The warnings of code in a module of this name; one that is an error is raised."""
        with warnings.catch_warnings(record=True) as shown:
            exec(code, {"__name__": module, "np": np, "pytest": pytest, "warnings": warnings})
        return [warning.category.__name__ for warning in shown]

    @pytest.mark.parametrize("category", [UserWarning, DeprecationWarning, FutureWarning, RuntimeWarning])
    @pytest.mark.parametrize("module", ["xlabelstats", "xlabelstats.patches.stack", "test_windows", "conftest"])
    def test_those_of_our_modules_are_errors(self, module, category):
        with pytest.raises(category, match="of ours"):
            self.run_in(module, f"warnings.warn('of ours', {category.__name__})")

    @pytest.mark.parametrize("category", ["UserWarning", "DeprecationWarning", "PendingDeprecationWarning"])
    @pytest.mark.parametrize("module", ["flox.xrdtypes", "skimage.measure._marching_cubes_lewiner", "zarr.core.array"])
    def test_those_from_inside_another_package_are_shown(self, module, category):
        assert self.run_in(module, f"warnings.warn('of theirs', {category})") == [category]

    def test_one_that_we_raise_about_a_call_in_a_test_is_an_error(self):
        mask = xr.DataArray(np.ones((4, 4), int), dims=("y", "x"))
        with pytest.raises(UserWarning, match="1 of 1 objects reach beyond their window"):
            mask.instances.windows(1)

    @pytest.mark.parametrize("module", ["xlabelstats.moments", "dask.array.core"])
    def test_those_about_our_numbers_are_errors_wherever_they_are_computed(self, module):
        with pytest.raises(RuntimeWarning, match="divide by zero"):
            self.run_in(module, "np.ones(1) / np.zeros(1)")

    def test_an_exception_that_nobody_can_catch_is_an_error(self):
        with pytest.raises(pytest.PytestUnraisableExceptionWarning):
            self.run_in("_pytest.unraisableexception", "warnings.warn(pytest.PytestUnraisableExceptionWarning('lost'))")

    def test_one_of_ours_beside_an_expected_one_is_an_error(self):
        def both() -> None:
            warnings.warn("also of ours", UserWarning, stacklevel=1)
            warnings.warn("expected", UserWarning, stacklevel=1)

        with pytest.raises(UserWarning, match="also of ours"), pytest.warns(UserWarning, match="expected"):
            both()

    def test_modules_of_the_tests_are_ours(self):
        config = configparser.ConfigParser()
        config.read(Path(__file__).parents[1] / "setup.cfg")
        modules = config["tool:pytest"]["filterwarnings"].rpartition(":::")[2]
        names = {path.stem for path in Path(__file__).parent.rglob("*.py") if "benchmarks" not in path.parts}
        assert [name for name in names - {"__init__"} if not re.match(modules, name)] == []
