"""One measurement against another."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xlabelstats.classes import Classes, classes_of, numbers_of
from xlabelstats.names import LABEL, OBJECT, check_known
from xlabelstats.plot.axes import add_colorbar, axes_of, colours_of, with_units
from xlabelstats.rows import how_to_one_position, ids_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# Beyond so many points, vector files hold them as an image, and legends do not look for the emptiest corner.
MANY = 10_000

# The entries in a column of a legend.
ENTRIES = 12


def scatter(
    table: pd.DataFrame | xr.Dataset,
    x: Hashable,
    y: Hashable,
    *,
    color: Hashable | None = None,
    cmap: Any = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a point per label: one column of a table against another.

    Parameters
    ----------
    table : pandas.DataFrame or Dataset
        A row per label.  A Dataset stands for its wide table, see `LabelsDatasetAccessor.to_dataframe`: its
        columns are ``count``, ``mean_DAPI``, ``centroid_y``.  The index and the coordinates of the labels are
        columns too.
    x, y : name
        Columns of numbers.
    color : name, optional
        A column that colours the points: numbers with a colour bar; text, categories, bool, and whole
        numbers that span less than ten, as classes with a legend.
    cmap : str or Colormap, optional
        By default viridis for quantities; tab10, tab20 or, for more than 20, turbo for classes.
    ax : matplotlib Axes, optional
        Where to draw; by default the current Axes, ``plt.gca()``.

    Returns
    -------
    matplotlib Axes
        With one collection of points, the axes named by the columns and their units.  Rows without x or y are
        left out; a point without ``color`` is light grey.  More than 10,000 points are an image in vector files.

    Raises
    ------
    ValueError
        A column does not exist, or several have its name; or ``cmap`` is given without ``color``.
    TypeError
        The table is of another kind, or x or y holds no numbers.
    ModuleNotFoundError
        matplotlib is not installed.

    Examples
    --------
    >>> import pandas as pd
    >>> from xlabelstats.plot import scatter
    >>> ax = scatter(pd.DataFrame({"area": [4, 9], "mean": [1.5, 0.5]}), "area", "mean")
    >>> ax.collections[0].get_offsets().tolist()
    [[4.0, 1.5], [9.0, 0.5]]
    >>> ax.figure.clear()
    """
    if color is None and cmap is not None:
        raise ValueError("cmap colours the points by a column; say which with color=")
    ax = axes_of(ax, "scatter")
    columns, labels = _columns(table, [x, y, *([] if color is None else [color])])
    across, down = (_numbers(columns[name], name) for name in (x, y))
    shown = np.isfinite(across) & np.isfinite(down)
    classes = None if color is None else classes_of(columns[color][shown])
    options: dict[str, Any] = {}
    if classes is not None:
        options = {"c": classes.codes, **colours_of(classes, cmap)}
    elif color is not None:
        options = {"c": _finite(numbers_of(columns[color][shown])), "cmap": cmap or "viridis"}
    if "c" in options:
        import matplotlib as mpl

        options["cmap"] = mpl.colormaps.get_cmap(options["cmap"]).with_extremes(bad="lightgrey")
    n = int(shown.sum())
    points = ax.scatter(
        across[shown],
        down[shown],
        s=float(np.clip(8000 / max(n, 1), 1.0, 24.0)),
        alpha=1.0 if n <= 500 else 0.7 if n <= MANY else 0.4,
        linewidths=0,
        plotnonfinite=True,
        rasterized=n > MANY,
        **options,
    )
    ax.set(xlabel=labels[x], ylabel=labels[y])
    if classes is not None:
        _add_legend(ax, points, classes, labels[color], many=n > MANY)
    elif color is not None:
        add_colorbar(ax, points, labels[color])
    return ax


def _columns(table: Any, names: list[Hashable]) -> tuple[dict[Hashable, pd.Series], dict[Hashable, str]]:
    """The columns of these names, and what the axes say of them."""
    import pandas as pd

    if isinstance(table, xr.Dataset):
        return _columns_of_dataset(table, names)
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"a table is a pandas DataFrame or a Dataset of results, not {type(table).__name__}")
    index = {table.index.name: table.index.to_series()} if table.index.name is not None else {}
    check_known(map(str, names), map(str, [*table.columns, *index]), "column")
    for name in names:
        _check_one(name, [*table.columns], [*index])
    return {name: table[name] if name in table else index[name] for name in names}, {name: str(name) for name in names}


def _check_one(name: Hashable, columns: list[Hashable], index: list[Hashable]) -> None:
    """Complain about a name that several columns have, or that one has as text and not as what it is."""
    if columns.count(name) > 1:
        raise ValueError(
            f"{columns.count(name)} columns are called {name!r}, so it is not clear which one is meant; "
            "give each a name of its own: table.columns = [...]"
        )
    if name not in columns and name not in index:
        like = next(known for known in [*columns, *index] if str(known) == str(name))
        raise ValueError(
            f"there is no column {name!r} of type {type(name).__name__}, but one {like!r} of type "
            f"{type(like).__name__}; give the name as the table has it"
        )


def _columns_of_dataset(
    table: xr.Dataset, names: Iterable[Hashable]
) -> tuple[dict[Hashable, pd.Series], dict[Hashable, str]]:
    """The columns of the wide table, of which no others are computed."""
    if LABEL not in table.dims:
        advice = f"; choose one position: {how_to_one_position(table)}" if OBJECT in table.dims else ""
        raise ValueError(
            f"a table has the dim {LABEL!r}, a row per label; this Dataset has {tuple(table.dims)}{advice}"
        )
    import pandas as pd

    ids = pd.Series(ids_of(table))
    along = [name for name, coord in table.coords.items() if coord.dims == (LABEL,) and name != LABEL]
    table = table.reset_coords(along)
    table = table[[name for name, variable in table.items() if LABEL in variable.dims]]
    # Without rows, the columns are known at no cost.
    empty = xr.zeros_like(table.isel({LABEL: slice(0)}))
    owner = {column: name for name in table for column in empty[[name]].labels.to_dataframe().columns}
    check_known(map(str, names), [*owner, LABEL], "column")
    needed = list(dict.fromkeys(owner[name] for name in map(str, names) if name in owner))
    frame = table[needed].labels.to_dataframe() if needed else None
    columns: dict[Hashable, pd.Series] = {}
    labels: dict[Hashable, str] = {}
    for name in names:
        own = owner.get(str(name))
        columns[name] = ids if own is None or frame is None else frame[str(name)]
        labels[name] = str(name) if own is None else with_units(name, table[own].attrs)
    return columns, labels


def _numbers(column: pd.Series, name: Hashable) -> np.ndarray:
    import pandas as pd

    column = column.infer_objects()
    if not pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_complex_dtype(column.dtype):
        raise TypeError(f"the column {name!r} holds {column.dtype}, not numbers; it can be the color")
    return numbers_of(column)


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)


def _add_legend(ax: Axes, points: Any, classes: Classes, title: str, *, many: bool) -> None:
    """A legend with an entry per class, full colours whatever the transparency of the points."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=5, color=points.to_rgba(code, alpha=1.0), label=name)
        for code, name in enumerate(classes.names)
    ]
    columns = -(-len(handles) // ENTRIES)
    ax.legend(
        handles=handles,
        title=title,
        loc="upper right" if many else "best",
        ncols=columns,
        fontsize="small",
        title_fontsize="small",
    )
