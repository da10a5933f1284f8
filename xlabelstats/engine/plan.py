"""Measures asked for -> passes: what merges is collected in one read, what needs objects whole in one more."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from xlabelstats.engine.merge_tree import Column, Finish
from xlabelstats.engine.passes import run_merging, run_whole
from xlabelstats.engine.reduction import Context, Reduction, Table, merge
from xlabelstats.engine.runs import Array, check_absent, check_found
from xlabelstats.kernels import kernels_for

if TYPE_CHECKING:
    from xlabelstats.catalogue.measure import Measure
    from xlabelstats.labels.selection import Selection
    from xlabelstats.labels.subject import Subject, WholeSubject

Measures = Mapping[str, "Measure"]

# What is collected in place of whole objects may take so many bytes, of all labels and channels together.
ROOM = 2**28


def is_whole(measure: Measure, context: Context, *, lazy: bool, elements: int) -> bool:
    """Whether objects are brought whole for a measure of so many labels times channels.

    They are not where a reduction that merges takes the place of the measure's, and little memory: of dask arrays
    alone, since those in memory have their objects whole.  It depends on sizes and the dtype, not on the machine.
    """
    if not measure.whole:
        return False
    merging = None if measure.reduction is None else measure.reduction.merging
    room = None if merging is None else merging.room(context.dtype)
    return not lazy or room is None or room * elements > ROOM


def run(
    measures: Measures, subject: Subject, context: Context, *, together: bool = False, batch: int | None = None
) -> tuple[Selection, dict[str, Any]]:
    """The labels of a result, and the values of measures by the names of their variables.

    What merges across blocks is collected of whole objects too if all is to be measured ``together``, ``batch`` labels
    at a time.  Values are ``(label, *other, *dims)`` for what reads the image, else ``(label, *dims)``; lazy for dask
    input.
    """
    values: dict[str, Any] = {}
    selection = subject.selection
    elements = 0 if selection is None else selection.ids.size * math.prod(subject.other_shape)
    whole = {
        name: measure
        for name, measure in measures.items()
        if together or is_whole(measure, context, lazy=subject.lazy, elements=elements)
    }
    merging = {name: measure for name, measure in measures.items() if name not in whole}
    if merging:
        selection, values = run_merging(subject, finishing(merging, subject, context, merging=True))
    if whole:
        # What needs objects whole is asked of a subject that knows where they lie.
        finish = finishing(whole, subject, context)
        selection, others = run_whole(cast("WholeSubject", subject), finish, heavy=together, batch=batch)
        values |= others
    if selection is None:
        raise ValueError("no measure was asked for")
    return selection, {name: values[name] for name in measures}


def finishing(measures: Measures, subject: Subject, context: Context, *, merging: bool = False) -> Finishing:
    """How the tables of one pass, of blocks that are ``merging`` or of whole objects, become the values of measures."""
    reductions, parts = _reductions(measures, context, merging)
    columns = {
        name: Column(measure.dtype(context), measure.reads_image, tuple(measure.shape(subject.shared).values()))
        for name, measure in measures.items()
    }
    return Finishing(reductions, measures, parts, columns, context)


def _reductions(
    measures: Measures, context: Context, merging: bool
) -> tuple[tuple[Reduction, ...], dict[str, int | None]]:
    """The reductions of a pass, and which of them each measure is computed from."""
    kinds = {name: measure.reduction_in(context.ndim) for name, measure in measures.items()}
    if merging:
        kinds = {name: (kind.merging or kind) if kind and kind.whole else kind for name, kind in kinds.items()}
    needs: dict[Any, list[Any]] = {}
    for name, measure in measures.items():
        if kinds[name] is not None:
            needs.setdefault(kinds[name], []).extend(measure.needs)
    place = {kind: i for i, kind in enumerate(needs)}
    parts = {name: None if kind is None else place[kind] for name, kind in kinds.items()}
    return tuple(kind.of(tuple(dict.fromkeys(need)), context) for kind, need in needs.items()), parts


@dataclass(frozen=True)
class Finishing(Finish):
    """From the tables of a range of labels to the values of measures.

    Attributes
    ----------
    reductions : tuple of Reduction
    measures : mapping of name to Measure
    parts : mapping of name to int or None
        The reduction that each measure is computed from.
    columns : mapping of name to Column
        What its values look like.
    context : Context
    """

    reductions: tuple[Reduction, ...]
    measures: Measures
    parts: Mapping[str, int | None]
    columns: Mapping[str, Column]
    context: Context

    def merge(self, tables: Sequence[Table], ids: Array | None = None) -> Table:
        """One table of several."""
        return merge(self.reductions, tables, ids)

    def __call__(self, tables: Sequence[Table], other: tuple[int, ...], ids: Array) -> dict[str, Array]:
        """The values for the sorted ``ids``; ``other`` are the sizes of the image's own dims in the tables."""
        table = self.merge(tables, ids)
        if not self.context.requested:
            check_found(table.count, ids)
        xp = kernels_for(ids).xp
        absent = table.count == 0 if self.context.requested else None
        materials: dict[int, Any] = {}
        values = {}
        for name, measure in self.measures.items():
            part = self.parts[name]
            if part is not None and not table.parts[part]:
                # What the mask alone tells is collected with the first channels only.
                continue
            if part is not None and part not in materials:
                with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
                    materials[part] = self.reductions[part].material(ids, table.count, table.parts[part], self.context)
            material: Any = table if part is None else materials[part]
            with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
                found = measure.formula(material.propagating if measure.propagates else material)
            column = self.columns[name]
            # Results own their memory, whatever the formula gave.
            found = xp.array(found, column.dtype)
            if absent is not None and absent.any():
                check_absent(ids[absent], name, found.dtype, measure.absent)
                found[absent] = measure.absent
            # Channels are the image's own dims again.
            found = found.reshape(ids.size, *(other if column.per_other else ()), *column.shape)
            values[name] = xp.ascontiguousarray(found)
        return values
