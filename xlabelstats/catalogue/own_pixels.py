"""What is collected of the pixels of one object at a time, on the host: a base of such reductions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from xlabelstats.engine.reduction import Columns, Context, Reduction, WholeBlock


@dataclass(frozen=True)
class OwnPixels(Reduction):
    """A base of reductions that look at the pixels of every object by itself.

    Attributes
    ----------
    skipna : bool
        Whether NaN pixels are left out; else they make the values of their object and channel NaN.
    """

    skipna: bool = field(default=True, kw_only=True)

    reads_image = True
    whole = True
    parallel = True
    on_grid = False

    def of(self, needs: tuple[Any, ...], context: Context) -> Self:  # type: ignore[override]
        """The same, with what NaN pixels do."""
        return replace(self, skipna=context.skipna)

    def spoiled(self, block: WholeBlock, *columns: np.ndarray) -> Columns:
        """The columns (object, channel, ...), NaN where a NaN pixel is not left out."""
        if not self.skipna:
            for column in columns:
                column[block.with_nan] = np.nan
        return columns
