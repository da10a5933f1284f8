"""Embeddings as pictures: against scikit-learn's PCA, and against plain numpy on whole tiles."""

from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st

import xlabelstats
from xlabelstats.embeddings import components, pca, project

sklearn_pca = pytest.importorskip("sklearn.decomposition").PCA


def correlated(shape: tuple[int, ...], axis: int = 0, seed: int = 0, dtype: Any = np.float64) -> np.ndarray:
    """Numbers that vary along axes of clearly different variance, none of which is an axis of the array."""
    rng = np.random.default_rng(seed)
    features = shape[axis]
    mixed, _ = np.linalg.qr(rng.normal(size=(features, features)))
    scale = 2.0 ** -np.arange(features)
    samples = rng.normal(size=(*np.delete(shape, axis), features)) * scale @ mixed.T + rng.normal(size=features)
    return np.moveaxis(samples, -1, axis).astype(dtype)


def by_sklearn(array: np.ndarray, axis: int, n: int) -> tuple[np.ndarray, Any]:
    """The components in place of the features, and the fitted PCA."""
    moved = np.moveaxis(array, axis, -1)
    fit = sklearn_pca(n, svd_solver="full")
    found = fit.fit_transform(moved.reshape(-1, moved.shape[-1]).astype(np.float64))
    return np.moveaxis(found.reshape(*moved.shape[:-1], n), -1, axis), fit


def same_sign(found: np.ndarray, expected: np.ndarray, axis: int) -> np.ndarray:
    """What is expected, with the sign that each component has in what was found."""
    others = tuple(i for i in range(expected.ndim) if i != axis % expected.ndim)
    return expected * np.sign((found * expected).sum(axis=others, keepdims=True))


def assert_same(found: Any, expected: np.ndarray, axis: int, tolerance: float = 1e-6) -> None:
    found = np.asarray(found)
    assert found.shape == expected.shape
    size = np.abs(expected).max()
    np.testing.assert_allclose(found, same_sign(found, expected, axis), rtol=0, atol=tolerance * size)


def colours_of(values: np.ndarray) -> np.ndarray:
    return (255 * (values - values.min()) / (values.max() - values.min())).astype(np.uint8)


