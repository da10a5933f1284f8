"""Measure hand-labelled nuclei and colour each by its mean intensity: ``python quickstart.py [PICTURE]``."""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # writes files, needs no screen

import matplotlib.pyplot as plt
import xarray as xr
from skimage.io import imread

import xlabelstats  # noqa: F401  (gives arrays their .labels)

DATA = Path(__file__).parent / "data"

image = xr.DataArray(imread(DATA / "nuclei2d_image.tif"), dims=("y", "x"), name="intensity").chunk(256)
mask = xr.DataArray(imread(DATA / "nuclei2d_labels.tif"), dims=("y", "x"), name="nuclei").chunk(256)

result = image.labels.aggregate(mask).compute()
print(result.labels.to_dataframe().head().round(2).to_string())

# Every pixel of a nucleus gets the mean of that nucleus; the background gets NaN, which is drawn blank.
means = mask.labels.paint(result["mean"]).rename("mean intensity")

fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
image.plot.imshow(ax=left, cmap="gray", robust=True, yincrease=False)
means.plot.imshow(ax=right, cmap="viridis", robust=True, yincrease=False)
left.set(title="Image", xlabel="x (pixels)", ylabel="y (pixels)", aspect="equal")
right.set(title=f"{result.sizes['label']} nuclei", xlabel="x (pixels)", ylabel="y (pixels)", aspect="equal")

picture = Path(sys.argv[1] if len(sys.argv) > 1 else "quickstart.png")
fig.savefig(picture, dpi=110)
print(f"\nsaved {picture}")
