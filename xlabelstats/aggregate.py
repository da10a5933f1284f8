"""Statistics of every label's pixels: one pass over the image, whatever the number of statistics."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import LABEL, Pair, align, check_mask, check_pooling, check_taken, name_of, other_coords
from xlabelstats.blocks import Column, columns_of, map_blocks
from xlabelstats.kernels import kernels_for
from xlabelstats.records import Recipe, Table, finish, merge, reduce_block
from xlabelstats.runs import Array, Runs, find_runs
from xlabelstats.scan import Wanted, ask_if_swapped, choose_labels
from xlabelstats.statistics import STATISTICS, check_names


def aggregate(
    image: xr.DataArray,
    mask: xr.DataArray,
    stats: str | Iterable[str],
    *,
    labels: Any = None,
    background: bool = False,
    ddof: int = 0,
    skipna: bool | None = None,
) -> xr.Dataset:
    """Measure every label of an image; see `LabelsAccessor.aggregate`."""
    names = check_names(stats)
    pair = align(image, mask)
    check_taken(image, pair.other, names)
    if not isinstance(ddof, numbers.Real):
        raise TypeError(f"ddof is a number, not {ddof!r}")
    recipe = Recipe(names, image.dtype, skipna is None or bool(skipna), ddof)
    check_pooling(mask, image)
    # The labels come from the mask as the caller holds it, for which a scan may be remembered.
    mask = check_mask(mask)
    wanted = choose_labels(mask, labels, background)
    if labels is None:
        ask_if_swapped(mask, image, background)
    reduce = _reduce_dask if pair.is_dask else _reduce_now
    return _label(reduce(pair, recipe, wanted), wanted.labels, pair, image)


def _reduce_now(pair: Pair, recipe: Recipe, wanted: Wanted) -> dict[str, Any]:
    runs = find_runs(pair.mask, background=wanted.background, only=wanted.only)
    shape = pair.image.shape[: len(pair.other)]
    table = reduce_block(pair.image if recipe.reads_image else None, runs, recipe)
    ids = kernels_for(pair.mask).xp.asarray(wanted.ids)
    return wanted.take(finish([table], shape, ids, recipe=recipe, requested=wanted.requested))


def _reduce_dask(pair: Pair, recipe: Recipe, wanted: Wanted) -> dict[str, Any]:
    columns = {
        stat: Column(recipe.result_dtype(stat, requested=wanted.requested), per_other=stat != "count")
        for stat in recipe.stats
    }
    settle = partial(finish, recipe=recipe, requested=wanted.requested)
    tables = _block_tables(pair, recipe, wanted)
    return columns_of(tables, wanted.ids, pair.mask.ndim, merge, settle, columns, wanted.order, like=pair.mask)


def _block_tables(pair: Pair, recipe: Recipe, wanted: Wanted) -> Any:
    """A dask array with one record table per block of the image, in place of pixels."""
    import dask.array as da

    # The runs of a block are found once and serve all chunks of the other dims: `map_blocks` makes
    # tasks that dask does not fuse into every one of those that need them, as it would a blockwise layer.
    runs = map_blocks(_find_runs, pair.mask, background=wanted.background, only=wanted.only)
    every = tuple(range(pair.image.ndim))
    shared = every[len(pair.other) :]
    if not recipe.reads_image:
        return da.blockwise(_count_block, shared, runs, shared, recipe=recipe, **_objects(len(shared)))
    return da.blockwise(_reduce_block, every, pair.image, every, runs, shared, recipe=recipe, **_objects(len(every)))


def _objects(ndim: int) -> dict[str, Any]:
    """How `dask.array.blockwise` is told that a block becomes one object."""
    return {"meta": np.empty((0,) * ndim, object), "align_arrays": False}


def _find_runs(mask: Array, offset: Any, *, background: bool, only: np.ndarray | None) -> Runs:
    return find_runs(mask, background=background, only=only)


def _reduce_block(image: Array, runs: Runs, *, recipe: Recipe) -> Table:
    return reduce_block(image, runs, recipe)


def _count_block(runs: Runs, *, recipe: Recipe) -> Table:
    return reduce_block(None, runs, recipe)


def _label(arrays: dict[str, Any], ids: np.ndarray, pair: Pair, image: xr.DataArray) -> xr.Dataset:
    """Name the dims of the results, and give them the image's coordinates and units."""
    coords = other_coords(image, pair.other)
    units = image.attrs.get("units")
    what = name_of(image, "image")
    variables = {}
    for stat, values in arrays.items():
        attrs = {"long_name": "pixels of the label" if stat == "count" else f"{stat} of {what}"}
        if units is not None and STATISTICS[stat].units:
            attrs["units"] = STATISTICS[stat].units.format(units)
        variables[stat] = ((LABEL,) if stat == "count" else (LABEL, *pair.other), values, attrs)
    return xr.Dataset(variables, coords={**coords, LABEL: ids})
