"""From nuclei, cells and transcripts to a table for squidpy: ``python cells_and_neighbours.py [TABLE.h5ad]``.

Needs the extras ``anndata`` and ``points``, and for the last step squidpy.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import xlabelstats

# From pixel to pixel, in micrometers.
SPACING = 0.65

# Transcripts of every gene that a small and a large cell have, on average.
GENES = {"Gad1": (9, 1), "Sst": (5, 0.5), "Slc17a7": (1, 12), "Cux2": (0.5, 6), "Actb": (8, 8)}


def made_transcripts(cells: xr.DataArray) -> pd.DataFrame:
    """A stand-in for real transcripts: points in the cells, of genes that go with a cell's size, and some beside."""
    rng = np.random.default_rng(0)
    area = cells.labels.count().compute()
    tables = []
    for gene, (small, large) in GENES.items():
        density = cells.labels.paint(xr.where(area > area.median(), large, small) / area).fillna(0.001)
        number = rng.poisson(density)
        pixels = np.repeat(np.argwhere(number), number[number > 0], axis=0)
        places = SPACING * (pixels + rng.uniform(-0.5, 0.5, pixels.shape))
        tables.append(pd.DataFrame(places, columns=cells.dims).assign(gene=gene))
    return pd.concat(tables, ignore_index=True).astype({"gene": "category"})


image, nuclei = xlabelstats.datasets.nuclei2d(spacing=SPACING)
image, nuclei = image.chunk(200), nuclei.chunk(200)

# Cells with labels of their own, as a segmenter of cells gives them; a stand-in for those of a membrane stain.
cells = nuclei.labels.expand(4.0).labels.relabel().rename("cells")
transcripts = made_transcripts(cells)

# Which nucleus lies in which cell, and how much of the cell it takes.
shared = cells.labels.overlap(nuclei)
owners = nuclei.labels.relate(cells)
nuclei_of = owners["parent"].to_series().value_counts()
print(f"{cells.labels.ids().size} cells, {nuclei.labels.ids().size} nuclei; most nuclei in a cell: {nuclei_of.max()}")
print(f"a nucleus takes {float(shared['fraction'].median()):.0%} of its cell, half of them less\n")

# How many transcripts of every gene a cell has: sparse, a row per cell.
counts = cells.labels.count_points(transcripts, by="gene")

# What lies within 3 micrometers, from edge to edge.
near = cells.labels.neighbors(3.0)
print(near.to_dataframe().head(3), "\n")

# All in one table: genes are its columns, what was measured describes its rows.
measures = image.labels.measure(cells, ("area", "eccentricity", "mean"))
result = measures.assign(
    transcripts=counts,
    nuclei=("label", nuclei_of.reindex(measures["label"].values, fill_value=0)),
)
table = result.labels.to_anndata("transcripts", centroids=cells.labels.center_of_mass(), neighbors=near)
print(table)
print(f"{int(table.X.sum())} of {len(transcripts)} transcripts lie in cells\n")

# Kinds of cells, here by their genes; scanpy clusters them in earnest.
of_genes = table.to_df()
inhibitory = of_genes[["Gad1", "Sst"]].sum(axis=1) > of_genes[["Slc17a7", "Cux2"]].sum(axis=1)
table.obs["kind"] = pd.Categorical(np.where(inhibitory, "inhibitory", "excitatory"))
print(table.obs["kind"].value_counts().to_string(), "\n")

try:
    import squidpy
except ImportError:
    print("squidpy is not installed: pip install squidpy")
else:
    # Which kinds are neighbors more often than by chance.
    squidpy.gr.nhood_enrichment(table, "kind", seed=0, show_progress_bar=False)
    kinds = table.obs["kind"].cat.categories
    scores = pd.DataFrame(table.uns["kind_nhood_enrichment"]["zscore"], kinds, kinds)
    print(f"z scores of neighbors:\n{scores.round(1).to_string()}\n")

path = Path(sys.argv[1] if len(sys.argv) > 1 else "cells.h5ad")
table.write_h5ad(path)
print(f"saved {path}")
