"""What models make of the windows of objects."""

from __future__ import annotations

import re
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from conftest import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from loops import (
    IMAGE,
    MASK,
    Heavy,
    Model,
    by_loop,
    featurize,
    field,
    fields,
    ids_in_order,
    moments,
    picture,
    pixels_of,
    sizes,
    windows,
)


class TestFeaturize:
    @pytest.mark.parametrize("alone", [True, False])
    @pytest.mark.parametrize("chunk", [None, 100, 33])
    def test_is_the_model_of_the_windows_of_the_nuclei(self, nuclei2d, chunk, alone):
        image, mask = nuclei2d if chunk is None else (array.chunk(chunk) for array in nuclei2d)
        result = featurize(image, mask, moments, size=20, n_features=3, remove_background=alone, dtype=float)
        ids = ids_in_order(image, mask)
        cells = by_loop(mask.values, image.values, pixels_of(mask.values), ids, [20, 20], alone)[0]
        assert result.dims == ("label", "feature")
        assert result["label"].values.tolist() == ids
        assert (result.chunks is None) == (chunk is None)
        np.testing.assert_array_equal(result, moments(cells[:, None]))

    @settings(max_examples=30, deadline=None)
    @given(data=st.data(), alone=st.booleans(), batch=st.none() | st.integers(1, 5))
    def test_channels_are_the_other_dims_in_the_images_order(self, data, alone, batch):
        image, mask = data.draw(fields())
        image = image.copy(data=image.data.view(f"u{image.dtype.itemsize}")) if image.dtype.kind == "f" else image
        size = data.draw(sizes(mask.dims))
        other = [dim for dim in image.dims if dim not in mask.dims]
        c = int(np.prod([image.sizes[dim] for dim in other], dtype=int))
        model = Model()
        options = {"size": size, "remove_background": alone, "batch_size": batch}
        result = featurize(image, mask, moments, n_features=3 * c, dtype=float, **options)
        expected = windows(image.compute(), mask.compute(), size, remove_background=alone)["image"].values
        expected = moments(expected.reshape(len(expected), c, *expected.shape[1 + len(other) :]))
        np.testing.assert_array_equal(result.sortby("label"), expected)
        featurize(image, mask, model, n_features=1, **options).compute(scheduler="synchronous")
        n = result.sizes["label"]
        step = batch or max(n, 1)
        counts = sorted((min(step, n - first) for first in range(0, n, step)), reverse=True)
        found = sorted((shape[0] for shape, _ in model.batches), reverse=True)
        assert found == counts
        for shape, dtype in model.batches:
            assert shape[1] == c
            assert len(shape) == 2 + mask.ndim
            assert dtype == image.dtype.newbyteorder("=")

    @pytest.mark.parametrize("lazy", [False, True])
    def test_of_a_mask_is_one_channel_of_labels(self, lazy):
        mask = MASK.astype(np.uint16)
        array = mask.chunk(5) if lazy else mask
        model = Model()
        result = featurize(
            array,
            lambda batch: np.stack([batch.max(axis=(1, 2, 3)), (batch > 0).sum(axis=(1, 2, 3))], 1),
            size=30,
            n_features=2,
        )
        assert (result.values == np.stack([result["label"], [(mask == i).sum() for i in result["label"]]], 1)).all()
        featurize(array, model, size=4, n_features=1).compute()
        assert {dtype for _, dtype in model.batches} == {np.dtype(np.uint16)}
        assert {shape[1:] for shape, _ in model.batches} == {(1, 4, 4)}
        assert result.attrs["long_name"] == "features of the windows of mask"

    @pytest.mark.parametrize("lazy", [False, True])
    def test_the_last_batch_is_short(self, lazy):
        mask = field(np.arange(1, 24).reshape(1, 23))
        model = Model()
        array = mask.chunk(x=6) if lazy else mask
        result = array.instances.featurize(model, size=1, n_features=1, batch_size=10)
        assert (result.values[:, 0] == np.arange(1, 24)).all()
        assert sorted(shape[0] for shape, _ in model.batches) == [3, 10, 10]
        assert result.chunks == (((10, 10, 3), (1,)) if lazy else None)

    def test_batches_are_of_about_16_mib_unless_told(self):
        mask = field(np.arange(1, 301).reshape(15, 20))
        image = picture(mask, "u1", c=64)
        for a, b in ((image, mask), (image.chunk(c=64, y=10, x=10), mask.chunk(10))):
            model = Model()
            a.instances.featurize(b, model, size=128, n_features=1, remove_background=False).compute()
            assert sorted({shape[0] for shape, _ in model.batches}) == [300 % 16, 16]

    @pytest.mark.parametrize("lazy", [False, True])
    def test_dtype_kwargs_and_labels(self, lazy):
        image, mask = (IMAGE.chunk(5), MASK.chunk(5)) if lazy else (IMAGE, MASK)
        ids = np.unique(MASK.values)[1:].tolist()[:0:-1]
        plain = featurize(image, mask, moments, size=5, n_features=3, labels=ids)
        assert (plain.dtype, plain.compute().dtype) == (np.float32, np.float32)
        assert plain["label"].values.tolist() == ids_in_order(image, mask, ids)
        scaled = featurize(
            image, mask, moments, size=5, n_features=3, labels=ids, model_kwargs={"scale": 2}, dtype="f8"
        )
        assert (scaled.dtype, scaled.compute().dtype) == (np.float64, np.float64)
        np.testing.assert_allclose(scaled, 2 * plain, rtol=1e-6)
        counts = featurize(mask, lambda batch: (batch > 0).sum(axis=(2, 3)), size=5, n_features=1, dtype=np.int32)
        assert counts.compute().dtype == np.int32
        none = featurize(image, mask, lambda batch: np.zeros((len(batch), 0)), size=5, n_features=0)
        assert none.compute().shape == (4, 0)

    def test_name_and_attrs(self):
        result = IMAGE.rename("dapi").instances.featurize(MASK, moments, size=25, n_features=np.int64(3))
        assert (result.name, result.attrs) == ("features", {"long_name": "features of the windows of dapi"})
        assert set(result.coords) == {"label"}

    def test_what_a_model_returns_may_be_any_array(self):
        lazy = featurize(MASK, lambda batch: batch.max(axis=(2, 3)).tolist(), size=5, n_features=1)
        assert lazy.values[:, 0].tolist() == lazy["label"].values.tolist()

    def test_the_model_is_in_the_graph_once(self):
        import cloudpickle

        mask = field(blobs((40, 41), 30)).chunk(8)
        model = Heavy()
        result = featurize(picture(mask, c=3), mask, model, size=9, n_features=3, batch_size=2)
        graph = dict(result.__dask_graph__())
        assert result.data.npartitions > 10
        Heavy.packed = 0
        holders = []
        for key, task in graph.items():
            before = Heavy.packed
            cloudpickle.dumps(task)
            holders += [key] * (Heavy.packed > before)
        assert len(holders) == 1
        assert Heavy.packed == 1
        Heavy.packed = 0
        (optimized,) = dask.optimize(result)
        for task in dict(optimized.__dask_graph__()).values():
            cloudpickle.dumps(task)
        assert Heavy.packed == 1

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("returned", [(3,), (3, 1), (2, 2), (3, 2, 1), ()])
    def test_a_wrong_shape(self, lazy, returned):
        mask = field(np.repeat([7, 8, 9], 2))
        mask = mask.chunk(6) if lazy else mask
        message = re.escape(
            f"the model returned the shape {returned} for a batch of shape (3, 1, 4) (labels 7 to 9), not (3, 2): "
            "a row per window and n_features=2 columns"
        )
        with pytest.raises(ValueError, match=message):
            mask.instances.featurize(lambda batch: np.zeros(returned), size=4, n_features=2).compute()

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize(
        ("returned", "dtype"),
        [(complex, "f4"), (float, "i4"), (int, "?"), (str, "f4"), (object, "f4")],
    )
    def test_a_dtype_that_cannot_hold_what_the_model_returns(self, lazy, returned, dtype):
        mask = field(np.repeat([7, 8, 9], 2))
        mask = mask.chunk(6) if lazy else mask
        message = (
            f"the model returned {re.escape(str(np.empty(0, returned).dtype))}.*, which {np.dtype(dtype)} cannot hold"
        )
        with pytest.raises(TypeError, match=message):
            mask.instances.featurize(
                lambda batch: np.ones((len(batch), 2), returned), size=4, n_features=2, dtype=dtype
            ).compute()

    @pytest.mark.parametrize("lazy", [False, True])
    def test_what_the_model_raises_is_passed_on_and_names_the_labels(self, lazy):
        class Full(Exception):
            pass

        def model(batch: np.ndarray) -> np.ndarray:
            if (batch == 9).any():
                raise Full("no room")
            return np.zeros((len(batch), 1))

        mask = field(np.repeat([7, 8, 9, 5], 2))
        mask = mask.chunk(4) if lazy else mask
        for batch_size, span in ((1, "label 9"), (2, "labels 5 to 9" if lazy else "labels 8 to 9")):
            with pytest.raises(Full, match="no room") as caught:
                mask.instances.featurize(model, size=4, n_features=1, batch_size=batch_size).compute()
            (note,) = [note for note in caught.value.__notes__ if "model" in note]
            assert note == f"raised by the model for a batch of {batch_size} windows of shape (1, 4), {span}"


