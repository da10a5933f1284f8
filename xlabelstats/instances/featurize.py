"""What a model makes of the windows of objects, batch by batch."""

from __future__ import annotations

import itertools
import math
import numbers
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.align import display_name
from xlabelstats.engine.dask_internals import Graph, array_of_tasks
from xlabelstats.engine.merge_tree import filled
from xlabelstats.engine.ownership import Job
from xlabelstats.engine.runs import Array
from xlabelstats.instances.functions import cast
from xlabelstats.instances.lazy_windows import LazyWindows
from xlabelstats.instances.window_cutting import cut_windows
from xlabelstats.instances.windows import (
    batch_of,
    check_batch,
    check_present,
    in_order,
    one_size_of_present,
    window_of,
    windows,
)
from xlabelstats.kernels import kernels_for
from xlabelstats.labels.per import apart
from xlabelstats.labels.subject import find_whole
from xlabelstats.names import LABEL, OBJECT
from xlabelstats.resampling import resampled


def featurize(
    image: xr.DataArray | None,
    mask: xr.DataArray,
    model: Callable[..., Any],
    *,
    size: Any,
    n_features: int,
    labels: Any = None,
    per: Any = None,
    remove_background: bool = True,
    model_kwargs: Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    dtype: Any = np.float32,
    align: str | None = None,
) -> xr.DataArray:
    """What a model makes of the window of every object; see `InstancesAccessor.featurize`."""
    if not callable(model):
        hint = ""
        if hasattr(model, "transform"):
            hint = "; wrap its method: lambda batch: model.transform(batch.reshape(len(batch), -1))"
        raise TypeError(f"model is called with batches of windows, but {type(model).__name__} cannot be called{hint}")
    if isinstance(n_features, bool) or not isinstance(n_features, numbers.Integral) or n_features < 0:
        raise ValueError(f"n_features is the number of columns that the model returns, not {n_features!r}")
    batch = check_batch(batch_size)
    mask = resampled(image, mask, align)
    apply = partial(apply_model, model=model, kwargs=dict(model_kwargs or {}), n=int(n_features), dtype=np.dtype(dtype))
    what = "mask" if image is None else "image"
    words = f"features of the windows of {display_name(mask if image is None else image, what)}"
    options: dict[str, Any] = {"labels": labels, "remove_background": remove_background, "batch_size": batch}
    if per is not None and (mask.chunks is None and (image is None or image.chunks is None)):
        kinds: dict[str, Any] = {"size": size, "n_features": n_features, "model_kwargs": model_kwargs, "dtype": dtype}
        return apart(one_size_of_present)(featurize)(image, mask, model, per=per, **kinds, **options)
    if per is not None:
        # Batches of windows of all positions, for which the graph holds the model once.
        cells = windows(image, mask, size, per=per, **options)[what]
        rows = {name: coord for name, coord in cells.coords.items() if coord.dims == (OBJECT,)}
        other = 0 if image is None else image.ndim - mask.ndim
        features = lazy_features(cells.data, rows[LABEL].to_numpy(), other, apply)
        return xr.DataArray(features, rows, (OBJECT, "feature"), "features", {"long_name": words})
    subject = find_whole(image, mask, labels)
    check_present(subject)
    window = window_of(size, subject)
    batch = batch or batch_of(subject, window, subject.other_shape)
    if subject.lazy:
        lazy = LazyWindows(subject, window, remove_background, batch)
        ids = lazy.ids
        cells = lazy.of_mask() if image is None else lazy.of_image()
        features = lazy_features(cells, ids, len(subject.other), apply)
    else:
        objects = in_order(subject)
        ids = objects.ids
        pixels = subject.mask if image is None else subject.image
        features = kernels_for(pixels).xp.empty((ids.size, n_features), dtype)
        for first in range(0, ids.size, batch):
            some = objects.take(slice(first, first + batch))
            cells = cut_windows(subject.mask, pixels, some, window, remove_background)
            features[first : first + batch] = apply(cells, some.ids, len(subject.other))
    return xr.DataArray(features, {LABEL: ids}, (LABEL, "feature"), "features", {"long_name": words})


def apply_model(
    cells: Array, ids: np.ndarray, other: int, *, model: Callable[..., Any], kwargs: dict, n: int, dtype: np.dtype
) -> Array:
    """Call a model with windows (label, *other, *window) as (label, channel, *window) and check what it returns."""
    channels = math.prod(cells.shape[1 : 1 + other])
    batch = cells.reshape(len(cells), channels, *cells.shape[1 + other :])
    span = f"labels {ids[0]} to {ids[-1]}" if ids.size > 1 else f"label {ids[0]}"
    try:
        features = kernels_for(cells).xp.asarray(model(batch, **kwargs))
    except Exception as error:
        error.add_note(f"raised by the model for a batch of {len(ids)} windows of shape {batch.shape[1:]}, {span}")
        raise
    if features.shape != (len(ids), n):
        raise ValueError(
            f"the model returned the shape {features.shape} for a batch of shape {batch.shape} ({span}), "
            f"not {(len(ids), n)}: a row per window and n_features={n} columns"
        )
    return cast(features, dtype, "the model")


def lazy_features(cells: Any, ids: np.ndarray, other: int, apply: partial) -> Any:
    """The features (label, feature) of lazy windows, a batch per chunk."""
    n, dtype = apply.keywords["n"], apply.keywords["dtype"]
    if ids.size == 0:
        return filled((0, n), 0, dtype, like=cells)
    cells = cells.rechunk(dict.fromkeys(range(1, cells.ndim), -1))
    token = uuid.uuid4().hex
    name = f"features-{token}"
    # The model is one object that all tasks refer to.
    job = (f"model-{token}", 0)
    graph: Graph = {job: Job(partial(apply, other=other))}
    edges = np.cumsum((0, *cells.chunks[0]))
    for j, (a, b) in enumerate(itertools.pairwise(edges)):
        graph[(name, j, 0)] = (_call_job, job, (cells.name, j, *(0,) * (cells.ndim - 1)), ids[a:b])
    meta = kernels_for(cells).xp.empty((0, 0), dtype)
    return array_of_tasks(name, graph, (cells.chunks[0], (n,)), [cells], meta)


def _call_job(job: Job, cells: Array, ids: np.ndarray) -> Array:
    return job.function(cells, ids)
