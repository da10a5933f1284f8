"""Statistics of every label's pixels: one pass over the image, whatever the number of statistics."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import LABEL, Pair, align, check_labels, check_mask
from xlabelstats.records import Recipe, finish, merge, reduce_block, select
from xlabelstats.runs import find_runs
from xlabelstats.scan import label_ids
from xlabelstats.statistics import STATISTICS, check_names


@dataclass(frozen=True)
class Wanted:
    """The labels of a result: sorted ids, whether the user named them, whether 0 is among them."""

    ids: np.ndarray
    requested: bool
    background: bool

    @property
    def only(self) -> np.ndarray | None:
        """The labels that a block should keep, None for all."""
        return self.ids if self.requested else None


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
    clash = [dim for dim in pair.other if dim in names]
    if clash:
        raise ValueError(f"dim {clash[0]!r} of the image has the name of a statistic; rename it with .rename")
    recipe = Recipe(names, image.dtype, skipna is not False, ddof)
    # The labels come from the mask as the caller holds it, for which a scan may be remembered.
    mask = check_mask(mask)
    if labels is None:
        ids = label_ids(mask, background=background)
        order = None
    else:
        labels = check_labels(labels, mask.dtype)
        order = np.argsort(labels)
        ids = labels[order]
    reduce = _reduce_dask if pair.is_dask else _reduce_numpy
    wanted = Wanted(ids, labels is not None, background if labels is None else 0 in ids)
    arrays = reduce(pair, recipe, wanted)
    result = _label(arrays, ids, pair, image)
    if order is None or (order[1:] > order[:-1]).all():
        return result
    return result.isel({LABEL: np.argsort(order)})


def aggregate_dataset(
    images: xr.Dataset, mask: xr.DataArray | Hashable, stats: str | Iterable[str], **options: Any
) -> xr.Dataset:
    """Measure every label of every image of a Dataset; see `LabelsDatasetAccessor.aggregate`."""
    names = check_names(stats)
    if not isinstance(mask, xr.DataArray):
        if mask not in images:
            raise ValueError(
                f"the Dataset has no variable {mask!r} to use as mask; there are: {', '.join(map(repr, images))}"
            )
        images, mask = images.drop_vars([mask]), images[mask]
    check_mask(mask)
    usable = {name: a for name, a in images.items() if a.dtype.kind in "biuf" and set(mask.dims) <= set(a.dims)}
    left_out = [name for name in images if name not in usable]
    if not usable:
        raise ValueError(f"no variable of the Dataset is numeric and has the dims of the mask {tuple(mask.dims)}")
    if left_out:
        warnings.warn(
            f"left out, because they are not numeric or lack a dim of the mask {tuple(mask.dims)}: "
            f"{', '.join(map(str, left_out))}",
            UserWarning,
            stacklevel=3,
        )
    results = []
    for name, image in usable.items():
        result = aggregate(image, mask, names, **options)
        results.append(result.rename({stat: f"{name}_{stat}" for stat in names if stat != "count"}))
    return xr.merge(results, compat="override", join="exact", combine_attrs="drop")


def _reduce_numpy(pair: Pair, recipe: Recipe, wanted: Wanted) -> dict[str, Any]:
    runs = find_runs(pair.mask, background=wanted.background, only=wanted.only)
    shape = pair.image.shape[: len(pair.other)]
    table = reduce_block(pair.image if recipe.reads_image else None, runs, recipe)
    return finish([table], recipe, shape, wanted.ids, requested=wanted.requested)


def _reduce_dask(pair: Pair, recipe: Recipe, wanted: Wanted) -> dict[str, Any]:
    import dask.array as da
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph

    from xlabelstats.blocks import block_keys, label_chunks, merge_by_range

    token = tokenize(pair.image.name, pair.mask.name, recipe, wanted)
    tables = _block_tables(pair, recipe, wanted)
    other = tables.ndim - pair.mask.ndim
    keys = block_keys(tables.name, tables.numblocks)

    rows = label_chunks(wanted.ids.size)
    edges = np.cumsum((0, *rows))
    base = f"records-{token}"
    layer: dict[Any, Any] = {(f"ids-{token}", j): wanted.ids[edges[j] : edges[j + 1]] for j in range(len(rows))}
    for index in np.ndindex(*tables.numblocks[:other]):
        shape = tuple(tables.chunks[axis][i] for axis, i in enumerate(index))
        name = "-".join(map(str, ("merge", token, *index)))
        bounds = [wanted.ids[edge] for edge in edges[1:-1]]
        merges, ranges = merge_by_range(name, keys[index].ravel().tolist(), bounds, merge, select)
        layer |= merges
        for j, last in enumerate(ranges):
            layer[(base, j, *index)] = (_finish, last, recipe, shape, (f"ids-{token}", j), wanted.requested)
    graph = HighLevelGraph.from_collections(base, layer, dependencies=[tables])

    arrays = {}
    for stat in recipe.stats:
        name = f"{stat}-{token}"
        chunks = (rows,) if stat == "count" else (rows, *tables.chunks[:other])
        # The count is the same in every chunk of the other dims: it is read from the first.
        first = (0,) * other if stat == "count" else ()
        blocks = np.ndindex(*map(len, chunks))
        items = {(name, *block): (operator.getitem, (base, *block, *first), stat) for block in blocks}
        layers = HighLevelGraph(graph.layers | {name: items}, graph.dependencies | {name: {base}})
        dtype = recipe.result_dtype(stat, requested=wanted.requested)
        arrays[stat] = da.Array(layers, name, chunks, meta=np.empty((0,) * len(chunks), dtype))
    return arrays


def _block_tables(pair: Pair, recipe: Recipe, wanted: Wanted) -> Any:
    """A dask array with one record table per block of the image, in place of pixels."""
    import dask.array as da

    ndim = pair.image.ndim
    shared = tuple(range(ndim - pair.mask.ndim, ndim))
    # The runs of a block are found once and serve all chunks of the other dims.
    only = () if wanted.only is None else (da.from_array(wanted.only, chunks=-1), (ndim,))
    runs = da.blockwise(
        _find_runs,
        shared,
        pair.mask,
        shared,
        *only,
        background=wanted.background,
        concatenate=True,
        **_objects(len(shared)),
    )
    if not recipe.reads_image:
        return da.blockwise(_count_block, shared, runs, shared, recipe=recipe, **_objects(len(shared)))
    every = tuple(range(ndim))
    return da.blockwise(_reduce_block, every, pair.image, every, runs, shared, recipe=recipe, **_objects(ndim))


def _objects(ndim: int) -> dict[str, Any]:
    """How `dask.array.blockwise` is told that a block becomes one object."""
    return {"meta": np.empty((0,) * ndim, object), "align_arrays": False}


def _find_runs(mask: np.ndarray, only: np.ndarray | None = None, *, background: bool) -> Any:
    return find_runs(mask, background=background, only=only)


def _reduce_block(image: np.ndarray, runs: Any, *, recipe: Recipe) -> Any:
    return reduce_block(image, runs, recipe)


def _count_block(runs: Any, *, recipe: Recipe) -> Any:
    return reduce_block(None, runs, recipe)


def _finish(tables: Any, recipe: Recipe, shape: tuple[int, ...], ids: np.ndarray, requested: bool) -> dict[str, Any]:
    return finish(tables, recipe, shape, ids, requested=requested)


def _label(arrays: dict[str, Any], ids: np.ndarray, pair: Pair, image: xr.DataArray) -> xr.Dataset:
    """Name the dims of the results, and give them the image's coordinates and units."""
    coords = {name: coord for name, coord in image.coords.items() if set(coord.dims) <= set(pair.other)}
    units = image.attrs.get("units")
    what = str(image.name) if image.name is not None else "image"
    variables = {}
    for stat, values in arrays.items():
        attrs = {"long_name": "pixels of the label" if stat == "count" else f"{stat} of {what}"}
        if units is not None and STATISTICS[stat].units:
            attrs["units"] = STATISTICS[stat].units.format(units)
        variables[stat] = ((LABEL,) if stat == "count" else (LABEL, *pair.other), values, attrs)
    return xr.Dataset(variables, coords={**coords, LABEL: ids})
