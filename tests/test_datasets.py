"""The nuclei that come with the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import xlabelstats
from xlabelstats import datasets

FOLDER = Path(datasets.__file__).parent


@pytest.mark.parametrize(
    ("load", "shape", "labels", "pixels", "total"),
    [
        (datasets.nuclei2d, {"y": 512, "x": 512}, 125, 52226, 8331268),
        (datasets.nuclei3d, {"z": 31, "y": 61, "x": 57}, 51, 41468, 21342435),
    ],
)
def test_an_image_and_its_mask(load, shape, labels, pixels, total):
    image, mask = load()
    assert dict(image.sizes) == dict(mask.sizes) == shape
    assert np.unique(mask).size - 1 == labels
    assert np.count_nonzero(mask) == pixels
    assert image.sum() == total
    assert (image.name, mask.name) == ("intensity", "nuclei")
    for array in (image, mask):
        assert set(array.attrs) == {"source", "license"}


def test_coordinates_count_pixels_unless_a_spacing_is_given():
    for array in datasets.nuclei2d():
        for dim in ("y", "x"):
            np.testing.assert_array_equal(array[dim], np.arange(512))
            assert array[dim].attrs["units"] == "pixel"
    for array in datasets.nuclei3d({"z": 2, "y": 0.5}):
        for dim, step in {"z": 2, "y": 0.5, "x": 1}.items():
            np.testing.assert_array_equal(array[dim], step * np.arange(array.sizes[dim]))
            assert array[dim].attrs["units"] == "micrometer"
    with pytest.raises(ValueError, match=r"spacing is positive, not 0"):
        datasets.nuclei2d(0)
    with pytest.raises(ValueError, match=r"spacing is given for 'z', but the mask has the dims \('y', 'x'\)"):
        datasets.nuclei2d({"z": 2})


def test_what_is_written_to_does_not_change_the_next():
    image, mask = datasets.nuclei2d()
    image[:], mask[:] = 0, 0
    image.attrs.clear()
    image["y"].attrs.clear()
    for array in datasets.nuclei2d():
        assert array.mean() > 0
        assert array.attrs
        assert array["y"].attrs


def test_files_are_small_and_tell_their_sources_and_licences():
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 500_000
    sources = (FOLDER / "SOURCES.md").read_text(encoding="utf-8")
    for part in ("BBBC038v1", "CC0 1.0", "StarDist", "Uwe Schmidt, Martin Weigert"):
        assert part in sources


def test_they_need_no_optional_package_and_are_there_after_one_import(tmp_path):
    code = (
        "import sys, xlabelstats\n"
        "image, mask = xlabelstats.datasets.nuclei2d()\n"
        "assert not {'skimage', 'tifffile', 'imageio', 'PIL'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert "datasets" in xlabelstats.__all__
