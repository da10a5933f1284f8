"""Tables as harpy's classes return them."""

from __future__ import annotations

import numpy as np
import pandas as pd


def table_of(values: np.ndarray, ids: np.ndarray, instance_key: str) -> pd.DataFrame:
    """Values (label, column) under their numbers, and then the labels."""
    table = pd.DataFrame(values)
    table[instance_key] = ids
    return table
