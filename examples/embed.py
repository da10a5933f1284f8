"""Turn every nucleus into features, cluster these, and paint the clusters back: ``python embed.py [PICTURE]``."""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # writes files, needs no screen

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from scipy.cluster.vq import kmeans2

import xlabelstats

SIZE, RINGS = 40, 6
COLOURS = np.array([(0.68, 0.68, 0.68), (0.30, 0.60, 0.95), (0.98, 0.62, 0.20), (0.95, 0.25, 0.45)])

image, mask = xlabelstats.datasets.nuclei2d()
image, mask = image.chunk(200), mask.chunk(200)

# The model: the mean of every ring, 3 pixels wide, about the centre of the window.
y, x = np.indices((SIZE, SIZE)) - SIZE // 2
rings = np.stack([np.hypot(y, x) // 3 == ring for ring in range(RINGS)])
weights = rings / rings.sum(axis=(1, 2), keepdims=True)


def model(batch):  # (b, channel, y, x)
    return np.log1p(np.einsum("bcyx,ryx->br", batch.astype(np.float32), weights))


features = image.instances.featurize(mask, model, size=SIZE, n_features=RINGS).compute()
print(features.labels.to_dataframe().head().round(2).to_string())

scaled = (features - features.mean("label")) / features.std("label")
_, cluster = kmeans2(scaled.values, len(COLOURS), seed=1, minit="++")

# Clusters in the order of their mean feature, so that each keeps its colour.
means = [features[cluster == k].mean().item() for k in range(len(COLOURS))]
cluster = np.argsort(np.argsort(means))[cluster]
print("nuclei per cluster:", np.bincount(cluster).tolist())

# Features come in the order of the blocks; paint goes by the labels.
colours = xr.DataArray(COLOURS[cluster], dims=("label", "rgb"), coords={"label": features["label"]})
light = (image / 110).clip(0, 1) ** 0.6
painted = (mask.labels.paint(colours).fillna(0.5) * light).transpose("y", "x", "rgb")

fig, (left, right) = plt.subplots(1, 2, figsize=(11.6, 5.5), layout="constrained")
left.imshow(painted)
left.set(title="Nuclei, coloured by cluster", xticks=[], yticks=[])

# The plane in which the features vary most, and every nucleus at its place in it.
_, _, components = np.linalg.svd(scaled.values, full_matrices=False)
places = scaled.values @ components[:2].T
windows = image.instances.windows(mask, SIZE)["image"].sel(label=features["label"]).compute()
for place, window, colour in zip(places, windows.values, colours.values, strict=True):
    shade = np.clip(window[..., None] / 110, 0, 1) ** 0.6
    nucleus = np.concatenate([colour * shade, shade > 0], axis=-1)
    right.add_artist(AnnotationBbox(OffsetImage(nucleus, zoom=0.6), place, frameon=False))
(low, bottom), (high, top) = places.min(axis=0) - 0.4, places.max(axis=0) + 0.4
right.set(xlim=(low, high), ylim=(bottom, top), facecolor="black", title="The same nuclei by their features")
right.set(xlabel="first principal component", ylabel="second principal component")

picture = Path(sys.argv[1] if len(sys.argv) > 1 else "embed.png")
fig.savefig(picture, dpi=110)
print(f"\nsaved {picture}")
