"""The region properties of cuCIM where there is no GPU: those of scikit-image."""

from __future__ import annotations

import cupy
from skimage import measure


def regionprops_table(label_image, intensity_image=None, properties=("label", "bbox")):
    table = measure.regionprops_table(label_image.get(), intensity_image.get(), properties)
    return {name: cupy.asarray(values) for name, values in table.items()}
