"""Which rows of a result belong to which group, and what the rows of groups are called."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.hierarchy import Hierarchy, as_groups
from xlabelstats.names import LABEL, OBJECT
from xlabelstats.rows import ids_of, names_of_rows, positions_of, rows_of


@dataclass(frozen=True)
class Members:
    """Which rows belong to which group; a row may belong to several.

    Attributes
    ----------
    rows : array (member,)
        Sorted by group.
    groups : array (member,)
        The number of the group of each.
    starts : array (group,)
        The first member of each group.
    """

    rows: np.ndarray
    groups: np.ndarray
    starts: np.ndarray

    def fold(self, function: np.ufunc, values: np.ndarray) -> np.ndarray:
        """What a ufunc makes of the values (member, ...) of every group."""
        if not self.starts.size:
            return values[:0]
        return function.reduceat(values, self.starts, axis=0)


def groups_of(result: xr.Dataset, groups: Any) -> np.ndarray:
    """The group of every row, 0 or "" for none."""
    import pandas as pd

    if isinstance(groups, xr.DataArray):
        dim = rows_of(groups)
        if groups.dims != (dim,) or LABEL not in groups.coords or (dim == OBJECT and rows_of(result) == LABEL):
            raise ValueError(
                f"groups lie along the dim {rows_of(result)!r}, with the labels as coordinate; these have the dims "
                f"{groups.dims} and the coordinates {tuple(groups.coords)}"
            )
        keys, values = names_of_rows(groups), groups.compute().values
    elif isinstance(groups, pd.Series):
        keys, values = groups.index, groups.to_numpy()
    elif isinstance(groups, Mapping) and not isinstance(groups, xr.Dataset):
        keys, values = pd.Index(list(groups), dtype=None if groups else np.int64), np.empty(len(groups), object)
        values[:] = list(groups.values())
    else:
        raise TypeError(
            f"groups are a mapping from label to group, a pandas Series or a DataArray along {LABEL!r}, not "
            f"{type(groups).__name__}; of a table: table.set_index('label')['group']"
        )
    names = names_of_rows(result) if isinstance(keys, pd.MultiIndex) else pd.Index(ids_of(result))
    if keys.nlevels != names.nlevels:
        raise ValueError(f"the groups have an index of {keys.nlevels} levels; give a Series whose index is the labels")
    texts = [pd.api.types.infer_dtype(index) == "string" for index in (keys, names)]
    if len(keys) and len(names) and keys.nlevels == 1 and texts[0] != texts[1]:
        raise TypeError(
            f"the labels of the result are of another type than those of the groups: {names[:1].tolist()[0]!r} and "
            f"{keys[:1].tolist()[0]!r}"
        )
    if isinstance(keys, pd.RangeIndex) and keys.name is None and (keys.start, keys.step) == (0, 1):
        beyond = names[~names.isin(keys)]
        if len(beyond):
            raise ValueError(
                f"the groups have the default index of pandas, 0 to {keys.stop - 1}, and the result has the label "
                f"{beyond[0]}; make the labels the index: table.set_index({LABEL!r})[...]; or if these numbers are the "
                f"labels: groups.rename_axis({LABEL!r})"
            )
    if not keys.is_unique:
        raise ValueError(f"{keys[keys.duplicated()][0]} has two groups; give each label one")
    if keys.nlevels == 1 and keys.dtype != names.dtype and "uint64" in (keys.dtype, names.dtype):
        # As numbers of unlike dtypes they would be compared by their nearest floats.
        keys, names = keys.astype(object), names.astype(object)
    places = keys.get_indexer(names)
    group = as_groups(values)
    none = np.zeros(1, group.dtype)
    return np.concatenate([group, none])[np.where(places < 0, group.size, places)]


def members_of(
    result: xr.Dataset, group: np.ndarray, tree: Hierarchy | None
) -> tuple[Members, dict[Hashable, xr.Variable]]:
    """Which rows belong to which row of the merged result, and the coordinates of these."""
    import pandas as pd

    rows = np.flatnonzero(group != np.zeros(1, group.dtype))
    ids, code = np.unique(group[rows], return_inverse=True)
    if tree is not None:
        number, holders = tree.members(ids)
        bounds = np.searchsorted(number, np.arange(ids.size + 1))
        times = np.diff(bounds)[code]
        first = np.repeat(bounds[:-1][code] - np.cumsum(times) + times, times)
        rows, chosen = np.repeat(rows, times), first + np.arange(times.sum())
        ids, code = np.unique(holders[chosen], return_inverse=True)
    positions = positions_of(result)
    place = np.zeros(rows.size, np.int64)
    if positions:
        place = pd.MultiIndex.from_arrays(list(positions.values())).factorize()[0][rows]
    cells, number = np.unique(place * max(ids.size, 1) + code, return_inverse=True)
    order = np.argsort(number, kind="stable")
    starts = np.searchsorted(number[order], np.arange(cells.size))
    of_group = ids[cells % max(ids.size, 1)]
    dim = rows_of(result)
    coords: dict[Hashable, xr.Variable] = {LABEL: xr.Variable((dim,), of_group, result[LABEL].attrs)}
    where = rows[order][starts]
    coords |= {name: result[name].variable.isel({dim: where}) for name in positions}
    if tree is not None:
        coords |= {name: xr.Variable((dim,), values) for name, values in tree.coords(of_group).items()}
    return Members(rows[order], number[order], starts), coords
