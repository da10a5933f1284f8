"""Types of arguments that the accessors share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Labels = Sequence[int] | np.ndarray | None
Size = int | Mapping[str, int] | None
