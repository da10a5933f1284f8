"""Points counted in the objects of a mask, per category such as a gene."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xlabelstats.align import rounding_of
from xlabelstats.cautions import caution
from xlabelstats.engine import point_counts
from xlabelstats.engine.local import map_locally
from xlabelstats.engine.point_blocks import Lattice, Points, group
from xlabelstats.extras import need
from xlabelstats.grid import coordinate
from xlabelstats.inputs import at_position, check_is_mask, check_mask, check_on_host, check_pooling, data_of, is_dask
from xlabelstats.names import LABEL, OBJECT
from xlabelstats.options import compute_each

if TYPE_CHECKING:
    import pandas as pd

# A pandas DataFrame is read in pieces of so many rows, and a numpy mask in blocks of about so many pixels.
PIECE_ROWS = 2**19
BLOCK_PIXELS = 2**22

# The name of the counts, and those that the column of the categories cannot have, which becomes a dim beside.
COUNTS = "points"
TAKEN = {LABEL: "the results' dim", OBJECT: "the rows of results by per=", COUNTS: "the counts themselves"}


def count_points(mask: xr.DataArray, points: Any, by: Hashable | None = None) -> xr.DataArray:
    """Points per label, or per label and category; see `LabelsAccessor.count_points`."""
    check_is_mask(mask)
    check_on_host("mask.labels.count_points", mask=mask)
    frame = Frame(points, tuple(mask.dims), by)
    frame.check()
    check_pooling(mask, advice=lambda dim: f"mask.{at_position(dim)}.labels.count_points(...), with the points of it")
    mask = check_mask(mask)
    lines = [_edges(mask, dim, frame.dtype_of(dim)) for dim in mask.dims]
    return counted(mask, frame, lines)


def counted(
    mask: xr.DataArray, frame: Frame, lines: Sequence[tuple[np.ndarray, np.ndarray]], affine: np.ndarray | None = None
) -> xr.DataArray:
    """Points per label of a checked mask, whose pixels have these edges along its dims; see `Lattice`."""
    # Asked for first, so that nobody waits for what cannot be given.
    package = None if frame.by is None else need("sparse", "points", "count_points with by=")
    data = data_of(mask, "mask")
    edges, orders = map(list, zip(*lines, strict=True))
    lattice = Lattice(_chunks_of(data), edges, orders, affine)
    pieces = frame.pieces()
    result = point_counts.count_points(
        partial(_read, frame, pieces, lattice), len(pieces), data, lattice.chunks, frame.known_categories()
    )
    nan, outside, lacking = map(int, result.lost)
    if outside and not result.placed and not lacking and mask.size:
        caution(
            f"none of the {outside:,} points that have a position lies in the mask, which reaches over "
            + ", ".join(f"{dim!r} from {edge[0]:g} to {edge[-1]:g}" for dim, edge in zip(mask.dims, edges, strict=True))
            + "; are both in the same units?"
        )
    matrix = result.matrix
    coords: dict[Hashable, Any] = {LABEL: matrix.ids}
    attrs = {
        "long_name": "points in the label",
        "dropped_nan": nan,
        "dropped_outside": outside,
        "on_background": result.background,
    }
    if package is None:
        counts = np.zeros(matrix.ids.size, np.int64)
        counts[matrix.coords[0]] = matrix.counts
        return xr.DataArray(counts, coords, (LABEL,), COUNTS, attrs)
    shape = (matrix.ids.size, len(result.categories))
    counts = package.COO(matrix.coords, matrix.counts, shape, has_duplicates=False, sorted=True, fill_value=0)
    coords[frame.by] = (frame.by, _as_coordinate(result.categories))
    attrs["dropped_without_category"] = lacking
    return xr.DataArray(counts, coords, (LABEL, frame.by), COUNTS, attrs)


@dataclass(frozen=True)
class Frame:
    """Points as a table: their columns of positions, and of categories.

    Attributes
    ----------
    points : pandas or dask DataFrame
    dims : tuple of names
        The columns of the positions.
    by : name or None
        The column of the categories.
    """

    points: Any
    dims: tuple[Hashable, ...]
    by: Hashable | None

    def check(self, what: str = "dim {!r} of the mask") -> None:
        """Complain about what is no table, and columns that are not there or hold no numbers."""
        import pandas as pd

        if not isinstance(self.points, pd.DataFrame) and not self.is_dask:
            raise TypeError(
                f"points are a pandas or dask DataFrame with the columns {_listed(self.dims)}, "
                f"not {type(self.points).__name__}"
            )
        columns = list(self.points.columns)
        for dim in self.dims:
            if dim not in columns:
                raise ValueError(
                    f"the points have no column {dim!r} for the {what.format(dim)}; they have: {_listed(columns)}. "
                    f"Name a column after each dim: points.rename(columns={{...: {dim!r}}})"
                )
        if self.by is not None:
            if not isinstance(self.by, Hashable):
                given = repr(self.by) if isinstance(self.by, list) else type(self.by).__name__
                raise TypeError(f"by is the name of one column, not {given}")
            if self.by not in columns:
                raise ValueError(f"the points have no column {self.by!r} to count by; they have: {_listed(columns)}")
            if self.by in TAKEN:
                raise ValueError(
                    f"the column {self.by!r} has the name of {TAKEN[str(self.by)]}; "
                    f"rename it: points.rename(columns={{{self.by!r}: ...}})"
                )
        for name in (*self.dims, *(() if self.by is None else (self.by,))):
            if columns.count(name) > 1:
                raise ValueError(f"the points have {columns.count(name)} columns {name!r}; rename all but one")
        for dim in self.dims:
            dtype = self.dtype_of(dim)
            if not pd.api.types.is_numeric_dtype(dtype) or getattr(dtype, "kind", "f") not in "iuf":
                raise TypeError(
                    f"the column {dim!r} of the points holds {dtype}, not numbers: "
                    f"points.astype({{{dim!r}: 'float64'}})"
                )

    @property
    def is_dask(self) -> bool:
        """Whether the table is a dask DataFrame."""
        return is_dask(self.points) and hasattr(self.points, "to_delayed") and hasattr(self.points, "columns")

    def dtype_of(self, name: Hashable) -> Any:
        """The dtype of a column."""
        return self.points.dtypes.iloc[list(self.points.columns).index(name)]

    def known_categories(self) -> list[Any]:
        """The categories that are known before any point is read."""
        import pandas as pd

        if self.by is None or not isinstance(self.dtype_of(self.by), pd.CategoricalDtype):
            return []
        if self.is_dask and not self.points[self.by].cat.known:
            return []
        return self.dtype_of(self.by).categories.tolist()

    @property
    def names(self) -> list[Hashable]:
        """The columns that are read, each once."""
        return list(dict.fromkeys([*self.dims, *(() if self.by is None else (self.by,))]))

    def pieces(self) -> list[Any]:
        """The columns that are read in pieces: the partitions as delayed, or stretches of rows."""
        if self.is_dask:
            return list(self.points[self.names].to_delayed())
        # By number, since names may be anything.
        columns = [list(self.points.columns).index(name) for name in self.names]
        return [self.points.iloc[i : i + PIECE_ROWS, columns] for i in range(0, len(self.points), PIECE_ROWS)]

    def points_of(self, piece: pd.DataFrame, lattice: Lattice) -> Points:
        """The points of a piece, by block."""
        positions = np.empty((len(self.dims), len(piece)))
        for axis, row in enumerate(positions):
            column = piece.iloc[:, axis]
            # Of columns that have their own sign for what is missing.
            missing: Any = {} if isinstance(column.dtype, np.dtype) else {"na_value": np.nan}
            row[:] = column.to_numpy(dtype=np.float64, **missing)
        return group(lattice, positions, *self._categories_of(piece))

    def _categories_of(self, piece: pd.DataFrame) -> tuple[np.ndarray, list[Any]]:
        import pandas as pd

        if self.by is None:
            return np.zeros(len(piece), np.uint8), [None]
        column = piece.iloc[:, self.names.index(self.by)]
        if isinstance(column.dtype, pd.CategoricalDtype):
            return column.cat.codes.to_numpy(), column.cat.categories.tolist()
        try:
            codes, categories = pd.factorize(column)
        except TypeError as error:
            raise TypeError(
                f"the column {self.by!r} of the points holds {error.args[0]}, by which nothing can be counted; "
                "it holds a name or a number per point"
            ) from error
        return codes, categories.tolist()


def _read(frame: Frame, pieces: list[Any], lattice: Lattice, which: slice) -> list[Points]:
    """The points of some of the pieces, by block."""
    if not frame.is_dask:
        return map_locally(lambda piece: frame.points_of(piece, lattice), pieces[which])
    from dask import delayed

    # A frame of which the tasks need the names alone.
    names = delayed(Frame(None, frame.dims, frame.by), traverse=False)
    where = delayed(lattice, traverse=False)
    read = delayed(_points_of, pure=False)
    return list(compute_each([read(piece, names, where) for piece in pieces[which]]))


def _points_of(piece: pd.DataFrame, frame: Frame, lattice: Lattice) -> Points:
    return frame.points_of(piece, lattice)


def _edges(mask: xr.DataArray, dim: Hashable, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """The edges of the pixels along a dim, for points of a dtype; see `pixel_edges`."""
    values, n = coordinate(mask, dim), mask.sizes[dim]
    if values is None:
        return np.arange(n + 1) - 0.5 if n else np.array([np.inf]), np.arange(n)
    dtypes = [getattr(each, "numpy_dtype", each) for each in (mask.indexes[dim].dtype, dtype)]
    return pixel_edges(values, [values.astype(each) for each in dtypes if each.kind == "f"])


def pixel_edges(values: np.ndarray, rounded: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The edges of pixels with these middles, ascending, and the index of the pixel between two; see `Lattice`.

    ``rounded`` are positions by the rounding of which points may be off.
    """
    ordered, first = np.unique(values, return_index=True)
    if not ordered.size:
        return np.array([np.inf]), first
    # A coordinate of one pixel says nothing of its size.
    gaps = np.diff(ordered) if ordered.size > 1 else np.ones(1)
    # Of coordinates that were computed a tie is one up to the rounding of the dtypes that they and the points have.
    rounding = rounding_of(*rounded, spacing=gaps)
    middle = ordered[:-1] + gaps[: ordered.size - 1] / 2
    half = rounding[: ordered.size - 1] / 2
    # What lies in the middle belongs to the smaller index, which is the pixel on either side.
    between = np.where(first[:-1] < first[1:], middle + half, np.nextafter(middle - half, -np.inf))
    least = ordered[0] - gaps[0] / 2 - rounding[0]
    most = ordered[-1] + gaps[-1] / 2 + rounding[-1]
    return np.concatenate([[least], between, [most]]), first


def _chunks_of(data: Any) -> tuple[tuple[int, ...], ...]:
    """The blocks of a dask mask, or those that one in memory is read in."""
    if is_dask(data):
        return data.chunks
    lines = max(1, BLOCK_PIXELS // max(1, data[:1].size))
    whole, rest = divmod(data.shape[0], lines)
    return ((lines,) * whole + ((rest,) if rest or not whole else ()), *((n,) for n in data.shape[1:]))


def _as_coordinate(categories: list[Any]) -> Any:
    """Categories as a coordinate."""
    import pandas as pd

    text = all(isinstance(value, str) for value in categories)
    return np.array(categories, str) if text else pd.Index(categories).to_numpy()


def _listed(names: Sequence[Hashable]) -> str:
    return ", ".join(map(repr, names))
