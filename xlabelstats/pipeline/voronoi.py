"""Instances from seeds: every foreground pixel goes to the nearest."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import xarray as xr
from scipy.spatial import cKDTree

from xlabelstats.pipeline.components import check_binary, id_dtype, instances_like
from xlabelstats.pipeline.halos import Place, over_blocks
from xlabelstats.pipeline.points import at_pixels, axes_along, axes_of, positions, units_along
from xlabelstats.pipeline.steps import Array, like, named, step
from xlabelstats.units import spelt_out

# Seeds are as near as each other if their distances differ by less than this part: rounding is no matter of nearness.
ROUNDING = 1e-9

# Pixels are looked up in batches, so that a large block needs little memory beside itself.
BATCH = 2**18


@step(1)
def voronoi(binary: Array, centroids: pd.DataFrame) -> Array:
    """Give each foreground pixel to the nearest seed.

    Parameters
    ----------
    binary : DataArray, numpy or dask array
        Foreground is what is not 0; integers or bool, with dims in space only.
    centroids : pandas.DataFrame
        The seeds: a table of points in the same space, as of `centroids` or `blobs`.

    Returns
    -------
    DataArray, numpy or dask array
        Like ``binary``, lazy if it is: in the foreground the ``id`` of the nearest seed (the lower id if two are
        equally near), elsewhere 0.  int32, or int64 if an id needs it.  Without seeds all pixels are 0.

    Raises
    ------
    TypeError
        ``binary`` does not hold integers, or ``centroids`` is not a table.
    ValueError
        The table lies in other dims or units than ``binary``, an id is below 1 or given twice, or a position is NaN.

    Notes
    -----
    Distances are in coordinate units, so that the pixels of a volume need not be cubes, and in pixels along dims
    without coordinates.  An object may reach around another, and a seed may lie in the background.

    Examples
    --------
    >>> import numpy as np
    >>> from xlabelstats.pipeline import centroids, voronoi
    >>> seeds = centroids(np.array([[1, 0, 0, 0, 0, 2]]))
    >>> voronoi(np.array([[1, 1, 1, 1, 0, 1]], np.uint8), seeds)
    array([[1, 1, 1, 2, 0, 2]], dtype=int32)
    """
    mask = check_binary(named(binary, "binary"))
    ids, at = _seeds(mask, centroids)
    along = [at_pixels(mask, dim, np.arange(mask.sizes[dim], dtype=np.float64)) for dim in mask.dims]
    dtype = id_dtype(int(ids[-1]) if ids.size else 0)
    nearest = partial(_nearest, tree=cKDTree(at), ids=ids.astype(dtype), along=along)
    return like(binary, instances_like(mask, over_blocks(nearest, mask.data, (0,) * mask.ndim, dtype)))


def _seeds(binary: xr.DataArray, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The ids of the seeds, sorted, and their positions (seed, axis), in the order of the dims."""
    axes, dims = axes_of(table), [str(dim) for dim in binary.dims]
    if sorted(axes) != sorted(dims):
        raise ValueError(f"the table has points in {axes}, and the binary image the dims {dims}; rename them in one")
    along = axes_along(table, binary.indexes) if len(table) else axes_along(binary)
    for dim in binary.dims:
        axis, ours = along[str(dim)], units_along(binary, dim)
        # A table that was not made by a step may not say its units.
        theirs = ours if axis.size is None else axis.units
        if spelt_out(theirs) != spelt_out(ours):
            raise ValueError(
                f"along {dim!r} the table has positions in {theirs or 'no units'!r}, and the binary image in "
                f"{ours or 'no units'!r}; give it the coordinates of the image that the table is of, by .assign_coords"
            )
        if dim in binary.indexes or not binary.size:
            continue
        if axis.in_coords or axis.size not in (None, binary.sizes[dim]):
            raise ValueError(
                f"along {dim!r} the binary image has {binary.sizes[dim]} pixels and no coordinates, and the table is "
                f"of an image of {axis.size or 'other'} pixels, or has coordinates; give the binary image "
                "the coordinates of the image that the table is of, by .assign_coords"
            )
    ids = table["id"].to_numpy()
    if ids.dtype.kind not in "iu" and ids.size:
        raise TypeError(
            f"the ids of the seeds are whole numbers, not {ids.dtype}; cast them: table.astype({{'id': int}})"
        )
    order = np.argsort(ids, kind="stable")
    ids, at = ids[order].astype(np.int64), positions(table)[order][:, [axes.index(dim) for dim in dims]]
    if ids.size and ids[0] < 1:
        raise ValueError(f"the ids of seeds are at least 1, since 0 is the background, but there is {ids[0]}")
    twice = ids[1:][ids[1:] == ids[:-1]]
    if twice.size:
        raise ValueError(f"every seed needs its own id, but {twice[0]} is given more than once")
    if not np.isfinite(at).all():
        raise ValueError(
            f"seed {ids[~np.isfinite(at).all(axis=1)][0]} has a position that is not finite; drop it first"
        )
    return ids, at


def _nearest(block: np.ndarray, place: Place, *, tree: cKDTree, ids: np.ndarray, along: list[np.ndarray]) -> np.ndarray:
    found = np.zeros(block.shape, ids.dtype)
    pixels = np.flatnonzero(block) if ids.size else np.empty(0, np.int64)
    for start in range(0, pixels.size, BATCH):
        batch = pixels[start : start + BATCH]
        index = np.unravel_index(batch, block.shape)
        at = [values[i + first] for values, i, first in zip(along, index, place.first, strict=True)]
        found.flat[batch] = ids[_lowest_nearest(tree, np.stack(at, axis=-1))]
    return found


def _lowest_nearest(tree: cKDTree, at: np.ndarray) -> np.ndarray:
    """The row of the nearest seed of every point, the first of those that are as near."""
    distance, rows = tree.query(at, k=[1, 2])
    nearest = rows[:, 0]
    # Beyond the last seed the second is infinitely far.
    tie = np.flatnonzero(distance[:, 1] <= distance[:, 0] * (1 + ROUNDING))
    for i, near in zip(tie, tree.query_ball_point(at[tie], distance[tie, 0] * (1 + ROUNDING)), strict=True):
        nearest[i] = min(near)
    return nearest
