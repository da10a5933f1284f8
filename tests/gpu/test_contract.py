"""The whole contract on CuPy arrays: every call gives what it gives for numpy, and gives it on the device.

Without a GPU these tests are skipped here, and run on a stand-in for CuPy by ``tests/test_gpu.py``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import xlabelstats
from xlabelstats.kernels import kernels_for, on_device
from xlabelstats.labels.aggregate import aggregate

cp = pytest.importorskip("cupy", reason="CuPy is not installed; the extras are called gpu and gpu-cuda13")
# Which registers .cupy.
pytest.importorskip("cupy_xarray", reason="cupy-xarray is not installed; the extra is called test")


def devices() -> int:
    try:
        return cp.cuda.runtime.getDeviceCount()
    except Exception:
        return 0


pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not devices(), reason="there is no GPU that CuPy can use"),
    pytest.mark.filterwarnings("ignore:.*are cropped"),
    pytest.mark.filterwarnings("ignore:the mask of 0 and 255 has"),
]

# Sums are added in any order on a device.
ROUNDING = 1e-12
EVERY = ("count", "sum", "mean", "var", "std", "skew", "kurtosis", "min", "max", "valid")
SHAPES = ("area", "bbox", "centroid", "extent", "area_bbox", "equivalent_diameter_area", "axis_major_length",
          "inertia_tensor", "inertia_tensor_eigvals", "eccentricity", "orientation")  # fmt: skip
BOUNDARIES = {
    2: ("perimeter", "perimeter_crofton", "euler_number", "circularity", "compactness", "touches_border"),
    3: ("euler_number", "surface_area", "sphericity", "touches_border"),
}
MOMENTS = ("moments", "moments_central", "moments_normalized")
HISTOGRAMS = ("entropy", "most_frequent", "uniformity")
MERGING = ("pearson", "covariance", "slope", "overlap", "k1", "k2")
WEIGHTED = ("intensity_mean", "intensity_std", "centroid_weighted", "moments_weighted", "moments_weighted_central")


def totals(pixels: Any, power: int = 1) -> Any:
    # Infinities of both signs have no sum.
    with np.errstate(invalid="ignore"):
        return (pixels.astype(np.float64) ** power).sum(axis=1)[:, None]


def shares(pixels: Any) -> Any:
    means = (pixels + 1.0).mean(axis=1)
    return means / means.sum()


def pixels_of(window: Any) -> Any:
    return (window != 0).sum()[None]


def channels_of(image: xr.DataArray) -> xr.DataArray:
    return image if "c" in image.dims else image.expand_dims(c=1)


def corners(batch: Any) -> Any:
    return batch.reshape(len(batch), -1)[:, [0, 0, -1]].astype(np.float32)


def on_finer_grid(image: xr.DataArray, mask: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """The two with coordinates: along the last dim the image's pixels are half as large, the first of them outside."""
    dim = mask.dims[-1]
    x = np.arange(mask.sizes[dim], dtype=float)
    return image.assign_coords({dim: x / 2 - (x.size > 1)}), mask.assign_coords({dim: x})


Call = Callable[[xr.DataArray, xr.DataArray], Any]

