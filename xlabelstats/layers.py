"""Results as layers of napari: the pixels, centres or outlines of objects in the colours of a measure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xlabelstats.align import display_name
from xlabelstats.classes import classes_of, numbers_of
from xlabelstats.engine.dask_internals import held_data
from xlabelstats.extras import need
from xlabelstats.inputs import check_is_mask, check_on_host, how_to_a_mask, is_array
from xlabelstats.multiscale import levels_of
from xlabelstats.names import LABEL, OBJECT, check_known
from xlabelstats.options import compute
from xlabelstats.pipeline.cache.images import AXES
from xlabelstats.pipeline.viewer import open_viewer, placement, unit_of
from xlabelstats.rows import ids_of, rows_of
from xlabelstats.tables import labels_of_rows, to_dataframe

if TYPE_CHECKING:
    import pandas as pd

# Colours of quantities.  As these are few, napari draws a mask as bytes, whatever its dtype.
SHADES = 250

# How large a mark is, as a part of the distance from one centre to the next.
MARK = 0.3

# How wide a line is, as a part of the size of an object.
LINE = 0.05

# The column by which napari finds the row of a label.
INDEX = "index"


def to_napari(
    result: xr.Dataset, objects: Any, viewer: Any, color: str | None, colormap: str | None, layer: Mapping | None
) -> Any:
    """Add a layer of objects to a viewer; see `LabelsDatasetAccessor.to_napari`."""
    need("napari.utils", "viewer", "to_napari")
    # A new window only once there is something to show.
    viewer = None if viewer is True else open_viewer(viewer)
    show = _how_to_show(objects)
    table = _table(result)
    if color is not None:
        color = str(color)
        check_known([color], table.columns, "column to colour by")
    colours = None if color is None else colours_of(table[color], colormap)
    kind, data, options = show(objects, table, colours)
    if color is not None:
        options["name"] += f" {color}"
    viewer = viewer or open_viewer(True)
    getattr(viewer, f"add_{kind}")(data, **options | dict(layer or {}))
    return viewer


def colours_of(values: pd.Series, colormap: str | None) -> np.ndarray:
    """A colour (red, green, blue, alpha) for every value, transparent for NaN."""
    from napari.utils.colormaps import AVAILABLE_COLORMAPS, ensure_colormap

    try:
        colours = ensure_colormap(colormap or "viridis")
    except KeyError:
        few = ", ".join(sorted(AVAILABLE_COLORMAPS)[:5])
        raise ValueError(
            f"napari has no colormap {colormap!r}; napari.utils.colormaps.AVAILABLE_COLORMAPS lists them: {few}, ..."
        ) from None
    classes = classes_of(values)
    if classes is not None:
        n = len(classes.names)
        if colormap is None:
            # The last one is of those without a class.
            palette = np.vstack([distinct_colours(n), np.zeros(4)])
            return palette[np.nan_to_num(classes.codes, nan=n).astype(np.intp)]
        return colours.map(classes.codes / max(n - 1, 1))
    numbers = np.asarray(numbers_of(values), float)
    numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    known = numbers[~np.isnan(numbers)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    part = (numbers - low) / ((high - low) or 1.0)
    return colours.map(np.round(part * SHADES) / SHADES)


def distinct_colours(n: int) -> np.ndarray:
    """Colours that napari gives to labels, and of those such as differ much from each other.

    As they are random, some of the first ones are alike.
    """
    from napari.utils.colormaps import label_colormap

    colours = np.asarray(label_colormap(4 * n + 50).colors)
    chosen, distances = [], np.full(len(colours), np.inf)
    for _ in range(n):
        chosen.append(int(distances.argmax()))
        distances = np.minimum(distances, np.abs(colours - colours[chosen[-1]]).sum(axis=1))
    return colours[chosen]


def _how_to_show(objects: Any) -> Any:
    """What makes a layer of these objects, or a complaint."""
    if isinstance(objects, xr.DataArray) and {LABEL, OBJECT} & set(objects.dims):
        check_on_host("to_napari", objects=objects)
        return _centers
    if isinstance(objects, xr.DataTree | xr.DataArray):
        for level in levels_of(objects) if isinstance(objects, xr.DataTree) else [objects]:
            check_is_mask(level)
            check_on_host("to_napari", mask=level)
            _check_dims(level.ndim, "mask")
        return _pixels
    if hasattr(objects, "geometry") and hasattr(objects, "index"):
        return _outlines
    raise TypeError(
        "objects to show are a mask, their centres as mask.labels.center_of_mass() gives them, or their outlines as "
        f"mask.instances.polygons() does, not {type(objects).__name__}"
        + (f"; {how_to_a_mask(objects)}" if is_array(objects) else "")
    )


def _check_dims(ndim: int, what: str) -> None:
    if ndim < 2:
        raise ValueError(f"napari shows two dims or more, and the {what} has one; add one: mask.expand_dims('y')")


def _table(result: xr.Dataset) -> pd.DataFrame:
    """The rows of a result by label."""
    if rows_of(result) == OBJECT:
        raise ValueError(
            "this result has rows for every label at several positions, and a label has one colour in napari. Measure "
            "one position: mask.isel(t=0); or show the values as an image: "
            "viewer.add_image(mask.labels.paint(result['mean']).data)"
        )
    return to_dataframe(result).set_axis(labels_of_rows(result))


def _pixels(mask: xr.DataArray | xr.DataTree, table: pd.DataFrame, colours: np.ndarray | None) -> tuple[str, Any, dict]:
    """Labels of napari, at all scales that there are."""
    from napari.utils import DirectLabelColormap

    if INDEX in table:
        raise ValueError(f"the result has a column {INDEX!r}, which is what napari calls the labels; rename it")
    levels = [_lazy(level) for level in (levels_of(mask) if isinstance(mask, xr.DataTree) else [mask])]
    finest = levels[0].transpose(*in_order(levels[0].dims))
    data = [level.transpose(*finest.dims).data for level in levels]
    options: dict[str, Any] = {
        "name": display_name(finest, "labels") or "labels",
        "multiscale": len(data) > 1,
        "features": table.reset_index(names=INDEX),
        **placement(finest),
    }
    if colours is not None:
        clear = np.zeros(4)
        by_label: dict[int | None, np.ndarray] = dict(zip(table.index.tolist(), colours, strict=True))
        options["colormap"] = DirectLabelColormap(color_dict={**by_label, 0: clear, None: clear})
    return "labels", data if len(data) > 1 else data[0], options


def _lazy(mask: xr.DataArray) -> xr.DataArray:
    """A mask whose pixels napari reads as they are looked at, in the byte order of the machine."""
    if mask.chunks is None and not isinstance(held_data(mask), np.ndarray):
        mask = mask.chunk("auto")
    return mask.astype(mask.dtype.newbyteorder("="), copy=False)


def in_order(dims: Iterable[Any]) -> list[Any]:
    """Dims in the order t, z, y, x if these are their names, else as they are."""
    dims = list(dims)
    return sorted(dims, key=list(AXES).index) if set(dims) <= set(AXES) else dims


def _centers(centers: xr.DataArray, table: pd.DataFrame, colours: np.ndarray | None) -> tuple[str, Any, dict]:
    """Points of napari."""
    if centers.dims[:1] != (LABEL,) or centers.ndim != 2:
        more = [dim for dim in centers.dims[1:-1] if dim != LABEL]
        hint = f"; choose one along {more[0]!r}: .sel({more[0]}=...)" if more else ""
        raise ValueError(f"centres have the dims ({LABEL}, axis), and these have {centers.dims}{hint}")
    _check_dims(centers.shape[1], "mask of these centres")
    centers = compute(centers) if centers.chunks is not None else centers
    axis = centers.dims[1]
    if axis in centers.coords:
        centers = centers.sel({axis: in_order(centers[axis].to_numpy().tolist())})
    places = centers.to_numpy().astype(np.float64)
    rows = _rows(ids_of(centers), table, "centres")
    shown = np.flatnonzero((rows >= 0) & np.isfinite(places).all(axis=1))
    places, rows = places[shown], rows[shown]
    options: dict[str, Any] = {
        "name": "centers",
        "features": table.iloc[rows].reset_index(names=LABEL),
        "units": (unit_of(str(centers.attrs.get("units", ""))),) * places.shape[1],
        "border_width": 0,
    }
    if size := _typical_distance(places):
        options["size"] = MARK * size
    if colours is not None and len(rows):
        options["face_color"] = colours[rows]
    return "points", places, options


def _typical_distance(places: np.ndarray) -> float:
    """The median of the distances to the nearest other place, 0 if there is none."""
    from scipy.spatial import KDTree

    if len(places) < 2:
        return 0.0
    return float(np.median(KDTree(places).query(places, k=2)[0][:, 1]))


def _outlines(outlines: Any, table: pd.DataFrame, colours: np.ndarray | None) -> tuple[str, Any, dict]:
    """Shapes of napari: a closed line for every part of an object, and for every hole."""
    shapely = need("shapely", "polygons", "to_napari of outlines")
    if outlines.index.nlevels > 1:
        first = outlines.index.get_level_values(0)[0]
        raise ValueError(
            f"these outlines have several positions along {outlines.index.names[0]!r}; show one: .loc[{first}]"
        )
    outlines = outlines[~outlines.geometry.isna()]
    rows = _rows(outlines.index.to_numpy(), table, "outlines")
    held = rows >= 0
    shapes, rows = outlines.geometry.to_numpy()[held], rows[held]
    parts, of_part = shapely.get_parts(shapes, return_index=True)
    rings, of_ring = shapely.get_rings(parts, return_index=True)
    rows = rows[of_part][of_ring]
    corners, ring = shapely.get_coordinates(rings, return_index=True)
    # The last corner of a ring is the first again.
    ends = np.flatnonzero(np.diff(ring)) + 1
    data = [places[:-1, ::-1] for places in np.split(corners, ends)] if len(rings) else []
    options: dict[str, Any] = {
        "name": "outlines",
        "shape_type": "polygon",
        "features": table.iloc[rows].reset_index(names=LABEL),
        "units": (unit_of(str(outlines.attrs.get("units", ""))),) * 2,
        "face_color": "transparent",
    }
    if len(shapes):
        options["edge_width"] = LINE * float(np.median(np.sqrt(shapely.area(shapes))))
    if colours is not None and len(rows):
        options["edge_color"] = colours[rows]
    return "shapes", data, options


def _rows(ids: np.ndarray, table: pd.DataFrame, what: str) -> np.ndarray:
    """The row of every id in a table, -1 for none, or a complaint if there is none at all."""
    import pandas as pd

    rows = table.index.get_indexer(pd.Index(ids))
    if len(ids) and not (rows >= 0).any():
        few = ", ".join(map(str, ids[:3]))
        raise ValueError(
            f"no label of the {what} ({few} ...) is a label of the result, which has "
            f"{', '.join(map(str, table.index[:3])) or 'none'} ...; give those of the mask that was measured"
        )
    return rows
