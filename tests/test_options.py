"""Options, and the progress they show."""

from __future__ import annotations

import subprocess
import sys

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import xlabelstats
from xlabelstats.options import OPTIONS


@pytest.fixture
def image() -> xr.DataArray:
    return xr.DataArray(da.random.random((20, 20), chunks=10), dims=("y", "x"))


@pytest.fixture
def mask() -> xr.DataArray:
    return xr.DataArray(da.ones((20, 20), dtype=np.int32, chunks=10), dims=("y", "x"))


def test_progress_shows_a_bar_for_scans_and_computes_within_the_block_only(image, mask, capsys):
    image.labels.mean(mask).compute()
    assert capsys.readouterr().err == ""
    with xlabelstats.set_options(progress=True):
        assert OPTIONS["progress"]
        result = image.labels.mean(mask + 0)
        assert "xlabelstats: 100%" in capsys.readouterr().err
        result.compute()
        assert "xlabelstats: 100%" in capsys.readouterr().err
        image.labels.aggregate(mask).labels.to_dataframe()
        assert "xlabelstats: 100%" in capsys.readouterr().err
    assert not OPTIONS["progress"]
    result.compute()
    assert capsys.readouterr().err == ""


def test_progress_of_whole_objects_and_of_writing(image, mask, capsys, tmp_path):
    with xlabelstats.set_options(progress=True):
        windows = mask.instances.windows({"y": 20}, labels=[1])
        capsys.readouterr()
        image.instances.median(mask).compute()
        assert "xlabelstats: 100%" in capsys.readouterr().err
        xlabelstats.to_zarr(windows, tmp_path / "windows.zarr")
        assert "xlabelstats: 100%" in capsys.readouterr().err


def test_set_for_good_and_back(image, mask, capsys):
    xlabelstats.set_options(progress=True)
    xlabelstats.set_options(progress=True)
    image.labels.mean(mask).compute()
    xlabelstats.set_options(progress=False)
    assert capsys.readouterr().err.count("xlabelstats: 100%") == 2
    image.labels.mean(mask).compute()
    assert capsys.readouterr().err == ""


def test_nested_blocks_restore_what_was_set():
    with xlabelstats.set_options(progress=True):
        with xlabelstats.set_options(progress=False):
            assert not OPTIONS["progress"]
        assert OPTIONS["progress"]


def test_unknown_options_and_values_are_errors():
    with pytest.raises(ValueError, match="unknown option 'progres', did you mean 'progress'\\? There are: progress"):
        xlabelstats.set_options(progres=True)
    with pytest.raises(ValueError, match="progress is True or False, not 'yes'"):
        xlabelstats.set_options(progress="yes")
    for value in (-1, 1.5, True, "256 MiB", None):
        with pytest.raises(ValueError, match=r"mask_memory is a number of bytes, as .*, or 0 for none, not"):
            xlabelstats.set_options(mask_memory=value)
    assert OPTIONS == {"progress": False, "mask_memory": 2**28}


def test_a_cluster_shows_its_own_progress(image, mask, capsys):
    from distributed import Client

    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0"):
        expected = image.labels.aggregate(mask, "count").labels.to_dataframe()
        capsys.readouterr()
        with xlabelstats.set_options(progress=True):
            xlabelstats.clear_cache()
            table = image.labels.aggregate(mask, "count").labels.to_dataframe()
        assert "100%" in capsys.readouterr().out
    assert table.equals(expected)
    assert table["count"].tolist() == [400]


FIRST_CALLS = """
import threading

import dask.array as da
import numpy as np
import xarray as xr

import xlabelstats

xlabelstats.set_options(progress={progress})
start = threading.Barrier(8)
results = []


def measure():
    mask = xr.DataArray(da.from_array(np.eye(8, dtype=int), chunks=4), dims=("y", "x"))
    image = xr.DataArray(da.ones((8, 8), chunks=4), dims=("y", "x"))
    start.wait()
    results.append(image.labels.mean(mask).values.tolist())


threads = [threading.Thread(target=measure) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(results)
"""


@pytest.mark.parametrize("progress", [False, True])
def test_the_first_calls_of_a_process_may_come_from_several_threads(progress):
    # dask imports distributed in the first of them, while the others go on.
    program = FIRST_CALLS.format(progress=progress)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr
    assert done.stdout == f"{[[1.0]] * 8}\n"
