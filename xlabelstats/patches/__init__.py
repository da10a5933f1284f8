"""Patches of images for trainers: image stacks that read no more than a patch, and patches centred on objects."""

from __future__ import annotations

from xlabelstats.patches.formats import load_image_stacks
from xlabelstats.patches.labels import LabelPatches
from xlabelstats.patches.stack import XarrayImageStack

__all__ = ["LabelPatches", "XarrayImageStack", "load_image_stacks"]
