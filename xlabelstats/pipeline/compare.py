"""Parameters of a step tried on a crop, side by side."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage

from xlabelstats.extras import need
from xlabelstats.pipeline.cache.images import looks_like_labels
from xlabelstats.pipeline.cache.results import named
from xlabelstats.plot.channels import blend
from xlabelstats.plot.overlay import boundaries

COLUMNS = ("count", "seconds", "error", "picture")


class Comparison(pd.DataFrame):
    """A table of parameters and what came of them, which a notebook shows with the pictures below."""

    def __repr__(self) -> str:
        return repr(self.drop(columns="picture", errors="ignore"))

    def _repr_html_(self) -> str:
        self.figure().savefig(png := io.BytesIO(), bbox_inches="tight")
        picture = base64.b64encode(png.getvalue()).decode()
        return f'{self.drop(columns="picture").to_html()}<img src="data:image/png;base64,{picture}">'

    def figure(self, columns: int = 4) -> Any:
        """Draw the pictures on a matplotlib Figure, so many in a row, each under its parameters."""
        rows = max(1, -(-len(self) // columns))
        matplotlib = need("matplotlib.figure", "plot", "drawing pictures")
        figure = matplotlib.Figure(figsize=(3 * columns, 3.4 * rows), layout="constrained")
        for place, row in enumerate(self.to_dict("records"), 1):
            ax = figure.add_subplot(rows, columns, place, xticks=[], yticks=[], frame_on=False)
            tried = [f"{name}={value}" for name, value in row.items() if name not in COLUMNS]
            found = "failed" if row["error"] else "" if np.isnan(row["count"]) else f"{row['count']:g} objects"
            ax.set_title("\n".join([*tried, found]), fontsize="small")
            if row["picture"] is not None:
                ax.imshow(row["picture"])
        return figure


def compare(run: Callable, grid: Mapping[str, Any], on: Any, fixed: Mapping[str, Any]) -> Comparison:
    """Run every combination of a grid; ``run`` gives the result and its seconds."""
    inputs = on if isinstance(on, tuple) else (on,)
    rows: list[dict[str, Any]] = []
    for values in itertools.product(*grid.values()):
        tried = dict(zip(grid, values, strict=True))
        rows.append({**tried, "count": np.nan, "seconds": np.nan, "error": "", "picture": None})
        try:
            result, rows[-1]["seconds"] = run(*inputs, **tried, **fixed)
            rows[-1] |= {"count": (count := _count(result)), "picture": _picture(inputs[0], result, count)}
        except Exception as error:
            rows[-1]["error"] = f"{type(error).__name__}: {error}"
    return Comparison(rows, columns=[*grid, *COLUMNS])


def check_grid(grid: Any) -> dict[str, list[Any]]:
    """The values to try of every parameter."""
    if not isinstance(grid, Mapping) or not grid:
        raise TypeError("the grid is a mapping from parameters to the values to try, such as {'sigma': [1, 2]}")
    for name, values in grid.items():
        if isinstance(values, str) or not np.iterable(values):
            raise TypeError(f"the grid has values to try of every parameter, so {name!r}: [{values!r}]")
        if name in COLUMNS:
            raise ValueError(f"{name!r} is a column of the table; try: lambda image, value: step(image, {name}=value)")
    return {name: list(values) for name, values in grid.items()}


def _count(result: Any) -> float:
    """The rows or cells of a table, the labels of a mask, the connected components of a binary image, else NaN."""
    if isinstance(result, pd.DataFrame):
        return float(result["cells"].sum() if "cells" in result else len(result))
    values = np.asarray(result if hasattr(result, "dtype") else np.nan)
    if looks_like_labels(values.dtype) and values.dtype != bool:
        return float(np.count_nonzero(np.unique(values)))
    return float(ndimage.label(values)[1]) if np.isin(values, (0, 1)).all() else np.nan


def _picture(crop: Any, result: Any, count: float) -> np.ndarray | None:
    """The objects over the crop, or else the image that the step gave; None if there is no plane to draw."""
    ground, drawn = _plane(crop), _plane(result)
    if isinstance(result, pd.DataFrame) and ground is not None and {"y_pixel", "x_pixel"} <= set(result):
        edges = [np.arange(size + 1) - 0.5 for size in ground.shape]
        marks = ndimage.binary_dilation(np.histogram2d(result["y_pixel"], result["x_pixel"], edges)[0])
    elif drawn is not None:
        ground = drawn if ground is None or np.isnan(count) or drawn.shape != ground.shape else ground
        marks = boundaries(drawn) & (count >= 0)
    else:
        return None
    picture = blend(ground[None], np.ones((1, 3)), (1, 99.8))
    picture[marks] = (255, 210, 0)
    return picture


def _plane(image: Any) -> np.ndarray | None:
    """The plane (y, x) of an image: its first channel and time, and the largest value along z."""
    if not hasattr(image, "dtype") or not {"y", "x"} <= set(named(image).dims):
        return None
    plane = named(image).isel(t=0, c=0, missing_dims="ignore")
    return plane.max(set(plane.dims) - {"y", "x"}).transpose("y", "x").to_numpy()
