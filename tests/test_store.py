"""Stores that are whole or not there."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from conftest import blobs
from processes import begun

import xlabelstats
from xlabelstats import placement

# Names of channels are strings, which zarr warns are not in its specification yet.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(does not have a Zarr V3|not part in the Zarr format 3) specification"
)


@pytest.fixture
def windows() -> xr.Dataset:
    mask = xr.DataArray(blobs((40, 50), 30), dims=("y", "x"))
    image = xr.DataArray(
        np.random.default_rng(0).random((3, 40, 50)),
        dims=("c", "y", "x"),
        coords={"c": ["DAPI", "CD3", "CD8"]},
    )
    return image.chunk(y=13, x=17, c=2).instances.windows(mask, {"y": 40, "x": 50}, batch_size=4)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestXarraysOwn:
    def test_every_lazy_result_goes_through_as_it_is(self, nuclei2d, tmp_path):
        image, mask = nuclei2d
        image = xr.concat([image, image], dim="c").assign_coords(c=["a", "b"]).chunk(c=1, y=100, x=90)
        mask = mask.chunk(70)
        results = {
            "windows": image.instances.windows(mask, 60),
            "mask windows": mask.instances.windows(60),
            "ragged windows": image.chunk(y=(200, 12, 300)).instances.windows(mask, 60, batch_size=7),
            "quantiles": image.instances.quantiles(mask).to_dataset(),
            "median": image.instances.median(mask).to_dataset(),
            "statistics": image.instances.statistics(
                mask, lambda p: p[:, :2], dims={"s": 2}, batch_size=9
            ).to_dataset(),
            "features": mask.instances.featurize(
                lambda b: b.reshape(len(b), -1)[:, :3], size=60, n_features=3, batch_size=8
            ).to_dataset(),
            "regionprops": mask.instances.regionprops(("euler_number", "area_filled")),
            "radii": mask.instances.radii_and_axes(),
            "aggregate": image.labels.aggregate(mask),
        }
        for name, result in results.items():
            result.to_zarr(tmp_path / name)
            xr.testing.assert_equal(xr.open_zarr(tmp_path / name).compute(), result.compute())


class TestToZarr:
    def test_writes_what_comes_back(self, windows, tmp_path):
        stored = xlabelstats.to_zarr(windows, tmp_path / "new" / "windows.zarr")
        assert stored["image"].chunks is not None
        xr.testing.assert_identical(stored.compute(), windows.compute())
        assert stored["image"].data.chunksize == windows["image"].data.chunksize
        assert names(tmp_path / "new") == ["windows.zarr"]

    @pytest.mark.parametrize("name", ["median", None])
    def test_array_comes_back_as_array(self, windows, tmp_path, name):
        array = windows["image"].rename(name)
        stored = xlabelstats.to_zarr(array, str(tmp_path / "a.zarr"))
        assert isinstance(stored, xr.DataArray)
        xr.testing.assert_equal(stored.compute(), array.compute())

    def test_sorted_windows_with_ragged_chunks_are_written(self, windows, tmp_path):
        in_order = windows.isel(label=slice(1, None)).sortby("label").isel(label=slice(2, None))
        assert len(set(in_order["image"].chunks[0][:-1])) > 1
        xr.testing.assert_identical(xlabelstats.to_zarr(in_order, tmp_path / "a").compute(), in_order.compute())
        xr.testing.assert_equal(
            xlabelstats.to_zarr(in_order["mask"], tmp_path / "b").compute(), in_order["mask"].compute()
        )

    def test_existing_store_is_kept_unless_told(self, windows, tmp_path):
        path = tmp_path / "a.zarr"
        xlabelstats.to_zarr(windows, path)
        with pytest.raises(FileExistsError, match="overwrite=True would replace"):
            xlabelstats.to_zarr(windows + 1, path)
        xr.testing.assert_equal(xr.open_zarr(path, consolidated=False).compute(), windows.compute())
        stored = xlabelstats.to_zarr(windows + 1, path, overwrite=True)
        xr.testing.assert_equal(stored.compute(), (windows + 1).compute())
        assert names(tmp_path) == ["a.zarr"]

    def test_store_can_be_replaced_by_what_is_made_of_it(self, windows, tmp_path):
        path = tmp_path / "a.zarr"
        stored = xlabelstats.to_zarr(windows, path)
        again = xlabelstats.to_zarr(stored + 1, path, overwrite=True)
        xr.testing.assert_equal(again.compute(), (windows + 1).compute())

    def test_what_is_no_zarr_store_is_never_replaced(self, windows, tmp_path):
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "chapter1.txt").write_text("years of work")
        (tmp_path / "notes.txt").write_text("more")
        for name in ("thesis", "notes.txt"):
            with pytest.raises(FileExistsError, match="no Zarr store, and is not overwritten"):
                xlabelstats.to_zarr(windows, tmp_path / name, overwrite=True)
        assert (tmp_path / "thesis" / "chapter1.txt").read_text() == "years of work"

    def test_failed_write_leaves_nothing_and_spares_the_old_store(self, windows, tmp_path):
        def fail(block):
            raise OSError("disk full")

        path = tmp_path / "a.zarr"
        broken = windows.assign(image=windows["image"].copy(data=windows["image"].data.map_blocks(fail, dtype="f8")))
        with pytest.raises(OSError, match="disk full"):
            xlabelstats.to_zarr(broken, path)
        assert names(tmp_path) == []
        xlabelstats.to_zarr(windows, path)
        with pytest.raises(OSError, match="disk full"):
            xlabelstats.to_zarr(broken, path, overwrite=True)
        xr.testing.assert_equal(xr.open_zarr(path, consolidated=False).compute(), windows.compute())
        assert names(tmp_path) == ["a.zarr"]

    def test_link_stays_a_link(self, windows, tmp_path):
        xlabelstats.to_zarr(windows["mask"], tmp_path / "a.zarr")
        (tmp_path / "link").symlink_to(tmp_path / "a.zarr")
        xlabelstats.to_zarr(windows["mask"] + 1, tmp_path / "link", overwrite=True)
        assert (tmp_path / "link").is_symlink()
        stored = xr.open_dataarray(tmp_path / "a.zarr", engine="zarr", consolidated=False)
        xr.testing.assert_equal(stored.compute(), (windows["mask"] + 1).compute())

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
    def test_killed_run_leaves_no_store_and_no_obstacle(self, windows, tmp_path):
        program = """
            import time
            import dask.array as da, numpy as np, xarray as xr, xlabelstats
            def slow(block, block_id):
                (path.parents[1] / f"block {block_id}").touch()
                time.sleep(0.2)
                return block
            data = da.zeros((400, 10), chunks=(1, 10)).map_blocks(slow, meta=np.empty((0, 0)))
            xlabelstats.to_zarr(xr.DataArray(data, dims=("label", "x"), name="w"), path)
        """
        path = tmp_path / "stores" / "a.zarr"
        path.parent.mkdir()
        run = begun(program, path=path)
        while run.is_alive() and len([*tmp_path.glob("block *")]) < 5:
            time.sleep(0.01)
        run.kill()
        run.join()
        assert run.exitcode == -signal.SIGKILL
        (left,) = names(path.parent)
        assert left.endswith(".partial")
        assert not path.exists()
        stored = xlabelstats.to_zarr(windows, path)
        xr.testing.assert_equal(stored.compute(), windows.compute())
        assert names(path.parent) == ["a.zarr"]

    def test_store_that_was_about_to_be_replaced_is_brought_back(self, windows, tmp_path):
        path = tmp_path / "a.zarr"
        xlabelstats.to_zarr(windows, path)
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        name = placement.beside(path, "replaced").name.replace(f"-{os.getpid()}-", f"-{dead.pid}-")
        path.rename(tmp_path / name)
        with pytest.raises(FileExistsError):
            xlabelstats.to_zarr(windows + 1, path)
        xr.testing.assert_equal(xr.open_zarr(path, consolidated=False).compute(), windows.compute())
        assert names(tmp_path) == ["a.zarr"]

    def test_process_of_another_container_is_left_alone(self, windows, tmp_path, monkeypatch):
        path = tmp_path / "a.zarr"
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        name = placement.beside(path, "partial").name.replace(f"-{os.getpid()}-", f"-{dead.pid}-")
        (tmp_path / name.replace(placement.here(), placement.here() + "7")).mkdir()
        (tmp_path / name).mkdir()
        xlabelstats.to_zarr(windows, path)
        assert len(names(tmp_path)) == 2
        assert name not in names(tmp_path)

    def test_store_is_not_replaced_by_one_that_was_removed_meanwhile(self, windows, tmp_path):
        path = tmp_path / "a.zarr"
        xlabelstats.to_zarr(windows, path)

        def remove(block):
            for left in tmp_path.glob("*.partial"):
                shutil.rmtree(left)
            return block

        data = da.zeros(3, chunks=3).map_blocks(remove, meta=np.empty(0))
        with pytest.raises(RuntimeError, match="something removed"):
            xlabelstats.to_zarr(xr.DataArray(data, dims="label", name="w"), path, overwrite=True)
        xr.testing.assert_equal(xr.open_zarr(path, consolidated=False).compute(), windows.compute())

    def test_interrupt_between_the_renames_brings_the_old_store_back(self, windows, tmp_path, monkeypatch):
        path = tmp_path / "a.zarr"
        xlabelstats.to_zarr(windows, path)
        rename = Path.rename

        def interrupted(self, target):
            if self.name.endswith(".partial"):
                raise KeyboardInterrupt
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            xlabelstats.to_zarr(windows + 1, path, overwrite=True)
        xr.testing.assert_equal(xr.open_zarr(path, consolidated=False).compute(), windows.compute())
        assert names(tmp_path) == ["a.zarr"]

    def test_what_was_made_of_a_stored_result_is_written(self, windows, tmp_path):
        stored = xlabelstats.to_zarr(windows, tmp_path / "a.zarr")
        for i, other in enumerate((stored.sortby("label"), stored.isel(c=[0, 2]), stored.chunk(label=5))):
            again = xlabelstats.to_zarr(other, tmp_path / f"{i}.zarr")
            xr.testing.assert_equal(again.compute(), other.compute())

    def test_units_of_time_do_not_turn_numbers_into_times(self, tmp_path):
        for units in ("nanoseconds", "days since 2000-01-01"):
            lifetime = xr.DataArray([1.5, 2.5], dims="label", name="lifetime", attrs={"units": units}).chunk(label=1)
            stored = xlabelstats.to_zarr(lifetime, tmp_path / units)
            assert stored.dtype == np.float64
            assert stored.attrs == {"units": units}
        moments = lifetime.assign_coords(t=("label", np.array(["2020-01-01", "2020-01-02"], "M8[ns]")))
        moments.attrs = {}
        xr.testing.assert_equal(xlabelstats.to_zarr(moments, tmp_path / "t").compute(), moments.compute())

    def test_numbers_stay_numbers_beside_times(self, tmp_path):
        lengths = {"units": "seconds"}
        moments, spans = np.array(["2020-01-01", "NaT"], "M8[ns]"), np.array([1, 2], "m8[s]").astype("m8[ns]")
        result = xr.Dataset(
            {
                "lifetime": ("label", [1.5, 2.5], lengths),
                "day": ("label", [10.0, 20.0], {"units": "days since 2000-01-01"}),
                "packed": ("label", np.array([1, 7], "u2"), {"_FillValue": 7, "scale_factor": 0.5}),
                "when": ("label", moments),
            },
            coords={"label": [1, 2], "delay": ("label", spans), "age": ("label", [3.0, 4.0], lengths)},
        )
        for lazy in (result, result.chunk(label=1)):
            xr.testing.assert_identical(xlabelstats.to_zarr(lazy, tmp_path / "a", overwrite=True).compute(), result)
            for name, array in result.items():
                for given in (array, array.rename(None), array.rename("age")):
                    stored = xlabelstats.to_zarr(given, tmp_path / name, overwrite=True)
                    xr.testing.assert_identical(stored.compute(), given)

    def test_a_path_with_a_hash(self, windows, tmp_path):
        for result in (windows, windows["mask"]):
            stored = xlabelstats.to_zarr(result, tmp_path / "plate#1" / "well#2.zarr", overwrite=True)
            xr.testing.assert_identical(stored.compute(), result.compute())
            assert names(tmp_path / "plate#1") == ["well#2.zarr"]

    def test_opens_without_a_warning_and_without_being_told_of_its_metadata(self, windows, tmp_path):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            stored = xlabelstats.to_zarr(windows, tmp_path / "a.zarr")
            xlabelstats.to_zarr(windows["image"], tmp_path / "b.zarr")
            xlabelstats.to_zarr(windows["mask"], tmp_path / "c.zarr")
            mask = xr.open_dataarray(tmp_path / "c.zarr", engine="zarr", chunks={})
        xr.testing.assert_identical(mask.compute(), windows["mask"].compute())
        xr.testing.assert_identical(xr.open_zarr(tmp_path / "a.zarr").compute(), stored.compute())

    @pytest.mark.parametrize(
        ("name", "other"),
        [("Ki67/DAPI", "Ki67_DAPI"), ("/µm", "µm"), ("a\\b", "a_b"), ("..", "variable"), ("zarr.json", "zarr_json")],
    )
    def test_a_name_that_no_folder_can_have_is_refused_before_anything_is_written(self, tmp_path, name, other):
        ratio = xr.DataArray([1.0, 2.0], dims="label", name=name)
        for result, change in (
            (ratio, repr(other)),
            (ratio.to_dataset(), repr({name: other})),
            (ratio.rename("a").assign_coords({name: ("label", [1, 2])}), repr({name: other})),
            (ratio.rename({"label": name}).assign_coords({name: [1, 2]}).rename("a"), repr({name: other})),
        ):
            with pytest.raises(ValueError, match=re.escape(f"cannot hold a variable named {name!r}")) as raised:
                xlabelstats.to_zarr(result, tmp_path / "folder" / "a.zarr")
            assert f"result.rename({change})" in str(raised.value)
            assert names(tmp_path) == []
            renamed = eval(f"result.rename({change})")
            xr.testing.assert_identical(xlabelstats.to_zarr(renamed, tmp_path / "a.zarr").compute(), renamed)
            shutil.rmtree(tmp_path / "a.zarr")

    def test_of_threads_that_replace_one_store_the_last_one_stays(self, tmp_path):
        path = tmp_path / "a.zarr"

        def write(number):
            result = xr.DataArray(da.full((40, 3), number, chunks=(4, 3)), dims=("label", "x"), name="a")
            assert xlabelstats.to_zarr(result, path, overwrite=True).sizes == {"label": 40, "x": 3}

        for _ in range(5):
            with ThreadPoolExecutor(6) as pool:
                list(pool.map(write, range(12)))
            (number,) = np.unique(xr.open_zarr(path)["a"])
            assert number in range(12)
            assert names(tmp_path) == ["a.zarr"]

    def test_of_processes_that_replace_one_store_the_last_one_stays(self, tmp_path):
        path = tmp_path / "a.zarr"
        program = """
            import warnings
            from xlabelstats.placement import put_in_place
            warnings.simplefilter("error")
            for i in range(200):
                partial = path.with_name(f"{number}-{i}")
                partial.mkdir()
                (partial / "zarr.json").touch()
                put_in_place(partial, path, True)
        """
        writers = [begun(program, path=path, number=number) for number in range(3)]
        for writer in writers:
            writer.join(120)
            assert writer.exitcode == 0
        assert names(tmp_path) == ["a.zarr"]
        assert names(path) == ["zarr.json"]

    def test_home_folder_is_expanded(self, windows, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        xlabelstats.to_zarr(windows["mask"], "~/a.zarr")
        assert names(tmp_path) == ["a.zarr"]

    def test_late_tasks_of_a_failed_write_leave_nothing_for_long(self, windows, tmp_path):
        path = tmp_path / "a.zarr"
        late = placement.beside(path, "partial")
        placement.remove(late)
        late.mkdir()
        xlabelstats.to_zarr(windows["mask"], path)
        assert names(tmp_path) == ["a.zarr"]

    def test_write_in_progress_is_left_alone(self, windows, tmp_path):
        path = tmp_path / "a.zarr"
        other = placement.beside(path, "partial")
        other.mkdir()
        xlabelstats.to_zarr(windows, path)
        assert other.exists()

    def test_second_of_two_writers_is_told(self, windows, tmp_path):
        path = tmp_path / "a.zarr"

        def meanwhile(block):
            if not path.exists():
                xlabelstats.to_zarr(windows["mask"], path)
            return block

        data = da.zeros(3, chunks=3).map_blocks(meanwhile, meta=np.empty(0))
        with pytest.raises(FileExistsError):
            xlabelstats.to_zarr(xr.DataArray(data, dims="label"), path)
        xr.testing.assert_equal(
            xr.open_dataarray(path, engine="zarr", consolidated=False).compute(), windows["mask"].compute()
        )

    def test_complaints(self, windows, tmp_path):
        with pytest.raises(TypeError, match="to_zarr writes a Dataset or a DataArray, not ndarray"):
            xlabelstats.to_zarr(np.zeros(3), tmp_path / "a.zarr")  # type: ignore[type-var]
        with pytest.raises(ValueError, match=r"s3://bucket/a\.zarr is a URL"):
            xlabelstats.to_zarr(windows, "s3://bucket/a.zarr")
        with pytest.raises(TypeError, match="path is a str or a Path, not bytes"):
            xlabelstats.to_zarr(windows, b"a.zarr")

    def test_nothing_opens_before_everything_is_written(self, tmp_path):
        path = tmp_path / "a.zarr"
        seen = []

        def look(block):
            seen.append(path.exists())
            time.sleep(0.01)
            return block

        data = da.zeros(10, chunks=1).map_blocks(look, meta=np.empty(0))
        xlabelstats.to_zarr(xr.DataArray(data, dims="label", name="w"), path)
        assert len(seen) == 10
        assert not any(seen)
