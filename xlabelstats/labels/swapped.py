"""A question to users whose mask looks like an image: are the two swapped?"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xlabelstats.cautions import caution
from xlabelstats.engine.dask_internals import held_data
from xlabelstats.inputs import is_dask
from xlabelstats.labels.mask_scan import array_of, label_table, label_table_of_kept, labels_seem_mixed
from xlabelstats.labels.mixed import MANY, WIDE, looks_mixed, median_box

# How calls are made, where the question does not know which was.
CALLS = "image.labels...(mask) or image.instances...(mask)"


def ask_if_swapped(
    mask: xr.DataArray,
    image: xr.DataArray,
    background: bool = False,
    table: Any = None,
    call: str = CALLS,
) -> None:
    """Warn if the labels of a checked mask lie among each other, as grey values do: image and mask may be swapped.

    ``table`` has the boxes of all labels, if they are known.  Else the whole mask is scanned for them only if a few of
    its pixels, or the labels of its blocks, give reason to.
    """
    if set(image.dims) != set(mask.dims):
        return
    if table is None:
        array = array_of(mask)
        likely = labels_seem_mixed(array, background) if is_dask(array) else looks_mixed(array)[1]
        if not likely:
            return
        table = label_table_of_kept(array, background) or label_table(mask, background=background)
    part = median_box(table.low, table.high, mask.shape)
    if len(table.ids) >= MANY and part > WIDE and not _has_fractions(image):
        caution(
            f"are image and mask swapped? The mask looks like an image: half of its {len(table.ids)} labels are spread "
            f"over {part:.0%} of it or more. The call is {call}. If it is a mask, labels=mask.labels.ids() measures it "
            "without this warning"
        )


def _has_fractions(image: xr.DataArray) -> bool:
    """Whether an image in memory holds other numbers than whole ones, so that it is no mask."""
    pixels = held_data(image)
    if image.dtype.kind != "f" or not isinstance(pixels, np.ndarray):
        return False
    some = pixels[tuple(slice(None, None, max(1, n // 64)) for n in pixels.shape)]
    return bool((np.isfinite(some) & (some != np.floor(some))).any())
