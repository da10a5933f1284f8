"""Results as tables: one row per label."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xlabelstats.catalogue import STATISTICS
from xlabelstats.catalogue.cellprofiler import METADATA, OBJECT_NUMBER
from xlabelstats.extras import need
from xlabelstats.features import about, by_element, elements, features_of, in_cellprofilers_words
from xlabelstats.inputs import check_labels, check_on_host, dense, is_dask, is_sparse
from xlabelstats.names import LABEL, OBJECT, PAIR
from xlabelstats.neighbor_graph import graph_of
from xlabelstats.options import compute
from xlabelstats.rows import ids_of, names_of_rows, positions_of, rows_of

if TYPE_CHECKING:
    import anndata
    import pandas as pd

CENTROIDS = "spatial"

# X of a table of all that is a number of every row.
FEATURES = "features"

# The names of columns that there are beside those of the package.
CELLPROFILER = "cellprofiler"


def to_dataframe(
    result: xr.Dataset,
    instance_key: str = LABEL,
    *,
    units: bool = False,
    names: str | None = None,
    compartment: str | None = None,
) -> pd.DataFrame:
    """A wide table of a result; see `LabelsAccessor.to_dataframe`."""
    import pandas as pd

    if not isinstance(units, bool):
        raise TypeError(f"units is True or False, whether column names include them, not {units!r}")
    check_names(names, compartment)
    if units and names is not None:
        raise ValueError(f"CellProfiler's names have no units; leave out units=True, or names={names!r}")
    check_rows(result, "to_dataframe")
    result = _in_memory(result)
    if names is None:
        columns = _by_name(_own_columns(result, units))
    else:
        words = ((name, values) for name, _, values in in_cellprofilers_words(result, compartment))
        columns = _by_name(itertools.chain(_metadata(result), words))
    return pd.DataFrame(columns, index=names_of_rows(result, instance_key))


def _own_columns(result: xr.Dataset, units: bool) -> Iterator[tuple[str, np.ndarray]]:
    for name, variable in result.items():
        said = variable.attrs.get("units") if units else None
        for element, values in zip(elements(variable), by_element(variable).T, strict=True):
            yield "_".join([str(name), *element]) + (f" [{said}]" if said else ""), values


def _metadata(result: xr.Dataset) -> Iterator[tuple[str, np.ndarray]]:
    """Which object every row is, in columns as CellProfiler and pycytominer have them."""
    yield f"{METADATA}_{OBJECT_NUMBER}", ids_of(result)
    for name, values in positions_of(result).items():
        yield f"{METADATA}_{name}", values


def _by_name(columns: Iterable[tuple[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Columns by their names, or a complaint about two of one name."""
    named: dict[str, np.ndarray] = {}
    for column, values in columns:
        if column in named:
            raise ValueError(f"two columns would be named {column!r}; rename a variable or make the coordinates unique")
        named[column] = values
    return named


def check_names(names: Any, compartment: Any) -> None:
    """Complain about names of columns that there are not, or about a compartment without such names."""
    if names is not None and names != CELLPROFILER:
        raise ValueError(f"names is {CELLPROFILER!r} or None, for the names of xlabelstats, not {names!r}")
    if compartment is None:
        return
    if not isinstance(compartment, str):
        raise TypeError(f"compartment is a text such as 'Nuclei', not {type(compartment).__name__}")
    if not compartment:
        raise ValueError("compartment is a text such as 'Nuclei', not an empty one; leave it out for no compartment")
    if names is None:
        raise ValueError(f"compartment={compartment!r} is for CellProfiler's names; give names={CELLPROFILER!r} too")


