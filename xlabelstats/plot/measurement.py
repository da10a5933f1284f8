"""Objects coloured by what was measured of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xlabelstats.align import display_name
from xlabelstats.classes import classes_of, numbers_of
from xlabelstats.inputs import check_is_mask, check_mask, check_on_host
from xlabelstats.labels.paint import check_rows
from xlabelstats.multiscale import as_array
from xlabelstats.names import LABEL, OBJECT, check_known
from xlabelstats.options import compute
from xlabelstats.plot.axes import add_colorbar, axes_of, colours_of, with_units
from xlabelstats.plot.resolution import choose_planes, drawn_dims, lay_out, read, title_of
from xlabelstats.rows import how_to_one_position

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def measurement(
    mask: xr.DataArray | xr.DataTree,
    values: xr.DataArray | xr.Dataset | pd.Series | Mapping[int, Any],
    *,
    variable: Hashable | None = None,
    name: str | None = None,
    cmap: Any = None,
    ax: Axes | None = None,
    **indices: int,
) -> Axes:
    """Draw the objects of a mask in the colours of their values, with a colour bar.

    Parameters
    ----------
    mask : DataArray or DataTree of integers
        The label of every pixel, 0 for the background, with two dims or more.
    values : DataArray ``(label,)``, Dataset of such, pandas Series, or mapping from label to value
        A value per label.  Numbers are quantities; text, categories, bool, and whole numbers that span less than
        ten are classes.
    variable : name, optional
        Which variable of a Dataset; not needed if it is the only one.
    name : str, optional
        The text of the colour bar.  By default the ``long_name`` or the name of the values, with their units.
    cmap : str or Colormap, optional
        By default viridis for quantities; tab10, tab20 or, for more than 20, turbo for classes.
    ax, **indices
        As in `overlay`.

    Returns
    -------
    matplotlib Axes
        With one image, transparent where there is no object, and where an object has no value or NaN; for classes it
        holds their positions in the colour bar.  Colours span all finite values, so that you can compare planes;
        ``ax.images[-1].set_clim(low, high)`` changes that.

    Raises
    ------
    ValueError
        The values have no labels, or more dims than ``label``; the variable does not exist; the mask has fewer than two
        dims; coordinates are not evenly spaced.
    IndexError
        A plane is out of range.
    TypeError
        The mask holds no integers; the values are of another kind, or no real numbers; an option does not exist.
    ModuleNotFoundError
        matplotlib is not installed.

    Notes
    -----
    The mask is read, and dims are chosen, as in `overlay`.

    Examples
    --------
    >>> import xarray as xr
    >>> from xlabelstats.plot import measurement
    >>> mask = xr.DataArray([[0, 1, 1], [2, 2, 2]], dims=("y", "x"))
    >>> ax = measurement(mask, {1: 0.5, 2: 2.5}, name="intensity")
    >>> ax.images[0].get_array().tolist()
    [[None, 0.5, 0.5], [2.5, 2.5, 2.5]]
    >>> ax.figure.clear()
    """
    import pandas as pd

    ax = axes_of(ax, "measurement")
    labels = as_array(mask)
    check_is_mask(labels)
    check_on_host("measurement", mask=labels)
    table, label = _table(values, variable, name)
    if isinstance(values, pd.Series):
        check_rows(values, labels)
    classes = classes_of(table)
    numbers = numbers_of(table) if classes is None else classes.codes
    dims = drawn_dims(labels.dims, indices)
    planes = choose_planes(labels, dims, indices)
    canvas = lay_out(labels, dims, planes, ax)

    pixels, extent = read(mask, canvas, planes)
    painted = check_mask(pixels).labels.paint(pd.Series(numbers, index=pd.Index(table.index.to_numpy(), name=LABEL)))
    # In colours, since values between two labels are nobody's.
    options: dict[str, Any] = {"interpolation": "antialiased", "interpolation_stage": "rgba"}
    if classes is None:
        finite = numbers[np.isfinite(numbers)]
        low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
        options |= {"cmap": cmap or "viridis", "vmin": low, "vmax": high}
    else:
        options |= colours_of(classes, cmap)
    drawn = canvas.draw(ax, np.ma.masked_invalid(painted.to_numpy()), extent, **options)

    ax.set_title(title_of(labels, planes), fontsize="medium")
    add_colorbar(ax, drawn, label, classes)
    return ax


def _table(values: Any, variable: Hashable | None, name: str | None) -> tuple[pd.Series, str]:
    """The values by label, and what the colour bar says of them."""
    import pandas as pd

    if isinstance(values, xr.Dataset):
        values = _variable(values, variable)
    elif variable is not None:
        raise TypeError(f"variable= chooses one of a Dataset, and the values are a {type(values).__name__}")
    if not isinstance(values, xr.DataArray):
        if not isinstance(values, pd.Series | Mapping):
            raise TypeError(
                f"values are a DataArray or a Dataset with the dim {LABEL!r}, a pandas Series or a mapping from label "
                f"to value, not {type(values).__name__}"
            )
        # An empty mapping has an index of no integers.
        table = (
            pd.Series(values) if len(values) else pd.Series([], index=pd.Index([], dtype=np.int64), dtype=np.float64)
        )
        return table, str(name or ("" if table.name is None else table.name))
    check_on_host("measurement", values=values)
    if values.dims != (LABEL,):
        more = [str(dim) for dim in values.dims if dim != LABEL]
        hint = f"; choose one along {more[0]!r}: values.sel({more[0]}=...)" if LABEL in values.dims else ""
        if OBJECT in values.dims:
            hint = f"; choose one position: {how_to_one_position(values).replace('result', 'values')}"
        raise ValueError(f"values to draw have only the dim {LABEL!r}, and these have {values.dims}{hint}")
    if LABEL not in values.coords:
        raise ValueError(f"the values have no labels; give them: values.assign_coords({LABEL}=[...])")
    found = compute(values) if values.chunks is not None else values
    label = name or values.attrs.get("long_name") or display_name(values, "")
    return pd.Series(found.to_numpy(), index=found[LABEL].to_numpy()), with_units(label, values.attrs)


def _variable(dataset: xr.Dataset, variable: Hashable | None) -> xr.DataArray:
    names = list(dataset.data_vars)
    if variable is not None:
        check_known([str(variable)], map(str, names), "variable")
        return dataset[variable]
    if not names:
        raise ValueError("the values are a Dataset without variables")
    if len(names) > 1:
        raise ValueError(f"the values are a Dataset of {len(names)} variables; choose one: variable={names[0]!r}")
    return dataset[names[0]]
