"""Colour every nucleus by its features, so that alike nuclei look alike: ``python embedding_colours.py [PICTURE]``."""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # writes files, needs no screen

import matplotlib.pyplot as plt
import numpy as np

import xlabelstats
from xlabelstats.embeddings import pca

SIZE, RINGS = 40, 6

image, mask = xlabelstats.datasets.nuclei2d()
image, mask = image.chunk(200), mask.chunk(200)

# The model: in every ring, 3 pixels wide, about the centre of the window, the mean and how much it varies.
y, x = np.indices((SIZE, SIZE)) - SIZE // 2
rings = np.stack([np.hypot(y, x) // 3 == ring for ring in range(RINGS)])
weights = rings / rings.sum(axis=(1, 2), keepdims=True)


def model(batch):  # (b, channel, y, x)
    pixels = np.log1p(batch[:, 0].astype(np.float32))
    mean, square = (np.einsum("byx,ryx->br", power, weights) for power in (pixels, pixels**2))
    return np.concatenate([mean, np.sqrt(np.maximum(square - mean**2, 0))], axis=1)


features = image.instances.featurize(mask, model, size=SIZE, n_features=2 * RINGS).compute()
scaled = (features - features.mean("label")) / features.std("label")

# Three components become red, green and blue; paint puts them where the nuclei are.
colours = pca(scaled, "feature")
painted = mask.labels.paint(colours)
print(painted)

components = pca(scaled, "feature", as_rgb=False)
parts = components.attrs["explained_variance_ratio"]
print("part of the variance of each component:", np.round(parts, 2).tolist())

fig, (left, middle, right) = plt.subplots(1, 3, figsize=(14.6, 5.1), layout="constrained")
left.imshow(image, cmap="gray", vmax=120)
left.set(title="Nuclei", xticks=[], yticks=[])
painted.plot.imshow(ax=middle, rgb="rgb", yincrease=False)
middle.set(title="The same, coloured by three components", xticks=[], yticks=[], xlabel="", ylabel="", aspect="equal")

right.scatter(components[:, 0], components[:, 1], c=colours.values / 255, s=60, edgecolors="black", linewidths=0.5)
right.set(title="Their features", facecolor="0.9", aspect="equal", adjustable="datalim")
right.set(xlabel=f"first component, {parts[0]:.0%} of the variance")
right.set(ylabel=f"second component, {parts[1]:.0%}")

picture = Path(sys.argv[1] if len(sys.argv) > 1 else "embedding_colours.png")
fig.savefig(picture, dpi=110)
print(f"\nsaved {picture}")