def to_anndata(
    result: xr.Dataset,
    X: str | None,
    *,
    centroids: xr.DataArray | None = None,
    neighbors: xr.Dataset | None = None,
    instance_key: str = LABEL,
    names: str | None = None,
    compartment: str | None = None,
) -> anndata.AnnData:
    """An annotated table of a result; see `LabelsDatasetAccessor.to_anndata`."""
    package = need("anndata", "anndata", "to_anndata")
    import pandas as pd

    check_names(names, compartment)
    check_rows(result, "to_anndata")
    of_features = X == FEATURES and X not in result.data_vars
    if names is not None and not of_features:
        raise ValueError(f"names={names!r} is for a table with all features in X; give X={FEATURES!r} too")
    if X is not None and X not in result.data_vars and not of_features:
        raise ValueError(
            f"there is no variable {X!r} to be X, there are: {', '.join(map(str, result))}; name one of them: X=..., "
            f"or none, X=None, or all that are numbers, X={FEATURES!r}"
        )
    if instance_key != LABEL and instance_key in result.variables:
        raise ValueError(f"{instance_key!r} is the name of a variable or coordinate; choose another instance_key")
    graph = None if neighbors is None else graph_of(neighbors, result)
    result, positions = _computed_with(result, centroids)
    ids, rows = ids_of(result), _names_in_obs(result)
    places = {str(name): np.array(values) for name, values in positions_of(result).items()}

    # All are copies, since users of annotated tables scale and transform them in place.
    matrices, columns, arrays = {}, _other_coords(result, places), {}
    var = None
    if of_features:
        numeric = result[[name for name, variable in result.items() if variable.dtype.kind in "biuf"]]
        matrices[FEATURES], var = _features(numeric, len(rows), names, compartment)
        result = result.drop_vars(numeric.data_vars)
    elif X is not None:
        var = _var(result[X])
    for name, variable in result.items():
        if not of_features and X is not None and _is_matrix(str(name), variable, X, result[X]):
            matrices[str(name)] = _matrix_of(variable.transpose(*result[X].dims))
        elif variable.ndim == 1:
            columns[str(name)] = np.array(dense(variable))
        else:
            arrays[str(name)] = _array_of(variable, rows)
    if positions is not None:
        if CENTROIDS in arrays:
            raise ValueError(f"the result has a variable {CENTROIDS!r}, which is where centroids go; rename it")
        arrays[CENTROIDS] = positions
    return package.AnnData(
        X=None if X is None else matrices.pop(X),
        layers=matrices,
        obs=pd.DataFrame({**places, instance_key: _integers(ids), **columns}, index=rows),
        var=var,
        obsm=arrays,
        obsp={} if graph is None else graph.matrices,
        uns={} if graph is None else graph.description,
    )


def _features(
    result: xr.Dataset, n_rows: int, names: str | None, compartment: str | None
) -> tuple[np.ndarray, pd.DataFrame]:
    """Every number of every row as float, and what describes the columns."""
    import pandas as pd

    if names is None:
        named = [(feature.name, feature, values) for feature, values in features_of(result)]
    else:
        named = list(in_cellprofilers_words(result, compartment))
    columns = _by_name((name, values) for name, _, values in named)
    matrix = np.empty((n_rows, len(columns)))
    for i, values in enumerate(columns.values()):
        matrix[:, i] = values
    return matrix, pd.DataFrame(
        about([feature for _, feature, _ in named]), index=pd.Index(list(columns), dtype=object)
    )


def check_rows(result: xr.Dataset, what: str) -> None:
    """Complain about a result without rows, or on the GPU."""
    for variable in result.values():
        check_on_host(what, result=variable)
    rows = rows_of(result)
    without = [name for name, variable in result.items() if rows not in variable.dims]
    if rows not in result.dims or without:
        if PAIR in result.dims:
            raise ValueError("the rows are pairs of labels here, not labels; make a table by result.to_dataframe()")
        what = f"variable {without[0]!r} has" if without else "this has"
        raise ValueError(f"{what} no dim {rows!r}, so there are no rows; a result of .labels.aggregate has one")


def labels_of_rows(result: xr.Dataset) -> np.ndarray:
    """The labels of the rows as integers, which others find them by, or a complaint.

    What a join has made floating point becomes integers again, and each label has one row.
    """
    if LABEL in result.dims and LABEL not in result.coords:
        raise ValueError(f"the result does not say whose rows it has; result.assign_coords({LABEL}=[...]) names them")
    ids = ids_of(result)
    return check_labels(ids, ids.dtype)


def _in_memory(result: xr.Dataset) -> xr.Dataset:
    return compute(result) if any(is_dask(variable.data) for variable in result.values()) else result


def _computed_with(result: xr.Dataset, centroids: xr.DataArray | None) -> tuple[xr.Dataset, np.ndarray | None]:
    """The result, and the centroids of its labels as (x, y[, z]), computed together."""
    if centroids is None:
        return _in_memory(result), None
    centroids = _of_labels(centroids, names_of_rows(result))
    # Without their coordinates, since a variable of the result may have other axes.
    name, axis = "centroids for obsm", "axis of centroids for obsm"
    both = _in_memory(result.assign({name: ((rows_of(result), axis), centroids.data)}))
    return both.drop_vars(name), both[name].to_numpy()[:, _x_first(centroids)]


