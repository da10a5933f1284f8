"""Measure hand-labelled nuclei and colour each by its mean intensity: ``python quickstart.py [PICTURE]``."""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # writes files, needs no screen

import matplotlib.pyplot as plt

import xlabelstats

image, mask = xlabelstats.datasets.nuclei2d()
image, mask = image.chunk(256), mask.chunk(256)

result = image.labels.measure(mask, ("mean", "median", "p95", "area", "solidity")).compute()
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