# Of any image and mask.
CALLS: dict[str, Call] = {
    "aggregate": lambda image, mask: image.labels.aggregate(mask, EVERY),
    "aggregate with NaN": lambda image, mask: image.labels.aggregate(mask, EVERY, skipna=False, background=True),
    "aggregate of some labels": lambda image, mask: image.labels.aggregate(mask, labels=[3, 1, 77], ddof=1),
    "aggregate by weight": lambda image, mask: image.labels.aggregate(mask, weights=mask % 3),
    "aggregate by weights along a dim, with NaN": lambda image, mask: image.labels.aggregate(
        mask, weights=(mask % 3).isel({mask.dims[-1]: 0}), skipna=False, labels=[3, 1, 77]
    ),
    "aggregate on another grid": lambda image, mask: on_finer_grid(image, mask)[0].labels.aggregate(
        on_finer_grid(image, mask)[1], EVERY, align="nearest"
    ),
    "windows on another grid": lambda image, mask: on_finer_grid(image, mask)[0].instances.windows(
        on_finer_grid(image, mask)[1], align="nearest"
    ),
    "count alone": lambda image, mask: image.labels.aggregate(mask, "count"),
    "mean": lambda image, mask: image.labels.mean(mask),
    "scan": lambda image, mask: mask.labels.scan(background=True),
    "count": lambda image, mask: mask.labels.count(),
    "center_of_mass": lambda image, mask: mask.labels.center_of_mass(),
    "center_of_mass by weight": lambda image, mask: mask.labels.center_of_mass(image, units="pixel"),
    "radii_and_axes": lambda image, mask: mask.instances.radii_and_axes().radius ** 2,
    "windows": lambda image, mask: image.instances.windows(mask),
    "windows with neighbours": lambda image, mask: image.instances.windows(mask, 4, remove_background=False),
    "windows of the mask": lambda image, mask: mask.instances.windows(3),
    "quantiles": lambda image, mask: image.instances.quantiles(mask, [0, 0.25, 0.6, 1], labels=[3, 1, 77]),
    "histogram": lambda image, mask: image.labels.histogram(mask, [-3, 0, 1, 1, 70, 900], labels=[3, 1, 77]),
    "histogram of even bins": lambda image, mask: image.labels.measure(
        mask, [(name, {"bins": 13, "range": (-5, 300)}) for name in ("histogram", *HISTOGRAMS)], skipna=False
    ),
    "positions of extremes": lambda image, mask: image.labels.measure(mask, ("position_min", "position_max")),
    "positions of extremes with NaN": lambda image, mask: image.labels.measure(
        mask, ("position_min", "position_max"), skipna=False, labels=[3, 1, 77]
    ),
    "quantiles of eight bits": lambda image, mask: (image > 3).labels.quantiles(mask, [0, 0.25, 0.6, 1]),
    "mode": lambda image, mask: aggregate(image, mask, "mode"),
    "mode with NaN": lambda image, mask: aggregate(image, mask, "mode", skipna=False, labels=[3, 1, 77]),
    "median": lambda image, mask: image.instances.median(mask, skipna=False),
    "correlation": lambda image, mask: channels_of(image).labels.correlation(mask, stats=MERGING),
    "correlation with NaN": lambda image, mask: channels_of(image).labels.correlation(
        mask, stats=MERGING, skipna=False, labels=[3, 1, 77]
    ),
    "colocalisation": lambda image, mask: channels_of(image).labels.correlation(
        mask, stats=(*MERGING[3:], "manders", "rwc"), threshold=0.25, background=True
    ),
    "statistics": lambda image, mask: image.instances.statistics(
        mask, totals, dims={"total": 1}, fn_kwargs={"power": 2}, dtype=np.float64
    ),
    "statistics in a window": lambda image, mask: image.instances.statistics(
        mask, totals, dims={"total": 1}, size=3, dtype=np.float64
    ),
    "statistics that compare channels": lambda image, mask: (image > 3).instances.statistics(mask, shares),
    "statistics of the mask": lambda image, mask: mask.instances.statistics(pixels_of, dims={"n": 1}),
    "statistics of windows of the mask": lambda image, mask: mask.instances.statistics(
        pixels_of, dims={"n": 1}, size=2, background=True
    ),
    "featurize": lambda image, mask: image.instances.featurize(mask, corners, size=2, n_features=3),
    "featurize the mask": lambda image, mask: mask.instances.featurize(corners, size=2, n_features=3, batch_size=2),
    "paint numbers": lambda image, mask: mask.labels.paint({1: 0.5, 3: 2.5}),
    "paint a result": lambda image, mask: mask.labels.paint(image.labels.mean(mask, skipna=True), fill_value=-1),
}  # fmt: skip

