"""What is computed of an array from a store carries nothing of how that was stored."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from calls import CALLS
from conftest import blobs

import xlabelstats
from xlabelstats import pipeline
from xlabelstats.embeddings import pca

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*(does not have a Zarr V3|not part in the Zarr format 3) specification"),
    pytest.mark.filterwarnings("ignore:.*objects reach beyond their window:UserWarning"),
]

STORAGE = {"_FillValue", "missing_value", "scale_factor", "add_offset", "valid_range", "dtype"}
PACKING = {"dtype": "u2", "scale_factor": 0.5, "add_offset": -1.0, "_FillValue": 65535}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of an image, a mask and coordinates that are all packed."""
    rng = np.random.default_rng(0)
    fields = xr.Dataset(
        {
            "image": (("c", "y", "x"), rng.integers(1, 199, (2, 30, 26)) * 0.5, {"valid_range": [0, 400]}),
            "mask": (("y", "x"), blobs((30, 26), 6)),
        },
        coords={"c": [1.5, 2.5], "y": np.arange(30) * 0.5, "x": np.arange(26) * 0.5, "plate": 3.5},
    )
    path = tmp_path_factory.mktemp("encoding") / "fields.zarr"
    encoding = dict.fromkeys(("image", "c", "y", "x", "plate"), PACKING) | {"mask": {"_FillValue": 65535}}
    fields.to_zarr(path, consolidated=False, encoding=encoding)
    return path


@cache
def opened(path: Path, decoded: bool, lazy: bool) -> tuple[xr.DataArray, xr.DataArray]:
    """The image, and the mask over it, which xarray would read as floats if it decoded it; the same in all tests."""
    fields = xr.open_zarr(
        path, consolidated=False, mask_and_scale={"mask": False, **dict.fromkeys(("c", "y", "x", "plate"), decoded)}
    )
    image = xr.open_zarr(path, consolidated=False, mask_and_scale=decoded)["image"]
    assert PACKING.keys() <= (image.encoding if decoded else {**image.attrs, "dtype": None}).keys()
    mask = fields["mask"]
    return (image, mask) if lazy else (image.load(), mask.load())


def variables(result: Any) -> dict[Any, xr.Variable]:
    """All variables of a result, the coordinates too."""
    if isinstance(result, xr.DataArray):
        return {"itself": result.variable} | {name: coord.variable for name, coord in result.coords.items()}
    assert isinstance(result, xr.Dataset)
    assert result.encoding == {}
    return dict(result.variables)


def stored(result: Any) -> dict[Any, Any]:
    """What the variables of a result say of how they were stored."""
    found = {name: [v.encoding, STORAGE & v.attrs.keys()] for name, v in variables(result).items()}
    return {name: each for name, each in found.items() if any(each)}


STEPS: dict[str, Callable[[xr.DataArray, xr.DataArray], xr.DataArray]] = {
    "gaussian": lambda i, m: pipeline.gaussian(i, 1),
    "map_blocks": lambda i, m: pipeline.map_blocks(i, lambda block: block - 1.5, dtype="f8"),
    "threshold": lambda i, m: pipeline.threshold(i, "otsu"),
    "predict": lambda i, m: pipeline.predict(i, lambda block: block[0]),
    "connected_components": lambda i, m: pipeline.connected_components(m),
    "watershed": lambda i, m: pipeline.watershed(m, i.isel(c=0), min_distance=2),
    "voronoi": lambda i, m: pipeline.voronoi(m, pipeline.centroids(m)),
    "scaled_intensity": lambda i, m: pipeline.scaled_intensity(i, box=2),
    "pca": lambda i, m: pca(i, "c", n_components=1, as_rgb=False),
}

RESULTS: dict[str, Callable[[xr.DataArray, xr.DataArray], Any]] = {
    **STEPS,
    **{name: call.run for name, call in CALLS.items() if name not in ("labels.ids", "labels.to_dataframe")},
    "instances.windows(mask), whole x": lambda i, m: i.instances.windows(m, {"y": 5}),
    "labels.paint(image)": lambda i, m: m.labels.paint(
        i.labels.mean(m).assign_attrs(scale_factor=2.0, missing_value=0.0)
    ),
    "dataset.labels.mean": lambda i, m: xr.Dataset({"a": i, "m": m}).labels.mean("m"),
    "dataset.labels.regionprops": lambda i, m: xr.Dataset({"a": i}).labels.regionprops(m, ("area", "intensity_mean")),
    "dataset.labels.paint": lambda i, m: xr.Dataset({"a": i, "m": m}).labels.paint("m", m.labels.count()),
    "dataset.instances.windows": lambda i, m: xr.Dataset({"a": i}).instances.windows(m, {"y": 5}),
    "dataset.instances.quantiles": lambda i, m: xr.Dataset({"a": i}).instances.quantiles(m, 0.5),
    "masks": lambda i, m: xr.Dataset(
        {
            "expand": m.labels.expand(1),
            "shrink": m.labels.shrink(1),
            "keep": m.labels.keep(m.labels.ids()[:2]),
            "clear_border": m.labels.clear_border(),
            "relabel": m.labels.relabel(),
        }
    ),
    "count_map": lambda i, m: pipeline.count_map(m, 7),
    "scaled_intensity, in all": lambda i, m: pipeline.scaled_intensity(i),
    "Cache(None)": lambda i, m: pipeline.Cache(None).run("image", lambda image: image, i),
    "Cache(None), Dataset": lambda i, m: pipeline.Cache(None).run("image", lambda a: xr.Dataset({"a": a}), i),
}


