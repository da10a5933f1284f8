"""Models that `Featurizer.featurize` calls, and features of windows that were stored first."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xlabelstats.compat.harpy.devices import to_gpu, to_host
from xlabelstats.compat.harpy.inputs import InputError, parameters_of
from xlabelstats.compat.harpy.stores import write_arrays
from xlabelstats.engine.runs import Array
from xlabelstats.instances.featurize import apply_model, lazy_features
from xlabelstats.kernels import kernels_for, on_device
from xlabelstats.names import LABEL
from xlabelstats.placement import scratch_beside, told_when_full
from xlabelstats.store import to_zarr

if TYPE_CHECKING:
    import dask.array as da


def random_projection(batch: Array, embedding_dimension: int) -> Array:
    """A placeholder for a model: the pixels of each window times a fixed random matrix."""
    pixels = batch.reshape(len(batch), -1).astype(np.float32)
    n = pixels.shape[1]
    matrix = np.random.default_rng(0).standard_normal((n, embedding_dimension), np.float32)
    return pixels @ kernels_for(batch).xp.asarray(matrix) / np.sqrt(max(n, 1), dtype=np.float32)


def check_model(model: Callable[..., Any], keywords: Mapping[str, Any]) -> None:
    """Complain about a model that cannot be called as it is going to be, and warn of the placeholder."""
    if model is random_projection:
        warnings.warn(
            "no model was given; the features are a random projection of the pixels, a placeholder",
            UserWarning,
            stacklevel=3,
        )
    parameters = parameters_of(model)
    if parameters is None or any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    if "embedding_dimension" not in parameters:
        raise InputError(
            "model is called with the keyword embedding_dimension, which it does not take; "
            "def model(batch, embedding_dimension): ..."
        )
    unknown = [name for name in keywords if name not in parameters]
    if unknown:
        raise TypeError(f"the model does not take the keyword {unknown[0]!r}")


def features_by_store(
    windows: xr.DataArray,
    model: Callable[..., Any],
    keywords: Mapping[str, Any],
    dtype: Any,
    target: Path,
    overwrite: bool,
) -> da.Array:
    """The features (i, d) of windows (i, [c,] z, y, x), written to the target, the windows to a store beside it before.

    The windows are removed in any case.  Those of CuPy are read from there to the GPU again.
    """
    n = int(keywords["embedding_dimension"])
    apply = partial(apply_model, model=model, kwargs=dict(keywords), n=n, dtype=np.dtype(dtype))
    with told_when_full([target], windows.nbytes), scratch_beside([target]) as (folder,):
        stored = to_zarr(windows.copy(data=to_host(windows.data)), folder / "windows.zarr").data
        cells = to_gpu(stored) if on_device(windows.data) else stored
        features = lazy_features(cells, windows[LABEL].values, int("c" in windows.dims), apply)
        return write_arrays([to_host(features)], [target], overwrite)[0]
