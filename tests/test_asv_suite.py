"""The asv suite of ``benchmarks``: all of it runs on fields that are smaller still."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def suite(monkeypatch, tmp_path) -> dict[str, ModuleType]:
    pytest.importorskip("distributed")
    pytest.importorskip("sparse")
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    monkeypatch.chdir(tmp_path)
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in ("in_memory", "stored")}
    for module in modules.values():
        monkeypatch.setattr(module, "SIZE", 128)
    monkeypatch.setattr(modules["stored"], "CHUNK", 64)
    return modules


@pytest.mark.parametrize(
    ("module", "name"),
    [("in_memory", "Calls"), ("in_memory", "Profile"), ("stored", "Stored"), ("stored", "Patches")],
)
def test_every_benchmark_of_the_suite_runs(suite, module, name):
    benchmark = getattr(suite[module], name)()
    field = benchmark.setup_cache()
    timed = [getattr(benchmark, method) for method in dir(benchmark) if method.startswith(("time_", "peakmem_"))]
    assert timed
    for params in [(param,) for param in benchmark.params] if hasattr(benchmark, "params") else [()]:
        if hasattr(benchmark, "setup"):
            benchmark.setup(field, *params)
        for call in timed:
            call(field, *params)