# Of images and masks in two dims or three.
IN_SPACE: dict[str, Call] = {
    "regionprops of the mask": lambda image, mask: mask.labels.regionprops(
        properties=[name for name in SHAPES + MOMENTS if mask.ndim == 2 or name not in ("eccentricity", "orientation")]
    ),
    "measures of boundaries": lambda image, mask: mask.labels.measure(BOUNDARIES[mask.ndim]),
    "boundaries with statistics": lambda image, mask: image.labels.measure(
        mask, ("mean", "euler_number"), background=True
    ),
    "regionprops of the image": lambda image, mask: image.labels.regionprops(mask, WEIGHTED),
    "regionprops of some labels": lambda image, mask: mask.labels.regionprops(
        properties=["area", "bbox", "moments"], labels=[3, 77], spacing=0.5
    ),
}


def to_device(array: xr.DataArray, chunks: Any = None) -> xr.DataArray:
    """The same DataArray with CuPy pixels; in chunks, if these are given, that are moved one by one."""
    return (array if chunks is None else array.chunk(chunks)).cupy.as_cupy()


def same(found: Any, expected: Any, scale: float = 1.0) -> None:
    """What was found is on the device, lazy if it was made so, and equal to what numpy gave but for rounding."""
    if isinstance(found, xr.DataArray):
        found, expected = found.to_dataset(name="result"), expected.to_dataset(name="result")
    found = found.compute()
    assert list(found) == list(expected)
    assert found.sizes == expected.sizes
    for name, coord in expected.coords.items():
        xr.testing.assert_identical(coord.drop_vars(coord.coords), found[name].drop_vars(found[name].coords))
    for name in expected:
        assert on_device(found[name].data), name
        values, known = found[name].as_numpy(), expected[name]
        assert values.dtype == known.dtype, name
        assert values.attrs == known.attrs
        np.testing.assert_allclose(
            values.astype(float), known.astype(float), rtol=ROUNDING, atol=ROUNDING * scale, err_msg=str(name)
        )


def scale_of(image: xr.DataArray) -> float:
    """The size of what may cancel in a result: powers of pixels and positions."""
    finite = np.abs(np.where(np.isfinite(image), image, 0).astype(float))
    return 1 + max(finite.max(initial=0) ** 2, 1) * image.size**2