class TestPca:
    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize(
        ("shape", "axis"), [((6, 11, 9), 0), ((11, 9, 6), 2), ((3, 6, 7, 5), 1), ((2, 3, 6, 7, 5), 2), ((40, 6), 1)]
    )
    def test_any_dim_of_any_array_is_projected_as_by_scikit_learn(self, shape, axis, lazy):
        array = correlated(shape, axis)
        dims = tuple("tuvwx"[: len(shape)])
        data = xr.DataArray(array, dims=dims)
        found = pca(data.chunk(4) if lazy else data, dims[axis], 4, as_rgb=False)
        expected, fit = by_sklearn(array, axis, 4)
        assert dask.is_dask_collection(found.data) == lazy
        assert found.dims == (*dims[:axis], "component", *dims[axis + 1 :])
        assert found.dtype == np.float64
        assert_same(found, expected, axis)
        np.testing.assert_allclose(found.attrs["explained_variance"], fit.explained_variance_)
        np.testing.assert_allclose(found.attrs["explained_variance_ratio"], fit.explained_variance_ratio_)

    @settings(max_examples=30, deadline=None)
    @given(draw=st.data())
    def test_chunks_and_the_order_of_dims_change_nothing(self, draw):
        shape = {"c": 5, "y": 8, "x": 7}
        data = xr.DataArray(correlated(tuple(shape.values())), dims=list(shape))
        other = data.transpose(*draw.draw(st.permutations(list(shape))))
        other = other.chunk({dim: draw.draw(st.integers(1, size)) for dim, size in shape.items()})
        for as_rgb in (False, True):
            whole, found = pca(data, "c", as_rgb=as_rgb), pca(other, "c", as_rgb=as_rgb)
            tolerance = {"atol": 1} if as_rgb else {"atol": 1e-12}
            np.testing.assert_allclose(found.transpose(*whole.dims).astype(float), whole.astype(float), **tolerance)

    @pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "u1", "i2", "i8", "?"])
    def test_every_dtype_is_computed_as_float64(self, dtype):
        array = correlated((6, 20, 30)) * 20 + 100
        array = (array > 100) if dtype == "?" else array.astype(dtype)
        found = pca(xr.DataArray(array, dims=("c", "y", "x")), "c", as_rgb=False)
        assert found.dtype == np.float64
        assert_same(found, by_sklearn(array, 0, 3)[0], 0)

    @pytest.mark.parametrize("lazy", [False, True])
    def test_a_large_mean_costs_no_precision(self, lazy):
        array = correlated((6, 20, 30)) + 1e6
        data = xr.DataArray(array, dims=("c", "y", "x"))
        found = pca(data.chunk(y=7, x=11) if lazy else data, "c", as_rgb=False)
        assert_same(found, by_sklearn(array, 0, 3)[0], 0)

    def test_a_block_of_many_slabs_is_projected_as_a_whole(self, monkeypatch):
        array = correlated((6, 20, 30), dtype=np.float16)
        monkeypatch.setattr(components, "SLAB", 100)
        found = pca(xr.DataArray(array, dims=("c", "y", "x")), "c", as_rgb=False)
        assert_same(found, by_sklearn(array, 0, 3)[0], 0)

    @pytest.mark.parametrize("lazy", [False, True])
    def test_colours_scale_all_components_jointly(self, lazy):
        data = xr.DataArray(correlated((6, 11, 9)), dims=("c", "y", "x"))
        data = data.chunk(y=4) if lazy else data
        found, values = pca(data, "c"), pca(data, "c", as_rgb=False)
        assert found.dims == ("y", "x", "rgb")
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, colours_of(values.transpose("y", "x", "component").values))
        assert (found.values.min(), found.values.max()) == (0, 255)

    def test_a_part_of_a_lazy_picture_has_the_colours_of_the_whole(self):
        data = xr.DataArray(correlated((6, 11, 9)), dims=("c", "y", "x"))
        np.testing.assert_array_equal(pca(data.chunk(y=4), "c")[5:7].compute(), pca(data, "c")[5:7])

    def test_the_entry_of_largest_magnitude_of_every_axis_is_positive(self):
        array = correlated((6, 400), seed=3)
        found = pca(xr.DataArray(array, dims=("c", "x")), "c", 6, as_rgb=False).values
        axes = np.linalg.lstsq((array - array.mean(axis=1, keepdims=True)).T, found.T)[0].T
        assert (axes[np.arange(6), np.abs(axes).argmax(axis=1)] > 0).all()

    def test_the_first_of_equally_large_entries_is_positive_whatever_their_rounding(self):
        signs = np.array([1, -1, -1, 1, -1, 1])
        for seed in range(20):
            values = np.random.default_rng(seed).normal(size=50)
            data = xr.DataArray(signs[:, None] * values, dims=("c", "x"))
            found = pca(data, "c", 1, as_rgb=False)
            np.testing.assert_allclose(found[0], (values - values.mean()) * np.sqrt(6), atol=1e-12)

    @pytest.mark.parametrize("lazy", [False, True])
    def test_samples_with_nan_or_infinite_numbers_are_left_out(self, lazy):
        array = correlated((6, 11, 9))
        array[2, 3, 4], array[0, 5, :], array[1, 0, 0] = np.nan, np.inf, -np.inf
        known = np.isfinite(array).all(axis=0)
        data = xr.DataArray(array, dims=("c", "y", "x"))
        data = data.chunk(y=3, x=4) if lazy else data
        found, colours = pca(data, "c", as_rgb=False).values, pca(data, "c").values
        expected, fit = by_sklearn(array[:, known], 0, 3)
        assert_same(found[:, known], expected, 0)
        assert np.isnan(found[:, ~known]).all()
        np.testing.assert_array_equal(colours[known], colours_of(found[:, known].T))
        assert not colours[~known].any()
        np.testing.assert_allclose(pca(data, "c").attrs["explained_variance"], fit.explained_variance_)

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("value", [0.1, np.nan])
    def test_where_nothing_varies_components_are_zero_and_colours_black(self, value, lazy):
        data = xr.DataArray(np.full((4, 5, 6), value, np.float32), dims=("c", "y", "x"))
        data = data.chunk(y=2) if lazy else data
        found = pca(data, "c", as_rgb=False)
        assert np.isnan(found).all() if np.isnan(value) else (found == 0).all()
        assert found.attrs["explained_variance"] == found.attrs["explained_variance_ratio"] == [0, 0, 0]
        assert not pca(data, "c").any()

    def test_components_beyond_the_samples_are_zero(self):
        array = correlated((2, 6), axis=1)
        found = pca(xr.DataArray(array, dims=("label", "feature")), "feature", 3, as_rgb=False)
        assert_same(found[:, :2], by_sklearn(array, 1, 2)[0], 1)
        np.testing.assert_allclose(found[:, 2], 0, atol=1e-12)

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("labels", [0, 1])
    def test_no_object_or_one_is_no_error(self, labels, lazy):
        data = xr.DataArray(np.ones((labels, 5)), dims=("label", "feature"))
        found = pca(data.chunk() if lazy else data, "feature")
        assert found.dtype == np.uint8
        assert dict(found.sizes) == {"label": labels, "rgb": 3}
        assert not found.values.any()

    def test_other_dims_coords_name_and_attrs_are_kept(self):
        data = xr.DataArray(
            correlated((4, 5, 6)),
            dims=("c", "y", "x"),
            coords={"c": list("abcd"), "y": np.arange(5) * 0.5, "stage": 7, "wave": ("c", range(4))},
            attrs={"encoder": "vit"},
            name="embedding",
        )
        before = data.copy(deep=True)
        for found in (pca(data, "c"), pca(data.chunk(x=2), "c", as_rgb=False)):
            assert found.name == "embedding"
            assert set(found.coords) == {"y", "stage"}
            assert set(found.attrs) == {"encoder", "explained_variance", "explained_variance_ratio"}
            xr.testing.assert_identical(found["y"].drop_vars("stage"), data["y"].drop_vars("stage"))
        xr.testing.assert_identical(data, before)

    def test_features_along_a_dim_called_component_can_be_projected(self):
        data = xr.DataArray(correlated((40, 6), axis=1), dims=("label", "component"))
        again = pca(pca(data, "component", 4, as_rgb=False), "component", 3, as_rgb=False)
        assert_same(again, by_sklearn(data.values, 1, 3)[0], 1)

    def test_features_in_several_chunks_are_brought_together(self):
        array = correlated((8, 30, 20))
        data = xr.DataArray(array, dims=("c", "y", "x")).chunk(c=1, y=7)
        assert_same(pca(data, "c", as_rgb=False), by_sklearn(array, 0, 3)[0], 0)

    def test_one_call_reads_every_block_once_for_components_and_once_for_colours(self):
        reads = []

        def read(block: np.ndarray) -> np.ndarray:
            reads.append(block.shape)
            return block

        blocks = da.from_array(correlated((6, 12, 9)), chunks=(6, 4, 9)).map_blocks(read, meta=np.empty((0, 0, 0)))
        data = xr.DataArray(blocks, dims=("c", "y", "x"))
        lazy = pca(data, "c", as_rgb=False)
        assert len(reads) == 3
        pca(data, "c")
        assert len(reads) == 9
        lazy.compute()
        assert len(reads) == 12

    def test_data_opened_without_dask_is_read_block_by_block(self, tmp_path):
        array = correlated((6, 12, 9))
        encoding = {"e": {"chunks": (6, 4, 9)}}
        xr.Dataset({"e": (("c", "y", "x"), array)}).to_zarr(tmp_path / "a.zarr", encoding=encoding, consolidated=False)
        data = xr.open_zarr(tmp_path / "a.zarr", chunks=None, consolidated=False)["e"]
        assert pca(data, "c").chunksizes["y"] == (4, 4, 4)
        assert pca(data.isel(y=slice(3, 9)), "c").chunksizes["y"] == (4, 2)
        for same in (data, data.rename(y="row").transpose("c", "x", "row").transpose("c", "row", "x")):
            found = pca(same, "c", as_rgb=False)
            assert dask.is_dask_collection(found.data)
            assert_same(found, by_sklearn(array, 0, 3)[0], 0)
        assert dask.is_dask_collection(project(data, (24, 18)).data)
        assert not dask.is_dask_collection(pca(data.copy().load(), "c").data)

    def test_a_picture_goes_to_zarr_and_to_imshow(self, tmp_path):
        import matplotlib

        matplotlib.use("Agg")
        data = xr.DataArray(correlated((6, 11, 9)), dims=("c", "y", "x"), name="e").chunk(y=4)
        stored = xlabelstats.to_zarr(pca(data, "c"), tmp_path / "a.zarr")
        xr.testing.assert_identical(stored.compute(), pca(data, "c").compute())
        shown = stored.plot.imshow()
        np.testing.assert_array_equal(shown.get_array()[..., :3], stored)
        matplotlib.pyplot.close()

    @pytest.mark.parametrize("lazy", [False, True])
    def test_features_of_objects_become_colours_of_their_pixels(self, lazy):
        mask = xr.DataArray(blobs((30, 40), 12), dims=("y", "x"))
        ids = mask.labels.ids()
        features = xr.DataArray(correlated((ids.size, 6), 1), dims=("label", "feature"), coords={"label": ids})
        features, mask = (features.chunk(label=3), mask.chunk(13)) if lazy else (features, mask)
        painted = mask.labels.paint(pca(features, "feature")).transpose("y", "x", "rgb")
        values = pca(features, "feature", as_rgb=False).values
        assert painted.dtype == np.uint8
        expected = np.zeros((30, 40, 3), np.uint8)
        for label, colour in zip(ids, colours_of(values), strict=True):
            expected[mask.values == label] = colour
        np.testing.assert_array_equal(painted, expected)

    def test_complaints(self):
        data = xr.DataArray(np.zeros((4, 5, 6)), dims=("c", "y", "x"))
        with pytest.raises(TypeError, match=r"data is an xarray\.DataArray, not ndarray"):
            pca(data.values, "c")
        with pytest.raises(TypeError, match="data holds numbers"):
            pca(data.astype(complex), "c")
        with pytest.raises(ValueError, match="data has no dim 'channel'; it has"):
            pca(data, "channel")
        for wrong in (0, 2.0, True, "3"):
            with pytest.raises(ValueError, match="n_components is a whole number from 1"):
                pca(data, "c", wrong, as_rgb=False)
        with pytest.raises(ValueError, match="a colour has 3 components, not n_components=2; give as_rgb=False"):
            pca(data, "c", 2)
        with pytest.raises(ValueError, match="4 features have at most 4 components, not n_components=5"):
            pca(data, "c", 5, as_rgb=False)
        with pytest.raises(ValueError, match="'rgb', a dim or coord of the data, is a name of the result; rename it"):
            pca(data.rename(y="rgb"), "c")
        with pytest.raises(ValueError, match="'component', a dim or coord of the data"):
            pca(data.assign_coords(component=1), "c", as_rgb=False)

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("size", [1e160, 1e200, 1e306])
    def test_numbers_whose_variance_no_float_holds_are_complained_about(self, size, lazy):
        data = xr.DataArray(correlated((4, 5, 6)) * size, dims=("c", "y", "x"))
        with pytest.raises(ValueError, match="the variance of these numbers is more than a float64 holds"):
            pca(data.chunk(y=2) if lazy else data, "c")
        small = data.copy(data=data.values / size * 1e140)
        assert np.isfinite(pca(small, "c", as_rgb=False)).all()


