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


@pytest.mark.skipif(COMPILER is None, reason="the stand-in compiles the kernels by a C++ compiler, and there is none")
def test_the_contract_holds_on_a_stand_in_for_cupy():
    paths = (str(HERE / "gpu/standin"), str(HERE.parent), os.environ.get("PYTHONPATH", ""))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-m", "gpu", str(HERE / "gpu")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert re.search(r"\b\d{3} passed(?!.*skipped)", done.stdout), done.stdout[-500:]
