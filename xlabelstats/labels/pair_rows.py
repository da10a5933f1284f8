"""Pairs of labels as the rows of a result."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xlabelstats.names import LABEL, PAIR


def pair_rows(first: np.ndarray, second: np.ndarray, other: str, titles: tuple[str, str]) -> xr.Dataset:
    """A Dataset with a row for every two labels, which are coordinates: ``label``, and one named ``other``.

    ``titles`` say what the two are.  Variables are added to it, so that these come after the labels in pandas.
    """
    one, two = titles
    return xr.Dataset(
        coords={LABEL: (PAIR, first, {"long_name": one}), other: (PAIR, second, {"long_name": two})},
    )