@pytest.mark.parametrize("name", RESULTS)
def test_no_result_carries_how_its_input_was_stored(store, name):
    for decoded in (True, False):
        for lazy in (True, False):
            image, mask = opened(store, decoded, lazy)
            before = {name: (v.encoding.copy(), v.attrs.copy()) for name, v in variables(image).items()}
            assert stored(RESULTS[name](image, mask)) == {}
            assert {name: (v.encoding, v.attrs) for name, v in variables(image).items()} == before


@pytest.mark.parametrize("step", [lambda a: a, lambda a: a.to_dataset(name="a"), lambda a: a.rename(y="row")])
def test_no_cache_in_a_folder_keeps_how_an_input_was_stored(store, tmp_path, step):
    for decoded in (True, False):
        image, _ = opened(store, decoded, lazy=True)
        found = pipeline.Cache(tmp_path / str(decoded)).run("image", step, image)
        assert stored(found) == {}
        xr.testing.assert_equal(found.compute(), step(image).compute())


class TestStoredAgain:
    """Results are written by xarray and by `to_zarr`, and read as they were computed."""

    @pytest.fixture
    def image(self, tmp_path) -> xr.DataArray:
        pixels = xr.DataArray(np.arange(4, dtype="u2"), dims="x", name="image").chunk(x=2)
        pixels.to_dataset().to_zarr(tmp_path / "image.zarr", consolidated=False)
        return xr.open_zarr(tmp_path / "image.zarr", consolidated=False)["image"]

    def test_negative_numbers_of_a_uint16_image(self, image, tmp_path):
        result = pipeline.map_blocks(image, lambda block: block - np.float32(1.5), dtype="f4")
        for written in (
            xlabelstats.to_zarr(result, tmp_path / "a.zarr"),
            pipeline.Cache(None).run("a", lambda: result),
        ):
            assert written.dtype == "f4"
            assert written.values.tolist() == [-1.5, -0.5, 0.5, 1.5]

    @pytest.mark.parametrize("decoded", [True, False])
    @pytest.mark.parametrize(
        "name", ["gaussian", "threshold", "labels.mean", "instances.windows(mask)", "labels.paint"]
    )
    def test_results_of_a_packed_image(self, store, tmp_path, name, decoded):
        result = RESULTS[name](*opened(store, decoded, lazy=True))
        expected = (result if isinstance(result, xr.Dataset) else result.to_dataset(name="a")).compute()
        expected.to_zarr(tmp_path / "xarray.zarr", consolidated=False)
        xr.testing.assert_identical(xr.open_zarr(tmp_path / "xarray.zarr", consolidated=False).compute(), expected)
        again = xlabelstats.to_zarr(expected.chunk(), tmp_path / "ours.zarr")
        xr.testing.assert_identical(again.compute(), expected)

    @pytest.mark.parametrize("name", STEPS)
    def test_steps_of_ragged_chunks(self, store, tmp_path, name):
        image, mask = opened(store, True, lazy=True)
        chunks = {"y": (3, 20, 7), "x": (5, 5, 16)}
        result = STEPS[name](image.chunk(c=1, **chunks), mask.chunk(chunks))
        bare = result.data
        assert [sizes for sizes in bare.chunks if len(set(sizes[:-1])) > 1 or sizes[-1] > sizes[0]] == []
        result.to_dataset(name="a").to_zarr(tmp_path / "a.zarr", consolidated=False)
        np.testing.assert_array_equal(xr.open_zarr(tmp_path / "a.zarr", consolidated=False)["a"], bare.compute())

    def test_what_was_opened_and_is_written_as_it_is_stays_packed(self, store, tmp_path):
        fields = xr.open_zarr(store, consolidated=False)
        again = xlabelstats.to_zarr(fields, tmp_path / "again.zarr")
        xr.testing.assert_identical(again.compute(), fields.compute())
        for name in ("image", "y"):
            encoding = again[name].encoding
            assert {key: encoding[key] for key in PACKING} == PACKING
