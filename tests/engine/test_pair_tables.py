"""Tables of pairs of labels, against Python's own dictionaries and sorting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import INTEGERS, pool

from xlabelstats.engine.pair_tables import merge_pairs, pair_table


@st.composite
def rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of labels at the edges of their dtypes, some of them several times, with two numbers each."""
    n = draw(st.integers(0, 40))
    sides = []
    for _ in range(2):
        dtype = np.dtype(draw(st.sampled_from(INTEGERS)))
        sides.append(np.array(draw(st.lists(st.sampled_from(pool(dtype)), min_size=n, max_size=n)), dtype))
    return sides[0], sides[1], np.random.default_rng(draw(st.integers(0, 99))).integers(-9, 9, (n, 2))


@settings(max_examples=200, deadline=None)
@given(rows(), st.sampled_from([np.add, np.minimum]), st.integers(1, 4))
def test_each_pair_is_one_row_of_all_its_rows_however_these_are_split(field, fold, parts):
    first, second, numbers = field
    expected: dict[tuple[int, int], np.ndarray] = {}
    for one, two, row in zip(first.tolist(), second.tolist(), numbers, strict=True):
        expected[one, two] = fold(expected[one, two], row) if (one, two) in expected else row
    pieces = np.array_split(np.arange(first.size), parts)
    table = merge_pairs([pair_table(first[i], second[i], [numbers[i]], fold) for i in pieces], fold)
    assert (table.first.dtype, table.second.dtype) == (first.dtype, second.dtype)
    assert list(zip(table.first.tolist(), table.second.tolist(), strict=True)) == sorted(expected)
    assert table.columns[0].tolist() == [expected[pair].tolist() for pair in sorted(expected)]


@pytest.mark.parametrize("n", [0, 1, 5])
def test_some_rows_of_a_table_keep_their_columns(n):
    table = pair_table(np.arange(5), np.arange(5), [np.arange(10).reshape(5, 2), np.arange(5.0)])
    some = table.take(np.arange(n))
    assert (some.first.size, some.columns[0].shape, some.columns[1].shape) == (n, (n, 2), (n,))