class TestSchedulers:
    def lazies(self) -> list[Any]:
        mask = field(blobs((40, 41), 25).astype(np.int32)).chunk(9)
        image = picture(mask, "f4", c=3).chunk(c=2, y=9, x=9)
        return [
            windows(image, mask, 13, batch_size=4),
            windows(image, mask, 12, remove_background=False),
            windows(mask, 8),
            featurize(image, mask, Heavy(), size=9, n_features=3, batch_size=3).to_dataset(),
        ]

    def test_threads_and_one_thread_give_the_same(self):
        lazies = self.lazies()
        one = dask.compute(*lazies, scheduler="synchronous")
        for _ in range(3):
            for found, expected in zip(dask.compute(*lazies, scheduler="threads", num_workers=8), one, strict=True):
                xr.testing.assert_identical(found, expected)

    def test_a_cluster_gives_the_same(self):
        from distributed import Client

        one = dask.compute(*self.lazies(), scheduler="synchronous")
        with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=":0"):
            for found, expected in zip(dask.compute(*self.lazies()), one, strict=True):
                xr.testing.assert_identical(found, expected)

    def test_processes_give_the_same(self):
        lazies = self.lazies()
        one = dask.compute(*lazies, scheduler="synchronous")
        import cloudpickle

        for lazy, expected in zip(lazies, one, strict=True):
            moved = cloudpickle.loads(cloudpickle.dumps(lazy))
            xr.testing.assert_identical(moved.compute(scheduler="synchronous"), expected)


def test_a_transformer_that_cannot_be_called_is_told_how():
    class Transformer:
        def transform(self, rows):
            return rows

    mask = xr.DataArray([1, 1, 2], dims="x")
    with pytest.raises(TypeError, match=r"but Transformer cannot be called; wrap its method: lambda batch: model\."):
        mask.instances.featurize(Transformer(), size=1, n_features=1)
