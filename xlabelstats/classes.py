"""Values that are classes rather than quantities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

# Whole numbers within a range of so many are classes.
FEW = 10


@dataclass(frozen=True)
class Classes:
    """Classes by name, in order.

    Attributes
    ----------
    names : list of str
    codes : array of float64
        The position of each value's class among the names; NaN for a value of no class.
    """

    names: list[str]
    codes: np.ndarray


def classes_of(values: pd.Series) -> Classes | None:
    """The classes among values that are text, categories, bool or few whole numbers; None for quantities."""
    import pandas as pd

    if isinstance(values.dtype, pd.CategoricalDtype):
        coded = values.cat.remove_unused_categories().array
    else:
        values = values.infer_objects()
        if pd.api.types.is_complex_dtype(values.dtype):
            raise TypeError("complex numbers have no colours; draw their .real, .imag or abs")
        if pd.api.types.is_numeric_dtype(values.dtype) and not _few(values):
            return None
        coded = pd.Categorical(values)
    return Classes([str(name) for name in coded.categories], np.where(coded.codes < 0, np.nan, coded.codes))


def numbers_of(values: pd.Series) -> np.ndarray:
    """Quantities as float64, NaN where there is none."""
    return values.infer_objects().to_numpy(np.float64, na_value=np.nan)


def _few(values: pd.Series) -> bool:
    import pandas as pd

    if pd.api.types.is_bool_dtype(values.dtype):
        return True
    present = values.dropna()
    whole = pd.api.types.is_integer_dtype(values.dtype) and len(present) > 0
    return bool(whole and int(present.max()) - int(present.min()) < FEW)
