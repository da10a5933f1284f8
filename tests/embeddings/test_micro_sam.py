"""The functions with micro-sam's signatures: against scikit-learn and plain numpy, as its module computes them."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import zarr
from test_embeddings import TILINGS, assert_same, by_sklearn, correlated, join_by_numpy, padded_by_numpy, write_tiles

from xlabelstats.compat import micro_sam
from xlabelstats.compat.micro_sam import compute_pca, project_embeddings_for_visualization


def volume(planes: int, dtype: Any = np.float32) -> np.ndarray:
    return np.stack([correlated((1, 6, 16, 16), 1, seed=seed, dtype=dtype) for seed in range(planes)])


def colours_of(values: np.ndarray) -> np.ndarray:
    return (255 * (values - values.min()) / np.ptp(values)).astype(np.uint8)


def test_signatures():
    assert list(inspect.signature(compute_pca).parameters) == ["embeddings", "n_components", "as_rgb"]
    names = list(inspect.signature(project_embeddings_for_visualization).parameters)
    assert names == ["image_embeddings", "n_components", "as_rgb"]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("shape", [(1, 6, 16, 16), (1, 6, 5, 9), (1, 6, 1, 9)])
def test_an_images_embedding_is_projected_with_components_last(shape, dtype):
    array = correlated(shape, 1, dtype=dtype)
    found = compute_pca(array, 4, as_rgb=False)
    assert isinstance(found, np.ndarray)
    assert_same(found, np.moveaxis(by_sklearn(array[0], 0, 4)[0], 0, -1), -1)
    colours = compute_pca(array)
    assert colours.dtype == np.uint8
    np.testing.assert_array_equal(colours, colours_of(found[..., :3]))


@pytest.mark.parametrize("planes", [1, 3])
def test_every_plane_of_a_volume_is_projected_by_itself(planes):
    array = volume(planes)
    found, colours = compute_pca(array, as_rgb=False), compute_pca(array)
    assert found.shape == colours.shape == (planes, 16, 16, 3)
    for z in range(planes):
        assert_same(found[z], np.moveaxis(by_sklearn(array[z, 0], 0, 3)[0], 0, -1), -1)
        np.testing.assert_array_equal(colours[z], colours_of(found[z]))


@pytest.mark.parametrize("original_size", [(100, 100), (100, 70), (60, 97)])
def test_an_image_is_cut_to_its_aspect_ratio(original_size):
    array = correlated((1, 6, 16, 16), 1)
    embeddings = {"features": array, "input_size": (1024, 1024), "original_size": original_size}
    found, scale = project_embeddings_for_visualization(embeddings, as_rgb=False)
    expected = padded_by_numpy(array[0], original_size, 3)
    assert_same(found, expected, -1)
    assert scale == (original_size[0] / expected.shape[0], original_size[1] / expected.shape[1])
    colours, _ = project_embeddings_for_visualization(embeddings)
    np.testing.assert_array_equal(colours, compute_pca(array)[: expected.shape[0], : expected.shape[1]])


@pytest.mark.parametrize("stored", [False, True])
def test_a_volume_is_cut_plane_by_plane(stored, tmp_path):
    array = volume(3)
    features = zarr.create_array(tmp_path / "a.zarr", data=array) if stored else array
    embeddings = {"features": features, "input_size": [1024, 683], "original_size": [90, 60]}
    found, scale = project_embeddings_for_visualization(embeddings, 2, as_rgb=False)
    assert isinstance(found, np.ndarray)
    assert scale == (1, 90 / 16, 6)
    for z in range(3):
        assert_same(found[z], padded_by_numpy(array[z, 0], (90, 60), 2), -1)


@pytest.mark.parametrize("tiling", TILINGS.values(), ids=list(TILINGS))
@pytest.mark.parametrize("lead", [(1,), (2, 1)], ids=str)
def test_tiles_are_joined_and_not_cut_again(tiling, lead):
    group = write_tiles(*tiling, lead)
    embeddings = {"features": group, "input_size": None, "original_size": None}
    found, scale = project_embeddings_for_visualization(embeddings, as_rgb=False)
    colours, _ = project_embeddings_for_visualization(embeddings)
    joined = join_by_numpy(group)
    pictures, expected, in_colour = found, joined[:, 0], colours
    if lead == (1,):
        pictures, expected, in_colour = found[None], joined, colours[None]
    for picture, plane, colour in zip(pictures, expected, in_colour, strict=True):
        assert_same(picture, np.moveaxis(by_sklearn(plane, 0, 3)[0], 0, -1), -1)
        np.testing.assert_array_equal(colour, colours_of(picture))
    shape = tiling[0] if lead == (1,) else (2, *tiling[0])
    assert scale == tuple(n / own for n, own in zip(shape, found.shape[:-1], strict=True))


def test_errors_are_of_the_kind_that_micro_sam_raises():
    array = correlated((1, 6, 16, 16), 1)
    with pytest.raises(ValueError, match="Expect input of ndim 4 or 5, got 3"):
        compute_pca(array[0])
    with pytest.raises(ValueError, match="a colour has 3 components"):
        compute_pca(array, 4)
    with pytest.raises(ValueError, match="embeddings of an image are"):
        compute_pca(np.concatenate([array, array]))
    with pytest.raises(ValueError, match=r"an embedding is .* not of shape"):
        compute_pca(np.zeros((2, 2, 6, 8, 8)))
    with pytest.raises(ValueError, match="Expect input of ndim 4 or 5, got 2"):
        project_embeddings_for_visualization({"features": array[0, 0], "input_size": (1, 1), "original_size": (9, 9)})
    tiles = write_tiles((64, 96), (32, 32), (4, 4), ())
    for kind in (AssertionError, ValueError):
        with pytest.raises(kind, match="original_size is the"):
            project_embeddings_for_visualization({"features": array, "input_size": (1, 1), "original_size": (1, 9, 9)})
        with pytest.raises(kind, match="tiles have 4 dims or 5, not 3"):
            project_embeddings_for_visualization({"features": tiles, "input_size": None, "original_size": None})
    with pytest.raises(KeyError, match="original_size"):
        project_embeddings_for_visualization({"features": array, "input_size": (1, 1)})
    assert issubclass(micro_sam.InputError, ValueError)
