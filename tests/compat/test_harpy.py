"""The classes with harpy's signatures: against numpy and scipy on whole arrays, and against harpy where it is there."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from conftest import blobs
from scipy import ndimage
from scipy import stats as scipy_stats

from xlabelstats.compat.harpy import Featurizer, InputError, RasterAggregator, models
from xlabelstats.compat.harpy.devices import _warn_of_cpu

SIX = ("sum", "mean", "count", "var", "kurtosis", "skew")
CHUNKS = [(-1, 20, 25), (2, 20, 25), (1, 60, 70), (3, 7, 70)]


def field(planes: int, dtype: str = "u2") -> tuple[np.ndarray, np.ndarray]:
    """A mask (z, y, x) with gaps in its ids and an object of equal pixels, and an image (c, z, y, x)."""
    mask = blobs((planes, 60, 70), 25).astype(np.int32)
    image = np.random.default_rng(1).gamma(2, 400, (2, *mask.shape)).astype(dtype)
    image[:, mask == np.unique(mask)[3]] = 77
    return mask, image


def lazy(mask: np.ndarray, image: np.ndarray | None = None, chunks: Any = (-1, 20, 25)) -> tuple[Any, ...]:
    arrays = da.from_array(mask, chunks=chunks), image if image is None else da.from_array(image, chunks=(2, *chunks))
    return arrays if image is not None else arrays[:1]


def aggregator(mask: np.ndarray, image: np.ndarray | None = None, **options: Any) -> RasterAggregator:
    return RasterAggregator(*lazy(mask, image), run_on_gpu=False, **options)


def featurizer(mask: np.ndarray, image: np.ndarray | None = None, chunks: Any = (-1, 20, 25)) -> Featurizer:
    return Featurizer(*lazy(mask, image, chunks), run_on_gpu=False)


def by_scipy(name: str, pixels: np.ndarray) -> np.ndarray:
    """A statistic of pixels (channel, pixel), per channel."""
    pixels = pixels.astype(np.float64)
    if name == "count":
        return np.array([pixels.shape[1]])
    if name in ("skew", "kurtosis"):
        constant = np.ptp(pixels, axis=1) == 0
        return np.array([0.0 if c else getattr(scipy_stats, name)(p) for p, c in zip(pixels, constant, strict=True)])
    return getattr(np, name)(pixels, axis=1)


def window_by_numpy(array: np.ndarray, mask: np.ndarray, label: int, d: int, alone: bool = True) -> np.ndarray:
    """The window (..., z, d, d) of one label from array (..., z, y, x)."""
    padded = np.pad(np.where(mask == label, array, 0) if alone else array, [(0, 0)] * (array.ndim - 2) + [(d, d)] * 2)
    y, x = (round(float(np.mean(axis))) - d // 2 + d for axis in np.nonzero(mask == label)[1:])
    return padded[..., y : y + d, x : x + d]


def projection(batch: np.ndarray, embedding_dimension: int, scale: float = 1) -> np.ndarray:
    flat = batch.reshape(len(batch), -1).astype(np.float64)
    matrix = np.random.default_rng(3).normal(size=(flat.shape[1], embedding_dimension))
    return scale * flat @ matrix


def extent(pixels: np.ndarray) -> np.ndarray:
    """(c, N) -> (c, 3)."""
    return np.stack([pixels.min(axis=1), pixels.max(axis=1), np.full(len(pixels), pixels.shape[1])], axis=1)


def objects(mask: np.ndarray) -> np.ndarray:
    return np.unique(mask[mask != 0])


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fails(*args: Any, **kwargs: Any) -> Any:
    raise ZeroDivisionError("on purpose")


class TestAggregator:
    @pytest.mark.parametrize("planes", [1, 4])
    @pytest.mark.parametrize("dtype", ["u2", "f4"])
    @pytest.mark.parametrize("chunks", CHUNKS)
    def test_every_table_is_scipys_with_background(self, planes, dtype, chunks):
        mask, image = field(planes, dtype)
        measured = RasterAggregator(*lazy(mask, image, chunks), run_on_gpu=False)
        ids = np.unique(mask)
        assert ids[0] == 0
        with pytest.warns(UserWarning, match="is NaN, as for equal pixels, and given as 0"):
            tables = dict(zip(SIX, measured.aggregate_stats(SIX), strict=True))
        tables |= {name: getattr(measured, f"aggregate_{name}")() for name in ("sum", "mean", "var", "max", "min")}
        for name, table in tables.items():
            assert list(table.columns) == ([0, "cell_ID"] if name == "count" else [0, 1, "cell_ID"])
            np.testing.assert_array_equal(table["cell_ID"], ids)
            expected = np.array([by_scipy(name, image[:, mask == label]) for label in ids])
            np.testing.assert_allclose(table.drop(columns="cell_ID"), expected, rtol=1e-9, atol=1e-9)
        assert tables["max"][0].dtype == tables["min"][1].dtype == image.dtype
        assert table["cell_ID"].dtype == mask.dtype

    @pytest.mark.parametrize("planes", [1, 4])
    @pytest.mark.parametrize("chunks", CHUNKS)
    def test_area_and_centre_need_no_image(self, planes, chunks):
        mask, _ = field(planes)
        measured = RasterAggregator(
            *lazy(mask, chunks=chunks), instance_key="cell", instance_size_key="size", run_on_gpu=False
        )
        ids, counts = np.unique(mask, return_counts=True)
        area = measured.aggregate_area()
        assert list(area.columns) == ["cell", "size"]
        np.testing.assert_array_equal(area, np.stack([ids, counts], axis=1))
        (count,) = measured.aggregate_stats("count")
        np.testing.assert_array_equal(count[0], counts)
        centre = measured.center_of_mass()
        assert list(centre.columns) == [0, 1, 2, "cell"]
        expected = ndimage.center_of_mass(np.ones_like(mask), mask, ids)
        np.testing.assert_array_equal(centre[[0, 1, 2]], expected)
        with pytest.raises(InputError, match="mean needs an image"):
            measured.aggregate_mean()

    def test_index_comes_in_its_own_order_repeated_and_absent(self):
        mask, image = field(2)
        measured, ids = aggregator(mask, image), objects(mask)
        for index in ([ids[5], ids[0], ids[5]], np.array([ids[2], 0]), pd.Index(ids[::-1])):
            tables = measured.aggregate_stats(("mean", "count", "mean"), index=index)
            expected = [image[:, mask == label].mean(axis=1) for label in index]
            np.testing.assert_array_equal(tables[0]["cell_ID"], index)
            np.testing.assert_allclose(tables[0][[0, 1]], expected)
            pd.testing.assert_frame_equal(tables[0], tables[2])
            np.testing.assert_array_equal(tables[1][0], [(mask == label).sum() for label in index])
            largest = measured.aggregate_max(index)
            assert largest[0].dtype == image.dtype
            np.testing.assert_array_equal(largest[1], [image[1, mask == label].max() for label in index])
            np.testing.assert_allclose(
                measured.center_of_mass(index)[2], [np.nonzero(mask == label)[2].mean() for label in index]
            )

    @pytest.mark.parametrize("dtype", ["u2", "f4"])
    def test_absent_label(self, dtype):
        mask, image = field(1, dtype)
        measured, index = aggregator(mask, image), [1000, objects(mask)[0]]
        with pytest.warns(UserWarning, match="1 of 2 labels is NaN"):
            tables = dict(zip(SIX, measured.aggregate_stats(SIX, index), strict=True))
        tables |= {"max": measured.aggregate_max(index), "min": measured.aggregate_min(index)}
        expected = {"sum": 0, "count": 0, "mean": np.nan, "var": np.nan, "skew": 0, "kurtosis": 0}
        for name, value in (expected | {"max": -np.inf, "min": np.inf}).items():
            np.testing.assert_array_equal(tables[name].iloc[0, :-1], value, err_msg=name)
            assert tables[name].iloc[1, 0] == pytest.approx(by_scipy(name, image[:, mask == index[1]])[0])
        assert measured.center_of_mass(index).iloc[0, :3].isna().all()
        np.testing.assert_array_equal(measured.aggregate_area(index).iloc[0], [1000, 0])

    def test_empty_index_and_no_statistic(self):
        measured = aggregator(*field(1))
        table = measured.aggregate_sum([])
        assert table.shape == (0, 3)
        assert measured.aggregate_area(np.zeros(0, int)).shape == (0, 2)
        assert measured.aggregate_stats(()) == []

    def test_nan_pixel_makes_its_label_nan(self):
        mask, image = field(1, "f4")
        label = objects(mask)[5]
        where = np.argwhere(mask == label)[0]
        image[(0, *where)] = np.nan
        measured = aggregator(mask, image)
        for name in ("sum", "mean", "var", "max", "min"):
            table = getattr(measured, f"aggregate_{name}")().set_index("cell_ID")
            assert np.argwhere(table.isna().to_numpy()).tolist() == [[table.index.get_loc(label), 0]]
        with pytest.warns(UserWarning, match="given as 0"):
            assert measured.aggregate_skew([label])[0].item() == 0
        decile, *_ = featurizer(mask, image).quantiles(diameter=10)
        assert np.isnan(decile.set_index("cell_ID").loc[label, 0])

    def test_warning_points_at_the_caller(self):
        mask, image = field(1)
        constant = [objects(mask)[2], 0]
        for measure in (
            aggregator(mask, image).aggregate_skew,
            aggregator(mask, image).aggregate_kurtosis,
            lambda index: aggregator(mask, image).aggregate_stats("skew", index),
        ):
            with pytest.warns(UserWarning, match="1 of 2 labels is NaN") as caught:
                measure(constant)
            assert caught[0].filename == __file__

    def test_unknown_statistic_is_both_errors(self):
        measured = aggregator(*field(1))
        for kind in (ValueError, AssertionError):
            with pytest.raises(kind, match=r"^Invalid statistic function 'max'; there are: sum, mean"):
                measured.aggregate_stats(("mean", "max"))
        with pytest.raises(InputError, match="1-D"):
            measured.aggregate_sum([[1, 2]])

    def test_statistics_are_of_one_pass(self):
        mask, image = field(1)
        reads = []

        def read(block: np.ndarray) -> np.ndarray:
            reads.append(block.size)
            return block

        labels = da.from_array(mask, chunks=(1, 30, 35))
        pixels = da.from_array(image, chunks=(2, 1, 30, 35)).map_blocks(read, meta=np.empty((0,) * 4, image.dtype))
        measured = RasterAggregator(labels, pixels, run_on_gpu=False)
        with pytest.warns(UserWarning, match="given as 0"):
            measured.aggregate_stats(SIX)
        assert sum(reads) == image.size


class TestInput:
    @pytest.mark.parametrize("made", [RasterAggregator, Featurizer])
    def test_what_does_not_fit_is_an_error(self, made):
        mask, image = lazy(*field(1))
        for bad in (mask.astype(float), mask > 0):
            with pytest.raises(ValueError, match="holds integer labels, not"):
                made(bad, run_on_gpu=False)
        for bad in ((mask[0],), (mask[None],), (mask, image[0]), (mask, image[None]), (mask, image[..., 1:])):
            for kind in (ValueError, AssertionError):
                with pytest.raises(kind):
                    made(*bad, run_on_gpu=False)

    @pytest.mark.parametrize("made", [RasterAggregator, Featurizer])
    def test_gpu_is_warned_of_once_where_there_is_none(self, made, monkeypatch):
        monkeypatch.setitem(sys.modules, "cupy", None)
        arrays = lazy(*field(1))
        _warn_of_cpu.cache_clear()
        with pytest.warns(UserWarning, match="run_on_gpu=True, but .*; the CPU is used") as caught:
            made(*arrays)
        assert caught[0].filename == __file__
        made(*arrays)

    def test_chunks_may_differ_and_arrays_be_numpy(self):
        mask, image = field(4)
        expected = aggregator(mask, image).aggregate_mean()
        for arrays in (
            (da.from_array(mask, chunks=(3, 11, 70)), da.from_array(image, chunks=(1, 2, 60, 13))),
            (mask, image),
        ):
            pd.testing.assert_frame_equal(RasterAggregator(*arrays, run_on_gpu=False).aggregate_mean(), expected)
            ids, windows = Featurizer(*arrays, run_on_gpu=False).extract_instances(9, None)
            assert isinstance(windows, da.Array)
            assert windows.shape == (len(ids), 2, 4, 9, 9)

    def test_empty_mask(self, tmp_path):
        mask = np.zeros((1, 60, 70), np.int32)
        made = featurizer(mask, field(1)[1])
        ids, windows = made.extract_instances(9, None, extract_mask=True, zarr_output_path=tmp_path / "w")
        assert ids.size == 0
        assert [w.shape for w in windows] == [(0, 1, 1, 9, 9), (0, 2, 1, 9, 9)]
        assert made.featurize(3, 9, model=projection)[1].compute().shape == (0, 3)
        assert made.calculate_instance_statistics(9, 3, fn=extent)[1].compute().shape == (0, 2, 3)
        assert made.quantiles(9, [0.5])[0].shape == (0, 3)
        assert made.radii_and_principal_axes(9).shape == (0, 13)


@pytest.mark.parametrize("planes", [1, 4])
@pytest.mark.parametrize("chunks", CHUNKS)
class TestFeaturizer:
    @pytest.mark.parametrize("alone", [True, False])
    def test_windows_are_numpys(self, planes, chunks, alone):
        mask, image = field(planes)
        ids, (labels, pixels) = featurizer(mask, image, chunks).extract_instances(
            15, 20, remove_background=alone, extract_mask=True, batch_size=4
        )
        assert sorted(ids) == objects(mask).tolist()
        assert (labels.dtype, pixels.dtype) == (mask.dtype, image.dtype)
        assert labels.chunksize[0] == pixels.chunksize[0] == 4
        for label, own, cell in zip(ids, labels.compute(), pixels.compute(), strict=True):
            np.testing.assert_array_equal(cell, window_by_numpy(image, mask, label, 15, alone))
            np.testing.assert_array_equal(own, window_by_numpy(mask[None], mask, label, 15, alone))

    def test_features_are_of_windows(self, planes, chunks):
        mask, image = field(planes)
        made = featurizer(mask, image, chunks)
        ids, features = made.featurize(5, 16, model=projection, model_kwargs={"scale": 2}, batch_size=7)
        windows = np.stack([window_by_numpy(image, mask, label, 16) for label in ids])
        assert features.dtype == np.float32
        np.testing.assert_allclose(features, projection(windows, 5, scale=2), rtol=1e-5, atol=1e-2)
        np.testing.assert_array_equal(made.featurize(5, 16, model=projection, scale=2)[1], features)

    def test_statistics_are_of_the_window_of_the_image(self, planes, chunks):
        mask, image = field(planes)
        made = featurizer(mask, image, chunks)
        ids, found = made.calculate_instance_statistics(depth=9, statistic_dimension=3, diameter=9, fn=extent)
        assert found.shape == (len(ids), 2, 3)
        for label, row in zip(ids, found.compute(), strict=True):
            inside = window_by_numpy(mask, mask, label, 9) == label
            if inside.any():
                np.testing.assert_array_equal(row, extent(window_by_numpy(image, mask, label, 9)[:, inside]))
            else:
                assert np.isnan(row).all()

    def test_statistics_of_the_mask_get_its_window(self, planes, chunks):
        mask, image = field(planes)

        def rows(window: np.ndarray) -> np.ndarray:
            assert window.shape == (planes, 8, 8)
            return np.array([window.max(), (window > 0).sum()])

        for made, options in (
            (featurizer(mask, image, chunks), {"extract_image": False}),
            (featurizer(mask, None, chunks), {}),
            (featurizer(mask, None, chunks), {"fn": lambda window: rows(window)[None]}),
        ):
            ids, found = made.calculate_instance_statistics(4, 2, **({"fn": rows} | options))
            assert found.shape == (len(ids), 1, 2)
            for label, row in zip(ids, found[:, 0].compute(), strict=True):
                own = window_by_numpy(mask, mask, label, 8)
                expected = rows(own) if own.any() else [np.nan, np.nan]
                np.testing.assert_array_equal(row, expected)

    def test_quantiles_are_of_the_whole_object(self, planes, chunks):
        mask, image = field(planes)
        made, ids = featurizer(mask, image, chunks), objects(mask)
        tables = made.quantiles(diameter=3, q=[0, 0.25, 0.9], instance_key="cell")
        for q, table in zip([0, 0.25, 0.9], tables, strict=True):
            assert list(table.columns) == [0, 1, "cell"]
            np.testing.assert_array_equal(table["cell"], ids)
            expected = [np.quantile(image[:, mask == label], q, axis=1) for label in ids]
            np.testing.assert_allclose(table[[0, 1]], expected)
        (table,) = made.quantiles(diameter=3, q=0.25, instance_key="cell")
        pd.testing.assert_frame_equal(table, tables[1])
        assert len(made.quantiles(diameter=3)) == 9

    def test_radii_and_axes_are_of_the_whole_object(self, planes, chunks):
        mask, _ = field(planes)
        made, ids = featurizer(mask, None, chunks), objects(mask)
        table = made.radii_and_principal_axes(diameter=3)
        assert list(table.columns) == [*range(12), "cell_ID"]
        np.testing.assert_array_equal(table["cell_ID"], ids)
        for label, row in zip(ids, table.to_numpy()[:, :-1], strict=True):
            positions = np.argwhere(mask == label)
            covariance = np.cov(positions.T) if len(positions) > 2 else np.zeros((3, 3))
            radii, axes = row[:3], row[3:].reshape(3, 3)
            np.testing.assert_allclose(radii**2, np.linalg.eigvalsh(covariance)[::-1], rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-9)
            np.testing.assert_allclose(covariance @ axes.T, axes.T * radii**2, atol=1e-9)
        short = made.radii_and_principal_axes(diameter=3, calculate_axes=False, instance_key="cell")
        assert list(short.columns) == [0, 1, 2, "cell"]
        np.testing.assert_array_equal(short[[0, 1, 2]], table[[0, 1, 2]])


class TestOptions:
    def test_without_an_image_windows_are_of_the_mask(self):
        mask, image = field(1)
        ids, windows = featurizer(mask).extract_instances(9, None)
        again, expected = featurizer(mask, image).extract_instances(9, None, extract_mask=True, extract_image=False)
        np.testing.assert_array_equal(ids, again)
        assert windows.shape == (len(ids), 1, 1, 9, 9)
        np.testing.assert_array_equal(windows, expected)
        shapes = set()

        def model(batch: np.ndarray, embedding_dimension: int) -> np.ndarray:
            shapes.add(batch.shape[1:])
            return batch.reshape(len(batch), -1)[:, :embedding_dimension]

        assert featurizer(mask).featurize(4, 9, model=model)[1].compute().shape == (len(ids), 4)
        assert shapes == {(1, 1, 9, 9)}
        with pytest.raises(InputError, match="quantiles needs an image"):
            featurizer(mask).quantiles(9)

    def test_neither_image_nor_mask_is_an_error(self):
        with pytest.raises(ValueError, match="nothing to extract"):
            featurizer(*field(1)).extract_instances(9, None, extract_image=False)

    def test_diameter_is_twice_the_depth(self):
        made = featurizer(*field(1))
        assert made.extract_instances(None, 6)[1].shape[-1] == 12
        with pytest.raises(ValueError, match="give diameter"):
            made.extract_instances(None, None)

    def test_small_depth_is_an_error_everywhere(self):
        made = featurizer(*field(1))
        for call in (
            lambda: made.extract_instances(20, 9),
            lambda: made.featurize(4, 20, 9, model=projection),
            lambda: made.calculate_instance_statistics(9, 3, 20, fn=extent),
            lambda: made.quantiles(20, depth=9),
            lambda: made.radii_and_principal_axes(20, depth=9),
        ):
            with pytest.raises(ValueError, match="depth=9 is smaller than diameter // 2 = 10"):
                call()

    def test_object_out_of_its_window_is_nan(self):
        mask = np.zeros((1, 20, 20), np.int32)
        mask[0, 0, 0] = mask[0, 19, 19] = 4
        mask[0, 9:11, 9:11] = 6
        made = featurizer(mask, np.ones((2, 1, 20, 20)), chunks=(1, 10, 10))
        ids, found = made.calculate_instance_statistics(3, 3, fn=extent)
        assert dict(zip(ids, np.isnan(found.compute()).all(axis=(1, 2)), strict=True)) == {4: True, 6: False}

    def test_fn_is_required_and_told_of_the_gpu(self):
        made = featurizer(*field(1))
        with pytest.raises(TypeError, match="needs fn"):
            made.calculate_instance_statistics(9, 3)
        told = []

        def fn(pixels: np.ndarray, n: int, run_on_gpu: bool = True) -> np.ndarray:
            told.append(run_on_gpu)
            return np.full((2, 3), n)

        _, found = made.calculate_instance_statistics(9, 3, fn=fn, fn_kwargs={"n": 5}, batch_size=4)
        assert (found.compute() == 5).all()
        assert set(told) == {False}
        assert found.chunksize[0] == 4
        _, again = made.calculate_instance_statistics(
            9, 3, fn=lambda *args, **kwargs: fn(*args, **kwargs), fn_kwargs={"n": 5}
        )
        assert (again.compute() == 5).all()
        # A function that numpy cannot describe the parameters of is called without.
        made.calculate_instance_statistics(9, 2, fn=np.maximum.reduce)

    def test_one_channel_may_be_given_as_one_row(self):
        mask, image = field(1)
        made = featurizer(mask, image[:1])
        ids, found = made.calculate_instance_statistics(30, 2, fn=lambda p: np.array([p.min(), p.max()]))
        np.testing.assert_array_equal(found[:, 0, 1], [image[0, mask == label].max() for label in ids])
        with pytest.raises(ValueError, match="fn returned the shape"):
            featurizer(mask, image).calculate_instance_statistics(30, 2, fn=lambda p: p[0, :2])[1].compute()

    @pytest.mark.parametrize("fn", [lambda p: p.mean(1) / p.mean(), np.mean])
    def test_a_function_gets_the_channels_of_one_chunk_as_from_harpy(self, fn):
        mask, image = field(1)
        chunks = (1, -1, 20, 25)
        made = Featurizer(da.from_array(mask, chunks=chunks[1:]), da.from_array(image, chunks=chunks), run_on_gpu=False)
        ids, found = made.calculate_instance_statistics(30, 1, fn=fn)
        expected = [[[fn(pixels[None])] for pixels in image[:, mask == label]] for label in ids]
        np.testing.assert_allclose(found.compute(), np.reshape(expected, found.shape), rtol=1e-6)

    def test_options_of_map_blocks(self):
        made = featurizer(*field(1))
        with pytest.warns(UserWarning, match="meta, token: an option of dask.array.map_blocks") as caught:
            made.featurize(3, 9, model=projection, meta=np.empty(0), token="a")
        assert caught[0].filename == __file__
        with pytest.warns(UserWarning, match="no effect"):
            made.calculate_instance_statistics(9, 3, fn=extent, name="a")
        with pytest.raises(TypeError, match="no keyword 'lag'"):
            made.calculate_instance_statistics(9, 3, fn=extent, lag=1)
        for call in (
            lambda: made.calculate_instance_statistics(9, 3, fn=extent, dtype="f8"),
            lambda: made.featurize(3, 9, model=projection, chunks=(3, 3)),
        ):
            with pytest.raises(TypeError, match=r"sets '(dtype|chunks)' itself"):
                call()

    def test_model_is_checked_before_anything_is_computed(self):
        made = featurizer(*field(1))
        for kind in (ValueError, AssertionError):
            with pytest.raises(kind, match="embedding_dimension"):
                made.featurize(3, 9, model=lambda batch: batch)
        with pytest.raises(TypeError, match="does not take the keyword 'lag'"):
            made.featurize(3, 9, model=projection, lag=1)
        with pytest.raises(TypeError, match="cannot be called"):
            made.featurize(3, 9, model=None)
        made.featurize(3, 9, model=lambda batch, **kwargs: batch, lag=1)

    def test_default_model_says_that_it_is_none(self):
        made = featurizer(*field(1))
        with pytest.warns(UserWarning, match="placeholder") as caught:
            _, features = made.featurize(3, 9)
        assert caught[0].filename == __file__
        np.testing.assert_array_equal(features, features.compute())
        assert features.dtype == np.float32
        assert np.ptp(features.compute(), axis=0).min() > 0


class TestStores:
    def test_features(self, tmp_path):
        made, path = featurizer(*field(3), (1, 20, 25)), tmp_path / "new" / "features.zarr"
        expected = dict(zip(*made.featurize(5, 16, model=projection), strict=True))
        for intermediate in (False, True):
            path = tmp_path / "new" / f"{intermediate}.zarr"
            ids, features = made.featurize(
                5, 16, model=projection, zarr_output_path=path, store_intermediate=intermediate, batch_size=7
            )
            np.testing.assert_array_equal(da.from_zarr(str(path)), features)
            np.testing.assert_array_equal(features, [expected[label] for label in ids])
            again = {"model": projection, "zarr_output_path": path, "store_intermediate": intermediate}
            with pytest.raises(FileExistsError, match="overwrite=True"):
                made.featurize(5, 16, **again)
            assert made.featurize(3, 16, overwrite=True, **again)[1].shape == (len(ids), 3)
            assert da.from_zarr(str(path)).shape == (len(ids), 3)
        assert left(tmp_path / "new") == ["False.zarr", "True.zarr"]

    def test_a_path_with_a_hash(self, tmp_path):
        made, path = featurizer(*field(1)), tmp_path / "plate#1" / "features#2.zarr"
        for intermediate in (False, True):
            how = {"zarr_output_path": path, "store_intermediate": intermediate, "overwrite": True}
            _, features = made.featurize(5, 16, model=projection, **how)
            np.testing.assert_array_equal(features, made.featurize(5, 16, model=projection)[1])
            assert left(tmp_path / "plate#1") == ["features#2.zarr"]

    def test_features_of_a_mask_by_stored_windows(self, tmp_path):
        made = featurizer(field(2)[0])
        ids, features = made.featurize(
            5, 16, model=projection, zarr_output_path=tmp_path / "a", store_intermediate=True
        )
        again, expected = made.featurize(5, 16, model=projection)
        np.testing.assert_array_equal(ids, again)
        np.testing.assert_array_equal(features, expected)

    def test_windows(self, tmp_path):
        made = featurizer(*field(3), (1, 20, 25))
        ids, expected = made.extract_instances(12, None, extract_mask=True)
        stored, arrays = made.extract_instances(
            12,
            None,
            extract_mask=True,
            zarr_output_path=str(tmp_path / "w"),
            name_instances_mask="m.zarr",
            batch_size=4,
        )
        np.testing.assert_array_equal(ids, stored)
        for name, array, values in zip(("m.zarr", "image.zarr"), arrays, expected, strict=True):
            np.testing.assert_array_equal(array, values)
            np.testing.assert_array_equal(da.from_zarr(str(tmp_path / "w" / name)), values)
            assert zarr.open_array(tmp_path / "w" / name).chunks[0] == 4
        assert left(tmp_path / "w") == ["image.zarr", "m.zarr"]
        with pytest.raises(FileExistsError):
            made.extract_instances(12, None, zarr_output_path=tmp_path / "w")
        made.extract_instances(12, None, extract_mask=True, extract_image=False, zarr_output_path=tmp_path / "w")
        assert left(tmp_path / "w") == ["image.zarr", "m.zarr", "mask.zarr"]
        _, small = made.extract_instances(6, None, zarr_output_path=tmp_path / "w", overwrite=True)
        assert da.from_zarr(str(tmp_path / "w" / "image.zarr")).shape == small.shape == (len(ids), 2, 3, 6, 6)
        with pytest.raises(ValueError, match="different names"):
            made.extract_instances(
                6, None, extract_mask=True, zarr_output_path=tmp_path / "v", name_instances_mask="image.zarr"
            )
        assert left(tmp_path) == ["w"]

    @pytest.mark.parametrize("intermediate", [False, True])
    def test_statistics_and_quantiles_lie_by_channel(self, tmp_path, intermediate):
        made, path = featurizer(*field(3), (1, 20, 25)), tmp_path / "s.zarr"
        options = {"zarr_output_path": path, "store_intermediate": intermediate, "batch_size": 4}
        ids, expected = made.calculate_instance_statistics(9, 3, fn=extent)
        stored, found = made.calculate_instance_statistics(9, 3, fn=extent, **options)
        np.testing.assert_array_equal(ids, stored)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(da.from_zarr(str(path)), expected.transpose(1, 0, 2))
        with pytest.raises(FileExistsError):
            made.quantiles(9, **options)
        assert da.from_zarr(str(path)).shape == (2, len(ids), 3)
        stored, found = made.quantiles(9, [0.1, 0.9], overwrite=True, **options)
        assert found.shape == (2, len(ids), 2)
        assert da.from_zarr(str(path)).chunksize == (2, 4, 2)
        for table, values in zip(made.quantiles(9, [0.1, 0.9]), found.compute(), strict=True):
            np.testing.assert_array_equal(table.set_index("cell_ID").loc[stored], values)
        assert left(tmp_path) == ["s.zarr"]

    @pytest.mark.parametrize("intermediate", [False, True])
    def test_failure_leaves_nothing(self, tmp_path, intermediate):
        made, path = featurizer(*field(1)), tmp_path / "a" / "b" / "s.zarr"
        options = {"zarr_output_path": path, "store_intermediate": intermediate}

        def model(batch: np.ndarray, embedding_dimension: int) -> np.ndarray:
            return fails()

        with pytest.raises(ZeroDivisionError):
            made.featurize(5, 16, model=model, **options)
        with pytest.raises(ZeroDivisionError):
            made.calculate_instance_statistics(9, 3, fn=fails, **options)
        broken = lazy(*field(1))[1].map_blocks(fails, meta=np.empty((0,) * 4))
        with pytest.raises(ZeroDivisionError):
            Featurizer(made._mask.data, broken, run_on_gpu=False).extract_instances(9, None, True, True, True, path)
        assert left(tmp_path) == []

    def test_windows_lie_in_a_store_while_the_model_runs(self, tmp_path):
        seen = set()

        def model(batch: np.ndarray, embedding_dimension: int) -> np.ndarray:
            seen.update(path.name for path in tmp_path.glob(".s.zarr.*.partial/*"))
            return batch.reshape(len(batch), -1)[:, :embedding_dimension]

        path = tmp_path / "s.zarr"
        featurizer(*field(1)).featurize(2, 16, model=model, zarr_output_path=path, store_intermediate=True)
        assert "windows.zarr" in seen
        assert left(tmp_path) == ["s.zarr"]

    def test_failed_overwrite_keeps_what_was_there(self, tmp_path):
        made, path = featurizer(*field(1)), tmp_path / "s.zarr"
        _, before = made.calculate_instance_statistics(9, 3, fn=extent, zarr_output_path=path)
        before = before.compute()
        with pytest.raises(ZeroDivisionError):
            made.calculate_instance_statistics(9, 3, fn=fails, zarr_output_path=path, overwrite=True)
        np.testing.assert_array_equal(da.from_zarr(str(path)).transpose(1, 0, 2), before)
        assert left(tmp_path) == ["s.zarr"]

    def test_what_is_no_store_is_not_overwritten(self, tmp_path):
        (tmp_path / "kept").mkdir()
        (tmp_path / "kept" / "notes.txt").write_text("mine")
        with pytest.raises(FileExistsError, match="no Zarr store"):
            featurizer(*field(1)).quantiles(9, zarr_output_path=tmp_path / "kept", overwrite=True)
        with pytest.raises(ValueError, match="is a URL"):
            featurizer(*field(1)).quantiles(9, zarr_output_path="s3://bucket/q.zarr")

    def test_intermediate_needs_a_path(self):
        made = featurizer(*field(1))
        for call in (
            lambda: made.featurize(5, 16, model=projection, store_intermediate=True),
            lambda: made.calculate_instance_statistics(9, 3, fn=extent, store_intermediate=True),
            lambda: made.quantiles(9, store_intermediate=True),
        ):
            with pytest.raises(ValueError, match="zarr_output_path, which was not given"):
                call()


# harpy's own dependencies warn in many ways.
@pytest.mark.filterwarnings("ignore")
class TestAgainstHarpy:
    @pytest.fixture(scope="class")
    def harpy(self) -> Any:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pytest.importorskip("harpy").utils

    @pytest.fixture(scope="class")
    def arrays(self) -> tuple[Any, Any]:
        rng = np.random.default_rng(5)
        mask = np.zeros((1, 200, 220), np.int32)
        y, x = np.indices(mask.shape[1:])
        for label, (cy, cx) in zip(rng.permutation(90)[:40] + 1, rng.uniform(0, (200, 220), (40, 2)), strict=True):
            a, b = rng.uniform(4, 12, 2)
            mask[0, ((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 < 1] = label
        mask[0, 0, 0] = 200
        image = rng.gamma(2, 400, (2, *mask.shape)).astype(np.float32)
        return da.from_array(mask, chunks=(1, 100, 110)), da.from_array(image, chunks=(2, 1, 100, 110))

    @pytest.mark.parametrize("name", ["RasterAggregator", "Featurizer"])
    def test_signatures_are_the_same(self, harpy, name):
        ours, theirs = {"RasterAggregator": RasterAggregator, "Featurizer": Featurizer}[name], getattr(harpy, name)
        public = [key for key, value in vars(theirs).items() if inspect.isfunction(value) and key[:1] != "_"]
        for key in ["__init__", *public]:
            a, b = (dict(inspect.signature(getattr(made, key)).parameters) for made in (ours, theirs))
            if key == "featurize":
                assert a.pop("overwrite").kind == inspect.Parameter.KEYWORD_ONLY
            assert list(a) == list(b), key
            for parameter in a.values():
                other = b[parameter.name]
                assert parameter.kind == other.kind
                if parameter.name in ("fn", "model"):
                    continue
                if isinstance(other.default, np.ndarray):
                    np.testing.assert_array_equal(parameter.default, other.default)
                else:
                    assert parameter.default == other.default, (key, parameter)

    @pytest.mark.parametrize("index", [None, [7, 200, 500, 3], [0]])
    def test_tables_of_the_aggregator(self, harpy, arrays, index):
        index = None if index is None else np.array(index)
        ours, theirs = (made(*arrays, run_on_gpu=False) for made in (RasterAggregator, harpy.RasterAggregator))
        for a, b in zip(ours.aggregate_stats(SIX[:4], index), theirs.aggregate_stats(SIX[:4], index), strict=True):
            pd.testing.assert_frame_equal(a, b, check_dtype=False, rtol=1e-5)
        for name in ("aggregate_sum", "aggregate_mean", "aggregate_var", "aggregate_max", "aggregate_min"):
            a, b = (getattr(made, name)(index) for made in (ours, theirs))
            pd.testing.assert_frame_equal(a, b, check_dtype=False, rtol=1e-5)
        for name in ("aggregate_skew", "aggregate_kurtosis"):
            # harpy's are of float32 sums; those of scipy are what is right.
            a, b = (getattr(made, name)(index) for made in (ours, theirs))
            pd.testing.assert_frame_equal(a, b, check_dtype=False, rtol=1e-2, atol=1e-2)
        for name in ("aggregate_area", "center_of_mass"):
            a, b = (getattr(made, name)(index) for made in (ours, theirs))
            pd.testing.assert_frame_equal(a, b, check_dtype=False, rtol=1e-5)

    def test_errors_are_of_the_same_types(self, harpy, arrays):
        mask, image = arrays
        for made in (RasterAggregator, harpy.RasterAggregator):
            with pytest.raises(AssertionError, match=r"^Invalid statistic function"):
                made(mask, image, run_on_gpu=False).aggregate_stats("mode")
        for made in (RasterAggregator, harpy.RasterAggregator, Featurizer, harpy.Featurizer):
            with pytest.raises(ValueError, match="integer"):
                made(mask.astype(float), run_on_gpu=False)
            with pytest.raises(AssertionError):
                made(mask[0], run_on_gpu=False)
            with pytest.raises(AssertionError):
                made(mask, image[0], run_on_gpu=False)
        for made in (Featurizer(mask, image, False), harpy.Featurizer(mask, image, False)):
            with pytest.raises(ValueError, match="diameter"):
                made.extract_instances(20, 5)
            with pytest.raises(ValueError, match="extract_image"):
                made.extract_instances(20, 20, extract_image=False)
            with pytest.raises(ValueError, match="zarr_output_path"):
                made.featurize(4, 20, store_intermediate=True, model=projection)
            with pytest.raises(AssertionError, match="embedding_dimension"):
                made.featurize(4, 20, model=fails_without_keywords)

    @pytest.mark.parametrize("diameter", [9, 30])
    @pytest.mark.parametrize("alone", [True, False])
    def test_windows(self, harpy, arrays, diameter, alone):
        found = [
            made(*arrays, run_on_gpu=False).extract_instances(diameter, 20, alone, extract_mask=True)
            for made in (Featurizer, harpy.Featurizer)
        ]
        (a, ours), (b, theirs) = found
        assert isinstance(ours, tuple)
        np.testing.assert_array_equal(np.sort(a), np.sort(b))
        for own, other in zip(ours, theirs, strict=True):
            assert (own.shape, own.dtype) == (other.shape, other.dtype)
            np.testing.assert_array_equal(own.compute()[np.argsort(a)], other.compute()[np.argsort(b)])

    # harpy rounds centres from the first pixel of the block and its overlap, so for halves to be rounded
    # as we do depth and chunks have to be even.
    @pytest.mark.parametrize("diameter", [9, 30])
    def test_features_and_statistics(self, harpy, arrays, diameter):
        ours, theirs = (made(*arrays, run_on_gpu=False) for made in (Featurizer, harpy.Featurizer))
        bare, other = (made(arrays[0], run_on_gpu=False) for made in (Featurizer, harpy.Featurizer))

        def shape(window: np.ndarray) -> np.ndarray:
            return np.array([window.max(), (window > 0).sum()])[None]

        for call, left, right in (
            (lambda made: made.featurize(6, diameter, 20, model=projection, scale=1e-3), ours, theirs),
            (lambda made: made.featurize(6, diameter, 20, model=projection, scale=1e-3), bare, other),
            (lambda made: made.calculate_instance_statistics(20, 3, diameter, fn=extent), ours, theirs),
            (lambda made: made.calculate_instance_statistics(20, 2, diameter, fn=shape), bare, other),
            (
                lambda made: made.calculate_instance_statistics(20, 2, diameter, fn=shape, extract_image=False),
                ours,
                theirs,
            ),
        ):
            (a, found), (b, expected) = call(left), call(right)
            np.testing.assert_array_equal(np.sort(a), np.sort(b))
            found, expected = found.compute(), expected.compute()
            assert found.shape == expected.shape
            np.testing.assert_allclose(found[np.argsort(a)], expected[np.argsort(b)], rtol=1e-5, atol=1e-4)

    @pytest.mark.parametrize("q", [0.3, [0.1, 0.5]])
    def test_quantiles(self, harpy, arrays, q, tmp_path):
        ours, theirs = (made(*arrays, run_on_gpu=False) for made in (Featurizer, harpy.Featurizer))
        for a, b in zip(ours.quantiles(30, q), theirs.quantiles(30, q), strict=True):
            pd.testing.assert_frame_equal(a, b, check_dtype=False, rtol=1e-5)
        (a, found), (b, expected) = (
            made.quantiles(30, q, zarr_output_path=str(tmp_path / name))
            for made, name in ((ours, "ours"), (theirs, "theirs"))
        )
        for one, other in ((found, expected), [da.from_zarr(str(tmp_path / n)) for n in ("ours", "theirs")]):
            assert one.shape == other.shape
            np.testing.assert_allclose(one.compute()[:, np.argsort(a)], other.compute()[:, np.argsort(b)], rtol=1e-5)

    def test_radii_and_axes(self, harpy, arrays):
        ours, theirs = (
            made(*arrays, run_on_gpu=False).radii_and_principal_axes(30) for made in (Featurizer, harpy.Featurizer)
        )
        assert list(ours.columns) == list(theirs.columns)
        np.testing.assert_array_equal(ours["cell_ID"], theirs["cell_ID"])
        np.testing.assert_allclose(ours[[0, 1, 2]], theirs[[0, 1, 2]], rtol=1e-5, atol=1e-5)
        a, b = (table[list(range(3, 12))].to_numpy().reshape(-1, 3, 3) for table in (ours, theirs))
        distinct = (-np.diff(ours[[0, 1, 2]], axis=1) > 1e-3).all(axis=1)
        assert distinct.sum() > 30
        np.testing.assert_allclose(np.abs(np.einsum("nij,nij->ni", a, b)[distinct]), 1, atol=1e-5)

    def test_stores_open_alike(self, harpy, arrays, tmp_path):
        for made, name in ((Featurizer, "ours"), (harpy.Featurizer, "theirs")):
            one, folder = made(*arrays, run_on_gpu=False), tmp_path / name
            one.extract_instances(20, 12, extract_mask=True, zarr_output_path=folder / "windows")
            one.featurize(6, 20, model=projection, zarr_output_path=folder / "f.zarr", store_intermediate=True)
            one.calculate_instance_statistics(12, 3, 20, folder / "s.zarr", True, extent)
        paths = ["windows/image.zarr", "windows/mask.zarr", "f.zarr", "s.zarr"]
        for path in paths:
            a, b = (da.from_zarr(str(tmp_path / name / path)) for name in ("ours", "theirs"))
            assert (a.shape, a.dtype if path != "f.zarr" else None) == (b.shape, b.dtype if path != "f.zarr" else None)
        assert left(tmp_path / "ours") == left(tmp_path / "theirs")


def fails_without_keywords(batch: np.ndarray) -> np.ndarray:
    return batch


def test_placeholder_depends_on_pixels_alone():
    batch = np.random.default_rng(0).random((4, 2, 1, 5, 5))
    features = models.random_projection(batch, 3)
    np.testing.assert_allclose(models.random_projection(batch[2:], 3), features[2:], rtol=1e-4)
    assert features.shape == (4, 3)


def test_mask_is_scanned_once():
    mask, image = field(1)
    reads = []

    def read(block: np.ndarray) -> np.ndarray:
        reads.append(block.size)
        return block

    labels = da.from_array(mask, chunks=(1, 30, 35)).map_blocks(read, meta=np.empty((0, 0, 0), mask.dtype))
    made = Featurizer(labels, da.from_array(image, chunks=(2, 1, 30, 35)), run_on_gpu=False)
    made.extract_instances(9, None)
    made.featurize(3, 9, model=projection)
    made.calculate_instance_statistics(9, 3, fn=extent)
    assert sum(reads) == mask.size
    assert isinstance(made._mask, xr.DataArray)
