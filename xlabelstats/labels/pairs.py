"""Measures of every two positions along a dim of the image: that dim last, and whole in every block."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace

import pandas as pd
import xarray as xr

from xlabelstats.catalogue.measure import Measure
from xlabelstats.names import LABEL


def paired(
    image: xr.DataArray | None, mask: xr.DataArray, measures: Mapping[str, Measure]
) -> tuple[xr.DataArray | None, Mapping[str, Measure]]:
    """The image as measures of pairs read it, and the measures with the lengths of their dims; or both as they are."""
    dims = list(dict.fromkeys(entry.pairs for entry in measures.values() if entry.pairs is not None))
    if image is None or not dims:
        return image, measures
    name = next(name for name, entry in measures.items() if entry.pairs is not None)
    if len(dims) > 1:
        raise ValueError(
            f"one call compares along one dim, not along {' and '.join(map(repr, dims))}; make one call for each"
        )
    dim = dims[0]
    if dim in mask.dims:
        raise ValueError(f"{name} compares along a dim that the mask lacks; {dim!r} is one of the mask's {mask.dims}")
    if dim not in image.dims:
        own = ", ".join(repr(one) for one in image.dims if one not in mask.dims)
        instead = (
            f"that the mask lacks are: {own}; give dim=, in measure as ({name!r}, {{'dim': ...}})"
            if own
            else "are all the mask's"
        )
        raise ValueError(
            f"{name} compares the channels along {dim!r}, which is no dim of the image {image.dims}. Those {instead}"
        )
    other = [one for one in image.dims if one not in mask.dims and one != dim]
    image = image.transpose(*other, dim, *(one for one in image.dims if one in mask.dims))
    if image.chunks is not None:
        image = image.chunk({dim: -1})
    index = image.indexes.get(dim)
    # Tuples of several levels are no coordinate of another dim.
    length = image.sizes[dim] if index is None or isinstance(index, pd.MultiIndex) else index.values
    return image, {
        name: entry if entry.pairs is None else replace(entry, lengths=dict.fromkeys(entry.dims, length))
        for name, entry in measures.items()
    }


def as_given(result: xr.Dataset, image: xr.DataArray | None, measures: Mapping[str, Measure]) -> xr.Dataset:
    """A result in which what compares no pairs has its dims in the order of the image."""
    order: list[Hashable] = [] if image is None else [dim for dim in image.dims if dim in result.dims]
    plain = [name for name, entry in measures.items() if entry.reads_image and entry.pairs is None]
    return result.assign({name: result[name].variable.transpose(LABEL, *order, ...) for name in plain})
