"""Types of arguments that the accessors share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

# A tree stands for the array at its finest scale.
Mask = xr.DataArray | xr.DataTree
Labels = int | Sequence[int] | np.ndarray | None
Per = str | Sequence[str] | None
Size = int | Mapping[str, int] | None
