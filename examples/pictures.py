"""Draw nuclei, measurements of them, their windows, and one against another: ``python pictures.py [FOLDER]``."""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # writes files, needs no screen

import matplotlib.pyplot as plt
import xarray as xr
from skimage.io import imread

import xlabelstats  # noqa: F401  (gives arrays and Datasets their .labels and .instances)

DATA = Path(__file__).parent / "data"
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "pictures")
folder.mkdir(parents=True, exist_ok=True)


def save(name: str) -> None:
    path = folder / f"{name}.png"
    plt.savefig(path)
    plt.close()
    print(f"saved {path}")


image = xr.DataArray(imread(DATA / "nuclei2d_image.tif"), dims=("y", "x"), name="intensity").chunk(200)
mask = xr.DataArray(imread(DATA / "nuclei2d_labels.tif"), dims=("y", "x"), name="nuclei").chunk(200)

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
shapes = mask.labels.regionprops(properties=("area", "eccentricity"))
result.merge(shapes).labels.plot.scatter("area", "mean", color="eccentricity")
save("scatter")
