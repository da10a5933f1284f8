"""Runs of a mask block against plain numpy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from xlabelstats.engine.runs import find_runs
from xlabelstats.kernels import cpu


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


@pytest.mark.parametrize("background", [False, True])
def test_lines_that_are_not_like_those_looked_at_first_have_all_their_runs(background):
    # Every second line is of one label, and these are looked at.
    lines = np.full((32, 500), 7, np.uint16)
    lines[1::2] = np.random.default_rng(0).integers(0, 3, (16, 500))
    values, starts, lengths = cpu.find_runs(lines, background, True)
    new = np.ones(lines.shape, bool)
    new[:, 1:] = lines[:, 1:] != lines[:, :-1]
    expected = np.flatnonzero(new)
    ends = np.append(expected[1:], lines.size)
    kept = (lines.ravel()[expected] != 0) | background
    np.testing.assert_array_equal(values, lines.ravel()[expected][kept])
    np.testing.assert_array_equal(starts, expected[kept])
    np.testing.assert_array_equal(lengths, (ends - expected)[kept])
    np.testing.assert_array_equal(cpu.find_runs(lines, background, False)[0], values)
