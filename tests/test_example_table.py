"""The example that goes from two masks and points to a table, and what squidpy makes of that."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

anndata = pytest.importorskip("anndata")
pytest.importorskip("sparse")
squidpy = pytest.importorskip("squidpy")

EXAMPLE = Path(__file__).parents[1] / "examples" / "cells_and_neighbours.py"


def test_squidpy_takes_the_table_of_the_example_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), str(tmp_path / "cells.h5ad")])
    variables = runpy.run_path(str(EXAMPLE))
    table = anndata.read_h5ad(tmp_path / "cells.h5ad")
    squidpy.gr.nhood_enrichment(table, "kind", n_perms=20, seed=0, show_progress_bar=False)
    kinds = table.obs.set_index("label")["kind"].astype(str)
    near = variables["near"]
    pairs = pd.crosstab(kinds[near["label"].values].to_numpy(), kinds[near["neighbor"].values].to_numpy())
    np.testing.assert_array_equal(table.uns["kind_nhood_enrichment"]["count"], pairs + pairs.T)
