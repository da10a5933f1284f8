"""Embeddings as pictures: what varies most along one dim, as colours aligned with the image."""

from __future__ import annotations

from xlabelstats.embeddings.named import pca
from xlabelstats.embeddings.padded import project

__all__ = ["pca", "project"]
