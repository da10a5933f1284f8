"""Cut out hand-labelled nuclei and lay them side by side, from dim to bright: ``python gallery.py [PICTURE]``."""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # writes files, needs no screen

import matplotlib.pyplot as plt
from matplotlib.colors import PowerNorm

import xlabelstats

SIZE, COLUMNS = 40, 18

image, mask = xlabelstats.datasets.nuclei2d()
image, mask = image.chunk(200), mask.chunk(200)

# A window for every nucleus; neighbours that reach into it stay, so that they can be drawn in grey.
windows = image.instances.windows(mask, SIZE, remove_background=False)
windows = windows.assign(median=image.instances.median(mask)).compute().sortby("median")
print(windows)

# Windows side by side: the dim "label" becomes rows and columns, and these take the window dims in.
windows["own"] = windows["mask"] == windows["label"]
tiles = windows[["image", "own"]].coarsen(label=COLUMNS, boundary="pad").construct(label=("row", "column"))
tiles = tiles.stack(down=("row", "y"), across=("column", "x"), create_index=False).transpose("down", "across")
cells, own = tiles["image"], tiles["own"] == 1

fig, axes = plt.subplots(figsize=(11.6, 4.8), layout="constrained")
norm = PowerNorm(0.6, vmin=12, vmax=220)
axes.imshow(cells.where(~own), cmap="gray", norm=norm, interpolation="nearest")
axes.imshow(cells.where(own), cmap="inferno", norm=norm, interpolation="nearest")
axes.set(facecolor="black", title=f"{windows.sizes['label']} nuclei, from the dimmest to the brightest")
axes.set(xticks=[], yticks=[])
for i in range(1, COLUMNS):
    axes.axvline(i * SIZE - 0.5, color="white", linewidth=0.8)
for i in range(1, tiles.sizes["down"] // SIZE):
    axes.axhline(i * SIZE - 0.5, color="white", linewidth=0.8)

picture = Path(sys.argv[1] if len(sys.argv) > 1 else "gallery.png")
fig.savefig(picture, dpi=110)
print(f"\nsaved {picture}")
