"""Weights of pixels: what may be measured with them, and every complaint about weights that do not fit their mask."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import xarray as xr

from xlabelstats.align import check_coords_match
from xlabelstats.catalogue.measure import Measure
from xlabelstats.catalogue.weighted import WEIGHTED
from xlabelstats.inputs import check_chunks, check_same_side, data_of, is_dask
from xlabelstats.kernels import kernels_for


def weighted_measures(requests: Any, kind: str = "measure") -> dict[str, Measure]:
    """The measures asked for, by name: those that there are with weights; None for all of them."""
    if requests is None:
        return dict(WEIGHTED)
    names = [requests] if isinstance(requests, str) or not isinstance(requests, Iterable) else list(requests)
    other = [name for name in names if not isinstance(name, str) or name not in WEIGHTED]
    if other or not names:
        asked = f"measure {other[0]!r} in a call without weights" if other else f"no {kind} was asked for"
        raise ValueError(f"with weights only these can be measured: {', '.join(WEIGHTED)}; {asked}")
    return {name: WEIGHTED[name] for name in names}


def check_weights(weights: Any, mask: xr.DataArray, image: xr.DataArray | None, ddof: float) -> None:
    """Complain about weights that do not fit the mask, without reading one."""
    if not isinstance(weights, xr.DataArray):
        raise TypeError(
            f"weights are an xarray.DataArray over dims of the mask {tuple(mask.dims)}, not {type(weights).__name__}"
        )
    if image is None:
        raise ValueError("weights need an image, and there is none: image.labels.measure(mask, ...)")
    if weights.dtype.kind not in "biuf":
        raise TypeError(f"weights are numbers, not {weights.dtype}; cast them with weights.astype('float64')")
    if ddof != 0:
        raise ValueError(f"with weights ddof must be 0, since weights are not counts of observations; it is {ddof}")
    lacking = [dim for dim in weights.dims if dim not in mask.dims]
    if lacking:
        raise ValueError(
            f"the weights have the dim {', '.join(map(repr, lacking))}, which the mask with the dims "
            f"{tuple(mask.dims)} lacks; choose one position along it, or make one call for each"
        )
    unequal = [dim for dim in weights.dims if weights.sizes[dim] != mask.sizes[dim]]
    if unequal:
        sizes = ", ".join(
            f"{dim!r} is {weights.sizes[dim]} in the weights and {mask.sizes[dim]} in the mask" for dim in unequal
        )
        raise ValueError(f"weights and mask differ in size: {sizes}. Bring both to the same grid first")
    check_chunks(weights, "weights")
    for dim in weights.dims:
        placed = mask if dim in mask.indexes else image
        check_coords_match(dim, weights, placed, "weights", "mask" if placed is mask else "image")
    check_same_side(weights=weights, mask=mask)


def as_lazy_as(weights: xr.DataArray, mask: xr.DataArray) -> xr.DataArray:
    """The mask, as a dask array where the weights are one."""
    if weights.chunks is None or mask.chunks is not None:
        return mask
    import dask.array as da

    chunks = [weights.chunksizes.get(dim, (size,)) for dim, size in mask.sizes.items()]
    # Under a new name: hashing all of it would take longer than measuring it.
    return mask.copy(data=da.from_array(data_of(mask, "mask"), chunks=tuple(chunks), name=False, asarray=False))


def weights_over(weights: xr.DataArray, mask: Any, dims: tuple[Hashable, ...]) -> Any:
    """What weights hold, with all dims of a mask, of length 1 along those that they lack, and in its chunks if lazy."""
    held = [dim in weights.dims for dim in dims]
    data = data_of(weights.transpose(*(dim for dim in dims if dim in weights.dims)), "weights")
    data = data[tuple(slice(None) if one else None for one in held)]
    if not is_dask(mask):
        return data
    import dask.array as da

    chunks = tuple(sizes if one else (1,) for one, sizes in zip(held, mask.chunks, strict=True))
    if is_dask(data):
        return data.rechunk(chunks)
    return da.from_array(kernels_for(data).xp.asarray(data), chunks=chunks, name=False, asarray=False)


def units_with(result: xr.Dataset, weights: xr.DataArray) -> xr.Dataset:
    """A weighted result in whose units those of the weights are."""
    units = weights.attrs.get("units")
    if units and "weight" in result:
        result["weight"].attrs["units"] = str(units)
    if units and "sum" in result and (of_image := result["sum"].attrs.pop("units", None)):
        result["sum"].attrs["units"] = f"({of_image}) * ({units})"
    return result
