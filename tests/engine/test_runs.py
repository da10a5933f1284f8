"""Runs of a mask block against plain numpy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from xlabelstats.engine.runs import find_runs


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "u8"])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("labels", [1, 2, 4])
def test_runs_of_rows_of_every_width(dtype, background, labels):
    random = np.random.default_rng(0)
    for width in range(1, 35):
        mask = np.repeat(random.integers(0, labels + 1, (4, width)), 1 + width % 3, axis=1).astype(dtype)
        runs = find_runs(mask, background=background)
        expected = []
        for row, line in enumerate(mask):
            edges = [0, *(np.flatnonzero(np.diff(line.astype(int))) + 1), line.size]
            expected += [
                (line[first], row * line.size + first, end - first)
                for first, end in itertools.pairwise(edges)
                if background or line[first]
            ]
        codes, starts, lengths, _ = runs.runs
        assert list(zip(runs.ids[codes], starts, lengths, strict=True)) == expected
