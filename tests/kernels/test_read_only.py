"""The package where nothing can be written: installed read-only, without a home folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import xlabelstats

MEASURE = """
import warnings

import numpy as np
import xarray as xr

import xlabelstats

image = xr.DataArray(np.arange(12.0).reshape(3, 4), dims=("y", "x"))
mask = xr.DataArray([[5, 5, 0, 0], [5, 5, 0, 7], [0, 0, 0, 7]], dims=("y", "x"))
with warnings.catch_warnings(record=True) as given:
    warnings.simplefilter("always")
    assert image.labels.mean(mask).values.tolist() == [2.5, 9.0]
    assert image.chunk(2).labels.mean(mask.chunk(2)).values.tolist() == [2.5, 9.0]
    assert mask.instances.windows(3).mask.shape == (2, 3, 3)
given = [each for each in given if each.category is UserWarning and "numba" in str(each.message)]
for each in given:
    print(each.filename, each.message)
print(xlabelstats.__file__)
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A copy of the package in which no compiled code can be kept; for the superuser, too, who may write anywhere."""
    package = shutil.copytree(
        Path(xlabelstats.__file__).parent, tmp_path / "xlabelstats", ignore=shutil.ignore_patterns("__pycache__")
    )
    (package / "kernels" / "__pycache__").write_text("a file, so that no folder of this name can be made")
    return tmp_path


def run(folder: Path, **environment: str) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "XDG_"))}
    # Loops that are not optimised take less time to compile.
    nowhere = {"NUMBA_OPT": "0", "HOME": os.devnull, "LOCALAPPDATA": os.devnull, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], cwd=folder, env=kept | nowhere | environment, check=True, text=True, stdout=-1
    )
    *given, where = done.stdout.splitlines()
    assert Path(where).is_relative_to(folder)
    return given


def test_loops_are_compiled_without_a_disk_cache_and_one_warning_at_the_call_says_how_to_have_one(installed):
    (given,) = run(installed)
    assert given.startswith("<string> numba finds no folder to keep compiled loops in")
    assert "NUMBA_CACHE_DIR to a writable folder" in given


def test_a_folder_for_numba_keeps_the_loops_without_a_warning(installed, tmp_path):
    folder = tmp_path / "numba"
    assert run(installed, NUMBA_CACHE_DIR=str(folder)) == []
    assert list(folder.rglob("*.nbc"))
