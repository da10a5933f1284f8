"""The example pipeline of cvpl_tools: the same counts wherever results are kept, computed once, plain and awaited."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from conftest import Calls
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from processes import cluster
from scipy import ndimage

from xlabelstats.compat.cvpl_tools import cache_im
from xlabelstats.pipeline import connected_components, count_map

pytest.importorskip("ome_zarr")

CALLS = Calls()


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


LEVEL = 0.7


def expected_counts(volume):
    """Centroids per block, by scipy on the whole array."""
    pixels = np.asarray(volume)
    labels, n = ndimage.label(pixels > LEVEL, np.ones((3, 3, 3)))
    centres = np.array(ndimage.center_of_mass(labels > 0, labels, range(1, n + 1)))
    edges = [np.array([-0.5, 7.5]), *[np.array([-0.5, 11.5, 23.5])] * 2]
    # On the face between two blocks a centroid belongs to the later one.
    return np.histogramdd(centres, edges)[0]


class Folder(DirFileSystem):
    """A file system of a folder, whose folders are file systems too."""

    def __getitem__(self, name):
        return Folder(f"{self.path}/{name}", self.fs)


# The example of the page of cvpl_tools: brightness, threshold, components, counts per block.


def binary_of(image):
    CALLS.append("binary")
    return (image > LEVEL).astype("uint8")


def cells_of(binary):
    CALLS.append("cells")
    return connected_components(binary, connectivity=3)


def counts_of(cells):
    CALLS.append("counts")
    return np.asarray(count_map(cells))


STEPS = ["binary", "cells", "counts"]


def below(context_args, name, **viewer_args):
    url = context_args.get("cache_url")
    url = url[name] if isinstance(url, Folder) else url and f"{url}/{name}"
    return {**context_args, "cache_url": url, "viewer_args": {**context_args.get("viewer_args", {}), **viewer_args}}


def plain_example(image, context_args):
    binary = cache_im(lambda: binary_of(image), below(context_args, "binary"))
    cells = cache_im(lambda: cells_of(binary), below(context_args, "nested/cells", is_label=True))
    return cache_im(lambda: counts_of(cells), below(context_args, "nested/counts"))


async def awaited_example(image, context_args):
    binary = await cache_im(lambda: binary_of(image), context_args=below(context_args, "binary"))
    cells = await cache_im(lambda: cells_of(binary), below(context_args, "nested/cells", is_label=True))
    return await cache_im(lambda: counts_of(cells), below(context_args, "nested/counts"))


def run_example(way, volume, context_args):
    if way == "plain":
        return plain_example(volume, context_args)
    return asyncio.run(awaited_example(volume, context_args))


@pytest.mark.parametrize("way", ["plain", "awaited"])
class TestExample:
    @pytest.mark.parametrize("where", ["folder", "url", "file system"])
    def test_counts_are_scipys_and_the_second_run_computes_nothing(self, way, where, volume, tmp_path):
        places = {
            "folder": tmp_path / "results",
            "url": f"memory://{tmp_path.name}-{way}",
            "file system": Folder(f"/{tmp_path.name}-{way}-fs", MemoryFileSystem()),
        }
        context = {"cache_url": places[where]}
        for _ in range(2):
            found = run_example(way, volume, context)
            np.testing.assert_array_equal(found, expected_counts(volume))
            assert type(np.asarray(found)) is np.ndarray
        assert CALLS == STEPS

    @pytest.mark.parametrize("context", [{}, {"skip_cache": True, "cache_url": "memory://never"}, {"cache_url": None}])
    def test_without_a_folder_counts_are_the_same(self, way, context, volume):
        np.testing.assert_array_equal(run_example(way, volume, context), expected_counts(volume))
        assert not MemoryFileSystem().exists("/never")

    def test_under_a_client_counts_are_the_same(self, way, volume, tmp_path):
        pytest.importorskip("distributed")
        with cluster(1):
            for context in ({"cache_url": str(tmp_path)}, {"cache_url": str(tmp_path)}, {}):
                np.testing.assert_array_equal(run_example(way, volume, context), expected_counts(volume))
        assert CALLS == STEPS * 2

    @pytest.mark.filterwarnings("ignore")
    def test_with_a_viewer_counts_are_the_same_and_every_step_has_a_layer(self, way, volume, tmp_path, viewer):
        context = {"cache_url": str(tmp_path)}
        run_example(way, volume, context)
        for _ in range(2):
            found = run_example(way, volume, {**context, "viewer_args": {"viewer": viewer}})
            np.testing.assert_array_equal(found, expected_counts(volume))
        assert CALLS == STEPS
        names = {layer.name: type(layer).__name__ for layer in viewer.layers}
        assert names == {
            f"{tmp_path}/binary": "Image",
            f"{tmp_path}/nested/cells": "Labels",
            f"{tmp_path}/nested/counts": "Image",
        }

    def test_the_other_way_finds_what_one_has_kept(self, way, volume, tmp_path):
        run_example("plain", volume, {"cache_url": tmp_path})
        run_example(way, volume, {"cache_url": tmp_path})
        assert CALLS == STEPS
