"""Parameters of a step tried on a crop, side by side."""

from __future__ import annotations

import base64
import html
import io
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from xlabelstats.extras import need
from xlabelstats.inputs import is_dask
from xlabelstats.options import compute
from xlabelstats.pipeline.cache.levels import looks_like_labels
from xlabelstats.pipeline.cache.results import named

PICTURE = "picture"

# What a comparison says of every combination.
FOUND = ("count", "seconds", "error", PICTURE)

# Pixels of the longer side of a picture, and its colours.
SIDE = 256
OUTLINE = (255, 210, 0)
POINT = (255, 60, 60)

# Grey values are stretched between these percentiles.
STRETCH = (1, 99.8)


class Comparison(pd.DataFrame):
    """A table of parameters and what came of them, with a picture each, which a notebook shows."""

    @property
    def _constructor(self) -> type[Comparison]:
        return Comparison

    def __repr__(self) -> str:
        return repr(pd.DataFrame(self).drop(columns="picture", errors="ignore"))

    def _repr_html_(self) -> str:
        shown = pd.DataFrame({name: [_cell(value) for value in self[name]] for name in self.columns})
        return shown.to_html(escape=False)

    def figure(self, columns: int = 4) -> Any:
        """Draw the pictures side by side, each under its parameters.

        Parameters
        ----------
        columns : int, default 4
            Pictures in a row.

        Returns
        -------
        matplotlib.figure.Figure
        """
        matplotlib = need("matplotlib.figure", "plot", "figures of comparisons")
        columns = max(1, min(columns, len(self)))
        rows = max(1, math.ceil(len(self) / columns))
        figure = matplotlib.Figure(figsize=(3 * columns, 3.4 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        tried = [name for name in self.columns if name not in FOUND]
        for axis, row in itertools.zip_longest(axes, self.to_dict("records")):
            axis.set_axis_off()
            if row is None:
                continue
            what = "failed" if row["error"] else "" if pd.isna(row["count"]) else f"{row['count']:g} objects"
            axis.set_title("\n".join([", ".join(f"{name}={row[name]}" for name in tried), what]), fontsize="small")
            if row[PICTURE] is not None:
                axis.imshow(row[PICTURE])
        return figure


def compare(
    run: Callable[..., tuple[Any, float]], grid: Mapping[str, Any], on: Any, fixed: Mapping[str, Any]
) -> Comparison:
    """Run every combination of a grid; ``run`` gives the result and its seconds."""
    inputs = on if isinstance(on, tuple) else (on,)
    rows = []
    for values in itertools.product(*grid.values()):
        row: dict[str, Any] = dict(zip(grid, values, strict=True))
        found: dict[str, Any] = {"count": math.nan, "seconds": math.nan, "error": "", PICTURE: None}
        try:
            result, found["seconds"] = run(*inputs, **row, **fixed)
            result = _loaded(result)
            found["count"], found[PICTURE] = count_of(result), picture_of(_loaded(inputs[0]), result)
        except Exception as error:
            found["error"] = f"{type(error).__name__}: {error}"
        rows.append(row | found)
    return Comparison(rows, columns=[*grid, *FOUND])


def check_grid(grid: Any) -> dict[str, list[Any]]:
    """The values to try of every parameter."""
    if not isinstance(grid, Mapping) or not grid:
        raise TypeError("the grid is a mapping from parameters to the values to try, such as {'sigma': [1, 2]}")
    for name, values in grid.items():
        if isinstance(values, str) or not hasattr(values, "__iter__"):
            raise TypeError(f"the grid has values to try of every parameter, so {name!r}: [{values!r}]")
    clash = [name for name in FOUND if name in grid]
    if clash:
        raise ValueError(
            f"{clash[0]!r} is a column of the comparison; try a function whose parameter has another name: "
            f"lambda image, value: step(image, {clash[0]}=value)"
        )
    return {name: list(values) for name, values in grid.items()}


def count_of(result: Any) -> float:
    """The objects of a result: rows, cells, labels, or connected parts of a binary image; NaN for other images."""
    from scipy import ndimage

    if isinstance(result, pd.DataFrame):
        return float(result["cells"].sum()) if "cells" in result else float(len(result))
    if not isinstance(result, np.ndarray | xr.DataArray):
        return math.nan
    values = np.asarray(result)
    if is_binary(values):
        return float(ndimage.label(values)[1])
    if looks_like_labels(values.dtype):
        return float(np.unique(values[values != 0]).size)
    return math.nan


def is_binary(values: np.ndarray) -> bool:
    """Whether an image has no other values than 0 and 1, in a dtype that labels have not."""
    if values.dtype.kind == "b":
        return True
    return (
        values.dtype.kind in "iu"
        and not looks_like_labels(values.dtype)
        and bool((values <= 1).all() & (values >= 0).all())
    )


def picture_of(crop: Any, result: Any) -> np.ndarray | None:
    """A thumbnail (y, x, RGB) of a result over the crop, or of an image by itself; None if there is no plane."""
    marks = isinstance(result, pd.DataFrame) or (_is_plane(result) and _is_mask(np.asarray(result)))
    ground = crop if marks else result
    if not _is_plane(ground):
        return None
    grey = _flat(named(ground))
    step = max(1, math.ceil(max(grey.shape) / SIDE))
    picture = np.repeat(_stretched(grey[::step, ::step])[..., None], 3, axis=2)
    if isinstance(result, pd.DataFrame):
        _draw_points(picture, result, step)
    elif marks:
        picture[_outlines(_flat(named(result))[::step, ::step])] = OUTLINE
    return picture


def _is_plane(value: Any) -> bool:
    if (
        not isinstance(value, np.ndarray | xr.DataArray)
        or value.ndim < 2
        or not value.size
        or value.dtype.kind not in "biuf"
    ):
        return False
    return {"y", "x"} <= set(map(str, named(value).dims))


def _is_mask(values: np.ndarray) -> bool:
    return looks_like_labels(values.dtype) or is_binary(values)


def _flat(image: xr.DataArray) -> np.ndarray:
    """The plane (y, x) of an image: its first channel and time, and the largest value along z."""
    plane = image.isel({dim: 0 for dim in image.dims if dim not in ("z", "y", "x")}, drop=True)
    plane = plane.max("z") if "z" in plane.dims else plane
    return plane.transpose("y", "x").to_numpy()


def _stretched(grey: np.ndarray) -> np.ndarray:
    values = np.nan_to_num(grey.astype(np.float64), posinf=0, neginf=0)
    low, high = np.percentile(values, STRETCH)
    high = high if high > low else values.max()
    return (np.clip((values - low) / ((high - low) or 1), 0, 1) * 255).astype(np.uint8)


def _outlines(mask: np.ndarray) -> np.ndarray:
    segmentation = need("skimage.segmentation", "pipeline", "pictures of label masks")
    return segmentation.find_boundaries(mask, mode="inner")


def _draw_points(picture: np.ndarray, table: pd.DataFrame, step: int) -> None:
    if not {"y_pixel", "x_pixel"} <= set(table.columns):
        return
    y, x = (np.rint(table[name].to_numpy(np.float64) / step).astype(int) for name in ("y_pixel", "x_pixel"))
    for dy, dx in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0)):
        inside = (y + dy >= 0) & (y + dy < picture.shape[0]) & (x + dx >= 0) & (x + dx < picture.shape[1])
        picture[y[inside] + dy, x[inside] + dx] = POINT


def _loaded(value: Any) -> Any:
    if isinstance(value, xr.DataArray):
        return value.copy(data=compute(value.data)) if is_dask(value.data) else value
    return compute(value) if isinstance(value, da.Array) else value


def _cell(value: Any) -> str:
    if not isinstance(value, np.ndarray):
        return "" if value is None else html.escape(str(value))
    content = io.BytesIO()
    need("PIL.Image", "pipeline", "pictures in a notebook").fromarray(value).save(content, "PNG")
    return f'<img src="data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}">'
