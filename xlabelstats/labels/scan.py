"""The scan of a mask: count, box, centroid and covariance of position of every label, in one pass, at once."""

from __future__ import annotations

import xarray as xr

from xlabelstats.inputs import at_position, check_is_mask, check_mask, check_pooling
from xlabelstats.kernels import kernels_for
from xlabelstats.labels.mask_scan import label_table
from xlabelstats.names import LABEL


def scan(mask: xr.DataArray, *, background: bool = False) -> xr.Dataset:
    """The label table of a mask as a Dataset; see `LabelsAccessor.scan`."""
    check_is_mask(mask)
    check_pooling(mask, advice=lambda dim: f"mask.{at_position(dim)}.labels.scan()")
    mask = check_mask(mask)
    table = label_table(mask, background=background)
    axes = [str(dim) for dim in mask.dims]
    second = table.m2 / table.count[:, None, None]
    result = xr.Dataset(
        {
            "count": (LABEL, table.count, {"long_name": "pixels of the label"}),
            "bbox_min": (
                (LABEL, "axis"),
                table.low,
                {"long_name": "first pixel of the bounding box", "units": "pixel"},
            ),
            "bbox_max": ((LABEL, "axis"), table.high, {"long_name": "end of the bounding box", "units": "pixel"}),
            "centroid": ((LABEL, "axis"), table.centroid, {"long_name": "mean position", "units": "pixel"}),
            "covariance": (
                (LABEL, "axis", "axis_"),
                second,
                {"long_name": "covariance of position", "units": "pixel**2"},
            ),
        },
        coords={LABEL: kernels_for(table.ids).to_host(table.ids), "axis": axes, "axis_": axes},
    )
    # What is remembered of a mask must not change with what the caller does to the result.
    return result.copy(deep=True)
