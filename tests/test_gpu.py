"""The tests of CuPy arrays, on a stand-in for CuPy: they run here whether there is a GPU or not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
COMPILER = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)


pytestmark = pytest.mark.skipif(
    COMPILER is None, reason="the stand-in compiles the kernels by a C++ compiler, and there is none"
)


def run(*args: str) -> subprocess.CompletedProcess[str]:
    """A run of Python that finds the stand-ins in place of CuPy and cuCIM."""
    paths = (str(HERE / "gpu/standin"), str(HERE.parent), os.environ.get("PYTHONPATH", ""))
    done = subprocess.run(
        [sys.executable, *args],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    return done


def test_the_contract_holds_on_a_stand_in_for_cupy():
    done = run("-m", "pytest", "-q", "-x", "-m", "gpu", str(HERE / "gpu"))
    assert re.search(r"\b\d{3} passed(?!.*skipped)", done.stdout), done.stdout[-500:]


def test_the_benchmark_runs_and_compares_with_two_cores_the_bandwidth_and_cucim():
    printed = run(str(HERE / "benchmarks/gpu.py"), "--size", "300").stdout
    assert re.search(r"^eight statistics: .* times as fast; the target is 30$", printed, re.MULTILINE)
    assert re.search(r"^share of the bandwidth: [\d.]+%$", printed, re.MULTILINE)
    assert printed.count("cuCIM: ") == 2
    apart = [float(each) for each in re.findall(r"the largest difference is (\S+) of the value", printed)]
    assert len(apart) == 12
    assert max(apart) < 1e-9
