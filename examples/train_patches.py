"""Serve patches of nuclei to a trainer, large ones as often as small ones: ``python train_patches.py [PICTURE]``."""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # writes files, needs no screen

import matplotlib.pyplot as plt
from matplotlib.colors import PowerNorm

import xlabelstats
from xlabelstats.patches import LabelPatches

SIZE, COLUMNS, ROWS = 40, 18, 5
COLOURS = {"large": "gold", "medium": "deepskyblue", "small": "hotpink"}

image, mask = xlabelstats.datasets.nuclei2d()
image, mask = image.chunk(200), mask.chunk(200)

# The class of a nucleus, from its size: half of them are medium, few are large.
count = mask.labels.count().to_series()
low, high = count.quantile([0.4, 0.9])
classes = count.map(lambda n: "small" if n < low else "large" if n > high else "medium")
print("nuclei:", classes.value_counts().to_dict())

# One item per nucleus and turn; with torch, this is what a DataLoader takes.
patches = LabelPatches(image, mask, SIZE, classes=classes, balanced=True, with_mask=True, seed=1)
print(patches)
shown = [patches[i] for i in range(ROWS * COLUMNS)]
names = [patches.classes[item["class"]] for item in shown]
print("patches shown:", {name: names.count(name) for name in patches.classes})

fig, axes = plt.subplots(ROWS, COLUMNS, figsize=(COLUMNS * 0.72, ROWS * 0.72 + 0.45), layout="constrained")
fig.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
scale = PowerNorm(0.6, 0, 110)
for ax, item, name in zip(axes.flat, shown, names, strict=True):
    ax.imshow(item["image"][0], cmap="gray", norm=scale)
    ax.contour(item["mask"] == item["label"], levels=[0.5], colors=COLOURS[name], linewidths=0.8)
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(color=COLOURS[name], linewidth=1.5)
legend = [plt.Line2D([], [], color=colour, label=name) for name, colour in COLOURS.items()]
fig.legend(handles=legend, loc="outside upper center", ncols=3, frameon=False)

repeated = len(names) - len({item["label"] for item in shown})
print(f"{repeated} of the {len(shown)} patches show a nucleus again")

picture = Path(sys.argv[1] if len(sys.argv) > 1 else "patches.png")
fig.savefig(picture, dpi=110)
print(f"\nsaved {picture}")
