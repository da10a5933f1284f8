"""Bare Zarr arrays, whole or not there, as `dask.array.from_zarr` opens them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xlabelstats.engine.merge_tree import uniform
from xlabelstats.placement import PLACING, put_in_place, scratch_beside, told_when_full
from xlabelstats.store import as_store, write_out


def write_arrays(arrays: Sequence[Any], targets: Sequence[Path], overwrite: bool = False) -> list[Any]:
    """Write dask arrays in one computation, and return them as they are read from their stores.

    None is put in its place before all are whole.
    """
    import dask.array as da
    import zarr

    if len(set(targets)) < len(targets):
        raise ValueError(f"two arrays cannot both be written to {targets[0]}; give them different names")
    arrays = [uniform(array) for array in arrays]
    with told_when_full(targets, sum(array.nbytes for array in arrays)), scratch_beside(targets) as partials:
        stores = [
            zarr.create_array(
                store=as_store(partial),
                shape=array.shape,
                # The chunks of an empty array are empty, which Zarr does not want.
                chunks=tuple(max(sizes[0], 1) for sizes in array.chunks),
                dtype=array.dtype,
            )
            for array, partial in zip(arrays, partials, strict=True)
        ]
        # Chunks of the store are blocks of the array, so no two tasks write to the same one.
        write_out(da.store(arrays, stores, lock=False, compute=False))
        with PLACING:
            for partial, target in zip(partials, targets, strict=True):
                put_in_place(partial, target, overwrite)
            return [da.from_zarr(zarr.open_array(as_store(target), mode="r")) for target in targets]
