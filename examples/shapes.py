"""Measure the shape of hand-labelled nuclei and colour each by its eccentricity: ``python shapes.py [PICTURE]``."""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # writes files, needs no screen

import matplotlib.pyplot as plt

import xlabelstats

_, mask = xlabelstats.datasets.nuclei2d()
mask = mask.chunk(200)

shapes = mask.labels.measure(("area", "eccentricity", "axis_major_length", "solidity")).compute()
print(shapes.labels.to_dataframe().head().round(2).to_string())

painted = mask.labels.paint(shapes["eccentricity"]).rename("eccentricity")
fig, axes = plt.subplots(figsize=(7, 5.6), layout="constrained")
painted.plot.imshow(ax=axes, cmap="viridis", vmin=0, vmax=1, yincrease=False)
axes.set(aspect="equal", title="Round nuclei are dark, long ones bright", xlabel="x (pixels)", ylabel="y (pixels)")

picture = Path(sys.argv[1] if len(sys.argv) > 1 else "shapes.png")
fig.savefig(picture, dpi=110)
print(f"\nsaved {picture}")
