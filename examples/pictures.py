"""Draw nuclei, measurements of them, their windows, and one against another: ``python pictures.py [FOLDER]``."""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # writes files, needs no screen

import matplotlib.pyplot as plt

import xlabelstats

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "pictures")
folder.mkdir(parents=True, exist_ok=True)


def save(name: str) -> None:
    path = folder / f"{name}.png"
    plt.savefig(path)
    plt.close()
    print(f"saved {path}")


image, mask = xlabelstats.datasets.nuclei2d()
image, mask = image.chunk(200), mask.chunk(200)

# The image between its percentiles, with the boundaries of the nuclei.
image.labels.plot.overlay(mask)
save("overlay")

# Every nucleus in the colour of its mean intensity.
result = image.labels.aggregate(mask, ("count", "mean"))
mask.labels.plot.measurement(result, variable="mean")
save("measurement")

# The largest nuclei, each in its window; the neighbours that reach into it stay.
windows = image.instances.windows(mask, 44, remove_background=False)
windows.instances.plot.gallery(labels=result["count"].to_series().nlargest(40).index)
save("gallery")

# Intensity against size, coloured by shape.
shapes = mask.labels.measure(("area", "eccentricity"))
result.merge(shapes).labels.plot.scatter("area", "mean", color="eccentricity")
save("scatter")
