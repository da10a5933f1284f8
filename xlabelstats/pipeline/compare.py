"""Parameters of a step tried on a crop, side by side."""

from __future__ import annotations

import base64
import html
import io
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy import ndimage

from xlabelstats.extras import need
from xlabelstats.options import compute_each
from xlabelstats.pipeline.cache.images import looks_like_labels
from xlabelstats.pipeline.cache.results import named
from xlabelstats.plot.channels import blend
from xlabelstats.plot.overlay import boundaries

# What a comparison says of every combination, beside its parameters.
COLUMNS = ("count", "seconds", "error", "picture")

# Pixels of the longer side of a picture, its colours, and the percentiles that are black and white.
SIDE, WHITE, BOUNDARY, POINT, CONTRAST = 256, np.ones((1, 3)), (255, 210, 0), (255, 60, 60), (1, 99.8)


class Comparison(pd.DataFrame):
    """A table of parameters and what came of them, with a picture each, which a notebook shows."""

    @property
    def _constructor(self) -> type[Comparison]:
        return Comparison

    def __repr__(self) -> str:
        return repr(pd.DataFrame(self).drop(columns="picture", errors="ignore"))

    def _repr_html_(self) -> str:
        return pd.DataFrame({name: [_html(value) for value in self[name]] for name in self}).to_html(escape=False)

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
        columns = max(1, min(columns, len(self)))
        rows = max(1, math.ceil(len(self) / columns))
        matplotlib = need("matplotlib.figure", "plot", "figures of comparisons")
        figure = matplotlib.Figure(figsize=(3 * columns, 3.4 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for axis in axes:
            axis.set_axis_off()
        for axis, row in zip(axes, self.to_dict("records"), strict=False):
            tried = ", ".join(f"{name}={value}" for name, value in row.items() if name not in COLUMNS)
            what = "failed" if row["error"] else "" if pd.isna(row["count"]) else f"{row['count']:g} objects"
            axis.set_title(f"{tried}\n{what}", fontsize="small")
            if row["picture"] is not None:
                axis.imshow(row["picture"])
        return figure


def compare(
    run: Callable[..., tuple[Any, float]], grid: Mapping[str, Any], on: Any, fixed: Mapping[str, Any]
) -> Comparison:
    """Run every combination of a grid; ``run`` gives the result and its seconds."""
    inputs = on if isinstance(on, tuple) else (on,)
    rows: list[dict[str, Any]] = []
    for values in itertools.product(*grid.values()):
        tried = dict(zip(grid, values, strict=True))
        rows.append({**tried, "count": math.nan, "seconds": math.nan, "error": "", "picture": None})
        try:
            result, rows[-1]["seconds"] = run(*inputs, **tried, **fixed)
            rows[-1] |= _outcome(*compute_each([inputs[0], result]))
        except Exception as error:
            rows[-1]["error"] = f"{type(error).__name__}: {error}"
    return Comparison(rows, columns=[*grid, *COLUMNS])


def check_grid(grid: Any) -> dict[str, list[Any]]:
    """The values to try of every parameter."""
    if not isinstance(grid, Mapping) or not grid:
        raise TypeError("the grid is a mapping from parameters to the values to try, such as {'sigma': [1, 2]}")
    for name, values in grid.items():
        if isinstance(values, str) or not hasattr(values, "__iter__"):
            raise TypeError(f"the grid has values to try of every parameter, so {name!r}: [{values!r}]")
        if name in COLUMNS:
            raise ValueError(
                f"{name!r} is a column of the comparison; try a function whose parameter has another name: "
                f"lambda image, value: step(image, {name}=value)"
            )
    return {name: list(values) for name, values in grid.items()}


def _outcome(crop: Any, result: Any) -> dict[str, Any]:
    """The objects of a result, NaN if it has none to count, and its picture, None if there is no plane to draw."""
    mask = _instances(result)
    if isinstance(result, pd.DataFrame):
        count = float(result["cells"].sum() if "cells" in result else len(result))
    else:
        count = math.nan if mask is None else float(np.unique(mask.values[mask.values != 0]).size)
    ground, outlined = _plane(crop), _plane(mask)
    # A mask on another grid is drawn by itself, as images are.
    over = isinstance(result, pd.DataFrame) or (
        ground is not None and outlined is not None and ground.shape == outlined.shape
    )
    ground = ground if over else _plane(result)
    if ground is None:
        return {"count": count}
    step = math.ceil(max(ground.shape) / SIDE)
    picture = blend(ground[None, ::step, ::step], WHITE, CONTRAST)
    if over and outlined is not None:
        picture[boundaries(outlined[::step, ::step])] = BOUNDARY
    elif over and {"y_pixel", "x_pixel"} <= set(result):
        marks = np.zeros(picture.shape[:2], bool)
        places = result[["y_pixel", "x_pixel"]].to_numpy(np.float64).round() // step
        inside = ((places >= 0) & (places < marks.shape)).all(axis=1)
        marks[tuple(places[inside].astype(int).T)] = True
        picture[ndimage.binary_dilation(marks)] = POINT
    return {"count": count, "picture": picture}


def _instances(result: Any) -> xr.DataArray | None:
    """A label mask as it is, the connected parts of a binary image, None for other results."""
    if not isinstance(result, np.ndarray | xr.DataArray):
        return None
    image = named(result)
    wide = looks_like_labels(image.dtype) and image.dtype.kind != "b"
    if not wide and image.dtype.kind in "biu" and image.isin([0, 1]).all():
        return image.copy(data=ndimage.label(image.values)[0])
    return image if wide else None


def _plane(image: Any) -> np.ndarray | None:
    """The plane (y, x) of an image: its first channel and time, and the largest value along z."""
    if not isinstance(image, np.ndarray | xr.DataArray) or not image.size or image.dtype.kind not in "biuf":
        return None
    image = named(image)
    if not {"y", "x"} <= set(image.dims):
        return None
    plane = image.isel({dim: 0 for dim in image.dims if dim not in ("z", "y", "x")})
    return (plane.max("z") if "z" in plane.dims else plane).transpose("y", "x").to_numpy()


def _html(value: Any) -> str:
    if not isinstance(value, np.ndarray):
        return "" if value is None else html.escape(str(value))
    content = io.BytesIO()
    need("PIL.Image", "pipeline", "pictures in a notebook").fromarray(value).save(content, "PNG")
    return f'<img src="data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}">'
