"""The tests of CuPy arrays, on a stand-in for CuPy: they run here whether there is a GPU or not."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from processes import printed

HERE = Path(__file__).parent
COMPILER = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)


pytestmark = pytest.mark.skipif(
    COMPILER is None, reason="the stand-in compiles the kernels by a C++ compiler, and there is none"
)


def run(program: str) -> str:
    """What a program prints that finds the stand-ins in place of CuPy and cuCIM."""
    folders = [str(HERE / folder) for folder in ("gpu/standin", "benchmarks")]
    return printed(
        f"""
        import runpy, sys
        import pytest, xarray.namedarray.pycompat

        sys.path[:0] = {folders}
        # xarray looks for CuPy once.
        xarray.namedarray.pycompat._cached_duck_array_modules.clear()
        {program}
        """
    )


def test_the_contract_holds_on_a_stand_in_for_cupy():
    # So many packages are imported already.
    ignored = "ignore::pytest.PytestAssertRewriteWarning"
    ran = run(f"print(repr(pytest.main(['-q', '-x', '-W', {ignored!r}, '-m', 'gpu', {str(HERE / 'gpu')!r}])))")
    assert re.search(r"\b\d{3} passed(?!.*skipped)", ran), ran[-5000:]
    assert "ExitCode.OK" in ran, ran[-5000:]


def test_the_benchmark_runs_and_compares_with_two_cores_the_bandwidth_and_cucim():
    ran = run("sys.argv[1:] = ['--size', '300']; runpy.run_module('gpu', run_name='__main__')")
    assert re.search(r"^eight statistics: .* times as fast; the target is 30$", ran, re.MULTILINE)
    assert re.search(r"^share of the bandwidth: [\d.]+%$", ran, re.MULTILINE)
    assert ran.count("cuCIM: ") == 2
    apart = [float(each) for each in re.findall(r"the largest difference is (\S+) of the value", ran)]
    assert len(apart) == 12
    assert max(apart) < 1e-9