@st.composite
def fields(draw: st.DrawFn) -> tuple[xr.DataArray, xr.DataArray, dict[str, int] | None]:
    """An image and a mask of any dtypes, dims and ids, and chunks to cut them in."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=7))
    dims = draw(st.permutations("zyx"))[: len(shape)]
    dtype = np.dtype(draw(st.sampled_from(["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"])))
    limits = np.iinfo(dtype)
    ids = np.array([0, 1, 3, limits.max, limits.max - 1, limits.min], dtype)
    mask = xr.DataArray(ids[draw(hnp.arrays(np.intp, shape, elements=st.integers(0, len(ids) - 1)))], dims=dims)
    kind = np.dtype(draw(st.sampled_from(["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"])))
    channels = draw(st.integers(1, 3))
    if kind.kind == "f":
        numbers = st.floats(-1000, 1000, width=16) | st.sampled_from([np.nan, np.inf, -np.inf, -0.0])
    else:
        numbers = st.booleans() if kind.kind == "b" else st.integers(*(int(n) for n in _whole_in_float(kind)))
    values = draw(hnp.arrays(kind, (*shape, channels), elements=numbers))
    image = xr.DataArray(values, dims=(*dims, "c"), name="signal").transpose(*draw(st.permutations((*dims, "c"))))
    chunks = draw(st.none() | st.fixed_dictionaries(dict.fromkeys((*dims, "c"), st.integers(1, 4))))
    return image, mask, chunks


def _whole_in_float(dtype: np.dtype) -> tuple[int, int]:
    """The integers of a dtype whose sums are exact, so that rounding does not depend on the order."""
    limits = np.iinfo(dtype)
    return max(limits.min, -(2**20)), min(limits.max, 2**20)


def on_both(call: Call, image: xr.DataArray, mask: xr.DataArray, chunks: Any = None) -> tuple[Any, Any]:
    """What a call gives for CuPy arrays and for numpy arrays, both in the same chunks."""
    of_mask = None if chunks is None else {dim: chunks[dim] for dim in mask.dims}
    found = call(to_device(image, chunks), to_device(mask, of_mask))
    expected = call(image, mask) if chunks is None else call(image.chunk(chunks), mask.chunk(of_mask)).compute()
    return found, expected


@pytest.mark.parametrize("name", [*CALLS, *IN_SPACE])
class TestEveryCall:
    call_of = CALLS | IN_SPACE

    @pytest.mark.parametrize("chunks", [None, {"c": 2, "y": 130, "x": 111}], ids=["at once", "in chunks"])
    def test_gives_for_real_nuclei_what_it_gives_for_numpy(self, name, chunks, nuclei2d):
        image, mask = nuclei2d
        image, mask = image[..., :300, :300], mask[:300, :300]
        if "c" not in image.dims:
            image = xr.concat([image, image * 2], "c")
        if chunks is None:
            image, mask = image[..., :150, :150], mask[:150, :150]
        found, expected = on_both(self.call_of[name], image, mask, chunks)
        same(found, expected, scale=float(image.max()))

    @settings(max_examples=15, deadline=None)
    @given(field=fields())
    def test_gives_for_any_field_what_it_gives_for_numpy(self, name, field):
        image, mask, chunks = field
        if name in IN_SPACE and mask.ndim == 1:
            return
        found, expected = on_both(self.call_of[name], image, mask, chunks)
        same(found, expected, scale_of(image))

    def test_holds_for_more_labels_than_fit_in_a_chunk(self, name, nuclei2d, monkeypatch):
        monkeypatch.setattr("xlabelstats.engine.merge_tree.LABELS_PER_CHUNK", 5)
        monkeypatch.setattr("xlabelstats.engine.merge_tree.FAN_IN", 2)
        image, mask = (array[..., :120, :120] for array in nuclei2d)
        found, expected = on_both(self.call_of[name], image.expand_dims(c=2), mask, {"c": 1, "y": 50, "x": 40})
        same(found, expected, scale=float(image.max()))

    def test_leaves_its_input_as_it_was(self, name, nuclei2d):
        image, mask = (to_device(array[..., 50:120, 50:120]) for array in nuclei2d)
        before = image.as_numpy(), mask.as_numpy()
        self.call_of[name](image, mask)
        xr.testing.assert_identical(image.as_numpy(), before[0])
        xr.testing.assert_identical(mask.as_numpy(), before[1])

    def test_moves_no_pixels_to_main_memory(self, name, nuclei2d, monkeypatch):
        image, mask = (to_device(array[..., :150, :150]) for array in nuclei2d)
        kernels, moved = kernels_for(mask.data), []
        to_host = kernels.to_host
        monkeypatch.setattr(kernels, "to_host", lambda array: moved.append(array.size) or to_host(array))
        self.call_of[name](image, mask)
        # Ids, and where the objects lie: a few numbers for each of them.
        assert max(moved, default=0) <= 4 * 10 * mask.ndim


class TestTypes:
    def test_one_on_the_device_and_one_in_main_memory_is_an_error_that_says_which_to_move(self, nuclei2d):
        image, mask = nuclei2d
        for call in (
            lambda image, mask: image.labels.aggregate(mask),
            lambda image, mask: mask.labels.center_of_mass(image),
            lambda image, mask: image.labels.regionprops(mask, ["intensity_mean"]),
            lambda image, mask: image.instances.windows(mask, 5),
            lambda image, mask: image.instances.median(mask),
        ):
            with pytest.raises(
                TypeError, match=r"the image is on the GPU .* the mask in main memory .*mask\.cupy\.as_c"
            ):
                call(to_device(image), mask)
            with pytest.raises(
                TypeError, match=r"the mask is on the GPU .* the image in main memory .* mask\.as_numpy"
            ):
                call(image, to_device(mask).chunk(100))
        with pytest.raises(TypeError, match=r"the mask is on the GPU .* the values in main memory"):
            to_device(mask).labels.paint(mask.labels.count())

    @pytest.mark.parametrize(("stats", "engine"), [("mean", "flox"), (("mean", "prod"), "fused"), ("first", "fused")])
    def test_flox_has_no_path_for_cupy_and_the_error_says_how_to_go_on(self, stats, engine, nuclei2d):
        image, mask = (to_device(array[..., :60, :60]) for array in nuclei2d)
        what = "engine='flox'" if engine == "flox" else "prod by flox" if "prod" in stats else f"{stats} by flox"
        message = rf"^{what}, which has no CuPy path, runs in main memory, .* on the GPU .*: image.as_numpy"
        for a, b in ((image, mask), (image.chunk(30), mask.chunk(30))):
            with pytest.raises(TypeError, match=message):
                aggregate(a, b, stats, engine=engine)

    def test_functions_and_models_get_arrays_of_the_device(self, nuclei2d):
        image, mask = (to_device(array[..., :90, :90]) for array in nuclei2d)
        seen = []

        def note(pixels):
            seen.append(on_device(pixels))
            return totals(pixels)

        def model(batch):
            seen.append(on_device(batch))
            return corners(batch)

        image.instances.statistics(mask, note, dims={"n": 1})
        image.chunk(50).instances.featurize(mask.chunk(50), model, size=9, n_features=3).compute()
        assert len(seen) > 2
        assert all(seen)

    def test_a_function_with_channels_and_numbers_swapped_is_an_error(self, nuclei2d):
        image, mask = (to_device(array[..., :90, :90]) for array in nuclei2d)
        with pytest.raises(ValueError, match="fn has channels and numbers swapped"):
            xr.concat([image, image], "c").instances.statistics(
                mask, lambda p: cp.stack([p.max(axis=1), p.min(axis=1)]), dims={"n": 2}
            )

    def test_a_lazy_result_knows_that_it_is_on_the_device(self, nuclei2d):
        image, mask = (to_device(array[..., :90, :90]).chunk(50) for array in nuclei2d)
        for result in (image.labels.mean(mask), image.instances.median(mask), mask.labels.center_of_mass()):
            assert on_device(result.data)
            assert isinstance(result.as_numpy().data, np.ndarray)
        assert on_device(image.instances.windows(mask, 5).image.data)

    def test_a_mask_without_objects_gives_an_empty_result_on_the_device(self, nuclei2d):
        image = to_device(nuclei2d[0][..., :20, :20])
        nothing = to_device(xr.zeros_like(nuclei2d[1][:20, :20]))
        for a, b in ((image, nothing), (image.chunk(9), nothing.chunk(9))):
            assert a.labels.aggregate(b).sizes["label"] == 0
            for result in (a.labels.mean(b), a.instances.median(b), a.instances.windows(b, 3).image):
                assert result.sizes["label"] == 0
                assert on_device(result.compute().data)
            # What dask puts together of chunks without labels are numpy arrays.
            a = a.expand_dims(c=2) if a.chunks is None else a.expand_dims(c=2).chunk(c=1)
            painted = b.labels.paint(a.labels.mean(b)).compute()
            assert on_device(painted.data)
            assert painted.as_numpy().isnull().all()

    @pytest.mark.parametrize("chunks", [None, 130], ids=["at once", "in chunks"])
    def test_cupy_xarray_takes_there_and_back(self, chunks, nuclei2d):
        image, mask = nuclei2d
        known = xr.Dataset({"image": image, "mask": mask})
        fields = (known if chunks is None else known.chunk(chunks)).cupy.as_cupy()
        result = fields.image.labels.aggregate(fields.mask)
        for found in (result.as_numpy(), result.cupy.as_numpy().compute()):
            assert all(isinstance(variable.data, np.ndarray) for variable in found.variables.values())
            xr.testing.assert_allclose(found, image.labels.aggregate(mask), rtol=ROUNDING)

    @pytest.mark.parametrize(
        "made",
        [
            lambda array: array.chunk(y=130, x=111),
            lambda array: array.copy(data=da.from_array(array.data, chunks=100, name=False)),
        ],
        ids=["chunk", "from_array"],
    )
    def test_what_is_there_already_may_be_cut_into_blocks(self, made, nuclei2d):
        image, mask = nuclei2d
        found = made(to_device(image)).labels.aggregate(made(to_device(mask)), EVERY)
        same(found, image.labels.aggregate(mask, EVERY), scale=float(image.max()))

    @pytest.mark.parametrize("name", ["aggregate", "scan", "windows", "quantiles", "measures of boundaries"])
    def test_blocks_may_hold_hundreds_of_labels(self, name):
        rng = np.random.default_rng(0)
        mask = xr.DataArray(np.kron(rng.permutation(400).reshape(20, 20), np.ones((5, 5), int)), dims=("y", "x"))
        image = xr.DataArray(rng.integers(0, 999, mask.shape).astype("u2"), dims=("y", "x"))
        found, expected = on_both((CALLS | IN_SPACE)[name], image, mask, {"y": 97, "x": 96})
        same(found, expected, scale=999)

    def test_a_mask_that_changed_since_its_scan_is_an_error(self, nuclei2d):
        image, mask = (array[..., :60, :60] for array in nuclei2d)
        held = {"labels": to_device(mask).data}
        lazy = xr.DataArray(
            da.from_array(held["labels"], chunks=30, name=False).map_blocks(lambda block: block * held.get("n", 1)),
            dims=mask.dims,
        )
        result = to_device(image).chunk(30).instances.median(lazy)
        held["n"] = 2
        with pytest.raises(RuntimeError, match="the mask has changed since it was scanned"):
            result.compute()


class TestWhatRunsInMainMemory:
    def test_says_so_by_name_and_says_how_to_move(self, nuclei2d):
        pytest.importorskip("matplotlib")
        from xlabelstats import pipeline, plot
        from xlabelstats.compat.harpy import RasterAggregator
        from xlabelstats.embeddings import pca
        from xlabelstats.patches import LabelPatches, XarrayImageStack

        image, mask = (to_device(array[..., :60, :60]) for array in nuclei2d)
        result = image.labels.aggregate(mask)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            calls = {
                "instances.regionprops": lambda: mask.instances.regionprops(["solidity"]),
                "num_components": lambda: mask.labels.measure("num_components"),
                "mask.labels.overlap": lambda: mask.as_numpy().labels.overlap(mask),
                "mask.labels.relate": lambda: mask.labels.relate(mask.as_numpy()),
                "mask.labels.contacts": lambda: mask.labels.contacts(),
                "to_dataframe": lambda: result.labels.to_dataframe(),
                "a step": lambda: pipeline.connected_components(mask),
                "the projection": lambda: pca(image.expand_dims(k=3), "k"),
                "LabelPatches": lambda: LabelPatches(image, mask, 8),
                "an image stack": lambda: XarrayImageStack(image),
                "measurement": lambda: plot.measurement(mask.as_numpy(), result["mean"]),
                "the drop-in class": lambda: RasterAggregator(
                    mask.data[None], image.data[None, None], run_on_gpu=False
                ),
                "mask.labels.expand": lambda: mask.labels.expand(2),
                "mask.labels.shrink": lambda: mask.labels.shrink(2),
                "mask.labels.distance_to": lambda: mask.labels.distance_to(mask, 2),
                "shells=": lambda: image.labels.measure(mask, "mean", shells=[2]),
                "texture": lambda: image.labels.measure(mask, "texture_contrast").compute(),
                "the choice of labels": lambda: image.labels.mean(mask, labels=cp.asarray([1, 3])),
                "the choice of quantiles": lambda: image.instances.quantiles(mask, cp.asarray([0.5])),
            }
            for name, call in calls.items():
                with pytest.raises(
                    TypeError, match=rf"^{name} runs in main memory, .* on the GPU .*(\.as_|cupy\.as)numpy"
                ):
                    call()

    def test_lazy_results_are_computed_together_before_they_are_moved(self, nuclei2d):
        image, mask = (to_device(array[..., :60, :60], 40) for array in nuclei2d)
        result = image.labels.aggregate(mask)
        for call in (lambda: result.labels.to_dataframe(), lambda: result.labels.rollup({1: 1})):
            with pytest.raises(TypeError, match=r"on the GPU .*: result\.compute\(\)\.as_numpy\(\)"):
                call()
        reads = []

        def read(block: np.ndarray) -> np.ndarray:
            reads.append(block.size)
            return block

        pixels = da.from_array(nuclei2d[0].values, chunks=200).map_blocks(read, meta=np.empty((0, 0), "u1"))
        lazy = xr.DataArray(pixels, dims=nuclei2d[0].dims).cupy.as_cupy()
        known = to_device(nuclei2d[1], 200)
        for moved in (
            lambda: lazy.labels.aggregate(known).compute().as_numpy(),
            lambda: lazy.labels.aggregate(known).cupy.as_numpy().compute(),
        ):
            reads.clear()
            moved()
            assert sum(reads) == pixels.size

    def test_a_result_is_stored_from_main_memory(self, nuclei2d, tmp_path):
        image, mask = (to_device(array[..., :60, :60]).chunk(40) for array in nuclei2d)
        windows = image.instances.windows(mask, 9)
        with pytest.raises(TypeError, match=r"^to_zarr writes from main memory, .* result\.as_numpy\(\)"):
            xlabelstats.to_zarr(windows, tmp_path / "windows.zarr")
        moved = windows.cupy.as_numpy()
        assert moved.chunks == windows.chunks
        stored = xlabelstats.to_zarr(moved, tmp_path / "windows.zarr")
        xr.testing.assert_equal(stored.compute(), windows.as_numpy())

    @pytest.mark.parametrize("name", ["overlay", "measurement", "gallery"])
    def test_so_do_pictures(self, name, nuclei2d):
        pytest.importorskip("matplotlib")
        from xlabelstats import plot

        image, mask = (to_device(array[..., :60, :60]) for array in nuclei2d)
        calls = {
            "overlay": lambda: plot.overlay(image, mask),
            "measurement": lambda: plot.measurement(mask, {1: 2.0}),
            "gallery": lambda: plot.gallery(image.instances.windows(mask, 9)),
        }
        with pytest.raises(TypeError, match=f"^{name} runs in main memory"):
            calls[name]()


class TestReproducible:
    def test_ten_runs_agree_to_rounding(self, nuclei2d):
        image, mask = (to_device(array) for array in nuclei2d)
        runs = [image.labels.aggregate(mask, EVERY).as_numpy() for _ in range(10)]
        for other in runs[1:]:
            xr.testing.assert_allclose(other, runs[0], rtol=ROUNDING)
        quantiles = [image.instances.quantiles(mask).as_numpy() for _ in range(10)]
        for other in quantiles[1:]:
            xr.testing.assert_identical(other, quantiles[0])


class TestPerPosition:
    CALLS: ClassVar[dict[str, Call]] = {
        "aggregate": lambda image, mask: image.labels.aggregate(mask, (*EVERY, "median"), per="t"),
        "some labels": lambda image, mask: image.labels.aggregate(mask, labels=[3, 1, 77], per="t"),
        "center_of_mass": lambda image, mask: mask.labels.center_of_mass(image, per="t"),
        "windows": lambda image, mask: image.instances.windows(mask, per="t"),
        "featurize": lambda image, mask: image.instances.featurize(mask, corners, size=2, n_features=3, per="t"),
        "statistics": lambda image, mask: image.instances.statistics(
            mask, totals, dims={"total": 1}, dtype=np.float64, per="t"
        ),
        "paint": lambda image, mask: mask.labels.paint(image.labels.mean(mask, per="t")),
    }

    @pytest.mark.parametrize("chunks", [None, {"t": 2, "c": 1, "y": 5, "x": 4}], ids=["at once", "in chunks"])
    @pytest.mark.parametrize("name", CALLS)
    @pytest.mark.parametrize("dims", ["tyx", "ytx", "yxt"])
    def test_gives_what_it_gives_for_numpy(self, name, chunks, dims):
        rng = np.random.default_rng(0)
        mask = xr.DataArray(rng.integers(0, 5, (3, 9, 8)), dims=("t", "y", "x")).transpose(*dims)
        image = xr.DataArray(rng.integers(0, 99, (3, 2, 9, 8)).astype("u2"), dims=("t", "c", "y", "x"))
        found, expected = on_both(self.CALLS[name], image, mask, chunks)
        same(found, expected, scale=99)