def padded_by_numpy(embedding: np.ndarray, shape: tuple[int, int], n: int) -> np.ndarray:
    """An embedding (c, h, w) of an image as components (h, w, n), cut to the image."""
    found = np.moveaxis(by_sklearn(embedding, 0, n)[0], 0, -1)
    height, width = shape
    if height > width:
        return found[:, : int(width / height * found.shape[1])]
    return found[: int(height / width * found.shape[0])] if width > height else found


class TestProject:
    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
    @pytest.mark.parametrize("shape", [(100, 100), (100, 70), (60, 97), (50, 500)])
    def test_an_embedding_is_projected_and_cut_to_the_image(self, shape, dtype, lazy):
        array = correlated((6, 16, 16), dtype=dtype)
        found = project(da.from_array(array, chunks=(6, 5, 7)) if lazy else array, shape, 4, as_rgb=False)
        assert dask.is_dask_collection(found.data) == lazy
        assert found.dims == ("component", "y", "x")
        expected = padded_by_numpy(array, shape, 4)
        assert_same(found.transpose("y", "x", "component"), expected, -1)
        assert found.attrs["scale"] == [shape[0] / expected.shape[0], shape[1] / expected.shape[1]]

    def test_coords_are_the_middles_of_the_embeddings_pixels_in_the_image(self):
        image = xr.DataArray(np.arange(64)[:, None] + np.zeros(32), dims=("y", "x"))
        image = image.assign_coords({dim: np.arange(size) for dim, size in image.sizes.items()})
        found = project(correlated((6, 16, 16)), image.shape)
        assert dict(found.sizes) == {"y": 16, "x": 8, "rgb": 3}
        means = image.coarsen(y=4, x=4).mean()
        for dim in "yx":
            np.testing.assert_allclose(found[dim], means[dim])

    def test_colours_are_those_of_the_whole_embedding(self):
        array = correlated((6, 16, 16))
        found = project(array, (100, 70))
        whole = pca(xr.DataArray(array, dims=("c", "y", "x")), "c")
        np.testing.assert_array_equal(found, whole[:, :11])
        assert found.dtype == np.uint8

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("planes", [1, 3])
    @pytest.mark.parametrize("batch", [False, True])
    def test_every_plane_of_a_volume_is_projected_by_itself(self, planes, batch, lazy):
        array = np.stack([correlated((6, 16, 16), seed=seed) for seed in range(planes)])
        given_ = array[:, None] if batch else array
        found = project(
            da.from_array(given_, chunks=(1,) * (given_.ndim - 3) + (4, 16, 9)) if lazy else given_,
            (planes, 60, 90),
            as_rgb=False,
        )
        assert found.dims == ("z", "component", "y", "x")
        for z in range(planes):
            assert_same(found[z].transpose("y", "x", "component"), padded_by_numpy(array[z], (60, 90), 3), -1)
            variance = by_sklearn(array[z], 0, 3)[1].explained_variance_
            np.testing.assert_allclose(found.attrs["explained_variance"][z], variance)
        np.testing.assert_array_equal(found["z"], np.arange(planes))
        assert found.attrs["scale"] == [1, 6, 90 / 16]
        colours = project(given_, (planes, 60, 90))
        assert colours.dims == ("z", "y", "x", "rgb")
        whole = [pca(xr.DataArray(plane, dims=("c", "y", "x")), "c")[:10] for plane in array]
        np.testing.assert_array_equal(colours, np.stack(whole))

    def test_a_batch_axis_of_one_is_left_out_and_names_of_dims_do_not_count(self):
        array = correlated((6, 16, 16))
        named = xr.DataArray(array, dims=("features", "row", "column"))
        xr.testing.assert_identical(project(array[None], (50, 60)), project(named, (50, 60)))

    def test_an_array_in_a_store_is_read_lazily(self, tmp_path):
        array = np.stack([correlated((6, 16, 16), seed=seed) for seed in range(2)])[:, None]
        stored = zarr.create_array(tmp_path / "a.zarr", data=array, chunks=(1, 1, 6, 16, 16))
        found = project(stored, (2, 50, 60))
        assert dask.is_dask_collection(found.data)
        xr.testing.assert_equal(found.compute(), project(array, (2, 50, 60)))

    def test_at_least_one_pixel_is_left(self):
        assert project(correlated((6, 8, 8)), (1000, 3)).shape == (8, 1, 3)

    def test_complaints(self):
        array = correlated((6, 8, 8))
        with pytest.raises(ValueError, match="an embedding does not tell the shape of its image"):
            project(array)
        for wrong in ((5,), (0, 5), (5.0, 5), 5, (1, 2, 3, 4)):
            with pytest.raises(ValueError, match="shape is that of the image"):
                project(array, wrong)
        for given_, shape in ((array, (1, 9, 9)), (array[None], (2, 9, 9)), (np.stack([array] * 2), (9, 9))):
            with pytest.raises(ValueError, match=r"dims and . planes, which does not fit shape="):
                project(given_, shape)
        with pytest.raises(ValueError, match=r"an embedding is .* not of shape"):
            project(array[0], (9, 9))
        with pytest.raises(ValueError, match="the embedding is empty"):
            project(array[:, :0], (9, 9))
        with pytest.raises(TypeError, match="embeddings are an array of real numbers or a Zarr group"):
            project("embedding", (9, 9))
        with pytest.raises(ValueError, match="a colour has 3 components"):
            project(array, (9, 9), 2)


