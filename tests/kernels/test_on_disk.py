"""Compiled loops on disk: processes that write at the same time do not take each other's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xlabelstats.kernels.cpu_runs import kernel

LOOP = """
def total(numbers):
    s = numbers[0] - numbers[0]
    for x in numbers:
        s += x
    return s
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """What gives a kernel as a new process has it: it knows what is on disk."""
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path / "kept"))
    path = tmp_path / "loop.py"
    path.write_text(LOOP)

    def load() -> Any:
        names: dict[str, Any] = {"__name__": "loop"}
        exec(compile(LOOP, str(path), "exec"), names)
        return kernel(names["total"])

    return load


def test_a_loop_is_compiled_once_for_all_processes(load):
    first, second = load(), load()
    for loop in (first, second):
        assert loop(np.arange(3.0)) == 3.0
    assert (first.stats.cache_hits.total(), second.stats.cache_hits.total()) == (0, 1)


def test_loops_that_two_processes_write_at_once_are_not_mixed_up(load):
    one, other = load(), load()
    late: list[tuple[Any, ...]] = []
    files = one._cache._cache_file
    write, files._save_data = files._save_data, lambda *arguments: late.append(arguments)
    other._cache._cache_file._load_index = dict
    # The other process looks at the index before the first has written to it, and writes its loop before the first.
    assert one(np.arange(3.0)) == 3.0
    assert other(np.arange(4)) == 6
    write(*late[0])
    loop = load()
    assert loop(np.arange(4)) == 6
    assert loop(np.arange(3.0)) == 3.0
    assert loop.stats.cache_hits.total() == 1