def _of_labels(centroids: xr.DataArray, names: pd.Index) -> xr.DataArray:
    """The centroids (label, axis) of the rows of a result, in their order."""
    dim = OBJECT if names.nlevels > 1 else LABEL
    if not isinstance(centroids, xr.DataArray) or dim not in centroids.dims or centroids.ndim != 2:
        what = f"dims {centroids.dims}" if isinstance(centroids, xr.DataArray) else type(centroids).__name__
        raise ValueError(f"centroids are a DataArray ({dim}, axis), as mask.labels.center_of_mass() gives, not {what}")
    rows = names_of_rows(centroids).get_indexer(names)
    lacking = names[rows < 0]
    if lacking.size:
        raise ValueError(f"centroids lack {lacking.size} of the labels, the first is {lacking[0]}")
    centroids = centroids.transpose(dim, ...)
    return centroids if np.array_equal(rows, np.arange(len(centroids))) else centroids.isel({dim: rows})


def _x_first(centroids: xr.DataArray) -> list[int]:
    """The order of axes that makes positions (x, y[, z]): by name, or that of the mask from the last to the first."""
    dim = centroids.dims[1]
    axes = [str(axis) for axis in centroids[dim].to_numpy()] if dim in centroids.coords else []
    last_to_first = list(range(centroids.shape[1]))[::-1]
    return sorted(last_to_first, key=lambda i: axes[i]) if axes and set(axes) <= {"x", "y", "z"} else last_to_first


def _is_matrix(name: str, variable: xr.DataArray, X: str, of_X: xr.DataArray) -> bool:
    """Whether a variable is X or a layer beside it, and not a column that describes the labels."""
    if set(variable.dims) != set(of_X.dims):
        return False
    # Without channels all are (label,); those that are statistics of the image still go with X.
    return of_X.ndim > 1 or name == X or (name in STATISTICS and name != "count")


def _array_of(variable: xr.DataArray, names: list[str]) -> Any:
    """An array (label, element), as a table if its elements have names."""
    import pandas as pd

    values = _matrix_of(variable)
    if is_sparse(variable.data) or not any(dim in variable.coords for dim in variable.dims if dim != rows_of(variable)):
        return values
    return pd.DataFrame(values, index=names, columns=_element_names(variable))


def _var(of_X: xr.DataArray) -> pd.DataFrame:
    """The rows of var: the elements of X's other dims by name, and in columns whatever else is known of them."""
    import pandas as pd

    other = tuple(dim for dim in of_X.dims if dim != rows_of(of_X))
    grid = xr.DataArray(np.zeros([of_X.sizes[dim] for dim in other]), dims=other)
    names = [name for name, coord in of_X.coords.items() if coord.ndim and set(coord.dims) <= set(other)]
    columns = {
        str(name): of_X[name].broadcast_like(grid).transpose(*other).to_numpy().ravel()
        for name in names
        if other != (name,)
    }
    return pd.DataFrame(columns, index=_element_names(of_X))


def _names_in_obs(result: xr.Dataset) -> list[str]:
    """The names of the rows as text: the labels, or the positions and labels joined by ``_``."""
    columns = [*positions_of(result).values(), ids_of(result)]
    return ["_".join(row) for row in zip(*(column.astype(str).tolist() for column in columns), strict=True)]


def _other_coords(result: xr.Dataset, places: Container[str]) -> dict[str, Any]:
    """The coordinates that describe the rows, beside where they are and the ids themselves."""
    rows = rows_of(result)
    along = {str(name): coord for name, coord in result.coords.items() if coord.dims == (rows,)}
    return {name: np.array(coord) for name, coord in along.items() if name not in (LABEL, rows) and name not in places}


def _integers(ids: np.ndarray) -> np.ndarray:
    """The ids as int64, where it can hold them."""
    too_large = ids.dtype == np.uint64 and ids.size and ids.max() > np.iinfo(np.int64).max
    return ids if too_large or ids.dtype.kind not in "iu" else ids.astype(np.int64)


def _matrix_of(variable: xr.DataArray) -> Any:
    """A copy of a variable as (label, element), of a sparse one in scipy's format CSR."""
    if not is_sparse(variable.data):
        return np.array(by_element(variable))
    from scipy.sparse import csr_matrix

    # Of the formats that sparse has, this one has the coordinates of every entry.
    data = variable.transpose(rows_of(variable), ...).data.asformat("coo")
    if data.fill_value != 0:
        return np.array(by_element(variable))
    data = data.reshape((len(data), math.prod(data.shape[1:])))
    return csr_matrix((data.data, tuple(data.coords)), data.shape)


def _element_names(variable: xr.DataArray) -> list[str]:
    """The names of a variable's elements as one string each; a single element of no dim is number 0."""
    names = ["_".join(element) or "0" for element in elements(variable)]
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise ValueError(f"two columns of {variable.name!r} would be named {twice[0]!r}; make the coordinates unique")
    return names