def write_tiles(
    shape: tuple[int, int],
    tile_shape: tuple[int, int],
    halo: tuple[int, int],
    lead: tuple[int, ...] = (1,),
    dtype: Any = np.float32,
    size: int = 16,
) -> zarr.Group:
    group = zarr.create_group(zarr.storage.MemoryStore())
    group.attrs.update(shape=list(shape), tile_shape=list(tile_shape), halo=list(halo))
    rows, columns = (-(-n // tile) for n, tile in zip(shape, tile_shape, strict=True))
    for i in range(rows * columns):
        array = correlated((*lead, 6, size, size), len(lead), seed=i % 2 * 100, dtype=dtype) * (1 + i)
        group.create_array(str(i), data=array.astype(dtype), chunks=array.shape)
    return group


def inner_tiles(group: zarr.Group) -> list[list[np.ndarray]]:
    """The embeddings (..., c, h, w) of tiles without padding and halo, cut as micro-sam's module does, by rows."""
    (height, width), (high, wide), (halo_y, halo_x) = (group.attrs[name] for name in ("shape", "tile_shape", "halo"))
    number, rows = 0, []
    for top in range(0, height, high):
        row = []
        for left in range(0, width, wide):
            tile = group[str(number)][:]
            bottom, right = min(top + high, height), min(left + wide, width)
            begin = max(top - halo_y, 0), max(left - halo_x, 0)
            outer = min(bottom + halo_y, height) - begin[0], min(right + halo_x, width) - begin[1]
            if outer[0] > outer[1]:
                tile = tile[..., : int(outer[1] / outer[0] * tile.shape[-1])]
            elif outer[1] > outer[0]:
                tile = tile[..., : int(outer[0] / outer[1] * tile.shape[-2]), :]
            scale = tile.shape[-2] / outer[0], tile.shape[-1] / outer[1]
            cut = [
                slice(int(np.round((a - start) * s)), int(np.round((b - start) * s)))
                for a, b, start, s in zip((top, left), (bottom, right), begin, scale, strict=True)
            ]
            row.append(tile[(..., *cut)])
            number += 1
        rows.append(row)
    return rows


def join_evenly(group: zarr.Group) -> np.ndarray:
    """The embedding (..., c, h, w) of tiles, all resized to the resolution of the first."""
    from skimage.transform import resize

    rows = inner_tiles(group)
    ends = []
    for size, tile, first in zip(group.attrs["shape"], group.attrs["tile_shape"], rows[0][0].shape[-2:], strict=True):
        ends.append([0] + [round(min(end, size) * first / min(tile, size)) for end in range(tile, size + tile, tile)])
    (y_ends, x_ends), joined = ends, []
    for i, row in enumerate(rows):
        parts = []
        for j, part in enumerate(row):
            part = part.astype(np.result_type(part.dtype, np.float32))
            for axis, size in ((-2, y_ends[i + 1] - y_ends[i]), (-1, x_ends[j + 1] - x_ends[j])):
                shape = [*part.shape]
                shape[axis] = size
                part = resize(part, shape)
            parts.append(part)
        joined.append(np.concatenate(parts, axis=-1))
    return np.concatenate(joined, axis=-2)


def join_by_numpy(group: zarr.Group) -> np.ndarray:
    """The embedding (..., c, h, w) of tiles, joined as micro-sam's module does, with a loop over the tiles."""
    from skimage.transform import resize

    def taller(arrays: list[np.ndarray], axis: int) -> list[np.ndarray]:
        size = max(array.shape[axis] for array in arrays)
        shapes = [[*array.shape] for array in arrays]
        for shape in shapes:
            shape[axis] = size
        return [resize(array, shape) for array, shape in zip(arrays, shapes, strict=True)]

    rows = [np.concatenate(taller(row, -2), axis=-1) for row in inner_tiles(group)]
    return np.concatenate(taller(rows, -1), axis=-2)


def tiles_of_positions(shape: tuple[int, int], tile_shape: tuple[int, int], halo: tuple[int, int]) -> zarr.Group:
    """Tiles of an encoder whose three features are the pixel's own y and x in the image, and nothing."""
    group, size = zarr.create_group(zarr.storage.MemoryStore()), 64
    group.attrs.update(shape=list(shape), tile_shape=list(tile_shape), halo=list(halo))
    corners = [(y, x) for y in range(0, shape[0], tile_shape[0]) for x in range(0, shape[1], tile_shape[1])]
    for number, corner in enumerate(corners):
        begin = [max(low - rim, 0) for low, rim in zip(corner, halo, strict=True)]
        end = [min(low + n + rim, of) for low, n, rim, of in zip(corner, tile_shape, halo, shape, strict=True)]
        step = max(np.subtract(end, begin)) / size
        middles = (np.arange(size) + 0.5) * step - 0.5
        y, x = np.meshgrid(begin[0] + middles, begin[1] + middles, indexing="ij")
        group.create_array(str(number), data=np.stack([y, x, 0 * y])[None])
    return group


TILINGS = {
    "tiles that fit, halo 0": ((64, 96), (32, 32), (0, 0)),
    "halo": ((64, 96), (32, 32), (8, 8)),
    "smaller tiles at the border": ((100, 75), (32, 32), (6, 6)),
    "tiles and halo not square": ((90, 110), (40, 25), (4, 9)),
    "one tile": ((50, 30), (64, 64), (8, 8)),
    "one row": ((30, 100), (64, 40), (8, 0)),
}


class TestTiles:
    @pytest.mark.parametrize("tiling", TILINGS.values(), ids=list(TILINGS))
    @pytest.mark.parametrize("lead", [(), (1,), (3,), (3, 1)], ids=str)
    def test_tiles_are_cut_resized_joined_and_projected_together(self, tiling, lead):
        group = write_tiles(*tiling, lead)
        found = project(group, as_rgb=False)
        assert dask.is_dask_collection(found.data)
        joined = join_evenly(group)
        planes = joined.reshape(-1, *joined.shape[-3:])
        pictures = found.values if lead in ((3,), (3, 1)) else found.values[None]
        for picture, plane in zip(pictures, planes, strict=True):
            assert_same(picture, by_sklearn(plane, 0, 3)[0], 0)
        scale = [n / own for n, own in zip(tiling[0], joined.shape[-2:], strict=True)]
        assert found.attrs["scale"][-2:] == scale
        for dim, n, step in zip("yx", joined.shape[-2:], scale, strict=True):
            np.testing.assert_allclose(found[dim], [(i + 0.5) * step - 0.5 for i in range(n)])

    def test_float16_tiles_are_resized_as_float32(self):
        group = write_tiles((100, 75), (32, 32), (6, 6), dtype=np.float16)
        joined = join_evenly(group)
        assert_same(project(group, as_rgb=False), by_sklearn(joined[0], 0, 3)[0], 0)

    def test_colours_of_tiles_are_scaled_jointly(self):
        group = write_tiles((100, 75), (32, 32), (6, 6))
        values = project(group, as_rgb=False).transpose("y", "x", "component").values
        found = project(group, (100, 75))
        assert found.dims == ("y", "x", "rgb")
        np.testing.assert_array_equal(found, colours_of(values))

    def test_one_plane_is_a_volume_if_shape_or_tiles_say_so(self):
        tiling = ((64, 96), (32, 32), (4, 4))
        image = project(write_tiles(*tiling))
        for found in (project(write_tiles(*tiling), (1, 64, 96)), project(write_tiles(*tiling, (1, 1)))):
            assert found.dims == ("z", "y", "x", "rgb")
            np.testing.assert_array_equal(found[0], image)

    def test_a_tile_too_thin_for_the_embedding_keeps_one_pixel(self):
        assert project(write_tiles((64, 65), (32, 32), (0, 0))).sizes["x"] == 33
        assert project(write_tiles((12, 12), (2, 2), (12, 12), size=4)).shape == (6, 6, 3)

    @pytest.mark.parametrize("halo", [0, 64])
    @pytest.mark.parametrize("shape", [(1100, 1100), (1500, 1300)])
    def test_tiles_at_the_border_that_the_encoder_saw_larger_keep_their_place(self, shape, halo):
        found = project(tiles_of_positions(shape, (1024, 1024), (halo, halo)), n_components=2, as_rgb=False)
        # The components are the positions turned and centred; where a pixel says it is, up to that, by least squares.
        values = np.column_stack([*found.values.reshape(2, -1), np.ones(found.y.size * found.x.size)])
        coords = np.stack(np.meshgrid(found.y, found.x, indexing="ij")).reshape(2, -1).T
        said = values @ np.linalg.lstsq(values, coords, rcond=None)[0]
        assert np.abs(said - coords).max() < (1024 + halo) / 64
        assert max(found.attrs["scale"]) < 1.1 * (1024 + halo) / 64

    def test_tiles_of_one_size_are_joined_as_they_are(self):
        group = write_tiles((64, 96), (32, 32), (0, 0))
        whole = np.concatenate([np.concatenate([group[str(3 * i + j)][0] for j in range(3)], -1) for i in range(2)], -2)
        assert_same(project(group, as_rgb=False), by_sklearn(whole, 0, 3)[0], 0)

    def test_a_tiled_embedding_lies_where_the_image_does(self):
        y, x = np.indices((96, 128)) / 32
        image = np.stack([np.sin(y), np.cos(x), np.sin(y + x), np.cos(y - 2 * x)])
        group = zarr.create_group(zarr.storage.MemoryStore())
        group.attrs.update(shape=[96, 128], tile_shape=[32, 32], halo=[0, 0])
        for i in range(12):
            row, column = divmod(i, 4)
            tile = image[:, row * 32 : row * 32 + 32, column * 32 : column * 32 + 32]
            group.create_array(str(i), data=tile.reshape(1, 4, 16, 2, 16, 2).mean(axis=(3, 5)))
        found = project(group, as_rgb=False)
        whole = xr.DataArray(image, dims=("c", "y", "x"), coords={"y": range(96), "x": range(128)})
        small = whole.coarsen(y=2, x=2).mean()
        xr.testing.assert_allclose(found.drop_attrs(), pca(small, "c", as_rgb=False).drop_attrs())

    def test_complaints(self):
        def group(**attrs: Any) -> zarr.Group:
            made = write_tiles((64, 96), (32, 32), (4, 4))
            made.attrs.update(attrs)
            return made

        with pytest.raises(ValueError, match="the group of tiles has no attribute 'shape'"):
            project(zarr.create_group(zarr.storage.MemoryStore()))
        for wrong in ({"halo": [-1, 0]}, {"tile_shape": [0, 5]}, {"shape": [1, 2, 3]}, {"halo": 4}):
            with pytest.raises(ValueError, match=r"the attribute .* of the tiles is \(y, x\) in pixels, not"):
                project(group(**wrong))
        with pytest.raises(ValueError, match="the group has no tile '6', but by its attributes it has 8 tiles"):
            project(group(shape=[64, 120]))
        with pytest.raises(ValueError, match=r"the tiles are of an image of \(64, 96\) pixels"):
            project(group(), (96, 64))
        with pytest.raises(ValueError, match="which does not fit shape="):
            project(group(), (2, 64, 96))
        several = group()
        del several["1"]
        several.create_array("1", data=np.zeros((1, 5, 16, 16)))
        with pytest.raises(ValueError, match="the tiles differ in dims, planes or channels"):
            project(several)
        del several["1"]
        several.create_array("1", data=np.zeros((1, 6, 16, 0)))
        with pytest.raises(ValueError, match="tile '1' is no embedding"):
            project(several)
