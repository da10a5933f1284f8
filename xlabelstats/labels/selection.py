"""The labels of a result: those the user named, or those of the mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.engine.merge_tree import take_rows
from xlabelstats.engine.runs import Array
from xlabelstats.inputs import check_labels
from xlabelstats.labels.mask_scan import label_ids


@dataclass(frozen=True)
class Selection:
    """The labels of a result.

    Attributes
    ----------
    ids : array (label,)
        Sorted.
    requested : bool
        Whether the user named them, so that some may be absent.
    background : bool
        Whether 0 is among them.
    rows : array or None
        Where the user's order differs from the sorted one, the rows in that order.
    """

    ids: np.ndarray
    requested: bool
    background: bool
    rows: np.ndarray | None = None

    @property
    def labels(self) -> np.ndarray:
        """The labels in the order of the result."""
        return self.ids if self.rows is None else self.ids[self.rows]

    @property
    def only(self) -> np.ndarray | None:
        """The labels that a block should keep, None for all."""
        return self.ids if self.requested else None

    def part(self, labels: np.ndarray) -> Selection:
        """That of some of the labels, in this order."""
        sort = np.argsort(labels)
        rows = None if (sort[1:] > sort[:-1]).all() else np.argsort(sort)
        return Selection(labels[sort], self.requested, bool(0 in labels), rows)

    def take(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Arrays with sorted rows in the order of the result."""
        return dict(arrays) if self.rows is None else take_rows(arrays, self.rows)


def choose_labels(mask: xr.DataArray, labels: Any, background: bool, cut: Any = None) -> Selection:
    """The labels the user named, or those of the mask, for which it is scanned now; ``cut`` as for `label_ids`."""
    named = named_labels(mask, labels)
    return named or Selection(label_ids(mask, background=background, cut=cut), False, background)


def named_labels(mask: xr.DataArray, labels: Any) -> Selection | None:
    """The labels the user named, None if there are none."""
    if labels is None:
        return None
    labels = check_labels(labels, mask.dtype)
    return Selection(labels, True, False).part(labels)
