"""The number of parts of every object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from xlabelstats.catalogue.measure import Measure
from xlabelstats.engine.reduction import Columns, Context, Reduction, WholeBlock
from xlabelstats.engine.runs import Array
from xlabelstats.inputs import check_on_host


@dataclass(frozen=True)
class Components(Reduction):
    """The number of parts of every object that do not touch, on the host: one column (label,)."""

    whole = True
    parallel = True
    axes_matter = False
    on_grid = False

    @classmethod
    def of(cls, needs: tuple[str, ...], context: Context) -> Self:
        """The same whatever is needed."""
        return cls()

    def collect(self, block: WholeBlock) -> Columns:
        """Count the parts of the objects of a region."""
        from xlabelstats.kernels.cpu_components import count_parts

        check_on_host("num_components", mask=block.ids)
        parts = np.empty(block.ids.size, np.int64)
        count_parts(block.runs, parts)
        return (parts,)

    def material(self, ids: Array, count: Array, columns: Columns, context: Context) -> Array:
        """The numbers."""
        return columns[0]


COMPONENTS = (
    Measure(
        "num_components",
        "number of parts that do not touch, not even at a corner",
        lambda parts: parts,
        Components,
        kind="whole",
        title="parts of the label",
    ),
)
