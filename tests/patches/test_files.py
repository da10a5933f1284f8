"""Image stacks from files, and in worker processes, against the numpy arrays that were written."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr

from xlabelstats.patches import LabelPatches, XarrayImageStack, load_image_stacks

# Names of channels are strings, which zarr warns are not in its specification yet.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(does not have a Zarr V3|not part in the Zarr format 3) specification"
)

# A worker that hangs is told from one that is slow to start.
PATIENCE = 60


def numbers(shape: tuple[int, ...], dtype: Any = np.uint16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 250, shape).astype(dtype)


def assert_holds(stack: XarrayImageStack, values: np.ndarray, axes: str) -> None:
    """The whole of every sample is that of the values."""
    assert (stack.original_axes, stack.original_data_shape) == (axes, values.shape)
    whole = np.stack(
        [
            stack.extract_patch(i, None, (0,) * (len(stack.data_shape) - 2), stack.data_shape[2:])
            for i in range(stack.data_shape[0])
        ]
    )
    np.testing.assert_array_equal(whole, values.reshape(stack.data_shape))


@pytest.fixture
def plate(tmp_path) -> tuple[str, dict[str, np.ndarray]]:
    """A Zarr group of groups."""
    path = str(tmp_path / "plate.zarr")
    arrays = {"A/01": numbers((2, 9, 8), seed=1), "A/02": numbers((2, 7, 8), seed=2), "B": numbers((3, 4, 4), "f2")}
    for name, values in arrays.items():
        zarr.create_array(path, name=name, data=values, chunks=(1, 4, 4), dimension_names=("c", "y", "x"))
    return path, arrays


@pytest.fixture
def experiment(tmp_path) -> tuple[str, dict[str, np.ndarray]]:
    """An HDF5 file of groups, with dims named by labels or by scales."""
    h5py = pytest.importorskip("h5py")
    path = str(tmp_path / "experiment.h5")
    arrays = {"run/first": numbers((2, 9, 8), seed=1), "second": numbers((5, 6), "f2", 2)}
    with h5py.File(path, "w") as file:
        first = file.create_dataset("run/first", data=arrays["run/first"], chunks=(1, 4, 4))
        for dim, name in zip(first.dims, ("channel", "y", "x"), strict=True):
            dim.label = name
        second = file.create_dataset("second", data=arrays["second"])
        for dim, (name, size) in zip(second.dims, {"y": 5, "x": 6}.items(), strict=True):
            file[name] = np.arange(size)
            file[name].make_scale(name)
            dim.attach_scale(file[name])
        file["note"] = "not an image"
    return path, arrays


class TestInMemory:
    def test_arrays_and_datasets_give_a_stack_each(self):
        a, b = numbers((4, 5)), numbers((2, 4, 5))
        dataset = xr.Dataset(
            {
                "a": (("y", "x"), a),
                "b": (("t", "y", "x"), b),
                "exposure": ("t", [1.0, 2.0]),
                "name": (("y", "x"), a > 3),
            }
        )
        stacks = load_image_stacks([dataset, dataset["a"]])
        for stack, values, axes in zip(stacks, (a, b, a > 3, a), ("YX", "TYX", "YX", "YX"), strict=True):
            assert_holds(stack, values, axes)
        assert len({stack.source for stack in stacks}) == 4

    def test_axes_hold_for_all(self):
        values = numbers((2, 4, 5))
        arrays = [xr.DataArray(values), xr.DataArray(values).chunk(2)]
        for stack in load_image_stacks(arrays, "CYX"):
            assert_holds(stack, values, "CYX")

    def test_what_is_no_source_is_complained_about(self):
        for source in (3, None, np.zeros((2, 2)), b"plate.zarr", {"a": "plate.zarr"}):
            with pytest.raises(TypeError, match=type(source).__name__):
                load_image_stacks(source)
        with pytest.raises(ValueError, match=r"no image.*\['a'\]"):
            load_image_stacks(xr.Dataset({"a": ("y", [1, 2])}))

    def test_bounds_in_datasets_are_left_out(self):
        dataset = xr.Dataset({"image": (("y", "x"), numbers((3, 4))), "y_bnds": (("y", "bnds"), numbers((3, 2)))})
        dataset = dataset.assign_coords(y=("y", np.arange(3.0), {"bounds": "y_bnds"}))
        (stack,) = load_image_stacks(dataset)
        assert_holds(stack, dataset["image"].values, "YX")
        with pytest.raises(ValueError, match=r"dataset\['y_bnds'\], one of 2 arrays .*has the dims \('y', 'bnds'\)"):
            load_image_stacks(dataset.drop_vars("y"))


def with_coordinates() -> xr.Dataset:
    """An image with coordinates of two dims, one of which no array names, and with bounds."""
    image = xr.DataArray(numbers((3, 4)), dims=("y", "x"), attrs={"grid_mapping": "crs: lon"})
    dataset = xr.Dataset({"image": image, "y_bnds": (("y", "bnds"), numbers((3, 2))), "crs": ((), 0)})
    return dataset.assign_coords(
        y=("y", np.arange(3.0), {"bounds": "y_bnds"}),
        lon=(("y", "x"), np.ones((3, 4))),
        corner=(("y", "bnds"), np.ones((3, 2))),
    )


PACKING: list[dict[str, Any]] = [{"scale_factor": 0.5}, {"add_offset": 3.0}, {"_FillValue": 99}, {"missing_value": 99}]


class TestZarr:
    @pytest.mark.parametrize("zarr_format", [2, 3])
    def test_coordinates_of_two_dims_and_bounds_are_left_out(self, tmp_path, zarr_format):
        dataset, path = with_coordinates(), str(tmp_path / "a.zarr")
        dataset.to_zarr(path, zarr_format=zarr_format, group="nested")
        (stack,) = load_image_stacks(path)
        assert stack.source == f"{path}#nested/image"
        assert_holds(stack, dataset["image"].values, "YX")
        assert_holds(load_image_stacks(f"{path}#nested/lon")[0], dataset["lon"].values, "YX")

    @pytest.mark.parametrize("zarr_format", [2, 3])
    @pytest.mark.parametrize("packing", PACKING, ids=str)
    def test_packed_arrays_are_complained_about(self, tmp_path, zarr_format, packing):
        path, dataset = str(tmp_path / "a.zarr"), xr.Dataset({"image": (("y", "x"), numbers((3, 4), float))})
        whole = not packing.keys() & {"scale_factor", "add_offset"}
        encoding = {"image": {"dtype": "i2" if whole else "f8", **packing}}
        dataset.to_zarr(path, zarr_format=zarr_format, encoding=encoding)
        for source in (path, f"{path}#image"):
            with pytest.raises(ValueError, match=rf"#image is packed.*{next(iter(packing))}=.*open it with xarray"):
                load_image_stacks(source)

    def test_a_fill_value_of_zarr_or_of_floats_is_no_packing(self, tmp_path):
        path, values = str(tmp_path / "a.zarr"), numbers((3, 4))
        xr.Dataset({"a": (("y", "x"), values.astype(float))}).to_zarr(path)
        zarr.create_array(path, name="b", data=values, dimension_names=("y", "x"), fill_value=7)
        for stack in load_image_stacks(path):
            assert stack.extract_patch(0, None, (0, 0), (3, 4)).shape == (1, 3, 4)

    def test_axes_that_do_not_fit_one_of_several_arrays_name_it(self, tmp_path):
        path = str(tmp_path / "a.zarr")
        for name, shape in {"flat": (3, 4), "deep": (2, 3, 4)}.items():
            zarr.create_array(path, name=name, data=numbers(shape))
        with pytest.raises(ValueError, match=r"a\.zarr#deep, one of 2 arrays that can be loaded alone.* has 3 dims"):
            load_image_stacks(path, "YX")
        assert load_image_stacks(f"{path}#flat", "YX")[0].data_shape == (1, 1, 3, 4)

    def test_groups_are_walked(self, plate):
        path, arrays = plate
        stacks = load_image_stacks(path)
        assert [stack.source for stack in stacks] == [f"{path}#{name}" for name in sorted(arrays)]
        for stack, name in zip(stacks, sorted(arrays), strict=True):
            assert_holds(stack, arrays[name], "CYX")

    def test_a_source_loads_its_stack_again(self, plate):
        path, arrays = plate
        for stack in load_image_stacks(Path(path)):
            (again,) = load_image_stacks(stack.source)
            assert again.source == stack.source
            assert_holds(again, arrays[stack.source.partition("#")[2]], "CYX")

    def test_a_group_in_a_store_is_walked(self, plate):
        path, arrays = plate
        inside = load_image_stacks(f"{path}#A")
        assert [stack.source for stack in inside] == [f"{path}#A/01", f"{path}#A/02"]
        assert_holds(load_image_stacks(f"{path}/A/01")[0], arrays["A/01"], "CYX")

    def test_an_array_is_named_after_its_file(self, tmp_path):
        path, values = str(tmp_path / "one.zarr"), numbers((3, 4, 5))
        zarr.create_array(path, data=values)
        (stack,) = load_image_stacks(path, "tyx")
        assert stack.source == path
        assert_holds(stack, values, "TYX")

    @pytest.mark.parametrize("zarr_format", [2, 3])
    def test_what_xarray_writes_has_dims_and_coordinates_are_left_out(self, tmp_path, zarr_format):
        values = numbers((2, 6, 7))
        coords = {"channel": ["DAPI", "CD3"], "y": np.arange(6) * 0.5}
        dataset = xr.Dataset({"image": (("channel", "y", "x"), values), "gain": ((), 3.0)}, coords)
        dataset.to_zarr(tmp_path / "x.zarr", zarr_format=zarr_format)
        (stack,) = load_image_stacks(tmp_path / "x.zarr")
        assert stack.source == f"{tmp_path / 'x.zarr'}#image"
        assert_holds(stack, values, "CYX")

    def test_patterns_and_lists_come_in_order(self, plate, tmp_path):
        path, arrays = plate
        zarr.create_array(str(tmp_path / "other.zarr"), data=arrays["B"], dimension_names=("c", "y", "x"))
        stacks = load_image_stacks(f"{tmp_path}/*.zarr")
        assert [stack.source.rpartition("/")[2] for stack in stacks] == ["other.zarr", "01", "02", "plate.zarr#B"]
        twice = load_image_stacks([f"{path}#B", Path(tmp_path / "other.zarr")])
        assert [stack.data_shape for stack in twice] == [(1, 3, 4, 4)] * 2
        assert [stack.source for stack in load_image_stacks(f"{tmp_path}/pl*.zarr#A/02")] == [f"{path}#A/02"]

    def test_names_that_look_like_patterns_are_names(self, tmp_path):
        path = tmp_path / "a[1]#b.zarr"
        zarr.create_array(path, data=numbers((4, 4)), dimension_names=("y", "x"))
        (stack,) = load_image_stacks(path)
        assert stack.source == str(path)

    def test_dims_without_names_are_complained_about(self, tmp_path):
        path = str(tmp_path / "bare.zarr")
        zarr.create_array(path, name="a", data=numbers((4, 4)))
        with pytest.raises(ValueError, match=r"bare\.zarr#a, of shape \(4, 4\).*axes="):
            load_image_stacks(path)
        zarr.create_array(path, name="b", data=numbers((4, 4)), dimension_names=("y", "wavelength"))
        with pytest.raises(ValueError, match=r"bare\.zarr#b has the dims .*'wavelength'"):
            load_image_stacks(f"{path}#b")

    def test_what_is_not_there_is_complained_about(self, plate, tmp_path):
        path, _ = plate
        for nowhere in ("nowhere.zarr", "nowhere/*.zarr", "nowhere.zarr#a"):
            with pytest.raises(FileNotFoundError, match="nothing at"):
                load_image_stacks(tmp_path / nowhere)
        for inside in ("C", "A/03", "C/01", "B/01", "B/01/2"):
            with pytest.raises(ValueError, match=f"nothing of the name '{inside}'"):
                load_image_stacks(f"{path}#{inside}")
        with pytest.raises(ValueError, match="nothing of the name '01'"):
            load_image_stacks(f"{path}/B#01")

    def test_files_of_other_formats_are_complained_about(self, tmp_path):
        (tmp_path / "notes.txt").write_text("not an image")
        with pytest.raises(ValueError, match="neither Zarr nor HDF5"):
            load_image_stacks(tmp_path / "notes.txt")
        zarr.create_array(str(tmp_path / "line.zarr"), name="y", data=np.arange(4))
        with pytest.raises(ValueError, match=r"no image.*: y"):
            load_image_stacks(tmp_path / "line.zarr")


class TestOmeZarr:
    @pytest.mark.parametrize("version", ["0.4", "0.5"])
    def test_an_image_is_its_finest_scale_without_labels(self, tmp_path, version):
        writer = pytest.importorskip("ome_zarr.writer")
        from ome_zarr.format import format_from_version

        values, mask = numbers((2, 3, 32, 32)), numbers((3, 32, 32), np.int32)
        path, form = str(tmp_path / "image.zarr"), format_from_version(version)
        group = zarr.open_group(path, mode="w", zarr_format=form.zarr_format)
        writer.write_image(values, group, axes="czyx", fmt=form)
        writer.write_labels(mask, group, name="nuclei", axes="zyx", fmt=form, scaler=None)
        assert len(list(group.array_keys())) > 1
        (stack,) = load_image_stacks(path)
        assert stack.data_shape == (1, 2, 3, 32, 32)
        assert_holds(stack, values, "CZYX")
        (labels,) = load_image_stacks(f"{path}#labels/nuclei")
        assert_holds(labels, mask, "ZYX")
        (again,) = load_image_stacks(stack.source)
        assert_holds(again, values, "CZYX")
        coarser = sorted(group.array_keys())[1]
        (half,) = load_image_stacks(f"{path}#{coarser}")
        assert (half.original_axes, half.data_shape[-1]) == ("CZYX", 16)

    @pytest.mark.parametrize("axes", [["t", "c", "z", "y", "x"], None])
    def test_older_versions_name_their_dims_otherwise(self, tmp_path, axes):
        path, values = str(tmp_path / "old.zarr"), numbers((2, 1, 3, 8, 8))
        image: dict[str, Any] = {"datasets": [{"path": "s0"}]} | ({"axes": axes} if axes else {})
        zarr.open_group(path, mode="w", zarr_format=2, attributes={"multiscales": [image]})
        zarr.create_array(path, name="s0", data=values, zarr_format=2)
        (stack,) = load_image_stacks(path)
        assert stack.source == f"{path}#s0"
        assert_holds(stack, values, "TCZYX")


class TestHdf5:
    def test_files_are_walked(self, experiment):
        path, arrays = experiment
        first, second = load_image_stacks(path)
        assert [first.source, second.source] == [f"{path}#run/first", f"{path}#second"]
        assert_holds(first, arrays["run/first"], "CYX")
        assert_holds(second, arrays["second"], "YX")

    def test_a_part_of_a_file_is_read(self, experiment):
        path, arrays = experiment
        for inside in ("run", "run/first", "/run/first"):
            (stack,) = load_image_stacks(f"{path}#{inside}")
            assert stack.source == f"{path}#run/first"
            np.testing.assert_array_equal(
                stack.extract_patch(0, [1, 0], (2, -1), (4, 4))[:, :, 1:], arrays["run/first"][::-1, 2:6, :3]
            )
        with pytest.raises(ValueError, match="nothing of the name 'third'"):
            load_image_stacks(f"{path}#third")

    @pytest.mark.parametrize("packing", PACKING, ids=str)
    def test_packed_data_sets_are_complained_about(self, experiment, packing):
        import h5py

        path, _ = experiment
        with h5py.File(path, "a") as file:
            file["run/first"].attrs.update(packing)
        with pytest.raises(ValueError, match=rf"#run/first is packed.*{next(iter(packing))}=.*open it with xarray"):
            load_image_stacks(path)
        assert len(load_image_stacks(f"{path}#second")) == 1

    def test_coordinates_of_two_dims_and_bounds_are_left_out(self, experiment):
        import h5py

        path, _ = experiment
        with h5py.File(path, "a") as file:
            file["run"].attrs["coordinates"] = "lat"
            file["run/first"].attrs["coordinates"] = np.bytes_("lon")
            for name in ("lat", "lon", "loose"):
                file[f"run/{name}"] = numbers((3, 4))
            file["second"].attrs["bounds"] = "run/loose"
        assert [stack.source for stack in load_image_stacks(path)] == [f"{path}#run/first", f"{path}#second"]
        assert_holds(load_image_stacks(f"{path}#run/lat", "YX")[0], numbers((3, 4)), "YX")

    @pytest.mark.parametrize("block", [512, 2048])
    def test_a_file_may_begin_with_a_block_of_the_users_own(self, tmp_path, block):
        h5py = pytest.importorskip("h5py")
        path, values = str(tmp_path / "a.h5"), numbers((3, 4))
        with h5py.File(path, "w", userblock_size=block) as file:
            file["a"] = values
        assert_holds(load_image_stacks(path, "YX")[0], values, "YX")

    def test_empty_data_sets_are_left_out(self, experiment):
        import h5py

        path, _ = experiment
        with h5py.File(path, "a") as file:
            file["nothing"] = h5py.Empty("f4")
        assert len(load_image_stacks(path)) == 2
        with pytest.raises(ValueError, match=r"#nothing holds no image"):
            load_image_stacks(f"{path}#nothing")

    def test_data_sets_are_stacks_even_when_their_file_was_closed(self, experiment):
        import h5py

        path, arrays = experiment
        with h5py.File(path, "r") as file:
            stack = XarrayImageStack(file["second"], "YX")
            lazy = XarrayImageStack(da.from_array(file["second"], chunks=3), "YX")
            assert_holds(stack, arrays["second"], "YX")
        assert_holds(stack, arrays["second"], "YX")
        assert_holds(lazy, arrays["second"], "YX")


def over_zarr(path: Path) -> XarrayImageStack:
    return load_image_stacks(path / "a.zarr")[0]


def over_lazy_xarray(path: Path) -> XarrayImageStack:
    return XarrayImageStack(xr.open_zarr(path / "a.zarr", chunks=None, consolidated=False)["a"])


def over_dask_of_xarray(path: Path) -> XarrayImageStack:
    return XarrayImageStack(xr.open_zarr(path / "a.zarr", consolidated=False)["a"])


def over_dask(path: Path) -> XarrayImageStack:
    return XarrayImageStack(da.from_zarr(str(path / "a.zarr"), component="a"), "YX")


def over_computed_dask(path: Path) -> XarrayImageStack:
    pixels = da.from_zarr(str(path / "a.zarr"), component="a").map_blocks(lambda block: block * 1, dtype="u2")
    return XarrayImageStack(pixels, "YX")


def over_hdf5(path: Path) -> XarrayImageStack:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path / "a.h5", "w") as file:
        file["a"] = zarr.open_array(path / "a.zarr", path="a", mode="r")[...]
    return load_image_stacks(path / "a.h5", "YX")[0]


def over_labels(path: Path) -> LabelPatches:
    image = xr.open_zarr(path / "a.zarr", consolidated=False)["a"]
    mask = xr.DataArray(np.pad([[5]], ((15, 16), (14, 17))), dims=("y", "x"))
    return LabelPatches(image, mask, 20, with_mask=True)


SOURCES = (over_zarr, over_lazy_xarray, over_dask_of_xarray, over_dask, over_computed_dask, over_hdf5, over_labels)


@pytest.fixture
def stored(tmp_path) -> tuple[Path, np.ndarray]:
    values = numbers((32, 32))
    zarr.create_array(tmp_path / "a.zarr", name="a", data=values, chunks=(8, 8), dimension_names=("y", "x"))
    return tmp_path, values


def read(made: XarrayImageStack | LabelPatches) -> np.ndarray:
    """The patch from (5, 4) on, over several chunks."""
    return made[0]["image"] if isinstance(made, LabelPatches) else made.extract_patch(0, None, (5, 4), (20, 20))


def in_worker(how: str, made: Any, times: int = 3) -> list[np.ndarray]:
    """What a worker process reads; an error if it hangs."""
    with multiprocessing.get_context(how).Pool(1) as pool:
        return [pool.apply_async(read, (made,)).get(PATIENCE) for _ in range(times)]


# Newer Pythons warn that a process with threads is forked, which is what is tested.
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
class TestWorkers:
    @pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
    @pytest.mark.parametrize("make", SOURCES)
    def test_forked_read_what_their_parent_has_read_from_before(self, stored, make: Callable):
        path, values = stored
        made = make(path)
        expected = read(made)
        np.testing.assert_array_equal(expected[0], values[5:25, 4:24])
        # Handed down, not pickled: a child of a fork has its parent's objects.
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        child = context.Process(target=lambda: theirs.send(read(made)))
        child.start()
        try:
            assert ours.poll(PATIENCE), "the worker hangs"
            np.testing.assert_array_equal(ours.recv(), expected)
        finally:
            child.kill()
            child.join()
        for found in in_worker("fork", made):
            np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(read(made), expected)

    @pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
    def test_forked_open_hdf5_for_themselves(self, stored):
        stack = over_hdf5(stored[0])
        expected = read(stack)
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()

        def opened() -> None:
            inherited = stack._array._dataset
            again = read(stack)
            theirs.send((not inherited, bool(stack._array._dataset), again))

        child = context.Process(target=opened)
        child.start()
        try:
            assert ours.poll(PATIENCE), "the worker hangs"
            closed, opened_anew, found = ours.recv()
            assert closed
            assert opened_anew
            np.testing.assert_array_equal(found, expected)
        finally:
            child.kill()
            child.join()
        np.testing.assert_array_equal(read(stack), expected)

    def test_spawned_read_what_was_pickled_for_them(self, stored):
        path, values = stored
        sources = [make for make in SOURCES if make is not over_hdf5 or _has("h5py")]
        made = [make(path) for make in sources]
        for each in made:
            read(each)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            for found in pool.map_async(read, made).get(PATIENCE):
                np.testing.assert_array_equal(found[0], values[5:25, 4:24])

    @pytest.mark.parametrize("make", SOURCES)
    def test_a_pickle_holds_no_pixels_of_what_is_on_disk(self, tmp_path, make):
        values = np.random.default_rng(0).integers(0, 2**16, (512, 512), np.uint16)
        zarr.create_array(tmp_path / "a.zarr", name="a", data=values, chunks=(64, 64), dimension_names=("y", "x"))
        if make is over_labels:
            made: Any = over_zarr(tmp_path)
        else:
            made = make(tmp_path)
        read(made)
        pickled = pickle.dumps(made)
        assert len(pickled) < values.nbytes / 4
        np.testing.assert_array_equal(read(pickle.loads(pickled)), read(made))


def _has(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None
