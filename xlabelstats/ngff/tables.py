"""Results as feature tables below the image of an OME-Zarr, as ngio reads them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xlabelstats.extras import need
from xlabelstats.inputs import is_dask
from xlabelstats.names import LABEL, OBJECT, check_known
from xlabelstats.ngff.groups import LABELS, TABLES, addition, listed_in
from xlabelstats.rows import how_to_one_position, ids_of, rows_of
from xlabelstats.store import to_zarr
from xlabelstats.tables import check_rows, labels_of_rows, to_dataframe

if TYPE_CHECKING:
    import pandas as pd
    import zarr

BACKENDS = {"anndata": "anndata", "parquet": "pyarrow"}

# Of results in memory, whose tables need not be in memory as a whole beside them.
ROWS = 2**16


def write_table(
    result: xr.Dataset,
    path: str | os.PathLike[str],
    label: str,
    *,
    name: str | None = None,
    backend: str = "anndata",
    instance_key: str = LABEL,
    overwrite: bool = False,
) -> None:
    """Write a result below an image; see `LabelsDatasetAccessor.to_ome_zarr`."""
    check_known([backend], BACKENDS, "backend")
    package = need(BACKENDS[backend], {"anndata": "anndata"}.get(backend, "pipeline"), f"backend={backend!r}")
    result = _by_label(result)
    with addition(path, TABLES, label if name is None else name, overwrite, result.nbytes) as new:
        if label not in (labels := listed_in(new.image, LABELS)):
            there = f"there are: {', '.join(map(repr, labels))}" if labels else "there is none yet"
            raise ValueError(
                f"the OME-Zarr has no label image {label!r} for the table to describe, {there}; store the mask first: "
                f"mask.labels.to_ome_zarr(path, {label!r})"
            )
        if any(is_dask(variable.data) for variable in result.variables.values()):
            # All is computed in one pass, and what of it lies ready is written; then the table is made piece by piece.
            result = to_zarr(result, new.scratch)[list(result)]
        tables = _pieces(result, instance_key)
        if backend == "parquet":
            _write_parquet(tables, new.folder / "table.parquet")
        else:
            _write_anndata(tables, result.sizes[LABEL], new.group, package)
        new.group.attrs.update(
            {
                "type": "feature_table",
                "table_version": "1",
                "region": {"path": f"../{LABELS}/{label}"},
                "instance_key": instance_key,
                "backend": backend,
                "index_key": instance_key,
                "index_type": "int",
            }
        )


def _by_label(result: xr.Dataset) -> xr.Dataset:
    """A result with integers as labels, or a complaint if it is no table with one row per label."""
    check_rows(result, "to_ome_zarr")
    if rows_of(result) == OBJECT:
        raise ValueError(
            "a feature table of an OME-Zarr has one row per label, and this result has one per label and position. "
            f"Choose a position: {how_to_one_position(result)}. "
            "Or write a file of its own: result.labels.to_dataframe().to_parquet(...)"
        )
    ids, counts = np.unique(ids_of(result), return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"a feature table has one row per label, and label {ids[counts > 1][0]} has several")
    return result.assign_coords({LABEL: (LABEL, labels_of_rows(result))})


def _pieces(result: xr.Dataset, instance_key: str) -> Iterator[pd.DataFrame]:
    """The table of a result, in pieces of some rows: one piece at least."""
    chunks = [variable.chunksizes[LABEL][0] for variable in result.values() if LABEL in variable.chunksizes]
    step = max([ROWS, *chunks])
    for start in range(0, max(result.sizes[LABEL], 1), step):
        table = to_dataframe(result.isel({LABEL: slice(start, start + step)}), instance_key)
        if instance_key in table:
            raise ValueError(f"{instance_key!r} is the name of a column; choose another instance_key")
        yield table


def _write_parquet(tables: Iterator[pd.DataFrame], path: Path) -> None:
    """Write a table as row groups of a file."""
    import pyarrow as pa
    from pyarrow import parquet

    first = pa.Table.from_pandas(next(tables).reset_index(), preserve_index=False)
    with parquet.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(pa.Table.from_pandas(table.reset_index(), first.schema, preserve_index=False))


def _write_anndata(tables: Iterator[pd.DataFrame], n_rows: int, group: zarr.Group, anndata: Any) -> None:
    """Write a table as AnnData has it in Zarr: floating-point columns as ``X``, the others as ``obs``."""
    import pandas as pd

    others, start, X, var = [], 0, None, None
    for table in tables:
        is_float = np.array([getattr(dtype, "kind", "O") == "f" for dtype in table.dtypes], bool)
        floats = table.loc[:, is_float].to_numpy(np.float64)
        if X is None:
            var = pd.DataFrame(index=_texts(table.columns[is_float]))
            shape = (n_rows, floats.shape[1])
            chunks = (max(len(table), 1), max(min(floats.shape[1], 64), 1))
            X = group.create_array("X", shape=shape, chunks=chunks, dtype=np.float64)
            X.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        X[start : start + len(table)] = floats
        start += len(table)
        others.append(table.loc[:, ~is_float])
    obs = pd.concat(others)
    obs.index = _texts(obs.index)
    for name, dtype in obs.dtypes.items():
        if getattr(dtype, "kind", "O") in "OU":
            # AnnData would write the text "nan" for a text that is missing, but not among categories.
            obs[name] = obs[name].astype("category" if obs[name].isna().any() else object)
    with warnings.catch_warnings():
        # Zarr 2, which OME-Zarr 0.4 is kept in, is on its way out there.
        warnings.filterwarnings("ignore", "zarr v3 will become the only option")
        for name, element in {"obs": obs, "var": var}.items():
            anndata.io.write_elem(group, name, element)
        for name in ("layers", "obsm", "varm", "obsp", "varp", "uns"):
            anndata.io.write_elem(group, name, {})
    group.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})


def _texts(index: pd.Index) -> pd.Index:
    """An index as text, of the kind that every version of AnnData stores alike."""
    import pandas as pd

    return pd.Index([str(each) for each in index], dtype=object, name=index.name)
