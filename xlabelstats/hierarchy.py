"""Structures within structures, as brain atlases have them: which ones hold a structure, and what they are called."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

# The columns of a table of structures: those that it needs, and those that are kept.
ID, PATH = "id", "structure_id_path"
NAMES = ("name", "acronym")


@dataclass(frozen=True)
class Hierarchy:
    """The structures of an atlas.

    Attributes
    ----------
    parents : dict
        The structure that each lies in directly; None for one that lies in no other.
    names : dict of dicts
        By column, such as ``acronym``, the text of each structure.
    """

    parents: dict[Hashable, Hashable | None]
    names: dict[str, dict[Hashable, str]] = field(default_factory=dict)

    def lineage(self, structure: Hashable) -> list[Hashable]:
        """A structure, the one that it lies in, and so on to the top; one that is not known is at the top itself."""
        line = [structure]
        while (above := self.parents.get(line[-1])) is not None:
            if above in line:
                ring = " -> ".join(map(str, [*line[line.index(above) :], above]))
                raise ValueError(f"the hierarchy goes round in a circle: {ring}; a structure cannot lie in itself")
            line.append(above)
        return line

    def members(self, structures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For every structure all that hold it, itself too: its number among those given, and the holder."""
        known, given = next(iter(self.parents), None), next(iter(structures.tolist()), None)
        if known is not None and given is not None and isinstance(known, str) != isinstance(given, str):
            raise TypeError(
                f"the structures of the hierarchy are like {known!r}, and those that are merged like {given!r}; name "
                "both by numbers or both by text"
            )
        lines = [self.lineage(structure) for structure in structures.tolist()]
        numbers = np.repeat(np.arange(len(lines)), [len(line) for line in lines])
        holders = [holder for line in lines for holder in line]
        return numbers, as_groups(holders) if holders else structures[:0]

    def coords(self, structures: np.ndarray) -> dict[str, np.ndarray]:
        """What is said of structures: how far below the top each lies, and its names."""
        listed = structures.tolist()
        depth = np.array([len(self.lineage(structure)) - 1 for structure in listed], np.int64)
        texts = {name: np.array([of.get(one, "") for one in listed], str) for name, of in self.names.items()}
        return {**texts, "depth": depth}


def as_hierarchy(given: Any) -> Hierarchy:
    """A hierarchy from a mapping from structure to parent, or from a table of structures and their paths."""
    import pandas as pd

    if isinstance(given, pd.DataFrame):
        return _of_table(given)
    if not isinstance(given, Mapping | pd.Series):
        raise TypeError(
            "a hierarchy is a mapping from structure to parent, a pandas Series, or a DataFrame with the columns "
            f"{ID!r} and {PATH!r}, not {type(given).__name__}"
        )
    hierarchy = Hierarchy({_structure(child): _parent(parent) for child, parent in given.items()})
    # A structure that only occurs as a parent is at the top.
    for structure in list(hierarchy.parents):
        hierarchy.lineage(structure)
    return hierarchy


def _of_table(table: pd.DataFrame) -> Hierarchy:
    if table.index.name == ID and ID not in table:
        table = table.reset_index()
    lacking = [name for name in (ID, PATH) if name not in table]
    if lacking:
        raise ValueError(
            f"the table of structures has no column {lacking[0]!r}; it has {', '.join(map(str, table))}. Rename its "
            f"columns: table.rename(columns=...); a path is text such as '/997/8/567/', or a list of ids"
        )
    parents: dict[Hashable, Hashable | None] = {}
    # A table that was read as text has ids as its paths have them.
    structures = [_line([one])[0] if isinstance(one, str) else _structure(one) for one in table[ID].tolist()]
    for structure, path in zip(structures, table[PATH].tolist(), strict=True):
        line = _line(path)
        if not line or line[-1] != structure:
            raise ValueError(f"the path of structure {structure} ends with that structure, but it is {path!r}")
        for above, below in zip([None, *line], line, strict=False):
            known = parents.setdefault(below, above)
            if known != above:
                raise ValueError(f"structure {below} lies in {above} by the path {path!r}, and in {known} by another")
    hierarchy = Hierarchy(
        parents,
        {
            name: {
                one: "" if text != text or text is None else str(text)
                for one, text in zip(structures, table[name], strict=True)
            }
            for name in NAMES
            if name in table
        },
    )
    for structure in structures:
        hierarchy.lineage(structure)
    return hierarchy


def _line(path: Any) -> list[Hashable]:
    """The ids of a path, from the top down."""
    parts = [part for part in path.split("/") if part.strip()] if isinstance(path, str) else path
    if not isinstance(parts, Iterable):
        raise ValueError(f"a path is text such as '/997/8/567/', or a list of ids, not {path!r}")
    try:
        return [int(part) for part in parts]
    except (TypeError, ValueError):
        raise ValueError(f"a path holds ids, such as '/997/8/567/', not {path!r}") from None


def _structure(given: Any) -> Hashable:
    """A structure as an int or text."""
    if isinstance(given, str):
        return given
    if isinstance(given, bool | np.bool_) or given is None or not abs(given) < 2**64 or int(given) != given:
        raise TypeError(f"a structure is a whole number or text, not {given!r}")
    return int(given)


def _parent(given: Any) -> Hashable | None:
    """A parent as an int or text; None where there is none."""
    import pandas as pd

    return None if given is None or given is pd.NA or given != given or given == 0 else _structure(given)


def as_groups(values: Any) -> np.ndarray:
    """Ids of groups as an array of integers, or of text; a missing one as 0, or as "" among texts."""
    import pandas as pd

    # numpy would make floats of a list of ids that only uint64 and only int64 can hold.
    values = np.array(values, object) if isinstance(values, list) else np.asarray(values)
    if values.dtype.kind in "iu":
        return values
    if values.dtype.kind in "UT":
        return values.astype(str)
    missing = pd.isna(values)
    if values.dtype.kind == "f":
        parted = values[~missing & ((values != np.rint(values)) | (np.abs(values) >= 2.0**63))]
        if parted.size:
            raise TypeError(f"a group is a whole number or text, not {parted[0]}")
        return np.where(missing, 0, values).astype(np.int64)
    if values.dtype.kind != "O":
        raise TypeError(f"a group is a whole number or text, not {values.dtype}")
    given: list[Any] = [_structure(value) for value in values[~missing].tolist()]
    kinds = {type(value) for value in given}
    if len(kinds) > 1:
        texts = [value for value in given if isinstance(value, str)]
        raise TypeError(f"groups are all whole numbers or all text; {texts[0]!r} is text, and others are numbers")
    if kinds == {str}:
        groups = np.full(values.shape, "", object)
        groups[~missing] = given
        return groups.astype(str)
    dtype = np.uint64 if given and max(given) > np.iinfo(np.int64).max else np.int64
    numbers = np.zeros(values.shape, dtype)
    numbers[~missing] = given
    return numbers
